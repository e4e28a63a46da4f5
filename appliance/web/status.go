package web

import (
	"encoding/base64"
	"net/http"
	"strings"
	"sync"
	"time"

	"custody/index"
)

type statusJSON struct {
	Events     eventsJSON     `json:"events"`
	Checkpoint checkpointJSON `json:"checkpoint"`
	Rows       uint64         `json:"rows"`
	Segments   int            `json:"segments"`
	LastSealed string         `json:"last_sealed,omitempty"`
	QueueBytes int64          `json:"queue_bytes"`
	Disk       diskJSON       `json:"disk"`
	Fault      string         `json:"fault"`
	Ready      bool           `json:"ready"`
	Reasons    []reasonJSON   `json:"reasons"`
	Listeners  []Listener     `json:"listeners"`
	Version    string         `json:"version"`
	Time       string         `json:"time"`
}

type eventsJSON struct {
	Durable    uint64 `json:"durable"`
	Sealed     uint64 `json:"sealed"`
	Searchable uint64 `json:"searchable"`
}

type checkpointJSON struct {
	Origin string `json:"origin"`
	Size   uint64 `json:"size"`
	Root   string `json:"root"` // base64, as in the checkpoint itself
}

type diskJSON struct {
	Used int64  `json:"used_bytes"` // by the data folder
	Free uint64 `json:"free_bytes"` // on its file system
}

type reasonJSON struct {
	Code   string `json:"code"`
	Detail string `json:"detail,omitempty"`
}

func (s *Server) apiStatus(w http.ResponseWriter, _ *http.Request) {
	st := s.ledger.Status()
	reasons := s.reasons(st)
	out := statusJSON{
		Events:     eventsJSON{st.Durable, st.Sealed, st.Searchable},
		Checkpoint: checkpointJSON{st.Origin, st.TreeSize, base64.StdEncoding.EncodeToString(st.Root[:])},
		Rows:       st.Rows, Segments: st.Segments, QueueBytes: st.QueueBytes,
		Disk: diskJSON{st.Bytes, st.Free}, Fault: st.Fault,
		Ready: len(reasons) == 0, Reasons: reasons,
		Listeners: s.opt.Listeners, Version: s.opt.Version, Time: stamp(s.now().UnixNano()),
	}
	if !st.LastSealed.IsZero() {
		out.LastSealed = stamp(st.LastSealed.UnixNano())
	}
	if out.Listeners == nil {
		out.Listeners = []Listener{}
	}
	s.json(w, http.StatusOK, out)
}

// reasons lists why the appliance is not ready; empty when it is.
func (s *Server) reasons(st index.Status) []reasonJSON {
	out := []reasonJSON{}
	if st.Fault != "" {
		out = append(out, reasonJSON{"store", st.Fault})
	}
	// Free of 0 with nothing stored means that nobody has measured it yet.
	if st.Free < s.opt.MinFree && (st.Free != 0 || st.Bytes != 0) {
		out = append(out, reasonJSON{"disk", "only " + bytesText(st.Free) + " free"})
	}
	if st.Sealed < st.Durable && !st.LastSealed.IsZero() {
		if lag := s.now().Sub(st.LastSealed); lag > s.opt.SealLag {
			out = append(out, reasonJSON{"seal_lag", "nothing sealed for " + lag.Truncate(time.Second).String()})
		}
	}
	if st.Searchable < st.Durable && st.Durable-st.Searchable > s.opt.IndexLag {
		out = append(out, reasonJSON{"index_lag", groupDigits(st.Durable-st.Searchable) + " events are not in the search index yet"})
	}
	for _, c := range s.opt.Checks {
		if d := c.Fail(); d != "" {
			out = append(out, reasonJSON{c.Code, d})
		}
	}
	return out
}

// healthz says that the process answers.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	s.json(w, http.StatusOK, map[string]string{"status": "ok"})
}

// readyz names what is wrong by code only: it is open to everybody.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	reasons := s.reasons(s.ledger.Status())
	codes := make([]string, len(reasons))
	for i := range reasons {
		codes[i] = reasons[i].Code
	}
	status := http.StatusOK
	if len(codes) > 0 {
		status = http.StatusServiceUnavailable
	}
	s.json(w, status, map[string]any{"ready": len(codes) == 0, "reasons": codes})
}

type sourceJSON struct {
	Name      string  `json:"name"`
	Tenant    string  `json:"tenant,omitempty"`
	Transport string  `json:"transport"`
	Format    string  `json:"format,omitempty"`
	Lines     uint64  `json:"lines"`
	Malformed uint64  `json:"malformed"`
	Gaps      uint64  `json:"gaps"`
	Dropped   uint64  `json:"dropped"`
	Rate      float64 `json:"rate"` // lines a second over the last ten seconds or so
	Last      string  `json:"last,omitempty"`
}

