package attribution

import (
	"bytes"
	"slices"
	"strings"

	"custody/ingest/record"
)

// auth0 decodes the tenant logs of Auth0: bare, as log streams wrap them
// ({"log_id":…,"data":{…}}), in arrays, and in Amazon EventBridge or Azure Event
// Grid. It follows Auth0's log event type codes and its published log schemas.
func auth0() format {
	return format{
		name: "auth0", product: "Auth0", issuer: "auth0",
		shape: shapeJSON,
		keys:  []string{"type", "data", "detail", "logs"},
		match: func(e *event) bool {
			_, ok := e.auth0Place(e.root)
			return ok || e.pinned() && e.doc.get(e.root, "type") != 0
		},
		decode: func(e *event) {
			if p, ok := e.auth0Place(e.root); ok && p != "" {
				e.inside(p)
			}
			decodeAuth0(e)
		},
		list: func(e *event) int32 {
			t := &e.doc
			n := root
			if t.kindOf(root) == kindObject {
				n = t.get(root, "logs")
			}
			if n == 0 || t.kindOf(n) != kindArray {
				return 0
			}
			c := t.first(n)
			if c == 0 {
				return 0
			}
			if _, ok := e.auth0Place(c); !ok {
				return 0
			}
			return n
		},
		guide: auth0Guide,
	}
}

// auth0Place finds the log event in the object n.
func (e *event) auth0Place(n int32) (pointer string, ok bool) {
	t := &e.doc
	if t.kindOf(n) != kindObject {
		return "", false
	}
	for _, p := range [...]string{"", "/data", "/detail/data", "/detail", "/data/data"} {
		o := t.find(n, p)
		if o == 0 || t.kindOf(o) != kindObject || t.get(o, "type") == 0 || t.get(o, "date") == 0 {
			continue
		}
		if t.get(o, "log_id") == 0 && t.get(o, "_id") == 0 && t.get(n, "log_id") == 0 {
			continue
		}
		for _, k := range [...]string{"tenant_name", "$event_schema", "auth0_client", "client_name", "strategy_type", "connection_id"} {
			if t.get(o, k) != 0 {
				return p, true
			}
		}
	}
	return "", false
}

func decodeAuth0(e *event) {
	r := e.r
	e.noDecide = true
	e.time("/date")
	e.set(record.SourceOriginalID, "/log_id", "/_id")
	op := string(e.set(record.ActionOperation, "/type"))
	r.Set(record.ActionService, "auth0", "")
	r.Set(record.EffectSystem, "auth0", "")
	e.set(record.SourceAddress, "/ip", "/client_ip")
	e.set(record.ActionServer, "/hostname")
	e.set(record.ChainSessionID, "/session_id", "/details/session_id", "/details/sessionId")
	e.set(record.ChainRequestID, "/references/correlation_id", "/details/request/correlation_id")
	e.set(record.ChainTraceID, "/references/trace_id")
	e.set(record.ChainTxn, "/transaction_linking_id", "/details/transaction_id")
	e.traceParent("/references/traceparent")
	e.auth0Outcome(op)
	e.auth0Target(op)
	e.auth0Principals(op)
	e.auth0Credential(op)
	e.auth0Effect(op)
	for _, n := range [...]string{"tenant_name", "client_id", "client_name", "connection", "strategy", "organization_id", "external_agent_id", "identity_user_id", "environment_name"} {
		e.attribute(n, "/"+n)
	}
	e.attribute("mtls_thumbprint", "/mtls_thumbprint_sha256")
	e.userAgent("/user_agent", "/details/request/userAgent")
}

// auth0Outcome tells from the type how it went: codes begin with s or f, newer
// types say it in words.
func (e *event) auth0Outcome(op string) {
	r := e.r
	status := record.Success
	switch {
	case strings.HasPrefix(op, "limit_"), op == "pwd_leak", op == "signup_pwd_leak", op == "reset_pwd_leak", op == "gd_auth_rejected", op == "fdecc",
		op == "gd_auth_failed", op == "gd_otp_rate_limit_exceed", op == "gd_recovery_rate_limit_exceed", op == "pla":
		status = record.Denied
	case strings.Contains(op, "fail"):
		status = record.Failure
	case strings.HasPrefix(op, "s"), strings.HasPrefix(op, "gd_"), strings.Contains(op, "succe"), op == "mgmt_api_read", op == "cls", op == "cs", op == "du", op == "ublkdu":
	case strings.HasPrefix(op, "f"):
		status = record.Failure
	case op == "api_limit":
		status = record.Failure
	default:
		status = record.Unknown // notices and warnings
	}
	detail := e.str("/details/error/message")
	at := "/details/error/message"
	if len(detail) == 0 {
		detail, at = e.str("/details/error"), "/details/error"
	}
	if len(detail) == 0 {
		detail, at = e.str("/description"), "/description"
	}
	if status == record.Failure && (auth0Gate(op) || refused(detail)) {
		status = record.Denied
	}
	prov := "/type"
	if v := e.set(record.OutcomeCode, "/details/response/statusCode", "/details/error/oauthError", "/details/error/type"); len(v) == 3 {
		if o := outcome(v); o != record.Unknown {
			status, prov = o, "/details/response/statusCode"
		}
	}
	r.Set(record.OutcomeStatus, status, prov)
	if status == record.Success || status == record.Unknown {
		e.set(record.Message, "/description")
		return
	}
	e.put(record.OutcomeDetail, detail, at)
	if status == record.Denied {
		r.Set(record.DecisionEffect, record.Deny, prov)
		e.put(record.DecisionReason, detail, at)
	}
}

