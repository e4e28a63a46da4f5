package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// m365 decodes the unified audit log of Microsoft 365: records of the Office 365
// Management Activity API, one to a line or in a list, and the AuditData of what
// Search-UnifiedAuditLog, Purview and Microsoft Graph export, by the "Office 365
// Management Activity API schema".
func m365() format {
	return format{
		name: "m365", product: "Microsoft 365", issuer: "entra",
		shape: shapeJSON,
		keys:  []string{"CreationTime", "records", "value"},
		match: matchM365, decode: decodeM365, list: azureList(matchM365),
		guide: m365Guide,
	}
}

func matchM365(e *event) bool {
	t, o := &e.doc, e.root
	if t.get(o, "CreationTime") == 0 || t.get(o, "Operation") == 0 {
		return false
	}
	return e.src.Format == "m365" || t.get(o, "Workload") != 0 || t.get(o, "RecordType") != 0 && (t.get(o, "UserId") != 0 || t.get(o, "UserKey") != 0)
}

func decodeM365(e *event) {
	r := e.r
	if v := e.str("/CreationTime"); len(v) > 0 { // UTC, and says no zone
		ns, ok := parseTime(v, nil)
		e.timeIs(ns, ok, "/CreationTime")
	}
	e.set(record.SourceOriginalID, "/Id")
	op := string(cut(e.set(record.ActionOperation, "/Operation"), 256))
	if e.set(record.ActionService, "/Workload") == nil {
		r.Set(record.ActionService, "m365", "")
	}
	e.set(record.EffectSystem, "/Workload")
	e.client("/ClientIP", "/ClientIPAddress", "/ActorIpAddress")
	e.m365Chain()
	e.m365Target(op)
	login := e.m365Outcome(op)
	e.m365Principals(op, login)
	e.m365Decision()
	e.m365Credential(op)
	e.m365Modified()
	for _, a := range [...]struct{ name, key string }{
		{"record_type", "/RecordType"},
		{"user_type", "/UserType"},
		{"user_key", "/UserKey"},
		{"user_agent", "/UserAgent"},
		{"client", "/ClientInfoString"},
		{"logon_type", "/LogonType"},
		{"external_access", "/ExternalAccess"},
		{"item_type", "/ItemType"},
		{"site", "/SiteUrl"},
		{"app_host", "/CopilotEventData/AppHost"},
		{"api", "/AppAccessContext/APIId"},
		{"platform", "/Platform"},
		{"device", "/DeviceDisplayName"},
	} {
		if v := e.str(a.key); len(v) > 0 && !isNobody(v) {
			e.attr(a.name, a.key)
		}
	}
}

func (e *event) m365Chain() {
	const ctx = "/AppAccessContext"
	e.set(record.ChainRequestID, ctx+"/CorrelationId", "/CorrelationId", "/InterSystemsId", "/ClientRequestId", "/RequestId")
	if v := e.set(record.ChainSessionID, ctx+"/AADSessionId", "/AADSessionId", "/SessionId"); v == nil {
		v, prov := e.keyed("/DeviceProperties", "Name", "Value", "SessionId")
		e.put(record.ChainSessionID, v, prov)
	}
	e.set(record.ChainConversationID, "/CopilotEventData/ThreadId", "/ChatThreadId")
	e.set(record.ChainTxn, "/TransactionId", "/IntraSystemId")
}

// m365Users is what kind of principal each UserType is; those that can be a person are "".
var m365Users = map[string]string{
	"0": "", "regular": "", "1": record.Unknown, "reserved": record.Unknown, "2": "", "admin": "", "3": record.Unknown, "dcadmin": record.Unknown,
	"4": record.Workload, "system": record.Workload, "5": record.ServiceAccount, "application": record.ServiceAccount,
	"6": record.ServiceAccount, "serviceprincipal": record.ServiceAccount, "7": record.Workload, "custompolicy": record.Workload,
	"8": record.Workload, "systempolicy": record.Workload, "9": "", "partnertechnician": "", "10": "", "guest": "", "agent": record.Agent, "": "",
}

