package index

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"custody/index/query"
	"custody/ingest/record"
)

// Chain is everything that is known to follow from one request.
type Chain struct {
	Root      uint64           // seq of its first record; the chain is named by that record's id
	Asked     uint64           // seq of the record that was asked for
	Moved     bool             // the asked record was the first of a chain that was joined to this one
	Records   []*record.Record // effective, by seq
	Merged    []uint64         // roots of chains that were joined to it
	Truncated bool             // there is more than MaxChain records or maxChainBytes

	bytes int
}

// MaxChain bounds the records of a chain that are read at once.
const MaxChain = 10_000

// maxChainBytes bounds their lines: records are as large as a sender likes.
const maxChainBytes = 128 << 20

// Chain finds the chain of a record, by the record's UUID or decimal seq. A
// record that hangs on nothing is a chain of its own. Records of other tenants
// than the request's are never part of it.
func (l *Ledger) Chain(ctx context.Context, id string) (*Chain, error) {
	asked, _, _, err := l.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	c := &Chain{Asked: asked.Seq, Root: asked.Seq}
	root := asked
	tenant := asked.Get(record.ContextTenant)
	// A root that was joined to an older one names it; roots only get older.
	for {
		up, err := strconv.ParseUint(root.Get(record.ChainID), 10, 64)
		if err != nil || up >= root.Seq {
			break
		}
		next, _, _, err := l.Get(ctx, strconv.FormatUint(up, 10))
		if err != nil || next.Get(record.ContextTenant) != tenant {
			c.Root = up // the root has expired; its members still name it
			root = nil
			break
		}
		root, c.Root = next, next.Seq
	}
	have := make(map[uint64]bool)
	put := func(r *record.Record) {
		if !have[r.Seq] && r.Get(record.ContextTenant) == tenant {
			have[r.Seq] = true
			c.Records = append(c.Records, r)
			c.bytes += len(r.Raw)
		}
	}
	if root != nil {
		put(root)
	}
	put(asked)
	roots := []uint64{c.Root}
	for len(roots) > 0 && !c.Truncated {
		at := roots[0]
		roots = roots[1:]
		before := len(c.Records)
		if err := l.members(ctx, at, tenant, c, put); err != nil {
			return nil, err
		}
		// A member that itself had members before it was joined brings them along.
		for _, r := range c.Records[before:] {
			if r.Seq != c.Root && r.Prov(record.ChainID) != "" && !slices.Contains(c.Merged, r.Seq) {
				c.Merged = append(c.Merged, r.Seq)
				roots = append(roots, r.Seq)
			}
		}
		if at == c.Root && asked.Seq != c.Root && asked.Prov(record.ChainID) != "" && !slices.Contains(c.Merged, asked.Seq) {
			c.Merged = append(c.Merged, asked.Seq)
			roots = append(roots, asked.Seq)
		}
	}
	slices.SortFunc(c.Records, func(a, b *record.Record) int {
		switch {
		case a.Seq < b.Seq:
			return -1
		case a.Seq > b.Seq:
			return 1
		}
		return 0
	})
	c.Moved = slices.Contains(c.Merged, c.Asked)
	return c, nil
}

// members puts the records that name root as their chain.
func (l *Ledger) members(ctx context.Context, root uint64, tenant string, c *Chain, put func(*record.Record)) error {
	q, err := query.Parse(fmt.Sprintf("chain.id:%d", root))
	if err != nil {
		return fmt.Errorf("query of a chain: %w", err)
	}
	req := Request{Query: q, Tenant: tenant, Order: OldestFirst, Limit: 200}
	for {
		page, err := l.Search(ctx, req)
		if err != nil {
			return err
		}
		for _, r := range page.Records {
			if len(c.Records) >= MaxChain || c.bytes > maxChainBytes {
				c.Truncated = true
				return nil
			}
			put(r)
		}
		if page.Next == "" {
			return nil
		}
		req.Cursor = page.Next
	}
}
