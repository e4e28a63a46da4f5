package index

import (
	"bytes"
	"hash/maphash"

	"custody/index/search"
)

// termTable collects the distinct terms of a block and the frames they occur in.
// It is an open-addressed table over one arena of keys: a row states a hundred
// terms, nearly all of them known already, so a look-up must cost next to nothing.
type termTable struct {
	seed  maphash.Seed
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
		t.seed = maphash.MakeSeed()
		t.slots = make([]int32, 1<<13)
	}
	h := maphash.Bytes(t.seed, key)
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

// take returns the terms and empties the table. They share one piece of memory of their own.
func (t *termTable) take() []search.Term {
	mem := bytes.Clone(t.arena)
	out := make([]search.Term, len(t.terms))
	for i, e := range t.terms {
		end := int(e.at) + int(e.length)
		out[i] = search.Term{Key: mem[e.at:end:end], Frames: e.frames}
	}
	clear(t.slots)
	t.terms, t.arena = t.terms[:0], t.arena[:0]
	return out
}
