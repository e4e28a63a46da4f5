package syslog

import (
	"io"
	"math/bits"
	"sync/atomic"
)

const (
	minBuffer = 4 << 10
	maxBuffer = 256 << 10
)

// budget bounds the bytes that the buffers of all connections hold together.
type budget struct {
	used  atomic.Int64
	limit int64
}

// reserve takes n bytes if they fit below the limit.
func (m *budget) reserve(n int, limit int64) bool {
	if m.used.Add(int64(n)) <= limit {
		return true
	}
	m.used.Add(-int64(n))
	return false
}

// readBuffer is what one connection has read and not yet framed. It starts small,
// grows with what arrives and shrinks again. Growing for throughput takes from one
// half of the budget only, so that the other half is there for long messages.
type readBuffer struct {
	mem   *budget
	b     []byte
	w     int  // b[:w] is filled
	n     int  // bytes of the last read
	given bool // a batch owns a part of b
}

func newReadBuffer(mem *budget) *readBuffer {
	mem.used.Add(minBuffer)
	return &readBuffer{mem: mem, b: make([]byte, minBuffer)}
}

func (rb *readBuffer) release() {
	rb.mem.used.Add(-int64(len(rb.b)))
	rb.b, rb.w = nil, 0
}

func (rb *readBuffer) fill(r io.Reader) error {
	n, err := r.Read(rb.b[rb.w:])
	rb.n = n
	rb.w += n
	return err
}

// take returns bytes lo to hi for a batch to own. They are copied when they are
// little, so that a batch does not hold a large buffer for a short line.
func (rb *readBuffer) take(lo, hi int) []byte {
	if hi-lo >= len(rb.b)/2 {
		rb.given = true
		return rb.b[lo:hi:hi]
	}
	return append(make([]byte, 0, hi-lo), rb.b[lo:hi]...)
}

// settle drops what is before pos, and all but keep bytes from there. It makes room
// for the next read. It returns false when there is no room and no memory to make
// any: the message must then be clipped, and settle called again.
func (rb *readBuffer) settle(pos, keep int) bool {
	rest := rb.b[pos : pos+keep]
	size := len(rb.b)
	filled := rb.w == size
	switch {
	case keep >= size-size/4: // one message outgrows the buffer
		size *= 2
	case filled:
		size = max(size, min(size*2, maxBuffer))
	default:
		size = max(minBuffer, 1<<bits.Len(uint(2*rb.n+keep)))
		size = min(size, len(rb.b))
		if !rb.given && size > len(rb.b)/4 {
			size = len(rb.b)
		}
	}
	if size > len(rb.b) {
		limit := rb.mem.limit
		if keep < len(rb.b)/2 {
			limit /= 2
		}
		if !rb.mem.reserve(size-len(rb.b), limit) {
			if keep == len(rb.b) {
				return false
			}
			size = len(rb.b)
		}
	} else {
		rb.mem.used.Add(int64(size - len(rb.b)))
	}
	if size == len(rb.b) && !rb.given {
		if pos > 0 {
			copy(rb.b, rest)
		}
	} else {
		b := make([]byte, size)
		copy(b, rest)
		rb.b, rb.given = b, false
	}
	rb.w, rb.n = keep, 0
	return true
}
