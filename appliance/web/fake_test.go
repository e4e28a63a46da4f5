package web

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"sync"
	"time"

	"custody/index"
	"custody/ingest/record"
)

// fakeLedger keeps records in memory and answers as the ledger promises to.
type fakeLedger struct {
	mu      sync.Mutex
	recs    []*record.Record
	sealed  map[uint64]*record.Record // where it differs
	sources []index.SourceStatus
	status  index.Status
	log     map[string][]byte
	err     error         // of every read
	slow    bool          // reads wait for their context
	added   chan struct{} // closed and replaced by add
	tailed  chan uint64   // where each tail begins
}

func newFake(recs ...*record.Record) *fakeLedger {
	f := &fakeLedger{
		sealed: map[uint64]*record.Record{}, added: make(chan struct{}), tailed: make(chan uint64, 256),
		log: map[string][]byte{"tile/0/000": []byte("tile"), "tile/entries/x001/234.p/17": []byte("bundle")},
	}
	f.status = index.Status{Origin: "custody/test", Bytes: 5 << 20, Free: 90 << 30, Segments: 1}
	f.add(recs...)
	return f
}

func (f *fakeLedger) add(recs ...*record.Record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range recs {
		r.Seq = uint64(len(f.recs))
		f.recs = append(f.recs, r)
		f.status.Rows++
		f.status.TreeSize = f.status.Rows
		if r.Kind == record.KindRecord {
			f.status.Durable++
			f.status.Sealed, f.status.Searchable = f.status.Durable, f.status.Durable
		}
	}
	close(f.added)
	f.added = make(chan struct{})
}

func (f *fakeLedger) matching(ctx context.Context, q index.Request) ([]*record.Record, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.slow {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if f.err != nil {
		return nil, f.err
	}
	var out []*record.Record
	for _, r := range f.recs {
		switch {
		case q.Query == nil && r.Kind != record.KindRecord,
			q.From != 0 && r.Time < q.From, q.To != 0 && r.Time >= q.To,
			q.Query != nil && !q.Query.Match(r, r):
			continue
		}
		out = append(out, r)
	}
	return out, nil
}

func (f *fakeLedger) Search(ctx context.Context, q index.Request) (index.Page, error) {
	all, err := f.matching(ctx, q)
	if err != nil {
		return index.Page{}, err
	}
	if q.Order == index.NewestFirst {
		slices.Reverse(all)
	}
	if q.Cursor != "" {
		n, err := strconv.ParseUint(q.Cursor, 10, 64)
		if err != nil {
			return index.Page{}, index.ErrCursor
		}
		at := slices.IndexFunc(all, func(r *record.Record) bool { return r.Seq == n })
		all = all[at+1:]
	}
	if q.Limit == 0 {
		q.Limit = 50
	}
	var p index.Page
	if len(all) > q.Limit {
		all = all[:q.Limit]
		p.Next = strconv.FormatUint(all[len(all)-1].Seq, 10)
	}
	p.Records = all
	return p, nil
}

func (f *fakeLedger) Count(ctx context.Context, q index.Request) (uint64, error) {
	all, err := f.matching(ctx, q)
	return uint64(len(all)), err
}

func (f *fakeLedger) Facets(ctx context.Context, q index.Request, fields []record.Path, top int) ([]index.Facet, error) {
	all, err := f.matching(ctx, q)
	out := make([]index.Facet, len(fields))
	for i, p := range fields {
		out[i].Field = p
		counts := map[string]uint64{}
		for _, r := range all {
			vs := r.Values(p, nil)
			if len(vs) == 0 {
				out[i].Absent++
			}
			for _, v := range vs {
				counts[v]++
			}
		}
		for v, n := range counts {
			out[i].Values = append(out[i].Values, index.FacetValue{Value: v, Count: n})
		}
		slices.SortFunc(out[i].Values, func(a, b index.FacetValue) int {
			if a.Count != b.Count {
				return int(b.Count) - int(a.Count)
			}
			return slices.Compare([]byte(a.Value), []byte(b.Value))
		})
		for len(out[i].Values) > top {
			out[i].Other += out[i].Values[len(out[i].Values)-1].Count
			out[i].Values = out[i].Values[:len(out[i].Values)-1]
		}
	}
	return out, err
}

func (f *fakeLedger) Histogram(ctx context.Context, q index.Request, buckets int) ([]index.Bucket, error) {
	all, err := f.matching(ctx, q)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	lo, hi := q.From, q.To
	for _, r := range all {
		if q.From == 0 && (lo == 0 || r.Time < lo) {
			lo = r.Time
		}
		if q.To == 0 && r.Time+1 > hi {
			hi = r.Time + 1
		}
	}
	width := (hi-lo)/int64(buckets) + 1
	out := make([]index.Bucket, buckets)
	for i := range out {
		out[i].From, out[i].To = lo+int64(i)*width, lo+int64(i+1)*width
	}
	for _, r := range all {
		out[(r.Time-lo)/width].Count++
	}
	return out, nil
}

func (f *fakeLedger) Get(_ context.Context, id string) (eff, sealed *record.Record, st index.SealState, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.recs {
		if record.FormatID(r.ID) != id && strconv.FormatUint(r.Seq, 10) != id {
			continue
		}
		st = index.SealState{Durable: true, Sealed: true, TreeSize: uint64(len(f.recs)), EntryHash: [32]byte{1, 2, 3}}
		if o := f.sealed[r.Seq]; o != nil {
			return r, o, st, nil
		}
		return r, r, st, nil
	}
	return nil, nil, st, fmt.Errorf("get: %w", index.ErrNotFound)
}

func (f *fakeLedger) Tail(ctx context.Context, q index.Request, from uint64, fn func(uint64, index.Load) error, reached func(uint64)) error {
	f.mu.Lock()
	at := int(min(from, uint64(len(f.recs))))
	f.mu.Unlock()
	select {
	case f.tailed <- from:
	case <-ctx.Done():
	}
	for {
		f.mu.Lock()
		news, wait := f.recs[at:], f.added
		f.mu.Unlock()
		for _, r := range news {
			if q.Query != nil && !q.Query.Match(r, r) {
				continue
			}
			if err := fn(r.Seq, func() (*record.Record, error) { return r, nil }); err != nil {
				return err
			}
		}
		at += len(news)
		reached(uint64(at))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wait:
		}
	}
}

