package scenario

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// sshd, sudo and auditd lines of one host.

func (s *story) sshd(after time.Duration, host string, pid int, message string) *event {
	at := s.clock("sshd", after)
	return s.emit("sshd", after, append(header(at, 86, host, "sshd", strconv.Itoa(pid)), message...))
}

// sshLogin is an accepted login of account from the bastion.
func (s *story) sshLogin(after time.Duration, host, account, from string, pid int) *event {
	return s.sshd(after, host, pid, fmt.Sprintf("Accepted password for %s from %s port %d ssh2", account, from, 30000+s.w.IntN(30000))).did(account).states(account)
}

func (s *story) sudo(after time.Duration, host, account, as, command string) *event {
	at := s.clock("sudo", after)
	return s.emit("sudo", after, append(header(at, 85, host, "sudo", strconv.Itoa(2000+s.w.IntN(60000))),
		fmt.Sprintf("%s : TTY=pts/%d ; PWD=/home/%s ; USER=%s ; COMMAND=%s", account, s.w.IntN(5), account, as, command)...)).did(as).states(account)
}

// auditCommand is auditd's record of a command run through sudo.
func (s *story) auditCommand(after time.Duration, host, account string, auid, session int, command string) *event {
	w, at := s.w, s.clock("auditd", after)
	return s.emit("auditd", after, append(header(at, 13, host, "audisp-syslog", strconv.Itoa(900+w.IntN(90))),
		fmt.Sprintf(`type=USER_CMD msg=audit(%d.%03d:%d): pid=%d uid=%d auid=%d ses=%d msg='cwd="/home/%s" cmd=%X exe="/usr/bin/sudo" terminal=pts/%d res=success'`+"\x1d"+`UID="%s" AUID="%s"`,
												at.Unix(), at.Nanosecond()/1e6, 1000+w.IntN(900000), 2000+w.IntN(60000), auid, auid, session, account, []byte(command), w.IntN(5), account, account)...)).
		maybe(account, strconv.Itoa(auid), "root").states(account, strconv.Itoa(auid)) // as whom it ran is in sudo's own log
}

// auditOpen is auditd's record of a watched file that the account opened itself.
func (s *story) auditOpen(after time.Duration, host, account string, auid, session int) *event {
	w, at := s.w, s.clock("auditd", after)
	ids, names := "", ""
	for _, id := range []string{"uid", "gid", "euid", "suid", "fsuid", "egid", "sgid", "fsgid"} {
		ids += fmt.Sprintf(" %s=%d", id, auid)
		names += fmt.Sprintf(" %s=%q", strings.ToUpper(id), account)
	}
	return s.emit("auditd", after, append(header(at, 13, host, "audisp-syslog", strconv.Itoa(900+w.IntN(90))),
		fmt.Sprintf(`type=SYSCALL msg=audit(%d.%03d:%d): arch=c000003e syscall=257 success=yes exit=3 a0=ffffff9c a1=%s a2=0 a3=0 items=1 ppid=%d pid=%d auid=%d%s tty=pts%d ses=%d comm="cat" exe="/usr/bin/cat" subj=unconfined key="watched"`+
			"\x1d"+`ARCH=x86_64 SYSCALL=openat AUID="%s"%s`,
			at.Unix(), at.Nanosecond()/1e6, 1000+w.IntN(900000), w.hex(12), 2000+w.IntN(60000), 2000+w.IntN(60000), auid, ids, w.IntN(5), session, account, names)...)).
		did(account, strconv.Itoa(auid)).states(account, strconv.Itoa(auid))
}

// wallix is a line of the Bastion's session log.
func (s *story) wallix(after time.Duration, kind, session, user, client, target, host, account, more string) *event {
	at := s.clock("wallix", after)
	return s.emit("wallix", after, append(header(at, 86, "bastion", "sshproxy", strconv.Itoa(3000+s.w.IntN(9000))),
		fmt.Sprintf(`[SSH Session] session_id="%s" client_ip="%s" target_ip="%s" user="%s" device="%s" service="SSH" account="%s" type="%s"%s`,
			session, client, target, user, host, account, kind, more)...))
}

// cyberark is a CEF line of the Vault's syslog.
func (s *story) cyberark(after time.Duration, code int, name, extension string) *event {
	at := s.clock("cyberark", after)
	b := append([]byte("<5>1 "), at.Format(seconds)...)
	return s.emit("cyberark", after, fmt.Appendf(b, " vault.%s CEF:0|Cyber-Ark|Vault|14.2.0000|%d|%s|5|%s", s.t.domain, code, name, extension))
}

