package web

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"custody/index"
	"custody/ingest"
	"custody/ingest/record"
)

// What attackers write into log lines.
var hostile = []string{
	`<script>alert(1)</script>`,
	`"><img src=x onerror=alert(1)>`,
	`<div hx-get="/signout" hx-trigger="load" hx-nonce="x">`,
	`<form action="https://evil.example"><button formaction="javascript:alert(1)">`,
	`'"` + "`" + `{{.}}</title></textarea></pre></bdi></a>`,
	"line one\nline two\r\n\nevent: x\ndata: <b>y</b>",
	"\u202egnp.exe\u2066\u200b\u061c \ufeff \u2028 \x1b[31m \x00 \x7f",
	`javascript:alert(1)`,
	`https://evil.example/beacon.png`,
	`<style>@import url(https://evil.example/x.css)</style><base href="https://evil.example/"><meta http-equiv="refresh" content="0;url=https://evil.example/">`,
	`<svg><script href="https://evil.example/x.js"/></svg><iframe srcdoc="<script>alert(1)</script>">`,
	"\xff\xfe bad \xc3",
}

// hostileRecord has v in every field that a line can reach.
func hostileRecord(n int, v string) *record.Record {
	r := newRecord(n)
	for i := range record.Names() {
		f := record.Field(i)
		switch f {
		case record.ID, record.Time, record.Received, record.Raw, record.Provenance, record.Absence, record.MessageOffset:
			continue
		}
		if f.IsList() {
			r.Add(f, v, v)
			r.Add(f, "second "+v, v)
		} else {
			r.Set(f, v, v)
		}
	}
	r.SetAbsent(v, v)
	q := string(record.AppendQuoted(nil, v))
	r.Raw = []byte(`{` + q + `:{"a":[` + q + `,` + q + `]}}` + v)
	return r
}

func hostileLedger() *fakeLedger {
	f := newFake()
	for i, v := range hostile {
		f.add(hostileRecord(100+i, v))
		// Values in one part only, so that the sentence takes its other forms.
		raw := newRecord(200 + i)
		raw.Raw = []byte(v)
		raw.AddFinding(record.Malformed)
		f.add(raw)
		gap := hostileRecord(300+i, v)
		gap.Kind = record.KindGap
		f.add(gap)
		f.sources = append(f.sources, index.SourceStatus{Name: v, Tenant: v, Transport: v, Format: v, Lines: 3, Malformed: 1, Gaps: 1, Last: day.UnixNano()})
	}
	long := agentRecord(400)
	long.Set(record.TargetID, strings.Repeat("<b>", 64<<10/3), "/x")
	long.Raw = []byte(strings.Repeat("<i>", 100<<10))
	f.add(long)
	f.setStatus(func(st *index.Status) { st.Fault = hostile[1] })
	return f
}

// harmless walks a document and reports whatever the templates did not put there.
func harmless(t *testing.T, where, doc string) {
	t.Helper()
	root, err := html.Parse(strings.NewReader(doc))
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	allowed := map[string]bool{}
	for e := range strings.FieldsSeq(`html head body meta title link script a header svg path nav div noscript form button input span label kbd main
		dialog h1 h2 h3 dl dt dd section aside p b ol ul li time bdi mark progress details summary table thead tbody tr th td article pre code figure figcaption s rect`) {
		allowed[e] = true
	}
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if !allowed[n.Data] {
			t.Errorf("%s: element <%s>", where, n.Data)
		}
		if (n.Data == "script" || n.Data == "style") && n.FirstChild != nil {
			t.Errorf("%s: inline <%s>", where, n.Data)
		}
		for _, a := range n.Attr {
			switch {
			case strings.HasPrefix(a.Key, "on"), a.Key == "style", a.Key == "srcdoc", a.Key == "formaction":
				t.Errorf("%s: <%s %s=%.60q>", where, n.Data, a.Key, a.Val)
			case strings.HasPrefix(a.Key, "hx-"):
				if a.Key == "hx-get" && !strings.HasPrefix(a.Val, "/ui/") || a.Key == "hx-sse:connect" && !strings.HasPrefix(a.Val, "/ui/") {
					t.Errorf("%s: <%s %s=%.60q>", where, n.Data, a.Key, a.Val)
				}
			case a.Key == "href", a.Key == "src", a.Key == "action":
				if !strings.HasPrefix(a.Val, "/") && !strings.HasPrefix(a.Val, "#") || strings.HasPrefix(a.Val, "//") {
					t.Errorf("%s: <%s %s=%.60q>", where, n.Data, a.Key, a.Val)
				}
			case a.Key == "content" && strings.Contains(a.Val, "evil"):
				t.Errorf("%s: <%s content=%.60q>", where, n.Data, a.Val)
			}
		}
	}
	// The query box holds what was typed, to the byte; nothing else does.
	for n := range root.Descendants() {
		text := n.Data
		for _, a := range n.Attr {
			if n.Data != "input" || a.Key != "value" {
				text += a.Val
			}
		}
		for _, r := range text {
			if hidden(r) && r != '\n' && r != '\t' {
				t.Errorf("%s: %q reached the page in %.80q", where, r, text)
			}
		}
	}
}

