package chain

import (
	"hash/maphash"
	"slices"

	"custody/ingest/record"
)

// cred is one credential's life as far as it was seen.
type cred struct {
	key     credKey
	tenant  string
	seq     uint64 // of the record that issued it
	issued  bool   // that record was seen
	brief   bool   // made for a piece of work: exchanged, or of a day at most
	login   bool   // a person signed in with it
	from    int64  // Unix nanoseconds; 0 unknown
	until   int64
	ended   int64 // revoked
	endSeq  uint64
	by      *who // on whose behalf
	to      *who // who holds it, where the issuing record says so
	home    uint64
	endHome uint64   // source domains of issuance and end: clocks differ between sources
	c       *chain   // of the issuing record
	scopes  []string // sorted
	users   []uint64 // hashes of executors that used it
	waiting []uint64 // uses that have no requester yet
	uses    uint32
	follows uint8
	asked   bool // looked up in the records, or being looked up
}

// What a credential takes in memory, measured on amd64 with the map's overhead.
const credCost = 320

// maxFollows is how many traces one credential brings into the chain in which it
// was issued. One that serves more was not made for one request: its uses name
// their requester, and are chains of their own.
const maxFollows = 8

// maxUsers bounds how many different users of one credential are told apart.
const maxUsers = 16

// requester is the one on whose behalf the credential was issued.
//
// A lasting one made by somebody says nothing about who uses it: an administrator
// makes keys for others.
func (k *cred) requester() *who {
	if !k.brief {
		return nil
	}
	if k.by != nil {
		return k.by
	}
	if k.c != nil {
		if c := k.c.find(); c.who != nil && len(c.others) == 0 {
			return c.who
		}
	}
	return nil
}

// learn tells the credential late on whose behalf it was issued.
func (k *cred) learn(l *Linker, w *who, seq uint64) {
	if k.by == nil {
		k.by = w
	}
	if len(k.waiting) == 0 || k.requester() == nil {
		return
	}
	if k.issued {
		seq = k.seq
	}
	l.amendRequester(k.waiting, k.by, record.Link{To: seq, Relation: UsesCredential, Method: Credential}, &chain{tenant: k.tenant})
	k.waiting = nil
}

// ledger keeps credentials in two generations, and a filter of the identifiers
// of those that were dropped: only for them are the records searched.
type ledger struct {
	now, old map[credKey]*cred
	most     int
	filter   filter
	covered  map[uint64]int64 // kind and issuer → when issuing was first seen
	ask      []lookup
	answers  []answer
	lookups  uint64
}

func (g *ledger) init(memory int64) {
	g.now, g.covered = make(map[credKey]*cred), make(map[uint64]int64)
	// A quarter of the memory is the filter's: 12 bits for each of the credentials
	// that were dropped tell all but one in three hundred.
	g.filter.init(memory / 4)
	g.most = max(int(memory*3/4/credCost/2), 16)
}

func (g *ledger) turn() {
	if len(g.now) < g.most {
		return
	}
	for key, k := range g.old {
		if k.issued || k.ended != 0 {
			g.filter.add(key)
		}
	}
	g.old, g.now = g.now, make(map[credKey]*cred, g.most/2)
}

func (g *ledger) get(key credKey) *cred {
	if k := g.now[key]; k != nil {
		return k
	}
	k := g.old[key]
	if k != nil {
		delete(g.old, key)
		g.now[key] = k
	}
	return k
}

func (g *ledger) ensure(key credKey, tenant string) *cred {
	k := g.get(key)
	if k == nil {
		k = &cred{key: key, tenant: tenant}
		g.now[key] = k
	}
	return k
}

// Lifecycle operations of a credential.
const (
	opIssue    = "issue"
	opExchange = "exchange"
	opRenew    = "renew"
	opRevoke   = "revoke"
	opExpire   = "expire"
)

const day = 24 * int64(3600e9)