// auth0Gate tells the types that fail when somebody is not let in.
func auth0Gate(op string) bool {
	switch op {
	case "f", "fp", "fu", "fc", "fco", "fcoa", "fsa", "fens", "fdelsa", "ferrt", "failed_on_behalf_of_token_exchange", "ciba_exchange_failed":
		return true
	}
	return strings.HasPrefix(op, "fe") && (strings.HasSuffix(op, "ft") || op == "fecte" || op == "fede") || op == "fdeleacft"
}

func (e *event) auth0Target(op string) {
	r := e.r
	switch {
	case e.has("/details/request/path"):
		e.set(record.TargetID, "/details/request/path")
		r.Set(record.TargetType, "management_api", "")
		e.set(record.ActionTool, "/details/request/method")
		e.set(record.AuthorityPermission, "/details/request/method")
	case e.set(record.TargetID, "/audience") != nil:
		r.Set(record.TargetType, "api", "")
	case e.set(record.TargetID, "/client_id") != nil:
		r.Set(record.TargetType, "client", "")
		e.set(record.TargetName, "/client_name")
	case e.set(record.TargetID, "/connection") != nil:
		r.Set(record.TargetType, "connection", "")
	}
	if op == "du" || op == "sdu" || op == "fdu" {
		e.set(record.TargetID, "/user_id", "/details/user_id")
		r.Set(record.TargetType, "user", "")
	}
}

// auth0Kind is the type of principal that a subject stands for: users have the
// strategy in front, clients that ask for themselves a mark behind.
func auth0Kind(sub []byte) string {
	switch {
	case bytes.HasSuffix(sub, []byte("@clients")):
		return record.Workload
	case bytes.IndexByte(sub, '|') > 0:
		return record.Person
	}
	return record.Unknown
}

// auth0ByClient reports whether the client redeems or asks, and the user is only whom for.
func auth0ByClient(op string) bool {
	if op == "sens" || op == "fens" {
		return false // a native social login, with the user present
	}
	return strings.HasPrefix(op, "se") || strings.HasPrefix(op, "fe") && op != "federated_logout_failed" || strings.Contains(op, "exchange") ||
		strings.HasPrefix(op, "ciba_") || strings.HasPrefix(op, "connected_accounts_") || strings.Contains(op, "del") && strings.HasSuffix(op, "acft")
}

