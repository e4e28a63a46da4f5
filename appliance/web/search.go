package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"custody/index"
	"custody/index/query"
	"custody/ingest/record"
)

const (
	maxTrail = 16 // pages that "newer" can walk back
)

type searchPage struct {
	Q, From, To string
	Order       string
	Params      string // of the fragments and exports, encoded
	Error       *queryFault
	Fault       string // anything else that went wrong
	Rows        []rowView
	Older       string
	Newer       string
	Newest      string
	Presets     []preset
	Earlier     string
	Later       string
	Wider       string
	Permalink   string
	RangeText   string
	Live        bool
	TailParams  string // of the live tail, which begins with what came after this page
	LiveOn      string
	LiveOff     string
	Sort        string // address of the other order
	Gaps        []rowView
	GapCount    uint64
	GapLink     string
	Overview    *overview // inline, for readers without scripts
	FullLink    string
}

// Export is the address of the whole result in a form: ndjson, csv or ocsf. A
// template that put Params behind a "?" itself would encode them a second time.
func (p searchPage) Export(form string) string { return "/api/v1/records." + form + "?" + p.Params }

func (p searchPage) title() string {
	if p.Q != "" {
		return clipRunes(60, visible(p.Q))
	}
	return "Search"
}

type preset struct {
	Text, Href string
	Active     bool
}

// queryFault shows where a query is wrong and offers the fix.
type queryFault struct {
	Msg                string
	Before, Bad, After string
	Caret              string
	Fix, FixHref       string
}

func faultOf(q string, e *query.Error, a *asked) *queryFault {
	pos := min(max(e.Pos, 0), len(q))
	end := min(pos+max(e.Len, 0), len(q))
	f := &queryFault{Msg: e.Msg, Bad: visible(q[pos:end])}
	f.Before = visible(q[:pos])
	if n := utf8.RuneCountInString(f.Before); n > 100 {
		f.Before = tailRunes(f.Before, 100)
	}
	f.After = clipRunes(60, visible(q[end:]))
	f.Bad = clipRunes(120, f.Bad)
	f.Caret = strings.Repeat(" ", utf8.RuneCountInString(f.Before)) + strings.Repeat("^", max(1, utf8.RuneCountInString(f.Bad)))
	if e.Suggestion != "" {
		f.Fix = q[:pos] + e.Suggestion + q[end:]
		f.FixHref = a.narrowed(f.Fix)
	}
	return f
}

func (s *Server) pageSearch(w http.ResponseWriter, r *http.Request) {
	a, err := s.readAsked(r)
	p := searchPage{Q: a.Q, From: a.From, To: a.To, Params: a.params(), Live: r.URL.Query().Get("live") != ""}
	p.Presets = presets(&a)
	p.LiveOn = searchURL(a.Q, a.From, a.To, a.Order, "live", "1")
	p.LiveOff = searchURL(a.Q, a.From, a.To, a.Order)
	if err != nil {
		var bad *requestError
		switch {
		case errors.As(err, &bad) && bad.query != nil:
			p.Error = faultOf(a.Q, bad.query, &a)
		default:
			p.Fault = err.Error()
		}
		s.page(w, r, http.StatusBadRequest, "search", p)
		return
	}
	if st := s.ledger.Status(); st.Durable == 0 && a.Q == "" && a.From == "" && a.To == "" {
		s.pageSetup(w, r)
		return
	}
	s.ranges(&p, &a)
	if p.Live {
		p.TailParams = strings.TrimPrefix(p.Params+"&after="+tailID(s.ledger.Status().Rows), "&")
	} else {
		if a.Limit == 0 {
			a.Limit = s.opt.PageRecords
		}
		page, err := s.ledger.Search(r.Context(), a.Request)
		if err != nil {
			status, e := s.classify(r, err)
			p.Fault = e.Message
			s.page(w, r, status, "search", p)
			return
		}
		p.Rows = s.rows(page.Records, a.Query)
		s.markRoots(r.Context(), p.Rows)
		s.paging(&p, &a, r.URL.Query(), page.Next)
		if err := s.gaps(r.Context(), &p, &a); err != nil {
			s.log.Warn("gaps cannot be listed", "error", err)
		}
		if r.URL.Query().Get("full") != "" {
			o, err := s.overviewOf(r.Context(), &a)
			if err != nil {
				_, e := s.classify(r, err)
				p.Fault = e.Message
			}
			p.Overview = o
		}
	}
	s.page(w, r, http.StatusOK, "search", p)
}

func (s *Server) rows(recs []*record.Record, q *query.Query) []rowView {
	var words []string
	if q != nil {
		words = q.HighlightWords()
	}
	out := make([]rowView, len(recs))
	for i, rec := range recs {
		out[i] = newRow(rec, words)
	}
	return out
}

var presetRanges = []struct{ text, from string }{
	{"15 min", "now-15m"}, {"1 h", "now-1h"}, {"24 h", "now-24h"}, {"7 d", "now-7d"}, {"30 d", "now-30d"}, {"All", ""},
}

