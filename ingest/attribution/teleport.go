package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// teleport decodes the audit events of Teleport, one JSON object to a line as
// the auth service writes them to its file and the event handler forwards them,
// or many in {"events":[…]} as the web API hands them out. It follows Teleport's
// audit event reference and the comments of its event schema.
func teleport() format {
	return format{
		name: "teleport", product: "Teleport", issuer: "teleport",
		shape:  shapeJSON,
		keys:   []string{"event", "events"},
		match:  func(e *event) bool { return e.teleportEvent(e.root) || e.pinned() && e.doc.get(e.root, "event") != 0 },
		decode: decodeTeleport,
		list: func(e *event) int32 {
			t := &e.doc
			n := root
			if t.kindOf(root) == kindObject {
				n = t.get(root, "events")
			}
			if n == 0 || t.kindOf(n) != kindArray {
				return 0
			}
			if c := t.first(n); c == 0 || !e.teleportEvent(c) {
				return 0
			}
			return n
		},
		guide: teleportGuide,
	}
}

// teleportWrapped takes events behind a prefix of text, as Fluentd's file output
// writes them: time, tag and record, separated by tabs.
func teleportWrapped() format {
	return format{
		name: "teleport", product: "Teleport", issuer: "teleport",
		shape: shapeText,
		match: func(e *event) bool {
			i := bytes.Index(e.payload[:min(len(e.payload), 256)], []byte("\t{"))
			return i >= 0 && bytes.Contains(e.payload, []byte(`"event":`)) && bytes.Contains(e.payload, []byte(`"ei":`)) &&
				bytes.Contains(e.payload, []byte(`"code":`))
		},
		decode: func(e *event) {
			if e.inner(bytes.Index(e.payload, []byte("\t{")) + 1) {
				e.innerFaults()
				decodeTeleport(e)
			}
		},
	}
}

// teleportEvent reports whether the object o has an event's envelope.
func (e *event) teleportEvent(o int32) bool {
	t := &e.doc
	if t.kindOf(o) != kindObject {
		return false
	}
	n := t.get(o, "event")
	if n == 0 || t.kindOf(n) != kindString || t.get(o, "time") == 0 {
		return false
	}
	if c := t.get(o, "code"); c != 0 && teleportCode(e.value(c)) {
		return t.get(o, "ei") != 0 || t.get(o, "uid") != 0 || t.get(o, "cluster_name") != 0 || bytes.IndexByte(e.value(n), '.') > 0
	}
	return t.get(o, "ei") != 0 && t.get(o, "uid") != 0 && t.get(o, "cluster_name") != 0
}

// teleportCode reports whether v looks like "T2000I": capitals and digits, and
// how it went at the end: information, warning, error.
func teleportCode(v []byte) bool {
	if len(v) < 5 || len(v) > 16 || v[0]-'A' > 25 || bytes.IndexByte([]byte("IWED"), v[len(v)-1]) < 0 {
		return false
	}
	digits := 0
	for _, c := range v {
		switch {
		case c-'0' < 10:
			digits++
		case c-'A' < 26:
		default:
			return false
		}
	}
	return digits >= 2
}

func decodeTeleport(e *event) {
	r := e.r
	e.noDecide = true
	e.time("/time")
	e.set(record.SourceOriginalID, "/uid")
	op := string(e.set(record.ActionOperation, "/event"))
	r.Set(record.ActionService, "teleport", "")
	e.set(record.ChainSessionID, "/sid", "/session_id")
	e.set(record.ChainRequestID, "/request/id")
	e.teleportOutcome(op)
	e.teleportTarget(op)
	e.teleportPrincipals(op)
	e.teleportCredential(op)
	e.teleportAccess(op)
	e.teleportSession(op)
	e.teleportEffect(op)

	e.list(record.AuthorityRoles, "/user_roles")
	// A desktop's events name the desktop as the remote end.
	if v := e.str("/addr.remote"); len(v) > 0 && !bytes.Equal(v, e.str("/desktop_addr")) && op != "session.connect" {
		e.put(record.SourceAddress, hostOf(v), "/addr.remote")
	} else {
		e.clientAddress("/client_ip", "/identity/client_ip", "/request/source_address", "/src_addr")
	}
	switch {
	case e.has("/trusted_device/device_id"):
		r.Set(record.DecisionPosture, "trusted_device", "/trusted_device/device_id")
	case e.has("/with_mfa"):
		r.Set(record.DecisionPosture, "mfa", "/with_mfa")
	case e.has("/mfa_device"):
		r.Set(record.DecisionPosture, "mfa", "/mfa_device")
	}
	e.attribute("code", "/code")
	e.attribute("cluster", "/cluster_name")
	e.attribute("proto", "/proto")
	e.attribute("method", "/method")
	e.attribute("beam_id", "/beam_id")
	e.attribute("device_id", "/trusted_device/device_id")
	e.userAgent("/user_agent", "/request/user_agent")
	if op != "access_request.review" {
		e.attribute("message", "/message")
	}
}

