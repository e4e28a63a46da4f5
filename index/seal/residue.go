package seal

import (
	"errors"
	"fmt"

	"custody/ingest/record"
)

// Errors of redacted rows.
var (
	// ErrResidue: a residue that does not parse, or does not belong to the record.
	ErrResidue = errors.New("bad residue")
	// ErrNotRedactable: the slot stands in the entry itself.
	ErrNotRedactable = errors.New("not redactable")
)

// Elements of a unit that is no list element.
const (
	// WholeSlot names a scalar or a list with all its elements.
	WholeSlot = -1
	// AbsentGroup names a group of slots that are all absent (only in openings).
	AbsentGroup = -2
)

// Unit is what can be withheld or disclosed: a slot, one element of a list, or
// one 64-byte piece of the raw line.
type Unit struct {
	Slot    record.Field
	Element int // or WholeSlot
}

// Residue replaces the seed of a row of which something was redacted: the salts
// of what remains and the digests of what is gone. It holds no seed and no salt
// of a withheld unit. Not safe for concurrent use.
type Residue struct {
	groups [numGroups]groupResidue
	kept   []keptValue
}

type groupResidue struct {
	absent bool
	salt   Salt // of an absent group
	slots  [groupSize]slotResidue
}

type slotResidue struct {
	withheld bool
	salt     Salt   // of an open scalar or absent slot
	digest   Digest // of a withheld slot
	n        int    // elements of a list, without padding
	elems    []elementResidue
}

type elementResidue struct {
	withheld bool
	salt     Salt
	digest   Digest
}

// keptValue is a sealed value that can't be re-derived from the redacted record.
type keptValue struct {
	slot  record.Field
	value []byte
}

func (d *Residue) slot(s int) *slotResidue { return &d.groups[s/groupSize].slots[s%groupSize] }

// NewResidue writes out all salts of the row; nothing is withheld yet.
func (c *Committer) NewResidue(r *record.Record, seed *Seed) (*Residue, error) {
	c.collect(r)
	if err := c.derive(seed); err != nil {
		return nil, err
	}
	at := 0
	next := func() Salt {
		at += len(Salt{})
		return Salt(c.salts[at-len(Salt{}):])
	}
	d := &Residue{}
	for g, m := range c.mask {
		if m == 0 {
			d.groups[g] = groupResidue{absent: true, salt: next()}
			continue
		}
		for i := range groupSize {
			s := d.slot(g*groupSize + i)
			if n := int(c.count[g*groupSize+i]); n > 0 {
				s.n, s.elems = n, make([]elementResidue, padded(n))
				for e := range s.elems {
					s.elems[e].salt = next()
				}
				continue
			}
			s.salt = next()
		}
	}
	return d, nil
}

// Withhold destroys the salts of the units and keeps their digests. r must still
// hold the values. Units that are absent or withheld already are passed over.
// On an error nothing is withheld.
//
// The record's provenance names the fields that gave its values, so it changes
// when a value goes; the sealed one is kept in the residue unless it is itself
// withheld.
func (d *Residue) Withhold(c *Committer, r *record.Record, units ...Unit) error {
	t, err := c.trace(r, d)
	if err != nil {
		return fmt.Errorf("withhold: %w", err)
	}
	for _, u := range units {
		if u.Slot >= record.NumFields || u.Element < WholeSlot || u.Slot == record.Received ||
			u.Element != WholeSlot && !isList(u.Slot) {
			return fmt.Errorf("withhold %v[%d]: %w", u.Slot, u.Element, ErrNotRedactable)
		}
	}
	touched := false
	for _, u := range units {
		s := d.slot(int(u.Slot))
		if s.withheld || !t.present[u.Slot] {
			continue
		}
		touched = touched || u.Slot != record.Raw
		if u.Element == WholeSlot {
			*s = slotResidue{withheld: true, digest: t.slots[u.Slot]}
			continue
		}
		if u.Element < s.n && !s.elems[u.Element].withheld {
			s.elems[u.Element] = elementResidue{withheld: true, digest: t.lists[u.Slot][u.Element]}
		}
	}
	p := d.slot(int(record.Provenance))
	switch {
	case p.withheld:
		d.drop(record.Provenance)
	case touched && t.present[record.Provenance] && d.keptOf(record.Provenance) == nil:
		d.kept = append(d.kept, keptValue{record.Provenance, []byte(c.vals[record.Provenance])})
	}
	if d.slot(int(record.Absence)).withheld {
		d.drop(record.Absence)
	}
	return nil
}

// KeepAbsence keeps the sealed statement of absence, an empty one too, for a
// caller whose redacted record will state more (that a field was redacted). Call
// it while r is whole.
func (d *Residue) KeepAbsence(r *record.Record) {
	a := r.AbsenceJSON()
	if !d.slot(int(record.Absence)).withheld && d.keptOf(record.Absence) == nil {
		d.kept = append(d.kept, keptValue{record.Absence, []byte(a)})
	}
}

func (d *Residue) keptOf(f record.Field) *keptValue {
	for i := range d.kept {
		if d.kept[i].slot == f {
			return &d.kept[i]
		}
	}
	return nil
}

func (d *Residue) drop(f record.Field) {
	for i := range d.kept {
		if d.kept[i].slot == f {
			clear(d.kept[i].value)
			d.kept = append(d.kept[:i], d.kept[i+1:]...)
			return
		}
	}
}

// Withheld lists what is withheld, in slot order.
func (d *Residue) Withheld() []Unit {
	var out []Unit
	for f := range record.NumFields {
		s := d.slot(int(f))
		if s.withheld {
			out = append(out, Unit{f, WholeSlot})
		}
		for i := range s.elems {
			if s.elems[i].withheld {
				out = append(out, Unit{f, i})
			}
		}
	}
	return out
}

