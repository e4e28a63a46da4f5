package scenario

import "time"

// One request through the whole house: an identity provider, the gateway, Vault,
// AWS with Secrets Manager, Azure Key Vault, a workload's identity at a proxy,
// GitHub, and a privileged session on a host. What shares an identifier is one
// group; the rest shows Alice by itself.
func everything(s *story) {
	p, a := s.person(), s.agent()
	session, jti := "102"+s.w.text(22), "AT."+s.w.text(43)
	login := s.oktaLogin(0, p, session)
	grant := s.oktaGrant(2*time.Second, p, a, session, jti, "mcp:call", time.Hour).from(login, UsesCredential)
	k, _ := s.agentLogin(3*time.Second, a)
	trace, span := s.w.hex(32), s.w.hex(16)
	call := s.gateway(6*time.Second, gatewayCall{
		subject: p.okta, issuer: "https://login." + s.t.domain + "/oauth2/ausagents", act: nested(a), client: a.client, jti: jti, scope: "mcp:call",
		trace: trace, span: span, target: "release", tool: "roll_out",
	}).shows(p).acted(a).from(grant, UsesCredential)
	s.opa(6050*time.Millisecond, p.mail, a.client, "roll_out", trace, s.w.hex(16), true).shows(p).from(call, CalledBy).did(append(append([]string{}, a.aliases...), p.aliases...)...).may("agent_as_human")
	s.vaultBy(6200*time.Millisecond, s.kvRead(&k, "prod/release", traceparent(trace, span)), p, call, CalledBy)
	s.envoy(6500*time.Millisecond, a.spiffe, trace, span, "/release.v1.Release/Start", 200).by(p).from(call, CalledBy)

	base := awsSession{role: "AgentRunner", name: a.name, key: s.w.key("ASIA"), created: s.start}
	cloud := awsSession{role: a.role, name: "task-" + s.w.hex(8), key: s.w.key("ASIA"), source: p.mail, created: s.start}
	got := s.assume(7*time.Second, s.identity(base), cloud, time.Hour).shows(p).did(append(base.names(s.t), a.name)...).may("credential_issuance_unseen")
	s.secretRead(8*time.Second, cloud, "prod/release").shows(p).from(got, UsesCredential)
	s.keyVault(9*time.Second, p, s.w.uuid(), "signing-key").may("credential_issuance_unseen")

	token := "ghs_" + s.w.text(36)
	_, hexed := sum(token)
	push := s.gatewayFor(11*time.Second, p, a, gatewayCall{trace: trace, span: s.w.hex(16), parent: span, target: "github", tool: "create_release", credential: "sha256:" + hexed}).from(call, CalledBy)
	bot := s.t.name + "-deploy[bot]"
	s.github(12*time.Second, "git.push", bot, true, token, "repo", s.t.name+"-eng/payments", "repository", s.t.name+"-eng/payments", "repository_public", false,
		"transport_protocol", 1, "transport_protocol_name", "http", "programmatic_access_type", "GitHub App server-to-server token", "integration", s.t.name+"-deploy").
		by(p).from(push, UsesCredential).did(bot, s.t.name+"-deploy").may("credential_issuance_unseen")

	host := s.host()
	g := s.pam(3, time.Minute, 20*time.Minute, p, host, "deploy")
	for _, e := range s.inside(5*time.Minute, 16*time.Minute, host, "deploy", 1001) {
		e.by(p).within(g.start)
	}
}
