package attribution

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

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
	// Patterns are further patterns of kind regexp, for the program's other messages.
	// They are tried in order behind Pattern; the first that matches is used. A field
	// may name a group that only some of them have.
	Patterns []string `toml:"patterns"`
	// Fields says where each field of the record comes from: a JSON Pointer, a
	// key, a named group, "sd:ID/PARAM", "header:HOSTNAME", "header:APP-NAME",
	// "header:PROCID", or "=value" for a constant. Several, separated by " | ",
	// are tried in order. "sha256:" in front of a place takes the SHA-256 of what stands
	// there, for secrets that must not be repeated; "digest:" takes a SHA-256 that the
	// source wrote itself, in base64 or hexadecimal, in the form in which sources meet.
	Fields map[string]string `toml:"fields"`
	// Values translates what a field's source says, whole value, before the
	// usual normalising: values."outcome.status" = { "0" = "success" }; "*" stands for
	// all that is not named. The names of marks can stand here too.
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
	// Zone is the IANA name of the zone of times that state none. Default the source's.
	Zone string `toml:"zone"`
	// Separators say by what the text of a list is split: separators."authority.scopes"
	// = ";". Default blanks and commas. "delegation.scopes" is that of delegations.
	Separators map[string]string `toml:"separators"`
	// Delegation lists who handed what to the next, the original requester first: each
	// an element with principal, credential, scopes, audience and expires, and where
	// each comes from. Elements without a value are left out.
	Delegation []map[string]string `toml:"delegation"`
	// Marks tell what a record is of something longer: session ("start" or "end" of a
	// session on a host), half ("request", "response", "call" or "result"), approval
	// ("requested", "approved" or "denied") and handoff (the id of the agent handed to).
	Marks map[string]string `toml:"marks"`
	// Attributes are kept as name=value where the record has no field of its own.
	Attributes map[string]string `toml:"attributes"`
	// Absent says why the source does not tell something, where it does not: of a field,
	// or of requester, executor, delegation or decision, "not_recorded",
	// "not_applicable", "redacted" or "not_established".
	Absent map[string]string `toml:"absent"`
	// Withheld are values that stand for one that the source does not show ("***"): the
	// field is absent as redacted.
	Withheld []string `toml:"withheld"`
	// Proof is how the source itself knows the requester: "login" (it authenticated it),
	// "body" (default: it repeats what the writer of the event said) or "param" (a header
	// or a parameter that anyone along the way can set).
	Proof string `toml:"proof"`
	// NoDecision says that the source has no place for decisions, so that none is missing.
	NoDecision bool `toml:"no_decision"`
	// NoPolicyVersion says that it has none for the version of a policy.
	NoPolicyVersion bool `toml:"no_policy_version"`
}

// origin is where a value comes from.
type origin struct {
	kind   originKind
	path   string // pointer, key, header
	groups []int  // index of the group in each pattern, -1 where it has none
	prov   string
	digest digestKind
}

// digestKind is what a secret goes through on its way into the record.
type digestKind uint8

const (
	asWritten  digestKind = iota
	hashed                // its SHA-256
	normalised            // a SHA-256 that the source wrote
)

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
	sep    string // of a list, "" for blanks and commas
	mark   string // name of a mark or an attribute, which has no field
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
	res     []*regexp.Regexp
	match   []condition
	targets []target
	hops    []hop
	zone    *time.Location
	proof   proof
}

// hop is a compiled element of Delegation.
type hop struct {
	principal, credential, scopes, audience, expires []origin
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
		if spec.Pattern == "" && len(spec.Patterns) == 0 {
			return nil, wrong("pattern", "kind regexp needs one")
		}
		if spec.Pattern != "" {
			re, err := regexp.Compile(spec.Pattern)
			if err != nil {
				return nil, fmt.Errorf("mapping %q: pattern: %w", spec.Name, err)
			}
			m.res = append(m.res, re)
		}
		for i, p := range spec.Patterns {
			re, err := regexp.Compile(p)
			if err != nil {
				return nil, fmt.Errorf("mapping %q: patterns[%d]: %w", spec.Name, i, err)
			}
			if p == "" {
				return nil, wrong(fmt.Sprintf("patterns[%d]", i), "empty pattern")
			}
			m.res = append(m.res, re)
		}
	default:
		return nil, wrong("kind", "%q is not json, kv or regexp", spec.Kind)
	}
	if (spec.Pattern != "" || len(spec.Patterns) > 0) && m.res == nil {
		return nil, wrong("pattern", "only kind regexp has one")
	}
	if err := m.options(wrong); err != nil {
		return nil, err
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
	if err := m.additions(wrong); err != nil {
		return nil, err
	}
	if err := m.translations(wrong); err != nil {
		return nil, err
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
