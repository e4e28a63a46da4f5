package attribution

import (
	"bytes"
	"strconv"
	"unicode/utf8"
)

// xmlElement is one element without child elements.
type xmlElement struct {
	depth int    // 0 for a document that is one element
	name  []byte // with its prefix
	attrs []byte // between name and '>'
	text  []byte // with its entities
}

// xmlLeaves calls yield for each element of b that has no children, in order. It
// reads what audit logs write: elements, attributes, text, comments, CDATA; no
// declarations of entities. It reports whether b is closed as it is opened, no
// deeper than 64 elements.
func xmlLeaves(b []byte, yield func(x xmlElement)) bool {
	depth := 0
	var names [64][]byte // of the elements that are open
	var open xmlElement  // the last element opened, as long as it can be a leaf
	text := 0
	for i := 0; i < len(b); {
		at := bytes.IndexByte(b[i:], '<')
		if at < 0 {
			break
		}
		at += i
		rest := b[at+1:]
		switch {
		case bytes.HasPrefix(rest, []byte("!--")):
			end := bytes.Index(rest, []byte("-->"))
			if end < 0 {
				return false
			}
			i = at + 1 + end + 3
			continue
		case bytes.HasPrefix(rest, []byte("![CDATA[")):
			end := bytes.Index(rest, []byte("]]>"))
			if end < 0 {
				return false
			}
			i = at + 1 + end + 3
			continue
		}
		end := xmlTagEnd(rest)
		if end < 0 {
			return false
		}
		tag := rest[:end]
		i = at + 1 + end + 1
		switch {
		case len(tag) == 0:
			return false
		case tag[0] == '?' || tag[0] == '!':
		case tag[0] == '/':
			depth--
			if depth < 0 || !bytes.Equal(bytes.TrimSpace(tag[1:]), names[depth]) {
				return false
			}
			if open.name != nil {
				open.text = b[text:at]
				yield(open)
			}
			open.name = nil
		default:
			selfClosed := tag[len(tag)-1] == '/'
			if selfClosed {
				tag = tag[:len(tag)-1]
			}
			name, attrs := tag, []byte(nil)
			if j := bytes.IndexAny(tag, " \t\r\n"); j >= 0 {
				name, attrs = tag[:j], tag[j+1:]
			}
			open = xmlElement{depth: depth, name: name, attrs: attrs}
			if selfClosed {
				yield(open)
				open.name = nil
				continue
			}
			if depth == len(names) {
				return false
			}
			names[depth] = name
			depth++
			text = i
		}
	}
	return depth == 0
}

// xmlTagEnd finds the '>' that ends a tag, not one in a quoted attribute.
func xmlTagEnd(b []byte) int {
	quote := byte(0)
	for i, c := range b {
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '>':
			return i
		}
	}
	return -1
}

// xmlAttr is the decoded value of the attribute name.
func xmlAttr(attrs []byte, name string) []byte {
	for len(attrs) > 0 {
		attrs = bytes.TrimLeft(attrs, " \t\r\n")
		key, rest, ok := bytes.Cut(attrs, []byte("="))
		rest = bytes.TrimLeft(rest, " \t\r\n")
		if !ok || len(rest) == 0 || rest[0] != '"' && rest[0] != '\'' {
			return nil
		}
		val, after, ok := bytes.Cut(rest[1:], rest[:1])
		if !ok {
			return nil
		}
		if string(bytes.TrimSpace(key)) == name {
			return xmlText(val)
		}
		attrs = after
	}
	return nil
}

var xmlEntities = map[string]string{"lt": "<", "gt": ">", "amp": "&", "quot": `"`, "apos": "'"}

// xmlText decodes entities and CDATA sections.
func xmlText(b []byte) []byte {
	b = bytes.TrimSpace(b)
	if inner, ok := bytes.CutPrefix(b, []byte("<![CDATA[")); ok {
		inner, _, _ = bytes.Cut(inner, []byte("]]>"))
		return inner
	}
	if bytes.IndexByte(b, '&') < 0 {
		return b
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] == '&' {
			if end := bytes.IndexByte(b[i:min(len(b), i+12)], ';'); end > 1 {
				name := string(b[i+1 : i+end])
				if s, ok := xmlEntities[name]; ok {
					out = append(out, s...)
					i += end
					continue
				}
				if r, ok := xmlChar(name); ok {
					out = utf8.AppendRune(out, r)
					i += end
					continue
				}
			}
		}
		out = append(out, b[i])
	}
	return out
}

// xmlChar reads #10 and #x0A.
func xmlChar(name string) (rune, bool) {
	if len(name) < 2 || name[0] != '#' {
		return 0, false
	}
	digits, base := name[1:], 10
	if digits[0] == 'x' || digits[0] == 'X' {
		digits, base = digits[1:], 16
	}
	n, err := strconv.ParseUint(digits, base, 32)
	if err != nil || n == 0 || n > utf8.MaxRune {
		return 0, false
	}
	return rune(n), true
}
