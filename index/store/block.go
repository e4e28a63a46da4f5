package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/klauspost/compress/zstd"

	"custody/ingest/record"
)

// A block holds up to 1024 rows of one tenant, by column where that pays, in
// frames of 64 rows, which indexes name and keys belong to; what a frame does not
// keep in columns stands in two pieces, so that less is decompressed for one row.
// All integers are varints unless said otherwise.
//
//	"CBK1"  u32le length of the header
//	header  first seq, last minus first, rows, received min and max, time min and max (zigzag),
//	        bitmap of kinds, tenant, 1 if frames need the segment's dictionary (else 0);
//	        then for each section its stored and raw length
//	times   seq steps, kinds, steps of received, steps of time (times.go)
//	ids     runs of derived UUIDv7s, or explicit ones
//	salts   runs of frame keys, seeds, or residues of redacted rows
//	filter  identifiers → frames (filter.go)
//	columns for each keyword field: dictionary with counts, and a code a row. In the
//	        header the field stands doubled, plus 1 when the dictionary has numbers
//	        in the segment's table (values.go)
//	pieces  the other fields and the raw lines of 32 rows (frame.go)
//	u32le   CRC-32C of all before it
//
// A section is zstd-compressed when that makes it smaller (stored < raw).
const (
	FrameRows    = 64
	MaxBlockRows = 1024

	blockMagic   = "CBK1"
	pieceRows    = 32
	maxPieces    = MaxBlockRows / pieceRows
	maxBlockSize = 1 << 30
)

// ErrDamaged wraps every error about stored bytes that do not decode.
var ErrDamaged = errors.New("damaged block")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func damaged(what string) error { return fmt.Errorf("%w: %s", ErrDamaged, what) }

// SaltKind says how the salts of a run of rows are kept.
type SaltKind uint8

const (
	// SaltKey: one frame key; row i of the run is row First+i of the key.
	SaltKey SaltKind = iota
	// SaltSeed: the seed of a single row (its frame's key is destroyed).
	SaltSeed
	// SaltResidue: a redacted row: remaining salts and the digests of what was removed.
	SaltResidue
)

// SaltRun is the secret of Rows consecutive rows of a block.
type SaltRun struct {
	Kind  SaltKind
	First uint32 // SaltKey: number of the first row under the key
	Rows  uint32
	Bytes []byte // 32 bytes of key or seed, or an encoded residue
}

// Encoder builds blocks. It keeps scratch memory and is not safe for concurrent use.
type Encoder struct {
	zw      *zstd.Encoder
	text    *zstd.Encoder // for the frames' text
	dict    bool          // text needs the segment's dictionary
	idents  []filterEntry
	key     filterKey
	buf     []byte
	buf2    []byte
	scratch []uint16
	cols    [record.NumFields]columnBuilder
	used    []record.Field
	frame   frameBuilder
	joined  []byte // elements of a list, or provenance
	bitmaps []uint16

	gathered bool // cols are those of the next block
}

// NewEncoder returns an encoder whose filters are keyed with key. Fast encoders
// serve ingest; the others make dense blocks for packed segments.
func NewEncoder(key [16]byte, fast bool) (*Encoder, error) {
	level := zstd.SpeedBetterCompression
	if fast {
		level = zstd.SpeedFastest
	}
	zw, err := newCompressor(level)
	if err != nil {
		return nil, err
	}
	return &Encoder{zw: zw, text: zw, key: key}, nil
}

func newCompressor(level zstd.EncoderLevel, more ...zstd.EOption) (*zstd.Encoder, error) {
	zw, err := zstd.NewWriter(nil, append(more, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false), zstd.WithSingleSegment(true), zstd.WithLowerEncoderMem(true))...)
	if err != nil {
		return nil, fmt.Errorf("new encoder: %w", err)
	}
	return zw, nil
}

// SetDictionary makes the following blocks ones of a segment with the dictionary;
// an empty one changes nothing.
func (e *Encoder) SetDictionary(dict []byte) error {
	if len(dict) == 0 {
		return nil
	}
	zw, err := newCompressor(zstd.SpeedBetterCompression, zstd.WithEncoderDictRaw(dictionaryID, dict))
	if err != nil {
		return err
	}
	e.text, e.dict = zw, true
	return nil
}

// AddIdent adds an identifier of row i (counted in the block) to the filter of the next block.
func (e *Encoder) AddIdent(key []byte, row int) {
	e.idents = append(e.idents, filterEntry{e.key.hash(key), uint8(row / FrameRows)})
}

// Idents is the number of identifiers that were added for the next block.
func (e *Encoder) Idents() int { return len(e.idents) }

// pack appends src, compressed when that is smaller, and returns its stored length.
func pack(zw *zstd.Encoder, dst, src []byte) ([]byte, int) {
	if len(src) < 24 {
		return append(dst, src...), len(src)
	}
	mark := len(dst)
	dst = zw.EncodeAll(src, dst)
	if n := len(dst) - mark; n < len(src) {
		return dst, n
	}
	return append(dst[:mark], src...), len(src)
}

