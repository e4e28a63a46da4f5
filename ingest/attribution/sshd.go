package attribution

import (
	"bytes"
	"strconv"
	"strings"

	"custody/ingest/record"
)

// sshd decodes the messages of OpenSSH's server and of its SFTP server: logins and
// their refusal, sessions, what was asked for in them, and files.
func sshd() format {
	return format{
		name: "sshd", product: "OpenSSH", issuer: "sshd",
		shape: shapeText,
		match: func(e *event) bool {
			switch string(e.env.app) {
			case "sshd", "sshd-session", "sshd-auth", "sftp-server", "internal-sftp":
				return true
			}
			return false
		},
		decode: decodeSSHD,
		guide:  sshdGuide,
	}
}

// after returns what stands behind prefix.
func after(b []byte, prefix string) ([]byte, bool) { return bytes.CutPrefix(b, []byte(prefix)) }

func decodeSSHD(e *event) {
	m := bytes.TrimSpace(e.payload)
	m, _ = after(m, "error: ")
	m, _ = after(m, "fatal: ")
	e.noDecide = true
	if a := string(e.env.app); a == "sftp-server" || a == "internal-sftp" {
		e.sftp(m)
		return
	}
	switch {
	case e.sshAuth(m), e.sshEnd(m), e.sshSession(m), e.sshRefused(m):
	case e.pamSession(m):
		e.sshInterval(m)
	case e.pamFailure(m):
	default:
		e.sshConnection(m)
	}
}

