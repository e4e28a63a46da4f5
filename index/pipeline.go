package index

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"

	"custody/index/seal"
	"custody/index/search"
	"custody/index/store"
	"custody/ingest"
	"custody/ingest/attribution"
	"custody/ingest/record"
)

// The way of a batch: Submit queues it; decode workers turn lines into records
// in parallel; the sequencer takes the batches in their order, gives every row
// its seq and cuts them into chunks; build workers commit the slots and encode
// the blocks in parallel; the committer writes all that is ready in one
// transaction, then answers and hands on to the sealer and the indexer.

// job is a batch on its way.
type job struct {
	batch *ingest.Batch
	rows  []*record.Record // decoded, custody's own rows included
	used  int              // of rows; the rest is spare memory
	size  int64
	ready chan struct{} // closed when decoded
	// own is called for custody's own rows when they are durable (or never will be).
	own func(r *record.Record, err error)
	// linked are rows of the job in which the linker amends earlier ones.
	linked []*record.Record
	tick   bool // carries nothing: lets the linker state what a passed window shows
}

// next hands out an empty record of the job.
func (j *job) next() *record.Record {
	if j.used == len(j.rows) {
		j.rows = append(j.rows, new(record.Record))
	}
	r := j.rows[j.used]
	j.used++
	r.Reset()
	return r
}

// chunk is a run of rows of one tenant with consecutive seqs: a block to be.
type chunk struct {
	tenant string
	first  uint64
	rows   []*record.Record
	keys   []seal.FrameKey // one per frame of 64 rows
	data   []byte
	leaves []seal.Entry
	doc    *search.Doc // nil for chunks too small to be a document of their own
}

// group is what the sequencer took at once; it commits as a whole.
type group struct {
	chunks []*chunk
	jobs   []*job
	next   uint64
	events uint64
	roll   bool     // a new segment begins with this group
	key    [16]byte // filter key of the segment it goes to
	left   atomic.Int32
	failed atomic.Pointer[error]
	done   chan struct{} // closed when built
}

// work is one chunk for a build worker.
type work struct {
	group *group
	chunk *chunk
}

const (
	// groupsInFlight bounds what is between sequencer and commit. Under load the
	// sequencer waits for a place, and so takes full blocks.
	groupsInFlight = 6
	// recordBytes is what a decoded record takes beside its line, counted against
	// the queue: a few megabytes of short lines would else hold a gigabyte.
	recordBytes = 3 << 10
	// docRows is the size from which a chunk becomes a search document as it is.
	docRows = 512
)

// budget bounds the bytes of batches between Submit and commit.
type budget struct {
	mu    sync.Mutex
	free  int64
	limit int64
	wake  chan struct{}
}

func newBudget(limit int64) *budget {
	return &budget{free: limit, limit: limit, wake: make(chan struct{})}
}

