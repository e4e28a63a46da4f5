package query

import (
	"unicode"
	"unicode/utf8"
)

// space skips white space.
func (p *parser) space() {
	for p.pos < len(p.s) && isSpace(p.s[p.pos:]) {
		_, n := utf8.DecodeRuneInString(p.s[p.pos:])
		p.pos += n
	}
}

// isSpace reports whether s begins with white space.
func isSpace(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return unicode.IsSpace(r)
}

// atKeyword reports whether AND, OR or NOT stands here as a word of its own.
func (p *parser) atKeyword(word string) bool {
	rest := p.s[p.pos:]
	if len(rest) < len(word) || rest[:len(word)] != word {
		return false
	}
	rest = rest[len(word):]
	return rest == "" || isSpace(rest) || rest[0] == '(' || rest[0] == ')' || rest[0] == '"'
}

// keyword skips white space and the keyword, if it is there.
func (p *parser) keyword(word string) bool {
	p.space()
	if !p.atKeyword(word) {
		return false
	}
	p.pos += len(word)
	return true
}

func isNameByte(c byte) bool {
	return c|0x20-'a' <= 25 || c-'0' <= 9 || c == '_' || c == '.'
}

// name reads the name of a field with its colon: a letter or underscore, then
// letters, digits, underscores and dots. It reads nothing if there is none.
func (p *parser) name() (string, bool) {
	i := p.pos
	if c := p.s[i]; c|0x20-'a' > 25 && c != '_' {
		return "", false
	}
	for i < len(p.s) && isNameByte(p.s[i]) {
		i++
	}
	if i == len(p.s) || p.s[i] != ':' {
		return "", false
	}
	name := p.s[p.pos:i]
	p.pos = i + 1
	return name, true
}

// bareEnd is the text from pos to the end of its token, escapes as written.
func (p *parser) bareEnd(pos int) string {
	i := pos
	for i < len(p.s) && !isSpace(p.s[i:]) && p.s[i] != '(' && p.s[i] != ')' && p.s[i] != '"' {
		if p.s[i] == '\\' && i+1 < len(p.s) {
			i++
		}
		_, n := utf8.DecodeRuneInString(p.s[i:])
		i += n
	}
	return p.s[pos:i]
}

// pattern reads a token that is not quoted, up to white space, a quote, a
// parenthesis, or the end of a range. Wildcards come back as markers, escaped
// characters as themselves.
func (p *parser) pattern(inRange bool) (string, *Error) {
	var out []byte
	for p.pos < len(p.s) {
		c := p.s[p.pos]
		switch {
		case isSpace(p.s[p.pos:]), c == '(', c == ')', c == '"', inRange && (c == ']' || c == '}'):
			return string(out), nil
		case c == '\\':
			if p.pos+1 == len(p.s) {
				return "", p.fail(p.pos, 1, "the backslash has nothing to escape")
			}
			_, n := utf8.DecodeRuneInString(p.s[p.pos+1:])
			out = append(out, p.s[p.pos+1:p.pos+1+n]...)
			p.pos += 1 + n
			continue
		case c == '*':
			// A run of stars says what one says.
			if len(out) == 0 || out[len(out)-1] != anyRun {
				out = append(out, anyRun)
			}
		case c == '?':
			out = append(out, anyOne)
		default:
			out = append(out, c)
		}
		p.pos++
	}
	return string(out), nil
}

func onlyStars(pattern string) bool { return pattern == string([]byte{anyRun}) }

// quoted reads "…" with backslash escapes; p is at the quote.
func (p *parser) quoted() (string, *Error) {
	start := p.pos
	var out []byte
	for i := start + 1; i < len(p.s); i++ {
		switch p.s[i] {
		case '"':
			p.pos = i + 1
			return string(out), nil
		case '\\':
			if i++; i == len(p.s) {
				return "", p.fail(i-1, 1, "the backslash has nothing to escape")
			}
		}
		out = append(out, p.s[i])
	}
	return "", p.fail(start, len(p.s)-start, "this quote is never closed")
}
