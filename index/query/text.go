package query

import (
	"unicode"
	"unicode/utf8"
	"unsafe"
)

// maxWord is where words are cut for the index, in bytes of their lower-cased form.
const maxWord = 64

// class[c] is the lower-cased byte of an ASCII letter or digit, 0 for other
// ASCII, and wide for the bytes of longer code points.
const wide = 0xff

var class = func() (t [256]byte) {
	for c := '0'; c <= '9'; c++ {
		t[c] = byte(c)
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c-'a'+'A'] = byte(c), byte(c)
	}
	for c := utf8.RuneSelf; c < 256; c++ {
		t[c] = wide
	}
	return t
}()

// isWordRune: letters and decimal digits make words, all else separates them.
func isWordRune(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// decode is utf8.DecodeRuneInString with -1 for a byte that is not UTF-8, so
// that such a byte stays different from a real U+FFFD.
func decode(s string) (rune, int) {
	r, n := utf8.DecodeRuneInString(s)
	if r == utf8.RuneError && n == 1 {
		return -1, 1
	}
	return r, n
}

func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// Words calls yield for each word of s: the lower-cased runs of letters and
// decimal digits (each code point by Unicode's simple lower-case mapping). A
// word of more than 64 bytes is cut there, at a code point. The word is valid
// during the call only. buf is memory for it; the returned slice is to be handed
// in again, then nothing is allocated.
func Words(s string, buf []byte, yield func(word []byte)) []byte {
	if cap(buf) < 1+maxWord {
		buf = make([]byte, 1+maxWord)
	}
	buf = buf[:1+maxWord]
	scanWords(s, (*[1 + maxWord]byte)(buf), func(n int) { yield(buf[1 : 1+n]) })
	return buf
}

// scanWords calls yield with the length of each word of s, which then stands in
// b behind the first byte; that one is the caller's (see WordKey).
func scanWords(s string, b *[1 + maxWord]byte, yield func(n int)) {
	for i := 0; i < len(s); {
		n := 1
		for ; i < len(s); i++ {
			c := class[s[i]]
			if c-1 >= wide-1 { // 0 or wide
				break
			}
			if n < len(b) {
				b[n] = c
				n++
			}
		}
		if i < len(s) && class[s[i]] == wide {
			i, n = wideWord(s, i, b, n)
		}
		if n > 1 {
			yield(n - 1)
		}
		for i < len(s) && class[s[i]] == 0 {
			i++
		}
		if i < len(s) && class[s[i]] == wide {
			i += separator(s[i:])
		}
	}
}

// wideWord goes on with a word that has a code point beyond ASCII at i.
func wideWord(s string, i int, b *[1 + maxWord]byte, n int) (end, length int) {
	room := true
	for size := 0; i < len(s); i += size {
		var r rune
		if r, size = utf8.DecodeRuneInString(s[i:]); !isWordRune(r) {
			break
		}
		r = unicode.ToLower(r)
		if room = room && n+utf8.RuneLen(r) <= len(b); room {
			n += utf8.EncodeRune(b[n:], r)
		}
	}
	return i, n
}

// separator is the length of the run at the start of s that belongs to no word.
func separator(s string) int {
	i := 0
	for i < len(s) {
		c := class[s[i]]
		if c == 0 {
			i++
			continue
		}
		if c != wide {
			return i
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if isWordRune(r) {
			return i
		}
		i += n
	}
	return i
}

// wordEnd is the length of the word at the start of s.
func wordEnd(s string) int {
	i := 0
	for i < len(s) {
		c := class[s[i]]
		if c == 0 {
			return i
		}
		if c != wide {
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if !isWordRune(r) {
			return i
		}
		i += n
	}
	return i
}

// wordBefore is the length of the word at the end of s.
func wordBefore(s string) int {
	i := len(s)
	for i > 0 {
		c := class[s[i-1]]
		if c == 0 {
			break
		}
		if c != wide {
			i--
			continue
		}
		r, n := utf8.DecodeLastRuneInString(s[:i])
		if !isWordRune(r) {
			break
		}
		i -= n
	}
	return len(s) - i
}

// separatorBefore is the length of the run at the end of s that belongs to no word.
func separatorBefore(s string) int {
	i := len(s)
	for i > 0 {
		c := class[s[i-1]]
		if c == 0 {
			i--
			continue
		}
		if c != wide {
			break
		}
		r, n := utf8.DecodeLastRuneInString(s[:i])
		if isWordRune(r) {
			break
		}
		i -= n
	}
	return len(s) - i
}

// eachWord calls yield for each lower-cased word of s at its full length.
func eachWord(s string, yield func(w string)) {
	for {
		s = s[separator(s):]
		if s == "" {
			return
		}
		n := wordEnd(s)
		yield(foldString(s[:n]))
		s = s[n:]
	}
}

// cutWord is w as the index holds it.
func cutWord(w string) string {
	if len(w) <= maxWord {
		return w
	}
	n := maxWord
	for !utf8.RuneStart(w[n]) {
		n--
	}
	return w[:n]
}

// IsIdent reports whether a word, as [Words] yields it, is likely to be unique:
// six bytes or more with an ASCII digit, sixteen or more of hexadecimal digits
// only, or forty or more of anything. Such words are kept in the filters of
// blocks and not in the term index. It depends on the word alone.
func IsIdent(word []byte) bool {
	if len(word) < 6 {
		return false
	}
	hex := true
	for _, c := range word {
		if c-'0' <= 9 {
			return true
		}
		hex = hex && c-'a' <= 5
	}
	return hex && len(word) >= 16 || len(word) >= 40
}

// appendFold appends s in lower case, code point by code point; bytes that are
// not UTF-8 stay as they are. Two values are equal but for case when their
// folded bytes are equal.
func appendFold(dst []byte, s string) []byte {
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c-'A' <= 'Z'-'A' {
				c |= 0x20
			}
			dst = append(dst, c)
			i++
			continue
		}
		r, n := decode(s[i:])
		if r < 0 {
			dst = append(dst, c)
		} else {
			dst = utf8.AppendRune(dst, unicode.ToLower(r))
		}
		i += n
	}
	return dst
}

func foldString(s string) string { return string(appendFold(nil, s)) }

// foldAt folds the code point at the start of s into b; it returns the folded
// bytes and the length in s.
func foldAt(s string, b *[4]byte) (folded []byte, n int) {
	r, n := decode(s)
	if r < 0 {
		b[0] = s[0]
		return b[:1], 1
	}
	return b[:utf8.EncodeRune(b[:], unicode.ToLower(r))], n
}

// foldCompare orders v, folded, against folded, bytewise, without allocation.
func foldCompare(v, folded string) int {
	var b [4]byte
	j := 0
	for i := 0; i < len(v); {
		c := v[i]
		if c < utf8.RuneSelf {
			if c-'A' <= 'Z'-'A' {
				c |= 0x20
			}
			if j == len(folded) {
				return 1
			}
			if c != folded[j] {
				return sign(int(c) - int(folded[j]))
			}
			i++
			j++
			continue
		}
		f, n := foldAt(v[i:], &b)
		for _, c := range f {
			if j == len(folded) {
				return 1
			}
			if c != folded[j] {
				return sign(int(c) - int(folded[j]))
			}
			j++
		}
		i += n
	}
	if j < len(folded) {
		return -1
	}
	return 0
}

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}

