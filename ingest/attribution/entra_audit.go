package attribution

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"custody/ingest/record"
)

// entraAudit decodes directoryAudit: initiatedBy names the user or the
// application, performedBy (new with agents) the one that did it for them.
func (e *event) entraAudit(p string) {
	r := e.r
	e.noDecide = true
	e.time(p+"/activityDateTime", "/time", "/timeGenerated")
	e.set(record.SourceOriginalID, p+"/id")
	e.set(record.ChainRequestID, p+"/correlationId", "/correlationId")
	op := e.set(record.ActionOperation, p+"/activityDisplayName", "/operationName")
	e.set(record.ActionTool, p+"/loggedByService")
	e.client(p+"/initiatedBy/user/ipAddress", "/callerIpAddress")
	if v, prov := e.keyed(p+"/additionalDetails", "key", "value", "ipaddr"); len(v) > 0 && !r.Has(record.SourceAddress) {
		e.put(record.SourceAddress, v, prov)
	}
	for _, a := range [...]struct{ name, key string }{
		{"operation_type", "/operationType"},
		{"activity_category", "/category"},
		{"blueprint", "/initiatedBy/app/blueprintId"},
		{"agent_type", "/initiatedBy/app/agentType"},
		{"agent_type", "/initiatedBy/user/agentType"},
		{"blueprint", "/performedBy/blueprintId"},
	} {
		e.attr(a.name, p+a.key)
	}
	if v, prov := e.keyed(p+"/additionalDetails", "key", "value", "User-Agent"); len(v) > 0 {
		e.add(record.Attributes, e.cat([]byte("user_agent="), v), prov)
	}
	e.entraAuditOutcome(p, op)
	e.entraAuditTarget(p)
	e.entraInitiator(p)
	e.entraModified(p)
	name := strings.ToLower(string(op[:min(len(op), 256)]))
	e.entraAuditCredential(p, name)
	e.entraApproval(p, name)
}

func (e *event) entraAuditOutcome(p string, op []byte) {
	r := e.r
	why := e.str(p + "/resultReason")
	result := e.str(p + "/result")
	prov := p + "/result"
	if len(result) == 0 {
		result, prov = e.str("/resultSignature"), "/resultSignature"
	}
	status := outcome(result)
	if status == record.Failure && (foldContains(why, "insufficient privileges") || foldContains(why, "authorization_requestdenied") ||
		foldContains(why, "unauthorized") || foldContains(why, "access denied") || foldContains(why, "forbidden") || foldContains(why, "not authorized")) {
		status = record.Denied
		r.Set(record.DecisionEffect, record.Deny, p+"/resultReason")
	}
	r.Set(record.OutcomeStatus, status, prov)
	if status != record.Success {
		e.set(record.OutcomeDetail, p+"/resultReason", "/resultDescription")
		if v, prov := e.keyed(p+"/additionalDetails", "key", "value", "ErrorCode"); len(v) > 0 {
			e.put(record.OutcomeCode, v, prov)
		}
	}
	changed := record.Unknown
	switch {
	case status == record.Failure, status == record.Denied:
		changed = record.No
	case status == record.Success:
		changed = record.Yes
		name := strings.ToLower(string(op[:min(len(op), 64)]))
		for _, w := range [...]string{"read ", "get ", "list ", "view", "download", "export", "validate", "search "} {
			if strings.HasPrefix(name, w) {
				changed = record.No
			}
		}
		if strings.Contains(name, "started") || strings.Contains(name, "progress") {
			changed = record.Unknown
		}
	}
	r.Set(record.EffectChanged, changed, prov)
}

// entraAuditTarget: the role of an activation of a role, else the first resource;
// all others are attributes.
func (e *event) entraAuditTarget(p string) {
	r := e.r
	base := p + "/targetResources"
	n := e.find(base)
	if n == 0 || e.doc.kindOf(n) != kindArray {
		return
	}
	main, i := -1, 0
	for c := e.doc.first(n); c != 0; c = e.doc.next(c) {
		typ := string(e.value(e.doc.get(c, "type")))
		if main < 0 && (typ == "Role" || i == 0 && !strings.EqualFold(typ, "Request")) || i == 1 && main < 0 {
			main = i
		} else if typ == "Role" && main == 0 && string(e.str(p+"/loggedByService")) == "PIM" {
			main = i
		}
		i++
	}
	if main < 0 {
		main = 0
	}
	i = 0
	for c := e.doc.first(n); c != 0; c = e.doc.next(c) {
		at := base + "/" + strconv.Itoa(i)
		if i == main {
			e.set(record.TargetID, at+"/id", at+"/userPrincipalName", at+"/displayName")
			e.set(record.TargetType, at+"/type")
			e.set(record.TargetName, at+"/userPrincipalName", at+"/displayName")
			e.attr("target_agent_type", at+"/agentType")
		} else if id := e.value(e.doc.get(c, "id")); len(id) > 0 && i < 32 {
			e.add(record.Attributes, e.cat([]byte("target="), e.value(e.doc.get(c, "type")), []byte("/"), id), at+"/id")
		}
		i++
	}
	if r.Get(record.TargetName) == r.Get(record.TargetID) {
		r.Unset(record.TargetName)
	}
}

