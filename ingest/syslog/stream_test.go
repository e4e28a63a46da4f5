package syslog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"custody/ingest"
)

func TestTCP(t *testing.T) {
	s := newLedger()
	sv := start(t, Config{Network: "tcp"}, s)
	a, b := sv.dial(), sv.dial()
	write(t, a, "<34>one\n")
	s.untilLines(t, 1) // at once, without a second line
	write(t, b, "7 <34>two9 <34>th")
	s.untilLines(t, 2)
	write(t, b, "ree")
	s.untilLines(t, 3)
	write(t, a, "<34>unfinished")
	a.Close()
	s.untilLines(t, 4)
	b.Close()
	s.until(t, "cursors deleted", func(s *ledger) bool { return len(s.cursors) == 0 && len(s.batches) >= 6 })
	want := []string{"<34>one", "<34>two", "<34>three", "<34>unfinished"}
	if got := s.raws(); !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	for _, l := range s.lines() {
		if l.Offset != -1 || l.Defect != "" || l.FullLength != 0 || time.Since(time.Unix(0, l.Received)) > time.Minute {
			t.Errorf("line %+v", l)
		}
	}
	if p := s.snap().batches[0].Peer.String(); p != "127.0.0.1" {
		t.Errorf("peer %s", p)
	}
	sv.stop()
	st := sv.Stats()
	if st.Lines != 4 || st.Bytes != 37 || st.Accepted != 2 || st.Defects != 0 || st.Lost != 0 {
		t.Errorf("stats %+v", st)
	}
}

func TestTCPManyLines(t *testing.T) {
	s := newLedger()
	sv := start(t, Config{Network: "tcp", MaxMessage: 2000}, s)
	c := sv.dial()
	const n = 30000
	go func() {
		var sb strings.Builder
		for i := range n {
			fmt.Fprintf(&sb, "<34>%d %s\n", i, strings.Repeat("x", i%700))
			if i%1000 == 999 {
				fmt.Fprintf(&sb, "%s\n", strings.Repeat("y", 500_000))
			}
		}
		io.WriteString(c, sb.String())
		c.Close()
	}()
	lines := s.untilLines(t, n+n/1000)
	i, long := 0, 0
	for _, l := range lines {
		if l.Raw[0] == 'y' {
			long++
			if len(l.Raw) != 2000 || l.FullLength != 500_000 {
				t.Fatalf("%d bytes of a long line, full length %d", len(l.Raw), l.FullLength)
			}
			continue
		}
		if want := fmt.Sprintf("<34>%d %s", i, strings.Repeat("x", i%700)); string(l.Raw) != want {
			t.Fatalf("line %d is %q", i, l.Raw)
		}
		i++
	}
	sv.stop()
	for _, b := range s.snap().batches {
		if len(b.Lines) > maxLines {
			t.Errorf("batch of %d lines", len(b.Lines))
		}
	}
	if st := sv.Stats(); i != n || long != n/1000 || st.Truncated != n/1000 {
		t.Errorf("%d lines, %d long, %+v", i, long, st)
	}
}

func TestBrokenOctetCountClosesConnection(t *testing.T) {
	s := newLedger()
	sv := start(t, Config{Network: "tcp"}, s)
	c := sv.dial()
	write(t, c, "5 <34>aGARBAGE")
	lines := s.untilLines(t, 2)
	if string(lines[1].Raw) != "GARBAGE" || lines[1].Defect == "" {
		t.Errorf("line %+v", lines[1])
	}
	c.SetReadDeadline(time.Now().Add(patience))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("connection is not closed: %v", err)
	}
	s.until(t, "cursor deleted", func(s *ledger) bool { return len(s.cursors) == 0 })
	if sv.Stats().Defects != 1 {
		t.Errorf("stats %+v", sv.Stats())
	}
}

