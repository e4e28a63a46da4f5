package attribution

import (
	"bytes"
	"strconv"

	"custody/ingest/record"
)

// entraSignIn: a sign-in is the issue of a token. An interactive one is the act of
// the person. Any other sign-in with a user is made by the client application on
// the user's behalf, so the application (or the agent) acts and the user is who
// asked. Service principals and managed identities act for themselves.
func (e *event) entraSignIn(p string) {
	r := e.r
	e.time(p+"/createdDateTime", "/time", "/timeGenerated")
	e.set(record.SourceOriginalID, p+"/id")
	e.set(record.ChainRequestID, p+"/correlationId", "/correlationId")
	if first := e.str(p + "/originalRequestId"); len(first) > 0 && !bytes.Equal(first, e.str(p+"/id")) {
		e.put(record.ChainTxn, first, p+"/originalRequestId")
	}
	e.set(record.ChainSessionID, p+"/sessionId")
	e.client(p+"/ipAddress", "/callerIpAddress")
	if e.set(record.ActionOperation, "/operationName") == nil {
		r.Set(record.ActionOperation, "Sign-in activity", "")
	}
	if e.set(record.TargetID, p+"/resourceId", p+"/resourceServicePrincipalId") != nil {
		r.Set(record.TargetType, "application", "")
	}
	e.set(record.TargetName, p+"/resourceDisplayName")
	e.attr("resource_tenant", p+"/resourceTenantId")

	code := e.entraSignInOutcome(p)
	e.entraSignInPrincipals(p, code)
	e.entraConditionalAccess(p)
	e.entraPosture(p)
	e.entraToken(p)
	e.entraScopes(p)

	for _, a := range [...]struct{ name, key string }{
		{"app_id", "/appId"},
		{"client", "/clientAppUsed"},
		{"protocol", "/authenticationProtocol"},
		{"incoming_token", "/incomingTokenType"},
		{"cross_tenant", "/crossTenantAccessType"},
		{"risk", "/riskLevelDuringSignIn"},
		{"risk_state", "/riskState"},
		{"managed_identity", "/managedIdentityType"},
		{"user_type", "/userType"},
		{"user_agent", "/userAgent"},
		{"blueprint", "/agent/parentAppId"},
		{"agent_type", "/agent/agentType"},
		{"agent_subject", "/agent/agentSubjectType"},
		{"agent_subject_parent", "/agent/agentSubjectParentId"},
		{"typed", "/signInIdentifier"},
	} {
		if v := e.str(p + a.key); len(v) > 0 && string(v) != "none" && string(v) != "notAgentic" {
			e.attr(a.name, p+a.key)
		}
	}
}

func (e *event) entraSignInPrincipals(p string, code int) {
	r := e.r
	const agent = "/agent"
	appKind := e.entraAppSignIn(p)
	byAgent := agentic(e.str(p+agent+"/agentType")) && !agentUser(e.str(p+agent+"/agentType")) || e.isTrue(p+"/isAgent")
	asAgent := agentUser(e.str(p+agent+"/agentSubjectType")) || agentUser(e.str(p+agent+"/agentType"))
	failed := r.Get(record.OutcomeStatus) != record.Success
	e.claimed = failed && !entraProven(code)

	if appKind != "" {
		if byAgent || asAgent {
			appKind = record.Agent
		}
		e.app(appKind, p)
		e.set(record.ExecutorName, p+"/servicePrincipalName", p+"/appDisplayName")
		r.Set(record.ContextMode, "autonomous", "/category")
		if v := e.str(p + "/agent/agentSubjectParentId"); asAgent && len(v) > 0 && !r.Has(record.ExecutorID) {
			e.executor(record.Agent, v, p+"/agent/agentSubjectParentId")
		}
		return
	}
	interactive := e.isTrue(p+"/isInteractive") || string(e.str("/category")) == "SignInLogs" && !e.has(p+"/isInteractive")
	if interactive {
		r.Set(record.ContextMode, "interactive", p+"/isInteractive")
	}
	e.set(record.ActionTool, p+"/appDisplayName")
	if asAgent {
		e.entraAgentUser(p, byAgent)
		return
	}
	how := fromLogin
	if e.claimed {
		how = fromParam // a name that somebody typed
	}
	typ, id, prov := e.entraUser(p, "/userPrincipalName", "/userId", how)
	if r.Has(record.RequesterID) {
		e.set(record.RequesterName, p+"/userDisplayName")
		e.set(record.RequesterTenant, p+"/homeTenantId")
	}
	switch {
	case byAgent:
		e.app(record.Agent, p)
		e.set(record.ExecutorName, p+"/servicePrincipalName", p+"/appDisplayName")
	case typ != record.Person || interactive:
		e.executor(typ, id, prov)
		r.Set(record.ExecutorIDKind, "upn", "")
		if prov == p+"/userId" {
			r.Set(record.ExecutorIDKind, "entra_object_id", "")
		}
		e.set(record.ExecutorName, p+"/userDisplayName")
		return
	default:
		e.app(record.ServiceAccount, p)
		e.set(record.ExecutorName, p+"/appDisplayName")
	}
	if len(id) > 0 {
		e.delegate(record.Delegation{Principal: e.text(id), Audience: e.text(e.str(p + "/appId")), Scopes: e.entraDelegated(p)}, prov)
	}
}

