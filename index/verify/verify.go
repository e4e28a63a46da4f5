// Package verify checks a custody log against the rows that it seals, with
// readers that the caller supplies: it knows no store and no index.
//
// It guarantees that a green report means: the checkpoint is signed by the given
// key; the entries hash to its root; every row re-computes to its entry; every
// row that is missing is named by a sealed expiry, and every value that is
// missing by a sealed redaction; and each earlier checkpoint given is a prefix of
// the log. One host alone cannot show that its own log was never rolled back or
// re-signed: that is what the earlier checkpoints are for, and [Report.Tier]
// says what was compared.
package verify

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"custody/index/seal"
	"custody/ingest/record"
)

// Row is a stored row with its entry as computed from its values and secrets.
type Row struct {
	Record   *record.Record // valid during the call only
	Entry    seal.Entry
	Withheld []seal.Unit // units whose values are gone
}

// Input is what is verified.
type Input struct {
	Checkpoint []byte   // the newest, a signed note
	VKeys      []string // keys that may have signed it
	Against    [][]byte // checkpoints that left the host before
	// Entries calls fn for every entry of the log in order.
	Entries func(fn func(entry seal.Entry) error) error
	// Rows calls fn for every stored row in order of seq.
	Rows func(fn func(Row) error) error
}

// Problem is one fault, over a range of seqs.
type Problem struct {
	From, To uint64 // inclusive
	What     string
}

// String is the problem in one line.
func (p Problem) String() string {
	if p.From == p.To {
		return fmt.Sprintf("seq %d: %s", p.From, p.What)
	}
	return fmt.Sprintf("seq %d to %d: %s", p.From, p.To, p.What)
}

// Report is the outcome.
type Report struct {
	Origin   string
	Size     uint64 // entries in the log
	Rows     uint64 // rows present and re-computed
	Expired  uint64 // rows gone, with a certificate
	Redacted uint64 // rows with values gone, with a redaction
	Unsealed uint64 // rows behind the checkpoint, not yet sealed
	Tier     string // "self-checked only", or "consistent with N earlier checkpoints"
	Problems []Problem
}

// OK reports whether nothing was found.
func (r *Report) OK() bool { return len(r.Problems) == 0 }

// maxProblems bounds a report; more of the same adds nothing.
const maxProblems = 1000

func (r *Report) add(from, to uint64, format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	if n := len(r.Problems); n > 0 && r.Problems[n-1].What == what && r.Problems[n-1].To+1 == from {
		r.Problems[n-1].To = to // faults side by side are one range
		return
	}
	if len(r.Problems) < maxProblems {
		r.Problems = append(r.Problems, Problem{from, to, what})
	}
}

// span is a range of seqs, inclusive.
type span struct{ from, to uint64 }

// ParseRange reads "a" or "a-b", as about names rows; both ends are inclusive.
func ParseRange(s string) (from, to uint64, err error) {
	a, b, ranged := strings.Cut(s, "-")
	if from, err = strconv.ParseUint(a, 10, 64); err != nil || !ranged {
		return from, from, err
	}
	if to, err = strconv.ParseUint(b, 10, 64); err == nil && to < from {
		err = fmt.Errorf("range %q runs backwards", s)
	}
	return from, to, err
}

func spansOf(r *record.Record) ([]span, error) {
	var out []span
	for _, s := range r.List(record.About) {
		from, to, err := ParseRange(s)
		if err != nil {
			return nil, fmt.Errorf("about %q: %w", s, err)
		}
		out = append(out, span{from, to})
	}
	return out, nil
}

// redaction is a sealed redaction: which slots of which rows it removed.
type redaction struct {
	spans []span
	slots map[record.Field]bool
}

