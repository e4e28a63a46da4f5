package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// wallix decodes the messages of the WALLIX Bastion, by its "SIEM Logs Guide":
// [wabauth], [wabaudit], [SSH Session], [RDP Session] and the like, [Vault
// Activity], the proxies' own [sshproxy] and [rdpproxy], and its CEF.
func wallix() format {
	return format{
		name: "wallix", product: "WALLIX Bastion", issuer: "wallix",
		shape: shapeText,
		match: func(e *event) bool {
			return wallixTag(e.payload) != nil || e.cefFrom("Wallix")
		},
		decode: func(e *event) {
			e.noDecide = true
			if cefStart(e.payload) >= 0 {
				e.wallixCEF()
				return
			}
			tag := wallixTag(e.payload)
			at := bytes.Index(e.payload, tag) + len(tag) + 1
			e.pairs = quotedPairs(e.pairs[:0], e.payload[at:])
			e.paired, e.isPair, e.pairFault = true, true, ""
			e.markTwice()
			e.pairFaults()
			e.wallix(string(tag))
		},
		guide: guide{
			userSet: []string{
				"/data: what is typed or shown in a session",
				"/command_line: what is started in a session",
				"/object: whoever edits the configuration names it",
				"/infos: values of the configuration",
			},
			emit: map[Part]string{
				PartRequester:  "`user`: the primary account that signed in at the Bastion; a login with an API key names no person",
				PartExecutor:   "in a session `account`, the secondary account used on `device`; otherwise `user`",
				PartTool:       "`service` of a session and `type` of the event; what runs inside comes with the session filters of System > SIEM integration (KBD_INPUT, NEW_PROCESS, …)",
				PartPermission: "not in the log; `Log group membership` in the connection policy adds the group",
				PartDecision:   "types `Approval` and `Answer` of [wabaudit]; KILL_PATTERN_DETECTED of a restriction",
				PartOutcome:    "`status` of [wabauth], `result` of [Vault Activity], the type of a session's event",
				PartChain:      "`session_id` in all messages of a session, `psid` in those of one connection to a proxy",
			},
		},
	}
}

var wallixTags = [...]string{
	"wabauth", "wabaudit", "SSH Session", "RDP Session", "VNC Session", "TELNET Session", "RLOGIN Session", "RAWTCPIP Session", "Web Session",
	"Vault Activity", "sshproxy", "rdpproxy", "wabengine", "WABAuth", "WABAudit",
}

// wallixTag is the tag in brackets that the payload begins with.
func wallixTag(b []byte) []byte {
	b, _ = bytes.CutPrefix(b, []byte("wabengine: "))
	if len(b) < 8 || b[0] != '[' {
		return nil
	}
	end := bytes.IndexByte(b[:min(len(b), 24)], ']')
	if end < 0 {
		return nil
	}
	for _, t := range wallixTags {
		if string(b[1:end]) == t {
			return b[1:end]
		}
	}
	return nil
}

// quotedPairs reads key="value with \" and \\" key='value', whatever stands between.
func quotedPairs(dst []pair, b []byte) []pair {
	for len(b) > 0 && len(dst) < maxPairs {
		eq := bytes.IndexByte(b, '=')
		if eq < 0 || eq+1 >= len(b) {
			break
		}
		key := b[:eq]
		if i := bytes.LastIndexAny(key, " \t,;"); i >= 0 {
			key = key[i+1:]
		}
		b = b[eq+1:]
		if b[0] != '"' && b[0] != '\'' {
			end := bytes.IndexAny(b, " \t")
			if end < 0 {
				end = len(b)
			}
			if len(key) > 0 && isKey(key) {
				dst = append(dst, pair{key: key, val: b[:end]})
			}
			b = b[end:]
			continue
		}
		q, end, escaped := b[0], 1, false
		for end < len(b) && b[end] != q {
			if b[end] == '\\' {
				escaped = true
				end++
			}
			end++
		}
		end = min(end, len(b))
		val := b[1:end]
		if escaped {
			val = unslashed(val)
		}
		if len(key) > 0 && isKey(key) {
			dst = append(dst, pair{key: key, val: val})
		}
		b = b[min(end+1, len(b)):]
	}
	return dst
}

