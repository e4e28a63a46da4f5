package index

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"custody/index/query"
	"custody/index/seal"
	"custody/ingest/record"
)

// Redaction removes fields of sealed records. Only whole fields here; what of
// the raw line and of other fields holds the same value goes with them.
type Redaction struct {
	Policy string         // the rule's name
	Basis  string         // legal basis, in the rule's words
	Fields []record.Field // what goes; never id, time or received
	Query  *query.Query   // which records
	Before int64          // received before, Unix nanoseconds; 0 is no bound
}

// Redactable reports whether a field can be removed; the others are what the
// proof stands on.
func Redactable(f record.Field) bool {
	switch f {
	case record.ID, record.Time, record.Received, record.Absence, record.Provenance, record.MessageOffset,
		record.SourceName, record.ContextTenant, record.About:
		return false
	}
	return f < record.NumFields
}

// Redact masks the fields of every sealed record that matches at once, states
// it in a sealed redaction row, and then erases them physically by rewriting the
// segments. It returns the number of records. Records that were redacted of the
// same fields before are passed over.
func (l *Ledger) Redact(ctx context.Context, c Redaction) (int, error) {
	for _, f := range c.Fields {
		if !Redactable(f) {
			return 0, fmt.Errorf("redact: field %s is what the proof stands on and stays", f)
		}
	}
	if len(c.Fields) == 0 {
		return 0, fmt.Errorf("redact: no fields named")
	}
	var targets []uint64
	slots := make(map[record.Field]bool)
	sealedTo := l.sealedSize()
	err := l.Scan(ctx, Request{Query: c.Query, Order: OldestFirst}, func(r *record.Record) error {
		if r.Seq >= sealedTo || c.Before != 0 && r.Received >= c.Before || r.Kind != record.KindRecord || !holdsAny(r, c.Fields) {
			return nil
		}
		targets = append(targets, r.Seq)
		for _, u := range redactRow(r, c.Fields) { // of a copy: says what will be touched
			slots[u.Slot] = true
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	if len(targets) == 0 {
		if l.overlay.hasMasks(0) { // an erasure that was interrupted
			return 0, l.erase(ctx)
		}
		return 0, nil
	}
	records := len(targets)
	targets = l.overlay.withAmendments(targets)
	var touched []record.Field
	for f := range record.NumFields {
		if slots[f] || slices.Contains(c.Fields, f) {
			touched = append(touched, f)
		}
	}
	by, err := l.State(ctx, record.KindRedaction, func(r *record.Record) {
		for _, s := range seqRanges(targets) {
			r.Add(record.About, s, "")
		}
		r.Add(record.Attributes, "mode=shred", "")
		r.Add(record.Attributes, "fields="+fieldNames(c.Fields), "")
		r.Add(record.Attributes, "slots="+fieldNames(touched), "")
		r.Set(record.DecisionPolicyID, c.Policy, "")
		r.Set(record.DecisionReason, c.Basis, "")
	})
	if err != nil {
		return 0, fmt.Errorf("redact: %w", err)
	}
	l.overlay.addMasks(targets, mask{by, c.Fields})
	return records, l.erase(ctx)
}

func holdsAny(r *record.Record, fields []record.Field) bool {
	return slices.ContainsFunc(fields, func(f record.Field) bool {
		if f == record.Raw || f == record.Message {
			return r.Absent(f.String()) != record.Redacted && r.Has(f)
		}
		return r.Has(f)
	})
}

// seqRanges renders ascending seqs as "a" or "a-b".
func seqRanges(seqs []uint64) []string {
	var out []string
	for i := 0; i < len(seqs); {
		j := i
		for j+1 < len(seqs) && seqs[j+1] == seqs[j]+1 {
			j++
		}
		s := strconv.FormatUint(seqs[i], 10)
		if j > i {
			s += "-" + strconv.FormatUint(seqs[j], 10)
		}
		out = append(out, s)
		i = j + 1
	}
	return out
}

// filler stands for a removed byte of a raw line: lengths stay, so that the
// untouched pieces keep their places and their proofs.
const filler = '*'

// minFollow is the length from which a removed value is searched for elsewhere
// in its record: shorter ones stand in a line by chance.
const minFollow = 4

// redactRow removes the fields, every other value that contains one of theirs,
// and their bytes in the raw line. It returns what was touched, as sealed units.
func redactRow(r *record.Record, fields []record.Field) []seal.Unit {
	var units []seal.Unit
	var secrets [][]byte
	drop := func(f record.Field) {
		units = append(units, seal.Unit{Slot: f, Element: seal.WholeSlot})
		if f.IsList() {
			r.RemoveList(f)
		} else {
			r.Unset(f)
		}
		r.SetAbsent(f.String(), record.Redacted)
	}
	wholeRaw := false
	r.OpenProvenance()
	for _, f := range fields {
		switch {
		case f == record.Raw, f == record.Message && r.Has(record.MessageOffset) && !explicit(r, f):
			wholeRaw = true
			continue
		case !r.Has(f):
			continue
		case f.IsList():
			for _, v := range r.List(f) {
				if f.Info().Kind == record.Objects {
					secrets = memberStrings(secrets, v)
				} else {
					secrets = appendForms(secrets, v)
				}
			}
		default:
			v := r.Get(f)
			forms := appendForms(nil, v)
			// The line gave this value, but in a form that is not known here: then
			// all of the line goes.
			if r.Prov(f) != "" && !containsAny(r.Raw, forms) {
				wholeRaw = true
			}
			secrets = append(secrets, forms...)
		}
		drop(f)
	}
	var more []record.Field
	r.Scalars(func(f record.Field, v, _ string) bool {
		if Redactable(f) && containsAny([]byte(v), secrets) {
			more = append(more, f)
		}
		return true
	})
	r.Lists(func(f record.Field, v, _ string) bool {
		if Redactable(f) && containsAny([]byte(v), secrets) && !slices.Contains(more, f) {
			more = append(more, f)
		}
		return true
	})
	for _, f := range more {
		drop(f)
	}
	if len(r.Raw) == 0 {
		return units
	}
	raw := bytes.Clone(r.Raw)
	touched := make(map[int]bool)
	blank := func(from, to int) {
		for i := from; i < to; i++ {
			raw[i] = filler
			touched[i/seal.PieceSize] = true
		}
	}
	if wholeRaw {
		blank(0, len(raw))
		r.SetAbsent(record.Raw.String(), record.Redacted)
	}
	lower := lowerASCII(r.Raw)
	for _, s := range secrets {
		for at := 0; ; {
			i := bytes.Index(lower[at:], s)
			if i < 0 {
				break
			}
			blank(at+i, at+i+len(s))
			at += i + 1
		}
	}
	for p := range touched {
		units = append(units, seal.Unit{Slot: record.Raw, Element: p})
	}
	slices.SortFunc(units, func(a, b seal.Unit) int {
		if a.Slot != b.Slot {
			return int(a.Slot) - int(b.Slot)
		}
		return a.Element - b.Element
	})
	r.Raw = raw
	return units
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
	forms = append(forms, url.QueryEscape(v), url.PathEscape(v), base64.StdEncoding.EncodeToString([]byte(v)))
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

// memberStrings adds the strings inside a canonical JSON object as secrets.
func memberStrings(dst [][]byte, obj string) [][]byte {
	var v any
	if json.Unmarshal([]byte(obj), &v) != nil {
		return appendForms(dst, obj)
	}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			dst = appendForms(dst, v)
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
	return dst
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