// teleportOutcome: success and error tell how it went, else the code's last
// letter; commands, queries and requests have results of their own.
func (e *event) teleportOutcome(op string) {
	r := e.r
	code := e.str("/code")
	e.put(record.OutcomeCode, code, "/code")
	last := byte(0)
	if teleportCode(code) {
		last = code[len(code)-1]
	}
	ok := e.str("/success")
	okProv := "/success"
	if len(ok) == 0 {
		ok, okProv = e.str("/status/success"), "/status/success"
	}
	detail := e.set(record.OutcomeDetail, "/error", "/status/error", "/exitError", "/status/message")
	status, prov := record.Unknown, ""
	switch {
	case string(code) == "T1012I": // a headless login that waits for its owner's answer
		status, prov = record.Unknown, "/code"
	case len(detail) > 0:
		status, prov = record.Failure, r.Prov(record.OutcomeDetail)
	case string(ok) == "false":
		status, prov = record.Failure, okProv
	case last == 'W' || last == 'E':
		status, prov = record.Failure, "/code"
	case string(ok) == "true":
		status, prov = record.Success, okProv
	case last == 'I' || last == 'D':
		status, prov = record.Success, "/code"
	}
	if status == record.Failure && (teleportGate(op) || refused(detail) || refused(e.str("/message"))) {
		status = record.Denied
	}
	switch op {
	case "session.command", "session.disk":
		if v := e.set(record.OutcomeCode, "/return_code"); len(v) > 0 {
			prov = "/return_code"
			switch string(v) {
			case "-1", "-13": // EPERM, EACCES
				status = record.Denied
			default:
				status = record.Success
				if v[0] == '-' {
					status = record.Failure
				}
			}
		}
	case "session.network":
		if v := string(e.str("/action")); v == "1" || v == "DENIED" {
			status, prov = record.Denied, "/action"
		}
	case "session.rejected":
		status, prov = record.Denied, "/event"
		e.set(record.DecisionReason, "/reason")
	case "exec", "scp":
		if v := e.set(record.OutcomeCode, "/exitCode"); len(v) > 0 {
			prov = "/exitCode"
			status = record.Failure
			if string(v) == "0" {
				status = record.Success
			}
		}
	}
	for _, p := range []string{"/response_code", "/status_code"} {
		if v := e.str(p); len(v) == 3 && (v[0]-'1' < 5) {
			e.put(record.OutcomeCode, v, p)
			status, prov = outcome(v), p
			break
		}
	}
	r.Set(record.OutcomeStatus, status, prov)
	if status == record.Denied && op != "session.command" && op != "session.disk" {
		r.Set(record.DecisionEffect, record.Deny, prov)
		if !r.Has(record.DecisionReason) {
			e.put(record.DecisionReason, detail, r.Prov(record.OutcomeDetail))
		}
	}
}

// teleportGate tells events that fail only when Teleport does not let somebody in.
func teleportGate(op string) bool {
	switch op {
	case "user.login", "auth", "bot.join", "instance.join", "recovery_code.used", "windows.desktop.session.start",
		"linux.desktop.session.start", "mfa_auth_challenge.validate", "device.authenticate", "device.authenticate.confirm",
		"bound_keypair.recovery", "bound_keypair.join_state_verification_failed":
		return true
	}
	return false
}

// teleportKind is the kind of principal that a user's name stands for, "" when
// it names nobody. A host's own identity is its UUID and the cluster, and the
// schema calls it human; bots are users too; only user_kind, a device or a
// second factor show that a user is a person.
func (e *event) teleportKind(user []byte, kind string) string {
	switch s := string(user); {
	case s == "" || s == "unimplemented":
		return ""
	case s == "system" || strings.HasPrefix(s, "@teleport-"):
		return record.Workload
	}
	if i := bytes.IndexByte(user, '.'); i == 36 && isUUID(user[:36]) || isUUID(user) {
		return record.Workload
	}
	switch strings.TrimPrefix(strings.ToLower(kind), "user_kind_") {
	case "1", "human":
		return record.Person
	case "2", "bot", "3", "system":
		return record.Workload
	}
	if bytes.HasPrefix(user, []byte("bot-")) {
		return record.Workload
	}
	if e.has("/with_mfa") || e.has("/mfa_device") || e.has("/trusted_device/device_id") || e.has("/identity/mfa_device_uuid") {
		return record.Person
	}
	if t := principalType(string(user)); t == record.Person {
		return t
	}
	return record.Unknown
}

