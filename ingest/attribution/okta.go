package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// okta decodes the System Log of Okta: LogEvent objects, one to a line, in an
// array as the API pages them, in an event hook's data.events, or in detail of
// Amazon EventBridge. It follows Okta's System Log API and event type catalogue.
func okta() format {
	return format{
		name: "okta", product: "Okta", issuer: "okta",
		shape: shapeJSON,
		keys:  []string{"eventType", "detail", "data", "Records"},
		match: func(e *event) bool {
			return e.oktaEvent(e.root) || e.oktaEvent(e.doc.find(e.root, "/detail")) || e.pinned() && e.doc.get(e.root, "eventType") != 0
		},
		decode: func(e *event) {
			if !e.oktaEvent(e.root) && e.oktaEvent(e.doc.find(e.root, "/detail")) {
				e.inside("/detail")
			}
			decodeOkta(e)
		},
		list: func(e *event) int32 {
			t := &e.doc
			n := root
			if t.kindOf(root) == kindObject {
				if n = t.find(root, "/data/events"); n == 0 {
					n = t.get(root, "Records")
				}
			}
			if n == 0 || t.kindOf(n) != kindArray {
				return 0
			}
			if c := t.first(n); c == 0 || !e.oktaEvent(c) {
				return 0
			}
			return n
		},
		guide: oktaGuide,
	}
}

// oktaEvent reports whether n is an object with a LogEvent's members.
func (e *event) oktaEvent(n int32) bool {
	t := &e.doc
	return n != 0 && t.kindOf(n) == kindObject && t.get(n, "eventType") != 0 && t.get(n, "published") != 0 &&
		(t.get(n, "actor") != 0 || t.get(n, "legacyEventType") != 0) && (t.get(n, "outcome") != 0 || t.get(n, "displayMessage") != 0)
}

const oktaDebug = "/debugContext/debugData"

func decodeOkta(e *event) {
	r := e.r
	e.noDecide, e.noPolVer = true, true
	e.time("/published")
	e.set(record.SourceOriginalID, "/uuid")
	op := string(e.set(record.ActionOperation, "/eventType"))
	r.Set(record.ActionService, "okta", "")
	r.Set(record.EffectSystem, "okta", "")
	e.set(record.Message, "/displayMessage")
	if !r.Has(record.SourceSeverity) {
		if v := e.str("/severity"); len(v) > 0 {
			e.put(record.SourceSeverity, bytes.ToLower(v), "/severity")
		}
	}
	e.set(record.ChainRequestID, oktaDebug+"/requestId", "/transaction/id")
	e.set(record.ChainTxn, "/transaction/id")
	if v := e.str("/authenticationContext/externalSessionId"); len(v) > 0 && string(v) != "unknown" {
		e.put(record.ChainSessionID, v, "/authenticationContext/externalSessionId")
	}
	if v := e.str(oktaDebug + "/traceId"); len(v) == 32 {
		e.put(record.ChainTraceID, lower(v), oktaDebug+"/traceId")
	} else {
		e.attribute("okta_trace_id", oktaDebug+"/traceId")
	}
	e.set(record.SourceAddress, "/client/ipAddress", "/request/ipChain/0/ip")

	e.oktaOutcome(op)
	e.oktaTargets(op)
	e.oktaPrincipals(op)
	e.oktaCredential(op)
	e.oktaApproval(op)
	e.oktaEffect(op)

	switch {
	case e.isTrue("/device/managed"):
		r.Set(record.DecisionPosture, "managed_device", "/device/managed")
	case e.isTrue("/device/registered"):
		r.Set(record.DecisionPosture, "registered_device", "/device/registered")
	}
	e.attribute("client_id", "/client/id", oktaDebug+"/clientId")
	e.oktaAttribute("root_session_id", "/authenticationContext/rootSessionId")
	e.oktaAttribute("credential_type", "/authenticationContext/credentialType")
	e.oktaAttribute("authentication_provider", "/authenticationContext/authenticationProvider")
	e.attribute("idp", "/authenticationContext/issuer/id")
	e.oktaAttribute("interface", "/authenticationContext/interface")
	e.attribute("factor", oktaDebug+"/factor")
	e.attribute("grant_type", oktaDebug+"/grantType")
	e.attribute("client_auth", oktaDebug+"/clientAuthType")
	e.attribute("request_uri", oktaDebug+"/requestUri", oktaDebug+"/url")
	e.attribute("dt_hash", oktaDebug+"/dtHash")
	e.oktaAttribute("risk", oktaDebug+"/risk", oktaDebug+"/riskLevel")
	e.attribute("threat_suspected", oktaDebug+"/threatSuspected")
	e.oktaAttribute("zone", "/client/zone")
	e.attribute("device_id", "/device/id")
	e.attribute("resource", oktaDebug+"/resource")
	e.userAgent("/client/userAgent/rawUserAgent")
}

