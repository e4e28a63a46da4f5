//go:build linux

package appliance_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// event is the n-th line of a kind. Its request id is a word of its own.
func event(kind string, n int) string {
	// Bytes that do not compress, the same every time: folders and disks fill up.
	noise := rand.NewPCG(uint64(n), uint64(len(kind)))
	return fmt.Sprintf(`{"ts":"2026-11-23T10:%02d:%02d.%03dZ","request_id":"%s%d","requester":"user%d@example.com","agent":"agent-%d","tool":"%s","operation":"read","target":"secret/data/%d","decision":"allow","status":"success","message":"read %016x%016x%016x for item %d"}`,
		n/60000%60, n/1000%60, n%1000, kind, n, n%7, n%3, [...]string{"kv", "shell", "deploy"}[n%3], n%11, noise.Uint64(), noise.Uint64(), noise.Uint64(), n)
}

// syslogEvent is event with a syslog header.
func syslogEvent(kind string, n int) string {
	return "<13>1 2026-11-23T10:00:00.123Z host agent 77 - - " + event(kind, n)
}

// number finds n in an event of the kind.
func number(kind, raw string) (n int, ok bool) {
	_, rest, ok := strings.Cut(raw, `"request_id":"`+kind)
	if !ok {
		return 0, false
	}
	digits, _, _ := strings.Cut(rest, `"`)
	n, err := strconv.Atoi(digits)
	return n, err == nil
}

// pace lets about rate things a second through, in small bursts. It returns false
// when ctx has ended.
type pace struct {
	rate int
	next time.Time
	left int
}

func (p *pace) wait(ctx context.Context) bool {
	const burst = 2 * time.Millisecond
	if p.left--; p.left > 0 {
		return ctx.Err() == nil
	}
	p.left = max(1, p.rate*int(burst)/int(time.Second))
	now := time.Now()
	if p.next = p.next.Add(time.Duration(p.left) * time.Second / time.Duration(p.rate)); p.next.Before(now) {
		p.next = now
	}
	timer := time.NewTimer(p.next.Sub(now))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// load is senders that go on whatever happens to the server.
type load struct {
	t    *testing.T
	stop context.CancelFunc
	ctx  context.Context
	wg   sync.WaitGroup
}

func newLoad(t *testing.T) *load {
	l := &load{t: t}
	l.ctx, l.stop = context.WithCancel(context.Background())
	t.Cleanup(l.end)
	return l
}

// end stops the senders and waits for them.
func (l *load) end() {
	l.stop()
	l.wg.Wait()
}

// appendFile writes events of the kind to dir/app.log as a program would: in pieces
// that end anywhere. The file is renamed away now and then. The result is valid
// when the load has ended.
func (l *load) appendFile(dir, kind string, rate int, rng *rand.Rand) *int {
	written := new(int)
	l.wg.Go(func() {
		path := filepath.Join(dir, "app.log")
		var f *os.File
		defer func() { _ = f.Close() }() // nil only when it could not be made
		p := pace{rate: rate}
		var rest string
		for rotation, left := 0, 0; p.wait(l.ctx); left-- {
			if left == 0 {
				if f != nil {
					if err := errors.Join(f.Close(), os.Rename(path, fmt.Sprintf("%s.%d", path, rotation))); err != nil {
						l.t.Errorf("rotate: %v", err)
						return
					}
					rotation++
				}
				var err error
				if f, err = os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
					l.t.Errorf("rotate: %v", err)
					return
				}
				left = 1 + rng.IntN(3*rate)
			}
			line := event(kind, *written) + "\n"
			*written++
			cut := len(line)
			if left > 1 && rng.IntN(4) == 0 {
				cut = rng.IntN(len(line))
			}
			if _, err := f.WriteString(rest + line[:cut]); err != nil {
				l.t.Errorf("append: %v", err)
				return
			}
			rest = line[cut:]
		}
		if _, err := f.WriteString(rest); err != nil {
			l.t.Errorf("append: %v", err)
		}
	})
	return written
}

// sendTCP sends events and connects anew when the connection breaks. What was
// under way then is not sent again.
func (l *load) sendTCP(addr, kind string, rate int) {
	l.wg.Go(func() {
		p := pace{rate: rate}
		var c net.Conn
		var w *bufio.Writer
		counting := false
		for n := 0; p.wait(l.ctx); n++ {
			if c == nil {
				var err error
				if c, err = net.Dial("tcp", addr); err != nil {
					c = nil
					continue
				}
				w = bufio.NewWriterSize(c, 4096)
				counting = !counting // both framings of RFC 6587
			}
			line := syslogEvent(kind, n)
			_ = c.SetWriteDeadline(time.Now().Add(time.Minute))
			stop := context.AfterFunc(l.ctx, func() { _ = c.SetWriteDeadline(time.Now()) })
			var err error
			if counting {
				_, err = fmt.Fprintf(w, "%d %s", len(line), line)
			} else {
				_, err = fmt.Fprintf(w, "%s\n", line)
			}
			if err == nil {
				err = w.Flush()
			}
			stop()
			if err != nil {
				_ = c.Close()
				c = nil
			}
		}
		if c != nil {
			_ = c.Close()
		}
	})
}

