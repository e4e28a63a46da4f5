package index

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"custody/index/query"
	"custody/index/store"
	"custody/ingest/record"
)

// Expiry erases records that have outlived their retention class.
type Expiry struct {
	Class  string
	Policy string       // the rule in its own words, for the certificate
	Query  *query.Query // which records belong to the class
	Before int64        // received before, Unix nanoseconds
}

// Certificate states an expiry.
type Certificate struct {
	Seq        uint64 // of the newest sealed expiry row; 0 when nothing expired
	Erased     uint64 // of the row that states that the erasure is complete
	Records    int
	Amendments int   // of these records; they go with them
	Bytes      int64 // freed on disk
}

// Expire erases every sealed record of the class that was received before the
// bound, physically, and seals a certificate of disposal. The rows that amend such
// a record repeat its values and go with it; one that amends several goes with the
// last. Of what else custody states itself only heartbeats and gaps of that age go.
// It returns when the erasure is complete and stated; with an error it goes on in
// the background.
func (l *Ledger) Expire(ctx context.Context, x Expiry) (Certificate, error) {
	l.overlay.erasing.Lock()
	defer l.overlay.erasing.Unlock()
	cert, owed, err := l.expire(ctx, x)
	if err != nil {
		return cert, err
	}
	cert.Erased, err = l.conclude(ctx, owed)
	return cert, err
}

// disposal is the rows of one segment that go.
type disposal struct {
	seg    uint64
	rows   []uint64 // ascending
	amends int
}

// expire states what goes and rewrites the segments without it.
func (l *Ledger) expire(ctx context.Context, x Expiry) (cert Certificate, owed map[uint64]debt, err error) {
	l.maintenance.Lock()
	defer l.maintenance.Unlock()
	if a := l.store.Active(); a.Next() > a.First && l.oldestReceived(a) < x.Before {
		if err := l.closeActive(ctx); err != nil {
			return cert, nil, err
		}
	}
	plan, err := l.disposals(ctx, x)
	if err != nil {
		return cert, nil, err
	}
	// The certificates come first: a crash behind them leaves rows that the next
	// start erases, never rows that are gone without a word. The newest segment
	// comes first, so that no record is certified before its amendments are.
	owed = make(map[uint64]debt)
	for _, d := range slices.Backward(plan) {
		by, err := l.State(ctx, record.KindExpiry, func(r *record.Record) {
			for _, s := range seqRanges(d.rows) {
				r.Add(record.About, s, "")
			}
			r.Add(record.Attributes, fmt.Sprintf("count=%d", len(d.rows)), "")
			if d.amends > 0 {
				r.Add(record.Attributes, fmt.Sprintf("amendments=%d", d.amends), "")
			}
			r.Add(record.Attributes, "class="+x.Class, "")
			r.Set(record.DecisionPolicyID, x.Class, "")
			r.Set(record.DecisionReason, x.Policy, "")
		})
		if err != nil {
			return cert, nil, err
		}
		var rows []span
		for i, seq := range d.rows {
			if i > 0 && rows[len(rows)-1].to+1 == seq {
				rows[len(rows)-1].to = seq
				continue
			}
			rows = append(rows, span{seq, seq})
		}
		owed[by] = debt{rows: rows}
		l.overlay.owe(by, owed[by])
		cert.Seq = max(cert.Seq, by)
	}
	for _, d := range plan {
		seg := l.segment(d.seg)
		size := seg.Size()
		// Exactly what the certificate names, whatever has matched since.
		if _, err := l.rewrite(ctx, seg, func(r *record.Record) bool {
			_, found := slices.BinarySearch(d.rows, r.Seq)
			return found
		}); err != nil {
			return cert, nil, err
		}
		cert.Records += len(d.rows) - d.amends
		cert.Amendments += d.amends
		cert.Bytes += size
		if next := l.segment(d.seg); next != nil {
			cert.Bytes -= next.Size()
		}
	}
	return cert, owed, nil
}

