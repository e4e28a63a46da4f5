package retention

import (
	"testing"
	"time"

	"custody/ingest/record"
)

func row(tool string) *record.Record {
	r := &record.Record{Kind: record.KindRecord, Received: 1, Time: 1}
	r.Set(record.ActionTool, tool, "")
	return r
}

func TestFirstClassWins(t *testing.T) {
	p, err := New([]Class{
		{Name: "keep-for-ever", Match: "action.tool:vault"},
		{Name: "short", Match: "action.tool:(vault OR shell)", Keep: time.Hour},
		{Name: "rest", Match: "*", Keep: 24 * time.Hour},
	})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_800_000_000, 0)
	plan := p.Plan(now)
	if len(plan) != 2 || plan[0].Class != "short" || plan[0].Before != now.Add(-time.Hour).UnixNano() {
		t.Fatalf("plan %+v", plan)
	}
	for tool, want := range map[string][2]bool{"vault": {false, false}, "shell": {true, false}, "kv": {false, true}} {
		for i, e := range plan {
			if got := e.Query.Match(row(tool), nil); got != want[i] {
				t.Errorf("%s in class %s: %v, want %v", tool, e.Class, got, want[i])
			}
		}
	}
}

func TestBadClasses(t *testing.T) {
	for _, c := range []Class{{Name: "a", Match: "nosuch.field:x"}, {Name: "b", Match: "*", Keep: -1}} {
		if _, err := New([]Class{c}); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
}