// unslashed takes the backslash off quotes and backslashes; others are text.
func unslashed(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] == '\\' && i+1 < len(b) && (b[i+1] == '"' || b[i+1] == '\'' || b[i+1] == '\\') {
			i++
		}
		out = append(out, b[i])
	}
	return out
}

func (e *event) wallix(tag string) {
	r := e.r
	r.Set(record.ActionService, "wallix", "")
	r.Set(record.EffectSystem, "wallix", "")
	e.set(record.SourceAddress, "/client_ip", "/src_ip")
	e.set(record.ChainSessionID, "/session_id")
	e.set(record.ChainTxn, "/psid")
	switch {
	case strings.EqualFold(tag, "wabauth"):
		e.wallixAuth()
	case strings.EqualFold(tag, "wabaudit"), tag == "wabengine":
		e.wallixAudit()
	case tag == "Vault Activity":
		e.wallixVault()
	default:
		e.wallixSession(tag)
	}
}

// wallixUser is the primary account; the Bastion writes a text in brackets where
// it knows none.
func (e *event) wallixUser() said {
	who := e.says("/user")
	if len(who.v) > 0 && who.v[0] == '[' {
		return said{}
	}
	return who
}

const wallixKind = "wallix_user"

func (e *event) wallixAuth() {
	r := e.r
	r.Set(record.ActionTool, "wabauth", "")
	e.set(record.ActionOperation, "/action")
	infos := e.says("/infos")
	e.tell(record.Message, infos)
	switch status := e.says("/status"); strings.ToLower(string(status.v)) {
	case "success":
		r.Set(record.DecisionEffect, record.Allow, status.prov)
		e.status(record.Success, status.prov)
		r.Set(record.EffectChanged, record.No, status.prov)
	case "failure", "failed":
		e.status(record.Denied, status.prov)
		e.wallixWhy(infos)
	case "canceled", "cancel", "cancelled":
		e.status(record.Failure, status.prov)
		e.wallixWhy(infos)
	default: // started
		e.status(record.Unknown, status.prov)
	}
	who := e.wallixUser()
	if words(infos.v, "(apikey)", "api key") {
		e.actor(record.Unknown, who, wallixKind, "wallix")
		r.Set(record.CredentialKind, "api_key", infos.prov)
		r.SetAbsent("requester", record.NotEstablished)
	} else {
		e.ownLogin(who, wallixKind, "wallix")
	}
	if r.Get(record.OutcomeStatus) != record.Success {
		e.refused()
	}
}

// wallixWhy reads "diagnostic [Authentication failed: account locked]".
func (e *event) wallixWhy(infos said) {
	if _, why, ok := bytes.Cut(infos.v, []byte("[")); ok {
		e.put(record.OutcomeDetail, bytes.TrimRight(why, "]. "), infos.prov)
	}
}

