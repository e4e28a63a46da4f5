package web

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browser drives a real Chromium and keeps whatever a page must never cause:
// policy violations, console errors, exceptions, dialogs, requests elsewhere.
type browser struct {
	t    *testing.T
	tab  context.Context // lives as long as the test
	ctx  context.Context // of every step: ends when the test has taken too long
	srv  *httptest.Server
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
	b := &browser{t: t, srv: srv, base: srv.URL, dir: dir}
	b.tab = b.start(path)
	ctx, cancel := context.WithTimeoutCause(b.tab, testLimit, fmt.Errorf("the test has taken %s", testLimit))
	t.Cleanup(cancel)
	b.ctx = ctx
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

// How long a browser may take to start, a test may take with it, and one thing
// may be waited for: on a busy machine with the race detector, and no longer, so
// that a hang says what hung before the time of all tests is over.
const (
	startLimit = 40 * time.Second
	testLimit  = 90 * time.Second
	waitLimit  = 30 * time.Second
	lookLimit  = 10 * time.Second
)

// start starts a browser and listens to it. A browser that does not come up is
// tried a second time: nothing of the product has been asked by then.
func (b *browser) start(path string) (tab context.Context) {
	b.t.Helper()
	var err error
	for range 2 {
		alloc, stop := chromedp.NewExecAllocator(b.t.Context(),
			chromedp.ExecPath(path), chromedp.UserDataDir(b.t.TempDir()), chromedp.NoSandbox, chromedp.Headless, chromedp.DisableGPU,
			chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck,
			chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
			chromedp.Flag("disable-sync", true), chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("hide-scrollbars", false),
		)
		tab, closeTab := chromedp.NewContext(alloc)
		late := time.AfterFunc(startLimit, stop)
		err = chromedp.Listen(tab, func(ev any) { b.heard(tab, ev) })
		if late.Stop() && err == nil {
			b.t.Cleanup(stop)
			b.t.Cleanup(closeTab)
			return tab
		}
		closeTab()
		stop()
		b.t.Logf("start Chromium: %v", err)
	}
	b.t.Fatalf("start Chromium: %v", errors.Join(err, fmt.Errorf("twice, within %s", startLimit)))
	return nil
}

// heard keeps the faults among the browser's events.
func (b *browser) heard(tab context.Context, ev any) {
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
			_, _ = chromedp.Call(tab, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{})
		}()
	case *network.EventRequestWillBeSent:
		if u := e.Request.URL; !strings.HasPrefix(u, b.base+"/") {
			b.fault("request to %s", u)
		}
	}
}

func call[P, R any](b *browser, cmd cdp.Command[P, R], params P) {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, cmd, params); err != nil {
		b.stop(err)
	}
}

func (b *browser) run(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.stop(err)
	}
}

// stop ends the test with what the page shows. The time of the steps may be
// over, so it looks on a little time of its own.
func (b *browser) stop(err error) {
	b.t.Helper()
	if b.ctx.Err() != nil {
		err = fmt.Errorf("%w (%w)", err, context.Cause(b.ctx))
	}
	ctx, cancel := context.WithTimeout(b.tab, lookLimit)
	defer cancel()
	shows, lookErr := chromedp.Run(ctx, chromedp.Evaluate[string](
		`location.href + " (" + document.readyState + ")\n" + (document.body ? document.body.innerText.slice(0, 2000) : "no body")`))
	if lookErr != nil {
		shows = "a page that cannot be asked: " + lookErr.Error()
	}
	shot := "none: "
	if png, shotErr := chromedp.Run(ctx, chromedp.CaptureScreenshot()); shotErr != nil {
		shot += shotErr.Error()
	} else if f, shotErr := os.CreateTemp("", "custody-"+strings.ReplaceAll(b.t.Name(), "/", "-")+"-*.png"); shotErr != nil {
		shot += shotErr.Error()
	} else {
		shot = f.Name()
		_, shotErr = f.Write(png)
		if shotErr = errors.Join(shotErr, f.Close()); shotErr != nil {
			shot += ": " + shotErr.Error()
		}
	}
	b.t.Fatalf("%v; faults %q; screenshot %s; at %s", err, b.taken(), shot, shows)
}

// wait receives from ch; what says what the test waits for.
func wait[T any](b *browser, ch <-chan T, what string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeoutCause(b.ctx, waitLimit, fmt.Errorf("not within %s", waitLimit))
	defer cancel()
	select {
	case v := <-ch:
		return v
	case <-ctx.Done():
		b.stop(fmt.Errorf("waiting for %s: %w", what, context.Cause(ctx)))
		panic("stop returned")
	}
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
	ctx, cancel := context.WithTimeoutCause(b.ctx, waitLimit, fmt.Errorf("not within %s", waitLimit))
	defer cancel()
	for {
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`!!(`+cond+`)`))
		switch {
		case err == nil && ok:
			return
		case ctx.Err() != nil:
			b.stop(fmt.Errorf("waiting for %s: %w", cond, errors.Join(context.Cause(ctx), err)))
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