func (s *Server) apiSources(w http.ResponseWriter, _ *http.Request) {
	src := s.ledger.Sources()
	rates := s.rates.sample(s.now(), src)
	out := make([]sourceJSON, len(src))
	for i, x := range src {
		out[i] = sourceJSON{
			Name: x.Name, Tenant: x.Tenant, Transport: x.Transport, Format: x.Format,
			Lines: x.Lines, Malformed: x.Malformed, Gaps: x.Gaps, Dropped: x.Dropped, Rate: max(0, rates[i]),
		}
		if x.Last != 0 {
			out[i].Last = stamp(x.Last)
		}
	}
	s.json(w, http.StatusOK, map[string]any{"sources": out})
}

// rateMeter turns growing counters into rates from the samples that requests
// happen to take, so that nothing runs while nobody looks.
type rateMeter struct {
	mu   sync.Mutex
	seen map[rateKey][]rateSample
}

type rateKey struct{ name, transport, tenant string }

type rateSample struct {
	at    time.Time
	lines uint64
}

const (
	rateWindow = 10 * time.Second
	rateGrain  = time.Second
)

// sample returns lines a second for each source, -1 where it is not known yet.
func (m *rateMeter) sample(now time.Time, src []index.SourceStatus) []float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := make(map[rateKey][]rateSample, len(src))
	out := make([]float64, len(src))
	for i, x := range src {
		k := rateKey{x.Name, x.Transport, x.Tenant}
		h := m.seen[k]
		if n := len(h); n > 0 && x.Lines < h[n-1].lines {
			h = nil // counted anew
		}
		if n := len(h); n == 0 || now.Sub(h[n-1].at) >= rateGrain {
			h = append(h, rateSample{now, x.Lines})
		}
		// Keep one sample at least as old as the window.
		for len(h) > 2 && now.Sub(h[1].at) >= rateWindow {
			h = h[1:]
		}
		out[i] = -1
		if d := now.Sub(h[0].at); d >= rateGrain && d < 6*rateWindow {
			out[i] = float64(x.Lines-h[0].lines) / d.Seconds()
		} else if d >= 6*rateWindow {
			h = h[len(h)-1:] // too old to say anything about now
		}
		next[k] = h
	}
	m.seen = next
	return out
}

func (s *Server) logCheckpoint(w http.ResponseWriter, r *http.Request) {
	b, err := s.ledger.Checkpoint()
	s.logBytes(w, r, b, err, "text/plain; charset=utf-8", "no-cache")
}

// logFile serves tiles and entry bundles (C2SP tlog-tiles). They never change.
func (s *Server) logFile(w http.ResponseWriter, r *http.Request) {
	path := r.PathValue("path")
	if !validTile(path) {
		s.fail(w, r, http.StatusNotFound, "not_found", "there is no such tile")
		return
	}
	b, err := s.ledger.ReadLog(path)
	s.logBytes(w, r, b, err, "application/octet-stream", "private, max-age=31536000, immutable")
}

func (s *Server) logBytes(w http.ResponseWriter, r *http.Request, b []byte, err error, mime, cache string) {
	if err != nil {
		status, e := s.classify(r, err)
		if status == http.StatusNotFound {
			e.Message = "there is no such file in the log"
		}
		s.failBody(w, r, status, e)
		return
	}
	w.Header().Set("Content-Type", mime)
	w.Header().Set("Cache-Control", cache)
	_, _ = w.Write(b) // an error means that the reader is gone
}

// validTile accepts tile/L/N[.p/W] and tile/entries/N[.p/W], where N is groups
// of three digits, all but the last led by x. Nothing else reaches the disk.
func validTile(p string) bool {
	rest, ok := strings.CutPrefix(p, "tile/")
	if !ok || len(p) > 128 {
		return false
	}
	level, rest, ok := strings.Cut(rest, "/")
	if !ok || (level != "entries" && !(len(level) >= 1 && len(level) <= 2 && digits(level))) {
		return false
	}
	if at := strings.Index(rest, ".p/"); at >= 0 {
		width := rest[at+3:]
		if len(width) < 1 || len(width) > 3 || !digits(width) {
			return false
		}
		rest = rest[:at]
	}
	groups := strings.Split(rest, "/")
	for i, g := range groups {
		if i < len(groups)-1 {
			if g, ok = strings.CutPrefix(g, "x"); !ok {
				return false
			}
		}
		if len(g) != 3 || !digits(g) {
			return false
		}
	}
	return true
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
