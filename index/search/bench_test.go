//go:build unix

package search

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// vocabulary makes blocks of rows whose words follow Zipf's law and whose fields
// have few values, about 2,000 distinct terms a block of 1024 rows.
type vocabulary struct {
	r     *rand.Rand
	zipf  *rand.Zipf
	words [][]byte
}

func newVocabulary(seed uint64, words int) *vocabulary {
	r := rand.New(rand.NewPCG(seed, 1))
	v := &vocabulary{r: r, zipf: rand.NewZipf(r, 1.4, 10, uint64(words-1))}
	const letters = "etaoinshrdlucmfwypvbgkqjxz0123456789"
	for i := range words {
		n := 3 + r.IntN(8)
		w := make([]byte, 0, n+8)
		for range n {
			w = append(w, letters[min(r.IntN(36), r.IntN(36))])
		}
		w = fmt.Appendf(w, "%x", i)
		v.words = append(v.words, w)
	}
	return v
}

func (v *vocabulary) doc(block uint64, rows int) Doc {
	terms := make(map[string]uint16)
	for row := range rows {
		bit := uint16(1) << (row / FrameRows)
		for range 5 {
			terms["w\x00"+string(v.words[v.zipf.Uint64()])] |= bit
		}
		for f, n := range []int{3, 4, 5, 8, 12, 20, 40, 60, 200, 500} {
			// The square of a uniform number prefers low values.
			x := v.r.Float64()
			terms[fmt.Sprintf("field%d\x00value-%d", f, int(x*x*float64(n)))] |= bit
		}
	}
	d := Doc{Block: block, Rows: uint32(rows)}
	for k, f := range terms {
		d.Terms = append(d.Terms, Term{Key: []byte(k), Frames: f})
	}
	return d
}

func docs(seed uint64, n int) []Doc {
	v := newVocabulary(seed, 60000)
	var ds []Doc
	for i := range n {
		ds = append(ds, v.doc(uint64(i)*MaxRows, MaxRows))
	}
	return ds
}

// cpu is the time all cores spent on this process; walls vary with neighbours.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkBuild(b *testing.B) {
	ds := docs(1, 1024)
	n := 0
	for i := range ds {
		n += len(ds[i].Terms)
	}
	for _, batch := range []int{8, 16, 32} {
		b.Run(fmt.Sprint(batch), func(b *testing.B) {
			for b.Loop() {
				dir := filepath.Join(b.TempDir(), "x")
				x, err := Create(dir, Options{})
				if err != nil {
					b.Fatal(err)
				}
				began := cpu(b)
				for i := 0; i < len(ds); i += batch {
					if err := x.Add(ds[i:i+batch], ds[i+batch-1].Block+MaxRows); err != nil {
						b.Fatal(err)
					}
				}
				added := cpu(b) - began
				if err := x.Flush(); err != nil {
					b.Fatal(err)
				}
				flushed := cpu(b) - began
				st, _ := x.Stats()
				began = cpu(b)
				if err := x.Pack(dir + "p"); err != nil {
					b.Fatal(err)
				}
				packed := cpu(b) - began
				p, err := OpenReadOnly(dir + "p")
				if err != nil {
					b.Fatal(err)
				}
				ps, _ := p.Stats()
				rows := float64(len(ds) * MaxRows)
				b.ReportMetric(rows/added.Seconds(), "rows/cpu-s-add")
				b.ReportMetric(rows/flushed.Seconds(), "rows/cpu-s-flushed")
				b.ReportMetric(rows/(flushed+packed).Seconds(), "rows/cpu-s-packed")
				b.ReportMetric(float64(st.Segments), "segments")
				b.ReportMetric(float64(n)/float64(len(ds)), "terms/block")
				b.ReportMetric(float64(ps.Disk)/rows, "bytes/row")
				p.Close()
				x.Close()
			}
		})
	}
}

func benchIndex(b *testing.B, pack bool) *Index {
	b.Helper()
	x, dir := create(b, Options{})
	ds := docs(1, 1000)
	for i := 0; i < len(ds); i += 16 {
		part := ds[i:min(i+16, len(ds))]
		if err := x.Add(part, part[len(part)-1].Block+MaxRows); err != nil {
			b.Fatal(err)
		}
	}
	if !pack {
		return x
	}
	if err := x.Pack(dir + "p"); err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	p, err := OpenReadOnly(dir + "p")
	if err != nil {
		b.Fatal(err)
	}
	b.Log("open", time.Since(began))
	b.Cleanup(func() { p.Close() })
	return p
}

func BenchmarkPostings(b *testing.B) {
	for _, pack := range []bool{true, false} {
		x := benchIndex(b, pack)
		st, _ := x.Stats()
		for _, key := range []string{"field0\x00value-0", "field9\x00value-490", "field8\x00value-199", "absent"} {
			b.Run(fmt.Sprintf("segments=%d/%q", st.Segments, key), func(b *testing.B) {
				var hits []Hit
				var err error
				b.ReportAllocs()
				for b.Loop() {
					if hits, err = x.Postings([]byte(key), hits[:0]); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(len(hits)), "hits")
			})
		}
		b.Run(fmt.Sprintf("segments=%d/prefix", st.Segments), func(b *testing.B) {
			for b.Loop() {
				if _, _, err := x.PostingsMatch([]byte("field9\x00value-4"), nil, 0, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
