package attribution

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strconv"
)

// encoded are the values that the audit system writes in hexadecimal when they
// hold a blank, a quote or a byte that is no printable ASCII, and in quotes otherwise.
var encoded = map[string]bool{
	"acct": true, "cmd": true, "proctitle": true, "name": true, "cwd": true, "comm": true, "exe": true, "data": true, "key": true,
	"path": true, "file": true, "watch": true, "dir": true, "ocomm": true, "grp": true, "new_group": true, "unit": true, "vm": true, "ctx": true,
	"profile": true, "operation": true, "peer": true, "sw": true, "root_dir": true, "device": true,
}

// text reads the values of one record. prov is where they stand in JSON, "" for a
// line of text. Behind the enrichment's separator keys are upper case.
func (a *auditEvent) text(rec int, b []byte, prov string) {
	typ := a.types[rec].name
	inner := false
	var last []byte // the word before: "old auid=0 new auid=1000"
	if typ == "AVC" || typ == "USER_AVC" {
		a.avc(rec, b, prov)
	}
	for i := 0; i < len(b) && len(a.vals) < maxAuditValues; {
		switch {
		case b[i] <= ' ' || b[i] == ',' || b[i] == '(' || b[i] == ')' || b[i] == '\'':
			i++
			continue
		case bytes.HasPrefix(b[i:], []byte("#035")): // the separator as rsyslog escapes it
			i += 4
			continue
		}
		start := i
		for i < len(b) && b[i] > ' ' && b[i] != '=' {
			i++
		}
		key := b[start:i]
		if i >= len(b) || b[i] != '=' {
			last = key
			continue
		}
		i++
		if i < len(b) && b[i] == '\'' && string(key) == "msg" {
			inner = true
			i++
			last = nil
			continue
		}
		val, quoted, next := auditToken(b, i)
		if !quoted && (string(key) == "proctitle" || string(key) == "cmd") {
			val, next = interpreted(b, i, val, next)
		}
		i = next
		if len(key) == 0 || len(key) > 64 {
			last = nil
			continue
		}
		name := string(key)
		if string(last) == "old" {
			name = "old-" + name
		}
		last = nil
		if isExec := typ == "EXECVE" && argument(name); !quoted && (encoded[name] || isExec) {
			val = a.unhex(val)
		}
		if len(val) == 0 {
			continue
		}
		v := auditValue{key: name, val: val, rec: rec, inner: inner}
		if prov != "" {
			v.prov = prov
		}
		a.vals = append(a.vals, v)
	}
	if len(a.vals) == maxAuditValues {
		a.fault = "more values than are read"
	}
}

// auditToken reads the value at i.
func auditToken(b []byte, i int) (val []byte, quoted bool, next int) {
	if i < len(b) && b[i] == '"' {
		if end := bytes.IndexByte(b[i+1:], '"'); end >= 0 {
			return b[i+1 : i+1+end], true, i + end + 2
		}
		return b[i+1:], true, len(b)
	}
	if i < len(b) && b[i] == '{' { // { saddr_fam=inet laddr=10.0.0.5 lport=443 }
		if end := bytes.IndexByte(b[i:], '}'); end >= 0 {
			return bytes.TrimSpace(b[i+1 : i+end]), true, i + end + 1
		}
	}
	start := i
	for i < len(b) && b[i] > ' ' && !bytes.HasPrefix(b[i:], []byte("#035")) {
		if b[i] == '(' { // EACCES(Permission denied), (null)
			if end := bytes.IndexByte(b[i:min(len(b), i+80)], ')'); end >= 0 {
				i += end
			}
		}
		i++
	}
	val = bytes.TrimRight(b[start:i], "',")
	if bytes.HasSuffix(val, []byte(")")) && bytes.IndexByte(val, '(') < 0 {
		val = val[:len(val)-1]
	}
	return val, false, i
}

// interpreted reads a command line that ausearch -i wrote out: it is not quoted,
// and ends at the key behind it or with the line.
func interpreted(b []byte, i int, val []byte, next int) ([]byte, int) {
	if next >= len(b) || b[next] != ' ' {
		return val, next
	}
	end := len(b)
	if k := bytes.Index(b[i:], []byte(" terminal=")); k >= 0 {
		end = i + k
	} else if k := bytes.Index(b[i:], []byte(" exe=")); k >= 0 {
		end = i + k
	}
	for _, c := range val {
		if c-'0' > 9 && (c < 'A' || c > 'F') {
			return bytes.TrimRight(b[i:end], " '"), end
		}
	}
	return val, next
}

// argument reports whether the key is an argument of EXECVE: a0, a12, a3[1].
func argument(key string) bool {
	if len(key) < 2 || key[0] != 'a' || key[1]-'0' > 9 {
		return false
	}
	return len(key) < 4 || key[len(key)-4:] != "_len"
}

