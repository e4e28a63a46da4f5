package search

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// built makes a closed index with several files and deletions, and the states it
// went through.
func built(t *testing.T) (dir string, states []*model, keys []string) {
	t.Helper()
	r := rand.New(rand.NewPCG(5, 5))
	keys = testKeys(r, 40)
	dir = filepath.Join(t.TempDir(), "search")
	x, err := Create(dir, fast)
	if err != nil {
		t.Fatal(err)
	}
	m := newModel(0)
	for i := range uint64(5) {
		docs := []Doc{randomDoc(r, i*2*MaxRows, keys), randomDoc(r, (i*2+1)*MaxRows, keys)}
		if err := x.Add(docs, (i+1)*2*MaxRows); err != nil {
			t.Fatal(err)
		}
		m.add(docs, (i+1)*2*MaxRows)
		states = append(states, m.clone())
		if err := x.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.Delete([]uint64{MaxRows}); err != nil {
		t.Fatal(err)
	}
	delete(m.blocks, MaxRows)
	states = append(states, m.clone())
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	if len(segmentFiles(t, dir)) < 3 {
		t.Fatal("too few files for the test")
	}
	return dir, states, keys
}

func segmentFiles(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.zap"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// damaged opens a copy of dir that spoil changed, both ways.
func damaged(t *testing.T, dir, name string, spoil func([]byte) []byte, check func(*Index, error)) {
	t.Helper()
	for _, readOnly := range []bool{false, true} {
		bad := filepath.Join(t.TempDir(), "bad")
		if err := os.CopyFS(bad, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(bad, name)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if data = spoil(data); data == nil {
			err = os.Remove(path)
		} else {
			err = os.WriteFile(path, data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		x, err := open(bad, fast, readOnly)
		check(x, err)
		if x != nil {
			if err := x.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// liveFiles leaves out files that no snapshot needs.
func liveFiles(t *testing.T, dir string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, rootBolt))
	if err != nil {
		t.Fatal(err)
	}
	root, err := parseBolt(data)
	if err != nil {
		t.Fatal(err)
	}
	v, err := newest(root)
	if err != nil {
		t.Fatal(err)
	}
	return v.files
}

func TestDamagedFiles(t *testing.T) {
	dir, states, keys := built(t)
	r := rand.New(rand.NewPCG(1, 2))
	mustFail := func(what string) func(*Index, error) {
		return func(_ *Index, err error) {
			t.Helper()
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("%s: %v, want ErrDamaged", what, err)
			}
		}
	}
	// A change of root.bolt may hit what means nothing, or bring back the state
	// before; then what opens must be true.
	found := 0
	mustBeTrue := func(what string) func(*Index, error) {
		return func(x *Index, err error) {
			t.Helper()
			if errors.Is(err, ErrDamaged) {
				found++
				return
			}
			if err != nil {
				t.Errorf("%s: %v", what, err)
				return
			}
			if !slices.ContainsFunc(states, func(m *model) bool { return m.diff(x, keys) == "" }) {
				t.Errorf("%s: opened in a state there never was", what)
			}
		}
	}
	for _, name := range append(liveFiles(t, dir), rootBolt) {
		damaged(t, dir, name, func([]byte) []byte { return nil }, mustFail(name+" deleted"))
		damaged(t, dir, name, func(b []byte) []byte { return make([]byte, len(b)) }, mustFail(name+" zeroed"))
		check := mustFail
		if name == rootBolt {
			check = mustBeTrue // the end of the file may be free
		}
		for _, part := range []float64{0.1, 0.5, 0.9} {
			damaged(t, dir, name, func(b []byte) []byte { return b[:int(part*float64(len(b)))] }, check(fmt.Sprint(name, " cut to ", part)))
		}
		damaged(t, dir, name, func(b []byte) []byte { return b[:0] }, mustFail(name+" emptied"))
	}
	for _, name := range liveFiles(t, dir) {
		damaged(t, dir, name, func(b []byte) []byte { return b[:len(b)-1] }, mustFail(name+" cut by one"))
		for range 20 {
			damaged(t, dir, name, func(b []byte) []byte {
				b[r.IntN(len(b))] ^= 1 << r.IntN(8)
				return b
			}, mustFail(name+" flipped"))
		}
	}
	found = 0
	flip := func(b []byte) []byte {
		for {
			if i := r.IntN(len(b)); b[i] != 0 { // the rest is mostly padding
				b[i] ^= 1 << r.IntN(8)
				return b
			}
		}
	}
	for range 300 {
		damaged(t, dir, rootBolt, flip, mustBeTrue("flip in "+rootBolt))
	}
	if found < 20 {
		t.Errorf("only %d of 600 flips were noticed", found)
	}
}

func TestMissing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	for _, readOnly := range []bool{false, true} {
		if _, err := open(dir, fast, readOnly); !errors.Is(err, ErrDamaged) {
			t.Errorf("open: %v, want ErrDamaged", err)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open created the folder: %v", err)
	}
	built, _, _ := built(t)
	if _, err := Create(built, fast); !errors.Is(err, fs.ErrExist) {
		t.Errorf("create over an index: %v, want fs.ErrExist", err)
	}
}

func TestLockIsNotDamage(t *testing.T) {
	dir, states, keys := built(t)
	m := states[len(states)-1]
	x, err := Open(dir, fast)
	if err != nil {
		t.Fatal(err)
	}
	for _, readOnly := range []bool{false, true} {
		if _, err := open(dir, fast, readOnly); !errors.Is(err, ErrLocked) || errors.Is(err, ErrDamaged) {
			t.Errorf("second handle: %v, want ErrLocked", err)
		}
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	// bbolt's own handle stands for another process: its lock is on another
	// open file as well.
	db, err := bolt.Open(filepath.Join(dir, rootBolt), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, fast); !errors.Is(err, ErrLocked) || errors.Is(err, ErrDamaged) {
		t.Errorf("locked file: %v, want ErrLocked", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	a, err := OpenReadOnly(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := OpenReadOnly(dir)
	if err != nil {
		t.Fatalf("two readers: %v", err)
	}
	defer b.Close()
	if d := m.diff(b, keys); d != "" {
		t.Error(d)
	}
	if err := b.Add(nil, 1<<40); !errors.Is(err, ErrReadOnly) {
		t.Errorf("add to a reader: %v, want ErrReadOnly", err)
	}
}

// TestParseBoltAgrees compares the reader with bbolt, on a file of many pages.
func TestParseBoltAgrees(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		if err := db.Update(func(tx *bolt.Tx) error {
			for i := range 40 {
				b, err := tx.CreateBucketIfNotExists(fmt.Appendf(nil, "bucket%d", i%7))
				if err != nil {
					return err
				}
				if b, err = b.CreateBucketIfNotExists(fmt.Appendf(nil, "%d", i)); err != nil {
					return err
				}
				for j := range i * i {
					if err := b.Put(fmt.Appendf(nil, "%d", j), make([]byte, (round+1)*j%700)); err != nil {
						return err
					}
				}
			}
			return tx.Bucket([]byte("bucket1")).DeleteBucket([]byte("1"))
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseBolt(data)
	if err != nil {
		t.Fatal(err)
	}
	if db, err = bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true}); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	items := 0
	var compare func(b *bolt.Bucket, mine *boltBucket) error
	compare = func(b *bolt.Bucket, mine *boltBucket) error {
		n := 0
		err := b.ForEach(func(k, v []byte) error {
			n++
			items++
			if v == nil {
				if mine.buckets[string(k)] == nil || mine.last < string(k) {
					return fmt.Errorf("bucket %q", k)
				}
				return compare(b.Bucket(k), mine.buckets[string(k)])
			}
			if w, ok := mine.values[string(k)]; !ok || string(w) != string(v) {
				return fmt.Errorf("key %q", k)
			}
			return nil
		})
		if err == nil && n != len(mine.values)+len(mine.buckets) {
			err = fmt.Errorf("%d items, want %d", len(mine.values)+len(mine.buckets), n)
		}
		return err
	}
	if err := db.View(func(tx *bolt.Tx) error { return compare(tx.Cursor().Bucket(), got) }); err != nil {
		t.Fatal(err)
	}
	if items < 10000 {
		t.Fatalf("only %d items", items)
	}
}

func FuzzParseBolt(f *testing.F) {
	path := filepath.Join(f.TempDir(), "db")
	db, err := bolt.Open(path, 0o600, &bolt.Options{PageSize: 1024})
	if err != nil {
		f.Fatal(err)
	}
	if err := db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucket([]byte("s"))
		if err != nil {
			return err
		}
		for i := range 60 {
			if err := b.Put(fmt.Appendf(nil, "%d", i), make([]byte, i)); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		f.Fatal(err)
	}
	db.Close()
	data, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data, uint32(1100), uint64(7))
	// Besides the fuzzer's own changes: one word anywhere, past the checksums.
	f.Fuzz(func(_ *testing.T, data []byte, at uint32, word uint64) {
		_, _ = parseBolt(data)
		if n := len(data); n >= 8 {
			native.PutUint64(data[int(at)%(n-7):], word)
			_, _ = parseBolt(data)
		}
	})
}

// TestFaultIsDamage takes the file away under an open index.
func TestFaultIsDamage(t *testing.T) {
	dir, _, keys := built(t)
	x, err := OpenReadOnly(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	for _, path := range segmentFiles(t, dir) {
		if err := os.Truncate(path, 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, k := range keys {
		if _, err = x.Postings([]byte(k), nil); err != nil {
			break
		}
	}
	if !errors.Is(err, ErrDamaged) {
		t.Fatalf("postings of a file that was cut: %v, want ErrDamaged", err)
	}
}
