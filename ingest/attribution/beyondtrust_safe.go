package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// passwordSafe: "Agent Desc: … Agent ID: PBPS Category: … Event Desc: … User: …".
func passwordSafe(b []byte) bool {
	return bytes.HasPrefix(b, []byte("Agent Desc:")) || bytes.HasPrefix(b, []byte("Agent ID:")) || bytes.HasPrefix(b, []byte("AgentDesc:"))
}

// safeNames are the names of Password Safe's text, the longer before the shorter.
var safeNames = [...]string{
	"Agent Desc", "Agent ID", "Agent Ver", "Category", "Source Host", "Source IP", "Event Desc", "Event Name", "Event Severity", "Event Subject",
	"Event Type", "Event Date", "User Name", "UserName", "User", "OS", "Workgroup Desc", "Workgroup ID", "Workgroup Location", "AuditID", "ActionType",
	"SystemName", "AppUserID", "CreateDate", "IPAddress", "LogSystemID", "LogTime", "UserID", "RoleUsed", "ObjectTypeID", "ObjectType", "ObjectID",
	"Operation", "Failed", "Target", "Details", "Result", "Reason", "TicketNumber", "RequestID", "Approver",
}

// colonPairs reads "Name: value Name: value" by the names it knows; blanks are
// left out of them.
func colonPairs(dst []pair, b []byte) []pair {
	type mark struct{ start, end int }
	var last mark
	var key []byte
	take := func(end int) {
		if key != nil {
			dst = append(dst, pair{key: key, val: bytes.TrimSpace(b[last.end:end])})
		}
	}
	for i := 0; i < len(b) && len(dst) < maxPairs; i++ {
		if i > 0 && b[i-1] != ' ' && b[i-1] != '\t' && b[i-1] != ';' || b[i] < 'A' || b[i] > 'Z' {
			continue
		}
		for _, n := range safeNames {
			if len(b)-i > len(n) && b[i+len(n)] == ':' && string(b[i:i+len(n)]) == n {
				take(i)
				key = []byte(strings.ReplaceAll(n, " ", ""))
				last = mark{i, i + len(n) + 1}
				i = last.end - 1
				break
			}
		}
	}
	take(len(b))
	return dst
}

// insight finds a value by its short name, as text, LEEF and CEF name it.
func (e *event) insight(names ...string) said {
	for _, n := range names {
		if s := e.says("/"+n, "/BeyondTrustBeyondInsight"+n); s.has() && string(s.v) != "-" {
			return s
		}
	}
	return said{}
}

// beyondInsight reads an event of BeyondInsight or Password Safe.
func (e *event) beyondInsight(class, name said) {
	r := e.r
	r.Set(record.SourceProduct, "BeyondInsight", "")
	r.Set(record.ActionService, "beyondinsight", "")
	e.tell(record.ActionTool, class)
	op := e.insight("Operation", "act", "ActionType")
	what := e.insight("ObjectType", "fileType")
	desc := e.insight("EventDesc", "EventName").or(name)
	e.tell(record.ActionOperation, desc)
	if op.has() && !bytes.EqualFold(op.v, desc.v) {
		e.attest("operation", op)
	}
	e.set(record.Message, "/msg", "/Message", "/Details")
	e.set(record.SourceAddress, "/src", "/IPAddress", "/SourceIP", "/SourceHost")
	e.set(record.SourceOriginalID, "/AuditID", "/BeyondTrustBeyondInsightAuditID", "/externalId")
	e.set(record.DecisionReason, "/reason", "/Reason")
	e.tell(record.ApprovalRequestID, e.insight("RequestID"))
	e.tell(record.ApprovalSource, e.insight("TicketNumber"))
	role := e.insight("RoleUsed")
	e.add(record.AuthorityRoles, role.v, role.prov)
	e.insightTime()
	e.insightTarget(what)

	who := e.insight("suser", "UserName", "usrName", "User")
	state := ""
	switch all := e.cat(op.v, []byte(" "), desc.v); {
	case !words(all, "approv", "deny", "denied", "reject") && !words(role.v, "approver"):
		if words(all, "request") && words(all, "add", "create", "new") {
			state = "requested"
		}
	case words(all, "deny", "denied", "reject"):
		state = "denied"
	case words(op.v, "approve") || words(desc.v, "approved", "approve request"):
		state = "approved"
	}
	switch {
	case words(class.v, "api") && words(who.v, "api"):
		e.actor(record.ServiceAccount, who, beyondKind, "beyondtrust")
	case state == "approved" || state == "denied":
		e.actor(loginType(who.v), who, beyondKind, "beyondtrust")
		e.tell(record.ApprovalApprover, who)
		r.SetAbsent("requester", record.NotEstablished)
	default:
		e.ownLogin(who, beyondKind, "beyondtrust")
	}
	if state != "" {
		prov := op.or(desc).prov
		e.add(record.Attributes, e.cat([]byte("approval="), []byte(state)), prov)
		switch state {
		case "approved":
			r.Set(record.DecisionEffect, record.Allow, prov)
		case "denied":
			r.Set(record.DecisionEffect, record.Deny, prov)
		}
	}
	e.insightOutcome(op, desc, state)
}

