package attribution

func cloudTrailGuide() guide {
	return guide{
		userSet: []string{
			"/userIdentity/arn: the last part of an assumed role is the session name, chosen by whoever called AssumeRole (IAM Identity Center and SAML set it themselves)",
			"/userIdentity/principalId: holds the session name too",
			"/userIdentity/sessionContext/sourceIdentity: set by the one who first assumed a role with it; AWS only carries it along, unless the trust policy demands a certain value",
			"/requestParameters: everything in it is the caller's, sourceIdentity, roleSessionName and runtimeUserId included",
			"/requestParameters/principal: whom an application asks Verified Permissions about",
			"/userAgent: any client",
			"/additionalEventData/identitystore:UserId: not the caller's: IAM Identity Center verified the assertion",
			"/eventData: all of it, by whoever may call PutAuditEvents of CloudTrail Lake",
		},
		emit: map[Part]string{
			PartRequester:  "`userIdentity.onBehalfOf.userId` with trusted identity propagation of IAM Identity Center; the user name in sessions of IAM Identity Center's roles; console sign-ins; `sessionContext.sourceIdentity`, which a trust policy can demand with the condition `sts:SourceIdentity`. A role session alone names nobody",
			PartExecutor:   "`userIdentity.arn`, `invokedBy` for services, `inScopeOf.credentialsIssuedTo` for Lambda functions, tasks and instances; always there",
			PartTool:       "`eventSource` and `eventName`; the tool of an AgentCore gateway in `requestParameters.body.params.name`. Data events (S3 objects, Lambda invocations, Bedrock models, AgentCore runtimes and gateways, Verified Permissions) must be switched on by event selectors of the trail",
			PartPermission: "the call as `service:Action`; the exact one in `errorMessage` of a refusal",
			PartDecision:   "only refusals: `errorCode`, and the kind and ARN of the policy in `errorMessage`. What allowed a call is never in CloudTrail. Verified Permissions logs `decision` with data events on",
			PartOutcome:    "`errorCode`, `errorMessage`; `responseElements.ConsoleLogin` and the like for sign-ins",
			PartChain:      "`requestID`, `sharedEventID`, `userIdentity.accessKeyId` (issued in `responseElements.credentials` of STS calls: log the management events of all regions and accounts), `traceParent` and `runtimeSessionId` of AgentCore",
		},
	}
}
