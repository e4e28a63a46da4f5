package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// services reads what single services say beyond the common AuditLog.
func (g *gcp) services() {
	switch {
	case strings.HasSuffix(g.service, "/mcp"):
		g.mcpServer()
	case strings.HasPrefix(g.service, "bigquery"):
		g.bigQuery()
	case g.service == "iap.googleapis.com":
		g.iap()
	case g.service == "accessapproval.googleapis.com", g.service == "privilegedaccessmanager.googleapis.com":
		g.approval()
	case g.service == "aiplatform.googleapis.com":
		g.vertex()
	case g.method == "cloudsql.instances.query":
		// The database's own audit: who signed in to it.
		g.fill(record.ExecutorLocalAccount, "/request/user")
		g.attribute("command", g.at("/request/command"))
		g.fill(record.ChainSessionID, "/request/databaseSessionId")
	case workspaceService(g.service):
		g.workspace()
	}
	if strings.EqualFold(g.short, "SetIamPolicy") || strings.Contains(g.method, "etIamPolicy") || strings.Contains(g.method, "etIAMPolicy") {
		g.policyDelta()
	}
}

// policyDelta is what a change of a policy took away and added.
func (g *gcp) policyDelta() {
	t := &g.doc
	for _, p := range [...]string{"/serviceData/policyDelta/bindingDeltas", "/metadata/policyDelta/bindingDeltas"} {
		n := g.find(g.at(p))
		if n == 0 || t.kindOf(n) != kindArray {
			continue
		}
		var before, after []byte
		for c := t.first(n); c != 0; c = t.next(c) {
			role, member := g.value(t.get(c, "role")), g.value(t.get(c, "member"))
			side := &after
			if string(g.value(t.get(c, "action"))) == "REMOVE" {
				side = &before
			}
			if len(*side) > 0 {
				*side = append(*side, ", "...)
			}
			*side = append(append(append(*side, role...), ' '), member...)
		}
		g.put(record.EffectBefore, before, g.at(p))
		g.put(record.EffectAfter, after, g.at(p))
		return
	}
}

// mcpServer: calls of tools through Google's own MCP servers have the service name
// API/mcp. What calls there is a model's client, whoever's credential it holds.
func (g *gcp) mcpServer() {
	r := g.r
	g.fill(record.ActionServer, "/serviceName")
	g.fill(record.ActionTool, "/request/params/name", "/request/name", "/request/toolName", "/metadata/toolName", "/metadata/tool_name")
	if r.Get(record.ExecutorType) == record.Person {
		r.AddFinding(record.AgentAsHuman)
	}
}

// bigQuery: the job is what the entries of one query have in common.
func (g *gcp) bigQuery() {
	r := g.r
	g.fill(record.ChainTxn, "/metadata/jobChange/job/jobName", "/metadata/jobInsertion/job/jobName", "/metadata/tableDataRead/jobName",
		"/metadata/tableDataChange/jobName", "/metadata/tableCreation/jobName", "/metadata/tableChange/jobName", "/serviceData/jobCompletedEvent/job/jobName/jobId")
	const done, old = "/metadata/jobChange/job/jobStatus/errorResult", "/serviceData/jobCompletedEvent/job/jobStatus/error"
	for _, p := range [...]string{done, old} {
		if code := string(g.fill(record.OutcomeCode, p+"/code")); code != "" && code != "0" {
			g.fill(record.OutcomeDetail, p+"/message")
			status := record.Failure
			if code == "7" || code == "16" {
				status = record.Denied
			}
			r.Set(record.OutcomeStatus, status, g.at(p+"/code"))
			r.Set(record.EffectChanged, record.No, g.at(p+"/code"))
		}
	}
	for _, p := range [...]string{"/metadata/jobChange/job/jobConfig/queryConfig/statementType", "/metadata/jobInsertion/job/jobConfig/queryConfig/statementType"} {
		if v := string(g.member(p)); v == "SELECT" {
			r.Set(record.EffectChanged, record.No, g.at(p))
		}
	}
	if g.has(g.at("/metadata/tableDataRead")) {
		r.Set(record.EffectChanged, record.No, g.at("/metadata/tableDataRead"))
	}
}

