package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// beyondTrustText and beyondTrustJSON decode BeyondTrust: Privileged Remote
// Access and Remote Support (by "Syslog message reference"), BeyondInsight and
// Password Safe (CEF, LEEF and text), and the event log of EPM for Unix and Linux.
func beyondTrustText() format {
	return format{
		name: "beyondtrust", product: "BeyondTrust", issuer: "beyondtrust",
		shape: shapeText,
		match: func(e *event) bool {
			b := e.payload
			return e.cefFrom("BeyondTrust") || e.leefFrom("BeyondTrust") || string(e.env.app) == "BG" || remoteAccess(b) || passwordSafe(b) || pbrun(b)
		},
		decode: func(e *event) {
			e.noDecide = true
			switch b := e.payload; {
			case cefStart(b) >= 0:
				if head, ok := e.openCEF(false); ok {
					if e.env.pri < 0 {
						e.put(record.SourceSeverity, lower(bytes.Clone(head[5])), cefHeader[5])
					}
					e.beyondInsight(said{head[3], cefHeader[3]}, said{head[4], cefHeader[4]})
				}
			case leefStart(b) >= 0:
				if head, ok := e.openLEEF(); ok {
					e.beyondInsight(e.says("/cat"), said{head[3], leefHeader[3]})
				}
			case passwordSafe(b):
				e.taken(colonPairs(e.pairs[:0], b))
				e.beyondInsight(e.says("/AgentID"), e.says("/EventDesc", "/EventName"))
			case pbrun(b):
				e.taken(quotedPairs(e.pairs[:0], b))
				e.pbrun()
			default:
				e.remoteAccess()
			}
		},
		guide: guide{
			userSet: []string{
				"/external_key: typed by whoever starts the session",
				"/EventDesc: repeats names that somebody chose",
				"/msg: repeats names that somebody chose",
				"/runargv: what is typed at pbrun",
			},
			emit: map[Part]string{
				PartRequester:  "Remote Access: `who`, the name in brackets, unless it is an API account; Password Safe: `suser`/`UserName`/`User:`; EPM-UL: `submituser`",
				PartExecutor:   "the same for what is done in the product; EPM-UL: `runuser`; Remote Access: the account a session uses, where the event names it",
				PartTool:       "`event` or the event's description; EPM-UL: `runcommand` and `runargv`",
				PartPermission: "Password Safe: `RoleUsed`; the others do not say it",
				PartDecision:   "EPM-UL: `event=Accept|Reject` with `lineinfile` and `linenum`, the rule of the policy; Password Safe: the operations of approvers",
				PartOutcome:    "`status` with `reason`; Password Safe: `Failed` or `Result`; EPM-UL: `exitstatus` of the Finish event",
				PartChain:      "Remote Access: `lsid`, and `session_id` in its reports; EPM-UL: `uniqueid` ties Accept and Finish",
			},
		},
	}
}

func beyondTrustJSON() format {
	return format{
		name: "beyondtrust", product: "BeyondTrust", issuer: "beyondtrust",
		shape: shapeJSON,
		match: func(e *event) bool {
			t, o := &e.doc, e.root
			if t.get(o, "submituser") != 0 && (t.get(o, "runuser") != 0 || t.get(o, "runhost") != 0 || t.get(o, "masterhost") != 0) {
				return true
			}
			return t.get(o, "event_type") != 0 && t.get(o, "timestamp") != 0 && (e.has("/performed_by/type") || t.get(o, "jump_group") != 0 && t.get(o, "session_id") != 0)
		},
		decode: func(e *event) {
			e.noDecide = true
			if e.has("/submituser") {
				e.pbrun()
				return
			}
			e.remoteReport()
		},
	}
}

// taken makes pairs the payload.
func (e *event) taken(pairs []pair) {
	e.pairs = pairs
	e.paired, e.isPair, e.pairFault = true, true, ""
	e.markTwice()
	e.pairFaults()
}

const beyondKind = "beyondtrust_user"

// remoteAccess: "1427:01:01:event=login;site=…;when=…;who=…;who_ip=…", or without the numbers.
func remoteAccess(b []byte) bool {
	_, rest, numbered := segment(b)
	if numbered {
		b = rest
	}
	i := bytes.IndexByte(b[:min(len(b), 32)], '=')
	if i <= 0 || !numbered && !bytes.Contains(b, []byte(";who_ip=")) {
		return false
	}
	return numbered && bytes.IndexByte(b, ';') > 0 || bytes.Contains(b, []byte(";when=")) || bytes.HasPrefix(b, []byte("when="))
}

// segment reads "1427:02:03:": message, part, parts.
func segment(b []byte) (n [3]int, rest []byte, ok bool) {
	for i := range n {
		end := bytes.IndexByte(b[:min(len(b), 12)], ':')
		if end <= 0 {
			return n, nil, false
		}
		if n[i], ok = digits(b[:end]); !ok {
			return n, nil, false
		}
		b = b[end+1:]
	}
	return n, b, true
}