// entraAgentUser: an agent's user account is no person. The agent identity that
// drives it is the executor, the account what it acted as.
func (e *event) entraAgentUser(p string, byAgent bool) {
	r := e.r
	upn := e.str(p + "/userPrincipalName")
	prov := p + "/userPrincipalName"
	if isNobody(upn) {
		upn, prov = e.str(p+"/userId"), p+"/userId"
	}
	if byAgent {
		e.app(record.Agent, p)
		e.set(record.ExecutorName, p+"/servicePrincipalName", p+"/appDisplayName")
		e.put(record.ExecutorLocalAccount, upn, prov)
		e.delegate(record.Delegation{Principal: r.Get(record.ExecutorID), Audience: e.text(upn)}, prov)
		return
	}
	e.executor(record.Agent, upn, prov)
	r.Set(record.ExecutorIDKind, "upn", "")
	e.set(record.ExecutorInstance, p+"/agent/agentSubjectParentId")
	e.set(record.ExecutorName, p+"/userDisplayName")
}

// entraAppSignIn tells what kind of principal signed in without a user, "" when a user did.
func (e *event) entraAppSignIn(p string) string {
	switch string(e.str("/category")) {
	case "ManagedIdentitySignInLogs":
		return record.Workload
	case "ServicePrincipalSignInLogs", "MicrosoftServicePrincipalSignInLogs":
		return record.ServiceAccount
	}
	switch string(e.str(p + "/managedIdentityType")) {
	case "systemAssigned", "userAssigned":
		return record.Workload
	}
	for i := range 4 {
		switch string(e.str(p + "/signInEventTypes/" + strconv.Itoa(i))) {
		case "managedIdentity":
			return record.Workload
		case "servicePrincipal":
			return record.ServiceAccount
		}
	}
	if isNobody(e.str(p+"/userId")) && isNobody(e.str(p+"/userPrincipalName")) && !isNobody(e.str(p+"/servicePrincipalId")) {
		return record.ServiceAccount
	}
	return ""
}

// entraSignInOutcome reads the AADSTS code. A code that asks for one more step
// (a second factor, a consent, a choice) is neither success nor failure: the
// sign-in goes on in another event.
func (e *event) entraSignInOutcome(p string) (code int) {
	r := e.r
	v := e.set(record.OutcomeCode, p+"/status/errorCode", "/resultType")
	prov := r.Prov(record.OutcomeCode)
	if d := e.set(record.OutcomeDetail, p+"/status/failureReason", "/resultDescription", p+"/status/additionalDetails"); string(d) == "Other." {
		r.Unset(record.OutcomeDetail)
		e.set(record.OutcomeDetail, p+"/status/additionalDetails")
	}
	code, ok := digits(v[:min(len(v), 9)])
	switch {
	case len(v) == 0 || !ok:
		r.Set(record.OutcomeStatus, record.Unknown, "")
		return -1
	case code == 0:
		r.Set(record.OutcomeStatus, record.Success, prov)
	case entraInterrupts[code]:
		r.Set(record.OutcomeStatus, record.Unknown, prov)
	case entraFaults[code]:
		r.Set(record.OutcomeStatus, record.Failure, prov)
	default:
		// What is left is Entra refusing who they are or what they may.
		r.Set(record.OutcomeStatus, record.Denied, prov)
	}
	changed := record.No
	if code == 0 {
		changed = record.Yes // a token came into being
	} else if entraInterrupts[code] {
		changed = record.Unknown
	}
	r.Set(record.EffectChanged, changed, prov)
	return code
}

