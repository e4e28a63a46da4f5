// Package verify checks a custody log against the rows that it seals, with
// readers that the caller supplies: it knows no store and no index.
//
// It guarantees that a green report means: the checkpoint is signed by the given
// key; the entries hash to its root, and the stored tiles to the entries; every
// row re-computes to its entry; every row that is missing is named by a sealed
// expiry, and every value that is missing by a sealed redaction; and each earlier
// checkpoint given is a prefix of the log. One host alone cannot show that its
// own log was never rolled back or re-signed: that is what the earlier checkpoints
// are for, and [Report.Tier] says what was compared.
//
// # Two passes and their memory
//
// A redaction or an expiry stands in the log behind the rows that it names. So
// the rows are read twice: first the few that authorise, whose ranges are kept;
// then all rows beside the entries, one of each at a time, each judged and
// forgotten. What the first pass saw and the second did not is itself a fault.
//
// Memory does not grow with the history but for those ranges. They are kept as
// sets of rows, one for expiry and one for each field that some redaction names:
// 4 bytes a range, and never more than one bit for each row of the log a set (12.5 MB
// for 100 million rows of which every second one is gone). Beside them stand the
// tree's right edge (8 tiles of 8 KiB), the earlier checkpoints, and at most
// [MaxProblems] problems.
package verify

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"

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
	VKeys      []string // keys that must have signed it
	Against    [][]byte // checkpoints that left the host before

	// From and To limit the rows that are compared to [From, To), for a reader that
	// does not have the others. To 0: no end; rows behind the checkpoint are then
	// counted as not yet sealed. The log is always verified whole.
	From, To uint64

	// Entries calls fn for every entry of the log in order, at least as many as the
	// checkpoint has.
	Entries func(fn func(seal.Entry) error) error
	// Entry is one of them.
	Entry func(seq uint64) (seal.Entry, error)
	// Tile holds the hashes of a tile of level 1 or above against the stored one; its error
	// says what is wrong. Nil: tiles are not compared.
	Tile func(level int, n uint64, hashes []byte) error
	// Authorities calls fn for every stored row of kind redaction or expiry in
	// order of seq. Those behind the checkpoint count for nothing.
	Authorities func(fn func(Row) error) error
	// Rows calls fn for every stored row in [from, to) in order of seq.
	Rows func(from, to uint64, fn func(Row) error) error

	// Progress is told now and then how many entries of the log are done. May be nil.
	Progress func(done, total uint64)
	// Found is told each problem when its range is known. May be nil.
	Found func(Problem)
}

// progressEvery is how many entries lie between two calls of Progress.
const progressEvery = 1 << 14

// run is one verification.
type run struct {
	Input
	ctx   context.Context //nolint:containedctx // lives as long as the call of Run
	rep   *Report
	cp    seal.Checkpoint
	older map[uint64][]seal.Checkpoint
	auth  authorities
	tree  tree
	seen  digest // authorities that the second pass met

	pull   func() (seal.Entry, error, bool)
	done   uint64 // entries pulled
	broken bool   // the entries ended early
}

// Run verifies. The error is for what could not be read, not for what is wrong.
func Run(ctx context.Context, in Input) (*Report, error) {
	r := &run{Input: in, ctx: ctx, rep: &Report{Tier: "self-checked only", found: in.Found}}
	rep, err := r.verify()
	return rep, err
}