// semicolonFields reads key=value;key=value. Values escape with a backslash.
func semicolonFields(dst []pair, b []byte) []pair {
	for len(b) > 0 && len(dst) < maxPairs {
		end, escaped := 0, false
		for end < len(b) && b[end] != ';' {
			if b[end] == '\\' {
				escaped = true
				end++
			}
			end++
		}
		end = min(end, len(b))
		key, val, ok := bytes.Cut(b[:end], []byte("="))
		if ok && len(key) > 0 && len(key) <= 128 {
			if escaped {
				val = bytes.ReplaceAll(bytes.ReplaceAll(val, []byte(`\;`), []byte(";")), []byte(`\=`), []byte("="))
			}
			dst = append(dst, pair{key: bytes.TrimSpace(key), val: bytes.TrimSpace(val)})
		}
		b = b[min(end+1, len(b)):]
	}
	return dst
}

// remoteAccess reads an event of Privileged Remote Access or Remote Support. A
// long event comes in several messages: what the cut goes through is not taken.
func (e *event) remoteAccess() {
	r := e.r
	b := e.payload
	n, rest, numbered := segment(b)
	if numbered {
		b = rest
	}
	pairs := semicolonFields(e.pairs[:0], b)
	if numbered && n[2] > 1 {
		if n[1] > 1 && len(pairs) > 0 {
			pairs = pairs[1:]
		}
		if n[1] < n[2] && len(pairs) > 0 && !bytes.HasSuffix(b, []byte(";")) {
			pairs = pairs[:len(pairs)-1]
		}
		e.add(record.Attributes, e.cat([]byte("segment="), []byte(decimal(n[1])), []byte("/"), []byte(decimal(n[2]))), "/segment")
	}
	e.taken(pairs)
	r.Set(record.SourceProduct, "BeyondTrust Remote Access", "")
	e.time("/when")
	op := e.says("/event")
	e.tell(record.ActionOperation, op)
	r.Set(record.ActionService, "beyondtrust_remote_access", "")
	e.set(record.ActionServer, "/site")
	e.set(record.SourceAddress, "/who_ip")
	e.set(record.ChainSessionID, "/lsid", "/session_id")
	e.attest("external_key", e.says("/external_key"))
	target := e.says("/target")
	e.remoteWho(op, target)
	e.remoteOutcome(op)
	e.remoteTarget(op, target)
}

// remoteWho reads "Alice Adams (alice@example.com) using saml": the name in the
// last brackets signed in. Accounts of the API have a key of 40 hex digits there.
func (e *event) remoteWho(op, target said) {
	r := e.r
	who := e.says("/who")
	v := who.v
	if i := bytes.LastIndex(v, []byte(" using ")); i > 0 {
		// A name may hold the word too; the method is one word at the end.
		if how := v[i+len(" using "):]; !bytes.ContainsAny(how, " ()") {
			e.attest("auth_method", said{how, who.prov})
			v = v[:i]
		}
	}
	display, id := v, []byte(nil)
	if i := bytes.LastIndex(v, []byte(" (")); i >= 0 && bytes.HasSuffix(v, []byte(")")) {
		display, id = v[:i], v[i+2:len(v)-1]
	}
	hex := len(id) >= 32 && len(id) <= 64 && len(bytes.Trim(id, "0123456789abcdef")) == 0
	switch s := strings.ToLower(string(v[:min(len(v), 16)])); {
	case len(v) == 0 || s == "unknown" || s == "system":
		r.SetAbsent("requester", record.NotEstablished)
		r.SetAbsent("executor", record.NotEstablished)
	case hex || string(op.v) == "token" || string(target.v) == "web/api":
		if len(id) == 0 {
			id = v
		}
		e.actor(record.ServiceAccount, said{id, who.prov}, "api_account", "beyondtrust")
		e.put(record.ExecutorName, display, who.prov)
		r.SetAbsent("requester", record.NotEstablished)
	case len(id) > 0:
		e.ownLogin(said{id, who.prov}, beyondKind, "beyondtrust")
		e.put(record.RequesterName, display, who.prov)
	default:
		e.ownLogin(said{v, who.prov}, beyondKind, "beyondtrust")
	}
}

