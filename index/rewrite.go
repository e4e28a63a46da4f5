package index

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"custody/index/seal"
	"custody/index/search"
	"custody/index/store"
	"custody/ingest/record"
)

// Packing, redaction and expiry are one act: read a closed segment, write the
// rows that stay, densely and under the present overlay, into its next
// generation with a fresh search index, and swap that in by one rename. A reader
// may hold the old generation for a moment longer: see erasure.go.

// rowSalt is the secret of one row.
type rowSalt struct {
	kind  store.SaltKind
	key   string // SaltKey: the frame's key
	index uint32
	bytes []byte // seed or residue
}

func splitSalts(runs []store.SaltRun) []rowSalt {
	var out []rowSalt
	for _, s := range runs {
		for i := range s.Rows {
			r := rowSalt{kind: s.Kind, bytes: s.Bytes}
			if s.Kind == store.SaltKey {
				r.key, r.index, r.bytes = string(s.Bytes), s.First+i, nil
			}
			out = append(out, r)
		}
	}
	return out
}

// joinSalts groups rows back into runs; rows under a tainted key keep only their seeds.
func joinSalts(rows []rowSalt, tainted map[string]bool) []store.SaltRun {
	var out []store.SaltRun
	for _, r := range rows {
		if r.kind == store.SaltKey && tainted[r.key] {
			key := seal.FrameKey([]byte(r.key))
			seed := seal.RowSeed(&key, int(r.index))
			r = rowSalt{kind: store.SaltSeed, bytes: seed[:]}
		}
		if n := len(out); n > 0 && r.kind == store.SaltKey && out[n-1].Kind == store.SaltKey &&
			string(out[n-1].Bytes) == r.key && out[n-1].First+out[n-1].Rows == r.index {
			out[n-1].Rows++
			continue
		}
		run := store.SaltRun{Kind: r.kind, Rows: 1, Bytes: r.bytes}
		if r.kind == store.SaltKey {
			run.First, run.Bytes = r.index, []byte(r.key)
		}
		out = append(out, run)
	}
	return out
}

// seedOf derives the row's seed; ok is false for a redacted row.
func (s *rowSalt) seed() (seed seal.Seed, ok bool) {
	switch s.kind {
	case store.SaltKey:
		key := seal.FrameKey([]byte(s.key))
		return seal.RowSeed(&key, int(s.index)), true
	case store.SaltSeed:
		return seal.Seed(s.bytes), true
	}
	return seed, false
}

// rewriter carries one rewrite of a segment.
type rewriter struct {
	l         *Ledger
	seg       *store.Segment
	w         *store.Rewriter
	b         *builder
	committer *seal.Committer
	drop      func(*record.Record) bool // rows to expire; nil keeps all
	masked    map[uint64][]mask         // as they stood when the rewrite began
	tainted   map[string]bool
	idx       *search.Index
	docs      []search.Doc
	tenant    string
	rows      []*record.Record
	salts     []rowSalt
	kept      int
	dropped   []uint64
}

// rewrite writes the next generation of a closed segment. It returns the seqs of
// the rows that drop chose. A segment of which nothing is left is unlinked.
func (l *Ledger) rewrite(ctx context.Context, seg *store.Segment, drop func(*record.Record) bool) (dropped []uint64, err error) {
	if l.sealedSize() < seg.Next() {
		return nil, fmt.Errorf("rewrite segment %d: not all of it is sealed yet", seg.ID)
	}
	masked := l.overlay.snapshot(seg.First, seg.Next())
	w, err := l.store.Rewrite(seg.ID)
	if err != nil {
		return nil, err
	}
	r := &rewriter{l: l, seg: seg, w: w, b: newBuilder(false), committer: new(seal.Committer), drop: drop, masked: masked, tainted: make(map[string]bool)}
	tmp := w.SearchDir() + ".tmp"
	defer func() {
		if r.idx != nil {
			err = errors.Join(err, r.idx.Close())
		}
		err = errors.Join(err, os.RemoveAll(tmp))
	}()
	abort := func(err error) ([]uint64, error) {
		w.Abort()
		return nil, fmt.Errorf("rewrite segment %d: %w", seg.ID, err)
	}
	if err := os.RemoveAll(tmp); err != nil {
		return abort(err)
	}
	if r.idx, err = search.Create(tmp, search.Options{Start: seg.First}); err != nil {
		return abort(err)
	}
	if drop != nil || len(masked) > 0 {
		if err := r.eachBlock(ctx, r.taint); err != nil {
			return abort(err)
		}
	}
	if err := r.sample(ctx); err != nil {
		return abort(err)
	}
	if err := r.eachBlock(ctx, r.copyBlock); err != nil {
		return abort(err)
	}
	if err := r.put(); err != nil {
		return abort(err)
	}
	if r.kept == 0 {
		w.Abort()
		if err := l.forgetIndex(seg.ID); err != nil {
			l.log.Error("close search index", "segment", seg.ID, "error", err)
		}
		l.overlay.drop(r.dropped)
		return r.dropped, l.store.Drop(seg.ID)
	}
	if err := r.addDocs(seg.Next()); err != nil {
		return abort(err)
	}
	if err := r.idx.Pack(w.SearchDir()); err != nil {
		return abort(err)
	}
	return r.dropped, l.swap(seg, w, func() {
		l.overlay.forget(masked)
		l.overlay.drop(r.dropped)
	})
}

