package demo

import (
	"bufio"
	"encoding/json"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"custody/ingest"
	"custody/ingest/attribution"
	"custody/ingest/record"
)

var at = time.Date(2026, 11, 23, 14, 2, 7, 0, time.UTC)

// Every line is read by the decoder of its program, and the stories as a whole
// have the people, agents, denials, credentials and approvals that they are for.
func TestStoriesDecode(t *testing.T) {
	registry, err := attribution.New(attribution.Options{})
	if err != nil {
		t.Fatal(err)
	}
	worker := registry.Worker()
	formats := map[string]string{
		"vault": "vault", "kube-apiserver": "k8s_audit", "cloudtrail": "cloudtrail", "agentgateway": "mcp_gateway",
		"agent-orchestrator": "json", "sudo": "sudo", "sshd": "sshd",
	}
	seen := map[string]int{}
	g := NewGenerator(1)
	for i := range 3000 {
		e := g.Next(at.Add(time.Duration(i) * time.Second))
		if strings.ContainsAny(e.Text, "\n\x00") || len(e.Text) > 8000 {
			t.Fatalf("%s: a line of %d bytes with a break: %q", e.App, len(e.Text), e.Text)
		}
		// As the program itself would send it, without the tag's mark.
		raw := []byte("<134>2026-11-23T14:02:07Z host " + e.App + "[7]: " + e.Text)
		line := ingest.Line{Raw: raw, Received: at.Add(time.Duration(i) * time.Second).UnixNano()}
		var r *record.Record
		worker.Decode(attribution.Input{Source: &ingest.Source{Name: "demo", Transport: ingest.TCP, Syslog: true}, Line: &line}, func() *record.Record {
			r = &record.Record{}
			return r
		})
		if got := r.Get(record.SourceFormat); got != formats[e.App] {
			t.Fatalf("%s was read as %q: %s", e.App, got, e.Text)
		}
		for _, f := range r.List(record.Findings) {
			if f == record.Malformed {
				t.Fatalf("malformed, %s: %s", r.Get(record.SourceError), e.Text)
			}
			seen["finding "+f]++
		}
		seen["app "+e.App]++
		seen["outcome "+r.Get(record.OutcomeStatus)]++
		seen["requester "+r.Get(record.RequesterType)]++
		seen["executor "+r.Get(record.ExecutorType)]++
		seen["credential "+r.Get(record.CredentialEventOp)]++
		if a := r.Get(record.ApprovalApprover); a != "" {
			seen["approved"]++
		}
		if r.Has(record.ChainTraceID) {
			seen["traced"]++
		}
	}
	for _, want := range []string{
		"app vault", "app kube-apiserver", "app cloudtrail", "app agentgateway", "app agent-orchestrator", "app sudo", "app sshd",
		"outcome success", "outcome denied", "outcome failure", "requester person", "executor agent", "credential issue", "credential revoke",
		"approved", "traced", "finding " + record.SelfApproval,
	} {
		if seen[want] < 5 {
			t.Errorf("%q stands in %d of 3000 lines", want, seen[want])
		}
	}
	t.Logf("%v", seen)
}

func TestSameSeedSameStories(t *testing.T) {
	a, b, other := NewGenerator(7), NewGenerator(7), NewGenerator(8)
	same := true
	for range 500 {
		x, y := a.Next(at), b.Next(at)
		if x != y {
			t.Fatalf("%+v is not %+v", x, y)
		}
		same = same && x == other.Next(at)
	}
	if same {
		t.Error("another seed tells the same")
	}
}

// A real listener gets what Run counts, marked, on the wire format of syslog.
func TestRunSends(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	lines := make(chan string, 1000)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				in := bufio.NewScanner(conn)
				in.Buffer(nil, 64<<10)
				for in.Scan() {
					lines <- in.Text()
				}
			}()
		}
	}()
	sent, err := Run(t.Context(), "tcp", l.Addr().String(), Options{Rate: 2000, Count: 200, Seed: 3})
	if err != nil || sent != 200 {
		t.Fatalf("sent %d, %v", sent, err)
	}
	form := regexp.MustCompile(`^<\d+>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S+ \S+ custody-demo/([a-z-]+)\[\d+\]: (.+)$`)
	for range sent {
		select {
		case line := <-lines:
			m := form.FindStringSubmatch(line)
			if m == nil {
				t.Fatalf("not marked syslog: %q", line)
			}
			if strings.HasPrefix(m[2], "{") && !json.Valid([]byte(m[2])) {
				t.Fatalf("broken JSON: %s", m[2])
			}
		case <-time.After(10 * time.Second):
			t.Fatal("a line is missing")
		}
	}
}

func TestRunWithoutListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	sent, err := Run(t.Context(), "tcp", addr, Options{Count: 1, Seed: 1})
	if err == nil || sent != 0 || !strings.Contains(err.Error(), "custody serve") {
		t.Errorf("sent %d, %v", sent, err)
	}
}
