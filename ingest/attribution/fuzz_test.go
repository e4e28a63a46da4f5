package attribution

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"custody/ingest"
	"custody/ingest/record"
)

// checkRecords holds what is true of every decoded line.
func checkRecords(t *testing.T, raw []byte, records []*record.Record) {
	t.Helper()
	if len(records) == 0 {
		t.Fatal("no record")
	}
	var parts []byte
	for _, r := range records {
		parts = append(parts, r.Raw...)
	}
	if !bytes.Equal(parts, raw) {
		t.Fatalf("the raws are not the line: %q", parts)
	}
	for _, r := range records {
		if r.Kind != record.KindRecord || r.Time == 0 || r.Received != arrival {
			t.Fatalf("kind %v, time %d, received %d", r.Kind, r.Time, r.Received)
		}
		if r.Time-r.Received > farAhead || r.Time < earliest {
			t.Fatalf("absurd time %s", r.Get(record.Time))
		}
		check := func(f record.Field, v, prov string) bool {
			if !utf8.ValidString(v) || !utf8.ValidString(prov) {
				t.Fatalf("%s = %q from %q: not UTF-8", f, v, prov)
			}
			if words := vocabulary(f); words != nil && !slices.Contains(words, v) {
				t.Fatalf("%s = %q", f, v)
			}
			return true
		}
		r.Scalars(check)
		r.Lists(check)
		for _, p := range []struct{ id, assurance record.Field }{
			{record.RequesterID, record.RequesterAssurance}, {record.ExecutorID, record.ExecutorAssurance},
		} {
			if r.Has(p.id) != r.Has(p.assurance) || r.Get(p.assurance) == record.Authenticated && len(r.List(record.Findings)) > 0 &&
				strings.Contains(strings.Join(r.List(record.Findings), " "), record.Malformed) {
				t.Fatalf("%s = %q with assurance %q", p.id, r.Get(p.id), r.Get(p.assurance))
			}
			if group, _, _ := strings.Cut(p.id.String(), "."); !r.Has(p.id) && r.Absent(group) == "" {
				t.Fatalf("%s is missing without a reason", group)
			}
		}
		out := r.AppendJSON(nil)
		if !json.Valid(out) {
			t.Fatalf("not JSON: %s", out)
		}
		back, err := record.Parse(out)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if again := back.AppendJSON(nil); !bytes.Equal(out, again) {
			t.Fatalf("re-encodes differently\n%s\n%s", out, again)
		}
	}
}

func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/*/*.log")
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds", err)
	}
	for i, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(bytes.TrimSuffix(raw, []byte("\n")), uint8(i))
	}
	g, err := New(Options{Mappings: testMappings()})
	if err != nil {
		f.Fatal(err)
	}
	w := g.Worker()
	formats := append(g.Formats(), "", "", "nonsense")
	f.Fuzz(func(t *testing.T, raw []byte, how uint8) {
		src := &ingest.Source{Name: "f", Transport: ingest.TCP, Syslog: how&1 != 0, Trusted: how&2 != 0, AuthoritativeFor: []string{"json", "aws"}}
		src.Format = formats[int(how>>2)%len(formats)]
		line := &ingest.Line{Raw: raw, Received: arrival, Offset: -1}
		checkRecords(t, raw, decodeAll(t, w, src, line))
	})
}

// FuzzTree compares the JSON parser with encoding/json.
func FuzzTree(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5e-3,true,null,"x\u00e9\ud83d\ude00"],"a":{}}`, `[[]]`, `{"a" : }`, `-0.1`, `"\x"`, "\"\t\"", `{"b":1,}`, `01`} {
		f.Add([]byte(s))
	}
	g, err := New(Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		tr := &g.Worker().ev.doc
		tr.parse(raw, true)
		deep := strings.Contains(tr.err, "deeper")
		if got, want := tr.err == "" && tr.flaw == "", json.Valid(raw); got != want && !deep && !brokenEscape(raw) {
			t.Fatalf("sound %v, encoding/json says %v: %q (%s, %s)", got, want, raw, tr.err, tr.flaw)
		}
		if tr.err != "" || !json.Valid(raw) || !utf8.Valid(raw) {
			return
		}
		var s string
		if tr.kindOf(root) == kindString && json.Unmarshal(raw, &s) == nil {
			if got, _ := tr.scalar(root, nil); string(got) != s {
				t.Fatalf("string %q, encoding/json says %q", got, s)
			}
		}
	})
}

// brokenEscape: \u with other than four digits is decoded as U+FFFD, not refused.
func brokenEscape(raw []byte) bool { return bytes.Contains(raw, []byte(`\u`)) }
