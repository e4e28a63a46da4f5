//go:build linux

package appliance_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// workload is a file, RELP and TCP at once, and what must be there of them.
type workload struct {
	s      *instance
	l      *load
	tailed *int
	relp   *relpSender
}

func startWork(s *instance, rate int) *workload {
	w := &workload{s: s, l: newLoad(s.t)}
	w.tailed = w.l.appendFile(s.tail, "tail", rate, rand.New(rand.NewPCG(1, 2)))
	w.relp = w.l.sendRELP(s.relp, "relp", rate)
	w.l.sendTCP(s.syslog, "tcp", rate)
	return w
}

// finish ends the load, waits until all has arrived, kills the server, and checks
// what the next one finds.
func (w *workload) finish() {
	s, t := w.s, w.s.t
	t.Helper()
	w.l.end()
	if n := w.relp.pending(); n > 0 {
		t.Fatalf("RELP: %d events without an answer", n)
	}
	s.counted(30*time.Second, "source.name:app", uint64(*w.tailed))
	st, err := s.status()
	if err != nil {
		t.Fatal(err)
	}
	s.kill()
	s.serve()
	if after := s.settled(); after.Durable < st.Events.Durable {
		t.Errorf("%d events are durable, %d were before the kill", after.Durable, st.Events.Durable)
	}
	got := map[string]map[int]int{"tail": {}, "relp": {}, "tcp": {}}
	for _, r := range s.export("*") {
		kind, line := r.Source.Name, syslogEvent
		if kind == "app" {
			kind, line = "tail", event
		}
		n, ok := number(kind, r.raw())
		if !ok || r.raw() != line(kind, n) {
			t.Fatalf("seq %d of %s is no line that was sent: %q", r.Seq, kind, r.raw())
		}
		got[kind][n]++
	}
	once(t, "tail", got["tail"], *w.tailed, true)
	// No connection broke, so that nothing was sent twice.
	once(t, "relp", got["relp"], w.relp.sent, true)
	once(t, "tcp", got["tcp"], len(got["tcp"]), true)
	t.Logf("%d tailed, %d RELP, %d TCP", *w.tailed, w.relp.sent, len(got["tcp"]))
	s.stop()
	s.verify()
}

// notReady waits until /readyz says so for the reason, and the status tells why.
func (s *instance) notReady(reason, detail string) {
	s.t.Helper()
	eventually(s.t, 20*time.Second, "not ready because of "+reason, func() error {
		reasons, err := s.ready()
		if err != nil {
			return err
		}
		if !slices.Contains(reasons, reason) {
			return fmt.Errorf("reasons %q", reasons)
		}
		st, err := s.status()
		if err == nil && (st.Ready || !strings.Contains(st.Fault, detail)) {
			err = fmt.Errorf("%+v", st)
		}
		return err
	})
}

// readyAgain waits until nothing is wrong and RELP is acknowledged again.
func (w *workload) readyAgain() {
	w.s.t.Helper()
	before := w.relp.ackedNow()
	eventually(w.s.t, 20*time.Second, "ready again, and going on", func() error {
		reasons, err := w.s.ready()
		if err == nil && (len(reasons) > 0 || w.relp.ackedNow() <= before+relpWindow) {
			err = fmt.Errorf("reasons %q, %d acknowledged since", reasons, w.relp.ackedNow()-before)
		}
		return err
	})
}