func (f *fakeLedger) Status() index.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

func (f *fakeLedger) setStatus(fn func(*index.Status)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn(&f.status)
}

func (f *fakeLedger) Sources() []index.SourceStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.sources)
}

func (f *fakeLedger) Checkpoint() ([]byte, error) { return []byte("custody/test\n1\n"), nil }

func (f *fakeLedger) ReadLog(path string) ([]byte, error) {
	if b, ok := f.log[path]; ok {
		return b, nil
	}
	return nil, fmt.Errorf("read log: %w", fs.ErrNotExist)
}

var errBroken = errors.New("disk on fire")

// The day on which everything in the tests happens.
var day = time.Date(2026, 11, 23, 14, 0, 0, 0, time.UTC)

func newRecord(n int) *record.Record {
	r := &record.Record{Kind: record.KindRecord}
	r.ID = [16]byte{0x01, 0x93, 0x4c, 0x1e, 0x7b, 0x2a, 0x7c, 0xc3, 0x9a, byte(n >> 16), byte(n >> 8), byte(n)}
	at := day.Add(-time.Duration(n) * 17 * time.Second)
	r.SetTime(at.UnixNano(), "/time")
	r.Received = at.Add(20 * time.Millisecond).UnixNano()
	return r
}

// agentRecord is an ordinary attributed event.
func agentRecord(n int) *record.Record {
	r := newRecord(n)
	people := []string{"alice@example.com", "bob@example.com", "carol@example.com", "dora@example.com"}
	agents := []string{"deploy-agent", "triage-agent", "spiffe://example.com/agent/research", "report-agent"}
	tools := []string{"kv", "kubectl", "s3", "search_issues", "bash"}
	services := []string{"vault", "kubernetes", "aws", "mcp-gateway", "sudo"}
	ops := []string{"read", "create", "list", "call", "run"}
	targets := []string{"secret/data/prod/db", "pods/web-7f9c", "s3://reports/2026/11", "issue 4471", "/usr/bin/systemctl restart web"}
	i := n * 7 % 5
	set := func(f record.Field, v string) { r.Set(f, v, "/"+f.String()) }
	if n%9 != 4 {
		set(record.RequesterID, people[n*3%4])
		set(record.RequesterType, record.Person)
		set(record.RequesterAssurance, record.Asserted)
	} else {
		r.SetAbsent("requester", record.NotRecorded)
		r.AddFinding(record.RequesterMissing)
	}
	set(record.ExecutorID, agents[n*5%4])
	set(record.ExecutorType, record.Agent)
	set(record.ActionService, services[i])
	set(record.ActionTool, tools[i])
	set(record.ActionOperation, ops[i])
	set(record.TargetID, targets[i])
	set(record.SourceName, []string{"vault-prod", "k8s-audit", "gateway"}[n%3])
	set(record.SourceFormat, "json")
	set(record.SourceTransport, "syslog/tcp")
	set(record.SourcePeer, "10.0.0.3")
	set(record.ChainRequestID, fmt.Sprintf("req-%d", 5000+n))
	set(record.ChainTraceID, "4bf92f3577b34da6a3ce929d0e0e4736")
	switch {
	case n%11 == 3:
		set(record.OutcomeStatus, record.Denied)
		set(record.DecisionEffect, record.Deny)
		r.AddFinding(record.DecisionMissing)
		set(record.Risk, "high")
	case n%13 == 5:
		set(record.OutcomeStatus, record.Failure)
	default:
		set(record.OutcomeStatus, record.Success)
	}
	r.AddDelegation(record.Delegation{Principal: "alice@example.com", Scopes: []string{"deploy:write"}}, "/act")
	r.Raw = fmt.Appendf(nil, `{"time":%q,"request":{"id":"req-%d","operation":%q,"path":%q},"auth":{"token_ttl":1800,"policies":["default","deploy-read"],"root":false,"entity":null}}`,
		r.Get(record.Time), 5000+n, ops[i], targets[i])
	return r
}
