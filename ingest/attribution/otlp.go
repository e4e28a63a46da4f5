package attribution

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"strings"

	"custody/ingest/record"
)

// otlpLists are where OTLP-JSON keeps spans and log records; older writers said
// instrumentationLibrarySpans, some write the names of the protocol's own fields.
var otlpLists = [][3]string{
	{"resourceSpans", "scopeSpans", "spans"},
	{"resourceLogs", "scopeLogs", "logRecords"},
	{"resourceSpans", "instrumentationLibrarySpans", "spans"},
	{"resourceLogs", "instrumentationLibraryLogs", "logRecords"},
	{"resource_spans", "scope_spans", "spans"},
	{"resource_logs", "scope_logs", "log_records"},
}

// otlp decodes OpenTelemetry's OTLP-JSON, spans and log records, and the same
// flattened to one a line, as exporters and stores write them. What tells of
// agents goes to agent_otel and otel_genai, and what a log record carries in its
// body is unwrapped; this is the rest.
func otlp() format {
	return format{
		name: "otlp", product: "OpenTelemetry", issuer: "otlp",
		shape:   shapeJSON,
		general: true, // a log record's body may be an event of another format
		nested:  otlpLists,
		match: func(e *event) bool {
			return e.otlpBatch() || e.loadTags() && (len(e.around) > 0 || e.pinned() || e.otlpShaped())
		},
		decode: func(e *event) {
			e.noDecide = true
			if !e.loadTags() {
				return // metrics only
			}
			e.otlpCommon()
			if !e.r.Has(record.ActionOperation) {
				return // a message that tells of no action
			}
			e.otlpOutcome(false)
			e.otlpService()
			e.otlpUser()
			e.otlpSession()
		},
		guide: otlpGuide,
	}
}

// otlpBatch reports whether the document is a message of OTLP.
func (e *event) otlpBatch() bool {
	if e.top != root {
		return false
	}
	for _, k := range [...]string{"resourceSpans", "resourceLogs", "resourceMetrics", "resource_spans", "resource_logs"} {
		if n := e.doc.get(root, k); n != 0 && e.doc.kindOf(n) == kindArray {
			return true
		}
	}
	return false
}

// otlpShaped reports whether the object has attributes of its own and members
// that only OpenTelemetry's data model has.
func (e *event) otlpShaped() bool {
	own := false
	for i := range e.tags {
		own = own || e.tags[i].level == ownTag && e.tags[i].where > 0
	}
	if !own {
		return false
	}
	for _, k := range [...]string{"startTimeUnixNano", "timeUnixNano", "observedTimeUnixNano", "hrTime", "severityNumber", "severity_number", "spanContext", "ResourceAttributes", "SpanAttributes", "LogAttributes", "instrumentationScope", "droppedAttributesCount", "parentSpanId", "parent_span_id"} {
		if e.doc.get(e.root, k) != 0 {
			return true
		}
	}
	return e.find("/context/span_id") != 0
}

// flatNames are attributes of agents that stand among the members of flattened events.
var flatNames = [...]string{
	"gen_ai.operation.name", "gen_ai.agent.id", "gen_ai.agent.name", "gen_ai.tool.name", "gen_ai.system", "gen_ai.provider.name",
	"attributes.gen_ai.operation.name", "attributes.gen_ai.system", "traceloop.span.kind", "openinference.span.kind", "event.name",
}

// mayBeOTel is the cheap question before the attributes are read.
func (e *event) mayBeOTel() bool {
	if len(e.around) > 0 {
		return true
	}
	t, o := &e.doc, e.root
	for _, p := range tagPlaces[1:8] {
		if t.get(o, p.pointer[1:]) != 0 {
			return true
		}
	}
	for _, k := range flatNames {
		if t.get(o, k) != 0 {
			return true
		}
	}
	return false
}

