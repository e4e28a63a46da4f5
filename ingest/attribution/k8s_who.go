package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// k8sCaller is what the API server says of the one who called.
type k8sCaller struct {
	class    string
	id       []byte // who acted
	prov     string
	kind     string // of the id
	issuer   []byte
	person   []byte // who asked, where that is a person
	personAt string
	// personKind is the kind of the person's id where it is another.
	personKind string
	proof      proof
}

// k8sPrincipals: user is the real caller and so the executor; impersonatedUser
// is only what it acted as. A caller that is a person asked for itself; who
// stands behind a machine is not in the event.
func (e *event) k8sPrincipals() {
	r := e.r
	const user, as = "/user/username", "/impersonatedUser/username"
	c := k8sCaller{class: record.Unknown, id: e.str(user), prov: user, kind: "k8s_username", issuer: []byte("kubernetes"), proof: fromLogin}
	acted := e.str(as)
	switch s := string(c.id); {
	case s == "" || s == "system:anonymous" || s == "system:unsecured":
		c.id = nil
		r.SetAbsent("executor", record.NotEstablished)
		r.SetAbsent("requester", record.NotEstablished)
	case e.has(k8sExtra+"/arn/0") || strings.HasPrefix(s, "arn:"):
		e.eksCaller(&c)
	case s == "system:admin", s == "system:masters":
		// A certificate that anybody may hold.
	case strings.HasPrefix(s, "https://"):
		// OIDC without a prefix of its own: ISSUER#SUBJECT.
		if issuer, sub, ok := strings.Cut(s, "#"); ok && len(sub) > 0 {
			c.class = principalType(sub)
			c.issuer = c.id[:len(issuer)]
			if c.class == record.Person {
				c.person, c.personAt = c.id[len(issuer)+1:], user
			}
		}
	default:
		if c.class = principalType(s); c.class == record.Person {
			c.person, c.personAt = c.id, user
			// The prefix that --oidc-username-prefix puts in front is not the person's name.
			if prefix, name, ok := strings.Cut(s, ":"); ok && principalType(name) == record.Person && !strings.ContainsAny(prefix, "@.") {
				c.person = c.id[len(prefix)+1:]
			}
		}
	}
	e.executor(c.class, c.id, c.prov)
	if c.prov != user && len(c.id) > 0 && !bytes.Equal(c.id, e.str(user)) {
		e.set(record.ExecutorName, user)
	}
	r.Set(record.ExecutorIDKind, c.kind, "")
	e.put(record.ExecutorIssuer, c.issuer, "")
	e.set(record.ExecutorInstance, k8sPod, k8sNode)
	if len(c.person) > 0 {
		e.requester(record.Person, c.person, c.personAt, c.proof)
		r.Set(record.RequesterIDKind, c.kind, "")
		if c.personKind != "" {
			r.Set(record.RequesterIDKind, c.personKind, "")
		}
		e.put(record.RequesterIssuer, c.issuer, "")
	}
	if status := e.str("/responseStatus/code"); string(status) == "401" {
		e.claimed = true
	}
	if len(acted) == 0 {
		return
	}
	e.put(record.ExecutorLocalAccount, acted, as)
	e.attribute("impersonation_constraint", "/authenticationMetadata/impersonationConstraint")
	if len(c.id) == 0 {
		r.AddFinding(record.ImpersonationNoActor)
		return
	}
	d := record.Delegation{Principal: r.Get(record.ExecutorID), Audience: e.text(acted), Credential: e.text(k8sCredentialID(e.str(k8sCred)))}
	if v := e.str("/authenticationMetadata/impersonationConstraint"); len(v) > 0 {
		d.Scopes = []string{e.text(v)}
	}
	e.delegate(d, c.prov)
	if !r.Has(record.RequesterID) {
		r.SetAbsent("requester", record.NotEstablished)
	}
}

