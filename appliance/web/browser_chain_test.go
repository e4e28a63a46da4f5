package web

import (
	"testing"

	"github.com/chromedp/chromedp/kb"

	"custody/ingest/record"
)

// storyChain is a chain as it would be read: a person, two agents, tools, a
// refusal, a gap, an amendment, many equal reads.
func storyChain() *fakeLedger {
	recs := chainOf(60)
	set := func(i int, fields ...any) {
		for j := 0; j < len(fields); j += 2 {
			recs[i].Set(fields[j].(record.Field), fields[j+1].(string), "")
		}
	}
	for i := range recs {
		set(i, record.AuthorityPermission, "deploy:read", record.DecisionEffect, record.Allow, record.DecisionPolicyID, "deploy-read", record.DecisionPolicyVersion, "17")
	}
	set(0, record.ActionService, "orchestrator", record.ActionTool, "task", record.ActionOperation, "start", record.TargetID, "release billing 4.2.0")
	set(1, record.ActionService, "vault", record.ActionTool, "token", record.ActionOperation, "issue", record.TargetID, "deploy-read")
	set(20, record.ActionService, "kubernetes", record.ActionTool, "kubectl", record.ActionOperation, "patch", record.TargetID, "deployments/billing",
		record.DecisionEffect, record.Deny, record.OutcomeStatus, record.Denied, record.Risk, "high", record.DecisionPolicyID, "four-eyes")
	set(40, record.ActionService, "mcp-gateway", record.ActionTool, "slack", record.ActionOperation, "post_message", record.TargetID, "#releases", record.OutcomeStatus, record.Failure)
	recs[40].AddFinding(record.ChainBroken)
	recs[40].Add(record.Evidence, "chain_broken: the parent span that it names did not arrive", "seq:81")
	recs[41].AddFinding(record.HalfPair)
	recs[41].Add(record.Evidence, "half_pair: the other half did not arrive", "seq:82")
	recs[42].Set(record.RequesterAssurance, record.Correlated, "seq:83")
	recs[42].Set(record.RequesterID, "alice@example.com", "seq:83")
	return newFake(recs...)
}

func TestBrowserChain(t *testing.T) {
	s := newSite(t, storyChain())
	b := newBrowser(t, s)
	b.size(1440, 900)
	b.open("/chains/0")
	b.until(`document.querySelector("#waterfall tbody tr[tabindex='0']") && document.querySelector("#strip .st")`)
	b.clean("chain")
	b.shoot("chain-light", 1440, 900, false)
	b.shoot("chain-dark", 1440, 900, true)
	b.shoot("chain-narrow", 420, 900, false)
	b.size(1440, 900)

	// The tree by keyboard: one stop of Tab, arrows, Home and End.
	at := `[...document.querySelectorAll("#waterfall tbody tr")].indexOf(document.activeElement)`
	visibleRows := `[...document.querySelectorAll("#waterfall tbody tr")].filter((r) => !r.hidden).length`
	all := b.text(visibleRows)
	b.text(`document.querySelector("#waterfall tbody tr").focus()`)
	for _, c := range []struct{ key, want string }{
		{kb.ArrowDown, "1"},
		{kb.ArrowDown, "2"},
		{kb.ArrowUp, "1"},
		{kb.End, ""},
		{kb.Home, "0"},
		{kb.ArrowUp, "0"},
	} {
		b.key(c.key)
		if got := b.text(at); c.want != "" && got != c.want {
			t.Errorf("after %q row %s has the focus, not %s", c.key, got, c.want)
		}
	}
	b.key(kb.ArrowDown, kb.ArrowLeft) // closes the second row
	if got := b.text(visibleRows); got != "2" {
		t.Errorf("%s rows of a closed tree", got)
	}
	if got := b.text(`document.activeElement.getAttribute("aria-expanded")`); got != "false" {
		t.Errorf("aria-expanded is %s", got)
	}
	b.key(kb.ArrowRight)
	if got := b.text(visibleRows); got != all {
		t.Errorf("%s rows of %s are back", got, all)
	}
	b.key(kb.ArrowRight) // into the row
	if got := b.text(`document.activeElement.className`); got != "s" {
		t.Errorf("the focus is on %q", got)
	}
	b.key(kb.ArrowLeft, kb.ArrowDown, kb.ArrowLeft) // out again, to a child, and back to its parent
	if got := b.text(at); got != "1" {
		t.Errorf("row %s has the focus", got)
	}
	if got := b.text(`document.querySelectorAll("#waterfall [tabindex='0']").length`); got != "1" {
		t.Errorf("%s stops of the Tab key", got)
	}
	b.key(kb.Home, kb.Enter)
	b.until(`document.querySelector(".rec") && location.pathname.startsWith("/records/")`)

	// A run of equal steps opens in its place.
	b.open("/chains/0")
	b.until(`document.querySelector("#waterfall .fold[tabindex]")`)
	b.click("#waterfall .fold .s")
	b.until(`location.search.includes("open=") && document.activeElement`)
	b.clean("opened run")
	b.shoot("chain-opened", 1440, 900, false)

	f := hostileChain()
	b = newBrowser(t, newSite(t, f))
	b.open("/chains/0")
	b.until(`document.querySelector("#waterfall tbody tr[tabindex='0']") && document.querySelector("#strip .st")`)
	b.shoot("chain-hostile", 1440, 1200, false)
	b.clean("hostile chain")
}
