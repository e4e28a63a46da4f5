package scenario

import (
	"fmt"
	"strings"
	"time"
)

// oktaEvent is one event of Okta's System Log.
type oktaEvent struct {
	typ, message  string
	actor         object
	session       string
	target        array
	txn           string
	debug         object
	result        string
	reason        string
	userAgentless bool
}

func (s *story) okta(after time.Duration, c oktaEvent) *event {
	w, at := s.w, s.clock("okta", after)
	if c.result == "" {
		c.result = "SUCCESS"
	}
	if c.txn == "" {
		c.txn = w.text(24)
	}
	ip := w.ip()
	var reason, agent any
	if c.reason != "" {
		reason = c.reason
	}
	if !c.userAgentless {
		agent = object{"rawUserAgent", "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0", "os", "Linux", "browser", "FIREFOX"}
	}
	var session any
	if c.session != "" {
		session = c.session
	}
	var target any
	if len(c.target) > 0 {
		target = c.target
	}
	return s.emit("okta", after, text(object{
		"actor", c.actor, "client",
		object{
			"userAgent", agent, "zone", "null", "device", "Computer", "id", nil, "ipAddress", ip,
			"geographicalContext",
			object{"city", "Berlin", "state", "Berlin", "country", "Germany", "postalCode", "10115", "geolocation", object{"lat", 52, "lon", 13}},
		},
		"device", nil, "authenticationContext",
		object{
			"authenticationProvider", nil, "credentialProvider", nil, "credentialType", nil, "issuer", nil, "interface", nil, "authenticationStep", 0,
			"rootSessionId", session, "externalSessionId", session,
		},
		"displayMessage", c.message, "eventType", c.typ, "outcome",
		object{"result", c.result, "reason", reason},
		"published", at.Format(millis),
		"securityContext",
		object{"asNumber", 64500, "asOrg", "example", "isp", "example", "domain", ".", "isProxy", false},
		"severity", "INFO",
		"debugContext",
		object{"debugData", append(object{"requestId", w.hex(32), "requestUri", "/oauth2/v1/token", "url", "/oauth2/v1/token?"}, c.debug...)},
		"legacyEventType", nil, "transaction",
		object{"type", "WEB", "id", c.txn, "detail", object{}},
		"uuid", w.uuid(), "version", "0",
		"request",
		object{"ipChain", array{object{"ip", ip, "geographicalContext", nil, "version", "V4", "source", nil}}},
		"target", target,
	}))
}

func oktaUser(p *person) object {
	return object{"id", p.okta, "type", "User", "alternateId", p.mail, "displayName", p.full, "detailEntry", nil}
}

func oktaApp(a *agent) object {
	return object{"id", "0oa" + a.name, "type", "PublicClientApp", "alternateId", a.client, "displayName", a.name, "detailEntry", nil}
}

// oktaLogin is the start of a session.
func (s *story) oktaLogin(after time.Duration, p *person, session string) *event {
	return s.okta(after, oktaEvent{
		typ: "user.session.start", message: "User login to Okta", actor: oktaUser(p), session: session,
		target: array{object{"id", "00uAuthn", "type", "AppInstance", "alternateId", "unknown", "displayName", "Okta Dashboard", "detailEntry", nil}},
	}).shows(p).did(p.aliases...)
}

// oktaGrant is an access token for a person's app; jti names the token.
func (s *story) oktaGrant(after time.Duration, p *person, a *agent, session, jti, scopes string, life time.Duration) *event {
	at := s.clock("okta", after)
	return s.okta(after, oktaEvent{
		typ: "app.oauth2.as.token.grant.access_token", message: "OAuth2 access token is granted", actor: oktaUser(p), session: session,
		debug: object{
			"grantType", "authorization_code", "grantedScopes", scopes, "requestedScopes", scopes, "clientAuthType", "client_secret_basic", "clientId", a.client,
			"authorizationServer", "ausagents",
		},
		target: array{
			object{
				"id", jti, "type", "access_token", "alternateId", "unknown", "displayName", "Access Token",
				"detailEntry",
				object{"expires", at.Add(life).Format(millis), "subject", p.okta, "hash", s.w.text(43)},
			},
			object{"id", "0oa" + a.name, "type", "PublicClientApp", "alternateId", a.client, "displayName", a.name, "detailEntry", nil},
		},
	}).shows(p).did(append(append([]string{}, p.aliases...), append(a.aliases, "0oa"+a.name)...)...)
}

