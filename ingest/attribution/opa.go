package attribution

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"custody/ingest/record"
)

// opa decodes the decision logs of the Open Policy Agent: the events that it
// posts in arrays, and the lines of its console plugin. What the input looks
// like is the application's choice; the forms that OPA's own integrations use
// (Envoy's ext_authz, admission of Kubernetes, HTTP APIs) and the usual names
// are understood.
func opa() format {
	return format{
		name: "opa", product: "Open Policy Agent", issuer: "opa",
		shape: shapeJSON,
		keys:  []string{"type", "decision_id"},
		match: func(e *event) bool { return e.isOPA(e.root) },
		list: func(e *event) int32 {
			if c := e.doc.first(root); e.doc.kindOf(root) == kindArray && c != 0 && e.isOPA(c) {
				return root
			}
			return 0
		},
		decode: decodeOPA,
		guide: guide{
			userSet: []string{
				"/input: all of it is what the application sends with its question; a user in it is no more than its word",
				"/input/attributes/request/http/headers: the client's, except those that the proxy replaces",
				"/path: the application chooses which policy it asks",
			},
			emit: map[Part]string{
				PartRequester:  "`input.user`, `input.subject`, `input.on_behalf_of` or the claims of a token in the input: let the application send the user that it authenticated, and do not mask it in `system.log.mask`",
				PartExecutor:   "`input.agent`, `input.attributes.source.principal` (Envoy with mTLS), `input.request.userInfo` (Kubernetes)",
				PartTool:       "`input.tool`, `input.action`, `input.method`",
				PartPermission: "`input.action` with `input.resource`",
				PartDecision:   "`result`, `path`, and the revision of `bundles`: build bundles with `opa build --revision`. `decision_logs.console: true` or a service in the configuration switches the log on",
				PartOutcome:    "the decision; `error` where the policy failed",
				PartChain:      "`decision_id`, `trace_id` and `span_id` with `distributed_tracing` on, and the headers of a request of Envoy",
			},
		},
	}
}

func (e *event) isOPA(o int32) bool {
	t := &e.doc
	if string(e.value(t.get(o, "type"))) == "openpolicyagent.org/decision_logs" {
		return true
	}
	if t.get(o, "decision_id") == 0 {
		return e.src.Format == "opa" && t.kindOf(o) == kindObject
	}
	labels := t.get(o, "labels")
	return labels != 0 && (t.get(labels, "id") != 0 || t.get(labels, "version") != 0) &&
		(t.get(o, "path") != 0 || t.get(o, "query") != 0 || t.get(o, "result") != 0 || t.get(o, "input") != 0 || t.get(o, "timestamp") != 0)
}

func decodeOPA(e *event) {
	r := e.r
	e.time("/timestamp", "/time")
	e.set(record.SourceOriginalID, "/decision_id")
	e.set(record.ChainTxn, "/batch_decision_id")
	e.traceIDs("/trace_id", "/span_id")
	r.Set(record.ActionService, "opa", "")
	e.set(record.ActionService, "/labels/app", "/labels/service")
	for _, a := range [...]struct{ name, path string }{{"opa.id=", "/labels/id"}, {"opa.version=", "/labels/version"}, {"req_id=", "/req_id"}, {"query=", "/query"}} {
		if v := e.str(a.path); len(v) > 0 {
			e.add(record.Attributes, e.cat([]byte(a.name), v), a.path)
		}
	}
	if v := e.str("/requested_by"); len(v) > 0 {
		e.put(record.SourceAddress, hostOf(v), "/requested_by")
	}
	e.set(record.DecisionPolicyID, "/path")
	e.opaRevision()
	e.opaInput()
	e.opaDecision()
	r.Set(record.EffectChanged, record.No, "") // a decision changes nothing by itself
	e.actorElsewhere()
}

// traceIDs takes ids of W3C Trace Context from two members.
func (e *event) traceIDs(trace, span string) {
	if v := bytes.ToLower(e.str(trace)); len(v) == 32 && isHex(v) {
		e.put(record.ChainTraceID, v, trace)
	}
	if v := bytes.ToLower(e.str(span)); len(v) == 16 && isHex(v) {
		e.put(record.ChainSpanID, v, span)
	}
}

