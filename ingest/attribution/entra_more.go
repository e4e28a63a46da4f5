package attribution

import (
	"bytes"

	"custody/ingest/record"
)

// entraGraph decodes Microsoft Graph activity. A token with a user in it
// (scopes) lets the application act for that user, one without (roles) lets it
// act for itself.
func (e *event) entraGraph(p string) {
	r := e.r
	e.noDecide = true
	e.time(p+"/timeGenerated", "/time")
	e.set(record.SourceOriginalID, p+"/requestId", "/correlationId")
	e.set(record.ChainRequestID, p+"/requestId", "/correlationId")
	if v := e.str(p + "/clientRequestId"); len(v) > 0 && !bytes.Equal(v, e.str(p+"/operationId")) {
		e.put(record.ChainTxn, v, p+"/clientRequestId")
	}
	if v := e.str(p + "/operationId"); len(v) > 0 && !bytes.Equal(v, e.str(p+"/requestId")) {
		e.attr("batch", p+"/operationId")
	}
	e.set(record.ChainSessionID, p+"/sessionId", p+"/c_Sid", p+"/C_Sid")
	e.client(p+"/ipAddress", "/callerIpAddress")
	method := e.set(record.ActionOperation, p+"/requestMethod", "/operationName")
	r.Set(record.ActionService, "graph.microsoft.com", "")
	r.Set(record.EffectSystem, "graph.microsoft.com", "")
	uri := e.set(record.TargetID, p+"/requestUri")
	r.Set(record.TargetType, "url", "")
	e.attr("api_version", p+"/apiVersion")
	e.attr("client_auth", p+"/clientAuthMethod")
	e.attr("user_agent", p+"/userAgent")
	e.attr("device", p+"/deviceId")

	e.words(record.AuthorityScopes, p+"/scopes")
	e.words(record.AuthorityRoles, p+"/roles")
	e.words(record.AuthorityRoles, p+"/wids")
	user, sp := e.str(p+"/userId"), e.str(p+"/servicePrincipalId")
	e.app(record.ServiceAccount, p)
	switch {
	case !isNobody(user):
		e.requester(record.Person, user, p+"/userId", fromLogin)
		r.Set(record.RequesterIDKind, "entra_object_id", "")
		e.delegate(record.Delegation{
			Principal: e.text(user), Credential: e.text(e.str(p + "/signInActivityId")), Audience: e.text(e.str(p + "/appId")), Scopes: e.listed(record.AuthorityScopes),
		}, p+"/userId")
	case !isNobody(sp):
		r.Set(record.ContextMode, "autonomous", p+"/servicePrincipalId")
	}
	if e.set(record.CredentialID, p+"/signInActivityId", p+"/uniqueTokenId") != nil {
		r.Set(record.CredentialKind, "entra_token", "")
		r.Set(record.CredentialIssuer, "entra", "")
		e.instant(record.CredentialIssued, p+"/tokenIssuedAt")
	}

	code := e.set(record.OutcomeCode, p+"/responseStatusCode", "/resultSignature")
	prov := r.Prov(record.OutcomeCode)
	status := outcome(code)
	r.Set(record.OutcomeStatus, status, prov)
	if status == record.Denied {
		r.Set(record.DecisionEffect, record.Deny, prov)
	}
	changed := record.Unknown
	switch string(method) {
	case "GET", "HEAD", "OPTIONS":
		changed, prov = record.No, p+"/requestMethod"
	case "POST", "PUT", "PATCH", "DELETE":
		switch {
		case status == record.Denied || status == record.Failure:
			changed = record.No
		case status == record.Success && !graphQuestion(uri):
			changed = record.Yes
		}
	}
	r.Set(record.EffectChanged, changed, prov)
}

// graphQuestion reports requests that only ask, or of which the content tells what they do, in the form of a POST.
func graphQuestion(uri []byte) bool {
	path, _, _ := bytes.Cut(bytes.ToLower(uri), []byte("?"))
	path = bytes.TrimRight(path, "/")
	for _, end := range [...]string{
		"/$batch", "/search/query", "/getbyids", "/checkmembergroups", "/checkmemberobjects", "/getmembergroups", "/getmemberobjects", "/validateproperties",
		"/getschedule", "/findmeetingtimes", "/runhuntingquery", "/translateexchangeids", "/evaluate", "/preview", "/validatepassword", "/invite/preview",
	} {
		if bytes.HasSuffix(path, []byte(end)) {
			return true
		}
	}
	return false
}

