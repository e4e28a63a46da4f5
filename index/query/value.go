package query

import (
	"fmt"
	"math"
	"net/netip"
	"strings"

	"custody/ingest/record"
)

// value reads the value of a field: "…", [a TO b], >x, a pattern or a plain
// value; start is where the condition begins.
func (p *parser) value(f *field, start int) (*node, *Error) {
	n := &node{path: f.path, sealed: f.sealed}
	pos := p.pos
	if pos == len(p.s) || isSpace(p.s[pos:]) || p.s[pos] == ')' {
		return nil, p.fail(start, pos-start, "%s needs a value right behind the colon", name(n))
	}
	var err *Error
	switch p.s[pos] {
	case '"':
		var text string
		if text, err = p.quoted(); err == nil {
			err = p.literal(n, text, pos, true)
		}
	case '[', '{':
		err = p.rangeOf(n)
	case '<', '>':
		err = p.comparison(n)
	default:
		var text string
		if text, err = p.pattern(false); err == nil {
			err = p.literal(n, text, pos, false)
		}
	}
	if err == nil {
		err = p.endOfValue()
	}
	if err != nil {
		return nil, err
	}
	return n, nil
}

// endOfValue refuses what is glued to a value and would silently become a search of its own.
func (p *parser) endOfValue() *Error {
	if p.pos < len(p.s) && !isSpace(p.s[p.pos:]) && p.s[p.pos] != ')' {
		return p.fail(p.pos, 1, "the value ends here; quote a value with quotes, brackets or parentheses in it, or put a space")
	}
	return nil
}

// literal makes the condition for a value as written at pos.
func (p *parser) literal(n *node, text string, pos int, quoted bool) *Error {
	size := p.pos - pos
	switch {
	case text == "" && size > 0 && p.s[pos] == '"':
		e := p.fail(pos, size, "no value is empty; to find what is missing write NOT _exists_:%s", name(n))
		return e
	case text == "":
		return p.fail(pos, 1, "%s needs a value right behind the colon", name(n))
	case !quoted && onlyStars(text):
		n.op = opExists
		return nil
	case !quoted && hasMarker(text):
		n.op, n.text = opGlob, foldString(text)
		if len(n.text) > MaxGlob {
			return p.fail(pos, size, "a pattern has at most %d bytes", MaxGlob)
		}
		return nil
	case valueKind(n.path) == record.Instant:
		from, to, ok := p.instant(text)
		if !ok {
			return p.notATime(n, text, pos, size)
		}
		n.op, n.from, n.to = opSpan, from, to
		return nil
	case !quoted && isAddress(n.path.Field):
		addr, _, slash := strings.Cut(text, "/")
		if _, err := netip.ParseAddr(addr); err != nil || !slash {
			break
		}
		cidr, err := netip.ParsePrefix(text)
		if err != nil {
			e := p.fail(pos, size, "%q is not an address range", text)
			e.Suggestion = Quote(text)
			return e
		}
		if cidr.Addr().Is4In6() && cidr.Bits() >= 96 {
			cidr = netip.PrefixFrom(cidr.Addr().Unmap(), cidr.Bits()-96)
		}
		n.op, n.cidr = opCIDR, cidr.Masked()
		return nil
	}
	n.op, n.text = opExact, foldString(text)
	if n.path.Field == KindField {
		return p.checkKind(n.text, pos, size)
	}
	return nil
}

// checkKind refuses a kind that no row can have.
func (p *parser) checkKind(kind string, pos, size int) *Error {
	if _, ok := record.ParseKind(kind); ok {
		return nil
	}
	e := p.fail(pos, size, "there is no kind %q; the kinds are %s", kind, strings.Join(record.KindNames(), ", "))
	for _, k := range record.KindNames() {
		if kind != "" && (strings.HasPrefix(k, kind) || strings.HasPrefix(kind, k)) {
			e.Suggestion = k
			break
		}
	}
	return e
}

func (p *parser) notATime(n *node, text string, pos, size int) *Error {
	return p.fail(pos, size, "%q is not a time for %s: write 2026-11-23, 2026-11-23T14:02:07Z or now-15m", text, name(n))
}

// end is one end of a range.
type end struct {
	text      string
	pos, size int
	open      bool
	incl      bool
}

