package index

import (
	"context"
	"errors"
	"math/bits"
	"slices"
	"time"

	"custody/index/query"
	"custody/index/search"
	"custody/index/store"
	"custody/ingest/record"
)

// A scan walks the blocks of all segments and, in those that the plan cannot
// exclude, finds the rows that match exactly. Bleve and the filters only ever
// narrow down; the query itself, on the effective record, decides.

// scanner evaluates one request. Not safe for concurrent use.
type scanner struct {
	l       *Ledger
	req     *Request
	q       *query.Query
	matcher *query.Matcher
	blocks  *query.BlockMatcher
	cols    columns
	plan    query.Plan
	texts   []query.Text
	kinds   query.KindSet
	rec     record.Record
	orig    record.Record
	scanned int
	leave   func() error // called at the end of each snapshot, if set
	// everything says that the query is "*": the kinds in scope, and no condition.
	everything bool

	// per segment
	postings map[*query.Plan][]search.Hit
	seg      *store.Segment
	covered  uint64 // the index's watermark
	behind   uint64 // first seq of the block walked last
	key      [16]byte
	hashes   map[string]uint64
}

const allFrames = 0xffff

func (l *Ledger) newScanner(req *Request) (*scanner, error) {
	q := req.Query
	if q == nil {
		var err error
		if q, err = query.Parse("*"); err != nil {
			return nil, err
		}
	}
	return &scanner{
		l: l, req: req, q: q, matcher: q.NewMatcher(), blocks: q.NewBlockMatcher(),
		plan: q.Lower(), texts: q.Texts(), kinds: q.Kinds(),
		everything: q.String() == "*",
	}, nil
}

// enter prepares for a segment: it fetches the postings of every term of the plan.
func (s *scanner) enter(seg *store.Segment) error {
	s.seg, s.key, s.covered = seg, seg.FilterKey(), 0
	s.postings = make(map[*query.Plan][]search.Hit)
	s.hashes = make(map[string]uint64)
	return s.l.indexOf(seg.ID).use(seg.Generation, func(idx *search.Index) error {
		if idx == nil {
			return nil
		}
		covered := idx.Watermark()
		err := s.fetch(idx, &s.plan)
		for i := range s.texts {
			if err == nil {
				err = s.fetch(idx, &s.texts[i].Message)
			}
			if err == nil {
				err = s.fetch(idx, &s.texts[i].Other)
			}
		}
		if err != nil {
			if errors.Is(err, search.ErrDamaged) || errors.Is(err, search.ErrClosed) {
				s.postings = make(map[*query.Plan][]search.Hit)
				return nil // scan instead
			}
			return err
		}
		s.covered = covered
		return nil
	})
}

// planTerms bounds the dictionary walk of a wildcard.
const planTerms = 50_000

func (s *scanner) fetch(idx *search.Index, p *query.Plan) (err error) {
	switch p.Op {
	case query.Term:
		s.postings[p], err = idx.Postings(p.Key, nil)
	case query.TermRange:
		accept := p.Match
		if accept == nil {
			accept = func([]byte) bool { return true }
		}
		hits, truncated, merr := idx.PostingsMatch(p.Key, accept, planTerms, nil)
		if merr != nil {
			return merr
		}
		if !truncated {
			s.postings[p] = hits
		}
	}
	for i := range p.Kids {
		if err == nil {
			err = s.fetch(idx, &p.Kids[i])
		}
	}
	return err
}

// frames evaluates the plan on a block: the bitmap of frames that may match.
func (s *scanner) frames(p *query.Plan, blk *store.Block, first uint64) uint16 {
	switch p.Op {
	case query.None:
		return 0
	case query.Term, query.TermRange:
		if first >= s.covered {
			return allFrames
		}
		hits, ok := s.postings[p]
		if !ok {
			return allFrames
		}
		var rare uint16
		if p.Op == query.Term && query.IsMessageWord(p.Key) {
			rare = blk.CandidatesHash(s.hash(p.Key)) // words of one frame are there only
		}
		i, found := slices.BinarySearchFunc(hits, first, func(h search.Hit, b uint64) int {
			switch {
			case h.Block < b:
				return -1
			case h.Block > b:
				return 1
			}
			return 0
		})
		if !found {
			return rare
		}
		return hits[i].Frames | rare
	case query.Ident:
		f := blk.CandidatesHash(s.hash(p.Key))
		if id, ok := record.ParseID(string(p.Key)); ok {
			// Record ids are in no filter: they carry the millisecond of received.
			lo, hi := blk.ReceivedBounds()
			if ms := store.IDMillis(id); ms >= lo/1e6 && ms <= hi/1e6 {
				f = allFrames
			}
		}
		return f
	case query.Time:
		lo, hi := blk.TimeBounds()
		if p.To != 0 && lo >= p.To || p.From != 0 && hi < p.From {
			return 0
		}
		return allFrames
	case query.And:
		f := uint16(allFrames)
		for i := range p.Kids {
			if f &= s.frames(&p.Kids[i], blk, first); f == 0 {
				return 0
			}
		}
		return f
	case query.Or:
		var f uint16
		for i := range p.Kids {
			f |= s.frames(&p.Kids[i], blk, first)
		}
		return f
	}
	return allFrames
}

