package attribution

import (
	"os"
	"strings"
	"testing"

	"custody/ingest"
	"custody/ingest/record"
)

// example:begin

// runbook decodes the audit log of the (made-up) runbook runner:
// {"app":"runbook","at":"…","run":"r-7","asked":"alice@example.com","by":"agent/ops",
// "step":"restart","on":"web-1","grant":{"policy":"ops","rev":"12"},"exit":0}
func runbook() format {
	return format{
		name: "runbook", product: "Runbook runner", issuer: "runbook",
		shape: shapeJSON,
		match: func(e *event) bool {
			return string(e.str("/app")) == "runbook" && e.has("/step")
		},
		decode: decodeRunbook,
	}
}

func decodeRunbook(e *event) {
	r := e.r
	e.time("/at")
	e.set(record.ChainTaskID, "/run")

	// Who asked and who acted are two principals, each from its own member. The
	// runner checked the login of the one who asked, so the source itself knows
	// it (fromLogin); fromBody and fromParam would mean that it only repeats it.
	if asked := e.str("/asked"); len(asked) > 0 {
		e.requester(principalType(string(asked)), asked, "/asked", fromLogin)
	}
	e.executor(record.Agent, e.str("/by"), "/by")

	r.Set(record.ActionService, "runbook", "") // stated by this decoder: no provenance
	e.set(record.ActionOperation, "/step")
	e.set(record.TargetID, "/on")

	e.set(record.DecisionPolicyID, "/grant/policy")
	e.set(record.DecisionPolicyVersion, "/grant/rev")
	switch code := e.set(record.OutcomeCode, "/exit"); string(code) {
	case "":
		r.Set(record.OutcomeStatus, record.Unknown, "")
	case "0":
		r.Set(record.OutcomeStatus, record.Success, "/exit")
		r.Set(record.DecisionEffect, record.Allow, "/grant/policy")
	case "77": // the runner's own code for "the policy says no"
		r.Set(record.OutcomeStatus, record.Denied, "/exit")
		r.Set(record.DecisionEffect, record.Deny, "/exit")
	default:
		r.Set(record.OutcomeStatus, record.Failure, "/exit")
	}
}

// example:end

func TestExampleFormat(t *testing.T) {
	g, err := newRegistry(Options{}, append([]format{runbook()}, builtin()...))
	if err != nil {
		t.Fatal(err)
	}
	w := g.Worker()
	src := &ingest.Source{Name: "rb", Transport: ingest.TCP}
	line := `{"app":"runbook","at":"2026-11-23T14:02:07Z","run":"r-7","asked":"alice@example.com","by":"agent/ops","step":"restart","on":"web-1","grant":{"policy":"ops","rev":"12"},"exit":77}`
	r := decodeAll(t, w, src, &ingest.Line{Raw: []byte(line), Received: arrival})[0]
	for f, want := range map[record.Field]string{
		record.SourceFormat: "runbook", record.RequesterID: "alice@example.com", record.RequesterType: record.Person,
		record.ExecutorID: "agent/ops", record.OutcomeStatus: record.Denied, record.DecisionEffect: record.Deny,
		record.Time: "2026-11-23T14:02:07.000000000Z", record.RequesterAssurance: record.Asserted,
	} {
		if got := r.Get(f); got != want {
			t.Errorf("%s = %q, want %q", f, got, want)
		}
	}
	if got := r.Prov(record.TargetID); got != "/on" {
		t.Errorf("provenance of target.id = %q", got)
	}
}

// TestGuideQuotesExample keeps docs/source-formats.md equal to the code above.
func TestGuideQuotesExample(t *testing.T) {
	src, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, code, ok1 := strings.Cut(string(src), "// example:begin\n\n")
	code, _, ok2 := strings.Cut(code, "\n// example:end")
	guide, err := os.ReadFile("../../docs/source-formats.md")
	if err != nil {
		t.Fatal(err)
	}
	if !ok1 || !ok2 || !strings.Contains(string(guide), "```go\n"+code+"```\n") {
		t.Error("docs/source-formats.md does not quote the example of example_test.go")
	}
	for _, f := range builtin() {
		if !strings.Contains(string(guide), "`"+f.name+"`") {
			t.Errorf("docs/source-formats.md does not name the format %s", f.name)
		}
	}
}
