package tail

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/gzip"
)

// source is a content read in order that can go back a little.
type source interface {
	io.Reader
	unread(b []byte) // puts back what was read last
	pos() int64      // offset of the next byte
	left() int64     // bytes to the end as far as known, -1 when not
	record()         // from here on back works
	back() error     // to where record was called, which ends the recording
	forget()         // ends the recording where the source stands
}

// skip moves src forward by n bytes.
func skip(src source, n int64) error {
	if f, ok := src.(*fileSource); ok {
		f.at += n
		return nil
	}
	if _, err := io.CopyN(io.Discard, src, n); err != nil {
		return fmt.Errorf("skip known content: %w", err)
	}
	return nil
}

// fileSource is a plain file.
type fileSource struct {
	f    io.ReaderAt
	at   int64
	size int64 // when it was last looked at; nothing beyond is read
	mark int64
}

func (s *fileSource) Read(b []byte) (int, error) {
	if s.at >= s.size {
		return 0, io.EOF
	}
	n, err := s.f.ReadAt(b[:min(int64(len(b)), s.size-s.at)], s.at)
	s.at += int64(n)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

func (s *fileSource) unread(b []byte) { s.at -= int64(len(b)) }
func (s *fileSource) pos() int64      { return s.at }
func (s *fileSource) left() int64     { return max(0, s.size-s.at) }
func (s *fileSource) record()         { s.mark = s.at }
func (s *fileSource) back() error     { s.at = s.mark; return nil }
func (s *fileSource) forget()         {}

// streamSource is a content that is decoded from its start: a compressed file,
// an import. It goes back by opening again, or, where that cannot be, through a spool.
type streamSource struct {
	reopen func() (io.Reader, error) // nil when the input cannot be read twice
	spools func() (*spool, error)

	r      io.Reader
	held   []byte // read before r
	at     int64
	mark   int64
	spool  *spool
	replay *spool // read before held
}

func (s *streamSource) Read(b []byte) (n int, err error) {
	switch {
	case len(b) == 0:
		return 0, nil
	case s.replay != nil:
		n, err = s.replay.Read(b)
		if errors.Is(err, io.EOF) {
			err = s.replay.close()
			s.replay = nil
			if n == 0 && err == nil {
				return s.Read(b)
			}
		}
	case len(s.held) > 0:
		n = copy(b, s.held)
		s.held = s.held[n:]
	default:
		n, err = s.r.Read(b)
	}
	s.at += int64(n)
	if s.spool != nil && n > 0 {
		if _, werr := s.spool.Write(b[:n]); werr != nil && err == nil {
			err = werr
		}
	}
	return n, err
}

func (s *streamSource) unread(b []byte) {
	if len(b) == 0 {
		return
	}
	s.at -= int64(len(b))
	if s.replay != nil {
		s.replay.unread(b)
		return
	}
	s.held = append(append(make([]byte, 0, len(b)+len(s.held)), b...), s.held...)
}

func (s *streamSource) pos() int64  { return s.at }
func (s *streamSource) left() int64 { return -1 }

func (s *streamSource) record() {
	s.mark = s.at
	if s.reopen != nil {
		return
	}
	sp, err := s.spools()
	if err != nil {
		sp = &spool{err: err} // reported by the first write
	}
	s.spool = sp
}

func (s *streamSource) back() error {
	if s.reopen != nil {
		r, err := s.reopen()
		if err != nil {
			return err
		}
		s.r, s.held = r, nil
		s.at = 0
		return skip(s, s.mark)
	}
	sp := s.spool
	s.spool = nil
	if err := sp.rewind(s.replay); err != nil {
		return err
	}
	s.replay, s.at = sp, s.mark
	return nil
}

func (s *streamSource) forget() {
	if s.spool != nil {
		_ = s.spool.close() // nothing in it is needed
		s.spool = nil
	}
}

func (s *streamSource) close() error {
	s.forget()
	if s.replay != nil {
		err := s.replay.close()
		s.replay = nil
		return err
	}
	return nil
}

// gunzip opens f as gzip from its start.
func gunzip(f *os.File) (io.Reader, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	zr, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("open gzip: %w", err)
	}
	return zr, nil
}
