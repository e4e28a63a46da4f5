package seal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"golang.org/x/mod/sumdb/tlog"
)

// VerifyOptions adjusts VerifyLog.
type VerifyOptions struct {
	// VKeys are further keys that must have signed the checkpoint.
	VKeys []string
	// Entry is called for every entry in order; an error ends the verification.
	// nil: none.
	Entry func(index uint64, entry []byte) error
}

// VerifyLog recomputes a log from its entry bundles and holds everything
// against them: the checkpoint and its signature, every tile that the tree needs
// (of level 0 if the folder has any, as exports do). It trusts nothing but vkey.
// Damage is reported as ErrDamaged with the name of the file.
func VerifyLog(ctx context.Context, fsys fs.FS, vkey string, opts VerifyOptions) (Checkpoint, error) {
	cp, err := verifyLog(ctx, fsys, vkey, opts)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("verify log: %w", err)
	}
	return cp, nil
}

func verifyLog(ctx context.Context, fsys fs.FS, vkey string, opts VerifyOptions) (Checkpoint, error) {
	signed, err := readBounded(fsys, checkpointFile, maxCheckpoint)
	if err != nil {
		return Checkpoint{}, err
	}
	cp, err := VerifyCheckpoint(signed, append([]string{vkey}, opts.VKeys...)...)
	if err != nil {
		return Checkpoint{}, err
	}
	lowest := 1
	if _, err := fs.Stat(fsys, "tile/0"); err == nil {
		lowest = 0
	}
	var e edge
	var failed error
	check := func(level int, n uint64, data []byte) {
		if failed == nil && level >= lowest {
			failed = sameTile(fsys, level, n, data)
		}
	}
	for n := uint64(0); failed == nil; n++ {
		width := widthAt(levelEntries, n, cp.Size)
		if width == 0 {
			break
		}
		if err := ctx.Err(); err != nil {
			return Checkpoint{}, err
		}
		path := tilePath(levelEntries, n, width)
		b, wider, err := readTile(fsys, levelEntries, n, width, tileWidth*(MaxEntry+2))
		if err != nil {
			return Checkpoint{}, err
		}
		var refused error
		_, err = eachEntry(b, width, !wider, func(i int, entry []byte) error {
			e.add(leafHash(entry), check)
			if opts.Entry != nil {
				refused = opts.Entry(n*tileWidth+uint64(i), entry)
			}
			return refused
		})
		if refused != nil {
			return Checkpoint{}, fmt.Errorf("%s: %w", path, refused)
		}
		if err != nil {
			return Checkpoint{}, fmt.Errorf("%s: %w: %w", path, ErrDamaged, err)
		}
	}
	for level := range e.levels {
		if lv := &e.levels[level]; len(lv.tile) > 0 {
			check(level, lv.n, lv.tile)
		}
	}
	if failed != nil {
		return Checkpoint{}, failed
	}
	if got := e.root(); got != cp.Root {
		return Checkpoint{}, fmt.Errorf("the entries have root %v, the checkpoint %v: %w", got, cp.Root, ErrDamaged)
	}
	return cp, nil
}

func sameTile(fsys fs.FS, level int, n uint64, want []byte) error {
	width := len(want) / tlog.HashSize
	got, wider, err := readTile(fsys, level, n, width, tileBytes)
	if err != nil {
		return err
	}
	if wider && len(got) > len(want) {
		got = got[:len(want)]
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%s does not follow from the entries: %w", tilePath(level, n, width), ErrDamaged)
	}
	return nil
}

// readTile reads a tile, or the full one when the partial one is gone already:
// a log may go on while it is verified.
func readTile(fsys fs.FS, level int, n uint64, width int, limit int64) (b []byte, wider bool, err error) {
	b, err = readBounded(fsys, tilePath(level, n, width), limit)
	if errors.Is(err, fs.ErrNotExist) && width != tileWidth {
		if full, err := readBounded(fsys, tilePath(level, n, tileWidth), limit); err == nil {
			return full, true, nil
		}
	}
	if err != nil {
		return nil, false, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return b, false, nil
}

// readBounded reads a file of at most limit bytes.
func readBounded(fsys fs.FS, path string, limit int64) (_ []byte, err error) {
	f, err := fsys.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s is longer than %d bytes: %w", path, limit, ErrDamaged)
	}
	return b, nil
}