func redactionOf(r *record.Record, spans []span) redaction {
	out := redaction{sorted(spans), make(map[record.Field]bool)}
	for _, a := range r.List(record.Attributes) {
		names, ok := strings.CutPrefix(a, "slots=")
		if !ok {
			continue
		}
		for name := range strings.SplitSeq(names, ",") {
			if p, ok := record.Lookup(name); ok {
				out.slots[p.Field] = true
			}
		}
	}
	return out
}

func (d *redaction) covers(seq uint64, slot record.Field) bool {
	if !d.slots[slot] {
		return false
	}
	i, found := slices.BinarySearchFunc(d.spans, seq, func(s span, seq uint64) int {
		switch {
		case s.to < seq:
			return -1
		case s.from > seq:
			return 1
		}
		return 0
	})
	return found && d.spans[i].from <= seq
}

// gone is a slot of a row whose value was withheld.
type gone struct {
	seq  uint64
	slot record.Field
}

// stands reports whether a value is shown where the sealed one was withheld.
func stands(r *record.Record, u seal.Unit) (found bool) {
	if u.Element != seal.WholeSlot || u.Slot == record.Raw {
		return false
	}
	if u.Slot.IsList() {
		return len(r.List(u.Slot)) > 0
	}
	r.Scalars(func(f record.Field, _, _ string) bool {
		found = f == u.Slot
		return !found
	})
	return found
}

// sorted merges spans for look-up.
func sorted(s []span) []span {
	slices.SortFunc(s, func(a, b span) int {
		switch {
		case a.from < b.from:
			return -1
		case a.from > b.from:
			return 1
		}
		return 0
	})
	var out []span
	for _, x := range s {
		if n := len(out); n > 0 && x.from <= out[n-1].to+1 {
			out[n-1].to = max(out[n-1].to, x.to)
			continue
		}
		out = append(out, x)
	}
	return out
}

// uncovered calls fn for the parts of x that no span of s covers.
func uncovered(x span, s []span, fn func(span)) {
	for _, c := range s {
		if c.to < x.from {
			continue
		}
		if c.from > x.to {
			break
		}
		if c.from > x.from {
			fn(span{x.from, c.from - 1})
		}
		if c.to >= x.to {
			return
		}
		x.from = c.to + 1
	}
	fn(x)
}

