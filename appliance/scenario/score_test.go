package scenario

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// seed is that of CUSTODY_SCENARIO_SEED, else a fixed one.
func seed(tb testing.TB) uint64 {
	tb.Helper()
	n := uint64(20261123)
	if v := os.Getenv("CUSTODY_SCENARIO_SEED"); v != "" {
		var err error
		if n, err = strconv.ParseUint(v, 10, 64); err != nil {
			tb.Fatalf("CUSTODY_SCENARIO_SEED: %v", err)
		}
	}
	tb.Logf("CUSTODY_SCENARIO_SEED=%d", n)
	return n
}

// oracle says of every line exactly what can be known.
func oracle(s *Stream) func(int) Got {
	return func(i int) Got {
		t := &s.Lines[i].Truth
		g := Got{Chain: strconv.Itoa(t.Group), Ambiguous: t.Ambiguous, Findings: slices.Concat(t.Must, t.MustAny)}
		if t.Linkable || t.Window {
			g.Requester, g.RequesterAssurance = t.Requester, "correlated"
		}
		if t.ExecutorShown {
			g.Executor = t.Executor
		}
		for _, p := range t.Parents {
			g.Parents = append(g.Parents, p.Line)
		}
		return g
	}
}

func TestOracleKeepsAllLimits(t *testing.T) {
	s := Generate(seed(t), 1500)
	r := Score(&s, oracle(&s))
	if f := r.Failures(); len(f) > 0 {
		t.Errorf("%s\n%s", strings.Join(f, "\n"), r)
	}
	for _, share := range []Share{r.Requester, r.Executor, r.Window, r.PairPrecision, r.PairRecall, r.AmbiguousRecall, r.AmbiguousPrecision, r.ParentPrecision, r.ParentRecall} {
		if share.Of < 50 || share.N != share.Of {
			t.Errorf("the oracle has %s somewhere\n%s", share, r)
		}
	}
	for name, f := range r.Findings {
		if f.Recall.Of == 0 || f.Recall.Value() != 1 || f.Precision.Value() != 1 {
			t.Errorf("%s: the oracle has recall %s, precision %s", name, f.Recall, f.Precision)
		}
	}
	if len(r.Scenarios) != len(scenarios) {
		t.Errorf("%d of %d scenarios happened", len(r.Scenarios), len(scenarios))
	}
}

