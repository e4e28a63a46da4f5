package attribution

import (
	"strings"

	"custody/ingest/record"
)

// how is what a generic name's value goes through on its way into the record.
type how uint8

const (
	asText how = iota
	asTime
	asOutcome
	asDecision
	asCode
	asError
	asType
	asYesNo
	asInstant
	asNumber
	asList
	asDelegation
	asSeverity
	asMode
	asCredentialOp
	asHost
)

// rule says where the value of one name goes. Of several names of one field the lowest rank wins.
type rule struct {
	field record.Field
	how   how
	rank  uint8
	prov  string
}

// names is a tree of rules by the members of nested objects. Dotted names stand
// at the top too, since many writers flatten.
type names struct {
	rules map[string]*rule
	kids  map[string]*names
}

// obvious are the names that plain JSON, key=value and ECS lines use, by field,
// the surest first. The record's own dotted names are added in front.
var obvious = []struct {
	field record.Field
	how   how
	names string
}{
	{record.Time, asTime, "time ts timestamp @timestamp eventTime event_time event.created datetime"},
	{record.Message, asText, "message msg"},
	{record.SourceOriginalID, asText, "event_id eventId event.id id uid uuid log_id"},
	{record.SourceAddress, asText, "source.ip source.address source_ip sourceIPAddress src_ip src client_ip clientIp client.ip remote_addr remote_address src.addr ip"},
	{record.SourceHost, asHost, "host.name host.hostname hostname host"},
	{record.SourceSeverity, asSeverity, "log.level level severity"},

	{record.RequesterID, asText, "requester requester_id on_behalf_of onBehalfOf initiated_by initiator user.email user_email userEmail user.id user_id userId user.name user_name userName username user principal.id principal sub email"},
	{record.RequesterName, asText, "requester_name user.full_name user.display_name"},
	{record.RequesterType, asType, "requester_type user.type user_type principal.type"},
	{record.RequesterIssuer, asText, "requester_issuer user.issuer iss issuer"},
	{record.RequesterTenant, asText, "requester_tenant tenant tenant_id tenantId org_id org organization"},
	{record.ExecutorID, asText, "executor executor_id agent.id agent_id agentId agent.name agent_name agentName agent act.sub actor.id actor service_account client_id"},
	{record.ExecutorType, asType, "executor_type agent.principal_type actor.type"},
	{record.ExecutorName, asText, "executor_name agent.display_name"},
	{record.ExecutorSPIFFEID, asText, "spiffe_id spiffe agent.spiffe_id"},
	{record.ExecutorInstance, asText, "agent.instance agent_instance instance_id"},
	{record.ExecutorVersion, asText, "agent.version agent_version"},
	{record.ExecutorModel, asText, "gen_ai.request.model agent.model agent_model model_id model"},
	{record.ExecutorLocalAccount, asText, "local_account os_user"},
	{record.Delegations, asDelegation, "serviceAccountDelegationInfo delegated_by"},

	{record.ChainRequestID, asText, "request_id requestId requestID request.id http.request.id x_request_id req_id correlation_id correlationId"},
	{record.ChainTraceID, asText, "trace_id traceId trace.id trace"},
	{record.ChainSpanID, asText, "span_id spanId span.id span"},
	{record.ChainParentID, asText, "parent_id parent_span_id parentSpanId parent.id"},
	{record.ChainSessionID, asText, "session_id sessionId session.id session"},
	{record.ChainTxn, asText, "transaction.id transaction_id txn"},
	{record.ChainConversationID, asText, "gen_ai.conversation.id conversation_id conversation.id conversationId"},
	{record.ChainTaskID, asText, "task_id taskId task.id"},
	{record.ChainToolCallID, asText, "gen_ai.tool.call.id tool_call_id toolCallId tool_use_id"},

	{record.ActionOperation, asText, "operation op action event.action event_name eventName event event_type eventType method verb"},
	{record.ActionTool, asText, "tool.name tool_name toolName gen_ai.tool.name tool function"},
	{record.ActionService, asText, "service.name service_name service application app"},
	{record.ActionServer, asText, "server.name server_name mcp.server server"},
	{record.ActionArgumentsDigest, asText, "arguments_digest args_digest arguments_sha256 args_hash"},
	{record.TargetID, asText, "target target_id resource.id resource_id resource object.id object url.full file.path url uri path"},
	{record.TargetType, asText, "target_type resource.type resource_type object.type"},
	{record.TargetName, asText, "target_name resource.name resource_name"},
	{record.TargetSensitivity, asText, "sensitivity classification"},
	{record.EffectChanged, asYesNo, "changed"},

	{record.AuthorityPermission, asText, "permission permission_name"},
	{record.AuthorityScopes, asList, "scopes scope"},
	{record.AuthorityRoles, asList, "roles role"},
	{record.CredentialID, asText, "credential.id credential_id credentialId token_id jti key_id access_key_id"},
	{record.CredentialKind, asText, "credential.kind credential.type credential_type credential_kind token_type"},
	{record.CredentialIssuer, asText, "credential.issuer credential_issuer"},
	{record.CredentialAudience, asText, "credential.audience audience aud"},
	{record.CredentialIssued, asInstant, "credential.issued issued_at iat"},
	{record.CredentialExpires, asInstant, "credential.expires expires_at expires exp"},
	{record.CredentialTTL, asNumber, "credential.ttl ttl"},
	{record.CredentialEventOp, asCredentialOp, "credential_event credential_op"},

	{record.DecisionEffect, asDecision, "decision.result decision policy_decision authorization.decision allowed"},
	{record.DecisionPolicyID, asText, "policy_id policyId policy.id policy.name policy_name policy"},
	{record.DecisionPolicyVersion, asText, "policy_version policyVersion policy.version policy_revision"},
	{record.DecisionReason, asText, "decision_reason reason"},
	{record.DecisionPosture, asText, "posture device_posture"},
	{record.ApprovalSource, asText, "approval.source approval_source change_id ticket"},
	{record.ApprovalApprover, asText, "approval.approver approved_by approver"},
	{record.ApprovalRequestID, asText, "approval.request_id approval.id approval_request_id approval_id"},

	{record.OutcomeStatus, asOutcome, "event.outcome outcome status result success"},
	{record.OutcomeCode, asCode, "error_code error.code errorCode status_code http.response.status_code http.status code"},
	{record.OutcomeDetail, asError, "error.message error_message errorMessage error status_detail"},
	{record.ContextTask, asText, "task.name task_name task"},
	{record.ContextPurpose, asText, "purpose"},
	{record.ContextMode, asMode, "mode"},
}