func TestGarbage(t *testing.T) {
	s := newLedger()
	sv := start(t, Config{Network: "tcp", MaxMessage: 1000}, s)
	c := sv.dial()
	junk := make([]byte, 1<<20)
	for i, x := 0, uint32(1); i < len(junk); i++ {
		x = x*1664525 + 1013904223
		junk[i] = byte(x >> 24)
	}
	junk[0] = 0xff
	write(t, c, string(junk))
	c.Close()
	other := sv.dial()
	write(t, other, "<34>fine\n")
	s.until(t, "sound line", func(s *ledger) bool {
		for _, b := range s.batches {
			for _, l := range b.Lines {
				if string(l.Raw) == "<34>fine" {
					return true
				}
			}
		}
		return false
	})
}

func TestUnixStream(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	s := newLedger()
	sv := start(t, Config{Network: "unix", Address: path, SocketMode: 0o600}, s)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("socket %v, %v", info, err)
	}
	c := sv.dial()
	write(t, c, "<13>a\x00<13>b\nc\x00")
	s.untilLines(t, 2)
	if got := s.raws(); !slices.Equal(got, []string{"<13>a", "<13>b\nc"}) {
		t.Errorf("got %q", got)
	}
	sv.stop()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("socket left behind: %v", err)
	}
}

func TestUnixStaleSocket(t *testing.T) {
	for _, network := range []string{"unix", "unixgram"} {
		path := filepath.Join(t.TempDir(), "log")
		stale, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		stale.Close() // leaves the file
		s := newLedger()
		sv := start(t, Config{Network: network, Address: path}, s)
		second, err := New(Config{Network: network, Address: path, Source: sources[network]}, s, s, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := second.Listen(t.Context()); err == nil {
			t.Errorf("%s: two listeners on one socket", network)
		}
		write(t, sv.dial(), "<13>still here\n")
		s.untilLines(t, 1)
		sv.stop()
	}
	path := filepath.Join(t.TempDir(), "file")
	os.WriteFile(path, []byte("precious"), 0o600)
	l, _ := New(Config{Network: "unix", Address: path, Source: sources["unix"]}, newLedger(), newLedger(), nil, nil)
	if err := l.Listen(t.Context()); err == nil {
		t.Error("a file was replaced by a socket")
	}
	if b, _ := os.ReadFile(path); string(b) != "precious" {
		t.Error("a file was removed")
	}
}

func TestIdleConnectionsDoNotDelayOthers(t *testing.T) {
	s := newLedger()
	sv := start(t, Config{Network: "tcp"}, s)
	var idle []net.Conn
	for range 1000 {
		c := sv.dial()
		idle = append(idle, c)
	}
	for _, c := range idle[:500] {
		write(t, c, "<34>slow")
	}
	// A connection is counted when it is accepted, its buffer taken when it is served.
	sv.untilStats("1000 connections with a buffer each", func(st Stats) bool {
		return st.Connections == 1000 && sv.mem.used.Load() >= 1000*minBuffer
	})
	if used := sv.mem.used.Load(); used != 1000*minBuffer {
		t.Errorf("1000 idle connections hold %d bytes", used)
	}
	c := sv.dial()
	for i := range 100 {
		write(t, c, fmt.Sprintf("<34>%d\n", i))
		s.untilLines(t, i+1)
	}
	if n := len(s.snap().cursors); n != 1 {
		t.Errorf("%d cursors, connections that sent no line must leave none", n)
	}
	for _, c := range idle {
		write(t, c, "!\n")
	}
	s.untilLines(t, 1100)
}

func TestTooManyConnections(t *testing.T) {
	s := newLedger()
	sv := start(t, Config{Network: "tcp", MaxConnections: 2}, s)
	a, _ := sv.dial(), sv.dial()
	sv.untilStats("two connections", func(st Stats) bool { return st.Connections == 2 })
	c := sv.dial()
	c.SetReadDeadline(time.Now().Add(patience))
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("third connection: %v", err)
	}
	sv.untilStats("refusal", func(st Stats) bool { return st.Refused == 1 && st.Connections == 2 })
	a.Close()
	sv.untilStats("room", func(st Stats) bool { return st.Connections == 1 })
	write(t, sv.dial(), "<34>in\n")
	s.untilLines(t, 1)
}

