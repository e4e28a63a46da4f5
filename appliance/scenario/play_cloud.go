package scenario

import (
	"fmt"
	"time"
)

// sso is Alice's own session by IAM Identity Center, whose name only that service sets.
func (s *story) sso(p *person) awsSession {
	return awsSession{role: "AWSReservedSSO_Staff_" + "4f1c9a7be2d03c55", name: p.mail, key: s.w.key("ASIA"), sso: true, created: s.start}
}

// roleChain is two roles assumed one after the other, and a secret read with the last.
func (s *story) roleChain(p *person, a *agent, source, sessionName string) (lines []*event) {
	me := s.sso(p)
	first := awsSession{role: a.role, name: sessionName, key: s.w.key("ASIA"), source: source, created: s.start}
	second := awsSession{role: "SecretsReader", name: "task-" + s.w.hex(8), key: s.w.key("ASIA"), source: source, created: s.start}
	one := s.assume(0, s.identity(me), first, time.Hour).shows(p).did(me.names(s.t)...)
	one.truth.ExecutorAliases = append(one.truth.ExecutorAliases, p.aliases...)
	two := s.assume(3*time.Second, s.identity(first), second, time.Hour).by(p).from(one, UsesCredential).did(first.names(s.t)...)
	get := s.secretRead(5*time.Second, second, "prod/payments").by(p).from(two, UsesCredential)
	no := s.cloudtrail(6*time.Second, awsCall{
		identity: s.identity(second), service: "s3", name: "GetObject", read: true, category: "Data", params: object{"bucketName", s.t.name + "-ledger", "Host", s.t.name + "-ledger.s3.eu-central-1.amazonaws.com", "key", "2026/q3.csv"},
		code: "AccessDenied", message: "User: " + second.arn(s.t) + " is not authorized to perform: s3:GetObject on resource: \"arn:aws:s3:::" + s.t.name + "-ledger/2026/q3.csv\" because no identity-based policy allows the s3:GetObject action",
		resources: array{object{"type", "AWS::S3::Object", "ARN", "arn:aws:s3:::" + s.t.name + "-ledger/2026/q3.csv"}},
	}).by(p).from(two, UsesCredential).did(second.names(s.t)...)
	return []*event{one, two, get, no}
}

// Role chaining where the first call set a source identity: AWS carries it on,
// and every line names Alice.
func stsChainIdentity(s *story) {
	p := s.person()
	for _, e := range s.roleChain(p, s.agent(), p.mail, "deploy-"+s.w.hex(6)) {
		e.truth.Shown = true
	}
}

// Role chaining without it: only the access keys tie the lines. In one of three
// the caller has given the session somebody else's name, which proves nothing.
func stsChainNameless(s *story) {
	two := s.people(2)
	name := "deploy-" + s.w.hex(6)
	lie := s.w.IntN(3) == 0
	if lie {
		name = two[1].mail
	}
	for i, e := range s.roleChain(two[0], s.agent(), "", name) {
		if i > 0 && lie {
			e.truth.Forged = two[1].aliases
			e.truth.ExecutorAliases = append(e.truth.ExecutorAliases, two[1].mail)
		}
	}
}

// A pod's role by web identity: no person anywhere, and none may be named.
func irsa(s *story) {
	a := s.agent()
	provider := "arn:aws:iam::" + s.t.account + ":oidc-provider/oidc.eks.eu-central-1.amazonaws.com/id/" + s.w.pick("0123456789ABCDEF", 32)
	session := awsSession{role: a.role, name: fmt.Sprintf("aws-sdk-python-%d", 1_764_000_000+s.w.IntN(900000)), key: s.w.key("ASIA"), provider: provider, created: s.start}
	get := s.cloudtrail(0, awsCall{
		identity: object{
			"type", "WebIdentityUser", "principalId", provider + ":sts.amazonaws.com:" + a.sa, "userName", a.sa, "identityProvider", provider,
		},
		service: "sts", name: "AssumeRoleWithWebIdentity", read: true,
		params: object{"roleArn", session.roleARN(s.t), "roleSessionName", session.name, "durationSeconds", 3600},
		response: object{
			"credentials",
			object{"accessKeyId", session.key, "sessionToken", "IQoJb3JpZ2luX2VjE" + s.w.text(24), "expiration", s.clock("cloudtrail", time.Hour).Format("Jan 2, 2006, 3:04:05 PM")},
			"subjectFromWebIdentityToken", a.sa, "assumedRoleUser",
			object{"assumedRoleId", "AROA" + a.role[:3] + "7QEXAMPLE33:" + session.name, "arn", session.arn(s.t)},
			"provider", provider, "audience", "sts.amazonaws.com",
		},
	}).did(append([]string{a.sa, provider, provider + ":sts.amazonaws.com:" + a.sa}, a.aliases...)...)
	use := s.secretRead(2*time.Second, session, "prod/"+a.name).tied(get, UsesCredential)
	use.truth.ExecutorAliases = append(use.truth.ExecutorAliases, a.aliases...)
}

