package store

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"

	"custody/ingest/record"
)

// decoders are shared: a zstd decoder is safe for concurrent DecodeAll.
var decoder = sync.OnceValue(func() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxBlockSize), zstd.WithDecoderLowmem(true))
	if err != nil {
		panic(err) // the options are constant
	}
	return d
})

// Block reads an encoded block. It decodes only what is asked for and keeps it.
// The bytes behind it must not change while it is used; values it hands out
// live on their own once decoded, except Filter. Not safe for concurrent use.
type Block struct {
	header
	data   []byte
	seg    *Segment // for its dictionary
	seqs   []uint64
	kinds  []record.Kind
	recv   []int64
	times  []int64
	ids    []idRun
	salts  []SaltRun
	cols   []*Column // as in columns; nil: not loaded
	opened [maxPieces]*frame

	rest []byte // of the header: columns and frames, till layout
	at   int    // of what rest describes
}

// OpenBlock reads the header of a block.
func OpenBlock(data []byte) (*Block, error) {
	if len(data) < 12 || string(data[:4]) != blockMagic {
		return nil, damaged("no block")
	}
	n := int(binary.LittleEndian.Uint32(data[4:]))
	if n > len(data)-12 {
		return nil, damaged("header length")
	}
	b := &Block{data: data}
	in := cursor{b: data[8 : 8+n]}
	b.first = in.uint()
	b.last = b.first + in.uint()
	b.rows = in.size(MaxBlockRows)
	b.recvMin = in.int()
	b.recvMax = b.recvMin + in.int()
	b.timeMin = in.int()
	b.timeMax = b.timeMin + in.int()
	b.header.kinds = uint16(in.uint())
	b.tenant = string(in.take(in.size(len(in.b))))
	b.dict = in.size(1) == 1
	b.at = 8 + n
	for i := range b.fixed {
		b.fixed[i] = b.section(&in)
	}
	if in.bad || b.rows == 0 {
		return nil, damaged("header")
	}
	b.rest = in.b
	return b, nil
}

// section reads where the next section is.
func (b *Block) section(in *cursor) section {
	s := section{raw: in.size(maxBlockSize), stored: in.size(maxBlockSize), at: b.at}
	b.at += s.stored
	if b.at > len(b.data)-4 {
		in.bad = true
	}
	return s
}

// layout reads the rest of the header. Most blocks of a search are passed over
// for what the first part says.
func (b *Block) layout() error {
	if b.frames != nil {
		return nil
	}
	in := cursor{b: b.rest}
	columns := make([]columnRef, in.size(int(record.NumFields)))
	for i := range columns {
		field := in.size(2*int(record.NumFields) - 1)
		f := record.Field(field / 2)
		if !f.Settable() && f != record.Absence && f != record.Provenance {
			return damaged("column field")
		}
		columns[i] = columnRef{field: f, shared: field%2 == 1, dict: b.section(&in), codes: b.section(&in)}
	}
	frames := make([]section, in.size(2*maxPieces))
	for i := range frames {
		frames[i] = b.section(&in)
	}
	if in.bad || len(in.b) != 0 || b.at != len(b.data)-4 || len(frames) != 2*((b.rows+pieceRows-1)/pieceRows) {
		return damaged("header")
	}
	b.columns, b.frames = columns, frames
	return nil
}

// First is the seq of the first row.
func (b *Block) First() uint64 { return b.first }

// Last is the seq of the last row.
func (b *Block) Last() uint64 { return b.last }

// Rows is the number of rows.
func (b *Block) Rows() int { return b.rows }

// Tenant is the tenant of all rows.
func (b *Block) Tenant() string { return b.tenant }

// HasKind reports whether a row of kind k is in the block.
func (b *Block) HasKind(k record.Kind) bool { return b.header.kinds&(1<<k) != 0 }

// OnlyKind reports whether all rows are of kind k.
func (b *Block) OnlyKind(k record.Kind) bool { return b.header.kinds == 1<<k }

// OneKind reports whether all rows are of one kind, Kind.
func (b *Block) OneKind() bool { return bits.OnesCount16(b.header.kinds) == 1 }

// Kind is the kind of all rows when they are of one.
func (b *Block) Kind() record.Kind { return record.Kind(bits.TrailingZeros16(b.header.kinds)) }

// TimeBounds are the least and the greatest time, Unix nanoseconds.
func (b *Block) TimeBounds() (lo, hi int64) { return b.timeMin, b.timeMax }

// ReceivedBounds are the least and the greatest received, Unix nanoseconds.
func (b *Block) ReceivedBounds() (lo, hi int64) { return b.recvMin, b.recvMax }

