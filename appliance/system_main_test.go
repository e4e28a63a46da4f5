//go:build linux

package appliance_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestSystem builds the program and drives it as processes, with the tools that
// are used with it: it shows what no test of a part can, above all that nothing is
// lost when the process or the disk fails. Nothing but the loopback is used.
func TestSystem(t *testing.T) {
	if testing.Short() {
		t.Skip("drives whole processes for about a minute")
	}
	bin := build(t)
	t.Run("Kill", func(t *testing.T) { testKill(t, bin) })
	t.Run("Power", func(t *testing.T) { testPower(t, bin) })
	t.Run("DiskFull", func(t *testing.T) { testDiskFull(t, bin) })
	t.Run("WriteErrors", func(t *testing.T) { testWriteErrors(t, bin) })
	t.Run("DamagedIndex", func(t *testing.T) { testDamagedIndex(t, bin) })
	t.Run("DamagedBlock", func(t *testing.T) { testDamagedBlock(t, bin) })
	t.Run("BadNeighbours", func(t *testing.T) { testBadNeighbours(t, bin) })
	t.Run("HostileLines", func(t *testing.T) { testHostileLines(t, bin) })
	t.Run("Rsyslog", func(t *testing.T) { testRsyslog(t, bin) })
}

// build makes the binary as make does.
func build(t *testing.T) string {
	t.Helper()
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("there is no go command to build the program with")
	}
	bin := filepath.Join(t.TempDir(), "custody")
	cmd := exec.Command(goTool, "build", "-o", bin, "custody")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return bin
}

// instance is a data folder with its configuration, and the process that serves it
// now. The addresses stay the same over restarts.
type instance struct {
	t                  *testing.T
	bin, dir, data     string
	http, syslog, relp string
	relp2              string // a second RELP listener, "relp2"
	tail               string // folder of the followed files, *.log*
	client             http.Client
	token              string
	proc               *process
	log                string // file with the standard error of all its processes
}

// newInstance writes a configuration with the listeners udp, tcp, relp and relp2
// and the tail app. extra is further TOML, data the folder ("" is one of its own).
func newInstance(t *testing.T, bin, data, storage string) *instance {
	t.Helper()
	dir := t.TempDir()
	s := &instance{
		t: t, bin: bin, dir: dir, data: data, http: freeAddress(t), syslog: freeAddress(t), relp: freeAddress(t), relp2: freeAddress(t),
		tail: filepath.Join(dir, "tail"), log: filepath.Join(dir, "custody.log"),
	}
	if data == "" {
		s.data = filepath.Join(dir, "data")
	}
	s.client.Timeout = 20 * time.Second
	if err := os.Mkdir(s.tail, 0o700); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`
[http]
addr = %q
[storage]
data = %q
%s
[[syslog]]
name = "udp"
network = "udp"
listen = %q
[[syslog]]
name = "tcp"
listen = %q
[[relp]]
name = "relp"
listen = %q
[[relp]]
name = "relp2"
listen = %q
[[tail]]
name = "app"
paths = [%q]
`, s.http, s.data, storage, s.syslog, s.syslog, s.relp, s.relp2, filepath.Join(s.tail, "*.log*"))
	if err := os.WriteFile(s.config(), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.proc != nil {
			s.proc.kill()
		}
		s.client.CloseIdleConnections()
		if t.Failed() {
			if b, err := os.ReadFile(s.log); err == nil {
				t.Logf("log of the server, its end:\n%s", b[max(0, len(b)-4000):])
			}
		}
	})
	return s
}

func (s *instance) config() string { return filepath.Join(s.dir, "custody.toml") }

// process is a child that cannot outlive the test.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when it has ended
	err    error         // how, once exited
}

func start(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: cmd, exited: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel ends the child with the thread that made it, so the thread waits.
		runtime.LockOSThread()
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.exited)
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("start %s: %v", cmd.Path, err)
	}
	return p
}

// kill is kill -9.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.exited
}

func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// launch starts the server and does not wait for it.
func (s *instance) launch() {
	s.t.Helper()
	f, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command(s.bin, "serve", "--config", s.config())
	cmd.Dir, cmd.Stderr = s.dir, f
	s.proc = start(s.t, cmd)
}

// await waits until the launched server answers, and makes a token at the first time.
func (s *instance) await() {
	s.t.Helper()
	eventually(s.t, 30*time.Second, "the server answers", func() error {
		if !s.proc.running() {
			b, _ := os.ReadFile(s.log)
			s.t.Fatalf("the server ended by itself: %v\n%s", s.proc.err, b[max(0, len(b)-2000):])
		}
		_, err := s.ready()
		return err
	})
	if s.token == "" {
		out, errs, code := s.run("token", "create", "--role", "admin")
		if code != 0 {
			s.t.Fatalf("token create: %s", errs)
		}
		s.token = strings.TrimSpace(out)
		if _, err := s.status(); err != nil { // its first use is written down
			s.t.Fatal(err)
		}
	}
}

func (s *instance) serve() {
	s.t.Helper()
	s.launch()
	s.await()
}

func (s *instance) kill() { s.proc.kill() }

