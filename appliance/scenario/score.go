package scenario

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Got is what a system under test makes of one line.
type Got struct {
	// Missing says that there is no record of the line.
	Missing             bool
	Requester, Executor string
	// RequesterAssurance is authenticated, asserted, correlated or inferred.
	RequesterAssurance string
	Chain              string // "" for none
	Parents            []int  // lines that it is linked to
	Ambiguous          bool
	Findings           []string
}

// Limits that a system has to keep for its [Report] to be without failures.
const (
	MinRecall             = 0.98
	MinPairs              = 0.97
	MinAmbiguousRecall    = 0.99
	MinAmbiguousPrecision = 0.95
)

// Share is how many of how many.
type Share struct{ N, Of int }

// Value is the share as a number; of nothing it is 1.
func (s Share) Value() float64 {
	if s.Of == 0 {
		return 1
	}
	return float64(s.N) / float64(s.Of)
}

func (s Share) String() string { return fmt.Sprintf("%.4f (%d/%d)", s.Value(), s.N, s.Of) }

func (s *Share) count(hit bool) {
	s.Of++
	if hit {
		s.N++
	}
}

// Wrong is a principal named who is not the truth's.
type Wrong struct {
	Line   int
	Role   string // requester or executor
	Named  string
	Truth  string
	Reason string
	Raw    string
}

// FindingScore is how well one finding is given.
type FindingScore struct {
	Recall    Share
	Precision Share
	// Lost and False are the first lines of either kind, at most five.
	Lost, False []int
}

// PartScore is the score of one scenario.
type PartScore struct {
	Name                string
	Lines, Wrong, Lost  int
	Requester, Executor Share
	Window              Share
	Ambiguous           Share
	Pairs               Share // of those that can be known
	Findings            Share
}

// Report is what Score found.
type Report struct {
	Seed  uint64
	Lines int
	// Wrongs counts wrong attributions; First are the first of them.
	Wrongs int
	First  []Wrong
	// Requester is recall over the lines whose requester can be known for sure,
	// Executor over the lines that show one, and Window over those where only
	// time, host and account point to one. Window has no limit.
	Requester, Executor, Window Share
	// PairPrecision and PairRecall are over pairs of lines in one chain.
	PairPrecision, PairRecall Share
	// ParentPrecision and ParentRecall are over links. They have no limit.
	ParentPrecision, ParentRecall       Share
	AmbiguousRecall, AmbiguousPrecision Share
	Lost                                int
	Findings                            map[string]*FindingScore
	Scenarios                           []PartScore
	scenarios                           map[string]*PartScore
}

// shown is how many wrong attributions are listed.
const shown = 20

// Score compares what got says of every line with the truth. It takes time and
// memory in proportion to the stream.
func Score(s *Stream, got func(line int) Got) *Report {
	r := &Report{Seed: s.Seed, Lines: len(s.Lines), Findings: map[string]*FindingScore{}, scenarios: map[string]*PartScore{}}
	pairs := newPairs()
	anyOf := anyFindings(s)
	for i := range s.Lines {
		l, g := &s.Lines[i], got(i)
		t := &l.Truth
		sc := r.scenario(t.Scenario)
		sc.Lines++
		if g.Missing {
			r.Lost++
			sc.Lost++
			g = Got{Missing: true}
		}
		r.principals(s, i, g, sc)
		r.ambiguity(t, g, sc)
		r.parents(s, i, g)
		r.findings(i, t, g, sc, anyOf)
		pairs.add(i, t, g.Chain)
	}
	for k, a := range anyOf {
		f := r.finding(k.finding)
		f.Recall.count(a.hit)
		r.scenario(a.scenario).Findings.count(a.hit)
		if !a.hit && len(f.Lost) < 5 {
			f.Lost = append(f.Lost, a.line)
		}
	}
	for _, f := range r.Findings {
		slices.Sort(f.Lost)
	}
	pairs.score(r)
	for _, name := range slices.Sorted(maps.Keys(r.scenarios)) {
		r.Scenarios = append(r.Scenarios, *r.scenarios[name])
	}
	return r
}

func (r *Report) scenario(name string) *PartScore {
	sc := r.scenarios[name]
	if sc == nil {
		sc = &PartScore{Name: name}
		r.scenarios[name] = sc
	}
	return sc
}

func (r *Report) finding(name string) *FindingScore {
	f := r.Findings[name]
	if f == nil {
		f = &FindingScore{}
		r.Findings[name] = f
	}
	return f
}

