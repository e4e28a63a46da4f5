package syslog

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// relpClient speaks RELP as the protocol's description has it.
type relpClient struct {
	t testing.TB
	net.Conn
	r    *bufio.Reader
	txnr int
}

func dialRELP(sv *server) *relpClient {
	sv.t.Helper()
	nc := sv.dial()
	c := &relpClient{t: sv.t, Conn: nc, r: bufio.NewReader(nc)}
	c.send("open", "relp_version=0\nrelp_software=test,1\ncommands=syslog")
	if n, data := c.response(); n != 1 || data != "200 OK\nrelp_version=0\nrelp_software=custody\ncommands=syslog" {
		sv.t.Fatalf("open: %d %q", n, data)
	}
	return c
}

func relpBytes(txnr int, cmd, data string) string {
	if data == "" {
		return fmt.Sprintf("%d %s 0\n", txnr, cmd)
	}
	return fmt.Sprintf("%d %s %d %s\n", txnr, cmd, len(data), data)
}

func (c *relpClient) send(cmd, data string) {
	c.t.Helper()
	c.txnr++
	write(c.t, c.Conn, relpBytes(c.txnr, cmd, data))
}

// frame reads one frame from the server.
func (c *relpClient) frame() (txnr int, cmd, data string, err error) {
	c.SetReadDeadline(time.Now().Add(patience))
	var size int
	word := func(delim byte) string {
		s, e := c.r.ReadString(delim)
		if e != nil {
			err = e
			return ""
		}
		return s[:len(s)-1]
	}
	txnr, _ = strconv.Atoi(word(' '))
	cmd = word(' ')
	for err == nil {
		b, e := c.r.ReadByte()
		if e != nil {
			return 0, "", "", e
		}
		if b == '\n' {
			return txnr, cmd, "", nil
		}
		if b == ' ' {
			break
		}
		size = size*10 + int(b-'0')
	}
	if err != nil {
		return 0, "", "", err
	}
	buf := make([]byte, size+1)
	if _, err := io.ReadFull(c.r, buf); err != nil {
		return 0, "", "", err
	}
	if buf[size] != '\n' {
		c.t.Errorf("frame without trailer: %q", buf)
	}
	return txnr, cmd, string(buf[:size]), nil
}

func (c *relpClient) response() (int, string) {
	c.t.Helper()
	txnr, cmd, data, err := c.frame()
	if err != nil || cmd != "rsp" {
		c.t.Fatalf("response: %d %s %q, %v", txnr, cmd, data, err)
	}
	return txnr, data
}

// ended checks that the server says goodbye and closes.
func (c *relpClient) ended() {
	c.t.Helper()
	if txnr, cmd, data, err := c.frame(); err != nil || txnr != 0 || cmd != "serverclose" || data != "" {
		c.t.Fatalf("got %d %s %q %v, want serverclose", txnr, cmd, data, err)
	}
	if _, _, _, err := c.frame(); !errors.Is(err, io.EOF) {
		c.t.Fatalf("not closed: %v", err)
	}
}

func (c *relpClient) silent() {
	c.t.Helper()
	c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if b, err := c.r.Peek(1); err == nil {
		c.t.Fatalf("answered too early: %q", b)
	}
}

func TestRELP(t *testing.T) {
	s := newLedger()
	sv := start(t, Config{Network: "relp", MaxMessage: 1000}, s)
	c := dialRELP(sv)
	c.send("syslog", "<34>one")
	if n, data := c.response(); n != 2 || data != "200 OK" {
		t.Fatalf("%d %q", n, data)
	}
	c.send("syslog", "<34>two\nlines")
	c.send("syslog", "<34>"+strings.Repeat("x", 200_000))
	c.send("weather", "fine")
	for want := 3; want <= 5; want++ {
		n, data := c.response()
		if n != want || (want < 5 && data != "200 OK") || (want == 5 && !strings.HasPrefix(data, "500 ")) {
			t.Fatalf("response %d: %d %q", want, n, data)
		}
	}
	c.send("close", "")
	if n, data := c.response(); n != 6 || data != "200 OK" {
		t.Fatalf("close: %d %q", n, data)
	}
	c.ended()
	lines := s.lines()
	if len(lines) != 3 || string(lines[0].Raw) != "<34>one" || string(lines[1].Raw) != "<34>two\nlines" ||
		len(lines[2].Raw) != 1000 || lines[2].FullLength != 200_004 {
		t.Errorf("lines %.200q", s.raws())
	}
	if len(s.snap().cursors) != 0 {
		t.Errorf("cursors %v", s.snap().cursors)
	}
}

