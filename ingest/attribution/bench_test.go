package attribution

import (
	"testing"

	"custody/ingest"
	"custody/ingest/record"
)

// agentLine is an RFC 5424 line with an agent's event of 800 bytes.
const agentLine = `<134>1 2026-11-23T14:02:07.114512Z gw-3.example.com agent-runtime 4711 tool_call - ` +
	`{"ts":"2026-11-23T14:02:07.114512Z","level":"info","event":"tool_call","request_id":"req-55120018-7f3a","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736",` +
	`"span_id":"00f067aa0ba902b7","session_id":"sess-8841-22","requester":"alice.meyer@example.com","agent":"deploy-agent-7","tool":"vault.kv.read","operation":"read",` +
	`"target":"secret/data/prod/payments/db-credentials","permission":"secrets:read:prod","policy":"deploy-read-prod","decision":"allow","status":"success","duration_ms":42,` +
	`"environment":"production","region":"eu-central-1","message":"agent deploy-agent-7 read the database credentials of payments for release 4.2 on behalf of alice; lease of thirty minutes, ` +
	`checked against change 4471 and the release calendar before the call was made, answered from the primary"}`

func BenchmarkDecode(b *testing.B) {
	g, err := New(Options{})
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct{ name, line string }{
		{"json", agentLine},
		{"sshd", `<38>Nov 23 14:02:07 web1 sshd[4242]: Accepted publickey for deploy from 10.0.0.5 port 4242 ssh2: ED25519 SHA256:AbCdEf0123456789AbCdEf0123456789AbCdEf01234`},
		{"kv", `<134>1 2026-11-23T14:02:07.114512Z gw agent - - - user=alice@example.com agent=deploy-7 tool=kubectl action=apply target=prod/web status=ok trace_id=4bf92f3577b34da6a3ce929d0e0e4736 msg="rolled out"`},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := g.Worker()
			src := &ingest.Source{Name: "gw", Transport: ingest.TCP, Syslog: true}
			line := &ingest.Line{Raw: []byte(c.line), Received: arrival, Offset: -1}
			in := Input{Source: src, Peer: "10.0.0.3", Line: line}
			var r record.Record
			next := func() *record.Record { r.Reset(); return &r }
			b.SetBytes(int64(len(c.line)))
			b.ReportAllocs()
			for b.Loop() {
				w.Decode(in, next)
			}
		})
	}
}
