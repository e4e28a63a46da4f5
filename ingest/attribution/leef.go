package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// leef decodes QRadar's Log Event Extended Format, by IBM's "LEEF event
// components": LEEF:1.0|vendor|product|version|event|key=value<tab>key=value, and
// LEEF:2.0, which names its delimiter in a sixth field, as itself or in hex.
func leef() format {
	table := buildNames(nil)
	return format{
		name: "leef", shape: shapeText,
		match:  func(e *event) bool { return leefStart(e.payload) >= 0 },
		decode: func(e *event) { decodeLEEF(e, table) },
		guide: guide{
			userSet: []string{
				"/url: any client",
				"/reason: typed by whoever asked",
				"/resource: whoever names the resource",
			},
			emit: map[Part]string{
				PartRequester:  "`usrName`; `accountName` without it",
				PartExecutor:   "a key of the product's own (`agent`, `actor`, `service_account`); LEEF has none for it",
				PartTool:       "header: product and event id; a key `tool` names a tool",
				PartPermission: "`role`, or keys of the product's own (`permission`, `scope`)",
				PartDecision:   "`policy`, and `action` or `decision` when it is a word for allowing or refusing",
				PartOutcome:    "keys of the product's own (`outcome`, `result`, `status`)",
				PartChain:      "keys of the product's own (`request_id`, `session_id`, `trace_id`)",
			},
		},
	}
}

// leefStart finds the header, which some senders put behind a host or a tag.
func leefStart(b []byte) int {
	i := bytes.Index(b[:min(len(b), 128)], []byte("LEEF:"))
	if i < 0 || i > 0 && b[i-1] != ' ' && b[i-1] != ':' && b[i-1] != '\t' {
		return -1
	}
	j := i + 5
	if j < len(b) && b[j] == ' ' {
		j++
	}
	if j+1 >= len(b) || b[j] != '1' && b[j] != '2' || b[j+1] != '.' && b[j+1] != '|' {
		return -1
	}
	return i
}

// leefFrom reports whether the payload is LEEF of one of the vendors.
func (e *event) leefFrom(vendors ...string) bool {
	i := leefStart(e.payload)
	return i >= 0 && vendorIs(e.payload[i:], vendors)
}

var leefHeader = [...]string{"header:vendor", "header:product", "header:version", "header:event"}

// openLEEF reads header and attributes.
func (e *event) openLEEF() (head [4][]byte, ok bool) {
	b := bytes.TrimSpace(e.payload[leefStart(e.payload)+5:])
	version, b, _ := bytes.Cut(b, []byte("|"))
	for h := range head {
		f, rest, more := bytes.Cut(b, []byte("|"))
		if !more && h < 3 {
			e.fail("LEEF header: " + decimal(h) + " of 4 fields")
			return head, false
		}
		head[h], b = bytes.TrimSpace(f), rest
	}
	var delim []byte
	if version[0] == '2' {
		if f, rest, more := bytes.Cut(b, []byte("|")); more && len(f) <= 6 {
			delim, b = leefDelimiter(f), rest
		}
	}
	e.pairs = leefPairs(e.pairs[:0], b, delim)
	e.paired, e.isPair, e.pairFault = true, true, ""
	e.markTwice()
	e.pairFaults()
	return head, true
}

