//go:build linux

package appliance_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// testHostileLines sends lines that are broken or meant to do harm, over TCP, RELP
// and in a file: each is a record with its exact bytes, and no command prints a
// control character.
func testHostileLines(t *testing.T, bin string) {
	s := newInstance(t, bin, "", "")
	s.serve()
	lines := []struct {
		name, body string
		malformed  bool
	}{
		{"invalid UTF-8", "word0 \xff\xfe\x80 \xc0\xaf \xed\xa0\x80", true},
		{"invalid UTF-8 in JSON", "{\"message\":\"word1\",\"requester\":\"mal\xffory\"}", true},
		{"NUL", "word2 \x00 after", true},
		{"NUL in JSON", "{\"message\":\"word3\",\"requester\":\"a\x00b\"}", true},
		{"nesting", `{"message":"word4","x":` + strings.Repeat("[", 32<<10-100) + strings.Repeat("]", 32<<10-100) + `}`, true},
		{"nested objects", `{"message":"word5","x":` + strings.Repeat(`{"a":`, 9<<10) + "1" + strings.Repeat("}", 9<<10) + `}`, true},
		{"duplicate keys", `{"message":"word6","requester":"alice@example.com","requester":"mallory@example.com"}`, true},
		{"duplicate keys, one escaped", `{"message":"word7","requester":"alice@example.com","\u0072equester":"mallory@example.com"}`, true},
		{"truncated JSON", `{"message":"word8","requester":"alice@exam`, true},
		{"truncated escape", `{"message":"word9","requester":"alice\u00`, true},
		{"year 9999", `{"message":"word10","ts":"9999-12-31T23:59:59Z"}`, true},
		{"year 0", `{"message":"word11","ts":"0000-00-00T00:00:00Z"}`, true},
		{"time too large a number", `{"message":"word12","ts":1e308}`, true},
		{"time a negative number", `{"message":"word13","ts":-99999999999999999999999}`, true},
		{"escapes in text", "word14 \x1b[2J\x1b]0;owned\x07\x1b[31m red \x9b1m \x7f \r over", true}, // \x9b alone is no UTF-8
		{"escapes in JSON", `{"message":"word15 \u001b[2J\u0007\u009b\u202e\u2028 end","requester":"\u001b]0;owned\u0007","tool":"\u001bc"}`, false},
		{"raw escapes in JSON", "{\"message\":\"word16 \x1b[2J\",\"requester\":\"\x1b[31mroot\"}", true},
		{"direction marks", "word17 \u202egnp.exe\u2066 \u200b\ufeff end \u0085 \u009b31m", false},
		{"lone surrogates", `{"message":"word18 \ud800 \udfff","requester":"\ud83d"}`, false},
	}
	const header = "<13>1 2026-11-23T10:00:00.5Z host app - - - "
	c, err := net.Dial("tcp", s.syslog)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := dialRELP(t, s.relp)
	var file bytes.Buffer
	for _, l := range lines {
		if len(header)+len(l.body) > 64<<10 {
			t.Fatalf("%s: %d bytes are too many", l.name, len(l.body))
		}
		fmt.Fprintf(c, "%d %s%s", len(header)+len(l.body), header, l.body)
		r.send(header + l.body)
		file.WriteString(l.body + "\n")
	}
	if err := os.WriteFile(filepath.Join(s.tail, "hostile.log"), file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	r.answered(t, 30*time.Second)
	s.counted(30*time.Second, "*", uint64(3*len(lines)))
	s.settled()

	ids := map[string]string{} // source and raw bytes → id
	for _, row := range s.export("*") {
		ids[row.Source.Name+" "+row.raw()] = row.ID
	}
	for i, l := range lines {
		for _, source := range []string{"tcp", "relp", "app"} {
			raw := header + l.body
			if source == "app" {
				raw = l.body
			}
			id, ok := ids[source+" "+raw]
			if !ok {
				t.Errorf("%s over %s: there is no record with these bytes", l.name, source)
				continue
			}
			var row row
			if err := s.get("/api/v1/records/"+id, nil, &row); err != nil {
				t.Errorf("%s over %s: %v", l.name, source, err)
				continue
			}
			if row.raw() != raw || !row.Seal.Sealed {
				t.Errorf("%s over %s: sealed %t, raw %.200q", l.name, source, row.Seal.Sealed, row.raw())
			}
			if got := slices.Contains(row.Findings, "malformed"); got != l.malformed || got != (row.Source.Error != "") {
				t.Errorf("%s over %s: findings %q, error %q; malformed should be %t", l.name, source, row.Findings, row.Source.Error, l.malformed)
			}
			if strings.HasPrefix(l.name, "duplicate keys") && row.Requester.ID != "" {
				t.Errorf("%s over %s: the requester is %q", l.name, source, row.Requester.ID)
			}
			out, errs, code := s.run("show", id)
			harmless(t, "show "+l.name, out+errs)
			if code != 0 || !strings.Contains(out, id) {
				t.Errorf("show %s over %s: exit code %d, %.300s%s", l.name, source, code, out, errs)
			}
		}
		if n, err := s.count(fmt.Sprintf("word%d", i)); err != nil || n != 3 {
			t.Errorf("%s: the search finds it %d times, %v", l.name, n, err)
		}
	}
	for _, args := range [][]string{{"search", "*"}, {"search", "--json", "*"}, {"search", "\x1b[31m\x07"}, {"count", "requester.id:\x1b[31mroot"}, {"show", "\x1b[31m"}, {"status"}} {
		args = append(args, map[bool][]string{true: {"--limit", "1000"}}[args[0] == "search"]...)
		out, errs, _ := s.run(args...)
		harmless(t, strings.Join(args, " "), out+errs)
	}
	if b, err := os.ReadFile(s.log); err != nil {
		t.Error(err)
	} else {
		harmless(t, "the server's log", string(b))
	}
	s.stop()
	s.verify()
}

// harmless fails the test when text could steer a terminal or mislead its reader.
func harmless(t *testing.T, what, text string) {
	t.Helper()
	if !utf8.ValidString(text) {
		t.Errorf("%q prints invalid UTF-8", what)
	}
	for i, r := range text {
		if r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029') {
			t.Errorf("%q prints %U: %q", what, r, text[max(0, i-60):min(len(text), i+20)])
			return
		}
	}
}

