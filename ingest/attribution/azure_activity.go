package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// azureActivity decodes the Azure Activity Log: events of the REST API and the
// command line (eventTimestamp, operationName.value) and the diagnostic records
// of Azure Monitor (time, operationName, identity), by "Azure Activity Log event
// schema".
func azureActivity() format {
	return format{
		name: "azure_activity", product: "Azure Activity Log", issuer: "entra",
		shape: shapeJSON,
		keys:  []string{"operationName", "records", "value"},
		match: matchActivity, decode: decodeActivity, list: azureList(matchActivity),
		guide: activityGuide,
	}
}

// activityCategories are the categories of the Activity Log, with the three of its older export.
var activityCategories = map[string]bool{
	"Administrative": true, "Policy": true, "Security": true, "Alert": true, "ServiceHealth": true, "ResourceHealth": true, "Autoscale": true,
	"Recommendation": true, "Write": true, "Delete": true, "Action": true,
}

func matchActivity(e *event) bool {
	t, o := &e.doc, e.root
	op := t.get(o, "operationName")
	if op == 0 {
		return false
	}
	if t.get(o, "eventTimestamp") != 0 && t.kindOf(op) == kindObject {
		return t.get(o, "caller") != 0 || t.get(o, "claims") != 0 || t.get(o, "eventDataId") != 0 || t.get(o, "correlationId") != 0
	}
	if e.src.Format == "azure_activity" && t.get(o, "time") != 0 && t.get(o, "resourceId") != 0 {
		return true
	}
	return t.get(o, "resourceId") != 0 && t.get(o, "time") != 0 && activityCategories[string(e.value(t.get(o, "category")))] &&
		bytes.IndexByte(e.value(op), '/') > 0
}

func decodeActivity(e *event) {
	r := e.r
	e.noPolVer = true
	base, rest := "/identity", e.has("/eventTimestamp")
	e.time("/eventTimestamp", "/time")
	if rest {
		base = ""
		e.set(record.SourceOriginalID, "/eventDataId", "/id")
	} else {
		e.set(record.SourceOriginalID, props+"/eventDataId", "/eventDataId")
	}
	e.set(record.ChainRequestID, "/correlationId")
	if v := e.str("/operationId"); len(v) > 0 && !bytes.Equal(v, e.str("/correlationId")) {
		e.put(record.ChainTxn, v, "/operationId")
	}
	e.client("/httpRequest/clientIpAddress", "/callerIpAddress", base+"/claims/ipaddr")
	op := string(cut(e.set(record.ActionOperation, "/operationName/value", "/operationName"), 512))
	e.set(record.ActionService, "/resourceProviderName/value")
	if provider, _, ok := strings.Cut(op, "/"); ok && !r.Has(record.ActionService) {
		e.put(record.ActionService, []byte(provider), r.Prov(record.ActionOperation))
	}
	r.Set(record.EffectSystem, "azure", "")
	e.set(record.TargetID, "/resourceId", "/resourceUri", base+"/authorization/scope")
	e.set(record.TargetType, "/resourceType/value")
	if i := strings.LastIndexByte(op, '/'); i > 0 && !r.Has(record.TargetType) {
		kind := op[:i]
		if strings.EqualFold(op[i+1:], "action") {
			kind = kind[:max(strings.LastIndexByte(kind, '/'), 0)]
		}
		e.put(record.TargetType, []byte(kind), r.Prov(record.ActionOperation))
	}
	category := string(e.str("/category/value"))
	if category == "" {
		category = string(e.str("/category"))
	}
	e.attr("category", "/category/value")
	e.attr("category", "/category")
	e.attr("channel", "/channels")
	e.attr("client_request_id", "/httpRequest/clientRequestId")
	e.attr("method", "/httpRequest/method")
	e.attr("service_request_id", props+"/serviceRequestId")

	e.activityPrincipals(base, category)
	e.activityOutcome(op)
	e.activityDecision(base, op, category)
}

