package tail

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"custody/ingest"
)

// ImportConfig says how an import is read.
type ImportConfig struct {
	// Source is the origin of the lines. Required.
	Source *ingest.Source
	// FingerprintKey is the appliance's secret key for cursors. Required
	// unless Registry is given.
	FingerprintKey [32]byte
	// Registry is that of the tailers in the same process; nil makes one.
	Registry *Registry
	// MaxLine is how many bytes of a line are kept; default 64 KiB, at most 16 MiB.
	MaxLine int
	// SpoolDir holds input that cannot be read twice while it is compared with
	// what was taken before, encrypted and without a name; default os.TempDir.
	SpoolDir string
	// Clock gives the time of receipt; default time.Now.
	Clock func() time.Time
}

// Progress is how far an import is.
type Progress struct {
	Read  int64 // bytes of the input, compressed or not, read so far
	Bytes int64 // bytes of content taken
	Lines int64 // lines taken
}

// Result is what an import did.
type Result struct {
	Lines   int64 // taken by this import, durable
	Skipped int64 // known to be there already
	Bytes   int64 // of content, taken by this import
}

// Import takes the lines of r, which may be compressed with gzip or zstd, and
// returns when all of them are durable. What was taken of the same content
// before, by an import or from a tailed file, is not taken again, however it was
// named or compressed. After an error what Result counts is durable, and the
// same import continues behind it. When r can seek it is read from its start.
// progress may be nil; it is called from this goroutine.
func Import(ctx context.Context, r io.Reader, name string, cfg ImportConfig, sink ingest.Sink, cursors ingest.Cursors, progress func(Progress)) (Result, error) {
	if cfg.Source == nil || r == nil || sink == nil {
		return Result{}, fmt.Errorf("import %s: no source, reader or sink", name)
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if progress == nil {
		progress = func(Progress) {}
	}
	var err error
	if cfg.MaxLine, err = maxLine(cfg.MaxLine); err != nil {
		return Result{}, fmt.Errorf("import %s: %w", name, err)
	}
	if cfg.Registry == nil {
		if cfg.Registry, err = NewRegistry(cfg.FingerprintKey, cursors); err != nil {
			return Result{}, fmt.Errorf("import %s: %w", name, err)
		}
	}
	im := &importer{
		cfg: cfg, sink: sink, progress: progress,
		in: &counter{r: r}, name: name, woken: make(chan struct{}, 1),
	}
	defer im.closeDecoder()
	res, err := im.run(ctx)
	if err != nil {
		return res, fmt.Errorf("import %s: %w", name, err)
	}
	return res, nil
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

type importer struct {
	cfg      ImportConfig
	sink     ingest.Sink
	progress func(Progress)
	in       *counter
	name     string
	woken    chan struct{}
	free     func() // ends the present decoder

	lane    *lane
	src     *streamSource
	pump    *pump
	skipped int64
}

func (im *importer) closeDecoder() {
	if im.free != nil {
		im.free()
		im.free = nil
	}
}

// decoder detects how r is compressed.
func (im *importer) decoder() (io.Reader, error) {
	im.closeDecoder()
	br := bufio.NewReaderSize(im.in, 64<<10)
	head, err := br.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case len(head) >= 2 && head[0] == 0x1f && head[1] == 0x8b:
		zr, err := gzip.NewReader(br)
		if err != nil {
			return nil, fmt.Errorf("open gzip: %w", err)
		}
		return zr, nil
	case bytes.Equal(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		zr, err := zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, fmt.Errorf("open zstd: %w", err)
		}
		im.free = zr.Close
		return zr, nil
	}
	return br, nil
}

// open sets the source up and returns the content's first bytes.
func (im *importer) open() (first []byte, err error) {
	s := &streamSource{spools: func() (*spool, error) { return newSpool(im.cfg.SpoolDir) }}
	if sk, ok := im.in.r.(io.Seeker); ok {
		if _, err := sk.Seek(0, io.SeekStart); err == nil { // a pipe is a Seeker that fails
			s.reopen = func() (io.Reader, error) {
				if _, err := sk.Seek(0, io.SeekStart); err != nil {
					return nil, fmt.Errorf("read again: %w", err)
				}
				return im.decoder()
			}
		}
	}
	if s.r, err = im.decoder(); err != nil {
		return nil, err
	}
	first = make([]byte, familyLen)
	n, err := io.ReadFull(s, first)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	// A truncated gzip is io.ErrUnexpectedEOF as well; it comes again later.
	first = first[:n]
	s.unread(first)
	im.src = s
	return first, nil
}

func (im *importer) run(ctx context.Context) (Result, error) {
	first, err := im.open()
	if err != nil || len(first) == 0 {
		return Result{}, err
	}
	defer func() { _ = im.src.close() }()
	reg := im.cfg.Registry
	l := newLane(reg, cursor{kind: kindImport, path: clip(im.name)}, func() {
		select {
		case im.woken <- struct{}{}:
		default:
		}
	})
	im.lane = l
	if err := reg.join(l, mac(reg.keys.family, first[:span(first, true)])); err != nil {
		return Result{}, err
	}
	im.pump = &pump{
		split: &splitter{}, maxLine: im.cfg.MaxLine, pool: newPool(im.cfg.MaxLine), src: im.src,
		now: im.cfg.Clock, from: im.cfg.Source, file: im.name,
	}
	err = im.read(ctx)
	im.pump.close()
	if serr := im.settle(ctx); err == nil {
		err = serr
	}
	l.close()
	reg.mu.Lock()
	res := Result{Lines: l.takenLines, Bytes: l.takenBytes, Skipped: im.skipped}
	reg.mu.Unlock()
	return res, err
}

func (im *importer) read(ctx context.Context) error {
	if err := im.hold(ctx); err != nil {
		return err
	}
	for {
		f, err := im.pump.next(im.lane, all)
		if errors.Is(err, io.EOF) {
			return im.finish(ctx)
		}
		if err != nil {
			return err
		}
		if err := im.send(ctx, f, im.lane.cursor(im.cfg.Clock())); err != nil {
			return err
		}
		if im.lane.reg.contended(im.lane) {
			im.pump.unread()
			if err := im.yield(ctx); err != nil {
				return err
			}
		}
	}
}

func (im *importer) send(ctx context.Context, f *flight, c cursor) error {
	if len(f.lines) == 0 && len(f.batch.Gaps) == 0 {
		f.recycle()
		return nil
	}
	if err, _ := im.lane.broken(); err != nil {
		f.recycle()
		return err
	}
	if err := im.lane.submit(ctx, im.sink, f, c); err != nil {
		return err
	}
	l := im.lane
	l.reg.mu.Lock()
	p := Progress{Read: im.in.n, Bytes: l.takenBytes, Lines: l.takenLines}
	l.reg.mu.Unlock()
	im.progress(p)
	return nil
}

// finish marks the cursor as that of a whole content.
func (im *importer) finish(ctx context.Context) error {
	l := im.lane
	if l.head == nil {
		return nil // all of it is some other cursor's
	}
	l.base.done = true
	return l.submit(ctx, im.sink, im.mark(), l.cursor(im.cfg.Clock()))
}

// mark is a batch of a cursor alone.
func (im *importer) mark() *flight {
	f := im.pump.pool.flight()
	f.batch.Source, f.batch.File = im.cfg.Source, im.name
	return f
}

// hold waits for the family and moves over what is there already.
func (im *importer) hold(ctx context.Context) error {
	for {
		ok, err := im.lane.reg.hold(im.lane)
		if err != nil {
			return err
		}
		if ok {
			break
		}
		select {
		case <-im.woken:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	res, err := im.lane.resolve(ctx, im.src, whole)
	if err != nil {
		return err
	}
	im.skipped += res.lines
	if res.by == nil {
		return nil
	}
	return im.fill(ctx, res)
}

// yield lets those that wait for the family have it.
func (im *importer) yield(ctx context.Context) error {
	if err := im.settle(ctx); err != nil {
		return err
	}
	im.lane.reg.release(im.lane)
	return im.hold(ctx)
}

// settle waits until nothing is under way.
func (im *importer) settle(ctx context.Context) error {
	for {
		err, settled := im.lane.broken()
		if settled {
			return err
		}
		select {
		case <-im.woken:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// fill takes what the cursor that proved the rest had passed over, and continues
// an import that was cut short under its own cursor.
func (im *importer) fill(ctx context.Context, res found) error {
	l, by := im.lane, res.by
	if l.head == nil && by.cur.kind == kindImport && !by.cur.done && uint64(l.off) == by.cur.offset {
		l.adopt(by)
	}
	from, to := int64(res.holeFrom), int64(res.holeTo)
	if from >= to || uint64(l.off) != by.cur.offset {
		return nil
	}
	if im.src.reopen == nil {
		return fmt.Errorf("take what was passed over: the input cannot be read twice; import it as a file")
	}
	// A second lane over the same content reads the hole; its position goes out
	// in this lane's cursor, as the hole's remaining part.
	r, err := im.src.reopen()
	if err != nil {
		return err
	}
	src := &streamSource{r: io.LimitReader(r, to)}
	if err := skip(src, from); err != nil {
		return err
	}
	inner := newLane(l.reg, l.base, l.wake)
	inner.off = from
	pump := *im.pump
	pump.src, pump.c = src, nil
	defer pump.close()
	before := int64(0)
	for {
		f, err := pump.next(inner, all)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		before += int64(len(f.lines))
		c := l.cursor(im.cfg.Clock())
		c.holeFrom, c.holeTo = uint64(inner.off), uint64(to)
		if inner.off == to {
			c.holeFrom, c.holeTo = 0, 0
		}
		if err := im.send(ctx, f, c); err != nil {
			return err
		}
	}
	im.skipped -= before
	return im.reposition()
}

// reposition makes the source stand where the lane does.
func (im *importer) reposition() error {
	r, err := im.src.reopen()
	if err != nil {
		return err
	}
	im.src.r, im.src.held, im.src.at = r, nil, 0
	return skip(im.src, im.lane.off)
}

// clip bounds a path for a cursor.
func clip(path string) string { return path[:min(len(path), maxPath)] }
