package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// cedar decodes decision logs of Cedar authorizers that are not a service of
// AWS: agents and libraries that write the request (principal, action and
// resource as entity UIDs or objects) with the decision and its diagnostics, and
// Janssen's Cedarling. Amazon Verified Permissions logs to CloudTrail, see
// verifiedPermissions.
func cedar() format {
	return format{
		name: "cedar", product: "Cedar", issuer: "cedar",
		shape: shapeJSON,
		keys:  []string{"principal", "request", "authorization_request", "log_kind"},
		match: func(e *event) bool {
			if e.src.Format == "cedar" {
				return e.doc.kindOf(e.root) == kindObject
			}
			t, o := &e.doc, e.root
			if t.get(o, "principal") == 0 && t.get(o, "request") == 0 && t.get(o, "authorization_request") == 0 && t.get(o, "log_kind") == 0 {
				return false // asked of most lines: the cheap answer first
			}
			for _, b := range cedarBases {
				if e.cedarFind(b, "decision") == 0 {
					continue
				}
				_, p := e.cedarEntity(b.request + "/principal")
				_, a := e.cedarEntity(b.request + "/action")
				if a.typ != "" && (p.typ != "" || e.has("/log_kind")) {
					return true
				}
			}
			return false
		},
		decode: decodeCedar,
		guide: guide{
			userSet: []string{
				"/principal: the application that asks names the principal; Cedar checks nothing of it",
				"/context: the application's, and often copied from the client's request",
			},
			emit: map[Part]string{
				PartRequester:  "`principal` where its type says User or Person, or `context.user` and `context.on_behalf_of` beside an agent's: let the application pass the user that it authenticated",
				PartExecutor:   "`principal` where its type says Agent, Service or Application, else `context.agent`: give agents an entity type of their own",
				PartTool:       "`action`, always there; `context.tool` where the application passes it",
				PartPermission: "`action`",
				PartDecision:   "`decision`, `diagnostics.reason` (the policies that decided; `determining_policies` of some authorizers). Write the revision of the policy store as `policy_version` beside it",
				PartOutcome:    "the decision and `diagnostics.errors`; what the application did then is in its own log",
				PartChain:      "`request_id` and `trace_id`, if the application writes them",
			},
		},
	}
}

// cedarBase is where one kind of writer puts the request and the answer.
type cedarBase struct{ request, response string }

var cedarBases = [...]cedarBase{
	{"", ""}, {"/request", ""}, {"/request", "/response"}, {"", "/response"}, {"/authorization_request", ""}, {"/request", "/result"}, {"", "/result"},
}

func (e *event) cedarFind(b cedarBase, member string) int32 { return e.find(b.response + "/" + member) }

// entity is an entity UID of Cedar.
type entity struct{ typ, id string }

// cedarEntity reads Type::"id", {"type":…,"id":…}, {"entityType":…,"entityId":…} or
// {"__entity":{…}}, and returns the UID as Cedar writes it.
func (e *event) cedarEntity(pointer string) (uid []byte, n entity) {
	at := e.find(pointer)
	if at == 0 {
		return nil, n
	}
	t := &e.doc
	if t.kindOf(at) == kindString {
		uid = e.value(at)
		i := bytes.Index(uid, []byte(`::"`))
		if i <= 0 || uid[len(uid)-1] != '"' || len(uid) < i+4 {
			return uid, n
		}
		return uid, entity{string(uid[:i]), string(uid[i+3 : len(uid)-1])}
	}
	if in := t.get(at, "__entity"); in != 0 {
		at = in
	}
	first := func(keys ...string) []byte {
		for _, k := range keys {
			if v := e.value(t.get(at, k)); len(v) > 0 {
				return v
			}
		}
		return nil
	}
	typ, id := first("type", "entityType", "entity_type", "actionType", "action_type"), first("id", "entityId", "entity_id", "actionId", "action_id", "eid")
	if len(typ) == 0 || len(id) == 0 {
		return nil, n
	}
	return e.cat(typ, []byte(`::"`), id, []byte(`"`)), entity{string(typ), string(id)}
}

