package scenario

import "time"

// callBy is a call through the gateway by a person's agent, with one trace. The
// gateway has checked the token, so the line itself shows person and agent.
func (s *story) callBy(after time.Duration, p *person, a *agent, trace, span, target, tool string) *event {
	c := gatewayCall{trace: trace, span: span, target: target, tool: tool, jti: s.w.uuid(), call: "call_" + s.w.text(16)}
	return s.gatewayFor(after, p, a, c)
}

func (s *story) gatewayFor(after time.Duration, p *person, a *agent, c gatewayCall) *event {
	c.subject, c.name, c.act = p.mail, p.mail, nested(a)
	if s.w.IntN(2) == 0 {
		c.subject = p.kc
	}
	return s.gateway(after, c).shows(p).acted(a)
}

// agentLogin is the agent's own sign-in to Vault. Nobody asked for it.
func (s *story) agentLogin(after time.Duration, a *agent) (vaultToken, *event) {
	k := s.agentToken(a, after)
	ask, answer := s.vault(after, vaultCall{
		op: "update", path: "auth/kubernetes/login", mount: "kubernetes", data: object{"jwt", s.w.hmac(), "role", "agents"}, issues: &k,
	})
	ask.loose()
	answer.loose()
	return k, answer
}

// Alice tells her agent to do something; it calls a tool through the gateway and
// the tool reads a secret. One trace from end to end: everything can be known.
func simpleCall(s *story) {
	p, a := s.person(), s.agent()
	trace, span := s.w.hex(32), s.w.hex(16)
	k, _ := s.agentLogin(0, a)
	call := s.callBy(8*time.Second, p, a, trace, span, "secrets", "read_secret")
	s.vaultBy(8200*time.Millisecond, s.kvRead(&k, "prod/"+a.name, traceparent(trace, span)), p, call, CalledBy)
	if s.w.IntN(2) == 0 {
		s.envoy(8300*time.Millisecond, a.spiffe, trace, span, "/tools.v1.Tools/Call", 200).by(p).from(call, CalledBy)
	}
}

// A call fails and is tried again, twice, with the same trace and call id.
func retries(s *story) {
	p, a := s.person(), s.agent()
	trace, call := s.w.hex(32), "call_"+s.w.text(16)
	jti := s.w.uuid()
	var first *event
	for i, status := range []int{503, 503, 200} {
		span := s.w.hex(16)
		e := s.gatewayFor(time.Duration(i)*2*time.Second, p, a, gatewayCall{
			trace: trace, span: span, target: "tickets", tool: "create_ticket", call: call, jti: jti, status: status,
		})
		if first == nil {
			first = e
		} else {
			e.from(first, RetryOf)
		}
		s.envoy(time.Duration(i)*2*time.Second+50*time.Millisecond, a.spiffe, trace, span, "/tickets.v1.Tickets/Create", status).by(p).from(e, CalledBy)
	}
}

// One agent is refused a tool; the same person's other agent then gets through.
// The two calls share the task that the person gave both.
func deniedThenAllowed(s *story) {
	p, two := s.person(), s.agents(2)
	task := "task-" + s.w.uuid()
	no := s.gatewayFor(0, p, two[0], gatewayCall{
		trace: s.w.hex(32), span: s.w.hex(16), target: "billing", tool: "refund", jti: s.w.uuid(), task: task, status: 403, policy: "mcp-tools", reason: "tool refund is not granted to " + two[0].client,
	})
	trace, span := s.w.hex(32), s.w.hex(16)
	yes := s.gatewayFor(20*time.Second, p, two[1], gatewayCall{trace: trace, span: span, target: "billing", tool: "refund", jti: s.w.uuid(), task: task}).from(no, RetryOf)
	yes.may("chain_broken")
	s.envoy(20100*time.Millisecond, two[1].spiffe, trace, span, "/billing.v1.Billing/Refund", 200).by(p).from(yes, CalledBy)
}

// The line in the middle of a trace never arrives. The one below it names a
// parent that is nowhere, but the trace still leads to the person.
func lostMiddle(s *story) {
	p, two := s.person(), s.agents(2)
	trace, root, mid := s.w.hex(32), s.w.hex(16), s.w.hex(16)
	k, _ := s.agentLogin(0, two[1])
	call := s.callBy(4*time.Second, p, two[0], trace, root, "agents", "delegate")
	lost := s.span(4100*time.Millisecond, spanCall{service: two[1].name, name: "invoke_agent", trace: trace, span: mid, parent: root, attributes: object{"gen_ai.operation.name", "invoke_agent"}})
	lost.lost = true
	ask, answer := s.vault(4400*time.Millisecond, s.kvRead(&k, "prod/lost", traceparent(trace, mid)))
	ask.by(p).from(call, CalledBy).mustAny("chain_broken")
	answer.by(p).from(ask, RespondsTo).mustAny("chain_broken")
}

