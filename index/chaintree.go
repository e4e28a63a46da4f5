package index

import (
	"cmp"
	"slices"
	"strings"

	"custody/index/chain"
	"custody/ingest/record"
)

// Node is a record's place in the tree of its chain.
type Node struct {
	Record   *record.Record
	Parent   int // in the tree, -1 for none
	Depth    int // 0 where there is no parent
	Relation string
	Method   string
}

// The relations that make a parent, the best first.
var parentRelations = []string{
	chain.CalledBy, chain.RespondsTo, chain.HandsOff, chain.RetryOf, chain.UsesCredential, chain.ApprovedBy,
}

// Tree arranges the records as they followed from each other: every parent before
// what hangs on it, siblings by time. The parent is the record whose span the
// record names, whichever of them arrived first; else the one that its link leads
// to. Where a link has several candidates there is no parent.
func (c *Chain) Tree() []Node {
	n := len(c.Records)
	at := make(map[uint64]int, n)
	for i, r := range c.Records {
		at[r.Seq] = i
	}
	parent := make([]int, n)
	how := make([]record.Link, n)
	// Of which tree a record is the root: a link into the own tree would be a circle.
	root := make([]int, n)
	for i := range n {
		parent[i], root[i] = -1, i
	}
	find := func(i int) int {
		for root[i] != i {
			root[i] = root[root[i]]
			i = root[i]
		}
		return i
	}
	hang := func(i, on int, k record.Link) {
		if parent[i] < 0 && find(on) != i {
			parent[i], how[i], root[i] = on, k, on
		}
	}
	spans := c.spans()
	for i, r := range c.Records {
		if p, ok := spans[spanOf(r, record.ChainParentID)]; ok {
			hang(i, p, record.Link{Relation: chain.CalledBy, Method: chain.Propagated})
		}
	}
	// A link that leads forward came with an amendment: it says who asked, and where
	// the record stands only if nothing else does.
	for _, forward := range []bool{false, true} {
		for i, r := range c.Records {
			if parent[i] >= 0 {
				continue
			}
			links := r.LinkList()
			for _, relation := range parentRelations {
				for _, k := range links {
					if k.Relation != relation || len(k.Candidates) > 1 || (k.To > r.Seq) != forward {
						continue
					}
					if p, ok := at[k.To]; ok {
						hang(i, p, k)
					}
				}
			}
		}
	}
	return c.preorder(parent, how)
}

// spans finds the record of each span. Several may carry it, such as the span
// itself and what was logged in it: the one that names a parent is the span.
func (c *Chain) spans() map[string]int {
	spans := make(map[string]int)
	for i, r := range c.Records {
		k := spanOf(r, record.ChainSpanID)
		if k == "" {
			continue
		}
		if have, ok := spans[k]; !ok || !c.Records[have].Has(record.ChainParentID) && r.Has(record.ChainParentID) {
			spans[k] = i
		}
	}
	return spans
}

// spanOf is the span that the field names, in its trace; "" when it names none.
func spanOf(r *record.Record, f record.Field) string {
	id := r.Get(f)
	if strings.Trim(id, "0") == "" {
		return ""
	}
	return r.Get(record.ChainTraceID) + "\x00" + id
}

func (c *Chain) preorder(parent []int, how []record.Link) []Node {
	kids := make([][]int, len(parent)+1) // the last: those without a parent
	for i, p := range parent {
		if p < 0 {
			p = len(parent)
		}
		kids[p] = append(kids[p], i)
	}
	type visit struct{ i, under, depth int }
	var stack []visit
	push := func(list []int, under, depth int) {
		slices.SortStableFunc(list, func(a, b int) int {
			x, y := c.Records[a], c.Records[b]
			return cmp.Or(cmp.Compare(When(x), When(y)), cmp.Compare(x.Seq, y.Seq))
		})
		for _, i := range slices.Backward(list) {
			stack = append(stack, visit{i, under, depth})
		}
	}
	out := make([]Node, 0, len(parent))
	push(kids[len(parent)], -1, 0)
	for len(stack) > 0 {
		v := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		out = append(out, Node{c.Records[v.i], v.under, v.depth, how[v.i].Relation, how[v.i].Method})
		push(kids[v.i], len(out)-1, v.depth+1)
	}
	return out
}

// When is the time of a record, its arrival where the source gave none.
func When(r *record.Record) int64 {
	if r.Time != 0 {
		return r.Time
	}
	return r.Received
}

// The reasons of gaps that are no findings.
const (
	FirstGone = "first_record_gone"
	CutOff    = "truncated"
)

// Gap is a place where the chain is known to be broken.
type Gap struct {
	Record  uint64 // the record that shows it
	After   uint64 // the last record before the gap, if Known
	Known   bool
	Reason  string // a finding, FirstGone or CutOff
	Why     string // the evidence, a sentence
	Missing string // what is not there, for the reader
}

// Gaps lists where the chain broke, in the order of the tree.
func (c *Chain) Gaps(tree []Node) []Gap {
	var out []Gap
	for i, n := range tree {
		r := n.Record
		if i == 0 && c.firstGone() {
			out = append(out, Gap{Record: r.Seq, Reason: FirstGone, Why: "the record that the chain begins with is not held any more", Missing: "the first record"})
		}
		for _, f := range r.List(record.Findings) {
			g := Gap{Record: r.Seq, Reason: f}
			switch f {
			case record.HalfPair:
				g.After, g.Known, g.Missing = r.Seq, true, "the other half"
			case record.ChainBroken:
				g.Missing = "the caller"
			case record.LinkAmbiguous:
				if n.Parent >= 0 {
					continue
				}
				g.Missing = "the one record that it follows from"
			default:
				continue
			}
			if n.Parent >= 0 && !g.Known {
				g.After, g.Known = tree[n.Parent].Record.Seq, true
			}
			why := Evidence(r, f)
			if len(why) == 0 {
				why = []string{""}
			}
			for _, g.Why = range why {
				one := g
				if g.Why == chain.UnansweredHandoff {
					one.After, one.Known, one.Missing = r.Seq, true, "the agent that it was handed to"
				}
				out = append(out, one)
			}
		}
	}
	if c.Truncated && len(tree) > 0 {
		last := c.Records[len(c.Records)-1].Seq
		out = append(out, Gap{Record: last, After: last, Known: true, Reason: CutOff, Why: "the chain has more records than are read at once", Missing: "the rest"})
	}
	return out
}

func (c *Chain) firstGone() bool {
	return !slices.ContainsFunc(c.Records, func(r *record.Record) bool { return r.Seq == c.Root })
}

// Evidence lists the sentences that explain a finding of r, without its name.
func Evidence(r *record.Record, finding string) (out []string) {
	r.Elements(record.Evidence, func(v, _ string) bool {
		if why, ok := strings.CutPrefix(v, finding+": "); ok && !slices.Contains(out, why) {
			out = append(out, why)
		}
		return true
	})
	return out
}
