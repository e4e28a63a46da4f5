//go:build linux

package appliance_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// number of the environment variable, or def.
func envInt(t *testing.T, name string, def int) int {
	v := os.Getenv(name)
	if v == "" {
		return def
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		t.Fatalf("%s: %q is not a number from 1", name, v)
	}
	return n
}

// testKill kills the server at random moments while everything sends. Files and
// imports must be there exactly once in the end, RELP at least once, and nothing
// that was ever reported durable may be gone.
// CUSTODY_KILL_ROUNDS is how often (5), CUSTODY_KILL_SEED what is random.
func testKill(t *testing.T, bin string) {
	rounds := envInt(t, "CUSTODY_KILL_ROUNDS", 5)
	seed := envInt(t, "CUSTODY_KILL_SEED", int(time.Now().UnixNano()&0xffffff)+1)
	t.Logf("CUSTODY_KILL_SEED=%d CUSTODY_KILL_ROUNDS=%d", seed, rounds)
	rng := rand.New(rand.NewPCG(uint64(seed), 0))

	// Short segments: closing, packing and swapping them is hit as well.
	s := newInstance(t, bin, "", "segment_rows = 4000")
	l := newLoad(t)
	tailed := l.appendFile(s.tail, "tail", 2000, rand.New(rand.NewPCG(uint64(seed), 1)))
	l.sendTCP(s.syslog, "tcp", 1500)
	l.sendUDP(s.syslog, "udp", 500)
	relp := l.sendRELP(s.relp, "relp", 1500)
	rs := startRsyslogIf(t, s, 200)

	var seen watched // what the server has said so far
	gaps := uint64(0)
	var files []string
	for r := range rounds {
		s.launch()
		if r > 0 && rng.IntN(4) == 0 {
			pause(t, s, rng, 150*time.Millisecond)
			s.kill()
			continue
		}
		s.await()
		seen.check(s)
		before := seen.tcp
		watch := seen.start(s)

		// A file is imported in two rounds, so that the second goes on with the first's.
		const lines = 12_000
		if r%2 == 0 {
			files = append(files, importFile(t, s, fmt.Sprintf("imp%dx", len(files)), lines))
		}
		pause(t, s, rng, 800*time.Millisecond)
		imp := start(t, exec.Command(bin, "import", "--config", s.config(), files[len(files)-1]))
		pause(t, s, rng, 500*time.Millisecond)
		s.kill()
		imp.kill()
		watch()
		if seen.tcp > before {
			gaps++ // the connection had durable lines, and is open now
		}
	}

	s.serve()
	seen.check(s)
	for i, f := range files {
		for _, want := range []string{"", " 0 lines taken, 12000 known before"} { // a second time adds nothing
			if out, errs, code := s.run("import", f); code != 0 || !strings.Contains(out, want) {
				t.Fatalf("import %d: exit code %d, %s%s; want %q", i, code, out, errs, want)
			}
		}
	}
	l.end()
	if n := relp.pending(); n > 0 {
		t.Fatalf("RELP: %d events without an answer", n)
	}
	rs.stop()
	eventually(t, 30*time.Second, "the tail has caught up", func() error {
		n, err := s.count("source.name:app")
		if err == nil && n < uint64(*tailed) {
			err = fmt.Errorf("%d of %d", n, *tailed)
		}
		return err
	})
	if n, err := s.count(`kind:gap source.name:tcp source.error:"connection open at crash"`); err != nil || n < gaps {
		t.Errorf("%d gaps (%v) for at least %d connections open at a kill", n, err, gaps)
	}
	s.settled()
	s.stop()
	s.verify()
	s.serve()
	all := s.settled()

	// Each stream by itself against what was sent.
	rows := s.export("*")
	if uint64(len(rows)) != all.Durable {
		t.Errorf("the export has %d records, durable are %d", len(rows), all.Durable)
	}
	got := map[string]map[int]int{} // kind → event → copies
	for _, r := range rows {
		kind := r.Source.Name
		line := syslogEvent
		switch kind {
		case "app":
			kind, line = "tail", event
		case "import":
			_, rest, _ := strings.Cut(r.raw(), `"request_id":"`)
			i, _, _ := strings.Cut(strings.TrimPrefix(rest, "imp"), "x")
			kind, line = "imp"+i+"x", event
		case "relp2":
			kind, line = "rsyslog", nil
		}
		n, ok := number(kind, r.raw())
		if !ok || line != nil && r.raw() != line(kind, n) {
			t.Fatalf("seq %d of %s is no line that was sent: %q", r.Seq, r.Source.Name, r.raw())
		}
		if got[kind] == nil {
			got[kind] = map[int]int{}
		}
		got[kind][n]++
	}
	for kind, n := range map[string]int{"tail": *tailed, "relp": relp.sent, "rsyslog": rs.sent()} {
		once(t, kind, got[kind], n, kind == "tail")
	}
	for i := range files {
		kind := fmt.Sprintf("imp%dx", i)
		once(t, kind, got[kind], 12_000, true)
	}
	for _, kind := range []string{"tcp", "udp"} {
		for n, copies := range got[kind] {
			if copies > 1 {
				t.Errorf("%s event %d is there %d times", kind, n, copies)
			}
		}
	}
	for n := range relp.acked {
		if got["relp"][n] == 0 {
			t.Errorf("RELP event %d was acknowledged and is not there", n)
		}
	}

	// The search finds what the export has.
	for kind, events := range got {
		probe := 0
		for n := range maps.Keys(events) { // at random
			word := fmt.Sprint(kind, n)
			if c, err := s.count(word); err != nil || c != uint64(events[n]) {
				t.Errorf("count %s = %d, %v; want %d", word, c, err, events[n])
			}
			if c, err := s.count("chain.request_id:" + word); err != nil || c != uint64(events[n]) {
				t.Errorf("count chain.request_id:%s = %d, %v; want %d", word, c, err, events[n])
			}
			if probe++; probe == 10 {
				break
			}
		}
	}
	t.Logf("%d records; tail %d, RELP %d, rsyslog %d, tcp %d, udp %d, %d imported files", len(rows), *tailed, relp.sent, rs.sent(), len(got["tcp"]), len(got["udp"]), len(files))
	s.stop()
}