// swap puts the next generation of a segment and its search index in place of
// the present ones; swapped is called in between.
func (l *Ledger) swap(seg *store.Segment, w *store.Rewriter, swapped func()) error {
	// The old index must be closed before its folder goes; till the new one is
	// open the blocks are scanned.
	if err := l.indexOf(seg.ID).set(nil, seg.Generation+1); err != nil {
		l.log.Error("close search index", "segment", seg.ID, "error", err)
	}
	if err := w.Swap(); err != nil {
		l.reopenIndex(seg.ID)
		return err
	}
	swapped()
	next := l.segment(seg.ID)
	idx, err := search.OpenReadOnly(next.SearchDir())
	if err != nil {
		l.log.Error("open packed search index", "segment", seg.ID, "error", err)
		idx = nil
	}
	return l.indexOf(seg.ID).set(idx, next.Generation)
}

// eachBlock calls fn for every block, in snapshots of bounded length.
func (r *rewriter) eachBlock(ctx context.Context, fn func(*store.Block) error) error {
	from := r.seg.First
	for done := false; !done; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := 0
		var err error
		verr := r.seg.View(func(tx *store.Tx) error {
			done = true
			tx.Blocks(from, ^uint64(0), false, func(first uint64, data []byte) bool {
				if first < from {
					return true
				}
				if n++; n > 64 {
					done = false
					return false
				}
				var blk *store.Block
				if blk, err = r.seg.ReadBlock(data); err == nil {
					if err = blk.Verify(); err == nil {
						err = fn(blk)
					}
				}
				from = first + 1
				return err == nil
			})
			return nil
		})
		if err = errors.Join(err, verr); err != nil {
			return err
		}
	}
	return nil
}

// fate says what happens to a row.
func (r *rewriter) fate(row *record.Record) (drop bool, masks []mask) {
	if r.drop != nil {
		eff := row
		if r.l.overlay.touches(row.Seq, row.Seq) {
			if c, err := r.l.row(row.Seq); err == nil {
				r.l.overlay.apply(c)
				eff = c
			}
		}
		if r.drop(eff) {
			return true, nil
		}
	}
	return false, r.masked[row.Seq]
}

// taint collects the frame keys of rows that change: the key would give their salts away.
func (r *rewriter) taint(blk *store.Block) error {
	runs, err := blk.Salts()
	if err != nil {
		return err
	}
	salts := splitSalts(runs)
	var row record.Record
	for i := range blk.Rows() {
		if salts[i].kind != store.SaltKey || r.tainted[salts[i].key] {
			continue
		}
		if err := blk.Row(i, &row); err != nil {
			return err
		}
		if drop, masks := r.fate(&row); drop || len(masks) > 0 {
			r.tainted[salts[i].key] = true
		}
	}
	return nil
}

// collect gathers the rows that drop chooses, and changes nothing.
func (r *rewriter) collect(blk *store.Block) error {
	var row record.Record
	for i := range blk.Rows() {
		if err := blk.Row(i, &row); err != nil {
			return err
		}
		if drop, _ := r.fate(&row); drop {
			r.dropped = append(r.dropped, row.Seq)
		}
	}
	return nil
}

