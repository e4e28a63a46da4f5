package attribution

import (
	"strings"

	"custody/ingest/record"
)

// slack decodes entries of Slack's Audit Logs API, one to a line, in an array or
// in {"entries":[…]}.
func slack() format {
	return format{
		name: "slack", product: "Slack", issuer: "slack",
		shape:  shapeJSON,
		keys:   []string{"date_create", "entries"},
		match:  func(e *event) bool { return e.isSlack() },
		decode: decodeSlack,
		list: func(e *event) int32 {
			t := &e.doc
			n := root
			if t.kindOf(root) == kindObject {
				if n = t.get(root, "entries"); n == 0 {
					return 0
				}
				for c := t.first(root); c != 0; c = t.next(c) {
					switch string(t.keyOf(c)) {
					case "entries", "response_metadata", "ok":
					default:
						return 0 // more than entries: keep the line whole
					}
				}
			}
			if t.kindOf(n) != kindArray || t.first(n) == 0 {
				return 0
			}
			e.root = t.first(n)
			is := e.isSlack()
			e.root = root
			if !is {
				return 0
			}
			return n
		},
		guide: slackGuide,
	}
}

func (e *event) isSlack() bool {
	t, o := &e.doc, e.root
	if t.kindOf(o) != kindObject || t.get(o, "date_create") == 0 || t.get(o, "action") == 0 {
		return false
	}
	actor := t.get(o, "actor")
	if e.src.Format == "slack" {
		return true // the configuration says so
	}
	return actor != 0 && t.kindOf(actor) == kindObject && (t.get(o, "entity") != 0 || t.get(o, "context") != 0)
}

func decodeSlack(e *event) {
	r := e.r
	e.noPolVer, e.noDecide = true, true
	e.time("/date_create")
	e.set(record.SourceOriginalID, "/id")
	// "N/A" and the like stand for acts without a client.
	if ip := e.str("/context/ip_address"); len(ip) > 0 && (ip[0]-'0' < 10 || strings.IndexByte(string(ip), ':') >= 0) {
		e.put(record.SourceAddress, ip, "/context/ip_address")
	}
	r.Set(record.ActionService, "slack", "")
	r.Set(record.EffectSystem, "slack", "")
	action := string(e.set(record.ActionOperation, "/action"))
	if id := e.str("/context/session_id"); len(id) > 0 && string(id) != "0" {
		e.put(record.ChainSessionID, id, "/context/session_id")
	}
	e.slackTarget()
	e.slackOutcome(action)
	e.slackPrincipals(action)
	e.slackGrant(action)
	e.userAgent("/context/ua")
	e.attribute("location", "/context/location/domain", "/context/location/name")
	e.attribute("reason", "/details/reason/0", "/details/reason", "/details/type")
}

// slackTarget: entity is {"type":T, T:{…}}.
func (e *event) slackTarget() {
	typ := string(e.set(record.TargetType, "/entity/type"))
	if typ == "" || strings.ContainsAny(typ, "/~") || len(typ) > 64 {
		return
	}
	at := "/entity/" + typ
	e.set(record.TargetID, at+"/id", at+"/team", at+"/timestamp")
	e.set(record.TargetName, at+"/email", at+"/name", at+"/title")
	e.set(record.TargetSensitivity, at+"/privacy")
}

func (e *event) slackOutcome(action string) {
	r := e.r
	status := record.Success
	switch {
	case strings.HasPrefix(action, "user_login_failed"), strings.HasSuffix(action, "_denied"), strings.HasSuffix(action, "_blocked"):
		status = record.Denied
	case strings.HasSuffix(action, "_failed"):
		status = record.Failure
	}
	r.Set(record.OutcomeStatus, status, "/action")
	changed := record.Yes
	switch {
	case status != record.Success, strings.HasPrefix(action, "user_login"), strings.HasSuffix(action, "_downloaded"), strings.HasSuffix(action, "_viewed"),
		strings.HasSuffix(action, "_previewed"), strings.HasSuffix(action, "_exported"):
		changed = record.No
	case action == "anomaly":
		changed = record.Unknown
	}
	r.Set(record.EffectChanged, changed, "/action")
	if d := "/details"; e.has(d) {
		e.set(record.EffectBefore, d+"/previous_value", d+"/old_value", d+"/previous_name")
		e.set(record.EffectAfter, d+"/new_value", d+"/new_name")
	}
}

