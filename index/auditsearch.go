package index

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"custody/index/query"
	"custody/index/store"
	"custody/index/verify"
	"custody/ingest/record"
)

// Records can be hidden from searches without touching a row, by altering what
// searches rely on to pass over blocks (CVE-2023-31437). So all of that is derived anew
// from the sealed rows, by code of its own that shares nothing with what builds
// it but the definition of the terms, and compared.
//
// What is missing there hides rows and is a problem; what is there in excess costs
// time and is a note, but for counts, which must be exact.

// Memory of a batch: the search index is asked for the terms of many blocks at once.
const (
	batchBlocks = 256
	batchPairs  = 1 << 20 // (term, block) pairs, about 16 bytes each beside the terms themselves
)

// searchAudit derives and compares. Not safe for concurrent use.
type searchAudit struct {
	a   *audit
	rep *verify.Report

	seg     *store.Segment
	covered uint64              // the index's watermark when the segment was entered
	indexed map[uint64]struct{} // its documents then
	blocks  []auditBlock        // the batch
	terms   map[string][]pair   // its terms
	pairs   int
	derived uint64 // (term, block) pairs of the segment, in blocks that have a document

	rec     record.Record
	scratch query.Scratch
	seen    map[fieldValue]uint16
	mine    map[string]uint16 // terms of one block
	columns map[record.Field]map[string]uint32
}

// fieldValue is a value of a keyword field.
type fieldValue struct {
	field record.Field
	value string
}

type auditBlock struct{ first, last uint64 }

// pair says that the block of the batch has a term in the frames.
type pair struct {
	block  uint16
	frames uint16
	filter uint16 // frames for which the block's filter has the term
}

func newSearchAudit(a *audit, rep *verify.Report) *searchAudit {
	return &searchAudit{
		a: a, rep: rep, terms: make(map[string][]pair), seen: make(map[fieldValue]uint16),
		mine: make(map[string]uint16), columns: make(map[record.Field]map[string]uint32),
	}
}

func (s *searchAudit) run(ctx context.Context) error {
	to := ^uint64(0)
	if s.a.o.To != 0 {
		to = s.a.o.To
	}
	behind := s.a.o.From
	err := eachBlock(ctx, s.a.st, s.a.o.From, to, func(seg *store.Segment, key uint64, data []byte, start uint64) (uint64, error) {
		if s.seg == nil || s.seg.ID != seg.ID {
			if err := s.leave(); err != nil {
				return 0, err
			}
			if err := s.enter(seg); err != nil {
				return 0, err
			}
		}
		if key < behind { // the first block of a snapshot, seen before
			return start, nil
		}
		behind = key + 1
		if p := s.a.o.Progress; p != nil {
			p("search", key, s.a.st.Next())
		}
		blk, err := seg.ReadBlock(data)
		if err == nil {
			err = blk.Verify()
		}
		if err == nil {
			err = s.block(blk)
		}
		if errors.Is(err, store.ErrDamaged) {
			return key + 1, nil // reported with the rows
		}
		if err != nil {
			return 0, err
		}
		if len(s.blocks) < batchBlocks && s.pairs < batchPairs {
			return blk.Last() + 1, nil
		}
		return blk.Last() + 1, s.flush()
	})
	if err != nil {
		return err
	}
	return s.leave()
}

func (s *searchAudit) lie(b auditBlock, format string, args ...any) {
	s.rep.Add(verify.Problem{From: b.first, To: b.last, Where: segmentName(s.seg), What: fmt.Sprintf(format, args...), Advice: verify.AdviceIndex})
}

func (s *searchAudit) note(b auditBlock, format string, args ...any) {
	s.rep.Note(verify.Problem{From: b.first, To: b.last, Where: segmentName(s.seg), What: fmt.Sprintf(format, args...)})
}