// unhex decodes a value that was written in hexadecimal; others stay as they are.
func (a *auditEvent) unhex(v []byte) []byte {
	if len(v) < 2 || len(v)%2 != 0 {
		return v
	}
	for _, c := range v {
		if c-'0' > 9 && (c < 'A' || c > 'F') {
			return v
		}
	}
	at := len(a.mem)
	for i := 0; i < len(v); i += 2 {
		a.mem = append(a.mem, nibble(v[i])<<4|nibble(v[i+1]))
	}
	return a.mem[at:len(a.mem):len(a.mem)]
}

func nibble(c byte) byte {
	if c-'0' < 10 {
		return c - '0'
	}
	return c - 'A' + 10
}

// avc reads "avc:  denied  { read write } for …".
func (a *auditEvent) avc(rec int, b []byte, prov string) {
	i := bytes.Index(b[:min(len(b), 2048)], []byte("avc:"))
	if i < 0 {
		return
	}
	rest := bytes.TrimLeft(b[i+len("avc:"):], " ")
	word, rest, _ := bytes.Cut(rest, []byte(" "))
	add := func(key string, v []byte) {
		if len(v) > 0 && len(v) < 512 {
			a.vals = append(a.vals, auditValue{key: key, val: v, rec: rec, prov: prov})
		}
	}
	if s := string(word); s == "denied" || s == "granted" {
		add("seresult", word)
	}
	if open := bytes.IndexByte(rest[:min(len(rest), 16)], '{'); open >= 0 {
		if end := bytes.IndexByte(rest, '}'); end > open {
			add("seperms", bytes.TrimSpace(rest[open+1:end]))
		}
	}
}

// auditAddress reads a socket address: the kernel's structure in hexadecimal, or
// what enrichment made of it. kind is the target's type.
func auditAddress(v []byte) (kind, address string) {
	raw := make([]byte, 0, 128)
	for i := 0; i+1 < len(v) && i < 256; i += 2 {
		if !hexDigit(v[i]) || !hexDigit(v[i+1]) {
			return enrichedAddress(v)
		}
		raw = append(raw, nibble(upper(v[i]))<<4|nibble(upper(v[i+1])))
	}
	if len(raw) < 3 {
		return "", ""
	}
	family := int(raw[0]) | int(raw[1])<<8
	switch {
	case family == 1:
		path := raw[2:]
		if path[0] == 0 {
			path = path[1:]
			if len(path) > 0 {
				path = append([]byte("@"), bytes.TrimRight(path, "\x00")...)
			}
		} else if i := bytes.IndexByte(path, 0); i >= 0 {
			path = path[:i]
		}
		return "socket", string(clean(path))
	case family == 2 && len(raw) >= 8:
		ip := netip.AddrFrom4([4]byte(raw[4:8]))
		return "address", netip.AddrPortFrom(ip, binary.BigEndian.Uint16(raw[2:4])).String()
	case family == 10 && len(raw) >= 24:
		ip := netip.AddrFrom16([16]byte(raw[8:24]))
		return "address", netip.AddrPortFrom(ip, binary.BigEndian.Uint16(raw[2:4])).String()
	case family == 16:
		return "socket", "netlink"
	}
	return "socket", "family " + strconv.Itoa(family)
}

func hexDigit(c byte) bool { return c-'0' < 10 || c|0x20 >= 'a' && c|0x20 <= 'f' }

func upper(c byte) byte {
	if c >= 'a' && c <= 'z' {
		return c - 0x20
	}
	return c
}

// enrichedAddress reads "saddr_fam=inet laddr=10.0.0.5 lport=443", "fam=local
// path=/run/x" and the older "inet host:10.0.0.5 serv:22".
func enrichedAddress(v []byte) (kind, address string) {
	var host, port, path []byte
	for w := range bytes.FieldsSeq(bytes.ReplaceAll(v, []byte(":"), []byte("="))) {
		k, val, _ := bytes.Cut(w, []byte("="))
		switch string(k) {
		case "laddr", "host":
			// A colon of an IPv6 address was a separator above.
			host = bytes.ReplaceAll(val, []byte("="), []byte(":"))
		case "lport", "serv":
			port = val
		case "path":
			path = val
		}
	}
	switch {
	case len(host) > 0 && len(port) > 0:
		if bytes.IndexByte(host, ':') >= 0 {
			return "address", "[" + string(clean(host)) + "]:" + string(clean(port))
		}
		return "address", string(clean(host)) + ":" + string(clean(port))
	case len(path) > 0:
		return "socket", string(clean(path))
	}
	return "", ""
}