// slackUser tells what an account is: Slack's own bot has an account like a person's.
func (e *event) slackUser(at string) (typ string, id []byte, prov, kind string) {
	id, prov, kind = e.str(at+"/email"), at+"/email", "email"
	uid := string(e.str(at + "/id"))
	if len(id) == 0 {
		id, prov, kind = e.str(at+"/id"), at+"/id", "slack_user_id"
	}
	switch {
	case len(id) == 0:
		return record.Unknown, nil, "", ""
	case uid == "USLACKBOT", uid == "USLACKUSER":
		return record.Workload, []byte(uid), at + "/id", "slack_user_id"
	case strings.HasPrefix(uid, "B"), e.isTrue(at + "/is_bot"), e.isTrue(at + "/is_workflow_bot"):
		return record.ServiceAccount, id, prov, kind
	}
	return record.Person, id, prov, kind
}

// slackPrincipals: a person acts with its own session, or an app acts with the
// person's token (context.app), or an app or workflow acts by itself.
func (e *event) slackPrincipals(action string) {
	r := e.r
	r.Set(record.ExecutorIssuer, "slack", "")
	actor := string(e.str("/actor/type"))
	if actor == "" && e.has("/actor/user") {
		actor = "user"
	}
	switch actor {
	case "user":
	case "app", "workflow", "agent", "service_account", "bot", "system":
		typ := map[string]string{"agent": record.Agent, "service_account": record.ServiceAccount, "app": record.ServiceAccount, "bot": record.ServiceAccount}[actor]
		if typ == "" {
			typ = record.Workload
		}
		at := "/actor/" + actor
		if id := e.str(at + "/id"); len(id) > 0 {
			e.executor(typ, id, at+"/id")
			e.set(record.ExecutorName, at+"/name")
			r.Set(record.ExecutorIDKind, "slack_"+actor+"_id", "")
		} else if name := e.str(at + "/name"); len(name) > 0 {
			e.executor(typ, name, at+"/name")
		}
		return
	default:
		return
	}
	const user = "/actor/user"
	typ, id, prov, kind := e.slackUser(user)
	if len(id) == 0 {
		return
	}
	if strings.HasPrefix(action, "user_login_failed") {
		e.executor(typ, id, prov)
		r.Set(record.ExecutorIDKind, kind, "")
		e.claim()
		return
	}
	ask := func() {
		if typ != record.Person {
			return
		}
		e.requester(typ, id, prov, fromLogin)
		e.set(record.RequesterName, user+"/name")
		r.Set(record.RequesterIDKind, kind, "")
		r.Set(record.RequesterIssuer, "slack", "")
		e.set(record.RequesterTenant, user+"/team")
	}
	if action == "anomaly" { // Slack's finding about the account, whoever was using it
		e.claimed = true
		r.SetAbsent("requester", record.NotEstablished)
	} else {
		ask()
	}
	if app := e.str("/context/app/id"); len(app) > 0 {
		apptype := record.Workload
		if e.isTrue("/context/app/is_agent") || e.isTrue("/context/app/is_ai_agent") {
			apptype = record.Agent
		}
		e.executor(apptype, app, "/context/app/id")
		e.set(record.ExecutorName, "/context/app/name")
		r.Set(record.ExecutorIDKind, "slack_app_id", "")
		e.delegate(record.Delegation{Principal: e.text(id), Audience: e.text(app)}, prov)
		return
	}
	e.executor(typ, id, prov)
	e.set(record.ExecutorName, user+"/name")
	e.set(record.ExecutorInstance, user+"/id")
	r.Set(record.ExecutorIDKind, kind, "")
}

