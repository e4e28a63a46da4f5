package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// cloudTrail decodes AWS CloudTrail events (record version 1.x), one to a line
// or in {"Records":[…]}, by the "CloudTrail record contents" and "userIdentity
// element" pages of AWS.
func cloudTrail() format {
	return format{
		name: "cloudtrail", product: "AWS CloudTrail", issuer: "aws",
		shape: shapeJSON,
		match: func(e *event) bool {
			o := e.root
			// Notifications of S3, SQS and Kinesis have the same members ("aws:s3").
			src := e.doc.get(o, "eventSource")
			return src != 0 && !bytes.HasPrefix(e.value(src), []byte("aws:")) && e.doc.get(o, "eventName") != 0 &&
				(e.doc.get(o, "userIdentity") != 0 || e.doc.get(o, "eventVersion") != 0)
		},
		decode: decodeCloudTrail,
		list: func(e *event) int32 {
			t := &e.doc
			n := t.get(root, "Records")
			if n == 0 || t.kindOf(n) != kindArray || t.nodes[root].count != 1 {
				return 0
			}
			c := t.first(n)
			if c == 0 || t.get(c, "eventSource") == 0 || t.get(c, "eventName") == 0 || bytes.HasPrefix(e.value(t.get(c, "eventSource")), []byte("aws:")) {
				return 0
			}
			return n
		},
	}
}

func decodeCloudTrail(e *event) {
	r := e.r
	e.noDecide = true
	e.time("/eventTime")
	e.set(record.SourceOriginalID, "/eventID")
	e.set(record.SourceAddress, "/sourceIPAddress")
	e.set(record.ChainRequestID, "/requestID")
	e.set(record.ActionService, "/eventSource")
	op := e.set(record.ActionOperation, "/eventName")
	e.awsOutcome()
	e.awsTarget()
	e.awsIdentity(string(op))
	e.awsCredential(string(op))

	e.set(record.EffectSystem, "/eventSource")
	e.claimed = string(op) == "ConsoleLogin" && r.Get(record.OutcomeStatus) != record.Success
	status := r.Get(record.OutcomeStatus)
	switch read := e.str("/readOnly"); {
	case string(read) == "true", status == record.Denied, status == record.Failure:
		prov := "/readOnly"
		if string(read) != "true" {
			prov = r.Prov(record.OutcomeStatus)
		}
		r.Set(record.EffectChanged, record.No, prov)
	case string(read) == "false":
		r.Set(record.EffectChanged, record.Yes, "/readOnly")
	default:
		r.Set(record.EffectChanged, record.Unknown, "")
	}
	if ua := e.str("/userAgent"); len(ua) > 0 {
		e.add(record.Attributes, e.cat([]byte("user_agent="), ua), "/userAgent")
	}
}

func (e *event) awsOutcome() {
	r := e.r
	code := e.set(record.OutcomeCode, "/errorCode")
	detail := e.set(record.OutcomeDetail, "/errorMessage")
	if len(code) == 0 {
		login := e.str("/responseElements/ConsoleLogin")
		switch {
		case len(login) > 0:
			r.Set(record.OutcomeStatus, outcome(login), "/responseElements/ConsoleLogin")
		case len(detail) > 0:
			r.Set(record.OutcomeStatus, record.Failure, "/errorMessage")
		default:
			r.Set(record.OutcomeStatus, record.Success, "")
		}
		return
	}
	c := string(code)
	if strings.Contains(c, "AccessDenied") || strings.Contains(c, "Unauthorized") || strings.Contains(c, "NotAuthorized") {
		r.Set(record.OutcomeStatus, record.Denied, "/errorCode")
		r.Set(record.DecisionEffect, record.Deny, "/errorCode")
		// "… is not authorized to perform: s3:GetObject on resource: … because no
		// identity-based policy allows the s3:GetObject action"
		if _, rest, ok := bytes.Cut(detail, []byte("to perform: ")); ok {
			perm, _, _ := bytes.Cut(rest, []byte(" "))
			e.put(record.AuthorityPermission, perm, "/errorMessage")
		}
		if _, why, ok := bytes.Cut(detail, []byte(" because ")); ok {
			e.put(record.DecisionReason, why, "/errorMessage")
		}
		return
	}
	r.Set(record.OutcomeStatus, record.Failure, "/errorCode")
}

