package scenario

import (
	"fmt"
	"time"
)

func agentAttributes(a *agent, operation string, more ...any) object {
	return append(object{
		"gen_ai.operation.name", operation, "gen_ai.agent.id", a.client, "gen_ai.agent.name", a.name, "gen_ai.provider.name", "anthropic",
	}, more...)
}

// An agent's trace: the root names the person, and is sent last because it ends
// last. Its children arrive before it.
func otelChildrenFirst(s *story) {
	p, two := s.person(), s.agents(2)
	trace, root, sub, conversation := s.w.hex(32), s.w.hex(16), s.w.hex(16), "conv_"+s.w.text(20)
	top := s.span(0, spanCall{
		service: two[0].name, name: "invoke_agent " + two[0].name, trace: trace, span: root, took: 25 * time.Second,
		attributes: agentAttributes(two[0], "invoke_agent", "gen_ai.conversation.id", conversation, "user.id", p.account, "user.email", p.mail, "gen_ai.request.model", "claude-sonnet-4-5"),
	}).shows(p).acted(two[0])
	short := s.w.IntN(3) == 0 // many models number their tool calls
	for i := range 2 {
		id := "call_" + s.w.text(16)
		if short {
			id = fmt.Sprintf("call_%d", i)
		}
		s.span(time.Duration(2+i*4)*time.Second, spanCall{
			service: two[0].name, name: "execute_tool search", trace: trace, span: s.w.hex(16), parent: root,
			attributes: agentAttributes(two[0], "execute_tool", "gen_ai.tool.name", "search", "gen_ai.tool.call.id", id, "gen_ai.tool.type", "function"),
		}).by(p).from(top, CalledBy).acted(two[0])
	}
	below := s.span(12*time.Second, spanCall{
		service: two[1].name, name: "invoke_agent " + two[1].name, trace: trace, span: sub, parent: root, took: 8 * time.Second,
		attributes: agentAttributes(two[1], "invoke_agent", "gen_ai.conversation.id", conversation),
	}).by(p).from(top, CalledBy).acted(two[1])
	s.span(14*time.Second, spanCall{
		service: two[1].name, name: "execute_tool deploy", trace: trace, span: s.w.hex(16), parent: sub, failed: "timeout",
		attributes: agentAttributes(two[1], "execute_tool", "gen_ai.tool.name", "deploy", "gen_ai.tool.call.id", "call_"+s.w.text(16), "gen_ai.tool.type", "function"),
	}).by(p).from(below, CalledBy).acted(two[1])
}

// codingSession is a person at work with a coding agent: a prompt, tools that
// were allowed, their results. lose is the index of a result that never comes.
func (s *story) codingSession(lose int) {
	p, session := s.person(), s.w.uuid()
	prompt := s.w.uuid()
	first := s.codingEvent(0, p, session, "user_prompt", 0, "prompt.id", prompt, "prompt_length", "118")
	s.codingEvent(2*time.Second, p, session, "api_request", 1, "prompt.id", prompt, "model", "claude-sonnet-4-5-20250929", "input_tokens", "2112", "output_tokens", "318",
		"cache_read_tokens", "18011", "cache_creation_tokens", "512", "cost_usd", "0.018", "duration_ms", "2231", "speed", "normal", "request_id", "req_"+s.w.text(24)).from(first, CalledBy)
	for i, tool := range []string{"Read", "Edit", "Bash"} {
		at, call := time.Duration(4+i*5)*time.Second, "toolu_"+s.w.text(24)
		decision := s.codingEvent(at, p, session, "tool_decision", 2+2*i, "prompt.id", prompt, "tool_name", tool, "tool_use_id", call, "decision", "accept",
			"source", []string{"config", "user_temporary", "user_permanent"}[i]).from(first, CalledBy)
		if i == lose {
			decision.must("half_pair")
			continue
		}
		s.codingEvent(at+3*time.Second, p, session, "tool_result", 3+2*i, "prompt.id", prompt, "tool_name", tool, "tool_use_id", call, "success", "true", "duration_ms", "912",
			"decision_type", "accept", "decision_source", "config", "tool_result_size_bytes", "4112").from(decision, RespondsTo)
	}
}

