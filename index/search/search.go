// Package search is the disposable Bleve index of one storage segment.
//
// A document is a block of up to 1024 rows in up to 16 frames of 64 rows. It is
// built by hand: one field of terms without positions, stored values, document
// values or analysis, and the block's first sequence number as its identifier
// (8 bytes, big endian). Where Bleve would keep how often a term occurs in a
// document, this index keeps the bitmap of the block's frames that contain it
// (see code.go), so that a look-up names the frames to decompress.
//
// It guarantees:
//
//   - What Watermark returns is true of what a look-up sees, and stays true
//     after a crash: watermark, number of blocks and a digest of their numbers
//     are one internal value, introduced and persisted with the blocks.
//   - Open verifies everything it will rely on (the structure of root.bolt, the
//     checksum of each segment file, blocks against the digest) and says
//     ErrDamaged, and nothing else, for an index to be deleted and rebuilt. Lock
//     and permission errors are never taken for damage.
//   - Memory is bounded: Add blocks while more than Options.MaxPending bytes of
//     it wait to be persisted.
//
// The index is derived from the store and never the truth: Add returns before
// its blocks are on disk, and a crash loses the newest of them together with
// their part of the watermark.
package search

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/blevesearch/bleve/v2/index/scorch"
	index "github.com/blevesearch/bleve_index_api"
)

// Limits of a document.
const (
	MaxRows   = 1024 // rows of a block
	FrameRows = 64   // rows of a frame
	MaxKey    = 4096 // bytes of a term
)

// Errors that callers tell apart.
var (
	// ErrDamaged: the index is missing or corrupt; delete the folder and rebuild.
	ErrDamaged = errors.New("search index is damaged")
	// ErrLocked: another handle or process has the index open.
	ErrLocked = errors.New("search index is in use")
	// ErrClosed: the index has been closed.
	ErrClosed = errors.New("search index is closed")
	// ErrReadOnly: the index was opened for reading.
	ErrReadOnly = errors.New("search index is read-only")
	// ErrStalled: nothing could be persisted for Options.StallTimeout.
	ErrStalled = errors.New("search index does not reach the disk")
)

// Term is one term of a block.
type Term struct {
	Key    []byte // 1 to MaxKey bytes, opaque
	Frames uint16 // bit i: frame i of the block contains the term; never 0
}

// Doc is one block. Terms may come in any order; a repeated key adds its frames.
type Doc struct {
	Block uint64 // first seq
	Rows  uint32 // rows covered, 1 to MaxRows
	Terms []Term
}

// Hit is a block that contains a term, and the frames that do.
type Hit struct {
	Block  uint64
	Frames uint16
}

// Options tune an index. The zero value is useful.
type Options struct {
	// Start is the watermark of a new index: the first seq of its storage
	// segment. Only Create looks at it. Default 0.
	Start uint64
	// MaxPending bounds the bytes of added terms that wait to be persisted.
	// Default 32 MiB.
	MaxPending int64
	// PersistInterval is how long additions gather before they are merged and
	// written as one file. Default 1 s.
	PersistInterval time.Duration
	// StallTimeout is how long Add, Flush and Close wait for the disk without any
	// progress before they return ErrStalled. Default 30 s.
	StallTimeout time.Duration
	// Log gets the rare warnings. Default: discarded.
	Log *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.MaxPending <= 0 {
		o.MaxPending = 32 << 20
	}
	if o.PersistInterval <= 0 {
		o.PersistInterval = time.Second
	}
	if o.StallTimeout <= 0 {
		o.StallTimeout = 30 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// Index is the search index of one storage segment. Its methods are safe for
// concurrent use; Add, Delete, Flush and Pack run one at a time.
type Index struct {
	dir      string
	o        Options
	readOnly bool
	sc       *scorch.Scorch
	queue    *index.AnalysisQueue // nil when read-only
	codes    *frameCodes

	life   sync.RWMutex // held for reading by every method but Close
	closed bool

	write sync.Mutex // one writer; guards state, live and docs
	state state
	live  map[uint64]struct{} // blocks in the index; nil when read-only
	docs  []*document         // reused by Add

	watermark atomic.Uint64
	pend      pending
	views     viewCache
}

// Create makes an empty index in dir, which must not hold one yet. Missing
// folders are made.
func Create(dir string, o Options) (*Index, error) {
	if _, err := os.Lstat(filepath.Join(dir, rootBolt)); err == nil {
		return nil, fmt.Errorf("create search index %s: %w", dir, fs.ErrExist)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("create search index: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create search index: %w", err)
	}
	x, err := start(dir, o, false)
	if err != nil {
		return nil, fmt.Errorf("create search index %s: %w", dir, err)
	}
	x.state = state{watermark: o.Start}
	x.watermark.Store(o.Start)
	if err := x.apply(nil, nil, x.state); err != nil {
		return nil, fmt.Errorf("create search index %s: %w", dir, errors.Join(err, x.stop()))
	}
	return x, nil
}

// Open opens an existing index for reading and writing. It is ErrDamaged when
// the index is missing or corrupt, ErrLocked when another handle holds it; any
// other error is the system's own. It never creates anything.
func Open(dir string, o Options) (*Index, error) { return open(dir, o, false) }

// OpenReadOnly opens an index that nobody writes, such as a packed one; any
// number of handles and processes may do so at once. Errors as for Open.
func OpenReadOnly(dir string) (*Index, error) { return open(dir, Options{}, true) }

func open(dir string, o Options, readOnly bool) (_ *Index, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("open search index %s: %w", dir, err)
		}
	}()
	found, err := verifyFiles(dir, readOnly)
	if err != nil {
		return nil, err
	}
	x, err := start(dir, o, readOnly)
	if err != nil {
		return nil, err
	}
	if err := x.load(found); err != nil {
		return nil, errors.Join(err, x.stop())
	}
	return x, nil
}

