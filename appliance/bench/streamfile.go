package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// streamVersion names the generator's present form in the names of cached files.
const streamVersion = 3

// streamFile is a rendered stream: octet-counted frames (RFC 6587, section 3.4.1)
// one after the other, to be sent as they are.
type streamFile struct {
	Path   string `json:"-"`
	Seed   uint64 `json:"seed"`
	Events uint64 `json:"events"`
	Bytes  int64  `json:"bytes"` // of the file
	Lines  int64  `json:"lines"` // bytes of the lines, without framing
}

// prepareStream returns the file with the first events of g's stream, rendered
// into dir unless it is there already. It holds a few lines in memory, whatever
// the number of events.
func prepareStream(ctx context.Context, g *generator, dir string, events uint64) (*streamFile, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("prepare stream: %w", err)
	}
	path := filepath.Join(dir, fmt.Sprintf("stream-v%d-seed%d-%d", streamVersion, g.seed, events))
	if s, err := cachedStream(g, path, events); err == nil {
		return s, nil
	} else if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errStale) {
		return nil, fmt.Errorf("read cached stream: %w", err)
	}
	s, err := renderStream(ctx, g, path, events)
	if err != nil {
		return nil, fmt.Errorf("render stream: %w", err)
	}
	return s, nil
}

var errStale = errors.New("cached stream is not what the generator makes")

// cachedStream takes the file at path if its size is as noted and its first
// thousand events are what g renders now.
func cachedStream(g *generator, path string, events uint64) (*streamFile, error) {
	note, err := os.ReadFile(path + ".json")
	if err != nil {
		return nil, err
	}
	s := &streamFile{Path: path}
	if json.Unmarshal(note, s) != nil || s.Events != events || s.Seed != g.seed {
		return nil, errStale
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || fi.Size() != s.Bytes {
		return nil, errStale
	}
	r := bufio.NewReader(f)
	var line, want, got []byte
	for i := range min(events, 1000) {
		want, line = appendFrame(want[:0], line, g, i)
		got = append(got[:0], make([]byte, len(want))...)
		if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, want) {
			return nil, errStale
		}
	}
	return s, nil
}

func renderStream(ctx context.Context, g *generator, path string, events uint64) (s *streamFile, err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".stream-*")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, tmp.Close(), os.Remove(tmp.Name()))
		}
	}()
	s = &streamFile{Path: path, Seed: g.seed, Events: events}
	w := bufio.NewWriterSize(tmp, 1<<20)
	var frame, line []byte
	for i := range events {
		if i&0xfff == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		frame, line = appendFrame(frame[:0], line, g, i)
		s.Bytes += int64(len(frame))
		s.Lines += int64(len(line))
		if _, err := w.Write(frame); err != nil {
			return nil, err
		}
	}
	if err := w.Flush(); err != nil {
		return nil, err
	}
	if err := tmp.Close(); err != nil {
		return nil, err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return nil, err
	}
	note, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	return s, os.WriteFile(path+".json", note, 0o600)
}

// appendFrame appends event i in its frame. line is memory for the line, which is returned.
func appendFrame(dst, line []byte, g *generator, i uint64) (frame, rendered []byte) {
	line = g.render(line[:0], i)
	dst = strconv.AppendInt(dst, int64(len(line)), 10)
	dst = append(dst, ' ')
	return append(dst, line...), line
}
