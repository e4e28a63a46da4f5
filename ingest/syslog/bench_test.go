package syslog

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"custody/ingest"
)

// counter is a sink that only counts.
type counter struct {
	lines atomic.Int64
	want  int64
	all   chan struct{}
}

func (s *counter) Submit(_ context.Context, b *ingest.Batch) error {
	n := int64(len(b.Lines))
	if b.Done != nil {
		b.Done(nil)
	}
	if s.lines.Add(n) >= s.want && n > 0 {
		close(s.all)
	}
	return nil
}

func benchmarkTCP(b *testing.B, perWrite int) {
	b.Helper()
	s := &counter{want: int64(b.N), all: make(chan struct{})}
	l, err := New(Config{Network: "tcp", Address: "127.0.0.1:0", Source: sources["tcp"]}, s, newLedger(), nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	if err := l.Listen(ctx); err != nil {
		b.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- l.Run(ctx) }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	line := []byte("<134>1 2026-01-02T03:04:05.678Z host agent 1 - - " + strings.Repeat("x", 750) + "\n")
	chunk := []byte(strings.Repeat(string(line), perWrite))
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	b.ResetTimer()
	for left := b.N; left > 0; left -= perWrite {
		if _, err := c.Write(chunk[:min(left, perWrite)*len(line)]); err != nil {
			b.Fatal(err)
		}
	}
	<-s.all
	b.StopTimer()
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}

func BenchmarkTCP(b *testing.B)           { benchmarkTCP(b, 80) }
func BenchmarkTCPLineByLine(b *testing.B) { benchmarkTCP(b, 1) }
