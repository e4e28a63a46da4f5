package chain

import (
	"testing"

	"custody/ingest/record"
)

// asked are the ids of those who asked, by Askers.
func asked(rows ...*record.Record) (out []string) {
	for i, r := range rows {
		r.Seq = uint64(i)
	}
	for _, a := range Askers(rows) {
		out = append(out, a.ID)
	}
	return out
}

// A directory's number may be anybody: beside a name it leaves open who asked.
func TestNumbersAndNamesLeaveTheAskerOpen(t *testing.T) {
	w := newWorld(t, Options{})
	number := w.rec("requester.id=720550ee-58c0-4a0d-a592-a7d1713538db", "requester.type=unknown", "requester.assurance=authenticated", "executor.id=gw", "executor.type=agent")
	name := w.rec("requester.id=xena@example.com", "requester.type=person", "requester.assurance=authenticated", "executor.id=deploy", "executor.type=agent")
	if got := asked(number, name); len(got) != 2 {
		t.Errorf("a number and a name were taken for one: %q", got)
	}
	known := w.rec("requester.id=720550ee-58c0-4a0d-a592-a7d1713538db", "requester.name=xena@example.com", "requester.type=person",
		"requester.assurance=authenticated", "executor.id=gw", "executor.type=agent")
	if got := asked(known, name); len(got) != 1 {
		t.Errorf("the number of a known name: %q", got)
	}
}

// What is claimed beside a credential is about its record alone, and names nobody for the chain.
func TestClaimsBesideACredentialAskForNothing(t *testing.T) {
	w := newWorld(t, Options{})
	login := w.rec("executor.id=system:serviceaccount:agents:review", "executor.type=service_account", "credential_event.op=issue", "authority.credential.id=tok-4711")
	claim := w.rec("requester.id=victor@example.com", "requester.type=person", "requester.assurance=asserted", "findings=requester_asserted",
		"executor.id=system:serviceaccount:agents:review", "executor.type=service_account", "authority.credential.id=tok-4711", "chain.request_id=9f1c0000-aaaa")
	if got := asked(login, claim); len(got) != 0 {
		t.Errorf("a claim was taken for the one who asked: %q", got)
	}
	traced := w.rec("requester.id=alice@example.com", "requester.type=person", "requester.assurance=asserted", "findings=requester_asserted",
		"executor.id=deploy", "executor.type=agent", "authority.credential.id=tok-4712", "chain.trace_id="+trace1)
	if got := asked(traced); len(got) != 1 || got[0] != "alice@example.com" {
		t.Errorf("a claim that stands on a trace: %q", got)
	}
}