func (e *event) entraInitiator(p string) {
	r := e.r
	const user, app, performer = "/initiatedBy/user", "/initiatedBy/app", "/performedBy"
	appType := record.ServiceAccount
	if agentic(e.str(p + app + "/agentType")) {
		appType = record.Agent
	}
	by := e.str(p + user + "/userPrincipalName")
	switch {
	case agentUser(e.str(p + user + "/agentType")):
		id, prov := by, p+user+"/userPrincipalName"
		if isNobody(id) {
			id, prov = e.str(p+user+"/id"), p+user+"/id"
		}
		e.executor(record.Agent, id, prov)
		e.set(record.ExecutorName, p+user+"/displayName")
	case isNobody(by) && isSoftware(e.str(p+user+"/displayName")):
		// The directory's own services stand as users without a user name.
		e.executor(record.Workload, e.str(p+user+"/displayName"), p+user+"/displayName")
		e.set(record.ExecutorInstance, p+user+"/id")
		r.Set(record.ExecutorIDKind, "display_name", "")
	case e.has(p + user):
		typ, id, prov := e.entraUser(p+user, "/userPrincipalName", "/id", fromLogin)
		if len(id) == 0 {
			id, prov, typ = e.str(p+user+"/displayName"), p+user+"/displayName", record.Unknown
		}
		if r.Has(record.RequesterID) {
			e.set(record.RequesterName, p+user+"/displayName")
			e.set(record.RequesterTenant, p+user+"/homeTenantId")
		}
		// With an application beside the user, the application acted for the user.
		if !e.has(p+app+"/appId") && !e.has(p+app+"/servicePrincipalId") && !e.has(p+performer+"/appId") {
			e.executor(typ, id, prov)
			e.set(record.ExecutorName, p+user+"/displayName")
		} else {
			e.delegate(record.Delegation{Principal: e.text(id)}, prov)
		}
	}
	if !r.Has(record.ExecutorID) {
		at := app
		if e.has(p+performer+"/appId") || e.has(p+performer+"/servicePrincipalId") {
			at = performer
			appType = record.ServiceAccount
			if agentic(e.str(p + performer + "/agentType")) {
				appType = record.Agent
			}
			if v := e.str(p + app + "/appId"); len(v) > 0 && !bytes.Equal(v, e.str(p+performer+"/appId")) {
				e.delegate(record.Delegation{Principal: e.text(v)}, p+app+"/appId")
			}
		}
		e.app(appType, p+at)
		e.set(record.ExecutorName, p+at+"/displayName", p+at+"/servicePrincipalName")
	}
	// A user known by number only says so in id_kind, like the requester.
	if r.Prov(record.ExecutorID) == p+user+"/id" {
		r.Set(record.ExecutorIDKind, "entra_object_id", "")
	} else if r.Prov(record.ExecutorID) == p+user+"/userPrincipalName" {
		r.Set(record.ExecutorIDKind, "upn", "")
	}
}

// isSoftware reports display names of Microsoft's own services.
func isSoftware(name []byte) bool {
	s := strings.ToLower(string(cut(name, 128)))
	return strings.HasPrefix(s, "microsoft ") || strings.HasPrefix(s, "azure ") || strings.HasPrefix(s, "ms-") || strings.HasSuffix(s, " service")
}

