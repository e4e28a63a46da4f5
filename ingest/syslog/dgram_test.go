package syslog

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"custody/ingest"
)

func TestUDP(t *testing.T) {
	s := newLedger()
	sv := start(t, Config{Network: "udp", MaxMessage: 1000}, s)
	c := sv.dial()
	write(t, c, "<34>one\n")
	write(t, c, "<34>two\r\n\x00")
	write(t, c, "\n")
	write(t, c, "<34>a\nb")
	write(t, c, "<34>"+strings.Repeat("x", 5000))
	lines := s.untilLines(t, 4)
	want := []string{"<34>one", "<34>two", "<34>a\nb", "<34>" + strings.Repeat("x", 996)}
	if got := s.raws(); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if runtime.GOOS == "linux" && lines[3].FullLength != 5004 {
		t.Errorf("full length %d", lines[3].FullLength)
	}
	if p := s.snap().batches[0].Peer; p != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("peer %s", p)
	}
	sv.stop()
	if st := sv.Stats(); st.Lines != 4 || st.Truncated != 1 || st.KernelDrops+st.QueueDrops != 0 {
		t.Errorf("stats %+v", st)
	}
}

func TestUDPPeers(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has all of 127/8 as its own addresses")
	}
	s := newLedger()
	s.blocked = true
	sv := start(t, Config{Network: "udp", Address: "[::]:0"}, s)
	port := sv.Addr().(*net.UDPAddr).Port
	const peers, each = 5, 200
	var conns []net.Conn
	for p := range peers {
		c, err := net.DialUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, byte(10+p))}, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	for i := range each {
		for p, c := range conns {
			write(t, c, fmt.Sprintf("<34>%d %d", p, i))
		}
	}
	s.set(func(s *ledger) { s.blocked = false })
	s.untilLines(t, peers*each)
	next := map[netip.Addr]int{}
	for _, b := range s.snap().batches {
		p := int(b.Peer.As4()[3]) - 10
		for _, l := range b.Lines {
			if want := fmt.Sprintf("<34>%d %d", p, next[b.Peer]); string(l.Raw) != want {
				t.Fatalf("from %s: %q, want %q", b.Peer, l.Raw, want)
			}
			next[b.Peer]++
		}
	}
	if len(s.snap().batches) > peers*each/4 {
		t.Errorf("%d batches for %d lines", len(s.snap().batches), peers*each)
	}
}

func TestUDPQueueFull(t *testing.T) {
	s := newLedger()
	s.blocked = true
	sv := start(t, Config{Network: "udp", Queue: 100_000, MaxMessage: 2000}, s)
	c := sv.dial()
	before := time.Now().UnixNano()
	n := 0
	// The kernel drops some too when the listener gets no time to read.
	sv.untilStats("drops", func(st Stats) bool {
		for range 100 {
			write(t, c, fmt.Sprintf("<34>%d %s", n, strings.Repeat("x", 1000)))
			n++
		}
		return st.QueueDrops > 500
	})
	s.set(func(s *ledger) { s.blocked = false })
	accounted := func(s *ledger) int64 {
		sum := int64(s.count())
		for _, g := range s.gaps() {
			sum += g.Count
		}
		return sum
	}
	s.until(t, "gap that makes the count whole", func(s *ledger) bool { return accounted(s) == int64(n) })
	sv.stop()
	if a := accounted(s.snap()); a != int64(n) {
		t.Errorf("%d accounted for after the end, %d sent", a, n)
	}
	for _, g := range s.snap().gaps() {
		if g.Reason == GapQueueDrops && (g.Source != sources["udp"] || g.Count < 1 || g.From < before || g.To < g.From) {
			t.Errorf("gap %+v", g)
		}
	}
	var sum int64
	for _, g := range s.snap().gaps() {
		sum += g.Count
	}
	if st := sv.Stats(); st.QueueDrops+st.KernelDrops != sum || st.QueueDrops < 500 {
		t.Errorf("gaps count %d, stats %+v", sum, st)
	}
}