func TestRELPAnswersWhenDurable(t *testing.T) {
	s := newLedger()
	s.hold = true
	sv := start(t, Config{Network: "relp"}, s)
	c := dialRELP(sv)
	for i := range 3 {
		c.send("syslog", fmt.Sprint(i))
		s.until(t, "batch", func(s *ledger) bool { return len(s.held) == i+1 })
	}
	c.silent()
	// The last batch is durable first: its answer must wait for the others.
	s.set(func(s *ledger) { slices.Reverse(s.held) })
	last := s.snap().held[0]
	s.set(func(s *ledger) { s.held = s.held[1:] })
	last.Done(nil)
	c.silent()
	s.release(nil)
	for want := 2; want <= 4; want++ {
		if n, data := c.response(); n != want || data != "200 OK" {
			t.Fatalf("%d %q, want %d", n, data, want)
		}
	}
}

func TestRELPFailureIsNotAnswered(t *testing.T) {
	s := newLedger()
	s.hold = true
	sv := start(t, Config{Network: "relp"}, s)
	c := dialRELP(sv)
	c.send("syslog", "a")
	s.until(t, "batch", func(s *ledger) bool { return len(s.held) == 1 })
	c.send("syslog", "b")
	s.until(t, "batch", func(s *ledger) bool { return len(s.held) == 2 })
	held := s.snap().held
	s.set(func(s *ledger) { s.held = nil })
	held[0].Done(nil)
	held[1].Done(errors.New("disk"))
	if n, data := c.response(); n != 2 || data != "200 OK" {
		t.Fatalf("%d %q", n, data)
	}
	c.ended() // without a response to 3, which the sender therefore keeps
	if st := sv.Stats(); st.Lost != 1 {
		t.Errorf("stats %+v", st)
	}
	s.set(func(s *ledger) { s.refuse = errors.New("closed") })
	d := dialRELP(sv)
	d.send("syslog", "c")
	d.ended()
}

func TestRELPRepeatedNumber(t *testing.T) {
	s := newLedger()
	s.hold = true
	sv := start(t, Config{Network: "relp"}, s)
	c := dialRELP(sv)
	c.send("syslog", "once")
	s.until(t, "batch", func(s *ledger) bool { return len(s.held) == 1 })
	c.txnr--
	c.send("syslog", "once")
	c.silent() // nor may the repetition be answered before it is durable
	s.set(func(s *ledger) { s.hold = false })
	s.release(nil)
	for range 2 {
		if n, data := c.response(); n != 2 || data != "200 OK" {
			t.Fatalf("%d %q", n, data)
		}
	}
	c.send("syslog", "twice")
	c.response()
	if got := s.raws(); !slices.Equal(got, []string{"once", "twice"}) {
		t.Errorf("got %q", got)
	}
	if st := sv.Stats(); st.Repeated != 1 {
		t.Errorf("stats %+v", st)
	}
	c.txnr += 5
	c.send("syslog", "out of order")
	if n, data := c.response(); n != 9 || !strings.HasPrefix(data, "500 ") {
		t.Errorf("%d %q", n, data)
	}
	c.ended()
}

func TestRELPNumbersWrap(t *testing.T) {
	s := newSession(&conn{l: &Listener{}})
	for i, txnr := range []uint32{maxTxnr - 1, maxTxnr, 1, 2} {
		if fresh, valid := s.sequence(txnr); !fresh || !valid {
			t.Fatalf("number %d, the %d.: fresh %v, valid %v", txnr, i, fresh, valid)
		}
	}
	for _, tt := range []struct {
		txnr  uint32
		valid bool
	}{{maxTxnr - 1, true}, {maxTxnr, true}, {2, true}, {maxTxnr - 2, false}, {4, false}} {
		if fresh, valid := s.sequence(tt.txnr); fresh || valid != tt.valid {
			t.Errorf("number %d: fresh %v, valid %v", tt.txnr, fresh, valid)
		}
	}
}

