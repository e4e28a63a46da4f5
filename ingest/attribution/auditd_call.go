package attribution

import (
	"bytes"

	"custody/ingest/record"
)

// auditSyscall names the call. It is the operation of an event that has nothing
// that says more.
func (e *event) auditSyscall(kind string) string {
	a, r := &e.audit, e.r
	v := a.get("syscall")
	if len(v.text()) == 0 {
		return ""
	}
	name, from := "", a.from(v)
	if up := a.in(v.rec, "SYSCALL"); len(up.text()) > 0 {
		name, from = string(clean(up.text())), a.from(up)
	} else {
		arch := a.in(v.rec, "arch")
		name = syscallName(string(arch.text()), string(clean(v.text())))
	}
	if name == "" {
		name = "syscall " + string(clean(v.text()))
	}
	if kind == "SYSCALL" {
		r.Set(record.ActionOperation, r.Keep([]byte(name)), from)
		return name
	}
	e.lists = append(e.lists, element{record.Attributes, r.Keep(e.cat([]byte("syscall="), []byte(name))), from})
	return name
}

// auditCallTarget reads what the call was applied to.
func (e *event) auditCallTarget(call string) {
	a, r := &e.audit, e.r
	switch call {
	case "execve", "execveat":
		if line, from := a.command(); len(line) > 0 {
			r.SetBytes(record.TargetID, clean(line), from)
			r.Set(record.TargetType, "command", "")
			return
		}
	case "connect", "bind", "accept", "accept4", "sendto", "sendmsg", "recvfrom", "socketcall":
		if rec := a.record("SOCKADDR"); rec >= 0 {
			v := a.in(rec, "saddr")
			if up := a.in(rec, "SADDR"); len(up.text()) > 0 {
				v = up
			}
			if len(v.text()) > 0 {
				if kind, address := auditAddress(v.text()); address != "" {
					r.Set(record.TargetID, r.Keep(clean([]byte(address))), a.from(v))
					r.Set(record.TargetType, kind, "")
					return
				}
			}
		}
	case "kill", "tkill", "tgkill", "ptrace", "process_vm_writev", "process_vm_readv":
		if rec := a.record("OBJ_PID"); rec >= 0 {
			v := a.in(rec, "ocomm")
			if len(v.text()) == 0 {
				v = a.in(rec, "opid")
			}
			e.auditTarget("process", v)
			e.auditAttr("opid", a.in(rec, "opid"))
			return
		}
	case "init_module", "finit_module", "delete_module":
		if rec := a.record("KERN_MODULE"); rec >= 0 {
			e.auditTarget("kernel_module", a.in(rec, "name"))
			return
		}
	}
	e.auditPath()
}

// command is the command line: the arguments of the call, or the process's title.
func (a *auditEvent) command() (line []byte, prov string) {
	const longest = 16 << 10
	for i := range a.vals {
		v := &a.vals[i]
		if a.types[v.rec].name != "EXECVE" || !argument(v.key) && v.key != "ARGV" || len(line) > longest {
			continue
		}
		if prov == "" {
			prov = a.types[v.rec].prov
			if v.prov != "" {
				prov = v.prov
			}
		}
		// a1[3] is the next piece of one argument.
		if n := len(v.key); len(line) > 0 && (v.key[n-1] != ']' || bytes.HasSuffix([]byte(v.key), []byte("[0]"))) {
			line = append(line, ' ')
		}
		line = append(line, v.val...)
	}
	if len(line) > 0 {
		return line[:min(len(line), longest)], prov
	}
	if rec := a.record("PROCTITLE"); rec >= 0 {
		for i := range a.vals {
			if v := &a.vals[i]; v.rec == rec && (v.key == "proctitle" || v.key == "ARGV") {
				if len(line) > 0 {
					line = append(line, ' ')
				}
				line, prov = append(line, v.val...), a.from(v)
			}
		}
	}
	return line[:min(len(line), longest)], prov
}

// auditPath takes the file that the call was about: what it made or removed, else
// the last that is not the directory it stands in.
func (e *event) auditPath() {
	a, r := &e.audit, e.r
	best, rank := -1, 0
	for i := range a.types {
		if a.types[i].name != "PATH" {
			continue
		}
		n := 1
		kind := a.in(i, "nametype")
		if kind == nil {
			kind = a.in(i, "objtype")
		}
		switch string(kind.text()) {
		case "PARENT":
			n = 0
		case "CREATE", "DELETE":
			n = 3
		case "NORMAL", "":
			n = 2
		}
		if best < 0 || n > rank {
			best, rank = i, n
		}
	}
	if best < 0 {
		return
	}
	v := a.in(best, "name")
	name := v.text()
	if len(name) == 0 {
		return
	}
	if name[0] != '/' {
		if rec := a.record("CWD"); rec >= 0 {
			if dir := a.in(rec, "cwd").text(); len(dir) > 0 && dir[0] == '/' {
				name = bytes.TrimPrefix(name, []byte("./"))
				name = bytes.Join([][]byte{bytes.TrimSuffix(dir, []byte("/")), name}, []byte("/"))
			}
		}
	}
	r.SetBytes(record.TargetID, clean(name), a.from(v))
	if !r.Has(record.TargetType) {
		r.Set(record.TargetType, "file", "")
	}
}

// nametype reports whether a path of the event is of the type.
func (a *auditEvent) nametype(kind string) bool {
	for i := range a.vals {
		if v := &a.vals[i]; v.key == "nametype" && string(v.val) == kind {
			return true
		}
	}
	return false
}