// cyberarkJSON is the same through the translator that gives JSON.
func (s *story) cyberarkJSON(after time.Duration, code, name string, p *person, host, account, client, id string, took time.Duration) *event {
	at := s.clock("cyberark", after)
	details := fmt.Sprintf("SessionID=%s;SrcHost=%s;User=%s;DstHost=%s;Protocol=SSH;PSMID=PSMServer;", id, client, account, host)
	if took > 0 {
		details += "SessionDuration=" + clockTime(took) + ";"
	}
	property := func(name, value string) object { return object{"Name", name, "Value", value} }
	b := append([]byte("<5>1 "), at.Format(seconds)...)
	b = append(b, (" vault." + s.t.domain + " ")...)
	return s.emit("cyberark", after, append(b, text(object{"format", "elastic", "version", "1.0", "syslog", object{"audit_record", object{
		"Rfc5424", "yes", "Timestamp", at.Format("Jan 02 15:04:05"), "IsoTimestamp", at.Format(seconds), "Hostname", "vault." + s.t.domain, "Vendor", "Cyber-Ark", "Product", "Vault",
		"Version", "14.2.0000", "MessageID", code, "Desc", name, "Severity", "Info", "Issuer", p.login, "Action", name, "SourceUser", "", "TargetUser", "", "Safe", "Unix-Prod",
		"File", "Root\\Operating System-UnixSSH-" + host + "-" + account, "Station", client, "Location", "", "Category", "", "RequestId", "", "Reason", "", "ExtraDetails", details,
		"Message", name, "GatewayStation", "", "CAProperties",
		object{"CAProperty", array{
			property("DeviceType", "Operating System"), property("PolicyID", "UnixSSH"), property("UserName", account), property("Address", host),
		}},
	}}})...))
}

// beyondtrust is a line of Privileged Remote Access.
func (s *story) beyondtrust(after time.Duration, p *person, name, rest string) *event {
	at := s.clock("beyondtrust", after)
	return s.emit("beyondtrust", after, append(header(at, 134, "pra", "BG", strconv.Itoa(1000+s.w.IntN(9000))),
		fmt.Sprintf("1427:01:01:site=pra.%s;when=%d;who=%s (%s);who_ip=%s;event=%s;%s", s.t.domain, at.Unix(), p.full, p.mail, s.w.ip(), name, rest)...))
}

// session is one person's way to a host through a privileged access manager.
type session struct {
	start, end *event
	id         string
}

// bastion is where people come from, as the host sees it.
const bastion = "10.254.0.9"

// pam writes the start and the end of p's session on host as account. Which
// product, is by chance unless kind says.
func (s *story) pam(kind int, begin, end time.Duration, p *person, host, account string) session {
	w := s.w
	if kind < 0 {
		kind = w.IntN(4)
	}
	client, target := w.ip(), w.inner()
	var out session
	switch kind {
	case 0: // Wallix
		out.id = w.hex(16) + w.hex(16)
		out.start = s.wallix(begin, "SESSION_ESTABLISHED_SUCCESSFULLY", out.id, p.login, client, target, host, account, "")
		out.end = s.wallix(end, "SESSION_DISCONNECTION", out.id, p.login, client, target, host, account, fmt.Sprintf(` duration="%s"`, clockTime(end-begin)))
	case 1: // CyberArk
		out.id = w.uuid()
		ext := func(act string) string {
			return fmt.Sprintf(`act=%s suser=%s fname=Root\Operating System-UnixSSH-%s-%s dvc= shost=%s dhost=%s duser=%s externalId= app=SSH reason= `+
				`cs1Label="Affected User Name" cs1= cs2Label="Safe Name" cs2=Unix-Prod cs3Label="Device Type" cs3=Operating System cs4Label="Database" cs4= `+
				`cs5Label="Other info" cs5=SessionID\=%s;SrcHost\=%s;User\=%s;DstHost\=%s;Protocol\=SSH;PSMID\=PSMServer; cn1Label="Request Id" cn1= cn2Label="Ticket Id" cn2= msg=%s`,
				act, p.login, host, account, client, host, account, out.id, client, account, host, act)
		}
		if w.IntN(2) == 0 {
			out.start = s.cyberarkJSON(begin, "300", "PSM Connect", p, host, account, client, out.id, 0)
			out.end = s.cyberarkJSON(end, "302", "PSM Disconnect", p, host, account, client, out.id, end-begin)
			break
		}
		out.start = s.cyberark(begin, 300, "PSM Connect", ext("PSM Connect"))
		out.end = s.cyberark(end, 302, "PSM Disconnect", ext("PSM Disconnect"))
	case 2: // BeyondTrust
		out.id = w.hex(32)
		rest := fmt.Sprintf("lsid=%s;jump_item=%s;hostname=%s;endpoint_user=%s;session_type=shell", out.id, host, host, account)
		out.start = s.beyondtrust(begin, p, "session_start", rest)
		out.end = s.beyondtrust(end, p, "session_end", rest)
	default: // Teleport
		out.id = w.uuid()
		server := w.uuid()
		more := func(o ...any) []any {
			return append([]any{
				"user", p.mail, "user_kind", 1, "login", account, "sid", out.id, "server_id", server, "server_hostname", host, "server_addr", target + ":3022",
				"namespace", "default", "proto", "ssh", "addr.remote", client + ":51234", "private_key_policy", "none",
			}, o...)
		}
		out.start = s.teleport(begin, "session.start", "T2000I", more("initial_command", array{}, "session_recording", "node", "size", "80:25")...)
		out.end = s.teleport(end, "session.end", "T2004I", more(
			"enhanced_recording", false, "interactive", true, "participants", array{p.mail},
			"session_start", s.clock("teleport", begin).Format(nanos), "session_stop", s.clock("teleport", end).Format(nanos), "session_recording", "node",
		)...)
	}
	names := append(append([]string{}, p.aliases...), account)
	out.start.shows(p).did(names...)
	out.end.shows(p).did(names...).from(out.start, RespondsTo)
	return out
}

func clockTime(d time.Duration) string {
	return fmt.Sprintf("%d:%02d:%02d", int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60)
}
