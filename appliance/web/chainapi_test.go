package web

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"custody/index"
	"custody/index/chain"
	"custody/ingest"
	"custody/ingest/attribution"
	"custody/ingest/record"
)

// chainOf makes one chain of n records: alice asks, an agent calls another, and
// that one reads n-2 secrets with a token.
func chainOf(n int) []*record.Record {
	out := make([]*record.Record, n)
	for i := range out {
		r := agentRecord(1)
		r.ID[15] = byte(i >> 8)
		r.ID[14] = byte(i)
		r.SetTime(day.Add(time.Duration(i)*time.Second).UnixNano(), "/time")
		r.Set(record.TargetID, fmt.Sprintf("secret/%d", i), "")
		r.Set(record.OutcomeStatus, record.Success, "")
		r.Set(record.RequesterID, "alice@example.com", "")
		r.Set(record.RequesterAssurance, record.Correlated, "")
		r.RemoveList(record.Findings)
		switch i {
		case 0:
			r.Set(record.RequesterAssurance, record.Authenticated, "")
			r.Set(record.ExecutorID, "gateway-agent", "")
		case 1:
			r.Set(record.ExecutorID, "deploy-agent", "")
			r.Set(record.CredentialID, "tok-1", "")
			r.Set(record.CredentialKind, "vault_token", "")
			r.Set(record.CredentialEventOp, "issue", "")
		default:
			r.Set(record.ExecutorID, "reader-agent", "")
			r.Set(record.CredentialID, "tok-1", "")
		}
		if i > 0 {
			r.Set(record.ChainID, "0", "")
			r.AddLink(record.Link{To: uint64(min(i-1, 1)), Relation: chain.CalledBy, Method: chain.Propagated})
		}
		out[i] = r
	}
	return out
}

type chainAnswer struct {
	chainJSON
	Records []json.RawMessage `json:"records"`
}

func TestChainAPI(t *testing.T) {
	f := newFake(chainOf(5)...)
	f.recs[3].AddFinding(record.HalfPair)
	f.recs[3].Add(record.Evidence, "half_pair: the other half did not arrive", "")
	other := agentRecord(9)
	other.RemoveList(record.Delegations)
	f.add(other)
	joined := agentRecord(10)
	joined.Set(record.ChainID, "0", "seq:7")
	f.add(joined)
	s := newSite(t, f)
	root := record.FormatID(f.recs[0].ID)
	for _, id := range []string{"0", "3", root, record.FormatID(f.recs[4].ID)} {
		w := s.get("/api/v1/chains/" + id)
		var got chainAnswer
		decode(t, w, &got)
		if w.Code != 200 || got.ID == nil || *got.ID != root || got.Seq != 0 || len(got.Records) != 6 || len(got.Tree) != 6 {
			t.Fatalf("%s: %d %.400s", id, w.Code, w.Body)
		}
		if len(got.Merged) != 1 || got.Merged[0] != record.FormatID(joined.ID) {
			t.Errorf("merged %q", got.Merged)
		}
	}
	var got chainAnswer
	decode(t, s.get("/api/v1/chains/4"), &got)
	if got.Asked != 4 || got.Truncated || got.To != "2026-11-23T14:00:04Z" {
		t.Errorf("asked %d, to %s", got.Asked, got.To)
	}
	// Whoever the joined record names is another than alice: nobody is named.
	if got.Requester != nil || len(got.Candidates) != 2 || got.Candidates[0].ID != "alice@example.com" || got.Candidates[0].Record != 0 || got.Candidates[1].Record != 6 {
		t.Errorf("requester %+v of %+v", got.Requester, got.Candidates)
	}
	for i, want := range []struct{ seq, parent int }{{6, -1}, {0, -1}, {1, 0}, {2, 1}, {3, 1}, {4, 1}} {
		n := got.Tree[i]
		if int(n.Seq) != want.seq || (n.Parent == nil) != (want.parent < 0) || n.Parent != nil && int(*n.Parent) != want.parent {
			t.Errorf("place %d: %+v", i, n)
		}
	}
	if n := got.Tree[3]; n.Depth != 2 || n.Relation != "called_by" || n.Method != "propagated_context" {
		t.Errorf("%+v", n)
	}
	if len(got.Findings["half_pair"]) != 1 || got.Findings["half_pair"][0] != 3 {
		t.Errorf("findings %v", got.Findings)
	}
	if len(got.Gaps) != 1 || *got.Gaps[0].After != 3 || got.Gaps[0].Why != "the other half did not arrive" {
		t.Errorf("gaps %+v", got.Gaps)
	}
	if k := got.Credentials[0]; len(got.Credentials) != 1 || k.ID != "tok-1" || k.Issued == nil || *k.Issued != 1 || k.Uses != 3 || k.Ended != nil {
		t.Errorf("credentials %+v", got.Credentials)
	}
	if p := got.Principals; len(p) != 4 || p[2].ID != "reader-agent" || p[2].Records != 3 || p[2].Type != "agent" {
		t.Errorf("principals %+v", p)
	}
	r, err := record.Parse(got.Records[4])
	if err != nil || r.Seq != 4 || string(r.Raw) != string(f.recs[4].Raw) {
		t.Errorf("record 4 is not whole: %v", err)
	}

	// What was the first of a chain that was joined leads to the older one.
	for _, id := range []string{"6", record.FormatID(joined.ID)} {
		if w := s.get("/api/v1/chains/" + id); w.Code != 307 || w.Header().Get("Location") != "/api/v1/chains/"+root {
			t.Errorf("%s: %d %s", id, w.Code, w.Header().Get("Location"))
		}
	}
	for id, code := range map[string]int{"99": 404, "nonsense": 404, "-1": 404, strings.Repeat("9", 30): 404} {
		if w := s.get("/api/v1/chains/" + id); w.Code != code {
			t.Errorf("%s: %d", id, w.Code)
		}
	}
	if w := s.do("GET", "/api/v1/chains/0", nil); w.Code != 401 {
		t.Errorf("without signing in: %d", w.Code)
	}
	f.err = errBroken
	if w := s.get("/api/v1/chains/0"); w.Code != 500 || strings.Contains(w.Body.String(), "fire") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// A record that hangs on nothing is a chain of its own, and empty lists are lists.
func TestChainOfOne(t *testing.T) {
	lone := newRecord(1)
	s := newSite(t, newFake(lone))
	w := s.get("/api/v1/chains/0")
	for _, want := range []string{`"merged":[]`, `"requester":null`, `"principals":[]`, `"findings":{}`, `"gaps":[]`, `"credentials":[]`, `"truncated":false`, `"parent":null`} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %s in %s", want, w.Body)
		}
	}
}

