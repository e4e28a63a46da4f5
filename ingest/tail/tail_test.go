package tail

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"
)

func zip(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestFollow(t *testing.T) {
	b := newBench(t, Config{})
	b.write("a.log", "one\r\ntwo\n\nthr")
	b.step()
	b.want("one", "two", "")
	b.write("a.log", "ee\nthree\n")
	b.step()
	b.want("one", "two", "", "three", "three")
	if b.k.offsets[4] != 16 {
		t.Fatalf("offset %d", b.k.offsets[4])
	}
	b.restart()
	b.step()
	b.write("a.log", "four\n")
	b.step()
	b.want("one", "two", "", "three", "three", "four")
	if len(b.k.cursors) != 1 {
		t.Fatalf("%d cursors for one file", len(b.k.cursors))
	}
}

func TestSmallFileKeepsIdentity(t *testing.T) {
	b := newBench(t, Config{})
	var want []string
	for i := range 200 {
		b.write("a.log", fmt.Sprintf("line %d\n", i))
		want = append(want, fmt.Sprintf("line %d", i))
		b.step()
		if i%7 == 0 {
			b.restart()
		}
	}
	b.want(want...)
	if len(b.k.cursors) != 1 {
		t.Fatalf("%d cursors", len(b.k.cursors))
	}
}

func TestRotationByRename(t *testing.T) {
	for _, glob := range []string{"a.log", "a.log*"} {
		b := newBench(t, Config{Globs: []string{glob}})
		b.write("a.log", "one\ntw")
		b.step()
		b.rename("a.log", "a.log.1")
		b.write("a.log", "new\n")
		b.step()
		b.write("a.log.1", "o\nlate") // the writer has not noticed yet
		b.step()
		b.want("one", "new", "two")
		b.settle()
		b.want("one", "new", "two", "late")
		b.restart()
		b.settle()
		b.want("one", "new", "two", "late")
	}
}

func TestRotatedWhileDown(t *testing.T) {
	b := newBench(t, Config{Globs: []string{"a.log"}})
	b.write("a.log", "one\n")
	b.step()
	b.write("a.log", "two\n")
	b.rename("a.log", "a.log.1")
	b.write("a.log", "three\n")
	b.restart()
	b.settle()
	got := b.k.got()
	sort.Strings(got)
	if strings.Join(got, " ") != "one three two" {
		t.Fatal(got)
	}
}

func TestTruncation(t *testing.T) {
	b := newBench(t, Config{})
	b.write("a.log", "one\ntwo\nthree\n")
	b.step()
	if err := os.Truncate(b.path("a.log"), 0); err != nil {
		t.Fatal(err)
	}
	b.write("a.log", "one\nagain\n")
	b.step()
	b.want("one", "two", "three", "one", "again")
	// Regrown beyond the offset between two looks.
	if err := os.WriteFile(b.path("a.log"), []byte("other\ncontent, and more of it\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.step()
	b.restart()
	b.step()
	b.want("one", "two", "three", "one", "again", "other", "content, and more of it")
}

func TestCopytruncateHole(t *testing.T) {
	b := newBench(t, Config{Globs: []string{"a.log"}})
	b.write("a.log", "one\ntwo\n")
	b.step()
	if err := os.WriteFile(b.path("a.log"), []byte("\x00\x00\x00\x00new\nx\x00y\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.step()
	b.want("one", "two", "new", "x\x00y")
	if len(b.k.gaps) != 1 || b.k.gaps[0].Reason != GapHole || b.k.gaps[0].Count != -1 {
		t.Fatalf("gaps %+v", b.k.gaps)
	}
}

func TestCompressedCopyIsKnown(t *testing.T) {
	b := newBench(t, Config{ReadGzip: true})
	b.write("a.log", "one\ntwo\n")
	b.step()
	b.write("a.log", "three\n") // written while nobody looked
	content, err := os.ReadFile(b.path("a.log"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(b.path("a.log")); err != nil {
		t.Fatal(err)
	}
	b.stop()
	b.restart()
	packed := zip(t, content)
	b.write("a.log.1.gz", string(packed[:len(packed)-9])) // gzip is at work
	b.step()
	b.write("a.log.1.gz", string(packed[len(packed)-9:]))
	b.settle()
	b.want("one", "two", "three")
	b.restart()
	b.settle()
	b.want("one", "two", "three")
}

func TestSameStartDifferentContent(t *testing.T) {
	b := newBench(t, Config{})
	head := strings.Repeat("time,level,message\n", 300)
	b.write("a.log", head+"a\n")
	b.step()
	b.write("b.log", head+"b\n")
	b.step()
	b.restart()
	b.step()
	if n := len(b.k.got()); n != 602 {
		t.Fatalf("%d lines", n)
	}
}

func TestCopyIsKnown(t *testing.T) {
	b := newBench(t, Config{})
	b.write("a.log", "one\ntwo\n")
	b.write("b.log", "one\ntwo\n") // both at first sight
	b.step()
	b.want("one", "two")
	b.write("a.log", "three\nfour\n")
	b.step()
	b.write("b.log", "three\n")
	b.step()
	b.write("b.log", "other\n")
	b.step()
	b.want("one", "two", "three", "four", "other")
}

func TestFromEnd(t *testing.T) {
	no := false
	b := newBench(t, Config{FromStart: &no})
	b.write("a.log", "old\nolder\npar")
	b.step()
	b.restart()
	b.write("a.log", "tial\nnew\n")
	b.write("later.log", "whole\n")
	b.step()
	got := b.k.got()
	sort.Strings(got)
	if strings.Join(got, " ") != "new partial whole" {
		t.Fatal(got)
	}
	f, err := os.Open(b.path("a.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	res, err := Import(t.Context(), f, "a.log", ImportConfig{Source: origin, Registry: b.tail.reg}, b.k, b.k, nil)
	if err != nil || res.Lines != 2 || res.Skipped != 2 {
		t.Fatalf("%+v %v", res, err)
	}
}

func TestMultiLine(t *testing.T) {
	b := newBench(t, Config{Start: regexp.MustCompile(`^\d`), MaxEventLines: 3})
	b.write("a.log", "1 a\n at x\n2 b\r\n at y\r\n")
	b.step()
	b.want("1 a\n at x")
	b.clock.pass(2 * time.Second)
	b.step()
	b.want("1 a\n at x", "2 b\r\n at y")
	b.write("a.log", "3\n 1\n 2\n 3\n4\nhalf")
	b.step()
	b.want("1 a\n at x", "2 b\r\n at y", "3\n 1\n 2", " 3")
	b.clock.pass(2 * time.Second)
	b.step()
	b.want("1 a\n at x", "2 b\r\n at y", "3\n 1\n 2", " 3", "4")
}

func TestLongLines(t *testing.T) {
	b := newBench(t, Config{MaxLine: 32})
	for _, n := range []int{31, 32, 33, 70_000, 1 << 20, 3<<20 + 5} {
		b.write("a.log", strings.Repeat("x", n)+"\r\n")
	}
	b.write("a.log", "end\n"+strings.Repeat("y", 2<<20))
	b.step()
	b.write("a.log", "\nz\n")
	b.step()
	got := b.k.got()
	if len(got) != 9 || got[6] != "end" || got[8] != "z" {
		t.Fatalf("%d lines", len(got))
	}
	for i, n := range []int{0, 0, 33, 70_000, 1 << 20, 3<<20 + 5, 0, 2 << 20, 0} {
		if b.k.lines[i].FullLength != n || len(got[i]) > 32 {
			t.Errorf("line %d: full length %d, want %d", i, b.k.lines[i].FullLength, n)
		}
	}
	b.restart()
	b.step()
	if len(b.k.got()) != 9 {
		t.Fatal("read again")
	}
}

func TestPermissionHeals(t *testing.T) {
	b := newBench(t, Config{})
	denied := true
	b.tail.openFile = func(p string) (*os.File, error) {
		if denied {
			return nil, &os.PathError{Op: "open", Path: p, Err: os.ErrPermission}
		}
		return os.Open(p)
	}
	b.write("a.log", "one\n")
	b.step()
	if len(b.tail.Stats().Errors) != 1 {
		t.Fatal("no error shown")
	}
	denied = false
	b.settle()
	b.want("one")
	if len(b.tail.Stats().Errors) != 0 {
		t.Fatal("error shown after it healed")
	}
}

func TestManyFilesFewOpen(t *testing.T) {
	b := newBench(t, Config{MaxOpen: 8, Globs: []string{"**/*.log"}, Exclude: []string{"/**/skip.log"}})
	for i := range 300 {
		dir := fmt.Sprintf("d%d/e", i%10)
		if err := os.MkdirAll(b.path(dir), 0o700); err != nil {
			t.Fatal(err)
		}
		b.write(fmt.Sprintf("%s/%d.log", dir, i), fmt.Sprintf("first of %d\n", i))
	}
	b.write("d0/skip.log", "no\n")
	b.settle()
	if st := b.tail.Stats(); st.Files != 300 || st.Open > 8 || st.Lines != 300 {
		t.Fatalf("%+v", st)
	}
}

func TestRefusedBatchIsReadAgain(t *testing.T) {
	b := newBench(t, Config{})
	b.k.refuse = errors.New("no room")
	b.write("a.log", "one\ntwo\n")
	b.step()
	b.want()
	b.k.refuse = nil
	b.settle()
	b.want("one", "two")
}

func TestSymlinkTurned(t *testing.T) {
	b := newBench(t, Config{Globs: []string{"cur.log"}})
	b.write("x", "one\n")
	b.write("y", "two\n")
	if err := os.Symlink("x", b.path("cur.log")); err != nil {
		t.Fatal(err)
	}
	b.step()
	if err := os.Remove(b.path("cur.log")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("y", b.path("cur.log")); err != nil {
		t.Fatal(err)
	}
	b.write("x", "late\n")
	b.settle()
	got := b.k.got()
	sort.Strings(got)
	if strings.Join(got, " ") != "late one two" {
		t.Fatal(got)
	}
}

func TestWrongKey(t *testing.T) {
	b := newBench(t, Config{})
	b.write("a.log", "one\n")
	b.step()
	b.cfg.FingerprintKey[0]++
	tl, err := New(b.cfg, b.k, b.k, quiet, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := tl.Run(t.Context()); !errors.Is(err, ErrCursor) {
		t.Fatal(err)
	}
}

// TestModel does random things to files, with crashes, and wants every line once.
func TestModel(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 2))
		b := newBench(t, Config{ReadGzip: true, MaxLine: 512})
		b.k.held = true
		want := map[string]bool{}
		n, gen := 0, 0
		lineOf := func() string {
			n++
			s := fmt.Sprintf("s%d %d %s", seed, n, strings.Repeat("p", rng.IntN(80)))
			want[s] = true
			return s
		}
		partial := ""
		for range 60 {
			switch rng.IntN(12) {
			case 0, 1, 2, 3:
				for range rng.IntN(40) {
					l := lineOf()
					b.write("a.log", l+"\n")
				}
			case 4:
				partial = lineOf()
				b.write("a.log", partial[:len(partial)/2])
				b.step()
				b.write("a.log", partial[len(partial)/2:]+"\n")
			case 5: // rotate
				if _, err := os.Stat(b.path("a.log")); err == nil {
					gen++
					b.rename("a.log", fmt.Sprintf("a.log.%d", gen))
				}
			case 6: // compress some rotation
				name := fmt.Sprintf("a.log.%d", 1+rng.IntN(gen+1))
				if c, err := os.ReadFile(b.path(name)); err == nil {
					b.write(name+".gz", string(zip(t, c)))
					b.step()
					if err := os.Remove(b.path(name)); err != nil {
						t.Fatal(err)
					}
				}
			case 7: // copy across file systems
				name := fmt.Sprintf("a.log.%d", 1+rng.IntN(gen+1))
				if c, err := os.ReadFile(b.path(name)); err == nil {
					b.write("moved-"+name, string(c))
					if err := os.Remove(b.path(name)); err != nil {
						t.Fatal(err)
					}
					b.rename("moved-"+name, name)
				}
			case 8:
				b.restart()
				b.k.held = true
			case 9:
				b.k.commit(1 + rng.IntN(3))
			default:
				b.step()
			}
		}
		b.k.held = false
		for range 8 {
			b.k.commit(1 << 30)
			b.settle()
		}
		seen := map[string]int{}
		for _, l := range b.k.got() {
			seen[l]++
			if seen[l] > 1 || !want[l] {
				t.Fatalf("seed %d: %q taken %d times, written %v", seed, l, seen[l], want[l])
			}
		}
		if len(seen) != len(want) {
			t.Fatalf("seed %d: %d of %d lines", seed, len(seen), len(want))
		}
		b.stop()
	}
}

// TestRun follows with the kernel's notifications and leaves no goroutine.
func TestRun(t *testing.T) {
	before := runtime.NumGoroutine()
	dir := t.TempDir()
	k := newLedger()
	cfg := Config{
		Globs: []string{filepath.Join(dir, "sub", "*.log")}, Source: origin, FingerprintKey: testKey, Poll: 20 * time.Second,
	}
	tl, err := New(cfg, k, k, quiet, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- tl.Run(ctx) }()
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil { // appears later
		t.Fatal(err)
	}
	b := &bench{t: t, dir: dir, k: k}
	var worst time.Duration
	for i := range 50 {
		begin := time.Now()
		b.write("sub/a.log", fmt.Sprintf("line %d\n", i))
		for len(k.got()) <= i {
			select {
			case <-k.changed:
			case <-time.After(10 * time.Second):
				t.Fatalf("line %d did not come", i)
			}
		}
		if i > 0 {
			worst = max(worst, time.Since(begin))
		}
	}
	t.Logf("slowest line %v", worst)
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if runtime.NumGoroutine() <= before {
			return
		}
		runtime.Gosched()
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("%d goroutines before, %d after", before, runtime.NumGoroutine())
}

// TestTailAndImportsAtOnce reads one growing content in five ways.
func TestTailAndImportsAtOnce(t *testing.T) {
	dir := t.TempDir()
	k := newLedger()
	k.held = true
	reg, err := NewRegistry(testKey, k)
	if err != nil {
		t.Fatal(err)
	}
	tl, err := New(Config{
		Globs: []string{filepath.Join(dir, "*.log")}, Source: origin, FingerprintKey: testKey,
		Registry: reg, Poll: 5 * time.Millisecond,
	}, k, k, quiet, nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, dir: dir, k: k}
	ctx, cancel := context.WithCancel(t.Context())
	var wg, imports sync.WaitGroup
	wg.Go(func() {
		if err := tl.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() {
		for ctx.Err() == nil {
			k.commit(1 + rand.IntN(3))
			runtime.Gosched()
		}
	})
	b.write("a.log", string(content(0, 20000)))
	for i := range 4 {
		in := content(0, 20000)
		var r io.Reader = bytes.NewReader(in)
		if i%2 == 0 {
			r = pipe{bytes.NewReader(zst(t, in))}
		}
		imports.Go(func() {
			if _, err := Import(ctx, r, "x", ImportConfig{Source: origin, Registry: reg, SpoolDir: dir}, k, k, nil); err != nil {
				t.Error(err)
			}
		})
	}
	for at := 20000; at < 25000; at += 500 {
		b.write("a.log", string(content(at, at+500)))
	}
	imports.Wait()
	b.write("a.log", "end\n")
	deadline := time.After(20 * time.Second)
	for !slices.Contains(k.got(), "end") {
		select {
		case <-k.changed:
		case <-deadline:
			t.Fatal("the tailer does not come to the end")
		}
	}
	cancel()
	wg.Wait()
	if got := strings.Join(k.got(), "\n") + "\n"; got != string(content(0, 25000))+"end\n" {
		t.Fatalf("%d lines, want 25001, each once", len(k.got()))
	}
}
