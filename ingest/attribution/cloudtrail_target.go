package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// awsParam is a request parameter (or an element of the answer) that names the target, with its type.
type awsParam struct{ path, typ string }

const (
	awsAsked    = "/requestParameters"
	awsAnswered = "/responseElements"
)

// awsParams are the places where calls of any service name their target.
var awsParams = [...]awsParam{
	{awsAsked + "/bucketName", "AWS::S3::Bucket"},
	{awsAsked + "/functionName", "AWS::Lambda::Function"},
	{awsAsked + "/tableName", "AWS::DynamoDB::Table"},
	{awsAsked + "/keyId", "AWS::KMS::Key"},
	{awsAsked + "/instancesSet/items/0/instanceId", "AWS::EC2::Instance"},
	{awsAnswered + "/instancesSet/items/0/instanceId", "AWS::EC2::Instance"},
	{awsAsked + "/instanceId", "AWS::EC2::Instance"},
	{awsAsked + "/instanceIds/0", "AWS::EC2::Instance"},
	{awsAsked + "/dBInstanceIdentifier", "AWS::RDS::DBInstance"},
	{awsAsked + "/modelId", "AWS::Bedrock::Model"},
	{awsAsked + "/agentRuntimeArn", "AWS::BedrockAgentCore::Runtime"},
	{awsAsked + "/gatewayIdentifier", "AWS::BedrockAgentCore::Gateway"},
	{awsAsked + "/agentAliasId", "AWS::Bedrock::AgentAlias"},
	{awsAsked + "/agentId", "AWS::Bedrock::Agent"},
	{awsAsked + "/workloadName", "AWS::BedrockAgentCore::WorkloadIdentity"},
	{awsAsked + "/stateMachineArn", "AWS::StepFunctions::StateMachine"},
	{awsAsked + "/stackName", "AWS::CloudFormation::Stack"},
	{awsAsked + "/repositoryName", "AWS::ECR::Repository"},
	{awsAsked + "/queueUrl", "AWS::SQS::Queue"},
	{awsAsked + "/topicArn", "AWS::SNS::Topic"},
	{awsAsked + "/groupId", "AWS::EC2::SecurityGroup"},
	{awsAsked + "/resourceArn", ""},
	{awsAsked + "/arn", ""},
	{awsAsked + "/name", ""},
	{awsAsked + "/names/0", ""},
}

// awsIAM are those of IAM: the principal that a call changes before the policy that it attaches.
var awsIAM = [...]awsParam{
	{awsAsked + "/roleName", "AWS::IAM::Role"},
	{awsAsked + "/userName", "AWS::IAM::User"},
	{awsAsked + "/groupName", "AWS::IAM::Group"},
	{awsAsked + "/policyArn", "AWS::IAM::Policy"},
	{awsAnswered + "/policy/arn", "AWS::IAM::Policy"},
	{awsAsked + "/policyName", "AWS::IAM::Policy"},
	{awsAsked + "/sAMLProviderArn", "AWS::IAM::SAMLProvider"},
	{awsAsked + "/openIDConnectProviderArn", "AWS::IAM::OIDCProvider"},
	{awsAsked + "/instanceProfileName", "AWS::IAM::InstanceProfile"},
	{awsAnswered + "/accessKey/userName", "AWS::IAM::User"},
}

func (e *event) awsTarget(source, op string) {
	switch source {
	case "secretsmanager.amazonaws.com":
		e.awsSecret()
		return
	case "sts.amazonaws.com":
		if e.awsFirst([]awsParam{{awsAsked + "/roleArn", "AWS::IAM::Role"}, {awsAsked + "/targetPrincipal", "AWS::Account"}, {awsAsked + "/name", "AWS::STS::FederatedUser"}}) {
			return
		}
	case "iam.amazonaws.com":
		if e.awsFirst(awsIAM[:]) {
			return
		}
	case "ssm.amazonaws.com", "ec2-instance-connect.amazonaws.com", "ssmmessages.amazonaws.com":
		if e.awsHost(op) {
			return
		}
	case "sso.amazonaws.com":
		if e.awsFirst([]awsParam{{"/serviceEventDetails/role_name", "permission_set"}, {"/serviceEventDetails/account_id", "AWS::Account"}}) {
			if v := e.str("/serviceEventDetails/account_id"); len(v) > 0 {
				e.add(record.Attributes, e.cat([]byte("target_account="), v), "/serviceEventDetails/account_id")
			}
			return
		}
	case "signin.amazonaws.com":
		if e.awsFirst([]awsParam{{awsAsked + "/resource", "url"}, {awsAsked + "/client_id", "oauth_client"}}) {
			return
		}
	case "cognito-idp.amazonaws.com":
		if e.awsFirst([]awsParam{{awsAsked + "/userPoolId", "AWS::Cognito::UserPool"}, {awsAsked + "/clientId", "oauth_client"}}) {
			return
		}
	case "kms.amazonaws.com":
		e.awsEncryptionContext()
	case "bedrock.amazonaws.com", "bedrock-runtime.amazonaws.com":
		e.set(record.ExecutorModel, awsAsked+"/modelId")
	}
	if e.awsResource() {
		return
	}
	if e.awsFirst(awsParams[:]) {
		if v := e.r.Get(record.TargetType); v == "" {
			e.r.Unset(record.TargetType)
		}
	}
}

// awsFirst takes the target from the first parameter that has a value.
func (e *event) awsFirst(params []awsParam) bool {
	for i := range params {
		if e.set(record.TargetID, params[i].path) != nil {
			e.r.Set(record.TargetType, params[i].typ, "")
			return true
		}
	}
	return false
}

