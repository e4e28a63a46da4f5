package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// envoyPeer: the peer of the connection, which proved itself with a certificate,
// acted. Of the elements of x-forwarded-client-cert the last is this proxy's own
// peer; those in front of it are what that peer said of its callers.
func (e *event) envoyPeer(a *access) {
	r := e.r
	hops := xfcc(a.xfcc.v)
	peer, prov := a.peer.v, a.peer.prov
	if len(hops) > 0 {
		last := &hops[len(hops)-1]
		if peer == nil {
			peer, prov = last.uri, a.xfcc.prov
		}
		if a.subject.v == nil {
			a.subject = said{last.subject, a.xfcc.prov}
		}
		e.put(record.ActionServer, last.by, a.xfcc.prov)
		if len(last.hash) == 64 {
			a.fingerprint = said{last.hash, a.xfcc.prov}
		}
		for i := range hops[:len(hops)-1] {
			h := &hops[i]
			who := h.uri
			if len(who) == 0 {
				who = h.subject
			}
			d := record.Delegation{Principal: e.text(who), Audience: e.text(h.by)}
			if id := digestID(h.hash); id != nil {
				d.Credential = e.text(id)
			}
			if d.Principal != "" {
				e.delegate(d, a.xfcc.prov)
			}
		}
	}
	if first, _, ok := bytes.Cut(peer, []byte(",")); ok { // several names of one certificate
		peer = first
	}
	switch {
	case len(peer) > 0:
		typ := record.Workload
		if principalType(string(peer)) == record.Agent && !bytes.Contains(peer, []byte("/ns/")) {
			typ = record.Agent // a namespace called "agents" says nothing
		}
		e.executor(typ, peer, prov)
		if bytes.HasPrefix(peer, []byte("spiffe://")) {
			e.put(record.ExecutorSPIFFEID, peer, prov)
			r.Set(record.ExecutorIDKind, "spiffe", "")
			domain, _, _ := bytes.Cut(peer[len("spiffe://"):], []byte("/"))
			e.put(record.ExecutorIssuer, domain, prov)
		} else {
			r.Set(record.ExecutorIDKind, "x509_uri", "")
		}
		e.put(record.ExecutorName, a.subject.v, a.subject.prov)
	case a.subject.has():
		e.executor(record.Unknown, a.subject.v, a.subject.prov)
		r.Set(record.ExecutorIDKind, "x509_subject", "")
	}
	switch {
	case a.fingerprint.has():
		id := digestID(a.fingerprint.v)
		if id == nil {
			id = a.fingerprint.v
		}
		e.put(record.CredentialID, id, a.fingerprint.prov)
		r.Set(record.CredentialKind, "x509", "")
	case a.serial.has():
		e.tell(record.CredentialID, a.serial)
		r.Set(record.CredentialKind, "x509", "")
	}
	if a.xfcc.has() && a.peer.v == nil && len(hops) > 0 {
		// Only this proxy's configuration tells whether it made the header or passed it on.
		e.claimed = true
	}
}

// certHop is one element of x-forwarded-client-cert.
type certHop struct{ by, hash, subject, uri []byte }

// xfcc splits the header: elements by commas, pairs by semicolons, values perhaps quoted.
func xfcc(b []byte) (hops []certHop) {
	var h certHop
	any := false
	for i := 0; i < len(b) && len(hops) < 32; {
		eq := bytes.IndexByte(b[i:], '=')
		if eq < 0 {
			break
		}
		key := strings.TrimSpace(string(b[i:min(i+eq, i+16)]))
		i += eq + 1
		start := i
		var val []byte
		if i < len(b) && b[i] == '"' {
			start++
			for i++; i < len(b) && b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
			val = b[start:min(i, len(b))]
			i++
		}
		for i < len(b) && b[i] != ';' && b[i] != ',' {
			i++
		}
		if val == nil {
			val = b[start:min(i, len(b))]
		}
		any = true
		switch strings.ToLower(key) {
		case "by":
			h.by = val
		case "hash":
			h.hash = val
		case "subject":
			h.subject = val
		case "uri":
			if h.uri == nil {
				h.uri = val
			}
		}
		if i >= len(b) || b[i] == ',' {
			hops = append(hops, h)
			h, any = certHop{}, false
		}
		i++
	}
	if any {
		hops = append(hops, h)
	}
	return hops
}

