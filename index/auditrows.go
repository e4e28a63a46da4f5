package index

import (
	"context"
	"errors"
	"fmt"
	"time"

	"custody/index/seal"
	"custody/index/store"
	"custody/index/verify"
	"custody/ingest/record"
)

// visit is called for a block: key is the seq that it is stored under. start is
// the seq from which on its rows are wanted: the first block of a snapshot may reach
// back over what was seen. It returns the seq to go on from.
type visit func(seg *store.Segment, key uint64, data []byte, start uint64) (next uint64, err error)

// eachBlock visits the blocks of a store in order of seq that may hold rows in
// [from, to), a few a snapshot. A segment that is rewritten meanwhile is
// continued in its new generation.
func eachBlock(ctx context.Context, st *store.Store, from, to uint64, fn visit) error {
	next := from
	for next < to {
		var seg *store.Segment
		for _, g := range st.Segments() {
			if g.Next() > next && g.First < to {
				seg = g
				break
			}
		}
		if seg == nil {
			return nil
		}
		var err error
		for more := true; more && err == nil; {
			next, more, err = viewBlocks(ctx, seg, next, to, fn)
		}
		if store.Replaced(err) {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Millisecond): // the new one is about to be there
			}
			continue
		}
		if err != nil {
			return err
		}
		next = max(next, seg.Next())
	}
	return nil
}

func viewBlocks(ctx context.Context, seg *store.Segment, next, to uint64, fn visit) (_ uint64, more bool, _ error) {
	var err error
	n, start := 0, next
	verr := seg.View(func(tx *store.Tx) error {
		tx.Blocks(next, to, false, func(key uint64, data []byte) bool {
			if err = ctx.Err(); err != nil {
				return false
			}
			if n++; n > blocksPerView {
				more = true
				return false
			}
			skip := uint64(0) // rows that come twice in any other block are the verifier's to see
			if n == 1 {
				skip = start
			}
			var to uint64
			to, err = fn(seg, key, data, skip)
			next = max(next, to)
			return err == nil
		})
		return nil
	})
	if verr != nil {
		return next, false, verr
	}
	return next, more, err
}

// StoredRows calls fn for every stored row in order of seq, with its entry as
// computed from what is stored and the units whose values are gone. Blocks that
// do not decode are reported to damaged and passed over.
func StoredRows(ctx context.Context, st *store.Store, damaged func(from, to uint64, err error),
	fn func(r *record.Record, e seal.Entry, withheld []seal.Unit) error,
) error {
	a := &audit{st: st}
	err := a.rows(ctx, 0, ^uint64(0), func(row verify.Row) error { return fn(row.Record, row.Entry, row.Withheld) })
	for _, p := range a.broken {
		damaged(p.From, p.To, errors.New(p.What))
	}
	return err
}

// rows calls fn for every stored row in [from, to) in order of seq.
func (a *audit) rows(ctx context.Context, from, to uint64, fn func(verify.Row) error) error {
	c := new(seal.Committer)
	return eachBlock(ctx, a.st, from, to, func(seg *store.Segment, key uint64, data []byte, start uint64) (uint64, error) {
		rows, err := decodeRows(c, seg, key, data)
		if err != nil {
			if key >= start {
				a.damaged(seg, key, key, err)
			}
			return key + 1, nil
		}
		next := uint64(0)
		for _, row := range rows {
			if row.Record.Seq < start || row.Record.Seq >= to {
				continue
			}
			if err := fn(row); err != nil {
				return next, err
			}
			next = max(next, row.Record.Seq+1)
		}
		return next, nil
	})
}

// authorities calls fn for every stored redaction and expiry. What does not
// decode is passed over: rows reports it.
func (a *audit) authorities(ctx context.Context, fn func(verify.Row) error) error {
	c := new(seal.Committer)
	to := ^uint64(0)
	if a.o.To != 0 {
		to = a.o.To
	}
	return eachBlock(ctx, a.st, 0, to, func(seg *store.Segment, key uint64, data []byte, start uint64) (uint64, error) {
		blk, err := seg.ReadBlock(data)
		if err != nil || blk.Verify() != nil {
			return key + 1, nil //nolint:nilerr // see above
		}
		// The kinds of the rows, not those of the header, which is not sealed.
		seqs, kinds, _, _, err := blk.Times()
		if err != nil {
			return key + 1, nil //nolint:nilerr // see above
		}
		var salts []rowSalt
		for i, k := range kinds {
			if k != record.KindRedaction && k != record.KindExpiry || seqs[i] < start {
				continue
			}
			if salts == nil {
				runs, err := blk.Salts()
				if err != nil {
					return key + 1, nil //nolint:nilerr // see above
				}
				salts = splitSalts(runs)
			}
			row, err := decodeRow(c, blk, i, &salts[i])
			if err != nil {
				continue
			}
			if err := fn(row); err != nil {
				return 0, err
			}
		}
		return blk.Last() + 1, nil
	})
}

// decodeRows decodes a block that is stored under key, and computes its entries.
func decodeRows(c *seal.Committer, seg *store.Segment, key uint64, data []byte) ([]verify.Row, error) {
	blk, err := seg.ReadBlock(data)
	if err != nil {
		return nil, err
	}
	if err := blk.Verify(); err != nil {
		return nil, err
	}
	if blk.First() != key {
		return nil, fmt.Errorf("%w: block out of place", store.ErrDamaged)
	}
	runs, err := blk.Salts()
	if err != nil {
		return nil, err
	}
	salts := splitSalts(runs)
	out := make([]verify.Row, 0, blk.Rows())
	for i := range salts {
		row, err := decodeRow(c, blk, i, &salts[i])
		if err != nil {
			return nil, err
		}
		out = append(out, row)
	}
	return out, nil
}

func decodeRow(c *seal.Committer, blk *store.Block, i int, salt *rowSalt) (verify.Row, error) {
	row := verify.Row{Record: new(record.Record)}
	if err := blk.Row(i, row.Record); err != nil {
		return row, err
	}
	if n := len(salt.key) + len(salt.bytes); salt.kind != store.SaltResidue && n != len(seal.Seed{}) {
		return row, fmt.Errorf("%w: seq %d: a secret of %d bytes", store.ErrDamaged, row.Record.Seq, n)
	}
	if err := commitRow(c, row.Record, salt, &row.Entry); err != nil {
		return row, err
	}
	if salt.kind == store.SaltResidue {
		residue, err := seal.ParseResidue(salt.bytes)
		if err != nil {
			return row, fmt.Errorf("seq %d: %w", row.Record.Seq, err)
		}
		row.Withheld = residue.Withheld()
	}
	return row, nil
}