func TestHostileValuesStayText(t *testing.T) {
	f := hostileLedger()
	s := newSite(t, f, func(o *Options) {
		o.Listeners = append(o.Listeners, Listener{hostile[1], ingest.TCP, hostile[1] + ":1"})
		o.Tails = hostile
	})
	pages := []string{"/", "/?full=1", "/?live=1", "/sources", "/setup", "/help", "/ui/overview", "/ui/sources", "/ui/status", "/ui/first", "/?q=kind:gap", "/?q=alert+evil+script&full=1"}
	for i := range f.recs {
		pages = append(pages, "/records/"+uintText(uint64(i)))
	}
	for _, v := range hostile {
		q := url.QueryEscape(v)
		pages = append(pages, "/?q="+q, "/?from="+q, "/?to="+q+"&q="+q, "/?cursor="+q+"&trail="+q, "/?order="+q, "/signin?token="+q+"&next="+q,
			"/?q="+url.QueryEscape(quoteTerm("requester.id", v)), "/records/"+url.PathEscape(v))
	}
	for _, p := range pages {
		w := s.get(p)
		if ct := w.Header().Get("Content-Type"); strings.HasPrefix(ct, "text/html") {
			harmless(t, p, w.Body.String())
		} else if w.Code < 300 {
			t.Errorf("%s: %s", p, ct)
		}
	}
	// The values are there all the same.
	if w := s.get("/records/0"); !strings.Contains(w.Body.String(), "&lt;script&gt;alert(1)&lt;/script&gt;") {
		t.Error("the value itself is not shown")
	}
	if w := s.get("/records/0/raw"); w.Header().Get("Content-Type") != "application/octet-stream" || !strings.HasPrefix(w.Header().Get("Content-Disposition"), "attachment") {
		t.Error(w.Header())
	}
}

func TestHugeEventsAreCapped(t *testing.T) {
	f := hostileLedger()
	s := newSite(t, f)
	id := uintText(uint64(len(f.recs) - 1))
	w := s.get("/records/" + id)
	if n := w.Body.Len(); n > 400<<10 {
		t.Errorf("the page of a 300 KiB event has %d bytes", n)
	}
	if !strings.Contains(w.Body.String(), "first 64 KiB") {
		t.Error("the cut is not said")
	}
	if w := s.get("/records/" + id + "/raw"); w.Body.Len() != 300<<10 {
		t.Errorf("download has %d bytes", w.Body.Len())
	}
	if n := s.get("/").Body.Len(); n > 200<<10 {
		t.Errorf("the list has %d bytes", n)
	}
}

