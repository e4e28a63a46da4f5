package scenario

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// gatewayCall is a line of an MCP gateway's access log.
type gatewayCall struct {
	subject     string // jwt.sub
	name        string // jwt.email
	issuer      string
	act         object // jwt.act, nested
	client      string // jwt.azp
	jti         string
	scope       string
	credential  string // a credential's id that the gateway was told to log
	expires     int64
	trace, span string
	parent      string
	task        string
	method      string // tools/call by default
	target      string
	tool        string
	call        string
	status      int
	policy      string
	reason      string
	session     string // of MCP with the tool's server
}

func (s *story) gateway(after time.Duration, c gatewayCall) *event {
	w, at := s.w, s.clock("mcp_gateway", after)
	if c.method == "" {
		c.method = "tools/call"
	}
	if c.status == 0 {
		c.status = 200
	}
	if c.session == "" {
		c.session = w.uuid()
	}
	if c.issuer == "" {
		c.issuer = "https://login." + s.t.domain
	}
	o := object{
		"time", at.Format(micros), "level", "info", "scope", "request", "gateway", "agents/mcp-gateway", "listener", "mcp", "route", "agents/" + c.target,
		"endpoint", w.inner() + ":8080", "src.addr", fmt.Sprintf("%s:%d", w.inner(), 30000+w.IntN(30000)), "http.method", "POST", "http.host", "mcp." + s.t.domain,
		"http.path", "/mcp", "http.version", "HTTP/1.1", "http.status", c.status, "protocol", "mcp", "trace.id", c.trace, "span.id", c.span,
	}.with("parent.id", c.parent, "task.id", c.task)
	// Gateways log claims as they are told: one by one, all in one object, and
	// now and then an object under a flat name.
	claims := object{}.with("sub", c.subject, "email", c.name)
	if c.subject != "" {
		claims = append(claims, "iss", c.issuer, "aud", "https://mcp."+s.t.domain)
	}
	claims = claims.with("azp", c.client, "act", c.act, "jti", c.jti, "scope", c.scope)
	if c.expires != 0 {
		claims = append(claims, "exp", c.expires)
	}
	form := w.IntN(24)
	switch {
	case form < 4:
		o = append(o, "jwt", claims)
	case form == 4 && c.act != nil:
		for i := 0; i+1 < len(claims); i += 2 {
			o = append(o, "jwt."+claims[i].(string), claims[i+1])
		}
	default:
		o = flat(o, "jwt", claims)
	}
	o = o.with("credential.id", c.credential)
	o = append(o, "mcp.method.name", c.method, "mcp.target", c.target, "mcp.session.id", c.session).with("gen_ai.tool.name", c.tool, "gen_ai.tool.call.id", c.call)
	if c.status == 403 {
		o = append(o, "authz.decision", "deny").with("authz.policy", c.policy, "authz.reason", c.reason, "error", "authorization failed")
	} else {
		o = append(o, "authz.decision", "allow", "authz.policy", "mcp-tools", "authz.policy.version", "12")
	}
	o = append(o, "duration", strconv.Itoa(2+w.IntN(300))+"ms")
	if form >= 16 {
		return s.emit("mcp_gateway", after, append(at.AppendFormat(nil, micros), pairsOf(o[6:], "\tinfo\trequest")...))
	}
	return s.emit("mcp_gateway", after, text(o))
}

// flat appends the members of v and of what is in it under dotted names.
func flat(o object, name string, v object) object {
	for i := 0; i+1 < len(v); i += 2 {
		n := name + "." + v[i].(string)
		if in, ok := v[i+1].(object); ok {
			o = flat(o, n, in) // no deeper than the actors of a delegation
			continue
		}
		o = append(o, n, v[i+1])
	}
	return o
}

