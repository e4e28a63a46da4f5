package store

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"time"
	"unsafe"

	"custody/ingest/record"
)

// A piece of a frame holds what 32 rows do not keep in columns: identifiers, prose, object
// lists and the raw line.
//
//	text: per field: field+1, mode, common prefix, a length+1 per row (0 absent)
//	      [lists: a count per row, then a length per element], the values;
//	      then 0, a length per row of the raw skeletons, the skeletons
//	bin:  the packed values of the fields in hex mode
//
// The skeleton of a raw line is the line with each value that a field already
// holds replaced by the byte 0xff and field+1, and each RFC 3339 time stamp in UTC
// ("…Z") that is the row's time by 0xff and 0xe0 plus its digits of a second, 0
// to 9 (cut, not rounded); a real 0xff is 0xff 0x00. Agent logs repeat the same
// shape with other values, so skeletons all but vanish under compression.

const (
	modeText byte = iota
	modeHex       // lower-case hexadecimal of even length behind the prefix, two digits a byte in bin
	modeList      // several values a row
)

const (
	escape    = 0xff
	timeStamp = 0xe0 // plus the digits of a second; above all fields

	stampLayout = "2006-01-02T15:04:05.000000000Z"
	stampSecond = len("2006-01-02T15:04:05")
)

// minSubstitute is the length from which a value is worth a place-holder.
const minSubstitute = 4

type match struct {
	at, end int
	code    byte // what follows the escape
}

type frameBuilder struct {
	text, bin []byte
	vals      [record.NumFields][]string // per field, one per row
	lists     [record.NumFields]bool
	matches   []match
	skeleton  []byte
	lens      []int
	stamp     []byte
	starts    starts
}

// build returns the frame's two parts, valid until the next call.
func (b *frameBuilder) build(rows []*record.Record) (text, bin []byte) {
	b.text, b.bin, b.skeleton, b.lens = b.text[:0], b.bin[:0], b.skeleton[:0], b.lens[:0]
	for i, r := range rows {
		r.Scalars(func(f record.Field, v, _ string) bool {
			if f.Info().Cardinality != record.Keyword {
				b.put(i, len(rows), f, v)
			}
			return true
		})
		r.Lists(func(f record.Field, _, _ string) bool {
			if f.Info().Cardinality != record.Keyword {
				b.lists[f] = true
			}
			return true
		})
		b.raw(r)
	}
	for f := range record.NumFields {
		switch {
		case len(b.vals[f]) > 0:
			b.column(f)
			clear(b.vals[f])
			b.vals[f] = b.vals[f][:0]
		case b.lists[f]:
			b.listColumn(f, rows)
			b.lists[f] = false
		}
	}
	b.text = append(b.text, 0)
	for _, n := range b.lens {
		b.text = binary.AppendUvarint(b.text, uint64(n))
	}
	b.text = append(b.text, b.skeleton...)
	return b.text, b.bin
}

func (b *frameBuilder) put(row, rows int, f record.Field, v string) {
	if len(b.vals[f]) == 0 {
		if cap(b.vals[f]) < rows {
			b.vals[f] = make([]string, rows, pieceRows)
		}
		b.vals[f] = b.vals[f][:rows]
	}
	b.vals[f][row] = v
}

func (b *frameBuilder) column(f record.Field) {
	vals := b.vals[f]
	mode, prefix := modeText, commonPrefix(vals)
	if n, ok := hexTail(vals, len(prefix)); ok {
		mode, prefix = modeHex, prefix[:n]
	} else {
		prefix = "" // the compressor finds it
	}
	b.text = binary.AppendUvarint(b.text, uint64(f)+1)
	b.text = append(b.text, mode)
	b.text = binary.AppendUvarint(b.text, uint64(len(prefix)))
	b.text = append(b.text, prefix...)
	for _, v := range vals {
		if v == "" {
			b.text = append(b.text, 0)
			continue
		}
		b.text = binary.AppendUvarint(b.text, uint64(len(v)-len(prefix))+1)
	}
	for _, v := range vals {
		switch {
		case v == "":
		case mode == modeHex:
			b.bin, _ = hex.AppendDecode(b.bin, unsafe.Slice(unsafe.StringData(v), len(v))[len(prefix):])
		default:
			b.text = append(b.text, v...)
		}
	}
}

