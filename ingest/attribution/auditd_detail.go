package attribution

import (
	"bytes"
	"encoding/base64"
	"strings"

	"custody/ingest/record"
)

// auditOutcome reads whether the event came to what it was for.
func (e *event) auditOutcome(kind string) {
	a, r := &e.audit, e.r
	status, prov := record.Unknown, ""
	if v := a.get("res"); len(v.text()) > 0 {
		prov = a.from(v)
		switch s := strings.ToLower(string(v.text())); s {
		case "success", "1", "yes":
			status = record.Success
		case "failed", "0", "no", "failure":
			status = record.Failure
			switch kind {
			case "USER_AUTH", "USER_ACCT", "USER_LOGIN", "USER_CMD", "USER_ERR", "GRP_AUTH", "USER_CHAUTHTOK", "CRED_ACQ", "USER_ROLE_CHANGE",
				"CRYPTO_LOGIN", "ANOM_LOGIN_FAILURES", "DAC_CHECK", "MAC_CHECK":
				status = record.Denied // refused before anything was tried
			}
		}
	}
	if v := a.get("success"); len(v.text()) > 0 {
		prov = a.from(v)
		switch string(v.text()) {
		case "yes", "true", "1":
			status = record.Success
		case "no", "false", "0":
			status = record.Failure
		}
		if code, at := a.errno(); code != "" && status == record.Failure {
			r.Set(record.OutcomeCode, r.Keep([]byte(code)), at)
			switch code {
			case "EACCES", "EPERM":
				status, prov = record.Denied, at
			case "EINPROGRESS":
				status, prov = record.Unknown, at
			}
		}
	}
	switch {
	case kind == "AVC" || kind == "USER_AVC" || strings.HasPrefix(kind, "APPARMOR"):
		status, prov = e.auditMAC(kind, status, prov)
	case kind == "SECCOMP":
		status, prov = e.auditSeccomp()
	case kind == "FANOTIFY":
		if v := a.get("resp"); v != nil {
			effect := map[string]string{"1": record.Allow, "2": record.Deny, "allow": record.Allow, "deny": record.Deny}[string(v.text())]
			r.Set(record.DecisionEffect, effect, a.from(v))
			if effect == record.Deny {
				status, prov = record.Denied, a.from(v)
			}
		}
	case kind == "ANOM_ABEND":
		status, prov = record.Failure, e.audit.typeFrom(kind)
	}
	r.Set(record.OutcomeStatus, status, prov)
	if v := a.get("op"); v != nil && status != record.Success && status != record.Unknown {
		e.auditSet(record.OutcomeDetail, v)
	}
}

// errno is the name of the error that the call ended with.
func (a *auditEvent) errno() (name, prov string) {
	v := a.get("exit")
	if v == nil {
		return "", ""
	}
	b := v.text()
	if bytes.HasPrefix(b, []byte("E")) { // interpreted: EACCES(Permission denied)
		b, _, _ = bytes.Cut(b, []byte("("))
		return string(b), a.from(v)
	}
	n, ok := bytes.CutPrefix(b, []byte("-"))
	if !ok {
		return "", ""
	}
	if name = errnoNames[string(n)]; name == "" {
		name = "errno " + string(clean(n))
	}
	return name, a.from(v)
}

