package tail

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

const turnBytes = 16 << 20 // read of one file before others get their turn

// stream is one followed file: an inode. What a worker uses belongs to it while
// running is set; the rest is by Tailer.mu.
type stream struct {
	id   inode
	gz   bool
	base int64 // pass over what is before, when it was never seen; 0 none

	// By Tailer.mu.
	path                   string // where it was seen last
	queued, running, again bool
	seen                   int // the scan that saw it
	size, mtime            int64
	goneAt                 time.Time // zero while a path leads to it
	renamedAt              time.Time
	closed                 bool // nothing is to be done with it any more
	tries                  int
	waits                  bool // something incomplete waits for its time
	notBefore              time.Time
	complaint              string

	// By the worker.
	file             *os.File // also by Tailer.mu for eviction
	name             string   // the path its lines carry
	lane             *lane
	src              source
	grew             time.Time // when bytes were last seen to be new
	grewTo           int64
	scanned          int64 // no newline in [lane.off, scanned)
	partial          bool  // something incomplete waits
	finished         bool  // compressed: read to its end
	endSize, endTime int64 // what it looked like then
	fl               flush // what the last turn could take at the end
	stable           int   // compressed: failed looks at the same size
	lost             int64
}

var errLater = errors.New("not now")

// turn reads what is new in s. It reports whether there is more to do at once.
func (t *Tailer) turn(ctx context.Context, s *stream) (more bool, err error) {
	s.fl, s.partial = t.due(s), false
	if s.lane != nil {
		if err, settled := s.lane.broken(); err != nil {
			if !settled {
				return false, nil // its last batch wakes the stream
			}
			t.restart(s)
			return false, fmt.Errorf("submit lines: %w", err)
		}
	}
	f, err := t.open(s)
	if err != nil || f == nil {
		return false, err
	}
	fi, err := f.Stat()
	if err != nil {
		return false, fmt.Errorf("stat file: %w", err)
	}
	size := fi.Size()
	if s.finished && (size != s.endSize || fi.ModTime().UnixNano() != s.endTime) {
		s.finished, s.lane = false, nil
	}
	if s.finished || (s.lane == nil && size == 0) {
		return false, nil
	}
	if s.gz {
		return t.turnGzip(ctx, s, f, fi)
	}
	if size != s.grewTo || s.grew.IsZero() {
		s.grew, s.grewTo = t.now(), size
		s.fl = t.due(s)
	}
	if s.lane != nil && t.replaced(s, f, size) {
		s.lane.close()
		s.lane, s.base, s.scanned = nil, 0, 0
		t.log.Info("file was truncated, reading from its start", "path", s.name)
	}
	fl := s.fl
	src := &fileSource{f: f, size: size}
	if s.lane == nil {
		first := make([]byte, familyLen)
		n, err := f.ReadAt(first, 0)
		if err != nil && !errors.Is(err, io.EOF) {
			return false, fmt.Errorf("read file: %w", err)
		}
		k := span(first[:min(n, int(min(size, familyLen)))], fl == all)
		if k == 0 {
			s.partial = true
			return false, nil
		}
		if err := t.enter(s, kindPlain, first[:k]); err != nil {
			return false, err
		}
	}
	l := s.lane
	if !l.located {
		if ok, err := t.take(s); !ok {
			return false, err
		}
		if err := t.locate(ctx, s, f, src); err != nil {
			t.reg.release(l)
			return false, err
		}
	} else if size == l.off || (fl == hold && s.scanned > l.off && !t.completed(s, f, size)) {
		s.partial = size > l.off
		return false, nil
	} else if ok, err := t.take(s); !ok {
		return false, err
	}
	src.at = l.off
	if _, err := l.resolve(ctx, src, growing); err != nil {
		t.reg.release(l)
		return false, err
	}
	return t.pump(ctx, s, src, fl)
}

// take makes s the holder of its family.
func (t *Tailer) take(s *stream) (bool, error) {
	ok, err := t.reg.hold(s.lane)
	if !ok {
		s.fl = hold // its turn is still to come
	}
	return ok, err
}

// pump submits what src has, up to a turn's worth.
func (t *Tailer) pump(ctx context.Context, s *stream, src source, fl flush) (more bool, err error) {
	l := s.lane
	p := &pump{
		split: &t.split, maxLine: t.cfg.MaxLine, pool: t.pool, src: src,
		now: t.now, from: t.cfg.Source, file: s.name,
	}
	defer p.close()
	defer t.reg.release(l)
	for begin := l.off; ; {
		at := l.off
		f, err := p.next(l, fl)
		if errors.Is(err, io.EOF) {
			s.scanned = src.pos()
			s.partial = s.scanned > l.off
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("read file: %w", err)
		}
		if len(f.lines) == 0 && len(f.batch.Gaps) == 0 {
			f.recycle()
			continue
		}
		n, size := int64(len(f.lines)), l.off-at
		if err, _ := l.broken(); err != nil {
			f.recycle()
			return true, nil
		}
		if err := l.submit(ctx, t.sink, f, l.cursor(t.now())); err != nil {
			return false, err
		}
		t.lines.Add(n)
		t.bytes.Add(size)
		if l.off-begin > turnBytes || t.reg.contended(l) {
			return true, nil
		}
	}
}

