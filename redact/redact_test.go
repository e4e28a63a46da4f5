package redact

import (
	"testing"
	"time"

	"custody/ingest/record"
)

func TestPlan(t *testing.T) {
	p, err := New([]Rule{{Name: "names", Match: "*", Fields: []string{"requester.id", "raw"}, After: time.Hour, Basis: "GDPR 5(1)(e)"}})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_800_000_000, 0)
	plan := p.Plan(now)
	if len(plan) != 1 || plan[0].Before != now.Add(-time.Hour).UnixNano() || len(plan[0].Fields) != 2 ||
		plan[0].Fields[0] != record.RequesterID || plan[0].Basis != "GDPR 5(1)(e)" {
		t.Fatalf("plan %+v", plan)
	}
}

func TestBadRules(t *testing.T) {
	for name, r := range map[string]Rule{
		"query":  {Match: "(", Fields: []string{"raw"}},
		"field":  {Match: "*", Fields: []string{"nosuch"}},
		"proof":  {Match: "*", Fields: []string{"received"}},
		"id":     {Match: "*", Fields: []string{"id"}},
		"none":   {Match: "*"},
		"future": {Match: "*", Fields: []string{"raw"}, After: -1},
	} {
		if _, err := New([]Rule{r}); err == nil {
			t.Errorf("%s: %+v was accepted", name, r)
		}
	}
}
