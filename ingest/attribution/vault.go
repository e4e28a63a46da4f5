package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// vaultAudit decodes the audit devices of HashiCorp Vault and OpenBao: request
// and response entries, by Vault's "Audit log entry schema". Accessors stay the
// HMACs that the log holds.
func vaultAudit() format {
	return format{
		name: "vault", product: "Vault", issuer: "vault",
		shape: shapeJSON,
		match: func(e *event) bool {
			t, o := &e.doc, e.root
			req := t.get(o, "request")
			if req == 0 || t.kindOf(req) != kindObject || t.get(req, "path") == 0 && t.get(req, "operation") == 0 {
				return false
			}
			switch string(e.value(t.get(o, "type"))) {
			case "request", "response":
				return true
			}
			return false
		},
		decode: decodeVault,
	}
}

func decodeVault(e *event) {
	r := e.r
	e.noPolVer = true
	if a := e.env.app; e.src.Product == "" && (bytes.Equal(a, []byte("openbao")) || bytes.Equal(a, []byte("bao"))) {
		r.Set(record.SourceProduct, "OpenBao", "header:APP-NAME")
	}
	e.time("/time")
	kind := e.str("/type")
	if id := e.set(record.ChainRequestID, "/request/id"); id != nil {
		e.put(record.SourceOriginalID, e.cat(id, []byte("-"), kind), "/request/id")
	}
	e.set(record.ChainTraceID, "/request/headers/x-trace-id/0")
	if tp := bytes.Split(e.str("/request/headers/traceparent/0"), []byte("-")); len(tp) == 4 {
		e.put(record.ChainTraceID, tp[1], "/request/headers/traceparent/0")
		e.put(record.ChainParentID, tp[2], "/request/headers/traceparent/0")
	}
	e.set(record.SourceAddress, "/request/remote_address")
	r.Set(record.ActionService, "vault", "")
	r.Set(record.EffectSystem, "vault", "")
	mount := e.set(record.ActionTool, "/request/mount_type")
	op := string(e.set(record.ActionOperation, "/request/operation"))
	e.set(record.AuthorityPermission, "/request/operation")
	path := string(e.set(record.TargetID, "/request/path"))
	switch string(mount) {
	case "kv", "generic", "cubbyhole":
		r.Set(record.TargetType, "secret", "/request/mount_type")
	default:
		r.Set(record.TargetType, "vault_path", "")
	}
	if ns := e.str("/request/namespace/path"); len(ns) > 0 {
		e.add(record.Attributes, e.cat([]byte("namespace="), ns), "/request/namespace/path")
	}
	auth := "/auth"
	if !e.has("/auth/display_name") && !e.has("/auth/accessor") && !e.has("/auth/metadata") && e.has("/response/auth") {
		auth = "/response/auth" // a login: who it was stands in the answer only
		e.noDecide = true
	}
	e.vaultPrincipals(auth)
	e.vaultDecision()
	e.vaultOutcome(op, string(kind))
	e.vaultCredential(path, string(kind))
}

// logins are the auth methods by which people sign in. Mounts can be renamed,
// so any other prefix proves nothing.
var logins = [...]string{"userpass-", "ldap-", "okta-", "oidc-", "github-", "saml-", "radius-", "kerberos-"}

// people are the metadata that auth methods set from a verified login.
var people = [...]string{"email", "username", "user", "preferred_username"}