// comparison reads >x, >=x, <x or <=x.
func (p *parser) comparison(n *node) *Error {
	less := p.s[p.pos] == '<'
	p.pos++
	incl := p.pos < len(p.s) && p.s[p.pos] == '='
	if incl {
		p.pos++
	}
	e, err := p.end(false)
	if err != nil {
		return err
	}
	e.incl = incl
	if e.open {
		return p.fail(e.pos, e.size, "a comparison needs a value")
	}
	other := end{open: true}
	if less {
		return p.between(n, other, e)
	}
	return p.between(n, e, other)
}

// rangeOf reads [a TO b] with a bracket or a brace on either side.
func (p *parser) rangeOf(n *node) *Error {
	start := p.pos
	loIncl := p.s[p.pos] == '['
	p.pos++
	p.space()
	lo, err := p.end(true)
	if err != nil {
		return err
	}
	p.space()
	if !p.atKeyword("TO") {
		return p.fail(start, p.pos-start, "a range is written [a TO b]")
	}
	p.pos += len("TO")
	p.space()
	hi, err := p.end(true)
	if err != nil {
		return err
	}
	p.space()
	if p.pos == len(p.s) || p.s[p.pos] != ']' && p.s[p.pos] != '}' {
		return p.fail(start, p.pos-start, "this range is never closed by ] or }")
	}
	lo.incl, hi.incl = loIncl, p.s[p.pos] == ']'
	p.pos++
	return p.between(n, lo, hi)
}

// end reads one end of a range: a plain or a quoted value, or * for none.
func (p *parser) end(inRange bool) (end, *Error) {
	e := end{pos: p.pos}
	var err *Error
	if p.pos < len(p.s) && p.s[p.pos] == '"' {
		e.text, err = p.quoted()
	} else if e.text, err = p.pattern(inRange); err == nil {
		if e.open = onlyStars(e.text); !e.open && hasMarker(e.text) {
			err = p.fail(e.pos, p.pos-e.pos, "an end of a range has no wildcards; quote it to mean the characters")
		}
	}
	e.size = p.pos - e.pos
	if err == nil && e.text == "" {
		err = p.fail(e.pos, max(e.size, 1), "a value is expected here")
	}
	return e, err
}

// between makes the condition lo … hi by the kind of the field's values.
func (p *parser) between(n *node, lo, hi end) *Error {
	if lo.open && hi.open {
		n.op = opExists
		return nil
	}
	if valueKind(n.path) == record.Instant {
		return p.span(n, lo, hi)
	}
	n.op = opRange
	n.rng = bounds{
		lo: foldString(lo.text), hi: foldString(hi.text), hasLo: !lo.open, hasHi: !hi.open,
		loIncl: lo.incl, hiIncl: hi.incl,
		numeric: (lo.open || isDecimal(lo.text)) && (hi.open || isDecimal(hi.text)),
	}
	if lo.open {
		n.rng.lo, n.rng.loIncl = "", false
	}
	if hi.open {
		n.rng.hi, n.rng.hiIncl = "", false
	}
	if valueKind(n.path) == record.Number && !n.rng.numeric {
		bad := lo
		if lo.open || isDecimal(lo.text) {
			bad = hi
		}
		return p.fail(bad.pos, bad.size, "%s holds numbers; %q is none", name(n), bad.text)
	}
	return nil
}

// span makes a condition on an instant. An end stands for its whole span (a day,
// a minute, …): included ends take all of it in, excluded ends leave all of it out.
func (p *parser) span(n *node, lo, hi end) *Error {
	n.op, n.from, n.to = opSpan, math.MinInt64, math.MaxInt64
	if !lo.open {
		from, to, ok := p.instant(lo.text)
		if !ok {
			return p.notATime(n, lo.text, lo.pos, lo.size)
		}
		if n.from = from; !lo.incl {
			n.from = to
		}
	}
	if !hi.open {
		from, to, ok := p.instant(hi.text)
		if !ok {
			return p.notATime(n, hi.text, hi.pos, hi.size)
		}
		if n.to = to; !hi.incl {
			n.to = from
		}
	}
	return nil
}

// name is the dotted name of a leaf's field.
func name(n *node) string {
	switch n.path.Field {
	case KindField:
		return "kind"
	case SeqField:
		return "seq"
	}
	if n.sealed {
		return fmt.Sprintf("sealed.%s", n.path)
	}
	return n.path.String()
}
