package attribution

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"custody/ingest/record"
)

// fault builds an error that names the mapping and the key.
type fault func(key, format string, args ...any) error

// options compiles what is said of the mapping as a whole.
func (m *mapping) options(wrong fault) error {
	spec := &m.spec
	if spec.Zone != "" {
		zone, err := time.LoadLocation(spec.Zone)
		if err != nil {
			return wrong("zone", "%q is not a zone of the IANA database (Europe/Berlin, say)", spec.Zone)
		}
		m.zone = zone
	}
	switch spec.Proof {
	case "", "body":
		m.proof = fromBody
	case "login":
		m.proof = fromLogin
	case "param":
		m.proof = fromParam
	default:
		return wrong("proof", "%q is not login, body or param", spec.Proof)
	}
	if slices.Contains(spec.Withheld, "") {
		return wrong("withheld", "an empty value is missing, not withheld")
	}
	reasons := []string{record.NotRecorded, record.NotApplicable, record.Redacted, record.NotEstablished}
	for _, name := range sorted(spec.Absent) {
		if !slices.Contains(reasons, spec.Absent[name]) {
			return wrong("absent."+name, "%q is not one of %s", spec.Absent[name], strings.Join(reasons, ", "))
		}
		if _, ok := absentGroup(name); ok {
			continue
		}
		if p, ok := record.Lookup(name); !ok || p.Sub != "" {
			return wrong("absent."+name, "no such field%s", suggest(name))
		}
	}
	for _, name := range sorted(spec.Separators) {
		if spec.Separators[name] == "" {
			return wrong("separators."+name, "empty separator")
		}
		p, ok := record.Lookup(name)
		if !ok || p.Sub != "" && name != "delegation.scopes" || p.Sub == "" && !p.Field.IsList() {
			return wrong("separators."+name, "no list%s", suggest(name))
		}
		if _, ok := spec.Fields[name]; !ok && name != "delegation.scopes" {
			return wrong("separators."+name, "the field is not in fields")
		}
	}
	return nil
}

// absentGroup is the field whose value makes a group present.
func absentGroup(name string) (record.Field, bool) {
	switch name {
	case "requester":
		return record.RequesterID, true
	case "executor":
		return record.ExecutorID, true
	case "decision":
		return record.DecisionEffect, true
	case "delegation":
		return record.Delegations, true
	}
	return 0, false
}

// markWords are the marks and what they can say, nil for anything.
var markWords = map[string][]string{
	"session": {"start", "end"}, "half": {"request", "response", "call", "result"},
	"approval": {"requested", "approved", "denied"}, "handoff": nil,
}

// additions compiles delegations, marks and attributes.
func (m *mapping) additions(wrong fault) error {
	spec := &m.spec
	for i, element := range spec.Delegation {
		var h hop
		for _, key := range sorted(element) {
			to := map[string]*[]origin{
				"principal": &h.principal, "credential": &h.credential, "scopes": &h.scopes, "audience": &h.audience, "expires": &h.expires,
			}[key]
			if to == nil {
				return wrong(fmt.Sprintf("delegation[%d].%s", i, key), "not one of principal, credential, scopes, audience, expires")
			}
			from, err := m.origins(element[key])
			if err != nil {
				return wrong(fmt.Sprintf("delegation[%d].%s", i, key), "%v", err)
			}
			*to = from
		}
		if h.principal == nil && h.credential == nil {
			return wrong(fmt.Sprintf("delegation[%d]", i), "needs a principal or a credential")
		}
		m.hops = append(m.hops, h)
	}
	if _, both := spec.Fields["delegation"]; both && len(m.hops) > 0 {
		return wrong("delegation", "is in fields too: one of them says it")
	}
	for _, name := range sorted(spec.Marks) {
		words, known := markWords[name]
		if !known {
			return wrong("marks."+name, "no such mark: want session, half, approval or handoff")
		}
		from, err := m.origins(spec.Marks[name])
		if err != nil {
			return wrong("marks."+name, "%v", err)
		}
		for _, o := range from {
			if o.kind == fromConstant && words != nil && !slices.Contains(words, o.path) {
				return wrong("marks."+name, "%q is not one of %s", o.path, strings.Join(words, ", "))
			}
		}
		m.targets = append(m.targets, target{field: record.Attributes, from: from, mark: name})
	}
	for _, name := range sorted(spec.Attributes) {
		if _, mark := markWords[name]; mark || name == "" || strings.ContainsAny(name, "= \n") {
			return wrong("attributes."+name, "not a name for an attribute")
		}
		from, err := m.origins(spec.Attributes[name])
		if err != nil {
			return wrong("attributes."+name, "%v", err)
		}
		m.targets = append(m.targets, target{field: record.Attributes, from: from, mark: name})
	}
	return nil
}