func (b *frameBuilder) listColumn(f record.Field, rows []*record.Record) {
	b.text = binary.AppendUvarint(b.text, uint64(f)+1)
	b.text = append(b.text, modeList)
	for _, r := range rows {
		n := 0
		for range elements(r, f) {
			n++
		}
		b.text = binary.AppendUvarint(b.text, uint64(n))
	}
	for _, r := range rows {
		for v := range elements(r, f) {
			b.text = binary.AppendUvarint(b.text, uint64(len(v)))
			b.text = append(b.text, v...)
		}
	}
}

// raw appends the skeleton of r's raw line.
func (b *frameBuilder) raw(r *record.Record) {
	mark := len(b.skeleton)
	raw := r.Raw
	b.matches = b.matches[:0]
	if len(raw) >= minSubstitute {
		b.starts.find(raw)
		r.Scalars(func(f record.Field, v, _ string) bool {
			if at := b.starts.index(raw, v); at >= 0 {
				b.insert(match{at, at + len(v), byte(f) + 1})
			}
			return true
		})
		b.stamps(r)
	}
	from := 0
	for _, m := range b.matches {
		if m.at < from {
			continue // overlaps the one before
		}
		b.skeleton = appendEscaped(b.skeleton, raw[from:m.at])
		b.skeleton = append(b.skeleton, escape, m.code)
		from = m.end
	}
	b.skeleton = appendEscaped(b.skeleton, raw[from:])
	b.lens = append(b.lens, len(b.skeleton)-mark)
}

// starts lists where values may begin in a line: behind every quotation mark of
// what follows the first brace, JSON that is, and elsewhere wherever a byte that
// is no letter or digit stands before. One pass over the line replaces one search
// for each of two dozen values. What is missed is stored twice, no more.
type starts struct {
	head [256]int32 // 1 + first position whose four bytes have the hash; 0: none
	next []int32    // by position in at
	at   []int32
}

func fourBytes(b []byte) uint32 { return binary.LittleEndian.Uint32(b) }

func hashFour(v uint32) uint32 { return v * 0x9e3779b1 >> 24 }

func (s *starts) find(raw []byte) {
	s.head, s.at, s.next = [256]int32{}, s.at[:0], s.next[:0]
	if len(raw) > 1<<30 {
		return
	}
	object := bytes.IndexByte(raw, '{')
	if object < 0 {
		object = len(raw)
	}
	inWord := false
	for i, c := range raw[:min(object, len(raw)-minSubstitute+1)] {
		if !inWord {
			s.at = append(s.at, int32(i))
		}
		inWord = wordByte[c]
	}
	for i := object; ; {
		n := bytes.IndexByte(raw[i:], '"')
		if i += n + 1; n < 0 || i+minSubstitute > len(raw) {
			break
		}
		s.at = append(s.at, int32(i))
	}
	// From the back, so that each chain runs forward.
	s.next = slices.Grow(s.next, len(s.at))[:len(s.at)]
	for k := len(s.at) - 1; k >= 0; k-- {
		h := hashFour(fourBytes(raw[s.at[k]:]))
		s.next[k] = s.head[h]
		s.head[h] = int32(k) + 1
	}
}

// index returns the first start at which v stands, -1 if there is none.
func (s *starts) index(raw []byte, v string) int {
	if len(v) < minSubstitute || len(v) > len(raw) {
		return -1
	}
	b := unsafe.Slice(unsafe.StringData(v), len(v))
	four := fourBytes(b)
	for k := s.head[hashFour(four)]; k != 0; k = s.next[k-1] {
		at := int(s.at[k-1])
		if at+len(b) <= len(raw) && fourBytes(raw[at:]) == four && bytes.Equal(raw[at:at+len(b)], b) {
			return at
		}
	}
	return -1
}

