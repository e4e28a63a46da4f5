package web

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"custody/index"
	"custody/index/query"
	"custody/ingest/record"
)

// leadsToAsMany follows the links of a page to the search and compares the number
// in the list's line with what the search finds.
func leadsToAsMany(t *testing.T, f *fakeLedger, page string) {
	t.Helper()
	checked := 0
	for _, li := range elements(t, page, "li", "", "") {
		words := strings.Fields(inner(li))
		for n := range li.Descendants() {
			u, err := url.Parse(attribute(n, "href"))
			if n.Data != "a" || err != nil || u.Path != "/" {
				continue
			}
			q, err := query.ParseAt(u.Query().Get("q"), day)
			if err != nil {
				t.Fatalf("%s: %v", u, err)
			}
			got, err := f.Count(t.Context(), index.Request{Query: q})
			if err != nil || words[len(words)-1] != groupDigits(got) {
				t.Errorf("%q leads to %d records of %s (%v)", inner(li), got, u.Query().Get("q"), err)
			}
			checked++
		}
	}
	if checked < 5 {
		t.Errorf("%d links to the search", checked)
	}
}

func TestPrincipalPage(t *testing.T) {
	f := newFake(manyRecords(300)...)
	for i, r := range f.recs[:20] {
		r.Set(record.CredentialID, fmt.Sprintf("tok-%d", i%3), "")
	}
	f.recs[5].Set(record.ApprovalApprover, "alice@example.com", "")
	s := newSite(t, f)
	page := s.get("/principals?id=" + url.QueryEscape("alice@example.com")).Body.String()
	harmless(t, "principal", page)
	leadsToAsMany(t, f, page)
	for _, want := range []string{"<h2>Asked</h2>", "<h2>Approved</h2>", "By way of", "deploy-agent", "first arrived", "person", "data-counts="} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q", want)
		}
	}
	if strings.Contains(page, "<h2>Acted</h2>") {
		t.Error("alice executed nothing")
	}
	agent := s.get("/principals?id=deploy-agent").Body.String()
	leadsToAsMany(t, f, agent)
	if !strings.Contains(agent, "<h2>Acted</h2>") || strings.Contains(agent, "<h2>Asked</h2>") || !strings.Contains(agent, "/credentials?id=tok-") || !strings.Contains(agent, ">For</h3>") {
		t.Error("the agent's page lacks a part")
	}
	// Both ends of what was seen, by arrival.
	of := slices.DeleteFunc(slices.Clone(f.recs), func(r *record.Record) bool { return r.Get(record.ExecutorID) != "deploy-agent" })
	for _, r := range []*record.Record{of[0], of[len(of)-1]} {
		if !strings.Contains(agent, `<a class="m" href="/records/`+record.FormatID(r.ID)+`">`+clockText(r.Received)) {
			t.Errorf("record %d is not an end", r.Seq)
		}
	}
	if w := s.get("/principals?id=nobody"); w.Code != 200 || !strings.Contains(w.Body.String(), "No record names it") {
		t.Errorf("%d", w.Code)
	}
	f.recs[0].Set(record.RequesterID, "zoe@example.com", "")
	f.recs[0].Set(record.ContextTenant, "acme", "")
	f.recs[1].Set(record.RequesterID, "zoe@example.com", "")
	if w := s.get("/principals?id=zoe@example.com&tenant=acme"); !strings.Contains(w.Body.String(), "<b>1</b> record<") || !strings.Contains(w.Body.String(), "of tenant") {
		t.Error("another tenant's record is counted")
	}
}