// Verify checks the block's checksum.
func (b *Block) Verify() error {
	n := len(b.data) - 4
	if crc32.Checksum(b.data[:n], castagnoli) != binary.LittleEndian.Uint32(b.data[n:]) {
		return damaged("checksum")
	}
	return nil
}

func (b *Block) load(s section) ([]byte, error) {
	p := b.data[s.at : s.at+s.stored]
	if s.stored == s.raw {
		return append([]byte(nil), p...), nil
	}
	out, err := decoder().DecodeAll(p, make([]byte, 0, s.raw))
	if err != nil || len(out) != s.raw {
		return nil, damaged("section does not decompress")
	}
	return out, nil
}

// loadText is load for the text of a frame.
func (b *Block) loadText(s section) ([]byte, error) {
	if !b.dict || s.stored == s.raw {
		return b.load(s)
	}
	if b.seg == nil {
		return nil, damaged("block outside the segment that has its dictionary")
	}
	dec, err := b.seg.dicts.decoder(b.seg)
	if err != nil {
		return nil, err
	}
	out, err := dec.DecodeAll(b.data[s.at:s.at+s.stored], make([]byte, 0, s.raw))
	if err != nil || len(out) != s.raw {
		return nil, damaged("frame does not decompress")
	}
	return out, nil
}

// Seq returns the seq of row i.
func (b *Block) Seq(i int) (uint64, error) {
	if err := b.loadTimes(); err != nil {
		return 0, err
	}
	return b.seq(i), nil
}

// Times returns seq, kind, time and received of every row.
func (b *Block) Times() (seqs []uint64, kinds []record.Kind, times, received []int64, err error) {
	if err = b.loadTimes(); err != nil {
		return nil, nil, nil, nil, err
	}
	b.unfold()
	return b.seqs, b.kinds, b.times, b.recv, nil
}

// idRun is a run of ids: n derived ones, or one that is explicit (n is 0).
type idRun struct {
	row, n   int
	nonce    uint64
	counter  int
	explicit [16]byte
}

func (b *Block) loadIDs() error {
	if b.ids != nil {
		return nil
	}
	if err := b.loadTimes(); err != nil {
		return err
	}
	raw, err := b.load(b.fixed[secIDs])
	if err != nil {
		return err
	}
	in := cursor{b: raw}
	var runs []idRun
	row := 0
	for row < b.rows && !in.bad {
		r := idRun{row: row, n: in.size(b.rows - row)}
		if r.n == 0 {
			copy(r.explicit[:], in.take(16))
			row++
		} else {
			if nonce := in.take(8); nonce != nil {
				r.nonce = binary.LittleEndian.Uint64(nonce)
			}
			r.counter = in.size(1 << 12)
			row += r.n
		}
		runs = append(runs, r)
	}
	if in.bad || len(in.b) != 0 {
		return damaged("ids")
	}
	b.ids = runs
	return nil
}

// id is the id of row i; the ids are loaded.
func (b *Block) id(i int) [16]byte {
	k, found := slices.BinarySearchFunc(b.ids, i, func(r idRun, i int) int { return r.row - i })
	if !found {
		k--
	}
	r := &b.ids[k]
	if r.n == 0 {
		return r.explicit
	}
	return MakeID(b.recv[i], uint16(r.counter+i-r.row), r.nonce)
}

// FindID returns the row with the id, -1 when it is not here.
func (b *Block) FindID(id [16]byte) (int, error) {
	if err := b.loadIDs(); err != nil {
		return -1, err
	}
	counter, nonce := splitID(id)
	for k := range b.ids {
		r := &b.ids[k]
		if r.n == 0 {
			if r.explicit == id {
				return r.row, nil
			}
			continue
		}
		if i := int(counter) - r.counter; r.nonce == nonce && i >= 0 && i < r.n && b.id(r.row+i) == id {
			return r.row + i, nil
		}
	}
	return -1, nil
}

// Salts returns the secrets of the rows, in order.
func (b *Block) Salts() ([]SaltRun, error) {
	if b.salts != nil {
		return b.salts, nil
	}
	raw, err := b.load(b.fixed[secSalts])
	if err != nil {
		return nil, err
	}
	in := cursor{b: raw}
	rows := 0
	for rows < b.rows && !in.bad {
		k := in.take(1)
		if in.bad {
			break
		}
		s := SaltRun{Kind: SaltKind(k[0]), First: uint32(in.size(1 << 30)), Rows: uint32(in.size(b.rows - rows))}
		s.Bytes = in.take(in.size(len(in.b)))
		if s.Rows == 0 {
			in.bad = true
		}
		rows += int(s.Rows)
		b.salts = append(b.salts, s)
	}
	if in.bad || len(in.b) != 0 {
		b.salts = nil
		return nil, damaged("salts")
	}
	return b.salts, nil
}

