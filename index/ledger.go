package index

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"custody/index/chain"
	"custody/index/seal"
	"custody/index/store"
	"custody/ingest"
	"custody/ingest/attribution"
	"custody/ingest/record"
)

// ErrClosed: the ledger is stopping and takes nothing more.
var ErrClosed = errors.New("ledger is closed")

// Options of a ledger. Dir and Registry are required.
type Options struct {
	Dir      string // the data folder
	Registry *attribution.Registry
	Logger   *slog.Logger     // default: discard
	Clock    func() time.Time // default: time.Now

	Origin             string        // of a new log; default "custody/" and 8 random hex digits
	QueueBytes         int64         // bytes between receiver and commit; default 64 MiB
	SegmentRows        int           // rows of a segment; default 1,000,000
	Reserve            int64         // bytes of disk kept free; default 256 MiB
	CheckpointInterval time.Duration // least time between checkpoints; default 250 ms
	HeartbeatInterval  time.Duration // longest silence of the log; default 60 s
	Workers            int           // decode and build workers each; default GOMAXPROCS

	// Link ties records into chains; nil leaves them as the sources told them.
	// Trusted must be set; Key is the ledger's own.
	Link *chain.Options
}

func (o *Options) fill() {
	def := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	def(&o.QueueBytes, 64<<20)
	def(&o.Reserve, 256<<20)
	def((*int64)(&o.CheckpointInterval), int64(250*time.Millisecond))
	def((*int64)(&o.HeartbeatInterval), int64(time.Minute))
	if o.SegmentRows == 0 {
		o.SegmentRows = 1_000_000
	}
	if o.Workers == 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
}

// Ledger is the sole writer of a data folder and all readers of it. It
// implements ingest.Sink and ingest.Cursors. All methods are safe for
// concurrent use; batches are taken while Run runs.
type Ledger struct {
	opts  Options
	log   *slog.Logger
	clock func() time.Time

	store   *store.Store
	cat     *store.Catalogue
	sealer  atomic.Pointer[seal.Log]
	vkey    string
	origin  string
	fpKey   [32]byte
	overlay *overlay
	sources *sources

	queue     *budget
	jobs      sync.Pool
	turn      chan struct{}
	ordered   chan *job
	undecoded chan *job
	unbuilt   chan work
	built     chan *group
	slots     chan struct{}
	toSeal    chan leaves
	toIndex   chan indexItem
	stopping  chan struct{} // closed first: Submit refuses
	abort     chan struct{} // closed last: a store in fault is given up
	stopOnce  sync.Once

	// of the sequencer
	segRows      int
	segKey       [16]byte
	lastReceived int64
	rollSoon     atomic.Bool // somebody wants the active segment closed
	linker       *chain.Linker
	linkRows     []*record.Record
	owed         []chain.Amendment // to be stated with the next group
	lookups      chan chain.Lookup
	found        chan lookedUp

	// of the writer
	tail      tail
	merger    *builder
	broken    error // the first group that could not be made durable
	roomUntil time.Time

	durable   atomic.Uint64 // events
	sealed    atomic.Uint64 // events
	sealFault atomic.Pointer[string]
	unsealed  eventMarks // of the sealer
	fault     atomic.Pointer[string]
	free      atomic.Uint64
	size      dirSize

	peers     sync.Map
	peerCount atomic.Int32

	// what stood there at Open
	opened     []*store.Segment
	openedNext uint64

	mu      sync.Mutex
	indexes map[uint64]*segmentIndex
	packing chan struct{}

	maintenance sync.Mutex // one rewrite at a time

	wakeMu sync.Mutex
	wake   chan struct{}
}