func TestAboutParameters(t *testing.T) {
	s := newSite(t, newFake(manyRecords(3)...))
	for _, path := range []string{"/principals", "/credentials"} {
		for _, q := range []string{"", "?id=", "?name=x", "?id=x&q=y", "?id=" + strings.Repeat("a", 1025), "?id=%ff", "?id=x&tenant=%ff", "?id=%zz"} {
			if w := s.get(path + q); w.Code != 400 {
				t.Errorf("%s%.30s: %d", path, q, w.Code)
			}
		}
		if w := s.do("GET", path+"?id=x", nil); w.Code != 303 {
			t.Errorf("%s without signing in: %d", path, w.Code)
		}
		for _, v := range hostile[:len(hostile)-1] { // the last is no UTF-8
			w := s.get(path + "?id=" + url.QueryEscape(v) + "&tenant=" + url.QueryEscape(v))
			if w.Code != 200 {
				t.Errorf("%s?id=%q: %d %.300s", path, v, w.Code, w.Body)
			}
			harmless(t, path, w.Body.String())
		}
	}
	f := hostileLedger()
	s = newSite(t, f)
	for _, v := range hostile[:len(hostile)-1] {
		for _, path := range []string{"/principals", "/credentials"} {
			w := s.get(path + "?id=" + url.QueryEscape(v))
			if w.Code != 200 || strings.Contains(w.Body.String(), "No record") {
				t.Errorf("%s?id=%q: %d", path, v, w.Code)
			}
			harmless(t, path, w.Body.String())
		}
	}
	f.err = errBroken
	for _, path := range []string{"/principals?id=x", "/credentials?id=x"} {
		if w := s.get(path); w.Code != 500 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

// credentialLife is a token that is issued, used, renewed, used after its time,
// revoked and used again, and stands behind a delegation.
func credentialLife() *fakeLedger {
	at := func(minute int, op, status string) *record.Record {
		r := agentRecord(1)
		r.ID[15] = byte(minute)
		r.SetTime(day.Add(time.Duration(minute)*time.Minute).UnixNano(), "")
		r.RemoveList(record.Delegations)
		r.RemoveList(record.Findings)
		r.Set(record.ExecutorID, "deploy-agent", "")
		r.Set(record.RequesterID, "alice@example.com", "")
		r.Set(record.CredentialID, "tok-1", "")
		r.Set(record.CredentialEventOp, op, "")
		r.Set(record.OutcomeStatus, status, "")
		return r
	}
	issue := at(0, "issue", record.Success)
	issue.Set(record.CredentialKind, "vault_token", "")
	issue.Set(record.CredentialIssuer, "vault.example.com", "")
	issue.Set(record.CredentialExpires, "2026-11-23T14:30:00Z", "")
	issue.Add(record.AuthorityScopes, "deploy:read", "")
	renew := at(25, "renew", record.Success)
	renew.Set(record.CredentialExpires, "2026-11-23T15:00:00Z", "")
	refused := at(26, "renew", record.Denied)
	refused.Set(record.CredentialExpires, "2026-11-24T15:00:00Z", "")
	handed := at(70, "", record.Success)
	handed.Set(record.CredentialID, "tok-2", "")
	handed.AddDelegation(record.Delegation{Principal: "alice@example.com", Credential: "tok-1"}, "")
	recs := []*record.Record{issue, at(5, "", record.Success), renew, refused, at(65, "", record.Success), handed, at(80, "revoke", record.Success), at(90, "use", record.Denied)}
	for i := range 15 {
		recs = append(recs, at(100+i, "", record.Success))
	}
	slices.Reverse(recs) // they arrive in any order
	return newFake(recs...)
}

func TestCredentialPage(t *testing.T) {
	f := credentialLife()
	s := newSite(t, f)
	s.now = day.Add(3 * time.Hour)
	page := s.get("/credentials?id=tok-1").Body.String()
	harmless(t, "credential", page)
	var life []string
	for _, li := range elements(t, page, "li", "", "") {
		if list := li.Parent; attribute(list, "class") == "life" {
			life = append(life, inner(li))
		}
	}
	for i, want := range [][]string{
		{"14:00:00.000", "● issued", "until 2026-11-23 14:30:00.000"},
		{"14:05:00.000", "○ used"},
		{"14:25:00.000", "● renewed", "until 2026-11-23 15:00:00.000"},
		{"14:26:00.000", "▲ not renewed", "denied"},
		{"15:00:00.000", "▲ was to end"},
		{"15:05:00.000", "▲ used", "✕ after the time until which it was issued"},
		{"15:10:00.000", "▲ used in a delegation", "✕ after the time"},
		{"15:20:00.000", "▲ revoked"},
		{"15:30:00.000", "▲ used", "denied", "✕ after its end in record 16"},
		{"15:40:00.000", "▲ 15 × used", "until 15:54:00", "✕ after its end in record 16"},
	} {
		for _, part := range want {
			if i >= len(life) || !strings.Contains(life[i], part) {
				t.Fatalf("line %d of the life lacks %q: %q", i, part, life)
			}
		}
		if strings.Contains(strings.Join(want, ""), "✕") != strings.Contains(life[i], "✕ after") {
			t.Errorf("line %d: %q", i, life[i])
		}
	}
	if len(life) != 10 {
		t.Errorf("%d lines", len(life))
	}
	for _, want := range []string{"vault_token", "vault.example.com", "on behalf of", "/principals?id=alice%40example.com", "deploy:read", "revoked 2026-11-23 15:20:00.000", "19 times", "✕ 18 after its end", "2026-11-23 15:00:00.000</span> <span class=\"dim\">past"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q", want)
		}
	}
	if w := s.get("/credentials?id=tok-9"); !strings.Contains(w.Body.String(), "No record shows this credential") {
		t.Error("an unknown credential is known")
	}
	// Its issuance unseen, and no end: nothing is made up.
	f = newFake(agentRecord(1))
	f.recs[0].Set(record.CredentialID, "tok-7", "")
	page = newSite(t, f).get("/credentials?id=tok-7").Body.String()
	if !strings.Contains(page, "its issuance is not on record") || !strings.Contains(page, "no end is on record") || strings.Contains(page, "on behalf of") {
		t.Error("something is made up")
	}
}

func TestCredentialPageIsBounded(t *testing.T) {
	recs := manyRecords(maxCredentialRecords + 20)
	for _, r := range recs {
		r.Set(record.CredentialID, "tok-1", "")
	}
	page := newSite(t, newFake(recs...)).get("/credentials?id=tok-1").Body.String()
	if !strings.Contains(page, "The first 1000 records are shown") {
		t.Error("the cut is not said")
	}
}

// The record page and the rows of the search lead to chains, principals and credentials.
func TestLinksToChains(t *testing.T) {
	f := newFake(chainOf(4)...)
	lone := agentRecord(3)
	lone.ID[15] = 99
	f.add(lone)
	s := newSite(t, f)
	list := s.get("/").Body.String()
	for i, r := range f.recs {
		href := `href="/chains/` + record.FormatID(r.ID) + `"`
		if got := strings.Contains(list, href); got != (i < 4) {
			t.Errorf("record %d in the list: %v", i, got)
		}
		page := s.get(fmt.Sprintf("/records/%d", i)).Body.String()
		if got := strings.Contains(page, `id="chain" `+href); got != (i < 4) {
			t.Errorf("page of record %d: %v", i, got)
		}
	}
	page := s.get("/records/2").Body.String()
	for _, want := range []string{"/principals?id=alice%40example.com", "/principals?id=reader-agent", "/credentials?id=tok-1", "principal of the delegation"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s on the record page", want)
		}
	}
}

