package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// azureKeyVault decodes the audit events of Azure Key Vault and Managed HSM, by
// "Azure Key Vault logging". resultType is Success for requests that were refused
// with 401 or 403; the HTTP status tells.
func azureKeyVault() format {
	return format{
		name: "azure_keyvault", product: "Azure Key Vault", issuer: "entra",
		shape: shapeJSON,
		keys:  []string{"operationName", "records", "value"},
		match: matchKeyVault, decode: decodeKeyVault, list: azureList(matchKeyVault),
		guide: keyVaultGuide,
	}
}

func matchKeyVault(e *event) bool {
	t, o := &e.doc, e.root
	if t.get(o, "operationName") == 0 || t.get(o, "category") == 0 || t.get(o, "resourceId") == 0 {
		return false
	}
	if activityCategories[string(e.value(t.get(o, "category")))] {
		return false
	}
	return e.src.Format == "azure_keyvault" || foldContains(e.value(t.get(o, "resourceId")), "/providers/microsoft.keyvault/")
}

func decodeKeyVault(e *event) {
	r := e.r
	e.noPolVer = true
	e.time("/time")
	e.set(record.SourceOriginalID, props+"/eventId", "/eventId")
	e.set(record.ChainRequestID, "/correlationId")
	e.client("/callerIpAddress", props+"/callerIpAddress")
	r.Set(record.ActionService, "keyvault", "")
	r.Set(record.EffectSystem, "keyvault", "")
	if foldContains(e.str("/resourceId"), "/managedhsms/") {
		r.Set(record.ActionService, "managed_hsm", "/resourceId")
		r.Set(record.EffectSystem, "managed_hsm", "/resourceId")
	}
	if v := e.str("/resourceId"); len(v) > 0 {
		e.put(record.ActionServer, v[bytes.LastIndexByte(v, '/')+1:], "/resourceId")
	}
	op := string(cut(e.set(record.ActionOperation, "/operationName"), 256))
	e.set(record.AuthorityPermission, "/operationName")
	e.keyVaultTarget(op)

	known := false
	for _, base := range [...]string{"/identity/claim", "/identity/claims"} {
		known = known || e.has(base) && e.azureClaims(base)
	}
	if !known {
		e.keyVaultCaller()
	}
	e.keyVaultOutcome(op, known || r.Has(record.ExecutorID))
	e.keyVaultPosture()
	e.attr("user_agent", props+"/clientInfo")
	e.attr("network_perimeter", props+"/nsp/name")
	e.attr("subnet", props+"/subnetId")
	e.attr("trusted_service", props+"/trustedService")
}

func (e *event) keyVaultTarget(op string) {
	r := e.r
	if e.set(record.TargetID, props+"/id", props+"/resource/id") == nil {
		if uri := e.str(props + "/requestUri"); len(uri) > 0 {
			path, _, _ := bytes.Cut(uri, []byte("?"))
			e.put(record.TargetID, path, props+"/requestUri")
		} else {
			e.set(record.TargetID, "/resourceId")
		}
	}
	for _, t := range [...]string{"Secret", "Key", "Certificate", "Vault", "Storage", "Sas", "Hsm", "Role", "SecurityDomain"} {
		if strings.HasPrefix(op, t) {
			r.Set(record.TargetType, strings.ToLower(t), "/operationName")
			return
		}
	}
	r.Set(record.TargetType, "vault", "")
}

// keyVaultCaller: some events of the service itself have only an object id, and the
// first request of every client has none: it asks where to get a token.
func (e *event) keyVaultCaller() {
	r := e.r
	if v := e.str("/identity"); len(v) > 0 && !isNobody(v) {
		e.executor(microsoftPrincipal(v), v, "/identity")
		return
	}
	if code := string(e.str(props + "/httpStatusCode")); code == "401" || string(e.str("/resultSignature")) == "Unauthorized" {
		r.SetAbsent("requester", record.NotApplicable)
		r.SetAbsent("executor", record.NotApplicable)
	}
}

