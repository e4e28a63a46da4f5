package index

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"custody/index/store"
	"custody/index/verify"
	"custody/ingest/record"
)

// overlay holds what changes sealed rows without touching them: amendments
// (sealed rows that add to an earlier record) and masks (slots that a sealed
// redaction took away, until a rewrite has erased them). It is derived from the
// sealed rows at every start, so that nobody can slip in what was never sealed.
// Safe for concurrent use.
type overlay struct {
	mu    sync.RWMutex
	amend map[uint64][]*record.Record // target seq → amendments in seq order
	masks map[uint64][]mask
	dirty []uint64 // targets, ascending
}

// mask is one redaction of one row.
type mask struct {
	by     uint64 // seq of the redaction row
	fields []record.Field
}

func newOverlay() *overlay {
	return &overlay{amend: make(map[uint64][]*record.Record), masks: make(map[uint64][]mask)}
}

func (o *overlay) mark(target uint64) {
	if i, found := slices.BinarySearch(o.dirty, target); !found {
		o.dirty = slices.Insert(o.dirty, i, target)
	}
}

func (o *overlay) addAmendment(target uint64, r *record.Record) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, have := range o.amend[target] {
		if have.Seq == r.Seq {
			return
		}
	}
	o.amend[target] = append(o.amend[target], r)
	o.mark(target)
}

// addMasks masks the targets at once.
func (o *overlay) addMasks(targets []uint64, m mask) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, t := range targets {
		if slices.ContainsFunc(o.masks[t], func(have mask) bool { return have.by == m.by }) {
			continue
		}
		o.masks[t] = append(o.masks[t], m)
		// What an amendment says of the target goes as well.
		for i, a := range o.amend[t] {
			if c, err := record.Parse(a.AppendJSON(nil)); err == nil {
				redactRow(c, m.fields)
				o.amend[t][i] = c
			}
		}
		o.mark(t)
	}
}

// withAmendments adds the rows that amend the targets, in ascending order.
func (o *overlay) withAmendments(targets []uint64) []uint64 {
	o.mu.RLock()
	defer o.mu.RUnlock()
	out := slices.Clone(targets)
	for _, t := range targets {
		for _, a := range o.amend[t] {
			out = append(out, a.Seq)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// touches reports whether a row in [from, to] has something in the overlay.
func (o *overlay) touches(from, to uint64) bool {
	o.mu.RLock()
	defer o.mu.RUnlock()
	i, _ := slices.BinarySearch(o.dirty, from)
	return i < len(o.dirty) && o.dirty[i] <= to
}

// masksIn reports whether a row in [from, to) is masked.
func (o *overlay) masksIn(from, to uint64) bool {
	o.mu.RLock()
	defer o.mu.RUnlock()
	i, _ := slices.BinarySearch(o.dirty, from)
	for ; i < len(o.dirty) && o.dirty[i] < to; i++ {
		if len(o.masks[o.dirty[i]]) > 0 {
			return true
		}
	}
	return false
}

// hasMasks reports whether a row from seq on is masked.
func (o *overlay) hasMasks(from uint64) bool { return o.masksIn(from, 1<<64-1) }

// snapshot returns the masks of the rows in [from, to).
func (o *overlay) snapshot(from, to uint64) map[uint64][]mask {
	o.mu.RLock()
	defer o.mu.RUnlock()
	out := make(map[uint64][]mask)
	i, _ := slices.BinarySearch(o.dirty, from)
	for ; i < len(o.dirty) && o.dirty[i] < to; i++ {
		if m := o.masks[o.dirty[i]]; len(m) > 0 {
			out[o.dirty[i]] = slices.Clone(m)
		}
	}
	return out
}

// forget drops the masks that a rewrite has folded in, and nothing that came since.
func (o *overlay) forget(done map[uint64][]mask) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for t, masks := range done {
		left := slices.DeleteFunc(o.masks[t], func(m mask) bool {
			return slices.ContainsFunc(masks, func(d mask) bool { return d.by == m.by })
		})
		if o.masks[t] = left; len(left) == 0 {
			delete(o.masks, t)
		}
		o.unmark(t)
	}
}

// drop forgets everything about rows that are gone.
func (o *overlay) drop(rows []uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, t := range rows {
		delete(o.masks, t)
		delete(o.amend, t)
		o.unmark(t)
	}
}

func (o *overlay) unmark(t uint64) {
	if len(o.masks[t]) > 0 || len(o.amend[t]) > 0 {
		return
	}
	if i, found := slices.BinarySearch(o.dirty, t); found {
		o.dirty = slices.Delete(o.dirty, i, i+1)
	}
}

// applyMasks takes the redacted fields out of a sealed row.
func (o *overlay) applyMasks(r *record.Record) {
	o.mu.RLock()
	masks := slices.Clone(o.masks[r.Seq])
	o.mu.RUnlock()
	for _, m := range masks {
		redactRow(r, m.fields)
	}
}

// apply turns the sealed row r into the effective record, in place. It reports
// whether anything changed.
func (o *overlay) apply(r *record.Record) bool {
	o.mu.RLock()
	amend, masks := slices.Clone(o.amend[r.Seq]), slices.Clone(o.masks[r.Seq])
	o.mu.RUnlock()
	if len(amend) == 0 && len(masks) == 0 {
		return false
	}
	for _, a := range amend {
		amendRecord(r, a)
	}
	for _, m := range masks {
		redactRow(r, m.fields)
	}
	return true
}

// amendRecord adds a's attribution to r: a scalar replaces, list elements are
// appended once. Provenance names the amendment's seq.
func amendRecord(r, a *record.Record) {
	from := "seq:" + strconv.FormatUint(a.Seq, 10)
	r.OpenProvenance()
	a.Scalars(func(f record.Field, v, _ string) bool {
		if amendable(f) {
			r.Set(f, v, from)
		}
		return true
	})
	a.Lists(func(f record.Field, v, _ string) bool {
		if !amendable(f) || slices.Contains(r.List(f), v) {
			return true
		}
		r.Add(f, v, from)
		return true
	})
}

// amendable fields are those that state something about the target, not about
// the amendment itself.
func amendable(f record.Field) bool {
	switch f {
	case record.About, record.Attributes, record.Message, record.MessageOffset, record.ContextTenant:
		return false
	}
	return !strings.HasPrefix(f.String(), "source.")
}

func fieldNames(fields []record.Field) string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.String()
	}
	return strings.Join(names, ",")
}

