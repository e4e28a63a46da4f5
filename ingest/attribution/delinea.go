package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// delineaText and delineaJSON decode Delinea, formerly Thycotic and Centrify:
// Secret Server's CEF and text, events of the Delinea Platform (as its API gives
// them and as its export shows them), and the audit trail of Server Suite.
func delineaText() format {
	return format{
		name: "delinea", product: "Delinea", issuer: "delinea",
		shape: shapeText,
		match: func(e *event) bool {
			b := e.payload
			return e.cefFrom("Thycotic Software", "Thycotic", "Delinea", "Delinea Inc.") ||
				bytes.HasPrefix(b, []byte("[[SecretServer]]")) || bytes.HasPrefix(b, []byte("Launched by user ")) ||
				bytes.Contains(b[:min(len(b), 96)], []byte("AUDIT_TRAIL|Centrify Suite|"))
		},
		decode: func(e *event) {
			e.noDecide = true
			switch b := e.payload; {
			case cefStart(b) >= 0:
				e.secretServerCEF()
			case bytes.HasPrefix(b, []byte("[[SecretServer]]")):
				e.r.Set(record.SourceProduct, "Secret Server", "")
				e.secretServerText(b, "/message")
			case bytes.HasPrefix(b, []byte("Launched by user ")):
				e.r.Set(record.ActionOperation, "Launched", "/message")
				e.r.Set(record.ActionService, "delinea", "")
				e.launched(said{b, "/message"}, said{})
				e.status(record.Success, "/message")
			default:
				e.centrify()
			}
		},
		guide: guide{
			userSet: []string{
				"/msg: holds the names of secrets and folders, which their owners choose; nothing is read from it where a field of its own says the same",
				"/fname: whoever names the secret",
				"/Action: a sentence with the name of a secret in it; it is read only where it can be read in one way",
				"/command: what is typed at dzdo",
			},
			emit: map[Part]string{
				PartRequester:  "Secret Server: `suser` (CEF) or `By User:`; Platform: `actor` unless it is the system; Server Suite: `user=` with the name in Active Directory",
				PartExecutor:   "the same for what is done in the vault; in a session the account it is launched as (`as …`), with dzdo `runas`",
				PartTool:       "the event's name; `using …` of a launched session; `command=` of dzdo",
				PartPermission: "Server Suite: `role=`; Secret Server: not in the log (its report What secrets can a user see tells)",
				PartDecision:   "events of access requests (approved, denied) where the secret requires approval; Server Suite: `status=GRANTED|DENIED`",
				PartOutcome:    "the event's name; `status=`",
				PartChain:      "Platform: `sessionId`, `eventMessageId`; Server Suite: `DASessID` with auditing on; Secret Server's syslog has none",
			},
		},
	}
}

func delineaJSON() format {
	return format{
		name: "delinea", product: "Delinea Platform", issuer: "delinea",
		shape: shapeJSON,
		keys:  []string{"eventMessageId", "Event type"},
		match: func(e *event) bool {
			t, o := &e.doc, e.root
			return t.get(o, "eventMessageId") != 0 && t.get(o, "eventType") != 0 || t.get(o, "Event type") != 0 && t.get(o, "Initiated by") != 0
		},
		decode: func(e *event) {
			e.noDecide = true
			if e.has("/eventMessageId") {
				e.delineaPlatform()
				return
			}
			e.delineaExport()
		},
	}
}

const delineaKind = "delinea_user"

// delineaSystem reports whether a user is the product itself.
func delineaSystem(name []byte) bool {
	switch strings.ToLower(string(name[:min(len(name), 32)])) {
	case "system", "(system)", "secret server", "background", "scheduler":
		return true
	}
	return false
}

// delineaWho names who did something in the product. state tells of an approval,
// whose approver did not ask.
func (e *event) delineaWho(who said, state string) {
	r := e.r
	switch {
	case delineaSystem(who.v):
		e.actor(record.Workload, who, delineaKind, "delinea")
		r.SetAbsent("requester", record.NotEstablished)
	case state == "approved" || state == "denied":
		e.actor(loginType(who.v), who, delineaKind, "delinea")
		e.tell(record.ApprovalApprover, who)
		r.SetAbsent("requester", record.NotEstablished)
	default:
		e.ownLogin(who, delineaKind, "delinea")
	}
	if state == "" {
		return
	}
	prov := r.Prov(record.ActionOperation)
	e.add(record.Attributes, e.cat([]byte("approval="), []byte(state)), prov)
	switch state {
	case "approved":
		r.Set(record.DecisionEffect, record.Allow, prov)
	case "denied":
		r.Set(record.DecisionEffect, record.Deny, prov)
	}
}