// An agent's AWS session with Alice as source identity talks to an EKS cluster,
// whose audit log shows the access key and the role, and nothing of Alice.
func eks(s *story) {
	p, a := s.person(), s.agent()
	base := awsSession{role: "AgentRunner", name: a.name, key: s.w.key("ASIA"), created: s.start}
	session := awsSession{role: a.role, name: "task-" + s.w.hex(8), key: s.w.key("ASIA"), source: p.mail, created: s.start}
	got := s.assume(0, s.identity(base), session, time.Hour).shows(p).did(append(base.names(s.t), a.name)...).may("credential_issuance_unseen")
	user := object{
		"username", session.arn(s.t), "uid", "aws-iam-authenticator:" + s.t.account + ":AROA" + a.role[:3] + "7QEXAMPLE33", "groups",
		[]string{"agents", "system:authenticated"},
		"extra",
		object{
			"accessKeyId",
			array{session.key},
			"arn",
			array{session.arn(s.t)},
			"canonicalArn",
			array{session.roleARN(s.t)},
			"principalId",
			array{"AROA" + a.role[:3] + "7QEXAMPLE33"},
			"sessionName",
			array{session.name},
		},
	}
	names := append(session.names(s.t), a.aliases...)
	s.k8s(3*time.Second, k8sCall{user: user, verb: "get", resource: "secrets", ns: "payments", name: "stripe", reason: `RBAC: allowed by RoleBinding "agents/payments" of Role "read-secrets" to Group "agents"`}).
		by(p).from(got, UsesCredential).did(names...)
	s.k8s(4*time.Second, k8sCall{
		user: user, verb: "create", resource: "pods", sub: "exec", ns: "payments", name: "api-0", deny: true,
		statusText: `pods "api-0" is forbidden: User "` + session.arn(s.t) + `" cannot create resource "pods/exec" in API group "" in the namespace "payments"`,
	}).by(p).from(got, UsesCredential).did(names...)
}

// Alice signs in to Entra and an app reads her files: the Graph's line shows her
// object id, and the id of the token that the sign-in gave.
func entraGraph(s *story) {
	p, app, uti := s.person(), s.w.uuid(), s.w.text(22)
	in := s.entraSignIn(0, p, uti, s.w.uuid(), app, "Report builder")
	in.truth.ExecutorAliases = append(append([]string{}, p.aliases...), app, "Report builder")
	s.graphCall(6*time.Second, uti, app, p.entra, "GET", "me/drive/root/children").shows(p).from(in, UsesCredential).did(app, "Report builder")
	if s.w.IntN(2) == 0 {
		// Beside it an app on its own, at the same moment.
		s.newChain()
		other := s.w.uuid()
		e := s.graphCall(6*time.Second, s.w.text(22), other, "", "GET", "users").did(other).may("credential_issuance_unseen")
		e.truth.ExecutorShown = false // the app or its service principal
		e.truth.ExecutorAliases = nil
		e.truth.AnyExecutor = true
	}
}

// An agent identity of Entra gets a token for Alice, without her being there,
// and reads with it. The agent acted, she is whom it acts for.
func entraAgent(s *story) {
	p, app, uti := s.person(), s.w.uuid(), s.w.text(22)
	name, parent, correlation := "Mail triage agent", s.w.uuid(), s.w.uuid()
	at, ip := s.clock("entra", 0), s.w.ip()
	in := s.emit("entra", 0, text(object{
		"time", at.Format("2006-01-02T15:04:05.0000000Z"), "resourceId", "/tenants/" + s.t.entra + "/providers/Microsoft.aadiam", "operationName", "Sign-in activity",
		"operationVersion", "1.0", "category", "NonInteractiveUserSignInLogs", "tenantId", s.t.entra, "resultType", "0", "resultSignature", "None", "durationMs", 0,
		"callerIpAddress", ip, "correlationId", correlation, "identity", p.full, "Level", 4, "location", "DE",
		"properties",
		object{
			"id", s.w.uuid(), "createdDateTime", at.Format("2006-01-02T15:04:05.0000000+00:00"), "userDisplayName", p.full, "userPrincipalName", p.mail, "userId", p.entra,
			"appId", app, "appDisplayName", name, "ipAddress", ip, "status",
			object{"errorCode", 0},
			"clientAppUsed", "", "deviceDetail",
			object{"deviceId", "", "operatingSystem", ""},
			"location",
			object{"city", "Frankfurt", "state", "Hessen", "countryOrRegion", "DE"},
			"correlationId", correlation, "conditionalAccessStatus", "notApplied",
			"appliedConditionalAccessPolicies",
			array{},
			"isInteractive", false, "tokenIssuerType", "AzureAD", "authenticationRequirement", "singleFactorAuthentication",
			"uniqueTokenIdentifier", uti, "incomingTokenType", "none", "resourceDisplayName", "Microsoft Graph", "resourceId", "00000003-0000-0000-c000-000000000000",
			"agent",
			object{"agentType", "agentIdentity", "parentAppId", parent, "agentSubjectType", "notAgentic", "agentSubjectParentId", ""},
			"resourceTenantId", s.t.entra, "homeTenantId", s.t.entra, "userType", "Member", "crossTenantAccessType", "none",
		},
	})).shows(p).did(app, name)
	s.graphCall(8*time.Second, uti, app, p.entra, "GET", "me/messages").shows(p).from(in, UsesCredential).did(app, name)
}

