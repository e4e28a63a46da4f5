package attribution

import (
	"bytes"

	"custody/ingest/record"
)

// entra decodes the logs of Microsoft Entra ID: sign-ins, directory audit,
// Microsoft Graph activity, provisioning, risk and network access, as resources
// of the Graph API and as diagnostic records of Azure Monitor, by Microsoft's
// "signIn", "directoryAudit" and "agentSignIn" resource pages and the tables of
// Azure Monitor.
func entra() format {
	return format{
		name: "entra", product: "Microsoft Entra ID", issuer: "entra",
		shape: shapeJSON,
		keys:  []string{"category", "activityDateTime", "createdDateTime", "riskEventType", "riskLastUpdatedDateTime", "signInActivityId", "records", "value"},
		match: matchEntra, decode: decodeEntra, list: azureList(matchEntra),
		guide: entraGuide,
	}
}

const props = "/properties"

type entraKind uint8

const (
	entraNone entraKind = iota
	entraOther
	entraSignIn
	entraAudit
	entraGraph
	entraProvisioning
	entraRisk
	entraNetwork
)

// entraCategories are the categories of Entra's diagnostic settings.
var entraCategories = map[string]entraKind{
	"SignInLogs": entraSignIn, "NonInteractiveUserSignInLogs": entraSignIn, "ServicePrincipalSignInLogs": entraSignIn,
	"ManagedIdentitySignInLogs": entraSignIn, "MicrosoftServicePrincipalSignInLogs": entraSignIn, "ADFSSignInLogs": entraSignIn,
	"B2CRequestLogs": entraSignIn, "AuditLogs": entraAudit, "CustomSecurityAttributeAuditLogs": entraAudit,
	"MicrosoftGraphActivityLogs": entraGraph, "AADGraphActivityLogs": entraGraph, "AzureADGraphActivityLogs": entraGraph,
	"ProvisioningLogs": entraProvisioning,
	"RiskyUsers":       entraRisk, "UserRiskEvents": entraRisk, "RiskyServicePrincipals": entraRisk, "ServicePrincipalRiskEvents": entraRisk,
	"RiskyAgents": entraRisk, "AgentRiskEvents": entraRisk,
	"NetworkAccessTrafficLogs": entraNetwork, "NetworkAccessConnectionEvents": entraNetwork, "NetworkAccessGenerativeAIInsights": entraNetwork,
	"EnrichedOffice365AuditLogs": entraNetwork,
}

// entraKindOf tells which of the logs the event is of, and where its members stand.
func (e *event) entraKindOf() (kind entraKind, base string) {
	t, o := &e.doc, e.root
	if cat := t.get(o, "category"); cat != 0 && t.get(o, "properties") != 0 {
		if k := entraCategories[string(e.value(cat))]; k != entraNone {
			// Other products of Azure have a category AuditLogs too.
			if k != entraAudit || e.has(props+"/activityDisplayName") || e.has(props+"/initiatedBy") || e.entraResource() {
				return k, props
			}
		}
		if e.entraResource() {
			return entraOther, props
		}
		if t.get(o, "activityDateTime") == 0 && e.src.Format != "entra" {
			return entraNone, ""
		}
	}
	switch {
	case t.get(o, "activityDateTime") != 0 && t.get(o, "initiatedBy") != 0 && t.get(o, "provisioningAction") != 0:
		return entraProvisioning, ""
	case t.get(o, "activityDateTime") != 0 && t.get(o, "initiatedBy") != 0 && t.get(o, "activityDisplayName") != 0:
		return entraAudit, ""
	case t.get(o, "createdDateTime") != 0 && t.get(o, "status") != 0 && t.get(o, "appId") != 0 &&
		(t.get(o, "conditionalAccessStatus") != 0 || t.get(o, "signInEventTypes") != 0 || t.get(o, "appliedConditionalAccessPolicies") != 0):
		return entraSignIn, ""
	case t.get(o, "riskEventType") != 0 && t.get(o, "detectionTimingType") != 0,
		t.get(o, "riskLastUpdatedDateTime") != 0 && t.get(o, "riskState") != 0:
		return entraRisk, ""
	case t.get(o, "signInActivityId") != 0 && t.get(o, "requestUri") != 0:
		return entraGraph, ""
	}
	if e.src.Format == "entra" { // pinned: what is not known here has at least the envelope
		switch {
		case t.get(o, "properties") != 0 && t.get(o, "operationName") != 0:
			return entraOther, props
		case t.get(o, "id") != 0 && (t.get(o, "createdDateTime") != 0 || t.get(o, "activityDateTime") != 0):
			return entraOther, ""
		}
	}
	return entraNone, ""
}

