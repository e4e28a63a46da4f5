package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

const (
	awsUser    = "/userIdentity"
	awsSession = awsUser + "/sessionContext"
	awsIssuer  = awsSession + "/sessionIssuer"
	awsFor     = awsUser + "/onBehalfOf"
	awsHidden  = "HIDDEN_DUE_TO_SECURITY_REASONS"

	// Roles below these paths are made and assumed by AWS alone.
	ssoRoles     = ":role/aws-reserved/sso.amazonaws.com/"
	serviceRoles = ":role/aws-service-role/"
)

// awsCaller is the identity that signed the request.
type awsCaller struct {
	typ      string // userIdentity.type
	id       []byte
	prov     string
	kind     string // of the id
	class    string // type of principal
	session  []byte // name of the role session, chosen by who assumed the role
	login    bool   // the event shows that a person signed in as this identity
	reserved bool   // a role that a service of AWS assumes for itself
}

// awsIdentity tells the acting principal from the one that asked. A role
// session names nobody by itself: its session name is chosen by the caller, so
// only a sign-in, onBehalfOf, sourceIdentity and IAM Identity Center's own
// roles give a requester.
func (e *event) awsIdentity(source, op string) {
	r := e.r
	c := e.awsCaller(source, op)
	invoked := e.str(awsUser + "/invokedBy")
	service := len(invoked) > 0 && string(invoked) != "signin.amazonaws.com" && c.typ != "AWSService"
	provider := e.str(awsUser + "/invokedByDelegate/accountId")
	switch {
	case service:
		// The service acts with the session of the one who called it.
		e.executor(record.Workload, invoked, awsUser+"/invokedBy")
		r.Set(record.ExecutorIDKind, "aws_service", "")
		r.Unset(record.ExecutorInstance) // the session's, not the service's
		r.Unset(record.ExecutorVersion)
	case len(provider) > 0:
		// A product provider works with a session that the account lent it.
		e.executor(record.Unknown, provider, awsUser+"/invokedByDelegate/accountId")
		r.Set(record.ExecutorIDKind, "aws_account", "")
		r.Unset(record.ExecutorInstance)
	case op == "SwitchRole" && len(e.str(awsSwitchedFrom)) > 0:
		e.awsSwitched(&c)
	case len(c.id) == 0 && e.has(awsClaims):
		e.awsJWT()
	case len(c.id) == 0:
		if r.Absent("executor") == "" {
			r.SetAbsent("executor", record.NotEstablished) // anonymous
			r.SetAbsent("requester", record.NotEstablished)
		}
	default:
		e.executor(c.class, c.id, c.prov)
		r.Set(record.ExecutorIDKind, c.kind, "")
	}
	if !r.Has(record.ExecutorIssuer) {
		r.Set(record.ExecutorIssuer, "aws", "")
	}
	if e.isTrue(awsSession+"/assumedRoot") && !e.has(awsSession+"/sourceIdentity") {
		r.AddFinding(record.ImpersonationNoActor)
	}
	if e.claimed && len(c.id) > 0 {
		r.SetAbsent("requester", record.NotEstablished) // the credential was refused
	} else if len(provider) == 0 || service {
		e.awsRequester(&c, service, op)
	}
	switch {
	case r.Has(record.RequesterID) || r.Absent("requester") != "":
	case e.has(awsFor) && len(e.str(awsFor+"/userId")) == 0:
		r.SetAbsent("requester", record.Redacted)
		r.AddFinding(record.DelegationRedacted)
	case len(provider) > 0:
		r.SetAbsent("requester", record.NotEstablished)
	}
	e.awsDelegation(&c, service, provider)
}