func TestIdleTimeout(t *testing.T) {
	s := newLedger()
	// Long enough that the busy sender is never kept from writing for three quarters
	// of it, on a machine with more to do.
	sv := start(t, Config{Network: "tcp", IdleTimeout: 3 * time.Second}, s)
	quiet, busy := sv.dial(), sv.dial()
	write(t, quiet, "<34>half")
	stop := make(chan struct{})
	ended := make(chan int)
	go func() {
		n := 0
		for tick := time.NewTicker(20 * time.Millisecond); ; n++ {
			select {
			case <-tick.C:
				busy.Write([]byte("<34>busy\n"))
			case <-stop:
				tick.Stop()
				ended <- n
				return
			}
		}
	}()
	quiet.SetReadDeadline(time.Now().Add(patience))
	if _, err := quiet.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("idle connection: %v", err)
	}
	close(stop)
	n := <-ended
	lines := s.untilLines(t, n+1)
	defects := 0
	for _, l := range lines {
		if l.Defect != "" {
			defects++
			if string(l.Raw) != "<34>half" {
				t.Errorf("line %+v", l)
			}
		}
	}
	if st := sv.Stats(); defects != 1 || st.Idle < 1 {
		t.Errorf("%d defects, %+v", defects, st)
	}
}

func TestBackPressure(t *testing.T) {
	s := newLedger()
	s.blocked = true
	sv := start(t, Config{Network: "tcp"}, s)
	c := sv.dial()
	line := "<34>" + strings.Repeat("x", 995) + "\n"
	// The sender must get stuck, with no more taken than the buffers hold.
	sent := 0
	for {
		c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		n, err := c.Write([]byte(strings.Repeat(line, 100)))
		sent += n
		if err != nil {
			break
		}
		if sent > 1<<30 {
			t.Fatal("the sender is never stopped")
		}
	}
	if used := sv.mem.used.Load(); used > maxBuffer {
		t.Errorf("%d bytes held", used)
	}
	s.set(func(s *ledger) { s.blocked = false })
	s.untilLines(t, sent/1000)
}

func TestShutdownTakesWhatWasRead(t *testing.T) {
	s := newLedger()
	s.blocked = true
	sv := start(t, Config{Network: "tcp"}, s)
	c := sv.dial()
	write(t, c, "<34>one\n")
	s.until(t, "blocked submit", func(s *ledger) bool { return s.waiting == 1 })
	write(t, c, "<34>in the kernel\n<34>unfin")
	done := make(chan struct{})
	go func() { sv.stop(); close(done) }()
	// The listener is refusing connections: shutdown has begun.
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		probe, err := net.Dial("tcp", sv.Addr().String())
		if err != nil {
			break
		}
		probe.Close()
	}
	s.set(func(s *ledger) { s.blocked = false })
	<-done
	if got := s.raws(); !slices.Equal(got, []string{"<34>one", "<34>in the kernel", "<34>unfin"}) {
		t.Errorf("got %q", got)
	}
	if l := s.lines(); len(l) == 3 && l[2].Defect == "" {
		t.Error("the unfinished line has no defect")
	}
	if len(s.snap().cursors) != 0 {
		t.Errorf("cursors after an orderly end: %v", s.snap().cursors)
	}
}

func TestDrainTimeout(t *testing.T) {
	s := newLedger()
	s.blocked = true
	sv := start(t, Config{Network: "tcp", DrainTimeout: 50 * time.Millisecond}, s)
	write(t, sv.dial(), "<34>one\n")
	s.until(t, "blocked submit", func(s *ledger) bool { return s.waiting == 1 })
	sv.stop()
	if st := sv.Stats(); st.Lost != 1 || st.Lines != 0 {
		t.Errorf("stats %+v", st)
	}
}

