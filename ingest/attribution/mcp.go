package attribution

import (
	"strings"

	"custody/ingest/record"
)

// mcpNames are the fields of MCP gateways' access logs, as key=value or flat or
// nested JSON: OpenTelemetry's names for MCP and GenAI, and jwt.* for the
// verified claims of the caller. The MCP session is only an attribute: newer
// versions of the protocol have none, so no chain may hang on it.
var mcpNames = []struct {
	field record.Field
	how   how
	names string
}{
	{record.RequesterID, asText, "jwt.sub"},
	{record.RequesterName, asText, "jwt.email jwt.name jwt.preferred_username"},
	{record.RequesterIssuer, asText, "jwt.iss"},
	{record.ExecutorID, asText, "jwt.act.sub gen_ai.agent.id jwt.client_id jwt.azp gen_ai.agent.name mcp.client.name"},
	{record.ExecutorName, asText, "gen_ai.agent.name mcp.client.name"},
	{record.ExecutorVersion, asText, "gen_ai.agent.version mcp.client.version"},
	{record.CredentialID, asText, "jwt.jti"},
	{record.CredentialAudience, asText, "jwt.aud"},
	{record.CredentialExpires, asInstant, "jwt.exp"},
	{record.CredentialIssued, asInstant, "jwt.iat"},
	{record.AuthorityScopes, asList, "jwt.scope jwt.scp"},
	{record.AuthorityRoles, asList, "jwt.roles"},
	{record.ActionOperation, asText, "mcp.method.name mcp.method rpc.method"},
	{record.ActionTool, asText, "gen_ai.tool.name mcp.tool.name"},
	{record.ActionServer, asText, "mcp.target mcp.server.name mcp.server"},
	{record.ActionService, asText, "service.name gateway"},
	{record.TargetID, asText, "mcp.resource.uri mcp.resource.name mcp.prompt.name"},
	{record.TargetType, asText, "mcp.resource.type"},
	{record.ChainToolCallID, asText, "gen_ai.tool.call.id"},
	{record.OutcomeCode, asCode, "error.type rpc.response.status_code http.response.status_code http.status"},
	{record.OutcomeDetail, asError, "error.message error mcp.error"},
	{record.DecisionEffect, asDecision, "authz.decision policy.decision"},
	{record.DecisionPolicyID, asText, "authz.policy policy.id"},
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
	general := buildNames(func(string) bool { return false })
	own.merge(general, 100)
	return own
}

func mcpJSON() format {
	table := mcpTable()
	return format{
		name: "mcp_gateway", product: "MCP gateway", issuer: "mcp_gateway",
		shape: shapeJSON,
		match: func(e *event) bool {
			t, o := &e.doc, e.root
			return t.get(o, "mcp.method.name") != 0 || e.doc.find(o, "/mcp/method") != 0 || t.get(o, "mcp.method") != 0 ||
				t.get(o, "mcp.target") != 0
		},
		decode: func(e *event) { decodeMCP(e, table) },
	}
}

func mcpPairs() format {
	table := mcpTable()
	return format{
		name: "mcp_gateway", product: "MCP gateway", issuer: "mcp_gateway",
		shape: shapePairs,
		match: func(e *event) bool {
			return e.pair("mcp.method.name") != nil || e.pair("mcp.method") != nil || e.pair("mcp.target") != nil
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
	if p := r.Prov(record.RequesterID); strings.HasPrefix(p, "/jwt") {
		e.reqProof = fromLogin
		r.Set(record.RequesterIDKind, "jwt_sub", "")
		if r.Get(record.RequesterType) == record.Unknown && principalType(r.Get(record.RequesterName)) == record.Person {
			r.Set(record.RequesterType, record.Person, "")
		}
	} else if p != "" {
		e.reqProof = fromParam
	}
	switch p := r.Prov(record.ExecutorID); {
	case p == "":
	case strings.HasPrefix(p, "/gen_ai"), strings.HasPrefix(p, "/mcp"), strings.HasPrefix(p, "/jwt/act"), strings.HasPrefix(p, "/jwt.act"):
		if r.Get(record.ExecutorType) == record.Unknown || r.Get(record.ExecutorType) == record.Person {
			r.Set(record.ExecutorType, record.Agent, "")
		}
	}
	if act := r.Prov(record.ExecutorID); strings.HasPrefix(act, "/jwt") && strings.Contains(act, "act") {
		e.delegate(record.Delegation{
			Principal: r.Get(record.RequesterID), Credential: r.Get(record.CredentialID),
			Scopes: e.listed(record.AuthorityScopes), Audience: r.Get(record.CredentialAudience), Expires: r.Get(record.CredentialExpires),
		}, "/jwt.act")
	}
	if r.Has(record.CredentialID) {
		r.Set(record.CredentialKind, "jwt", "")
		r.Set(record.CredentialIssuer, r.Get(record.RequesterIssuer), r.Prov(record.RequesterIssuer))
	}
	if r.Has(record.ActionTool) && r.Get(record.TargetType) == "tool" {
		r.Unset(record.TargetType)
	}
	for _, p := range []string{"/mcp.session.id", "/mcp/session/id"} {
		if v := e.str(p); len(v) > 0 {
			e.add(record.Attributes, e.cat([]byte("mcp.session.id="), v), p)
			break
		}
	}
	if strings.HasPrefix(r.Prov(record.ChainSessionID), "/mcp") {
		r.Unset(record.ChainSessionID)
	}
	if !r.Has(record.EffectChanged) {
		r.Set(record.EffectChanged, record.Unknown, "")
	}
}
