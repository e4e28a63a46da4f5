package attribution

import (
	"slices"
	"strings"

	"custody/ingest/record"
)

// mcpNames are the fields of MCP gateways' access logs, as key=value or flat or
// nested JSON: OpenTelemetry's names for MCP and GenAI with jwt.* for the verified
// claims of the caller (agentgateway, kgateway), and those of Tyk, Cloudflare's MCP
// portals, Kuadrant and the MCP gateway registry. The MCP session is only an
// attribute: newer versions of the protocol have none, so no chain may hang on it.
var mcpNames = []struct {
	field record.Field
	how   how
	names string
}{
	{record.Time, asTime, "Datetime"},
	{record.RequesterID, asText, "jwt.sub UserEmail identity.username x-auth-identity x_auth_identity auth_identity"},
	{record.RequesterName, asText, "jwt.email jwt.name jwt.preferred_username UserName"},
	{record.RequesterIssuer, asText, "jwt.iss identity.provider"},
	{record.ExecutorID, asText, "jwt.act.sub src.identity gen_ai.agent.id jwt.client_id jwt.azp gen_ai.agent.name mcp.client.name"},
	{record.ExecutorSPIFFEID, asText, "src.identity"},
	{record.ExecutorName, asText, "gen_ai.agent.name mcp.client.name"},
	{record.ExecutorVersion, asText, "gen_ai.agent.version mcp.client.version"},
	{record.CredentialID, asText, "jwt.jti"},
	{record.CredentialAudience, asText, "jwt.aud"},
	{record.CredentialExpires, asInstant, "jwt.exp"},
	{record.CredentialIssued, asInstant, "jwt.iat"},
	{record.AuthorityScopes, asList, "jwt.scope jwt.scp identity.scopes"},
	{record.AuthorityRoles, asList, "jwt.roles identity.groups"},
	{record.ActionOperation, asText, "mcp.method.name mcp.method mcp_method mcp_request.method Method x-mcp-method x_mcp_method a2a.method gen_ai.operation.name rpc.method http.method"},
	{record.ActionTool, asText, "gen_ai.tool.name mcp.tool.name mcp_request.tool_name mcp_tool_name ToolCallName x-mcp-toolname x_mcp_toolname mcp_tool"},
	{record.ActionServer, asText, "mcp.target mcp.server.name mcp_server.name ServerID x-mcp-servername x_mcp_servername mcp_backend mcp_server mcp.server"},
	{record.ActionService, asText, "service.name gateway api_name PortalID"},
	{record.TargetID, asText, "mcp.resource.uri mcp_request.resource_uri ResourceReadURI mcp.resource.name mcp.prompt.name PromptGetName http.path"},
	{record.TargetType, asText, "mcp.resource.type mcp_primitive_type"},
	{record.ChainToolCallID, asText, "gen_ai.tool.call.id"},
	{record.SourceAddress, asText, "ClientIP src.addr"},
	{record.OutcomeStatus, asOutcome, "mcp_response.status Success"},
	{record.OutcomeCode, asCode, "error.type rpc.response.status_code mcp_error_code mcp_response.error_code http.response.status_code http.status"},
	{record.OutcomeDetail, asError, "error.message error mcp.error mcp_response.error_message Error"},
	{record.DecisionEffect, asDecision, "authz.decision policy.decision"},
	{record.DecisionPolicyID, asText, "authz.policy policy.id rule_id"},
	{record.DecisionPolicyVersion, asText, "authz.policy.version policy.version"},
	{record.DecisionReason, asText, "authz.reason policy.reason"},
}

// mcpTable puts MCP's names before the obvious ones.
func mcpTable() *names {
	own := &names{}
	rank := make(map[record.Field]uint8)
	for _, m := range mcpNames {
		for n := range strings.FieldsSeq(m.names) {
			rank[m.field]++
			own.path(n, rule{m.field, m.how, rank[m.field], ""})
		}
	}
	// trace.id, span.id, request ids, time and the like are the usual ones. An
	// authenticated caller in jwt.* is never replaced by a name from a body.
	// "scope" is the part of the program that logs.
	general := buildNames(func(name string) bool { return name == "scope" })
	own.merge(general, 100)
	return own
}