// due says what may be taken at the end of s.
func (t *Tailer) due(s *stream) flush {
	t.mu.Lock()
	moved := s.goneAt
	if moved.IsZero() || (!s.renamedAt.IsZero() && s.renamedAt.Before(moved)) {
		moved = s.renamedAt
	}
	t.mu.Unlock()
	now := t.now()
	switch {
	case !moved.IsZero() && now.Sub(moved) >= t.cfg.Grace && now.Sub(s.grew) >= t.cfg.Grace:
		return all
	case t.cfg.Start != nil && now.Sub(s.grew) >= t.cfg.FlushAfter:
		return lines
	}
	return hold
}

// completed says whether a newline has come to a long incomplete line, so that
// it is not read again from its start each time it grows.
func (t *Tailer) completed(s *stream, f io.ReaderAt, size int64) bool {
	if size <= s.scanned {
		return false
	}
	if t.cfg.Start != nil || s.scanned-s.lane.off < 64<<10 {
		return true
	}
	at, err := lastLine(f, s.scanned, size)
	if err != nil || at > s.scanned {
		return true
	}
	s.scanned = size
	return false
}

// enter makes s a member of the family that begins with first.
func (t *Tailer) enter(s *stream, kind byte, first []byte) error {
	t.mu.Lock()
	s.name = s.path
	t.mu.Unlock()
	base := cursor{kind: kind, dev: s.id.dev, ino: s.id.ino, path: clip(s.name)}
	l := newLane(t.reg, base, func() { t.enqueue(s) })
	l.lost, s.lost = s.lost, 0
	if err := t.reg.join(l, mac(t.reg.keys.family, first)); err != nil {
		return err
	}
	s.lane = l
	return nil
}

// restart makes s begin again from the committed cursors.
func (t *Tailer) restart(s *stream) {
	l := s.lane
	t.reg.mu.Lock()
	s.lost += l.lost
	t.reg.mu.Unlock()
	l.close()
	s.lane, s.src, s.scanned, s.finished = nil, nil, 0, false
}

// locate finds where to go on in s: behind its own cursor, or behind what others
// took of the same content. The caller holds the family.
func (t *Tailer) locate(ctx context.Context, s *stream, f *os.File, src *fileSource) error {
	l := s.lane
	var own *head
	for _, h := range l.fam.heads {
		if h.cur.kind == kindPlain && h.cur.dev == s.id.dev && h.cur.ino == s.id.ino &&
			(own == nil || h.cur.offset > own.cur.offset) && t.proves(h, f, src.size) {
			own = h
		}
	}
	if own != nil && l.adopt(own) {
		if err := t.resumeAt(l, f, &own.cur); err != nil {
			return err
		}
		s.name = own.cur.path
		l.located = true
		return nil
	}
	res, err := l.resolve(ctx, src, growing)
	if err != nil {
		return err
	}
	l.located = true
	if res.by != nil {
		l.base.holeFrom, l.base.holeTo = res.holeFrom, res.holeTo
		if l.off < 1<<20 {
			return nil // cheap to find again
		}
		return t.note(ctx, s)
	}
	if s.base == 0 {
		return nil
	}
	at, err := lastLine(f, 0, s.base)
	if err != nil {
		return err
	}
	buf := make([]byte, 256<<10)
	for l.off < at && ctx.Err() == nil {
		n, err := src.Read(buf[:min(int64(len(buf)), at-l.off)])
		if err != nil {
			return fmt.Errorf("pass over file: %w", err)
		}
		l.take(buf[:n])
	}
	l.base.holeTo = uint64(l.off)
	return t.note(ctx, s)
}

// note makes the lane's position durable without lines.
func (t *Tailer) note(ctx context.Context, s *stream) error {
	f := t.pool.flight()
	f.batch.Source, f.batch.File = t.cfg.Source, s.name
	return s.lane.submit(ctx, t.sink, f, s.lane.cursor(t.now()))
}

// proves says whether f is the file that h is the cursor of.
func (t *Tailer) proves(h *head, f io.ReaderAt, size int64) bool {
	c := &h.cur
	if int64(c.offset) > size {
		return false
	}
	var b [startLen]byte
	start, tail := b[:c.startN], b[:c.tailN]
	if n, _ := f.ReadAt(start, 0); n < len(start) || mac(t.reg.keys.start, start) != c.start {
		return false
	}
	n, _ := f.ReadAt(tail, int64(c.offset)-int64(len(tail)))
	return n == len(tail) && mac(t.reg.keys.tail, tail) == c.tail
}

func (t *Tailer) resumeAt(l *lane, f io.ReaderAt, c *cursor) error {
	roll, err := resumeRolling(&c.state)
	if err != nil {
		return err
	}
	l.roll, l.off, l.base = roll, int64(c.offset), *c
	l.start, l.last = make([]byte, c.startN), make([]byte, c.tailN)
	if n, err := f.ReadAt(l.start, 0); n < len(l.start) {
		return fmt.Errorf("read start of file: %w", err)
	}
	if n, err := f.ReadAt(l.last, l.off-int64(len(l.last))); n < len(l.last) {
		return fmt.Errorf("read before cursor: %w", err)
	}
	l.inHole = len(l.last) > 0 && l.last[len(l.last)-1] == 0
	return nil
}

