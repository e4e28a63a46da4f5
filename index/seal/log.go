package seal

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Errors of logs.
var (
	// ErrLogFailed: an earlier error left the log in an unknown state; open it again.
	ErrLogFailed = errors.New("log failed, open it again")
	// ErrNewerCheckpoint: the log has published more than the catalogue knows: the
	// catalogue was rolled back.
	ErrNewerCheckpoint = errors.New("published checkpoint is newer than the catalogue")
	// ErrFork: the published checkpoint contradicts the catalogue's.
	ErrFork = errors.New("published checkpoint contradicts the catalogue")
	// ErrDamaged: files of the log are missing or not what the checkpoint demands.
	ErrDamaged = errors.New("log is damaged")
	// ErrExists: the folder holds a log already.
	ErrExists = errors.New("log exists")
	// ErrTooLarge: an entry does not fit a bundle.
	ErrTooLarge = errors.New("entry too large")
)

// maxPendingBundles is the number of full bundles that Append holds in memory (13 KiB each).
const maxPendingBundles = 4096

// Store puts a new checkpoint into the caller's catalogue, durably, if the
// catalogue's newest has size prevSize (0 when there is none yet). After an
// error the log refuses to go on, since the outcome is unknown.
type Store func(prevSize uint64, checkpoint []byte) error

// Log writes a log. Append and Sync are for one goroutine; Checkpoint, Signed
// and the readers are safe for concurrent use.
type Log struct {
	origin  string
	store   Store
	signers []note.Signer
	w       *files

	edge    edge
	bundle  []byte   // of the entry bundle that is not full yet
	pending []file   // full bundles and tiles that are not written yet
	written []int    // width of each level's partial tile on the disk; [0] is the bundle's
	full    []string // tiles become full since the last Sync that had partial ones
	failed  error

	mu        sync.RWMutex
	published Checkpoint
	signed    []byte
}

// Size is the number of entries appended.
func (l *Log) Size() uint64 { return l.edge.size }

// Origin names the log.
func (l *Log) Origin() string { return l.origin }

// Checkpoint is the published one.
func (l *Log) Checkpoint() Checkpoint {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.published
}

// Signed is the published checkpoint as it was signed. Do not change it.
func (l *Log) Signed() []byte {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.signed
}

// SetSigners changes who signs from the next checkpoint on; the first must be
// named like the origin. For key rotation. Not concurrent with Sync.
func (l *Log) SetSigners(signers ...note.Signer) error {
	if err := checkSigners(l.origin, signers); err != nil {
		return err
	}
	l.signers = signers
	return nil
}

func checkSigners(origin string, signers []note.Signer) error {
	if !ValidOrigin(origin) || len(signers) == 0 || signers[0].Name() != origin {
		return fmt.Errorf("log %q: the first signer must bear the origin's name: %w", origin, ErrKey)
	}
	return nil
}

// Append hashes an entry into the tree; its index is the size before. The
// caller must have stored the entry's row durably. Only Sync publishes it.
func (l *Log) Append(entry []byte) error {
	if l.failed != nil {
		return l.failed
	}
	if len(entry) > MaxEntry {
		return fmt.Errorf("append entry of %d bytes: %w", len(entry), ErrTooLarge)
	}
	l.bundle = appendBundleEntry(l.bundle, entry)
	l.edge.add(leafHash(entry), l.completed)
	if len(l.pending) < maxPendingBundles {
		return nil
	}
	return l.fail(l.flush())
}

// AppendEntries appends entries in order.
func (l *Log) AppendEntries(entries []Entry) error {
	var b [EntrySize]byte
	for i := range entries {
		if err := l.Append(entries[i].append(b[:0])); err != nil {
			return err
		}
	}
	return nil
}

// completed queues a tile that has become full. Level 0 stands in the bundles.
func (l *Log) completed(level int, n uint64, data []byte) {
	for len(l.written) <= level {
		l.written = append(l.written, 0)
	}
	f := file{path: tilePath(level, n, tileWidth)}
	if level == 0 {
		f.path = tilePath(levelEntries, n, tileWidth)
		f.data = l.bundle
		l.bundle = make([]byte, 0, len(f.data))
	} else {
		f.data = append([]byte(nil), data...)
	}
	l.pending = append(l.pending, f)
	if l.written[level] > 0 {
		l.full = append(l.full, f.path)
		l.written[level] = 0
	}
}

func (l *Log) flush() error {
	if err := l.w.write(l.pending); err != nil {
		return err
	}
	clear(l.pending)
	l.pending = l.pending[:0]
	return nil
}

func (l *Log) fail(err error) error {
	if err != nil {
		l.failed = fmt.Errorf("%w: %w", ErrLogFailed, err)
	}
	return err
}

// Sync makes all appended entries durable, signs a checkpoint over them, stores
// it in the catalogue and publishes it. Without new entries it does nothing.
// After an error the log must be opened again.
func (l *Log) Sync() (Checkpoint, error) {
	if l.failed != nil {
		return Checkpoint{}, l.failed
	}
	was := l.Checkpoint()
	if was.Size == l.edge.size && l.Signed() != nil {
		return was, nil
	}
	cp, err := l.sync(was.Size)
	if err != nil {
		return Checkpoint{}, l.fail(fmt.Errorf("sync log: %w", err))
	}
	return cp, nil
}

func (l *Log) sync(prev uint64) (Checkpoint, error) {
	l.partials()
	if err := l.flush(); err != nil {
		return Checkpoint{}, err
	}
	cp := Checkpoint{Origin: l.origin, Size: l.edge.size, Root: l.edge.root()}
	signed, err := signCheckpoint(cp, l.signers)
	if err != nil {
		return Checkpoint{}, err
	}
	if err := l.w.do("store", "", func() error { return l.store(prev, signed) }); err != nil {
		return Checkpoint{}, fmt.Errorf("store checkpoint: %w", err)
	}
	if err := l.publish(cp, signed); err != nil {
		return Checkpoint{}, err
	}
	// Nobody needs a partial tile whose full one is published.
	for _, path := range l.full {
		if err := l.w.remove(path + ".p"); err != nil {
			return Checkpoint{}, fmt.Errorf("remove partial tiles: %w", err)
		}
	}
	l.full = l.full[:0]
	return cp, nil
}

func (l *Log) publish(cp Checkpoint, signed []byte) error {
	if err := l.w.write([]file{{checkpointFile, signed}}); err != nil {
		return fmt.Errorf("publish checkpoint: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.published, l.signed = cp, signed
	return nil
}

// partials queues the tiles at the right edge that have changed.
func (l *Log) partials() {
	for level := range l.edge.levels {
		lv := &l.edge.levels[level]
		width := len(lv.tile) / tlog.HashSize
		for len(l.written) <= level {
			l.written = append(l.written, 0)
		}
		if width == 0 || l.written[level] == width {
			continue
		}
		l.written[level] = width
		if level == 0 {
			l.pending = append(l.pending, file{tilePath(levelEntries, lv.n, width), append([]byte(nil), l.bundle...)})
			continue
		}
		l.pending = append(l.pending, file{tilePath(level, lv.n, width), append([]byte(nil), lv.tile...)})
	}
}
