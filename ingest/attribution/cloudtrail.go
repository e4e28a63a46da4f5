package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// cloudTrail decodes AWS CloudTrail events (record version 1.x) of all
// categories: management, data, network activity and Insight events, and the
// activity events of CloudTrail Lake. One event to a line, an array of events,
// or {"Records":[…]}. Sources: the pages "CloudTrail record contents" and
// "userIdentity element" of AWS, and those of each service that logs to it.
func cloudTrail() format {
	return format{
		name: "cloudtrail", product: "AWS CloudTrail", issuer: "aws",
		shape:  shapeJSON,
		keys:   []string{"eventSource", "eventID", "Records"},
		match:  func(e *event) bool { return e.isCloudTrail(e.root) },
		decode: decodeCloudTrail,
		list:   cloudTrailList,
		guide:  cloudTrailGuide(),
	}
}

// isCloudTrail reports whether the object o is an event.
func (e *event) isCloudTrail(o int32) bool {
	t := &e.doc
	if src := t.get(o, "eventSource"); src != 0 && t.get(o, "eventName") != 0 {
		// Notifications of S3, SQS and Kinesis have the same members ("aws:s3").
		return !bytes.HasPrefix(e.value(src), []byte("aws:")) && (t.get(o, "userIdentity") != 0 || t.get(o, "eventVersion") != 0)
	}
	if t.get(o, "eventID") == 0 || t.get(o, "eventTime") == 0 && t.get(o, "eventCategory") == 0 {
		return false
	}
	return t.get(o, "insightDetails") != 0 || t.get(t.get(o, "eventData"), "eventSource") != 0 ||
		e.src.Format == "cloudtrail"
}

// cloudTrailList finds the events of a log file: {"Records":[…]} and nothing else, or an array.
func cloudTrailList(e *event) int32 {
	t := &e.doc
	n := root
	if t.kindOf(root) == kindObject {
		if n = t.get(root, "Records"); n == 0 || t.nodes[root].count != 1 {
			return 0
		}
	}
	if t.kindOf(n) != kindArray {
		return 0
	}
	if c := t.first(n); c == 0 || !e.isCloudTrail(c) {
		return 0
	}
	return n
}

func decodeCloudTrail(e *event) {
	r := e.r
	e.noDecide = true
	e.time("/eventTime")
	e.set(record.SourceOriginalID, "/eventID")
	e.set(record.SourceAddress, "/sourceIPAddress")
	e.set(record.ChainRequestID, "/requestID")
	e.awsContext()
	switch {
	case e.has("/insightDetails"):
		e.awsInsight()
		return
	case !e.has("/eventName") && e.has("/eventData"):
		e.awsActivity()
		return
	}
	source := string(e.set(record.ActionService, "/eventSource"))
	e.set(record.EffectSystem, "/eventSource")
	op := string(e.set(record.ActionOperation, "/eventName"))
	e.awsPermission(source, op)
	e.awsOutcome(source, op)
	e.awsTarget(source, op)
	e.awsIdentity(source, op)
	e.awsCredential(source, op)
	if source == "bedrock-agentcore.amazonaws.com" {
		e.awsAgentCore(op)
	}
	if source == "verifiedpermissions.amazonaws.com" {
		e.verifiedPermissions()
	}
	mcp := e.awsMCP(source)
	e.awsEffect(source, op)
	if r.Get(record.TargetType) == "host" {
		// On a host the account is the one that was used there, not the role.
		r.Unset(record.ExecutorLocalAccount)
		e.set(record.ExecutorLocalAccount, awsAsked+"/instanceOSUser")
	}
	if r.Get(record.ExecutorType) == record.Person && (mcp || agentMark(e.str("/userAgent"))) {
		r.AddFinding(record.AgentAsHuman)
	}
}

// agentMarks are what coding agents and MCP servers put into their User-Agent.
var agentMarks = [...]string{
	"mcp", "claude", "amazonq", "amazon-q", "kiro", "codex", "copilot", "cursor/", "gemini-cli", "langchain", "strands", "agentcore", "bedrock-agent",
}

