package attribution

import (
	"fmt"
	"slices"
	"strings"
)

// Part is one of the questions that a complete record answers.
type Part string

// The parts of an attribution, in the order in which people ask.
const (
	PartRequester  Part = "requester"
	PartExecutor   Part = "executor"
	PartTool       Part = "tool"
	PartPermission Part = "permission"
	PartDecision   Part = "decision"
	PartOutcome    Part = "outcome"
	PartChain      Part = "chain"
)

// Parts lists all parts in order.
func Parts() []Part {
	return []Part{PartRequester, PartExecutor, PartTool, PartPermission, PartDecision, PartOutcome, PartChain}
}

// guide is what a format's file knows about its source.
type guide struct {
	// userSet are the places of a line whose value the one who is logged can
	// choose, each with who can and why it matters: "/userAgent: any client".
	userSet []string
	// emit says for each part which field of the source gives it and how to make
	// the source write it; for a part that the source never tells, why, and what
	// other source does.
	emit map[Part]string
}

// Guide tells people what a source format says, what in it can be chosen by the
// one who is logged, and how to make the source say more.
type Guide struct {
	Format  string // as source.format shows it
	Product string
	UserSet []string        // "place: who can choose it"
	Emit    map[Part]string // all parts for a format that has a guide, else empty
}

// Guides are the guides of the built-in formats, by name.
func Guides() []Guide {
	var out []Guide
	for _, f := range builtin() {
		if i := slices.IndexFunc(out, func(g Guide) bool { return g.Format == f.name }); i >= 0 {
			if len(out[i].Emit) == 0 {
				out[i].UserSet, out[i].Emit = f.guide.userSet, f.guide.emit
			}
			continue
		}
		out = append(out, Guide{f.name, f.product, f.guide.userSet, f.guide.emit})
	}
	slices.SortFunc(out, func(a, b Guide) int { return strings.Compare(a.Format, b.Format) })
	return out
}

// Markdown is the guide as the page docs/sources/FORMAT.md.
func (g Guide) Markdown() string {
	var b strings.Builder
	title := g.Product
	if title == "" {
		title = g.Format
	}
	fmt.Fprintf(&b, "# %s\n\nPinned with `format = %q`.\n\n## What to switch on\n\n| part | where it comes from |\n|---|---|\n", title, g.Format)
	for _, p := range Parts() {
		fmt.Fprintf(&b, "| %s | %s |\n", p, strings.ReplaceAll(g.Emit[p], "|", "\\|"))
	}
	b.WriteString("\n## What the one who is logged can choose\n\nNothing that is read from these places is ever more than asserted.\n\n")
	for _, u := range g.UserSet {
		place, why, _ := strings.Cut(u, ": ")
		fmt.Fprintf(&b, "- `%s`: %s\n", place, why)
	}
	return b.String()
}
