package scenario

import "time"

// Three hops by RFC 8693 in Keycloak: Alice's app gets a token, agent A
// exchanges it, agent B exchanges that one. The session id and the token ids
// tie everything, and each exchange has fewer scopes than the one before.
func delegationNarrowing(s *story) {
	s.threeHops("repo:read deploy:read deploy:write", "deploy:read deploy:write", "deploy:read", false)
}

// The same, but the last exchange comes back with a scope that nobody handed on.
func delegationWidening(s *story) {
	s.threeHops("repo:read deploy:read", "deploy:read", "deploy:read secrets:admin", true)
}

func (s *story) threeHops(first, second, third string, wider bool) {
	p, two := s.person(), s.agents(2)
	session, app := s.w.uuid(), "console"
	t1, t2, t3 := s.w.uuid(), s.w.uuid(), s.w.uuid()
	login, token := s.keycloakLogin(0, p, app, session, t1, "openid "+first)
	x2 := s.keycloakExchange(3*time.Second, p, two[0], two[0].client, session, t2, second).from(token, UsesCredential)
	trace, s2, s3 := s.w.hex(32), s.w.hex(16), s.w.hex(16)
	c2 := s.gatewayFor(4*time.Second, p, two[0], gatewayCall{trace: trace, span: s2, target: "agents", tool: "delegate", jti: t2, scope: second}).from(x2, UsesCredential)
	x3 := s.keycloakExchange(5*time.Second, p, two[1], two[1].client, session, t3, third).from(x2, UsesCredential)
	c3 := s.gateway(6*time.Second, gatewayCall{
		subject: p.mail, name: p.mail, act: nested(two[1], two[0]), client: two[1].client, trace: trace, span: s3, parent: s2, target: "deploy", tool: "rollout", jti: t3, scope: third,
	}).shows(p).acted(two[1]).from(x3, UsesCredential).from(c2, CalledBy)
	if wider {
		x3.mustAny("scope_escalation")
		c3.mustAny("scope_escalation")
	}
	_ = login
}

// The same with Okta as the authorization server: the access token's id in the
// System Log is the jti that the gateway sees.
func oktaExchange(s *story) {
	p, a := s.person(), s.agent()
	session, jti := "102"+s.w.text(22), "AT."+s.w.text(43)
	login := s.oktaLogin(0, p, session)
	grant := s.oktaGrant(2*time.Second, p, a, session, jti, "mcp:call deploy:read", time.Hour).from(login, UsesCredential)
	trace, span := s.w.hex(32), s.w.hex(16)
	call := s.gateway(5*time.Second, gatewayCall{
		subject: p.okta, issuer: "https://login." + s.t.domain + "/oauth2/ausagents", act: nested(a), client: a.client, jti: jti, scope: "mcp:call deploy:read",
		trace: trace, span: span, target: "deploy", tool: "status",
	}).shows(p).acted(a).from(grant, UsesCredential)
	s.envoy(5100*time.Millisecond, a.spiffe, trace, span, "/deploy.v1.Deploy/Status", 200).by(p).from(call, CalledBy)
}

// Vault: Alice signs in and makes a child token for her agent. The child's
// accessor stands in the answer beside her own, so its uses are hers, though
// the child's name says nothing of her.
func vaultExchange(s *story) {
	p := s.person()
	k := s.personToken(p, 0)
	_, login := s.vault(0, vaultCall{op: "update", path: "auth/oidc/oidc/callback", mount: "oidc", data: object{"code", s.w.hmac(), "state", s.w.hmac()}, issues: &k})
	login.shows(p)
	s.events[len(s.events)-2].by(p).from(login, RespondsTo).maybe(p.aliases...)
	child := s.child(k)
	made := s.childMade(10*time.Second, p, k, &child, login)
	ask, answer := s.vaultBy(15*time.Second, s.kvRead(&child, "prod/deploy", nil), p, made, UsesCredential)
	for _, e := range []*event{ask, answer} {
		e.truth.ExecutorShown = false
		e.may("executor_by_credential_only")
	}
	if s.w.IntN(2) == 0 {
		s.vaultBy(40*time.Second, vaultCall{token: &k, op: "update", path: "auth/token/revoke-accessor", mount: "token", data: object{"accessor", child.accessor}}, p, made, UsesCredential)
		for _, e := range s.events[len(s.events)-2:] {
			e.shows(p)
		}
	}
}

