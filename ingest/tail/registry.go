package tail

import (
	"fmt"
	"slices"
	"sort"
	"sync"

	"custody/ingest"
)

// Registry keeps the contents that are being read apart. A tailer and the
// imports of one process share one: only then can an import run while the same
// content is tailed without taking lines twice. Safe for concurrent use.
type Registry struct {
	keys    *keys
	cursors ingest.Cursors

	mu       sync.Mutex
	families map[fingerprint]*family
}

// NewRegistry returns a registry over the committed cursors. key is the
// appliance's fingerprint key; all zero is an error.
func NewRegistry(key [32]byte, cursors ingest.Cursors) (*Registry, error) {
	if cursors == nil {
		return nil, fmt.Errorf("create registry: no cursors")
	}
	k, err := newKeys(key)
	if err != nil {
		return nil, err
	}
	return &Registry{keys: k, cursors: cursors, families: map[fingerprint]*family{}}, nil
}

// family is all contents that begin with the same line. Only its holder submits,
// and hands on only when all it submitted is durable: so whoever holds it sees
// exactly what of its content was taken by others.
type family struct {
	id   fingerprint
	load sync.Once
	err  error

	// By Registry.mu.
	refs    int
	holder  *lane
	waiting []*lane
	doubt   []*head // cursors with refused batches: only what is committed counts

	// By the holder.
	heads map[string]*head
}

// head is one cursor of a family.
type head struct {
	key   string
	cur   cursor
	owner *lane // the lane that moves it, nil when nobody does
}

// join makes l a member of the family, loading its cursors for the first one.
func (r *Registry) join(l *lane, id fingerprint) error {
	r.mu.Lock()
	f := r.families[id]
	if f == nil {
		f = &family{id: id, heads: map[string]*head{}}
		r.families[id] = f
	}
	f.refs++
	l.fam = f
	r.mu.Unlock()
	f.load.Do(func() {
		f.err = r.cursors.EachCursor(familyKey(id), func(key string, value []byte) error {
			c, err := r.keys.open(key, value)
			if err != nil {
				return err
			}
			f.heads[key] = &head{key: key, cur: *c}
			return nil
		})
	})
	if f.err != nil {
		r.leave(l)
		return fmt.Errorf("load cursors: %w", f.err)
	}
	return nil
}

// leave undoes join. The lane must not have batches under way.
func (r *Registry) leave(l *lane) {
	r.mu.Lock()
	f := l.fam
	if f == nil {
		r.mu.Unlock()
		return
	}
	l.fam = nil
	if l.head != nil && l.head.owner == l {
		l.head.owner = nil
	}
	for i, w := range f.waiting {
		if w == l {
			f.waiting = append(f.waiting[:i], f.waiting[i+1:]...)
			break
		}
	}
	var next *lane
	if f.holder == l {
		next = f.pass()
	}
	f.refs--
	if f.refs == 0 && r.families[f.id] == f {
		delete(r.families, f.id)
	}
	r.mu.Unlock()
	if next != nil {
		next.wake()
	}
}

// acquire makes l the holder. When somebody else is, it returns false and l's
// wake is called once l holds the family.
func (r *Registry) acquire(l *lane) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := l.fam
	if f == nil {
		return false
	}
	if f.holder == nil {
		f.holder = l
	}
	if f.holder == l && (!l.releasing || len(f.waiting) == 0) {
		l.releasing = false
		return true
	}
	if !slices.Contains(f.waiting, l) {
		f.waiting = append(f.waiting, l)
	}
	return false
}

// hold is acquire, and then makes sure of the family's cursors.
func (r *Registry) hold(l *lane) (bool, error) {
	if !r.acquire(l) {
		return false, nil
	}
	r.mu.Lock()
	doubt := l.fam.doubt
	l.fam.doubt = nil
	r.mu.Unlock()
	for _, h := range doubt {
		value := r.cursors.Cursor(h.key)
		if value == nil {
			delete(l.fam.heads, h.key)
			continue
		}
		c, err := r.keys.open(h.key, value)
		if err != nil {
			r.release(l)
			return false, fmt.Errorf("read cursor again: %w", err)
		}
		h.cur = *c
	}
	return true, nil
}

// pass hands the family to the next that waits. The caller holds Registry.mu
// and calls wake on what is returned.
func (f *family) pass() *lane {
	f.holder = nil
	if len(f.waiting) == 0 {
		return nil
	}
	f.holder = f.waiting[0]
	f.waiting = f.waiting[1:]
	return f.holder
}

// release hands the family on, as soon as all that l submitted is durable.
func (r *Registry) release(l *lane) {
	r.mu.Lock()
	var next *lane
	if l.fam != nil && l.fam.holder == l {
		if l.pending > 0 {
			l.releasing = true
		} else {
			next = l.fam.pass()
		}
	}
	r.mu.Unlock()
	if next != nil {
		next.wake()
	}
}

// contended says whether others wait for the family that l holds.
func (r *Registry) contended(l *lane) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(l.fam.waiting) > 0
}

// targets are the heads beyond l that may hold l's content, nearest first. The
// caller holds the family.
func (l *lane) targets() []*head {
	var hs []*head
	for _, h := range l.fam.heads {
		if h != l.head && int64(h.cur.offset) > l.off && !l.differs[h] {
			hs = append(hs, h)
		}
	}
	sort.Slice(hs, func(i, j int) bool {
		a, b := hs[i], hs[j]
		if a.cur.offset != b.cur.offset {
			return a.cur.offset < b.cur.offset
		}
		return a.key < b.key
	})
	return hs
}
