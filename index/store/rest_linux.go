package store

import (
	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// Rest takes the pages of the segment's file that were read out of the process's
// memory; the kernel keeps them as long as it has room, and they come back when
// they are read again. Nothing else unmaps what a long history had looked at.
func (s *Segment) Rest() {
	if !s.acquire() {
		return
	}
	defer s.release()
	// Within a transaction the file is not mapped anew.
	_ = s.db.View(func(tx *bolt.Tx) error {
		if n := tx.Size(); n > 0 {
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, s.db.Info().Data, uintptr(n), unix.MADV_DONTNEED) // a hint that may fail
		}
		return nil
	})
}
