package attribution

import (
	"bytes"
	"strings"
	"time"

	"custody/ingest"
	"custody/ingest/record"
)

// auditd decodes the Linux audit trail as auditd writes it to its file, as its
// plugins hand it to syslog, and as the kernel rings it out where no daemon runs.
// An event is several records with one serial number, each a line: those that
// arrive together become one record of custody (see Worker.DecodeRun), the others
// meet by chain.request_id.
func auditd() format {
	return format{
		name: "auditd", product: "Linux Audit", issuer: "auditd",
		shape:  shapeText,
		match:  func(e *event) bool { _, ok := e.auditHead(e.payload, &e.env); return ok },
		decode: decodeAuditText,
		join:   joinAudit,
		guide:  auditdGuide,
	}
}

// auditdJSON takes what the trail's readers make of an event: Laurel, go-audit and
// Auditbeat, one object for an event.
func auditdJSON() format {
	return format{
		name: "auditd", product: "Linux Audit", issuer: "auditd",
		shape:  shapeJSON,
		keys:   []string{"ID", "sequence", "auditd"},
		match:  func(e *event) bool { return e.laurel() || e.goAudit() || e.auditbeat() },
		decode: decodeAuditJSON,
	}
}

// auditEvent is one event of the audit trail: the values of all its records.
type auditEvent struct {
	vals  []auditValue
	types []auditRecord
	// id is "seconds.millis:serial" as it stands in the line.
	id, stamp, node []byte
	// names are the accounts that the line itself tells by number (go-audit).
	names int32
	mem   []byte // decoded values
	fault string
	// idFrom and nodeFrom are where id and node stand in the line.
	idFrom, nodeFrom string
}

// auditRecord is one record of an event, by its type.
type auditRecord struct {
	name string
	prov string // of its values: "/SYSCALL", "/PATH/1"
}

// auditValue is one key and value of a record.
type auditValue struct {
	key   string
	val   []byte
	rec   int
	inner bool   // from what a program said (msg='…')
	prov  string // where not made of record and key
}

// maxAuditValues bounds the values that are read from one event.
const maxAuditValues = 4096

func (a *auditEvent) reset() {
	*a = auditEvent{vals: a.vals[:0], types: a.types[:0], mem: a.mem[:0], idFrom: "/msg", nodeFrom: "/node"}
}

// auditHead is what stands in front of the values of one record.
type auditHead struct {
	typ       string
	node      []byte
	id, stamp []byte
	body      []byte
}

// auditHead reads "node=web1 type=SYSCALL msg=audit(1700000000.123:456): …" and the
// forms that the kernel and the journal give it.
func (e *event) auditHead(b []byte, v *envelope) (h auditHead, ok bool) {
	const window = 320
	head := b[:min(len(b), window)]
	at := bytes.Index(head, []byte("audit("))
	if at < 0 {
		// The journal takes the records from the kernel and names the type alone.
		if string(v.app) != "audit" {
			return h, false
		}
		word, rest, _ := bytes.Cut(b, []byte(" "))
		h.typ, h.body = auditType(word), rest
		return h, h.typ != "" && bytes.IndexByte(rest, '=') > 0
	}
	before := bytes.TrimSuffix(head[:at], []byte("msg="))
	i := bytes.LastIndex(before, []byte("type="))
	if i < 0 {
		return h, false
	}
	if h.typ = auditType(bytes.TrimSpace(before[i+len("type="):])); h.typ == "" {
		return h, false
	}
	if n := bytes.Index(before[:i], []byte("node=")); n >= 0 {
		h.node, _, _ = bytes.Cut(before[n+len("node="):i], []byte(" "))
	}
	id := b[at+len("audit("):]
	end := bytes.IndexByte(id[:min(len(id), 80)], ')')
	if end < 0 {
		return h, false
	}
	h.body, id = id[end+1:], id[:end]
	colon := bytes.LastIndexByte(id, ':')
	if colon <= 0 || colon+1 == len(id) {
		return h, false
	}
	for _, c := range id[colon+1:] {
		if c-'0' > 9 {
			return h, false
		}
	}
	h.id, h.stamp = id, id[:colon]
	h.body = bytes.TrimLeft(h.body, " :")
	return h, true
}

const (
	maxJoinLines = 256
	maxJoinBytes = 256 << 10
)

