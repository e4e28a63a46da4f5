package seal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const testOrigin = "log.example.com/test"

func testKey(tb testing.TB) *Key {
	tb.Helper()
	k, err := GenerateKey(testOrigin)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// catalogue is the caller's store of checkpoints.
type catalogue struct{ signed []byte }

func (c *catalogue) size() uint64 {
	cp, err := ParseCheckpoint(c.signed)
	if err != nil {
		return 0
	}
	return cp.Size
}

func (c *catalogue) store(prev uint64, signed []byte) error {
	if got := c.size(); got != prev {
		return fmt.Errorf("catalogue has %d, not %d", got, prev)
	}
	c.signed = bytes.Clone(signed)
	return nil
}

// entryAt is a made-up entry; some have another length.
func entryAt(i uint64) []byte {
	b := bytes.Repeat([]byte{byte(i)}, EntrySize)
	binary.BigEndian.PutUint64(b, i)
	if i%97 == 5 {
		return b[:8+i%38]
	}
	return b
}

func grow(tb testing.TB, l *Log, to uint64) Checkpoint {
	tb.Helper()
	for l.Size() < to {
		if err := l.Append(entryAt(l.Size())); err != nil {
			tb.Fatal(err)
		}
	}
	cp, err := l.Sync()
	if err != nil {
		tb.Fatal(err)
	}
	return cp
}

// wantRoot computes the root with sumdb/tlog, which shares nothing with edge.
func wantRoot(tb testing.TB, size uint64) tlog.Hash {
	tb.Helper()
	var hashes []tlog.Hash
	read := tlog.HashReaderFunc(func(idx []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(idx))
		for i, x := range idx {
			out[i] = hashes[x]
		}
		return out, nil
	})
	for i := range size {
		hs, err := tlog.StoredHashes(int64(i), entryAt(i), read)
		if err != nil {
			tb.Fatal(err)
		}
		hashes = append(hashes, hs...)
	}
	h, err := tlog.TreeHash(int64(size), read)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

func verifyAll(tb testing.TB, l *Log, k *Key) {
	tb.Helper()
	n := uint64(0)
	cp, err := VerifyLog(tb.Context(), os.DirFS(l.w.dir), k.VKey(), VerifyOptions{Entry: func(i uint64, e []byte) error {
		if i != n || !bytes.Equal(e, entryAt(i)) {
			return fmt.Errorf("entry %d is %x", i, e)
		}
		n++
		return nil
	}})
	if err != nil || cp != l.Checkpoint() || n != cp.Size {
		tb.Fatalf("verified %+v with %d entries (%v), want %+v", cp, n, err, l.Checkpoint())
	}
}

// runFsck is Tessera's check of an exported folder. Its workers can hang on a
// corrupt tile unless there are as many as tiles.
func runFsck(tb testing.TB, dir, vkey string, size uint64) error {
	tb.Helper()
	v, err := note.NewVerifier(vkey)
	if err != nil {
		tb.Fatal(err)
	}
	hashes := func(b []byte) ([][]byte, error) {
		var bundle api.EntryBundle
		if err := bundle.UnmarshalText(b); err != nil {
			return nil, err
		}
		var out [][]byte
		for _, e := range bundle.Entries {
			out = append(out, rfc6962.DefaultHasher.HashLeaf(e))
		}
		return out, nil
	}
	ctx, cancel := context.WithTimeout(tb.Context(), 30*time.Second)
	defer cancel()
	f := fsck.New(testOrigin, v, client.FileFetcher{Root: dir}, hashes, fsck.Opts{N: uint(size/128) + 16})
	done := make(chan error, 1)
	go func() { done <- f.Check(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func newLog(tb testing.TB) (*Log, *Key, *catalogue, string) {
	tb.Helper()
	return newLogIn(tb, tb.TempDir())
}

func newLogIn(tb testing.TB, parent string) (*Log, *Key, *catalogue, string) {
	tb.Helper()
	k, cat, dir := testKey(tb), &catalogue{}, filepath.Join(parent, "log")
	l, err := Create(dir, testOrigin, cat.store, k)
	if err != nil {
		tb.Fatal(err)
	}
	return l, k, cat, dir
}

func rawHashes(p []tlog.Hash) [][]byte {
	out := make([][]byte, len(p))
	for i := range p {
		out[i] = p[i][:]
	}
	return out
}

func TestLogAgainstOthers(t *testing.T) {
	l, k, cat, dir := newLog(t)
	var heads []Checkpoint
	for _, size := range []uint64{0, 1, 2, 255, 256, 257, 511, 700, 5000, 65535, 65536, 65537, 66000} {
		cp := grow(t, l, size)
		heads = append(heads, cp)
		if size <= 5000 && cp.Root != wantRoot(t, size) {
			t.Fatalf("root at %d is %v", size, cp.Root)
		}
		if got, err := VerifyCheckpoint(cat.signed, k.VKey()); err != nil || got != cp {
			t.Fatalf("catalogue has %+v (%v), want %+v", got, err, cp)
		}
		if size == 257 || size == 65536 { // the same log goes on
			var err error
			if l, err = Open(dir, testOrigin, cat.signed, cat.store, k); err != nil {
				t.Fatal(err)
			}
		}
		verifyAll(t, l, k)
		out := filepath.Join(t.TempDir(), "export")
		if err := l.Export(t.Context(), out); err != nil {
			t.Fatal(err)
		}
		if err := runFsck(t, out, k.VKey(), size); size > 0 && err != nil {
			t.Fatalf("fsck at %d: %v", size, err)
		}
		if _, err := VerifyLog(t.Context(), os.DirFS(out), k.VKey(), VerifyOptions{}); err != nil {
			t.Fatalf("export at %d: %v", size, err)
		}
		if size == 700 {
			path := filepath.Join(out, "tile/0/001")
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			b[0] ^= 1
			replace(t, path, b)
			if runFsck(t, out, k.VKey(), size) == nil {
				t.Fatal("fsck passes a damaged tile: it checks nothing here")
			}
		}
	}
	testProofs(t, l.Reader(), heads)
	testProofText(t, l, k)
	testServed(t, l)
	testFolder(t, dir)
}

func testProofs(t *testing.T, r *Reader, heads []Checkpoint) {
	t.Helper()
	last := heads[len(heads)-1]
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, older := range heads {
		p, err := r.Consistency(older.Size, last)
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckConsistency(older, last, p); err != nil {
			t.Error(err)
		}
		err = proof.VerifyConsistency(rfc6962.DefaultHasher, older.Size, last.Size, rawHashes(p), older.Root[:], last.Root[:])
		if err != nil {
			t.Errorf("consistency of %d: %v", older.Size, err)
		}
		forged := older
		forged.Root[0] ^= 1
		if older.Size > 0 && CheckConsistency(forged, last, p) == nil {
			t.Errorf("a forged head of %d is consistent", older.Size)
		}
		for range min(20, int(older.Size)) {
			index := rnd.Uint64N(older.Size)
			p, err := r.Inclusion(index, older)
			if err != nil {
				t.Fatal(err)
			}
			leaf := rfc6962.DefaultHasher.HashLeaf(entryAt(index))
			if err := proof.VerifyInclusion(rfc6962.DefaultHasher, index, older.Size, leaf, rawHashes(p), older.Root[:]); err != nil {
				t.Errorf("inclusion of %d in %d: %v", index, older.Size, err)
			}
			if e, err := r.Entry(index); err != nil || !bytes.Equal(e, entryAt(index)) {
				t.Errorf("entry %d is %x (%v)", index, e, err)
			}
		}
	}
	if _, err := r.Inclusion(last.Size, last); !errors.Is(err, ErrProof) {
		t.Errorf("inclusion behind the end: %v", err)
	}
}

func testProofText(t *testing.T, l *Log, k *Key) {
	t.Helper()
	p, err := l.Reader().Prove(4711, l.Signed())
	if err != nil {
		t.Fatal(err)
	}
	p.Extra = []byte("hint")
	q, err := ParseProof(p.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if cp, err := q.Verify(entryAt(4711), k.VKey()); err != nil || cp != l.Checkpoint() {
		t.Errorf("verified %+v: %v", cp, err)
	}
	if _, err := q.Verify(entryAt(4712), k.VKey()); !errors.Is(err, ErrProof) {
		t.Errorf("another entry: %v", err)
	}
	q.Index++
	if _, err := q.Verify(entryAt(4711), k.VKey()); !errors.Is(err, ErrProof) {
		t.Errorf("another index: %v", err)
	}
	if _, err := p.Verify(entryAt(4711), testKey(t).VKey()); !errors.Is(err, ErrCheckpoint) {
		t.Errorf("another key: %v", err)
	}
	if _, err := p.Verify(entryAt(4711), k.VKey(), testKey(t).VKey()); !errors.Is(err, ErrCheckpoint) {
		t.Errorf("a second key that did not sign: %v", err)
	}
}

// Every tile of an export is what ReadTile serves, and nothing behind the end is served.
func testServed(t *testing.T, l *Log) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "export")
	if err := l.Export(t.Context(), out); err != nil {
		t.Fatal(err)
	}
	files := 0
	err := filepath.WalkDir(filepath.Join(out, "tile"), func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		want, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(out, p)
		if err != nil {
			return err
		}
		if got, err := l.Reader().ReadTile(name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is served otherwise (%v)", name, err)
		}
		return nil
	})
	if err != nil || files < 500 {
		t.Fatalf("%d files: %v", files, err)
	}
	for _, p := range []string{
		"", "tile/0", "tile/0/257", "tile/entries/258", "tile/1/001.p/9", "tile/0/0", "tile/00/000", "tile/8/000", "tile/-1/000",
		"tile/0/x000/000", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/../000", "checkpoint", "tile/2/000.p/2",
		"tile/0/x999/x999/x999/x999/x999/x999/x999/999",
	} {
		if b, err := l.Reader().ReadTile(p); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q gives %d bytes (%v)", p, len(b), err)
		}
	}
}

// Tiles can't be written to, and superseded partial ones are gone.
func testFolder(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(dir, "tile"), func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if !d.IsDir() && info.Mode().Perm() != 0o444 {
			t.Errorf("%s has mode %v", p, info.Mode())
		}
		if full, ok := strings.CutSuffix(p, ".p"); ok {
			if _, err := os.Stat(full); err == nil {
				t.Errorf("%s stands beside the full tile", p)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "tile/0")); err == nil {
		t.Error("level 0 is stored")
	}
}

func TestOpenRefuses(t *testing.T) {
	l, k, cat, dir := newLog(t)
	grow(t, l, 300)
	old := cat.signed
	other := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(other, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	grow(t, l, 600)
	open := func(name, dir, origin string, signed []byte, want error) {
		t.Helper()
		if _, err := Open(dir, origin, signed, cat.store, k); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	open("a catalogue that was rolled back", dir, testOrigin, old, ErrNewerCheckpoint)
	open("an empty catalogue", dir, testOrigin, nil, ErrCheckpoint)
	open("no folder", filepath.Join(dir, "none"), testOrigin, old, fs.ErrNotExist)
	open("another origin", dir, "other.example.com", cat.signed, ErrKey)
	if _, err := Create(dir, testOrigin, cat.store, k); !errors.Is(err, ErrExists) {
		t.Errorf("creating over a log: %v", err)
	}
	// A fork: the same log went another way, with the same key.
	forked := &catalogue{signed: old}
	f, err := Open(other, testOrigin, old, forked.store, k)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Append([]byte("something else")); err != nil {
		t.Fatal(err)
	}
	pub := filepath.Join(dir, checkpointFile)
	grow(t, f, 400)
	replace(t, pub, f.Signed())
	open("a forked checkpoint", dir, testOrigin, cat.signed, ErrFork)
	grow(t, f, 600)
	replace(t, pub, f.Signed())
	open("a forked checkpoint of the same size", dir, testOrigin, cat.signed, ErrFork)
	replace(t, pub, []byte("rubbish\n"))
	open("rubbish", dir, testOrigin, cat.signed, ErrDamaged)
	replace(t, pub, cat.signed)
	replace(t, filepath.Join(dir, tilePath(levelEntries, 2, 88)), []byte("rubbish"))
	open("a damaged right edge", dir, testOrigin, cat.signed, ErrDamaged)
}

func replace(tb testing.TB, path string, data []byte) {
	tb.Helper()
	if err := os.Remove(path); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o444); err != nil {
		tb.Fatal(err)
	}
}

func TestLogFailsForGood(t *testing.T) {
	l, k, cat, dir := newLog(t)
	grow(t, l, 10)
	fault := errors.New("no catalogue")
	l.store = func(uint64, []byte) error { return fault }
	if err := l.Append([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Sync(); !errors.Is(err, fault) {
		t.Fatalf("sync: %v", err)
	}
	if _, err := l.Sync(); !errors.Is(err, ErrLogFailed) {
		t.Errorf("sync after a failure: %v", err)
	}
	if err := l.Append(nil); !errors.Is(err, ErrLogFailed) {
		t.Errorf("append after a failure: %v", err)
	}
	if l.Checkpoint().Size != 10 {
		t.Errorf("published %d", l.Checkpoint().Size)
	}
	l, err := Open(dir, testOrigin, cat.signed, cat.store, k)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Append(make([]byte, MaxEntry+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("large entry: %v", err)
	}
	grow(t, l, 20)
	verifyAll(t, l, k)
}

// More than Append may hold in memory is written before the checkpoint.
func TestAppendBoundsMemory(t *testing.T) {
	l, k, cat, dir := newLogIn(t, memoryDir(t))
	entry := []byte("e")
	for range (maxPendingBundles + 20) * tileWidth {
		if err := l.Append(entry); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(l.pending); n >= maxPendingBundles {
		t.Errorf("%d files in memory", n)
	}
	if _, err := VerifyLog(t.Context(), os.DirFS(dir), k.VKey(), VerifyOptions{}); err != nil {
		t.Errorf("before the checkpoint: %v", err)
	}
	// What lies behind the checkpoint goes at the next start, in all folders.
	l, err := Open(dir, testOrigin, cat.signed, cat.store, k)
	if err != nil || l.Size() != 0 {
		t.Fatalf("size %d: %v", l.Size(), err)
	}
	for _, p := range []string{"tile/entries/000", "tile/entries/x001/000", "tile/entries/x004/000", "tile/1/000"} {
		if _, err := os.Stat(filepath.Join(dir, p)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there (%v)", p, err)
		}
	}
	grow(t, l, 300)
	verifyAll(t, l, k)
}

func BenchmarkAppendSync(b *testing.B) {
	l, _, _, _ := newLog(b)
	var e Entry
	buf := e.append(nil)
	const perSecond = 80000
	var before, after syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &before); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		for range perSecond {
			if err := l.Append(buf); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := l.Sync(); err != nil {
			b.Fatal(err)
		}
	}
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &after); err != nil {
		b.Fatal(err)
	}
	cpu := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
	b.ReportMetric(float64(cpu)/float64(b.N)/perSecond, "cpu-ns/entry")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/perSecond, "ns/entry")
}

func BenchmarkAppend(b *testing.B) {
	l := &Log{w: newFiles("")}
	var e Entry
	buf := e.append(nil)
	for b.Loop() {
		if err := l.Append(buf); err != nil {
			b.Fatal(err)
		}
		l.pending = l.pending[:0]
	}
}