// opaRevision: one bundle's revision, or name=revision of each.
func (e *event) opaRevision() {
	const bundles = "/bundles"
	n := e.find(bundles)
	if n == 0 || e.doc.kindOf(n) != kindObject {
		e.set(record.DecisionPolicyVersion, "/revision")
		return
	}
	var all []byte
	for c := e.doc.first(n); c != 0; c = e.doc.next(c) {
		v := e.value(e.doc.get(c, "revision"))
		if len(v) == 0 {
			continue
		}
		if e.doc.nodes[n].count == 1 {
			e.put(record.DecisionPolicyVersion, v, bundles)
			return
		}
		if len(all) > 0 {
			all = append(all, ',')
		}
		all = append(append(append(all, e.doc.keyOf(c)...), '='), v...)
	}
	e.put(record.DecisionPolicyVersion, all, bundles)
}

// opaHides reports whether OPA's masking took away or replaced what stands at the pointer or above it.
func (e *event) opaHides(pointer string) bool {
	for _, list := range [...]string{"/erased", "/masked"} {
		n := e.find(list)
		if n == 0 || e.doc.kindOf(n) != kindArray {
			continue
		}
		for c := e.doc.first(n); c != 0; c = e.doc.next(c) {
			if p := string(e.value(c)); p == pointer || p != "" && strings.HasPrefix(pointer, p+"/") {
				return true
			}
		}
	}
	return false
}

// opaTake is the text at the pointer unless it was masked.
func (e *event) opaTake(pointer string) (v []byte, hidden bool) {
	if e.opaHides(pointer) {
		return nil, true
	}
	return e.str(pointer), false
}

const (
	opaHTTP = "/input/attributes/request/http"
	opaK8s  = "/input/request"
)

func (e *event) opaInput() {
	r := e.r
	headers := opaHTTP + "/headers"
	e.set(record.ChainRequestID, headers+"/x-request-id", opaK8s+"/uid", "/input/request_id", "/input/requestId", opaHTTP+"/id")
	e.set(record.ChainSessionID, "/input/session_id", "/input/session/id")
	e.set(record.ChainTaskID, "/input/task_id")
	e.set(record.ChainToolCallID, "/input/tool_call_id")
	for _, p := range [...]string{headers + "/traceparent", "/input/traceparent", "/input/headers/traceparent"} {
		if tp := bytes.Split(e.str(p), []byte("-")); len(tp) == 4 && !r.Has(record.ChainTraceID) {
			e.put(record.ChainTraceID, tp[1], p)
			e.put(record.ChainParentID, tp[2], p)
		}
	}
	e.set(record.SourceAddress, "/input/attributes/source/address/socketAddress/address", "/input/attributes/source/address/Address/SocketAddress/address", "/input/source_ip", "/input/client_ip")
	e.opaAction()
	switch {
	case e.has(opaK8s + "/userInfo"):
		e.opaAdmission()
	case string(e.str("/input/kind")) == "SubjectAccessReview":
		e.opaReview()
	default:
		e.opaClaims()
		e.opaSubjects()
	}
	for _, p := range [...]string{headers + "/authorization", "/input/headers/authorization", "/input/token"} {
		v, _ := e.opaTake(p)
		if token, ok := bytes.CutPrefix(v, []byte("Bearer ")); ok {
			v = token
		}
		if len(v) > 20 && bytes.IndexByte(v, ' ') < 0 && !r.Has(record.CredentialID) {
			// The token itself stands in the log: only its digest goes further.
			sum := sha256.Sum256(v)
			r.Set(record.CredentialID, "sha256:"+hex.EncodeToString(sum[:]), p)
			r.Set(record.CredentialKind, "bearer_token", "")
		}
	}
}