// delineaApproval is what the name of an event says of a request for access.
func delineaApproval(op []byte) string {
	if !words(op, "access", "approv", "request") || words(op, "remote access", "access denied") {
		return ""
	}
	switch {
	case words(op, "approved", "approve ", "granted") || words(op, "access_approv", "accessapprov"):
		return "approved"
	case words(op, "denied", "rejected"):
		return "denied"
	case words(op, "request", "pending"):
		return "requested"
	}
	return ""
}

func (e *event) delineaOutcome(op said, state string) {
	r := e.r
	switch {
	case words(op.v, "loginfail", "login fail", "login_fail", "authentication.fail", "loginfailed", "lockout"):
		e.status(record.Denied, op.prov)
		e.refused()
	case words(op.v, "access denied", "accessdenied", "unauthorized") && state == "":
		e.status(record.Denied, op.prov)
	case words(op.v, "fail", "error"):
		e.status(record.Failure, op.prov)
	case op.has():
		e.status(record.Success, op.prov)
		switch {
		case words(op.v, "view", "displayed", "copied", "copy", "export", "login", "logout", "sessionstart"):
			r.Set(record.EffectChanged, record.No, op.prov)
		case words(op.v, "launch", "session"):
			r.Set(record.EffectChanged, record.Unknown, op.prov)
		case words(op.v, "edit", "create", "delete", "change", "add", "remove", "update", "assign", "checkout", "checkin", "check in", "check out", "undelete",
			"enable", "disable", "rotat", "approv", "denied"):
			r.Set(record.EffectChanged, record.Yes, op.prov)
		}
	}
}

// secret says which secret an event is about, and what happened to it.
func (e *event) secret(op, id said) {
	r := e.r
	if !id.has() {
		return
	}
	e.tell(record.CredentialID, id)
	r.Set(record.CredentialKind, "secret", "")
	r.Set(record.CredentialIssuer, "delinea", "")
	if r.Get(record.OutcomeStatus) != record.Success {
		return
	}
	switch {
	case words(op.v, "password_displayed", "password displayed", "password_copied", "password copied", "checkout", "check out", "export"):
		r.Set(record.CredentialEventOp, "issue", op.prov)
	case words(op.v, "launch"):
		r.Set(record.CredentialEventOp, "use", op.prov)
	case words(op.v, "checkin", "check in"):
		r.Set(record.CredentialEventOp, "revoke", op.prov)
	case words(op.v, "passwordchange", "password_change", "password change", "rotat"):
		r.Set(record.CredentialEventOp, "renew", op.prov)
	}
}

func (e *event) secretServerCEF() {
	head, ok := e.openCEF(true)
	if !ok {
		return
	}
	r := e.r
	if e.src.Product == "" {
		e.put(record.SourceProduct, head[1], cefHeader[1])
	}
	if e.env.pri < 0 {
		e.put(record.SourceSeverity, lower(bytes.Clone(head[5])), cefHeader[5])
	}
	op := said{head[4], cefHeader[4]}
	r.Set(record.ActionService, "secret_server", "")
	e.attest("code", said{head[3], cefHeader[3]})
	e.cefTime("/rt", "/start", "/end")
	e.set(record.SourceAddress, "/src")
	e.set(record.Message, "/msg")
	if !e.stands("suser") && !e.stands("suid") { // a message of the server about itself
		r.SetAbsent("requester", record.NotApplicable)
		r.SetAbsent("executor", record.NotApplicable)
		return
	}
	e.tell(record.ActionOperation, op)
	r.Set(record.EffectSystem, "secret_server", "")
	kind, id := e.says("/fileType"), e.says("/fileId")
	e.put(record.TargetType, lower(bytes.Clone(kind.v)), kind.prov)
	e.tell(record.TargetID, id.or(e.says("/fname")))
	e.set(record.TargetName, "/fname")
	e.attest("affected_user", e.says("/duser"))
	var display said
	for i := range e.pairs {
		key, ok := bytes.CutSuffix(e.pairs[i].key, []byte("Label"))
		if !ok {
			continue
		}
		switch v := e.says("/" + string(key)); strings.ToLower(string(e.pairs[i].val)) {
		case "suser display name":
			display = said{v.v, e.text(e.cat([]byte("/"), key))}
		case "folder":
			e.attest("folder", said{v.v, e.text(e.cat([]byte("/"), key))})
		}
	}
	state := delineaApproval(op.v)
	e.delineaWho(e.says("/suser"), state)
	if r.Has(record.RequesterID) {
		e.tell(record.RequesterName, display)
	}
	if r.Has(record.ExecutorID) {
		e.set(record.ExecutorInstance, "/suid")
	}
	e.delineaOutcome(op, state)
	if strings.EqualFold(string(kind.v), "Secret") {
		e.secret(op, id)
	}
}