// relpConn is a RELP session that waits for its answers when asked to.
type relpConn struct {
	c    net.Conn
	s    *relpSender
	sent int
	err  chan error // why the session ended
}

// dialRELP opens a session for up to 1,000 lines.
func dialRELP(t *testing.T, addr string) *relpConn {
	t.Helper()
	const most = 1000
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	offer := "relp_version=0\nrelp_software=test\ncommands=syslog"
	fmt.Fprintf(c, "1 open %d %s\n", len(offer), offer)
	r := &relpConn{c: c, s: &relpSender{open: map[int]int{}, acked: map[int]bool{}}, err: make(chan error, 1)}
	room := make(chan struct{}, most)
	for n := range most {
		r.s.open[n+2] = n
		room <- struct{}{}
	}
	go func() { r.err <- r.s.answers(bufio.NewReader(c), room) }()
	return r
}

func (r *relpConn) send(line string) {
	r.sent++
	fmt.Fprintf(r.c, "%d syslog %d %s\n", r.sent+1, len(line), line)
}

// answered waits until everything is acknowledged.
func (r *relpConn) answered(t *testing.T, limit time.Duration) {
	t.Helper()
	eventually(t, limit, "RELP answers", func() error {
		select {
		case err := <-r.err:
			t.Fatalf("the RELP session ended: %v", err)
		default:
		}
		if n := r.s.ackedNow(); n != r.sent {
			return fmt.Errorf("%d of %d", n, r.sent)
		}
		return nil
	})
}

