package attribution

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"custody/ingest"
	"custody/ingest/record"
)

func worker(t *testing.T, mappings ...Mapping) *Worker {
	t.Helper()
	g, err := New(Options{Mappings: mappings})
	if err != nil {
		t.Fatal(err)
	}
	return g.Worker()
}

func one(t *testing.T, w *Worker, src *ingest.Source, raw string) *record.Record {
	t.Helper()
	records := decodeAll(t, w, src, &ingest.Line{Raw: []byte(raw), Received: arrival, Offset: -1})
	checkRecords(t, []byte(raw), records)
	return records[0]
}

// TestAssuranceIsCapped: authenticated needs trust, a pinned format and the issuer.
func TestAssuranceIsCapped(t *testing.T) {
	w := worker(t)
	const line = `{"requester":"alice@example.com","requester_issuer":"okta","agent":"a","tool":"t"}`
	for trusted := range 2 {
		for pinned := range 2 {
			for listed := range 3 {
				src := &ingest.Source{Name: "s", Transport: ingest.TLS, Trusted: trusted == 1}
				if pinned == 1 {
					src.Format = "json"
				}
				src.AuthoritativeFor = [][]string{nil, {"okta"}, {"other", ""}}[listed]
				r := one(t, w, src, line)
				want := record.Asserted
				if trusted == 1 && pinned == 1 && listed == 1 {
					want = record.Authenticated
				}
				if got := r.Get(record.RequesterAssurance); got != want {
					t.Errorf("trusted %d, pinned %d, listed %d: %s, want %s", trusted, pinned, listed, got, want)
				}
				if asserted := slices.Contains(r.List(record.Findings), record.RequesterAsserted); asserted == (want == record.Authenticated) {
					t.Errorf("requester_asserted is %v beside %s", asserted, want)
				}
			}
		}
	}
	// What a caller may set itself is never more than asserted.
	src := &ingest.Source{Name: "s", Trusted: true, Format: "vault", AuthoritativeFor: []string{"vault"}}
	r := one(t, w, src, `{"time":"2026-11-23T14:02:07Z","type":"response","auth":{"display_name":"approle-ci","metadata":{"on_behalf_of":"alice@example.com"}},"request":{"operation":"read","path":"secret/x"}}`)
	if r.Get(record.RequesterAssurance) != record.Asserted || r.Get(record.ExecutorAssurance) != record.Authenticated {
		t.Errorf("requester %s, executor %s", r.Get(record.RequesterAssurance), r.Get(record.ExecutorAssurance))
	}
	// A malformed line proves nothing.
	src = &ingest.Source{Name: "s", Trusted: true, Format: "json", AuthoritativeFor: []string{"json"}}
	if r := one(t, w, src, `{"requester":"alice@example.com","x":1,"x":2}`); r.Get(record.RequesterAssurance) != record.Asserted {
		t.Error("a malformed line is authenticated")
	}
}

func TestTenantIsTheSources(t *testing.T) {
	w := worker(t)
	r := one(t, w, &ingest.Source{Name: "s", Tenant: "acme"}, `{"tenant":"other","context.tenant":"other","context":{"tenant":"other"},"user":"a@b.c","action":"x"}`)
	if r.Get(record.ContextTenant) != "acme" || r.Get(record.RequesterTenant) != "other" {
		t.Errorf("context.tenant %q, requester.tenant %q", r.Get(record.ContextTenant), r.Get(record.RequesterTenant))
	}
}

// TestReserved: a line cannot state what custody observes or concludes.
func TestReserved(t *testing.T) {
	w := worker(t)
	r := one(t, w, &ingest.Source{Name: "s", Transport: ingest.UDP}, `{"findings":["x"],"capture":"full","risk":"low","requester.assurance":"authenticated",`+
		`"source":{"name":"evil","peer":"1.2.3.4","demo":"true"},"links":[{"to":1}],"about":["x"],"message_offset":"9","user":"a@b.c"}`)
	for _, f := range []record.Field{record.Capture, record.Risk, record.SourceDemo, record.MessageOffset} {
		if r.Has(f) {
			t.Errorf("%s = %q", f, r.Get(f))
		}
	}
	if r.Get(record.SourceName) != "s" || r.Get(record.SourcePeer) != "10.0.0.3" || len(r.List(record.Links)) != 0 || r.Get(record.RequesterAssurance) != record.Asserted {
		t.Errorf("%s", r.AppendJSON(nil))
	}
}

