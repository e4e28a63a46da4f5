package index

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"custody/index/query"
	"custody/index/seal"
	"custody/index/search"
	"custody/index/store"
	"custody/ingest/record"
)

// Packing, redaction and expiry are one act: read a closed segment, write the
// rows that stay, densely and under the present overlay, into its next
// generation with a fresh search index, and swap that in by one rename.

// rowSalt is the secret of one row.
type rowSalt struct {
	kind  store.SaltKind
	key   string // SaltKey: the frame's key
	index uint32
	bytes []byte // seed or residue
}

func splitSalts(runs []store.SaltRun) []rowSalt {
	var out []rowSalt
	for _, s := range runs {
		for i := range s.Rows {
			r := rowSalt{kind: s.Kind, bytes: s.Bytes}
			if s.Kind == store.SaltKey {
				r.key, r.index, r.bytes = string(s.Bytes), s.First+i, nil
			}
			out = append(out, r)
		}
	}
	return out
}

// joinSalts groups rows back into runs; rows under a tainted key keep only their seeds.
func joinSalts(rows []rowSalt, tainted map[string]bool) []store.SaltRun {
	var out []store.SaltRun
	for _, r := range rows {
		if r.kind == store.SaltKey && tainted[r.key] {
			key := seal.FrameKey([]byte(r.key))
			seed := seal.RowSeed(&key, int(r.index))
			r = rowSalt{kind: store.SaltSeed, bytes: seed[:]}
		}
		if n := len(out); n > 0 && r.kind == store.SaltKey && out[n-1].Kind == store.SaltKey &&
			string(out[n-1].Bytes) == r.key && out[n-1].First+out[n-1].Rows == r.index {
			out[n-1].Rows++
			continue
		}
		run := store.SaltRun{Kind: r.kind, Rows: 1, Bytes: r.bytes}
		if r.kind == store.SaltKey {
			run.First, run.Bytes = r.index, []byte(r.key)
		}
		out = append(out, run)
	}
	return out
}

// seedOf derives the row's seed; ok is false for a redacted row.
func (s *rowSalt) seed() (seed seal.Seed, ok bool) {
	switch s.kind {
	case store.SaltKey:
		key := seal.FrameKey([]byte(s.key))
		return seal.RowSeed(&key, int(s.index)), true
	case store.SaltSeed:
		return seal.Seed(s.bytes), true
	}
	return seed, false
}

// rewriter carries one rewrite of a segment.
type rewriter struct {
	l         *Ledger
	seg       *store.Segment
	w         *store.Rewriter
	b         *builder
	committer *seal.Committer
	drop      func(*record.Record) bool // rows to expire; nil keeps all
	masked    map[uint64][]mask         // as they stood when the rewrite began
	tainted   map[string]bool
	idx       *search.Index
	docs      []search.Doc
	tenant    string
	rows      []*record.Record
	salts     []rowSalt
	kept      int
	dropped   []uint64
}