// otelTag is one attribute of a span, a log record, their scope or their resource.
type otelTag struct {
	key   []byte
	val   int32 // a scalar or an array, 0 for none
	level tagLevel
	index int32 // in the list of attributes; -1 in an object
	where uint8 // in tagPlaces
	typed uint8 // in tagTypes, 0 for none
}

type tagLevel uint8

const (
	ownTag tagLevel = iota
	scopeTag
	resourceTag
)

// maxTags bounds the attributes that are read of one event.
const maxTags = 512

// tagPlaces are where attributes stand, by writer.
var tagPlaces = [...]struct {
	level   tagLevel
	pointer string
}{
	{ownTag, ""}, // as members of the event itself
	{ownTag, "/attributes"},
	{ownTag, "/Attributes"},
	{ownTag, "/SpanAttributes"},
	{ownTag, "/LogAttributes"},
	{ownTag, "/span_attributes"},
	{ownTag, "/log_attributes"},
	{ownTag, "/tags"},
	{scopeTag, "/scope/attributes"},
	{resourceTag, "/resource/attributes"},
	{resourceTag, "/resource/_rawAttributes"},
	{resourceTag, "/ResourceAttributes"},
	{resourceTag, "/resource_attributes"},
	{resourceTag, "/resources"},
	{resourceTag, "/process/tags"},
}

// tagTypes are the members that hold a value by its type.
var tagTypes = [...]string{"", "stringValue", "intValue", "boolValue", "doubleValue", "bytesValue", "arrayValue", "string_value", "int_value", "bool_value"}

// loadTags reads the attributes of the event and reports whether it is a span or
// a log record of OpenTelemetry.
func (e *event) loadTags() bool {
	if e.tagsOf == e.root && e.tagsDepth == e.depth {
		return e.isOTel
	}
	e.tagsOf, e.tagsDepth, e.isOTel, e.tags, e.tagText = e.root, e.depth, false, e.tags[:0], e.tagText[:0]
	t, o := &e.doc, e.root
	if t.kindOf(o) != kindObject {
		return false
	}
	if !e.mayBeOTel() {
		return false
	}
	ids := 0
	for _, k := range [...]string{"traceId", "trace_id", "TraceId", "traceID", "spanId", "span_id", "SpanId", "startTimeUnixNano", "timeUnixNano", "observedTimeUnixNano", "hrTime", "severityNumber", "severity_number", "SeverityNumber", "context", "spanContext", "eventName", "trace.id"} {
		if t.get(o, k) != 0 {
			ids++
		}
	}
	found := false
	if ids > 0 || len(e.around) > 0 {
		for i := 1; i < len(tagPlaces); i++ {
			p := &tagPlaces[i]
			n := int32(0)
			switch {
			case p.level == ownTag || len(e.around) == 0:
				n = t.find(o, p.pointer)
			case p.level == scopeTag:
				n = t.find(e.around[1], p.pointer)
			default:
				n = t.find(e.around[0], p.pointer)
			}
			if n != 0 {
				found = found || p.level == ownTag
				e.tagsIn(n, uint8(i))
			}
		}
	}
	// Flattened: names with dots among the members.
	if ids > 0 || !found {
		for c := t.first(o); c != 0 && len(e.tags) < maxTags; c = t.next(c) {
			key := t.keyOf(c)
			if bytes.IndexByte(key, '.') > 0 && t.kindOf(c) > kindNull && t.nodes[c].flags&isDuplicate == 0 {
				found = true
				key = bytes.TrimPrefix(bytes.TrimPrefix(key, []byte("attributes.")), []byte("span.attributes."))
				e.tags = append(e.tags, otelTag{key: key, val: c, index: -1})
			}
		}
	}
	e.isOTel = len(e.around) > 0 || found
	return e.isOTel
}