// teleportPrincipals: user acted with a certificate of its own, unless
// impersonator names who obtained the certificate; user is then only what that
// one acted as. A bot that takes on roles is its own impersonator. A certificate
// of a delegation session names the user who lent the access and the bot that
// uses it.
func (e *event) teleportPrincipals(op string) {
	r := e.r
	at := ""
	if op == "cert.create" && e.has("/identity") {
		at = "/identity"
	}
	userAt, impAt, botAt, instAt := at+"/user", at+"/impersonator", at+"/bot_name", at+"/bot_instance_id"
	user, imp, bot := e.str(userAt), e.str(impAt), e.str(botAt)
	kind := string(e.str("/user_kind"))
	if kind == "" { // the older events of devices nest the user
		kind = string(e.str("/user/user_kind"))
	}
	plugin := false
	switch {
	case strings.HasPrefix(op, "okta.assignment."):
		user, imp = nil, nil // whom the assignment is for
	case op == "access_request.review":
		e.teleportReviewer()
		return
	case op == "access_request.update" && e.has("/delegator"):
		// A plugin passes on what somebody decided elsewhere. It has a user of its own, of the kind human.
		plugin = true
	case op == "file_transfer_request":
		user, userAt = e.str("/requester"), "/requester"
	}
	if len(user) == 0 {
		for _, p := range []string{"/user/user", "/updated_by", "/user_name", "/username"} {
			if v := e.str(p); len(v) > 0 {
				user, userAt = v, p
				break
			}
		}
	}
	r.Set(record.ExecutorIssuer, "teleport", "")
	r.Set(record.ExecutorIDKind, "teleport_user", "")
	tenant := func() {
		if r.Has(record.RequesterID) {
			e.set(record.RequesterTenant, at+"/user_cluster_name", "/user_cluster_name", "/identity/teleport_cluster", "/cluster_name")
			r.Set(record.RequesterIssuer, "teleport", "")
			r.Set(record.RequesterIDKind, "teleport_user", "")
		}
	}
	if len(bot) > 0 && string(bot) != "unknown" {
		e.executor(record.Workload, bot, botAt)
		r.Set(record.ExecutorIDKind, "teleport_bot", "")
		e.set(record.ExecutorInstance, instAt)
		own := len(user) == 0 || bytes.HasPrefix(user, []byte("bot-")) || bytes.Equal(user, bot)
		switch {
		case e.has("/delegation_session_id") && !own:
			e.requester(record.Person, user, userAt, fromLogin)
			e.delegate(record.Delegation{Principal: e.text(user), Credential: e.text(e.str("/delegation_session_id")), Audience: e.text(bot)}, userAt)
		case own:
			e.put(record.ExecutorName, user, userAt)
			r.SetAbsent("requester", record.NotEstablished)
		default:
			e.teleportActedAs(user, userAt, bot, botAt)
			r.SetAbsent("requester", record.NotEstablished)
		}
		tenant()
		return
	}
	if len(imp) > 0 && !bytes.Equal(imp, user) {
		// The kind is told from the certificate's holder: the impersonator.
		typ := e.teleportKind(imp, kind)
		e.executor(typ, imp, impAt)
		e.teleportActedAs(user, userAt, imp, impAt)
		e.teleportAsked(typ, imp, impAt, op)
		tenant()
		return
	}
	typ := e.teleportKind(user, kind)
	switch {
	case op == "instance.join" || op == "instance.leave":
		if e.set(record.ExecutorID, "/host_id", "/node_name") != nil {
			r.Set(record.ExecutorType, record.Workload, "")
			r.Set(record.ExecutorIDKind, "teleport_host", "")
			e.set(record.ExecutorName, "/node_name")
		}
		r.SetAbsent("requester", record.NotEstablished)
		return
	case typ == "":
		if !r.Has(record.RequesterID) {
			r.SetAbsent("requester", record.NotEstablished)
		}
		r.SetAbsent("executor", record.NotRecorded)
		return
	}
	if plugin {
		e.executor(record.ServiceAccount, user, userAt)
		r.SetAbsent("requester", record.NotEstablished)
		return
	}
	if op == "user.login" && typ == record.Unknown {
		if s := r.Get(record.OutcomeStatus); s == record.Success {
			typ = record.Person // bots join, people log in
		}
	}
	e.executor(typ, user, userAt)
	if typ == record.Workload && userAt == "/user" {
		e.set(record.ExecutorInstance, instAt)
	}
	e.teleportAsked(typ, user, userAt, op)
	tenant()
}

