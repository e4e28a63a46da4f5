package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// pingOne decodes the audit activities of PingOne, one to a line, in the array of
// a webhook or a page of the API, or in event of the Splunk form; and the audit
// events of PingAM, PingGateway and PingIDM, which share another shape.
func pingOne() format {
	return format{
		name: "ping", product: "Ping Identity", issuer: "ping",
		shape: shapeJSON,
		keys:  []string{"action", "event", "eventName", "_embedded"},
		match: func(e *event) bool {
			return e.pingActivity(e.root) || e.pingActivity(e.doc.find(e.root, "/event")) || e.pingAM(e.root) ||
				e.pinned() && e.doc.find(e.root, "/action/type") != 0
		},
		decode: func(e *event) {
			switch {
			case e.pingAM(e.root):
				decodePingAM(e)
				return
			case !e.pingActivity(e.root) && e.pingActivity(e.doc.find(e.root, "/event")):
				e.inside("/event")
			}
			decodePingOne(e)
		},
		list: func(e *event) int32 {
			t := &e.doc
			n := root
			if t.kindOf(root) == kindObject {
				n = t.find(root, "/_embedded/activities")
			}
			if n == 0 || t.kindOf(n) != kindArray {
				return 0
			}
			if c := t.first(n); c == 0 || !e.pingActivity(c) && !e.pingActivity(t.find(c, "/event")) {
				return 0
			}
			return n
		},
		guide: pingGuide,
	}
}

func (e *event) pingActivity(n int32) bool {
	t := &e.doc
	return n != 0 && t.kindOf(n) == kindObject && t.find(n, "/action/type") != 0 && t.get(n, "recordedAt") != 0 &&
		(t.get(n, "actors") != 0 || t.get(n, "result") != 0)
}

func (e *event) pingAM(n int32) bool {
	t := &e.doc
	if t.kindOf(n) != kindObject || t.get(n, "eventName") == 0 || t.get(n, "transactionId") == 0 || t.get(n, "timestamp") == 0 {
		return false
	}
	name := e.value(t.get(n, "eventName"))
	for _, p := range [...]string{"AM-", "OPENIG-", "PINGGATEWAY-", "SESSION_", "IDM-"} {
		if bytes.HasPrefix(name, []byte(p)) {
			return true
		}
	}
	return t.get(n, "trackingIds") != 0
}

