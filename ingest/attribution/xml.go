package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// xmlLine and xmlAsJSON decode XML of no particular product, as it is and as
// converters turn it into JSON (attributes as "@name", "-name" or under "$"; text
// as "#text" or "_"), by the obvious names of its elements. Events of the Windows
// Event Log are read by Microsoft's event schema.
func xmlLine() format {
	table := buildNames(nil)
	return format{
		name: "xml", shape: shapeText, general: true,
		match: func(e *event) bool {
			b := bytes.TrimSpace(e.payload)
			return len(b) > 8 && b[0] == '<' && (b[1] == '?' || b[1]|0x20 >= 'a' && b[1]|0x20 <= 'z') && b[len(b)-1] == '>' &&
				(bytes.Contains(b, []byte("</")) || bytes.HasSuffix(b, []byte("/>")))
		},
		decode: func(e *event) { e.xmlLine(table) },
		guide: guide{
			userSet: []string{
				"/TargetUserName: in a failed logon whatever was typed",
				"/ProcessName: whoever starts the program",
				"/ServiceName: whoever names the service",
			},
			emit: map[Part]string{
				PartRequester:  "elements with the obvious names (`user`, `requester`, `on_behalf_of`); Windows: the subject of a logon with explicit credentials (4648). Other events of Windows name only who acted",
				PartExecutor:   "elements with the obvious names (`agent`, `actor`, `service_account`); Windows: the subject of an event, in a logon (4624, 4625) the account that is logged on",
				PartTool:       "elements with the obvious names (`operation`, `tool`); Windows: the provider and the id of the event, `ProcessName`",
				PartPermission: "elements with the obvious names (`permission`, `role`); Windows: `AccessList` and `PrivilegeList` with auditing of object access and of privilege use on",
				PartDecision:   "elements with the obvious names (`decision`, `policy_id`); Windows does not log one",
				PartOutcome:    "elements with the obvious names (`outcome`, `status`); Windows: the audit bits of `Keywords`, with `Status` for the reason",
				PartChain:      "elements with the obvious names (`request_id`, `session_id`, `trace_id`); Windows: the logon id, and `ActivityID` in `Correlation`",
			},
		},
	}
}

func xmlAsJSON() format {
	table := buildNames(nil)
	return format{
		name: "xml", shape: shapeJSON, general: true,
		match: func(e *event) bool {
			t := &e.doc
			if e.windowsRoot() != "" {
				return true
			}
			c := t.first(e.root)
			return c != 0 && t.next(c) == 0 && t.kindOf(c) == kindObject && e.fromXML(c)
		},
		decode: func(e *event) {
			if base := e.windowsRoot(); base != "" {
				e.windowsJSON(base)
				return
			}
			// The one element that all others stand in has a name of its own.
			c := e.doc.first(e.root)
			name := strings.NewReplacer("~", "~0", "/", "~1").Replace(e.text(e.doc.keyOf(c)))
			e.root, e.below = c, e.below+"/"+name
			e.named(table)
		},
	}
}

// fromXML reports whether the members of n bear the marks of a converter.
func (e *event) fromXML(n int32) bool {
	t := &e.doc
	for c, i := t.first(n), 0; c != 0 && i < 64; c, i = t.next(c), i+1 {
		switch key := t.keyOf(c); {
		case len(key) == 0:
		case key[0] == '@' && !bytes.HasPrefix(key, []byte("@timestamp")), string(key) == "#text", string(key) == "$" && t.kindOf(c) == kindObject,
			string(key) == "_attributes", key[0] == '-' && len(key) > 1:
			return true
		}
	}
	return false
}

// windowsRoot is the pointer to a Windows event that is still shaped as its XML.
func (e *event) windowsRoot() string {
	for _, p := range [...]string{"/Event", "/Events/Event"} {
		if e.has(p+"/System/EventID") && e.has(p+"/System/Provider") {
			return p
		}
	}
	if e.has("/System/EventID") && e.has("/System/Provider") && e.has("/System/TimeCreated") {
		return "/"
	}
	return ""
}

