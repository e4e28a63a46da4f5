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

// tailQueue holds what a live tail's reader has not taken yet, bounded in rows
// and bytes; the oldest go first. One goroutine puts, one takes.
type tailQueue struct {
	ready chan struct{} // one token when something waits
	most  int           // records admitted between two takes, 0 without bound

	mu      sync.Mutex
	items   []tailItem
	bytes   int
	skipped uint64
	taken   int // records admitted since the last take
}

func newTailQueue(most int) *tailQueue { return &tailQueue{ready: make(chan struct{}, 1), most: most} }

// admit says whether the next record is worth rendering; if not it is skipped.
func (q *tailQueue) admit() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.most > 0 && q.taken >= q.most {
		q.skipped++
		return false
	}
	q.taken++
	return true
}

func (q *tailQueue) put(it tailItem) {
	q.mu.Lock()
	q.items = append(q.items, it)
	q.bytes += len(it.data)
	for len(q.items) > 1 && (len(q.items) > tailItems || q.bytes > tailBytes) {
		q.bytes -= len(q.items[0].data)
		q.items[0].data = nil
		q.items = q.items[1:]
		q.skipped++
	}
	q.mu.Unlock()
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

func (q *tailQueue) take() ([]tailItem, uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	items, skipped := q.items, q.skipped
	q.items, q.bytes, q.skipped, q.taken = nil, 0, 0, 0
	return items, skipped
}
