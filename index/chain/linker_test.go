package chain

import (
	"slices"
	"strings"
	"testing"
	"time"

	"custody/ingest/record"
)

// world feeds records to a Linker and keeps the effective ones.
type world struct {
	t    *testing.T
	l    *Linker
	opts Options
	rows []*record.Record // by seq; amendments stand among them
	now  time.Time
}

func newWorld(t *testing.T, opts Options) *world {
	t.Helper()
	if opts.Trusted == nil {
		opts.Trusted = func(s string) bool { return strings.HasPrefix(s, "trusted") }
	}
	return &world{t: t, l: New(opts), opts: opts, now: time.Date(2026, 11, 23, 14, 0, 0, 0, time.UTC)}
}

// rec makes a record of "field=value" words; findings and attributes may repeat.
func (w *world) rec(words ...string) *record.Record {
	w.t.Helper()
	r := &record.Record{Kind: record.KindRecord}
	r.Set(record.SourceName, "trusted", "")
	r.Set(record.OutcomeStatus, record.Success, "")
	for _, word := range words {
		name, v, _ := strings.Cut(word, "=")
		p, ok := record.Lookup(name)
		if !ok {
			w.t.Fatalf("no field %s", name)
		}
		switch {
		case p.Field == record.Delegations:
			principal, cred, _ := strings.Cut(v, "|")
			r.AddDelegation(record.Delegation{Principal: principal, Credential: cred}, "")
		case p.Field.IsList():
			r.Add(p.Field, v, "")
		default:
			r.Set(p.Field, v, "")
		}
	}
	return r
}

// feed links one batch, a second later than the one before.
func (w *world) feed(rows ...*record.Record) {
	w.t.Helper()
	w.now = w.now.Add(time.Second)
	for _, r := range rows {
		r.Received = w.now.UnixNano()
		if r.Time == 0 {
			r.Time = r.Received
		}
		r.Seq = uint64(len(w.rows))
		w.rows = append(w.rows, r)
	}
	w.state(w.l.Link(rows))
}

// pass lets time go by.
func (w *world) pass(d time.Duration) {
	w.now = w.now.Add(d)
	w.state(w.l.Tick(w.now.UnixNano()))
}

func (w *world) state(list []Amendment) {
	for i := range list {
		r := &record.Record{Kind: record.KindAmendment, Seq: uint64(len(w.rows)), Received: w.now.UnixNano()}
		list[i].Fill(r)
		w.rows = append(w.rows, r)
	}
}

// restart makes a new Linker that knows only the rows.
func (w *world) restart() {
	w.l = New(w.opts)
	p := w.l.Replay()
	for _, r := range w.rows {
		p.Row(r)
	}
	w.state(p.Done())
}

// effective is the record with what was stated of it later.
func (w *world) effective(r *record.Record) *record.Record {
	w.t.Helper()
	eff, err := record.Parse(r.AppendJSON(nil))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, a := range w.rows {
		if a.Kind != record.KindAmendment || !slices.Contains(a.List(record.About), decimal(r.Seq)) {
			continue
		}
		if a.Absent("requester") != "" {
			eff.Unset(record.RequesterID)
		}
		for _, f := range [...]record.Field{record.RequesterID, record.RequesterAssurance, record.ChainID, record.ExecutorID} {
			eff.Set(f, a.Get(f), "")
		}
		if a.Has(record.RequesterID) {
			eff.RemoveFinding(record.RequesterMissing)
		}
		for _, f := range a.List(record.Findings) {
			eff.AddFinding(f)
		}
		for _, k := range a.LinkList() {
			eff.AddLink(k)
		}
	}
	return eff
}

