package attribution

import (
	"bytes"
	"strings"
	"time"

	"custody/ingest/record"
)

// teleportTarget: what the event is about, by its family.
func (e *event) teleportTarget(op string) {
	r := e.r
	set := func(typ string, id ...string) bool {
		if e.set(record.TargetID, id...) == nil {
			return false
		}
		r.Set(record.TargetType, typ, "")
		return true
	}
	switch {
	case strings.HasPrefix(op, "db."):
		e.set(record.ActionTool, "/db_protocol")
		e.set(record.EffectSystem, "/db_service")
		set("database", "/db_service", "/db_uri", "/name")
		e.set(record.TargetName, "/db_name", "/schema_name")
		e.set(record.ExecutorLocalAccount, "/db_user")
		e.attribute("query", "/db_query", "/query", "/proc_name", "/procedure", "/target")
	case strings.HasPrefix(op, "mcp."):
		e.teleportMCP()
	case strings.HasPrefix(op, "app.") && (e.has("/app_name") || e.has("/app_uri")):
		set("application", "/app_name", "/app_uri")
		e.set(record.TargetName, "/app_uri", "/app_public_addr", "/public_addr")
		e.set(record.EffectSystem, "/app_name")
		e.set(record.ActionTool, "/aws_service")
		e.set(record.AuthorityPermission, "/method")
		e.set(record.ExecutorLocalAccount, "/aws_role_arn", "/aws_assumed_role", "/azure_identity", "/gcp_service_account")
		e.attribute("path", "/path")
		e.attribute("session_chunk_id", "/session_chunk_id")
		e.attribute("model", "/model", "/request_model")
	case strings.HasPrefix(op, "windows.desktop.") || strings.HasPrefix(op, "linux.desktop.") || strings.HasPrefix(op, "desktop."):
		set("host", "/desktop_name", "/desktop_addr")
		e.set(record.TargetName, "/desktop_addr")
		e.set(record.EffectSystem, "/desktop_name", "/desktop_addr")
		e.set(record.ExecutorLocalAccount, "/windows_user", "/linux_user", "/login")
		e.attribute("domain", "/windows_domain")
		e.attribute("path", "/file_path", "/directory_name")
		r.Set(record.ActionTool, "desktop", "")
	case op == "kube.request", e.has("/kubernetes_cluster") && op != "cert.create":
		e.teleportKube(op)
	case op == "session.recording.access":
		set("session_recording", "/sid")
	case op == "git.command":
		set("repository", "/path")
		e.set(record.ActionTool, "/service")
	case op == "cert.create":
		set("certificate_of", "/identity/user")
	case op == "spiffe.svid.issued":
		set("spiffe_id", "/spiffe_id")
	case strings.HasPrefix(op, "access_request."):
		set("access_request", "/id")
		e.attribute("resources", "/resource_names/0", "/resource_ids/0/name")
	case strings.HasPrefix(op, "access_list."):
		set("access_list", "/access_list_name", "/name")
		e.set(record.TargetName, "/access_list_title")
		e.attribute("member", "/members/0/member_name")
	case strings.HasPrefix(op, "saml.idp."):
		set("service_provider", "/service_provider_entity_id", "/service_provider_shortcut", "/name")
	case strings.HasPrefix(op, "okta.assignment."):
		set("okta_assignment", "/name")
		e.attribute("user", "/user")
	case strings.HasPrefix(op, "lock."):
		set("lock", "/name")
		for _, p := range []string{"user", "role", "login", "node", "server_id", "mfa_device", "access_request", "device", "bot_instance_id", "join_token"} {
			e.attribute("locked_"+p, "/target/"+p)
		}
	case strings.HasPrefix(op, "device"):
		set("device", "/device/device_id", "/device/asset_tag")
		e.set(record.TargetName, "/device/asset_tag")
	case op == "bot.join", op == "instance.join":
		e.put(record.TargetID, e.teleportToken(), "/token_name")
		r.Set(record.TargetType, "join_token", "")
		e.attribute("role", "/role")
	case strings.HasPrefix(op, "mfa."):
		set("mfa_device", "/mfa_device_uuid", "/mfa_device_name")
		e.set(record.TargetName, "/mfa_device_name")
	case op == "ssm.run":
		set("host", "/instance_id")
	case op == "user.login" || op == "user.password_change":
		set("user", "/user")
	case op == "spiffe.federation.create", e.has("/name"):
		if i := strings.LastIndexByte(op, '.'); i > 0 {
			set(op[:i], "/name")
		} else {
			set("resource", "/name")
		}
	default:
		e.teleportHost(op)
	}
}

