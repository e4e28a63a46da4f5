package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// gitHub decodes the audit log of GitHub (organisation and enterprise, by
// streaming, REST or export, one event to a line or in an array), of GitHub
// Enterprise Server (syslog, tag github_audit), and the usage records of Copilot
// that the same stream carries.
func gitHub() format {
	return format{
		name: "github", product: "GitHub", issuer: "github",
		shape:  shapeJSON,
		keys:   []string{"github_request_id", "action"},
		match:  func(e *event) bool { return e.isGitHub() },
		decode: decodeGitHub,
		list: func(e *event) int32 {
			t := &e.doc
			if t.kindOf(root) != kindArray {
				return 0
			}
			c := t.first(root)
			if c == 0 {
				return 0
			}
			e.root = c
			is := e.isGitHub()
			e.root = root
			if !is {
				return 0
			}
			return root
		},
		guide: gitHubGuide,
	}
}

// gitHubKeys are members that events of GitHub have and hardly any other JSON has together.
var gitHubKeys = [...]string{
	"actor", "actor_id", "actor_ip", "actor_location", "org", "org_id", "business", "business_id", "repo", "repo_id",
	"operation_type", "hashed_token", "programmatic_access_type", "external_identity_nameid", "user_id", "actor_is_bot", "actor_is_agent",
}

func (e *event) isGitHub() bool {
	t, o := &e.doc, e.root
	if t.kindOf(o) != kindObject {
		return false
	}
	if t.get(o, "github_request_id") != 0 && t.get(o, "event_id") != 0 && t.get(o, "type") != 0 {
		return true
	}
	action := e.value(t.get(o, "action"))
	if e.src.Format == "github" && len(action) > 0 {
		return true // the configuration says so
	}
	if dot := bytes.IndexByte(action, '.'); dot <= 0 || dot == len(action)-1 || bytes.IndexByte(action, ' ') >= 0 {
		return false
	}
	if bytes.Equal(e.env.app, []byte("github_audit")) || t.get(o, "_document_id") != 0 {
		return true
	}
	if t.get(o, "@timestamp") == 0 && t.get(o, "created_at") == 0 {
		return false
	}
	n := 0
	for _, k := range gitHubKeys {
		if t.get(o, k) != 0 {
			n++
		}
	}
	return n >= 3
}

func decodeGitHub(e *event) {
	r := e.r
	e.noPolVer, e.noDecide = true, true
	if bytes.Equal(e.env.app, []byte("github_audit")) && e.src.Product == "" {
		r.Set(record.SourceProduct, "GitHub Enterprise Server", "header:APP-NAME")
	}
	e.time("/@timestamp", "/created_at")
	e.set(record.SourceOriginalID, "/_document_id", "/event_id")
	e.set(record.SourceAddress, "/actor_ip")
	r.Set(record.ActionService, "github", "")
	r.Set(record.EffectSystem, "github", "")
	if e.has("/github_request_id") {
		e.copilotUsage()
		return
	}
	action := string(e.set(record.ActionOperation, "/action"))
	e.set(record.ChainRequestID, "/request_id")
	e.set(record.ChainSessionID, "/agent_session_id", "/actor_session")
	e.set(record.ChainTaskID, "/workflow_run_id")
	e.gitHubTarget(action)
	e.gitHubOutcome(action)
	e.gitHubPrincipals(action)
	e.gitHubCredential(action)
	e.gitHubApproval(action)
	e.userAgent("/user_agent")
	e.attribute("access", "/programmatic_access_type")
	e.attribute("external_identity", "/external_identity_nameid", "/external_identity_username")
	e.attribute("team", "/team")
	e.attribute("head_sha", "/head_sha")
	e.attribute("trigger", "/event")
	e.attribute("protocol", "/transport_protocol_name")
	e.attribute("visibility", "/visibility")
	e.attribute("country", "/actor_location/country_code")
}

// copilotUsage reads a request to or an answer of Copilot: it says for whom, not
// which client asked.
func (e *event) copilotUsage() {
	r := e.r
	e.set(record.ChainRequestID, "/github_request_id")
	e.set(record.ActionOperation, "/endpoint")
	r.Set(record.ActionService, "github_copilot", "")
	if id := e.str("/user_id"); len(id) > 0 && string(id) != "0" {
		e.requester(record.Person, id, "/user_id", fromLogin)
		r.Set(record.RequesterIDKind, "github_user_id", "")
		r.Set(record.RequesterIssuer, "github", "")
	}
	switch string(e.str("/type")) {
	case "request":
		e.add(record.Attributes, []byte("half=request"), "/type")
	case "response":
		e.add(record.Attributes, []byte("half=response"), "/type")
	}
	if e.isTrue("/truncated") {
		e.note("the source cut the body")
	}
	r.Set(record.OutcomeStatus, record.Unknown, "")
	r.Set(record.EffectChanged, record.Unknown, "")
}

