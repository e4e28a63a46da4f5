package attribution

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"custody/ingest"
)

// A worker keeps its memory from line to line, and nothing of what a line said: after
// lines that name everybody, each case comes out as from a new worker.
func TestNothingIsLeftOfTheLineBefore(t *testing.T) {
	g, err := New(Options{Mappings: testMappings(), Clock: func() time.Time { return time.Unix(0, arrival) }})
	if err != nil {
		t.Fatal(err)
	}
	before := []string{
		"testdata/envoy/file_json_peer_and_jwt.log", "testdata/auditd/file_execve_sudo_enriched.log", "testdata/vault/pinned_person.log",
		"testdata/k8s_audit/eks_identity_center.log", "testdata/cef/success.log",
	}
	files, err := filepath.Glob("testdata/*/*.log")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d cases, error %v", len(files), err)
	}
	used := g.Worker()
	for i, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		dirt, err := os.ReadFile(before[i%len(before)])
		if err != nil {
			t.Fatal(err)
		}
		folder, name := filepath.Base(filepath.Dir(file)), strings.TrimSuffix(filepath.Base(file), ".log")
		src := sourceFor(folder, name)
		line := &ingest.Line{Raw: bytes.TrimSuffix(raw, []byte("\n")), Received: arrival, Offset: -1}
		decodeAll(t, used, &ingest.Source{Name: "before", Transport: ingest.File}, &ingest.Line{Raw: bytes.TrimSuffix(dirt, []byte("\n")), Received: arrival, Offset: -1})
		var got, want []byte
		for _, r := range decodeAll(t, used, src, line) {
			got = append(r.AppendJSON(got), '\n')
		}
		for _, r := range decodeAll(t, g.Worker(), src, line) {
			want = append(r.AppendJSON(want), '\n')
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs behind %s\n got %s\nwant %s", file, before[i%len(before)], got, want)
		}
	}
}
