package query

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

const events = "vault k8s aws sudo mcp bad summary" // what the default scope sees of the corpus

// table: a query and the records of the corpus that it accepts, no others.
var table = []struct {
	group string
	rows  [][2]string
}{
	{"words", [][2]string{
		{`denied`, "k8s bad"},
		{`DENIED`, "k8s bad"},
		{`failure`, "aws"},
		{`alice`, "vault summary"},
		{`alice@example.com`, "vault summary"},
		{`bob`, "vault k8s"},
		{`example`, "vault mcp summary"},
		{`secret/data/prod/db`, "vault summary"},
		{`req-5512`, "vault"},
		{`5512`, "vault"},
		{`551`, ""},
		{`prod`, "vault k8s summary"},
		{`nginx systemctl`, "sudo"},
		{`nginx   kv`, ""},
		{`error`, ""},
		{`errorcode`, "aws"},
		{`123456789012`, "aws"},
		{`доступ`, "mcp"},
		{`ДОСТУП`, "mcp"},
		{`zoë`, "mcp"},
		{`zoe`, ""},
		{`ZOË müller`, "mcp"},
		{`f`, ""},
		{`way`, "bad"},
		{`gateway`, "mcp"},
		{`gate`, "mcp bad"},
		{`4711`, "sudo"},
		{`tok-18`, "vault"},
		{`uses_credential`, "vault"},
		{`credential`, "vault sudo"},
		{`planner agent one`, "mcp"},
		{`temp`, "mcp"},
		{`pts/0`, "sudo"},
		{`web-0`, "k8s"},
		{`web1`, "sudo"},
		{`ci-runner`, "k8s"},
		{`10.0.0.3:41514`, "vault"},
		{`2001:db8::17`, "aws"},
		{`user=root`, "sudo"},
		{`carol(nginx)`, "sudo"},
		{`*`, events},
		{`**`, events},
		{``, events},
		{"\t\n", events},
		{"alice\u00a0kv", "vault summary"},
	}},
	{"words that are not searched", [][2]string{
		{`1048576`, ""},      // a number
		{`1800`, ""},         // a number
		{`48211`, ""},        // seq, about
		{`48190`, ""},        // a number in links
		{`01934c1e`, ""},     // id
		{`principal`, ""},    // the name of a member
		{`2026`, "vault"},    // times have no words, the string in delegation has
		{`vault01`, ""},      // the syslog header
		{`requester.id`, ""}, // provenance
	}},
	{"reasons of absence", [][2]string{
		{`not_recorded`, "aws"},
		{`recorded`, "aws"},
		{`"not established"`, "aws"},
	}},
	{"phrases", [][2]string{
		{`"restart nginx"`, "sudo"},
		{`"nginx restart"`, ""},
		{`"Zoë Müller"`, "mcp"},
		{`"müller доступ"`, "mcp"},
		{`"deploy agent"`, "vault"},
		{`"agent deploy"`, "vault"},
		{`"prod db summarised"`, "summary"},
		{`"db reads"`, ""},
		{`"alice example com"`, "vault summary"},
		{`"carol TTY"`, "sudo"},
		{`"carol : tty = pts"`, "sudo"},
		{`"kv read"`, ""}, // two values
		{`"denied by"`, "bad"},
		{`"a*b"`, "mcp"},
		{`"\"50% off\""`, "mcp"},
		{`"planner agent one"`, "mcp"},
		{`"system:serviceaccount:ci:runner"`, "k8s"},
		{`"AND"`, ""},
		{`"alice"kv`, "vault summary"},
	}},
	{"word wildcards", [][2]string{
		{`deplo*`, "vault aws mcp"},
		{`*sistant`, ""},
		{`summari?ed`, "summary"},
		{`k?`, "vault summary"},
		{`*ource*`, "k8s aws"},
		{`alice@exam*`, "vault summary"},
		{`secret/*/prod`, "vault summary"},
		{`secret/*/db`, ""},
		{`*.example.com`, "vault mcp summary"},
		{`дост*`, "mcp"},
		{`m?ller`, "mcp"},
		{`z??`, "mcp"},
		{`a\*b`, "mcp"},
		{`-deplo*`, "k8s sudo bad summary"},
	}},
	{"whole values", [][2]string{
		{`requester.id:alice@example.com`, "vault summary"},
		{`requester.id:ALICE@EXAMPLE.COM`, "vault summary"},
		{`requester.id:"alice@example.com"`, "vault summary"},
		{`requester.id:alice`, ""},
		{`requester.id:bob`, "k8s"},
		{`requester.id:ZOË@example.com`, "mcp"},
		{`source.name:"mcp gateway"`, "mcp"},
		{`source.name:mcp\ gateway`, "mcp"},
		{`source.name:mcp`, ""},
		{`source.name:"mcp*"`, ""},
		{`action.operation:assumerole`, "aws"},
		{`outcome.status:denied`, "k8s"},
		{`executor.id:spiffe://example.com/agent/deploy`, "vault"},
		{`target.id:secret/data/prod/db`, "vault"},
		{`chain.request_id:req-5512`, "vault"},
		{`chain.request_id:c7e1f2a0-55aa-4d2b-9e8f-1234567890ab`, "aws"},
		{`authority.credential.id:hmac-sha256:1c2b`, "vault"},
		{`decision.policy_version:17`, "vault"},
		{`decision.policy_version:017`, ""},
		{`authority.credential.ttl:1800`, "vault"},
		{`source.offset:99`, "k8s"},
		{`seq:48213`, "aws"},
		{`id:01934c1e-7b2a-7cc3-9a55-00000000bc53`, "vault"},
		{`id:01934C1E-7B2A-7CC3-9A55-00000000BC53`, "vault"},
		{`id:01934c1e`, ""},
		{`id:00000000-0000-0000-0000-000000000000`, ""},
		{`decision.reason:"RBAC: no binding for delete on pods"`, "k8s"},
		{`decision.reason:rbac`, ""},
		{`context.task:release\ 4.2`, "vault"},
		{`source.error:"unexpected end of json"`, "bad"},
		{`message:"120 reads of secret/data/prod/db summarised"`, "summary"},
	}},
	{"lists and objects", [][2]string{
		{`findings:malformed`, "bad"},
		{`findings:requester_missing`, "aws"},
		{`authority.roles:VIEW`, "k8s"},
		{`attributes:client=ide/1.2`, "mcp"},
		{`delegation.principal:alice@example.com`, "vault"},
		{"delegation.principal:\"planner\tagent \\\"one\\\"\"", "mcp"},
		{`delegation.scopes:deploy:read`, "vault"},
		{`delegation.scopes:search`, "mcp"},
		{`delegation.audience:mcp`, "mcp"},
		{`links.to:48190`, "vault"},
		{`links.relation:uses_credential`, "vault"},
		{`links.method:time_window`, ""},
		{`absence.requester:not_recorded`, "aws"},
		{`absence.decision.policy_id:NOT_ESTABLISHED`, "aws"},
		{`absence.executor:not_recorded`, ""},
		{`provenance.requester.id:/requester.id`, "vault k8s sudo mcp summary"},
		{`findings:(requester_asserted policy_version_missing)`, "k8s"},
		{`findings:(requester_asserted AND NOT malformed)`, "k8s"},
		{`findings:(NOT malformed)`, "vault k8s aws sudo mcp summary"},
		{`-findings:malformed`, "vault k8s aws sudo mcp summary"},
	}},
	{"operators", [][2]string{
		{`denied OR failure`, "k8s aws bad"},
		{`denied NOT by`, "k8s"},
		{`denied -by`, "k8s"},
		{`denied !by`, "k8s"},
		{`denied AND NOT by`, "k8s"},
		{`NOT denied`, "vault aws sudo mcp summary"},
		{`-denied -alice`, "aws sudo mcp"},
		{`NOT NOT denied`, "k8s bad"},
		{`--denied`, "k8s bad"},
		{`outcome.status:(success OR failure)`, "vault aws sudo mcp"},
		{`outcome.status:(success failure)`, ""},
		{`outcome.status:((success))`, "vault sudo mcp"},
		{`risk:high OR risk:low carol`, "vault sudo"},
		{`(risk:high OR risk:low) carol`, "sudo"},
		{`risk:low carol OR risk:high`, "vault sudo"},
		{`NOT (denied OR success)`, "aws summary"},
		{`denied OR (alice AND kv)`, "vault k8s bad summary"},
		{`((alice))`, "vault summary"},
		{`(alice)prod`, "vault summary"},
		{`-(alice OR denied)`, "aws sudo mcp"},
		{`NOT *`, ""},
		{`NOT * OR alice`, "vault summary"},
		{`and`, ""},
		{`or alice`, ""},
		{`\AND`, ""},
		{`ANDY OR alice`, "vault summary"},
		{`requester.type:(person AND -service_account) executor.type:agent`, "vault mcp"},
		{`requester.id:(alice@example.com OR carol OR b?b)`, "vault k8s sudo summary"},
		{`outcome.code:(>=400 AND <500)`, "k8s"},
	}},
	{"wildcards over values", [][2]string{
		{`executor.id:*agent*`, "vault mcp"},
		{`executor.id:spiffe://*/deploy`, "vault"},
		{`executor.id:s*`, "vault k8s"},
		{`executor.id:agent*`, ""},
		{`requester.id:*@example.com`, "vault mcp summary"},
		{`requester.id:*\@*`, "vault mcp summary"},
		{`requester.id:c?rol`, "sudo"},
		{`requester.id:zo?@*`, "mcp"},
		{`requester.id:?ob`, "k8s"},
		{`action.tool:*`, "vault sudo mcp summary"},
		{`action.tool:*s*`, "sudo mcp"},
		{`target.id:secret/data/prod/*`, "vault"},
		{`target.id:prod/*`, "k8s"},
		{`target.id:*db`, "vault"},
		{`target.id:s*t/d*a/*/d?`, "vault"},
		{`source.name:mcp\ *`, "mcp"},
		{`attributes:*gate=open`, "mcp"},
		{`message:*a\*b\?c*`, "mcp"},
		{`message:*a\*c*`, ""},
		{`message:*carol*`, "sudo"},
		{`message:*sudo\[*`, ""},
		{`raw:*sudo\[4711\]*`, "sudo"},
		{`raw:*`, "vault k8s aws sudo mcp bad"},
		{`time:2026-11-23T14*`, "vault mcp"},
		{`delegation.principal:alice@*`, "vault"},
		{`delegation.principal:*`, "vault mcp"},
		{`source.peer:10.0.*`, "vault"},
		{`findings:*_missing`, "k8s aws"},
		{`findings:requester_*`, "k8s aws"},
	}},
	{"times", [][2]string{
		{`time:2026-11-23`, "vault k8s mcp summary"},
		{`time:2026-11`, events},
		{`time:2026`, events},
		{`time:2025`, ""},
		{`time:2026-11-23T14:02`, "vault"},
		{`time:"2026-11-23 14:02"`, "vault"},
		{`time:2026-11-23T14:02:07.114512z`, "vault"},
		{`time:[2026-11-22 TO 2026-11-23]`, "vault k8s aws mcp summary"},
		{`time:{2026-11-22 TO 2026-11-23}`, ""},
		{`time:[2026-11-22 TO 2026-11-23}`, "aws"},
		{`time:{2026-11-21 TO 2026-11-22]`, "aws"},
		{`time:[2026-11-23 TO 2026-11-22]`, ""},
		{`time:[* TO 2026-11-21]`, "sudo bad"},
		{`time:>2026-11-22`, "vault k8s mcp summary"},
		{`time:>=2026-11-22`, "vault k8s aws mcp summary"},
		{`time:<2026-11-22`, "sudo bad"},
		{`time:<=2026-11-21`, "sudo bad"},
		{`time:<2026-11-21T08:00`, "bad"},
		{`time:>2026-11-23T14:02:07`, "mcp"},
		{`time:>=2026-11-23T14:02:07`, "vault mcp"},
		{`time:>2026-11-23T14:02:07.1`, "mcp"},
		{`time:>2026-11-23T16:00:00+02:00`, "vault mcp"},
		{`time:>=2026-11-23T15:59:59+02:00`, "vault k8s mcp"},
		{`time:>now-15m`, "mcp"},
		{`time:[now-1h TO now]`, "vault k8s mcp"},
		{`time:<now-1d`, "sudo bad"},
		{`time:now-1d/d`, "aws"},
		{`time:>=now/d`, "vault k8s mcp summary"},
		{`time:>=now/w`, "vault k8s mcp summary"}, // 2026-11-23 is a Monday
		{`time:>9000`, ""},
		{`time:<0500`, ""},
		{`received:2026-11-23T00:00:00`, "aws"},
		{`received:>=2026-11-23T00:00:01`, "vault k8s mcp summary"},
		{`authority.credential.expires:<2026-11-23T15:00`, "vault"},
		{`authority.credential.expires:2026-11-23T14:30`, "vault"},
		{`delegation.expires:[2026-11-23T14:30:00Z TO *]`, "vault"},
		{`delegation.expires:<2026-11-23T14:30:00Z`, ""},
	}},
	{"numbers and text in order", [][2]string{
		{`source.offset:>100`, "vault"},
		{`source.offset:>=99`, "vault k8s"},
		{`source.offset:[99 TO 1048576}`, "k8s"},
		{`authority.credential.ttl:<=1800`, "vault"},
		{`authority.credential.ttl:<1800.0`, ""},
		{`authority.credential.ttl:>1799.99`, "vault"},
		{`authority.credential.ttl:>-5`, "vault"},
		{`seq:[48211 TO 48213]`, "vault k8s aws"},
		{`seq:{48211 TO 48213}`, "k8s"},
		{`seq:<100`, "bad"},
		{`links.to:>48000`, "vault"},
		{`decision.policy_version:[9 TO 20]`, "vault"},
		{`decision.policy_version:>100`, ""},
		{`outcome.code:>=400`, "k8s"},
		{`outcome.code:>=a`, "aws"},
		{`outcome.code:[a TO b}`, "aws"},
		{`outcome.code:[4 TO z]`, "k8s aws"},
		{`action.tool:[a TO l]`, "vault mcp summary"},
		{`action.tool:>kv`, "sudo"},
		{`action.tool:>=KV`, "vault sudo summary"},
		{`action.tool:<=kv`, "vault mcp summary"},
		{`action.tool:[* TO kv}`, "mcp"},
		{`action.tool:[* TO *]`, "vault sudo mcp summary"},
		{`requester.id:["alice@example.com" TO bob]`, "vault k8s summary"},
		{`findings:{malformed TO policy_version_missing]`, "k8s"},
	}},
	{"addresses", [][2]string{
		{`source.peer:10.0.0.0/8`, "vault mcp"},
		{`source.peer:10.0.0.0/24`, "vault"},
		{`source.peer:10.0.0.3`, "vault"},
		{`source.peer:10.0.0.3/32`, "vault"},
		{`source.peer:10.0.0.99/24`, "vault"},
		{`source.peer:"10.0.0.0/8"`, ""},
		{`source.peer:192.168.0.0/16`, "sudo"},
		{`source.peer:::ffff:10.0.0.0/104`, "vault mcp"},
		{`source.peer:0.0.0.0/0`, "vault sudo mcp"},
		{`source.peer:(10.0.0.0/24 OR 192.168.7.20)`, "vault sudo"},
		{`-source.peer:10.0.0.0/8`, "k8s aws sudo bad summary"},
		{`source.address:10.0.0.0/8`, "vault"},
		{`source.address:10.0.0.3:41514`, "vault"},
		{`source.address:2001:db8::/32`, "aws mcp"},
		{`source.address:2001:db8:1::/48`, "mcp"},
		{`source.address:2001:db8::17`, "aws"},
	}},
	{"existence", [][2]string{
		{`_exists_:findings`, "k8s aws sudo bad"},
		{`NOT _exists_:requester.id`, "aws bad"},
		{`-requester.id:*`, "aws bad"},
		{`_exists_:delegation`, "vault mcp"},
		{`_exists_:absence`, "aws"},
		{`_exists_:absence.requester`, "aws"},
		{`_exists_:message`, events},
		{`_exists_:raw`, "vault k8s aws sudo mcp bad"},
		{`_exists_:time`, events},
		{`_exists_:seq`, events},
		{`_exists_:id`, events},
		{`_exists_:about`, ""},
		{`_exists_:about kind:*`, "access"},
		{`_exists_:kind`, events + " gap access"},
	}},
	{"kinds", [][2]string{
		{`kind:gap`, "gap"},
		{`kind:GAP`, "gap"},
		{`kind:"gap"`, "gap"},
		{`kind:record`, "vault k8s aws sudo mcp bad"},
		{`kind:summary`, "summary"},
		{`kind:(gap OR access)`, "gap access"},
		{`kind:*`, events + " gap access"},
		{`kind:acc*`, "access"},
		{`kind:heartbeat`, ""},
		{`NOT kind:record`, "summary gap access"},
		{`kind:* alice`, "vault summary"},
		{`kind:* denied`, "k8s bad access"},
		{`-kind:gap denied`, "k8s bad access"},
		{`kind:gap OR denied`, "gap k8s bad access"},
		{`kind:>=gap`, events + " gap"},
		{`source.name:hosts`, "sudo"},
		{`source.name:hosts kind:*`, "sudo gap"},
		{`auditor`, ""},
		{`auditor kind:access`, "access"},
		{`about:48211`, ""},
		{`about:48211 kind:access`, "access"},
	}},
	{"the sealed original", [][2]string{
		{`sealed.requester.id:vault-agent`, "vault"},
		{`requester.id:vault-agent`, ""},
		{`"vault agent"`, ""},
		{`sealed.requester.id:alice@example.com`, "summary"},
		{`sealed.requester.id:carol`, "sudo"},
		{`sealed.requester.type:service_account`, "vault"},
		{`sealed.requester.id:vault* requester.id:alice*`, "vault"},
		{`alice -sealed.requester.id:vault-agent`, "summary"},
		{`_exists_:sealed.requester.id`, "vault k8s sudo mcp summary"},
		{`sealed.delegation.principal:*`, "mcp"},
		{`sealed.time:2026-11-23T14:02`, "vault"},
	}},
}

