package index

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"custody/index/query"
	"custody/index/store"
	"custody/ingest/record"
)

// MaxLimit is the largest page, in records.
const (
	MaxLimit     = 1000
	defaultLimit = 50
)

// Search returns a page of the matching records, effective, in the order of
// (received, seq). A page's cursor stays good while events arrive.
func (l *Ledger) Search(ctx context.Context, req Request) (Page, error) {
	if req.Limit <= 0 {
		req.Limit = defaultLimit
	}
	req.Limit = min(req.Limit, MaxLimit)
	from, to := uint64(0), l.store.Next()
	if req.Cursor != "" {
		seq, err := parseCursor(req.Cursor)
		if err != nil {
			return Page{}, err
		}
		if req.Order == NewestFirst {
			to = min(to, seq)
		} else {
			from = seq + 1
		}
	}
	s, err := l.newScanner(&req)
	if err != nil {
		return Page{}, err
	}
	load := newLoader(l, req.Order, req.Limit+1) // one more tells that there is a next page
	s.leave = load.settle
	if err := l.walk(ctx, s, from, to, req.Order, load.add); err != nil {
		return Page{Scanned: s.scanned}, err
	}
	page := Page{Records: load.rows, Scanned: s.scanned}
	if len(page.Records) > req.Limit {
		page.Records = page.Records[:req.Limit]
		page.Next = formatCursor(page.Records[req.Limit-1])
	}
	return page, nil
}

// Scan calls fn for every matching record, effective, until fn fails.
func (l *Ledger) Scan(ctx context.Context, req Request, fn func(*record.Record) error) error {
	return l.each(ctx, &req, 0, l.store.Next(), func(_ uint64, load Load) error {
		r, err := load()
		if err != nil {
			return err
		}
		return fn(r)
	}, new(int))
}

// Load decodes the record at hand. It is good during the call that it was passed
// to; the record may be kept.
type Load func() (*record.Record, error)

// each calls fn with every matching record of [from, to).
func (l *Ledger) each(ctx context.Context, req *Request, from, to uint64, fn func(seq uint64, load Load) error, scanned *int) error {
	s, err := l.newScanner(req)
	if err != nil {
		return err
	}
	defer func() { *scanned += s.scanned }()
	return l.walk(ctx, s, from, to, req.Order, func(h *hit) error {
		n := h.blk.Rows()
		i := 0
		load := func() (*record.Record, error) {
			r := new(record.Record)
			if err := h.blk.Row(i, r); err != nil {
				return nil, err
			}
			l.overlay.apply(r)
			return r, nil
		}
		for k := range n {
			i = k
			if req.Order == NewestFirst {
				i = n - 1 - k
			}
			if !h.rows.has(i) {
				continue
			}
			seq, err := h.blk.Seq(i)
			if err != nil {
				return err
			}
			if err := fn(seq, load); err != nil {
				return err
			}
		}
		return nil
	})
}

func formatCursor(r *record.Record) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(r.Received))
	binary.BigEndian.PutUint64(b[8:], r.Seq)
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func parseCursor(c string) (seq uint64, err error) {
	b, err := base64.RawURLEncoding.DecodeString(c)
	if err != nil || len(b) != 16 {
		return 0, fmt.Errorf("%w %q", ErrCursor, c)
	}
	return binary.BigEndian.Uint64(b[8:]), nil
}

