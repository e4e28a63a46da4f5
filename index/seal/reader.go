package seal

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/mod/sumdb/tlog"
)

// Reader reads a log and proves what is in it. Safe for concurrent use.
type Reader struct {
	fsys fs.FS
	at   func() Checkpoint
}

// NewReader reads the log in the folder fsys, which holds at least the tree of
// the checkpoint that at returns. at must be safe for concurrent use.
func NewReader(fsys fs.FS, at func() Checkpoint) *Reader { return &Reader{fsys, at} }

// ReadTile returns the file that C2SP tlog-tiles puts at path
// ("tile/entries/000", "tile/0/x001/234.p/5"). Tiles of level 0 are computed
// from the entry bundles. Partial tiles can have any width that the published
// tree covers. An error wraps fs.ErrNotExist when there is no such tile.
func (r *Reader) ReadTile(path string) ([]byte, error) {
	level, n, width, err := parseTilePath(path)
	if err != nil {
		return nil, err
	}
	if have := widthAt(level, n, r.at().Size); width > have {
		return nil, fmt.Errorf("read %s: the tree has %d of it: %w", path, have, fs.ErrNotExist)
	}
	if level == levelEntries {
		return r.bundle(n, width)
	}
	return r.hashes(level, n, width)
}

// stored reads a stored tile that is at least as wide as asked: exactly so, or
// full, or as wide as the published tree has it. A writer beside the reader may
// remove the partial ones once the full one is there, so that is asked last again.
func (r *Reader) stored(level int, n uint64, width int) (b []byte, err error) {
	for _, w := range [...]int{width, tileWidth, widthAt(level, n, r.at().Size), tileWidth} {
		if w < width {
			continue
		}
		b, err = fs.ReadFile(r.fsys, tilePath(level, n, w))
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return b, err
		}
	}
	return nil, err
}

// bundle returns the first width entries of bundle n, encoded.
func (r *Reader) bundle(n uint64, width int) ([]byte, error) {
	b, err := r.stored(levelEntries, n, width)
	if err != nil {
		return nil, fmt.Errorf("read bundle %d: %w", n, err)
	}
	used, err := eachEntry(b, width, false, func(int, []byte) error { return nil })
	if err != nil {
		return nil, fmt.Errorf("read bundle %d: %w", n, err)
	}
	return b[:used:used], nil
}

// hashes returns the first width hashes of tile n.
func (r *Reader) hashes(level int, n uint64, width int) ([]byte, error) {
	if level == 0 {
		b, err := r.stored(levelEntries, n, width)
		if err != nil {
			return nil, fmt.Errorf("read bundle %d: %w", n, err)
		}
		h, err := bundleHashes(make([]byte, 0, width*tlog.HashSize), b, width)
		if err != nil {
			return nil, fmt.Errorf("read bundle %d: %w", n, err)
		}
		return h, nil
	}
	b, err := r.stored(level, n, width)
	if err != nil {
		return nil, fmt.Errorf("read tile %d of level %d: %w", n, level, err)
	}
	if len(b) < width*tlog.HashSize {
		return nil, fmt.Errorf("read tile %d of level %d: %d bytes: %w", n, level, len(b), ErrDamaged)
	}
	return b[:width*tlog.HashSize], nil
}

// Entry returns the encoded entry with the given index.
func (r *Reader) Entry(index uint64) ([]byte, error) {
	size := r.at().Size
	if index >= size {
		return nil, fmt.Errorf("read entry %d of %d: %w", index, size, fs.ErrNotExist)
	}
	b, err := r.stored(levelEntries, index/tileWidth, widthAt(levelEntries, index/tileWidth, size))
	if err != nil {
		return nil, fmt.Errorf("read entry %d: %w", index, err)
	}
	var out []byte
	_, err = eachEntry(b, int(index%tileWidth)+1, false, func(_ int, e []byte) error {
		out = e
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read entry %d: %w", index, err)
	}
	return out, nil
}

// Entries calls fn for every entry in order, reading each bundle once.
func (r *Reader) Entries(fn func(Entry) error) error {
	size := r.at().Size
	for n := uint64(0); n*tileWidth < size; n++ {
		width := widthAt(levelEntries, n, size)
		b, err := r.stored(levelEntries, n, width)
		if err != nil {
			return fmt.Errorf("read entry bundle %d: %w", n, err)
		}
		if _, err := eachEntry(b, width, false, func(_ int, encoded []byte) error {
			e, err := ParseEntry(encoded)
			if err != nil {
				return err
			}
			return fn(e)
		}); err != nil {
			return fmt.Errorf("read entry bundle %d: %w", n, err)
		}
	}
	return nil
}

// tiles is the reader as tlog wants it.
type tiles struct{ r *Reader }

func (t tiles) Height() int { return tileHeight }

func (t tiles) ReadTiles(list []tlog.Tile) ([][]byte, error) {
	out := make([][]byte, len(list))
	for i, tile := range list {
		b, err := t.r.hashes(tile.L, uint64(tile.N), tile.W)
		if err != nil {
			return nil, err
		}
		out[i] = b
	}
	return out, nil
}

func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}

// Inclusion proves that the entry with the given index stands in the tree of
// cp, which must be the published one or one before. The tiles are checked
// against cp, so damage is an error and never a wrong proof.
func (r *Reader) Inclusion(index uint64, cp Checkpoint) ([]tlog.Hash, error) {
	if index >= cp.Size || cp.Size > r.at().Size {
		return nil, fmt.Errorf("prove entry %d in %d: %w", index, cp.Size, ErrProof)
	}
	p, err := tlog.ProveRecord(int64(cp.Size), int64(index), tlog.TileHashReader(cp.tree(), tiles{r}))
	if err != nil {
		return nil, fmt.Errorf("prove entry %d in %d: %w", index, cp.Size, err)
	}
	return p, nil
}

// Consistency proves that the tree of cp extends that of the older size.
func (r *Reader) Consistency(older uint64, cp Checkpoint) ([]tlog.Hash, error) {
	if older > cp.Size || cp.Size > r.at().Size {
		return nil, fmt.Errorf("prove %d in %d: %w", older, cp.Size, ErrProof)
	}
	if older == 0 || older == cp.Size {
		return nil, nil
	}
	p, err := tlog.ProveTree(int64(cp.Size), int64(older), tlog.TileHashReader(cp.tree(), tiles{r}))
	if err != nil {
		return nil, fmt.Errorf("prove %d in %d: %w", older, cp.Size, err)
	}
	return p, nil
}

// Prove makes the offline proof of an entry under a signed checkpoint of this log.
func (r *Reader) Prove(index uint64, signed []byte) (*Proof, error) {
	cp, err := ParseCheckpoint(signed)
	if err != nil {
		return nil, fmt.Errorf("prove entry %d: %w", index, err)
	}
	h, err := r.Inclusion(index, cp)
	if err != nil {
		return nil, err
	}
	return &Proof{Index: index, Hashes: h, Checkpoint: signed}, nil
}