// sendUDP sends events and does not look back.
func (l *load) sendUDP(addr, kind string, rate int) {
	l.wg.Go(func() {
		c, err := net.Dial("udp", addr)
		if err != nil {
			l.t.Errorf("udp: %v", err)
			return
		}
		defer c.Close()
		p := pace{rate: rate}
		for n := 0; p.wait(l.ctx); n++ {
			_, _ = c.Write([]byte(syslogEvent(kind, n))) // refused while the server is down
		}
	})
}

// relpSender sends events over RELP as rsyslog does: up to a window of them
// unanswered, and again after a new connection what had no answer.
type relpSender struct {
	mu    sync.Mutex
	sent  int         // events so far
	open  map[int]int // transaction number → event, of this session
	again []int       // events of earlier sessions without an answer
	acked map[int]bool
	// sessions holds the events of every session by its local address, in the order
	// of their transaction numbers, which begin with 2.
	sessions map[string][]int
}

const relpWindow = 128

// sendRELP sends until the load ends; then it goes on until all is answered, for
// at most a minute.
func (l *load) sendRELP(addr, kind string, rate int) *relpSender {
	s := &relpSender{open: map[int]int{}, acked: map[int]bool{}, sessions: map[string][]int{}}
	l.wg.Go(func() {
		last, cancel := context.WithCancel(context.Background())
		defer cancel()
		defer context.AfterFunc(l.ctx, func() { time.AfterFunc(time.Minute, cancel) })()
		for !(l.ctx.Err() != nil && s.pending() == 0) {
			if err := s.session(l.ctx, last, addr, kind, rate); err == nil {
				return
			}
			select {
			case <-time.After(10 * time.Millisecond): // before the next try to connect
			case <-last.Done():
				return
			}
		}
	})
	return s
}

func (s *relpSender) pending() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open) + len(s.again)
}

func (s *relpSender) ackedNow() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.acked)
}

// session returns nil when ctx has ended and all is answered.
func (s *relpSender) session(ctx, last context.Context, addr, kind string, rate int) error {
	var d net.Dialer
	c, err := d.DialContext(last, "tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(last, func() { c.Close() })()
	offer := "relp_version=0\nrelp_software=test\ncommands=syslog"
	if _, err := fmt.Fprintf(c, "1 open %d %s\n", len(offer), offer); err != nil {
		return err
	}
	room := make(chan struct{}, relpWindow)
	read := make(chan error, 1)
	go func() { read <- s.answers(bufio.NewReader(c), room) }()
	defer func() {
		c.Close()
		<-read
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, n := range s.open {
			s.again = append(s.again, n)
		}
		clear(s.open)
	}()
	w := bufio.NewWriter(c)
	p := pace{rate: rate}
	for txnr := 2; ; txnr++ {
		select {
		case room <- struct{}{}:
		case err := <-read:
			read <- err
			return err
		}
		more := p.wait(ctx)
		s.mu.Lock()
		n := s.sent
		switch {
		case len(s.again) > 0:
			n, s.again = s.again[0], s.again[1:]
		case more:
			s.sent++
		default:
			s.mu.Unlock()
			return s.drain(last, read)
		}
		s.open[txnr] = n
		s.sessions[c.LocalAddr().String()] = append(s.sessions[c.LocalAddr().String()], n)
		s.mu.Unlock()
		line := syslogEvent(kind, n)
		fmt.Fprintf(w, "%d syslog %d %s\n", txnr, len(line), line)
		if err := w.Flush(); err != nil {
			return err
		}
	}
}

// drain waits until all is answered.
func (s *relpSender) drain(last context.Context, read chan error) error {
	for s.pending() > 0 {
		select {
		case err := <-read:
			read <- err
			return err
		case <-last.Done():
			return last.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

// answers reads responses until the connection ends.
func (s *relpSender) answers(r *bufio.Reader, room <-chan struct{}) error {
	for {
		var txnr, size int
		var command string
		if _, err := fmt.Fscanf(r, "%d %s %d", &txnr, &command, &size); err != nil {
			return err
		}
		data := make([]byte, size+1) // with the newline, or the space before data
		if size > 0 {
			data = make([]byte, size+2)
		}
		if _, err := io.ReadFull(r, data); err != nil {
			return err
		}
		if command != "rsp" {
			return fmt.Errorf("the server says %s", command)
		}
		if txnr == 1 {
			continue
		}
		s.mu.Lock()
		n, ok := s.open[txnr]
		delete(s.open, txnr)
		if ok && strings.HasPrefix(string(data), " 200 ") {
			s.acked[n] = true
		}
		s.mu.Unlock()
		if !ok || !strings.HasPrefix(string(data), " 200 ") {
			return fmt.Errorf("answer %d %q, expected: %t", txnr, data, ok)
		}
		<-room
	}
}
