// Package store keeps rows in immutable segments of bbolt files, and the small
// changing state in a catalogue.
//
// A commit writes the blocks of a batch and the source cursors in one
// transaction: after a crash either both are there or neither. Opening after a
// crash and after a clean stop is the same code. A segment is never changed once
// a newer one exists; it is rewritten as a whole under a new generation and
// swapped in by one rename, which is also how rows are physically erased.
// After a failed commit the store must be reopened ([Store.Reopen]); a failed
// fsync is never repeated, because the kernel may have dropped the pages.
package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"custody/ingest"
)

// Options of a store. The zero value is useful.
type Options struct {
	// ReadOnly opens every file with a shared lock and changes nothing.
	ReadOnly bool
	// OpenFile opens the database files; nil is os.OpenFile. Tests inject faults here.
	OpenFile func(name string, flag int, perm os.FileMode) (*os.File, error)

	dicts *dictionaries
}

// dictionaries of the segments of one store.
func (o *Options) dictionaries() *dictionaries {
	if o.dicts == nil {
		o.dicts = new(dictionaries)
	}
	return o.dicts
}

// Store is a folder of segments. Commit, Roll, Replace, Drop and Reopen are for
// the one writer; everything else is safe for concurrent use.
type Store struct {
	dir  string
	opts Options

	mu       sync.RWMutex
	segments []*Segment // ascending; the last is written to
	old      []*Segment // replaced or dropped, and not known to be closed
}

// Create makes an empty store in dir, whose first seq will be first. created is Unix nanoseconds.
func Create(dir string, first uint64, created int64, opts Options) (*Store, error) {
	s := &Store{dir: dir, opts: opts}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create store: %w", err)
	}
	if ids, err := segmentIDs(dir); err != nil || len(ids) > 0 {
		return nil, errors.Join(fmt.Errorf("create store in %s: there is one already", dir), err)
	}
	if err := s.add(1, 0, first, created, newKey(), nil); err != nil {
		return nil, err
	}
	return s, nil
}

// Open opens the store in dir. Left-overs of interrupted acts are removed.
func Open(dir string, opts Options) (*Store, error) {
	ids, err := segmentIDs(dir)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("open store in %s: no segments", dir)
	}
	s := &Store{dir: dir, opts: opts}
	for i, id := range ids {
		seg, err := openSegment(s.segmentDir(id), id, opts.ReadOnly || i < len(ids)-1, &s.opts)
		if err != nil {
			_ = s.Close()
			return nil, err
		}
		s.segments = append(s.segments, seg)
	}
	if !opts.ReadOnly {
		// A killed process may have renamed and not synced: what is built on what is
		// seen here must not outlive it.
		for _, seg := range s.segments {
			err = errors.Join(err, syncDir(seg.dir))
		}
		if err := errors.Join(err, syncDir(s.dir)); err != nil {
			_ = s.Close()
			return nil, fmt.Errorf("open store: %w", err)
		}
		if err := s.sweep(); err != nil {
			_ = s.Close()
			return nil, err
		}
	}
	return s, nil
}

