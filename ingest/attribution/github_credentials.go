package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// gitHubLife are the events in the life of a credential.
var gitHubLife = map[string]struct{ op, kind string }{
	"personal_access_token.create":                 {"issue", "github_fine_grained_pat"},
	"personal_access_token.access_granted":         {"issue", "github_fine_grained_pat"},
	"personal_access_token.credential_regenerated": {"renew", "github_fine_grained_pat"},
	"personal_access_token.credential_expired":     {"expire", "github_fine_grained_pat"},
	"personal_access_token.credential_revoked":     {"revoke", "github_fine_grained_pat"},
	"personal_access_token.access_revoked":         {"revoke", "github_fine_grained_pat"},
	"personal_access_token.destroy":                {"revoke", "github_fine_grained_pat"},
	"personal_access_token.revoke":                 {"revoke", "github_fine_grained_pat"},
	"oauth_access.create":                          {"issue", "github_oauth_token"},
	"oauth_access.regenerate":                      {"renew", "github_oauth_token"},
	"oauth_access.destroy":                         {"revoke", "github_oauth_token"},
	"oauth_access.revoke":                          {"revoke", "github_oauth_token"},
	"oauth_authorization.create":                   {"issue", "github_oauth_authorization"},
	"oauth_authorization.destroy":                  {"revoke", "github_oauth_authorization"},
	"org_credential_authorization.grant":           {"issue", "github_sso_authorization"},
	"org_credential_authorization.deauthorize":     {"revoke", "github_sso_authorization"},
	"org_credential_authorization.deauthorized":    {"revoke", "github_sso_authorization"},
	"org_credential_authorization.revoke":          {"revoke", "github_sso_authorization"},
	"public_key.create":                            {"issue", "ssh_key"},
	"public_key.delete":                            {"revoke", "ssh_key"},
	"deploy_key.create":                            {"issue", "github_deploy_key"},
	"deploy_key.destroy":                           {"revoke", "github_deploy_key"},
	"git_signing_ssh_public_key.create":            {"issue", "ssh_signing_key"},
	"git_signing_ssh_public_key.delete":            {"revoke", "ssh_signing_key"},
	"integration.generate_client_secret":           {"issue", "github_client_secret"},
	"integration.remove_client_secret":             {"revoke", "github_client_secret"},
	"oauth_application.generate_client_secret":     {"issue", "github_client_secret"},
	"oauth_application.remove_client_secret":       {"revoke", "github_client_secret"},
}

// gitHubCredential: on an event in its life the credential that began or ended,
// else the token that the call came with. hashed_token is the token's SHA-256.
func (e *event) gitHubCredential(action string) {
	r := e.r
	used := e.text(e.gitHubToken("/hashed_token"))
	if used == "" && e.has("/token_id") && string(e.str("/token_id")) != "0" {
		used = e.text(e.str("/token_id"))
	}
	usedAt := "/hashed_token"
	if !e.has(usedAt) {
		usedAt = "/token_id"
	}
	scopes := func(p string) (out []string) {
		for s := range bytes.FieldsFuncSeq(e.str(p), func(c rune) bool { return c == ',' || c == ' ' }) {
			out = append(out, e.text(s))
		}
		return out
	}
	life, ok := gitHubLife[action]
	if !ok {
		if used != "" {
			r.Set(record.CredentialID, used, usedAt)
			r.Set(record.CredentialKind, gitHubKind(string(e.str("/programmatic_access_type"))), "")
			r.Set(record.CredentialIssuer, "github", "")
			if usedAt == "/hashed_token" && string(e.str("/token_id")) != "0" {
				e.attribute("token_id", "/token_id")
			}
		}
		for _, s := range scopes("/token_scopes") {
			e.add(record.AuthorityScopes, []byte(s), "/token_scopes")
		}
		if used != "" && r.Get(record.ExecutorType) != record.Person && r.Prov(record.RequesterID) == "/actor" && len(e.handed) == 0 {
			// The person's token in the hands of an app.
			e.delegate(record.Delegation{
				Principal: r.Get(record.RequesterID), Credential: used, Scopes: scopes("/token_scopes"), Audience: r.Get(record.ExecutorID),
			}, usedAt)
		}
		return
	}
	r.Set(record.CredentialEventOp, life.op, "/action")
	r.Set(record.CredentialKind, life.kind, "")
	r.Set(record.CredentialIssuer, "github", "")
	e.set(record.CredentialEventCause, "/explanation")
	own := !e.has("/programmatic_access_type") // then the token is what the event is about
	switch {
	case e.has("/managed_hashed_token"):
		e.put(record.CredentialID, e.gitHubToken("/managed_hashed_token"), "/managed_hashed_token")
	case e.has("/fingerprint"):
		e.set(record.CredentialID, "/fingerprint")
		if e.has("/repo") && life.kind == "ssh_key" {
			r.Set(record.CredentialKind, "github_deploy_key", "/repo")
		}
	case own && used != "":
		r.Set(record.CredentialID, used, usedAt)
	case strings.HasPrefix(action, "personal_access_token."):
		e.set(record.CredentialID, "/user_programmatic_access_id")
	case strings.HasPrefix(action, "oauth_access."):
		e.set(record.CredentialID, "/oauth_access_id")
	case strings.HasPrefix(action, "oauth_authorization."):
		e.set(record.CredentialID, "/oauth_authorization_id")
	}
	if own {
		used = ""
	}
	for _, p := range [...]string{"/managed_token_scopes", "/oauth_scopes", "/scopes"} {
		if e.has(p) {
			e.scopesAt(p)
			break
		}
	}
	if own && len(e.listed(record.AuthorityScopes)) == 0 {
		e.scopesAt("/token_scopes")
	}
	e.set(record.CredentialAudience, "/oauth_application_name", "/oauth_application_id")
	e.instant(record.CredentialExpires, "/expires_at", "/token_expires_at")
	if used != "" {
		e.delegate(record.Delegation{Principal: r.Get(record.ExecutorID), Credential: used, Scopes: scopes("/token_scopes")}, usedAt)
	}
}

