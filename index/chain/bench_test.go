package chain

import (
	"fmt"
	"testing"

	"custody/ingest/record"
)

// BenchmarkLink links agents' events: three share a trace, each has a request id
// and a session.
func BenchmarkLink(b *testing.B) {
	const n = 4096
	l := New(Options{})
	rows := make([]*record.Record, n)
	seq := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		for i := range rows {
			r := &record.Record{Kind: record.KindRecord, Seq: seq, Received: int64(seq) * 15_000, Time: int64(seq) * 15_000}
			r.Set(record.SourceName, "agents", "")
			r.Set(record.SourcePeer, "10.0.0.3", "")
			r.Set(record.RequesterID, fmt.Sprintf("user%d@example.com", seq%400), "")
			r.Set(record.RequesterType, record.Person, "")
			r.Set(record.RequesterAssurance, record.Asserted, "")
			r.AddFinding(record.RequesterAsserted)
			r.Set(record.ExecutorID, fmt.Sprintf("agent-%d", seq%50), "")
			r.Set(record.ExecutorType, record.Agent, "")
			r.Set(record.ActionOperation, "query", "")
			r.Set(record.ActionTool, "sql", "")
			r.Set(record.TargetID, "db", "")
			r.Set(record.OutcomeStatus, record.Success, "")
			r.Set(record.ChainTraceID, fmt.Sprintf("%032x", seq/3*0x9e3779b97f4a7c15), "")
			r.Set(record.ChainSpanID, fmt.Sprintf("%016x", seq*0x9e3779b97f4a7c15), "")
			r.Set(record.ChainRequestID, fmt.Sprintf("req-%012x", seq*0xbf58476d1ce4e5b9), "")
			r.Set(record.ChainSessionID, fmt.Sprintf("sess-%d", seq%4096), "")
			rows[i] = r
			seq++
		}
		b.StartTimer()
		l.Link(rows)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/record")
}
