package index

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"custody/index/seal"
	"custody/index/store"
	"custody/ingest/attribution"
	"custody/ingest/record"
)

func TestMissingCatalogueIsNoFirstStart(t *testing.T) {
	f := newFixture(t, Options{})
	f.send(event(1), event(2))
	f.close()
	path := filepath.Join(f.dir, "catalogue.db")
	if err := os.Rename(path, path+".aside"); err != nil {
		t.Fatal(err)
	}
	reg, err := attribution.New(attribution.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if l, err := Open(Options{Dir: f.dir, Registry: reg}); err == nil {
		_ = l.Close()
		t.Fatal("a folder with sealed rows was begun anew")
	} else if !strings.Contains(err.Error(), "restore") {
		t.Errorf("the error says nothing of a way out: %v", err)
	}
	if err := os.Rename(path+".aside", path); err != nil {
		t.Fatal(err)
	}
	f.open()
	if got := f.count("*"); got != 2 {
		t.Errorf("%d records after the catalogue came back", got)
	}
}

// TestRedactRowForms: whatever stands before the value, and however the line
// writes it, nothing of it is left, and the sealed entry stays the same.
func TestRedactRowForms(t *testing.T) {
	for name, c := range map[string]struct{ value, raw string }{
		"plain":            {"alice@corp.example", `{"user":"alice@corp.example"}`},
		"upper case":       {"alice@corp.example", `{"user":"Alice@Corp.Example"}`},
		"shrinking prefix": {"alice@corp.example", strings.Repeat("İ", 10) + ` user=alice@corp.example`},
		"growing prefix":   {"alice@corp.example", strings.Repeat("Ⱥ", 10) + ` user=alice@corp.example`},
		"not UTF-8":        {"alice@corp.example", "\xff\xff\xe9\xff user=alice@corp.example"},
		"json.dumps":       {"José García", `{"user":"Jos\u00e9 Garc\u00eda"}`},
		"html escapes":     {"a<b>&c d", `{"user":"a\u003cb\u003e\u0026c d"}`},
		"slashes":          {"team/alice/x", `{"user":"team\/alice\/x"}`},
		"nested JSON":      {`he said "no"`, `{"msg":"{\"user\":\"he said \\\"no\\\"\"}"}`},
		"percent":          {"alice@corp.example", `GET /u?user=alice%40corp.example HTTP/1.1`},
		"base64":           {"alice@corp.example", `auth=YWxpY2VAY29ycC5leGFtcGxl;`},
		"short":            {"bob", `{"user":"bob"}`},
		"unknown form":     {"alice@corp.example", `{"user":"ALICE at corp dot example"}`},
	} {
		t.Run(name, func(t *testing.T) {
			r := &record.Record{Kind: record.KindRecord, Received: 1, Time: 1, Raw: []byte(c.raw)}
			r.Set(record.RequesterID, c.value, "/user")
			if len(c.value) >= minFollow { // shorter ones stand elsewhere by chance
				r.Set(record.ContextPurpose, "for "+c.value+" only", "/why")
			}
			before, err := record.Parse(r.AppendJSON(nil))
			if err != nil {
				t.Fatal(err)
			}
			key := seal.NewFrameKey()
			seed := seal.RowSeed(&key, 0)
			var cm seal.Committer
			var want, got seal.Entry
			if err := cm.Commit(before, &seed, &want); err != nil {
				t.Fatal(err)
			}
			residue, err := cm.NewResidue(before, &seed)
			if err != nil {
				t.Fatal(err)
			}
			units := redactRow(r, []record.Field{record.RequesterID})
			if err := residue.Withhold(&cm, before, units...); err != nil {
				t.Fatal(err)
			}
			residue.KeepAbsence(before)
			if err := cm.CommitPartial(r, residue, &got); err != nil || got != want {
				t.Fatalf("the sealed entry changed: %v", err)
			}
			if len(r.Raw) != len(c.raw) {
				t.Errorf("the line's length changed")
			}
			line := strings.ToLower(string(r.AppendJSON(nil)))
			for _, left := range []string{"alice", "corp.", "garc", "he said", "bob", "a<b"} {
				if strings.Contains(strings.ToLower(c.value), left) && strings.Contains(line, left) {
					t.Errorf("%q is left in %s", left, line)
				}
			}
		})
	}
}

// TestRedactAmended: what an amendment says goes with the record's own value.
func TestRedactAmended(t *testing.T) {
	f := newFixture(t, Options{})
	f.send(event(1), event(2))
	p, err := f.l.Search(t.Context(), Request{Query: mustQuery(t, "action.tool:shell")})
	if err != nil || len(p.Records) != 1 {
		t.Fatal(p.Records, err)
	}
	seq := p.Records[0].Seq
	if _, err := f.l.Amend(t.Context(), seq, func(r *record.Record) {
		r.Set(record.RequesterID, "mallory@example.com", "")
	}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "sealed", func() bool { return f.l.sealedSize() == f.l.store.Next() })
	n, err := f.l.Redact(t.Context(), Redaction{
		Policy: "p", Fields: []record.Field{record.RequesterID},
		Query: mustQuery(t, "requester.id:mallory@example.com"),
	})
	if err != nil || n != 1 {
		t.Fatalf("redacted %d: %v", n, err)
	}
	for range 2 {
		if got := f.count("mallory"); got != 0 {
			t.Errorf("still found %d times", got)
		}
		assertGone(t, f, "mallory")
		f.close()
		f.open()
	}
}

// rewriteBlock edits a segment behind custody's back.
func rewriteBlock(t *testing.T, dir string, edit func(b *bolt.Bucket) error) {
	t.Helper()
	db, err := bolt.Open(filepath.Join(dir, "segments", "1", "records.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Update(func(tx *bolt.Tx) error { return edit(tx.Bucket([]byte("blocks"))) }); err != nil {
		t.Fatal(err)
	}
}

// TestInsider: whoever can write to the files, but not sign, is found out.
func TestInsider(t *testing.T) {
	forge := func(seq uint64) []byte {
		r := &record.Record{Kind: record.KindRecord, Seq: seq, Received: 1, Time: 1, Raw: []byte("forged")}
		r.ID = store.MakeID(1, 0, 1)
		enc, err := store.NewEncoder([16]byte{}, true)
		if err != nil {
			t.Fatal(err)
		}
		data, err := enc.Encode(nil, "", []*record.Record{r}, []store.SaltRun{{Rows: 1, Bytes: make([]byte, 32)}})
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	key := func(n byte) []byte { return []byte{0, 0, 0, 0, 0, 0, 0, n} }
	last := func(b *bolt.Bucket) ([]byte, []byte) {
		k, v := b.Cursor().Last()
		return append([]byte(nil), k...), append([]byte(nil), v...)
	}
	for name, edit := range map[string]func(b *bolt.Bucket) error{
		"replace": func(b *bolt.Bucket) error { return b.Put(key(0), forge(0)) },
		"delete": func(b *bolt.Bucket) error {
			k, _ := last(b)
			return b.Delete(k)
		},
		"double": func(b *bolt.Bucket) error { return b.Put(key(100), forge(1)) },
		"append": func(b *bolt.Bucket) error { return b.Put(key(200), forge(200)) },
		"flip": func(b *bolt.Bucket) error {
			k, v := last(b)
			v[len(v)/2] ^= 1
			return b.Put(k, v)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fixture{t: t, dir: t.TempDir()}
			f.open()
			f.send(event(1))
			f.send(event(2))
			f.send(event(3))
			f.close()
			rewriteBlock(t, f.dir, edit)
			st, err := store.Open(filepath.Join(f.dir, "segments"), store.Options{ReadOnly: true})
			if err != nil {
				t.Fatal(err)
			}
			defer st.Close()
			rep, err := VerifyStore(t.Context(), f.dir, st, nil)
			if err != nil {
				t.Fatal(err)
			}
			if rep.OK() {
				t.Error("went unnoticed")
			}
		})
	}
}

// TestRottenBlockIsNotShown: whatever bit flips in a block, its rows are left
// out and the others are found; nothing altered is ever shown.
func TestRottenBlockIsNotShown(t *testing.T) {
	for part := range 8 {
		f := &fixture{t: t, dir: t.TempDir()}
		f.open()
		f.send(event(1), event(2))
		f.close()
		rewriteBlock(t, f.dir, func(b *bolt.Bucket) error {
			k, v := b.Cursor().First()
			v = append([]byte(nil), v...)
			v[len(v)*(2*part+1)/16] ^= 4
			return b.Put(append([]byte(nil), k...), v)
		})
		st, err := store.Open(filepath.Join(f.dir, "segments"), store.Options{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := st.Segments()[0].View(func(tx *store.Tx) error {
			_, data := tx.Containing(0)
			if _, err := st.Segments()[0].OpenBlock(data); err == nil {
				t.Errorf("part %d: a flipped bit went unnoticed", part)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}
}
