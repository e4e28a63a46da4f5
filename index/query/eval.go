package query

import (
	"net/netip"
	"strconv"
	"strings"

	"custody/ingest/record"
)

// Match reports whether the query accepts a record. eff is the effective record,
// sealed the original that sealed.* reads, or nil when it is the same. The kind
// of eff decides the scope. Safe for concurrent use; in loops over many records
// [Query.NewMatcher] saves allocations.
func (q *Query) Match(eff, sealed *record.Record) bool {
	m := Matcher{q: q}
	return m.Match(eff, sealed)
}

// Matcher evaluates a query with memory of its own that it reuses. Not safe for
// concurrent use; make one for each goroutine.
type Matcher struct {
	q    *Query
	vals []string
	buf  []byte
}

// NewMatcher returns a matcher for loops over many records.
func (q *Query) NewMatcher() *Matcher { return &Matcher{q: q} }

// Match is [Query.Match].
func (m *Matcher) Match(eff, sealed *record.Record) bool {
	if sealed == nil {
		sealed = eff
	}
	return m.q.kinds.Has(eff.Kind) && m.eval(m.q.root, eff, sealed)
}

func (m *Matcher) eval(n *node, eff, sealed *record.Record) bool {
	switch n.op {
	case opAll:
		return true
	case opAnd:
		for _, k := range n.byCost {
			if !m.eval(k, eff, sealed) {
				return false
			}
		}
		return true
	case opOr:
		for _, k := range n.byCost {
			if m.eval(k, eff, sealed) {
				return true
			}
		}
		return false
	case opNot:
		return !m.eval(n.kids[0], eff, sealed)
	case opText:
		return m.textIn(n.phrase, eff)
	}
	if n.sealed {
		return m.leaf(n, sealed)
	}
	return m.leaf(n, eff)
}

// leaf evaluates a condition on a path of r: any value will do.
func (m *Matcher) leaf(n *node, r *record.Record) bool {
	f := n.path.Field
	switch f {
	case KindField:
		return n.matchValue(kindName(r.Kind))
	case SeqField:
		m.buf = strconv.AppendUint(m.buf[:0], r.Seq, 10)
		return n.matchValue(view(m.buf))
	case record.Time, record.Received:
		t := r.Time
		if f == record.Received {
			t = r.Received
		}
		switch n.op {
		case opSpan:
			return t != 0 && n.from <= t && t < n.to
		case opExists:
			return t != 0
		}
	case record.ID:
		switch n.op {
		case opExact:
			return r.ID == n.id && r.ID != [16]byte{}
		case opExists:
			return r.ID != [16]byte{}
		}
	}
	switch f.Info().Kind {
	case record.Text, record.Instant, record.Number, record.Bytes:
		v := r.Get(f)
		return v != "" && n.matchValue(v)
	}
	if n.phrase != nil && !m.someObject(n, r) {
		return false // taking the objects apart costs a hundred times more
	}
	m.vals = r.Values(n.path, m.vals[:0])
	return n.matchAny(m.vals)
}

// someObject reports whether an element of the list has the words of n in one string.
func (m *Matcher) someObject(n *node, r *record.Record) bool {
	found, buf := false, m.buf
	r.Elements(n.path.Field, func(v, _ string) bool {
		buf, found = objectStrings(v, buf, n.phrase.match)
		return !found
	})
	m.buf = buf
	return found
}

func kindName(k record.Kind) string {
	if k == 0 {
		k = record.KindRecord
	}
	return k.String()
}

func (n *node) matchAny(values []string) bool {
	for _, v := range values {
		if v != "" && n.matchValue(v) {
			return true
		}
	}
	return false
}

