package search

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// stateKey names the internal value that holds the state.
const stateKey = "custody"

// state is what the index says of itself. It is stored with the blocks as one
// internal value of 33 bytes: a version byte (1), watermark, number of blocks
// and digest (8 bytes each, big endian), then the CRC-32 (IEEE) of those. What
// is read back is held against the blocks, since nothing else tells a segment or
// a deletion that went missing.
type state struct {
	watermark uint64
	blocks    uint64
	digest    uint64 // sum of mix(block) over the blocks
}

const stateSize = 1 + 3*8 + 4

func (s *state) add(block uint64)    { s.blocks++; s.digest += mix(block) }
func (s *state) remove(block uint64) { s.blocks--; s.digest -= mix(block) }

// mix spreads a number over 64 bits (the finalizer of SplitMix64), so that
// different sets of blocks hardly ever have the same sum.
func mix(z uint64) uint64 {
	z += 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func (s state) encode() []byte {
	b := make([]byte, 0, stateSize)
	b = append(b, 1)
	b = binary.BigEndian.AppendUint64(b, s.watermark)
	b = binary.BigEndian.AppendUint64(b, s.blocks)
	b = binary.BigEndian.AppendUint64(b, s.digest)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

func decodeState(b []byte) (state, error) {
	if len(b) != stateSize || b[0] != 1 ||
		crc32.ChecksumIEEE(b[:stateSize-4]) != binary.BigEndian.Uint32(b[stateSize-4:]) {
		return state{}, fmt.Errorf("%w: no valid state", ErrDamaged)
	}
	return state{
		watermark: binary.BigEndian.Uint64(b[1:]),
		blocks:    binary.BigEndian.Uint64(b[9:]),
		digest:    binary.BigEndian.Uint64(b[17:]),
	}, nil
}
