package record

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"
)

// AppendJSON appends the canonical JSON of r. The members seq and kind lead
// (kind only when the row is not a plain record); the rest follow in slot order,
// nested by the dots of their names.
func (r *Record) AppendJSON(dst []byte) []byte {
	w := jsonWriter{dst: append(dst, '{')}
	if r.ID != ([16]byte{}) {
		w.scalar("id", FormatID(r.ID))
	}
	w.name("seq")
	w.dst = strconv.AppendUint(w.dst, r.Seq, 10)
	if r.Kind != KindRecord && r.Kind != 0 {
		w.scalar("kind", r.Kind.String())
	}
	if r.Time != 0 {
		w.scalar("time", formatFixed(r.Time))
	}
	if r.Received != 0 {
		w.scalar("received", formatFixed(r.Received))
	}
	for _, n := range tree {
		w.node(r, n)
	}
	if a := r.AbsenceJSON(); a != "" {
		w.name("absence")
		w.dst = append(w.dst, a...)
	}
	if p := r.ProvenanceJSON(); p != "" {
		w.name("provenance")
		w.dst = append(w.dst, p...)
	}
	if len(r.Raw) > 0 {
		if utf8.Valid(r.Raw) {
			w.scalar("raw", viewString(r.Raw))
		} else {
			w.name("raw_base64")
			w.dst = append(w.dst, '"')
			w.dst = base64.StdEncoding.AppendEncode(w.dst, r.Raw)
			w.dst = append(w.dst, '"')
		}
	}
	return append(w.dst, '}')
}

// node is one member of the record's JSON: a field or an object of nodes.
type node struct {
	name  string
	field Field
	kids  []node
}

// tree orders the members: as RECORD names them, objects at their first field.
var tree = buildTree()

var topOrder = []string{
	"source", "requester", "executor", "delegation", "chain", "links", "action", "target", "effect", "authority",
	"decision", "outcome", "credential_event", "context", "risk", "risk_policy", "capture", "capture_policy",
	"retention_class", "findings", "about", "attributes", "message_offset", "message",
}

func buildTree() []node {
	root := node{}
	for i := range fields {
		f := Field(i)
		if f <= Received || f == Raw || f == Absence || f == Provenance {
			continue
		}
		at := &root
		parts := strings.Split(fields[i].Name, ".")
		for d, part := range parts {
			var kid *node
			for k := range at.kids {
				if at.kids[k].name == part {
					kid = &at.kids[k]
				}
			}
			if kid == nil {
				at.kids = append(at.kids, node{name: part})
				kid = &at.kids[len(at.kids)-1]
			}
			if d == len(parts)-1 {
				kid.field = f
			}
			at = kid
		}
	}
	rank := make(map[string]int, len(topOrder))
	for i, n := range topOrder {
		rank[n] = i
	}
	sort.SliceStable(root.kids, func(a, b int) bool { return rank[root.kids[a].name] < rank[root.kids[b].name] })
	return root.kids
}

type jsonWriter struct{ dst []byte }

func (w *jsonWriter) name(n string) {
	if last := w.dst[len(w.dst)-1]; last != '{' {
		w.dst = append(w.dst, ',')
	}
	w.dst = append(w.dst, '"')
	w.dst = append(w.dst, n...)
	w.dst = append(w.dst, '"', ':')
}

func (w *jsonWriter) scalar(n, v string) {
	w.name(n)
	w.dst = AppendQuoted(w.dst, v)
}

// node writes n if any field in it is present.
func (w *jsonWriter) node(r *Record, n node) {
	if n.kids != nil {
		mark := len(w.dst)
		w.name(n.name)
		w.dst = append(w.dst, '{')
		open := len(w.dst)
		for _, k := range n.kids {
			w.node(r, k)
		}
		if len(w.dst) == open {
			w.dst = w.dst[:mark]
			return
		}
		w.dst = append(w.dst, '}')
		return
	}
	switch fields[n.field].Kind {
	case List, Objects:
		first := true
		for i := range r.lists {
			if r.lists[i].field != n.field {
				continue
			}
			if first {
				w.name(n.name)
				w.dst = append(w.dst, '[')
			} else {
				w.dst = append(w.dst, ',')
			}
			first = false
			if fields[n.field].Kind == Objects {
				w.dst = append(w.dst, r.lists[i].text...)
			} else {
				w.dst = AppendQuoted(w.dst, r.lists[i].text)
			}
		}
		if !first {
			w.dst = append(w.dst, ']')
		}
	case Number:
		if p := r.pos[n.field]; p != 0 {
			w.name(n.name)
			w.dst = append(w.dst, r.vals[p-1].text...)
		}
	default:
		if p := r.pos[n.field]; p != 0 {
			w.scalar(n.name, r.vals[p-1].text)
		}
	}
}