// matchValue evaluates a condition on one value, which is not empty.
func (n *node) matchValue(v string) bool {
	switch n.op {
	case opExists:
		return true
	case opExact:
		return foldCompare(v, n.text) == 0
	case opGlob:
		return globMatch(n.text, v)
	case opRange:
		return n.rng.contain(v)
	case opSpan:
		t, ok := record.ParseTime(v)
		return ok && n.from <= t && t < n.to
	case opCIDR:
		a, ok := parseAddr(v)
		return ok && n.cidr.Contains(a)
	}
	return false
}

func (b *bounds) contain(v string) bool {
	cmp := foldCompare
	if b.numeric {
		if !isDecimal(v) {
			return false
		}
		cmp = compareDecimal
	}
	if b.hasLo {
		if c := cmp(v, b.lo); c < 0 || c == 0 && !b.loIncl {
			return false
		}
	}
	if b.hasHi {
		if c := cmp(v, b.hi); c > 0 || c == 0 && !b.hiIncl {
			return false
		}
	}
	return true
}

// parseAddr reads an address, bare or with a port. It looks first, since the
// errors of netip cost an allocation each.
func parseAddr(v string) (netip.Addr, bool) {
	if len(v) > 128 || v == "" {
		return netip.Addr{}, false
	}
	c := v[0]
	if c != ':' && c != '[' && c-'0' > 9 && c|0x20-'a' > 5 {
		return netip.Addr{}, false
	}
	var a netip.Addr
	var err error
	switch {
	case c == '[' && v[len(v)-1] == ']':
		a, err = netip.ParseAddr(v[1 : len(v)-1])
	case c == '[' || strings.Count(v, ":") == 1:
		var ap netip.AddrPort
		ap, err = netip.ParseAddrPort(v)
		a = ap.Addr()
	default:
		a, err = netip.ParseAddr(v)
	}
	return a.Unmap().WithZone(""), err == nil
}

// isDecimal: an optional minus, digits, and at most one point with digits behind it.
func isDecimal(s string) bool {
	if s != "" && s[0] == '-' {
		s = s[1:]
	}
	whole, frac, point := strings.Cut(s, ".")
	return allDigits(whole) && (!point || allDigits(frac))
}

func allDigits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i]-'0' > 9 {
			return false
		}
	}
	return s != ""
}

// compareDecimal orders two decimals exactly, of any length.
func compareDecimal(a, b string) int {
	aw, af, aneg := splitDecimal(a)
	bw, bf, bneg := splitDecimal(b)
	if aneg != bneg {
		if aneg {
			return -1
		}
		return 1
	}
	c := sign(len(aw) - len(bw))
	if c == 0 {
		c = strings.Compare(aw, bw)
	}
	if c == 0 {
		c = strings.Compare(af, bf)
	}
	if aneg {
		return -c
	}
	return c
}

// splitDecimal drops what doesn't count: leading and trailing zeros, and the sign of zero.
func splitDecimal(s string) (whole, frac string, neg bool) {
	if s[0] == '-' {
		neg, s = true, s[1:]
	}
	whole, frac, _ = strings.Cut(s, ".")
	whole = strings.TrimLeft(whole, "0")
	frac = strings.TrimRight(frac, "0")
	return whole, frac, neg && (whole != "" || frac != "")
}

// textIn searches the words of a record: of the message, then of every value
// (see [IndexTerms] for what that is).
func (m *Matcher) textIn(p *phrase, r *record.Record) bool {
	if p.match(r.MessageText()) {
		return true
	}
	found := false
	r.Scalars(func(f record.Field, v, _ string) bool {
		found = wordsOf[f] == wordsPlain && p.match(v)
		return !found
	})
	if found {
		return true
	}
	buf := m.buf
	r.Lists(func(f record.Field, v, _ string) bool {
		switch wordsOf[f] {
		case wordsPlain:
			found = p.match(v)
		case wordsObject:
			buf, found = objectStrings(v, buf, p.match)
		}
		return !found
	})
	m.buf = buf
	if found {
		return true
	}
	if abs := r.AbsenceJSON(); abs != "" {
		m.buf, found = objectStrings(abs, m.buf, p.match)
	}
	return found
}
