package index

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"custody/index/seal"
	"custody/index/store"
	"custody/ingest/record"
)

// leaves are the entries of one block, in seq order.
type leaves struct {
	first   uint64
	entries []seal.Entry
}

func (l *Ledger) logDir() string  { return filepath.Join(l.opts.Dir, "log") }
func (l *Ledger) keyPath() string { return filepath.Join(l.opts.Dir, "keys", "signing") }

// createLog makes the signing key and the empty log. It returns the first checkpoint.
func (l *Ledger) createLog(origin string) (checkpoint []byte, err error) {
	key, err := seal.GenerateKey(origin)
	if err != nil {
		return nil, err
	}
	if err := os.RemoveAll(l.keyPath()); err != nil {
		return nil, err
	}
	if err := seal.SaveKey(l.keyPath(), key); err != nil {
		return nil, err
	}
	_, err = seal.Create(l.logDir(), origin, func(_ uint64, cp []byte) error {
		checkpoint = cp
		return nil
	}, key)
	return checkpoint, err
}

// openLog opens the log at the catalogue's checkpoint and seals what a crash
// left unsealed. A published checkpoint that is newer than the catalogue's means
// that the data folder was rolled back: it refuses.
func (l *Ledger) openLog() error {
	key, err := seal.LoadKey(l.keyPath())
	if err != nil {
		return err
	}
	l.vkey = key.VKey()
	checkpoint, err := l.cat.Get("checkpoint", "latest")
	if err != nil {
		return err
	}
	log, err := seal.Open(l.logDir(), l.origin, checkpoint, l.storeCheckpoint, key)
	if err != nil {
		return err
	}
	l.sealer.Store(log)
	if size, next := log.Size(), l.store.Next(); size > next {
		return fmt.Errorf("the log holds %d entries, the store %d rows: rows are missing", size, next)
	}
	return l.sealMissing(log)
}

// storeCheckpoint is the compare-and-swap of the newest checkpoint.
func (l *Ledger) storeCheckpoint(prevSize uint64, checkpoint []byte) error {
	have, err := l.cat.Get("checkpoint", "latest")
	if err != nil {
		return err
	}
	if len(have) > 0 {
		c, err := seal.ParseCheckpoint(have)
		if err != nil {
			return err
		}
		if c.Size != prevSize {
			return fmt.Errorf("store checkpoint: the catalogue is at size %d, not %d", c.Size, prevSize)
		}
	}
	return l.cat.Put("checkpoint", "latest", checkpoint)
}

// sealMissing seals durable rows from size on: their entries are derived again
// from the stored rows and their secrets.
func (l *Ledger) sealMissing(log *seal.Log) error {
	c := new(seal.Committer)
	size := log.Size()
	for _, seg := range l.store.Segments() {
		if seg.Next() <= size {
			continue
		}
		err := seg.View(func(tx *store.Tx) error {
			var err error
			tx.Blocks(max(size, seg.First), ^uint64(0), false, func(_ uint64, data []byte) bool {
				var blk *store.Block
				if blk, err = seg.ReadBlock(data); err == nil {
					var entries []seal.Entry
					if entries, err = entriesOf(c, blk, log.Size()); err == nil && len(entries) > 0 {
						err = log.AppendEntries(entries)
					}
				}
				return err == nil
			})
			return err
		})
		if err != nil {
			return fmt.Errorf("seal what was left unsealed: %w", err)
		}
	}
	if log.Size() == size {
		return nil
	}
	_, err := log.Sync()
	return err
}