// parallel runs a scan of everything with one goroutine per worker, each on its
// own part of the seqs, and calls add for every block with matches; add is
// called from several goroutines, worker says which.
func (l *Ledger) parallel(ctx context.Context, req *Request, add func(worker int, h *hit) error) error {
	to := l.store.Next()
	workers := min(l.opts.Workers, 8)
	if to < 8*store.MaxBlockRows {
		workers = 1
	}
	errs := make([]error, workers)
	var wg sync.WaitGroup
	part := to/uint64(workers) + 1
	for w := range workers {
		s, err := l.newScanner(req)
		if err != nil {
			return err
		}
		wg.Go(func() {
			from := uint64(w) * part
			errs[w] = l.walk(ctx, s, from, min(to, from+part), OldestFirst, func(h *hit) error { return add(w, h) })
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Count returns the number of matching records.
func (l *Ledger) Count(ctx context.Context, req Request) (uint64, error) {
	counts := make([]uint64, max(l.opts.Workers, 1))
	err := l.parallel(ctx, &req, func(w int, h *hit) error {
		counts[w] += uint64(h.count)
		return nil
	})
	var n uint64
	for _, c := range counts {
		n += c
	}
	return n, err
}

// tally counts the values of some fields.
type tally struct {
	counts []map[string]uint64
	absent []uint64
}

// Facets counts the values of the fields over the matching records; at most top
// values each are listed.
func (l *Ledger) Facets(ctx context.Context, req Request, fields []record.Path, top int) ([]Facet, error) {
	if top <= 0 {
		top = 10
	}
	tallies := make([]tally, max(l.opts.Workers, 1))
	for i := range tallies {
		tallies[i].absent = make([]uint64, len(fields))
		for range fields {
			tallies[i].counts = append(tallies[i].counts, make(map[string]uint64))
		}
	}
	if err := l.parallel(ctx, &req, func(w int, h *hit) error {
		return l.tally(&tallies[w], fields, h)
	}); err != nil {
		return nil, err
	}
	out := make([]Facet, len(fields))
	for f := range fields {
		all := tallies[0].counts[f]
		absent := tallies[0].absent[f]
		for _, t := range tallies[1:] {
			absent += t.absent[f]
			for v, n := range t.counts[f] {
				all[v] += n
			}
		}
		out[f] = topValues(fields[f], all, absent, top)
	}
	return out, nil
}

func topValues(p record.Path, all map[string]uint64, absent uint64, top int) Facet {
	out := Facet{Field: p, Absent: absent, Values: make([]FacetValue, 0, len(all))}
	for v, n := range all {
		out.Values = append(out.Values, FacetValue{v, n})
	}
	slices.SortFunc(out.Values, func(a, b FacetValue) int {
		if a.Count != b.Count {
			if a.Count > b.Count {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Value, b.Value)
	})
	if len(out.Values) > top {
		for _, v := range out.Values[top:] {
			out.Other += v.Count
		}
		out.Values = out.Values[:top]
	}
	return out
}

// tally adds one block: from the column's counts, its codes, or row by row.
func (l *Ledger) tally(t *tally, fields []record.Path, h *hit) error {
	for f, p := range fields {
		columnar := p.Field < record.NumFields && p.Sub == "" && p.Field.Info().Cardinality == record.Keyword && !h.dirty
		if !columnar {
			if err := l.tallyRows(t, f, p, h); err != nil {
				return err
			}
			continue
		}
		col, err := h.blk.Column(p.Field)
		if err != nil {
			return err
		}
		if col == nil {
			t.absent[f] += uint64(h.count)
			continue
		}
		counts := col.Counts
		if !h.all {
			counts = make([]uint32, len(col.Values))
			for w, word := range h.rows {
				for ; word != 0; word &= word - 1 {
					if c := col.Code(w*64 + bits.TrailingZeros64(word)); c > 0 {
						counts[c-1]++
					}
				}
			}
		}
		var present uint64
		for i, n := range counts {
			if n == 0 {
				continue
			}
			present += uint64(n)
			if !p.Field.IsList() {
				t.counts[f][col.Values[i]] += uint64(n)
				continue
			}
			for _, v := range store.ListValues(col.Values[i], nil) {
				t.counts[f][v] += uint64(n)
			}
		}
		t.absent[f] += uint64(h.count) - present
	}
	return nil
}

func (l *Ledger) tallyRows(t *tally, f int, p record.Path, h *hit) error {
	var r record.Record
	var vals []string
	for i := range h.blk.Rows() {
		if !h.rows.has(i) {
			continue
		}
		if err := h.blk.Row(i, &r); err != nil {
			return err
		}
		l.overlay.apply(&r)
		if p.Field == query.KindField {
			vals = append(vals[:0], r.Kind.String())
		} else {
			vals = r.Values(p, vals[:0])
		}
		if len(vals) == 0 {
			t.absent[f]++
		}
		for _, v := range vals {
			// The map must not keep the row's memory alive.
			t.counts[f][strings.Clone(v)]++
		}
	}
	return nil
}

// Histogram counts the matching records over time in at most buckets bars of
// equal width. Without From or To the bounds are those of the matching data.
func (l *Ledger) Histogram(ctx context.Context, req Request, buckets int) ([]Bucket, error) {
	buckets = max(1, min(buckets, 1000))
	from, to := req.From, req.To
	if from == 0 || to == 0 {
		lo, hi := l.timeBounds(ctx)
		if from == 0 {
			from = lo
		}
		if to == 0 {
			to = hi + 1
		}
	}
	if from >= to {
		return nil, nil
	}
	width := (to - from + int64(buckets) - 1) / int64(buckets)
	n := int((to - from + width - 1) / width)
	parts := make([][]uint64, max(l.opts.Workers, 1))
	for i := range parts {
		parts[i] = make([]uint64, n)
	}
	if err := l.parallel(ctx, &req, func(w int, h *hit) error {
		_, _, times, _, err := h.blk.Times()
		if err != nil {
			return err
		}
		for i, word := range h.rows {
			for ; word != 0; word &= word - 1 {
				t := times[i*64+bits.TrailingZeros64(word)]
				if t >= from && t < to {
					parts[w][(t-from)/width]++
				}
			}
		}
		return nil
	}); err != nil {
		return nil, err
	}
	out := make([]Bucket, n)
	for i := range out {
		out[i] = Bucket{From: from + int64(i)*width, To: min(to, from+int64(i+1)*width)}
		for _, p := range parts {
			out[i].Count += p[i]
		}
	}
	return out, nil
}

// timeBounds are the least and greatest time of all event blocks.
func (l *Ledger) timeBounds(ctx context.Context) (lo, hi int64) {
	lo, hi = math.MaxInt64, math.MinInt64
	for _, seg := range l.store.Segments() {
		if ctx.Err() != nil {
			break
		}
		_ = seg.View(func(tx *store.Tx) error {
			tx.Blocks(0, math.MaxUint64, false, func(_ uint64, data []byte) bool {
				if blk, err := store.OpenBlock(data); err == nil && blk.HasKind(record.KindRecord) {
					a, b := blk.TimeBounds()
					lo, hi = min(lo, a), max(hi, b)
				}
				return true
			})
			return nil
		})
	}
	if lo > hi {
		return 0, 0
	}
	return lo, hi
}

// Get returns one record by its id or seq: effective, as it was sealed, and
// where it stands.
func (l *Ledger) Get(ctx context.Context, id string) (eff, sealed *record.Record, st SealState, err error) {
	var row *record.Record
	if u, ok := record.ParseID(id); ok {
		row, err = l.findID(ctx, u)
	} else {
		seq, perr := strconv.ParseUint(id, 10, 64)
		if perr != nil {
			return nil, nil, st, fmt.Errorf("%w: %q is neither a record id nor a seq", ErrNotFound, id)
		}
		row, err = l.row(seq)
	}
	if err != nil {
		return nil, nil, st, err
	}
	eff, sealed = row, row
	if l.overlay.touches(row.Seq, row.Seq) {
		if eff, err = l.row(row.Seq); err != nil {
			return nil, nil, st, err
		}
		l.overlay.apply(eff)
	}
	st, err = l.sealState(row)
	return eff, sealed, st, err
}

// row reads the sealed row at seq.
func (l *Ledger) row(seq uint64) (*record.Record, error) {
	for {
		seg := l.store.Find(seq)
		if seg == nil || seq >= seg.Next() {
			return nil, fmt.Errorf("%w: seq %d", ErrNotFound, seq)
		}
		var r *record.Record
		err := seg.View(func(tx *store.Tx) error {
			_, data := tx.Containing(seq)
			if data == nil {
				return nil
			}
			blk, err := seg.OpenBlock(data)
			if err != nil {
				return err
			}
			seqs, _, _, _, err := blk.Times()
			if err != nil {
				return err
			}
			i, found := slices.BinarySearch(seqs, seq)
			if !found {
				return nil
			}
			r = new(record.Record)
			return blk.Row(i, r)
		})
		if store.Replaced(err) {
			time.Sleep(time.Millisecond) // the new one is about to be there
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read seq %d: %w", seq, err)
		}
		if r == nil {
			return nil, fmt.Errorf("%w: seq %d", ErrNotFound, seq)
		}
		return r, nil
	}
}

// findID looks an id up by the millisecond that it carries.
func (l *Ledger) findID(ctx context.Context, id [16]byte) (r *record.Record, err error) {
	ms := store.IDMillis(id)
	segs := l.store.Segments()
	for _, seg := range slices.Backward(segs) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		verr := seg.View(func(tx *store.Tx) error {
			tx.Blocks(0, math.MaxUint64, true, func(_ uint64, data []byte) bool {
				blk, oerr := store.OpenBlock(data)
				if oerr != nil {
					return true
				}
				lo, hi := blk.ReceivedBounds()
				if ms < lo/1e6 || ms > hi/1e6 {
					return true
				}
				if blk, oerr = seg.OpenBlock(data); oerr != nil {
					return true
				}
				i, ferr := blk.FindID(id)
				if ferr != nil || i < 0 {
					return true
				}
				r = new(record.Record)
				err = blk.Row(i, r)
				return false
			})
			return nil
		})
		if store.Replaced(verr) {
			time.Sleep(time.Millisecond) // the new one is about to be there
			return l.findID(ctx, id)
		}
		if verr != nil || err != nil || r != nil {
			if err == nil {
				err = verr
			}
			return r, err
		}
	}
	return nil, fmt.Errorf("%w: id %s", ErrNotFound, record.FormatID(id))
}

// Tail calls fn for every matching record from the seq from on, in order: those
// that are there, then each as it becomes durable, until ctx ends or fn fails. A
// record that fn does not load costs next to nothing.
// A from beyond the end is the end. When fn had everything before a seq, Tail
// calls reached with that seq: at least once, and after each stretch.
func (l *Ledger) Tail(ctx context.Context, req Request, from uint64, fn func(seq uint64, load Load) error, reached func(next uint64)) error {
	req.Order = OldestFirst
	from = min(from, l.store.Next())
	for {
		more := l.moreRows()
		to := l.store.Next()
		if to > from {
			if err := l.each(ctx, &req, from, to, fn, new(int)); err != nil {
				return err
			}
			from = to
		}
		reached(from)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-more:
		}
	}
}
