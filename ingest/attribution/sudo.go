package attribution

import (
	"bytes"

	"custody/ingest/record"
)

// sudo decodes what sudo writes to syslog and to its log file:
// "alice : TTY=pts/0 ; PWD=/home/alice ; USER=root ; COMMAND=/usr/bin/id",
// and what su, doas and pkexec say of the same.
func sudo() format {
	return format{
		name: "sudo", product: "sudo", issuer: "sudo",
		shape: shapeText,
		match: func(e *event) bool {
			switch string(e.env.app) {
			case "sudo", "su", "doas", "pkexec":
				return true
			}
			return false
		},
		decode: decodeSudo,
		guide: guide{
			userSet: []string{
				"/COMMAND: whoever may run sudo chooses the command line, and with it anything that looks like a field after it",
				"/PWD: the directory is the caller's choice",
				"/ENV: the variables are the caller's choice, where the rule lets them set any",
			},
			emit: map[Part]string{
				PartRequester:  "the account in front of the first colon (`submituser` in JSON); it is a person only where people have accounts of their own",
				PartExecutor:   "`USER=` (`runuser`), always there",
				PartTool:       "`COMMAND=` (`command`, `runargv`), always there",
				PartPermission: "not in the log: the rule of sudoers that allowed it is not named; `Defaults log_allowed, log_denied` keeps the decision",
				PartDecision:   "the words of the message (`command not allowed`); `Defaults log_denied` is on by default",
				PartOutcome:    "`Defaults log_exit_status` (sudo 1.9.8) adds `EXIT=`, and an `exit` event in JSON",
				PartChain:      "`TSID=` with `Defaults log_input` or `log_output`; `uuid` with `Defaults log_format=json`, which ties the exit to the command; auditd's `ses` ties the host's other events",
			},
		},
	}
}

// sudoJSON takes what sudo writes with log_format = json, and sudo_logsrvd.
func sudoJSON() format {
	return format{
		name: "sudo", product: "sudo", issuer: "sudo",
		shape: shapeJSON,
		keys:  []string{"sudo"},
		match: func(e *event) bool {
			n := e.doc.get(e.root, "sudo")
			return n != 0 && sudoEvent(&e.doc, n) != ""
		},
		decode: decodeSudoJSON,
	}
}

// sudoEvent is what kind of event stands in the object.
func sudoEvent(t *tree, n int32) string {
	for _, k := range [...]string{"accept", "reject", "alert", "exit"} {
		if c := t.get(n, k); c != 0 && t.kindOf(c) == kindObject {
			return k
		}
	}
	return ""
}

func decodeSudo(e *event) {
	r := e.r
	m := bytes.TrimSpace(e.payload)
	e.noDecide = true
	if e.pamSession(m) || e.pamFailure(m) {
		return
	}
	switch app := string(e.env.app); app {
	case "su", "doas", "pkexec":
		if e.src.Product == "" {
			r.Set(record.SourceProduct, app, "header:APP-NAME")
		}
		map[string]func([]byte){"su": e.su, "doas": e.doas, "pkexec": e.pkexec}[app](m)
		return
	}
	user, rest, ok := bytes.Cut(m, []byte(" : "))
	if !ok || bytes.IndexByte(user, '(') >= 0 {
		return // a message about something else
	}
	e.noDecide, e.noPolVer = false, true
	e.elevates("sudo", bytes.TrimSpace(user), "/user")
	if more, ok := after(rest, "(command continued) "); ok {
		// The rest of a line that was too long; the line before it has the fields.
		e.noDecide = true
		e.put(record.TargetID, more, "/COMMAND")
		r.Set(record.TargetType, "command", "")
		r.SetAbsent("executor", record.NotEstablished)
		r.Set(record.OutcomeStatus, record.Unknown, "")
		return
	}

	var reason, target []byte
	for first := true; len(rest) > 0; first = false {
		// COMMAND is the last, and may itself hold " ; ".
		if cmd, ok := after(rest, "COMMAND="); ok {
			e.sudoCommand(e.sudoExit(cmd))
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
		case string(key) == "PWD", string(key) == "TTY", string(key) == "GROUP", string(key) == "HOST", string(key) == "ENV", string(key) == "CHROOT", string(key) == "CWD":
			e.add(record.Attributes, e.cat(lower(bytes.Clone(key)), []byte("="), val), "/"+string(key))
		}
	}
	e.runsAs(target, "/USER", "/user")
	e.sudoOutcome(reason)
}

