package store

import (
	"errors"
	"fmt"
)

// OpenPacked opens the segments of dir read-only, in order, up to the first that
// another process has open for writing: beside a running server those that it has
// packed. locked reports whether it stopped there. It changes nothing. Without
// a single segment to read the store is empty.
func OpenPacked(dir string) (s *Store, locked bool, err error) {
	ids, err := segmentIDs(dir)
	if err != nil {
		return nil, false, fmt.Errorf("open packed segments: %w", err)
	}
	s = &Store{dir: dir, opts: Options{ReadOnly: true}}
	for _, id := range ids {
		seg, err := openSegment(s.segmentDir(id), id, true, &s.opts)
		if errors.Is(err, ErrLocked) {
			return s, true, nil
		}
		if err != nil {
			_ = s.Close() // was only read
			return nil, false, err
		}
		s.segments = append(s.segments, seg)
	}
	return s, false, nil
}
