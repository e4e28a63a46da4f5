package index

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"custody/index/search"
	"custody/index/store"
)

// indexItem is what the writer hands to the indexer: documents of one segment
// and the seq up to which they cover it.
type indexItem struct {
	segment   uint64
	from      uint64 // first seq of the documents
	docs      []search.Doc
	watermark uint64
}

// segmentIndex is the search index of a segment's present generation; nil inside
// while it is missing or being rebuilt, and then its blocks are scanned.
type segmentIndex struct {
	mu  sync.RWMutex
	idx *search.Index
	gen uint64
}

// use calls fn with the index of generation gen, or with nil when there is none.
func (x *segmentIndex) use(gen uint64, fn func(*search.Index) error) error {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.gen != gen {
		return fn(nil)
	}
	return fn(x.idx)
}

// set replaces the index and closes the old one.
func (x *segmentIndex) set(idx *search.Index, gen uint64) error {
	x.mu.Lock()
	old := x.idx
	x.idx, x.gen = idx, gen
	x.mu.Unlock()
	if old != nil {
		return old.Close()
	}
	return nil
}

func (x *segmentIndex) close() error { return x.set(nil, 0) }

// flush waits until what was added is on the disk.
func (x *segmentIndex) flush() error {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.idx == nil {
		return nil
	}
	return x.idx.Flush()
}

func (l *Ledger) indexOf(id uint64) *segmentIndex {
	l.mu.Lock()
	defer l.mu.Unlock()
	x := l.indexes[id]
	if x == nil {
		x = &segmentIndex{}
		l.indexes[id] = x
	}
	return x
}

func (l *Ledger) forgetIndex(id uint64) error {
	l.mu.Lock()
	x := l.indexes[id]
	delete(l.indexes, id)
	l.mu.Unlock()
	if x == nil {
		return nil
	}
	return x.close()
}

// openIndexes opens every segment's index. A missing or damaged one is removed
// and filled again by the indexer; a lock or permission error is no damage and
// is returned.
func (l *Ledger) openIndexes() error {
	for _, seg := range l.store.Segments() {
		idx, err := openIndex(seg)
		if err != nil {
			return err
		}
		if err := l.indexOf(seg.ID).set(idx, seg.Generation); err != nil {
			return err
		}
	}
	return nil
}

func openIndex(seg *store.Segment) (*search.Index, error) {
	open := func(dir string) (*search.Index, error) { return search.Open(dir, search.Options{}) }
	if seg.Generation > 0 {
		open = search.OpenReadOnly // packed: complete, and never written again
	}
	idx, err := open(seg.SearchDir())
	if err == nil && idx.Watermark() <= seg.Next() && (seg.Generation == 0 || idx.Watermark() == seg.Next()) {
		return idx, nil
	}
	if err == nil {
		// It covers rows that the store does not have: of another history.
		err = errors.Join(search.ErrDamaged, idx.Close())
	}
	if !errors.Is(err, search.ErrDamaged) {
		return nil, fmt.Errorf("open search index of segment %d: %w", seg.ID, err)
	}
	if err := os.RemoveAll(seg.SearchDir()); err != nil {
		return nil, fmt.Errorf("rebuild search index of segment %d: %w", seg.ID, err)
	}
	idx, err = search.Create(seg.SearchDir(), search.Options{Start: seg.First})
	if err != nil {
		return nil, fmt.Errorf("rebuild search index of segment %d: %w", seg.ID, err)
	}
	return idx, nil
}