func (e *event) wallixAudit() {
	r := e.r
	r.Set(record.ActionTool, "wabaudit", "")
	op, kind := e.says("/action"), e.says("/type")
	e.tell(record.ActionOperation, op)
	e.tell(record.TargetType, kind)
	e.set(record.TargetID, "/object")
	infos := e.says("/infos")
	e.tell(record.Message, infos)
	who := e.wallixUser()
	e.status(record.Success, op.prov)
	if status := e.says("/status"); status.has() {
		e.status(outcome(status.v), status.prov)
	}
	if r.Get(record.OutcomeStatus) == record.Success {
		changed := record.Unknown
		switch strings.ToLower(string(op.v)) {
		case "list", "view", "download", "log", "export":
			changed = record.No
		case "add", "edit", "delete", "save", "restore", "terminate", "unlock", "change", "import":
			changed = record.Yes
		}
		r.Set(record.EffectChanged, changed, op.prov)
	}
	switch {
	case strings.EqualFold(string(kind.v), "Answer") && words(op.v, "add", "edit", "answer"):
		// Who answers is not who asked.
		e.actor(loginType(who.v), who, wallixKind, "wallix")
		e.tell(record.ApprovalApprover, who)
		e.set(record.ApprovalRequestID, "/object")
		r.SetAbsent("requester", record.NotEstablished)
		yes, no := words(infos.v, "accept", "approved"), words(infos.v, "reject", "refus", "denied")
		switch {
		case yes && !no:
			r.Set(record.DecisionEffect, record.Allow, infos.prov)
			e.add(record.Attributes, []byte("approval=approved"), infos.prov)
		case no && !yes:
			r.Set(record.DecisionEffect, record.Deny, infos.prov)
			e.add(record.Attributes, []byte("approval=denied"), infos.prov)
		}
		return
	case strings.EqualFold(string(kind.v), "Approval") && words(op.v, "add"):
		e.set(record.ApprovalRequestID, "/object")
		e.add(record.Attributes, []byte("approval=requested"), kind.prov)
	case strings.EqualFold(string(kind.v), "Apikey") && r.Get(record.OutcomeStatus) == record.Success:
		e.set(record.CredentialID, "/object")
		r.Set(record.CredentialKind, "api_key", kind.prov)
		switch strings.ToLower(string(op.v)) {
		case "add":
			r.Set(record.CredentialEventOp, "issue", op.prov)
		case "delete":
			r.Set(record.CredentialEventOp, "revoke", op.prov)
		}
		if r.Has(record.CredentialEventOp) && who.has() {
			e.delegate(record.Delegation{Principal: e.text(who.v)}, who.prov)
		}
	}
	e.ownLogin(who, wallixKind, "wallix")
}

func (e *event) wallixVault() {
	r := e.r
	op := e.says("/action")
	e.tell(record.ActionOperation, op)
	r.Set(record.ActionTool, "vault", "")
	e.ownLogin(e.wallixUser(), wallixKind, "wallix")
	account := e.says("/account")
	e.tell(record.TargetID, account)
	r.Set(record.TargetType, "account", "")
	e.attest("vault", e.says("/vault"))
	e.tell(record.CredentialID, account)
	r.Set(record.CredentialKind, "password", "")
	r.Set(record.CredentialIssuer, "wallix", "")
	result := e.says("/result")
	switch {
	case words(result.v, "denied", "not allowed", "unauthorized", "refused"):
		e.status(record.Denied, result.prov)
	case words(result.v, "unsuccessful", "fail", "error"):
		e.status(record.Failure, result.prov)
	case words(result.v, "success"):
		e.status(record.Success, result.prov)
	}
	if r.Get(record.OutcomeStatus) == record.Success {
		if words(op.v, "checkout") {
			r.Set(record.CredentialEventOp, "issue", op.prov)
		}
	} else {
		e.tell(record.OutcomeDetail, result)
	}
}

// wallixSession reads an event of a session: the primary account works on the
// device with the secondary account.
func (e *event) wallixSession(tag string) {
	r := e.r
	kind := e.says("/type", "/action")
	e.tell(record.ActionOperation, kind)
	account, device, service := e.says("/account"), e.says("/device", "/target_host"), e.says("/service")
	if target := e.says("/target"); target.has() && !device.has() {
		// account@domain@device:service, as the user names it
		if at := bytes.LastIndexByte(target.v, '@'); at > 0 {
			host, rest, _ := bytes.Cut(target.v[at+1:], []byte(":"))
			rest, _, _ = bytes.Cut(rest, []byte(":"))
			device = said{host, target.prov}
			service = service.or(said{rest, target.prov})
			account = account.or(said{target.v[:at], target.prov})
		}
	}
	e.tell(record.ActionTool, service)
	if !service.has() {
		r.Set(record.ActionTool, tag, "")
	}
	if host := device.or(e.says("/target_ip", "/host")); host.has() {
		e.tell(record.TargetID, host)
		r.Set(record.TargetType, "host", "")
		if device.has() {
			e.set(record.TargetName, "/target_ip", "/host")
		}
	}
	e.attest("command", e.says("/command_line", "/command"))
	if string(kind.v) != "KBD_INPUT" { // keys may be a password's
		e.attest("data", e.says("/data"))
	}
	e.attest("duration", e.says("/duration"))
	who := e.wallixUser()
	e.asker(loginType(who.v), who, wallixKind, "wallix", fromLogin)
	if account.has() {
		e.account(account, device, "")
	} else if who.has() {
		e.actor(loginType(who.v), who, wallixKind, "wallix")
	}
	e.wallixSessionOutcome(kind)
}

