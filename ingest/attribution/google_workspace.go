package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// googleWorkspace decodes the activities of the Admin SDK Reports API (kind
// admin#reports#activity), one to a line, in an array or in {"items":[…]}, and,
// when pinned, what Google Workspace shares with Cloud Logging. An activity is
// one record: where it has several events, which the API writes for one act,
// the primary one gives the operation and the others stand as attributes.
func googleWorkspace() format {
	return format{
		name: "google_workspace", product: "Google Workspace", issuer: "google",
		shape: shapeJSON,
		keys:  []string{"id", "items"},
		match: func(e *event) bool {
			return e.isWorkspace() || e.src.Format == "google_workspace" && e.gcpPayload() != gcpNone
		},
		decode: func(e *event) {
			if e.isWorkspace() {
				decodeWorkspace(e)
				return
			}
			decodeGCP(e)
		},
		list: func(e *event) int32 {
			t := &e.doc
			n := root
			if t.kindOf(root) == kindObject {
				if n = t.get(root, "items"); n == 0 || string(e.value(t.get(root, "kind"))) != "admin#reports#activities" {
					return 0
				}
			}
			if t.kindOf(n) != kindArray || t.first(n) == 0 {
				return 0
			}
			e.root = t.first(n)
			is := e.isWorkspace()
			e.root = root
			if !is {
				return 0
			}
			return n
		},
		guide: workspaceGuide,
	}
}

func (e *event) isWorkspace() bool {
	t, o := &e.doc, e.root
	if t.kindOf(o) != kindObject {
		return false
	}
	id := t.get(o, "id")
	if id == 0 || t.kindOf(id) != kindObject || t.get(id, "applicationName") == 0 {
		return false
	}
	return string(e.value(t.get(o, "kind"))) == "admin#reports#activity" || t.get(id, "uniqueQualifier") != 0 && (t.get(o, "events") != 0 || t.get(o, "actor") != 0)
}

// workspace is one activity that is being decoded.
type workspaceEvent struct {
	*event
	app, name, typ string
	at             string // where the event stands
	params         map[string]int32
	provs          map[string]string
}

func decodeWorkspace(e *event) {
	r := e.r
	e.noPolVer, e.noDecide = true, true
	e.time("/id/time")
	e.set(record.SourceOriginalID, "/id/uniqueQualifier")
	e.set(record.SourceAddress, "/ipAddress")
	w := &workspaceEvent{event: e, params: make(map[string]int32), provs: make(map[string]string)}
	w.app = string(e.set(record.ActionService, "/id/applicationName"))
	e.set(record.EffectSystem, "/id/applicationName")
	w.choose()
	w.name = string(e.set(record.ActionOperation, w.at+"/name"))
	w.typ = string(e.str(w.at + "/type"))
	w.outcome()
	w.principals()
	w.target()
	w.details()
	e.attribute("customer", "/id/customerId")
	e.attribute("owner_domain", "/ownerDomain")
	if r.Get(record.ExecutorType) == record.Person {
		e.userAgent(w.provs["user_agent"])
	}
}

// choose finds the event that the activity is about and its parameters.
func (w *workspaceEvent) choose() {
	const most = 512
	t := &w.doc
	list := w.find("/events")
	if list == 0 || t.kindOf(list) != kindArray {
		w.at = "" // flattened: the event's members stand beside the actor
		w.read(w.find("/parameters"), "/parameters")
		return
	}
	best := 0
	for i, c := 0, t.first(list); c != 0 && i < most; i, c = i+1, t.next(c) {
		p := t.get(c, "parameters")
		if p == 0 || t.kindOf(p) != kindArray {
			continue
		}
		for q := t.first(p); q != 0; q = t.next(q) {
			if string(w.value(t.get(q, "name"))) == "primary_event" && string(w.value(t.get(q, "boolValue"))) == "true" && best == 0 {
				best = i
			}
		}
	}
	for i, c := 0, t.first(list); c != 0 && i < most; i, c = i+1, t.next(c) {
		at := "/events/" + decimal(i)
		if i == best {
			w.at = at
			w.read(t.get(c, "parameters"), at+"/parameters")
			continue
		}
		if name := w.value(t.get(c, "name")); len(name) > 0 {
			w.add(record.Attributes, w.cat([]byte("event="), name), at+"/name")
		}
	}
}

