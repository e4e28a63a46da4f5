package web

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"custody/index"
	"custody/index/chain"
	"custody/ingest/record"
)

const (
	maxChainRows = 500 // rows of the waterfall on one page
	maxSiblings  = 10  // equal siblings that are shown one by one
	maxOpened    = 16  // runs that are shown one by one because the reader said so
	maxNamed     = 12  // agents, candidates and the like in the head
	axisWidth    = 1000
)

// chainPage is everything that followed from one request.
type chainPage struct {
	ID, Seq    string
	Gone       bool // the first record is not held any more
	Asked      *askerView
	Task       string // what they asked for, as a source has it
	Candidates []askerView
	MoreAskers int
	When, Took string
	From, To   string // ends of the time axis
	Records    int
	RecordsURL string
	Agents     []countLink
	MoreAgents int
	Outcomes   []countLink
	Findings   []countLink
	Reviewed   string
	ReviewedBy []string
	Merged     int
	Truncated  bool
	Under      []crumb // what the first row of this page hangs on
	Rows       []chainRow
	First      int // number of the first row, from 1
	Last, All  int
	Earlier    string
	More       string
	JSON       string
}

func (p chainPage) title() string { return "Chain " + p.Seq }

type askerView struct {
	Name, Type, Assurance string
	Href                  string // what else they asked for
	Record, RecordHref    string
}

// countLink is a value, how many records have it, and the search for them.
type countLink struct {
	Text, Class, Note string
	Count             uint64
	Href              string
}

type crumb struct{ Text, Href string }

// chainRow is a row of the waterfall: a record, a run of equal ones, or a gap.
type chainRow struct {
	rowView
	Fold  int    // how many records the row stands for, if it is a run
	Since string // the times of the first and the last one
	Until string
	Gap   *gapView

	Level, Indent int // Indent is the level as far as it is drawn
	Pos, Size     int // among the siblings
	Parent        int // index in the tree; -1
	Kids, Open    bool

	ExecutorHref string
	Permission   string
	Decision     string
	DecisionOf   string // policy and version
	DecisionOK   bool
	Asker        string // where it is another than the chain's
	Assurance    string
	Relation     string
	Method       string
	At           string // after the beginning
	X, W, Tick   int    // the bar: what hangs on it, and it itself
	Added        []added
}

type gapView struct{ Missing, Why, Reason string }

// added says which sealed row added what to a record later.
type added struct{ Seq, What string }

func (s *Server) pageChain(w http.ResponseWriter, r *http.Request) {
	c := s.findChain(w, r, "/chains/")
	if c == nil {
		return
	}
	s.page(w, r, http.StatusOK, "chain", newChainPage(c, r.URL.Query()))
}

func newChainPage(c *index.Chain, v url.Values) chainPage {
	first := c.Records[0]
	p := chainPage{
		ID: idOf(first), Seq: uintText(c.Root), Gone: first.Seq != c.Root, Records: len(c.Records), Truncated: c.Truncated,
		Merged: len(c.Merged), JSON: "/api/v1/chains/" + idOf(first),
	}
	from, to := c.Span()
	p.When, p.Took = clockText(from), spanText(to-from)
	p.From, p.To = clockText(from), "+"+spanText(to-from)
	p.head(c)
	opened := openedRuns(v.Get("open"))
	tree := c.Tree()
	gaps := c.Gaps(tree)
	tree, folds := index.Folds(tree, maxSiblings, opened)
	rows := chainRows(tree, folds, gaps, p.Asked, from, to)
	p.All = len(rows)
	at, err := strconv.Atoi(v.Get("row"))
	if err != nil || at < 0 || at >= len(rows) {
		at = 0
	}
	end := min(at+maxChainRows, len(rows))
	p.Rows, p.First, p.Last = rows[at:end], at+1, end
	if at > 0 {
		p.Earlier = chainURL(p.ID, opened, max(0, at-maxChainRows))
		for i := rows[at].Parent; i >= 0 && len(p.Under) < maxNamed; i = tree[i].Parent {
			row := newRow(tree[i].Record, nil)
			p.Under = append(p.Under, crumb{clipRunes(60, stepText(row)), row.Href})
		}
		slices.Reverse(p.Under)
	}
	if end < len(rows) {
		p.More = chainURL(p.ID, opened, end)
	}
	for i := range p.Rows {
		if row := &p.Rows[i]; row.Fold > 0 {
			row.Href = chainURL(p.ID, append(slices.Clone(opened), row.Seq), at) + "#r" + uintText(row.Seq)
		}
	}
	return p
}

