package chain

import (
	"hash/maphash"
	"slices"
	"sync"

	"custody/ingest/record"
)

// Relations and methods, as links show them (RECORD of links).
const (
	CalledBy       = "called_by"
	RetryOf        = "retry_of"
	HandsOff       = "hands_off"
	RespondsTo     = "responds_to"
	UsesCredential = "uses_credential"
	ApprovedBy     = "approved_by"

	Propagated = "propagated_context"
	Identifier = "correlated_identifier"
	Credential = "credential"
	TimeWindow = "time_window"
)

// Linker ties records into chains. See the package comment.
type Linker struct {
	opts Options
	seed maphash.Seed
	buf  []byte

	lastDomain domain
	people     people
	ids        tables
	ledger     ledger
	hosts      hosts
	approvals  map[uint64]*approval
	pending    queue
	now        int64 // received of the newest record

	batch []member
	out   []Amendment
	named map[*chain]bool // chains whose waiting members can be named
	reach uint64          // rows from here on are not sealed yet

	mu    sync.Mutex
	stats Stats
}

// New makes a Linker.
func New(opts Options) *Linker {
	opts.fill()
	l := &Linker{
		opts: opts, seed: maphash.MakeSeed(), people: newPeople(), ids: newTables(opts.Memory),
		approvals: make(map[uint64]*approval), named: make(map[*chain]bool),
	}
	l.ledger.init(opts.CredentialMemory)
	l.hosts.init()
	return l
}

// Stats is safe for concurrent use.
func (l *Linker) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stats
}

// member is a record of the batch with what pass one found.
type member struct {
	r         *record.Record
	all, weak uint64 // domains
	c         *chain // nil when it has no identifier
	own       *who   // requester or person that the record itself shows
	stated    bool   // own is the record's requester
	exec      uint64 // hash of the executor
	half      half
	session   string // start or end of a privileged session
	aside     bool   // own has a part in the chain, and is not who asked

	to     uint64 // the record it hangs on by identifier
	method string
	rel    string
	linked bool
	scoped bool // has an identifier of one request: trace, task, conversation
	fresh  bool // none of its identifiers was known
	traced uint64
	foreig bool // its trace is new in a chain that has another

	cred   *cred // the credential that it uses
	issued *cred // the credential that it is about
	at     *interval
	rivals []supply // several intervals
}

// Link takes the rows of one batch in the order of their seqs, before they are
// sealed, and writes into them what they hang on. It returns what is to be stated
// of rows that are sealed already, or of others of this batch.
func (l *Linker) Link(rows []*record.Record) []Amendment {
	l.out = nil
	l.batch = l.batch[:0]
	for _, r := range rows {
		if r.Kind != record.KindRecord {
			continue
		}
		if len(l.batch) == 0 {
			l.reach = r.Seq
		}
		if r.Received > l.now {
			l.now = r.Received
		}
		l.ids.turn(l.now, int64(l.opts.Window))
		l.ledger.turn()
		l.batch = append(l.batch, member{r: r})
		l.meet(&l.batch[len(l.batch)-1])
	}
	for i := range l.batch {
		l.tie(&l.batch[i])
	}
	for i := range l.batch {
		if c := l.batch[i].c; c != nil {
			c.find().sealed = true
		}
	}
	l.settle()
	l.due()
	l.count()
	clear(l.batch)
	return l.out
}

// Tick states what a passed window shows although nothing arrives.
func (l *Linker) Tick(now int64) []Amendment {
	l.out = nil
	l.now = max(l.now, now)
	l.reach = 1<<64 - 1
	l.answer()
	l.settle()
	l.due()
	l.count()
	return l.out
}

func (l *Linker) count() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.batch {
		if l.batch[i].linked {
			l.stats.Linked++
		}
	}
	l.stats.Amendments += uint64(len(l.out))
	l.stats.Keys = len(l.ids.now) + len(l.ids.old)
	l.stats.Credentials = len(l.ledger.now) + len(l.ledger.old)
	since := l.ids.until
	if since == 0 {
		since = l.ids.since
	}
	l.stats.Window = l.opts.Window
	if l.ids.until != 0 {
		l.stats.Window = min(l.opts.Window, duration(l.now-since))
	}
	l.stats.Dropped = l.pending.dropped
	l.stats.Lookups = l.ledger.lookups
}

