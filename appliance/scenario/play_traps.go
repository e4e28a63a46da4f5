package scenario

import (
	"fmt"
	"strings"
	"time"
)

// What goes on everywhere and nobody asked for: controllers, health checks,
// guessed passwords. A name that was tried is not a name of somebody who was there.
func background(s *story) {
	s.chain = 0
	p, host := s.person(), s.host()
	switch s.w.IntN(6) {
	case 0:
		user := [...]string{"system:kube-scheduler", "system:kube-controller-manager", "system:node:node-07", "system:apiserver"}[s.w.IntN(4)]
		s.k8s(0, k8sCall{
			user: object{"username", user, "groups", []string{"system:authenticated"}}, verb: "update", group: "coordination.k8s.io", resource: "leases", ns: "kube-system", name: strings.TrimPrefix(user, "system:"),
			agent: "kube-component/v1.32.1 (linux/amd64) kubernetes/3f1a2c0/leader-election", reason: `RBAC: allowed by ClusterRoleBinding "` + user + `" of ClusterRole "` + user + `"`,
		}).did(user)
	case 1:
		s.sshd(0, host, 2000+s.w.IntN(9000), fmt.Sprintf("Failed password for %s from %s port %d ssh2", p.login, s.w.ip(), 30000+s.w.IntN(30000))).maybe(p.login).states(p.login)
	case 2:
		s.sshd(0, host, 2000+s.w.IntN(9000), fmt.Sprintf("Invalid user %s from %s port %d", [...]string{"admin", "test", "oracle", "postgres"}[s.w.IntN(4)], s.w.ip(), 30000+s.w.IntN(30000))).
			maybe("admin", "test", "oracle", "postgres")
	case 3:
		s.cloudtrail(0, awsCall{
			identity: object{"type", "AWSService", "invokedBy", "ec2.amazonaws.com"}, service: "sts", name: "AssumeRole", read: true, ip: "ec2.amazonaws.com", agent: "ec2.amazonaws.com",
			params: object{"roleArn", "arn:aws:iam::" + s.t.account + ":role/WebServer", "roleSessionName", "i-0" + s.w.hex(16)},
			response: object{
				"credentials", object{"accessKeyId", s.w.key("ASIA"), "sessionToken", "IQoJb3JpZ2luX2VjE" + s.w.text(24), "expiration", s.clock("cloudtrail", 6*time.Hour).Format("Jan 2, 2006, 3:04:05 PM")},
			},
		}).did("ec2.amazonaws.com")
	case 4:
		s.okta(0, oktaEvent{
			typ: "user.session.start", message: "User login to Okta", actor: oktaUser(p), result: "FAILURE", reason: "INVALID_CREDENTIALS",
		}).maybe(p.aliases...).states(p.aliases...)
	case 5:
		s.envoy(0, "spiffe://"+s.t.domain+"/ns/monitoring/sa/prober", s.w.hex(32), s.w.hex(16), "/healthz", 200).may("chain_broken")
	}
}

// A service of AWS works with Alice's session: it acts, she asked.
func awsService(s *story) {
	p := s.person()
	me := s.sso(p)
	call := s.cloudtrail(0, awsCall{
		identity: s.identity(me), service: "athena", name: "StartQueryExecution", params: object{"queryString", "SELECT 1", "workGroup", "primary"},
		response: object{"queryExecutionId", s.w.uuid()}, agent: "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0", more: object{"sessionCredentialFromConsole", "true"},
	}).shows(p).did(append(me.names(s.t), p.aliases...)...)
	identity := append(s.identity(me), "invokedBy", "athena.amazonaws.com")
	s.cloudtrail(2*time.Second, awsCall{
		identity: identity, service: "s3", name: "GetObject", read: true, category: "Data", ip: "athena.amazonaws.com", agent: "athena.amazonaws.com",
		params: object{"bucketName", s.t.name + "-lake", "Host", s.t.name + "-lake.s3.eu-central-1.amazonaws.com", "key", "events/part-0001.parquet"},
	}).shows(p).from(call, UsesCredential).did("athena.amazonaws.com")
}

// Two people one after the other on one host and account: each has their own
// lines, and never the other's.
func oneAfterTheOther(s *story) {
	two, host, kind := s.people(2), s.host(), s.w.IntN(4)
	for i := range 2 {
		if i > 0 {
			s.newChain()
		}
		begin := time.Duration(i) * 60 * time.Minute
		g := s.pam(kind, begin, begin+40*time.Minute, two[i], host, "oracle")
		for _, e := range s.inside(begin+5*time.Minute, begin+32*time.Minute, host, "oracle", 54321) {
			e.by(two[i]).within(g.start)
		}
	}
	// Between the two nobody was in by the manager: whose this is, nobody can say.
	s.chain = 0
	s.sudo(50*time.Minute, host, "oracle", "root", "/usr/bin/id")
}

