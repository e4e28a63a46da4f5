package attribution

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"slices"
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

// otelNames are the members by which mayBeOTel knows an event.
var otelNames = func() keySet {
	names := slices.Clone(flatNames[:])
	for _, p := range tagPlaces[1:8] {
		names = append(names, p.pointer[1:])
	}
	return keysOf(names)
}()

// mayBeOTel is the cheap question before the attributes are read.
func (e *event) mayBeOTel() bool {
	if len(e.around) > 0 {
		return true
	}
	t, o := &e.doc, e.root
	if o == root && !otelNames.any(&t.top) {
		return false
	}
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