// place finds or makes the chain that the identifier leads to.
func (l *Linker) place(m *member, k uint64, rel, method string) {
	have, ok := l.ids.get(k)
	if !ok {
		l.ids.put(k, ref{m.chain(l), m.r.Seq, m.own})
		return
	}
	if have.seq == m.r.Seq {
		return
	}
	m.fresh = false
	if m.c == nil {
		m.c = have.c.find()
		m.c.size++
	} else {
		m.c = join(m.c, have.c)
	}
	if !m.linked {
		m.to, m.rel, m.method, m.linked = have.seq, rel, method, true
	}
}

// chain is the member's chain, a new one if it has none.
func (m *member) chain(l *Linker) *chain {
	if m.c == nil {
		m.c = &chain{root: m.r.Seq, size: 1, tenant: l.people.text(m.r.Get(record.ContextTenant))}
		l.ids.cost += chainCost
	}
	m.c = m.c.find()
	return m.c
}

// meet is pass one: the record's identifiers find their chains, and chains and
// ledger learn what the record itself shows. Only then is anything concluded, so
// that the order within a batch does not matter.
func (l *Linker) meet(m *member) {
	r := m.r
	m.all, m.weak = l.domain(r)
	m.fresh = true
	m.own = l.people.requesterOf(r)
	m.stated = m.own != nil
	if m.own == nil {
		m.own = l.people.actorOf(r)
	}
	// Who approves or revokes is not who asked for what is approved or revoked, and
	// a host's account is whoever holds it.
	m.aside = bystander(r) || onHost(r) && r.Get(record.RequesterIDKind) == "local_account"
	if id := r.Get(record.ExecutorID); id != "" {
		m.exec = maphash.String(l.seed, id)
	}
	m.half, m.session = marksOf(r)
	half := m.half

	trace := r.Get(record.ChainTraceID)
	if empty(trace) {
		trace = ""
	}
	scope := func(id string) uint64 {
		if unique(id) {
			return m.all
		}
		return m.weak
	}
	if trace != "" {
		m.scoped = true
		m.traced = l.key(spaceTrace, scope(trace), trace)
		l.place(m, m.traced, CalledBy, Propagated)
	}
	each := func(f record.Field, s space, rel string, scoped bool) {
		id := r.Get(f)
		if empty(id) {
			return
		}
		m.scoped = m.scoped || scoped
		l.place(m, l.key(s, scope(id), id), rel, Identifier)
	}
	rel := CalledBy
	if half == halfResponse {
		rel = RespondsTo
	}
	each(record.ChainRequestID, spaceRequest, rel, false)
	if r.Has(record.ChainToolCallID) {
		rel = CalledBy
		if half == halfResult {
			rel = RespondsTo
		}
		each(record.ChainToolCallID, spaceToolCall, rel, false)
	}
	each(record.ChainTxn, spaceTxn, CalledBy, false)
	each(record.ChainTaskID, spaceTask, CalledBy, true)
	each(record.ChainConversationID, spaceConversation, CalledBy, true)
	if !m.scoped {
		each(record.ChainSessionID, spaceSession, CalledBy, false)
	}
	if span := r.Get(record.ChainSpanID); !empty(span) {
		l.ids.put(l.spanKey(spaceSpan, scope(span), trace, span), ref{m.chain(l), r.Seq, m.own})
	}
	if half == halfResponse || half == halfResult {
		l.answered(m, half)
	}
	l.meetCredentials(m)
	l.hosts.meet(l, m)
	l.meetApproval(m)

	if m.c == nil {
		return
	}
	c := m.chain(l)
	// Whoever uses a credential can claim anything beside it: without a trace to
	// stand on, the claim is about this record alone.
	m.aside = m.aside || m.own != nil && m.own.rank < rankProven && m.own.asserted && m.cred != nil && !m.scoped
	if m.own != nil && !m.aside && c.supplies(m.own, r.Seq) {
		l.named[c] = true
	}
	if m.exec != 0 {
		c.agent(m.exec)
	}
	if m.traced != 0 {
		m.foreig = c.trace(m.traced)
	}
	if to := r.Get(record.ChainHandoff); to != "" && len(c.handed) < maxHanded {
		c.handed = append(c.handed, handoff{to: maphash.String(l.seed, to), seq: r.Seq})
	}
}

// bystander reports whether the record tells of somebody who deals with what
// another asked for.
func bystander(r *record.Record) bool {
	switch r.Get(record.ApprovalStatus) {
	case "", "requested":
	default:
		return true
	}
	switch r.Get(record.CredentialEventOp) {
	case opRevoke, opExpire:
		return true
	}
	return false
}