func TestReceiverFaults(t *testing.T) {
	w := worker(t)
	src := &ingest.Source{Name: "s", Syslog: true}
	raw := []byte(`<13>Nov 23 14:02:07 h app: hello`)
	r := decodeAll(t, w, src, &ingest.Line{Raw: raw, Received: arrival, Offset: -1, FullLength: 70000})[0]
	if r.Get(record.SourceTruncated) != "70000" || !slices.Contains(r.List(record.Findings), record.Malformed) {
		t.Errorf("%s", r.AppendJSON(nil))
	}
	r = decodeAll(t, w, src, &ingest.Line{Raw: raw, Received: arrival, Offset: -1, Defect: "bad frame"})[0]
	if r.Get(record.SourceError) != "bad frame" || !slices.Contains(r.List(record.Findings), record.Malformed) || r.Get(record.SourceApp) != "app" {
		t.Errorf("%s", r.AppendJSON(nil))
	}
	for _, empty := range []string{"", " ", "<13>"} {
		one(t, w, src, empty)
		one(t, w, &ingest.Source{Name: "s"}, empty)
	}
}

func TestYearOfStamp(t *testing.T) {
	berlin := time.FixedZone("", 3600)
	at := func(s string) int64 {
		ns, ok := record.ParseTime(s)
		if !ok {
			t.Fatal(s)
		}
		return ns
	}
	for _, c := range []struct {
		stamp, received, want string
		zone                  *time.Location
		past                  bool
	}{
		{"Dec 31 23:59:58", "2027-01-01T00:00:03Z", "2026-12-31T23:59:58Z", nil, false},
		{"Jan  1 00:00:02", "2026-12-31T23:59:59Z", "2027-01-01T00:00:02Z", nil, false},
		{"Jan 1 00:30:00", "2026-12-31T23:30:05Z", "2026-12-31T23:30:00Z", berlin, false},
		{"Feb 29 12:00:00", "2028-03-01T00:00:00Z", "2028-02-29T12:00:00Z", nil, false},
		{"Nov  7 08:00:00.250", "2026-11-07T08:00:01Z", "2026-11-07T08:00:00.25Z", nil, false},
		{"Dec 31 10:00:00", "2026-11-23T00:00:00Z", "2026-12-31T10:00:00Z", nil, false},
		{"Dec 31 10:00:00", "2026-11-23T00:00:00Z", "2025-12-31T10:00:00Z", nil, true},
	} {
		ns, _, ok := parseStamp([]byte(c.stamp), at(c.received), c.zone, c.past)
		if !ok || ns != at(c.want) {
			t.Errorf("%s received %s: %s, %v; want %s", c.stamp, c.received, instant(ns), ok, c.want)
		}
	}
	for _, bad := range []string{"Feb 31 12:00:00", "Foo  1 00:00:00", "Jan 1 24:00:00", "Jan 00 10:00:00", "Jan"} {
		if ns, _, ok := parseStamp([]byte(bad), arrival, nil, false); ok {
			t.Errorf("%s read as %s", bad, instant(ns))
		}
	}
}

// TestTimesMatchThePackage compares the hand-written reader with package time.
func TestTimesMatchThePackage(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		want := time.Unix(rnd.Int64N(8e9)-2e9, rnd.Int64N(1e9)).In(time.FixedZone("", (rnd.IntN(1800)-900)*60))
		s := want.Format(time.RFC3339Nano)
		if ns, ok := parseTime([]byte(s), nil); !ok || ns != want.UnixNano() {
			t.Fatalf("%s: %s, %v", s, instant(ns), ok)
		}
	}
	for s, want := range map[string]string{
		"1795442527": "2026-11-23T14:02:07Z", "1795442527.5": "2026-11-23T14:02:07.5Z", "1795442527114": "2026-11-23T14:02:07.114Z",
		"1795442527114512": "2026-11-23T14:02:07.114512Z", "1795442527114512001": "2026-11-23T14:02:07.114512001Z",
		"2026-11-23 14:02:07,114": "2026-11-23T14:02:07.114Z", "2026-11-23T15:02:07+0100": "2026-11-23T14:02:07Z",
	} {
		ns, ok := parseTime([]byte(s), nil)
		if !ok || instant(ns) != want {
			t.Errorf("%s: %s, %v; want %s", s, instant(ns), ok, want)
		}
	}
	for _, s := range []string{"", "12", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-11-23T14:02:07x", "99999999999999999999", "1e9", "2026-11-23"} {
		if ns, ok := parseTime([]byte(s), nil); ok {
			t.Errorf("%q read as %s", s, instant(ns))
		}
	}
}

