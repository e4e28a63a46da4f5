package web

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"unicode"

	"custody/index"
	"custody/ingest/record"
)

// maxCredentialRecords bounds what is read of one credential.
const maxCredentialRecords = 1000

// credentialPage is the life of one credential.
type credentialPage struct {
	Page
	Kind, Issuer, Audience string
	By, To, For            *part2
	Scopes                 []string
	Until, UntilNote       string
	Ended                  string // how it ended, "" when that is not on record
	Users                  []countLink
	Uses, Late             int
	Count                  int
	Cut                    bool
	Href                   string // the search for its records
	Life                   []lifeRow
}

func (p credentialPage) title() string { return "Credential " + clipRunes(60, visible(p.ID)) }

// part2 is a principal with the page about it.
type part2 struct{ Text, Href string }

// lifeRow is one event of a credential's life, or a run of equal uses.
type lifeRow struct {
	rowView
	At     string
	What   string // issued, used, …
	Class  string
	Note   string
	Late   string // why the use is after the end
	Fold   int
	Until  string // of a run
	Expiry bool   // no record: the end that the credential was given
	like   string
}

func (s *Server) pageCredential(w http.ResponseWriter, r *http.Request) {
	id, tenant, err := readAbout(r)
	if err != nil {
		s.failErr(w, r, err)
		return
	}
	p, err := s.credentialOf(r.Context(), id, tenant)
	if err != nil {
		s.failErr(w, r, err)
		return
	}
	s.page(w, r, http.StatusOK, "credential", *p)
}

func (s *Server) credentialOf(ctx context.Context, id, tenant string) (*credentialPage, error) {
	clause := quoteTerm(record.CredentialID.String(), id)
	// Delegations are not indexed by credential, but by their words.
	if strings.IndexFunc(id, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }) >= 0 {
		words := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(id)
		clause = "(" + clause + ` OR ("` + words + `" ` + quoteTerm("delegation.credential", id) + "))"
	}
	a, err := askFor(clause, tenant)
	if err != nil {
		return nil, err
	}
	p := &credentialPage{Page: Page{ID: id, Tenant: tenant}, Href: searchURL(a.Q, "", "", index.OldestFirst)}
	req := a.Request
	req.Order, req.Limit = index.OldestFirst, maxCredentialRecords
	page, err := s.ledger.Search(ctx, req)
	if err != nil {
		return nil, err
	}
	p.Cut, p.Count = page.Next != "", len(page.Records)
	p.fill(page.Records, s.now().UnixNano())
	return p, s.seen(ctx, a, &p.Page)
}

// fill tells the life from its records.
func (p *credentialPage) fill(recs []*record.Record, now int64) {
	recs = slices.Clone(recs)
	slices.SortStableFunc(recs, func(a, b *record.Record) int {
		return cmp.Or(cmp.Compare(index.When(a), index.When(b)), cmp.Compare(a.Seq, b.Seq))
	})
	users := map[string]uint64{}
	var until, ended int64 // the end that it was given; when it was taken back
	var endedBy uint64
	var endedIn string // source whose clock says when
	said := false      // the end that it was given stands in the life already
	expire := func(before int64) {
		if until != 0 && !said && until < before && (ended == 0 || until < ended) {
			said = true
			p.Life = append(p.Life, lifeRow{At: clockText(until), What: "was to end", Class: "deny", Expiry: true, Note: "the time until which it was issued"})
		}
	}
	for _, r := range recs {
		at := index.When(r)
		expire(at)
		row := lifeRow{rowView: newRow(r, nil), At: clockText(at)}
		own := r.Get(record.CredentialID) == p.ID || strings.EqualFold(r.Get(record.CredentialID), p.ID)
		op := ""
		if own {
			op = r.Get(record.CredentialEventOp)
			p.learn(r)
		}
		what, lifecycle := opText(op, own)
		row.What = what
		switch {
		case lifecycle && (row.Outcome.Class == "bad" || row.Outcome.Class == "deny"):
			row.What, row.Class = "not "+what, row.Outcome.Class
		case lifecycle:
			row.Class = "ok"
			if end, ok := record.ParseTime(r.Get(record.CredentialExpires)); ok && op != "revoke" && op != "expire" {
				until, said = end, false
				row.Note = "until " + clockText(end)
			}
			if op == "revoke" || op == "expire" {
				row.Class = "deny"
				if ended == 0 || at < ended {
					ended, endedBy, endedIn = at, r.Seq, r.Get(record.SourceName)
				}
				p.Ended = what + " " + clockText(at)
			}
			if cause := r.Get(record.CredentialEventCause); cause != "" {
				row.Note = strings.TrimPrefix(row.Note+" · "+clipRunes(maxRowPart, cause), " · ")
			}
		default:
			p.Uses++
			if end, ok := record.ParseTime(r.Get(record.CredentialExpires)); ok && own && until == 0 {
				until = end // its issuance is not on record
			}
			switch {
			case ended != 0 && at > ended:
				row.Late = "after its end in record " + uintText(endedBy)
				if r.Get(record.SourceName) != endedIn {
					row.Late += ", by the clocks of two sources"
				}
			case until != 0 && at > until:
				row.Late = "after the time until which it was issued"
			}
			if row.Late != "" {
				p.Late++
				row.Class = "bad"
			}
			if !row.Executor.Missing {
				users[row.Executor.Text]++
			}
		}
		row.like = strings.Join([]string{row.What, row.Late, row.Executor.Text, row.Requester.Text, row.Through.Text, row.Operation, row.Outcome.Text, row.Class}, "\x00")
		for _, f := range row.Findings {
			row.like += "\x00" + f.Name
		}
		p.Life = append(p.Life, row)
	}
	expire(now + 1)
	if until != 0 {
		p.Until = clockText(until)
		p.UntilNote = "still to come"
		if until <= now {
			p.UntilNote = "past"
		}
	}
	for _, u := range sortedKeys(users) {
		if len(p.Users) < maxNamed {
			p.Users = append(p.Users, countLink{Text: u, Count: users[u]})
		}
	}
	p.Life = foldLife(p.Life)
}