// tie is pass two: what the record hangs on, who asked, and what is doubtful.
func (l *Linker) tie(m *member) {
	r := m.r
	if m.c != nil {
		m.c = m.c.find()
	}
	var e evidence
	e.init(m)
	l.tieParent(m, &e)
	if m.c != nil {
		l.tieHandoff(m, &e)
	}
	if m.linked && e.links == 0 {
		e.link(r, record.Link{To: m.to, Relation: m.rel, Method: m.method})
	}
	l.tieCredentials(m, &e)
	l.hosts.tie(l, m, &e)
	if m.c != nil {
		l.tieRetry(m, &e)
		e.chain(m.c)
	}
	l.conclude(m, &e)
	l.tieApproval(m, &e)
	if m.c != nil {
		if m.c.root < r.Seq {
			r.Set(record.ChainID, decimal(m.c.root), "")
			m.linked = true
		}
		if s := r.Get(record.ChainSpanID); !empty(s) {
			l.renew(m, s)
		}
	}
	m.linked = m.linked || e.links > 0
	l.expect(m)
}

// renew tells the record's span who asked, for its children to come.
func (l *Linker) renew(m *member, span string) {
	if m.own != nil || !m.r.Has(record.RequesterID) {
		return
	}
	trace := m.r.Get(record.ChainTraceID)
	if empty(trace) {
		trace = ""
	}
	all := m.all
	if !unique(span) {
		all = m.weak
	}
	k := l.spanKey(spaceSpan, all, trace, span)
	if have, ok := l.ids.get(k); ok && have.seq == m.r.Seq && have.who == nil {
		have.who = l.people.requesterOf(m.r)
		l.ids.put(k, have)
	}
}

// tieParent follows a parent span to the record that it belongs to.
func (l *Linker) tieParent(m *member, e *evidence) {
	r := m.r
	parent := r.Get(record.ChainParentID)
	if empty(parent) {
		return
	}
	trace := r.Get(record.ChainTraceID)
	if empty(trace) {
		trace = ""
	}
	all := m.all
	if !unique(parent) {
		all = m.weak
	}
	p, ok := l.ids.get(l.spanKey(spaceSpan, all, trace, parent))
	if !ok || p.seq == r.Seq {
		return
	}
	m.c = join(m.chain(l), p.c)
	e.link(r, record.Link{To: p.seq, Relation: CalledBy, Method: Propagated})
	e.parent = true
	if p.who != nil && p.who.rank >= rankStated {
		e.add(p.who, p.seq, true)
	}
}

// tieHandoff answers a hand-off to this record's executor.
func (l *Linker) tieHandoff(m *member, e *evidence) {
	r := m.r
	if m.exec == 0 {
		return
	}
	name := r.Get(record.ExecutorName)
	var byName uint64
	for i := range m.c.handed {
		h := &m.c.handed[i]
		if h.seen || h.seq >= r.Seq {
			continue
		}
		if byName == 0 && name != "" {
			byName = maphash.String(l.seed, name)
		}
		if h.to != m.exec && h.to != byName {
			continue
		}
		h.seen = true
		e.link(r, record.Link{To: h.seq, Relation: HandsOff, Method: Identifier})
		if m.foreig {
			r.AddFinding(record.ChainBroken)
			e.because(r, record.ChainBroken, "a new trace id at the hand-off", h.seq)
		}
		return
	}
}

// tieRetry finds the failed try that this record repeats.
func (l *Linker) tieRetry(m *member, e *evidence) {
	r := m.r
	target, op := r.Get(record.TargetID), r.Get(record.ActionOperation)
	if op == "" || m.exec == 0 {
		return
	}
	tool := r.Get(record.ActionTool)
	if target == "" && tool == "" {
		return
	}
	failed := false
	switch r.Get(record.OutcomeStatus) {
	case record.Failure, record.Denied:
		failed = true
	}
	if !failed && !m.c.failed {
		return // as nearly everywhere
	}
	k := mix(l.key(spaceFailed, m.exec+m.c.root, op) ^ maphash.String(l.seed, target) ^ mix(maphash.String(l.seed, tool)))
	was, ok := l.ids.get(k)
	if ok && was.seq < r.Seq && m.half != halfResponse && m.half != halfResult {
		e.link(r, record.Link{To: was.seq, Relation: RetryOf, Method: Identifier})
	}
	if failed {
		m.c.failed = true
		l.ids.put(k, ref{m.c, r.Seq, nil})
	}
}