// between is what stands between the first begin and the first end behind it.
func between(b []byte, begin, end string) []byte {
	_, b, ok := bytes.Cut(b, []byte(begin))
	if !ok {
		return nil
	}
	b, _, ok = bytes.Cut(b, []byte(end))
	if !ok {
		return nil
	}
	return bytes.TrimSpace(b)
}

// secretServerText reads "[[SecretServer]] Event: [SECRET] Action: [VIEW] By User:
// alice Item Name: … (Item Id: 12) Container Name: … (Container Id: 11)". The
// user stands in front of all that somebody can name; ids are taken when they
// stand once.
func (e *event) secretServerText(b []byte, prov string) {
	r := e.r
	kind := between(b, "Event: [", "]")
	action := between(b, "Action: [", "]")
	op := said{e.cat(kind, []byte(" - "), action), prov}
	if len(kind) == 0 || len(action) == 0 {
		return
	}
	e.tell(record.ActionOperation, op)
	r.Set(record.ActionService, "secret_server", "")
	r.Set(record.EffectSystem, "secret_server", "")
	e.put(record.TargetType, lower(bytes.Clone(kind)), prov)
	who := said{between(b, "By User: ", " Item Name: "), "/by_user"}
	if !who.has() {
		_, rest, _ := bytes.Cut(b, []byte("By User: "))
		if rest, _, _ = bytes.Cut(rest, []byte(" ")); len(rest) > 0 {
			who.v = rest
		}
	}
	var id said
	if bytes.Count(b, []byte("(Item Id: ")) == 1 {
		id = said{between(b, "(Item Id: ", ")"), "/item_id"}
		e.put(record.TargetName, between(b, "Item Name: ", " (Item Id: "), "/item_name")
	}
	e.tell(record.TargetID, id)
	state := delineaApproval(op.v)
	e.delineaWho(who, state)
	e.delineaOutcome(op, state)
	if strings.EqualFold(string(kind), "Secret") {
		e.secret(op, id)
	}
}

// launched reads "Launched by user U from secret N (N) as A to H:22 at S using
// ssh." N and S are names that somebody chose: when the sentence can be read in
// more than one way, nothing but U is taken from it. known is who the event says
// it was, when it says so elsewhere.
func (e *event) launched(s, known said) {
	r := e.r
	_, rest, ok := bytes.Cut(s.v, []byte("Launched by user "))
	if !ok {
		return
	}
	user, rest, _ := bytes.Cut(rest, []byte(" "))
	who := said{bytes.TrimSuffix(user, []byte(".")), s.prov}
	if known.has() && !bytes.Equal(who.v, known.v) && !bytes.HasPrefix(who.v, append(bytes.Clone(known.v), '@')) {
		e.note("two names for who launched")
		return
	}
	e.asker(loginType(who.v), who, delineaKind, "delinea", fromBody)
	e.add(record.Attributes, []byte("session=start"), s.prov)
	rest = e.cat([]byte(" "), rest, []byte(" "))
	if bytes.Count(rest, []byte(" as ")) != 1 || bytes.Count(rest, []byte(" to "))+bytes.Count(rest, []byte(" on ")) > 1 {
		e.note("the sentence can be read in more than one way")
		r.SetAbsent("executor", record.NotEstablished)
		return
	}
	account := said{bytes.TrimSuffix(between(rest, " as ", " "), []byte(".")), s.prov}
	h := between(rest, " to ", " ")
	if h == nil {
		h = between(rest, " on ", " ")
	}
	h = bytes.TrimSuffix(h, []byte("."))
	if i := bytes.LastIndexByte(h, ':'); i > 0 && bytes.Count(h, []byte(":")) == 1 {
		h = h[:i] // the port
	}
	host := said{h, s.prov}
	if host.has() {
		e.tell(record.TargetID, host)
		r.Set(record.TargetType, "host", "")
	}
	if _, using, ok := bytes.Cut(rest, []byte(" using ")); ok {
		e.put(record.ActionTool, bytes.TrimSuffix(bytes.TrimSpace(using), []byte(".")), s.prov)
	}
	e.account(account, host, "")
}

