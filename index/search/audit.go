package search

import (
	"fmt"
	"slices"
)

// Blocks returns the blocks that have a document, ascending. ErrDamaged: the
// files changed under the index.
func (x *Index) Blocks() (_ []uint64, err error) {
	x.life.RLock()
	defer x.life.RUnlock()
	defer guard(&err)
	defer faults()()
	if x.closed {
		return nil, ErrClosed
	}
	snap, err := x.snapshot()
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	var out []uint64
	for _, seg := range snap.Segments() {
		blocks, err := x.views.blocksOf(seg)
		if err != nil {
			return nil, err
		}
		del := seg.Deleted()
		for n, b := range blocks {
			if del == nil || !del.Contains(uint32(n)) {
				out = append(out, b)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// CountPostings walks the whole dictionary and counts the pairs of a term and a
// block that has it, so that an auditor who knows how many there must be sees
// whether there are more. It takes about a microsecond a term and block.
func (x *Index) CountPostings() (count uint64, err error) {
	x.life.RLock()
	defer x.life.RUnlock()
	defer guard(&err)
	defer faults()()
	l, err := x.lookup()
	if err != nil {
		return 0, err
	}
	defer l.close()
	for _, seg := range l.snap.Segments() {
		dict, err := seg.Segment().Dictionary(termField)
		if err != nil {
			return 0, fmt.Errorf("read search index: %w", err)
		}
		for it := terms(dict, nil, nil); ; {
			e, err := it.Next()
			if err != nil {
				return 0, fmt.Errorf("read search index: %w", err)
			}
			if e == nil {
				break
			}
			if l.pl, err = dict.PostingsList([]byte(e.Term), seg.Deleted(), l.pl); err != nil {
				return 0, fmt.Errorf("read search index: %w", err)
			}
			count += l.pl.Count()
		}
	}
	return count, nil
}
