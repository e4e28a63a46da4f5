package index

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"custody/index/query"
	"custody/index/search"
	"custody/index/store"
	"custody/index/verify"
	"custody/ingest"
	"custody/ingest/record"
)

// auditDir audits a closed folder, the search included.
func auditDir(t *testing.T, dir string) *verify.Report {
	t.Helper()
	st, err := store.Open(filepath.Join(dir, "segments"), store.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	rep, err := Audit(t.Context(), dir, st, AuditOptions{Search: true})
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

// clean wants neither a problem nor a note, and that something was looked at.
func clean(t *testing.T, when string, rep *verify.Report, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	for _, p := range append(rep.Problems, rep.Notes...) {
		t.Errorf("%s: %s", when, p)
	}
	if rep.Blocks == 0 || rep.IndexTerms == 0 || rep.Rows == 0 {
		t.Errorf("%s: nothing was checked: %+v", when, rep)
	}
}

func (f *fixture) packed() {
	f.t.Helper()
	eventually(f.t, "packed", func() bool {
		segs := f.l.store.Segments()
		return len(segs) > 1 && !slices.ContainsFunc(segs[:len(segs)-1], func(s *store.Segment) bool { return s.Generation == 0 })
	})
}

// TestSearchAuditUntouched: whatever an honest ledger has been through, beside it
// and after it, there is nothing to report.
func TestSearchAuditUntouched(t *testing.T) {
	f := newFixture(t, Options{SegmentRows: 1500})
	for i := range 40 {
		var lines []string
		for k := range 100 {
			lines = append(lines, event(i*100+k))
		}
		if i%10 == 0 {
			b := &ingest.Batch{Source: &ingest.Source{Name: "other", Transport: ingest.File, Format: "json", Tenant: "acme"}}
			for _, l := range lines[:10] {
				b.Lines = append(b.Lines, ingest.Line{Raw: []byte(l), Received: time.Now().UnixNano(), Offset: -1})
			}
			done := make(chan error, 1)
			b.Done = func(err error) { done <- err }
			if err := f.l.Submit(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			f.send(lines[:3]...)
		}
		f.send(lines...)
	}
	eventually(t, "all sealed", func() bool { return f.l.sealedSize() == f.l.store.Next() })
	live := func(when string) *verify.Report {
		t.Helper()
		rep, err := f.l.Verify(t.Context(), AuditOptions{Search: true})
		clean(t, when+", beside the ledger", rep, err)
		return rep
	}
	closed := func(when string) *verify.Report {
		t.Helper()
		f.close()
		rep := auditDir(t, f.dir)
		clean(t, when, rep, nil)
		f.open()
		return rep
	}
	f.packed()
	live("packed")
	closed("packed")
	p, err := f.l.Search(t.Context(), Request{Query: mustQuery(t, "action.tool:shell"), Limit: 1})
	if err != nil || len(p.Records) != 1 {
		t.Fatal(p.Records, err)
	}
	if _, err := f.l.Amend(t.Context(), p.Records[0].Seq, func(r *record.Record) { r.Set(record.RequesterID, "carol@example.com", "") }); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all sealed", func() bool { return f.l.sealedSize() == f.l.store.Next() })
	live("amended")
	if _, err := f.l.Redact(t.Context(), Redaction{
		Policy: "p", Fields: []record.Field{record.RequesterID}, Query: mustQuery(t, "requester.id:user3@example.com"),
	}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all sealed", func() bool { return f.l.sealedSize() == f.l.store.Next() })
	if rep := live("redacted"); rep.Redacted == 0 {
		t.Error("nothing is redacted")
	}
	closed("redacted")
	if cert, err := f.l.Expire(t.Context(), Expiry{
		Class: "kv", Query: mustQuery(t, "action.tool:kv"), Before: time.Now().Add(time.Hour).UnixNano(),
	}); err != nil || cert.Records == 0 {
		t.Fatal(cert, err)
	}
	eventually(t, "all sealed", func() bool { return f.l.sealedSize() == f.l.store.Next() })
	if rep := live("expired"); rep.Expired == 0 {
		t.Error("nothing is expired")
	}
	if rep := closed("expired"); rep.Expired == 0 || rep.Redacted == 0 {
		t.Errorf("%+v", rep)
	}
}

// TestVerifyBesideWriter: the ledger is verified again and again while it takes
// in, merges, rolls, packs and redacts.
func TestVerifyBesideWriter(t *testing.T) {
	f := newFixture(t, Options{SegmentRows: 1200})
	f.send(event(0))
	eventually(t, "something is sealed", func() bool { return f.l.sealedSize() > 0 })
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i += 40 {
			select {
			case <-stop:
				return
			default:
			}
			var lines []string
			for k := range 1 + i%97 {
				lines = append(lines, event(i+k))
			}
			f.send(lines...)
			if i%4000 == 2000 {
				if _, err := f.l.Redact(t.Context(), Redaction{
					Policy: "p", Fields: []record.Field{record.RequesterID}, Query: mustQuery(t, "requester.id:user5@example.com"),
				}); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	rows, redacted := uint64(0), uint64(0)
	for end := time.Now().Add(20 * time.Second); redacted == 0 && time.Now().Before(end) || rows < 4000; {
		from := uint64(0)
		if redacted > 0 {
			from = rows / 2
		}
		rep, err := f.l.Verify(t.Context(), AuditOptions{Search: true, From: from})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range append(rep.Problems, rep.Notes...) {
			if !strings.Contains(p.What, "it is being built") {
				t.Fatal(p)
			}
		}
		if rep.Unsealed != 0 || rep.Rows+rep.Expired+from != rep.Size {
			t.Fatalf("not a snapshot: %+v", rep)
		}
		rows, redacted = rep.Size, max(redacted, rep.Redacted)
	}
	close(stop)
	wg.Wait()
	if redacted == 0 {
		t.Error("never saw a redacted row")
	}
}

// attack is a folder with one packed segment and its first block's bytes.
type attack struct {
	t   *testing.T
	dir string
	seg *store.Segment
}

// template is made once; every attack gets a copy.
func attackFolder(t *testing.T) string {
	t.Helper()
	f := &fixture{t: t, dir: t.TempDir(), opts: Options{SegmentRows: 250}}
	f.open()
	for i := range 8 {
		var lines []string
		for k := range 60 {
			lines = append(lines, event(i*60+k))
		}
		f.send(lines...)
	}
	f.packed()
	f.close()
	clean(t, "before the attack", auditDir(t, f.dir), nil)
	return f.dir
}

func newAttack(t *testing.T, from string) *attack {
	t.Helper()
	a := &attack{t: t, dir: t.TempDir()}
	if err := os.CopyFS(a.dir, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(a.dir, "keys", "signing"), 0o600); err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(filepath.Join(a.dir, "segments"), store.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	a.seg = st.Segments()[0]
	if a.seg.Generation == 0 {
		t.Fatal("the segment is not packed")
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	return a
}

// block changes the first block of the segment.
func (a *attack) block(edit func(data []byte) []byte) {
	a.t.Helper()
	rewriteBlock(a.t, a.dir, func(b *bolt.Bucket) error {
		k, v := b.Cursor().First()
		return b.Put(bytes.Clone(k), edit(bytes.Clone(v)))
	})
}

// encode encodes the rows of a block anew, with identifiers and with words in the
// filter of some of them only.
func (a *attack) encode(data []byte, tenant string, keep, words func(row int) bool) []byte {
	a.t.Helper()
	blk, err := store.OpenBlock(data)
	if err != nil {
		a.t.Fatal(err)
	}
	salts, err := blk.Salts()
	if err != nil {
		a.t.Fatal(err)
	}
	enc, err := store.NewEncoder(a.seg.FilterKey(), false)
	if err != nil {
		a.t.Fatal(err)
	}
	var rows []*record.Record
	var s query.Scratch
	for i := range blk.Rows() {
		r := new(record.Record)
		if err := blk.Row(i, r); err != nil {
			a.t.Fatal(err)
		}
		rows = append(rows, r)
		query.IndexTerms(r, &s, func(k []byte) {
			if query.IsMessageWord(k) && words(i) { // a filter has the rare ones
				enc.AddIdent(k, i)
			}
		}, func(k []byte) {
			if keep(i) {
				enc.AddIdent(k, i)
			}
		})
	}
	out, err := enc.Encode(nil, tenant, rows, salts)
	if err != nil {
		a.t.Fatal(err)
	}
	return out
}

// The numbers of a block header, in order (index/store/block.go).
const (
	headerRecvSpan = 4
	headerTimeSpan = 6
	headerKinds    = 7
)

// header changes one number of a block's header, and makes the checksum right.
func (a *attack) header(data []byte, field int, edit func(uint64) uint64) []byte {
	a.t.Helper()
	n := binary.LittleEndian.Uint32(data[4:])
	hdr, body := data[8:8+n], data[8+n:len(data)-4]
	var out []byte
	for i := 0; i <= field; i++ {
		v, w := binary.Uvarint(hdr)
		if w <= 0 {
			a.t.Fatal("no header")
		}
		if i == field {
			if next := edit(v); next != v {
				v = next
			} else {
				a.t.Fatal("the edit changes nothing")
			}
		}
		out = binary.AppendUvarint(out, v)
		hdr = hdr[w:]
	}
	out = append(out, hdr...)
	return a.sum(slices.Concat(data[:4], binary.LittleEndian.AppendUint32(nil, uint32(len(out))), out, body))
}

func (a *attack) sum(data []byte) []byte {
	return binary.LittleEndian.AppendUint32(data, crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)))
}

// index builds the segment's search index anew from documents that edit changes.
func (a *attack) index(edit func(docs []search.Doc) []search.Doc) {
	a.t.Helper()
	st, err := store.Open(filepath.Join(a.dir, "segments"), store.Options{ReadOnly: true})
	if err != nil {
		a.t.Fatal(err)
	}
	defer st.Close()
	var docs []search.Doc
	b := newBuilder(true)
	if err := st.Segments()[0].View(func(tx *store.Tx) error {
		tx.Blocks(0, ^uint64(0), false, func(_ uint64, data []byte) bool {
			blk, err := store.OpenBlock(data)
			if err != nil {
				a.t.Fatal(err)
			}
			doc, err := b.documentOf(blk)
			if err != nil {
				a.t.Fatal(err)
			}
			docs = append(docs, *doc)
			return true
		})
		return nil
	}); err != nil {
		a.t.Fatal(err)
	}
	if err := os.RemoveAll(a.seg.SearchDir()); err != nil {
		a.t.Fatal(err)
	}
	idx, err := search.Create(a.seg.SearchDir(), search.Options{Start: a.seg.First})
	if err != nil {
		a.t.Fatal(err)
	}
	if err := idx.Add(edit(docs), a.seg.Next()); err != nil {
		a.t.Fatal(err)
	}
	if err := idx.Close(); err != nil {
		a.t.Fatal(err)
	}
}

// TestSearchAttacks: what is altered so that searches miss records is found,
// though every row still verifies.
func TestSearchAttacks(t *testing.T) {
	from := attackFolder(t)
	word := query.WordKey(nil, []byte("item")) // of the message
	tool := query.TermKey(nil, record.ActionTool, "shell")
	without := func(key []byte) func(docs []search.Doc) []search.Doc {
		return func(docs []search.Doc) []search.Doc {
			docs[0].Terms = slices.DeleteFunc(docs[0].Terms, func(x search.Term) bool { return bytes.Equal(x.Key, key) })
			return docs
		}
	}
	all := func(int) bool { return true }
	for name, c := range map[string]struct {
		do   func(a *attack)
		want string // a problem
		note string
	}{
		"nothing but encoded anew": {do: func(a *attack) {
			a.block(func(d []byte) []byte { return a.encode(d, "", all, all) })
		}},
		"nothing but indexed anew": {do: func(a *attack) { a.index(func(d []search.Doc) []search.Doc { return d }) }},
		"tenant": {
			do:   func(a *attack) { a.block(func(d []byte) []byte { return a.encode(d, "acme", all, all) }) },
			want: "rows of another tenant than the header says",
		},
		"no filter": {
			do: func(a *attack) {
				a.block(func(d []byte) []byte { return a.encode(d, "", func(int) bool { return false }, all) })
			},
			want: "the identifier filter leaves out",
		},
		"filter without one frame": {
			do: func(a *attack) {
				a.block(func(d []byte) []byte { return a.encode(d, "", func(i int) bool { return i >= store.FrameRows }, all) })
			},
			want: "the identifier filter leaves out",
		},
		"filter without rare words": {
			do: func(a *attack) {
				a.block(func(d []byte) []byte { return a.encode(d, "", all, func(i int) bool { return i >= store.FrameRows }) })
			},
			want: "the search index leaves out",
		},
		"kinds": {
			do: func(a *attack) {
				a.block(func(d []byte) []byte {
					return a.header(d, headerKinds, func(v uint64) uint64 { return v &^ (1 << record.KindRecord) })
				})
			},
			want: "the header does not name kind record",
		},
		"a kind too many": {
			do: func(a *attack) {
				a.block(func(d []byte) []byte {
					return a.header(d, headerKinds, func(v uint64) uint64 { return v | 1<<record.KindAlert })
				})
			},
			note: "names kind alert",
		},
		"time": {
			do: func(a *attack) {
				a.block(func(d []byte) []byte { return a.header(d, headerTimeSpan, func(v uint64) uint64 { return v / 4 * 2 }) })
			},
			want: "bounds of time leave rows out",
		},
		"received": {
			do: func(a *attack) {
				a.block(func(d []byte) []byte { return a.header(d, headerRecvSpan, func(v uint64) uint64 { return v / 4 * 2 }) })
			},
			want: "bounds of received leave rows out",
		},
		"wider time": {
			do: func(a *attack) {
				a.block(func(d []byte) []byte { return a.header(d, headerTimeSpan, func(v uint64) uint64 { return v + 2 }) })
			},
			note: "bounds of time are wider",
		},
		"dictionary": {
			do: func(a *attack) {
				a.block(func(d []byte) []byte {
					i := bytes.Index(d, []byte("\x05shell")) // behind its count
					if i < 0 {
						a.t.Fatal("the dictionary is compressed")
					}
					d[i-1]--
					return a.sum(d[:len(d)-4])
				})
			},
			want: "the dictionary of action.tool does not count",
		},
		"word": {
			do:   func(a *attack) { a.index(without(word)) },
			want: `leaves out 1 terms of its rows, such as the word "item"`,
		},
		"value": {
			do:   func(a *attack) { a.index(without(tool)) },
			want: `leaves out 1 terms of its rows, such as action.tool:"shell"`,
		},
		"frame": {
			do: func(a *attack) {
				a.index(func(docs []search.Doc) []search.Doc {
					for i := range docs[0].Terms {
						if x := &docs[0].Terms[i]; bytes.Equal(x.Key, tool) {
							x.Frames &^= 2
						}
					}
					return docs
				})
			},
			want: "leaves out 1 terms",
		},
		"document": {
			do:   func(a *attack) { a.index(func([]search.Doc) []search.Doc { return nil }) },
			want: "the search index has no document for the block",
		},
		"a term too many": {
			do: func(a *attack) {
				a.index(func(docs []search.Doc) []search.Doc {
					docs[0].Terms = append(docs[0].Terms, search.Term{Key: []byte("wnobody"), Frames: 1})
					return docs
				})
			},
			note: "has 1 terms of blocks that their rows do not have",
		},
		"a frame too many": {
			do: func(a *attack) {
				a.index(func(docs []search.Doc) []search.Doc {
					docs[0].Terms[slices.IndexFunc(docs[0].Terms, func(x search.Term) bool { return x.Frames == 1 })].Frames = 3
					return docs
				})
			},
			note: "names frames for 1 terms",
		},
		"a document too many": {
			do: func(a *attack) {
				a.index(func(docs []search.Doc) []search.Doc {
					return append(docs, search.Doc{Block: docs[0].Block + 7, Rows: 1, Terms: []search.Term{{Key: []byte("wnobody"), Frames: 1}}})
				})
			},
			note: "a document for a block that is not there",
		},
		"no index": {
			do: func(a *attack) {
				if err := os.RemoveAll(a.seg.SearchDir()); err != nil {
					a.t.Fatal(err)
				}
			},
			note: "there is no search index",
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAttack(t, from)
			c.do(a)
			rep := auditDir(t, a.dir)
			if c.want == "" && !rep.OK() {
				t.Errorf("problems: %v", rep.Problems)
			}
			if c.want != "" {
				if len(rep.Problems) != 1 || !strings.Contains(rep.Problems[0].What, c.want) {
					t.Fatalf("problems %v, want %q", rep.Problems, c.want)
				}
				p := rep.Problems[0]
				if p.Where != "segment 1" || p.From != 0 || p.To == 0 || p.To >= a.seg.Next() || p.Advice == "" {
					t.Errorf("found at %+v", p)
				}
			}
			if c.note != "" {
				if len(rep.Notes) == 0 || !strings.Contains(fmt.Sprint(rep.Notes), c.note) {
					t.Errorf("notes %v, want %q", rep.Notes, c.note)
				}
			} else if c.want == "" && len(rep.Notes) > 0 {
				t.Errorf("notes: %v", rep.Notes)
			}
			if rep := verifyDir(t, a.dir); !rep.OK() {
				t.Errorf("the rows do not verify: %v", rep.Problems)
			}
		})
	}
}

// TestTiles: a stored tile that does not follow from the entries is found.
func TestTiles(t *testing.T) {
	a := newAttack(t, attackFolder(t))
	tiles, err := filepath.Glob(filepath.Join(a.dir, "log", "tile", "1", "000.p", "*"))
	if err != nil || len(tiles) == 0 {
		t.Fatal(tiles, err)
	}
	for _, tile := range tiles {
		b, err := os.ReadFile(tile)
		if err != nil {
			t.Fatal(err)
		}
		b[0] ^= 1
		if err := os.Chmod(tile, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(tile, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rep := verifyDir(t, a.dir)
	if len(rep.Problems) != 1 || !strings.Contains(rep.Problems[0].What, "tile 0 of level 1") {
		t.Errorf("problems: %v", rep.Problems)
	}
}

// TestOpenPacked: beside a ledger the packed segments open, the others do not.
func TestOpenPacked(t *testing.T) {
	f := newFixture(t, Options{SegmentRows: 100})
	for i := range 250 {
		f.send(event(i))
	}
	f.packed()
	st, locked, err := store.OpenPacked(filepath.Join(f.dir, "segments"))
	if err != nil || !locked {
		t.Fatal(locked, err)
	}
	defer st.Close()
	if n := len(st.Segments()); n != len(f.l.store.Segments())-1 {
		t.Fatalf("%d segments", n)
	}
	rep, err := Audit(t.Context(), f.dir, st, AuditOptions{To: st.Next(), Search: true})
	clean(t, "packed part", rep, err)
	if rep.Rows != st.Next() {
		t.Errorf("%d rows of %d", rep.Rows, st.Next())
	}
	f.close()
	all, locked, err := store.OpenPacked(filepath.Join(f.dir, "segments"))
	if err != nil || locked {
		t.Fatal(locked, err)
	}
	if err := all.Close(); err != nil {
		t.Error(err)
	}
}