// entraInterrupts are the codes by which a sign-in asks for another step.
var entraInterrupts = map[int]bool{
	16000: true, 16001: true, 16003: true, 50055: true, 50058: true, 50072: true, 50074: true, 50076: true, 50079: true, 50097: true,
	50125: true, 50127: true, 50129: true, 50140: true, 50143: true, 50144: true, 50199: true, 50203: true, 50206: true, 51006: true,
	52004: true, 65001: true, 70016: true, 90094: true, 90095: true, 9002341: true, 500208: true, 5000811: true, 81012: true,
	502031: true,
}

// entraFaults are the codes of requests that were wrong or that Entra could not
// serve, whoever made them.
var entraFaults = map[int]bool{
	20001: true, 20012: true, 20033: true, 40008: true, 40009: true, 40015: true, 50000: true, 50001: true, 50002: true, 50003: true, 50008: true,
	50011: true, 50012: true, 50013: true, 50017: true, 50022: true, 50027: true, 50029: true, 50033: true, 50042: true, 50048: true, 50049: true, 50059: true, 50061: true,
	50068: true, 50085: true, 50089: true, 50107: true, 50112: true, 50117: true, 50120: true, 50128: true, 50146: true, 50147: true, 50148: true, 50149: true, 50150: true, 50155: true,
	50168: true, 50169: true, 50170: true, 50180: true, 50187: true, 50194: true, 50196: true, 50210: true, 51001: true, 51004: true, 65005: true, 70000: true, 70002: true, 70003: true, 70005: true,
	70007: true, 70011: true, 70012: true, 70018: true, 70019: true, 75001: true, 75003: true, 75005: true, 75008: true, 75011: true, 75016: true, 76021: true, 76026: true, 80001: true, 80002: true, 80005: true,
	80007: true, 80010: true, 81004: true, 81005: true, 81006: true, 81007: true, 81009: true, 81010: true, 81011: true, 81013: true, 90002: true, 90004: true, 90005: true,
	90006: true, 90007: true, 90008: true, 90009: true, 90010: true, 90012: true, 90013: true, 90014: true, 90015: true, 90016: true, 90019: true, 90020: true,
	90022: true, 90023: true, 90024: true, 90025: true, 90027: true, 90033: true, 90034: true, 90036: true, 90038: true, 90043: true, 90051: true, 90055: true, 90056: true, 90081: true, 90082: true, 90084: true,
	90085: true, 90086: true, 90087: true, 90089: true, 90090: true, 90091: true, 90092: true, 90107: true, 90112: true, 90114: true, 90117: true, 90119: true, 90123: true, 90124: true,
	90126: true, 90130: true, 130500: true, 399284: true, 500011: true, 500571: false, 650052: true, 650053: true, 650054: true, 650056: true, 700016: true, 700022: true, 700030: true, 700051: true,
	700054: true, 900144: true, 900382: true, 901002: true, 1000000: true, 1000002: true, 1000031: true, 1002016: true, 7000218: true,
}

// entraProven reports whether the user was known when the sign-in stopped with
// code: the password was right, and the rest was missing.
func entraProven(code int) bool {
	switch {
	case entraInterrupts[code] && code != 50058 && code != 50059,
		code >= 53000 && code <= 53011, code >= 530000 && code <= 530099, code == 50105, code == 500121, code == 50131, code == 65004:
		return true
	}
	return false
}

// entraConditionalAccess: the policies that decided, and whether for or against.
func (e *event) entraConditionalAccess(p string) {
	r := e.r
	const key = "/appliedConditionalAccessPolicies"
	status := string(e.str(p + "/conditionalAccessStatus"))
	want := "success"
	switch status {
	case "success":
		if r.Get(record.OutcomeStatus) == record.Success {
			r.Set(record.DecisionEffect, record.Allow, p+"/conditionalAccessStatus")
		}
	case "failure":
		want = "failure"
		if r.Get(record.OutcomeStatus) == record.Denied || r.Get(record.OutcomeStatus) == record.Failure {
			r.Set(record.DecisionEffect, record.Deny, p+"/conditionalAccessStatus")
			r.Set(record.OutcomeStatus, record.Denied, r.Prov(record.OutcomeStatus))
		}
	default:
		if r.Get(record.OutcomeStatus) == record.Denied {
			r.Set(record.DecisionEffect, record.Deny, r.Prov(record.OutcomeStatus))
		} else {
			r.SetAbsent("decision", record.NotApplicable) // no policy applies
		}
		return
	}
	n := e.find(p + key)
	if n == 0 || e.doc.kindOf(n) != kindArray {
		return
	}
	var ids, why []byte
	for c := e.doc.first(n); c != 0; c = e.doc.next(c) {
		if e.doc.kindOf(c) != kindObject || string(e.value(e.doc.get(c, "result"))) != want {
			continue
		}
		id, name := e.value(e.doc.get(c, "id")), e.value(e.doc.get(c, "displayName"))
		if len(id) == 0 {
			id = name
		}
		ids = joined(ids, id, ",")
		why = joined(why, name, "; ")
		controls := e.doc.get(c, "enforcedGrantControls")
		if controls == 0 || e.doc.kindOf(controls) != kindArray {
			continue
		}
		for g := e.doc.first(controls); g != 0; g = e.doc.next(g) {
			why = joined(why, e.value(g), " + ")
		}
	}
	e.put(record.DecisionPolicyID, ids, p+key)
	e.put(record.DecisionReason, why, p+key)
}