// awsParams are request parameters that name the target, with its type.
var awsParams = [...]struct{ path, typ string }{
	{"/requestParameters/secretId", "AWS::SecretsManager::Secret"},
	{"/requestParameters/bucketName", "AWS::S3::Bucket"},
	{"/requestParameters/roleArn", "AWS::IAM::Role"},
	{"/requestParameters/roleName", "AWS::IAM::Role"},
	{"/requestParameters/userName", "AWS::IAM::User"},
	{"/requestParameters/policyArn", "AWS::IAM::Policy"},
	{"/requestParameters/functionName", "AWS::Lambda::Function"},
	{"/requestParameters/tableName", "AWS::DynamoDB::Table"},
	{"/requestParameters/keyId", "AWS::KMS::Key"},
	{"/requestParameters/instancesSet/items/0/instanceId", "AWS::EC2::Instance"},
	{"/requestParameters/modelId", "AWS::Bedrock::Model"},
	{"/requestParameters/resourceArn", ""},
	{"/requestParameters/name", ""},
}

func (e *event) awsTarget() {
	r := e.r
	if key := e.str("/requestParameters/key"); len(key) > 0 {
		if bucket := e.str("/requestParameters/bucketName"); len(bucket) > 0 {
			e.put(record.TargetID, e.cat([]byte("arn:aws:s3:::"), bucket, []byte("/"), key), "/requestParameters/key")
			r.Set(record.TargetType, "AWS::S3::Object", "")
			return
		}
	}
	for i := range 8 {
		base := "/resources/" + decimal(i)
		if !e.has(base) {
			break
		}
		if e.set(record.TargetID, base+"/ARN", base+"/arn") != nil {
			e.set(record.TargetType, base+"/type")
			return
		}
	}
	for _, p := range awsParams {
		if e.set(record.TargetID, p.path) != nil {
			r.Set(record.TargetType, p.typ, "")
			return
		}
	}
}

const (
	awsUser    = "/userIdentity"
	awsSession = awsUser + "/sessionContext"
	awsIssuer  = awsSession + "/sessionIssuer"
	ssoRoles   = ":role/aws-reserved/sso.amazonaws.com/"
)

