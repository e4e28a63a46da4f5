package verify

import (
	"fmt"
	"strconv"
	"strings"

	"custody/ingest/record"
)

// authorities are what sealed redactions and expiries excuse.
type authorities struct {
	expired set
	slots   map[record.Field]*set // rows whose slot a redaction names
	digest  digest                // of the rows that authorise
}

func (a *authorities) init() { a.slots = make(map[record.Field]*set) }

func (a *authorities) redacted(f record.Field, seq uint64) bool {
	s := a.slots[f]
	return s != nil && s.has(seq)
}

// take keeps what a redaction or an expiry names. What it names of rows behind
// itself counts for nothing and is an error, as is a target that does not parse.
func (a *authorities) take(r *record.Record) error {
	var sets []*set
	switch r.Kind {
	case record.KindExpiry:
		sets = []*set{&a.expired}
	case record.KindRedaction:
		for _, f := range redactedSlots(r) {
			if a.slots[f] == nil {
				a.slots[f] = new(set)
			}
			sets = append(sets, a.slots[f])
		}
	default:
		return nil
	}
	var failed error
	for _, s := range r.List(record.About) {
		from, to, err := ParseRange(s)
		if err != nil {
			return fmt.Errorf("%s without a readable target: about %q: %w", r.Kind, s, err)
		}
		if to >= r.Seq {
			failed = fmt.Errorf("%s of rows that come after it", r.Kind)
			if r.Seq == 0 || from >= r.Seq {
				continue
			}
			to = r.Seq - 1
		}
		for _, set := range sets {
			set.add(from, to)
		}
	}
	return failed
}

// redactedSlots are the slots that a redaction says it removed.
func redactedSlots(r *record.Record) []record.Field {
	var out []record.Field
	for _, a := range r.List(record.Attributes) {
		names, ok := strings.CutPrefix(a, "slots=")
		if !ok {
			continue
		}
		for name := range strings.SplitSeq(names, ",") {
			if p, ok := record.Lookup(name); ok {
				out = append(out, p.Field)
			}
		}
	}
	return out
}

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
