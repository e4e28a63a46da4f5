package attribution

import (
	"bytes"
	"slices"
	"strings"

	"custody/ingest/record"
)

// gcpKind tells what kind of principal an identifier of IAM names and how it names it.
func gcpKind(id string) (typ, kind string) {
	id = strings.TrimPrefix(id, "deleted:")
	if bare, ok := strings.CutPrefix(id, "user:"); ok {
		id = bare
	}
	account, isAccount := strings.CutPrefix(id, "serviceAccount:")
	if isAccount {
		id = account
	}
	switch {
	case strings.HasPrefix(id, "system:serviceaccount:"):
		return record.ServiceAccount, "k8s_username"
	case strings.HasPrefix(id, "system:"):
		return record.Workload, "k8s_username"
	case strings.HasPrefix(id, "principal://") || strings.HasPrefix(id, "spiffe://") || strings.HasPrefix(id, "//"):
		switch {
		case gcpAgent(id):
			return record.Agent, "gcp_agent_identity"
		case strings.Contains(id, "/workforcePools/"):
			return record.Person, "gcp_workforce_identity"
		case strings.Contains(id, "/workloadIdentityPools/"):
			return record.Workload, "gcp_workload_identity"
		}
		return principalType(id), "gcp_principal"
	case strings.Contains(id, ".svc.id.goog["): // PROJECT.svc.id.goog[NAMESPACE/NAME]
		return record.Workload, "gcp_workload_identity"
	}
	at := strings.IndexByte(id, '@')
	if at <= 0 {
		if isAccount {
			return record.ServiceAccount, "gcp_service_account"
		}
		return record.Unknown, "gcp_subject"
	}
	name, domain := id[:at], id[at+1:]
	domain, _, _ = strings.Cut(domain, "?") // deleted accounts carry ?uid=
	switch {
	case domain == "prod.google.com", domain == "system.gserviceaccount.com", id == "system@google.com":
		return record.Workload, "gcp_system" // Google's own machinery
	case domain == "cloudservices.gserviceaccount.com", strings.HasPrefix(domain, "gcp-sa-") && strings.HasSuffix(domain, ".gserviceaccount.com"),
		strings.HasSuffix(domain, ".gserviceaccount.com") && strings.HasPrefix(name, "service-") && numbered(name[len("service-"):]):
		return record.ServiceAccount, "gcp_service_agent" // Google's, for a service; no agent
	case strings.HasSuffix(domain, ".gserviceaccount.com"), isAccount:
		return record.ServiceAccount, "gcp_service_account"
	case strings.IndexByte(domain, '.') > 0 && strings.IndexByte(id, '/') < 0:
		return record.Person, "email"
	}
	return record.Unknown, "gcp_subject"
}

// numbered reports whether s is the number of a project, folder or organisation.
func numbered(s string) bool {
	s = strings.TrimPrefix(strings.TrimPrefix(s, "org-"), "folder-")
	if s == "" {
		return false
	}
	for i := range len(s) {
		if s[i]-'0' > 9 {
			return false
		}
	}
	return true
}

// gcpAgent reports whether a principal is an agent identity: its trust domain is
// agents.global.… of system.id.goog.
func gcpAgent(id string) bool {
	_, rest, ok := strings.Cut(id, "//")
	domain, _, _ := strings.Cut(rest, "/")
	return ok && (strings.HasPrefix(domain, "agents.") && strings.HasSuffix(domain, ".system.id.goog") ||
		domain == "iam.googleapis.com" && strings.Contains(rest, "/workloadIdentityPools/agents.global."))
}

// gcpName is an identifier without the IAM prefix that says what it is, so that
// the same principal has the same text in all places.
func gcpName(id []byte) []byte {
	for _, p := range [...]string{"user:", "serviceAccount:"} {
		if v, ok := bytes.CutPrefix(id, []byte(p)); ok {
			return v
		}
	}
	return id
}

// gcpActor is one principal as the log names it.
type gcpActor struct {
	id, typ, kind, prov string
}

func (g *gcp) actor(v []byte, prov string) gcpActor {
	if len(v) == 0 {
		return gcpActor{}
	}
	typ, kind := gcpKind(string(v))
	return gcpActor{g.text(gcpName(v)), typ, kind, prov}
}

