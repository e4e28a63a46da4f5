package search

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// fast persists at once, so that tests see many files and merges.
var fast = Options{PersistInterval: time.Millisecond}

// model is what an index should hold: term → block → frames.
type model struct {
	watermark uint64
	blocks    map[uint64]map[string]uint16
}

func newModel(start uint64) *model {
	return &model{watermark: start, blocks: map[uint64]map[string]uint16{}}
}

func (m *model) clone() *model {
	return &model{m.watermark, maps.Clone(m.blocks)} // the inner maps never change
}

func (m *model) add(docs []Doc, watermark uint64) {
	for _, d := range docs {
		ts := map[string]uint16{}
		for _, t := range d.Terms {
			ts[string(t.Key)] |= t.Frames
		}
		m.blocks[d.Block] = ts
	}
	m.watermark = watermark
}

func (m *model) postings(match func(string) bool) []Hit {
	var hits []Hit
	for b, ts := range m.blocks {
		var f uint16
		for k, v := range ts {
			if match(k) {
				f |= v
			}
		}
		if f != 0 {
			hits = append(hits, Hit{b, f})
		}
	}
	slices.SortFunc(hits, func(a, b Hit) int { return cmp.Compare(a.Block, b.Block) })
	return hits
}

// diff says how an index differs from the model; "" not at all.
func (m *model) diff(x *Index, keys []string) string {
	if w := x.Watermark(); w != m.watermark {
		return fmt.Sprintf("watermark %d, want %d", w, m.watermark)
	}
	for _, k := range keys {
		got, err := x.Postings([]byte(k), nil)
		if err != nil {
			return err.Error()
		}
		if want := m.postings(func(s string) bool { return s == k }); !slices.Equal(got, want) {
			return fmt.Sprintf("%q: %v, want %v", k, got, want)
		}
	}
	for _, prefix := range []string{"", "a", "ab", "b\xff", "\xff", "zz"} {
		even := func(k string) bool { return len(k)%2 == 0 }
		got, truncated, err := x.PostingsMatch([]byte(prefix), func(t []byte) bool { return even(string(t)) }, 0, nil)
		if err != nil || truncated {
			return fmt.Sprint(err, truncated)
		}
		want := m.postings(func(k string) bool { return bytes.HasPrefix([]byte(k), []byte(prefix)) && even(k) })
		if !slices.Equal(got, want) {
			return fmt.Sprintf("prefix %q: %v, want %v", prefix, got, want)
		}
	}
	return ""
}

func testKeys(r *rand.Rand, n int) []string {
	var keys []string
	for len(keys) < n {
		k := make([]byte, 1+r.IntN(6))
		for i := range k {
			k[i] = "ab\xff\x00"[r.IntN(4)]
		}
		if !slices.Contains(keys, string(k)) {
			keys = append(keys, string(k))
		}
	}
	return keys
}

func randomDoc(r *rand.Rand, block uint64, keys []string) Doc {
	d := Doc{Block: block, Rows: 1 + uint32(r.IntN(MaxRows))}
	frames := (d.Rows + FrameRows - 1) / FrameRows
	for range r.IntN(20) {
		f := uint16(1+r.IntN(0xffff)) & uint16(1<<frames-1)
		d.Terms = append(d.Terms, Term{[]byte(keys[r.IntN(len(keys))]), max(f, 1)})
	}
	return d
}

// copyFolder copies what a crash at one moment would leave: it repeats until no
// file changed meanwhile.
func copyFolder(t *testing.T, from, to string) {
	t.Helper()
	read := func() map[string]string {
		files := map[string]string{}
		entries, err := os.ReadDir(from)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			b, err := os.ReadFile(filepath.Join(from, e.Name()))
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			files[e.Name()] = string(b)
		}
		return files
	}
	a := read()
	for range 1000 {
		b := read()
		if maps.Equal(a, b) {
			break
		}
		a = b
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, data := range a {
		if err := os.WriteFile(filepath.Join(to, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestModel(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			testModel(t, rand.New(rand.NewPCG(seed, 7)))
		})
	}
}

func testModel(t *testing.T, r *rand.Rand) {
	t.Helper()
	top := t.TempDir()
	dir := filepath.Join(top, "search")
	keys := testKeys(r, 60)
	o := fast
	o.Start = 1000
	x, err := Create(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { x.Close() }()
	m := newModel(1000)
	history := []*model{m.clone()}
	next := uint64(1000)
	recovered := 0
	for step := range 120 {
		switch op := r.IntN(12); {
		case op < 6:
			var docs []Doc
			for range r.IntN(6) {
				docs = append(docs, randomDoc(r, next, keys))
				next += MaxRows
			}
			if len(m.blocks) > 0 && r.IntN(3) == 0 { // replace one
				b := slices.Sorted(maps.Keys(m.blocks))[r.IntN(len(m.blocks))]
				if !slices.ContainsFunc(docs, func(d Doc) bool { return d.Block == b }) {
					docs = append(docs, randomDoc(r, b, keys))
				}
			}
			if err := x.Add(docs, next); err != nil {
				t.Fatal(err)
			}
			m.add(docs, next)
		case op < 8:
			gone := []uint64{1, next} // unknown ones
			for _, b := range slices.Sorted(maps.Keys(m.blocks)) {
				if r.IntN(10) == 0 {
					gone = append(gone, b)
					delete(m.blocks, b)
				}
			}
			if err := x.Delete(gone); err != nil {
				t.Fatal(err)
			}
		case op < 9:
			if err := x.Close(); err != nil {
				t.Fatal(err)
			}
			if x, err = Open(dir, fast); err != nil {
				t.Fatal(err)
			}
		case op < 11:
			crash := filepath.Join(top, fmt.Sprint("crash", step))
			copyFolder(t, dir, crash)
			y, err := Open(crash, fast)
			if errors.Is(err, ErrDamaged) && recovered == 0 {
				break // nothing had been persisted yet
			}
			if err != nil {
				t.Fatal(err)
			}
			recovered++
			why := ""
			if !slices.ContainsFunc(history, func(h *model) bool {
				if h.watermark != y.Watermark() {
					return false
				}
				why = h.diff(y, keys)
				return why == ""
			}) {
				t.Fatalf("step %d: recovered to no state there was: watermark %d, %s", step, y.Watermark(), why)
			}
			if err := y.Close(); err != nil {
				t.Fatal(err)
			}
			os.RemoveAll(crash)
		default:
			packed := filepath.Join(top, fmt.Sprint("packed", step))
			if err := x.Pack(packed); err != nil {
				t.Fatal(err)
			}
			y, err := OpenReadOnly(packed)
			if err != nil {
				t.Fatal(err)
			}
			if d := m.diff(y, keys); d != "" {
				t.Fatalf("step %d: packed: %s", step, d)
			}
			if st, err := y.Stats(); err != nil || st.Segments > 1 || st.Blocks != uint64(len(m.blocks)) {
				t.Fatalf("packed: %+v, %v", st, err)
			}
			if err := y.Close(); err != nil {
				t.Fatal(err)
			}
		}
		history = append(history, m.clone())
		if d := m.diff(x, keys); d != "" {
			t.Fatalf("step %d: %s", step, d)
		}
	}
	if recovered == 0 {
		t.Fatal("no crash was recovered from")
	}
}