// teleportHost: what happened on a server.
func (e *event) teleportHost(op string) {
	r := e.r
	host := e.set(record.EffectSystem, "/server_hostname", "/server_id")
	e.set(record.ExecutorLocalAccount, "/login")
	typ, file := "", ""
	switch op {
	case "exec":
		typ, file = "command", "/command"
	case "session.command":
		typ, file = "command", "/path"
	case "session.disk", "scp", "sftp":
		typ, file = "file", "/path"
	case "session.network":
		if addr := e.str("/dst_addr"); len(addr) > 0 {
			e.put(record.TargetID, e.cat(addr, []byte(":"), e.str("/dst_port")), "/dst_addr")
			r.Set(record.TargetType, "address", "")
		}
	case "port":
		typ, file = "address", "/addr"
	}
	if typ != "" && e.set(record.TargetID, file) != nil {
		r.Set(record.TargetType, typ, "")
	}
	if !r.Has(record.TargetID) && e.set(record.TargetID, "/server_hostname", "/server_id") != nil {
		r.Set(record.TargetType, "host", "")
		e.set(record.TargetName, "/server_addr")
	} else if len(host) > 0 {
		e.set(record.ActionServer, "/server_hostname", "/server_id")
	}
	switch op {
	case "exec":
		program, _, _ := bytes.Cut(e.str("/command"), []byte(" "))
		e.put(record.ActionTool, program, "/command")
	case "session.command":
		e.set(record.ActionTool, "/program")
		line := bytes.Clone(e.str("/path"))
		if n := e.find("/argv"); n != 0 && e.doc.kindOf(n) == kindArray {
			for c := e.doc.first(n); c != 0; c = e.doc.next(c) {
				line = append(append(line, ' '), e.value(c)...)
			}
		}
		e.put(record.TargetID, line, "/path")
	case "session.disk", "session.network":
		e.set(record.ActionTool, "/program")
	case "sftp", "scp":
		r.Set(record.ActionTool, op, "/event")
		e.attribute("action", "/action")
		e.attribute("target_path", "/target_path")
	default:
		e.set(record.ActionTool, "/proto")
	}
	e.attribute("server_id", "/server_id")
}

func (e *event) teleportKube(op string) {
	r := e.r
	r.Set(record.ActionTool, "kubernetes", "")
	e.set(record.EffectSystem, "/kubernetes_cluster")
	e.set(record.ActionServer, "/kubernetes_cluster")
	if !e.has("/kubernetes_users/1") { // of several nobody says which one was used
		e.set(record.ExecutorLocalAccount, "/kubernetes_users/0")
	}
	ns, pod := e.str("/kubernetes_pod_namespace"), e.str("/kubernetes_pod_name")
	switch {
	case len(pod) > 0:
		e.put(record.TargetID, e.cat(ns, []byte("/"), pod), "/kubernetes_pod_name")
		r.Set(record.TargetType, "pod", "")
	case op == "kube.request":
		if name := e.set(record.TargetName, "/resource_name"); name != nil {
			if ns := e.str("/resource_namespace"); len(ns) > 0 {
				name = e.cat(ns, []byte("/"), name)
			}
			e.put(record.TargetID, name, "/resource_name")
			e.set(record.TargetType, "/resource_kind")
		} else {
			e.set(record.TargetID, "/request_path")
			r.Set(record.TargetType, "kubernetes_path", "")
		}
		e.attribute("path", "/request_path")
		if verb := e.str("/verb"); len(verb) > 0 {
			e.put(record.AuthorityPermission, e.cat(verb, []byte(" "), e.str("/resource_kind")), "/verb")
		}
	default:
		e.set(record.TargetID, "/kubernetes_cluster")
		r.Set(record.TargetType, "kubernetes_cluster", "")
	}
	if v := e.str("/command"); len(v) > 0 {
		e.add(record.Attributes, e.cat([]byte("command="), v), "/command")
	}
}