func segmentIDs(dir string) ([]uint64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var ids []uint64
	for _, e := range entries {
		if id, err := strconv.ParseUint(e.Name(), 10, 64); err == nil && e.IsDir() {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

func (s *Store) segmentDir(id uint64) string {
	return filepath.Join(s.dir, strconv.FormatUint(id, 10))
}

// sweep removes temporary folders and search indexes of other generations.
func (s *Store) sweep() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("sweep store: %w", err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".tmp") || strings.HasSuffix(e.Name(), ".gone") {
			if err := os.RemoveAll(filepath.Join(s.dir, e.Name())); err != nil {
				return fmt.Errorf("sweep store: %w", err)
			}
		}
	}
	for _, seg := range s.segments {
		if err := sweepSegment(seg); err != nil {
			return err
		}
	}
	return nil
}

func sweepSegment(seg *Segment) error {
	entries, err := os.ReadDir(seg.dir)
	if err != nil {
		return fmt.Errorf("sweep segment %d: %w", seg.ID, err)
	}
	keep := filepath.Base(seg.SearchDir())
	for _, e := range entries {
		if n := e.Name(); n != recordsFile && n != keep {
			if err := os.RemoveAll(filepath.Join(seg.dir, n)); err != nil {
				return fmt.Errorf("sweep segment %d: %w", seg.ID, err)
			}
		}
	}
	return nil
}

// add makes segment id by temp, fsync, rename and fsync of the folder, and opens it for writing.
func (s *Store) add(id, previous, first uint64, created int64, key [16]byte, cursors []ingest.Cursor) error {
	tmp := s.segmentDir(id) + ".tmp"
	// What stands there is the left-over of a failed try: nothing was committed to it.
	if err := errors.Join(os.RemoveAll(tmp), os.RemoveAll(s.segmentDir(id))); err != nil {
		return fmt.Errorf("add segment %d: %w", id, err)
	}
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return fmt.Errorf("add segment %d: %w", id, err)
	}
	m := segmentMeta{id: id, previous: previous, first: first, next: first, created: created, cursors: cursors, filterKey: key}
	db, err := initSegment(filepath.Join(tmp, recordsFile), m, &s.opts)
	if err != nil {
		return err
	}
	if err := db.Close(); err != nil {
		return fmt.Errorf("add segment %d: %w", id, err)
	}
	if err := syncDir(tmp); err != nil {
		return fmt.Errorf("add segment %d: %w", id, err)
	}
	if err := os.Rename(tmp, s.segmentDir(id)); err != nil {
		return fmt.Errorf("add segment %d: %w", id, err)
	}
	if err := syncDir(s.dir); err != nil {
		return fmt.Errorf("add segment %d: %w", id, err)
	}
	seg, err := openSegment(s.segmentDir(id), id, false, &s.opts)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.segments = append(s.segments, seg)
	s.mu.Unlock()
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = f.Sync()
	return errors.Join(err, f.Close())
}

// Close closes all files once their readers are done.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, seg := range s.segments {
		seg.retire()
	}
	for _, g := range s.old {
		g.unwatch()
	}
	s.segments, s.old = nil, nil
	return nil
}

// Segments returns the segments in ascending order. A reader that finds one
// replaced (Replaced) asks again.
func (s *Store) Segments() []*Segment {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.segments)
}

// Active is the segment that is written to.
func (s *Store) Active() *Segment {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.segments) == 0 {
		return nil
	}
	return s.segments[len(s.segments)-1]
}

// Next is the seq that the next row gets.
func (s *Store) Next() uint64 {
	a := s.Active()
	if a == nil {
		return 0
	}
	return a.Next()
}

// NewBlock is an encoded block to commit.
type NewBlock struct {
	First uint64
	Data  []byte
}

// Commit is one transaction on the active segment.
type Commit struct {
	Blocks  []NewBlock
	Drop    []uint64 // first seqs of blocks that Blocks replace
	Next    uint64   // seq behind the last row; 0 leaves it
	Events  uint64   // rows of kind record that the blocks add
	Cursors []ingest.Cursor
}

