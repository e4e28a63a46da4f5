package syslog

import "bytes"

// Reasons that a line is defective, as Line.Defect shows them.
const (
	defectFrame = "broken octet count"
	defectShort = "stream ended inside an octet-counted frame"
	defectCut   = "connection broken inside the message"
	defectRELP  = "not a RELP frame"
)

// maxFrame is the largest length, in bytes, that an octet count or a RELP frame
// may announce. A larger one is taken for garbage: believing it would skip
// everything the sender says from then on.
const maxFrame = 64 << 20

// maxOctetHeader bounds the header of an octet-counted frame: nine digits, a space.
const maxOctetHeader = 10

type framing uint8

const (
	framingUnknown framing = iota
	framingOctet           // RFC 6587, 3.4.1
	framingLine            // RFC 6587, 3.4.2; the first terminator decides which
	framingLF
	framingNUL
)

// ending says what follows the bytes that a framer is given.
type ending uint8

const (
	endNot    ending = iota // more may come
	endClosed               // the peer closed the stream
	endBroken               // time-out, reset, shutdown: the peer was not finished
)

// frame is one message in the buffer it was found in: b[start:end].
type frame struct {
	start, end int
	full       int // length before truncation, 0 when whole
	defect     string
}

// framer splits one stream. It holds no bytes: what it has not consumed must be
// given to it again, so that an idle connection costs its buffer and nothing else.
// The frames it finds do not depend on how the stream is cut into reads, except
// for how much of a broken octet-counted stream is shown.
type framer struct {
	max    int // longest message kept, bytes
	mode   framing
	broken bool // the frame structure is lost: the connection must be closed

	limit   int // longest kept of the unfinished message, when memory is short; 0: max
	scanned int // bytes of the unfinished message searched for a terminator
	over    int // bytes of it discarded beyond the limit
	tail    int // how many discarded bytes, from their end, are terminators
	skip    int // bytes of a truncated octet-counted frame still to come
	nuls    int // messages ended by NUL, up to 2
}

// next looks for a message in b, which starts where the last call's n left off.
// With ok, the message is b[f.start:f.end]. In either case the first n bytes are
// consumed. Without ok there is no further message in b, and of the n:len(b) that
// must be given again only the first keep bytes are wanted.
func (fr *framer) next(b []byte, end ending) (f frame, n, keep int, ok bool) {
	if fr.broken {
		return f, len(b), 0, false
	}
	if fr.mode == framingUnknown {
		fr.mode = detect(b, end)
	}
	switch fr.mode {
	case framingUnknown:
		return f, 0, len(b), false
	case framingOctet:
		return fr.octet(b, end)
	default:
		return fr.line(b, end)
	}
}

// detect decides by the first bytes of a connection whether frames are counted.
func detect(b []byte, end ending) framing {
	if len(b) == 0 {
		return framingUnknown
	}
	if b[0] < '1' || b[0] > '9' {
		return framingLine
	}
	i := 1
	for i < len(b) && i < maxOctetHeader && isDigit(b[i]) {
		i++
	}
	if i == maxOctetHeader {
		return framingLine
	}
	if i < len(b) {
		if b[i] != ' ' {
			return framingLine
		}
		if i+1 < len(b) {
			if b[i+1] == '<' {
				return framingOctet
			}
			return framingLine
		}
	}
	if end != endNot {
		return framingLine
	}
	return framingUnknown
}

func (fr *framer) keepMax() int {
	if fr.limit > 0 {
		return fr.limit
	}
	return fr.max
}

// clip makes the unfinished message, of which held bytes are in the buffer, end
// inside half of them. It is for when there is no memory to hold more.
func (fr *framer) clip(held int) {
	fr.limit = max(held/2-maxOctetHeader, 1)
	fr.scanned = 0
}

func (fr *framer) octet(b []byte, end ending) (f frame, n, keep int, ok bool) {
	i := min(fr.skip, len(b))
	fr.skip -= i
	if fr.skip > 0 {
		return f, i, 0, false
	}
	// Some senders end a counted frame with a newline that they did not count.
	for i < len(b) && b[i] == '\n' {
		i++
	}
	if i == len(b) {
		return f, i, 0, false
	}
	size, header, bad := octetCount(b[i:])
	switch {
	case bad:
		return fr.fail(b, i, defectFrame)
	case header == 0: // not all of it is here
		if end != endNot {
			return fr.fail(b, i, defectShort)
		}
		return f, i, len(b) - i, false
	}
	start := i + header
	want := min(size, fr.keepMax())
	if len(b)-start < want {
		if end == endNot {
			return f, i, len(b) - i, false
		}
		if start == len(b) {
			return fr.fail(b, i, defectShort)
		}
		fr.broken = true
		return frame{start: start, end: len(b), full: size, defect: defectShort}, len(b), 0, true
	}
	f = frame{start: start, end: start + want}
	if want < size {
		f.full = size
		fr.skip = size - want
	}
	fr.limit = 0
	return f, f.end, 0, true
}

