// Package demo sends believable traffic of people, agents and tools to a syslog
// listener, so that custody can be looked at before anything real is connected.
//
// The traffic is stories, not noise: each follows one human request (or none, where
// an agent acts on its own) through agents, sub-agents, a gateway, Vault,
// Kubernetes, AWS, sudo and sshd, with ids that agree across the sources. The same
// seed tells the same stories, times apart. Every line is marked: the syslog tag is
// "custody-demo/" and the program's name.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	gsyslog "github.com/hashicorp/go-syslog"
)

// TagPrefix stands before the program's name in the syslog tag of every line.
const TagPrefix = "custody-demo/"

// Options of Run. The zero value is useful.
type Options struct {
	Rate  int    // events a second; default 20
	Count int    // events to send; 0 goes on until the context ends
	Seed  uint64 // 0 takes one from the clock
	// Clock gives the times in the lines; default time.Now.
	Clock func() time.Time
	// Progress is called about twice a second with the number sent; may be nil.
	Progress func(sent int)
}

// retries of a line that the listener does not take, one every retryPause.
const (
	retries    = 100
	retryPause = 100 * time.Millisecond
)

// Run sends events to the syslog listener at addr over network, "tcp" or "udp",
// until Count are sent or ctx ends, which is no error. It returns how many were
// handed to the kernel. When the listener takes nothing for ten seconds it fails.
func Run(ctx context.Context, network, addr string, opt Options) (int, error) {
	if opt.Rate == 0 {
		opt.Rate = 20
	}
	if opt.Rate < 0 || opt.Count < 0 {
		return 0, errors.New("send demo traffic: rate and count cannot be negative")
	}
	if opt.Clock == nil {
		opt.Clock = time.Now
	}
	if opt.Seed == 0 {
		opt.Seed = uint64(opt.Clock().UnixNano())
	}
	out := &senders{network: network, addr: addr, open: map[string]gsyslog.Syslogger{}}
	defer out.close()
	stories := NewGenerator(opt.Seed)
	start, sent := opt.Clock(), 0
	tick := time.NewTicker(max(time.Second/time.Duration(opt.Rate), 5*time.Millisecond))
	defer tick.Stop()
	told := start
	for {
		now := opt.Clock()
		due := 1 + int(now.Sub(start).Seconds()*float64(opt.Rate))
		if opt.Count > 0 {
			due = min(due, opt.Count)
		}
		for sent < due && ctx.Err() == nil {
			if err := out.send(ctx, stories.Next(opt.Clock())); err != nil {
				if ctx.Err() != nil {
					return sent, nil
				}
				return sent, err
			}
			sent++
		}
		if opt.Progress != nil && now.Sub(told) >= time.Second/2 {
			told = now
			opt.Progress(sent)
		}
		if opt.Count > 0 && sent >= opt.Count {
			return sent, nil
		}
		select {
		case <-ctx.Done():
			return sent, nil
		case <-tick.C:
		}
	}
}

// senders holds a connection for each program, as the programs themselves would.
type senders struct {
	network, addr string
	open          map[string]gsyslog.Syslogger
}

func (s *senders) send(ctx context.Context, e Event) error {
	w := s.open[e.App]
	for try := 0; ; try++ {
		var err error
		if w == nil {
			w, err = gsyslog.DialLogger(s.network, s.addr, gsyslog.LOG_INFO, e.Facility, TagPrefix+e.App)
			if err != nil && len(s.open) == 0 {
				return fmt.Errorf("send demo traffic to %s %s: %w; is \"custody serve\" running?", s.network, s.addr, err)
			}
			if err == nil {
				s.open[e.App] = w
			}
		}
		if err == nil {
			if err = w.WriteLevel(e.Level, []byte(e.Text)); err == nil {
				return nil
			}
		}
		// The library gives up after 50 ms, which a listener that makes its senders
		// wait exceeds easily.
		if try == retries {
			return fmt.Errorf("send demo traffic to %s %s: %w", s.network, s.addr, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(retryPause):
		}
	}
}

func (s *senders) close() {
	for _, w := range s.open {
		if c, ok := w.(io.Closer); ok {
			_ = c.Close() // everything was handed over; there is nothing to save
		}
	}
}
