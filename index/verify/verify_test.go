package verify

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"custody/index/seal"
	"custody/ingest/record"
)

// history is a log with its rows, made up on the fly.
type history struct {
	t    testing.TB
	key  *seal.Key
	size uint64
	// what is done to the honest history
	entry func(seq uint64, e *seal.Entry) // before sealing
	row   func(row *Row) bool             // false: the row is not there
}

func newHistory(t testing.TB, size uint64) *history {
	t.Helper()
	key, err := seal.GenerateKey("custody/test")
	if err != nil {
		t.Fatal(err)
	}
	return &history{t: t, key: key, size: size, entry: func(uint64, *seal.Entry) {}, row: func(*Row) bool { return true }}
}

// sealed is the entry of a row.
func (h *history) sealed(seq uint64) seal.Entry {
	e := seal.Entry{Kind: record.KindRecord, Received: int64(seq) + 1, Schema: 1, Groups: 13}
	binary.BigEndian.PutUint64(e.Root[:], seq)
	h.entry(seq, &e)
	return e
}

// checkpoint signs the first size entries; the root is computed by other code.
func (h *history) checkpoint(size uint64) []byte {
	h.t.Helper()
	r := (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)
	for seq := range size {
		e := h.sealed(seq)
		b, _ := e.AppendBinary(nil)
		if err := r.Append(rfc6962.DefaultHasher.HashLeaf(b), nil); err != nil {
			h.t.Fatal(err)
		}
	}
	var root []byte
	root, err := r.GetRootHash(nil)
	if err != nil {
		h.t.Fatal(err)
	}
	if size == 0 {
		root = rfc6962.DefaultHasher.EmptyRoot()
	}
	cp := seal.Checkpoint{Origin: h.key.Name(), Size: size, Root: tlog.Hash(root)}
	signed, err := note.Sign(&note.Note{Text: cp.Text()}, h.key)
	if err != nil {
		h.t.Fatal(err)
	}
	return signed
}

// input reads the history.
func (h *history) input() Input {
	rec := new(record.Record)
	rows := func(from, to uint64, fn func(Row) error) error {
		for seq := from; seq < min(to, h.size); seq++ {
			rec.Reset()
			row := Row{Record: rec, Entry: h.sealed(seq)}
			rec.Seq, rec.Kind = seq, row.Entry.Kind
			if !h.row(&row) {
				continue
			}
			if err := fn(row); err != nil {
				return err
			}
		}
		return nil
	}
	return Input{
		Checkpoint: h.checkpoint(h.size), VKeys: []string{h.key.VKey()},
		Entries: func(fn func(seal.Entry) error) error {
			for seq := range h.size {
				if err := fn(h.sealed(seq)); err != nil {
					return err
				}
			}
			return nil
		},
		Entry: func(seq uint64) (seal.Entry, error) { return h.sealed(seq), nil },
		Authorities: func(fn func(Row) error) error {
			return rows(0, h.size, func(row Row) error {
				if k := row.Record.Kind; k != record.KindRedaction && k != record.KindExpiry {
					return nil
				}
				return fn(row)
			})
		},
		Rows: rows,
	}
}

