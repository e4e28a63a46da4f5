package attribution

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"

	"custody/ingest"
	"custody/ingest/record"
)

// documented are the [[mapping]] tables of docs/source-formats.md.
func documented(t *testing.T) []Mapping {
	t.Helper()
	page, err := os.ReadFile("../../docs/source-formats.md")
	if err != nil {
		t.Fatal(err)
	}
	var all []Mapping
	for _, block := range regexp.MustCompile("(?s)```toml\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		var c struct {
			Mapping []Mapping `toml:"mapping"`
		}
		meta, err := toml.Decode(block[1], &c)
		if err != nil {
			t.Fatalf("%v\n%s", err, block[1])
		}
		if u := meta.Undecoded(); len(u) > 0 {
			t.Errorf("unknown keys %v", u)
		}
		all = append(all, c.Mapping...)
	}
	if len(all) < 2 {
		t.Fatalf("%d mappings on the page", len(all))
	}
	return all
}

func mapped(t *testing.T, w *Worker, line string) *record.Record {
	t.Helper()
	records := decodeAll(t, w, &ingest.Source{Name: "m", Transport: ingest.File}, &ingest.Line{Raw: []byte(line), Received: arrival, Offset: -1})
	if len(records) != 1 {
		t.Fatalf("%d records", len(records))
	}
	return records[0]
}

// expect compares fields; "absent NAME" is a reason, "finding" and "attribute" are membership.
func expect(t *testing.T, r *record.Record, want map[string]string) {
	t.Helper()
	for name, v := range want {
		switch group, rest, _ := strings.Cut(name, " "); group {
		case "absent":
			if got := r.Absent(rest); got != v {
				t.Errorf("%s is absent as %q, want %q", rest, got, v)
			}
		case "finding":
			if has := slices.Contains(r.List(record.Findings), rest); has != (v == "yes") {
				t.Errorf("finding %s: %v", rest, has)
			}
		case "attribute":
			if has := slices.Contains(r.List(record.Attributes), rest); has != (v == "yes") {
				t.Errorf("attribute %s: %v in %v", rest, has, r.List(record.Attributes))
			}
		case "list":
			p, _ := record.Lookup(rest)
			if got := strings.Join(r.List(p.Field), "|"); got != v {
				t.Errorf("%s is %q, want %q", rest, got, v)
			}
		case "from":
			p, _ := record.Lookup(rest)
			if got := r.Prov(p.Field); got != v {
				t.Errorf("%s is from %q, want %q", rest, got, v)
			}
		default:
			p, ok := record.Lookup(name)
			if !ok {
				t.Fatalf("no field %s", name)
			}
			if got := r.Get(p.Field); got != v {
				t.Errorf("%s = %q, want %q", name, got, v)
			}
		}
	}
}

// The mapping on the page does what the page says.
func TestDocumentedMapping(t *testing.T) {
	w := worker(t, documented(t)...)
	expect(t, mapped(t, w, `{"app":"runner","at":"2026-11-23T15:02:07","event":"token made","user":"alice@example.com","agent":"agent/ops",`+
		`"grants":"deploy:write;deploy:read","user_token":"made-up","agent_token_id":"tok-8","until":"2026-11-23T15:30:00","token":"made-up-2","queue":"q1","rc":"0","next":"agent/db","phase":"call"}`), map[string]string{
		"time":                         "2026-11-23T14:02:07.000000000Z",
		"requester.id":                 "alice@example.com",
		"finding requester_asserted":   "no",
		"authority.credential.id":      string(fingerprint([]byte("made-up-2"))),
		"from authority.credential.id": "/token",
		"list authority.scopes":        "deploy:write|deploy:read",
		"credential_event.op":          "issue",
		"outcome.status":               "success",
		"chain.handoff":                "agent/db",
		"attribute half=call":          "yes",
		"attribute queue=q1":           "yes",
		"attribute session=start":      "no",
		"list delegation": `{"principal":"alice@example.com","credential":"` + string(fingerprint([]byte("made-up"))) + `","scopes":["deploy:write","deploy:read"],"audience":"agent/ops","expires":"2026-11-23T14:30:00Z"}` +
			`|{"principal":"agent/ops","credential":"tok-8"}`,
	})
	expect(t, mapped(t, w, `{"app":"runner","at":"2026-11-23T15:02:07Z","event":"shell closed","user":"***","token_sha256":"n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=","rc":"9","state":"approved","phase":"sideways"}`), map[string]string{
		"time":                        "2026-11-23T15:02:07.000000000Z",
		"requester.id":                "",
		"absent requester":            "redacted",
		"absent executor":             "not_established",
		"authority.credential.id":     "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
		"outcome.status":              "failure",
		"credential_event.op":         "",
		"decision.approval.status":    "approved",
		"attribute session=end":       "yes",
		"attribute half=sideways":     "no",
		"finding delegation_redacted": "yes",
	})
	if r := mapped(t, w, `{"app":"runner","token":"s3cret"}`); strings.Contains(string(r.AppendProvenance(nil))+r.Get(record.CredentialID), "s3cret") {
		t.Error("the secret is repeated")
	}
}

