// Package record is the vocabulary of the attribution record: who asked, which
// agent acted, through whom, with which tool, permission and decision, and what
// came of it.
//
// A [Record] is a flat set of values, one per field (see [Field]); lists hold
// one value per element. The number of a field is the number of its slot in the
// sealed leaf, so storing, sealing, querying and redacting all walk the same
// table. The package depends on the standard library only and starts nothing.
//
// The canonical bytes of a record are the JSON of [Record.AppendJSON]: members
// in slot order nested by the dots of their names, no white space, only the
// escapes that JSON requires. [Parse] reads it back to an equal record.
package record

import (
	"encoding/hex"
	"unsafe"
)

// Record is one row: an event of a source or something that custody itself
// states. The zero value is an empty record. Not safe for concurrent use.
//
// Strings handed to Set and Add must stay valid as long as the record is used;
// SetBytes and AddBytes copy into the record's own memory, which Reset reuses.
type Record struct {
	Seq      uint64 // leaf index; together with the log's origin it is the identity
	Kind     Kind
	ID       [16]byte // UUIDv7, given once at arrival
	Time     int64    // when it happened by its source, Unix nanoseconds
	Received int64    // when it arrived, Unix nanoseconds
	Raw      []byte   // the exact line as it arrived

	pos   [NumFields]uint8 // index+1 into vals of a scalar
	vals  []value
	lists []value  // elements of lists, in order of addition
	abs   []string // pairs: field, reason
	arena []byte

	timeProv string
	provJSON string // canonical provenance of a record read from a store
	absJSON  string // canonical absence of a record read from a store
}

type value struct {
	field Field
	text  string
	prov  string
}

// Reset empties r and keeps its memory for reuse. All strings read from r
// before become invalid if they were set with SetBytes or AddBytes.
func (r *Record) Reset() {
	for i := range r.vals {
		r.pos[r.vals[i].field] = 0
	}
	clear(r.vals)
	clear(r.lists)
	r.vals, r.lists, r.abs, r.arena = r.vals[:0], r.lists[:0], r.abs[:0], r.arena[:0]
	r.Seq, r.Kind, r.ID, r.Time, r.Received, r.Raw = 0, 0, [16]byte{}, 0, 0, nil
	r.timeProv, r.provJSON, r.absJSON = "", "", ""
}

// Grow makes room for n scalars.
func (r *Record) Grow(n int) {
	if cap(r.vals) < n {
		r.vals = append(make([]value, 0, n), r.vals...)
	}
}

// SetTime gives the time of the event, Unix nanoseconds, with its provenance.
func (r *Record) SetTime(ns int64, prov string) { r.Time, r.timeProv = ns, prov }

// Below puts the JSON Pointer prefix in front of all pointers of provenance: the
// values were read from a part of the line.
func (r *Record) Below(prefix string) {
	below := func(prov *string) {
		if len(*prov) > 0 && (*prov)[0] == '/' {
			*prov = prefix + *prov
		}
	}
	for i := range r.vals {
		below(&r.vals[i].prov)
	}
	for i := range r.lists {
		below(&r.lists[i].prov)
	}
	below(&r.timeProv)
}

// keep copies b into the record's memory. Memory handed out before stays valid
// when the arena grows: the old array lives on through the strings in it.
func (r *Record) keep(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if cap(r.arena)-len(r.arena) < len(b) {
		r.arena = make([]byte, 0, max(1024, 2*cap(r.arena), len(b)))
	}
	n := len(r.arena)
	r.arena = append(r.arena, b...)
	return unsafe.String(&r.arena[n], len(b))
}

// Set gives the scalar field f the value v, read from the raw field that prov
// points at (a JSON Pointer, "sd:ID/PARAM", "header:NAME", or "" when custody
// states it itself). An empty v is ignored; a second Set replaces.
// It panics on a list, and on the fields that Record holds itself.
func (r *Record) Set(f Field, v, prov string) {
	if v == "" {
		return
	}
	if !f.Settable() || f.IsList() {
		panic("record: Set of " + f.String())
	}
	if p := r.pos[f]; p != 0 {
		r.vals[p-1].text, r.vals[p-1].prov = v, prov
		return
	}
	r.vals = append(r.vals, value{f, v, prov})
	r.pos[f] = uint8(len(r.vals))
}

