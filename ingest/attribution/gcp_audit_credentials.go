package attribution

import (
	"bytes"
	"slices"
	"strings"

	"custody/ingest/record"
)

// gcpIssues are the methods that hand out credentials, with their kind.
var gcpIssues = map[string]struct{ op, kind string }{
	"GenerateAccessToken":     {"issue", "gcp_access_token"},
	"GenerateIdToken":         {"issue", "gcp_id_token"},
	"SignJwt":                 {"issue", "gcp_signed_jwt"},
	"SignBlob":                {"issue", "gcp_signed_blob"},
	"ExchangeToken":           {"exchange", "gcp_federated_token"},
	"CreateServiceAccountKey": {"issue", "gcp_service_account_key"},
	"UploadServiceAccountKey": {"issue", "gcp_service_account_key"},
}

// gcpKeyRoot makes the name of a key the full resource name that
// authenticationInfo.serviceAccountKeyName shows when the key is used.
const gcpKeyRoot = "//iam.googleapis.com/"

// credential fills the credential: of a call that issued or revoked one that one
// (the one used stands in delegation), else the one used.
func (g *gcp) credential() {
	r := g.r
	used, kind := g.used()
	short := g.short
	// gcloud's discovery name of the method, google.iam.admin.v1.CreateServiceAccountKey
	// and iam.serviceAccountKeys.create are the same.
	switch g.method {
	case "iam.serviceAccountKeys.create":
		short = "CreateServiceAccountKey"
	case "iam.serviceAccountKeys.delete":
		short = "DeleteServiceAccountKey"
	}
	issue, issues := gcpIssues[short]
	switch {
	case r.Get(record.OutcomeStatus) != record.Success:
	case issues && issue.kind == "gcp_service_account_key":
		r.Set(record.CredentialEventOp, issue.op, g.at("/methodName"))
		r.Set(record.CredentialKind, issue.kind, "")
		r.Set(record.CredentialIssuer, "google", "")
		g.keyID("/response/name")
		g.validity(record.CredentialIssued, "/response/validAfterTime", "/response/valid_after_time")
		g.validity(record.CredentialExpires, "/response/validBeforeTime", "/response/valid_before_time")
		g.put(record.CredentialAudience, g.account(), g.at("/resourceName"))
		g.handUsed(used, nil)
		return
	case issues && (g.service == "" || g.service == "iamcredentials.googleapis.com" || g.service == "sts.googleapis.com" || g.service == "iam.googleapis.com"):
		g.token(issue.op, issue.kind, used)
		return
	case short == "DeleteServiceAccountKey", short == "DisableServiceAccountKey":
		r.Set(record.CredentialEventOp, "revoke", g.at("/methodName"))
		r.Set(record.CredentialKind, "gcp_service_account_key", "")
		r.Set(record.CredentialIssuer, "google", "")
		if short == "DisableServiceAccountKey" {
			r.Set(record.CredentialEventCause, "disabled", g.at("/methodName"))
		}
		g.keyID("/request/name", "/resourceName")
		g.handUsed(used, nil)
		return
	case g.service == "apikeys.googleapis.com" && (short == "CreateKey" || short == "DeleteKey"):
		op, name := "issue", "/response/name"
		if short == "DeleteKey" {
			op, name = "revoke", "/request/name"
		}
		if g.fill(record.CredentialID, name) != nil {
			r.Set(record.CredentialEventOp, op, g.at("/methodName"))
			r.Set(record.CredentialKind, "gcp_api_key", "")
			r.Set(record.CredentialIssuer, "google", "")
			g.handUsed(used, nil)
			return
		}
	}
	if len(used) > 0 {
		r.Set(record.CredentialID, used, kind)
		r.Set(record.CredentialIssuer, "google", "")
		r.Set(record.CredentialKind, "gcp_access_token", "")
		if kind == g.at("/authenticationInfo/serviceAccountKeyName") {
			r.Set(record.CredentialKind, "gcp_service_account_key", "")
		}
	}
}

// used is the credential that came with the call, and where it stands. A token
// is only ever shown by its digest.
func (g *gcp) used() (id, prov string) {
	const key, token = "/authenticationInfo/serviceAccountKeyName", "/authenticationInfo/loggableShortLivedCredential"
	if v := g.member(token); len(v) > 0 {
		id, prov = g.text(fingerprint(v)), g.at(token)
	}
	if v := g.member(key); len(v) > 0 {
		if id != "" {
			g.add(record.Attributes, g.cat([]byte("token="), []byte(id)), prov)
		}
		return g.text(v), g.at(key)
	}
	if id == "" {
		const auth = "/requestMetadata/requestAttributes/auth/credentialId"
		if v := g.member(auth); len(v) > 0 {
			return g.text(v), g.at(auth)
		}
	}
	return id, prov
}

// handUsed says with which credential the caller got another.
func (g *gcp) handUsed(used string, scopes []string) {
	who := g.r.Get(record.ExecutorID)
	if who == "" && used == "" {
		return
	}
	g.delegate(record.Delegation{
		Principal: who, Credential: used, Scopes: scopes,
		Audience: g.r.Get(record.CredentialAudience), Expires: g.r.Get(record.CredentialExpires),
	}, g.r.Prov(record.ExecutorID))
}

