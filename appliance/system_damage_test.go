//go:build linux

package appliance_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

// damaged is a stopped instance with several segments of known records.
func damaged(t *testing.T, bin string, records int) *instance {
	t.Helper()
	s := newInstance(t, bin, "", "segment_rows = 2000")
	s.serve()
	if _, errs, code := s.run("import", importFile(t, s, "item", records)); code != 0 {
		t.Fatalf("import: %s", errs)
	}
	s.settled()
	s.stop()
	return s
}

// files lists the files below dir.
func files(t *testing.T, dir string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// testDamagedIndex damages every segment's search index in one way each: the next
// start builds it anew, and searches are right at once.
func testDamagedIndex(t *testing.T, bin string) {
	const records = 12_000
	s := damaged(t, bin, records)
	damages := []struct {
		name string
		file func(path string, size int64) error
	}{
		{"gone", func(path string, _ int64) error { return os.Remove(path) }},
		{"empty", func(path string, _ int64) error { return os.Truncate(path, 0) }},
		{"cut off", func(path string, size int64) error { return os.Truncate(path, size/2) }},
		{"zeroed", func(path string, size int64) error { overwrite(t, path, 0, make([]byte, size)); return nil }},
		{"garbage", func(path string, size int64) error {
			overwrite(t, path, size/4, bytes.Repeat([]byte("garbage!"), int(size)/16))
			return nil
		}},
	}
	indexes, err := filepath.Glob(filepath.Join(s.data, "segments", "*", "search*"))
	if err != nil || len(indexes) < len(damages) {
		t.Fatalf("search indexes: %q, %v; at least %d are needed", indexes, err, len(damages))
	}
	for i, dir := range indexes {
		d := damages[i%len(damages)]
		for _, path := range files(t, dir) {
			info, err := os.Stat(path)
			if err == nil {
				err = os.Chmod(path, 0o600)
			}
			if err == nil {
				err = d.file(path, info.Size())
			}
			if err != nil {
				t.Fatalf("%s: %v", d.name, err)
			}
		}
		t.Logf("%s: %s", filepath.Base(filepath.Dir(dir)), d.name)
	}
	s.serve()
	check := func() {
		t.Helper()
		for q, want := range map[string]uint64{
			"*": records, "action.tool:shell": records / 3, "agent-1 AND kv": 0, `"for item 11999"`: 1, "item0": 1, "chain.request_id:item8123": 1, "nothing": 0,
		} {
			if n, err := s.count(q); err != nil || n != want {
				t.Errorf("count %s = %d, %v; want %d", q, n, err, want)
			}
		}
	}
	check()
	s.settled()
	check()
	if n := len(s.export("item*")); n != records {
		t.Errorf("the export has %d records", n)
	}
	s.stop()
	s.verify()
	again, err := filepath.Glob(filepath.Join(s.data, "segments", "*", "search*", "*"))
	if err != nil || len(again) < len(indexes) {
		t.Errorf("the indexes were not built anew: %q, %v", again, err)
	}
}

// testDamagedBlock turns one bit of a stored block: verify reports the range, and
// the server has all others, none of them changed.
func testDamagedBlock(t *testing.T, bin string) {
	const records = 6000
	s := damaged(t, bin, records)
	s.verify()
	s.serve()
	before := map[uint64]string{}
	for _, r := range s.export("*") {
		before[r.Seq] = r.ID + r.raw()
	}
	s.stop()

	path := filepath.Join(s.data, "segments", "1", "records.db")
	block := largestValue(t, path)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(content, block)
	if at < 0 || len(block) < 1000 {
		t.Fatalf("a block of %d bytes is at %d", len(block), at)
	}
	for _, place := range damagedPlaces(len(block)) {
		t.Run(fmt.Sprintf("byte %d of %d", place, len(block)), func(t *testing.T) {
			overwrite(t, path, int64(at+place), []byte{block[place] ^ 0x10})
			out, errs, code := s.run("verify", s.data)
			if code != 1 || !strings.Contains(out, "TAMPERED") {
				t.Errorf("verify: exit code %d\n%s%s", code, out, errs)
			}
			named := spans(t, out)
			s.serve()
			left := map[uint64]bool{}
			changed := 0
			for _, r := range s.export("*") {
				left[r.Seq] = true
				if before[r.Seq] != r.ID+r.raw() {
					if changed++; changed == 1 {
						t.Errorf("seq %d is shown as %q, was %q", r.Seq, r.ID+r.raw(), before[r.Seq])
					}
				}
			}
			lost := 0
			for seq := range before {
				if left[seq] {
					continue
				}
				lost++
				if !slices.ContainsFunc(named, func(s [2]uint64) bool { return s[0] <= seq && seq <= s[1] }) {
					t.Fatalf("seq %d is not found, and verify does not name it", seq)
				}
			}
			if lost > 2000 || changed > 0 {
				t.Errorf("of %d records %d are not found, %d are shown changed", records, lost, changed)
			}
			t.Logf("%d of %d records are lost with the block; %s", lost, records, strings.SplitN(out, "\n", 2)[0])
			s.counted(10*time.Second, "item5999", 1)
			s.stop()
			overwrite(t, path, int64(at+place), block[place:place+1])
			s.verify()
		})
	}
}

// damagedPlaces are the bytes that are damaged in turn: the magic and the header.
func damagedPlaces(size int) []int { return []int{0, 9} }

// overwrite writes b into the file.
func overwrite(t *testing.T, path string, from int64, b []byte) {
	t.Helper()
	err := os.Chmod(path, 0o600)
	if err == nil {
		var f *os.File
		if f, err = os.OpenFile(path, os.O_WRONLY, 0); err == nil {
			_, err = f.WriteAt(b, from)
			err = errors.Join(err, f.Close())
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// largestValue finds the largest value of a bbolt file.
func largestValue(t *testing.T, path string) (value []byte) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var walk func(b *bbolt.Bucket) error
	walk = func(b *bbolt.Bucket) error {
		return b.ForEach(func(k, v []byte) error {
			if v == nil {
				return walk(b.Bucket(k))
			}
			if len(v) > len(value) {
				value = bytes.Clone(v)
			}
			return nil
		})
	}
	if err := db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error { return walk(b) })
	}); err != nil {
		t.Fatal(err)
	}
	return value
}

// spans reads the ranges of seqs that verify names.
func spans(t *testing.T, out string) (spans [][2]uint64) {
	t.Helper()
	for _, m := range regexp.MustCompile(`(?m)^problem: seq (\d+)(?: to (\d+))?:`).FindAllStringSubmatch(out, -1) {
		from, err := strconv.ParseUint(m[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		to := from
		if m[2] != "" {
			if to, err = strconv.ParseUint(m[2], 10, 64); err != nil {
				t.Fatal(err)
			}
		}
		spans = append(spans, [2]uint64{from, to})
	}
	return spans
}