// eksCaller reads an IAM identity that EKS mapped to a user name. The name is what
// the cluster's administrator made of it, so the ARN says what the caller is. The
// name of a role's session is the choice of who assumed the role, except where IAM
// Identity Center assumed it for its user.
func (e *event) eksCaller(c *k8sCaller) {
	const arnAt, canonical, session = k8sExtra + "/arn/0", k8sExtra + "/canonicalArn/0", k8sExtra + "/sessionName/0"
	arn, at := e.str(arnAt), arnAt
	if len(arn) == 0 {
		arn, at = c.id, c.prov
	}
	if bytes.HasPrefix(c.id, []byte("system:node:")) {
		c.class = record.Workload
		return
	}
	if bytes.HasPrefix(c.id, []byte("system:serviceaccount:")) {
		c.class = record.ServiceAccount
		return
	}
	name := e.str(session)
	isRole := bytes.Contains(arn, []byte(":assumed-role/"))
	if isRole && len(name) == 0 {
		name = arn[bytes.LastIndexByte(arn, '/')+1:]
	}
	where := session
	if !e.has(session) {
		where = at
	}
	switch {
	case isRole && bytes.Contains(arn, []byte(":assumed-role/AWSReservedSSO_")):
		c.class = record.Person
		c.person, c.personAt, c.personKind = name, where, "identity_center_username"
	case isRole:
		c.class = record.ServiceAccount
		c.id, c.prov, c.kind, c.issuer = arn, at, "aws_arn", []byte("aws")
		if principalType(string(name)) == record.Person {
			c.person, c.personAt, c.personKind, c.proof = name, where, "role_session_name", fromParam
		}
	case bytes.HasSuffix(arn, []byte(":root")) || bytes.Contains(arn, []byte(":user/")):
		c.id, c.prov, c.kind, c.issuer = arn, at, "aws_arn", []byte("aws")
	}
	if c.class == record.Person {
		c.id, c.prov, c.kind, c.issuer = arn, at, "aws_arn", []byte("aws")
	}
	e.list(record.AuthorityRoles, canonical)
}

// k8sCredentialID is the credential as other sources name it: the jti of a token
// without the mark in front, and the digest of a certificate.
func k8sCredentialID(v []byte) []byte {
	if jti, ok := bytes.CutPrefix(v, []byte("JTI=")); ok {
		return jti
	}
	if sum, ok := bytes.CutPrefix(v, []byte("X509SHA256=")); ok {
		if id := digestID(sum); id != nil {
			return id
		}
	}
	return v
}

// k8sCredential fills the credential: of a request for a token the issued one (the
// one used stands in delegation), else the one used.
func (e *event) k8sCredential() {
	r := e.r
	used := k8sCredentialID(e.str(k8sCred))
	aws := e.str(k8sExtra + "/accessKeyId/0")
	if string(e.str(k8sRef+"/resource")) == "serviceaccounts" && string(e.str(k8sRef+"/subresource")) == "token" && e.k8sToken() {
		by := e.text(used)
		if by == "" {
			by = e.text(aws)
		}
		d := record.Delegation{Principal: r.Get(record.ExecutorID), Credential: by, Expires: r.Get(record.CredentialExpires)}
		if ns, name := e.str(k8sRef+"/namespace"), e.str(k8sRef+"/name"); len(ns) > 0 && len(name) > 0 {
			d.Audience = e.text(e.cat([]byte("system:serviceaccount:"), ns, []byte(":"), name))
		}
		if d.Principal != "" {
			e.delegate(d, "/user/username")
		}
		return
	}
	switch {
	case len(used) > 0:
		e.put(record.CredentialID, used, k8sCred)
		r.Set(record.CredentialKind, "k8s_token", "")
		if bytes.HasPrefix(used, []byte("sha256:")) {
			r.Set(record.CredentialKind, "x509", "")
		}
	case len(aws) > 0: // the key that the EKS token was signed with, as CloudTrail shows it
		e.put(record.CredentialID, aws, k8sExtra+"/accessKeyId/0")
		r.Set(record.CredentialKind, "aws_session", "")
		if bytes.HasPrefix(aws, []byte("AKIA")) {
			r.Set(record.CredentialKind, "aws_access_key", "")
		}
		r.Set(record.CredentialIssuer, "aws", "")
	}
}

// k8sToken reads a TokenRequest.
func (e *event) k8sToken() bool {
	r := e.r
	issued := false
	if v := e.str(k8sIssued); len(v) > 0 {
		e.put(record.CredentialID, k8sCredentialID(v), k8sIssued)
		issued = true
	} else if token := e.str(k8sAnswered + "/status/token"); len(token) > 0 {
		// The token itself, in a log of level RequestResponse.
		e.put(record.CredentialID, fingerprint(token), k8sAnswered+"/status/token")
		issued = true
	}
	if !issued && (r.Get(record.OutcomeStatus) != record.Success || string(e.str("/verb")) != "create") {
		return false
	}
	r.Set(record.CredentialEventOp, "issue", k8sRef+"/subresource")
	r.Set(record.CredentialKind, "k8s_token", "")
	if v := e.set(record.CredentialIssuer, k8sAnswered+"/metadata/issuer"); v == nil {
		r.Set(record.CredentialIssuer, "kubernetes", "")
	}
	spec := k8sAsked + "/spec"
	if e.has(k8sAnswered + "/spec/audiences/0") {
		spec = k8sAnswered + "/spec"
	}
	e.set(record.CredentialAudience, spec+"/audiences/0")
	if !e.has(spec + "/expirationSeconds") {
		spec = k8sAsked + "/spec"
	}
	ttl, ok := e.number(record.CredentialTTL, e.str(spec+"/expirationSeconds"), spec+"/expirationSeconds")
	from := e.instant(record.CredentialIssued, "/stageTimestamp")
	if e.instant(record.CredentialExpires, k8sAnswered+"/status/expirationTimestamp") == 0 && ok && ttl > 0 {
		e.expires(from, ttl, spec+"/expirationSeconds")
	}
	e.attribute("bound_to", spec+"/boundObjectRef/name")
	return true
}

