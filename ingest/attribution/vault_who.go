package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// logins are the auth methods by which people sign in. Their mounts can be renamed,
// so any other prefix of a token's display name proves nothing.
var logins = [...]string{"userpass", "ldap", "okta", "oidc", "github", "saml", "radius", "kerberos"}

// people are the metadata that auth methods set from a verified login.
var people = [...]string{"email", "username", "user", "preferred_username"}

// vaultLogin reports whether a person's auth method made the token: where the event
// is the login itself the mount's type says so, else the display name.
func (e *event) vaultLogin(auth, display string) bool {
	if auth == "/response/auth" {
		if mount := string(e.str("/request/mount_type")); mount != "" && mount != "token" {
			for _, m := range logins {
				if mount == m {
					return true
				}
			}
			// One mount serves both, and the roles of either: only the browser's
			// callback is a person's.
			return mount == "jwt" && strings.HasSuffix(string(e.str("/request/path")), "/oidc/callback")
		}
	}
	for _, m := range logins {
		if len(display) > len(m)+1 && display[:len(m)] == m && display[len(m)] == '-' {
			return true
		}
	}
	return false
}

// vaultPrincipals: the token's identity acted. It is also the requester when a
// person signed in with it; behind a workload's token the requester is only who
// the token's metadata or a header names, which nobody verified.
func (e *event) vaultPrincipals(auth string) {
	r := e.r
	meta := auth + "/metadata"
	display := string(e.str(auth + "/display_name"))
	e.set(record.ExecutorName, auth+"/display_name")
	e.set(record.ExecutorInstance, auth+"/entity_id")
	person := e.vaultLogin(auth, display)
	issuer := "vault"
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
	case !person && (e.has(meta+"/canonical_arn") || e.has(meta+"/client_arn")):
		at := meta + "/client_arn"
		if !e.has(at) {
			at = meta + "/canonical_arn"
		}
		arn := e.str(at)
		class := record.ServiceAccount
		if bytes.Contains(arn, []byte(":user/")) || bytes.HasSuffix(arn, []byte(":root")) {
			class = record.Unknown
		}
		e.executor(class, arn, at)
		r.Set(record.ExecutorIDKind, "aws_arn", "")
		issuer = "aws"
	case !person && e.has(meta+"/service_account_email"):
		e.executor(record.ServiceAccount, e.str(meta+"/service_account_email"), meta+"/service_account_email")
		r.Set(record.ExecutorIDKind, "email", "")
		issuer = "google"
	case person:
		e.executor(record.Person, []byte(display), auth+"/display_name")
		r.Set(record.ExecutorIDKind, "display_name", "")
	case display == "root":
		e.executor(record.Unknown, []byte(display), auth+"/display_name")
	case display != "" && display != "token" && !strings.HasPrefix(display, "token-"):
		e.vaultMachine(meta, auth, display)
	case e.has(auth + "/entity_id"):
		e.executor(record.Unknown, e.str(auth+"/entity_id"), auth+"/entity_id")
		r.Set(record.ExecutorIDKind, "vault_entity", "")
	case display != "" || e.has(auth+"/accessor") || e.has("/request/client_token"):
		// A bare token: all that is known is what was borrowed.
		r.SetAbsent("executor", record.NotEstablished)
		r.AddFinding(record.ExecutorByCredentialOnly)
	case string(e.str("/type")) == "request":
		r.SetAbsent("executor", record.NotEstablished) // the answer says who signed in
		r.SetAbsent("requester", record.NotEstablished)
	}
	r.Set(record.ExecutorIssuer, issuer, "")
	e.list(record.AuthorityScopes, auth+"/policies")
	for _, k := range []string{"/role", "/role_name"} {
		if e.has(meta + k) {
			e.list(record.AuthorityRoles, meta+k)
			break
		}
	}
	e.vaultRequester(auth, display, person)
}

