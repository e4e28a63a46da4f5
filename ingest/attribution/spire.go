package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// spire decodes what SPIRE's server and agent log as JSON: the audit log of the
// server's and the agent's APIs (`audit_log_enabled`), and what both say of the
// identities that they make, renew and end.
func spire() format {
	return format{
		name: "spire", product: "SPIRE", issuer: "spire",
		shape: shapeJSON,
		keys:  []string{"msg"},
		match: func(e *event) bool {
			t, o := &e.doc, e.root
			return t.get(o, "msg") != 0 && e.spireLine(func(key string) bool { return t.get(o, key) != 0 })
		},
		decode: decodeSPIRE,
		guide:  spireGuide,
	}
}

// spireText takes the same as key=value, which is SPIRE's default.
func spireText() format {
	return format{
		name: "spire", product: "SPIRE", issuer: "spire",
		shape: shapePairs,
		match: func(e *event) bool {
			return len(e.pair("msg")) > 0 && e.spireLine(func(key string) bool { return len(e.pair(key)) > 0 })
		},
		decode: decodeSPIRE,
	}
}

// spireLine reports whether a line with a message is SPIRE's.
func (e *event) spireLine(has func(key string) bool) bool {
	if e.src.Format == "spire" {
		return true
	}
	switch string(e.env.app) {
	case "spire-server", "spire-agent":
		return true
	}
	if string(e.str("/type")) == "audit" {
		return has("service") && has("method") && (has("authorized_via") || has("authorized_as") || has("caller_addr") || has("caller_id"))
	}
	return has("subsystem_name") && (has("spiffe_id") || has("caller_id") || has("node_attestor_type") || has("agent_id") || has("entry_id") ||
		has("registered") && has("pid"))
}

// given reports whether the line has a value for the key.
func (e *event) given(key string) bool { return len(e.str("/"+key)) > 0 }

func decodeSPIRE(e *event) {
	r := e.r
	e.noPolVer = true
	e.time("/time", "/ts", "/timestamp")
	e.set(record.SourceSeverity, "/level")
	e.set(record.ChainRequestID, "/request_id")
	e.clientAddress("/caller_addr", "/address")
	r.Set(record.ActionService, "spire", "")
	if string(e.str("/type")) != "audit" && !e.given("method") {
		e.spireNews()
		return
	}
	e.set(record.ActionTool, "/service")
	method := string(e.set(record.ActionOperation, "/method"))
	if service := e.str("/service"); len(service) > 0 {
		e.put(record.AuthorityPermission, e.cat(service, []byte("/"), []byte(method)), "/method")
	}
	e.set(record.Message, "/msg")
	e.spireCaller()
	e.spireOutcome()
	e.spireTarget(method)
	e.spireIdentity(method)
	e.spireAttributes()
}

// spireCaller: the API's caller acted. Who asked it is not in SPIRE's log.
func (e *event) spireCaller() {
	r := e.r
	if id := e.str("/caller_id"); len(id) > 0 {
		e.executor(spiffeType(string(id)), id, "/caller_id")
		e.put(record.ExecutorSPIFFEID, id, "/caller_id")
		r.Set(record.ExecutorIDKind, "spiffe_id", "")
		e.put(record.ExecutorIssuer, trustDomain(id), "/caller_id")
	} else if uid := e.str("/caller_uid"); len(uid) > 0 {
		// A call through the socket on the server's host: an account, whoever has it.
		e.executor(record.Unknown, uid, "/caller_uid")
		e.put(record.ExecutorLocalAccount, uid, "/caller_uid")
		r.Set(record.ExecutorIDKind, "uid", "")
		e.put(record.ExecutorIssuer, e.env.host, "header:HOSTNAME")
	} else {
		r.SetAbsent("executor", record.NotEstablished)
	}
	e.add(record.AuthorityRoles, e.str("/authorized_as"), "/authorized_as")
}

// spiffeType tells what an identity names. SPIRE's own agents are no AI agents.
func spiffeType(id string) string {
	if strings.Contains(id, "/spire/agent/") || strings.Contains(id, "/spire/server") {
		return record.Workload
	}
	return principalType(id)
}