const hexDigits = "0123456789abcdef"

// AppendQuoted appends s as a JSON string: '"', '\\' and control characters are
// escaped, all else stands as it is; invalid UTF-8 becomes U+FFFD (values are
// made valid when they are set by a decoder).
func AppendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			if r, n := utf8.DecodeRuneInString(s[i:]); r != utf8.RuneError || n > 1 {
				i += n
				continue
			}
			dst = append(dst, s[start:i]...)
			dst = append(dst, "\ufffd"...)
			i++
			start = i
			continue
		}
		dst = append(dst, s[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		start = i
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// AbsenceJSON is the canonical object of absence reasons, "" when there are none.
func (r *Record) AbsenceJSON() string {
	if r.absJSON != "" {
		return r.absJSON
	}
	if len(r.abs) == 0 {
		return ""
	}
	dst := []byte{'{'}
	for i := 0; i < len(r.abs); i += 2 {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendQuoted(dst, r.abs[i])
		dst = append(dst, ':')
		dst = AppendQuoted(dst, r.abs[i+1])
	}
	return viewString(append(dst, '}'))
}

// ProvenanceJSON is the canonical object of provenance pointers, "" when there
// are none: scalars in slot order, then lists (the first element's pointer).
func (r *Record) ProvenanceJSON() string { return viewString(r.AppendProvenance(nil)) }

// AppendProvenance appends what ProvenanceJSON returns.
func (r *Record) AppendProvenance(dst []byte) []byte {
	if r.provJSON != "" {
		return append(dst, r.provJSON...)
	}
	mark := len(dst)
	put := func(f Field, prov string) {
		if len(dst) == mark {
			dst = append(dst, '{')
		} else {
			dst = append(dst, ',')
		}
		dst = append(dst, '"')
		dst = append(dst, fields[f].Name...)
		dst = append(dst, '"', ':')
		dst = AppendQuoted(dst, prov)
	}
	for f := range NumFields {
		if p := r.pos[f]; p != 0 && r.vals[p-1].prov != "" {
			put(f, r.vals[p-1].prov)
		}
	}
	if len(r.lists) > 0 {
		var first [NumFields]string
		for i := range r.lists {
			if v := &r.lists[i]; first[v.field] == "" {
				first[v.field] = v.prov
			}
		}
		for f := range NumFields {
			if first[f] != "" {
				put(f, first[f])
			}
		}
	}
	if r.timeProv != "" {
		put(Time, r.timeProv)
	}
	if len(dst) > mark {
		dst = append(dst, '}')
	}
	return dst
}

// Provenances remembers the canonical object of a record and where its values
// came from: the next record of the same source mostly has the same. The zero
// value is ready. Not safe for concurrent use.
type Provenances struct {
	items []provenance
	time  string
	json  string
}

type provenance struct {
	field Field
	prov  string
}

// Freeze computes the canonical provenance object once, for a record that is
// complete. OpenProvenance undoes it.
func (c *Provenances) Freeze(r *Record) {
	if r.provJSON != "" {
		return
	}
	if c.same(r) {
		r.provJSON = c.json
		return
	}
	// Strings of r live no longer than r does.
	c.items = c.items[:0]
	for _, v := range r.vals {
		c.items = append(c.items, provenance{v.field, strings.Clone(v.prov)})
	}
	for _, v := range r.lists {
		c.items = append(c.items, provenance{v.field, strings.Clone(v.prov)})
	}
	c.time = strings.Clone(r.timeProv)
	c.json = string(r.AppendProvenance(nil))
	r.provJSON = c.json
}

func (c *Provenances) same(r *Record) bool {
	if len(c.items) != len(r.vals)+len(r.lists) || c.time != r.timeProv {
		return false
	}
	for i := range r.vals {
		if v, have := &r.vals[i], &c.items[i]; v.field != have.field || v.prov != have.prov {
			return false
		}
	}
	for i := range r.lists {
		if v, have := &r.lists[i], &c.items[len(r.vals)+i]; v.field != have.field || v.prov != have.prov {
			return false
		}
	}
	return true
}

// SetProvenance gives a record read from a store its canonical provenance
// object, as AppendProvenance made it. Prov then answers from it.
func (r *Record) SetProvenance(canonical string) { r.provJSON = canonical }

// SetAbsence gives a record read from a store its canonical absence object.
func (r *Record) SetAbsence(canonical string) { r.abs, r.absJSON = r.abs[:0], canonical }

// openAbsence turns a stored absence object into pairs when they are asked for.
func (r *Record) openAbsence() {
	if r.absJSON == "" {
		return
	}
	dec := json.NewDecoder(strings.NewReader(r.absJSON))
	r.absJSON = ""
	_ = parsePairs(dec, r) // a damaged object shows what could be read
}

// OpenProvenance gives each field of a record read from a store its own pointer
// back, so that single ones can be changed.
func (r *Record) OpenProvenance() {
	if r.provJSON == "" {
		return
	}
	var m map[string]string
	text := r.provJSON
	r.provJSON = ""
	if json.Unmarshal([]byte(text), &m) == nil {
		r.setProvenance(m) // a damaged object loses the pointers, no values
	}
}

// storedProv looks f up in the canonical provenance object.
func (r *Record) storedProv(f Field) string {
	name := "\"" + fields[f].Name + "\":"
	i := strings.Index(r.provJSON, name)
	if i < 0 {
		return ""
	}
	var v string
	if json.NewDecoder(strings.NewReader(r.provJSON[i+len(name):])).Decode(&v) != nil {
		return ""
	}
	return v
}

// Delegation is one element of delegation: who handed what to the next, the
// original requester first.
type Delegation struct {
	Principal  string   `json:"principal,omitempty"`
	Credential string   `json:"credential,omitempty"`
	Scopes     []string `json:"scopes,omitempty"`
	Audience   string   `json:"audience,omitempty"`
	Expires    string   `json:"expires,omitempty"`
}

// Link is one element of links: how this record hangs on another.
type Link struct {
	To         uint64   `json:"to"`
	Relation   string   `json:"relation"`
	Method     string   `json:"method"`
	Candidates []uint64 `json:"candidates,omitempty"`
}

// DelegationList reads delegation; an element that is damaged is left out.
func (r *Record) DelegationList() (out []Delegation) {
	r.Elements(Delegations, func(v, _ string) bool {
		var d Delegation
		if json.Unmarshal([]byte(v), &d) == nil {
			out = append(out, d)
		}
		return true
	})
	return out
}

// LinkList reads links; an element that is damaged is left out.
func (r *Record) LinkList() (out []Link) {
	r.Elements(Links, func(v, _ string) bool {
		var k Link
		if json.Unmarshal([]byte(v), &k) == nil {
			out = append(out, k)
		}
		return true
	})
	return out
}

// AddDelegation appends an element to delegation.
func (r *Record) AddDelegation(d Delegation, prov string) { r.addObject(Delegations, d, prov) }

// AddLink appends an element to links. Relation and method are words of custody's own.
func (r *Record) AddLink(l Link) {
	b := make([]byte, 0, 96)
	b = append(b, `{"to":`...)
	b = strconv.AppendUint(b, l.To, 10)
	b = append(append(append(b, `,"relation":"`...), l.Relation...), `","method":"`...)
	b = append(append(b, l.Method...), '"')
	if len(l.Candidates) > 0 {
		b = append(b, `,"candidates":[`...)
		for i, c := range l.Candidates {
			if i > 0 {
				b = append(b, ',')
			}
			b = strconv.AppendUint(b, c, 10)
		}
		b = append(b, ']')
	}
	r.AddBytes(Links, append(b, '}'), "")
}

func (r *Record) addObject(f Field, v any, prov string) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err) // structs of strings and numbers always encode
	}
	r.Add(f, strings.TrimSuffix(b.String(), "\n"), prov)
}