func named(names []string, name string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
}

// WrongRequester says why naming the requester so is wrong for the line, or "".
func WrongRequester(src *Source, t *Truth, g Got) string {
	switch {
	case g.Requester == "":
		return ""
	case g.RequesterAssurance == "authenticated" && (!src.Trusted || src.Format == ""):
		return "authenticated on a source that proves nothing"
	case named(t.Stated, g.Requester) && (g.RequesterAssurance == "asserted" || g.RequesterAssurance == "authenticated"):
		return ""
	case named(t.Forged, g.Requester) && !named(t.RequesterAliases, g.Requester):
		if g.Ambiguous && t.MayBeAmbiguous {
			return ""
		}
		return "forged"
	case t.Ambiguous:
		return "several people fit"
	case named(t.RequesterAliases, g.Requester):
		return ""
	case t.Requester == "":
		return "nobody can say who asked"
	}
	return "somebody else asked"
}

// WrongExecutor says why naming the executor so is wrong for the line, or "".
func WrongExecutor(t *Truth, g Got) string {
	switch {
	case g.Executor == "" || t.AnyExecutor || named(t.ExecutorAliases, g.Executor):
		return ""
	case len(t.ExecutorAliases) == 0:
		return "the line shows none"
	}
	return "something else acted"
}

func (r *Report) principals(s *Stream, i int, g Got, sc *PartScore) {
	l := &s.Lines[i]
	t := &l.Truth
	wrong := func(role, name, truth, why string) {
		r.Wrongs++
		sc.Wrong++
		if len(r.First) < shown {
			r.First = append(r.First, Wrong{Line: i, Role: role, Named: name, Truth: truth, Reason: why, Raw: string(l.Raw)})
		}
	}
	badRequester := WrongRequester(&s.Sources[l.Source], t, g)
	if badRequester != "" {
		wrong("requester", g.Requester, t.Requester, badRequester)
	}
	badExecutor := WrongExecutor(t, g)
	if badExecutor != "" {
		wrong("executor", g.Executor, t.Executor, badExecutor)
	}
	right := badRequester == "" && named(t.RequesterAliases, g.Requester)
	switch {
	case t.Linkable:
		r.Requester.count(right)
		sc.Requester.count(right)
	case t.Window:
		r.Window.count(right)
		sc.Window.count(right)
	}
	if t.ExecutorShown {
		right := badExecutor == "" && g.Executor != ""
		r.Executor.count(right)
		sc.Executor.count(right)
	}
}

func (r *Report) ambiguity(t *Truth, g Got, sc *PartScore) {
	if t.Ambiguous {
		r.AmbiguousRecall.count(g.Ambiguous)
		sc.Ambiguous.count(g.Ambiguous)
	}
	if g.Ambiguous && !t.MayBeAmbiguous && !slices.Contains(t.May, "link_ambiguous") {
		r.AmbiguousPrecision.count(t.Ambiguous)
	}
}

func (r *Report) parents(s *Stream, i int, g Got) {
	t := &s.Lines[i].Truth
	hit := false
	for _, p := range g.Parents {
		if p < 0 || p >= len(s.Lines) {
			r.ParentPrecision.count(false)
			continue
		}
		o := &s.Lines[p].Truth
		if !o.Loose && !t.Loose {
			r.ParentPrecision.count(o.Chain == t.Chain && o.Chain != 0)
		}
		hit = hit || slices.ContainsFunc(t.Parents, func(q Parent) bool { return q.Line == p })
	}
	if len(t.Parents) > 0 {
		r.ParentRecall.count(hit)
	}
}

// chainFinding is a finding that some record of a chain has to carry.
type chainFinding struct {
	chain   int
	finding string
}

type anyFinding struct {
	hit      bool
	line     int
	scenario string
}

// anyFindings are the findings that are due once in a chain. They may stand on
// any of its records where they are not false.
func anyFindings(s *Stream) map[chainFinding]*anyFinding {
	out := map[chainFinding]*anyFinding{}
	for i := range s.Lines {
		t := &s.Lines[i].Truth
		for _, f := range t.MustAny {
			if k := (chainFinding{t.Chain, f}); out[k] == nil {
				out[k] = &anyFinding{line: i, scenario: t.Scenario}
			}
		}
	}
	return out
}

