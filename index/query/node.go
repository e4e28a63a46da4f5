package query

import (
	"net/netip"
	"slices"

	"custody/ingest/record"
)

type opcode uint8

const (
	opAll    opcode = iota
	opAnd           // kids
	opOr            // kids
	opNot           // one kid
	opText          // phrase, in the message or any value
	opExact         // text: a whole value
	opGlob          // text: a pattern over a whole value
	opRange         // rng
	opSpan          // from, to: an instant
	opCIDR          // cidr
	opExists        // a value
)

// node is one part of a query. Text in it is folded.
type node struct {
	op     opcode
	kids   []*node
	sealed bool // of the sealed original, not of the effective record
	path   record.Path
	text   string
	phrase *phrase // of opText; of an opExact on a member: words that its object must have
	rng    bounds
	cidr   netip.Prefix

	// An instant t matches when from <= t < to. The extremes of int64 stand for
	// "open": no record can hold them.
	from, to int64

	byCost []*node  // kids, cheapest first
	id     [16]byte // of an opExact on id
}

// bounds are the ends of a range of values, each absent when open.
type bounds struct {
	lo, hi         string
	hasLo, hasHi   bool
	loIncl, hiIncl bool
	numeric        bool // the ends that are there are decimal numbers
}

func (n *node) isLeaf() bool { return n.op > opNot }

func (n *node) walk(visit func(*node)) {
	visit(n)
	for _, k := range n.kids {
		k.walk(visit)
	}
}

// prepare computes what evaluation needs beside the syntax; its kids need not be prepared.
func (n *node) prepare() {
	switch n.op {
	case opText:
		n.phrase.prepare()
	case opExact:
		if n.path.Field == record.ID {
			n.id, _ = record.ParseID(n.text)
		}
		if n.path.Sub != "" && n.path.Field.Info().Kind == record.Objects && n.hasWords(n.text) {
			ph := &phrase{}
			eachWord(n.text, func(w string) { ph.elems = append(ph.elems, w) })
			if len(ph.elems) > 0 && len(ph.elems) <= maxPhrase {
				n.phrase = ph
				ph.prepare()
			}
		}
	case opAnd, opOr:
		n.byCost = slices.Clone(n.kids)
		slices.SortStableFunc(n.byCost, func(a, b *node) int { return a.cost() - b.cost() })
	}
}

// cost is a rough weight of evaluating n.
func (n *node) cost() int {
	switch n.op {
	case opAll:
		return 0
	case opText:
		return 40
	case opGlob, opCIDR, opRange:
		return 4
	}
	if n.isLeaf() {
		return 2
	}
	c := 0
	for _, k := range n.kids {
		c += k.cost()
	}
	return c
}

// join makes an AND or OR of kids, flattened.
func join(op opcode, kids []*node) *node {
	if len(kids) == 1 {
		return kids[0]
	}
	n := &node{op: op}
	for _, k := range kids {
		if k.op == op {
			n.kids = append(n.kids, k.kids...)
		} else {
			n.kids = append(n.kids, k)
		}
	}
	return n
}

// negate makes the negation of n; two negations cancel.
func negate(n *node) *node {
	if n.op == opNot {
		return n.kids[0]
	}
	return &node{op: opNot, kids: []*node{n}}
}

// isAddress reports whether f holds network addresses, so that CIDR applies.
func isAddress(f record.Field) bool { return f == record.SourcePeer || f == record.SourceAddress }

// valueKind is the kind of the values at p; members of objects are text.
func valueKind(p record.Path) record.ValueKind {
	switch {
	case p.Field == KindField:
		return record.Text
	case p.Field == SeqField:
		return record.Number
	case p.Sub == "":
		return p.Field.Info().Kind
	case p.Field == record.Delegations && p.Sub == "expires":
		return record.Instant
	}
	return record.Text
}