// replaced says whether the file no longer has what was taken of it.
func (t *Tailer) replaced(s *stream, f io.ReaderAt, size int64) bool {
	l := s.lane
	if !l.located {
		return false
	}
	if size < l.off {
		return true
	}
	var b [tailLen]byte
	n, _ := f.ReadAt(b[:len(l.last)], l.off-int64(len(l.last)))
	return string(b[:n]) != string(l.last)
}

// turnGzip reads a compressed file, once.
func (t *Tailer) turnGzip(ctx context.Context, s *stream, f *os.File, fi os.FileInfo) (bool, error) {
	size, mtime := fi.Size(), fi.ModTime().UnixNano()
	if size != s.grewTo {
		s.grewTo, s.stable = size, 0
	}
	reopen := func() (io.Reader, error) { return gunzip(f) }
	if s.lane == nil {
		r, err := reopen()
		if err != nil {
			return false, err
		}
		first := make([]byte, familyLen)
		n, err := io.ReadFull(r, first)
		whole := errors.Is(err, io.EOF) || (err == nil)
		k := span(first[:n], whole || s.stable > 2)
		if k == 0 {
			s.stable++
			if errors.Is(err, io.EOF) {
				s.finished, s.endSize, s.endTime = true, size, mtime
				return false, nil
			}
			return false, err
		}
		if err := t.enter(s, kindGzip, first[:k]); err != nil {
			return false, err
		}
	}
	l := s.lane
	if ok, err := t.take(s); !ok {
		return false, err
	}
	defer t.reg.release(l)
	l.base.size, l.base.mtime = uint64(size), mtime
	if !l.located {
		for _, h := range l.fam.heads {
			c := &h.cur
			if c.kind == kindGzip && c.done && c.dev == s.id.dev && c.ino == s.id.ino &&
				c.size == uint64(size) && c.mtime == mtime {
				s.finished, s.endSize, s.endTime = true, size, mtime
				l.close()
				s.lane = nil
				return false, nil
			}
		}
		l.located = true
	}
	if s.src == nil {
		r, err := reopen()
		if err != nil {
			return false, err
		}
		src := &streamSource{reopen: reopen, r: r}
		if err := skip(src, l.off); err != nil {
			return false, err
		}
		s.src = src
	}
	e := pending
	if s.stable > 2 {
		e = damaged
	}
	if _, err := l.resolve(ctx, s.src, e); err != nil {
		s.stable, s.src = s.stable+1, nil
		return false, err
	}
	more, err := t.pumpStream(ctx, s)
	if !errors.Is(err, io.EOF) {
		if err != nil {
			s.stable, s.src = s.stable+1, nil
		}
		return more, err
	}
	l.base.done = true
	s.finished, s.src, s.endSize, s.endTime = true, nil, size, mtime
	if err := t.note(ctx, s); err != nil {
		return false, err
	}
	l.close()
	return false, nil
}

// pumpStream is pump for a source that is kept: what was read ahead goes back.
func (t *Tailer) pumpStream(ctx context.Context, s *stream) (bool, error) {
	l := s.lane
	p := &pump{
		split: &t.split, maxLine: t.cfg.MaxLine, pool: t.pool, src: s.src,
		now: t.now, from: t.cfg.Source, file: s.name,
	}
	defer p.close()
	for begin := l.off; ; {
		at := l.off
		f, err := p.next(l, all)
		if err != nil {
			return false, err
		}
		if err := t.sendOne(ctx, l, f, l.off-at); err != nil {
			return false, err
		}
		if l.off-begin > turnBytes || t.reg.contended(l) {
			p.unread()
			return true, nil
		}
	}
}

func (t *Tailer) sendOne(ctx context.Context, l *lane, f *flight, size int64) error {
	if len(f.lines) == 0 && len(f.batch.Gaps) == 0 {
		f.recycle()
		return nil
	}
	if err, _ := l.broken(); err != nil {
		f.recycle()
		return errLater
	}
	n := int64(len(f.lines))
	if err := l.submit(ctx, t.sink, f, l.cursor(t.now())); err != nil {
		return err
	}
	t.lines.Add(n)
	t.bytes.Add(size)
	return nil
}

// ends says whether nothing more can come of s, a file no path leads to.
func (t *Tailer) ends(s *stream) bool {
	if s.lane != nil {
		if _, settled := s.lane.broken(); !settled {
			return false
		}
	}
	return s.fl == all
}

func isGzip(path string) bool { return filepath.Ext(path) == ".gz" }

// Stats is what a tailer has done since it was made.
type Stats struct {
	Files  int               // followed now
	Open   int               // of them open
	Lines  int64             // submitted
	Bytes  int64             // of content submitted
	Errors map[string]string // by path, what keeps it from being read now
}
