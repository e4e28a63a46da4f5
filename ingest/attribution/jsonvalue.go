package attribution

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// root is the node of the whole document.
const root int32 = 1

func (t *tree) keyOf(n int32) []byte { return t.pick(&t.nodes[n]) }

func (t *tree) pick(v *node) []byte {
	if v.flags&keyEscaped != 0 {
		return t.keys[v.key:v.keyEnd]
	}
	return t.src[v.key:v.keyEnd]
}

func (t *tree) kindOf(n int32) kind { return t.nodes[n].kind }

// first is the first child of n, 0 when it has none.
func (t *tree) first(n int32) int32 {
	if t.nodes[n].count == 0 {
		return 0
	}
	return n + 1
}

func (t *tree) next(n int32) int32 { return t.nodes[n].next }

// get finds the member key of the object n; 0 when there is none, or two.
func (t *tree) get(n int32, key string) int32 {
	v := &t.nodes[n]
	if v.kind != kindObject || v.count == 0 {
		return 0
	}
	if n == root {
		if word, bit := keyBit(key); t.top[word]&bit == 0 {
			return 0
		}
	}
	for c := n + 1; c != 0; {
		m := &t.nodes[c]
		if int(m.keyEnd-m.key) == len(key) && m.flags&isDuplicate == 0 && string(t.keyOf(c)) == key {
			if m.kind == kindNone {
				return 0
			}
			return c
		}
		c = m.next
	}
	return 0
}

// find follows the JSON Pointer from the node n; 0 when it leads nowhere.
func (t *tree) find(n int32, pointer string) int32 {
	for pointer != "" && n != 0 {
		seg := pointer[1:]
		if i := strings.IndexByte(seg, '/'); i >= 0 {
			seg, pointer = seg[:i], seg[i:]
		} else {
			pointer = ""
		}
		if t.kindOf(n) == kindArray {
			n = t.element(n, seg)
			continue
		}
		if strings.IndexByte(seg, '~') >= 0 {
			seg = strings.ReplaceAll(strings.ReplaceAll(seg, "~1", "/"), "~0", "~")
		}
		n = t.get(n, seg)
	}
	return n
}

func (t *tree) element(n int32, seg string) int32 {
	i, err := strconv.Atoi(seg)
	if err != nil || i < 0 {
		return 0
	}
	c := t.first(n)
	for ; c != 0 && i > 0; i-- {
		c = t.next(c)
	}
	if c != 0 && t.kindOf(c) == kindNone {
		return 0
	}
	return c
}

// source is the value's text in the line, a string with its quotes.
func (t *tree) source(n int32) []byte {
	v := &t.nodes[n]
	if v.kind == kindString {
		return t.src[v.val-1 : v.end+1]
	}
	return t.src[v.val:v.end]
}

// scalar is the text of a string, number or boolean. Escaped strings are
// decoded into buf, which is returned grown.
func (t *tree) scalar(n int32, buf []byte) (val, grown []byte) {
	v := &t.nodes[n]
	switch v.kind {
	case kindString:
		if v.flags&valEscaped == 0 {
			return t.src[v.val:v.end], buf
		}
		at := len(buf)
		buf = unescape(buf, t.src[v.val:v.end])
		return buf[at:len(buf):len(buf)], buf
	case kindNumber, kindTrue, kindFalse:
		return t.src[v.val:v.end], buf
	}
	return nil, buf
}

// unescape appends the decoded JSON string s to dst. Unpaired surrogates and
// broken escapes become U+FFFD.
func unescape(dst, s []byte) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != '\\' || i+1 >= len(s) {
			dst = append(dst, c)
			continue
		}
		i++
		switch s[i] {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r := hex4(s[i+1:])
			if r < 0 {
				dst = utf8.AppendRune(dst, utf8.RuneError)
				continue
			}
			i += 4
			if utf16.IsSurrogate(r) {
				low := rune(-1)
				if i+2 < len(s) && s[i+1] == '\\' && s[i+2] == 'u' {
					low = hex4(s[i+3:])
				}
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					i += 6
				}
			}
			dst = utf8.AppendRune(dst, r)
		default: // '"', '\\', '/' and what no escape is
			dst = append(dst, s[i])
		}
	}
	return dst
}

func hex4(s []byte) rune {
	if len(s) < 4 {
		return -1
	}
	var r rune
	for _, c := range s[:4] {
		switch {
		case c-'0' < 10:
			r = r<<4 | rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return -1
		}
	}
	return r
}
