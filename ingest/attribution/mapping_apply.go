package attribution

import (
	"bytes"
	"time"

	"custody/ingest/record"
)

// fits reports whether the payload is of the mapping's kind.
func (m *mapping) fits(e *event) bool {
	e.root = e.top
	switch {
	case m.re != nil:
		return !e.isJSON && m.re.Match(e.payload)
	case m.kind == "json":
		return e.isJSON && e.doc.kindOf(e.top) == kindObject
	default:
		return !e.isJSON && e.parsePairs()
	}
}

// matches reports whether all conditions hold.
func (m *mapping) matches(e *event) bool {
	for i := range m.match {
		c := &m.match[i]
		v, ok := m.value(e, &c.from, nil)
		if !ok || c.value != "*" && string(v) != c.value {
			return false
		}
	}
	return true
}

// value reads an origin. loc are the regexp's groups, found when nil.
func (m *mapping) value(e *event, o *origin, loc []int) ([]byte, bool) {
	var v []byte
	switch o.kind {
	case fromConstant:
		return []byte(o.path), true
	case fromSD:
		v = e.env.param(o.path)
	case fromHeader:
		switch o.path {
		case "APP-NAME":
			v = e.env.app
		case "HOSTNAME":
			v = e.env.host
		default:
			v = e.env.proc
		}
	case fromPayload:
		switch {
		case m.re != nil:
			if loc == nil {
				loc = m.re.FindSubmatchIndex(e.payload)
			}
			if g := 2 * o.group; g+1 < len(loc) && loc[g] >= 0 {
				v = e.payload[loc[g]:loc[g+1]]
			}
		case m.kind == "json":
			v = e.value(e.find(o.path))
		default:
			v = e.pair(o.path)
		}
	}
	return v, len(v) > 0
}

// apply fills the record.
func (m *mapping) apply(e *event) {
	var loc []int
	if m.re != nil {
		loc = m.re.FindSubmatchIndex(e.payload)
	}
	e.timeRank = 0
	for i := range m.targets {
		t := &m.targets[i]
		for k := range t.from {
			o := &t.from[k]
			var n int32
			if o.kind == fromPayload && m.kind == "json" {
				n = e.find(o.path)
			}
			v, ok := m.value(e, o, loc)
			if !ok && (n == 0 || e.doc.kindOf(n) < kindArray) {
				continue
			}
			if m.set(e, t, o, v, n) {
				break
			}
		}
	}
	e.settle()
	r := e.r
	for _, d := range []struct {
		id, typ record.Field
		def     string
	}{{record.RequesterID, record.RequesterType, m.spec.RequesterType}, {record.ExecutorID, record.ExecutorType, m.spec.ExecutorType}} {
		if d.def != "" && r.Has(d.id) && r.Prov(d.typ) == "" {
			r.Set(d.typ, d.def, "")
		}
	}
}

func (m *mapping) set(e *event, t *target, o *origin, v []byte, n int32) bool {
	if to, ok := t.values[string(v)]; ok {
		v, n = []byte(to), 0
	}
	if t.field == record.Time {
		ns, ok := m.time(e, v)
		e.timeIs(ns, ok, o.prov)
		return true
	}
	if words := vocabulary(t.field); words != nil || o.kind == fromConstant && t.how == asText {
		for _, w := range words {
			if w == string(v) {
				e.r.Set(t.field, w, o.prov)
				return true
			}
		}
		if o.kind == fromConstant && words == nil {
			e.r.Set(t.field, o.path, "")
			return true
		}
	}
	return e.convert(t.field, t.how, v, n, o.prov)
}

// time reads v by the mapping's layouts.
func (m *mapping) time(e *event, v []byte) (int64, bool) {
	if len(m.spec.Time) == 0 {
		return parseTime(v, e.src.Zone)
	}
	if len(v) > 128 {
		return 0, false
	}
	zone := e.src.Zone
	if zone == nil {
		zone = time.UTC
	}
	for _, l := range m.spec.Time {
		switch l {
		case "rfc3339":
			if ns, ok := parseRFC3339(v, zone); ok {
				return ns, true
			}
		case "unix":
			if ns, ok := parseUnix(v); ok {
				return ns, true
			}
		case "syslog":
			if ns, size, ok := parseStamp(v, e.received, zone, !e.src.Syslog); ok && size == len(v) {
				return ns, true
			}
		default:
			if t, err := time.ParseInLocation(l, string(bytes.TrimSpace(v)), zone); err == nil {
				if ns, ok := record.Nanos(t); ok {
					return ns, true
				}
			}
		}
	}
	return 0, false
}
