package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

const cyIssuer = "cyberark"

// cyberArk fills the record from what an audit record of the Vault says.
func (e *event) cyberArk(c *cyEntry) {
	r := e.r
	op := c.action.v
	e.tell(record.ActionOperation, c.action)
	r.Set(record.ActionService, "cyberark", "")
	r.Set(record.EffectSystem, "cyberark", "")
	e.attest("code", c.code)
	e.tell(record.AuthorityPermission, c.safe)
	e.tell(record.DecisionPolicyID, c.policy)
	e.noDecide, e.noPolVer = !c.policy.has(), true
	e.tell(record.ChainSessionID, c.session)
	e.tell(record.ApprovalRequestID, c.request)
	e.tell(record.DecisionReason, c.reason)
	e.tell(record.Message, c.message)
	component := cyComponent(c.issuer.v) || cyAutomatic(c)
	if !component {
		// A component puts the name of its task where a person's ticket stands.
		e.tell(record.ApprovalSource, c.ticket)
		if state := cyApproval(op); state == "" || state == "requested" {
			e.tell(record.ContextPurpose, c.reason)
		}
	}
	session := cySession(c)
	if session {
		e.tell(record.SourceAddress, c.from)
		e.tell(record.ActionServer, c.station)
	} else {
		e.tell(record.SourceAddress, c.from.or(c.station))
		e.tell(record.ActionServer, c.gateway)
	}
	e.cyOutcome(c)
	e.cyTarget(c, session)
	e.cyWho(c, component, session, op)
	e.cyCredential(c, session)
	e.tell(record.ActionTool, c.via)
	e.attest("command", c.command)
	if c.twice {
		e.note("ExtraDetails: a key stands twice")
	}
}

// cyComponents begin the names of the Vault users that CyberArk's components log on with.
var cyComponents = [...]string{
	"passwordmanager", "pvwaapp", "pvwagw", "pvwauser", "psmapp", "psmgw", "psmpapp", "psmpgw", "psmpadb", "psmadmin", "psmconnect", "psmshadow",
	"prov_", "appprov", "sync_", "conjursync", "ptauser", "ptaapp", "ptagw", "notificationengine", "dnauser", "opmprov", "telemetry", "cpm_", "ccp_",
}

// cyBuiltin are those with exactly these names.
var cyBuiltin = [...]string{"cpm", "pvwa", "psm", "psmp", "batch", "dr", "druser", "backup", "backupuser", "pr", "pta", "scim-user", "system"}

