package attribution

import (
	"bytes"

	"custody/ingest/record"
)

// sftpCalls are the SFTP server's messages about files: the operation and whether it changes them.
var sftpCalls = [...]struct{ prefix, op, changed string }{
	{"open ", "open", record.Unknown},
	{"close ", "close", record.Unknown},
	{"opendir ", "opendir", record.No},
	{"closedir ", "closedir", record.No},
	{"remove name ", "remove", record.Yes},
	{"rename old ", "rename", record.Yes},
	{"mkdir name ", "mkdir", record.Yes},
	{"rmdir name ", "rmdir", record.Yes},
	{"symlink old ", "symlink", record.Yes},
	{"posix-rename old ", "rename", record.Yes},
	{"hardlink old ", "link", record.Yes},
	{"set ", "setstat", record.Yes},
	{"fset ", "setstat", record.Yes},
	{"lsetstat ", "setstat", record.Yes},
	{"realpath ", "realpath", record.No},
	{"stat name ", "stat", record.No},
	{"lstat name ", "stat", record.No},
	{"readlink ", "readlink", record.No},
	{"statvfs ", "statvfs", record.No},
	{"forced close ", "close", record.Unknown},
}

// sftp reads a message of the SFTP server. Its process is the session's own, so
// what it does is tied to its beginning, which names the account.
func (e *event) sftp(m []byte) {
	r := e.r
	r.Set(record.ActionService, "sftp", "")
	if len(e.env.proc) > 0 && len(e.env.host) > 0 {
		e.put(record.ChainSessionID, e.cat([]byte("sftp:"), e.env.host, []byte(":"), e.env.proc), "header:PROCID")
	}
	for _, p := range [...]string{"session opened for local user ", "session closed for local user "} {
		rest, ok := after(m, p)
		if !ok {
			continue
		}
		user, from, _ := bytes.Cut(rest, []byte(" from ["))
		e.localAccount(user, "/user")
		e.put(record.SourceAddress, bytes.TrimSuffix(from, []byte("]")), "/address")
		op := "session_opened"
		state := "session=start"
		if p[len("session ")] == 'c' {
			op, state = "session_closed", "session=end"
		}
		r.Set(record.ActionOperation, op, "/message")
		r.Set(record.OutcomeStatus, record.Success, "/message")
		r.Set(record.EffectChanged, record.No, "")
		r.Set(record.TargetType, "host", "")
		e.put(record.TargetID, e.env.host, "header:HOSTNAME")
		if r.Has(record.ChainSessionID) {
			e.mark(state, "/message")
		}
		return
	}
	if rest, ok := after(m, "sent status "); ok { // of the operation before it, which it does not name
		r.SetAbsent("executor", record.NotEstablished)
		status := record.Failure
		if bytes.Contains(rest, []byte("ermission denied")) {
			status = record.Denied
		}
		r.Set(record.ActionOperation, "status", "/message")
		e.put(record.OutcomeDetail, rest, "/status")
		r.Set(record.OutcomeStatus, status, "/status")
		r.Set(record.EffectChanged, record.No, "/status")
		return
	}
	for i := range sftpCalls {
		c := &sftpCalls[i]
		rest, ok := after(m, c.prefix)
		if !ok {
			continue
		}
		path, rest, ok := quotedName(rest)
		if !ok {
			return
		}
		r.SetAbsent("executor", record.NotEstablished)
		r.Set(record.ActionOperation, c.op, "/message")
		e.put(record.TargetID, path, "/path")
		r.Set(record.TargetType, "file", "")
		if to, _, ok := quotedName(bytes.TrimPrefix(bytes.TrimSpace(rest), []byte("new "))); ok {
			e.add(record.Attributes, e.cat([]byte("new="), to), "/new")
		}
		r.Set(record.OutcomeStatus, record.Unknown, "/message") // it was asked; a refusal comes behind it
		changed := c.changed
		if c.op == "close" {
			r.Set(record.OutcomeStatus, record.Success, "/message")
			if _, written, ok := bytes.Cut(rest, []byte(" written ")); ok {
				if changed = record.Yes; string(bytes.TrimSpace(written)) == "0" {
					changed = record.No
				}
			}
			e.add(record.Attributes, bytes.TrimSpace(rest), "/bytes")
		} else if changed == record.Yes {
			changed = record.Unknown
		}
		r.Set(record.EffectChanged, changed, "/message")
		return
	}
}

// quotedName reads a name in quotes.
func quotedName(b []byte) (name, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '"' {
		return nil, b, false
	}
	i := bytes.IndexByte(b[1:], '"')
	if i < 0 {
		return nil, b, false
	}
	return b[1 : 1+i], b[i+2:], true
}
