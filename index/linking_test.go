package index

import (
	"testing"
)

// A tick carries no rows, so it begins no segment: what comes behind it would be
// filed under a key that no segment has, and no search by an identifier would find it.
func TestATickBeginsNoSegment(t *testing.T) {
	f := linked(t)
	f.say(`{"request_id":"req-before-0001","agent_id":"agent:x","operation":"read","status":"ok"}`)
	f.l.rollSoon.Store(true)
	f.say() // as a tick does
	f.say(`{"request_id":"req-behind-0002","agent_id":"agent:x","operation":"read","status":"ok"}`)
	for _, id := range []string{"req-before-0001", "req-behind-0002"} {
		if n := len(found(t, f.l, "chain.request_id:"+id)); n != 1 {
			t.Errorf("%s: %d records", id, n)
		}
	}
	if n := len(f.l.store.Segments()); n != 2 {
		t.Errorf("%d segments: the wish for a new one was lost", n)
	}
}
