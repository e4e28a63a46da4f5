package attribution

import (
	"strings"

	"custody/ingest/record"
)

// oktaTokens are the types of targets that are tokens.
var oktaTokens = [...]string{"access_token", "id_token", "refresh_token", "id_jag", "ID-JAG", "device_secret", "authorization_code", "Token", "token"}

// oktaMain are the types of targets that an event is about, by the event's
// family, the first that is there.
func oktaMain(op string) []string {
	switch {
	case strings.Contains(op, "oauth2"):
		return []string{"AuthorizationServer", "Authorization Server", "AppInstance", "PublicClientApp"}
	case op == "user.authentication.sso", strings.HasPrefix(op, "application."), strings.HasPrefix(op, "app."), op == "policy.evaluate_sign_on":
		return []string{"AppInstance", "PublicClientApp"}
	case strings.HasPrefix(op, "group."):
		return []string{"UserGroup", "Group"}
	case strings.HasPrefix(op, "workload_principal."), strings.HasPrefix(op, "ai_agent."):
		return []string{"AIAgent", "AI Agent", "WorkloadPrincipal"}
	case strings.HasPrefix(op, "user.") || strings.HasPrefix(op, "iam."):
		return []string{"User", "AppUser"}
	}
	return nil
}

// oktaTargets: one target is what the event is about, the policy that decided is
// another field, and the rest stand as attributes.
func (e *event) oktaTargets(op string) {
	r := e.r
	main := e.oktaTarget(oktaMain(op)...)
	n := e.find("/target")
	if n == 0 || e.doc.kindOf(n) != kindArray {
		return
	}
	policy, rule := e.oktaTarget("PolicyEntity", "Policy"), e.oktaTarget("PolicyRule", "Rule")
	evaluates := strings.Contains(op, "evaluate") || strings.Contains(op, "sign_on") || strings.Contains(op, "authentication") || strings.Contains(op, "oauth2")
	i := 0
	for c := e.doc.first(n); c != 0 && i < 64; c = e.doc.next(c) {
		at := "/target/" + decimal(i)
		i++
		typ := string(e.value(e.doc.get(c, "type")))
		if main == "" && !strings.HasPrefix(typ, "Policy") && typ != "Rule" && !oktaIsToken(typ) {
			main = at
		}
	}
	if main == "" && policy != "" {
		main = policy
	}
	if main == "" && e.doc.first(n) != 0 {
		main = "/target/0"
	}
	i = 0
	for c := e.doc.first(n); c != 0 && i < 64; c = e.doc.next(c) {
		at := "/target/" + decimal(i)
		i++
		typ := e.str(at + "/type")
		id, alt := e.str(at+"/id"), e.str(at+"/alternateId")
		if at == main {
			// A user is known elsewhere by its login.
			if string(typ) == "User" && len(alt) > 0 && string(alt) != "unknown" {
				e.set(record.TargetID, at+"/alternateId")
			} else {
				e.set(record.TargetID, at+"/id", at+"/alternateId")
			}
			e.put(record.TargetType, typ, at+"/type")
			e.set(record.TargetName, at+"/displayName", at+"/alternateId")
			continue
		}
		e.add(record.Attributes, e.cat([]byte("target="), typ, []byte(" "), id, []byte(" "), alt), at)
	}
	if at := e.oktaTarget("AppUser"); at != "" && op == "user.authentication.sso" {
		e.set(record.ExecutorLocalAccount, at+"/alternateId")
	}
	if evaluates && policy != "" {
		id := e.str(policy + "/id")
		if rule != "" {
			id = e.cat(id, []byte("/"), e.str(rule+"/id"))
		}
		e.put(record.DecisionPolicyID, id, policy+"/id")
		if !r.Has(record.DecisionReason) {
			e.set(record.DecisionReason, rule+"/displayName", policy+"/displayName")
		}
	}
	e.attribute("tool", oktaDebug+"/toolName")
	if v := e.str("/target/0/changeDetails/from"); len(v) > 0 {
		e.put(record.EffectBefore, v, "/target/0/changeDetails/from")
	}
}

func oktaIsToken(typ string) bool {
	for _, t := range oktaTokens {
		if strings.EqualFold(t, typ) {
			return true
		}
	}
	return false
}

