package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// k8sAudit decodes Kubernetes audit events (audit.k8s.io/v1 Event, EventList).
func k8sAudit() format {
	return format{
		name: "k8s_audit", product: "Kubernetes", issuer: "kubernetes",
		shape: shapeJSON,
		match: func(e *event) bool {
			t, o := &e.doc, e.root
			return t.get(o, "auditID") != 0 && t.get(o, "stage") != 0 && (t.get(o, "verb") != 0 || t.get(o, "requestURI") != 0)
		},
		decode: decodeK8s,
		list: func(e *event) int32 {
			t := &e.doc
			n := t.get(root, "items")
			if n == 0 || t.kindOf(n) != kindArray || string(e.value(t.get(root, "kind"))) != "EventList" ||
				!bytes.HasPrefix(e.value(t.get(root, "apiVersion")), []byte("audit.k8s.io/")) {
				return 0
			}
			for c := t.first(root); c != 0; c = t.next(c) {
				switch string(t.keyOf(c)) {
				case "kind", "apiVersion", "items":
				case "metadata":
					if t.nodes[c].count > 2 {
						return 0
					}
				default:
					return 0 // more than events: keep the line whole
				}
			}
			return n
		},
	}
}

const (
	k8sDecision = "/annotations/authorization.k8s.io~1decision"
	k8sReason   = "/annotations/authorization.k8s.io~1reason"
	k8sIssued   = "/annotations/authentication.kubernetes.io~1issued-credential-id"
	k8sCred     = "/user/extra/authentication.kubernetes.io~1credential-id/0"
	k8sPod      = "/user/extra/authentication.kubernetes.io~1pod-name/0"
	k8sNode     = "/user/extra/authentication.kubernetes.io~1node-name/0"
)

func decodeK8s(e *event) {
	r := e.r
	e.noPolVer = true
	e.time("/requestReceivedTimestamp", "/stageTimestamp", "/metadata/creationTimestamp", "/timestamp")
	stage := e.str("/stage")
	if id := e.set(record.ChainRequestID, "/auditID"); id != nil {
		e.put(record.SourceOriginalID, e.cat(id, []byte("/"), stage), "/auditID")
	}
	e.set(record.SourceAddress, "/sourceIPs/0")
	r.Set(record.ActionService, "kubernetes", "")
	r.Set(record.EffectSystem, "kubernetes", "")
	verb := e.set(record.ActionOperation, "/verb")
	e.k8sTarget(verb)
	e.k8sPrincipals()
	e.k8sDecision()
	e.k8sOutcome(string(stage), string(verb))
	e.k8sCredential()
	if ua := e.str("/userAgent"); len(ua) > 0 {
		e.add(record.Attributes, e.cat([]byte("user_agent="), ua), "/userAgent")
	}
}

func (e *event) k8sTarget(verb []byte) {
	const ref = "/objectRef"
	res := e.str(ref + "/resource")
	if len(res) == 0 {
		if e.set(record.TargetID, "/requestURI") != nil {
			e.r.Set(record.TargetType, "url", "")
		}
		return
	}
	kind := res
	if g := e.str(ref + "/apiGroup"); len(g) > 0 {
		kind = e.cat(res, []byte("."), g)
	}
	if sub := e.str(ref + "/subresource"); len(sub) > 0 {
		kind = e.cat(kind, []byte("/"), sub)
	}
	e.put(record.TargetType, kind, ref+"/resource")
	e.put(record.AuthorityPermission, e.cat(verb, []byte(" "), kind), ref+"/resource")
	ns, name := e.str(ref+"/namespace"), e.set(record.TargetName, ref+"/name")
	switch {
	case len(ns) > 0 && len(name) > 0:
		e.put(record.TargetID, e.cat(ns, []byte("/"), name), ref+"/name")
	case len(name) > 0:
		e.put(record.TargetID, name, ref+"/name")
	case len(ns) > 0:
		e.put(record.TargetID, e.cat(ns, []byte("/")), ref+"/namespace")
	}
}

