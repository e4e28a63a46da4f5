package attribution

import (
	"strings"

	"custody/ingest/record"
)

// ocsf decodes events of the Open Cybersecurity Schema Framework 1.x: the classes
// of identity and access (3001 to 3008) and of applications (6001 to 6005) with
// their own members, the others by what all classes share.
//
// An export of custody carries the whole record in unmapped.custody. Only a source
// that pins this format is believed when it says so: anybody could write one.
func ocsf() format {
	return format{
		name: "ocsf", product: "OCSF", issuer: "ocsf",
		shape: shapeJSON,
		keys:  []string{"class_uid"},
		match: func(e *event) bool {
			t, o := &e.doc, e.root
			if t.get(o, "class_uid") == 0 {
				return false
			}
			return t.get(o, "metadata") != 0 && (t.get(o, "category_uid") != 0 || t.get(o, "type_uid") != 0 || t.get(o, "activity_id") != 0)
		},
		decode: func(e *event) {
			if e.src.Format == "ocsf" && e.roundTrip() {
				return
			}
			decodeOCSF(e)
		},
		guide: ocsfGuide,
	}
}

func decodeOCSF(e *event) {
	r := e.r
	e.noDecide, e.noPolVer = true, true
	e.time("/time_dt", "/time", "/start_time", "/metadata/original_time")
	e.set(record.SourceOriginalID, "/metadata/uid", "/metadata/original_event_uid")
	e.set(record.SourceHost, "/device/hostname", "/device/name")
	if e.src.Product == "" {
		e.set(record.SourceProduct, "/metadata/product/name")
	}
	if !r.Has(record.SourceSeverity) {
		if v := e.str("/severity"); len(v) > 0 {
			e.put(record.SourceSeverity, lower(v), "/severity")
		}
	}
	class, activity := string(e.str("/class_uid")), string(e.str("/activity_id"))
	e.set(record.ActionOperation, "/api/operation", "/activity_name", "/type_name")
	e.set(record.ActionService, "/api/service/name", "/service/name", "/actor/app_name", "/dst_endpoint/svc_name", "/metadata/product/name")
	if r.Prov(record.ActionService) == "/actor/app_name" && e.custodyExport() {
		r.Unset(record.ActionService)
	}
	e.set(record.ActionTool, "/tool/name", "/mcp/tool/name")
	e.set(record.ChainRequestID, "/api/request/uid", "/metadata/correlation_uid", "/http_request/uid")
	e.set(record.ChainSessionID, "/session/uid", "/actor/session/uid")
	if id := hexID(e.str("/trace/uid"), 16); id != nil {
		e.put(record.ChainTraceID, id, "/trace/uid")
	}
	e.set(record.ChainSpanID, "/trace/span/uid")
	e.set(record.ChainParentID, "/trace/span/parent_uid")
	e.set(record.SourceAddress, "/src_endpoint/ip", "/src_endpoint/hostname", "/device/ip")
	e.set(record.RequesterTenant, "/actor/user/org/uid", "/actor/user/account/uid", "/cloud/account/uid")
	e.ocsfTarget(class)
	e.ocsfOutcome(class, activity)
	e.ocsfPrincipals(class)
	e.ocsfCredential(class)
	e.ocsfEffect(class, activity)
	e.attribute("class", "/class_name", "/class_uid")
	e.attribute("auth_protocol", "/auth_protocol")
	e.attribute("mfa", "/is_mfa")
	e.attribute("cloud.account", "/cloud/account/uid")
	e.attribute("cloud.region", "/cloud/region")
	e.userAgent("/http_request/user_agent")
}

// custodyExport reports whether the event says that it is an export of custody.
func (e *event) custodyExport() bool {
	return string(e.str("/metadata/product/name")) == "custody" && e.has("/unmapped/custody")
}

// ocsfType is the kind of principal that a user object says in so many words.
func ocsfType(e *event, user string) string {
	id := e.str(user + "/uid")
	if v := e.str(user + "/email_addr"); principalType(string(v)) == record.Person {
		return record.Person
	}
	switch string(lower(e.str(user + "/type"))) {
	case "assumedrole", "role", "service", "service_account", "serviceaccount":
		return record.ServiceAccount
	case "awsservice", "system", "machine", "workload":
		return record.Workload
	case "agent", "ai_agent":
		return record.Agent
	}
	switch string(e.str(user + "/type_id")) {
	case "3":
		return record.Workload
	case "4":
		return record.ServiceAccount
	}
	for _, v := range [...][]byte{id, e.str(user + "/name")} {
		if t := principalType(string(v)); t != record.Unknown {
			return t
		}
	}
	return record.Unknown // "User" is said of accounts of scripts too
}

