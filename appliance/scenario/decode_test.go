package scenario_test

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"custody/appliance/scenario"
	"custody/ingest"
	"custody/ingest/attribution"
	"custody/ingest/record"
)

// settled are the formats that have to come out without a fault; what others
// make of their lines is only logged.
var settled = []string{
	"agent_otel", "azure_keyvault", "beyondtrust", "cloudtrail", "cyberark", "entra", "envoy", "gcp_audit", "github", "k8s_audit", "keycloak", "mcp_gateway",
	"okta", "opa", "otel_genai", "sshd", "sudo", "teleport", "vault", "wallix",
}

// enough is the share of what a settled format's lines show that has to come
// out. What is left out is no lie, and what is wrong is an error each time.
const enough = 0.95

// TestDecodersAgree decodes every line by itself, as its source pins it and
// with the format detected. What the line itself shows has to come out: its
// format, and its principals or none.
func TestDecodersAgree(t *testing.T) {
	seed := uint64(7)
	if v := os.Getenv("CUSTODY_SCENARIO_SEED"); v != "" {
		var err error
		if seed, err = strconv.ParseUint(v, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("CUSTODY_SCENARIO_SEED=%d", seed)
	g, err := attribution.New(attribution.Options{})
	if err != nil {
		t.Fatal(err)
	}
	known := g.Formats()
	for _, f := range settled {
		if !slices.Contains(known, f) {
			t.Errorf("format %s is not built in", f)
		}
	}
	s := scenario.Generate(seed, 800)
	w := g.Worker()
	faults := map[string]int{}
	told := map[string]*scenario.Share{} // of what lines show, by format and principal
	for i := range s.Lines {
		l := &s.Lines[i]
		src := s.Sources[l.Source]
		if !slices.Contains(known, l.Truth.Format) {
			faults["format "+l.Truth.Format+" is not built in"]++
			continue
		}
		modes := []scenario.Source{src}
		if src.Format != "" {
			detected := src
			detected.Format = ""
			modes = append(modes, detected)
		}
		for _, m := range modes {
			how := "detected"
			if m.Format != "" {
				how = "pinned"
			}
			fail := func(what, is string, wrong bool) {
				key := l.Truth.Format + " " + how + ": " + what
				if faults[key]++; faults[key] > 2 {
					return
				}
				report := t.Logf
				if wrong && slices.Contains(settled, l.Truth.Format) {
					report = t.Errorf
				}
				report("%s %q (%s, line %d), requester %q executor %q\n%s", key, is, l.Truth.Scenario, i, l.Truth.Requester, l.Truth.Executor, l.Raw)
			}
			r := decode(w, &m, l)
			if len(r) != 1 {
				fail("records", strconv.Itoa(len(r)), true)
				continue
			}
			got := scenario.Got{
				Requester: r[0].Get(record.RequesterID), RequesterAssurance: r[0].Get(record.RequesterAssurance), Executor: r[0].Get(record.ExecutorID),
				Ambiguous: l.Truth.MayBeAmbiguous, // a line alone cannot tell
			}
			if f := r[0].Get(record.SourceFormat); f != l.Truth.Format {
				fail("format", f, true)
				continue
			}
			if e := r[0].Get(record.SourceError); e != "" {
				fail("error", e, true)
			}
			tell := func(principal, name string) {
				key := l.Truth.Format + " " + how + ": " + principal
				if told[key] == nil {
					told[key] = &scenario.Share{}
				}
				told[key].Of++
				if name != "" {
					told[key].N++
					return
				}
				fail(principal+" missing", "", false)
			}
			if l.Truth.ExecutorShown {
				tell("executor", got.Executor)
			}
			if why := scenario.WrongExecutor(&l.Truth, got); why != "" {
				fail("executor: "+why, got.Executor, true)
			}
			if l.Truth.Shown {
				tell("requester", got.Requester)
			}
			if why := scenario.WrongRequester(&m, &l.Truth, got); why != "" {
				fail("requester: "+why, got.Requester, true)
			}
		}
	}
	for what, share := range told {
		format, _, _ := strings.Cut(what, " ")
		if share.Value() < enough && slices.Contains(settled, format) {
			t.Errorf("%s comes out of %s", what, share)
		}
	}
	for what, n := range faults {
		t.Logf("%6d %s", n, what)
	}
}

func decode(w *attribution.Worker, src *scenario.Source, l *scenario.Line) []*record.Record {
	in := &ingest.Source{
		Name: src.Name, Tenant: src.Tenant, Format: src.Format, Trusted: src.Trusted, AuthoritativeFor: src.AuthoritativeFor, Syslog: src.Syslog, Transport: ingest.TLS,
	}
	var out []*record.Record
	w.Decode(attribution.Input{Source: in, Peer: l.Peer, Line: &ingest.Line{Raw: l.Raw, Received: l.Arrival.UnixNano(), Offset: -1}}, func() *record.Record {
		r := &record.Record{}
		out = append(out, r)
		return r
	})
	return out
}