// delineaExport reads a line of the Platform's export of its audit page.
func (e *event) delineaExport() {
	r := e.r
	e.time("/Date")
	op, text, who := e.says("/Event type"), e.says("/Action"), e.says("/Initiated by")
	e.tell(record.ActionOperation, op)
	if e.set(record.ActionService, "/Service") == nil {
		r.Set(record.ActionService, "delinea", "")
	}
	e.tell(record.Message, text)
	e.set(record.SourceAddress, "/Source")
	if e.env.pri < 0 {
		e.put(record.SourceSeverity, lower(bytes.Clone(e.str("/Level"))), "/Level")
	}
	if bytes.HasPrefix(text.v, []byte("Launched by user ")) {
		e.launched(text, who)
		if !r.Has(record.TargetID) && e.set(record.TargetID, "/Target") != nil {
			r.Set(record.TargetType, "host", "")
		}
		e.status(record.Success, op.prov)
		return
	}
	e.set(record.TargetID, "/Target")
	state := delineaApproval(op.v)
	e.delineaWho(who, state)
	e.delineaOutcome(op, state)
	if words(op.v, "ras.session") {
		r.Set(record.TargetType, "host", "")
		if words(op.v, ".ended", ".terminated", ".closed", ".disconnected") {
			e.add(record.Attributes, []byte("session=end"), op.prov)
		}
	}
}

// delineaPlatform reads an event of the Platform's audit API.
func (e *event) delineaPlatform() {
	r := e.r
	e.time("/eventDateTime", "/processedTime")
	e.set(record.SourceOriginalID, "/eventMessageId")
	e.set(record.ChainSessionID, "/sessionId")
	op := e.says("/eventType/name", "/eventType/internalName", "/eventType")
	e.tell(record.ActionOperation, op)
	if e.set(record.ActionService, "/service/type") == nil {
		r.Set(record.ActionService, "delinea", "")
	}
	e.set(record.Message, "/displayMessage")
	e.set(record.SourceAddress, "/source/host/network/ipAddress", "/source/id")
	if ua := e.says("/source/host/client/userAgent"); ua.has() {
		e.attest("user_agent", ua)
	}
	if e.env.pri < 0 {
		e.put(record.SourceSeverity, lower(bytes.Clone(e.str("/level"))), "/level")
	}
	e.set(record.TargetID, "/target/id", "/target/name")
	e.set(record.TargetName, "/target/displayName", "/target/name")
	kind := e.says("/target/type")
	e.put(record.TargetType, lower(bytes.Clone(kind.v)), kind.prov)

	who := e.says("/actor/name", "/actor/email", "/actor/id")
	state := delineaApproval(op.v)
	delegated := e.says("/actor/delegatedUserName", "/actor/delegatedUserId")
	switch typ := strings.ToLower(string(e.str("/actor/type"))); {
	case e.isTrue("/isSystem") || typ == "system":
		e.actor(record.Workload, who, delineaKind, "delinea")
		r.SetAbsent("requester", record.NotEstablished)
	case strings.Contains(typ, "service") || strings.Contains(typ, "application") || strings.Contains(typ, "machine"):
		e.actor(record.ServiceAccount, who, delineaKind, "delinea")
		r.SetAbsent("requester", record.NotEstablished)
	case delegated.has():
		// One acts with what the other may do; which of them asked is not said.
		e.actor(loginType(who.v), who, delineaKind, "delinea")
		e.delegate(record.Delegation{Principal: e.text(delegated.v), Audience: r.Get(record.ExecutorID)}, delegated.prov)
		r.SetAbsent("requester", record.NotEstablished)
	default:
		e.delineaWho(who, state)
	}
	e.set(record.ExecutorInstance, "/actor/platformId", "/actor/id")
	if r.Has(record.RequesterID) {
		e.set(record.RequesterName, "/actor/displayName")
	}
	e.tenant("/tenantId")
	e.delineaOutcome(op, state)
	if strings.EqualFold(string(kind.v), "secret") {
		e.secret(op, e.says("/target/id"))
	}
	if !words(op.v, "remotesession", "ras.session") {
		return
	}
	// Secret Server's own words, values in brackets, inside the JSON of notes.
	notes := e.str("/notes")
	account := said{between(notes, "Username: [", "]"), "/notes"}
	host := said{between(notes, "Host: [", "]"), "/notes"}
	if bytes.Count(notes, []byte("Username: [")) == 1 && bytes.Count(notes, []byte("Host: [")) == 1 && host.has() {
		e.attest("secret", e.says("/target/id"))
		e.tell(record.TargetID, host)
		r.Unset(record.TargetName)
		r.Set(record.TargetType, "host", "")
		if r.Has(record.RequesterID) {
			e.account(account, host, e.text(e.str("/target/id")))
		}
	}
	switch {
	case words(op.v, ".launched", ".started"):
		e.add(record.Attributes, []byte("session=start"), op.prov)
	case words(op.v, ".ended", ".terminated", ".closed", ".disconnected"):
		e.add(record.Attributes, []byte("session=end"), op.prov)
	}
}