// hash is the key's hash in the filters of the segment.
func (s *scanner) hash(key []byte) uint64 {
	h, ok := s.hashes[string(key)]
	if !ok {
		h = store.HashIdent(s.key, key)
		s.hashes[string(key)] = h
	}
	return h
}

// rowSet is a set of rows of a block.
type rowSet [store.MaxBlockRows / 64]uint64

func (r *rowSet) set(i int)      { r[i/64] |= 1 << (i % 64) }
func (r *rowSet) has(i int) bool { return r[i/64]&(1<<(i%64)) != 0 }
func (r *rowSet) count() (n int) {
	for _, w := range r {
		n += bits.OnesCount64(w)
	}
	return n
}

// hit is a block with its matching rows.
type hit struct {
	blk   *store.Block
	rows  rowSet
	count int
	dirty bool // some row has something in the overlay
	all   bool // every row of the block matches
}

// match finds the matching rows of a block; nil when there are none.
func (s *scanner) match(data []byte, from, to uint64) (*hit, error) {
	blk, err := s.seg.OpenBlock(data)
	if err != nil {
		return nil, err
	}
	if s.req.Tenant != "" && blk.Tenant() != s.req.Tenant {
		return nil, nil
	}
	if blk.Last() < from || blk.First() >= to {
		return nil, nil
	}
	first := blk.First()
	lo, hi := blk.TimeBounds()
	if p := &s.plan; p.From != 0 && hi < p.From || p.To != 0 && lo >= p.To {
		return nil, nil
	}
	dirty := s.l.overlay.touches(first, blk.Last())
	if !dirty {
		if s.req.From != 0 && hi < s.req.From || s.req.To != 0 && lo >= s.req.To {
			return nil, nil
		}
		if !s.anyKind(blk) {
			return nil, nil
		}
	}
	frames := uint16(allFrames)
	if !dirty {
		if frames = s.frames(&s.plan, blk, first); frames == 0 {
			return nil, nil
		}
	}
	h := &hit{blk: blk, dirty: dirty}
	if s.everything && !dirty && s.onlyKinds(blk) && from <= blk.First() && blk.Last() < to &&
		(s.req.From == 0 || lo >= s.req.From) && (s.req.To == 0 || hi < s.req.To) {
		// Nothing to decide row by row, so nothing to decode.
		for i := range blk.Rows() {
			h.rows.set(i)
		}
		h.count, h.all = blk.Rows(), true
		return h, nil
	}
	if err := s.rows(h, frames, from, to); err != nil {
		return nil, err
	}
	if h.count = h.rows.count(); h.count == 0 {
		return nil, nil
	}
	h.all = h.count == blk.Rows()
	return h, nil
}

func (s *scanner) anyKind(blk *store.Block) bool {
	for k := record.KindRecord; k.Valid(); k++ {
		if blk.HasKind(k) && s.kinds.Has(k) {
			return true
		}
	}
	return false
}

// onlyKinds reports whether every row of the block is of a kind in scope.
func (s *scanner) onlyKinds(blk *store.Block) bool {
	for k := record.KindRecord; k.Valid(); k++ {
		if blk.HasKind(k) && !s.kinds.Has(k) {
			return false
		}
	}
	return true
}