// want checks the requester, the chain's root and the findings of a record.
func (w *world) want(r *record.Record, requester string, root *record.Record, findings ...string) {
	w.t.Helper()
	eff := w.effective(r)
	if got := eff.Get(record.RequesterID); got != requester {
		w.t.Errorf("#%d: requester %q, want %q", r.Seq, got, requester)
	}
	chain := decimal(r.Seq)
	for at := eff; at.Has(record.ChainID); at = w.effective(w.rows[numberOf(at, record.ChainID)]) {
		chain = at.Get(record.ChainID)
	}
	if root != nil && chain != decimal(root.Seq) {
		w.t.Errorf("#%d: in chain %s, want %d", r.Seq, chain, root.Seq)
	}
	got := eff.List(record.Findings)
	slices.Sort(got)
	slices.Sort(findings)
	if !slices.Equal(got, findings) {
		w.t.Errorf("#%d: findings %v, want %v", r.Seq, got, findings)
	}
}

func (w *world) wantLink(r *record.Record, to *record.Record, relation, method string) {
	w.t.Helper()
	for _, k := range w.effective(r).LinkList() {
		if k.To == to.Seq && k.Relation == relation && k.Method == method {
			return
		}
	}
	w.t.Errorf("#%d: links %v, want %s #%d by %s", r.Seq, w.effective(r).List(record.Links), relation, to.Seq, method)
}

const (
	trace1 = "4bf92f3577b34da6a3ce929d0e0e4736"
	trace2 = "0af7651916cd43dd8448eb211c80319c"
)

func TestTraceNamesTheRequester(t *testing.T) {
	w := newWorld(t, Options{})
	root := w.rec("requester.id=alice@example.com", "requester.type=person", "executor.id=gw", "executor.type=agent", "chain.trace_id="+trace1, "chain.span_id=a1b2c3d4e5f60718")
	call := w.rec("executor.id=deploy", "executor.type=agent", "chain.trace_id="+trace1, "chain.parent_id=a1b2c3d4e5f60718", "chain.span_id=b1b2c3d4e5f60718")
	deep := w.rec("executor.id=vault-agent", "executor.type=workload", "chain.trace_id="+trace1, "chain.parent_id=b1b2c3d4e5f60718")
	w.feed(root)
	w.feed(call)
	w.feed(deep)
	w.want(call, "alice@example.com", root)
	w.want(deep, "alice@example.com", root)
	w.wantLink(call, root, CalledBy, Propagated)
	w.wantLink(deep, call, CalledBy, Propagated)
	if got := deep.Get(record.RequesterAssurance); got != record.Correlated {
		t.Errorf("assurance %s", got)
	}
}

func TestChildrenBeforeTheirParent(t *testing.T) {
	for _, together := range []bool{true, false} {
		w := newWorld(t, Options{})
		child := w.rec("executor.id=deploy", "executor.type=agent", "chain.trace_id="+trace1, "chain.parent_id=a1b2c3d4e5f60718")
		root := w.rec("requester.id=alice@example.com", "requester.type=person", "executor.id=gw", "executor.type=agent", "chain.trace_id="+trace1, "chain.span_id=a1b2c3d4e5f60718")
		if together {
			w.feed(child, root)
		} else {
			w.feed(child)
			if w.effective(child).Has(record.RequesterID) {
				t.Error("named too early")
			}
			w.feed(root)
		}
		w.want(child, "alice@example.com", child)
		w.want(root, "alice@example.com", child)
	}
}

func TestTwoPeopleInOneTraceAreAmbiguous(t *testing.T) {
	w := newWorld(t, Options{})
	a := w.rec("requester.id=alice@example.com", "requester.type=person", "executor.id=gw", "executor.type=agent", "chain.trace_id="+trace1)
	early := w.rec("executor.id=deploy", "executor.type=agent", "chain.trace_id="+trace1)
	b := w.rec("requester.id=bob@example.com", "requester.type=person", "executor.id=gw", "executor.type=agent", "chain.trace_id="+trace1)
	late := w.rec("executor.id=deploy", "executor.type=agent", "chain.trace_id="+trace1)
	w.feed(a)
	w.feed(early)
	w.want(early, "alice@example.com", a)
	w.feed(b)
	w.feed(late)
	w.want(late, "", a, record.LinkAmbiguous)
	w.want(early, "", a, record.LinkAmbiguous)
}