// trustDomain is "spiffe://example.com" of an identity.
func trustDomain(id []byte) []byte {
	rest, ok := bytes.CutPrefix(id, []byte("spiffe://"))
	if !ok {
		return nil
	}
	if i := bytes.IndexByte(rest, '/'); i >= 0 {
		return id[:len("spiffe://")+i]
	}
	return id
}

func (e *event) spireOutcome() {
	r := e.r
	code := string(e.set(record.OutcomeCode, "/status_code"))
	e.set(record.OutcomeDetail, "/status_message", "/error")
	from := "/status"
	status := record.Unknown
	switch s := strings.ToLower(string(e.str(from))); {
	case code == "PermissionDenied" || code == "Unauthenticated" || s == "permissiondenied" || s == "unauthenticated":
		status = record.Denied
		if code != "" {
			from = "/status_code"
		}
	case s == "success" || s == "ok":
		status = record.Success
	case s != "":
		status = record.Failure
	case code == "OK":
		status, from = record.Success, "/status_code"
	case code != "":
		status, from = record.Failure, "/status_code"
	}
	r.Set(record.OutcomeStatus, status, from)
	switch {
	case status == record.Denied:
		r.Set(record.DecisionEffect, record.Deny, from)
		e.set(record.DecisionReason, "/status_message")
	case e.given("authorized_via") || e.given("authorized_as"):
		r.Set(record.DecisionEffect, record.Allow, "/authorized_as")
	}
	if string(e.str("/msg")) == "No identity issued" { // the agent knows the process, and has nothing for it
		r.Set(record.OutcomeStatus, record.Denied, "/msg")
		r.Set(record.DecisionEffect, record.Deny, "/msg")
	}
	if via := e.str("/authorized_via"); len(via) > 0 {
		e.put(record.DecisionReason, e.cat([]byte("authorized via "), via), "/authorized_via")
	}
}

func (e *event) spireTarget(method string) {
	r := e.r
	pick := func(kind string, pointers ...string) bool {
		if e.set(record.TargetID, pointers...) == nil {
			return false
		}
		r.Set(record.TargetType, kind, "")
		return true
	}
	agents := strings.Contains(method, "Agent") || strings.Contains(method, "JoinToken")
	switch {
	case strings.Contains(method, "Entry") || strings.Contains(method, "Entries"):
		if pick("entry", "/entry_id") {
			e.set(record.TargetName, "/spiffe_id")
		} else {
			pick("entry", "/spiffe_id")
		}
	case agents:
		pick("spire_agent", "/spiffe_id", "/agent_id", "/agent_spiffe_id")
	case strings.Contains(method, "Authority"):
		pick("authority", "/authority_id", "/local_authority_id", "/subject_key_id")
	case strings.Contains(method, "Bundle") || strings.Contains(method, "Federation"):
		pick("bundle", "/trust_domain_id", "/trust_domain")
	default:
		pick("identity", "/spiffe_id")
	}
	changed, prov := record.Unknown, "/method"
	switch {
	case r.Get(record.OutcomeStatus) == record.Denied || r.Get(record.OutcomeStatus) == record.Failure:
		changed, prov = record.No, r.Prov(record.OutcomeStatus)
	case r.Get(record.OutcomeStatus) != record.Success:
	case spireIssued[method][0] == "" && words([]byte(method), "Get", "List", "Count", "Fetch", "Validate", "Watch", "Stream", "Check", "Debug"):
		changed = record.No
	default:
		changed = record.Yes
		r.Set(record.EffectSystem, "spire", "")
	}
	r.Set(record.EffectChanged, changed, prov)
}

