package chain

import "custody/ingest/record"

// check is something that must have happened when the window is over.
type check struct {
	kind   checkKind
	due    int64
	seq    uint64
	key    uint64
	tenant string
	c      *chain
	k      *cred
	at     *interval
}

type checkKind uint8

const (
	checkHalf    checkKind = iota // the other half has arrived
	checkParent                   // the parent span has arrived
	checkHandoff                  // the hand-off was answered
	checkUnseen                   // the issuing of the credential has arrived
	checkWrapper                  // something happened inside the session
)

// queue holds checks in the order in which they fall due: all wait one window.
type queue struct {
	list    []check
	head    int
	dropped uint64
}

// maxPending bounds what waits; of more the oldest are given up, and counted.
const maxPending = 1 << 18

func (l *Linker) expectAt(now int64, c check) {
	q := &l.pending
	c.due = now + int64(l.opts.Window)
	if len(q.list)-q.head >= maxPending {
		q.list[q.head] = check{}
		q.head++
		q.dropped++
	}
	if q.head > len(q.list)/2 && q.head > 1024 {
		n := copy(q.list, q.list[q.head:])
		clear(q.list[n:])
		q.list, q.head = q.list[:n], 0
	}
	q.list = append(q.list, c)
}

// expect notes what is to follow the record.
func (l *Linker) expect(m *member) {
	r := m.r
	at := func(c check) {
		c.seq, c.tenant, c.c = r.Seq, l.people.text(r.Get(record.ContextTenant)), m.c
		l.expectAt(r.Received, c)
	}
	if h := m.half; h == halfRequest || h == halfCall {
		if k, ok := l.pairKey(m, h); ok {
			at(check{kind: checkHalf, key: k})
		}
	}
	if parent := r.Get(record.ChainParentID); !empty(parent) {
		trace := r.Get(record.ChainTraceID)
		if empty(trace) {
			trace = ""
		}
		d := m.weak
		if unique(parent) {
			d = m.all
		}
		if _, ok := l.ids.get(l.spanKey(spaceSpan, d, trace, parent)); !ok {
			missing := l.spanKey(spaceMissing, d, trace, parent)
			if _, asked := l.ids.get(missing); !asked {
				l.ids.put(missing, ref{m.c, r.Seq, nil})
				at(check{kind: checkParent, key: l.spanKey(spaceSpan, d, trace, parent)})
			}
		}
	}
	if r.Has(record.ChainHandoff) && m.c != nil {
		at(check{kind: checkHandoff})
	}
	if l.unseen(m) {
		at(check{kind: checkUnseen, k: m.cred})
	}
}

// pairKey is the identifier that both halves carry.
func (l *Linker) pairKey(m *member, h half) (uint64, bool) {
	f := record.ChainRequestID
	if h == halfCall || h == halfResult {
		f = record.ChainToolCallID
	}
	id := m.r.Get(f)
	if empty(id) {
		return 0, false
	}
	d := m.weak
	if unique(id) {
		d = m.all
	}
	return l.key(spaceAnswered, d, id), true
}

func (l *Linker) answered(m *member, h half) {
	if k, ok := l.pairKey(m, h); ok {
		l.ids.put(k, ref{nil, m.r.Seq, nil})
	}
}

// due states what is missing now that its window has passed.
func (l *Linker) due() {
	q := &l.pending
	for q.head < len(q.list) && q.list[q.head].due <= l.now {
		c := q.list[q.head]
		q.list[q.head] = check{}
		q.head++
		if c.key != 0 && l.ids.until != 0 && c.due-int64(l.opts.Window) < l.ids.until {
			q.dropped++ // its identifiers are forgotten: nothing can be said
			continue
		}
		l.check(&c)
	}
}

func (l *Linker) check(c *check) {
	switch c.kind {
	case checkHalf:
		if _, ok := l.ids.get(c.key); !ok {
			l.finding(c.tenant, c.seq, record.HalfPair, "the other half did not arrive")
		}
	case checkParent:
		if _, ok := l.ids.get(c.key); !ok {
			l.finding(c.tenant, c.seq, record.ChainBroken, "the parent span that it names did not arrive")
		}
	case checkHandoff:
		if c.c == nil {
			return
		}
		for _, h := range c.c.find().handed {
			if h.seq == c.seq && !h.seen {
				l.finding(c.tenant, c.seq, record.ChainBroken, UnansweredHandoff)
			}
		}
	case checkUnseen:
		if !c.k.issued {
			l.finding(c.tenant, c.seq, record.CredentialIssuanceUnseen, "such credentials are issued on record, and this one was not")
		}
	case checkWrapper:
		if c.at.inside == 0 && !c.at.told {
			c.at.told = true
			l.finding(c.at.tenant, c.at.endSeq, record.SessionWrapperOnly, "nothing on record happened inside the session that began in", c.at.seq)
		}
	}
}
