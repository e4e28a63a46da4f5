package store

import (
	"encoding/binary"
	"slices"

	"custody/ingest/record"
)

// A column keeps one keyword field of a block: a dictionary of its distinct
// values, each with the number of rows that have it, and a code per row (0 is
// absent). A list's value is its elements, each behind its varint length.
//
//	dictionary: entries; then per entry rows, length, bytes
//	codes: empty when every row has the one value; else one byte a row, two
//	       (little endian) when there are more than 255 values

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

// collectColumns sorts the rows' keyword values into columns; e.used lists the
// fields that occur, in slot order.
func (e *Encoder) collectColumns(rows []*record.Record) {
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
			var b []byte
			for v := range elements(r, f) {
				b = binary.AppendUvarint(b, uint64(len(v)))
				b = append(b, v...)
			}
			put(i, f, string(b))
		}
		if a := r.AbsenceJSON(); a != "" {
			put(i, record.Absence, a)
		}
		e.prov = r.AppendProvenance(e.prov[:0])
		if len(e.prov) > 0 {
			c := &e.cols[record.Provenance]
			if k, ok := c.index[string(e.prov)]; ok { // no allocation for the usual case
				put(i, record.Provenance, c.values[k-1])
			} else {
				put(i, record.Provenance, string(e.prov))
			}
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
	if len(c.values) <= 255 {
		for _, k := range c.codes {
			codes = append(codes, byte(k))
		}
		return dict, codes
	}
	for _, k := range c.codes {
		codes = binary.LittleEndian.AppendUint16(codes, k)
	}
	return dict, codes
}

// Column is a decoded keyword column. Its strings live as long as it does.
type Column struct {
	Field  record.Field
	Values []string // distinct; lists are encoded, see ListValues
	Counts []uint32 // rows per value
	rows   int
	codes  []byte // nil when constant
}

// Code returns the code of row i: 0 absent, else 1 + index into Values.
func (c *Column) Code(i int) int {
	switch {
	case c == nil:
		return 0
	case c.codes == nil:
		return 1
	case len(c.Values) <= 255:
		return int(c.codes[i])
	}
	return int(binary.LittleEndian.Uint16(c.codes[2*i:]))
}

// Value returns the value of row i, "" when absent.
func (c *Column) Value(i int) string {
	if k := c.Code(i); k > 0 {
		return c.Values[k-1]
	}
	return ""
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

// parseDict reads a dictionary without its codes.
func parseDict(c *Column, dict []byte, rows int) error {
	in := cursor{b: dict}
	n := in.size(rows)
	c.Values = make([]string, n)
	c.Counts = make([]uint32, n)
	for i := range c.Values {
		c.Counts[i] = uint32(in.size(rows))
		c.Values[i] = view(in.take(in.size(len(in.b))))
	}
	if in.bad || len(in.b) != 0 || n == 0 {
		return damaged("dictionary of " + c.Field.String())
	}
	return nil
}

// parseCodes checks and keeps the codes of a column.
func parseCodes(c *Column, codes []byte, rows int) error {
	n := len(c.Values)
	if len(codes) == 0 {
		if n != 1 {
			return damaged("codes of " + c.Field.String())
		}
		return nil
	}
	width := 1
	if n > 255 {
		width = 2
	}
	if len(codes) != width*rows {
		return damaged("codes of " + c.Field.String())
	}
	c.codes = codes
	for i := range rows {
		if c.Code(i) > n {
			return damaged("code of " + c.Field.String())
		}
	}
	return nil
}
