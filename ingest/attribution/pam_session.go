package attribution

import (
	"bytes"

	"custody/ingest/record"
)

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
	e.localAccount(bytes.TrimSpace(user), "/user")
	by, _, _ = bytes.Cut(by, []byte("("))
	switch string(e.env.app) {
	case "sudo", "su", "pkexec", "doas", "runuser":
		if len(by) > 0 {
			e.requester(record.Unknown, by, "/by", fromLogin)
			r.Set(record.RequesterIDKind, "local_account", "")
		}
	}
	r.Set(record.ActionService, "pam", "")
	e.put(record.ActionOperation, e.cat([]byte("session_"), op), "/message")
	r.Set(record.OutcomeStatus, record.Success, "/message")
	return true
}

// pamFailure reads "pam_unix(sshd:auth): authentication failure; logname= uid=0
// euid=0 tty=ssh ruser= rhost=203.0.113.9  user=root".
func (e *event) pamFailure(m []byte) bool {
	if !bytes.HasPrefix(m, []byte("pam_")) {
		return false
	}
	_, rest, ok := bytes.Cut(m, []byte("authentication failure; "))
	if !ok {
		return false
	}
	r := e.r
	e.noDecide = true
	r.Set(record.ActionService, "pam", "")
	r.Set(record.ActionOperation, "authenticate", "/message")
	r.Set(record.OutcomeStatus, record.Denied, "/message")
	r.Set(record.DecisionEffect, record.Deny, "/message")
	r.Set(record.EffectChanged, record.No, "/message")
	r.Set(record.TargetType, "host", "")
	e.put(record.TargetID, e.env.host, "header:HOSTNAME")
	e.claimed = true
	for f := range bytes.FieldsSeq(rest) {
		k, v, _ := bytes.Cut(f, []byte("="))
		if len(v) == 0 {
			continue
		}
		switch string(k) {
		case "rhost":
			e.put(record.SourceAddress, v, "/rhost")
		case "user":
			e.localAccount(v, "/user")
		case "ruser": // the account of the one who called sudo or su
			e.requester(record.Unknown, v, "/ruser", fromLogin)
			r.Set(record.RequesterIDKind, "local_account", "")
		}
	}
	if !r.Has(record.ExecutorID) {
		r.SetAbsent("executor", record.NotEstablished)
	}
	return true
}
