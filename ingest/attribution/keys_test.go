package attribution

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"custody/ingest"
)

// The keys of a format save the question, and never change the answer: all cases,
// and all cases without any one of their members, come out as if there were no keys.
func TestKeysRuleNothingOut(t *testing.T) {
	clock := func() time.Time { return time.Unix(0, arrival) }
	with, err := New(Options{Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	all := builtin()
	withKeys := 0
	for i := range all {
		if all[i].keys != nil {
			withKeys++
		}
		all[i].keys = nil
	}
	without, err := newRegistry(Options{Clock: clock}, all)
	if err != nil {
		t.Fatal(err)
	}
	if withKeys < 25 {
		t.Errorf("%d formats have keys", withKeys)
	}
	files, err := filepath.Glob("testdata/*/*.log")
	if err != nil {
		t.Fatal(err)
	}
	a, b := with.Worker(), without.Worker()
	lines := 0
	check := func(file string, raw []byte) {
		lines++
		src := &ingest.Source{Name: "test", Transport: ingest.TCP}
		var got, want []byte
		for _, r := range decodeAll(t, a, src, &ingest.Line{Raw: raw, Received: arrival, Offset: -1}) {
			got = append(r.AppendJSON(got), '\n')
		}
		for _, r := range decodeAll(t, b, src, &ingest.Line{Raw: raw, Received: arrival, Offset: -1}) {
			want = append(r.AppendJSON(want), '\n')
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: the keys change\n%.600s\ninto\n%.600s", file, want, got)
		}
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		raw = bytes.TrimSuffix(raw, []byte("\n"))
		check(file, raw)
		i := bytes.IndexByte(raw, '{')
		if i < 0 {
			continue
		}
		var members map[string]json.RawMessage
		if json.Unmarshal(raw[i:], &members) != nil {
			continue
		}
		var names []string
		for name := range members {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names[:min(len(names), 24)] {
			was := members[name]
			delete(members, name)
			less, err := json.Marshal(members)
			if err != nil {
				t.Fatal(err)
			}
			check(file+" without "+name, append(slices.Clone(raw[:i]), less...))
			members[name] = was
		}
	}
	if lines < 3000 {
		t.Errorf("%d lines compared", lines)
	}
}
