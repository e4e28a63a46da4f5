package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"custody/ingest"
)

// Buckets of a segment's records.db.
var (
	bucketMeta    = []byte("meta")
	bucketBlocks  = []byte("blocks")
	bucketCursors = []byte("cursors")

	keyFormat     = []byte("format")
	keyPrevious   = []byte("previous")
	keyFirst      = []byte("first")
	keyNext       = []byte("next")
	keyFilter     = []byte("filter_key")
	keyGeneration = []byte("generation")
	keyCreated    = []byte("created")
	keyEvents     = []byte("events")
)

const (
	segmentFormat = 1
	recordsFile   = "records.db"
)

// ErrLocked: another process has the store open.
var ErrLocked = errors.New("store is open in another process")

// Segment is a run of consecutive seqs in a file of its own. All methods are
// safe for concurrent use; only the newest segment of a store is written to.
type Segment struct {
	ID         uint64
	First      uint64 // seq of the first row it may hold
	Created    int64  // Unix nanoseconds
	Generation uint64 // how often it was rewritten
	Packed     bool   // opened read-only
	dir        string
	key        [16]byte
	db         *bolt.DB
	next       atomic.Uint64 // seq behind the last row
	events     atomic.Uint64
	refs       atomic.Int64 // 1 of the store, 1 per reader
	retired    atomic.Bool  // the store's reference is given up: no new readers
	closed     chan struct{}
	closeErr   error      // of the file; set before closed is closed
	watched    []*os.File // of a replaced generation: see watch
	whole      sync.Map   // first seq → checksum of blocks that were checked
	dicts      *dictionaries
}

// FilterKey is the key of the segment's identifier filters.
func (s *Segment) FilterKey() [16]byte { return s.key }

// Next is the seq behind the last row.
func (s *Segment) Next() uint64 { return s.next.Load() }

// Events is the number of rows of kind record that were committed to it.
func (s *Segment) Events() uint64 { return s.events.Load() }

// SearchDir is the folder of the search index that belongs to this generation.
func (s *Segment) SearchDir() string {
	return filepath.Join(s.dir, "search."+strconv.FormatUint(s.Generation, 10))
}

// Size is the length of its file in bytes.
func (s *Segment) Size() int64 {
	fi, err := os.Stat(filepath.Join(s.dir, recordsFile))
	if err != nil {
		return 0
	}
	return fi.Size()
}

// OpenBlock is OpenBlock of one of the segment's blocks, with its checksum: bytes
// that rotted on the disk must never be shown as what was received. A block that
// was found whole is not checked again while the segment stays open.
func (s *Segment) OpenBlock(data []byte) (*Block, error) {
	b, err := s.ReadBlock(data)
	if err != nil {
		return nil, err
	}
	sum := binary.LittleEndian.Uint32(data[len(data)-4:])
	if have, ok := s.whole.Load(b.first); ok && have == sum {
		return b, nil
	}
	if err := b.Verify(); err != nil {
		return nil, err
	}
	s.whole.Store(b.first, sum)
	return b, nil
}

// ReadBlock is OpenBlock without the check of the checksum.
func (s *Segment) ReadBlock(data []byte) (*Block, error) {
	b, err := OpenBlock(data)
	if err != nil {
		return nil, err
	}
	b.seg = s
	return b, nil
}

