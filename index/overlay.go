package index

import (
	"slices"
	"strconv"
	"strings"
	"sync"

	"custody/index/seal"
	"custody/ingest/record"
)

// overlay holds what changes sealed rows without touching them: amendments
// (sealed rows that add to an earlier record) and masks (slots that a sealed
// redaction took away, until a rewrite has erased them). It is derived from the
// sealed rows at every start, so that nobody can slip in what was never sealed.
// Safe for concurrent use.
type overlay struct {
	mu    sync.RWMutex
	amend map[uint64][]*amendment // target seq → amendments in seq order
	masks map[uint64][]mask
	dirty []uint64 // targets, ascending

	orphans []*amendment // amendments of which a target has expired
	fresh   []uint64     // targets of amendments that came since freshTargets was called

	erasing sync.Mutex // one erasure at a time; held until it is stated
	owed    map[uint64]debt
}

// mask is one redaction of one row.
type mask struct {
	by     uint64 // seq of the redaction row
	fields []record.Field
	// cut says what goes where the row alone does not show it, since the value
	// stands in a row that amends this one, or in the one that this one amends.
	cut *cut
}

// apply takes out of the row what the mask names; it returns the sealed units.
func (m *mask) apply(r *record.Record) []seal.Unit {
	if m.cut != nil {
		return m.cut.apply(r)
	}
	return redactRow(r, m.fields)
}

func newOverlay() *overlay {
	return &overlay{amend: make(map[uint64][]*amendment), masks: make(map[uint64][]mask), owed: make(map[uint64]debt)}
}

func (o *overlay) mark(target uint64) {
	if i, found := slices.BinarySearch(o.dirty, target); !found {
		o.dirty = slices.Insert(o.dirty, i, target)
	}
}

// amendment is a row that amends others, as its canonical bytes: there may be
// very many of them, and hardly any is read.
type amendment struct {
	seq   uint64
	bytes []byte
}

func newAmendment(r *record.Record) *amendment { return &amendment{r.Seq, r.AppendJSON(nil)} }

// row parses the amendment; its bytes are custody's own, so that it does not fail.
func (a *amendment) row() *record.Record {
	r, err := record.Parse(a.bytes)
	if err != nil {
		return &record.Record{Kind: record.KindAmendment, Seq: a.seq}
	}
	return r
}

func rowsOf(list []*amendment) []*record.Record {
	out := make([]*record.Record, 0, len(list))
	for _, a := range list {
		out = append(out, a.row())
	}
	return out
}

func (o *overlay) addAmendment(target uint64, r *amendment) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, have := range o.amend[target] {
		if have.seq == r.seq {
			return
		}
	}
	o.amend[target] = append(o.amend[target], r)
	o.fresh = append(o.fresh, target)
	o.mark(target)
}

// addMasks masks the targets at once; what cuts names of them, by its cut.
func (o *overlay) addMasks(targets []uint64, m mask, cuts map[uint64]*cut) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, t := range targets {
		if slices.ContainsFunc(o.masks[t], func(have mask) bool { return have.by == m.by }) {
			continue
		}
		one := m
		one.cut = cuts[t]
		o.masks[t] = append(o.masks[t], one)
		o.mark(t)
	}
	if len(cuts) == 0 {
		return
	}
	// What an amendment says of its target is masked with the row that says it.
	for _, t := range o.dirty {
		for i, a := range o.amend[t] {
			c := cuts[a.seq]
			if c == nil {
				continue
			}
			masked := a.row()
			c.apply(masked)
			o.amend[t][i] = newAmendment(masked)
		}
	}
}

// amendments returns the rows that amend the target, as masked; not to be changed.
func (o *overlay) amendments(target uint64) []*record.Record {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return rowsOf(o.amend[target])
}

// freshTargets returns the targets of amendments that came since the last call.
func (o *overlay) freshTargets() []uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	fresh := o.fresh
	o.fresh = nil
	return fresh
}

// orphan notes amendments whose target is gone.
func (o *overlay) orphan(target uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.dropTarget(target)
	o.unmark(target)
}

func (o *overlay) dropTarget(t uint64) {
	for _, a := range o.amend[t] {
		if !slices.ContainsFunc(o.orphans, func(have *amendment) bool { return have.seq == a.seq }) {
			o.orphans = append(o.orphans, a)
		}
	}
	delete(o.amend, t)
}

// orphaned returns the amendments of which at least one target is gone.
func (o *overlay) orphaned() []*record.Record {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return rowsOf(o.orphans)
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

// drop forgets rows that are gone; amendments of theirs that are not are orphans now.
func (o *overlay) drop(rows []uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, t := range rows {
		delete(o.masks, t)
		o.dropTarget(t)
		o.unmark(t)
	}
	o.orphans = slices.DeleteFunc(o.orphans, func(a *amendment) bool {
		_, gone := slices.BinarySearch(rows, a.seq)
		return gone
	})
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
		m.apply(r)
	}
}

// apply turns the sealed row r into the effective record, in place. It reports
// whether anything changed. Amendments are masked themselves: what they say after
// a redaction stands.
func (o *overlay) apply(r *record.Record) bool {
	o.mu.RLock()
	amend, masks := slices.Clone(o.amend[r.Seq]), slices.Clone(o.masks[r.Seq])
	o.mu.RUnlock()
	if len(amend) == 0 && len(masks) == 0 {
		return false
	}
	for _, m := range masks {
		m.apply(r)
	}
	for _, a := range amend {
		amendRecord(r, a.row())
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
	// What the amendment settles is no longer missing; what it takes back is.
	switch {
	case a.Has(record.RequesterID):
		r.SetAbsent("requester", "")
		r.RemoveFinding(record.RequesterMissing)
	case a.Absent("requester") != "":
		for f := range record.NumFields {
			if strings.HasPrefix(f.String(), "requester.") {
				r.Unset(f)
			}
		}
		r.SetAbsent("requester", a.Absent("requester"))
	}
	if a.Has(record.ExecutorID) {
		r.SetAbsent("executor", "")
		r.RemoveFinding(record.ExecutorMissing)
		r.RemoveFinding(record.ExecutorByCredentialOnly)
	}
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
