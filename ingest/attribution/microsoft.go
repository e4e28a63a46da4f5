package attribution

import (
	"bytes"
	"strconv"
	"strings"

	"custody/ingest/record"
)

// What the formats of Microsoft share: the batches of Azure Monitor and Graph,
// the forms of user names, lists of named values.

// azureList finds the events of a batch: {"records":[…]} of Azure Monitor,
// {"value":[…]} of Microsoft Graph, or a bare array. An object that holds more is
// kept whole.
func azureList(match func(e *event) bool) func(e *event) int32 {
	return func(e *event) int32 {
		t := &e.doc
		n := root
		if t.kindOf(root) != kindArray {
			n = 0
			if t.kindOf(root) != kindObject {
				return 0
			}
			for c := t.first(root); c != 0; c = t.next(c) {
				switch key := t.keyOf(c); {
				case string(key) == "records", string(key) == "value":
					if n != 0 {
						return 0
					}
					n = c
				case bytes.HasPrefix(key, []byte("@odata.")):
				default:
					return 0
				}
			}
			if n == 0 || t.kindOf(n) != kindArray {
				return 0
			}
		}
		c := t.first(n)
		if c == 0 || t.kindOf(c) != kindObject {
			return 0
		}
		e.root = c
		ok := match(e)
		e.root = root
		if !ok {
			return 0
		}
		return n
	}
}

// serviceNames are the beginnings of user names that Microsoft's own software signs in with.
var serviceNames = [...]string{
	"sync_", "adtoaadsyncserviceaccount", "fim_password_service@", "serviceprincipal_", "app@sharepoint",
	"healthmailbox", "systemmailbox{", "discoverysearchmailbox", "msol_", "extest_", "federatedemail.", "migration.", "sharepoint\\system",
}

// microsoftPrincipal tells what kind of principal a user name of Microsoft is.
// Only what has the form of a user principal name is a person: a bare GUID can
// be anything.
func microsoftPrincipal(id []byte) string {
	s := strings.ToLower(string(id[:min(len(id), 256)]))
	for _, p := range serviceNames {
		if strings.HasPrefix(s, p) {
			return record.ServiceAccount
		}
	}
	switch {
	case strings.HasPrefix(s, "nt authority\\"), strings.HasPrefix(s, "nt service\\"), s == "s-1-5-18", s == "s-1-5-19", s == "s-1-5-20":
		return record.Workload
	case strings.HasPrefix(s, "urn:"), strings.ContainsAny(s, " \t"):
		if !strings.HasPrefix(s, "urn:spo:guest#") {
			break
		}
		return principalType(s)
	case principalType(s) == record.Person:
		return record.Person
	}
	if strings.IndexByte(s, '@') < 0 && (strings.HasSuffix(s, "service") || strings.HasPrefix(s, "microsoft")) {
		return record.Workload
	}
	return record.Unknown
}

// isNobody reports names that stand where a source has no name.
func isNobody(id []byte) bool {
	switch string(lower(bytes.Clone(id))) {
	case "", "unknown", "not_found", "not_available", "notavailable", "n/a", "anonymous", "none", "null", "undefined",
		"00000000_0000_0000_0000_000000000000":
		return true
	}
	return false
}

// isGUID reports whether v has the form of a GUID.
func isGUID(v []byte) bool {
	_, ok := record.ParseID(string(v[:min(len(v), 37)]))
	return ok
}

// keyed finds the value of an entry in a list of {"key":…,"value":…} at
// pointer, without regard to case; the pointer of the value with it.
func (e *event) keyed(pointer, key, value, want string) (v []byte, prov string) {
	n := e.find(pointer)
	if n == 0 || e.doc.kindOf(n) != kindArray {
		return nil, ""
	}
	i := 0
	for c := e.doc.first(n); c != 0; c = e.doc.next(c) {
		if e.doc.kindOf(c) == kindObject && strings.EqualFold(string(e.value(e.doc.get(c, key))), want) {
			if v := e.value(e.doc.get(c, value)); len(v) > 0 {
				return v, pointer + "/" + strconv.Itoa(i) + "/" + value
			}
		}
		i++
	}
	return nil, ""
}

// attr adds "name=value" to the attributes if there is a value.
func (e *event) attr(name, pointer string) {
	if v := e.str(pointer); len(v) > 0 {
		e.add(record.Attributes, e.cat([]byte(name), []byte("="), v), pointer)
	}
}

// words adds the words of v, separated by spaces or commas, to the list f.
func (e *event) words(f record.Field, pointer string) {
	if n := e.find(pointer); n != 0 && e.doc.kindOf(n) == kindArray {
		e.list(f, pointer)
		return
	}
	for w := range bytes.FieldsFuncSeq(e.str(pointer), func(r rune) bool { return r == ' ' || r == ',' }) {
		e.add(f, w, pointer)
	}
}

// unquoted strips the JSON string or one-element list that Microsoft writes into a text value.
func unquoted(v []byte) []byte {
	v = bytes.TrimSpace(v)
	v = bytes.TrimSuffix(bytes.TrimPrefix(v, []byte("[")), []byte("]"))
	return bytes.Trim(bytes.TrimSpace(v), `"`)
}

// foldContains reports whether v contains the lower-case text want, without regard to case.
func foldContains(v []byte, want string) bool {
	return bytes.Contains(bytes.ToLower(v), []byte(want))
}

// client sets the client's address, without port and brackets, and an IPv4 address as one.
func (e *event) client(pointers ...string) {
	for _, p := range pointers {
		v := e.str(p)
		if len(v) == 0 || string(v) == "<null>" || string(v) == "null" {
			continue
		}
		if v[0] == '[' {
			if i := bytes.IndexByte(v, ']'); i > 0 {
				v = v[1:i]
			}
		} else if i := bytes.IndexByte(v, ':'); i > 0 && bytes.IndexByte(v[i+1:], ':') < 0 {
			v = v[:i]
		}
		if v4, ok := bytes.CutPrefix(v, []byte("::ffff:")); ok && bytes.IndexByte(v4, '.') > 0 {
			v = v4
		}
		e.put(record.SourceAddress, v, p)
		return
	}
}