// mcpKeys are the members of which one makes a line an MCP gateway's.
var mcpKeys = [...]string{
	"mcp.method.name", "mcp.method", "mcp.target", "mcp_primitive_type", "x-mcp-method", "x_mcp_method", "x-mcp-toolname", "x_mcp_toolname", "mcp_request", "a2a.method",
}

func mcpJSON() format {
	table := mcpTable()
	return format{
		name: "mcp_gateway", product: "MCP gateway", issuer: "mcp_gateway",
		shape: shapeJSON,
		keys:  append([]string{"mcp", "ai", "PortalID", "mcp_method", "gateway"}, mcpKeys[:]...),
		match: func(e *event) bool {
			t, o := &e.doc, e.root
			if e.pinned() && t.kindOf(o) == kindObject {
				return true
			}
			for _, k := range mcpKeys {
				if t.get(o, k) != 0 {
					return true
				}
			}
			switch {
			case e.doc.find(o, "/mcp/method") != 0, e.doc.find(o, "/ai/mcp") != 0:
				return true
			case t.get(o, "PortalID") != 0 && t.get(o, "ServerID") != 0:
				return true // Cloudflare
			case t.get(o, "mcp_method") != 0:
				return t.get(o, "response_flags") == 0 // Envoy's own log says more
			}
			return t.get(o, "gateway") != 0 && t.get(o, "route") != 0 && t.get(o, "http.status") != 0
		},
		decode: func(e *event) {
			if e.find("/ai/mcp") != 0 {
				e.kongMCP()
				return
			}
			decodeMCP(e, table)
		},
		guide: mcpGuide,
	}
}

func mcpPairs() format {
	table := mcpTable()
	return format{
		name: "mcp_gateway", product: "MCP gateway", issuer: "mcp_gateway",
		shape: shapePairs,
		match: func(e *event) bool {
			return e.pair("mcp.method.name") != nil || e.pair("mcp.method") != nil || e.pair("mcp.target") != nil || e.pair("mcp_primitive_type") != nil || e.pair("a2a.method") != nil ||
				e.pair("api_type") != nil && e.pair("mcp_method") != nil ||
				e.pair("http.status") != nil && e.pair("route") != nil && e.pair("gateway") != nil || e.pinned() && e.mostlyPairs()
		},
		decode: func(e *event) { decodeMCP(e, table) },
	}
}

func decodeMCP(e *event, table *names) {
	e.named(table)
	r := e.r
	if e.whenProv == "" && e.isPair && e.leadTime != nil {
		e.timeFrom(e.leadTime, "/0")
	}
	if e.src.Product == "" && (e.says("/gateway").has() || e.says("/listener").has()) && e.says("/route").has() {
		r.Set(record.SourceProduct, "agentgateway", "")
	}
	e.mcpPrincipals()
	e.mcpDelegation()
	if r.Has(record.CredentialID) {
		r.Set(record.CredentialKind, "jwt", "")
		r.Set(record.CredentialIssuer, r.Get(record.RequesterIssuer), r.Prov(record.RequesterIssuer))
	}
	e.mcpTarget()
	e.mcpChain()
	e.mcpRefusal()
	if !r.Has(record.EffectChanged) {
		r.Set(record.EffectChanged, record.Unknown, "")
		switch r.Get(record.ActionOperation) {
		case "tools/list", "resources/list", "resources/read", "resources/templates/list", "prompts/list", "prompts/get", "initialize", "ping", "notifications/initialized":
			r.Set(record.EffectChanged, record.No, r.Prov(record.ActionOperation))
		}
	}
	if r.Get(record.OutcomeStatus) == record.Denied {
		r.Set(record.EffectChanged, record.No, r.Prov(record.OutcomeStatus))
	}
}