// auditMAC reads the decisions of SELinux and AppArmor.
func (e *event) auditMAC(kind, status, prov string) (string, string) {
	a, r := &e.audit, e.r
	rec := max(a.record(kind), 0)
	effect, at := "", ""
	if v := a.in(rec, "seresult"); v != nil {
		effect, at = decision(v.val), a.from(v)
		e.auditSet(record.AuthorityPermission, a.in(rec, "seperms"))
		e.auditSet(record.TargetType, a.in(rec, "tclass"))
		e.auditAttr("scontext", a.in(rec, "scontext"))
		e.auditAttr("tcontext", a.in(rec, "tcontext"))
		r.Set(record.DecisionPolicyID, "selinux", "")
		if p := a.in(rec, "permissive"); p != nil && string(p.val) == "1" {
			r.Set(record.DecisionPosture, "permissive", a.from(p))
		} else if effect == record.Deny {
			status, prov = record.Denied, at
		}
	} else if v := a.in(rec, "apparmor"); v != nil {
		at = a.from(v)
		e.auditSet(record.DecisionPolicyID, a.in(rec, "profile"))
		e.auditSet(record.AuthorityPermission, a.in(rec, "requested_mask"))
		e.auditAttr("operation", a.in(rec, "operation"))
		e.auditAttr("peer", a.in(rec, "peer"))
		e.auditAttr("denied_mask", a.in(rec, "denied_mask"))
		switch string(v.val) {
		case "DENIED":
			effect, status, prov = record.Deny, record.Denied, at
		case "ALLOWED": // complain mode: the profile would have denied it
			effect = record.Allow
			r.Set(record.DecisionPosture, "complain", at)
		case "AUDIT":
			effect = record.Allow
		}
	}
	if effect != "" {
		e.noDecide, e.noPolVer = false, true
		r.Set(record.DecisionEffect, effect, at)
	}
	return status, prov
}

// auditSeccomp reads what the filter did with the call.
func (e *event) auditSeccomp() (status, prov string) {
	a := &e.audit
	v := a.get("code")
	if v == nil {
		return record.Unknown, ""
	}
	e.noDecide, e.noPolVer = false, true
	e.r.Set(record.DecisionPolicyID, "seccomp", "")
	switch code := strings.TrimPrefix(string(v.val), "0x"); code {
	case "7ffc0000", "log", "7fff0000", "allow":
		e.r.Set(record.DecisionEffect, record.Allow, a.from(v))
		return record.Unknown, a.from(v)
	}
	e.r.Set(record.DecisionEffect, record.Deny, a.from(v))
	return record.Denied, a.from(v)
}

// subjects are the events in which a program tells of the account that somebody
// logs in to or out of: the account is who acts, the program only says so.
var subjects = map[string]bool{
	"USER_AUTH": true, "USER_ACCT": true, "CRED_ACQ": true, "CRED_DISP": true, "CRED_REFR": true, "USER_START": true, "USER_END": true,
	"USER_LOGIN": true, "USER_LOGOUT": true, "USER_ERR": true, "USER_ROLE_CHANGE": true, "GRP_AUTH": true, "CRYPTO_LOGIN": true, "CRYPTO_LOGOUT": true,
}

// auditPrincipals: auid is who logged in and so asked; the kernel keeps it through
// every change of account. uid and euid are the account that acted.
func (e *event) auditPrincipals(kind string) {
	a, r := &e.audit, e.r
	login := a.get("auid")
	if kind == "USER_AVC" { // the first is the bus's own, the second the caller's
		login = a.within("auid")
	}
	id, from, idKind := a.account(login, "AUID")
	if len(id) > 0 {
		id = clean(id)
		e.requester(record.Unknown, id, from, fromLogin)
		r.Set(record.RequesterIDKind, idKind, "")
		r.SetBytes(record.RequesterIssuer, clean(e.auditHost()), "")
		if idKind == "local_account" && a.from(login) != from {
			e.auditAttr("auid", login)
		}
	} else if kind == "USER_AUTH" || kind == "USER_ACCT" || kind == "CRED_ACQ" || kind == "USER_LOGIN" {
		r.SetAbsent("requester", record.NotEstablished) // nobody is logged in yet
	}
	var acts []byte
	switch {
	case kind == "USER_CMD":
		// What sudo ran, and for whom; as which account only sudo's own log tells.
		r.SetAbsent("executor", record.NotEstablished)
		return
	case subjects[kind]:
		v := a.within("acct")
		if v == nil {
			v = a.within("id")
		}
		if acts, from, idKind = a.account(v, "ID"); bytes.Equal(acts, []byte("(invalid user)")) || bytes.Equal(acts, []byte("(unknown)")) {
			acts = nil
			r.SetAbsent("executor", record.Redacted)
		}
		e.claimed = r.Get(record.OutcomeStatus) != record.Success
	case kind == "USER_AVC":
		acts, from, idKind = a.account(a.within("uid"), "UID")
	default:
		if acts, from, idKind = a.account(a.get("euid"), "EUID"); len(acts) == 0 {
			acts, from, idKind = a.account(a.get("uid"), "UID")
		}
		if len(acts) == 0 {
			acts, from, idKind = a.account(a.get("fsuid"), "FSUID")
		}
	}
	if len(acts) == 0 {
		return
	}
	acts = clean(acts)
	e.executor(record.Unknown, acts, from)
	r.SetBytes(record.ExecutorLocalAccount, acts, from)
	r.Set(record.ExecutorIDKind, idKind, "")
	r.SetBytes(record.ExecutorIssuer, clean(e.auditHost()), "")
	if r.Has(record.RequesterID) && r.Get(record.RequesterID) != r.Get(record.ExecutorID) && !subjects[kind] && kind != "LOGIN" &&
		r.Get(record.RequesterIDKind) == r.Get(record.ExecutorIDKind) {
		e.delegate(record.Delegation{Principal: r.Get(record.RequesterID), Audience: r.Get(record.ExecutorID)}, r.Prov(record.RequesterID))
	}
}