// entriesOf derives the entries of a block's rows from seq from on.
func entriesOf(c *seal.Committer, blk *store.Block, from uint64) ([]seal.Entry, error) {
	runs, err := blk.Salts()
	if err != nil {
		return nil, err
	}
	var out []seal.Entry
	var r record.Record
	for i, salt := range splitSalts(runs) {
		seq, err := blk.Seq(i)
		if err != nil {
			return nil, err
		}
		if seq < from {
			continue
		}
		if err := blk.Row(i, &r); err != nil {
			return nil, err
		}
		if seq != from+uint64(len(out)) {
			return nil, fmt.Errorf("row %d is missing before it was sealed", from+uint64(len(out)))
		}
		var e seal.Entry
		if err := commitRow(c, &r, &salt, &e); err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

// commitRow computes a stored row's entry.
func commitRow(c *seal.Committer, r *record.Record, salt *rowSalt, e *seal.Entry) error {
	if seed, ok := salt.seed(); ok {
		return c.Commit(r, &seed, e)
	}
	residue, err := seal.ParseResidue(salt.bytes)
	if err != nil {
		return fmt.Errorf("seq %d: %w", r.Seq, err)
	}
	return c.CommitPartial(r, residue, e)
}

// sealLoop appends durable entries to the log and publishes checkpoints: the
// first change after a pause at once, then at most one each interval. When the
// disk fails it, it opens the log again at the catalogue's checkpoint and derives
// what is missing from the stored rows.
func (l *Ledger) sealLoop() {
	var last time.Time
	var due <-chan time.Time
	log := l.sealer.Load()
	failed := false
	try := func(act func() error) {
		err := act()
		if err == nil {
			if failed {
				l.log.Info("sealing works again")
				l.setSealFault(nil)
			}
			failed = false
			return
		}
		failed = true
		l.log.Error("seal", "error", err)
		l.setSealFault(err)
		due = time.After(time.Second)
	}
	sync := func() error {
		if failed {
			if err := l.openLog(); err != nil {
				return err
			}
			log = l.sealer.Load()
		}
		if _, err := log.Sync(); err != nil {
			return err
		}
		last = l.clock()
		l.countSealed(log.Checkpoint().Size)
		return nil
	}
	for {
		select {
		case v, ok := <-l.toSeal:
			if !ok {
				due = nil
				try(sync)
				return
			}
			l.unsealed.add(v)
			if failed {
				continue // it will be derived again
			}
			if size := log.Size(); v.first < size {
				if v.first+uint64(len(v.entries)) <= size {
					continue // sealed when the log was opened again
				}
				v.entries = v.entries[size-v.first:]
			}
			try(func() error {
				if v.first > log.Size() {
					return fmt.Errorf("entries from %d on do not follow %d", v.first, log.Size())
				}
				return log.AppendEntries(v.entries)
			})
			if due == nil {
				due = time.After(max(0, l.opts.CheckpointInterval-l.clock().Sub(last)))
			}
		case <-due:
			due = nil
			try(sync)
		}
	}
}

// eventMarks remember how many events stand below the ends of unsealed blocks.
type eventMarks struct {
	ends   []uint64
	events []uint64
}

func (m *eventMarks) add(v leaves) {
	var n uint64
	for i := range v.entries {
		if v.entries[i].Kind == record.KindRecord {
			n++
		}
	}
	m.ends = append(m.ends, v.first+uint64(len(v.entries)))
	m.events = append(m.events, n)
}

// countSealed adds the events of the blocks that lie below size.
func (l *Ledger) countSealed(size uint64) {
	m := &l.unsealed
	i := 0
	for i < len(m.ends) && m.ends[i] <= size {
		l.sealed.Add(m.events[i])
		i++
	}
	m.ends, m.events = m.ends[i:], m.events[i:]
}

func (l *Ledger) setSealFault(err error) {
	text := ""
	if err != nil {
		text = "sealing: " + err.Error()
	}
	l.sealFault.Store(&text)
}

// sealedSize is the size of the newest published checkpoint.
func (l *Ledger) sealedSize() uint64 { return l.sealer.Load().Checkpoint().Size }

func (l *Ledger) sealState(r *record.Record) (SealState, error) {
	st := SealState{Durable: true, Searchable: true, TreeSize: l.sealedSize()}
	if st.Sealed = r.Seq < st.TreeSize; !st.Sealed {
		return st, nil
	}
	b, err := l.sealer.Load().Reader().Entry(r.Seq)
	if err != nil {
		return st, fmt.Errorf("read entry %d: %w", r.Seq, err)
	}
	e, err := seal.ParseEntry(b)
	if err != nil {
		return st, fmt.Errorf("read entry %d: %w", r.Seq, err)
	}
	st.EntryHash = e.LeafHash()
	return st, nil
}

func (l *Ledger) logState(st *Status) {
	c := l.sealer.Load().Checkpoint()
	st.TreeSize, st.Root = c.Size, c.Root
	if fi, err := os.Stat(filepath.Join(l.logDir(), "checkpoint")); err == nil {
		st.LastSealed = fi.ModTime()
	}
}

// Checkpoint returns the newest published checkpoint, a signed note.
func (l *Ledger) Checkpoint() ([]byte, error) { return l.sealer.Load().Signed(), nil }

// VKey is the public key that verifies the checkpoints.
func (l *Ledger) VKey() string { return l.vkey }

// ReadLog returns a file of the log by its C2SP tlog-tiles path.
func (l *Ledger) ReadLog(path string) ([]byte, error) { return l.sealer.Load().Reader().ReadTile(path) }

// ExportLog writes the log to dst with every tile, so that stock tools verify it.
func (l *Ledger) ExportLog(ctx context.Context, dst string) error {
	log := l.sealer.Load()
	return seal.Export(ctx, log.Reader(), log.Signed(), dst)
}
