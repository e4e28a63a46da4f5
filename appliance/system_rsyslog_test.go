//go:build linux

package appliance_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// rsyslog is a running rsyslogd.
type rsyslog struct {
	in   net.Conn // a socket that it reads from and never drops of
	proc *process
	mu   sync.Mutex
	n    int
	end  func()
}

// findRsyslog says where rsyslogd is, or why there is none.
func findRsyslog(module string) (path, missing string) {
	path, err := exec.LookPath("rsyslogd")
	if err != nil {
		path = "/usr/sbin/rsyslogd"
	}
	if _, err := os.Stat(path); err != nil {
		return "", "rsyslogd is not installed"
	}
	if found, _ := filepath.Glob("/usr/lib/*/rsyslog/" + module + ".so"); module != "" && len(found) == 0 {
		return "", "rsyslogd has no " + module
	}
	return path, ""
}

// startRsyslog runs rsyslogd with the actions.
func startRsyslog(t *testing.T, path, actions string) *rsyslog {
	t.Helper()
	dir := t.TempDir()
	socket, conf, out := filepath.Join(dir, "in"), filepath.Join(dir, "conf"), filepath.Join(dir, "out")
	text := fmt.Sprintf(`
global(workDirectory=%q maxMessageSize="64k")
main_queue(queue.type="linkedList" queue.size="200000" queue.timeoutEnqueue="60000" queue.timeoutShutdown="1")
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket=%q RateLimit.Interval="0")
%s
`, dir, socket, actions)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := exec.Command(path, "-n", "-iNONE", "-f", conf)
	cmd.Stdout, cmd.Stderr = f, f
	r := &rsyslog{proc: start(t, cmd), end: func() {}}
	t.Cleanup(func() {
		r.proc.kill()
		if b, err := os.ReadFile(out); err == nil && t.Failed() {
			t.Logf("rsyslogd: %s", b)
		}
	})
	eventually(t, 20*time.Second, "rsyslogd listens", func() (err error) {
		r.in, err = net.Dial("unixgram", socket)
		return err
	})
	t.Cleanup(func() { r.in.Close() })
	return r
}

// startRsyslogIf feeds rate events a second of the kind rsyslog to relp2 through
// rsyslogd and its omrelp; without them it does nothing.
func startRsyslogIf(t *testing.T, s *instance, rate int) *rsyslog {
	path, missing := findRsyslog("omrelp")
	if missing != "" {
		t.Log("without rsyslog: " + missing)
		return &rsyslog{end: func() {}}
	}
	_, port, _ := net.SplitHostPort(s.relp2)
	r := startRsyslog(t, path, fmt.Sprintf(`module(load="omrelp")
action(type="omrelp" target="127.0.0.1" port=%q action.resumeRetryCount="-1" action.resumeInterval="1" template="RSYSLOG_SyslogProtocol23Format")`, port))
	l := newLoad(t)
	l.wg.Go(func() {
		p := pace{rate: rate}
		for p.wait(l.ctx) {
			r.mu.Lock()
			n := r.n
			r.n++
			r.mu.Unlock()
			if _, err := r.in.Write([]byte("<13>Nov 23 10:00:00 agent: " + event("rsyslog", n))); err != nil {
				t.Errorf("feed rsyslog: %v", err)
				return
			}
		}
	})
	r.end = func() {
		t.Helper()
		l.end()
		eventually(t, 60*time.Second, "all that rsyslog was given is there", func() error {
			seen := map[int]bool{}
			for _, row := range s.export("source.name:relp2") {
				if n, ok := number("rsyslog", row.raw()); ok {
					seen[n] = true
				}
			}
			if len(seen) < r.sent() {
				return fmt.Errorf("%d of %d", len(seen), r.sent())
			}
			return nil
		})
	}
	return r
}

func (r *rsyslog) sent() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n
}

// stop ends the feed and waits until all of it has arrived.
func (r *rsyslog) stop() { r.end() }

// testRsyslog sends one event through a real rsyslogd each way that custody
// documents: it must be attributed, sealed and found within two seconds.
func testRsyslog(t *testing.T, bin string) {
	path, missing := findRsyslog("omrelp")
	if missing != "" {
		t.Skip(missing)
	}
	s := newInstance(t, bin, "", "")
	s.serve()
	port := func(addr string) string { _, p, _ := net.SplitHostPort(addr); return p }
	for _, tt := range []struct{ name, source, action string }{
		{"octet counted", "tcp", fmt.Sprintf(`action(type="omfwd" target="127.0.0.1" port=%q protocol="tcp" TCP_Framing="octet-counted" template="RSYSLOG_SyslogProtocol23Format")`, port(s.syslog))},
		{"newline", "tcp", fmt.Sprintf(`action(type="omfwd" target="127.0.0.1" port=%q protocol="tcp" TCP_Framing="traditional" template="RSYSLOG_SyslogProtocol23Format")`, port(s.syslog))},
		{"rfc3164", "tcp", fmt.Sprintf(`action(type="omfwd" target="127.0.0.1" port=%q protocol="tcp" template="RSYSLOG_TraditionalForwardFormat")`, port(s.syslog))},
		{"udp", "udp", fmt.Sprintf(`action(type="omfwd" target="127.0.0.1" port=%q protocol="udp" template="RSYSLOG_SyslogProtocol23Format")`, port(s.syslog))},
		{"relp", "relp", fmt.Sprintf("module(load=\"omrelp\")\n"+`action(type="omrelp" target="127.0.0.1" port=%q template="RSYSLOG_SyslogProtocol23Format")`, port(s.relp))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := startRsyslog(t, path, tt.action)
			kind := "via" + strings.ReplaceAll(tt.name, " ", "")
			for n := range 3 {
				sent := time.Now()
				if _, err := r.in.Write([]byte("<13>Nov 23 10:00:00 agent: " + event(kind, n))); err != nil {
					t.Fatal(err)
				}
				row := s.found(t, 20*time.Second, fmt.Sprintf("%s%d", kind, n))
				t.Logf("found and sealed after %s", time.Since(sent).Round(time.Millisecond))
				if row.Source.Name != tt.source || row.Requester.ID != fmt.Sprintf("user%d@example.com", n) || row.Executor.ID != fmt.Sprintf("agent-%d", n) {
					t.Errorf("record %+v", row)
				}
			}
		})
	}
	s.stop()
	s.verify()
}

// found waits until the search finds the one record with the word and it is
// sealed and searchable, and returns what its own page says.
func (s *instance) found(t *testing.T, limit time.Duration, word string) row {
	t.Helper()
	var r row
	eventually(t, limit, word+" is found and sealed", func() error {
		var page struct{ Records []row }
		if err := s.get("/api/v1/records", map[string][]string{"q": {word}}, &page); err != nil {
			return err
		}
		if len(page.Records) != 1 {
			return fmt.Errorf("%d records", len(page.Records))
		}
		if err := s.get("/api/v1/records/"+page.Records[0].ID, nil, &r); err != nil {
			return err
		}
		if !r.Seal.Sealed || !r.Seal.Searchable {
			return fmt.Errorf("%+v", r.Seal)
		}
		return nil
	})
	return r
}