// member appends the values of member sub of the canonical object obj.
func member(obj, sub string, dst []string) []string {
	var m map[string]json.RawMessage
	if json.Unmarshal([]byte(obj), &m) != nil {
		return dst
	}
	raw, ok := m[sub]
	if !ok {
		return dst
	}
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return append(dst, s)
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) == nil {
		for _, e := range list {
			if json.Unmarshal(e, &s) == nil {
				dst = append(dst, s)
			} else {
				dst = append(dst, string(e))
			}
		}
		return dst
	}
	return append(dst, string(raw))
}

// Parse reads the JSON of one record. Unknown members are errors, so that
// nothing is lost unseen; a canonical input re-encodes to the same bytes.
func Parse(b []byte) (*Record, error) {
	if !utf8.Valid(b) {
		return nil, fmt.Errorf("parse record: not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	r := &Record{Kind: KindRecord}
	var prov map[string]string
	if err := parseObject(dec, "", func(path string) error {
		return parseMember(dec, r, path, &prov)
	}); err != nil {
		return nil, fmt.Errorf("parse record: %w", err)
	}
	if dec.More() {
		return nil, fmt.Errorf("parse record: text behind the object")
	}
	if name := r.setProvenance(prov); name != "" {
		return nil, fmt.Errorf("parse record: provenance of unknown field %q", name)
	}
	return r, nil
}

// setProvenance gives the fields their pointers; it returns a name it does not know.
func (r *Record) setProvenance(prov map[string]string) (unknown string) {
	for name, p := range prov {
		f, ok := byName[name]
		switch {
		case !ok:
			unknown = name
		case f == Time:
			r.timeProv = p
		case f.IsList():
			for i := range r.lists {
				if r.lists[i].field == f {
					r.lists[i].prov = p
				}
			}
		case r.pos[f] != 0:
			r.vals[r.pos[f]-1].prov = p
		}
	}
	return unknown
}

// parseObject reads an object and calls at for each member with its dotted
// path; at reads the member's value, or an object is descended into.
func parseObject(dec *json.Decoder, prefix string, at func(path string) error) error {
	t, err := dec.Token()
	if err != nil {
		return err
	}
	if t != json.Delim('{') {
		return fmt.Errorf("%q: expected an object", strings.TrimSuffix(prefix, "."))
	}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return err
		}
		path := prefix + t.(string)
		if isGroup(path) {
			err = parseObject(dec, path+".", at)
		} else {
			err = at(path)
		}
		if err != nil {
			return err
		}
	}
	_, err = dec.Token()
	return err
}

