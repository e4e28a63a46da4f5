package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// cyberArkText, cyberArkJSON and cyberArkCloud decode CyberArk: audit records of
// the Vault (Privileged Access Manager, by "Create a custom XSL translator file"
// and "Vault audit action codes") through its translators to CEF, LEEF, XML,
// key="value" and JSON; alerts of PTA; and the audit service of the cloud.
func cyberArkText() format {
	return format{
		name: "cyberark", product: "CyberArk", issuer: "cyberark",
		shape: shapeText,
		match: func(e *event) bool {
			b := e.payload
			return e.cefFrom("Cyber-Ark", "CyberArk") || e.leefFrom("Cyber-Ark", "CyberArk") ||
				string(e.env.app) == "%CYBERARK" || bytes.HasPrefix(b, []byte("%CYBERARK:")) ||
				bytes.HasPrefix(b, []byte("<syslog>")) && bytes.Contains(b[:min(len(b), 256)], []byte("<audit_record>"))
		},
		decode: decodeCyberArkText,
		guide:  cyberArkGuide,
	}
}

func cyberArkJSON() format {
	return format{
		name: "cyberark", product: "CyberArk Vault", issuer: "cyberark",
		shape: shapeJSON,
		keys:  []string{"syslog", "audit_record", "MessageID"},
		match: func(e *event) bool { return e.vaultRecord() != "" },
		decode: func(e *event) {
			e.noDecide = true
			base := e.vaultRecord()
			if strings.HasSuffix(base, "monitor_record") {
				e.cyMonitor(base)
				return
			}
			var c cyEntry
			c.fromJSON(e, base)
			e.cyberArk(&c)
		},
	}
}

// vaultRecord is the pointer to a Vault's record, wherever collectors leave it,
// "/" for the event itself and "" for none.
func (e *event) vaultRecord() string {
	for _, p := range [...]string{"/syslog/audit_record", "/audit_record", "/syslog/monitor_record"} {
		if n := e.find(p); n != 0 && e.doc.kindOf(n) == kindObject {
			return p
		}
	}
	if e.has("/MessageID") && e.has("/Issuer") && (e.has("/Station") || e.has("/CAProperties")) {
		return "/"
	}
	return ""
}

// cyEntry is one audit record of the Vault, whatever the translator that wrote it.
type cyEntry struct {
	code, action, severity, issuer    said
	source, target                    said // SourceUser, TargetUser
	safe, file, station, gateway      said
	request, ticket, reason, message  said
	policy, account, address, errors  said // of the account: file categories
	session, host, from, via, command said // of the session: ExtraDetails
	app                               said // AppID of an application that asked
	twice                             bool // a key of ExtraDetails has two values
}

// part is where the value of a name goes: a record's own, a file category's or LEEF's, in lower case.
func (c *cyEntry) part(key string) *said {
	switch key {
	case "messageid":
		return &c.code
	case "action":
		return &c.action
	case "severity":
		return &c.severity
	case "issuer", "usrname":
		return &c.issuer
	case "sourceuser":
		return &c.source
	case "targetuser":
		return &c.target
	case "safe":
		return &c.safe
	case "file":
		return &c.file
	case "station", "src":
		return &c.station
	case "gatewaystation":
		return &c.gateway
	case "requestid":
		return &c.request
	case "ticketid":
		return &c.ticket
	case "reason":
		return &c.reason
	case "message":
		return &c.message
	case "policyid", "capolicy":
		return &c.policy
	case "username":
		return &c.account
	case "address":
		return &c.address
	case "cpmerrordetails":
		return &c.errors
	}
	return nil
}

// take fills a part that is still empty.
func (c *cyEntry) take(key, val []byte, prov string) {
	if len(key) > 32 || len(val) == 0 {
		return
	}
	if p := c.part(string(lower(bytes.Clone(key)))); p != nil && !p.has() {
		*p = said{val, prov}
	}
}