// k8sPrincipals: user is the real caller and so the executor; impersonatedUser
// is only what it acted as. A caller that is a person asked for itself; who
// stands behind a machine is not in the event.
func (e *event) k8sPrincipals() {
	r := e.r
	const user, as = "/user/username", "/impersonatedUser/username"
	name := e.str(user)
	acted := e.str(as)
	typ := record.Unknown
	switch s := string(name); {
	case s == "" || s == "system:anonymous" || s == "system:unsecured":
		name = nil
		r.SetAbsent("executor", record.NotEstablished)
		r.SetAbsent("requester", record.NotEstablished)
	case strings.HasPrefix(s, "arn:"): // an IAM identity that EKS mapped
		if strings.Contains(s, ":assumed-role/") {
			typ = record.ServiceAccount
		}
	default:
		typ = principalType(s)
	}
	e.executor(typ, name, user)
	r.Set(record.ExecutorIDKind, "k8s_username", "")
	r.Set(record.ExecutorIssuer, "kubernetes", "")
	e.set(record.ExecutorInstance, k8sPod, k8sNode)
	if typ == record.Person {
		e.requester(typ, name, user, fromLogin)
		r.Set(record.RequesterIDKind, "k8s_username", "")
		r.Set(record.RequesterIssuer, "kubernetes", "")
	}
	if len(acted) == 0 {
		return
	}
	e.put(record.ExecutorLocalAccount, acted, as)
	if len(name) == 0 {
		r.AddFinding(record.ImpersonationNoActor)
		return
	}
	e.delegate(record.Delegation{Principal: e.text(name), Audience: e.text(acted)}, user)
	if !r.Has(record.RequesterID) {
		r.SetAbsent("requester", record.NotEstablished)
	}
}

func (e *event) k8sDecision() {
	if d := e.str(k8sDecision); len(d) > 0 {
		e.put(record.DecisionEffect, []byte(decision(d)), k8sDecision)
	}
	reason := e.set(record.DecisionReason, k8sReason)
	// RBAC: allowed by ClusterRoleBinding "a" of ClusterRole "b" to User "c"
	_, rest, ok := bytes.Cut(reason, []byte("allowed by "))
	if !ok {
		return
	}
	kind, rest, _ := bytes.Cut(rest, []byte(` "`))
	name, rest, ok := bytes.Cut(rest, []byte(`"`))
	if ok && len(kind) < 32 {
		e.put(record.DecisionPolicyID, e.cat(kind, []byte("/"), name), k8sReason)
	}
	if role, ok := bytes.CutPrefix(rest, []byte(" of ")); ok {
		kind, role, _ := bytes.Cut(role, []byte(` "`))
		if name, _, ok := bytes.Cut(role, []byte(`"`)); ok {
			e.add(record.AuthorityRoles, e.cat(kind, []byte("/"), name), k8sReason)
		}
	}
}

func (e *event) k8sOutcome(stage, verb string) {
	r := e.r
	const code = "/responseStatus/code"
	v := e.set(record.OutcomeCode, code)
	e.set(record.OutcomeDetail, "/responseStatus/message")
	switch {
	case stage == "Panic":
		r.Set(record.OutcomeStatus, record.Failure, "/stage")
	case len(v) > 0:
		r.Set(record.OutcomeStatus, outcome(v), code)
	case r.Get(record.DecisionEffect) == record.Deny:
		r.Set(record.OutcomeStatus, record.Denied, k8sDecision)
	default:
		r.Set(record.OutcomeStatus, record.Unknown, "/stage")
	}
	changed, prov := record.Unknown, "/verb"
	switch verb {
	case "get", "list", "watch", "head":
		changed = record.No
		if sub := string(e.str("/objectRef/subresource")); sub == "exec" || sub == "attach" || sub == "portforward" || sub == "proxy" {
			changed = record.Unknown // what runs inside is not in the event
		}
	case "create", "update", "patch", "delete", "deletecollection":
		switch r.Get(record.OutcomeStatus) {
		case record.Success:
			changed = record.Yes
			if bytes.Contains(e.str("/requestURI"), []byte("dryRun=All")) {
				changed, prov = record.No, "/requestURI"
			}
			switch string(e.str("/objectRef/resource")) {
			case "subjectaccessreviews", "selfsubjectaccessreviews", "tokenreviews", "localsubjectaccessreviews", "selfsubjectrulesreviews":
				changed = record.No // questions in the form of creations
			}
			switch string(e.str("/objectRef/subresource")) {
			case "exec", "attach", "portforward", "proxy":
				changed = record.Unknown
			}
		case record.Denied, record.Failure:
			changed, prov = record.No, r.Prov(record.OutcomeStatus)
		}
	}
	r.Set(record.EffectChanged, changed, prov)
}

func (e *event) k8sCredential() {
	r := e.r
	if v := e.set(record.CredentialID, k8sIssued); v != nil {
		r.Set(record.CredentialEventOp, "issue", k8sIssued)
		r.Set(record.CredentialKind, "k8s_token", "")
		e.instant(record.CredentialExpires, "/responseObject/status/expirationTimestamp")
		e.set(record.CredentialAudience, "/requestObject/spec/audiences/0")
		if by := e.str(k8sCred); len(by) > 0 {
			e.delegate(record.Delegation{Principal: r.Get(record.ExecutorID), Credential: e.text(by)}, k8sCred)
		}
		return
	}
	if e.set(record.CredentialID, k8sCred) != nil {
		r.Set(record.CredentialKind, "k8s_token", "")
	}
}
