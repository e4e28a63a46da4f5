package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// agentCore decodes what Amazon Bedrock AgentCore delivers to CloudWatch Logs,
// S3 or Firehose as JSON: application logs and usage logs of agent runtimes,
// gateways, memories, built-in tools and identities. Its API calls are in
// CloudTrail, see awsAgentCore.
func agentCore() format {
	return format{
		name: "agentcore", product: "Amazon Bedrock AgentCore", issuer: "agentcore",
		shape: shapeJSON,
		keys:  []string{"resource_arn"},
		match: func(e *event) bool {
			t, o := &e.doc, e.root
			arn := t.get(o, "resource_arn")
			if arn == 0 {
				return e.src.Format == "agentcore" && t.get(o, "event_timestamp") != 0
			}
			return bytes.Contains(e.value(arn), []byte(":bedrock-agentcore:")) || e.src.Format == "agentcore"
		},
		decode: decodeAgentCore,
		list: func(e *event) int32 {
			if c := e.doc.first(root); e.doc.kindOf(root) == kindArray && c != 0 &&
				bytes.Contains(e.value(e.doc.get(c, "resource_arn")), []byte(":bedrock-agentcore:")) {
				return root
			}
			return 0
		},
		guide: guide{
			userSet: []string{
				"/session_id: the client that invokes the runtime chooses the session id",
				"/user_id: the header X-Amzn-Bedrock-AgentCore-Runtime-User-Id is the caller's to choose",
				"/actor_id: the agent's code names the actor of a memory",
				"/request_payload: whatever the client sent",
				"/body/requestBody: whatever the MCP client sent, the tool's name included",
			},
			emit: map[Part]string{
				PartRequester:  "`user_id`, only where the invoker sends `X-Amzn-Bedrock-AgentCore-Runtime-User-Id`, and then asserted; else CloudTrail's data events of the runtime or gateway, which hold the caller and the claims of its JWT",
				PartExecutor:   "`resource_arn`, always there: the runtime (an agent), gateway, memory or tool",
				PartTool:       "`body.requestBody` and `body.log` of a gateway: switch on application logs (`APPLICATION_LOGS`) for the gateway",
				PartPermission: "not in these logs: CloudTrail names the call, and AgentCore Policy's spans the Cedar policies",
				PartDecision:   "`attributes.aws.agentcore.policy.*` where a policy engine is attached to the gateway; else only a refusal in `body.log`",
				PartOutcome:    "`body.isError`, `status_code`, `error_type`",
				PartChain:      "`trace_id`, `span_id`, `session_id` and `request_id`: switch on tracing for the resource",
			},
		},
	}
}

func decodeAgentCore(e *event) {
	r := e.r
	e.noDecide, e.noPolVer = true, true
	e.time("/event_timestamp", "/timestamp", "/time")
	e.set(record.ChainRequestID, "/request_id", "/requestId", "/body/requestId", "/attributes/aws.request_id")
	e.set(record.ChainSessionID, "/session_id", "/attributes/session.id", "/session.id", "/body/sessionId")
	if v := e.str("/trace_id"); len(v) > 0 {
		e.agentCoreTrace(v)
	}
	if v := bytes.ToLower(e.str("/span_id")); len(v) == 16 && isHex(v) {
		e.put(record.ChainSpanID, v, "/span_id")
	}
	e.set(record.Message, "/body/log", "/body/message", "/message")
	r.Set(record.ActionService, "bedrock-agentcore", "")
	e.set(record.ExecutorModel, "/attributes/gen_ai.request.model", "/model_id")
	for _, a := range [...]string{"account_id", "service_name", "memory_strategy_id", "namespace", "actor_id", "region", "severity"} {
		if v := e.str("/" + a); len(v) > 0 {
			e.add(record.Attributes, e.cat([]byte(a+"="), v), "/"+a)
		}
	}
	e.agentCoreExecutor()
	e.agentCoreAction()
	e.agentCoreOutcome()
	for _, p := range [...]string{
		"/user_id", "/userId", "/runtime_user_id", "/attributes/user.id", "/user.id", "/body/userId", "/request_payload/userId", "/request_payload/user_id",
		"/request_headers/x-amzn-bedrock-agentcore-runtime-user-id", "/headers/x-amzn-bedrock-agentcore-runtime-user-id",
		"/request_headers/X-Amzn-Bedrock-AgentCore-Runtime-User-Id", "/headers/X-Amzn-Bedrock-AgentCore-Runtime-User-Id",
	} {
		if v := e.str(p); len(v) > 0 {
			e.requester(principalType(string(v)), v, p, fromParam)
			r.Set(record.RequesterIDKind, "agentcore_user_id", "")
			break
		}
	}
	if r.Get(record.OutcomeStatus) != record.Failure && r.Get(record.OutcomeStatus) != record.Denied {
		e.agentCoreToken(r.Get(record.ActionOperation))
	}
}