// Each of these is bad in one way, and the scorer has to say which.
func TestScorerSeesBadSystems(t *testing.T) {
	s := Generate(seed(t), 1500)
	perfect := oracle(&s)
	var alice string
	for _, l := range s.Lines {
		if strings.HasPrefix(l.Truth.Requester, "alice@") {
			alice = l.Truth.Requester
			break
		}
	}
	collided := map[int]string{}
	for _, l := range s.Lines {
		if l.Truth.Scenario == "tenants_collide" && l.Truth.Tenant == "acme" {
			collided[l.Truth.Chain] = l.Truth.Requester
		}
	}
	for _, c := range []struct {
		name string
		got  func(int) Got
		says []string
	}{
		{"everyone is Alice", func(i int) Got {
			g := perfect(i)
			g.Requester = alice
			return g
		}, []string{"wrong attributions", "requester recall"}},
		{"never links", func(i int) Got {
			g := perfect(i)
			if g.Chain, g.Parents = "", nil; !s.Lines[i].Truth.Shown {
				g.Requester = ""
			}
			return g
		}, []string{"requester recall", "pair recall"}},
		{"merges tenants", func(i int) Got {
			g, tr := perfect(i), &s.Lines[i].Truth
			if tr.Scenario == "tenants_collide" && tr.Tenant == "globex" && !tr.Loose {
				g.Requester = collided[tr.Chain-1]
			}
			return g
		}, []string{"wrong attributions"}},
		{"one chain for a tenant", func(i int) Got {
			g := perfect(i)
			g.Chain = s.Lines[i].Truth.Tenant
			return g
		}, []string{"pair precision"}},
		{"picks one of several", func(i int) Got {
			g, tr := perfect(i), &s.Lines[i].Truth
			if tr.Ambiguous {
				g.Ambiguous, g.Requester, g.RequesterAssurance = false, tr.Requester, "correlated"
			}
			return g
		}, []string{"wrong attributions", "ambiguous recall"}},
		{"ambiguous whenever it can", func(i int) Got {
			g := perfect(i)
			g.Ambiguous = true
			return g
		}, []string{"ambiguous precision"}},
		{"believes headers", func(i int) Got {
			g, tr := perfect(i), &s.Lines[i].Truth
			if len(tr.Forged) > 0 {
				g.Requester, g.RequesterAssurance = tr.Forged[0], "asserted"
			}
			return g
		}, []string{"wrong attributions"}},
		{"believes strangers", func(i int) Got {
			g, tr := perfect(i), &s.Lines[i].Truth
			if tr.Chain == 0 && len(tr.Stated) > 0 {
				g.Requester, g.RequesterAssurance = tr.Stated[0], "correlated"
			}
			return g
		}, []string{"wrong attributions"}},
		{"proves what an open listener says", func(i int) Got {
			g, tr := perfect(i), &s.Lines[i].Truth
			if tr.Chain == 0 && len(tr.Stated) > 0 {
				g.Requester, g.RequesterAssurance = tr.Stated[0], "authenticated"
			}
			return g
		}, []string{"wrong attributions"}},
		{"takes the service for the caller", func(i int) Got {
			g := perfect(i)
			if g.Executor != "" {
				g.Executor = "something-else"
			}
			return g
		}, []string{"wrong attributions", "executor recall"}},
		{"loses lines", func(i int) Got {
			if i%100 == 0 {
				return Got{Missing: true}
			}
			return perfect(i)
		}, []string{"lost lines"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Score(&s, c.got)
			f := strings.Join(r.Failures(), "\n")
			for _, want := range c.says {
				if !strings.Contains(f, want) {
					t.Errorf("%q is not among the failures:\n%s", want, f)
				}
			}
			if n := len(r.Failures()); n > len(c.says)+1 {
				t.Errorf("%d failures where %d were made:\n%s", n, len(c.says), f)
			}
			if len(r.First) > shown {
				t.Errorf("%d wrong attributions listed", len(r.First))
			}
		})
	}
}

// Findings that are false, and such that are not given, are told apart.
func TestScorerSeesFindings(t *testing.T) {
	s := Generate(seed(t), 600)
	perfect := oracle(&s)
	none := Score(&s, func(i int) Got {
		g := perfect(i)
		g.Findings = nil
		return g
	})
	all := Score(&s, func(i int) Got {
		g := perfect(i)
		g.Findings = judged
		return g
	})
	for _, f := range []string{"credential_expired", "self_approval", "session_wrapper_only", "shared_account", "half_pair", "chain_broken", "link_ambiguous", "scope_escalation"} {
		if n := none.Findings[f]; n == nil || n.Recall.Value() > 0 || len(n.Lost) == 0 {
			t.Errorf("%s: nothing found scores %+v", f, n)
		}
		if a := all.Findings[f]; a == nil || a.Recall.Value() < 1 || a.Precision.Value() > 0.2 || len(a.False) == 0 {
			t.Errorf("%s: everything found scores %+v", f, a)
		}
	}
}

func TestGenerateIsRepeatable(t *testing.T) {
	n := seed(t)
	a, b, c := Generate(n, 300), Generate(n, 300), Generate(n+1, 300)
	same := len(a.Lines) == len(b.Lines)
	for i := range a.Lines {
		if !same || !bytes.Equal(a.Lines[i].Raw, b.Lines[i].Raw) || !a.Lines[i].Arrival.Equal(b.Lines[i].Arrival) || fmt.Sprint(a.Lines[i].Truth) != fmt.Sprint(b.Lines[i].Truth) {
			t.Fatalf("line %d differs between two streams of one seed", i)
		}
	}
	if len(c.Lines) == len(a.Lines) && bytes.Equal(a.Lines[0].Raw, c.Lines[0].Raw) {
		t.Error("another seed gives the same stream")
	}
}

