package index

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"custody/index/seal"
	"custody/index/search"
	"custody/index/store"
	"custody/index/verify"
)

// AuditOptions adjust an audit. The zero value verifies everything but the search.
type AuditOptions struct {
	Against [][]byte // checkpoints that left the host before
	VKeys   []string // trust root; default: the public key of the folder's own log
	// From and To limit the rows that are compared to [From, To); To 0 is no limit.
	From, To uint64
	// Search also derives anew from the rows what searches rely on: block
	// headers, dictionaries, identifier filters and the search index.
	Search bool
	// Progress is told how many of how many steps of the present part are done.
	Progress func(part string, done, total uint64)
	// Found is told each problem as soon as its range is known.
	Found func(verify.Problem)
}

// VerifyStore verifies the rows of a store against the log in the data folder,
// and against checkpoints that left the host before. The trust root is the
// public key of the folder's own log unless vkeys are given.
func VerifyStore(ctx context.Context, dir string, st *store.Store, against [][]byte, vkeys ...string) (*verify.Report, error) {
	return Audit(ctx, dir, st, AuditOptions{Against: against, VKeys: vkeys})
}

// Audit verifies a store that nobody writes to against the log in the data
// folder. The error is for what could not be read, not for what is wrong.
func Audit(ctx context.Context, dir string, st *store.Store, o AuditOptions) (*verify.Report, error) {
	signed, err := os.ReadFile(filepath.Join(dir, "log", "checkpoint"))
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	if len(o.VKeys) == 0 {
		key, err := seal.LoadKey(filepath.Join(dir, "keys", "signing"))
		if err != nil {
			return nil, fmt.Errorf("verify: %w", err)
		}
		o.VKeys = []string{key.VKey()}
	}
	idx := &closedIndexes{}
	a := &audit{logDir: filepath.Join(dir, "log"), st: st, signed: signed, o: o, index: idx.use}
	rep, err := a.run(ctx)
	return rep, errors.Join(err, idx.close())
}

// Verify audits the ledger's own folder while it runs, up to the newest
// published checkpoint. Rewrites (packing, the physical part of redaction and expiry)
// wait meanwhile, so that nothing goes whose seal comes behind that checkpoint;
// taking in, sealing and searching go on. The pages of the file that is being
// written to are not checked as such, only the blocks in them.
func (l *Ledger) Verify(ctx context.Context, o AuditOptions) (*verify.Report, error) {
	for !l.maintenance.TryLock() {
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("verify: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
	defer l.maintenance.Unlock()
	log := l.sealer.Load()
	signed := log.Signed()
	cp, err := seal.ParseCheckpoint(signed)
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	if len(o.VKeys) == 0 {
		o.VKeys = []string{l.vkey}
	}
	if o.To == 0 || o.To > cp.Size {
		o.To = cp.Size
	}
	if o.From > o.To {
		o.From = o.To
	}
	a := &audit{logDir: l.logDir(), st: l.store, signed: signed, o: o, index: l.useIndex}
	return a.run(ctx)
}

// useIndex calls fn with the search index of a segment, nil when there is none.
func (l *Ledger) useIndex(seg *store.Segment, fn func(*search.Index, error) error) error {
	return l.indexOf(seg.ID).use(seg.Generation, func(idx *search.Index) error { return fn(idx, nil) })
}

// audit is one verification of a store.
type audit struct {
	logDir string
	st     *store.Store
	signed []byte
	o      AuditOptions
	// index calls fn with the search index of a segment, or with nil and why there is none.
	index  func(seg *store.Segment, fn func(*search.Index, error) error) error
	broken []verify.Problem
}

const adviceBlock = "restore the segment from a copy that verifies; the other rows are not touched by this"

// damaged notes a block that does not decode. The check of the files and the
// walk over the rows may come to the same one.
func (a *audit) damaged(seg *store.Segment, from, to uint64, err error) {
	p := verify.Problem{From: from, To: to, Where: segmentName(seg), What: err.Error(), Advice: adviceBlock}
	known := slices.ContainsFunc(a.broken, func(have verify.Problem) bool {
		return have.From == p.From && have.Where == p.Where && have.What == p.What
	})
	if !known && len(a.broken) < verify.MaxProblems {
		a.broken = append(a.broken, p)
	}
}

func segmentName(seg *store.Segment) string { return fmt.Sprintf("segment %d", seg.ID) }

func (a *audit) run(ctx context.Context) (*verify.Report, error) {
	cp, err := seal.ParseCheckpoint(a.signed)
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	if err := a.segments(ctx); err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	reader := seal.NewReader(os.DirFS(a.logDir), func() seal.Checkpoint { return cp })
	in := verify.Input{
		Checkpoint: a.signed, VKeys: a.o.VKeys, Against: a.o.Against, From: a.o.From, To: a.o.To,
		Entries: reader.Entries,
		Entry: func(seq uint64) (seal.Entry, error) {
			b, err := reader.Entry(seq)
			if err != nil {
				return seal.Entry{}, err
			}
			return seal.ParseEntry(b)
		},
		Tile: func(level int, n uint64, hashes []byte) error { return sameTile(reader, level, n, hashes) },
		Authorities: func(fn func(verify.Row) error) error {
			return a.authorities(ctx, fn)
		},
		Rows: func(from, to uint64, fn func(verify.Row) error) error {
			return a.rows(ctx, from, to, fn)
		},
		Found: a.o.Found,
	}
	if p := a.o.Progress; p != nil {
		in.Progress = func(done, total uint64) { p("log and rows", done, total) }
	}
	rep, err := verify.Run(ctx, in)
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	for _, p := range a.broken {
		rep.Add(p)
	}
	if a.o.Search {
		s := newSearchAudit(a, rep)
		if err := s.run(ctx); err != nil {
			return nil, fmt.Errorf("verify the search: %w", err)
		}
	}
	rep.Flush()
	return rep, nil
}

// segments checks the files of the segments. bbolt cannot check a file that is
// written to meanwhile.
func (a *audit) segments(ctx context.Context) error {
	for _, seg := range a.st.Segments() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !seg.Packed || !a.inRange(seg) {
			continue
		}
		err := seg.Check(func(from, to uint64, err error) {
			a.damaged(seg, from, max(from, to-min(to, 1)), err)
		})
		if err != nil && !store.Replaced(err) {
			return err
		}
	}
	return nil
}

// inRange reports whether the audit covers rows of the segment.
func (a *audit) inRange(seg *store.Segment) bool {
	return seg.Next() > a.o.From && (a.o.To == 0 || seg.First < a.o.To)
}

// sameTile holds the hashes of a tile, as computed, against the stored one.
func sameTile(r *seal.Reader, level int, n uint64, want []byte) error {
	width := len(want) / tlog.HashSize
	// tlog names the height in the path, C2SP does not: it is always 8.
	path := tlog.Tile{H: 8, L: level, N: int64(n), W: width}.Path()
	got, err := r.ReadTile("tile/" + path[len("tile/8/"):])
	if err != nil {
		return err
	}
	if string(got) != string(want) {
		return errors.New("it has other hashes")
	}
	return nil
}