func mustParse(tb testing.TB, s string) *Query {
	tb.Helper()
	q, err := ParseAt(s, now)
	if err != nil {
		tb.Fatalf("%s: %v", s, err)
	}
	return q
}

func TestTable(t *testing.T) {
	rows := corpus(t)
	n := 0
	for _, g := range table {
		t.Run(strings.ReplaceAll(g.group, " ", "_"), func(t *testing.T) {
			for _, line := range g.rows {
				q := mustParse(t, line[0])
				want := strings.Fields(line[1])
				for name, r := range rows {
					n++
					expect := slices.Contains(want, name)
					if got := q.Match(r.eff, r.sealed); got != expect {
						t.Errorf("%s on %s: %v, want %v", line[0], name, got, expect)
					}
					checkConsistent(t, q, r)
				}
			}
		})
	}
	if n < 150 {
		t.Errorf("only %d rows", n)
	}
	t.Logf("%d rows", n)
}

// wrong: what is refused, and the place and suggestion that come with it.
var wrong = []struct {
	query      string
	at         string // the part of the query that is pointed at; "" is its end
	msg        string // part of the message
	suggestion string
}{
	{`tool:kv`, "tool", `no field "tool"`, "action.tool"},
	{`alice requster.id:bob`, "requster.id", `no field`, "requester.id"},
	{`sealed.requster.id:bob`, "sealed.requster.id", `no field`, "sealed.requester.id"},
	{`_exists_:outcome.stat`, "outcome.stat", `no field`, "outcome.status"},
	{`_exists_:`, "", "name of a field", ""},
	{`x arn:aws:iam::1 y`, "arn:aws:iam::1", "quote", `"arn:aws:iam::1"`},
	{`https://example.com/`, "https://example.com/", "quote", `"https://example.com/"`},
	{`sealed.kind:gap`, "sealed.kind", "no field", "kind"},
	{`requester.id:`, "requester.id:", "needs a value", ""},
	{`requester.id: bob`, "requester.id:", "needs a value", ""},
	{`requester.id:""`, `""`, "NOT _exists_:requester.id", ""},
	{`requester.id:"bob`, `"bob`, "never closed", ""},
	{`"bob`, `"bob`, "never closed", ""},
	{`requester.id:a(b`, "(", "value ends here", ""},
	{`requester.id:"a"b`, "b", "value ends here", ""},
	{`(alice`, "(", "never closed", ""},
	{`requester.id:(alice OR bob`, "(", "never closed", ""},
	{`alice)`, ")", "never opened", ""},
	{`()`, ")", "expected", ""},
	{`alice AND`, "", "ends where", ""},
	{`OR alice`, "OR", "both sides", ""},
	{`alice AND OR bob`, "OR", "both sides", ""},
	{`NOT`, "", "ends where", ""},
	{`alice - bob`, "-", "right behind", ""},
	{`alice && bob`, "&&", "letter or digit", "AND"},
	{`alice || bob`, "||", "letter or digit", "OR"},
	{`"..."`, `"..."`, "letter or digit", ""},
	{`[a TO b]`, "[a", "needs a field", `"[a"`},
	{`time:[2026-01-01, 2026-02-01]`, "[2026-01-01, ", "[a TO b]", ""},
	{`time:[2026-01-01 TO 2026-02-01`, "[2026-01-01 TO 2026-02-01", "never closed", ""},
	{`time:[2026-01-01 TO ]`, "]", "value is expected", ""},
	{`time:>yesterday`, "yesterday", "not a time", ""},
	{`time:2026-02-30`, "2026-02-30", "not a time", ""},
	{`time:now-15x`, "now-15x", "not a time", ""},
	{`time:>2026-01-01T10:00:00.1234567890Z`, "2026-01-01T10:00:00.1234567890Z", "not a time", ""},
	{`time:>`, "", "value is expected", ""},
	{`time:>*`, "*", "needs a value", ""},
	{`source.offset:>many`, "many", "numbers", ""},
	{`seq:[1 TO x]`, "x", "numbers", ""},
	{`action.tool:[a* TO b]`, "a*", "no wildcards", ""},
	{`kind:gaps`, "gaps", "no kind", "gap"},
	{`kind:foo`, "foo", "no kind", ""},
	{`source.peer:10.0.0.0/40`, "10.0.0.0/40", "address range", `"10.0.0.0/40"`},
	{`alice\`, `\`, "backslash", ""},
	{"alice \xff", "\xff", "not UTF-8", ""},
	{strings.Repeat("(", 65) + "a" + strings.Repeat(")", 65), "(", "deep", ""},
	{strings.Repeat("-", 65) + "a", "-", "deep", ""},
	{strings.Repeat("a ", 513), "a", "at most 512", ""},
	{"x:" + strings.Repeat("a", MaxLen), "aa", "at most 16384", ""},
	{"raw:*" + strings.Repeat("a", 300), "*" + strings.Repeat("a", 300), "pattern", ""},
	{strings.Repeat("a", 300) + "*", strings.Repeat("a", 300) + "*", "pattern", ""},
	{`"` + strings.Repeat("a ", 257) + `"`, `"` + strings.Repeat("a ", 257) + `"`, "phrase", ""},
	{`decision.approval.request_id:(` + strings.Repeat("abcd ", 450) + `)`, "decision", "written out", ""},
}

func TestErrors(t *testing.T) {
	for _, w := range wrong {
		short := w.query[:min(len(w.query), 60)]
		_, err := ParseAt(w.query, now)
		e, ok := errors.AsType[*Error](err)
		if !ok {
			t.Errorf("%s: no error", short)
			continue
		}
		if e.Pos < 0 || e.Len < 0 || e.Pos+e.Len > len(w.query) {
			t.Errorf("%s: at %d+%d of %d", short, e.Pos, e.Len, len(w.query))
			continue
		}
		if got := w.query[e.Pos : e.Pos+e.Len]; got != w.at && !(len(w.query) > 300 && strings.HasPrefix(w.query[e.Pos:], w.at)) {
			t.Errorf("%s: points at %q, want %q", short, got, w.at)
		}
		if !strings.Contains(e.Msg, w.msg) || e.Suggestion != w.suggestion {
			t.Errorf("%s: %q, suggestion %q", short, e.Msg, e.Suggestion)
		}
		if !strings.Contains(e.Error(), e.Msg) {
			t.Errorf("%s: Error() is %q", short, e.Error())
		}
	}
}