// realLedger is a ledger of its own that links what it is sent.
func realLedger(t *testing.T, lines ...string) *index.Ledger {
	t.Helper()
	reg, err := attribution.New(attribution.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := index.Open(index.Options{
		Dir: t.TempDir(), Registry: reg, CheckpointInterval: 20 * time.Millisecond, Reserve: 1,
		Link: &chain.Options{Window: time.Minute, Trusted: func(string) bool { return true }},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	b := &ingest.Batch{Source: &ingest.Source{Name: "agents", Transport: ingest.TCP}}
	for _, line := range lines {
		b.Lines = append(b.Lines, ingest.Line{Raw: []byte(line), Received: time.Now().UnixNano(), Offset: -1})
	}
	taken := make(chan error, 1)
	b.Done = func(err error) { taken <- err }
	if err := l.Submit(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if err := <-taken; err != nil {
		t.Fatal(err)
	}
	return l
}

const someTrace = `"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"`

func TestChainAPIOfARealLedger(t *testing.T) {
	l := realLedger(
		t,
		`{"ts":"2026-11-23T14:00:00Z",`+someTrace+`,"span_id":"a1b2c3d4e5f60718","agent_id":"agent:gateway","user":"alice@example.com","operation":"ask","status":"ok"}`,
		`{"ts":"2026-11-23T14:00:02Z",`+someTrace+`,"span_id":"b1b2c3d4e5f60718","parent_id":"a1b2c3d4e5f60718","agent_id":"agent:deploy","operation":"call","status":"ok"}`,
		`{"ts":"2026-11-23T14:00:03Z",`+someTrace+`,"span_id":"c1b2c3d4e5f60718","parent_id":"b1b2c3d4e5f60718","agent_id":"agent:vault","operation":"read","status":"denied"}`,
		`{"ts":"2026-11-23T14:00:09Z","agent_id":"agent:other","operation":"sleep","status":"ok"}`,
	)
	s := newSite(t, newFake(), func(o *Options) { o.Ledger = l })
	page, err := l.Search(t.Context(), index.Request{Order: index.OldestFirst})
	if err != nil || len(page.Records) != 4 {
		t.Fatal(len(page.Records), err)
	}
	recs := page.Records
	for _, r := range recs[:3] {
		var got chainAnswer
		decode(t, s.get("/api/v1/chains/"+record.FormatID(r.ID)), &got)
		if got.ID == nil || *got.ID != record.FormatID(recs[0].ID) || len(got.Records) != 3 || got.Asked != r.Seq {
			t.Fatalf("%+v", got.chainJSON)
		}
		if got.Requester == nil || got.Requester.ID != "alice@example.com" || got.Requester.Record != recs[0].Seq || got.Requester.Type != "person" {
			t.Errorf("requester %+v", got.Requester)
		}
		for i, n := range got.Tree {
			if n.Seq != recs[i].Seq || n.Depth != i || (n.Parent == nil) != (i == 0) {
				t.Errorf("place %d: %+v", i, n)
			}
		}
		if got.From != "2026-11-23T14:00:00Z" || got.To != "2026-11-23T14:00:03Z" || len(got.Principals) != 3 {
			t.Errorf("%+v", got.chainJSON)
		}
	}
	var alone chainAnswer
	decode(t, s.get("/api/v1/chains/"+uintText(recs[3].Seq)), &alone)
	if len(alone.Records) != 1 || alone.Requester != nil || alone.Candidates != nil {
		t.Errorf("%+v", alone.chainJSON)
	}
}
