package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// cef decodes ArcSight's Common Event Format, version 0 and 1:
// CEF:0|vendor|product|version|class|name|severity|key=value key=value.
// Custom strings (cs1 with cs1Label) go by their labels' names. Products whose
// extensions mean more have formats of their own.
func cef() format {
	table := buildNames(nil)
	return format{
		name: "cef", shape: shapeText,
		match: func(e *event) bool { return cefStart(e.payload) >= 0 },
		decode: func(e *event) {
			decodeCEF(e, table)
		},
		guide: guide{
			userSet: []string{
				"/msg: whatever the product was given; a product that does not escape `=` lets it look like further fields",
				"/reason: typed by whoever asked",
				"/requestClientApplication: any client",
				"/fname: whoever names the file",
			},
			emit: map[Part]string{
				PartRequester:  "`suser` (`sourceUserName`), else `suid`",
				PartExecutor:   "`sourceServiceName`, else `sproc`: the service or process that acted; the account it used goes to `duser`",
				PartTool:       "header: product and event name; a custom string labelled `tool` names a tool",
				PartPermission: "a custom string labelled `permission`, `role` or `scope`; `spriv` gives the privileges of the source user",
				PartDecision:   "`act` when it is a word for allowing or refusing; custom strings labelled `policy id`, `policy version`, `approver`",
				PartOutcome:    "`outcome`; without it the record says unknown",
				PartChain:      "custom strings labelled `request id`, `session id`, `trace id`; `externalId` is the event's own id",
			},
		},
	}
}

// cefStart finds the header, which some senders put behind a host or a tag.
func cefStart(b []byte) int {
	i := bytes.Index(b[:min(len(b), 128)], []byte("CEF:"))
	if i < 0 || i > 0 && b[i-1] != ' ' && b[i-1] != ':' && b[i-1] != '\t' {
		return -1
	}
	j := i + 4
	if j < len(b) && b[j] == ' ' {
		j++
	}
	if j+1 >= len(b) || b[j]-'0' > 9 || b[j+1] != '|' {
		return -1
	}
	return i
}

// cefFrom reports whether the payload is CEF of one of the vendors.
func (e *event) cefFrom(vendors ...string) bool {
	i := cefStart(e.payload)
	return i >= 0 && vendorIs(e.payload[i:], vendors)
}

// vendorIs compares the second field of a CEF or LEEF header.
func vendorIs(b []byte, vendors []string) bool {
	b = b[:min(len(b), 128)]
	i := bytes.IndexByte(b, '|')
	if i < 0 {
		return false
	}
	for _, v := range vendors {
		if rest := b[i+1:]; len(rest) > len(v) && rest[len(v)] == '|' && strings.EqualFold(string(rest[:len(v)]), v) {
			return true
		}
	}
	return false
}

var cefHeader = [...]string{"header:vendor", "header:product", "header:version", "header:class", "header:name", "header:severity"}

// openCEF reads header and extension. Some products do not escape: with plain,
// a backslash in a value is one.
func (e *event) openCEF(plain bool) (head [6][]byte, ok bool) {
	b := e.payload[cefStart(e.payload):]
	b = b[bytes.IndexByte(b, '|')+1:]
	for h := range head {
		end := 0
		for end < len(b) && b[end] != '|' {
			if b[end] == '\\' {
				end++
			}
			end++
		}
		if end >= len(b) {
			e.fail("CEF header: " + decimal(h) + " of 6 fields")
			return head, false
		}
		head[h] = cefText(b[:end])
		b = b[end+1:]
	}
	e.pairs = cefPairs(e.pairs[:0], b, plain)
	e.paired, e.isPair, e.pairFault = true, true, ""
	e.markTwice()
	e.pairFaults()
	return head, true
}

func decodeCEF(e *event, table *names) {
	head, ok := e.openCEF(false)
	if !ok {
		return
	}
	r := e.r
	if e.src.Product == "" {
		e.put(record.SourceProduct, e.cat(head[0], []byte(" "), head[1]), cefHeader[1])
	}
	e.put(record.ActionService, head[1], cefHeader[1])
	e.put(record.ActionOperation, head[4], cefHeader[4])
	if e.env.pri < 0 {
		e.put(record.SourceSeverity, lower(head[5]), cefHeader[5])
	}
	e.labelled(table)
	e.cefNames()
	e.ownNames(table)
	e.settle()
	if r.Has(record.RequesterID) && !r.Has(record.RequesterIssuer) {
		e.set(record.RequesterIssuer, "/sntdom", "/sourceNtDomain")
	}
}

