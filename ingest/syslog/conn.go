package syslog

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"custody/ingest"
)

const (
	// idleTicks is how many ticks of Listener.tick make the idle time-out.
	idleTicks = 4
	// busy is conn.seen while the connection does something else than read.
	busy = -1
	// drainTime bounds how long a connection reads on after shutdown, for bytes
	// that the kernel says it has.
	drainTime = 100 * time.Millisecond
)

// conn is one stream connection. Everything but seen belongs to its goroutine.
type conn struct {
	l    *Listener
	sink ingest.Sink
	nc   net.Conn // the socket
	rw   net.Conn // nc, or TLS over it
	peer netip.Addr
	seen atomic.Int64 // tick at which it began to read, or busy

	buf    *readBuffer
	fr     framer
	frames []frame
	cursor string // key of its cursor, "" before the first line
	failed bool   // the sink refused a batch

	draining bool // shutdown was seen
	left     int  // bytes the kernel held then, and that were not read since
}

func newConn(l *Listener, nc net.Conn) *conn {
	c := &conn{l: l, sink: ingest.Divide(l.sink), nc: nc, rw: nc, fr: framer{max: l.cfg.MaxMessage}}
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		c.peer = a.AddrPort().Addr().Unmap().WithZone("")
	}
	c.seen.Store(busy)
	return c
}

// interrupt makes a blocked, or the next, read return.
func (c *conn) interrupt() { c.nc.SetReadDeadline(longAgo) }

func (c *conn) idle() bool {
	seen := c.seen.Load()
	return seen != busy && c.l.tick.Load()-seen >= idleTicks
}

// serve takes the connection to its end. ctx ends reading, submit ends submitting.
func (c *conn) serve(ctx, submit context.Context) {
	if c.l.cfg.TLS != nil {
		tc := tls.Server(c.nc, c.l.cfg.TLS)
		hctx, cancel := context.WithTimeout(ctx, c.l.cfg.HandshakeTimeout)
		err := tc.HandshakeContext(hctx)
		cancel()
		if err != nil {
			c.l.counters.failed.Add(1)
			c.l.log.Debug("tls handshake failed", "peer", c.peer, "error", err)
			return
		}
		c.rw = tc
		defer tc.Close()
	}
	c.buf = newReadBuffer(&c.l.mem)
	defer c.buf.release()
	if c.l.cfg.Network == "relp" {
		newSession(c).run(ctx, submit)
		return
	}
	c.stream(ctx, submit)
}

// stream reads plain syslog.
func (c *conn) stream(ctx, submit context.Context) {
	for {
		end, err := c.read(ctx)
		if end == endBroken {
			c.l.log.Debug("connection broken", "peer", c.peer, "error", err)
		}
		if !c.take(submit, end) || c.fr.broken || end != endNot {
			break
		}
	}
	c.finish(submit)
}

// read reads once into the buffer and says how the stream goes on.
func (c *conn) read(ctx context.Context) (ending, error) {
	for {
		c.seen.Store(c.l.tick.Load())
		err := c.buf.fill(c.rw)
		idle := c.idle()
		c.seen.Store(busy)
		switch {
		case err == nil:
			return endNot, nil
		case errors.Is(err, io.EOF):
			return endClosed, nil
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return endBroken, err
		case ctx.Err() != nil:
			return c.drain()
		case idle:
			c.l.counters.idle.Add(1)
			return endBroken, err
		}
		// It was found idle just when something came.
		c.nc.SetReadDeadline(time.Time{})
		if ctx.Err() != nil { // and shutdown came between
			c.interrupt()
		}
	}
}

// drain reads, at shutdown, what the kernel still holds for the connection.
func (c *conn) drain() (ending, error) {
	if !c.draining {
		c.draining, c.left = true, pending(c.nc)
	}
	if c.left <= 0 { // a sender that goes on must not keep us
		return endBroken, errors.New("shut down")
	}
	c.nc.SetReadDeadline(time.Time{})
	t := time.AfterFunc(drainTime, c.interrupt)
	defer t.Stop()
	if err := c.buf.fill(c.rw); errors.Is(err, io.EOF) {
		return endClosed, nil
	} else if err != nil {
		return endBroken, err
	}
	c.left -= c.buf.n
	c.interrupt() // so that the next read comes here again
	return endNot, nil
}