func TestRELPWindow(t *testing.T) {
	s := newLedger()
	s.hold = true
	sv := start(t, Config{Network: "relp", Window: 4}, s)
	c := dialRELP(sv)
	var sb strings.Builder
	for i := range 50 {
		sb.WriteString(relpBytes(2+i, "syslog", fmt.Sprint(i)))
	}
	write(t, c, sb.String())
	answered := 0
	for answered < 50 {
		s.until(t, "batch", func(s *ledger) bool { return len(s.held) > 0 })
		held := s.release(nil)
		if held > 4 {
			t.Fatalf("%d messages outstanding", held)
		}
		for range held {
			answered++
			if n, _ := c.response(); n != 1+answered {
				t.Fatalf("response %d, want %d", n, 1+answered)
			}
		}
	}
	if got := s.raws(); len(got) != 50 || got[49] != "49" {
		t.Errorf("got %q", got)
	}
}

func TestRELPProtocolErrors(t *testing.T) {
	s := newLedger()
	sv := start(t, Config{Network: "relp"}, s)
	for _, tt := range []struct{ name, in, want string }{
		{"message before open", "1 syslog 1 x\n", "500"},
		{"no version", "1 open 15 commands=syslog\n", "500"},
		{"no syslog", "1 open 27 relp_version=0\ncommands=abc\n", "500"},
		{"plain syslog", "<34>hello\n", ""},
	} {
		nc := sv.dial()
		c := &relpClient{t: t, Conn: nc, r: bufio.NewReader(nc)}
		write(t, nc, tt.in)
		if tt.want != "" {
			if n, data := c.response(); n != 1 || !strings.HasPrefix(data, tt.want) {
				t.Errorf("%s: %d %q", tt.name, n, data)
			}
		}
		c.ended()
	}
	lines := s.lines()
	if len(lines) != 1 || string(lines[0].Raw) != "<34>hello\n" || lines[0].Defect != defectRELP {
		t.Errorf("lines %q", s.raws())
	}
}

func TestRELPShutdown(t *testing.T) {
	s := newLedger()
	s.hold = true
	sv := start(t, Config{Network: "relp"}, s)
	c := dialRELP(sv)
	c.send("syslog", "one")
	s.until(t, "batch", func(s *ledger) bool { return len(s.held) == 1 })
	done := make(chan struct{})
	go func() { sv.stop(); close(done) }()
	c.silent()
	s.release(nil)
	if n, data := c.response(); n != 2 || data != "200 OK" {
		t.Errorf("%d %q", n, data)
	}
	c.ended()
	<-done
}

func TestRELPDrainTimeout(t *testing.T) {
	s := newLedger()
	s.hold = true // Done never comes
	sv := start(t, Config{Network: "relp", DrainTimeout: 50 * time.Millisecond}, s)
	c := dialRELP(sv)
	c.send("syslog", "one")
	s.until(t, "batch", func(s *ledger) bool { return len(s.held) == 1 })
	sv.stop()
}

func TestRELPOverTLS(t *testing.T) {
	ca := newAuthority(t)
	cert, key := ca.issue(t, "server")
	cfg, err := ServerTLS(cert, key, "")
	if err != nil {
		t.Fatal(err)
	}
	s := newLedger()
	sv := start(t, Config{Network: "relp", TLS: cfg}, s)
	nc := tlsClient(t, sv, ca)
	c := &relpClient{t: t, Conn: nc, r: bufio.NewReader(nc)}
	c.send("open", "relp_version=1\ncommands=syslog")
	if _, data := c.response(); !strings.Contains(data, "relp_version=1\n") {
		t.Errorf("open: %q", data)
	}
	c.send("syslog", "<34>x")
	if n, data := c.response(); n != 2 || data != "200 OK" {
		t.Errorf("%d %q", n, data)
	}
}