func (c *cyEntry) fromJSON(e *event, base string) {
	if base == "/" {
		base = ""
	}
	t := &e.doc
	obj := e.find(base)
	for n := t.first(obj); n != 0; n = t.next(n) {
		if t.nodes[n].flags&isDuplicate != 0 {
			continue
		}
		key := t.keyOf(n)
		if v := e.value(n); len(v) > 0 {
			c.take(key, v, e.text(e.cat([]byte(base), []byte("/"), key)))
		}
	}
	e.time(base+"/IsoTimestamp", base+"/isoTimestamp")
	if e.whenProv == "" && !e.env.hasTime {
		e.cefTime(base + "/Timestamp")
	}
	if e.env.host == nil {
		e.set(record.SourceHost, base+"/Hostname")
	}
	if !c.action.has() {
		c.action = e.says(base + "/Desc")
	}
	props := base + "/CAProperties"
	if n := e.find(props + "/CAProperty"); n != 0 {
		if t.kindOf(n) == kindObject { // a single property is no array
			c.take(e.value(t.get(n, "Name")), e.value(t.get(n, "Value")), props+"/CAProperty/Value")
		} else {
			i := 0
			for p := t.first(n); p != 0; p = t.next(p) {
				c.take(e.value(t.get(p, "Name")), e.value(t.get(p, "Value")), props+"/CAProperty/"+decimal(i)+"/Value")
				i++
			}
		}
	} else if n := e.find(props); n != 0 && t.kindOf(n) == kindObject {
		for p := t.first(n); p != 0; p = t.next(p) {
			c.take(t.keyOf(p), e.value(p), e.text(e.cat([]byte(props), []byte("/"), t.keyOf(p))))
		}
	}
	c.details(e.says(base + "/ExtraDetails"))
	if n := e.find(base + "/ExtraDetails"); n != 0 && t.kindOf(n) == kindObject {
		for p := t.first(n); p != 0; p = t.next(p) {
			c.detail(t.keyOf(p), e.value(p), e.text(e.cat([]byte(base+"/ExtraDetails/"), t.keyOf(p))))
		}
	}
}

// fromXML reads the audit record as the Vault hands it to translators.
func (c *cyEntry) fromXML(e *event) {
	var extra, stamp, iso, desc said
	whole := xmlLeaves(e.payload, func(x xmlElement) {
		prov := "/" + e.text(x.name)
		switch name := string(x.name); {
		case name == "CAProperty":
			key := xmlAttr(x.attrs, "Name")
			c.take(key, xmlAttr(x.attrs, "Value"), "/CAProperty/"+e.text(key))
		case x.depth != 2: // inside PvwaDetails the same names mean other things
		case name == "ExtraDetails":
			extra = said{xmlText(x.text), prov}
		case name == "IsoTimestamp":
			iso = said{xmlText(x.text), prov}
		case name == "Timestamp":
			stamp = said{xmlText(x.text), prov}
		case name == "Desc":
			desc = said{xmlText(x.text), prov}
		default:
			c.take(x.name, xmlText(x.text), prov)
		}
	})
	if !whole {
		e.fail("broken XML")
	}
	switch {
	case iso.has():
		e.timeFrom(iso.v, iso.prov)
	case stamp.has() && !e.env.hasTime:
		if ns, size, ok := parseStamp(stamp.v, e.received, e.src.Zone, !e.src.Syslog); ok && size == len(stamp.v) {
			e.timeIs(ns, true, stamp.prov)
		}
	}
	c.action = c.action.or(desc)
	c.details(extra)
}

// details reads what a session adds: "DstHost=db1;SessionID=…;User=root;". The
// Vault escapes "\;" and "\=" in values. A key with two values says nothing.
func (c *cyEntry) details(s said) {
	b := s.v
	seen := make(map[string][]byte)
	for len(b) > 0 && len(seen) < maxPairs {
		end := 0
		for end < len(b) && b[end] != ';' {
			if b[end] == '\\' {
				end++
			}
			end++
		}
		one := b[:min(end, len(b))]
		b = b[min(end+1, len(b)):]
		key, val, ok := bytes.Cut(one, []byte("="))
		if key = bytes.TrimSpace(key); !ok || len(key) == 0 || len(key) > 32 {
			continue
		}
		if bytes.IndexByte(val, '\\') >= 0 {
			val = bytes.ReplaceAll(bytes.ReplaceAll(val, []byte(`\;`), []byte(";")), []byte(`\=`), []byte("="))
		}
		if was, twice := seen[string(key)]; twice && !bytes.Equal(was, val) {
			c.detail(key, nil, s.prov)
			c.twice = true
			continue
		}
		seen[string(key)] = val
		c.detail(key, val, s.prov)
	}
}

func (c *cyEntry) detail(key, val []byte, prov string) {
	to := &said{}
	switch string(key) {
	case "SessionID", "PSMSessionID":
		to = &c.session
	case "DstHost":
		to = &c.host
	case "SrcHost":
		to = &c.from
	case "User":
		if len(val) > 0 || c.account.prov == prov {
			c.account = said{val, prov}
		}
		return
	case "ConnectionComponentId", "ApplicationType", "Protocol":
		if c.via.has() {
			return
		}
		to = &c.via
	case "Command", "SQLStatement":
		to = &c.command
	case "AppID", "AppId", "ApplicationID":
		to = &c.app
	}
	*to = said{val, prov}
}

