//go:build !linux

package store

// Rest does nothing here: the kernel decides how much of a file stays in memory.
func (s *Segment) Rest() {}