// entraModified writes what changed as "Name=value" of all targets, before and after.
func (e *event) entraModified(p string) {
	base := p + "/targetResources"
	n := e.find(base)
	if n == 0 || e.doc.kindOf(n) != kindArray {
		return
	}
	const most = 4096
	var before, after []byte
	for c := e.doc.first(n); c != 0; c = e.doc.next(c) {
		list := e.doc.get(c, "modifiedProperties")
		if list == 0 || e.doc.kindOf(list) != kindArray {
			continue
		}
		for m := e.doc.first(list); m != 0 && len(before)+len(after) < most; m = e.doc.next(m) {
			if e.doc.kindOf(m) != kindObject {
				continue
			}
			name := append(bytes.Clone(e.value(e.doc.get(m, "displayName"))), '=')
			if v := unquoted(e.value(e.doc.get(m, "oldValue"))); len(v) > 0 {
				before = joined(before, append(slices.Clip(name), v...), "; ")
			}
			if v := unquoted(e.value(e.doc.get(m, "newValue"))); len(v) > 0 {
				after = joined(after, append(slices.Clip(name), v...), "; ")
			}
		}
	}
	e.put(record.EffectBefore, cut(before, most), base)
	e.put(record.EffectAfter, cut(after, most), base)
}

// cut shortens v to at most n bytes at a whole character.
func cut(v []byte, n int) []byte {
	if len(v) <= n {
		return v
	}
	for n > 0 && v[n]&0xc0 == 0x80 {
		n--
	}
	return v[:n]
}

// entraAuditCredential: keys added to and taken from applications, sessions
// revoked, passwords and sign-in methods changed.
func (e *event) entraAuditCredential(p, op string) {
	r := e.r
	if r.Get(record.OutcomeStatus) != record.Success {
		return
	}
	prov := r.Prov(record.ActionOperation)
	event := func(what, kind string) {
		r.Set(record.CredentialEventOp, what, prov)
		r.Set(record.CredentialKind, kind, "")
		r.Set(record.CredentialIssuer, "entra", "")
	}
	switch {
	case strings.Contains(op, "credentials") && strings.Contains(op, "service principal"), strings.Contains(op, "certificates and secrets"):
		id, kind, at, gone := e.entraKey(p)
		switch {
		case len(id) == 0 && strings.HasPrefix(op, "remove"), gone:
			event("revoke", "entra_app_key")
		case len(id) > 0 || strings.HasPrefix(op, "add"):
			event("issue", "entra_app_key")
		default:
			return
		}
		if len(kind) > 0 {
			r.Set(record.CredentialKind, "entra_app_"+strings.ToLower(string(cut(kind, 64))), at)
		}
		e.put(record.CredentialID, id, at)
		e.set(record.CredentialAudience, p+"/targetResources/0/id")
	case strings.HasPrefix(op, "reset password"), strings.HasPrefix(op, "reset user password"), strings.HasPrefix(op, "change password"), strings.HasPrefix(op, "change user password"):
		event("renew", "password")
	case strings.Contains(op, "strefreshtokenvalidfrom"), strings.Contains(op, "stsrefreshtokenvalidfrom"), strings.HasPrefix(op, "revoke sign in"), strings.HasPrefix(op, "revoke user sign in"):
		event("revoke", "entra_refresh_token")
	case strings.HasSuffix(op, "registered security info"), strings.HasPrefix(op, "create temporary access pass"), strings.HasSuffix(op, "registered all required security info"):
		event("issue", "authentication_method")
	case strings.HasSuffix(op, "deleted security info"), strings.HasPrefix(op, "delete temporary access pass"):
		event("revoke", "authentication_method")
	}
}

// entraKey finds the key that stands only in the new or only in the old value of
// KeyDescription, "[KeyIdentifier=…,KeyType=Password,KeyUsage=Verify,DisplayName=…]".
func (e *event) entraKey(p string) (id, kind []byte, prov string, gone bool) {
	base := p + "/targetResources/0/modifiedProperties"
	n := e.find(base)
	if n == 0 || e.doc.kindOf(n) != kindArray {
		return nil, nil, "", false
	}
	i := -1
	for c := e.doc.first(n); c != 0; c = e.doc.next(c) {
		i++
		if string(e.value(e.doc.get(c, "displayName"))) != "KeyDescription" {
			continue
		}
		was, is := e.value(e.doc.get(c, "oldValue")), e.value(e.doc.get(c, "newValue"))
		at := base + "/" + strconv.Itoa(i)
		if id, kind = newKey(was, is); len(id) > 0 {
			return id, kind, at + "/newValue", false
		}
		if id, kind = newKey(is, was); len(id) > 0 {
			return id, kind, at + "/oldValue", true
		}
	}
	return nil, nil, "", false
}

