package tail

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"custody/ingest"
)

// Tailer follows files. Make one with [New].
type Tailer struct {
	cfg      Config
	sink     ingest.Sink
	cursors  ingest.Cursors
	log      *slog.Logger
	now      func() time.Time
	reg      *Registry
	globs    []glob
	excludes []glob
	pool     *pool
	split    splitter
	openFile func(path string) (*os.File, error)

	lines, bytes atomic.Int64

	mu      sync.Mutex
	streams map[inode]*stream
	paths   map[string]*stream // by each path that led to it at the last scan
	queue   []*stream
	ready   chan struct{}
	rescan  chan struct{}
	lru     *list.List // of *stream, most recently used first
	opened  map[*stream]*list.Element
	errs    map[string]string
	scans   int
	full    bool
	known   bool // the patterns were followed before: nothing is passed over any more
	fatal   error
}

// New returns a tailer that hands lines to sink. cursors is what the ledger has
// committed. clock may be nil for time.Now. Nothing runs before Run.
func New(cfg Config, sink ingest.Sink, cursors ingest.Cursors, logger *slog.Logger, clock func() time.Time) (*Tailer, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if sink == nil || cursors == nil || logger == nil {
		return nil, fmt.Errorf("create tailer: no sink, cursors or logger")
	}
	if clock == nil {
		clock = time.Now
	}
	t := &Tailer{
		cfg: cfg, sink: sink, cursors: cursors, log: logger, now: clock, reg: cfg.Registry,
		pool:     newPool(cfg.MaxLine),
		split:    splitter{start: cfg.Start, maxLines: cfg.MaxEventLines, maxBytes: cfg.MaxEventBytes},
		openFile: os.Open,
		streams:  map[inode]*stream{}, paths: map[string]*stream{}, errs: map[string]string{},
		ready: make(chan struct{}, 1), rescan: make(chan struct{}, 1),
		lru: list.New(), opened: map[*stream]*list.Element{},
	}
	if t.reg == nil {
		if t.reg, err = NewRegistry(cfg.FingerprintKey, cursors); err != nil {
			return nil, err
		}
	}
	for _, p := range cfg.Globs {
		g, err := parseGlob(p)
		if err != nil {
			return nil, err
		}
		t.globs = append(t.globs, g)
	}
	for _, p := range cfg.Exclude {
		g, err := parseGlob(p)
		if err != nil {
			return nil, err
		}
		t.excludes = append(t.excludes, g)
	}
	return t, nil
}

// Run follows the files until ctx ends; then it returns nil. It returns an error
// when the cursors cannot be read.
func (t *Tailer) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer t.closeAll()
	if err := t.recall(); err != nil {
		return err
	}
	w := t.watcher()
	var wg sync.WaitGroup
	for range t.cfg.Workers {
		wg.Go(func() { t.work(ctx, cancel) })
	}
	if w != nil {
		wg.Go(func() { t.listen(ctx, w) })
	}
	t.look(ctx, w)
	cancel()
	wg.Wait()
	if w != nil {
		if err := w.Close(); err != nil {
			t.log.Warn("cannot close file notifications", "error", err)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.fatal
}

// look scans at each interval and when told to.
func (t *Tailer) look(ctx context.Context, w *watcher) {
	every := t.cfg.Poll
	if t.cfg.Start != nil {
		every = min(every, t.cfg.FlushAfter)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		begin := time.Now() // what a scan costs, not what time it is
		dirs := t.scan()
		if w != nil {
			w.set(dirs)
		}
		// However fast entries come and go, scanning takes a tenth of a core at most.
		rest := time.NewTimer(min(10*time.Since(begin), every))
		select {
		case <-ctx.Done():
		case <-rest.C:
		}
		rest.Stop()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-t.rescan:
		}
	}
}

// work takes turns until ctx ends.
func (t *Tailer) work(ctx context.Context, cancel context.CancelFunc) {
	for {
		s := t.next()
		if s == nil {
			select {
			case <-ctx.Done():
				return
			case <-t.ready:
			}
			continue
		}
		if ctx.Err() != nil {
			return
		}
		if err := t.serve(ctx, s); err != nil {
			t.mu.Lock()
			t.fatal = err
			t.mu.Unlock()
			cancel()
			return
		}
	}
}

// serve gives s one turn and says what became of it.
func (t *Tailer) serve(ctx context.Context, s *stream) error {
	more, err := t.turn(ctx, s)
	if errors.Is(err, ErrCursor) {
		t.finish(s, false)
		return err
	}
	if ctx.Err() == nil {
		t.report(s, err)
	}
	if err == nil && !more && t.ends(s) {
		t.mu.Lock()
		gone := !s.goneAt.IsZero()
		t.mu.Unlock()
		if gone {
			t.remove(s)
		}
	}
	t.finish(s, more)
	return nil
}

// enqueue asks for a turn of s. It does not block.
func (t *Tailer) enqueue(s *stream) {
	t.mu.Lock()
	t.enqueueLocked(s)
	t.mu.Unlock()
	t.signal()
}

