package seal

import (
	"crypto/sha256"
	"math/rand/v2"
	"testing"
)

// Both ways of hashing give what crypto/sha256 gives, for every length and in
// every order.
func TestPairHasher(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 7))
	for _, fast := range []bool{false, true} {
		if fast && !hasHash2() {
			t.Log("this processor has no SHA extensions")
			continue
		}
		h := pairHasher{known: true, fast: fast}
		for round := range 200 {
			n := 1 + rnd.IntN(40)
			got, want := make([]Digest, n), make([]Digest, n)
			for i := range n {
				size := rnd.IntN(600)
				if round == 0 {
					size = i
				}
				msg := h.message(size)
				for j := range msg {
					msg[j] = byte(rnd.Uint32())
				}
				want[i] = sha256.Sum256(msg)
				h.sum(&got[i])
			}
			h.flush()
			for i := range n {
				if got[i] != want[i] {
					t.Fatalf("fast %v, round %d: digest %d is %x, want %x", fast, round, i, got[i], want[i])
				}
			}
		}
	}
}

// The entry is the same without processor support.
func TestCommitWithoutExtensions(t *testing.T) {
	slow := Committer{hash: pairHasher{known: true}}
	var e Entry
	for i := range 20 {
		seed := testSeed(i)
		r := typical()
		r.Raw = r.Raw[:i*40]
		if err := slow.Commit(r, &seed, &e); err != nil {
			t.Fatal(err)
		}
		if want := entryOf(t, r, seed); string(e.append(nil)) != string(want) {
			t.Fatalf("entry %x, want %x", e.append(nil), want)
		}
	}
}