// A directory's number and a name in one trace may be two people: nobody is named by the trace.
func TestANumberBesideANameNamesNobody(t *testing.T) {
	w := newWorld(t, Options{})
	number := w.rec("requester.id=720550ee-58c0-4a0d-a592-a7d1713538db", "requester.type=person", "requester.assurance=authenticated", "executor.id=gw", "executor.type=agent", "chain.trace_id="+trace1)
	name := w.rec("requester.id=xena@example.com", "requester.type=person", "requester.assurance=authenticated", "executor.id=d", "executor.type=agent", "chain.trace_id="+trace1)
	call := w.rec("executor.id=v", "executor.type=workload", "chain.trace_id="+trace1)
	w.feed(number)
	w.feed(name)
	w.feed(call)
	w.want(call, "", number, record.LinkAmbiguous)
}

func TestCredentialCarriesTheRequester(t *testing.T) {
	w := newWorld(t, Options{})
	issue := w.rec("requester.id=alice@example.com", "requester.type=person", "executor.id=agent-a", "executor.type=agent",
		"credential_event.op=issue", "authority.credential.id=ASIAEXAMPLE1", "authority.credential.expires=2026-11-23T15:00:00Z")
	use := w.rec("executor.id=arn:aws:sts::111122223333:assumed-role/deploy/s1", "executor.type=service_account", "authority.credential.id=ASIAEXAMPLE1")
	revoke := w.rec("executor.id=admin", "executor.type=person", "credential_event.op=revoke", "authority.credential.id=ASIAEXAMPLE1")
	after := w.rec("executor.id=arn:aws:sts::111122223333:assumed-role/deploy/s1", "executor.type=service_account", "authority.credential.id=ASIAEXAMPLE1")
	expired := w.rec("executor.id=arn:aws:sts::111122223333:assumed-role/deploy/s1", "executor.type=service_account", "authority.credential.id=ASIAEXAMPLE1")
	expired.Time = time.Date(2026, 11, 23, 15, 30, 0, 0, time.UTC).UnixNano()
	w.feed(issue)
	w.feed(use)
	w.feed(revoke)
	w.feed(after)
	w.feed(expired)
	w.want(use, "alice@example.com", issue)
	w.wantLink(use, issue, UsesCredential, Credential)
	w.want(after, "alice@example.com", issue, record.CredentialUsedAfterRevoke)
	w.want(expired, "alice@example.com", issue, record.CredentialUsedAfterRevoke, record.CredentialExpired)
}

// A trace that somebody forged says Alice, the credential says Bob: nobody is named.
func TestForgedTraceAgainstCredential(t *testing.T) {
	w := newWorld(t, Options{})
	a := w.rec("requester.id=alice@example.com", "requester.type=person", "executor.id=gw", "executor.type=agent", "chain.trace_id="+trace1)
	issue := w.rec("requester.id=bob@example.com", "requester.type=person", "executor.id=m", "executor.type=agent",
		"credential_event.op=exchange", "authority.credential.id=tok-bob-77")
	use := w.rec("executor.id=m", "executor.type=agent", "authority.credential.id=tok-bob-77", "chain.trace_id="+trace1)
	w.feed(a)
	w.feed(issue)
	w.feed(use)
	if got := w.effective(use).Get(record.RequesterID); got == "alice@example.com" {
		t.Errorf("framed %s", got)
	}
}

// What a stranger on an open listener sends ties itself to nothing.
func TestStrangersStayAlone(t *testing.T) {
	w := newWorld(t, Options{})
	a := w.rec("requester.id=alice@example.com", "requester.type=person", "executor.id=gw", "executor.type=agent", "chain.trace_id="+trace1)
	forged := w.rec("source.name=open", "source.peer=203.0.113.9", "requester.id=mallory", "requester.type=person", "executor.id=x", "executor.type=agent", "chain.trace_id="+trace1)
	echo := w.rec("source.name=open", "source.peer=203.0.113.9", "executor.id=x", "executor.type=agent", "chain.trace_id="+trace1)
	call := w.rec("executor.id=deploy", "executor.type=agent", "chain.trace_id="+trace1)
	w.feed(a)
	w.feed(forged)
	w.feed(echo)
	w.feed(call)
	w.want(call, "alice@example.com", a)
	w.want(echo, "mallory", forged)
}

