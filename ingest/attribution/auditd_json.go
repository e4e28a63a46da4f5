package attribution

import (
	"bytes"

	"custody/ingest/record"
)

// laurel reports whether the object is an event as Laurel writes it: records by
// type, and the serial number as ID.
func (e *event) laurel() bool {
	t, o := &e.doc, e.root
	id := e.value(t.get(o, "ID"))
	if len(id) < 12 || id[0]-'0' > 9 || bytes.IndexByte(id, ':') < 0 || bytes.IndexByte(id, '.') < 0 {
		return false
	}
	for c := t.first(o); c != 0; c = t.next(c) {
		if k := t.kindOf(c); (k == kindObject || k == kindArray) && knownAuditType[string(t.keyOf(c))] {
			return true
		}
	}
	return false
}

// goAudit reports whether the object is an event of go-audit: the records' own text
// with the types as numbers.
func (e *event) goAudit() bool {
	t, o := &e.doc, e.root
	return t.get(o, "sequence") != 0 && t.get(o, "timestamp") != 0 && t.get(o, "messages") != 0 &&
		t.kindOf(t.get(o, "messages")) == kindArray && e.has("/messages/0/type") && e.has("/messages/0/data")
}

// auditbeat reports whether the object is an event of Auditbeat's module auditd.
func (e *event) auditbeat() bool {
	t, o := &e.doc, e.root
	a := t.get(o, "auditd")
	return a != 0 && t.kindOf(a) == kindObject && (t.get(a, "message_type") != 0 || t.get(a, "sequence") != 0 || t.get(a, "data") != 0)
}

func decodeAuditJSON(e *event) {
	a := &e.audit
	a.reset()
	switch {
	case e.laurel():
		e.laurelValues()
	case e.goAudit():
		e.goAuditValues()
	case e.auditbeat():
		e.decodeAuditbeat()
		return
	}
	e.auditEvent()
}

func (e *event) laurelValues() {
	t, a := &e.doc, &e.audit
	a.id = e.value(t.get(e.root, "ID"))
	a.stamp = a.id[:bytes.LastIndexByte(a.id, ':')]
	a.node = e.str("/NODE")
	a.idFrom, a.nodeFrom = "/ID", "/NODE"
	for c := t.first(e.root); c != 0 && len(a.vals) < maxAuditValues; c = t.next(c) {
		typ := auditType(t.keyOf(c))
		switch {
		case !knownAuditType[typ] && !bytes.HasPrefix([]byte(typ), []byte("UNKNOWN")): // what Laurel adds: PID, PPID, CONTAINER_INFO
		case t.kindOf(c) == kindObject:
			a.types = append(a.types, auditRecord{typ, "/" + typ})
			e.laurelRecord(len(a.types)-1, c)
		case t.kindOf(c) == kindArray:
			n := 0
			for i := t.first(c); i != 0 && len(a.vals) < maxAuditValues; i = t.next(i) {
				a.types = append(a.types, auditRecord{typ, "/" + typ + "/" + decimal(n)})
				e.laurelRecord(len(a.types)-1, i)
				n++
			}
		}
	}
}

// laurelRecord reads the members of one record. Lists are arguments; an object in it
// is what a program said, or what Laurel knows of the process.
func (e *event) laurelRecord(rec int, o int32) {
	t, a := &e.doc, &e.audit
	if t.kindOf(o) != kindObject {
		return
	}
	base := a.types[rec].prov
	put := func(key string, n int32, inner bool, prov string) {
		if v := e.value(n); len(v) > 0 && len(a.vals) < maxAuditValues {
			a.vals = append(a.vals, auditValue{key: key, val: a.percent(v), rec: rec, inner: inner, prov: prov})
		}
	}
	message := e.isUserRecord(a.types[rec].name)
	for c := t.first(o); c != 0; c = t.next(c) {
		key := e.text(t.keyOf(c))
		switch t.kindOf(c) {
		case kindArray:
			if key != "ARGV" || a.types[rec].name == "SYSCALL" {
				continue
			}
			for i := t.first(c); i != 0; i = t.next(i) {
				put(key, i, false, base+"/ARGV")
			}
		case kindObject:
			if key != "msg" {
				continue
			}
			for i := t.first(c); i != 0; i = t.next(i) {
				k := e.text(t.keyOf(i))
				put(k, i, true, base+"/msg/"+k)
			}
		default:
			if v := e.value(c); key == "msg" && bytes.IndexByte(v, '=') >= 0 {
				from := len(a.vals)
				a.text(rec, v, base+"/msg")
				for i := from; i < len(a.vals); i++ {
					a.vals[i].inner = true
				}
				continue
			}
			put(key, c, message && innerKey[key], "")
		}
	}
}

// isUserRecord reports whether records of the type come from programs.
func (e *event) isUserRecord(typ string) bool {
	return !secondary[typ] && typ != "SYSCALL" && typ != "LOGIN" && typ != "AVC" && typ != "CONFIG_CHANGE"
}

