package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// cyberArkCloud decodes what CyberArk's cloud services export: the audit service
// of the Identity Security Platform (Privilege Cloud, Identity, Secure
// Infrastructure Access, Secure Cloud Access, …), events of CyberArk Identity, and
// of Endpoint Privilege Manager.
func cyberArkCloud() format {
	return format{
		name: "cyberark", product: "CyberArk", issuer: "cyberark",
		shape: shapeJSON,
		keys:  []string{"auditCode", "auditType", "EventType", "policyName", "lastEventComputerName", "administrator", "data"},
		match: func(e *event) bool { return e.cyCloudKind() != 0 },
		decode: func(e *event) {
			e.noDecide = true
			switch e.cyCloudKind() {
			case cyAudit:
				e.cyAudit()
			case cyIdentity:
				e.cyIdentity()
			case cyEPM:
				e.cyEPM()
			case cyEPMAdmin:
				e.cyEPMAdmin()
			default: // pinned, and a list whose element is something else
			}
		},
		list: func(e *event) int32 {
			t := &e.doc
			n := root
			if t.kindOf(n) == kindObject {
				n = t.get(root, "data")
			}
			if n == 0 || t.kindOf(n) != kindArray {
				return 0
			}
			c := t.first(n)
			if c == 0 || t.get(c, "auditCode") == 0 || t.get(c, "applicationCode") == 0 {
				return 0
			}
			return n
		},
	}
}

const (
	cyAudit = iota + 1
	cyIdentity
	cyEPM
	cyEPMAdmin
)

func (e *event) cyCloudKind() int {
	t, o := &e.doc, e.root
	switch {
	case t.get(o, "auditCode") != 0 && t.get(o, "applicationCode") != 0,
		t.get(o, "auditType") != 0 && t.get(o, "actionType") != 0 && t.get(o, "serviceName") != 0:
		return cyAudit
	case t.get(o, "EventType") != 0 && t.get(o, "WhenOccurred") != 0 && bytes.HasPrefix(e.value(t.get(o, "EventType")), []byte("Cloud.")):
		return cyIdentity
	case t.get(o, "policyName") != 0 && t.get(o, "policyAction") != 0 && t.get(o, "computerName") != 0,
		t.get(o, "lastEventComputerName") != 0 && t.get(o, "lastEventUserName") != 0:
		return cyEPM
	case t.get(o, "administrator") != 0 && t.get(o, "permissionDescription") != 0:
		return cyEPMAdmin
	}
	return 0
}