// labelled takes custom values by the names on their labels: cs1Label=Request ID cs1=7.
func (e *event) labelled(table *names) {
	clear(e.rank[:])
	e.timeRank = 0
	for i := range e.pairs {
		key, ok := strings.CutSuffix(string(e.pairs[i].key), "Label")
		if !ok {
			continue
		}
		label := bytes.Trim(e.pairs[i].val, `"`)
		name := strings.ReplaceAll(strings.ToLower(string(label)), " ", "_")
		if rl := table.rules[name]; rl != nil {
			c := *rl
			c.prov = e.text([]byte("/" + key))
			e.apply(&c, e.pair(key), 0)
		}
	}
}

// ownNames takes keys that are not of the dictionary, for what is still missing.
func (e *event) ownNames(table *names) {
	for i := range e.pairs {
		p := &e.pairs[i]
		if p.twice || cefKeys[string(p.key)] || bytes.HasSuffix(p.key, []byte("Label")) {
			continue
		}
		if rl := table.rules[string(p.key)]; rl != nil && rl.how != asTime && !e.r.Has(rl.field) {
			e.apply(rl, p.val, 0)
		}
	}
}

// cefKeys are keys of the dictionary that are obvious names of something else elsewhere.
var cefKeys = map[string]bool{
	"act": true, "app": true, "msg": true, "src": true, "dst": true, "request": true, "outcome": true, "reason": true,
	"start": true, "end": true, "rt": true, "cat": true, "proto": true, "method": true, "type": true, "count": true,
}

// cefLogin are the keys of names and hosts. A line end never stands in one: the
// "\n" of a backslash-separated domain\name that nobody escaped is no escape.
var cefLogin = map[string]bool{
	"suser": true, "duser": true, "suid": true, "duid": true, "sntdom": true, "dntdom": true, "shost": true, "dhost": true,
	"fname": true, "filePath": true, "oldFileName": true, "oldFilePath": true, "sproc": true, "dproc": true,
	"sourceUserName": true, "destinationUserName": true, "sourceUserId": true, "destinationUserId": true,
}

// cefNames maps the dictionary keys that tell who did what. Full names of keys
// are what some translators write for the short ones.
func (e *event) cefNames() {
	r := e.r
	if !r.Has(record.RequesterID) {
		if e.set(record.RequesterID, "/suser", "/sourceUserName", "/suid", "/sourceUserId") != nil {
			switch r.Prov(record.RequesterID) {
			case "/suser", "/sourceUserName":
				e.set(record.RequesterName, "/suid", "/sourceUserId")
			}
		}
	}
	if !r.Has(record.ExecutorID) {
		e.set(record.ExecutorID, "/sourceServiceName", "/sproc", "/sourceProcessName")
	}
	if v := e.set(record.ExecutorLocalAccount, "/duser", "/destinationUserName", "/duid"); v != nil && !r.Has(record.TargetID) {
		e.set(record.TargetName, "/dhost", "/destinationHostName")
	}
	if !r.Has(record.TargetID) {
		e.cefTarget()
	}
	e.set(record.SourceAddress, "/src", "/sourceAddress", "/shost", "/sourceHostName")
	e.set(record.SourceOriginalID, "/externalId")
	e.set(record.Message, "/msg")
	if !r.Has(record.DecisionReason) {
		e.set(record.DecisionReason, "/reason")
	}
	if e.env.host == nil {
		e.set(record.SourceHost, "/dvchost", "/deviceHostName", "/dvc")
	}
	for _, p := range []string{"/spriv", "/sourceUserPrivileges"} {
		e.add(record.AuthorityRoles, e.str(p), p)
	}
	if v := e.str("/requestClientApplication"); len(v) > 0 {
		e.add(record.Attributes, e.cat([]byte("user_agent="), v), "/requestClientApplication")
	}
	if v := e.str("/outcome"); len(v) > 0 {
		r.Set(record.OutcomeStatus, outcome(v), "/outcome")
	}
	if v := e.str("/act"); len(v) > 0 {
		switch d := decision(v); d {
		case record.Allow, record.Deny:
			r.Set(record.DecisionEffect, d, "/act")
		}
	}
	e.cefTime("/rt", "/deviceReceiptTime", "/end", "/start")
}