// class tells what kind of principal an entity's type says it is: the last part of Shop::User.
func (n entity) class() string {
	typ := n.typ
	if i := strings.LastIndex(typ, "::"); i >= 0 {
		typ = typ[i+2:]
	}
	return subjectClass(typ)
}

// subjectClass is the kind of principal that the name of a type in a policy language states.
func subjectClass(typ string) string {
	switch strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(typ)) {
	case "user", "person", "human", "employee", "member", "enduser", "humanuser":
		return record.Person
	case "agent", "aiagent", "bot", "assistant", "llmagent":
		return record.Agent
	case "serviceaccount", "serviceprincipal":
		return record.ServiceAccount
	case "service", "workload", "application", "app", "client", "machine", "microservice", "apiclient", "system", "oauthuser", "device":
		if strings.EqualFold(typ, "OAuthUser") { // AgentCore's gateways call every caller with a token so
			return record.Unknown
		}
		return record.Workload
	}
	return record.Unknown
}

// subject names the one that a policy engine was asked about: a machine or an
// agent acts, anybody else asked. Only the application that asks the engine
// knows it, so it is never more than that application's word.
func (e *event) subject(class string, id []byte, prov, kind string) {
	switch class {
	case record.Agent, record.Workload, record.ServiceAccount:
		if !e.r.Has(record.ExecutorID) {
			e.executor(class, id, prov)
			e.r.Set(record.ExecutorIDKind, kind, "")
		}
	default:
		if !e.r.Has(record.RequesterID) {
			e.requester(class, id, prov, fromBody)
			e.r.Set(record.RequesterIDKind, kind, "")
		}
	}
}

func decodeCedar(e *event) {
	r := e.r
	e.time("/timestamp", "/time", "/@timestamp", "/ts", "/date")
	e.set(record.SourceOriginalID, "/decision_id", "/event_id", "/id")
	e.set(record.ChainRequestID, "/request_id", "/requestId", "/request/id", "/context/request_id", "/correlation_id")
	if v := bytes.ToLower(e.str("/trace_id")); len(v) == 32 && isHex(v) {
		e.put(record.ChainTraceID, v, "/trace_id")
	}
	e.set(record.ChainSpanID, "/span_id")
	e.set(record.ChainSessionID, "/session_id", "/context/session_id")
	e.set(record.SourceAddress, "/client_ip", "/context/ip", "/context/source_ip", "/request/context/ip")
	if r.Set(record.ActionService, "cedar", ""); e.set(record.ActionService, "/application_id", "/service", "/app") == nil {
		e.set(record.ActionService, "/application_name")
	}
	base := cedarBases[0]
	for _, b := range cedarBases {
		if e.cedarFind(b, "decision") != 0 && e.find(b.request+"/action") != 0 {
			base = b
			break
		}
	}
	e.cedarRequest(base.request)
	e.cedarContext(base.request + "/context")
	if base.request != "" {
		e.cedarContext("/context")
	}
	e.cedarDecision(base.response)
	r.Set(record.EffectChanged, record.No, "") // a decision changes nothing by itself
	e.actorElsewhere()
}

// actorElsewhere: an engine that was asked about somebody does not see who acts
// then; the log of the application does, and a link can tell.
func (e *event) actorElsewhere() {
	if !e.r.Has(record.ExecutorID) && e.r.Absent("executor") == "" {
		e.r.SetAbsent("executor", record.NotEstablished)
	}
}

func (e *event) cedarRequest(at string) {
	if uid, p := e.cedarEntity(at + "/principal"); p.typ != "" {
		e.subject(p.class(), []byte(p.id), at+"/principal", "cedar_entity")
		e.add(record.Attributes, e.cat([]byte("authz.principal="), uid), at+"/principal")
	} else if e.has("/log_kind") { // Cedarling: the kinds of principals, each with its own member
		for _, k := range [...]struct{ class, path string }{{record.Person, "/User/sub"}, {record.Workload, "/Workload/client_id"}} {
			if v := e.str(k.path); len(v) > 0 {
				e.subject(k.class, v, k.path, "cedarling_claim")
			}
		}
		if e.set(record.CredentialID, "/tokens/access_token/jti", "/tokens/id_token/jti") != nil {
			e.r.Set(record.CredentialKind, "jwt", "")
		}
	}
	if uid, a := e.cedarEntity(at + "/action"); a.typ != "" {
		e.put(record.ActionOperation, []byte(a.id), at+"/action")
		e.put(record.AuthorityPermission, uid, at+"/action")
	} else if len(uid) > 0 {
		e.put(record.ActionOperation, uid, at+"/action")
		e.put(record.AuthorityPermission, uid, at+"/action")
	}
	if uid, o := e.cedarEntity(at + "/resource"); len(uid) > 0 {
		e.put(record.TargetID, uid, at+"/resource")
		e.put(record.TargetType, []byte(o.typ), at+"/resource")
	}
}

