package index

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"math/rand/v2"

	"custody/index/query"
	"custody/index/search"
)

// termTable collects the distinct terms of a block and the frames they occur in.
// It is an open-addressed table over one arena of keys: a row states a hundred
// terms, nearly all of them known already, so a look-up must cost next to nothing.
type termTable struct {
	seed  uint64  // a stranger who writes the words must not know where they fall
	slots []int32 // 1 + index into terms; 0 is free
	terms []termEntry
	arena []byte
}

type termEntry struct {
	hash   uint64
	at     int32
	length uint16
	frames uint16
}

// add notes that the frames hold the term.
func (t *termTable) add(key []byte, frames uint16) {
	if len(t.slots) == 0 {
		t.seed = rand.Uint64()
		t.slots = make([]int32, 1<<13)
	}
	h := hashTerm(t.seed, key)
	mask := uint64(len(t.slots) - 1)
	i := h & mask
	for {
		n := t.slots[i]
		if n == 0 {
			break
		}
		e := &t.terms[n-1]
		if e.hash == h && bytes.Equal(t.arena[e.at:int(e.at)+int(e.length)], key) {
			e.frames |= frames
			return
		}
		i = (i + 1) & mask
	}
	t.terms = append(t.terms, termEntry{h, int32(len(t.arena)), uint16(len(key)), frames})
	t.arena = append(t.arena, key...)
	t.slots[i] = int32(len(t.terms))
	if 2*len(t.terms) > len(t.slots) {
		t.grow()
	}
}

// hashTerm is one folded multiplication of the ends of a short key and the seed,
// one more for each sixteen bytes of a longer one: the core of wyhash.
// Source: Wang Yi, wyhash, https://github.com/wangyi-fudan/wyhash.
func hashTerm(seed uint64, key []byte) uint64 {
	const k0, k1 = 0xa0761d6478bd642f, 0xe7037ed1a0b428db
	n := len(key)
	h := seed ^ k0
	for len(key) > 16 {
		hi, lo := bits.Mul64(binary.LittleEndian.Uint64(key)^h, binary.LittleEndian.Uint64(key[8:])^k1)
		h = hi ^ lo
		key = key[16:]
	}
	var a, b uint64
	switch m := len(key); {
	case m >= 8:
		a, b = binary.LittleEndian.Uint64(key), binary.LittleEndian.Uint64(key[m-8:])
	case m >= 4:
		a, b = uint64(binary.LittleEndian.Uint32(key)), uint64(binary.LittleEndian.Uint32(key[m-4:]))
	case m > 0:
		a, b = uint64(key[0])<<16|uint64(key[m/2])<<8|uint64(key[m-1]), k0
	}
	hi, lo := bits.Mul64(a^h, b^k1^uint64(n))
	hi, lo = bits.Mul64(hi^lo^k0, seed|1)
	return hi ^ lo
}

func (t *termTable) grow() {
	t.slots = make([]int32, 2*len(t.slots))
	mask := uint64(len(t.slots) - 1)
	for n := range t.terms {
		i := t.terms[n].hash & mask
		for t.slots[i] != 0 {
			i = (i + 1) & mask
		}
		t.slots[i] = int32(n + 1)
	}
}

// single returns how many words of messages stand in one frame only.
func (t *termTable) single() (n int) {
	for i := range t.terms {
		if e := &t.terms[i]; e.frames&(e.frames-1) == 0 && query.IsMessageWord(t.key(e)) {
			n++
		}
	}
	return n
}

// move hands the words of messages that stand in one frame only to fn, and leaves
// them out of what take returns.
func (t *termTable) move(fn func(key []byte, frame int)) {
	for i := range t.terms {
		if e := &t.terms[i]; e.frames&(e.frames-1) == 0 && query.IsMessageWord(t.key(e)) {
			fn(t.key(e), bits.TrailingZeros16(e.frames))
			e.frames = 0
		}
	}
}

func (t *termTable) key(e *termEntry) []byte { return t.arena[e.at : int(e.at)+int(e.length)] }

// take returns the terms and empties the table. They share one piece of memory of their own.
func (t *termTable) take() []search.Term {
	mem := bytes.Clone(t.arena)
	out := make([]search.Term, 0, len(t.terms))
	for _, e := range t.terms {
		if end := int(e.at) + int(e.length); e.frames != 0 {
			out = append(out, search.Term{Key: mem[e.at:end:end], Frames: e.frames})
		}
	}
	clear(t.slots)
	t.terms, t.arena = t.terms[:0], t.arena[:0]
	return out
}
