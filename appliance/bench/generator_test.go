package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

type event struct {
	TS        string `json:"ts"`
	RequestID string `json:"request_id"`
	TraceID   string `json:"trace_id"`
	SessionID string `json:"session_id"`
	Requester string `json:"requester"`
	Agent     string `json:"agent"`
	Tool      string `json:"tool"`
	Message   string `json:"message"`
}

func readEvent(t *testing.T, line []byte) event {
	t.Helper()
	_, message, ok := bytes.Cut(line, []byte(" - {"))
	if !ok {
		t.Fatalf("no message in %q", line)
	}
	message = append([]byte("{"), message...)
	if n := len(message); n < minMessage || n > maxMessage {
		t.Fatalf("message of %d bytes: %s", n, message)
	}
	var e event
	if err := json.Unmarshal(message, &e); err != nil {
		t.Fatalf("%v in %s", err, message)
	}
	return e
}

// What the truth says of a stream is what reading the rendered lines finds.
func TestTruthIsWhatTheLinesHold(t *testing.T) {
	const n = 60_000
	g := newGenerator(1)
	header := regexp.MustCompile(`^<134>1 2026-\S+Z gw-\d+\.example\.com [a-z-]+ \d+ [a-z_]+ - $`)
	byTool := map[string]uint64{}
	byPair := map[string][]uint64{}
	hits := make([][]uint64, plantedWords+plantedPhrases)
	apart := map[uint16]int{} // events with a word of a phrase
	ids, traces, sizes, before := map[string]bool{}, map[string]int{}, 0, ""
	var line []byte
	halves := 0
	for i := range uint64(n) {
		line = g.render(line[:0], i)
		sizes += len(line)
		e := readEvent(t, line)
		if head := string(line[:bytes.IndexByte(line, '{')]); !header.MatchString(head) {
			t.Fatalf("header %q", head)
		}
		if e.TS <= before {
			t.Fatalf("event %d is of %s, the one before of %s", i, e.TS, before)
		}
		before = e.TS
		if at, ok := g.eventOf(e.RequestID); !ok || at != i {
			t.Fatalf("request id %s of event %d is taken for that of %d (%v)", e.RequestID, i, at, ok)
		}
		ids[e.RequestID] = true
		traces[e.TraceID]++
		if e.TraceID[:16] == e.TraceID[16:] {
			halves++
		}
		byTool[e.Tool]++
		k := e.Requester + " " + e.Agent
		byPair[k] = append(byPair[k], i)
		words := strings.Fields(e.Message)
		for _, p := range g.vocab.phrases {
			for _, w := range p {
				if slices.Contains(words, g.vocab.words[w]) {
					apart[w]++
				}
			}
		}
		for at, w := range words {
			for k, rare := range g.vocab.rare {
				if w == rare {
					hits[k] = append(hits[k], i)
				}
			}
			for k, p := range g.vocab.phrases {
				if at > 0 && words[at-1] == g.vocab.words[p[0]] && w == g.vocab.words[p[1]] {
					hits[plantedWords+k] = append(hits[plantedWords+k], i)
				}
			}
		}
		for _, w := range words {
			if reserved[w] {
				t.Fatalf("message of event %d holds the field word %q", i, w)
			}
		}
	}
	if len(ids) != n {
		t.Errorf("%d request ids for %d events", len(ids), n)
	}
	if halves > 0 {
		t.Errorf("%d trace ids repeat their half", halves)
	}
	if per := float64(n) / float64(len(traces)); per < 2 || per > 5 {
		t.Errorf("%.1f events a trace", per)
	}
	if mean := sizes / n; mean < 800 || mean > 920 {
		t.Errorf("lines have %d bytes in the mean", mean)
	}
	tr := newTruth(g, n, 50, 20)
	if len(tr.byTool) != len(byTool) || len(byTool) != len(tools) {
		t.Errorf("%d tools expected, %d found, of %d", len(tr.byTool), len(byTool), len(tools))
	}
	for tool, count := range byTool {
		if tr.byTool[tool] != count {
			t.Errorf("%s: %d expected, %d found", tool, tr.byTool[tool], count)
		}
	}
	if len(tr.pairs) != 50 {
		t.Errorf("%d pairs", len(tr.pairs))
	}
	for _, p := range tr.pairs {
		found := slices.Clone(byPair[requesterName(p.requester)+" "+agentName(p.agent)])
		slices.Reverse(found)
		if len(found) < 20 || !slices.Equal(found[:20], tr.newest[p]) {
			t.Errorf("pair %v: expected %v, found %v", p, tr.newest[p], found)
		}
	}
	for k := range hits {
		slices.Reverse(hits[k])
		if want := tr.plants(k); !slices.Equal(want, hits[k]) || len(want) != n/plantEvery {
			t.Errorf("plant %d: expected in %v, found in %v", k, want, hits[k])
		}
	}
	for k, p := range g.vocab.phrases {
		for _, w := range p {
			if per := float64(apart[w]) / n; per < 0.001 || per > 0.006 {
				t.Errorf("word %d of phrase %d stands in %.2f %% of the events", w, k, 100*per)
			}
		}
	}
}