// joinAudit reports how many of the lines, the first being the event's, are records
// of its event: those in a row with its host and serial number.
func joinAudit(e *event, lines []ingest.Line) int {
	first, ok := e.auditHead(e.payload, &e.env)
	if !ok || first.id == nil || bytes.IndexByte(e.payload, '\n') >= 0 || first.typ == "EOE" {
		return 1
	}
	size := len(lines[0].Raw)
	var v envelope
	n := 1
	for ; n < len(lines) && n < maxJoinLines; n++ {
		l := &lines[n]
		if size += len(l.Raw) + 1; size > maxJoinBytes || l.FullLength > 0 || l.Defect != "" || bytes.IndexByte(l.Raw, '\n') >= 0 {
			break
		}
		payload := e.header(&v, l.Raw)
		h, ok := e.auditHead(payload, &v)
		if !ok || !bytes.Equal(h.id, first.id) || !bytes.Equal(h.node, first.node) || !bytes.Equal(v.host, e.env.host) {
			break
		}
		if h.typ == "EOE" {
			return n + 1
		}
	}
	return n
}

func decodeAuditText(e *event) {
	a := &e.audit
	a.reset()
	rest := e.payload
	var v envelope
	env := &e.env
	for first := true; ; first = false {
		line, more, isMore := bytes.Cut(rest, []byte("\n"))
		if !first {
			line = e.header(&v, bytes.TrimSuffix(line, []byte("\r")))
			env = &v
		}
		h, ok := e.auditHead(line, env)
		switch {
		case ok && first:
			a.id, a.stamp, a.node = h.id, h.stamp, h.node
			fallthrough
		case ok && bytes.Equal(h.id, a.id) && bytes.Equal(h.node, a.node):
			a.text(a.open(h.typ), h.body, "")
		case len(bytes.TrimSpace(line)) > 0 && string(line) != "----":
			e.note("lines of another event")
		}
		if rest = more; !isMore {
			break
		}
	}
	e.auditEvent()
}

// open begins a record of the type. Several of one type are numbered in provenance,
// as Laurel's lists are.
func (a *auditEvent) open(typ string) int {
	prov := "/" + typ
	n := 0
	for i := range a.types {
		if a.types[i].name == typ {
			n++
		}
	}
	if typ == "PATH" || n > 0 {
		prov += "/" + decimal(n)
	}
	a.types = append(a.types, auditRecord{typ, prov})
	return len(a.types) - 1
}

// has reports whether the event has a record of the type.
func (a *auditEvent) has(typ string) bool { return a.record(typ) >= 0 }

// record is the number of the first record of the type, -1 when there is none.
func (a *auditEvent) record(typ string) int {
	for i := range a.types {
		if a.types[i].name == typ {
			return i
		}
	}
	return -1
}

// in finds the key in a record. The first stands: a program cannot override what
// the kernel put in front of its words.
func (a *auditEvent) in(rec int, key string) *auditValue {
	for i := range a.vals {
		if v := &a.vals[i]; v.rec == rec && v.key == key {
			return v
		}
	}
	return nil
}

// get finds the key in the records of the event, the telling ones first.
func (a *auditEvent) get(key string) *auditValue {
	for i := range a.vals {
		if v := &a.vals[i]; v.key == key && !secondary[a.types[v.rec].name] {
			return v
		}
	}
	return nil
}

// secondary are the records that describe an object and not who acted.
var secondary = map[string]bool{
	"PATH": true, "CWD": true, "EXECVE": true, "PROCTITLE": true, "SOCKADDR": true, "OBJ_PID": true, "EOE": true,
	"BPRM_FCAPS": true, "CAPSET": true, "MMAP": true, "FD_PAIR": true, "IPC": true, "SOCKETCALL": true, "OPENAT2": true,
}

// text is the value as text, nil for what the trail writes for nothing.
func (v *auditValue) text() []byte {
	if v == nil {
		return nil
	}
	switch string(v.val) {
	case "?", "(null)", "(none)", "unset", "-":
		return nil
	}
	return v.val
}

// from is the pointer to the value in the line.
func (a *auditEvent) from(v *auditValue) string {
	if v.prov != "" {
		return v.prov
	}
	return a.types[v.rec].prov + "/" + v.key
}

// auditSet fills f from a value and returns it.
func (e *event) auditSet(f record.Field, v *auditValue) []byte {
	b := v.text()
	if len(b) > 0 {
		e.r.SetBytes(f, clean(b), e.audit.from(v))
	}
	return b
}

// auditAttr adds the value as an attribute of the name.
func (e *event) auditAttr(name string, v *auditValue) {
	if b := v.text(); len(b) > 0 {
		e.lists = append(e.lists, element{record.Attributes, e.r.Keep(e.cat([]byte(name), []byte("="), clean(b))), e.audit.from(v)})
	}
}

