package attribution

import (
	"bytes"

	"custody/ingest/record"
)

// sshd decodes the messages of OpenSSH's server: logins and their refusal. The
// rest of its messages are kept as text.
func sshd() format {
	return format{
		name: "sshd", product: "OpenSSH", issuer: "sshd",
		shape: shapeText,
		match: func(e *event) bool {
			a := string(e.env.app)
			return a == "sshd" || a == "sshd-session" || a == "sshd-auth"
		},
		decode: decodeSSHD,
	}
}

// after returns what stands behind prefix.
func after(b []byte, prefix string) ([]byte, bool) { return bytes.CutPrefix(b, []byte(prefix)) }

func decodeSSHD(e *event) {
	m := bytes.TrimSpace(e.payload)
	m, _ = after(m, "error: ")
	r := e.r
	if rest, ok := after(m, "Accepted "); ok {
		e.sshLogin(rest, record.Success)
		return
	}
	if rest, ok := after(m, "Failed "); ok {
		e.sshLogin(rest, record.Failure)
		return
	}
	if rest, ok := after(m, "Postponed "); ok {
		e.sshLogin(rest, record.Unknown)
		return
	}
	if rest, ok := after(m, "maximum authentication attempts exceeded for "); ok {
		e.sshUser(rest, " from ")
		e.sshAction("login", record.Denied)
		r.Set(record.DecisionReason, "maximum authentication attempts exceeded", "/message")
		return
	}
	if rest, ok := after(m, "Invalid user "); ok {
		e.sshUser(rest, " from ")
		e.sshAction("login", record.Failure)
		r.Set(record.OutcomeDetail, "invalid user", "/message")
		return
	}
	if rest, ok := after(m, "User "); ok {
		if i := bytes.Index(rest, []byte(" not allowed because ")); i > 0 {
			e.sshUser(rest[:i], " from ")
			e.sshAction("login", record.Denied)
			r.Set(record.DecisionEffect, record.Deny, "/message")
			e.put(record.DecisionReason, rest[i+len(" not allowed because "):], "/reason")
			return
		}
	}
	for _, p := range []string{"Disconnected from user ", "Connection closed by authenticating user ", "Disconnected from authenticating user "} {
		if rest, ok := after(m, p); ok {
			e.sshUser(rest, " ")
			op, status := "logout", record.Success
			if p[0] == 'C' || bytes.Contains(m, []byte("[preauth]")) {
				op, status = "login", record.Failure
			}
			e.sshAction(op, status)
			return
		}
	}
	if e.pamSession(m) {
		return
	}
	e.noDecide = true
}

// sshLogin reads "publickey for alice from 10.0.0.1 port 52144 ssh2: ED25519
// SHA256:… [ID cert-id (serial 7) CA …]".
func (e *event) sshLogin(m []byte, status string) {
	r := e.r
	method, rest, ok := bytes.Cut(m, []byte(" for "))
	if !ok {
		return
	}
	e.sshAction("login", status)
	method, _, _ = bytes.Cut(method, []byte("/"))
	rest, _ = after(rest, "invalid user ")
	// A name can hold blanks and " from "; the address is behind the last one.
	head, key, _ := bytes.Cut(rest, []byte(" ssh2"))
	e.sshUser(head, " from ")
	e.put(record.CredentialKind, e.cat([]byte("ssh_"), method), "/method")
	if status == record.Success {
		r.Set(record.DecisionEffect, record.Allow, "/message")
	}
	key, ok = after(key, ": ")
	if !ok {
		return
	}
	algorithm, key, _ := bytes.Cut(key, []byte(" "))
	print, key, _ := bytes.Cut(key, []byte(" "))
	e.put(record.CredentialID, print, "/fingerprint")
	if bytes.HasSuffix(algorithm, []byte("-CERT")) {
		r.Set(record.CredentialKind, "ssh_certificate", "/algorithm")
	}
	key, ok = after(key, "ID ")
	if !ok {
		return
	}
	// The identity is what the certificate authority signed; it may hold blanks.
	i := bytes.LastIndex(key, []byte(" (serial "))
	if i <= 0 || status != record.Success {
		return
	}
	id := key[:i]
	e.requester(principalType(string(id)), id, "/certificate_id", fromLogin)
	r.Set(record.RequesterIDKind, "ssh_certificate_id", "")
	if _, ca, ok := bytes.Cut(key[i:], []byte(" CA ")); ok {
		if _, print, ok := bytes.Cut(ca, []byte(" ")); ok {
			e.put(record.CredentialIssuer, print, "/ca")
			e.put(record.RequesterIssuer, print, "/ca")
		}
	}
	e.delegate(record.Delegation{
		Principal: r.Get(record.RequesterID), Credential: r.Get(record.CredentialID),
		Audience: r.Get(record.ExecutorLocalAccount),
	}, "/certificate_id")
}

// sshUser reads "alice from 10.0.0.1 port 52144".
func (e *event) sshUser(m []byte, sep string) {
	user, rest := m, []byte(nil)
	if i := bytes.LastIndex(m, []byte(" port ")); i > 0 {
		if j := bytes.LastIndex(m[:i], []byte(sep)); j >= 0 {
			user, rest = m[:j], m[j+len(sep):i]
		}
	} else if j := bytes.LastIndex(m, []byte(sep)); j >= 0 {
		user, rest = m[:j], m[j+len(sep):]
	}
	e.put(record.SourceAddress, rest, "/address")
	e.executor(record.Unknown, user, "/user")
	e.put(record.ExecutorLocalAccount, user, "/user")
	e.r.Set(record.ExecutorIDKind, "local_account", "")
}

func (e *event) sshAction(op, status string) {
	r := e.r
	e.noDecide = true
	r.Set(record.ActionService, "ssh", "")
	r.Set(record.ActionOperation, op, "/message")
	r.Set(record.OutcomeStatus, status, "/message")
	r.Set(record.TargetType, "host", "")
	e.put(record.TargetID, e.env.host, "header:HOSTNAME")
	e.claimed = status != record.Success
	r.Set(record.EffectChanged, record.No, "")
}

// pamSession reads "pam_unix(sudo:session): session opened for user
// root(uid=0) by alice(uid=1000)".
func (e *event) pamSession(m []byte) bool {
	if !bytes.HasPrefix(m, []byte("pam_")) {
		return false
	}
	_, m, ok := bytes.Cut(m, []byte("): session "))
	if !ok {
		return false
	}
	op, rest, ok := bytes.Cut(m, []byte(" for user "))
	if !ok || string(op) != "opened" && string(op) != "closed" {
		return false
	}
	r := e.r
	user, by, _ := bytes.Cut(rest, []byte(" by "))
	user, _, _ = bytes.Cut(user, []byte("("))
	e.noDecide = true
	e.executor(record.Unknown, user, "/user")
	e.put(record.ExecutorLocalAccount, user, "/user")
	r.Set(record.ExecutorIDKind, "local_account", "")
	by, _, _ = bytes.Cut(by, []byte("("))
	if string(e.env.app) == "sudo" && len(by) > 0 {
		e.requester(record.Unknown, by, "/by", fromLogin)
		r.Set(record.RequesterIDKind, "local_account", "")
	}
	r.Set(record.ActionService, "pam", "")
	e.put(record.ActionOperation, e.cat([]byte("session_"), op), "/message")
	r.Set(record.OutcomeStatus, record.Success, "/message")
	return true
}
