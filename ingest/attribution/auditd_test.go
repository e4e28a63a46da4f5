package attribution

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"custody/ingest"
	"custody/ingest/record"
)

// runAll decodes a batch of lines and returns the records and how many lines each took.
func runAll(t *testing.T, src *ingest.Source, raw []string) (out []*record.Record, took []int) {
	t.Helper()
	g, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := g.Worker()
	var lines []ingest.Line
	at := int64(0)
	for _, l := range raw {
		lines = append(lines, ingest.Line{Raw: []byte(l), Received: arrival + at, Offset: at})
		at += int64(len(l)) + 1
	}
	for i := 0; i < len(lines); {
		before := len(out)
		n := w.DecodeRun(Input{Source: src, File: "/var/log/audit/audit.log"}, lines[i:], func() *record.Record {
			r := &record.Record{}
			out = append(out, r)
			return r
		})
		if n < 1 || n > len(lines)-i || len(out) != before+1 {
			t.Fatalf("%d lines of %d gave %d records", n, len(lines)-i, len(out)-before)
		}
		if got, want := string(out[before].Raw), strings.Join(raw[i:i+n], "\n"); got != want {
			t.Errorf("raw is %q, the lines are %q", got, want)
		}
		if got := out[before].Get(record.SourceOffset); got != decimal(int(lines[i].Offset)) {
			t.Errorf("offset %s, the first line is at %d", got, lines[i].Offset)
		}
		i += n
		took = append(took, n)
	}
	return out, took
}

// The lines of an event become one record when they come in a row, the same as when
// they come as one line; lines that come apart meet by the request.
func TestAuditLinesAreJoined(t *testing.T) {
	b, err := os.ReadFile("testdata/auditd/file_execve_sudo_enriched.log")
	if err != nil {
		t.Fatal(err)
	}
	exec := strings.Split(string(bytes.TrimSuffix(b, []byte("\n"))), "\n")
	other := "node=web1.example.com type=USER_ACCT msg=audit(1795442527.114:40212): pid=1 uid=0 auid=1001 ses=88 msg='op=PAM:accounting acct=\"alice\" exe=\"/usr/bin/sudo\" hostname=? addr=? terminal=/dev/pts/1 res=success'"
	elsewhere := strings.Replace(exec[2], "web1", "web2", 1)
	src := &ingest.Source{Name: "audit", Transport: ingest.File}

	lines := append(append([]string{other}, exec...), other, exec[1], elsewhere, exec[2], "type=EOE msg=audit(9", "text")
	records, took := runAll(t, src, lines)
	want := []int{1, len(exec), 1, 1, 1, 1, 1, 1}
	if len(took) != len(want) {
		t.Fatalf("lines by record %v, want %v", took, want)
	}
	for i := range want {
		if took[i] != want[i] {
			t.Fatalf("lines by record %v, want %v", took, want)
		}
	}
	joined := records[1]
	if joined.Get(record.RequesterID) != "alice" || joined.Get(record.ExecutorID) != "root" || joined.Get(record.TargetID) != "systemctl restart nginx prod" {
		t.Errorf("joined: %s", joined.AppendJSON(nil))
	}
	for _, i := range []int{3, 5} {
		if got := records[i].Get(record.ChainRequestID); got != joined.Get(record.ChainRequestID) {
			t.Errorf("a late line has request %s, its event %s", got, joined.Get(record.ChainRequestID))
		}
	}
	if got := records[4].Get(record.ChainRequestID); got == joined.Get(record.ChainRequestID) {
		t.Errorf("a line of another host has request %s", got)
	}
	if records[7].Get(record.SourceFormat) != "text" {
		t.Errorf("text is %s", records[7].Get(record.SourceFormat))
	}
}

// What is joined is bounded, and a damaged line stays a record of its own.
func TestAuditJoinIsBounded(t *testing.T) {
	path := `type=PATH msg=audit(1795442527.114:40211): item=1 name="` + strings.Repeat("x", 4000) + `"`
	var lines []string
	for range 300 {
		lines = append(lines, path)
	}
	_, took := runAll(t, &ingest.Source{Name: "audit", Transport: ingest.File}, lines)
	if len(took) < 5 || took[0] < 50 || took[0]*4000 > maxJoinBytes {
		t.Errorf("lines by record %v", took)
	}
	short := strings.Replace(path, strings.Repeat("x", 4000), "x", 1)
	for i := range lines {
		lines[i] = short
	}
	if _, took = runAll(t, &ingest.Source{Name: "audit", Transport: ingest.File}, lines); took[0] != maxJoinLines {
		t.Errorf("lines by record %v", took)
	}
	g, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	cut := []ingest.Line{{Raw: []byte(short), Received: arrival}, {Raw: []byte(short), Received: arrival, FullLength: 1 << 20}}
	if n := g.Worker().DecodeRun(Input{Source: &ingest.Source{Name: "audit", Transport: ingest.File}}, cut, func() *record.Record { return &record.Record{} }); n != 1 {
		t.Errorf("a truncated line was joined: %d", n)
	}
}
