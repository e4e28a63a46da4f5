package search

import (
	"math/bits"
	"sync"
)

// frameCodes translates between frame bitmaps and the numbers that are stored as
// frequencies. Zap writes twice the frequency as a varint, so a number below 64
// takes one byte, one below 8192 two; and a term with one posting whose frequency
// is 1 takes no posting at all. Most terms of a block are in a single frame, so
// bitmaps are numbered from 1 by how many frames they have, in the order of
// popcounts, and among those by their value. The numbers are part of the format.
type frameCodes struct {
	code   [1 << 16]uint16 // bitmap → number
	frames [1 << 16]uint16 // number → bitmap
}

// popcounts is the order: one frame, all, then from both ends to the middle.
var popcounts = [16]int{1, 16, 15, 2, 14, 3, 13, 4, 12, 5, 11, 6, 10, 7, 9, 8}

// codes is computed when the first index is opened.
var codes = sync.OnceValue(func() *frameCodes {
	c := new(frameCodes)
	var next [17]uint16
	n := [17]int{}
	for f := 1; f < 1<<16; f++ {
		n[bits.OnesCount16(uint16(f))]++
	}
	at := 1
	for _, p := range popcounts {
		next[p] = uint16(at)
		at += n[p]
	}
	for f := 1; f < 1<<16; f++ {
		p := bits.OnesCount16(uint16(f))
		c.code[f], c.frames[next[p]] = next[p], uint16(f)
		next[p]++
	}
	return c
})

// encode returns the frequency to store for a bitmap that is not empty.
func (c *frameCodes) encode(frames uint16) int { return int(c.code[frames]) }

// decode is its inverse; a number that encode never gives is no frame or any.
func (c *frameCodes) decode(freq uint64) uint16 { return c.frames[uint16(freq)] }