// decodePingOne: a user who did it with a client, or a client for itself. Tokens
// are made by the client for the user.
func decodePingOne(e *event) {
	r := e.r
	e.noDecide = true
	if e.src.Product == "" {
		r.Set(record.SourceProduct, "PingOne", "")
	}
	e.time("/recordedAt", "/createdAt")
	e.set(record.SourceOriginalID, "/id")
	e.set(record.ChainRequestID, "/correlationId")
	e.set(record.ChainTxn, "/internalCorrelation/transactionId")
	e.set(record.ChainSessionID, "/internalCorrelation/sessionId", "/session/id")
	e.set(record.SourceAddress, "/source/ipAddress", "/client/ipAddress")
	r.Set(record.ActionService, "pingone", "")
	r.Set(record.EffectSystem, "pingone", "")
	op := string(e.set(record.ActionOperation, "/action/type"))
	e.set(record.TargetType, "/resources/0/type")
	e.set(record.TargetID, "/resources/0/id", "/resources/0/name")
	e.set(record.TargetName, "/resources/0/name")
	e.pingResult(op, "/result/status", "/result/description")

	const user, client, agent = "/actors/user", "/actors/client", "/actors/agent"
	r.Set(record.ExecutorIssuer, "pingone", "")
	id, prov, kind := e.str(user+"/name"), user+"/name", "ping_username"
	if len(id) == 0 {
		id, prov, kind = e.str(user+"/id"), user+"/id", "ping_user_id"
	} else {
		e.attribute("user_id", user+"/id")
	}
	ok := r.Get(record.OutcomeStatus) == record.Success
	tokens := strings.HasPrefix(op, "TOKEN.") || strings.Contains(op, "ACCESS_TOKEN")
	ask := func() {
		if len(id) == 0 {
			r.SetAbsent("requester", record.NotEstablished)
			return
		}
		how := fromLogin
		if !ok && pingGate(op) {
			how, e.claimed = fromParam, true
		}
		e.requester(record.Person, id, prov, how)
		r.Set(record.RequesterIDKind, kind, "")
		r.Set(record.RequesterIssuer, "pingone", "")
		e.set(record.RequesterTenant, user+"/environment/id")
	}
	switch {
	case e.has(agent + "/id"):
		e.executor(record.Agent, e.str(agent+"/id"), agent+"/id")
		e.set(record.ExecutorName, agent+"/name")
		ask()
	case e.has(client+"/id") && (len(id) == 0 || tokens):
		e.executor(record.Workload, e.str(client+"/id"), client+"/id")
		r.Set(record.ExecutorIDKind, "ping_client", "")
		e.set(record.ExecutorName, client+"/name")
		ask()
	case len(id) > 0:
		e.executor(record.Person, id, prov)
		r.Set(record.ExecutorIDKind, kind, "")
		ask()
	default:
		r.SetAbsent("requester", record.NotEstablished)
	}
	if r.Has(record.RequesterID) && r.Get(record.ExecutorID) != r.Get(record.RequesterID) {
		e.delegate(record.Delegation{Principal: r.Get(record.RequesterID), Audience: r.Get(record.ExecutorID)}, prov)
	}
	if ok {
		switch op {
		case "TOKEN.CREATED", "ACCESS_TOKEN.CREATED", "REFRESH_TOKEN.CREATED":
			r.Set(record.CredentialEventOp, "issue", "/action/type")
		case "TOKEN.REVOKED", "ACCESS_TOKEN.REVOKED", "REFRESH_TOKEN.REVOKED":
			r.Set(record.CredentialEventOp, "revoke", "/action/type")
		case "SESSION.CREATED":
			r.Set(record.CredentialEventOp, "issue", "/action/type")
		case "SESSION.DELETED", "SESSION.REVOKED":
			r.Set(record.CredentialEventOp, "revoke", "/action/type")
		}
		if r.Has(record.CredentialEventOp) {
			r.Set(record.CredentialKind, strings.ToLower(op[:strings.IndexByte(op, '.')]), "/action/type")
			r.Set(record.CredentialIssuer, "pingone", "")
			switch e.r.Get(record.CredentialKind) {
			case "session":
				e.set(record.CredentialID, "/resources/0/id")
			default:
				if t := string(e.str("/resources/0/type")); strings.Contains(strings.ToUpper(t), "TOKEN") {
					e.set(record.CredentialID, "/resources/0/id")
				}
			}
		}
	}
	e.attribute("client_id", client+"/id")
	e.attribute("client_name", client+"/name")
	e.attribute("environment", "/resources/0/environment/id", client+"/environment/id", user+"/environment/id")
	e.attribute("description", "/action/description")
	e.userAgent("/source/userAgent")
}

// pingGate tells operations that fail when somebody is not let in.
func pingGate(op string) bool {
	for _, p := range [...]string{"AUTHENTICATION.", "AUTHN_", "PASSWORD.CHECK", "OTP.CHECK", "DEVICE.CHECK", "ASSERTION.CHECK", "FLOW."} {
		if strings.HasPrefix(op, p) {
			return true
		}
	}
	return strings.HasSuffix(op, ".CHECK_FAILED") || strings.HasSuffix(op, ".CHECK_INVALID")
}

// pingResult fills the outcome and, from the last word of the operation, what changed.
func (e *event) pingResult(op, status, detail string) {
	r := e.r
	v := e.str(status)
	s := record.Unknown
	switch string(lower(bytes.Clone(v))) {
	case "success", "successful":
		s = record.Success
	case "failure", "failed":
		s = record.Failure
		if refused(e.str(detail)) {
			s = record.Denied
		}
	}
	if s == record.Failure && pingGate(op) {
		s = record.Denied
	}
	if strings.HasSuffix(op, "ACCESS_DENIED") {
		s = record.Denied // the denial itself went well
	}
	r.Set(record.OutcomeStatus, s, status)
	e.set(record.OutcomeCode, status)
	e.set(record.OutcomeDetail, detail)
	switch {
	case s == record.Denied:
		r.Set(record.DecisionEffect, record.Deny, status)
		e.set(record.DecisionReason, detail)
	case op == "USER.ACCESS_ALLOWED" && s == record.Success:
		r.Set(record.DecisionEffect, record.Allow, "/action/type")
		e.set(record.DecisionReason, detail)
	}
	changed := record.Unknown
	last := strings.ToUpper(op[strings.LastIndexByte(op, '.')+1:])
	switch {
	case s == record.Denied || s == record.Failure:
		changed = record.No
	case s == record.Success && (last == "CREATED" || last == "UPDATED" || last == "DELETED" || last == "REVOKED" || last == "CREATE" || last == "MODIFY" || last == "DELETE"):
		changed = record.Yes
	case strings.HasPrefix(last, "ACCESS_"):
		changed = record.No
	}
	r.Set(record.EffectChanged, changed, status)
}