// rewrite writes the next generation of a closed segment. It returns the seqs of
// the rows that drop chose. A segment of which nothing is left is unlinked.
func (l *Ledger) rewrite(ctx context.Context, seg *store.Segment, drop func(*record.Record) bool) (dropped []uint64, err error) {
	if l.sealedSize() < seg.Next() {
		return nil, fmt.Errorf("rewrite segment %d: not all of it is sealed yet", seg.ID)
	}
	masked := l.overlay.snapshot(seg.First, seg.Next())
	w, err := l.store.Rewrite(seg.ID)
	if err != nil {
		return nil, err
	}
	r := &rewriter{l: l, seg: seg, w: w, b: newBuilder(false), committer: new(seal.Committer), drop: drop, masked: masked, tainted: make(map[string]bool)}
	tmp := w.SearchDir() + ".tmp"
	defer func() {
		if r.idx != nil {
			err = errors.Join(err, r.idx.Close())
		}
		err = errors.Join(err, os.RemoveAll(tmp))
	}()
	abort := func(err error) ([]uint64, error) {
		w.Abort()
		return nil, fmt.Errorf("rewrite segment %d: %w", seg.ID, err)
	}
	if err := os.RemoveAll(tmp); err != nil {
		return abort(err)
	}
	if r.idx, err = search.Create(tmp, search.Options{Start: seg.First}); err != nil {
		return abort(err)
	}
	if drop != nil || len(masked) > 0 {
		if err := r.eachBlock(ctx, r.taint); err != nil {
			return abort(err)
		}
	}
	if err := r.eachBlock(ctx, r.copyBlock); err != nil {
		return abort(err)
	}
	if err := r.put(); err != nil {
		return abort(err)
	}
	if r.kept == 0 {
		w.Abort()
		if err := l.forgetIndex(seg.ID); err != nil {
			l.log.Error("close search index", "segment", seg.ID, "error", err)
		}
		l.overlay.drop(r.dropped)
		return r.dropped, l.store.Drop(seg.ID)
	}
	if err := r.addDocs(seg.Next()); err != nil {
		return abort(err)
	}
	if err := r.idx.Pack(w.SearchDir()); err != nil {
		return abort(err)
	}
	// The old index must be closed before its folder goes; till the new one is
	// open the blocks are scanned.
	if err := l.indexOf(seg.ID).set(nil, seg.Generation+1); err != nil {
		l.log.Error("close search index", "segment", seg.ID, "error", err)
	}
	if err := w.Swap(); err != nil {
		l.reopenIndex(seg.ID)
		return nil, err
	}
	l.overlay.forget(masked)
	l.overlay.drop(r.dropped)
	next := l.segment(seg.ID)
	idx, err := search.OpenReadOnly(next.SearchDir())
	if err != nil {
		l.log.Error("open packed search index", "segment", seg.ID, "error", err)
		idx = nil
	}
	return r.dropped, l.indexOf(seg.ID).set(idx, next.Generation)
}

// eachBlock calls fn for every block, in snapshots of bounded length.
func (r *rewriter) eachBlock(ctx context.Context, fn func(*store.Block) error) error {
	from := r.seg.First
	for done := false; !done; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := 0
		var err error
		verr := r.seg.View(func(tx *store.Tx) error {
			done = true
			tx.Blocks(from, ^uint64(0), false, func(first uint64, data []byte) bool {
				if first < from {
					return true
				}
				if n++; n > 64 {
					done = false
					return false
				}
				var blk *store.Block
				if blk, err = store.OpenBlock(data); err == nil {
					if err = blk.Verify(); err == nil {
						err = fn(blk)
					}
				}
				from = first + 1
				return err == nil
			})
			return nil
		})
		if err = errors.Join(err, verr); err != nil {
			return err
		}
	}
	return nil
}

// fate says what happens to a row.
func (r *rewriter) fate(row *record.Record) (drop bool, masks []mask) {
	if r.drop != nil {
		eff := row
		if r.l.overlay.touches(row.Seq, row.Seq) {
			if c, err := r.l.row(row.Seq); err == nil {
				r.l.overlay.apply(c)
				eff = c
			}
		}
		if r.drop(eff) {
			return true, nil
		}
	}
	return false, r.masked[row.Seq]
}

// taint collects the frame keys of rows that change: the key would give their salts away.
func (r *rewriter) taint(blk *store.Block) error {
	runs, err := blk.Salts()
	if err != nil {
		return err
	}
	salts := splitSalts(runs)
	var row record.Record
	for i := range blk.Rows() {
		if salts[i].kind != store.SaltKey || r.tainted[salts[i].key] {
			continue
		}
		if err := blk.Row(i, &row); err != nil {
			return err
		}
		if drop, masks := r.fate(&row); drop || len(masks) > 0 {
			r.tainted[salts[i].key] = true
		}
	}
	return nil
}

// collect gathers the rows that drop chooses, and changes nothing.
func (r *rewriter) collect(blk *store.Block) error {
	var row record.Record
	for i := range blk.Rows() {
		if err := blk.Row(i, &row); err != nil {
			return err
		}
		if drop, _ := r.fate(&row); drop {
			r.dropped = append(r.dropped, row.Seq)
		}
	}
	return nil
}

func (r *rewriter) copyBlock(blk *store.Block) error {
	runs, err := blk.Salts()
	if err != nil {
		return err
	}
	if blk.Tenant() != r.tenant {
		if err := r.put(); err != nil {
			return err
		}
		r.tenant = blk.Tenant()
	}
	for i, salt := range splitSalts(runs) {
		row := new(record.Record)
		if err := blk.Row(i, row); err != nil {
			return err
		}
		drop, masks := r.fate(row)
		if drop {
			r.dropped = append(r.dropped, row.Seq)
			continue
		}
		if len(masks) > 0 {
			if salt, err = r.redact(row, salt, masks); err != nil {
				return err
			}
		}
		salt.bytes = append([]byte(nil), salt.bytes...)
		r.rows = append(r.rows, row)
		r.salts = append(r.salts, salt)
		if len(r.rows) == store.MaxBlockRows {
			if err := r.put(); err != nil {
				return err
			}
		}
	}
	return nil
}