// awsIdentity tells the acting principal from the one that asked. A role
// session names nobody by itself: its session name is chosen by the caller, so
// only onBehalfOf, sourceIdentity and IAM Identity Center's own roles give a
// requester.
func (e *event) awsIdentity(op string) {
	r := e.r
	typ := string(e.str(awsUser + "/type"))
	arn := e.str(awsUser + "/arn")
	invoked := string(e.str(awsUser + "/invokedBy"))
	service := invoked != "" && invoked != "signin.amazonaws.com"
	console := op == "ConsoleLogin" || e.isTrue("/sessionCredentialFromConsole")

	id, prov := arn, awsUser+"/arn"
	if len(id) == 0 {
		for _, p := range []string{"/principalId", "/userName", "/accountId"} {
			if v := e.str(awsUser + p); len(v) > 0 {
				id, prov = v, awsUser+p
				break
			}
		}
	}
	principal := record.Unknown
	switch typ {
	case "AWSService":
		principal, id, prov = record.Workload, []byte(invoked), awsUser+"/invokedBy"
	case "AssumedRole", "FederatedUser":
		e.put(record.ExecutorLocalAccount, e.str(awsIssuer+"/userName"), awsIssuer+"/userName")
		if e.set(record.ExecutorInstance, awsUser+"/inScopeOf/credentialsIssuedTo") == nil {
			if i := bytes.LastIndexByte(arn, '/'); i >= 0 && typ == "AssumedRole" {
				e.put(record.ExecutorInstance, arn[i+1:], awsUser+"/arn")
			}
		}
		e.list(record.AuthorityRoles, awsIssuer+"/arn")
		principal = record.ServiceAccount
		// EC2 and Lambda hand out credentials of a role to the machine itself.
		if e.has(awsSession+"/ec2RoleDelivery") || strings.HasPrefix(r.Get(record.ExecutorInstance), "i-") || e.has(awsUser+"/inScopeOf") {
			principal = record.Workload
		}
		if strings.Contains(string(e.str(awsIssuer+"/arn")), ssoRoles) {
			principal = record.Person
		}
	case "Root", "IAMUser":
		e.put(record.ExecutorLocalAccount, e.str(awsUser+"/userName"), awsUser+"/userName")
		if console {
			principal = record.Person
		}
	case "SAMLUser", "WebIdentityUser":
		if v := e.str(awsUser + "/userName"); len(v) > 0 {
			id, prov = v, awsUser+"/userName"
		}
		e.put(record.ExecutorIssuer, e.str(awsUser+"/identityProvider"), awsUser+"/identityProvider")
		if typ == "SAMLUser" {
			principal = record.Person
		}
	case "IdentityCenterUser":
		principal = record.Person
		if v := e.str(awsUser + "/onBehalfOf/userId"); len(v) > 0 {
			id, prov = v, awsUser+"/onBehalfOf/userId"
		}
	}
	if string(id) == "HIDDEN_DUE_TO_SECURITY_REASONS" || string(e.str(awsUser+"/userName")) == "HIDDEN_DUE_TO_SECURITY_REASONS" {
		id = nil
		r.Unset(record.ExecutorLocalAccount)
		r.SetAbsent("executor", record.Redacted)
	}
	if service && typ != "AWSService" {
		// The service acts with the session of the one who called it.
		e.executor(record.Workload, []byte(invoked), awsUser+"/invokedBy")
		r.Set(record.ExecutorIDKind, "aws_service", "")
		r.Unset(record.ExecutorInstance) // the session's, not the service's
		if typ == "IAMUser" || typ == "Root" || typ == "FederatedUser" {
			e.requester(principal, id, prov, fromLogin)
			r.Set(record.RequesterIDKind, "aws_arn", "")
		}
	} else {
		e.executor(principal, id, prov)
	}
	if !r.Has(record.ExecutorIssuer) {
		r.Set(record.ExecutorIssuer, "aws", "")
	}
	e.awsRequester(typ, principal, id, prov, console && !service, op)
	e.awsDelegation(arn, service)
}

func (e *event) awsRequester(typ, principal string, id []byte, prov string, console bool, op string) {
	r := e.r
	const onBehalf, source = awsUser + "/onBehalfOf", awsSession + "/sourceIdentity"
	if v := e.str(onBehalf + "/userId"); len(v) > 0 {
		e.requester(record.Person, v, onBehalf+"/userId", fromLogin)
		r.Set(record.RequesterIDKind, "identity_store_user", "")
		e.set(record.RequesterIssuer, onBehalf+"/identityStoreArn")
		return
	}
	if e.has(onBehalf) {
		r.SetAbsent("requester", record.Redacted)
		r.AddFinding(record.DelegationRedacted)
	}
	from := source
	v := e.str(from)
	if len(v) == 0 && strings.HasPrefix(op, "AssumeRole") {
		from = "/requestParameters/sourceIdentity"
		v = e.str(from)
	}
	switch {
	case len(v) > 0:
		e.requester(principalType(string(v)), v, from, fromParam)
		r.Set(record.RequesterIDKind, "source_identity", "")
		r.Set(record.RequesterIssuer, "aws", "")
	case typ == "AssumedRole" && principal == record.Person:
		// IAM Identity Center alone can assume these roles, and names its user.
		e.requester(record.Person, []byte(r.Get(record.ExecutorInstance)), awsUser+"/arn", fromLogin)
		r.Set(record.RequesterIDKind, "identity_center_username", "")
		r.Set(record.RequesterIssuer, "aws", "")
	case console && principal == record.Person, typ == "SAMLUser", typ == "IdentityCenterUser":
		e.requester(principal, id, prov, fromLogin)
		r.Set(record.RequesterIssuer, "aws", "")
		if typ == "SAMLUser" {
			e.set(record.RequesterIssuer, awsUser+"/identityProvider")
		}
	}
}

