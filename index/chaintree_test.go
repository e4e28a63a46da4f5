package index

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"custody/ingest/record"
)

// chainMember is a record of a chain: "seq", its time in seconds, and what fill sets.
func chainMember(seq uint64, second int64, fill func(r *record.Record)) *record.Record {
	r := &record.Record{Kind: record.KindRecord, Seq: seq, Time: 1e18 + second*1e9}
	r.ID = [16]byte{15: byte(seq)}
	if fill != nil {
		fill(r)
	}
	return r
}

func drawn(tree []Node) string {
	var out []string
	for _, n := range tree {
		parent := "-"
		if n.Parent >= 0 {
			parent = fmt.Sprint(tree[n.Parent].Record.Seq)
		}
		out = append(out, fmt.Sprintf("%d<%s@%d", n.Record.Seq, parent, n.Depth))
	}
	return strings.Join(out, " ")
}

func TestTree(t *testing.T) {
	link := func(relation string, to uint64, candidates ...uint64) func(r *record.Record) {
		return func(r *record.Record) {
			r.AddLink(record.Link{To: to, Relation: relation, Method: "correlated_identifier", Candidates: candidates})
		}
	}
	span := func(id, parent string) func(r *record.Record) {
		return func(r *record.Record) {
			r.Set(record.ChainTraceID, aTrace, "")
			r.Set(record.ChainSpanID, id, "")
			r.Set(record.ChainParentID, parent, "")
		}
	}
	both := func(fs ...func(r *record.Record)) func(r *record.Record) {
		return func(r *record.Record) {
			for _, f := range fs {
				f(r)
			}
		}
	}
	for name, c := range map[string]struct {
		recs []*record.Record
		want string
	}{
		"alone": {[]*record.Record{chainMember(7, 0, nil)}, "7<-@0"},
		"called_by goes before all other relations": {[]*record.Record{
			chainMember(1, 0, nil), chainMember(2, 1, link("called_by", 1)),
			chainMember(3, 2, both(link("uses_credential", 1), link("responds_to", 1), link("called_by", 2))),
		}, "1<-@0 2<1@1 3<2@2"},
		"the order of the others": {[]*record.Record{
			chainMember(1, 0, nil), chainMember(2, 1, link("called_by", 1)), chainMember(3, 1, link("called_by", 1)),
			chainMember(4, 2, both(link("approved_by", 1), link("retry_of", 2), link("hands_off", 3))),
		}, "1<-@0 2<1@1 3<1@1 4<3@2"},
		"siblings by time, whatever came first": {[]*record.Record{
			chainMember(1, 0, nil), chainMember(2, 9, link("called_by", 1)), chainMember(3, 4, link("called_by", 1)),
		}, "1<-@0 3<1@1 2<1@1"},
		"a link out of the chain is none": {[]*record.Record{chainMember(5, 0, nil), chainMember(6, 1, link("called_by", 2))}, "5<-@0 6<-@0"},
		"one with candidates is none":     {[]*record.Record{chainMember(5, 0, nil), chainMember(6, 0, nil), chainMember(7, 1, link("called_by", 5, 5, 6))}, "5<-@0 6<-@0 7<-@0"},
		"itself is no parent":             {[]*record.Record{chainMember(5, 0, link("called_by", 5))}, "5<-@0"},
		"two that call each other": {[]*record.Record{
			chainMember(1, 0, link("called_by", 2)), chainMember(2, 1, link("called_by", 1)),
		}, "1<-@0 2<1@1"},
		"a span that ended before its parent": {[]*record.Record{
			chainMember(1, 3, span("c1", "b1")), chainMember(2, 2, both(span("b1", "a1"), link("called_by", 1))), chainMember(3, 1, both(span("a1", ""), link("called_by", 1))),
		}, "3<-@0 2<3@1 1<2@2"},
		"spans in a circle": {[]*record.Record{
			chainMember(1, 0, span("a1", "c1")), chainMember(2, 1, span("b1", "a1")), chainMember(3, 2, span("c1", "b1")),
		}, "3<-@0 1<3@1 2<1@2"},
		"an amendment's link leads forward": {[]*record.Record{
			chainMember(1, 0, link("called_by", 3)), chainMember(2, 1, both(link("called_by", 3), link("uses_credential", 1))), chainMember(3, 2, nil),
		}, "3<-@0 1<3@1 2<1@2"},
	} {
		t.Run(name, func(t *testing.T) {
			ch := &Chain{Root: c.recs[0].Seq, Records: c.recs}
			if got := drawn(ch.Tree()); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// A tree of the deepest and the widest form takes no longer than any other.
func TestTreeOfTenThousand(t *testing.T) {
	var deep []*record.Record
	for i := range uint64(MaxChain) {
		deep = append(deep, chainMember(i, int64(i), func(r *record.Record) {
			if i > 0 {
				r.AddLink(record.Link{To: i - 1, Relation: "called_by", Method: "propagated_context"})
			}
		}))
	}
	c := &Chain{Records: deep}
	start := time.Now()
	tree := c.Tree()
	if len(tree) != MaxChain || tree[MaxChain-1].Depth != MaxChain-1 {
		t.Fatalf("%d nodes", len(tree))
	}
	if _, folds := Folds(tree, 10, nil); len(folds) != MaxChain {
		t.Errorf("%d rows", len(folds))
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
}

func TestFolds(t *testing.T) {
	var recs []*record.Record
	add := func(op string, parent int) {
		recs = append(recs, chainMember(uint64(len(recs)), int64(len(recs)), func(r *record.Record) {
			r.Set(record.ActionOperation, op, "")
			r.Set(record.TargetID, fmt.Sprint(len(recs)), "")
			if parent >= 0 {
				r.AddLink(record.Link{To: uint64(parent), Relation: "called_by", Method: "propagated_context"})
			}
		}))
	}
	add("ask", -1)
	for range 12 { // pairs: 1 and 2, 3 and 4, …
		add("read", 0)
		add("response", len(recs)-1)
	}
	add("write", 0) // 25
	for range 5 {
		add("read", 0)
	}
	text := func(open ...uint64) (s []string) {
		tree, folds := Folds((&Chain{Records: recs}).Tree(), 5, open)
		seen := make(map[uint64]bool)
		next := 0
		for i, n := range tree {
			seen[n.Record.Seq] = true
			if n.Parent >= i || n.Parent >= 0 && tree[n.Parent].Depth != n.Depth-1 {
				t.Errorf("node %d hangs on %d", i, n.Parent)
			}
		}
		for _, f := range folds {
			if f.From != next {
				t.Errorf("a run begins at %d, not at %d", f.From, next)
			}
			next = f.To
			first := tree[f.From].Record.Seq
			if f.Count > 1 {
				s = append(s, fmt.Sprintf("%d×%d..%d", f.Count, first, tree[f.To-1].Record.Seq))
			} else {
				s = append(s, fmt.Sprint(first))
			}
		}
		if len(seen) != len(recs) || next != len(recs) {
			t.Errorf("%d of %d records, up to %d", len(seen), len(recs), next)
		}
		return s
	}
	if got := strings.Join(text(), " "); got != "0 12×1..24 25 26 27 28 29 30" {
		t.Error(got)
	}
	if got := text(1); len(got) != len(recs) {
		t.Errorf("an open run has %d rows of %d", len(got), len(recs))
	}
	// One that differs stands where it stood; the others still are one.
	recs[7].AddFinding(record.HalfPair)
	if got := strings.Join(text(), " "); got != "0 11×1..24 7 8 25 26 27 28 29 30" {
		t.Error(got)
	}
	if got := strings.Join(text(1)[:9], " "); got != "0 1 2 3 4 5 6 7 8" {
		t.Error(got)
	}
}

func TestAskers(t *testing.T) {
	person := func(id, assurance string) func(r *record.Record) {
		return func(r *record.Record) {
			r.Set(record.RequesterID, id, "")
			r.Set(record.RequesterType, record.Person, "")
			r.Set(record.RequesterAssurance, assurance, "")
		}
	}
	account := func(r *record.Record) {
		r.Set(record.RequesterID, "ci@example.iam", "")
		r.Set(record.RequesterType, record.ServiceAccount, "")
	}
	acted := func(id string) func(r *record.Record) {
		return func(r *record.Record) {
			r.Set(record.ExecutorID, id, "")
			r.Set(record.ExecutorType, record.Person, "")
		}
	}
	approved := func(r *record.Record) {
		acted("bob@example.com")(r)
		r.Set(record.ApprovalStatus, "approved", "")
	}
	doubt := func(candidates ...uint64) func(r *record.Record) {
		return func(r *record.Record) {
			r.AddFinding(record.LinkAmbiguous)
			r.AddLink(record.Link{To: candidates[0], Relation: "called_by", Method: "propagated_context", Candidates: candidates})
		}
	}
	alice, bob := "alice@example.com", "bob@example.com"
	for name, c := range map[string]struct {
		fills []func(r *record.Record)
		want  []string
	}{
		"nobody":                               {[]func(*record.Record){nil}, nil},
		"the record that proves it":            {[]func(*record.Record){person(alice, "correlated"), person(alice, "asserted"), person(alice, "authenticated")}, []string{alice + "/2"}},
		"a short name is the same":             {[]func(*record.Record){person("alice", "asserted"), person(alice, "asserted")}, []string{"alice/0"}},
		"two people":                           {[]func(*record.Record){person(alice, "authenticated"), person(bob, "asserted")}, []string{alice + "/0", bob + "/1"}},
		"an account in between did not ask":    {[]func(*record.Record){account, person(alice, "asserted")}, []string{alice + "/1"}},
		"an account alone did":                 {[]func(*record.Record){account}, []string{"ci@example.iam/0"}},
		"who acted by themselves":              {[]func(*record.Record){acted(alice)}, []string{alice + "/0"}},
		"what is stated goes before":           {[]func(*record.Record){person(alice, "asserted"), acted(bob)}, []string{alice + "/0"}},
		"an approver did not ask":              {[]func(*record.Record){approved, person(alice, "asserted")}, []string{alice + "/1"}},
		"an approver alone neither":            {[]func(*record.Record){approved}, nil},
		"a doubt within the chain":             {[]func(*record.Record){person(alice, "asserted"), doubt(0, 1)}, []string{alice + "/0", "/1"}},
		"a doubt about what is elsewhere":      {[]func(*record.Record){person(alice, "asserted"), doubt(70, 80)}, []string{alice + "/0"}},
		"a doubt that is none without finding": {[]func(*record.Record){person(alice, "asserted"), func(r *record.Record) { doubt(0, 1)(r); r.RemoveFinding(record.LinkAmbiguous) }}, []string{alice + "/0"}},
	} {
		t.Run(name, func(t *testing.T) {
			ch := &Chain{}
			for i, f := range c.fills {
				ch.Records = append(ch.Records, chainMember(uint64(i), int64(i), f))
			}
			var got []string
			for _, a := range ch.Askers() {
				got = append(got, fmt.Sprintf("%s/%d", a.ID, a.Seq))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestGaps(t *testing.T) {
	finding := func(f, why string) func(r *record.Record) {
		return func(r *record.Record) {
			r.AddFinding(f)
			r.Add(record.Evidence, f+": "+why, "")
		}
	}
	on := func(to uint64, f func(r *record.Record)) func(r *record.Record) {
		return func(r *record.Record) {
			r.AddLink(record.Link{To: to, Relation: "called_by", Method: "propagated_context"})
			f(r)
		}
	}
	c := &Chain{Root: 0, Truncated: true, Records: []*record.Record{
		chainMember(3, 0, finding(record.ChainBroken, "the parent span that it names did not arrive")),
		chainMember(4, 1, on(3, finding(record.HalfPair, "the other half did not arrive"))),
		chainMember(5, 2, on(4, finding(record.ChainBroken, "nothing arrived from the agent that it was handed to"))),
		chainMember(6, 3, on(5, finding(record.ChainBroken, "a new trace id at the hand-off #5"))),
		chainMember(7, 4, on(6, finding(record.SelfApproval, "the approver asked for it"))),
		chainMember(8, 5, finding(record.LinkAmbiguous, "these records name different requesters #3, #4")),
	}}
	var got []string
	for _, g := range c.Gaps(c.Tree()) {
		after := "-"
		if g.Known {
			after = fmt.Sprint(g.After)
		}
		got = append(got, fmt.Sprintf("%s %d after %s: %s", g.Reason, g.Record, after, g.Missing))
	}
	want := []string{
		"first_record_gone 3 after -: the first record", "chain_broken 3 after -: the caller", "half_pair 4 after 4: the other half",
		"chain_broken 5 after 5: the agent that it was handed to", "chain_broken 6 after 5: the caller",
		"link_ambiguous 8 after -: the one record that it follows from", "truncated 8 after 8: the rest",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestChainCredentials(t *testing.T) {
	event := func(id, op, status string) func(r *record.Record) {
		return func(r *record.Record) {
			r.Set(record.CredentialID, id, "")
			r.Set(record.CredentialEventOp, op, "")
			r.Set(record.OutcomeStatus, status, "")
			r.AddDelegation(record.Delegation{Principal: "alice@example.com", Credential: "session"}, "")
		}
	}
	c := &Chain{}
	for i, f := range []func(*record.Record){
		event("tok", "issue", "denied"), event("tok", "issue", "success"), event("tok", "", "success"), event("tok", "use", "denied"), event("tok", "renew", "success"), event("tok", "revoke", "success"),
	} {
		c.Records = append(c.Records, chainMember(uint64(i), int64(i), f))
	}
	got := fmt.Sprintf("%+v", c.Credentials())
	want := "[{ID:tok Kind: Issuer: Expires: Issued:[1] Renewed:[4] Ended:[5] Uses:2} {ID:session Kind: Issuer: Expires: Issued:[] Renewed:[] Ended:[] Uses:6}]"
	if got != want {
		t.Errorf("got %s", got)
	}
}
