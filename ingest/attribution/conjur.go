package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// conjurAudit and conjurJSON decode the audit log of Conjur (open source, and
// Secrets Manager Self-Hosted): RFC 5424 with the elements auth, subject, action,
// client and policy of CyberArk's enterprise number 43868, and audit.json, which
// holds the same elements as objects. Conjur Cloud reports through CyberArk's
// audit service, which the format cyberark reads.
func conjurAudit() format {
	return format{
		name: "conjur", product: "Conjur", issuer: "conjur",
		shape: shapeText,
		match: func(e *event) bool {
			for i := range e.env.sd {
				if bytes.HasSuffix(e.env.sd[i].id, []byte("@43868")) {
					return true
				}
			}
			return e.src.Format == "conjur" && string(e.env.app) == "conjur"
		},
		decode: func(e *event) { e.conjur(e.payload, "") },
		guide: guide{
			userSet: []string{
				"/message: repeats what the client sent in failures; only the code and the text behind it are read from it",
				"sd:client@43868/ip: behind a load balancer the address is what `X-Forwarded-For` says, unless `TRUSTED_PROXIES` is set",
			},
			emit: map[Part]string{
				PartRequester:  "`auth@43868 user` when it is a user (`account:user:name`); for a host nobody is named: give the workload's own log the request id of who it works for",
				PartExecutor:   "`auth@43868 user`, always there: a user or a host (`account:host:name`)",
				PartTool:       "`action@43868 operation` and `auth@43868 authenticator`",
				PartPermission: "`subject@43868 privilege` of a check; fetching needs `execute`, updating `update`",
				PartDecision:   "a check's `result`; `policy@43868 id` and `version` name the policy that was loaded, not the one that allowed",
				PartOutcome:    "`action@43868 result`, with Conjur's error code in the text",
				PartChain:      "not in the log; the address and time tie an authentication to what follows",
			},
		},
	}
}

func conjurJSON() format {
	return format{
		name: "conjur", product: "Conjur", issuer: "conjur",
		shape: shapeJSON,
		keys:  []string{"auth@43868", "action@43868", "subject@43868"},
		match: func(e *event) bool {
			return e.doc.get(e.root, "auth@43868") != 0 || e.doc.get(e.root, "action@43868") != 0 || e.doc.get(e.root, "subject@43868") != 0
		},
		decode: func(e *event) {
			e.time("/ISODATE", "/timestamp", "/TIMESTAMP", "/time")
			if e.env.host == nil {
				e.set(record.SourceHost, "/HOST", "/hostname")
			}
			e.set(record.Message, "/MESSAGE", "/message")
			e.conjur(e.says("/MESSAGE", "/message").v, "/MESSAGE")
		},
	}
}

// conj is a parameter of an element, from structured data or from JSON.
func (e *event) conj(path string) said {
	if e.isJSON {
		return e.says("/" + path)
	}
	return said{e.env.param(path), "sd:" + path}
}

// conjurRole splits account:kind:id.
func conjurRole(v []byte) (account, kind, id []byte) {
	account, rest, ok := bytes.Cut(v, []byte(":"))
	if !ok {
		return nil, nil, v
	}
	kind, id, ok = bytes.Cut(rest, []byte(":"))
	if !ok {
		return nil, nil, v
	}
	return account, kind, id
}

func (e *event) conjur(text []byte, textProv string) {
	r := e.r
	e.noDecide, e.noPolVer = true, true
	r.Set(record.ActionService, "conjur", "")
	r.Set(record.EffectSystem, "conjur", "")
	op, result := e.conj("action@43868/operation"), e.conj("action@43868/result")
	e.tell(record.ActionOperation, op)
	e.tell(record.ActionTool, e.conj("auth@43868/authenticator"))
	e.tell(record.ActionServer, e.conj("auth@43868/service"))
	e.tell(record.SourceAddress, e.conj("client@43868/ip"))
	e.attest("policy", e.conj("policy@43868/id"))
	e.attest("policy_version", e.conj("policy@43868/version"))
	if textProv == "" {
		textProv = "/message"
	}
	e.conjurOutcome(op, result, text, textProv)
	e.conjurTarget(op)
	e.conjurWho(op)
}