// awsDelegation lists who handed its authority on: the source identity, the web
// identity, the session that a service works with.
func (e *event) awsDelegation(arn []byte, service bool) {
	r := e.r
	cred := e.text(e.str(awsUser + "/accessKeyId"))
	role := e.text(e.str(awsIssuer + "/arn"))
	switch {
	case r.Prov(record.RequesterID) == awsSession+"/sourceIdentity" || r.Prov(record.RequesterID) == awsUser+"/onBehalfOf/userId":
		e.delegate(record.Delegation{Principal: r.Get(record.RequesterID), Credential: cred, Audience: role}, r.Prov(record.RequesterID))
	case e.has(awsSession + "/webIdFederationData/federatedProvider"):
		who := e.str(awsSession + "/webIdFederationData/attributes/sub")
		if len(who) == 0 {
			who = e.str(awsSession + "/webIdFederationData/federatedProvider")
		}
		e.delegate(record.Delegation{Principal: e.text(who), Credential: cred, Audience: role}, awsSession+"/webIdFederationData")
	}
	if service && len(arn) > 0 {
		e.delegate(record.Delegation{Principal: e.text(arn), Credential: cred, Audience: r.Get(record.ExecutorID)}, awsUser+"/arn")
	}
	if v := e.str(awsUser + "/invokedByDelegate/accountId"); len(v) > 0 {
		e.delegate(record.Delegation{Principal: e.text(v)}, awsUser+"/invokedByDelegate/accountId")
	}
}

// awsCredential fills the credential: of a call that issued one the issued one
// (the one used stands in delegation), else the one used.
func (e *event) awsCredential(op string) {
	r := e.r
	const issued = "/responseElements/credentials"
	if v := e.set(record.CredentialID, issued+"/accessKeyId"); v != nil {
		kind := "issue"
		if string(e.str(awsUser+"/type")) == "AssumedRole" {
			kind = "exchange"
		}
		r.Set(record.CredentialEventOp, kind, "/eventName")
		r.Set(record.CredentialKind, "aws_session", "")
		r.Set(record.CredentialIssuer, "aws", "")
		if ns := e.instant(record.CredentialExpires, issued+"/expiration"); ns == 0 {
			if v := e.str(issued + "/expiration"); len(v) > 0 {
				if ns, ok := awsExpiry(v); ok {
					r.Set(record.CredentialExpires, instant(ns), issued+"/expiration")
				}
			}
		}
		e.number(record.CredentialTTL, e.str("/requestParameters/durationSeconds"), "/requestParameters/durationSeconds")
		e.set(record.CredentialAudience, "/responseElements/assumedRoleUser/arn")
		caller := e.str(awsUser + "/arn")
		if len(caller) > 0 {
			e.delegate(record.Delegation{
				Principal: e.text(caller), Credential: e.text(e.str(awsUser + "/accessKeyId")),
				Audience: e.text(e.str("/requestParameters/roleArn")), Expires: r.Get(record.CredentialExpires),
			}, awsUser+"/arn")
		}
		return
	}
	switch v := e.set(record.CredentialID, awsUser+"/accessKeyId", awsUser+"/credentialId"); {
	case v == nil:
		return
	case bytes.HasPrefix(v, []byte("AKIA")):
		r.Set(record.CredentialKind, "aws_access_key", "")
	case bytes.HasPrefix(v, []byte("ASIA")):
		r.Set(record.CredentialKind, "aws_session", "")
	default:
		r.Set(record.CredentialKind, "aws_credential", "")
	}
	r.Set(record.CredentialIssuer, "aws", "")
	e.instant(record.CredentialIssued, awsSession+"/attributes/creationDate")
	switch op {
	case "DeleteAccessKey":
		e.set(record.CredentialID, "/requestParameters/accessKeyId")
		r.Set(record.CredentialEventOp, "revoke", "/eventName")
	case "CreateAccessKey":
		if e.set(record.CredentialID, "/responseElements/accessKey/accessKeyId") != nil {
			r.Set(record.CredentialEventOp, "issue", "/eventName")
		}
	}
}

// awsExpiry reads STS's "Nov 23, 2026, 3:02:07 PM", the second comma being newer.
func awsExpiry(v []byte) (int64, bool) {
	if ns, ok := parseLayout(v, "Jan 2, 2006, 3:04:05 PM", nil); ok {
		return ns, true
	}
	return parseLayout(v, "Jan 2, 2006 3:04:05 PM", nil)
}