func (e *event) opaAction() {
	r := e.r
	op := e.set(record.ActionOperation, "/input/action", "/input/action/name", "/input/action/id", "/input/operation", opaK8s+"/operation", "/input/method", opaHTTP+"/method", "/input/request/method", "/input/verb", "/input/Method")
	if len(op) == 0 {
		r.Set(record.ActionOperation, "decision", "")
	} else {
		e.put(record.AuthorityPermission, op, r.Prov(record.ActionOperation))
	}
	e.set(record.ActionTool, "/input/tool", "/input/tool/name", "/input/tool_name", "/input/params/name")
	e.set(record.ActionServer, "/input/server", "/input/mcp_server", "/input/mcp/server")
	if e.set(record.TargetID, "/input/resource", "/input/resource/id", "/input/resource/name", "/input/object", "/input/object/id", "/input/target", opaHTTP+"/path", "/input/path", "/input/request/path", "/input/Path") != nil {
		e.set(record.TargetType, "/input/resource/type", "/input/object/type", "/input/resource_type")
		if strings.HasSuffix(strings.ToLower(r.Prov(record.TargetID)), "/path") {
			r.Set(record.TargetType, "url", "")
		}
		return
	}
	const path = "/input/path"
	if n := e.find(path); n != 0 && e.doc.kindOf(n) == kindArray {
		var joined []byte
		for c := e.doc.first(n); c != 0; c = e.doc.next(c) {
			joined = append(append(joined, '/'), e.value(c)...)
		}
		e.put(record.TargetID, joined, path)
		r.Set(record.TargetType, "url", "")
	}
}

// opaAdmission: the API server authenticated the caller and tells OPA.
func (e *event) opaAdmission() {
	r := e.r
	const user = opaK8s + "/userInfo/username"
	name, hidden := e.opaTake(user)
	if hidden {
		r.SetAbsent("requester", record.Redacted)
		r.SetAbsent("executor", record.Redacted)
	}
	typ := principalType(string(name))
	e.executor(typ, name, user)
	r.Set(record.ExecutorIDKind, "k8s_username", "")
	r.Set(record.ExecutorIssuer, "kubernetes", "")
	if typ == record.Person {
		e.requester(typ, name, user, fromBody)
		r.Set(record.RequesterIDKind, "k8s_username", "")
		r.Set(record.RequesterIssuer, "kubernetes", "")
	}
	e.list(record.AuthorityRoles, opaK8s+"/userInfo/groups")
	e.set(record.TargetType, opaK8s+"/resource/resource", opaK8s+"/kind/kind")
	ns, obj := e.str(opaK8s+"/namespace"), e.set(record.TargetName, opaK8s+"/name", opaK8s+"/object/metadata/name")
	switch {
	case len(ns) > 0 && len(obj) > 0:
		e.put(record.TargetID, e.cat(ns, []byte("/"), obj), opaK8s+"/name")
	case len(obj) > 0:
		e.put(record.TargetID, obj, opaK8s+"/name")
	}
}

// opaReview: the API server asks OPA whether a user, whom it authenticated, may do something.
func (e *event) opaReview() {
	r := e.r
	const spec = "/input/spec"
	name, hidden := e.opaTake(spec + "/user")
	if hidden {
		r.SetAbsent("requester", record.Redacted)
		r.SetAbsent("executor", record.Redacted)
	}
	typ := principalType(string(name))
	e.executor(typ, name, spec+"/user")
	r.Set(record.ExecutorIDKind, "k8s_username", "")
	r.Set(record.ExecutorIssuer, "kubernetes", "")
	if typ == record.Person {
		e.requester(typ, name, spec+"/user", fromBody)
		r.Set(record.RequesterIDKind, "k8s_username", "")
		r.Set(record.RequesterIssuer, "kubernetes", "")
	}
	e.list(record.AuthorityRoles, spec+"/groups")
	e.set(record.ActionOperation, spec+"/resourceAttributes/verb", spec+"/nonResourceAttributes/verb")
	e.set(record.AuthorityPermission, spec+"/resourceAttributes/verb", spec+"/nonResourceAttributes/verb")
	e.set(record.TargetType, spec+"/resourceAttributes/resource")
	ns, obj := e.str(spec+"/resourceAttributes/namespace"), e.str(spec+"/resourceAttributes/name")
	if len(ns)+len(obj) > 0 {
		e.put(record.TargetID, e.cat(ns, []byte("/"), obj), spec+"/resourceAttributes")
	} else if e.set(record.TargetID, spec+"/nonResourceAttributes/path") != nil {
		r.Set(record.TargetType, "url", "")
	}
}

