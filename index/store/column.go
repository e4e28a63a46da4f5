package store

import (
	"encoding/binary"
	"math/bits"
	"slices"

	"custody/ingest/record"
)

// A column keeps one keyword field of a block: a dictionary of its distinct
// values, each with the number of rows that have it, and a code per row (0 is
// absent). A list's value is its elements, each behind its varint length.
//
//	dictionary: entries; then per entry rows, length, bytes
//	codes: empty when every row has the one value; else as many bits a row as
//	       the greatest code needs, low bits first, and two bytes of padding.
//	       They are not compressed, so that one row's code costs one look.

type columnBuilder struct {
	codes  []uint16
	index  map[string]uint16
	values []string
	counts []uint32
}

func (c *columnBuilder) reset() {
	clear(c.index)
	clear(c.values)
	c.values, c.counts, c.codes = c.values[:0], c.counts[:0], c.codes[:0]
}

func (c *columnBuilder) code(v string) uint16 {
	if n := len(c.codes); n > 0 {
		if last := c.codes[n-1]; last != 0 && c.values[last-1] == v {
			c.counts[last-1]++
			return last
		}
	}
	k, ok := c.index[v]
	if !ok {
		if c.index == nil {
			c.index = make(map[string]uint16)
		}
		c.values = append(c.values, v)
		c.counts = append(c.counts, 0)
		k = uint16(len(c.values))
		c.index[v] = k
	}
	c.counts[k-1]++
	return k
}

// Gather sorts the keyword values of the rows of the next block into columns, so
// that EachKeyword can be asked before Encode. The rows must not change between.
func (e *Encoder) Gather(rows []*record.Record) {
	e.ungather()
	e.gathered = true
	put := func(row int, f record.Field, v string) {
		c := &e.cols[f]
		if len(c.codes) == 0 {
			e.used = append(e.used, f)
		}
		for len(c.codes) < row {
			c.codes = append(c.codes, 0)
		}
		c.codes = append(c.codes, c.code(v))
	}
	putBytes := func(row int, f record.Field, b []byte) {
		c := &e.cols[f]
		if k, ok := c.index[string(b)]; ok { // no allocation for the usual case
			put(row, f, c.values[k-1])
		} else {
			put(row, f, string(b))
		}
	}
	for i, r := range rows {
		r.Scalars(func(f record.Field, v, _ string) bool {
			if f.Info().Cardinality == record.Keyword {
				put(i, f, v)
			}
			return true
		})
		var lists [4]record.Field
		seen := lists[:0]
		r.Lists(func(f record.Field, _, _ string) bool {
			if f.Info().Cardinality == record.Keyword && !slices.Contains(seen, f) {
				seen = append(seen, f)
			}
			return true
		})
		for _, f := range seen {
			b := e.joined[:0]
			for v := range elements(r, f) {
				b = binary.AppendUvarint(b, uint64(len(v)))
				b = append(b, v...)
			}
			e.joined = b
			putBytes(i, f, b)
		}
		if a := r.AbsenceJSON(); a != "" {
			put(i, record.Absence, a)
		}
		if e.joined = r.AppendProvenance(e.joined[:0]); len(e.joined) > 0 {
			putBytes(i, record.Provenance, e.joined)
		}
	}
	for _, f := range e.used {
		c := &e.cols[f]
		for len(c.codes) < len(rows) {
			c.codes = append(c.codes, 0)
		}
	}
	slices.Sort(e.used)
}

// ungather empties the columns.
func (e *Encoder) ungather() {
	for _, f := range e.used {
		e.cols[f].reset()
	}
	e.used, e.gathered = e.used[:0], false
}

// Forget drops what was gathered and added for a block that is not encoded.
func (e *Encoder) Forget() {
	e.ungather()
	e.idents = e.idents[:0]
}

// EachKeyword calls fn for every value of every keyword field of the gathered
// rows, elements of lists and the absence object included, with the bitmap of the
// frames that have it. A value comes more than once where lists share it.
func (e *Encoder) EachKeyword(fn func(f record.Field, v string, frames uint16)) {
	var elems []string
	for _, f := range e.used {
		if f == record.Provenance {
			continue
		}
		c := &e.cols[f]
		frames := e.scratchFrames(len(c.values))
		for i, k := range c.codes {
			if k > 0 {
				frames[k-1] |= 1 << (i / FrameRows)
			}
		}
		for k, v := range c.values {
			if !f.IsList() {
				fn(f, v, frames[k])
				continue
			}
			elems = ListValues(v, elems[:0])
			for _, v := range elems {
				fn(f, v, frames[k])
			}
		}
	}
}

func (e *Encoder) scratchFrames(n int) []uint16 {
	if cap(e.bitmaps) < n {
		e.bitmaps = make([]uint16, n)
	}
	e.bitmaps = e.bitmaps[:n]
	clear(e.bitmaps)
	return e.bitmaps
}

// elements ranges over the elements of the list f with their provenance.
func elements(r *record.Record, f record.Field) func(yield func(v, prov string) bool) {
	return func(yield func(v, prov string) bool) { r.Elements(f, yield) }
}