// vaultPrincipals: the token's identity acted. It is also the requester when a
// person signed in with it; behind a workload's token the requester is only who
// the token's metadata or a header names, which nobody verified.
func (e *event) vaultPrincipals(auth string) {
	r := e.r
	meta := auth + "/metadata"
	display := string(e.str(auth + "/display_name"))
	e.set(record.ExecutorName, auth+"/display_name")
	e.set(record.ExecutorInstance, auth+"/entity_id")
	person := false
	for _, p := range logins {
		person = person || strings.HasPrefix(display, p) && len(display) > len(p)
	}
	switch {
	case e.has(meta + "/spiffe_id"):
		id := e.set(record.ExecutorSPIFFEID, meta+"/spiffe_id")
		e.executor(principalType(string(id)), id, meta+"/spiffe_id")
		person = false
	case e.has(meta + "/service_account_name"):
		e.executor(record.ServiceAccount, e.cat([]byte("system:serviceaccount:"), e.str(meta+"/service_account_namespace"),
			[]byte(":"), e.str(meta+"/service_account_name")), meta+"/service_account_name")
		r.Set(record.ExecutorIDKind, "k8s_username", "")
		person = false
	case e.has(meta + "/agent_id"):
		e.executor(record.Agent, e.str(meta+"/agent_id"), meta+"/agent_id")
		person = false
	case person:
		e.executor(record.Person, []byte(display), auth+"/display_name")
		r.Set(record.ExecutorIDKind, "display_name", "")
	case display == "root":
		e.executor(record.Unknown, []byte(display), auth+"/display_name")
	case display != "" && display != "token" && !strings.HasPrefix(display, "token-"):
		e.executor(record.ServiceAccount, []byte(display), auth+"/display_name")
		r.Set(record.ExecutorIDKind, "display_name", "")
	case e.has(auth + "/entity_id"):
		e.executor(record.Unknown, e.str(auth+"/entity_id"), auth+"/entity_id")
		r.Set(record.ExecutorIDKind, "vault_entity", "")
	case display != "" || e.has(auth+"/accessor") || e.has("/request/client_token"):
		// A bare token: all that is known is what was borrowed.
		r.SetAbsent("executor", record.NotEstablished)
		r.AddFinding(record.ExecutorByCredentialOnly)
	}
	r.Set(record.ExecutorIssuer, "vault", "")
	e.list(record.AuthorityScopes, auth+"/policies")
	for _, k := range []string{"/role", "/role_name"} {
		if e.has(meta + k) {
			e.list(record.AuthorityRoles, meta+k)
			break
		}
	}
	e.vaultRequester(auth, display, person)
}

func (e *event) vaultRequester(auth, display string, person bool) {
	r := e.r
	meta := auth + "/metadata"
	if person {
		id, prov := e.str(auth+"/entity_id"), auth+"/entity_id"
		kind := "vault_entity"
		for _, k := range people {
			if v := e.str(meta + "/" + k); len(v) > 0 {
				id, prov, kind = v, meta+"/"+k, "vault_login"
				break
			}
		}
		if len(id) == 0 {
			id, prov, kind = []byte(display), auth+"/display_name", "display_name"
		}
		e.requester(record.Person, id, prov, fromLogin)
		r.Set(record.RequesterIDKind, kind, "")
		r.Set(record.RequesterName, display, auth+"/display_name")
		r.Set(record.RequesterIssuer, "vault", "")
		return
	}
	for _, p := range []string{
		meta + "/on_behalf_of", meta + "/requester", meta + "/delegated_by", meta + "/user_email", meta + "/email", meta + "/username", meta + "/user",
		"/request/headers/x-on-behalf-of/0", "/request/headers/x-forwarded-user/0",
	} {
		if v := e.str(p); len(v) > 0 {
			e.requester(principalType(string(v)), v, p, fromParam)
			e.delegate(record.Delegation{Principal: r.Get(record.RequesterID), Credential: e.text(e.str(auth + "/accessor"))}, p)
			return
		}
	}
}

func (e *event) vaultDecision() {
	r := e.r
	const results = "/auth/policy_results"
	if v := e.str(results + "/allowed"); len(v) > 0 {
		r.Set(record.DecisionEffect, decision(v), results+"/allowed")
	}
	n := e.find(results + "/granting_policies")
	if n == 0 {
		return
	}
	var ids []byte
	for c := e.doc.first(n); c != 0; c = e.doc.next(c) {
		if v := e.value(e.doc.get(c, "name")); len(v) > 0 {
			if len(ids) > 0 {
				ids = append(ids, ',')
			}
			ids = append(ids, v...)
		}
	}
	e.put(record.DecisionPolicyID, ids, results+"/granting_policies")
}

