package attribution

import (
	"bytes"
	"slices"

	"custody/ingest/record"
)

// The claims of an Entra token as Azure logs them: short names, or the URIs that
// .NET gives the same claims.
const (
	claimMS   = "/http:~1~1schemas.microsoft.com~1identity~1claims~1"
	claimXML  = "/http:~1~1schemas.xmlsoap.org~1ws~12005~105~1identity~1claims~1"
	claimWS08 = "/http:~1~1schemas.microsoft.com~1ws~12008~106~1identity~1claims~1"
)

// The facets of agents in xms_act_fct (who acts) and xms_sub_fct (for whom).
const (
	facetAgent     = "11" // an agent identity
	facetAgentUser = "13" // an agent's user account
)

// somebody is the value of the first claim that stands in the object at base, and where.
func (e *event) somebody(base string, names ...string) (v []byte, prov string) {
	for _, n := range names {
		if v := e.str(base + n); !isNobody(v) {
			return v, base + n
		}
	}
	return nil, ""
}

// azureClaims reads who called from the claims at base. A token with a user in it
// lets its application act for the user, one without lets it act for itself. It
// reports whether there was a principal.
func (e *event) azureClaims(base string) bool {
	r := e.r
	upn, upnProv := e.somebody(base, "/upn", claimXML+"upn", "/unique_name", claimXML+"name", "/preferred_username", claimXML+"emailaddress")
	oid, oidProv := e.somebody(base, "/oid", claimMS+"objectidentifier")
	app, appProv := e.somebody(base, "/appid", "/azp", claimMS+"appid")
	scopes, scopesProv := e.somebody(base, "/scp", claimMS+"scope")
	mirid := e.str(base + "/xms_mirid")
	byAgent := e.facet(base+"/xms_act_fct", facetAgent)
	asAgent := e.facet(base+"/xms_sub_fct", facetAgentUser)
	idtyp := string(e.str(base + "/idtyp"))
	user := idtyp != "app" && len(mirid) == 0 && (idtyp == "user" || len(scopes) > 0 || microsoftPrincipal(upn) == record.Person)

	for w := range bytes.FieldsSeq(scopes) {
		e.add(record.AuthorityScopes, w, scopesProv)
	}
	for _, p := range [...]string{"/roles", claimWS08 + "role"} {
		e.words(record.AuthorityRoles, base+p)
	}
	e.attr("managed_identity", base+"/xms_mirid")
	e.attr("network_perimeter", base+"/xms_az_nwperimid")
	e.attr("client_auth", base+"/appidacr")
	e.attr("blueprint", base+"/xms_par_app_azp")
	if e.set(record.CredentialID, base+"/uti") != nil {
		r.Set(record.CredentialKind, "entra_token", "")
		r.Set(record.CredentialIssuer, "entra", "")
		e.instant(record.CredentialIssued, base+"/iat")
		e.instant(record.CredentialExpires, base+"/exp")
		e.set(record.CredentialAudience, base+"/aud")
	}
	if len(oid)+len(app)+len(upn) == 0 {
		return false
	}

	appType := record.ServiceAccount
	switch {
	case byAgent:
		appType = record.Agent
	case len(mirid) > 0:
		appType = record.Workload
	}
	if !user {
		if len(app) == 0 {
			app, appProv = oid, oidProv
		}
		if len(app) == 0 {
			app, appProv, appType = upn, upnProv, microsoftPrincipal(upn)
		}
		e.executor(appType, app, appProv)
		e.idKind(record.ExecutorIDKind, app, appProv, appProv == oidProv)
		if appProv != oidProv {
			e.put(record.ExecutorInstance, oid, oidProv)
		}
		r.Set(record.ContextMode, "autonomous", "")
		r.Set(record.ExecutorIssuer, "entra", "")
		return true
	}

	id, prov := upn, upnProv
	if len(id) == 0 {
		id, prov = oid, oidProv
	}
	typ := record.Person
	if len(upn) > 0 {
		typ = microsoftPrincipal(upn)
	}
	switch {
	case asAgent:
		typ = record.Agent
		if len(app) > 0 {
			e.put(record.ExecutorLocalAccount, id, prov)
		}
	case typ == record.Person:
		e.requester(record.Person, id, prov, fromLogin)
		e.idKind(record.RequesterIDKind, id, prov, prov == oidProv)
		r.Set(record.RequesterIssuer, "entra", "")
		if name := e.set(record.RequesterName, base+"/name"); bytes.Equal(name, id) {
			r.Unset(record.RequesterName)
		}
		if v, at := e.somebody(base, "/tid", claimMS+"tenantid"); len(v) > 0 {
			e.put(record.RequesterTenant, v, at)
		}
		if prov != oidProv && len(oid) > 0 {
			e.add(record.Attributes, e.cat([]byte("user_id="), oid), oidProv)
		}
	}
	r.Set(record.ExecutorIssuer, "entra", "")
	if len(app) == 0 {
		e.executor(typ, id, prov)
		e.idKind(record.ExecutorIDKind, id, prov, prov == oidProv)
		return true
	}
	e.executor(appType, app, appProv)
	e.idKind(record.ExecutorIDKind, app, appProv, false)
	d := record.Delegation{Principal: e.text(id), Audience: e.text(app), Credential: r.Get(record.CredentialID), Scopes: e.listed(record.AuthorityScopes)}
	if asAgent {
		d.Principal, d.Audience = e.text(app), e.text(id) // the agent acts with an account of its own
		prov = appProv
	}
	e.delegate(d, prov)
	return true
}

// idKind says what kind of identifier f's principal has.
func (e *event) idKind(f record.Field, id []byte, prov string, object bool) {
	kind := "entra_app_id"
	switch {
	case object:
		kind = "entra_object_id"
	case bytes.IndexByte(id, '@') > 0:
		kind = "upn"
	case prov == "":
		return
	}
	e.r.Set(f, kind, "")
}

// facet reports whether the list of facets at pointer, numbers separated by spaces, has want.
func (e *event) facet(pointer, want string) bool {
	return slices.ContainsFunc(bytes.Fields(e.str(pointer)), func(w []byte) bool { return string(w) == want })
}