func (t *Tailer) enqueueLocked(s *stream) {
	switch {
	case s.closed || s.queued:
	case s.running:
		s.again = true
	default:
		s.queued = true
		t.queue = append(t.queue, s)
	}
}

func (t *Tailer) signal() {
	select {
	case t.ready <- struct{}{}:
	default:
	}
}

// next takes a stream from the queue, nil when it is empty.
func (t *Tailer) next() *stream {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.queue) == 0 {
		t.queue = nil
		return nil
	}
	s := t.queue[0]
	t.queue = t.queue[1:]
	s.queued, s.running = false, true
	if len(t.queue) > 0 {
		t.signal() // for the next worker
	}
	return s
}

func (t *Tailer) finish(s *stream, more bool) {
	t.mu.Lock()
	s.running = false
	s.waits = s.partial
	if more || s.again {
		s.again = false
		t.enqueueLocked(s)
	}
	t.mu.Unlock()
	t.signal()
}

// report notes what keeps s from being read, and logs it once.
func (t *Tailer) report(s *stream, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		if s.complaint != "" {
			t.log.Info("file is read again", "path", s.path)
			delete(t.errs, s.path)
		}
		s.complaint, s.tries, s.notBefore = "", 0, time.Time{}
		return
	}
	s.tries++
	s.notBefore = t.now().Add(min(t.cfg.Poll<<min(s.tries-1, 8), 30*time.Second))
	if errors.Is(err, errLater) || errors.Is(err, errWait) && s.stable <= 2 {
		return
	}
	if s.complaint == "" && len(t.errs) < t.cfg.MaxFiles {
		t.log.Warn("cannot read file", "path", s.path, "error", err)
	}
	s.complaint = err.Error()
	t.errs[s.path] = s.complaint
}

// open returns s's file, nil when there is none any more. The number of open
// files is bounded: the one unused for longest is closed for it.
func (t *Tailer) open(s *stream) (*os.File, error) {
	t.mu.Lock()
	path := s.path
	if e := t.opened[s]; e != nil {
		t.lru.MoveToFront(e)
		t.mu.Unlock()
		return s.file, nil
	}
	for e := t.lru.Back(); e != nil && t.lru.Len() >= t.cfg.MaxOpen; {
		prev := e.Prev()
		// What no path leads to could not be opened again.
		if o := e.Value.(*stream); !o.running && o.goneAt.IsZero() {
			t.closeLocked(o)
		}
		e = prev
	}
	full := t.lru.Len() >= t.cfg.MaxOpen
	t.mu.Unlock()
	if full {
		return nil, errLater
	}
	f, err := t.openFile(path)
	if err == nil {
		fi, serr := f.Stat()
		if serr == nil && inodeOf(fi) != s.id {
			_ = f.Close()
			f, err = t.moved(s, path), nil
		}
	} else if errors.Is(err, os.ErrNotExist) {
		f, err = t.moved(s, path), nil
	}
	if err != nil {
		return nil, fmt.Errorf("open file: %w", err)
	}
	if f == nil {
		return nil, nil
	}
	t.mu.Lock()
	s.file = f
	t.opened[s] = t.lru.PushFront(s)
	t.mu.Unlock()
	return f, nil
}

// moved opens s's file where it was renamed to. Its number may have been given to
// another file, even one that no pattern names: what is found must be proved.
func (t *Tailer) moved(s *stream, path string) *os.File {
	f := openInode(path, s.id.dev, s.id.ino)
	if f == nil {
		return nil
	}
	fi, err := f.Stat()
	switch {
	case err != nil || s.gz != isGzip(f.Name()):
	case s.lane != nil && s.lane.located && !s.gz && !t.replaced(s, f, fi.Size()):
		return f
	default:
		t.mu.Lock()
		same := fi.Size() == s.size && fi.ModTime().UnixNano() == s.mtime
		t.mu.Unlock()
		if same {
			return f
		}
	}
	_ = f.Close()
	return nil
}

func (t *Tailer) closeLocked(s *stream) {
	if e := t.opened[s]; e != nil {
		t.lru.Remove(e)
		delete(t.opened, s)
		_ = s.file.Close() // it was only read
		s.file = nil
		if _, ok := s.src.(*streamSource); ok {
			s.src = nil // it reads the file; lane.off says where to go on
		}
	}
}

// remove ends following s.
func (t *Tailer) remove(s *stream) {
	if s.lane != nil {
		s.lane.close()
		s.lane = nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s.closed = true
	t.closeLocked(s)
	delete(t.errs, s.path)
	if t.streams[s.id] == s {
		delete(t.streams, s.id)
	}
}

// closeAll ends following everything; no worker runs any more.
func (t *Tailer) closeAll() {
	t.mu.Lock()
	all := make([]*stream, 0, len(t.streams))
	for s := range maps.Values(t.streams) {
		all = append(all, s)
	}
	t.mu.Unlock()
	for _, s := range all {
		t.remove(s)
	}
}

// Stats returns what was done so far. Safe for concurrent use.
func (t *Tailer) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	return Stats{
		Files: len(t.streams), Open: t.lru.Len(),
		Lines: t.lines.Load(), Bytes: t.bytes.Load(), Errors: maps.Clone(t.errs),
	}
}