// pairsOf is o as key=value, values with blanks in quotes, as agent gateways
// write it unless they are told to write JSON.
func pairsOf(o object, head string) []byte {
	b := []byte(head)
	for i := 0; i+1 < len(o); i += 2 {
		b = fmt.Appendf(b, " %s=", o[i])
		if v, ok := o[i+1].(string); ok && strings.ContainsAny(v, " \"=") {
			b = strconv.AppendQuote(b, v)
		} else {
			b = fmt.Append(b, o[i+1])
		}
	}
	return b
}

// nested is an act claim of RFC 8693: who acts now, and who acted before.
func nested(actors ...*agent) object {
	var o object
	for _, a := range slices.Backward(actors) {
		n := object{"sub", a.client}
		if o != nil {
			n = append(n, "act", o)
		}
		o = n
	}
	return o
}

// spanCall is one span of an agent's trace.
type spanCall struct {
	service, name, trace, span, parent string
	kind                               int // 1 internal, 2 server, 3 client
	attributes                         object
	failed                             string
	took                               time.Duration
}

func attributes(o object) array {
	var out array
	for i := 0; i+1 < len(o); i += 2 {
		var v object
		switch x := o[i+1].(type) {
		case string:
			v = object{"stringValue", x}
		case bool:
			v = object{"boolValue", x}
		case int:
			v = object{"intValue", strconv.Itoa(x)}
		}
		out = append(out, object{"key", o[i], "value", v})
	}
	return out
}

func (s *story) span(after time.Duration, c spanCall) *event {
	at := s.clock("otel_genai", after)
	if c.kind == 0 {
		c.kind = 1
	}
	if c.took == 0 {
		c.took = 900 * time.Millisecond
	}
	sp := object{"traceId", c.trace, "spanId", c.span}.with("parentSpanId", c.parent)
	status := object{}
	if c.failed != "" {
		status = object{"code", 2, "message", c.failed}
		c.attributes = append(c.attributes, "error.type", c.failed)
	}
	sp = append(
		sp, "flags", 256, "name", c.name, "kind", c.kind, "startTimeUnixNano", strconv.FormatInt(at.UnixNano(), 10),
		"endTimeUnixNano", strconv.FormatInt(at.Add(c.took).UnixNano(), 10), "attributes", attributes(c.attributes), "status", status,
	)
	e := s.emit("otel_genai", after, text(object{"resourceSpans", array{object{
		"resource",
		object{"attributes", attributes(object{
			"service.name", c.service, "service.version", "2.4.1", "deployment.environment.name", "prod", "k8s.pod.name", c.service + "-7f9c5d-x2x9p",
			"telemetry.sdk.name", "opentelemetry", "telemetry.sdk.language", "python", "telemetry.sdk.version", "1.29.0",
		})},
		"scopeSpans",
		array{object{"scope", object{"name", "opentelemetry.instrumentation.agents", "version", "0.50b0"}, "spans", array{sp}, "schemaUrl", "https://opentelemetry.io/schemas/1.37.0"}},
	}}}))
	// An exporter sends a span when it has ended.
	e.arrival = e.arrival.Add(c.took)
	return e
}

// codingEvent is an event of a coding agent's telemetry, one log record to a line.
func (s *story) codingEvent(after time.Duration, p *person, session, name string, sequence int, more ...any) *event {
	at := s.clock("agent_otel", after)
	stamp := strconv.FormatInt(at.UnixNano(), 10)
	attrs := object{
		"user.id", s.w.hex(64), "session.id", session, "organization.id", s.t.entra, "user.email", p.mail, "user.account_uuid", p.account, "terminal.type", "vscode",
		"event.name", name, "event.timestamp", at.Format(millis), "event.sequence", sequence,
	}
	return s.emit("agent_otel", after, text(object{"resourceLogs", array{object{
		"resource",
		object{"attributes", attributes(object{
			"service.name", "claude-code", "service.version", "2.1.34", "os.type", "linux", "os.version", "6.8.0", "host.arch", "amd64",
		})},
		"scopeLogs",
		array{object{
			"scope",
			object{"name", "com.anthropic.claude_code.events", "version", "2.1.34"},
			"logRecords",
			array{object{
				"timeUnixNano", stamp, "observedTimeUnixNano", stamp, "body",
				object{"stringValue", "claude_code." + name},
				"attributes", attributes(append(attrs, more...)), "droppedAttributesCount", 0,
			}},
		}},
	}}})).shows(p).did("claude-code", "claude_code", "Claude Code", session)
}