// Run verifies. The error is for what could not be read, not for what is wrong.
func Run(ctx context.Context, in Input) (*Report, error) {
	rep := &Report{Tier: "self-checked only"}
	cp, err := seal.VerifyCheckpoint(in.Checkpoint, in.VKeys...)
	if err != nil {
		rep.add(0, 0, "checkpoint: %v", err)
		return rep, nil
	}
	rep.Origin, rep.Size = cp.Origin, cp.Size
	older, err := checkpoints(rep, cp, in)
	if err != nil {
		return nil, err
	}
	entries := make([]seal.Entry, 0, min(cp.Size, 1<<24))
	var tree hashes
	err = in.Entries(func(e seal.Entry) error {
		if uint64(len(entries)) >= cp.Size {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		entries = append(entries, e)
		if err := tree.add(e); err != nil {
			return err
		}
		for _, o := range older[tree.size] {
			if root := tree.root(); root != o.Root {
				rep.add(0, o.Size-1, "the log is not the one of an earlier checkpoint of size %d: it was rewritten or rolled back", o.Size)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read entries: %w", err)
	}
	if uint64(len(entries)) < cp.Size {
		rep.add(uint64(len(entries)), cp.Size-1, "entries are missing from the log")
		return rep, nil
	}
	if cp.Size > 0 && tree.root() != cp.Root {
		rep.add(0, cp.Size-1, "the entries do not hash to the signed root")
	}
	return rep, rep.rows(ctx, in, entries)
}

// checkpoints verifies the earlier ones and sorts them by size.
func checkpoints(rep *Report, cp seal.Checkpoint, in Input) (map[uint64][]seal.Checkpoint, error) {
	older := make(map[uint64][]seal.Checkpoint)
	for _, b := range in.Against {
		o, err := seal.VerifyCheckpoint(b, in.VKeys...)
		if err != nil {
			rep.add(0, 0, "earlier checkpoint: %v", err)
			continue
		}
		if o.Size > cp.Size {
			rep.add(cp.Size, o.Size-1, "the log was cut off: an earlier checkpoint has %d entries, this log %d", o.Size, cp.Size)
			continue
		}
		older[o.Size] = append(older[o.Size], o)
	}
	if n := len(in.Against); n > 0 {
		rep.Tier = fmt.Sprintf("compared with %d earlier checkpoint(s)", n)
	}
	return older, nil
}

// rows compares every row with its entry and every absence with its reason.
func (r *Report) rows(ctx context.Context, in Input, entries []seal.Entry) error {
	var missing, expired []span
	var redactions []redaction
	var withheld []gone
	next := uint64(0)
	err := in.Rows(func(row Row) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		seq := row.Record.Seq
		switch {
		case seq < next:
			r.add(seq, seq, "row is out of order or doubled")
			return nil
		case seq > next:
			missing = append(missing, span{next, seq - 1})
		}
		next = seq + 1
		if seq >= uint64(len(entries)) {
			r.Unsealed++
			return nil
		}
		if row.Entry != entries[seq] {
			r.add(seq, seq, "row does not match its sealed entry")
			return nil
		}
		r.Rows++
		if len(row.Withheld) > 0 {
			r.Redacted++
		}
		last := record.NumFields
		for _, u := range row.Withheld {
			if stands(row.Record, u) {
				r.add(seq, seq, "a value of %s stands where the sealed one was removed", u.Slot)
			}
			if u.Slot != last { // once for all pieces of a line
				withheld = append(withheld, gone{seq, u.Slot})
				last = u.Slot
			}
		}
		if k := row.Record.Kind; k == record.KindExpiry || k == record.KindRedaction {
			s, err := spansOf(row.Record)
			if err != nil {
				r.add(seq, seq, "%s without a readable target: %v", k, err)
				return nil
			}
			for _, x := range s {
				if x.to >= seq {
					r.add(seq, seq, "%s of rows that come after it", k)
				}
			}
			if k == record.KindExpiry {
				expired = append(expired, s...)
			} else {
				redactions = append(redactions, redactionOf(row.Record, s))
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read rows: %w", err)
	}
	if n := uint64(len(entries)); next < n {
		missing = append(missing, span{next, n - 1})
	}
	expired = sorted(expired)
	for _, m := range missing {
		r.Expired += m.to - m.from + 1
		uncovered(m, expired, func(x span) {
			r.Expired -= x.to - x.from + 1
			r.add(x.from, x.to, "rows are missing and no sealed expiry names them")
		})
	}
	for _, w := range withheld {
		if !slices.ContainsFunc(redactions, func(d redaction) bool { return d.covers(w.seq, w.slot) }) {
			r.add(w.seq, w.seq, "%s is missing and no sealed redaction names it", w.slot)
		}
	}
	return nil
}

// hashes is the right edge of an RFC 6962 tree.
type hashes struct {
	edge []tlog.Hash // complete subtrees, largest first
	size uint64
}

func (h *hashes) add(e seal.Entry) error {
	b, err := e.AppendBinary(nil)
	if err != nil {
		return err
	}
	h.edge = append(h.edge, tlog.RecordHash(b))
	h.size++
	for n := h.size; n%2 == 0; n /= 2 {
		k := len(h.edge)
		h.edge[k-2] = tlog.NodeHash(h.edge[k-2], h.edge[k-1])
		h.edge = h.edge[:k-1]
	}
	return nil
}

func (h *hashes) root() tlog.Hash {
	if len(h.edge) == 0 {
		return tlog.Hash{}
	}
	r := h.edge[len(h.edge)-1]
	for i := len(h.edge) - 2; i >= 0; i-- {
		r = tlog.NodeHash(h.edge[i], r)
	}
	return r
}
