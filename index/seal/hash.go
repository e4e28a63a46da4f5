package seal

import (
	"crypto/sha256"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// leafHash is H(0x00 ‖ entry) (RFC 6962, section 2.1).
func leafHash(entry []byte) tlog.Hash {
	if len(entry) <= 64 {
		var b [65]byte
		return sha256.Sum256(b[:1+copy(b[1:], entry)])
	}
	return tlog.RecordHash(entry)
}

// nodeHash is H(0x01 ‖ left ‖ right); both are 32 bytes.
func nodeHash(left, right []byte) tlog.Hash {
	var b [1 + 2*tlog.HashSize]byte
	b[0] = 1
	copy(b[1:], left)
	copy(b[1+tlog.HashSize:], right)
	return sha256.Sum256(b[:])
}

// subtree is the root over hashes, whose number is a power of two up to 256.
func subtree(hashes []byte) tlog.Hash {
	if len(hashes) == tlog.HashSize {
		return tlog.Hash(hashes)
	}
	var tmp [tileWidth / 2 * tlog.HashSize]byte
	n := len(hashes) / 2
	for i := 0; i < n; i += tlog.HashSize {
		h := nodeHash(hashes[2*i:2*i+tlog.HashSize], hashes[2*i+tlog.HashSize:2*i+2*tlog.HashSize])
		copy(tmp[i:], h[:])
	}
	for n > tlog.HashSize {
		n /= 2
		for i := 0; i < n; i += tlog.HashSize {
			h := nodeHash(tmp[2*i:2*i+tlog.HashSize], tmp[2*i+tlog.HashSize:2*i+2*tlog.HashSize])
			copy(tmp[i:], h[:])
		}
	}
	return tlog.Hash(tmp[:tlog.HashSize])
}

// edge is the right edge of a tree: per tile level the hashes of the tile that
// is not full yet.
type edge struct {
	size   uint64
	levels []edgeLevel
}

type edgeLevel struct {
	tile []byte // hashes of tile n, fewer than 256
	n    uint64
}

// add appends a leaf hash and calls full for every tile that it completes,
// lowest level first; data is valid during the call.
func (e *edge) add(h tlog.Hash, full func(level int, n uint64, data []byte)) {
	e.size++
	for l := 0; ; l++ {
		if l == len(e.levels) {
			e.levels = append(e.levels, edgeLevel{tile: make([]byte, 0, tileBytes)})
		}
		lv := &e.levels[l]
		lv.tile = append(lv.tile, h[:]...)
		if len(lv.tile) < tileBytes {
			return
		}
		full(l, lv.n, lv.tile)
		h = subtree(lv.tile)
		lv.tile = lv.tile[:0]
		lv.n++
	}
}

// root is the tree's root hash; that of the empty tree is H("").
func (e *edge) root() tlog.Hash {
	if e.size == 0 {
		return sha256.Sum256(nil)
	}
	var acc tlog.Hash
	have := false
	for l := range e.levels {
		rest := e.levels[l].tile
		for len(rest) > 0 {
			// The rightmost perfect subtree is the lowest bit of the count.
			n := 1 << bits.TrailingZeros(uint(len(rest)/tlog.HashSize)) * tlog.HashSize
			h := subtree(rest[len(rest)-n:])
			rest = rest[:len(rest)-n]
			if have {
				acc = nodeHash(h[:], acc[:])
			} else {
				acc, have = h, true
			}
		}
	}
	return acc
}
