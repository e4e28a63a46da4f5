// Package redact plans the automatic redaction of sealed records. It plans and
// never writes; the ledger masks, states and erases what a plan names.
package redact

import (
	"fmt"
	"time"

	"custody/index"
	"custody/index/query"
	"custody/ingest/record"
)

// Rule removes fields of the records that match, some time after they arrived.
type Rule struct {
	Name   string
	Match  string // a query
	Fields []string
	After  time.Duration
	Basis  string // legal basis, sealed with every redaction
}

// Planner holds the rules of a configuration. Safe for concurrent use.
type Planner struct{ rules []planned }

type planned struct {
	rule   Rule
	query  *query.Query
	fields []record.Field
}

// New checks the rules. The error names the rule and what is wrong with it.
func New(rules []Rule) (*Planner, error) {
	p := &Planner{}
	for _, r := range rules {
		q, err := query.Parse(r.Match)
		if err != nil {
			return nil, fmt.Errorf("redaction rule %s: match: %w", r.Name, err)
		}
		out := planned{rule: r, query: q}
		for _, name := range r.Fields {
			path, ok := record.Lookup(name)
			if !ok || path.Sub != "" {
				return nil, fmt.Errorf("redaction rule %s: no field %q", r.Name, name)
			}
			if !index.Redactable(path.Field) {
				return nil, fmt.Errorf("redaction rule %s: field %s is what the proof stands on and can't be redacted", r.Name, name)
			}
			out.fields = append(out.fields, path.Field)
		}
		if len(out.fields) == 0 || r.After < 0 {
			return nil, fmt.Errorf("redaction rule %s: needs fields, and after must not be negative", r.Name)
		}
		p.rules = append(p.rules, out)
	}
	return p, nil
}

// Plan lists what is due at now.
func (p *Planner) Plan(now time.Time) []index.Redaction {
	out := make([]index.Redaction, 0, len(p.rules))
	for _, r := range p.rules {
		out = append(out, index.Redaction{
			Policy: r.rule.Name, Basis: r.rule.Basis, Fields: r.fields,
			Query: r.query, Before: now.Add(-r.rule.After).UnixNano(),
		})
	}
	return out
}