// testBadNeighbours keeps 1,000 connections idle, sends byte by byte and sends
// garbage as fast as it goes, over four transports: another sender's event is found
// within two seconds, whether it comes over a listener that is flooded, over one
// that is not, or in a file. Datagrams beside a flood of datagrams are promised
// nothing but that what is lost is counted.
func testBadNeighbours(t *testing.T, bin string) {
	const (
		promise = 2 * time.Second
		limit   = 30 * time.Second
	)
	quiet := freeAddress(t)
	s := newInstance(t, bin, "", fmt.Sprintf("[[syslog]]\nname = \"quiet\"\nnetwork = \"udp\"\nlisten = %q", quiet))
	s.serve()
	l := newLoad(t)
	dial := func(addr string) net.Conn {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	for i := range 1000 {
		dial([]string{s.syslog, s.relp, s.http}[i%3])
	}
	slow := 0
	for addr, text := range map[string]string{
		s.syslog: syslogEvent("slow", 1), s.relp: "1 open 60 relp_version=0", s.http: "GET /api/v1/status HTTP/1.1\r\nHost: x\r\n",
	} {
		for range 20 {
			c := dial(addr)
			slow++
			l.wg.Go(func() {
				p := pace{rate: 1}
				for i := 0; i < len(text) && p.wait(l.ctx); i++ {
					if _, err := c.Write([]byte{text[i]}); err != nil {
						return // cut off, which is the server's right
					}
				}
			})
		}
	}
	var garbage atomic.Int64
	for _, network := range []string{"tcp", "relp", "udp", "http"} {
		l.wg.Go(func() { s.sendGarbage(l.ctx, network, &garbage) })
	}
	eventually(t, 30*time.Second, "garbage flows", func() error {
		if n := garbage.Load(); n < 512<<10 {
			return fmt.Errorf("%d bytes", n)
		}
		return nil
	})
	tcp, r := dial(s.syslog), dialRELP(t, s.relp)
	udp, err := net.Dial("udp", quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	file, err := os.Create(filepath.Join(s.tail, "good.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var took []time.Duration
	for n := range 5 {
		sent := time.Now()
		line := syslogEvent("tcp", n)
		fmt.Fprintf(tcp, "%d %s", len(line), line)
		r.send(syslogEvent("relp", n))
		fmt.Fprint(udp, syslogEvent("quiet", n))
		fmt.Fprintln(file, event("file", n))
		var after []string
		for _, kind := range []string{"tcp", "relp", "quiet", "file"} {
			s.counted(limit-time.Since(sent), fmt.Sprintf("%s%d", kind, n), 1)
			after = append(after, fmt.Sprintf("%s %s", kind, time.Since(sent).Round(time.Millisecond)))
		}
		r.answered(t, limit-time.Since(sent))
		took = append(took, time.Since(sent))
		t.Logf("found within: %s", strings.Join(after, ", "))
		if reasons, err := s.ready(); err != nil || len(reasons) > 0 {
			t.Errorf("readyz: %q, %v", reasons, err)
		}
	}
	l.end()
	slices.Sort(took)
	t.Logf("the last of four was found after %s to %s, promised are %s; %d MiB of garbage, %d slow connections",
		took[0].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond), promise, garbage.Load()>>20, slow)
	// The senders here and other tests take the server's processors away.
	if median := took[len(took)/2]; median > 5*promise {
		t.Errorf("the last of four was found after %s in the middle of five times", median.Round(time.Millisecond))
	}
	began := time.Now()
	s.stop()
	t.Logf("stopped after %s", time.Since(began).Round(time.Millisecond))
	s.verify()
}

// sendGarbage sends random bytes to a listener until ctx ends, as fast as it can.
func (s *instance) sendGarbage(ctx context.Context, network string, sent *atomic.Int64) {
	addr := map[string]string{"tcp": s.syslog, "udp": s.syslog, "relp": s.relp, "http": s.http}[network]
	proto := "tcp"
	if network == "udp" {
		proto = "udp"
	}
	b := make([]byte, 4000)
	for ctx.Err() == nil {
		c, err := net.Dial(proto, addr)
		if err != nil {
			continue
		}
		stop := context.AfterFunc(ctx, func() { c.Close() })
		for ctx.Err() == nil {
			_, _ = rand.Read(b) // never fails
			n, err := c.Write(b)
			sent.Add(int64(n))
			if err != nil {
				break // cut off: once more
			}
		}
		stop()
		c.Close()
	}
}
