package index

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"custody/index/seal"
	"custody/index/store"
	"custody/index/verify"
	"custody/ingest/record"
)

// StoredRows calls fn for every stored row in order of seq, with its entry as
// computed from what is stored and the units whose values are gone. Blocks that
// do not decode are reported to damaged and passed over.
func StoredRows(ctx context.Context, st *store.Store, damaged func(from, to uint64, err error),
	fn func(r *record.Record, e seal.Entry, withheld []seal.Unit) error,
) error {
	c := new(seal.Committer)
	next := uint64(0)
	for {
		var seg *store.Segment
		for _, g := range st.Segments() {
			if g.Next() > next {
				seg = g
				break
			}
		}
		if seg == nil {
			return nil
		}
		err := storedRows(ctx, c, seg, &next, damaged, fn)
		if store.Replaced(err) {
			continue // rewritten meanwhile: on in the new generation
		}
		if err != nil {
			return err
		}
		next = max(next, seg.Next())
	}
}

// storedRows reads one segment from seq *next on, a few blocks a snapshot.
func storedRows(ctx context.Context, c *seal.Committer, seg *store.Segment, next *uint64, damaged func(from, to uint64, err error),
	fn func(r *record.Record, e seal.Entry, withheld []seal.Unit) error,
) error {
	for done := false; !done; {
		n := 0
		start := *next
		var err error
		verr := seg.View(func(tx *store.Tx) error {
			done = true
			tx.Blocks(*next, ^uint64(0), false, func(first uint64, data []byte) bool {
				if err = ctx.Err(); err != nil {
					return false
				}
				if n++; n > blocksPerView {
					done = false
					return false
				}
				rows, rerr := decodeRows(c, data)
				if rerr != nil {
					if first >= *next {
						damaged(first, first, rerr)
						*next = first + 1
					}
					return true
				}
				for _, row := range rows {
					// The first block of a view may reach back over its start; rows
					// that come twice in any other are the verifier's to see.
					if n == 1 && row.r.Seq < start {
						continue
					}
					if err = fn(row.r, row.e, row.withheld); err != nil {
						return false
					}
					*next = max(*next, row.r.Seq+1)
				}
				return true
			})
			return nil
		})
		if verr != nil {
			return verr
		}
		if err != nil {
			return err
		}
	}
	return nil
}

type decodedRow struct {
	r        *record.Record
	e        seal.Entry
	withheld []seal.Unit
}

func decodeRows(c *seal.Committer, data []byte) ([]decodedRow, error) {
	blk, err := store.OpenBlock(data)
	if err != nil {
		return nil, err
	}
	if err := blk.Verify(); err != nil {
		return nil, err
	}
	runs, err := blk.Salts()
	if err != nil {
		return nil, err
	}
	out := make([]decodedRow, 0, blk.Rows())
	for i, salt := range splitSalts(runs) {
		row := decodedRow{r: new(record.Record)}
		if err := blk.Row(i, row.r); err != nil {
			return nil, err
		}
		if err := commitRow(c, row.r, &salt, &row.e); err != nil {
			return nil, err
		}
		if salt.kind == store.SaltResidue {
			residue, err := seal.ParseResidue(salt.bytes)
			if err != nil {
				return nil, fmt.Errorf("seq %d: %w", row.r.Seq, err)
			}
			row.withheld = residue.Withheld()
		}
		out = append(out, row)
	}
	return out, nil
}

// VerifyStore verifies the rows of a store against the log in the data folder,
// and against checkpoints that left the host before. The trust root is the
// public key of the folder's own log unless vkeys are given.
func VerifyStore(ctx context.Context, dir string, st *store.Store, against [][]byte, vkeys ...string) (*verify.Report, error) {
	logDir := filepath.Join(dir, "log")
	checkpoint, err := os.ReadFile(filepath.Join(logDir, "checkpoint"))
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	if len(vkeys) == 0 {
		key, err := seal.LoadKey(filepath.Join(dir, "keys", "signing"))
		if err != nil {
			return nil, fmt.Errorf("verify: %w", err)
		}
		vkeys = []string{key.VKey()}
	}
	cp, err := seal.ParseCheckpoint(checkpoint)
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	reader := seal.NewReader(os.DirFS(logDir), func() seal.Checkpoint { return cp })
	var broken []verify.Problem
	for _, seg := range st.Segments() {
		if err := seg.Check(func(from, to uint64, err error) {
			broken = append(broken, verify.Problem{From: from, To: to, What: err.Error()})
		}); err != nil {
			return nil, fmt.Errorf("verify: %w", err)
		}
	}
	rep, err := verify.Run(ctx, verify.Input{
		Checkpoint: checkpoint, VKeys: vkeys, Against: against,
		Entries: func(fn func(seal.Entry) error) error { return reader.Entries(fn) },
		Rows: func(fn func(verify.Row) error) error {
			return StoredRows(ctx, st, func(from, to uint64, err error) {
				broken = append(broken, verify.Problem{From: from, To: to, What: err.Error()})
			}, func(r *record.Record, e seal.Entry, w []seal.Unit) error {
				return fn(verify.Row{Record: r, Entry: e, Withheld: w})
			})
		},
	})
	if rep != nil {
		rep.Problems = append(rep.Problems, broken...)
	}
	return rep, err
}
