package attribution

import (
	"bytes"
	"strings"

	"custody/ingest"
	"custody/ingest/record"
)

// event is the line being decoded, as formats see it.
type event struct {
	g        *Registry
	in       Input
	src      *ingest.Source
	r        *record.Record
	received int64

	env      envelope
	payload  []byte
	nul, ctl bool
	valid    bool // the line is UTF-8
	dirty    bool // something in the line is not, which may be what stands around the event

	doc    tree
	isJSON bool   // doc holds the payload
	root   int32  // the event's object in doc
	below  string // where in the event its own object stands, when a format looks further in
	top    int32  // the value that formats are asked about: doc's root, or one element of a list
	inList bool   // the record is one element of a list
	// around are the objects that an element of nested lists stands in, outermost first.
	around   []int32
	aroundAt [2]int // where their own provenance ends in path
	unwrapped

	tags      []otelTag // attributes of OpenTelemetry
	tagText   []byte
	tagsOf    int32 // the node that tags are of, at the depth tagsDepth
	tagsDepth int
	isOTel    bool

	pairs  []pair
	paired bool // pairs hold the payload
	isPair bool // and the payload is made of them
	bare   int  // words beside the pairs
	seen   map[string]int
	// pairFault is what is wrong with the pairs.
	pairFault string
	// leadTime is a timestamp in front of the pairs.
	leadTime []byte

	lines []ingest.Line // that the batch goes on with, the event's own first
	audit auditEvent    // of auditd

	format  *format
	mapping *mapping
	misfit  string // why what was pinned does not take the line

	when     int64 // the payload's own time
	whenProv string
	reqProof proof
	noDecide bool // the format has no place for decisions
	noPolVer bool // the format has no place for policy versions
	claimed  bool // the executor is only who somebody tried to be
	bad      bool // the record is malformed
	buf      []byte
	lists    []element
	handed   []record.Delegation
	// handedProv is where the first delegation stands; one line has one place for them.
	handedProv string
	rank       [record.NumFields]uint8
	timeRank   uint8
	timeVal    []byte
}

// proof is how a source itself knows a principal.
type proof uint8

const (
	fromBody  proof = iota // a body said so; the source may be authoritative for it
	fromParam              // a header or parameter that anyone along the way can set
	fromLogin              // the source authenticated it
)

// begin starts a record for the line or for one element of it.
func (e *event) begin(r *record.Record, raw []byte) {
	e.r, e.root, e.inList, e.below = r, e.top, e.top != root, ""
	e.when, e.whenProv, e.reqProof, e.noDecide, e.noPolVer = 0, "", fromBody, false, false
	e.claimed, e.bad = false, false
	e.buf, e.lists, e.handed, e.handedProv = e.buf[:0], e.lists[:0], e.handed[:0], ""
	r.Kind, r.Received, r.Raw = record.KindRecord, e.received, raw
	r.Set(record.SourceName, e.src.Name, "")
	r.Set(record.SourceTransport, e.src.Transport, "")
	r.Set(record.SourcePeer, e.in.Peer, "")
	r.Set(record.ContextTenant, e.src.Tenant, "")
	if e.in.File != "" {
		r.Set(record.SourceFile, strings.ToValidUTF8(e.in.File, "\ufffd"), "")
		if e.in.Line.Offset >= 0 {
			r.Set(record.SourceOffset, decimal(int(e.in.Line.Offset)), "")
		}
	}
	v := &e.env
	if v.found && v.pri >= 0 {
		r.Set(record.SourceSeverity, severities[v.pri&7], "header:PRI")
		r.Set(record.SourceFacility, facilities[v.pri>>3], "header:PRI")
	}
	e.put(record.SourceHost, v.host, "header:HOSTNAME")
	e.put(record.SourceApp, v.app, "header:APP-NAME")
	e.put(record.SourceProcess, v.proc, "header:PROCID")
	if v.demo != "" {
		r.Set(record.SourceDemo, "true", v.demo)
	}
	if e.head > 0 && len(raw) >= e.head && &raw[0] == &e.in.Line.Raw[0] {
		r.Set(record.MessageOffset, decimal(e.head), "")
	}
	if e.partEnd >= 0 && e.several {
		e.parts++
		e.add(record.Attributes, []byte("part="+decimal(e.parts)), "")
	}
}

