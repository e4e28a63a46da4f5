package index

import (
	"context"
	"errors"
	"slices"
	"testing"
)

// A tail that goes on where another ended leaves nothing out and repeats nothing.
func TestTailFrom(t *testing.T) {
	f := newFixture(t, Options{})
	var lines []string
	for i := range 200 {
		lines = append(lines, event(i))
	}
	f.send(lines...)
	f.send(event(200), event(201))
	end := f.l.Status().Rows
	errEnough := errors.New("enough")
	// read tails from a seq until it has seen every row before the end.
	read := func(from uint64, req Request, most int) (seqs []uint64) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var next uint64
		err := f.l.Tail(ctx, req, from, func(seq uint64, load Load) error {
			if r, err := load(); err != nil || r.Seq != seq {
				t.Fatalf("row %d: %v, %v", seq, r, err)
			}
			if seqs = append(seqs, seq); len(seqs) == most {
				return errEnough
			}
			return nil
		}, func(n uint64) {
			if next = n; n >= end {
				cancel()
			}
		})
		if len(seqs) == most && !errors.Is(err, errEnough) || len(seqs) != most && (!errors.Is(err, context.Canceled) || next < end) {
			t.Fatalf("%v at %d of %d", err, next, end)
		}
		return seqs
	}
	for _, req := range []Request{{}, {Query: mustQuery(t, "action.tool:kv")}} {
		all := read(0, req, -1)
		if len(all) < 60 || !slices.IsSorted(all) {
			t.Fatal(all)
		}
		var got []uint64
		for from := uint64(0); ; from = got[len(got)-1] + 1 {
			part := read(from, req, 17)
			got = append(got, part...)
			if len(part) < 17 {
				break
			}
		}
		if !slices.Equal(got, all) {
			t.Errorf("in parts %d, at once %d", got, all)
		}
	}
	if got := read(end+1000, Request{}, -1); len(got) != 0 {
		t.Errorf("beyond the end: %d", got)
	}
}
