package web

import "sync"

const (
	tailItems = 1000
	tailBytes = 4 << 20
)

type tailItem struct {
	seq  uint64
	data []byte
}

// tailed is what was taken from a queue.
type tailed struct {
	items   []tailItem // by seq
	skipped uint64     // records left out
	next    uint64     // everything before this seq is in items, was taken before, or was left out
}

// tailQueue holds what a live tail's reader has not taken yet, bounded in rows
// and bytes; the oldest go first. One goroutine puts, one takes.
type tailQueue struct {
	ready chan struct{} // one token when something waits
	room  chan struct{} // one token when something was taken
	// most and missed are the records admitted between two takes, of those that
	// are new and of those that came before the reader; 0 is without bound.
	most, missed int

	mu       sync.Mutex
	got      tailed
	bytes    int
	admitted int  // since the last take
	live     bool // what came before the reader is behind
}

func newTailQueue(from uint64, most, missed int) *tailQueue {
	return &tailQueue{
		ready: make(chan struct{}, 1), room: make(chan struct{}, 1), most: most, missed: missed,
		got: tailed{next: from},
	}
}

// full says whether a record that the reader missed would push another out of a
// queue that may lose none of these.
func (q *tailQueue) full() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return !q.live && q.missed == 0 && (len(q.got.items) >= tailItems/2 || q.bytes >= tailBytes/2)
}

// admit says whether the next record is worth rendering; if not it is skipped.
func (q *tailQueue) admit(seq uint64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	most := q.most
	if !q.live {
		most = q.missed
	}
	if most > 0 && q.admitted >= most {
		q.got.skipped++
		q.got.next = seq + 1
		return false
	}
	q.admitted++
	return true
}

func (q *tailQueue) put(it tailItem) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.got.items = append(q.got.items, it)
	q.got.next = it.seq + 1
	q.bytes += len(it.data)
	for items := q.got.items; len(items) > 1 && (len(items) > tailItems || q.bytes > tailBytes); items = q.got.items {
		q.bytes -= len(items[0].data)
		items[0].data = nil
		q.got.items = items[1:]
		q.got.skipped++
	}
	// Where there is a bound on what was missed it is taken in one piece.
	if q.live || q.missed == 0 {
		wake(q.ready)
	}
}

// reach notes that everything before next was put or skipped.
func (q *tailQueue) reach(next uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.got.next = next
	q.live = true
	if len(q.got.items) > 0 {
		wake(q.ready)
	}
}

// idle says whether nothing waits, and what the reader's next seq is then.
func (q *tailQueue) idle() (next uint64, idle bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.got.next, len(q.got.items) == 0 && q.got.skipped == 0
}

func (q *tailQueue) take() tailed {
	q.mu.Lock()
	defer q.mu.Unlock()
	got := q.got
	q.got = tailed{next: got.next}
	q.bytes, q.admitted = 0, 0
	wake(q.room)
	return got
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