// entraProvisioning: the provisioning service carries an identity from one system to another.
func (e *event) entraProvisioning(p string) {
	r := e.r
	e.noDecide = true
	e.time(p+"/activityDateTime", "/time")
	e.set(record.SourceOriginalID, p+"/id")
	e.set(record.ChainRequestID, p+"/changeId", "/correlationId")
	e.set(record.ChainTaskID, p+"/jobId")
	e.set(record.ChainTxn, p+"/cycleId")
	e.set(record.ActionOperation, p+"/provisioningAction", p+"/action", "/operationName")
	e.set(record.TargetID, p+"/targetIdentity/id", p+"/targetIdentity/displayName", p+"/sourceIdentity/id")
	e.set(record.TargetName, p+"/targetIdentity/displayName")
	e.set(record.TargetType, p+"/targetIdentity/identityType")
	e.set(record.EffectSystem, p+"/targetSystem/displayName")
	by := p + "/initiatedBy"
	switch string(bytes.ToLower(e.str(by + "/initiatorType"))) {
	case "user":
		e.entraUser(by, "/displayName", "/id", fromLogin)
	default:
		e.attr("initiated_by", by+"/displayName")
	}
	if sp := p + "/servicePrincipal"; e.has(sp) {
		if n := e.find(sp); e.doc.kindOf(n) == kindArray {
			sp += "/0"
		}
		if id := e.set(record.ExecutorName, sp+"/displayName", sp+"/name"); e.has(sp + "/id") {
			e.executor(record.ServiceAccount, e.str(sp+"/id"), sp+"/id")
			r.Set(record.ExecutorIDKind, "entra_object_id", "")
		} else {
			e.executor(record.ServiceAccount, id, r.Prov(record.ExecutorName))
		}
	}
	v := e.str(p + "/provisioningStatusInfo/status")
	prov := p + "/provisioningStatusInfo/status"
	if len(v) == 0 {
		v, prov = e.str(p+"/statusInfo/status"), p+"/statusInfo/status"
	}
	if len(v) == 0 {
		v, prov = e.str("/resultType"), "/resultType"
	}
	status, changed := outcome(v), record.Unknown
	e.set(record.OutcomeCode, p+"/provisioningStatusInfo/errorInformation/errorCode", p+"/statusInfo/errorCode")
	e.set(record.OutcomeDetail, p+"/provisioningStatusInfo/errorInformation/reason", p+"/statusInfo/reason")
	switch {
	case string(bytes.ToLower(v)) == "skipped", status == record.Failure:
		changed = record.No
	case status == record.Success:
		changed = record.Yes
	}
	r.Set(record.OutcomeStatus, status, prov)
	r.Set(record.EffectChanged, changed, prov)
}

// entraRisk: a statement of the service about an account, which is the target
// here: nobody acts in it, and the account least of all.
func (e *event) entraRisk(p string) {
	r := e.r
	e.noDecide = true
	e.time(p+"/activityDateTime", p+"/riskLastUpdatedDateTime", p+"/detectedDateTime", "/time")
	e.set(record.SourceOriginalID, p+"/id")
	e.set(record.ChainRequestID, p+"/correlationId", "/correlationId")
	e.set(record.ChainParentID, p+"/requestId")
	e.client(p+"/ipAddress", "/callerIpAddress")
	e.set(record.ActionOperation, p+"/riskEventType", "/operationName")
	r.Set(record.TargetType, "user", "")
	if e.set(record.TargetID, p+"/userPrincipalName", p+"/userId") == nil && e.set(record.TargetID, p+"/servicePrincipalId", p+"/appId", p+"/agentId", p+"/id") != nil {
		r.Set(record.TargetType, "service_principal", "")
	}
	e.set(record.TargetName, p+"/userDisplayName", p+"/servicePrincipalDisplayName", p+"/agentDisplayName")
	for _, a := range [...]struct{ name, key string }{
		{"risk", "/riskLevel"}, {"risk_state", "/riskState"}, {"risk_detail", "/riskDetail"}, {"detection", "/detectionTimingType"}, {"activity", "/activity"},
	} {
		e.attr(a.name, p+a.key)
	}
	r.SetAbsent("requester", record.NotApplicable)
	r.SetAbsent("executor", record.NotApplicable)
	r.Set(record.OutcomeStatus, record.Unknown, "")
	r.Set(record.EffectChanged, record.Unknown, "")
}

