package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// envoyText decodes Envoy's and Istio's default access log lines.
func envoyText() format {
	return format{
		name: "envoy", product: "Envoy", issuer: "envoy",
		shape:  shapeText,
		match:  func(e *event) bool { return envoyLine(bytes.TrimSpace(e.payload)) },
		decode: func(e *event) { e.envoy(e.envoyTokens()) },
		guide:  envoyGuide,
	}
}

// envoyJSON decodes access logs in JSON by the names that Istio, Envoy Gateway
// and most configurations give to Envoy's operators.
func envoyJSON() format {
	return format{
		name: "envoy", product: "Envoy", issuer: "envoy",
		shape: shapeJSON,
		keys:  []string{"response_flags", "response_code_details"},
		match: func(e *event) bool {
			t, o := &e.doc, e.root
			if e.pinned() {
				return t.get(o, "response_code") != 0 || t.get(o, "response_flags") != 0 || t.get(o, "authority") != 0 || t.get(o, ":authority") != 0 || t.get(o, "start_time") != 0
			}
			if t.get(o, "response_flags") == 0 && t.get(o, "response_code_details") == 0 {
				return false
			}
			return t.get(o, "upstream_host") != 0 || t.get(o, "upstream_cluster") != 0 || t.get(o, "authority") != 0 || t.get(o, ":authority") != 0 || t.get(o, "downstream_remote_address") != 0
		},
		decode: func(e *event) { e.envoy(e.envoyMembers()) },
	}
}

// access is one line of an access log, by Envoy's operators.
type access struct {
	time, method, path, protocol, code, flags, details, ended, transport         said
	forwarded, agent, id, authority, upstream, cluster, local, remote, sni, name said
	xfcc, peer, subject, traceparent, trace, grpc, serial, fingerprint           said
}

// envoyLine reports whether b is `[2026-11-23T14:02:07.114Z] "GET / HTTP/1.1" 200 …`.
func envoyLine(b []byte) bool {
	if len(b) < 40 || b[0] != '[' || b[5] != '-' || b[8] != '-' || b[11] != 'T' {
		return false
	}
	i := bytes.IndexByte(b[:min(len(b), 48)], ']')
	return i > 0 && i+3 < len(b) && b[i+1] == ' ' && b[i+2] == '"'
}

// envoyTokens reads a line of text. Istio's has the code's details behind the
// flags, Envoy's a number. What configurations append is told by its form.
func (e *event) envoyTokens() *access {
	var tok [48][]byte
	n := 0
	b := bytes.TrimSpace(e.payload)
	for i := 0; i < len(b) && n < len(tok); {
		open := b[i]
		if open == ' ' {
			i++
			continue
		}
		end := byte(' ')
		if open == '"' {
			end = '"'
			i++
		} else if open == '[' && n == 0 {
			end = ']'
			i++
		}
		start := i
		for i < len(b) && b[i] != end {
			if end == '"' && b[i] == '\\' {
				i++
			}
			i++
		}
		tok[n] = b[start:min(i, len(b))]
		n++
		i++
	}
	a := &access{}
	at := 0
	take := func(to *said, name string) {
		if at < n && !(len(tok[at]) == 1 && tok[at][0] == '-') {
			*to = said{tok[at], name}
		}
		at++
	}
	take(&a.time, "/start_time")
	if req := bytes.SplitN(tok[1], []byte(" "), 3); len(req) == 3 {
		for i, to := range [...]*said{&a.method, &a.path, &a.protocol} {
			if string(req[i]) != "-" {
				*to = said{req[i], [...]string{"/method", "/path", "/protocol"}[i]}
			}
		}
	}
	at++
	take(&a.code, "/response_code")
	take(&a.flags, "/response_flags")
	istio := false
	if at < n {
		_, number := digits(tok[at])
		istio = !number
	}
	if istio {
		take(&a.details, "/response_code_details")
		take(&a.ended, "/connection_termination_details")
		take(&a.transport, "/upstream_transport_failure_reason")
	}
	at += 4 // bytes in and out, duration, upstream's time
	take(&a.forwarded, "/x_forwarded_for")
	take(&a.agent, "/user_agent")
	take(&a.id, "/request_id")
	take(&a.authority, "/authority")
	take(&a.upstream, "/upstream_host")
	if istio {
		take(&a.cluster, "/upstream_cluster")
		at++
		take(&a.local, "/downstream_local_address")
		take(&a.remote, "/downstream_remote_address")
		take(&a.sni, "/requested_server_name")
		take(&a.name, "/route_name")
	}
	for ; at < n; at++ {
		switch v := tok[at]; {
		case bytes.HasPrefix(v, []byte("By=")), bytes.HasPrefix(v, []byte("Hash=")):
			a.xfcc = said{bytes.ReplaceAll(v, []byte(`\"`), []byte(`"`)), "/x_forwarded_client_cert"}
		case bytes.HasPrefix(v, []byte("spiffe://")):
			a.peer = said{v, "/downstream_peer_uri_san"}
		case len(v) == 55 && v[2] == '-' && v[35] == '-':
			a.traceparent = said{v, "/traceparent"}
		}
	}
	return a
}