// awsCaller reads userIdentity, and fills what the executor has beside its id.
func (e *event) awsCaller(source, op string) awsCaller {
	r := e.r
	c := awsCaller{typ: string(e.str(awsUser + "/type")), class: record.Unknown}
	signIn := source == "signin.amazonaws.com" || source == "sso.amazonaws.com" || source == "sso-oauth.amazonaws.com"
	success := r.Get(record.OutcomeStatus) == record.Success
	user := e.str(awsUser + "/userName")
	if string(user) == awsHidden || string(e.str(awsUser+"/principalId")) == awsHidden {
		r.SetAbsent("executor", record.Redacted)
		r.SetAbsent("requester", record.Redacted)
		return c
	}
	console := op == "ConsoleLogin" || op == "SwitchRole" || op == "AuthorizeOAuth2Access" ||
		string(e.str(awsUser+"/invokedBy")) == "signin.amazonaws.com" && !bytes.HasPrefix(e.str(awsUser+"/accessKeyId"), []byte("AKIA")) || // a key of its own is no console
		e.isTrue("/sessionCredentialFromConsole") || e.isTrue(awsSession+"/attributes/sessionCredentialFromConsole")
	if arn := e.str(awsUser + "/arn"); len(arn) > 0 {
		c.id, c.prov, c.kind = arn, awsUser+"/arn", "aws_arn"
	}
	switch c.typ {
	case "AWSService":
		c.class, c.kind = record.Workload, "aws_service"
		c.id, c.prov = e.str(awsUser+"/invokedBy"), awsUser+"/invokedBy"
		e.set(record.ExecutorInstance, awsUser+"/inScopeOf/sourceArn")
	case "AssumedRole":
		e.awsRole(&c)
		// Only a console sign-in by SAML shows that the identity provider chose the session's name.
		c.login = c.login || op == "ConsoleLogin" && success && e.has("/additionalEventData/SamlProviderArn")
		if c.login {
			c.class = record.Person
		}
	case "Role":
		c.class = record.ServiceAccount
	case "FederatedUser":
		// Its name is chosen by who called GetFederationToken.
		e.put(record.ExecutorLocalAccount, e.str(awsIssuer+"/userName"), awsIssuer+"/userName")
	case "Root", "IAMUser":
		e.put(record.ExecutorLocalAccount, user, awsUser+"/userName")
		mfa := e.isTrue(awsSession + "/attributes/mfaAuthenticated")
		if (console || mfa) && !e.isTrue(awsSession+"/assumedRoot") && (success || !signIn) {
			c.class, c.login = record.Person, true
		}
		if len(c.id) == 0 && len(user) > 0 {
			c.id, c.prov, c.kind = user, awsUser+"/userName", "aws_user_name"
		}
	case "SAMLUser":
		c.id, c.prov, c.kind = user, awsUser+"/userName", "saml_subject"
		e.put(record.ExecutorIssuer, e.str(awsUser+"/identityProvider"), awsUser+"/identityProvider")
		if success {
			c.class, c.login = record.Person, true
		}
	case "WebIdentityUser":
		c.id, c.prov, c.kind = user, awsUser+"/userName", "web_identity_subject"
		c.class = webIdentityType(string(user))
		e.put(record.ExecutorIssuer, e.str(awsUser+"/identityProvider"), awsUser+"/identityProvider")
	case "IdentityCenterUser":
		c.kind, c.prov = "identity_store_user", awsFor+"/userId"
		if c.id = e.str(c.prov); len(c.id) > 0 && success && op != "CredentialChallenge" {
			c.class, c.login = record.Person, true
		}
		e.set(record.ExecutorIssuer, awsFor+"/identityStoreArn")
	case "AWSAccount":
		if !e.awsPrincipalID(&c) {
			if v := e.str(awsUser + "/accountId"); len(c.id) == 0 && !anonymous(v) {
				c.id, c.prov, c.kind = v, awsUser+"/accountId", "aws_account"
			}
		}
	case "Unknown", "Directory", "":
		// Events of IAM Identity Center before 2025 name the user like this.
		if v := e.str(awsFor + "/userId"); signIn && len(v) > 0 {
			c.id, c.prov, c.kind = v, awsFor+"/userId", "identity_store_user"
			e.set(record.ExecutorIssuer, awsFor+"/identityStoreArn")
		} else if len(c.id) == 0 && len(user) > 0 {
			c.id, c.prov, c.kind = user, awsUser+"/userName", "aws_user_name"
		}
		if signIn && len(c.id) > 0 && success && op != "CredentialChallenge" {
			c.class, c.login = record.Person, true
		}
		if v := e.str("/additionalEventData/sub"); len(c.id) == 0 && source == "cognito-idp.amazonaws.com" && len(v) > 0 {
			c.id, c.prov, c.kind = v, "/additionalEventData/sub", "cognito_sub"
			e.set(record.ExecutorIssuer, awsAsked+"/userPoolId")
		}
	}
	if len(c.id) == 0 {
		e.awsPrincipalID(&c)
	}
	if op == "CredentialChallenge" || op == "CheckMfa" {
		e.claimed = true // nothing is proved yet
	}
	return c
}

// anonymous reports whether v is what AWS writes in place of an identity.
func anonymous(v []byte) bool {
	return len(v) == 0 || bytes.EqualFold(v, []byte("anonymous")) || bytes.EqualFold(v, []byte("ANONYMOUS_PRINCIPAL"))
}

// awsPrincipalID takes principalId where it is the identity's own and not the account's number.
func (e *event) awsPrincipalID(c *awsCaller) bool {
	v := e.str(awsUser + "/principalId")
	if anonymous(v) || bytes.Equal(v, e.str(awsUser+"/accountId")) {
		return false
	}
	c.id, c.prov, c.kind = v, awsUser+"/principalId", "aws_principal_id"
	return true
}

