package attribution

import (
	"bytes"

	"custody/ingest/record"
)

// centrify reads the audit trail of Server Suite: AUDIT_TRAIL|Centrify
// Suite|component|version|id|name|severity|key=value….
func (e *event) centrify() {
	r := e.r
	_, b, _ := bytes.Cut(e.payload, []byte("AUDIT_TRAIL|"))
	parts := bytes.SplitN(b, []byte("|"), 7)
	if len(parts) < 7 {
		e.fail("audit trail: fields are missing")
		return
	}
	e.pairs = cefPairs(e.pairs[:0], parts[6], true)
	e.paired, e.isPair, e.pairFault = true, true, ""
	e.markTwice()
	e.pairFaults()
	r.Set(record.SourceProduct, "Delinea Server Suite", "")
	op := said{parts[4], "/name"}
	e.tell(record.ActionOperation, op)
	e.put(record.ActionService, parts[1], "/component")
	e.set(record.ActionTool, "/service")
	e.time("/utc")
	e.set(record.SourceAddress, "/client")
	e.set(record.ChainSessionID, "/DASessID")
	e.attest("event_id", e.says("/centrifyEventID"))
	if role := e.says("/role"); role.has() {
		e.add(record.AuthorityRoles, role.v, role.prov)
	}
	if e.env.host != nil {
		e.put(record.TargetID, e.env.host, "header:HOSTNAME")
		r.Set(record.TargetType, "host", "")
	}
	// "jlim(type:ad,jlim@EXAMPLE.COM)": the account on the host, and whose it is.
	user := e.says("/user")
	local, inside, _ := bytes.Cut(user.v, []byte("("))
	inside = bytes.TrimSuffix(inside, []byte(")"))
	who := said{local, user.prov}
	kind := "local_account"
	if kv, upn, ok := bytes.Cut(inside, []byte(",")); ok && string(kv) == "type:ad" && len(upn) > 0 {
		who.v, kind = upn, "ad_principal"
	}
	status := e.says("/status")
	denied := words(status.v, "denied") || words(op.v, "denied")
	run, command := e.says("/runas"), e.says("/command")
	issuer := string(e.env.host)
	if kind == "ad_principal" {
		issuer = ""
	}
	switch {
	case !who.has():
	case run.has():
		e.asker(loginType(who.v), who, kind, e.text([]byte(issuer)), fromLogin)
		e.account(run, said{e.env.host, "header:HOSTNAME"}, "")
		if !denied {
			r.Set(record.TargetType, "command", "")
		}
	default:
		e.actor(loginType(who.v), who, kind, e.text([]byte(issuer)))
		e.put(record.ExecutorLocalAccount, local, user.prov)
		if kind == "ad_principal" {
			e.asker(loginType(who.v), who, kind, "", fromLogin)
		}
	}
	if command.has() {
		e.tell(record.TargetID, command)
		r.Set(record.TargetType, "command", "")
		program, _, _ := bytes.Cut(command.v, []byte(" "))
		e.put(record.ActionTool, program, command.prov)
	} else if r.Get(record.TargetType) == "command" {
		r.Set(record.TargetType, "host", "")
	}
	switch {
	case denied:
		e.status(record.Denied, status.or(op).prov)
		e.claimed = !run.has()
		if e.claimed {
			e.refused()
		}
	case words(status.v, "granted", "success") || words(op.v, "granted", "succeeded"):
		r.Set(record.DecisionEffect, record.Allow, status.or(op).prov)
		e.status(record.Success, status.or(op).prov)
	case words(status.v, "fail") || words(op.v, "fail"):
		e.status(record.Failure, status.or(op).prov)
	default:
		e.status(record.Unknown, "")
	}
	e.set(record.OutcomeDetail, "/reason")
}