// meetCredentials tells the ledger what the record says of credentials, and
// brings the record to the chain in which the one that it uses was issued.
func (l *Linker) meetCredentials(m *member) {
	r := m.r
	id := r.Get(record.CredentialID)
	op := r.Get(record.CredentialEventOp)
	domain := ""
	find := func(id string) *cred {
		if domain == "" {
			domain = l.credDomain(r)
		}
		return l.ledger.ensure(l.credKey(domain, id), l.people.text(r.Get(record.ContextTenant)))
	}
	failed := false
	switch r.Get(record.OutcomeStatus) {
	case record.Failure, record.Denied:
		failed = true
	}
	if !empty(id) && !(failed && op != "") {
		k := find(id)
		switch op {
		case opIssue, opExchange, opRenew:
			l.issue(m, k, op)
			m.issued = k
		case opRevoke, opExpire:
			k.ended, k.endSeq, k.endHome = r.Time, r.Seq, m.weak
			m.issued = k
			if k.brief && k.c != nil && !m.scoped {
				m.c = join(m.chain(l), k.c)
			}
		default:
			m.cred = k
			k.uses++
			l.lookUp(r, k, domain, id)
		}
	}
	if m.cred == nil {
		// What was handed on was used to get here: the last one is this record's own.
		for _, d := range r.DelegationList() {
			if !empty(d.Credential) && d.Credential != id {
				m.cred = find(d.Credential)
				l.lookUp(r, m.cred, domain, d.Credential)
			}
		}
	}
	if m.issued != nil && (op == opIssue || op == opExchange || op == opRenew) {
		if op == opRenew && m.issued.c != nil && !m.scoped {
			m.c = join(m.chain(l), m.issued.c)
		}
		m.issued.c = m.chain(l)
		if c := m.c; len(c.creds) < maxCreds {
			c.creds = append(c.creds, m.issued)
		}
	}
	l.follow(m)
}

// follow joins the record to the chain that issued its credential, where the
// credential was made for this work and nothing says that the work is another.
func (l *Linker) follow(m *member) {
	k := m.cred
	if k == nil || !k.issued || !k.brief || k.c == nil {
		return
	}
	w := k.requester()
	if m.stated && w != nil && !same(m.own, w) {
		return
	}
	if m.scoped {
		if !m.fresh || w == nil || k.follows >= maxFollows {
			return
		}
		k.follows++
	}
	m.c = join(m.chain(l), k.c)
}

func (l *Linker) issue(m *member, k *cred, op string) {
	r := m.r
	if op != opRenew || !k.issued {
		if op != opRenew {
			k.seq, k.issued = r.Seq, true
		}
		k.home = m.weak
		k.from = instantOf(r, record.CredentialIssued)
		if k.from == 0 && op != opRenew {
			k.from = r.Time
		}
		k.login = r.Get(record.ExecutorType) == record.Person && !r.Has(record.Delegations)
		if m.stated {
			k.by = m.own
		} else if m.own != nil && k.login {
			k.by = m.own
		}
		if s := r.List(record.AuthorityScopes); len(s) > 0 && len(s) <= 64 {
			k.scopes = cloned(s)
		}
		if !r.Has(record.Delegations) && r.Has(record.ExecutorID) {
			k.to = l.people.intern(who{id: r.Get(record.ExecutorID), typ: r.Get(record.ExecutorType), issuer: r.Get(record.ExecutorIssuer)})
		}
	}
	until := instantOf(r, record.CredentialExpires)
	if until == 0 {
		if ttl := numberOf(r, record.CredentialTTL); ttl > 0 && ttl < 1<<32 {
			until = max(k.from, r.Time) + ttl*1e9
		}
	}
	if until > k.until {
		k.until = until
	}
	k.brief = k.brief || op == opExchange || k.until != 0 && k.from != 0 && k.until-k.from <= day
	c := mix(l.key(0, m.all, r.Get(record.CredentialKind)) ^ maphash.String(l.seed, r.Get(record.CredentialIssuer)))
	if _, ok := l.ledger.covered[c]; !ok && len(l.ledger.covered) < 4096 {
		l.ledger.covered[c] = r.Time
	}
}