func TestAboutPagesOfARealLedger(t *testing.T) {
	l := realLedger(
		t,
		`{"ts":"2026-11-23T14:00:00Z",`+someTrace+`,"span_id":"a1b2c3d4e5f60718","agent_id":"agent:gateway","user":"alice@example.com","operation":"ask","status":"ok"}`,
		`{"ts":"2026-11-23T14:00:02Z",`+someTrace+`,"span_id":"b1b2c3d4e5f60718","parent_id":"a1b2c3d4e5f60718","agent_id":"agent:deploy","credential_id":"tok-1","credential_event":"issue","status":"ok"}`,
		`{"ts":"2026-11-23T14:00:03Z",`+someTrace+`,"span_id":"c1b2c3d4e5f60718","parent_id":"b1b2c3d4e5f60718","agent_id":"agent:deploy","credential_id":"tok-1","operation":"read","status":"ok"}`,
	)
	s := newSite(t, newFake(), func(o *Options) { o.Ledger = l })
	page, err := l.Search(t.Context(), index.Request{Order: index.OldestFirst})
	if err != nil || len(page.Records) != 3 {
		t.Fatal(len(page.Records), err)
	}
	list := s.get("/").Body.String()
	for _, r := range page.Records {
		if !strings.Contains(list, `href="/chains/`+record.FormatID(r.ID)+`"`) {
			t.Errorf("record %d is in a chain, and the list does not say so", r.Seq)
		}
	}
	if got := s.get("/principals?id=agent:deploy").Body.String(); !strings.Contains(got, "<b>2</b> records") || !strings.Contains(got, "tok-1") || !strings.Contains(got, "alice@example.com") {
		t.Errorf("%.3000s", got)
	}
	if got := s.get("/credentials?id=tok-1").Body.String(); !strings.Contains(got, "● issued") || !strings.Contains(got, "○ used") {
		t.Errorf("%.3000s", got)
	}
	chained := s.get("/chains/" + uintText(page.Records[2].Seq)).Body.String()
	for _, a := range elements(t, chained, "a", "", "") {
		u, err := url.Parse(attribute(a, "href"))
		if err != nil || u.Path != "/" || u.Query().Get("q") == "" {
			continue
		}
		words := strings.Fields(inner(a))
		q, err := query.ParseAt(u.Query().Get("q"), day)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := l.Count(t.Context(), index.Request{Query: q}); err != nil || words[len(words)-1] != fmt.Sprint(n) {
			t.Errorf("%q leads to %d records, %v", inner(a), n, err)
		}
	}
}

