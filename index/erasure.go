package index

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"custody/index/store"
	"custody/index/verify"
	"custody/ingest/record"
)

// An erasure has three sealed or observable states. Ordered: the redaction or the
// expiry is sealed, and redacted values are masked at once. Swapped: the segments
// and their search indexes are rewritten and the new generations have their names,
// but somebody may still read the old ones, whose bytes live as long as that.
// Erased: the last reader has let go, nothing leads to the old bytes, the folders
// are synced; only then a lifecycle row states it, about the rows that ordered it.
// An order without that row is resumed at the next start, so a crash in between
// costs nothing but time.
//
// Readers are bounded: every walk over records opens a snapshot for a few blocks
// and then a new one, and decodes the records it hands out of the library; a
// search index is held for one look-up.

// debt is an erasure that is ordered and not yet stated as complete.
type debt struct {
	plan string // in the catalogue; "" for none
	rows []span // that an expiry names, ascending; they go
}

// span is a range of seqs, both inclusive.
type span struct{ from, to uint64 }

func contains(ascending []span, seq uint64) bool {
	_, found := slices.BinarySearchFunc(ascending, seq, func(s span, seq uint64) int {
		switch {
		case s.to < seq:
			return -1
		case s.from > seq:
			return 1
		}
		return 0
	})
	return found
}

func (o *overlay) owe(by uint64, d debt) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.owed[by] = d
}

func (o *overlay) owes() bool {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return len(o.owed) > 0
}

func (o *overlay) owing() map[uint64]debt {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return maps.Clone(o.owed)
}

func (o *overlay) paid(by uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.owed, by)
}

// erase carries out every erasure that is ordered and states it when it is
// complete. It waits for readers of what was erased.
func (l *Ledger) erase(ctx context.Context) error {
	l.overlay.erasing.Lock()
	defer l.overlay.erasing.Unlock()
	owed := l.overlay.owing()
	if err := l.rewriteOwed(ctx, owed); err != nil {
		return err
	}
	_, err := l.conclude(ctx, owed)
	return err
}

// rewriteOwed rewrites every segment that has masked rows (the active one
// included: it is closed for that), or rows that an expiry named.
func (l *Ledger) rewriteOwed(ctx context.Context, owed map[uint64]debt) error {
	l.maintenance.Lock()
	defer l.maintenance.Unlock()
	if l.overlay.hasMasks(l.store.Active().First) {
		if err := l.closeActive(ctx); err != nil {
			return err
		}
	}
	for _, seg := range l.store.Segments() {
		if seg == l.store.Active() {
			continue
		}
		drop, err := l.named(ctx, seg, owed)
		if err != nil {
			return err
		}
		if drop == nil && !l.overlay.masksIn(seg.First, seg.Next()) {
			continue
		}
		if _, err := l.rewrite(ctx, seg, drop); err != nil {
			return err
		}
	}
	return nil
}

// named returns what chooses the rows of seg that an expiry names and that are
// still there, nil when there are none.
func (l *Ledger) named(ctx context.Context, seg *store.Segment, owed map[uint64]debt) (func(*record.Record) bool, error) {
	var in [][]span // those of an expiry are ascending
	for _, d := range owed {
		if slices.ContainsFunc(d.rows, func(s span) bool { return s.from < seg.Next() && s.to >= seg.First }) {
			in = append(in, d.rows)
		}
	}
	if len(in) == 0 {
		return nil, nil
	}
	drop := func(r *record.Record) bool {
		return slices.ContainsFunc(in, func(rows []span) bool { return contains(rows, r.Seq) })
	}
	r := &rewriter{l: l, seg: seg, drop: drop}
	if err := r.eachBlock(ctx, r.collect); err != nil || len(r.dropped) == 0 {
		return nil, err
	}
	return drop, nil
}

// patience is how long an erasure waits for readers before it says so in the log.
const patience = 10 * time.Second

// conclude waits until nobody holds what was rewritten, and states that what was
// owed is erased from live files. It returns the seq of that row, 0 when nothing
// was owed.
func (l *Ledger) conclude(ctx context.Context, owed map[uint64]debt) (uint64, error) {
	if len(owed) == 0 {
		return 0, nil
	}
	slow := time.AfterFunc(patience, func() {
		l.log.Warn("erasure waits for a reader of what was erased", "for", patience)
	})
	err := l.store.Settle(ctx)
	slow.Stop()
	if err != nil {
		return 0, err
	}
	orders := slices.Sorted(maps.Keys(owed))
	seq, err := l.State(ctx, record.KindLifecycle, func(r *record.Record) {
		r.Add(record.Attributes, "event=erased", "")
		r.Add(record.Attributes, "scope=live files", "")
		for _, s := range seqRanges(orders) {
			r.Add(record.About, s, "")
		}
	})
	if err != nil {
		return 0, fmt.Errorf("state erasure: %w", err)
	}
	for _, by := range orders {
		l.overlay.paid(by)
		err = errors.Join(err, l.dropPlan(owed[by].plan)) // or the next start does
	}
	return seq, err
}