// Encode appends the block of the rows to dst. Rows are in ascending seq order
// and of one tenant; salts cover them all. The identifiers that AddIdent
// collected become its filter.
func (e *Encoder) Encode(dst []byte, tenant string, rows []*record.Record, salts []SaltRun) ([]byte, error) {
	if len(rows) == 0 || len(rows) > MaxBlockRows {
		return nil, fmt.Errorf("encode block: %d rows, want 1 to %d", len(rows), MaxBlockRows)
	}
	h := header{
		first: rows[0].Seq, last: rows[len(rows)-1].Seq, rows: len(rows), tenant: tenant,
		recvMin: rows[0].Received, recvMax: rows[0].Received, timeMin: rows[0].Time, timeMax: rows[0].Time,
	}
	for i, r := range rows {
		h.recvMin, h.recvMax = min(h.recvMin, r.Received), max(h.recvMax, r.Received)
		h.timeMin, h.timeMax = min(h.timeMin, r.Time), max(h.timeMax, r.Time)
		h.kinds |= 1 << r.Kind
		if i > 0 && r.Seq <= rows[i-1].Seq {
			return nil, fmt.Errorf("encode block: seq %d behind %d", r.Seq, rows[i-1].Seq)
		}
	}
	h.dict = e.dict
	body := e.buf[:0]
	add := func(zw *zstd.Encoder, raw []byte) (s section) {
		s.raw = len(raw)
		body, s.stored = pack(zw, body, raw)
		return s
	}
	plain := func(raw []byte) section {
		body = append(body, raw...)
		return section{stored: len(raw), raw: len(raw)}
	}
	// A small dictionary is read faster than it is decompressed.
	dict := func(raw []byte) section {
		if len(raw) < 1<<10 {
			return plain(raw)
		}
		return add(e.zw, raw)
	}
	h.fixed[secTimes] = add(e.zw, appendTimes(e.buf2[:0], rows, &h))
	h.fixed[secIDs] = add(e.zw, appendIDs(nil, rows))
	raw, err := appendSalts(nil, salts, len(rows))
	if err != nil {
		return nil, err
	}
	h.fixed[secSalts] = plain(raw) // keys do not compress
	if len(e.idents) <= maxFilterEntries {
		raw, e.scratch = appendFilter(nil, e.idents, e.scratch)
	} else {
		raw = nil
	}
	h.fixed[secFilter] = plain(raw)
	e.idents = e.idents[:0]

	if !e.gathered {
		e.Gather(rows)
	}
	for _, f := range e.used {
		c := &e.cols[f]
		d, k := c.encode()
		h.columns = append(h.columns, columnRef{field: f, dict: dict(d), codes: plain(k)})
	}
	e.ungather()
	for from := 0; from < len(rows); from += pieceRows {
		text, bin := e.frame.build(rows[from:min(from+pieceRows, len(rows))])
		h.frames = append(h.frames, plain(bin), add(e.text, text))
	}
	e.buf = body
	return h.finish(dst, body), nil
}

// Recode appends block b with its frames compressed by this encoder and the
// dictionaries of its columns by numbers in t, as far as t has them; all the rest
// stays as it is, its filter too.
func (e *Encoder) Recode(dst []byte, b *Block, t *ValueTable) ([]byte, error) {
	if err := b.layout(); err != nil {
		return nil, err
	}
	h := b.header
	h.dict = e.dict
	h.columns, h.frames = slices.Clone(h.columns), slices.Clone(h.frames)
	fixed := h.fixed[0].at
	for i := range h.fixed {
		fixed += h.fixed[i].stored
	}
	body := append(e.buf[:0], b.data[h.fixed[0].at:fixed]...)
	copied := func(s section) { body = append(body, b.data[s.at:s.at+s.stored]...) }
	for k := range h.columns {
		ref := &h.columns[k]
		c, err := b.columnAt(k)
		if err != nil {
			return nil, err
		}
		if d := t.dict(c); d != nil {
			ref.shared, ref.dict = true, section{raw: len(d), stored: len(d)}
			body = append(body, d...)
		} else {
			copied(ref.dict)
		}
		copied(ref.codes)
	}
	for i := 0; i < len(h.frames); i += 2 {
		bin, text := &h.frames[i], &h.frames[i+1]
		copied(*bin)
		raw, err := b.loadText(*text)
		if err != nil {
			return nil, err
		}
		body, text.stored = pack(e.text, body, raw)
	}
	e.buf = body
	return h.finish(dst, body), nil
}

// finish appends the whole block: magic, header, body, checksum.
func (h *header) finish(dst, body []byte) []byte {
	hdr := h.append(nil)
	start := len(dst)
	dst = append(dst, blockMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(hdr)))
	dst = append(dst, hdr...)
	dst = append(dst, body...)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// fixed sections, in order; the columns and the frames follow.