// agentCoreTrace takes a trace id of W3C, or X-Ray's "1-5759e988-bd86…".
func (e *event) agentCoreTrace(v []byte) {
	v = bytes.ToLower(v)
	if p := bytes.Split(v, []byte("-")); len(p) == 3 && string(p[0]) == "1" {
		v = e.cat(p[1], p[2])
	}
	if len(v) == 32 && isHex(v) {
		e.put(record.ChainTraceID, v, "/trace_id")
	}
}

// agentCoreExecutor: the resource acted. Only a runtime is an agent.
func (e *event) agentCoreExecutor() {
	r := e.r
	arn := e.str("/resource_arn")
	if len(arn) == 0 {
		return
	}
	// arn:aws:bedrock-agentcore:REGION:ACCOUNT:runtime/NAME-ID/runtime-endpoint/DEFAULT
	parts := strings.SplitN(string(arn), ":", 6)
	typ := record.Workload
	var name, version string
	if len(parts) == 6 {
		kind, rest, _ := strings.Cut(parts[5], "/")
		name, version, _ = strings.Cut(rest, "/runtime-endpoint/")
		if kind == "runtime" || kind == "agent-runtime" {
			typ = record.Agent
		}
		if i := strings.LastIndexByte(name, '/'); i >= 0 {
			name = name[i+1:]
		}
		e.put(record.ExecutorName, []byte(name), "/resource_arn")
		e.put(record.ExecutorVersion, []byte(version), "/resource_arn")
	}
	e.executor(typ, arn, "/resource_arn")
	r.Set(record.ExecutorIDKind, "aws_arn", "")
	r.Set(record.ExecutorIssuer, "aws", "")
	e.set(record.ExecutorName, "/attributes/agent.name", "/agent.name", "/agent_name")
	e.set(record.ActionServer, "/gateway_id")
}

// agentCoreAction reads the call: operation where the log names it; a gateway
// holds the request of MCP, as JSON or as Java prints a map, and says in words
// which tool it runs.
func (e *event) agentCoreAction() {
	r := e.r
	op := e.set(record.ActionOperation, "/operation", "/attributes/aws.operation.name", "/body/operation")
	const asked, answered = "/body/requestBody", "/body/responseBody"
	body := e.str(asked)
	if n := e.find(asked); n != 0 && e.doc.kindOf(n) == kindObject {
		body = e.doc.source(n)
	}
	if len(op) == 0 {
		e.put(record.ActionOperation, mapValue(body, "method"), asked)
	}
	if r.Get(record.ActionOperation) == "tools/call" {
		if i := bytes.Index(body, []byte("params")); i >= 0 {
			e.put(record.ActionTool, mapValue(body[i:], "name"), asked)
		}
	}
	if _, rest, ok := bytes.Cut(e.str("/body/log"), []byte("Executing tool ")); ok {
		tool, target, _ := bytes.Cut(rest, []byte(" from target "))
		e.put(record.ActionTool, bytes.TrimSpace(tool), "/body/log")
		if target = bytes.TrimSpace(target); len(target) > 0 && bytes.IndexByte(target, ' ') < 0 {
			e.put(record.TargetID, target, "/body/log")
			r.Set(record.TargetType, "gateway_target", "")
		}
		if !r.Has(record.ActionOperation) {
			r.Set(record.ActionOperation, "tools/call", "/body/log")
		}
	}
	if e.set(record.ActionTool, "/tool_name", "/attributes/gen_ai.tool.name") != nil {
		e.set(record.ChainToolCallID, "/attributes/gen_ai.tool.call.id", "/tool_call_id")
	}
	switch {
	case len(body) > 0:
		e.add(record.Attributes, []byte("half=request"), asked)
	case e.has(answered):
		e.add(record.Attributes, []byte("half=response"), answered)
	}
	for _, p := range [...]string{"/metrics", "/attributes"} {
		if v := e.str(p + "/agent.runtime.vcpu.hours.used"); len(v) > 0 {
			e.add(record.Attributes, e.cat([]byte("vcpu_hours="), v), p)
		}
	}
}