// The truth about a line has to hold together, or scores mean nothing.
func TestTruthHoldsTogether(t *testing.T) {
	s := Generate(seed(t), 3000)
	for i := range s.Lines {
		l := &s.Lines[i]
		tr := &l.Truth
		fail := func(format string, args ...any) {
			t.Errorf("line %d of %s: %s\n%s", i, tr.Scenario, fmt.Sprintf(format, args...), l.Raw)
		}
		if i > 0 && l.Arrival.Before(s.Lines[i-1].Arrival) {
			fail("not in order of arrival")
		}
		if len(l.Raw) == 0 || bytes.ContainsAny(l.Raw, "\n\r") {
			fail("not one line")
		}
		if tr.Requester != "" && !named(tr.RequesterAliases, tr.Requester) || tr.ExecutorShown && !named(tr.ExecutorAliases, tr.Executor) {
			fail("a name is not among its aliases")
		}
		if (tr.Linkable || tr.Window) && tr.Requester == "" || tr.Ambiguous && (tr.Linkable || tr.Window) {
			fail("knowable and not")
		}
		for _, f := range slices.Concat(tr.Must, tr.MustAny) {
			if slices.Contains(tr.MustNot, f) {
				fail("%s is due and false", f)
			}
		}
		for _, p := range tr.Parents {
			if o := &s.Lines[p.Line].Truth; p.Line == i || o.Tenant != tr.Tenant {
				fail("parent %d is of another tenant", p.Line)
			}
		}
		if s.Sources[l.Source].Tenant != tr.Tenant {
			fail("source of another tenant")
		}
		// What is shown stands in the bytes.
		if tr.Shown && !slices.ContainsFunc(tr.RequesterAliases, func(a string) bool { return bytes.Contains(l.Raw, []byte(a)) }) {
			fail("the requester is not in the line")
		}
		if tr.ExecutorShown && !slices.ContainsFunc(tr.ExecutorAliases, func(a string) bool { return bytes.Contains(l.Raw, []byte(a)) }) {
			fail("the executor is not in the line")
		}
	}
}

func BenchmarkGenerate(b *testing.B) {
	for b.Loop() {
		Generate(1, 1000)
	}
}

// What is said to be known through another line is in the bytes of both: an
// identifier that only few chains have.
func TestLinksAreInTheBytes(t *testing.T) {
	s := Generate(seed(t), 1500)
	chains := map[string]map[int]bool{}
	ids := make([]map[string]bool, len(s.Lines))
	for i := range s.Lines {
		ids[i] = identifiers(string(s.Lines[i].Raw))
		for id := range ids[i] {
			if chains[id] == nil {
				chains[id] = map[int]bool{}
			}
			chains[id][s.Lines[i].Truth.Chain] = true
		}
	}
	common := func(a, b int) bool {
		for id := range ids[a] {
			if ids[b][id] && len(chains[id]) <= 4 {
				return true
			}
		}
		return false
	}
	links := 0
	for i := range s.Lines {
		tr := &s.Lines[i].Truth
		for _, p := range tr.Parents {
			links++
			// auditd's session number is small, and an agent's login shares the token.
			if tr.Format == "auditd" || common(i, p.Line) {
				continue
			}
			t.Errorf("line %d of %s shares nothing with line %d, its parent (%s)\n%s\n%s", i, tr.Scenario, p.Line, p.Relation, s.Lines[i].Raw, s.Lines[p.Line].Raw)
			if t.Failed() && links > 2000 {
				return
			}
		}
	}
	if links < 3000 {
		t.Errorf("%d links only", links)
	}
}

// identifiers are the runs of letters and digits of a line that are long enough
// to identify something, and the SHA-256 that stand in base64.
func identifiers(line string) map[string]bool {
	out := map[string]bool{}
	for _, f := range strings.FieldsFunc(line, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9')
	}) {
		if len(f) >= 12 {
			out[f] = true
		}
	}
	if _, rest, ok := strings.Cut(line, `"hashed_token":"`); ok {
		v, _, _ := strings.Cut(rest, `"`)
		if raw, err := base64.StdEncoding.DecodeString(v); err == nil {
			out[hex.EncodeToString(raw)] = true
		}
	}
	return out
}
