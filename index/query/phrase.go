package query

import (
	"encoding/binary"
	"strings"
	"unicode/utf8"
)

// maxPhrase bounds the words of one phrase, and so the work of one comparison.
const maxPhrase = 256

// phrase is a run of consecutive words. A word may be a pattern.
//
// It is searched in the text as it stands, without splitting it first: from the
// rarest byte of its words, by the two byte searches that the processor does
// fast (lower and upper case), and from there outwards.
type phrase struct {
	elems []string // folded, with wildcard markers in patterns
	globs []bool   // nil when there is no pattern

	wide   bool // a plain word has code points beyond ASCII
	anchor int  // the word with the rarest byte, -1 when no word has an ASCII byte
	off    int  // of that byte in the word
	lo, up byte // the byte in both cases
	min    int  // shortest text that can match, as far as it is ASCII
}

func (p *phrase) isGlob(i int) bool { return p.globs != nil && p.globs[i] }

// rarity orders the bytes of words from rare to common in logs.
const rarity = "qzjxwkvybhgfump0987654321ldcnosrita"

// prepare finds the anchor.
func (p *phrase) prepare() {
	p.anchor, p.min = -1, len(p.elems)-1
	best := len(rarity) + 1
	for i, e := range p.elems {
		if !p.isGlob(i) {
			p.min += len(e)
		}
		for j := 0; j < len(e); j++ {
			if e[j] >= utf8.RuneSelf {
				p.wide = p.wide || !p.isGlob(i)
				continue
			}
			rank := strings.IndexByte(rarity, e[j])
			if rank < 0 {
				rank = len(rarity)
			}
			if rank < best {
				best, p.anchor, p.off, p.lo = rank, i, j, e[j]
			}
		}
	}
	if p.up = p.lo; p.lo >= 'a' {
		p.up = p.lo - 0x20
	}
}

// match reports whether the words stand in s one after the other.
func (p *phrase) match(s string) bool {
	ascii := isASCII(s)
	if ascii && p.wide {
		return false
	}
	// Beyond ASCII, the search goes by ASCII bytes as long as nothing else folds to one.
	if p.anchor < 0 || !ascii && (p.wide || foldsToASCII(s)) {
		return p.walk(s)
	}
	return len(s) >= p.min && p.search(s)
}

// foldsToASCII reports whether s has one of the two code points beyond ASCII
// whose lower case is in ASCII: the Kelvin sign and the I with a dot.
func foldsToASCII(s string) bool {
	return strings.Contains(s, "\u212a") || strings.Contains(s, "\u0130")
}

// search finds the anchor's byte and looks around it.
func (p *phrase) search(s string) bool {
	lo, up := indexFrom(s, 0, p.lo), len(s)
	if p.up != p.lo {
		up = indexFrom(s, 0, p.up)
	}
	for {
		at := lo
		if up < lo {
			at = up
			up = indexFrom(s, at+1, p.up)
		} else if lo < len(s) {
			lo = indexFrom(s, at+1, p.lo)
		} else {
			return false
		}
		if p.around(s, at) {
			return true
		}
	}
}

func indexFrom(s string, i int, c byte) int {
	if n := strings.IndexByte(s[i:], c); n >= 0 {
		return i + n
	}
	return len(s)
}

// around checks the anchor word that has its byte at position at, then the words
// behind and before it.
func (p *phrase) around(s string, at int) bool {
	var i, end int
	if p.isGlob(p.anchor) {
		i, end = at-wordBefore(s[:at]), at+wordEnd(s[at:])
		if !globMatch(p.elems[p.anchor], s[i:end]) {
			return false
		}
	} else {
		w := p.elems[p.anchor]
		i = at - p.off
		if end = i + len(w); i < 0 || end > len(s) {
			return false
		}
		for k := 0; k < len(w); k++ {
			if class[s[i+k]] != w[k] {
				return false
			}
		}
		if i > 0 && class[s[i-1]] != 0 && wordBefore(s[:i]) > 0 || end < len(s) && class[s[end]] != 0 && wordEnd(s[end:]) > 0 {
			return false
		}
	}
	if !p.forward(s, end, p.anchor+1) {
		return false
	}
	for k := p.anchor - 1; k >= 0; k-- {
		end = i - separatorBefore(s[:i])
		n := wordBefore(s[:end])
		if i = end - n; n == 0 || !p.one(k, s[i:end]) {
			return false
		}
	}
	return true
}

// forward checks the words from number k on behind the end of a word.
func (p *phrase) forward(s string, end, k int) bool {
	for ; k < len(p.elems); k++ {
		end += separator(s[end:])
		n := wordEnd(s[end:])
		if n == 0 || !p.one(k, s[end:end+n]) {
			return false
		}
		end += n
	}
	return true
}

// walk is match for any text and phrase: word by word.
func (p *phrase) walk(s string) bool {
	for i := separator(s); i < len(s); {
		n := wordEnd(s[i:])
		if p.one(0, s[i:i+n]) && p.forward(s, i+n, 1) {
			return true
		}
		i += n
		i += separator(s[i:])
	}
	return false
}

// one compares the whole word w with element k.
func (p *phrase) one(k int, w string) bool {
	if p.isGlob(k) {
		return globMatch(p.elems[k], w)
	}
	return foldCompare(w, p.elems[k]) == 0
}

func isASCII(s string) bool {
	b := bytesOf(s)
	for len(b) >= 8 {
		if binary.LittleEndian.Uint64(b)&0x8080808080808080 != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
