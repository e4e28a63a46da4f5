package attribution

import (
	"bytes"

	"custody/ingest/record"
)

// sudo decodes what sudo writes to syslog:
// "alice : TTY=pts/0 ; PWD=/home/alice ; USER=root ; COMMAND=/usr/bin/id".
func sudo() format {
	return format{
		name: "sudo", product: "sudo", issuer: "sudo",
		shape:  shapeText,
		match:  func(e *event) bool { return string(e.env.app) == "sudo" },
		decode: decodeSudo,
		guide: guide{
			userSet: []string{
				"/COMMAND: whoever may run sudo chooses the command line, and with it anything that looks like a field after it",
				"/PWD: the directory is the caller's choice",
			},
			emit: map[Part]string{
				PartRequester:  "the account in front of the first colon; it is a person only where people have accounts of their own",
				PartExecutor:   "`USER=`, always there",
				PartTool:       "`COMMAND=`, always there",
				PartPermission: "not in the log: the rule of sudoers that allowed it is not named; `Defaults log_allowed, log_denied` keeps the decision",
				PartDecision:   "the words of the message (`command not allowed`); `Defaults log_denied` is on by default",
				PartOutcome:    "`Defaults log_exit_status` (sudo 1.9.8) adds `EXIT=`",
				PartChain:      "`TSID=` with `Defaults log_input` or `log_output`; auditd's `ses` ties the host's other events",
			},
		},
	}
}

func decodeSudo(e *event) {
	r := e.r
	m := bytes.TrimSpace(e.payload)
	if e.pamSession(m) {
		return
	}
	e.noDecide = true
	user, rest, ok := bytes.Cut(m, []byte(" : "))
	if !ok || bytes.IndexByte(user, '(') >= 0 {
		return // a message about something else
	}
	e.noDecide, e.noPolVer = false, true
	user = bytes.TrimSpace(user)
	e.requester(record.Unknown, user, "/user", fromLogin)
	r.Set(record.RequesterIDKind, "local_account", "")
	e.put(record.RequesterIssuer, e.env.host, "header:HOSTNAME")
	r.Set(record.ActionService, "sudo", "")
	r.Set(record.ActionOperation, "exec", "")

	var reason, target []byte
	for first := true; len(rest) > 0; first = false {
		// COMMAND is the last, and may itself hold " ; ".
		if cmd, ok := after(rest, "COMMAND="); ok {
			e.sudoCommand(cmd)
			break
		}
		var part []byte
		part, rest, _ = bytes.Cut(rest, []byte(" ; "))
		key, val, isPair := bytes.Cut(part, []byte("="))
		switch {
		case first && (!isPair || bytes.IndexByte(key, ' ') >= 0):
			reason = part
		case string(key) == "USER":
			target = val
		case string(key) == "TSID":
			e.put(record.ChainSessionID, val, "/TSID")
		case string(key) == "PWD", string(key) == "TTY", string(key) == "GROUP", string(key) == "HOST":
			e.add(record.Attributes, e.cat(lower(bytes.Clone(key)), []byte("="), val), "/PWD")
		}
	}
	if len(target) > 0 {
		e.executor(record.Unknown, target, "/USER")
		e.put(record.ExecutorLocalAccount, target, "/USER")
		r.Set(record.ExecutorIDKind, "local_account", "")
		e.put(record.ExecutorIssuer, e.env.host, "header:HOSTNAME")
		e.delegate(record.Delegation{Principal: r.Get(record.RequesterID), Audience: r.Get(record.ExecutorID)}, "/user")
	}
	e.sudoOutcome(reason)
}

func (e *event) sudoCommand(cmd []byte) {
	e.put(record.TargetID, cmd, "/COMMAND")
	e.r.Set(record.TargetType, "command", "")
	program, _, _ := bytes.Cut(cmd, []byte(" "))
	e.put(record.ActionTool, program, "/COMMAND")
}

func (e *event) sudoOutcome(reason []byte) {
	r := e.r
	if len(reason) == 0 {
		// sudo logs what it is about to run, not how that ends.
		r.Set(record.DecisionEffect, record.Allow, "/COMMAND")
		r.Set(record.DecisionPolicyID, "sudoers", "")
		r.Set(record.OutcomeStatus, record.Success, "/COMMAND")
		r.Set(record.EffectChanged, record.Unknown, "")
		return
	}
	e.claimed = true
	e.put(record.OutcomeDetail, reason, "/reason")
	r.Set(record.EffectChanged, record.No, "/reason")
	for _, denied := range []string{"command not allowed", "user NOT in sudoers", "user NOT authorized", "not allowed to", "user not allowed"} {
		if bytes.Contains(reason, []byte(denied)) {
			r.Set(record.DecisionEffect, record.Deny, "/reason")
			e.put(record.DecisionReason, reason, "/reason")
			r.Set(record.DecisionPolicyID, "sudoers", "")
			r.Set(record.OutcomeStatus, record.Denied, "/reason")
			return
		}
	}
	r.Set(record.OutcomeStatus, record.Failure, "/reason")
}
