package index

import (
	"errors"
	"fmt"
	"math"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"custody/index/search"
	"custody/index/store"
	"custody/ingest/record"
)

// groupsPerCommit bounds one transaction.
const groupsPerCommit = 8

// commitLoop is the writer: the only goroutine that changes the store's active segment.
func (l *Ledger) commitLoop() {
	defer close(l.toSeal)
	defer close(l.toIndex)
	var held *group
	for {
		g := held
		held = nil
		if g == nil {
			var ok bool
			if g, ok = <-l.built; !ok {
				return
			}
		}
		<-g.done
		groups := append(make([]*group, 0, groupsPerCommit), g)
	more:
		for len(groups) < groupsPerCommit {
			select {
			case h, ok := <-l.built:
				if !ok {
					break more
				}
				select {
				case <-h.done:
				default:
					held = h
					break more
				}
				if h.roll {
					held = h
					break more
				}
				groups = append(groups, h)
			default:
				break more
			}
		}
		l.commit(groups)
	}
}

// commit makes the groups durable; it does not return before they are, unless
// the ledger is stopping.
func (l *Ledger) commit(groups []*group) {
	// Behind a group that was given up none may follow: its cursors would lie
	// behind lines that are not there, and its seqs above a hole.
	if l.broken == nil {
		l.broken = l.write(groups)
	}
	err := l.broken
	for _, g := range groups {
		for _, j := range g.jobs {
			l.finish(j, err)
		}
		<-l.slots
	}
	if err != nil {
		return
	}
	var events uint64
	for _, g := range groups {
		events += g.events
		for _, c := range g.chunks {
			l.toSeal <- leaves{c.first, c.leaves}
			l.tail.rows += len(c.leaves)
			l.tail.blocks = append(l.tail.blocks, tailBlock{first: c.first, rows: len(c.leaves), tenant: c.tenant, doc: c.doc})
		}
	}
	l.durable.Add(events)
	l.wakeReaders()
	l.settleTail()
}

// finish answers a job and returns its memory.
func (l *Ledger) finish(j *job, err error) {
	if j.own != nil {
		j.own(j.rows[0], err)
	}
	for _, r := range j.linked {
		if err != nil {
			break
		}
		if aerr := l.applyRow(r); aerr != nil {
			l.log.Error("apply amendment", "seq", r.Seq, "error", aerr)
		}
	}
	clear(j.linked)
	j.linked = j.linked[:0]
	if j.batch != nil && j.batch.Done != nil {
		j.batch.Done(err)
	}
	l.queue.give(j.size)
	j.batch, j.own = nil, nil
	if len(j.rows) <= 4096 { // a rare giant is left to the collector
		l.jobs.Put(j)
	}
}

// write commits the groups' blocks and cursors in one transaction.
func (l *Ledger) write(groups []*group) error {
	c := &store.Commit{Next: groups[len(groups)-1].next}
	for _, g := range groups {
		if p := g.failed.Load(); p != nil {
			return *p
		}
		for _, ch := range g.chunks {
			c.Blocks = append(c.Blocks, store.NewBlock{First: ch.first, Data: ch.data})
		}
		for _, j := range g.jobs {
			if j.batch != nil {
				c.Cursors = append(c.Cursors, j.batch.Cursors...)
			}
		}
		c.Events += g.events
	}
	if len(c.Blocks) == 0 && len(c.Cursors) == 0 {
		return nil // a tick that had nothing to state
	}
	if groups[0].roll {
		if err := l.durably(func() error { return l.roll(groups[0].key) }); err != nil {
			return err
		}
	}
	return l.durably(func() error {
		if l.store.Next() >= c.Next && c.Next > groups[0].chunksFirst() {
			return nil // the failed try before this one did reach the disk
		}
		return l.store.Commit(c)
	})
}

// chunksFirst is the first seq of the group.
func (g *group) chunksFirst() uint64 {
	if len(g.chunks) == 0 {
		return g.next
	}
	return g.chunks[0].first
}

// durably runs act until it succeeds. After a failure the store is reopened, as
// only what is read back from the disk is true; then act is tried again. While
// it waits the ledger is in fault and takes nothing in: back-pressure does the rest.
func (l *Ledger) durably(act func() error) error {
	wait := 50 * time.Millisecond
	reopen := false
	for {
		err := l.room()
		if err == nil && reopen {
			if err = l.store.Reopen(); err == nil {
				reopen = false
			} else {
				l.log.Error("commit failed", "error", err)
			}
		}
		if err == nil {
			if err = act(); err == nil {
				l.setFault(nil)
				return nil
			}
			reopen = true
			l.log.Error("commit failed", "error", err)
		}
		l.setFault(err)
		select {
		case <-time.After(wait):
			wait = min(2*wait, 2*time.Second)
		case <-l.abort:
			return fmt.Errorf("stopping while the store is in fault: %w", err)
		}
	}
}

// room reports ErrNoSpace when the disk has less free than the reserve.
func (l *Ledger) room() error {
	now := l.clock()
	if !l.roomUntil.Before(now) {
		return nil
	}
	var st unix.Statfs_t
	if unix.Statfs(l.opts.Dir, &st) != nil {
		st.Bavail = math.MaxInt64 // not all file systems tell; a full one shows itself at the commit
		st.Bsize = 1
	}
	free := st.Bavail * uint64(st.Bsize)
	l.free.Store(free)
	if free < uint64(l.opts.Reserve) {
		return fmt.Errorf("%w: %d MiB free, the reserve is %d MiB", ErrNoSpace, free>>20, l.opts.Reserve>>20)
	}
	l.roomUntil = now.Add(time.Second)
	return nil
}