// ocsfPrincipals: actor.user is whoever made the call. It acted, and asked too if
// it is a person; but where an agent or a service is named as acting in between,
// that one acted.
func (e *event) ocsfPrincipals(class string) {
	r := e.r
	const user = "/actor/user"
	who := e.says(user+"/email_addr", user+"/uid", user+"/uid_alt", user+"/name")
	typ := ocsfType(e, user)
	name := e.says(user+"/full_name", user+"/name")
	subject := class == "3002" || class == "3003"
	if subject && !who.has() { // a login names its user beside the actor
		who, typ = e.says("/user/email_addr", "/user/uid", "/user/name"), ocsfType(e, "/user")
		name = e.says("/user/full_name", "/user/name")
	}
	issuer := e.says("/actor/idp/name", "/actor/idp/uid", user+"/domain")
	agent := e.says("/ai_agent/uid", "/actor/ai_agent/uid", "/ai_agent/name", "/actor/ai_agent/name")
	service := e.says("/actor/invoked_by")
	if e.custodyExport() {
		agent, service = said{}, said{}
		if who.has() {
			e.requester(typ, who.v, who.prov, fromBody)
			e.tell(record.RequesterName, name)
		}
		// The projection does not say how sure any of it was.
		e.claimed, e.reqProof = true, fromParam
		if app := e.says("/actor/app_uid"); app.has() {
			e.executor(principalType(string(app.v)), app.v, app.prov)
			e.set(record.ExecutorName, "/actor/app_name")
		}
		return
	}
	switch {
	case agent.has():
		e.executor(record.Agent, agent.v, agent.prov)
		e.set(record.ExecutorName, "/ai_agent/name", "/actor/ai_agent/name")
		e.set(record.ExecutorVersion, "/ai_agent/version", "/actor/ai_agent/version")
		e.set(record.ExecutorModel, "/ai_agent/model/name", "/ai_agent/model", "/ai_model/name")
		e.set(record.ExecutorInstance, "/ai_agent/instance_uid")
	case service.has():
		e.executor(record.Workload, service.v, service.prov)
		r.Set(record.ExecutorIDKind, "service", "")
	case who.has():
		e.executor(typ, who.v, who.prov)
		e.tell(record.ExecutorName, name)
		e.tell(record.ExecutorIssuer, issuer)
	}
	if who.has() && (agent.has() || service.has()) {
		e.delegate(record.Delegation{Principal: e.text(who.v), Credential: e.text(e.str(user + "/credential_uid")), Audience: r.Get(record.ExecutorID)}, who.prov)
	}
	if who.has() && typ == record.Person {
		e.requester(typ, who.v, who.prov, fromBody)
		e.tell(record.RequesterName, name)
		e.tell(record.RequesterIssuer, issuer)
	}
	if subject && r.Get(record.OutcomeStatus) != record.Success {
		e.claimed, e.reqProof = true, fromParam // only who somebody tried to be
	}
	if as := e.says("/actor/user/impersonated_user/uid", "/impersonated_user/uid", "/impersonated_user/name"); as.has() {
		e.tell(record.ExecutorLocalAccount, as)
		if !who.has() {
			r.AddFinding(record.ImpersonationNoActor)
		}
	}
	if acct := e.says("/actor/process/user/name", "/process/user/name"); acct.has() {
		e.tell(record.ExecutorLocalAccount, acct)
	}
	if roles := e.find(user + "/groups"); roles != 0 && e.doc.kindOf(roles) == kindArray {
		for c := e.doc.first(roles); c != 0; c = e.doc.next(c) {
			e.add(record.AuthorityRoles, e.value(e.doc.get(c, "name")), user+"/groups")
		}
	}
	if e.has("/actor/session/issuer") && (typ == record.ServiceAccount) {
		e.list(record.AuthorityRoles, "/actor/session/issuer")
	}
}

// ocsfTarget names what it was done to: resources, or what the class is about.
func (e *event) ocsfTarget(class string) {
	r := e.r
	take := func(typ string, pointers ...string) bool {
		if e.set(record.TargetID, pointers...) == nil {
			return false
		}
		if !r.Has(record.TargetType) {
			r.Set(record.TargetType, typ, "")
		}
		return true
	}
	switch class {
	case "3001", "3005":
		if take("user", "/user/uid", "/user/email_addr", "/user/name") {
			e.set(record.TargetName, "/user/name", "/user/email_addr")
			e.privileges()
			return
		}
	case "3003":
		e.privileges()
	case "3004":
		if take("entity", "/entity/uid", "/entity/name") {
			e.set(record.TargetType, "/entity/type")
			return
		}
	case "3006":
		if take("group", "/group/uid", "/group/name") {
			e.set(record.TargetName, "/group/name")
			e.attribute("member", "/user/uid", "/user/name")
			e.privileges()
			return
		}
	}
	for _, base := range [...]string{"/resources/0", "/resource", "/web_resources/0"} {
		if e.set(record.TargetID, base+"/uid", base+"/url_string", base+"/name") != nil {
			e.set(record.TargetType, base+"/type")
			e.set(record.TargetName, base+"/name")
			e.set(record.TargetSensitivity, base+"/data_classification/confidentiality", base+"/criticality")
			return
		}
	}
	_ = take("database", "/database/uid", "/database/name", "/databucket/uid", "/databucket/name", "/table/name") ||
		take("file", "/file/path", "/file/name") ||
		take("url", "/http_request/url/url_string", "/url/url_string") ||
		take("host", "/dst_endpoint/hostname", "/dst_endpoint/ip") ||
		take("process", "/process/file/path", "/process/name")
}

