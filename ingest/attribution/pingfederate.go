package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// pingFederate decodes PingFederate's audit.log and admin.log, whose fields
// stand between vertical bars in the order of the patterns that it ships with,
// and its CEF form.
func pingFederate() format {
	return format{
		name: "ping", product: "PingFederate", issuer: "ping",
		shape: shapeText,
		match: func(e *event) bool {
			if e.cefFrom("Ping Identity") {
				return true
			}
			b := e.payload[:min(len(e.payload), 160)]
			return bytes.Count(b, []byte("|")) >= 4 && pingStamp(b) > 0 && (bytes.Contains(b, []byte("| tid:")) || bytes.Contains(b, []byte("|tid:")) ||
				pingAdminLine(e.payload) || e.pinned())
		},
		decode: func(e *event) {
			if e.cefFrom("Ping Identity") {
				if head, ok := e.openCEF(false); ok {
					e.pingCEF(head)
				}
				return
			}
			decodePingFederate(e)
		},
		guide: pingGuide,
	}
}

// pingStamp is the length of the timestamp in front of the first bar, 0 when there is none.
func pingStamp(b []byte) int {
	i := bytes.IndexByte(b, '|')
	if i < 19 || i > 40 {
		return 0
	}
	if _, ok := parseTime(bytes.TrimSpace(b[:i]), nil); !ok {
		return 0
	}
	return i
}

// pingAdmin are the fields of admin.log, pingAudit those of audit.log and what
// its extended pattern adds.
var (
	pingAdmin = [...]string{"date", "user", "roles", "ip", "component", "event", "eventdetailid", "message"}
	pingAudit = [...]string{
		"date", "trackingid", "event", "subject", "ip", "app", "connectionid", "protocol", "host", "role", "status", "adapterid", "description", "responsetime",
		"attrackingid", "attributes", "granttype", "initiator", "inmessagetype", "inresponseto", "localuserid", "requestid", "requeststarttime", "responseid",
		"stspluginid", "targetsessionid", "authenticationsourceid", "validatorid", "virtualserverid", "connectionname", "httprequestid",
	}
)

// pingAdminLine tells admin.log, where a component and an event in capitals
// stand in the fifth and sixth field.
func pingAdminLine(b []byte) bool {
	f := bytes.SplitN(b[:min(len(b), 1024)], []byte("|"), 8)
	return len(f) >= 7 && pingWord(f[4]) && pingWord(f[5])
}

func pingWord(b []byte) bool {
	b = bytes.TrimSpace(b)
	for _, c := range b {
		if c-'A' > 25 && c != '_' {
			return false
		}
	}
	return len(b) > 2
}

func decodePingFederate(e *event) {
	b := e.payload
	names := pingAudit[:]
	admin := !bytes.Contains(b[:min(len(b), 160)], []byte("tid:"))
	if admin {
		names = pingAdmin[:]
	}
	e.pairs = e.pairs[:0]
	e.paired, e.isPair, e.pairFault = true, true, ""
	fields := bytes.SplitN(b, []byte("|"), len(names)+2)
	at := 0
	for _, f := range fields {
		// Version 12 has a transaction's id behind the session's.
		if !admin && at == 2 && len(fields) > 3 && !pingEvent(f) && pingEvent(fields[3]) {
			if f = bytes.TrimSpace(f); len(f) > 0 {
				e.pairs = append(e.pairs, pair{key: []byte("transactionid"), val: f})
			}
			at = -2
			continue
		}
		if at == -2 {
			at = 2
		}
		if at >= len(names) {
			break
		}
		if f = bytes.TrimSpace(f); len(f) > 0 {
			e.pairs = append(e.pairs, pair{key: []byte(names[at]), val: f})
		}
		at++
	}
	e.time("/date")
	if admin {
		e.pingAdministration()
		return
	}
	e.pingFederation(func(name string) string { return "/" + name })
}

// pingEvent reports whether f is the name of an audit event.
func pingEvent(f []byte) bool {
	f = bytes.TrimSpace(f)
	switch string(f) {
	case "SSO", "SLO", "STS", "OAuth", "SCIM", "PROVISIONING":
		return true
	}
	return bytes.HasPrefix(f, []byte("AUTHN_")) || bytes.HasPrefix(f, []byte("SRI_")) || bytes.HasPrefix(f, []byte("OAUTH_")) || bytes.HasPrefix(f, []byte("PWD_")) ||
		bytes.IndexByte(f, '_') > 0 && pingWord(f)
}

