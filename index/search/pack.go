package search

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/blevesearch/bleve/v2/index/scorch/mergeplan"
)

// oneSegment is a plan that merges everything into one segment at once.
var oneSegment = mergeplan.MergePlanOptions{
	MaxSegmentsPerTier:   1,
	MaxSegmentSize:       1 << 30,
	TierGrowth:           1,
	SegmentsPerMergeTask: 1 << 20,
	FloorSegmentSize:     1 << 29,
}

// Pack merges the index into one Bleve segment and writes that, synced, to the
// new folder dst, for OpenReadOnly. Add and Delete wait meanwhile; the index
// itself stays open and complete, and is merged as well. When Pack fails or the
// machine does, dst is absent or something that Open calls damaged.
func (x *Index) Pack(dst string) (err error) {
	x.life.RLock()
	defer x.life.RUnlock()
	if err := x.writable(); err != nil {
		return err
	}
	x.write.Lock()
	defer x.write.Unlock()
	defer func() {
		if err != nil {
			err = fmt.Errorf("pack search index: %w", err)
		}
	}()
	join, err := x.flush()
	join()
	if err != nil {
		return err
	}
	if err := x.merge(); err != nil {
		return err
	}
	if err := os.Mkdir(dst, 0o700); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dst))
		}
	}()
	snap := x.sc.CopyReader()
	err = snap.CopyTo(folder(dst))
	if err := errors.Join(err, snap.CloseCopyReader()); err != nil {
		return err
	}
	return syncFolder(dst)
}

// merge leaves one segment. Scorch tries a merge that fails again and again, so
// its count of failures is watched.
func (x *Index) merge() error {
	ctx, cancel := context.WithCancel(context.Background()) //nolint:forbidigo // lives as long as the call, which is not to be cut short
	defer cancel()
	failures := x.mergeFailures()
	done := make(chan error, 1)
	go func() { done <- x.sc.ForceMerge(ctx, &oneSegment) }()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for running := true; running; {
		select {
		case err := <-done:
			if err != nil {
				return err
			}
			running = false
		case <-tick.C:
			if x.mergeFailures() > failures {
				cancel()
				<-done //nolint:errcheck // says that it was cancelled
				return errors.New("merge of the segments failed")
			}
		}
	}
	snap, err := x.snapshot()
	if err != nil {
		return err
	}
	defer snap.Close()
	if n := len(snap.Segments()); n > 1 {
		return fmt.Errorf("%d segments are left after the merge", n)
	}
	return nil
}

func (x *Index) mergeFailures() uint64 {
	n, _ := x.sc.StatsMap()["TotFileMergeLoopErr"].(uint64)
	return n
}

// folder receives the files of a copy; it implements index.Directory.
type folder string

func (d folder) GetWriter(name string) (io.WriteCloser, error) {
	// Scorch names files below "store", and wants a plain file for root.bolt,
	// which bbolt syncs.
	name = filepath.Base(name)
	f, err := os.OpenFile(filepath.Join(string(d), name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil || name == rootBolt {
		return f, err
	}
	return syncedFile{f}, nil
}

// syncedFile is a file that Close syncs.
type syncedFile struct{ *os.File }

func (f syncedFile) Close() error {
	return errors.Join(f.File.Sync(), f.File.Close())
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