func TestBrowserAboutPages(t *testing.T) {
	f := credentialLife()
	f.add(manyRecords(300)...)
	s := newSite(t, f)
	b := newBrowser(t, s)
	b.size(1440, 900)
	for name, path := range map[string]string{"credential": "/credentials?id=tok-1", "person": "/principals?id=alice@example.com", "agent": "/principals?id=deploy-agent"} {
		b.open(path)
		b.until(`document.querySelector(".about") && document.querySelector("#strip .st") && (!document.querySelector(".chart") || document.querySelector(".chart canvas"))`)
		b.clean(name)
		b.shoot(name+"-light", 1440, 900, false)
		b.shoot(name+"-dark", 1440, 900, true)
		b.shoot(name+"-narrow", 420, 900, false)
		b.size(1440, 900)
	}
	// Nothing on these pages is wider than a phone.
	for _, path := range []string{"/credentials?id=tok-1", "/principals?id=deploy-agent", "/chains/3", "/records/3"} {
		b.size(420, 900)
		b.open(path)
		b.until(`document.querySelector("#strip .st")`)
		wide, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](`document.documentElement.scrollWidth > innerWidth`))
		if err != nil {
			b.stop(err)
		}
		if wide {
			t.Errorf("%s is wider than the window", path)
		}
	}
	h := newSite(t, hostileLedger())
	b = newBrowser(t, h)
	for _, v := range hostile[:len(hostile)-1] {
		for _, path := range []string{"/principals?id=", "/credentials?id="} {
			b.open(path + url.QueryEscape(v))
			b.until(`document.querySelector(".about") && document.querySelector("#strip .st")`)
			b.clean(path + v)
		}
	}
	b.shoot("credential-hostile", 1440, 900, false)
}
