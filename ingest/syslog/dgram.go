package syslog

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"custody/ingest"
)

const (
	// gapEvery is how often drops are looked for and, while they go on, stated.
	gapEvery = time.Second
	// entryCost is what a queued datagram counts for besides its bytes.
	entryCost = 64
	// chunkBytes is where a chunk of the queue is full.
	chunkBytes = 256 << 10
	// maxDatagram is the largest datagram that UDP can carry, rounded up.
	maxDatagram = 64 << 10
)

// datagram is one queued message: a part of its chunk's buf.
type datagram struct {
	peer       netip.Addr
	start, end int
	full       int
	received   int64
}

// chunk is a run of queued datagrams; it becomes one batch for each peer.
type chunk struct {
	buf   []byte
	items []datagram
	mixed bool // of several peers
	cost  int64
}

// queue is the bounded store between the reading goroutine, which must never wait
// for the sink, and the submitting one.
type queue struct {
	max   int64
	added chan struct{} // holds a token when there may be something to pop
	freed chan struct{} // holds a token when there may be room

	mu      sync.Mutex
	chunks  []*chunk
	open    *chunk // the last of chunks, while it takes more
	used    int64
	dropped int64
	whole   int64 // when the last datagram before the first of dropped was queued
	last    int64 // when the last datagram was queued
}

func newQueue(limit int64) *queue {
	return &queue{max: limit, added: make(chan struct{}, 1), freed: make(chan struct{}, 1)}
}

// add queues one datagram, of which raw is copied. hint is how many bytes are
// coming with it. It returns false when there is no room.
func (q *queue) add(raw []byte, full int, peer netip.Addr, now int64, hint int) bool {
	cost := int64(len(raw)) + entryCost
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.used+cost > q.max {
		return false
	}
	c := q.open
	if c == nil || len(c.items) == maxLines || len(c.buf)+len(raw) > cap(c.buf) {
		size := max(hint, len(raw))
		if c != nil { // the sink lags, so more will gather
			size = max(size, chunkBytes)
		}
		c = &chunk{buf: make([]byte, 0, size)}
		q.open = c
		q.chunks = append(q.chunks, c)
	}
	start := len(c.buf)
	c.buf = append(c.buf, raw...)
	c.mixed = c.mixed || len(c.items) > 0 && c.items[0].peer != peer
	c.items = append(c.items, datagram{peer: peer, start: start, end: len(c.buf), full: full, received: now})
	c.cost += cost
	q.used += cost
	q.last = now
	return true
}

func (q *queue) drop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.dropped == 0 {
		q.whole = q.last
	}
	q.dropped++
}

// pop takes the oldest chunk, nil when there is none. Its bytes count until free.
func (q *queue) pop() *chunk {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.chunks) == 0 {
		return nil
	}
	c := q.chunks[0]
	q.chunks[0] = nil
	q.chunks = q.chunks[1:]
	if c == q.open {
		q.open = nil
	}
	return c
}

func (q *queue) free(c *chunk) {
	q.mu.Lock()
	q.used -= c.cost
	q.mu.Unlock()
	signal(q.freed)
}

