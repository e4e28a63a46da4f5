package index

import (
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"custody/ingest"
)

// sources counts traffic by source. Safe for concurrent use.
type sources struct {
	mu sync.Mutex
	m  map[string]*SourceStatus
}

func newSources() *sources { return &sources{m: make(map[string]*SourceStatus)} }

func (s *sources) count(b *ingest.Batch, malformed uint64) {
	if b.Source == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.m[b.Source.Name]
	if st == nil {
		st = &SourceStatus{Name: b.Source.Name, Tenant: b.Source.Tenant, Transport: b.Source.Transport, Format: b.Source.Format}
		s.m[b.Source.Name] = st
	}
	st.Lines += uint64(len(b.Lines))
	st.Malformed += malformed
	for i := range b.Gaps {
		st.Gaps++
		if n := b.Gaps[i].Count; n > 0 {
			st.Dropped += uint64(n)
		}
	}
	if n := len(b.Lines); n > 0 {
		st.Last = b.Lines[n-1].Received
	}
}

// Sources returns the traffic of every source since the start of the process, by name.
func (l *Ledger) Sources() []SourceStatus {
	l.sources.mu.Lock()
	defer l.sources.mu.Unlock()
	out := make([]SourceStatus, 0, len(l.sources.m))
	for _, s := range l.sources.m {
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b SourceStatus) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Status returns the ledger's state.
func (l *Ledger) Status() Status {
	st := Status{
		Durable: l.durable.Load(), Sealed: l.sealed.Load(), Searchable: l.searchable(),
		Rows: l.store.Next(), Origin: l.origin, Segments: len(l.store.Segments()),
		Free: l.free.Load(), QueueBytes: l.queue.used(),
	}
	if f := l.fault.Load(); f != nil {
		st.Fault = *f
	}
	if f := l.sealFault.Load(); f != nil && st.Fault == "" {
		st.Fault = *f
	}
	st.Bytes = l.size.of(l.opts.Dir, l.clock())
	l.logState(&st)
	return st
}

// dirSize remembers the size of the data folder for a few seconds.
type dirSize struct {
	mu    sync.Mutex
	at    time.Time
	bytes int64
}

func (d *dirSize) of(dir string, now time.Time) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now.Sub(d.at) < 5*time.Second && !d.at.IsZero() {
		return d.bytes
	}
	d.at, d.bytes = now, 0
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			if fi, err := e.Info(); err == nil {
				d.bytes += fi.Size()
			}
		}
		return nil // files come and go while it walks
	})
	return d.bytes
}