// teleportMCP: MCP access. The client is a program that works with a user's
// certificate; what it calls itself proves nothing.
func (e *event) teleportMCP() {
	r := e.r
	e.set(record.ActionServer, "/app_name")
	e.set(record.EffectSystem, "/app_name")
	const msg = "/message"
	method := string(e.str(msg + "/method"))
	r.Set(record.TargetType, "mcp_server", "")
	switch method {
	case "tools/call":
		e.set(record.ActionTool, msg+"/params/name")
		e.set(record.AuthorityPermission, msg+"/method")
	case "resources/read", "resources/subscribe", "resources/unsubscribe":
		if e.set(record.TargetID, msg+"/params/uri") != nil {
			r.Set(record.TargetType, "mcp_resource", "")
		}
	case "prompts/get":
		if e.set(record.TargetID, msg+"/params/name") != nil {
			r.Set(record.TargetType, "mcp_prompt", "")
		}
	}
	if !r.Has(record.TargetID) && e.set(record.TargetID, "/app_name", "/app_uri") == nil {
		r.Unset(record.TargetType)
	}
	e.attribute("mcp.method", msg+"/method")
	e.attribute("jsonrpc.id", msg+"/id")
	e.attribute("mcp.client", "/client_info")
	e.attribute("mcp.server", "/server_info")
	e.attribute("mcp.session.id", "/mcp_session_id")
	e.attribute("egress_auth", "/egress_auth_type")
	e.traceParent(msg+"/params/_meta/traceparent", "/headers/Traceparent/0", "/headers/traceparent/0")
}