// m365Principals: UserId is the user, or whatever software says it is. Records of
// applications (UserType 5 and 6) name the owner of the mailbox there, who did
// nothing. An application that AppAccessContext names accessed on behalf of the user.
func (e *event) m365Principals(op string, login bool) {
	r := e.r
	user := e.str("/UserId")
	app, appProv := e.somebody("", "/AppAccessContext/ClientAppId")
	if bytes.HasSuffix(app, []byte("-0000-0ff1-ce00-000000000000")) {
		app = nil // Exchange and SharePoint themselves
	}
	kind, known := m365Users[strings.ToLower(string(cut(e.str("/UserType"), 32)))]
	if !known {
		kind = record.Unknown
	}
	typ := microsoftPrincipal(user)
	if kind != "" && typ == record.Person || kind == record.Agent {
		typ = record.Unknown
	}
	if typ == record.Unknown && kind != "" && !bytes.Contains(user, []byte("@")) {
		typ = kind
	}
	if isNobody(user) {
		user = nil
	}
	how := fromLogin
	if login && r.Get(record.OutcomeStatus) != record.Success {
		code := r.Get(record.OutcomeCode)
		n, _ := digits([]byte(code[:min(len(code), 9)]))
		if e.claimed = !entraProven(n); e.claimed {
			how = fromParam // a name that somebody typed
		}
	}
	if typ == record.Person {
		e.requester(record.Person, user, "/UserId", how)
		r.Set(record.RequesterIDKind, "upn", "")
		r.Set(record.RequesterIssuer, "entra", "")
		e.set(record.RequesterTenant, "/OrganizationId")
	}
	switch {
	case e.has("/CopilotEventData") || strings.HasSuffix(op, "CopilotInteraction") || strings.HasSuffix(op, "AIAppInteraction"):
		e.m365Agent(user)
	case kind == record.Agent:
		e.executor(record.Agent, user, "/UserId")
	case kind == record.ServiceAccount:
		if len(app) == 0 {
			app, appProv = e.somebody("", "/ClientAppId", "/AppId", "/ApplicationId", "/AppAccessContext/ClientAppId")
		}
		if len(app) > 0 {
			e.executor(record.ServiceAccount, app, appProv)
			r.Set(record.ExecutorIDKind, "entra_app_id", "")
			e.set(record.ExecutorName, "/ClientAppName", "/ApplicationDisplayName", "/AppAccessContext/ClientAppName")
			if bytes.Contains(user, []byte("@")) && typ != record.ServiceAccount {
				e.attr("on_user", "/UserId")
			}
		} else if typ != record.Unknown || isGUID(user) {
			e.executor(record.ServiceAccount, user, "/UserId")
		}
		r.Set(record.ContextMode, "autonomous", "/UserType")
	case len(app) > 0 && typ == record.Person:
		e.executor(record.ServiceAccount, app, appProv)
		r.Set(record.ExecutorIDKind, "entra_app_id", "")
		e.set(record.ExecutorName, "/AppAccessContext/ClientAppName", "/ApplicationDisplayName")
		e.delegate(record.Delegation{
			Principal: e.text(user), Credential: e.text(e.str("/AppAccessContext/UniqueTokenId")), Audience: e.text(app),
		}, "/UserId")
	default:
		e.executor(typ, user, "/UserId")
		if typ == record.Person {
			r.Set(record.ExecutorIDKind, "upn", "")
		} else if isGUID(user) {
			r.Set(record.ExecutorIDKind, "entra_object_id", "")
		}
	}
	if id, ok := bytes.CutPrefix(user, []byte("ServicePrincipal_")); ok {
		e.put(record.ExecutorInstance, id, "/UserId")
		if v, prov := e.m365Actor("1"); len(v) > 0 {
			e.put(record.ExecutorName, v, prov)
		}
	}
	// Sent as, or for, somebody else: that is what the sender acted as.
	e.set(record.ExecutorLocalAccount, "/SendAsUserSmtp", "/SendOnBehalfOfUserSmtp")
	if r.Has(record.ExecutorID) {
		r.Set(record.ExecutorIssuer, "entra", "")
	}
}

// m365Actor is the actor's identifier of a type of the directory's IdentityType: 1 name, 3 PUID, 4 SPN, 5 UPN.
func (e *event) m365Actor(typ string) (v []byte, prov string) {
	return e.keyed("/Actor", "Type", "ID", typ)
}

// m365Agent: what answered the user is an agent; the user is who asked.
func (e *event) m365Agent(user []byte) {
	r := e.r
	const data = "/CopilotEventData"
	id, prov := e.somebody("", "/AgentId", data+"/AgentId", "/AppIdentity", data+"/AppIdentity", "/AgentName", data+"/AgentName", "/Workload")
	e.executor(record.Agent, id, prov)
	e.set(record.ExecutorName, "/AgentName", data+"/AgentName")
	e.set(record.ExecutorVersion, "/AgentVersion", data+"/AgentVersion")
	e.set(record.ExecutorInstance, "/AppIdentity", data+"/AppIdentity")
	e.set(record.ExecutorModel, data+"/ModelTransparencyDetails/0/ModelName")
	if n := e.find(data + "/AISystemPlugin"); n != 0 && e.doc.kindOf(n) == kindArray {
		e.set(record.ActionTool, data+"/AISystemPlugin/0/Name", data+"/AISystemPlugin/0/Id")
	}
	if r.Has(record.RequesterID) && r.Has(record.ExecutorID) {
		e.delegate(record.Delegation{Principal: e.text(user), Audience: r.Get(record.ExecutorID)}, "/UserId")
	}
}

