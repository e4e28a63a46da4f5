package search

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"github.com/blevesearch/bleve/v2/index/scorch"
	segment "github.com/blevesearch/scorch_segment_api/v2"
)

// Postings appends to dst the blocks that contain the term, by ascending block,
// and returns it. It sees one snapshot, with all of each finished Add. ErrDamaged: the files changed under the index.
func (x *Index) Postings(key []byte, dst []Hit) (_ []Hit, err error) {
	x.life.RLock()
	defer x.life.RUnlock()
	defer guard(&err)
	defer faults()()
	l, err := x.lookup()
	if err != nil {
		return dst, err
	}
	defer l.close()
	for i, seg := range l.snap.Segments() {
		dict, err := seg.Segment().Dictionary(termField)
		if err != nil {
			return dst, fmt.Errorf("read search index: %w", err)
		}
		if err := l.collect(dict, key, i, seg); err != nil {
			return dst, err
		}
	}
	return l.hits(dst), nil
}

// PostingsMatch appends the blocks that contain a term which starts with prefix
// and for which match returns true (nil: all of them); frames of several terms
// add up. match sees terms in no particular order, a term perhaps more than
// once, and must not keep its argument. With more than limit different matching
// terms (0: no limit) it stops and truncated is true: the hits are then no
// superset of the answer.
func (x *Index) PostingsMatch(prefix []byte, match func(term []byte) bool, limit int, dst []Hit) (_ []Hit, truncated bool, err error) {
	x.life.RLock()
	defer x.life.RUnlock()
	defer guard(&err)
	defer faults()()
	l, err := x.lookup()
	if err != nil {
		return dst, false, err
	}
	defer l.close()
	var start []byte
	if len(prefix) > 0 {
		start = prefix
	}
	end := successor(prefix)
	seen := make(map[string]struct{})
	var term []byte
	for i, seg := range l.snap.Segments() {
		dict, err := seg.Segment().Dictionary(termField)
		if err != nil {
			return dst, false, fmt.Errorf("read search index: %w", err)
		}
		for it := terms(dict, start, end); ; {
			e, err := it.Next()
			if err != nil {
				return dst, false, fmt.Errorf("read search index: %w", err)
			}
			if e == nil {
				break
			}
			term = append(term[:0], e.Term...)
			if match != nil && !match(term) {
				continue
			}
			if _, ok := seen[e.Term]; !ok {
				if limit > 0 && len(seen) == limit {
					return l.hits(dst), true, nil
				}
				seen[e.Term] = struct{}{}
			}
			term = append(term[:0], e.Term...)
			if err := l.collect(dict, term, i, seg); err != nil {
				return dst, false, err
			}
		}
	}
	return l.hits(dst), false, nil
}

// terms iterates a dictionary, without the count of postings where the segment
// version can leave it out.
func terms(dict segment.TermDictionary, start, end []byte) segment.DictionaryIterator {
	type omitter interface {
		AutomatonIteratorOmitCount(a segment.Automaton, start, end []byte) segment.DictionaryIterator
	}
	if d, ok := dict.(omitter); ok {
		return d.AutomatonIteratorOmitCount(nil, start, end)
	}
	return dict.AutomatonIterator(nil, start, end)
}

// successor is the first key after all that start with prefix; nil: there is none.
func successor(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			end := slices.Clone(prefix[:i+1])
			end[i]++
			return end
		}
	}
	return nil
}

// lookup is one look-up: a snapshot, and the frames found so far per block.
type lookup struct {
	x      *Index
	snap   *scorch.IndexSnapshot
	view   *view
	frames []uint16 // by rank; owned by the pool
	pl     segment.PostingsList
	it     segment.PostingsIterator
}

func (x *Index) lookup() (*lookup, error) {
	if x.closed {
		return nil, ErrClosed
	}
	snap, err := x.snapshot()
	if err != nil {
		return nil, err
	}
	v, err := x.views.of(snap)
	if err != nil {
		snap.Close()
		return nil, err
	}
	return &lookup{x: x, snap: snap, view: v, frames: x.views.scratch(len(v.blocks))}, nil
}

func (l *lookup) close() {
	l.x.views.release(l.frames)
	l.snap.Close()
}