// within finds the key in what a program said.
func (a *auditEvent) within(key string) *auditValue {
	for i := range a.vals {
		if v := &a.vals[i]; v.inner && v.key == key {
			return v
		}
	}
	return nil
}

// account is the account that v numbers: its name where the line was enriched with
// it under the key upper, or the number. Nobody has the number -1.
func (a *auditEvent) account(v *auditValue, upper string) (id []byte, prov, kind string) {
	b := v.text()
	switch string(b) {
	case "", "4294967295", "-1", "n/a":
		return nil, "", ""
	}
	if n, ok := digits(b); !ok || n < 0 {
		return b, a.from(v), "local_account"
	}
	if v.key == "acct" {
		return b, a.from(v), "local_account"
	}
	for i := range a.vals {
		if w := &a.vals[i]; w.rec == v.rec && w.key == upper {
			if name := w.text(); len(name) > 0 && !bytes.HasPrefix(name, []byte("unknown(")) {
				return name, a.from(w), "local_account"
			}
			break
		}
	}
	return b, a.from(v), "uid"
}

// auditAction reads what was done, with what and to what.
func (e *event) auditAction(kind string) {
	a, r := &e.audit, e.r
	if companions[kind] && kind != "SYSCALL" {
		// A piece of an event whose other records came apart from it: it is no action
		// of its own, and who acted stands in the others.
		e.add(record.Attributes, e.cat([]byte("record="), []byte(kind)), e.audit.typeFrom(kind))
		r.SetAbsent("requester", record.NotEstablished)
		r.SetAbsent("executor", record.NotEstablished)
		if kind == "EXECVE" || kind == "PROCTITLE" {
			e.auditCallTarget("execve")
		} else if kind == "PATH" {
			e.auditPath()
		} else if kind == "SOCKADDR" {
			e.auditCallTarget("connect")
		}
		return
	}
	r.Set(record.ActionOperation, kind, e.audit.typeFrom(kind))
	r.Set(record.EffectChanged, record.Unknown, "")
	e.auditSet(record.ActionTool, a.get("exe"))
	if v := a.within("addr"); v != nil {
		e.auditSet(record.SourceAddress, v)
	}
	if !r.Has(record.SourceAddress) {
		e.auditSet(record.SourceAddress, a.within("hostname"))
	}
	call := ""
	if a.has("SYSCALL") || kind == "SECCOMP" {
		call = e.auditSyscall(kind)
	}
	switch {
	case call != "" && kind == "SYSCALL":
		e.auditCallTarget(call)
	case subjects[kind]:
		e.auditLogin(kind)
	case kind == "USER_CMD":
		if cmd := e.auditSet(record.TargetID, a.within("cmd")); len(cmd) > 0 {
			r.Set(record.TargetType, "command", "")
			program, _, _ := bytes.Cut(cmd, []byte(" "))
			r.SetBytes(record.ActionTool, clean(program), r.Prov(record.TargetID))
		}
		e.auditAttr("cwd", a.within("cwd"))
	case strings.HasPrefix(kind, "SERVICE_"):
		e.auditTarget("service", a.within("unit"))
	case kind == "TTY" || kind == "USER_TTY":
		// What was typed may be a password: the line has it, no field repeats it.
		r.Set(record.TargetType, "terminal", "")
		e.auditSet(record.TargetID, a.get("tty"))
	case kind == "AVC" || kind == "USER_AVC" || strings.HasPrefix(kind, "APPARMOR"):
		rec := max(a.record(kind), 0)
		for _, k := range [...]string{"path", "name", "service", "dest"} {
			if len(e.auditSet(record.TargetID, a.in(rec, k))) > 0 {
				break
			}
		}
		if !r.Has(record.TargetID) {
			e.auditPath()
		}
		if !r.Has(record.TargetType) && strings.HasPrefix(r.Get(record.TargetID), "/") {
			r.Set(record.TargetType, "file", "")
		}
	case kind == "SOFTWARE_UPDATE":
		e.auditTarget("package", a.within("sw"))
	case strings.HasPrefix(kind, "CRYPTO_"):
		e.auditKey()
	case strings.HasPrefix(kind, "VIRT_"):
		e.auditTarget("virtual_machine", a.within("vm"))
	case kind == "CONFIG_CHANGE" || strings.HasPrefix(kind, "DAEMON_"):
		r.Set(record.TargetType, "audit_configuration", "")
		for _, k := range [...]string{"audit_enabled", "audit_pid", "audit_backlog_limit", "audit_failure", "audit_rate_limit", "old"} {
			e.auditAttr(k, a.get(k))
		}
	default:
		v := a.within("acct")
		if v == nil {
			v = a.within("id")
		}
		if len(v.text()) > 0 {
			if id, from, _ := a.account(v, "ID"); len(id) > 0 {
				r.SetBytes(record.TargetID, clean(id), from)
				r.Set(record.TargetType, "account", "")
				if strings.Contains(kind, "GROUP") && a.within("acct") == nil {
					r.Set(record.TargetType, "group", "")
				}
			}
			e.auditAttr("grp", a.within("grp"))
		} else {
			e.auditTarget("group", a.within("grp"))
		}
	}
	e.auditAttr("op", a.get("op"))
	e.auditChanged(kind, call)
}