// cyAudit reads an event of the audit service.
func (e *event) cyAudit() {
	r := e.r
	e.time("/timestamp")
	e.set(record.SourceOriginalID, "/uuid")
	op := e.says("/action")
	e.tell(record.ActionOperation, op)
	if e.set(record.ActionService, "/serviceName") == nil {
		e.set(record.ActionService, "/applicationCode")
	}
	e.set(record.ActionTool, "/component")
	e.set(record.Message, "/message")
	e.set(record.ChainSessionID, "/sessionId")
	e.set(record.ChainRequestID, "/correlationId")
	e.set(record.AuthorityPermission, "/safe")
	e.attest("audit_code", e.says("/auditCode"))
	e.attest("access_method", e.says("/accessMethod"))
	e.attest("platform", e.says("/targetPlatform"))
	e.attest("command", e.says("/command"))
	if from := e.says("/source"); address(from.v) {
		e.tell(record.SourceAddress, from)
	} else {
		e.attest("source", from)
	}
	e.cyAuditOutcome(op)

	// Privilege Cloud keeps what the Vault calls File and ExtraDetails in customData.
	var c cyEntry
	file := e.says("/customData/PAM/target", "/customData/target")
	c.details(e.says("/customData/PAM/new_target", "/customData/new_target"))
	if c.twice {
		e.note("customData: a key stands twice")
	}
	if !e.r.Has(record.ChainSessionID) {
		e.tell(record.ChainSessionID, c.session)
	}
	e.tell(record.SourceAddress, c.from)
	session := r.Has(record.ChainSessionID) && e.has("/targetAccount") || c.session.has() ||
		words(op.v, "psm connect", "psm disconnect", "session start", "session end", "connect to")
	account, target := c.account.or(e.says("/targetAccount")), c.host.or(e.says("/target"))
	switch {
	case session && target.has():
		e.tell(record.TargetID, target)
		r.Set(record.TargetType, "host", "")
	case session:
	case file.has():
		e.tell(record.TargetID, file)
		r.Set(record.TargetType, "account", "")
		if account.has() && target.has() {
			e.put(record.TargetName, e.cat(account.v, []byte("@"), target.v), account.prov)
		}
	case target.has():
		e.tell(record.TargetID, target)
		e.tell(record.TargetName, account)
		if account.has() {
			r.Set(record.TargetType, "account", "")
		}
	case account.or(e.says("/accountName")).has():
		e.tell(record.TargetID, account.or(e.says("/accountName")))
		r.Set(record.TargetType, "account", "")
	case e.has("/safe"):
		if e.set(record.TargetID, "/safe") != nil {
			r.Set(record.TargetType, "safe", "")
		}
	}
	id := e.says("/accountId")
	if safe := e.str("/safe"); file.has() && len(safe) > 0 { // as the Vault's own log names it
		e.attest("account_id", id)
		id = said{e.cat(safe, []byte(`\`), file.v), file.prov}
	}
	if id.has() {
		e.tell(record.CredentialID, id)
		r.Set(record.CredentialKind, "password", "")
		r.Set(record.CredentialIssuer, cyIssuer, "")
		switch {
		case r.Get(record.OutcomeStatus) != record.Success:
		case words(op.v, "retrieve password", "retrieve ssh", "checkout", "check-out"):
			r.Set(record.CredentialEventOp, "issue", "/action")
		case words(op.v, "psm connect", "use password"):
			r.Set(record.CredentialEventOp, "use", "/action")
		case words(op.v, "change password", "store password", "reconcile"):
			r.Set(record.CredentialEventOp, "renew", "/action")
		}
	}
	e.cyAuditWho(op, session, account, target)
	e.tenant("/tenantId")
}

func (e *event) cyAuditWho(op said, session bool, account, host said) {
	r := e.r
	who := e.says("/username", "/userId")
	typ := loginType(who.v)
	component := cyComponent(who.v)
	human := false
	switch strings.ToLower(string(e.str("/identityType"))) {
	case "human", "user":
		typ, human = record.Person, true
	case "machine", "service", "service_account", "application", "workload":
		typ, component = record.ServiceAccount, true
	case "ai_agent", "agent", "ai agent":
		typ, component = record.Agent, true
	}
	if component && typ != record.Agent {
		typ = record.ServiceAccount
	}
	if cyComponent(who.v) {
		human = false // the name is CyberArk's own
		typ = record.ServiceAccount
	}
	state := cyApproval(op.v)
	switch {
	case component && !human || !who.has():
		e.actor(typ, who, "username", cyIssuer)
		r.SetAbsent("requester", record.NotEstablished)
	case state == "approved" || state == "denied":
		e.actor(typ, who, "username", cyIssuer)
		e.tell(record.ApprovalApprover, who)
		r.SetAbsent("requester", record.NotEstablished)
	default:
		e.loginAs(typ, who, "username", cyIssuer)
		if id := e.says("/userId"); id.has() && !bytes.Equal(id.v, who.v) {
			e.tell(record.ExecutorInstance, id)
		}
	}
	if state != "" {
		e.add(record.Attributes, e.cat([]byte("approval="), []byte(state)), op.prov)
	}
	if r.Get(record.OutcomeStatus) != record.Success && words(op.v, "login", "logon", "authenticat") {
		e.refused()
	}
	if !session {
		return
	}
	if r.Has(record.RequesterID) {
		e.account(account, host, r.Get(record.CredentialID))
	} else {
		e.tell(record.ExecutorLocalAccount, account)
	}
	switch {
	case words(op.v, "disconnect", "session end", "session terminat", "session clos"):
		e.add(record.Attributes, []byte("session=end"), op.prov)
	case words(op.v, "connect", "session start"):
		e.add(record.Attributes, []byte("session=start"), op.prov)
	}
}

func (e *event) cyAuditOutcome(op said) {
	status := e.says("/auditType")
	text := e.says("/message")
	refused := words(op.v, "unauthorized", "denied", "authentication failure") || words(text.v, "unauthorized", "access denied", "permission denied", "not authorized")
	switch {
	case words(status.v, "fail", "error") && (refused || words(op.v, "login", "logon", "authentication")):
		e.status(record.Denied, status.prov)
		e.tell(record.OutcomeDetail, text)
	case words(op.v, "unauthorized"):
		e.status(record.Denied, op.prov)
	case words(status.v, "fail", "error"):
		e.status(record.Failure, status.prov)
		e.tell(record.OutcomeDetail, text)
	case words(op.v, "fail"):
		e.status(record.Failure, op.prov)
	case words(status.v, "info", "success"):
		e.status(record.Success, status.prov)
	default:
		e.status(record.Unknown, status.prov)
	}
	if e.r.Get(record.OutcomeStatus) != record.Success {
		return
	}
	switch kind := e.says("/actionType"); strings.ToLower(string(kind.v)) {
	case "create", "delete", "update", "edit", "add", "remove", "modify":
		e.r.Set(record.EffectChanged, record.Yes, kind.prov)
	case "view", "read", "login", "logon", "logout", "list":
		e.r.Set(record.EffectChanged, record.No, kind.prov)
	}
}

// cyIdentity reads an event of CyberArk Identity (the table Event of its reports).
func (e *event) cyIdentity() {
	r := e.r
	if v := e.str("/WhenOccurred"); bytes.HasPrefix(v, []byte("/Date(")) {
		v = bytes.TrimSuffix(bytes.TrimSuffix(v[len("/Date("):], []byte("/")), []byte(")"))
		e.timeFrom(v, "/WhenOccurred")
	} else {
		e.time("/WhenOccurred")
	}
	e.set(record.SourceOriginalID, "/ID", "/_RowKey")
	op := e.says("/EventType")
	e.tell(record.ActionOperation, op)
	r.Set(record.ActionService, "cyberark_identity", "")
	e.set(record.ActionTool, "/ApplicationName")
	e.set(record.SourceAddress, "/FromIPAddress")
	e.set(record.ChainSessionID, "/InternalSessionId")
	e.set(record.ChainRequestID, "/RequestId", "/InternalTrackingID")
	e.set(record.Message, "/EventMessage")
	if e.set(record.TargetID, "/ApplicationID", "/ApplicationName") != nil {
		r.Set(record.TargetType, "application", "")
	} else if e.set(record.TargetID, "/EntityUuid", "/EntityName") != nil {
		e.set(record.TargetType, "/EntityType")
		e.set(record.TargetName, "/EntityName")
	}
	who := e.says("/NormalizedUser", "/UserName", "/User")
	typ := loginType(who.v)
	if typ == record.Person && words(e.str("/UserType"), "service") {
		typ = record.ServiceAccount
	}
	if typ == record.ServiceAccount || cyComponent(who.v) {
		e.actor(record.ServiceAccount, who, "username", cyIssuer)
	} else {
		e.loginAs(typ, who, "username", cyIssuer)
	}
	e.tenant("/Tenant")
	if impersonated := e.says("/ImpersonatedUser", "/OnBehalfOfUser"); impersonated.has() {
		e.tell(record.ExecutorLocalAccount, impersonated)
	}
	reason := e.says("/FailReason")
	switch {
	case words(op.v, "denied", "unauthorized"), words(op.v, "loginfail", "login.fail", "mfachallengefail"), reason.has() && words(op.v, "login"):
		e.status(record.Denied, op.prov)
		e.refused()
	case words(op.v, "fail"), reason.has():
		e.status(record.Failure, op.prov)
	default:
		e.status(record.Success, op.prov)
	}
	e.tell(record.OutcomeDetail, reason)
	e.attest("auth_method", e.says("/AuthMethod"))
}

// cyEPM reads an event of Endpoint Privilege Manager: what a policy did with a
// program that somebody started on a computer.
func (e *event) cyEPM() {
	r := e.r
	e.time("/lastEventDate", "/arrivalTime", "/firstEventDate", "/eventDate")
	e.set(record.SourceOriginalID, "/eventId", "/id")
	e.set(record.ActionOperation, "/eventType", "/lastEventType", "/winEventType")
	r.Set(record.ActionService, "cyberark_epm", "")
	if e.set(record.TargetID, "/filePath", "/fileName", "/lastEventFilePath") != nil {
		r.Set(record.TargetType, "file", "")
	}
	e.set(record.ActionTool, "/fileName", "/displayName")
	e.set(record.DecisionPolicyID, "/policyId", "/policyName")
	e.set(record.DecisionReason, "/justification", "/lastEventJustification")
	host := e.says("/computerName", "/lastEventComputerName")
	who := e.says("/userName", "/lastEventUserName", "/sourceProcessUsername")
	e.actor(loginType(who.v), who, "local_account", "")
	e.tell(record.ExecutorIssuer, host)
	e.set(record.ExecutorLocalAccount, "/runAsUsername")
	e.set(record.SourceHost, "/computerName", "/lastEventComputerName")
	action := e.says("/policyAction", "/accessAction")
	switch {
	case words(action.v, "block", "deny", "restrict"):
		e.r.Set(record.DecisionEffect, record.Deny, action.prov)
		e.status(record.Denied, action.prov)
	case words(action.v, "elevate", "allow", "grant", "run"):
		e.r.Set(record.DecisionEffect, record.Allow, action.prov)
		e.status(record.Success, action.prov)
	default:
		e.attest("policy_action", action)
		e.status(record.Unknown, "")
	}
}

// cyEPMAdmin reads what administrators of Endpoint Privilege Manager did.
func (e *event) cyEPMAdmin() {
	r := e.r
	e.time("/eventTime", "/EventTime")
	e.set(record.ActionOperation, "/permissionDescription")
	r.Set(record.ActionService, "cyberark_epm", "")
	e.set(record.ActionTool, "/feature")
	e.set(record.SourceAddress, "/loggedFrom")
	e.set(record.ChainSessionID, "/internalSessionId")
	e.add(record.AuthorityRoles, e.str("/role"), "/role")
	e.set(record.Message, "/description")
	if e.set(record.TargetID, "/setName") != nil {
		r.Set(record.TargetType, "set", "")
	}
	who := e.says("/administrator")
	e.ownLogin(who, "username", cyIssuer)
	e.status(record.Success, "")
}

var cyberArkGuide = guide{
	userSet: []string{
		"/syslog/audit_record/Reason: typed by whoever asks, in CEF `reason`; nothing but the reason is read from it",
		"/syslog/audit_record/ExtraDetails: `Command=` in it is what somebody typed into a session",
		"/syslog/audit_record/File: whoever adds an account or a file names it",
		"/customData: filled by the service that reports",
		"/justification: typed by whoever starts a program",
	},
	emit: map[Part]string{
		PartRequester:  "`Issuer` (CEF `suser`, LEEF `usrName`), unless it is a user of a component (`PasswordManager`, `PVWAAppUser`, `PSMApp_…`, `Prov_…`); for a gateway connection (19, 20) `SourceUser`; in the cloud `username` with `identityType`. Give every application a user or AppID of its own",
		PartExecutor:   "`Issuer` in the Vault; inside a session of PSM the account used on the host (`User` in `ExtraDetails`, CEF `duser`), with `DstHost` as its issuer",
		PartTool:       "`Action` or `Desc` with the code of the event; `ConnectionComponentId` or `Protocol` of a session; commands with 359, 361 and 411 in `SyslogMessageCodeFilter` of DBParm.ini",
		PartPermission: "`Safe`, always there; members of a safe are changed with 32, 33, 273",
		PartDecision:   "`PolicyID` of the account, `RequestId` and the confirmation events where the platform wants dual control, `Reason` where it wants one; the JSON and XML translators write all of them, CEF only the request id and the reason",
		PartOutcome:    "the code: failures and unauthorized attempts have codes of their own; leave them in `SyslogMessageCodeFilter`. `CPMStatus` is the account's last task, not the event",
		PartChain:      "`SessionID` in `ExtraDetails` (CEF `externalId`) ties what happens in a session; set `SyslogTranslatorFile` to a translator that writes `ExtraDetails` and `UseLegacySyslogFormat=No` for times with zone",
	},
}