// acquire takes a reference; false when the segment was closed already.
func (s *Segment) acquire() bool {
	if s.retired.Load() {
		return false
	}
	for {
		n := s.refs.Load()
		if n <= 0 {
			return false
		}
		if s.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release drops a reference; the last one closes the file.
func (s *Segment) release() {
	if s.refs.Add(-1) == 0 {
		s.dicts.forget(s)
		s.closeErr = s.db.Close()
		close(s.closed)
	}
}

// retire gives up the store's reference: who reads goes on, nobody begins.
func (s *Segment) retire() {
	if s.retired.CompareAndSwap(false, true) {
		s.release()
	}
}

func boltOptions(readOnly bool, openFile func(string, int, os.FileMode) (*os.File, error)) *bolt.Options {
	return &bolt.Options{
		Timeout:        200 * time.Millisecond,
		ReadOnly:       readOnly,
		FreelistType:   bolt.FreelistMapType,
		NoFreelistSync: true,
		OpenFile:       openFile,
		// A large map keeps readers from stalling the writer when the file grows.
		InitialMmapSize: initialMap(readOnly),
	}
}

func initialMap(readOnly bool) int {
	if readOnly {
		return 0
	}
	return 1 << 30
}

func openSegment(dir string, id uint64, readOnly bool, o *Options) (*Segment, error) {
	for {
		s, again, err := tryOpenSegment(dir, id, readOnly, o)
		if !again {
			return s, err
		}
	}
}

// tryOpenSegment opens the segment; again is true when another process replaced
// the file between its opening and its locking: whoever waits for the readers of
// the old one did not see this one.
func tryOpenSegment(dir string, id uint64, readOnly bool, o *Options) (_ *Segment, again bool, err error) {
	path := filepath.Join(dir, recordsFile)
	// bbolt makes what it does not find; opening must not create.
	before, err := os.Stat(path)
	if err != nil {
		return nil, false, fmt.Errorf("open segment %d: %w", id, err)
	}
	s, err := loadSegment(dir, id, readOnly, o)
	if err != nil {
		return nil, false, err
	}
	after, err := os.Stat(path)
	if err != nil || !os.SameFile(before, after) {
		err = errors.Join(err, s.db.Close())
	} else {
		return s, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("open segment %d: %w", id, err)
	}
	return nil, true, nil
}

func loadSegment(dir string, id uint64, readOnly bool, o *Options) (*Segment, error) {
	db, err := bolt.Open(filepath.Join(dir, recordsFile), 0o600, boltOptions(readOnly, o.OpenFile))
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fmt.Errorf("open segment %d: %w", id, ErrLocked)
	}
	if err != nil {
		return nil, fmt.Errorf("open segment %d: %w", id, err)
	}
	s := &Segment{ID: id, dir: dir, db: db, dicts: o.dictionaries(), Packed: readOnly, closed: make(chan struct{})}
	s.refs.Store(1)
	err = db.View(func(tx *bolt.Tx) error {
		m := tx.Bucket(bucketMeta)
		if m == nil || tx.Bucket(bucketBlocks) == nil || tx.Bucket(bucketCursors) == nil {
			return damaged("segment without its buckets")
		}
		if v := getUint(m, keyFormat); v != segmentFormat {
			return fmt.Errorf("segment format %d, this program reads %d", v, segmentFormat)
		}
		s.First, s.Generation = getUint(m, keyFirst), getUint(m, keyGeneration)
		s.Created = int64(getUint(m, keyCreated))
		s.next.Store(getUint(m, keyNext))
		s.events.Store(getUint(m, keyEvents))
		if copy(s.key[:], m.Get(keyFilter)) != len(s.key) {
			return damaged("segment without a filter key")
		}
		return nil
	})
	if err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("open segment %d: %w", id, err)
	}
	if !readOnly {
		// What a killed process wrote may be seen here and not be on the disk, and so
		// may what a failed sync left. The pages of a transaction are synced before its
		// meta page is written, so a transaction of our own makes all of it durable.
		if err := db.Update(func(*bolt.Tx) error { return nil }); err != nil {
			_ = db.Close()
			return nil, fmt.Errorf("open segment %d: %w", id, err)
		}
	}
	return s, nil
}

// segmentMeta is what a new segment starts with.
type segmentMeta struct {
	id, previous, first, next, generation, events uint64
	created                                       int64
	filterKey                                     [16]byte
	cursors                                       []ingest.Cursor
}