func (e *event) keyVaultOutcome(op string, known bool) {
	r := e.r
	code := e.set(record.OutcomeCode, props+"/httpStatusCode")
	prov := props + "/httpStatusCode"
	status := outcome(code)
	if len(code) == 0 {
		signature := e.set(record.OutcomeCode, "/resultSignature")
		prov = "/resultSignature"
		switch string(lower(bytes.Clone(signature))) {
		case "ok", "created", "accepted", "no_content":
			status = record.Success
		case "unauthorized", "forbidden":
			status = record.Denied
		case "":
			status, prov = outcome(e.str("/resultType")), "/resultType"
		default:
			status = record.Failure
		}
	}
	e.set(record.OutcomeDetail, "/resultDescription")
	r.Set(record.OutcomeStatus, status, prov)
	if v := e.str("/resultType"); len(v) > 0 && outcome(v) != status {
		e.attr("result_type", "/resultType")
	}

	changed, changedProv := record.Unknown, prov
	switch {
	case status == record.Denied || status == record.Failure:
		changed = record.No
	case status == record.Success:
		changed, changedProv = keyVaultChanges(op), "/operationName"
	}
	r.Set(record.EffectChanged, changed, changedProv)

	e.set(record.DecisionPolicyID, props+"/appliedAssignmentId")
	switch {
	case status == record.Denied && !known && string(code) == "401":
		r.SetAbsent("decision", record.NotApplicable)
	case status == record.Denied:
		r.Set(record.DecisionEffect, record.Deny, prov)
		e.set(record.DecisionReason, "/resultDescription")
		if string(e.str(props+"/isAddressAuthorized")) == "false" {
			r.Set(record.DecisionReason, "address not authorized", props+"/isAddressAuthorized")
		}
	case e.isTrue(props + "/isRbacAuthorized"):
		r.Set(record.DecisionEffect, record.Allow, props+"/isRbacAuthorized")
		r.Set(record.DecisionReason, "role assignment", props+"/isRbacAuthorized")
	case e.isTrue(props + "/isAccessPolicyMatch"):
		r.Set(record.DecisionEffect, record.Allow, props+"/isAccessPolicyMatch")
		r.Set(record.DecisionReason, "vault access policy", props+"/isAccessPolicyMatch")
	default:
		e.noDecide = true
	}
}

// keyVaultChanges tells from the operation's name whether success changed the vault.
func keyVaultChanges(op string) string {
	for _, w := range [...]string{
		"Set", "Create", "Delete", "Update", "Import", "Restore", "Recover", "Purge", "Rotate", "Merge", "Put", "Patch", "Upload", "Regenerate", "Contacts",
	} {
		if strings.Contains(op, w) && !strings.HasSuffix(op, "Get") && !strings.Contains(op, "List") {
			return record.Yes
		}
	}
	for _, w := range [...]string{
		"Get", "List", "Sign", "Verify", "Encrypt", "Decrypt", "Wrap", "Unwrap", "Backup", "Authentication", "Release", "Export", "Download", "Notification",
	} {
		if strings.Contains(op, w) {
			return record.No
		}
	}
	return record.Unknown
}

func (e *event) keyVaultPosture() {
	var out []byte
	prov := ""
	for _, m := range [...]struct{ name, key string }{
		{"address=", "/addrAuthType"}, {"tls=", "/tlsVersion"}, {"address_authorized=", "/isAddressAuthorized"},
	} {
		if v := e.str(props + m.key); len(v) > 0 {
			out = joined(out, append([]byte(m.name), v...), "; ")
			if prov == "" {
				prov = props + m.key
			}
		}
	}
	e.put(record.DecisionPosture, out, prov)
}

var keyVaultGuide = guide{
	userSet: []string{
		"/properties/clientInfo: the user agent, which any client sets",
		"/correlationId: a client can send its own x-ms-client-request-id",
		"/properties/requestUri: what was asked for, whether it exists or not",
	},
	emit: map[Part]string{
		PartRequester:  "`upn` in `identity.claim` of a token with a user in it. Applications and managed identities call without one: the log then has no requester",
		PartExecutor:   "`appid` and `oid` in `identity.claim`, `xms_mirid` for managed identities. The first request of a client has no token and is refused with 401: it has neither requester nor executor",
		PartTool:       "`operationName` and `properties.id`; a diagnostic setting of the vault with the category AuditEvent (or the group audit)",
		PartPermission: "`operationName` is the permission; which role or access policy has it stands in `properties.appliedAssignmentId`",
		PartDecision:   "`properties.isRbacAuthorized` or `isAccessPolicyMatch`, with `appliedAssignmentId` on vaults with role-based access; refusals by `httpStatusCode`",
		PartOutcome:    "`properties.httpStatusCode`, then `resultSignature`. `resultType` says Success for refusals too and is not believed",
		PartChain:      "`correlationId`, and the claim `uti` where the vault logs it, which is `uniqueTokenIdentifier` of the Entra sign-in",
	},
}