// opaTokens is where applications put the claims of a token that they, or the proxy, verified.
var opaTokens = [...]string{
	"/input/attributes/metadataContext/filterMetadata/envoy.filters.http.jwt_authn/fields/verified_jwt/Kind/StructValue",
	"/input/attributes/metadata_context/filter_metadata/envoy.filters.http.jwt_authn/verified_jwt",
	"/input/token/payload", "/input/claims", "/input/jwt/payload", "/input/jwt", "/input/token", "/input/user/claims", "/input/identity/claims",
}

// opaClaims reads the claims of a token in the input: sub asked, act acts, and
// every act within it is a hop (RFC 8693).
func (e *event) opaClaims() {
	r := e.r
	for _, at := range opaTokens {
		sub, hidden := e.opaTake(at + "/sub")
		if hidden {
			r.SetAbsent("requester", record.Redacted)
			return
		}
		if len(sub) == 0 {
			continue
		}
		e.set(record.CredentialID, at+"/jti")
		e.set(record.CredentialIssuer, at+"/iss")
		e.set(record.CredentialAudience, at+"/aud", at+"/aud/0")
		e.instant(record.CredentialExpires, at+"/exp")
		e.instant(record.CredentialIssued, at+"/iat")
		if r.Has(record.CredentialID) {
			r.Set(record.CredentialKind, "jwt", "")
		}
		for s := range bytes.FieldsSeq(e.str(at + "/scope")) {
			e.add(record.AuthorityScopes, s, at+"/scope")
		}
		class := principalType(string(sub))
		if mail := e.str(at + "/email"); class == record.Unknown && principalType(string(mail)) == record.Person {
			class = record.Person
			e.put(record.RequesterName, mail, at+"/email")
		}
		act := e.find(at + "/act")
		if act == 0 {
			e.subject(class, sub, at+"/sub", "jwt_sub")
		} else {
			e.requester(class, sub, at+"/sub", fromBody)
			r.Set(record.RequesterIDKind, "jwt_sub", "")
			e.delegate(record.Delegation{Principal: e.text(sub), Credential: r.Get(record.CredentialID), Scopes: e.listed(record.AuthorityScopes), Audience: r.Get(record.CredentialAudience), Expires: r.Get(record.CredentialExpires)}, at+"/act")
		}
		for first := true; act != 0; act, first = e.doc.get(act, "act"), false {
			actor := e.value(e.doc.get(act, "sub"))
			if len(actor) == 0 {
				break
			}
			if first {
				e.executor(principalType(string(actor)), actor, at+"/act/sub")
				r.Set(record.ExecutorIDKind, "jwt_sub", "")
			}
			e.delegate(record.Delegation{Principal: e.text(actor)}, at+"/act")
		}
		if r.Has(record.RequesterID) {
			e.set(record.RequesterIssuer, at+"/iss")
		}
		return
	}
}

// opaAgents and opaSubjectNames are the members of an input that name who acts and who asks.
var (
	opaAgents = [...]string{"/input/agent/id", "/input/agent/name", "/input/agent", "/input/agent_id", "/input/actor/id", "/input/actor", "/input/attributes/source/principal", "/input/client_id", "/input/service_account"}
	opaPeople = [...]string{
		"/input/on_behalf_of/id", "/input/on_behalf_of", "/input/onBehalfOf", "/input/delegator", "/input/requester",
		"/input/user/id", "/input/user/email", "/input/user/name", "/input/user/username", "/input/user", "/input/username", "/input/User",
		"/input/subject/id", "/input/subject/user", "/input/subject", "/input/principal/id", "/input/principal", "/input/identity/id", "/input/identity",
	}
)