// collect adds the postings of a term in segment i.
func (l *lookup) collect(dict segment.TermDictionary, key []byte, i int, seg *scorch.SegmentSnapshot) error {
	pl, err := dict.PostingsList(key, seg.Deleted(), l.pl)
	if err != nil {
		return fmt.Errorf("read search index: %w", err)
	}
	l.pl = pl
	if pl.Count() == 0 {
		return nil
	}
	l.it = pl.Iterator(true, false, false, l.it)
	ranks := l.view.ranks[i]
	for {
		p, err := l.it.Next()
		if err != nil {
			return fmt.Errorf("read search index: %w", err)
		}
		if p == nil {
			return nil
		}
		l.frames[ranks[p.Number()]] |= l.x.codes.decode(p.Frequency())
	}
}

// hits appends what was found; ranks are in the order of blocks.
func (l *lookup) hits(dst []Hit) []Hit {
	for rank, f := range l.frames {
		if f != 0 {
			dst = append(dst, Hit{Block: l.view.blocks[rank], Frames: f})
		}
	}
	return dst
}

// view maps the document numbers of a snapshot's segments to the order of their
// blocks. It depends on nothing but the segments, so it outlives deletions.
type view struct {
	segs   []uint64   // their ids
	ranks  [][]uint32 // segment, document number → index in blocks
	blocks []uint64   // ascending, each once
}

// viewCache holds the newest view, and the blocks of each segment in it.
type viewCache struct {
	mu   sync.Mutex
	docs map[uint64][]uint64 // segment id → blocks by document number
	last *view
	pool sync.Pool // *[]uint16
}

func (c *viewCache) of(snap *scorch.IndexSnapshot) (*view, error) {
	segs := snap.Segments()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last != nil && slices.EqualFunc(segs, c.last.segs, func(s *scorch.SegmentSnapshot, id uint64) bool { return s.Id() == id }) {
		return c.last, nil
	}
	v := &view{}
	for _, seg := range segs {
		blocks, err := c.read(seg)
		if err != nil {
			return nil, err
		}
		v.segs = append(v.segs, seg.Id())
		v.blocks = append(v.blocks, blocks...)
	}
	slices.Sort(v.blocks)
	v.blocks = slices.Compact(v.blocks)
	for _, id := range v.segs {
		ranks := make([]uint32, len(c.docs[id]))
		for n, b := range c.docs[id] {
			rank, _ := slices.BinarySearch(v.blocks, b)
			ranks[n] = uint32(rank)
		}
		v.ranks = append(v.ranks, ranks)
	}
	for id := range c.docs {
		if !slices.Contains(v.segs, id) {
			delete(c.docs, id)
		}
	}
	c.last = v
	return v, nil
}

// maxBlocks of a segment; a storage segment has some thousand.
const maxBlocks = 1 << 24

// blocksOf returns the blocks of a segment by document number.
func (c *viewCache) blocksOf(seg *scorch.SegmentSnapshot) ([]uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.read(seg)
}

func (c *viewCache) read(seg *scorch.SegmentSnapshot) ([]uint64, error) {
	if b, ok := c.docs[seg.Id()]; ok {
		return b, nil
	}
	count := seg.Segment().Count()
	if count > maxBlocks {
		return nil, fmt.Errorf("%w: a segment of %d documents", ErrDamaged, count)
	}
	blocks := make([]uint64, count)
	for n := range blocks {
		id, err := seg.Segment().DocID(uint64(n))
		if err != nil {
			return nil, fmt.Errorf("read search index: %w", err)
		}
		if len(id) != 8 {
			return nil, fmt.Errorf("%w: document identifier of %d bytes", ErrDamaged, len(id))
		}
		blocks[n] = binary.BigEndian.Uint64(id)
	}
	if c.docs == nil {
		c.docs = make(map[uint64][]uint64)
	}
	c.docs[seg.Id()] = blocks
	return blocks, nil
}

func (c *viewCache) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.docs, c.last = nil, nil
}

// scratch returns n zeroes.
func (c *viewCache) scratch(n int) []uint16 {
	if p, ok := c.pool.Get().(*[]uint16); ok && cap(*p) >= n {
		s := (*p)[:n]
		clear(s)
		return s
	}
	return make([]uint16, n, n+n/4)
}

func (c *viewCache) release(s []uint16) { c.pool.Put(&s) }