func TestMappingErrors(t *testing.T) {
	ok := map[string]string{"requester.id": "/user"}
	for _, c := range []struct {
		m    Mapping
		want []string
	}{
		{Mapping{}, []string{"name"}},
		{Mapping{Name: "m"}, []string{`"m"`, "fields"}},
		{Mapping{Name: "m", Kind: "xml", Fields: ok}, []string{`"m"`, "kind", "xml"}},
		{Mapping{Name: "m", Fields: map[string]string{"requestor.id": "/user"}}, []string{`"m"`, "requestor.id", `"requester.id"`}},
		{Mapping{Name: "m", Fields: map[string]string{"tool": "/user"}}, []string{`"m"`, "tool", `"action.tool"`}},
		{Mapping{Name: "m", Fields: map[string]string{"findings": "/user"}}, []string{`"m"`, "findings", "cannot set"}},
		{Mapping{Name: "m", Fields: map[string]string{"context.tenant": "/t"}}, []string{"context.tenant", "cannot set"}},
		{Mapping{Name: "m", Fields: map[string]string{"requester.id": "user"}}, []string{"requester.id", "JSON Pointer"}},
		{Mapping{Name: "m", Fields: map[string]string{"outcome.status": "=fine"}}, []string{"outcome.status", "fine", "success"}},
		{Mapping{Name: "m", Fields: map[string]string{"outcome.status": "/s"}, Values: map[string]map[string]string{"outcome.status": {"0": "good"}}}, []string{"values.outcome.status", "good"}},
		{Mapping{Name: "m", Fields: ok, Values: map[string]map[string]string{"action.tool": {"0": "x"}}}, []string{"values.action.tool"}},
		{Mapping{Name: "m", Kind: "regexp", Pattern: "(", Fields: ok}, []string{`"m"`, "pattern"}},
		{Mapping{Name: "m", Kind: "regexp", Pattern: "(?P<a>x)", Fields: map[string]string{"requester.id": "b"}}, []string{"requester.id", `"b"`}},
		{Mapping{Name: "m", Fields: ok, RequesterType: "human"}, []string{"requester_type", "human"}},
		{Mapping{Name: "m", Fields: ok, Time: []string{"iso"}}, []string{"time", "iso"}},
		{Mapping{Name: "m", Fields: map[string]string{"requester.id": "sd:x"}}, []string{"requester.id", "sd:ID/PARAM"}},
	} {
		_, err := New(Options{Mappings: []Mapping{c.m}})
		if err == nil {
			t.Errorf("%+v is accepted", c.m)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("error %q does not name %s", err, w)
			}
		}
	}
	if _, err := New(Options{Mappings: []Mapping{{Name: "m", Fields: ok}, {Name: "m", Fields: ok}}}); err == nil || !strings.Contains(err.Error(), `"m"`) {
		t.Errorf("same name twice: %v", err)
	}
}

func TestPinnedMapping(t *testing.T) {
	w := worker(t, testMappings()...)
	src := &ingest.Source{Name: "s", Mapping: "gate", Trusted: true, AuthoritativeFor: []string{"gate"}}
	r := one(t, w, src, `who=alice door=7 res=open`)
	if r.Get(record.SourceDecoder) != "mapping:gate" || r.Get(record.RequesterID) != "alice" || r.Get(record.RequesterAssurance) != record.Authenticated {
		t.Errorf("%s", r.AppendJSON(nil))
	}
	r = one(t, w, src, `{"who":"alice"}`)
	if r.Has(record.RequesterID) || !slices.Contains(r.List(record.Findings), record.Malformed) {
		t.Errorf("%s", r.AppendJSON(nil))
	}
}