var wordByte = func() (t [256]bool) {
	for c := range t {
		t[c] = c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
	}
	return t
}()

// stamps finds the row's time in its raw line.
func (b *frameBuilder) stamps(r *record.Record) {
	b.stamp = time.Unix(0, r.Time).UTC().AppendFormat(b.stamp[:0], stampLayout)
	second, fraction := b.stamp[:stampSecond], b.stamp[stampSecond:len(stampLayout)-1]
	for from := 0; ; {
		i := bytes.Index(r.Raw[from:], second)
		if i < 0 {
			return
		}
		at := from + i
		from = at + stampSecond
		n := 0
		for n < len(fraction) && from+n < len(r.Raw) && r.Raw[from+n] == fraction[n] {
			n++
		}
		if n == 1 || from+n >= len(r.Raw) || r.Raw[from+n] != 'Z' {
			continue // "." alone, other digits, or another zone
		}
		from += n + 1
		b.insert(match{at, from, timeStamp + byte(max(n-1, 0))})
	}
}

// appendStamp is the text of a time stamp with so many digits of a second.
func appendStamp(dst []byte, t int64, digits int) []byte {
	dst = time.Unix(0, t).UTC().AppendFormat(dst, stampLayout)
	cut := len(stampLayout) - stampSecond - 1 // the fraction with its point
	if digits > 0 {
		cut -= digits + 1
	}
	return append(dst[:len(dst)-cut-1], 'Z')
}

// insert keeps matches ordered by position, the longer first.
func (b *frameBuilder) insert(m match) {
	i := len(b.matches)
	b.matches = append(b.matches, m)
	for i > 0 && (b.matches[i-1].at > m.at || b.matches[i-1].at == m.at &&
		(b.matches[i-1].end < m.end || b.matches[i-1].end == m.end && b.matches[i-1].code > m.code)) {
		b.matches[i] = b.matches[i-1]
		i--
	}
	b.matches[i] = m
}

func appendEscaped(dst, s []byte) []byte {
	for {
		i := bytes.IndexByte(s, escape)
		if i < 0 {
			return append(dst, s...)
		}
		dst = append(dst, s[:i]...)
		dst = append(dst, escape, 0)
		s = s[i+1:]
	}
}

func commonPrefix(vals []string) string {
	first := true
	var p string
	for _, v := range vals {
		if v == "" {
			continue
		}
		if first {
			p, first = v, false
			continue
		}
		n := 0
		for n < len(p) && n < len(v) && p[n] == v[n] {
			n++
		}
		p = p[:n]
	}
	return p
}