func decodeCyberArkText(e *event) {
	e.noDecide = true
	var c cyEntry
	switch {
	case cefStart(e.payload) >= 0:
		head, ok := e.openCEF(true)
		if !ok {
			return
		}
		e.cyProduct(head[0], head[1])
		if e.env.pri < 0 {
			e.put(record.SourceSeverity, lower(bytes.Clone(head[5])), cefHeader[5])
		}
		if !bytes.EqualFold(head[1], []byte("Vault")) {
			e.cyAlert(head[1], head[4])
			return
		}
		c.code, c.severity = said{head[3], cefHeader[3]}, said{head[5], cefHeader[5]}
		c.fromCEF(e)
		c.action = c.action.or(said{head[4], cefHeader[4]})
	case leefStart(e.payload) >= 0:
		head, ok := e.openLEEF()
		if !ok {
			return
		}
		e.cyProduct(head[0], head[1])
		c.code = said{head[3], leefHeader[3]}
		c.fromPairs(e)
	case bytes.HasPrefix(e.payload, []byte("<syslog>")):
		c.fromXML(e)
	default:
		b := bytes.TrimPrefix(e.payload, []byte("%CYBERARK:"))
		e.pairs = semicolonPairs(e.pairs[:0], b)
		e.paired, e.isPair, e.pairFault = true, true, ""
		e.markTwice()
		e.pairFaults()
		c.fromPairs(e)
		c.action = e.says("/Message").or(e.says("/Desc"))
	}
	e.cyberArk(&c)
}

func (e *event) cyProduct(vendor, product []byte) {
	if e.src.Product == "" {
		e.put(record.SourceProduct, e.cat(bytes.ReplaceAll(vendor, []byte("-A"), []byte("A")), []byte(" "), product), cefHeader[1])
	}
}

// semicolonPairs reads key="value";key="value", in which values hold anything but quotes.
func semicolonPairs(dst []pair, b []byte) []pair {
	for len(b) > 0 && len(dst) < maxPairs {
		b = bytes.TrimLeft(b, " ;")
		key, rest, ok := bytes.Cut(b, []byte("="))
		if !ok || !isKey(key) || len(key) == 0 {
			break
		}
		var val []byte
		if len(rest) > 0 && rest[0] == '"' {
			val, b, _ = bytes.Cut(rest[1:], []byte(`"`))
		} else {
			val, b, _ = bytes.Cut(rest, []byte(";"))
		}
		dst = append(dst, pair{key: key, val: val})
	}
	return dst
}

// fromCEF reads the extension of the Vault's translator. Its keys always come in
// the same order and nothing in it is escaped, so a key of who and where that
// stands behind the reason was typed into the reason.
func (c *cyEntry) fromCEF(e *event) {
	typed := false
	for i := range e.pairs {
		p := &e.pairs[i]
		v := dequoted(p.val)
		if len(v) == 0 || p.twice {
			continue
		}
		to := (*said)(nil)
		switch string(p.key) {
		case "act":
			to = &c.action
		case "suser":
			to = &c.issuer
		case "fname":
			to = &c.file
		case "shost":
			to = &c.station
		case "dhost":
			to = &c.address
		case "duser":
			to = &c.account
		case "externalId":
			to = &c.session
		case "app":
			to = &c.via
		case "reason":
			c.reason, typed = said{v, "/reason"}, true
		case "cs1":
			c.target = said{v, "/cs1"}
		case "cs2":
			c.safe = said{v, "/cs2"}
		case "cn1":
			c.request = said{v, "/cn1"}
		case "cn2":
			c.ticket = said{v, "/cn2"}
		case "msg":
			c.message = said{v, "/msg"}
		}
		if to != nil && !typed {
			*to = said{v, "/" + e.text(p.key)}
		}
	}
	// Root\<device type>-<policy>-<address>-<user>: what is between the parts
	// that stand in fields of their own is the policy.
	name, ok := bytes.CutPrefix(c.file.v, []byte(`Root\`))
	if device := dequoted(e.str("/cs3")); ok && len(device) > 0 && c.address.has() && c.account.has() {
		mid, ok1 := bytes.CutPrefix(name, append(bytes.Clone(device), '-'))
		mid, ok2 := bytes.CutSuffix(mid, e.cat([]byte("-"), c.address.v, []byte("-"), c.account.v))
		if ok1 && ok2 {
			c.policy = said{mid, "/fname"}
		}
	}
	c.host = c.address
	for _, p := range []string{"/cs5", "/msg"} {
		if v := dequoted(e.str(p)); bytes.Contains(v, []byte("SessionID=")) || bytes.Contains(v, []byte("DstHost=")) || bytes.Contains(v, []byte("AppID=")) {
			c.details(said{v, p})
		}
	}
}

func (c *cyEntry) fromPairs(e *event) {
	var extra said
	for i := range e.pairs {
		p := &e.pairs[i]
		v := dequoted(p.val)
		if p.twice || len(v) == 0 {
			continue
		}
		if string(p.key) == "ExtraDetails" {
			extra = said{v, "/ExtraDetails"}
			continue
		}
		c.take(p.key, v, "/"+e.text(p.key))
	}
	if e.env.pri < 0 && c.severity.has() {
		e.put(record.SourceSeverity, lower(bytes.Clone(c.severity.v)), c.severity.prov)
	}
	e.time("/IsoTimestamp")
	c.details(extra)
}