// put sets the scalar f to a copy of b, made valid UTF-8.
func (e *event) put(f record.Field, b []byte, prov string) {
	if len(b) == 0 {
		return
	}
	if e.dirty || !e.valid {
		b = bytes.ToValidUTF8(b, []byte("\ufffd"))
	}
	e.r.SetBytes(f, b, prov)
}

// add appends a copy of b to the list f.
func (e *event) add(f record.Field, b []byte, prov string) {
	if len(b) == 0 {
		return
	}
	if e.dirty || !e.valid {
		b = bytes.ToValidUTF8(b, []byte("\ufffd"))
	}
	e.lists = append(e.lists, element{f, e.r.Keep(b), prov})
}

// element is one element of a list. Lists reach the record at the end, in the
// order of its JSON, so that the same elements always give the same bytes.
type element struct {
	field record.Field
	text  string
	prov  string
}

// listOrder is how the record's JSON orders the lists that formats fill.
var listOrder = [...]record.Field{record.AuthorityScopes, record.AuthorityRoles, record.ContextRegimes, record.Attributes}

// delegate appends an element to delegation: who handed what to the next.
func (e *event) delegate(d record.Delegation, prov string) {
	e.handed = append(e.handed, d)
	if e.handedProv == "" {
		e.handedProv = prov
	}
}

// flush hands the lists to the record.
func (e *event) flush() {
	for i := range e.handed {
		e.r.AddDelegation(e.handed[i], e.handedProv)
	}
	if len(e.lists) == 0 {
		return
	}
	for _, f := range listOrder {
		for i := range e.lists {
			if l := &e.lists[i]; l.field == f && !e.marked(l) {
				e.r.Add(f, l.text, l.prov)
			}
		}
	}
}

// marked gives the marks that formats write as attributes their own fields.
func (e *event) marked(l *element) bool {
	if l.field != record.Attributes {
		return false
	}
	if to, ok := strings.CutPrefix(l.text, "handoff="); ok {
		e.r.Set(record.ChainHandoff, to, l.prov)
		return true
	}
	if state, ok := strings.CutPrefix(l.text, "approval="); ok {
		e.r.Set(record.ApprovalStatus, state, l.prov)
		return true
	}
	return false
}

// listed is the elements of the list f so far.
func (e *event) listed(f record.Field) (out []string) {
	for i := range e.lists {
		if e.lists[i].field == f {
			out = append(out, e.lists[i].text)
		}
	}
	return out
}

// text is a copy of b that lives as long as the record, made valid UTF-8.
func (e *event) text(b []byte) string {
	if e.dirty || !e.valid {
		b = bytes.ToValidUTF8(b, []byte("\ufffd"))
	}
	return e.r.Keep(b)
}

// find is the node that the JSON Pointer leads to, 0 when there is none.
func (e *event) find(pointer string) int32 { return e.doc.find(e.root, pointer) }

// value is the text of a node that is a string, number or boolean, valid until the next record.
func (e *event) value(n int32) []byte {
	if n == 0 {
		return nil
	}
	var v []byte
	v, e.buf = e.doc.scalar(n, e.buf)
	return v
}

// str is the text at a JSON Pointer, or of a key of key=value pairs ("/key");
// nil when it is missing, null, empty, or no scalar.
func (e *event) str(pointer string) []byte {
	if e.isPair {
		return e.pair(pointer[1:])
	}
	return e.value(e.find(pointer))
}

// set fills f from the first pointer that has a value, and returns the value.
func (e *event) set(f record.Field, pointers ...string) []byte {
	for _, p := range pointers {
		if v := e.str(p); len(v) > 0 {
			e.put(f, v, p)
			return v
		}
	}
	return nil
}

