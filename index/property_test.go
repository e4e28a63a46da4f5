package index

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"custody/index/query"
	"custody/index/seal"
	"custody/ingest/record"
)

// randomQuery makes a query over the vocabulary of event and of the test's amendments.
func randomQuery(rng *rand.Rand, depth int) string {
	leaf := func() string {
		n := rng.IntN(3000)
		switch rng.IntN(17) {
		case 0:
			return fmt.Sprintf("requester.id:user%d@example.com", rng.IntN(9))
		case 1:
			return fmt.Sprintf("executor.id:agent-%d", rng.IntN(4))
		case 2:
			return "action.tool:" + []string{"kv", "shell", "deploy", "none"}[rng.IntN(4)]
		case 3:
			return fmt.Sprintf("chain.request_id:req-%08x", n)
		case 4:
			return fmt.Sprintf("req-%08x", n)
		case 5:
			return fmt.Sprintf("%032x", n*7919)
		case 6:
			return fmt.Sprintf(`"item %d"`, n)
		case 7:
			return "agent"
		case 8:
			return fmt.Sprintf("target.id:secret/data/%d", rng.IntN(12))
		case 9:
			return fmt.Sprintf("requester.id:user%d*", rng.IntN(9))
		case 10:
			return "findings:chain_broken"
		case 11:
			return "_exists_:findings"
		case 12:
			return "sealed.requester.id:user1@example.com"
		case 13:
			return "absence.requester.id:redacted"
		case 15:
			return "id:" + record.FormatID([16]byte{1, 2, 3})
		case 14:
			return fmt.Sprintf("time:[2026-11-23T10:00:0%d TO 2026-11-23T10:00:0%d}", rng.IntN(5), 5+rng.IntN(5))
		}
		return fmt.Sprintf("amended%d", rng.IntN(5))
	}
	if depth == 0 || rng.IntN(3) == 0 {
		return leaf()
	}
	a, b := randomQuery(rng, depth-1), randomQuery(rng, depth-1)
	switch rng.IntN(4) {
	case 0:
		return "(" + a + " OR " + b + ")"
	case 1:
		return "(" + a + " AND " + b + ")"
	case 2:
		return "NOT (" + a + ")"
	}
	return "(" + a + " " + b + ")"
}

// TestSearchEqualsScan: for random queries, records, amendments and redactions,
// at every stage of a store's life, a search finds exactly the rows that match
// when every row is looked at.
func TestSearchEqualsScan(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	f := newFixture(t, Options{SegmentRows: 900})
	compare := func(stage string) {
		t.Helper()
		type row struct{ eff, sealed *record.Record }
		var rows []row
		if err := StoredRows(t.Context(), f.l.store, func(_, _ uint64, err error) { t.Error(err) },
			func(r *record.Record, _ seal.Entry, _ []seal.Unit) error {
				eff, err := record.Parse(r.AppendJSON(nil))
				f.l.overlay.apply(eff)
				rows = append(rows, row{eff, r})
				return err
			}); err != nil {
			t.Fatal(err)
		}
		for range 60 {
			text := randomQuery(rng, 3)
			q := mustQuery(t, text)
			var want []uint64
			for _, r := range rows {
				if q.Match(r.eff, r.sealed) {
					want = append(want, r.sealed.Seq)
				}
			}
			var got []uint64
			if err := f.l.Scan(t.Context(), Request{Query: q, Order: OldestFirst}, func(r *record.Record) error {
				got = append(got, r.Seq)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%s: %s: search finds %d rows, a scan %d\n%v\n%v", stage, text, len(got), len(want), clip(got), clip(want))
			}
			n, err := f.l.Count(t.Context(), Request{Query: q})
			if err != nil || n != uint64(len(want)) {
				t.Fatalf("%s: %s: count %d, want %d: %v", stage, text, n, len(want), err)
			}
		}
	}
	for i := 0; i < 3000; {
		var lines []string
		for range 1 + rng.IntN(60)*rng.IntN(10) {
			lines = append(lines, event(i))
			i++
		}
		f.send(lines...)
		if rng.IntN(8) == 0 {
			compare("loading")
		}
	}
	compare("loaded")
	for range 60 {
		if _, err := f.l.Amend(t.Context(), uint64(rng.IntN(3000)), func(r *record.Record) {
			switch rng.IntN(3) {
			case 0:
				r.Set(record.RequesterID, fmt.Sprintf("user%d@example.com", rng.IntN(9)), "")
			case 1:
				r.AddFinding(record.ChainBroken)
			}
			r.Set(record.ContextPurpose, fmt.Sprintf("amended%d by a later record", rng.IntN(5)), "")
		}); err != nil {
			t.Fatal(err)
		}
	}
	compare("amended")
	eventually(t, "all sealed", func() bool { st := f.l.Status(); return st.Sealed == st.Durable })
	q, err := query.Parse("requester.id:user5@example.com AND action.tool:kv")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.l.Redact(t.Context(), Redaction{Policy: "p", Fields: []record.Field{record.RequesterID}, Query: q}); err != nil {
		t.Fatal(err)
	}
	compare("redacted")
	f.close()
	f.open()
	compare("reopened")
}

func clip(s []uint64) string {
	return strings.TrimSuffix(fmt.Sprint(s[:min(len(s), 20)]), "]")
}