// tagsIn reads the attributes of one place: OTLP's list of key and value, a list
// of pairs, or an object, flat or nested.
func (e *event) tagsIn(n int32, where uint8) {
	t := &e.doc
	level := tagPlaces[where].level
	if t.kindOf(n) == kindArray {
		i := int32(0)
		for c := t.first(n); c != 0 && len(e.tags) < maxTags; c, i = t.next(c), i+1 {
			key, val := t.get(c, "key"), t.get(c, "value")
			if t.kindOf(c) == kindArray && t.nodes[c].count == 2 {
				key = t.first(c)
				val = t.next(key)
			}
			if key == 0 || val == 0 || t.kindOf(key) != kindString {
				continue
			}
			k := e.value(key)
			if t.nodes[key].flags&valEscaped != 0 {
				k = e.ownText(k)
			}
			val, typed := e.typedValue(val)
			e.tags = append(e.tags, otelTag{k, val, level, i, where, typed})
		}
		return
	}
	if t.kindOf(n) != kindObject {
		return
	}
	// Nested objects are joined with dots; four levels are enough for all names.
	type frame struct {
		node   int32
		prefix []byte
	}
	stack := [5]frame{{t.first(n), nil}}
	for d := 0; d >= 0 && len(e.tags) < maxTags; {
		c := stack[d].node
		if c == 0 {
			d--
			continue
		}
		stack[d].node = t.next(c)
		if t.nodes[c].flags&isDuplicate != 0 {
			continue
		}
		key := t.keyOf(c)
		if stack[d].prefix != nil {
			at := len(e.tagText)
			e.tagText = append(append(append(e.tagText, stack[d].prefix...), '.'), key...)
			key = e.tagText[at:len(e.tagText):len(e.tagText)]
		}
		val, typed := e.typedValue(c)
		if typed == 0 && t.kindOf(val) == kindObject && d+1 < len(stack) {
			d++
			stack[d] = frame{t.first(val), key}
			continue
		}
		e.tags = append(e.tags, otelTag{key, val, level, -1, where, typed})
	}
}

// ownText keeps a text until the next event.
func (e *event) ownText(b []byte) []byte {
	at := len(e.tagText)
	e.tagText = append(e.tagText, b...)
	return e.tagText[at:len(e.tagText):len(e.tagText)]
}

// typedValue looks through {"stringValue":"x"}.
func (e *event) typedValue(n int32) (val int32, typed uint8) {
	t := &e.doc
	if t.kindOf(n) != kindObject || t.nodes[n].count != 1 {
		return n, 0
	}
	c := t.first(n)
	for i, k := range tagTypes {
		if k != "" && string(t.keyOf(c)) == k {
			if i == 6 {
				if v := t.get(c, "values"); v != 0 {
					return v, uint8(i)
				}
			}
			return c, uint8(i)
		}
	}
	return n, 0
}

// tagged is the attribute with the first of the names that has a value, the
// event's own before its scope's and its resource's. An attribute that stands
// twice with two values says nothing.
func (e *event) tagged(names ...string) said {
	for _, name := range names {
		if i := e.tagAt(name); i >= 0 {
			if v := e.value(e.tags[i].val); len(v) > 0 {
				return said{v, e.tagProv(&e.tags[i])}
			}
		}
	}
	return said{}
}

func (e *event) tagAt(name string) int {
	for i := range e.tags {
		g := &e.tags[i]
		if len(g.key) != len(name) || string(g.key) != name || g.val == 0 {
			continue
		}
		for j := i + 1; j < len(e.tags); j++ {
			if o := &e.tags[j]; o.level == g.level && len(o.key) == len(name) && string(o.key) == name && !bytes.Equal(e.value(o.val), e.value(g.val)) {
				e.fail("attribute " + name + " stands twice")
				return -1
			}
		}
		return i
	}
	return -1
}

func (e *event) hasTag(names ...string) bool {
	for _, n := range names {
		for i := range e.tags {
			if string(e.tags[i].key) == n {
				return true
			}
		}
	}
	return false
}