// redact removes the masked fields of a row and replaces its seed by what may
// still be known of its salts.
func (r *rewriter) redact(row *record.Record, salt rowSalt, masks []mask) (rowSalt, error) {
	var residue *seal.Residue
	var err error
	if seed, ok := salt.seed(); ok {
		residue, err = r.committer.NewResidue(row, &seed)
	} else {
		residue, err = seal.ParseResidue(salt.bytes)
	}
	if err != nil {
		return salt, fmt.Errorf("redact seq %d: %w", row.Seq, err)
	}
	before, err := r.l.row(row.Seq)
	if err != nil {
		return salt, err
	}
	var fields []record.Field
	for _, m := range masks {
		fields = append(fields, m.fields...)
	}
	units := redactRow(row, fields)
	if err := residue.Withhold(r.committer, before, units...); err != nil {
		return salt, fmt.Errorf("redact seq %d: %w", row.Seq, err)
	}
	residue.KeepAbsence(before)
	var want, got seal.Entry
	if seed, ok := salt.seed(); ok {
		if err := r.committer.Commit(before, &seed, &want); err != nil {
			return salt, err
		}
		if err := r.committer.CommitPartial(row, residue, &got); err != nil {
			return salt, fmt.Errorf("redact seq %d: %w", row.Seq, err)
		}
		if want != got {
			return salt, fmt.Errorf("redact seq %d: the sealed entry would change", row.Seq)
		}
	}
	b, err := residue.AppendBinary(nil)
	return rowSalt{kind: store.SaltResidue, bytes: b}, err
}

// put writes the gathered rows as one block.
func (r *rewriter) put() error {
	if len(r.rows) == 0 {
		return nil
	}
	data, doc, err := r.b.encode(r.tenant, r.rows, joinSalts(r.salts, r.tainted), r.w.FilterKey(), true)
	if err != nil {
		return err
	}
	if err := r.w.Put(r.rows[0].Seq, data); err != nil {
		return err
	}
	r.kept += len(r.rows)
	next := r.rows[len(r.rows)-1].Seq + 1
	r.rows, r.salts = r.rows[:0], r.salts[:0]
	if r.docs = append(r.docs, *doc); len(r.docs) < 16 {
		return nil
	}
	return r.addDocs(next)
}

func (r *rewriter) addDocs(next uint64) error {
	err := r.idx.Add(r.docs, next)
	r.docs = r.docs[:0]
	return err
}

// erase rewrites every segment that has masked rows, the active one included
// (it is closed for that), and states it when all are erased from live files.
func (l *Ledger) erase(ctx context.Context) error {
	l.maintenance.Lock()
	defer l.maintenance.Unlock()
	if l.overlay.hasMasks(l.store.Active().First) {
		if err := l.closeActive(ctx); err != nil {
			return err
		}
	}
	for _, seg := range l.store.Segments() {
		if seg == l.store.Active() || !l.overlay.masksIn(seg.First, seg.Next()) {
			continue
		}
		if _, err := l.rewrite(ctx, seg, nil); err != nil {
			return err
		}
	}
	_, err := l.State(ctx, record.KindLifecycle, func(r *record.Record) {
		r.Add(record.Attributes, "event=erased", "")
	})
	return err
}