// k8sReviews reads what was asked about others: it is no decision on this request.
func (e *event) k8sReviews() {
	res := e.str(k8sRef + "/resource")
	switch string(res) {
	case "tokenreviews":
		if e.set(record.TargetID, k8sAnswered+"/status/user/username") != nil {
			e.attribute("authenticated", k8sAnswered+"/status/authenticated")
		}
		if token := e.str(k8sAsked + "/spec/token"); len(token) > 0 {
			e.add(record.Attributes, e.cat([]byte("reviewed_token="), fingerprint(token)), k8sAsked+"/spec/token")
		}
	case "subjectaccessreviews", "localsubjectaccessreviews", "selfsubjectaccessreviews":
		spec := k8sAsked + "/spec"
		e.set(record.TargetID, spec+"/user")
		e.attribute("review_verb", spec+"/resourceAttributes/verb", spec+"/nonResourceAttributes/verb")
		e.attribute("review_resource", spec+"/resourceAttributes/resource", spec+"/nonResourceAttributes/path")
		e.attribute("review_allowed", k8sAnswered+"/status/allowed")
	case "pods", "services", "nodes":
		switch string(e.str(k8sRef + "/subresource")) {
		case "exec", "attach", "portforward", "proxy":
			e.k8sInside()
		}
	}
}

// k8sInside reads from the address what runs in the container.
func (e *event) k8sInside() {
	_, query, _ := bytes.Cut(e.str(k8sURI), []byte("?"))
	var command []byte
	for q := range bytes.SplitSeq(query, []byte("&")) {
		k, v, _ := bytes.Cut(q, []byte("="))
		switch string(k) {
		case "container":
			e.add(record.Attributes, e.cat([]byte("container="), unescapeQuery(v)), k8sURI)
		case "command":
			if len(command) < 4096 {
				if len(command) > 0 {
					command = append(command, ' ')
				}
				command = append(command, unescapeQuery(v)...)
			}
		}
	}
	if len(command) > 0 {
		e.put(record.ActionTool, clean(command), k8sURI)
	}
}

// unescapeQuery decodes %2F and + in a value of an address.
func unescapeQuery(v []byte) []byte {
	out := make([]byte, 0, len(v))
	for i := 0; i < len(v); i++ {
		switch {
		case v[i] == '+':
			out = append(out, ' ')
		case v[i] == '%' && i+2 < len(v) && hexDigit(v[i+1]) && hexDigit(v[i+2]):
			out = append(out, nibble(upper(v[i+1]))<<4|nibble(upper(v[i+2])))
			i += 2
		default:
			out = append(out, v[i])
		}
	}
	return clean(out)
}

// k8sApproval reads the approval of a certificate's request.
func (e *event) k8sApproval() {
	r := e.r
	if string(e.str(k8sRef+"/resource")) != "certificatesigningrequests" {
		return
	}
	sub, verb := string(e.str(k8sRef+"/subresource")), string(e.str("/verb"))
	switch {
	case sub == "approval":
		body := k8sAnswered
		if !e.has(body + "/status/conditions/0") {
			body = k8sAsked
		}
		e.put(record.ApprovalRequestID, e.str(k8sRef+"/name"), k8sRef+"/name")
		r.Set(record.ApprovalApprover, r.Get(record.ExecutorID), r.Prov(record.ExecutorID))
		// Who asked is whom the server saw ask for the certificate, not who approves.
		who := e.str(body + "/spec/username")
		r.Unset(record.RequesterID)
		r.Unset(record.RequesterType)
		r.SetAbsent("requester", record.NotEstablished)
		if len(who) > 0 {
			r.SetAbsent("requester", "")
			e.requester(principalType(string(who)), who, body+"/spec/username", fromLogin)
			r.Set(record.RequesterIDKind, "k8s_username", "")
			r.Set(record.RequesterIssuer, "kubernetes", "")
		}
		list := e.find(body + "/status/conditions")
		if list == 0 || r.Get(record.OutcomeStatus) != record.Success {
			return
		}
		state := ""
		for c := e.doc.first(list); c != 0; c = e.doc.next(c) {
			switch string(e.value(e.doc.get(c, "type"))) {
			case "Approved":
				state = "approved"
			case "Denied":
				state = "denied"
			}
		}
		if state != "" {
			e.mark("approval="+state, body+"/status/conditions")
		}
	case sub == "" && verb == "create" && r.Get(record.OutcomeStatus) == record.Success:
		e.put(record.ApprovalRequestID, []byte(r.Get(record.TargetName)), r.Prov(record.TargetName))
		e.mark("approval=requested", "/verb")
	}
}
