package seal

import (
	"encoding/binary"
	"fmt"

	"custody/ingest/record"
)

// Tags of the binary form.
const (
	residueVersion = 1

	tagOpen     = 0 // salt
	tagWithheld = 1 // digest
	tagList     = 2 // uvarint number of elements, then tagged elements with padding
	tagAbsent   = 3 // a whole group: salt
)

// AppendBinary appends the compact form for storage; the error is always nil.
//
//	residue = version(1) ‖ uvarint schema ‖ uvarint slots ‖ group… ‖ uvarint kept ‖ kept…
//	group   = 0x03 ‖ salt(16)  or  8 × slot
//	slot    = 0x00 ‖ salt(16)  or  0x01 ‖ digest(32)  or  0x02 ‖ uvarint n ‖ element × (n up to a power of two)
//	element = 0x00 ‖ salt(16)  or  0x01 ‖ digest(32)
//	kept    = uvarint slot ‖ uvarint length ‖ value
func (d *Residue) AppendBinary(dst []byte) ([]byte, error) {
	dst = append(dst, residueVersion)
	dst = binary.AppendUvarint(dst, record.Schema)
	dst = binary.AppendUvarint(dst, uint64(numSlots))
	for g := range d.groups {
		gr := &d.groups[g]
		if gr.absent {
			dst = append(append(dst, tagAbsent), gr.salt[:]...)
			continue
		}
		for i := range gr.slots {
			s := &gr.slots[i]
			if s.elems == nil {
				dst = appendTagged(dst, s.withheld, &s.salt, &s.digest)
				continue
			}
			dst = binary.AppendUvarint(append(dst, tagList), uint64(s.n))
			for e := range s.elems {
				dst = appendTagged(dst, s.elems[e].withheld, &s.elems[e].salt, &s.elems[e].digest)
			}
		}
	}
	dst = binary.AppendUvarint(dst, uint64(len(d.kept)))
	for _, k := range d.kept {
		dst = binary.AppendUvarint(dst, uint64(k.slot))
		dst = binary.AppendUvarint(dst, uint64(len(k.value)))
		dst = append(dst, k.value...)
	}
	return dst, nil
}

func appendTagged(dst []byte, withheld bool, salt *Salt, digest *Digest) []byte {
	if withheld {
		return append(append(dst, tagWithheld), digest[:]...)
	}
	return append(append(dst, tagOpen), salt[:]...)
}

// ParseResidue reads what AppendBinary wrote, to the last byte.
func ParseResidue(b []byte) (*Residue, error) {
	p := residueParser{rest: b}
	d := &Residue{}
	if p.byte() != residueVersion || p.uvarint() != record.Schema || p.uvarint() != uint64(numSlots) {
		return nil, fmt.Errorf("parse residue: version or schema: %w", ErrResidue)
	}
	for g := range d.groups {
		p.group(d, g)
	}
	last := -1
	for n := p.uvarint(); n > 0 && !p.bad; n-- {
		slot, size := p.uvarint(), p.uvarint()
		// Only these two are ever kept, once each, and only while they are open.
		ok := slot == uint64(record.Provenance) || slot == uint64(record.Absence)
		if !ok || int(slot) == last || size > uint64(len(p.rest)) ||
			size == 0 && slot != uint64(record.Absence) ||
			size > 0 && d.groups[slot/groupSize].absent || d.slot(int(slot)).withheld {
			p.bad = true
			break
		}
		last = int(slot)
		d.kept = append(d.kept, keptValue{record.Field(slot), append([]byte(nil), p.take(int(size))...)})
	}
	if p.bad || len(p.rest) > 0 || len(d.kept) > 2 {
		return nil, fmt.Errorf("parse residue of %d bytes: %w", len(b), ErrResidue)
	}
	return d, nil
}

type residueParser struct {
	rest []byte
	bad  bool
}

func (p *residueParser) take(n int) []byte {
	if len(p.rest) < n {
		p.bad, p.rest = true, nil
		return make([]byte, n) // small: the callers check large sizes first
	}
	b := p.rest[:n]
	p.rest = p.rest[n:]
	return b
}

func (p *residueParser) byte() byte { return p.take(1)[0] }

// uvarint reads a number in its shortest form, up to 2^32.
func (p *residueParser) uvarint() uint64 {
	v, n := binary.Uvarint(p.rest)
	if n <= 0 || n > 1 && p.rest[n-1] == 0 || v > 1<<32 {
		p.bad, p.rest = true, nil
		return 0
	}
	p.rest = p.rest[n:]
	return v
}

func (p *residueParser) group(d *Residue, g int) {
	gr := &d.groups[g]
	if len(p.rest) > 0 && p.rest[0] == tagAbsent {
		p.take(1)
		gr.absent = true
		copy(gr.salt[:], p.take(len(Salt{})))
		return
	}
	for i := range gr.slots {
		if p.bad {
			return
		}
		s := &gr.slots[i]
		if tag := p.byte(); tag != tagList {
			s.withheld = p.tagged(tag, &s.salt, &s.digest)
			continue
		}
		n := p.uvarint()
		// Each element takes at least a tag and a salt.
		if !isList(record.Field(g*groupSize+i)) || n == 0 || n > uint64(len(p.rest)/(1+len(Salt{}))) {
			p.bad = true
			return
		}
		s.n, s.elems = int(n), make([]elementResidue, padded(int(n)))
		for e := range s.elems {
			el := &s.elems[e]
			el.withheld = p.tagged(p.byte(), &el.salt, &el.digest)
			if el.withheld && e >= s.n { // padding is nothing that could be redacted
				p.bad = true
			}
		}
	}
}

func (p *residueParser) tagged(tag byte, salt *Salt, digest *Digest) (withheld bool) {
	switch tag {
	case tagOpen:
		copy(salt[:], p.take(len(salt)))
	case tagWithheld:
		copy(digest[:], p.take(len(digest)))
		return true
	default:
		p.bad = true
	}
	return false
}
