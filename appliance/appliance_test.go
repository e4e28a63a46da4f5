package appliance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"custody/appliance/admin"
	"custody/index"
	"custody/index/store"
)

// started is a running appliance of a test.
type started struct {
	ready Ready
	data  string
	admin *admin.Client
	addr  map[string]string // of listeners, by name
	stop  func() error
}

// start runs the configuration until the test stops it. At clean-up the folder is verified.
func start(t *testing.T, src string) *started {
	t.Helper()
	s := &started{data: t.TempDir(), addr: map[string]string{}}
	cfg, err := ParseConfig("test.toml", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	if err := cfg.Apply(Overrides{Data: s.data, HTTP: "127.0.0.1:0"}); err != nil {
		t.Fatal(err)
	}
	ready := make(chan Ready, 1)
	var log bytes.Buffer
	a, err := New(cfg, Options{Version: "test", Logger: slog.New(slog.NewTextHandler(&log, nil)), Ready: func(r Ready) { ready <- r }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	select {
	case s.ready = <-ready:
	case err := <-done:
		cancel()
		t.Fatalf("ended: %v\n%s", err, log.String())
	}
	for _, l := range s.ready.Listeners {
		s.addr[l.Name] = l.Address
	}
	s.admin = admin.NewClient(s.data)
	stopped := false
	s.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Errorf("stop: %v\n%s", err, log.String())
		}
		verifyFolder(t, s.data)
	})
	return s
}

func verifyFolder(t *testing.T, data string) {
	t.Helper()
	st, err := store.Open(filepath.Join(data, "segments"), store.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = st.Close() }()
	rep, err := index.VerifyStore(context.Background(), data, st, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !rep.OK() || rep.Unsealed != 0 {
		t.Errorf("verify: %v, %d rows not sealed", rep.Problems, rep.Unsealed)
	}
}

// eventually waits for the number of records that match.
func (s *started) eventually(t *testing.T, query string, want int) {
	t.Helper()
	var got struct{ Count int }
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if err := s.admin.Get(t.Context(), "/api/v1/count", url.Values{"q": {query}}, &got); err != nil {
			t.Fatal(err)
		}
		if got.Count >= want {
			break
		}
	}
	if got.Count != want {
		t.Fatalf("%d records match %s, want %d", got.Count, query, want)
	}
}