// envoy is a JSON access log line of a proxy that takes mutual TLS.
func (s *story) envoy(after time.Duration, caller, trace, span, path string, status int) *event {
	w, at := s.w, s.clock("envoy", after)
	xfcc := "By=spiffe://" + s.t.domain + "/ns/tools/sa/gateway;Hash=" + w.hex(64) + ";Subject=\"\";URI=" + caller
	return s.emit("envoy", after, text(object{
		"start_time", at.Format(millis), "method", "POST", "path", path, "protocol", "HTTP/2", "response_code", status, "response_flags", "-",
		"response_code_details", "via_upstream", "connection_termination_details", nil, "upstream_transport_failure_reason", nil, "bytes_received", 412, "bytes_sent", 1873,
		"duration", 31, "upstream_service_time", "29", "x_forwarded_for", nil, "x_forwarded_client_cert", xfcc, "user_agent", "grpc-go/1.66.0", "request_id", w.uuid(),
		"authority", "tools." + s.t.domain, "upstream_host", w.inner() + ":8443", "upstream_cluster", "outbound|8443||tools.tools.svc.cluster.local",
		"downstream_local_address", w.inner() + ":8443", "downstream_remote_address", w.inner() + ":41022", "downstream_peer_uri_san", caller,
		"route_name", "tools", "traceparent", "00-" + trace + "-" + span + "-01",
	})).did(caller)
}

// spire is a line of the SPIRE server's audit log, as text or as JSON.
func (s *story) spire(after time.Duration, caller, method string, more ...string) *event {
	at := s.clock("spire", after)
	o := object{
		"authorized_as", "agent", "authorized_via", "datastore", "caller_addr", s.w.inner() + ":51244", "caller_id", caller, "method", method, "request_id", s.w.uuid(),
		"service", "svid.v1.SVID", "status", "success", "subsystem_name", "api", "type", "audit",
	}
	for _, m := range more {
		o = append(o, m)
	}
	if s.w.IntN(2) == 0 {
		o = append(o, "level", "info", "msg", "API accessed", "time", at.Format(seconds))
		return s.emit("spire", after, text(o)).did(caller)
	}
	b := fmt.Appendf(nil, `time="%s" level=info msg="API accessed"`, at.Format(seconds))
	for i := 0; i+1 < len(o); i += 2 {
		if v := o[i+1].(string); strings.ContainsAny(v, " :/=") || v == "" {
			b = fmt.Appendf(b, " %s=%q", o[i], v)
		} else {
			b = fmt.Appendf(b, " %s=%s", o[i], v)
		}
	}
	return s.emit("spire", after, b).did(caller)
}

// opa is a decision log of the Open Policy Agent.
func (s *story) opa(after time.Duration, user, agent, tool, trace, span string, allow bool) *event {
	w, at := s.w, s.clock("opa", after)
	input := object{"action", "call", "tool", tool, "resource", "tools/" + tool}.with("user", user, "agent", agent)
	return s.emit("opa", after, text(object{
		"labels",
		object{"app", "tool-policy", "id", w.uuid(), "version", "1.0.0"},
		"decision_id", w.uuid(), "trace_id", trace, "span_id", span,
		"bundles",
		object{"tools", object{"revision", "2026-11-20T10:00:00Z-4f1c"}},
		"path", "agents/tools/allow", "input", input, "result", allow,
		"requested_by", w.inner() + ":44120", "timestamp", at.Format(nanos),
		"metrics",
		object{"timer_rego_query_eval_ns", 180334, "timer_server_handler_ns", 402118, "counter_server_query_cache_hit", 1},
		"req_id", 1 + w.IntN(90000),
	}))
}