// clean makes decoded bytes text: names of files may hold anything.
func clean(b []byte) []byte {
	b = bytes.ToValidUTF8(b, []byte("\ufffd"))
	if bytes.IndexByte(b, 0) >= 0 {
		b = bytes.ReplaceAll(b, []byte{0}, []byte(" "))
	}
	return b
}

// auditEvent fills the record from the collected values.
func (e *event) auditEvent() {
	a, r := &e.audit, e.r
	if len(a.types) == 0 {
		e.noDecide = true
		return
	}
	if a.fault != "" {
		e.note(a.fault)
	}
	e.noDecide = true
	if len(a.node) > 0 {
		r.SetBytes(record.SourceHost, clean(a.node), a.nodeFrom)
	}
	host := e.auditHost()
	if len(a.id) > 0 {
		e.auditTime(a.stamp)
		e.put(record.SourceOriginalID, a.id, a.idFrom)
		r.SetBytes(record.ChainRequestID, clean(e.cat([]byte("audit:"), host, []byte(":"), a.id)), a.idFrom)
	}
	if ses := a.get("ses"); ses != nil && len(ses.text()) > 0 && string(ses.val) != "4294967295" && string(ses.val) != "-1" {
		r.SetBytes(record.ChainSessionID, clean(e.cat([]byte("audit-ses:"), host, []byte(":"), ses.val)), a.from(ses))
	}
	r.Set(record.ActionService, "auditd", "")
	kind := a.primary()
	e.auditOutcome(kind)
	e.auditPrincipals(kind)
	e.auditAction(kind)
	for _, k := range [...]string{"pid", "ppid", "comm", "subj", "tty", "terminal", "key"} {
		e.auditAttr(k, a.get(k))
	}
	if c := a.record("CWD"); c >= 0 {
		e.auditAttr("cwd", a.in(c, "cwd"))
	}
}

// typeFrom is where the type of the event's first record of the kind stands.
func (a *auditEvent) typeFrom(kind string) string {
	if a.idFrom == "/msg" {
		return "/type"
	}
	prov := a.types[max(a.record(kind), 0)].prov
	if list, ok := strings.CutSuffix(prov, "/data"); ok {
		return list + "/type"
	}
	return prov
}

// auditHost names the host whose numbers these are: serials, sessions and accounts
// are each host's own.
func (e *event) auditHost() []byte {
	switch {
	case len(e.audit.node) > 0:
		return e.audit.node
	case e.r.Has(record.SourceHost):
		return []byte(e.r.Get(record.SourceHost))
	case e.in.Peer != "":
		return []byte(e.in.Peer)
	}
	return []byte(e.src.Name)
}

// auditTime reads seconds and milliseconds, or what ausearch -i makes of them.
func (e *event) auditTime(stamp []byte) {
	if ns, ok := parseUnix(stamp); ok {
		e.timeIs(ns, true, e.audit.idFrom)
		return
	}
	zone := e.src.Zone
	if zone == nil {
		zone = time.UTC
	}
	for _, layout := range [...]string{"01/02/2006 15:04:05.000", "01/02/06 15:04:05.000", "2006-01-02 15:04:05.000"} {
		if ns, ok := parseLayout(stamp, layout, zone); ok {
			e.timeIs(ns, true, e.audit.idFrom)
			return
		}
	}
	e.timeIs(0, false, e.audit.idFrom)
}

// companions are the records that only describe what the event's first is about.
var companions = map[string]bool{
	"SYSCALL": true, "PATH": true, "CWD": true, "EXECVE": true, "PROCTITLE": true, "SOCKADDR": true, "OBJ_PID": true, "EOE": true,
	"BPRM_FCAPS": true, "CAPSET": true, "MMAP": true, "FD_PAIR": true, "IPC": true, "IPC_SET_PERM": true, "SOCKETCALL": true, "OPENAT2": true,
	"MQ_OPEN": true, "MQ_SENDRECV": true, "MQ_NOTIFY": true, "MQ_GETSETATTR": true, "KERN_MODULE": true, "AVC_PATH": true, "URINGOP": true,
}

// primary is the type that says what the event is about.
func (a *auditEvent) primary() string {
	for i := range a.types {
		if !companions[a.types[i].name] {
			return a.types[i].name
		}
	}
	if a.has("SYSCALL") {
		return "SYSCALL"
	}
	return a.types[0].name
}
