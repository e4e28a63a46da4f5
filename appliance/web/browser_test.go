package web

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"custody/index"
	"custody/ingest/record"
)

const overviewThere = `document.querySelector(".chart canvas") && document.querySelectorAll(".facet li").length > 0`

func TestBrowserSearch(t *testing.T) {
	f := newFake(manyRecords(400)...)
	gap := newRecord(33)
	gap.Kind = record.KindGap
	gap.Set(record.SourceName, "syslog-udp", "")
	gap.Set(record.SourceError, "udp receive buffer overflow", "")
	gap.Add(record.Attributes, "count=212", "")
	f.add(gap)
	f.setStatus(func(st *index.Status) { st.LastSealed = day.Add(59 * time.Second) })
	f.sources = []index.SourceStatus{
		{Name: "gateway", Transport: "syslog/tcp", Lines: 182_233, Last: day.Add(58 * time.Second).UnixNano()},
		{Name: "k8s-audit", Transport: "file", Format: "k8s_audit", Lines: 9_120, Malformed: 3, Last: day.Add(50 * time.Second).UnixNano()},
		{Name: "syslog-udp", Transport: "syslog/udp", Lines: 412, Gaps: 1, Dropped: 212, Last: day.Add(-40 * time.Minute).UnixNano()},
		{Name: "vault-prod", Transport: "syslog/tls", Format: "vault", Lines: 0},
	}
	eff, sealed := f.recs[399], agentRecord(1)
	eff.Set(record.RequesterID, "alice@example.com", "seq:120")
	eff.Set(record.RequesterAssurance, record.Correlated, "seq:120")
	sealed.Seq = 399
	f.sealed[399] = sealed
	s := newSite(t, f)
	b := newBrowser(t, s)

	b.size(1440, 900)
	b.open("/")
	b.until(overviewThere)
	b.until(`document.querySelector("#strip").innerText.includes("taking events")`)
	b.clean("search")
	b.shoot("search-light", 1440, 900, false)
	b.shoot("search-dark", 1440, 900, true)
	b.shoot("search-narrow", 420, 900, false)
	b.size(1440, 900)

	// Keys: j, k, Enter, and / to the query, ? for help.
	b.key("j", "j", "j", "k")
	if got := b.text(`[...document.querySelectorAll("#rows .row a.s")].indexOf(document.activeElement)`); got != "1" {
		t.Errorf("j j j k focuses row %s", got)
	}
	want := b.text(`document.activeElement.getAttribute("href")`)
	b.key(kb.Enter)
	b.until(`location.pathname === "` + want + `" && document.querySelector(".rec")`)
	b.open("/")
	b.until(overviewThere)
	b.key("?")
	b.until(`document.querySelector("#keys").open`)
	b.shoot("keys", 1440, 900, false)
	b.key(kb.Escape)
	// One event for key and text, as a keyboard sends it: preventing it keeps the slash out of the box.
	call(b, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeKeyDown, Key: "/", Text: "/"})
	call(b, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeKeyUp, Key: "/"})
	if got := b.text(`document.activeElement.id + document.querySelector("#q").value`); got != "q" {
		t.Errorf("/ leaves %q", got)
	}
	b.run(chromedp.SendKeys(chromedp.CSS("#q"), "requester.id:alice* requestr.id:bob"+kb.Enter))
	b.until(`document.querySelector("#qerr")`)
	b.shoot("error-light", 1440, 500, false)
	b.clean("query with a fault")
	b.click("a.fix")
	b.until(`location.search.includes("requester.id%3Abob") && !document.querySelector("#qerr")`)

	// A facet includes on click, and takes its clause back on the next.
	b.open("/")
	b.until(overviewThere)
	b.click(".facet .in")
	b.until(`location.search.includes("requester.id") && ` + overviewThere)
	if got := b.text(`document.querySelectorAll(".facet li.on").length`); got != "1" {
		t.Errorf("%s facets are on", got)
	}
	b.click(".facet li.on .in")
	b.until(`location.pathname === "/" && location.search === "" && ` + overviewThere)

	// The brush narrows the range.
	x, err := chromedp.Run(b.ctx, chromedp.Evaluate[[]float64](`(() => { const r = document.querySelector(".u-over").getBoundingClientRect(); return [r.x, r.y, r.width, r.height] })()`))
	if err != nil {
		b.stop(err)
	}
	b.run(chromedp.DragAndDropXY(x[0]+x[2]*0.5, x[1]+x[3]/2, x[0]+x[2]*0.7, x[1]+x[3]/2))
	b.until(`location.search.includes("from=2026-11-23T") && location.search.includes("to=2026-11-23T") && ` + overviewThere)
	b.clean("brush")
	b.shoot("narrowed", 1440, 900, false)

	b.open("/?q=" + url.QueryEscape("prod outcome.status:denied"))
	b.until(overviewThere)
	b.shoot("highlight", 1440, 700, true)

	// The record page.
	b.open("/records/399")
	b.until(`document.querySelector(".rec")`)
	b.shoot("record-light", 1440, 1250, false)
	b.shoot("record-dark", 1440, 1250, true)
	b.shoot("record-narrow", 420, 1250, false)
	b.size(1440, 900)
	b.clean("record")

	b.open("/sources")
	b.until(`document.querySelectorAll("#sources tbody tr").length === 4`)
	b.shoot("sources", 1440, 500, false)
	b.open("/help")
	b.shoot("help", 1440, 800, false)

	// The theme button wins over the system, and stays.
	b.click("#theme")
	b.open("/sources")
	if got := b.text(`document.documentElement.dataset.theme`); got != "dark" {
		t.Errorf("theme %q", got)
	}
	b.clean("other pages")
}