// once checks that the events 0 to n-1 are there, exactly once or at least once.
func once(t *testing.T, kind string, copies map[int]int, n int, exactly bool) {
	t.Helper()
	missing, double := 0, 0
	for i := range n {
		if copies[i] == 0 {
			missing++
			if missing <= 3 {
				t.Errorf("%s: event %d is missing", kind, i)
			}
		}
		if copies[i] > 1 && exactly {
			double++
			if double <= 3 {
				t.Errorf("%s: event %d is there %d times", kind, i, copies[i])
			}
		}
	}
	if missing+double > 0 || len(copies) > n {
		t.Errorf("%s: of %d events %d are missing, %d double; %d distinct ones are there", kind, n, missing, double, len(copies))
	}
}

// pause waits up to most, and fails when the server ends by itself meanwhile.
func pause(t *testing.T, s *instance, rng *rand.Rand, most time.Duration) {
	t.Helper()
	select {
	case <-time.After(time.Duration(rng.Int64N(int64(most)))):
	case <-s.proc.exited:
		t.Fatalf("the server ended by itself: %v", s.proc.err)
	}
}

// importFile writes a file of n events of the kind.
func importFile(t *testing.T, s *instance, kind string, n int) string {
	t.Helper()
	path := filepath.Join(s.dir, kind+".ndjson")
	var b strings.Builder
	for i := range n {
		b.WriteString(event(kind, i) + "\n")
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// watched is the most that a server has ever reported.
type watched struct{ durable, tcp uint64 }

// start watches until the returned function is called.
func (w *watched) start(s *instance) (end func()) {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			if st, err := s.status(); err == nil {
				w.durable = max(w.durable, st.Events.Durable)
			}
			if n, err := s.count("source.name:tcp"); err == nil {
				w.tcp = max(w.tcp, n)
			}
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	return func() { close(stop); wg.Wait() }
}

// check holds a server that was just started against what was reported before.
func (w *watched) check(s *instance) {
	s.t.Helper()
	st, err := s.status()
	if err != nil || st.Events.Durable < w.durable {
		s.t.Fatalf("%d events are durable, %d were before the kill (%v)", st.Events.Durable, w.durable, err)
	}
	n, err := s.count("source.name:tcp")
	if err != nil || n < w.tcp {
		s.t.Fatalf("%d events from TCP are there, %d were before the kill (%v)", n, w.tcp, err)
	}
}
