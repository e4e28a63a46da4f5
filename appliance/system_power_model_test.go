//go:build linux

package appliance_test

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestPowerModel holds the model of the disk against little programs: what they
// forget to sync must be seen to get lost, and what they sync never.
func TestPowerModel(t *testing.T) {
	const openF = `1 openat(AT_FDCWD, "/d/f", O_WRONLY|O_CREAT|O_CLOEXEC, 0600) = 3
`
	const replace = `1 openat(AT_FDCWD, "/d/f", O_WRONLY|O_CREAT|O_CLOEXEC, 0600) = 3
1 write(3, "old", 3) = 3
1 fsync(3) = 0
1 openat(AT_FDCWD, "/d", O_RDONLY|O_CLOEXEC) = 4
1 fsync(4) = 0
1 openat(AT_FDCWD, "/d/t", O_WRONLY|O_CREAT|O_CLOEXEC, 0600) = 5
1 write(5, "new", 3) = 3
`
	sectors := func(c string) string { return strings.Repeat(c, sector) }
	tests := []struct {
		name, trace string
		// All that may be there after a cut at the end, as path=content: strict, and
		// with a journal where that is not the same.
		strict, journal []string
	}{
		{
			name: "nothing synced", trace: openF + `1 write(3, "new", 3) = 3`,
			strict: []string{"", "f=", "f=\x00\x00\x00", "f=new"},
		},
		{
			name: "the file synced, its name not", trace: openF + `1 write(3, "new", 3) = 3
1 fsync(3) = 0`,
			strict: []string{"", "f=new"}, journal: []string{"f=new"},
		},
		{
			name: "the name synced, the file not", trace: openF + `1 write(3, "new", 3) = 3
1 openat(AT_FDCWD, "/d", O_RDONLY|O_CLOEXEC) = 4
1 fsync(4) = 0`,
			strict: []string{"f=", "f=\x00\x00\x00", "f=new"},
		},
		{
			name: "a sync that failed", trace: openF + `1 write(3, "new", 3) = 3
1 fsync(3) = -1 EIO (Input/output error)`,
			strict: []string{"", "f=", "f=\x00\x00\x00", "f=new"},
		},
		{
			name: "a sync that began before the write", trace: openF + `1 openat(AT_FDCWD, "/d", O_RDONLY|O_CLOEXEC) = 4
1 fsync(4) = 0
1 fdatasync(3 <unfinished ...>
2 pwrite64(3, "new", 3, 0) = 3
1 <... fdatasync resumed>) = 0`,
			strict: []string{"f=", "f=\x00\x00\x00", "f=new"},
		},
		{
			name: "all synced", trace: openF + `1 write(3, "new", 3) = 3
1 fsync(3) = 0
1 openat(AT_FDCWD, "/d", O_RDONLY|O_CLOEXEC) = 4
1 fsync(4) = 0`,
			strict: []string{"f=new"},
		},
		{
			name: "replaced without any sync", trace: replace + `1 rename("/d/t", "/d/f") = 0`,
			strict: []string{
				"f=old", "f=", "f=\x00\x00\x00", "f=new",
				"f=old t=", "f=old t=\x00\x00\x00", "f=old t=new",
			},
			journal: []string{"f=old", "f=", "f=\x00\x00\x00", "f=new", "f=old t=", "f=old t=\x00\x00\x00", "f=old t=new"},
		},
		{
			name: "replaced, the file synced", trace: replace + `1 fsync(5) = 0
1 renameat(AT_FDCWD, "/d/t", AT_FDCWD, "/d/f") = 0`,
			strict: []string{"f=old", "f=new", "f=old t=new"}, journal: []string{"f=new", "f=old t=new"},
		},
		{
			name: "replaced, the folder synced, the file not", trace: replace + `1 renameat(AT_FDCWD, "/d/t", AT_FDCWD, "/d/f") = 0
1 fsync(4) = 0`,
			strict: []string{"f=", "f=\x00\x00\x00", "f=new"},
		},
		{
			name: "replaced as it should be", trace: replace + `1 fsync(5) = 0
1 renameat(AT_FDCWD, "/d/t", AT_FDCWD, "/d/f") = 0
1 fsync(4) = 0`,
			strict: []string{"f=new"},
		},
		{
			name: "removed without a sync", trace: replace + `1 unlinkat(AT_FDCWD, "/d/t", 0) = 0
1 unlinkat(4, "f", 0) = 0`,
			strict:  []string{"", "f=old", "t=", "t=\x00\x00\x00", "t=new", "f=old t=", "f=old t=\x00\x00\x00", "f=old t=new"},
			journal: []string{"", "f=old", "f=old t=", "f=old t=\x00\x00\x00", "f=old t=new"},
		},
		{
			name: "in a folder whose name is not synced", trace: `1 mkdirat(AT_FDCWD, "/d/a", 0700) = 0
1 openat(AT_FDCWD, "/d/a/f", O_WRONLY|O_CREAT|O_CLOEXEC, 0600) = 3
1 write(3, "new", 3) = 3
1 fsync(3) = 0
1 openat(AT_FDCWD, "/d/a", O_RDONLY|O_CLOEXEC) = 4
1 fsync(4) = 0`,
			strict: []string{"", "a/f=new"}, journal: []string{"a/f=new"},
		},
		{
			name: "a folder renamed into place", trace: `1 mkdirat(AT_FDCWD, "/d/a.tmp", 0700) = 0
1 openat(AT_FDCWD, "/d/a.tmp/f", O_WRONLY|O_CREAT|O_CLOEXEC, 0600) = 3
1 write(3, "new", 3) = 3
1 fsync(3) = 0
1 openat(AT_FDCWD, "/d/a.tmp", O_RDONLY|O_CLOEXEC) = 4
1 fsync(4) = 0
1 renameat(AT_FDCWD, "/d/a.tmp", AT_FDCWD, "/d/a") = 0
1 openat(AT_FDCWD, "/d", O_RDONLY|O_CLOEXEC) = 5
1 fsync(5) = 0`,
			strict: []string{"a/f=new"},
		},
		{
			name: "torn between sectors", trace: openF + `1 write(3, "` + sectors("a") + sectors("b") + `", 1024) = 1024
1 fsync(3) = 0
1 openat(AT_FDCWD, "/d", O_RDONLY|O_CLOEXEC) = 4
1 fsync(4) = 0
1 pwrite64(3, "` + sectors("c") + sectors("d") + `", 1024, 0) = 1024`,
			strict: []string{
				"f=" + sectors("a") + sectors("b"), "f=" + sectors("a") + sectors("d"),
				"f=" + sectors("c") + sectors("b"), "f=" + sectors("c") + sectors("d"),
			},
		},
		{
			name: "cut off, and not synced", trace: openF + `1 write(3, "old", 3) = 3
1 fsync(3) = 0
1 openat(AT_FDCWD, "/d", O_RDONLY|O_CLOEXEC) = 4
1 fsync(4) = 0
1 ftruncate(3, 1) = 0`,
			strict: []string{"f=old", "f=o"},
		},
		{
			name: "a descriptor that another thread gets while it is closed", trace: openF + `1 close(3 <unfinished ...>
2 openat(AT_FDCWD, "/d/g", O_WRONLY|O_CREAT|O_CLOEXEC, 0600) = 3
1 <... close resumed>) = 0
2 write(3, "new", 3) = 3
2 fsync(3) = 0
2 openat(AT_FDCWD, "/d", O_RDONLY|O_CLOEXEC) = 4
2 fsync(4) = 0`,
			strict: []string{"f= g=new"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.journal == nil {
				tt.journal = tt.strict
			}
			for journal, want := range map[bool][]string{false: tt.strict, true: tt.journal} {
				d := newDisk("/d", journal)
				if err := d.follow(tt.trace); err != nil {
					t.Fatal(err)
				}
				seen := map[string]bool{}
				rng := rand.New(rand.NewPCG(1, 2))
				dir := t.TempDir()
				for i := range 150 {
					l := losses{float64(i%6) / 5, float64(i/6%6) / 5}
					folder := filepath.Join(dir, strconv.Itoa(i))
					if err := d.cut(folder, rng, l); err != nil {
						t.Fatal(err)
					}
					seen[listing(t, folder)] = true
				}
				slices.Sort(want)
				if got := slices.Sorted(maps.Keys(seen)); !slices.Equal(got, want) {
					t.Errorf("journal %t: seen\n%.300q, want\n%.300q", journal, got, want)
				}
			}
		})
	}
}

