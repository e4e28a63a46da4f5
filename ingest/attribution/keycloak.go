package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// keycloak decodes the user and admin events of Keycloak as its jboss-logging
// listener writes them: key=value behind the log's own fields, quoted since
// version 26, in a line of text or in the message of a JSON log.
func keycloak() format {
	return format{
		name: "keycloak", product: "Keycloak", issuer: "keycloak",
		shape: shapeText,
		match: func(e *event) bool { return keycloakStart(e.payload) >= 0 },
		decode: func(e *event) {
			b := e.payload
			if i := bytes.IndexByte(b, ','); i == 19 && len(b) > 23 {
				if ns, ok := parseTime(b[:23], e.src.Zone); ok {
					e.timeIs(ns, true, "/0")
				}
			} else if word, _, _ := bytes.Cut(b, []byte(" ")); len(word) > 19 {
				if ns, ok := parseRFC3339(word, e.src.Zone); ok {
					e.timeIs(ns, true, "/0")
				}
			}
			e.keycloakPairs(b[keycloakStart(b):])
			decodeKeycloak(e)
		},
		guide: keycloakGuide,
	}
}

// keycloakJSON decodes the same events in JSON: the log's own JSON form with the
// event in its message, and what listeners that forward events make of them.
func keycloakJSON() format {
	return format{
		name: "keycloak", product: "Keycloak", issuer: "keycloak",
		shape: shapeJSON,
		keys:  []string{"realmId", "loggerName"},
		match: func(e *event) bool {
			t, o := &e.doc, e.root
			if t.get(o, "realmId") != 0 && (t.get(o, "type") != 0 && (t.get(o, "clientId") != 0 || t.get(o, "ipAddress") != 0) || t.get(o, "operationType") != 0) {
				return true
			}
			return t.get(o, "loggerName") != 0 && t.get(o, "message") != 0 && string(e.str("/loggerName")) == "org.keycloak.events" &&
				keycloakStart(e.str("/message")) >= 0
		},
		decode: func(e *event) {
			if e.has("/loggerName") {
				e.time("/timestamp")
				e.set(record.ChainTraceID, "/mdc/traceId", "/traceId")
				e.set(record.ChainSpanID, "/mdc/spanId", "/spanId")
				if !e.env.found {
					e.set(record.SourceHost, "/hostName")
				}
				msg := e.str("/message")
				if i := keycloakStart(msg); i >= 0 {
					e.keycloakPairs(msg[i:])
				}
			} else {
				e.time("/time")
				e.set(record.SourceOriginalID, "/id")
			}
			decodeKeycloak(e)
		},
	}
}

// keycloakStart finds the first pair of an event.
func keycloakStart(b []byte) int {
	head := b[:min(len(b), 512)]
	at := 0
	if i := bytes.Index(head, []byte("org.keycloak.events")); i >= 0 {
		at = i
	} else if !bytes.HasPrefix(head, []byte("type=")) && !bytes.HasPrefix(head, []byte("operationType=")) {
		return -1
	}
	for _, k := range []string{"operationType=", "type="} {
		i := bytes.Index(head[at:], []byte(k))
		if i < 0 || i > 0 && head[at+i-1] != ' ' {
			continue
		}
		if at > 0 || i == 0 && bytes.Contains(b, []byte(", realmId=")) {
			return at + i
		}
	}
	return -1
}

// keycloakPairs reads key=value, separated by a comma and a blank; values with
// blanks stand between single quotes, all values between double quotes since 26.
func (e *event) keycloakPairs(b []byte) {
	e.pairs = e.pairs[:0]
	e.paired, e.isPair, e.pairFault = true, true, ""
	for len(b) > 0 && len(e.pairs) < maxPairs {
		i := bytes.IndexByte(b, '=')
		if i < 0 {
			break
		}
		key := bytes.TrimLeft(b[:i], ", ")
		b = b[i+1:]
		var val []byte
		switch {
		case len(b) > 0 && b[0] == '"':
			var end int
			val, end = e.quoted(b, 1)
			b = b[end:]
		case len(b) > 0 && b[0] == '\'':
			end := bytes.Index(b[1:], []byte("', "))
			if end < 0 {
				end = len(bytes.TrimRight(b, "' \t\r\n")) - 1
			}
			val = b[1 : 1+max(end, 0)]
			b = b[min(len(b), len(val)+2):]
		case len(b) > 0 && (b[0] == '{' || b[0] == '['):
			val, b = b, nil // a representation, which has commas of its own
		default:
			end := bytes.Index(b, []byte(", "))
			if end < 0 {
				end = len(b)
			}
			val = b[:end]
			b = b[end:]
		}
		if len(key) > 0 && isKey(key) && string(val) != "null" {
			e.pairs = append(e.pairs, pair{key: key, val: bytes.TrimRight(val, " \t\r\n")})
		}
	}
	if len(e.pairs) == maxPairs {
		e.pairFault = "more than 511 pairs"
	}
	e.markTwice()
	e.pairFaults()
}