// read notes where the parameters stand. Each has one value, of its own type.
func (w *workspaceEvent) read(n int32, at string) {
	const most = 512
	t := &w.doc
	if n == 0 {
		return
	}
	if t.kindOf(n) == kindObject { // flattened to name: value
		for i, c := 0, t.first(n); c != 0 && i < most; i, c = i+1, t.next(c) {
			name := string(t.keyOf(c))
			w.params[name], w.provs[name] = c, at+"/"+w.text([]byte(pointerEscape(name)))
		}
		return
	}
	type list struct {
		n  int32
		at string
	}
	todo := []list{{n, at}}
	for len(todo) > 0 && len(w.params) < most {
		l := todo[0]
		todo = todo[1:]
		for i, c := 0, t.first(l.n); c != 0 && i < most; i, c = i+1, t.next(c) {
			name := string(w.value(t.get(c, "name")))
			for _, k := range [...]string{"value", "intValue", "boolValue", "multiValue", "multiIntValue", "multiStrValue", "messageValue"} {
				v := t.get(c, k)
				if v == 0 || w.params[name] != 0 {
					continue
				}
				at := l.at + "/" + decimal(i) + "/" + k
				w.params[name], w.provs[name] = v, at
				if k == "messageValue" { // parameters in a parameter
					if p := t.get(v, "parameter"); p != 0 && t.kindOf(p) == kindArray && len(todo) < 64 {
						todo = append(todo, list{p, at + "/parameter"})
					}
				}
			}
		}
	}
}

var pointerEscape = strings.NewReplacer("~", "~0", "/", "~1").Replace

// param is the text of the first of the parameters that there is, and where it stands.
func (w *workspaceEvent) param(names ...string) (v []byte, prov string) {
	for _, name := range names {
		n := w.params[name]
		if n == 0 {
			continue
		}
		prov = w.provs[name]
		if w.doc.kindOf(n) == kindArray {
			n = w.doc.first(n)
		}
		if v = w.value(n); len(v) > 0 {
			return v, prov
		}
	}
	return nil, ""
}

func (w *workspaceEvent) fill(f record.Field, names ...string) []byte {
	v, p := w.param(names...)
	w.put(f, v, p)
	return v
}

// scopes lists a parameter with several values, or one with several in it.
func (w *workspaceEvent) scopes(names ...string) {
	for _, name := range names {
		n := w.params[name]
		if n == 0 {
			continue
		}
		if w.doc.kindOf(n) == kindArray {
			for c := w.doc.first(n); c != 0; c = w.doc.next(c) {
				w.add(record.AuthorityScopes, w.value(c), w.provs[name])
			}
			return
		}
		for s := range bytes.FieldsFuncSeq(w.value(n), func(c rune) bool { return c == ',' || c == ' ' }) {
			w.add(record.AuthorityScopes, s, w.provs[name])
		}
		return
	}
}

func (w *workspaceEvent) outcome() {
	r := w.r
	name := strings.ToLower(w.name)
	p := w.at + "/name"
	status := record.Success
	switch {
	case w.app == "context_aware_access" && strings.Contains(name, "deny"), strings.HasSuffix(name, "login_failure"), strings.HasSuffix(name, "_blocked"),
		w.app == "token" && name == "deny", strings.HasSuffix(name, "_denied"):
		status = record.Denied
	case strings.HasSuffix(name, "_failure"), strings.HasSuffix(name, "_failed"):
		status = record.Failure
	}
	r.Set(record.OutcomeStatus, status, p)
	w.fill(record.OutcomeCode, "login_failure_type", "failure_type", "saml_status_code", "error_code")
	if status == record.Denied && w.app != "login" && w.app != "saml" {
		r.Set(record.DecisionEffect, record.Deny, p)
		w.fill(record.DecisionPolicyID, "CAA_ACCESS_LEVEL_UNSATISFIED", "CAA_ACCESS_LEVEL_APPLIED", "rule_name")
		w.fill(record.DecisionPosture, "CAA_DEVICE_STATE")
	}
	changed := record.Yes
	switch {
	case status != record.Success:
		changed = record.No
	case w.app == "drive":
		switch name {
		case "view", "download", "print", "preview", "email_as_attachment", "sheets_import_range", "access_item_content":
			changed = record.No
		}
	case w.app == "login", w.app == "saml", w.app == "gmail", w.app == "access_transparency", w.app == "gemini_in_workspace_apps",
		w.app == "meet", w.app == "rules", w.app == "context_aware_access":
		changed = record.Unknown
		if name == "login_success" || name == "login_challenge" || name == "login_verification" {
			changed = record.No
		}
	case w.app == "token" && name == "activity", strings.HasSuffix(name, "_view"), strings.HasPrefix(name, "view_"):
		changed = record.Unknown
	}
	r.Set(record.EffectChanged, changed, p)
}

