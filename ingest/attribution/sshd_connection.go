package attribution

import (
	"bytes"

	"custody/ingest/record"
)

// sshConnection reads connections that nobody logged in over.
func (e *event) sshConnection(m []byte) {
	r := e.r
	op, rest, status := "", []byte(nil), record.Unknown
	for _, p := range [...][3]string{
		{"Connection from ", "connect", record.Unknown},
		{"drop connection #", "connect", record.Denied},
		{"Unable to negotiate with ", "connect", record.Failure},
		{"Did not receive identification string from ", "connect", record.Failure},
		{"banner exchange: Connection from ", "connect", record.Failure},
		{"Bad protocol version identification ", "connect", record.Failure},
		{"refused connect from ", "connect", record.Denied},
	} {
		if v, ok := after(m, p[0]); ok {
			op, rest, status = p[1], v, p[2]
			break
		}
	}
	if op == "" {
		return
	}
	e.sshAction(op, status)
	e.claimed = false
	r.SetAbsent("executor", record.NotApplicable) // nobody has said who it is
	r.SetAbsent("requester", record.NotApplicable)
	if i := bytes.Index(rest, []byte("from [")); i >= 0 { // drop connection #11 from [A]:52144 on [B]:22 past MaxStartups
		rest = rest[i+len("from ["):]
		host, why, _ := bytes.Cut(rest, []byte("]"))
		e.put(record.SourceAddress, host, "/address")
		if i := bytes.LastIndex(why, []byte(" past ")); i >= 0 {
			e.put(record.DecisionReason, why[i+1:], "/reason")
		}
		return
	}
	host, _, _ := bytes.Cut(rest, []byte(" port "))
	if host, _, _ = bytes.Cut(host, []byte(" ")); address(host) {
		e.put(record.SourceAddress, host, "/address")
	}
}

// sshInterval marks the session that PAM opened or closed for a login.
func (e *event) sshInterval(m []byte) {
	if !bytes.Contains(m[:min(len(m), 64)], []byte("(sshd:session)")) {
		return
	}
	r := e.r
	r.Set(record.TargetType, "host", "")
	e.put(record.TargetID, e.env.host, "header:HOSTNAME")
	e.sshNumber()
	if !r.Has(record.ChainSessionID) {
		return
	}
	switch r.Get(record.ActionOperation) {
	case "session_opened":
		e.mark("session=start", "/message")
	case "session_closed":
		e.mark("session=end", "/message")
	}
}