// SetBytes is Set with a copy of v.
func (r *Record) SetBytes(f Field, v []byte, prov string) { r.Set(f, r.keep(v), prov) }

// Keep copies b into the record's memory; the string is valid until Reset.
func (r *Record) Keep(b []byte) string { return r.keep(b) }

// Unset removes the scalar field f.
func (r *Record) Unset(f Field) {
	p := r.pos[f]
	if p == 0 {
		return
	}
	last := len(r.vals) - 1
	r.vals[p-1] = r.vals[last]
	r.pos[r.vals[p-1].field] = p
	r.pos[f] = 0
	r.vals[last] = value{}
	r.vals = r.vals[:last]
}

// Add appends the element v to the list f. An empty v is ignored. It panics on a scalar.
func (r *Record) Add(f Field, v, prov string) {
	if v == "" {
		return
	}
	if !f.IsList() {
		panic("record: Add to " + f.String())
	}
	r.lists = append(r.lists, value{f, v, prov})
}

// AddBytes is Add with a copy of v.
func (r *Record) AddBytes(f Field, v []byte, prov string) { r.Add(f, r.keep(v), prov) }

// Get returns the scalar field f, "" when absent. Time, received, id, absence
// and provenance are rendered; message is the view described at [Record.MessageText].
func (r *Record) Get(f Field) string {
	if p := r.pos[f]; p != 0 {
		return r.vals[p-1].text
	}
	switch f {
	case ID:
		if r.ID == ([16]byte{}) {
			return ""
		}
		return FormatID(r.ID)
	case Time:
		return formatFixed(r.Time)
	case Received:
		return formatFixed(r.Received)
	case Message:
		return r.MessageText()
	case Raw:
		return viewString(r.Raw)
	case Absence:
		return r.AbsenceJSON()
	case Provenance:
		return r.ProvenanceJSON()
	}
	return ""
}

// Has reports whether f is present.
func (r *Record) Has(f Field) bool {
	switch {
	case r.pos[f] != 0:
		return true
	case f.IsList():
		for i := range r.lists {
			if r.lists[i].field == f {
				return true
			}
		}
		return false
	}
	return r.Get(f) != ""
}

// Prov returns the provenance of the scalar field f.
func (r *Record) Prov(f Field) string {
	if r.provJSON != "" {
		return r.storedProv(f)
	}
	if p := r.pos[f]; p != 0 {
		return r.vals[p-1].prov
	}
	if f == Time {
		return r.timeProv
	}
	return ""
}

// MapProv replaces the provenance of every value that has one by what to makes of it.
func (r *Record) MapProv(to func(prov string) string) {
	for _, vals := range [...][]value{r.vals, r.lists} {
		for i := range vals {
			if p := &vals[i].prov; *p != "" {
				*p = to(*p)
			}
		}
	}
	if r.timeProv != "" {
		r.timeProv = to(r.timeProv)
	}
}

// RemoveList removes all elements of the list f.
func (r *Record) RemoveList(f Field) {
	n := 0
	for _, v := range r.lists {
		if v.field != f {
			r.lists[n] = v
			n++
		}
	}
	clear(r.lists[n:])
	r.lists = r.lists[:n]
}

// Elements calls yield for each element of the list f with its provenance, until yield returns false.
func (r *Record) Elements(f Field, yield func(v, prov string) bool) {
	for i := range r.lists {
		if r.lists[i].field == f && !yield(r.lists[i].text, r.lists[i].prov) {
			return
		}
	}
}

// List returns the elements of the list f.
func (r *Record) List(f Field) []string {
	var out []string
	for i := range r.lists {
		if r.lists[i].field == f {
			out = append(out, r.lists[i].text)
		}
	}
	return out
}

// Scalars calls yield for each scalar that was set (not id, time, received, raw,
// absence, provenance), in no particular order.
func (r *Record) Scalars(yield func(f Field, v, prov string) bool) {
	for i := range r.vals {
		if !yield(r.vals[i].field, r.vals[i].text, r.vals[i].prov) {
			return
		}
	}
}

// Lists calls yield for each element of every list, in order of addition.
func (r *Record) Lists(yield func(f Field, v, prov string) bool) {
	for i := range r.lists {
		if !yield(r.lists[i].field, r.lists[i].text, r.lists[i].prov) {
			return
		}
	}
}