// translations compiles Values.
func (m *mapping) translations(wrong fault) error {
	for _, name := range sorted(m.spec.Values) {
		i := slices.IndexFunc(m.targets, func(t target) bool {
			return t.mark == name || t.mark == "" && t.field.String() == name
		})
		if i < 0 {
			return wrong("values."+name, "the field is not in fields%s", suggest(name))
		}
		t := &m.targets[i]
		t.values = m.spec.Values[name]
		words := vocabulary(t.field)
		if t.mark != "" {
			words = markWords[t.mark]
		}
		for _, raw := range sorted(t.values) {
			if words != nil && !slices.Contains(words, t.values[raw]) {
				return wrong("values."+name, "%q is not one of %s", t.values[raw], strings.Join(words, ", "))
			}
		}
	}
	return nil
}

func (m *mapping) target(name, spec string) (target, error) {
	p, ok := record.Lookup(name)
	if !ok {
		return target{}, fmt.Errorf("no such field%s", suggest(name))
	}
	if p.Sub != "" || !settable(p.Field) {
		return target{}, fmt.Errorf("a mapping cannot set this field")
	}
	t := target{field: p.Field, how: howOf(p.Field), sep: m.spec.Separators[name]}
	from, err := m.origins(spec)
	if err != nil {
		return target{}, err
	}
	for _, o := range from {
		if words := vocabulary(t.field); o.kind == fromConstant && words != nil && !slices.Contains(words, o.path) {
			return target{}, fmt.Errorf("%q is not one of %s", o.path, strings.Join(words, ", "))
		}
		if o.kind == fromConstant && t.field == record.Time {
			return target{}, fmt.Errorf("time cannot be a constant")
		}
		if o.digest != asWritten && t.field.Info().Kind != record.Text {
			return target{}, fmt.Errorf("only text can be a digest")
		}
	}
	t.from = from
	return t, nil
}

// origins compiles alternatives.
func (m *mapping) origins(spec string) (out []origin, err error) {
	for alt := range strings.SplitSeq(spec, " | ") {
		alt = strings.TrimSpace(alt)
		digest := asWritten
		if rest, ok := strings.CutPrefix(alt, "sha256:"); ok {
			alt, digest = rest, hashed
		} else if rest, ok := strings.CutPrefix(alt, "digest:"); ok {
			alt, digest = rest, normalised
		}
		o, err := m.origin(alt, false)
		if err != nil {
			return nil, err
		}
		if digest != asWritten && o.kind == fromConstant {
			return nil, fmt.Errorf("a constant has no digest")
		}
		o.digest = digest
		out = append(out, o)
	}
	return out, nil
}

// origin compiles one source of a value. In conditions app and host mean the header.
func (m *mapping) origin(s string, condition bool) (origin, error) {
	switch {
	case s == "":
		return origin{}, fmt.Errorf("empty path")
	case s[0] == '=':
		if len(s) == 1 {
			return origin{}, fmt.Errorf("empty constant")
		}
		return origin{kind: fromConstant, path: s[1:]}, nil
	case strings.HasPrefix(s, "sd:"):
		if id, param, ok := strings.Cut(s[3:], "/"); !ok || id == "" || param == "" {
			return origin{}, fmt.Errorf("%q is not sd:ID/PARAM", s)
		}
		return origin{kind: fromSD, path: s[3:], prov: s}, nil
	case condition && (s == "app" || s == "host") || strings.HasPrefix(s, "header:"):
		name := map[string]string{"app": "APP-NAME", "host": "HOSTNAME"}[s]
		if name == "" {
			name = s[len("header:"):]
		}
		if name != "APP-NAME" && name != "HOSTNAME" && name != "PROCID" {
			return origin{}, fmt.Errorf("%q is not header:HOSTNAME, header:APP-NAME or header:PROCID", s)
		}
		return origin{kind: fromHeader, path: name, prov: "header:" + name}, nil
	}
	o := origin{kind: fromPayload, path: s, prov: s}
	switch {
	case m.res != nil:
		known := false
		for _, re := range m.res {
			i := re.SubexpIndex(s)
			o.groups, known = append(o.groups, i), known || i >= 0
		}
		if !known {
			return origin{}, fmt.Errorf("the pattern has no group %q", s)
		}
		o.prov = "/" + s
	case m.kind == "json":
		if s[0] != '/' {
			return origin{}, fmt.Errorf("%q is not a JSON Pointer (it must begin with a slash)", s)
		}
	default:
		o.path = strings.TrimPrefix(s, "/")
		o.prov = "/" + o.path
	}
	return o, nil
}
