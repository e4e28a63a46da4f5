package scenario

import (
	"encoding/base64"
	"time"
)

// awsSession is the userIdentity of a role session, by the CloudTrail "userIdentity element" page.
type awsSession struct {
	role, name, key string
	source          string // sourceIdentity
	provider        string // web identity
	sso             bool
	created         time.Time
}

func (a awsSession) arn(t *tenant) string {
	return "arn:aws:sts::" + t.account + ":assumed-role/" + a.role + "/" + a.name
}

func (a awsSession) roleARN(t *tenant) string {
	if a.sso {
		return "arn:aws:iam::" + t.account + ":role/aws-reserved/sso.amazonaws.com/eu-central-1/" + a.role
	}
	return "arn:aws:iam::" + t.account + ":role/" + a.role
}

func (s *story) identity(a awsSession) object {
	id := "AROA" + a.role[:3] + "7QEXAMPLE33"
	session := object{"sessionIssuer", object{
		"type", "Role", "principalId", id, "arn", a.roleARN(s.t), "accountId", s.t.account, "userName", a.role,
	}}
	if a.provider != "" {
		session = append(session, "webIdFederationData", object{"federatedProvider", a.provider, "attributes", object{}})
	}
	session = append(session, "attributes", object{"creationDate", a.created.Format(seconds), "mfaAuthenticated", "false"})
	session = session.with("sourceIdentity", a.source)
	return object{
		"type", "AssumedRole", "principalId", id + ":" + a.name, "arn", a.arn(s.t), "accountId", s.t.account,
		"accessKeyId", a.key, "sessionContext", session,
	}
}

// awsCall is what one API call shows.
type awsCall struct {
	identity         object
	service, name    string // secretsmanager, GetSecretValue
	params, response any
	resources        array
	read             bool
	code, message    string
	ip, agent        string
	category         string
	more             object
}

func (s *story) cloudtrail(after time.Duration, c awsCall) *event {
	w, at := s.w, s.clock("cloudtrail", after)
	if c.ip == "" {
		c.ip = w.ip()
	}
	if c.agent == "" {
		c.agent = "Boto3/1.35.71 md/Botocore#1.35.71 ua/2.0 os/linux#6.8.0 md/arch#x86_64 lang/python#3.12.4 cfg/retry-mode#standard"
	}
	if c.category == "" {
		c.category = "Management"
	}
	host := c.service + ".eu-central-1.amazonaws.com"
	o := object{
		"eventVersion", "1.11", "userIdentity", c.identity, "eventTime", at.Format(seconds), "eventSource", c.service + ".amazonaws.com",
		"eventName", c.name, "awsRegion", "eu-central-1", "sourceIPAddress", c.ip, "userAgent", c.agent,
	}.with("errorCode", c.code, "errorMessage", c.message)
	o = append(o, "requestParameters", c.params, "responseElements", c.response)
	o = append(o, c.more...)
	o = append(o, "requestID", w.uuid(), "eventID", w.uuid(), "readOnly", c.read).with("resources", c.resources)
	o = append(
		o, "eventType", "AwsApiCall", "managementEvent", c.category == "Management", "recipientAccountId", s.t.account,
		"eventCategory", c.category, "tlsDetails", object{"tlsVersion", "TLSv1.3", "cipherSuite", "TLS_AES_128_GCM_SHA256", "clientProvidedHostHeader", host},
	)
	if w.IntN(8) == 0 { // by EventBridge
		o = object{
			"version", "0", "id", w.uuid(), "detail-type", "AWS API Call via CloudTrail", "source", "aws." + c.service, "account", s.t.account, "time", at.Format(seconds),
			"region", "eu-central-1", "resources",
			array{},
			"detail", o,
		}
	}
	return s.emit("cloudtrail", after, text(o))
}

// assume is an STS call that hands out the session.
func (s *story) assume(after time.Duration, caller object, a awsSession, expires time.Duration) *event {
	at := s.clock("cloudtrail", after)
	params := object{"roleArn", a.roleARN(s.t), "roleSessionName", a.name, "durationSeconds", int(expires / time.Second)}.with("sourceIdentity", a.source)
	return s.cloudtrail(after, awsCall{
		identity: caller, service: "sts", name: "AssumeRole", params: params, read: true,
		response: object{
			"credentials",
			object{
				"accessKeyId", a.key, "sessionToken", "IQoJb3JpZ2luX2VjE" + s.w.text(24), "expiration", at.Add(expires).Format("Jan 2, 2006, 3:04:05 PM"),
			},
			"assumedRoleUser",
			object{"assumedRoleId", "AROA" + a.role[:3] + "7QEXAMPLE33:" + a.name, "arn", a.arn(s.t)},
		}.with("sourceIdentity", a.source),
		resources: array{object{"accountId", s.t.account, "type", "AWS::IAM::Role", "ARN", a.roleARN(s.t)}},
	})
}

// names are what the session may be called by as an executor.
func (a awsSession) names(t *tenant) []string {
	return []string{a.arn(t), a.role, a.name, a.roleARN(t)}
}