// Open opens the data folder, and makes it on first start. It starts nothing:
// Run does. After a crash and after a clean stop it does the same.
func Open(opts Options) (_ *Ledger, err error) {
	if opts.Dir == "" || opts.Registry == nil {
		return nil, errors.New("open ledger: Dir and Registry are required")
	}
	opts.fill()
	l := &Ledger{
		opts: opts, log: opts.Logger, clock: opts.Clock,
		overlay: newOverlay(), sources: newSources(), queue: newBudget(opts.QueueBytes),
		turn: make(chan struct{}, 1), ordered: make(chan *job, 256), undecoded: make(chan *job, 257),
		unbuilt: make(chan work, 64), built: make(chan *group, groupsInFlight), slots: make(chan struct{}, groupsInFlight),
		toSeal: make(chan leaves, 64), toIndex: make(chan indexItem, 32),
		stopping: make(chan struct{}), abort: make(chan struct{}),
		indexes: make(map[uint64]*segmentIndex), packing: make(chan struct{}, 1),
		wake: make(chan struct{}), merger: newBuilder(true),
	}
	l.jobs.New = func() any { return new(job) }
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open ledger: %w", err), l.closeFiles())
		}
	}()
	for _, d := range []string{"", "keys", "segments"} {
		if err := os.MkdirAll(filepath.Join(opts.Dir, d), 0o700); err != nil {
			return nil, err
		}
	}
	catPath := filepath.Join(opts.Dir, "catalogue.db")
	if _, serr := os.Stat(catPath); errors.Is(serr, os.ErrNotExist) {
		if err := l.create(catPath); err != nil {
			return nil, err
		}
	}
	if l.cat, err = store.OpenCatalogue(catPath, store.Options{}); err != nil {
		return nil, err
	}
	origin, err := l.cat.Get("identity", "origin")
	if err != nil {
		return nil, err
	}
	l.origin = string(origin)
	key, err := os.ReadFile(filepath.Join(opts.Dir, "keys", "fingerprint"))
	if err != nil {
		return nil, err
	}
	if copy(l.fpKey[:], key) != len(l.fpKey) {
		return nil, errors.New("keys/fingerprint is not 32 bytes long")
	}
	// Whoever made the folder may have been killed before it was durable.
	if err := syncDir(opts.Dir); err != nil {
		return nil, err
	}
	if l.store, err = store.Open(filepath.Join(opts.Dir, "segments"), store.Options{}); err != nil {
		return nil, err
	}
	a := l.store.Active()
	l.segRows, l.segKey = int(a.Next()-a.First), a.FilterKey()
	for _, s := range l.store.Segments() {
		l.durable.Add(s.Events())
	}
	if err := l.deriveOverlay(); err != nil {
		return nil, err
	}
	if err := l.openLog(); err != nil {
		return nil, err
	}
	l.sealed.Store(l.durable.Load())
	l.opened, l.openedNext = l.store.Segments(), l.store.Next()
	if err := l.openIndexes(); err != nil {
		return nil, err
	}
	if err := l.openLinker(); err != nil {
		return nil, err
	}
	return l, nil
}

// create makes identity, keys and the first segment. The catalogue comes last:
// without it the next start begins again.
func (l *Ledger) create(catPath string) error {
	dir := l.opts.Dir
	origin := l.opts.Origin
	if origin == "" {
		var b [4]byte
		_, _ = rand.Read(b[:]) // never fails (crypto/rand)
		origin = fmt.Sprintf("custody/%x", b)
	}
	segments := filepath.Join(dir, "segments")
	// Only the left-over of an interrupted first start may be cleared away.
	if err := l.nothingThere(segments); err != nil {
		return err
	}
	for _, p := range []string{segments, filepath.Join(dir, "log")} {
		if err := os.RemoveAll(p); err != nil {
			return err
		}
	}
	var fp [32]byte
	_, _ = rand.Read(fp[:]) // never fails (crypto/rand)
	if err := writeFile(filepath.Join(dir, "keys", "fingerprint"), fp[:]); err != nil {
		return err
	}
	checkpoint, err := l.createLog(origin)
	if err != nil {
		return err
	}
	st, err := store.Create(segments, 0, l.clock().UnixNano(), store.Options{})
	if err != nil {
		return err
	}
	if err := st.Close(); err != nil {
		return err
	}
	tmp := catPath + ".new"
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	cat, err := store.CreateCatalogue(tmp, store.Options{})
	if err != nil {
		return err
	}
	if err := errors.Join(cat.Put("identity", "origin", []byte(origin)), cat.Put("checkpoint", "latest", checkpoint), cat.Close()); err != nil {
		return err
	}
	// Last also for a power cut: what it stands for must be there when it is.
	if err := syncDir(dir); err != nil {
		return err
	}
	if err := os.Rename(tmp, catPath); err != nil {
		return err
	}
	return syncDir(dir)
}