func (r *Report) findings(i int, t *Truth, g Got, sc *PartScore, anyOf map[chainFinding]*anyFinding) {
	for _, f := range t.Must {
		has := slices.Contains(g.Findings, f)
		r.finding(f).Recall.count(has)
		sc.Findings.count(has)
		if !has && len(r.finding(f).Lost) < 5 {
			r.finding(f).Lost = append(r.finding(f).Lost, i)
		}
	}
	for _, f := range g.Findings {
		if a := anyOf[chainFinding{t.Chain, f}]; a != nil && !slices.Contains(t.MustNot, f) {
			a.hit = true
		}
		switch {
		case slices.Contains(t.Must, f), slices.Contains(t.MustAny, f):
			r.finding(f).Precision.count(true)
		case slices.Contains(t.MustNot, f):
			r.finding(f).Precision.count(false)
			if len(r.finding(f).False) < 5 {
				r.finding(f).False = append(r.finding(f).False, i)
			}
		}
	}
}

// Failures lists the limits that are not kept.
func (r *Report) Failures() []string {
	var out []string
	if r.Wrongs > 0 {
		out = append(out, fmt.Sprintf("%d wrong attributions", r.Wrongs))
	}
	if r.Lost > 0 {
		out = append(out, fmt.Sprintf("%d lost lines", r.Lost))
	}
	for _, c := range []struct {
		what string
		is   Share
		min  float64
	}{
		{"requester recall", r.Requester, MinRecall},
		{"executor recall", r.Executor, MinRecall},
		{"pair precision", r.PairPrecision, MinPairs},
		{"pair recall", r.PairRecall, MinPairs},
		{"ambiguous recall", r.AmbiguousRecall, MinAmbiguousRecall},
		{"ambiguous precision", r.AmbiguousPrecision, MinAmbiguousPrecision},
	} {
		if c.is.Value() < c.min {
			out = append(out, fmt.Sprintf("%s is %s, below %.2f", c.what, c.is, c.min))
		}
	}
	return out
}

// String is the report as tables.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d, %d lines, %d lost, %d wrong attributions\n", r.Seed, r.Lines, r.Lost, r.Wrongs)
	for _, row := range []struct {
		name string
		is   Share
		min  float64
	}{
		{"requester recall", r.Requester, MinRecall},
		{"executor recall", r.Executor, MinRecall},
		{"requester by window", r.Window, 0},
		{"pair precision", r.PairPrecision, MinPairs},
		{"pair recall", r.PairRecall, MinPairs},
		{"ambiguous recall", r.AmbiguousRecall, MinAmbiguousRecall},
		{"ambiguous precision", r.AmbiguousPrecision, MinAmbiguousPrecision},
		{"parent precision", r.ParentPrecision, 0},
		{"parent recall", r.ParentRecall, 0},
	} {
		limit := ""
		if row.min > 0 {
			limit = fmt.Sprintf("at least %.2f", row.min)
		}
		fmt.Fprintf(&b, "  %-22s %-26s %s\n", row.name, row.is, limit)
	}
	fmt.Fprintf(&b, "\n  %-30s %-22s %-22s first lost, false\n", "finding", "recall", "precision")
	for _, name := range slices.Sorted(maps.Keys(r.Findings)) {
		f := r.Findings[name]
		fmt.Fprintf(&b, "  %-30s %-22s %-22s %v %v\n", name, f.Recall, f.Precision, f.Lost, f.False)
	}
	fmt.Fprintf(&b, "\n  %-28s %6s %5s %4s %-22s %-22s %-20s %-18s %-22s %s\n", "scenario", "lines", "wrong", "lost", "requester", "executor", "window", "ambiguous", "pairs", "findings")
	for _, sc := range r.Scenarios {
		fmt.Fprintf(&b, "  %-28s %6d %5d %4d %-22s %-22s %-20s %-18s %-22s %s\n",
			sc.Name, sc.Lines, sc.Wrong, sc.Lost, sc.Requester, sc.Executor, sc.Window, sc.Ambiguous, sc.Pairs, sc.Findings)
	}
	slices.SortStableFunc(r.First, func(a, b Wrong) int { return cmp.Compare(a.Line, b.Line) })
	for _, w := range r.First {
		fmt.Fprintf(&b, "\nline %d: %s %q, in truth %q: %s\n  %s\n", w.Line, w.Role, w.Named, w.Truth, w.Reason, w.Raw)
	}
	return b.String()
}