// conclude names the requester if all evidence agrees.
func (l *Linker) conclude(m *member, e *evidence) {
	r := m.r
	if !e.open {
		if !l.contested(m, e) {
			l.waits(m, e)
		}
		return
	}
	w, rivals := e.verdict()
	switch {
	case len(rivals) > 1:
		l.ambiguous(m, rivals)
	case w != nil:
		w.write(r)
		unsetMissing(r)
		if w.asserted {
			r.AddFinding(record.RequesterAsserted)
		}
		if m.c != nil {
			if e.byChain && len(m.c.guided) < maxWaiting {
				m.c.guided = append(m.c.guided, r.Seq)
			}
			if !e.byChain && m.c.supplies(l.people.requesterOf(r), r.Seq) {
				l.named[m.c] = true
			}
		}
	default:
		l.waits(m, e)
	}
}

// contested reports whether what the record says of its requester rests on
// nothing but its word, and what it uses or follows says somebody else.
func (l *Linker) contested(m *member, e *evidence) bool {
	if !m.stated || m.own.rank >= rankProven || !m.own.asserted || bystander(m.r) {
		return false
	}
	rivals := []supply{{m.own, m.r.Seq}}
	for _, c := range e.claims[:e.n] {
		if !surely(c.who, m.own) && c.who.rank >= m.own.rank {
			rivals = append(rivals, c.supply)
		}
	}
	if len(rivals) == 1 {
		return false
	}
	l.ambiguous(m, rivals)
	return true
}

func (l *Linker) ambiguous(m *member, rivals []supply) {
	r := m.r
	r.AddFinding(record.LinkAmbiguous)
	r.Unset(record.RequesterID)
	for _, f := range [...]record.Field{
		record.RequesterType, record.RequesterIDKind, record.RequesterName, record.RequesterIssuer,
		record.RequesterTenant, record.RequesterAssurance,
	} {
		r.Unset(f)
	}
	r.SetAbsent("requester", record.NotEstablished)
	seqs := make([]uint64, 0, len(rivals))
	for _, s := range rivals {
		if !slices.Contains(seqs, s.seq) {
			seqs = append(seqs, s.seq)
		}
	}
	slices.Sort(seqs)
	method := Propagated
	if m.rivals != nil {
		method = TimeWindow
		r.AddFinding(record.SharedAccount)
	}
	r.AddLink(record.Link{To: seqs[0], Relation: CalledBy, Method: method, Candidates: seqs})
	explain(r, record.LinkAmbiguous, "these records name different requesters", seqs...)
	l.mu.Lock()
	l.stats.Ambiguous++
	l.mu.Unlock()
}

// waits states that nobody is known to have asked, and notes the record for the
// case that somebody turns up.
func (l *Linker) waits(m *member, _ *evidence) {
	r := m.r
	if r.Has(record.RequesterID) || r.Get(record.ExecutorType) == record.Person {
		return
	}
	if r.Has(record.ExecutorID) {
		r.AddFinding(record.RequesterMissing)
	}
	if m.c != nil && len(m.c.waiting) < maxWaiting {
		m.c.waiting = append(m.c.waiting, r.Seq)
	}
	if m.cred != nil && m.cred.requester() == nil && len(m.cred.waiting) < maxWaiting {
		m.cred.waiting = append(m.cred.waiting, r.Seq)
	}
}

// unsetMissing takes back what no longer holds once a requester is named.
func unsetMissing(r *record.Record) {
	r.SetAbsent("requester", "")
	r.RemoveFinding(record.RequesterMissing)
}

// settle names the members of chains that learnt of their requester late, and
// tells those that were named too early.
func (l *Linker) settle() {
	for i := range l.batch {
		if c := l.batch[i].c; c != nil {
			l.named[c.find()] = true
		}
	}
	for c := range l.named {
		delete(l.named, c)
		if c = c.find(); c.who == nil || len(c.others) > 0 {
			continue
		}
		if len(c.waiting) > 0 {
			l.amendRequester(c.waiting, c.who, record.Link{To: c.whoSeq, Relation: CalledBy, Method: Propagated}, c)
			c.guided = bounded(c.guided, c.waiting, maxWaiting)
			c.waiting = nil
		}
		for _, k := range c.creds {
			k.learn(l, c.who, c.whoSeq)
		}
	}
	for i := range l.batch {
		c := l.batch[i].c
		if c == nil {
			continue
		}
		c = c.find()
		if len(c.others) > 0 && !c.unnamed {
			c.unnamed = true
			l.amendAmbiguous(c)
		}
		if len(c.merged) > 0 {
			l.amendMerged(c)
		}
	}
}
