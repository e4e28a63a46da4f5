package index

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"custody/index/query"
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
// segments. It returns the number of records, once the erasure is complete and
// stated ([Ledger.erase]); with an error it goes on in the background. Rows that
// amend the records lose the fields with them, and a value of any of these rows is
// searched for in all of them. Records that were redacted of the same fields
// before are passed over.
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
	for _, f := range c.Fields {
		slots[f] = true
	}
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
		if l.overlay.owes() { // an erasure that was interrupted
			return 0, l.erase(ctx)
		}
		return 0, nil
	}
	records := len(targets)
	cuts, err := l.planCuts(targets, c.Fields)
	if err != nil {
		return 0, fmt.Errorf("redact: %w", err)
	}
	for seq, cut := range cuts {
		targets = append(targets, seq)
		cut.slots(slots)
	}
	slices.Sort(targets)
	targets = slices.Compact(targets)
	var touched []record.Field
	for f := range record.NumFields {
		if slots[f] {
			touched = append(touched, f)
		}
	}
	plan, err := l.savePlan(cuts)
	if err != nil {
		return 0, fmt.Errorf("redact: %w", err)
	}
	by, err := l.State(ctx, record.KindRedaction, func(r *record.Record) {
		for _, s := range seqRanges(targets) {
			r.Add(record.About, s, "")
		}
		r.Add(record.Attributes, "mode=shred", "")
		r.Add(record.Attributes, "fields="+fieldNames(c.Fields), "")
		r.Add(record.Attributes, "slots="+fieldNames(touched), "")
		if plan != "" {
			r.Add(record.Attributes, "plan="+plan, "")
		}
		r.Set(record.DecisionPolicyID, c.Policy, "")
		r.Set(record.DecisionReason, c.Basis, "")
	})
	if err != nil {
		return 0, errors.Join(fmt.Errorf("redact: %w", err), l.dropPlan(plan))
	}
	l.overlay.addMasks(targets, mask{by: by, fields: c.Fields}, cuts)
	l.overlay.owe(by, debt{plan: plan})
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