// child is a token made from k. Its name is its parent's method and nothing more.
func (s *story) child(k vaultToken) vaultToken {
	return vaultToken{
		display: "token-deploy", entity: "", client: s.w.hmac(), accessor: s.w.hmac(), id: s.w.text(32), metadata: object{}, policies: []string{"deploy-read"}, ttl: 900,
		issued: k.issued.Add(10 * time.Second), names: append([]string{"token-deploy"}, k.names...),
	}
}

// childMade are the two lines of making it.
func (s *story) childMade(after time.Duration, p *person, k vaultToken, child *vaultToken, login *event) *event {
	ask, answer := s.vaultBy(after, vaultCall{
		token: &k, op: "update", path: "auth/token/create", mount: "token", data: object{"display_name", "deploy", "policies", array{"deploy-read"}, "ttl", "15m"}, issues: child,
	}, p, login, UsesCredential)
	ask.truth.Shown, answer.truth.Shown = true, true
	return answer
}

// Agent A hands the task to agent B, which starts a trace of its own but names
// the task, and acts with its own credential: only the task leads to the person.
func handoffTask(s *story) {
	p, two := s.person(), s.agents(2)
	task := "task-" + s.w.uuid()
	a := s.gatewayFor(0, p, two[0], gatewayCall{trace: s.w.hex(32), span: s.w.hex(16), target: "agents", tool: "handoff", jti: s.w.uuid(), task: task})
	trace, span := s.w.hex(32), s.w.hex(16)
	b := s.gateway(6*time.Second, gatewayCall{
		subject: two[1].client, client: two[1].client, jti: s.w.uuid(), trace: trace, span: span, task: task, target: "deploy", tool: "rollout",
	}).by(p).from(a, HandsOff).acted(two[1]).states(two[1].aliases...).may("chain_broken")
	s.envoy(6100*time.Millisecond, two[1].spiffe, trace, span, "/deploy.v1.Deploy/Rollout", 200).by(p).from(b, CalledBy)
}

// The same with nothing shared: B's span even names a parent that nobody logged.
// That Alice was behind it cannot be known; that something is missing can.
func handoffLost(s *story) {
	p, two := s.person(), s.agents(2)
	s.gatewayFor(0, p, two[0], gatewayCall{trace: s.w.hex(32), span: s.w.hex(16), target: "agents", tool: "handoff", jti: s.w.uuid()}).may("chain_broken")
	trace, span := s.w.hex(32), s.w.hex(16)
	b := s.span(6*time.Second, spanCall{
		service: two[1].name, name: "invoke_agent " + two[1].name, trace: trace, span: span, parent: s.w.hex(16), attributes: object{
			"gen_ai.operation.name", "invoke_agent", "gen_ai.agent.id", two[1].client, "gen_ai.agent.name", two[1].name, "gen_ai.provider.name", "anthropic", "gen_ai.request.model", "claude-sonnet-4-5",
		},
	}).by(p).acted(two[1]).must("chain_broken")
	s.envoy(6300*time.Millisecond, two[1].spiffe, trace, span, "/deploy.v1.Deploy/Rollout", 200).by(p).from(b, CalledBy).may("chain_broken")
}

// A delegation in Google Cloud: the call is a service account's, and the line
// lists who handed it over, first the person.
func gcpDelegation(s *story) {
	p, a := s.person(), s.agent()
	s.gcp(0, gcpCall{
		auth: object{"principalEmail", a.gcp, "principalSubject", "serviceAccount:" + a.gcp, "serviceAccountDelegationInfo", array{
			object{"principalSubject", "user:" + p.mail, "firstPartyPrincipal", object{"principalEmail", p.mail}},
		}},
		service: "secretmanager.googleapis.com", method: "google.cloud.secretmanager.v1.SecretManagerService.AccessSecretVersion",
		resource: "projects/" + s.t.name + "-prod/secrets/billing/versions/latest", permission: "secretmanager.versions.access", granted: true,
		more: object{"request", object{"@type", "type.googleapis.com/google.cloud.secretmanager.v1.AccessSecretVersionRequest", "name", "projects/" + s.t.name + "-prod/secrets/billing/versions/latest"}},
	}).shows(p).acted(a)
}

// The same where Google has blotted out who it was.
func gcpRedacted(s *story) {
	a := s.agent()
	s.gcp(0, gcpCall{
		auth:    object{"principalEmail", a.gcp, "principalSubject", "serviceAccount:" + a.gcp, "serviceAccountDelegationInfo", array{object{}}},
		service: "storage.googleapis.com", method: "storage.objects.get", resource: "projects/_/buckets/" + s.t.name + "-reports/objects/q3.csv",
		permission: "storage.objects.get", granted: true,
	}).by(s.person()).acted(a).must("delegation_redacted")
}