func presets(a *asked) []preset {
	out := make([]preset, len(presetRanges))
	for i, x := range presetRanges {
		out[i] = preset{x.text, searchURL(a.Q, x.from, "", a.Order), a.From == x.from && a.To == ""}
	}
	return out
}

// ranges fills in what the page says about time.
func (s *Server) ranges(p *searchPage, a *asked) {
	now := s.now().UnixNano()
	from, to := a.Request.From, a.Request.To
	p.FullLink = searchURL(a.Q, a.From, a.To, a.Order, "full", "1")
	other := index.OldestFirst
	p.Order = "newest"
	if a.Order == index.OldestFirst {
		other, p.Order = index.NewestFirst, "oldest"
	}
	p.Sort = searchURL(a.Q, a.From, a.To, other)
	end := to
	if end == 0 {
		end = now
	}
	absFrom := ""
	if from != 0 {
		absFrom = stamp(from)
	}
	p.Permalink = searchURL(a.Q, absFrom, stamp(end), a.Order)
	if from == 0 {
		p.RangeText = "all time"
		return
	}
	width := end - from
	p.RangeText = time.Unix(0, from).UTC().Format("2006-01-02 15:04:05") + " – " + time.Unix(0, end).UTC().Format("2006-01-02 15:04:05") + " UTC"
	step := func(f, t int64) string {
		return searchURL(a.Q, stamp(max(f, earliest)), stamp(min(t, latest)), a.Order)
	}
	// Nearer to the ends of time a step would leave what numbers can hold.
	if century := int64(100 * 365 * 24 * time.Hour); from < earliest+century || end > latest-century {
		return
	}
	if width <= 0 || width > int64(100*365*24*time.Hour) {
		return
	}
	p.Earlier = step(from-width, end-width)
	p.Later = step(from+width, end+width)
	p.Wider = step(from-width/2, end+width/2)
}

// paging makes the links to the pages around this one. The way back is carried
// in the address, so it stays right while events arrive.
func (s *Server) paging(p *searchPage, a *asked, v url.Values, next string) {
	var trail []string
	if t := v.Get("trail"); t != "" && len(t) < 8<<10 {
		trail = strings.Split(t, "~")
	}
	link := func(cursor string, trail []string) string {
		if len(trail) > maxTrail {
			trail = trail[len(trail)-maxTrail:]
		}
		return searchURL(a.Q, a.From, a.To, a.Order, "cursor", cursor, "trail", strings.Join(trail, "~"))
	}
	if next != "" {
		p.Older = link(next, append(slices.Clip(trail), orDash(a.Cursor)))
	}
	if a.Cursor != "" {
		p.Newest = link("", nil)
		if n := len(trail); n > 0 {
			back := trail[n-1]
			if back == "-" {
				back = ""
			}
			p.Newer = link(back, trail[:n-1])
		}
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// gaps finds what is known to be missing in the range: a result that has a hole
// in it must say so.
func (s *Server) gaps(ctx context.Context, p *searchPage, a *asked) error {
	q, err := query.ParseAt("kind:gap", s.now())
	if err != nil {
		return fmt.Errorf("parse gap query: %w", err)
	}
	req := index.Request{Query: q, From: a.Request.From, To: a.Request.To, Tenant: a.Tenant, Limit: 3}
	page, err := s.ledger.Search(ctx, req)
	if err != nil || len(page.Records) == 0 {
		return err
	}
	p.Gaps = s.rows(page.Records, nil)
	p.GapLink = searchURL("kind:gap", a.From, a.To, a.Order)
	p.GapCount, err = s.ledger.Count(ctx, req)
	return err
}

// The live tail on the page: at most so many rows so often, and of what came
// while a tab was away what the page can hold. More than a person can read would
// only cost time on both sides.
const (
	liveRows   = 60
	livePace   = 300 * time.Millisecond
	liveMissed = 500
)

func (s *Server) fragTail(w http.ResponseWriter, r *http.Request) {
	a, err := s.readAsked(r)
	if err != nil {
		s.failErr(w, r, err)
		return
	}
	var words []string
	if a.Query != nil {
		words = a.Query.HighlightWords()
	}
	t := s.pages[partials]
	s.tail(w, r, tailing{
		pace: livePace, most: liveRows, missed: liveMissed,
		render: func(rec *record.Record) ([]byte, error) {
			var b bytes.Buffer
			err := t.ExecuteTemplate(&b, "row", newRow(rec, words))
			return b.Bytes(), err
		},
		send: func(w http.ResponseWriter, got tailed) error {
			var b bytes.Buffer
			if got.skipped > 0 {
				if err := t.ExecuteTemplate(&b, "skipped", got.skipped); err != nil {
					return err
				}
			}
			for _, item := range slices.Backward(got.items) { // newest on top
				b.Write(item.data)
			}
			if b.Len() == 0 {
				return nil
			}
			_, err := w.Write(sseHTML(tailID(got.next), b.Bytes()))
			return err
		},
	})
}
