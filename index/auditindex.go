package index

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"

	"custody/index/query"
	"custody/index/search"
	"custody/index/store"
	"custody/ingest/record"
)

// closedIndexes opens the search indexes of a folder that no server uses, one at
// a time and for reading only.
type closedIndexes struct {
	dir string
	idx *search.Index
	err error
}

func (c *closedIndexes) use(seg *store.Segment, fn func(*search.Index, error) error) error {
	if dir := seg.SearchDir(); c.dir != dir {
		if err := c.close(); err != nil {
			return err
		}
		c.dir = dir
		c.idx, c.err = search.OpenReadOnly(dir)
		if c.err != nil && !errors.Is(c.err, search.ErrDamaged) {
			return c.err
		}
	}
	return fn(c.idx, c.err)
}

func (c *closedIndexes) close() error {
	idx := c.idx
	c.dir, c.idx, c.err = "", nil, nil
	if idx == nil {
		return nil
	}
	return idx.Close()
}

// enter begins a segment: what the index claims to cover is asked before its
// blocks are read, since a server goes on indexing meanwhile.
func (s *searchAudit) enter(seg *store.Segment) error {
	s.seg, s.covered, s.derived, s.indexed = seg, 0, 0, make(map[uint64]struct{})
	return s.a.index(seg, func(idx *search.Index, why error) error {
		whole := auditBlock{seg.First, max(seg.First, seg.Next()-min(seg.Next(), 1))}
		if idx == nil {
			if _, err := os.Stat(seg.SearchDir()); seg.Generation == 0 && (why == nil || errors.Is(err, fs.ErrNotExist)) {
				return nil // nothing of it had to be indexed yet
			}
			if why == nil {
				why = errors.New("it is being built")
			}
			s.note(whole, "there is no search index: its rows are scanned until it is built (%v)", why)
			return nil
		}
		blocks, mark, err := idx.Blocks()
		if err != nil {
			return s.unreadable(err)
		}
		if mark > seg.Next() || seg.Generation > 0 && mark != seg.Next() {
			// No search trusts such an index either: it is deleted when the folder is opened.
			s.note(whole, "the search index says that it covers rows up to %d; it will be built anew", mark)
			return nil
		}
		s.covered = mark
		for _, b := range blocks {
			s.indexed[b] = struct{}{}
		}
		return nil
	})
}

// unreadable passes over an index that turns out to be damaged: searches scan then.
func (s *searchAudit) unreadable(err error) error {
	if !errors.Is(err, search.ErrDamaged) && !errors.Is(err, search.ErrClosed) {
		return err
	}
	s.note(auditBlock{s.seg.First, max(s.seg.First, s.seg.Next()-min(s.seg.Next(), 1))}, "the search index cannot be read: its rows are scanned (%v)", err)
	s.covered = 0
	return nil
}

// keep puts the terms of a block into the batch. Blocks behind the watermark
// are scanned and need no document.
func (s *searchAudit) keep(at auditBlock, blk *store.Block, key [16]byte) {
	if at.first >= s.covered {
		return
	}
	if _, ok := s.indexed[at.first]; !ok {
		s.lie(at, "the search index has no document for the block and claims to cover it")
		return
	}
	delete(s.indexed, at.first)
	n := uint16(len(s.blocks))
	s.blocks = append(s.blocks, at)
	for t, frames := range s.mine {
		p := pair{block: n, frames: frames}
		if k := []byte(t); query.IsMessageWord(k) {
			p.filter = blk.Candidates(key, k)
		}
		s.terms[t] = append(s.terms[t], p)
	}
	s.pairs += len(s.mine)
	s.derived += uint64(len(s.mine))
}

// flush asks the index for every term of the batch.
func (s *searchAudit) flush() error {
	if len(s.blocks) == 0 {
		return nil
	}
	missing := make([]missed, len(s.blocks))
	extra := make([]int, len(s.blocks))
	var hits []search.Hit
	err := s.a.index(s.seg, func(idx *search.Index, why error) error {
		if idx == nil {
			return errors.Join(search.ErrClosed, why)
		}
		for t, pairs := range s.terms {
			var err error
			if hits, err = idx.Postings([]byte(t), hits[:0]); err != nil {
				return err
			}
			for _, p := range pairs {
				b := s.blocks[p.block]
				i, found := slices.BinarySearchFunc(hits, b.first, func(h search.Hit, b uint64) int {
					switch {
					case h.Block < b:
						return -1
					case h.Block > b:
						return 1
					}
					return 0
				})
				var have uint16
				if found {
					have = hits[i].Frames
				}
				if p.frames&^(have|p.filter) != 0 {
					missing[p.block].add(t)
				}
				if have&^p.frames != 0 {
					extra[p.block]++
				}
			}
		}
		return nil
	})
	s.rep.IndexTerms += uint64(s.pairs)
	for i, b := range s.blocks {
		if m := &missing[i]; m.count > 0 {
			s.lie(b, "the search index leaves out %d terms of its rows, such as %s", m.count, m)
		}
		if extra[i] > 0 {
			s.note(b, "the search index names frames for %d terms that do not have them", extra[i])
		}
	}
	s.blocks, s.pairs = s.blocks[:0], 0
	clear(s.terms)
	if err != nil {
		return s.unreadable(err)
	}
	return nil
}

// missed are terms that the index lacks; the least stands for them all.
type missed struct {
	count int
	least string
}

func (m *missed) add(t string) {
	if m.count == 0 || t < m.least {
		m.least = t
	}
	m.count++
}

// String is the example as a user would look for it.
func (m *missed) String() string {
	if t := m.least; len(t) >= 3 && t[0] == 'k' {
		f := record.Field(t[1]&0x3f)<<6 | record.Field(t[2]&0x3f)
		return fmt.Sprintf("%s:%q", f, t[3:])
	}
	return fmt.Sprintf("the word %q", m.least[1:])
}

// leave ends a segment.
func (s *searchAudit) leave() error {
	if s.seg == nil {
		return nil
	}
	if err := s.flush(); err != nil || s.covered == 0 {
		return err
	}
	if s.a.o.From > s.seg.First || s.a.o.To != 0 && s.a.o.To < s.covered {
		return nil // not all of its blocks were read
	}
	for _, b := range slices.Sorted(maps.Keys(s.indexed)) {
		s.note(auditBlock{b, b}, "the search index has a document for a block that is not there")
	}
	return s.a.index(s.seg, func(idx *search.Index, _ error) error {
		if idx == nil || idx.Watermark() != s.covered {
			return nil // it went on meanwhile
		}
		have, mark, err := idx.CountPostings()
		if err != nil {
			return s.unreadable(err)
		}
		if have > s.derived && mark == s.covered {
			s.note(auditBlock{s.seg.First, s.covered - 1}, "the search index has %d terms of blocks that their rows do not have", have-s.derived)
		}
		return nil
	})
}