// entraNetwork decodes what has only the common envelope: network access, and
// categories that are not known here.
func (e *event) entraNetwork(p string) {
	r := e.r
	e.time(p+"/createdDateTime", p+"/timeGenerated", "/time", p+"/CreationTime")
	e.set(record.SourceOriginalID, p+"/id", p+"/Id", p+"/transactionId")
	e.set(record.ChainRequestID, p+"/correlationId", p+"/transactionId", "/correlationId")
	e.set(record.ChainSessionID, p+"/sessionId", p+"/connectionId")
	e.client(p+"/sourceIp", p+"/ipAddress", p+"/ClientIP", "/callerIpAddress")
	e.set(record.ActionOperation, "/operationName", p+"/Operation", p+"/activityDisplayName")
	if e.set(record.TargetID, p+"/destinationFqdn", p+"/destinationUrl", p+"/destinationIp", p+"/ObjectId", p+"/resourceId") != nil {
		r.Set(record.TargetType, "resource", "")
	}
	base, upn, oid := p, "/userPrincipalName", "/userId"
	if e.has(p + "/UserId") {
		upn, oid = "/UserId", "/UserKey"
	}
	typ, id, prov := e.entraUser(base, upn, oid, fromLogin)
	switch {
	case len(id) > 0:
		e.executor(typ, id, prov)
		if prov == base+upn {
			r.Set(record.ExecutorIDKind, "upn", "")
		}
	case e.has(p+"/appId") || e.has(p+"/servicePrincipalId"):
		e.app(record.ServiceAccount, p)
	}
	if v := e.str(p + "/action"); len(v) > 0 {
		if d := decision(v); d == record.Allow || d == record.Deny {
			r.Set(record.DecisionEffect, d, p+"/action")
		}
	}
	e.set(record.DecisionPolicyID, p+"/policyId", p+"/filteringProfileId")
	e.set(record.DecisionReason, p+"/policyName", p+"/ruleName")
	code := e.set(record.OutcomeCode, p+"/responseCode", "/resultType", p+"/ResultStatus")
	status := outcome(code)
	switch {
	case r.Get(record.DecisionEffect) == record.Deny:
		status = record.Denied
	case string(code) == "0":
		status = record.Success
	}
	r.Set(record.OutcomeStatus, status, r.Prov(record.OutcomeCode))
	r.Set(record.EffectChanged, record.Unknown, "")
	if !r.Has(record.DecisionEffect) {
		e.noDecide = true
	}
}

var entraGuide = guide{
	userSet: []string{
		"/userAgent: any client of Microsoft Graph or of a sign-in names its program itself",
		"/userPrincipalName of a sign-in that failed: whoever typed it; it is the name of who was tried, not of who tried",
		"/signInIdentifier: what was typed into the user name box, whatever it was",
		"/clientRequestId: the client chooses its own request identifier",
		"/userDisplayName, /appDisplayName, /servicePrincipalName: owners and administrators choose display names, so nothing is decided by them",
		"/resultReason of a role activation: the justification is free text of the one who activates",
	},
	emit: map[Part]string{
		PartRequester:  "`userPrincipalName` or `userId` of user sign-ins, `initiatedBy.user` of audit events, `userId` of Graph activity with delegated scopes. Stream `SignInLogs`, `NonInteractiveUserSignInLogs`, `AuditLogs` and `MicrosoftGraphActivityLogs` in Entra's diagnostic settings (P1). A service principal or managed identity that signs in for itself has no requester in this log",
		PartExecutor:   "The person of an interactive sign-in; the client application (`appId`, `servicePrincipalId`) of every other one and of Graph activity; `initiatedBy.app` or `performedBy` of audit events. Agents are told by `agent.agentType`, `agent.agentSubjectType` and `initiatedBy.*.agentType`: the beta endpoint with `Prefer: include-unknown-enum-members`, or the diagnostic stream",
		PartTool:       "`appDisplayName` and `resourceDisplayName` of sign-ins, `loggedByService` and `activityDisplayName` of audit events, `requestMethod` and `requestUri` of Graph activity",
		PartPermission: "`scopes`, `roles` and `wids` of Graph activity; `Oauth Scope Info` in `authenticationProcessingDetails` of sign-ins",
		PartDecision:   "`conditionalAccessStatus` and the policies of `appliedConditionalAccessPolicies` that decided, with the device's state as posture; the reader needs the role Security Reader and the scope Policy.Read.ConditionalAccess, else the list is empty. Approvals of role activations and access packages are audit events of `PIM` and `Entitlement Management`",
		PartOutcome:    "`status.errorCode` (AADSTS number) of sign-ins, where requests for one more step are neither success nor failure; `result` and `resultReason` of audit events; `responseStatusCode` of Graph activity",
		PartChain:      "`uniqueTokenIdentifier` of the sign-in is `signInActivityId` of Graph activity, `uti` of Azure activity and `UniqueTokenId` of Microsoft 365; `sessionId`, `correlationId`, `originalRequestId`, `clientRequestId`; `servicePrincipalCredentialKeyId` is the `KeyIdentifier` of the audit event that added the key",
	},
}
