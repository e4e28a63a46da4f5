package chain

import "slices"

// ref is what an identifier leads to.
type ref struct {
	c   *chain
	seq uint64 // of the first record that carried it
	who *who   // the requester of that record, when known
}

// tables keep identifiers in two generations. Looking up costs at most two map
// reads; dropping costs nothing.
type tables struct {
	now, old     map[uint64]ref
	cost, limit  int64 // of now, in bytes
	since, until int64 // received of the first record of now and of old
}

// What one entry takes, map overhead included, measured on amd64.
const (
	refCost   = 64
	chainCost = 256
)

func newTables(limit int64) tables {
	return tables{now: make(map[uint64]ref), old: make(map[uint64]ref), limit: limit / 2}
}

func (t *tables) get(k uint64) (ref, bool) {
	if r, ok := t.now[k]; ok {
		return r, true
	}
	r, ok := t.old[k]
	if ok {
		t.put(k, r) // still in use: it lives on
	}
	return r, ok
}

func (t *tables) put(k uint64, r ref) {
	if _, had := t.now[k]; !had {
		t.cost += refCost
	}
	t.now[k] = r
}

// turn drops the older generation when the younger is full or a window old.
func (t *tables) turn(now, window int64) {
	if t.since == 0 {
		t.since = now
	}
	if t.cost < t.limit && now-t.since < window {
		return
	}
	t.old, t.now = t.now, make(map[uint64]ref, len(t.now)/2)
	t.until, t.since, t.cost = t.since, now, 0
}

// chain is what one request caused, as far as it is known. Chains that turn out
// to be one are joined; the older root names both.
type chain struct {
	up     *chain // joined to
	root   uint64 // seq of its first record
	tenant string

	who     *who // the requester, when all that is known agrees
	whoSeq  uint64
	others  []supply  // requesters that do not agree with who
	waiting []uint64  // members that have no requester yet
	guided  []uint64  // members that were given who because they stand in the chain
	agents  []uint64  // hashes of who executed
	handed  []handoff // hand-offs that nobody answered yet
	creds   []*cred   // issued in it
	traces  [2]uint64 // hashes of the first trace ids
	merged  []*chain  // sealed chains that were joined and need a row that says so
	size    uint32
	sealed  bool // its root is a row that was there before this batch
	unnamed bool // others is not empty and the guided rows were told
	failed  bool // something in it failed, and may be tried again
}

type supply struct {
	who *who
	seq uint64
}

type handoff struct {
	to   uint64 // hash of the agent
	seq  uint64
	seen bool
}

// Bounds of what one chain remembers; beyond them the chain is linked as before,
// but late evidence no longer reaches every member.
const (
	maxWaiting = 4096
	maxAgents  = 64
	maxOthers  = 8
	maxHanded  = 64
	maxCreds   = 64
)

func (c *chain) find() *chain {
	for c.up != nil {
		if c.up.up != nil {
			c.up = c.up.up
		}
		c = c.up
	}
	return c
}

// supplies tells the chain of a requester. It reports whether the chain's
// members that wait can now be named.
func (c *chain) supplies(w *who, seq uint64) bool {
	switch {
	case c.who == nil || w.rank > c.who.rank:
		if c.who != nil && c.who.rank >= rankStated && !surely(c.who, w) {
			c.doubt(c.who, c.whoSeq)
		}
		c.who, c.whoSeq = w, seq
		return true
	case w.rank < c.who.rank || surely(c.who, w):
	default:
		c.doubt(w, seq)
	}
	return false
}

func (c *chain) doubt(w *who, seq uint64) {
	for _, o := range c.others {
		if surely(o.who, w) {
			return
		}
	}
	if len(c.others) < maxOthers {
		c.others = append(c.others, supply{w, seq})
	}
}

// join makes one chain of two, under the older root.
func join(a, b *chain) *chain {
	a, b = a.find(), b.find()
	if a == b {
		return a
	}
	if b.root < a.root {
		a, b = b, a
	}
	b.up = a
	a.size += b.size
	if b.sealed && b.root != a.root {
		a.merged = append(a.merged, b)
	}
	a.merged = append(a.merged, b.merged...)
	b.merged = nil
	if b.who != nil {
		a.supplies(b.who, b.whoSeq)
	}
	for _, o := range b.others {
		a.doubt(o.who, o.seq)
	}
	a.unnamed = a.unnamed || b.unnamed
	a.failed = a.failed || b.failed
	a.waiting = bounded(a.waiting, b.waiting, maxWaiting)
	a.guided = bounded(a.guided, b.guided, maxWaiting)
	a.agents = bounded(a.agents, b.agents, maxAgents)
	a.handed = bounded(a.handed, b.handed, maxHanded)
	a.creds = bounded(a.creds, b.creds, maxCreds)
	for _, t := range b.traces {
		a.trace(t)
	}
	b.waiting, b.guided, b.agents, b.handed, b.creds, b.others = nil, nil, nil, nil, nil, nil
	return a
}

func bounded[T any](a, b []T, limit int) []T {
	if n := limit - len(a); len(b) > n {
		b = b[:n]
	}
	return append(a, b...)
}

// trace notes a trace id; it reports whether the chain had another and not this one.
func (c *chain) trace(t uint64) (foreign bool) {
	if t == 0 {
		return false
	}
	for i := range c.traces {
		switch c.traces[i] {
		case t:
			return false
		case 0:
			c.traces[i] = t
			return i > 0
		}
	}
	return true
}

func (c *chain) agent(h uint64) {
	if !slices.Contains(c.agents, h) && len(c.agents) < maxAgents {
		c.agents = append(c.agents, h)
	}
}
