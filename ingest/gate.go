package ingest

import (
	"container/heap"
	"context"
	"math"
	"slices"
	"sync"
	"time"
)

const (
	// lineCost is what a decoded line holds in memory beside its bytes.
	lineCost = 3 << 10
	// gateDelay is what a batch may take from the gate to the disk, beyond what it
	// would take alone, while others wait at the gate. It bounds what a sender waits
	// because of what others sent before it.
	gateDelay = 300 * time.Millisecond
	// gateLeast is the smallest window: the rows of about one block.
	gateLeast = 4 << 20
)

// A Gate shares a sink among senders, so that one that floods does not delay the
// others. The sink takes batches in the order of their coming; the gate stands
// before it and lets only as much through as the sink makes durable within
// [gateDelay]. The others wait at the gate, where the next to pass is the one that
// would be served first if all were served at the same time: weighted fair queueing
// (Demers, Keshav and Shenker, SIGCOMM 1989) with equal weights, first among the
// shares of the gate, then among the shares of each share. What is shared is
// memory. A sender that asks for less than its part hardly waits at all, however
// many others want more than theirs, and one alone has the whole sink.
type Gate struct {
	sink Sink
	max  int64
	now  func() time.Time

	mu     sync.Mutex
	root   Share
	window int64         // bytes that may be under way
	used   int64         // bytes under way
	done   int64         // bytes made durable since the window was judged
	delays float64       // of them, in nanoseconds for each byte
	full   bool          // somebody has waited since then
	alone  time.Duration // the least that a batch ever took: a commit with nothing before it
}

// Share is a part of a gate and a sink of its own. The lines of one sender keep
// their order when it has a share to itself.
type Share struct {
	gate   *Gate
	parent *Share // nil at the root

	// By Gate.mu. Tags are times of the parent's clock.
	clock   int64     // bytes that each busy child would have had by now
	start   int64     // tag at which the first that waits begins
	finish  int64     // tag at which the last that passed ends
	next    *waiter   // the first that waits, of s or of its children; nil when none does
	place   int       // in parent.busy, from 1; 0 when nobody waits
	busy    busy      // children where somebody waits
	waiting []*waiter // of s itself
}

// busy is a heap of shares by the tag at which the first that waits ends.
type busy []*Share

func (b busy) Len() int           { return len(b) }
func (b busy) Less(i, j int) bool { return b[i].start+b[i].next.cost < b[j].start+b[j].next.cost }
func (b busy) Swap(i, j int) {
	b[i], b[j] = b[j], b[i]
	b[i].place, b[j].place = i+1, j+1
}

func (b *busy) Push(x any) {
	s := x.(*Share)
	*b = append(*b, s)
	s.place = len(*b)
}

func (b *busy) Pop() any {
	last := len(*b) - 1
	s := (*b)[last]
	(*b)[last] = nil
	*b = (*b)[:last]
	s.place = 0
	return s
}

// waiter is a batch at the gate.
type waiter struct {
	share  *Share
	cost   int64
	passed chan struct{}
}

// NewGate returns a gate before sink that lets at most limit bytes through at a
// time, decoded lines included. A batch larger than that passes alone. A nil clock
// is time.Now.
func NewGate(sink Sink, limit int64, clock func() time.Time) *Gate {
	if clock == nil {
		clock = time.Now
	}
	g := &Gate{sink: sink, max: limit, now: clock, window: min(4*gateLeast, limit), alone: math.MaxInt64}
	g.root.gate = g
	return g
}

// Share returns a new part of the gate. It needs no closing.
func (g *Gate) Share() *Share { return g.root.Share() }

// Share returns a new part of s.
func (s *Share) Share() *Share { return &Share{gate: s.gate, parent: s} }

// Divide returns a part of sink for one of several senders, or sink itself when it
// has no parts.
func Divide(sink Sink) Sink {
	if s, ok := sink.(*Share); ok {
		return s.Share()
	}
	return sink
}

// Submit implements Sink.
func (s *Share) Submit(ctx context.Context, b *Batch) error {
	g := s.gate
	cost := int64(b.Size() + lineCost*len(b.Lines))
	if err := g.pass(ctx, s, cost); err != nil {
		return err
	}
	done, since := b.Done, g.now()
	b.Done = func(err error) {
		g.leave(cost, since, true)
		if done != nil {
			done(err)
		}
	}
	if err := g.sink.Submit(ctx, b); err != nil {
		b.Done = done
		g.leave(cost, since, false)
		return err
	}
	return nil
}

// pass waits until cost bytes may go to the sink.
func (g *Gate) pass(ctx context.Context, s *Share, cost int64) error {
	w := &waiter{share: s, cost: cost, passed: make(chan struct{})}
	g.mu.Lock()
	s.waiting = append(s.waiting, w)
	s.settle()
	g.admit()
	g.mu.Unlock()
	select {
	case <-w.passed:
		return nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := slices.Index(s.waiting, w); i >= 0 {
		s.waiting = slices.Delete(s.waiting, i, i+1)
		s.settle()
	} else {
		g.used -= cost // it passed just now
	}
	g.admit()
	return context.Cause(ctx)
}

// leave gives back what a batch held. Those that are durable say how fast the sink
// is, when the window is what limited it.
func (g *Gate) leave(cost int64, since time.Time, durable bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.used -= cost
	if took := g.now().Sub(since); durable && took > 0 {
		g.alone = min(g.alone, took)
		g.done += cost
		g.delays += float64(cost) * float64(took)
		if g.done >= g.window {
			if g.full {
				g.judge(g.delays/float64(g.done) - float64(g.alone))
			}
			g.done, g.delays, g.full = 0, 0, false
		}
	}
	g.admit()
}

// judge fits the window to the sink. What is under way takes its size divided by
// the sink's speed, so this is what would take gateDelay. It goes there in steps,
// since the speed of one moment says little.
func (g *Gate) judge(delay float64) {
	now := float64(g.window)
	ideal := now * float64(gateDelay) / max(delay, 1)
	ideal = max(min(ideal, now*1.25), now/2)
	g.window = min(max(int64(ideal), gateLeast), g.max)
}

func (g *Gate) room(cost int64) bool { return g.used == 0 || g.used+cost <= g.window }

// admit lets through whom there is room for.
func (g *Gate) admit() {
	for w := g.root.next; w != nil; w = g.root.next {
		if !g.room(w.cost) {
			g.full = true
			return
		}
		g.used += w.cost
		s := w.share
		s.charge(w.cost)
		s.waiting[0] = nil
		s.waiting = s.waiting[1:]
		s.settle()
		close(w.passed)
	}
}

// charge counts what passes for s and all that it is a part of.
func (s *Share) charge(cost int64) {
	for p := s.parent; p != nil; s, p = p, p.parent {
		p.clock += cost / int64(len(p.busy))
		s.start += cost // of the next that waits, if one does
		s.finish = s.start
	}
}

// settle brings s, and all that it is a part of, in their places after a change of
// what waits.
func (s *Share) settle() {
	for ; ; s = s.parent {
		switch {
		case len(s.waiting) > 0:
			s.next = s.waiting[0]
		case len(s.busy) > 0:
			s.next = s.busy[0].next
		default:
			s.next = nil
		}
		p := s.parent
		switch {
		case p == nil:
			return
		case s.next == nil && s.place > 0:
			heap.Remove(&p.busy, s.place-1)
		case s.next != nil && s.place == 0:
			s.start = max(p.clock, s.finish)
			heap.Push(&p.busy, s)
		case s.next != nil:
			heap.Fix(&p.busy, s.place-1)
		}
	}
}
