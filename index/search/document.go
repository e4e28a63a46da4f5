package search

import (
	"encoding/binary"
	"fmt"
	"strings"

	index "github.com/blevesearch/bleve_index_api"
)

const (
	idField   = "_id"
	termField = "t"
)

// analyzedLength is the norm that zap stores with each posting. It must be
// neither 0, which zap takes for "no one-hit encoding" when it reads a term with
// a single posting back, nor above 127, which takes a second byte.
const analyzedLength = 1

// document implements index.Document for one block. It is reused.
type document struct {
	id    field
	terms field
	freqs []index.TokenFreq
	one   index.TokenFreq
}

// field implements index.Field with frequencies that are already there.
type field struct {
	name  string
	value []byte
	opts  index.FieldIndexingOptions
	freqs index.TokenFrequencies
}

// blockID is the document identifier of a block.
func blockID(block uint64) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], block)
	return string(b[:])
}

func newDocument() *document {
	d := &document{
		id:    field{name: idField, opts: index.IndexField | index.StoreField, freqs: make(index.TokenFrequencies, 1)},
		terms: field{name: termField, opts: index.IndexField, freqs: make(index.TokenFrequencies, 2048)},
	}
	d.one.SetFrequency(1)
	return d
}

// fill makes d the document of one block.
func (d *document) fill(doc *Doc, c *frameCodes) {
	id := blockID(doc.Block)
	clear(d.id.freqs)
	d.id.freqs[id] = &d.one
	d.id.value = []byte(id)

	size := doc.keyBytes()
	// One allocation for all keys; they are substrings of it.
	var arena strings.Builder
	arena.Grow(size)
	for i := range doc.Terms {
		arena.Write(doc.Terms[i].Key)
	}
	keys := arena.String()
	if cap(d.freqs) < len(doc.Terms) {
		d.freqs = make([]index.TokenFreq, len(doc.Terms))
	}
	d.freqs = d.freqs[:len(doc.Terms)]
	clear(d.terms.freqs)
	for i := range doc.Terms {
		t := &doc.Terms[i]
		key := keys[:len(t.Key)]
		keys = keys[len(t.Key):]
		tf := &d.freqs[i]
		tf.SetFrequency(c.encode(t.Frames))
		if old, ok := d.terms.freqs[key]; ok {
			tf.SetFrequency(c.encode(t.Frames | c.decode(uint64(old.Frequency()))))
		}
		d.terms.freqs[key] = tf
	}
}

// keyBytes is the length of all keys.
func (d *Doc) keyBytes() int {
	n := 0
	for i := range d.Terms {
		n += len(d.Terms[i].Key)
	}
	return n
}

// cost is what the block takes in memory until it is persisted, about.
func (d *Doc) cost() int64 {
	return int64(d.keyBytes() + postingCost*len(d.Terms) + blockCost)
}

// What a posting and a block take in memory beside the bytes of the keys, about.
const (
	postingCost = 16
	blockCost   = 256
)

// check tells whether a block can be indexed under a watermark.
func (d *Doc) check(watermark uint64) error {
	if d.Rows == 0 || d.Rows > MaxRows {
		return fmt.Errorf("block %d: %d rows, want 1 to %d", d.Block, d.Rows, MaxRows)
	}
	if end := d.Block + uint64(d.Rows); end < d.Block || end > watermark {
		return fmt.Errorf("block %d: its %d rows are not below the watermark %d", d.Block, d.Rows, watermark)
	}
	frames := (d.Rows + FrameRows - 1) / FrameRows
	for i := range d.Terms {
		t := &d.Terms[i]
		if len(t.Key) == 0 || len(t.Key) > MaxKey {
			return fmt.Errorf("block %d: a term of %d bytes, want 1 to %d", d.Block, len(t.Key), MaxKey)
		}
		if t.Frames == 0 || uint32(t.Frames)>>frames != 0 {
			return fmt.Errorf("block %d: frames %016b of %d", d.Block, t.Frames, frames)
		}
	}
	return nil
}

func (d *document) ID() string { return string(d.id.value) }

// Size is asked for Bleve's statistics only; computing it would walk all terms.
func (d *document) Size() int { return len(d.freqs) * postingCost }

func (d *document) VisitFields(visit index.FieldVisitor) {
	visit(&d.id)
	visit(&d.terms)
}

func (d *document) VisitComposite(index.CompositeFieldVisitor) {}
func (d *document) HasComposite() bool                         { return false }
func (d *document) NumPlainTextBytes() uint64                  { return 0 }
func (d *document) AddIDField()                                {}
func (d *document) StoredFieldsBytes() uint64                  { return 0 }
func (d *document) Indexed() bool                              { return true }

func (f *field) Name() string                                     { return f.name }
func (f *field) Value() []byte                                    { return f.value }
func (f *field) ArrayPositions() []uint64                         { return nil }
func (f *field) EncodedFieldType() byte                           { return 't' }
func (f *field) Analyze()                                         {}
func (f *field) Options() index.FieldIndexingOptions              { return f.opts }
func (f *field) AnalyzedLength() int                              { return analyzedLength }
func (f *field) AnalyzedTokenFrequencies() index.TokenFrequencies { return f.freqs }
func (f *field) NumPlainTextBytes() uint64                        { return 0 }