// Every way in ends in the same ledger, and one metric counts what is durable.
func TestEveryWayIn(t *testing.T) {
	dir := t.TempDir()
	logFile := filepath.Join(dir, "app.log")
	if err := os.WriteFile(logFile, []byte("{\"user\":\"alice@example.com\",\"action\":\"read\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, fmt.Sprintf(`
[log]
origin = "log.test/custody"
[[syslog]]
name = "udp"
network = "udp"
listen = "127.0.0.1:0"
[[syslog]]
name = "tcp"
listen = "127.0.0.1:0"
tenant = "acme"
[[syslog]]
name = "sock"
network = "unixgram"
listen = %q
trusted = true
format = "json"
authoritative_for = ["x"]
[[relp]]
name = "relp"
listen = "127.0.0.1:0"
[[tail]]
name = "app"
paths = [%q]
`, filepath.Join(dir, "log.sock"), filepath.Join(dir, "*.log")))

	for _, way := range []struct{ name, network string }{{"udp", "udp"}, {"tcp", "tcp"}, {"sock", "unixgram"}} {
		conn, err := net.Dial(way.network, s.addr[way.name])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "<13>1 2026-11-23T14:02:07Z h app - - - over "+way.name+"\n"); err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
	}
	conn, err := net.Dial("tcp", s.addr["relp"])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const line = "<13>1 2026-11-23T14:02:07Z h app - - - over relp"
	_, err = fmt.Fprintf(conn, "1 open 31 relp_version=1\ncommands=syslog\n\n2 syslog %d %s\n", len(line), line)
	if err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(conn)
	for acknowledged := false; !acknowledged; {
		if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		got, err := answers.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		acknowledged = strings.HasPrefix(got, "2 rsp") && strings.Contains(got, "200")
	}
	for _, name := range []string{"udp", "tcp", "sock", "relp", "app"} {
		s.eventually(t, "source.name:"+name, 1)
	}
	s.eventually(t, "context.tenant:acme source.transport:\"syslog/tcp\"", 1)
	s.eventually(t, "source.transport:file requester.id:alice@example.com", 1)

	body := s.fetch(t, "/metrics")
	for _, want := range []string{"custody_durable_events_total 5\n", `custody_source_lines_total{source="relp",tenant="",transport="relp"} 1`, "custody_fault 0\n", `custody_build_info{version="test"} 1`} {
		if !strings.Contains(body, want) {
			t.Errorf("/metrics lacks %q", want)
		}
	}
	var status struct{ Checkpoint struct{ Origin string } }
	if err := json.Unmarshal([]byte(s.fetch(t, "/api/v1/status")), &status); err != nil || status.Checkpoint.Origin != "log.test/custody" {
		t.Errorf("origin is %q, %v", status.Checkpoint.Origin, err)
	}
}

// fetch asks over the network, with a token.
func (s *started) fetch(t *testing.T, path string) string {
	t.Helper()
	var token struct{ Token string }
	if err := s.admin.Post(t.Context(), "/admin/v1/tokens", map[string]string{"role": "viewer", "name": "test"}, &token); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.ready.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token.Token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v: %s", path, res.Status, err, b)
	}
	return string(b)
}

// What was sent before the stop is durable and sealed after it, although nobody
// waited for it (the verification at clean-up demands that all rows are sealed).
func TestStopLosesNothing(t *testing.T) {
	s := start(t, "")
	conn, err := net.Dial("tcp", s.addr["syslog-tcp"])
	if err != nil {
		t.Fatal(err)
	}
	const lines = 5000
	var b bytes.Buffer
	for i := range lines {
		fmt.Fprintf(&b, "<13>1 2026-11-23T14:02:07Z h app - - - line %d\n", i)
	}
	if _, err := conn.Write(b.Bytes()); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	// The connection's close is behind its lines: once the first line is in, the
	// listener reads on to the end before it stops.
	s.eventuallySome(t)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(filepath.Join(s.data, "segments"), store.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = st.Close() }()
	events := uint64(0)
	for _, seg := range st.Segments() {
		events += seg.Events()
	}
	if events != lines {
		t.Errorf("%d events are there, want %d", events, lines)
	}
}

func (s *started) eventuallySome(t *testing.T) {
	t.Helper()
	var got struct{ Count int }
	for end := time.Now().Add(20 * time.Second); got.Count == 0 && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if err := s.admin.Get(t.Context(), "/api/v1/count", nil, &got); err != nil {
			t.Fatal(err)
		}
	}
}

// A part that cannot start ends the whole, with everything closed behind it.
func TestFailedStartLeavesNothing(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	data := t.TempDir()
	cfg := DefaultConfig()
	if err := cfg.Apply(Overrides{Data: data, HTTP: taken.Addr().String(), Syslog: "127.0.0.1:0"}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second finds no lock of the first
		a, err := New(cfg, Options{Ready: func(Ready) { t.Error("it is said to be ready") }})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "listen for pages") {
			t.Fatalf("got %v", err)
		}
	}
	if _, err := os.Stat(filepath.Join(data, admin.SocketName)); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestExposureIsWarnedOf(t *testing.T) {
	s := start(t, `
[http]
allow_plain = true
[[syslog]]
name = "open"
network = "udp"
listen = "0.0.0.0:0"
[[risk]]
name = "r"
match = "action.tool:x"
level = "high"
`)
	all := strings.Join(s.ready.Warnings, "\n")
	for _, want := range []string{"open on 0.0.0.0:0 takes lines from anybody", "[[risk]]"} {
		if !strings.Contains(all, want) {
			t.Errorf("warnings %q lack %q", all, want)
		}
	}
}

// Connections on which nothing was asked, and answers that never end, do not hold
// the stop up.
func TestStopIsPrompt(t *testing.T) {
	s := start(t, "")
	addr := strings.TrimPrefix(s.ready.URL, "http://")
	for _, sent := range []string{"", "GET", "GET /readyz HTTP/1.1\r\nHost: x\r\n"} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, sent); err != nil {
			t.Fatal(err)
		}
	}
	tail, err := s.admin.Stream(t.Context(), http.MethodGet, "/api/v1/tail", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close()
	// Connections are accepted in their order: those above are when this is answered.
	s.fetch(t, "/api/v1/status")
	began := time.Now()
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	// http.Server alone waits for five seconds.
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("the stop took %s", took)
	}
	if _, err := io.Copy(io.Discard, tail); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the tail ended: %v", err)
	}
}
