package attribution

var gcpGuide = guide{
	userSet: []string{
		"/protoPayload/requestMetadata/callerSuppliedUserAgent: any client; kept as an attribute, and an agent's mark in it is only ever a finding",
		"/protoPayload/requestMetadata/requestAttributes/reason: any client, by the header X-Goog-Request-Reason; kept as context.purpose",
		"/protoPayload/authenticationInfo/authoritySelector: any caller that may impersonate in a cluster; kept as executor.local_account, never as requester",
		"/protoPayload/request/grant/justification: whoever asks Privileged Access Manager for a grant; kept as context.purpose",
		"/protoPayload/request/scope: the caller that asks for a token; Google issues no more than the account may have",
		"/trace: the client, by the header traceparent or X-Cloud-Trace-Context; used for correlation only",
	},
	emit: map[Part]string{
		PartRequester: "`authenticationInfo.principalEmail` or `principalSubject` where it is a person (also of a workforce pool); behind a service account the first element of " +
			"`authenticationInfo.serviceAccountDelegationInfo`, present when the person impersonates the account (`--impersonate-service-account`, `GenerateAccessToken`) instead of holding its key",
		PartExecutor: "`authenticationInfo.principalEmail` / `principalSubject`. Run agents on Agent Engine with their own agent identity (`principal://agents.global.…`) rather than a shared service account",
		PartTool: "`serviceName` and `methodName`; with Google's MCP servers `serviceName` is `API/mcp`. Switch on Data Access audit logs (IAM & Admin > Audit Logs: ADMIN_READ, DATA_READ, DATA_WRITE), " +
			"above all for secretmanager, iam, sts, iamcredentials, aiplatform and bigquery: only Admin Activity is on by itself",
		PartPermission: "`authorizationInfo[].permission`; the permission that decided, all others as attributes",
		PartDecision: "`authorizationInfo[].granted` and `status.code` 7; `policyViolationInfo` (organization policy) and `metadata` of VPC Service Controls name the policy; GKE labels " +
			"`authorization.k8s.io/decision` and `/reason`. Which IAM binding allowed a call is not logged: Policy Troubleshooter tells",
		PartOutcome: "`status` (missing or empty is success); of long-running operations in the entry with `operation.last`",
		PartChain: "`operation.id`, `trace`, `spanId`, `insertId`, the BigQuery job; credentials by `serviceAccountKeyName`. Tokens of `GenerateAccessToken` and `ExchangeToken` are not in the log: " +
			"give each agent an account of its own so that its uses can be told apart",
	},
}
