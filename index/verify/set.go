package verify

import (
	"slices"
)

// set is a set of seqs, in chunks of 65,536: a chunk is a list of ranges while
// these are few, and a bitmap of 8 KiB from there on.
type set struct {
	chunks map[uint64]*chunk
}

const (
	chunkBits = 16
	chunkSize = 1 << chunkBits
	// maxSpans of 4 bytes take as much as the bitmap.
	maxSpans = chunkSize / 8 / 4
)

type chunk struct {
	spans []shortSpan // ascending, apart from each other; nil when bits is used
	bits  *[chunkSize / 64]uint64
}

// shortSpan is a range within a chunk, inclusive.
type shortSpan struct{ from, to uint16 }

// each calls fn for the parts of [from, to] by chunk.
func each(from, to uint64, fn func(n uint64, a, b uint16)) {
	for n := from >> chunkBits; ; n++ {
		a, b := uint16(0), uint16(chunkSize-1)
		if n == from>>chunkBits {
			a = uint16(from)
		}
		if n == to>>chunkBits {
			b = uint16(to)
		}
		fn(n, a, b)
		if n == to>>chunkBits {
			return
		}
	}
}

// add adds [from, to].
func (s *set) add(from, to uint64) {
	if s.chunks == nil {
		s.chunks = make(map[uint64]*chunk)
	}
	each(from, to, func(n uint64, a, b uint16) {
		c := s.chunks[n]
		if c == nil {
			c = new(chunk)
			s.chunks[n] = c
		}
		c.add(a, b)
	})
}

func (c *chunk) add(a, b uint16) {
	if c.bits != nil {
		for i := int(a); i <= int(b); i++ {
			c.bits[i/64] |= 1 << (i % 64)
		}
		return
	}
	// The spans that touch [a, b] become one with it.
	lo, _ := slices.BinarySearchFunc(c.spans, a, func(s shortSpan, a uint16) int {
		if int(s.to)+1 < int(a) {
			return -1
		}
		return 1
	})
	hi := lo
	for hi < len(c.spans) && int(c.spans[hi].from) <= int(b)+1 {
		a, b = min(a, c.spans[hi].from), max(b, c.spans[hi].to)
		hi++
	}
	c.spans = slices.Replace(c.spans, lo, hi, shortSpan{a, b})
	if len(c.spans) <= maxSpans {
		return
	}
	old := c.spans
	c.spans, c.bits = nil, new([chunkSize / 64]uint64)
	for _, s := range old {
		c.add(s.from, s.to)
	}
}

// has reports whether seq is in the set.
func (s *set) has(seq uint64) bool {
	c := s.chunks[seq>>chunkBits]
	if c == nil {
		return false
	}
	x := uint16(seq)
	if c.bits != nil {
		return c.bits[x/64]&(1<<(x%64)) != 0
	}
	_, found := slices.BinarySearchFunc(c.spans, x, func(s shortSpan, x uint16) int {
		switch {
		case s.to < x:
			return -1
		case s.from > x:
			return 1
		}
		return 0
	})
	return found
}

// uncovered calls fn for the ranges of [from, to] that are not in the set.
func (s *set) uncovered(from, to uint64, fn func(a, b uint64)) {
	start, open := uint64(0), false
	gap := func(a, b uint64) { // parts come in order; those that meet are one
		if a > b {
			return
		}
		if !open {
			start, open = a, true
		}
	}
	covered := func(at uint64) {
		if open {
			fn(start, at-1)
			open = false
		}
	}
	each(from, to, func(n uint64, a, b uint16) {
		base := n << chunkBits
		c := s.chunks[n]
		switch {
		case c == nil:
			gap(base+uint64(a), base+uint64(b))
		case c.bits != nil:
			for x := uint64(a); x <= uint64(b); x++ {
				if c.bits[x/64]&(1<<(x%64)) != 0 {
					covered(base + x)
				} else {
					gap(base+x, base+x)
				}
			}
		default:
			next := int(a)
			for _, sp := range c.spans {
				if int(sp.to) < next {
					continue
				}
				if sp.from > b {
					break
				}
				if int(sp.from) > next {
					gap(base+uint64(next), base+uint64(sp.from)-1)
				}
				covered(base + uint64(max(int(sp.from), next)))
				next = int(sp.to) + 1
			}
			if next <= int(b) {
				gap(base+uint64(next), base+uint64(b))
			}
		}
	})
	if open {
		fn(start, to)
	}
}