// joined appends v to list behind sep.
func joined(list, v []byte, sep string) []byte {
	if len(v) == 0 {
		return list
	}
	if len(list) > 0 {
		list = append(list, sep...)
	}
	return append(list, v...)
}

func (e *event) entraPosture(p string) {
	var out []byte
	prov := ""
	for _, m := range [...]struct{ name, key string }{
		{"authentication=", "/authenticationRequirement"},
		{"device_compliant=", "/deviceDetail/isCompliant"},
		{"device_managed=", "/deviceDetail/isManaged"},
		{"device_trust=", "/deviceDetail/trustType"},
	} {
		if v := e.str(p + m.key); len(v) > 0 {
			out = joined(out, append([]byte(m.name), v...), "; ")
			if prov == "" {
				prov = p + m.key
			}
		}
	}
	e.put(record.DecisionPosture, out, prov)
	e.attr("device", p+"/deviceDetail/deviceId")
}

// entraToken: a sign-in that succeeded issued the token whose identifier Graph
// activity and Microsoft 365 show again. What it was issued for is a key of the
// application, another token, or nothing with a number.
func (e *event) entraToken(p string) {
	r := e.r
	if r.Get(record.OutcomeStatus) != record.Success {
		return
	}
	if e.set(record.CredentialID, p+"/uniqueTokenIdentifier") != nil {
		r.Set(record.CredentialKind, "entra_token", "")
		r.Set(record.CredentialIssuer, "entra", "")
		e.instant(record.CredentialIssued, p+"/createdDateTime", "/time")
		e.set(record.CredentialAudience, p+"/resourceId")
	}
	op, prov := "issue", p+"/status/errorCode"
	if r.Has(record.RequesterID) && r.Get(record.ExecutorType) == record.Agent {
		op = "exchange" // the user's token for one of the agent
	}
	if in := e.str(p + "/incomingTokenType"); len(in) > 0 && string(in) != "none" && string(in) != "unknownFutureValue" {
		op, prov = "exchange", p+"/incomingTokenType"
	}
	key, keyProv := e.str(p+"/servicePrincipalCredentialKeyId"), p+"/servicePrincipalCredentialKeyId"
	if isNobody(key) {
		key, keyProv = e.str(p+"/federatedCredentialId"), p+"/federatedCredentialId"
		if !isNobody(key) {
			op, prov = "exchange", keyProv
		}
	}
	if isNobody(key) {
		key, keyProv = e.str(p+"/servicePrincipalCredentialThumbprint"), p+"/servicePrincipalCredentialThumbprint"
	}
	r.Set(record.CredentialEventOp, op, prov)
	if !isNobody(key) && r.Has(record.ExecutorID) {
		e.delegate(record.Delegation{
			Principal: r.Get(record.ExecutorID), Credential: e.text(key), Audience: e.text(e.str(p + "/resourceId")),
		}, keyProv)
	}
}

// entraDelegated is what the token's scopes are, a list written into one text.
func (e *event) entraDelegated(p string) []string {
	v, _ := e.keyed(p+"/authenticationProcessingDetails", "key", "value", "Oauth Scope Info")
	if len(v) == 0 {
		return nil
	}
	var out []string
	for w := range bytes.FieldsFuncSeq(v, func(r rune) bool { return r == ',' || r == '[' || r == ']' || r == '"' || r == ' ' }) {
		out = append(out, e.text(w))
	}
	return out
}

func (e *event) entraScopes(p string) {
	if e.r.Get(record.OutcomeStatus) != record.Success {
		return
	}
	_, prov := e.keyed(p+"/authenticationProcessingDetails", "key", "value", "Oauth Scope Info")
	for _, s := range e.entraDelegated(p) {
		e.add(record.AuthorityScopes, []byte(s), prov)
	}
}