// openedRuns reads which runs are shown one by one, by the seqs of their first records.
func openedRuns(s string) (out []uint64) {
	for part := range strings.SplitSeq(clip(s, 512), ".") {
		if seq, err := strconv.ParseUint(part, 10, 64); err == nil && len(out) < maxOpened {
			out = append(out, seq)
		}
	}
	return out
}

func chainURL(id string, opened []uint64, row int) string {
	v := url.Values{}
	if len(opened) > 0 {
		texts := make([]string, len(opened))
		for i, seq := range opened {
			texts[i] = uintText(seq)
		}
		v.Set("open", strings.Join(texts, "."))
	}
	if row > 0 {
		v.Set("row", strconv.Itoa(row))
	}
	if len(v) == 0 {
		return "/chains/" + id
	}
	return "/chains/" + id + "?" + v.Encode()
}

// head fills in what the page says of the chain as a whole.
func (p *chainPage) head(c *index.Chain) {
	ids := make(map[uint64]string, len(c.Records))
	outcomes, findings, reviewers := map[string]uint64{}, map[string]uint64{}, map[string]uint64{}
	reviewed := 0
	for _, r := range c.Records {
		ids[r.Seq] = idOf(r)
		p.Task = first(p.Task, clipRunes(maxRowPart, first(r.Get(record.ContextPurpose), r.Get(record.ContextTask))))
		status := r.Get(record.OutcomeStatus)
		if status == "" && r.Get(record.DecisionEffect) == record.Deny {
			status = record.Denied
		}
		outcomes[status]++
		for _, f := range r.List(record.Findings) {
			findings[f]++
		}
		if verdict := r.Get(record.ReviewVerdict); verdict != "" {
			reviewed++
			reviewers[clipRunes(24, strings.ReplaceAll(verdict, "_", " "))+" by "+clipRunes(maxRowPart, first(r.Get(record.ReviewReviewer), "somebody"))]++
		}
	}
	p.reviews(reviewed, reviewers)
	switch askers := c.Askers(); len(askers) {
	case 0:
	case 1:
		v := newAskerView(askers[0], ids)
		p.Asked = &v
	default:
		for i, a := range askers {
			if i == maxNamed {
				p.MoreAskers = len(askers) - i
				break
			}
			p.Candidates = append(p.Candidates, newAskerView(a, ids))
		}
	}
	clause := chainClause(c)
	narrowed := func(field, value string) string {
		if clause == "" || len(value) > maxPart || !utf8.ValidString(value) {
			return ""
		}
		return searchURL(clause+" "+quoteTerm(field, value), "", "", index.OldestFirst)
	}
	if clause != "" {
		p.RecordsURL = searchURL(clause, "", "", index.OldestFirst)
	}
	for _, x := range c.Parties() {
		if len(p.Agents) == maxNamed {
			p.MoreAgents++
			continue
		}
		p.Agents = append(p.Agents, countLink{
			Text: clipRunes(maxRowPart, first(x.Name, x.ID)), Note: clipRunes(24, x.Type), Count: uint64(x.Records), Href: principalURL(x.ID, ""),
		})
	}
	for _, status := range sortedKeys(outcomes) {
		o := outcomeText(status)
		l := countLink{Text: o.Icon + " " + o.Text, Class: o.Class, Count: outcomes[status]}
		// A refusal by policy is denied, also where the source states no outcome.
		switch {
		case clause == "":
		case status == record.Denied:
			l.Href = searchURL(clause+" (outcome.status:denied OR (decision.effect:deny -_exists_:outcome.status))", "", "", index.OldestFirst)
		case status == "":
			l.Href = searchURL(clause+" -_exists_:outcome.status -decision.effect:deny", "", "", index.OldestFirst)
		default:
			l.Href = narrowed("outcome.status", status)
		}
		p.Outcomes = append(p.Outcomes, l)
	}
	for _, f := range sortedKeys(findings) {
		p.Findings = append(p.Findings, countLink{Text: findingText(clipRunes(64, f)), Count: findings[f], Href: narrowed("findings", f)})
	}
	if len(p.Findings) > 32 {
		p.Findings = p.Findings[:32]
	}
}