// expect runs and holds the problems against the texts they must contain, in order.
func expect(t *testing.T, in Input, want ...string) *Report {
	t.Helper()
	var found []Problem
	in.Found = func(p Problem) { found = append(found, p) }
	rep, err := Run(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	rep.Flush()
	if !slices.Equal(found, rep.Problems) {
		t.Errorf("told %v, reported %v", found, rep.Problems)
	}
	for i, p := range rep.Problems {
		if i >= len(want) || !strings.Contains(p.String(), want[i]) {
			t.Errorf("problem %d is %q, want %q", i, p, want)
		}
		if p.Advice == "" {
			t.Errorf("%s: nothing to do about it", p)
		}
	}
	if len(rep.Problems) < len(want) {
		t.Errorf("%d problems, want %q", len(rep.Problems), want)
	}
	return rep
}

const testRows = 70_000 // more than one full tile of level 1

func TestHonest(t *testing.T) {
	for _, size := range []uint64{0, 1, 2, 255, 256, 257, 65_536, testRows} {
		h := newHistory(t, size)
		in := h.input()
		for _, n := range []uint64{0, size / 3, size} {
			in.Against = append(in.Against, h.checkpoint(n))
		}
		type tileAt struct {
			level int
			n     uint64
		}
		tiles := make(map[tileAt]int)
		in.Tile = func(level int, n uint64, hashes []byte) error {
			tiles[tileAt{level, n}] = len(hashes) / tlog.HashSize
			return nil
		}
		rep := expect(t, in)
		if rep.Rows != size || !strings.Contains(rep.Tier, "3 earlier") {
			t.Errorf("%d: %+v", size, rep)
		}
		for level := 1; level < 4; level++ {
			nodes := size >> (8 * level)
			for n := uint64(0); n*256 < nodes; n++ {
				if got, want := tiles[tileAt{level, n}], int(min(256, nodes-n*256)); got != want {
					t.Errorf("size %d: tile %d of level %d has %d hashes, want %d", size, n, level, got, want)
				}
				delete(tiles, tileAt{level, n})
			}
		}
		if len(tiles) != 0 {
			t.Errorf("size %d: tiles that the tree does not have: %v", size, tiles)
		}
	}
}

// authority makes the row at seq a redaction or an expiry.
func (h *history) authority(seq uint64, kind record.Kind, attribute string, about ...string) {
	was := h.entry
	h.entry = func(s uint64, e *seal.Entry) {
		if was(s, e); s == seq {
			e.Kind = kind
		}
	}
	row := h.row
	h.row = func(r *Row) bool {
		if r.Record.Seq == seq {
			for _, a := range about {
				r.Record.Add(record.About, a, "")
			}
			r.Record.Add(record.Attributes, attribute, "")
		}
		return row(r)
	}
}

// drop takes rows away.
func (h *history) drop(from, to uint64) {
	row := h.row
	h.row = func(r *Row) bool { return (r.Record.Seq < from || r.Record.Seq > to) && row(r) }
}

// withhold takes a value of rows away.
func (h *history) withhold(f record.Field, seqs ...uint64) {
	row := h.row
	h.row = func(r *Row) bool {
		if slices.Contains(seqs, r.Record.Seq) {
			r.Withheld = append(r.Withheld, seal.Unit{Slot: f, Element: seal.WholeSlot})
		}
		return row(r)
	}
}

func TestFindings(t *testing.T) {
	const size = 3000
	for name, c := range map[string]struct {
		do   func(h *history, in func() *Input)
		want []string
	}{
		"expired": {func(h *history, _ func() *Input) { h.drop(5, 9); h.authority(20, record.KindExpiry, "", "5-9") }, nil},
		"redacted": {func(h *history, _ func() *Input) {
			h.withhold(record.RequesterID, 5, 7)
			h.authority(20, record.KindRedaction, "slots=requester.id", "5", "7")
		}, nil},
		"missing": {func(h *history, _ func() *Input) { h.drop(5, 9) }, []string{"seq 5 to 9: rows are missing"}},
		"missing at the end": {
			func(h *history, _ func() *Input) { h.drop(size-2, size) },
			[]string{"seq 2998 to 2999: rows are missing"},
		},
		"partly expired": {
			func(h *history, _ func() *Input) { h.drop(5, 9); h.authority(20, record.KindExpiry, "", "5-6", "8") },
			[]string{"seq 7: rows are missing", "seq 9: rows are missing"},
		},
		"wrong slot": {
			func(h *history, _ func() *Input) {
				h.withhold(record.RequesterID, 5)
				h.authority(20, record.KindRedaction, "slots=executor.id", "5")
			},
			[]string{"seq 5: requester.id is missing"},
		},
		"wrong row": {
			func(h *history, _ func() *Input) {
				h.withhold(record.RequesterID, 5, 6)
				h.authority(20, record.KindRedaction, "slots=requester.id", "6")
			},
			[]string{"seq 5: requester.id is missing"},
		},
		"of later rows": {
			func(h *history, _ func() *Input) { h.drop(30, 30); h.authority(20, record.KindExpiry, "", "30") },
			[]string{"seq 20: expiry of rows that come after it", "seq 30: rows are missing"},
		},
		"unreadable": {
			func(h *history, _ func() *Input) { h.authority(20, record.KindExpiry, "", "9-5") },
			[]string{"seq 20: expiry without a readable target"},
		},
		"forged expiry": {
			func(h *history, _ func() *Input) {
				h.drop(5, 9)
				h.authority(20, record.KindExpiry, "", "5-9")
				row := h.row
				h.row = func(r *Row) bool {
					if r.Record.Seq == 20 {
						r.Entry.Root[31] = 1
					}
					return row(r)
				}
			},
			[]string{"seq 5 to 9: rows are missing", "seq 20: row does not match"},
		},
		"changed row": {
			func(h *history, _ func() *Input) {
				h.row = func(r *Row) bool {
					if r.Record.Seq == 7 || r.Record.Seq == 8 {
						r.Entry.Received++
					}
					return true
				}
			},
			[]string{"seq 7 to 8: row does not match"},
		},
		"doubled row": {
			func(h *history, in func() *Input) {
				rows := in().Rows
				in().Rows = func(from, to uint64, fn func(Row) error) error {
					return rows(from, to, func(r Row) error {
						if err := fn(r); err != nil || r.Record.Seq != 7 {
							return err
						}
						return fn(r)
					})
				}
			},
			[]string{"seq 7: row is out of order or doubled"},
		},
		"changed entry": {
			func(h *history, in func() *Input) {
				entries := in().Entries
				in().Entries = func(fn func(seal.Entry) error) error {
					return entries(func(e seal.Entry) error {
						if e.Received == 8 {
							e.Root[31] = 1
						}
						return fn(e)
					})
				}
			},
			[]string{"seq 7: row does not match", "seq 0 to 2999: the entries do not hash"},
		},
		"entries cut off": {
			func(h *history, in func() *Input) {
				entries := in().Entries
				in().Entries = func(fn func(seal.Entry) error) error {
					return entries(func(e seal.Entry) error {
						if e.Received > 2000 {
							return fmt.Errorf("bundle: %w", seal.ErrBundle)
						}
						return fn(e)
					})
				}
			},
			[]string{"seq 2000 to 2999: entries cannot be read"},
		},
		"too few entries": {
			func(h *history, in func() *Input) {
				in().Entries = func(fn func(seal.Entry) error) error {
					for seq := range uint64(10) {
						if err := fn(h.sealed(seq)); err != nil {
							return err
						}
					}
					return nil
				}
			},
			[]string{"seq 10 to 2999: entries are missing"},
		},
		"tile": {
			func(_ *history, in func() *Input) {
				in().Tile = func(level int, _ uint64, _ []byte) error { return errors.New("differs") }
			},
			[]string{"seq 0 to 2815: tile 0 of level 1"},
		},
		"rolled back": {
			func(h *history, in func() *Input) {
				longer := newHistory(h.t, size+5)
				longer.key = h.key
				in().Against = [][]byte{longer.checkpoint(size + 5)}
			},
			[]string{"seq 3000 to 3004: the log was cut off"},
		},
		"rewritten": {
			func(h *history, in func() *Input) {
				other := newHistory(h.t, size)
				other.key = h.key
				other.entry = func(seq uint64, e *seal.Entry) { e.Received += int64(seq / 100) }
				in().Against = [][]byte{other.checkpoint(50), other.checkpoint(500)}
			},
			[]string{"seq 0 to 499: the log is not the one of an earlier checkpoint of size 500"},
		},
		"other key": {
			func(h *history, in func() *Input) { in().Against = [][]byte{newHistory(h.t, 3).checkpoint(3)} },
			[]string{"earlier checkpoint: "},
		},
		"an authority that only the second pass sees": {
			func(h *history, in func() *Input) {
				h.authority(20, record.KindRedaction, "slots=requester.id", "6")
				in().Authorities = func(func(Row) error) error { return nil }
			},
			[]string{"were not the same when they were read again"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHistory(t, size)
			var in Input
			// The history is changed before its input is made, the input after.
			c.do(h, func() *Input {
				if in.Entries == nil {
					in = h.input()
				}
				return &in
			})
			if in.Entries == nil {
				in = h.input()
			}
			expect(t, in, c.want...)
		})
	}
}

// A part is judged by what it has: the rest is somebody else's to verify.
func TestPart(t *testing.T) {
	h := newHistory(t, 3000)
	h.drop(100, 100)
	h.drop(2000, 2000)
	in := h.input()
	in.From, in.To = 50, 1000
	rep := expect(t, in, "seq 100: rows are missing")
	if rep.Rows != 949 || !rep.Problems[0].NoExcuse {
		t.Errorf("%+v", rep)
	}
	in.From, in.To = 1000, 0
	expect(t, in, "seq 2000: rows are missing")
	in.From = 1 << 63
	if rep := expect(t, in); rep.Rows != 0 {
		t.Errorf("%d rows of none", rep.Rows)
	}
}

// TestReadError: what cannot be read is no verdict.
func TestReadError(t *testing.T) {
	h := newHistory(t, 10)
	in := h.input()
	in.Entries = func(func(seal.Entry) error) error { return errors.New("disk") }
	if _, err := Run(t.Context(), in); err == nil {
		t.Error("a verdict without entries")
	}
	in = h.input()
	in.Rows = func(uint64, uint64, func(Row) error) error { return errors.New("disk") }
	if _, err := Run(t.Context(), in); err == nil {
		t.Error("a verdict without rows")
	}
}

// TestManyProblems: a report is bounded, and says how much it leaves out.
func TestManyProblems(t *testing.T) {
	h := newHistory(t, 3000)
	h.row = func(r *Row) bool { return r.Record.Seq%2 == 0 }
	rep, err := Run(t.Context(), h.input())
	if err != nil {
		t.Fatal(err)
	}
	if len(rep.Problems) != MaxProblems || rep.Omitted != 500 {
		t.Errorf("%d problems, %d omitted", len(rep.Problems), rep.Omitted)
	}
}

// TestMemory: of a history of a million rows, every second of which is expired
// and many of which are redacted, no more than a bit a row and set is kept.
func TestMemory(t *testing.T) {
	const size, perRow = 1_000_000, 1000
	h := newHistory(t, size)
	// Every 2,000th row names odd rows before it as expired or redacted.
	kind := func(seq uint64) record.Kind {
		switch seq % 4000 {
		case 2000:
			return record.KindExpiry
		case 0:
			if seq > 0 {
				return record.KindRedaction
			}
		}
		return record.KindRecord
	}
	h.entry = func(seq uint64, e *seal.Entry) { e.Kind = kind(seq) }
	expired := func(seq uint64) bool { return seq%2 == 1 && seq%4000 < 2000 }
	h.row = func(r *Row) bool {
		seq := r.Record.Seq
		if expired(seq) {
			return false
		}
		if r.Record.Kind != record.KindRecord {
			for n := uint64(1); n <= perRow; n++ {
				r.Record.Add(record.About, fmt.Sprint(seq-2*n+1), "")
			}
			r.Record.Add(record.Attributes, "slots=requester.id", "")
		}
		if seq%4000 > 2000 && seq%2 == 1 && seq < size-2000 {
			r.Withheld = []seal.Unit{{Slot: record.RequesterID, Element: seal.WholeSlot}}
		}
		return true
	}
	in := h.input()
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var most uint64
	calls := 0
	in.Progress = func(uint64, uint64) {
		if calls++; calls%16 == 0 {
			runtime.GC()
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapAlloc-min(now.HeapAlloc, before.HeapAlloc))
		}
	}
	rep := expect(t, in)
	// Two sets of a bit a row are 250 kB; the rest is the test's own rows.
	const bound = 2 << 20
	if most == 0 || most > bound {
		t.Errorf("%d bytes at most, want up to %d", most, bound)
	}
	if rep.Expired != size/4 || rep.Rows != size-size/4 || rep.Redacted == 0 {
		t.Errorf("%+v", rep)
	}
}