// awsResource takes the target from resources[]: an object before the bucket
// that it lies in, else the first that has a name.
func (e *event) awsResource() bool {
	r := e.r
	if key := e.str(awsAsked + "/key"); len(key) > 0 {
		if bucket := e.str(awsAsked + "/bucketName"); len(bucket) > 0 {
			e.put(record.TargetID, e.cat([]byte("arn:aws:s3:::"), bucket, []byte("/"), key), awsAsked+"/key")
			r.Set(record.TargetType, "AWS::S3::Object", "")
			return true
		}
	}
	for i := range 8 {
		base := "/resources/" + decimal(i)
		if !e.has(base) {
			break
		}
		if e.set(record.TargetID, base+"/ARN", base+"/arn", base+"/ARNPrefix") != nil {
			e.set(record.TargetType, base+"/type")
			return true
		}
	}
	return false
}

// awsSecret: a secret's ARN where the event has it, and its name.
func (e *event) awsSecret() {
	r := e.r
	if !e.awsFirst([]awsParam{
		{awsAnswered + "/aRN", "secret"},
		{awsAnswered + "/arn", "secret"},
		{"/additionalEventData/SecretId", "secret"},
		{awsAsked + "/secretId", "secret"},
		{awsAsked + "/secretIdList/0", "secret"},
	}) {
		e.awsResource()
		if !r.Has(record.TargetID) && e.set(record.TargetID, awsAsked+"/name") == nil {
			return
		}
		r.Set(record.TargetType, "secret", "")
	}
	e.set(record.TargetName, awsAnswered+"/name", awsAsked+"/name")
}

// awsHost: sessions of Session Manager and keys pushed by EC2 Instance Connect
// are the beginning and the end of work on a host.
func (e *event) awsHost(op string) bool {
	r := e.r
	switch op {
	case "StartSession", "ResumeSession", "TerminateSession", "SendSSHPublicKey", "SendSerialConsoleSSHPublicKey":
	default:
		return false
	}
	e.set(record.ContextPurpose, awsAsked+"/reason")
	e.set(record.TargetID, awsAsked+"/target", awsAsked+"/instanceId")
	if r.Has(record.TargetID) {
		r.Set(record.TargetType, "host", "")
	}
	if e.set(record.ChainSessionID, awsAnswered+"/sessionId", awsAsked+"/sessionId") != nil && !r.Has(record.TargetID) {
		r.Set(record.TargetID, r.Get(record.ChainSessionID), r.Prov(record.ChainSessionID))
		r.Set(record.TargetType, "session", "")
	}
	if r.Get(record.OutcomeStatus) == record.Success {
		switch op {
		case "StartSession", "ResumeSession":
			e.add(record.Attributes, []byte("session=start"), "/eventName")
		case "TerminateSession":
			e.add(record.Attributes, []byte("session=end"), "/eventName")
		}
	}
	return true
}

// awsEncryptionContext keeps what a key was used for.
func (e *event) awsEncryptionContext() {
	const ctx = awsAsked + "/encryptionContext"
	n := e.find(ctx)
	if n == 0 || e.doc.kindOf(n) != kindObject {
		return
	}
	for c := e.doc.first(n); c != 0; c = e.doc.next(c) {
		if v := e.value(c); len(v) > 0 {
			e.add(record.Attributes, e.cat([]byte("encryption_context."), e.doc.keyOf(c), []byte("="), v), ctx)
		}
	}
}

// awsActions are calls whose permission has another name than the call.
var awsActions = map[string]string{
	"lambda:Invoke": "lambda:InvokeFunction", "lambda:InvokeWithResponseStream": "lambda:InvokeFunction",
	"s3:ListObjects": "s3:ListBucket", "s3:ListObjectsV2": "s3:ListBucket", "s3:HeadBucket": "s3:ListBucket",
	"s3:HeadObject": "s3:GetObject", "s3:ListObjectVersions": "s3:ListBucketVersions", "s3:ListBuckets": "s3:ListAllMyBuckets",
	"s3:DeleteObjects": "s3:DeleteObject", "s3:CopyObject": "s3:PutObject", "s3:UploadPart": "s3:PutObject",
	"s3:CreateMultipartUpload": "s3:PutObject", "s3:CompleteMultipartUpload": "s3:PutObject",
	"bedrock:Converse": "bedrock:InvokeModel", "bedrock:ConverseStream": "bedrock:InvokeModelWithResponseStream",
}

// awsPermission is the call as IAM policies name it. Sign-ins, events that a
// service writes about itself and Insights need no permission.
func (e *event) awsPermission(source, op string) {
	switch string(e.str("/eventType")) {
	case "AwsApiCall", "AwsVpceEvent", "AwsConsoleAction", "":
	default:
		return
	}
	prefix, domain, _ := strings.Cut(source, ".")
	if op == "" || !strings.HasPrefix(domain, "amazonaws.com") || prefix == "signin" {
		return
	}
	switch prefix {
	case "monitoring":
		prefix = "cloudwatch"
	case "email":
		prefix = "ses"
	case "bedrock-runtime":
		prefix = "bedrock"
	case "lambda": // UpdateFunctionCode20150331v2 carries the version of the API
		if i := strings.Index(op, "201"); i > 0 && len(op)-i >= 8 {
			op = op[:i]
		}
	}
	perm := e.cat([]byte(prefix), []byte(":"), []byte(op))
	if other := awsActions[string(perm)]; other != "" {
		perm = []byte(other)
	}
	e.put(record.AuthorityPermission, bytes.TrimSpace(perm), "/eventName")
}
