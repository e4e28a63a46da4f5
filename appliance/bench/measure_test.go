package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestLongestLag(t *testing.T) {
	ms := time.Millisecond
	for _, c := range []struct {
		name    string
		samples []sample
		want    time.Duration
	}{
		{"never behind", []sample{{1 * ms, 5, 5}, {2 * ms, 9, 9}}, 0},
		{"one step behind", []sample{{1 * ms, 5, 0}, {2 * ms, 9, 5}, {3 * ms, 9, 9}}, ms},
		{"a long wait in the middle", []sample{{0, 4, 4}, {1 * ms, 8, 4}, {2 * ms, 20, 4}, {9 * ms, 30, 10}, {10 * ms, 30, 30}}, 8 * ms},
		{"searchable seen before durable", []sample{{1 * ms, 5, 6}, {2 * ms, 9, 9}}, 0},
		{"nothing searchable", []sample{{1 * ms, 5, 0}, {9 * ms, 9, 0}}, 0},
	} {
		if got := longestLag(c.samples); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestPercentile(t *testing.T) {
	var v []time.Duration
	for k := 100; k > 0; k-- {
		v = append(v, time.Duration(k))
	}
	if a, b, c := percentile(v, 0.5), percentile(v, 0.95), percentile(v[:1], 0.5); a != 50 || b != 95 || c != 100 {
		t.Errorf("%d, %d, %d", a, b, c)
	}
	if v[0] != 100 {
		t.Error("the values were reordered")
	}
	if percentile(nil, 0.5) != 0 {
		t.Error("a percentile of nothing")
	}
}

func TestProcess(t *testing.T) {
	before, err := processTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	sum := uint64(0)
	for start := ownTime(); ownTime()-start < 50*time.Millisecond; sum++ {
		sum += mix(sum)
	}
	after, err := processTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if used := after - before; used < 30*time.Millisecond || used > 5*time.Second {
		t.Errorf("%s of CPU counted for 50 ms of work (%d)", used, sum)
	}
	m, err := processMemory(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if m.Own < 1<<20 || m.Own > m.Present || m.Present > m.Peak {
		t.Errorf("memory %+v", m)
	}
	if _, err := processTime(1 << 30); err == nil {
		t.Error("there is a process 2^30")
	}
}

// Allocated bytes count, not lengths; a file with two names counts once.
func TestDiskUsage(t *testing.T) {
	dir := t.TempDir()
	empty, err := diskUsage(dir)
	if err != nil {
		t.Fatal(err)
	}
	full, sparse := filepath.Join(dir, "full"), filepath.Join(dir, "sparse")
	if err := os.WriteFile(full, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(full, filepath.Join(dir, "again")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(sparse, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(sparse, 1<<30); err != nil {
		t.Fatal(err)
	}
	flushDisks() // some file systems allocate late
	got, err := diskUsage(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got -= empty; got < 1<<20 || got > 1<<20+64<<10 {
		t.Errorf("%d bytes for 1 MiB", got)
	}
}

func TestDiskParts(t *testing.T) {
	dir := t.TempDir()
	for path, size := range map[string]int{
		"catalogue.db": 8 << 10, "log/tile/0/000": 16 << 10, "segments/1/records.db": 64 << 10,
		"segments/2/records.db": 64 << 10, "segments/2/search.1/0.zap": 32 << 10,
	} {
		path = filepath.Join(dir, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	flushDisks()
	all, err := diskUsage(dir)
	if err != nil {
		t.Fatal(err)
	}
	parts, err := diskParts(dir)
	if err != nil {
		t.Fatal(err)
	}
	for part, least := range map[string]int64{"records": 128 << 10, "search": 32 << 10, "log": 16 << 10, "rest": 8 << 10} {
		if parts[part] < least || parts[part] > least+64<<10 {
			t.Errorf("%s: %d bytes, written %d", part, parts[part], least)
		}
		all -= parts[part]
	}
	if all != 0 {
		t.Errorf("the parts lack %d bytes of the whole", all)
	}
}

// answer renders events as the API lists them.
func answer(t *testing.T, g *generator, next string, events ...uint64) []byte {
	t.Helper()
	list := []map[string]any{}
	for _, i := range events {
		list = append(list, map[string]any{
			"chain": map[string]string{"request_id": string(g.requestID(nil, i))},
			"raw":   string(g.render(nil, i)),
		})
	}
	b, err := json.Marshal(map[string]any{"records": list, "next_cursor": next})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Every way in which an answer can be wrong is seen.
func TestWrongAnswersAreSeen(t *testing.T) {
	g := newGenerator(1)
	var c checked
	want := []uint64{9, 5}
	if err := checkHits(g, answer(t, g, "", 9, 5), want, false, &c); err != nil || c.hits != 2 {
		t.Errorf("the right answer: %v, %d hits", err, c.hits)
	}
	good := string(answer(t, g, "", 9, 5))
	id := string(g.requestID(nil, 9))
	for name, body := range map[string]string{
		"a hit is missing":      string(answer(t, g, "", 9)),
		"a hit too many":        string(answer(t, g, "", 9, 5, 4)),
		"another event":         string(answer(t, g, "", 9, 4)),
		"the wrong order":       string(answer(t, g, "", 5, 9)),
		"a hit twice":           string(answer(t, g, "", 9, 9)),
		"a page that is not":    string(answer(t, g, "c1", 9, 5)),
		"an unknown request id": strings.ReplaceAll(good, id, id[:35]+string(hexDigits[(strings.IndexByte(hexDigits, id[35])+1)%16])),
		"a changed line":        strings.Replace(good, `\"level\":\"`, `\"level\":\"x`, 1),
		"no JSON":               good[:len(good)-1],
	} {
		if err := checkHits(g, []byte(body), want, false, &c); err == nil {
			t.Errorf("not seen: %s", name)
		}
	}
	if err := checkHits(g, []byte(good), want, true, &c); err == nil {
		t.Error("not seen: a page that is missing")
	}

	tr := newTruth(g, 3000, 0, 0)
	counts := func(change string, by uint64, other int) []byte {
		list := []map[string]any{}
		for name, n := range tr.byTool {
			if name == change {
				n += by
			}
			list = append(list, map[string]any{"value": name, "count": n})
		}
		b, err := json.Marshal(map[string]any{"facets": []any{map[string]any{"field": "action.tool", "values": list, "other": other, "absent": 0}}})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if err := checkTools(tr, counts("", 0, 0), &c); err != nil {
		t.Errorf("the right counts: %v", err)
	}
	if checkTools(tr, counts("vault.kv", 1, 0), &c) == nil || checkTools(tr, counts("", 0, 1), &c) == nil || checkTools(tr, []byte(`{"facets":[]}`), &c) == nil {
		t.Error("not seen: wrong counts")
	}
}

func TestQuerySets(t *testing.T) {
	g := newGenerator(1)
	var c checked
	sets := querySets(newTruth(g, 30_000, 30, pairDepth), 40, 200, &c)
	if len(sets) != 6 {
		t.Fatalf("%d sets", len(sets))
	}
	seen := map[string]bool{}
	for _, q := range sets[0].questions {
		seen[q.path] = true
	}
	if len(seen) != len(sets[0].questions) || len(seen)-sets[0].warm < 200 {
		t.Errorf("%d distinct request ids, %d of them to warm up", len(seen), sets[0].warm)
	}
	for _, s := range sets[1:] {
		if len(s.questions)-s.warm != 40 {
			t.Errorf("%s: %d questions, %d of them to warm up", s.name, len(s.questions), s.warm)
		}
	}
}

func TestGates(t *testing.T) {
	for _, c := range []struct {
		g    gate
		want string
	}{
		{gate{floor: 60, aim: 80, atLeast: true, value: 80}, "aim met"},
		{gate{floor: 60, aim: 80, atLeast: true, value: 79}, "floor met"},
		{gate{floor: 60, aim: 80, atLeast: true, value: 59}, "**missed**"},
		{gate{floor: 30, aim: 22, value: 22}, "aim met"},
		{gate{floor: 30, aim: 22, value: 23}, "floor met"},
		{gate{floor: 30, aim: 22, value: 31}, "**missed**"},
		{gate{floor: 5, value: 1}, "floor met"},
	} {
		if got := c.g.verdict(); got != c.want {
			t.Errorf("%+v: %s, want %s", c.g, got, c.want)
		}
	}
}

// The report has the median of the runs, every gate of a big run, and says what was wrong.
func TestReport(t *testing.T) {
	mk := func(seconds float64) *result {
		d := time.Duration(seconds * float64(time.Second))
		r := &result{
			ingested: &ingested{Durable: d, Searchable: 2 * d, CPU: d}, PeakWhole: 100 << 20, Disk: 200e6,
			Alone: []alone{{time.Millisecond, 2 * time.Millisecond}}, Queries: map[string][]time.Duration{rowLast: {time.Millisecond}},
			Rsyslog: &yardstick{Took: d, CPU: d, Peak: 7 << 20, Disk: 870e6},
		}
		r.Memory[2].Own, r.Memory[8].Own = 100, 105
		return r
	}
	r := &report{
		opt: options{rsyslog: "rsyslogd", tries: 1, bigEvents: 10_000_000}, file: streamFile{Events: 1_000_000, Lines: 870e6},
		results: []*result{mk(10), mk(30), mk(20)}, big: mk(200),
	}
	text := r.markdown()
	for _, want := range []string{
		"| durable events/s | 60,000 | 80,000 | **50,000** | 33,333 – 100,000 | **missed** |",
		"| CPU seconds per million | 30.0 | 22.0 | **20.0** |",
		"| bytes per event | 240.0 | 200.0 | **200.0** |",
		"| last 50, p50 | 5.00 ms | 1.00 ms | **1.00 ms** |",
		"| 10 M events: durable rate | 90 % | – | **100 %** |",
		"| 10 M events: memory growth | 110 % | – | **105 %** |",
		"all are right",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report has no %q:\n%s", want, text)
		}
	}
	r.wrong = []string{"request id: 3 hits, not 1"}
	if text := r.markdown(); !strings.Contains(text, "answers were wrong") || !strings.Contains(text, "3 hits, not 1") {
		t.Error("the report is silent about a wrong answer")
	}
	if s := r.summary(); strings.Contains(s, "\n") || !strings.Contains(s, "1 wrong answers") {
		t.Errorf("summary %q", s)
	}
}

// Where rsyslogd is installed, its file has exactly the lines that were sent.
func TestRsyslog(t *testing.T) {
	binary, version, missing := findRsyslog(t.Context())
	if missing != "" {
		if binary != "" || version != "" {
			t.Errorf("%q, %q although %s", binary, version, missing)
		}
		return
	}
	g, dir := newGenerator(4), t.TempDir()
	file, err := prepareStream(t.Context(), g, dir, 1000)
	if err != nil {
		t.Fatal(err)
	}
	y, err := runRsyslog(t.Context(), binary, dir, file)
	if err != nil {
		t.Fatal(err)
	}
	if y.Took <= 0 || y.Peak == 0 || y.Disk != file.Lines+1000 {
		t.Errorf("%+v", y)
	}
	b, err := os.ReadFile(filepath.Join(dir, "lines"))
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for i := range uint64(1000) {
		want = append(want, string(g.render(nil, i)))
	}
	if got := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n"); !slices.Equal(got, want) {
		t.Errorf("%d lines, the first %s", len(got), fmt.Sprintf("%.200q", got[0]))
	}
}