// iap: the proxy in front of applications and hosts.
func (g *gcp) iap() {
	r := g.r
	if g.method != "AuthorizeUser" {
		return
	}
	g.fill(record.ChainRequestID, "/metadata/request_id")
	g.fill(record.DecisionPosture, "/metadata/device_state")
	if n := g.find(g.at("/metadata/unsatisfied_access_levels")); n != 0 && g.doc.first(n) != 0 {
		g.fill(record.DecisionReason, "/metadata/unsatisfied_access_levels/0")
	}
	if r.Get(record.OutcomeStatus) == record.Success {
		r.Set(record.EffectChanged, record.Unknown, "") // what the application did is not in this log
	}
	if g.fill(record.TargetID, "/request/httpRequest/url") != nil {
		r.Set(record.TargetType, "url", "")
		return
	}
	if string(g.str("/resource/type")) != "gce_instance" {
		return
	}
	// A tunnel to a host.
	if g.set(record.TargetID, "/resource/labels/instance_id") != nil {
		r.Set(record.TargetType, "host", "/resource/type")
		g.fill(record.TargetName, "/requestMetadata/destinationAttributes/ip")
	}
	switch string(g.member("/metadata/iap_tcp_session_info/phase")) {
	case "SESSION_START":
		g.add(record.Attributes, []byte("session=start"), g.at("/metadata/iap_tcp_session_info/phase"))
	case "SESSION_END":
		g.add(record.Attributes, []byte("session=end"), g.at("/metadata/iap_tcp_session_info/phase"))
	}
}

// approval: requests and answers of Access Approval and of Privileged Access Manager.
func (g *gcp) approval() {
	r := g.r
	said := ""
	switch g.short {
	case "ApproveApprovalRequest", "ApproveGrant":
		said = "approved"
	case "DismissApprovalRequest", "DenyGrant", "InvalidateApprovalRequest":
		said = "denied"
	case "CreateGrant":
		said = "requested"
	default:
		return
	}
	g.add(record.Attributes, []byte("approval="+said), g.at("/methodName"))
	if g.fill(record.ApprovalRequestID, "/request/name", "/response/name", "/resourceName") != nil && said == "requested" {
		g.fill(record.ApprovalRequestID, "/response/name")
	}
	g.fill(record.ContextPurpose, "/request/grant/justification/unstructuredJustification", "/request/reason")
	if said == "requested" || !r.Has(record.ExecutorID) {
		return
	}
	r.Set(record.ApprovalApprover, r.Get(record.ExecutorID), r.Prov(record.ExecutorID))
	// Who asked is who the grant is for, not who answers.
	r.Unset(record.RequesterID)
	r.Unset(record.RequesterType)
	if a := g.actor(g.member("/response/requester"), g.at("/response/requester")); a.typ == record.Person {
		g.person(a)
	} else {
		r.SetAbsent("requester", record.NotEstablished)
	}
}

// vertex: models and agents. An agent that asks another one hands over to it.
func (g *gcp) vertex() {
	r := g.r
	id := r.Get(record.TargetID)
	switch {
	case strings.Contains(id, "/reasoningEngines/"):
		r.Set(record.TargetType, "agent", r.Prov(record.TargetID))
		if strings.Contains(g.short, "QueryReasoningEngine") && r.Get(record.ExecutorType) == record.Agent {
			g.add(record.Attributes, g.cat([]byte("handoff="), []byte(id)), r.Prov(record.TargetID))
		}
	case strings.Contains(id, "/models/"):
		r.Set(record.TargetType, "model", r.Prov(record.TargetID))
		if r.Get(record.ExecutorType) == record.Agent {
			r.Set(record.ExecutorModel, id[strings.LastIndexByte(id, '/')+1:], r.Prov(record.TargetID))
		}
	}
	for _, v := range [...]string{"Predict", "GenerateContent", "StreamGenerateContent", "CountTokens", "Query", "StreamQuery", "RawPredict", "StreamRawPredict", "Chat"} {
		if strings.HasPrefix(g.short, v) && r.Get(record.OutcomeStatus) == record.Success {
			changed := record.No
			if strings.Contains(g.short, "Query") {
				changed = record.Unknown // what the agent did is not in the call
			}
			r.Set(record.EffectChanged, changed, g.at("/methodName"))
		}
	}
}