func TestCrashLeavesGap(t *testing.T) {
	s := newLedger()
	src := &ingest.Source{Name: "a/b c", Transport: ingest.TCP}
	sv := start(t, Config{Network: "tcp", Source: src}, s)
	open, closed, silent := sv.dial(), sv.dial(), sv.dial()
	write(t, open, "<34>a\n")
	write(t, closed, "<34>b\n")
	s.untilLines(t, 2)
	closed.Close()
	s.until(t, "one cursor", func(s *ledger) bool { return len(s.cursors) == 1 })
	peer := open.LocalAddr().String()

	// The crash: the next process finds the durable state of this moment.
	after := newLedger()
	s.set(func(s *ledger) {
		maps.Copy(after.cursors, s.cursors)
	})
	after.cursors["conn/a/other"] = "1"
	after.cursors["tail/x"] = "1"
	_ = silent

	before := time.Now().UnixNano()
	again := start(t, Config{Network: "tcp", Source: src}, after)
	after.until(t, "gap", func(s *ledger) bool { return len(s.gaps()) == 1 })
	g := after.snap().gaps()[0]
	if g.Source != src || g.Peer != peer || g.Reason != GapCrash || g.Count != -1 || g.From == 0 || g.From >= before || g.To < before {
		t.Errorf("gap %+v, peer %s", g, peer)
	}
	if len(after.snap().cursors) != 2 || len(after.snap().batches) != 1 {
		t.Errorf("cursors %v, %d batches", after.snap().cursors, len(after.snap().batches))
	}
	again.stop()
	third := start(t, Config{Network: "tcp", Source: src}, after)
	write(t, third.dial(), "<34>c\n")
	after.untilLines(t, 1)
	if n := len(after.snap().gaps()); n != 1 {
		t.Errorf("%d gaps after a clean stop", n)
	}
}

func TestRecoverFails(t *testing.T) {
	s := newLedger()
	s.cursors["conn/t/1.2.3.4:5/x"] = "junk"
	s.refuse = errors.New("closed")
	l, err := New(Config{Network: "tcp", Address: "127.0.0.1:0", Source: sources["tcp"]}, s, s, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Run(context.Background()); !errors.Is(err, s.refuse) {
		t.Errorf("Run: %v", err)
	}
	checkGoroutines(t)
}

func TestShortOfMemory(t *testing.T) {
	s := newLedger()
	sv := start(t, Config{Network: "tcp", MaxConnections: 2, MaxBuffered: 3 * minBuffer}, s)
	big := strings.Repeat("x", 50_000)
	c, d := sv.dial(), sv.dial()
	sv.untilStats("two connections", func(st Stats) bool { return st.Connections == 2 })
	write(t, c, "<34>"+big+"\n<34>after\n")
	write(t, d, "50004 <34>"+big+"9 <34>after")
	lines := s.untilLines(t, 4)
	for _, l := range lines {
		switch {
		case string(l.Raw) == "<34>after" || string(l.Raw) == "<34>afte":
		case l.FullLength != 50_004 || len(l.Raw) < 1000 || len(l.Raw) > 3*minBuffer:
			t.Errorf("line of %d bytes, full length %d", len(l.Raw), l.FullLength)
		}
	}
	if used := sv.mem.used.Load(); used > 3*minBuffer {
		t.Errorf("%d bytes held", used)
	}
}

func TestBuffersShrink(t *testing.T) {
	s := newLedger()
	sv := start(t, Config{Network: "tcp"}, s)
	c := sv.dial()
	line := "<34>" + strings.Repeat("x", 995) + "\n"
	write(t, c, strings.Repeat(line, 5000))
	s.untilLines(t, 5000)
	for i := range 4 {
		write(t, c, "<34>little\n")
		s.untilLines(t, 5001+i)
	}
	sv.untilStats("small buffer", func(Stats) bool { return sv.mem.used.Load() <= 2*minBuffer })
	for _, b := range s.snap().batches {
		if cap(b.Buf) > 2*len(b.Buf)+64 {
			t.Errorf("a batch of %d bytes holds %d", len(b.Buf), cap(b.Buf))
		}
	}
}
