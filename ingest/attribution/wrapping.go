package attribution

import (
	"bytes"
	"slices"
	"strings"

	"custody/ingest/record"
)

// wrapping is what the members of an object say about an event that stands in one of them.
type wrapping struct {
	inside [6]int32 // members that may hold the event
	count  int
	lists  [3]int32 // members that may hold several
	nlists int
	data   int32 // the member that may be base64
	coded  bool

	named                 bool // a program is named
	ready                 bool // around has been read
	host, app, proc, time int32
	sourcetype            bool
}

// What a member of an object can be to a wrapping.
const (
	holdsOne  uint8 = 1 << iota // an event
	holdsMany                   // events
	namesApp                    // the program that wrote the event
)

// role is what a member is by its name: collectors, queues and clouds put events in these.
func role(key []byte) uint8 {
	switch string(key) {
	case "message", "msg", "MESSAGE", "@message", "_raw", "detail", "Message", "body", "Body", "jsonPayload", "textPayload", "_source", "Data",
		"kinesis", "payload", "line", "original", "event.original", "stringValue", "short_message", "full_message", "raw", "raw_log", "rawLog", "text", "record", "AuditData", "auditData",
		"properties": // of Azure's diagnostic settings: the log of a cluster's API server
		return holdsOne
	case "data", "event", "result", "log":
		return holdsOne | holdsMany
	case "records", "Records", "logEvents", "events", "items", "value", "entries", "logs", "messages", "results":
		return holdsMany
	case "SYSLOG_IDENTIFIER", "ident", "program", "appname", "app_name", "app-name", "container_name", "containerName", "ProcessName", "programname", "process", "kubernetes":
		return namesApp
	}
	return 0
}

// read looks at the members of the object n once.
func (w *wrapping) read(t *tree, n int32) {
	for c := t.first(n); c != 0; c = t.next(c) {
		m := &t.nodes[c]
		if m.flags&isDuplicate != 0 || m.kind < kindString {
			continue
		}
		what := role(t.keyOf(c))
		switch {
		case what == 0:
		case what == namesApp:
			w.named = true
		case what&holdsMany != 0 && m.kind == kindArray && w.nlists < len(w.lists):
			w.lists[w.nlists] = c
			w.nlists++
		case what&holdsOne != 0 && m.kind != kindArray && w.count < len(w.inside):
			w.inside[w.count] = c
			w.count++
			if k := t.keyOf(c); len(k) == 4 && k[0]|0x20 == 'd' {
				w.data = c
			}
		}
	}
}

// around reads what the wrapper says beside the event, once.
func (w *wrapping) around(t *tree, n int32) {
	if w.ready || t.kindOf(n) != kindObject {
		return
	}
	w.ready = true
	for c := t.first(n); c != 0; c = t.next(c) {
		if m := &t.nodes[c]; m.flags&isDuplicate == 0 && m.kind > kindNull {
			w.context(t, c, t.keyOf(c))
		}
	}
}

// context remembers where the host, the program and the time of the wrapper stand.
func (w *wrapping) context(t *tree, c int32, key []byte) {
	scalar := t.kindOf(c) <= kindString
	switch string(key) {
	case "host", "hostname", "_HOSTNAME", "Hostname", "HOSTNAME", "Computer":
		if n := c; scalar {
			w.host = n
		} else if n := t.get(c, "name"); n != 0 {
			w.host = n
		} else if n := t.get(c, "hostname"); n != 0 {
			w.host = n
		}
	case "SYSLOG_IDENTIFIER", "ident", "program", "appname", "app_name", "app-name", "container_name", "containerName", "ProcessName", "programname":
		if scalar {
			w.app = c
		}
	case "_COMM":
		if w.app == 0 {
			w.app = c
		}
	case "process":
		if n := t.get(c, "name"); n != 0 && w.app == 0 {
			w.app = n
		}
	case "log":
		if n := t.find(c, "/syslog/appname"); n != 0 {
			w.app = n
		}
	case "kubernetes":
		if n := t.get(c, "container_name"); n != 0 && w.app == 0 {
			w.app = n
		}
		for _, k := range [...]string{"pod_name", "host", "node_name"} {
			if n := t.get(c, k); n != 0 && w.host == 0 {
				w.host = n
			}
		}
	case "_PID", "SYSLOG_PID", "pid", "procid", "ProcessID":
		if scalar {
			w.proc = c
		}
	case "sourcetype":
		w.sourcetype = true
	case "__REALTIME_TIMESTAMP", "_SOURCE_REALTIME_TIMESTAMP", "@timestamp", "timestamp", "time", "ts", "_time", "date", "publishTime", "Timestamp", "timeUnixNano", "observedTimeUnixNano", "approximateArrivalTimestamp":
		if scalar && (w.time == 0 || key[0] == '_') {
			w.time = c
		}
	}
}