func TestTenantsNeverMeet(t *testing.T) {
	w := newWorld(t, Options{})
	a := w.rec("context.tenant=one", "requester.id=alice@example.com", "requester.type=person", "executor.id=gw", "executor.type=agent", "chain.trace_id="+trace1)
	b := w.rec("context.tenant=two", "executor.id=gw", "executor.type=agent", "chain.trace_id="+trace1)
	w.feed(a, b)
	w.want(b, "", b, record.RequesterMissing)
}

func TestHandoffWithANewTrace(t *testing.T) {
	w := newWorld(t, Options{})
	a := w.rec("requester.id=alice@example.com", "requester.type=person", "executor.id=triage", "executor.type=agent", "chain.trace_id="+trace1, "chain.task_id=task-9911", "chain.handoff=deploy")
	b := w.rec("executor.id=deploy", "executor.type=agent", "chain.trace_id="+trace2, "chain.task_id=task-9911")
	w.feed(a)
	w.feed(b)
	w.want(b, "alice@example.com", a, record.ChainBroken)
	w.wantLink(b, a, HandsOff, Identifier)

	lost := w.rec("requester.id=alice@example.com", "requester.type=person", "executor.id=triage", "executor.type=agent", "chain.task_id=task-9912", "chain.handoff=nobody")
	w.feed(lost)
	w.pass(16 * time.Minute)
	w.want(lost, "alice@example.com", lost, record.ChainBroken)
}

func TestHalfPairs(t *testing.T) {
	w := newWorld(t, Options{})
	whole := w.rec("requester.id=alice", "executor.id=x", "executor.type=agent", "attributes=half=request", "chain.request_id=9f1c0000-aaaa")
	answer := w.rec("requester.id=alice", "executor.id=x", "executor.type=agent", "attributes=half=response", "chain.request_id=9f1c0000-aaaa")
	lone := w.rec("requester.id=alice", "executor.id=x", "executor.type=agent", "attributes=half=request", "chain.request_id=9f1c0000-bbbb")
	w.feed(whole, answer, lone)
	w.wantLink(answer, whole, RespondsTo, Identifier)
	w.pass(10 * time.Minute)
	w.want(lone, "alice", lone)
	w.pass(6 * time.Minute)
	w.want(lone, "alice", lone, record.HalfPair)
	w.want(whole, "alice", whole)
}

