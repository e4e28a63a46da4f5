//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package search

import "os"

// lockFile does nothing: bbolt's own lock is taken when scorch opens the file.
func lockFile(*os.File, bool) error { return nil }
