package query

import "custody/ingest/record"

// Tri is a truth value of three.
type Tri uint8

// The truth values.
const (
	Unknown Tri = iota
	False
	True
)

// Columns is a block of rows that keeps some fields as columns of codes. A
// [BlockMatcher] asks it about one block at a time.
type Columns interface {
	// Values calls yield with the code and the values of every entry of the
	// field's column; known is false when the field is not kept as one. A list's
	// elements are one entry. values are valid during the call.
	Values(f record.Field, yield func(code int, values []string)) (known bool, err error)
	// Code is the entry that a row has, 0 when the field is absent. It is asked
	// for fields of which Values said that they are known.
	Code(f record.Field, row int) int
	// Scalar is the value of a scalar field that is not kept as a column, "" when
	// the row has none; known is false when that can't be told.
	Scalar(f record.Field, row int) (value string, known bool)
	// Kind is the kind of a row.
	Kind(row int) record.Kind
	// Text tells what is known of word search number i (see [Query.Texts]) in a row.
	Text(i, row int) Tri
}

// maxCode is the greatest code of a column.
const maxCode = 1024

// BlockMatcher evaluates a query on rows of which only columns are at hand: each
// condition once for every entry of a column, then a look at the row's code. Not
// safe for concurrent use.
type BlockMatcher struct {
	root  *blockNode
	nodes []*blockNode
	cols  Columns
	err   error
}

type blockNode struct {
	n      *node
	kids   []*blockNode
	text   int
	loaded bool
	known  bool
	codes  [maxCode/64 + 1]uint64 // entries that match
}

// NewBlockMatcher returns a matcher for the query.
func (q *Query) NewBlockMatcher() *BlockMatcher {
	m := &BlockMatcher{}
	texts := make(map[*node]int)
	q.root.walk(func(n *node) {
		if n.op == opText {
			texts[n] = len(texts)
		}
	})
	var build func(n *node) *blockNode
	build = func(n *node) *blockNode {
		b := &blockNode{n: n, text: texts[n]}
		m.nodes = append(m.nodes, b)
		kids := n.kids
		if n.byCost != nil {
			kids = n.byCost
		}
		for _, k := range kids {
			b.kids = append(b.kids, build(k))
		}
		return b
	}
	m.root = build(q.root)
	return m
}

// Begin takes the next block.
func (m *BlockMatcher) Begin(c Columns) {
	m.cols, m.err = c, nil
	for _, b := range m.nodes {
		b.loaded = false
	}
}

// Row tells what is known of a row of the block: False and True are what Match
// would say of it, if its kind is in the query's scope. sealed.* is never known.
// After an error of Values rows are Unknown.
func (m *BlockMatcher) Row(row int) Tri { return m.eval(m.root, row) }

// Err returns the first error of Values since Begin.
func (m *BlockMatcher) Err() error { return m.err }

func (m *BlockMatcher) eval(b *blockNode, row int) Tri {
	n := b.n
	switch n.op {
	case opAll:
		return True
	case opAnd:
		t := True
		for _, k := range b.kids {
			switch m.eval(k, row) {
			case False:
				return False
			case Unknown:
				t = Unknown
			}
		}
		return t
	case opOr:
		t := False
		for _, k := range b.kids {
			switch m.eval(k, row) {
			case True:
				return True
			case Unknown:
				t = Unknown
			}
		}
		return t
	case opNot:
		switch m.eval(b.kids[0], row) {
		case True:
			return False
		case False:
			return True
		}
		return Unknown
	case opText:
		return m.cols.Text(b.text, row)
	}
	f := n.path.Field
	switch {
	case n.sealed:
		return Unknown
	case f == KindField:
		return tri(n.matchValue(kindName(m.cols.Kind(row))))
	case f >= record.NumFields || n.path.Sub != "":
		return Unknown
	}
	if !b.loaded {
		b.load(m)
	}
	if !b.known {
		if v, known := m.cols.Scalar(f, row); known {
			return tri(v != "" && n.matchValue(v))
		}
		return Unknown
	}
	c := m.cols.Code(f, row)
	return tri(b.codes[c/64]&(1<<(c%64)) != 0)
}

func (b *blockNode) load(m *BlockMatcher) {
	b.loaded = true
	clear(b.codes[:])
	var err error
	b.known, err = m.cols.Values(b.n.path.Field, func(code int, values []string) {
		if b.n.matchAny(values) {
			b.codes[code/64] |= 1 << (code % 64)
		}
	})
	if err != nil {
		b.known = false
		if m.err == nil {
			m.err = err
		}
	}
}

// kindOnly is a row of which the kind is all that is known.
type kindOnly record.Kind

func (kindOnly) Values(record.Field, func(int, []string)) (bool, error) { return false, nil }
func (kindOnly) Code(record.Field, int) int                             { return 0 }
func (kindOnly) Scalar(record.Field, int) (string, bool)                { return "", false }
func (kindOnly) Text(int, int) Tri                                      { return Unknown }
func (k kindOnly) Kind(int) record.Kind                                 { return record.Kind(k) }

func tri(v bool) Tri {
	if v {
		return True
	}
	return False
}

// Text is one word search of a query. A record matches it when its message or
// one of its other values does. Message and Other are plans for the two: what
// such a record's keys fulfil.
type Text struct {
	Message, Other Plan
	phrase         *phrase
}

// Texts returns the query's word searches in the order of their numbers.
func (q *Query) Texts() []Text {
	var out []Text
	q.root.walk(func(n *node) {
		if n.op == opText {
			words := n.phrase.words()
			out = append(out, Text{planWords(words, wordKey), planWords(words, otherKey), n.phrase})
		}
	})
	return out
}

// Match reports whether the words stand in a value, the message for instance.
func (t *Text) Match(value string) bool { return t.phrase.match(value) }

// words are those of the phrase that are no patterns.
func (p *phrase) words() []string {
	var words []string
	for i, e := range p.elems {
		if !p.isGlob(i) {
			words = append(words, e)
		}
	}
	return words
}