func (r *run) verify() (*Report, error) {
	cp, err := seal.VerifyCheckpoint(r.Checkpoint, r.VKeys...)
	if err != nil {
		r.rep.add(0, 0, Problem{What: fmt.Sprintf("checkpoint: %v", err), Advice: adviceKey})
		return r.rep, nil
	}
	r.cp = cp
	r.rep.Origin, r.rep.Size = cp.Origin, cp.Size
	r.earlier()
	if err := r.collect(); err != nil {
		return r.rep, fmt.Errorf("read redactions and expiries: %w", err)
	}
	next, stop := iter.Pull2(r.entries)
	defer stop()
	r.pull = next
	if r.Tile != nil {
		r.tree.tile = func(level int, n uint64, hashes []byte) {
			r.rep.Tiles++
			if err := r.Tile(level, n, hashes); err != nil {
				lo, hi := tileSpan(level, n, len(hashes)/sha256.Size)
				r.rep.add(lo, hi, Problem{What: fmt.Sprintf("tile %d of level %d does not follow from the entries: %v", n, level, err), Advice: adviceTile})
			}
		}
	}
	if err := r.rows(); err != nil {
		return r.rep, err
	}
	if err := r.skipTo(cp.Size); err != nil {
		return r.rep, err
	}
	if !r.broken {
		r.tree.finish()
	}
	if !r.broken && cp.Size > 0 && r.tree.root() != cp.Root {
		r.rep.add(0, cp.Size-1, Problem{What: "the entries do not hash to the signed root", Advice: adviceLog})
	}
	if r.seen != r.auth.digest {
		r.rep.add(r.From, r.end()-1, Problem{What: "the sealed redactions and expiries were not the same when they were read again: what they excuse is not proven", Advice: adviceRows})
	}
	r.progress()
	return r.rep, nil
}

// errStop ends the entries early.
var errStop = errors.New("stop")

// entries is Input.Entries as an iterator.
func (r *run) entries(yield func(seal.Entry, error) bool) {
	err := r.Entries(func(e seal.Entry) error {
		if !yield(e, nil) {
			return errStop
		}
		return nil
	})
	if err != nil && !errors.Is(err, errStop) {
		yield(seal.Entry{}, err)
	}
}

// end is the seq behind the last one whose row is compared.
func (r *run) end() uint64 {
	if r.To == 0 {
		return r.cp.Size
	}
	return min(r.To, r.cp.Size)
}

// earlier verifies the earlier checkpoints and sorts them by size.
func (r *run) earlier() {
	r.older = make(map[uint64][]seal.Checkpoint)
	matched, largest := 0, uint64(0)
	for _, b := range r.Against {
		o, err := seal.VerifyCheckpoint(b, r.VKeys...)
		if err != nil {
			r.rep.add(0, 0, Problem{What: fmt.Sprintf("earlier checkpoint: %v", err), Advice: adviceKey})
			continue
		}
		if o.Size > r.cp.Size {
			r.rep.add(r.cp.Size, o.Size-1, Problem{
				What:   fmt.Sprintf("the log was cut off: an earlier checkpoint has %d entries, this log %d", o.Size, r.cp.Size),
				Advice: adviceHistory,
			})
			continue
		}
		r.older[o.Size] = append(r.older[o.Size], o)
		matched++
		largest = max(largest, o.Size)
	}
	if matched > 0 {
		r.rep.Tier = fmt.Sprintf("compared with %d earlier checkpoint(s), up to entry %d", matched, largest)
	}
}

// collect is the first pass: it keeps what sealed redactions and expiries name.
func (r *run) collect() error {
	r.auth.init()
	next := uint64(0)
	return r.Authorities(func(row Row) error {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		seq := row.Record.Seq
		if seq < next || seq >= r.cp.Size {
			return nil // doubled rows are the second pass's to report
		}
		next = seq + 1
		if e, err := r.Entry(seq); err != nil || e != row.Entry {
			return nil //nolint:nilerr // not what was sealed: it authorises nothing, and the second pass says so
		}
		if err := r.auth.take(row.Record); err != nil {
			r.rep.add(seq, seq, Problem{What: err.Error(), Advice: adviceRows})
		}
		if seq >= r.From && seq < r.end() {
			r.auth.digest.add(seq, &row.Entry)
		}
		return nil
	})
}

// digest is an order-free digest of rows.
type digest [sha256.Size]byte

func (d *digest) add(seq uint64, e *seal.Entry) {
	var b [8 + sha256.Size]byte
	binary.BigEndian.PutUint64(b[:], seq)
	h := e.LeafHash()
	copy(b[8:], h[:])
	sum := sha256.Sum256(b[:])
	for i := range d {
		d[i] ^= sum[i]
	}
}