// newKey is the first key of is that was has not. An application has few keys;
// the count is bounded because a line can claim any number.
func newKey(was, is []byte) (id, kind []byte) {
	const mark = "KeyIdentifier="
	for range 64 {
		_, rest, ok := bytes.Cut(is, []byte(mark))
		if !ok {
			return nil, nil
		}
		entry, _, _ := bytes.Cut(rest, []byte("]"))
		id, _, _ = bytes.Cut(entry, []byte(","))
		if len(id) > 0 && len(id) < 64 && !bytes.Contains(was, id) {
			if _, k, ok := bytes.Cut(entry, []byte("KeyType=")); ok {
				kind, _, _ = bytes.Cut(k, []byte(","))
			}
			return id, kind
		}
		is = rest
	}
	return nil, nil
}

// entraApproval: activations of roles (PIM) and requests for access packages. In
// an event of a decision the initiator is the approver, who acts; asked has the one
// whose activation it is.
func (e *event) entraApproval(p, op string) {
	r := e.r
	service := string(e.str(p + "/loggedByService"))
	if service != "PIM" && service != "Entitlement Management" && service != "Access Reviews" {
		return
	}
	state := ""
	switch {
	case strings.Contains(op, "approval requested"), strings.Contains(op, "requested (pim activation)"), strings.Contains(op, "requests access package"),
		strings.Contains(op, "requests an access package"), strings.Contains(op, "request created"), strings.Contains(op, "creates access package assignment request"):
		state = "requested"
	case strings.Contains(op, "approved"), strings.Contains(op, "approve "):
		state = "approved"
	case strings.Contains(op, "denied"), strings.Contains(op, "deny "):
		state = "denied"
	}
	id, prov := e.keyed(p+"/additionalDetails", "key", "value", "RequestId")
	n := e.find(p + "/targetResources")
	asked, askedProv := []byte(nil), ""
	if n != 0 && e.doc.kindOf(n) == kindArray {
		i := 0
		for c := e.doc.first(n); c != 0; c = e.doc.next(c) {
			at := p + "/targetResources/" + strconv.Itoa(i)
			switch typ := string(e.value(e.doc.get(c, "type"))); {
			case (typ == "Request" || strings.HasSuffix(typ, "AssignmentRequest")) && len(id) == 0:
				id, prov = e.value(e.doc.get(c, "id")), at+"/id"
			case typ == "User" && len(asked) == 0:
				asked, askedProv = e.value(e.doc.get(c, "userPrincipalName")), at+"/userPrincipalName"
			}
			i++
		}
	}
	e.put(record.ApprovalRequestID, id, prov)
	if len(id) > 0 || state != "" {
		r.Set(record.ApprovalSource, service, p+"/loggedByService")
	}
	if v, at := e.keyed(p+"/additionalDetails", "key", "value", "TicketNumber"); len(v) > 0 {
		e.put(record.ContextTask, v, at)
	}
	// The reason of a request is its justification; that of a decision is the approver's.
	if why, at := e.keyed(p+"/additionalDetails", "key", "value", "Justification"); len(why) > 0 {
		e.put(record.ContextPurpose, why, at)
	} else if state == "requested" {
		e.set(record.ContextPurpose, p+"/resultReason")
	}
	if state == "" {
		return
	}
	e.add(record.Attributes, []byte("approval="+state), r.Prov(record.ActionOperation))
	if state == "requested" {
		return
	}
	r.Set(record.DecisionEffect, record.Allow, r.Prov(record.ActionOperation))
	if state == "denied" {
		r.Set(record.DecisionEffect, record.Deny, r.Prov(record.ActionOperation))
	}
	e.set(record.DecisionReason, p+"/resultReason")
	approver := r.Get(record.ExecutorID)
	r.Set(record.ApprovalApprover, approver, r.Prov(record.ExecutorID))
	if approver == "" || r.Get(record.RequesterID) != approver {
		return
	}
	// The requester is not who approved, but who asked; of an activation that is its user.
	for _, f := range [...]record.Field{record.RequesterID, record.RequesterType, record.RequesterIDKind, record.RequesterName, record.RequesterTenant} {
		r.Unset(f)
	}
	if strings.Contains(op, "pim activation") && microsoftPrincipal(asked) == record.Person {
		e.requester(record.Person, asked, askedProv, fromLogin)
		r.Set(record.RequesterIDKind, "upn", "")
		return
	}
	r.SetAbsent("requester", record.NotEstablished)
}