// envoyClaims finds the verified claims of a token in dynamic metadata: the proxy
// checked its signature.
func (e *event) envoyClaims() {
	r := e.r
	at, pointer := e.claims()
	if at == 0 {
		for _, p := range [...]string{"/x-forwarded-user", "/x_forwarded_user", "/x-auth-request-email", "/x-auth-request-user", "/x-goog-authenticated-user-email"} {
			if v := e.str(p); len(v) > 0 {
				e.requester(principalType(string(v)), v, p, fromParam)
				r.Set(record.RequesterIDKind, "header", "")
				return
			}
		}
		return
	}
	claim := func(name string) said {
		return said{e.value(e.doc.get(at, name)), pointer + "/" + name}
	}
	e.jwtClaims(claim)
}

// jwtClaims fills principals and the credential from a token's verified claims. A
// token that a client got for itself names no requester.
func (e *event) jwtClaims(claim func(string) said) {
	r := e.r
	sub, client := claim("sub"), claim("client_id").or(claim("azp")).or(claim("appid"))
	own := sub.has() && (bytes.Equal(sub.v, client.v) || string(claim("gty").v) == "client-credentials" || string(claim("idtyp").v) == "app" || bytes.HasSuffix(sub.v, []byte("@clients")))
	switch {
	case own:
		if !r.Has(record.ExecutorID) {
			e.executor(record.ServiceAccount, sub.v, sub.prov)
			r.Set(record.ExecutorIDKind, "oauth_client", "")
			e.tell(record.ExecutorIssuer, claim("iss"))
		}
	case sub.has():
		typ := principalType(string(sub.v))
		mail := claim("email").or(claim("preferred_username"))
		if typ == record.Unknown && principalType(string(mail.v)) == record.Person {
			typ = record.Person
		}
		e.requester(typ, sub.v, sub.prov, fromLogin)
		r.Set(record.RequesterIDKind, "jwt_sub", "")
		e.tell(record.RequesterName, mail)
		e.tell(record.RequesterIssuer, claim("iss"))
		if client.has() && !r.Has(record.ExecutorID) {
			e.executor(record.ServiceAccount, client.v, client.prov)
			r.Set(record.ExecutorIDKind, "oauth_client", "")
			e.tell(record.ExecutorIssuer, claim("iss"))
		}
	}
	if id := claim("jti").or(claim("uti")); id.has() {
		if r.Has(record.CredentialID) { // the certificate carried the call, the token the authority
			d := record.Delegation{Principal: r.Get(record.RequesterID), Credential: e.text(id.v), Audience: e.text(claim("aud").v)}
			if ns, ok := parseTime(claim("exp").v, e.src.Zone); ok {
				d.Expires = instant(ns)
			}
			if d.Principal != "" {
				e.delegate(d, id.prov)
			}
		} else {
			e.tell(record.CredentialID, id)
			r.Set(record.CredentialKind, "jwt", "")
			e.tell(record.CredentialIssuer, claim("iss"))
			e.tell(record.CredentialAudience, claim("aud"))
			if ns, ok := parseTime(claim("exp").v, e.src.Zone); ok {
				r.Set(record.CredentialExpires, instant(ns), claim("exp").prov)
			}
		}
	}
	if s := claim("scope").or(claim("scp")); s.has() {
		for w := range bytes.FieldsSeq(s.v) {
			e.add(record.AuthorityScopes, w, s.prov)
		}
	}
}

// claims is the object that holds a token's claims, and its pointer.
func (e *event) claims() (int32, string) {
	t := &e.doc
	for _, p := range [...]string{"/jwt", "/jwt_payload", "/jwt_claims", "/claims", "/dynamic_metadata/envoy.filters.http.jwt_authn", "/metadata/envoy.filters.http.jwt_authn", "/envoy.filters.http.jwt_authn", "/jwt_authn"} {
		n := 0
		at := e.find(p)
		for at != 0 && t.kindOf(at) == kindObject && n < 3 {
			if t.get(at, "sub") != 0 || t.get(at, "iss") != 0 {
				return at, p
			}
			at = t.first(at)
			if at != 0 {
				p = string(appendSegment([]byte(p+"/"), t.keyOf(at)))
			}
			n++
		}
	}
	return 0, ""
}
