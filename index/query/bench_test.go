package query

import (
	"strings"
	"testing"

	"custody/ingest/record"
)

// benchMessage is some 800 bytes of JSON that no query of the benchmarks matches early.
var benchMessage = `{"ts":"2026-11-23T14:02:07.114512Z","level":"info","event":"tool_call","request_id":"req-551200917","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","session":"s-88123",` +
	`"requester":{"type":"person","id":"alice.miller@example.com","issuer":"https://login.example.com/oauth2/default"},"agent":{"id":"spiffe://example.com/agent/deploy","instance":"deploy-7f9c5b","model":"m-large-2"},` +
	`"tool":"kv","operation":"read","target":{"type":"secret","path":"secret/data/prod/payments/db"},"decision":{"effect":"allow","policy":"deploy-read","version":"17","reason":"on call engineer approved the change request"},` +
	`"approval":{"source":"change-4471","approver":"bob@example.com"},"outcome":"success","latency_ms":41,"client":"10.0.0.3:41514","note":"rotate the database password of the payments service before the release window closes tonight"}`

func benchRecord(tb testing.TB) *record.Record {
	tb.Helper()
	r := corpus(tb)["vault"].eff
	r.Raw = []byte(benchMessage)
	r.Unset(record.MessageOffset)
	return r
}

// BenchmarkPhrase: one text of 800 bytes. Every query runs through all of it.
func BenchmarkPhrase(b *testing.B) {
	for _, text := range []string{"quux", "eagle", "tonight", "rotate the passphrase", "the release tonight", "eat*", "*zzz*"} {
		for _, m := range []struct{ name, text string }{{"ascii", benchMessage}, {"wide", benchMessage + "é"}} {
			b.Run(strings.ReplaceAll(text, " ", "_")+"/"+m.name, func(b *testing.B) {
				p := mustParse(b, `"`+text+`"`).root.phrase
				if strings.Contains(text, "*") {
					p = mustParse(b, text).root.phrase
				}
				b.SetBytes(int64(len(m.text)))
				b.ReportAllocs()
				for b.Loop() {
					p.match(m.text)
				}
			})
		}
	}
}

// BenchmarkMatch: a whole record of some forty values.
func BenchmarkMatch(b *testing.B) {
	r := benchRecord(b)
	for _, text := range []string{
		"quux", "tonight", "chain.request_id:req-5512", "requester.id:alice@example.com executor.id:spiffe://example.com/agent/deploy",
		"findings:malformed", "time:>2026-11-23 action.tool:k*", "outcome.status:denied quux", "delegation.principal:alice@example.com",
	} {
		b.Run(strings.ReplaceAll(text, " ", "_"), func(b *testing.B) {
			m := mustParse(b, text).NewMatcher()
			b.ReportAllocs()
			for b.Loop() {
				m.Match(r, nil)
			}
		})
	}
}

func BenchmarkIndexTerms(b *testing.B) {
	r := benchRecord(b)
	var s Scratch
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		n = 0
		IndexTerms(r, &s, func([]byte) { n++ }, func([]byte) { n++ })
	}
	b.ReportMetric(float64(n), "keys/op")
}

func BenchmarkWords(b *testing.B) {
	var buf []byte
	b.SetBytes(int64(len(benchMessage)))
	b.ReportAllocs()
	for b.Loop() {
		buf = Words(benchMessage, buf, func([]byte) {})
	}
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseAt(`requester.id:alice@example.com (outcome.status:denied OR risk:high) "restart nginx" time:>now-1d`, now); err != nil {
			b.Fatal(err)
		}
	}
}

// TestNoAllocation: the hot paths run on the memory that they were given.
func TestNoAllocation(t *testing.T) {
	r := benchRecord(t)
	for _, text := range []string{"quux", `"rotate the passphrase"`, "findings:malformed risk:high", "seq:>9 kv", "time:>2026-01-01 quux*", "source.peer:10.0.0.0/8", "id:01934c1e-7b2a-7cc3-9a55-00000000bc53"} {
		q := mustParse(t, text)
		m := q.NewMatcher()
		if n := testing.AllocsPerRun(100, func() { m.Match(r, nil) }); n != 0 {
			t.Errorf("%s: %v allocations by a Matcher", text, n)
		}
	}
	q := mustParse(t, "quux risk:high")
	if n := testing.AllocsPerRun(100, func() { q.Match(r, nil) }); n != 0 {
		t.Errorf("%v allocations by Match", n)
	}
	var s Scratch
	none := func([]byte) {}
	if n := testing.AllocsPerRun(100, func() { IndexTerms(r, &s, none, none) }); n != 0 {
		t.Errorf("%v allocations by IndexTerms", n)
	}
}
