package attribution

import (
	"bytes"
	"regexp"
	"slices"
	"time"

	"custody/ingest/record"
)

// fits reports whether the payload is of the mapping's kind.
func (m *mapping) fits(e *event) bool {
	e.root = e.top
	switch {
	case m.res != nil:
		return !e.isJSON && slices.ContainsFunc(m.res, func(re *regexp.Regexp) bool { return re.Match(e.payload) })
	case m.kind == "json":
		return e.isJSON && e.doc.kindOf(e.top) == kindObject
	default:
		return !e.isJSON && e.parsePairs()
	}
}

// found is where the groups of the pattern that matched stand.
type found struct {
	pattern int
	loc     []int
}

// find matches the patterns in order.
func (m *mapping) find(e *event) (f found) {
	for i, re := range m.res {
		if loc := re.FindSubmatchIndex(e.payload); loc != nil {
			return found{i, loc}
		}
	}
	return f
}

// matches reports whether all conditions hold.
func (m *mapping) matches(e *event) bool {
	f := found{}
	if len(m.match) > 0 {
		f = m.find(e)
	}
	for i := range m.match {
		c := &m.match[i]
		v, ok := m.value(e, &c.from, f)
		if !ok || c.value != "*" && string(v) != c.value {
			return false
		}
	}
	return true
}