// cyComponent reports whether a user of the Vault is a component of CyberArk, not somebody.
func cyComponent(name []byte) bool {
	s := strings.ToLower(string(name[:min(len(name), 64)]))
	for _, p := range cyComponents {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	for _, p := range cyBuiltin {
		if s == p {
			return true
		}
	}
	return false
}

// cyAutomatic: applications ask with users of any name; the Vault's own words for
// it stand in the reason, and the codes of the CPM and of providers are theirs alone.
func cyAutomatic(c *cyEntry) bool {
	switch string(c.code.v) {
	case "22", "24", "31", "38", "57", "60", "130", "319", "326", "327":
		return true
	}
	return bytes.HasPrefix(c.reason.v, []byte("AIM password request")) || bytes.HasPrefix(c.reason.v, []byte("Application provider")) ||
		bytes.Equal(c.reason.v, []byte("CPM")) || c.app.has()
}

// cySession tells what happens inside or around a session of PSM from what
// happens in the Vault.
func cySession(c *cyEntry) bool {
	switch string(c.code.v) {
	case "300", "301", "302", "303", "344", "345", "346", "359", "360", "361", "362", "378", "379", "380", "381", "411", "412", "413":
		return true
	}
	return words(c.action.v, "psm connect", "psm disconnect", "psm secure connect", "keystroke", "sql command", "ssh command", "window title")
}

// cyWho: the issuer acted in the Vault. It is also who asked, unless it is a
// component, which acts for somebody that only a gateway connection names, or an
// approver, who answers somebody else's request.
func (e *event) cyWho(c *cyEntry, component, session bool, op []byte) {
	r := e.r
	const kind = "vault_user"
	state := cyApproval(op)
	switch {
	case component:
		e.actor(record.ServiceAccount, c.issuer, kind, cyIssuer)
		gateway := bytes.EqualFold(c.code.v, []byte("19")) || string(c.code.v) == "20" || words(op, "gateway connection")
		if gateway && c.source.has() && !cyComponent(c.source.v) {
			e.asker(loginType(c.source.v), c.source, kind, cyIssuer, fromBody)
			e.delegate(record.Delegation{Principal: r.Get(record.RequesterID), Audience: r.Get(record.ExecutorID)}, c.source.prov)
			break
		}
		r.SetAbsent("requester", record.NotEstablished)
		if c.app.has() {
			e.delegate(record.Delegation{Principal: e.text(c.app.v), Audience: r.Get(record.ExecutorID)}, c.app.prov)
			e.attest("app_id", c.app)
		}
	case state == "approved" || state == "denied":
		e.actor(loginType(c.issuer.v), c.issuer, kind, cyIssuer)
		e.tell(record.ApprovalApprover, c.issuer)
		r.SetAbsent("requester", record.NotEstablished)
	case session:
		e.asker(loginType(c.issuer.v), c.issuer, kind, cyIssuer, fromLogin)
		if !c.account.has() {
			r.SetAbsent("executor", record.NotEstablished)
		}
	default:
		e.ownLogin(c.issuer, kind, cyIssuer)
	}
	if state != "" && (c.request.has() || state != "requested") {
		e.add(record.Attributes, e.cat([]byte("approval="), []byte(state)), c.action.prov)
		switch state {
		case "approved":
			r.Set(record.DecisionEffect, record.Allow, c.action.prov)
		case "denied":
			r.Set(record.DecisionEffect, record.Deny, c.action.prov)
		}
	}
	switch string(c.code.v) {
	case "4", "5", "309":
		e.refused()
	}
	if !session {
		return
	}
	if !component {
		e.account(c.account, c.host, e.cyObject(c))
	} else {
		e.tell(record.ExecutorLocalAccount, c.account)
	}
	switch string(c.code.v) {
	case "300", "378":
		e.add(record.Attributes, []byte("session=start"), c.code.prov)
	case "302", "380":
		e.add(record.Attributes, []byte("session=end"), c.code.prov)
	}
}

// cyApproval is what an event says of a request for access, by its name.
func cyApproval(op []byte) string {
	if !words(op, "request") || words(op, "password request", "get request", "list request") {
		return ""
	}
	switch {
	case words(op, "reject", "deny", "denied"):
		return "denied"
	case words(op, "confirm", "approv"):
		return "approved"
	case words(op, "create", "add ", "new ", "open "):
		return "requested"
	}
	return ""
}

func (e *event) cyOutcome(c *cyEntry) {
	op := c.action
	switch {
	case string(c.code.v) == "4" || string(c.code.v) == "5" || string(c.code.v) == "309":
		e.status(record.Denied, c.code.prov)
	case words(op.v, "unauthorized", "unauthorised", "authentication failure", "undefined user"):
		e.status(record.Denied, op.prov)
	case words(op.v, "fail"):
		e.status(record.Failure, op.prov)
	case words(c.severity.v, "error") || c.severity.prov == cefHeader[5] && string(c.severity.v) == "7":
		e.status(record.Failure, c.severity.prov)
	case op.has():
		e.status(record.Success, op.prov)
	}
	if c.severity.has() && e.env.pri < 0 && e.r.Get(record.SourceSeverity) == "" {
		e.put(record.SourceSeverity, lower(bytes.Clone(c.severity.v)), c.severity.prov)
	}
	r := e.r
	if r.Get(record.OutcomeStatus) != record.Success {
		e.tell(record.OutcomeDetail, c.errors)
		return
	}
	// CPMStatus is how the CPM's last task went, not this event.
	switch {
	case cySession(c):
		r.Set(record.EffectChanged, record.Unknown, "")
	case words(op.v, "retrieve", "logon", "logoff", "verify", "use password", "gateway", "list", "get ", "details", "monitor", "start", "end"):
		r.Set(record.EffectChanged, record.No, op.prov)
	case words(op.v, "add ", "update", "delete", "remove", "store", "set ", "change", "reconcile", "rename", "create", "move", "clear", "lock", "disable", "enable",
		"reset", "confirm", "reject", "upload", "import", "activate"):
		r.Set(record.EffectChanged, record.Yes, op.prov)
	}
}

func (e *event) cyTarget(c *cyEntry, session bool) {
	r := e.r
	switch {
	case session:
		if host := c.host.or(c.address); host.has() && !c.twice {
			e.tell(record.TargetID, host)
			r.Set(record.TargetType, "host", "")
		}
		return
	case c.file.has():
		e.tell(record.TargetID, c.file)
		r.Set(record.TargetType, "file", "")
		if c.policy.has() || c.account.has() || words(c.action.v, "password", "ssh key") {
			r.Set(record.TargetType, "account", "")
		}
		if c.account.has() && c.address.has() {
			e.put(record.TargetName, e.cat(c.account.v, []byte("@"), c.address.v), c.account.prov)
		}
	case c.target.has() || c.source.has() && !words(c.action.v, "gateway"):
		e.tell(record.TargetID, c.target.or(c.source))
		r.Set(record.TargetType, "user", "")
		if words(c.action.v, "group") {
			r.Set(record.TargetType, "group", "")
			if c.target.has() {
				e.attest("member", c.source)
			}
		}
	case c.safe.has():
		e.tell(record.TargetID, c.safe)
		r.Set(record.TargetType, "safe", "")
	}
}

// cyObject names the account in the Vault: its file is only unique in its safe.
func (e *event) cyObject(c *cyEntry) string {
	if !c.file.has() || !c.safe.has() {
		return e.text(c.file.v)
	}
	return e.text(e.cat(c.safe.v, []byte(`\`), c.file.v))
}

// cyCredential: the password or key in the Vault is a credential that is handed
// out (retrieved), used (by a session), or renewed (stored or changed).
func (e *event) cyCredential(c *cyEntry, session bool) {
	r := e.r
	if !c.file.has() || r.Get(record.TargetType) != "account" && !session {
		return
	}
	op := c.action
	event := ""
	switch {
	case session:
		if string(c.code.v) == "300" || string(c.code.v) == "378" {
			event = "use"
		}
	case words(op.v, "retrieve"):
		event = "issue"
	case words(op.v, "use password"):
		event = "use"
	case words(op.v, "store", "change password", "change ssh", "reconcile"):
		event = "renew"
	}
	r.Set(record.CredentialID, e.cyObject(c), c.file.prov)
	r.Set(record.CredentialKind, "password", "")
	if words(op.v, "ssh key") {
		r.Set(record.CredentialKind, "ssh_key", "")
	}
	r.Set(record.CredentialIssuer, cyIssuer, "")
	if event == "" || r.Get(record.OutcomeStatus) != record.Success {
		return
	}
	r.Set(record.CredentialEventOp, event, op.prov)
	if event == "renew" {
		e.tell(record.CredentialEventCause, c.reason)
	}
}

// cyAlert reads an alert of PTA or of another component that writes CEF: it says
// what somebody is suspected of.
func (e *event) cyAlert(product, name []byte) {
	r := e.r
	e.put(record.ActionOperation, name, cefHeader[4])
	e.put(record.ActionTool, product, cefHeader[1])
	r.Set(record.ActionService, "cyberark", "")
	e.noDecide = true
	if who := e.says("/suser"); who.has() && !cyComponent(who.v) {
		e.asker(loginType(who.v), who, "login", "", fromBody)
	}
	r.SetAbsent("executor", record.NotEstablished)
	r.AddFinding(record.ExecutorByCredentialOnly)
	e.set(record.ExecutorLocalAccount, "/duser")
	if e.set(record.TargetID, "/dhost", "/dst") != nil {
		r.Set(record.TargetType, "host", "")
	}
	e.set(record.SourceAddress, "/src", "/shost")
	e.set(record.Message, "/msg")
	e.set(record.DecisionReason, "/reason")
	for i := range e.pairs {
		p := &e.pairs[i]
		if key, ok := strings.CutSuffix(string(p.key), "Label"); ok {
			switch strings.ToLower(string(dequoted(p.val))) {
			case "eventid", "incidentid":
				e.put(record.SourceOriginalID, dequoted(e.pair(key)), "/"+e.text([]byte(key)))
			case "detectiondate":
				e.cefTime("/" + e.text([]byte(key)))
			}
		}
	}
	if e.whenProv == "" {
		e.cefTime("/rt", "/start", "/end")
	}
}

// cyMonitor keeps the Vault's own health messages, which nobody caused.
func (e *event) cyMonitor(base string) {
	e.time(base + "/IsoTimestamp")
	e.r.Set(record.ActionService, "cyberark", "")
	if e.env.host == nil {
		e.set(record.SourceHost, base+"/Hostname")
	}
	e.r.SetAbsent("requester", record.NotApplicable)
	e.r.SetAbsent("executor", record.NotApplicable)
}