// principals: the authenticated principal acted. The first of its delegators, if
// that is a person, asked; a person without delegators asked for itself.
func (g *gcp) principals() {
	r := g.r
	const auth = "/authenticationInfo"
	who := g.authenticated()
	chain, redacted := g.delegators()
	if who.typ == record.Person {
		// Where an agent is in the chain of a person, it acts with the person's
		// consent: the person asked, the agent acted.
		for _, c := range slices.Backward(chain) {
			if c.typ == record.Agent {
				g.person(who)
				g.execute(c)
				g.hand(append([]gcpActor{who}, chain...), "")
				return
			}
		}
	}
	g.execute(who)
	// A credential that was not accepted proves nobody.
	g.claimed = string(g.member("/status/code")) == "16" ||
		strings.Contains(g.method, "SecurityTokenService") && r.Get(record.OutcomeStatus) != record.Success
	switch {
	case g.claimed:
		r.SetAbsent("requester", record.NotEstablished)
	case len(chain) > 0 && chain[0].typ == record.Person:
		g.person(chain[0])
	case redacted && len(chain) == 0 || len(chain) > 0:
		why := record.NotEstablished
		if redacted {
			why = record.Redacted
		}
		r.SetAbsent("requester", why)
	case who.typ == record.Person:
		g.person(who)
	case strings.HasSuffix(string(g.str("/logName")), "system_event"):
		r.SetAbsent("requester", record.NotApplicable)
	}
	if redacted {
		r.AddFinding(record.DelegationRedacted)
		r.SetAbsent("delegation", record.Redacted)
	}
	g.hand(chain, who.id)
	// The user or account that a caller of Kubernetes asked to be taken for.
	if as := g.member(auth + "/authoritySelector"); len(as) > 0 {
		p := g.at(auth + "/authoritySelector")
		g.put(record.ExecutorLocalAccount, as, p)
		if who.id == "" {
			r.AddFinding(record.ImpersonationNoActor)
		} else {
			g.delegate(record.Delegation{Principal: who.id, Audience: g.text(as)}, who.prov)
		}
	}
}

// authenticated is the principal whose credential came with the call.
func (g *gcp) authenticated() gcpActor {
	r := g.r
	const auth = "/authenticationInfo"
	const subject, mapped = auth + "/principalSubject", "/metadata/mapped_principal"
	if v := g.member(mapped); len(v) > 0 && strings.Contains(g.method, "SecurityTokenService") {
		// The subject is the other identity provider's; this is the same principal as IAM names it.
		g.put(record.ExecutorName, g.member(subject), g.at(subject))
		return g.actor(v, g.at(mapped))
	}
	for _, p := range [...]string{auth + "/principalEmail", subject, auth + "/thirdPartyPrincipal/principalSubject", auth + "/thirdPartyPrincipal/thirdPartyClaims/sub"} {
		v := g.member(p)
		switch string(v) {
		case "", "system:anonymous", "system:unsecured", "allUsers":
			if len(v) > 0 {
				r.SetAbsent("executor", record.NotEstablished)
				r.SetAbsent("requester", record.NotEstablished)
				return gcpActor{}
			}
			continue
		}
		a := g.actor(v, g.at(p))
		if strings.Contains(g.method, "SecurityTokenService") && a.typ != record.Agent && strings.Contains(r.Get(record.TargetID), "/workloadIdentityPools/") {
			a.typ, a.kind = record.Workload, "gcp_subject" // whatever the other provider calls it
		}
		// The subject says more where the email is only the account of an agent.
		if s := g.member(subject); p != subject && gcpAgent(string(s)) {
			g.put(record.ExecutorLocalAccount, v, g.at(p))
			a = g.actor(s, g.at(subject))
		}
		return a
	}
	switch code := string(g.member("/status/code")); {
	case code == "7" && g.has(g.at(auth)):
		// Emails of people outside are withheld when a read is refused.
		r.SetAbsent("executor", record.Redacted)
		r.SetAbsent("requester", record.Redacted)
	case code == "16":
		r.SetAbsent("executor", record.NotEstablished)
		r.SetAbsent("requester", record.NotEstablished)
	}
	return gcpActor{}
}