func parseFields(s string) []record.Field {
	var out []record.Field
	for name := range strings.SplitSeq(s, ",") {
		if p, ok := record.Lookup(name); ok && p.Sub == "" {
			out = append(out, p.Field)
		}
	}
	return out
}

// deriveOverlay reads all sealed amendments and redactions. A redaction whose
// target still holds what was to go was interrupted: its mask stays until the
// rewrite is done.
func (l *Ledger) deriveOverlay() error {
	type redaction struct {
		ranges []string
		mask   mask
	}
	var redactions []redaction
	for _, seg := range l.store.Segments() {
		err := seg.View(func(tx *store.Tx) (err error) {
			tx.Blocks(seg.First, seg.Next(), false, func(_ uint64, data []byte) bool {
				blk, oerr := store.OpenBlock(data)
				if oerr != nil || !blk.HasKind(record.KindAmendment) && !blk.HasKind(record.KindRedaction) {
					return true // damage is verify's to report; it must not keep the server down
				}
				_, kinds, _, _, terr := blk.Times()
				if terr != nil {
					return true
				}
				for i, k := range kinds {
					if k != record.KindAmendment && k != record.KindRedaction {
						continue
					}
					var r record.Record
					if err = blk.Row(i, &r); err != nil {
						return false
					}
					if k == record.KindAmendment {
						if err = l.applyRow(&r); err != nil {
							return false
						}
						continue
					}
					red := redaction{ranges: slices.Clone(r.List(record.About)), mask: mask{by: r.Seq}}
					for _, a := range r.List(record.Attributes) {
						if names, ok := strings.CutPrefix(a, "fields="); ok {
							red.mask.fields = parseFields(names)
						}
					}
					redactions = append(redactions, red)
				}
				return true
			})
			return err
		})
		if err != nil {
			return fmt.Errorf("read amendments and redactions of segment %d: %w", seg.ID, err)
		}
	}
	for _, red := range redactions {
		var pending []uint64
		for _, s := range red.ranges {
			from, to, err := verify.ParseRange(s)
			if err != nil {
				return fmt.Errorf("read redaction %d: %w", red.mask.by, err)
			}
			for seq := from; seq <= to; seq++ {
				r, err := l.row(seq)
				if errors.Is(err, ErrNotFound) {
					continue // expired since
				}
				if err == nil && holdsAny(r, red.mask.fields) {
					pending = append(pending, seq)
				}
			}
		}
		l.overlay.addMasks(pending, red.mask)
	}
	return nil
}
