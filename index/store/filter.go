package store

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// The identifier filter of a block maps the keyed hash of an identifier to the
// frames that may hold it. It is a table of 16-bit entries, 12 bits of the hash
// and 4 bits of frame number, grouped into buckets of about eight:
//
//	u16le buckets, then buckets+1 times u16le offset (in entries), then the entries
//
// A key that is in the block is always found; one that is not is "found" in one
// block of about 500, and then costs one frame.

const filterBucket = 8

// filterKey is the secret of one segment's filters, so that a filter says
// nothing about a guessed identifier to whoever has it without the segment.
type filterKey [16]byte

// hash is SipHash-1-3 of b under the key.
// Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012).
func (k *filterKey) hash(b []byte) uint64 {
	k0, k1 := binary.LittleEndian.Uint64(k[:8]), binary.LittleEndian.Uint64(k[8:])
	v0, v1 := k0^0x736f6d6570736575, k1^0x646f72616e646f6d
	v2, v3 := k0^0x6c7967656e657261, k1^0x7465646279746573
	n := len(b)
	round := func() {
		v0 += v1
		v1 = bits.RotateLeft64(v1, 13) ^ v0
		v0 = bits.RotateLeft64(v0, 32)
		v2 += v3
		v3 = bits.RotateLeft64(v3, 16) ^ v2
		v0 += v3
		v3 = bits.RotateLeft64(v3, 21) ^ v0
		v2 += v1
		v1 = bits.RotateLeft64(v1, 17) ^ v2
		v2 = bits.RotateLeft64(v2, 32)
	}
	for ; len(b) >= 8; b = b[8:] {
		m := binary.LittleEndian.Uint64(b)
		v3 ^= m
		round()
		v0 ^= m
	}
	m := uint64(n) << 56
	for i, c := range b {
		m |= uint64(c) << (8 * i)
	}
	v3 ^= m
	round()
	v0 ^= m
	v2 ^= 0xff
	round()
	round()
	round()
	return v0 ^ v1 ^ v2 ^ v3
}

// filterEntry is one (identifier, frame) pair of a block being built.
type filterEntry struct {
	hash  uint64
	frame uint8
}

// appendFilter appends the filter of the entries; scratch is reused.
func appendFilter(dst []byte, entries []filterEntry, scratch []uint16) ([]byte, []uint16) {
	buckets := (len(entries) + filterBucket - 1) / filterBucket
	buckets = min(buckets, 1<<16-1)
	if buckets == 0 {
		return append(dst, 0, 0), scratch
	}
	need := len(entries) + buckets + 1
	if cap(scratch) < need {
		scratch = make([]uint16, need)
	}
	scratch = scratch[:need]
	clear(scratch)
	start, out := scratch[:buckets+1], scratch[buckets+1:]
	counts := make([]uint32, buckets+1)
	for i := range entries {
		counts[bucketOf(entries[i].hash, buckets)+1]++
	}
	for i := 1; i <= buckets; i++ {
		counts[i] += counts[i-1]
	}
	fill := make([]uint32, buckets)
	for i := range entries {
		b := bucketOf(entries[i].hash, buckets)
		v := uint16(entries[i].hash&0xfff)<<4 | uint16(entries[i].frame)
		from := counts[b]
		if !slices.Contains(out[from:from+fill[b]], v) {
			out[from+fill[b]] = v
			fill[b]++
		}
	}
	// Close the holes that repeated keys left.
	n := uint32(0)
	for b := range fill {
		start[b] = uint16(n)
		copy(out[n:], out[counts[b]:counts[b]+fill[b]])
		n += fill[b]
	}
	start[buckets] = uint16(n)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(buckets))
	for _, s := range start {
		dst = binary.LittleEndian.AppendUint16(dst, s)
	}
	for _, e := range out[:n] {
		dst = binary.LittleEndian.AppendUint16(dst, e)
	}
	return dst, scratch
}

func bucketOf(h uint64, buckets int) uint32 {
	return uint32((h >> 32) * uint64(buckets) >> 32)
}

// maxFilterEntries bounds a filter: offsets are 16 bits. A block with more
// (identifier, frame) pairs has no filter and is always a candidate.
const maxFilterEntries = 1<<16 - 1

// lookupFilter returns the bitmap of frames that may hold the key with hash h.
func lookupFilter(f []byte, h uint64) uint16 {
	if len(f) < 2 {
		return 0xffff // no filter: every frame is a candidate
	}
	buckets := int(binary.LittleEndian.Uint16(f))
	if buckets == 0 {
		return 0
	}
	table := 2 + 2*(buckets+1)
	if len(f) < table {
		return 0xffff
	}
	b := int(bucketOf(h, buckets))
	from := int(binary.LittleEndian.Uint16(f[2+2*b:]))
	to := int(binary.LittleEndian.Uint16(f[4+2*b:]))
	if to < from || table+2*to > len(f) {
		return 0xffff
	}
	want := uint16(h&0xfff) << 4
	var frames uint16
	for i := from; i < to; i++ {
		if e := binary.LittleEndian.Uint16(f[table+2*i:]); e&0xfff0 == want {
			frames |= 1 << (e & 15)
		}
	}
	return frames
}
