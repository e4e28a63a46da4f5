package index

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"custody/index/seal"
	"custody/ingest/record"
)

// filler stands for a removed byte of a raw line: lengths stay, so that the
// untouched pieces keep their places and their proofs.
const filler = '*'

// minFollow is the length from which a removed value is searched for elsewhere
// in its record: shorter ones stand in a line by chance.
const minFollow = 4

// redactRow removes the fields, every other value that contains one of theirs,
// and their bytes in the raw line. It returns what was touched, as sealed units.
func redactRow(r *record.Record, fields []record.Field) []seal.Unit {
	var s secrets
	s.collect(r, fields)
	return cutOf(r, fields, &s).apply(r)
}

// cut is what a redaction takes from one row: places, no values.
type cut struct {
	fields []record.Field // raw: the whole line; a field that the row has not is stated as redacted
	spans  [][2]int       // of bytes in the raw line, half open
}

func (c *cut) add(f record.Field) {
	if !slices.Contains(c.fields, f) {
		c.fields = append(c.fields, f)
	}
}

func (c *cut) merge(o *cut) {
	for _, f := range o.fields {
		c.add(f)
	}
	c.spans = append(c.spans, o.spans...)
}

// slots adds the slots that the cut touches.
func (c *cut) slots(dst map[record.Field]bool) {
	for _, f := range c.fields {
		dst[f] = true
	}
	if len(c.spans) > 0 {
		dst[record.Raw] = true
	}
}

// cutOf works out what has to go from r: the fields, whatever else holds one of
// the secrets, and their bytes in the raw line.
func cutOf(r *record.Record, fields []record.Field, s *secrets) *cut {
	c := &cut{}
	r.OpenProvenance()
	whole := false
	// The line gave a value, but in a form that is not known here: then all of the
	// line goes.
	source := func(v, prov string) {
		whole = whole || prov != "" && !containsAny(r.Raw, appendForms(nil, v))
	}
	for _, f := range fields {
		switch {
		case f == record.Raw:
			whole = whole || len(r.Raw) > 0
		case f == record.Message && !explicit(r, f):
			if r.Has(f) {
				c.add(f)
				whole = true
			}
		case !r.Has(f):
		case f.Info().Kind == record.Objects:
			c.add(f)
			r.Elements(f, func(v, prov string) bool {
				eachString(v, func(member string) { source(member, prov) })
				return true
			})
		case f.IsList():
			c.add(f)
			r.Elements(f, func(v, prov string) bool {
				source(v, prov)
				return true
			})
		default:
			c.add(f)
			source(r.Get(f), r.Prov(f))
		}
	}
	held := func(f record.Field, v, _ string) bool {
		if Redactable(f) && s.in(v) {
			c.add(f)
		}
		return true
	}
	r.Scalars(held)
	r.Lists(held)
	// The pointers of provenance are made of names in the line.
	if s.in(r.ProvenanceJSON()) {
		c.add(record.Provenance)
	}
	if whole && len(r.Raw) > 0 {
		c.add(record.Raw)
		return c
	}
	s.find(r.Raw, func(from, to int) { c.spans = append(c.spans, [2]int{from, to}) })
	return c
}

// apply carries the cut out on the sealed row and returns the sealed units that
// it touched. Doing it again changes nothing.
func (c *cut) apply(r *record.Record) []seal.Unit {
	var units []seal.Unit
	r.OpenProvenance()
	spans := c.spans
	for _, f := range c.fields {
		unit := seal.Unit{Slot: f, Element: seal.WholeSlot}
		switch {
		case f == record.Raw:
			spans = [][2]int{{0, len(r.Raw)}}
		case f == record.Provenance:
			units = append(units, unit) // the sealed one, even if no value is left that has a pointer
			clearProvenance(r)
		case f.IsList():
			if r.Has(f) {
				units = append(units, unit)
				r.RemoveList(f)
			}
		case explicit(r, f):
			units = append(units, unit)
			r.Unset(f)
		}
		r.SetAbsent(f.String(), record.Redacted)
	}
	if len(spans) > 0 && len(r.Raw) > 0 {
		raw := bytes.Clone(r.Raw)
		touched := make(map[int]bool)
		for _, s := range spans {
			for i := max(s[0], 0); i < min(s[1], len(raw)); i++ {
				raw[i] = filler
				touched[i/seal.PieceSize] = true
			}
		}
		for p := range touched {
			units = append(units, seal.Unit{Slot: record.Raw, Element: p})
		}
		r.Raw = raw
	}
	slices.SortFunc(units, func(a, b seal.Unit) int {
		if a.Slot != b.Slot {
			return int(a.Slot) - int(b.Slot)
		}
		return a.Element - b.Element
	})
	return units
}

// done reports whether the cut was carried out on the stored row.
func (c *cut) done(r *record.Record) bool {
	for _, f := range c.fields {
		if r.Absent(f.String()) != record.Redacted || f.IsList() && r.Has(f) || !f.IsList() && explicit(r, f) {
			return false
		}
	}
	for _, s := range c.spans {
		for i := max(s[0], 0); i < min(s[1], len(r.Raw)); i++ {
			if r.Raw[i] != filler {
				return false
			}
		}
	}
	return true
}