// spireIssued are the methods that make, renew and end identities: the operation
// and the kind of credential.
var spireIssued = map[string][2]string{
	"MintX509SVID": {"issue", "x509_svid"}, "NewX509SVID": {"issue", "x509_svid"}, "BatchNewX509SVID": {"issue", "x509_svid"},
	"NewDownstreamX509CA": {"issue", "x509_ca"}, "MintJWTSVID": {"issue", "jwt_svid"}, "NewJWTSVID": {"issue", "jwt_svid"},
	"FetchJWTSVID": {"issue", "jwt_svid"}, "AttestAgent": {"issue", "x509_svid"}, "RenewAgent": {"renew", "x509_svid"}, "CreateJoinToken": {"issue", "join_token"},
	"BanAgent": {"revoke", "x509_svid"}, "DeleteAgent": {"revoke", "x509_svid"}, "BatchDeleteEntry": {"revoke", "x509_svid"}, "DeleteEntry": {"revoke", "x509_svid"},
	"PrepareX509Authority": {"issue", "x509_ca"}, "PrepareJWTAuthority": {"issue", "jwt_authority"}, "TaintX509Authority": {"revoke", "x509_ca"},
	"TaintJWTAuthority": {"revoke", "jwt_authority"}, "RevokeX509Authority": {"revoke", "x509_ca"}, "RevokeJWTAuthority": {"revoke", "jwt_authority"},
}

// spireIdentity reads the identity that a call made or ended.
func (e *event) spireIdentity(method string) {
	r := e.r
	what, ok := spireIssued[method]
	if !ok || r.Get(record.OutcomeStatus) != record.Success {
		return
	}
	r.Set(record.CredentialEventOp, what[0], "/method")
	r.Set(record.CredentialKind, what[1], "/method")
	e.spireCredential()
	if what[0] != "revoke" && r.Has(record.ExecutorID) {
		d := record.Delegation{Principal: r.Get(record.ExecutorID), Audience: e.text(e.str("/spiffe_id")), Expires: r.Get(record.CredentialExpires)}
		e.delegate(d, r.Prov(record.ExecutorID))
	}
}

func (e *event) spireCredential() {
	r := e.r
	e.set(record.CredentialID, "/serial_num", "/serial_number", "/jti", "/authority_id", "/local_authority_id", "/subject_key_id")
	if id := e.str("/spiffe_id"); len(id) > 0 {
		e.put(record.CredentialIssuer, trustDomain(id), "/spiffe_id")
	}
	if aud := e.str("/audience"); len(aud) > 0 {
		e.put(record.CredentialAudience, bytes.Trim(aud, "[]"), "/audience")
	} else {
		e.set(record.CredentialAudience, "/audience/0")
	}
	from := e.instant(record.CredentialIssued, "/issued_at")
	for _, p := range [...]string{"/expires_at", "/expiration", "/svid_expiration"} {
		if v := e.str(p); len(v) > 0 {
			if ns, ok := parseTime(v, e.src.Zone); ok {
				r.Set(record.CredentialExpires, instant(ns), p)
				break
			}
		}
	}
	for _, p := range [...]string{"/ttl", "/x509_svid_ttl", "/jwt_svid_ttl"} {
		v := e.str(p)
		if len(v) == 0 || string(v) == "0" {
			continue
		}
		if ttl, ok := e.number(record.CredentialTTL, bytes.TrimSuffix(v, []byte("s")), p); ok && from != 0 && !r.Has(record.CredentialExpires) {
			e.expires(from, ttl, p)
		}
		break
	}
}

func (e *event) spireAttributes() {
	for _, k := range [...]string{
		"authorized_via", "entry_id", "parent_id", "dns_name", "selectors", "node_attestor_type", "caller_gid", "caller_path", "subsystem_name", "admin",
		"downstream", "federates_with", "hint", "x509_svid_ttl", "jwt_svid_ttl", "trust_domain_id", "registration_entry", "pid", "reattestable",
	} {
		if v := e.str("/" + k); len(v) > 0 && string(v) != "false" && string(v) != "0" {
			e.add(record.Attributes, e.cat([]byte(k), []byte("="), v), "/"+k)
		}
	}
}