// tagPrefix reports whether an attribute of the event itself begins with one of the prefixes.
func (e *event) tagPrefix(prefixes ...string) bool {
	for i := range e.tags {
		if e.tags[i].level != ownTag {
			continue
		}
		for _, p := range prefixes {
			if len(e.tags[i].key) > len(p) && string(e.tags[i].key[:len(p)]) == p {
				return true
			}
		}
	}
	return false
}

// tagProv is where an attribute's value stands.
func (e *event) tagProv(g *otelTag) string {
	p := tagPlaces[g.where].pointer
	if g.where == 0 { // the name as it stands, which may have a prefix that key has not
		return string(appendSegment([]byte("/"), e.doc.keyOf(g.val)))
	}
	if g.level != ownTag && len(e.around) > 0 {
		p = "^" + string(e.path[e.base:e.aroundAt[2-int(g.level)]]) + p
	}
	switch {
	case g.index < 0 && g.typed == 0:
		return string(e.doc.pointer([]byte(p), e.tagHome(g), g.val))
	case g.index < 0:
		return string(appendSegment([]byte(p+"/"), g.key)) + "/" + tagTypes[g.typed]
	case g.typed == 0:
		return p + "/" + decimal(int(g.index)) + "/1"
	}
	p += "/" + decimal(int(g.index)) + "/value/" + tagTypes[g.typed]
	if g.typed == 6 {
		p += "/values"
	}
	return p
}

// tagHome is the object that holds the attributes of g's place.
func (e *event) tagHome(g *otelTag) int32 {
	from := e.root
	if g.level != ownTag && len(e.around) > 0 {
		from = e.around[2-int(g.level)]
	}
	return e.doc.find(from, tagPlaces[g.where].pointer)
}

// setTag fills f from the first attribute that has a value.
func (e *event) setTag(f record.Field, names ...string) []byte {
	s := e.tagged(names...)
	e.tell(f, s)
	return s.v
}

// listTag appends the elements of an attribute that is a list, or the words of one that is a text.
func (e *event) listTag(f record.Field, name string) {
	i := e.tagAt(name)
	if i < 0 {
		return
	}
	g := &e.tags[i]
	prov := e.tagProv(g)
	t := &e.doc
	if t.kindOf(g.val) != kindArray {
		for _, w := range bytes.FieldsFunc(e.value(g.val), func(c rune) bool { return c == ' ' || c == ',' }) {
			e.add(f, w, prov)
		}
		return
	}
	for c := t.first(g.val); c != 0; c = t.next(c) {
		v, _ := e.typedValue(c)
		e.add(f, e.value(v), prov)
	}
}

// hexID is an identifier of size bytes in lower-case hexadecimal: writers give it
// so, with 0x, or in base64. All zeros mean none.
func hexID(v []byte, size int) []byte {
	v = bytes.TrimPrefix(v, []byte("0x"))
	out := make([]byte, 0, 2*size)
	if len(v) == 2*size {
		if _, err := hex.Decode(make([]byte, size), v); err == nil {
			out = append(out, bytes.ToLower(v)...)
		}
	} else if len(v) == base64.StdEncoding.EncodedLen(size) {
		raw := make([]byte, base64.StdEncoding.DecodedLen(len(v)))
		if n, err := base64.StdEncoding.Decode(raw, v); err == nil && n == size {
			out = hex.AppendEncode(out, raw[:n])
		}
	}
	if len(bytes.Trim(out, "0")) == 0 {
		return nil
	}
	return out
}

func (e *event) otlpID(f record.Field, size int, pointers ...string) {
	for _, p := range pointers {
		if id := hexID(e.str(p), size); id != nil {
			e.put(f, id, p)
			return
		}
	}
}

