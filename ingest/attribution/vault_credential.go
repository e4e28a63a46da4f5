package attribution

import (
	"bytes"
	"strconv"
	"strings"

	"custody/ingest/record"
)

// vaultCredential fills the credential: of an answer that issued one the issued
// one (the token used stands in delegation), else the token used. Tokens are told by
// their accessor, and batch tokens, which have none, by the HMAC of the token.
func (e *event) vaultCredential(path, kind string) {
	r := e.r
	used := e.str("/auth/accessor")
	if len(used) == 0 && e.has("/auth/policies") { // of a login no token is told: one that came along was not used
		if used = e.str("/request/client_token_accessor"); len(used) == 0 {
			used = vaultSecret(e.str("/request/client_token"))
		}
	}
	by := e.text(used)
	from := e.vaultIssued(path)
	if from == "" {
		switch {
		case e.set(record.CredentialID, "/auth/accessor", "/request/client_token_accessor") != nil:
			r.Set(record.CredentialKind, "vault_token", "")
			e.vaultLife("/auth")
		case e.has("/request/client_token"):
			e.put(record.CredentialID, vaultSecret(e.str("/request/client_token")), "/request/client_token")
			r.Set(record.CredentialKind, "vault_token", "")
			e.vaultLife("/auth")
		}
		if kind == "response" && r.Get(record.OutcomeStatus) == record.Success {
			from = e.vaultEnded(path, by)
		}
	}
	if r.Has(record.CredentialID) && !r.Has(record.CredentialIssuer) {
		r.Set(record.CredentialIssuer, "vault", "")
	}
	if from != "" && by != "" {
		e.delegate(record.Delegation{Principal: r.Get(record.ExecutorID), Credential: by}, "/auth/accessor")
	}
}

// vaultIssued reads the credential that an answer holds, and returns where it stands.
func (e *event) vaultIssued(path string) (from string) {
	r := e.r
	const issued, wrap, lease = "/response/auth", "/response/wrap_info", "/response/secret/lease_id"
	const data = "/response/data"
	mount := string(e.str("/request/mount_type"))
	issue := func(kind, from string) string {
		r.Set(record.CredentialEventOp, "issue", from)
		r.Set(record.CredentialKind, kind, "")
		return from
	}
	switch {
	case e.has(issued+"/accessor") || e.has(issued+"/client_token"):
		if e.set(record.CredentialID, issued+"/accessor") == nil {
			e.put(record.CredentialID, vaultSecret(e.str(issued+"/client_token")), issued+"/client_token")
		}
		op := "issue"
		if strings.HasPrefix(path, "auth/token/renew") {
			op = "renew"
		} else if path == "sys/wrapping/unwrap" {
			op = "exchange"
		}
		r.Set(record.CredentialEventOp, op, issued)
		r.Set(record.CredentialKind, "vault_token", "")
		e.vaultLife(issued)
		return issued
	case e.set(record.CredentialID, wrap+"/accessor") != nil:
		if ns := e.instant(record.CredentialIssued, wrap+"/creation_time"); ns != 0 {
			if ttl, ok := e.number(record.CredentialTTL, e.str(wrap+"/ttl"), wrap+"/ttl"); ok {
				e.expires(ns, ttl, wrap+"/ttl")
			}
		}
		e.attribute("wrapped_accessor", wrap+"/wrapped_accessor")
		return issue("vault_wrapping_token", wrap)
	case strings.HasPrefix(path, "sys/leases/renew") || strings.HasPrefix(path, "sys/renew"):
		if e.set(record.CredentialID, lease, "/request/data/lease_id") == nil || r.Get(record.OutcomeStatus) != record.Success {
			return ""
		}
		r.Set(record.CredentialEventOp, "renew", "/request/path")
		r.Set(record.CredentialKind, "vault_lease", "")
		return lease
	case e.has(data+"/secret_id_accessor") && strings.Contains(path, "/secret-id") && !strings.Contains(path, "/lookup"):
		e.set(record.CredentialID, data+"/secret_id_accessor")
		e.number(record.CredentialTTL, e.str(data+"/secret_id_ttl"), data+"/secret_id_ttl")
		return issue("vault_secret_id", data+"/secret_id_accessor")
	case e.has(data+"/serial_number") && (mount == "pki" || mount == "kmip" || mount == "ssh") && vaultSigns(path):
		if v := e.set(record.CredentialID, data+"/serial_number"); mount == "ssh" {
			// sshd and its certificates show the number in decimal.
			if n, err := strconv.ParseUint(string(v), 16, 64); err == nil {
				r.Set(record.CredentialID, strconv.FormatUint(n, 10), data+"/serial_number")
			}
		}
		e.instant(record.CredentialExpires, data+"/expiration")
		r.Set(record.EffectChanged, record.Yes, data+"/serial_number")
		return issue(map[string]string{"pki": "x509", "kmip": "x509", "ssh": "ssh_certificate"}[mount], data+"/serial_number")
	case e.has(lease):
		e.set(record.CredentialID, lease)
		r.Set(record.EffectChanged, record.Yes, lease) // made on reading
		// The mount may be tuned to show what the cloud knows the credential by.
		if key := e.str(data + "/access_key"); mount == "aws" && len(key) > 0 && !bytes.HasPrefix(key, []byte("hmac-")) {
			e.put(record.CredentialID, key, data+"/access_key")
			r.Set(record.CredentialIssuer, "aws", "")
			e.attribute("lease", lease)
			if bytes.HasPrefix(key, []byte("AKIA")) {
				return issue("aws_access_key", lease)
			}
			return issue("aws_session", lease)
		}
		return issue("vault_lease", lease)
	case e.has(data+"/token") && strings.HasPrefix(path, "identity/oidc/token/"):
		e.put(record.CredentialID, vaultSecret(e.str(data+"/token")), data+"/token")
		e.number(record.CredentialTTL, e.str(data+"/ttl"), data+"/ttl")
		e.set(record.CredentialAudience, data+"/client_id")
		return issue("jwt", data+"/token")
	}
	return ""
}

