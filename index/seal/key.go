package seal

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"
)

// ErrKey: a key, or the file of one, that can't be used.
var ErrKey = errors.New("bad signing key")

// Key signs checkpoints: Ed25519, named like the log's origin (C2SP
// signed-note). It implements note.Signer. Safe for concurrent use.
type Key struct {
	note.Signer
	skey, vkey string
}

// VKey is the public verifier key: name+id+base64.
func (k *Key) VKey() string { return k.vkey }

// ValidOrigin reports whether s can name a log: not empty, at most 255 bytes,
// no white space, control character or '+'.
func ValidOrigin(s string) bool {
	return s != "" && len(s) <= 255 && utf8.ValidString(s) && !strings.Contains(s, "+") &&
		strings.IndexFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) < 0
}

// GenerateKey makes a signing key for the log of the given origin.
func GenerateKey(origin string) (*Key, error) {
	if !ValidOrigin(origin) {
		return nil, fmt.Errorf("generate key for %q: bad origin: %w", origin, ErrKey)
	}
	skey, _, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	return ParseKey(skey)
}

// ParseKey reads the text form of a signing key (PRIVATE+KEY+name+id+base64).
// Errors never contain key material.
func ParseKey(text string) (*Key, error) {
	signer, err := note.NewSigner(text)
	if err != nil || !ValidOrigin(signer.Name()) {
		return nil, fmt.Errorf("parse key: %w", ErrKey)
	}
	// PRIVATE+KEY+name+id+base64, and base64 may hold a '+' of its own.
	f := strings.SplitN(text, "+", 5)
	raw, err := base64.StdEncoding.DecodeString(f[len(f)-1])
	if err != nil || len(raw) != 1+ed25519.SeedSize {
		return nil, fmt.Errorf("parse key: %w", ErrKey)
	}
	pub := ed25519.NewKeyFromSeed(raw[1:]).Public().(ed25519.PublicKey)
	vkey, err := note.NewEd25519VerifierKey(signer.Name(), pub)
	if err != nil {
		return nil, fmt.Errorf("parse key: %w", ErrKey)
	}
	return &Key{Signer: signer, skey: text, vkey: vkey}, nil
}

// SaveKey writes k to a new file with mode 0600: temp, fsync, link, directory
// fsync. An existing file is an error.
func SaveKey(path string, k *Key) error {
	if err := saveKey(path, k); err != nil {
		return fmt.Errorf("save key: %w", err)
	}
	return nil
}

func saveKey(path string, k *Key) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".key-*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, os.Remove(f.Name()))
	}()
	_, err = f.WriteString(k.skey + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	// A link, unlike a rename, never replaces a key.
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// LoadKey reads a key that SaveKey wrote. A file that others may read is refused.
func LoadKey(path string) (*Key, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("load key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 || info.Size() > 1024 {
		return nil, fmt.Errorf("load key %s: mode %v, %d bytes: %w", path, info.Mode().Perm(), info.Size(), ErrKey)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("load key: %w", err)
	}
	k, err := ParseKey(strings.TrimSuffix(string(b), "\n"))
	if err != nil {
		return nil, fmt.Errorf("load key %s: %w", path, err)
	}
	return k, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