func (e *event) auditTarget(kind string, v *auditValue) {
	if len(e.auditSet(record.TargetID, v)) > 0 {
		e.r.Set(record.TargetType, kind, "")
	}
}

// auditLogin marks the beginning and the end of sessions. Those of sudo, su and cron
// are inside another session, or nobody's.
func (e *event) auditLogin(kind string) {
	a, r := &e.audit, e.r
	r.Set(record.TargetType, "host", "")
	r.SetBytes(record.TargetID, clean(e.auditHost()), "")
	if kind == "USER_ROLE_CHANGE" {
		if v := a.within("selected-context"); len(v.text()) > 0 {
			e.lists = append(e.lists, element{record.AuthorityRoles, r.Keep(clean(v.text())), a.from(v)})
		}
	}
	exe := r.Get(record.ActionTool)
	exe = exe[strings.LastIndexByte(exe, '/')+1:]
	switch exe {
	case "sudo", "su", "runuser", "pkexec", "doas", "cron", "crond", "atd", "systemd", "polkit-agent-helper-1":
		return
	}
	if r.Get(record.OutcomeStatus) != record.Success {
		return
	}
	switch kind {
	case "USER_START":
		e.add(record.Attributes, []byte("session=start"), e.audit.typeFrom(kind))
	case "USER_END":
		e.add(record.Attributes, []byte("session=end"), e.audit.typeFrom(kind))
	}
}