// fill gives env what the wrapper says; it counts where the event itself is silent.
func (w *wrapping) fill(e *event, env *envelope, prefix string) {
	t := &e.doc
	at := func(n int32) string {
		return string(t.pointer([]byte(prefix), e.top, n))
	}
	w.around(t, e.top)
	take := func(to *[]byte, from *string, n int32) {
		if n == 0 {
			return
		}
		if v := e.value(n); len(v) > 0 && len(v) <= 255 {
			*to, *from = bytes.Clone(v), at(n)
		}
	}
	take(&env.host, &env.from.host, w.host)
	take(&env.app, &env.from.app, w.app)
	take(&env.proc, &env.from.proc, w.proc)
	if w.time != 0 {
		if ns, ok := parseTime(e.value(w.time), e.src.Zone); ok && absurd(ns, e.received) == "" {
			env.time, env.hasTime, env.from.time = ns, true, at(w.time)
		}
	}
}

// plausible reports whether the text may be an event of its own, cheaply: most
// messages are sentences.
func (w *wrapping) plausible(t *tree, n int32) bool {
	v := &t.nodes[n]
	if v.kind == kindObject {
		return v.count > 0 && (string(t.keyOf(n)) != "properties" || t.get(n, "log") != 0)
	}
	if v.kind != kindString {
		return false
	}
	b := t.src[v.val:v.end]
	if len(b) < 8 {
		return false
	}
	if n == w.data && len(b) >= 16 && len(b)%4 == 0 && bytes.IndexByte(b, ' ') < 0 && b[0] != '{' {
		w.coded = true
		return true
	}
	return w.named || b[0] == '<' || bytes.IndexByte(b, '{') >= 0 || bytes.IndexByte(b, '=') >= 0 ||
		bytes.IndexByte(b, '|') >= 0 // CEF and LEEF
}

// unwrap decodes the event inside the payload, if there is one: in the first
// pass one of a particular format; in the second (general) anything that says
// more than the wrapping, if that says nothing about who did what itself.
func (e *event) unwrap(next func() *record.Record) bool {
	misfit := e.misfit
	if e.wrapped(next, false) || e.wrapped(next, true) {
		return true
	}
	e.misfit = misfit
	return false
}

func (e *event) wrapped(next func() *record.Record, general bool) bool {
	if e.depth == maxLevels {
		return false
	}
	if !e.isJSON {
		return e.prefixed(next, general)
	}
	t := &e.doc
	var w wrapping
	switch t.kindOf(e.top) {
	case kindArray:
		return e.elements(e.top, next, general)
	case kindObject:
		w.read(t, e.top)
		for i := 0; i < w.count; {
			if w.plausible(t, w.inside[i]) {
				i++
				continue
			}
			copy(w.inside[i:], w.inside[i+1:w.count])
			w.count--
		}
		if w.count == 0 && w.nlists == 0 {
			return false
		}
		if w.around(t, e.top); general && e.tells(e.top, &w) {
			return false
		}
	case kindString: // an element of a list
		w.inside[0], w.count = e.top, 1
	default:
		return false
	}
	for _, n := range w.lists[:w.nlists] {
		if e.elements(n, next, general) {
			return true
		}
	}
	for _, n := range w.inside[:w.count] {
		if !e.enter(n, &w) {
			continue
		}
		done := e.entered(next, general)
		e.leave()
		if done {
			return true
		}
	}
	return false
}

// elements decodes the elements of a generic list, in the general pass only:
// what is around it says nothing about who did what.
func (e *event) elements(list int32, next func() *record.Record, general bool) bool {
	t := &e.doc
	c := t.first(list)
	if c == 0 || t.kindOf(c) != kindObject && (t.kindOf(c) != kindString || t.src[t.nodes[c].val] != '{' && t.src[t.nodes[c].val] != '\\') {
		return false
	}
	if !general || t.nodes[c].flags&isOpen != 0 {
		return false
	}
	e.each(nil, list, next)
	return true
}

