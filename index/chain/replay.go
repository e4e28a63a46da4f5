package chain

import (
	"hash/maphash"
	"slices"
	"strconv"

	"custody/ingest/record"
)

// Replay is the reading of sealed rows after a restart.
type Replay struct {
	l       *Linker
	chains  map[uint64]*chain // by root
	waiting map[uint64]*chain // members without a requester
	stated  map[statement]bool
}

// statement is a finding that an amendment states of a record.
type statement struct {
	seq     uint64
	finding string
}

// Replay begins to read the sealed rows of the window.
func (l *Linker) Replay() *Replay {
	return &Replay{l: l, chains: make(map[uint64]*chain), waiting: make(map[uint64]*chain), stated: make(map[statement]bool)}
}

// Row takes over what the row says; rows come in the order of the log.
func (p *Replay) Row(r *record.Record) {
	switch r.Kind {
	case record.KindRecord:
		p.record(r)
	case record.KindAmendment:
		p.amendment(r)
	}
}

func (p *Replay) at(root uint64, tenant string) *chain {
	c := p.chains[root]
	if c == nil {
		c = &chain{root: root, tenant: p.l.people.text(tenant), sealed: true}
		p.chains[root] = c
		p.l.ids.cost += chainCost
	}
	return c.find()
}

func (p *Replay) record(r *record.Record) {
	l := p.l
	l.now = max(l.now, r.Received)
	l.ids.turn(l.now, int64(l.opts.Window))
	l.ledger.turn()
	m := &member{r: r}
	root := r.Seq
	if id := r.Get(record.ChainID); id != "" {
		if n, err := strconv.ParseUint(id, 10, 64); err == nil && n < r.Seq {
			root = n
		}
	}
	m.c = p.at(root, r.Get(record.ContextTenant))
	m.c.size++
	correlated := r.Get(record.RequesterAssurance) == record.Correlated
	l.meet(m)
	c := m.c.find()
	c.sealed = true
	switch {
	case correlated:
		c.guided = bounded(c.guided, []uint64{r.Seq}, maxWaiting)
	case !r.Has(record.RequesterID) && r.Get(record.ExecutorType) != record.Person:
		if len(c.waiting) < maxWaiting {
			c.waiting = append(c.waiting, r.Seq)
			p.waiting[r.Seq] = c
		}
	}
	for _, k := range r.LinkList() {
		for i := range c.handed {
			if k.Relation == HandsOff && c.handed[i].seq == k.To {
				c.handed[i].seen = true
			}
		}
		if k.Method == TimeWindow {
			for _, i := range l.hosts.byID {
				if i.seq == k.To {
					i.inside++
				}
			}
		}
	}
	if onHost(r) {
		l.hosts.remember(l, m, accounts(r), nil)
	}
	switch r.Get(record.OutcomeStatus) {
	case record.Failure, record.Denied:
		k := mix(l.key(spaceFailed, m.exec+c.root, r.Get(record.ActionOperation)) ^
			maphash.String(l.seed, r.Get(record.TargetID)) ^ mix(maphash.String(l.seed, r.Get(record.ActionTool))))
		c.failed = true
		l.ids.put(k, ref{c, r.Seq, nil})
	}
	l.expect(m)
}

func (p *Replay) amendment(r *record.Record) {
	for _, about := range r.List(record.About) {
		seq, err := strconv.ParseUint(about, 10, 64)
		if err != nil {
			continue
		}
		if id, err := strconv.ParseUint(r.Get(record.ChainID), 10, 64); err == nil {
			c := join(p.at(seq, r.Get(record.ContextTenant)), p.at(id, r.Get(record.ContextTenant)))
			c.merged = slices.DeleteFunc(c.merged, func(b *chain) bool { return b.root == seq })
		}
		if c := p.waiting[seq]; c != nil && r.Has(record.RequesterID) {
			c = c.find()
			c.waiting = slices.DeleteFunc(c.waiting, func(s uint64) bool { return s == seq })
			delete(p.waiting, seq)
		}
		if r.Absent("requester") != "" {
			if c := p.chains[seq]; c != nil {
				c.find().unnamed = true
			}
		}
		for _, f := range r.List(record.Findings) {
			p.stated[statement{seq, f}] = true
		}
	}
}

// Done ends the replay. It returns what was found before the restart and did not
// reach the log any more.
func (p *Replay) Done() []Amendment {
	l := p.l
	l.out = nil
	for _, c := range p.chains {
		if c.up == nil && c.who != nil && len(c.waiting) > 0 {
			l.named[c] = true
		}
		if c.up == nil && len(c.merged) > 0 {
			l.amendMerged(c)
		}
	}
	l.settle()
	q := &l.pending
	q.list = slices.DeleteFunc(q.list[q.head:], func(c check) bool {
		if c.at != nil {
			return p.stated[statement{c.at.endSeq, record.SessionWrapperOnly}]
		}
		return p.stated[statement{c.seq, c.kind.finding()}]
	})
	q.head = 0
	p.chains, p.waiting, p.stated = nil, nil, nil
	l.count()
	return l.out
}

func (k checkKind) finding() string {
	switch k {
	case checkHalf:
		return record.HalfPair
	case checkParent, checkHandoff:
		return record.ChainBroken
	case checkUnseen:
		return record.CredentialIssuanceUnseen
	default:
		return record.SessionWrapperOnly
	}
}
