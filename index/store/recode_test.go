package store

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"

	"custody/ingest/record"
)

// TestRecode packs a segment with a dictionary and a table of values: every row
// comes back, the columns count what they counted, and most of the bytes are gone.
func TestRecode(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 9))
	s, err := Create(filepath.Join(t.TempDir(), "segments"), 0, 1, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	seg := s.Active()
	enc, err := NewEncoder(seg.FilterKey(), true)
	if err != nil {
		t.Fatal(err)
	}
	const blocks, rows = 12, 700
	var want []string
	seq := uint64(0)
	for b := range blocks {
		var chunk []*record.Record
		for i := range rows {
			r := event(rng, seq, 77, uint16(i), 1_760_000_000_000_000_000+int64(seq)*1000)
			r.Set(record.RequesterID, fmt.Sprintf("person-number-%d@example.com", rng.IntN(300)), "/requester")
			if b > 8 { // some that the first blocks do not have
				r.Set(record.ActionTool, fmt.Sprintf("tool-of-a-long-name-%d", rng.IntN(40)), "/tool")
			}
			enc.AddIdent([]byte(r.Get(record.ChainTraceID)), i)
			chunk = append(chunk, r)
			want = append(want, string(r.AppendJSON(nil)))
			seq++
		}
		data, err := enc.Encode(nil, "", chunk, []SaltRun{{Rows: rows, Bytes: make([]byte, 32)}})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(&Commit{Next: seq, Blocks: []NewBlock{{First: chunk[0].Seq, Data: data}}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Roll(2, [16]byte{1}); err != nil {
		t.Fatal(err)
	}
	read := func(seg *Segment) (got []string, counts []string, size int) {
		t.Helper()
		if err := seg.View(func(tx *Tx) error {
			var err error
			tx.Blocks(0, ^uint64(0), false, func(_ uint64, data []byte) bool {
				size += len(data)
				var b *Block
				if b, err = seg.OpenBlock(data); err != nil {
					return false
				}
				for i := range b.Rows() {
					var r record.Record
					if err = b.Row(i, &r); err != nil {
						return false
					}
					got = append(got, string(r.AppendJSON(nil)))
					if id := r.Get(record.ChainTraceID); id != "" && b.Candidates(seg.FilterKey(), []byte(id))&(1<<(i/FrameRows)) == 0 {
						t.Errorf("row %d is not in its filter", i)
					}
				}
				for f := range record.NumFields {
					var c *Column
					if c, err = b.Column(f); err != nil {
						return false
					}
					if c != nil {
						counts = append(counts, fmt.Sprint(f, c.Values, c.Counts))
					}
				}
				return true
			})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return got, counts, size
	}
	_, wantCounts, before := read(seg)

	w, err := s.Recode(seg.ID)
	if err != nil {
		t.Fatal(err)
	}
	pack, err := NewEncoder(w.FilterKey(), false)
	if err != nil {
		t.Fatal(err)
	}
	var dict []byte
	table := new(ValueTable)
	each := func(fn func(b *Block) error) {
		t.Helper()
		if err := seg.View(func(tx *Tx) error {
			var err error
			tx.Blocks(0, ^uint64(0), false, func(_ uint64, data []byte) bool {
				var b *Block
				if b, err = seg.ReadBlock(data); err == nil {
					err = fn(b)
				}
				return err == nil
			})
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	each(func(b *Block) (err error) {
		if n++; n > 9 { // a value that is not in the table stays in its block
			return nil
		}
		if err := table.Add(b); err != nil {
			return err
		}
		if n%4 == 0 {
			dict, err = SampleBlock(dict, b)
		}
		return err
	})
	for _, err := range []error{w.SetDictionary(dict), w.SetValues(table), pack.SetDictionary(dict)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	each(func(b *Block) error {
		data, err := pack.Recode(nil, b, table)
		if err != nil {
			return err
		}
		return w.Put(b.First(), data)
	})
	if err := w.Swap(); err != nil {
		t.Fatal(err)
	}
	next := s.Segments()[0]
	got, counts, after := read(next)
	if len(got) != len(want) {
		t.Fatalf("%d rows, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("row %d:\n got %s\nwant %s", i, got[i], want[i])
		}
	}
	if fmt.Sprint(counts) != fmt.Sprint(wantCounts) {
		t.Error("columns count otherwise")
	}
	if after > before*9/10 {
		t.Errorf("%d bytes, %d before", after, before)
	}

	// Without what it was encoded with a block does not show something else.
	if err := next.View(func(tx *Tx) error {
		_, data := tx.Containing(0)
		b, err := OpenBlock(data)
		if err != nil {
			return err
		}
		var r record.Record
		if err := b.Row(0, &r); err == nil {
			t.Error("a row was read without the segment")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, key := range [][]byte{keyDictionary, keyValues} {
		if err := next.db.View(func(tx *bolt.Tx) error {
			if len(tx.Bucket(bucketMeta).Get(key)) == 0 {
				return fmt.Errorf("no %s", bytes.ToUpper(key))
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
}