// mcpPrincipals: the verified token's subject asked, and its actor, the peer of
// the connection or the named agent acted. A token that a client got for itself
// names no requester.
func (e *event) mcpPrincipals() {
	r := e.r
	if p := r.Prov(record.RequesterID); strings.HasPrefix(p, "/jwt") {
		e.reqProof = fromLogin
		r.Set(record.RequesterIDKind, "jwt_sub", "")
		sub := r.Get(record.RequesterID)
		client := e.says("/jwt.client_id", "/jwt/client_id", "/jwt.azp", "/jwt/azp")
		if sub == string(client.v) || strings.HasSuffix(sub, "@clients") {
			if !r.Has(record.ExecutorID) || r.Get(record.ExecutorID) == sub {
				e.executor(record.ServiceAccount, []byte(sub), p)
				r.Set(record.ExecutorIDKind, "oauth_client", "")
				r.Set(record.ExecutorIssuer, r.Get(record.RequesterIssuer), r.Prov(record.RequesterIssuer))
			}
			r.Unset(record.RequesterID)
			r.Unset(record.RequesterType)
			r.Unset(record.RequesterName)
			r.SetAbsent("requester", record.NotRecorded)
		} else if r.Get(record.RequesterType) == record.Unknown && principalType(r.Get(record.RequesterName)) == record.Person {
			r.Set(record.RequesterType, record.Person, "")
		}
	} else if p == "/UserEmail" {
		e.reqProof = fromLogin // Cloudflare Access signed the person in
		r.Set(record.RequesterIDKind, "email", "")
	} else if p != "" {
		e.reqProof = fromParam
	}
	switch p := r.Prov(record.ExecutorID); {
	case p == "":
	case strings.HasPrefix(p, "/src"):
		r.Set(record.ExecutorIDKind, "spiffe", "")
		if strings.Contains(r.Get(record.ExecutorID), "/ns/") {
			r.Set(record.ExecutorType, record.Workload, "")
		}
	case strings.HasPrefix(p, "/gen_ai"), strings.HasPrefix(p, "/mcp"), strings.HasPrefix(p, "/jwt/act"), strings.HasPrefix(p, "/jwt.act"):
		if r.Get(record.ExecutorType) == record.Unknown || r.Get(record.ExecutorType) == record.Person {
			r.Set(record.ExecutorType, record.Agent, "")
		}
	case strings.HasPrefix(p, "/jwt"):
		r.Set(record.ExecutorIDKind, "oauth_client", "")
		if r.Get(record.ExecutorType) == record.Unknown || r.Get(record.ExecutorType) == record.Person {
			r.Set(record.ExecutorType, record.ServiceAccount, "")
		}
	}
}

// mcpDelegation: the subject handed its token to the actors, those nested deepest first (RFC 8693).
func (e *event) mcpDelegation() {
	r := e.r
	act := r.Prov(record.ExecutorID)
	if !strings.HasPrefix(act, "/jwt") || !strings.Contains(act, "act") || !r.Has(record.RequesterID) {
		return
	}
	first := record.Delegation{
		Principal: r.Get(record.RequesterID), Credential: r.Get(record.CredentialID),
		Scopes: e.listed(record.AuthorityScopes), Audience: r.Get(record.CredentialAudience), Expires: r.Get(record.CredentialExpires),
	}
	e.delegate(first, "/jwt.act")
	var earlier []said
	dots, slashes, mixed := "/jwt.act", "/jwt/act", "/jwt.act"
	for range 8 {
		dots, slashes, mixed = dots+".act", slashes+"/act", mixed+"/act"
		s := e.says(dots+".sub", slashes+"/sub", mixed+"/sub")
		if !s.has() {
			break
		}
		earlier = append(earlier, s)
	}
	for _, s := range slices.Backward(earlier) {
		e.delegate(record.Delegation{Principal: e.text(s.v)}, s.prov)
	}
}

