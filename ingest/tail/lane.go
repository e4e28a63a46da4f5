package tail

import (
	"context"
	"fmt"
	"time"

	"custody/ingest"
)

// Reasons of gaps, as records show them.
const (
	GapHole    = "hole of NUL bytes in file"
	GapRefused = "lines of a file refused by the ledger"
)

// lane is the reading of one content: where it is and what it has under way.
// One goroutine uses it at a time; fields by Registry.mu say so.
type lane struct {
	reg  *Registry
	fam  *family // set under Registry.mu
	head *head   // its cursor, nil before the first batch
	wake func()  // called when the lane may go on; must not block

	base    cursor // kind, device, inode, path and hole for its cursor
	located bool
	differs map[*head]bool // heads that this content is known to depart from

	off    int64 // content before it was taken
	roll   rolling
	start  []byte // the first bytes of it, up to startLen
	last   []byte // the last bytes of it, up to tailLen
	startP fingerprint
	startN int
	inHole bool // within a run of NUL bytes that was already stated

	// By Registry.mu.
	pending    int
	releasing  bool  // hand the family on when pending is 0
	closing    bool  // leave the family when pending is 0
	failed     error // a batch was refused: start again from the cursors
	lost       int64 // lines refused although a later batch was taken
	lostMaybe  int64
	takenLines int64
	takenBytes int64
}

func newLane(reg *Registry, base cursor, wake func()) *lane {
	return &lane{reg: reg, base: base, wake: wake, roll: reg.keys.rolling(), differs: map[*head]bool{}}
}

// take moves the lane over b.
func (l *lane) take(b []byte) {
	if len(b) == 0 {
		return
	}
	l.roll.write(b)
	l.off += int64(len(b))
	if n := startLen - len(l.start); n > 0 {
		l.start = append(l.start, b[:min(n, len(b))]...)
	}
	l.last = append(l.last, b[max(0, len(b)-tailLen):]...)
	if n := len(l.last) - tailLen; n > 0 {
		l.last = l.last[:copy(l.last, l.last[n:])]
	}
}

// mark is a place a lane can go back to.
type mark struct {
	off   int64
	state state
	start int
	last  []byte
}

func (l *lane) mark() mark {
	return mark{l.off, l.roll.state(), len(l.start), append([]byte(nil), l.last...)}
}

func (l *lane) restore(m mark) error {
	r, err := resumeRolling(&m.state)
	if err != nil {
		return err
	}
	l.roll, l.off, l.start = r, m.off, l.start[:m.start]
	l.last = append(l.last[:0], m.last...)
	return nil
}

// cursor is the lane's present position as a cursor.
func (l *lane) cursor(now time.Time) cursor {
	c := l.base
	c.offset, c.updated = uint64(l.off), now.Unix()
	if l.startN != len(l.start) {
		l.startN, l.startP = len(l.start), mac(l.reg.keys.start, l.start)
	}
	c.startN, c.start = uint64(l.startN), l.startP
	c.tailN, c.tail = uint64(len(l.last)), mac(l.reg.keys.tail, l.last)
	c.state = l.roll.state()
	return c
}

// adopt makes h the lane's own cursor, unless another lane moves it.
func (l *lane) adopt(h *head) bool {
	l.reg.mu.Lock()
	defer l.reg.mu.Unlock()
	if h.owner != nil && h.owner != l {
		return false
	}
	h.owner, l.head = l, h
	return true
}

// submit sends f with the lane's position, c. The caller holds the family. After an
// error nothing was sent and the lane must be given up.
func (l *lane) submit(ctx context.Context, sink ingest.Sink, f *flight, c cursor) error {
	if l.head == nil {
		h := &head{key: headKey(l.fam.id, newID()), owner: l}
		l.fam.heads[h.key] = h
		l.head = h
	}
	l.head.cur = c
	f.lane = l
	f.cursor[0] = ingest.Cursor{Key: l.head.key, Value: l.reg.keys.seal(l.head.key, &c)}
	f.batch.Cursors = f.cursor[:]
	f.batch.Lines = f.lines
	f.batch.Done = f.done
	l.reg.mu.Lock()
	if l.lost > 0 {
		f.batch.Gaps = append(f.batch.Gaps, ingest.Gap{
			Source: f.batch.Source, Reason: GapRefused, Count: l.lost, To: c.updated * int64(time.Second),
		})
		l.lost = 0
	}
	l.pending++
	l.reg.mu.Unlock()
	if err := sink.Submit(ctx, &f.batch); err != nil {
		err = fmt.Errorf("submit lines: %w", err)
		f.finish(err, true)
		return err
	}
	return nil
}

// settled is told that a batch is durable, or never will be.
func (l *lane) settled(lines, bytes int64, err error) {
	r := l.reg
	var next *lane
	wake, leave := false, false
	r.mu.Lock()
	l.pending--
	switch {
	case err != nil:
		if l.failed == nil {
			l.failed = err
		}
		l.lostMaybe += lines
	default:
		// A later batch took the cursor over lines that were refused.
		l.lost += l.lostMaybe
		l.lostMaybe = 0
		l.takenLines += lines
		l.takenBytes += bytes
	}
	if l.pending == 0 {
		wake = l.failed != nil || l.closing
		leave = l.closing
		if l.failed != nil && l.head != nil && l.fam != nil {
			l.fam.doubt = append(l.fam.doubt, l.head)
		}
		if l.releasing && l.fam != nil && l.fam.holder == l && l.failed == nil {
			l.releasing = false
			next = l.fam.pass()
		}
	}
	r.mu.Unlock()
	if next != nil {
		next.wake()
	}
	if leave {
		r.leave(l)
	}
	if wake || l.base.kind == kindImport {
		l.wake()
	}
}

// close gives the lane up: it leaves its family when nothing is under way.
func (l *lane) close() {
	l.reg.mu.Lock()
	l.closing = true
	now := l.pending == 0
	l.reg.mu.Unlock()
	if now {
		l.reg.leave(l)
	}
}

// broken is why the lane's batches were refused, and whether all are settled.
func (l *lane) broken() (err error, settled bool) {
	l.reg.mu.Lock()
	defer l.reg.mu.Unlock()
	return l.failed, l.pending == 0
}