// elevates names the account that asks for another one's rights.
func (e *event) elevates(service string, user []byte, prov string) {
	r := e.r
	e.requester(record.Unknown, user, prov, fromLogin)
	r.Set(record.RequesterIDKind, "local_account", "")
	e.put(record.RequesterIssuer, e.env.host, "header:HOSTNAME")
	r.Set(record.ActionService, service, "")
	r.Set(record.ActionOperation, "exec", "")
}

// runsAs names the account that it is done as.
func (e *event) runsAs(target []byte, prov, from string) {
	if len(target) == 0 {
		return
	}
	r := e.r
	e.localAccount(target, prov)
	e.put(record.ExecutorIssuer, e.env.host, "header:HOSTNAME")
	if r.Has(record.RequesterID) {
		e.delegate(record.Delegation{Principal: r.Get(record.RequesterID), Audience: r.Get(record.ExecutorID)}, from)
	}
}

// sudoExit takes "; EXIT=1" and "; SIGNAL=KILL" off the end of a command line, where
// log_exit_status puts them. Whoever chose the command could have written the same,
// so of what stands there only an ending that is no success is believed.
func (e *event) sudoExit(cmd []byte) []byte {
	r := e.r
	for range 2 {
		i := bytes.LastIndex(cmd, []byte(" ; "))
		if i < 0 {
			return cmd
		}
		if v, ok := after(cmd[i+3:], "EXIT="); ok {
			if _, isNumber := digits(v); !isNumber || len(v) == 0 || len(v) > 3 {
				return cmd
			}
			e.put(record.OutcomeCode, v, "/EXIT")
			if string(v) != "0" {
				r.Set(record.OutcomeStatus, record.Failure, "/EXIT")
			}
		} else if v, ok := after(cmd[i+3:], "SIGNAL="); ok && len(v) > 0 && len(v) < 12 && bytes.IndexByte(v, ' ') < 0 {
			e.put(record.OutcomeDetail, e.cat([]byte("signal "), v), "/SIGNAL")
			r.Set(record.OutcomeStatus, record.Failure, "/SIGNAL")
		} else {
			return cmd
		}
		cmd = cmd[:i]
	}
	return cmd
}

func (e *event) sudoCommand(cmd []byte) {
	e.put(record.TargetID, cmd, "/COMMAND")
	e.r.Set(record.TargetType, "command", "")
	program, _, _ := bytes.Cut(cmd, []byte(" "))
	e.put(record.ActionTool, program, "/COMMAND")
}

// sudoRefusals are the words of sudo that say that it did not let somebody, and
// whether sudoers said so or the password.
var sudoRefusals = [...]struct {
	words  string
	policy bool
}{
	{"command not allowed", true},
	{"user NOT in sudoers", true},
	{"user NOT authorized", true},
	{"not allowed to", true},
	{"user not allowed", true},
	{"not permitted", true},
	{"rejected", true},
	{"incorrect password attempt", false},
	{"a password is required", false},
	{"could not identify password", false},
	{"authentication failure", false},
	{"account validation failure", false},
	{"no password was provided", false},
	{"conversation failed", false},
}

func (e *event) sudoOutcome(reason []byte) {
	r := e.r
	if len(reason) == 0 {
		// sudo logs what it is about to run, not how that ends.
		r.Set(record.DecisionEffect, record.Allow, "/COMMAND")
		r.Set(record.DecisionPolicyID, "sudoers", "")
		if !r.Has(record.OutcomeStatus) {
			r.Set(record.OutcomeStatus, record.Success, "/COMMAND")
		}
		r.Set(record.EffectChanged, record.Unknown, "")
		return
	}
	e.claimed = true
	e.put(record.OutcomeDetail, reason, "/reason")
	r.Set(record.EffectChanged, record.No, "/reason")
	r.Set(record.OutcomeStatus, record.Failure, "/reason")
	for _, d := range sudoRefusals {
		if bytes.Contains(reason, []byte(d.words)) {
			r.Set(record.DecisionEffect, record.Deny, "/reason")
			e.put(record.DecisionReason, reason, "/reason")
			if d.policy {
				r.Set(record.DecisionPolicyID, "sudoers", "")
			}
			r.Set(record.OutcomeStatus, record.Denied, "/reason")
			return
		}
	}
}