func (r *rewriter) copyBlock(blk *store.Block) error {
	runs, err := blk.Salts()
	if err != nil {
		return err
	}
	if blk.Tenant() != r.tenant {
		if err := r.put(); err != nil {
			return err
		}
		r.tenant = blk.Tenant()
	}
	for i, salt := range splitSalts(runs) {
		row := new(record.Record)
		if err := blk.Row(i, row); err != nil {
			return err
		}
		drop, masks := r.fate(row)
		if drop {
			r.dropped = append(r.dropped, row.Seq)
			continue
		}
		if len(masks) > 0 {
			if salt, err = r.redact(row, salt, masks); err != nil {
				return err
			}
		}
		salt.bytes = append([]byte(nil), salt.bytes...)
		r.rows = append(r.rows, row)
		r.salts = append(r.salts, salt)
		if len(r.rows) == store.MaxBlockRows {
			if err := r.put(); err != nil {
				return err
			}
		}
	}
	return nil
}

// redact removes the masked fields of a row and replaces its seed by what may
// still be known of its salts.
func (r *rewriter) redact(row *record.Record, salt rowSalt, masks []mask) (rowSalt, error) {
	var residue *seal.Residue
	var err error
	if seed, ok := salt.seed(); ok {
		residue, err = r.committer.NewResidue(row, &seed)
	} else {
		residue, err = seal.ParseResidue(salt.bytes)
	}
	if err != nil {
		return salt, fmt.Errorf("redact seq %d: %w", row.Seq, err)
	}
	before, err := r.l.row(row.Seq)
	if err != nil {
		return salt, err
	}
	var units []seal.Unit
	for _, m := range masks {
		units = append(units, m.apply(row)...)
	}
	if err := residue.Withhold(r.committer, before, units...); err != nil {
		return salt, fmt.Errorf("redact seq %d: %w", row.Seq, err)
	}
	residue.KeepAbsence(before)
	var want, got seal.Entry
	if seed, ok := salt.seed(); ok {
		if err := r.committer.Commit(before, &seed, &want); err != nil {
			return salt, err
		}
		if err := r.committer.CommitPartial(row, residue, &got); err != nil {
			return salt, fmt.Errorf("redact seq %d: %w", row.Seq, err)
		}
		if want != got {
			return salt, fmt.Errorf("redact seq %d: the sealed entry would change", row.Seq)
		}
	}
	b, err := residue.AppendBinary(nil)
	return rowSalt{kind: store.SaltResidue, bytes: b}, err
}

// put writes the gathered rows as one block.
func (r *rewriter) put() error {
	if len(r.rows) == 0 {
		return nil
	}
	data, doc, err := r.b.encode(r.tenant, r.rows, joinSalts(r.salts, r.tainted), r.w.FilterKey(), true)
	if err != nil {
		return err
	}
	if err := r.w.Put(r.rows[0].Seq, data); err != nil {
		return err
	}
	r.kept += len(r.rows)
	next := r.rows[len(r.rows)-1].Seq + 1
	r.rows, r.salts = r.rows[:0], r.salts[:0]
	if r.docs = append(r.docs, *doc); len(r.docs) < 16 {
		return nil
	}
	return r.addDocs(next)
}

func (r *rewriter) addDocs(next uint64) error {
	err := r.idx.Add(r.docs, next)
	r.docs = r.docs[:0]
	return err
}

// reopenIndex opens a segment's index again after a swap that failed.
func (l *Ledger) reopenIndex(id uint64) {
	seg := l.segment(id)
	if seg == nil {
		return
	}
	idx, err := openIndex(seg)
	if err == nil {
		err = l.indexOf(id).set(idx, seg.Generation)
	}
	if err != nil {
		l.log.Error("open search index", "segment", id, "error", err)
	}
}

// maintain packs segments that are closed and sealed, oldest first, and resumes
// what was not erased to the end.
func (l *Ledger) maintain(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { l.eraseLoop(ctx) })
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		for _, seg := range l.store.Segments() {
			if ctx.Err() != nil {
				return
			}
			if seg == l.store.Active() || seg.Generation > 0 || l.sealedSize() < seg.Next() {
				continue
			}
			if l.packLater() {
				break
			}
			l.maintenance.Lock()
			err := l.pack(ctx, seg)
			l.maintenance.Unlock()
			if err != nil && ctx.Err() == nil {
				l.log.Error("pack segment", "segment", seg.ID, "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-l.packing:
		}
	}
}

// wakePacker tells maintain that a segment was closed.
func (l *Ledger) wakePacker() {
	select {
	case l.packing <- struct{}{}:
	default:
	}
}
