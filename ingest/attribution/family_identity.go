package attribution

import (
	"bytes"

	"custody/ingest/record"
)

// identity are the formats of identity providers and access planes.
func identity() []format {
	return []format{
		teleport(),
		teleportWrapped(),
		okta(),
		keycloak(),
		keycloakJSON(),
		auth0(),
		pingOne(),
		pingFederate(),
	}
}

// attributes adds an attribute name=value for each element of the array at pointer.
func (e *event) attributes(name, pointer string) {
	n := e.find(pointer)
	if n == 0 || e.doc.kindOf(n) != kindArray {
		e.attribute(name, pointer)
		return
	}
	for c := e.doc.first(n); c != 0; c = e.doc.next(c) {
		if v := e.value(c); len(v) > 0 {
			e.add(record.Attributes, e.cat([]byte(name), []byte("="), v), pointer)
		}
	}
}

// mark adds an attribute that the decoder itself states.
func (e *event) mark(attribute, prov string) {
	e.add(record.Attributes, []byte(attribute), prov)
}

// clientAddress sets the client's address without its port.
func (e *event) clientAddress(pointers ...string) {
	for _, p := range pointers {
		if v := e.str(p); len(v) > 0 {
			e.put(record.SourceAddress, hostOf(v), p)
			return
		}
	}
}

// hostOf is an address without its port: "192.0.2.7:41106", "[2001:db8::7]:22".
func hostOf(v []byte) []byte {
	if len(v) > 0 && v[0] == '[' {
		if i := bytes.IndexByte(v, ']'); i > 0 {
			return v[1:i]
		}
		return v
	}
	if i := bytes.IndexByte(v, ':'); i > 0 && bytes.IndexByte(v[i+1:], ':') < 0 {
		return v[:i]
	}
	return v
}

// traceParent reads a W3C traceparent, "00-TRACE-PARENT-FLAGS".
func (e *event) traceParent(pointers ...string) {
	for _, p := range pointers {
		v := e.str(p)
		if len(v) < 55 || v[2] != '-' || v[35] != '-' || v[52] != '-' {
			continue
		}
		e.put(record.ChainTraceID, v[3:35], p)
		e.put(record.ChainParentID, v[36:52], p)
		return
	}
}

// isUUID reports whether v has the form of a UUID.
func isUUID(v []byte) bool {
	if len(v) != 36 {
		return false
	}
	for i, c := range v {
		switch {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case c-'0' < 10, c|0x20 >= 'a' && c|0x20 <= 'f':
		default:
			return false
		}
	}
	return true
}

// refusals are the words by which products say that somebody was not let in,
// against those of something that broke.
var refusals = [...]string{
	"denied", "not allowed", "not authorized", "unauthorized", "forbidden", "permission", "not permitted",
	"no access", "insufficient", "invalid credential", "did not match any allow rule", "not in the set of valid principals",
}

func refused(detail []byte) bool {
	if len(detail) > 1024 {
		detail = detail[:1024]
	}
	detail = bytes.ToLower(detail)
	for _, w := range refusals {
		if bytes.Contains(detail, []byte(w)) {
			return true
		}
	}
	return false
}

// inner parses the JSON object that begins at byte i of the payload of a line of
// text, and makes it the event. It reports whether there is one.
func (e *event) inner(i int) bool {
	if i < 0 || i >= len(e.payload) || e.payload[i] != '{' {
		return false
	}
	e.doc.parse(e.payload[i:], e.ctl)
	e.root, e.isPair = root, false
	return e.doc.kindOf(root) == kindObject
}

// innerFaults states what is wrong with the JSON that inner found.
func (e *event) innerFaults() {
	e.jsonFaults(&e.doc, e.root, decimal(len(e.in.Line.Raw)-len(e.doc.src)))
}

// inside makes the object at the pointer the event; what is read then keeps its
// whole pointer in the provenance.
func (e *event) inside(pointer string) bool {
	n := e.doc.find(e.root, pointer)
	if n == 0 || e.doc.kindOf(n) != kindObject {
		return false
	}
	e.root, e.below = n, e.below+pointer
	return true
}

// scopeList reads a list of scopes: an array, or text with commas or blanks.
func (e *event) scopeList(pointer string) (out []string) {
	n := int32(0)
	if !e.isPair {
		n = e.find(pointer)
	}
	if n != 0 && e.doc.kindOf(n) == kindArray {
		for c := e.doc.first(n); c != 0; c = e.doc.next(c) {
			if v := e.value(c); len(v) > 0 {
				out = append(out, e.text(v))
			}
		}
		return out
	}
	for s := range bytes.FieldsFuncSeq(e.str(pointer), func(c rune) bool { return c == ',' || c == ' ' }) {
		out = append(out, e.text(s))
	}
	return out
}