func (e *event) envoyMembers() *access {
	a := &access{
		time: e.says("/start_time", "/startTime", "/timestamp", "/time", "/ts", "/@timestamp"), method: e.says("/method", "/:method", "/request_method", "/req_method"),
		path:     e.says("/path", "/x-envoy-origin-path", "/x_envoy_origin_path", "/x-envoy-original-path", "/:path", "/request_path", "/uri_path"),
		protocol: e.says("/protocol"), code: e.says("/response_code", "/status", "/status_code"), flags: e.says("/response_flags", "/flags"),
		details: e.says("/response_code_details", "/response_details"), ended: e.says("/connection_termination_details"), transport: e.says("/upstream_transport_failure_reason"),
		forwarded: e.says("/x_forwarded_for", "/x-forwarded-for", "/forwarded_for"), agent: e.says("/user_agent", "/user-agent"),
		id: e.says("/request_id", "/x-request-id", "/x_request_id"), authority: e.says("/authority", "/:authority", "/host"),
		upstream: e.says("/upstream_host"), cluster: e.says("/upstream_cluster", "/upstream_cluster_raw"), local: e.says("/downstream_local_address"),
		remote: e.says("/downstream_remote_address", "/downstream_remote_address_without_port", "/downstream_direct_remote_address"),
		sni:    e.says("/requested_server_name"), name: e.says("/route_name"),
		xfcc:        e.says("/x_forwarded_client_cert", "/x-forwarded-client-cert", "/forwarded_client_cert", "/xfcc", "/XFCC"),
		peer:        e.says("/downstream_peer_uri_san", "/DOWNSTREAM_PEER_URI_SAN", "/peer_uri_san", "/source_principal", "/downstream_peer_principal"),
		subject:     e.says("/downstream_peer_subject", "/DOWNSTREAM_PEER_SUBJECT", "/peer_subject"),
		traceparent: e.says("/traceparent"), trace: e.says("/trace_id", "/traceID", "/traceId", "/x-b3-traceid"), grpc: e.says("/grpc_status", "/grpc_status_number", "/grpc-status"),
		serial: e.says("/downstream_peer_serial"), fingerprint: e.says("/downstream_peer_fingerprint_256", "/DOWNSTREAM_PEER_FINGERPRINT_256"),
	}
	for _, s := range [...]*said{&a.method, &a.path, &a.flags, &a.details, &a.ended, &a.transport, &a.forwarded, &a.agent, &a.id, &a.authority, &a.upstream, &a.cluster, &a.remote, &a.sni, &a.name, &a.xfcc, &a.peer, &a.subject, &a.traceparent, &a.grpc} {
		if len(s.v) == 1 && s.v[0] == '-' {
			*s = said{} // how Envoy writes nothing
		}
	}
	return a
}

func (e *event) envoy(a *access) {
	r := e.r
	e.noDecide, e.noPolVer = true, true
	if a.time.has() {
		e.timeFrom(a.time.v, a.time.prov)
	}
	e.tell(record.ChainRequestID, a.id)
	if v := a.traceparent.v; len(v) >= 55 && v[2] == '-' && v[35] == '-' && v[52] == '-' {
		e.put(record.ChainTraceID, v[3:35], a.traceparent.prov)
		e.put(record.ChainParentID, v[36:52], a.traceparent.prov)
	} else if id := hexID(a.trace.v, 16); id != nil {
		e.put(record.ChainTraceID, id, a.trace.prov)
	}
	e.tell(record.ActionOperation, a.method)
	if !a.method.has() && a.protocol.v == nil {
		r.Set(record.ActionOperation, "connect", "")
	}
	e.tell(record.ActionService, a.authority.or(a.sni))
	e.tell(record.ActionServer, a.cluster.or(a.upstream))
	if a.path.has() {
		r.Set(record.TargetType, "url", "")
		path, _, _ := bytes.Cut(a.path.v, []byte("?")) // queries carry tokens
		e.put(record.TargetID, e.cat(a.authority.v, path), a.path.prov)
	} else if a.upstream.has() {
		r.Set(record.TargetType, "host", "")
		e.tell(record.TargetID, a.upstream)
	}
	if a.remote.has() {
		e.put(record.SourceAddress, hostOf(a.remote.v), a.remote.prov)
	} else if a.forwarded.has() {
		first, _, _ := bytes.Cut(a.forwarded.v, []byte(","))
		e.put(record.SourceAddress, first, a.forwarded.prov)
	}
	if a.remote.has() {
		e.attest("x_forwarded_for", a.forwarded)
	}
	e.attest("user_agent", a.agent)
	e.attest("route", a.name)
	e.attest("response_flags", a.flags)
	e.envoyPeer(a)
	e.envoyClaims()
	e.envoyOutcome(a)
	if r.Get(record.ExecutorType) == record.Person && agentClient(a.agent.v) {
		r.AddFinding(record.AgentAsHuman)
	}
}

