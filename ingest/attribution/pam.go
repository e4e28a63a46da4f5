package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// What the formats of privileged access management have in common.

// said is a value of a line and where it stands.
type said struct {
	v    []byte
	prov string
}

func (s said) has() bool { return len(s.v) > 0 }

// or is s, or t when s is empty.
func (s said) or(t said) said {
	if s.has() {
		return s
	}
	return t
}

// says is the value of the first pointer that has one.
func (e *event) says(pointers ...string) said {
	for _, p := range pointers {
		if v := e.str(p); len(v) > 0 {
			return said{v, p}
		}
	}
	return said{}
}

// tell sets f to what was said.
func (e *event) tell(f record.Field, s said) { e.put(f, s.v, s.prov) }

// attest adds the attribute "name=what was said".
func (e *event) attest(name string, s said) {
	if s.has() {
		e.add(record.Attributes, e.cat([]byte(name), []byte("="), s.v), s.prov)
	}
}

// servicePrefixes begin names that administrators give to what is no person.
var servicePrefixes = [...]string{"svc", "service", "srv", "sa-", "sa_", "app-", "app_", "api-", "api_", "bot-", "bot_", "robot", "system", "installeruser", "automation"}

// loginType is the type of a principal that a product knows by a login only: an
// address is a person's unless its name says that it is none; all else is
// unknown, since products give the same kind of account to scripts.
func loginType(id []byte) string {
	typ := principalType(string(id))
	if typ != record.Person {
		return typ
	}
	name := strings.ToLower(string(id))
	for _, p := range servicePrefixes {
		if strings.HasPrefix(name, p) {
			return record.Unknown
		}
	}
	return typ
}

// ownLogin names somebody who acted in the product by an own login: it is the one
// who acted, and nobody else asked.
func (e *event) ownLogin(who said, kind, issuer string) {
	e.loginAs(loginType(who.v), who, kind, issuer)
}

func (e *event) loginAs(typ string, who said, kind, issuer string) {
	if !who.has() {
		return
	}
	e.actor(typ, who, kind, issuer)
	e.asker(typ, who, kind, issuer, fromLogin)
}

// tenant takes the customer of the product that the principals belong to.
func (e *event) tenant(pointer string) {
	if e.r.Has(record.RequesterID) {
		e.set(record.RequesterTenant, pointer)
		return
	}
	e.attest("tenant", e.says(pointer))
}

// refused says that a login was refused: the principals are only who somebody said to be.
func (e *event) refused() { e.claimed, e.reqProof = true, fromParam }

// actor names who acted.
func (e *event) actor(typ string, who said, kind, issuer string) {
	if !who.has() {
		return
	}
	e.executor(typ, who.v, who.prov)
	e.r.Set(record.ExecutorIDKind, kind, "")
	e.r.Set(record.ExecutorIssuer, issuer, "")
}

// asker names who asked.
func (e *event) asker(typ string, who said, kind, issuer string, how proof) {
	if !who.has() {
		return
	}
	e.requester(typ, who.v, who.prov, how)
	e.r.Set(record.RequesterIDKind, kind, "")
	e.r.Set(record.RequesterIssuer, issuer, "")
}

// account says that the requester worked on host with an account there, which is
// then who acted.
func (e *event) account(account, host said, credential string) {
	if !account.has() {
		return
	}
	r := e.r
	e.executor(record.Unknown, account.v, account.prov)
	r.Set(record.ExecutorIDKind, "local_account", "")
	r.Unset(record.ExecutorIssuer)
	r.Unset(record.ExecutorInstance)
	e.tell(record.ExecutorIssuer, host)
	e.tell(record.ExecutorLocalAccount, account)
	if r.Has(record.RequesterID) {
		e.delegate(record.Delegation{
			Principal: r.Get(record.RequesterID), Credential: credential, Audience: r.Get(record.ExecutorID),
		}, r.Prov(record.RequesterID))
	}
}

// words finds any of the words in an operation's name, whatever its case.
func words(op []byte, list ...string) bool {
	for _, w := range list {
		if containsFold(op, w) {
			return true
		}
	}
	return false
}

// containsFold is bytes.Contains for ASCII in lower case, ignoring case.
func containsFold(b []byte, low string) bool {
	for i := 0; i+len(low) <= len(b); i++ {
		if b[i]|0x20 == low[0]|0x20 && strings.EqualFold(string(b[i:i+len(low)]), low) {
			return true
		}
	}
	return false
}

// status sets the outcome, and what follows from a refusal: nothing changed.
func (e *event) status(s, prov string) {
	r := e.r
	r.Set(record.OutcomeStatus, s, prov)
	switch s {
	case record.Denied:
		if !r.Has(record.DecisionEffect) {
			r.Set(record.DecisionEffect, record.Deny, prov)
		}
		r.Set(record.EffectChanged, record.No, prov)
	case record.Failure:
		r.Set(record.EffectChanged, record.No, prov)
	}
}

// address tells an IP address from a name.
func address(v []byte) bool {
	if len(v) < 2 || len(v) > 64 {
		return false
	}
	sep := false
	for _, c := range v {
		switch {
		case c-'0' < 10, c|0x20 >= 'a' && c|0x20 <= 'f':
		case c == '.' || c == ':':
			sep = true
		default:
			return false
		}
	}
	return sep && (bytes.IndexByte(v, ':') >= 0 || bytes.Count(v, []byte(".")) == 3)
}

// dequoted takes the quotes off a value that stands in them whole.
func dequoted(v []byte) []byte {
	if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
		return v[1 : len(v)-1]
	}
	return v
}

// stands reports whether the key is among the pairs, with one value or several.
func (e *event) stands(key string) bool {
	for i := range e.pairs {
		if string(e.pairs[i].key) == key {
			return true
		}
	}
	return false
}