func TestSentences(t *testing.T) {
	text := func(r *record.Record) string {
		s := newSite(t, newFake(r))
		root, err := html.Parse(strings.NewReader(s.get("/?q=kind:*").Body.String()))
		if err != nil {
			t.Fatal(err)
		}
		for n := range root.Descendants() {
			if n.Type == html.ElementNode && n.Data == "a" && len(n.Attr) > 0 && n.Attr[0].Val == "s" {
				var b strings.Builder
				for c := range n.Descendants() {
					if c.Type == html.TextNode {
						b.WriteString(c.Data)
					}
				}
				return strings.Join(strings.Fields(b.String()), " ")
			}
		}
		return ""
	}
	full := newRecord(1)
	full.Set(record.RequesterID, "alice@example.com", "/u")
	full.Set(record.ExecutorName, "deploy-agent", "/a")
	full.Set(record.ActionService, "vault", "/s")
	full.Set(record.ActionOperation, "read", "/o")
	full.Set(record.TargetID, "secret/data/prod/db", "/p")
	full.Set(record.OutcomeStatus, record.Denied, "/e")
	if got := text(full); got != "alice@example.com via deploy-agent → vault read secret/data/prod/db — denied" {
		t.Error(got)
	}
	bare := newRecord(2)
	bare.Set(record.ActionTool, "kubectl", "/t")
	bare.SetAbsent("requester", record.NotApplicable)
	bare.SetAbsent("executor.id", record.Redacted)
	if got := text(bare); got != "requester not applicable via executor redacted → kubectl — no outcome" {
		t.Error(got)
	}
	none := newRecord(3)
	none.Raw = []byte("kernel: oops")
	if got := text(none); got != "unattributed kernel: oops" {
		t.Error(got)
	}
	gap := newRecord(4)
	gap.Kind = record.KindGap
	gap.Set(record.SourceName, "udp", "")
	gap.Set(record.SourceError, "udp receive buffer overflow", "")
	gap.Add(record.Attributes, "count=7", "")
	if got := text(gap); got != "gap udp · udp receive buffer overflow · 7 events missing" {
		t.Error(got)
	}
}

func TestQueryFaultIsShownInPlace(t *testing.T) {
	s := newSite(t, newFake(agentRecord(1)))
	w := s.get("/?q=" + url.QueryEscape(`vault requestr.id:bob <b>`))
	body := w.Body.String()
	if w.Code != 400 || !strings.Contains(body, "<mark>requestr.id") {
		t.Fatal(w.Code, body)
	}
	if !strings.Contains(body, "\n      ^^^^") {
		t.Error("the caret is not under the position")
	}
	fix := "/?q=" + strings.ReplaceAll(url.QueryEscape(`vault requester.id:bob <b>`), "+", "&#43;")
	if !strings.Contains(body, fix) && !strings.Contains(body, html.EscapeString("/?q="+url.QueryEscape(`vault requester.id:bob <b>`))) {
		t.Errorf("no link to the fixed query %s", fix)
	}
}

// What the page offers to export is what it shows.
func TestExportLinksCarryTheQuery(t *testing.T) {
	s := newSite(t, newFake(agentRecord(1)))
	body := s.get("/?from=2020-01-01T00:00:00Z&q=" + url.QueryEscape(`outcome.status:denied "a b"`)).Body.String()
	for _, form := range []string{"ndjson", "csv", "ocsf"} {
		_, rest, ok := strings.Cut(body, `href="/api/v1/records.`+form+`?`)
		link, _, _ := strings.Cut(rest, `"`)
		v, err := url.ParseQuery(html.UnescapeString(link))
		if !ok || err != nil || v.Get("q") != `outcome.status:denied "a b"` || v.Get("from") != "2020-01-01T00:00:00Z" {
			t.Errorf("%s: %q, %v", form, link, err)
		}
	}
}

func TestFacetLinksNarrowAndWiden(t *testing.T) {
	for _, c := range []struct{ q, clause, include, exclude string }{
		{"", `a:"x"`, `a:"x"`, `-a:"x"`},
		{`w`, `a:"x"`, `w a:"x"`, `w -a:"x"`},
		{`w OR v`, `a:"x"`, `(w OR v) a:"x"`, `(w OR v) -a:"x"`},
		{`w a:"x"`, `a:"x"`, `w`, `w -a:"x"`},
		{`w -a:"x" v`, `a:"x"`, `w v a:"x"`, `w v`},
		{`ORDER`, `a:"x"`, `ORDER a:"x"`, `ORDER -a:"x"`},
		{`NOT a:"x"`, `a:"x"`, `NOT a:"x" a:"x"`, `NOT a:"x" -a:"x"`},
	} {
		a := asked{Q: c.q}
		in, _, ex, _ := toggles(&a, c.clause)
		if in != a.narrowed(c.include) || ex != a.narrowed(c.exclude) {
			t.Errorf("%q: %s, %s", c.q, in, ex)
		}
	}
}

