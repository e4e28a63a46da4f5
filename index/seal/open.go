package seal

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Create makes an empty log in dir, which may exist but must not hold a log,
// and stores and publishes its checkpoint of size 0. If the catalogue has a
// checkpoint already, use Open.
func Create(dir, origin string, store Store, signers ...note.Signer) (*Log, error) {
	l, err := create(newFiles(dir), origin, store, signers)
	if err != nil {
		return nil, fmt.Errorf("create log: %w", err)
	}
	return l, nil
}

func create(w *files, origin string, store Store, signers []note.Signer) (*Log, error) {
	if err := checkSigners(origin, signers); err != nil {
		return nil, err
	}
	for _, name := range []string{checkpointFile, "tile"} {
		if _, err := os.Lstat(filepath.Join(w.dir, name)); !errors.Is(err, fs.ErrNotExist) {
			return nil, errors.Join(ErrExists, err)
		}
	}
	if err := prepare(w); err != nil {
		return nil, err
	}
	l := &Log{origin: origin, store: store, signers: signers, w: w}
	l.published = Checkpoint{Origin: origin}
	if _, err := l.Sync(); err != nil {
		return nil, err
	}
	return l, nil
}

// prepare makes the folders and empties the temporary one.
func prepare(w *files) error {
	tmp := filepath.Join(w.dir, tmpDir)
	if err := os.MkdirAll(w.dir, 0o755); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(tmp), os.Mkdir(tmp, 0o700), syncDir(w.dir), syncDir(filepath.Dir(w.dir)))
}

// Open continues the log in dir at the catalogue's newest checkpoint, durable.
// It runs the same after a clean stop and after a crash: the tree's right edge is
// read and checked against the checkpoint, what a crash left behind it is
// removed, and a checkpoint that was stored but not published is published. The
// caller then appends the entries of its rows from index Size on.
//
// It refuses with ErrNewerCheckpoint or ErrFork when the published checkpoint is
// not one that the catalogue's extends, and with ErrDamaged.
func Open(dir, origin string, durable []byte, store Store, signers ...note.Signer) (*Log, error) {
	l, err := open(newFiles(dir), origin, durable, store, signers)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return l, nil
}