func cloned(s []string) []string {
	out := make([]string, 0, len(s))
	for _, v := range s {
		out = append(out, string(append([]byte(nil), v...)))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// tieCredentials holds the use of a credential against its life.
func (l *Linker) tieCredentials(m *member, e *evidence) {
	r := m.r
	if m.issued != nil {
		l.tieIssued(m, e)
	}
	k := m.cred
	if k == nil {
		return
	}
	if k.issued && k.seq != r.Seq {
		e.link(r, record.Link{To: k.seq, Relation: UsesCredential, Method: Credential})
		if w := k.requester(); w != nil {
			e.add(w, k.seq, true)
		}
	}
	if k.until != 0 && r.Time > k.until+l.slack(k.home, m.weak) {
		r.AddFinding(record.CredentialExpired)
		explain(r, record.CredentialExpired, "used after its end, issued in", k.seq)
	}
	if k.ended != 0 && r.Time > k.ended+l.slack(k.endHome, m.weak) {
		r.AddFinding(record.CredentialUsedAfterRevoke)
		explain(r, record.CredentialUsedAfterRevoke, "revoked in", k.endSeq)
	}
	if m.exec != 0 && !slices.Contains(k.users, m.exec) && len(k.users) < maxUsers && m.issued == nil {
		k.users = append(k.users, m.exec)
		if len(k.users) > 1 {
			r.AddFinding(record.CredentialShared)
			explain(r, record.CredentialShared, "another executor used it before")
		}
	}
	if !r.Has(record.ExecutorID) && k.to != nil {
		r.Set(record.ExecutorID, k.to.id, "")
		r.Set(record.ExecutorType, k.to.typ, "")
		r.Set(record.ExecutorIssuer, k.to.issuer, "")
		r.Set(record.ExecutorAssurance, record.Correlated, "")
		r.SetAbsent("executor", "")
		r.RemoveFinding(record.ExecutorByCredentialOnly)
		r.RemoveFinding(record.ExecutorMissing)
	}
}

// tieIssued holds a new credential against the one that it was got with, and against policy.
func (l *Linker) tieIssued(m *member, _ *evidence) {
	r, k := m.r, m.issued
	if k.seq != r.Seq {
		return
	}
	if l.opts.MaxTTL > 0 && k.until != 0 && k.until-k.from > int64(l.opts.MaxTTL) {
		r.AddFinding(record.CredentialTTLExceeded)
		explain(r, record.CredentialTTLExceeded, "lives longer than policy allows")
	}
	if from := m.cred; from != nil && len(from.scopes) > 0 && len(k.scopes) > 0 && !within(k.scopes, from.scopes) {
		r.AddFinding(record.ScopeEscalation)
		explain(r, record.ScopeEscalation, "scopes that the credential used to get it does not have, issued in", from.seq)
	}
	var before []string
	for _, d := range r.DelegationList() {
		if len(d.Scopes) == 0 {
			continue
		}
		if before != nil && !within(d.Scopes, before) {
			r.AddFinding(record.ScopeEscalation)
			explain(r, record.ScopeEscalation, "a delegation widens the scopes of the one before it")
			break
		}
		before = d.Scopes
	}
	// Uses that came before their issuance was seen learn of it now.
	if w := k.requester(); w != nil && len(k.waiting) > 0 {
		k.learn(l, w, k.seq)
	}
}

func within(child, parent []string) bool {
	for _, s := range child {
		if !slices.Contains(parent, s) && !slices.Contains(parent, "*") {
			return false
		}
	}
	return true
}

// slack is what clocks may differ by: nothing within one source.
func (l *Linker) slack(a, b uint64) int64 {
	if a == b {
		return 0
	}
	return int64(l.opts.Skew)
}

// unseen reports whether the issuing of such credentials is on record since
// before this one can have been issued, so that its own should have been seen.
func (l *Linker) unseen(m *member) bool {
	k, r := m.cred, m.r
	if k == nil || k.issued || k.uses != 1 || k.asked {
		return false
	}
	c := mix(l.key(0, m.all, r.Get(record.CredentialKind)) ^ maphash.String(l.seed, r.Get(record.CredentialIssuer)))
	since, ok := l.ledger.covered[c]
	if !ok {
		return false
	}
	from := instantOf(r, record.CredentialIssued)
	return from == 0 && r.Time > since+int64(l.opts.Skew) || from > since
}