// list appends the elements of the array (or the one string) at pointer to f.
func (e *event) list(f record.Field, pointer string) {
	n := e.find(pointer)
	if n == 0 {
		return
	}
	if e.doc.kindOf(n) != kindArray {
		e.add(f, e.value(n), pointer)
		return
	}
	for c := e.doc.first(n); c != 0; c = e.doc.next(c) {
		e.add(f, e.value(c), pointer)
	}
}

// isTrue reports whether the value at pointer is true.
func (e *event) isTrue(pointer string) bool { return string(e.str(pointer)) == "true" }

// has reports whether there is anything but null at pointer.
func (e *event) has(pointer string) bool {
	n := e.find(pointer)
	return n != 0 && e.doc.kindOf(n) != kindNull
}

// cat joins the parts in memory that is valid until the next record.
func (e *event) cat(parts ...[]byte) []byte {
	at := len(e.buf)
	for _, p := range parts {
		e.buf = append(e.buf, p...)
	}
	return e.buf[at:len(e.buf):len(e.buf)]
}

// time takes the event's time from the first pointer that has a value.
func (e *event) time(pointers ...string) {
	for _, p := range pointers {
		if v := e.str(p); len(v) > 0 {
			e.timeFrom(v, p)
			return
		}
	}
}

// timeFrom takes the event's time from v. One that cannot be read or believed makes the
// record malformed, and its arrival stands for it.
func (e *event) timeFrom(v []byte, prov string) {
	ns, ok := parseTime(v, e.src.Zone)
	e.timeIs(ns, ok, prov)
}

func (e *event) timeIs(ns int64, ok bool, prov string) {
	why := "time cannot be read"
	if ok {
		why = absurd(ns, e.received)
	}
	e.whenProv = prov
	if why != "" {
		e.fail(why)
		e.when = e.received
		e.whenProv = "!"
		return
	}
	e.when = ns
}

// instant sets f, a field of kind Instant, from the first pointer that has a readable time.
func (e *event) instant(f record.Field, pointers ...string) (ns int64) {
	for _, p := range pointers {
		if v := e.str(p); len(v) > 0 {
			if ns, ok := parseTime(v, e.src.Zone); ok {
				e.r.Set(f, instant(ns), p)
				return ns
			}
		}
	}
	return 0
}

// number sets f, a field of kind Number, from a decimal integer without sign.
func (e *event) number(f record.Field, v []byte, prov string) (n int64, ok bool) {
	if len(v) == 0 || len(v) > 18 {
		return 0, false
	}
	for _, c := range v {
		if c-'0' > 9 {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	e.r.Set(f, decimal(int(n)), prov)
	return n, true
}

// fail makes the record malformed and says why.
func (e *event) fail(why string) {
	e.bad = true
	e.r.AddFinding(record.Malformed)
	e.note(why)
}

// note adds to source.error.
func (e *event) note(why string) {
	if was := e.r.Get(record.SourceError); was != "" {
		if strings.Contains(was, why) {
			return
		}
		why = was + "; " + why
	}
	e.r.Set(record.SourceError, why, "")
}

func (e *event) product(given, own string) {
	switch {
	case e.src.Product != "":
		given = e.src.Product
	case given == "":
		given = own
	}
	e.r.Set(record.SourceProduct, given, "")
}

// pinned reports whether the configuration says what the lines are.
func (e *event) pinned() bool { return e.src.Format != "" || e.src.Mapping != "" }

// requester names the initiating principal.
func (e *event) requester(typ string, id []byte, prov string, how proof) {
	if len(id) == 0 {
		return
	}
	e.put(record.RequesterID, id, prov)
	e.r.Set(record.RequesterType, typ, "")
	e.reqProof = how
}

// executor names the principal that acted.
func (e *event) executor(typ string, id []byte, prov string) {
	if len(id) == 0 {
		return
	}
	e.put(record.ExecutorID, id, prov)
	e.r.Set(record.ExecutorType, typ, "")
}
