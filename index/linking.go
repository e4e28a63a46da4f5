package index

import (
	"context"
	"fmt"
	"time"

	"custody/index/chain"
	"custody/index/query"
	"custody/index/store"
	"custody/ingest/record"
)

// The sequencer lets the linker see every record when it has its seq and before
// it is sealed. What the linker states of rows that are sealed already goes out
// as rows of its own, with the next group.

const (
	// statedAtOnce bounds the amendments of one group.
	statedAtOnce = 2048
	// tickEvery is how often the linker is asked what a passed window shows.
	tickEvery = time.Second
)

// lookedUp is what the records say of a credential.
type lookedUp struct {
	look chain.Lookup
	rows []*record.Record
}

// link shows the group's rows to the linker.
func (l *Ledger) link(g *group) {
	if l.linker == nil {
		return
	}
	rows := l.linkRows[:0]
	for _, c := range g.chunks {
		rows = append(rows, c.rows...)
	}
	l.owed = append(l.owed, l.linker.Link(rows)...)
	clear(rows)
	l.linkRows = rows
	l.ask()
}

// ask hands the linker's questions to whoever looks them up; what does not fit
// is answered with nothing.
func (l *Ledger) ask() {
	for _, q := range l.linker.Lookups() {
		select {
		case l.lookups <- q:
		default:
			l.linker.Answer(q, nil)
		}
	}
}

// stateLinks adds to the job what the linker owes the log.
func (l *Ledger) stateLinks(j *job) {
	if l.linker == nil {
		return
	}
	if j.tick {
	answers:
		for {
			select {
			case a := <-l.found:
				l.linker.Answer(a.look, a.rows)
			default:
				break answers
			}
		}
		l.owed = append(l.owed, l.linker.Tick(l.clock().UnixNano())...)
		l.ask()
	}
	n := min(len(l.owed), statedAtOnce)
	now := l.clock().UnixNano()
	for i := range l.owed[:n] {
		r := j.next()
		r.Kind = record.KindAmendment
		r.Received = now
		r.SetTime(now, "")
		l.owed[i].Fill(r)
		j.linked = append(j.linked, r)
	}
	clear(l.owed[:n])
	if l.owed = l.owed[n:]; len(l.owed) == 0 {
		l.owed = nil
	}
}

// tickLinker lets windows pass while nothing arrives.
func (l *Ledger) tickLinker(ctx context.Context) {
	t := time.NewTicker(tickEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		j := l.jobs.Get().(*job)
		j.used, j.ready, j.batch, j.own, j.tick = 0, make(chan struct{}), nil, nil, true
		if err := l.enqueue(ctx, j, 0); err != nil {
			return
		}
	}
}

// lookUp finds in the records what the linker's memory has dropped.
func (l *Ledger) lookUp(ctx context.Context) {
	for {
		var q chain.Lookup
		select {
		case <-ctx.Done():
			return
		case q = <-l.lookups:
		}
		rows, err := l.credentialEvents(ctx, q)
		if err != nil && ctx.Err() == nil {
			l.log.Error("look up credential", "error", err)
		}
		select {
		case l.found <- lookedUp{q, rows}:
		case <-ctx.Done():
			return
		}
	}
}

// credentialEvents are the lifecycle records of a credential, the oldest first.
func (l *Ledger) credentialEvents(ctx context.Context, q chain.Lookup) ([]*record.Record, error) {
	parsed, err := query.Parse("authority.credential.id:" + query.Quote(q.ID) + " _exists_:credential_event.op")
	if err != nil {
		return nil, fmt.Errorf("query of a credential: %w", err)
	}
	page, err := l.Search(ctx, Request{Query: parsed, Tenant: q.Tenant, Order: OldestFirst, Limit: 1000})
	return page.Records, err
}

// openLinker makes the linker and lets it read the window again.
func (l *Ledger) openLinker() error {
	if l.opts.Link == nil {
		return nil
	}
	opts := *l.opts.Link
	opts.Key = l.fpKey
	l.linker = chain.New(opts)
	l.lookups, l.found = make(chan chain.Lookup, 256), make(chan lookedUp, 256)
	window := opts.Window
	if window <= 0 {
		window = 15 * time.Minute
	}
	since := l.clock().Add(-2 * window).UnixNano()
	replay := l.linker.Replay()
	segments := l.store.Segments()
	rows := 0
	first := len(segments)
	for first > 0 && rows < replayRows {
		seg := segments[first-1]
		if seg.Next() > seg.First && l.newestReceived(seg) < since {
			break
		}
		rows += int(seg.Next() - seg.First)
		first--
	}
	from := uint64(0)
	if n := l.store.Next(); n > replayRows {
		from = n - replayRows
	}
	for _, seg := range segments[first:] {
		if err := replaySegment(seg, from, since, replay.Row); err != nil {
			return fmt.Errorf("read links in segment %d: %w", seg.ID, err)
		}
	}
	l.owed = replay.Done()
	return nil
}

// replayRows bounds the rows that a start reads for the linker.
const replayRows = 300_000

// newestReceived is when the newest row of the segment arrived.
func (l *Ledger) newestReceived(seg *store.Segment) (newest int64) {
	_ = seg.View(func(tx *store.Tx) error { // damage is verify's to report
		tx.Blocks(seg.First, seg.Next(), true, func(_ uint64, data []byte) bool {
			blk, err := seg.ReadBlock(data)
			if err != nil {
				return true
			}
			if _, _, _, received, err := blk.Times(); err == nil && len(received) > 0 {
				newest = received[len(received)-1]
			}
			return false
		})
		return nil
	})
	return newest
}

// replaySegment calls fn for the rows from seq from on that arrived since.
func replaySegment(seg *store.Segment, from uint64, since int64, fn func(*record.Record)) error {
	return seg.View(func(tx *store.Tx) error {
		tx.Blocks(seg.First, seg.Next(), false, func(_ uint64, data []byte) bool {
			blk, err := seg.ReadBlock(data)
			if err != nil || blk.Last() < from {
				return true // damage is verify's to report; it must not keep the server down
			}
			_, kinds, _, received, err := blk.Times()
			if err != nil || len(received) == 0 || received[len(received)-1] < since {
				return true
			}
			var r record.Record
			for i, k := range kinds {
				if k != record.KindRecord && k != record.KindAmendment || received[i] < since {
					continue
				}
				if blk.Row(i, &r) == nil {
					fn(&r)
				}
			}
			return true
		})
		return nil
	})
}
