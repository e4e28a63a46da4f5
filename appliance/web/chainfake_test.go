package web

import (
	"cmp"
	"context"
	"slices"
	"strconv"

	"custody/index"
	"custody/ingest/record"
)

// Chain is the record that chain.id names, and all that name the same; a first
// record that was amended with the chain.id of an older one was joined to it.
func (f *fakeLedger) Chain(ctx context.Context, id string) (*index.Chain, error) {
	asked, _, _, err := f.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return nil, f.err
	}
	up := func(r *record.Record) (uint64, bool) {
		n, err := strconv.ParseUint(r.Get(record.ChainID), 10, 64)
		return n, err == nil
	}
	rootOf := func(r *record.Record) uint64 {
		for {
			n, ok := up(r)
			if !ok || n >= r.Seq {
				return r.Seq
			}
			if n >= uint64(len(f.recs)) || f.recs[n] == nil {
				return n
			}
			r = f.recs[n]
		}
	}
	c := &index.Chain{Asked: asked.Seq, Root: rootOf(asked)}
	for _, r := range f.recs {
		if rootOf(r) != c.Root || r.Kind != record.KindRecord {
			continue
		}
		if len(c.Records) == index.MaxChain {
			c.Truncated = true
			break
		}
		c.Records = append(c.Records, r)
		if r.Seq != c.Root && r.Prov(record.ChainID) != "" {
			c.Merged = append(c.Merged, r.Seq)
		}
	}
	slices.SortFunc(c.Records, func(a, b *record.Record) int { return cmp.Compare(a.Seq, b.Seq) })
	c.Moved = slices.Contains(c.Merged, c.Asked)
	return c, nil
}