func (l *Ledger) setFault(err error) {
	text := ""
	if err != nil {
		text = err.Error()
		if errors.Is(err, syscall.ENOSPC) {
			text = ErrNoSpace.Error() + ": " + text
		}
	}
	if old := l.fault.Swap(&text); old != nil && *old != "" && text == "" {
		l.log.Info("store works again")
	}
}

// roll begins a new segment and its search index.
func (l *Ledger) roll(key [16]byte) error {
	if a := l.store.Active(); a.FilterKey() == key {
		return nil // the failed try before this one did reach the disk
	}
	l.closeTail()
	if err := l.store.Roll(l.clock().UnixNano(), key); err != nil {
		return err
	}
	l.wakePacker()
	return nil
}

// tailBlock is a durable block that has no search document yet.
type tailBlock struct {
	first  uint64
	rows   int
	tenant string
	doc    *search.Doc
}

// tail is what the search index does not cover; the writer's own.
type tail struct {
	blocks []tailBlock
	rows   int
}

const (
	tailRows   = 1024 // from here the tail is closed into documents
	tailBlocks = 48   // from here small blocks are merged, so that scanning the tail stays cheap
)

// settleTail closes the tail, or merges its small blocks, when it is long enough.
func (l *Ledger) settleTail() {
	switch {
	case l.tail.rows >= tailRows:
		l.closeTail()
	case len(l.tail.blocks) >= tailBlocks:
		l.mergeTail()
	}
}

// closeTail hands all blocks of the tail to the indexer.
func (l *Ledger) closeTail() {
	if len(l.tail.blocks) == 0 {
		return
	}
	l.mergeTail()
	seg := l.store.Active()
	it := indexItem{segment: seg.ID, from: l.tail.blocks[0].first, watermark: seg.Next()}
	for i := range l.tail.blocks {
		t := &l.tail.blocks[i]
		if t.doc == nil {
			doc, err := l.documentAt(seg, t.first)
			if err != nil {
				l.log.Error("index block", "first", t.first, "error", err)
				it.docs = nil // the indexer reads the rest from the store
				break
			}
			t.doc = doc
		}
		it.docs = append(it.docs, *t.doc)
	}
	l.tail = tail{}
	l.toIndex <- it
}

func (l *Ledger) documentAt(seg *store.Segment, first uint64) (doc *search.Doc, err error) {
	err = seg.View(func(tx *store.Tx) error {
		blk, err := seg.ReadBlock(tx.Block(first))
		if err != nil {
			return err
		}
		doc, err = l.merger.documentOf(blk)
		return err
	})
	return doc, err
}

// mergeTail rewrites runs of small blocks of one tenant into one block each.
func (l *Ledger) mergeTail() {
	var out []tailBlock
	c := &store.Commit{}
	for i := 0; i < len(l.tail.blocks); {
		n, rows := 1, l.tail.blocks[i].rows
		for i+n < len(l.tail.blocks) {
			b := l.tail.blocks[i+n]
			if b.tenant != l.tail.blocks[i].tenant || rows+b.rows > store.MaxBlockRows {
				break
			}
			rows += b.rows
			n++
		}
		run := l.tail.blocks[i : i+n]
		i += n
		if n == 1 {
			out = append(out, run[0])
			continue
		}
		data, doc, err := l.mergeBlocks(run)
		if err != nil {
			l.log.Error("merge blocks", "first", run[0].first, "error", err)
			out = append(out, run...)
			continue
		}
		for _, b := range run[1:] {
			c.Drop = append(c.Drop, b.first)
		}
		c.Blocks = append(c.Blocks, store.NewBlock{First: run[0].first, Data: data})
		out = append(out, tailBlock{first: run[0].first, rows: rows, tenant: run[0].tenant, doc: doc})
	}
	if len(c.Blocks) == 0 {
		return
	}
	if err := l.durably(func() error { return l.store.Commit(c) }); err != nil {
		return // stopping; the small blocks are as good
	}
	l.tail.blocks = out
}

// mergeBlocks encodes the rows of several stored blocks as one.
func (l *Ledger) mergeBlocks(run []tailBlock) (data []byte, doc *search.Doc, err error) {
	seg := l.store.Active()
	var rows []*record.Record
	var salts []store.SaltRun
	err = seg.View(func(tx *store.Tx) error {
		for _, t := range run {
			blk, err := seg.ReadBlock(tx.Block(t.first))
			if err != nil {
				return err
			}
			if rows, salts, err = readAll(blk, rows, salts); err != nil {
				return err
			}
		}
		data, doc, err = l.merger.encode(run[0].tenant, rows, salts, seg.FilterKey(), len(rows) >= docRows)
		return err
	})
	return data, doc, err
}

// readAll appends all rows of a block and their secrets.
func readAll(blk *store.Block, rows []*record.Record, salts []store.SaltRun) ([]*record.Record, []store.SaltRun, error) {
	for i := range blk.Rows() {
		r := new(record.Record)
		if err := blk.Row(i, r); err != nil {
			return nil, nil, err
		}
		rows = append(rows, r)
	}
	s, err := blk.Salts()
	if err != nil {
		return nil, nil, err
	}
	return rows, append(salts, s...), nil
}