// teleportCredential: certificates, SVIDs and tokens that were made or taken back.
func (e *event) teleportCredential(op string) {
	r := e.r
	issue := func(kind, event string) bool {
		if r.Get(record.OutcomeStatus) != record.Success {
			return false
		}
		r.Set(record.CredentialKind, kind, "")
		r.Set(record.CredentialIssuer, "teleport", "")
		r.Set(record.CredentialEventOp, event, "/event")
		return true
	}
	switch op {
	case "cert.create":
		if !issue("teleport_certificate", "issue") {
			return
		}
		e.set(record.CredentialID, "/serial_number", "/serial", "/identity/serial_number", "/identity/serial")
		e.teleportInstant(record.CredentialExpires, "/identity/expires")
		e.set(record.CredentialAudience, "/identity/route_to_app/name", "/identity/route_to_database/service_name",
			"/identity/kubernetes_cluster", "/identity/route_to_cluster")
		e.list(record.AuthorityRoles, "/identity/roles")
		e.attributes("login", "/identity/logins")
		e.attribute("cert_type", "/cert_type")
		e.attribute("join_token", "/identity/join_token")
		if v := e.str("/identity/prev_identity_expires"); len(v) > 0 && !bytes.HasPrefix(v, []byte("0001-")) && len(e.handed) == 0 {
			if ns, ok := parseTime(v, nil); ok {
				e.delegate(record.Delegation{Principal: r.Get(record.ExecutorID), Expires: instant(ns)}, "/identity/prev_identity_expires")
			}
		}
	case "spiffe.svid.issued":
		kind := "x509_svid"
		if string(e.str("/svid_type")) == "jwt" {
			kind = "jwt_svid"
		}
		if !issue(kind, "issue") {
			return
		}
		if kind == "jwt_svid" {
			e.set(record.CredentialID, "/jti")
		} else {
			e.set(record.CredentialID, "/serial_number")
		}
		e.set(record.CredentialAudience, "/audiences/0")
		if e.set(record.DecisionPolicyID, "/workload_identity") != nil {
			e.set(record.DecisionPolicyVersion, "/workload_identity_revision")
			r.Set(record.DecisionEffect, record.Allow, "/workload_identity")
		}
		if r.Has(record.ExecutorID) {
			e.delegate(record.Delegation{Principal: r.Get(record.ExecutorID), Audience: r.Get(record.TargetID)}, r.Prov(record.ExecutorID))
		}
	case "workload_identity_x509_revocation.create":
		if issue("x509_svid", "revoke") {
			e.set(record.CredentialID, "/name")
			e.set(record.CredentialEventCause, "/reason")
		}
	case "bot.join", "instance.join", "bound_keypair.recovery":
		// What was shown to join: a token's name, or a platform's own identity token.
		if issue("teleport_certificate", "issue") {
			d := record.Delegation{Principal: r.Get(record.ExecutorID), Credential: e.text(e.teleportToken())}
			for _, p := range []string{"/attributes/sub", "/attributes/Arn", "/attributes/arn"} {
				if v := e.str(p); len(v) > 0 {
					d.Principal, d.Audience = e.text(v), d.Principal
					break
				}
			}
			e.delegate(d, "/token_name")
		}
		e.attribute("join.sub", "/attributes/sub")
		e.attribute("join.actor", "/attributes/actor")
		e.attribute("join.repository", "/attributes/repository")
		e.attribute("join.run_id", "/attributes/run_id")
	case "bound_keypair.rotation":
		issue("bound_keypair", "renew")
	case "reset_password_token.create", "recovery_token.create", "privilege_token.create":
		if issue("teleport_"+strings.TrimSuffix(op, ".create"), "issue") {
			e.teleportInstant(record.CredentialExpires, "/expires")
			e.set(record.CredentialAudience, "/name")
			if d, err := time.ParseDuration(string(e.str("/ttl"))); err == nil && d >= time.Second && d < 1<<62 {
				r.Set(record.CredentialTTL, decimal(int(d/time.Second)), "/ttl")
			}
		}
	case "recovery_code.generated":
		issue("teleport_recovery_code", "issue")
	case "recovery_code.used":
		issue("teleport_recovery_code", "use")
	case "join_token.create", "provision_token.create", "scoped_token.create", "join_token.delete", "scoped_token.delete":
		event := "issue"
		if strings.HasSuffix(op, ".delete") {
			event = "revoke"
		}
		if !issue("teleport_join_token", event) {
			return
		}
		// With the method "token" the name is the secret itself, which Teleport masks.
		name := e.str("/name")
		if m := string(e.str("/join_method")); (m == "" || m == "token") && len(name) > 0 && bytes.IndexByte(name, '*') < 0 {
			e.put(record.CredentialID, fingerprint(name), "/name")
			r.Unset(record.TargetID)
			e.put(record.TargetID, fingerprint(name), "/name")
		} else {
			e.put(record.CredentialID, name, "/name")
		}
		e.teleportInstant(record.CredentialExpires, "/expires")
		e.attribute("join_method", "/join_method")
		e.attributes("role", "/roles")
	case "saml.idp.auth":
		if issue("saml_assertion", "issue") {
			e.set(record.CredentialAudience, "/service_provider_entity_id", "/service_provider_shortcut")
		}
	case "user.login":
		// The identity provider's token that was shown.
		if e.set(record.CredentialID, "/attributes/jti") != nil {
			r.Set(record.CredentialKind, "id_token", "")
			r.Set(record.CredentialEventOp, "use", "/event")
			e.set(record.CredentialIssuer, "/attributes/iss")
			e.set(record.CredentialAudience, "/attributes/aud")
			e.instant(record.CredentialIssued, "/attributes/iat")
			e.instant(record.CredentialExpires, "/attributes/exp")
		}
		e.attribute("idp.sub", "/attributes/sub")
		e.attribute("connector", "/connector_id")
	}
}

// teleportToken is the name of the token that was joined with. With the method
// "token" it is the secret itself, which Teleport masks.
func (e *event) teleportToken() []byte {
	name := e.str("/token_name")
	if string(e.str("/method")) == "token" && len(name) > 0 && bytes.IndexByte(name, '*') < 0 {
		return fingerprint(name)
	}
	return name
}

// teleportInstant sets a time unless it is Go's zero time, which stands for none.
func (e *event) teleportInstant(f record.Field, pointer string) {
	if v := e.str(pointer); len(v) > 0 && !bytes.HasPrefix(v, []byte("0001-")) {
		e.instant(f, pointer)
	}
}