// CommitPartial computes the entry of a row from what is left of it. Whatever r
// holds in the place of a withheld unit is ignored: a masked value may stand
// there, or nothing. Of a list, r holds either as many elements as before or
// those that remain; of the raw line, all bytes (withheld pieces overwritten) or,
// when every piece is withheld, none.
func (c *Committer) CommitPartial(r *record.Record, d *Residue, dst *Entry) error {
	t, err := c.trace(r, d)
	if err != nil {
		return fmt.Errorf("commit redacted row: %w", err)
	}
	header(r, dst)
	dst.Root = rootDigest(&t.groups)
	return nil
}

// Opening is one unit of a row with what proves it.
type Opening struct {
	Unit
	Withheld bool   // only the digest is left
	Present  bool   // false for absent slots and groups and for the padding of lists
	Salt     Salt   // zero when withheld
	Digest   Digest // of the slot, the element or the absent group
	Value    []byte // the sealed bytes, a copy
}

// Digests returns every digest of the row with its salt, in slot order: scalars
// and absent slots, each element and padding of lists, absent groups. A list has
// an opening of its own only when it is withheld as a whole.
func (c *Committer) Digests(r *record.Record, seed *Seed) ([]Opening, error) {
	d, err := c.NewResidue(r, seed)
	if err != nil {
		return nil, err
	}
	return c.Openings(r, d)
}

// Openings is Digests for a redacted row.
func (c *Committer) Openings(r *record.Record, d *Residue) ([]Opening, error) {
	t, err := c.trace(r, d)
	if err != nil {
		return nil, fmt.Errorf("open row: %w", err)
	}
	return t.openings, nil
}

// trace is a commitment with everything in it.
type trace struct {
	present  [numSlots]bool // withheld slots count as present
	slots    [numSlots]Digest
	lists    map[record.Field][]Digest
	groups   [numGroups]Digest
	openings []Opening
}

// trace recomputes the commitment of what d and r hold.
func (c *Committer) trace(r *record.Record, d *Residue) (*trace, error) {
	c.collect(r)
	for _, k := range d.kept {
		if len(k.value) == 0 { // it was sealed as absent
			c.mask[k.slot/groupSize] &^= 1 << (k.slot % groupSize)
			continue
		}
		c.put(k.slot, view(k.value))
	}
	t := &trace{lists: make(map[record.Field][]Digest)}
	for g := range d.groups {
		gr := &d.groups[g]
		if gr.absent {
			if c.mask[g] != 0 {
				return nil, fmt.Errorf("group %d was absent: %w", g, ErrResidue)
			}
			t.groups[g] = absentGroupDigest(&gr.salt, g)
			t.openings = append(t.openings, Opening{
				Unit: Unit{record.Field(g * groupSize), AbsentGroup}, Salt: gr.salt, Digest: t.groups[g],
			})
			continue
		}
		for i := range gr.slots {
			if err := c.traceSlot(t, &gr.slots[i], g*groupSize+i); err != nil {
				return nil, err
			}
		}
		t.groups[g] = groupDigest(g, (*[groupSize]Digest)(t.slots[g*groupSize:]))
	}
	return t, nil
}

func (c *Committer) traceSlot(t *trace, s *slotResidue, slot int) error {
	f := record.Field(slot)
	switch {
	case s.withheld:
		t.slots[slot], t.present[slot] = s.digest, true
		t.openings = append(t.openings, Opening{Unit: Unit{f, WholeSlot}, Withheld: true, Present: true, Digest: s.digest})
		return nil
	case s.elems != nil:
		return c.traceList(t, s, slot)
	case isList(f) && c.has(slot):
		return fmt.Errorf("%v was absent: %w", f, ErrResidue)
	}
	o := Opening{Unit: Unit{f, WholeSlot}, Present: c.has(slot), Salt: s.salt}
	presence, value := byte(absent), ""
	if o.Present {
		presence, value = present, c.vals[slot]
		o.Value = []byte(value)
	}
	o.Digest = slotDigest(&s.salt, slot, presence, value)
	t.slots[slot], t.present[slot] = o.Digest, o.Present
	t.openings = append(t.openings, o)
	return nil
}

func (c *Committer) traceList(t *trace, s *slotResidue, slot int) error {
	f := record.Field(slot)
	var values []string
	if c.has(slot) {
		values = c.elements(slot)
	}
	gone := 0
	for i := range s.elems {
		if s.elems[i].withheld {
			gone++
		}
	}
	positional := len(values) == s.n
	if !positional && (len(values) != s.n-gone || f == record.Raw && len(values) > 0) {
		return fmt.Errorf("%v has %d elements, of %d with %d withheld: %w", f, len(values), s.n, gone, ErrResidue)
	}
	digests := make([]Digest, len(s.elems))
	for i := range s.elems {
		e := &s.elems[i]
		o := Opening{Unit: Unit{f, i}, Withheld: e.withheld, Present: i < s.n, Salt: e.salt, Digest: e.digest}
		presence, value := byte(absent), ""
		if o.Present && (positional || !e.withheld) {
			presence, value, values = present, values[0], values[1:]
		}
		if !e.withheld {
			o.Digest = elementDigest(&e.salt, slot, i, presence, value)
			if o.Present {
				o.Value = []byte(value)
			}
		}
		digests[i] = o.Digest
		t.openings = append(t.openings, o)
	}
	t.slots[slot], c.buf = listDigest(c.buf, slot, digests)
	t.present[slot], t.lists[f] = true, digests
	return nil
}