func (e *event) remoteOutcome(op said) {
	r := e.r
	status := e.says("/status")
	login := words(op.v, "login", "token", "auth")
	switch {
	case words(status.v, "fail") && login:
		e.status(record.Denied, status.prov)
		e.refused()
	case words(status.v, "denied", "unauthorized"):
		e.status(record.Denied, status.prov)
	case words(status.v, "fail", "error"):
		e.status(record.Failure, status.prov)
	case words(status.v, "success") || op.has() && !status.has():
		e.status(record.Success, status.or(op).prov)
	case op.has():
		e.status(record.Unknown, "")
	}
	e.set(record.OutcomeDetail, "/reason")
	if r.Get(record.OutcomeStatus) != record.Success {
		return
	}
	switch {
	case words(op.v, "_added", "_changed", "_removed", "_deleted", "_created", "_edited", "_import", "_upgrade"):
		r.Set(record.EffectChanged, record.Yes, op.prov)
	case words(op.v, "login", "logout", "token", "report", "download"):
		r.Set(record.EffectChanged, record.No, op.prov)
	}
	if string(op.v) == "token" {
		r.Set(record.CredentialEventOp, "issue", op.prov)
		r.Set(record.CredentialKind, "access_token", "")
		r.Set(record.CredentialIssuer, "beyondtrust", "")
	}
}

func (e *event) remoteTarget(op, target said) {
	r := e.r
	session := strings.HasPrefix(string(op.v), "session_") || strings.HasPrefix(string(op.v), "support_session")
	if session {
		host := e.says("/hostname", "/computer_name", "/client_computer_name", "/customer_computer_name", "/target_host", "/endpoint", "/jump_item:hostname", "/jump_item:name", "/target")
		if host.has() {
			e.tell(record.TargetID, host)
			r.Set(record.TargetType, "host", "")
		}
		if account := e.says("/credential:username", "/vault_account:name", "/injected_account", "/account_name"); account.has() && r.Has(record.RequesterID) {
			e.account(account, host, "")
		}
		switch string(op.v) {
		case "session_start", "support_session_start", "session_started":
			e.add(record.Attributes, []byte("session=start"), op.prov)
		case "session_end", "support_session_end", "session_ended":
			e.add(record.Attributes, []byte("session=end"), op.prov)
		}
		return
	}
	object, _, _ := bytes.Cut(op.v, []byte("_"))
	if name := e.says("/new_username", "/old_username", "/username", "/new_name", "/old_name", "/name", "/new_id", "/old_id", "/id"); name.has() && len(object) < len(op.v) {
		e.tell(record.TargetID, name)
		if i := bytes.LastIndexByte(op.v, '_'); i > 0 {
			e.put(record.TargetType, op.v[:i], op.prov)
		}
		return
	}
	e.tell(record.TargetID, target)
}

// remoteReport reads an event of a session or of the vault from the reporting API.
func (e *event) remoteReport() {
	r := e.r
	r.Set(record.SourceProduct, "BeyondTrust Remote Access", "")
	e.time("/timestamp")
	op := e.says("/event_type")
	e.tell(record.ActionOperation, op)
	r.Set(record.ActionService, "beyondtrust_remote_access", "")
	e.set(record.ChainSessionID, "/session_id", "/lsid")
	e.attest("jump_group", e.says("/jump_group/name"))
	who, name := e.says("/performed_by/id", "/performed_by/gsnumber"), e.says("/performed_by/name")
	switch typ := strings.ToLower(string(e.str("/performed_by/type"))); {
	case typ == "":
		r.SetAbsent("requester", record.NotEstablished)
		r.SetAbsent("executor", record.NotEstablished)
	case strings.Contains(typ, "system"):
		e.actor(record.Workload, who.or(name), beyondKind, "beyondtrust")
	case strings.Contains(typ, "api"):
		e.actor(record.ServiceAccount, who.or(name), "api_account", "beyondtrust")
		e.tell(record.ExecutorName, name)
	case strings.Contains(typ, "customer"):
		e.actor(record.Unknown, name.or(who), "customer", "beyondtrust")
	default: // user, representative
		e.ownLogin(who.or(name), beyondKind, "beyondtrust")
		e.tell(record.RequesterName, name)
	}
	e.set(record.SourceAddress, "/performed_by/private_ip", "/performed_by/public_ip")
	e.status(record.Success, op.prov)
	switch {
	case words(op.v, "session start"):
		e.add(record.Attributes, []byte("session=start"), op.prov)
	case words(op.v, "session end"):
		e.add(record.Attributes, []byte("session=end"), op.prov)
	}
	if account := e.says("/account_id"); account.has() {
		e.tell(record.TargetID, account)
		r.Set(record.TargetType, "account", "")
		e.tell(record.CredentialID, account)
		r.Set(record.CredentialKind, "password", "")
		r.Set(record.CredentialIssuer, "beyondtrust", "")
		switch {
		case words(op.v, "checked out", "checkout"):
			r.Set(record.CredentialEventOp, "issue", op.prov)
		case words(op.v, "checked in", "checkin"):
			r.Set(record.CredentialEventOp, "revoke", op.prov)
		case words(op.v, "password changed", "rotated"):
			r.Set(record.CredentialEventOp, "renew", op.prov)
			e.set(record.CredentialEventCause, "/data")
			r.Set(record.EffectChanged, record.Yes, op.prov)
		}
	}
}
