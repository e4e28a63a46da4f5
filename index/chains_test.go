package index

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"custody/index/chain"
	"custody/index/query"
	"custody/ingest"
	"custody/ingest/record"
)

func linked(t *testing.T) *fixture {
	t.Helper()
	return newFixture(t, Options{Link: &chain.Options{Window: time.Minute, Trusted: func(string) bool { return true }}})
}

// traced is one event of an agent's trace.
func traced(trace, id, parent, agent, user string) string {
	s := fmt.Sprintf(`{"trace_id":%q,"span_id":%q,"agent_id":%q,"operation":"call","status":"ok"`, trace, id, agent)
	if parent != "" {
		s += fmt.Sprintf(`,"parent_id":%q`, parent)
	}
	if user != "" {
		s += fmt.Sprintf(`,"user":%q`, user)
	}
	return s + "}"
}

const aTrace = "4bf92f3577b34da6a3ce929d0e0e4736"

// say submits lines and waits until they are durable.
func (f *fixture) say(lines ...string) {
	f.t.Helper()
	b := &ingest.Batch{Source: &ingest.Source{Name: "agents", Transport: ingest.TCP}}
	for _, l := range lines {
		b.Lines = append(b.Lines, ingest.Line{Raw: []byte(l), Received: time.Now().UnixNano(), Offset: -1})
	}
	done := make(chan error, 1)
	b.Done = func(err error) { done <- err }
	if err := f.l.Submit(f.t.Context(), b); err != nil {
		f.t.Fatal(err)
	}
	if err := <-done; err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) one(query string) *record.Record {
	f.t.Helper()
	rows := found(f.t, f.l, query)
	if len(rows) != 1 {
		f.t.Fatalf("%s: %d records", query, len(rows))
	}
	return rows[0]
}

// until waits for what the linker states with the next group.
func (f *fixture) until(what string, ok func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			f.t.Fatal("waited too long for ", what)
		}
	}
}

func TestChainAcrossBatchesAndRestart(t *testing.T) {
	f := linked(t)
	f.say(traced(aTrace, "b1b2c3d4e5f60718", "a1b2c3d4e5f60718", "agent:deploy", ""))
	child := f.one(`executor.id:"agent:deploy"`)
	if child.Has(record.RequesterID) {
		t.Fatal("named before anybody asked")
	}
	f.close()
	f.open()
	f.say(traced(aTrace, "a1b2c3d4e5f60718", "", "agent:gateway", "alice@example.com"))
	f.say(traced(aTrace, "c1b2c3d4e5f60718", "b1b2c3d4e5f60718", "agent:vault", ""))
	f.until("the late requester", func() bool {
		return len(found(t, f.l, `executor.id:"agent:deploy" requester.id:alice@example.com requester.assurance:correlated`)) == 1
	})
	deep := f.one(`executor.id:"agent:vault"`)
	if deep.Get(record.RequesterID) != "alice@example.com" {
		t.Errorf("the deep call is %q's", deep.Get(record.RequesterID))
	}
	for _, id := range []string{record.FormatID(child.ID), record.FormatID(deep.ID), fmt.Sprint(deep.Seq)} {
		c, err := f.l.Chain(t.Context(), id)
		if err != nil || c.Root != child.Seq || len(c.Records) != 3 {
			t.Fatalf("%s: %+v, %v", id, c, err)
		}
	}
	if n := len(found(t, f.l, "findings:requester_missing")); n != 0 {
		t.Errorf("%d records still miss a requester", n)
	}
}

// Two chains turn out to be one when a record names both.
func TestChainsAreJoined(t *testing.T) {
	f := linked(t)
	other := strings.Repeat("ab", 16)
	f.say(traced(aTrace, "a1b2c3d4e5f60718", "", "agent:one", "alice@example.com"))
	f.say(`{"trace_id":"` + other + `","task_id":"task-778899","agent_id":"agent:two","operation":"x","status":"ok"}`)
	f.say(`{"trace_id":"` + other + `","agent_id":"agent:three","operation":"x","status":"ok"}`)
	f.say(`{"trace_id":"` + aTrace + `","task_id":"task-778899","agent_id":"agent:four","operation":"x","status":"ok"}`)
	one, two, three := f.one(`executor.id:"agent:one"`), f.one(`executor.id:"agent:two"`), f.one(`executor.id:"agent:three"`)
	f.until("the join", func() bool {
		c, err := f.l.Chain(t.Context(), fmt.Sprint(three.Seq))
		return err == nil && c.Root == one.Seq && len(c.Records) == 4
	})
	c, err := f.l.Chain(t.Context(), fmt.Sprint(two.Seq))
	if err != nil || !c.Moved || len(c.Merged) != 1 || c.Merged[0] != two.Seq {
		t.Fatalf("%+v, %v", c, err)
	}
	f.until("the requester of all", func() bool {
		return len(found(t, f.l, "requester.id:alice@example.com")) == 4
	})
}

func found(t *testing.T, l *Ledger, q string) []*record.Record {
	t.Helper()
	parsed, err := query.Parse(q)
	if err != nil {
		t.Fatal(err)
	}
	page, err := l.Search(t.Context(), Request{Query: parsed, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return page.Records
}
