package search

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	zap "github.com/blevesearch/zapx/v17"
	bolterrors "go.etcd.io/bbolt/errors"
)

// The segment format. Fixed, so that a new Bleve does not change it unseen.
const (
	segmentType    = "zap"
	segmentVersion = 17
)

// scorchConfig says how scorch shall run.
//
// Blocks are heavy documents and there are a few thousand of them, so sizes in
// documents are small numbers here. Additions gather in memory for
// PersistInterval and are merged into one file; files are merged by maxFiles at a
// time once there are more than that per tier, which a storage segment filled at
// full speed hardly reaches before it is packed.
func scorchConfig(dir string, o Options, readOnly bool) map[string]any {
	return map[string]any{
		"path":                dir,
		"read_only":           readOnly,
		"unsafe_batch":        true,
		"bolt_timeout":        "100ms",
		"numSnapshotsToKeep":  1,
		"forceSegmentType":    segmentType,
		"forceSegmentVersion": segmentVersion,
		"scorchPersisterOptions": map[string]any{
			"PersisterNapTimeMSec":      max(int(o.PersistInterval/time.Millisecond), 1),
			"PersisterNapUnderNumFiles": 1 << 20,
		},
		"scorchMergePlanOptions": map[string]any{
			"MaxSegmentsPerTier":   maxFiles,
			"SegmentsPerMergeTask": maxFiles,
			"TierGrowth":           float64(maxFiles),
			"FloorSegmentSize":     1,
			"MaxSegmentSize":       1 << 30,
		},
	}
}

const maxFiles = 24

// classify gives the errors of scorch's opening a name where they have one.
func classify(err error) error {
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return fmt.Errorf("%w: %w", ErrLocked, err)
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum),
		errors.Is(err, bolterrors.ErrVersionMismatch):
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

// guard turns a run-time error of this goroutine into ErrDamaged: the segment
// readers index into mapped files without looking, so that is how a file that
// changed after it was verified shows. Use: defer guard(&err).
func guard(err *error) {
	r := recover()
	if r == nil {
		return
	}
	re, ok := r.(runtime.Error)
	if !ok {
		panic(r)
	}
	*err = fmt.Errorf("%w: %w", ErrDamaged, re)
}

// faults makes an access to a truncated file's mapping a run-time error, for
// guard, instead of the end of the process. Use: defer faults()().
func faults() func() {
	old := debug.SetPanicOnFault(true)
	return func() { debug.SetPanicOnFault(old) }
}

// tune sets the one knob that zap has as a package variable: a new segment keeps
// a buffer for this many more documents than it has. Bleve's 100 is meant for
// small documents; with blocks it would hold several times the memory accounted.
var tune = sync.OnceFunc(func() { zap.NewSegmentBufferNumResultsBump = 2 })