// account is the service account that the call is about: its email if the log
// shows it, else its number.
func (g *gcp) account() []byte {
	const mark = "/serviceAccounts/"
	var number []byte
	for _, p := range [...]string{g.at("/request/name"), g.at("/resourceName"), g.at("/request/resource")} {
		_, v, ok := bytes.Cut(g.str(p), []byte(mark))
		if !ok {
			continue
		}
		v, _, _ = bytes.Cut(v, []byte("/"))
		if bytes.IndexByte(v, '@') > 0 {
			return v
		}
		number = v
	}
	if v := g.str("/resource/labels/email_id"); len(v) > 0 {
		return v
	}
	return number
}

// keyID makes the credential the key that the name at one of the pointers ends in.
func (g *gcp) keyID(pointers ...string) {
	for _, p := range pointers {
		name := g.member(p)
		i := bytes.LastIndex(name, []byte("/keys/"))
		if i < 0 {
			continue
		}
		key := name[i:]
		email, project := g.str("/resource/labels/email_id"), g.str("/resource/labels/project_id")
		if bytes.IndexByte(name[:i], '@') > 0 && !bytes.HasPrefix(name, []byte("projects/-/")) || len(email) == 0 || len(project) == 0 {
			name = bytes.TrimPrefix(name, []byte(gcpKeyRoot))
		} else {
			// The account stands there by its number: name it as its uses do.
			name = g.cat([]byte("projects/"), project, []byte("/serviceAccounts/"), email, key)
		}
		g.put(record.CredentialID, g.cat([]byte(gcpKeyRoot), name), g.at(p))
		return
	}
}

// validity reads a time as a string or as {"seconds":…}. One that never comes is left out.
func (g *gcp) validity(f record.Field, pointers ...string) {
	for _, p := range pointers {
		if v := g.member(p + "/seconds"); len(v) > 0 && len(v) <= 10 {
			g.instant(f, g.at(p+"/seconds"))
			return
		}
		if v := g.member(p); len(v) > 0 {
			if !bytes.HasPrefix(v, []byte("9999-")) {
				g.instant(f, g.at(p))
			}
			return
		}
	}
}

// token describes a token that was issued: for which account or audience, with
// which scopes, for how long. The token itself is not in the log.
func (g *gcp) token(op, kind, used string) {
	r := g.r
	r.Set(record.CredentialEventOp, op, g.at("/methodName"))
	r.Set(record.CredentialKind, kind, "")
	r.Set(record.CredentialIssuer, "google", "")
	r.Set(record.EffectChanged, record.No, g.at("/methodName")) // a token is no state
	account := g.text(g.account())
	// The mark of a Google token in an exchange, or where an account stands as the
	// caller of its own issuing, is the token that was issued.
	if strings.HasPrefix(used, "sha256:") && (op == "exchange" || account != "" && account == r.Get(record.ExecutorID)) {
		r.Set(record.CredentialID, used, g.at("/authenticationInfo/loggableShortLivedCredential"))
		used = ""
	}
	if op == "exchange" {
		g.fill(record.CredentialAudience, "/request/audience", "/resourceName")
	} else {
		g.put(record.CredentialAudience, []byte(account), g.at("/resourceName"))
	}
	if kind == "gcp_id_token" {
		g.fill(record.CredentialAudience, "/request/audience")
	}
	if v, ok := bytes.CutSuffix(g.member("/request/lifetime"), []byte("s")); ok {
		g.number(record.CredentialTTL, v, g.at("/request/lifetime"))
	} else {
		g.number(record.CredentialTTL, g.member("/request/lifetime/seconds"), g.at("/request/lifetime/seconds"))
	}
	g.instant(record.CredentialExpires, g.at("/response/expireTime"), g.at("/response/expire_time"))
	p := g.at("/request/scope")
	if n := g.find(p); n != 0 && g.doc.kindOf(n) != kindArray {
		for s := range bytes.FieldsSeq(g.value(n)) {
			g.add(record.AuthorityScopes, s, p)
		}
	} else {
		g.list(record.AuthorityScopes, p)
	}
	scopes := slices.Clone(g.listed(record.AuthorityScopes))
	if op == "exchange" {
		const subject = "/authenticationInfo/principalSubject"
		if v := g.member(subject); len(v) > 0 {
			g.delegate(record.Delegation{Principal: g.text(v), Credential: used, Scopes: scopes, Audience: r.Get(record.ExecutorID)}, g.at(subject))
		}
		return
	}
	// The caller acts through the delegates, each of which impersonates the next.
	hops := []string{r.Get(record.ExecutorID)}
	if n := g.find(g.at("/request/delegates")); n != 0 && g.doc.kindOf(n) == kindArray {
		for c := g.doc.first(n); c != 0 && len(hops) < 32; c = g.doc.next(c) {
			v := g.value(c)
			v = v[bytes.LastIndexByte(v, '/')+1:]
			if len(v) > 0 {
				hops = append(hops, g.text(v))
			}
		}
	}
	for i, h := range hops {
		d := record.Delegation{Principal: h, Audience: account, Scopes: scopes, Expires: r.Get(record.CredentialExpires)}
		if i+1 < len(hops) {
			d.Audience, d.Scopes = hops[i+1], nil
		}
		prov := g.at("/request/delegates")
		if i == 0 {
			d.Credential, prov = used, r.Prov(record.ExecutorID)
		}
		if h != "" || d.Credential != "" {
			g.delegate(d, prov)
		}
	}
}
