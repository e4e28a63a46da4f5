package web

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// visible shows a logged value on one line as it is: characters that would hide,
// reorder or break the text around them are written out (\u202e, \x1b, ↵).
// Escaping for HTML comes after it, in the templates.
func visible(s string) string { return show(s, false) }

// visibleLines is visible with line breaks and tabs kept.
func visibleLines(s string) string { return show(s, true) }

func show(s string, multi bool) string {
	clean := true
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if hidden(r) || r == utf8.RuneError && n <= 1 {
			clean = false
			break
		}
		i += n
	}
	if clean {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 16)
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n <= 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case multi && (r == '\n' || r == '\t'):
			b.WriteRune(r)
		case r == '\n':
			b.WriteRune('↵')
		case r == '\t':
			b.WriteRune('⇥')
		case !hidden(r):
			b.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		i += max(n, 1)
	}
	return b.String()
}

// hidden says whether r is a control, format or separator character: it has no
// shape of its own and may change that of others.
func hidden(r rune) bool {
	if r < 0x7f {
		return r < ' '
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Cs, unicode.Zl, unicode.Zp)
}

// clipRunes cuts s to n bytes at a character, with an ellipsis.
func clipRunes(n int, s string) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// groupDigits writes 1234567 as 1,234,567.
func groupDigits(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func bytesText(n uint64) string {
	if n < 1024 {
		return strconv.FormatUint(n, 10) + " B"
	}
	v, units := float64(n), "KMGTPE"
	i := -1
	for v >= 1024 && i < len(units)-1 {
		v /= 1024
		i++
	}
	return fmt.Sprintf("%.1f %ciB", v, units[i])
}

// clockText is the time of a row: UTC, milliseconds, always as wide.
func clockText(ns int64) string {
	if ns == 0 {
		return "—"
	}
	return time.Unix(0, ns).UTC().Format("2006-01-02 15:04:05.000")
}

// piece is a run of text; Mark says that the query looked for it.
type piece struct {
	Text string
	Mark bool
}

// highlight cuts text into pieces at the words that the query looks for.
func highlight(text string, words []string) []piece {
	if len(words) == 0 || text == "" {
		return []piece{{Text: text}}
	}
	want := make(map[string]bool, len(words))
	for _, w := range words {
		want[w] = true
	}
	var out []piece
	from := 0
	word := func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		if !word(r) {
			i += n
			continue
		}
		j := i
		for j < len(text) {
			r, n := utf8.DecodeRuneInString(text[j:])
			if !word(r) {
				break
			}
			j += n
		}
		if want[strings.ToLower(text[i:j])] {
			if i > from {
				out = append(out, piece{Text: text[from:i]})
			}
			out = append(out, piece{text[i:j], true})
			from = j
		}
		i = j
	}
	if from < len(text) {
		out = append(out, piece{Text: text[from:]})
	}
	return out
}

func uintText(n uint64) string { return strconv.FormatUint(n, 10) }
