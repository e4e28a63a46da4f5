package attribution

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"custody/ingest/record"
)

// Mapping is one [[mapping]] table: it turns plain JSON, key=value lines or
// text into records without code.
type Mapping struct {
	// Name is shown in source.decoder and named by a source's mapping. Required.
	Name string `toml:"name"`
	// Kind is "json" (default), "kv" or "regexp".
	Kind string `toml:"kind"`
	// Match are conditions that all must hold for a line of a source that does
	// not pin a mapping: "app" or "host" (of the syslog header), a JSON Pointer
	// ("/type"), a key of key=value pairs, or "sd:ID/PARAM"; the value must be
	// equal, or "*" for present. Empty: every line of the kind.
	Match map[string]string `toml:"match"`
	// Pattern is the regular expression (RE2) of kind regexp; its named groups
	// are what fields refer to.
	Pattern string `toml:"pattern"`
	// Fields says where each field of the record comes from: a JSON Pointer, a
	// key, a named group, "sd:ID/PARAM", "header:HOSTNAME", "header:APP-NAME",
	// "header:PROCID", or "=value" for a constant. Several, separated by " | ",
	// are tried in order.
	Fields map[string]string `toml:"fields"`
	// Values translates what a field's source says, whole value, before the
	// usual normalising: values."outcome.status" = { "0" = "success" }.
	Values map[string]map[string]string `toml:"values"`
	// Time are the layouts of the field time, tried in order: "rfc3339", "unix"
	// (seconds to nanoseconds, told apart by size), "syslog", or a Go layout.
	// Default rfc3339 and unix.
	Time []string `toml:"time"`
	// RequesterType and ExecutorType stand where the line does not give a type:
	// person, agent, workload, service_account or unknown.
	RequesterType string `toml:"requester_type"`
	ExecutorType  string `toml:"executor_type"`
	// Product is shown in source.product.
	Product string `toml:"product"`
}

// origin is where a value comes from.
type origin struct {
	kind  originKind
	path  string // pointer, key, header
	group int    // index of the regexp's group
	prov  string
}

type originKind uint8

const (
	fromConstant originKind = iota
	fromPayload
	fromSD
	fromHeader
)

// target is one compiled entry of Fields.
type target struct {
	field  record.Field
	how    how
	from   []origin
	values map[string]string
}

type condition struct {
	from  origin
	value string
}

// mapping is a compiled Mapping.
type mapping struct {
	spec    Mapping
	name    string
	kind    string // as source.format shows it
	decoder string
	re      *regexp.Regexp
	match   []condition
	targets []target
}

var principalTypes = []string{record.Person, record.Agent, record.Workload, record.ServiceAccount, record.Unknown}

// vocabulary lists the values of fields that have a fixed set.
func vocabulary(f record.Field) []string {
	switch f {
	case record.RequesterType, record.ExecutorType:
		return principalTypes
	case record.OutcomeStatus:
		return []string{record.Success, record.Failure, record.Denied, record.Unknown}
	case record.EffectChanged:
		return []string{record.Yes, record.No, record.Unknown}
	case record.ContextMode:
		return []string{"interactive", "autonomous"}
	case record.CredentialEventOp:
		return []string{"issue", "use", "renew", "exchange", "revoke", "expire"}
	}
	return nil
}

func compileMapping(spec *Mapping) (*mapping, error) {
	if spec.Name == "" {
		return nil, fmt.Errorf("mapping: a name is required")
	}
	wrong := func(key, format string, args ...any) error {
		return fmt.Errorf("mapping %q: %s: %s", spec.Name, key, fmt.Sprintf(format, args...))
	}
	m := &mapping{spec: *spec, name: spec.Name, kind: spec.Kind, decoder: "mapping:" + spec.Name}
	switch spec.Kind {
	case "", "json":
		m.kind = "json"
	case "kv":
	case "regexp":
		m.kind = "text"
		re, err := regexp.Compile(spec.Pattern)
		if err != nil {
			return nil, fmt.Errorf("mapping %q: pattern: %w", spec.Name, err)
		}
		if spec.Pattern == "" {
			return nil, wrong("pattern", "kind regexp needs one")
		}
		m.re = re
	default:
		return nil, wrong("kind", "%q is not json, kv or regexp", spec.Kind)
	}
	if spec.Pattern != "" && m.re == nil {
		return nil, wrong("pattern", "only kind regexp has one")
	}
	if len(spec.Fields) == 0 {
		return nil, wrong("fields", "none given")
	}
	for _, t := range []struct{ key, value string }{{"requester_type", spec.RequesterType}, {"executor_type", spec.ExecutorType}} {
		if t.value != "" && !slices.Contains(principalTypes, t.value) {
			return nil, wrong(t.key, "%q is not one of %s", t.value, strings.Join(principalTypes, ", "))
		}
	}
	for _, l := range spec.Time {
		if l == "" || l != "rfc3339" && l != "unix" && l != "syslog" && !strings.ContainsAny(l, "0123456789") {
			return nil, wrong("time", "%q is not rfc3339, unix, syslog or a Go layout", l)
		}
	}
	for _, key := range sorted(spec.Match) {
		from, err := m.origin(key, true)
		if err != nil {
			return nil, wrong("match", "%v", err)
		}
		m.match = append(m.match, condition{from, spec.Match[key]})
	}
	for _, name := range sorted(spec.Fields) {
		t, err := m.target(name, spec.Fields[name])
		if err != nil {
			return nil, wrong("fields."+name, "%v", err)
		}
		m.targets = append(m.targets, t)
	}
	for _, name := range sorted(spec.Values) {
		i := slices.IndexFunc(m.targets, func(t target) bool { return t.field.String() == name })
		if i < 0 {
			return nil, wrong("values."+name, "the field is not in fields%s", suggest(name))
		}
		t := &m.targets[i]
		t.values = spec.Values[name]
		for _, raw := range sorted(t.values) {
			if words := vocabulary(t.field); words != nil && !slices.Contains(words, t.values[raw]) {
				return nil, wrong("values."+name, "%q is not one of %s", t.values[raw], strings.Join(words, ", "))
			}
		}
	}
	return m, nil
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func suggest(name string) string {
	if s := record.Suggest(name); s != "" && s != name {
		return fmt.Sprintf(" (did you mean %q?)", s)
	}
	return ""
}

func (m *mapping) target(name, spec string) (target, error) {
	p, ok := record.Lookup(name)
	if !ok {
		return target{}, fmt.Errorf("no such field%s", suggest(name))
	}
	if p.Sub != "" || !settable(p.Field) {
		return target{}, fmt.Errorf("a mapping cannot set this field")
	}
	t := target{field: p.Field, how: howOf(p.Field)}
	for alt := range strings.SplitSeq(spec, " | ") {
		from, err := m.origin(strings.TrimSpace(alt), false)
		if err != nil {
			return target{}, err
		}
		if words := vocabulary(t.field); from.kind == fromConstant && words != nil && !slices.Contains(words, from.path) {
			return target{}, fmt.Errorf("%q is not one of %s", from.path, strings.Join(words, ", "))
		}
		if from.kind == fromConstant && t.field == record.Time {
			return target{}, fmt.Errorf("time cannot be a constant")
		}
		t.from = append(t.from, from)
	}
	return t, nil
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
	case m.re != nil:
		if o.group = m.re.SubexpIndex(s); o.group < 0 {
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
