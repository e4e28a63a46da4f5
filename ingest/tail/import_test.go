package tail

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func content(from, to int) []byte {
	var b bytes.Buffer
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "line %d of a file that is imported\n", i)
	}
	return b.Bytes()
}

func zst(t *testing.T, b []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(b, nil)
}

// pipe hides that a reader can seek.
type pipe struct{ io.Reader }

func take(t *testing.T, k *ledger, r io.Reader) Result {
	t.Helper()
	res, err := Import(t.Context(), r, "x.log", ImportConfig{Source: origin, FingerprintKey: testKey, SpoolDir: t.TempDir()}, k, k, nil)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestImport(t *testing.T) {
	for _, seek := range []bool{true, false} {
		reader := func(b []byte) io.Reader {
			if seek {
				return bytes.NewReader(b)
			}
			return pipe{bytes.NewReader(b)}
		}
		k := newLedger()
		a, grown := content(0, 5000), content(0, 9000)
		steps := []struct {
			name           string
			in             []byte
			lines, skipped int64
		}{
			{"first", a, 5000, 0},
			{"again", a, 0, 5000},
			{"gzip", zip(t, a), 0, 5000},
			{"zstd grown", zst(t, grown), 4000, 5000},
			{"old again", a, 0, 5000},
			{"gzip grown", zip(t, grown), 0, 9000},
			{"departs", append(content(0, 4000), "other\n"...), 4001, 0},
			{"no newline", append(content(0, 9000), "end"...), 1, 9000},
			{"no newline again", append(content(0, 9000), "end"...), 0, 9000},
			{"empty", nil, 0, 0},
		}
		for _, s := range steps {
			res := take(t, k, reader(s.in))
			if res.Lines != s.lines || res.Skipped != s.skipped {
				t.Fatalf("%s (seek %v): %+v, want %d and %d", s.name, seek, res, s.lines, s.skipped)
			}
			k = k.crash()
		}
	}
}

func TestImportIdenticalLines(t *testing.T) {
	k := newLedger()
	b := []byte(strings.Repeat("same\n", 3000))
	if res := take(t, k, bytes.NewReader(b)); res.Lines != 3000 || res.Bytes != 15000 {
		t.Fatalf("%+v", res)
	}
}

func TestImportInterrupted(t *testing.T) {
	k := newLedger()
	in := content(0, 20000)
	for at := len(in) / 5; at < len(in); at += len(in) / 5 {
		r := io.MultiReader(bytes.NewReader(in[:at]), errReader{})
		if _, err := Import(t.Context(), r, "x", ImportConfig{Source: origin, FingerprintKey: testKey, SpoolDir: t.TempDir()}, k, k, nil); err == nil {
			t.Fatal("no error")
		}
		k = k.crash()
	}
	take(t, k, bytes.NewReader(in))
	got := strings.Join(k.got(), "\n") + "\n"
	if got != string(in) {
		t.Fatalf("%d bytes, want %d", len(got), len(in))
	}
	if len(k.cursors) != 1 {
		t.Fatalf("%d cursors", len(k.cursors))
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, fmt.Errorf("connection lost") }

func TestImportCancelled(t *testing.T) {
	k := newLedger()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Import(ctx, bytes.NewReader(content(0, 10)), "x", ImportConfig{Source: origin, FingerprintKey: testKey}, k, k, nil); err == nil {
		t.Fatal("no error")
	}
	if res := take(t, k, bytes.NewReader(content(0, 10))); res.Lines != 10 {
		t.Fatalf("%+v", res)
	}
}

func TestTailedThenImported(t *testing.T) {
	b := newBench(t, Config{})
	b.write("a.log", string(content(0, 3000)))
	b.step()
	b.write("a.log", string(content(3000, 3500)))
	all := content(0, 3500)
	cfg := ImportConfig{Source: origin, Registry: b.tail.reg}
	res, err := Import(t.Context(), bytes.NewReader(zip(t, all)), "copy.gz", cfg, b.k, b.k, nil)
	if err != nil || res.Lines != 500 || res.Skipped != 3000 {
		t.Fatalf("%+v %v", res, err)
	}
	b.step() // the tailer finds that the import was faster
	b.write("a.log", "new\n")
	b.step()
	// An older copy, while the file is there.
	if res := take(t, b.k, bytes.NewReader(content(0, 100))); res.Lines != 0 || res.Skipped != 100 {
		t.Fatalf("%+v", res)
	}
	if got := strings.Join(b.k.got(), "\n") + "\n"; got != string(all)+"new\n" {
		t.Fatalf("%d bytes, want %d", len(got), len(all)+4)
	}
}

func TestImportedThenTailed(t *testing.T) {
	b := newBench(t, Config{ReadGzip: true})
	take(t, b.k, bytes.NewReader(zst(t, content(0, 800))))
	b.write("a.log", string(content(0, 900)))
	b.write("a.log.1.gz", string(zip(t, content(0, 800))))
	b.settle()
	b.restart()
	b.settle()
	if got := strings.Join(b.k.got(), "\n") + "\n"; got != string(content(0, 900)) {
		t.Fatalf("%d bytes, want %d", len(got), len(content(0, 900)))
	}
}

func BenchmarkImport(b *testing.B) {
	line := []byte(strings.Repeat("x", 799) + "\n")
	in := bytes.Repeat(line, 100_000)
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		k := newLedger()
		res, err := Import(b.Context(), bytes.NewReader(in), "x", ImportConfig{Source: origin, FingerprintKey: testKey}, discard{}, k, nil)
		if err != nil || res.Lines != 100_000 {
			b.Fatal(res, err)
		}
	}
}

func BenchmarkFollow(b *testing.B) {
	line := []byte(strings.Repeat("x", 799) + "\n")
	in := bytes.Repeat(line, 100_000)
	if err := os.WriteFile(b.TempDir()+"/warm", in, 0o600); err != nil {
		b.Fatal(err)
	}
	path := b.TempDir() + "/a.log"
	if err := os.WriteFile(path, in, 0o600); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		k := newLedger()
		tl, err := New(Config{Globs: []string{path}, Source: origin, FingerprintKey: testKey}, discard{}, k, quiet, nil)
		if err != nil {
			b.Fatal(err)
		}
		tl.scan()
		for s := tl.next(); s != nil; s = tl.next() {
			if err := tl.serve(b.Context(), s); err != nil {
				b.Fatal(err)
			}
		}
		if tl.Stats().Lines != 100_000 {
			b.Fatal(tl.Stats())
		}
		tl.closeAll()
	}
}