// A coding agent: every decision has its result.
func codingAgent(s *story) { s.codingSession(-1) }

// The same, and one result never comes.
func codingAgentHalf(s *story) { s.codingSession(s.w.IntN(3)) }

// A workload gets its identity document and calls with it through a proxy, in a
// trace that began with a person at the gateway.
func spireEnvoy(s *story) {
	p, a := s.person(), s.agent()
	node := "spiffe://" + s.t.domain + "/spire/agent/k8s_psat/prod/" + s.w.uuid()
	s.spire(0, node, "BatchNewX509SVID", "entry_id", s.w.uuid(), "expires_at", s.clock("spire", time.Hour).Format(seconds), "revision_number", "0",
		"serial_num", s.w.pick("123456789", 30), "spiffe_id", a.spiffe).loose()
	trace, span := s.w.hex(32), s.w.hex(16)
	call := s.callBy(10*time.Second, p, a, trace, span, "ledger", "post_entry")
	status := 200
	if s.w.IntN(4) == 0 {
		status = 403
	}
	s.envoy(10100*time.Millisecond, a.spiffe, trace, span, "/ledger.v1.Ledger/Post", status).by(p).from(call, CalledBy)
}

// A job of a service account at night: nobody asked, nobody may be named.
func cron(s *story) {
	entity := s.w.uuid()
	k := vaultToken{
		display: "approle", entity: entity, client: s.w.hmac(), accessor: s.w.hmac(), id: s.w.text(32), metadata: object{"role_name", "nightly-export"}, policies: []string{"export", "default"}, ttl: 600,
		issued: s.clock("vault", 0), names: []string{"approle", entity, "nightly-export", "approle-nightly-export"},
	}
	ask, made := s.vault(0, vaultCall{op: "update", path: "auth/approle/login", mount: "approle", data: object{"role_id", s.w.hmac(), "secret_id", s.w.hmac()}, issues: &k})
	ask.maybe(k.names...)
	_ = made
	get, answer := s.vault(2*time.Second, s.kvRead(&k, "batch/export", nil))
	get.tied(made, UsesCredential).mustAny("requester_missing")
	answer.mustAny("requester_missing")
	a := &agent{name: "nightly-export", sa: "system:serviceaccount:batch:nightly-export"}
	s.k8s(4*time.Second, k8sCall{
		user: s.serviceAccount(a, s.w.uuid()), verb: "list", group: "batch", resource: "jobs", ns: "batch",
		reason: `RBAC: allowed by RoleBinding "export/batch" of Role "export" to ServiceAccount "nightly-export/batch"`,
	}).did(a.sa).mustAny("requester_missing").may("credential_issuance_unseen")
}

// Two people's agents call through one gateway at the same moment, and the
// gateway reads secrets for both with its one token. With a trace each read has
// its person; the read without one could be for either, or for neither.
func sharedGateway(s *story) {
	two, agents := s.people(2), s.agents(2)
	gw := &agent{name: "mcp-gateway", client: "mcp-gateway", sa: "system:serviceaccount:agents:mcp-gateway", aliases: []string{"mcp-gateway", "kubernetes-agents-mcp-gateway", "system:serviceaccount:agents:mcp-gateway"}}
	k, _ := s.agentLogin(0, gw)
	session := s.w.uuid()
	for i := range 2 {
		if i > 0 {
			s.newChain()
		}
		trace, span := s.w.hex(32), s.w.hex(16)
		at := 5*time.Second + time.Duration(s.w.IntN(300))*time.Millisecond
		call := s.gatewayFor(at, two[i], agents[i], gatewayCall{
			trace: trace, span: span, target: "crm", tool: "lookup", jti: s.w.uuid(), call: "call_" + s.w.text(16), session: session,
		})
		s.vaultBy(at+50*time.Millisecond, s.kvRead(&k, "crm/api", traceparent(trace, span)), two[i], call, CalledBy)
	}
	s.newChain()
	ask, answer := s.vault(5500*time.Millisecond, s.kvRead(&k, "crm/api", nil))
	for _, e := range []*event{ask, answer} {
		e.loose().truth.MayBeAmbiguous = true
	}
}