// Candidates returns the bitmap of frames that may hold the identifier.
func (b *Block) Candidates(key [16]byte, ident []byte) uint16 {
	s := b.fixed[secFilter]
	k := filterKey(key)
	return lookupFilter(b.data[s.at:s.at+s.stored], k.hash(ident))
}

// CandidatesHash is Candidates with the key's hash, see HashIdent.
func (b *Block) CandidatesHash(h uint64) uint16 {
	s := b.fixed[secFilter]
	return lookupFilter(b.data[s.at:s.at+s.stored], h)
}

// HashIdent hashes an identifier for CandidatesHash.
func HashIdent(key [16]byte, ident []byte) uint64 {
	k := filterKey(key)
	return k.hash(ident)
}

// Column returns the column of a keyword field (or absence, provenance), nil when no row has it.
func (b *Block) Column(f record.Field) (*Column, error) {
	c, err := b.Peek(f)
	if c == nil || err != nil {
		return nil, err
	}
	return c, c.parse()
}

// Peek is Column without Values and Counts, for a look at a few rows.
func (b *Block) Peek(f record.Field) (*Column, error) {
	if err := b.layout(); err != nil {
		return nil, err
	}
	for k := range b.columns {
		if b.columns[k].field == f {
			return b.columnAt(k)
		}
	}
	return nil, nil
}

// columnAt loads a column; its dictionary is taken apart only when that pays.
func (b *Block) columnAt(k int) (*Column, error) {
	if b.cols == nil {
		b.cols = make([]*Column, len(b.columns))
	}
	if c := b.cols[k]; c != nil {
		return c, nil
	}
	ref := &b.columns[k]
	dict, err := b.load(ref.dict)
	if err != nil {
		return nil, err
	}
	c := &Column{Field: ref.field, dict: dict, rows: b.rows}
	if ref.shared {
		if b.seg == nil {
			return nil, damaged("block outside the segment that has its values")
		}
		if c.table, err = b.seg.dicts.table(b.seg, ref.field); err != nil {
			return nil, err
		}
		c.shared = true
	}
	head := cursor{b: dict}
	if c.n = head.size(b.rows); c.n == 0 {
		return nil, damaged("dictionary of " + ref.field.String())
	}
	if ref.codes.stored != ref.codes.raw {
		return nil, damaged("codes of " + ref.field.String())
	}
	if err := c.setCodes(b.data[ref.codes.at:ref.codes.at+ref.codes.stored], b.rows); err != nil {
		return nil, err
	}
	b.cols[k] = c
	return c, nil
}

func (b *Block) frame(i int) (*frame, error) {
	if b.opened[i] != nil {
		return b.opened[i], nil
	}
	if err := b.layout(); err != nil {
		return nil, err
	}
	bin, err := b.load(b.frames[2*i])
	if err != nil {
		return nil, err
	}
	text, err := b.loadText(b.frames[2*i+1])
	if err != nil {
		return nil, err
	}
	b.opened[i], err = parseFrame(text, bin, min(pieceRows, b.rows-i*pieceRows))
	return b.opened[i], err
}

// Text returns the value of a scalar that is no keyword, "" when row i has none.
func (b *Block) Text(i int, f record.Field) (string, error) {
	fr, err := b.frame(i / pieceRows)
	if err != nil {
		return "", err
	}
	for k := range fr.cols {
		if c := &fr.cols[k]; c.field == f && !c.list {
			return c.vals[i%pieceRows], nil
		}
	}
	return "", nil
}

// Row decodes row i into r, which it resets first. The strings in r stay valid
// as long as r does.
func (b *Block) Row(i int, r *record.Record) error {
	if err := b.loadIDs(); err != nil {
		return err
	}
	fr, err := b.frame(i / pieceRows)
	if err != nil {
		return err
	}
	r.Reset()
	r.Grow(len(b.columns) + len(fr.cols))
	r.Seq, r.Kind, r.ID, r.Time, r.Received = b.seq(i), b.kind(i), b.id(i), b.times[i], b.recv[i]
	for k := range b.columns {
		c, err := b.columnAt(k)
		if err != nil {
			return err
		}
		v := c.Value(i)
		switch f := c.Field; {
		case v == "":
		case f == record.Absence:
			r.SetAbsence(v)
		case f == record.Provenance:
			r.SetProvenance(v)
		case f.IsList():
			var buf [8]string
			for _, e := range ListValues(v, buf[:0]) {
				r.Add(f, e, "")
			}
		default:
			r.Set(f, v, "")
		}
	}
	fr.fill(i%pieceRows, r)
	raw, err := fr.raw(i%pieceRows, r, nil)
	if err != nil {
		return err
	}
	r.Raw = raw
	return nil
}
