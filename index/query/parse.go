package query

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"custody/ingest/record"
)

// parser reads a query by recursive descent, straight from the text.
type parser struct {
	s     string
	pos   int
	now   time.Time
	nodes int
	depth int
	kind  bool // kind was named
}

// field is a name in front of a colon.
type field struct {
	path   record.Path
	sealed bool
}

func parse(s string, now time.Time) (root *node, kind bool, err error) {
	if len(s) > MaxLen {
		return nil, false, &Error{Pos: MaxLen, Len: len(s) - MaxLen, Msg: fmt.Sprintf("a query has at most %d bytes", MaxLen)}
	}
	for i, r := range s {
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				return nil, false, &Error{Pos: i, Len: 1, Msg: "the query is not UTF-8 here"}
			}
		}
	}
	p := &parser{s: s, now: now}
	p.space()
	if p.pos == len(s) {
		return &node{op: opAll}, false, nil
	}
	root, e := p.or(nil)
	if e == nil && p.pos < len(s) {
		e = p.fail(p.pos, 1, "this parenthesis was never opened")
	}
	if e != nil {
		return nil, false, e
	}
	return root, p.kind, nil
}

// fail makes an error about n bytes at pos.
func (p *parser) fail(pos, n int, format string, args ...any) *Error {
	pos = min(pos, len(p.s))
	return &Error{Pos: pos, Len: min(n, len(p.s)-pos), Msg: fmt.Sprintf(format, args...)}
}

// count takes one of the nodes that a query may have.
func (p *parser) count(pos int) *Error {
	if p.nodes++; p.nodes > MaxNodes {
		return p.fail(pos, 1, "a query has at most %d conditions", MaxNodes)
	}
	return nil
}

// enter goes one level deeper; the caller leaves by p.depth--.
func (p *parser) enter(pos int) *Error {
	if p.depth++; p.depth > MaxDepth {
		return p.fail(pos, 1, "parentheses and negations go at most %d deep", MaxDepth)
	}
	return p.count(pos)
}

// or reads a OR b OR …, inside the parentheses of a field when f is given.
func (p *parser) or(f *field) (*node, *Error) {
	var kids []*node
	for {
		n, err := p.and(f)
		if err != nil {
			return nil, err
		}
		kids = append(kids, n)
		if !p.keyword("OR") {
			return join(opOr, kids), nil
		}
	}
}

// and reads a AND b c …
func (p *parser) and(f *field) (*node, *Error) {
	var kids []*node
	for {
		n, err := p.unary(f)
		if err != nil {
			return nil, err
		}
		kids = append(kids, n)
		p.space()
		if p.keyword("AND") {
			continue
		}
		if p.pos == len(p.s) || p.s[p.pos] == ')' || p.atKeyword("OR") {
			return join(opAnd, kids), nil
		}
	}
}

func (p *parser) unary(f *field) (*node, *Error) {
	p.space()
	pos := p.pos
	if pos == len(p.s) {
		return nil, p.fail(pos, 0, "the query ends where a condition is expected")
	}
	n := 0
	switch {
	case p.atKeyword("AND"), p.atKeyword("OR"):
		return nil, p.fail(pos, len(p.bareEnd(pos)), "%s needs a condition on both sides; quote it to search the word", p.bareEnd(pos))
	case p.atKeyword("NOT"):
		n = 3
	case p.s[pos] == '-', p.s[pos] == '!':
		n = 1
		if pos+1 == len(p.s) || isSpace(p.s[pos+1:]) || p.s[pos+1] == ')' {
			return nil, p.fail(pos, 1, "%q needs a condition right behind it", p.s[pos:pos+1])
		}
	default:
		return p.primary(f)
	}
	p.pos += n
	if err := p.enter(pos); err != nil {
		return nil, err
	}
	kid, err := p.unary(f)
	p.depth--
	if err != nil {
		return nil, err
	}
	return negate(kid), nil
}

func (p *parser) primary(f *field) (*node, *Error) {
	pos := p.pos
	if p.s[pos] == '(' {
		return p.group(f)
	}
	if err := p.count(pos); err != nil {
		return nil, err
	}
	if f != nil {
		return p.value(f, pos)
	}
	switch p.s[pos] {
	case ')':
		return nil, p.fail(pos, 1, "a condition is expected before the parenthesis")
	case '"':
		text, err := p.quoted()
		if err != nil {
			return nil, err
		}
		return p.text(text, pos)
	case '[', '{':
		return nil, p.suggestQuotes(pos, "a range needs a field in front of it")
	}
	return p.bare()
}

// group reads ( … ); p is at the parenthesis.
func (p *parser) group(f *field) (*node, *Error) {
	pos := p.pos
	if err := p.enter(pos); err != nil {
		return nil, err
	}
	p.pos++
	n, err := p.or(f)
	p.depth--
	if err != nil {
		return nil, err
	}
	if p.pos == len(p.s) {
		return nil, p.fail(pos, 1, "this parenthesis is never closed")
	}
	p.pos++ // or stops at ')' or the end only
	return n, nil
}