// principals: the actor did it, with its own sign-in or through an app.
func (w *workspaceEvent) principals() {
	r := w.r
	const actor, info = "/actor", "/actor/applicationInfo"
	id, prov := w.str(actor+"/email"), actor+"/email"
	typ, kind := record.Unknown, "google_profile"
	switch key := w.str(actor + "/key"); {
	case len(id) > 0:
		typ, kind = gcpKind(string(id))
	case len(key) > 0: // SYSTEM, or the key of a program
		id, prov, kind, typ = key, actor+"/key", "google_key", record.Workload
	default:
		id, prov = w.str(actor+"/profileId"), actor+"/profileId"
		if len(id) > 0 && string(w.str(actor+"/callerType")) == "USER" {
			typ = record.Person
		}
	}
	if len(id) == 0 || string(id) == "anonymous" {
		r.SetAbsent("executor", record.NotEstablished)
		r.SetAbsent("requester", record.NotEstablished)
		return
	}
	person := typ == record.Person
	claimed := person && (w.app == "login" || w.app == "saml") && r.Get(record.OutcomeStatus) != record.Success
	ask := func() {
		if w.app == "gmail" { // anyone's mail bears a sender
			w.claimed = true
			r.SetAbsent("requester", record.NotEstablished)
			return
		}
		w.requester(typ, id, prov, fromLogin)
		r.Set(record.RequesterIDKind, kind, "")
		r.Set(record.RequesterIssuer, "google", "")
	}
	r.Set(record.ExecutorIssuer, "google", "")
	if w.typ == "account_warning" || w.typ == "attack_warning" {
		// Google's finding about an account, not an act of its owner.
		w.put(record.TargetID, id, prov)
		r.Set(record.TargetType, "user", "")
		r.SetAbsent("executor", record.NotApplicable)
		r.SetAbsent("requester", record.NotApplicable)
		return
	}
	app, appAt := w.app3()
	switch {
	case claimed:
		w.executor(typ, id, prov)
		w.claim()
	case len(app) == 0:
		w.executor(typ, id, prov)
		if person {
			ask()
		}
	case w.isTrue(info + "/impersonation"):
		// The app took the user's place by the domain's delegation: it acted.
		w.executor(record.Workload, app, appAt)
		w.put(record.ExecutorLocalAccount, id, prov)
		w.delegate(record.Delegation{Principal: w.text(app), Audience: w.text(id)}, appAt)
		r.SetAbsent("requester", record.NotEstablished)
		kind = "google_oauth_client"
	default:
		w.executor(record.Workload, app, appAt)
		if person {
			ask()
		}
		w.delegate(record.Delegation{Principal: w.text(id), Audience: w.text(app)}, prov)
		kind = "google_oauth_client"
	}
	r.Set(record.ExecutorIDKind, kind, "")
	if v, p := w.param("delegating_principal"); len(v) > 0 { // who lent the actor a mailbox or calendar
		w.put(record.ExecutorLocalAccount, v, p)
	}
}

// app3 is the app that acted with the user's consent, if one did.
func (w *workspaceEvent) app3() (id []byte, prov string) {
	const info = "/actor/applicationInfo"
	for _, p := range [...]string{info + "/oauthClientId", info + "/applicationName"} {
		if v := w.str(p); len(v) > 0 {
			w.set(record.ExecutorName, info+"/applicationName")
			return v, p
		}
	}
	if w.app == "token" && w.name == "activity" {
		w.fill(record.ExecutorName, "app_name")
		return w.param("client_id", "app_name")
	}
	return nil, ""
}
