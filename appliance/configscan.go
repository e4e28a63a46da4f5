package appliance

import (
	"strconv"
	"strings"
)

// position is a place in the source, both counted from 1; columns count bytes.
type position struct{ line, col int }

// scanPositions finds where each key of a TOML document stands. The result maps
// paths such as "syslog[0].listen" and "tail[1].paths[2]" to their place. The
// TOML library tells no positions of decoded keys and counts an array table's
// elements wrong, hence this scan.
//
// The source must have passed the TOML parser: on broken input the scan ends
// early and never fails.
func scanPositions(src string) map[string]position {
	s := &scanner{src: src, line: 1, found: map[string]position{}, tables: map[string]int{}}
	prefix := ""
	for s.skipBlank(true) {
		if s.peek() != '[' {
			if !s.pair(prefix) {
				return s.found
			}
			continue
		}
		at := s.at()
		s.next()
		array := s.peek() == '['
		if array {
			s.next()
		}
		parts := s.key()
		if len(parts) == 0 {
			return s.found
		}
		prefix = ""
		for i, p := range parts {
			prefix = join(prefix, p)
			if array && i == len(parts)-1 {
				s.tables[prefix]++
			}
			if n := s.tables[prefix]; n > 0 {
				s.note(prefix, at)
				prefix += "[" + strconv.Itoa(n-1) + "]"
			}
			s.note(prefix, at)
		}
		s.restOfLine()
	}
	return s.found
}

func join(prefix, key string) string {
	if prefix == "" {
		return key
	}
	return prefix + "." + key
}

type scanner struct {
	src    string
	pos    int
	line   int
	bol    int // offset of the line's first byte
	found  map[string]position
	tables map[string]int // elements seen of each array of tables
}

func (s *scanner) at() position { return position{s.line, s.pos - s.bol + 1} }

func (s *scanner) note(path string, at position) {
	if _, ok := s.found[path]; !ok {
		s.found[path] = at
	}
}

func (s *scanner) peek() byte {
	if s.pos >= len(s.src) {
		return 0
	}
	return s.src[s.pos]
}

func (s *scanner) next() {
	if s.pos >= len(s.src) {
		return
	}
	if s.src[s.pos] == '\n' {
		s.line++
		s.bol = s.pos + 1
	}
	s.pos++
}

func (s *scanner) restOfLine() {
	for s.pos < len(s.src) && s.peek() != '\n' {
		s.next()
	}
}

// skipBlank skips spaces, comments and, if asked, line ends. It reports whether input is left.
func (s *scanner) skipBlank(lines bool) bool {
	for s.pos < len(s.src) {
		switch c := s.peek(); {
		case c == ' ' || c == '\t' || c == '\r':
			s.next()
		case c == '\n' && lines:
			s.next()
		case c == '#' && lines:
			s.restOfLine()
		default:
			return true
		}
	}
	return false
}

// pair scans key = value under prefix. It reports whether it got past it.
func (s *scanner) pair(prefix string) bool {
	at := s.at()
	parts := s.key()
	if len(parts) == 0 || s.peek() != '=' {
		return false
	}
	path := prefix
	for _, p := range parts {
		path = join(path, p)
		s.note(path, at)
	}
	s.next()
	s.skipBlank(false)
	s.value(path)
	return true
}

// key scans a dotted key and the blanks after it.
func (s *scanner) key() []string {
	var parts []string
	for s.skipBlank(false) {
		var part string
		switch c := s.peek(); {
		case c == '"' || c == '\'':
			part = s.text()
		default:
			start := s.pos
			for bareKey(s.peek()) {
				s.next()
			}
			if s.pos == start {
				return nil
			}
			part = s.src[start:s.pos]
		}
		parts = append(parts, part)
		s.skipBlank(false)
		if s.peek() != '.' {
			break
		}
		s.next()
	}
	return parts
}

func bareKey(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

func (s *scanner) value(path string) {
	switch s.peek() {
	case '"', '\'':
		s.text()
	case '[':
		s.next()
		for i := 0; s.skipBlank(true) && s.peek() != ']'; i++ {
			elem := path + "[" + strconv.Itoa(i) + "]"
			s.note(elem, s.at())
			before := s.pos
			s.value(elem)
			s.skipBlank(true)
			if s.peek() == ',' {
				s.next()
			}
			if s.pos == before {
				return
			}
		}
		s.next()
	case '{':
		s.next()
		for s.skipBlank(true) && s.peek() != '}' {
			if !s.pair(path) {
				return
			}
			s.skipBlank(true)
			if s.peek() == ',' {
				s.next()
			}
		}
		s.next()
	default:
		for s.pos < len(s.src) && !strings.ContainsRune(",]}#\n", rune(s.peek())) {
			s.next()
		}
	}
}

// text scans any of the four kinds of strings and returns its content. Escapes
// are resolved in single-line basic strings only; keys can be no other.
func (s *scanner) text() string {
	q := s.peek()
	if triple := strings.Repeat(string(q), 3); strings.HasPrefix(s.src[s.pos:], triple) {
		for range 3 {
			s.next()
		}
		for s.pos < len(s.src) && !strings.HasPrefix(s.src[s.pos:], triple) {
			if q == '"' && s.peek() == '\\' {
				s.next()
			}
			s.next()
		}
		// Up to two quotes may stand before the closing three.
		for s.peek() == q {
			s.next()
		}
		return ""
	}
	start := s.pos
	s.next()
	for s.pos < len(s.src) && s.peek() != q && s.peek() != '\n' {
		if q == '"' && s.peek() == '\\' {
			s.next()
		}
		s.next()
	}
	s.next()
	raw := s.src[start:min(s.pos, len(s.src))]
	if q == '"' {
		if v, err := strconv.Unquote(raw); err == nil {
			return v
		}
	}
	return strings.Trim(raw, string(q))
}
