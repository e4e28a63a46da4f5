package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// options of the benchmark.
type options struct {
	events    uint64
	runs      int
	big       bool
	bigEvents uint64
	seed      uint64
	dir       string // for streams and data
	binary    string
	rsyslog   string // path of rsyslogd, "" without
	requests  int    // distinct request ids to ask for
	questions int    // of each other kind
	tries     int    // events sent alone
}

// result is what one run measured.
type result struct {
	*ingested
	Packing   time.Duration    // CPU of custody from the last event searchable until its background work was over
	DiskOpen  int64            // bytes on disk when the last event was searchable
	Disk      int64            // bytes on disk at rest
	Parts     map[string]int64 // Disk by what is kept
	PeakWhole int64            // resident bytes, highest of the whole run with all queries
	Alone     []alone
	Queries   map[string][]time.Duration
	Rsyslog   *yardstick // nil where that is left out
}

// bench carries what the runs share.
type bench struct {
	opt     options
	gen     *generator
	say     func(format string, args ...any)
	wrong   []string // truth checks that failed
	checked checked
}

// segmentRows closes the segment of a small run at its end, so that it is packed
// as one of the full size would be; a big run has ten of them. 0 is custody's default.
func segmentRows(events uint64) uint64 {
	if events >= 1_000_000 {
		return 0
	}
	return events
}

// once is a whole run with the stream in file: the yardstick, then custody on a
// fresh folder. A big run asks for counts only.
func (b *bench) once(ctx context.Context, file *streamFile, big bool) (r *result, err error) {
	dir, err := os.MkdirTemp(b.opt.dir, "run-")
	if err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	r = &result{Queries: make(map[string][]time.Duration)}
	// Every run finds the stream in memory.
	if err := readThrough(ctx, file.Path); err != nil {
		return nil, err
	}
	if b.opt.rsyslog != "" && !big {
		flushDisks()
		if r.Rsyslog, err = runRsyslog(ctx, b.opt.rsyslog, dir, file); err != nil {
			return nil, fmt.Errorf("yardstick: %w", err)
		}
		if err := os.Remove(dir + "/lines"); err != nil {
			return nil, err
		}
	}
	flushDisks()
	s, err := startServer(ctx, b.opt.binary, dir, segmentRows(b.opt.events))
	if err != nil {
		return nil, err
	}
	stopped := false
	defer func() {
		if !stopped {
			err = errors.Join(err, s.stop())
		}
	}()
	viewing, close := context.WithCancel(ctx)
	viewed := make(chan error, 1)
	go func() { viewed <- s.page(viewing) }()
	err = b.measure(ctx, s, file, r, big)
	close()
	if perr := <-viewed; perr != nil && err == nil {
		err = fmt.Errorf("keep page open: %w", perr)
	}
	if err != nil {
		return nil, err
	}
	stopped = true
	return r, s.stop()
}

func (b *bench) measure(ctx context.Context, s *server, file *streamFile, r *result, big bool) (err error) {
	if r.ingested, err = ingest(ctx, s, file); err != nil {
		return err
	}
	b.say("  durable %s, searchable %s, %.1f CPU s", perSecond(file.Events, r.Durable), perSecond(file.Events, r.Searchable), r.CPU.Seconds())
	if r.DiskOpen, err = diskUsage(s.data); err != nil {
		return err
	}
	from, err := processTime(s.pid())
	if err != nil {
		return err
	}
	// One more event makes the full segment close, and packing begin.
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", s.syslog)
	if err != nil {
		return fmt.Errorf("connect to the syslog listener: %w", err)
	}
	defer conn.Close()
	next := file.Events
	if _, err := sendAlone(ctx, s, conn, b.gen, next); err != nil {
		return err
	}
	next++
	if err := s.settle(ctx, 20*time.Minute); err != nil {
		return err
	}
	to, err := processTime(s.pid())
	if err != nil {
		return err
	}
	r.Packing = to - from
	if r.Disk, err = diskUsage(s.data); err != nil {
		return err
	}
	if r.Parts, err = diskParts(s.data); err != nil {
		return err
	}
	b.say("  packed: %.1f CPU s, %d bytes an event", r.Packing.Seconds(), r.Disk/int64(next))
	if !big {
		for range b.opt.tries {
			if err := s.pause(ctx, 300*time.Millisecond); err != nil {
				return err
			}
			a, err := sendAlone(ctx, s, conn, b.gen, next)
			if err != nil {
				return err
			}
			next++
			r.Alone = append(r.Alone, a)
		}
	}
	if err := b.question(ctx, s, next, r, big); err != nil {
		return err
	}
	mem, err := processMemory(s.pid())
	r.PeakWhole = mem.Peak
	return err
}

// question asks about the first events of the stream, all of which were sent, and checks every answer.
func (b *bench) question(ctx context.Context, s *server, events uint64, r *result, big bool) error {
	if _, err := s.await(ctx, 100*time.Millisecond, 20*time.Second, func(st status) bool {
		return st.Events.Sealed == events && st.Events.Searchable == events
	}); err != nil {
		return fmt.Errorf("wait for seals and index: %w", err)
	}
	wrong := func(what string) {
		b.say("  WRONG: %s", tail(what, 600))
		b.wrong = append(b.wrong, what)
	}
	t := newTruth(b.gen, events, b.opt.questions, pairDepth)
	if err := checkCounts(ctx, s, t, &b.checked); err != nil {
		wrong(err.Error())
	}
	for _, set := range querySets(t, b.opt.questions, b.opt.requests, &b.checked) {
		took, err := ask(ctx, s, set, wrong)
		if err != nil {
			return err
		}
		r.Queries[set.name] = took
		b.say("  %-28s p50 %s, p95 %s", set.name, millis(percentile(took, 0.5)), millis(percentile(took, 0.95)))
	}
	return nil
}

// readThrough brings a file into the page cache as far as there is room.
func readThrough(ctx context.Context, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for buf := make([]byte, 1<<20); ; {
		if _, err := f.Read(buf); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}