// awsRole reads a role session: who holds it, as far as AWS itself delivered the credentials.
func (e *event) awsRole(c *awsCaller) {
	e.put(record.ExecutorLocalAccount, e.str(awsIssuer+"/userName"), awsIssuer+"/userName")
	e.list(record.AuthorityRoles, awsIssuer+"/arn")
	prov := awsUser + "/arn"
	if i := bytes.LastIndexByte(c.id, '/'); i >= 0 && bytes.Contains(c.id, []byte(":assumed-role/")) {
		c.session = c.id[i+1:]
	} else if _, name, ok := bytes.Cut(e.str(awsUser+"/principalId"), []byte(":")); ok {
		c.session, prov = name, awsUser+"/principalId"
	}
	const scope = awsUser + "/inScopeOf"
	if e.set(record.ExecutorInstance, scope+"/credentialsIssuedTo") == nil {
		e.put(record.ExecutorInstance, c.session, prov)
	}
	if v := e.str(scope + "/credentialsIssuedToVersion"); len(v) > 0 {
		e.put(record.ExecutorVersion, v[bytes.LastIndexByte(v, ':')+1:], scope+"/credentialsIssuedToVersion")
	}
	role := string(e.str(awsIssuer + "/arn"))
	c.class = record.ServiceAccount
	switch {
	case strings.Contains(string(e.str(scope+"/issuerType")), "BedrockAgentCore::Runtime"):
		c.class = record.Agent
	case e.has(scope), e.has(awsSession + "/ec2RoleDelivery"), isInstance(c.session):
		c.class = record.Workload // AWS handed the credentials to the machine itself
	case strings.Contains(role, serviceRoles):
		c.class, c.reserved = record.Workload, true
	case bytes.Contains(e.str(awsSession+"/webIdFederationData/federatedProvider"), []byte("oidc-provider/oidc.eks.")):
		c.class = record.Workload
	case strings.Contains(role, ssoRoles) && len(c.session) > 0:
		// IAM Identity Center alone can assume these roles, and names its user.
		c.class, c.login = record.Person, true
	}
}

// isInstance reports whether a session's name is the id of an EC2 instance.
func isInstance(name []byte) bool {
	hex, ok := bytes.CutPrefix(name, []byte("i-"))
	return ok && (len(hex) == 8 || len(hex) == 17) && isHex(hex)
}

func isHex(b []byte) bool {
	for _, c := range b {
		if c-'0' > 9 && c-'a' > 5 {
			return false
		}
	}
	return true
}

// webIdentityType tells the kind of subject of a web identity from the forms
// that CI systems and clusters document for their tokens.
func webIdentityType(sub string) string {
	for _, p := range [...]string{"repo:", "repository:", "project_path:", "organization:", "org/", "pipeline:", "spiffe://"} {
		if strings.HasPrefix(sub, p) {
			return record.Workload
		}
	}
	if t := principalType(sub); t == record.ServiceAccount {
		return t
	}
	return record.Unknown
}

const awsSwitchedFrom = "/additionalEventData/SwitchFrom"

// awsSwitched: the identity in front of the console is the one that switched;
// the role is what it acts as from then on.
func (e *event) awsSwitched(c *awsCaller) {
	r := e.r
	from := e.str(awsSwitchedFrom)
	class := record.Unknown
	c.login = false
	switch {
	case bytes.Contains(from, []byte(":user/")):
		class = record.Person
		c.login = r.Get(record.OutcomeStatus) == record.Success
	case bytes.Contains(from, []byte(":assumed-role/")):
		class = record.ServiceAccount
	}
	e.executor(class, from, awsSwitchedFrom)
	r.Set(record.ExecutorIDKind, "aws_arn", "")
	r.Unset(record.ExecutorInstance)
	if !bytes.Equal(c.id, from) {
		e.put(record.ExecutorLocalAccount, c.id, c.prov)
		e.delegate(record.Delegation{Principal: e.text(from), Credential: e.text(e.str(awsUser + "/accessKeyId")), Audience: e.text(c.id)}, awsSwitchedFrom)
	}
	c.id, c.prov, c.kind, c.class, c.typ = from, awsSwitchedFrom, "aws_arn", class, "IAMUser"
}