// auditKey reads the keys that sshd tells of. The one that somebody logged in with
// is a credential, in the form in which sshd's own log shows it.
func (e *event) auditKey() {
	a, r := &e.audit, e.r
	fp := a.within("fp")
	if len(fp.text()) == 0 {
		return
	}
	id := fp.text()
	if hex, ok := bytes.CutPrefix(id, []byte("SHA256:")); ok && bytes.Count(hex, []byte(":")) == 31 {
		var sum []byte
		for part := range bytes.SplitSeq(hex, []byte(":")) {
			if len(part) == 2 && hexDigit(part[0]) && hexDigit(part[1]) {
				sum = append(sum, nibble(upper(part[0]))<<4|nibble(upper(part[1])))
			}
		}
		if len(sum) == 32 {
			id = base64.RawStdEncoding.AppendEncode([]byte("SHA256:"), sum)
		}
	}
	if v := a.within("kind"); string(v.text()) == "auth-key" || bytes.Contains(a.within("op").text(), []byte("pubkey_auth")) {
		r.SetBytes(record.CredentialID, clean(id), a.from(fp))
		r.Set(record.CredentialKind, "ssh_publickey", "")
		return
	}
	r.SetBytes(record.TargetID, clean(id), a.from(fp))
	r.Set(record.TargetType, "key", "")
}

// auditChanged says what state the event shows to be another one now.
func (e *event) auditChanged(kind, call string) {
	r := e.r
	status := r.Get(record.OutcomeStatus)
	changed, prov := record.Unknown, ""
	switch {
	case status == record.Denied || status == record.Failure && kind != "ANOM_ABEND":
		changed, prov = record.No, r.Prov(record.OutcomeStatus)
	case status != record.Success:
	case kind == "SYSCALL":
		switch {
		case changingCalls[call]:
			changed, prov = record.Yes, r.Prov(record.ActionOperation)
		case lookingCalls[call]:
			changed, prov = record.No, r.Prov(record.ActionOperation)
		}
		if e.audit.nametype("CREATE") || e.audit.nametype("DELETE") {
			changed, prov = record.Yes, "/PATH"
		}
	case changingTypes[kind]:
		changed, prov = record.Yes, e.audit.typeFrom(kind)
	case subjects[kind] || kind == "USER_TTY" || kind == "TTY":
		changed, prov = record.No, e.audit.typeFrom(kind)
	}
	r.Set(record.EffectChanged, changed, prov)
	if changed == record.Yes {
		r.Set(record.EffectSystem, "linux", "")
	}
}

func set(words string) map[string]bool {
	m := make(map[string]bool)
	for w := range strings.FieldsSeq(words) {
		m[w] = true
	}
	return m
}

var (
	changingCalls = set(`unlink unlinkat rename renameat renameat2 mkdir mkdirat rmdir link linkat symlink symlinkat mknod mknodat creat truncate
ftruncate chmod fchmod fchmodat fchmodat2 chown lchown fchown fchownat setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr
mount umount umount2 pivot_root swapon swapoff sethostname setdomainname settimeofday clock_settime adjtimex init_module finit_module
delete_module kexec_load kexec_file_load reboot utime utimes utimensat futimesat quotactl chown32 fchown32 lchown32`)
	lookingCalls = set(`stat lstat fstat newfstatat fstatat statx access faccessat faccessat2 readlink readlinkat getxattr lgetxattr fgetxattr
listxattr llistxattr flistxattr statfs fstatfs getdents getdents64 read pread64 readv`)
	changingTypes = set(`ADD_USER DEL_USER ADD_GROUP DEL_GROUP USER_MGMT GRP_MGMT USER_CHAUTHTOK GRP_CHAUTHTOK ACCT_LOCK ACCT_UNLOCK CHUSER_ID
CHGRP_ID CONFIG_CHANGE DAEMON_START DAEMON_END DAEMON_CONFIG DAEMON_RECONFIG DAEMON_ROTATE SERVICE_START SERVICE_STOP SYSTEM_BOOT
SYSTEM_SHUTDOWN SYSTEM_RUNLEVEL SOFTWARE_UPDATE ROLE_ASSIGN ROLE_REMOVE ROLE_MODIFY MAC_POLICY_LOAD MAC_STATUS MAC_CONFIG_CHANGE
USER_MAC_POLICY_LOAD USER_MAC_CONFIG_CHANGE FEATURE_CHANGE NETFILTER_CFG USYS_CONFIG VIRT_CONTROL VIRT_CREATE VIRT_DESTROY LABEL_LEVEL_CHANGE
FS_RELABEL DEV_ALLOC DEV_DEALLOC LOGIN`)
)
