package attribution

import (
	"bytes"

	"custody/ingest/record"
)

// su reads what the su of util-linux and of shadow say: "(to root) alice on pts/0",
// "FAILED SU (to root) alice on pts/0", "Successful su for root by alice", "+ /dev/pts/0 alice:root".
func (e *event) su(m []byte) {
	status := record.Success
	rest, failed := after(m, "FAILED SU ")
	if !failed {
		if rest, failed = after(m, "FAILED su "); !failed {
			rest = m
		}
	}
	if failed {
		status = record.Denied
	}
	var user, target, tty []byte
	switch {
	case bytes.HasPrefix(rest, []byte("(to ")):
		var ok bool
		if target, user, ok = bytes.Cut(rest[len("(to "):], []byte(") ")); !ok {
			return
		}
		user, tty, _ = bytes.Cut(user, []byte(" on "))
	case bytes.HasPrefix(rest, []byte("Successful su for ")), bytes.HasPrefix(rest, []byte("for ")):
		rest = bytes.TrimPrefix(bytes.TrimPrefix(rest, []byte("Successful su ")), []byte("for "))
		target, user, _ = bytes.Cut(rest, []byte(" by "))
	case bytes.HasPrefix(rest, []byte("+ ")), bytes.HasPrefix(rest, []byte("- ")):
		if rest[0] == '-' {
			status = record.Denied
		}
		var who []byte
		tty, who, _ = bytes.Cut(rest[2:], []byte(" "))
		if who == nil {
			return
		}
		var ok bool
		if user, target, ok = bytes.Cut(who, []byte(":")); !ok {
			return
		}
	default:
		return
	}
	e.switched("su", user, target, status)
	if len(tty) > 0 {
		e.add(record.Attributes, e.cat([]byte("tty="), tty), "/tty")
	}
}

// switched is the change of user to target.
func (e *event) switched(service string, user, target []byte, status string) {
	r := e.r
	if len(user) == 0 {
		return
	}
	e.noDecide, e.noPolVer = false, true
	e.elevates(service, bytes.TrimSpace(user), "/user")
	r.Set(record.ActionOperation, "switch_user", "/message")
	e.runsAs(bytes.TrimSpace(target), "/target", "/user")
	r.Set(record.TargetType, "account", "")
	e.put(record.TargetID, bytes.TrimSpace(target), "/target")
	e.ruled(status, "")
}

// ruled states whether somebody was let do something as another.
func (e *event) ruled(status, policy string) {
	r := e.r
	r.Set(record.OutcomeStatus, status, "/message")
	r.Set(record.DecisionPolicyID, policy, "")
	if status == record.Success {
		r.Set(record.DecisionEffect, record.Allow, "/message")
		r.Set(record.EffectChanged, record.Unknown, "")
		return
	}
	e.claimed = true
	r.Set(record.DecisionEffect, record.Deny, "/message")
	r.Set(record.EffectChanged, record.No, "/message")
}

// doas reads "alice ran command cat /etc/shadow as root from /home/alice", "failed
// auth for alice" and "command not permitted for alice: cat /etc/shadow".
func (e *event) doas(m []byte) {
	r := e.r
	if user, rest, ok := bytes.Cut(m, []byte(" ran command ")); ok {
		// The command is the caller's, and may hold the words behind it.
		dir := []byte(nil)
		if i := bytes.LastIndex(rest, []byte(" from ")); i >= 0 {
			rest, dir = rest[:i], rest[i+len(" from "):]
		}
		i := bytes.LastIndex(rest, []byte(" as "))
		if i < 0 {
			return
		}
		e.noDecide, e.noPolVer = false, true
		e.elevates("doas", user, "/user")
		e.runsAs(rest[i+len(" as "):], "/target", "/user")
		e.sudoCommand(rest[:i])
		if len(dir) > 0 {
			e.add(record.Attributes, e.cat([]byte("pwd="), dir), "/PWD")
		}
		e.ruled(record.Success, "doas.conf")
		return
	}
	if rest, ok := after(m, "failed auth for "); ok {
		e.noDecide, e.noPolVer = false, true
		e.elevates("doas", rest, "/user")
		r.SetAbsent("executor", record.NotEstablished)
		e.ruled(record.Denied, "")
		return
	}
	if rest, ok := after(m, "command not permitted for "); ok {
		user, cmd, _ := bytes.Cut(rest, []byte(": "))
		e.noDecide, e.noPolVer = false, true
		e.elevates("doas", user, "/user")
		r.SetAbsent("executor", record.NotEstablished)
		e.sudoCommand(cmd)
		e.ruled(record.Denied, "doas.conf")
	}
}

// pkexec reads "alice: Executing command [USER=root] [TTY=/dev/pts/0]
// [CWD=/home/alice] [COMMAND=/usr/bin/id]".
func (e *event) pkexec(m []byte) {
	user, rest, ok := bytes.Cut(m, []byte(": "))
	if !ok || bytes.IndexByte(user, ' ') >= 0 {
		return
	}
	what, fields, _ := bytes.Cut(rest, []byte(" ["))
	status := record.Success
	switch {
	case string(what) == "Executing command":
	case bytes.HasPrefix(what, []byte("Error executing command as another user")):
		status = record.Failure
		if bytes.Contains(what, []byte("Not authorized")) {
			status = record.Denied
		}
	default:
		return
	}
	e.noDecide, e.noPolVer = false, true
	e.elevates("pkexec", user, "/user")
	var target []byte
	for len(fields) > 0 {
		if cmd, ok := after(fields, "COMMAND="); ok { // the last, and the caller's
			e.sudoCommand(bytes.TrimSuffix(cmd, []byte("]")))
			break
		}
		var f []byte
		f, fields, _ = bytes.Cut(fields, []byte("] ["))
		switch k, v, _ := bytes.Cut(f, []byte("=")); string(k) {
		case "USER":
			target = v
		case "TTY", "CWD":
			e.add(record.Attributes, e.cat(lower(bytes.Clone(k)), []byte("="), v), "/"+string(k))
		}
	}
	e.runsAs(target, "/USER", "/user")
	e.ruled(status, "polkit")
	if status == record.Failure {
		e.r.Unset(record.DecisionEffect)
		e.r.Unset(record.DecisionPolicyID)
		e.put(record.OutcomeDetail, what, "/reason")
	} else if status == record.Denied {
		e.put(record.DecisionReason, what, "/reason")
	}
}