// keycloakAt is the pointer of an event's member, or of one of its details.
func (e *event) keycloakAt(names ...string) string {
	for _, n := range names {
		for _, p := range [...]string{"/" + n, "/details/" + n, "/authDetails/" + n} {
			if e.isPair && p[1:] != n {
				continue
			}
			if v := e.str(p); len(v) > 0 && string(v) != "null" {
				return p
			}
		}
	}
	return "/" + names[0]
}

func (e *event) keycloakSet(f record.Field, names ...string) []byte {
	return e.set(f, e.keycloakAt(names...))
}

func (e *event) keycloakStr(names ...string) []byte { return e.str(e.keycloakAt(names...)) }

func decodeKeycloak(e *event) {
	r := e.r
	e.noDecide = true
	r.Set(record.ActionService, "keycloak", "")
	r.Set(record.EffectSystem, "keycloak", "")
	admin := len(e.str("/operationType")) > 0
	op := string(e.set(record.ActionOperation, "/operationType", "/type"))
	e.keycloakSet(record.SourceAddress, "ipAddress", "authIpAddress")
	e.keycloakSet(record.ChainSessionID, "sessionId", "code_id")
	e.keycloakOutcome(op)
	if admin {
		e.keycloakAdmin()
	} else {
		e.keycloakUser(op)
		e.keycloakCredential(op)
	}
	r.Set(record.ExecutorIssuer, "keycloak", "")
	if r.Has(record.RequesterID) {
		r.Set(record.RequesterIssuer, "keycloak", "")
		e.keycloakSet(record.RequesterTenant, "realmName", "realmId", "authRealmId")
	}
	changed, prov := record.Unknown, r.Prov(record.ActionOperation)
	switch s := r.Get(record.OutcomeStatus); {
	case s == record.Denied || s == record.Failure:
		changed, prov = record.No, r.Prov(record.OutcomeStatus)
	case op == "CREATE" || op == "UPDATE" || op == "DELETE" || op == "ACTION", strings.HasPrefix(op, "UPDATE_"), strings.HasPrefix(op, "REMOVE_"),
		r.Has(record.CredentialEventOp) && r.Get(record.CredentialEventOp) != "use", op == "REGISTER", op == "IMPERSONATE", op == "DELETE_ACCOUNT":
		changed = record.Yes
	case op == "USER_INFO_REQUEST", op == "INTROSPECT_TOKEN", op == "VALIDATE_ACCESS_TOKEN":
		changed = record.No
	}
	r.Set(record.EffectChanged, changed, prov)
	for _, n := range [...]string{
		"realmName", "realmId", "auth_method", "auth_type", "grant_type", "client_auth_method", "redirect_uri", "identity_provider",
		"identity_provider_identity", "authSessionParentId", "refresh_token_id", "refresh_token_type", "subject_issuer", "subject_token_client_id",
		"requested_issuer", "requested_token_type", "revoked_client", "reason", "consent",
	} {
		e.attribute(n, e.keycloakAt(n))
	}
	if string(e.keycloakStr("client_auth_method")) != "" || !admin {
		e.attribute("client_id", e.keycloakAt("clientId"))
	}
}

// keycloakBroken are errors that are no refusal.
var keycloakBroken = map[string]bool{
	"invalid_request": true, "email_send_failed": true, "cookie_not_found": true, "identity_provider_error": true, "invalid_redirect_uri": true,
	"ssl_required": true, "session_expired": true, "invalid_input": true, "invalid_registration": true, "logout_failed": true, "invalid_config": true,
	"identity_provider_login_failure": true, "username_in_use": true, "email_in_use": true, "slow_down": true, "authorization_pending": true,
	"user_session_not_found": true, "generic_authentication_error": false, "resolve_required_actions": true, "federated_identity_account_exists": true,
}

