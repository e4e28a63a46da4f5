package seal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

const (
	tileHeight = 8
	tileWidth  = 1 << tileHeight
	tileBytes  = tileWidth * tlog.HashSize

	// levelEntries is the pseudo level of entry bundles.
	levelEntries = -1
	maxLevel     = 7 // 2^63 leaves

	checkpointFile = "checkpoint"
	tmpDir         = ".tmp"
)

// MaxEntry is the largest entry that a bundle can hold, in bytes.
const MaxEntry = 1<<16 - 1

// ErrBundle: an entry bundle is not what its place in the log demands.
var ErrBundle = errors.New("bad entry bundle")

// tilePath is the path of a tile (C2SP tlog-tiles), width 256 for a full one.
func tilePath(level int, n uint64, width int) string {
	p := fmt.Sprintf("%03d", n%1000)
	for n >= 1000 {
		n /= 1000
		p = fmt.Sprintf("x%03d/%s", n%1000, p)
	}
	if width != tileWidth {
		p += ".p/" + strconv.Itoa(width)
	}
	if level == levelEntries {
		return "tile/entries/" + p
	}
	return "tile/" + strconv.Itoa(level) + "/" + p
}

// parseTilePath reads what tilePath writes and nothing else.
func parseTilePath(path string) (level int, n uint64, width int, err error) {
	bad := fmt.Errorf("parse tile path %.60q: %w", path, fs.ErrNotExist)
	f := strings.Split(path, "/")
	if len(path) > 60 || len(f) < 3 || f[0] != "tile" {
		return 0, 0, 0, bad
	}
	level = levelEntries
	if f[1] != "entries" {
		if level, err = strconv.Atoi(f[1]); err != nil || level < 0 || level > maxLevel {
			return 0, 0, 0, bad
		}
	}
	width = tileWidth
	rest := f[2:]
	if len(rest) >= 2 && strings.HasSuffix(rest[len(rest)-2], ".p") {
		if width, err = strconv.Atoi(rest[len(rest)-1]); err != nil || width < 1 || width >= tileWidth {
			return 0, 0, 0, bad
		}
		rest = rest[:len(rest)-1]
		rest[len(rest)-1] = strings.TrimSuffix(rest[len(rest)-1], ".p")
	}
	for _, s := range rest {
		d, err := strconv.ParseUint(strings.TrimPrefix(s, "x"), 10, 16)
		if err != nil || n > 1<<56/1000 {
			return 0, 0, 0, bad
		}
		n = n*1000 + d
	}
	if tilePath(level, n, width) != path {
		return 0, 0, 0, bad
	}
	return level, n, width, nil
}

// tilesAt returns, for a tree of the given size, how many full tiles a level
// has and the width of the one after them (0 when there is none).
func tilesAt(level int, size uint64) (full uint64, width int) {
	if level > 0 {
		size >>= tileHeight * level
	}
	return size / tileWidth, int(size % tileWidth)
}

// widthAt is the number of hashes of tile n that a tree of the given size has.
func widthAt(level int, n, size uint64) int {
	full, width := tilesAt(level, size)
	switch {
	case n < full:
		return tileWidth
	case n == full:
		return width
	}
	return 0
}

// appendBundleEntry appends one entry in the format of bundles: big-endian uint16 length ‖ entry.
func appendBundleEntry(dst, entry []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(entry)))
	return append(dst, entry...)
}

// eachEntry calls yield for the first width entries of a bundle. With exact,
// the bundle must hold no more than them.
func eachEntry(bundle []byte, width int, exact bool, yield func(i int, entry []byte) error) (used int, err error) {
	for i := range width {
		if len(bundle)-used < 2 {
			return 0, fmt.Errorf("entry %d: cut short: %w", i, ErrBundle)
		}
		n := int(binary.BigEndian.Uint16(bundle[used:]))
		used += 2
		if len(bundle)-used < n {
			return 0, fmt.Errorf("entry %d: cut short: %w", i, ErrBundle)
		}
		if err := yield(i, bundle[used:used+n]); err != nil {
			return 0, err
		}
		used += n
	}
	if exact && used != len(bundle) {
		return 0, fmt.Errorf("%d bytes behind the last entry: %w", len(bundle)-used, ErrBundle)
	}
	return used, nil
}

// bundleHashes appends the leaf hashes of the first width entries of a bundle.
func bundleHashes(dst, bundle []byte, width int) ([]byte, error) {
	_, err := eachEntry(bundle, width, false, func(_ int, e []byte) error {
		h := leafHash(e)
		dst = append(dst, h[:]...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return dst, nil
}