// otlpCommon reads what spans and log records have in common: time, identifiers,
// the emitting service and the name.
func (e *event) otlpCommon() {
	r := e.r
	e.claimed = true // nobody proved what a program says of itself
	e.otlpTime()
	e.otlpID(record.ChainTraceID, 16, "/traceId", "/trace_id", "/TraceId", "/traceID", "/context/trace_id", "/context/traceId", "/spanContext/traceId", "/trace.id", "/trace~1id")
	e.otlpID(record.ChainSpanID, 8, "/spanId", "/span_id", "/SpanId", "/spanID", "/context/span_id", "/context/spanId", "/spanContext/spanId", "/span.id", "/id")
	e.otlpID(record.ChainParentID, 8, "/parentSpanId", "/parent_span_id", "/ParentSpanId", "/parent_id", "/parentId", "/parentSpanContext/spanId", "/parent/span_id", "/parent.id")
	if !r.Has(record.SourceApp) {
		e.setTag(record.SourceApp, "service.name")
	}
	if !r.Has(record.SourceHost) {
		e.setTag(record.SourceHost, "host.name")
	}
	if !r.Has(record.SourceSeverity) {
		if s := e.says("/severityText", "/severity_text", "/SeverityText"); s.has() {
			e.put(record.SourceSeverity, lower(s.v), s.prov)
		}
	}
	if e.otlpSpan() {
		e.tell(record.ActionOperation, e.says("/name", "/SpanName", "/span_name", "/spanName", "/operationName"))
		e.put(record.SourceOriginalID, []byte(r.Get(record.ChainSpanID)), r.Prov(record.ChainSpanID))
	} else {
		e.tell(record.ActionOperation, e.says("/eventName", "/event_name", "/EventName").or(e.tagged("event.name")))
		e.setTag(record.SourceOriginalID, "log.record.uid")
	}
	if !r.Has(record.EffectChanged) {
		r.Set(record.EffectChanged, record.Unknown, "")
	}
}

// otlpSpan reports whether the event is a span; a log record has no name and no end.
func (e *event) otlpSpan() bool {
	t, o := &e.doc, e.root
	for _, k := range [...]string{"startTimeUnixNano", "start_time_unix_nano", "startTime", "start_time", "SpanName", "span_name", "spanName", "duration", "Duration", "operationName", "parentSpanId"} {
		if t.get(o, k) != 0 {
			return true
		}
	}
	return t.get(o, "name") != 0 && t.get(o, "body") == 0
}

func (e *event) otlpTime() {
	for _, p := range [...]string{
		"/startTimeUnixNano", "/start_time_unix_nano", "/timeUnixNano", "/time_unix_nano", "/startTime", "/start_time", "/hrTime", "/_hrTime", "/time", "/timestamp", "/Timestamp", "/@timestamp",
		"/observedTimeUnixNano", "/observed_time_unix_nano", "/hrTimeObserved", "/observed_timestamp",
	} {
		n := e.find(p)
		if n == 0 {
			continue
		}
		if e.doc.kindOf(n) == kindArray && e.doc.nodes[n].count == 2 { // seconds and nanoseconds
			c := e.doc.first(n)
			s, ok1 := parseUnix(e.value(c))
			ns, ok2 := digits(e.value(e.doc.next(c)))
			if ok1 && ok2 && ns < int(second) && len(e.value(c)) == 10 {
				e.timeIs(s+int64(ns), true, p)
				return
			}
			continue
		}
		if v := e.value(n); len(v) > 0 && string(v) != "0" {
			e.timeFrom(v, p)
			return
		}
	}
	if s := e.tagged("event.timestamp"); s.has() {
		e.timeFrom(s.v, s.prov)
	}
}

// otlpStatus is what the span's status says: "error", "ok" or "".
func (e *event) otlpStatus() (said, string) {
	s := e.says("/status/code", "/status/status_code", "/StatusCode", "/status_code", "/status.code", "/statusCode")
	if !s.has() {
		if s = e.says("/status"); !s.has() {
			s = e.tagged("otel.status_code")
		}
	}
	switch word := strings.ToLower(string(s.v)); {
	case strings.HasSuffix(word, "error"), word == "2":
		return s, "error"
	case strings.HasSuffix(word, "ok"), word == "1":
		return s, "ok"
	}
	return s, ""
}