// vaultSigns reports whether requests to the path make certificates.
func vaultSigns(path string) bool {
	for _, p := range [...]string{"/issue/", "/sign/", "/sign-verbatim", "/sign-self-issued", "/sign-intermediate", "/generate", "/issuer/", "/root/"} {
		if strings.Contains(path, p) {
			return true
		}
	}
	return false
}

// vaultEnded reads what a request revoked. by is the token used for it.
func (e *event) vaultEnded(path, by string) (from string) {
	r := e.r
	mount := string(e.str("/request/mount_type"))
	ended := func(kind string, pointers ...string) string {
		r.Set(record.CredentialEventOp, "revoke", "/request/path")
		// The one revoked is in the request's data, not the one used.
		for _, f := range [...]record.Field{record.CredentialID, record.CredentialIssued, record.CredentialExpires, record.CredentialTTL} {
			r.Unset(f)
		}
		r.Set(record.CredentialKind, kind, "")
		for _, p := range pointers {
			if v := e.str(p); len(v) > 0 {
				if strings.HasSuffix(p, "/token") {
					v = vaultSecret(v)
				}
				e.put(record.CredentialID, v, p)
				break
			}
		}
		return "/auth"
	}
	const data = "/request/data"
	switch {
	case path == "auth/token/revoke-self":
		r.Set(record.CredentialEventOp, "revoke", "/request/path")
		return "/auth"
	case strings.HasPrefix(path, "auth/token/revoke"):
		return ended("vault_token", data+"/accessor", data+"/token")
	case strings.HasPrefix(path, "sys/leases/revoke"), strings.HasPrefix(path, "sys/revoke"):
		from = ended("vault_lease", data+"/lease_id")
		if !r.Has(record.CredentialID) {
			for _, p := range [...]string{"sys/leases/revoke/", "sys/leases/revoke-prefix/", "sys/leases/revoke-force/", "sys/revoke/", "sys/revoke-prefix/"} {
				if id, ok := strings.CutPrefix(path, p); ok && id != "" {
					e.put(record.CredentialID, []byte(id), "/request/path")
				}
			}
		}
		return from
	case strings.Contains(path, "/secret-id/destroy"), strings.Contains(path, "/secret-id-accessor/destroy"):
		return ended("vault_secret_id", data+"/secret_id_accessor", data+"/secret_id")
	case mount == "pki" && strings.HasSuffix(path, "/revoke"), mount == "kmip" && strings.HasSuffix(path, "/revoke"):
		return ended("x509", data+"/serial_number")
	}
	return ""
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

var vaultGuide = guide{
	userSet: []string{
		"/request/headers: any client, for the headers that `sys/config/auditing/request-headers` names",
		"/auth/metadata: of tokens that `auth/token/create` or a secret ID made, whoever made them chose it; of the other methods the method did",
		"/auth/display_name: behind `token-`, whoever made the token",
		"/request/remote_address: the proxy in front, unless the listener has `x_forwarded_for_authorized_addrs`",
		"/request/id: Vault itself; a client cannot choose it",
	},
	emit: map[Part]string{
		PartRequester: "the login: `auth.metadata` and `auth.display_name` of methods by which people sign in (userpass, ldap, okta, oidc, github, saml, radius, kerberos). " +
			"For agents that act for somebody, audit a header (`vault write sys/config/auditing/request-headers/x-on-behalf-of hmac=false`) or put it in the token's metadata: asserted at most",
		PartExecutor:   "`auth.metadata` (`service_account_name`, `role_name`, `spiffe_id`, `client_arn`), else `auth.display_name`; `entity_id` ties the aliases of one",
		PartTool:       "`request.mount_type`, from Vault 1.13 on",
		PartPermission: "`request.operation` and `request.path`; the token's policies are in authority.scopes",
		PartDecision:   "`auth.policy_results.granting_policies`, from Vault 1.13 on; versions of policies are not recorded",
		PartOutcome:    "`error` of the response; of a request alone it is not known",
		PartChain: "`request.id` ties request and response; `traceparent` when the header is audited; `accessor` and, for batch tokens, the HMAC of `client_token` tie a token's uses to the login that issued it. " +
			"`audit_non_hmac_response_keys=access_key` on an AWS mount, and `serial_number` on PKI and SSH, let what is issued meet CloudTrail, sshd and others",
	},
}
