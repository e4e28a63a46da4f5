package query

import (
	"bytes"
	"math"

	"custody/ingest/record"
)

// Op is the operator of a plan.
type Op uint8

// The operators. An executor that does not know one takes it for All.
const (
	All       Op = iota // every record
	None                // no record
	Term                // records with the term Key
	Ident               // records whose filter may hold Key
	TermRange           // records with a term that begins with Key and that Match accepts
	And                 // all Kids
	Or                  // any of Kids
	Time                // records with From <= time < To
)

// Plan is what a query comes down to over the index: a condition on the keys of
// [IndexTerms] that every matching record fulfils. Records that don't match may
// fulfil it too. Kinds are not part of it.
type Plan struct {
	Op    Op
	Key   []byte                 // of Term, Ident and TermRange (there a prefix)
	Match func(term []byte) bool // of TermRange, over the whole term; nil accepts all. Safe for concurrent use
	Kids  []Plan                 // of And and Or

	// From (inclusive) and To (exclusive) bound the time of every matching record,
	// in Unix nanoseconds; 0 is open. They are given for every plan.
	From, To int64
}

// maxPhraseKeys bounds how many words of a phrase a plan asks for.
const maxPhraseKeys = 16

// Lower returns the plan of the query.
func (q *Query) Lower() Plan { return q.root.lower() }

func (n *node) lower() Plan {
	switch n.op {
	case opAnd:
		kids := make([]Plan, len(n.kids))
		for i, k := range n.kids {
			kids[i] = k.lower()
		}
		who, by := n.exact(record.RequesterID), n.exact(record.ExecutorID)
		if who != nil && by != nil {
			kids = append(kids, Plan{Op: Ident, Key: PairKey(nil, who.text, by.text)})
		}
		return planAnd(kids)
	case opOr:
		kids := make([]Plan, len(n.kids))
		for i, k := range n.kids {
			kids[i] = k.lower()
		}
		return planOr(kids)
	case opNot:
		if n.kids[0].op == opAll {
			return Plan{Op: None}
		}
		return Plan{Op: All}
	case opText:
		words := n.phrase.words()
		return planOr([]Plan{planWords(words, wordKey), planWords(words, otherKey)})
	}
	// The index has the effective values only, and no keys for what custody adds.
	if n.sealed || n.path.Field >= record.NumFields {
		return Plan{Op: All}
	}
	switch n.op {
	case opSpan:
		if n.path.Field == record.Time {
			return planTime(n.from, n.to)
		}
	case opExact:
		return n.lowerExact()
	case opGlob:
		return n.lowerGlob()
	case opRange, opCIDR:
		if n.terms() {
			return n.termRange("", n.matchValue)
		}
	case opExists:
		if n.terms() {
			return n.termRange("", nil)
		}
	}
	return Plan{Op: All}
}

// exact returns the kid of an opAnd that asks for a whole value of the field.
func (n *node) exact(f record.Field) *node {
	for _, k := range n.kids {
		if k.op == opExact && !k.sealed && k.path == (record.Path{Field: f}) {
			return k
		}
	}
	return nil
}

// terms reports whether the index holds each of the field's values as a term.
func (n *node) terms() bool {
	return n.path.Sub == "" && cardinality[n.path.Field] == record.Keyword
}

func (n *node) lowerExact() Plan {
	switch {
	case n.terms():
		return Plan{Op: Term, Key: TermKey(nil, n.path.Field, n.text)}
	case n.path.Sub == "" && cardinality[n.path.Field] == record.Identifier:
		return n.lowerIdent()
	case n.hasWords(n.text):
		var words []string
		eachWord(n.text, func(w string) { words = append(words, w) })
		return planWords(words, n.wordKey())
	}
	return Plan{Op: All}
}

// lowerIdent asks for the keys that ValueTerms states of an identifier.
func (n *node) lowerIdent() Plan {
	whole := IdentKey(nil, []byte(n.text))
	if !standsForWhole(n.path.Field, whole) {
		return Plan{Op: Ident, Key: whole}
	}
	var words []string
	eachWord(n.text, func(w string) {
		if IsIdent([]byte(cutWord(w))) {
			words = append(words, w)
		}
	})
	return planWords(words, otherKey)
}

// wordKey is what the keys of the words at the node's path begin with.
func (n *node) wordKey() byte {
	if n.path.Field == record.Message {
		return wordKey
	}
	return otherKey
}

// hasWords reports whether the index holds the words of those values at the
// node's path that can equal text, or begin as text does.
func (n *node) hasWords(text string) bool {
	f := n.path.Field
	if n.path.Sub == "" {
		return f == record.Message || wordsOf[f] == wordsPlain
	}
	if f == record.Absence {
		return true
	}
	if wordsOf[f] != wordsObject || text == "" {
		return false
	}
	// Members that are not strings show as their JSON, which has no words.
	switch c := text[0]; {
	case c == '{', c == '[', c == '-', c-'0' <= 9, isMarker(c):
		return false
	}
	return text != "true" && text != "false" && text != "null"
}