// block derives all about one block, compares what stands in the block itself,
// and keeps the terms for the index.
func (s *searchAudit) block(blk *store.Block) error {
	if blk.Rows() == 0 {
		return nil
	}
	s.rep.Blocks++
	at := auditBlock{blk.First(), blk.Last()}
	key := s.seg.FilterKey()
	clear(s.seen)
	clear(s.mine)
	for _, c := range s.columns {
		clear(c)
	}
	var h header
	wrong := make(map[string]struct{}) // each kind of lie once a block
	miss := func(what string) { wrong[what] = struct{}{} }
	var row int
	bit := uint16(1)
	term := func(k []byte) { s.mine[string(k)] |= bit }
	ident := func(k []byte) {
		if blk.Candidates(key, k)&bit == 0 {
			miss("the identifier filter leaves out identifiers of its rows")
		}
	}
	value := func(f record.Field, v, _ string) bool {
		keyword := f == record.Absence || f.Info().Cardinality == record.Keyword
		if !keyword {
			return true // of RowTerms
		}
		if have := s.seen[fieldValue{f, v}]; have&bit == 0 {
			s.seen[fieldValue{f, v}] = have | bit
			query.ValueTerms(f, v, &s.scratch, term, ident)
		}
		return true
	}
	for row = range blk.Rows() {
		r := &s.rec
		if err := blk.Row(row, r); err != nil {
			return err
		}
		bit = 1 << (row / store.FrameRows)
		h.add(r, row == 0)
		if r.Get(record.ContextTenant) != blk.Tenant() {
			miss("rows of another tenant than the header says")
		}
		query.RowTerms(r, &s.scratch, term, ident)
		r.Scalars(value)
		r.Lists(value)
		if abs := r.AbsenceJSON(); abs != "" {
			value(record.Absence, abs, "")
		}
		if err := s.row(blk, row, r, miss); err != nil {
			return err
		}
	}
	h.compare(blk, miss, func(what string) { s.note(at, "%s", what) })
	if err := s.counts(blk, miss); err != nil {
		return err
	}
	for _, what := range slices.Sorted(maps.Keys(wrong)) {
		s.lie(at, "%s", what)
	}
	s.keep(at, blk, key)
	return nil
}

// row compares the keyword columns of one row with the row, and counts its values.
func (s *searchAudit) row(blk *store.Block, i int, r *record.Record, miss func(string)) error {
	var err error
	check := func(f record.Field, want func(column string) bool) {
		col, cerr := blk.Column(f)
		if cerr != nil {
			err = cerr
			return
		}
		have := col.Value(i)
		if !want(have) {
			miss("column " + f.String() + " says something else than the rows")
			return
		}
		if s.columns[f] == nil {
			s.columns[f] = make(map[string]uint32)
		}
		s.columns[f][have]++
	}
	r.Scalars(func(f record.Field, v, _ string) bool {
		if f.Info().Cardinality == record.Keyword {
			check(f, func(have string) bool { return have == v })
		}
		return err == nil
	})
	seen := make([]record.Field, 0, 4)
	r.Lists(func(f record.Field, _, _ string) bool {
		if f.Info().Cardinality == record.Keyword && !slices.Contains(seen, f) {
			seen = append(seen, f)
			var buf [8]string
			check(f, func(have string) bool { return slices.Equal(store.ListValues(have, buf[:0]), r.List(f)) })
		}
		return err == nil
	})
	return err
}

// counts compares the dictionaries with what the rows have.
func (s *searchAudit) counts(blk *store.Block, miss func(string)) error {
	for f := range record.NumFields {
		if f.Info().Cardinality != record.Keyword {
			continue
		}
		col, err := blk.Column(f)
		if err != nil {
			return err
		}
		want := s.columns[f]
		bad := col == nil && len(want) > 0
		if col != nil {
			var sum uint32
			for i, v := range col.Values {
				sum += col.Counts[i]
				bad = bad || want[v] != col.Counts[i] || slices.Contains(col.Values[:i], v)
			}
			var have uint32
			for _, n := range want {
				have += n
			}
			bad = bad || sum != have
		}
		if bad {
			miss("the dictionary of " + f.String() + " does not count the values of its rows")
		}
	}
	return nil
}

// header is what a block header must say of its rows.
type header struct {
	recvMin, recvMax, timeMin, timeMax int64
	kinds                              uint32
}

func (h *header) add(r *record.Record, first bool) {
	if first {
		h.recvMin, h.recvMax, h.timeMin, h.timeMax = r.Received, r.Received, r.Time, r.Time
	}
	h.recvMin, h.recvMax = min(h.recvMin, r.Received), max(h.recvMax, r.Received)
	h.timeMin, h.timeMax = min(h.timeMin, r.Time), max(h.timeMax, r.Time)
	h.kinds |= 1 << r.Kind
}

func (h *header) compare(blk *store.Block, miss, note func(string)) {
	bounds := func(name string, lo, hi, wantLo, wantHi int64) {
		switch {
		case lo > wantLo || hi < wantHi:
			miss("the header's bounds of " + name + " leave rows out")
		case lo < wantLo || hi > wantHi:
			note("the header's bounds of " + name + " are wider than its rows")
		}
	}
	lo, hi := blk.TimeBounds()
	bounds("time", lo, hi, h.timeMin, h.timeMax)
	lo, hi = blk.ReceivedBounds()
	bounds("received", lo, hi, h.recvMin, h.recvMax)
	for k := record.KindRecord; k.Valid(); k++ {
		switch there := h.kinds&(1<<k) != 0; {
		case there && !blk.HasKind(k):
			miss("the header does not name kind " + k.String() + " of its rows")
		case !there && blk.HasKind(k):
			note("the header names kind " + k.String() + " that none of its rows is of")
		}
	}
}
