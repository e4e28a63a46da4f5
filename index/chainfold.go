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
// is divided itself). Runs that open names by the seq of their first record are
// not folded.
func Folds(tree []Node, most int, open []uint64) []Fold {
	n := len(tree)
	size := make([]int, n)
	below := make([]uint64, n)
	whole := make([]uint64, n)
	seed := maphash.MakeSeed()
	// A parent stands before its children, so that they are done when it is reached.
	for i := n - 1; i >= 0; i-- {
		size[i]++
		whole[i] = maphash.Comparable(seed, [2]uint64{maphash.String(seed, likeness(tree[i])), below[i]})
		if p := tree[i].Parent; p >= 0 {
			size[p] += size[i]
			below[p] = maphash.Comparable(seed, [2]uint64{below[p], whole[i]})
		}
	}
	var out []Fold
	for i := 0; i < n; {
		end, count := i, 0
		for end < n && tree[end].Parent == tree[i].Parent && whole[end] == whole[i] {
			end += size[end]
			count++
		}
		switch {
		case count <= most:
			out = append(out, Fold{i, i + 1, 1})
			i++
		case slices.Contains(open, tree[i].Record.Seq):
			for ; i < end; i++ {
				out = append(out, Fold{i, i + 1, 1})
			}
		default:
			out = append(out, Fold{i, end, count})
			i = end
		}
	}
	return out
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
