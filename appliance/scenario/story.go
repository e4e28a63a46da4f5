package scenario

import (
	"cmp"
	"slices"
	"time"
)

// story is one scenario as it happens.
type story struct {
	w      *world
	t      *tenant
	name   string
	start  time.Time
	chain  int
	events []*event
}

// event is a line and what is known of it before it has a place in the stream.
type event struct {
	source  int
	at      time.Time // when it happened, by the true clock
	arrival time.Time
	peer    string
	raw     []byte
	truth   Truth
	person  *person
	lost    bool
	links   []tie
	index   int
	root    *event // of the group
}

// tie is a shared identifier.
type tie struct {
	to       *event
	relation string
	flows    bool // the person behind to is the person behind this
	window   bool // only time, host and account
}

func (s *story) newChain() {
	s.w.chains++
	s.chain = s.w.chains
}

func (s *story) person() *person { return s.t.people[s.w.IntN(len(s.t.people))] }
func (s *story) agent() *agent   { return s.t.agents[s.w.IntN(len(s.t.agents))] }

// people are n different persons.
func (s *story) people(n int) []*person {
	var out []*person
	for _, i := range s.w.Perm(len(s.t.people))[:n] {
		out = append(out, s.t.people[i])
	}
	return out
}

// agents are n different agents.
func (s *story) agents(n int) []*agent {
	var out []*agent
	for _, i := range s.w.Perm(len(s.t.agents))[:n] {
		out = append(out, s.t.agents[i])
	}
	return out
}

// clock is what the clock of the product shows that long after the start.
func (s *story) clock(product string, after time.Duration) time.Time {
	return s.start.Add(after).Add(s.w.skew[s.t.source[product]])
}

// emit adds a line of the product. It arrives within a second or so.
func (s *story) emit(product string, after time.Duration, raw []byte) *event {
	w := s.w
	at := s.start.Add(after)
	e := &event{source: s.t.source[product], at: at, raw: raw, index: -1}
	e.arrival = at.Add(time.Duration(20+w.IntN(900)) * time.Millisecond)
	e.truth = Truth{Scenario: s.name, Tenant: s.t.name, Chain: s.chain, Format: product}
	if w.sources[e.source].Syslog {
		e.peer = "10.255.0." + digits[1+w.IntN(9):][:1]
	}
	s.events = append(s.events, e)
	return e
}

// via says that the line came by another source of the tenant.
func (e *event) via(s *story, source string) *event {
	e.source = s.t.source[source]
	return e
}

// by says who really asked.
func (e *event) by(p *person) *event {
	e.person = p
	if p != nil {
		e.truth.Requester, e.truth.RequesterAliases = p.mail, p.aliases
	}
	return e
}

// shows says who really asked, and that the line tells it.
func (e *event) shows(p *person) *event {
	e.truth.Shown = true
	return e.by(p)
}

// did says which names of what acted the line shows; the first is the one that
// identifies it best.
func (e *event) did(names ...string) *event {
	e.truth.Executor, e.truth.ExecutorAliases, e.truth.ExecutorShown = names[0], names, true
	return e
}

// acted says that the line shows the agent.
func (e *event) acted(a *agent) *event {
	e.did(a.aliases...)
	e.truth.Executor = a.client
	return e
}

// maybe says what acted where the line does not show it.
func (e *event) maybe(names ...string) *event {
	e.truth.ExecutorAliases, e.truth.ExecutorShown = names, false
	return e
}

// from says that the line follows from p and shares an identifier with it, so
// that whoever asked for p asked for this.
func (e *event) from(p *event, relation string) *event {
	e.links = append(e.links, tie{to: p, relation: relation, flows: true})
	return e
}

// tied says that the line shares an identifier with p, which tells nothing about who asked.
func (e *event) tied(p *event, relation string) *event {
	e.links = append(e.links, tie{to: p, relation: relation})
	return e
}

// within says that the line lies in the session p by time, host and account.
func (e *event) within(p *event) *event {
	e.links = append(e.links, tie{to: p, relation: CalledBy, flows: true, window: true})
	return e
}

