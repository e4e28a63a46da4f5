package web

import (
	"context"
	"slices"
	"strings"
	"time"

	"custody/index"
	"custody/index/query"
	"custody/ingest/record"
)

// rootsWithin is how long finding out which rows begin a chain may delay a page.
const rootsWithin = 400 * time.Millisecond

// markRoots links the rows that others name as the first of their chain. The
// others carry chain.id themselves; without the answer a page is as good but for
// these links.
func (s *Server) markRoots(ctx context.Context, rows []rowView) {
	at := make(map[string][]int)
	var seqs []string
	for i := range rows {
		if rows[i].Kind == "" && rows[i].Chain == "" {
			seq := uintText(rows[i].Seq)
			at[seq] = append(at[seq], i)
			seqs = append(seqs, seq)
		}
	}
	if len(seqs) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, rootsWithin)
	defer cancel()
	q, err := query.Parse("chain.id:(" + strings.Join(seqs, " OR ") + ")")
	if err != nil {
		s.log.Warn("chains of a page cannot be asked for", "error", err)
		return
	}
	facets, err := s.ledger.Facets(ctx, index.Request{Query: q}, []record.Path{{Field: record.ChainID}}, len(seqs))
	if err != nil || len(facets) == 0 {
		return
	}
	for _, v := range facets[0].Values {
		for _, i := range at[v.Value] {
			rows[i].Chain = strings.Replace(rows[i].Href, "/records/", "/chains/", 1)
		}
	}
}

// chainOf is the address of the chain that a record is in, "" when it is in none.
func (s *Server) chainOf(ctx context.Context, row *rowView) string {
	rows := []rowView{*row}
	s.markRoots(ctx, rows)
	return rows[0].Chain
}

// aboutValue is the page about a principal or a credential that a field names.
func aboutValue(f record.Field, value, tenant string) string {
	switch f {
	case record.RequesterID, record.ExecutorID, record.ApprovalApprover:
		return principalURL(value, tenant)
	case record.CredentialID:
		return credentialURL(value, tenant)
	}
	return ""
}

// delegates are the principals and credentials that stand in the delegation.
func delegates(r *record.Record) []related {
	var out []related
	put := func(text, value, href string) {
		x := related{text, clipRunes(maxRowPart, value), href}
		if href != "" && len(out) < 16 && !slices.Contains(out, x) {
			out = append(out, x)
		}
	}
	tenant := r.Get(record.ContextTenant)
	for _, d := range r.DelegationList() {
		put("principal of the delegation", d.Principal, principalURL(d.Principal, tenant))
		put("credential of the delegation", d.Credential, credentialURL(d.Credential, tenant))
	}
	return out
}