// innerKey are the keys that programs' messages have and their frame has not.
var innerKey = set("op acct exe hostname addr terminal res cmd cwd id grp unit comm fp kind direction selected-context default-context sw vm")

// percent decodes %41 in text that Laurel wrote.
func (a *auditEvent) percent(v []byte) []byte {
	if bytes.IndexByte(v, '%') < 0 {
		return v
	}
	at := len(a.mem)
	for i := 0; i < len(v); i++ {
		if v[i] == '%' && i+2 < len(v) && hexDigit(v[i+1]) && hexDigit(v[i+2]) {
			a.mem = append(a.mem, nibble(upper(v[i+1]))<<4|nibble(upper(v[i+2])))
			i += 2
			continue
		}
		a.mem = append(a.mem, v[i])
	}
	return a.mem[at:len(a.mem):len(a.mem)]
}

func (e *event) goAuditValues() {
	t, a := &e.doc, &e.audit
	a.stamp = e.str("/timestamp")
	a.id = append(append(append([]byte(nil), a.stamp...), ':'), e.str("/sequence")...)
	a.idFrom = "/sequence"
	a.names = t.get(e.root, "uid_map")
	list := t.get(e.root, "messages")
	n := 0
	for c := t.first(list); c != 0 && n < 1024; c = t.next(c) {
		prov := "/messages/" + decimal(n) + "/data"
		n++
		if t.kindOf(c) != kindObject {
			continue
		}
		typ := auditType(e.value(t.get(c, "type")))
		if typ == "" {
			continue
		}
		a.types = append(a.types, auditRecord{typ, prov})
		a.text(len(a.types)-1, e.value(t.get(c, "data")), prov)
	}
	// The event tells the accounts by number, as enrichment does in the records.
	if a.names == 0 {
		return
	}
	most := len(a.vals)
	for i := range most {
		v := &a.vals[i]
		up := map[string]string{"auid": "AUID", "uid": "UID", "euid": "EUID", "id": "ID"}[v.key]
		if up == "" {
			continue
		}
		if n := t.get(a.names, string(v.val)); n != 0 {
			if name := e.value(n); len(name) > 0 {
				a.vals = append(a.vals, auditValue{key: up, val: name, rec: v.rec, prov: "/uid_map/" + e.text(v.val)})
			}
		}
	}
}

// decodeAuditbeat reads what Auditbeat made of an event. It names the login and the
// account by ECS: user.audit is who logged in, user and user.effective who acted.
func (e *event) decodeAuditbeat() {
	r := e.r
	e.noDecide = true
	e.time("/@timestamp")
	host := e.set(record.SourceHost, "/host/hostname", "/host/name", "/agent/hostname", "/agent/name", "/beat/hostname")
	if len(host) == 0 {
		host = e.auditHost()
	}
	host = append([]byte(nil), host...)
	if seq := e.set(record.SourceOriginalID, "/auditd/sequence"); len(seq) > 0 && e.whenProv == "/@timestamp" {
		ms := e.when / 1e6
		id := e.cat([]byte("audit:"), host, []byte(":"), []byte(decimal(int(ms/1000))), []byte("."), millis(ms%1000), []byte(":"), seq)
		e.put(record.ChainRequestID, id, "/auditd/sequence")
	}
	if ses := e.str("/auditd/session"); len(ses) > 0 && string(ses) != "unset" && string(ses) != "4294967295" {
		e.put(record.ChainSessionID, e.cat([]byte("audit-ses:"), host, []byte(":"), ses), "/auditd/session")
	}
	r.Set(record.ActionService, "auditd", "")
	kind := string(bytes.ToUpper(bytes.Clone(e.str("/auditd/message_type"))))
	if e.set(record.ActionOperation, "/auditd/data/syscall", "/event/action", "/auditd/message_type") != nil && kind != "SYSCALL" {
		e.set(record.ActionOperation, "/auditd/message_type")
		r.Set(record.ActionOperation, kind, "/auditd/message_type")
	}
	e.beatPrincipals(kind, host)
	e.set(record.ActionTool, "/process/executable", "/process/exe", "/auditd/summary/how", "/process/name")
	e.set(record.SourceAddress, "/source/ip", "/auditd/data/addr", "/source/address")
	res := e.str("/auditd/result")
	from := "/auditd/result"
	if len(res) == 0 {
		res, from = e.str("/event/outcome"), "/event/outcome"
	}
	status := outcome(res)
	code := string(e.set(record.OutcomeCode, "/auditd/data/exit"))
	if status == record.Failure && (code == "EACCES" || code == "EPERM" || code == "-13" || code == "-1" ||
		kind == "USER_AUTH" || kind == "USER_ACCT" || kind == "USER_LOGIN" || kind == "USER_ERR" || kind == "USER_CMD") {
		status = record.Denied
	}
	r.Set(record.OutcomeStatus, status, from)
	e.beatTarget(kind, host)
	changed := record.Unknown
	switch op := r.Get(record.ActionOperation); {
	case status == record.Denied || status == record.Failure:
		changed = record.No
	case status == record.Success && (changingCalls[op] || changingTypes[kind]):
		changed = record.Yes
	case status == record.Success && (lookingCalls[op] || subjects[kind]):
		changed = record.No
	}
	r.Set(record.EffectChanged, changed, from)
	e.list(record.Attributes, "/tags")
	for _, k := range [...][2]string{{"pid=", "/process/pid"}, {"ppid=", "/process/parent/pid"}, {"ppid=", "/process/ppid"}, {"cwd=", "/process/working_directory"}, {"tty=", "/auditd/data/tty"}} {
		if v := e.str(k[1]); len(v) > 0 {
			e.add(record.Attributes, e.cat([]byte(k[0]), v), k[1])
		}
	}
}