func TestPagingKeepsTheWayBack(t *testing.T) {
	s := newSite(t, newFake(manyRecords(180)...))
	link := func(body, id string) string {
		at := strings.Index(body, `id="`+id+`"`)
		if at < 0 {
			return ""
		}
		_, rest, _ := strings.Cut(body[at:], `href="`)
		href, _, _ := strings.Cut(rest, `"`)
		return html.UnescapeString(href)
	}
	first := s.get("/").Body.String()
	var seen []string
	body := first
	for n := 0; ; n++ {
		seen = append(seen, body[strings.Index(body, `<ol class="rows"`):strings.Index(body, "</ol>")])
		older := link(body, "older")
		if older == "" {
			if n != 3 {
				t.Fatalf("%d pages", n+1)
			}
			break
		}
		body = s.get(older).Body.String()
	}
	for i := len(seen) - 2; i >= 0; i-- {
		body = s.get(link(body, "newer")).Body.String()
		if got := body[strings.Index(body, `<ol class="rows"`):strings.Index(body, "</ol>")]; got != seen[i] {
			t.Fatalf("page %d differs on the way back", i)
		}
	}
	if link(body, "newer") != "" {
		t.Error("newer than the newest")
	}
}

func TestSetupShowsTheListeners(t *testing.T) {
	s := newSite(t, newFake())
	w := s.get("/")
	body := html.UnescapeString(w.Body.String())
	for _, want := range []string{
		`action(type="omfwd" target="127.0.0.1" port="5514" protocol="tcp" TCP_Framing="octet-counted"`,
		`action(type="omrelp" target="example.com" port="2514"`,
		`syslog("127.0.0.1" transport("tcp") port(5514));`,
		"logger -n 127.0.0.1 -P 5514 -T --octet-count", "logger -n 127.0.0.1 -P 5514 -d", "[[tail]]", "Waiting for the first event",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s", want)
		}
	}
	plain := newRecord(2)
	plain.Raw = []byte("hello")
	s.ledger.add(plain)
	if body := s.get("/ui/first").Body.String(); strings.Count(body, `class="done"`) != 4 || !strings.Contains(body, "None names a requester") {
		t.Error(body)
	}
	s.ledger.add(agentRecord(1))
	if body := s.get("/ui/first").Body.String(); strings.Count(body, `class="done"`) != 5 || strings.Contains(body, "Waiting") {
		t.Error(body)
	}
	if body := s.get("/").Body.String(); strings.Contains(body, "omfwd") || !strings.Contains(body, `id="rows"`) {
		t.Error("the search page is not shown after the first event")
	}
}

func TestGapsAreAnnounced(t *testing.T) {
	gap := newRecord(10)
	gap.Kind = record.KindGap
	gap.Set(record.SourceName, "udp", "")
	s := newSite(t, newFake(agentRecord(1), gap))
	if body := s.get("/").Body.String(); !strings.Contains(body, "1 gap in this range") {
		t.Error("no banner")
	}
	if body := s.get("/?from=" + url.QueryEscape(stamp(gap.Time+1))).Body.String(); strings.Contains(body, "gapbar") {
		t.Error("a banner for a gap outside the range")
	}
}

func TestAmendedValuesNameTheirRecord(t *testing.T) {
	eff, sealed := agentRecord(1), agentRecord(1)
	eff.Set(record.RequesterID, "zoe@example.com", "seq:7")
	f := newFake(eff)
	f.sealed[0] = sealed
	body := newSite(t, f).get("/records/0").Body.String()
	for _, want := range []string{`amended by <a href="/records/7">7</a>`, "sealed as <s>", "dora@example.com"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s", want)
		}
	}
}