// TestListFaultsStayWithTheirElement: one bad event does not spoil its neighbours.
func TestListFaultsStayWithTheirElement(t *testing.T) {
	w := worker(t)
	ev := func(more string) string {
		return `{"eventVersion":"1.11","eventSource":"s3.amazonaws.com","eventName":"X"` + more + `}`
	}
	raw := `{"Records":[` + ev("") + `,` + ev(`,"requestID":"a","requestID":"b"`) + `, ` + ev(",\"z\":\"\xff\"") + `,7,` + ev(",\"z\":\"a\tb\"") + `,` + ev("") + `]}`
	records := decodeAll(t, w, &ingest.Source{Name: "s"}, &ingest.Line{Raw: []byte(raw), Received: arrival})
	checkRecords(t, []byte(raw), records)
	want := []string{"", "duplicate key", "invalid UTF-8", "not a cloudtrail event", "control character", ""}
	if len(records) != len(want) {
		t.Fatalf("%d records", len(records))
	}
	for i, r := range records {
		got := r.Get(record.SourceError)
		if got != want[i] && (want[i] == "" || !strings.Contains(got, want[i])) {
			t.Errorf("element %d: %q, want %q", i, got, want[i])
		}
	}
	// Something beside the list is evidence too: the line stays whole.
	raw = `{"Records":[` + ev("") + `],"note":"x"}`
	if n := len(decodeAll(t, w, &ingest.Source{Name: "s"}, &ingest.Line{Raw: []byte(raw), Received: arrival})); n != 1 {
		t.Errorf("%d records", n)
	}
}

// TestHostileIsCheap bounds the work of lines made to be slow, against a plain
// line of the same size.
func TestHostileIsCheap(t *testing.T) {
	w := worker(t)
	var keys bytes.Buffer
	keys.WriteByte('{')
	for i := range 6000 {
		fmt.Fprintf(&keys, `"k%x":1,`, i)
	}
	keys.WriteString(`"a":1}`)
	pairs := strings.Repeat("a=1 ", 16<<10)
	for name, raw := range map[string][]byte{
		"brackets": bytes.Repeat([]byte("["), 64<<10), "braces": bytes.Repeat([]byte(`{"a":`), 13<<10),
		"keys": keys.Bytes(), "pairs": []byte(pairs), "quotes": bytes.Repeat([]byte(`{"\"`), 16<<10),
		"elements": []byte(`{"Records":[{"eventSource":"a","eventName":"b"}` + strings.Repeat(",{}", 20<<10) + `]}`),
		"cef":      []byte("CEF:0|a|b|c|d|e|f|" + strings.Repeat("a= ", 20<<10)),
		"sd":       []byte("<1>1 - - - - - " + strings.Repeat(`[a b="c"]`, 7<<10)),
		"otlp": []byte(`{"resourceSpans":[{"resource":{"attributes":[` + strings.Repeat(`{"key":"a","value":{"stringValue":"b"}},`, 600) + `{}]},"scopeSpans":[{"spans":[{}` +
			strings.Repeat(",{}", 12<<10) + `]}]}]}`),
		"logEvents": []byte(`{"logEvents":[{}` + strings.Repeat(`,{"message":"{\"a\":1}"}`, 2500) + `]}`),
		"wrapped":   []byte(strings.Repeat(`{"message":{"log":{"event":`, 2000) + `1`),
		"escapes":   []byte(`{"log":"{\"Records\":[{\"eventSource\":\"a\",\"eventName\":\"b\"}` + strings.Repeat(`,{\"a\":1}`, 4000) + `]}"}`),
		"base64":    []byte(`{"records":[{}` + strings.Repeat(`,{"data":"eyJhIjoxLCJiIjoyfQ=="}`, 2000) + `]}`),
		"prefix":    []byte("a " + strings.Repeat("{", 60<<10) + "}"),
		"xfcc":      []byte(`[2026-11-23T14:02:07.114Z] "GET / HTTP/1.1" 200 - via_upstream - "-" 1 1 1 1 "-" "-" "-" "-" "-" a b c d e f "By=` + strings.Repeat("a=b;,", 12<<10) + `"`),
		"sudo":      []byte("<1>Nov 23 14:02:07 h sudo: a : " + strings.Repeat("PWD=a ; ", 8<<10)),
	} {
		start := time.Now()
		var r record.Record
		w.Decode(Input{Source: &ingest.Source{Name: "s", Syslog: true}, Line: &ingest.Line{Raw: raw, Received: arrival}}, func() *record.Record {
			r.Reset()
			return &r
		})
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("%s: %v", name, d)
		}
	}
}