func decodeSudoJSON(e *event) {
	r := e.r
	e.noPolVer = true
	kind := sudoEvent(&e.doc, e.doc.get(e.root, "sudo"))
	at := "/sudo/" + kind
	if e.str(at+"/server_time/seconds") != nil {
		e.sudoTime(at + "/server_time")
	} else {
		e.sudoTime(at + "/submit_time")
	}
	if id := e.set(record.ChainRequestID, at+"/uuid"); id != nil {
		e.put(record.SourceOriginalID, e.cat(id, []byte("/"), []byte(kind)), at+"/uuid")
	}
	e.set(record.SourceHost, at+"/submithost")
	e.set(record.SourceAddress, at+"/peeraddr")
	e.elevates("sudo", e.str(at+"/submituser"), at+"/submituser")
	e.put(record.RequesterIssuer, e.str(at+"/submithost"), at+"/submithost")
	e.runsAs(e.str(at+"/runuser"), at+"/runuser", at+"/submituser")
	e.put(record.ExecutorIssuer, e.str(at+"/submithost"), at+"/submithost")
	e.set(record.ActionTool, at+"/command")
	if n := e.find(at + "/runargv"); n != 0 {
		var line []byte
		for c := e.doc.first(n); c != 0 && len(line) < 16<<10; c = e.doc.next(c) {
			if len(line) > 0 {
				line = append(line, ' ')
			}
			line = append(line, e.value(c)...)
		}
		e.put(record.TargetID, line, at+"/runargv")
	} else {
		e.set(record.TargetID, at+"/command")
	}
	r.Set(record.TargetType, "command", "")
	for _, k := range [...][2]string{{"tty", "/ttyname"}, {"pwd", "/submitcwd"}, {"group", "/rungroup"}, {"source", "/source"}, {"rundir", "/runcwd"}, {"iolog", "/iolog_path"}} {
		e.attribute(k[0], at+k[1])
	}
	reason := e.str(at + "/reason")
	switch kind {
	case "reject", "alert":
		if len(reason) == 0 {
			reason = []byte(kind)
		}
		e.sudoOutcome(reason)
		if kind == "reject" {
			r.Set(record.DecisionEffect, record.Deny, at)
			r.Set(record.OutcomeStatus, record.Denied, at)
		}
		for _, f := range [...]record.Field{record.OutcomeDetail, record.DecisionReason} {
			if r.Has(f) {
				e.set(f, at+"/reason")
			}
		}
	case "exit":
		e.noDecide = true
		e.mark("half=response", at)
		r.Set(record.EffectChanged, record.Unknown, "")
		if v := e.set(record.OutcomeCode, at+"/exit_value"); len(v) > 0 {
			r.Set(record.OutcomeStatus, record.Failure, at+"/exit_value")
			if string(v) == "0" {
				r.Set(record.OutcomeStatus, record.Success, at+"/exit_value")
			}
		}
		if e.set(record.OutcomeDetail, at+"/signal") != nil {
			r.Set(record.OutcomeStatus, record.Failure, at+"/signal")
		}
		if !r.Has(record.RequesterID) { // an exit alone: its command has the names
			r.SetAbsent("requester", record.NotEstablished)
			r.SetAbsent("executor", record.NotEstablished)
		}
	default:
		r.Set(record.DecisionEffect, record.Allow, at)
		r.Set(record.DecisionPolicyID, "sudoers", "")
		r.Set(record.OutcomeStatus, record.Success, at)
		r.Set(record.EffectChanged, record.Unknown, "")
	}
}

// sudoTime reads {"seconds":…,"nanoseconds":…}.
func (e *event) sudoTime(at string) {
	s, ns := e.str(at+"/seconds"), e.str(at+"/nanoseconds")
	n, ok := parseUnix(s)
	if !ok {
		return
	}
	if f, ok := digits(ns); ok && len(ns) > 0 && len(ns) < 10 {
		n += int64(f)
	}
	e.timeIs(n, true, at+"/seconds")
}
