package attribution

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"math/bits"
)

// maxDepth is how deep objects and arrays may nest.
const maxDepth = 128

type kind uint8

const (
	kindNone kind = iota // nothing, or a value that was cut off
	kindNull
	kindFalse
	kindTrue
	kindNumber
	kindString
	kindArray
	kindObject
)

const (
	keyEscaped  uint8 = 1 << iota // the key stands decoded in tree.keys
	valEscaped                    // the string has escapes
	isDuplicate                   // the key stands more than once in its object
	isOpen                        // the container was cut off
)

// node is one JSON value. Nodes stand in document order, so the first child of
// node i is i+1. Node 0 is unused: index 0 means "no such value".
type node struct {
	key, keyEnd int32 // the key, in src or (keyEscaped) in keys
	val, end    int32 // the value in src; a string without its quotes
	next        int32 // next sibling
	count       int32 // children
	kind        kind
	flags       uint8
}

// tree is a JSON document as a flat list of nodes. It is filled in one pass
// without recursion, checks the grammar, and marks keys that stand twice in
// their object, however they are escaped. Its memory is reused.
type tree struct {
	src   []byte
	nodes []node
	keys  []byte

	err    string // why the document is not sound, static text; "" when it is
	at     int    // offset of err in src
	dup    int32  // the first node with a duplicate key
	flaw   string // the first fault that parsing could go on behind
	flawAt int
	top    keySet // which keys the root may have, a filter for detection
	ctl    bool   // look for raw control characters in strings
	seed   maphash.Seed

	table []slot // hash table of the duplicate check
	gen   uint32
}

type slot struct {
	gen  uint32
	hash uint32
	node int32
}

type frame struct{ node, last int32 }

func (t *tree) fail(at int, why string) {
	if t.err == "" {
		t.err, t.at = why, at
	}
}

func (t *tree) note(at int, what string) {
	if t.flaw == "" {
		t.flaw, t.flawAt = what, at
	}
}

// empty makes the tree one of nothing, in which every pointer leads nowhere.
func (t *tree) empty() {
	t.src, t.keys, t.err, t.at, t.dup, t.flaw, t.flawAt, t.top = nil, t.keys[:0], "", 0, 0, "", 0, keySet{}
	t.nodes = append(t.nodes[:0], node{}, node{})
}

// parse reads the value at the start of src. ctl tells that src has control
// characters. The tree holds all values that were complete before a fault.
func (t *tree) parse(src []byte, ctl bool) {
	if cap(t.nodes) > 1<<20 {
		t.nodes = nil // one huge line must not keep its memory for ever
	}
	t.src, t.keys, t.err, t.at, t.dup, t.ctl = src, t.keys[:0], "", 0, 0, ctl
	t.flaw, t.flawAt, t.top = "", 0, keySet{}
	t.nodes = append(t.nodes[:0], node{}, node{})
	var stack [maxDepth]frame
	depth := t.values(stack[:])
	for depth > 0 { // cut off: close what is open
		depth--
		n := &t.nodes[stack[depth].node]
		n.end = int32(len(src))
		n.flags |= isOpen
		if n.kind == kindObject {
			t.duplicates(stack[depth].node)
		}
	}
}

