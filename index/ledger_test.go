package index

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"custody/index/query"
	"custody/index/seal"
	"custody/index/store"
	"custody/index/verify"
	"custody/ingest"
	"custody/ingest/attribution"
	"custody/ingest/record"
)

// fixture is a ledger in a folder. At clean-up it is stopped and everything in
// the folder is checked against everything else.
type fixture struct {
	t    *testing.T
	dir  string
	opts Options
	l    *Ledger
	stop func()
}

func newFixture(t *testing.T, opts Options) *fixture {
	t.Helper()
	f := &fixture{t: t, dir: t.TempDir(), opts: opts}
	f.open()
	t.Cleanup(func() {
		f.close()
		f.verify()
	})
	return f
}

func (f *fixture) open() {
	f.t.Helper()
	reg, err := attribution.New(attribution.Options{})
	if err != nil {
		f.t.Fatal(err)
	}
	o := f.opts
	o.Dir, o.Registry = f.dir, reg
	o.Logger = slog.New(slog.NewTextHandler(f.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	o.CheckpointInterval = 20 * time.Millisecond
	o.Reserve = 1
	l, err := Open(o)
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := l.Run(ctx); err != nil {
			f.t.Error(err)
		}
	}()
	f.l = l
	f.stop = func() {
		cancel()
		<-done
		if err := l.Close(); err != nil {
			f.t.Error(err)
		}
	}
}

func (f *fixture) close() {
	if f.stop != nil {
		f.stop()
		f.stop = nil
	}
}

func (f *fixture) verify() {
	f.t.Helper()
	rep := verifyDir(f.t, f.dir)
	for _, p := range rep.Problems {
		f.t.Error(p)
	}
}

func verifyDir(t *testing.T, dir string) *verify.Report {
	t.Helper()
	st, err := store.Open(filepath.Join(dir, "segments"), store.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	for _, seg := range st.Segments() {
		if err := seg.Check(func(from, to uint64, err error) { t.Errorf("check: seq %d to %d: %v", from, to, err) }); err != nil {
			t.Error(err)
		}
	}
	rep, err := VerifyStore(context.Background(), dir, st, nil) // also at clean-up
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

var testSource = &ingest.Source{Name: "gateway", Transport: ingest.File, Format: "json"}

// send submits lines as one batch and waits until they are durable.
func (f *fixture) send(lines ...string) {
	f.t.Helper()
	b := &ingest.Batch{Source: testSource, File: "/var/log/agent.json"}
	now := time.Now().UnixNano()
	for _, l := range lines {
		b.Lines = append(b.Lines, ingest.Line{Raw: []byte(l), Received: now, Offset: -1})
	}
	done := make(chan error, 1)
	b.Done = func(err error) { done <- err }
	if err := f.l.Submit(context.Background(), b); err != nil {
		f.t.Fatal(err)
	}
	if err := <-done; err != nil {
		f.t.Fatal(err)
	}
}

func event(i int) string {
	return fmt.Sprintf(`{"ts":"2026-11-23T10:00:%02d.%06dZ","request_id":"req-%08x","trace_id":"%032x","requester":"user%d@example.com","agent":"agent-%d","tool":"%s","operation":"read","target":"secret/data/%d","decision":"allow","status":"success","message":"the agent read item %d"}`,
		i/1000%60, i%1000, i, i*7919, i%7, i%3, []string{"kv", "shell", "deploy"}[i%3], i%11, i)
}

func (f *fixture) count(q string) uint64 {
	f.t.Helper()
	n, err := f.l.Count(f.t.Context(), Request{Query: mustQuery(f.t, q)})
	if err != nil {
		f.t.Fatal(err)
	}
	return n
}

func mustQuery(t *testing.T, q string) *query.Query {
	t.Helper()
	p, err := query.Parse(q)
	if err != nil {
		t.Fatalf("%s: %v", q, err)
	}
	return p
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

func TestLedgerEndToEnd(t *testing.T) {
	f := newFixture(t, Options{SegmentRows: 3000})
	const n = 10_000
	var want [3]uint64
	for i := 0; i < n; {
		var lines []string
		for range 1 + i%700 {
			if i == n {
				break
			}
			want[i%3]++
			lines = append(lines, event(i))
			i++
		}
		f.send(lines...)
	}
	check := func() {
		t.Helper()
		if got := f.count("*"); got != n {
			t.Errorf("count * = %d, want %d", got, n)
		}
		if got := f.count("action.tool:shell"); got != want[1] {
			t.Errorf("count shell = %d, want %d", got, want[1])
		}
		for _, i := range []int{0, 17, 4999, 9999} {
			p, err := f.l.Search(t.Context(), Request{Query: mustQuery(t, fmt.Sprintf("chain.request_id:req-%08x", i))})
			if err != nil || len(p.Records) != 1 {
				t.Fatalf("request %d: %d records, %v", i, len(p.Records), err)
			}
			if string(p.Records[0].Raw) != event(i) {
				t.Errorf("raw %q, want %q", p.Records[0].Raw, event(i))
			}
			id := record.FormatID(p.Records[0].ID)
			if got := f.count("id:" + id); got != 1 {
				t.Errorf("count id:%s = %d", id, got)
			}
			eff, _, st, err := f.l.Get(t.Context(), id)
			if err != nil || eff.Seq != p.Records[0].Seq || !st.Durable {
				t.Errorf("get %s: %+v, %v", id, st, err)
			}
		}
		if got := f.count(`"item 4321"`); got != 1 {
			t.Errorf("phrase: %d", got)
		}
		fs, err := f.l.Facets(t.Context(), Request{}, []record.Path{{Field: record.ActionTool}}, 10)
		if err != nil || len(fs[0].Values) != 3 || fs[0].Values[0].Count != want[0] {
			t.Errorf("facets %+v, %v", fs, err)
		}
		h, err := f.l.Histogram(t.Context(), Request{}, 10)
		var sum uint64
		for _, b := range h {
			sum += b.Count
		}
		if err != nil || sum != n {
			t.Errorf("histogram sums to %d, %v", sum, err)
		}
		seen := 0
		cursor := ""
		var last uint64 = 1 << 62
		for {
			p, err := f.l.Search(t.Context(), Request{Limit: 997, Cursor: cursor})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range p.Records {
				if r.Seq >= last {
					t.Fatalf("seq %d behind %d", r.Seq, last)
				}
				last = r.Seq
			}
			seen += len(p.Records)
			if cursor = p.Next; cursor == "" {
				break
			}
		}
		if seen != n {
			t.Errorf("paging saw %d, want %d", seen, n)
		}
	}
	check()
	eventually(t, "all sealed", func() bool { return f.l.Status().Sealed == n })
	eventually(t, "packed", func() bool {
		segs := f.l.store.Segments()
		for _, s := range segs[:len(segs)-1] {
			if s.Generation == 0 {
				return false
			}
		}
		return true
	})
	check()
	f.close()
	f.open()
	check()
	f.send(event(n))
	if got := f.count("*"); got != n+1 {
		t.Errorf("after a restart: %d", got)
	}
}

func TestLedgerAmendments(t *testing.T) {
	f := newFixture(t, Options{})
	f.send(event(1), event(2))
	p, err := f.l.Search(t.Context(), Request{Query: mustQuery(t, "action.tool:shell")})
	if err != nil || len(p.Records) != 1 {
		t.Fatalf("%d records, %v", len(p.Records), err)
	}
	seq := p.Records[0].Seq
	if _, err := f.l.Amend(t.Context(), seq, func(r *record.Record) {
		r.Set(record.RequesterID, "carol@example.com", "")
		r.Set(record.RequesterAssurance, record.Correlated, "")
		r.AddFinding(record.ChainBroken)
	}); err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		for q, want := range map[string]uint64{
			"requester.id:carol@example.com": 1, "requester.id:user1@example.com": 0,
			"sealed.requester.id:user1@example.com": 1, "findings:chain_broken": 1, "*": 2,
		} {
			if got := f.count(q); got != want {
				t.Errorf("count %s = %d, want %d", q, got, want)
			}
		}
		eff, sealed, _, err := f.l.Get(t.Context(), fmt.Sprint(seq))
		if err != nil || eff.Get(record.RequesterID) != "carol@example.com" || sealed.Get(record.RequesterID) != "user1@example.com" {
			t.Errorf("get: %v", err)
		}
		if got := eff.Prov(record.RequesterID); !strings.HasPrefix(got, "seq:") {
			t.Errorf("provenance %q", got)
		}
		fs, err := f.l.Facets(t.Context(), Request{}, []record.Path{{Field: record.RequesterID}}, 10)
		if err != nil || len(fs[0].Values) != 2 || fs[0].Values[0].Value != "carol@example.com" {
			t.Errorf("facets %+v %v", fs, err)
		}
	}
	check()
	f.close()
	f.open()
	check()
}

func TestLedgerRedactAndExpire(t *testing.T) {
	f := newFixture(t, Options{SegmentRows: 1000})
	for i := range 25 {
		var lines []string
		for k := range 100 {
			lines = append(lines, event(i*100+k))
		}
		f.send(lines...)
	}
	eventually(t, "all sealed", func() bool { return f.l.Status().Sealed == 2500 })
	before := f.count("requester.id:user3@example.com")
	n, err := f.l.Redact(t.Context(), Redaction{
		Policy: "erase-user3", Basis: "GDPR 17", Fields: []record.Field{record.RequesterID},
		Query: mustQuery(t, "requester.id:user3@example.com"),
	})
	if err != nil || uint64(n) != before {
		t.Fatalf("redacted %d of %d: %v", n, before, err)
	}
	for _, q := range []string{"requester.id:user3@example.com", "user3", `"user3@example.com"`} {
		if got := f.count(q); got != 0 {
			t.Errorf("count %s = %d after erasure", q, got)
		}
	}
	if got := f.count("absence.requester.id:redacted"); got != before {
		t.Errorf("%d records show the redaction, want %d", got, before)
	}
	if got := f.count("*"); got != 2500 {
		t.Errorf("%d records left", got)
	}
	assertGone(t, f, "user3@example.com")
	f.close()
	rep := verifyDir(t, f.dir)
	if rep.Redacted != before || !rep.OK() {
		t.Errorf("verify: %+v", rep)
	}
	f.open()
	cert, err := f.l.Expire(t.Context(), Expiry{Class: "default", Query: mustQuery(t, "*"), Before: time.Now().Add(time.Hour).UnixNano()})
	if err != nil || cert.Records < 2500 || cert.Seq == 0 {
		t.Fatalf("expire: %+v, %v", cert, err)
	}
	if got := f.count("*"); got != 0 {
		t.Errorf("%d records left after expiry", got)
	}
	f.send(event(1))
	f.close()
	if rep := verifyDir(t, f.dir); !rep.OK() || rep.Expired < 2500 {
		b, _ := json.Marshal(rep)
		t.Errorf("verify: %s", b)
	}
}

// assertGone looks for text in every decoded value and every index term of all segments.
func assertGone(t *testing.T, f *fixture, text string) {
	t.Helper()
	err := StoredRows(t.Context(), f.l.store, func(from, to uint64, err error) { t.Error(from, to, err) },
		func(r *record.Record, _ seal.Entry, _ []seal.Unit) error {
			if strings.Contains(string(r.AppendJSON(nil)), text) {
				t.Errorf("seq %d still holds %q", r.Seq, text)
			}
			return nil
		})
	if err != nil {
		t.Fatal(err)
	}
}
