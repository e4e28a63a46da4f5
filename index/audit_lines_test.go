package index

import (
	"context"
	"strings"
	"testing"

	"custody/ingest"
)

// The lines of one event of the Linux audit trail become one row that holds them
// all; those that come in a later batch, or again, are rows of their own with the
// same request. Lines are counted as lines.
func TestLinesOfOneEvent(t *testing.T) {
	f := newFixture(t, Options{})
	event := []string{
		`node=web1 type=SYSCALL msg=audit(1795442527.114:40211): arch=c000003e syscall=59 success=yes exit=0 items=1 ppid=1 pid=2 auid=1001 uid=0 gid=0 euid=0 ses=88 comm="id" exe="/usr/bin/id" key="k"`,
		`node=web1 type=EXECVE msg=audit(1795442527.114:40211): argc=1 a0="id"`,
		`node=web1 type=EOE msg=audit(1795442527.114:40211): `,
	}
	source := &ingest.Source{Name: "audit", Transport: ingest.File}
	submit := func(cursor string, lines ...string) {
		b := &ingest.Batch{Source: source, File: "/var/log/audit/audit.log", Cursors: []ingest.Cursor{{Key: "file/audit", Value: []byte(cursor)}}}
		for _, l := range lines {
			b.Lines = append(b.Lines, ingest.Line{Raw: []byte(l), Received: 1795442528e9, Offset: -1})
		}
		done := make(chan error, 1)
		b.Done = func(err error) { done <- err }
		if err := f.l.Submit(context.Background(), b); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if got := string(f.l.Cursor("file/audit")); got != cursor {
			t.Fatalf("cursor %q, want %q", got, cursor)
		}
	}
	submit("1", event...)
	submit("2", event[0], "some text", event[1])
	if got := f.count("source.format:auditd"); got != 3 {
		t.Errorf("%d rows of the audit trail, want one joined and two apart", got)
	}
	if got := f.count(`chain.request_id:"audit:web1:1795442527.114:40211"`); got != 3 {
		t.Errorf("%d rows with the event's request", got)
	}
	if got := f.count("source.format:text"); got != 1 {
		t.Errorf("%d rows of text", got)
	}
	r, err := f.l.row(f.seqOf("action.operation:execve AND target.type:command"))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(r.Raw); got != strings.Join(event, "\n") {
		t.Errorf("raw is %q", got)
	}
	for _, s := range f.l.Sources() {
		if s.Name == "audit" && s.Lines != 6 {
			t.Errorf("%d lines counted", s.Lines)
		}
	}
}