const (
	secTimes = iota
	secIDs
	secSalts
	secFilter
	numFixed
)

type section struct{ stored, raw, at int }

type columnRef struct {
	field       record.Field
	shared      bool // the dictionary has numbers in the segment's table
	dict, codes section
}

type header struct {
	first, last      uint64
	rows             int
	recvMin, recvMax int64
	timeMin, timeMax int64
	kinds            uint16
	tenant           string
	dict             bool // the frames' text needs the segment's dictionary
	fixed            [numFixed]section
	columns          []columnRef
	frames           []section // two each: binary, text
}

func (h *header) append(b []byte) []byte {
	b = binary.AppendUvarint(b, h.first)
	b = binary.AppendUvarint(b, h.last-h.first)
	b = binary.AppendUvarint(b, uint64(h.rows))
	for _, v := range []int64{h.recvMin, h.recvMax - h.recvMin, h.timeMin, h.timeMax - h.timeMin} {
		b = binary.AppendVarint(b, v)
	}
	b = binary.AppendUvarint(b, uint64(h.kinds))
	b = binary.AppendUvarint(b, uint64(len(h.tenant)))
	b = append(b, h.tenant...)
	if b = append(b, 0); h.dict {
		b[len(b)-1] = 1
	}
	put := func(s section) {
		b = binary.AppendUvarint(b, uint64(s.raw))
		b = binary.AppendUvarint(b, uint64(s.stored))
	}
	for _, s := range h.fixed {
		put(s)
	}
	b = binary.AppendUvarint(b, uint64(len(h.columns)))
	for _, c := range h.columns {
		field := uint64(c.field) * 2
		if c.shared {
			field++
		}
		b = binary.AppendUvarint(b, field)
		put(c.dict)
		put(c.codes)
	}
	b = binary.AppendUvarint(b, uint64(len(h.frames)))
	for _, s := range h.frames {
		put(s)
	}
	return b
}

// cursor reads varints from hostile bytes; the first fault sticks.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) uint() uint64 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.bad, c.b = true, nil
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) int() int64 {
	v, n := binary.Varint(c.b)
	if n <= 0 {
		c.bad, c.b = true, nil
		return 0
	}
	c.b = c.b[n:]
	return v
}

// size reads a length of at most limit.
func (c *cursor) size(limit int) int {
	v := c.uint()
	if v > uint64(limit) {
		c.bad, c.b = true, nil
		return 0
	}
	return int(v)
}

func (c *cursor) take(n int) []byte {
	if n < 0 || n > len(c.b) {
		c.bad, c.b = true, nil
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}

// MakeID builds a UUIDv7 (RFC 9562, 5.7): the millisecond of received, a counter
// of 12 bits and a nonce of 62 bits. The rows of one commit share the nonce, so a
// block keeps a few bytes for all its ids.
func MakeID(received int64, counter uint16, nonce uint64) (id [16]byte) {
	binary.BigEndian.PutUint64(id[:8], uint64(received/1e6)<<16|0x7000|uint64(counter&0xfff))
	binary.BigEndian.PutUint64(id[8:], nonce&(1<<62-1)|1<<63)
	return id
}

// IDMillis returns the millisecond that a UUIDv7 carries.
func IDMillis(id [16]byte) int64 { return int64(binary.BigEndian.Uint64(id[:8]) >> 16) }

func splitID(id [16]byte) (counter uint16, nonce uint64) {
	return binary.BigEndian.Uint16(id[6:8]) & 0xfff, binary.BigEndian.Uint64(id[8:]) & (1<<62 - 1)
}

// appendIDs writes runs: rows (0 for one explicit id), then nonce and first counter, or the id.
func appendIDs(b []byte, rows []*record.Record) []byte {
	for i := 0; i < len(rows); {
		counter, nonce := splitID(rows[i].ID)
		n := 0
		for i+n < len(rows) && int(counter)+n < 1<<12 &&
			rows[i+n].ID == MakeID(rows[i+n].Received, counter+uint16(n), nonce) {
			n++
		}
		b = binary.AppendUvarint(b, uint64(n))
		if n == 0 {
			b = append(b, rows[i].ID[:]...)
			i++
			continue
		}
		b = binary.LittleEndian.AppendUint64(b, nonce)
		b = binary.AppendUvarint(b, uint64(counter))
		i += n
	}
	return b
}

func appendSalts(b []byte, runs []SaltRun, rows int) ([]byte, error) {
	n := 0
	for _, s := range runs {
		n += int(s.Rows)
		b = append(b, byte(s.Kind))
		b = binary.AppendUvarint(b, uint64(s.First))
		b = binary.AppendUvarint(b, uint64(s.Rows))
		b = binary.AppendUvarint(b, uint64(len(s.Bytes)))
		b = append(b, s.Bytes...)
	}
	if n != rows {
		return nil, fmt.Errorf("encode block: salts for %d of %d rows", n, rows)
	}
	return b, nil
}