// scopesAt adds scopes that stand as an array or as one string, with commas or spaces.
func (e *event) scopesAt(p string) {
	if n := e.find(p); n != 0 && e.doc.kindOf(n) == kindArray {
		e.list(record.AuthorityScopes, p)
		return
	}
	for s := range bytes.FieldsFuncSeq(e.str(p), func(c rune) bool { return c == ',' || c == ' ' }) {
		e.add(record.AuthorityScopes, s, p)
	}
}

// gitHubToken is the digest at p in the form in which all sources meet.
func (e *event) gitHubToken(p string) []byte {
	v := e.str(p)
	if d := digestID(v); d != nil {
		return d
	}
	return v
}

// gitHubKind is the kind of a token by GitHub's own words for it.
func gitHubKind(access string) string {
	low := strings.ToLower(access)
	switch {
	case strings.Contains(low, "fine-grained"):
		return "github_fine_grained_pat"
	case strings.Contains(low, "personal access token"):
		return "github_classic_pat"
	case strings.Contains(low, "user-to-server"):
		return "github_user_to_server_token"
	case strings.Contains(low, "server-to-server"):
		return "github_server_to_server_token"
	case strings.Contains(low, "oauth"):
		return "github_oauth_token"
	case strings.Contains(low, "key"):
		return "ssh_key"
	}
	return "github_token"
}

var gitHubGuide = guide{
	userSet: []string{
		"/user_agent: any client; kept as an attribute, and an agent's mark in it is only ever a finding",
		"/user_programmatic_access_name: the owner of the token, who can name it anything",
		"/name, /title, /branch, /pull_request_title: whoever may write to the repository; used as target names only",
		"/comment, /reason: the reviewer of a deployment; kept as context.purpose or decision.reason",
		"/job_workflow_ref, /event: whoever may change workflow files; GitHub computes the reference, but the file behind it is theirs",
	},
	emit: map[Part]string{
		PartRequester: "`actor` where a person acted (without `programmatic_access_type` in a signed-in session), `user` where `actor_is_agent` is true or a request is approved; none behind an app's own token, a deploy key or a schedule. " +
			"Link SAML SSO so that `external_identity_nameid` is there",
		PartExecutor: "`actor`, `actor_is_agent`, `actor_is_bot`; with a user's token in an app `integration`, `oauth_application_name`, `oauth_application_id` or `application_client_id`; in runs `job_workflow_ref`. Give agents a GitHub App of their own, no personal access token",
		PartTool:     "`action`; switch on Git events and API request events in the enterprise's audit log settings, both come by streaming only",
		PartPermission: "`token_scopes` of classic tokens; the permissions of fine-grained tokens and apps are not logged with their use: read them from the grant events " +
			"`personal_access_token.access_granted` and `integration_installation.*`",
		PartDecision: "only refusals and bypasses are logged: `protected_branch.rejected_ref_update`, `policy_override`, push protection; approvals by `workflows.approve_workflow_job`, `personal_access_token.access_granted`",
		PartOutcome:  "`status_code` of `api.request`, `conclusion` of runs; every other event is logged because it happened",
		PartChain:    "`request_id`, `agent_session_id`, `actor_session`, `workflow_run_id`, `hashed_token` (switch on token data in streamed events), `token_id`",
	},
}