// nothingThere refuses to begin anew in a folder that holds sealed rows: a
// missing catalogue is then a loss to be mended, not a first start.
func (l *Ledger) nothingThere(segments string) error {
	if b, err := os.ReadFile(filepath.Join(l.logDir(), "checkpoint")); err == nil {
		if c, err := seal.ParseCheckpoint(b); err != nil || c.Size > 0 {
			return errors.New("catalogue.db is missing, but the log holds entries: restore it from a backup")
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	st, err := store.Open(segments, store.Options{ReadOnly: true})
	if err != nil {
		// The first segment gets its name when it is whole; until then it is a temporary folder.
		finished := func(e os.DirEntry) bool { return !strings.HasSuffix(e.Name(), ".tmp") }
		if entries, rerr := os.ReadDir(segments); rerr == nil && !slices.ContainsFunc(entries, finished) {
			return nil
		}
		return fmt.Errorf("catalogue.db is missing, and what is in %s does not open: %w", segments, err)
	}
	n := st.Next()
	if err := st.Close(); err != nil {
		return err
	}
	if n > 0 {
		return errors.New("catalogue.db is missing, but segments hold rows: restore it from a backup")
	}
	return nil
}

// writeFile writes a secret by temp, fsync, rename and fsync of the folder.
func writeFile(path string, data []byte) error {
	f, err := os.OpenFile(path+".tmp", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Run takes batches until ctx ends; then it makes durable and seals what it
// took, and returns when all its goroutines have.
func (l *Ledger) Run(ctx context.Context) error {
	var wg, readers sync.WaitGroup
	for range l.opts.Workers {
		w := l.opts.Registry.Worker()
		readers.Go(func() { l.decode(w) })
		readers.Go(l.buildLoop)
	}
	readers.Go(l.sequence)
	readers.Go(l.commitLoop)
	wg.Go(l.sealLoop)
	wg.Go(l.indexLoop)
	packed, stopPacking := context.WithCancel(context.WithoutCancel(ctx))
	wg.Go(func() { l.maintain(packed) })
	beat, stopBeat := context.WithCancel(ctx)
	var hearts sync.WaitGroup
	hearts.Go(func() { l.heartbeat(beat) })
	if l.linker != nil {
		hearts.Go(func() { l.tickLinker(beat) })
		hearts.Go(func() { l.lookUp(beat) })
	}
	if err := l.announce(ctx, "start"); err != nil && ctx.Err() == nil {
		l.log.Error("seal start", "error", err)
	}
	<-ctx.Done()
	stopBeat()
	hearts.Wait()
	stopPacking()
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := l.announce(stop, "stop"); err != nil {
		l.log.Error("seal stop", "error", err)
	}
	l.stop()
	readers.Wait()
	wg.Wait()
	return nil
}

// stop refuses new batches and lets those that were taken run through.
func (l *Ledger) stop() {
	l.stopOnce.Do(func() {
		close(l.stopping)
		l.turn <- struct{}{} // the last Submit has queued its batch
		close(l.undecoded)
		close(l.ordered)
		time.AfterFunc(10*time.Second, func() { close(l.abort) })
	})
}

// Close closes all files. Call it when Run has returned.
func (l *Ledger) Close() error { return l.closeFiles() }

func (l *Ledger) closeFiles() error {
	var errs []error
	l.mu.Lock()
	for id, x := range l.indexes {
		errs = append(errs, x.close())
		delete(l.indexes, id)
	}
	l.mu.Unlock()
	if l.store != nil {
		errs = append(errs, l.store.Close())
	}
	if l.cat != nil {
		errs = append(errs, l.cat.Close())
		l.cat = nil
	}
	return errors.Join(errs...)
}

// Cursor implements ingest.Cursors.
func (l *Ledger) Cursor(key string) []byte { return l.store.Cursor(key) }

// EachCursor implements ingest.Cursors.
func (l *Ledger) EachCursor(prefix string, fn func(key string, value []byte) error) error {
	return l.store.EachCursor(prefix, fn)
}

// KV is the catalogue, for what the appliance keeps beside the records.
func (l *Ledger) KV() *store.Catalogue { return l.cat }

// FingerprintKey keys the fingerprints of files that receivers keep as cursors.
func (l *Ledger) FingerprintKey() [32]byte { return l.fpKey }

// State makes a row of custody's own durable (a lifecycle event, an access, an
// amendment) and returns its seq. fill must set what the row says; kind, time
// and received are set already.
func (l *Ledger) State(ctx context.Context, kind record.Kind, fill func(*record.Record)) (uint64, error) {
	now := l.clock().UnixNano()
	j := l.jobs.Get().(*job)
	j.used, j.ready, j.batch, j.tick = 0, make(chan struct{}), nil, false
	r := j.next()
	r.Kind = kind
	r.Received = now
	r.SetTime(now, "")
	fill(r)
	type answer struct {
		seq uint64
		err error
	}
	done := make(chan answer, 1)
	j.own = func(r *record.Record, err error) {
		if err == nil && kind == record.KindAmendment {
			err = l.applyRow(r)
		}
		done <- answer{r.Seq, err}
	}
	if err := l.enqueue(ctx, j, 1024); err != nil {
		return 0, err
	}
	// Once queued the row is durable sooner or later: wait for it, not for ctx.
	a := <-done
	return a.seq, a.err
}

func (l *Ledger) announce(ctx context.Context, what string) error {
	_, err := l.State(ctx, record.KindLifecycle, func(r *record.Record) {
		r.Add(record.Attributes, "event="+what, "")
		host, _ := os.Hostname() // unknown is no reason not to start
		r.Set(record.SourceHost, host, "")
	})
	return err
}

// heartbeat seals a row when the log has been silent for the interval.
func (l *Ledger) heartbeat(ctx context.Context) {
	t := time.NewTicker(max(l.opts.HeartbeatInterval/4, time.Millisecond))
	defer t.Stop()
	last, since := l.store.Next(), l.clock()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if n := l.store.Next(); n != last {
			last, since = n, l.clock()
			continue
		}
		if l.clock().Sub(since) < l.opts.HeartbeatInterval {
			continue
		}
		if _, err := l.State(ctx, record.KindHeartbeat, func(*record.Record) {}); err != nil && ctx.Err() == nil {
			l.log.Error("heartbeat", "error", err)
		}
	}
}

// Amend seals an amendment of the record at target: fill sets the fields that it adds.
func (l *Ledger) Amend(ctx context.Context, target uint64, fill func(*record.Record)) (uint64, error) {
	if target >= l.store.Next() {
		return 0, fmt.Errorf("amend %d: %w", target, ErrNotFound)
	}
	return l.State(ctx, record.KindAmendment, func(r *record.Record) {
		r.Add(record.About, fmt.Sprint(target), "")
		fill(r)
	})
}

// applyRow brings a durable amendment into the overlay.
func (l *Ledger) applyRow(r *record.Record) error {
	c := newAmendment(r) // a copy that outlives the job
	if _, err := record.Parse(c.bytes); err != nil {
		return fmt.Errorf("apply amendment: %w", err)
	}
	for _, about := range r.List(record.About) {
		if target, err := strconv.ParseUint(about, 10, 64); err == nil {
			l.overlay.addAmendment(target, c)
		}
	}
	return nil
}

// wakeReaders tells followers that there is more.
func (l *Ledger) wakeReaders() {
	l.wakeMu.Lock()
	close(l.wake)
	l.wake = make(chan struct{})
	l.wakeMu.Unlock()
}

func (l *Ledger) moreRows() <-chan struct{} {
	l.wakeMu.Lock()
	defer l.wakeMu.Unlock()
	return l.wake
}

var (
	_ ingest.Sink    = (*Ledger)(nil)
	_ ingest.Cursors = (*Ledger)(nil)
)