// entraResource: diagnostic records of Entra stand under the tenant's provider microsoft.aadiam.
func (e *event) entraResource() bool {
	return foldContains(e.value(e.doc.get(e.root, "resourceId")), "/providers/microsoft.aadiam")
}

func matchEntra(e *event) bool {
	kind, _ := e.entraKindOf()
	return kind != entraNone
}

func decodeEntra(e *event) {
	r := e.r
	e.noPolVer = true
	kind, p := e.entraKindOf()
	r.Set(record.ActionService, "entra", "")
	r.Set(record.EffectSystem, "entra", "")
	switch kind {
	case entraSignIn:
		e.entraSignIn(p)
	case entraAudit:
		e.entraAudit(p)
	case entraGraph:
		e.entraGraph(p)
	case entraProvisioning:
		e.entraProvisioning(p)
	case entraRisk:
		e.entraRisk(p)
	default:
		e.entraNetwork(p)
	}
	if p != "" {
		e.attr("category", "/category")
	}
	if r.Has(record.ExecutorID) {
		r.Set(record.ExecutorIssuer, "entra", "")
	}
	if r.Has(record.RequesterID) {
		r.Set(record.RequesterIssuer, "entra", "")
		if !r.Has(record.RequesterTenant) {
			e.set(record.RequesterTenant, "/tenantId", p+"/tenantId")
		}
	}
}

// agentic reports the values of agentType that mark an agent.
// "agentIdentity" and "agentIdentityBlueprint" are the names of older previews.
func agentic(v []byte) bool {
	switch string(bytes.ToLower(v)) {
	case "agenticapp", "agenticappbuilder", "agenticappinstance", "agentidentity", "agentidentityblueprint",
		"agentidentityblueprintprincipal", "agentiduser", "agentuser":
		return true
	}
	return false
}

// agentUser: an agent's user account, which has the form of a person's.
func agentUser(v []byte) bool {
	s := string(bytes.ToLower(v))
	return s == "agentiduser" || s == "agentuser"
}

// app makes the application at base the executor: by its application id, which
// all logs of Microsoft have; the service principal, its appearance in one
// tenant, is the instance.
func (e *event) app(typ, base string) {
	r := e.r
	for _, p := range [...]struct{ key, kind string }{
		{"/appId", "entra_app_id"}, {"/servicePrincipalId", "entra_object_id"}, {"/servicePrincipalName", "display_name"}, {"/displayName", "display_name"},
	} {
		if v := e.str(base + p.key); len(v) > 0 && !isNobody(v) {
			e.executor(typ, v, base+p.key)
			r.Set(record.ExecutorIDKind, p.kind, "")
			break
		}
	}
	if !r.Has(record.ExecutorID) {
		return
	}
	if v := e.str(base + "/servicePrincipalId"); len(v) > 0 && !isNobody(v) {
		e.put(record.ExecutorInstance, v, base+"/servicePrincipalId")
	}
}

// entraUser makes the user at base the requester if its name is a person's. It
// returns what the user is, its identifier and where that stands.
func (e *event) entraUser(base, upnKey, idKey string, how proof) (typ string, id []byte, prov string) {
	r := e.r
	upn, oid := e.str(base+upnKey), e.str(base+idKey)
	id, prov = upn, base+upnKey
	typ = microsoftPrincipal(upn)
	if isNobody(upn) || bytes.Contains(upn, []byte("PII Removed")) {
		id, prov, typ = oid, base+idKey, record.Person
	}
	if isNobody(id) {
		if len(upn) > 0 && bytes.Contains(upn, []byte("PII Removed")) {
			r.SetAbsent("requester", record.Redacted)
			r.SetAbsent("executor", record.Redacted)
		}
		return record.Unknown, nil, ""
	}
	if typ == record.Person {
		e.requester(typ, id, prov, how)
		if prov == base+idKey {
			r.Set(record.RequesterIDKind, "entra_object_id", "")
		} else {
			r.Set(record.RequesterIDKind, "upn", "")
			e.attr("user_id", base+idKey)
		}
	}
	return typ, id, prov
}