// oktaCredential: tokens, sessions, keys and API tokens that were made, used or taken back.
func (e *event) oktaCredential(op string) {
	r := e.r
	ok := r.Get(record.OutcomeStatus) == record.Success
	e.oktaTokenScopes()
	grant := string(e.str(oktaDebug + "/grantType"))
	life := func(event string) { r.Set(record.CredentialEventOp, event, "/eventType") }
	r.Set(record.CredentialIssuer, "okta", "")
	switch {
	case strings.Contains(op, "oauth2") && (strings.Contains(op, ".token.") || strings.Contains(op, ".authorize.implicit") || strings.Contains(op, ".authorize.code")):
		at := e.oktaTarget(oktaTokens[:]...)
		kind := op[strings.LastIndexByte(op, '.')+1:]
		if at != "" {
			e.set(record.CredentialID, at+"/id")
			kind = string(e.str(at + "/type"))
			e.instant(record.CredentialExpires, at+"/detailEntry/expires")
			e.set(record.CredentialAudience, at+"/detailEntry/audience")
			e.attribute("token_hash", at+"/detailEntry/hash")
			e.attribute("subject", at+"/detailEntry/subject")
		}
		switch kind {
		case "grant", "revoke", "detect_reuse", "token", "Token":
			kind = "oauth_token"
		case "code":
			kind = "authorization_code"
		}
		r.Set(record.CredentialKind, strings.ReplaceAll(strings.ToLower(kind), "-", "_"), "/eventType")
		e.set(record.CredentialIssuer, oktaDebug+"/authorizationServerId", oktaDebug+"/issuer")
		e.set(record.CredentialAudience, oktaDebug+"/audience")
		switch {
		case strings.Contains(op, "revoke"):
			if ok {
				life("revoke")
			}
		case strings.Contains(op, "detect_reuse"):
			life("use")
			r.Set(record.CredentialEventCause, "reuse", "/eventType")
		case !ok:
		case grant == "refresh_token":
			life("renew")
		case strings.HasSuffix(grant, "token-exchange"), strings.HasSuffix(grant, "jwt-bearer"), strings.HasSuffix(op, "id_jag"), strings.HasSuffix(grant, "saml2-bearer"):
			life("exchange")
		default:
			life("issue")
		}
	case strings.HasPrefix(op, "system.api_token."):
		at := e.oktaTarget("Token", "ApiToken", "API Token", "api_token")
		if at == "" && e.has("/target/0/id") {
			at = "/target/0"
		}
		if at != "" {
			e.set(record.CredentialID, at+"/id")
		}
		r.Set(record.CredentialKind, "okta_api_token", "")
		if !ok {
			break
		}
		switch op[len("system.api_token."):] {
		case "create":
			life("issue")
		case "revoke", "deactivate":
			life("revoke")
		}
	case op == "user.session.start", op == "user.session.end", op == "user.session.clear", op == "user.session.expire":
		if r.Has(record.ChainSessionID) {
			r.Set(record.CredentialID, r.Get(record.ChainSessionID), "/authenticationContext/externalSessionId")
			r.Set(record.CredentialKind, "okta_session", "")
		}
		switch {
		case !ok:
		case op == "user.session.start":
			life("issue")
		case op == "user.session.expire":
			life("expire")
		default:
			life("revoke")
		}
	case strings.Contains(op, "credential") && (strings.HasPrefix(op, "workload_principal.") || strings.HasPrefix(op, "app.oauth2.")):
		if at := e.oktaTarget("Credential", "AIAgentCredential", "ClientSecret", "JsonWebKey", "PublicKey"); at != "" {
			e.set(record.CredentialID, at+"/id")
		}
		r.Set(record.CredentialKind, "okta_client_credential", "")
		if ok {
			switch op[strings.LastIndexByte(op, '.')+1:] {
			case "create", "activate":
				life("issue")
			case "delete", "deactivate":
				life("revoke")
			}
		}
	default:
		if e.set(record.CredentialID, "/transaction/detail/requestApiTokenId", oktaDebug+"/requestApiTokenId") != nil {
			r.Set(record.CredentialKind, "okta_api_token", "")
			break
		}
		if r.Has(record.ChainSessionID) && r.Get(record.ExecutorType) == record.Person {
			r.Set(record.CredentialID, r.Get(record.ChainSessionID), "/authenticationContext/externalSessionId")
			r.Set(record.CredentialKind, "okta_session", "")
		}
	}
	if !r.Has(record.CredentialID) && !r.Has(record.CredentialEventOp) {
		r.Unset(record.CredentialKind)
		r.Unset(record.CredentialIssuer)
	}
	// What a new credential was obtained with.
	if v := e.str("/transaction/detail/requestApiTokenId"); len(v) > 0 && r.Has(record.CredentialEventOp) && r.Has(record.ExecutorID) {
		e.delegate(record.Delegation{Principal: r.Get(record.ExecutorID), Credential: e.text(v)}, "/transaction/detail/requestApiTokenId")
	}
	e.attribute("root_api_token", "/transaction/detail/rootApiTokenId")
}

func (e *event) oktaTokenScopes() {
	for _, p := range []string{oktaDebug + "/grantedScopes", oktaDebug + "/scopes"} {
		if s := e.scopeList(p); len(s) > 0 {
			for _, v := range s {
				e.add(record.AuthorityScopes, []byte(v), p)
			}
			break
		}
	}
	for _, s := range e.scopeList(oktaDebug + "/requestedScopes") {
		e.add(record.Attributes, []byte("requested_scope="+s), oktaDebug+"/requestedScopes")
	}
}

