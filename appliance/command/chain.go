package command

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"custody/index"
	"custody/ingest/record"
)

// maxEqual is how many equal siblings are drawn one by one, and maxIndent how deep
// the drawing goes: deeper records say their depth.
const (
	maxEqual  = 20
	maxIndent = 24
)

func (a *app) chain() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "chain ID",
		Short: "Show everything that followed from one request, as a tree",
		Long: `Show everything that followed from one request, as a tree. Any record of the
chain names it, by its id or its sequence number.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			var raw json.RawMessage
			if err := c.Get(cmd.Context(), "/api/v1/chains/"+url.PathEscape(strings.TrimPrefix(args[0], "#")), nil, &raw); err != nil {
				return explain(err)
			}
			if asJSON {
				a.print.json(raw)
				return a.print.failed
			}
			var answer chainAnswer
			if err := json.Unmarshal(raw, &answer); err != nil {
				return fmt.Errorf("read chain: %w", err)
			}
			tree, err := answer.tree()
			if err != nil {
				return fmt.Errorf("read chain: %w", err)
			}
			for _, line := range answer.head() {
				a.print.line("%s", line)
			}
			for _, line := range answer.draw(tree) {
				a.print.line("%s", line)
			}
			return a.print.failed
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// chainAnswer is what the server says of a chain.
type chainAnswer struct {
	ID        *string
	Seq       uint64
	From, To  string
	Requester *chainAsker

	Candidates []chainAsker
	Principals []struct {
		Type, ID, Name string
		Records        int
	}
	Tree []struct {
		Seq              uint64
		Parent           *uint64
		Relation, Method string
	}
	Gaps []struct {
		After                *uint64
		Record               uint64
		Reason, Missing, Why string
	}
	Findings  map[string][]uint64
	Records   []json.RawMessage
	Truncated bool
}

type chainAsker struct {
	Type, ID, Name, Assurance string
	Record                    uint64
}

func (w chainAsker) String() string {
	id := w.ID
	if id == "" {
		return fmt.Sprintf("#%d", w.Record)
	}
	return fmt.Sprintf("%s (%s, %s in #%d)", short(id), orWord(w.Type, "type unknown"), orWord(w.Assurance, "assurance unknown"), w.Record)
}

func orWord(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// tree joins the places with their records.
func (c *chainAnswer) tree() ([]index.Node, error) {
	recs := make(map[uint64]*record.Record, len(c.Records))
	for _, raw := range c.Records {
		r, err := record.Parse(raw)
		if err != nil {
			return nil, err
		}
		recs[r.Seq] = r
	}
	out := make([]index.Node, 0, len(c.Tree))
	at := make(map[uint64]int, len(c.Tree))
	for _, n := range c.Tree {
		r := recs[n.Seq]
		if r == nil {
			return nil, fmt.Errorf("record %d is in the tree and not in the chain", n.Seq)
		}
		v := index.Node{Record: r, Parent: -1, Relation: n.Relation, Method: n.Method}
		if n.Parent != nil {
			p, ok := at[*n.Parent]
			if !ok {
				return nil, fmt.Errorf("record %d stands before its parent", n.Seq)
			}
			v.Parent, v.Depth = p, out[p].Depth+1
		}
		at[n.Seq] = len(out)
		out = append(out, v)
	}
	return out, nil
}

func (c *chainAnswer) head() []string {
	id := "its first record is not held any more"
	if c.ID != nil {
		id = *c.ID
	}
	out := []string{fmt.Sprintf("chain #%d  %s", c.Seq, id)}
	switch {
	case c.Requester != nil:
		out = append(out, "asked by   "+c.Requester.String())
	case len(c.Candidates) > 0:
		var names []string
		for _, x := range c.Candidates {
			names = append(names, x.String())
		}
		out = append(out, "asked by   nobody can be named; records name "+strings.Join(names, ", "))
	default:
		out = append(out, "asked by   nobody is named")
	}
	if c.From != "" {
		out = append(out, "when       "+c.From+" to "+c.To+took(c.From, c.To))
	}
	var parties []string
	for i, p := range c.Principals {
		if i == 8 {
			parties = append(parties, fmt.Sprintf("and %d more", len(c.Principals)-i))
			break
		}
		parties = append(parties, fmt.Sprintf("%s (%s, %d)", short(orWord(p.Name, p.ID)), orWord(p.Type, "type unknown"), p.Records))
	}
	if len(parties) > 0 {
		out = append(out, "acted      "+strings.Join(parties, ", "))
	}
	if len(c.Findings) > 0 {
		var names []string
		for f := range c.Findings {
			names = append(names, f)
		}
		slices.Sort(names)
		for i, f := range names {
			names[i] = fmt.Sprintf("%s (%d)", short(f), len(c.Findings[f]))
		}
		out = append(out, "findings   "+strings.Join(names, ", "))
	}
	return append(out, "")
}

func took(from, to string) string {
	f, err := time.Parse(time.RFC3339Nano, from)
	if err != nil {
		return ""
	}
	t, err := time.Parse(time.RFC3339Nano, to)
	if err != nil {
		return ""
	}
	return ", " + t.Sub(f).Round(time.Millisecond).String()
}

// draw is the tree, a line a record, a gap, or a run of equal records.
func (c *chainAnswer) draw(tree []index.Node) []string {
	before, after := make(map[uint64][]string), make(map[uint64][]string)
	var last []string
	for _, g := range c.Gaps {
		x := "╌╌ " + g.Missing + " is missing: " + orWord(g.Why, strings.ReplaceAll(g.Reason, "_", " "))
		switch {
		case g.Reason == index.CutOff:
			last = append(last, x)
		case g.After != nil && *g.After == g.Record:
			after[g.Record] = append(after[g.Record], x)
		default:
			before[g.Record] = append(before[g.Record], x)
		}
	}
	tree, folds := index.Folds(tree, maxEqual, nil)
	// Whether something of the same parent still follows decides on the branch.
	more := make([]bool, len(folds))
	seen := make(map[int]bool)
	for i := len(folds) - 1; i >= 0; i-- {
		p := tree[folds[i].From].Parent
		more[i], seen[p] = seen[p], true
	}
	var out, stems []string
	for i, f := range folds {
		n := tree[f.From]
		stem := ""
		if d := min(n.Depth, maxIndent); d > 1 {
			stem = strings.Join(stems[1:d], "")
		}
		branch, next := "", ""
		if n.Depth > 0 {
			branch, next = "└─ ", "   "
			if more[i] {
				branch, next = "├─ ", "│  "
			}
		}
		for len(stems) <= min(n.Depth, maxIndent) {
			stems = append(stems, "")
		}
		stems[min(n.Depth, maxIndent)] = next
		if n.Depth >= maxIndent {
			branch = "[" + strconv.Itoa(n.Depth) + "] "
		}
		if f.Count > 1 {
			out = append(out, stem+branch+foldLine(tree[f.From:f.To], f))
			continue
		}
		for _, g := range before[n.Record.Seq] {
			out = append(out, stem+gapBranch(n.Depth)+g)
		}
		out = append(out, stem+branch+nodeLine(n))
		for _, g := range after[n.Record.Seq] {
			out = append(out, stem+next+"├╌ "+g)
		}
	}
	return append(out, last...)
}

func gapBranch(depth int) string {
	if depth == 0 {
		return ""
	}
	return "├╌ "
}

// nodeLine is a record with how it hangs on its parent.
func nodeLine(n index.Node) string {
	r := n.Record
	end := r.Get(record.OutcomeStatus)
	if d := r.Get(record.DecisionEffect); d != "" {
		end = strings.TrimSuffix(d+"/"+end, "/")
	}
	s := describe(r, short(end))
	if n.Relation != "" {
		s += "  [" + n.Relation + ", " + n.Method + "]"
	}
	return s
}

// foldLine stands for a run of equal siblings.
func foldLine(run []index.Node, f index.Fold) string {
	s := nodeLine(run[0])
	last := run[0].Record
	for _, n := range run {
		if n.Parent == run[0].Parent {
			last = n.Record
		}
	}
	return fmt.Sprintf("%d × like #%d to #%d until %s:  %s", f.Count, run[0].Record.Seq, last.Seq, record.FormatTime(time.Unix(0, index.When(last))), s)
}