// rows decides row by row: by columns where they suffice, else on the record.
func (s *scanner) rows(h *hit, frames uint16, from, to uint64) error {
	blk := h.blk
	lo, hi := blk.TimeBounds()
	timed := s.req.From != 0 && lo < s.req.From || s.req.To != 0 && hi >= s.req.To
	var seqs []uint64
	var times []int64
	s.cols = columns{s: s, blk: blk}
	if timed || h.dirty || from > blk.First() || to <= blk.Last() || !s.onlyKinds(blk) || !blk.OneKind() {
		var err error
		if seqs, s.cols.kinds, times, _, err = blk.Times(); err != nil {
			return err
		}
	}
	s.blocks.Begin(&s.cols)
	for row := 0; row < blk.Rows(); row++ {
		if frames&(1<<(row/store.FrameRows)) == 0 {
			row |= store.FrameRows - 1
			continue
		}
		if seqs != nil {
			if timed && (s.req.From != 0 && times[row] < s.req.From || s.req.To != 0 && times[row] >= s.req.To) {
				continue
			}
			if !s.kinds.Has(s.cols.kinds[row]) || seqs[row] < from || seqs[row] >= to {
				continue
			}
		}
		s.scanned++
		if h.dirty && s.l.overlay.touches(seqs[row], seqs[row]) {
			if err := s.amended(h, row); err != nil {
				return err
			}
			continue
		}
		switch s.blocks.Row(row) {
		case query.False:
			continue
		case query.True:
			h.rows.set(row)
			continue
		}
		if err := blk.Row(row, &s.rec); err != nil {
			return err
		}
		if s.matcher.Match(&s.rec, nil) {
			h.rows.set(row)
		}
	}
	return errors.Join(s.blocks.Err(), s.cols.err)
}

// amended decides a row that has something in the overlay, on the effective record.
func (s *scanner) amended(h *hit, row int) error {
	if err := h.blk.Row(row, &s.rec); err != nil {
		return err
	}
	if err := h.blk.Row(row, &s.orig); err != nil {
		return err
	}
	s.l.overlay.apply(&s.rec)
	s.l.overlay.applyMasks(&s.orig)
	if s.matcher.Match(&s.rec, &s.orig) {
		h.rows.set(row)
	}
	return nil
}

// errStop ends a walk early.
var errStop = errors.New("stop")

// blocksPerView bounds one snapshot: a long walk reopens it, so that it keeps no
// erased page alive.
const blocksPerView = 64

// walk calls fn for every block with matching rows in [from, to), in seq order
// or against it; rows outside are not in the hit. fn must not keep the hit. A
// segment that is rewritten meanwhile is continued in its new generation.
func (l *Ledger) walk(ctx context.Context, s *scanner, from, to uint64, order Order, fn func(*hit) error) error {
	for from < to {
		if err := ctx.Err(); err != nil {
			return err
		}
		seg := l.segmentFor(from, to, order)
		if seg == nil {
			return nil
		}
		lo, hi := max(from, seg.First), min(to, seg.Next())
		err := s.enter(seg)
		for err == nil && lo < hi {
			if err = ctx.Err(); err == nil {
				lo, hi, err = l.walkView(s, seg, lo, hi, order, fn)
			}
		}
		switch {
		case errors.Is(err, errStop):
			return nil
		case err != nil && !store.Replaced(err):
			return err
		case err != nil:
			time.Sleep(time.Millisecond) // the new one is about to be there
		}
		if order == OldestFirst {
			from = lo
		} else {
			to = hi
		}
	}
	return nil
}

// segmentFor picks the segment to walk next.
func (l *Ledger) segmentFor(from, to uint64, order Order) *store.Segment {
	segs := l.store.Segments()
	if order == OldestFirst {
		for _, g := range segs {
			if g.Next() > from && g.First < to {
				return g
			}
		}
		return nil
	}
	for _, g := range slices.Backward(segs) {
		if g.First < to && g.Next() > from {
			return g
		}
	}
	return nil
}

// walkView walks a part of [lo, hi) in one snapshot and returns what is left.
func (l *Ledger) walkView(s *scanner, seg *store.Segment, lo, hi uint64, order Order, fn func(*hit) error) (uint64, uint64, error) {
	n := 0
	var werr error
	left, right := lo, hi
	if order == OldestFirst {
		left = hi // nothing is left unless the walk stops early
	} else {
		right = lo
	}
	err := seg.View(func(tx *store.Tx) error {
		tx.Blocks(lo, hi, order == NewestFirst, func(first uint64, data []byte) bool {
			if n++; n > blocksPerView {
				if order == OldestFirst {
					left = max(lo, first)
				} else {
					right = s.behind // down to the last block seen
				}
				return false
			}
			s.behind = first
			h, err := s.match(data, lo, hi)
			if errors.Is(err, store.ErrDamaged) {
				// A damaged block does not take the rest down: verify names it.
				l.log.Error("read damaged block", "first", first, "error", err)
				return true
			}
			if h != nil && err == nil {
				err = fn(h)
			}
			werr = err
			return err == nil
		})
		if s.leave != nil {
			if err := s.leave(); err != nil && (werr == nil || errors.Is(werr, errStop)) {
				werr = err
			}
		}
		return nil
	})
	if err != nil {
		return lo, hi, err // no snapshot, nothing walked
	}
	return left, right, werr
}