// values reads one value with all that is in it and returns how many containers are left open.
func (t *tree) values(stack []frame) int {
	src := t.src
	depth, cur := 0, int32(1)
	i := skipSpace(src, 0)
value:
	if i >= len(src) {
		t.fail(i, "cut off")
		return depth
	}
	switch c := src[i]; {
	case c == '"':
		end, flags := t.text(i + 1)
		if end < 0 {
			return depth
		}
		n := &t.nodes[cur]
		n.kind, n.val, n.end = kindString, int32(i+1), int32(end)
		n.flags |= flags
		i = end + 1
	case c == '{' || c == '[':
		if depth == maxDepth {
			t.fail(i, "nested deeper than 128")
			return depth
		}
		n := &t.nodes[cur]
		n.kind, n.val = kindArray, int32(i)
		if c == '{' {
			n.kind = kindObject
		}
		stack[depth] = frame{node: cur}
		depth++
		i = skipSpace(src, i+1)
		if i < len(src) && src[i] == c+2 {
			goto closing
		}
		goto member
	case c == '-' || c-'0' < 10:
		end := number(src, i)
		if end < 0 {
			t.fail(i, "not a number")
			return depth
		}
		if end == len(src) && depth > 0 {
			t.fail(end, "cut off") // the number may go on behind the cut
			return depth
		}
		n := &t.nodes[cur]
		n.kind, n.val, n.end = kindNumber, int32(i), int32(end)
		i = end
	default:
		k, size := literal(src[i:])
		if k == kindNone {
			if size > 0 {
				t.fail(i, "cut off")
			} else {
				t.fail(i, "not a value")
			}
			return depth
		}
		n := &t.nodes[cur]
		n.kind, n.val, n.end = k, int32(i), int32(i+size)
		i += size
	}
after:
	i = skipSpace(src, i)
	if depth == 0 {
		if i < len(src) {
			t.fail(i, "text behind the value")
		}
		return 0
	}
	if i >= len(src) {
		t.fail(i, "cut off")
		return depth
	}
	switch src[i] {
	case ',':
		i = skipSpace(src, i+1)
		goto member
	case '}', ']':
		goto closing
	}
	t.fail(i, "no comma between values")
	return depth

closing:
	{
		f := stack[depth-1]
		n := &t.nodes[f.node]
		if (src[i] == '}') != (n.kind == kindObject) {
			t.fail(i, "brackets do not match")
			return depth
		}
		i++
		n.end = int32(i)
		if n.kind == kindObject && n.count > 1 {
			t.duplicates(f.node)
		}
		depth--
		goto after
	}

member:
	{
		f := &stack[depth-1]
		cur = int32(len(t.nodes))
		var m node
		if t.nodes[f.node].kind == kindObject {
			if i >= len(src) {
				t.fail(i, "cut off")
				return depth
			}
			if src[i] != '"' {
				t.fail(i, "no key")
				return depth
			}
			end, flags := t.text(i + 1)
			if end < 0 {
				return depth
			}
			m.key, m.keyEnd = int32(i+1), int32(end)
			if flags&valEscaped != 0 {
				m.flags = keyEscaped
				m.key = int32(len(t.keys))
				t.keys = unescape(t.keys, src[i+1:end])
				m.keyEnd = int32(len(t.keys))
			}
			if depth == 1 {
				word, bit := keyBit(t.pick(&m))
				t.top[word] |= bit
			}
			i = skipSpace(src, end+1)
			if i >= len(src) {
				t.fail(i, "cut off")
				return depth
			}
			if src[i] != ':' {
				t.fail(i, "no colon behind a key")
				return depth
			}
			i = skipSpace(src, i+1)
		}
		t.nodes = append(t.nodes, m)
		t.nodes[f.node].count++
		if f.last != 0 {
			t.nodes[f.last].next = cur
		}
		f.last = cur
		goto value
	}
}

// keySet is a set of names, as one bit each: different names may share one.
type keySet [4]uint64

func keysOf(names []string) (s keySet) {
	for _, n := range names {
		word, bit := keyBit(n)
		s[word] |= bit
	}
	return s
}

// any reports whether a name of both sets may be the same; if not, none is.
func (s *keySet) any(o *keySet) bool {
	return s[0]&o[0]|s[1]&o[1]|s[2]&o[2]|s[3]&o[3] != 0
}