// activityPrincipals: the claims of the caller's token, else caller alone, which
// is a user's name, the object id of a service principal, or a service of Azure.
func (e *event) activityPrincipals(base, category string) {
	r := e.r
	if e.azureClaims(base + "/claims") {
		return
	}
	caller, prov := e.somebody("", "/caller", props+"/caller", props+"/eventProperties/caller")
	if len(caller) == 0 {
		switch category {
		case "ServiceHealth", "ResourceHealth", "Alert", "Security", "Recommendation":
			r.SetAbsent("requester", record.NotApplicable) // the platform states something, nobody acts
			r.SetAbsent("executor", record.NotApplicable)
			return
		}
		const evidence = "/authorization/evidence/principalId"
		if id := e.str(base + evidence); !isNobody(id) {
			typ := record.Unknown
			if string(e.str(base+"/authorization/evidence/principalType")) == "ServicePrincipal" {
				typ = record.ServiceAccount
			} else if string(e.str(base+"/authorization/evidence/principalType")) == "Group" {
				return // a group was assigned the role; who of it acted is not said
			}
			e.executor(typ, id, base+evidence)
			r.Set(record.ExecutorIDKind, "entra_object_id", "")
		}
		return
	}
	typ := microsoftPrincipal(caller)
	if typ == record.Unknown && bytes.HasPrefix(bytes.ToLower(caller), []byte("microsoft.")) {
		typ = record.Workload
	}
	if typ == record.Person {
		e.requester(typ, caller, prov, fromLogin)
		r.Set(record.RequesterIDKind, "upn", "")
		r.Set(record.RequesterIssuer, "entra", "")
	}
	if isGUID(caller) && string(e.str(base+"/authorization/evidence/principalType")) == "ServicePrincipal" {
		typ = record.ServiceAccount
	}
	e.executor(typ, caller, prov)
	if isGUID(caller) {
		r.Set(record.ExecutorIDKind, "entra_object_id", "")
	}
	r.Set(record.ExecutorIssuer, "entra", "")
}

func (e *event) activityOutcome(op string) {
	r := e.r
	state, prov := e.somebody("", "/status/value", "/resultType", "/status")
	code := e.set(record.OutcomeCode, "/subStatus/value", props+"/statusCode", "/resultSignature")
	if len(code) == 0 {
		code = e.set(record.OutcomeCode, "/resultSignature")
	}
	message := e.str(props + "/statusMessage")
	if len(message) > 0 {
		detail := message
		if _, rest, ok := bytes.Cut(message, []byte(`"message":"`)); ok {
			detail, _, _ = bytes.Cut(rest, []byte(`"`))
		}
		e.put(record.OutcomeDetail, cut(detail, 2048), props+"/statusMessage")
	} else {
		e.set(record.OutcomeDetail, "/resultDescription")
	}
	status := outcome(state)
	switch string(lower(bytes.Clone(state))) {
	case "failure", "failed":
		status = record.Failure
		if foldContains(code, "forbidden") || foldContains(code, "unauthorized") || string(code) == "403" || string(code) == "401" ||
			bytes.Contains(message, []byte("AuthorizationFailed")) || bytes.Contains(message, []byte("RequestDisallowedByPolicy")) ||
			bytes.Contains(message, []byte("LinkedAuthorizationFailed")) {
			status = record.Denied
		}
	case "start", "started", "accept", "accepted", "in_progress", "active", "resolved", "updated":
		status = record.Unknown // how it ended is another event
	}
	r.Set(record.OutcomeStatus, status, prov)
	changed, verb := record.Unknown, strings.ToLower(op[strings.LastIndexByte(op, '/')+1:])
	switch {
	case status == record.Failure, status == record.Denied, verb == "read":
		changed = record.No
	case status == record.Success && (verb == "write" || verb == "delete"):
		changed = record.Yes
	case verb == "action":
		for _, ask := range [...]string{"/list", "/check", "/validate", "/get", "/whatif", "/query", "/read"} {
			if i := strings.LastIndex(strings.ToLower(op), ask); i > 0 && strings.Count(op[i+1:], "/") == 1 {
				changed = record.No
			}
		}
	}
	r.Set(record.EffectChanged, changed, prov)
}

