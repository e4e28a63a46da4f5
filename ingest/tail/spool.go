package tail

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
)

// spool keeps input that cannot be read twice until it is known whether it was
// taken before: a file without a name, encrypted under a key that is only in
// memory.
type spool struct {
	f    *os.File
	w    io.Writer
	r    io.Reader
	key  [32]byte
	held []byte
	rest *spool // read after this one
	err  error
}

func newSpool(dir string) (*spool, error) {
	f, err := os.CreateTemp(dir, "custody-import-*")
	if err != nil {
		return nil, fmt.Errorf("create spool: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, fmt.Errorf("unlink spool: %w", errors.Join(err, f.Close()))
	}
	s := &spool{f: f}
	_, _ = rand.Read(s.key[:]) // never fails
	stream, err := s.stream()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	s.w = cipher.StreamWriter{S: stream, W: f}
	return s, nil
}

// stream is the key stream from its start; the key is used for one spool only.
func (s *spool) stream() (cipher.Stream, error) {
	block, err := aes.NewCipher(s.key[:])
	if err != nil {
		return nil, fmt.Errorf("encrypt spool: %w", err)
	}
	return cipher.NewCTR(block, make([]byte, aes.BlockSize)), nil
}

func (s *spool) Write(b []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.w.Write(b)
	if err != nil {
		err = fmt.Errorf("write spool: %w", err)
	}
	return n, err
}

// rewind turns from writing to reading; rest, which may be nil, is read after.
func (s *spool) rewind(rest *spool) error {
	if s.err != nil {
		return s.err
	}
	if _, err := s.f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("rewind spool: %w", err)
	}
	stream, err := s.stream()
	if err != nil {
		return err
	}
	s.r, s.rest = cipher.StreamReader{S: stream, R: s.f}, rest
	return nil
}

// Read returns io.EOF only without bytes.
func (s *spool) Read(b []byte) (int, error) {
	if len(s.held) > 0 {
		n := copy(b, s.held)
		s.held = s.held[n:]
		return n, nil
	}
	n, err := s.r.Read(b)
	switch {
	case n > 0:
		return n, nil
	case errors.Is(err, io.EOF) && s.rest != nil:
		return s.rest.Read(b)
	case err != nil && !errors.Is(err, io.EOF):
		return 0, fmt.Errorf("read spool: %w", err)
	}
	return 0, err
}

func (s *spool) unread(b []byte) {
	s.held = append(append(make([]byte, 0, len(b)+len(s.held)), b...), s.held...)
}

// close frees the spool and those after it.
func (s *spool) close() error {
	var err error
	if s.f != nil {
		err = s.f.Close()
		s.f = nil
	}
	if s.rest != nil {
		err = errors.Join(err, s.rest.close())
	}
	return err
}