// Commit makes c durable. After an error the state on disk is unknown: Reopen.
func (s *Store) Commit(c *Commit) error {
	a := s.Active()
	if len(c.Blocks) > 0 && c.Next != 0 && c.Blocks[0].First != a.Next() {
		return fmt.Errorf("commit to segment %d: seq %d does not follow %d", a.ID, c.Blocks[0].First, a.Next())
	}
	err := a.db.Update(func(tx *bolt.Tx) error {
		blocks := tx.Bucket(bucketBlocks)
		blocks.FillPercent = 0.99
		for _, first := range c.Drop {
			if err := blocks.Delete(putUint(first)); err != nil {
				return err
			}
		}
		for _, b := range c.Blocks {
			if err := blocks.Put(putUint(b.First), b.Data); err != nil {
				return err
			}
		}
		if c.Next != 0 {
			m := tx.Bucket(bucketMeta)
			if err := m.Put(keyNext, putUint(c.Next)); err != nil {
				return err
			}
			if err := m.Put(keyEvents, putUint(a.Events()+c.Events)); err != nil {
				return err
			}
		}
		cur := tx.Bucket(bucketCursors)
		for _, u := range c.Cursors {
			var err error
			if u.Value == nil {
				err = cur.Delete([]byte(u.Key))
			} else {
				err = cur.Put([]byte(u.Key), u.Value)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("commit to segment %d: %w", a.ID, err)
	}
	if c.Next != 0 {
		a.next.Store(c.Next)
		a.events.Add(c.Events)
	}
	return nil
}

// Reopen closes and opens the active segment: what is on disk is the truth. It
// fails while a reader still holds the old file; call it again then.
func (s *Store) Reopen() error {
	a := s.Active()
	a.retire()
	if a.refs.Load() > 0 {
		return fmt.Errorf("reopen segment %d: readers are not done with it", a.ID)
	}
	seg, err := openSegment(a.dir, a.ID, false, &s.opts)
	if err != nil {
		return err // the closed one stays in place, and a later Reopen tries again
	}
	s.mu.Lock()
	s.segments[len(s.segments)-1] = seg
	s.mu.Unlock()
	return nil
}

func newKey() (k [16]byte) {
	_, _ = rand.Read(k[:]) // never fails (crypto/rand)
	return k
}

// Roll begins a new segment, whose filters are keyed with key. It carries the full cursor table.
func (s *Store) Roll(created int64, key [16]byte) error {
	a := s.Active()
	var cursors []ingest.Cursor
	if err := s.EachCursor("", func(k string, v []byte) error {
		cursors = append(cursors, ingest.Cursor{Key: k, Value: bytes.Clone(v)})
		return nil
	}); err != nil {
		return err
	}
	return s.add(a.ID+1, a.ID, a.Next(), created, key, cursors)
}

// Cursor returns a copy of a committed cursor, nil when there is none. While the
// active segment is being reopened it waits: no answer is not "no cursor".
func (s *Store) Cursor(key string) []byte {
	for {
		var v []byte
		a := s.Active()
		if a == nil {
			return nil // closed
		}
		err := a.View(func(t *Tx) error {
			v = t.Cursor(key)
			return nil
		})
		if !Replaced(err) {
			return v
		}
		time.Sleep(time.Millisecond)
	}
}

// EachCursor calls fn for every committed cursor with the prefix, in key order.
func (s *Store) EachCursor(prefix string, fn func(key string, value []byte) error) error {
	return s.Active().View(func(t *Tx) error {
		c := t.tx.Bucket(bucketCursors).Cursor()
		for k, v := c.Seek([]byte(prefix)); k != nil && bytes.HasPrefix(k, []byte(prefix)); k, v = c.Next() {
			if err := fn(string(k), v); err != nil {
				return err
			}
		}
		return nil
	})
}

// Find returns the segment that may hold seq, nil if there is none.
func (s *Store) Find(seq uint64) *Segment {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, seg := range slices.Backward(s.segments) {
		if seg.First <= seq {
			return seg
		}
	}
	return nil
}

// Drop unlinks a closed segment as a whole. Its bytes are gone when Settle says so.
func (s *Store) Drop(id uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.segments, func(g *Segment) bool { return g.ID == id })
	if i < 0 || i == len(s.segments)-1 {
		return fmt.Errorf("drop segment %d: not a closed segment", id)
	}
	seg := s.segments[i]
	gone := seg.goneDir()
	if err := seg.watch(); err != nil {
		return fmt.Errorf("drop segment %d: %w", id, err)
	}
	if err := os.Rename(seg.dir, gone); err != nil {
		return fmt.Errorf("drop segment %d: %w", id, err)
	}
	s.segments = slices.Delete(s.segments, i, i+1)
	s.old = append(s.old, seg)
	seg.retire()
	if err := syncDir(s.dir); err != nil {
		return fmt.Errorf("drop segment %d: %w", id, err)
	}
	if err := os.RemoveAll(gone); err != nil {
		return fmt.Errorf("drop segment %d: %w", id, err)
	}
	return syncDir(s.dir)
}

func (s *Segment) goneDir() string { return s.dir + ".gone" }

// Settle waits until every generation that was replaced or dropped before the
// call is closed, by the readers of this process and by others that verify the
// folder beside it: until then an open file keeps the erased bytes alive. It then
// removes what is left of them and makes that durable.
func (s *Store) Settle(ctx context.Context) error {
	return s.settle(func(g *Segment) error {
		select {
		case <-g.closed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		for !g.unread() {
			select {
			case <-time.After(20 * time.Millisecond): // a lock of another process tells nobody when it goes
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	})
}

// errHeld: a generation that somebody reads.
var errHeld = errors.New("held by a reader")

// Tidy is Settle for what is closed already; it waits for nobody.
func (s *Store) Tidy() error {
	return s.settle(func(g *Segment) error {
		select {
		case <-g.closed:
			if g.unread() {
				return nil
			}
		default:
		}
		return errHeld
	})
}

func (s *Store) settle(closed func(*Segment) error) error {
	s.mu.RLock()
	old := slices.Clone(s.old)
	s.mu.RUnlock()
	for _, g := range old {
		err := closed(g)
		if errors.Is(err, errHeld) {
			continue
		}
		if err == nil {
			err = s.remove(g)
		}
		if err != nil {
			return fmt.Errorf("erase generation %d of segment %d: %w", g.Generation, g.ID, err)
		}
		s.mu.Lock()
		g.unwatch()
		s.old = slices.DeleteFunc(s.old, func(o *Segment) bool { return o == g })
		s.mu.Unlock()
	}
	return nil
}

// searchLock is the file of a search index that its readers hold a shared lock on.
const searchLock = "root.bolt"

// watch keeps a handle of the files that readers in other processes lock, before
// these lose their names. A second call, after a swap that failed, keeps the first.
func (s *Segment) watch() error {
	if len(s.watched) > 0 {
		return nil
	}
	for _, path := range []string{filepath.Join(s.dir, recordsFile), filepath.Join(s.SearchDir(), searchLock)} {
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		s.watched = append(s.watched, f)
	}
	return nil
}

// unread reports whether no process holds a lock on the watched files.
func (s *Segment) unread() bool {
	for _, f := range s.watched {
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
			return false
		}
	}
	return true
}

func (s *Segment) unwatch() {
	for _, f := range s.watched {
		_ = f.Close() // was only watched
	}
	s.watched = nil
}

// remove removes what is left of a closed generation, durably.
func (s *Store) remove(g *Segment) error {
	if g.closeErr != nil {
		return g.closeErr // the file may be mapped still; a restart ends that
	}
	for _, left := range []string{g.SearchDir(), g.goneDir()} {
		if err := os.RemoveAll(left); err != nil {
			return err
		}
	}
	if err := syncDir(g.dir); err != nil && !errors.Is(err, fs.ErrNotExist) { // dropped
		return err
	}
	return syncDir(s.dir)
}

// Size is the number of bytes of all files under the store.
func (s *Store) Size() int64 {
	var n int64
	_ = filepath.WalkDir(s.dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if fi, err := d.Info(); err == nil {
				n += fi.Size()
			}
		}
		return nil // files come and go while it walks
	})
	return n
}

// Check runs bbolt's own consistency check and the block checksums of a segment.
// It calls report with the range of seqs that a fault touches.
func (s *Segment) Check(report func(from, to uint64, err error)) error {
	return s.View(func(t *Tx) error {
		for err := range t.tx.Check() {
			report(s.First, s.Next(), err)
		}
		var last uint64
		c := t.blocks.Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			if len(k) != 8 {
				report(s.First, s.Next(), damaged("block key"))
				continue
			}
			first := binary.BigEndian.Uint64(k)
			b, err := OpenBlock(v)
			if err == nil {
				err = b.Verify()
			}
			if err == nil && (b.first != first || first < last || first < s.First) {
				err = damaged("block out of place")
			}
			if err != nil {
				report(first, first+MaxBlockRows, err)
				continue
			}
			if err := b.loadTimes(); err != nil {
				report(first, first+uint64(b.rows), err)
				continue
			}
			last = b.seq(b.rows-1) + 1
			if last > s.Next() {
				report(first, last, damaged("rows behind the end of the segment"))
			}
		}
		return nil
	})
}