func (e *event) mcpTarget() {
	r := e.r
	// What the log calls a resource or primitive of the type tool is the tool.
	if r.Get(record.TargetType) == "tool" {
		r.Unset(record.TargetType)
		if s := e.says("/mcp.resource.name", "/mcp/resource/name", "/mcp_primitive_name"); s.has() && !r.Has(record.ActionTool) {
			e.tell(record.ActionTool, s)
		}
		if strings.HasPrefix(r.Prov(record.TargetID), "/mcp") {
			r.Unset(record.TargetID)
		}
	} else if s := e.says("/mcp_primitive_name"); s.has() && r.Has(record.TargetType) && !strings.HasPrefix(r.Prov(record.TargetID), "/mcp") {
		e.tell(record.TargetID, s)
	}
	if strings.HasSuffix(r.Prov(record.TargetID), "path") {
		if r.Has(record.ActionTool) {
			r.Unset(record.TargetID) // the gateway's own address
		} else {
			r.Set(record.TargetType, "url", "")
		}
	}
	if string(e.says("/protocol").v) == "llm" {
		if m := e.says("/gen_ai.request.model", "/gen_ai/request/model"); m.has() {
			r.Set(record.TargetType, "model", "")
			e.tell(record.TargetID, m)
		}
	}
	if !r.Has(record.ExecutorID) {
		r.Unset(record.ExecutorModel)
	}
	if a := r.Get(record.SourceAddress); a != "" {
		e.put(record.SourceAddress, hostOf([]byte(a)), r.Prov(record.SourceAddress))
	}
}

// mcpChain reads the trace that a client propagated, and keeps the session apart.
func (e *event) mcpChain() {
	r := e.r
	e.traceParent("/_meta.traceparent", "/_meta/traceparent", "/params/_meta/traceparent", "/mcp_request/_meta/traceparent", "/mcp.meta.traceparent", "/mcp/_meta/traceparent", "/traceparent", "/http.request.header.traceparent")
	for _, p := range []string{"/mcp.session.id", "/mcp/session/id", "/mcp_session_id", "/mcp_request/mcp_session_id", "/SessionID", "/mcp-session-id"} {
		if v := e.str(p); len(v) > 0 {
			e.add(record.Attributes, e.cat([]byte("mcp.session.id="), v), p)
			if r.Prov(record.ChainSessionID) == p {
				r.Unset(record.ChainSessionID)
			}
			break
		}
	}
	if strings.HasPrefix(r.Prov(record.ChainSessionID), "/mcp") {
		r.Unset(record.ChainSessionID)
	}
}

// mcpRefusal tells agentgateway's reasons of refusal from those of failure.
func (e *event) mcpRefusal() {
	r := e.r
	reason := e.says("/reason")
	switch string(reason.v) {
	case "":
		return
	case "Authorization", "JwtAuth", "ExtAuth", "ApiKeyAuth", "ApiKey", "BasicAuth", "CSRF", "Csrf", "McpAuth", "Oidc", "NetworkAuthorization", "ExtAuthz":
		r.Set(record.DecisionEffect, record.Deny, reason.prov)
		r.Set(record.OutcomeStatus, record.Denied, reason.prov)
		if detail := e.says("/error"); detail.has() {
			e.tell(record.DecisionReason, detail)
		} else {
			e.tell(record.DecisionReason, reason)
		}
	default:
		if r.Prov(record.DecisionReason) == reason.prov {
			r.Unset(record.DecisionReason)
		}
		e.attest("reason", reason)
	}
}

