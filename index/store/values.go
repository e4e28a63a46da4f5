package store

import (
	"encoding/binary"
	"fmt"

	"github.com/klauspost/compress/zstd"
	bolt "go.etcd.io/bbolt"

	"custody/ingest/record"
)

// A packed segment may keep the values of keyword fields once, in a table; the
// dictionary of a block's column then names them by number:
//
//	dictionary: entries; then per entry rows, number in the table
//	table (zstd): per field: field, values; then per value length, bytes
//
// Nothing has to be decompressed for a look at such a column. Like the
// dictionary of the frames, the table is made of what stays, by every rewrite.

var keyValues = []byte("values")

// Limits of a table. A field with more is left to the blocks.
const (
	maxTableValues = 1 << 16 // of a field
	maxTableBytes  = 4 << 20 // of all
	minTableDict   = 256     // bytes; a smaller dictionary of a block stays there
)

// ValueTable gathers the values of a segment. The zero value is ready.
type ValueTable struct {
	fields [record.NumFields]struct {
		ids    map[string]uint32
		values []string
		over   bool
	}
	bytes int
}

// Add takes the values of a block.
func (t *ValueTable) Add(b *Block) error {
	if err := b.layout(); err != nil {
		return err
	}
	for k := range b.columns {
		ref := &b.columns[k]
		f := &t.fields[ref.field]
		if f.over || ref.dict.raw < minTableDict && f.values == nil {
			continue
		}
		c, err := b.columnAt(k)
		if err != nil {
			return err
		}
		c.Each(func(_ int, v string) {
			if _, ok := f.ids[v]; ok || f.over {
				return
			}
			if f.ids == nil {
				f.ids = make(map[string]uint32)
			}
			if len(f.values) == maxTableValues || t.bytes+len(v) > maxTableBytes {
				for _, v := range f.values {
					t.bytes -= len(v)
				}
				f.ids, f.values, f.over = nil, nil, true
				return
			}
			v = string([]byte(v)) // b's memory is not the table's to keep
			f.ids[v] = uint32(len(f.values))
			f.values = append(f.values, v)
			t.bytes += len(v)
		})
	}
	return nil
}

func (t *ValueTable) encode() []byte {
	var b []byte
	for f := range t.fields {
		values := t.fields[f].values
		if len(values) == 0 {
			continue
		}
		b = binary.AppendUvarint(b, uint64(f))
		b = binary.AppendUvarint(b, uint64(len(values)))
		for _, v := range values {
			b = binary.AppendUvarint(b, uint64(len(v)))
			b = append(b, v...)
		}
	}
	return b
}

// dict is the dictionary of a column by numbers, nil when a value is not in the table.
func (t *ValueTable) dict(c *Column) []byte {
	f := &t.fields[c.Field]
	if f.ids == nil {
		return nil
	}
	b := binary.AppendUvarint(nil, uint64(c.n))
	in := cursor{b: c.dict}
	in.uint()
	for range c.n {
		rows := in.uint()
		id, ok := f.ids[c.entry(&in)]
		if !ok {
			return nil
		}
		b = binary.AppendUvarint(b, rows)
		b = binary.AppendUvarint(b, uint64(id))
	}
	return b
}

// SetValues stores the table that the blocks to come were encoded with.
func (w *Rewriter) SetValues(t *ValueTable) error {
	raw := t.encode()
	if len(raw) == 0 {
		return nil
	}
	zw, err := newCompressor(zstd.SpeedBetterCompression)
	if err != nil {
		return err
	}
	err = w.db.Update(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketMeta).Put(keyValues, zw.EncodeAll(raw, nil))
	})
	if err != nil {
		return fmt.Errorf("rewrite segment %d: store values: %w", w.seg.ID, err)
	}
	return nil
}

// loadValues reads the table of a segment.
func (s *Segment) loadValues() (table [record.NumFields][]string, err error) {
	var raw []byte
	err = s.db.View(func(tx *bolt.Tx) error {
		packed := tx.Bucket(bucketMeta).Get(keyValues)
		if packed == nil {
			return damaged("segment without its table of values")
		}
		var err error
		if raw, err = decoder().DecodeAll(packed, nil); err != nil {
			return damaged("table of values")
		}
		return nil
	})
	if err != nil {
		return table, err
	}
	in := cursor{b: raw}
	for len(in.b) > 0 && !in.bad {
		f := record.Field(in.size(int(record.NumFields) - 1))
		values := make([]string, in.size(maxTableValues))
		for i := range values {
			values[i] = view(in.take(in.size(len(in.b))))
		}
		table[f] = values
	}
	if in.bad {
		return table, damaged("table of values")
	}
	return table, nil
}