// hexTail reports whether all values are even-length lower-case hexadecimal
// behind a prefix of at most n bytes that they share, and that prefix's length.
func hexTail(vals []string, n int) (int, bool) {
	// The shared prefix may have eaten digits; step back to where the digits begin.
	for _, v := range vals {
		if v != "" {
			for n > 0 && isHex(v[n-1]) {
				n--
			}
			break
		}
	}
	some := false
	for _, v := range vals {
		if v == "" {
			continue
		}
		tail := v[n:]
		if len(tail) < 8 || len(tail)%2 != 0 {
			return 0, false
		}
		for i := range len(tail) {
			if !isHex(tail[i]) {
				return 0, false
			}
		}
		some = true
	}
	return n, some
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' }

// frame is a decoded frame.
type frame struct {
	rows  int
	cols  []frameColumn
	lens  []int // end of each skeleton
	skel  []byte
	arena []byte
}

type frameColumn struct {
	field record.Field
	list  bool
	vals  []string
	ends  []int // lists: end of each row's elements in vals
}

// parseFrame decodes the frame of rows rows.
func parseFrame(text, bin []byte, rows int) (*frame, error) {
	fr := &frame{rows: rows}
	in := cursor{b: text}
	fr.arena = make([]byte, 0, 2*len(bin)+64)
	for !in.bad {
		id := in.size(int(record.NumFields))
		if in.bad || id == 0 {
			break
		}
		col := frameColumn{field: record.Field(id - 1)}
		mode := in.take(1)
		if in.bad {
			break
		}
		if !col.field.Settable() {
			return nil, damaged("frame column")
		}
		if mode[0] == modeList {
			if err := col.parseList(&in, rows); err != nil {
				return nil, err
			}
			fr.cols = append(fr.cols, col)
			continue
		}
		if col.field.IsList() {
			return nil, damaged("frame column")
		}
		prefix := in.take(in.size(len(in.b)))
		col.vals = make([]string, rows)
		lens := make([]int, rows)
		for i := range lens {
			lens[i] = in.size(maxBlockSize) - 1
		}
		for i, n := range lens {
			switch {
			case n < 0:
			case mode[0] == modeHex:
				if n%2 != 0 || n/2 > len(bin) {
					return nil, damaged("packed value of " + col.field.String())
				}
				if cap(fr.arena)-len(fr.arena) < len(prefix)+n {
					fr.arena = make([]byte, 0, len(prefix)+n+4*len(bin)+rows*len(prefix))
				}
				at := len(fr.arena)
				fr.arena = append(fr.arena, prefix...)
				fr.arena = hex.AppendEncode(fr.arena, bin[:n/2])
				bin = bin[n/2:]
				col.vals[i] = view(fr.arena[at:])
			case mode[0] == modeText:
				col.vals[i] = view(in.take(n))
			default:
				return nil, damaged("mode of " + col.field.String())
			}
		}
		fr.cols = append(fr.cols, col)
	}
	fr.lens = make([]int, rows)
	end := 0
	for i := range fr.lens {
		end += in.size(len(in.b))
		fr.lens[i] = end
	}
	fr.skel = in.b
	if in.bad || end != len(fr.skel) || len(bin) != 0 {
		return nil, damaged("frame")
	}
	return fr, nil
}

func (col *frameColumn) parseList(in *cursor, rows int) error {
	if !col.field.IsList() {
		return damaged("list column")
	}
	col.list = true
	col.ends = make([]int, rows)
	n := 0
	for i := range col.ends {
		n += in.size(len(in.b))
		col.ends[i] = n
	}
	if in.bad || n > len(in.b) {
		return damaged("list of " + col.field.String())
	}
	col.vals = make([]string, n)
	for i := range col.vals {
		col.vals[i] = view(in.take(in.size(len(in.b))))
	}
	if in.bad {
		return damaged("list of " + col.field.String())
	}
	return nil
}

// fill sets the frame's own fields of row i.
func (fr *frame) fill(i int, r *record.Record) {
	for k := range fr.cols {
		c := &fr.cols[k]
		if !c.list {
			r.Set(c.field, c.vals[i], "")
			continue
		}
		from := 0
		if i > 0 {
			from = c.ends[i-1]
		}
		for _, v := range c.vals[from:c.ends[i]] {
			r.Add(c.field, v, "")
		}
	}
}

// raw rebuilds the raw line of row i from its skeleton and r's values.
func (fr *frame) raw(i int, r *record.Record, dst []byte) ([]byte, error) {
	from := 0
	if i > 0 {
		from = fr.lens[i-1]
	}
	s := fr.skel[from:fr.lens[i]]
	for {
		at := bytes.IndexByte(s, escape)
		if at < 0 {
			return append(dst, s...), nil
		}
		dst = append(dst, s[:at]...)
		if at+1 >= len(s) {
			return dst, damaged("skeleton")
		}
		switch f := s[at+1]; {
		case f == 0:
			dst = append(dst, escape)
		case f >= timeStamp && f <= timeStamp+9:
			dst = appendStamp(dst, r.Time, int(f-timeStamp))
		case record.Field(f-1) >= record.NumFields:
			return dst, damaged("skeleton field")
		default:
			dst = append(dst, r.Get(record.Field(f-1))...)
		}
		s = s[at+2:]
	}
}

func view(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	return unsafe.String(&b[0], len(b))
}
