package syslog

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"custody/ingest"
)

// writeTimeout is how long a RELP sender may leave acknowledgements unread once no
// buffer takes more of them.
const writeTimeout = time.Minute

const (
	groupPending = iota
	groupReady
	groupFailed
)

// group is a run of frames that are answered together: the messages of one batch,
// or one command.
type group struct {
	first uint32
	n     int    // frames, their numbers following first
	reply string // data of each rsp
	state atomic.Int32
}

// session is one RELP session. The connection's goroutine reads and submits, a
// second one answers, in the order in which the frames came.
type session struct {
	c      *conn
	parser relpParser
	opened bool
	next   uint32 // transaction number that must come now, 0 before the first
	count  uint32 // numbers taken so far, at most maxTxnr/2
	frames []relpFrame

	kick chan struct{} // holds a token when groups changed
	room chan struct{} // holds a token when groups were answered
	done chan struct{} // closed when nothing is answered any more

	mu      sync.Mutex
	groups  []*group
	pending int // frames in groups
	closing bool
}

func newSession(c *conn) *session {
	return &session{
		c:      c,
		parser: relpParser{max: c.l.cfg.MaxMessage},
		kick:   make(chan struct{}, 1),
		room:   make(chan struct{}, 1),
		done:   make(chan struct{}),
	}
}

func (s *session) run(ctx, submit context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { s.answer(submit) })
	for {
		end, _ := s.c.read(ctx)
		if !s.take(submit) || end != endNot {
			break
		}
	}
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	signal(s.kick)
	wg.Wait()
}

// take submits and answers the frames that are whole. It returns false when the
// session must end.
func (s *session) take(submit context.Context) bool {
	buf := s.c.buf
	now := s.c.l.clock().UnixNano()
	pos, first := 0, 0
	for {
		b := buf.b[pos:buf.w]
		f, n, keep, ok, bad := s.parser.next(b)
		switch {
		case bad:
			if s.flush(submit, first, pos, now) {
				s.garbage(submit, pos, now)
			}
			return false
		case !ok:
			if !s.flush(submit, first, pos, now) {
				return false
			}
			if !buf.settle(pos, keep) {
				s.c.l.counters.failed.Add(1)
				s.c.l.log.Warn("no memory for a message", "peer", s.c.peer)
				return false
			}
			return true
		}
		isSyslog := string(b[f.cmdStart:f.cmdEnd]) == "syslog"
		fresh := false
		if f.txnr != 0 { // else a hint, which is not answered
			var valid bool
			if fresh, valid = s.sequence(f.txnr); !valid || isSyslog && !s.opened {
				if s.flush(submit, first, pos, now) {
					s.protocolError(f.txnr)
				}
				return false
			}
		}
		if isSyslog && fresh {
			f.start, f.end = f.start+pos, f.end+pos
			s.frames = append(s.frames, f)
			pos += n
			if len(s.frames) < min(maxLines, s.c.l.cfg.Window) {
				continue
			}
			if !s.flush(submit, first, pos, now) {
				return false
			}
			first = pos
			continue
		}
		if !s.flush(submit, first, pos, now) {
			return false
		}
		pos += n
		first = pos
		if f.txnr != 0 && !s.command(string(b[f.cmdStart:f.cmdEnd]), f.txnr, b[f.start:f.end], fresh) {
			return false
		}
	}
}

// sequence checks a transaction number. fresh is false for one that this session
// has had. Numbers follow one another; after 999,999,999 comes 1.
func (s *session) sequence(txnr uint32) (fresh, valid bool) {
	if s.next != 0 && txnr != s.next {
		behind := (s.next + maxTxnr - txnr) % maxTxnr
		return false, behind <= s.count
	}
	s.next = txnr%maxTxnr + 1
	s.count = min(s.count+1, maxTxnr/2)
	return true, true
}

// command answers a frame that brings no new message. It returns false when the
// session ends with it.
func (s *session) command(name string, txnr uint32, data []byte, fresh bool) bool {
	switch {
	case !fresh:
		// The group of the first one stands before this one in the queue, so this
		// answer is only sent once that message is durable.
		s.c.l.counters.repeated.Add(1)
		return s.reply(txnr, "200 OK")
	case name == "open" && !s.opened:
		offers, ok := acceptOffers(string(data))
		if !ok {
			s.reply(txnr, "500 offers not acceptable")
			return false
		}
		s.opened = true
		return s.reply(txnr, "200 OK\n"+offers)
	case name == "close":
		s.reply(txnr, "200 OK")
		return false
	default:
		return s.reply(txnr, "500 command not supported")
	}
}

// acceptOffers answers the offers of an open command.
func acceptOffers(data string) (string, bool) {
	version, commands := "", false
	for line := range strings.SplitSeq(data, "\n") {
		name, value, _ := strings.Cut(line, "=")
		switch name {
		case "relp_version":
			// Versions 0 and 1 differ in nothing that is used here.
			if v, err := strconv.Atoi(value); err == nil && v >= 0 {
				version = strconv.Itoa(min(v, 1))
			}
		case "commands":
			for c := range strings.SplitSeq(value, ",") {
				commands = commands || c == "syslog"
			}
		}
	}
	return "relp_version=" + version + "\nrelp_software=custody\ncommands=syslog", version != "" && commands
}