// execute makes a the executor.
func (g *gcp) execute(a gcpActor) {
	if a.id == "" {
		return
	}
	r := g.r
	g.executor(a.typ, []byte(a.id), a.prov)
	r.Set(record.ExecutorIDKind, a.kind, "")
	r.Set(record.ExecutorIssuer, gcpIssuer(a), "")
	if a.typ != record.Agent {
		return
	}
	// principal://DOMAIN/PATH is the SPIFFE ID spiffe://DOMAIN/PATH.
	if _, rest, ok := strings.Cut(a.id, "//"); ok {
		r.Set(record.ExecutorSPIFFEID, "spiffe://"+rest, a.prov)
	}
	if i := strings.LastIndex(a.id, "/reasoningEngines/"); i >= 0 {
		r.Set(record.ExecutorInstance, a.id[i+len("/reasoningEngines/"):], a.prov)
	}
}

// person makes a the requester: Google authenticated it.
func (g *gcp) person(a gcpActor) {
	g.requester(a.typ, []byte(a.id), a.prov, fromLogin)
	g.r.Set(record.RequesterIDKind, a.kind, "")
	g.r.Set(record.RequesterIssuer, gcpIssuer(a), "")
}

func gcpIssuer(a gcpActor) string {
	if a.kind == "k8s_username" {
		return "kubernetes"
	}
	return "google"
}

// delegators are those who handed their authority to the authenticated principal,
// the first of them first. Empty elements were withheld.
func (g *gcp) delegators() (chain []gcpActor, redacted bool) {
	t := &g.doc
	const info, history = "/authenticationInfo/serviceAccountDelegationInfo", "/authenticationInfo/serviceDelegationHistory"
	if v := g.member(history + "/originalPrincipal"); len(v) > 0 {
		chain = append(chain, g.actor(v, g.at(history+"/originalPrincipal")))
		if n := g.find(g.at(history + "/serviceMetadata")); n != 0 && t.kindOf(n) == kindArray {
			for i, c := 0, t.first(n); c != 0 && i < 32; i, c = i+1, t.next(c) {
				if a := g.actor(g.value(t.get(c, "principalSubject")), g.at(history+"/serviceMetadata/")+decimal(i)+"/principalSubject"); a.id != "" {
					chain = append(chain, a)
				}
			}
		}
	}
	n := g.find(g.at(info))
	if n == 0 || t.kindOf(n) != kindArray {
		return chain, false
	}
	for i, c := 0, t.first(n); c != 0; i, c = i+1, t.next(c) {
		var a gcpActor
		for _, p := range [...]string{
			"/firstPartyPrincipal/principalEmail", "/principalSubject", "/thirdPartyPrincipal/principalSubject",
			"/thirdPartyPrincipal/thirdPartyClaims/email", "/thirdPartyPrincipal/thirdPartyClaims/sub",
		} {
			if v := g.value(t.find(c, p)); len(v) > 0 {
				a = g.actor(v, g.at(info)+"/"+decimal(i)+p)
				if strings.Contains(p, "Claims") {
					a.typ = record.Unknown // what another provider calls itself proves nothing here
				}
				break
			}
		}
		// A place is kept for who was withheld: the one behind it is not the one who
		// asked, and the one before it handed nothing to the one behind.
		redacted = redacted || a.id == ""
		chain = append(chain, a)
	}
	if !slices.ContainsFunc(chain, func(a gcpActor) bool { return a.id != "" }) {
		chain = nil
	}
	return chain, redacted
}

// hand lists a chain of delegators, each with the one it handed its authority to.
func (g *gcp) hand(chain []gcpActor, last string) {
	for i := range chain {
		if chain[i].id == "" { // withheld
			continue
		}
		to := last
		if i+1 < len(chain) {
			to = chain[i+1].id
		} else if last == "" && i > 0 {
			return // the end of the chain, the executor
		}
		g.delegate(record.Delegation{Principal: chain[i].id, Audience: to}, chain[i].prov)
	}
}
