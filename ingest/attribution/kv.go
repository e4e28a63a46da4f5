package attribution

import "bytes"

// pair is one key=value of a line.
type pair struct {
	key, val []byte
	twice    bool // the key stands more than once: nothing is taken from it
}

// maxPairs bounds the pairs that are read from one line.
const maxPairs = 512

// parsePairs reads key=value, key="quoted \" value" and bare words, once for a
// line, and reports whether there are pairs.
func (e *event) parsePairs() bool {
	if e.paired {
		return e.isPair
	}
	e.paired, e.isPair = true, false
	e.pairs, e.bare, e.leadTime, e.pairFault = e.pairs[:0], 0, nil, ""
	b := e.payload
	if bytes.IndexByte(b, '=') < 0 {
		return false
	}
	for i := 0; i < len(b) && len(e.pairs) < maxPairs; {
		for i < len(b) && (b[i] <= ' ' || b[i] == ',') {
			i++
		}
		start := i
		for i < len(b) && b[i] > ' ' && b[i] != '=' && b[i] != '"' {
			i++
		}
		key := b[start:i]
		if i >= len(b) || b[i] != '=' || len(key) == 0 || !isKey(key) {
			for i < len(b) && b[i] > ' ' {
				i++
			}
			if i > start {
				if start == 0 {
					if _, ok := parseRFC3339(b[:i], nil); ok {
						e.leadTime = b[:i]
						continue
					}
				}
				e.bare++
			}
			continue
		}
		i++
		if i < len(b) && b[i] == '"' {
			val, end := e.quoted(b, i+1)
			e.pairs = append(e.pairs, pair{key: key, val: val})
			i = end
			continue
		}
		start = i
		for i < len(b) && b[i] > ' ' {
			i++
		}
		e.pairs = append(e.pairs, pair{key: key, val: bytes.TrimSuffix(b[start:i], []byte(","))})
	}
	if len(e.pairs) == maxPairs {
		e.pairFault = "more than 511 pairs"
	}
	e.isPair = len(e.pairs) > 0
	e.markTwice()
	return e.isPair
}

// markTwice finds keys that stand more than once with different values.
func (e *event) markTwice() {
	if len(e.pairs) <= 40 { // cheaper than a map
		for i := range e.pairs {
			for j := range e.pairs[:i] {
				a, b := &e.pairs[i], &e.pairs[j]
				if len(a.key) == len(b.key) && bytes.Equal(a.key, b.key) && !bytes.Equal(a.val, b.val) {
					a.twice, b.twice = true, true
				}
			}
		}
		return
	}
	seen := e.seen
	if seen == nil {
		seen = make(map[string]int)
		e.seen = seen
	}
	clear(seen)
	for i := range e.pairs {
		p := &e.pairs[i]
		if j, ok := seen[string(p.key)]; ok {
			if !bytes.Equal(e.pairs[j].val, p.val) {
				p.twice, e.pairs[j].twice = true, true
			}
			continue
		}
		seen[string(p.key)] = i
	}
}

// quoted reads a quoted value from behind its quote.
func (e *event) quoted(b []byte, i int) (val []byte, end int) {
	start := i
	for i < len(b) && b[i] != '"' {
		if b[i] == '\\' {
			i++
		}
		i++
	}
	if i >= len(b) {
		e.pairFault = "quoted value is cut off"
		return nil, len(b)
	}
	val = b[start:i]
	if bytes.IndexByte(val, '\\') >= 0 {
		val = unescape(nil, val)
	}
	return val, i + 1
}

func isKey(k []byte) bool {
	for _, c := range k {
		switch {
		case c|0x20 >= 'a' && c|0x20 <= 'z', c-'0' < 10, c == '_', c == '.', c == '-', c == '@', c == '/':
		default:
			return false
		}
	}
	return true
}

// mostlyPairs tells key=value lines from sentences that mention one.
func (e *event) mostlyPairs() bool { return len(e.pairs) >= 2 && len(e.pairs) >= e.bare }

// pair is the value of the key, nil when it is missing or ambiguous.
func (e *event) pair(key string) []byte {
	for i := range e.pairs {
		if string(e.pairs[i].key) == key {
			if e.pairs[i].twice {
				return nil
			}
			return e.pairs[i].val
		}
	}
	return nil
}

// pairFaults makes the record malformed when pairs are cut off or a key is ambiguous.
func (e *event) pairFaults() {
	if e.pairFault != "" {
		e.fail(e.pairFault)
	}
	for i := range e.pairs {
		if e.pairs[i].twice {
			e.fail("duplicate key " + e.text(e.pairs[i].key[:min(len(e.pairs[i].key), 64)]))
			return
		}
	}
}