func (q *queue) takeDrops() (n, whole int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, whole = q.dropped, q.whole
	q.dropped = 0
	return n, whole
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// runPackets reads datagrams until ctx ends and submits them.
func (l *Listener) runPackets(ctx, submit context.Context) error {
	q := newQueue(l.cfg.Queue)
	var wg sync.WaitGroup
	ended := make(chan struct{})
	wg.Go(func() {
		defer close(ended)
		l.receive(ctx, submit, q)
	})
	wg.Go(func() {
		select {
		case <-ctx.Done():
			l.packets.SetReadDeadline(longAgo)
		case <-ended:
		}
	})
	p := &packets{l: l, q: q, checked: l.clock().UnixNano()}
	p.run(submit, ended)
	wg.Wait()
	return nil
}

// receive moves datagrams from the socket to the queue.
func (l *Listener) receive(ctx, submit context.Context, q *queue) {
	r, err := newReceiver(l.packets, l.cfg.MaxMessage)
	if err != nil {
		l.log.Error("cannot receive", "error", err)
		return
	}
	for {
		n, err := r.receive()
		l.enqueue(submit, q, r, n)
		switch {
		case err == nil:
			continue
		case ctx.Err() != nil:
			// What the kernel holds was sent to us while we were there.
			for range 1 + l.cfg.ReceiveBuffer/(r.slots()*entryCost) {
				n := r.poll()
				l.enqueue(submit, q, r, n)
				if n < r.slots() {
					return
				}
			}
			return
		case errors.Is(err, net.ErrClosed):
			return
		case errors.Is(err, os.ErrDeadlineExceeded):
		default:
			l.log.Warn("receive failed", "error", err)
			select {
			case <-time.After(10 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}
}

// enqueue queues the n datagrams that r holds. Without room, those of UDP are
// dropped and counted; those of a unix socket wait, because its senders can.
func (l *Listener) enqueue(submit context.Context, q *queue, r *receiver, n int) {
	if n == 0 {
		return
	}
	now := l.clock().UnixNano()
	hint := 0
	for i := range n {
		raw, _, _ := r.message(i)
		hint += len(raw)
	}
	for i := range n {
		raw, full, peer := r.message(i)
		size := len(raw)
		if full == size {
			raw = raw[:size-trailing(raw)]
			full = 0
		}
		if len(raw) == 0 {
			continue
		}
		for !q.add(raw, full, peer, now, hint) {
			signal(q.added)
			if l.cfg.Network == "udp" {
				q.drop()
				l.counters.queueDrops.Add(1)
				break
			}
			select {
			case <-q.freed:
				continue
			case <-submit.Done():
				l.lose(1, submit.Err())
				q.drop()
			}
			break
		}
		hint -= size
	}
	signal(q.added)
}

// packets submits what is queued.
type packets struct {
	l       *Listener
	q       *queue
	kernel  uint32 // drop counter of the kernel at the last look
	lost    int64  // kernel drops not yet stated
	from    int64  // when the kernel's counter had none of lost
	checked int64  // last look at the counters, Unix nanoseconds
	left    int64  // datagrams that the sink did not take, not yet stated
	since   int64  // when the first of them came
}

func (p *packets) run(submit context.Context, ended <-chan struct{}) {
	t := time.NewTicker(gapEvery)
	defer t.Stop()
	for last := false; !last; {
		select {
		case <-p.q.added:
		case <-t.C:
			p.state(submit, true)
			continue
		case <-ended:
			last = true
		}
		for c := p.q.pop(); c != nil; c = p.q.pop() {
			for _, b := range p.batches(c) {
				lines, since := int64(len(b.Lines)), b.Lines[0].Received
				if p.l.submit(submit, p.l.sink, b) {
					continue
				}
				if p.left == 0 {
					p.since = since
				}
				p.left += lines
			}
			p.q.free(c)
			p.state(submit, false)
		}
	}
	// What the time for draining did not do for is missing, and so stated, though
	// that time is over.
	final, cancel := context.WithTimeout(context.WithoutCancel(submit), statedWithin)
	defer cancel()
	p.state(final, true)
}

// statedWithin bounds the wait for the ledger to take the last gaps.
const statedWithin = 5 * time.Second

// state submits the drops there were as gaps, at once or a second after the last.
func (p *packets) state(submit context.Context, due bool) {
	now := p.l.clock().UnixNano()
	if !due && now-p.checked < int64(gapEvery) {
		return
	}
	drops := p.kernel
	if p.l.cfg.Network == "udp" {
		drops = kernelDrops(p.l.packets)
	}
	if n := int64(drops - p.kernel); n > 0 { // the counter wraps
		if p.lost == 0 {
			p.from = p.checked
		}
		p.lost += n
		p.kernel = drops
		p.l.counters.kernelDrops.Add(n)
	}
	p.checked = now
	queued, whole := p.q.takeDrops()
	var gaps []ingest.Gap
	if p.lost > 0 {
		gaps = append(gaps, ingest.Gap{Source: p.l.cfg.Source, Reason: GapKernelDrops, Count: p.lost, From: p.from, To: now})
	}
	if queued > 0 {
		gaps = append(gaps, ingest.Gap{Source: p.l.cfg.Source, Reason: GapQueueDrops, Count: queued, From: whole, To: now})
	}
	if p.left > 0 {
		gaps = append(gaps, ingest.Gap{Source: p.l.cfg.Source, Reason: GapStopped, Count: p.left, From: p.since, To: now})
	}
	if gaps == nil {
		return
	}
	p.lost, p.left = 0, 0
	if !p.l.submit(submit, p.l.sink, &ingest.Batch{Source: p.l.cfg.Source, Gaps: gaps}) {
		p.l.log.Error("drops not recorded", "kernel", p.kernel, "queue", queued)
	}
}

// batches makes one batch for each peer of c, in the order the peers first appear.
func (p *packets) batches(c *chunk) []*ingest.Batch {
	src := p.l.cfg.Source
	if !c.mixed {
		b := &ingest.Batch{Source: src, Peer: c.items[0].peer, Buf: c.buf, Lines: make([]ingest.Line, len(c.items))}
		for i, d := range c.items {
			b.Lines[i] = ingest.Line{Raw: c.buf[d.start:d.end:d.end], Received: d.received, FullLength: d.full, Offset: -1}
		}
		return []*ingest.Batch{b}
	}
	type share struct{ lines, bytes int }
	index := map[netip.Addr]int{}
	var shares []share
	for _, d := range c.items {
		i, ok := index[d.peer]
		if !ok {
			i = len(shares)
			index[d.peer] = i
			shares = append(shares, share{})
		}
		shares[i].lines++
		shares[i].bytes += d.end - d.start
	}
	out := make([]*ingest.Batch, len(shares))
	for _, d := range c.items {
		i := index[d.peer]
		b := out[i]
		if b == nil {
			b = &ingest.Batch{
				Source: src, Peer: d.peer,
				Buf: make([]byte, 0, shares[i].bytes), Lines: make([]ingest.Line, 0, shares[i].lines),
			}
			out[i] = b
		}
		start := len(b.Buf)
		b.Buf = append(b.Buf, c.buf[d.start:d.end]...)
		b.Lines = append(b.Lines, ingest.Line{Raw: b.Buf[start:len(b.Buf):len(b.Buf)], Received: d.received, FullLength: d.full, Offset: -1})
	}
	return out
}
