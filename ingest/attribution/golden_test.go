package attribution

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"custody/ingest"
	"custody/ingest/record"
)

var update = flag.Bool("update", false, "write the golden files")

// arrival is when all test lines arrive.
var arrival = time.Date(2026, 11, 23, 14, 2, 8, 131044180, time.UTC).UnixNano()

// sourceFor makes the source of a case from its name: "pinned_…" pins the
// format of the folder on a trusted source that is authoritative for it.
func sourceFor(folder, name string) *ingest.Source {
	s := &ingest.Source{Name: "test", Transport: ingest.TCP, Syslog: true}
	if strings.HasPrefix(name, "pinned_") {
		s.Format, s.Trusted, s.Transport = folder, true, ingest.TLS
		s.AuthoritativeFor = []string{folder, "https://login.example.com"}
	}
	if strings.HasPrefix(name, "file_") {
		s.Transport, s.Syslog = ingest.File, false
	}
	return s
}

func decodeAll(tb testing.TB, w *Worker, src *ingest.Source, l *ingest.Line) []*record.Record {
	tb.Helper()
	var out []*record.Record
	in := Input{Source: src, Line: l}
	if src.Transport == ingest.File {
		in.File = "/var/log/test.log"
	} else {
		in.Peer = "10.0.0.3"
	}
	w.Decode(in, func() *record.Record {
		r := &record.Record{}
		out = append(out, r)
		return r
	})
	return out
}

// TestGolden compares every testdata/FORMAT/CASE.log, one line each, with the
// records in CASE.json.
func TestGolden(t *testing.T) {
	g, err := New(Options{Mappings: testMappings(), Clock: func() time.Time { return time.Unix(0, arrival) }})
	if err != nil {
		t.Fatal(err)
	}
	w := g.Worker()
	files, err := filepath.Glob("testdata/*/*.log")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d cases, error %v", len(files), err)
	}
	for _, file := range files {
		folder, name := filepath.Base(filepath.Dir(file)), strings.TrimSuffix(filepath.Base(file), ".log")
		t.Run(folder+"/"+name, func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			raw = bytes.TrimSuffix(raw, []byte("\n"))
			records := decodeAll(t, w, sourceFor(folder, name), &ingest.Line{Raw: raw, Received: arrival, Offset: -1})
			var got, parts []byte
			for _, r := range records {
				got, parts = append(r.AppendJSON(got), '\n'), append(parts, r.Raw...)
			}
			if !bytes.Equal(parts, raw) {
				t.Errorf("the raws are not the line: %q", parts)
			}
			golden := strings.TrimSuffix(file, ".log") + ".json"
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("records differ from %s\n got %s\nwant %s", golden, got, want)
			}
		})
	}
}

func testMappings() []Mapping {
	return []Mapping{
		{
			Name: "deploybot", Kind: "json", Match: map[string]string{"/kind": "deploybot"}, Product: "Deploybot",
			Fields: map[string]string{
				"requester.id": "/who/mail | /who/uid", "executor.id": "/bot", "action.operation": "/do", "action.service": "=deploy",
				"outcome.status": "/rc", "time": "/at", "chain.request_id": "sd:req@32473/id", "authority.scopes": "/scopes",
				"target.id": "/what/0", "delegation": "/via",
			},
			Values:       map[string]map[string]string{"outcome.status": {"0": "success", "7": "denied"}},
			Time:         []string{"02.01.2006 15:04:05"},
			ExecutorType: "agent", RequesterType: "person",
		},
		{
			Name: "gate", Kind: "kv", Match: map[string]string{"app": "gate"},
			Fields: map[string]string{"requester.id": "who", "action.operation": "=enter", "target.id": "door", "outcome.status": "res"},
			Values: map[string]map[string]string{"outcome.status": {"open": "success", "shut": "denied"}},
		},
		{
			Name: "launcher", Kind: "regexp", Match: map[string]string{"app": "launcher"},
			Pattern: `^Launched by user (?P<user>\S+) as (?P<account>\S+) on (?P<host>\S+)$`,
			Fields: map[string]string{
				"requester.id": "user", "executor.id": "account", "executor.local_account": "account",
				"target.id": "host", "action.operation": "=launch", "outcome.status": "=success",
			},
		},
	}
}
