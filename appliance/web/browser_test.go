package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"custody/index"
	"custody/ingest/record"
)

// browser drives a real Chromium and keeps whatever a page must never cause:
// policy violations, console errors, exceptions, dialogs, requests elsewhere.
type browser struct {
	t    *testing.T
	ctx  context.Context
	base string
	dir  string // of the screenshots

	mu     sync.Mutex
	faults []string
}

func (b *browser) fault(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = append(b.faults, fmt.Sprintf(format, args...))
}

func newBrowser(t *testing.T, s *site) *browser {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		t.Skip("no Chromium on this machine")
	}
	srv := httptest.NewServer(s.Handler())
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	dir := os.Getenv("CUSTODY_SCREENSHOTS")
	if dir == "" {
		dir = t.TempDir()
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	opts := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.NoSandbox, chromedp.Headless, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.NoDefaultBrowserCheck,
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true), chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("hide-scrollbars", false),
	}
	ctx, stop := chromedp.NewExecAllocator(t.Context(), opts...)
	t.Cleanup(stop)
	ctx, closeTab := chromedp.NewContext(ctx)
	t.Cleanup(closeTab)
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	t.Cleanup(cancel)
	b := &browser{t: t, ctx: ctx, base: srv.URL, dir: dir}
	err := chromedp.Listen(ctx, func(ev any) {
		switch e := ev.(type) {
		case *runtime.EventConsoleAPICalled:
			switch e.Type {
			case "error", "warning", "assert":
				var words []string
				for _, a := range e.Args {
					words = append(words, string(a.Value), a.Description)
				}
				b.fault("console.%s: %s", e.Type, strings.Join(words, " "))
			}
		case *runtime.EventExceptionThrown:
			b.fault("exception: %s %s", e.ExceptionDetails.Text, e.ExceptionDetails.URL)
		case *log.EventEntryAdded:
			// A query with a fault is answered with 400, which the browser reports.
			if (e.Entry.Level == "error" || e.Entry.Source == "security") && !strings.Contains(e.Entry.Text, "status of 400") {
				b.fault("log %s %s: %s %s", e.Entry.Source, e.Entry.Level, e.Entry.Text, e.Entry.URL)
			}
		case *page.EventJavascriptDialogOpening:
			b.fault("dialog: %s", e.Message)
			go func() {
				_, _ = chromedp.Call(ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{})
			}()
		case *network.EventRequestWillBeSent:
			if u := e.Request.URL; !strings.HasPrefix(u, srv.URL+"/") {
				b.fault("request to %s", u)
			}
		}
	})
	if err != nil {
		t.Fatalf("start Chromium: %v", err)
	}
	yes := true
	call(b, log.Enable, cdp.Empty{})
	call(b, network.Enable, network.EnableParams{})
	call(b, network.SetCookie, network.SetCookieParams{
		Name: cookiePlain, Value: s.session, URL: srv.URL, HTTPOnly: &yes, SameSite: network.CookieSameSiteStrict,
	})
	// Violations are events of the document as well; this listens before any script of the page runs.
	call(b, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{
		Source: `document.addEventListener("securitypolicyviolation", (e) => console.error("csp", e.violatedDirective, e.blockedURI, e.sourceFile, e.sample))`,
	})
	return b
}

func call[P, R any](b *browser, cmd cdp.Command[P, R], params P) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, cmd, params); err != nil {
		b.t.Fatal(err)
	}
}

func (b *browser) run(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.stop(err)
	}
}

// stop ends the test with what the page shows.
func (b *browser) stop(err error) {
	b.t.Helper()
	body, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText.slice(0, 2000)`))
	b.t.Fatalf("%v; faults %q; at %s", err, b.taken(), body)
}

func (b *browser) click(css string) {
	b.t.Helper()
	b.run(chromedp.Click(chromedp.CSS(css)))
}

func (b *browser) key(keys ...string) {
	b.t.Helper()
	for _, k := range keys {
		b.run(chromedp.KeyEvent(k))
	}
}

func (b *browser) taken() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.faults
	b.faults = nil
	return out
}

// clean fails the test on whatever happened since the last call.
func (b *browser) clean(where string) {
	b.t.Helper()
	for _, f := range b.taken() {
		b.t.Errorf("%s: %s", where, f)
	}
}

// until waits for a JavaScript condition. It asks again and again from outside:
// what a page's own timers would evaluate is what its policy forbids.
func (b *browser) until(cond string) {
	b.t.Helper()
	limit := time.Now().Add(20 * time.Second)
	for {
		ok, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](`!!(`+cond+`)`))
		switch {
		case err == nil && ok:
			return
		case time.Now().After(limit):
			b.stop(fmt.Errorf("waiting for %s: %w", cond, errors.Join(err, context.DeadlineExceeded)))
		}
		time.Sleep(15 * time.Millisecond)
	}
}

func (b *browser) open(path string) {
	b.t.Helper()
	b.run(chromedp.Navigate(b.base + path))
}

func (b *browser) text(expr string) string {
	b.t.Helper()
	out, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](`String(`+expr+`)`))
	if err != nil {
		b.stop(err)
	}
	return out
}

func (b *browser) size(width, height int64) {
	b.t.Helper()
	b.run(chromedp.EmulateViewport(width, height))
}

func (b *browser) shoot(name string, width, height int64, dark bool) {
	b.t.Helper()
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	b.size(width, height)
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	_, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](
		`new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))`, chromedp.EvalAwaitPromise))
	if err != nil {
		b.stop(err)
	}
	png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		b.stop(err)
	}
	if err := os.WriteFile(filepath.Join(b.dir, name+".png"), png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

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

func TestBrowserLiveTail(t *testing.T) {
	f := newFake(manyRecords(20)...)
	s := newSite(t, f)
	b := newBrowser(t, s)
	b.open("/?live=1")
	<-f.tailed
	evil := hostileRecord(7, hostile[2])
	f.add(agentRecord(2), agentRecord(3), evil)
	b.until(`document.querySelectorAll("#rows .row").length === 3`)
	f.add(agentRecord(4))
	b.until(`document.querySelectorAll("#rows .row").length === 4`)
	if got := b.text(`document.querySelector("#rows .row a.s").getAttribute("href")`); got != "/records/"+record.FormatID(agentRecord(4).ID) {
		t.Errorf("the newest is not on top: %s", got)
	}
	b.shoot("live", 1440, 500, false)
	b.click("#pause")
	f.add(agentRecord(5))
	b.until(`document.querySelector("#livestate").textContent.includes("left out: 1")`)
	if got := b.text(`document.querySelectorAll("#rows .row").length`); got != "4" {
		t.Errorf("%s rows while paused", got)
	}
	b.click("#pause")
	f.add(agentRecord(6))
	b.until(`document.querySelectorAll("#rows .row").length === 5`)
	// More than a page can show: bounded, and said.
	f.add(manyRecords(3000)...)
	b.until(`document.querySelector(".row.skipped")`)
	if got := b.text(`document.querySelectorAll("#rows .row").length <= 500`); got != "true" {
		t.Error("the list grows without bound")
	}
	b.clean("live tail")
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