func (e *event) keycloakOutcome(op string) {
	r := e.r
	at := e.keycloakAt("error")
	code := e.set(record.OutcomeCode, at)
	e.keycloakSet(record.OutcomeDetail, "reason", "error_description")
	switch {
	case len(code) == 0 && !strings.HasSuffix(op, "_ERROR"):
		r.Set(record.OutcomeStatus, record.Success, r.Prov(record.ActionOperation))
	case keycloakBroken[string(code)]:
		r.Set(record.OutcomeStatus, record.Failure, at)
	case len(code) == 0:
		r.Set(record.OutcomeStatus, record.Failure, "/type")
	default:
		r.Set(record.OutcomeStatus, record.Denied, at)
		r.Set(record.DecisionEffect, record.Deny, at)
		e.put(record.DecisionReason, code, at)
	}
}

// keycloakAdmin: who is known by its id only. The admin console is for people
// who signed in; behind any other client may be a program.
func (e *event) keycloakAdmin() {
	r := e.r
	e.set(record.TargetID, "/resourcePath")
	e.set(record.TargetType, "/resourceType")
	user, client := e.keycloakAt("authUserId", "userId"), string(e.keycloakStr("authClientId", "clientId"))
	name := e.keycloakStr("username", "authUsername")
	typ, id, prov := record.Unknown, e.str(user), user
	switch {
	case bytes.HasPrefix(name, []byte("service-account-")):
		typ = record.ServiceAccount
	case client == "security-admin-console", len(name) > 0:
		typ = record.Person
	}
	if len(name) > 0 {
		e.attribute("user_id", user)
		id, prov = name, e.keycloakAt("username", "authUsername")
	}
	e.executor(typ, id, prov)
	r.Set(record.ExecutorIDKind, keycloakIDKind(name), "")
	e.attribute("admin_client", e.keycloakAt("authClientId", "clientId"))
	// The representation may hold secrets, and stays in the line.
	if typ == record.Person {
		e.requester(typ, id, prov, fromLogin)
		r.Set(record.RequesterIDKind, keycloakIDKind(name), "")
		return
	}
	r.SetAbsent("requester", record.NotEstablished)
}

func keycloakIDKind(name []byte) string {
	if len(name) > 0 {
		return "keycloak_username"
	}
	return "keycloak_user_id"
}

// keycloakByClient are the events that a client causes with what a user gave it.
var keycloakByClient = map[string]bool{
	"CODE_TO_TOKEN": true, "REFRESH_TOKEN": true, "TOKEN_EXCHANGE": true, "USER_INFO_REQUEST": true, "PERMISSION_TOKEN": true,
	"OAUTH2_DEVICE_CODE_TO_TOKEN": true, "OAUTH2_DEVICE_AUTH": true, "AUTHREQID_TO_TOKEN": true, "JWT_AUTHORIZATION_GRANT": true,
	"CLIENT_LOGIN": true, "INTROSPECT_TOKEN": true, "VALIDATE_ACCESS_TOKEN": true, "REVOKE_GRANT": true, "CLIENT_INFO": true, "PUSHED_AUTHORIZATION_REQUEST": true,
	"CLIENT_REGISTER": true, "CLIENT_UPDATE": true, "CLIENT_DELETE": true, "UNREGISTER_NODE": true, "REGISTER_NODE": true,
}