// spireNewsOf are messages of server and agent outside the audit log that tell of
// the life of an identity: its operation, and whose act it was.
var spireNewsOf = map[string]string{
	"Signed X509 SVID": "issue", "Signed x509 SVID": "issue", "Signed JWT SVID": "issue", "Node attestation was successful": "issue", "Agent attestation request completed": "issue",
	"X509 CA prepared": "issue", "JWT key prepared": "issue", "SVID updated": "renew", "X509-SVID updated": "renew", "Successfully rotated agent SVID": "renew", "Agent SVID rotated": "renew",
	"Agent banned": "revoke", "Agent deleted": "revoke", "Agent evicted": "revoke", "Entry deleted": "revoke",
}

// spireNews reads a message outside the audit log.
func (e *event) spireNews() {
	r := e.r
	e.noDecide = true
	msg := string(e.set(record.Message, "/msg"))
	identity := e.str("/spiffe_id")
	if len(identity) == 0 {
		identity = e.str("/agent_id")
	}
	if len(identity) == 0 && !e.given("entry_id") && !e.given("node_attestor_type") && !e.given("caller_id") {
		return // about the program, not about an identity
	}
	r.Set(record.ActionOperation, r.Keep(clean([]byte(msg))), "/msg")
	e.set(record.ActionTool, "/service", "/subsystem_name")
	if e.given("caller_id") || e.given("caller_uid") {
		e.spireCaller()
	} else {
		// The program did this itself, as which it does not say.
		r.SetAbsent("executor", record.NotApplicable)
		r.SetAbsent("requester", record.NotApplicable)
	}
	if e.set(record.TargetID, "/spiffe_id", "/agent_id", "/entry_id") != nil {
		r.Set(record.TargetType, "identity", "")
	}
	status, from := record.Success, "/level"
	switch string(e.str("/level")) {
	case "error", "fatal":
		status = record.Failure
		if bytes.Contains(e.str("/error"), []byte("PermissionDenied")) || bytes.Contains(e.str("/error"), []byte("Unauthenticated")) || strings.Contains(msg, "not authorized") {
			status = record.Denied
		}
	case "warning", "warn", "debug":
		status, from = record.Unknown, ""
	}
	e.set(record.OutcomeDetail, "/error")
	op := spireNewsOf[msg]
	switch {
	case op == "" && status == record.Success:
		status, from = record.Unknown, "" // a step on the way
	case op != "" && status == record.Unknown:
		status, from = record.Success, "/msg"
	}
	r.Set(record.OutcomeStatus, status, from)
	changed := record.Unknown
	if status == record.Failure || status == record.Denied {
		changed = record.No
	} else if op != "" {
		changed = record.Yes
		r.Set(record.CredentialEventOp, op, "/msg")
		kind := "x509_svid"
		if strings.Contains(msg, "JWT") {
			kind = "jwt_svid"
		}
		r.Set(record.CredentialKind, kind, "/msg")
		e.spireCredential()
	}
	r.Set(record.EffectChanged, changed, from)
	e.spireAttributes()
}

var spireGuide = guide{
	userSet: []string{
		"/dns_name: whoever may create entries chooses it",
		"/spiffe_id: of an entry, whoever may create entries; of a caller (`caller_id`) the server verified it",
		"/hint: whoever may create entries",
		"/csr: the workload; only its key is used",
	},
	emit: map[Part]string{
		PartRequester:  "never in SPIRE's log: it names programs. What a person did with `spire-server` stands behind `caller_uid` in the host's own log (auditd, sudo)",
		PartExecutor:   "`caller_id`, the SPIFFE ID that the server verified, or `caller_uid` of a call through the local socket (`audit_log_enabled = true` in the server's and the agent's configuration)",
		PartTool:       "`service` and `method`",
		PartPermission: "`method`, and as what the caller was let in: `authorized_as` (admin, agent, downstream, local)",
		PartDecision:   "`authorized_via` (datastore, config, transport, or the policy of an OPA engine) and `status_code`",
		PartOutcome:    "`status` with `status_code` and `status_message`",
		PartChain: "`request_id`; the identities that are issued by `serial_num` (server, at level debug in older versions), `expires_at` and `audience`. " +
			"`log_format = \"json\"` keeps values whole",
	},
}