// Through the gateway Alice's agent works on GitHub with a token of its app.
// GitHub logs the SHA-256 of the token, and so does the gateway.
func githubToken(s *story) {
	p, a := s.person(), s.agent()
	token := "ghs_" + s.w.text(36)
	_, hexed := sum(token)
	call := s.gatewayFor(0, p, a, gatewayCall{trace: s.w.hex(32), span: s.w.hex(16), target: "github", tool: "merge_pull_request", credential: "sha256:" + hexed})
	bot := s.t.name + "-deploy[bot]"
	s.github(900*time.Millisecond, "pull_request.merge", bot, true, token, "repo", s.t.name+"-eng/payments", "repo_id", 5512, "public_repo", false,
		"programmatic_access_type", "GitHub App server-to-server token", "integration", s.t.name+"-deploy", "pull_request_id", 1000+s.w.IntN(9000)).
		by(p).from(call, UsesCredential).did(bot, s.t.name+"-deploy").may("credential_issuance_unseen")
}

// From the gateway by a trace to Vault, which hands out a short-lived token of a
// Kubernetes service account. The cluster's log knows the token's id, Vault's
// does not: to the cluster the chain cannot be followed.
func gatewayVaultK8s(s *story) {
	p, a := s.person(), s.agent()
	trace, span := s.w.hex(32), s.w.hex(16)
	k, _ := s.agentLogin(0, a)
	call := s.callBy(10*time.Second, p, a, trace, span, "kubernetes", "restart_deployment")
	s.vaultBy(10100*time.Millisecond, vaultCall{
		token: &k, op: "update", path: "kubernetes/creds/" + a.name, mount: "kubernetes", headers: traceparent(trace, span), data: object{"kubernetes_namespace", "agents"},
		response: object{"service_account_name", a.name, "service_account_namespace", "agents", "service_account_token", s.w.hmac()},
		secret:   object{"lease_id", "kubernetes/creds/" + a.name + "/" + s.w.text(24)},
	}, p, call, CalledBy)
	jti := s.w.uuid()
	made := s.k8s(10200*time.Millisecond, k8sCall{
		user: object{"username", "system:serviceaccount:vault:vault", "uid", s.w.uuid(), "groups", []string{"system:serviceaccounts", "system:serviceaccounts:vault", "system:authenticated"}},
		verb: "create", resource: "serviceaccounts", sub: "token", ns: "agents", name: a.name, code: 201, agent: "vault/v1.18.2 (linux/amd64)",
		reason: `RBAC: allowed by ClusterRoleBinding "vault-token-creator" of ClusterRole "vault-token-creator" to ServiceAccount "vault/vault"`,
		notes:  object{"authentication.kubernetes.io/issued-credential-id", "JTI=" + jti},
		request: object{
			"kind", "TokenRequest", "apiVersion", "authentication.k8s.io/v1", "metadata",
			object{"creationTimestamp", nil},
			"spec",
			object{"audiences", array{"https://kubernetes.default.svc"}, "expirationSeconds", 600, "boundObjectRef", nil},
			"status",
			object{"token", "", "expirationTimestamp", nil},
		},
	}).by(p).did("system:serviceaccount:vault:vault")
	s.k8s(10900*time.Millisecond, k8sCall{
		user: s.serviceAccount(a, jti), verb: "patch", group: "apps", resource: "deployments", ns: "agents", name: "web",
		reason: `RBAC: allowed by RoleBinding "restarts/agents" of Role "restarter" to ServiceAccount "` + a.name + `/agents"`,
	}).by(p).from(made, UsesCredential).acted(a)
}