// decodePingAM: userId is who called; runAs is what it acted as. Agents of AM
// are policy agents and OAuth clients.
func decodePingAM(e *event) {
	r := e.r
	e.noDecide = true
	if e.src.Product == "" {
		r.Set(record.SourceProduct, "PingAM", "")
	}
	e.time("/timestamp")
	e.set(record.SourceOriginalID, "/_id")
	op := string(e.set(record.ActionOperation, "/eventName"))
	e.set(record.ChainRequestID, "/transactionId")
	e.set(record.ChainSessionID, "/trackingIds/0")
	e.set(record.SourceAddress, "/client/ip", "/entries/0/info/ipAddress")
	if e.set(record.ActionService, "/component") == nil {
		r.Set(record.ActionService, "pingam", "")
	}
	e.set(record.ActionTool, "/request/operation", "/operation")
	if e.set(record.TargetID, "/objectId", "/http/request/path") != nil {
		r.Set(record.TargetType, "path", "")
	}
	status := "/response/status"
	if !e.has(status) {
		status = "/result"
	}
	e.pingResult(op, status, "/entries/0/info/failureReason")
	if strings.Contains(op, "LOGIN") && r.Get(record.OutcomeStatus) == record.Failure {
		r.Set(record.OutcomeStatus, record.Denied, status)
		r.Set(record.DecisionEffect, record.Deny, status)
	}
	if v := e.set(record.OutcomeCode, "/response/statusCode"); len(v) == 3 {
		if s := outcome(v); s != record.Unknown {
			r.Set(record.OutcomeStatus, s, "/response/statusCode")
			if s == record.Denied {
				r.Set(record.DecisionEffect, record.Deny, "/response/statusCode")
			}
		}
	}
	r.Set(record.ExecutorIssuer, "pingam", "")
	who, prov := e.str("/userId"), "/userId"
	typ := record.Unknown
	switch low := strings.ToLower(string(who)); {
	case strings.Contains(low, ",ou=user,"):
		typ = record.Person
	case strings.Contains(low, ",ou=agent"):
		typ = record.Workload
	case strings.Contains(low, "ou=services"), strings.HasPrefix(low, "cn=dsameuser"):
		typ = record.Workload
	}
	if i := bytes.IndexByte(who, ','); i > 3 && bytes.HasPrefix(who, []byte("id=")) {
		who = who[3:i]
	}
	if p := e.str("/principal/0"); len(p) > 0 && len(who) == 0 {
		who, prov = p, "/principal/0"
	}
	ok := r.Get(record.OutcomeStatus) == record.Success
	e.executor(typ, who, prov)
	if as := e.str("/runAs"); len(as) > 0 && !bytes.Equal(as, e.str("/userId")) {
		e.put(record.ExecutorLocalAccount, as, "/runAs")
	}
	switch {
	case len(who) > 0 && (typ == record.Person || strings.Contains(op, "LOGIN") && typ == record.Unknown):
		how := fromLogin
		if !ok {
			how, e.claimed = fromParam, true
		}
		e.requester(typ, who, prov, how)
		r.Set(record.RequesterIssuer, "pingam", "")
		e.set(record.RequesterTenant, "/realm")
	default:
		r.SetAbsent("requester", record.NotEstablished)
	}
	e.attribute("realm", "/realm")
	e.attribute("level", "/level")
}

var pingGuide = guide{
	userSet: []string{
		"/actors/user/name: typed by whoever tries to sign in, while the result is a failure",
		"/subject: the same in PingFederate's audit log",
		"/source/userAgent: any client",
		"/app: the target that the browser asked for",
	},
	emit: map[Part]string{
		PartRequester:  "PingOne: `actors.user`. PingFederate: `subject`. PingAM: `userId` below ou=user. A client alone (client credentials) names nobody",
		PartExecutor:   "PingOne: the user, or `actors.client` where there is none and for tokens. PingFederate: `connectionid`, the client of OAuth events. PingAM: `userId`, with `runAs` for what it acted as",
		PartTool:       "`action.type`; PingFederate's `event` and `protocol`; PingAM's `eventName` and `request.operation`",
		PartPermission: "not logged; PingFederate adds `attributes` when the pattern in log4j2.xml asks for it",
		PartDecision:   "PingOne: USER.ACCESS_ALLOWED and USER.ACCESS_DENIED. PingAM: AM-ACCESS-OUTCOME. PingOne Authorize and PingAuthorize have decision logs of their own",
		PartOutcome:    "`result.status`; PingFederate's `status`; PingAM's `response.status`",
		PartChain:      "PingOne: `correlationId` of a request. PingFederate: `trackingid` of a session (and `transactionid` from version 12). PingAM: `transactionId` and `trackingIds`. Webhooks send only the types that are chosen: take all",
	},
}
