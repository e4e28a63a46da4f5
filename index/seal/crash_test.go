package seal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
)

var errCrash = errors.New("crash")

// crasher ends the process, as far as the log is concerned, at the n-th step.
// Every operation has a step before it (failed and lost) and one behind it
// (failed, but on the disk).
type crasher struct {
	left  int
	trace []string
}

func (c *crasher) step(op, path string) error {
	c.trace = append(c.trace, op+" "+path)
	if c.left--; c.left < 0 {
		return errCrash
	}
	return nil
}

// scenario creates or opens a log and takes it to each of the sizes.
func scenario(dir string, cat *catalogue, k *Key, c *crasher, sizes []uint64) error {
	w := newFiles(dir)
	w.workers, w.step = 1, c.step
	var l *Log
	var err error
	if cat.signed == nil {
		l, err = create(w, testOrigin, cat.store, []note.Signer{k})
	} else {
		l, err = open(w, testOrigin, cat.signed, cat.store, []note.Signer{k})
	}
	if err != nil {
		return err
	}
	for _, size := range sizes {
		for l.Size() < size {
			if err := l.Append(entryAt(l.Size())); err != nil {
				return err
			}
		}
		if _, err := l.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// memoryDir is a folder where fsync costs nothing, if the machine has one.
func memoryDir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "seal-test-*") //nolint:usetesting // a folder of the test is on disk
	if err != nil {
		return tb.TempDir()
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Error(err)
		}
	})
	return dir
}

// A crash at every step, once before and once after the operation, and again
// during the recovery, always leads to the same log.
func TestCrashAnywhere(t *testing.T) {
	sizes := []uint64{3, 250, 300, 520, 1030, 1031}
	k := testKey(t)
	want := wantRoot(t, sizes[len(sizes)-1])
	for at := 0; ; at++ {
		dir, cat := filepath.Join(memoryDir(t), "log"), &catalogue{}
		err := scenario(dir, cat, k, &crasher{left: at}, sizes)
		if err == nil {
			if at < 100 {
				t.Fatalf("only %d steps", at)
			}
			return
		}
		if !errors.Is(err, errCrash) {
			t.Fatalf("step %d: %v", at, err)
		}
		for again := at % 7; errors.Is(err, errCrash); again = 1 << 30 {
			before := cat.size()
			// Recovery adds up from where the catalogue stands.
			rest := slices.DeleteFunc(slices.Clone(sizes), func(s uint64) bool { return s <= before })
			if err = scenario(dir, cat, k, &crasher{left: again}, rest); err != nil && !errors.Is(err, errCrash) {
				t.Fatalf("step %d, recovery: %v", at, err)
			}
		}
		l, err := Open(dir, testOrigin, cat.signed, cat.store, k)
		if err != nil {
			t.Fatalf("step %d: %v", at, err)
		}
		if cp := l.Checkpoint(); cp.Root != want {
			t.Fatalf("step %d: %+v, want root %v", at, cp, want)
		}
		verifyAll(t, l, k)
		testFolder(t, dir)
	}
}

// The order on the disk: nothing is renamed before it is synced, every touched
// folder is synced before the checkpoint is stored, and it is stored before it
// is published.
func TestOrderOfWrites(t *testing.T) {
	c := &crasher{left: 1 << 30}
	if err := scenario(filepath.Join(t.TempDir(), "log"), &catalogue{}, testKey(t), c, []uint64{250, 600}); err != nil {
		t.Fatal(err)
	}
	synced, stored := map[string]bool{}, false
	dirty := map[string]bool{}
	renamed := 0
	for _, s := range c.trace {
		op, path, _ := strings.Cut(s, " ")
		switch op {
		case "sync":
			synced[path] = true
		case "rename":
			renamed++
			if !synced[path] {
				t.Errorf("%s is renamed before it is synced", path)
			}
			delete(synced, path)
			dirty[filepath.Dir(path)] = true
			if (path == checkpointFile) != stored {
				t.Errorf("%s is renamed with the checkpoint stored: %v", path, stored)
			}
		case "mkdir":
			dirty[filepath.Dir(path)] = true
		case "syncdir":
			delete(dirty, path)
			if path == "." {
				stored = false
			}
		case "store":
			stored = true
			if len(dirty) > 0 {
				t.Errorf("stored with %v unsynced", dirty)
			}
		}
	}
	if renamed < 7 || len(dirty) > 0 {
		t.Errorf("%d renames, %v unsynced at the end", renamed, dirty)
	}
}

// Whatever is done to a file that the tree needs, the verification fails.
func TestTamperMatrix(t *testing.T) {
	l, k, _, dir := newLog(t)
	grow(t, l, 1030)
	export := filepath.Join(t.TempDir(), "export")
	if err := l.Export(t.Context(), export); err != nil {
		t.Fatal(err)
	}
	attacks := map[string]func(b, other []byte) []byte{
		"edit first":  func(b, _ []byte) []byte { b[0] ^= 1; return b },
		"edit middle": func(b, _ []byte) []byte { b[len(b)/2] ^= 0x80; return b },
		"edit last":   func(b, _ []byte) []byte { b[len(b)-1] ^= 1; return b },
		"truncate":    func(b, _ []byte) []byte { return b[:len(b)-1] },
		"empty":       func(b, _ []byte) []byte { return b[:0] },
		"append":      func(b, _ []byte) []byte { return append(b, 0, 0) },
		"delete":      func([]byte, []byte) []byte { return nil },
		"swap":        func(_, other []byte) []byte { return other },
	}
	for _, root := range []string{dir, export} {
		var names []string
		for p := range published(t, root) {
			names = append(names, p)
		}
		slices.Sort(names)
		if len(names) < 7 {
			t.Fatalf("only %d files", len(names))
		}
		for i, name := range names {
			path := filepath.Join(root, name)
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			other, err := os.ReadFile(filepath.Join(root, names[(i+1)%len(names)]))
			if err != nil {
				t.Fatal(err)
			}
			for attack, f := range attacks {
				t.Run(fmt.Sprintf("%s/%s", name, attack), func(t *testing.T) {
					defer func() {
						_ = os.Remove(path)
						if err := os.WriteFile(path, whole, 0o444); err != nil {
							t.Fatal(err)
						}
					}()
					if b := f(bytes.Clone(whole), other); b != nil {
						replace(t, path, b)
					} else if err := os.Remove(path); err != nil {
						t.Fatal(err)
					}
					if _, err := VerifyLog(t.Context(), os.DirFS(root), k.VKey(), VerifyOptions{}); err == nil {
						t.Error("not noticed")
					}
				})
			}
		}
		if _, err := VerifyLog(t.Context(), os.DirFS(root), k.VKey(), VerifyOptions{}); err != nil {
			t.Fatalf("put back: %v", err)
		}
	}
	if _, err := VerifyLog(t.Context(), os.DirFS(dir), testKey(t).VKey(), VerifyOptions{}); !errors.Is(err, ErrCheckpoint) {
		t.Errorf("another key: %v", err)
	}
}

// published lists the published files below root.
func published(t *testing.T, root string) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	err := filepath.WalkDir(root, func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			name, _ := filepath.Rel(root, p)
			out[name] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