// opText is what happened to the credential, and whether that changed its life.
func opText(op string, own bool) (what string, lifecycle bool) {
	switch op {
	case "issue":
		return "issued", true
	case "exchange":
		return "issued in exchange", true
	case "renew":
		return "renewed", true
	case "revoke":
		return "revoked", true
	case "expire":
		return "expired", true
	}
	if !own {
		return "used in a delegation", false
	}
	return "used", false
}

// learn takes what the record says of the credential itself, first from where it
// was issued.
func (p *credentialPage) learn(r *record.Record) {
	issued := false
	switch r.Get(record.CredentialEventOp) {
	case "issue", "exchange":
		issued = outcomeOf(r).Class == "ok" || outcomeOf(r).Class == "none"
	}
	take := func(to *string, f record.Field) {
		if v := r.Get(f); v != "" && (*to == "" || issued) {
			*to = clipRunes(maxRowPart, v)
		}
	}
	take(&p.Kind, record.CredentialKind)
	take(&p.Issuer, record.CredentialIssuer)
	take(&p.Audience, record.CredentialAudience)
	if l := r.List(record.AuthorityScopes); len(l) > 0 && (len(p.Scopes) == 0 || issued) {
		p.Scopes = nil
		for _, s := range l[:min(len(l), maxNamed)] {
			p.Scopes = append(p.Scopes, clipRunes(maxRowPart, s))
		}
	}
	if !issued || p.To != nil {
		return
	}
	tenant := r.Get(record.ContextTenant)
	who := func(fields ...record.Field) *part2 {
		for _, f := range fields {
			if v := r.Get(f); v != "" {
				return &part2{clipRunes(maxRowPart, v), principalURL(v, tenant)}
			}
		}
		return nil
	}
	p.By = &part2{"record " + uintText(r.Seq), "/records/" + idOf(r)}
	p.To = who(record.ExecutorID, record.ExecutorName)
	p.For = who(record.RequesterID, record.RequesterName)
}

// foldLife makes one row of each run of more than maxSiblings equal uses.
func foldLife(rows []lifeRow) []lifeRow {
	var out []lifeRow
	for i := 0; i < len(rows); {
		j := i + 1
		for j < len(rows) && rows[i].like != "" && rows[j].like == rows[i].like {
			j++
		}
		if j-i <= maxSiblings {
			out = append(out, rows[i:j]...)
		} else {
			run := rows[i]
			run.Fold, run.Target = j-i, ""
			_, run.Until = rangeText(run.Time, rows[j-1].Time)
			out = append(out, run)
		}
		i = j
	}
	return out
}
