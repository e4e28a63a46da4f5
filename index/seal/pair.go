package seal

import (
	"crypto/sha256"
	"encoding/binary"
)

// pairHasher computes many short SHA-256 digests: with processor support two at
// a time, where the call and the waiting of one stream would cost more than the
// hashing; else with crypto/sha256. The two give the same digests.
//
// Use: begin, then for each digest message, fill it, and sum; digests are there
// after flush.
type pairHasher struct {
	known, fast bool
	n           int // of the message being filled
	long        []byte
	waiting     [maxPairBlocks + 1]waitingMessage
}

// maxPairBlocks is the longest message, in blocks, that waits for a partner.
const maxPairBlocks = 6

const (
	shaBlock   = sha256.BlockSize
	shaPadding = 1 + 8 // at least
)

// waitingMessage holds a message of some number of blocks until another of the
// same number has come.
type waitingMessage struct {
	out *Digest // nil: none waits
	msg [2][maxPairBlocks * shaBlock]byte
}

func (h *pairHasher) begin() {
	if !h.known {
		h.known, h.fast = true, hasHash2()
	}
}

// blocks is the number of blocks of the message being filled, padding included.
func (h *pairHasher) blocks() int { return (h.n + shaPadding + shaBlock - 1) / shaBlock }

// message returns memory for a message of n bytes.
func (h *pairHasher) message(n int) []byte {
	h.n = n
	if b := h.blocks(); h.fast && b <= maxPairBlocks {
		w := &h.waiting[b]
		if w.out != nil {
			return w.msg[1][:n]
		}
		return w.msg[0][:n]
	}
	if cap(h.long) < n {
		h.long = make([]byte, n+n/4)
	}
	return h.long[:n]
}

// sum puts the digest of the message into out, at the latest with flush.
func (h *pairHasher) sum(out *Digest) {
	b := h.blocks()
	if !h.fast || b > maxPairBlocks {
		*out = sha256.Sum256(h.long[:h.n])
		return
	}
	w := &h.waiting[b]
	m := &w.msg[0]
	if w.out != nil {
		m = &w.msg[1]
	}
	m[h.n] = 0x80
	clear(m[h.n+1 : b*shaBlock-8])
	binary.BigEndian.PutUint64(m[b*shaBlock-8:], uint64(h.n)*8)
	if w.out == nil {
		w.out = out
		return
	}
	hash2(&w.msg[0][0], &w.msg[1][0], b, w.out, out)
	w.out = nil
}

// flush hashes what still waits for a partner.
func (h *pairHasher) flush() {
	for b := range h.waiting {
		if w := &h.waiting[b]; w.out != nil {
			var same Digest
			hash2(&w.msg[0][0], &w.msg[0][0], b, w.out, &same)
			w.out = nil
		}
	}
}