// take waits until n bytes are free; a batch larger than all waits for all.
func (b *budget) take(ctx context.Context, n int64) (int64, error) {
	n = min(n, b.limit)
	for {
		b.mu.Lock()
		if b.free >= n {
			b.free -= n
			b.mu.Unlock()
			return n, nil
		}
		wake := b.wake
		b.mu.Unlock()
		select {
		case <-wake:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

func (b *budget) give(n int64) {
	b.mu.Lock()
	b.free += n
	close(b.wake)
	b.wake = make(chan struct{})
	b.mu.Unlock()
}

func (b *budget) used() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.limit - b.free
}

// Submit implements ingest.Sink.
func (l *Ledger) Submit(ctx context.Context, b *ingest.Batch) error {
	j := l.jobs.Get().(*job)
	j.batch, j.used, j.ready = b, 0, make(chan struct{})
	j.own, j.tick = nil, false
	return l.enqueue(ctx, j, int64(b.Size()+recordBytes*len(b.Lines)))
}

func (l *Ledger) enqueue(ctx context.Context, j *job, size int64) error {
	n, err := l.queue.take(ctx, size)
	if err != nil {
		return err
	}
	j.size = n
	// The turn keeps both channels in the same order.
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		l.queue.give(n)
		return context.Cause(ctx)
	case <-l.stopping:
		l.queue.give(n)
		return ErrClosed
	}
	defer func() { <-l.turn }()
	select {
	case l.ordered <- j:
	case <-ctx.Done():
		l.queue.give(n)
		return context.Cause(ctx)
	case <-l.stopping:
		l.queue.give(n)
		return ErrClosed
	}
	if j.batch == nil {
		close(j.ready)
		return nil
	}
	l.undecoded <- j // as deep as ordered, so it never blocks long
	return nil
}

// decode is one decode worker.
func (l *Ledger) decode(w *attribution.Worker) {
	for j := range l.undecoded {
		b := j.batch
		peer := ""
		if b.Peer.IsValid() {
			peer = l.peerName(b.Peer)
		}
		in := attribution.Input{Source: b.Source, Peer: peer, File: b.File}
		var malformed uint64
		for i := 0; i < len(b.Lines); {
			from := j.used
			i += w.DecodeRun(in, b.Lines[i:], j.next)
			for _, r := range j.rows[from:j.used] {
				r.Set(record.Capture, "full", "")
				if r.Has(record.SourceError) {
					malformed++
				}
			}
		}
		for i := range b.Gaps {
			gapRow(j.next(), &b.Gaps[i])
		}
		l.sources.count(b, malformed)
		close(j.ready)
	}
}

// peerName renders an address once; the last few are remembered by the caller's locality.
func (l *Ledger) peerName(a netip.Addr) string {
	if v, ok := l.peers.Load(a); ok {
		return v.(string)
	}
	s := a.Unmap().String()
	if l.peerCount.Add(1) < 4096 { // bounded: a flood of spoofed peers is rendered each time
		l.peers.Store(a, s)
	}
	return s
}

// gapRow states events that are known to be missing.
func gapRow(r *record.Record, g *ingest.Gap) {
	r.Kind = record.KindGap
	r.Received = g.To
	r.SetTime(g.To, "")
	if g.Source != nil {
		r.Set(record.SourceName, g.Source.Name, "")
		r.Set(record.SourceTransport, g.Source.Transport, "")
		r.Set(record.ContextTenant, g.Source.Tenant, "")
	}
	r.Set(record.SourcePeer, g.Peer, "")
	r.Set(record.SourceError, g.Reason, "")
	count := "unknown"
	if g.Count >= 0 {
		count = strconv.FormatInt(g.Count, 10)
	}
	r.Add(record.Attributes, "count="+count, "")
	if g.From != 0 {
		var from record.Record
		from.Time = g.From
		r.Add(record.Attributes, "from="+from.Get(record.Time), "")
	}
}

// sequence gives rows their seqs in the order of the batches.
func (l *Ledger) sequence() {
	defer close(l.unbuilt)
	defer close(l.built)
	var held *job
	next := l.store.Next()
	for {
		first := held
		held = nil
		if first == nil {
			j, ok := <-l.ordered
			if !ok {
				return
			}
			first = j
		}
		<-first.ready
		l.slots <- struct{}{} // a place in flight
		g := &group{jobs: []*job{first}, done: make(chan struct{})}
		l.stateLinks(first)
		rows := first.used
	more:
		for rows < store.MaxBlockRows {
			select {
			case j, ok := <-l.ordered:
				if !ok {
					break more
				}
				select {
				case <-j.ready:
				default:
					// Not decoded yet: take it only if that means no waiting.
					if rows >= store.MaxBlockRows/2 {
						held = j
						break more
					}
					<-j.ready
				}
				if rows+j.used > store.MaxBlockRows {
					held = j
					break more
				}
				g.jobs = append(g.jobs, j)
				rows += j.used
			default:
				break more
			}
		}
		// A group without rows is not written, and so it begins no segment.
		if rows > 0 && (l.segRows >= l.opts.SegmentRows || l.rollSoon.Swap(false)) {
			g.roll = true
			l.segRows = 0
			_, _ = rand.Read(l.segKey[:]) // never fails (crypto/rand)
		}
		g.key = l.segKey
		from := next
		next = l.cut(g, next)
		l.segRows += int(next - from)
		g.left.Store(int32(len(g.chunks)))
		if len(g.chunks) == 0 {
			close(g.done)
		}
		l.built <- g
		for _, c := range g.chunks {
			l.unbuilt <- work{g, c}
		}
	}
}

// cut groups the rows by tenant and numbers them.
func (l *Ledger) cut(g *group, next uint64) uint64 {
	now := l.clock().UnixNano()
	// An import brings its own times, perhaps of years ago: in blocks of their own
	// its rows do not blur the time bounds of those with live traffic.
	type kept struct {
		tenant   string
		imported bool
	}
	open := make(map[kept]*chunk, 1)
	for _, j := range g.jobs {
		imported := j.batch != nil && j.batch.Source != nil && j.batch.Source.Transport == ingest.Import
		for _, r := range j.rows[:j.used] {
			if r.Received == 0 {
				r.Received = now
			}
			if r.Time == 0 {
				r.SetTime(r.Received, "")
			}
			tenant := r.Get(record.ContextTenant)
			in := kept{tenant, imported}
			c := open[in]
			if c == nil || len(c.rows) == store.MaxBlockRows {
				c = &chunk{tenant: tenant, rows: make([]*record.Record, 0, min(store.MaxBlockRows, max(j.used, 8)))}
				open[in] = c
				g.chunks = append(g.chunks, c)
			}
			c.rows = append(c.rows, r)
			if r.Kind == record.KindRecord {
				g.events++
			}
		}
	}
	var buf [8]byte
	for _, c := range g.chunks {
		c.first = next
		_, _ = rand.Read(buf[:]) // never fails (crypto/rand)
		nonce := binary.LittleEndian.Uint64(buf[:])
		for range (len(c.rows) + store.FrameRows - 1) / store.FrameRows {
			c.keys = append(c.keys, seal.NewFrameKey())
		}
		for i, r := range c.rows {
			// received never runs backwards by a little: batches of different
			// receivers meet here. A real step of the clock is kept.
			if r.Received < l.lastReceived && l.lastReceived-r.Received < int64(2e9) {
				r.Received = l.lastReceived
			}
			l.lastReceived = r.Received
			r.Seq = next
			r.ID = store.MakeID(r.Received, uint16(i), nonce)
			next++
		}
	}
	l.link(g)
	g.next = next
	return next
}