// keycloakUser: people log in and act; clients redeem what they were given, for
// the user or, with their service account, for themselves. An impersonator is
// who really acts, and an actor in an exchange acts for the subject.
func (e *event) keycloakUser(op string) {
	r := e.r
	kind := strings.TrimSuffix(op, "_ERROR")
	name, uid := e.keycloakAt("username"), e.keycloakAt("userId")
	user, prov := e.str(name), name
	if len(user) == 0 {
		user, prov = e.str(uid), uid
	} else {
		e.attribute("user_id", uid)
	}
	idKind := keycloakIDKind(e.str(name))
	service := bytes.HasPrefix(e.str(name), []byte("service-account-")) || kind == "CLIENT_LOGIN"
	client := e.keycloakAt("clientId")
	r.Set(record.TargetType, "client", "")
	e.set(record.TargetID, client)

	if imp := e.keycloakAt("impersonator"); len(e.str(imp)) > 0 {
		e.executor(record.Person, e.str(imp), imp)
		r.Set(record.ExecutorIDKind, "keycloak_username", "")
		e.put(record.ExecutorLocalAccount, user, prov)
		e.delegate(record.Delegation{Principal: e.text(e.str(imp)), Audience: e.text(user)}, imp)
		e.attribute("impersonator_realm", e.keycloakAt("impersonator_realm"))
		e.requester(record.Person, e.str(imp), imp, fromLogin)
		r.Set(record.RequesterIDKind, "keycloak_username", "")
		if bytes.HasPrefix(e.str(imp), []byte("service-account-")) {
			r.Set(record.ExecutorType, record.ServiceAccount, "")
			r.Unset(record.RequesterID)
			r.Unset(record.RequesterType)
			r.Unset(record.RequesterIDKind)
			r.SetAbsent("requester", record.NotEstablished)
		}
		return
	}
	if actor := e.keycloakAt("actor_id", "actor"); len(e.str(actor)) > 0 {
		e.executor(keycloakActor(e.str(actor)), e.str(actor), actor)
		e.keycloakSet(record.ExecutorName, "actor")
		if bytes.HasPrefix(e.str(actor), []byte("spiffe://")) {
			e.set(record.ExecutorSPIFFEID, actor)
		}
		if !service && len(user) > 0 {
			e.requester(record.Person, user, prov, fromLogin)
			r.Set(record.RequesterIDKind, idKind, "")
			e.delegate(record.Delegation{Principal: e.text(user), Audience: e.text(e.str(actor)), Scopes: e.scopeList(e.keycloakAt("scope"))}, prov)
		} else {
			r.SetAbsent("requester", record.NotEstablished)
		}
		return
	}
	if kind == "IMPERSONATE" {
		e.put(record.ExecutorLocalAccount, user, prov)
		r.AddFinding(record.ImpersonationNoActor)
		r.SetAbsent("executor", record.NotRecorded)
		r.SetAbsent("requester", record.NotRecorded)
		return
	}
	if service || keycloakByClient[kind] {
		typ := record.Workload
		if service {
			typ = record.ServiceAccount
		}
		e.executor(typ, e.str(client), client)
		r.Set(record.ExecutorIDKind, "keycloak_client", "")
		if service {
			e.keycloakSet(record.ExecutorName, "username")
		}
		e.claimed = r.Get(record.OutcomeStatus) != record.Success && !service
		requested := len(e.keycloakStr("requested_subject")) > 0
		if requested { // an exchange for another's token, asked for by nobody but the client
			e.put(record.ExecutorLocalAccount, e.keycloakStr("requested_subject"), e.keycloakAt("requested_subject"))
			e.delegate(record.Delegation{Principal: r.Get(record.ExecutorID), Audience: r.Get(record.ExecutorLocalAccount)}, client)
		}
		about := kind == "INTROSPECT_TOKEN" || kind == "VALIDATE_ACCESS_TOKEN" || kind == "REVOKE_GRANT"
		if service || requested || about || len(user) == 0 || len(e.str(uid)) == 0 {
			r.SetAbsent("requester", record.NotEstablished)
			return
		}
		// With a name a service account shows itself; without one only codes are a person's for sure.
		typ = record.Person
		if len(e.str(name)) == 0 && !strings.HasSuffix(kind, "_TO_TOKEN") {
			typ = record.Unknown
		}
		e.requester(typ, user, prov, fromLogin)
		r.Set(record.RequesterIDKind, idKind, "")
		e.delegate(record.Delegation{
			Principal: e.text(user), Credential: e.text(e.keycloakUsed(kind)), Audience: e.text(e.str(client)), Scopes: e.scopeList(e.keycloakAt("scope")),
		}, prov)
		return
	}
	if len(user) == 0 {
		r.SetAbsent("executor", record.NotEstablished)
		r.SetAbsent("requester", record.NotEstablished)
		return
	}
	typ, how := record.Person, fromLogin
	if r.Get(record.OutcomeStatus) != record.Success {
		how, e.claimed = fromParam, true
		if len(e.str(uid)) == 0 {
			typ = record.Unknown // what somebody typed
		}
	}
	e.executor(typ, user, prov)
	r.Set(record.ExecutorIDKind, idKind, "")
	e.requester(typ, user, prov, how)
	r.Set(record.RequesterIDKind, idKind, "")
}

