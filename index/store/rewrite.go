package store

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// Rewriter fills the next generation of a closed segment.
type Rewriter struct {
	store *Store
	seg   *Segment
	next  *Segment // for SearchDir and FilterKey of the new generation
	path  string
	db    *bolt.DB
	batch []NewBlock
	bytes int
}

// Rewrite begins the next generation of a closed segment, with a fresh filter key.
func (s *Store) Rewrite(id uint64) (*Rewriter, error) { return s.nextGeneration(id, false) }

// Recode begins the next generation of a closed segment of which every row stays
// as it is: its filters are copied, so their key is.
func (s *Store) Recode(id uint64) (*Rewriter, error) { return s.nextGeneration(id, true) }

func (s *Store) nextGeneration(id uint64, keepKey bool) (*Rewriter, error) {
	s.mu.RLock()
	i := slices.IndexFunc(s.segments, func(g *Segment) bool { return g.ID == id })
	closed := i >= 0 && i < len(s.segments)-1
	var seg *Segment
	if closed {
		seg = s.segments[i]
	}
	s.mu.RUnlock()
	if !closed {
		return nil, fmt.Errorf("rewrite segment %d: not a closed segment", id)
	}
	w := &Rewriter{store: s, seg: seg, path: filepath.Join(seg.dir, recordsFile+".new")}
	m := segmentMeta{
		id: seg.ID, first: seg.First, next: seg.Next(), generation: seg.Generation + 1,
		created: seg.Created, events: seg.Events(), filterKey: newKey(),
	}
	if keepKey {
		m.filterKey = seg.key
	}
	w.next = &Segment{ID: seg.ID, dir: seg.dir, Generation: m.generation, key: m.filterKey}
	for _, p := range []string{w.path, w.next.SearchDir()} {
		if err := os.RemoveAll(p); err != nil {
			return nil, fmt.Errorf("rewrite segment %d: %w", id, err)
		}
	}
	o := s.opts
	var err error
	w.db, err = initSegment(w.path, m, &o)
	return w, err
}

// FilterKey is the key of the new generation's filters.
func (w *Rewriter) FilterKey() [16]byte { return w.next.key }

// SearchDir is where the new generation's search index goes, before Swap.
func (w *Rewriter) SearchDir() string { return w.next.SearchDir() }

// Put adds a block, in ascending order. It keeps data until the next flush.
func (w *Rewriter) Put(first uint64, data []byte) error {
	w.batch = append(w.batch, NewBlock{first, data})
	w.bytes += len(data)
	if w.bytes < 8<<20 {
		return nil
	}
	return w.flush()
}

func (w *Rewriter) flush() error {
	err := w.db.Update(func(tx *bolt.Tx) error {
		blocks := tx.Bucket(bucketBlocks)
		blocks.FillPercent = 1
		for _, b := range w.batch {
			if err := blocks.Put(putUint(b.First), b.Data); err != nil {
				return err
			}
		}
		return nil
	})
	w.batch, w.bytes = w.batch[:0], 0
	if err != nil {
		return fmt.Errorf("rewrite segment %d: %w", w.seg.ID, err)
	}
	return nil
}

// Abort removes what was written.
func (w *Rewriter) Abort() {
	_ = w.db.Close()
	_ = os.Remove(w.path) // swept at the next open if this fails
	_ = os.RemoveAll(w.next.SearchDir())
}

// Swap makes the new generation durable and puts it in the old one's place by
// one rename. Nobody begins to read the old one after that; its bytes are gone
// when Settle says so.
func (w *Rewriter) Swap() error {
	if err := w.flush(); err != nil {
		return err
	}
	if err := w.db.Sync(); err != nil {
		return fmt.Errorf("rewrite segment %d: %w", w.seg.ID, err)
	}
	if err := w.db.Close(); err != nil {
		return fmt.Errorf("rewrite segment %d: %w", w.seg.ID, err)
	}
	s := w.store
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.segments, w.seg)
	if i < 0 {
		return fmt.Errorf("rewrite segment %d: %w", w.seg.ID, errClosed)
	}
	if err := w.seg.watch(); err != nil {
		return fmt.Errorf("rewrite segment %d: %w", w.seg.ID, err)
	}
	if err := os.Rename(w.path, filepath.Join(w.seg.dir, recordsFile)); err != nil {
		return fmt.Errorf("rewrite segment %d: %w", w.seg.ID, err)
	}
	if err := syncDir(w.seg.dir); err != nil {
		return fmt.Errorf("rewrite segment %d: %w", w.seg.ID, err)
	}
	seg, err := openSegment(w.seg.dir, w.seg.ID, true, &s.opts)
	if err != nil {
		return err
	}
	s.segments[i] = seg
	s.old = append(s.old, w.seg)
	w.seg.retire()
	return sweepSegment(seg)
}