func (e *event) insightTime() {
	for _, p := range []string{"/LogTime", "/CreateDate", "/EventDate"} {
		v := e.str(p)
		for _, layout := range []string{"1/2/2006 15:04:05", "1/2/2006 3:04:05 PM"} {
			if ns, ok := parseLayout(v, layout, e.src.Zone); ok {
				e.timeIs(ns, true, p)
				return
			}
		}
	}
	if e.str("/devTime") != nil {
		e.leefTime()
		return
	}
	e.cefTime("/rt", "/start", "/end")
}

// insightTarget reads "Asset:db1 MAccount:root", "Asset:db1 Account:root" and "db1/root".
func (e *event) insightTarget(what said) {
	r := e.r
	target := e.insight("Target", "dhost", "SystemName")
	if !target.has() {
		e.tell(record.TargetID, e.insight("ObjectID"))
		e.put(record.TargetType, lower(bytes.Clone(what.v)), what.prov)
		return
	}
	host, account := between(e.cat(target.v, []byte(" ")), "Asset:", " "), between(e.cat(target.v, []byte(" ")), "Account:", " ")
	if host == nil || bytes.Count(target.v, []byte("Account:")) != 1 || bytes.Count(target.v, []byte("Asset:")) != 1 {
		e.tell(record.TargetID, target)
		e.put(record.TargetType, lower(bytes.Clone(what.v)), what.prov)
		return
	}
	e.put(record.TargetID, e.cat(host, []byte("/"), account), target.prov)
	r.Set(record.TargetType, "account", "")
	e.put(record.CredentialID, e.cat(host, []byte("/"), account), target.prov)
	r.Set(record.CredentialKind, "password", "")
	r.Set(record.CredentialIssuer, "beyondtrust", "")
}

func (e *event) insightOutcome(op, desc said, state string) {
	r := e.r
	failed, result := e.insight("Failed"), e.insight("Result", "outcome")
	login := words(desc.v, "login", "logon") || words(op.v, "login", "logon")
	switch {
	case words(failed.v, "true") || string(failed.v) == "1" || string(result.v) == "F" || words(result.v, "fail"),
		words(desc.v, "fail"):
		if login {
			e.status(record.Denied, failed.or(result).or(desc).prov)
			e.refused()
			break
		}
		e.status(record.Failure, failed.or(result).or(desc).prov)
	case words(desc.v, "denied", "unauthorized") && state == "":
		e.status(record.Denied, desc.prov)
	default:
		e.status(record.Success, failed.or(result).or(desc).prov)
	}
	if r.Get(record.OutcomeStatus) != record.Success {
		return
	}
	switch {
	case words(desc.v, "retrieve", "checkout", "check out"):
		if r.Has(record.CredentialID) {
			r.Set(record.CredentialEventOp, "issue", desc.prov)
		}
		r.Set(record.EffectChanged, record.No, desc.prov)
	case words(desc.v, "release", "checkin", "check in"):
		if r.Has(record.CredentialID) {
			r.Set(record.CredentialEventOp, "revoke", desc.prov)
		}
	case words(desc.v, "password change"):
		if r.Has(record.CredentialID) {
			r.Set(record.CredentialEventOp, "renew", desc.prov)
		}
		r.Set(record.EffectChanged, record.Yes, desc.prov)
	case login || words(desc.v, "logout", "logoff") || words(op.v, "logout", "view", "read"):
		r.Set(record.EffectChanged, record.No, desc.prov)
	case words(op.v, "add", "edit", "delete", "update", "create", "remove", "change"):
		r.Set(record.EffectChanged, record.Yes, op.prov)
	}
}

// pbrun: key=value of EPM for Unix and Linux, by the names of its variables.
func pbrun(b []byte) bool {
	return bytes.Contains(b, []byte("submituser=")) && (bytes.Contains(b, []byte("runuser=")) || bytes.Contains(b, []byte("runhost=")) || bytes.Contains(b, []byte("masterhost=")))
}

