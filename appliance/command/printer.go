package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf8"
)

// printer is the only way to the terminal. Log text is written by attackers: every
// control character in what is printed becomes visible text.
type printer struct {
	out, err io.Writer
	// failed is the first write error of out (a closed pipe): commands that print
	// much stop on it.
	failed error
}

// line prints one line of a result.
func (p *printer) line(format string, args ...any) {
	p.write(append([]byte(clean(fmt.Sprintf(format, args...))), '\n'))
}

func (p *printer) write(b []byte) {
	if _, err := p.out.Write(b); err != nil && p.failed == nil {
		p.failed = fmt.Errorf("write output: %w", err)
	}
}

// warn prints one line that is not a result. Lines of an error's list stay lines.
func (p *printer) warn(format string, args ...any) {
	for line := range strings.SplitSeq(fmt.Sprintf(format, args...), "\n") {
		_, _ = io.WriteString(p.err, clean(line)+"\n") // nowhere left to tell
	}
}

// json prints one JSON value on a line. Control characters that JSON allows raw
// (DEL, C1, direction marks) are escaped, which leaves the value the same.
func (p *printer) json(raw []byte) {
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		p.line("%s", raw) // not JSON: shown as text
		return
	}
	p.write(append(cleanJSON(b.Bytes()), '\n'))
}

// value prints v as JSON on a line.
func (p *printer) value(v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		p.warn("custody: encode output: %s", err)
		return
	}
	p.json(raw)
}

// table prints rows with aligned columns.
func (p *printer) table(rows [][]string) {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			if i > 0 {
				_, _ = io.WriteString(w, "\t")
			}
			_, _ = io.WriteString(w, clean(cell))
		}
		_, _ = io.WriteString(w, "\n")
	}
	_ = w.Flush() // to memory
	for line := range bytes.Lines(b.Bytes()) {
		p.write(append(bytes.TrimRight(line, " \n"), '\n'))
	}
}

// progress overwrites the last line of standard error; it does nothing where that
// is no terminal. An empty text clears the line.
func (p *printer) progress(text string) {
	if terminal(p.err) {
		_, _ = io.WriteString(p.err, "\r"+clean(text)+"\x1b[K")
	}
}

// terminal reports whether w is one.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// harmful says whether a character could steer a terminal or mislead a reader:
// controls, and marks that are invisible or turn the direction of text.
func harmful(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029'
}

// clean makes control characters and broken UTF-8 visible.
func clean(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return harmful(r) || r == utf8.RuneError }) < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case harmful(r) && r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		case harmful(r) && r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		case harmful(r):
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

// cleanJSON escapes harmful characters of a compact JSON text; they stand inside
// strings only.
func cleanJSON(b []byte) []byte {
	if bytes.IndexFunc(b, harmful) < 0 {
		return b
	}
	out := make([]byte, 0, len(b)+64)
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		switch {
		case !harmful(r):
			out = append(out, b[:n]...)
		case r >= 0x10000:
			r -= 0x10000
			out = fmt.Appendf(out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		b = b[n:]
	}
	return out
}
