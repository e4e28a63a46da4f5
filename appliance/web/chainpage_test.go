package web

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"custody/index"
	"custody/index/query"
	"custody/ingest/record"
)

// elements finds the elements of a page by name and one attribute's value.
func elements(t testing.TB, page, name, attr, value string) (out []*html.Node) {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	for n := range root.Descendants() {
		if n.Type == html.ElementNode && n.Data == name && (attr == "" || attribute(n, attr) == value) {
			out = append(out, n)
		}
	}
	return out
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func inner(n *html.Node) string {
	var b strings.Builder
	for c := range n.Descendants() {
		if c.Type == html.TextNode {
			b.WriteString(c.Data)
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// cell is the first cell of a row.
func cell(row *html.Node) *html.Node {
	for n := range row.ChildNodes() {
		if n.Data == "td" {
			return n
		}
	}
	return row
}

// waterfall are the rows of the page's tree: level, place, state and text.
func waterfall(t testing.TB, page string) (out []string) {
	t.Helper()
	for _, n := range elements(t, page, "tr", "role", "row") {
		if attribute(n, "aria-level") == "" {
			continue
		}
		state := map[string]string{"true": "open ", "false": "shut "}[attribute(n, "aria-expanded")]
		out = append(out, fmt.Sprintf("%s (%s/%s) %s%s", attribute(n, "aria-level"), attribute(n, "aria-posinset"), attribute(n, "aria-setsize"), state, inner(cell(n))))
	}
	if len(out) == 0 {
		t.Fatalf("no rows in %.2000s", page)
	}
	return out
}

func TestChainPage(t *testing.T) {
	f := newFake(chainOf(5)...)
	f.recs[3].AddFinding(record.HalfPair)
	f.recs[3].Add(record.Evidence, "half_pair: the other half did not arrive", "seq:77")
	f.recs[4].Set(record.DecisionEffect, record.Deny, "")
	f.recs[4].Set(record.DecisionPolicyID, "read-only", "")
	f.recs[4].Set(record.DecisionPolicyVersion, "17", "")
	f.recs[4].Set(record.OutcomeStatus, record.Denied, "")
	s := newSite(t, f)
	page := s.get("/chains/2").Body.String()
	rows := waterfall(t, page)
	for i, want := range []string{
		"1 (1/1) open ", "2 (1/1) open ", "3 (1/3) ", "3 (2/3) open ", "4 (1/1) ", "3 (3/3) ",
	} {
		if i >= len(rows) || !strings.HasPrefix(rows[i], want) {
			t.Fatalf("row %d: %q", i, rows)
		}
	}
	for _, want := range []string{
		`alice@example.com</bdi></a> asked`, `authenticated</b> through <a href="/records/` + record.FormatID(f.recs[0].ID) + `">record 0</a>`,
		`the other half is missing</b>`, `the other half did not arrive`, `>77</a> added evidence`, `read-only v17`,
		`not reviewed`, `4.00 s`, `/principals?id=reader-agent`, `called by <span class="dim">propagated context`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q on the page", want)
		}
	}
	harmless(t, "/chains/2", page)

	// The counts lead to as many records.
	for _, a := range elements(t, page, "a", "", "") {
		u, err := url.Parse(attribute(a, "href"))
		if err != nil || u.Path != "/" || u.Query().Get("q") == "" {
			continue
		}
		words := strings.Fields(inner(a))
		q, err := query.ParseAt(u.Query().Get("q"), day)
		if err != nil {
			t.Fatalf("%s: %v", u, err)
		}
		n, err := f.Count(t.Context(), index.Request{Query: q})
		if err != nil || words[len(words)-1] != fmt.Sprint(n) {
			t.Errorf("%q leads to %d records: %s, %v", inner(a), n, u.Query().Get("q"), err)
		}
	}

	// Reviews, as they stand in the records.
	for _, r := range f.recs[:2] {
		r.Set(record.ReviewVerdict, "needs_follow_up", "seq:90")
		r.Set(record.ReviewReviewer, "ada", "seq:90")
	}
	if page := s.get("/chains/2").Body.String(); !strings.Contains(page, "2 of 5 records reviewed") || !strings.Contains(page, "needs follow up by ada") {
		t.Error("the review is not shown")
	}
}

func TestChainPageNamesNobody(t *testing.T) {
	f := newFake(chainOf(3)...)
	f.recs[2].Set(record.RequesterID, "bob@example.com", "")
	s := newSite(t, f)
	page := s.get("/chains/0").Body.String()
	if !strings.Contains(page, "It can’t be said who asked") || strings.Contains(page, "</a> asked") {
		t.Error("somebody is named")
	}
	for i, who := range map[int]string{0: "alice@example.com", 2: "bob@example.com"} {
		if !strings.Contains(page, fmt.Sprintf(`<a href="/records/%s">record %d</a> names <a href="/principals?id=%s">`, record.FormatID(f.recs[i].ID), i, url.QueryEscape(who))) {
			t.Errorf("no candidate %s", who)
		}
	}
	for _, r := range f.recs {
		r.Unset(record.RequesterID)
	}
	if page := s.get("/chains/0").Body.String(); !strings.Contains(page, "Nobody is named as the one who asked") {
		t.Error("nobody asked, and the page does not say so")
	}
}

func TestChainPageFoldsAndPages(t *testing.T) {
	f := newFake(chainOf(3000)...)
	s := newSite(t, f)
	start := time.Now()
	w := s.get("/chains/0")
	page := w.Body.String()
	rows := waterfall(t, page)
	if len(rows) != 3 || !strings.HasPrefix(rows[2], "3 (1/1) shut ▸2998 × ") || !strings.Contains(rows[2], "14:00:02–14:49:59") {
		t.Fatalf("%q", rows)
	}
	open := attribute(elements(t, page, "a", "class", "s")[2], "href")
	if open != "/chains/"+record.FormatID(f.recs[0].ID)+"?open=2#r2" {
		t.Fatalf("the run opens at %s", open)
	}
	// The whole of it, by the pages' own links.
	var all []string
	next := strings.TrimSuffix(open, "#r2")
	for pages := 0; next != ""; pages++ {
		if pages > 10 {
			t.Fatal("pages without end")
		}
		page = s.get(next).Body.String()
		part := waterfall(t, page)
		if len(part) > maxChainRows {
			t.Fatalf("%d rows on a page", len(part))
		}
		all = append(all, part...)
		next = ""
		for _, a := range elements(t, page, "a", "id", "older") {
			next = attribute(a, "href")
		}
	}
	if len(all) != 3000 {
		t.Errorf("%d rows", len(all))
	}
	if !strings.Contains(page, "These rows hang on") || len(elements(t, page, "a", "id", "newer")) != 1 {
		t.Error("the last page does not say where it stands")
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("took %s", took)
	}
	// Nonsense in the address is the first page.
	for _, q := range []string{"?row=-1", "?row=99999", "?row=x", "?open=x.y..", "?open=" + strings.Repeat("1.", 4000)} {
		if w := s.get("/chains/0" + q); w.Code != 200 || len(waterfall(t, w.Body.String())) == 0 {
			t.Errorf("%.40s: %d", q, w.Code)
		}
	}
}

func TestChainPageOfAJoinedChain(t *testing.T) {
	f := newFake(chainOf(3)...)
	f.recs[2].Set(record.ChainID, "0", "seq:9")
	s := newSite(t, f)
	if w := s.get("/chains/2?open=5"); w.Code != 307 || w.Header().Get("Location") != "/chains/"+record.FormatID(f.recs[0].ID)+"?open=5" {
		t.Errorf("%d %s", w.Code, w.Header().Get("Location"))
	}
	if w := s.get("/chains/77"); w.Code != 404 || !strings.Contains(w.Body.String(), "no such record") {
		t.Errorf("%d", w.Code)
	}
}

// hostileChain is a chain of records with what attackers write in every field.
func hostileChain() *fakeLedger {
	f := newFake()
	for i, v := range hostile {
		r := hostileRecord(500+i, v)
		r.Unset(record.ChainID)
		r.RemoveList(record.Links)
		if i > 0 {
			r.Set(record.ChainID, "0", "")
			r.AddLink(record.Link{To: uint64(i - 1), Relation: "called_by", Method: v, Candidates: nil})
		}
		r.AddFinding(record.ChainBroken)
		r.Add(record.Evidence, "chain_broken: "+v, v)
		f.add(r)
	}
	zero := hostileRecord(600, hostile[0])
	zero.Set(record.ChainID, "0", "")
	zero.Time, zero.Received = 0, 0
	f.add(zero)
	return f
}

func TestHostileChain(t *testing.T) {
	f := hostileChain()
	s := newSite(t, f)
	for i := range f.recs {
		w := s.get(fmt.Sprintf("/chains/%d", i))
		if w.Code != 200 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		harmless(t, "chain", w.Body.String())
	}
	if w := s.get("/chains/0"); !strings.Contains(w.Body.String(), "&lt;script&gt;alert(1)&lt;/script&gt;") {
		t.Error("the values are not shown")
	}
	if w := s.get("/chains/" + url.PathEscape(hostile[0])); w.Code != 404 {
		t.Errorf("%d", w.Code)
	}
}