func TestPrivilegedSession(t *testing.T) {
	w := newWorld(t, Options{})
	start := w.rec("source.format=wallix", "requester.id=carol@example.com", "requester.type=person", "attributes=session=start", "chain.session_id=sess-4711ab",
		"target.type=host", "target.id=web-1.example.com", "executor.local_account=svc-admin")
	inside := w.rec("source.format=sudo", "source.host=web-1", "requester.id=svc-admin", "requester.id_kind=local_account", "requester.type=unknown", "executor.id=root", "executor.type=unknown")
	elsewhere := w.rec("source.format=sudo", "source.host=web-2", "requester.id=svc-admin", "requester.id_kind=local_account", "requester.type=unknown", "executor.id=root", "executor.type=unknown")
	end := w.rec("source.format=wallix", "requester.id=carol@example.com", "requester.type=person", "attributes=session=end", "chain.session_id=sess-4711ab", "target.type=host", "target.id=web-1.example.com")
	w.feed(start)
	w.feed(inside, elsewhere)
	w.feed(end)
	w.want(inside, "carol@example.com", start)
	w.wantLink(inside, start, CalledBy, TimeWindow)
	w.want(elsewhere, "svc-admin", elsewhere)

	again := w.rec("source.format=wallix", "requester.id=carol@example.com", "requester.type=person", "attributes=session=start", "chain.session_id=sess-4712ab",
		"target.type=host", "target.id=web-3", "executor.local_account=svc-admin")
	other := w.rec("source.format=wallix", "requester.id=dave@example.com", "requester.type=person", "attributes=session=start", "chain.session_id=sess-4713ab",
		"target.type=host", "target.id=web-3", "executor.local_account=svc-admin")
	both := w.rec("source.format=sudo", "source.host=web-3", "requester.id=svc-admin", "requester.id_kind=local_account", "requester.type=unknown", "executor.id=root", "executor.type=unknown")
	w.feed(again)
	w.feed(other)
	w.feed(both)
	w.want(both, "", nil, record.LinkAmbiguous, record.SharedAccount)

	wrapper := w.rec("source.format=wallix", "requester.id=carol@example.com", "requester.type=person", "attributes=session=start", "chain.session_id=sess-4714ab",
		"target.type=host", "target.id=db-1", "executor.local_account=oracle")
	over := w.rec("source.format=wallix", "requester.id=carol@example.com", "requester.type=person", "attributes=session=end", "chain.session_id=sess-4714ab", "target.type=host", "target.id=db-1")
	w.feed(wrapper)
	w.feed(over)
	w.pass(20 * time.Minute)
	w.want(over, "carol@example.com", wrapper, record.SessionWrapperOnly)
	w.want(end, "carol@example.com", start)
}

// What happened after a session is not that session's, although its end is told later.
func TestLateEndOfASession(t *testing.T) {
	w := newWorld(t, Options{})
	start := w.rec("source.format=wallix", "requester.id=carol@example.com", "requester.type=person", "attributes=session=start", "chain.session_id=sess-4711ab",
		"target.type=host", "target.id=web-1", "executor.local_account=svc")
	w.feed(start)
	ended := w.now.Add(time.Second)
	w.pass(5 * time.Minute)
	after := w.rec("source.format=sudo", "source.host=web-1", "requester.id=svc", "requester.id_kind=local_account", "requester.type=unknown", "executor.id=root", "executor.type=unknown")
	w.feed(after)
	w.want(after, "carol@example.com", start)
	end := w.rec("source.format=wallix", "requester.id=carol@example.com", "requester.type=person", "attributes=session=end", "chain.session_id=sess-4711ab")
	end.Time = ended.UnixNano()
	w.feed(end)
	w.want(after, "", start)
}

func TestRestartKnowsWhatIsSealed(t *testing.T) {
	w := newWorld(t, Options{})
	root := w.rec("requester.id=alice@example.com", "requester.type=person", "executor.id=gw", "executor.type=agent", "chain.trace_id="+trace1, "chain.span_id=a1b2c3d4e5f60718")
	child := w.rec("executor.id=deploy", "executor.type=agent", "chain.trace_id="+trace2)
	lone := w.rec("requester.id=alice", "executor.id=x", "executor.type=agent", "attributes=half=request", "chain.request_id=9f1c0000-bbbb")
	w.feed(root, child, lone)
	w.restart()
	call := w.rec("executor.id=deploy", "executor.type=agent", "chain.trace_id="+trace1, "chain.parent_id=a1b2c3d4e5f60718")
	late := w.rec("requester.id=bob@example.com", "requester.type=person", "executor.id=gw", "executor.type=agent", "chain.trace_id="+trace2)
	w.feed(call)
	w.feed(late)
	w.want(call, "alice@example.com", root)
	w.want(child, "bob@example.com", child)
	w.pass(16 * time.Minute)
	w.want(lone, "alice", lone, record.HalfPair)
	before := len(w.rows)
	w.restart()
	w.pass(time.Minute)
	if len(w.rows) != before {
		t.Errorf("a restart stated %d rows again", len(w.rows)-before)
	}
}
