package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// FrameRows is the number of rows that share one [FrameKey].
const FrameRows = 64

// FrameKey is the secret from which the salts of one frame of rows derive. It
// is stored beside the rows and never leaves the host; redacting one row of the
// frame replaces it by the seeds of the other rows and a [Residue].
type FrameKey [32]byte

// Seed is the secret from which the salts of one row derive.
type Seed [32]byte

// Salt hides one value behind its digest.
type Salt [16]byte

// Digest is a SHA-256 hash.
type Digest [32]byte

// NewFrameKey draws a key from the operating system.
func NewFrameKey() FrameKey {
	var k FrameKey
	rand.Read(k[:]) // never fails: it ends the program instead
	return k
}

const seedDomain = "custody/seed/v1"

// RowSeed is the seed of the row with the given place in its frame.
func RowSeed(key *FrameKey, row int) Seed {
	var b [len(seedDomain) + len(FrameKey{}) + 4]byte
	n := copy(b[:], seedDomain)
	n += copy(b[n:], key[:])
	binary.BigEndian.PutUint32(b[n:], uint32(row))
	return sha256.Sum256(b[:])
}

// keystream fills dst with the salts of a row: AES-128-CTR with the first half
// of the seed as the key and the second as the first counter block (a random
// counter keeps one guess of a key from serving against many rows).
func keystream(seed *Seed, dst []byte) error {
	block, err := aes.NewCipher(seed[:16])
	if err != nil {
		return fmt.Errorf("derive salts: %w", err)
	}
	clear(dst)
	cipher.NewCTR(block, seed[16:]).XORKeyStream(dst, dst)
	return nil
}