// auth0Principals: users log in, clients redeem tokens for them or for
// themselves, agents act for users, and with delegated logins an actor takes on
// a user's account.
func (e *event) auth0Principals(op string) {
	r := e.r
	r.Set(record.ExecutorIssuer, "auth0", "")
	const actor = "/details/actor/sub"
	user := e.str("/user_id")
	ok := r.Get(record.OutcomeStatus) == record.Success
	asked := func(how proof) {
		if len(user) == 0 {
			r.SetAbsent("requester", record.NotEstablished)
			return
		}
		typ := auth0Kind(user)
		if typ == record.Workload {
			r.SetAbsent("requester", record.NotEstablished)
			return
		}
		e.auth0Person(typ, user, "/user_id", how)
	}
	switch {
	case strings.Contains(op, "del") && e.has(actor) && !e.has("/agent_id"):
		who := e.str(actor)
		e.executor(auth0Kind(who), who, actor)
		r.Set(record.ExecutorIDKind, "auth0_user_id", "")
		e.put(record.ExecutorLocalAccount, user, "/user_id")
		e.delegate(record.Delegation{Principal: e.text(who), Audience: e.text(user)}, actor)
		if auth0Kind(who) == record.Person {
			e.auth0Person(record.Person, who, actor, fromLogin)
		} else {
			r.SetAbsent("requester", record.NotEstablished)
		}
	case e.has("/agent_id"):
		e.executor(record.Agent, e.str("/agent_id"), "/agent_id")
		r.Set(record.ExecutorIDKind, "auth0_agent", "")
		e.set(record.ExecutorName, "/client_name")
		e.set(record.ExecutorInstance, "/client_id")
		asked(fromLogin)
		e.auth0Chain()
	case e.has(actor):
		e.executor(auth0Kind(e.str(actor)), e.str(actor), actor)
		if r.Get(record.ExecutorType) == record.Person {
			r.Set(record.ExecutorType, record.Unknown, "") // what a token says, and no login
		}
		asked(fromLogin)
		e.auth0Chain()
	case op == "sapi" || op == "fapi" || op == "mgmt_api_read":
		e.auth0Management()
	case auth0ByClient(op):
		e.executor(record.Workload, e.str("/client_id"), "/client_id")
		r.Set(record.ExecutorIDKind, "auth0_client", "")
		e.set(record.ExecutorName, "/client_name")
		e.claimed = !ok
		if op == "seccft" || op == "feccft" {
			r.SetAbsent("requester", record.NotEstablished)
			return
		}
		asked(fromLogin)
		if r.Has(record.RequesterID) && r.Has(record.ExecutorID) {
			e.delegate(record.Delegation{Principal: r.Get(record.RequesterID), Audience: r.Get(record.ExecutorID), Scopes: e.scopeList("/scope")}, "/user_id")
		}
	default:
		how := fromLogin
		if !ok {
			how, e.claimed = fromParam, true
		}
		id, prov, typ := user, "/user_id", auth0Kind(user)
		if len(id) == 0 {
			if id, prov, typ = e.str("/user_name"), "/user_name", record.Unknown; len(id) > 0 {
				how, e.claimed = fromParam, true // what somebody typed
			}
		}
		if len(id) == 0 {
			if e.executor(record.Workload, e.str("/client_id"), "/client_id"); r.Has(record.ExecutorID) {
				r.Set(record.ExecutorIDKind, "auth0_client", "")
			}
			r.SetAbsent("requester", record.NotEstablished)
			return
		}
		e.executor(typ, id, prov)
		r.Set(record.ExecutorIDKind, "auth0"+strings.ReplaceAll(prov, "/", "_"), "")
		if prov == "/user_id" {
			e.set(record.ExecutorName, "/user_name")
		}
		if typ == record.Workload {
			r.SetAbsent("requester", record.NotEstablished)
			return
		}
		e.auth0Person(typ, id, prov, how)
	}
}

func (e *event) auth0Person(typ string, id []byte, prov string, how proof) {
	r := e.r
	e.requester(typ, id, prov, how)
	r.Set(record.RequesterIDKind, "auth0_user_id", "")
	r.Set(record.RequesterIssuer, "auth0", "")
	e.set(record.RequesterTenant, "/tenant_name")
	switch prov {
	case "/user_id":
		e.set(record.RequesterName, "/user_name")
	case "/user_name":
		r.Set(record.RequesterIDKind, "auth0_user_name", "")
	}
}

// auth0Chain lists who handed on to whom: the user, then the actors from the
// first, which is nested deepest, to the one that acts.
func (e *event) auth0Chain() {
	r := e.r
	t := &e.doc
	var subs []string
	for n, depth := e.find("/details/actor"), 0; n != 0 && t.kindOf(n) == kindObject && depth < 32; depth++ {
		if v := e.value(t.get(n, "sub")); len(v) > 0 {
			subs = append(subs, e.text(v))
		}
		n = t.get(n, "act")
	}
	agent := r.Get(record.ExecutorID)
	switch {
	case len(subs) == 0:
		subs = []string{agent}
	case subs[0] == agent:
	case strings.TrimSuffix(subs[0], "@clients") == string(e.str("/client_id")):
		subs[0] = agent // the agent's client, which stands for it in tokens
	default:
		subs = append([]string{agent}, subs...)
	}
	from := r.Get(record.RequesterID)
	for _, sub := range slices.Backward(subs) {
		if from != "" && from != sub {
			d := record.Delegation{Principal: from, Audience: sub}
			if from == r.Get(record.RequesterID) {
				d.Scopes = e.scopeList("/scope")
			}
			e.delegate(d, "/details/actor")
		}
		from = sub
	}
}

