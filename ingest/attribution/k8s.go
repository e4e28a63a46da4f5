package attribution

import (
	"bytes"

	"custody/ingest/record"
)

// k8sAudit decodes Kubernetes audit events (audit.k8s.io/v1, and its betas: Event,
// EventList) of any API server, also those of EKS, AKS, OpenShift and Rancher.
func k8sAudit() format {
	return format{
		name: "k8s_audit", product: "Kubernetes", issuer: "kubernetes",
		shape: shapeJSON,
		keys:  []string{"auditID", "items"},
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
		guide: k8sGuide,
	}
}

const (
	k8sNotes    = "/annotations"
	k8sDecision = k8sNotes + "/authorization.k8s.io~1decision"
	k8sReason   = k8sNotes + "/authorization.k8s.io~1reason"
	k8sIssued   = k8sNotes + "/authentication.kubernetes.io~1issued-credential-id"
	k8sExtra    = "/user/extra"
	k8sCred     = k8sExtra + "/authentication.kubernetes.io~1credential-id/0"
	k8sPod      = k8sExtra + "/authentication.kubernetes.io~1pod-name/0"
	k8sNode     = k8sExtra + "/authentication.kubernetes.io~1node-name/0"
	k8sURI      = "/requestURI"
	k8sRef      = "/objectRef"
	k8sAsked    = "/requestObject"
	k8sAnswered = "/responseObject"
)

func decodeK8s(e *event) {
	r := e.r
	e.noPolVer = true
	e.time("/requestReceivedTimestamp", "/stageTimestamp", "/metadata/creationTimestamp", "/timestamp")
	stage := string(e.str("/stage"))
	if id := e.set(record.ChainRequestID, "/auditID"); id != nil {
		e.put(record.SourceOriginalID, e.cat(id, []byte("/"), []byte(stage)), "/auditID")
	}
	switch stage {
	case "RequestReceived":
		e.mark("half=request", "/stage")
	case "ResponseComplete", "Panic":
		e.mark("half=response", "/stage")
	}
	e.set(record.SourceAddress, "/sourceIPs/0")
	r.Set(record.ActionService, "kubernetes", "")
	r.Set(record.EffectSystem, "kubernetes", "")
	verb := e.set(record.ActionOperation, "/verb")
	e.k8sTarget(verb)
	e.k8sPrincipals()
	e.k8sDecision(stage)
	e.k8sOutcome(stage)
	e.k8sEffect(string(verb))
	e.k8sCredential()
	e.k8sReviews()
	e.k8sApproval()
	e.k8sAttributes()
	if ua := e.str("/userAgent"); len(ua) > 0 {
		e.add(record.Attributes, e.cat([]byte("user_agent="), ua), "/userAgent")
		if r.Get(record.ExecutorType) == record.Person && (agentClient(ua) || agentMark(ua)) {
			r.AddFinding(record.AgentAsHuman)
		}
	}
}

func (e *event) k8sTarget(verb []byte) {
	res := e.str(k8sRef + "/resource")
	if len(res) == 0 {
		if uri := e.str(k8sURI); len(uri) > 0 {
			path, _, _ := bytes.Cut(uri, []byte("?"))
			e.put(record.TargetID, path, k8sURI)
			e.r.Set(record.TargetType, "url", "")
			if len(verb) > 0 {
				e.put(record.AuthorityPermission, e.cat(verb, []byte(" "), path), k8sURI)
			}
		}
		return
	}
	kind := res
	if g := e.str(k8sRef + "/apiGroup"); len(g) > 0 {
		kind = e.cat(res, []byte("."), g)
	}
	if sub := e.str(k8sRef + "/subresource"); len(sub) > 0 {
		kind = e.cat(kind, []byte("/"), sub)
	}
	e.put(record.TargetType, kind, k8sRef+"/resource")
	e.put(record.AuthorityPermission, e.cat(verb, []byte(" "), kind), k8sRef+"/resource")
	ns, name := e.str(k8sRef+"/namespace"), e.set(record.TargetName, k8sRef+"/name")
	prov := k8sRef + "/name"
	if len(name) == 0 && string(verb) == "create" { // a name that the server gave
		if name = e.str(k8sAnswered + "/metadata/name"); len(name) == 0 {
			name = e.str(k8sAsked + "/metadata/name")
			prov = k8sAsked + "/metadata/name"
		} else {
			prov = k8sAnswered + "/metadata/name"
		}
		e.put(record.TargetName, name, prov)
	}
	switch {
	case len(ns) > 0 && len(name) > 0:
		e.put(record.TargetID, e.cat(ns, []byte("/"), name), prov)
	case len(name) > 0:
		e.put(record.TargetID, name, prov)
	case len(ns) > 0:
		e.put(record.TargetID, e.cat(ns, []byte("/")), k8sRef+"/namespace")
	}
}