// testDiskFull fills the data disk under load, down to the reserve and down to the
// last byte, and makes room again.
func testDiskFull(t *testing.T, bin string) {
	for _, tt := range []struct {
		name, storage string
		spare         int64 // bytes that the ballast leaves to the server
	}{
		{"reserve", `reserve = "16MiB"`, 20 << 20},
		{"last byte", "reserve = 1", 2 << 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			disk := filepath.Join(t.TempDir(), "disk")
			if err := os.Mkdir(disk, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=96m"); err != nil {
				t.Skipf("a small file system cannot be mounted here: %v", err)
			}
			t.Cleanup(func() {
				if err := syscall.Unmount(disk, syscall.MNT_DETACH); err != nil {
					t.Errorf("unmount: %v", err)
				}
			})
			s := newInstance(t, bin, filepath.Join(disk, "data"), "segment_rows = 5000\n"+tt.storage)
			s.serve()
			w := startWork(s, 2000)
			eventually(t, 10*time.Second, "some is acknowledged", func() error {
				if n := w.relp.ackedNow(); n < 1000 {
					return fmt.Errorf("%d", n)
				}
				return nil
			})
			ballast := filepath.Join(disk, "ballast")
			fill(t, ballast, disk, tt.spare)
			s.notReady("store", "no space")
			if !s.proc.running() {
				t.Fatalf("the server ended: %v", s.proc.err)
			}
			// What is there can be searched meanwhile.
			if n, err := s.count("source.name:relp"); err != nil || n < uint64(w.relp.ackedNow()) {
				t.Errorf("count on the full disk: %d, %v; %d were acknowledged", n, err, w.relp.ackedNow())
			}
			if err := os.Remove(ballast); err != nil {
				t.Fatal(err)
			}
			w.readyAgain()
			w.finish()
		})
	}
}

// fill writes a file that leaves spare bytes free on the disk.
func fill(t *testing.T, path, disk string, spare int64) {
	t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(disk, &st); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := bytes.Repeat([]byte{'x'}, 64<<10)
	for left := int64(st.Bavail)*st.Bsize - spare; left > 0; left -= int64(len(block)) {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			return // the server was faster
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// testWriteErrors lets the server's system calls fail for a while.
func testWriteErrors(t *testing.T, bin string) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed")
	}
	for _, tt := range []struct{ name, calls, errno, detail string }{
		{"sync", "fdatasync,fsync", "EIO", "input/output error"},
		{"write", "pwrite64", "ENOSPC", "no space"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newInstance(t, bin, "", "segment_rows = 2000")
			s.serve()
			w := startWork(s, 2000)
			// All calls fail; then every second one, as when only the second sync of a
			// transaction fails and it has reached the disk all the same; then every fifth.
			for _, when := range []string{"1+", "2+2", "1+5"} {
				failures := s.logged("commit failed")
				injected := inject(t, strace, s.proc.cmd.Process.Pid, tt.calls, tt.errno, when)
				if when == "1+" {
					s.notReady("store", tt.detail)
				}
				eventually(t, 20*time.Second, "commits fail", func() error {
					if n := s.logged("commit failed") - failures; n < 3 {
						return fmt.Errorf("%d did", n)
					}
					return nil
				})
				injected()
				w.readyAgain()
			}
			w.finish()
		})
	}
}

// logged counts the lines of the server's log with the text.
func (s *instance) logged(text string) int {
	b, err := os.ReadFile(s.log)
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.Count(string(b), text)
}

// inject makes the calls of the process fail until the returned function is called.
func inject(t *testing.T, strace string, pid int, calls, errno, when string) (end func()) {
	t.Helper()
	var out lockedBuffer
	cmd := exec.Command(strace, "-f", "-o", "/dev/null", "-p", fmt.Sprint(pid), "-e", "trace="+calls, "-e", "inject="+calls+":error="+errno+":when="+when)
	cmd.Stderr = &out
	p := start(t, cmd)
	t.Cleanup(p.kill)
	eventually(t, 10*time.Second, "strace is attached", func() error {
		if !p.running() {
			if strings.Contains(out.String(), "not permitted") {
				t.Skipf("strace may not attach here: %s", out.String())
			}
			t.Fatalf("strace ended: %s", out.String())
		}
		if !strings.Contains(out.String(), "attached") {
			return errors.New(out.String())
		}
		return nil
	})
	return func() {
		t.Helper()
		_ = p.cmd.Process.Signal(syscall.SIGINT) // it detaches
		select {
		case <-p.exited:
		case <-time.After(10 * time.Second):
			t.Fatal("strace does not detach")
		}
	}
}

// lockedBuffer may be read while a process writes to it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
