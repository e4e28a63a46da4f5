package syslog

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startRsyslog runs rsyslogd with the given actions and returns a socket that it
// reads messages from, without ever dropping one.
func startRsyslog(t *testing.T, module, actions string) net.Conn {
	t.Helper()
	path, err := exec.LookPath("rsyslogd")
	if err != nil {
		path = "/usr/sbin/rsyslogd"
	}
	if _, err := os.Stat(path); err != nil {
		t.Skip("rsyslogd is not installed")
	}
	if module != "" {
		if found, _ := filepath.Glob("/usr/lib/*/rsyslog/" + module + ".so"); len(found) == 0 {
			t.Skip("rsyslogd has no " + module)
		}
	}
	dir := t.TempDir()
	socket := filepath.Join(dir, "in")
	conf := filepath.Join(dir, "conf")
	text := fmt.Sprintf(`
global(workDirectory=%q maxMessageSize="64k")
main_queue(queue.type="linkedList" queue.size="200000" queue.timeoutEnqueue="60000" queue.timeoutShutdown="1")
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket=%q RateLimit.Interval="0")
%s`, dir, socket, actions)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := exec.Command(path, "-n", "-iNONE", "-f", conf)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { cmd.Wait(); close(exited) }()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-exited:
		case <-time.After(5 * time.Second):
			cmd.Process.Kill()
			<-exited
		}
		if t.Failed() {
			t.Logf("rsyslogd: %s", out.Bytes())
		}
	})
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("unixgram", socket)
		if err == nil {
			t.Cleanup(func() { c.Close() })
			return c
		}
		if time.Now().After(deadline) {
			t.Fatalf("rsyslogd does not come up: %v", err)
		}
	}
}

func feed(t *testing.T, c net.Conn, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		write(t, c, fmt.Sprintf("<13>Nov 23 10:00:00 agent: event n=%d. %s", i, strings.Repeat("x", i%300)))
	}
}

// seen counts the distinct events among the durable lines.
func (s *ledger) seen() map[int]int {
	seen := map[int]int{}
	for _, b := range s.batches {
		for _, l := range b.Lines {
			if _, rest, ok := strings.Cut(string(l.Raw), "n="); ok {
				var n int
				fmt.Sscanf(rest, "%d.", &n)
				seen[n]++
			}
		}
	}
	return seen
}

func TestRsyslogForwards(t *testing.T) {
	const n = 500
	for _, tt := range []struct{ network, action string }{
		{"tcp", `protocol="tcp" TCP_Framing="octet-counted"`},
		{"tcp", `protocol="tcp" TCP_Framing="traditional"`},
		{"udp", `protocol="udp"`},
	} {
		t.Run(tt.action, func(t *testing.T) {
			s := newLedger()
			sv := start(t, Config{Network: tt.network}, s)
			_, port, _ := net.SplitHostPort(sv.Addr().String())
			in := startRsyslog(t, "", fmt.Sprintf(`action(type="omfwd" target="127.0.0.1" port=%q %s template="RSYSLOG_SyslogProtocol23Format")`, port, tt.action))
			feed(t, in, 0, n)
			for _, l := range s.untilLines(t, n) {
				if !bytes.HasPrefix(l.Raw, []byte("<13>1 ")) || l.Defect != "" || l.FullLength != 0 {
					t.Fatalf("line %+v %q", l, l.Raw)
				}
			}
			if seen := s.snap().seen(); len(seen) != n {
				t.Errorf("%d of %d events", len(seen), n)
			}
		})
	}
}

// A RELP server that is stopped, then one that crashes with messages not yet
// durable, then one that stays: rsyslog must get everything into a ledger.
func TestRsyslogRELPLosesNothing(t *testing.T) {
	const n = 12000
	s := newLedger()
	sv := start(t, Config{Network: "relp"}, s)
	addr := sv.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	in := startRsyslog(t, "omrelp", fmt.Sprintf(`module(load="omrelp")
action(type="omrelp" target="127.0.0.1" port=%q action.resumeRetryCount="-1" action.resumeInterval="1" template="RSYSLOG_SyslogProtocol23Format")`, port))
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		for i := range n {
			fmt.Fprintf(in, "<13>Nov 23 10:00:00 agent: event n=%d. %s", i, strings.Repeat("x", i%300))
		}
	}()
	s.untilLines(t, n/6)
	sv.stop()

	sv = start(t, Config{Network: "relp", Address: addr, DrainTimeout: 10 * time.Millisecond}, s)
	before := len(s.lines())
	s.untilLines(t, before+n/6)
	s.set(func(s *ledger) { s.hold = true })
	s.until(t, "batches not durable", func(s *ledger) bool { return len(s.held) > 0 })
	sv.stop()
	lost := 0
	s.set(func(s *ledger) { // the crash: they are forgotten, and nobody was told
		for _, b := range s.held {
			lost += len(b.Lines)
		}
		s.held, s.hold = nil, false
	})

	start(t, Config{Network: "relp", Address: addr}, s)
	s.until(t, "all events", func(s *ledger) bool { return s.count() >= n && len(s.seen()) == n })
	<-fed
	t.Logf("%d lines for %d events; %d were forgotten in the crash", s.snap().count(), n, lost)
	if lost == 0 {
		t.Error("the crash forgot nothing: the test shows nothing")
	}
}