// oktaRevoke ends an access token.
func (s *story) oktaRevoke(after time.Duration, p *person, session, jti string) *event {
	return s.okta(after, oktaEvent{
		typ: "app.oauth2.as.token.revoke", message: "OAuth2 token revocation request", actor: oktaUser(p), session: session,
		target: array{object{"id", jti, "type", "access_token", "alternateId", "unknown", "displayName", "Access Token", "detailEntry", nil}},
	}).shows(p).did(p.aliases...)
}

// keycloak is an event as Keycloak's logging listener writes it: in quotes since
// version 26, before that only where there is a blank; by itself or inside the
// server's JSON log.
func (s *story) keycloak(after time.Duration, typ, client, user, session string, details ...string) *event {
	w, at := s.w, s.clock("keycloak", after)
	members := append([]string{
		"type", typ, "realmId", s.t.entra, "realmName", s.t.name, "clientId", client, "userId", user, "sessionId", session, "ipAddress", w.ip(),
	}, details...)
	form := w.IntN(3)
	var b strings.Builder
	for i := 0; i+1 < len(members); i += 2 {
		if i > 0 {
			b.WriteString(", ")
		}
		switch v := members[i+1]; {
		case form != 1:
			fmt.Fprintf(&b, "%s=\"%s\"", members[i], v)
		case strings.Contains(v, " "):
			fmt.Fprintf(&b, "%s='%s'", members[i], v)
		default:
			fmt.Fprintf(&b, "%s=%s", members[i], v)
		}
	}
	thread := fmt.Sprintf("executor-thread-%d", 1+w.IntN(60))
	if form == 2 {
		return s.emit("keycloak", after, text(object{
			"timestamp", at.Format(nanos), "sequence", 1000 + w.IntN(90000), "loggerClassName", "org.jboss.logging.Logger", "loggerName", "org.keycloak.events", "level", "DEBUG",
			"message", b.String(), "threadName", thread, "threadId", 40 + w.IntN(60), "mdc",
			object{},
			"ndc", "", "hostName", "keycloak-0", "processName", "/usr/lib/jvm/jre/bin/java", "processId", 1,
		}))
	}
	return s.emit("keycloak", after, fmt.Appendf(nil, "%s DEBUG [org.keycloak.events] (%s) %s", at.Format("2006-01-02 15:04:05,000"), thread, b.String()))
}

// keycloakLogin is a person's login and the code that became a token.
func (s *story) keycloakLogin(after time.Duration, p *person, client, session, jti, scope string) (login, token *event) {
	code := s.w.uuid()
	login = s.keycloak(after, "LOGIN", client, p.kc, session, "auth_method", "openid-connect", "auth_type", "code", "redirect_uri", "https://app."+s.t.domain+"/cb",
		"consent", "no_consent_required", "code_id", code, "username", p.mail).shows(p).did(p.aliases...)
	token = s.keycloak(after+400*time.Millisecond, "CODE_TO_TOKEN", client, p.kc, session, "token_id", jti, "grant_type", "authorization_code",
		"refresh_token_type", "Refresh", "access_token_expiration_time", "900", "scope", scope, "refresh_token_id", s.w.uuid(), "code_id", code,
		"client_auth_method", "client-secret", "username", p.mail).shows(p).from(login, UsesCredential).did(append([]string{client}, p.aliases...)...)
	return login, token
}

