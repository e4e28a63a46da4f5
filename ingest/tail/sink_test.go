package tail

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"custody/ingest"
)

var testKey = [32]byte{1, 2, 3}

// ledger commits lines and cursors together, in order, and can crash: then all
// that was not committed is gone.
type ledger struct {
	mu      sync.Mutex
	durable []string
	offsets []int64
	gaps    []ingest.Gap
	lines   []ingest.Line
	cursors map[string][]byte
	waiting []*ingest.Batch
	held    bool // commit only when told to
	refuse  error
	changed chan struct{}
}

func newLedger() *ledger {
	return &ledger{cursors: map[string][]byte{}, changed: make(chan struct{}, 1)}
}

func (k *ledger) Submit(ctx context.Context, b *ingest.Batch) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if b.Source == nil || b.File == "" || len(b.Lines) > batchLines {
		panic(fmt.Sprintf("bad batch %+v", b))
	}
	k.mu.Lock()
	k.waiting = append(k.waiting, b)
	held := k.held
	k.mu.Unlock()
	if !held {
		k.commit(1 << 30)
	}
	return nil
}

// commit makes the first n waiting batches durable.
func (k *ledger) commit(n int) {
	k.mu.Lock()
	n = min(n, len(k.waiting))
	batches := k.waiting[:n:n]
	k.waiting = k.waiting[n:]
	err := k.refuse
	if err == nil {
		for _, b := range batches {
			for _, l := range b.Lines {
				k.durable = append(k.durable, string(l.Raw))
				k.offsets = append(k.offsets, l.Offset)
				l.Raw = nil
				k.lines = append(k.lines, l)
			}
			k.gaps = append(k.gaps, b.Gaps...)
			for _, c := range b.Cursors {
				k.cursors[c.Key] = c.Value
			}
		}
	}
	k.mu.Unlock()
	for _, b := range batches {
		b.Done(err)
	}
	select {
	case k.changed <- struct{}{}:
	default:
	}
}

// crash returns a ledger with what is durable.
func (k *ledger) crash() *ledger {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := newLedger()
	n.durable = append([]string(nil), k.durable...)
	maps.Copy(n.cursors, k.cursors)
	return n
}

func (k *ledger) Cursor(key string) []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.cursors[key]
}

func (k *ledger) EachCursor(prefix string, fn func(string, []byte) error) error {
	k.mu.Lock()
	var keys []string
	for key := range k.cursors {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	k.mu.Unlock()
	sort.Strings(keys)
	for _, key := range keys {
		if err := fn(key, k.Cursor(key)); err != nil {
			return err
		}
	}
	return nil
}

func (k *ledger) got() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]string(nil), k.durable...)
}

// clock is set by hand.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	c.t = c.t.Add(d)
	c.mu.Unlock()
}

var origin = &ingest.Source{Name: "files", Transport: ingest.File}

var quiet = slog.New(slog.DiscardHandler)

// bench is a tailer driven by hand, one step at a time.
type bench struct {
	t     *testing.T
	dir   string
	cfg   Config
	k     *ledger
	clock *clock
	tail  *Tailer
}

func newBench(t *testing.T, cfg Config) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir(), k: newLedger(), clock: &clock{t: time.Unix(1_800_000_000, 0)}}
	if cfg.Globs == nil {
		cfg.Globs = []string{"*.log*"}
	}
	for i, g := range cfg.Globs {
		cfg.Globs[i] = filepath.Join(b.dir, g)
	}
	cfg.Source, cfg.FingerprintKey = origin, testKey
	b.cfg = cfg
	b.start()
	return b
}

func (b *bench) start() {
	b.t.Helper()
	tl, err := New(b.cfg, b.k, b.k, quiet, b.clock.now)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := tl.recall(); err != nil {
		b.t.Fatal(err)
	}
	b.tail = tl
}

// step scans and takes turns until nothing is left to do.
func (b *bench) step() {
	b.t.Helper()
	b.tail.scan()
	for n := 0; ; n++ {
		s := b.tail.next()
		if s == nil {
			return
		}
		if err := b.tail.serve(b.t.Context(), s); err != nil {
			b.t.Fatal(err)
		}
		if n > 10000 {
			b.t.Fatal("the tailer does not come to rest")
		}
	}
}

// settle steps until grace times are over.
func (b *bench) settle() {
	b.t.Helper()
	for range 3 {
		b.step()
		b.clock.pass(time.Minute)
	}
	b.step()
}

func (b *bench) stop() { b.tail.closeAll() }

func (b *bench) restart() {
	b.t.Helper()
	b.stop()
	b.k = b.k.crash()
	b.start()
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

func (b *bench) write(name, content string) {
	b.t.Helper()
	f, err := os.OpenFile(b.path(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := f.WriteString(content); err != nil {
		b.t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) rename(from, to string) {
	b.t.Helper()
	if err := os.Rename(b.path(from), b.path(to)); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) want(lines ...string) {
	b.t.Helper()
	got := b.k.got()
	if strings.Join(got, "|") != strings.Join(lines, "|") || len(got) != len(lines) {
		b.t.Fatalf("got %d lines %.300q\nwant %d %.300q", len(got), got, len(lines), lines)
	}
}