// rows is the second pass: every row beside its entry.
func (r *run) rows() error {
	next, to := r.From, ^uint64(0)
	if r.To != 0 {
		to = r.To
	}
	err := r.Rows(r.From, to, func(row Row) error {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		seq := row.Record.Seq
		if seq < r.From || seq >= to {
			return nil
		}
		if seq < next {
			r.rep.add(seq, seq, Problem{What: "row is out of order or doubled", Advice: adviceRows})
			return nil
		}
		if err := r.missing(next, min(seq, r.cp.Size)); err != nil {
			return err
		}
		next = seq + 1
		if seq >= r.cp.Size {
			r.rep.Unsealed++
			return nil
		}
		return r.row(&row)
	})
	if err != nil {
		return fmt.Errorf("read rows: %w", err)
	}
	return r.missing(next, r.end())
}

// missing judges the rows [from, to), which are not there.
func (r *run) missing(from, to uint64) error {
	if from >= to {
		return nil
	}
	r.rep.Expired += to - from
	r.auth.expired.uncovered(from, to-1, func(a, b uint64) {
		r.rep.Expired -= b - a + 1
		r.rep.add(a, b, Problem{What: "rows are missing and no sealed expiry names them", Advice: adviceRows, NoExcuse: true})
	})
	return r.skipTo(to)
}

// row compares one row with its entry and its absences with their reasons.
func (r *run) row(row *Row) error {
	seq := row.Record.Seq
	if err := r.skipTo(seq); err != nil {
		return err
	}
	e, ok, err := r.nextEntry()
	if err != nil || !ok {
		return err
	}
	if row.Entry != e {
		r.rep.add(seq, seq, Problem{What: "row does not match its sealed entry", Advice: adviceRows})
		return nil
	}
	r.rep.Rows++
	if len(row.Withheld) > 0 {
		r.rep.Redacted++
	}
	if k := row.Record.Kind; k == record.KindExpiry || k == record.KindRedaction {
		r.seen.add(seq, &e)
	}
	last := record.NumFields
	for _, u := range row.Withheld {
		if stands(row.Record, u) {
			r.rep.add(seq, seq, Problem{What: fmt.Sprintf("a value of %s stands where the sealed one was removed", u.Slot), Advice: adviceRows})
		}
		if u.Slot != last && !r.auth.redacted(u.Slot, seq) { // once for all pieces of a line
			r.rep.add(seq, seq, Problem{What: fmt.Sprintf("%s is missing and no sealed redaction names it", u.Slot), Advice: adviceRows, NoExcuse: true})
		}
		last = u.Slot
	}
	return nil
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

// skipTo hashes the entries below seq into the tree.
func (r *run) skipTo(seq uint64) error {
	for r.done < seq && !r.broken {
		if _, _, err := r.nextEntry(); err != nil {
			return err
		}
	}
	return nil
}

// nextEntry takes the next entry into the tree. ok is false when there is none
// left to compare with, which has been reported then.
func (r *run) nextEntry() (e seal.Entry, ok bool, err error) {
	if r.broken {
		return e, false, nil
	}
	e, err, ok = r.pull()
	if ok && err == nil {
		r.tree.add(e.LeafHash())
		r.done++
		if r.done%progressEvery == 0 {
			r.progress()
			if err := r.ctx.Err(); err != nil {
				return e, false, err
			}
		}
		for _, o := range r.older[r.done] {
			if r.tree.root() != o.Root {
				r.rep.add(0, o.Size-1, Problem{
					What:   fmt.Sprintf("the log is not the one of an earlier checkpoint of size %d: it was rewritten or rolled back", o.Size),
					Advice: adviceHistory,
				})
			}
		}
		return e, true, nil
	}
	what := "entries are missing from the log"
	if err != nil {
		if !errors.Is(err, seal.ErrBundle) && !errors.Is(err, seal.ErrEntry) && !errors.Is(err, fs.ErrNotExist) {
			return e, false, fmt.Errorf("read entries: %w", err)
		}
		what = fmt.Sprintf("entries cannot be read: %v", err)
	}
	r.broken = true
	r.rep.add(r.done, r.cp.Size-1, Problem{What: what, Advice: adviceLog})
	return e, false, nil
}

func (r *run) progress() {
	if r.Progress != nil {
		r.Progress(r.done, r.cp.Size)
	}
}