// k8sDecision reads what the authorizer said, and what admission said after it: a
// request that RBAC allows can still be refused by a policy.
func (e *event) k8sDecision(stage string) {
	r := e.r
	if d := e.str(k8sDecision); len(d) > 0 {
		e.put(record.DecisionEffect, []byte(decision(d)), k8sDecision)
	} else if stage == "RequestReceived" {
		r.SetAbsent("decision", record.NotApplicable) // nothing was decided yet
	}
	reason := e.set(record.DecisionReason, k8sReason)
	// RBAC: allowed by ClusterRoleBinding "a" of ClusterRole "b" to User "c"
	if _, rest, ok := bytes.Cut(reason, []byte("allowed by ")); ok {
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
	if policy, ok := k8sRefusal(e.str("/responseStatus/message")); ok {
		const prov = "/responseStatus/message"
		r.Set(record.DecisionEffect, record.Deny, prov)
		e.put(record.DecisionPolicyID, policy, prov)
		e.set(record.DecisionReason, prov)
	}
}

// k8sRefusal finds what refused a request behind the authorizer: a webhook, a
// validating policy, or pod security.
func k8sRefusal(m []byte) (policy []byte, ok bool) {
	m = m[:min(len(m), 4096)]
	if _, rest, ok := bytes.Cut(m, []byte(`admission webhook "`)); ok {
		if name, rest, ok := bytes.Cut(rest, []byte(`"`)); ok && bytes.HasPrefix(rest, []byte(" denied the request")) {
			return name, true
		}
	}
	if _, rest, ok := bytes.Cut(m, []byte("ValidatingAdmissionPolicy '")); ok {
		if name, rest, ok := bytes.Cut(rest, []byte("'")); ok && bytes.Contains(rest, []byte("denied request")) {
			return name, true
		}
	}
	if _, rest, ok := bytes.Cut(m, []byte(`violates PodSecurity "`)); ok {
		if name, _, ok := bytes.Cut(rest, []byte(`"`)); ok {
			return append([]byte("PodSecurity/"), name...), true
		}
	}
	return nil, false
}

func (e *event) k8sOutcome(stage string) {
	r := e.r
	const code = "/responseStatus/code"
	v := e.set(record.OutcomeCode, code)
	if e.set(record.OutcomeDetail, "/responseStatus/message") == nil {
		e.set(record.OutcomeDetail, "/responseStatus/reason")
	}
	deny := r.Get(record.DecisionEffect) == record.Deny
	switch {
	case stage == "RequestReceived":
		r.Set(record.OutcomeStatus, record.Unknown, "/stage") // its response tells
	case stage == "Panic":
		r.Set(record.OutcomeStatus, record.Failure, "/stage")
	case deny && (len(v) == 0 || outcome(v) != record.Success):
		r.Set(record.OutcomeStatus, record.Denied, r.Prov(record.DecisionEffect))
	case len(v) > 0:
		r.Set(record.OutcomeStatus, outcome(v), code)
	default:
		r.Set(record.OutcomeStatus, record.Unknown, "/stage")
	}
}

func (e *event) k8sEffect(verb string) {
	r := e.r
	changed, prov := record.Unknown, "/verb"
	sub := string(e.str(k8sRef + "/subresource"))
	inside := sub == "exec" || sub == "attach" || sub == "portforward" || sub == "proxy"
	switch verb {
	case "get", "list", "watch", "head":
		changed = record.No
		if inside {
			changed = record.Unknown // what runs inside is not in the event
		}
	case "create", "update", "patch", "delete", "deletecollection", "post", "put":
		switch r.Get(record.OutcomeStatus) {
		case record.Success:
			changed = record.Yes
			if bytes.Contains(e.str(k8sURI), []byte("dryRun=All")) {
				changed, prov = record.No, k8sURI
			}
			switch string(e.str(k8sRef + "/resource")) {
			case "subjectaccessreviews", "selfsubjectaccessreviews", "tokenreviews", "localsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews":
				changed = record.No // questions in the form of creations
			}
			if inside {
				changed = record.Unknown
			}
		case record.Denied, record.Failure:
			changed, prov = record.No, r.Prov(record.OutcomeStatus)
		}
	}
	r.Set(record.EffectChanged, changed, prov)
}

// k8sAttributes keeps what the record has no field of its own for.
func (e *event) k8sAttributes() {
	t := &e.doc
	e.attribute("level", "/level")
	if string(e.str("/stage")) != "ResponseComplete" {
		e.attribute("stage", "/stage")
	}
	e.attributes("group", "/user/groups")
	e.attributes("impersonated_group", "/impersonatedUser/groups")
	e.attribute("user_uid", "/user/uid")
	e.attribute("pod_uid", k8sExtra+"/authentication.kubernetes.io~1pod-uid/0")
	e.attribute("node", k8sNode)
	notes := e.find(k8sNotes)
	if notes == 0 {
		return
	}
	n := 0
	for c := t.first(notes); c != 0 && n < 32; c = t.next(c) {
		key := t.keyOf(c)
		for _, p := range [...]string{
			"mutation.webhook.admission", "patch.webhook.admission", "failed-open.", "validation.policy.admission", "pod-security.kubernetes.io/",
			"authentication.k8s.io/", "imagepolicywebhook.", "mutating-webhook", "podsecuritypolicy.",
		} {
			if bytes.HasPrefix(key, []byte(p)) && bytes.IndexByte(key, '\n') < 0 {
				n++
				if v := e.value(c); len(v) > 0 && len(v) <= 4096 && !bytes.HasPrefix(key, []byte("patch.")) {
					name := e.text(key)
					e.add(record.Attributes, e.cat([]byte(name), []byte("="), v), string(appendSegment([]byte(k8sNotes+"/"), []byte(name))))
				}
				break
			}
		}
	}
}