// start opens scorch on dir, whatever is in there.
func start(dir string, o Options, readOnly bool) (_ *Index, err error) {
	defer guard(&err)
	defer faults()()
	tune()
	x := &Index{dir: dir, o: o.withDefaults(), readOnly: readOnly, codes: codes()}
	x.pend.init()
	config := scorchConfig(dir, x.o, readOnly)
	if !readOnly {
		x.live = make(map[uint64]struct{})
		// The documents need no analysis; the queue only passes them on.
		x.queue = index.NewAnalysisQueue(1)
	}
	s, err := scorch.NewScorch(scorch.Name, config, x.queue)
	if err == nil {
		err = s.Open()
	}
	if err != nil {
		if x.queue != nil {
			x.queue.Close()
		}
		return nil, classify(err)
	}
	x.sc = s.(*scorch.Scorch)
	return x, nil
}

// load holds what scorch opened against what was verified, and the state against
// the blocks that are there.
func (x *Index) load(found verified) (err error) {
	defer guard(&err)
	defer faults()()
	snap, err := x.snapshot()
	if err != nil {
		return err
	}
	defer snap.Close()
	raw := snap.Internal()[stateKey]
	if !bytes.Equal(raw, found.state) || len(snap.Segments()) != len(found.files) {
		return fmt.Errorf("%w: the newest snapshot cannot be loaded", ErrDamaged)
	}
	st, err := decodeState(raw)
	if err != nil {
		return err
	}
	var seen state
	for _, seg := range snap.Segments() {
		blocks, err := x.views.blocksOf(seg)
		if err != nil {
			return err
		}
		del := seg.Deleted()
		for n, b := range blocks {
			if del != nil && del.Contains(uint32(n)) {
				continue
			}
			seen.add(b)
			if x.live != nil {
				x.live[b] = struct{}{}
			}
		}
	}
	if seen.blocks != st.blocks || seen.digest != st.digest {
		return fmt.Errorf("%w: %d blocks where the state has %d", ErrDamaged, seen.blocks, st.blocks)
	}
	x.state = st
	x.watermark.Store(st.watermark)
	return nil
}

// Watermark is the next seq that the index does not cover: every row below it,
// from the start of the storage segment, is in blocks that a look-up sees.
func (x *Index) Watermark() uint64 { return x.watermark.Load() }

// Stats are sizes of an index.
type Stats struct {
	Blocks   uint64 // in the index
	Segments int    // Bleve segments, in memory and on disk
	Pending  int64  // bytes of terms added and not yet persisted
	Disk     int64  // bytes of all files
}

// Stats returns the sizes; it reads the folder.
func (x *Index) Stats() (Stats, error) {
	x.life.RLock()
	defer x.life.RUnlock()
	if x.closed {
		return Stats{}, ErrClosed
	}
	snap, err := x.snapshot()
	if err != nil {
		return Stats{}, err
	}
	defer snap.Close()
	st := Stats{Segments: len(snap.Segments()), Pending: x.pend.load()}
	for _, seg := range snap.Segments() {
		st.Blocks += seg.Count()
	}
	entries, err := os.ReadDir(x.dir)
	if err != nil {
		return Stats{}, fmt.Errorf("read search index: %w", err)
	}
	for _, e := range entries {
		// A file that goes away meanwhile is one that counts no more.
		if info, err := e.Info(); err == nil {
			st.Disk += info.Size()
		}
	}
	return st, nil
}

// Close persists what is pending and closes the index; look-ups that run are
// waited for. When the disk does not take it, Close returns why and the index
// is closed all the same: the next Open finds an older watermark. A second
// Close does nothing.
func (x *Index) Close() error {
	x.life.Lock()
	defer x.life.Unlock()
	if x.closed {
		return nil
	}
	x.closed = true
	if x.readOnly {
		return x.stop()
	}
	join, err := x.flush()
	err = errors.Join(err, x.stop())
	join()
	return err
}

func (x *Index) stop() error {
	err := x.sc.Close()
	if x.queue != nil {
		x.queue.Close()
	}
	x.views.reset()
	if err != nil {
		return fmt.Errorf("close search index: %w", err)
	}
	return nil
}

func (x *Index) snapshot() (*scorch.IndexSnapshot, error) {
	r, err := x.sc.Reader()
	if err != nil {
		return nil, fmt.Errorf("read search index: %w", err)
	}
	snap, ok := r.(*scorch.IndexSnapshot)
	if !ok || snap == nil {
		return nil, ErrClosed
	}
	return snap, nil
}
