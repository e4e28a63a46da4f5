package attribution

var k8sGuide = guide{
	userSet: []string{
		"/userAgent: any client; it is only ever a reason for a finding",
		"/sourceIPs/0: the first address is from `X-Forwarded-For` where a proxy in front does not strip it",
		"/impersonatedUser: whoever may impersonate chooses it; it is in executor.local_account and in delegation, never the requester",
		"/user/extra/sessionName/0: whoever assumes an IAM role chooses the name of the session, except IAM Identity Center",
		"/requestURI: the caller, with the command line of `exec`",
		"/requestObject: the caller writes the whole of it, names, labels and annotations too",
		"/auditID: a client with the header `Audit-ID` chooses it",
	},
	emit: map[Part]string{
		PartRequester: "`user.username` where it is a person's (OIDC with the claim `email`, IAM Identity Center on EKS, Entra ID on AKS); certificates name nobody in particular. " +
			"Behind a service account nobody is named: the caller's own log, with the same token (`authentication.kubernetes.io/credential-id`, Kubernetes 1.32), ties them",
		PartExecutor:   "`user` is the real caller, also under impersonation; `user.extra` has the pod and the node of a bound token (Kubernetes 1.30), on EKS the ARN and the access key",
		PartTool:       "`objectRef` and `verb`; for exec the command in `requestURI`",
		PartPermission: "`verb` with the resource, from level Metadata on",
		PartDecision: "`authorization.k8s.io/decision` and `reason`: RBAC names the binding and the role. Webhooks and policies that refuse stand in `responseStatus.message`; " +
			"those that mutate, in annotations of level Metadata (`mutation.webhook.admission.k8s.io/…`) with Kubernetes 1.16 and later",
		PartOutcome: "`responseStatus.code`, from stage ResponseComplete; leave the stage out of `omitStages`",
		PartChain: "`auditID`, the same for all stages of a request: RequestReceived is the request's half, ResponseComplete the response's. " +
			"The life of tokens: `serviceaccounts/token` at level Metadata gives the issue with `issued-credential-id`; audience and end need level Request",
	},
}