// The vendored files are those of htmx.org 4.0.1 and uplot 1.6.32, byte for byte.
func TestAssetsArePinned(t *testing.T) {
	pins := map[string]string{
		"htmx.min.js":       "a0abb04f2f45a1f89d1d4844023245537e5e6014c87b144553e0607b4cc32130",
		"hx-csp.min.js":     "a7e1e6711ae6c3e50ad300fba7936cbe8d07599cdae313414a179ddd6b26e143",
		"hx-sse.min.js":     "18ef2761356ec1fe0bb6d92612315b37517a7c1e9856b661c5ae81fef239d103",
		"uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
		"uPlot.min.css":     "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
		"LICENSE.htmx":      "d3d2456f76414f2456104660ebd65aff1c04cd7966b942bdabd63f3cdb316a38",
		"LICENSE.uplot":     "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
	}
	total := 0
	err := fs.WalkDir(files, "assets", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := files.ReadFile(p)
		if err != nil {
			return err
		}
		total += len(b)
		if name, ok := strings.CutPrefix(p, "assets/vendor/"); ok {
			sum := sha256.Sum256(b)
			if got := hex.EncodeToString(sum[:]); got != pins[name] {
				t.Errorf("%s: %s", name, got)
			}
			delete(pins, name)
		}
		return nil
	})
	if err != nil || len(pins) > 0 {
		t.Error(err, pins)
	}
	if total > 300<<10 {
		t.Errorf("%d bytes of assets", total)
	}
	s := newSite(t, newFake())
	u, err := s.assets.url("vendor/htmx.min.js")
	if err != nil {
		t.Fatal(err)
	}
	if w := s.do("GET", u, nil); w.Code != http.StatusOK || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") {
		t.Error(w.Code, w.Header())
	}
}

func TestVisible(t *testing.T) {
	for in, want := range map[string]string{
		"plain ünï ☃ 漢":    "plain ünï ☃ 漢",
		"a\nb\tc":          "a↵b⇥c",
		"\u202eevil\u2066": `\u202eevil\u2066`,
		"nul\x00esc\x1b":   `nul\x00esc\x1b`,
		"\xff\xc3":         `\xff\xc3`,
		"tag\U000e0041":    `tag\U000e0041`,
		"\u0085\u00ad":     `\x85\xad`,
	} {
		if got := visible(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
	if got := visibleLines("a\n\tb\r\x00"); got != "a\n\tb\\x0d\\x00" {
		t.Errorf("%q", got)
	}
}

func TestTree(t *testing.T) {
	root, cut := parseTree(`{"a":1,"a":{"b":[true,null,"x"]},"c":12345678901234567890}`)
	if cut || len(root.Kids) != 3 || root.Kids[0].Key != "a" || root.Kids[1].Key != "a" || root.Kids[2].Value != "12345678901234567890" {
		t.Fatalf("%+v", root)
	}
	for _, deep := range []string{strings.Repeat(`[`, 60000), strings.Repeat(`{"a":`, 10000), `[` + strings.Repeat("1,", 100000)} {
		if root, cut = parseTree(deep); root != nil && !cut {
			t.Errorf("%.10s: not said to be cut", deep)
		}
	}
	for _, none := range []string{"", "text", "{}", "[]", `{"a"`, "<13>x"} {
		if root, _ := parseTree(none); root != nil {
			t.Errorf("%q: %+v", none, root)
		}
	}
}

func FuzzVisible(f *testing.F) {
	for _, h := range hostile {
		f.Add(h)
	}
	f.Fuzz(func(t *testing.T, in string) {
		for _, out := range []string{visible(in), visibleLines(in)} {
			for _, r := range out {
				if hidden(r) && r != '\n' && r != '\t' || r == 0xfffd && !strings.ContainsRune(in, 0xfffd) {
					t.Fatalf("%q: %q", in, out)
				}
			}
		}
	})
}

func FuzzWhen(f *testing.F) {
	for _, s := range []string{"now-15m", "2026-11-23", "1764000000", "-1", "now+9223372036854775807w", "9220000000"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		ns, err := parseWhen(in, day)
		if err == nil && ns != 0 {
			if again, err := parseWhen(stamp(ns), day); err != nil || again != ns {
				t.Fatalf("%q: %d, again %d %v", in, ns, again, err)
			}
		}
	})
}
