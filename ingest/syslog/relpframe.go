package syslog

// RELP, as librelp's doc/relp.md specifies it:
//
//	FRAME   = TXNR SP COMMAND SP DATALEN [SP DATA] LF
//	TXNR    = 1*9DIGIT   COMMAND = 1*32ALPHA   DATALEN = 1*9DIGIT
const (
	maxRELPHeader  = 9 + 1 + 32 + 1 + 9 + 1
	maxRELPCommand = 32
	maxTxnr        = 999_999_999
)

// relpFrame is one RELP frame in the buffer it was found in: its command is
// b[cmdStart:cmdEnd], its data b[start:end].
type relpFrame struct {
	txnr             uint32
	cmdStart, cmdEnd int
	start, end       int
	full             int // DATALEN when the data is truncated, else 0
}

// relpParser splits one RELP stream. Like framer it holds no bytes.
type relpParser struct {
	max  int // longest data kept, bytes
	over int // bytes of the unfinished frame discarded beyond max
}

// next looks for a whole frame in b. The values are those of framer.next; bad says
// that b does not start with a RELP frame, and the session must end.
func (p *relpParser) next(b []byte) (f relpFrame, n, keep int, ok, bad bool) {
	size, header, bad := p.header(b, &f)
	if bad || header == 0 {
		return f, 0, len(b), false, bad
	}
	kept := min(size, p.max)
	f.start, f.end = header, header+kept
	left := size - kept - p.over // bytes still to be discarded
	avail := len(b) - f.end
	if avail <= left {
		if drop := min(max(avail, 0), left); drop > 0 {
			p.over += drop
			return f, 0, f.end, false, false
		}
		return f, 0, len(b), false, false
	}
	n = f.end + left + 1
	if b[n-1] != '\n' {
		return f, 0, len(b), false, true
	}
	if kept < size {
		f.full = size
	}
	p.over = 0
	return f, n, 0, true, false
}

// header reads up to where the data starts. length is 0 while it is incomplete.
func (p *relpParser) header(b []byte, f *relpFrame) (size, length int, bad bool) {
	txnr, i := digits(b, 0)
	if i == 0 || i == len(b) {
		return 0, 0, len(b) > 0 && i == 0 || i > 9
	}
	if i > 9 || b[i] != ' ' {
		return 0, 0, true
	}
	f.txnr = uint32(txnr) // at most nine digits
	i++
	f.cmdStart = i
	for i < len(b) && isAlpha(b[i]) {
		i++
	}
	f.cmdEnd = i
	if i-f.cmdStart > maxRELPCommand {
		return 0, 0, true
	}
	if i == len(b) {
		return 0, 0, false
	}
	if i == f.cmdStart || b[i] != ' ' {
		return 0, 0, true
	}
	i++
	first := i
	size, i = digits(b, i)
	if i-first > 9 || size > maxFrame {
		return 0, 0, true
	}
	if i == len(b) {
		return 0, 0, false
	}
	if i == first {
		return 0, 0, true
	}
	switch {
	case b[i] == ' ':
		return size, i + 1, false
	case b[i] == '\n' && size == 0:
		return 0, i, false
	}
	return 0, 0, true
}

// digits reads a number at b[i:] and returns the index after it. More than nine
// digits are not read: the caller sees ten and refuses.
func digits(b []byte, i int) (value, next int) {
	for first := i; i < len(b) && isDigit(b[i]) && i-first < 10; i++ {
		value = value*10 + int(b[i]-'0')
	}
	return value, i
}

func isAlpha(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
