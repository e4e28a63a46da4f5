package command

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"custody/appliance/admin"
	"custody/index/store"
)

// run runs a command and returns what it printed.
func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	code = Main(t.Context(), Env{Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errOut})
	return code, out.String(), errOut.String()
}

// serveData runs a server on a new data folder with small segments until the
// test ends, and imports lines.
func serveData(t *testing.T, lines int) (data string) {
	t.Helper()
	dir := t.TempDir()
	data = filepath.Join(dir, "data")
	config, file := filepath.Join(dir, "custody.toml"), filepath.Join(dir, "a.log")
	if err := os.WriteFile(config, []byte("[storage]\nsegment_rows = 1000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		var log bytes.Buffer
		args := []string{"serve", "--config", config, "--data", data, "--http", "127.0.0.1:0", "--syslog", "127.0.0.1:0"}
		if code := Main(ctx, Env{Args: args, Stdin: strings.NewReader(""), Stdout: &log, Stderr: &log}); code != 0 {
			t.Errorf("serve: exit code %d\n%s", code, log.String())
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	var st serverStatus
	until(t, "the server", func() bool { return admin.NewClient(data).Get(t.Context(), "/api/v1/status", nil, &st) == nil })
	for part := range 4 {
		var b strings.Builder
		for i := range lines / 4 {
			fmt.Fprintf(&b, "line %d of part %d\n", i, part)
		}
		if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, _, stderr := run(t, "import", "--data", data, file); code != 0 {
			t.Fatalf("import: %d\n%s", code, stderr)
		}
	}
	until(t, "everything to be sealed", func() bool {
		if err := admin.NewClient(data).Get(t.Context(), "/api/v1/status", nil, &st); err != nil {
			t.Fatal(err)
		}
		return st.Events.Sealed == uint64(lines)
	})
	return data
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// Packed segments are verified from the files, and the server is asked for the
// rest only: an altered packed row is found by the command itself.
func TestVerifyBesidePacked(t *testing.T) {
	data := serveData(t, 2400)
	until(t, "a packed segment", func() bool {
		_, err := os.Stat(filepath.Join(data, "segments", "1", "search.1"))
		return err == nil
	})
	var packed uint64
	until(t, "the packed segment to be swapped in", func() bool {
		st, _, err := store.OpenPacked(filepath.Join(data, "segments"))
		if err != nil {
			t.Fatal(err)
		}
		packed = st.Next()
		return st.Close() == nil && packed > 0
	})
	code, stdout, stderr := run(t, "verify", data, "--search", "--json")
	if code != 0 {
		t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
	}
	var got struct {
		Verdict      string
		By           []string
		Rows, Size   uint64
		Blocks       uint64
		IndexTerms   uint64 `json:"index_terms"`
		Notes        []any
		Checked      []string
		Tier, Origin string
	}
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatal(err)
	}
	if got.Verdict != "intact" || got.Rows != got.Size || got.Rows < 2400 || got.Blocks == 0 || got.IndexTerms == 0 || len(got.Notes) > 0 {
		t.Errorf("%s", stdout)
	}
	if by := strings.Join(got.By, "\n"); !strings.Contains(by, "this command, from the files: the log, and rows 0 to ") || !strings.Contains(by, "the running server, which alone can read them: rows ") {
		t.Errorf("by %s", by)
	}
	flipBlocks(t, filepath.Join(data, "segments", "1", "records.db"))
	code, stdout, stderr = run(t, "verify", data)
	if code != exitTampered || !strings.Contains(stdout, "problem: segment 1, seq 0") || !strings.Contains(stdout, "TAMPERED") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	if n := strings.Count(stdout, "rows are missing"); n != 1 {
		t.Errorf("found %d times:\n%s", n, stdout)
	}
}

// flipBlocks changes a bit of every block in a file, in place.
func flipBlocks(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	const into = 60
	flipped := 0
	for i := bytes.Index(b, []byte("CBK1")); i >= 0; flipped++ {
		if _, err := f.WriteAt([]byte{b[i+into] ^ 1}, int64(i+into)); err != nil {
			t.Fatal(err)
		}
		next := bytes.Index(b[i+into:], []byte("CBK1"))
		if next < 0 {
			break
		}
		i += into + next
	}
	if err := f.Close(); err != nil || flipped == 0 {
		t.Fatal(flipped, err)
	}
}

// What only the server can read is verified by the server, and its findings reach
// the command.
func TestVerifyBesideFinds(t *testing.T) {
	data := serveData(t, 40)
	flipBlocks(t, filepath.Join(data, "segments", "1", "records.db"))
	code, stdout, stderr := run(t, "verify", data, "--search")
	if code != exitTampered || !strings.Contains(stdout, "rows are missing and no sealed expiry names them") ||
		!strings.Contains(stdout, "problem: segment 1, seq 0") || !strings.Contains(stdout, "damaged block") || !strings.Contains(stdout, "what to do: ") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	if !strings.Contains(stderr, "found: ") {
		t.Errorf("nothing was told on the way: %s", stderr)
	}
}

// In use by something that answers nothing: there is no verdict.
func TestVerifyInUse(t *testing.T) {
	data := t.TempDir()
	st, err := store.Create(filepath.Join(data, "segments"), 0, 1, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}()
	if code, _, stderr := run(t, "verify", data); code != exitUnknown || !strings.Contains(stderr, "cannot verify") {
		t.Errorf("without a log: %d, %s", code, stderr)
	}
	other := serveData(t, 4)
	for _, name := range []string{"log", "keys"} {
		if err := os.CopyFS(filepath.Join(data, name), os.DirFS(filepath.Join(other, name))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(data, "keys", "signing"), 0o600); err != nil { // CopyFS widens it
		t.Fatal(err)
	}
	code, stdout, stderr := run(t, "verify", data, "--json")
	if code != exitUnknown || !strings.Contains(stderr, "no server answers") || !strings.Contains(stdout, `"verdict":"unknown"`) {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
}