// fail gives what is left of a stream whose structure is lost as one line.
func (fr *framer) fail(b []byte, i int, defect string) (frame, int, int, bool) {
	fr.broken = true
	f := frame{start: i, end: len(b), defect: defect}
	if len(b)-i > fr.max {
		f.end, f.full = i+fr.max, len(b)-i
	}
	return f, len(b), 0, true
}

// octetCount reads "MSG-LEN SP". header is 0 while the space is missing.
func octetCount(b []byte) (size, header int, bad bool) {
	if b[0] < '1' || b[0] > '9' {
		return 0, 0, true
	}
	for i := 0; i < len(b) && i < maxOctetHeader; i++ {
		switch c := b[i]; {
		case isDigit(c):
			size = size*10 + int(c-'0')
			if size > maxFrame {
				return 0, 0, true
			}
		case c == ' ':
			return size, i + 1, false
		default:
			return 0, 0, true
		}
	}
	return 0, 0, len(b) >= maxOctetHeader
}

func (fr *framer) line(b []byte, end ending) (f frame, n, keep int, ok bool) {
	start := 0
	for {
		m := b[start:]
		p := fr.terminator(m)
		if p < 0 && end != endNot && len(m)+fr.over > 0 {
			if fr.misdetected(m, len(m), end) {
				continue
			}
			f, ok = fr.cut(m, len(m))
			if end == endBroken {
				f.defect = defectCut
			}
			f.start, f.end = f.start+start, f.end+start
			return f, len(b), 0, ok
		}
		length := p
		if p < 0 {
			length = len(m)
		}
		if fr.misdetected(m, length, endNot) {
			continue
		}
		if p < 0 {
			keep = len(m)
			if limit := fr.keepMax(); keep > limit {
				fr.discard(m[limit:])
				keep = limit
			}
			fr.scanned = keep
			return f, start, keep, false
		}
		if fr.mode == framingNUL && fr.nuls < 2 {
			fr.nuls++
		}
		f, ok = fr.cut(m, p)
		f.start, f.end = f.start+start, f.end+start
		start += p + 1
		if ok {
			return f, start, 0, true
		}
	}
}

// terminator returns where the message at the start of m ends, -1 if it does not.
// The first terminator of a connection decides between newline and NUL for all of
// it: a sender whose messages may contain the other one must not have them split,
// since the second half could then pose as a message of its own.
func (fr *framer) terminator(m []byte) int {
	s := m[fr.scanned:]
	var p int
	switch fr.mode {
	case framingNUL:
		p = bytes.IndexByte(s, 0)
	case framingLF:
		p = bytes.IndexByte(s, '\n')
	default:
		p = bytes.IndexByte(s, '\n')
		head := s
		if p >= 0 {
			head = s[:p]
		}
		if q := bytes.IndexByte(head, 0); q >= 0 {
			p, fr.mode = q, framingNUL
		} else if p >= 0 {
			fr.mode = framingLF
		}
	}
	if p < 0 {
		return -1
	}
	return fr.scanned + p
}

// misdetected heals a connection that was taken for NUL-terminated because its
// first message held a NUL: when the second message, of length bytes, is too long
// and holds newlines (or ends in one at the end of the stream), newlines it is.
func (fr *framer) misdetected(m []byte, length int, end ending) bool {
	if fr.mode != framingNUL || fr.nuls != 1 || fr.over > 0 {
		return false
	}
	limit := fr.keepMax()
	switch {
	case length > limit:
		if bytes.IndexByte(m[:limit+1], '\n') < 0 {
			return false
		}
	case end != endNot:
		if length == 0 || m[length-1] != '\n' {
			return false
		}
	default:
		return false
	}
	fr.mode, fr.scanned = framingLF, 0
	return true
}

// discard counts bytes of the unfinished message that are not kept.
func (fr *framer) discard(d []byte) {
	t := trailing(d)
	if t == len(d) {
		fr.tail += t
	} else {
		fr.tail = t
	}
	fr.over += len(d)
}

// cut ends the unfinished message at m[:p], stripped of trailing CR, LF and NUL
// and truncated to the limit. ok is false when nothing is left.
func (fr *framer) cut(m []byte, p int) (f frame, ok bool) {
	limit := fr.keepMax()
	kept := p
	if p > limit {
		fr.discard(m[limit:p])
		kept = limit
	}
	f.end = kept
	if fr.tail == fr.over { // nothing but terminators was discarded
		f.end -= trailing(m[:kept])
	} else {
		f.full = kept + fr.over - fr.tail
	}
	fr.scanned, fr.over, fr.tail, fr.limit = 0, 0, 0, 0
	return f, f.end > 0
}

// trailing is the length of the run of CR, LF and NUL that b ends in.
func trailing(b []byte) int {
	i := len(b)
	for i > 0 && (b[i-1] == '\n' || b[i-1] == '\r' || b[i-1] == 0) {
		i--
	}
	return len(b) - i
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
