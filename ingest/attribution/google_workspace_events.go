package attribution

import (
	"strings"

	"custody/ingest/record"
)

// workspaceTargets are parameters that name what an event is about, with its type.
var workspaceTargets = [...]struct{ param, typ, app string }{
	{"doc_id", "document", "drive"},
	{"client_id", "oauth_client", "token"},
	{"rfc2822_message_id", "message", ""},
	{"message_id", "message", ""},
	{"API_CLIENT_NAME", "oauth_client", "admin"},
	{"OAUTH2_APP_ID", "oauth_client", "admin"},
	{"USER_EMAIL", "user", ""},
	{"affected_email_address", "user", ""},
	{"GROUP_EMAIL", "group", ""},
	{"group_email", "group", ""},
	{"calendar_id", "calendar", "calendar"},
	{"SETTING_NAME", "setting", "admin"},
	{"ROLE_NAME", "role", "admin"},
	{"DOMAIN_NAME", "domain", ""},
	{"room_id", "space", "chat"},
	{"meeting_code", "meeting", "meet"},
	{"application_name", "application", "saml"},
	{"CAA_APPLICATION", "application", ""},
	{"DEVICE_ID", "device", ""},
	{"resource_id", "resource", ""},
}

func (w *workspaceEvent) target() {
	r := w.r
	if r.Has(record.TargetID) {
		return
	}
	for _, t := range workspaceTargets {
		if t.app != "" && t.app != w.app {
			continue
		}
		if w.fill(record.TargetID, t.param) != nil {
			r.Set(record.TargetType, t.typ, "")
			break
		}
	}
	if !r.Has(record.TargetID) && w.set(record.TargetID, "/resourceDetails/0/id") != nil {
		w.set(record.TargetType, "/resourceDetails/0/type")
		w.set(record.TargetName, "/resourceDetails/0/title")
	}
	w.fill(record.TargetName, "doc_title", "GROUP_NAME", "calendar_title")
	if w.app == "token" {
		w.fill(record.TargetName, "app_name")
	}
	if r.Get(record.TargetName) == r.Get(record.TargetID) {
		r.Unset(record.TargetName)
	}
	if !r.Has(record.TargetID) && (w.app == "login" || strings.HasPrefix(w.app, "user_accounts")) {
		w.put(record.TargetID, w.str("/actor/email"), "/actor/email")
		r.Set(record.TargetType, "user", "")
	}
}

// details reads what single applications say.
func (w *workspaceEvent) details() {
	r := w.r
	w.fill(record.EffectBefore, "OLD_VALUE", "old_value", "old_visibility")
	w.fill(record.EffectAfter, "NEW_VALUE", "new_value", "visibility")
	for _, name := range [...]string{
		"login_type", "login_challenge_method", "is_suspicious", "is_second_factor", "client_type", "api_name", "visibility_change", "target_user",
		"originating_app_id", "ORG_UNIT_NAME", "ROLE_NAME", "SETTING_NAME", "event_category", "feature_source",
	} {
		if v, p := w.param(name); len(v) > 0 && string(v) != r.Get(record.TargetID) {
			w.add(record.Attributes, w.cat([]byte(strings.ToLower(name)), []byte("="), v), p)
		}
	}
	switch w.app {
	case "token":
		w.token()
	case "gemini_in_workspace_apps":
		w.fill(record.ActionTool, "action")
		w.fill(record.ActionServer, "app_name")
	case "admin":
		if w.name == "AUTHORIZE_API_CLIENT_ACCESS" || w.name == "REMOVE_API_CLIENT_ACCESS" {
			op := "issue"
			if strings.HasPrefix(w.name, "REMOVE") {
				op = "revoke"
			}
			w.grant(op, "google_domain_wide_delegation")
			w.fill(record.CredentialAudience, "API_CLIENT_NAME")
			w.scopes("API_SCOPES")
		}
	}
}

// token: what people let apps do in their name.
func (w *workspaceEvent) token() {
	w.scopes("scope")
	switch w.name {
	case "authorize":
		w.grant("issue", "google_oauth_grant")
	case "revoke":
		w.grant("revoke", "google_oauth_grant")
	case "activity":
		w.fill(record.ActionTool, "method_name")
		w.fill(record.AuthorityPermission, "method_name")
	}
	w.fill(record.CredentialAudience, "client_id")
}

func (w *workspaceEvent) grant(op, kind string) {
	w.r.Set(record.CredentialEventOp, op, w.at+"/name")
	w.r.Set(record.CredentialKind, kind, "")
	w.r.Set(record.CredentialIssuer, "google", "")
}

var workspaceGuide = guide{
	userSet: []string{
		"/events/*/parameters/doc_title: whoever may edit the document; kept as target.name",
		"/events/*/parameters/app_name: whoever registered the OAuth client, who can name it anything; client_id is what identifies it",
		"/events/*/parameters/user_agent: any client; kept as an attribute",
	},
	emit: map[Part]string{
		PartRequester: "`actor.email` of a person, also of one who let an app act (`actor.applicationInfo`, application `token`); none where `actor.callerType` is KEY, where the app impersonates (`impersonation`), " +
			"on a failed login and on Google's warnings",
		PartExecutor:   "`actor.email`, or `actor.applicationInfo.oauthClientId` / the token log's `client_id` where an app acted; `actor.key` (SYSTEM) for Google itself",
		PartTool:       "`events[].name` (of several events of one activity the one with `primary_event`, the others as attributes `event=`); the token log's `method_name`. Fetch the applications admin, login, token, drive, saml, gemini_in_workspace_apps",
		PartPermission: "the token log's `scope`, `API_SCOPES` of domain-wide delegation; Workspace logs no permission with its other events",
		PartDecision:   "application `context_aware_access` for refusals; what allowed an act is not logged",
		PartOutcome:    "the event's name: all others happened",
		PartChain:      "`id.uniqueQualifier` only: Workspace logs no request or session. In Cloud Logging the same events have `insertId`",
	},
}
