package scenario

import "time"

// gatewayBy is a call with the token jti, which says whose it is.
func (s *story) gatewayBy(after time.Duration, p *person, a *agent, jti string, expires int64) *event {
	return s.gateway(after, gatewayCall{
		subject: p.okta, act: nested(a), client: a.client, jti: jti, trace: s.w.hex(32), span: s.w.hex(16), target: "reports", tool: "run_report", expires: expires,
	}).shows(p).acted(a)
}

// A token of Vault from its issue to its end: signed in for, used, renewed, used
// again, revoked.
func credentialLife(s *story) {
	p := s.person()
	k := s.personToken(p, 0)
	ask, login := s.vault(0, vaultCall{op: "update", path: "auth/oidc/oidc/callback", mount: "oidc", data: object{"code", s.w.hmac(), "state", s.w.hmac()}, issues: &k})
	login.shows(p)
	ask.by(p).from(login, RespondsTo).maybe(p.aliases...)
	use := func(after time.Duration, c vaultCall) {
		ask, answer := s.vaultBy(after, c, p, login, UsesCredential)
		ask.truth.Shown, answer.truth.Shown = true, true
	}
	use(5*time.Second, s.kvRead(&k, "staff/notes", nil))
	again := k
	use(20*time.Minute, vaultCall{token: &k, op: "update", path: "auth/token/renew-self", mount: "token", issues: &again})
	use(21*time.Minute, s.kvRead(&k, "staff/notes", nil))
	use(30*time.Minute, vaultCall{token: &k, op: "update", path: "auth/token/revoke-self", mount: "token"})
}

// A token goes on being taken by a gateway after the authorization server has
// revoked it: the gateway checks signatures only.
func credentialAfterRevoke(s *story) {
	p, a := s.person(), s.agent()
	session, jti := "102"+s.w.text(22), "AT."+s.w.text(43)
	login := s.oktaLogin(0, p, session)
	grant := s.oktaGrant(2*time.Second, p, a, session, jti, "mcp:call", time.Hour).from(login, UsesCredential)
	s.gatewayBy(10*time.Second, p, a, jti, 0).from(grant, UsesCredential)
	s.oktaRevoke(8*time.Minute, p, session, jti).from(grant, UsesCredential)
	s.gatewayBy(14*time.Minute, p, a, jti, 0).from(grant, UsesCredential).must("credential_used_after_revoke")
}

// A token is taken long after its end.
func credentialExpired(s *story) {
	p, a := s.person(), s.agent()
	session, jti := "102"+s.w.text(22), "AT."+s.w.text(43)
	login := s.oktaLogin(0, p, session)
	grant := s.oktaGrant(2*time.Second, p, a, session, jti, "mcp:call", 10*time.Minute).from(login, UsesCredential)
	s.gatewayBy(time.Minute, p, a, jti, 0).from(grant, UsesCredential)
	s.gatewayBy(40*time.Minute, p, a, jti, 0).from(grant, UsesCredential).must("credential_expired")
}

// A token of Okta's is used whose issue nobody saw.
func credentialUnseen(s *story) {
	p, a := s.person(), s.agent()
	s.gatewayBy(0, p, a, "AT."+s.w.text(43), 0).must("credential_issuance_unseen")
}

// Roles in Teleport are asked for and granted by review.

func (s *story) accessRequest(after time.Duration, p *person, id string) *event {
	return s.teleport(after, "access_request.create", "T5000I", "user", p.mail, "user_kind", 1, "id", id, "state", "PENDING", "roles", array{"db-admin"},
		"reason", "rotate the database password", "expires", s.start.Add(8*time.Hour).Format(nanos)).shows(p).did(p.aliases...)
}

func (s *story) accessReview(after time.Duration, id string, kind int, reviewer string) *event {
	o := []any{"user", reviewer, "user_kind", kind}
	if kind == 2 {
		o = append(o, "bot_name", reviewer, "bot_instance_id", s.w.uuid())
	}
	return s.teleport(after, "access_request.review", "T5002I", append(o, "id", id, "state", "APPROVED", "proposed_state", "APPROVED", "reason", "fine", "reviewer", reviewer)...)
}

// Somebody approves their own request.
func selfApproval(s *story) {
	p, id := s.person(), s.w.uuid()
	ask := s.accessRequest(0, p, id).mustAny("self_approval")
	s.accessReview(40*time.Second, id, 1, p.mail).by(p).did(p.aliases...).tied(ask, ApprovedBy).mustAny("self_approval")
}

// An agent asks, by Machine ID, and approves what it asked for.
func agentApproval(s *story) {
	a, id := s.agent(), s.w.uuid()
	bot := "bot-" + a.name
	names := append([]string{bot, a.name}, a.aliases...)
	ask := s.teleport(0, "access_request.create", "T5000I", "user", bot, "user_kind", 2, "bot_name", a.name, "bot_instance_id", s.w.uuid(), "id", id, "state", "PENDING",
		"roles", array{"db-admin"}, "reason", "migration", "expires", s.start.Add(8*time.Hour).Format(nanos)).did(names...).mustAny("self_approval")
	s.accessReview(5*time.Second, id, 2, bot).did(names...).tied(ask, ApprovedBy).mustAny("self_approval")
}

// Somebody else approves: nothing to find, and the approver asked for nothing.
func approvedByOther(s *story) {
	two, id := s.people(2), s.w.uuid()
	ask := s.accessRequest(0, two[0], id)
	// The reviewer did it, and what it is about is another's request.
	s.accessReview(90*time.Second, id, 1, two[1].mail).by(two[0]).did(two[1].aliases...).tied(ask, ApprovedBy).states(two[1].aliases...)
}