// pbrun reads an event of the event log: who submitted a command, and the account
// that it is run as.
func (e *event) pbrun() {
	r := e.r
	r.Set(record.SourceProduct, "BeyondTrust EPM-UL", "")
	r.Set(record.ActionService, "pbrun", "")
	op := e.says("/event")
	e.tell(record.ActionOperation, op)
	e.set(record.ChainRequestID, "/uniqueid")
	if id := e.str("/uniqueid"); id != nil {
		e.put(record.SourceOriginalID, e.cat(id, []byte("-"), op.v), "/uniqueid")
	}
	e.set(record.ActionServer, "/masterhost")
	e.set(record.SourceAddress, "/submithostip", "/submithost", "/clienthost")
	e.pbrunTime()
	who, from := e.says("/submituser"), e.says("/submithost")
	e.asker(record.Unknown, who, "local_account", "", fromLogin)
	e.tell(record.RequesterIssuer, from)
	run, host := e.says("/runuser"), e.says("/runhost")
	e.account(run, host, "")
	e.pbrunCommand(host)
	e.set(record.ApprovalApprover, "/approver", "/approvers/0", "/approveuser")
	e.set(record.ApprovalSource, "/ticket", "/ticketnumber")
	if file := e.says("/lineinfile", "/policyfile"); file.has() {
		e.put(record.DecisionPolicyID, e.cat(file.v, []byte(":"), e.str("/linenum")), file.prov)
		e.noPolVer = true
	} else {
		e.set(record.DecisionPolicyID, "/rbprole", "/rulename", "/policyid")
		e.noPolVer = true
	}
	e.set(record.DecisionReason, "/rejectreason", "/reason")
	switch strings.ToLower(string(op.v)) {
	case "accept":
		r.Set(record.DecisionEffect, record.Allow, op.prov)
		e.status(record.Success, op.prov)
		e.add(record.Attributes, []byte("half=request"), op.prov)
	case "reject":
		e.status(record.Denied, op.prov)
	case "finish":
		e.add(record.Attributes, []byte("half=response"), op.prov)
		e.pbrunExit()
	default:
		e.status(record.Unknown, "")
	}
	if r.Get(record.OutcomeStatus) == record.Success {
		r.Set(record.EffectChanged, record.Unknown, "")
	}
}

// pbrunExit reads "Command finished with exit status 0", or the number.
func (e *event) pbrunExit() {
	exit := e.says("/exitstatus")
	code := exit.v
	if i := bytes.LastIndexByte(code, ' '); i >= 0 {
		code = code[i+1:]
	}
	n, ok := digits(code)
	switch {
	case !ok || len(code) == 0 || len(code) > 6:
		e.status(record.Unknown, "")
		e.tell(record.OutcomeDetail, exit)
	case n == 0:
		e.put(record.OutcomeCode, code, exit.prov)
		e.status(record.Success, exit.prov)
	default:
		e.put(record.OutcomeCode, code, exit.prov)
		e.status(record.Failure, exit.prov)
		e.r.Set(record.EffectChanged, record.Unknown, "")
	}
}

// pbrunTime reads date and time ("2026/11/23", "14:02:07"), of the end for a Finish.
func (e *event) pbrunTime() {
	for _, p := range [][2]string{{"/exitdate", "/exittime"}, {"/date", "/time"}, {"/submitdate", "/submittime"}} {
		d, t := e.str(p[0]), e.str(p[1])
		if len(d) == 10 && len(t) >= 8 {
			stamp := append(bytes.ReplaceAll(d, []byte("/"), []byte("-")), 'T')
			e.timeFrom(append(stamp, t...), p[0])
			return
		}
	}
	e.time("/timestamp", "/utc", "/eventtime", "/@timestamp")
}

func (e *event) pbrunCommand(host said) {
	r := e.r
	command := e.says("/runcommand", "/command")
	args := e.says("/runargv", "/argv")
	if n := e.find("/runargv"); !e.isPair && n != 0 && e.doc.kindOf(n) == kindArray {
		var all []byte
		for c := e.doc.first(n); c != 0; c = e.doc.next(c) {
			if len(all) > 0 {
				all = append(all, ' ')
			}
			all = append(all, e.value(c)...)
		}
		args = said{all, "/runargv"}
	}
	switch {
	case args.has():
		e.tell(record.TargetID, args)
		r.Set(record.TargetType, "command", "")
	case command.has():
		e.tell(record.TargetID, command)
		r.Set(record.TargetType, "command", "")
	case host.has():
		e.tell(record.TargetID, host)
		r.Set(record.TargetType, "host", "")
	}
	tool := command.or(args)
	first, _, _ := bytes.Cut(tool.v, []byte(" "))
	e.put(record.ActionTool, first, tool.prov)
	e.attest("host", host)
	e.attest("cwd", e.says("/runcwd", "/cwd"))
}