// keycloakExchange is RFC 8693: the client gets a token for the same person.
func (s *story) keycloakExchange(after time.Duration, p *person, a *agent, audience, session, jti, scope string) *event {
	return s.keycloak(after, "TOKEN_EXCHANGE", a.client, p.kc, session, "token_id", jti, "grant_type", "urn:ietf:params:oauth:grant-type:token-exchange",
		"requested_token_type", "urn:ietf:params:oauth:token-type:access_token", "access_token_expiration_time", "600", "audience", audience, "scope", scope,
		"auth_method", "token_exchange", "client_auth_method", "client-secret", "username", p.mail).shows(p).did(append(append([]string{}, a.aliases...), p.aliases...)...)
}

// teleport is an event of Teleport's audit log.
func (s *story) teleport(after time.Duration, name, code string, more ...any) *event {
	at := s.clock("teleport", after)
	o := object{"ei", 0, "event", name, "uid", s.w.uuid(), "code", code, "time", at.Format(millis), "cluster_name", "teleport." + s.t.domain}
	return s.emit("teleport", after, text(append(o, more...)))
}

// k8sCall is one request to a Kubernetes API server.
type k8sCall struct {
	user, as   object
	verb       string
	group      string
	resource   string
	sub        string
	ns, name   string
	code       int
	reason     string
	deny       bool
	agent      string
	notes      object
	request    object
	response   object
	statusText string
}

func (s *story) k8s(after time.Duration, c k8sCall) *event {
	w, at := s.w, s.clock("k8s_audit", after)
	if c.code == 0 {
		c.code = 200
	}
	if c.agent == "" {
		c.agent = "kubernetes-client/31.0 (python/3.12)"
	}
	version := "v1"
	uri := "/api/v1"
	if c.group != "" {
		uri = "/apis/" + c.group + "/v1"
	}
	uri += "/namespaces/" + c.ns + "/" + c.resource
	if c.name != "" {
		uri += "/" + c.name
	}
	ref := object{"resource", c.resource, "namespace", c.ns}.with("name", c.name, "apiGroup", c.group)
	ref = append(ref, "apiVersion", version).with("subresource", c.sub)
	if c.sub != "" {
		uri += "/" + c.sub
	}
	status := object{"metadata", object{}, "code", c.code}
	if c.deny {
		status = object{"metadata", object{}, "status", "Failure", "message", c.statusText, "reason", "Forbidden", "code", 403}
	}
	notes := object{"authorization.k8s.io/decision", map[bool]string{true: "forbid", false: "allow"}[c.deny], "authorization.k8s.io/reason", c.reason}
	o := object{
		"kind", "Event", "apiVersion", "audit.k8s.io/v1", "level", "RequestResponse", "auditID", w.uuid(), "stage", "ResponseComplete", "requestURI", uri,
		"verb", c.verb, "user", c.user,
	}.with("impersonatedUser", c.as)
	o = append(o, "sourceIPs", array{w.inner()}, "userAgent", c.agent, "objectRef", ref, "responseStatus", status)
	o = o.with("requestObject", c.request, "responseObject", c.response)
	o = append(o, "requestReceivedTimestamp", at.Format(micros), "stageTimestamp", at.Add(7*time.Millisecond).Format(micros), "annotations", append(notes, c.notes...))
	return s.emit("k8s_audit", after, text(o))
}

// serviceAccount is a pod's identity; jti is its bound token.
func (s *story) serviceAccount(a *agent, jti string) object {
	extra := object{
		"authentication.kubernetes.io/node-name",
		array{"node-" + s.w.pick(digits, 2)},
		"authentication.kubernetes.io/node-uid",
		array{s.w.uuid()},
		"authentication.kubernetes.io/pod-name",
		array{a.name + "-7f9c5d-" + s.w.hex(5)},
		"authentication.kubernetes.io/pod-uid",
		array{s.w.uuid()},
	}
	if jti != "" {
		extra = append(object{"authentication.kubernetes.io/credential-id", array{"JTI=" + jti}}, extra...)
	}
	return object{
		"username", a.sa, "uid", s.w.uuid(),
		"groups",
		[]string{"system:serviceaccounts", "system:serviceaccounts:agents", "system:authenticated"},
		"extra", extra,
	}
}
