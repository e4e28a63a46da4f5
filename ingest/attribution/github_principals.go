package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// gitHubAgents are the logins, without [bot], of apps that are AI agents.
var gitHubAgents = map[string]bool{
	"copilot": true, "copilot-swe-agent": true, "copilot-pull-request-reviewer": true, "claude": true, "anthropic-code-agent": true,
	"openai-code-agent": true, "chatgpt-codex-connector": true, "cursor": true, "devin-ai-integration": true, "google-labs-jules": true,
	"gemini-code-assist": true, "coderabbitai": true,
}

// gitHubActor tells what kind of principal a login is. A bot's login ends in
// [bot]; nothing but the source's own mark or the app of an agent product is an agent.
func (e *event) gitHubActor(login []byte) (typ, kind string) {
	name, bot := strings.CutSuffix(string(login), "[bot]")
	low := strings.ToLower(name)
	switch {
	case gitHubAgents[low] && (bot || low == "copilot" || strings.HasPrefix(low, "copilot-")):
		return record.Agent, "github_app"
	case low == "github-actions" && bot:
		return record.Workload, "github_app"
	case bot:
		return record.ServiceAccount, "github_app"
	case low == "github system", low == "github-system", low == "github staff", low == "github-staff", low == "github":
		return record.Workload, "github_system"
	}
	return record.Person, "github_login"
}

// gitHubPrincipals: actor did it. An agent's user is the one who set it to work;
// with a token of an app for a user the app acted for that user; with an app's
// own token, and with a key that may be a repository's, nobody is known to have asked.
func (e *event) gitHubPrincipals(action string) {
	r := e.r
	actor := e.str("/actor")
	access := strings.ToLower(string(e.str("/programmatic_access_type")))
	if strings.HasPrefix(action, "git.") && access == "" {
		// Older events do not say with what: over SSH a key, else some token.
		access = "token"
		if string(e.str("/transport_protocol_name")) == "ssh" {
			access = "key (user/deploy)"
		}
	}
	typ, kind := e.gitHubActor(actor)
	marked := func(p string) bool { return strings.EqualFold(string(e.str(p)), "true") }
	if marked("/actor_is_agent") {
		typ = record.Agent
	} else if typ == record.Person && marked("/actor_is_bot") {
		typ, kind = record.ServiceAccount, "github_app"
	}
	switch {
	case len(actor) == 0 || string(actor) == "ghost": // ghost stands for every deleted account
		if len(actor) > 0 || e.has("/actor_id") && string(e.str("/actor_id")) != "0" {
			r.SetAbsent("executor", record.NotEstablished)
			r.SetAbsent("requester", record.NotEstablished)
		}
		return
	case action == "user.failed_login":
		e.executor(typ, actor, "/actor")
		r.Set(record.ExecutorIDKind, kind, "")
		r.Set(record.ExecutorIssuer, "github", "")
		e.claimed = true
		r.SetAbsent("requester", record.NotEstablished)
		return
	}
	r.Set(record.ExecutorIssuer, "github", "")
	switch {
	case typ == record.Agent:
		e.executor(typ, actor, "/actor")
		e.set(record.ExecutorInstance, "/agent_session_id")
		e.set(record.ExecutorName, "/integration")
		if user := e.str("/user"); len(user) > 0 && !bytes.Equal(user, actor) {
			if t, _ := e.gitHubActor(user); t == record.Person && string(user) != "ghost" {
				e.gitHubPerson(user, "/user", fromLogin)
				e.delegate(record.Delegation{Principal: e.text(user), Audience: e.text(actor)}, "/user")
			}
		}
	case e.gitHubRun(action, typ, actor):
		kind = "github_workflow"
	case typ != record.Person:
		e.executor(typ, actor, "/actor")
		e.set(record.ExecutorName, "/integration")
	case strings.Contains(access, "server-to-server"), strings.Contains(access, "installation"):
		// A login without [bot] under an app's own token: an app all the same.
		e.executor(record.ServiceAccount, actor, "/actor")
		kind = "github_app"
	case strings.Contains(access, "user-to-server"), strings.Contains(access, "oauth"):
		e.gitHubPerson(actor, "/actor", fromLogin)
		e.set(record.RequesterName, "/external_identity_nameid", "/external_identity_username")
		kind = e.gitHubApp(action, access, actor)
	case strings.Contains(access, "key"):
		// "Public Key (User/Deploy)": the actor of a deploy key is who once added it.
		if !strings.Contains(access, "deploy") {
			e.executor(typ, actor, "/actor")
			e.gitHubPerson(actor, "/actor", fromBody)
			break
		}
		r.SetAbsent("requester", record.NotEstablished)
		if !strings.Contains(access, "user") {
			r.SetAbsent("executor", record.NotEstablished)
			e.attribute("key_owner", "/actor")
			return
		}
		e.executor(record.Unknown, actor, "/actor")
	default:
		e.executor(typ, actor, "/actor")
		proof := fromLogin
		if access != "" { // a token that the person may have lent
			proof = fromBody
		}
		e.gitHubPerson(actor, "/actor", proof)
		e.set(record.RequesterName, "/external_identity_nameid", "/external_identity_username")
	}
	r.Set(record.ExecutorIDKind, kind, "")
	if action == "staff.fake_login" { // a site administrator takes another's place
		e.set(record.ExecutorLocalAccount, "/user")
		e.delegate(record.Delegation{Principal: e.text(actor), Audience: e.text(e.str("/user"))}, "/actor")
	}
}