// oktaOutcome: results, and for sign-on policies what they decided.
func (e *event) oktaOutcome(op string) {
	r := e.r
	const result, reason = "/outcome/result", "/outcome/reason"
	res := string(lower(bytes.Clone(e.str(result))))
	why := e.str(reason)
	e.put(record.OutcomeCode, e.str(result), result)
	e.put(record.OutcomeDetail, why, reason)
	status, effect := record.Unknown, ""
	switch res {
	case "success":
		status = record.Success
	case "allow":
		status, effect = record.Success, record.Allow
	case "deny", "denied":
		status, effect = record.Denied, record.Deny
	case "challenge":
		effect = "challenge" // whether it was met is in the events that follow
	case "failure", "abandoned", "rate_limit", "rate_limited":
		status = record.Failure
		if res == "failure" && (oktaGate(op) || refused(why)) && !oktaBroken(why) {
			status, effect = record.Denied, record.Deny
		}
	}
	r.Set(record.OutcomeStatus, status, result)
	if effect != "" {
		r.Set(record.DecisionEffect, effect, result)
		e.put(record.DecisionReason, why, reason)
	}
}

// oktaGate tells events that fail when somebody is not let in.
func oktaGate(op string) bool {
	for _, p := range []string{
		"user.session.start", "user.authentication.", "user.mfa.attempt", "policy.evaluate_sign_on", "app.generic.unauth_app_access_attempt",
		"app.oauth2.token.grant", "app.oauth2.as.token.grant", "app.oauth2.authorize", "app.oauth2.as.authorize", "application.policy.sign_on.deny_access",
		"user.session.access_admin_app", "app.oauth2.as.evaluate", "security.request.blocked",
	} {
		if strings.HasPrefix(op, p) {
			return true
		}
	}
	return false
}

// oktaBroken tells reasons that are no refusal.
func oktaBroken(why []byte) bool {
	switch string(bytes.ToLower(why)) {
	case "server_error", "temporarily_unavailable", "internal_error", "invalid_request", "unsupported_grant_type", "timeout", "network_error":
		return true
	}
	return false
}

// oktaKind is the type of principal that a type of actor stands for.
func oktaKind(typ string) string {
	name := strings.ToLower(strings.NewReplacer(" ", "", "_", "", "-", "").Replace(typ))
	switch {
	case strings.Contains(name, "aiagent"):
		return record.Agent
	case name == "user":
		return record.Person
	case name == "appuser" || name == "":
		return record.Unknown // an account in an application
	case strings.Contains(name, "serviceaccount"):
		return record.ServiceAccount
	case name == "systemprincipal", strings.Contains(name, "client"), strings.Contains(name, "app"), strings.Contains(name, "workload"),
		strings.Contains(name, "agent"), strings.Contains(name, "service"), strings.Contains(name, "org"), strings.Contains(name, "device"):
		return record.Workload
	}
	return record.Unknown
}

// oktaName is what names a principal: the login of a user, which other systems
// know it by, and Okta's id for all others.
func (e *event) oktaName(base, typ string) (id []byte, prov, kind string) {
	alt := e.str(base + "/alternateId")
	if s := string(alt); (typ == record.Person || s == "system@okta.com") && s != "" && s != "unknown" {
		return alt, base + "/alternateId", "okta_login"
	}
	if v := e.str(base + "/id"); len(v) > 0 && string(v) != "unknown" {
		return v, base + "/id", "okta_id"
	}
	if s := string(alt); s != "" && s != "unknown" {
		return alt, base + "/alternateId", "okta_login"
	}
	return nil, "", ""
}

// oktaPrincipals: the actor acted. A client that is given a token acts for the
// user among the targets, unless it asked in its own name. Okta itself, clients
// and agents are no persons; a user that worked through an API token may be a
// program.
func (e *event) oktaPrincipals(op string) {
	r := e.r
	const actor = "/actor"
	typ := oktaKind(string(e.str(actor + "/type")))
	if s := string(e.str(actor + "/alternateId")); s == "system@okta.com" {
		typ = record.Workload
	}
	known := string(e.str(actor+"/id")) != "unknown"
	id, prov, kind := e.oktaName(actor, typ)
	r.Set(record.ExecutorIssuer, "okta", "")
	if len(id) == 0 {
		r.SetAbsent("executor", record.NotEstablished)
		r.SetAbsent("requester", record.NotEstablished)
	} else {
		if !known {
			typ = record.Unknown
		}
		e.executor(typ, id, prov)
		r.Set(record.ExecutorIDKind, kind, "")
		e.set(record.ExecutorName, actor+"/displayName")
		if prov == actor+"/alternateId" {
			e.oktaAttribute("actor_id", actor+"/id")
		} else {
			e.oktaAttribute("actor_login", actor+"/alternateId")
		}
	}
	if strings.HasPrefix(op, "user.session.impersonation.") {
		e.oktaImpersonation(op)
	}
	token := e.has("/transaction/detail/requestApiTokenId") || e.has(oktaDebug+"/requestApiTokenId")
	switch {
	case len(id) == 0:
	case !known:
		e.claimed = true
		e.requester(record.Unknown, id, prov, fromParam) // what somebody typed
		r.Set(record.RequesterIssuer, "okta", "")
	case typ == record.Person && (token || oktaApproves(op) != ""):
		r.SetAbsent("requester", record.NotEstablished)
	case typ == record.Person:
		how := fromLogin
		if s := r.Get(record.OutcomeStatus); s == record.Denied && oktaGate(op) {
			e.claimed, how = true, fromParam
		}
		e.requester(typ, id, prov, how)
		r.Set(record.RequesterIDKind, kind, "")
		r.Set(record.RequesterIssuer, "okta", "")
		e.set(record.RequesterName, actor+"/displayName")
	default:
		if e.oktaOnBehalf(op); !r.Has(record.RequesterID) {
			r.SetAbsent("requester", record.NotEstablished)
		}
	}
}