func TestSet(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		var s set
		const space = 3 * chunkSize
		model := make([]bool, space)
		for range 1 + rnd.IntN(200) {
			from := rnd.IntN(space)
			to := min(space-1, from+rnd.IntN([]int{1, 5, 300, 100_000}[rnd.IntN(4)]))
			if round%4 != 0 { // many short ones: bitmaps
				to = from
			}
			s.add(uint64(from), uint64(to))
			for i := from; i <= to; i++ {
				model[i] = true
			}
		}
		if round%8 == 1 {
			for i := chunkSize; i < 2*chunkSize; i += 3 {
				s.add(uint64(i), uint64(i))
				model[i] = true
			}
			if s.chunks[1].bits == nil {
				t.Fatal("a crowded chunk is no bitmap")
			}
		}
		from, to := rnd.IntN(space), rnd.IntN(space)
		from, to = min(from, to), max(from, to)
		got := make([]bool, space)
		last := -2
		s.uncovered(uint64(from), uint64(to), func(a, b uint64) {
			if a > b || int(a) <= last+1 {
				t.Fatalf("range %d to %d behind %d", a, b, last)
			}
			last = int(b)
			for i := a; i <= b; i++ {
				got[i] = true
			}
		})
		for i := range space {
			if s.has(uint64(i)) != model[i] {
				t.Fatalf("round %d: has %d is %v", round, i, !model[i])
			}
			if want := i >= from && i <= to && !model[i]; got[i] != want {
				t.Fatalf("round %d: uncovered %d is %v", round, i, got[i])
			}
		}
	}
}