// cedarContext: applications pass the agent, the user behind it and the tool in the context.
func (e *event) cedarContext(at string) {
	r := e.r
	e.set(record.ActionTool, at+"/tool", at+"/tool_name")
	for _, k := range [...]string{"/agent", "/agent_id"} {
		if uid, a := e.cedarEntity(at + k); len(uid) > 0 && !r.Has(record.ExecutorID) {
			class := record.Agent
			if a.typ != "" && a.class() != record.Unknown {
				class = a.class()
			}
			if class == record.Person {
				continue
			}
			if a.id != "" {
				uid = []byte(a.id)
			}
			e.executor(class, uid, at+k)
		}
	}
	for _, k := range [...]string{"/on_behalf_of", "/onBehalfOf", "/user"} {
		uid, u := e.cedarEntity(at + k)
		if len(uid) == 0 || r.Has(record.RequesterID) {
			continue
		}
		class := u.class()
		if u.typ == "" {
			class = principalType(string(uid))
		} else {
			uid = []byte(u.id)
		}
		if class != record.Person && class != record.Unknown {
			continue
		}
		e.requester(class, uid, at+k, fromParam)
		r.Set(record.RequesterIDKind, "cedar_context", "")
		if r.Has(record.ExecutorID) {
			e.delegate(record.Delegation{Principal: r.Get(record.RequesterID), Audience: r.Get(record.ExecutorID)}, at+k)
		}
	}
}

func (e *event) cedarDecision(at string) {
	r := e.r
	effect := decision(e.str(at + "/decision"))
	e.put(record.DecisionEffect, []byte(effect), at+"/decision")
	e.cedarPolicies(at+"/diagnostics/reason", at+"/diagnostics/reasons", at+"/determining_policies", at+"/determiningPolicies", at+"/reason", "/diagnostics/reason")
	e.set(record.DecisionPolicyVersion, "/policy_version", "/policystore_version", "/policy_store_version", "/policy_revision", at+"/policy_version")
	for _, p := range [...]string{"/policy_store_id", "/policystore_id", "/policyStoreId"} {
		if v := e.str(p); len(v) > 0 {
			e.add(record.Attributes, e.cat([]byte("policy_store="), v), p)
		}
	}
	status, prov := record.Unknown, ""
	switch effect {
	case record.Allow:
		status, prov = record.Success, at+"/decision"
	case record.Deny:
		status, prov = record.Denied, at+"/decision"
	}
	for _, p := range [...]string{at + "/diagnostics/errors", at + "/errors"} {
		n := e.find(p)
		if n == 0 || e.doc.kindOf(n) != kindArray || e.doc.first(n) == 0 {
			continue
		}
		if e.set(record.OutcomeDetail, p+"/0", p+"/0/error", p+"/0/message", p+"/0/errorDescription") != nil {
			break
		}
	}
	r.Set(record.OutcomeStatus, status, prov)
}

// cedarPolicies joins the ids of the policies that decided: strings, or objects with an id.
func (e *event) cedarPolicies(pointers ...string) {
	t := &e.doc
	for _, p := range pointers {
		n := e.find(p)
		if n == 0 {
			continue
		}
		if t.kindOf(n) == kindString {
			e.put(record.DecisionReason, e.value(n), p)
			continue
		}
		if t.kindOf(n) != kindArray {
			continue
		}
		var ids []byte
		for c := t.first(n); c != 0; c = t.next(c) {
			v := e.value(c)
			for _, k := range [...]string{"id", "policyId", "policy_id", "policy"} {
				if len(v) == 0 && t.kindOf(c) == kindObject {
					v = e.value(t.get(c, k))
				}
			}
			if len(v) == 0 {
				continue
			}
			if len(ids) > 0 {
				ids = append(ids, ',')
			}
			ids = append(ids, v...)
			if d := e.value(t.get(c, "description")); len(d) > 0 && !e.r.Has(record.DecisionReason) {
				e.put(record.DecisionReason, d, p)
			}
		}
		if len(ids) > 0 {
			e.put(record.DecisionPolicyID, ids, p)
			return
		}
	}
}

