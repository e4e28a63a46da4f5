package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	bolt "go.etcd.io/bbolt"
)

func newCatalogue(t *testing.T, opts Options) (*Catalogue, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "catalogue.db")
	c, err := CreateCatalogue(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c, path
}

func holds(t *testing.T, path, text string) bool {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Contains(b, []byte(text))
}

// TestBucketsAreDeclared: an undeclared bucket is named as such, and cannot be
// written to; whoever adds one has to say what erasure means for it.
func TestBucketsAreDeclared(t *testing.T) {
	c, _ := newCatalogue(t, Options{})
	if err := c.Put("visitors", "a", []byte("b")); !errors.Is(err, ErrNoBucket) {
		t.Errorf("put: %v", err)
	}
	if err := c.db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucket([]byte("visitors"))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	if err := c.Buckets(func(name string, _ Erasure, declared bool) { seen[name] = declared }); err != nil {
		t.Fatal(err)
	}
	for name := range catalogueBuckets {
		if !seen[name] {
			t.Errorf("%s is not there or not declared", name)
		}
	}
	if declared, there := seen["visitors"]; declared || !there {
		t.Errorf("visitors: there %v, declared %v", there, declared)
	}
}

func TestCompactionErases(t *testing.T) {
	c, path := newCatalogue(t, Options{})
	put := func(bucket, key, value string) {
		t.Helper()
		if err := c.Put(bucket, key, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	due := func() bool {
		t.Helper()
		d, err := c.CompactionDue()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	put("identity", "origin", "custody/test")
	put("auth", "token/1", `{"name":"Mallory Example"}`)
	put("auth", "token/2", `{"name":"Alice Example"}`)
	if err := c.Delete("auth", "token/none"); err != nil || due() {
		t.Fatalf("nothing was deleted, compaction due: %v, %v", due(), err)
	}
	if err := c.Delete("auth", "token/1"); err != nil {
		t.Fatal(err)
	}
	if !holds(t, path, "Mallory") {
		t.Error("a deleted value is gone by itself: the test shows nothing")
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	// What is due stays due after a restart, and a left-over of an interrupted
	// compaction goes.
	if err := os.WriteFile(compactFile(path), []byte("left over"), 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := OpenCatalogue(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	c.db = again.db // the clean-up closes it
	if _, err := os.Stat(compactFile(path)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left-over: %v", err)
	}
	if !due() {
		t.Error("the restart forgot that a compaction is due")
	}
	if err := c.Compact(); err != nil {
		t.Fatal(err)
	}
	if due() || holds(t, path, "Mallory") {
		t.Error("the deleted value is there still")
	}
	for key, want := range map[string]string{"token/2": `{"name":"Alice Example"}`, "token/1": ""} {
		if v, err := c.Get("auth", key); err != nil || string(v) != want {
			t.Errorf("%s: %q, %v", key, v, err)
		}
	}
	if v, err := c.Get("identity", "origin"); err != nil || string(v) != "custody/test" {
		t.Errorf("origin: %q, %v", v, err)
	}
	if _, err := OpenCatalogue(path, Options{}); !errors.Is(err, ErrLocked) {
		t.Errorf("the new file is not locked: %v", err)
	}
	put("auth", "token/3", "written behind the swap")
}

// TestCompactionFails: a compaction that fails leaves the catalogue as it was.
func TestCompactionFails(t *testing.T) {
	full := errors.New("no space")
	c, path := newCatalogue(t, Options{OpenFile: func(name string, flag int, perm os.FileMode) (*os.File, error) {
		if strings.HasSuffix(name, ".compact") {
			return nil, full
		}
		return os.OpenFile(name, flag, perm)
	}})
	if err := errors.Join(c.Put("auth", "a", []byte("b")), c.Put("auth", "gone", []byte("x")), c.Delete("auth", "gone")); err != nil {
		t.Fatal(err)
	}
	if err := c.Compact(); !errors.Is(err, full) {
		t.Errorf("compact: %v", err)
	}
	if d, err := c.CompactionDue(); err != nil || !d {
		t.Errorf("due %v, %v", d, err)
	}
	if v, err := c.Get("auth", "a"); err != nil || string(v) != "b" {
		t.Errorf("%q, %v", v, err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

// TestCompactionUnderLoad: readers and writers never notice the swap.
func TestCompactionUnderLoad(t *testing.T) {
	c, _ := newCatalogue(t, Options{})
	const workers, rounds = 4, 50
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range rounds {
				key, want := fmt.Sprintf("%d/%d", w, i), fmt.Sprint(i)
				if err := c.Put("auth", key, []byte(want)); err != nil {
					t.Error(err)
					return
				}
				if v, err := c.Get("auth", key); err != nil || string(v) != want {
					t.Errorf("%s: %q, %v", key, v, err)
				}
				if i%2 == 0 {
					if err := c.Delete("auth", key); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	swaps := 0
	for running := true; running || swaps == 0; swaps++ {
		select {
		case <-done:
			running = false
		default:
		}
		if err := c.Compact(); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	if err := c.Each("auth", func(string, []byte) error {
		n++
		return nil
	}); err != nil || n != workers*rounds/2 {
		t.Errorf("%d values after %d swaps, %v", n, swaps, err)
	}
}