func (e *event) privileges() {
	e.attributes("privilege", "/privileges")
}

// ocsfOutcome: status tells success from failure; that it was refused stands in
// the authorizations, the disposition or the code.
func (e *event) ocsfOutcome(class, activity string) {
	r := e.r
	code := e.set(record.OutcomeCode, "/status_code", "/api/response/error", "/api/response/code", "/http_response/code")
	detail := e.set(record.OutcomeDetail, "/status_detail", "/api/response/error_message", "/message")
	if r.Prov(record.OutcomeDetail) == "/message" {
		r.Unset(record.OutcomeDetail)
		detail = nil
	}
	for _, base := range [...]string{"/authorizations/0", "/actor/authorizations/0"} {
		v := e.str(base + "/decision")
		if len(v) > 0 {
			e.put(record.DecisionEffect, []byte(decision(v)), base+"/decision")
		}
		if e.set(record.DecisionPolicyID, base+"/policy/uid", base+"/policy/name") != nil || len(v) > 0 {
			e.set(record.DecisionPolicyVersion, base+"/policy/version")
			e.set(record.DecisionReason, base+"/policy/desc")
			break
		}
	}
	status, prov := record.Unknown, ""
	switch string(e.str("/status_id")) {
	case "1":
		status, prov = record.Success, "/status_id"
	case "2":
		status, prov = record.Failure, "/status_id"
	default:
		if v := e.str("/status"); len(v) > 0 {
			status, prov = outcome(v), "/status"
		}
	}
	if string(e.str("/action_id")) == "2" { // Denied
		status, prov = record.Denied, "/action_id"
		r.Set(record.DecisionEffect, record.Deny, "/action_id")
	}
	switch string(e.str("/disposition_id")) {
	case "2", "6", "8", "9": // Blocked, Dropped, Rejected…
		status, prov = record.Denied, "/disposition_id"
	}
	if status == record.Failure {
		switch {
		case r.Get(record.DecisionEffect) == record.Deny:
			status, prov = record.Denied, r.Prov(record.DecisionEffect)
		case outcome(code) == record.Denied || refused(code) || strings.Contains(string(code), "AccessDenied") || strings.Contains(string(code), "Unauthorized"):
			status, prov = record.Denied, r.Prov(record.OutcomeCode)
		case refused(detail):
			status, prov = record.Denied, r.Prov(record.OutcomeDetail)
		case class == "3002" && activity == "1": // a logon that was not let in
			status = record.Denied
		}
	}
	r.Set(record.OutcomeStatus, status, prov)
}

// ocsfCredential: the session's or the user's credential; classes about
// credentials tell what became of it.
func (e *event) ocsfCredential(class string) {
	r := e.r
	id := e.says("/session/credential_uid", "/actor/session/credential_uid", "/actor/user/credential_uid", "/credential/uid", "/auth_token/uid", "/authentication_token/uid")
	if class == "3002" {
		id = e.says("/authentication_token/uid", "/auth_factors/0/uid", "/session/credential_uid", "/certificate/serial_number").or(id)
	}
	e.tell(record.CredentialID, id)
	if id.has() {
		switch v := string(id.v); {
		case strings.HasPrefix(v, "AKIA"):
			r.Set(record.CredentialKind, "aws_access_key", "")
		case strings.HasPrefix(v, "ASIA"):
			r.Set(record.CredentialKind, "aws_session", "")
		default:
			e.set(record.CredentialKind, "/credential/type", "/authentication_token/type")
		}
		e.instant(record.CredentialIssued, "/session/created_time", "/actor/session/created_time", "/credential/created_time")
		e.instant(record.CredentialExpires, "/session/expiration_time", "/actor/session/expiration_time", "/credential/expiration_time")
		if v := e.set(record.CredentialIssuer, "/credential/issuer", "/session/issuer", "/actor/session/issuer"); strings.HasPrefix(string(v), "arn:") {
			r.Set(record.CredentialIssuer, "aws", "") // the role is no issuer
		}
	}
	if class != "3007" && class != "3008" && class != "3002" {
		return
	}
	op := ""
	switch name := string(lower(e.str("/activity_name"))); {
	case strings.Contains(name, "renew"):
		op = "renew"
	case strings.Contains(name, "exchange"):
		op = "exchange"
	case strings.Contains(name, "revoke"):
		op = "revoke"
	case strings.Contains(name, "expire"):
		op = "expire"
	case class != "3002" && (strings.Contains(name, "issue") || strings.Contains(name, "create")), strings.Contains(name, "ticket"):
		op = "issue"
	}
	if op != "" && r.Get(record.OutcomeStatus) == record.Success {
		r.Set(record.CredentialEventOp, op, "/activity_name")
	}
}