func (e *event) gitHubPerson(login []byte, prov string, how proof) {
	e.requester(record.Person, login, prov, how)
	e.r.Set(record.RequesterIDKind, "github_login", "")
	e.r.Set(record.RequesterIssuer, "github", "")
}

// gitHubApp makes the app that holds a person's token the executor, as far as
// the log names it, and returns the kind of the executor's identifier.
// Where the event is about an app, that one is not the one that acted.
func (e *event) gitHubApp(action, access string, actor []byte) string {
	about := strings.HasPrefix(action, "integration") || strings.HasPrefix(action, "oauth") || strings.Contains(action, "oauth_app") ||
		strings.Contains(action, "integration") || strings.HasPrefix(action, "marketplace")
	oauth := strings.Contains(access, "oauth")
	for _, p := range [...]struct{ pointer, kind string }{
		{"/integration", "github_app"},
		{"/oauth_application_name", "github_oauth_app"},
		{"/application_name", "github_oauth_app"},
		{"/application_client_id", "github_client_id"},
		{"/oauth_application_id", "github_oauth_app_id"},
	} {
		v := e.str(p.pointer)
		if len(v) == 0 || string(v) == "0" || about && p.kind != "github_client_id" || oauth != strings.Contains(p.kind, "oauth") && p.kind != "github_client_id" {
			continue
		}
		typ := record.Workload
		if p.kind == "github_app" && gitHubAgents[strings.ToLower(string(v))] {
			typ = record.Agent
		}
		e.executor(typ, v, p.pointer)
		return p.kind
	}
	e.executor(record.Person, actor, "/actor")
	return "github_login"
}

// gitHubRun: in the events of a run the workflow acts, set off by the actor. A
// schedule is set off by nobody: its actor is who last changed the file.
func (e *event) gitHubRun(action, typ string, actor []byte) bool {
	r := e.r
	switch action {
	case "workflows.created_workflow_run", "workflows.completed_workflow_run", "workflows.prepared_workflow_job":
	default:
		return false
	}
	prov := "/job_workflow_ref"
	id := e.str(prov)
	if len(id) == 0 {
		prov = "/workflow_id"
		if id = e.str(prov); len(id) > 0 {
			id = e.cat(e.str("/repo"), []byte("/actions/workflows/"), id)
		}
	}
	if len(id) == 0 {
		return false
	}
	e.executor(record.Workload, id, prov)
	e.set(record.ExecutorName, "/name")
	e.set(record.ExecutorInstance, "/workflow_run_id")
	if string(e.str("/event")) == "schedule" {
		r.SetAbsent("requester", record.NotApplicable)
		return true
	}
	if typ == record.Person {
		e.gitHubPerson(actor, "/actor", fromLogin)
	}
	e.delegate(record.Delegation{Principal: e.text(actor), Audience: r.Get(record.ExecutorID)}, "/actor")
	return true
}

// gitHubAsked are events about a request that somebody else grants, with what was said.
var gitHubAsked = map[string]string{
	"personal_access_token.request_created": "requested", "personal_access_token.access_granted": "approved", "personal_access_token.request_denied": "denied",
	"org.oauth_app_access_requested": "requested", "org.oauth_app_access_approved": "approved", "org.oauth_app_access_denied": "denied",
	"integration_installation_request.create": "requested", "integration_installation_request.approve": "approved", "integration_installation_request.reject": "denied",
	"workflows.approve_workflow_job": "approved", "workflows.reject_workflow_job": "denied",
	"environment.approve_deployment": "approved", "environment.reject_deployment": "denied",
}

// gitHubApproval: the actor answers. Who asked is the user of the event, where it has one.
func (e *event) gitHubApproval(action string) {
	r := e.r
	said := gitHubAsked[action]
	const request = "/user_programmatic_access_request_id"
	user, actor := e.str("/user"), e.str("/actor")
	if said == "" || action == "personal_access_token.access_granted" && !e.has(request) && (len(user) == 0 || bytes.Equal(user, actor)) {
		return // where tokens need no approval, access is granted without one
	}
	e.add(record.Attributes, []byte("approval="+said), "/action")
	e.set(record.ApprovalRequestID, request, "/gate_approval_id", "/workflow_run_id", "/oauth_application_id", "/integration_installation_request_id")
	e.set(record.ContextPurpose, "/comment", "/reason")
	if said == "requested" || !r.Has(record.ExecutorID) {
		return
	}
	e.put(record.ApprovalApprover, actor, "/actor")
	r.Unset(record.RequesterID)
	r.Unset(record.RequesterType)
	r.Unset(record.RequesterName)
	if t, _ := e.gitHubActor(user); len(user) > 0 && t == record.Person && (e.has(request) || !bytes.Equal(user, actor)) {
		e.gitHubPerson(user, "/user", fromLogin)
		return
	}
	r.SetAbsent("requester", record.NotEstablished)
}