// oktaApproves is what an event about an approval says of it, "" for others.
func oktaApproves(op string) string {
	if op == "user.session.impersonation.grant" {
		return "approved"
	}
	if !strings.HasPrefix(op, "access.request.") && !strings.HasPrefix(op, "app.access_request.") {
		return ""
	}
	switch op[strings.LastIndexByte(op, '.')+1:] {
	case "approve", "grant":
		return "approved"
	case "deny", "reject":
		return "denied"
	}
	return ""
}

// oktaApproval: requests for access and who answered them.
func (e *event) oktaApproval(op string) {
	r := e.r
	requests := strings.HasPrefix(op, "access.request.") && !strings.HasPrefix(op, "access.request.condition") && !strings.HasPrefix(op, "access.request.s") ||
		strings.HasPrefix(op, "app.access_request.")
	if requests {
		if at := e.oktaTarget("AccessRequest", "Access Request", "Request", "REQUEST"); at != "" {
			e.set(record.ApprovalRequestID, at+"/id")
		}
		r.Set(record.ApprovalSource, "okta", "")
	}
	switch state := oktaApproves(op); {
	case state != "":
		if r.Get(record.ExecutorType) == record.Person {
			r.Set(record.ApprovalApprover, r.Get(record.ExecutorID), r.Prov(record.ExecutorID))
		}
		e.mark("approval="+state, "/eventType")
		effect := record.Allow
		if state == "denied" {
			effect = record.Deny
		}
		r.Set(record.DecisionEffect, effect, "/eventType")
		r.Set(record.ApprovalSource, "okta", "")
	case requests && (strings.HasSuffix(op, ".create") || strings.HasSuffix(op, ".request")):
		e.mark("approval=requested", "/eventType")
	}
}

// oktaVerbs are the last words of the names of events that change something.
var oktaVerbs = map[string]bool{
	"create": true, "update": true, "delete": true, "add": true, "remove": true, "activate": true, "deactivate": true, "suspend": true,
	"unsuspend": true, "grant": true, "revoke": true, "assign": true, "unassign": true, "reset_all": true, "unlock": true, "lock": true,
	"initiate": true, "start": true, "update_password": true, "reset_password": true, "approve": true, "deny": true, "access_token": true,
	"refresh_token": true, "id_token": true, "id_jag": true, "reset": true, "push": true, "clear": true, "end": true, "request": true, "register": true,
	"unregister": true, "provision": true, "deprovision": true,
}

func (e *event) oktaEffect(op string) {
	r := e.r
	changed, prov := record.Unknown, "/eventType"
	switch s := r.Get(record.OutcomeStatus); {
	case s == record.Denied, s == record.Failure:
		changed, prov = record.No, "/outcome/result"
	case strings.Contains(op, "evaluate"), op == "user.authentication.sso", op == "user.authentication.auth_via_mfa", op == "user.authentication.verify":
		changed = record.No
	case s == record.Success && oktaVerbs[op[strings.LastIndexByte(op, '.')+1:]]:
		changed = record.Yes
	}
	r.Set(record.EffectChanged, changed, prov)
}

var oktaGuide = guide{
	userSet: []string{
		"/client/userAgent/rawUserAgent: any client",
		"/actor/alternateId: whoever tries to sign in types it, so it proves nothing while `/actor/id` is unknown or the sign-in failed",
		"/client/id: the client names itself until it has authenticated",
		"/debugContext/debugData/requestedScopes: the client asks for what it likes; grantedScopes is what it was given",
		"/debugContext/debugData/requestUri: the caller's request",
		"/displayName: users and administrators edit it",
	},
	emit: map[Part]string{
		PartRequester:  "`actor` of type User; of a token that a client was given, the target of type User (or the token's `subject`). Behind `requestApiTokenId`, `system@okta.com` and client credentials the event names nobody: use OAuth for scripts and give every agent its own AI agent identity",
		PartExecutor:   "`actor`: the user, the client (`PublicClientApp`), the AI agent, or Okta's own system. Support works under `user.session.impersonation.*`",
		PartTool:       "`eventType`, `target` and `debugData.requestUri`, always there",
		PartPermission: "`debugData.grantedScopes` of token grants; administrators' roles stand in `user.account.privilege.grant` and `iam.*`",
		PartDecision:   "`outcome.result` ALLOW, DENY or CHALLENGE of `policy.evaluate_sign_on` with the policy and rule among the targets; `access.request.*` and `app.access_request.*` for approvals. Okta has no versions of policies: `policy.rule.update` shows what changed",
		PartOutcome:    "`outcome.result` and `outcome.reason`",
		PartChain:      "`transaction.id` joins the events of a request, `authenticationContext.externalSessionId` those of a session, `rootSessionId` sessions that came of one another; a token grant's target holds the token's id (the `jti` of the token), which resource servers log",
	},
}