func (e *event) ocsfEffect(class, activity string) {
	r := e.r
	changed, prov := record.Unknown, "/activity_id"
	switch {
	case r.Get(record.OutcomeStatus) == record.Denied || r.Get(record.OutcomeStatus) == record.Failure:
		changed, prov = record.No, r.Prov(record.OutcomeStatus)
	case class == "6003" && activity == "2", class == "3004" && activity == "2", class == "6001" && activity == "2":
		changed = record.No
	case r.Get(record.OutcomeStatus) != record.Success:
	case (class == "6003" || class == "6001" || class == "3004") && (activity == "1" || activity == "3" || activity == "4"),
		(class == "3001" || class == "3005" || class == "3006") && activity != "0" && activity != "":
		changed = record.Yes
	}
	r.Set(record.EffectChanged, changed, prov)
}

// roundTrip takes the record that an export of custody carries, as far as a line
// may state it: what custody observes and concludes it does anew.
func (e *event) roundTrip() bool {
	n := e.find("/unmapped/custody")
	if n == 0 || e.doc.kindOf(n) != kindObject || !e.valid {
		return false
	}
	back, err := record.Parse(e.doc.source(n))
	if err != nil {
		e.note("unmapped.custody is no record of this version")
		return false
	}
	r := e.r
	if back.Time != 0 {
		e.timeIs(back.Time, true, "/unmapped/custody/time")
	}
	at := func(f record.Field) string { return "/unmapped/custody/" + strings.ReplaceAll(f.String(), ".", "/") }
	back.Scalars(func(f record.Field, v, _ string) bool {
		if settable(f) && f.Settable() && f != record.SourceFormat && f != record.SourceProduct {
			r.Set(f, v, at(f))
		}
		return true
	})
	back.Lists(func(f record.Field, v, _ string) bool {
		switch {
		case f == record.Findings:
			switch v { // what only a decoder of the source could see
			case record.DelegationRedacted, record.ImpersonationNoActor, record.AgentAsHuman, record.ExecutorByCredentialOnly:
				r.AddFinding(v)
			}
		case f == record.Delegations:
			r.Add(f, v, at(f))
		case settable(f):
			e.add(f, []byte(v), at(f))
		}
		return true
	})
	for _, part := range [...]string{"requester", "executor", "delegation", "decision", "decision.policy_version"} {
		if why := back.Absent(part); why != "" {
			r.SetAbsent(part, why)
		}
	}
	if p := back.Get(record.SourceProduct); p != "" && e.src.Product == "" {
		r.Set(record.SourceProduct, p, at(record.SourceProduct))
	}
	e.reqProof = fromBody
	if back.Get(record.RequesterAssurance) != record.Authenticated {
		e.reqProof = fromParam
	}
	e.claimed = back.Get(record.ExecutorAssurance) != record.Authenticated
	e.noDecide = back.Absent("decision") != ""
	e.noPolVer = back.Absent("decision.policy_version") != ""
	return true
}

var ocsfGuide = guide{
	userSet: []string{
		"/http_request/user_agent: any client",
		"/actor/session/uid_alt, /actor/user/name of role sessions: whoever assumes the role chooses the session's name",
		"/unmapped: whatever the mapping puts there; unmapped.custody is believed only where the source pins this format",
		"/src_endpoint: what the mapped source says; behind proxies any client",
	},
	emit: map[Part]string{
		PartRequester:  "`actor.user` where it is a person (`email_addr`, or `uid` that is an address), with `actor.idp` or `actor.session.issuer`; in Authentication (3002) also `user`",
		PartExecutor:   "`ai_agent`, else `actor.invoked_by`, else `actor.user`; `actor.process.user` is the account on the host",
		PartTool:       "`api.operation`, `api.service.name`, else `activity_name`",
		PartPermission: "`actor.user.groups[]`, `privileges[]`; map the source's roles there",
		PartDecision:   "`authorizations[].decision` and `.policy` (`uid`, `version`), `action_id`, `disposition_id`",
		PartOutcome:    "`status_id`, `status_code`, `status_detail`",
		PartChain:      "`api.request.uid`, `metadata.correlation_uid`, `actor.session.uid`, `trace.uid`; the event's own id is `metadata.uid`",
	},
}