// Texts have several shapes; each pattern has groups of its own.
func TestMappingPatterns(t *testing.T) {
	w := worker(t, Mapping{
		Name: "gatekeeper", Kind: "regexp", Match: map[string]string{"app": "gatekeeper"},
		Pattern:  `^session (?P<sid>\S+) opened by (?P<user>\S+) on (?P<host>\S+) as (?P<account>\S+)$`,
		Patterns: []string{`^session (?P<sid>\S+) closed(?: after (?P<took>\S+))?$`, `^token (?P<token>\S+) for (?P<user>\S+) scopes (?P<scopes>\S+) until (?P<until>.+)$`},
		Time:     []string{"syslog"}, Zone: "Europe/Berlin", Proof: "param",
		Fields: map[string]string{
			"requester.id": "user", "target.id": "host", "target.type": "=host", "executor.id": "account", "executor.local_account": "account",
			"chain.session_id": "sid", "authority.credential.id": "sha256:token", "authority.credential.expires": "until", "authority.scopes": "scopes",
		},
		Separators: map[string]string{"authority.scopes": "+"},
		Marks:      map[string]string{"session": "host | took"},
		Values:     map[string]map[string]string{"session": {"web-1": "start", "*": "end"}},
		Delegation: []map[string]string{{"principal": "user", "credential": "sha256:token", "scopes": "scopes"}},
	})
	const head = "Nov 23 14:02:07 bastion gatekeeper: "
	expect(t, mapped(t, w, head+"session s-1 opened by alice@example.com on web-1 as root"), map[string]string{
		"requester.id": "alice@example.com", "executor.id": "root", "chain.session_id": "s-1", "attribute session=start": "yes", "finding requester_asserted": "yes",
		"from requester.id": "/user", "list delegation": `{"principal":"alice@example.com"}`,
	})
	expect(t, mapped(t, w, head+"session s-1 closed after 4m"), map[string]string{
		"requester.id": "", "chain.session_id": "s-1", "attribute session=end": "yes", "list delegation": "", "absent requester": "not_recorded",
	})
	expect(t, mapped(t, w, head+"token abc for bob scopes read+write until 2026-11-23 16:00:00"), map[string]string{
		"requester.id": "bob", "list authority.scopes": "read|write", "authority.credential.expires": "2026-11-23T15:00:00Z",
		"authority.credential.id": string(fingerprint([]byte("abc"))),
	})
}

// What is wrong with a mapping is said by its name and the key.
func TestMappingFaults(t *testing.T) {
	good := func() Mapping {
		return Mapping{Name: "m", Fields: map[string]string{"requester.id": "/u", "authority.scopes": "/s"}}
	}
	for name, c := range map[string]struct {
		change func(*Mapping)
		want   string
	}{
		"zone":         {func(m *Mapping) { m.Zone = "Mars/Base" }, `zone: "Mars/Base"`},
		"proof":        {func(m *Mapping) { m.Proof = "certain" }, `proof: "certain"`},
		"withheld":     {func(m *Mapping) { m.Withheld = []string{""} }, "withheld: an empty value"},
		"absent":       {func(m *Mapping) { m.Absent = map[string]string{"requester": "gone"} }, `absent.requester: "gone"`},
		"absent field": {func(m *Mapping) { m.Absent = map[string]string{"requestr": "redacted"} }, "absent.requestr: no such field"},
		"separator":    {func(m *Mapping) { m.Separators = map[string]string{"requester.id": ";"} }, "separators.requester.id: no list"},
		"empty sep":    {func(m *Mapping) { m.Separators = map[string]string{"authority.scopes": ""} }, "separators.authority.scopes: empty"},
		"sep not used": {func(m *Mapping) { m.Separators = map[string]string{"authority.roles": ";"} }, "separators.authority.roles: the field is not in fields"},
		"hop key":      {func(m *Mapping) { m.Delegation = []map[string]string{{"who": "/a"}} }, "delegation[0].who: not one of"},
		"hop path":     {func(m *Mapping) { m.Delegation = []map[string]string{{"principal": "a"}} }, "delegation[0].principal: "},
		"hop empty":    {func(m *Mapping) { m.Delegation = []map[string]string{{"scopes": "/a"}} }, "delegation[0]: needs a principal"},
		"hop and field": {func(m *Mapping) {
			m.Fields["delegation"] = "/d"
			m.Delegation = []map[string]string{{"principal": "/a"}}
		}, "delegation: is in fields too"},
		"mark":          {func(m *Mapping) { m.Marks = map[string]string{"sesion": "/a"} }, "marks.sesion: no such mark"},
		"mark constant": {func(m *Mapping) { m.Marks = map[string]string{"session": "=begin"} }, `marks.session: "begin"`},
		"mark value": {func(m *Mapping) {
			m.Marks = map[string]string{"half": "/a"}
			m.Values = map[string]map[string]string{"half": {"q": "ask"}}
		}, `values.half: "ask"`},
		"attribute":       {func(m *Mapping) { m.Attributes = map[string]string{"session": "/a"} }, "attributes.session: not a name"},
		"constant digest": {func(m *Mapping) { m.Fields["requester.id"] = "sha256:=x" }, "fields.requester.id: a constant has no digest"},
		"list digest":     {func(m *Mapping) { m.Fields["authority.scopes"] = "sha256:/s" }, "fields.authority.scopes: only text"},
		"pattern kind":    {func(m *Mapping) { m.Patterns = []string{"x"} }, "pattern: only kind regexp"},
		"second pattern": {func(m *Mapping) {
			*m = Mapping{Name: "m", Kind: "regexp", Pattern: "a", Patterns: []string{"("}, Fields: map[string]string{"action.operation": "=x"}}
		}, "patterns[0]: "},
		"no group": {func(m *Mapping) {
			*m = Mapping{Name: "m", Kind: "regexp", Pattern: "(?P<a>a)", Patterns: []string{"(?P<b>b)"}, Fields: map[string]string{"action.operation": "c"}}
		}, `fields.action.operation: the pattern has no group "c"`},
	} {
		t.Run(name, func(t *testing.T) {
			m := good()
			c.change(&m)
			_, err := New(Options{Mappings: []Mapping{m}})
			if err == nil || !strings.HasPrefix(err.Error(), `mapping "m": `+c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
	m := good()
	if _, err := New(Options{Mappings: []Mapping{m}}); err != nil {
		t.Error(err)
	}
}
