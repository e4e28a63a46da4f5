package attribution

import (
	"bytes"

	"custody/ingest/record"
)

// awsKeyCalls are calls that make, change or end a long-lived credential of IAM:
// where its id stands, and what happens to it.
var awsKeyCalls = map[string]struct{ op, kind, id, issued, expires string }{
	"CreateAccessKey":                 {"issue", "aws_access_key", awsAnswered + "/accessKey/accessKeyId", awsAnswered + "/accessKey/createDate", ""},
	"DeleteAccessKey":                 {"revoke", "aws_access_key", awsAsked + "/accessKeyId", "", ""},
	"UpdateAccessKey":                 {"revoke", "aws_access_key", awsAsked + "/accessKeyId", "", ""},
	"CreateLoginProfile":              {"issue", "aws_console_password", "", awsAnswered + "/loginProfile/createDate", ""},
	"UpdateLoginProfile":              {"renew", "aws_console_password", "", "", ""},
	"ChangePassword":                  {"renew", "aws_console_password", "", "", ""},
	"DeleteLoginProfile":              {"revoke", "aws_console_password", "", "", ""},
	"CreateServiceSpecificCredential": {"issue", "aws_service_credential", awsAnswered + "/serviceSpecificCredential/serviceSpecificCredentialId", awsAnswered + "/serviceSpecificCredential/createDate", awsAnswered + "/serviceSpecificCredential/expirationDate"},
	"ResetServiceSpecificCredential":  {"renew", "aws_service_credential", awsAsked + "/serviceSpecificCredentialId", "", ""},
	"UpdateServiceSpecificCredential": {"revoke", "aws_service_credential", awsAsked + "/serviceSpecificCredentialId", "", ""},
	"DeleteServiceSpecificCredential": {"revoke", "aws_service_credential", awsAsked + "/serviceSpecificCredentialId", "", ""},
	"UploadSSHPublicKey":              {"issue", "ssh_public_key", awsAnswered + "/sSHPublicKey/sSHPublicKeyId", awsAnswered + "/sSHPublicKey/uploadDate", ""},
	"DeleteSSHPublicKey":              {"revoke", "ssh_public_key", awsAsked + "/sSHPublicKeyId", "", ""},
	"UploadSigningCertificate":        {"issue", "x509_certificate", awsAnswered + "/certificate/certificateId", awsAnswered + "/certificate/uploadDate", ""},
	"DeleteSigningCertificate":        {"revoke", "x509_certificate", awsAsked + "/certificateId", "", ""},
}

// awsCredential fills the credential: of a call that issued, renewed or ended
// one that one (the one used stands in delegation), else the one used.
func (e *event) awsCredential(source, op string) {
	r := e.r
	if r.Get(record.OutcomeStatus) == record.Success && (e.awsIssued(op) || e.awsKey(source, op) || e.awsToken(source, op)) {
		r.Set(record.CredentialIssuer, "aws", "")
		e.awsUsed()
		return
	}
	switch v := e.set(record.CredentialID, awsUser+"/accessKeyId", awsUser+"/credentialId"); {
	case v == nil:
		return
	case bytes.HasPrefix(v, []byte("AKIA")):
		r.Set(record.CredentialKind, "aws_access_key", "")
	case bytes.HasPrefix(v, []byte("ASIA")):
		r.Set(record.CredentialKind, "aws_session", "")
	case r.Prov(record.CredentialID) == awsUser+"/credentialId":
		r.Set(record.CredentialKind, "identity_center_token", "")
	default:
		r.Set(record.CredentialKind, "aws_credential", "")
	}
	r.Set(record.CredentialIssuer, "aws", "")
	e.awsInstant(record.CredentialIssued, awsSession+"/attributes/creationDate")
}

