package query

import (
	"encoding/hex"
	"unicode/utf16"
	"unicode/utf8"

	"custody/ingest/record"
)

// maxTerm is where whole values are cut in the keys of terms, in bytes of their
// folded form. A term of that length may stand for longer values.
const maxTerm = 256

// First bytes of the keys of terms. Words of messages are many, those of other
// values few: kept apart they tell whether the message is all there is to look at.
const (
	wordKey  = 'w'
	otherKey = 'o'
	valueKey = 'k'
	pairKey  = 0x01
)

// What of a field's values the word search sees.
const (
	wordsNone   = iota
	wordsPlain  // the value
	wordsObject // the strings in the value's canonical JSON, without the names of members
)

// wordsOf says what the word search sees of each field that Scalars and Lists
// yield. The message comes apart from this, since it need not be a scalar.
var wordsOf = func() (t [record.NumFields]uint8) {
	for f := range record.NumFields {
		switch f.Info().Kind {
		case record.Text, record.List:
			t[f] = wordsPlain
		case record.Objects:
			t[f] = wordsObject
		}
	}
	t[record.ID], t[record.Message], t[record.About] = wordsNone, wordsNone, wordsNone
	return t
}()

var cardinality = func() (t [record.NumFields]record.Cardinality) {
	for f := range t {
		t[f] = record.Field(f).Info().Cardinality
	}
	return t
}()

// TermKey appends the key of a whole value of the keyword field f to dst: 'k',
// the field's number in two bytes (0x40 plus six bits each, high first), the
// folded value up to 256 bytes. "" gives the prefix of all of the field's keys.
func TermKey(dst []byte, f record.Field, value string) []byte {
	dst = append(dst, valueKey, 0x40|byte(f>>6)&0x3f, 0x40|byte(f)&0x3f)
	mark := len(dst)
	// A code point shrinks to a third at most when folded.
	if len(value) > 4*maxTerm {
		value = value[:4*maxTerm]
	}
	dst = appendFold(dst, value)
	return dst[:min(len(dst), mark+maxTerm)]
}

// termPrefix is the length of a key before the value.
const termPrefix = 3

// WordKey appends the key of a word of the message (as [Words] yields it) to dst: 'w', the word.
func WordKey(dst []byte, word []byte) []byte {
	dst = append(dst, wordKey)
	return append(dst, word...)
}

// IsMessageWord reports whether a key is one of WordKey.
func IsMessageWord(key []byte) bool { return len(key) > 0 && key[0] == wordKey }

// IdentKey appends the filter key of an identifier's whole value, or of a word
// for which [IsIdent] holds, to dst: the folded value. Fields share the keys.
func IdentKey(dst, value []byte) []byte { return appendFold(dst, view(value)) }

// Scratch is memory for IndexTerms to reuse. The zero value is ready. Not safe
// for concurrent use.
type Scratch struct {
	word      [1 + maxWord]byte
	key, text []byte
}

// IndexTerms states what the index holds for a record:
//
//   - for each value of a keyword field, list elements included: term TermKey;
//   - for each value of an identifier field, id included: ident IdentKey, unless
//     a word of it is an identifier already (standsForWhole);
//   - for requester.id and executor.id, if both are there: ident PairKey;
//   - for each word of MessageText: term WordKey, or ident IdentKey when IsIdent;
//   - for each word of every other field of kind Text or List but id and about, of
//     the strings in delegation and links, and of the reasons in absence: term
//     'o', the word; or ident IdentKey when IsIdent.
//
// Times, numbers, raw bytes before the message and provenance have no words.
// Keys repeat when values do, and are valid during the call only.
func IndexTerms(r *record.Record, s *Scratch, term, ident func(key []byte)) {
	if r.ID != ([16]byte{}) {
		s.key = appendID(s.key[:0], r.ID)
		ident(s.key)
	}
	RowTerms(r, s, term, ident)
	value := func(f record.Field, v, _ string) bool {
		if cardinality[f] == record.Keyword {
			ValueTerms(f, v, s, term, ident)
		}
		return true
	}
	r.Scalars(value)
	r.Lists(value)
	if abs := r.AbsenceJSON(); abs != "" {
		ValueTerms(record.Absence, abs, s, term, ident)
	}
}

// RowTerms is the part of IndexTerms that differs from row to row: the message
// and the fields that are not keywords. The id is not in it: a store that numbers
// its rows by time finds an id by the time that it carries.
func RowTerms(r *record.Record, s *Scratch, term, ident func(key []byte)) {
	scanner := wordScanner{s, wordKey, term, ident}
	scanner.words(r.MessageText())
	value := func(f record.Field, v, _ string) bool {
		if cardinality[f] != record.Keyword {
			ValueTerms(f, v, s, term, ident)
		}
		return true
	}
	r.Scalars(value)
	r.Lists(value)
	if who, by := r.Get(record.RequesterID), r.Get(record.ExecutorID); who != "" && by != "" {
		s.key = PairKey(s.key[:0], who, by)
		ident(s.key)
	}
}

