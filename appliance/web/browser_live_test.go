package web

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"custody/ingest/record"
)

const following = `document.querySelector("#livestate").textContent === "following new records"`

func TestBrowserLiveTail(t *testing.T) {
	f := newFake(manyRecords(20)...)
	s := newSite(t, f)
	b := newBrowser(t, s)
	b.open("/?live=1")
	wait(b, f.tailed, "the live tail's request")
	b.until(following)
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

// shown waits until the live page shows these records and no others, newest on top.
func (b *browser) shown(recs []*record.Record) {
	b.t.Helper()
	var want []string
	for _, r := range recs {
		want = append([]string{"/records/" + record.FormatID(r.ID)}, want...)
	}
	b.until(`[...document.querySelectorAll("#rows > *")].map((r) => r.querySelector("a.s")?.getAttribute("href")).join(" ") === "` +
		strings.Join(want, " ") + `"`)
}

// faulty puts before the site's handler what hold answers itself.
func faulty(s *site, hold func(w http.ResponseWriter, r *http.Request) bool) {
	inner := s.network
	s.network = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !hold(w, r) {
			inner.ServeHTTP(w, r)
		}
	})
}

// Whichever script of the page comes last and late: the tail begins, and rows
// pass the page's policy.
func TestBrowserLateScripts(t *testing.T) {
	for _, late := range []string{"htmx", "hx-csp", "hx-sse", "uPlot", "custody"} {
		t.Run(late, func(t *testing.T) {
			f := newFake(manyRecords(5)...)
			s := newSite(t, f)
			early := make(chan struct{}, 64) // htmx went over the page
			faulty(s, func(_ http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/ui/status" {
					early <- struct{}{}
				}
				if name := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]; strings.HasPrefix(name, late) && strings.HasSuffix(name, ".js") {
					select {
					case <-early:
					case <-time.After(300 * time.Millisecond): // long enough for what must not happen
					}
				}
				return false
			})
			b := newBrowser(t, s)
			b.open("/?live=1")
			wait(b, f.tailed, "the live tail's request")
			recs := []*record.Record{agentRecord(1), agentRecord(2)}
			f.add(recs...)
			b.shown(recs)
			b.until(following)
			b.clean("late " + late)
		})
	}
}

// A connection that breaks loses and doubles nothing, whenever it breaks.
func TestBrowserTailResumes(t *testing.T) {
	f := newFake(manyRecords(5)...)
	s := newSite(t, f)
	var down atomic.Bool
	faulty(s, func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/ui/tail" || !down.Load() {
			return false
		}
		w.WriteHeader(http.StatusBadGateway)
		return true
	})
	b := newBrowser(t, s)
	b.open("/?live=1")
	wait(b, f.tailed, "the live tail's request")
	b.until(following)
	var recs []*record.Record
	more := func(n int) {
		var batch []*record.Record
		for range n {
			batch = append(batch, agentRecord(100+len(recs)+len(batch)))
		}
		f.add(batch...)
		recs = append(recs, batch...)
	}
	// Before the first row the reader has an id already.
	down.Store(true)
	b.srv.CloseClientConnections()
	b.until(`/status 502; trying again/.test(document.querySelector("#livestate").textContent)`)
	more(3)
	down.Store(false)
	if from := wait(b, f.tailed, "the second request"); from != 5 {
		t.Errorf("the tail goes on at %d", from)
	}
	b.shown(recs)
	// Cut while rows are on their way.
	for i := range 4 {
		more(i + 1)
		b.srv.CloseClientConnections()
		wait(b, f.tailed, fmt.Sprintf("the request after cut %d", i))
		b.shown(recs)
	}
	// More than a page takes at its pace, and less than it holds.
	down.Store(true)
	b.srv.CloseClientConnections()
	b.until(`/status 502; trying again/.test(document.querySelector("#livestate").textContent)`)
	more(liveRows + 90)
	down.Store(false)
	b.shown(recs)
	b.until(following)
}

// The first connection fails in each way: the page says so, keeps the answer out
// of the list, tries again, and shows what came meanwhile.
func TestBrowserFirstConnection(t *testing.T) {
	for _, c := range []struct {
		name, says string
		fail       func(w http.ResponseWriter, r *http.Request)
	}{
		{"broken", "no connection to the server; trying again", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		{"busy", "too many live tails are open at once; trying again", nil},
		{"signed out", "the session has ended: sign in again; trying again", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`<p>sign in</p>`))
		}},
		{"not a stream", "the server answers without a stream; trying again", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte(`<li>a proxy's page</li>`))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFake(manyRecords(5)...)
			s := newSite(t, f)
			var well atomic.Bool
			faulty(s, func(w http.ResponseWriter, r *http.Request) bool {
				switch {
				case r.URL.Path != "/ui/tail" || well.Load():
					return false
				case c.fail == nil:
					s.fail(w, r, http.StatusServiceUnavailable, "busy", "too many")
				default:
					c.fail(w, r)
				}
				return true
			})
			b := newBrowser(t, s)
			b.open("/?live=1")
			b.until(`document.querySelector("#livestate").textContent === "` + c.says + `"`)
			recs := []*record.Record{agentRecord(1), agentRecord(2)}
			f.add(recs...)
			well.Store(true)
			b.until(following)
			b.shown(recs)
		})
	}
}

// A connection over which nothing comes any more is taken for dead.
func TestBrowserSilentConnection(t *testing.T) {
	f := newFake(manyRecords(5)...)
	s := newSite(t, f)
	var well atomic.Bool
	faulty(s, func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/ui/tail" || well.Load() {
			return false
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = w.Write(beat(5))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		return true
	})
	b := newBrowser(t, s)
	b.open("/?live=1")
	b.until(following)
	recs := []*record.Record{agentRecord(1)}
	f.add(recs...)
	well.Store(true)
	// The page's clock goes on by an hour.
	b.text(`(() => { const at = performance.now() + 3600e3; performance.now = () => at; })()`)
	wait(b, f.tailed, "a new connection")
	b.shown(recs)
	b.until(following)
	b.clean("silent connection")
}

func TestBrowserMissingScript(t *testing.T) {
	s := newSite(t, newFake(manyRecords(5)...))
	faulty(s, func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, htmxBundle) {
			return false
		}
		w.WriteHeader(http.StatusBadGateway)
		return true
	})
	b := newBrowser(t, s)
	b.open("/?live=1")
	b.until(`document.querySelector("#livestate").textContent.includes("Reload the page")`)
}
