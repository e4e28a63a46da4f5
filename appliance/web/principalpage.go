package web

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"custody/index"
	"custody/index/query"
	"custody/ingest/record"
)

// principalPage is what is recorded of one principal, in each of its parts.
type principalPage struct {
	Page
	Types []countLink
	Parts []principalPart
}

// Page is what the pages about one identifier share.
type Page struct {
	ID, Tenant  string
	First, Last string
	FirstHref   string
	LastHref    string
}

func (p principalPage) title() string { return "Principal " + clipRunes(60, visible(p.ID)) }

// principalPart is one part that somebody played: asked, acted, approved.
type principalPart struct {
	Title  string
	What   string // of the records, in a sentence
	Count  uint64
	Href   string
	Chart  *chart
	Facets []partFacet
}

type partFacet struct {
	Title  string
	Values []countLink
	Other  uint64
	Absent uint64
}

const partTop = 10

type facetOf struct {
	title string
	field record.Field
	about func(value, tenant string) string // page of a value; nil leads to the search
}

// The parts of a principal: by which field they are found, and what is counted.
var principalParts = []struct {
	title, what string
	field       record.Field
	facets      []facetOf
}{
	{"Asked", "asked for", record.RequesterID, []facetOf{
		{"By way of", record.ExecutorID, nil},
		{"Tool", record.ActionTool, nil},
		{"Outcome", record.OutcomeStatus, nil},
		{"Finding", record.Findings, nil},
		{"How surely", record.RequesterAssurance, nil},
	}},
	{"Acted", "executed", record.ExecutorID, []facetOf{
		{"For", record.RequesterID, nil},
		{"Tool", record.ActionTool, nil},
		{"Outcome", record.OutcomeStatus, nil},
		{"Finding", record.Findings, nil},
		{"Credential", record.CredentialID, credentialURL},
	}},
	{"Approved", "approved", record.ApprovalApprover, []facetOf{
		{"For", record.RequesterID, nil}, {"By way of", record.ExecutorID, nil}, {"Status", record.ApprovalStatus, nil}, {"Finding", record.Findings, nil},
	}},
}

// readAbout reads id and tenant of a page about one identifier.
func readAbout(r *http.Request) (id, tenant string, err error) {
	v, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return "", "", badf("bad_parameter", "the address is not properly encoded")
	}
	for name := range v {
		if name != "id" && name != "tenant" {
			return "", "", badf("bad_parameter", "unknown parameter %q; the parameters here are id and tenant", clipRunes(40, name))
		}
	}
	id, tenant = v.Get("id"), v.Get("tenant")
	switch {
	case id == "":
		return "", "", badf("bad_parameter", "id: name a principal or a credential")
	case len(id) > maxIDShown || len(tenant) > maxPart || !utf8.ValidString(id) || !utf8.ValidString(tenant):
		return "", "", badf("bad_parameter", "id or tenant is too long, or not UTF-8")
	}
	return id, tenant, nil
}

func (s *Server) pagePrincipal(w http.ResponseWriter, r *http.Request) {
	id, tenant, err := readAbout(r)
	if err != nil {
		s.failErr(w, r, err)
		return
	}
	p, err := s.principalOf(r.Context(), id, tenant)
	if err != nil {
		s.failErr(w, r, err)
		return
	}
	s.page(w, r, http.StatusOK, "principal", *p)
}

func (s *Server) principalOf(ctx context.Context, id, tenant string) (*principalPage, error) {
	p := &principalPage{Page: Page{ID: id, Tenant: tenant}}
	types := map[string]uint64{}
	var clauses []string
	for _, part := range principalParts {
		a, err := askFor(quoteTerm(part.field.String(), id), tenant)
		if err != nil {
			return nil, err
		}
		clauses = append(clauses, quoteTerm(part.field.String(), id))
		n, err := s.ledger.Count(ctx, a.Request)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			continue
		}
		v := principalPart{Title: part.title, What: part.what, Count: n, Href: a.narrowed(a.Q)}
		bars, err := s.ledger.Histogram(ctx, a.Request, histoBuckets)
		if err != nil {
			return nil, err
		}
		v.Chart = newChart(bars, a)
		var paths []record.Path
		for _, f := range part.facets {
			paths = append(paths, record.Path{Field: f.field})
		}
		typ, typed := map[record.Field]record.Field{record.RequesterID: record.RequesterType, record.ExecutorID: record.ExecutorType}[part.field]
		if typed {
			paths = append(paths, record.Path{Field: typ})
		}
		facets, err := s.ledger.Facets(ctx, a.Request, paths, partTop)
		if err != nil {
			return nil, err
		}
		for i, f := range facets {
			if i == len(part.facets) {
				for _, x := range f.Values {
					types[x.Value] += x.Count
				}
				break
			}
			if len(f.Values) > 0 {
				v.Facets = append(v.Facets, newPartFacet(part.facets[i], f, a, tenant))
			}
		}
		p.Parts = append(p.Parts, v)
	}
	for _, t := range sortedKeys(types) {
		p.Types = append(p.Types, countLink{Text: clipRunes(24, t), Count: types[t]})
	}
	a, err := askFor("("+strings.Join(clauses, " OR ")+")", tenant)
	if err != nil {
		return nil, err
	}
	return p, s.seen(ctx, a, &p.Page)
}

// askFor is a search that a page makes by itself.
func askFor(q, tenant string) (*asked, error) {
	if tenant != "" {
		q += " " + quoteTerm("context.tenant", tenant)
	}
	parsed, err := query.Parse(q)
	if err != nil {
		return nil, fmt.Errorf("parse query of a page: %w", err)
	}
	return &asked{Q: q, Request: index.Request{Query: parsed}}, nil
}

// seen finds the first and the last record that arrived.
func (s *Server) seen(ctx context.Context, a *asked, p *Page) error {
	for _, order := range []index.Order{index.OldestFirst, index.NewestFirst} {
		req := a.Request
		req.Limit, req.Order = 1, order
		page, err := s.ledger.Search(ctx, req)
		if err != nil {
			return err
		}
		for _, r := range page.Records[:min(1, len(page.Records))] {
			if order == index.OldestFirst {
				p.First, p.FirstHref = clockText(r.Received), "/records/"+idOf(r)
			} else {
				p.Last, p.LastHref = clockText(r.Received), "/records/"+idOf(r)
			}
		}
	}
	return nil
}

func newPartFacet(of facetOf, f index.Facet, a *asked, tenant string) partFacet {
	v := partFacet{Title: of.title, Other: f.Other, Absent: f.Absent}
	for _, x := range f.Values {
		l := countLink{Text: clipRunes(maxRowPart, x.Value), Count: x.Count}
		switch {
		case of.about != nil:
			l.Href = of.about(x.Value, tenant)
		case len(x.Value) <= maxPart && utf8.ValidString(x.Value):
			l.Href = a.narrowed(withClause(a.Q, quoteTerm(f.Field.String(), x.Value)))
		}
		switch of.field {
		case record.OutcomeStatus:
			o := outcomeText(x.Value)
			l.Text, l.Class = o.Icon+" "+o.Text, o.Class
		case record.Findings:
			l.Text = findingText(l.Text)
		}
		v.Values = append(v.Values, l)
	}
	return v
}
