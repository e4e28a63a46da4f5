package seal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Reader reads the log as far as it is published.
func (l *Log) Reader() *Reader { return NewReader(os.DirFS(l.w.dir), l.Checkpoint) }

// Export writes the published log to the folder dst, which must not exist or be
// empty, with every file that C2SP tlog-tiles names, level 0 included, so that
// other tools read it. The checkpoint comes last. Safe beside Append and Sync.
func (l *Log) Export(ctx context.Context, dst string) error {
	return Export(ctx, l.Reader(), l.Signed(), dst)
}

// Export is Log.Export for a log that is only read; signed is a checkpoint of
// it. Tiles are derived from the entry bundles and checked against its root.
func Export(ctx context.Context, r *Reader, signed []byte, dst string) error {
	if err := export(ctx, r, signed, dst); err != nil {
		return fmt.Errorf("export log: %w", err)
	}
	return nil
}

func export(ctx context.Context, r *Reader, signed []byte, dst string) error {
	cp, err := ParseCheckpoint(signed)
	if err != nil {
		return err
	}
	list, err := os.ReadDir(dst)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(list) > 0 {
		return fmt.Errorf("%s is not empty: %w", dst, fs.ErrExist)
	}
	var e edge
	put := func(level int, n uint64, data []byte) error {
		return putFile(filepath.Join(dst, tilePath(level, n, widthAt(level, n, cp.Size))), data)
	}
	for n := uint64(0); ; n++ {
		width := widthAt(levelEntries, n, cp.Size)
		if width == 0 {
			break
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		b, err := r.bundle(n, width)
		if err != nil {
			return err
		}
		if err := put(levelEntries, n, b); err != nil {
			return err
		}
		// The tiles are derived, so the export is sound even if stored ones are not.
		var failed error
		_, err = eachEntry(b, width, true, func(_ int, entry []byte) error {
			e.add(leafHash(entry), func(level int, n uint64, data []byte) {
				failed = errors.Join(failed, put(level, n, data))
			})
			return nil
		})
		if err := errors.Join(err, failed); err != nil {
			return err
		}
	}
	for level := range e.levels {
		if lv := &e.levels[level]; len(lv.tile) > 0 {
			if err := put(level, lv.n, lv.tile); err != nil {
				return err
			}
		}
	}
	if e.root() != cp.Root {
		return fmt.Errorf("the entries do not have the checkpoint's root: %w", ErrDamaged)
	}
	return putFile(filepath.Join(dst, checkpointFile), signed)
}

func putFile(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o444)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}
