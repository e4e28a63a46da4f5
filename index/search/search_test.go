package search

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func create(tb testing.TB, o Options) (*Index, string) {
	tb.Helper()
	dir := filepath.Join(tb.TempDir(), "search")
	x, err := Create(dir, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { x.Close() })
	return x, dir
}

func TestFrameCodes(t *testing.T) {
	c := codes()
	seen := make([]bool, 1<<16)
	for f := 1; f < 1<<16; f++ {
		n := c.encode(uint16(f))
		if n < 1 || n > 0xffff || seen[n] {
			t.Fatalf("%016b: number %d", f, n)
		}
		seen[n] = true
		if got := c.decode(uint64(n)); got != uint16(f) {
			t.Fatalf("%016b comes back as %016b", f, got)
		}
	}
	// The numbers are in files.
	for f, want := range map[uint16]int{1: 1, 2: 2, 0x8000: 16, 0xffff: 17, 0x7fff: 18, 3: 34, 0xff: 52666} {
		if got := c.encode(f); got != want {
			t.Errorf("%016b: number %d, want %d", f, got, want)
		}
	}
}

// TestFramesSurvive stores each bitmap there is, as the only posting of a term
// and beside others, and reads it from memory, from files, after merges, after
// opening and from a packed index.
func TestFramesSurvive(t *testing.T) {
	o := Options{PersistInterval: 10 * time.Millisecond}
	x, dir := create(t, o)
	const blocks = 4
	alone := func(f int) []byte { return binary.BigEndian.AppendUint16([]byte("alone"), uint16(f)) }
	shared := func(f int) []byte { return binary.BigEndian.AppendUint16([]byte("shared"), uint16(f)) }
	turn := func(f, block int) uint16 { return uint16(f)<<(4*block) | uint16(f)>>(16-4*block) }
	for b := range blocks {
		d := Doc{Block: uint64(b) * MaxRows, Rows: MaxRows}
		for f := 1; f < 1<<16; f++ {
			if f%blocks == b {
				d.Terms = append(d.Terms, Term{alone(f), uint16(f)})
			}
			d.Terms = append(d.Terms, Term{shared(f), turn(f, b)})
		}
		if err := x.Add([]Doc{d}, d.Block+MaxRows); err != nil {
			t.Fatal(err)
		}
		if b%2 == 1 {
			if err := x.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	check := func(x *Index, what string) {
		t.Helper()
		var hits []Hit
		var err error
		for f := 1; f < 1<<16; f++ {
			if hits, err = x.Postings(alone(f), hits[:0]); err != nil {
				t.Fatal(err)
			}
			if len(hits) != 1 || hits[0] != (Hit{uint64(f%blocks) * MaxRows, uint16(f)}) {
				t.Fatalf("%s: %016b alone: %v", what, f, hits)
			}
			if hits, err = x.Postings(shared(f), hits[:0]); err != nil {
				t.Fatal(err)
			}
			for b := range blocks {
				if len(hits) != blocks || hits[b] != (Hit{uint64(b) * MaxRows, turn(f, b)}) {
					t.Fatalf("%s: %016b shared: %v", what, f, hits)
				}
			}
		}
	}
	check(x, "live")
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	x, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	check(x, "reopened")
	if err := x.Pack(dir + "-packed"); err != nil {
		t.Fatal(err)
	}
	check(x, "merged")
	p, err := OpenReadOnly(dir + "-packed")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	check(p, "packed")
}

func TestAddRefuses(t *testing.T) {
	x, _ := create(t, Options{Start: 5000})
	ok := Doc{Block: 5000, Rows: 100, Terms: []Term{{[]byte("k"), 3}}}
	if err := x.Add([]Doc{ok}, 5100); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		doc       Doc
		watermark uint64
	}{
		"watermark goes back":    {Doc{Block: 0, Rows: 1}, 5099},
		"no rows":                {Doc{Block: 5100}, 6000},
		"too many rows":          {Doc{Block: 5100, Rows: MaxRows + 1}, 9000},
		"reaches over watermark": {Doc{Block: 5100, Rows: 100}, 5199},
		"overflow":               {Doc{Block: ^uint64(0), Rows: 2}, 6000},
		"empty key":              {Doc{Block: 5100, Rows: 1, Terms: []Term{{nil, 1}}}, 6000},
		"long key":               {Doc{Block: 5100, Rows: 1, Terms: []Term{{make([]byte, MaxKey+1), 1}}}, 6000},
		"no frame":               {Doc{Block: 5100, Rows: 1, Terms: []Term{{[]byte("k"), 0}}}, 6000},
		"frame without rows":     {Doc{Block: 5100, Rows: 64, Terms: []Term{{[]byte("k"), 2}}}, 6000},
	} {
		if err := x.Add([]Doc{c.doc}, c.watermark); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if x.Watermark() != 5100 {
		t.Errorf("watermark %d, want 5100", x.Watermark())
	}
	if err := x.Add([]Doc{{Block: 5100, Rows: 65, Terms: []Term{{make([]byte, MaxKey), 2}}}}, 6000); err != nil {
		t.Errorf("longest key, last frame: %v", err)
	}
	if st, err := x.Stats(); err != nil || st.Blocks != 2 {
		t.Errorf("%+v, %v", st, err)
	}
}

func TestMatchLimit(t *testing.T) {
	x, _ := create(t, fast)
	for b := range uint64(3) {
		d := Doc{Block: b * 64, Rows: 64}
		for i := range 10 {
			d.Terms = append(d.Terms, Term{fmt.Appendf(nil, "t%d", i), 1})
		}
		if err := x.Add([]Doc{d}, (b+1)*64); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		prefix    string
		limit     int
		truncated bool
	}{{"t", 10, false}, {"t", 9, true}, {"t", 0, false}, {"t3", 1, false}, {"u", 1, false}, {"", 9, true}} {
		hits, truncated, err := x.PostingsMatch([]byte(c.prefix), nil, c.limit, nil)
		if err != nil || truncated != c.truncated {
			t.Errorf("%+v: truncated %v, %v", c, truncated, err)
		}
		if !truncated && c.prefix != "u" && len(hits) != 3 {
			t.Errorf("%+v: %v", c, hits)
		}
	}
}

// TestConcurrent reads while blocks are added, replaced and packed. Each reader
// must find every block below the watermark it saw before.
func TestConcurrent(t *testing.T) {
	o := fast
	o.MaxPending = 1 << 14 // so that Add has to wait as well
	x, dir := create(t, o)
	const blocks = 200
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			var hits []Hit
			for {
				select {
				case <-stop:
					return
				default:
				}
				want := x.Watermark() / MaxRows
				var err error
				if hits, err = x.Postings([]byte("all"), hits[:0]); err != nil {
					t.Error(err)
					return
				}
				if uint64(len(hits)) < want || !slices.IsSortedFunc(hits, func(a, b Hit) int { return int(a.Block) - int(b.Block) }) {
					t.Errorf("%d hits, want at least %d, in order", len(hits), want)
					return
				}
				if _, _, err := x.PostingsMatch([]byte("w"), nil, 0, nil); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	r := rand.New(rand.NewPCG(3, 3))
	for b := uint64(0); b < blocks; b += 2 {
		var docs []Doc
		for i := range uint64(2) {
			d := Doc{Block: (b + i) * MaxRows, Rows: MaxRows, Terms: []Term{{[]byte("all"), 0xffff}}}
			for range 20 {
				d.Terms = append(d.Terms, Term{fmt.Appendf(nil, "w%d", r.IntN(500)), 1 << r.IntN(16)})
			}
			docs = append(docs, d)
		}
		if b > 20 {
			docs = append(docs, Doc{Block: uint64(r.IntN(20)) * MaxRows, Rows: MaxRows, Terms: []Term{{[]byte("all"), 1}}})
		}
		if err := x.Add(docs, (b+2)*MaxRows); err != nil {
			t.Fatal(err)
		}
		if b == blocks/2 {
			if err := x.Pack(dir + "-packed"); err != nil {
				t.Fatal(err)
			}
		}
	}
	close(stop)
	readers.Wait()
	if hits, err := x.Postings([]byte("all"), nil); err != nil || len(hits) != blocks {
		t.Errorf("%d hits, %v", len(hits), err)
	}
}

// TestLargeAdd: one that is cut must still move the watermark at the end only.
func TestLargeAdd(t *testing.T) {
	x, _ := create(t, fast)
	var docs []Doc
	for b := range uint64(3*maxBatch + 1) {
		docs = append(docs, Doc{Block: b * 64, Rows: 64, Terms: []Term{{[]byte("k"), 1}}})
	}
	end := uint64(len(docs)) * 64
	if err := x.Add(docs, end); err != nil {
		t.Fatal(err)
	}
	hits, err := x.Postings([]byte("k"), nil)
	if err != nil || len(hits) != len(docs) || x.Watermark() != end {
		t.Errorf("%d hits, watermark %d, %v", len(hits), x.Watermark(), err)
	}
}

// TestHugeBlock: a block of very many terms is taken, and not kept for reuse.
func TestHugeBlock(t *testing.T) {
	x, _ := create(t, fast)
	huge := Doc{Block: 0, Rows: 1}
	for i := range 400_000 {
		huge.Terms = append(huge.Terms, Term{fmt.Appendf(nil, "a-term-of-some-length-%d", i), 1})
	}
	docs := []Doc{huge, {Block: 1, Rows: 1, Terms: []Term{{[]byte("k"), 1}}}}
	if n := part(docs); n != 1 {
		t.Errorf("built %d at once", n)
	}
	if err := x.Add(docs, 2); err != nil {
		t.Fatal(err)
	}
	for i, d := range x.docs {
		if len(d.freqs) > maxKept {
			t.Errorf("document %d keeps %d terms", i, len(d.freqs))
		}
	}
	for key, want := range map[string]uint64{"k": 1, "a-term-of-some-length-199999": 0} {
		if hits, err := x.Postings([]byte(key), nil); err != nil || len(hits) != 1 || hits[0].Block != want {
			t.Errorf("%s: %v, %v", key, hits, err)
		}
	}
}

func TestStalledDisk(t *testing.T) {
	o := fast
	o.StallTimeout = 200 * time.Millisecond
	o.MaxPending = 1
	x, dir := create(t, o)
	if err := x.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil { // no file can be made there any more
		t.Fatal(err)
	}
	if err := x.Add([]Doc{{Rows: 1, Terms: []Term{{[]byte("k"), 1}}}}, 1); err != nil {
		t.Fatal(err)
	}
	if err := x.Add(nil, 2); !errors.Is(err, ErrStalled) {
		t.Errorf("add: %v, want ErrStalled", err)
	}
	if hits, err := x.Postings([]byte("k"), nil); err != nil || len(hits) != 1 || x.Watermark() != 1 {
		t.Errorf("%v, watermark %d, %v", hits, x.Watermark(), err)
	}
	if err := x.Close(); !errors.Is(err, ErrStalled) {
		t.Errorf("close: %v, want ErrStalled", err)
	}
}

func TestClosed(t *testing.T) {
	before := goroutines()
	x, dir := create(t, Options{}) // with the long interval: Close must not wait for it
	if err := x.Add([]Doc{{Rows: 1, Terms: []Term{{[]byte("k"), 1}}}}, 1); err != nil {
		t.Fatal(err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	if err := x.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	_, errPostings := x.Postings([]byte("k"), nil)
	_, _, errMatch := x.PostingsMatch(nil, nil, 0, nil)
	_, errStats := x.Stats()
	for i, err := range []error{x.Add(nil, 2), x.Delete([]uint64{0}), x.Flush(), x.Pack(dir + "p"), errPostings, errMatch, errStats} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%d: %v, want ErrClosed", i, err)
		}
	}
	r, err := OpenReadOnly(dir)
	if err != nil {
		t.Fatal(err)
	}
	if hits, err := r.Postings([]byte("k"), nil); err != nil || len(hits) != 1 || r.Watermark() != 1 {
		t.Errorf("%v, watermark %d, %v", hits, r.Watermark(), err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	// A goroutine that has been told to end may need a moment for it.
	for deadline := time.Now().Add(5 * time.Second); ; runtime.Gosched() {
		if after := goroutines(); len(after) <= len(before) {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("goroutines are left:\n%s", strings.Join(after, "\n\n"))
		}
	}
}

// goroutines are the stacks that go through the index or Bleve.
func goroutines() []string {
	buf := make([]byte, 1<<20)
	var own []string
	for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(g, "blevesearch") || strings.Contains(g, "search.(*Index)") {
			own = append(own, g)
		}
	}
	return own
}