// settable reports whether a line or a mapping may fill f: not what custody itself
// observes or concludes, and not the tenant that the source belongs to.
func settable(f record.Field) bool {
	switch f {
	case record.ID, record.Received, record.Raw, record.Provenance, record.Absence, record.Findings, record.Links,
		record.SourceName, record.SourceTransport, record.SourcePeer, record.SourceDecoder, record.SourceFile, record.SourceOffset,
		record.SourceTruncated, record.SourceError, record.SourceDemo, record.MessageOffset, record.About,
		record.RequesterAssurance, record.ExecutorAssurance, record.ContextTenant, record.Capture, record.CapturePolicy,
		record.Risk, record.RiskPolicy, record.RetentionClass,
		record.ChainID, record.Evidence, record.Reviewed, record.ReviewReviewer, record.ReviewVerdict, record.ReviewNote:
		return false
	}
	return f < record.NumFields
}

// howOf is how values reach f.
func howOf(f record.Field) how {
	for i := range obvious {
		if obvious[i].field == f {
			return obvious[i].how
		}
	}
	switch f.Info().Kind {
	case record.List:
		return asList
	case record.Objects:
		return asDelegation
	case record.Instant:
		return asInstant
	case record.Number:
		return asNumber
	}
	return asText
}

// buildNames makes the tree of obvious names without those that skip names.
func buildNames(skip func(name string) bool) *names {
	top := &names{}
	rank := make(map[record.Field]uint8)
	add := func(f record.Field, h how, name string) {
		if skip != nil && skip(name) {
			return
		}
		rank[f]++
		top.path(name, rule{f, h, rank[f], ""})
	}
	for f := range record.NumFields {
		if settable(f) && f != record.Time && f != record.SourceFormat && f != record.SourceProduct {
			if n := f.String(); strings.Contains(n, ".") || f == record.Delegations {
				add(f, howOf(f), n)
			}
		}
	}
	for _, o := range obvious {
		for n := range strings.FieldsSeq(o.names) {
			add(o.field, o.how, n)
		}
	}
	return top
}

func (n *names) add(key, prov string, r rule) {
	if n.rules == nil {
		n.rules = make(map[string]*rule)
	}
	if n.rules[key] == nil { // the first field that claims a name has it
		r.prov = prov
		n.rules[key] = &r
	}
}

// path adds a rule for a dotted name, flat and nested.
func (n *names) path(name string, r rule) {
	n.add(name, "/"+name, r)
	parts := strings.Split(name, ".")
	if len(parts) == 1 {
		return
	}
	at := n
	for _, p := range parts[:len(parts)-1] {
		if at.kids == nil {
			at.kids = make(map[string]*names)
		}
		if at.kids[p] == nil {
			at.kids[p] = &names{}
		}
		at = at.kids[p]
	}
	last := parts[len(parts)-1]
	at.add(last, "/"+strings.Join(parts, "/"), r)
	if len(parts) == 2 {
		return
	}
	// Some writers flatten all but the last object: "jwt.act":{"sub":…}.
	head := strings.Join(parts[:len(parts)-1], ".")
	if n.kids[head] == nil {
		n.kids[head] = &names{}
	}
	n.kids[head].add(last, "/"+head+"/"+last, r)
}

// merge adds the rules of o behind those of n.
func (n *names) merge(o *names, rank uint8) {
	for key, r := range o.rules {
		c := *r
		c.rank += rank
		n.add(key, r.prov, c)
	}
	for key, kid := range o.kids {
		if n.kids == nil {
			n.kids = make(map[string]*names)
		}
		if n.kids[key] == nil {
			n.kids[key] = &names{}
		}
		n.kids[key].merge(kid, rank)
	}
}