// agentMark reports whether a User-Agent says that an agent made the request.
func agentMark(ua []byte) bool {
	l := bytes.ToLower(ua)
	for _, m := range agentMarks {
		if i := bytes.Index(l, []byte(m)); i == 0 || i > 0 && (l[i-1]-'a' > 25 && l[i-1]-'0' > 9) {
			return true
		}
	}
	return false
}

// awsMCP adds what the AWS MCP Server logs about a tool call (AwsMcpEvent), and
// tells whether the call came from an agent through it.
func (e *event) awsMCP(source string) bool {
	const details = "/mcpEventDetails"
	if v := e.str("/additionalEventData/CalledViaAWSMCP"); len(v) > 0 {
		e.add(record.Attributes, e.cat([]byte("via_mcp="), v), "/additionalEventData/CalledViaAWSMCP")
		return true
	}
	if string(e.str("/eventType")) != "AwsMcpEvent" && !e.has(details) && !strings.HasPrefix(source, "aws-mcp.") {
		return false
	}
	if method := e.str(awsAsked + "/method"); string(method) == "tools/call" {
		e.set(record.ActionTool, awsAsked+"/params/name")
	} else {
		e.put(record.ActionTool, method, awsAsked+"/method")
	}
	e.set(record.ActionServer, details+"/mcpServerName")
	if v := e.str(details + "/sessionId"); len(v) > 0 {
		e.add(record.Attributes, e.cat([]byte("mcp.session.id="), v), details+"/sessionId")
	}
	if e.isTrue(awsAnswered+"/isError") && e.r.Get(record.OutcomeStatus) == record.Success {
		e.r.Set(record.OutcomeStatus, record.Failure, awsAnswered+"/isError")
		e.set(record.OutcomeDetail, awsAnswered+"/content/0/text")
	}
	return true
}

// awsContext adds where the call was made and by what way it came.
func (e *event) awsContext() {
	for _, a := range [...]struct{ name, path string }{
		{"user_agent=", "/userAgent"},
		{"account=", "/recipientAccountId"},
		{"region=", "/awsRegion"},
		{"mfa=", awsSession + "/attributes/mfaAuthenticated"},
		{"mfa=", "/additionalEventData/MFAUsed"},
		{"console=", "/sessionCredentialFromConsole"},
		{"ec2_role_delivery=", awsSession + "/ec2RoleDelivery"},
		{"assumed_root=", awsSession + "/assumedRoot"},
		{"source_identity=", awsSession + "/sourceIdentity"},
		{"bearer_token=", "/additionalEventData/callWithBearerToken"},
		{"vpc_endpoint=", "/vpcEndpointId"},
		{"tls=", "/tlsDetails/tlsVersion"},
	} {
		if v := e.str(a.path); len(v) > 0 {
			e.add(record.Attributes, e.cat([]byte(a.name), v), a.path)
		}
	}
	// One event that concerns two accounts has two event ids and one shared id;
	// the steps of one sign-in to IAM Identity Center share the workflow's.
	e.set(record.ChainTxn, "/sharedEventID", "/additionalEventData/AuthWorkflowID")
	e.set(record.ChainSessionID, awsSession+"/signInSessionArn", awsUser+"/signInSessionArn", "/additionalEventData/signInSessionArn")
	for _, p := range [...]string{"/requestParameters/traceParent", "/requestParameters/traceparent"} {
		e.awsTrace(e.str(p), p)
	}
	if !e.r.Has(record.ChainTraceID) {
		e.awsTrace(e.str("/requestParameters/traceId"), "/requestParameters/traceId")
	}
}

// awsTrace reads a traceparent, or X-Ray's "Root=1-5759e988-bd86…;Parent=53995c3f42cd8ad8".
func (e *event) awsTrace(v []byte, prov string) {
	if tp := bytes.Split(v, []byte("-")); len(tp) == 4 && len(tp[1]) == 32 && len(tp[2]) == 16 {
		e.put(record.ChainTraceID, tp[1], prov)
		e.put(record.ChainParentID, tp[2], prov)
		return
	}
	for f := range bytes.SplitSeq(v, []byte(";")) {
		key, val, _ := bytes.Cut(bytes.TrimSpace(f), []byte("="))
		switch string(key) {
		case "Root":
			if p := bytes.Split(val, []byte("-")); len(p) == 3 && len(p[1]) == 8 && len(p[2]) == 24 {
				e.put(record.ChainTraceID, e.cat(p[1], p[2]), prov)
			}
		case "Parent":
			if len(val) == 16 {
				e.put(record.ChainParentID, val, prov)
			}
		}
	}
}

