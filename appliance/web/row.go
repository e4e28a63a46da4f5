package web

import (
	"strings"

	"custody/ingest/record"
)

// rowView is one line of the results: a record as a sentence.
type rowView struct {
	Seq       uint64
	Href      string
	Time      int64
	Kind      string // "" for an event of a source
	Requester part
	Executor  part
	Through   part   // tool or service
	Operation string // "" when not recorded
	Target    string
	Outcome   outcome
	Plain     bool // nothing is known: the text stands for it
	Snippet   []piece
	Source    string
	Demo      bool
	Risk      string
	Findings  []finding
	Chain     string // address of the chain that it is in
}

// part names a principal or a tool, or says why there is none.
type part struct {
	Text    string // the value, or the reason
	Missing bool
	Type    string
}

type outcome struct{ Text, Class, Icon string }

type finding struct{ Name, Text string }

const (
	maxPart    = 256 // bytes of a value that links can carry
	maxRowPart = 140 // bytes of a value shown in a row
	maxSnippet = 320
	maxBadges  = 6
)

// reasonText says why a part is missing, in words.
func reasonText(reason string) string {
	switch reason {
	case record.NotApplicable:
		return "not applicable"
	case record.Redacted:
		return "redacted"
	case record.NotEstablished:
		return "not established"
	}
	return "not recorded"
}

// absent finds the reason for a field, stated for it or for its group.
func absent(r *record.Record, f record.Field) string {
	if v := r.Absent(f.String()); v != "" {
		return v
	}
	group, _, _ := strings.Cut(f.String(), ".")
	return r.Absent(group)
}

func partOf(r *record.Record, what string, typ record.Field, fields ...record.Field) part {
	for _, f := range fields {
		if v := r.Get(f); v != "" {
			p := part{Text: clipRunes(maxRowPart, v)}
			if typ != 0 {
				p.Type = r.Get(typ)
			}
			return p
		}
	}
	reason := ""
	for _, f := range fields {
		reason = first(reason, absent(r, f))
	}
	return part{Text: what + " " + reasonText(reason), Missing: true}
}

func outcomeOf(r *record.Record) outcome {
	v := r.Get(record.OutcomeStatus)
	if v == "" && r.Get(record.DecisionEffect) == record.Deny {
		v = record.Denied
	}
	return outcomeText(v)
}

func outcomeText(v string) outcome {
	switch v {
	case record.Success:
		return outcome{"success", "ok", "✓"}
	case record.Failure:
		return outcome{"failure", "bad", "✕"}
	case record.Denied:
		return outcome{"denied", "deny", "⊘"}
	case "":
		return outcome{"no outcome", "none", "·"}
	}
	return outcome{clipRunes(24, v), "none", "?"}
}

// newRow makes the view of r. words are those the query looks for.
func newRow(r *record.Record, words []string) rowView {
	v := rowView{
		Seq: r.Seq, Href: "/records/" + record.FormatID(r.ID), Time: r.Time,
		Requester: partOf(r, "requester", record.RequesterType, record.RequesterID, record.RequesterName),
		Executor:  partOf(r, "executor", record.ExecutorType, record.ExecutorName, record.ExecutorID),
		Through:   partOf(r, "tool", 0, record.ActionTool, record.ActionService),
		Operation: clipRunes(maxRowPart, r.Get(record.ActionOperation)),
		Target:    clipRunes(maxRowPart, first(r.Get(record.TargetID), r.Get(record.TargetName))),
		Outcome:   outcomeOf(r),
		Source:    r.Get(record.SourceName),
		Demo:      r.Has(record.SourceDemo),
		Risk:      clipRunes(24, r.Get(record.Risk)),
	}
	if r.ID == ([16]byte{}) {
		v.Href = "/records/" + uintText(r.Seq)
	}
	if v.Time == 0 {
		v.Time = r.Received
	}
	// A service beside the tool says where: "vault kv read".
	if svc := r.Get(record.ActionService); svc != "" && !v.Through.Missing && r.Has(record.ActionTool) && svc != v.Through.Text {
		v.Through.Text = clipRunes(maxRowPart, svc+" "+v.Through.Text)
	}
	if r.Kind != record.KindRecord && r.Kind != 0 {
		v.Kind = r.Kind.String()
	} else if r.Has(record.ChainID) {
		v.Chain = "/chains/" + idOf(r)
	}
	v.Plain = v.Kind != "" || (v.Requester.Missing && v.Executor.Missing && v.Through.Missing && v.Operation == "")
	text := r.MessageText()
	if v.Kind != "" {
		text = kindText(r)
	}
	if v.Plain {
		v.Snippet = highlight(visible(clipRunes(maxSnippet, text)), words)
	} else if len(words) > 0 {
		v.Snippet = around(text, words)
	}
	for _, f := range r.List(record.Findings) {
		if len(v.Findings) == maxBadges {
			break
		}
		v.Findings = append(v.Findings, finding{clipRunes(64, f), findingText(clipRunes(64, f))})
	}
	return v
}

// kindText describes a row that custody itself states.
func kindText(r *record.Record) string {
	parts := []string{}
	for _, v := range []string{r.Get(record.SourceName), r.Get(record.SourceError), r.Get(record.Message)} {
		if v != "" {
			parts = append(parts, v)
		}
	}
	for _, a := range r.List(record.Attributes) {
		if n, ok := strings.CutPrefix(a, "count="); ok && r.Kind == record.KindGap {
			a = n + " events missing"
			if n == "unknown" {
				a = "an unknown number of events missing"
			}
		}
		parts = append(parts, a)
	}
	if l := r.List(record.About); len(l) > 0 {
		parts = append(parts, "about "+strings.Join(l, ", "))
	}
	return strings.Join(parts, " · ")
}

// around is the part of text where the first searched word stands, nil when
// none does.
func around(text string, words []string) []piece {
	// Enough of the text for a reader; a huge event must not stall the page.
	hay := visible(clipRunes(16<<10, text))
	ps := highlight(hay, words)
	at := 0
	for i := range ps {
		if ps[i].Mark {
			if i > 0 {
				ps = ps[i-1:]
				ps[0].Text = tailRunes(ps[0].Text, 60)
			}
			at = 1
			break
		}
	}
	if at == 0 {
		return nil
	}
	left := maxSnippet
	for i := range ps {
		if len(ps[i].Text) >= left {
			ps[i].Text = clipRunes(left, ps[i].Text)
			return ps[:i+1]
		}
		left -= len(ps[i].Text)
	}
	return ps
}

func tailRunes(s string, n int) string {
	if len(s) <= n {
		return s
	}
	at := len(s) - n
	for at < len(s) && s[at]&0xc0 == 0x80 {
		at++
	}
	return "…" + s[at:]
}

func findingText(name string) string { return strings.ReplaceAll(name, "_", " ") }
