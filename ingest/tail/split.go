package tail

import (
	"bytes"
	"regexp"
)

// flush says what may be taken at the end of what is there.
type flush byte

const (
	hold  flush = iota // only events known to be complete
	lines              // an event of complete lines that nothing followed yet
	all                // also a last line without newline
)

// splitter finds events: lines, or groups of lines that begin with one that
// matches start.
type splitter struct {
	start    *regexp.Regexp
	maxLines int
	maxBytes int
}

// next finds the event that b begins with: it takes adv bytes, of which the
// first n are the event without its framing (a last "\n" or "\r\n"). adv is 0
// when more bytes are needed.
func (s *splitter) next(b []byte, f flush) (adv, n int) {
	if s.start != nil {
		return s.event(b, f)
	}
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		if f == all {
			return len(b), len(b)
		}
		return 0, 0
	}
	return i + 1, unframed(b[:i+1])
}

func (s *splitter) event(b []byte, f flush) (adv, n int) {
	pos := 0
	for count := 0; ; count++ {
		rest := b[pos:]
		i := bytes.IndexByte(rest, '\n')
		end := i + 1
		if i < 0 {
			end = len(rest)
			if count > 0 && pos+end > s.maxBytes {
				return pos, unframed(b[:pos]) // the line under way will not fit
			}
			if f != all || end == 0 {
				if count > 0 && f != hold {
					return pos, unframed(b[:pos])
				}
				return 0, 0
			}
		}
		if count > 0 && (count >= s.maxLines || pos+end > s.maxBytes || s.start.Match(rest[:end])) {
			return pos, unframed(b[:pos])
		}
		pos += end
	}
}

// unframed is the length of b without a last "\n" or "\r\n".
func unframed(b []byte) int {
	n := len(b)
	if n > 0 && b[n-1] == '\n' {
		n--
		if n > 0 && b[n-1] == '\r' {
			n--
		}
	}
	return n
}