// verifiedPermissions adds to a CloudTrail event what Amazon Verified
// Permissions decided. The role that called is the application that asked; the
// principal it asked about is its word.
func (e *event) verifiedPermissions() {
	r := e.r
	const asked, more, answered = "/requestParameters", "/additionalEventData", "/responseElements"
	switch r.Get(record.ActionOperation) {
	case "IsAuthorized", "IsAuthorizedWithToken":
	case "BatchIsAuthorized", "BatchIsAuthorizedWithToken":
		e.verifiedBatch()
		return
	default:
		return
	}
	e.noDecide, e.noPolVer = false, true
	for _, p := range [...]string{asked + "/principal", more + "/principal", answered + "/principal"} {
		if uid, n := e.cedarEntity(p); n.typ != "" {
			if c := n.class(); (c == record.Person || c == record.Unknown) && !r.Has(record.RequesterID) {
				e.requester(c, []byte(n.id), p, fromParam)
				r.Set(record.RequesterIDKind, "cedar_entity", "")
			}
			e.add(record.Attributes, e.cat([]byte("authz.principal="), uid), p)
			break
		}
	}
	if !r.Has(record.RequesterID) && (e.has(asked+"/identityToken") || e.has(asked+"/accessToken")) {
		r.SetAbsent("requester", record.Redacted)
	}
	if uid, n := e.cedarEntity(asked + "/action"); n.typ != "" {
		e.put(record.AuthorityPermission, uid, asked+"/action")
	}
	if uid, n := e.cedarEntity(asked + "/resource"); n.typ != "" {
		e.put(record.TargetID, uid, asked+"/resource")
		e.put(record.TargetType, []byte(n.typ), asked+"/resource")
	}
	if v := e.str(asked + "/policyStoreId"); len(v) > 0 {
		e.add(record.Attributes, e.cat([]byte("policy_store="), v), asked+"/policyStoreId")
	}
	for _, p := range [...]string{more, answered} {
		v := e.str(p + "/decision")
		if len(v) == 0 {
			continue
		}
		e.put(record.DecisionEffect, []byte(decision(v)), p+"/decision")
		e.cedarPolicies(p + "/determiningPolicies")
		if decision(v) == record.Deny {
			r.Set(record.OutcomeStatus, record.Denied, p+"/decision")
		}
		return
	}
}

// verifiedBatch keeps each answer of a batch. The record has a decision only if all agree.
func (e *event) verifiedBatch() {
	r := e.r
	const asked = "/requestParameters"
	if v := e.str(asked + "/policyStoreId"); len(v) > 0 {
		e.add(record.Attributes, e.cat([]byte("policy_store="), v), asked+"/policyStoreId")
	}
	for _, list := range [...]string{"/additionalEventData/results", "/responseElements/results"} {
		n := e.find(list)
		if n == 0 || e.doc.kindOf(n) != kindArray {
			continue
		}
		all, same, was := true, "", e.root
		for c := e.doc.first(n); c != 0; c = e.doc.next(c) {
			e.root = c
			effect := decision(e.str("/decision"))
			p, _ := e.cedarEntity("/request/principal")
			a, _ := e.cedarEntity("/request/action")
			o, _ := e.cedarEntity("/request/resource")
			e.root = was
			if effect == "" {
				continue
			}
			all = all && (same == "" || same == effect)
			same = effect
			e.add(record.Attributes, e.cat([]byte("authz="+effect+" "), p, []byte(" "), a, []byte(" "), o), list)
		}
		if all && same != "" {
			e.put(record.DecisionEffect, []byte(same), list)
			e.noPolVer = true
			if same == record.Deny {
				r.Set(record.OutcomeStatus, record.Denied, list)
			}
		}
		return
	}
}