// take submits every message that is whole. It returns false when the sink did not
// take them.
func (c *conn) take(submit context.Context, end ending) bool {
	now := c.l.clock().UnixNano()
	for {
		pos, first, keep := 0, 0, 0
		c.frames = c.frames[:0]
		for {
			f, n, k, ok := c.fr.next(c.buf.b[pos:c.buf.w], end)
			if ok {
				f.start, f.end = f.start+pos, f.end+pos
				c.frames = append(c.frames, f)
			}
			pos, keep = pos+n, k
			if len(c.frames) == maxLines || !ok && len(c.frames) > 0 {
				if !c.submit(submit, first, pos, now) {
					return false
				}
				first = pos
			}
			if !ok {
				break
			}
		}
		if end != endNot || c.buf.settle(pos, keep) {
			return true
		}
		c.fr.clip(c.buf.w) // no memory for the rest of this message
	}
}

// submit hands over c.frames, which lie in buf.b[lo:hi].
func (c *conn) submit(ctx context.Context, lo, hi int, now int64) bool {
	raw := c.buf.take(lo, hi)
	b := &ingest.Batch{Source: c.l.cfg.Source, Peer: c.peer, Buf: raw, Lines: make([]ingest.Line, len(c.frames))}
	for i, f := range c.frames {
		b.Lines[i] = ingest.Line{
			Raw: raw[f.start-lo : f.end-lo : f.end-lo], Received: now, FullLength: f.full, Offset: -1, Defect: f.defect,
		}
	}
	c.frames = c.frames[:0]
	if c.cursor == "" {
		c.cursor = c.l.cursorPrefix() + c.peerName() + "/" + strconv.FormatInt(now, 36) + "-" + strconv.FormatUint(c.l.serial.Add(1), 36)
		b.Cursors = []ingest.Cursor{{Key: c.cursor, Value: strconv.AppendInt(nil, now, 10)}}
	}
	c.failed = !c.l.submit(ctx, c.sink, b)
	return !c.failed
}

func (c *conn) peerName() string {
	if c.peer.IsValid() {
		return c.nc.RemoteAddr().String()
	}
	return "unix"
}

// finish deletes the connection's cursor: it ended, and not by a crash. It stays
// when lines were refused, for they are missing.
func (c *conn) finish(submit context.Context) {
	if c.cursor == "" || c.failed {
		return
	}
	c.l.submit(submit, c.sink, &ingest.Batch{Source: c.l.cfg.Source, Peer: c.peer, Cursors: []ingest.Cursor{{Key: c.cursor}}})
}

// submit hands b to sink, that of its sender, and counts it.
func (l *Listener) submit(ctx context.Context, sink ingest.Sink, b *ingest.Batch) bool {
	lines := int64(len(b.Lines))
	var size, defects, truncated int64
	for i := range b.Lines {
		size += int64(len(b.Lines[i].Raw))
		if b.Lines[i].Defect != "" {
			defects++
		}
		if b.Lines[i].FullLength > 0 {
			truncated++
		}
	}
	done := b.Done
	b.Done = func(err error) {
		if err != nil {
			l.lose(lines, err)
		}
		if done != nil {
			done(err)
		}
	}
	if err := sink.Submit(ctx, b); err != nil {
		l.lose(lines, err)
		return false
	}
	l.counters.lines.Add(lines)
	l.counters.bytes.Add(size)
	l.counters.defects.Add(defects)
	l.counters.truncated.Add(truncated)
	return true
}

func (l *Listener) lose(lines int64, err error) {
	if lines == 0 {
		return
	}
	l.counters.lost.Add(lines)
	l.log.Error("lines not taken", "lines", lines, "error", err)
}