// gitHubTarget: the nearest thing the event is about, by its category.
func (e *event) gitHubTarget(action string) {
	r := e.r
	category, verb, _ := strings.Cut(action, ".")
	set := func(typ string, pointers ...string) bool {
		if e.set(record.TargetID, pointers...) == nil {
			return false
		}
		r.Set(record.TargetType, typ, "")
		return true
	}
	e.set(record.TargetName, "/name", "/environment_name", "/env_name", "/branch", "/team", "/title")
	switch {
	case category == "hook" && set("webhook", "/hook_id"):
		url, _, _ := bytes.Cut(e.str("/config/url"), []byte("?")) // what follows may be a secret
		e.put(record.TargetName, url, "/config/url")
	case strings.HasPrefix(category, "integration") && set("github_app", "/integration", "/name", "/integration_id"),
		(category == "oauth_application" || category == "oauth_authorization" || strings.Contains(verb, "oauth_app")) &&
			set("oauth_application", "/oauth_application_name", "/oauth_application_id", "/oauth_application"),
		strings.HasPrefix(category, "pull_request") && set("pull_request", "/pull_request_url"),
		category == "personal_access_token" && set("personal_access_token", "/user_programmatic_access_id", "/user_programmatic_access_name"),
		category == "api" && set("api", "/url_path", "/route"),
		category == "environment" && e.has("/environment_name") && set("environment", "/environment_name"):
	case strings.HasSuffix(verb, "_actions_secret") && e.has("/key") && set("secret", "/key"):
		e.set(record.TargetName, "/repo", "/org")
	case strings.HasSuffix(verb, "member") || strings.HasSuffix(verb, "_admin") || strings.HasSuffix(verb, "collaborator") || strings.HasPrefix(verb, "invite") || category == "user" || verb == "fake_login":
		if !set("user", "/user", "/invitee_email", "/email", "/user_id") {
			e.gitHubOwner(set)
		}
	default:
		e.gitHubOwner(set)
	}
	if r.Get(record.TargetName) == r.Get(record.TargetID) {
		r.Unset(record.TargetName)
	}
}

func (e *event) gitHubOwner(set func(string, ...string) bool) {
	_ = set("repository", "/repo", "/repository") || set("organization", "/org") || set("enterprise", "/business") || set("user", "/user")
}

// gitHubDenied are events that tell of something refused.
var gitHubDenied = map[string]bool{
	"protected_branch.rejected_ref_update": true, "repository_ruleset.rejected_ref_update": true, "user.failed_login": true,
	"user.two_factor_challenge_failure": true, "workflows.actions_policy_violation": true, "secret_scanning_push_protection.block": true,
}

// gitHubOutcome: an event is logged when it happened; a few tell of what did not.
func (e *event) gitHubOutcome(action string) {
	r := e.r
	status, prov := record.Success, "/action"
	switch {
	case gitHubDenied[action]:
		status = record.Denied
		r.Set(record.DecisionEffect, record.Deny, "/action")
		e.set(record.DecisionReason, "/reasons/0/message", "/reason", "/message")
		e.set(record.OutcomeCode, "/reasons/0/code")
		e.set(record.DecisionPolicyID, "/ruleset_name", "/reasons/0/code")
	case e.has("/status_code"):
		code := e.set(record.OutcomeCode, "/status_code")
		status, prov = outcome(code), "/status_code"
		if status == record.Denied {
			r.Set(record.DecisionEffect, record.Deny, prov)
		}
	case e.has("/conclusion"):
		c := string(e.set(record.OutcomeCode, "/conclusion"))
		prov = "/conclusion"
		switch c {
		case "success", "neutral", "skipped":
		case "action_required", "":
			status = record.Unknown
		default: // failure, cancelled, timed_out, startup_failure
			status = record.Failure
		}
	case action == "workflows.created_workflow_run", action == "workflows.prepared_workflow_job":
		status = record.Unknown // it has only begun
	case action == "protected_branch.policy_override", strings.HasSuffix(action, "push_protection.bypass"), action == "workflows.bypass_protection_rules":
		r.Set(record.DecisionEffect, record.Allow, "/action")
		r.Set(record.DecisionPosture, "bypass", "/action")
		e.set(record.DecisionReason, "/reasons/0/message", "/overridden_codes/0", "/push_protection_bypass_reason", "/reason", "/comment")
	}
	r.Set(record.OutcomeStatus, status, prov)

	changed, prov := record.Unknown, ""
	switch op := string(e.str("/operation_type")); {
	case status == record.Denied, status == record.Failure && action == "api.request":
		changed, prov = record.No, r.Prov(record.OutcomeStatus)
	case status == record.Unknown:
	case action == "git.clone", action == "git.fetch", strings.HasSuffix(action, ".download_zip"):
		changed, prov = record.No, "/action"
	case action == "git.push" && status == record.Success:
		changed, prov = record.Yes, "/action"
	case action == "api.request":
		switch prov = "/request_method"; string(e.str(prov)) {
		case "GET", "HEAD", "OPTIONS":
			changed = record.No
		case "POST", "PUT", "PATCH", "DELETE":
			changed = record.Yes
			if bytes.HasSuffix(e.str("/url_path"), []byte("/graphql")) {
				changed = record.Unknown // queries are posted too
			}
		}
	case op == "access", op == "authentication":
		changed, prov = record.No, "/operation_type"
	case op == "create", op == "modify", op == "remove", op == "transfer", op == "restore":
		changed, prov = record.Yes, "/operation_type"
	case strings.HasSuffix(action, ".create"), strings.HasSuffix(action, ".destroy"), strings.HasSuffix(action, ".update"),
		strings.HasSuffix(action, "_member"), strings.HasSuffix(action, ".merge"):
		changed, prov = record.Yes, "/action"
	}
	r.Set(record.EffectChanged, changed, prov)
}
