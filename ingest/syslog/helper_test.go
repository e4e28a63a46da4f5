package syslog

import (
	"context"
	"maps"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"custody/ingest"
)

const patience = 20 * time.Second

// ledger is a sink that remembers, with durable cursors.
type ledger struct {
	mu      sync.Mutex
	changed chan struct{}   // closed and replaced at every change
	blocked bool            // Submit waits
	hold    bool            // batches become durable only on release
	refuse  error           // Submit fails
	held    []*ingest.Batch // taken, not durable
	batches []*ingest.Batch // durable
	waiting int             // Submits that wait
	cursors map[string]string
}

func newLedger() *ledger {
	return &ledger{changed: make(chan struct{}), cursors: map[string]string{}}
}

func (s *ledger) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *ledger) Submit(ctx context.Context, b *ingest.Batch) error {
	s.mu.Lock()
	s.waiting++
	s.notify()
	for s.blocked {
		ch := s.changed
		s.mu.Unlock()
		select {
		case <-ch:
		case <-ctx.Done():
			s.mu.Lock()
			s.waiting--
			s.mu.Unlock()
			return ctx.Err()
		}
		s.mu.Lock()
	}
	s.waiting--
	if s.refuse != nil {
		defer s.mu.Unlock()
		return s.refuse
	}
	s.held = append(s.held, b)
	hold := s.hold
	s.notify()
	s.mu.Unlock()
	if !hold {
		s.release(nil)
	}
	return nil
}

// release makes what is held durable, or with err fails it, and counts its lines.
func (s *ledger) release(err error) (lines int) {
	s.mu.Lock()
	held := s.held
	s.held = nil
	if err == nil {
		for _, b := range held {
			for _, c := range b.Cursors {
				if c.Value == nil {
					delete(s.cursors, c.Key)
				} else {
					s.cursors[c.Key] = string(c.Value)
				}
			}
		}
		s.batches = append(s.batches, held...)
	}
	s.notify()
	s.mu.Unlock()
	for _, b := range held {
		lines += len(b.Lines)
		if b.Done != nil {
			b.Done(err)
		}
	}
	return lines
}

func (s *ledger) set(fn func(*ledger)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn(s)
	s.notify()
}

func (s *ledger) Cursor(key string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v, ok := s.cursors[key]; ok {
		return []byte(v)
	}
	return nil
}

func (s *ledger) EachCursor(prefix string, fn func(string, []byte) error) error {
	s.mu.Lock()
	all := maps.Clone(s.cursors)
	s.mu.Unlock()
	for _, k := range slices.Sorted(maps.Keys(all)) {
		if strings.HasPrefix(k, prefix) {
			if err := fn(k, []byte(all[k])); err != nil {
				return err
			}
		}
	}
	return nil
}

// until waits for cond, which sees the ledger locked.
func (s *ledger) until(tb testing.TB, what string, cond func(*ledger) bool) {
	tb.Helper()
	deadline := time.After(patience)
	for {
		s.mu.Lock()
		ok, ch := cond(s), s.changed
		s.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-ch:
		case <-deadline:
			tb.Fatalf("no %s; lines: %.500q", what, s.raws())
		}
	}
}

func (s *ledger) untilLines(tb testing.TB, n int) []ingest.Line {
	tb.Helper()
	s.until(tb, "lines", func(s *ledger) bool { return s.count() >= n })
	return s.lines()
}

func (s *ledger) count() (n int) {
	for _, b := range s.batches {
		n += len(b.Lines)
	}
	return n
}

// snap is a copy of the present state.
func (s *ledger) snap() *ledger {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &ledger{held: slices.Clone(s.held), batches: slices.Clone(s.batches), cursors: maps.Clone(s.cursors)}
}

func (s *ledger) lines() (out []ingest.Line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.batches {
		out = append(out, b.Lines...)
	}
	return out
}

func (s *ledger) raws() (out []string) {
	for _, l := range s.lines() {
		out = append(out, string(l.Raw))
	}
	return out
}

func (s *ledger) gaps() (out []ingest.Gap) {
	for _, b := range s.batches {
		out = append(out, b.Gaps...)
	}
	return out
}

var sources = map[string]*ingest.Source{
	"udp":      {Name: "u", Transport: ingest.UDP},
	"tcp":      {Name: "t", Transport: ingest.TCP},
	"tls":      {Name: "s", Transport: ingest.TLS},
	"unix":     {Name: "x", Transport: ingest.UnixStream},
	"unixgram": {Name: "g", Transport: ingest.UnixDgram},
	"relp":     {Name: "r", Transport: ingest.RELP},
}

// server is a listener that runs.
type server struct {
	*Listener
	t    testing.TB
	stop func() // ends it in order and waits
}

// start runs a listener and fails the test when it leaves goroutines behind.
func start(tb testing.TB, cfg Config, s *ledger) *server {
	tb.Helper()
	if cfg.Source == nil {
		cfg.Source = sources[cfg.Network]
	}
	if cfg.Address == "" {
		cfg.Address = "127.0.0.1:0"
	}
	l, err := New(cfg, s, s, nil, nil)
	if err != nil {
		tb.Fatal(err)
	}
	if err := l.Listen(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return runListener(tb, l)
}

// runListener runs a listener that is bound.
func runListener(tb testing.TB, l *Listener) *server {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	var once sync.Once
	sv := &server{Listener: l, t: tb}
	sv.stop = func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-ended:
				if err != nil {
					tb.Errorf("Run: %v", err)
				}
			case <-time.After(patience):
				tb.Error("Run does not end")
			}
			checkGoroutines(tb)
			if used := l.mem.used.Load(); used != 0 {
				tb.Errorf("%d bytes of buffers not given back", used)
			}
			if n := l.Stats().Connections; n != 0 {
				tb.Errorf("%d connections left", n)
			}
		})
	}
	tb.Cleanup(sv.stop)
	return sv
}

// checkGoroutines fails when a goroutine of this package, but not of its tests, is left.
func checkGoroutines(tb testing.TB) {
	tb.Helper()
	var left string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		buf := make([]byte, 4<<20)
		left = ""
		for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "created by custody/ingest/syslog.(*") {
				left = g
			}
		}
		if left == "" {
			return
		}
	}
	tb.Errorf("goroutine left behind:\n%s", left)
}

func (sv *server) dial() net.Conn {
	sv.t.Helper()
	a := sv.Addr()
	c, err := net.Dial(a.Network(), a.String())
	if err != nil {
		sv.t.Fatal(err)
	}
	sv.t.Cleanup(func() { c.Close() })
	return c
}

func (sv *server) untilStats(what string, cond func(Stats) bool) {
	sv.t.Helper()
	for deadline := time.Now().Add(patience); !cond(sv.Stats()); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			sv.t.Fatalf("no %s: %+v", what, sv.Stats())
		}
	}
}

func write(tb testing.TB, c net.Conn, s string) {
	tb.Helper()
	if _, err := c.Write([]byte(s)); err != nil {
		tb.Fatal(err)
	}
}
