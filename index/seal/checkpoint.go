package seal

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// ErrCheckpoint: a checkpoint that does not parse or is not signed as it must be.
var ErrCheckpoint = errors.New("bad checkpoint")

// maxCheckpoint bounds a signed checkpoint, in bytes.
const maxCheckpoint = 64 << 10

// Checkpoint is the head of a log (C2SP tlog-checkpoint, without extension lines).
type Checkpoint struct {
	Origin string
	Size   uint64 // number of entries
	Root   tlog.Hash
}

// Text is the text that is signed.
func (c Checkpoint) Text() string {
	return c.Origin + "\n" + strconv.FormatUint(c.Size, 10) + "\n" + base64.StdEncoding.EncodeToString(c.Root[:]) + "\n"
}

// tree is c in tlog's terms.
func (c Checkpoint) tree() tlog.Tree { return tlog.Tree{N: int64(c.Size), Hash: c.Root} }

func parseCheckpointText(text string) (Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[3] != "" {
		return Checkpoint{}, fmt.Errorf("parse checkpoint: not three lines: %w", ErrCheckpoint)
	}
	size, err := strconv.ParseUint(lines[1], 10, 64)
	root, err2 := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || err2 != nil || len(root) != tlog.HashSize || size > math.MaxInt64 {
		return Checkpoint{}, fmt.Errorf("parse checkpoint: size or root: %w", ErrCheckpoint)
	}
	c := Checkpoint{Origin: lines[0], Size: size, Root: tlog.Hash(root)}
	if c.Text() != text || !ValidOrigin(c.Origin) {
		return Checkpoint{}, fmt.Errorf("parse checkpoint: not in canonical form: %w", ErrCheckpoint)
	}
	return c, nil
}

// ParseCheckpoint reads a signed checkpoint without verifying its signatures,
// for text whose integrity is known otherwise.
func ParseCheckpoint(signed []byte) (Checkpoint, error) {
	i := bytes.Index(signed, []byte("\n\n"))
	if i < 0 || len(signed) > maxCheckpoint {
		return Checkpoint{}, fmt.Errorf("parse checkpoint of %d bytes: %w", len(signed), ErrCheckpoint)
	}
	return parseCheckpointText(string(signed[:i+1]))
}

// VerifyCheckpoint reads a signed checkpoint that each of the verifier keys has
// signed. The first is the log's own: its name must be the origin. Signatures by
// other keys are passed over.
func VerifyCheckpoint(signed []byte, vkeys ...string) (Checkpoint, error) {
	if len(vkeys) == 0 || len(signed) > maxCheckpoint {
		return Checkpoint{}, fmt.Errorf("verify checkpoint: no key, or too long: %w", ErrCheckpoint)
	}
	verifiers := make([]note.Verifier, 0, len(vkeys))
	for _, k := range vkeys {
		v, err := note.NewVerifier(k)
		if err != nil {
			return Checkpoint{}, fmt.Errorf("verify checkpoint: verifier key: %w", errors.Join(ErrKey, err))
		}
		verifiers = append(verifiers, v)
	}
	n, err := note.Open(signed, note.VerifierList(verifiers...))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("verify checkpoint: %w", errors.Join(ErrCheckpoint, err))
	}
	for _, v := range verifiers {
		signedBy := false
		for _, s := range n.Sigs {
			signedBy = signedBy || s.Name == v.Name() && s.Hash == v.KeyHash()
		}
		if !signedBy {
			return Checkpoint{}, fmt.Errorf("verify checkpoint: not signed by %s: %w", v.Name(), ErrCheckpoint)
		}
	}
	c, err := parseCheckpointText(n.Text)
	if err != nil {
		return Checkpoint{}, err
	}
	if c.Origin != verifiers[0].Name() {
		return Checkpoint{}, fmt.Errorf("verify checkpoint: origin %q, key %q: %w", c.Origin, verifiers[0].Name(), ErrCheckpoint)
	}
	return c, nil
}

func signCheckpoint(c Checkpoint, signers []note.Signer) ([]byte, error) {
	b, err := note.Sign(&note.Note{Text: c.Text()}, signers...)
	if err != nil {
		return nil, fmt.Errorf("sign checkpoint: %w", err)
	}
	return b, nil
}