// Markers of wildcards in a folded pattern: bytes that UTF-8 never has, so that
// an escaped star stays a star.
const (
	anyRun = 0xfe // *
	anyOne = 0xff // ?
)

func isMarker(c byte) bool { return c >= anyRun }

func hasMarker(p string) bool {
	for i := 0; i < len(p); i++ {
		if isMarker(p[i]) {
			return true
		}
	}
	return false
}

// separatorInPattern is separator, stopping at markers.
func separatorInPattern(s string) int {
	for i := 0; i < len(s); i++ {
		if isMarker(s[i]) {
			s = s[:i]
		}
	}
	return separator(s)
}

// globMatch reports whether the folded pattern p covers the whole of s. A ? is
// one code point, or one byte that is not UTF-8.
func globMatch(p, s string) bool {
	var b [4]byte
	i, j := 0, 0
	star, mark := -1, 0
	for j < len(s) {
		if i < len(p) {
			switch p[i] {
			case anyRun:
				star, mark = i, j
				i++
				continue
			case anyOne:
				_, n := decode(s[j:])
				i++
				j += n
				continue
			}
			f, n := foldAt(s[j:], &b)
			if len(p)-i >= len(f) && p[i:i+len(f)] == view(f) {
				i += len(f)
				j += n
				continue
			}
		}
		if star < 0 {
			return false
		}
		_, n := decode(s[mark:])
		mark += n
		i, j = star+1, mark
	}
	for i < len(p) && p[i] == anyRun {
		i++
	}
	return i == len(p)
}
