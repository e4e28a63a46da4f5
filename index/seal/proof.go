package seal

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

const (
	proofHeader = "c2sp.org/tlog-proof@v1\n"
	// maxProof bounds the text of a proof, in bytes.
	maxProof = 4 << 20
)

// ErrProof: a proof that does not parse or does not hold.
var ErrProof = errors.New("bad proof")

// Proof shows offline that an entry stands in a log (C2SP tlog-proof).
type Proof struct {
	Extra      []byte // not authenticated; nil when there is none
	Index      uint64
	Hashes     []tlog.Hash // leaf to root
	Checkpoint []byte      // signed
}

// Encode is the text of the proof.
func (p *Proof) Encode() []byte {
	b := []byte(proofHeader)
	if p.Extra != nil {
		b = append(b, "extra "...)
		b = base64.StdEncoding.AppendEncode(b, p.Extra)
		b = append(b, '\n')
	}
	b = append(b, "index "...)
	b = append(strconv.AppendUint(b, p.Index, 10), '\n')
	for _, h := range p.Hashes {
		b = append(base64.StdEncoding.AppendEncode(b, h[:]), '\n')
	}
	b = append(b, '\n')
	return append(b, p.Checkpoint...)
}

// ParseProof reads what Encode wrote. It checks the form only.
func ParseProof(b []byte) (*Proof, error) {
	bad := fmt.Errorf("parse proof of %d bytes: %w", len(b), ErrProof)
	rest, ok := strings.CutPrefix(string(b), proofHeader)
	if !ok || len(b) > maxProof {
		return nil, bad
	}
	p := &Proof{}
	line, rest, ok := strings.Cut(rest, "\n")
	if extra, found := strings.CutPrefix(line, "extra "); found && ok {
		var err error
		if p.Extra, err = base64.StdEncoding.DecodeString(extra); err != nil {
			return nil, bad
		}
		line, rest, ok = strings.Cut(rest, "\n")
	}
	num, found := strings.CutPrefix(line, "index ")
	n, err := strconv.ParseUint(num, 10, 64)
	if !ok || !found || err != nil || n >= math.MaxInt64 {
		return nil, bad
	}
	p.Index = n
	for {
		if line, rest, ok = strings.Cut(rest, "\n"); !ok {
			return nil, bad
		}
		if line == "" {
			break
		}
		h, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(h) != tlog.HashSize || len(p.Hashes) == 63 {
			return nil, bad
		}
		p.Hashes = append(p.Hashes, tlog.Hash(h))
	}
	p.Checkpoint = []byte(rest)
	if _, err := ParseCheckpoint(p.Checkpoint); err != nil || string(p.Encode()) != string(b) {
		return nil, bad
	}
	return p, nil
}

// Verify checks that the entry stands at the proof's index in the log whose
// verifier key comes first; every further key must have signed the checkpoint too.
func (p *Proof) Verify(entry []byte, vkeys ...string) (Checkpoint, error) {
	c, err := VerifyCheckpoint(p.Checkpoint, vkeys...)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("verify proof: %w", err)
	}
	if p.Index >= c.Size {
		return Checkpoint{}, fmt.Errorf("verify proof: index %d of %d: %w", p.Index, c.Size, ErrProof)
	}
	if err := tlog.CheckRecord(p.Hashes, int64(c.Size), c.Root, int64(p.Index), leafHash(entry)); err != nil {
		return Checkpoint{}, fmt.Errorf("verify proof: %w", errors.Join(ErrProof, err))
	}
	return c, nil
}

// CheckConsistency checks that the newer log is the older one with entries appended.
func CheckConsistency(older, newer Checkpoint, proof []tlog.Hash) error {
	switch {
	case older.Origin != newer.Origin || older.Size > newer.Size:
		return fmt.Errorf("check consistency of %d with %d: %w", older.Size, newer.Size, ErrProof)
	case older.Size == 0 || older.Size == newer.Size:
		if len(proof) != 0 || older.Size == newer.Size && older.Root != newer.Root {
			return fmt.Errorf("check consistency at size %d: %w", newer.Size, ErrProof)
		}
		return nil
	}
	if err := tlog.CheckTree(proof, int64(newer.Size), newer.Root, int64(older.Size), older.Root); err != nil {
		return fmt.Errorf("check consistency of %d with %d: %w", older.Size, newer.Size, errors.Join(ErrProof, err))
	}
	return nil
}
