package tail

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"custody/ingest"
)

const (
	batchLines = 1024
	minHole    = 512 // NUL bytes at a line's start that are a hole, away from offset 0
)

// pool hands out read buffers and batches and takes them back once the ledger
// is done with them.
type pool struct {
	sizes  [3]int
	chunks [3]sync.Pool
	free   sync.Pool
}

func newPool(maxLine int) *pool {
	return &pool{sizes: [3]int{8 << 10, 64 << 10, max(1<<20, 4*maxLine)}}
}

func (p *pool) largest() int { return p.sizes[len(p.sizes)-1] }

// chunk is a read buffer, shared by the batches cut from it.
type chunk struct {
	buf   []byte
	class int
	refs  atomic.Int32
}

// chunk returns a buffer of at least want bytes, or the largest.
func (p *pool) chunk(want int) *chunk {
	i := 0
	for i < len(p.sizes)-1 && p.sizes[i] < want {
		i++
	}
	c, _ := p.chunks[i].Get().(*chunk)
	if c == nil {
		c = &chunk{buf: make([]byte, p.sizes[i]), class: i}
	}
	c.refs.Store(1)
	return c
}

func (p *pool) drop(c *chunk) {
	if c != nil && c.refs.Add(-1) == 0 {
		p.chunks[c.class].Put(c)
	}
}

// flight is a batch on its way, with its backing.
type flight struct {
	batch  ingest.Batch
	lines  []ingest.Line
	cursor [1]ingest.Cursor
	chunk  *chunk
	lane   *lane
	pool   *pool
	done   func(error)
}

func (p *pool) flight() *flight {
	f, _ := p.free.Get().(*flight)
	if f == nil {
		f = &flight{pool: p}
		f.done = func(err error) { f.finish(err, false) }
	}
	return f
}

func (f *flight) recycle() {
	p := f.pool
	p.drop(f.chunk)
	clear(f.lines)
	*f = flight{pool: p, done: f.done, lines: f.lines[:0]}
	p.free.Put(f)
}

// finish settles the flight. refused says that Submit did not take it.
func (f *flight) finish(err error, refused bool) {
	l, n, size := f.lane, int64(len(f.lines)), int64(len(f.batch.Buf))
	if refused {
		n = 0 // nothing later can have passed it
	}
	f.recycle()
	l.settled(n, size, err)
}

// pump cuts a content into batches of events.
type pump struct {
	split   *splitter
	maxLine int
	pool    *pool
	src     source
	now     func() time.Time
	from    *ingest.Source
	file    string

	c      *chunk
	lo, hi int // what of c is read and not taken
	err    error
}

// close gives the read buffer back.
func (p *pump) close() {
	p.pool.drop(p.c)
	p.c, p.lo, p.hi = nil, 0, 0
}

// unread returns what was read ahead to the source, so that it stands where the
// lane does.
func (p *pump) unread() {
	if p.c != nil {
		p.src.unread(p.c.buf[p.lo:p.hi])
	}
	p.err = nil
	p.close()
}

// next returns the next batch, l moved past it. It returns io.EOF when what is
// left is incomplete under fl, other errors of the source as they are, in both
// cases after all events before.
func (p *pump) next(l *lane, fl flush) (*flight, error) {
	for {
		if p.hi > p.lo {
			if f := p.cut(l, fl); f != nil {
				return f, nil
			}
		}
		if p.err != nil {
			return nil, p.err
		}
		if p.c != nil && p.lo == 0 && p.hi == p.pool.largest() {
			f, err := p.long(l, fl)
			if f != nil || err != nil {
				return f, err
			}
			continue
		}
		p.fill()
	}
}