func (e *event) cefTarget() {
	r := e.r
	if e.set(record.TargetID, "/filePath", "/fname", "/request", "/destinationServiceName", "/dhost", "/destinationHostName", "/dst") == nil {
		return
	}
	switch r.Prov(record.TargetID) {
	case "/filePath", "/fname":
		r.Set(record.TargetType, "file", "")
	case "/request":
		r.Set(record.TargetType, "url", "")
	case "/dhost", "/destinationHostName", "/dst":
		r.Set(record.TargetType, "host", "")
	}
}

// cefTime takes the event's time from the first key that has a value: with a
// year, without one, as milliseconds, or in RFC 3339.
func (e *event) cefTime(pointers ...string) {
	for _, p := range pointers {
		v := e.str(p)
		if len(v) == 0 {
			continue
		}
		if ns, size, ok := parseStamp(v, e.received, e.src.Zone, !e.src.Syslog); ok && size == len(v) {
			e.timeIs(ns, true, p)
		} else if ns, ok := cefYear(v, e); ok {
			e.timeIs(ns, true, p)
		} else {
			e.timeFrom(v, p)
		}
		return
	}
}

// cefYear reads "Nov 23 2026 14:02:07", with a fraction and with "UTC", "GMT" or an offset behind.
func cefYear(v []byte, e *event) (int64, bool) {
	if len(v) > 48 {
		return 0, false
	}
	f := bytes.Fields(v)
	if len(f) < 4 || len(f) > 5 || len(f[0]) != 3 || len(f[2]) != 4 {
		return 0, false
	}
	m := strings.Index(months, string(f[0]))
	d, ok1 := digits(f[1])
	_, ok2 := digits(f[2])
	if m < 0 || m%3 != 0 || !ok1 || !ok2 || len(f[1]) > 2 || len(f[3]) < 8 {
		return 0, false
	}
	date := []byte{f[2][0], f[2][1], f[2][2], f[2][3], '-', byte('0' + (m/3+1)/10), byte('0' + (m/3+1)%10), '-', byte('0' + d/10), byte('0' + d%10), 'T'}
	date = append(date, f[3]...)
	if len(f) == 5 {
		switch z := string(f[4]); {
		case z == "UTC" || z == "GMT" || z == "Z":
			date = append(date, 'Z')
		case z[0] == '+' || z[0] == '-':
			date = append(date, z...)
		default:
			return 0, false
		}
	}
	return parseRFC3339(date, e.src.Zone)
}

// cefText undoes the escapes of the header and of values.
func cefText(b []byte) []byte {
	if bytes.IndexByte(b, '\\') < 0 {
		return b
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] == '\\' && i+1 < len(b) {
			i++
			switch b[i] {
			case 'n':
				out = append(out, '\n')
			case 'r':
				out = append(out, '\r')
			case '\\', '|', '=':
				out = append(out, b[i])
			default:
				out = append(out, '\\', b[i])
			}
			continue
		}
		out = append(out, b[i])
	}
	return out
}

// cefName is cefText for a name: no line ends.
func cefName(b []byte) []byte {
	if bytes.IndexByte(b, '\\') < 0 {
		return b
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] == '\\' && i+1 < len(b) && (b[i+1] == '\\' || b[i+1] == '|' || b[i+1] == '=') {
			i++
		}
		out = append(out, b[i])
	}
	return out
}

// cefPairs splits the extension. A value goes on, blanks and all, to the word
// in front of the next unescaped equals sign.
func cefPairs(dst []pair, b []byte, plain bool) []pair {
	var key []byte
	start, lastWord := 0, 0
	take := func(end int) {
		if key == nil || start > end {
			return
		}
		v := bytes.TrimSpace(b[start:end])
		switch {
		case plain:
		case cefLogin[string(key)]:
			v = cefName(v)
		default:
			v = cefText(v)
		}
		dst = append(dst, pair{key: key, val: v})
	}
	for i := 0; i < len(b) && len(dst) < maxPairs; i++ {
		switch b[i] {
		case '\\':
			if !plain || i+1 < len(b) && b[i+1] == '=' {
				i++
			}
		case ' ', '\t':
			lastWord = i + 1
		case '=':
			next := b[lastWord:i]
			if len(next) == 0 || !isKey(next) || lastWord > 0 && b[lastWord-1] != ' ' && b[lastWord-1] != '\t' {
				continue
			}
			take(max(lastWord, start))
			key, start = next, i+1
			lastWord = i + 1
		}
	}
	take(len(b))
	return dst
}
