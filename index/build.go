package index

import (
	"math/bits"

	"custody/index/query"
	"custody/index/seal"
	"custody/index/search"
	"custody/index/store"
	"custody/ingest/record"
)

// builder turns a chunk into a sealed, encoded block and its search document.
// Not safe for concurrent use: each build worker has its own.
type builder struct {
	committer *seal.Committer
	enc       *store.Encoder
	encKey    [16]byte
	fast      bool
	scratch   query.Scratch
	terms     termTable
	provs     record.Provenances
}

func newBuilder(fast bool) *builder {
	return &builder{committer: new(seal.Committer), fast: fast}
}

// encoder returns the encoder for the filter key.
func (b *builder) encoder(key [16]byte) (*store.Encoder, error) {
	if b.enc == nil || b.encKey != key {
		enc, err := store.NewEncoder(key, b.fast)
		if err != nil {
			return nil, err
		}
		b.enc, b.encKey = enc, key
	}
	return b.enc, nil
}

// build commits the slots of every row and encodes the block.
func (b *builder) build(c *chunk, key [16]byte) error {
	c.leaves = make([]seal.Entry, len(c.rows))
	for i, r := range c.rows {
		b.provs.Freeze(r)
		seed := seal.RowSeed(&c.keys[i/store.FrameRows], i%store.FrameRows)
		if err := b.committer.Commit(r, &seed, &c.leaves[i]); err != nil {
			return err
		}
	}
	salts := make([]store.SaltRun, len(c.keys))
	for i := range salts {
		n := min(store.FrameRows, len(c.rows)-i*store.FrameRows)
		salts[i] = store.SaltRun{Kind: store.SaltKey, Rows: uint32(n), Bytes: c.keys[i][:]}
	}
	var err error
	c.data, c.doc, err = b.encode(c.tenant, c.rows, salts, key, len(c.rows) >= docRows)
	return err
}

// maxIdents is up to where rare words go to a block's filter, so that there is one.
const maxIdents = 48 << 10

// encode makes the block of the rows and, if wanted, its document.
func (b *builder) encode(tenant string, rows []*record.Record, salts []store.SaltRun, key [16]byte, wantDoc bool) ([]byte, *search.Doc, error) {
	enc, err := b.encoder(key)
	if err != nil {
		return nil, nil, err
	}
	b.collect(enc, rows, wantDoc)
	// Half the words of a block stand in one of its frames only. In the filter
	// they take a few bytes and next to no time, in the search index a posting.
	if enc.Idents()+b.terms.single() <= maxIdents {
		b.terms.move(func(key []byte, frame int) { enc.AddIdent(key, frame*store.FrameRows) })
	}
	data, err := enc.Encode(nil, tenant, rows, salts)
	if err != nil {
		return nil, nil, err
	}
	if !wantDoc {
		return data, nil, nil
	}
	return data, b.document(rows[0].Seq, len(rows)), nil
}

// collect states the terms and identifiers of the rows to the term table and the
// encoder: keyword values once each, everything else row by row.
func (b *builder) collect(enc *store.Encoder, rows []*record.Record, wantDoc bool) {
	enc.Gather(rows)
	var frames uint16
	term := func(k []byte) {
		if wantDoc {
			b.terms.add(k, frames)
		}
	}
	ident := func(k []byte) {
		for f := frames; f != 0; f &= f - 1 {
			enc.AddIdent(k, bits.TrailingZeros16(f)*store.FrameRows)
		}
	}
	enc.EachKeyword(func(f record.Field, v string, in uint16) {
		frames = in
		query.ValueTerms(f, v, &b.scratch, term, ident)
	})
	for i, r := range rows {
		frames = 1 << (i / store.FrameRows)
		query.RowTerms(r, &b.scratch, term, ident)
	}
}

// document takes the collected terms.
func (b *builder) document(first uint64, rows int) *search.Doc {
	return &search.Doc{Block: first, Rows: uint32(rows), Terms: b.terms.take()}
}

// documentOf makes the document of a stored block.
func (b *builder) documentOf(blk *store.Block) (*search.Doc, error) {
	rows, _, err := readAll(blk, nil, nil)
	if err != nil {
		return nil, err
	}
	enc, err := b.encoder(b.encKey)
	if err != nil {
		return nil, err
	}
	b.collect(enc, rows, true)
	enc.Forget()
	return b.document(blk.First(), blk.Rows()), nil
}

// buildLoop is one build worker.
func (l *Ledger) buildLoop() {
	b := newBuilder(true)
	for w := range l.unbuilt {
		if err := b.build(w.chunk, w.group.key); err != nil {
			w.group.failed.Store(&err)
		}
		if w.group.left.Add(-1) == 0 {
			close(w.group.done)
		}
	}
}
