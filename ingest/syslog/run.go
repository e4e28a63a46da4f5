package syslog

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"custody/ingest"
)

// Reasons of the gaps that listeners state.
const (
	GapCrash       = "connection open at crash"
	GapKernelDrops = "udp receive buffer overflow"
	GapQueueDrops  = "udp queue full"
	GapStopped     = "stopped before it was taken in"
)

// maxLines is how many lines, or recovered gaps, one batch holds at most.
const maxLines = 1024

// longAgo is a deadline that makes a blocked read return.
var longAgo = time.Unix(1, 0)

// Run serves until ctx ends. Then it takes in what the kernel holds for it, submits
// all it has read (for at most DrainTimeout), closes the socket and returns nil when
// all its goroutines have ended. It binds if Listen was not called. Before anything
// is accepted, connections that a crash cut off are submitted as gaps; an error is
// returned when that, or binding, fails. A listener is run once.
func (l *Listener) Run(ctx context.Context) error {
	if err := l.Listen(ctx); err != nil {
		return err
	}
	l.mu.Lock()
	again := l.running
	l.running = true
	l.mu.Unlock()
	if again {
		return errors.New("run syslog listener: already run")
	}
	defer l.shut()

	// Batches must still be taken after ctx has ended, but not for ever.
	submit, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	finished := make(chan struct{})
	defer close(finished)
	wg.Go(func() {
		select {
		case <-ctx.Done():
		case <-finished:
			return
		}
		t := time.NewTimer(l.cfg.DrainTimeout)
		defer t.Stop()
		select {
		case <-t.C:
			cancel()
		case <-finished:
		}
	})

	if l.packets != nil {
		return l.runPackets(ctx, submit)
	}
	if l.cfg.Network != "relp" {
		if err := l.recover(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
	return l.runStreams(ctx, submit)
}

func (l *Listener) cursorPrefix() string {
	return "conn/" + url.PathEscape(l.cfg.Source.Name) + "/"
}

// recover states a gap for every connection whose cursor a crash left over, and
// deletes the cursor with it.
func (l *Listener) recover(ctx context.Context) error {
	prefix := l.cursorPrefix()
	now := l.clock().UnixNano()
	var batches []*ingest.Batch
	err := l.cursors.EachCursor(prefix, func(key string, value []byte) error {
		if len(batches) == 0 || len(batches[len(batches)-1].Gaps) == maxLines {
			batches = append(batches, &ingest.Batch{Source: l.cfg.Source})
		}
		b := batches[len(batches)-1]
		peer := key[len(prefix):]
		if i := strings.LastIndexByte(peer, '/'); i >= 0 {
			peer = peer[:i]
		}
		opened, err := strconv.ParseInt(string(value), 10, 64)
		if err != nil || opened < 0 {
			opened = 0 // unknown
		}
		b.Gaps = append(b.Gaps, ingest.Gap{Source: l.cfg.Source, Peer: peer, Reason: GapCrash, Count: -1, From: opened, To: now})
		b.Cursors = append(b.Cursors, ingest.Cursor{Key: key})
		return nil
	})
	if err != nil {
		return fmt.Errorf("read connection cursors: %w", err)
	}
	for _, b := range batches {
		if err := l.sink.Submit(ctx, b); err != nil {
			return fmt.Errorf("submit connections open at crash: %w", err)
		}
		l.log.Warn("connections were open at a crash", "count", len(b.Gaps))
	}
	return nil
}

func (l *Listener) runStreams(ctx, submit context.Context) error {
	var wg sync.WaitGroup
	accepting, stopped := context.WithCancel(ctx)
	wg.Go(func() {
		<-accepting.Done()
		l.shut()
	})
	if l.cfg.IdleTimeout > 0 {
		wg.Go(func() { l.sweep(accepting) })
	}
	l.accept(ctx, submit, &wg)
	stopped()
	l.mu.Lock()
	for c := range l.conns {
		c.interrupt()
	}
	l.mu.Unlock()
	wg.Wait()
	return nil
}

// accept takes connections until ctx ends or the listener is closed.
func (l *Listener) accept(ctx, submit context.Context, wg *sync.WaitGroup) {
	const maxWait = time.Second
	wait := 5 * time.Millisecond
	for {
		nc, err := l.streams.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of descriptors, most likely: it passes when connections end.
			l.log.Warn("accept failed", "error", err)
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return
			}
			wait = min(2*wait, maxWait)
			continue
		}
		wait = 5 * time.Millisecond
		c := l.admit(nc)
		if c == nil {
			nc.Close()
			continue
		}
		wg.Go(func() {
			defer l.dismiss(c)
			c.serve(ctx, submit)
		})
	}
}

// admit registers a connection, or returns nil when there are too many.
func (l *Listener) admit(nc net.Conn) *conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.conns) >= l.cfg.MaxConnections {
		l.counters.refused.Add(1)
		return nil
	}
	c := newConn(l, nc)
	l.conns[c] = struct{}{}
	l.counters.accepted.Add(1)
	l.counters.connections.Add(1)
	return c
}

func (l *Listener) dismiss(c *conn) {
	c.nc.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
	l.counters.connections.Add(-1)
}

// sweep wakes the connections that have been idle for too long. It counts quarters
// of the time-out instead of reading a clock: a connection costs no timer.
func (l *Listener) sweep(ctx context.Context) {
	t := time.NewTicker(max(l.cfg.IdleTimeout/idleTicks, time.Millisecond))
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		l.tick.Add(1)
		l.mu.Lock()
		for c := range l.conns {
			if c.idle() {
				c.interrupt()
			}
		}
		l.mu.Unlock()
	}
}