func (e *event) must(findings ...string) *event {
	e.truth.Must = append(e.truth.Must, findings...)
	return e
}

func (e *event) mustAny(findings ...string) *event {
	e.truth.MustAny = append(e.truth.MustAny, findings...)
	return e
}

func (e *event) may(findings ...string) *event {
	e.truth.May = append(e.truth.May, findings...)
	return e
}

func (e *event) states(names ...string) *event {
	e.truth.Stated = append(e.truth.Stated, names...)
	return e
}

// loose says that the line may be counted to the chain or not.
func (e *event) loose() *event {
	e.truth.Loose = true
	return e
}

// ambiguous says that several people fit, and that any claim to know is wrong.
func (e *event) ambiguous() *event {
	e.truth.Ambiguous = true
	return e.must("link_ambiguous")
}

func (e *event) delay(d time.Duration) *event {
	e.arrival = e.arrival.Add(d)
	return e
}

// trusted says that what the line shows may be used for other sources' lines.
func (e *event) trusted(w *world) bool {
	src := &w.sources[e.source]
	return src.Trusted && src.Format != ""
}

// settle works out what can be known, and gives the events to the world.
func (s *story) settle() {
	for changed := true; changed; {
		changed = false
		for _, e := range s.events {
			t := &e.truth
			if t.Linkable || e.person == nil {
				continue
			}
			if t.Shown {
				t.Linkable, changed = true, true
				continue
			}
			if t.Ambiguous || t.MayBeAmbiguous {
				continue
			}
			for _, l := range e.links {
				p := l.to
				if p.lost || !l.flows || p.person != e.person || !p.trusted(s.w) {
					continue
				}
				switch {
				case !l.window && p.truth.Linkable:
					t.Linkable, changed = true, true
				case !t.Window && (p.truth.Linkable || p.truth.Window):
					t.Window, changed = true, true
				}
			}
		}
	}
	for _, e := range s.events {
		for _, l := range e.links {
			if !l.window && !e.lost && !l.to.lost && !e.truth.Ambiguous && !l.to.truth.Ambiguous && e.truth.Chain == l.to.truth.Chain {
				e.top().root = l.to.top()
			}
		}
	}
	for _, e := range s.events {
		if e.lost {
			continue
		}
		if s.w.IntN(50) == 0 { // a sender that was busy
			e.delay(time.Duration(s.w.IntN(90)) * time.Second)
		}
		s.w.events = append(s.w.events, e)
	}
}

// top is the event that stands for the group.
func (e *event) top() *event {
	for e.root != nil && e.root != e {
		e = e.root
	}
	return e
}

// stream puts everything in order of arrival.
func (w *world) stream(seed uint64) Stream {
	slices.SortStableFunc(w.events, func(a, b *event) int { return cmp.Compare(a.arrival.UnixNano(), b.arrival.UnixNano()) })
	for i, e := range w.events {
		e.index = i
	}
	out := Stream{Seed: seed, Sources: w.sources, Lines: make([]Line, len(w.events))}
	for i, e := range w.events {
		t := &e.truth
		t.Group = 1 + e.top().index
		issued := false
		for _, l := range e.links {
			if p := (Parent{l.to.index, l.relation}); !l.to.lost && !l.window && !slices.Contains(t.Parents, p) {
				t.Parents = append(t.Parents, p)
			}
			// Whose issue is in the stream cannot be said to be unseen.
			issued = issued || l.flows && l.relation == UsesCredential && !l.to.lost
		}
		if t.Requester == "" || !t.Linkable {
			t.May = append(t.May, "requester_missing")
		}
		if !issued {
			t.May = append(t.May, "credential_issuance_unseen")
		}
		if t.MayBeAmbiguous {
			t.May = append(t.May, "link_ambiguous")
		}
		for _, f := range judged {
			if !slices.Contains(t.Must, f) && !slices.Contains(t.MustAny, f) && !slices.Contains(t.May, f) {
				t.MustNot = append(t.MustNot, f)
			}
		}
		out.Lines[i] = Line{Source: e.source, Peer: e.peer, Arrival: e.arrival, Raw: e.raw, Truth: *t}
	}
	return out
}