// awsInsight: CloudTrail noticed an unusual rate of calls. Nobody acted, so there is no operation.
func (e *event) awsInsight() {
	r := e.r
	const d = "/insightDetails"
	e.set(record.ActionService, d+"/eventSource")
	for _, k := range [...]string{"insightType", "state", "eventName", "errorCode"} {
		if v := e.str(d + "/" + k); len(v) > 0 {
			e.add(record.Attributes, e.cat([]byte("insight."+k+"="), v), d+"/"+k)
		}
	}
	r.Set(record.EffectChanged, record.No, "")
	r.SetAbsent("requester", record.NotApplicable)
	r.SetAbsent("executor", record.NotApplicable)
}

// awsActivity decodes an event from outside of AWS that CloudTrail Lake keeps.
// Whoever calls PutAuditEvents writes all of eventData.
func (e *event) awsActivity() {
	r := e.r
	const d = "/eventData"
	if id := e.str(d + "/UID"); len(id) > 0 {
		e.add(record.Attributes, e.cat([]byte("uid="), id), d+"/UID")
	}
	e.set(record.ActionService, d+"/eventSource")
	e.set(record.ActionOperation, d+"/eventName")
	e.set(record.SourceAddress, d+"/sourceIPAddress")
	e.executor(record.Unknown, e.str(d+"/userIdentity/principalId"), d+"/userIdentity/principalId")
	e.claimed = true
	e.set(record.OutcomeDetail, d+"/errorMessage")
	status, prov := record.Success, ""
	if code := e.set(record.OutcomeCode, d+"/errorCode"); len(code) > 0 {
		status, prov = record.Failure, d+"/errorCode"
		if denied, _ := awsDenied(string(code)); denied {
			status = record.Denied
			r.Set(record.DecisionEffect, record.Deny, prov)
		}
	}
	r.Set(record.OutcomeStatus, status, prov)
	r.Set(record.EffectChanged, record.Unknown, "")
	r.SetAbsent("requester", record.NotEstablished)
}

// awsDenied tells whether an error code is a refusal, and whether already the
// credential was refused, so that the identity of the caller is only claimed.
func awsDenied(code string) (denied, authentication bool) {
	for _, c := range [...]string{
		"ExpiredToken", "InvalidClientTokenId", "SignatureDoesNotMatch", "UnrecognizedClient", "AuthFailure", "InvalidSignature",
		"MissingAuthenticationToken", "IncompleteSignature", "InvalidAccessKeyId", "InvalidToken", "InvalidIdentityToken", "InvalidGrant",
		"IDPRejectedClaim", "InvalidUserType", "TokenRefreshRequired", "RequestExpired", "ExpiredIdentityToken", "NotSignedUp", "InvalidSecurity",
	} {
		if strings.Contains(code, c) {
			return true, true
		}
	}
	for _, c := range [...]string{"AccessDenied", "Unauthorized", "NotAuthorized", "Forbidden", "PermissionDenied", "NotPermitted", "AllAccessDisabled"} {
		if strings.Contains(code, c) {
			return true, false
		}
	}
	return false, false
}

func (e *event) awsOutcome(source, op string) {
	r := e.r
	code := e.set(record.OutcomeCode, "/errorCode")
	detail := e.set(record.OutcomeDetail, "/errorMessage")
	if len(code) == 0 {
		e.awsAnswer(source, op, len(detail) > 0)
		return
	}
	status := record.Failure
	denied, authentication := awsDenied(string(code))
	if source == "cognito-idp.amazonaws.com" && string(code) == "NotAuthorizedException" {
		authentication = true // a wrong password or an expired token
	}
	switch {
	case denied:
		status = record.Denied
		e.claimed = e.claimed || authentication
		if !authentication {
			r.Set(record.DecisionEffect, record.Deny, "/errorCode")
		}
		e.awsReason(detail)
	case string(code) == "Client.DryRunOperation" || string(code) == "DryRunOperation":
		status = record.Success // "would have succeeded"
	case source == "signin.amazonaws.com":
		status, e.claimed = record.Denied, true
	default:
		if o := outcome(code); o == record.Success {
			status = o // services that write an HTTP status
		}
	}
	r.Set(record.OutcomeStatus, status, "/errorCode")
}

