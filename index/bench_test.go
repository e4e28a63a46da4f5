package index

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"custody/ingest"
	"custody/ingest/attribution"
)

// benchLines renders n agent events as RFC 5424 lines with a JSON message.
func benchLines(n int) [][]byte {
	rng := rand.New(rand.NewPCG(7, 9))
	zipf := rand.NewZipf(rng, 1.2, 4, 20_000)
	words := make([]string, 20_001)
	for i := range words {
		b := make([]byte, 4+rng.IntN(7))
		for k := range b {
			b[k] = byte('a' + rng.IntN(26))
		}
		words[i] = string(b)
	}
	tools := []string{"kv", "shell", "deploy", "browser", "sql", "email", "search", "calendar"}
	ops := []string{"read", "write", "list", "delete", "call"}
	out := make([][]byte, n)
	at := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	for i := range out {
		at = at.Add(time.Duration(rng.IntN(30)) * time.Microsecond)
		ts := at.Format("2006-01-02T15:04:05.000000Z")
		msg := ""
		for range 24 {
			msg += words[zipf.Uint64()] + " "
		}
		user, agent := rng.IntN(400), rng.IntN(60)
		status, decision := "success", "allow"
		if rng.IntN(40) == 0 {
			status, decision = "denied", "deny"
		}
		out[i] = fmt.Appendf(nil, `<134>1 %s host-%d agentd %d EV - {"ts":"%s","level":"info","event":"tool_call","request_id":"req-%016x","trace_id":"%016x%016x","span_id":"%016x","session_id":"s-%d","requester":"user%d@example.com","agent":"agent-%d","tool":"%s","operation":"%s","target":"secret/data/team%d/item%d","permission":"%s","policy":"policy-%d","decision":"%s","status":"%s","duration_ms":%d,"message":"%s"}`,
			ts, rng.IntN(20), 1000+rng.IntN(50), ts, rng.Uint64(), rng.Uint64(), rng.Uint64(), rng.Uint64(), rng.IntN(5000), user, agent,
			tools[rng.IntN(len(tools))], ops[rng.IntN(len(ops))], rng.IntN(40), rng.IntN(500), ops[rng.IntN(len(ops))], rng.IntN(30), decision, status, rng.IntN(2000), msg)
	}
	return out
}

// BenchmarkIngest is the way from a batch to a durable, sealed, indexed record,
// without the network. CUSTODY_BENCH_EVENTS is the number of events.
func BenchmarkIngest(b *testing.B) {
	n := 200_000
	if v, err := strconv.Atoi(os.Getenv("CUSTODY_BENCH_EVENTS")); err == nil {
		n = v
	}
	lines := benchLines(min(n, 200_000))
	for b.Loop() {
		b.StopTimer()
		reg, err := attribution.New(attribution.Options{})
		if err != nil {
			b.Fatal(err)
		}
		dir := b.TempDir()
		l, err := Open(Options{Dir: dir, Registry: reg, Reserve: 1, SegmentRows: 250_000})
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ran := make(chan struct{})
		go func() { defer close(ran); _ = l.Run(ctx) }()
		src := &ingest.Source{Name: "tcp", Transport: ingest.TCP, Syslog: true}
		b.StartTimer()
		start := time.Now()
		var wg sync.WaitGroup
		size := 0
		for i := 0; i < n; i += 300 {
			bt := &ingest.Batch{Source: src}
			now := time.Now().UnixNano()
			for k := i; k < min(n, i+300); k++ {
				raw := lines[k%len(lines)]
				size += len(raw)
				bt.Lines = append(bt.Lines, ingest.Line{Raw: raw, Received: now, Offset: -1})
			}
			wg.Add(1)
			bt.Done = func(error) { wg.Done() }
			if err := l.Submit(ctx, bt); err != nil {
				b.Fatal(err)
			}
		}
		wg.Wait()
		durable := time.Since(start)
		for l.Status().Searchable < uint64(n) || l.Status().Sealed < uint64(n) {
			time.Sleep(time.Millisecond)
		}
		b.ReportMetric(float64(n)/durable.Seconds(), "durable/s")
		b.ReportMetric(float64(n)/time.Since(start).Seconds(), "searchable/s")
		b.ReportMetric(float64(size)/float64(n), "line-bytes")
		b.StopTimer()
		var st dirSize
		b.ReportMetric(float64(st.of(dir, time.Now()))/float64(n), "disk-bytes/event")
		cancel()
		<-ran
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