// initSegment makes records.db at path with its first transaction.
func initSegment(path string, m segmentMeta, o *Options) (*bolt.DB, error) {
	db, err := bolt.Open(path, 0o600, boltOptions(false, o.OpenFile))
	if err != nil {
		return nil, fmt.Errorf("make segment: %w", err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		meta, err := tx.CreateBucket(bucketMeta)
		if err != nil {
			return err
		}
		if _, err = tx.CreateBucket(bucketBlocks); err != nil {
			return err
		}
		cur, err := tx.CreateBucket(bucketCursors)
		if err != nil {
			return err
		}
		for _, kv := range []struct {
			k []byte
			v uint64
		}{
			{keyFormat, segmentFormat},
			{keyPrevious, m.previous},
			{keyFirst, m.first},
			{keyNext, m.next},
			{keyGeneration, m.generation},
			{keyCreated, uint64(m.created)},
			{keyEvents, m.events},
		} {
			if err := meta.Put(kv.k, putUint(kv.v)); err != nil {
				return err
			}
		}
		if err := meta.Put(keyFilter, m.filterKey[:]); err != nil {
			return err
		}
		for _, c := range m.cursors {
			if err := cur.Put([]byte(c.Key), c.Value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("make segment: %w", err)
	}
	return db, nil
}

func putUint(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }

func getUint(b *bolt.Bucket, key []byte) uint64 {
	if v := b.Get(key); len(v) == 8 {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

// Tx reads one segment at one moment.
type Tx struct {
	seg    *Segment
	tx     *bolt.Tx
	blocks *bolt.Bucket
}

// View runs fn on a snapshot of the segment. Blocks read in it must not be used
// after fn returns. Keep it short: an open snapshot keeps erased pages alive.
func (s *Segment) View(fn func(*Tx) error) error {
	if !s.acquire() {
		return errClosed
	}
	defer s.release()
	return s.db.View(func(tx *bolt.Tx) error {
		return fn(&Tx{seg: s, tx: tx, blocks: tx.Bucket(bucketBlocks)})
	})
}

var errClosed = errors.New("segment was replaced")

// Replaced reports whether err says that the segment was swapped for a rewritten
// one while a reader held on to it; the reader takes the new list and goes on.
func Replaced(err error) bool { return errors.Is(err, errClosed) }

// Blocks calls fn for the blocks of the segment whose rows may lie in [from, to),
// in ascending or descending order, until fn returns false.
func (t *Tx) Blocks(from, to uint64, descending bool, fn func(first uint64, data []byte) bool) {
	c := t.blocks.Cursor()
	start := func() ([]byte, []byte) {
		// The block that holds seq from is the last one that begins at or before it.
		k, v := c.Seek(putUint(from))
		if k == nil || binary.BigEndian.Uint64(k) > from {
			pk, pv := c.Prev()
			if k == nil && pk == nil {
				pk, pv = c.Last()
			}
			if pk != nil {
				return pk, pv
			}
			return c.First()
		}
		return k, v
	}
	if !descending {
		for k, v := start(); k != nil; k, v = c.Next() {
			first := binary.BigEndian.Uint64(k)
			if first >= to || !fn(first, v) {
				return
			}
		}
		return
	}
	low := uint64(0)
	if k, _ := start(); k != nil {
		low = binary.BigEndian.Uint64(k)
	}
	back := c.Prev
	if k, _ := c.Seek(putUint(to)); k == nil {
		back = c.Last
	}
	k, v := back()
	for ; k != nil; k, v = c.Prev() {
		first := binary.BigEndian.Uint64(k)
		if first < low || !fn(first, v) {
			return
		}
	}
}

// Block returns the bytes of the block that begins at first, nil if there is none.
func (t *Tx) Block(first uint64) []byte { return t.blocks.Get(putUint(first)) }

// Containing returns the block that may hold seq, nil if there is none.
func (t *Tx) Containing(seq uint64) (first uint64, data []byte) {
	c := t.blocks.Cursor()
	k, v := c.Seek(putUint(seq))
	if k == nil {
		k, v = c.Last()
	} else if binary.BigEndian.Uint64(k) > seq {
		k, v = c.Prev()
	}
	if k == nil {
		return 0, nil
	}
	return binary.BigEndian.Uint64(k), v
}

// Cursor returns a copy of a committed cursor.
func (t *Tx) Cursor(key string) []byte {
	v := t.tx.Bucket(bucketCursors).Get([]byte(key))
	if v == nil {
		return nil
	}
	return append([]byte{}, v...)
}