// A planted event at the very end of a part of the stream counts, one behind it does not.
func TestPlantsEndWithTheStream(t *testing.T) {
	g := newGenerator(3)
	at := g.planted(0, 2)
	with, without := newTruth(g, at+1, 0, 0).plants(0), newTruth(g, at, 0, 0).plants(0)
	if len(with) != 3 || len(without) != 2 || with[0] != at {
		t.Errorf("%v with the event, %v without", with, without)
	}
}

func TestUnmixIsTheInverse(t *testing.T) {
	rng := stream(5)
	for range 1000 {
		if x := rng.next(); unmix(mix(x)) != x {
			t.Fatalf("unmix(mix(%x)) = %x", x, unmix(mix(x)))
		}
	}
}

func TestNamesAreDistinct(t *testing.T) {
	seen := map[string]bool{}
	for k := range numRequesters {
		seen[requesterName(k)] = true
	}
	for k := range numAgents {
		seen[agentName(k)] = true
	}
	if len(seen) != numRequesters+numAgents {
		t.Errorf("%d names for %d requesters and %d agents", len(seen), numRequesters, numAgents)
	}
}

// The first rank is drawn as often as its weight says, and the last one at all.
func TestZipf(t *testing.T) {
	z := newZipf(1000, 1, 1)
	count := make([]int, 1000)
	for _, r := range z {
		count[r]++
	}
	harmonic := 0.0
	for k := 1; k <= 1000; k++ {
		harmonic += 1 / float64(k)
	}
	if want := float64(len(z)) / harmonic; float64(count[0]) < want*0.999 || float64(count[0]) > want*1.001 {
		t.Errorf("rank 0 has %d of %d entries, want %.0f", count[0], len(z), want)
	}
	if count[999] == 0 {
		t.Error("the last rank is never drawn")
	}
}

// A cached stream is taken only if it is what the generator makes now.
func TestStreamFile(t *testing.T) {
	const n = 1500
	dir, g := t.TempDir(), newGenerator(9)
	s, err := prepareStream(t.Context(), g, dir, n)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(s.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := bufio.NewReader(f)
	var lines int64
	for i := range uint64(n) {
		count, err := r.ReadString(' ')
		if err != nil {
			t.Fatal(err)
		}
		size, err := strconv.Atoi(count[:len(count)-1])
		if err != nil {
			t.Fatal(err)
		}
		line := make([]byte, size)
		if _, err := io.ReadFull(r, line); err != nil {
			t.Fatal(err)
		}
		if want := g.render(nil, i); !bytes.Equal(line, want) {
			t.Fatalf("event %d is %q, want %q", i, line, want)
		}
		lines += int64(size)
	}
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("bytes behind the last event (%v)", err)
	}
	if lines != s.Lines {
		t.Errorf("lines of %d bytes, noted %d", lines, s.Lines)
	}

	before, err := os.Stat(s.Path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := prepareStream(t.Context(), g, dir, n); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(s.Path); err != nil || !os.SameFile(before, after) {
		t.Errorf("a good cached stream was rendered again (%v)", err)
	}
	b, err := os.ReadFile(s.Path)
	if err != nil {
		t.Fatal(err)
	}
	b[200]++
	if err := os.WriteFile(s.Path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := prepareStream(t.Context(), g, dir, n); err != nil {
		t.Fatal(err)
	}
	if now, err := os.ReadFile(s.Path); err != nil || now[200] == b[200] {
		t.Errorf("a damaged cached stream was taken (%v)", err)
	}
}

func BenchmarkRender(b *testing.B) {
	g := newGenerator(1)
	var line []byte
	for i := uint64(0); b.Loop(); i++ {
		line = g.render(line[:0], i)
	}
	b.SetBytes(int64(len(line)))
}
