package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// cef decodes ArcSight's Common Event Format, version 0 and 1:
// CEF:0|vendor|product|version|class|name|severity|key=value key=value.
// Custom strings (cs1 with cs1Label) go by their labels' names.
func cef() format {
	table := buildNames(nil)
	return format{
		name: "cef", shape: shapeText,
		match: func(e *event) bool { return cefStart(e.payload) >= 0 },
		decode: func(e *event) {
			decodeCEF(e, table)
		},
	}
}

// cefStart finds the header, which some senders put behind a host or a tag.
func cefStart(b []byte) int {
	i := bytes.Index(b[:min(len(b), 128)], []byte("CEF:"))
	if i < 0 || i+5 >= len(b) || b[i+4]-'0' > 9 || b[i+5] != '|' || i > 0 && b[i-1] != ' ' {
		return -1
	}
	return i
}

var cefHeader = [...]string{"header:vendor", "header:product", "header:version", "header:class", "header:name", "header:severity"}

func decodeCEF(e *event, table *names) {
	b := e.payload[cefStart(e.payload)+6:]
	var head [6][]byte
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
			return
		}
		head[h] = cefText(b[:end])
		b = b[end+1:]
	}
	e.pairs = cefPairs(e.pairs[:0], b)
	e.paired, e.isPair, e.pairFault = true, true, ""
	e.markTwice()
	e.pairFaults()
	r := e.r
	if e.src.Product == "" {
		e.put(record.SourceProduct, e.cat(head[0], []byte(" "), head[1]), cefHeader[1])
	}
	e.put(record.ActionService, head[1], cefHeader[1])
	e.put(record.ActionOperation, head[4], cefHeader[4])
	if e.env.pri < 0 {
		e.put(record.SourceSeverity, lower(head[5]), cefHeader[5])
	}
	clear(e.rank[:])
	e.timeRank = 0
	for i := range e.pairs {
		key, ok := strings.CutSuffix(string(e.pairs[i].key), "Label")
		if !ok {
			continue
		}
		name := strings.ReplaceAll(strings.ToLower(string(e.pairs[i].val)), " ", "_")
		if rl := table.rules[name]; rl != nil {
			c := *rl
			c.prov = e.text([]byte("/" + key))
			e.apply(&c, e.pair(key), 0)
		}
	}
	e.cefNames()
	e.settle()
	if r.Has(record.RequesterID) && !r.Has(record.RequesterIssuer) {
		e.set(record.RequesterIssuer, "/sntdom")
	}
}

// cefNames maps the dictionary keys that tell who did what.
func (e *event) cefNames() {
	r := e.r
	if !r.Has(record.RequesterID) {
		if e.set(record.RequesterID, "/suser", "/suid") != nil && r.Prov(record.RequesterID) == "/suser" {
			e.set(record.RequesterName, "/suid")
		}
	}
	if !r.Has(record.ExecutorID) {
		e.set(record.ExecutorID, "/sourceServiceName", "/sproc")
	}
	if v := e.set(record.ExecutorLocalAccount, "/duser", "/duid"); v != nil && !r.Has(record.TargetID) {
		e.set(record.TargetName, "/dhost")
	}
	if e.set(record.TargetID, "/filePath", "/fname", "/request", "/destinationServiceName", "/dhost", "/dst") != nil {
		switch r.Prov(record.TargetID) {
		case "/filePath", "/fname":
			r.Set(record.TargetType, "file", "")
		case "/request":
			r.Set(record.TargetType, "url", "")
		case "/dhost", "/dst":
			r.Set(record.TargetType, "host", "")
		}
	}
	e.set(record.SourceAddress, "/src", "/shost")
	e.set(record.SourceOriginalID, "/externalId")
	e.set(record.Message, "/msg")
	e.set(record.DecisionReason, "/reason")
	if v := e.str("/outcome"); len(v) > 0 {
		r.Set(record.OutcomeStatus, outcome(v), "/outcome")
	}
	if v := e.str("/act"); len(v) > 0 {
		switch d := decision(v); d {
		case record.Allow, record.Deny:
			r.Set(record.DecisionEffect, d, "/act")
		}
	}
	for _, p := range []string{"/rt", "/end", "/start"} {
		if v := e.str(p); len(v) > 0 {
			if ns, size, ok := parseStamp(v, e.received, e.src.Zone, !e.src.Syslog); ok && size == len(v) {
				e.timeIs(ns, true, p)
			} else if ns, ok := cefYear(v); ok {
				e.timeIs(ns, true, p)
			} else {
				e.timeFrom(v, p)
			}
			break
		}
	}
}

// cefYear reads "Nov 23 2026 14:02:07".
func cefYear(v []byte) (int64, bool) {
	f := bytes.Fields(v)
	if len(f) != 4 || len(f[0]) != 3 || len(f[2]) != 4 {
		return 0, false
	}
	m := strings.Index(months, string(f[0]))
	d, ok1 := digits(f[1])
	_, ok2 := digits(f[2])
	if m < 0 || m%3 != 0 || !ok1 || !ok2 || len(f[1]) > 2 || len(f[3]) < 8 {
		return 0, false
	}
	date := []byte{f[2][0], f[2][1], f[2][2], f[2][3], '-', byte('0' + (m/3+1)/10), byte('0' + (m/3+1)%10), '-', byte('0' + d/10), byte('0' + d%10), 'T'}
	return parseRFC3339(append(date, f[3]...), nil)
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

// cefPairs splits the extension. A value goes on, blanks and all, to the word
// in front of the next unescaped equals sign.
func cefPairs(dst []pair, b []byte) []pair {
	var key []byte
	start, lastWord := 0, 0
	for i := 0; i < len(b) && len(dst) < maxPairs; i++ {
		switch b[i] {
		case '\\':
			i++
		case ' ':
			lastWord = i + 1
		case '=':
			next := b[lastWord:i]
			if len(next) == 0 || !isKey(next) || lastWord > 0 && b[lastWord-1] != ' ' {
				continue
			}
			if key != nil {
				dst = append(dst, pair{key: key, val: cefText(bytes.TrimSpace(b[start:max(lastWord, start)]))})
			}
			key, start = next, i+1
			lastWord = i + 1
		}
	}
	if key != nil && start <= len(b) {
		dst = append(dst, pair{key: key, val: cefText(bytes.TrimSpace(b[start:]))})
	}
	return dst
}