// The gateway's line is held up for minutes: its children are there first, and
// everything is right once it has come.
func lateParent(s *story) {
	p, a := s.person(), s.agent()
	trace, span := s.w.hex(32), s.w.hex(16)
	k, _ := s.agentLogin(0, a)
	call := s.callBy(5*time.Second, p, a, trace, span, "secrets", "read_secret").delay(time.Duration(60+s.w.IntN(120)) * time.Second)
	s.vaultBy(5200*time.Millisecond, s.kvRead(&k, "prod/late", traceparent(trace, span)), p, call, CalledBy)
	s.envoy(5300*time.Millisecond, a.spiffe, trace, span, "/tools.v1.Tools/Call", 200).by(p).from(call, CalledBy)
}

// A sender repeats lines it has sent: the same bytes twice.
func duplicates(s *story) {
	p, a := s.person(), s.agent()
	trace, span := s.w.hex(32), s.w.hex(16)
	call := s.callBy(0, p, a, trace, span, "search", "web_search")
	below := s.envoy(100*time.Millisecond, a.spiffe, trace, span, "/search.v1.Search/Query", 200).by(p).from(call, CalledBy)
	for _, e := range []*event{call, below} {
		c := s.emit(e.truth.Format, 2*time.Second, e.raw)
		c.truth.Shown, c.truth.Executor, c.truth.ExecutorAliases, c.truth.ExecutorShown = e.truth.Shown, e.truth.Executor, e.truth.ExecutorAliases, true
		c.by(p).from(e, RetryOf)
	}
}

// The tenants' systems happen to use the same trace, token and credential ids,
// for different people. Nothing of one may reach the other.
func tenantsCollide(s *story) {
	trace, span, jti := s.w.hex(32), s.w.hex(16), s.w.uuid()
	client, accessor := s.w.hmac(), s.w.hmac()
	i := s.w.IntN(len(firstNames))
	for n, t := range s.w.tenants {
		if n > 0 {
			s.newChain()
		}
		s.t = t
		p, a := t.people[(i+n*3)%len(firstNames)], s.agent()
		d := time.Duration(n) * time.Second
		call := s.gatewayFor(d, p, a, gatewayCall{trace: trace, span: span, target: "secrets", tool: "read_secret", jti: jti})
		k := s.agentToken(a, d)
		k.client, k.accessor = client, accessor
		ask, answer := s.vaultBy(d+200*time.Millisecond, s.kvRead(&k, "prod/shared-name", traceparent(trace, span)), p, call, CalledBy)
		ask.may("credential_issuance_unseen")
		answer.may("credential_issuance_unseen")
	}
}

// The lines of a trace come over a collector whose format has to be guessed
// from the line. They can be told who asked, but can tell nobody else.
func detectedSource(s *story) {
	p, a := s.person(), s.agent()
	trace, span := s.w.hex(32), s.w.hex(16)
	if s.w.IntN(2) == 0 {
		call := s.callBy(0, p, a, trace, span, "search", "web_search")
		s.envoy(100*time.Millisecond, a.spiffe, trace, span, "/search.v1.Search/Query", 200).via(s, collector).by(p).from(call, CalledBy)
		return
	}
	call := s.callBy(0, p, a, trace, span, "search", "web_search").via(s, collector)
	s.envoy(100*time.Millisecond, a.spiffe, trace, span, "/search.v1.Search/Query", 200).by(p).from(call, CalledBy).may("link_ambiguous", "chain_broken")
}

// A policy engine is asked first; its log has the same trace as the call.
func opaDecision(s *story) {
	p, a := s.person(), s.agent()
	trace, span := s.w.hex(32), s.w.hex(16)
	call := s.callBy(0, p, a, trace, span, "crm", "export_contacts")
	d := s.opa(30*time.Millisecond, p.mail, a.client, "export_contacts", trace, s.w.hex(16), true).shows(p).from(call, CalledBy).acted(a)
	d.may("agent_as_human").truth.ExecutorAliases = append(append([]string{}, a.aliases...), p.aliases...)
	s.envoy(80*time.Millisecond, a.spiffe, trace, span, "/crm.v1.CRM/Export", 200).by(p).from(call, CalledBy)
}