func (p *chainPage) reviews(n int, by map[string]uint64) {
	switch n {
	case 0:
		p.Reviewed = "not reviewed"
	case p.Records:
		p.Reviewed = "reviewed"
	default:
		p.Reviewed = fmt.Sprintf("%s of %s records reviewed", groupDigits(uint64(n)), groupDigits(uint64(p.Records)))
	}
	for _, k := range sortedKeys(by) {
		if len(p.ReviewedBy) < 4 {
			p.ReviewedBy = append(p.ReviewedBy, k)
		}
	}
}

// sortedKeys are the keys, the most frequent first.
func sortedKeys(m map[string]uint64) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b string) int { return cmp.Or(cmp.Compare(m[b], m[a]), cmp.Compare(a, b)) })
	return keys
}

func newAskerView(a chain.Asker, ids map[uint64]string) askerView {
	v := askerView{Type: clipRunes(24, a.Type), Assurance: clipRunes(24, a.Assurance), Record: uintText(a.Seq), RecordHref: "/records/" + uintText(a.Seq)}
	if id := ids[a.Seq]; id != "" {
		v.RecordHref = "/records/" + id
	}
	v.Name = clipRunes(maxRowPart, first(a.ID, a.Name))
	v.Href = principalURL(a.ID, "")
	return v
}

// chainClause is the query that finds the records of the chain: those that name its
// first record, or that of a chain which was joined to it, and these themselves.
func chainClause(c *index.Chain) string {
	if len(c.Merged) > 20 {
		return ""
	}
	parts := []string{"chain.id:" + uintText(c.Root)}
	for _, seq := range c.Merged {
		parts = append(parts, "chain.id:"+uintText(seq))
	}
	for _, r := range c.Records {
		if (r.Seq == c.Root || slices.Contains(c.Merged, r.Seq)) && r.ID != ([16]byte{}) {
			parts = append(parts, quoteTerm("id", record.FormatID(r.ID)))
		}
	}
	return "(" + strings.Join(parts, " OR ") + ")"
}

// chainRows lays out the tree: runs of equal siblings as one row, gaps where they are.
func chainRows(tree []index.Node, folds []index.Fold, missing []index.Gap, asked *askerView, from, to int64) []chainRow {
	before, after := map[uint64][]index.Gap{}, map[uint64][]index.Gap{}
	var last []index.Gap
	for _, g := range missing {
		switch {
		case g.Reason == index.CutOff:
			last = append(last, g)
		case g.Known && g.After == g.Record:
			after[g.Record] = append(after[g.Record], g)
		default:
			before[g.Record] = append(before[g.Record], g)
		}
	}
	// Until when what hangs on each record lasted: children stand behind their parents.
	until := make([]int64, len(tree))
	for i := len(tree) - 1; i >= 0; i-- {
		until[i] = max(until[i], index.When(tree[i].Record))
		if p := tree[i].Parent; p >= 0 {
			until[p] = max(until[p], until[i])
		}
	}
	axis := func(ns int64) int {
		if to <= from {
			return 0
		}
		return int(float64(ns-from) / float64(to-from) * axisWidth)
	}
	var rows []chainRow
	gaps := func(list []index.Gap, level, parent int) {
		for _, g := range list {
			rows = append(rows, chainRow{
				Gap:   &gapView{g.Missing, clipRunes(maxSnippet, g.Why), findingText(g.Reason)},
				Level: level, Indent: min(level, 12), Parent: parent,
			})
		}
	}
	for _, f := range folds {
		n := tree[f.From]
		if f.Count == 1 {
			gaps(before[n.Record.Seq], n.Depth+1, n.Parent)
		}
		row := newChainRow(n, asked)
		at := index.When(n.Record)
		row.At = "+" + spanText(at-from)
		if at == 0 {
			row.At, at = "no time", from
		}
		end := until[f.From]
		if f.Count > 1 {
			row.Fold, row.Added = f.Count, nil
			for i := f.From; i < f.To; i++ {
				end = max(end, until[i])
			}
			row.Since, row.Until = rangeText(at, end)
		}
		row.Tick = axis(at)
		row.X, row.W = row.Tick, max(2, axis(end)-row.Tick)
		rows = append(rows, row)
		if f.Count == 1 {
			gaps(after[n.Record.Seq], n.Depth+2, f.From)
		}
	}
	gaps(last, 1, -1)
	place(rows, tree)
	return rows
}

