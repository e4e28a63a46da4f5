package index

import (
	"context"
	"fmt"
	"time"

	"custody/index/search"
	"custody/index/store"
	"custody/ingest/record"
)

// Packing is the rewrite of a segment that is full: dense, and read-only from
// then on. Mostly its blocks are dense already and nothing of it is to be
// redacted; then only the frames are compressed anew, with a dictionary, and the
// search index is merged into one piece instead of being built again.

// denseRows is the average of rows a block from which blocks stay as they are cut.
const denseRows = store.MaxBlockRows * 3 / 4

// While events come as fast as they can be taken, packing waits for a pause: for
// as many segments as waitingSegments, if the disk has room for them.
const (
	waitingSegments = 8
	busyBytes       = 1 << 20 // in the queue
)

// packLater reports whether closed segments may wait.
func (l *Ledger) packLater() bool {
	if l.queue.used() < busyBytes || l.free.Load() < 4*uint64(l.opts.Reserve) {
		return false
	}
	waiting := 0
	for _, seg := range l.store.Segments() {
		if seg.Generation == 0 && seg != l.store.Active() {
			waiting++
		}
	}
	return waiting <= waitingSegments
}

// pack writes the first packed generation of a closed segment.
func (l *Ledger) pack(ctx context.Context, seg *store.Segment) error {
	if l.sealedSize() < seg.Next() {
		return fmt.Errorf("pack segment %d: not all of it is sealed yet", seg.ID)
	}
	rows, blocks := 0, 0
	r := &rewriter{l: l, seg: seg}
	if err := r.eachBlock(ctx, func(b *store.Block) error {
		rows += b.Rows()
		blocks++
		return nil
	}); err != nil {
		return fmt.Errorf("pack segment %d: %w", seg.ID, err)
	}
	idx, err := l.completeIndex(ctx, seg)
	if err != nil {
		return err
	}
	if idx == nil || rows < blocks*denseRows || len(l.overlay.snapshot(seg.First, seg.Next())) > 0 {
		_, err := l.rewrite(ctx, seg, nil)
		return err
	}
	w, err := l.store.Recode(seg.ID)
	if err != nil {
		return err
	}
	if err := l.recode(ctx, r, w, idx, rows, blocks); err != nil {
		w.Abort()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		// Perhaps the index can't be merged: then it is built anew.
		l.log.Warn("pack segment from its rows", "segment", seg.ID, "error", err)
		_, err := l.rewrite(ctx, seg, nil)
		return err
	}
	return l.swap(seg, w, func() {})
}

// completeIndex returns the segment's index when it covers all of it, waiting a
// little for an indexer that is about to finish; nil without one.
func (l *Ledger) completeIndex(ctx context.Context, seg *store.Segment) (idx *search.Index, err error) {
	wait := time.NewTicker(20 * time.Millisecond)
	defer wait.Stop()
	for range 500 {
		_ = l.indexOf(seg.ID).use(seg.Generation, func(i *search.Index) error { idx = i; return nil })
		if idx == nil || idx.Watermark() >= seg.Next() {
			return idx, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-wait.C:
		}
	}
	return nil, nil
}

// recode copies the blocks with their frames compressed anew.
func (l *Ledger) recode(ctx context.Context, r *rewriter, w *store.Rewriter, idx *search.Index, rows, blocks int) error {
	enc, err := store.NewEncoder(w.FilterKey(), false)
	if err != nil {
		return err
	}
	var dict []byte
	table := new(store.ValueTable)
	every := sampleEvery(rows, blocks)
	n := 0
	if err := r.eachBlock(ctx, func(b *store.Block) error {
		if err := table.Add(b); err != nil {
			return err
		}
		if n++; every == 0 || n%every != 0 {
			return nil
		}
		dict, err = store.SampleBlock(dict, b)
		return err
	}); err != nil {
		return err
	}
	if err := w.SetDictionary(dict); err != nil {
		return err
	}
	if err := w.SetValues(table); err != nil {
		return err
	}
	if err := enc.SetDictionary(dict); err != nil {
		return err
	}
	if err := r.eachBlock(ctx, func(b *store.Block) error {
		data, err := enc.Recode(nil, b, table)
		if err != nil {
			return err
		}
		return w.Put(b.First(), data)
	}); err != nil {
		return err
	}
	return idx.Pack(w.SearchDir())
}

// sampleEvery spreads the frames of a dictionary over the blocks: 0 for none,
// else the first frame of every so manieth block.
func sampleEvery(rows, blocks int) int {
	frames := store.SampleFrames(rows)
	if frames == 0 {
		return 0
	}
	return max(1, blocks/frames)
}

// sample gives the rewritten segment its dictionary, of rows that stay as they are.
func (r *rewriter) sample(ctx context.Context) error {
	rows, blocks := 0, 0
	if err := r.eachBlock(ctx, func(b *store.Block) error {
		rows += b.Rows()
		blocks++
		return nil
	}); err != nil {
		return err
	}
	every := sampleEvery(rows, blocks)
	if every == 0 {
		return nil
	}
	enc, err := r.b.encoder(r.w.FilterKey())
	if err != nil {
		return err
	}
	var dict []byte
	n := 0
	if err := r.eachBlock(ctx, func(b *store.Block) error {
		if n++; n%every != 0 {
			return nil
		}
		var keep []*record.Record
		for i := 0; i < b.Rows() && len(keep) < store.FrameRows; i++ {
			row := new(record.Record)
			if err := b.Row(i, row); err != nil {
				return err
			}
			if drop, masks := r.fate(row); !drop && len(masks) == 0 {
				keep = append(keep, row)
			}
		}
		if len(keep) > 0 {
			dict = enc.Sample(dict, keep)
		}
		return nil
	}); err != nil {
		return err
	}
	if err := r.w.SetDictionary(dict); err != nil {
		return err
	}
	return enc.SetDictionary(dict)
}