func millis(ms int64) []byte {
	return []byte{byte('0' + ms/100%10), byte('0' + ms/10%10), byte('0' + ms%10)}
}

func (e *event) beatPrincipals(kind string, host []byte) {
	r := e.r
	account := func(name, id string) (v []byte, prov, idKind string) {
		if v = e.str(name); len(v) > 0 && string(v) != "unset" {
			return v, name, "local_account"
		}
		switch v = e.str(id); string(v) {
		case "", "unset", "4294967295", "-1":
			return nil, "", ""
		}
		return v, id, "uid"
	}
	id, prov, idKind := account("/user/audit/name", "/user/audit/id")
	if len(id) == 0 {
		id, prov, idKind = account("/user/name_map/auid", "/user/auid")
	}
	if len(id) > 0 {
		e.requester(record.Unknown, id, prov, fromLogin)
		r.Set(record.RequesterIDKind, idKind, "")
		e.put(record.RequesterIssuer, host, "")
	}
	switch {
	case kind == "USER_CMD":
		r.SetAbsent("executor", record.NotEstablished)
		return
	case subjects[kind]:
		id, prov, idKind = account("/auditd/data/acct", "/auditd/data/id")
		if len(id) == 0 {
			id, prov, idKind = account("/auditd/summary/actor/secondary", "/user/id")
		}
		e.claimed = outcome(e.str("/auditd/result")) != record.Success
	default:
		id, prov, idKind = account("/user/effective/name", "/user/effective/id")
		if len(id) == 0 {
			id, prov, idKind = account("/user/name_map/euid", "/user/euid")
		}
		if len(id) == 0 {
			id, prov, idKind = account("/user/name", "/user/id")
		}
		if len(id) == 0 {
			id, prov, idKind = account("/user/name_map/uid", "/user/uid")
		}
	}
	if len(id) == 0 {
		return
	}
	e.executor(record.Unknown, id, prov)
	e.put(record.ExecutorLocalAccount, id, prov)
	r.Set(record.ExecutorIDKind, idKind, "")
	e.put(record.ExecutorIssuer, host, "")
	if r.Has(record.RequesterID) && !subjects[kind] && r.Get(record.RequesterIDKind) == idKind && r.Get(record.RequesterID) != r.Get(record.ExecutorID) {
		e.delegate(record.Delegation{Principal: r.Get(record.RequesterID), Audience: r.Get(record.ExecutorID)}, r.Prov(record.RequesterID))
	}
}

func (e *event) beatTarget(kind string, host []byte) {
	r := e.r
	switch {
	case subjects[kind]:
		r.Set(record.TargetType, "host", "")
		e.put(record.TargetID, host, "")
		if exe := r.Get(record.ActionTool); r.Get(record.OutcomeStatus) == record.Success && (exe == "/usr/sbin/sshd" || exe == "/bin/login" || exe == "/usr/bin/login") {
			switch kind {
			case "USER_START":
				e.add(record.Attributes, []byte("session=start"), "/auditd/message_type")
			case "USER_END":
				e.add(record.Attributes, []byte("session=end"), "/auditd/message_type")
			}
		}
		return
	case kind == "SYSCALL" && (string(e.str("/auditd/data/syscall")) == "execve" || string(e.str("/auditd/data/syscall")) == "execveat") && e.has("/process/args/0"):
		var line []byte
		n := e.find("/process/args")
		for c := e.doc.first(n); c != 0 && len(line) < 16<<10; c = e.doc.next(c) {
			if len(line) > 0 {
				line = append(line, ' ')
			}
			line = append(line, e.value(c)...)
		}
		e.put(record.TargetID, line, "/process/args")
		r.Set(record.TargetType, "command", "")
		return
	case e.set(record.TargetID, "/file/path") != nil:
		r.Set(record.TargetType, "file", "")
		return
	}
	if e.set(record.TargetID, "/auditd/summary/object/primary") != nil {
		if e.set(record.TargetType, "/auditd/summary/object/type") == nil {
			r.Set(record.TargetType, "object", "")
		}
	}
}