// activityDecision: the role assignment that let the caller through, or the
// refusal by it or by Azure Policy.
func (e *event) activityDecision(base, op, category string) {
	r := e.r
	auth := base + "/authorization"
	e.set(record.AuthorityPermission, auth+"/action")
	e.list(record.AuthorityRoles, auth+"/evidence/role")
	if v := e.str(auth + "/scope"); len(v) > 0 && !strings.EqualFold(string(v), r.Get(record.TargetID)) {
		e.attr("scope", auth+"/scope")
	}
	denied := r.Get(record.OutcomeStatus) == record.Denied
	if category == "Policy" {
		if policies := e.str(props + "/policies"); len(policies) > 0 {
			if _, rest, ok := bytes.Cut(policies, []byte(`"policyAssignmentId":"`)); ok {
				id, _, _ := bytes.Cut(rest, []byte(`"`))
				e.put(record.DecisionPolicyID, id, props+"/policies")
			}
		}
		if strings.HasSuffix(strings.ToLower(op), "/deny/action") {
			r.Set(record.DecisionEffect, record.Deny, r.Prov(record.ActionOperation))
			r.Set(record.OutcomeStatus, record.Denied, r.Prov(record.ActionOperation))
			r.Set(record.EffectChanged, record.No, r.Prov(record.ActionOperation))
			return
		}
		if r.Has(record.DecisionPolicyID) {
			r.Set(record.DecisionReason, "evaluated, not enforced", r.Prov(record.ActionOperation))
		}
		e.noDecide = true
		return
	}
	switch {
	case denied:
		r.Set(record.DecisionEffect, record.Deny, r.Prov(record.OutcomeStatus))
	case e.set(record.DecisionPolicyID, auth+"/evidence/roleAssignmentId") != nil:
		r.Set(record.DecisionEffect, record.Allow, auth+"/evidence/roleAssignmentId")
		e.set(record.DecisionReason, auth+"/evidence/role")
	default:
		e.noDecide = true
	}
}

var activityGuide = guide{
	userSet: []string{
		"/httpRequest/clientRequestId: the client chooses it",
		"/correlationId: a client can send its own x-ms-correlation-request-id",
		"/properties: names, tags and messages of resources are the caller's text",
	},
	emit: map[Part]string{
		PartRequester:  "`upn` (or the claim with the URI of that name) in `claims` of a token with a user in it. Tokens of service principals and managed identities have no user: then this log has no requester",
		PartExecutor:   "`appid` and `oid` in `claims`: the application that called, for itself (`idtyp` is app, or `xms_mirid` for a managed identity) or for the user; without claims `caller`. Agents are told by the facets `xms_act_fct` and `xms_sub_fct`",
		PartTool:       "`operationName` and `resourceProviderName`; send the Activity Log to an Event Hub with a diagnostic setting of the subscription, all categories",
		PartPermission: "`authorization.action` with `authorization.evidence.role`; the export by diagnostic settings has the evidence, the REST API only with the event's full detail",
		PartDecision:   "`authorization.evidence.roleAssignmentId` of what was allowed, Forbidden and AuthorizationFailed of what was not, events of the category Policy for Azure Policy",
		PartOutcome:    "`status` and `subStatus`, or `resultType` and `resultSignature`. Started and Accepted are not yet an outcome: the event that ends the operation has the same `correlationId`",
		PartChain:      "`correlationId`, `operationId`, and the claim `uti`, which is `uniqueTokenIdentifier` of the Entra sign-in",
	},
}