// PairKey appends the filter key of who asked and which agent acted to dst: 0x01,
// the folded requester.id, 0x00, the folded executor.id. Each of them alone
// stands in every block; the two together are what one asks for.
func PairKey(dst []byte, requester, executor string) []byte {
	dst = append(dst, pairKey)
	dst = appendFold(dst, requester)
	dst = append(dst, 0)
	return appendFold(dst, executor)
}

// ValueTerms states what the index holds for one value of a field, or for the
// canonical object of record.Absence. Keyword values repeat, so a caller may
// state those once for all rows that have them.
func ValueTerms(f record.Field, v string, s *Scratch, term, ident func(key []byte)) {
	scanner := wordScanner{s, otherKey, term, ident}
	if f == record.Absence {
		s.text, _ = objectStrings(v, s.text, scanner.words)
		return
	}
	switch cardinality[f] {
	case record.Keyword:
		s.key = TermKey(s.key[:0], f, v)
		term(s.key)
	}
	switch wordsOf[f] {
	case wordsPlain:
		scanner.words(v)
	case wordsObject:
		s.text, _ = objectStrings(v, s.text, scanner.words)
	}
	if cardinality[f] == record.Identifier {
		if s.key = appendFold(s.key[:0], v); !standsForWhole(f, s.key) {
			ident(s.key)
		}
	}
}

// standsForWhole reports whether a word of the identifier field's folded value
// is an identifier itself ("req-7740eb31ebd3"): a filter that has the word need
// not have the whole value as well. It depends on the folded value alone, so
// that both sides of a look-up agree.
func standsForWhole(f record.Field, folded []byte) bool {
	if wordsOf[f] != wordsPlain {
		return false
	}
	for i := 0; i < len(folded); {
		n := 0
		for i+n < len(folded) && class[folded[i+n]] != 0 {
			if folded[i+n] >= utf8.RuneSelf {
				return false
			}
			n++
		}
		if IsIdent(folded[i:min(i+n, i+maxWord)]) {
			return true
		}
		i += n + 1
	}
	return false
}

// wordScanner states the words of values.
type wordScanner struct {
	s           *Scratch
	key         byte // that the keys of words begin with
	term, ident func(key []byte)
}

func (w *wordScanner) words(v string) bool {
	w.s.word[0] = w.key
	scanWords(v, &w.s.word, func(n int) {
		if word := w.s.word[1 : 1+n]; IsIdent(word) {
			w.ident(word) // a word is its own folded form
		} else {
			w.term(w.s.word[:1+n]) // what WordKey makes, for messages
		}
	})
	return false
}

// appendID appends what record.FormatID returns.
func appendID(dst []byte, id [16]byte) []byte {
	dst = hex.AppendEncode(dst, id[:4])
	for _, part := range [][]byte{id[4:6], id[6:8], id[8:10], id[10:]} {
		dst = append(dst, '-')
		dst = hex.AppendEncode(dst, part)
	}
	return dst
}

// objectStrings calls yield for each string in canonical JSON that is not the
// name of a member, until yield returns true; it returns what yield returned.
// buf is memory for strings with escapes; the string is valid during the call.
func objectStrings(s string, buf []byte, yield func(v string) bool) ([]byte, bool) {
	for i := 0; i < len(s); i++ {
		if s[i] != '"' {
			continue
		}
		start, escaped := i+1, false
		for i = start; i < len(s) && s[i] != '"'; i++ {
			if s[i] == '\\' {
				escaped = true
				i++
			}
		}
		if i >= len(s) {
			return buf, false
		}
		v := s[start:i]
		next := i + 1
		for next < len(s) && (s[next] == ' ' || s[next] == '\n' || s[next] == '\t' || s[next] == '\r') {
			next++
		}
		if next < len(s) && s[next] == ':' {
			continue
		}
		if escaped {
			buf = unescape(buf[:0], v)
			v = view(buf)
		}
		if yield(v) {
			return buf, true
		}
	}
	return buf, false
}

// unescape appends the text of a JSON string's inside (RFC 8259, section 7).
// Half a surrogate pair becomes U+FFFD, as encoding/json has it.
func unescape(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			dst = append(dst, s[i])
			continue
		}
		i++
		switch s[i] {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r, n := hex4(s[i+1:])
			i += n
			if utf16.IsSurrogate(r) {
				pair := rune(utf8.RuneError)
				if len(s)-i > 2 && s[i+1] == '\\' && s[i+2] == 'u' {
					low, n := hex4(s[i+3:])
					if pair = utf16.DecodeRune(r, low); pair != utf8.RuneError {
						i += 2 + n
					}
				}
				r = pair
			}
			dst = utf8.AppendRune(dst, r)
		default:
			dst = append(dst, s[i])
		}
	}
	return dst
}

// hex4 reads the four digits of a \u escape; n is how many there were.
func hex4(s string) (r rune, n int) {
	for n < 4 && n < len(s) {
		c := s[n] | 0x20
		switch {
		case s[n]-'0' <= 9:
			r = r<<4 | rune(s[n]-'0')
		case c-'a' <= 5:
			r = r<<4 | rune(c-'a'+10)
		default:
			return r, n
		}
		n++
	}
	return r, n
}