// disposals works out what goes, by segment in ascending order, and closes the
// active one if that is concerned.
func (l *Ledger) disposals(ctx context.Context, x Expiry) ([]disposal, error) {
	m := x.Query.NewMatcher()
	drop := func(r *record.Record) bool {
		switch r.Kind {
		case record.KindRecord, record.KindSummary:
			return r.Received < x.Before && m.Match(r, nil)
		case record.KindHeartbeat, record.KindGap:
			return r.Received < x.Before
		}
		return false
	}
	bySegment := make(map[uint64]*disposal)
	gone := make(map[uint64]bool)
	for _, seg := range l.store.Segments() {
		if seg == l.store.Active() || l.sealedSize() < seg.Next() || l.oldestReceived(seg) >= x.Before {
			continue // what is not sealed yet is due the next time
		}
		r := &rewriter{l: l, seg: seg, drop: drop}
		if err := r.eachBlock(ctx, r.collect); err != nil {
			return nil, err
		}
		if len(r.dropped) == 0 {
			continue
		}
		bySegment[seg.ID] = &disposal{seg: seg.ID, rows: r.dropped}
		for _, seq := range r.dropped {
			gone[seq] = true
		}
	}
	amends := l.expiredAmendments(gone)
	if len(amends) > 0 {
		last := amends[len(amends)-1]
		if a := l.store.Active(); last >= a.First {
			if err := l.closeActive(ctx); err != nil {
				return nil, err
			}
		}
		if err := l.awaitSealed(ctx, last+1); err != nil {
			return nil, err
		}
	}
	for _, seq := range amends {
		seg := l.store.Find(seq)
		if seg == nil {
			continue
		}
		d := bySegment[seg.ID]
		if d == nil {
			d = &disposal{seg: seg.ID}
			bySegment[seg.ID] = d
		}
		d.rows = append(d.rows, seq)
		d.amends++
	}
	out := make([]disposal, 0, len(bySegment))
	for _, d := range bySegment {
		slices.Sort(d.rows)
		out = append(out, *d)
	}
	slices.SortFunc(out, func(a, b disposal) int { return int(a.seg) - int(b.seg) })
	for _, d := range out {
		if err := l.awaitSealed(ctx, l.segment(d.seg).Next()); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// expiredAmendments are the stored rows that amend nothing but records that are
// gone or that go now, ascending: those of earlier expiries too, for one may have
// been stated while its target was on its way out.
func (l *Ledger) expiredAmendments(gone map[uint64]bool) []uint64 {
	for _, t := range l.overlay.freshTargets() {
		if !gone[t] && !l.stored(t) {
			l.overlay.orphan(t)
		}
	}
	candidates := l.overlay.orphaned()
	for t := range gone {
		candidates = append(candidates, l.overlay.amendments(t)...)
	}
	var out []uint64
	for _, a := range candidates {
		alive := slices.ContainsFunc(a.List(record.About), func(about string) bool {
			t, err := strconv.ParseUint(about, 10, 64)
			return err == nil && !gone[t] && l.stored(t)
		})
		if !alive && l.stored(a.Seq) {
			out = append(out, a.Seq)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// stored reports whether the row is there; one that can't be read is.
func (l *Ledger) stored(seq uint64) bool {
	_, err := l.row(seq)
	return !errors.Is(err, ErrNotFound)
}

// oldestReceived is the least received of a segment.
func (l *Ledger) oldestReceived(seg *store.Segment) int64 {
	oldest := int64(1<<63 - 1)
	_ = seg.View(func(tx *store.Tx) error {
		tx.Blocks(0, ^uint64(0), false, func(_ uint64, data []byte) bool {
			if blk, err := store.OpenBlock(data); err == nil {
				lo, _ := blk.ReceivedBounds()
				oldest = min(oldest, lo)
			}
			return false // blocks are in the order of received
		})
		return nil
	})
	return oldest
}