// indexLoop fills the indexes: first what is missing of the newest segment, then
// what the writer hands over; other segments are made up for in between.
func (l *Ledger) indexLoop() {
	b := newBuilder(true)
	segs := l.opened
	behind := segs[:len(segs)-1]
	l.catchUp(b, segs[len(segs)-1], l.openedNext)
	var held *indexItem
	for {
		if held == nil && len(behind) > 0 && len(l.toIndex) == 0 {
			last := behind[len(behind)-1]
			l.catchUp(b, last, last.Next())
			behind = behind[:len(behind)-1]
			continue
		}
		if held == nil {
			it, ok := <-l.toIndex
			if !ok {
				break
			}
			held = &it
		}
		var it indexItem
		it, held = l.gather(*held)
		l.addDocs(b, it)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, x := range l.indexes {
		if err := x.flush(); err != nil && !errors.Is(err, search.ErrReadOnly) {
			l.log.Error("flush search index", "segment", id, "error", err)
		}
	}
}

const (
	// gatherDocs blocks are added to an index at once: they share most of their
	// terms, and a term costs the same for many blocks as for one.
	gatherDocs = 32
	// gatherFor bounds the wait for them, gatherQuiet the wait for the next.
	// Meanwhile a search scans them.
	gatherFor   = 400 * time.Millisecond
	gatherQuiet = 60 * time.Millisecond
)

// gather takes what the writer hands over right behind it into it. The item that
// does not fit is returned as well.
func (l *Ledger) gather(it indexItem) (indexItem, *indexItem) {
	end := time.NewTimer(gatherFor)
	defer end.Stop()
	quiet := time.NewTimer(gatherQuiet)
	defer quiet.Stop()
	for len(it.docs) > 0 && len(it.docs) < gatherDocs {
		select {
		case next, ok := <-l.toIndex:
			if !ok {
				return it, nil
			}
			if next.segment != it.segment || next.from != it.watermark || len(next.docs) == 0 {
				return it, &next
			}
			it.docs = append(it.docs, next.docs...)
			it.watermark = next.watermark
			quiet.Reset(gatherQuiet)
		case <-quiet.C:
			return it, nil
		case <-end.C:
			return it, nil
		}
	}
	return it, nil
}

// addDocs adds to a segment's index; what fails stays above the watermark and is
// scanned. Documents never go above a gap: what is missing below is read from the store.
func (l *Ledger) addDocs(b *builder, it indexItem) {
	seg := l.segment(it.segment)
	if seg == nil || seg.Generation > 0 {
		return // dropped or packed meanwhile, with an index of its own
	}
	x := l.indexOf(it.segment)
	x.mu.Lock()
	if x.idx == nil && x.gen == 0 {
		// The first documents of a new segment.
		idx, err := openIndex(seg)
		if err != nil {
			l.log.Error("open search index", "segment", it.segment, "error", err)
		}
		x.idx, x.gen = idx, seg.Generation
	}
	idx := x.idx
	x.mu.Unlock()
	switch {
	case idx == nil || idx.Watermark() >= it.watermark:
		return
	case idx.Watermark() < it.from || len(it.docs) == 0:
		l.catchUp(b, seg, it.watermark)
		return
	}
	if err := idx.Add(it.docs, it.watermark); err != nil {
		l.log.Error("index", "segment", it.segment, "error", err)
	}
}

func (l *Ledger) segment(id uint64) *store.Segment {
	for _, s := range l.store.Segments() {
		if s.ID == id {
			return s
		}
	}
	return nil
}

// catchUp indexes the blocks of seg between its index's watermark and to. Of the
// newest segment these are the ones that stood there when the ledger was opened:
// those the writer adds it may still merge, and hands over itself.
func (l *Ledger) catchUp(b *builder, seg *store.Segment, to uint64) {
	const batch = 16
	for {
		select {
		case <-l.abort:
			return
		default:
		}
		x := l.indexOf(seg.ID)
		var idx *search.Index
		_ = x.use(seg.Generation, func(i *search.Index) error { idx = i; return nil })
		if idx == nil || idx.Watermark() >= to {
			return
		}
		var docs []search.Doc
		mark := idx.Watermark()
		full := false
		err := seg.View(func(tx *store.Tx) error {
			tx.Blocks(mark, to, false, func(first uint64, data []byte) bool {
				if first < mark && len(docs) == 0 {
					return true
				}
				if len(docs) == batch {
					full = true
					return false
				}
				blk, berr := seg.ReadBlock(data)
				var doc *search.Doc
				if berr == nil {
					doc, berr = b.documentOf(blk)
				}
				if berr != nil {
					// Damage stays where it is: verify reports it, the rest is searched.
					l.log.Error("index damaged block", "first", first, "error", berr)
					return true
				}
				docs = append(docs, *doc)
				mark = blk.Last() + 1
				return true
			})
			return nil
		})
		if err != nil {
			l.log.Error("index", "segment", seg.ID, "error", err)
			return
		}
		if !full {
			mark = to // the last rows may have expired
		}
		if err := idx.Add(docs, mark); err != nil {
			l.log.Error("index", "segment", seg.ID, "error", err)
			return
		}
	}
}

// searchable counts the events that a search finds without a long scan: what the
// indexes cover, and the tail of the newest segment as long as it is short.
func (l *Ledger) searchable() uint64 {
	const shortTail = 16 * store.MaxBlockRows
	var missing uint64
	segs := l.store.Segments()
	for _, seg := range segs {
		var mark uint64
		_ = l.indexOf(seg.ID).use(seg.Generation, func(idx *search.Index) error {
			if idx != nil {
				mark = idx.Watermark()
			}
			return nil
		})
		if n := seg.Next(); n > max(mark, seg.First) {
			missing += n - max(mark, seg.First)
		}
	}
	durable := l.durable.Load()
	if missing <= shortTail {
		return durable
	}
	return durable - min(missing, durable)
}