func (e *event) conjurOutcome(op, result said, text []byte, prov string) {
	r := e.r
	failed := string(result.v) == "failure"
	if at := bytes.Index(text, []byte("CONJ0")); failed && at >= 0 {
		end := at
		for end < len(text) && end-at < 12 && (text[end] >= 'A' && text[end] <= 'Z' || text[end]-'0' < 10) {
			end++
		}
		e.put(record.OutcomeCode, text[at:end], prov)
		e.put(record.OutcomeDetail, bytes.TrimSpace(text[end:]), prov)
	} else if _, why, ok := bytes.Cut(text, []byte(": ")); failed && ok {
		e.put(record.OutcomeDetail, bytes.TrimSpace(why), prov)
	}
	switch o := string(op.v); {
	case o == "check":
		if failed {
			e.status(record.Denied, result.prov)
			break
		}
		if result.has() {
			r.Set(record.DecisionEffect, record.Allow, result.prov)
			e.status(record.Success, result.prov)
		}
	case failed && (o == "authenticate" || o == "login" || o == "validate-status"), failed && words(text, "forbidden", "unauthorized", "not authorized", "does not have", "permission"):
		e.status(record.Denied, result.prov)
	case failed:
		e.status(record.Failure, result.prov)
	case string(result.v) == "success", result.v == nil && op.has(): // releases before 1.5 logged only what was done
		e.status(record.Success, result.prov)
	}
	if r.Get(record.OutcomeStatus) != record.Success {
		return
	}
	switch string(op.v) {
	case "fetch", "check", "list", "get", "show", "authenticate", "login", "validate-status", "membership", "read":
		r.Set(record.EffectChanged, record.No, op.prov)
	case "update", "add", "change", "remove", "delete", "create", "rotate", "replace", "password", "api_key", "enable", "disable":
		r.Set(record.EffectChanged, record.Yes, op.prov)
	}
}

func (e *event) conjurTarget(op said) {
	r := e.r
	resource, role := e.conj("subject@43868/resource"), e.conj("subject@43868/role")
	member := e.conj("subject@43868/member")
	target := resource.or(role)
	if target.has() && (resource.has() || !bytes.Equal(role.v, e.conj("auth@43868/user").v) || words(op.v, "rotate", "password", "api_key")) {
		e.tell(record.TargetID, target)
		if _, kind, _ := conjurRole(target.v); kind != nil {
			e.put(record.TargetType, kind, target.prov)
			if string(kind) == "variable" {
				r.Set(record.TargetType, "secret", target.prov)
			}
		}
	}
	if resource.has() && role.has() {
		e.attest("role", role)
	}
	e.attest("member", member)
	e.attest("owner", e.conj("subject@43868/owner"))
	switch privilege := e.conj("subject@43868/privilege"); {
	case privilege.has():
		e.tell(record.AuthorityPermission, privilege)
	case string(op.v) == "fetch":
		r.Set(record.AuthorityPermission, "execute", op.prov)
	case string(op.v) == "update":
		r.Set(record.AuthorityPermission, "update", op.prov)
	}
}

// conjurWho: users of Conjur are people and hosts are machines; admin is the
// built-in superuser, which anybody can be.
func (e *event) conjurWho(op said) {
	r := e.r
	who := e.conj("auth@43868/user")
	account, kind, id := conjurRole(who.v)
	switch string(kind) {
	case "user":
		typ := record.Person
		if string(id) == "admin" || loginType(append(bytes.Clone(id), "@x.y"...)) != record.Person {
			typ = record.Unknown
		}
		e.loginAs(typ, who, "conjur_role", "conjur")
		e.put(record.RequesterName, id, who.prov)
		e.put(record.RequesterTenant, account, who.prov)
	case "host":
		e.actor(record.Workload, who, "conjur_role", "conjur")
		r.SetAbsent("requester", record.NotEstablished)
	default:
		e.actor(record.Unknown, who, "conjur_role", "conjur")
	}
	e.put(record.ExecutorName, id, who.prov)
	login := string(op.v) == "authenticate" || string(op.v) == "login"
	switch status := r.Get(record.OutcomeStatus); {
	case login && status != record.Success:
		e.refused()
	case login:
		r.Set(record.CredentialEventOp, "issue", op.prov)
		r.Set(record.CredentialKind, "conjur_token", "")
		if string(op.v) == "login" { // changes a password into the API key
			r.Set(record.CredentialEventOp, "exchange", op.prov)
			r.Set(record.CredentialKind, "api_key", "")
		}
		r.Set(record.CredentialIssuer, "conjur", "")
	case status == record.Success && (strings.Contains(string(op.v), "rotate") || string(op.v) == "api_key"):
		r.Set(record.CredentialEventOp, "renew", op.prov)
		r.Set(record.CredentialKind, "api_key", "")
	}
}