func (c *columnBuilder) encode() (dict, codes []byte) {
	dict = binary.AppendUvarint(dict, uint64(len(c.values)))
	for i, v := range c.values {
		dict = binary.AppendUvarint(dict, uint64(c.counts[i]))
		dict = binary.AppendUvarint(dict, uint64(len(v)))
		dict = append(dict, v...)
	}
	if len(c.values) == 1 && int(c.counts[0]) == len(c.codes) {
		return dict, nil
	}
	width := codeWidth(len(c.values))
	codes = make([]byte, codesSize(len(c.codes), width))
	for i, k := range c.codes {
		at := i * width
		v := uint32(k) << (at % 8)
		codes[at/8] |= byte(v)
		codes[at/8+1] |= byte(v >> 8)
		codes[at/8+2] |= byte(v >> 16)
	}
	return dict, codes
}

// codeWidth is the number of bits of a code of a column with n values.
func codeWidth(n int) int { return bits.Len(uint(n)) }

func codesSize(rows, width int) int { return (rows*width+7)/8 + 2 }

// Column is a keyword column. Its strings live on their own; its codes are read
// from the block's bytes.
type Column struct {
	Field  record.Field
	Values []string // distinct; lists are encoded, see ListValues
	Counts []uint32 // rows per value
	dict   []byte
	n      int // values
	rows   int
	shared bool     // dict has numbers in table
	table  []string // of the segment
	width  int      // bits of a code; 0 when constant
	codes  []byte
	reads  int // single values taken from the dictionary as it stands
}

// Code returns the code of row i: 0 absent, else 1 + index into Values.
func (c *Column) Code(i int) int {
	switch {
	case c == nil:
		return 0
	case c.width == 0:
		return 1
	}
	k := c.stored(i)
	if k > c.n { // of a damaged block: parse says so
		return 0
	}
	return k
}

// stored is the code of row i as it stands there.
func (c *Column) stored(i int) int {
	at := i * c.width
	b := c.codes[at/8:]
	v := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
	return int(v>>(at%8)) & (1<<c.width - 1)
}

// Value returns the value of row i, "" when absent.
func (c *Column) Value(i int) string {
	k := c.Code(i)
	if k == 0 {
		return ""
	}
	if c.Values == nil {
		if c.reads++; c.reads <= 4 || c.parse() != nil {
			return c.at(k)
		}
	}
	return c.Values[k-1]
}

// at finds the value of a code in the dictionary without taking it all apart.
func (c *Column) at(code int) string {
	in := cursor{b: c.dict}
	in.uint()
	for range code - 1 {
		in.uint()
		c.entry(&in)
	}
	in.uint()
	return c.entry(&in)
}

// entry reads the value of the dictionary's next entry, behind its rows.
func (c *Column) entry(in *cursor) string {
	n := in.size(maxBlockSize)
	if !c.shared {
		return view(in.take(n))
	}
	if n >= len(c.table) {
		in.bad, in.b = true, nil
		return ""
	}
	return c.table[n]
}

// Each calls yield with every code and its value, without Values.
func (c *Column) Each(yield func(code int, v string)) {
	in := cursor{b: c.dict}
	in.uint()
	for code := range c.n {
		if b := in.b; len(b) >= 3 && b[0] < 0x80 && c.shared { // the usual entry, in short
			id, size := int(b[1]), 2
			if id >= 0x80 && b[2] < 0x80 {
				id, size = id&0x7f|int(b[2])<<7, 3
			}
			if id < len(c.table) && b[size-1] < 0x80 {
				in.b = b[size:]
				yield(code+1, c.table[id])
				continue
			}
		}
		in.uint()
		yield(code+1, c.entry(&in))
	}
}

// parse takes the dictionary apart and checks it and the codes. Without it a
// damaged column shows less than there was; its block's checksum is wrong then.
func (c *Column) parse() error {
	if c.Values != nil {
		return nil
	}
	in := cursor{b: c.dict}
	in.uint()
	values, counts := make([]string, c.n), make([]uint32, c.n)
	for i := range values {
		counts[i] = uint32(in.size(c.rows))
		values[i] = c.entry(&in)
	}
	if in.bad || len(in.b) != 0 {
		return damaged("dictionary of " + c.Field.String())
	}
	if c.width > 0 && c.n+1 < 1<<c.width {
		for i := range c.rows {
			if c.stored(i) > c.n {
				return damaged("code of " + c.Field.String())
			}
		}
	}
	c.Values, c.Counts = values, counts
	return nil
}

// ListValues splits the encoded value of a list column.
func ListValues(v string, dst []string) []string {
	for len(v) > 0 {
		n, w := uvarintString(v)
		if w <= 0 || n > uint64(len(v)-w) {
			return dst
		}
		dst = append(dst, v[w:w+int(n)])
		v = v[w+int(n):]
	}
	return dst
}

func uvarintString(s string) (uint64, int) {
	var x uint64
	for i := 0; i < len(s) && i < 10; i++ {
		x |= uint64(s[i]&0x7f) << (7 * i)
		if s[i] < 0x80 {
			return x, i + 1
		}
	}
	return 0, 0
}

// setCodes keeps the codes of a column.
func (c *Column) setCodes(codes []byte, rows int) error {
	if len(codes) == 0 {
		if c.n != 1 {
			return damaged("codes of " + c.Field.String())
		}
		return nil
	}
	width := codeWidth(c.n)
	if len(codes) != codesSize(rows, width) {
		return damaged("codes of " + c.Field.String())
	}
	c.codes, c.width = codes, width
	return nil
}
