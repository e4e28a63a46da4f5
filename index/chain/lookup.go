package chain

import (
	"slices"
	"strings"

	"custody/ingest/record"
)

// filter is a Bloom filter of two generations: when the younger is full the older
// is dropped, and with it the memory that there once was such a credential.
type filter struct {
	now, old []uint64
	n, most  int
}

const filterHashes = 7

func (f *filter) init(bytes int64) {
	words := max(int(bytes/8/2), 64)
	f.now, f.old = make([]uint64, words), make([]uint64, words)
	f.most = words * 64 / 12
}

func (f *filter) add(k credKey) {
	if f.n >= f.most {
		f.now, f.old = f.old, f.now
		clear(f.now)
		f.n = 0
	}
	f.n++
	bits := uint64(len(f.now)) * 64
	for i := range uint64(filterHashes) {
		b := (k[0] + i*k[1]) % bits
		f.now[b/64] |= 1 << (b % 64)
	}
}

func (f *filter) has(k credKey) bool {
	in := func(w []uint64) bool {
		bits := uint64(len(w)) * 64
		for i := range uint64(filterHashes) {
			b := (k[0] + i*k[1]) % bits
			if w[b/64]&(1<<(b%64)) == 0 {
				return false
			}
		}
		return true
	}
	return in(f.now) || in(f.old)
}

// lookup asks for the records that tell of a credential that memory has dropped.
type lookup struct {
	key    credKey
	id     string
	tenant string
	domain string
}

type answer struct {
	lookup
	rows []*record.Record
}

// Lookup asks for the credential events of one credential.
type Lookup struct {
	ID     string // authority.credential.id
	Tenant string
	look   lookup
}

// maxLookups bounds how many wait; more are not asked, and the uses stay without a requester.
const maxLookups = 1024

func (l *Linker) lookUp(r *record.Record, k *cred, domain, id string) {
	if k.issued || k.asked || !l.ledger.filter.has(k.key) {
		return
	}
	k.asked = true
	if len(l.ledger.ask) >= maxLookups {
		l.pending.dropped++
		return
	}
	l.ledger.ask = append(l.ledger.ask, lookup{k.key, strings.Clone(id), k.tenant, domain})
}

// Lookups returns what is to be looked up in the records; each is to be answered once.
func (l *Linker) Lookups() []Lookup {
	out := make([]Lookup, 0, len(l.ledger.ask))
	for _, a := range l.ledger.ask {
		out = append(out, Lookup{ID: a.id, Tenant: a.tenant, look: a})
	}
	l.ledger.ask = l.ledger.ask[:0]
	return out
}

// Answer hands over what was found, in the order of the log; the next Tick uses it.
func (l *Linker) Answer(q Lookup, rows []*record.Record) {
	l.ledger.lookups++
	l.ledger.answers = append(l.ledger.answers, answer{q.look, rows})
}

// answer takes what lookups found into the ledger.
func (l *Linker) answer() {
	for _, a := range l.ledger.answers {
		k := l.ledger.get(a.key)
		if k == nil {
			continue
		}
		for _, r := range a.rows {
			if l.credDomain(r) != a.domain || r.Get(record.CredentialID) != a.id {
				continue
			}
			switch r.Get(record.CredentialEventOp) {
			case opIssue, opExchange, opRenew:
				m := member{r: r}
				m.all, m.weak = l.domain(r)
				m.own = l.people.requesterOf(r)
				m.stated = m.own != nil
				l.issue(&m, k, r.Get(record.CredentialEventOp))
			case opRevoke, opExpire:
				_, k.endHome = l.domain(r)
				k.ended, k.endSeq = r.Time, r.Seq
			}
		}
		if k.issued && k.by != nil && len(k.waiting) > 0 {
			slices.Sort(k.waiting)
			k.learn(l, k.by, k.seq)
		}
	}
	l.ledger.answers = nil
}