// stop asks the server to end and fails the test unless it does so properly.
func (s *instance) stop() {
	s.t.Helper()
	s.client.CloseIdleConnections()
	if err := s.proc.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatalf("stop the server: %v", err)
	}
	select {
	case <-s.proc.exited:
		if s.proc.err != nil {
			s.t.Errorf("the stopped server: %v", s.proc.err)
		}
	case <-time.After(90 * time.Second): // what it took in before is made durable and sealed
		s.kill()
		s.t.Fatal("the server did not stop within 90 s")
	}
}

// run runs a command of the program on the data folder.
func (s *instance) run(args ...string) (stdout, stderr string, code int) {
	s.t.Helper()
	cmd := exec.Command(s.bin, append(args, "--config", s.config())...)
	var out, errs bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, &out, &errs
	p := start(s.t, cmd)
	select {
	case <-p.exited:
	case <-time.After(60 * time.Second):
		p.kill()
		s.t.Fatalf("custody %s did not end within a minute", strings.Join(args, " "))
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// verify fails the test unless the data folder of the stopped server is intact.
func (s *instance) verify() {
	s.t.Helper()
	if out, errs, code := s.run("verify", s.data); code != 0 || !strings.Contains(out, "INTACT") {
		s.t.Errorf("verify: exit code %d\n%s%s", code, out[:min(len(out), 3000)], errs)
	}
}

// ready is what /readyz says.
func (s *instance) ready() (reasons []string, err error) {
	resp, err := s.client.Get("http://" + s.http + "/readyz")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var v struct {
		Ready   bool     `json:"ready"`
		Reasons []string `json:"reasons"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&v); err != nil {
		return nil, err
	}
	want := http.StatusOK
	if !v.Ready {
		want = http.StatusServiceUnavailable
	}
	if resp.StatusCode != want || v.Ready != (len(v.Reasons) == 0) {
		return nil, fmt.Errorf("readyz: %s with %+v", resp.Status, v)
	}
	return v.Reasons, nil
}

// fetch asks the API and hands the answer's body to read.
func (s *instance) fetch(path string, params url.Values, read func(io.Reader) error) error {
	req, err := http.NewRequest(http.MethodGet, "http://"+s.http+path+"?"+params.Encode(), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		return fmt.Errorf("%s: %s: %s", path, resp.Status, b)
	}
	return read(resp.Body)
}

func (s *instance) get(path string, params url.Values, v any) error {
	return s.fetch(path, params, func(r io.Reader) error { return json.NewDecoder(r).Decode(v) })
}

type events struct{ Durable, Sealed, Searchable uint64 }

type status struct {
	Events  events
	Fault   string
	Ready   bool
	Reasons []struct{ Code, Detail string }
}

func (s *instance) status() (st status, err error) {
	err = s.get("/api/v1/status", nil, &st)
	return st, err
}

func (s *instance) count(q string) (n uint64, err error) {
	var v struct{ Count uint64 }
	err = s.get("/api/v1/count", url.Values{"q": {q}}, &v)
	return v.Count, err
}

// counted waits until a query counts n.
func (s *instance) counted(limit time.Duration, q string, n uint64) {
	s.t.Helper()
	eventually(s.t, limit, "count "+q, func() error {
		got, err := s.count(q)
		if err == nil && got != n {
			err = fmt.Errorf("%d, want %d", got, n)
		}
		return err
	})
}

// settled waits until all that is durable is sealed and searchable.
func (s *instance) settled() events {
	s.t.Helper()
	var st status
	eventually(s.t, 30*time.Second, "all is sealed and searchable", func() (err error) {
		if st, err = s.status(); err == nil && (!st.Ready || st.Events.Sealed != st.Events.Durable || st.Events.Searchable != st.Events.Durable) {
			err = fmt.Errorf("%+v", st)
		}
		return err
	})
	return st.Events
}

// row is what the tests read of a record.
type row struct {
	ID, Kind  string
	Seq       uint64
	Source    struct{ Name, Format, Error string }
	Requester struct{ ID string }
	Executor  struct{ ID string }
	Findings  []string
	Raw       string
	RawBase64 []byte `json:"raw_base64"`
	Seal      struct{ Durable, Sealed, Searchable bool }
}

func (r *row) raw() string {
	if r.RawBase64 != nil {
		return string(r.RawBase64)
	}
	return r.Raw
}

// export reads the whole result of a query.
func (s *instance) export(q string) (rows []row) {
	s.t.Helper()
	err := s.fetch("/api/v1/records.ndjson", url.Values{"q": {q}, "order": {"oldest"}}, func(r io.Reader) error {
		for d := json.NewDecoder(r); ; {
			var v row
			if err := d.Decode(&v); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			rows = append(rows, v)
		}
	})
	if err != nil {
		s.t.Fatalf("export %s: %v", q, err)
	}
	return rows
}

// eventually polls until ok returns nil.
func eventually(t *testing.T, limit time.Duration, what string, ok func() error) {
	t.Helper()
	for end := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s: %v", limit, what, err)
		}
	}
}

// freeAddress finds a loopback address that is free for TCP and UDP. It lies below
// the ports that the kernel gives to connections, so that nobody takes it while
// the server is down, not even a sender that connects to itself.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 200 {
		addr := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		u, err := net.ListenPacket("udp", addr)
		l.Close()
		if err == nil {
			u.Close()
			return addr
		}
	}
	t.Fatal("no free port")
	return ""
}