// mapValue finds key's text in a request of JSON or in {key=value, …}.
func mapValue(body []byte, key string) []byte {
	if _, rest, ok := bytes.Cut(body, []byte(`"`+key+`"`)); ok {
		rest = bytes.TrimLeft(rest, " \t")
		if rest, ok = bytes.CutPrefix(rest, []byte(":")); ok {
			rest = bytes.TrimLeft(rest, " \t")
			if rest, ok = bytes.CutPrefix(rest, []byte(`"`)); ok {
				if i := bytes.IndexAny(rest, `"\`); i >= 0 && rest[i] == '"' {
					return rest[:i]
				}
			}
		}
		return nil
	}
	for _, before := range [...]string{"{", " "} {
		if _, rest, ok := bytes.Cut(body, []byte(before+key+"=")); ok {
			if i := bytes.IndexAny(rest, ",}{"); i > 0 && rest[i] != '{' {
				return rest[:i]
			}
		}
	}
	return nil
}

func (e *event) agentCoreOutcome() {
	r := e.r
	const failed, answered = "/body/isError", "/body/responseBody"
	code := e.set(record.OutcomeCode, "/status_code", "/body/statusCode", "/attributes/http.response.status_code", "/error_type", "/attributes/error.type", "/body/errorCode")
	answer := e.str(answered)
	if n := e.find(answered); n != 0 && e.doc.kindOf(n) == kindObject {
		answer = e.doc.source(n)
	}
	log := e.str("/body/log")
	status, prov := record.Unknown, ""
	switch flag := string(e.str(failed)); {
	case flag == "true":
		status, prov = record.Failure, failed
	case bytes.Contains(answer, []byte("isError=true")), bytes.Contains(answer, []byte(`"isError":true`)), bytes.Contains(answer, []byte("error={code=")):
		status, prov = record.Failure, answered
	case len(code) == 3 && outcome(code) != record.Unknown:
		status, prov = outcome(code), r.Prov(record.OutcomeCode)
	case len(code) > 0:
		status, prov = record.Failure, r.Prov(record.OutcomeCode)
	case flag == "false" && len(answer) > 0, flag == "false" && bytes.HasPrefix(log, []byte("Success")):
		status, prov = record.Success, failed
	case e.has("/response_payload"):
		status, prov = record.Success, "/response_payload"
	}
	if status == record.Failure || status == record.Denied {
		if prov == answered {
			e.set(record.OutcomeDetail, answered)
		} else {
			e.set(record.OutcomeDetail, "/error_message", "/body/error", "/body/log", answered)
		}
	}
	if status == record.Failure {
		for _, v := range [...][]byte{code, log, answer} {
			if denied, _ := awsDenied(string(v)); denied || refusal(v) {
				status = record.Denied
				r.Set(record.DecisionEffect, record.Deny, prov)
				break
			}
		}
	}
	const policy = "/attributes/aws.agentcore.policy."
	if v := e.set(record.DecisionReason, policy+"authorization_reason"); v != nil {
		e.noDecide = false
	}
	if v := e.str(policy + "authorization_decision"); len(v) > 0 {
		e.put(record.DecisionEffect, []byte(decision(v)), policy+"authorization_decision")
	}
	e.set(record.DecisionPolicyID, policy+"determining_policies/0", policy+"determining_policies")
	r.Set(record.OutcomeStatus, status, prov)
	changed := record.Unknown
	if status == record.Denied {
		changed = record.No
	}
	r.Set(record.EffectChanged, changed, "")
}

// refusal reports whether a message in words says that something was refused.
func refusal(v []byte) bool {
	l := bytes.ToLower(v)
	for _, w := range [...]string{"access denied", "not authorized", "unauthorized", "forbidden", "denied by policy", "invalid bearer token", "not allowed by policy"} {
		if bytes.Contains(l, []byte(w)) {
			return true
		}
	}
	return false
}

// agentCoreToken: AgentCore Identity hands out tokens; their text never stands in a log.
func (e *event) agentCoreToken(op string) {
	kind := ""
	switch op {
	case "GetWorkloadAccessToken", "GetWorkloadAccessTokenForJWT", "GetWorkloadAccessTokenForUserId":
		kind = "agentcore_workload_token"
	case "GetResourceOauth2Token", "GetResourceOAuth2Token":
		kind = "oauth2_access_token"
	case "GetResourceApiKey", "GetResourceAPIKey":
		kind = "api_key"
	default:
		return
	}
	r := e.r
	used, usedKind := r.Get(record.CredentialID), r.Get(record.CredentialKind)
	if used != "" && usedKind != "" {
		e.delegate(record.Delegation{Principal: r.Get(record.ExecutorID), Credential: used}, r.Prov(record.CredentialID))
	}
	for _, f := range [...]record.Field{record.CredentialID, record.CredentialIssued, record.CredentialExpires, record.CredentialTTL, record.CredentialAudience} {
		r.Unset(f)
	}
	r.Set(record.CredentialEventOp, "issue", r.Prov(record.ActionOperation))
	r.Set(record.CredentialKind, kind, "")
	r.Set(record.CredentialIssuer, "agentcore", "")
	r.SetAbsent("authority.credential.id", record.Redacted)
	e.set(record.CredentialIssuer, awsAsked+"/resourceCredentialProviderName", "/resource_credential_provider_name", "/body/resourceCredentialProviderName")
	e.set(record.CredentialAudience, awsAsked+"/audience", awsAsked+"/workloadName")
	e.list(record.AuthorityScopes, awsAsked+"/scopes")
}

const awsClaims = "/additionalEventData/jwt/claims"

// awsAgentCore adds to a CloudTrail event what AgentCore's calls carry: the
// session, the user that the invoker names, the tool that a gateway runs.
func (e *event) awsAgentCore(op string) {
	r := e.r
	e.set(record.ChainSessionID, awsAsked+"/runtimeSessionId", awsAsked+"/sessionId", awsAnswered+"/sessionId", awsAnswered+"/runtimeSessionId")
	const body = awsAsked + "/body"
	if string(e.str(body+"/method")) == "tools/call" {
		e.set(record.ActionTool, body+"/params/name")
	}
	if v := e.str(body + "/method"); len(v) > 0 {
		e.add(record.Attributes, e.cat([]byte("mcp.method="), v), body+"/method")
	}
	if strings.HasPrefix(op, "InvokeGateway") || strings.HasPrefix(op, "InvokeMcp") {
		if r.Get(record.TargetType) == "AWS::BedrockAgentCore::Gateway" {
			r.Set(record.ActionServer, r.Get(record.TargetID), r.Prov(record.TargetID))
		}
	}
	if !r.Has(record.RequesterID) && r.Absent("requester") == "" {
		for _, p := range [...]string{"/runtimeUserId", "/userId", "/userIdentifier/userId"} {
			if v := e.str(awsAsked + p); len(v) > 0 && string(v) != awsHidden {
				e.requester(principalType(string(v)), v, awsAsked+p, fromParam)
				r.Set(record.RequesterIDKind, "agentcore_user_id", "")
				break
			}
		}
	}
	if r.Get(record.OutcomeStatus) == record.Success {
		e.agentCoreToken(op)
		if v := e.str(awsAsked + "/agentRuntimeArn"); len(v) > 0 && r.Get(record.ExecutorType) == record.Agent {
			e.add(record.Attributes, e.cat([]byte("handoff="), v), awsAsked+"/agentRuntimeArn")
		}
	}
}

// awsJWT: a gateway verified the token of a caller that has no identity of AWS.
// sub asked; act, or else the client, acted. A client's own token names nobody else.
func (e *event) awsJWT() {
	r := e.r
	sub, client := e.str(awsClaims+"/sub"), awsClaims+"/client_id"
	if len(e.str(client)) == 0 {
		client = awsClaims + "/azp"
	}
	issuer := func(f record.Field) { e.set(f, awsClaims+"/iss") }
	actor, prov := e.str(awsClaims+"/act/sub"), awsClaims+"/act/sub"
	class := principalType(string(actor))
	if len(actor) == 0 {
		actor, prov, class = e.str(client), client, record.Workload
	}
	switch {
	case len(actor) > 0 && len(sub) > 0 && !bytes.Equal(actor, sub):
		e.executor(class, actor, prov)
		who := record.Unknown
		for _, p := range [...]string{"/email", "/username", "/preferred_username", "/upn"} {
			if v := e.set(record.RequesterName, awsClaims+p); v != nil {
				if principalType(string(v)) == record.Person {
					who = record.Person
				}
				break
			}
		}
		e.requester(who, sub, awsClaims+"/sub", fromLogin)
		r.Set(record.RequesterIDKind, "jwt_sub", "")
		issuer(record.RequesterIssuer)
		e.delegate(record.Delegation{
			Principal: e.text(sub), Credential: e.text(e.str(awsClaims + "/jti")), Audience: e.text(actor),
		}, awsClaims+"/sub")
	case len(sub) > 0:
		e.executor(record.Unknown, sub, awsClaims+"/sub")
		r.SetAbsent("requester", record.NotEstablished)
	default:
		r.SetAbsent("executor", record.NotEstablished)
		r.SetAbsent("requester", record.NotEstablished)
		return
	}
	r.Set(record.ExecutorIDKind, "jwt_sub", "")
	issuer(record.ExecutorIssuer)
	if e.set(record.CredentialID, awsClaims+"/jti") != nil {
		r.Set(record.CredentialKind, "jwt", "")
	}
	issuer(record.CredentialIssuer)
	e.set(record.CredentialAudience, awsClaims+"/aud", awsClaims+"/aud/0")
	e.instant(record.CredentialExpires, awsClaims+"/exp")
	e.instant(record.CredentialIssued, awsClaims+"/iat")
	for s := range bytes.FieldsSeq(e.str(awsClaims + "/scope")) {
		e.add(record.AuthorityScopes, s, awsClaims+"/scope")
	}
}