// fill reads until the buffer is full or the source ends.
func (p *pump) fill() {
	rest := p.hi - p.lo
	if p.c == nil || p.hi == len(p.c.buf) {
		want := rest + 1
		if left := p.src.left(); left < 0 || left > int64(p.pool.largest()) {
			want = p.pool.largest()
		} else {
			want = max(want, rest+int(left)+1)
		}
		c := p.pool.chunk(want)
		if p.c != nil {
			copy(c.buf, p.c.buf[p.lo:p.hi])
		}
		p.pool.drop(p.c)
		p.c, p.lo, p.hi = c, 0, rest
	}
	for p.hi < len(p.c.buf) && p.err == nil {
		var n int
		n, p.err = p.src.Read(p.c.buf[p.hi:])
		p.hi += n
	}
}

// cut takes the events that are complete in the buffer, at most one batch; nil
// when there is none.
func (p *pump) cut(l *lane, fl flush) *flight {
	if !errors.Is(p.err, io.EOF) {
		fl = hold
	}
	f := p.pool.flight()
	received := p.now().UnixNano()
	pos := p.lo
	for len(f.lines) < batchLines && pos < p.hi {
		b := p.c.buf[pos:p.hi]
		if b[0] == 0 {
			n := nuls(b)
			if l.inHole || n >= minHole || l.off+int64(pos-p.lo) == 0 {
				if !l.inHole {
					l.inHole = true
					f.batch.Gaps = append(f.batch.Gaps, ingest.Gap{
						Source: p.from, Reason: GapHole, Count: -1, To: received,
					})
				}
				pos += n
				continue
			}
			if n == len(b) && p.err == nil {
				break // it may yet turn out a hole
			}
		}
		l.inHole = false
		adv, n := p.split.next(b, fl)
		if adv == 0 {
			break
		}
		line := ingest.Line{Raw: b[:n:n], Received: received, Offset: l.off + int64(pos-p.lo)}
		if n > p.maxLine {
			line.Raw, line.FullLength = b[:p.maxLine:p.maxLine], n
		}
		f.lines = append(f.lines, line)
		pos += adv
	}
	if pos == p.lo {
		f.recycle()
		return nil
	}
	p.seal(f, p.c.buf[p.lo:pos])
	l.take(p.c.buf[p.lo:pos])
	p.lo = pos
	return f
}

func (p *pump) seal(f *flight, buf []byte) {
	p.c.refs.Add(1)
	f.chunk = p.c
	f.batch.Source, f.batch.File, f.batch.Buf = p.from, p.file, buf
}

// long takes one line that does not fit the buffer, which is full of it. Of an
// incomplete one nothing is taken.
func (p *pump) long(l *lane, fl flush) (*flight, error) {
	back, off := l.mark(), l.off
	total := p.hi
	before := p.c.buf[p.hi-1]
	l.take(p.c.buf[:p.hi])
	scratch := p.c.buf[p.maxLine:]
	for {
		n, err := p.src.Read(scratch)
		b := scratch[:n]
		i := bytes.IndexByte(b, '\n')
		if i >= 0 {
			if i > 0 {
				before = b[i-1]
			}
			full := total + i
			if before == '\r' {
				full--
			}
			l.take(b[:i+1])
			p.lo, p.hi, p.err = p.maxLine+i+1, p.maxLine+n, err
			return p.longLine(l, off, full), nil
		}
		l.take(b)
		total += n
		if n > 0 {
			before = b[n-1]
		}
		if err == nil {
			continue
		}
		p.lo, p.hi, p.err = 0, 0, err
		if errors.Is(err, io.EOF) && fl == all {
			return p.longLine(l, off, total), nil
		}
		if rerr := l.restore(back); rerr != nil {
			return nil, rerr
		}
		p.close()
		return nil, err
	}
}

func (p *pump) longLine(l *lane, off int64, full int) *flight {
	f := p.pool.flight()
	l.inHole = false
	f.lines = append(f.lines, ingest.Line{
		Raw: p.c.buf[:p.maxLine:p.maxLine], Received: p.now().UnixNano(), Offset: off, FullLength: full,
	})
	p.seal(f, p.c.buf[:p.maxLine])
	return f
}

// nuls is how many NUL bytes b begins with.
func nuls(b []byte) int {
	for i, c := range b {
		if c != 0 {
			return i
		}
	}
	return len(b)
}
