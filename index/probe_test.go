package index

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	zap "github.com/blevesearch/zapx/v17"
	"github.com/klauspost/compress/zstd"

	"custody/index/seal"
	"custody/index/store"
	"custody/ingest/record"
)

// probe looks for the needles, whatever their case, in a data folder that nobody
// has open: in the bytes of every file (free pages too), in everything in it that
// decompresses, in every row as the store decodes it, and in every term of every
// index file. It returns needle → where it was found.
func probe(t *testing.T, dir string, needles ...string) map[string][]string {
	t.Helper()
	found := make(map[string][]string)
	look := func(where string, data []byte) {
		data = bytes.ToLower(data)
		for _, n := range needles {
			if bytes.Contains(data, []byte(strings.ToLower(n))) && !slices.Contains(found[n], where) {
				found[n] = append(found[n], where)
			}
		}
	}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		look("the name "+name, []byte(name))
		if e.IsDir() {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		look(name, data)
		eachZstd(t, data, func(plain []byte) { look("compressed in "+name, plain) })
		if filepath.Ext(path) == ".zap" {
			eachTerm(t, path, func(term []byte) { look("a term in "+name, term) })
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(filepath.Join(dir, "segments"), store.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if err := StoredRows(t.Context(), st, func(_, _ uint64, err error) { t.Error(err) },
		func(r *record.Record, _ seal.Entry, _ []seal.Unit) error {
			look("row of kind "+r.Kind.String(), r.AppendJSON(nil))
			return nil
		}); err != nil {
		t.Fatal(err)
	}
	return found
}

// eachZstd calls fn with what decompresses anywhere in data, also with whatever
// else was found in it as the dictionary.
func eachZstd(t *testing.T, data []byte, fn func(plain []byte)) {
	t.Helper()
	decode := func(at int, opts ...zstd.DOption) []byte {
		d, err := zstd.NewReader(bytes.NewReader(data[at:]), append(opts, zstd.WithDecoderConcurrency(1))...)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		plain, _ := io.ReadAll(d) // ends with an error behind the frame
		return plain
	}
	magic := []byte{0x28, 0xb5, 0x2f, 0xfd}
	var found [][]byte
	var locked []int
	for at := 0; ; at++ {
		i := bytes.Index(data[at:], magic)
		if i < 0 {
			break
		}
		at += i
		var h zstd.Header
		if h.Decode(data[at:]) == nil && h.DictionaryID != 0 {
			locked = append(locked, at)
			continue
		}
		plain := decode(at)
		found = append(found, plain)
		fn(plain)
	}
	for _, at := range locked {
		var h zstd.Header
		if h.Decode(data[at:]) != nil {
			continue
		}
		for _, dict := range found {
			if len(dict) > 8 {
				fn(decode(at, zstd.WithDecoderDictRaw(h.DictionaryID, dict)))
			}
		}
	}
}

// eachTerm calls fn for every term in the dictionaries of an index file, those of
// deleted documents too.
func eachTerm(t *testing.T, path string, fn func(term []byte)) {
	t.Helper()
	seg, err := new(zap.ZapPlugin).Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := seg.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, field := range seg.Fields() {
		dict, err := seg.Dictionary(field)
		if err != nil {
			t.Fatal(err)
		}
		for it := dict.AutomatonIterator(nil, nil, nil); ; {
			e, err := it.Next()
			if err != nil {
				t.Fatal(err)
			}
			if e == nil {
				break
			}
			fn([]byte(e.Term))
		}
	}
}

// deletedFiles lists files under dir that have no name any more but that this
// process still has open or mapped.
func deletedFiles(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	note := func(how, line string) {
		if i := strings.Index(line, dir); i >= 0 && strings.HasSuffix(line, " (deleted)") {
			out = append(out, how+" "+line[i:])
		}
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Skip("no /proc to ask: ", err)
	}
	for line := range strings.Lines(string(maps)) {
		note("mapped", strings.TrimSpace(line))
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink(filepath.Join("/proc/self/fd", fd.Name())); err == nil {
			note("open", to)
		}
	}
	return out
}