func TestUDPKernelDrops(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the kernel's counter is read on Linux only")
	}
	s := newLedger()
	l, err := New(Config{Network: "udp", Address: "127.0.0.1:0", ReceiveBuffer: 4096, Source: sources["udp"]}, s, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("udp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const n = 500
	for range n { // nobody reads yet
		write(t, c, "<34>"+strings.Repeat("x", 500))
	}
	sv := runListener(t, l)
	s.until(t, "gap", func(s *ledger) bool {
		sum := int64(s.count())
		for _, g := range s.gaps() {
			if g.Reason != GapKernelDrops {
				t.Errorf("gap %+v", g)
			}
			sum += g.Count
		}
		return sum == n
	})
	sv.stop()
	if st := sv.Stats(); st.KernelDrops == 0 || st.KernelDrops+st.Lines != n {
		t.Errorf("stats %+v", st)
	}
}

func TestUDPShutdownTakesWhatTheKernelHolds(t *testing.T) {
	s := newLedger()
	sv := start(t, Config{Network: "udp"}, s)
	c := sv.dial()
	const n = 150 // more than one system call reads
	for i := range n {
		write(t, c, fmt.Sprintf("<34>%d", i))
	}
	sv.stop()
	if got := s.raws(); len(got) != n || got[n-1] != fmt.Sprintf("<34>%d", n-1) {
		t.Errorf("%d lines", len(got))
	}
}

func TestUnixgramNeverDrops(t *testing.T) {
	s := newLedger()
	s.blocked = true
	path := filepath.Join(t.TempDir(), "dgram")
	sv := start(t, Config{Network: "unixgram", Address: path, Queue: 10_000, MaxMessage: 2000}, s)
	c, err := net.Dial("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const n = 500
	sent := make(chan error, 1)
	go func() {
		for i := range n {
			if _, err := fmt.Fprintf(c, "<34>%d %s", i, strings.Repeat("x", 500)); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	select {
	case err := <-sent:
		t.Fatalf("the sender is not held back: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	s.set(func(s *ledger) { s.blocked = false })
	lines := s.untilLines(t, n)
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	for i, l := range lines {
		if !strings.HasPrefix(string(l.Raw), fmt.Sprintf("<34>%d ", i)) {
			t.Fatalf("line %d is %q", i, l.Raw)
		}
	}
	if b := s.snap().batches[0]; b.Peer.IsValid() || len(s.snap().gaps()) != 0 {
		t.Errorf("peer %s, gaps %v", b.Peer, s.snap().gaps())
	}
	sv.stop()
}

func TestChunksFitTheirContent(t *testing.T) {
	q := newQueue(1 << 20)
	peer := netip.MustParseAddr("10.0.0.1")
	if !q.add(make([]byte, 300), 0, peer, 1, 300) {
		t.Fatal("no room")
	}
	if c := q.pop(); cap(c.buf) > 400 {
		t.Errorf("a lone datagram of 300 bytes holds %d", cap(c.buf))
	}
}

// linesStuck is a ledger that takes gaps, and no line before it is told to stop.
type linesStuck struct{ *ledger }

func (s linesStuck) Submit(ctx context.Context, b *ingest.Batch) error {
	if len(b.Lines) == 0 {
		return s.ledger.Submit(ctx, b)
	}
	<-ctx.Done()
	return ctx.Err()
}

// What is queued when the time for draining is over is stated as missing.
func TestUDPStopStatesWhatItLeaves(t *testing.T) {
	s := newLedger()
	l, err := New(Config{Network: "udp", Address: "127.0.0.1:0", Source: sources["udp"], DrainTimeout: 20 * time.Millisecond}, linesStuck{s}, s, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	sv := runListener(t, l)
	c := sv.dial()
	const n = 40
	for i := range n {
		write(t, c, fmt.Sprintf("<34>%d", i))
	}
	sv.stop()
	var sum int64
	for _, g := range s.snap().gaps() {
		sum += g.Count
		if g.Reason != GapStopped || g.From == 0 || g.To < g.From {
			t.Errorf("gap %+v", g)
		}
	}
	if sum != n || sv.Stats().Lost != n {
		t.Errorf("%d stated as missing and %d counted, of %d", sum, sv.Stats().Lost, n)
	}
}