// keycloakActor is the type of an actor, which may be a client, an agent or a user.
func keycloakActor(id []byte) string {
	switch t := principalType(string(id)); {
	case bytes.HasPrefix(id, []byte("service-account-")):
		return record.ServiceAccount
	case t == record.Person:
		return record.Unknown
	default:
		return t
	}
}

// keycloakUsed is the credential that a client redeemed.
func (e *event) keycloakUsed(kind string) []byte {
	switch kind {
	case "REFRESH_TOKEN":
		return e.keycloakStr("refresh_token_id")
	case "CODE_TO_TOKEN":
		return e.keycloakStr("code_id")
	}
	return nil
}

func (e *event) keycloakCredential(op string) {
	r := e.r
	for _, s := range e.scopeList(e.keycloakAt("scope")) {
		e.add(record.AuthorityScopes, []byte(s), e.keycloakAt("scope"))
	}
	if r.Get(record.OutcomeStatus) != record.Success {
		return
	}
	life := func(event, kind string, ids ...string) {
		r.Set(record.CredentialEventOp, event, r.Prov(record.ActionOperation))
		r.Set(record.CredentialKind, kind, "")
		e.keycloakSet(record.CredentialIssuer, "realmName", "realmId")
		e.keycloakSet(record.CredentialID, ids...)
	}
	switch op {
	case "LOGIN":
		life("issue", "keycloak_session", "sessionId", "code_id")
	case "LOGOUT":
		life("revoke", "keycloak_session", "sessionId", "code_id")
	case "CODE_TO_TOKEN", "CLIENT_LOGIN", "PERMISSION_TOKEN", "OAUTH2_DEVICE_CODE_TO_TOKEN", "AUTHREQID_TO_TOKEN":
		life("issue", "access_token", "token_id")
	case "REFRESH_TOKEN":
		life("renew", "access_token", "token_id")
	case "TOKEN_EXCHANGE", "JWT_AUTHORIZATION_GRANT":
		life("exchange", "access_token", "token_id")
	case "REVOKE_GRANT":
		life("revoke", "access_token", "token_id")
	case "USER_INFO_REQUEST", "INTROSPECT_TOKEN", "VALIDATE_ACCESS_TOKEN":
		life("use", "access_token", "token_id", "access_token_id")
	default:
		return
	}
	e.keycloakSet(record.CredentialAudience, "audience")
	if ttl := e.keycloakStr("access_token_expiration_time", "expires_in"); len(ttl) > 0 {
		e.number(record.CredentialTTL, ttl, e.keycloakAt("access_token_expiration_time", "expires_in"))
	}
	if !r.Has(record.CredentialID) && r.Get(record.CredentialEventOp) == "use" {
		r.Unset(record.CredentialEventOp)
	}
}

var keycloakGuide = guide{
	userSet: []string{
		"/username: whoever tries to log in types it; while there is no userId it proves nothing",
		"/clientId: a public client is anybody",
		"/redirect_uri: the client's request",
		"/requested_subject: the client asks for whom it likes; a success shows that it was allowed",
		"/identity_provider_identity: the other provider's user",
	},
	emit: map[Part]string{
		PartRequester:  "`userId`, and `username` among the details; of tokens that clients redeem, the user they were given for. Nothing of service accounts. Events need the listener `jboss-logging` in the realm's events settings; successes are logged at debug: `spi-events-listener--jboss-logging--success-level=info`",
		PartExecutor:   "the user at a login; `clientId` where a client redeems codes and tokens; `impersonator` of IMPERSONATE and of exchanges; `actor` and `actor_id` of exchanges with an actor token",
		PartTool:       "`type`; `operationType`, `resourceType` and `resourcePath` of admin events (switch on \"Save events\" and the listener for admin events; `include-representation` shows what was changed)",
		PartPermission: "`scope`",
		PartDecision:   "only refusals: `error`. Policies of authorization services are not logged",
		PartOutcome:    "`error`, and types that end in _ERROR",
		PartChain:      "`sessionId` or `code_id` joins the events of a session; `token_id` is the `jti` of the access token, `refresh_token_id` that of the refresh token. With tracing on, the JSON log adds `traceId`",
	},
}