// m365Decision: data loss prevention names its policy and what it did.
func (e *event) m365Decision() {
	r := e.r
	e.noPolVer = true
	const policy = "/PolicyDetails/0"
	e.set(record.DecisionPolicyID, policy+"/PolicyId", "/PolicyId")
	e.set(record.DecisionReason, policy+"/Rules/0/RuleName", policy+"/PolicyName", "/PolicyName")
	n := e.find(policy + "/Rules/0/Actions")
	if n != 0 && e.doc.kindOf(n) == kindArray {
		for c := e.doc.first(n); c != 0; c = e.doc.next(c) {
			if v := e.value(c); bytes.HasPrefix(v, []byte("Block")) {
				r.Set(record.DecisionEffect, record.Deny, policy+"/Rules/0/Actions")
				r.Set(record.OutcomeStatus, record.Denied, policy+"/Rules/0/Actions")
			}
		}
	}
	if r.Get(record.OutcomeStatus) == record.Denied && !r.Has(record.DecisionEffect) {
		r.Set(record.DecisionEffect, record.Deny, r.Prov(record.OutcomeStatus))
	}
	if !r.Has(record.DecisionEffect) {
		e.noDecide = true
	}
}

// m365Credential: the token that was used, or on a change of an application's
// keys the key.
func (e *event) m365Credential(op string) {
	r := e.r
	const ctx = "/AppAccessContext"
	used := e.set(record.CredentialID, ctx+"/UniqueTokenId", "/UniqueTokenId")
	if used != nil {
		r.Set(record.CredentialKind, "entra_token", "")
		r.Set(record.CredentialIssuer, "entra", "")
		if v := e.str(ctx + "/IssuedAtTime"); len(v) > 0 {
			if ns, ok := parseTime(v, nil); ok && ns > earliest {
				r.Set(record.CredentialIssued, instant(ns), ctx+"/IssuedAtTime")
			}
		}
	}
	if r.Get(record.OutcomeStatus) != record.Success {
		return
	}
	name := strings.ToLower(op)
	what, kind := "", ""
	switch {
	case strings.Contains(name, "certificates and secrets"), strings.Contains(name, "service principal credentials"):
		kind = "entra_app_key"
		was, _ := e.keyed("/ModifiedProperties", "Name", "OldValue", "KeyDescription")
		is, _ := e.keyed("/ModifiedProperties", "Name", "NewValue", "KeyDescription")
		id, typ := newKey(was, is)
		what = "issue"
		if len(id) == 0 {
			if id, typ = newKey(is, was); len(id) > 0 || strings.HasPrefix(name, "remove") {
				what = "revoke"
			}
		}
		if len(id) == 0 && len(was)+len(is) > 0 {
			return
		}
		if len(typ) > 0 {
			kind = "entra_app_" + strings.ToLower(string(cut(typ, 64)))
		}
		r.Unset(record.CredentialID)
		e.put(record.CredentialID, id, "/ModifiedProperties")
	case strings.HasPrefix(name, "reset user password"), strings.HasPrefix(name, "change user password"):
		what, kind = "renew", "password"
		r.Unset(record.CredentialID)
	case strings.HasPrefix(name, "update stsrefreshtokenvalidfrom"):
		what, kind = "revoke", "entra_refresh_token"
		r.Unset(record.CredentialID)
	default:
		return
	}
	r.Unset(record.CredentialIssued)
	r.Set(record.CredentialEventOp, what, "/Operation")
	r.Set(record.CredentialKind, kind, "")
	r.Set(record.CredentialIssuer, "entra", "")
	if used != nil && r.Has(record.ExecutorID) && len(e.handed) == 0 {
		e.delegate(record.Delegation{Principal: r.Get(record.ExecutorID), Credential: e.text(used)}, "/AppAccessContext/UniqueTokenId")
	}
}

var m365Guide = guide{
	userSet: []string{
		"/UserAgent: any client",
		"/ClientInfoString: the client of a mailbox describes itself",
		"/UserId of UserLoginFailed: whoever typed it",
		"/ObjectId: names of files, sites and rules are their makers' text",
		"/AgentName: makers of agents choose display names",
	},
	emit: map[Part]string{
		PartRequester:  "`UserId` of user types that can be a person (0 regular, 2 admin, 9 partner, 10 guest). Records of applications name the owner of the mailbox there, who is not taken. Turn on auditing (Purview) and subscribe to Audit.General, Audit.Exchange, Audit.SharePoint and Audit.AzureActiveDirectory",
		PartExecutor:   "`AppAccessContext.ClientAppId` for access on behalf of a user, `ClientAppId` or `AppId` for applications, `AgentId`, `AgentName` or `AppIdentity` of Copilot and other agents, else the user. System and policy actions name a service in `UserId`",
		PartTool:       "`Workload` and `Operation`; `AISystemPlugin` of Copilot interactions; `ObjectId` and `AccessedResources` for what it touched",
		PartPermission: "Not in this log; Microsoft Graph activity (`entra`) has the scopes of the same token",
		PartDecision:   "`PolicyDetails` of data loss prevention only. Conditional access stands in the Entra sign-in with the same token",
		PartOutcome:    "`ResultStatus`, but for sign-ins `ErrorNumber`, `LogonError` and the operation itself, since `ResultStatus` says Success there too; records without a status are of things that happened",
		PartChain:      "`AppAccessContext`: `UniqueTokenId` is `uniqueTokenIdentifier` of the Entra sign-in, `AADSessionId` its `sessionId`, and `CorrelationId`; `ThreadId` of Copilot. Not all records have them",
	},
}
