package web

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"custody/index"
	"custody/ingest/record"
)

const (
	facetTop     = 8
	histoBuckets = 90
)

// The facets of the search page.
var facetFields = []struct {
	path  record.Path
	title string
}{
	{record.Path{Field: record.RequesterID}, "Requester"},
	{record.Path{Field: record.ExecutorID}, "Executor"},
	{record.Path{Field: record.ActionTool}, "Tool"},
	{record.Path{Field: record.OutcomeStatus}, "Outcome"},
	{record.Path{Field: record.SourceName}, "Source"},
	{record.Path{Field: record.Findings}, "Finding"},
}

// overview is the histogram and the facets.
type overview struct {
	Total   uint64
	Chart   *chart
	Facets  []facetView
	Message string
}

type chart struct {
	Times, Counts string // comma-separated: Unix seconds, events
	Step          int64  // seconds of a bucket, as text for the script
	StepText      string
	Label         string
	Rows          []chartRow
}

type chartRow struct {
	From, To string
	Count    uint64
	Href     string
}

type facetView struct {
	Title, Field string
	Values       []facetLine
	Other        uint64
	Absent       uint64
	AbsentHref   string
	AbsentOn     bool
}

type facetLine struct {
	Value            string
	Count            uint64
	Percent          int
	Include, Exclude string
	On, Off          bool // included, excluded now
}

func (s *Server) fragOverview(w http.ResponseWriter, r *http.Request) {
	a, err := s.readAsked(r)
	if err != nil {
		s.failErr(w, r, err)
		return
	}
	o, err := s.overviewOf(r.Context(), &a)
	if err != nil {
		s.failErr(w, r, err)
		return
	}
	s.fragment(w, http.StatusOK, "overview", o)
}

func (s *Server) overviewOf(ctx context.Context, a *asked) (*overview, error) {
	o := &overview{}
	var err error
	if o.Total, err = s.ledger.Count(ctx, a.Request); err != nil {
		return nil, err
	}
	bs, err := s.ledger.Histogram(ctx, a.Request, histoBuckets)
	if err != nil {
		return nil, err
	}
	o.Chart = newChart(bs, a)
	paths := make([]record.Path, len(facetFields))
	for i := range facetFields {
		paths[i] = facetFields[i].path
	}
	fs, err := s.ledger.Facets(ctx, a.Request, paths, facetTop)
	if err != nil {
		return nil, err
	}
	for i, f := range fs {
		o.Facets = append(o.Facets, newFacet(facetFields[i].title, f, a, o.Total))
	}
	return o, nil
}

func newChart(bs []index.Bucket, a *asked) *chart {
	if len(bs) == 0 {
		return nil
	}
	c := &chart{}
	var ts, ns []string
	var peak index.Bucket
	var total uint64
	for _, b := range bs {
		ts = append(ts, strconv.FormatFloat(float64(b.From)/1e9, 'f', 3, 64))
		ns = append(ns, strconv.FormatUint(b.Count, 10))
		total += b.Count
		if b.Count > peak.Count {
			peak = b
		}
		if b.Count > 0 {
			c.Rows = append(c.Rows, chartRow{clockText(b.From), clockText(b.To), b.Count, searchURL(a.Q, stamp(b.From), stamp(b.To), a.Order)})
		}
	}
	c.Times, c.Counts = strings.Join(ts, ","), strings.Join(ns, ",")
	width := time.Duration(bs[0].To - bs[0].From)
	c.Step, c.StepText = int64(width.Seconds()), durationText(width)
	c.Label = fmt.Sprintf("Histogram of %s events from %s to %s UTC", groupDigits(total), clockText(bs[0].From), clockText(bs[len(bs)-1].To))
	if peak.Count > 0 {
		c.Label += fmt.Sprintf("; most, %s, in the %s from %s", groupDigits(peak.Count), c.StepText, clockText(peak.From))
	}
	return c
}

func durationText(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%.1f days", d.Hours()/24)
	case d >= 2*time.Hour:
		return fmt.Sprintf("%.1f hours", d.Hours())
	case d >= 2*time.Minute:
		return fmt.Sprintf("%.1f minutes", d.Minutes())
	case d >= time.Second:
		return fmt.Sprintf("%.1f seconds", d.Seconds())
	}
	return d.String()
}

func newFacet(title string, f index.Facet, a *asked, total uint64) facetView {
	v := facetView{Title: title, Field: f.Field.String(), Other: f.Other, Absent: f.Absent}
	for _, x := range f.Values {
		l := facetLine{Value: clipRunes(maxPart, x.Value), Count: x.Count}
		if total > 0 {
			l.Percent = int(min(100, x.Count*100/total))
		}
		if len(x.Value) <= maxPart && utf8.ValidString(x.Value) {
			l.Include, l.On, l.Exclude, l.Off = toggles(a, quoteTerm(v.Field, x.Value))
		}
		v.Values = append(v.Values, l)
	}
	v.AbsentHref, v.AbsentOn, _, _ = toggles(a, "-_exists_:"+v.Field)
	return v
}

// toggles are the addresses that include and exclude a clause, or take it out
// again where it stands in the query already.
func toggles(a *asked, clause string) (include string, on bool, exclude string, off bool) {
	bare := a.Q
	if q, ok := withoutClause(a.Q, "-"+clause); ok {
		bare, off = q, true
	} else if q, ok := withoutClause(a.Q, clause); ok {
		bare, on = q, true
	}
	include, exclude = a.narrowed(withClause(bare, clause)), a.narrowed(withClause(bare, "-"+clause))
	if on {
		include = a.narrowed(bare)
	}
	if off {
		exclude = a.narrowed(bare)
	}
	return include, on, exclude, off
}