// follow takes a trace that was written by hand.
func (d *disk) follow(trace string) error {
	open, _, err := readTrace(strings.NewReader(trace+"\n"), 0, func(c *sysCall) error { d.began(c); return nil }, d.ended)
	if err == nil && len(open) > 0 {
		err = errors.New("calls are left open")
	}
	return err
}

// listing is the files of a folder, path=content.
func listing(t *testing.T, folder string) string {
	t.Helper()
	var all []string
	err := fs.WalkDir(os.DirFS(folder), ".", func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(filepath.Join(folder, p))
		all = append(all, fmt.Sprintf("%s=%s", p, b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

// TestPowerModelRefuses: what the model does not know must not pass for nothing.
func TestPowerModelRefuses(t *testing.T) {
	const openF = `1 openat(AT_FDCWD, "/d/f", O_RDWR|O_CREAT|O_CLOEXEC, 0600) = 3
`
	for _, trace := range []string{
		openF + `1 writev(3, [{iov_base="x", iov_len=1}], 1) = 1`,
		openF + `1 mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED, 3, 0) = 0x7f0000000000`,
		openF + `1 write(3, "x"..., 100) = 100`,
		openF + `1 fallocate(3, 0, 0, 100) = 0`,
		`1 symlinkat("/x", AT_FDCWD, "/d/l") = 0`,
		`1 openat(AT_FDCWD, "/d/f", O_RDONLY) = 3`,
		`1 renameat(AT_FDCWD, "/d/f", AT_FDCWD, "/elsewhere") = 0`,
		`1 io_uring_setup(8, {flags=0}) = 3`,
		`1 <... fsync resumed>) = 0`,
		`1 nonsense`,
	} {
		if err := newDisk("/d", false).follow(trace); err == nil {
			t.Errorf("the model takes %q", trace)
		}
	}
	// What is done elsewhere does not matter.
	if err := newDisk("/d", false).follow(`1 symlinkat("/x", AT_FDCWD, "/e/l") = 0
1 openat(AT_FDCWD, "/e/f", O_RDWR|O_CREAT|O_CLOEXEC, 0600) = 3
1 writev(3, [{iov_base="x", iov_len=1}], 1) = 1`); err != nil {
		t.Error(err)
	}
}