// envoyFailures are response flags of what broke, not of what was refused.
var envoyFailures = [...]string{"UF", "UH", "UO", "NR", "URX", "DC", "LH", "UT", "LR", "UR", "UC", "DI", "FI", "RL", "RLSE", "IH", "SI", "DPE", "UMSDR", "OM", "NC", "DT", "UPE", "DF", "DO", "DR"}

func (e *event) envoyOutcome(a *access) {
	r := e.r
	e.tell(record.OutcomeCode, a.code)
	e.tell(record.OutcomeDetail, a.transport.or(a.ended))
	status, prov := outcome(a.code.v), a.code.prov
	if status == record.Unknown && a.flags.has() {
		for f := range bytes.SplitSeq(a.flags.v, []byte(",")) {
			for _, k := range envoyFailures {
				if string(f) == k {
					status, prov = record.Failure, a.flags.prov
				}
			}
		}
	}
	if g := strings.ToLower(string(a.grpc.v)); a.grpc.has() && status == record.Success {
		switch g {
		case "0", "ok":
		case "7", "16", "permissiondenied", "unauthenticated", "permission_denied":
			status, prov = record.Denied, a.grpc.prov
			e.tell(record.OutcomeCode, a.grpc)
		default:
			status, prov = record.Failure, a.grpc.prov
			e.tell(record.OutcomeCode, a.grpc)
		}
	}
	reason := a.details
	if !bytes.Contains(reason.v, []byte("denied")) && bytes.Contains(a.ended.v, []byte("denied")) {
		reason = a.ended // of a TCP connection
	}
	deny := false
	switch d := string(reason.v); {
	case strings.HasPrefix(d, "rbac_access_denied"):
		deny = true
		if _, policy, ok := strings.Cut(d, "matched_policy["); ok {
			if policy = strings.TrimSuffix(policy, "]"); policy != "none" && policy != "" {
				r.Set(record.DecisionPolicyID, e.text([]byte(policy)), reason.prov)
			}
		}
	case strings.HasPrefix(d, "jwt_authn_access_denied"), strings.HasPrefix(d, "ext_authz_denied"), strings.HasPrefix(d, "oauth_"), strings.HasPrefix(d, "api_key_auth"), strings.HasPrefix(d, "basic_auth"):
		deny = status == record.Denied || strings.Contains(d, "denied")
	}
	for f := range bytes.SplitSeq(a.flags.v, []byte(",")) {
		if string(f) == "UAEX" {
			deny = true
			if !reason.has() {
				reason = a.flags
			}
		}
	}
	if deny {
		status, prov = record.Denied, reason.prov
		r.Set(record.DecisionEffect, record.Deny, reason.prov)
	}
	if deny || string(a.details.v) != "via_upstream" {
		e.tell(record.DecisionReason, reason)
	}
	if !deny {
		r.Unset(record.DecisionReason)
		if status == record.Failure && !r.Has(record.OutcomeDetail) {
			e.tell(record.OutcomeDetail, a.details)
		}
	}
	r.Set(record.OutcomeStatus, status, prov)
	changed := record.Unknown
	switch string(a.method.v) {
	case "GET", "HEAD", "OPTIONS", "TRACE":
		changed, prov = record.No, a.method.prov
	}
	if status == record.Denied {
		changed = record.No
	}
	r.Set(record.EffectChanged, changed, prov)
}

var envoyGuide = guide{
	userSet: []string{
		"/x_forwarded_for: any client; only what a trusted proxy appended is true",
		"/user_agent: any client",
		"/request_id: any client, unless the proxy is set to make its own at the edge",
		"/traceparent: any client",
		"/x_forwarded_client_cert: the elements in front of the last, and with forward_client_cert_details FORWARD_ONLY or ALWAYS_FORWARD_ONLY the whole header",
		"/path, /authority: any client",
	},
	emit: map[Part]string{
		PartRequester:  "claims of a token that jwt_authn verified: set `payload_in_metadata` and log `%DYNAMIC_METADATA(envoy.filters.http.jwt_authn)%` as `jwt`; a header such as `x-forwarded-user` is only asserted",
		PartExecutor:   "`%DOWNSTREAM_PEER_URI_SAN%` as `downstream_peer_uri_san` (the peer's SPIFFE ID as this proxy proved it), else the last element of `%REQ(X-FORWARDED-CLIENT-CERT)%` as `x_forwarded_client_cert`",
		PartTool:       "`method`, `authority`, `path`, `upstream_cluster`",
		PartPermission: "scopes of the verified token; Envoy logs no other",
		PartDecision:   "a refusal shows in `response_code_details` (`rbac_access_denied_matched_policy[…]`, `ext_authz_denied`, `jwt_authn_access_denied`) or the flag UAEX; what was let through leaves no trace",
		PartOutcome:    "`response_code`, `response_flags`, `grpc_status`",
		PartChain:      "`request_id` (`%REQ(X-REQUEST-ID)%`), `%REQ(TRACEPARENT)%` as `traceparent` or `%TRACE_ID%` as `trace_id`",
	},
}