// isGroup reports whether path is an object of fields, not a field.
func isGroup(path string) bool {
	if _, ok := byName[path]; ok {
		return false
	}
	for i := range fields {
		if n := fields[i].Name; len(n) > len(path) && n[:len(path)] == path && n[len(path)] == '.' {
			return true
		}
	}
	return false
}

func parseMember(dec *json.Decoder, r *Record, path string, prov *map[string]string) error {
	var err error
	switch path {
	case "seq":
		return dec.Decode(&r.Seq)
	case "provenance":
		return dec.Decode(prov)
	case "absence":
		return parsePairs(dec, r)
	}
	f, known := byName[path]
	if known && (fields[f].Kind == List || fields[f].Kind == Objects) {
		var list []json.RawMessage
		if err = dec.Decode(&list); err != nil {
			return err
		}
		for _, e := range list {
			v := string(e)
			if fields[f].Kind == List {
				if err = json.Unmarshal(e, &v); err != nil {
					return fmt.Errorf("%s: %w", path, err)
				}
			}
			r.Add(f, v, "")
		}
		return nil
	}
	if known && fields[f].Kind == Number {
		var n json.Number
		if err = dec.Decode(&n); err != nil {
			return err
		}
		r.Set(f, n.String(), "")
		return nil
	}
	var s string
	if err = dec.Decode(&s); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	ok := true
	switch path {
	case "id":
		r.ID, ok = ParseID(s)
	case "kind":
		r.Kind, ok = ParseKind(s)
	case "time":
		r.Time, ok = ParseTime(s)
	case "received":
		r.Received, ok = ParseTime(s)
	case "raw":
		r.Raw = []byte(s)
	case "raw_base64":
		r.Raw, err = base64.StdEncoding.DecodeString(s)
	default:
		if !known {
			return fmt.Errorf("unknown member %q", path)
		}
		r.Set(f, s, "")
	}
	if !ok {
		return fmt.Errorf("%s: bad value %q", path, s)
	}
	return err
}

// parsePairs reads the absence object in order.
func parsePairs(dec *json.Decoder, r *Record) error {
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return fmt.Errorf("absence: expected an object")
	}
	for dec.More() {
		k, err := dec.Token()
		if err != nil {
			return err
		}
		var v string
		if err := dec.Decode(&v); err != nil {
			return err
		}
		r.SetAbsent(k.(string), v)
	}
	_, err := dec.Token()
	return err
}
