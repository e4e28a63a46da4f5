package index

import (
	"hash/maphash"
	"slices"
	"strings"

	"custody/ingest/record"
)

// Fold is a run of siblings of a tree that are shown as one: they, and what hangs
// on them, differ in nothing but targets, times and identifiers.
type Fold struct {
	From, To int // the run is tree[From:To], with what hangs on it
	Count    int // siblings
}

// Folds divides the tree into runs of more than most equal siblings and the nodes
// that are in none, which stand alone (Count 1, and To is From+1: what hangs on it
// is divided itself). Equal siblings need not follow each other: the tree comes
// back with each run together, at the place of its first. Runs that open names by
// the seq of their first record are left as they are.
func Folds(tree []Node, most int, open []uint64) ([]Node, []Fold) {
	n := len(tree)
	below, whole := make([]uint64, n), make([]uint64, n)
	seed := maphash.MakeSeed()
	// A parent stands before its children, so that they are done when it is reached.
	for i := n - 1; i >= 0; i-- {
		whole[i] = maphash.Comparable(seed, [2]uint64{maphash.String(seed, likeness(tree[i])), below[i]})
		if p := tree[i].Parent; p >= 0 {
			below[p] = maphash.Comparable(seed, [2]uint64{below[p], whole[i]})
		}
	}
	type run struct {
		parent int
		like   uint64
	}
	runs := make(map[run][]int)
	kids := make([][]int, n+1) // the last: those without a parent
	for i, node := range tree {
		p := node.Parent
		runs[run{p, whole[i]}] = append(runs[run{p, whole[i]}], i)
		if p < 0 {
			p = n
		}
		kids[p] = append(kids[p], i)
	}
	folded := func(i int) []int {
		list := runs[run{tree[i].Parent, whole[i]}]
		if len(list) <= most || slices.Contains(open, tree[list[0]].Record.Seq) {
			return nil
		}
		return list
	}
	// Each step places a node; within a run that is folded nothing is divided.
	type step struct{ at, under, fold int }
	out := make([]Node, 0, n)
	var folds []Fold
	var stack []step
	push := func(list []int, under, fold int) {
		for _, i := range slices.Backward(list) {
			switch all := folded(i); {
			case fold < 0 && all != nil && i == all[0]:
				for _, j := range slices.Backward(all) {
					stack = append(stack, step{j, under, i})
				}
			case fold < 0 && all != nil: // stands with the first of its run
			default:
				stack = append(stack, step{i, under, fold})
			}
		}
	}
	push(kids[n], -1, -1)
	for len(stack) > 0 {
		s := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		at := len(out)
		node := tree[s.at]
		node.Parent = s.under
		out = append(out, node)
		switch {
		case s.fold == s.at:
			folds = append(folds, Fold{at, at + 1, len(folded(s.at))})
		case s.fold >= 0:
			folds[len(folds)-1].To = at + 1
		default:
			folds = append(folds, Fold{at, at + 1, 1})
		}
		push(kids[s.at], at, s.fold)
	}
	return out, folds
}

// likeness is what equal siblings have in common.
func likeness(n Node) string {
	r := n.Record
	var b strings.Builder
	for _, f := range [...]record.Field{
		record.RequesterID, record.RequesterName, record.RequesterAssurance, record.ExecutorID, record.ExecutorName, record.ActionService, record.ActionTool,
		record.ActionOperation, record.TargetType, record.DecisionEffect, record.DecisionPolicyID, record.OutcomeStatus, record.AuthorityPermission,
		record.CredentialEventOp, record.ApprovalStatus, record.ChainHandoff, record.EffectChanged,
	} {
		b.WriteString(r.Get(f))
		b.WriteByte(0)
	}
	b.WriteString(n.Relation + "\x00" + n.Method)
	findings := r.List(record.Findings)
	slices.Sort(findings)
	for _, f := range findings {
		b.WriteString("\x00" + f)
	}
	return b.String()
}