func (n *node) lowerGlob() Plan {
	if n.terms() {
		prefix := n.text
		for i := 0; i < len(prefix); i++ {
			if isMarker(prefix[i]) {
				prefix = prefix[:i]
			}
		}
		return n.termRange(prefix, n.matchValue)
	}
	if !n.hasWords(n.text) {
		return Plan{Op: All}
	}
	// Words between separators stand in the value as they are; a word that
	// touches a wildcard may go on there.
	var words []string
	for i := 0; i < len(n.text); {
		if isMarker(n.text[i]) {
			i++
			continue
		}
		size := wordEnd(n.text[i:])
		if size == 0 {
			i += max(1, separatorInPattern(n.text[i:]))
			continue
		}
		before := i > 0 && isMarker(n.text[i-1])
		behind := i+size < len(n.text) && isMarker(n.text[i+size])
		if !before && !behind {
			words = append(words, n.text[i:i+size])
		}
		i += size
	}
	return planWords(words, n.wordKey())
}

// termRange is the plan over the terms of a keyword field whose folded values
// begin with prefix and fulfil match.
func (n *node) termRange(prefix string, match func(v string) bool) Plan {
	p := Plan{Op: TermRange, Key: TermKey(nil, n.path.Field, prefix)}
	if match != nil {
		p.Match = func(term []byte) bool {
			if len(term) < termPrefix || !bytes.HasPrefix(term, p.Key) {
				return false
			}
			// A term that was cut stands for values that can't be seen here.
			return len(term) >= termPrefix+maxTerm || match(view(term[termPrefix:]))
		}
	}
	return p
}

// planWords asks for words, folded and at their full length, with keys that begin with first.
func planWords(words []string, first byte) Plan {
	if len(words) > maxPhraseKeys {
		words = words[:maxPhraseKeys]
	}
	kids := make([]Plan, len(words))
	for i, w := range words {
		w := []byte(cutWord(w))
		if IsIdent(w) {
			kids[i] = Plan{Op: Ident, Key: w}
		} else {
			kids[i] = Plan{Op: Term, Key: append([]byte{first}, w...)}
		}
	}
	return planAnd(kids)
}

func planTime(from, to int64) Plan {
	if from >= to {
		return Plan{Op: None}
	}
	p := Plan{Op: Time, From: from, To: to}
	if from == math.MinInt64 {
		p.From = 0
	}
	if to == math.MaxInt64 {
		p.To = 0
	}
	return p
}

// planAnd intersects plans and their bounds.
func planAnd(kids []Plan) Plan {
	p := Plan{Op: And}
	for _, k := range kids {
		if k.Op == None {
			return Plan{Op: None}
		}
		if k.From != 0 && (p.From == 0 || k.From > p.From) {
			p.From = k.From
		}
		if k.To != 0 && (p.To == 0 || k.To < p.To) {
			p.To = k.To
		}
		if k.Op != All {
			p.Kids = append(p.Kids, k)
		}
	}
	if p.From != 0 && p.To != 0 && p.From >= p.To {
		return Plan{Op: None}
	}
	switch len(p.Kids) {
	case 0:
		return Plan{Op: All}
	case 1:
		return p.Kids[0]
	}
	return p
}

// planOr unites plans and their bounds.
func planOr(kids []Plan) Plan {
	p := Plan{Op: Or}
	for _, k := range kids {
		if k.Op == All {
			return Plan{Op: All}
		}
		if k.Op != None {
			p.Kids = append(p.Kids, k)
		}
	}
	if len(p.Kids) == 2 && p.Kids[0].sameIdents(&p.Kids[1]) {
		return p.Kids[0]
	}
	switch len(p.Kids) {
	case 0:
		return Plan{Op: None}
	case 1:
		return p.Kids[0]
	}
	p.From, p.To = p.Kids[0].From, p.Kids[0].To
	for _, k := range p.Kids[1:] {
		if p.From != 0 && (k.From == 0 || k.From < p.From) {
			p.From = k.From
		}
		if p.To != 0 && (k.To == 0 || k.To > p.To) {
			p.To = k.To
		}
	}
	return p
}

// sameIdents reports whether both plans ask for the same identifiers and nothing else.
func (p *Plan) sameIdents(o *Plan) bool {
	if p.Op != o.Op || p.From != 0 || p.To != 0 || o.From != 0 || o.To != 0 {
		return false
	}
	switch p.Op {
	case Ident:
		return bytes.Equal(p.Key, o.Key)
	case And:
		if len(p.Kids) != len(o.Kids) {
			return false
		}
		for i := range p.Kids {
			if !p.Kids[i].sameIdents(&o.Kids[i]) {
				return false
			}
		}
		return true
	}
	return false
}