// bare reads a token that is not quoted: words, a pattern, or a field with its value.
func (p *parser) bare() (*node, *Error) {
	pos := p.pos
	if name, ok := p.name(); ok {
		return p.named(name, pos)
	}
	pattern, err := p.pattern(false)
	if err != nil {
		return nil, err
	}
	if onlyStars(pattern) {
		return &node{op: opAll}, nil
	}
	return p.text(pattern, pos)
}

// text makes a search of the words of a text, which may hold wildcard markers.
func (p *parser) text(text string, pos int) (*node, *Error) {
	ph := &phrase{}
	for i := 0; ; {
		for i < len(text) && !isMarker(text[i]) {
			n := separatorInPattern(text[i:])
			if n == 0 {
				break
			}
			i += n
		}
		if i >= len(text) {
			break
		}
		start := i
		for i < len(text) {
			if isMarker(text[i]) {
				i++
				continue
			}
			n := wordEnd(text[i:])
			if n == 0 {
				break
			}
			i += n
		}
		w := foldString(text[start:i])
		glob := hasMarker(w)
		if glob && len(w) > MaxGlob {
			return nil, p.fail(pos, p.pos-pos, "a pattern has at most %d bytes", MaxGlob)
		}
		if glob && ph.globs == nil {
			ph.globs = make([]bool, len(ph.elems), len(ph.elems)+1)
		}
		ph.elems = append(ph.elems, w)
		if ph.globs != nil {
			ph.globs = append(ph.globs, glob)
		}
	}
	switch {
	case len(ph.elems) == 1 && onlyStars(ph.elems[0]):
		return &node{op: opAll}, nil
	case len(ph.elems) == 0:
		e := p.fail(pos, p.pos-pos, "there is no letter or digit to search for")
		e.Suggestion = map[string]string{"&&": "AND", "||": "OR"}[p.s[pos:p.pos]]
		return nil, e
	case len(ph.elems) > maxPhrase:
		return nil, p.fail(pos, p.pos-pos, "a phrase has at most %d words", maxPhrase)
	}
	return &node{op: opText, phrase: ph}, nil
}

// named reads what follows the name of a field; p is behind the colon.
func (p *parser) named(name string, pos int) (*node, *Error) {
	if name == "_exists_" {
		return p.exists()
	}
	f, ok := lookup(name)
	if !ok {
		return nil, p.unknown(name, pos)
	}
	p.kind = p.kind || f.path.Field == KindField
	if p.pos < len(p.s) && p.s[p.pos] == '(' {
		return p.group(&f)
	}
	return p.value(&f, pos)
}

// exists reads the name behind _exists_: .
func (p *parser) exists() (*node, *Error) {
	pos := p.pos
	for p.pos < len(p.s) && isNameByte(p.s[p.pos]) {
		p.pos++
	}
	name := p.s[pos:p.pos]
	if name == "" {
		return nil, p.fail(pos, len(p.bareEnd(pos)), "_exists_ needs the name of a field")
	}
	f, ok := lookup(name)
	if !ok {
		return nil, &Error{Pos: pos, Len: len(name), Msg: fmt.Sprintf("there is no field %q", name), Suggestion: suggest(name)}
	}
	p.kind = p.kind || f.path.Field == KindField
	return &node{op: opExists, path: f.path, sealed: f.sealed}, p.endOfValue()
}

func lookup(name string) (field, bool) {
	switch name {
	case "kind":
		return field{path: record.Path{Field: KindField}}, true
	case "seq":
		return field{path: record.Path{Field: SeqField}}, true
	}
	rest, sealed := strings.CutPrefix(name, "sealed.")
	path, ok := record.Lookup(rest)
	return field{path, sealed}, ok
}

func suggest(name string) string {
	if rest, sealed := strings.CutPrefix(name, "sealed."); sealed {
		if rest == "kind" || rest == "seq" {
			return rest // they are the same for both
		}
		if s := record.Suggest(rest); s != "" {
			return "sealed." + s
		}
		return ""
	}
	return record.Suggest(name)
}

// unknown is the error for a name that is no field, with the nearest field, or
// else with quotes, as a suggestion.
func (p *parser) unknown(name string, pos int) *Error {
	token := p.bareEnd(pos)
	quoted := Quote(token)
	if s := suggest(name); s != "" {
		return &Error{
			Pos: pos, Len: len(name), Suggestion: s,
			Msg: fmt.Sprintf("there is no field %q; quote %s to search the text", name, quoted),
		}
	}
	return &Error{
		Pos: pos, Len: len(token), Suggestion: quoted,
		Msg: fmt.Sprintf("there is no field %q; quote the text to search it", name),
	}
}

// suggestQuotes is an error about the token at pos that suggests to quote it.
func (p *parser) suggestQuotes(pos int, msg string) *Error {
	token := p.bareEnd(pos)
	return &Error{Pos: pos, Len: len(token), Msg: msg, Suggestion: Quote(token)}
}
