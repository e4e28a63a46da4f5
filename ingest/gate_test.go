package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"custody/ingest"
)

// batchCost is what a batch of one line without bytes counts at the gate.
const batchCost = 3<<10 + 64 + 64

// speed is how many bytes of cost the test's sink makes durable in a second.
const speed = 16 << 20

// slowSink makes batches durable one after the other, at its speed.
type slowSink struct {
	mu     sync.Mutex
	cond   *sync.Cond
	queue  []*ingest.Batch
	bytes  int // in queue, by cost
	most   int
	ended  bool
	refuse error
}

func newSlowSink() *slowSink {
	s := &slowSink{}
	s.cond = sync.NewCond(&s.mu)
	return s
}

func cost(b *ingest.Batch) int { return b.Size() + 3<<10*len(b.Lines) }

func (s *slowSink) Submit(_ context.Context, b *ingest.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse != nil {
		return s.refuse
	}
	s.queue = append(s.queue, b)
	s.bytes += cost(b)
	s.most = max(s.most, s.bytes)
	s.cond.Signal()
	return nil
}

// run works until the sink has ended and its queue is empty.
func (s *slowSink) run() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for len(s.queue) == 0 {
			if s.ended {
				return
			}
			s.cond.Wait()
		}
		b := s.queue[0]
		s.queue = s.queue[1:]
		s.mu.Unlock()
		time.Sleep(time.Duration(cost(b)) * time.Second / speed)
		s.mu.Lock()
		s.bytes -= cost(b)
		s.mu.Unlock()
		b.Done(nil)
		s.mu.Lock()
	}
}

func (s *slowSink) end() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.cond.Signal()
}

func batch(lines int) *ingest.Batch { return &ingest.Batch{Lines: make([]ingest.Line, lines)} }

// flood submits batches of lines until ctx ends, and counts what is durable.
func flood(ctx context.Context, wg *sync.WaitGroup, to ingest.Sink, lines int) *atomic.Int64 {
	n := new(atomic.Int64)
	wg.Go(func() {
		for {
			b := batch(lines)
			b.Done = func(error) { n.Add(int64(lines)) }
			if to.Submit(ctx, b) != nil {
				return
			}
		}
	})
	return n
}

// TestGateDelay floods a slow sink from a thousand shares of one part and from
// another part: an event of a share of its own, beside the thousand, is durable soon.
func TestGateDelay(t *testing.T) {
	for _, floods := range []int{1, 4, 1000} {
		t.Run(fmt.Sprint(floods), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sink := newSlowSink()
				var works, senders sync.WaitGroup
				works.Go(sink.run)
				g := ingest.NewGate(sink, 48<<20, nil)
				tcp, file := g.Share(), g.Share()
				ctx, stop := context.WithCancel(t.Context())
				for range floods {
					flood(ctx, &senders, tcp.Share(), 1024)
				}
				flood(ctx, &senders, file, 1024)
				time.Sleep(20 * time.Second) // of the test's clock: the queue is as long as it gets
				good := tcp.Share()
				for range 20 {
					sent, done := time.Now(), make(chan time.Time, 1)
					b := batch(1)
					b.Done = func(error) { done <- time.Now() }
					if err := good.Submit(ctx, b); err != nil {
						t.Fatal(err)
					}
					// The window, and at the gate one batch of each part: 16 MiB at the most.
					if took := (<-done).Sub(sent); took > time.Second {
						t.Errorf("durable after %s", took)
					}
				}
				stop()
				senders.Wait()
				sink.end()
				works.Wait()
			})
		})
	}
}

