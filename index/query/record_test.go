package query

import (
	"strconv"
	"testing"
	"time"

	"custody/ingest/record"
)

// now is the clock of the tests.
var now = time.Date(2026, 11, 23, 14, 30, 0, 0, time.UTC)

// row is a record with the original it was sealed as.
type row struct{ eff, sealed *record.Record }

type values map[record.Field]string

// build makes a record: scalars, then list elements.
func build(tb testing.TB, kind record.Kind, seq uint64, at, raw string, v values, lists ...any) *record.Record {
	tb.Helper()
	r := &record.Record{Kind: kind, Seq: seq, Raw: []byte(raw)}
	r.ID = [16]byte{0x01, 0x93, 0x4c, 0x1e, 0x7b, 0x2a, 0x7c, 0xc3, 0x9a, 0x55, 14: byte(seq >> 8), 15: byte(seq)}
	if at != "" {
		ns, ok := record.ParseTime(at)
		if !ok {
			tb.Fatalf("time %q", at)
		}
		r.SetTime(ns, "/time")
		r.Received = ns + int64(time.Second)
	}
	for f, x := range v {
		r.Set(f, x, "/"+f.String())
	}
	for i := 0; i < len(lists); i += 2 {
		switch x := lists[i+1].(type) {
		case string:
			r.Add(lists[i].(record.Field), x, "")
		case record.Delegation:
			r.AddDelegation(x, "")
		case record.Link:
			r.AddLink(x)
		}
	}
	return r
}

