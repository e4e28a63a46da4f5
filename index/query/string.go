package query

import (
	"math"
	"strings"
	"unicode"
	"unicode/utf8"
)

// String is the canonical form: explicit AND and OR, folded values, absolute
// times, one condition for each value. It parses to an equal query.
func (q *Query) String() string {
	var b strings.Builder
	q.root.write(&b, opOr)
	return b.String()
}

// write appends n; outer is the operator around it, which decides on parentheses.
func (n *node) write(b *strings.Builder, outer opcode) {
	switch n.op {
	case opAll:
		b.WriteByte('*')
	case opAnd, opOr:
		// AND binds tighter than OR.
		paren := n.op == opOr && outer == opAnd || outer == opNot
		if paren {
			b.WriteByte('(')
		}
		for i, k := range n.kids {
			if i > 0 {
				b.WriteString(map[opcode]string{opAnd: " AND ", opOr: " OR "}[n.op])
			}
			k.write(b, n.op)
		}
		if paren {
			b.WriteByte(')')
		}
	case opNot:
		b.WriteString("NOT ")
		n.kids[0].write(b, opNot)
	case opText:
		n.phrase.write(b)
	default:
		n.writeLeaf(b)
	}
}

func (p *phrase) write(b *strings.Builder) {
	if p.globs == nil && len(p.elems) > 1 {
		b.WriteByte('"')
		b.WriteString(strings.Join(p.elems, " "))
		b.WriteByte('"')
		return
	}
	// Words with patterns can't be quoted; a dot separates them as well.
	for i, e := range p.elems {
		if i > 0 {
			b.WriteByte('.')
		}
		writePattern(b, e)
	}
}

func (n *node) writeLeaf(b *strings.Builder) {
	if n.op == opExists {
		b.WriteString("_exists_:")
		b.WriteString(name(n))
		return
	}
	b.WriteString(name(n))
	b.WriteByte(':')
	switch n.op {
	case opExact:
		if isAddress(n.path.Field) || !isPlain(n.text) {
			b.WriteString(Quote(n.text))
		} else {
			b.WriteString(n.text)
		}
	case opGlob:
		writePattern(b, n.text)
	case opCIDR:
		b.WriteString(n.cidr.String())
	case opRange:
		writeRange(b, n.rng)
	case opSpan:
		switch {
		case n.to == math.MaxInt64:
			b.WriteString(">=" + formatInstant(n.from))
		case n.from == math.MinInt64:
			b.WriteString("<" + formatInstant(n.to))
		default:
			b.WriteString("[" + formatInstant(n.from) + " TO " + formatInstant(n.to) + "}")
		}
	}
}

func writeRange(b *strings.Builder, r bounds) {
	end := func(text string) string {
		if isPlain(text) {
			return text
		}
		return Quote(text)
	}
	incl := func(ok bool, yes, no string) string {
		if ok {
			return yes
		}
		return no
	}
	switch {
	case !r.hasHi:
		b.WriteString(incl(r.loIncl, ">=", ">") + end(r.lo))
	case !r.hasLo:
		b.WriteString(incl(r.hiIncl, "<=", "<") + end(r.hi))
	default:
		b.WriteString(incl(r.loIncl, "[", "{") + end(r.lo) + " TO " + end(r.hi) + incl(r.hiIncl, "]", "}"))
	}
}

// isPlain reports whether a value needs no quotes.
func isPlain(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isPlainByte(s[i]) {
			return false
		}
	}
	return s != ""
}

func isPlainByte(c byte) bool {
	return isNameByte(c) || c == '@' || c == '/' || c == ':' || c == '-' || c == '+' || c == '%'
}

// Quote writes a value between quotes.
func Quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(s); i++ {
		if s[i] == '"' || s[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	b.WriteByte('"')
	return b.String()
}

// writePattern writes a folded pattern, its markers as wildcards.
func writePattern(b *strings.Builder, p string) {
	for i := 0; i < len(p); {
		switch c := p[i]; {
		case c == anyRun:
			b.WriteByte('*')
			i++
		case c == anyOne:
			b.WriteByte('?')
			i++
		case c < utf8.RuneSelf:
			if !isPlainByte(c) {
				b.WriteByte('\\')
			}
			b.WriteByte(c)
			i++
		default:
			r, n := utf8.DecodeRuneInString(p[i:])
			if unicode.IsSpace(r) {
				b.WriteByte('\\')
			}
			b.WriteString(p[i : i+n])
			i += n
		}
	}
}