// vaultMachine names what signed in with a method that is not for people. All roles
// of AppRole show one display name, so its role is the name.
func (e *event) vaultMachine(meta, auth, display string) {
	class := record.Unknown // of a mount with a name of its own: a person's method perhaps
	for _, m := range [...]string{"approle", "kubernetes", "aws", "gcp", "azure", "jwt", "cert", "alicloud", "cf", "oci", "token"} {
		if display == m || strings.HasPrefix(display, m+"-") {
			class = record.ServiceAccount
			if m == "jwt" || m == "cert" { // a token or a certificate can be a person's
				class = record.Unknown
			}
		}
	}
	if role := e.str(meta + "/role_name"); len(role) > 0 && (display == "approle" || string(e.str("/request/mount_type")) == "approle") {
		e.executor(record.ServiceAccount, role, meta+"/role_name")
		e.r.Set(record.ExecutorIDKind, "vault_approle", "")
		return
	}
	e.executor(class, []byte(display), auth+"/display_name")
	e.r.Set(record.ExecutorIDKind, "display_name", "")
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
		if kind == "vault_entity" {
			// The name that the person signed in with stands behind the mount's.
			for _, m := range logins {
				if name := strings.TrimPrefix(display, m+"-"); name != display && principalType(name) == record.Person {
					id, prov, kind = []byte(name), auth+"/display_name", "vault_login"
				}
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
		v := e.str(p)
		if len(v) == 0 {
			continue
		}
		if class := principalType(string(v)); class != record.ServiceAccount && class != record.Workload {
			e.requester(class, v, p, fromParam)
			e.delegate(record.Delegation{Principal: r.Get(record.RequesterID), Credential: e.text(e.str(auth + "/accessor"))}, p)
			return
		}
	}
}

// vaultApproval reads the authorization of a control group's request. Who asked for
// what is approved stands in that request, not here.
func (e *event) vaultApproval(path string) {
	r := e.r
	if path != "sys/control-group/authorize" {
		return
	}
	e.set(record.ApprovalRequestID, "/request/data/accessor")
	if r.Has(record.RequesterID) {
		e.set(record.ApprovalApprover, r.Prov(record.RequesterID))
		r.Unset(record.RequesterID)
		r.Unset(record.RequesterType)
		r.Unset(record.RequesterName)
	} else {
		r.Set(record.ApprovalApprover, r.Get(record.ExecutorID), r.Prov(record.ExecutorID))
	}
	r.SetAbsent("requester", record.NotEstablished)
	e.handed, e.handedProv = e.handed[:0], ""
	if string(e.str("/type")) == "response" && r.Get(record.OutcomeStatus) == record.Success {
		e.mark("approval=approved", "/request/path")
	}
}

// refusedByVault are the words by which Vault and its auth methods refuse somebody.
var refusedByVault = [...]string{
	"permission denied", "invalid token", "bad token", "missing client token", "invalid role or secret id", "invalid secret id", "invalid role_id",
	"invalid username or password", "failed to bind as user", "not authorized", "unauthorized", "forbidden", "access denied",
	"does not match any bound", "error validating token", "error validating claims", "invalid login", "authentication failed", "login mfa", "mfa validation", "user is locked",
	"namespace locked", "signature is invalid", "token is expired", "needs further approval",
}

func vaultRefused(detail []byte) bool {
	if len(detail) == 0 {
		return false
	}
	low := bytes.ToLower(detail[:min(len(detail), 2048)])
	for _, w := range refusedByVault {
		if bytes.Contains(low, []byte(w)) {
			return true
		}
	}
	return false
}

// vaultAttributes keeps what the record has no field of its own for.
func (e *event) vaultAttributes(auth string) {
	for _, a := range [...][2]string{
		{"token_type", auth + "/token_type"},
		{"remaining_uses", auth + "/remaining_uses"},
		{"num_uses", auth + "/num_uses"},
		{"entity", auth + "/entity_id"},
		{"client_id", "/request/client_id"},
		{"mount_point", "/request/mount_point"},
		{"forwarded_from", "/forwarded_from"},
		{"replication_cluster", "/request/replication_cluster"},
		{"wrap_ttl", "/request/wrap_ttl"},
		{"policy_override", "/request/policy_override"},
		{"client_certificate_serial", "/request/client_certificate_serial_number"},
		{"certificate", auth + "/metadata/cert_name"},
		{"certificate_serial", auth + "/metadata/serial_number"},
		{"creation_path", "/response/wrap_info/creation_path"},
		{"request_uri", "/request/request_uri"},
		{"correlation", "/request/headers/x-correlation-id/0"},
	} {
		if v := e.str(a[1]); len(v) > 0 && string(v) != "0" && string(v) != "false" {
			e.add(record.Attributes, e.cat([]byte(a[0]), []byte("="), v), a[1])
		}
	}
	// Policies that hold in other namespaces than the token's.
	t := &e.doc
	if n := e.find(auth + "/external_namespace_policies"); n != 0 {
		for ns := t.first(n); ns != 0; ns = t.next(ns) {
			for p := t.first(ns); p != 0; p = t.next(p) {
				if v := e.value(p); len(v) > 0 {
					e.add(record.Attributes, e.cat([]byte("external_policy="), t.keyOf(ns), v), auth+"/external_namespace_policies")
				}
			}
		}
	}
	if token := vaultSecret(e.str("/request/client_token")); len(token) > 0 && e.r.Get(record.CredentialID) != string(token) {
		e.add(record.Attributes, e.cat([]byte("client_token="), token), "/request/client_token")
	}
	e.userAgent("/request/headers/user-agent/0")
}

// vaultSecret is a token as a log may show it: the HMAC that the device made of it,
// or the digest of one that a device with log_raw wrote as it is.
func vaultSecret(v []byte) []byte {
	if len(v) == 0 || bytes.HasPrefix(v, []byte("hmac-")) {
		return v
	}
	return fingerprint(v)
}