// pingFederation: the subject signed on; OAuth's events are the client's, for
// the subject where that is somebody else.
func (e *event) pingFederation(at func(name string) string) {
	r := e.r
	e.noDecide = true
	r.Set(record.ActionService, "pingfederate", "")
	e.set(record.ActionOperation, "/event")
	op := r.Get(record.ActionOperation)
	e.set(record.ChainSessionID, at("trackingid"))
	e.set(record.ChainTxn, at("transactionid"))
	e.set(record.ChainRequestID, at("httprequestid"), at("requestid"))
	e.set(record.ActionTool, at("protocol"))
	e.set(record.ActionServer, at("host"))
	e.clientAddress(at("ip"))
	switch {
	case e.set(record.TargetID, at("app")) != nil:
		r.Set(record.TargetType, "application", "")
	case e.set(record.TargetID, at("connectionid")) != nil:
		r.Set(record.TargetType, "connection", "")
	}
	e.set(record.TargetName, at("connectionname"))
	e.pingResult(op, at("status"), at("description"))
	subject, client := e.str(at("subject")), e.str(at("connectionid"))
	grant := string(lower(bytes.Clone(e.str(at("granttype")))))
	ok := r.Get(record.OutcomeStatus) == record.Success
	r.Set(record.ExecutorIssuer, "pingfederate", "")
	how := fromLogin
	if !ok {
		how, e.claimed = fromParam, true
	}
	ask := func(typ string) {
		e.requester(typ, subject, at("subject"), how)
		r.Set(record.RequesterIDKind, "ping_subject", "")
		r.Set(record.RequesterIssuer, "pingfederate", "")
	}
	switch {
	case op == "OAuth":
		e.executor(record.Workload, client, at("connectionid"))
		r.Set(record.ExecutorIDKind, "oauth_client", "")
		if len(subject) == 0 || bytes.Equal(subject, client) || grant == "client_credentials" {
			r.SetAbsent("requester", record.NotEstablished)
		} else {
			ask(principalType(string(subject)))
			e.delegate(record.Delegation{Principal: e.text(subject), Audience: e.text(client)}, at("subject"))
		}
		if ok && grant != "" { // else it may be any request of OAuth's
			event := "issue"
			switch {
			case grant == "refresh_token":
				event = "renew"
			case strings.HasSuffix(grant, "token_exchange"), strings.HasSuffix(grant, "jwt_bearer"), strings.HasSuffix(grant, "saml2_bearer"):
				event = "exchange"
			}
			r.Set(record.CredentialEventOp, event, r.Prov(record.ActionOperation))
			r.Set(record.CredentialKind, "access_token", "")
			e.set(record.CredentialIssuer, at("host"))
		}
	case len(subject) == 0:
		r.SetAbsent("executor", record.NotEstablished)
		r.SetAbsent("requester", record.NotEstablished)
	default:
		typ := record.Person
		if !ok || op == "STS" {
			typ = principalType(string(subject))
		}
		e.executor(typ, subject, at("subject"))
		r.Set(record.ExecutorIDKind, "ping_subject", "")
		e.set(record.ExecutorLocalAccount, at("localuserid"))
		ask(typ)
	}
	for _, n := range [...]string{"connectionid", "role", "adapterid", "granttype", "initiator", "attrackingid", "authenticationsourceid", "virtualserverid"} {
		e.attribute(n, at(n))
	}
}

// pingAdministration: accounts of administrators, which people may share.
func (e *event) pingAdministration() {
	r := e.r
	e.noDecide = true
	r.Set(record.ActionService, "pingfederate", "")
	r.Set(record.EffectSystem, "pingfederate", "")
	e.set(record.ActionOperation, "/event")
	e.set(record.TargetType, "/component")
	e.set(record.TargetID, "/eventdetailid")
	e.set(record.Message, "/message")
	e.clientAddress("/ip")
	for _, s := range e.scopeList("/roles") {
		e.add(record.AuthorityRoles, []byte(s), "/roles")
	}
	op, msg := string(e.str("/event")), e.str("/message")
	status, prov := record.Success, "/event"
	switch {
	case refused(msg) || bytes.Contains(bytes.ToLower(msg), []byte("invalid")):
		status, prov = record.Denied, "/message"
		r.Set(record.DecisionEffect, record.Deny, "/message")
	case bytes.Contains(bytes.ToLower(msg), []byte("fail")):
		status, prov = record.Failure, "/message"
		if strings.Contains(op, "LOGIN") {
			status = record.Denied
		}
	}
	r.Set(record.OutcomeStatus, status, prov)
	changed := record.Unknown
	switch {
	case status != record.Success:
		changed = record.No
	case op == "CREATE", op == "MODIFY", op == "DELETE", op == "IMPORT", op == "ACTIVATE", op == "REPLICATE":
		changed = record.Yes
	}
	r.Set(record.EffectChanged, changed, prov)
	user := e.str("/user")
	typ, how := principalType(string(user)), fromLogin
	if status != record.Success {
		how, e.claimed = fromParam, true
	}
	e.executor(typ, user, "/user")
	r.Set(record.ExecutorIDKind, "ping_admin", "")
	r.Set(record.ExecutorIssuer, "pingfederate", "")
	e.requester(typ, user, "/user", how)
	r.Set(record.RequesterIDKind, "ping_admin", "")
	r.Set(record.RequesterIssuer, "pingfederate", "")
}

// pingCEFKeys are the keys of the CEF form by the names of the audit log.
var pingCEFKeys = map[string][]string{
	"subject": {"duid", "suser", "duser"}, "ip": {"src"}, "status": {"msg"}, "host": {"dvchost"}, "trackingid": {"externalId"}, "app": {"cs1"},
	"connectionid": {"cs2"}, "protocol": {"cs3"}, "role": {"cs4"}, "localuserid": {"cs5"}, "description": {"reason"},
}

// pingCEF reads the CEF form, where the event is the class of the header.
func (e *event) pingCEF(head [6][]byte) {
	if e.src.Product == "" {
		e.put(record.SourceProduct, head[1], cefHeader[1])
	}
	e.cefTime("/rt", "/end")
	e.put(record.ActionOperation, head[3], cefHeader[3])
	e.pingFederation(func(name string) string {
		for _, k := range pingCEFKeys[name] {
			if len(e.pair(k)) > 0 {
				return "/" + k
			}
		}
		return "/" + name
	})
}
