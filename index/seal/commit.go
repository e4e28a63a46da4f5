package seal

import (
	"encoding/binary"
	"unsafe"

	"custody/ingest/record"
)

// Committer computes commitments. It holds memory for reuse, so keep one per
// goroutine; the zero value is ready. Not safe for concurrent use. Commit
// allocates nothing but the two fixed objects of the salt cipher (1 KiB), and
// the text of absence where a record states some.
type Committer struct {
	rowValues
	salts   []byte
	digests []Digest // of elements, in slot order
	slots   [numSlots]Digest
	groups  [numGroups]Digest
	hash    pairHasher
	buf     []byte
}

// rowValues are the values of a record by slot, as they are sealed.
type rowValues struct {
	mask  [numGroups]uint8 // bit i: slot i of the group is present
	vals  [numSlots]string // scalars
	count [numSlots]int32  // elements of lists
	elems []element        // in order of addition
	raw   []byte
	fixed [32]byte
	prov  []byte
}

type element struct {
	field record.Field
	text  string
}

// collect reads the values of r. They stay valid until the next call, as long as r does.
func (v *rowValues) collect(r *record.Record) {
	v.mask = [numGroups]uint8{}
	v.count = [numSlots]int32{}
	v.elems = v.elems[:0]
	r.Scalars(func(f record.Field, text, _ string) bool {
		v.put(f, text)
		return true
	})
	r.Lists(func(f record.Field, text, _ string) bool {
		v.mask[f/groupSize] |= 1 << (f % groupSize)
		v.count[f]++
		v.elems = append(v.elems, element{f, text})
		return true
	})
	if r.ID != ([16]byte{}) {
		copy(v.fixed[:16], r.ID[:])
		v.put(record.ID, view(v.fixed[:16]))
	}
	if r.Time != 0 {
		binary.BigEndian.PutUint64(v.fixed[16:], uint64(r.Time))
		v.put(record.Time, view(v.fixed[16:24]))
	}
	if r.Received != 0 {
		binary.BigEndian.PutUint64(v.fixed[24:], uint64(r.Received))
		v.put(record.Received, view(v.fixed[24:32]))
	}
	if a := r.AbsenceJSON(); a != "" {
		v.put(record.Absence, a)
	}
	if v.prov = r.AppendProvenance(v.prov[:0]); len(v.prov) > 0 {
		v.put(record.Provenance, view(v.prov))
	}
	if v.raw = r.Raw; len(r.Raw) > 0 {
		v.mask[record.Raw/groupSize] |= 1 << (record.Raw % groupSize)
		v.count[record.Raw] = int32(pieces(len(r.Raw)))
	}
}

func (v *rowValues) put(f record.Field, text string) {
	v.mask[f/groupSize] |= 1 << (f % groupSize)
	v.vals[f] = text
}

func (v *rowValues) has(slot int) bool { return v.mask[slot/groupSize]&(1<<(slot%groupSize)) != 0 }

// elements returns the elements of a present list or the pieces of the raw line.
func (v *rowValues) elements(slot int) []string {
	out := make([]string, 0, v.count[slot])
	if slot == int(record.Raw) {
		for i := range pieces(len(v.raw)) {
			out = append(out, view(piece(v.raw, i)))
		}
		return out
	}
	for _, e := range v.elems {
		if int(e.field) == slot {
			out = append(out, e.text)
		}
	}
	return out
}

// units is the number of salts that the values need.
func (v *rowValues) units() int {
	n := 0
	for g, m := range v.mask {
		if m == 0 {
			n++
			continue
		}
		n += groupSize
		for s := g * groupSize; s < (g+1)*groupSize; s++ {
			if c := v.count[s]; c > 0 {
				n += padded(int(c)) - 1
			}
		}
	}
	return n
}

// Commit computes the entry of r with the salts of seed. The row's place in
// the log (Seq) is not part of it.
func (c *Committer) Commit(r *record.Record, seed *Seed, dst *Entry) error {
	c.collect(r)
	if err := c.derive(seed); err != nil {
		return err
	}
	c.hash.begin()
	c.hashUnits()
	c.hash.flush()
	elems := c.digests
	for g, m := range c.mask {
		if m == 0 {
			continue
		}
		for s := g * groupSize; s < (g+1)*groupSize; s++ {
			if n := int(c.count[s]); n > 0 {
				c.slots[s], c.buf = listDigest(c.buf, s, elems[:padded(n)])
				elems = elems[padded(n):]
			}
		}
		putGroup(c.hash.message(groupPreimage), g, (*[groupSize]Digest)(c.slots[g*groupSize:]))
		c.hash.sum(&c.groups[g])
	}
	c.hash.flush()
	header(r, dst)
	dst.Root = rootDigest(&c.groups)
	return nil
}

// hashUnits hashes everything that has a salt: slots, elements, absent groups.
func (c *Committer) hashUnits() {
	salts := c.salts
	next := func() *Salt {
		s := (*Salt)(salts)
		salts = salts[len(Salt{}):]
		return s
	}
	elems := c.digests
	for g, m := range c.mask {
		if m == 0 {
			putAbsentGroup(c.hash.message(groupHeader+len(Salt{})), next(), g)
			c.hash.sum(&c.groups[g])
			continue
		}
		for s := g * groupSize; s < (g+1)*groupSize; s++ {
			if n := int(c.count[s]); n > 0 {
				used := c.hashElements(s, n, salts, elems)
				salts, elems = salts[used*len(Salt{}):], elems[used:]
				continue
			}
			presence, value := byte(absent), ""
			if m&(1<<(s%groupSize)) != 0 {
				presence, value = present, c.vals[s]
			}
			putSlot(c.hash.message(slotHeader+len(value)), next(), s, presence, value)
			c.hash.sum(&c.slots[s])
		}
	}
}

// hashElements hashes the n elements of a list and its padding and returns their number.
func (c *Committer) hashElements(slot, n int, salts []byte, out []Digest) int {
	i := 0
	add := func(presence byte, value string) {
		putElement(c.hash.message(elementHeader+len(value)), (*Salt)(salts[i*len(Salt{}):]), slot, i, presence, value)
		c.hash.sum(&out[i])
		i++
	}
	if slot == int(record.Raw) {
		for p := range n {
			add(present, view(piece(c.raw, p)))
		}
	} else {
		for e := range c.elems {
			if int(c.elems[e].field) == slot {
				add(present, c.elems[e].text)
			}
		}
	}
	for size := padded(n); i < size; {
		add(absent, "")
	}
	return i
}

func header(r *record.Record, dst *Entry) {
	dst.Kind, dst.Received, dst.Schema, dst.Groups = r.Kind, r.Received, record.Schema, uint8(numGroups)
}

// derive fills salts with as many as the collected values need, and makes room
// for the digests of elements.
func (c *Committer) derive(seed *Seed) error {
	units := c.units()
	if n := units * len(Salt{}); cap(c.salts) < n {
		c.salts = make([]byte, n+n/4)
	}
	c.salts = c.salts[:units*len(Salt{})]
	if cap(c.digests) < units { // more than there are elements
		c.digests = make([]Digest, units+units/4)
	}
	c.digests = c.digests[:units]
	return keystream(seed, c.salts)
}

// view is b as a string without a copy; b must not change while it is used.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