// eraseLoop resumes erasures that a stop or a fault interrupted, and keeps what
// was deleted from the catalogue from staying in its file.
func (l *Ledger) eraseLoop(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		if l.overlay.owes() {
			if err := l.erase(ctx); err != nil && ctx.Err() == nil {
				l.log.Error("erase what was redacted or has expired", "error", err)
			}
		} else if err := l.store.Tidy(); err != nil {
			l.log.Error("remove what packing replaced", "error", err)
		}
		due, err := l.cat.CompactionDue()
		if err == nil && due {
			err = l.cat.Compact()
		}
		if err != nil {
			l.log.Error("compact catalogue", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// closeActive makes the writer begin a new segment and waits until the old one is sealed.
func (l *Ledger) closeActive(ctx context.Context) error {
	l.rollSoon.Store(true)
	if _, err := l.State(ctx, record.KindLifecycle, func(r *record.Record) {
		r.Add(record.Attributes, "event=segment", "")
	}); err != nil {
		return err
	}
	return l.awaitSealed(ctx, l.store.Active().First)
}

// awaitSealed waits until the rows below size are sealed.
func (l *Ledger) awaitSealed(ctx context.Context, size uint64) error {
	for l.sealedSize() < size {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

// order is a sealed redaction or expiry, as read at start.
type order struct {
	by     uint64
	kind   record.Kind
	rows   []span
	fields []record.Field
	plan   string
}

func orderOf(r *record.Record) (order, error) {
	o := order{by: r.Seq, kind: r.Kind}
	for _, s := range r.List(record.About) {
		from, to, err := verify.ParseRange(s)
		if err != nil {
			return o, fmt.Errorf("read %s %d: %w", r.Kind, r.Seq, err)
		}
		o.rows = append(o.rows, span{from, to})
	}
	for _, a := range r.List(record.Attributes) {
		if names, ok := strings.CutPrefix(a, "fields="); ok {
			o.fields = parseFields(names)
		}
		if plan, ok := strings.CutPrefix(a, "plan="); ok {
			o.plan = strings.Clone(plan)
		}
	}
	return o, nil
}

// deriveOverlay reads all sealed amendments, redactions and expiries, and takes
// up every erasure that is not stated as complete. A redaction whose target still
// holds what was to go (restored from a copy, perhaps) is masked and erased again,
// whatever was stated.
func (l *Ledger) deriveOverlay() error {
	var orders []order
	erased := make(map[uint64]bool)
	for _, seg := range l.store.Segments() {
		err := l.eachOwn(seg, func(r *record.Record) error {
			switch r.Kind {
			case record.KindAmendment:
				return l.applyRow(r)
			case record.KindLifecycle:
				if !slices.Contains(r.List(record.Attributes), "event=erased") {
					return nil
				}
				for _, s := range r.List(record.About) {
					from, to, err := verify.ParseRange(s)
					if err != nil {
						return fmt.Errorf("read lifecycle row %d: %w", r.Seq, err)
					}
					for by := from; by <= to && by < r.Seq; by++ {
						erased[by] = true
					}
				}
			default:
				o, err := orderOf(r)
				if err != nil {
					return err
				}
				orders = append(orders, o)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("read what changes sealed rows in segment %d: %w", seg.ID, err)
		}
	}
	plans, err := l.loadPlans()
	if err != nil {
		return err
	}
	for _, o := range orders {
		pending, err := l.resume(o, plans[o.plan])
		if err != nil {
			return err
		}
		if erased[o.by] && !pending {
			continue
		}
		delete(plans, o.plan)
		d := debt{plan: o.plan}
		if o.kind == record.KindExpiry {
			d.rows = o.rows
		}
		l.overlay.owe(o.by, d)
	}
	for plan := range plans { // of a redaction that was never sealed, or is done
		if err := l.dropPlan(plan); err != nil {
			return err
		}
	}
	return nil
}

// eachOwn calls fn for the rows of seg that state something about other rows.
func (l *Ledger) eachOwn(seg *store.Segment, fn func(*record.Record) error) error {
	own := []record.Kind{record.KindAmendment, record.KindRedaction, record.KindExpiry, record.KindLifecycle}
	var err error
	verr := seg.View(func(tx *store.Tx) error {
		tx.Blocks(seg.First, seg.Next(), false, func(_ uint64, data []byte) bool {
			blk, oerr := seg.ReadBlock(data)
			if oerr != nil || !slices.ContainsFunc(own, blk.HasKind) {
				return true // damage is verify's to report; it must not keep the server down
			}
			_, kinds, _, _, terr := blk.Times()
			if terr != nil {
				return true
			}
			for i, k := range kinds {
				if !slices.Contains(own, k) {
					continue
				}
				var r record.Record
				if err = blk.Row(i, &r); err == nil {
					err = fn(&r)
				}
				if err != nil {
					return false
				}
			}
			return true
		})
		return nil
	})
	return errors.Join(verr, err)
}

// resume masks what a sealed redaction has not taken away yet; it reports whether
// there was something.
func (l *Ledger) resume(o order, plan map[uint64]*cut) (pending bool, err error) {
	if o.kind != record.KindRedaction {
		return false, nil
	}
	var targets []uint64
	cuts := make(map[uint64]*cut)
	for _, s := range o.rows {
		for seq := s.from; seq <= s.to; seq++ {
			r, err := l.row(seq)
			if err != nil {
				continue // expired since, or damaged, which verify reports
			}
			c := plan[seq]
			switch {
			case c == nil && holdsAny(r, o.fields):
				targets = append(targets, seq)
			case c != nil && !c.done(r):
				targets = append(targets, seq)
				cuts[seq] = c
			}
		}
	}
	if plan == nil { // lost, or of a time before there were plans
		found, err := l.planCuts(targets, o.fields)
		if err != nil {
			return false, fmt.Errorf("resume redaction %d: %w", o.by, err)
		}
		for seq, c := range found {
			if contains(o.rows, seq) {
				cuts[seq] = c
				targets = append(targets, seq)
			}
		}
		slices.Sort(targets)
		targets = slices.Compact(targets)
	}
	l.overlay.addMasks(targets, mask{by: o.by, fields: o.fields}, cuts)
	return len(targets) > 0, nil
}