func (s *session) reply(txnr uint32, data string) bool {
	g := &group{first: txnr, n: 1, reply: data}
	g.state.Store(groupReady)
	if !s.push(g) {
		return false
	}
	signal(s.kick)
	return true
}

func (s *session) protocolError(txnr uint32) {
	s.c.l.counters.failed.Add(1)
	s.c.l.log.Debug("relp session broken", "peer", s.c.peer, "txnr", txnr)
	s.reply(txnr, "500 protocol error")
}

// garbage submits what a sender said that does not speak RELP. The session ends.
func (s *session) garbage(submit context.Context, pos int, now int64) {
	c := s.c
	c.l.counters.failed.Add(1)
	n := min(c.buf.w-pos, c.l.cfg.MaxMessage)
	raw := c.buf.take(pos, pos+n)
	line := ingest.Line{Raw: raw, Received: now, Offset: -1, Defect: defectRELP}
	if n < c.buf.w-pos {
		line.FullLength = c.buf.w - pos
	}
	c.l.submit(submit, c.sink, &ingest.Batch{Source: c.l.cfg.Source, Peer: c.peer, Buf: raw, Lines: []ingest.Line{line}})
}

// push appends g to what is to be answered, once the window has room for it.
func (s *session) push(g *group) bool {
	for {
		s.mu.Lock()
		if s.pending == 0 || s.pending+g.n <= s.c.l.cfg.Window {
			s.pending += g.n
			s.groups = append(s.groups, g)
			s.mu.Unlock()
			return true
		}
		s.mu.Unlock()
		select {
		case <-s.room:
		case <-s.done:
			return false
		}
	}
}

// flush submits s.frames, which lie in buf.b[lo:hi].
func (s *session) flush(submit context.Context, lo, hi int, now int64) bool {
	if len(s.frames) == 0 {
		return true
	}
	c := s.c
	g := &group{first: s.frames[0].txnr, n: len(s.frames), reply: "200 OK"}
	if !s.push(g) {
		return false
	}
	raw := c.buf.take(lo, hi)
	b := &ingest.Batch{Source: c.l.cfg.Source, Peer: c.peer, Buf: raw, Lines: make([]ingest.Line, len(s.frames))}
	for i, f := range s.frames {
		b.Lines[i] = ingest.Line{Raw: raw[f.start-lo : f.end-lo : f.end-lo], Received: now, FullLength: f.full, Offset: -1}
	}
	s.frames = s.frames[:0]
	b.Done = func(err error) {
		if err != nil {
			g.state.Store(groupFailed)
		} else {
			g.state.Store(groupReady)
		}
		signal(s.kick)
	}
	if !c.l.submit(submit, c.sink, b) {
		g.state.Store(groupFailed)
		signal(s.kick)
		return false
	}
	return true
}

// answer writes responses until the session has ended and all are written, or one
// cannot be given. A message that failed is not answered at all: librelp's client
// forgets a message on any response, and sends again what has none.
func (s *session) answer(submit context.Context) {
	defer close(s.done)
	defer s.c.nc.Close()
	expire := func() { s.c.nc.SetWriteDeadline(longAgo) }
	stop := context.AfterFunc(submit, expire)
	defer stop()
	var out []byte
	for {
		select {
		case <-s.kick:
		case <-submit.Done():
			return
		}
		var n int
		var end bool
		out, n, end = s.ready(out[:0])
		if end {
			out = append(out, "0 serverclose 0\n"...)
		}
		if len(out) > 0 {
			t := time.AfterFunc(writeTimeout, expire)
			_, err := s.c.rw.Write(out)
			t.Stop()
			if err != nil {
				return
			}
		}
		if end {
			return
		}
		s.mu.Lock()
		s.pending -= n
		s.mu.Unlock()
		signal(s.room)
	}
}

// ready takes from the front the groups that can be answered, appends their
// responses to out, and counts their frames. end says that nothing comes after them.
func (s *session) ready(out []byte) (_ []byte, n int, end bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.groups) > 0 {
		g := s.groups[0]
		switch g.state.Load() {
		case groupPending:
			return out, n, false
		case groupFailed:
			return out, n, true
		}
		txnr := g.first
		for range g.n {
			out = strconv.AppendUint(out, uint64(txnr), 10)
			out = append(out, " rsp "...)
			out = strconv.AppendInt(out, int64(len(g.reply)), 10)
			out = append(out, ' ')
			out = append(out, g.reply...)
			out = append(out, '\n')
			txnr = txnr%maxTxnr + 1
		}
		n += g.n
		s.groups[0] = nil
		s.groups = s.groups[1:]
	}
	return out, n, s.closing
}