// slackGrants are the events by which apps and sessions gain and lose authority.
var slackGrants = map[string]struct{ op, kind string }{
	"app_installed":                                {"issue", "slack_app_grant"},
	"org_app_workspace_added":                      {"issue", "slack_app_grant"},
	"app_scopes_expanded":                          {"renew", "slack_app_grant"},
	"app_resources_added":                          {"renew", "slack_app_grant"},
	"app_resources_granted":                        {"renew", "slack_app_grant"},
	"bot_token_upgraded":                           {"renew", "slack_bot_token"},
	"bot_token_downgraded":                         {"renew", "slack_bot_token"},
	"app_uninstalled":                              {"revoke", "slack_app_grant"},
	"org_app_workspace_removed":                    {"revoke", "slack_app_grant"},
	"app_token_revoked":                            {"revoke", "slack_app_grant"},
	"user_login":                                   {"issue", "slack_session"},
	"user_logout":                                  {"revoke", "slack_session"},
	"user_logout_compromised":                      {"revoke", "slack_session"},
	"user_logout_non_compliant_mobile_app_version": {"revoke", "slack_session"},
	"user_session_invalidated":                     {"revoke", "slack_session"},
	"user_session_reset_by_admin":                  {"revoke", "slack_session"},
	"service_account_token_created":                {"issue", "slack_service_token"},
	"service_account_token_revoked":                {"revoke", "slack_service_token"},
}

// slackAsked are events in which somebody answers for an app.
var slackAsked = map[string]string{
	"app_approved": "approved", "app_restricted": "denied", "app_requested": "requested", "app_request_approved": "approved", "app_request_denied": "denied",
	"org_app_approved": "approved", "org_app_restricted": "denied",
}

func (e *event) slackGrant(action string) {
	r := e.r
	for _, p := range [...]string{"/details/new_scopes", "/details/scopes", "/entity/app/scopes", "/details/bot_scopes"} {
		if n := e.find(p); n != 0 && e.doc.first(n) != 0 {
			e.list(record.AuthorityScopes, p)
			break
		}
	}
	if g, ok := slackGrants[action]; ok {
		r.Set(record.CredentialEventOp, g.op, "/action")
		r.Set(record.CredentialKind, g.kind, "")
		r.Set(record.CredentialIssuer, "slack", "")
		if g.kind == "slack_session" {
			e.set(record.CredentialID, "/details/session_id")
			if action == "user_login" || action == "user_logout" { // else it is the session of who ended another
				e.set(record.CredentialID, "/context/session_id")
			}
		} else {
			e.set(record.CredentialAudience, "/entity/app/id")
		}
	}
	said := slackAsked[action]
	if said == "" {
		return
	}
	e.add(record.Attributes, []byte("approval="+said), "/action")
	e.set(record.ApprovalRequestID, "/details/request_id", "/details/aaa_request/id", "/entity/app/id")
	if said == "requested" || !r.Has(record.ExecutorID) {
		return
	}
	r.Set(record.ApprovalApprover, r.Get(record.ExecutorID), r.Prov(record.ExecutorID))
	r.Unset(record.RequesterID)
	r.Unset(record.RequesterType)
	r.Unset(record.RequesterName)
	r.Unset(record.RequesterTenant)
	r.SetAbsent("requester", record.NotEstablished)
}

var slackGuide = guide{
	userSet: []string{
		"/context/ua: any client; kept as an attribute, and an agent's mark in it is only ever a finding",
		"/actor/user/name, /entity/*/name: their owners, who can choose them; ids and emails identify",
		"/context/app/name: whoever made the app; its id identifies it",
	},
	emit: map[Part]string{
		PartRequester:  "`actor.user` (email, else id) of a person, also where an app acted with that person's token; none where `actor.type` is app or workflow, and on a failed login",
		PartExecutor:   "`context.app` where an app acted with a user's token, else `actor`. The Audit Logs API needs an Enterprise organization and the scope `auditlogs:read`",
		PartTool:       "`action`; messages that an app posts are not in the audit log, only in the Discovery API",
		PartPermission: "the scopes of an app in `entity.app.scopes` and `details.new_scopes`, when it is installed or widened; never with a use",
		PartDecision:   "`app_approved` and `app_restricted` name who answered; what allowed another act is not logged",
		PartOutcome:    "`action`: all but `user_login_failed` and the like happened",
		PartChain:      "`context.session_id` of a signed-in user, `id` of the entry",
	},
}