// sshAuth reads the answers to attempts to log in.
func (e *event) sshAuth(m []byte) bool {
	r := e.r
	if rest, ok := after(m, "Accepted certificate ID "); ok { // "alice" (serial 7) signed by ED25519 CA SHA256:… via /etc/ssh/ca.pub
		e.sshAction("accept_certificate", record.Success)
		rest, _ = after(rest, `"`)
		i := bytes.LastIndex(rest, []byte(`" (serial `))
		if i > 0 {
			e.sshCertificate(rest[:i], rest[i+1:], false)
		}
		return true
	}
	for _, p := range [...][2]string{
		{"Accepted ", record.Success}, {"Failed ", record.Denied}, {"Postponed ", record.Unknown}, {"Partial ", record.Unknown},
	} {
		if rest, ok := after(m, p[0]); ok && bytes.Contains(rest, []byte(" for ")) {
			e.sshLogin(rest, p[1])
			return true
		}
	}
	if rest, ok := after(m, "maximum authentication attempts exceeded for "); ok {
		rest, _ = after(rest, "invalid user ")
		rest, _, _ = bytes.Cut(rest, []byte(" ssh2"))
		e.sshUser(rest, " from ")
		e.sshAction("login", record.Denied)
		r.Set(record.DecisionReason, "maximum authentication attempts exceeded", "/message")
		return true
	}
	if rest, ok := after(m, "Invalid user "); ok {
		e.sshUser(rest, " from ")
		e.sshAction("login", record.Denied)
		r.Set(record.OutcomeDetail, "invalid user", "/message")
		return true
	}
	return false
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
	if rest, ok = after(rest, "invalid user "); ok {
		r.Set(record.OutcomeDetail, "invalid user", "/message")
	}
	// A name can hold blanks and " from "; the address is behind the last one.
	head, key, _ := bytes.Cut(rest, []byte(" ssh2"))
	e.sshUser(head, " from ")
	e.put(record.CredentialKind, e.cat([]byte("ssh_"), method), "/method")
	if status == record.Success {
		r.Set(record.DecisionEffect, record.Allow, "/message")
		e.sshNumber()
		if r.Has(record.ChainSessionID) {
			e.mark("session=start", "/message")
		}
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
	e.sshCertificate(key[:i], key[i:], true)
}

// sshCertificate reads whom a certificate is for: the authority that signed it wrote
// that, for a person or for a machine. rest is " (serial 7) CA ED25519 SHA256:…".
func (e *event) sshCertificate(id, rest []byte, login bool) {
	r := e.r
	_, serial, _ := bytes.Cut(rest, []byte("(serial "))
	serial, ca, _ := bytes.Cut(serial, []byte(")"))
	issuer := []byte(nil)
	if i := bytes.Index(ca, []byte("SHA256:")); i >= 0 {
		issuer, _, _ = bytes.Cut(ca[i:], []byte(" "))
		e.put(record.CredentialIssuer, issuer, "/ca")
	}
	r.Set(record.CredentialKind, "ssh_certificate", "/certificate_id")
	e.add(record.Attributes, e.cat([]byte("certificate_id="), id), "/certificate_id")
	e.add(record.Attributes, e.cat([]byte("serial="), serial), "/serial")
	// Authorities that draw their numbers at random can be met by them; a counter's
	// "7" is anybody's.
	if n, err := strconv.ParseUint(string(serial), 10, 64); err == nil && n >= 1<<32 {
		if print := r.Get(record.CredentialID); print != "" {
			e.add(record.Attributes, e.cat([]byte("fingerprint="), []byte(print)), "/fingerprint")
		}
		e.put(record.CredentialID, serial, "/serial")
	}
	if !login {
		r.SetAbsent("executor", record.NotEstablished)
		r.SetAbsent("requester", record.NotEstablished)
	}
	class, name := certificateHolder(id)
	switch class {
	case record.Workload, record.ServiceAccount, record.Agent:
		if r.Has(record.ExecutorID) || !login {
			e.executor(class, name, "/certificate_id") // under the account, which stays in local_account
			r.Set(record.ExecutorIDKind, "ssh_certificate_id", "")
			e.put(record.ExecutorIssuer, issuer, "/ca")
			if strings.HasPrefix(string(name), "spiffe://") {
				e.put(record.ExecutorSPIFFEID, name, "/certificate_id")
			}
		}
		return
	case "":
		return
	}
	e.requester(class, name, "/certificate_id", fromLogin)
	r.Set(record.RequesterIDKind, "ssh_certificate_id", "")
	e.put(record.RequesterIssuer, issuer, "/ca")
	if login {
		e.delegate(record.Delegation{
			Principal: r.Get(record.RequesterID), Credential: r.Get(record.CredentialID),
			Audience: r.Get(record.ExecutorLocalAccount),
		}, "/certificate_id")
	}
}

// certificateHolder tells whom a certificate's identity names. Vault writes
// "vault-METHOD-NAME-HASH", of which only people's methods name a person.
func certificateHolder(id []byte) (class string, name []byte) {
	display, ok := after(id, "vault-")
	if i := bytes.LastIndexByte(display, '-'); ok && i > 0 && len(display)-i-1 == 64 && digestID(display[i+1:]) != nil {
		display = display[:i]
		for _, m := range logins {
			if who, ok := after(display, m+"-"); ok && len(who) > 0 {
				return record.Person, who
			}
		}
		if string(display) == "root" || string(display) == "token" || bytes.HasPrefix(display, []byte("token-")) {
			return "", nil
		}
		return record.ServiceAccount, display
	}
	class = principalType(string(id))
	return class, id
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
	e.localAccount(user, "/user")
}

// localAccount makes an account of the host the executor.
func (e *event) localAccount(user []byte, prov string) {
	if len(user) == 0 {
		return
	}
	e.executor(record.Unknown, user, prov)
	e.put(record.ExecutorLocalAccount, user, prov)
	e.r.Set(record.ExecutorIDKind, "local_account", "")
}

func (e *event) sshAction(op, status string) {
	r := e.r
	r.Set(record.ActionService, "ssh", "")
	r.Set(record.ActionOperation, op, "/message")
	r.Set(record.OutcomeStatus, status, "/message")
	r.Set(record.TargetType, "host", "")
	e.put(record.TargetID, e.env.host, "header:HOSTNAME")
	e.claimed = status != record.Success
	r.Set(record.EffectChanged, record.No, "")
	if status == record.Denied {
		r.Set(record.DecisionEffect, record.Deny, "/message")
	}
}

// sshNumber numbers the session by the process that the login belongs to, which
// lives as long as it: what the same process says is of the same session.
func (e *event) sshNumber() {
	if len(e.env.proc) > 0 && len(e.env.host) > 0 {
		e.put(record.ChainSessionID, e.cat([]byte("sshd:"), e.env.host, []byte(":"), e.env.proc), "header:PROCID")
	}
}

// sshEnd reads how connections end, before and after the login.
func (e *event) sshEnd(m []byte) bool {
	r := e.r
	text, preauth := bytes.CutSuffix(m, []byte(" [preauth]"))
	for _, p := range [...]string{"Disconnected from ", "Connection closed by ", "Connection reset by ", "Disconnecting ", "Timeout before authentication for "} {
		rest, ok := after(text, p)
		if !ok {
			continue
		}
		reason := []byte(nil)
		if i := bytes.LastIndex(rest, []byte(" port ")); i > 0 {
			if j := bytes.IndexByte(rest[i:], ':'); j > 0 {
				reason = bytes.TrimSpace(rest[i+j+1:])
				rest = rest[:i+j]
			}
		}
		trying := preauth
		switch {
		case bytes.HasPrefix(rest, []byte("authenticating user ")):
			rest, trying = rest[len("authenticating user "):], true
		case bytes.HasPrefix(rest, []byte("invalid user ")):
			rest, trying = rest[len("invalid user "):], true
		case bytes.HasPrefix(rest, []byte("user ")):
			rest = rest[len("user "):]
		default: // an address: nobody had said who it was
			e.sshAction("disconnect", record.Unknown)
			e.claimed = false
			host, _, _ := bytes.Cut(rest, []byte(" port "))
			if host, _, _ = bytes.Cut(host, []byte(" ")); address(host) {
				e.put(record.SourceAddress, host, "/address")
			}
			r.SetAbsent("executor", record.NotApplicable)
			e.put(record.OutcomeDetail, reason, "/reason")
			return true
		}
		e.sshUser(rest, " ")
		op, status := "logout", record.Success
		if trying {
			op, status = "login", record.Failure // it went away before it was answered
			if bytes.Contains(reason, []byte("Too many authentication failures")) {
				status = record.Denied
			}
		}
		e.sshAction(op, status)
		e.put(record.OutcomeDetail, reason, "/reason")
		return true
	}
	if rest, ok := after(text, "Received disconnect from "); ok {
		e.sshAction("disconnect", record.Unknown)
		host, reason, _ := bytes.Cut(rest, []byte(" port "))
		e.put(record.SourceAddress, host, "/address")
		if _, why, ok := bytes.Cut(reason, []byte(": ")); ok {
			e.put(record.OutcomeDetail, why, "/reason")
		}
		r.SetAbsent("executor", record.NotApplicable)
		e.claimed = false
		return true
	}
	return false
}

// sshSession reads what a session runs, and its forwardings.
func (e *event) sshSession(m []byte) bool {
	r := e.r
	if rest, ok := after(m, "subsystem request for "); ok { // sftp by user alice
		name, user, _ := bytes.Cut(rest, []byte(" by user "))
		e.localAccount(user, "/user")
		e.sshAction("subsystem", record.Success)
		e.put(record.ActionTool, name, "/subsystem")
		e.sshNumber()
		return true
	}
	for _, p := range [...]string{"Starting session: ", "Close session: "} {
		rest, ok := after(m, p)
		if !ok {
			continue
		}
		var what []byte
		if i := bytes.LastIndex(rest, []byte(" id ")); i > 0 {
			rest = rest[:i]
		}
		if p[0] == 'S' {
			i := bytes.LastIndex(rest, []byte(" for "))
			if i < 0 {
				return false
			}
			what, rest = rest[:i], rest[i+len(" for "):]
		} else {
			rest, _ = after(rest, "user ")
		}
		e.sshUser(rest, " from ")
		op := "start_session"
		if p[0] == 'C' {
			op = "close_session"
		}
		e.sshAction(op, record.Success)
		what, _, _ = bytes.Cut(what, []byte(" on "))
		e.put(record.ActionTool, bytes.Trim(what, "'"), "/what")
		e.sshNumber()
		return true
	}
	switch {
	case bytes.HasPrefix(m, []byte("Received request to connect to host ")):
		rest, denied := bytes.CutSuffix(m[len("Received request to connect to host "):], []byte(", but the request was denied."))
		e.sshForward(rest, denied)
	case bytes.HasPrefix(m, []byte("refused local port forward: ")):
		if _, to, ok := bytes.Cut(m, []byte("target ")); ok {
			e.sshForward(to, true)
		}
	case bytes.HasPrefix(m, []byte("connect_to ")):
		to, why, _ := bytes.Cut(m[len("connect_to "):], []byte(": "))
		e.sshForward(to, false)
		r.Set(record.OutcomeStatus, record.Failure, "/message")
		e.put(record.OutcomeDetail, why, "/reason")
	default:
		return false
	}
	return true
}

// sshForward reads "host 10.0.0.9 port 5432" of a forwarding.
func (e *event) sshForward(to []byte, denied bool) {
	r := e.r
	status := record.Unknown
	if denied {
		status = record.Denied
	}
	e.sshAction("port_forward", status)
	e.claimed = false
	host, port, _ := bytes.Cut(bytes.TrimSuffix(to, []byte(",")), []byte(" port "))
	port, _, _ = bytes.Cut(port, []byte(","))
	e.put(record.TargetID, e.cat(host, []byte(":"), port), "/target")
	r.Set(record.TargetType, "address", "")
	r.SetAbsent("executor", record.NotEstablished) // the session's account; its login has the same process
	e.sshNumber()
}

// sshRefused reads refusals that name a rule instead of an attempt.
func (e *event) sshRefused(m []byte) bool {
	r := e.r
	text := bytes.TrimSuffix(m, []byte(" [preauth]"))
	if rest, ok := after(text, "User "); ok {
		if i := bytes.Index(rest, []byte(" not allowed because ")); i > 0 {
			e.sshUser(rest[:i], " from ")
			e.sshAction("login", record.Denied)
			e.put(record.DecisionReason, rest[i+len(" not allowed because "):], "/reason")
			return true
		}
	}
	if rest, ok := after(text, "Access denied for user "); ok {
		user, why, _ := bytes.Cut(rest, []byte(" by "))
		e.localAccount(user, "/user")
		e.sshAction("login", record.Denied)
		e.put(record.DecisionReason, why, "/reason")
		return true
	}
	if rest, ok := after(text, "ROOT LOGIN REFUSED FROM "); ok {
		host, _, _ := bytes.Cut(rest, []byte(" port "))
		e.put(record.SourceAddress, host, "/address")
		e.localAccount([]byte("root"), "/message")
		e.sshAction("login", record.Denied)
		r.Set(record.DecisionReason, "root login refused", "/message")
		return true
	}
	for _, p := range [...]string{"Certificate invalid: ", "Authentication key ", "Authentication refused: ", "Refusing certificate ID "} {
		rest, ok := after(text, p)
		if !ok || p == "Authentication key " && !bytes.Contains(rest, []byte(" revoked ")) {
			continue
		}
		e.sshAction("login", record.Denied)
		e.put(record.DecisionReason, text, "/message")
		r.SetAbsent("executor", record.NotEstablished) // who it was stands in the refusal's next line
		if p == "Authentication key " {
			if i := bytes.Index(rest, []byte("SHA256:")); i >= 0 {
				print, _, _ := bytes.Cut(rest[i:], []byte(" "))
				e.put(record.CredentialID, print, "/fingerprint")
				r.Set(record.CredentialKind, "ssh_publickey", "/message")
			}
		}
		return true
	}
	return false
}

var sshdGuide = guide{
	userSet: []string{
		"/user: of a login that was refused, anyone who can reach the port",
		"/path: whoever uses SFTP chooses the names of files",
		"/what: whoever logged in, unless a key or a certificate forces the command",
	},
	emit: map[Part]string{
		PartRequester: "the identity of a certificate (`ID … (serial …)`): the authority that signed it says whose it is. An account alone is nobody in particular; `LogLevel VERBOSE` shows the key's fingerprint " +
			"for every login, and a directory of keys whose it is",
		PartExecutor:   "the account, always there",
		PartTool:       "`Starting session: …` and `subsystem request`, with `LogLevel VERBOSE`; what runs inside is in auditd's log. Files by SFTP with `Subsystem sftp internal-sftp -l INFO`",
		PartPermission: "not in the log: which line of authorized_keys or which principal let the login in is in `LogLevel VERBOSE` only as a file and a line",
		PartDecision:   "`Accepted`, `Failed`, `not allowed because …`",
		PartOutcome:    "the words of the message",
		PartChain: "the process number: chain.session_id is `sshd:HOST:PID` for the login, PAM's opening and closing, and forwardings; " +
			"the number of a certificate where the authority draws it at random (Vault), else the fingerprint of the key",
	},
}
