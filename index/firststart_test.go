package index

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"custody/ingest/attribution"
)

// A first start that was cut off left the folder of the first segment under its
// temporary name; the next one must begin again without help. A segment under its
// own name is somebody's, also when it can't be read.
func TestInterruptedFirstStart(t *testing.T) {
	leave := func(t *testing.T, name string) (dir string) {
		t.Helper()
		dir = t.TempDir()
		segment := filepath.Join(dir, "segments", name)
		if err := os.MkdirAll(segment, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(segment, "records.db"), make([]byte, 100), 0o600); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	t.Run("temporary", func(t *testing.T) {
		f := &fixture{t: t, dir: leave(t, "1.tmp")}
		f.open()
		f.close()
		f.verify()
	})
	t.Run("unreadable", func(t *testing.T) {
		dir := leave(t, "1")
		reg, err := attribution.New(attribution.Options{})
		if err != nil {
			t.Fatal(err)
		}
		l, err := Open(Options{Dir: dir, Registry: reg})
		if err == nil {
			_ = l.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "catalogue.db is missing") {
			t.Errorf("opened over a segment that can't be read: %v", err)
		}
		if _, err := os.Stat(filepath.Join(dir, "segments", "1", "records.db")); err != nil {
			t.Errorf("what was there is gone: %v", err)
		}
	})
}