// closeActive makes the writer begin a new segment and waits until the old one is sealed.
func (l *Ledger) closeActive(ctx context.Context) error {
	l.rollSoon.Store(true)
	if _, err := l.State(ctx, record.KindLifecycle, func(r *record.Record) {
		r.Add(record.Attributes, "event=segment", "")
	}); err != nil {
		return err
	}
	first := l.store.Active().First
	for l.sealedSize() < first {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

// Expiry erases records that have outlived their retention class.
type Expiry struct {
	Class  string
	Policy string       // the rule in its own words, for the certificate
	Query  *query.Query // which records belong to the class
	Before int64        // received before, Unix nanoseconds
}

// Certificate states an expiry.
type Certificate struct {
	Seq     uint64 // of the sealed expiry row; 0 when nothing expired
	Records int
	Bytes   int64 // freed on disk
}

// Expire erases every sealed record of the class that was received before the
// bound, physically, and seals a certificate of disposal. Of what custody states
// itself only heartbeats and gaps of that age go with them.
func (l *Ledger) Expire(ctx context.Context, x Expiry) (Certificate, error) {
	l.maintenance.Lock()
	defer l.maintenance.Unlock()
	var cert Certificate
	if a := l.store.Active(); a.Next() > a.First && l.oldestReceived(a) < x.Before {
		if err := l.closeActive(ctx); err != nil {
			return cert, err
		}
	}
	m := x.Query.NewMatcher()
	drop := func(r *record.Record) bool {
		switch r.Kind {
		case record.KindRecord, record.KindSummary:
			return r.Received < x.Before && m.Match(r, nil)
		case record.KindHeartbeat, record.KindGap:
			return r.Received < x.Before
		}
		return false
	}
	for _, seg := range l.store.Segments() {
		if seg == l.store.Active() || l.oldestReceived(seg) >= x.Before {
			continue
		}
		// The certificate comes first: a crash behind it leaves rows that the next
		// run erases, never rows that are gone without a word.
		r := &rewriter{l: l, seg: seg, drop: drop}
		if err := r.eachBlock(ctx, r.collect); err != nil {
			return cert, err
		}
		gone := r.dropped
		if len(gone) == 0 {
			continue
		}
		size := seg.Size()
		var err error
		if cert.Seq, err = l.State(ctx, record.KindExpiry, func(r *record.Record) {
			for _, s := range seqRanges(gone) {
				r.Add(record.About, s, "")
			}
			r.Add(record.Attributes, fmt.Sprintf("count=%d", len(gone)), "")
			r.Add(record.Attributes, "class="+x.Class, "")
			r.Set(record.DecisionPolicyID, x.Class, "")
			r.Set(record.DecisionReason, x.Policy, "")
		}); err != nil {
			return cert, err
		}
		named := make(map[uint64]bool, len(gone))
		for _, seq := range gone {
			named[seq] = true
		}
		// Exactly what the certificate names, whatever has matched since.
		if _, err := l.rewrite(ctx, seg, func(r *record.Record) bool { return named[r.Seq] }); err != nil {
			return cert, err
		}
		cert.Records += len(gone)
		cert.Bytes += size
		if next := l.segment(seg.ID); next != nil {
			cert.Bytes -= next.Size()
		}
	}
	return cert, nil
}

// oldestReceived is the least received of a segment.
func (l *Ledger) oldestReceived(seg *store.Segment) int64 {
	oldest := int64(1<<63 - 1)
	_ = seg.View(func(tx *store.Tx) error {
		tx.Blocks(0, ^uint64(0), false, func(_ uint64, data []byte) bool {
			if blk, err := store.OpenBlock(data); err == nil {
				lo, _ := blk.ReceivedBounds()
				oldest = min(oldest, lo)
			}
			return false // blocks are in the order of received
		})
		return nil
	})
	return oldest
}

// reopenIndex opens a segment's index again after a swap that failed.
func (l *Ledger) reopenIndex(id uint64) {
	seg := l.segment(id)
	if seg == nil {
		return
	}
	idx, err := openIndex(seg)
	if err == nil {
		err = l.indexOf(id).set(idx, seg.Generation)
	}
	if err != nil {
		l.log.Error("open search index", "segment", id, "error", err)
	}
}

// maintain packs segments that are closed and sealed, oldest first.
func (l *Ledger) maintain(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		if l.overlay.hasMasks(0) { // an erasure that a stop or a fault interrupted
			if err := l.erase(ctx); err != nil && ctx.Err() == nil {
				l.log.Error("erase what was redacted", "error", err)
			}
		}
		for _, seg := range l.store.Segments() {
			if ctx.Err() != nil {
				return
			}
			if seg == l.store.Active() || seg.Generation > 0 || l.sealedSize() < seg.Next() {
				continue
			}
			l.maintenance.Lock()
			_, err := l.rewrite(ctx, seg, nil)
			l.maintenance.Unlock()
			if err != nil && ctx.Err() == nil {
				l.log.Error("pack segment", "segment", seg.ID, "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-l.packing:
		}
	}
}

// wakePacker tells maintain that a segment was closed.
func (l *Ledger) wakePacker() {
	select {
	case l.packing <- struct{}{}:
	default:
	}
}