// Calls that were not traced carry an id of zeros, all the same one. And an
// agent's model numbers its tool calls from nought, in every conversation.
func zeroTrace(s *story) {
	two, agents := s.people(2), s.agents(2)
	session := s.w.uuid() // the gateway keeps one session with the tool's server
	for i := range 2 {
		if i > 0 {
			s.newChain()
		}
		s.gatewayFor(time.Duration(i)*700*time.Millisecond, two[i], agents[i], gatewayCall{
			trace: strings.Repeat("0", 32), span: strings.Repeat("0", 16), target: "crm", tool: "lookup", jti: s.w.uuid(), call: "call_0", session: session,
		})
	}
	s.newChain()
	s.envoy(900*time.Millisecond, agents[0].spiffe, strings.Repeat("0", 32), strings.Repeat("0", 16), "/crm.v1.CRM/Lookup", 200).may("link_ambiguous", "chain_broken")
}

// A workload says in a header for whom it works. Nobody else has heard of it:
// the line may say so of itself, as a claim.
func claimedRequester(s *story) {
	p, a := s.person(), s.agent()
	k, made := s.agentLogin(0, a)
	ask, answer := s.vault(20*time.Second, s.kvRead(&k, "prod/claimed", object{"x-on-behalf-of", array{p.mail}}))
	for _, e := range []*event{ask, answer} {
		e.by(p).states(p.aliases...)
	}
	ask.tied(made, UsesCredential)
}

// An administrator makes a key for a machine's user. The machine's calls with
// it are nobody's request: who made a credential is not who uses it.
func keyForAnother(s *story) {
	p := s.person()
	me, user, key := s.sso(p), "ci-export-"+s.w.hex(4), s.w.key("AKIA")
	made := s.cloudtrail(0, awsCall{
		identity: s.identity(me), service: "iam", name: "CreateAccessKey", params: object{"userName", user},
		response: object{"accessKey", object{"userName", user, "accessKeyId", key, "status", "Active", "createDate", s.clock("cloudtrail", 0).Format("Jan 2, 2006, 3:04:05 PM")}},
	}).shows(p).did(append(me.names(s.t), p.aliases...)...).loose()
	identity := s.iamUser(user, key)
	for i := range 3 {
		s.cloudtrail(time.Duration(2+i*3)*time.Minute, awsCall{
			identity: identity, service: "s3", name: "PutObject", category: "Data", agent: "aws-cli/2.22.0 md/awscrt#0.23.4 ua/2.0 os/linux#6.8.0 md/arch#x86_64 lang/python#3.12.6",
			params: object{"bucketName", s.t.name + "-export", "Host", s.t.name + "-export.s3.eu-central-1.amazonaws.com", "key", fmt.Sprintf("daily/%d.csv", i)},
		}).did("arn:aws:iam::"+s.t.account+":user/"+user, user).tied(made, UsesCredential).loose()
	}
}

// A machine gets a token by client credentials and calls with it: the token's
// subject is the machine.
func machineToken(s *story) {
	a, jti := s.agent(), "AT."+s.w.text(43)
	at := s.clock("okta", 0)
	grant := s.okta(0, oktaEvent{
		typ: "app.oauth2.as.token.grant.access_token", message: "OAuth2 access token is granted", actor: oktaApp(a), userAgentless: true,
		debug: object{"grantType", "client_credentials", "grantedScopes", "mcp:call", "requestedScopes", "mcp:call", "clientAuthType", "private_key_jwt", "clientId", a.client},
		target: array{object{
			"id", jti, "type", "access_token", "alternateId", "unknown", "displayName", "Access Token",
			"detailEntry",
			object{"expires", at.Add(time.Hour).Format(millis), "subject", a.client, "hash", s.w.text(43)},
		}},
	}).did(append([]string{"0oa" + a.name}, a.aliases...)...)
	trace, span := s.w.hex(32), s.w.hex(16)
	call := s.gateway(4*time.Second, gatewayCall{
		subject: a.client, issuer: "https://login." + s.t.domain + "/oauth2/ausagents", client: a.client, jti: jti, scope: "mcp:call", trace: trace, span: span, target: "metrics", tool: "push",
	}).acted(a).states(a.aliases...).tied(grant, UsesCredential)
	s.envoy(4100*time.Millisecond, a.spiffe, trace, span, "/metrics.v1.Metrics/Push", 200).tied(call, CalledBy).states(a.aliases...)
}
