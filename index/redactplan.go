package index

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"custody/index/store"
	"custody/ingest/record"
)

// A record and the rows that amend it are redacted together: what one of them
// holds is searched for in all. They may lie in different segments, which are
// rewritten one after the other, and once the first is erased nothing shows any
// more what to look for in the second. So the places (never the values) are worked
// out before anything is rewritten, and kept in the catalogue until the erasure is
// stated. The sealed redaction names the plan.

const planBucket = "erasing"

// planCuts works out the cuts of those targets that are amended, and of the rows
// that amend them.
func (l *Ledger) planCuts(targets []uint64, fields []record.Field) (map[uint64]*cut, error) {
	cuts := make(map[uint64]*cut)
	for _, t := range targets {
		amends := l.overlay.amendments(t)
		if len(amends) == 0 {
			continue
		}
		row, err := l.row(t)
		if errors.Is(err, ErrNotFound) {
			continue // expired meanwhile
		}
		if err != nil {
			return nil, err
		}
		l.overlay.applyMasks(row)
		group := []*record.Record{row}
		for _, a := range amends {
			c, err := record.Parse(a.AppendJSON(nil)) // it is shared
			if err != nil {
				return nil, fmt.Errorf("read amendment %d: %w", a.Seq, err)
			}
			group = append(group, c)
		}
		planGroup(cuts, group, fields)
	}
	return cuts, nil
}

// planGroup adds the cuts of a record (the first row) and of its amendments.
func planGroup(cuts map[uint64]*cut, group []*record.Record, fields []record.Field) {
	s := secrets{withWords: true}
	for _, r := range group {
		s.collect(r, fields)
	}
	for i, r := range group {
		c := cutOf(r, fields, &s)
		if i == 0 { // it is shown with what they say, so it says what is missing
			for _, f := range fields {
				if slices.ContainsFunc(group[1:], func(a *record.Record) bool { return f != record.Message && a.Has(f) }) {
					c.add(f)
				}
			}
		} else if len(c.fields)+len(c.spans) == 0 {
			continue
		}
		if have := cuts[r.Seq]; have != nil { // it amends another target as well
			have.merge(c)
			continue
		}
		cuts[r.Seq] = c
	}
}

// storedCut is a cut as the catalogue keeps it.
type storedCut struct {
	Fields []string `json:"fields,omitempty"`
	Spans  [][2]int `json:"spans,omitempty"`
}

// savePlan keeps the cuts durably under a new name, "" when there are none.
func (l *Ledger) savePlan(cuts map[uint64]*cut) (string, error) {
	if len(cuts) == 0 {
		return "", nil
	}
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	plan := hex.EncodeToString(b[:])
	const perChange = 1000
	changes := make([]store.Change, 0, perChange)
	flush := func() error {
		err := l.cat.Apply(changes)
		changes = changes[:0]
		return err
	}
	for seq, c := range cuts {
		out := storedCut{Spans: c.spans}
		for _, f := range c.fields {
			out.Fields = append(out.Fields, f.String())
		}
		v, err := json.Marshal(out)
		if err != nil {
			return "", fmt.Errorf("save plan: %w", err)
		}
		changes = append(changes, store.Change{Bucket: planBucket, Key: plan + "/" + strconv.FormatUint(seq, 10), Value: v})
		if len(changes) == perChange {
			if err := flush(); err != nil {
				return "", errors.Join(fmt.Errorf("save plan: %w", err), l.dropPlan(plan))
			}
		}
	}
	if err := flush(); err != nil {
		return "", errors.Join(fmt.Errorf("save plan: %w", err), l.dropPlan(plan))
	}
	return plan, nil
}

// loadPlans reads every plan: name → seq → cut. One that does not parse is
// reported and left out; what the rows themselves show is erased then.
func (l *Ledger) loadPlans() (map[string]map[uint64]*cut, error) {
	plans := make(map[string]map[uint64]*cut)
	err := l.cat.Each(planBucket, func(key string, value []byte) error {
		plan, at, _ := strings.Cut(key, "/")
		if plans[plan] == nil {
			plans[plan] = make(map[uint64]*cut)
		}
		var in storedCut
		seq, err := strconv.ParseUint(at, 10, 64)
		if err == nil {
			err = json.Unmarshal(value, &in)
		}
		c := &cut{spans: in.Spans}
		for _, name := range in.Fields {
			p, ok := record.Lookup(name)
			if !ok || p.Sub != "" {
				err = errors.Join(err, fmt.Errorf("no field %q", name))
				continue
			}
			c.fields = append(c.fields, p.Field)
		}
		if err != nil {
			l.log.Error("read erasure plan", "key", key, "error", err)
			return nil
		}
		plans[plan][seq] = c
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read erasure plans: %w", err)
	}
	return plans, nil
}

// dropPlan forgets a plan.
func (l *Ledger) dropPlan(plan string) error {
	if plan == "" {
		return nil
	}
	var changes []store.Change
	if err := l.cat.EachFrom(planBucket, plan+"/", func(key string, _ []byte) error {
		if strings.HasPrefix(key, plan+"/") {
			changes = append(changes, store.Change{Bucket: planBucket, Key: key})
		}
		return nil
	}); err != nil {
		return fmt.Errorf("drop erasure plan: %w", err)
	}
	if err := l.cat.Apply(changes); err != nil {
		return fmt.Errorf("drop erasure plan: %w", err)
	}
	return nil
}