func TestDuplicateKeysAtAnySize(t *testing.T) {
	w := worker(t)
	for _, n := range []int{2, 6, 7, 40, 3000} {
		for _, dup := range []bool{false, true} {
			var b strings.Builder
			b.WriteString(`{"o":{`)
			for i := range n {
				fmt.Fprintf(&b, `"k%d":%d,`, i, i)
			}
			last := `"z":0}}`
			if dup {
				last = `"\u006b0":0}}` // k0
			}
			r := one(t, w, &ingest.Source{Name: "s"}, b.String()+last)
			if got := slices.Contains(r.List(record.Findings), record.Malformed); got != dup {
				t.Errorf("%d keys, duplicate %v: malformed %v", n, dup, got)
			}
		}
	}
}

func TestStructuredData(t *testing.T) {
	var v envelope
	line := []byte(`<165>1 2026-11-23T14:02:07.003Z h a p m [ex@1 a="1" b="x\]\"\\y"][other@2] ` + "\xef\xbb\xbf" + `msg`)
	v.split(line, arrival, nil, false)
	if string(v.param("ex@1/b")) != `x]"\y` || string(v.param("ex@1/a")) != "1" || v.param("ex@1/c") != nil || string(line[v.msg:]) != "msg" {
		t.Errorf("%q %q %q", v.param("ex@1/b"), v.param("ex@1/a"), line[v.msg:])
	}
}

func TestFormats(t *testing.T) {
	g, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"agent_otel",
		"agentcore",
		"auditd",
		"auth0",
		"azure_activity",
		"azure_keyvault",
		"beyondtrust",
		"cedar",
		"cef",
		"cloudtrail",
		"conjur",
		"cyberark",
		"delinea",
		"ecs",
		"entra",
		"envoy",
		"gcp_audit",
		"github",
		"google_workspace",
		"json",
		"k8s_audit",
		"keycloak",
		"kv",
		"leef",
		"m365",
		"mcp_gateway",
		"ocsf",
		"okta",
		"opa",
		"openfga",
		"otel_genai",
		"otlp",
		"ping",
		"slack",
		"spire",
		"sshd",
		"sudo",
		"syslog",
		"teleport",
		"text",
		"vault",
		"wallix",
		"xml",
	}
	if got := g.Formats(); !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

func TestDemoTag(t *testing.T) {
	got := one(t, worker(t), &ingest.Source{Name: "s", Transport: ingest.TCP, Syslog: true}, `<132>2026-11-23T12:03:57Z vm custody-demo/sudo[14584]: alice : TTY=pts/0 ; PWD=/home/alice ; USER=root ; COMMAND=/usr/bin/id`)
	if got.Get(record.SourceDemo) != "true" || got.Get(record.SourceApp) != "sudo" || got.Get(record.SourceFormat) != "sudo" {
		t.Errorf("demo %q, app %q, format %q", got.Get(record.SourceDemo), got.Get(record.SourceApp), got.Get(record.SourceFormat))
	}
}

// What stands around an event can be broken where the event itself is not.
func TestAroundIsUTF8(t *testing.T) {
	for _, line := range []string{
		"<134>1 2026-11-23T14:02:07Z gw ag\x99 1 - - " + `{"message":"{\"ts\":1795442527,\"agent\":\"a\",\"action\":\"delete\"}"}`,
		"<134>1 2026-11-23T14:02\x00\x807Z gw ag\x99 1 - B " + `{"ts":1795442527.25,"agent":"a-1","action":"delete","target":"x","success":true}`,
	} {
		for _, r := range decodeAll(t, worker(t), &ingest.Source{Name: "s", Transport: ingest.TCP, Syslog: true}, &ingest.Line{Raw: []byte(line), Received: arrival, Offset: -1}) {
			checkRecords(t, []byte(line), []*record.Record{r})
			if r.Get(record.SourceApp) != "ag\ufffd" {
				t.Errorf("app %q", r.Get(record.SourceApp))
			}
		}
	}
}
