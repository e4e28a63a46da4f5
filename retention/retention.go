// Package retention plans how long records live: classes by match, the first
// that matches wins. It plans and never writes; the ledger erases what a plan
// names and seals the certificate of disposal.
package retention

import (
	"fmt"
	"strings"
	"time"

	"custody/index"
	"custody/index/query"
)

// Class is one retention class.
type Class struct {
	Name  string
	Match string        // a query
	Keep  time.Duration // from received; 0 keeps for ever
}

// Planner holds the classes of a configuration. Safe for concurrent use.
type Planner struct {
	classes []Class
	queries []*query.Query
}

// New checks the classes. The error names the class and what is wrong with it.
func New(classes []Class) (*Planner, error) {
	p := &Planner{classes: classes}
	var earlier []string
	for _, c := range classes {
		if c.Keep < 0 {
			return nil, fmt.Errorf("retention class %s: keep is negative", c.Name)
		}
		if _, err := query.Parse(c.Match); err != nil {
			return nil, fmt.Errorf("retention class %s: match: %w", c.Name, err)
		}
		// The class is what matches it and no class before it.
		var text strings.Builder
		text.WriteString("(" + c.Match + ")")
		for _, e := range earlier {
			text.WriteString(" AND NOT (" + e + ")")
		}
		q, err := query.Parse(text.String())
		if err != nil {
			return nil, fmt.Errorf("retention class %s: match together with the classes before it: %w", c.Name, err)
		}
		p.queries = append(p.queries, q)
		earlier = append(earlier, c.Match)
	}
	return p, nil
}

// Plan lists what has outlived its class at now.
func (p *Planner) Plan(now time.Time) []index.Expiry {
	var out []index.Expiry
	for i, c := range p.classes {
		if c.Keep == 0 {
			continue
		}
		out = append(out, index.Expiry{
			Class:  c.Name,
			Policy: fmt.Sprintf("keep %s where %s", c.Keep, strings.TrimSpace(c.Match)),
			Query:  p.queries[i],
			Before: now.Add(-c.Keep).UnixNano(),
		})
	}
	return out
}
