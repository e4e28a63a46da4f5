package search

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/blevesearch/bleve/v2/index/scorch/mergeplan"
	index "github.com/blevesearch/bleve_index_api"
)

// Add indexes blocks and moves the watermark, which readers, and what survives a
// crash, never see before its blocks. A block that is already there is replaced. watermark is
// the next seq not covered; it never goes down and no block may reach over it.
// Add blocks while MaxPending bytes wait for the disk. It keeps nothing of docs.
// After an error some of the blocks may be in the index and the watermark is where
// it was; adding the same again is right.
func (x *Index) Add(docs []Doc, watermark uint64) error {
	x.life.RLock()
	defer x.life.RUnlock()
	if err := x.writable(); err != nil {
		return err
	}
	x.write.Lock()
	defer x.write.Unlock()
	if watermark < x.state.watermark {
		return fmt.Errorf("add to search index: watermark %d is below %d", watermark, x.state.watermark)
	}
	for i := range docs {
		if err := docs[i].check(watermark); err != nil {
			return fmt.Errorf("add to search index: %w", err)
		}
	}
	// A large addition is cut, so that what is built at once stays small. The
	// watermark moves with the last part.
	for {
		if err := x.pend.wait(x.o.MaxPending, x.o.StallTimeout); err != nil {
			return fmt.Errorf("add to search index: %w", err)
		}
		n := part(docs)
		if n == len(docs) {
			return x.add(docs, watermark)
		}
		if err := x.add(docs[:n], x.state.watermark); err != nil {
			return err
		}
		docs = docs[n:]
	}
}

// How much becomes one Bleve segment in memory: more blocks share more terms,
// fewer take less memory while it is built.
const (
	maxBatch     = 32
	maxBatchCost = 12 << 20 // bytes; a single block may cost more
)

// part is how many of the blocks to build at once.
func part(docs []Doc) int {
	cost := int64(0)
	for i := range docs {
		if cost += docs[i].cost(); i == maxBatch || i > 0 && cost > maxBatchCost {
			return i
		}
	}
	return len(docs)
}

func (x *Index) add(docs []Doc, watermark uint64) error {
	st := x.state
	st.watermark = watermark
	fresh := make([]uint64, 0, len(docs))
	for i := range docs {
		if _, ok := x.live[docs[i].Block]; !ok {
			x.live[docs[i].Block] = struct{}{}
			st.add(docs[i].Block)
			fresh = append(fresh, docs[i].Block)
		}
	}
	if err := x.apply(docs, nil, st); err != nil {
		for _, b := range fresh {
			delete(x.live, b)
		}
		return fmt.Errorf("add to search index: %w", err)
	}
	return nil
}

// Delete removes blocks, such as those that a rewrite replaced; unknown ones are
// passed over. The watermark stays.
func (x *Index) Delete(blocks []uint64) error {
	x.life.RLock()
	defer x.life.RUnlock()
	if err := x.writable(); err != nil {
		return err
	}
	x.write.Lock()
	defer x.write.Unlock()
	st := x.state
	known := make([]uint64, 0, len(blocks))
	for _, b := range blocks {
		if _, ok := x.live[b]; ok {
			delete(x.live, b)
			st.remove(b)
			known = append(known, b)
		}
	}
	if len(known) == 0 {
		return nil
	}
	if err := x.apply(nil, known, st); err != nil {
		for _, b := range known {
			x.live[b] = struct{}{}
		}
		return fmt.Errorf("delete from search index: %w", err)
	}
	return nil
}

// apply gives one batch to scorch; the caller holds x.write or has x alone.
func (x *Index) apply(docs []Doc, gone []uint64, st state) error {
	batch := index.NewBatch()
	size := int64(blockCost)
	for i := range docs {
		if i == len(x.docs) {
			x.docs = append(x.docs, newDocument())
		}
		x.docs[i].fill(&docs[i], x.codes)
		size += docs[i].cost()
		batch.Update(x.docs[i])
	}
	for _, b := range gone {
		batch.Delete(blockID(b))
	}
	batch.SetInternal([]byte(stateKey), st.encode())
	batch.SetPersistedCallback(func(error) { x.pend.add(-size) })
	x.pend.add(size)
	err := x.sc.Batch(batch)
	// A block with an unusual number of terms must not be what all later ones
	// clear and keep.
	for i := range docs {
		if len(docs[i].Terms) > maxKept {
			x.docs[i] = newDocument()
		}
	}
	if err != nil {
		x.pend.add(-size)
		return err
	}
	x.state = st
	x.watermark.Store(st.watermark)
	return nil
}

// maxKept is how many terms a reused document may hold.
const maxKept = 1 << 14

func (x *Index) writable() error {
	switch {
	case x.closed:
		return ErrClosed
	case x.readOnly:
		return ErrReadOnly
	}
	return nil
}

// Flush waits until everything added so far would survive a crash.
func (x *Index) Flush() error {
	x.life.RLock()
	defer x.life.RUnlock()
	if err := x.writable(); err != nil {
		return err
	}
	x.write.Lock()
	defer x.write.Unlock()
	join, err := x.flush()
	join()
	return err
}

// flush waits until nothing is pending, and wakes the persister from its nap
// meanwhile. The way to do so is a merge request with nothing to merge, which may
// have to wait behind a running merge; so a goroutine asks. join waits for it: it
// ends with that merge or with scorch.
func (x *Index) flush() (join func(), err error) {
	ctx, cancel := context.WithCancel(context.Background()) //nolint:forbidigo // lives as long as the call, which StallTimeout bounds
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil && x.pend.load() > 0 {
			if err := x.sc.ForceMerge(ctx, &noMerge); err != nil {
				x.o.Log.Warn("wake the index persister", "error", err)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	}()
	if err = x.pend.wait(0, x.o.StallTimeout); err != nil {
		err = fmt.Errorf("flush search index: %w", err)
	}
	return func() { <-done }, err
}

// noMerge is a plan within which any number of segments is few enough.
var noMerge = mergeplan.MergePlanOptions{
	MaxSegmentsPerTier:   1 << 30,
	MaxSegmentSize:       1 << 30,
	TierGrowth:           2,
	SegmentsPerMergeTask: 2,
	FloorSegmentSize:     1,
}

// pending accounts the bytes that were added and are not on disk yet.
type pending struct {
	mu    sync.Mutex
	bytes int64
	moved chan struct{} // closed and replaced when bytes went down
}

func (p *pending) init() { p.moved = make(chan struct{}) }

func (p *pending) add(n int64) {
	p.mu.Lock()
	p.bytes += n
	if n < 0 {
		close(p.moved)
		p.moved = make(chan struct{})
	}
	p.mu.Unlock()
}

func (p *pending) load() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bytes
}

// wait returns once at most limit bytes are pending. ErrStalled: for the length
// of stall none became fewer.
func (p *pending) wait(limit int64, stall time.Duration) error {
	var timer *time.Timer
	for {
		p.mu.Lock()
		bytes, moved := p.bytes, p.moved
		p.mu.Unlock()
		if bytes <= limit {
			return nil
		}
		if timer == nil {
			timer = time.NewTimer(stall)
			defer timer.Stop()
		} else {
			timer.Reset(stall)
		}
		select {
		case <-moved:
		case <-timer.C:
			return fmt.Errorf("%w: %d bytes pending", ErrStalled, bytes)
		}
	}
}
