package search

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

const nobody = 65534

// restricted runs f without root's right to ignore file modes.
func restricted(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() == 0 {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		setUser := func(id uintptr) {
			syscall.RawSyscall(syscall.SYS_SETFSUID, id, 0, 0)
			if now, _, _ := syscall.RawSyscall(syscall.SYS_SETFSUID, id, 0, 0); now != id {
				t.Skip("cannot change the file system user")
			}
		}
		setUser(nobody)
		defer setUser(0)
	}
	f()
}

// handOver makes the files those of the user that restricted acts as.
func handOver(t *testing.T, dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	for _, above := range []string{filepath.Dir(dir), filepath.Dir(filepath.Dir(dir))} {
		if err := os.Chmod(above, 0o755); err != nil { // both are this test's own
			t.Fatal(err)
		}
	}
	if err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, nobody, -1)
	}); err != nil {
		t.Fatal(err)
	}
}

func TestPermissionIsNotDamage(t *testing.T) {
	dir, states, keys := built(t)
	m := states[len(states)-1]
	handOver(t, dir)
	refused := func(what string, readOnly bool) {
		t.Helper()
		var err error
		restricted(t, func() { _, err = open(dir, fast, readOnly) })
		if !errors.Is(err, fs.ErrPermission) || errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v, want fs.ErrPermission", what, err)
		}
	}
	chmod := func(path string, mode fs.FileMode) {
		t.Helper()
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	restricted(t, func() {
		x, err := Open(dir, fast) // without the right to ignore modes, but with all others
		if err != nil {
			t.Fatal(err)
		}
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
	})
	for _, name := range append(liveFiles(t, dir), rootBolt) {
		path := filepath.Join(dir, name)
		chmod(path, 0)
		refused(name, false)
		refused(name, true)
		chmod(path, 0o600)
	}
	chmod(filepath.Join(dir, rootBolt), 0o400)
	refused("root.bolt without write permission", false)
	chmod(dir, 0)
	refused("folder", false)
	refused("folder", true)

	// Files that can only be read are enough for a reader.
	chmod(dir, 0o700)
	for _, name := range append(liveFiles(t, dir), rootBolt) {
		chmod(filepath.Join(dir, name), 0o444)
	}
	chmod(dir, 0o555)
	defer chmod(dir, 0o700)
	var x *Index
	var err error
	restricted(t, func() { x, err = OpenReadOnly(dir) })
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	if d := m.diff(x, keys); d != "" {
		t.Error(d)
	}
}