func (e *event) xmlLine(table *names) {
	var w windowsEvent
	pairs := e.pairs[:0]
	windows := bytes.Contains(e.payload[:min(len(e.payload), 512)], []byte("schemas.microsoft.com/win/2004/08/events/event"))
	whole := xmlLeaves(e.payload, func(x xmlElement) {
		if len(pairs) >= maxPairs {
			return
		}
		name := x.name
		if i := bytes.IndexByte(name, ':'); i >= 0 {
			name = name[i+1:] // without its namespace
		}
		if data := xmlAttr(x.attrs, "Name"); len(data) > 0 {
			if string(name) == "Provider" {
				w.add([]byte("Provider"), said{data, "/Provider/@Name"})
			} else {
				name = data
			}
		}
		if v := xmlAttr(x.attrs, "SystemTime"); v != nil {
			w.add([]byte("SystemTime"), said{v, "/TimeCreated/@SystemTime"})
		}
		if v := xmlAttr(x.attrs, "ActivityID"); v != nil {
			w.add([]byte("ActivityID"), said{v, "/Correlation/@ActivityID"})
		}
		v := xmlText(x.text)
		pairs = append(pairs, pair{key: name, val: v})
		w.add(name, said{v, "/" + e.text(name)})
	})
	if !whole {
		e.fail("broken XML")
	}
	if windows && w.get("EventID").has() {
		e.windows(&w)
		return
	}
	e.taken(pairs)
	e.named(table)
}

// windowsEvent holds the values of an event by their names.
type windowsEvent struct {
	names [][]byte
	vals  []said
}

func (w *windowsEvent) add(name []byte, s said) {
	if s.has() && len(name) > 0 && string(s.v) != "-" && len(w.vals) < maxPairs {
		w.names, w.vals = append(w.names, name), append(w.vals, s)
	}
}

// get is the value of the first name that has one value only.
func (w *windowsEvent) get(names ...string) said {
	for _, n := range names {
		var found said
		same := true
		for i := range w.names {
			if string(w.names[i]) != n {
				continue
			}
			same = same && (!found.has() || bytes.Equal(found.v, w.vals[i].v))
			found = w.vals[i]
		}
		if found.has() && same {
			return found
		}
	}
	return said{}
}

// xmlMember is the text of an element in converted XML, and its attribute name
// (nil without one).
func (e *event) xmlMember(n int32, name string) (text, attr []byte) {
	t := &e.doc
	if t.kindOf(n) != kindObject {
		return e.value(n), nil
	}
	for _, k := range [...]string{"#text", "_", "$t", "_text", "text", "content", "Text"} {
		if v := e.value(t.get(n, k)); len(v) > 0 {
			text = v
			break
		}
	}
	for _, k := range [...]string{"/@", "/-", "/$/", "/_attributes/", "/#attributes/", "/@attributes/", "/"} {
		if v := e.value(t.find(n, k+name)); len(v) > 0 {
			return text, v
		}
	}
	return text, nil
}

func (e *event) windowsJSON(base string) {
	if base == "/" {
		base = ""
	}
	var w windowsEvent
	t := &e.doc
	system := base + "/System"
	for c := t.first(e.find(system)); c != 0; c = t.next(c) {
		key := t.keyOf(c)
		prov := e.text(e.cat([]byte(system), []byte("/"), key))
		text, _ := e.xmlMember(c, "")
		w.add(key, said{text, prov})
		name, attr := string(key), ""
		switch name {
		case "TimeCreated":
			name, attr = "SystemTime", "SystemTime"
		case "Provider":
			attr = "Name"
		case "Correlation":
			name, attr = "ActivityID", "ActivityID"
		default:
			continue
		}
		_, v := e.xmlMember(c, attr)
		w.add([]byte(name), said{v, prov})
	}
	for _, section := range [...]string{"/EventData", "/UserData"} {
		at := base + section
		data := e.find(at + "/Data")
		if data != 0 && t.kindOf(data) == kindArray {
			i := 0
			for c := t.first(data); c != 0; c = t.next(c) {
				text, name := e.xmlMember(c, "Name")
				w.add(name, said{text, at + "/Data/" + decimal(i)})
				i++
			}
			continue
		}
		if data == 0 || t.kindOf(data) != kindObject {
			data = e.find(at)
		} else {
			at += "/Data"
		}
		if data == 0 || t.kindOf(data) != kindObject {
			continue
		}
		for c := t.first(data); c != 0; c = t.next(c) {
			text, _ := e.xmlMember(c, "")
			w.add(t.keyOf(c), said{text, e.text(e.cat([]byte(at), []byte("/"), t.keyOf(c)))})
		}
	}
	e.windows(&w)
}