// AddFinding adds the finding once.
func (r *Record) AddFinding(finding string) {
	for i := range r.lists {
		if r.lists[i].field == Findings && r.lists[i].text == finding {
			return
		}
	}
	r.Add(Findings, finding, "")
}

// RemoveFinding takes the finding back, where what it states no longer holds.
func (r *Record) RemoveFinding(finding string) {
	for i := range r.lists {
		if r.lists[i].field == Findings && r.lists[i].text == finding {
			last := len(r.lists) - 1
			copy(r.lists[i:], r.lists[i+1:])
			r.lists[last] = value{}
			r.lists = r.lists[:last]
			return
		}
	}
}

// SetAbsent states why a field, or a group of fields ("requester"), is missing.
// Reason is NotRecorded, NotApplicable, Redacted or NotEstablished.
// An empty reason takes the statement back.
func (r *Record) SetAbsent(name, reason string) {
	r.openAbsence()
	for i := 0; i < len(r.abs); i += 2 {
		if r.abs[i] != name {
			continue
		}
		if reason == "" {
			r.abs = append(r.abs[:i], r.abs[i+2:]...)
			return
		}
		r.abs[i+1] = reason
		return
	}
	if reason != "" {
		r.abs = append(r.abs, name, reason)
	}
}

// Absent returns the reason why the named field is missing, "" if none is stated.
func (r *Record) Absent(name string) string {
	r.openAbsence()
	for i := 0; i < len(r.abs); i += 2 {
		if r.abs[i] == name {
			return r.abs[i+1]
		}
	}
	return ""
}

// MessageText is the human part of the event: the field message where a mapping
// set one, else the raw line from message_offset (behind the syslog header).
func (r *Record) MessageText() string {
	if p := r.pos[Message]; p != 0 {
		return r.vals[p-1].text
	}
	off := 0
	if p := r.pos[MessageOffset]; p != 0 {
		off = atoi(r.vals[p-1].text)
	}
	if off > len(r.Raw) {
		return ""
	}
	return viewString(r.Raw[off:])
}

// Values appends to dst the values that the path names: one for a scalar, one
// per element of a list, the members of objects. It is what queries see.
func (r *Record) Values(p Path, dst []string) []string {
	f := p.Field
	switch fields[f].Kind {
	case List:
		for i := range r.lists {
			if r.lists[i].field == f {
				dst = append(dst, r.lists[i].text)
			}
		}
		return dst
	case Objects:
		for i := range r.lists {
			if r.lists[i].field != f {
				continue
			}
			if p.Sub == "" {
				dst = append(dst, r.lists[i].text)
			} else {
				dst = member(r.lists[i].text, p.Sub, dst)
			}
		}
		return dst
	case Map:
		if p.Sub == "" {
			if v := r.Get(f); v != "" {
				dst = append(dst, v)
			}
			return dst
		}
		if f == Absence {
			if v := r.Absent(p.Sub); v != "" {
				dst = append(dst, v)
			}
			return dst
		}
		if q, ok := byName[p.Sub]; ok {
			if v := r.Prov(q); v != "" {
				dst = append(dst, v)
			}
		}
		return dst
	}
	if v := r.Get(f); v != "" {
		dst = append(dst, v)
	}
	return dst
}

// FormatID renders a UUID.
func FormatID(id [16]byte) string {
	var b [36]byte
	hex.Encode(b[0:8], id[0:4])
	b[8] = '-'
	hex.Encode(b[9:13], id[4:6])
	b[13] = '-'
	hex.Encode(b[14:18], id[6:8])
	b[18] = '-'
	hex.Encode(b[19:23], id[8:10])
	b[23] = '-'
	hex.Encode(b[24:36], id[10:16])
	return string(b[:])
}

// ParseID reads a UUID in its 36 character form.
func ParseID(s string) (id [16]byte, ok bool) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return id, false
	}
	h := s[0:8] + s[9:13] + s[14:18] + s[19:23] + s[24:36]
	n, err := hex.Decode(id[:], []byte(h))
	return id, err == nil && n == 16
}

func viewString(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	return unsafe.String(&b[0], len(b))
}

func atoi(s string) int {
	n := 0
	for i := 0; i < len(s) && i < 10; i++ {
		n = n*10 + int(s[i]-'0')
	}
	return n
}