// iamUser is the userIdentity of an IAM user with a long-lived key.
func (s *story) iamUser(name, key string) object {
	return object{
		"type", "IAMUser", "principalId", "AIDA" + s.w.pick(upper, 17), "arn", "arn:aws:iam::" + s.t.account + ":user/" + name,
		"accountId", s.t.account, "accessKeyId", key, "userName", name,
	}
}

// secretRead is a call of Secrets Manager.
func (s *story) secretRead(after time.Duration, a awsSession, secret string) *event {
	return s.cloudtrail(after, awsCall{
		identity: s.identity(a), service: "secretsmanager", name: "GetSecretValue", read: true,
		params: object{"secretId", "arn:aws:secretsmanager:eu-central-1:" + s.t.account + ":secret:" + secret + "-AbCdEf"},
	}).did(a.names(s.t)...)
}

// gcpCall is what one call shows in Cloud Audit Logs.
type gcpCall struct {
	auth                      object
	service, method, resource string
	permission                string
	granted                   bool
	code                      int
	message                   string
	more                      object
	activity                  string // activity or data_access
}

func (s *story) gcp(after time.Duration, c gcpCall) *event {
	w, at := s.w, s.clock("gcp_audit", after)
	project := s.t.name + "-prod"
	if c.activity == "" {
		c.activity = "data_access"
	}
	status := object{}
	if c.code != 0 {
		status = object{"code", c.code, "message", c.message}
	}
	authz := object{"resource", c.resource, "permission", c.permission}
	if c.granted {
		authz = append(authz, "granted", true)
	}
	authz = append(authz, "resourceAttributes", object{"service", c.service, "name", c.resource})
	payload := object{
		"@type", "type.googleapis.com/google.cloud.audit.AuditLog", "status", status, "authenticationInfo", c.auth,
		"requestMetadata",
		object{
			"callerIp", w.ip(), "callerSuppliedUserAgent", "google-api-go-client/0.5 grpc-go/1.66.0,gzip(gfe)",
			"requestAttributes",
			object{"time", at.Format(nanos), "auth", object{}},
			"destinationAttributes",
			object{},
		},
		"serviceName", c.service, "methodName", c.method, "authorizationInfo",
		array{authz},
		"resourceName", c.resource,
	}
	payload = append(payload, c.more...)
	o := object{
		"protoPayload", payload, "insertId", w.pick(letters[:26]+digits, 13),
		"resource",
		object{"type", "audited_resource", "labels", object{"project_id", project, "service", c.service, "method", c.method}},
		"timestamp", at.Format(nanos), "severity", "INFO",
		"logName", "projects/" + project + "/logs/cloudaudit.googleapis.com%2F" + c.activity, "receiveTimestamp", at.Add(800 * time.Millisecond).Format(nanos),
	}
	return s.emit("gcp_audit", after, text(o))
}

// github is one event of GitHub's audit log stream.
func (s *story) github(after time.Duration, action, actor string, bot bool, token string, more ...any) *event {
	w, at := s.w, s.clock("github", after)
	o := object{
		"@timestamp", at.UnixMilli(), "_document_id", w.text(22), "action", action, "actor", actor, "actor_id", 1000 + w.IntN(90000),
		"actor_ip", w.ip(), "actor_is_bot", bot, "business", s.t.name, "business_id", 41, "created_at", at.UnixMilli(), "org", s.t.name + "-eng", "org_id", 7001,
		"operation_type", "modify", "request_id", w.pick("0123456789ABCDEF", 4) + ":" + w.pick("0123456789ABCDEF", 6) + ":" + w.pick("0123456789ABCDEF", 7),
		"user_agent", "octokit-rest.js/21.0.2 octokit-core.js/6.1.2 Node.js/20",
	}
	if token != "" {
		raw, _ := sum(token)
		o = append(o, "hashed_token", base64.StdEncoding.EncodeToString(raw[:]), "token_id", 100000+w.IntN(900000))
	}
	return s.emit("github", after, text(append(o, more...)))
}