// otlpOutcome reads status, error.type and HTTP's status. ended says that by the
// conventions of the span one without an error succeeded.
func (e *event) otlpOutcome(ended bool) {
	r := e.r
	status, word := e.otlpStatus()
	e.tell(record.OutcomeDetail, e.says("/status/message", "/status/description", "/StatusMessage", "/status_message").or(e.tagged("error.message", "exception.message", "otel.status_description")))
	code := e.tagged("error.type", "http.response.status_code", "http.status_code", "rpc.response.status_code", "exception.type", "rpc.grpc.status_code")
	e.tell(record.OutcomeCode, code)
	http := e.tagged("http.response.status_code", "http.status_code")
	refusal := refused(code.v) || refused([]byte(r.Get(record.OutcomeDetail))) || outcome(code.v) == record.Denied || outcome(http.v) == record.Denied
	switch {
	case word == "error" && refusal:
		r.Set(record.OutcomeStatus, record.Denied, status.prov)
	case word == "error":
		r.Set(record.OutcomeStatus, record.Failure, status.prov)
	case e.tagged("error.type").has():
		r.Set(record.OutcomeStatus, record.Failure, code.prov)
		if refusal {
			r.Set(record.OutcomeStatus, record.Denied, code.prov)
		}
	case http.has():
		r.Set(record.OutcomeStatus, outcome(http.v), http.prov)
	case word == "ok", ended && e.otlpSpan():
		r.Set(record.OutcomeStatus, record.Success, status.prov)
	default:
		r.Set(record.OutcomeStatus, record.Unknown, "")
	}
}

// otlpService names the emitting service where nothing else tells who acted.
func (e *event) otlpService() {
	r := e.r
	if r.Has(record.ExecutorID) {
		return
	}
	if s := e.tagged("service.name"); s.has() && !strings.HasPrefix(string(s.v), "unknown_service") {
		e.executor(record.Workload, s.v, s.prov)
		r.Set(record.ExecutorIDKind, "otel_service", "")
		e.setTag(record.ExecutorVersion, "service.version")
		e.setTag(record.ExecutorInstance, "service.instance.id", "k8s.pod.name", "k8s.pod.uid", "host.id")
	}
}

// otlpUser names the person in whose interest a service says that it worked. The
// service states it and nobody proved it.
func (e *event) otlpUser() {
	r := e.r
	who := e.tagged("user.email", "enduser.email")
	kind := "email"
	if !who.has() {
		who, kind = e.tagged("enduser.id", "user.id", "traceloop.association.properties.user_id", "langfuse.user.id", "langsmith.metadata.user_id", "enduser.pseudo.id", "user.name"), "otel_user"
	}
	if !who.has() {
		return
	}
	e.requester(principalType(string(who.v)), who.v, who.prov, fromParam)
	r.Set(record.RequesterIDKind, kind, "")
	e.setTag(record.RequesterName, "user.full_name", "user.name")
	e.setTag(record.RequesterTenant, "tenant.id", "organization.id", "user.organization.id")
	e.listTag(record.AuthorityRoles, "enduser.role")
	e.listTag(record.AuthorityRoles, "user.roles")
	e.listTag(record.AuthorityScopes, "enduser.scope")
}

func (e *event) otlpSession() {
	e.setTag(record.ChainSessionID, "session.id", "traceloop.association.properties.session_id", "langfuse.session.id", "langsmith.trace.session_id")
	e.setTag(record.ChainConversationID, "gen_ai.conversation.id", "conversation.id", "thread.id", "langsmith.metadata.thread_id")
	e.setTag(record.SourceAddress, "client.address", "source.address", "net.peer.ip")
	e.setTag(record.ChainRequestID, "http.request.header.x-request-id", "request.id", "request_id")
}