// value reads an origin.
func (m *mapping) value(e *event, o *origin, f found) ([]byte, bool) {
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
		case m.res != nil:
			if f.loc != nil {
				if g := 2 * o.groups[f.pattern]; g >= 0 && g+1 < len(f.loc) && f.loc[g] >= 0 {
					v = e.payload[f.loc[g]:f.loc[g+1]]
				}
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
	f := m.find(e)
	e.timeRank = 0
	e.noDecide, e.noPolVer = m.spec.NoDecision, m.spec.NoPolicyVersion
	for i := range m.targets {
		m.fill(e, &m.targets[i], f)
	}
	e.settle()
	r := e.r
	if r.Has(record.RequesterID) {
		e.reqProof = m.proof
	}
	for _, d := range []struct {
		id, typ record.Field
		def     string
	}{{record.RequesterID, record.RequesterType, m.spec.RequesterType}, {record.ExecutorID, record.ExecutorType, m.spec.ExecutorType}} {
		if d.def != "" && r.Has(d.id) && r.Prov(d.typ) == "" {
			r.Set(d.typ, d.def, "")
		}
	}
	for i := range m.hops {
		m.delegate(e, &m.hops[i], f)
	}
	m.absences(e)
}

// fill sets the target from the first alternative that has a value.
func (m *mapping) fill(e *event, t *target, f found) {
	for k := range t.from {
		o := &t.from[k]
		var n int32
		if o.kind == fromPayload && m.kind == "json" {
			n = e.find(o.path)
		}
		v, ok := m.value(e, o, f)
		if !ok && (n == 0 || e.doc.kindOf(n) < kindArray) {
			continue
		}
		if ok && m.withheld(v) {
			e.r.SetAbsent(absentName(t), record.Redacted)
			if t.field == record.Delegations {
				e.r.AddFinding(record.DelegationRedacted)
			}
			continue
		}
		if o.digest != asWritten {
			if v, n = o.secret(v), 0; len(v) == 0 {
				continue
			}
		}
		if m.set(e, t, o, v, n) {
			if len(m.spec.Withheld) > 0 {
				e.r.SetAbsent(absentName(t), "")
			}
			return
		}
	}
}

func (m *mapping) withheld(v []byte) bool {
	return slices.ContainsFunc(m.spec.Withheld, func(w string) bool { return w == string(v) })
}

// absentName is how absences name the target.
func absentName(t *target) string {
	switch t.field {
	case record.RequesterID:
		return "requester"
	case record.ExecutorID:
		return "executor"
	case record.DecisionEffect:
		return "decision"
	}
	return t.field.String()
}

// secret is the digest that stands for v.
func (o *origin) secret(v []byte) []byte {
	if o.digest == hashed {
		return fingerprint(v)
	}
	return digestID(v)
}

func (m *mapping) set(e *event, t *target, o *origin, v []byte, n int32) bool {
	if to, ok := t.values[string(v)]; ok {
		v, n = []byte(to), 0
	} else if to, ok := t.values["*"]; ok && n == 0 || ok && e.doc.kindOf(n) < kindArray {
		v, n = []byte(to), 0
	}
	if t.mark != "" {
		if words := markWords[t.mark]; words != nil && !slices.Contains(words, string(v)) {
			return false
		}
		if len(v) > 0 {
			e.add(record.Attributes, e.cat([]byte(t.mark), []byte("="), v), o.prov)
		}
		return len(v) > 0
	}
	if t.field == record.Time {
		ns, ok := m.time(e, v)
		e.timeIs(ns, ok, o.prov)
		return true
	}
	if t.how == asInstant {
		ns, ok := m.time(e, v)
		if !ok { // the layouts are first of all those of the event's time
			ns, ok = parseTime(v, m.zoneOf(e))
		}
		if ok {
			e.r.Set(t.field, instant(ns), o.prov)
		}
		return ok
	}
	if t.sep != "" && len(v) > 0 {
		for w := range bytes.SplitSeq(v, []byte(t.sep)) {
			e.add(t.field, bytes.TrimSpace(w), o.prov)
		}
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

// delegate adds one element of delegation.
func (m *mapping) delegate(e *event, h *hop, f found) {
	var d record.Delegation
	prov := ""
	first := func(from []origin) []byte {
		for i := range from {
			o := &from[i]
			v, ok := m.value(e, o, f)
			if !ok {
				continue
			}
			if m.withheld(v) {
				e.r.AddFinding(record.DelegationRedacted)
				e.r.SetAbsent("delegation", record.Redacted)
				continue
			}
			if o.digest != asWritten {
				if v = o.secret(v); len(v) == 0 {
					continue
				}
			}
			if prov == "" {
				prov = o.prov
			}
			return v
		}
		return nil
	}
	d.Principal, d.Credential = e.text(first(h.principal)), e.text(first(h.credential))
	if d.Principal == "" && d.Credential == "" {
		return
	}
	d.Audience = e.text(first(h.audience))
	m.scopes(e, h, f, &d)
	if v := first(h.expires); len(v) > 0 {
		ns, ok := m.time(e, v)
		if !ok {
			ns, ok = parseTime(v, m.zoneOf(e))
		}
		if ok {
			d.Expires = instant(ns)
		}
	}
	e.delegate(d, prov)
}

// scopes splits the scopes of a delegation; in JSON they can be a list.
func (m *mapping) scopes(e *event, h *hop, f found, d *record.Delegation) {
	sep := m.spec.Separators["delegation.scopes"]
	for i := range h.scopes {
		o := &h.scopes[i]
		if n := int32(0); o.kind == fromPayload && m.kind == "json" {
			if n = e.find(o.path); n != 0 && e.doc.kindOf(n) == kindArray {
				for c := e.doc.first(n); c != 0; c = e.doc.next(c) {
					if v := e.value(c); len(v) > 0 {
						d.Scopes = append(d.Scopes, e.text(v))
					}
				}
				return
			}
		}
		v, ok := m.value(e, o, f)
		if !ok {
			continue
		}
		parts := bytes.FieldsFunc(v, func(c rune) bool { return c == ' ' || c == ',' })
		if sep != "" {
			parts = bytes.Split(v, []byte(sep))
		}
		for _, p := range parts {
			if p = bytes.TrimSpace(p); len(p) > 0 {
				d.Scopes = append(d.Scopes, e.text(p))
			}
		}
		return
	}
}

// absences states why there is nothing where there is nothing.
func (m *mapping) absences(e *event) {
	for _, name := range sorted(m.spec.Absent) {
		if e.r.Absent(name) != "" {
			continue
		}
		f, ok := absentGroup(name)
		if !ok {
			p, _ := record.Lookup(name)
			f = p.Field
		}
		present := e.r.Has(f) || f == record.Delegations && len(e.handed) > 0 || f.IsList() && len(e.listed(f)) > 0 ||
			f == record.Time && e.whenProv != ""
		if !present {
			e.r.SetAbsent(name, m.spec.Absent[name])
		}
	}
}

// zoneOf is the zone of times that state none.
func (m *mapping) zoneOf(e *event) *time.Location {
	if m.zone != nil {
		return m.zone
	}
	return e.src.Zone
}

// time reads v by the mapping's layouts.
func (m *mapping) time(e *event, v []byte) (int64, bool) {
	zone := m.zoneOf(e)
	if len(m.spec.Time) == 0 {
		return parseTime(v, zone)
	}
	if len(v) > 128 {
		return 0, false
	}
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