// keyBit is the place of a key in tree.top.
func keyBit[T string | []byte](key T) (word int, bit uint64) {
	if len(key) == 0 {
		return 0, 1
	}
	h := uint(key[0])*5 + uint(key[len(key)-1])*11 + uint(key[len(key)/2])*29 + uint(len(key))*3
	return int(h >> 6 & 3), 1 << (h & 63)
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// hasByte is not zero if a byte of x is zero after the XOR with a pattern; the
// lowest set bit marks the first such byte.
func hasZero(x uint64) uint64 { return (x - ones) & ^x & highs }

// text finds the end of a string whose first byte is at i; -1 when it is cut off.
func (t *tree) text(i int) (end int, flags uint8) {
	src, start := t.src, i
	for {
		for i+8 <= len(src) {
			x := binary.LittleEndian.Uint64(src[i:])
			if m := hasZero(x^(ones*'"')) | hasZero(x^(ones*'\\')); m != 0 {
				i += bits.TrailingZeros64(m) >> 3
				goto found
			}
			i += 8
		}
		for i < len(src) && src[i] != '"' && src[i] != '\\' {
			i++
		}
		if i >= len(src) {
			t.fail(len(src), "cut off")
			return -1, 0
		}
	found:
		if src[i] == '"' {
			if t.ctl && hasControl(src[start:i]) {
				t.note(start, "control character in a string")
			}
			return i, flags
		}
		flags = valEscaped
		if i+1 < len(src) && bytes.IndexByte([]byte(`"\/bfnrtu`), src[i+1]) < 0 {
			t.note(i, "unknown escape")
		}
		i += 2
	}
}

func hasControl(b []byte) bool {
	for _, c := range b {
		if c < 0x20 {
			return true
		}
	}
	return false
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r') {
		i++
	}
	return i
}

// number returns the end of the JSON number at i, -1 when it is none.
func number(b []byte, i int) int {
	digits := func() bool {
		s := i
		for i < len(b) && b[i]-'0' < 10 {
			i++
		}
		return i > s
	}
	if b[i] == '-' {
		i++
	}
	zero := i < len(b) && b[i] == '0'
	s := i
	if !digits() || zero && i > s+1 {
		return -1
	}
	if i < len(b) && b[i] == '.' {
		i++
		if !digits() {
			return -1
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if !digits() {
			return -1
		}
	}
	return i
}

// literal reads true, false or null. A cut literal gives kindNone and its size.
func literal(b []byte) (kind, int) {
	for _, l := range [...]struct {
		text string
		kind kind
	}{{"true", kindTrue}, {"false", kindFalse}, {"null", kindNull}} {
		if len(b) >= len(l.text) {
			if string(b[:len(l.text)]) == l.text {
				return l.kind, len(l.text)
			}
		} else if len(b) > 0 && string(b) == l.text[:len(b)] {
			return kindNone, len(b)
		}
	}
	return kindNone, 0
}

// duplicates marks the children of obj whose keys are equal.
func (t *tree) duplicates(obj int32) {
	n := int(t.nodes[obj].count)
	if n < 2 {
		return
	}
	if n <= 6 {
		for a := obj + 1; a != 0; a = t.nodes[a].next {
			for b := t.nodes[a].next; b != 0; b = t.nodes[b].next {
				if bytes.Equal(t.keyOf(a), t.keyOf(b)) {
					t.mark(a, b)
				}
			}
		}
		return
	}
	size := 1 << bits.Len(uint(2*n))
	if len(t.table) < size {
		t.table = make([]slot, size)
		t.gen = 0
	}
	t.gen++
	if t.gen == 0 {
		clear(t.table)
		t.gen = 1
	}
	mask := uint32(size - 1)
	for a := obj + 1; a != 0; a = t.nodes[a].next {
		key := t.keyOf(a)
		h := uint32(maphash.Bytes(t.seed, key))
		for s := h & mask; ; s = (s + 1) & mask {
			e := &t.table[s]
			if e.gen != t.gen {
				*e = slot{t.gen, h, a}
				break
			}
			if e.hash == h && bytes.Equal(t.keyOf(e.node), key) {
				t.mark(e.node, a)
				break
			}
		}
	}
}

func (t *tree) mark(a, b int32) {
	t.nodes[a].flags |= isDuplicate
	t.nodes[b].flags |= isDuplicate
	if t.dup == 0 {
		t.dup = b
	}
}