func (e *event) vaultOutcome(op, kind string) {
	r := e.r
	detail := e.set(record.OutcomeDetail, "/error")
	status, prov := record.Success, "/type"
	switch {
	case bytes.Contains(detail, []byte("permission denied")):
		status, prov = record.Denied, "/error"
		if !r.Has(record.DecisionEffect) {
			r.Set(record.DecisionEffect, record.Deny, "/error")
		}
	case len(detail) > 0:
		status, prov = record.Failure, "/error"
	case kind == "request":
		status = record.Unknown // its response tells
	}
	r.Set(record.OutcomeStatus, status, prov)
	changed := record.Unknown
	switch op {
	case "read", "list", "help", "alias-lookahead", "resolve-role":
		changed, prov = record.No, "/request/operation"
	case "create", "update", "delete", "patch", "renew", "revoke", "rollback":
		switch status {
		case record.Success:
			changed = record.Yes
		case record.Failure, record.Denied:
			changed = record.No
		}
	}
	r.Set(record.EffectChanged, changed, prov)
}

// vaultCredential fills the credential: of an answer that issued one the issued
// one (the token used stands in delegation), else the token used.
func (e *event) vaultCredential(path, kind string) {
	r := e.r
	const issued, wrap, lease = "/response/auth", "/response/wrap_info", "/response/secret/lease_id"
	used := e.str("/auth/accessor")
	from := ""
	switch {
	case e.set(record.CredentialID, issued+"/accessor") != nil:
		op := "issue"
		if strings.HasPrefix(path, "auth/token/renew") {
			op = "renew"
		} else if path == "sys/wrapping/unwrap" {
			op = "exchange"
		}
		r.Set(record.CredentialEventOp, op, issued)
		r.Set(record.CredentialKind, "vault_token", "")
		e.vaultLife(issued)
		from = issued
	case e.set(record.CredentialID, wrap+"/accessor") != nil:
		r.Set(record.CredentialEventOp, "issue", wrap)
		r.Set(record.CredentialKind, "vault_wrapping_token", "")
		from = wrap
		if ns := e.instant(record.CredentialIssued, wrap+"/creation_time"); ns != 0 {
			if ttl, ok := e.number(record.CredentialTTL, e.str(wrap+"/ttl"), wrap+"/ttl"); ok {
				e.expires(ns, ttl, wrap+"/ttl")
			}
		}
	case e.set(record.CredentialID, lease) != nil:
		r.Set(record.CredentialEventOp, "issue", lease)
		r.Set(record.CredentialKind, "vault_lease", "")
		r.Set(record.EffectChanged, record.Yes, lease) // made on reading
		from = lease
	default:
		if e.set(record.CredentialID, "/auth/accessor", "/request/client_token_accessor") != nil {
			r.Set(record.CredentialKind, "vault_token", "")
			e.vaultLife("/auth")
		}
		if kind == "response" && r.Get(record.OutcomeStatus) == record.Success {
			switch {
			case strings.HasPrefix(path, "auth/token/revoke"), strings.HasPrefix(path, "sys/leases/revoke"), strings.HasPrefix(path, "sys/revoke"):
				r.Set(record.CredentialEventOp, "revoke", "/request/path")
				// The token revoked is hashed data of the request, not the one used.
				r.Unset(record.CredentialID)
				e.set(record.CredentialID, "/request/data/accessor", "/request/data/lease_id")
				if path == "auth/token/revoke-self" {
					e.put(record.CredentialID, used, "/auth/accessor")
				}
				from = "/auth"
			}
		}
	}
	if r.Has(record.CredentialID) {
		r.Set(record.CredentialIssuer, "vault", "")
	}
	if from != "" && len(used) > 0 && r.Has(record.ExecutorID) {
		e.delegate(record.Delegation{Principal: r.Get(record.ExecutorID), Credential: e.text(used)}, "/auth/accessor")
	}
}

// vaultLife reads when the token of auth was issued and when it ends.
func (e *event) vaultLife(auth string) {
	ns := e.instant(record.CredentialIssued, auth+"/token_issue_time")
	ttl, ok := e.number(record.CredentialTTL, e.str(auth+"/token_ttl"), auth+"/token_ttl")
	if ns != 0 && ok && ttl > 0 { // a ttl of zero never ends
		e.expires(ns, ttl, auth+"/token_ttl")
	}
}

// expires sets when a credential ends: issued in Unix nanoseconds, ttl in seconds.
func (e *event) expires(issued, ttl int64, prov string) {
	const longest = 200 * 366 * 86400
	if ttl < longest && issued > 0 && issued < 1<<62 {
		e.r.Set(record.CredentialExpires, instant(issued+ttl*second), prov)
	}
}