// place numbers the rows among their siblings and says which have children.
func place(rows []chainRow, tree []index.Node) {
	size := make(map[int]int)
	for i := range rows {
		size[rows[i].Parent]++
		rows[i].Pos = size[rows[i].Parent]
	}
	at := make(map[uint64]int, len(tree))
	for i, n := range tree {
		at[n.Record.Seq] = i
	}
	for i := range rows {
		row := &rows[i]
		row.Size = size[row.Parent]
		switch {
		case row.Gap != nil:
		case row.Fold > 0:
			row.Kids = true
		default:
			row.Kids = size[at[row.Seq]] > 0
			row.Open = row.Kids
		}
	}
}

func newChainRow(n index.Node, asked *askerView) chainRow {
	r := n.Record
	row := chainRow{
		rowView: newRow(r, nil), Level: n.Depth + 1, Indent: min(n.Depth+1, 12), Parent: n.Parent,
		Permission: clipRunes(maxRowPart, r.Get(record.AuthorityPermission)),
		Decision:   clipRunes(24, r.Get(record.DecisionEffect)),
		Relation:   findingText(clipRunes(24, n.Relation)), Method: findingText(clipRunes(24, n.Method)),
		Assurance: clipRunes(24, r.Get(record.RequesterAssurance)),
	}
	row.ExecutorHref = principalURL(r.Get(record.ExecutorID), r.Get(record.ContextTenant))
	row.DecisionOK = row.Decision == record.Allow
	row.DecisionOf = clipRunes(maxRowPart, r.Get(record.DecisionPolicyID))
	if v := r.Get(record.DecisionPolicyVersion); v != "" && row.DecisionOf != "" {
		row.DecisionOf += " v" + clipRunes(24, v)
	}
	if row.Assurance == "" && row.Requester.Missing {
		row.Assurance = reasonText(absent(r, record.RequesterID))
	}
	if !row.Requester.Missing && (asked == nil || row.Requester.Text != asked.Name) {
		row.Asker = row.Requester.Text
	}
	row.Added = addedTo(r)
	return row
}

// rangeText is a range of time as its two ends, with the day where they are of two.
func rangeText(from, to int64) (since, until string) {
	a, b := time.Unix(0, from).UTC(), time.Unix(0, to).UTC()
	if layout := "2006-01-02"; a.Format(layout) != b.Format(layout) {
		return a.Format(layout + " 15:04:05"), b.Format(layout + " 15:04:05")
	}
	return a.Format("15:04:05"), b.Format("15:04:05")
}

// stepText is what was done, in short.
func stepText(v rowView) string {
	parts := []string{}
	if !v.Through.Missing {
		parts = append(parts, v.Through.Text)
	}
	for _, s := range []string{v.Operation, v.Target} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	if len(parts) == 0 {
		return "record " + uintText(v.Seq)
	}
	return strings.Join(parts, " ")
}

// addedTo lists the rows that added to r after it was sealed, and what.
func addedTo(r *record.Record) []added {
	what := map[string][]string{}
	put := func(f record.Field, _, prov string) bool {
		if seq, ok := strings.CutPrefix(prov, "seq:"); ok && validID(seq) {
			name, _, _ := strings.Cut(f.String(), ".")
			if !slices.Contains(what[seq], name) {
				what[seq] = append(what[seq], name)
			}
		}
		return true
	}
	r.Scalars(func(f record.Field, v, _ string) bool { return put(f, v, r.Prov(f)) })
	r.Lists(put)
	var out []added
	for seq, names := range what {
		slices.Sort(names)
		out = append(out, added{seq, strings.Join(names, ", ")})
	}
	slices.SortFunc(out, func(a, b added) int { return cmp.Or(cmp.Compare(len(a.Seq), len(b.Seq)), cmp.Compare(a.Seq, b.Seq)) })
	return out[:min(len(out), 4)]
}

// spanText is a length of time as a reader measures it.
func spanText(ns int64) string {
	d := time.Duration(ns)
	switch {
	case d <= 0:
		return "0 s"
	case d < time.Second:
		return strconv.FormatInt(int64(d.Round(time.Millisecond)/time.Millisecond), 10) + " ms"
	case d < time.Minute:
		return strconv.FormatFloat(d.Seconds(), 'f', 2, 64) + " s"
	case d < time.Hour:
		return fmt.Sprintf("%d min %02d s", d/time.Minute, d%time.Minute/time.Second)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %02d min", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%d days", d/(24*time.Hour))
}