// transparency: Google's own people looked at the customer's content. Who it was
// is withheld, why is said.
func (g *gcp) transparency() {
	r := g.r
	g.noDecide = true
	r.SetAbsent("executor", record.Redacted)
	r.SetAbsent("requester", record.Redacted)
	if g.fill(record.ActionOperation, "/accesses/0/methodName") == nil {
		r.Set(record.ActionOperation, "access", "")
	}
	g.fill(record.ActionService, "/product/0")
	g.fill(record.TargetID, "/accesses/0/resourceName")
	g.set(record.TargetType, "/resource/type")
	g.fill(record.SourceOriginalID, "/eventId")
	g.attribute("job_title", g.at("/principalJobTitle"))
	kind, detail := g.member("/reason/0/type"), g.member("/reason/0/detail")
	if len(detail) > 0 {
		kind = g.cat(kind, []byte(": "), detail)
	}
	g.put(record.DecisionReason, kind, g.at("/reason/0"))
	g.fill(record.ApprovalRequestID, "/accessApprovals/0")
	r.Set(record.OutcomeStatus, record.Success, g.at("/accesses"))
	r.Set(record.EffectChanged, record.Unknown, "")
}

// workspaceServices are the services by which Google Workspace shares its audit
// log with Google Cloud.
var workspaceServices = [...]string{"login.googleapis.com", "admin.googleapis.com", "oauth2.googleapis.com", "cloudidentity.googleapis.com"}

func workspaceService(name string) bool {
	for _, s := range workspaceServices {
		if s == name {
			return true
		}
	}
	return false
}

// workspace reads the events that Google Workspace puts into metadata: each with
// parameters {name, value}.
func (g *gcp) workspace() {
	r := g.r
	t := &g.doc
	const event = "/metadata/event/0"
	n := g.find(g.at(event + "/parameter"))
	if n == 0 || t.kindOf(n) != kindArray {
		return
	}
	for i, c := 0, t.first(n); c != 0 && i < 128; i, c = i+1, t.next(c) {
		name, v := string(g.value(t.get(c, "name"))), g.value(t.get(c, "value"))
		p := g.at(event+"/parameter/") + decimal(i) + "/value"
		switch name {
		case "USER_EMAIL", "user_email", "affected_email_address":
			g.put(record.TargetID, v, p)
			r.Set(record.TargetType, "user", "")
		case "GROUP_EMAIL", "group_email", "group_id":
			g.put(record.TargetName, v, p)
		case "client_id":
			g.put(record.TargetID, v, p)
			g.put(record.CredentialAudience, v, p)
			r.Set(record.TargetType, "oauth_client", "")
		case "scope":
			at := g.at(event+"/parameter/") + decimal(i) + "/multiStrValue"
			g.list(record.AuthorityScopes, at)
		case "login_failure_type", "failure_type":
			g.put(record.OutcomeCode, v, p)
		case "login_type", "login_challenge_method", "is_suspicious", "is_second_factor", "app_name":
			if len(v) == 0 {
				continue
			}
			g.add(record.Attributes, bytes.Join([][]byte{[]byte(name), v}, []byte("=")), p)
		}
	}
	switch low := strings.ToLower(g.short); {
	case low == "granttoken", low == "revoketoken":
		op := "issue"
		if low == "revoketoken" {
			op = "revoke"
		}
		r.Set(record.CredentialEventOp, op, g.at("/methodName"))
		r.Set(record.CredentialKind, "google_oauth_grant", "")
		r.Set(record.CredentialIssuer, "google", "")
		r.Set(record.EffectChanged, record.Yes, g.at("/methodName"))
	case strings.HasPrefix(low, "loginfailure"):
		r.Set(record.OutcomeStatus, record.Denied, g.at("/methodName"))
		r.Set(record.EffectChanged, record.No, g.at("/methodName"))
		g.claim()
	case strings.HasPrefix(low, "login"), strings.HasPrefix(low, "logout"):
		r.Set(record.EffectChanged, record.Yes, g.at("/methodName"))
	}
}

// claim: nobody proved to be who the record names, so nobody asked.
func (e *event) claim() {
	e.claimed = true
	e.r.Unset(record.RequesterID)
	e.r.Unset(record.RequesterType)
	e.r.Unset(record.RequesterName)
	e.r.SetAbsent("requester", record.NotEstablished)
}