// awsRequester names the one who asked where AWS proved it or carried it.
func (e *event) awsRequester(c *awsCaller, service bool, op string) {
	r := e.r
	name := func(typ string, id []byte, prov, kind string, how proof) {
		e.requester(typ, id, prov, how)
		r.Set(record.RequesterIDKind, kind, "")
		r.Set(record.RequesterIssuer, "aws", "")
	}
	const stored = "/additionalEventData/identitystore:UserId"
	if v := e.str(awsFor + "/userId"); len(v) > 0 {
		if c.kind == "identity_store_user" && !c.login {
			return // a sign-in that failed or has only begun
		}
		name(record.Person, v, awsFor+"/userId", "identity_store_user", fromLogin)
		e.set(record.RequesterIssuer, awsFor+"/identityStoreArn")
		e.set(record.RequesterName, "/additionalEventData/UserName", awsUser+"/userName")
		if c.login && len(c.session) > 0 {
			e.put(record.RequesterName, c.session, awsUser+"/arn")
		}
		return
	}
	carried, from := e.str(awsSession+"/sourceIdentity"), awsSession+"/sourceIdentity"
	for _, p := range [...]string{awsAnswered + "/sourceIdentity", awsAsked + "/sourceIdentity"} {
		if len(carried) == 0 && strings.HasPrefix(op, "AssumeRole") {
			carried, from = e.str(p), p
		}
	}
	switch {
	case c.typ == "AssumedRole" && c.login:
		kind := "identity_center_username"
		if e.has("/additionalEventData/SamlProviderArn") {
			kind = "saml_session_name"
		}
		name(record.Person, c.session, awsUser+"/arn", kind, fromLogin)
		e.set(record.RequesterIssuer, "/additionalEventData/SamlProviderArn")
	case c.login:
		name(record.Person, c.id, c.prov, c.kind, fromLogin)
		if c.typ == "SAMLUser" {
			e.set(record.RequesterIssuer, awsAnswered+"/issuer", awsAsked+"/principalArn", awsUser+"/identityProvider")
			e.set(record.RequesterName, awsAsked+"/roleSessionName") // the assertion's, not the caller's
		}
	case len(carried) > 0:
		name(principalType(string(carried)), carried, from, "source_identity", fromParam)
	case e.has(stored) && r.Get(record.OutcomeStatus) == record.Success:
		// A token for the user whose sign-in IAM Identity Center verified.
		name(record.Person, e.str(stored), stored, "identity_store_user", fromLogin)
		e.set(record.RequesterIssuer, "/additionalEventData/identitystore:IdentityStoreArn")
	case service && (c.typ == "IAMUser" || c.typ == "Root"):
		name(c.class, c.id, c.prov, c.kind, fromLogin)
	}
}

// awsDelegation lists who handed its authority on: the user or source identity,
// the web identity, the session that a service or a provider works with.
func (e *event) awsDelegation(c *awsCaller, service bool, provider []byte) {
	r := e.r
	cred := e.text(e.str(awsUser + "/accessKeyId"))
	if cred == "" {
		cred = e.text(e.str(awsUser + "/credentialId"))
	}
	role := e.text(e.str(awsIssuer + "/arn"))
	const web = awsSession + "/webIdFederationData"
	switch prov := r.Prov(record.RequesterID); {
	case prov == awsSession+"/sourceIdentity", prov == awsFor+"/userId" && c.kind != "identity_store_user":
		e.delegate(record.Delegation{Principal: r.Get(record.RequesterID), Credential: cred, Audience: role}, prov)
	case prov == awsAsked+"/sourceIdentity", prov == awsAnswered+"/sourceIdentity", strings.HasPrefix(prov, "/additionalEventData/identitystore"):
		// The credential is the caller's, not the one of who is named.
		e.delegate(record.Delegation{Principal: r.Get(record.RequesterID), Audience: role}, prov)
	case e.has(web + "/federatedProvider"):
		who := e.webSubject(web + "/attributes")
		if len(who) == 0 {
			who = e.str(web + "/federatedProvider")
		}
		e.delegate(record.Delegation{Principal: e.text(who), Credential: cred, Audience: role}, web)
	case c.typ == "FederatedUser" && role != "":
		e.delegate(record.Delegation{Principal: role, Credential: cred, Audience: e.text(c.id)}, awsIssuer+"/arn")
	}
	if (service || len(provider) > 0) && len(c.id) > 0 && !c.reserved {
		e.delegate(record.Delegation{Principal: e.text(c.id), Credential: cred, Audience: r.Get(record.ExecutorID)}, c.prov)
	}
}

// webSubject is the user of a web identity: the provider writes it as
// "accounts.google.com:sub" or "www.amazon.com:user_id".
func (e *event) webSubject(attributes string) []byte {
	n := e.find(attributes)
	if n == 0 || e.doc.kindOf(n) != kindObject {
		return nil
	}
	for c := e.doc.first(n); c != 0; c = e.doc.next(c) {
		key := e.doc.keyOf(c)
		if i := bytes.LastIndexByte(key, ':'); i >= 0 {
			key = key[i+1:]
		}
		switch string(key) {
		case "sub", "user_id", "id":
			if v := e.value(c); len(v) > 0 {
				return v
			}
		}
	}
	return nil
}