// corpus is the set of records that the table speaks of.
func corpus(tb testing.TB) map[string]row {
	tb.Helper()
	rows := map[string]row{}
	put := func(name string, r *record.Record) { rows[name] = row{eff: r} }

	vault := build(tb, record.KindRecord, 48211, "2026-11-23T14:02:07.114512Z",
		`<134>1 2026-11-23T14:02:07Z vault01 vault - - - {"type":"response","auth":{"display_name":"deploy-agent"},"request":{"id":"req-5512","operation":"read","path":"secret/data/prod/db"}}`,
		values{
			record.MessageOffset: "48", record.SourceName: "vault-prod", record.SourceFormat: "vault",
			record.SourceTransport: "syslog/tls", record.SourcePeer: "10.0.0.3", record.SourceAddress: "10.0.0.3:41514",
			record.SourceOriginalID: "9f1c-response", record.SourceSeverity: "info",
			record.RequesterType: "person", record.RequesterID: "alice@example.com", record.RequesterIssuer: "okta",
			record.RequesterAssurance: "correlated",
			record.ExecutorType:       "agent", record.ExecutorID: "spiffe://example.com/agent/deploy",
			record.ExecutorInstance: "deploy-7f9c", record.ExecutorAssurance: "authenticated",
			record.ChainRequestID: "req-5512", record.ChainTraceID: "4bf92f3577b34da6a3ce929d0e0e4736", record.ChainSessionID: "s-88",
			record.ActionService: "vault", record.ActionTool: "kv", record.ActionOperation: "read",
			record.TargetType: "secret", record.TargetID: "secret/data/prod/db", record.TargetSensitivity: "restricted",
			record.EffectChanged: "no", record.AuthorityPermission: "read",
			record.CredentialID: "hmac-sha256:1c2b", record.CredentialKind: "vault_token", record.CredentialTTL: "1800",
			record.CredentialIssued: "2026-11-23T14:00:00Z", record.CredentialExpires: "2026-11-23T14:30:00Z",
			record.DecisionEffect: "allow", record.DecisionPolicyID: "deploy-read", record.DecisionPolicyVersion: "17",
			record.ApprovalSource: "change-4471", record.ApprovalApprover: "bob@example.com",
			record.OutcomeStatus: "success", record.ContextTenant: "acme", record.ContextTask: "release 4.2",
			record.Risk: "high", record.Capture: "full", record.SourceOffset: "1048576",
		},
		record.Delegations, record.Delegation{Principal: "alice@example.com", Credential: "tok-18", Scopes: []string{"deploy:write", "deploy:read"}, Expires: "2026-11-23T14:30:00Z"},
		record.Links, record.Link{To: 48190, Relation: "uses_credential", Method: "credential"},
	)
	sealed := build(tb, record.KindRecord, 48211, "2026-11-23T14:02:07.114512Z", string(vault.Raw), values{
		record.MessageOffset: "48", record.RequesterID: "vault-agent", record.RequesterType: "service_account",
		record.ExecutorID: "spiffe://example.com/agent/deploy",
	})
	rows["vault"] = row{vault, sealed}

	put("k8s", build(tb, record.KindRecord, 48212, "2026-11-23T13:59:59Z",
		`{"kind":"Event","auditID":"a1b2c3d4-0001","verb":"delete","user":{"username":"system:serviceaccount:ci:runner"},"impersonatedUser":{"username":"Bob"},"objectRef":{"resource":"pods","name":"web-0"},"responseStatus":{"code":403}}`,
		values{
			record.SourceName: "k8s-audit", record.SourceFormat: "k8s_audit", record.SourceTransport: "tail",
			record.SourceFile: "/var/log/kubernetes/audit.log", record.SourceOffset: "99",
			record.RequesterType: "person", record.RequesterID: "Bob", record.RequesterAssurance: "asserted",
			record.ExecutorType: "service_account", record.ExecutorID: "system:serviceaccount:ci:runner",
			record.ActionService: "kubernetes", record.ActionOperation: "delete", record.TargetType: "pods", record.TargetID: "prod/web-0",
			record.OutcomeStatus: "denied", record.OutcomeCode: "403", record.DecisionEffect: "deny",
			record.DecisionReason: "RBAC: no binding for delete on pods", record.EffectChanged: "no", record.ContextTenant: "acme",
			record.Risk: "medium",
		},
		record.Findings, "requester_asserted", record.Findings, "policy_version_missing",
		record.AuthorityRoles, "ci-runner", record.AuthorityRoles, "view",
	))

	aws := build(tb, record.KindRecord, 48213, "2026-11-22T23:59:59.999999999Z",
		`{"eventSource":"sts.amazonaws.com","eventName":"AssumeRole","errorCode":"AccessDenied","requestParameters":{"roleArn":"arn:aws:iam::123456789012:role/Deploy"}}`,
		values{
			record.SourceName: "trail", record.SourceFormat: "cloudtrail", record.SourceTransport: "import", record.SourceAddress: "2001:db8::17",
			record.ExecutorType: "workload", record.ExecutorID: "arn:aws:sts::123456789012:assumed-role/Deploy/i-0abc",
			record.ActionService: "sts.amazonaws.com", record.ActionOperation: "AssumeRole",
			record.TargetType: "role", record.TargetID: "arn:aws:iam::123456789012:role/Deploy",
			record.OutcomeStatus: "failure", record.OutcomeCode: "AccessDenied", record.ContextTenant: "acme",
			record.ChainRequestID: "C7E1F2A0-55AA-4D2B-9E8F-1234567890AB",
		},
		record.Findings, "requester_missing", record.AuthorityScopes, "sts:AssumeRole",
	)
	aws.SetAbsent("requester", record.NotRecorded)
	aws.SetAbsent("decision.policy_id", record.NotEstablished)
	put("aws", aws)

	put("sudo", build(tb, record.KindRecord, 48214, "2026-11-21T08:00:00Z",
		`<86>Nov 21 08:00:00 web1 sudo[4711]:   carol : TTY=pts/0 ; PWD=/home/carol ; USER=root ; COMMAND=/usr/bin/systemctl restart nginx`,
		values{
			record.MessageOffset: "36", record.SourceName: "hosts", record.SourceFormat: "sudo", record.SourceTransport: "syslog/udp",
			record.SourcePeer: "192.168.7.20", record.SourceHost: "web1", record.SourceApp: "sudo", record.SourceProcess: "4711",
			record.RequesterType: "person", record.RequesterID: "carol", record.ExecutorType: "unknown", record.ExecutorLocalAccount: "root",
			record.ActionTool: "systemctl", record.ActionOperation: "exec", record.TargetName: "restart nginx",
			record.OutcomeStatus: "success", record.Risk: "low",
		},
		record.Findings, "executor_by_credential_only",
	))

	put("mcp", build(tb, record.KindRecord, 48215, "2026-11-23T14:29:30Z",
		`{"msg":"Aufruf für Zoë Müller: ДОСТУП gewährt","tool":"code_search","args":"\"50% off\" C:\\temp"}`,
		values{
			record.Message: `Aufruf für Zoë Müller: ДОСТУП gewährt; wildcard a*b?c "50% off" C:\temp`, record.SourceName: "mcp gateway",
			record.SourceFormat: "mcp_gateway", record.SourceTransport: "syslog/tcp", record.SourcePeer: "::ffff:10.9.8.7",
			record.SourceAddress: "[2001:db8:1::5]:6514",
			record.RequesterType: "person", record.RequesterID: "Zoë@Example.com", record.RequesterName: "Zoë Müller",
			record.ExecutorType: "agent", record.ExecutorID: "research-agent", record.ExecutorModel: "m-large-2",
			record.ActionTool: "code_search", record.ActionOperation: "tools/call", record.OutcomeStatus: "success",
			record.ContextMode: "autonomous", record.Risk: "low", record.ContextTenant: "globex",
		},
		record.Attributes, "client=ide/1.2", record.Attributes, "Deploy gate=open",
		record.Delegations, record.Delegation{Principal: "Zoë@Example.com", Scopes: []string{"search"}},
		record.Delegations, record.Delegation{Principal: "planner\tagent \"one\"", Audience: "mcp"},
	))

	put("bad", build(tb, record.KindRecord, 7, "2026-11-20T00:00:00Z", "denied \xff\xfe by gate\x00way {\"a\":",
		values{record.SourceName: "open", record.SourceFormat: "json", record.SourceError: "unexpected end of JSON"},
		record.Findings, "malformed"))

	put("summary", build(tb, record.KindSummary, 50000, "2026-11-23T00:00:00Z", "",
		values{record.Message: "120 reads of secret/data/prod/db summarised", record.ActionTool: "kv", record.RequesterID: "alice@example.com"}))
	put("gap", build(tb, record.KindGap, 50001, "2026-11-23T12:00:00Z", "",
		values{record.Message: "17 UDP lines dropped by the kernel", record.SourceName: "hosts"}))
	put("access", build(tb, record.KindAccess, 50002, "2026-11-23T12:30:00Z", "",
		values{record.RequesterID: "auditor@example.com", record.ActionOperation: "search", record.Message: "searched: denied"},
		record.About, "48211"))
	return rows
}

func uintText(n uint64) string { return strconv.FormatUint(n, 10) }