// teleportAsked: a user that Teleport let in asked for itself, unless it is a machine.
func (e *event) teleportAsked(typ string, user []byte, prov, op string) {
	r := e.r
	switch {
	case r.Has(record.RequesterID):
	case typ == record.Workload, op == "access_request.update":
		// An update that decides is about a request of somebody else, who is not named.
		r.SetAbsent("requester", record.NotEstablished)
	case (op == "user.login" || op == "auth") && r.Get(record.OutcomeStatus) != record.Success:
		e.claimed = true
		e.requester(typ, user, prov, fromParam) // who somebody tried to be
	default:
		e.requester(typ, user, prov, fromLogin)
	}
}

// teleportActedAs records the identity that was taken on. The account on a host
// keeps its own field where there is one.
func (e *event) teleportActedAs(user []byte, userAt string, who []byte, prov string) {
	if len(user) == 0 {
		return
	}
	e.put(record.ExecutorLocalAccount, user, userAt)
	e.add(record.Attributes, e.cat([]byte("acted_as="), user), userAt)
	e.delegate(record.Delegation{Principal: e.text(who), Audience: e.text(user)}, prov)
}

func (e *event) teleportReviewer() {
	r := e.r
	who := e.str("/reviewer")
	typ := e.teleportKind(who, "")
	r.Set(record.ExecutorIssuer, "teleport", "")
	r.Set(record.ExecutorIDKind, "teleport_user", "")
	if by := e.str("/submitted_by"); len(by) > 0 && !bytes.Equal(by, who) {
		e.executor(record.Workload, by, "/submitted_by")
	} else {
		e.executor(typ, who, "/reviewer")
	}
	r.SetAbsent("requester", record.NotEstablished) // whose request it was is in its creation
}

var teleportGuide = guide{
	userSet: []string{
		"/client_info: an MCP client names itself",
		"/message/params: whoever runs the MCP client chooses the arguments, trace context included",
		"/user_agent: any client",
		"/user: whoever tries to log in types it, so it proves nothing on a failed user.login or auth",
		"/delegator: a plugin repeats who decided in another product",
		"/reason: the one who asks for access or starts a session writes it",
		"/command, /db_query, /path, /query: the user's own input",
		"/node_name: set on the joining host",
	},
	emit: map[Part]string{
		PartRequester:  "`user` with `user_kind` 1 (from version 14; before it, `with_mfa` or `trusted_device` show a person); on `access_request.*` the user who asked. Nothing names a person behind a bot, except certificates of delegation sessions (`delegation_session_id`). Behind a host's identity (UUID and cluster) works whoever ran `tctl` there: forbid it and use `tsh` with `tctl` remotely",
		PartExecutor:   "`user`; for Machine ID `bot_name` and `bot_instance_id` (from version 16); under impersonation `impersonator` is who acted and `user` what it acted as",
		PartTool:       "`event`, `command`, `db_query`, `path`; `message.params.name` of `mcp.session.request` (MCP access). Commands inside an interactive session need enhanced session recording (`enhanced_recording` in the SSH service), which adds `session.command`, `session.disk` and `session.network`",
		PartPermission: "`user_roles` (from version 17); `identity.roles` of `cert.create`; the access request's `roles`",
		PartDecision:   "Teleport logs no decision for what it allows; refusals are events with a code that ends in W or E. `access_request.review` and `access_requests` name the approval: require reasons and reviews in the role's `request` section. SVIDs name their WorkloadIdentity resource and its revision",
		PartOutcome:    "`success`, `error`, the code's last letter, `exitCode`, `return_code`, `response_code`",
		PartChain:      "`sid` joins the events of a session, `uid` names the event; `access_requests` leads to the request; `bot_instance_id` to `bot.join`. Ship `cert.create` too: it shows what was issued to whom and until when",
	},
}
