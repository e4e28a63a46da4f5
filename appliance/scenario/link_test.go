package scenario_test

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"custody/appliance/scenario"
	"custody/index"
	"custody/index/chain"
	"custody/ingest"
	"custody/ingest/attribution"
	"custody/ingest/record"
)

// number reads a number from the environment.
func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestLinking takes the lines of many interleaved stories through the whole
// ledger and scores what it says of them: a fresh seed each time, printed.
func TestLinking(t *testing.T) {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	seed := number(t, "CUSTODY_SCENARIO_SEED", binary.LittleEndian.Uint64(b[:])>>32)
	chains := int(number(t, "CUSTODY_SCENARIO_CHAINS", 800))
	t.Logf("CUSTODY_SCENARIO_SEED=%d CUSTODY_SCENARIO_CHAINS=%d", seed, chains)
	s := scenario.Generate(seed, chains)
	got := take(t, &s)
	rep := scenario.Score(&s, got)
	t.Logf("\n%s", rep)
	// Nobody may ever be named who it was not, and nothing may be lost. The shares
	// are held at what is reached; what they have to become is in the report.
	if rep.Wrongs > 0 || rep.Lost > 0 {
		t.Errorf("%d wrong attributions, %d lines lost", rep.Wrongs, rep.Lost)
	}
	for _, f := range []struct {
		what  string
		got   scenario.Share
		least float64
	}{
		{"requester recall", rep.Requester, 0.93},
		{"executor recall", rep.Executor, 0.85},
		{"pair precision", rep.PairPrecision, 0.60},
		{"pair recall", rep.PairRecall, 0.75},
		{"ambiguous recall", rep.AmbiguousRecall, 0.35},
	} {
		if f.got.Value() < f.least {
			t.Errorf("%s fell to %v, below %v", f.what, f.got, f.least)
		}
	}
	if name := os.Getenv("CUSTODY_SCENARIO_SHOW"); name != "" {
		show(t, &s, name, got)
	}
}

// show prints the first chains of a scenario, line by line.
func show(t *testing.T, s *scenario.Stream, name string, got func(int) scenario.Got) {
	t.Helper()
	chains, width := map[int]bool{}, int(number(t, "CUSTODY_SCENARIO_WIDTH", 200))
	for i := range s.Lines {
		if tr := &s.Lines[i].Truth; tr.Scenario == name && (chains[tr.Chain] || len(chains) < 2) {
			chains[tr.Chain] = true
			g := got(i)
			t.Logf("line %d, chain %d.%d, %s: truth %q via %q, linkable %v, parents %v, must %v\n  got %q (%s) via %q, chain %s, parents %v, findings %v\n  %.*s", i, tr.Chain, tr.Group,
				s.Sources[s.Lines[i].Source].Name, tr.Requester, tr.Executor, tr.Linkable, tr.Parents, tr.Must,
				g.Requester, g.RequesterAssurance, g.Executor, g.Chain, g.Parents, g.Findings, width, s.Lines[i].Raw)
		}
	}
}

// take runs the lines through a ledger and returns what it says of each.
func take(t *testing.T, s *scenario.Stream) func(int) scenario.Got {
	t.Helper()
	reg, err := attribution.New(attribution.Options{})
	if err != nil {
		t.Fatal(err)
	}
	trusted := make(map[string]bool)
	var sources []*ingest.Source
	for i := range s.Sources {
		src := &s.Sources[i]
		trusted[src.Name] = src.Trusted
		sources = append(sources, &ingest.Source{
			Name: src.Name, Tenant: src.Tenant, Format: src.Format, Trusted: src.Trusted, AuthoritativeFor: src.AuthoritativeFor,
			Syslog: src.Syslog, Transport: ingest.TLS,
		})
	}
	var now atomic.Int64
	now.Store(s.Lines[0].Arrival.UnixNano())
	l, err := index.Open(index.Options{
		Dir: t.TempDir(), Registry: reg, Reserve: 1, Clock: func() time.Time { return time.Unix(0, now.Load()) },
		Link: &chain.Options{Trusted: func(name string) bool { return trusted[name] }},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	var wg sync.WaitGroup
	for i := 0; i < len(s.Lines); {
		n := i + 1
		for n < len(s.Lines) && s.Lines[n].Source == s.Lines[i].Source && s.Lines[n].Peer == s.Lines[i].Peer {
			n++
		}
		batch := &ingest.Batch{Source: sources[s.Lines[i].Source]}
		batch.Peer, _ = netip.ParseAddr(s.Lines[i].Peer)
		for ; i < n; i++ {
			batch.Lines = append(batch.Lines, ingest.Line{Raw: s.Lines[i].Raw, Received: s.Lines[i].Arrival.UnixNano(), Offset: -1})
			now.Store(s.Lines[i].Arrival.UnixNano())
		}
		wg.Add(1)
		batch.Done = func(err error) {
			if err != nil {
				t.Error(err)
			}
			wg.Done()
		}
		if err := l.Submit(ctx, batch); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	// The windows close, and what that shows is stated.
	now.Add(int64(2 * time.Hour))
	for quiet, rows := 0, l.Status().Rows; quiet < 3; {
		time.Sleep(1100 * time.Millisecond)
		if n := l.Status().Rows; n != rows {
			quiet, rows = 0, n
			continue
		}
		quiet++
	}
	got := collect(t, s, l)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	return got
}

// collect finds each line's record.
func collect(t *testing.T, s *scenario.Stream, l *index.Ledger) func(int) scenario.Got {
	t.Helper()
	rows := make(map[string][]*record.Record) // by line; a line that came twice has two
	up := make(map[uint64]uint64)             // chain root → the one it was joined to
	line := make(map[uint64]int)
	err := l.Scan(t.Context(), index.Request{Order: index.OldestFirst}, func(r *record.Record) error {
		c, err := record.Parse(r.AppendJSON(nil))
		if err != nil {
			return err
		}
		if n, err := strconv.ParseUint(c.Get(record.ChainID), 10, 64); err == nil {
			up[c.Seq] = n
		}
		rows[string(c.Raw)] = append(rows[string(c.Raw)], c)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	of := make([]*record.Record, len(s.Lines))
	for i := range s.Lines {
		raw := string(s.Lines[i].Raw)
		if list := rows[raw]; len(list) > 0 {
			of[i], rows[raw] = list[0], list[1:]
			line[list[0].Seq] = i
		}
	}
	return func(i int) scenario.Got {
		r := of[i]
		if r == nil {
			return scenario.Got{Missing: true}
		}
		g := scenario.Got{
			Requester: r.Get(record.RequesterID), RequesterAssurance: r.Get(record.RequesterAssurance), Executor: r.Get(record.ExecutorID),
			Findings: r.List(record.Findings),
		}
		root := r.Seq
		for n, ok := up[root]; ok && n < root; n, ok = up[root] {
			root = n
		}
		g.Chain = strconv.FormatUint(root, 10)
		for _, f := range g.Findings {
			g.Ambiguous = g.Ambiguous || f == record.LinkAmbiguous
		}
		for _, k := range r.LinkList() {
			if n, ok := line[k.To]; ok && len(k.Candidates) == 0 {
				g.Parents = append(g.Parents, n)
			}
		}
		return g
	}
}