func (e *event) wallixSessionOutcome(kind said) {
	r := e.r
	op := string(kind.v)
	r.Set(record.EffectChanged, record.Unknown, "")
	switch {
	case op == "SESSION_ESTABLISHED_SUCCESSFULLY":
		e.add(record.Attributes, []byte("session=start"), kind.prov)
		r.Set(record.DecisionEffect, record.Allow, kind.prov)
		e.status(record.Success, kind.prov)
	case op == "SESSION_DISCONNECTION" || op == "SESSION_CLOSED" || op == "DISCONNECTION":
		e.add(record.Attributes, []byte("session=end"), kind.prov)
		e.status(record.Success, kind.prov)
	case strings.HasPrefix(op, "KILL_"):
		e.status(record.Denied, kind.prov)
		e.set(record.DecisionPolicyID, "/pattern")
		e.noPolVer = true
	case strings.HasPrefix(op, "AUTHENTICATION_FAIL"):
		e.status(record.Denied, kind.prov)
		e.set(record.OutcomeDetail, "/method", "/reason")
		e.refused()
	case words(kind.v, "rejected", "denied", "refused", "forbidden"):
		e.status(record.Denied, kind.prov)
		e.set(record.OutcomeDetail, "/reason", "/infos")
	case words(kind.v, "fail", "error"):
		e.status(record.Failure, kind.prov)
		e.set(record.OutcomeDetail, "/reason", "/infos", "/data")
	case op != "":
		e.status(record.Success, kind.prov)
	}
}

// wallixCEF reads the Bastion's CEF: suser is the primary account, duser the secondary.
func (e *event) wallixCEF() {
	head, ok := e.openCEF(false)
	if !ok {
		return
	}
	r := e.r
	if e.env.pri < 0 {
		e.put(record.SourceSeverity, lower(bytes.Clone(head[5])), cefHeader[5])
	}
	r.Set(record.ActionService, "wallix", "")
	r.Set(record.EffectSystem, "wallix", "")
	op := said{head[4], cefHeader[4]}
	e.tell(record.ActionOperation, op)
	e.set(record.ActionTool, "/app", "/WallixWABservice")
	e.set(record.SourceAddress, "/src")
	e.set(record.ChainSessionID, "/WallixWABsession_id", "/WallixWABsessionid", "/externalId")
	e.set(record.Message, "/msg")
	e.cefTime("/rt", "/start", "/end")
	who := e.says("/suser")
	account, host := e.says("/duser"), e.says("/dhost", "/dst")
	if !account.has() {
		e.set(record.TargetID, "/WallixWABobject")
		e.set(record.TargetType, "/WallixWABtype")
		e.ownLogin(who, wallixKind, "wallix")
		if v := e.says("/outcome", "/WallixWABstatus"); v.has() {
			e.status(outcome(v.v), v.prov)
		} else {
			e.status(record.Success, op.prov)
		}
		return
	}
	e.asker(loginType(who.v), who, wallixKind, "wallix", fromLogin)
	e.tell(record.TargetID, host)
	r.Set(record.TargetType, "host", "")
	e.account(account, host, "")
	e.wallixSessionOutcome(op)
}