// entered decodes the payload that was entered.
func (e *event) entered(next func() *record.Record, general bool) bool {
	f, m := e.choose()
	if m != nil || f != nil && (!f.general || general && e.pinned()) {
		e.emit(f, m, next)
		return true
	}
	if e.wrapped(next, general) {
		return true
	}
	if !general || e.pinned() {
		return false
	}
	e.misfit = ""
	switch f = e.fallback(); {
	case f == nil, f.name == "text":
		return false
	case f.name == "syslog" && !e.levels[e.depth-1].mark:
		return false
	case f.shape == shapeJSON && e.doc.nodes[root].count == 0:
		return false
	case f.shape == shapeJSON && e.doc.nodes[root].count == 1 && string(e.doc.keyOf(root+1)) == "stringValue":
		return false // a log record's body of words
	}
	e.emit(f, nil, next)
	return true
}

// tells reports whether the object n itself says who did what, so that it is no mere wrapping.
func (e *event) tells(n int32, w *wrapping) bool {
	t := &e.doc
	if e.root = n; e.loadTags() && e.tagPrefix("user.", "enduser.", "gen_ai.", "event.", "http.", "rpc.", "mcp.") {
		return true
	}
	for c := t.first(n); c != 0; c = t.next(c) {
		m := &t.nodes[c]
		if m.kind <= kindNull {
			continue
		}
		key := t.keyOf(c)
		if m.kind < kindArray {
			if e.g.tells.rules[string(key)] != nil && !w.holds(c) {
				return true
			}
			continue
		}
		if kids := e.g.tells.kids[string(key)]; kids != nil && m.kind == kindObject && !(w.sourcetype && w.holds(c)) && t.get(c, "ephemeral_id") == 0 {
			for k := t.first(c); k != 0; k = t.next(k) {
				if kids.rules[string(t.keyOf(k))] != nil && t.kindOf(k) > kindNull && t.kindOf(k) < kindArray {
					return true
				}
			}
		}
	}
	return false
}

func (w *wrapping) holds(n int32) bool {
	return slices.Contains(w.inside[:w.count], n)
}

// tellingNames are the obvious names of who did what.
func tellingNames() *names {
	top := &names{}
	for _, o := range obvious {
		switch o.field {
		case record.RequesterID, record.ExecutorID, record.ActionOperation, record.ActionTool, record.DecisionEffect:
			for n := range strings.FieldsSeq(o.names) {
				top.path(n, rule{field: o.field})
			}
		}
	}
	return top
}

// prefixed decodes the JSON that ends a line of text, or what a container's log
// (CRI: time, stream, P or F) holds.
func (e *event) prefixed(next func() *record.Record, general bool) bool {
	b := e.payload
	start, cri := criPrefix(b), true
	if start == 0 {
		cri = false
		i := bytes.IndexByte(b[:min(len(b), 512)], '{')
		if i < 0 {
			return false
		}
		if j := skipSpace(b, i+1); i == 0 || j >= len(b) || b[j] != '"' || b[len(bytes.TrimRight(b, " \t\r\n"))-1] != '}' {
			return false
		}
		start = i
		if general && bytes.IndexByte(b[:start], '=') >= 0 {
			return false // pairs with an object among them
		}
	}
	l := &e.levels[e.depth]
	l.start, l.end, l.coding, l.text, l.mark = start, len(b), 0, false, false
	path := len(e.path)
	env := e.env
	if cri {
		if ns, ok := parseRFC3339(b[:bytes.IndexByte(b, ' ')], nil); ok {
			env.time, env.hasTime, env.from.time = ns, true, string(e.path)+"header:TIMESTAMP"
		}
	}
	e.push(l, bytes.TrimRight(b[start:], " \t\r\n"), path)
	e.env = env
	done := false
	if cri || e.parseJSON() && e.doc.err == "" {
		done = e.entered(next, general)
	}
	e.leave()
	return done
}

// criPrefix is the size of "2026-11-23T14:02:07.114512Z stdout F ", 0 when there is none.
func criPrefix(b []byte) int {
	stamp, i, ok := word(b, 0)
	if !ok || len(stamp) < 20 || stamp[0]-'0' > 9 {
		return 0
	}
	stream, i, ok := word(b, i)
	if !ok || string(stream) != "stdout" && string(stream) != "stderr" {
		return 0
	}
	flag, i, ok := word(b, i)
	if !ok || string(flag) != "F" && string(flag) != "P" || i >= len(b) {
		return 0
	}
	if _, ok := parseRFC3339(stamp, nil); !ok {
		return 0
	}
	return i
}