// clearProvenance takes the pointers from all values.
func clearProvenance(r *record.Record) {
	type value struct {
		f record.Field
		v string
	}
	var scalars, elements []value
	r.Scalars(func(f record.Field, v, _ string) bool {
		scalars = append(scalars, value{f, v})
		return true
	})
	r.Lists(func(f record.Field, v, _ string) bool {
		elements = append(elements, value{f, v})
		return true
	})
	for _, s := range scalars {
		r.Set(s.f, s.v, "")
	}
	for _, e := range elements {
		r.RemoveList(e.f)
	}
	for _, e := range elements {
		r.Add(e.f, e.v, "")
	}
	r.SetTime(r.Time, "")
}

// secrets are values that go wherever they stand.
type secrets struct {
	forms [][]byte // of appendForms
	// words are values too short to be searched for but as a whole word: they are
	// looked for only where they are known from another row.
	words     [][]byte
	withWords bool
}

// collect adds the values that r has in the fields.
func (s *secrets) collect(r *record.Record, fields []record.Field) {
	add := func(v string) {
		s.forms = appendForms(s.forms, v)
		if s.withWords && len(v) < minFollow {
			s.words = append(s.words, lowerASCII([]byte(v)))
		}
	}
	for _, f := range fields {
		switch {
		case f == record.Raw, f == record.Message && !explicit(r, f), !r.Has(f):
		case f.Info().Kind == record.Objects:
			for _, v := range r.List(f) {
				eachString(v, add)
			}
		case f.IsList():
			for _, v := range r.List(f) {
				add(v)
			}
		default:
			add(r.Get(f))
		}
	}
}

// in reports whether v holds a secret.
func (s *secrets) in(v string) (found bool) {
	s.find([]byte(v), func(int, int) { found = true })
	return found
}

// find calls fn for every place in v that holds a secret.
func (s *secrets) find(v []byte, fn func(from, to int)) {
	if len(v) == 0 || len(s.forms)+len(s.words) == 0 {
		return
	}
	lower := lowerASCII(v)
	each := func(secret []byte, whole bool) {
		for at := 0; ; {
			i := bytes.Index(lower[at:], secret)
			if i < 0 {
				return
			}
			from, to := at+i, at+i+len(secret)
			if !whole || (from == 0 || !wordByte(lower[from-1])) && (to == len(lower) || !wordByte(lower[to])) {
				fn(from, to)
			}
			at = from + 1
		}
	}
	for _, f := range s.forms {
		each(f, false)
	}
	for _, w := range s.words {
		each(w, true)
	}
}

func wordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c >= 0x80
}

// explicit reports whether the scalar f was set, not derived.
func explicit(r *record.Record, f record.Field) (found bool) {
	r.Scalars(func(g record.Field, _, _ string) bool {
		found = g == f
		return !found
	})
	return found
}

// appendForms adds the forms in which a value may stand in a line: as it is, as
// JSON escapes it (with and without what lies beyond ASCII or what HTML minds, and
// with an escaped slash), and that inside another JSON string; folded by lowerASCII.
func appendForms(dst [][]byte, v string) [][]byte {
	if len(v) < minFollow {
		return dst
	}
	q := record.AppendQuoted(nil, v)
	forms := []string{v, string(q[1 : len(q)-1])}
	if b, err := json.Marshal(v); err == nil { // <, > and & escaped
		forms = append(forms, string(b[1:len(b)-1]))
	}
	forms = append(forms, strings.Trim(strconv.QuoteToASCII(v), `"`), asciiJSON(v))
	for _, f := range forms {
		forms = append(forms, strings.ReplaceAll(f, "/", `\/`))
	}
	for _, f := range forms {
		forms = append(forms, strings.ReplaceAll(strings.ReplaceAll(f, `\`, `\\`), `"`, `\"`))
	}
	forms = append(forms, url.QueryEscape(v), url.PathEscape(v), strings.NewReplacer("~", "~0", "/", "~1").Replace(v),
		base64.RawStdEncoding.EncodeToString([]byte(v)), base64.RawURLEncoding.EncodeToString([]byte(v)))
	for _, f := range forms {
		b := lowerASCII([]byte(f))
		if !slices.ContainsFunc(dst, func(have []byte) bool { return bytes.Equal(have, b) }) {
			dst = append(dst, b)
		}
	}
	return dst
}

// asciiJSON escapes everything beyond ASCII as \uXXXX, as many writers of JSON do.
func asciiJSON(v string) string {
	var b []byte
	for _, c := range v {
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', byte(c))
		case c < 0x20 || c > 0x7e && c < 0x10000:
			b = fmt.Appendf(b, `\u%04x`, c)
		case c >= 0x10000:
			hi, lo := utf16.EncodeRune(c)
			b = fmt.Appendf(b, `\u%04x\u%04x`, hi, lo)
		default:
			b = append(b, byte(c))
		}
	}
	return string(b)
}

// eachString calls fn for the strings inside a canonical JSON object.
func eachString(obj string, fn func(string)) {
	var v any
	if json.Unmarshal([]byte(obj), &v) != nil {
		fn(obj)
		return
	}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			fn(v)
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			for _, e := range v {
				walk(e)
			}
		}
	}
	walk(v)
}

// lowerASCII folds ASCII only, so that offsets stay those of the line.
func lowerASCII(b []byte) []byte {
	out := bytes.Clone(b)
	for i, c := range out {
		if c >= 'A' && c <= 'Z' {
			out[i] = c | 0x20
		}
	}
	return out
}

func containsAny(v []byte, secrets [][]byte) bool {
	v = lowerASCII(v)
	return slices.ContainsFunc(secrets, func(s []byte) bool { return bytes.Contains(v, s) })
}