func open(w *files, origin string, durable []byte, store Store, signers []note.Signer) (*Log, error) {
	if err := checkSigners(origin, signers); err != nil {
		return nil, err
	}
	cp, err := ParseCheckpoint(durable)
	if err != nil {
		return nil, fmt.Errorf("catalogue: %w", err)
	}
	if cp.Origin != origin {
		return nil, fmt.Errorf("catalogue: checkpoint of %q: %w", cp.Origin, ErrCheckpoint)
	}
	if _, err := os.Stat(w.dir); err != nil {
		return nil, err // opening never creates
	}
	if err := prepare(w); err != nil {
		return nil, err
	}
	l := &Log{origin: origin, store: store, signers: signers, w: w, published: cp, signed: bytes.Clone(durable)}
	r := NewReader(os.DirFS(w.dir), func() Checkpoint { return cp })
	current, err := l.checkPublished(r, cp)
	if err != nil {
		return nil, err
	}
	if err := l.loadEdge(r, cp); err != nil {
		return nil, err
	}
	for level := levelEntries; level <= maxLevel; level++ {
		if err := l.trim(level, cp.Size); err != nil {
			return nil, fmt.Errorf("remove what lies behind the checkpoint: %w", err)
		}
	}
	if !current {
		if err := l.publish(cp, l.signed); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// checkPublished holds the published checkpoint against the catalogue's and
// reports whether it is the same.
func (l *Log) checkPublished(r *Reader, cp Checkpoint) (bool, error) {
	b, err := os.ReadFile(filepath.Join(l.w.dir, checkpointFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	pub, err := ParseCheckpoint(b)
	switch {
	case err != nil:
		return false, fmt.Errorf("published: %w: %w", ErrDamaged, err)
	case pub.Origin != cp.Origin:
		return false, fmt.Errorf("published origin %q: %w", pub.Origin, ErrFork)
	case pub.Size > cp.Size:
		return false, fmt.Errorf("published %d, catalogue %d: %w", pub.Size, cp.Size, ErrNewerCheckpoint)
	case pub.Size == cp.Size:
		if pub.Root != cp.Root {
			return false, fmt.Errorf("at size %d: %w", cp.Size, ErrFork)
		}
		return bytes.Equal(b, l.signed), nil
	}
	proof, err := r.Consistency(pub.Size, cp)
	if err != nil {
		return false, fmt.Errorf("prove published checkpoint: %w", errors.Join(ErrDamaged, err))
	}
	if err := CheckConsistency(pub, cp, proof); err != nil {
		return false, errors.Join(ErrFork, err)
	}
	return false, nil
}

// loadEdge reads the right edge of the tree of cp and checks its root.
func (l *Log) loadEdge(r *Reader, cp Checkpoint) error {
	l.edge = edge{size: cp.Size}
	for level := 0; level <= maxLevel && cp.Size>>(tileHeight*level) > 0; level++ {
		n, width := tilesAt(level, cp.Size)
		lv := edgeLevel{tile: make([]byte, 0, tileBytes), n: n}
		if width > 0 {
			data, err := r.hashes(level, n, width)
			if err != nil {
				return errors.Join(ErrDamaged, err)
			}
			lv.tile = append(lv.tile, data...)
		}
		l.edge.levels = append(l.edge.levels, lv)
		l.written = append(l.written, width)
	}
	if len(l.written) > 0 && l.written[0] > 0 {
		var err error
		if l.bundle, err = r.bundle(l.edge.levels[0].n, l.written[0]); err != nil {
			return errors.Join(ErrDamaged, err)
		}
	}
	if got := l.edge.root(); got != cp.Root {
		return fmt.Errorf("right edge has root %v, checkpoint %v: %w", got, tlog.Hash(cp.Root), ErrDamaged)
	}
	return nil
}

// trim removes the files of a level that a tree of the given size does not have,
// and partial tiles whose full one it has. It looks at the folders at the right
// edge only. What it does not find is harmless: readers ask the checkpoint what
// there is, and a tile that becomes full is always written anew.
func (l *Log) trim(level int, size uint64) error {
	n, width := tilesAt(level, size)
	// Full tiles may still have partial ones if the last Sync was cut off.
	t := trimmer{w: l.w, n: n, width: width, from: n - min(n, 1000)}
	// The numbers of the folders on the way to from, outermost last.
	for g := t.from / 1000; g > 0; g /= 1000 {
		t.way = append(t.way, g)
	}
	return t.folder(strings.TrimSuffix(tilePath(level, 0, tileWidth), "/000"), 0, 0)
}

type trimmer struct {
	w     *files
	n     uint64 // number of full tiles
	width int    // of the tile behind them
	from  uint64
	way   []uint64
}

func (t *trimmer) folder(dir string, depth int, prefix uint64) error {
	list, err := os.ReadDir(filepath.Join(t.w.dir, dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range list {
		name := path.Join(dir, e.Name())
		if d, ok := strings.CutPrefix(e.Name(), "x"); ok && len(d) == 3 && e.IsDir() {
			g, err := strconv.ParseUint(d, 10, 16)
			if g += prefix * 1000; err != nil || depth < len(t.way) && g < t.way[len(t.way)-1-depth] {
				continue
			}
			if err := t.folder(name, depth+1, g); err != nil {
				return err
			}
			continue
		}
		if err := t.file(name); err != nil {
			return err
		}
	}
	return nil
}

// file removes a full tile, or the folder of a tile's partial ones, or some of them.
func (t *trimmer) file(name string) error {
	base, partial := strings.CutSuffix(name, ".p")
	_, k, _, err := parseTilePath(base)
	switch {
	case err != nil || !partial && k < t.n: // not a name of ours, or a tile of the tree
		return nil //nolint:nilerr // somebody else's file stays
	case !partial || k != t.n || t.width == 0:
		return t.w.remove(name)
	}
	list, err := os.ReadDir(filepath.Join(t.w.dir, name))
	if err != nil {
		return err
	}
	for _, e := range list {
		p := path.Join(name, e.Name())
		if _, _, w, err := parseTilePath(p); err == nil && w > t.width {
			if err := t.w.remove(p); err != nil {
				return err
			}
		}
	}
	return nil
}