// teleportAccess: access requests, their reviews, and the requests that stand behind a session.
func (e *event) teleportAccess(op string) {
	r := e.r
	if op == "file_transfer_request" {
		e.set(record.ApprovalRequestID, "/requestID")
		if e.set(record.ApprovalApprover, "/approvers/0") != nil {
			e.mark("approval=approved", "/approvers")
		} else {
			e.mark("approval=requested", "/event")
		}
		return
	}
	if !strings.HasPrefix(op, "access_request.") || op == "access_request.search" {
		if e.set(record.ApprovalRequestID, "/access_requests/0", "/identity/access_requests/0") != nil {
			r.Set(record.ApprovalSource, "teleport", "")
		}
		if op != "session.rejected" && !strings.HasPrefix(op, "lock") {
			e.set(record.ContextPurpose, "/reason")
		}
		return
	}
	e.set(record.ApprovalRequestID, "/id")
	r.Set(record.ApprovalSource, "teleport", "")
	e.attributes("requested_role", "/roles")
	state, prov := e.str("/state"), "/state"
	switch op {
	case "access_request.create":
		e.set(record.ContextPurpose, "/reason")
		e.mark("approval=requested", "/event")
		e.attribute("state", "/state")
		return
	case "access_request.review":
		state, prov = e.str("/proposed_state"), "/proposed_state"
		e.set(record.ApprovalApprover, "/reviewer")
		e.attribute("state", "/state")
	case "access_request.update":
		if s := string(lower(state)); s != "approved" && s != "denied" && s != "promoted" {
			return
		}
		e.set(record.ApprovalApprover, "/delegator", "/updated_by", "/user")
	default:
		return
	}
	e.set(record.DecisionReason, "/reason")
	switch string(lower(state)) {
	case "approved", "promoted":
		e.mark("approval=approved", prov)
		r.Set(record.DecisionEffect, record.Allow, prov)
	case "denied":
		e.mark("approval=denied", prov)
		r.Set(record.DecisionEffect, record.Deny, prov)
	}
}

// teleportSession marks where an interval begins and ends.
func (e *event) teleportSession(op string) {
	r := e.r
	switch {
	case strings.HasSuffix(op, "session.start"):
		if r.Get(record.OutcomeStatus) == record.Success {
			e.mark("session=start", "/event")
		}
		e.attribute("initial_command", "/initial_command/0")
	case strings.HasSuffix(op, "session.end"):
		e.mark("session=end", "/event")
		if e.isTrue("/interactive") {
			r.Set(record.ContextMode, "interactive", "/interactive")
		}
		e.attribute("session_start", "/session_start")
		e.attribute("session_recording", "/session_recording")
	}
	// A program that speaks for a person, with the person's own certificate.
	if r.Get(record.ExecutorType) == record.Person && (strings.HasPrefix(op, "mcp.session.") || e.has("/beam_id")) {
		r.AddFinding(record.AgentAsHuman)
	}
}

// teleportEffect: what changed, as far as the event itself shows.
func (e *event) teleportEffect(op string) {
	r := e.r
	changed, prov := record.Unknown, "/event"
	action := string(e.str("/action"))
	last := op[strings.LastIndexByte(op, '.')+1:]
	switch {
	case r.Get(record.OutcomeStatus) == record.Denied || r.Get(record.OutcomeStatus) == record.Failure && op != "exec":
		changed, prov = record.No, r.Prov(record.OutcomeStatus)
	case op == "kube.request":
		prov = "/verb"
		switch string(lower(e.str("/verb"))) {
		case "get", "list", "watch", "head":
			changed = record.No
		case "create", "update", "patch", "delete", "deletecollection", "post", "put":
			changed = record.Yes
		}
	case op == "sftp":
		prov = "/action"
		switch action {
		case "4", "7", "8", "11", "12", "13", "16", "18", "19":
			changed = record.Yes
		case "3", "5", "6", "9", "10", "14", "15", "17":
			changed = record.No
		}
	case op == "scp":
		prov = "/action"
		switch action {
		case "upload":
			changed = record.Yes
		case "download":
			changed = record.No
		}
	case last == "create", last == "created", last == "update", last == "updated", last == "delete", last == "deleted",
		op == "spiffe.svid.issued", op == "access_request.review", op == "user.password_change", op == "recovery_code.generated":
		changed = record.Yes
		r.Set(record.EffectSystem, "teleport", "")
	case op == "session.recording.access", last == "search", op == "session.end", op == "session.data":
		changed = record.No
	}
	r.Set(record.EffectChanged, changed, prov)
}