// kongMCP decodes the entries of Kong's logging plugins that the AI MCP proxy
// adds ai.mcp to: its calls and, where access lists are set, who was let in.
func (e *event) kongMCP() {
	r := e.r
	e.noPolVer = true
	if e.src.Product == "" {
		r.Set(record.SourceProduct, "Kong AI Gateway", "")
	}
	e.time("/started_at", "/request/started_at")
	e.set(record.SourceAddress, "/client_ip")
	e.set(record.ChainRequestID, "/request/id", "/request/headers/x-kong-request-id")
	e.traceParent("/request/headers/traceparent")
	if id := hexID(e.str("/trace_id/w3c"), 16); id != nil {
		e.put(record.ChainTraceID, id, "/trace_id/w3c")
	}
	e.set(record.ActionService, "/service/name", "/route/name")
	e.set(record.ActionServer, "/service/host", "/service/name")
	const rpc = "/ai/mcp/rpc/0"
	e.set(record.ActionOperation, rpc+"/method", "/request/method")
	e.set(record.ActionTool, rpc+"/tool_name", rpc+"/name", "/ai/mcp/audit/0/primitive_name")
	detail := e.set(record.OutcomeDetail, rpc+"/error")
	code := e.set(record.OutcomeCode, "/response/status")
	r.Set(record.OutcomeStatus, outcome(code), "/response/status")
	if len(detail) > 0 && r.Get(record.OutcomeStatus) == record.Success {
		r.Set(record.OutcomeStatus, record.Failure, rpc+"/error")
	}
	// A consumer is whoever holds its key: what kind of principal that is Kong does not say.
	if who := e.says("/consumer/username", "/consumer/custom_id", "/ai/mcp/audit/0/consumer/name", "/ai/mcp/audit/0/consumer/identifier", "/authenticated_entity/id"); who.has() {
		e.executor(record.Unknown, who.v, who.prov)
		r.Set(record.ExecutorIDKind, "kong_consumer", "")
		e.set(record.ExecutorInstance, "/consumer/id", "/ai/mcp/audit/0/consumer/id")
	}
	if d := e.says("/ai/mcp/audit/0/action", "/ai/mcp/audit/0/decision"); d.has() {
		e.put(record.DecisionEffect, []byte(decision(d.v)), d.prov)
		if decision(d.v) == record.Deny {
			r.Set(record.OutcomeStatus, record.Denied, d.prov)
		}
		e.set(record.DecisionReason, "/ai/mcp/audit/0/reason", "/ai/mcp/audit/0/scope")
	} else {
		e.noDecide = true
	}
	e.attribute("mcp.session.id", "/ai/mcp/mcp_session_id", "/ai/mcp/session_id")
	if n := e.find("/ai/mcp/rpc"); n != 0 && e.doc.kindOf(n) == kindArray && e.doc.nodes[n].count > 1 {
		for c := e.doc.next(e.doc.first(n)); c != 0; c = e.doc.next(c) {
			if v := e.value(e.doc.get(c, "tool_name")); len(v) > 0 {
				e.add(record.Attributes, e.cat([]byte("also_tool="), v), "/ai/mcp/rpc")
			}
		}
	}
	e.userAgent("/request/headers/user-agent")
	r.Set(record.EffectChanged, record.Unknown, "")
	if r.Get(record.OutcomeStatus) == record.Denied {
		r.Set(record.EffectChanged, record.No, r.Prov(record.OutcomeStatus))
	}
}

var mcpGuide = guide{
	userSet: []string{
		"/mcp.client.name, /mcp.client.version: the client says it of itself in initialize",
		"/gen_ai.agent.id, /gen_ai.agent.name: the client",
		"/_meta.traceparent, /traceparent: the client",
		"/user, /x-auth-identity and other headers: any client, unless the gateway overwrites them",
		"/mcp.session.id: the client sends it back; the protocol of 2026-07-28 has none",
		"jwt.*: chosen by the issuer of the token, which the gateway verified",
	},
	emit: map[Part]string{
		PartRequester:  "`jwt.sub` with `jwt.iss`, `jwt.email`: set JWT authentication on the route and add the claims to the access log (agentgateway: `frontendPolicies.accessLog.add`, `jwt.sub: jwt.sub`); Cloudflare: `UserEmail`",
		PartExecutor:   "`jwt.act.sub` (token exchange), else `src.identity` (mTLS peer), `gen_ai.agent.id`, `jwt.client_id`, `mcp.client.name`",
		PartTool:       "`mcp.method.name`, `gen_ai.tool.name`, `mcp.target` (the server behind the gateway); Tyk: `mcp_method`, `mcp_primitive_name`; Kong: `log_statistics = true` gives `ai.mcp.rpc`",
		PartPermission: "`jwt.scope`, `jwt.roles` when added to the log",
		PartDecision:   "agentgateway: `reason=Authorization` or `JwtAuth` with `error` for what was refused; add `authz.policy` and `authz.decision` from CEL for what was let through; Kong: `logging.audits = true` gives `ai.mcp.audit`",
		PartOutcome:    "`http.status`, `error`, `mcp_error_code`. An MCP error inside an answer of 200 shows only where the gateway reads answers",
		PartChain:      "`trace.id`, `span.id` (switch tracing on), `_meta.traceparent` of MCP 2026-07-28; the MCP session is kept as an attribute only",
	},
}
