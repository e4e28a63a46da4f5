package search

import (
	"fmt"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/blevesearch/bleve/v2/index/scorch"
)

// Blocks returns the blocks below the watermark that have a document, ascending, and the watermark
// that was true when they were all. ErrDamaged: the files changed under the index.
func (x *Index) Blocks() (blocks []uint64, watermark uint64, err error) {
	x.life.RLock()
	defer x.life.RUnlock()
	defer guard(&err)
	defer faults()()
	if x.closed {
		return nil, 0, ErrClosed
	}
	snap, err := x.snapshot()
	if err != nil {
		return nil, 0, err
	}
	defer snap.Close()
	st, err := stateOf(snap)
	if err != nil {
		return nil, 0, err
	}
	var out []uint64
	for _, seg := range snap.Segments() {
		blocks, err := x.views.blocksOf(seg)
		if err != nil {
			return nil, 0, err
		}
		del := seg.Deleted()
		for n, b := range blocks {
			if del == nil || !del.Contains(uint32(n)) {
				out = append(out, b)
			}
		}
	}
	slices.Sort(out)
	out = slices.DeleteFunc(out, func(b uint64) bool { return b >= st.watermark })
	return slices.Compact(out), st.watermark, nil
}

// stateOf reads the state that was introduced with a snapshot's blocks. The index
// itself learns of it a moment after a look-up sees them.
func stateOf(snap *scorch.IndexSnapshot) (state, error) {
	raw, err := snap.GetInternal([]byte(stateKey))
	if err != nil {
		return state{}, fmt.Errorf("read search index: %w", err)
	}
	return decodeState(raw)
}

// behind are the documents of a segment that do not count: deleted ones, and those
// of a large addition of which the rest is still to come.
func (x *Index) behind(seg *scorch.SegmentSnapshot, watermark uint64) (*roaring.Bitmap, error) {
	blocks, err := x.views.blocksOf(seg)
	if err != nil {
		return nil, err
	}
	except := seg.Deleted()
	for n, b := range blocks {
		if b < watermark {
			continue
		}
		if except == seg.Deleted() { // which is not ours to change
			if except = roaring.New(); seg.Deleted() != nil {
				except.Or(seg.Deleted())
			}
		}
		except.Add(uint32(n))
	}
	return except, nil
}

// CountPostings walks the whole dictionary and counts the pairs of a term and a
// block below the watermark that has it, so that an auditor who knows how many there must be sees
// whether there are more. watermark is the one that was true then. It takes about
// a microsecond a term and block.
func (x *Index) CountPostings() (count, watermark uint64, err error) {
	x.life.RLock()
	defer x.life.RUnlock()
	defer guard(&err)
	defer faults()()
	l, err := x.lookup()
	if err != nil {
		return 0, 0, err
	}
	defer l.close()
	st, err := stateOf(l.snap)
	if err != nil {
		return 0, 0, err
	}
	for _, seg := range l.snap.Segments() {
		dict, err := seg.Segment().Dictionary(termField)
		if err != nil {
			return 0, 0, fmt.Errorf("read search index: %w", err)
		}
		except, err := x.behind(seg, st.watermark)
		if err != nil {
			return 0, 0, err
		}
		for it := terms(dict, nil, nil); ; {
			e, err := it.Next()
			if err != nil {
				return 0, 0, fmt.Errorf("read search index: %w", err)
			}
			if e == nil {
				break
			}
			if l.pl, err = dict.PostingsList([]byte(e.Term), except, l.pl); err != nil {
				return 0, 0, fmt.Errorf("read search index: %w", err)
			}
			count += l.pl.Count()
		}
	}
	return count, st.watermark, nil
}
