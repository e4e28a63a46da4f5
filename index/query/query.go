// Package query is the query language of the search and of every policy.
//
// A query is parsed once ([Parse]), evaluated exactly on records
// ([Query.Match]), and lowered to a plan over the index ([Query.Lower]). The
// package guarantees:
//
//   - Lower is a superset: whatever Match accepts, the plan accepts over the
//     keys that [IndexTerms] states for the record. Both live here, so that they
//     can't drift apart.
//   - A [BlockMatcher] never contradicts Match.
//   - [Query.String] is canonical: it parses to an equal query.
//   - No input makes it panic or work without bound: length, nodes, depth and
//     wildcard patterns are limited.
//
// The language is specified in docs/query-language.md. The package starts
// nothing and depends on the record only.
package query

import (
	"fmt"
	"time"

	"custody/ingest/record"
)

// Bounds of a query. Anything beyond is an error.
const (
	MaxLen   = 16 << 10 // bytes, as written and in canonical form
	MaxNodes = 512      // conditions, negations and parentheses
	MaxDepth = 64       // of parentheses and negations inside one another
	MaxGlob  = 256      // bytes of one wildcard pattern
)

// The names that a query can use beside the record's fields. They have numbers
// behind the record's own, for use in a [record.Path].
const (
	KindField record.Field = record.NumFields     // "kind": the name of the row's kind
	SeqField  record.Field = record.NumFields + 1 // "seq": the leaf index in decimal
)

// Query is a parsed query. It is immutable and safe for concurrent use.
type Query struct {
	root  *node
	kinds KindSet
	text  bool // searches words
	seal  bool // names sealed.*
}

// KindSet is a set of row kinds.
type KindSet uint32

// allKinds holds kinds that have no name yet as well.
const allKinds = ^KindSet(0)

// Has reports whether k is in the set. The zero kind counts as record.
func (s KindSet) Has(k record.Kind) bool {
	if k == 0 {
		k = record.KindRecord
	}
	if k > 31 {
		return s == allKinds
	}
	return s&(1<<k) != 0
}

// defaultKinds is the scope of a query that does not name kind.
const defaultKinds = KindSet(1<<record.KindRecord | 1<<record.KindSummary)

// Error says what is wrong with a query and where.
type Error struct {
	Pos, Len   int    // the bytes of the input that are meant; Pos+Len is inside the input
	Msg        string // a sentence without a full stop
	Suggestion string // what to write in place of those bytes, "" when there is no idea
}

// Error implements error.
func (e *Error) Error() string {
	s := fmt.Sprintf("byte %d: %s", e.Pos, e.Msg)
	if e.Suggestion != "" {
		s += "; did you mean " + e.Suggestion + " ?"
	}
	return s
}

// Parse reads a query; an error is an [*Error]. The words now, now-15m and so on
// are resolved at once, with the clock of the machine.
func Parse(s string) (*Query, error) { return ParseAt(s, time.Now()) }

// ParseAt is Parse at a given time.
func ParseAt(s string, now time.Time) (*Query, error) {
	root, named, err := parse(s, now)
	if err != nil {
		return nil, err
	}
	q := &Query{root: root, kinds: defaultKinds}
	root.walk(func(n *node) {
		n.prepare()
		q.text = q.text || n.op == opText
		q.seal = q.seal || n.sealed
	})
	if named {
		q.kinds = q.kindsThatCanMatch()
	}
	if c := q.String(); len(c) > MaxLen {
		return nil, &Error{Len: len(s), Msg: fmt.Sprintf("the query is longer than %d bytes when written out", MaxLen)}
	}
	return q, nil
}

// kindsThatCanMatch evaluates the query with nothing known but the kind.
func (q *Query) kindsThatCanMatch() KindSet {
	set := allKinds
	m := q.NewBlockMatcher()
	for k := range record.Kind(32) {
		m.Begin(kindOnly(k))
		if m.Row(0) == False {
			set &^= 1 << k
		}
	}
	if !set.Has(record.KindRecord) {
		set &^= 1
	}
	return set
}

// Kinds is the scope: the kinds of rows that can match. A query that does not
// name kind sees records and summaries only; one that names kind anywhere sees
// what it says. Match applies the scope.
func (q *Query) Kinds() KindSet { return q.kinds }

// HasText reports whether the query searches words, and so needs the message
// and every value of a record.
func (q *Query) HasText() bool { return q.text }

// UsesSealed reports whether the query names sealed.*, and so needs the original
// beside the effective record.
func (q *Query) UsesSealed() bool { return q.seal }

// Fields lists the paths that the query names, in order of first mention;
// sealed.* counts as the path behind it, kind as [KindField], seq as [SeqField].
func (q *Query) Fields() []record.Path {
	var out []record.Path
	seen := make(map[record.Path]bool)
	q.root.walk(func(n *node) {
		if n.isLeaf() && n.op != opText && !seen[n.path] {
			seen[n.path] = true
			out = append(out, n.path)
		}
	})
	return out
}

// HighlightWords lists the lower-cased words that the query looks for, in order
// of first mention, without those it excludes: of word searches and of whole
// values. Words with wildcards and the values true and false are left out: they
// would light up all over a line without saying anything.
func (q *Query) HighlightWords() []string {
	var out []string
	seen := make(map[string]bool)
	put := func(w string) {
		if !seen[w] {
			seen[w] = true
			out = append(out, w)
		}
	}
	var visit func(n *node)
	visit = func(n *node) {
		switch n.op {
		case opNot:
			return
		case opText:
			for i, e := range n.phrase.elems {
				if !n.phrase.isGlob(i) {
					put(e)
				}
			}
		case opExact:
			if n.path.Field != KindField && n.text != "true" && n.text != "false" {
				eachWord(n.text, put)
			}
		}
		for _, k := range n.kids {
			visit(k)
		}
	}
	visit(q.root)
	return out
}
