package chain

import (
	"hash/maphash"
	"strings"

	"custody/ingest/record"
)

// who is a principal, apart from the record it was read from. Immutable.
type who struct {
	id, typ, kind, name, issuer, tenant string
	asserted                            bool // rests on nobody's proof
	rank                                uint8
}

// Ranks: what a source states about its requester counts more than who executed,
// and a person more than an account.
const (
	rankExecutor = 2 // a person who acted by themselves
	rankStated   = 4
	rankProven   = 8
)

func rankOf(typ string) uint8 {
	switch typ {
	case record.Person:
		return 2
	case record.Unknown, "":
		return 1
	}
	return 0
}

// same reports whether nothing says that a and b are two: they have a name in
// common, or one of them is known only by a number of somebody's directory.
func same(a, b *who) bool { return compare(a, b) != differ }

// surely reports whether a and b have an identifier or a name in common.
func surely(a, b *who) bool { return compare(a, b) == agree }

type likeness uint8

const (
	differ likeness = iota
	unknown
	agree
)

func compare(a, b *who) likeness {
	if a == b || strings.EqualFold(a.id, b.id) {
		return agree
	}
	known := false
	for _, x := range [...]string{a.id, a.name} {
		for _, y := range [...]string{b.id, b.name} {
			if x == "" || y == "" || opaque(x) || opaque(y) {
				continue
			}
			known = true
			if alike(x, y) {
				return agree
			}
		}
	}
	if known {
		return differ
	}
	if opaque(a.id) && opaque(b.id) {
		return differ
	}
	return unknown
}

// alike reports whether two names can be one's: a short name and an address with
// that name agree, two addresses only when they are equal.
func alike(a, b string) bool {
	la, da, fa := strings.Cut(a, "@")
	lb, db, fb := strings.Cut(b, "@")
	if fa && fb && da != "" && db != "" {
		return strings.EqualFold(a, b)
	}
	return strings.EqualFold(shortName(la), shortName(lb))
}

// opaque reports whether an identifier is a directory's number for somebody, like
// a UUID, and not a name.
func opaque(id string) bool {
	if len(id) < 12 || strings.ContainsAny(id, "@:/ ") {
		return false
	}
	digits := 0
	for i := range len(id) {
		if id[i] >= '0' && id[i] <= '9' {
			digits++
		}
	}
	return digits >= 2
}

// shortName is the last part of an ARN or a path, and a domain account's name.
func shortName(id string) string {
	if i := strings.LastIndexAny(id, `/\`); i >= 0 && i+1 < len(id) {
		return id[i+1:]
	}
	return id
}

// people interns principals, so that a million records of one person hold one copy.
type people struct {
	seed maphash.Seed
	now  map[uint64]*who
	old  map[uint64]*who
	last string // tenant
}

const maxPeople = 1 << 16

func newPeople() people {
	return people{seed: maphash.MakeSeed(), now: make(map[uint64]*who)}
}

func (p *people) intern(w who) *who {
	k := maphash.String(p.seed, w.id) + uint64(w.rank)*0x9e3779b97f4a7c15 + uint64(len(w.name)+len(w.issuer)<<8)
	if w.asserted {
		k = ^k
	}
	if have := p.now[k]; have != nil && *have == w {
		return have
	}
	have := p.old[k]
	if have == nil || *have != w {
		have = &who{
			strings.Clone(w.id), strings.Clone(w.typ), strings.Clone(w.kind), strings.Clone(w.name),
			strings.Clone(w.issuer), strings.Clone(w.tenant), w.asserted, w.rank,
		}
	}
	if len(p.now) >= maxPeople {
		p.old, p.now = p.now, make(map[uint64]*who)
	}
	p.now[k] = have
	return have
}

// requesterOf is the requester that the record states, nil when it states none.
func (p *people) requesterOf(r *record.Record) *who {
	id := r.Get(record.RequesterID)
	if id == "" {
		return nil
	}
	typ := r.Get(record.RequesterType)
	rank, asserted := uint8(rankStated), hasFinding(r, record.RequesterAsserted)
	if !asserted && r.Get(record.RequesterAssurance) == record.Authenticated {
		rank = rankProven
	}
	return p.intern(who{
		id, typ, r.Get(record.RequesterIDKind), r.Get(record.RequesterName), r.Get(record.RequesterIssuer),
		r.Get(record.RequesterTenant), asserted, rank + rankOf(typ),
	})
}

// actorOf is the person who acted by themselves, nil when it was none.
func (p *people) actorOf(r *record.Record) *who {
	if r.Get(record.ExecutorType) != record.Person {
		return nil
	}
	switch r.Get(record.OutcomeStatus) {
	case record.Denied, record.Failure:
		return nil // perhaps only who somebody tried to be
	}
	return p.intern(who{
		r.Get(record.ExecutorID), record.Person, r.Get(record.ExecutorIDKind), r.Get(record.ExecutorName), r.Get(record.ExecutorIssuer),
		"", r.Get(record.ExecutorAssurance) != record.Authenticated, rankExecutor + rankOf(record.Person),
	})
}

func hasFinding(r *record.Record, finding string) bool {
	found := false
	r.Elements(record.Findings, func(v, _ string) bool {
		found = v == finding
		return !found
	})
	return found
}

// write puts the principal into the record as a requester found through a link.
func (w *who) write(r *record.Record) {
	r.Set(record.RequesterID, w.id, "")
	r.Set(record.RequesterType, w.typ, "")
	r.Set(record.RequesterIDKind, w.kind, "")
	r.Set(record.RequesterName, w.name, "")
	r.Set(record.RequesterIssuer, w.issuer, "")
	r.Set(record.RequesterTenant, w.tenant, "")
	r.Set(record.RequesterAssurance, record.Correlated, "")
}

// text keeps one copy of a short text that repeats, like a tenant.
func (p *people) text(s string) string {
	if s == "" || s == p.last {
		return p.last[:len(s)]
	}
	p.last = strings.Clone(s)
	return p.last
}