// awsIssued: an answer with temporary credentials, of STS or of a service that asks it.
func (e *event) awsIssued(op string) bool {
	r := e.r
	issued := ""
	for _, p := range [...]string{awsAnswered + "/credentials", awsAnswered + "/roleCredentials"} {
		if e.set(record.CredentialID, p+"/accessKeyId") != nil {
			issued = p
			break
		}
	}
	if issued == "" {
		return false
	}
	event := "issue"
	if string(e.str(awsUser+"/type")) == "AssumedRole" {
		event = "exchange"
	}
	r.Set(record.CredentialEventOp, event, "/eventName")
	r.Set(record.CredentialKind, "aws_session", "")
	e.awsInstant(record.CredentialIssued, "/eventTime")
	e.awsInstant(record.CredentialExpires, issued+"/expiration")
	e.number(record.CredentialTTL, e.str(awsAsked+"/durationSeconds"), awsAsked+"/durationSeconds")
	e.set(record.CredentialAudience, awsAnswered+"/assumedRoleUser/arn", awsAnswered+"/federatedUser/arn")
	if op == "AssumeRoleForPodIdentity" {
		// The pod's service account asked; the node's agent called.
		const sub = awsAnswered + "/subject"
		if ns, sa := e.str(sub+"/namespace"), e.str(sub+"/serviceAccount"); len(ns) > 0 && len(sa) > 0 {
			e.delegate(record.Delegation{Principal: "system:serviceaccount:" + e.text(ns) + ":" + e.text(sa), Audience: e.text(e.str(awsAnswered + "/audience"))}, sub)
		}
	}
	return true
}

// awsKey: calls of IAM about long-lived credentials.
func (e *event) awsKey(source, op string) bool {
	r := e.r
	k, ok := awsKeyCalls[op]
	if !ok || source != "iam.amazonaws.com" {
		return false
	}
	if k.op == "revoke" && string(e.str(awsAsked+"/status")) == "Active" {
		k.op = "issue" // an update that switches it on again
	}
	r.Set(record.CredentialEventOp, k.op, "/eventName")
	r.Set(record.CredentialKind, k.kind, "")
	if string(e.str(awsAnswered+"/serviceSpecificCredential/serviceName")) == "bedrock.amazonaws.com" {
		r.Set(record.CredentialKind, "bedrock_api_key", awsAnswered+"/serviceSpecificCredential/serviceName")
	}
	if k.id == "" || e.set(record.CredentialID, k.id) == nil {
		r.SetAbsent("authority.credential.id", record.NotRecorded)
	}
	e.awsInstant(record.CredentialIssued, k.issued)
	e.awsInstant(record.CredentialExpires, k.expires)
	// Without a name the calls are about the caller's own credential.
	e.set(record.CredentialAudience, awsAsked+"/userName", awsAnswered+"/accessKey/userName", awsUser+"/userName")
	return true
}

// awsToken: tokens of IAM Identity Center, of sign-ins by OAuth and of Cognito.
// Their text is withheld, their id mostly too.
func (e *event) awsToken(source, op string) bool {
	r := e.r
	switch {
	case source == "sso.amazonaws.com" && op == "GetRoleCredentials":
		r.Set(record.CredentialEventOp, "exchange", "/eventName")
		r.Set(record.CredentialKind, "aws_session", "")
		r.SetAbsent("authority.credential.id", record.NotRecorded)
		return true
	case (source == "sso-oauth.amazonaws.com" || source == "sso-oidc.amazonaws.com") && (op == "CreateToken" || op == "CreateTokenWithIAM"):
		event := "issue"
		switch grant := e.str(awsAsked + "/grantType"); {
		case string(grant) == "refresh_token":
			event = "renew"
		case bytes.HasSuffix(grant, []byte(":jwt-bearer")), bytes.HasSuffix(grant, []byte(":token-exchange")):
			event = "exchange"
		}
		r.Set(record.CredentialEventOp, event, "/eventName")
		r.Set(record.CredentialKind, "identity_center_token", "")
		if e.set(record.CredentialID, "/additionalEventData/identitycenter:CredentialId") == nil {
			r.SetAbsent("authority.credential.id", record.Redacted)
		}
		if ns := e.awsInstant(record.CredentialIssued, "/eventTime"); ns != 0 {
			if ttl, ok := e.number(record.CredentialTTL, e.str(awsAnswered+"/expiresIn"), awsAnswered+"/expiresIn"); ok {
				e.expires(ns, ttl, awsAnswered+"/expiresIn")
			}
		}
		e.set(record.CredentialAudience, awsAsked+"/clientId")
		e.list(record.AuthorityScopes, awsAsked+"/scope")
		return true
	case source == "signin.amazonaws.com" && op == "CreateOAuth2Token":
		r.Set(record.CredentialEventOp, "issue", "/eventName")
		if string(e.str("/additionalEventData/grant_type")) == "refresh_token" {
			r.Set(record.CredentialEventOp, "renew", "/additionalEventData/grant_type")
		}
		r.Set(record.CredentialKind, "aws_signin_token", "")
		r.SetAbsent("authority.credential.id", record.NotRecorded)
		e.set(record.CredentialAudience, awsAsked+"/resource", awsAsked+"/client_id")
		return true
	case source == "cognito-idp.amazonaws.com":
		return e.awsCognito(op)
	}
	return false
}