// awsAnswer reads the outcome of an event without an error code: sign-in events
// answer {"ConsoleLogin":"Success"}, gateways with the status of HTTP.
func (e *event) awsAnswer(source, op string, failed bool) {
	r := e.r
	for _, p := range [...]string{"/responseElements", "/serviceEventDetails", "/additionalEventData"} {
		v := e.value(e.doc.get(e.find(p), op))
		if source == "signin.amazonaws.com" && len(v) == 0 {
			v = e.str(p + "/success")
		}
		if o := outcome(v); o != record.Unknown {
			if o == record.Failure {
				o = record.Denied // a sign-in fails because it is refused
				e.claimed = true
			}
			r.Set(record.OutcomeStatus, o, p)
			return
		}
	}
	const status = "/responseElements/statusCode"
	if v := e.str(status); len(v) == 3 && outcome(v) != record.Unknown {
		e.put(record.OutcomeCode, v, status)
		r.Set(record.OutcomeStatus, outcome(v), status)
		e.set(record.OutcomeDetail, "/responseElements/body/error/message")
		if outcome(v) == record.Denied {
			e.claimed = true
		}
		return
	}
	if failed {
		r.Set(record.OutcomeStatus, record.Failure, "/errorMessage")
		return
	}
	r.Set(record.OutcomeStatus, record.Success, "")
}

// awsReason reads "User: … is not authorized to perform: s3:GetObject on resource:
// … with an explicit deny in a service control policy: arn:…" or "… because no
// identity-based policy allows the s3:GetObject action".
func (e *event) awsReason(detail []byte) {
	const prov = "/errorMessage"
	if i := bytes.Index(detail, []byte(" Encoded authorization failure message")); i >= 0 {
		detail = bytes.TrimRight(detail[:i], ". ")
	}
	if _, rest, ok := bytes.Cut(detail, []byte("to perform: ")); ok {
		perm, _, _ := bytes.Cut(rest, []byte(" "))
		e.put(record.AuthorityPermission, perm, prov)
	}
	why := []byte(nil)
	if i := bytes.Index(detail, []byte(" with an explicit deny")); i >= 0 {
		why = detail[i+1:]
	} else if _, rest, ok := bytes.Cut(detail, []byte(" because ")); ok {
		why = rest
	} else if string(e.str("/errorCode")) == "VpceAccessDenied" {
		why = detail
	}
	e.put(record.DecisionReason, why, prov)
	if i := bytes.Index(why, []byte("arn:aws")); i >= 0 {
		arn := why[i:]
		if j := bytes.IndexAny(arn, " ,;)\""); j >= 0 {
			arn = arn[:j]
		}
		if bytes.Contains(arn, []byte(":policy/")) {
			e.put(record.DecisionPolicyID, bytes.TrimRight(arn, "."), prov)
		}
	}
}

// awsEffect: whether the call changed something. AWS says which calls only read;
// what runs behind the others that start something else is not in the event.
func (e *event) awsEffect(source, op string) {
	r := e.r
	const read = "/readOnly"
	switch status := r.Get(record.OutcomeStatus); {
	case e.isTrue(read):
		r.Set(record.EffectChanged, record.No, read)
	case status == record.Denied || status == record.Failure:
		r.Set(record.EffectChanged, record.No, r.Prov(record.OutcomeStatus))
	case strings.HasSuffix(string(e.str("/errorCode")), "DryRunOperation"):
		r.Set(record.EffectChanged, record.No, "/errorCode")
	case string(e.str(read)) != "false" || source == "signin.amazonaws.com" || strings.HasPrefix(op, "Invoke"),
		op == "StartSession" || op == "SendCommand" || op == "StartExecution":
		r.Set(record.EffectChanged, record.Unknown, "")
	default:
		r.Set(record.EffectChanged, record.Yes, read)
	}
}