// oktaOnBehalf: whom a client or agent was given a token for.
func (e *event) oktaOnBehalf(op string) {
	r := e.r
	if !strings.Contains(op, "oauth2") && !strings.Contains(op, "token_exchange") && r.Get(record.ExecutorType) != record.Agent {
		return
	}
	// Whose token it was did not ask for its end.
	if string(e.str(oktaDebug+"/grantType")) == "client_credentials" || strings.Contains(op, "revoke") || strings.Contains(op, "reuse") {
		return
	}
	at := e.oktaTarget("User", "AppUser")
	who, prov, kind := []byte(nil), "", ""
	if at != "" && string(e.str(at+"/type")) == "User" {
		who, prov, kind = e.oktaName(at, record.Person)
	}
	if len(who) == 0 {
		// The token's own subject is a user when it has a user's id.
		for _, t := range oktaTokens {
			if p := e.oktaTarget(t); p != "" {
				if v := e.str(p + "/detailEntry/subject"); bytes.HasPrefix(v, []byte("00u")) {
					who, prov, kind = v, p+"/detailEntry/subject", "okta_id"
				}
				break
			}
		}
	}
	if len(who) == 0 {
		return
	}
	e.requester(record.Person, who, prov, fromLogin)
	r.Set(record.RequesterIDKind, kind, "")
	r.Set(record.RequesterIssuer, "okta", "")
	if at != "" && strings.HasPrefix(prov, at) {
		e.set(record.RequesterName, at+"/displayName")
	}
	d := record.Delegation{Principal: r.Get(record.RequesterID), Audience: r.Get(record.ExecutorID), Scopes: e.scopeList(oktaDebug + "/grantedScopes")}
	e.delegate(d, prov)
}

// oktaImpersonation: support takes on an administrator's session. Who granted
// that, and who does it, are the actors of different events.
func (e *event) oktaImpersonation(op string) {
	r := e.r
	at := e.oktaTarget("User", "AppUser")
	if at == "" || strings.HasSuffix(op, ".grant") || strings.HasSuffix(op, ".revoke") || strings.HasSuffix(op, ".extend") {
		return
	}
	as, prov, _ := e.oktaName(at, record.Person)
	if len(as) == 0 {
		return
	}
	e.put(record.ExecutorLocalAccount, as, prov)
	if !r.Has(record.ExecutorID) || r.Get(record.ExecutorID) == string(as) || r.Get(record.ExecutorType) == record.Workload {
		// Okta's own staff works under the name of its system.
		r.AddFinding(record.ImpersonationNoActor)
		return
	}
	e.delegate(record.Delegation{Principal: r.Get(record.ExecutorID), Audience: e.text(as)}, prov)
}

// oktaTarget is the pointer of the first target of one of the types, "" when there is none.
func (e *event) oktaTarget(types ...string) string {
	n := e.find("/target")
	if n == 0 || e.doc.kindOf(n) != kindArray {
		return ""
	}
	for _, typ := range types {
		i := 0
		for c := e.doc.first(n); c != 0 && i < 64; c = e.doc.next(c) {
			if e.doc.kindOf(c) == kindObject && strings.EqualFold(string(e.value(e.doc.get(c, "type"))), typ) {
				return "/target/" + decimal(i)
			}
			i++
		}
	}
	return ""
}

// oktaAttribute is attribute without the words by which Okta says that there is nothing.
func (e *event) oktaAttribute(name string, pointers ...string) {
	for _, p := range pointers {
		switch v := string(e.str(p)); strings.ToLower(v) {
		case "", "unknown", "null", "none", "not_applicable":
		default:
			e.attribute(name, p)
			return
		}
	}
}
