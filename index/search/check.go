package search

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// rootBolt is scorch's list of snapshots.
const rootBolt = "root.bolt"

// maxRoot bounds root.bolt; it holds names and deletions of some dozen files.
const maxRoot = 64 << 20

// Names in root.bolt, see bleve's util/keys.go: the bucket of snapshots has a
// bucket per snapshot, named by its ascending epoch, and that one per segment
// with the file's name, beside one for internal values and one for meta-data.
const (
	keySnapshots = "s"
	keyInternal  = "i"
	keyMeta      = "m"
	keyPath      = "p"
	keyType      = "type"
	keyVersion   = "version" // u32, big endian
)

// verified is what the newest snapshot in root.bolt says.
type verified struct {
	state []byte
	files []string
}

// verifyFiles reads all that the newest snapshot consists of before scorch sees
// it, since scorch passes over a snapshot it can't load in silence, and it and
// bbolt end the process on some kinds of damage. It holds the lock only
// meanwhile; what opens the files next takes it again.
func verifyFiles(dir string, readOnly bool) (v verified, err error) {
	f, err := os.Open(filepath.Join(dir, rootBolt))
	if err != nil {
		return v, missing(err)
	}
	defer f.Close()
	if err := lockFile(f, !readOnly); err != nil {
		return v, err
	}
	if !readOnly {
		// Found now, a lack of permission is an error by itself.
		w, err := os.OpenFile(f.Name(), os.O_RDWR, 0)
		if err != nil {
			return v, missing(err)
		}
		w.Close()
	}
	data, err := io.ReadAll(io.LimitReader(f, maxRoot+1))
	if err != nil {
		return v, err
	}
	if len(data) > maxRoot {
		return v, fmt.Errorf("%w: %s has more than %d bytes", ErrDamaged, rootBolt, maxRoot)
	}
	root, err := parseBolt(data)
	if err != nil {
		return v, fmt.Errorf("%w: %s: %w", ErrDamaged, rootBolt, err)
	}
	if v, err = newest(root); err != nil {
		return v, fmt.Errorf("%w: %s: %w", ErrDamaged, rootBolt, err)
	}
	buf := make([]byte, 256<<10)
	for _, name := range v.files {
		if err := verifySegment(filepath.Join(dir, name), buf); err != nil {
			return v, err
		}
	}
	return v, nil
}

// missing makes the absence of a file damage; any other error stays what it is.
func missing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

// newest finds the newest snapshot.
func newest(root *boltBucket) (v verified, err error) {
	snaps := root.buckets[keySnapshots]
	if snaps == nil || snaps.last == "" {
		return v, errors.New("no snapshot")
	}
	snap := snaps.buckets[snaps.last]
	if snap == nil || snap.buckets[keyMeta] == nil || snap.buckets[keyInternal] == nil {
		return v, errors.New("incomplete snapshot")
	}
	// Scorch opens the files with whatever format is named here, and older ones
	// take the footer of this one for theirs.
	meta := snap.buckets[keyMeta].values
	version := meta[keyVersion]
	if string(meta[keyType]) != segmentType || len(version) < 4 || binary.BigEndian.Uint32(version) != segmentVersion {
		return v, fmt.Errorf("segments of type %q, version %x", meta[keyType], version)
	}
	v.state = snap.buckets[keyInternal].values[stateKey]
	for name, seg := range snap.buckets {
		if name == keyMeta || name == keyInternal {
			continue
		}
		file, ok := seg.values[keyPath]
		if !ok || filepath.Base(string(file)) != string(file) || filepath.Ext(string(file)) != ".zap" {
			return v, fmt.Errorf("bad file name %q", file)
		}
		v.files = append(v.files, string(file))
	}
	return v, nil
}

// zapFooter is the least length of a segment file.
const zapFooter = 40

// verifySegment holds a segment file against the CRC-32 (IEEE) it ends with.
func verifySegment(path string, buf []byte) error {
	f, err := os.Open(path)
	if err != nil {
		return missing(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() < zapFooter {
		return fmt.Errorf("%w: %s has %d bytes", ErrDamaged, info.Name(), info.Size())
	}
	sum := crc32.NewIEEE()
	if _, err := io.CopyBuffer(onlyWriter{sum}, io.LimitReader(f, info.Size()-4), buf); err != nil {
		return err
	}
	var want [4]byte
	if _, err := io.ReadFull(f, want[:]); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("%w: %s became shorter", ErrDamaged, info.Name())
		}
		return err
	}
	if binary.BigEndian.Uint32(want[:]) != sum.Sum32() {
		return fmt.Errorf("%w: %s: checksum does not match", ErrDamaged, info.Name())
	}
	return nil
}

// onlyWriter hides other methods, so that CopyBuffer uses its buffer.
type onlyWriter struct{ io.Writer }