func TestBrowserFirstEvent(t *testing.T) {
	f := newFake()
	s := newSite(t, f)
	b := newBrowser(t, s)
	b.size(1280, 1000)
	b.open("/")
	b.until(`document.querySelector("#first").innerText.includes("Waiting")`)
	b.shoot("empty-light", 1280, 1000, false)
	b.shoot("empty-dark", 1280, 1000, true)
	f.add(agentRecord(1))
	b.until(`document.querySelectorAll("#first .steps .done").length === 5`)
	b.shoot("first", 1280, 600, false)
	b.clean("first event")

	// Signing in works with a click, once.
	link, _, err := s.SigninLink("auditor", "ada")
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(link)
	if err != nil {
		t.Fatal(err)
	}
	call(b, network.ClearBrowserCookies, cdp.Empty{})
	b.open(u.RequestURI())
	b.shoot("signin", 900, 500, false)
	b.click("main button")
	b.until(`document.querySelector(".me") && document.querySelector(".me").innerText.includes("ada")`)
	b.click(".me form button")
	b.until(`location.pathname === "/signin"`)
	b.clean("signing in and out")
}

func TestBrowserHostileLines(t *testing.T) {
	f := hostileLedger()
	s := newSite(t, f)
	b := newBrowser(t, s)
	b.open("/?q=kind:*")
	b.until(overviewThere)
	b.shoot("hostile", 1440, 1400, false)
	b.clean("hostile list")
	for _, path := range []string{"/", "/sources", "/setup", "/?q=alert+script+evil", "/?live=1"} {
		b.open(path)
		b.until(`document.readyState === "complete" && document.querySelector("#strip .st")`)
		b.clean(path)
	}
	for i := range f.recs {
		b.open("/records/" + uintText(uint64(i)))
		b.until(`document.querySelector(".rec")`)
		b.clean("record " + uintText(uint64(i)))
	}
	b.open("/records/0")
	b.shoot("hostile-record", 1440, 1400, true)
	for _, v := range hostile {
		b.open("/?q=" + url.QueryEscape(v))
		b.until(`document.querySelector("#q")`)
		b.clean("query " + v)
	}
}

// Should a hole in the escaping ever open, the page's policy still holds: markup
// that arrives in a fragment neither runs nor sends anything.
func TestBrowserPolicyHoldsWithoutEscaping(t *testing.T) {
	f := newFake(manyRecords(5)...)
	s := newSite(t, f)
	fired := make(chan string, 8)
	inner := s.network
	s.network = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/fired":
			fired <- r.URL.RawQuery
		case "/ui/overview":
			w.Header().Set("Content-Security-Policy", policy)
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, `<p id="arrived">here</p><script>fetch("/fired?script")</script><img src="x" onerror="fetch('/fired?onerror')">`+
				`<div hx-get="/fired?hx-get" hx-trigger="load"></div><div hx-on:click="x" hx-get="/fired?stolen" hx-trigger="load" hx-nonce="guess"></div>`)
		default:
			inner.ServeHTTP(w, r)
		}
	})
	b := newBrowser(t, s)
	b.open("/")
	b.until(`document.querySelector("#arrived")`)
	// A request that is allowed, after those that are not: if they were to come, they would be first.
	if _, err := chromedp.Run(b.ctx, chromedp.Evaluate[int](`fetch("/ui/status").then((r) => r.status)`, chromedp.EvalAwaitPromise)); err != nil {
		b.stop(err)
	}
	select {
	case what := <-fired:
		t.Fatalf("injected markup acted: %s", what)
	default:
	}
	if len(b.taken()) == 0 {
		t.Error("nothing was blocked, so nothing was tried")
	}
}