func (e *event) opaSubjects() {
	r := e.r
	hidden := false
	for _, p := range opaAgents {
		v, h := e.opaTake(p)
		if h && strings.HasPrefix(p, "/input/agent") {
			r.SetAbsent("executor", record.Redacted)
		}
		if len(v) == 0 || r.Has(record.ExecutorID) {
			continue
		}
		class := principalType(string(v))
		switch {
		case strings.HasPrefix(p, "/input/agent"):
			class = record.Agent
		case p == "/input/client_id":
			class = record.Workload
		case p == "/input/service_account":
			class = record.ServiceAccount
		}
		e.executor(class, v, p)
		if strings.HasPrefix(string(v), "spiffe://") {
			e.put(record.ExecutorSPIFFEID, v, p)
		}
	}
	for _, p := range opaPeople {
		v, h := e.opaTake(p)
		hidden = hidden || h
		if len(v) == 0 {
			continue
		}
		class := principalType(string(v))
		base := p[:strings.LastIndexByte(p, '/')]
		if t := e.str(base + "/type"); len(t) > 0 && base != "/input" {
			if c := subjectClass(string(t)); c != record.Unknown {
				class = c
			}
		}
		e.subject(class, v, p, "policy_input")
		if r.Has(record.RequesterID) {
			break
		}
	}
	if hidden && !r.Has(record.RequesterID) {
		r.SetAbsent("requester", record.Redacted)
	}
	e.list(record.AuthorityRoles, "/input/user/roles")
	e.list(record.AuthorityRoles, "/input/subject/roles")
	e.list(record.AuthorityRoles, "/input/roles")
	if r.Has(record.RequesterID) && r.Has(record.ExecutorID) && len(e.handed) == 0 {
		e.delegate(record.Delegation{Principal: r.Get(record.RequesterID), Audience: r.Get(record.ExecutorID)}, r.Prov(record.RequesterID))
	}
}

// opaDecision reads the result, whose form is the policy's choice. A rule with
// the name deny or violation says the opposite of one with the name allow.
func (e *event) opaDecision() {
	r := e.r
	const result = "/result"
	if e.has("/error") {
		e.set(record.OutcomeCode, "/error/code")
		e.set(record.OutcomeDetail, "/error/message", "/error")
		r.Set(record.OutcomeStatus, record.Failure, "/error")
		return
	}
	effect, prov := e.opaEffect(result)
	e.set(record.DecisionReason, result+"/reason", result+"/reasons/0", result+"/message", result+"/deny/0", result+"/deny/0/msg", result+"/violation/0/msg",
		result+"/response/status/message", result+"/response/status/reason", result+"/body", result+"/0/msg", result+"/0")
	e.set(record.OutcomeCode, result+"/http_status", result+"/response/status/code")
	status := record.Unknown
	switch effect {
	case record.Allow:
		status = record.Success
	case record.Deny:
		status = record.Denied
	default:
		r.Unset(record.DecisionReason)
		r.Set(record.OutcomeStatus, status, "")
		return
	}
	r.Set(record.DecisionEffect, effect, prov)
	r.Set(record.OutcomeStatus, status, prov)
}

func (e *event) opaEffect(result string) (effect, prov string) {
	t := &e.doc
	n := e.find(result)
	if n == 0 {
		return "", ""
	}
	path := string(e.str("/path"))
	rule := path[strings.LastIndexByte(path, '/')+1:]
	negative := rule == "deny" || rule == "violation" || rule == "violations" || strings.HasPrefix(rule, "deny_")
	switch t.kindOf(n) {
	case kindTrue, kindFalse:
		if (t.kindOf(n) == kindTrue) != negative {
			return record.Allow, result
		}
		return record.Deny, result
	case kindArray:
		if !negative {
			return "", ""
		}
		if t.first(n) == 0 {
			return record.Allow, result
		}
		return record.Deny, result
	case kindString:
		if d := decision(e.value(n)); d == record.Allow || d == record.Deny {
			return d, result
		}
		return "", ""
	case kindObject:
	default:
		return "", ""
	}
	for _, k := range [...]string{"allow", "allowed", "decision", "authorized", "permitted", "permit", "is_allowed", "result", "effect", "response/allowed"} {
		if d := decision(e.str(result + "/" + k)); d == record.Allow || d == record.Deny {
			return d, result + "/" + k
		}
	}
	for _, k := range [...]string{"deny", "denied", "violation", "violations"} {
		c := t.get(n, k)
		if c == 0 {
			continue
		}
		switch t.kindOf(c) {
		case kindTrue:
			return record.Deny, result + "/" + k
		case kindFalse:
			return record.Allow, result + "/" + k
		case kindArray, kindObject:
			if t.first(c) != 0 {
				return record.Deny, result + "/" + k
			}
			return record.Allow, result + "/" + k
		}
	}
	return "", ""
}