// awsCognito: user pools hand out and take back tokens, whose text is always hidden.
func (e *event) awsCognito(op string) bool {
	event := ""
	switch op {
	case "InitiateAuth", "AdminInitiateAuth", "RespondToAuthChallenge", "AdminRespondToAuthChallenge":
		if !e.has(awsAnswered + "/authenticationResult") {
			return false // only a challenge
		}
		event = "issue"
		if f := string(e.str(awsAsked + "/authFlow")); f == "REFRESH_TOKEN_AUTH" || f == "REFRESH_TOKEN" {
			event = "renew"
		}
	case "Token_POST", "GetTokensFromRefreshToken":
		event = "issue"
	case "RevokeToken", "GlobalSignOut", "AdminUserGlobalSignOut":
		event = "revoke"
	default:
		return false
	}
	e.r.Set(record.CredentialEventOp, event, "/eventName")
	e.r.Set(record.CredentialKind, "cognito_token", "")
	e.r.SetAbsent("authority.credential.id", record.Redacted)
	e.set(record.CredentialAudience, awsAsked+"/clientId")
	return true
}

// awsUsed puts the credential that the call was made with at the end of delegation.
func (e *event) awsUsed() {
	who, prov := e.str(awsUser+"/arn"), awsUser+"/arn"
	for _, p := range [...]string{awsFor + "/userId", awsUser + "/userName", awsUser + "/invokedBy", awsUser + "/principalId"} {
		if len(who) == 0 {
			who, prov = e.str(p), p
		}
	}
	cred := e.str(awsUser + "/accessKeyId")
	for _, p := range [...]string{awsUser + "/credentialId", awsAsked + "/sAMLAssertionID"} {
		if len(cred) == 0 {
			cred = e.str(p)
		}
	}
	if anonymous(who) || string(who) == awsHidden || bytes.Equal(who, e.str(awsUser+"/accountId")) {
		return
	}
	e.delegate(record.Delegation{
		Principal: e.text(who), Credential: e.text(cred),
		Audience: e.text(e.str(awsAsked + "/roleArn")), Expires: e.r.Get(record.CredentialExpires),
	}, prov)
}

// awsInstant sets an Instant in any of the forms that CloudTrail writes.
func (e *event) awsInstant(f record.Field, path string) int64 {
	if path == "" {
		return 0
	}
	if ns := e.instant(f, path); ns != 0 {
		return ns
	}
	v := e.str(path)
	if len(v) == 0 {
		return 0
	}
	// STS: "Nov 23, 2026, 3:02:07 PM", the second comma being newer; session
	// contexts of old: "20131102T010628Z".
	for _, layout := range [...]string{"Jan 2, 2006, 3:04:05 PM", "Jan 2, 2006 3:04:05 PM", "20060102T150405Z"} {
		if ns, ok := parseLayout(v, layout, nil); ok {
			e.r.Set(f, instant(ns), path)
			return ns
		}
	}
	return 0
}