// auth0Management: calls of the Management API say who the token belongs to.
func (e *event) auth0Management() {
	r := e.r
	const auth = "/details/request/auth"
	for _, p := range []string{auth + "/user/user_id", auth + "/subject", auth + "/sub", "/user_id", auth + "/client/client_id", auth + "/client_id", "/client_id"} {
		v := e.str(p)
		if len(v) == 0 {
			continue
		}
		typ := auth0Kind(v)
		if strings.HasSuffix(p, "client_id") {
			typ = record.Workload
		}
		e.executor(typ, bytes.TrimSuffix(v, []byte("@clients")), p)
		switch {
		case typ == record.Person:
			r.Set(record.ExecutorIDKind, "auth0_user_id", "")
			e.set(record.ExecutorName, auth+"/user/email", auth+"/user/name", "/user_name")
			e.auth0Person(typ, v, p, fromLogin)
			e.set(record.RequesterName, auth+"/user/email", auth+"/user/name", "/user_name")
		default:
			r.Set(record.ExecutorIDKind, "auth0_client", "")
			e.set(record.ExecutorName, "/client_name")
			r.SetAbsent("requester", record.NotEstablished)
		}
		break
	}
	if e.set(record.CredentialID, auth+"/credentials/jti", auth+"/jti") != nil {
		r.Set(record.CredentialKind, "management_api_token", "")
		r.Set(record.CredentialIssuer, "auth0", "")
	}
	for _, p := range []string{auth + "/credentials/scopes", auth + "/scopes"} {
		if e.has(p) {
			e.list(record.AuthorityScopes, p)
			break
		}
	}
}

func (e *event) auth0Credential(op string) {
	r := e.r
	for _, s := range e.scopeList("/scope") {
		e.add(record.AuthorityScopes, []byte(s), "/scope")
	}
	if r.Get(record.OutcomeStatus) != record.Success {
		return
	}
	life, kind := "", "access_token"
	desc := bytes.ToLower(e.str("/description"))
	switch {
	case op == "s" || op == "ssa":
		if !r.Has(record.ChainSessionID) {
			return
		}
		life, kind = "issue", "auth0_session"
		if op == "ssa" {
			life = "use"
		}
	case op == "slo", strings.HasPrefix(op, "oidc_backchannel_logout"), strings.HasPrefix(op, "federated_logout"):
		life, kind = "revoke", "auth0_session"
	case op == "srrt", strings.Contains(op, "revoke"):
		life, kind = "revoke", "refresh_token"
	case op == "sertft":
		life = "renew"
	case op == "secte", op == "sens", strings.Contains(op, "token_exchange"), strings.HasPrefix(op, "se") && bytes.Contains(desc, []byte("token exchange")):
		life = "exchange"
	case strings.HasPrefix(op, "se") && strings.HasSuffix(op, "ft"), op == "sede", op == "ciba_exchange_succeeded", op == "sdeleacft":
		life = "issue"
	default:
		return
	}
	r.Set(record.CredentialEventOp, life, "/type")
	r.Set(record.CredentialKind, kind, "")
	e.set(record.CredentialIssuer, "/hostname", "/tenant_name")
	if kind == "auth0_session" {
		if v := r.Get(record.ChainSessionID); v != "" {
			r.Set(record.CredentialID, v, r.Prov(record.ChainSessionID))
		}
		return
	}
	e.set(record.CredentialID, "/details/access_token_jti", "/details/jti", "/details/token_id", "/details/refresh_token_id")
	e.set(record.CredentialAudience, "/audience")
}

func (e *event) auth0Effect(op string) {
	r := e.r
	changed, prov := record.Unknown, "/type"
	switch s := r.Get(record.OutcomeStatus); {
	case s == record.Denied || s == record.Failure:
		changed, prov = record.No, r.Prov(record.OutcomeStatus)
	case op == "mgmt_api_read":
		changed = record.No
	case op == "sapi":
		changed = record.Yes // written for POST, PUT, PATCH and DELETE only
	case r.Has(record.CredentialEventOp) && r.Get(record.CredentialEventOp) != "use", op == "ss", op == "sdu", op == "du", op == "scp", op == "sce", op == "scpn", op == "scu":
		changed = record.Yes
	}
	r.Set(record.EffectChanged, changed, prov)
}

var auth0Guide = guide{
	userSet: []string{
		"/user_name: whoever tries to log in types it",
		"/client_id: may be any on failures, and a public client is anybody",
		"/user_agent, /auth0_client: any client",
		"/hostname: on failures the request's own",
		"/external_agent_id: the customer gives it to an agent",
	},
	emit: map[Part]string{
		PartRequester:  "`user_id` (with `user_name`): who logged in, or for whom a client or agent got a token. Client credentials (`seccft`) and Management API calls of machines name nobody",
		PartExecutor:   "the user at a login, `client_id` of token exchanges, `agent_id` of Auth0 agents, `details.actor` of delegations, `details.request.auth` of Management API calls",
		PartTool:       "`type`; `details.request.method` and `path` of `sapi`, `fapi` and `mgmt_api_read`",
		PartPermission: "`scope`, `details.request.auth.credentials.scopes`",
		PartDecision:   "only refusals; what Actions decided is not logged",
		PartOutcome:    "the type's first letter or last word, `details.error`, `details.response.statusCode`",
		PartChain:      "`details.access_token_jti` names the token that an API later sees; `session_id`, `references.trace_id` and `correlation_id`, `transaction_linking_id` where there. A log stream sends all types unless it filters categories: choose \"Token Exchange\" too",
	},
}