// entraSignIn is an interactive sign-in as the diagnostic settings export it.
func (s *story) entraSignIn(after time.Duration, p *person, uti, correlation, app, appName string) *event {
	w, at := s.w, s.clock("entra", after)
	ip := w.ip()
	return s.emit("entra", after, text(object{
		"time", at.Format("2006-01-02T15:04:05.0000000Z"), "resourceId", "/tenants/" + s.t.entra + "/providers/Microsoft.aadiam",
		"operationName", "Sign-in activity", "operationVersion", "1.0", "category", "SignInLogs", "tenantId", s.t.entra, "resultType", "0",
		"resultSignature", "None", "durationMs", 0, "callerIpAddress", ip, "correlationId", correlation, "identity", p.full, "Level", 4, "location", "DE",
		"properties",
		object{
			"id", w.uuid(), "createdDateTime", at.Format("2006-01-02T15:04:05.0000000+00:00"), "userDisplayName", p.full, "userPrincipalName", p.mail,
			"userId", p.entra, "appId", app, "appDisplayName", appName, "ipAddress", ip,
			"status",
			object{"errorCode", 0, "additionalDetails", "MFA requirement satisfied by claim in the token"},
			"clientAppUsed", "Browser",
			"userAgent", "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
			"deviceDetail",
			object{"deviceId", w.uuid(), "operatingSystem", "Linux", "browser", "Firefox 132.0", "isCompliant", true, "isManaged", true, "trustType", "Azure AD registered"},
			"location",
			object{"city", "Berlin", "state", "Berlin", "countryOrRegion", "DE"},
			"correlationId", correlation, "conditionalAccessStatus", "success",
			"appliedConditionalAccessPolicies",
			array{object{"id", w.uuid(), "displayName", "Require compliant device", "enforcedGrantControls", []string{"RequireCompliantDevice"}, "result", "success"}},
			"isInteractive", true, "tokenIssuerType", "AzureAD", "authenticationRequirement", "multiFactorAuthentication", "uniqueTokenIdentifier", uti,
			"incomingTokenType", "none", "authenticationProtocol", "oAuth2", "resourceDisplayName", "Microsoft Graph", "resourceId", "00000003-0000-0000-c000-000000000000",
			"riskLevelAggregated", "none", "riskState", "none", "userType", "Member", "crossTenantAccessType", "none", "sessionId", w.uuid(),
			"resourceTenantId", s.t.entra, "homeTenantId", s.t.entra,
		},
	})).shows(p).did(p.aliases...)
}

// graphCall is a request to Microsoft Graph; user is "" for an app of its own.
func (s *story) graphCall(after time.Duration, uti, app, user, method, path string) *event {
	w, at := s.w, s.clock("entra", after)
	props := object{
		"timeGenerated", at.Format(seconds), "location", "Germany West Central", "requestId", w.uuid(), "operationId", w.uuid(), "clientRequestId", w.uuid(),
		"apiVersion", "v1.0", "requestMethod", method, "responseStatusCode", 200, "tenantId", s.t.entra, "durationMs", 8000 + w.IntN(90000), "responseSizeBytes", 1200 + w.IntN(9000),
		"signInActivityId", uti, "appId", app,
	}
	if user != "" {
		props = append(props, "userId", user, "scopes", "Files.Read.All User.Read", "identityProvider", "", "clientAuthMethod", "0", "wids", "b79fbf4d-3ef9-4689-8143-76b194e85509")
	} else {
		props = append(props, "servicePrincipalId", w.uuid(), "roles", "Files.Read.All", "clientAuthMethod", "2")
	}
	props = append(
		props, "tokenIssuedAt", at.Add(-time.Minute).Format(seconds), "requestUri", "https://graph.microsoft.com/v1.0/"+path, "userAgent", "python-requests/2.32.3",
		"ipAddress", w.ip(), "C_Idtyp", map[bool]string{true: "user", false: "app"}[user != ""],
	)
	return s.emit("entra", after, text(object{
		"time", at.Format(seconds), "resourceId", "/TENANTS/" + s.t.entra + "/PROVIDERS/MICROSOFT.AADIAM", "operationName", "Microsoft Graph Activity",
		"operationVersion", "v1.0", "category", "MicrosoftGraphActivityLogs", "resultSignature", "200", "durationMs", "91", "callerIpAddress", w.ip(),
		"correlationId", w.uuid(), "level", "Informational", "location", "Germany West Central", "properties", props,
	}))
}

// keyVault is an AuditEvent of Azure Key Vault, of an application acting for a user.
func (s *story) keyVault(after time.Duration, p *person, app, secret string) *event {
	w, at := s.w, s.clock("azure_keyvault", after)
	ip, vault := w.ip(), s.t.name+"-kv"
	return s.emit("azure_keyvault", after, text(object{
		"time", at.Format("2006-01-02T15:04:05.0000000Z"), "category", "AuditEvent", "operationName", "SecretGet", "resultType", "Success", "resultSignature", "OK",
		"resultDescription", "", "durationMs", "21", "callerIpAddress", ip, "correlationId", w.uuid(),
		"identity",
		object{"claim", object{
			"http://schemas.microsoft.com/identity/claims/objectidentifier", p.entra, "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn", p.mail,
			"appid", app, "iss", "https://sts.windows.net/" + s.t.entra + "/",
		}},
		"properties",
		object{
			"id", "https://" + vault + ".vault.azure.net/secrets/" + secret + "/" + w.hex(32), "clientInfo", "azsdk-go-azsecrets/v1.3.0 (go1.23; linux)",
			"requestUri", "https://" + vault + ".vault.azure.net/secrets/" + secret + "?api-version=7.5", "httpStatusCode", 200, "isAccessPolicyMatch", true, "tlsVersion", "TLS1_3",
		},
		"resourceId", "/SUBSCRIPTIONS/" + s.t.entra + "/RESOURCEGROUPS/PROD/PROVIDERS/MICROSOFT.KEYVAULT/VAULTS/" + vault,
		"operationVersion", "7.5",
	})).shows(p).did(append([]string{app}, p.aliases...)...)
}