// leefDelimiter reads a delimiter: one character, or x09, 0x09, \x09; nil for none.
func leefDelimiter(f []byte) []byte {
	f = bytes.TrimSpace(f)
	if len(f) == 1 {
		return f
	}
	f = bytes.TrimPrefix(bytes.TrimPrefix(f, []byte(`\`)), []byte("0"))
	f, ok := bytes.CutPrefix(f, []byte("x"))
	if !ok || len(f) == 0 || len(f) > 4 {
		return nil
	}
	if r := hex4(append([]byte("0000")[:4-len(f)], f...)); r > 0 {
		return []byte(string(r))
	}
	return nil
}

// leefPairs splits the attributes. Relays turn tabs into "#011", "\t" or blanks;
// with blanks a value ends at the word in front of the next equals sign.
func leefPairs(dst []pair, b, delim []byte) []pair {
	if delim == nil {
		for _, d := range []string{"\t", "#011", `\t`} {
			if bytes.Contains(b, []byte(d)) {
				delim = []byte(d)
				break
			}
		}
	}
	if delim == nil {
		return cefPairs(dst, b, true)
	}
	for len(b) > 0 && len(dst) < maxPairs {
		var one []byte
		one, b, _ = bytes.Cut(b, delim)
		key, val, ok := bytes.Cut(one, []byte("="))
		if key = bytes.TrimSpace(key); ok && len(key) > 0 && isKey(key) {
			dst = append(dst, pair{key: key, val: bytes.TrimSpace(val)})
		}
	}
	return dst
}

func decodeLEEF(e *event, table *names) {
	head, ok := e.openLEEF()
	if !ok {
		return
	}
	r := e.r
	if e.src.Product == "" {
		e.put(record.SourceProduct, e.cat(head[0], []byte(" "), head[1]), leefHeader[1])
	}
	e.put(record.ActionService, head[1], leefHeader[1])
	e.put(record.ActionOperation, head[3], leefHeader[3])
	clear(e.rank[:])
	e.timeRank = 0
	e.set(record.RequesterID, "/usrName", "/accountName")
	if r.Has(record.RequesterID) {
		e.set(record.RequesterIssuer, "/domain", "/realm")
	}
	e.set(record.SourceAddress, "/src", "/identSrc")
	e.set(record.DecisionPolicyID, "/policy")
	e.set(record.DecisionReason, "/reason")
	e.add(record.AuthorityRoles, e.str("/role"), "/role")
	if e.set(record.TargetID, "/resource", "/url", "/dst") != nil {
		switch r.Prov(record.TargetID) {
		case "/url":
			r.Set(record.TargetType, "url", "")
		case "/dst":
			r.Set(record.TargetType, "host", "")
		}
	}
	if e.env.pri < 0 {
		e.put(record.SourceSeverity, lower(e.str("/sev")), "/sev")
	}
	if v := e.str("/action"); len(v) > 0 {
		switch d := decision(v); d {
		case record.Allow, record.Deny:
			r.Set(record.DecisionEffect, d, "/action")
		}
	}
	for i := range e.pairs {
		p := &e.pairs[i]
		if rl := table.rules[string(p.key)]; rl != nil && !p.twice && rl.how != asTime && !r.Has(rl.field) && !leefKeys[string(p.key)] {
			e.apply(rl, p.val, 0)
		}
	}
	e.leefTime()
	e.settle()
}

// leefKeys are predefined attributes that are obvious names of something else elsewhere.
var leefKeys = map[string]bool{
	"src": true, "dst": true, "url": true, "policy": true, "resource": true, "role": true, "reason": true, "action": true, "domain": true, "cat": true, "proto": true,
}

// leefTime reads devTime, by devTimeFormat (a pattern of Java) where that is one of the usual.
func (e *event) leefTime() {
	v := e.str("/devTime")
	if len(v) == 0 {
		return
	}
	if layout := javaLayout(string(e.str("/devTimeFormat"))); layout != "" {
		if ns, ok := parseLayout(v, layout, e.src.Zone); ok {
			e.timeIs(ns, true, "/devTime")
			return
		}
	}
	e.cefTime("/devTime")
}

// javaLayout turns a pattern of Java's SimpleDateFormat into a layout of package
// time; "" for one with letters that it does not know.
func javaLayout(p string) string {
	if p == "" || len(p) > 40 {
		return ""
	}
	parts := [...][2]string{
		{"yyyy", "2006"},
		{"MMM", "Jan"},
		{"MM", "01"},
		{"dd", "02"},
		{"HH", "15"},
		{"hh", "03"},
		{"mm", "04"},
		{"ss", "05"},
		{"SSS", "000"},
		{"XXX", "Z07:00"},
		{"Z", "-0700"},
		{"a", "PM"},
		{"d", "2"},
		{"'T'", "T"},
		{"'Z'", "Z"},
	}
	var out strings.Builder
next:
	for len(p) > 0 {
		for _, x := range parts {
			if rest, ok := strings.CutPrefix(p, x[0]); ok {
				out.WriteString(x[1])
				p = rest
				continue next
			}
		}
		if c := p[0]; c|0x20 >= 'a' && c|0x20 <= 'z' || c == '\'' {
			return ""
		}
		out.WriteByte(p[0])
		p = p[1:]
	}
	return out.String()
}