// windows fills the record from an event of the Windows Event Log.
func (e *event) windows(w *windowsEvent) {
	r := e.r
	e.noDecide = true
	r.Set(record.SourceProduct, "Windows", "")
	if s := w.get("SystemTime", "TimeCreated"); s.has() {
		e.timeFrom(s.v, s.prov)
	}
	id := w.get("EventID")
	e.tell(record.ActionOperation, id)
	e.tell(record.ActionService, w.get("Provider"))
	e.tell(record.ActionTool, w.get("ProcessName", "NewProcessName", "CallerProcessName", "LogonProcessName"))
	e.tell(record.SourceOriginalID, w.get("EventRecordID"))
	e.tell(record.ChainRequestID, w.get("ActivityID"))
	e.tell(record.SourceAddress, w.get("IpAddress", "ClientAddress"))
	computer := w.get("Computer")
	if e.env.host == nil {
		e.tell(record.SourceHost, computer)
	}
	e.attest("channel", w.get("Channel"))
	e.windowsOutcome(w)
	e.windowsWho(w, string(id.v), computer)
	switch object := w.get("ObjectName", "ShareName", "ServiceName", "TaskName", "CommandLine", "NewProcessName"); {
	case object.has():
		e.tell(record.TargetID, object)
		kind := w.get("ObjectType")
		e.put(record.TargetType, lower(bytes.Clone(kind.v)), kind.prov)
	case computer.has():
		e.tell(record.TargetID, computer)
		r.Set(record.TargetType, "host", "")
	}
	if s := w.get("AccessList", "AccessMask", "PrivilegeList"); s.has() {
		e.put(record.AuthorityPermission, bytes.Join(bytes.Fields(s.v), []byte(" ")), s.prov)
	}
}

// windowsOutcome reads the audit bits of Keywords: 0x10… is a failure, 0x20… a success.
func (e *event) windowsOutcome(w *windowsEvent) {
	r := e.r
	key := w.get("Keywords")
	k := strings.ToLower(string(key.v[:min(len(key.v), 24)]))
	status := record.Unknown
	switch {
	case strings.Contains(k, "audit success"), strings.HasPrefix(k, "0x802"):
		status = record.Success
	case strings.Contains(k, "audit failure"), strings.HasPrefix(k, "0x801"):
		status = record.Failure
		switch string(w.get("EventID").v) {
		case "4625", "4771", "4776", "4768", "4656", "4673":
			status = record.Denied
		}
	}
	e.status(status, key.prov)
	if status != record.Success {
		e.tell(record.OutcomeCode, w.get("SubStatus", "Status", "FailureCode"))
		e.tell(record.OutcomeDetail, w.get("FailureReason"))
	}
	if status == record.Unknown {
		r.Set(record.OutcomeStatus, record.Unknown, "")
	}
}

// windowsAccount joins domain and name of an account, and tells what it is where
// Windows does: the computer's own and the built-in service accounts.
func (e *event) windowsAccount(w *windowsEvent, prefix string) (who said, typ string) {
	name, domain, sid := w.get(prefix+"UserName"), w.get(prefix+"DomainName"), w.get(prefix+"UserSid")
	if !name.has() {
		return said{}, ""
	}
	typ = record.Unknown
	switch s := string(sid.v); {
	case s == "S-1-5-18" || s == "S-1-5-19" || s == "S-1-5-20" || strings.HasPrefix(s, "S-1-5-80-") || strings.HasPrefix(s, "S-1-5-82-"):
		typ = record.ServiceAccount
	case bytes.HasSuffix(name.v, []byte("$")):
		typ = record.Workload
	}
	if domain.has() {
		return said{e.cat(domain.v, []byte(`\`), name.v), name.prov}, typ
	}
	return name, typ
}

func (e *event) windowsWho(w *windowsEvent, id string, computer said) {
	r := e.r
	const kind = "windows_account"
	subject, subjectType := e.windowsAccount(w, "Subject")
	target, targetType := e.windowsAccount(w, "Target")
	issuer := e.text(computer.v)
	switch id {
	case "4624", "4625", "4634", "4647", "4768", "4769", "4771", "4776":
		e.actor(targetType, target, kind, issuer)
		e.put(record.ExecutorLocalAccount, target.v, target.prov)
		e.tell(record.ChainSessionID, w.get("TargetLogonId"))
		e.tell(record.ExecutorInstance, w.get("TargetUserSid", "TargetSid"))
		switch r.Get(record.OutcomeStatus) {
		case record.Denied, record.Failure:
			e.refused()
		}
	case "4648":
		// The subject logs on as somebody else, with that one's password.
		if subjectType == record.Unknown {
			e.asker(subjectType, subject, kind, issuer, fromLogin)
		}
		e.actor(targetType, target, kind, issuer)
		e.put(record.ExecutorLocalAccount, target.v, target.prov)
		e.tell(record.ChainSessionID, w.get("SubjectLogonId"))
		if subject.has() {
			e.delegate(record.Delegation{Principal: e.text(subject.v), Audience: r.Get(record.ExecutorID)}, subject.prov)
		}
	default:
		e.actor(subjectType, subject, kind, issuer)
		e.tell(record.ChainSessionID, w.get("SubjectLogonId"))
		e.tell(record.ExecutorInstance, w.get("SubjectUserSid"))
		e.attest("affected_account", target)
	}
	if !r.Has(record.ExecutorID) {
		r.Unset(record.ExecutorInstance)
	}
}