// TestGateFair compares what shares get of the sink.
func TestGateFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := newSlowSink()
		var works, senders sync.WaitGroup
		works.Go(sink.run)
		g := ingest.NewGate(sink, 48<<20, nil)
		ctx, stop := context.WithCancel(t.Context())
		large, small := flood(ctx, &senders, g.Share(), 1024), flood(ctx, &senders, g.Share(), 16)
		many := g.Share()
		var parts []*atomic.Int64
		for range 10 {
			parts = append(parts, flood(ctx, &senders, many.Share(), 100))
		}
		var before []int
		all := append(parts, large, small)
		for range 2 {
			// Who comes first has all of the window once, before there are others.
			before = before[:0]
			for _, n := range all {
				before = append(before, int(n.Load()))
			}
			time.Sleep(time.Minute)
		}
		sum, third := 0, speed*60/3/batchCost
		for i, n := range all {
			got, want := int(n.Load())-before[i], third
			if i < len(parts) {
				want = third / len(parts)
				sum += got
			}
			// Who submits one small batch at a time misses a turn now and then.
			if got < want*75/100 || got > want*125/100 {
				t.Errorf("sender %d: %d lines are durable in a minute, its part is about %d", i, got, want)
			}
		}
		if sum < third*75/100 || sum > third*125/100 {
			t.Errorf("ten senders: %d lines are durable in a minute, their part is about %d", sum, third)
		}
		stop()
		senders.Wait()
		sink.end()
		works.Wait()
	})
}

// TestGateAlone shows that one sender keeps the sink at work, however large its
// batches are, and that the window follows the sink's speed.
func TestGateAlone(t *testing.T) {
	for _, lines := range []int{1, 1024, 20000} {
		synctest.Test(t, func(t *testing.T) {
			sink := newSlowSink()
			var works, senders sync.WaitGroup
			works.Go(sink.run)
			ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
			defer stop()
			n := flood(ctx, &senders, ingest.NewGate(sink, 48<<20, nil).Share(), lines)
			senders.Wait()
			sink.end()
			works.Wait()
			if want := speed * 10 / (3<<10 + 128) * 95 / 100; int(n.Load()) < want {
				t.Errorf("batches of %d lines: %d are durable in ten seconds, want %d", lines, n.Load(), want)
			}
			if most := max(16<<20, lines*batchCost); sink.most > most {
				t.Errorf("batches of %d lines: %d bytes were under way, want at most %d", lines, sink.most, most)
			}
		})
	}
}

// TestGateOrder submits more than passes at once: it comes out as it went in.
func TestGateOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := newSlowSink()
		var works sync.WaitGroup
		works.Go(sink.run)
		var got, want []int
		s := ingest.NewGate(sink, 1<<20, nil).Share()
		for n := range 1000 {
			b := batch(n % 700)
			b.Done = func(error) { got = append(got, n) }
			if err := s.Submit(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			want = append(want, n)
		}
		sink.end()
		works.Wait()
		if !slices.Equal(got, want) {
			t.Errorf("order %v", got)
		}
	})
}

// TestGateGivenUp ends waiting at the gate, and refuses batches behind it: Done is
// not called, and what they held is free again.
func TestGateGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sink := newSlowSink() // nobody works
		g := ingest.NewGate(sink, 1<<20, nil)
		first, second := g.Share(), g.Share().Share()
		if err := first.Submit(t.Context(), batch(1000)); err != nil {
			t.Fatal(err)
		}
		why := errors.New("given up")
		ctx, cancel := context.WithCancelCause(t.Context())
		var wg sync.WaitGroup
		for _, s := range []*ingest.Share{first, second, second} {
			wg.Go(func() {
				b := batch(10)
				b.Done = func(err error) { t.Errorf("done: %v", err) }
				if err := s.Submit(ctx, b); !errors.Is(err, why) {
					t.Errorf("error %v", err)
				}
			})
		}
		synctest.Wait()
		if len(sink.queue) != 1 {
			t.Fatalf("%d batches are in the sink", len(sink.queue))
		}
		cancel(why)
		wg.Wait()

		sink.queue[0].Done(nil)
		sink.refuse = errors.New("closed")
		calls := 0
		b := batch(1000)
		b.Done = func(error) { calls++ }
		for range 3 {
			if err := second.Submit(t.Context(), b); !errors.Is(err, sink.refuse) {
				t.Errorf("error %v", err)
			}
		}
		if b.Done(nil); calls != 1 {
			t.Errorf("the batch's own Done was called %d times", calls)
		}
		sink.refuse = nil
		if err := second.Submit(t.Context(), b); err != nil || len(sink.queue) != 2 {
			t.Errorf("the next batch: %v, %d in the sink", err, len(sink.queue))
		}
	})
}
