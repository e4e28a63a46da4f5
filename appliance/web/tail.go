package web

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"custody/index"
	"custody/ingest/record"
)

// tailing is how a live tail is shown.
type tailing struct {
	// render makes the bytes of a record, in the ledger's goroutine.
	render func(*record.Record) ([]byte, error)
	// send writes what waits.
	send func(w http.ResponseWriter, got tailed) error
	pace time.Duration // least time between two sends
	// most are the records rendered in one pace, and missed those of what came
	// while the reader was away; the rest is counted. 0 is without bound: the
	// reader gets all it missed, at its own pace.
	most, missed int
}

// tailStart is the id of a reader that has seen nothing of a ledger.
const tailStart = "start"

// tailID is the id after which next is the next seq.
func tailID(next uint64) string {
	if next == 0 {
		return tailStart
	}
	return uintText(next - 1)
}

// tailFrom is the seq at which a live tail begins: after the row that its reader
// saw last. A reader that connects again names it in Last-Event-ID, a new one
// may in "after"; without either, the tail begins now.
func (s *Server) tailFrom(r *http.Request) (uint64, error) {
	after := r.Header.Get("Last-Event-ID")
	if after == "" {
		after = r.URL.Query().Get("after")
	}
	switch {
	case after == "":
		return s.ledger.Status().Rows, nil
	case after == tailStart:
		return 0, nil
	case !validID(after):
		return 0, badf("bad_parameter", "after (or Last-Event-ID): the id or seq of a record, or %q", tailStart)
	}
	if seq, err := strconv.ParseUint(after, 10, 64); err == nil {
		return max(seq, seq+1), nil // the last number has none after it
	}
	_, sealed, _, err := s.ledger.Get(r.Context(), after)
	if err != nil {
		return 0, err
	}
	return sealed.Seq + 1, nil
}

// beat keeps a connection from looking dead, and moves the reader's id past rows
// that do not match, so that a reader that comes back need not pass them again.
// It has no data, so an EventSource takes the id and dispatches nothing.
func beat(next uint64) []byte { return []byte("event: beat\nid: " + tailID(next) + "\n\n") }

// tail runs a live tail at the pace of its reader: when the stream is faster,
// records are skipped and counted, and the ledger never waits.
func (s *Server) tail(w http.ResponseWriter, r *http.Request, t tailing) {
	a, err := s.readAsked(r)
	if err != nil {
		s.failErr(w, r, err)
		return
	}
	from, err := s.tailFrom(r)
	if err != nil {
		s.failErr(w, r, err)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Header().Set("X-Accel-Buffering", "no")
	rc := http.NewResponseController(w)
	extend(w)
	// The first beat gives the reader an id before it has seen any row.
	if _, err := w.Write(append([]byte(": custody live tail\n"), beat(from)...)); err != nil {
		return
	}
	if err := rc.Flush(); err != nil {
		return
	}
	q := newTailQueue(from, t.most, t.missed)
	ended := make(chan error, 1)
	go func() {
		ended <- s.follow(ctx, a.Request, from, q, t.render)
		close(ended)
	}()
	// The goroutine ends with the handler: Tail returns soon after its context.
	defer func() {
		cancel()
		for range ended { // waits for the close
		}
	}()
	beats := time.NewTicker(10 * time.Second)
	defer beats.Stop()
	pace := time.NewTimer(0)
	defer pace.Stop()
	<-pace.C
	ready := q.ready
	for {
		select {
		case <-ctx.Done():
			return
		case err := <-ended:
			if err != nil && ctx.Err() == nil {
				s.log.Error("live tail ended", "error", err)
			}
			return
		case <-beats.C:
			// The session or token may have ended meanwhile.
			if principal(r).Via != "socket" {
				if _, err := s.identify(r); err != nil {
					return
				}
			}
			extend(w)
			next, idle := q.idle()
			if !idle {
				continue // rows are about to be sent
			}
			if _, err := w.Write(beat(next)); err != nil {
				return
			}
		case <-pace.C:
			ready = q.ready
			continue
		case <-ready:
			extend(w)
			if err := t.send(w, q.take()); err != nil {
				return
			}
			if t.pace > 0 {
				ready = nil
				pace.Reset(t.pace)
			}
		}
		if err := rc.Flush(); err != nil {
			return
		}
	}
}

var errTailFull = errors.New("the queue of the live tail is full")

// follow fills q until ctx ends. What a reader missed waits for room in the
// queue, between two calls of the ledger and not within one, so that a slow
// reader holds nothing of the ledger; what is new never waits.
func (s *Server) follow(ctx context.Context, req index.Request, from uint64, q *tailQueue, render func(*record.Record) ([]byte, error)) error {
	for {
		err := s.ledger.Tail(ctx, req, from, func(seq uint64, load index.Load) error {
			if q.full() {
				from = seq
				return errTailFull
			}
			if !q.admit(seq) {
				return ctx.Err()
			}
			rec, err := load()
			if err != nil {
				return err
			}
			b, err := render(rec)
			if err != nil {
				return err
			}
			q.put(tailItem{seq: seq, data: b})
			return ctx.Err()
		}, q.reach)
		if !errors.Is(err, errTailFull) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-q.room:
		}
	}
}

func (s *Server) apiTail(w http.ResponseWriter, r *http.Request) {
	s.tail(w, r, tailing{
		render: func(rec *record.Record) ([]byte, error) { return rec.AppendJSON(nil), nil },
		send: func(w http.ResponseWriter, got tailed) error {
			if got.skipped > 0 {
				if _, err := w.Write([]byte("event: skipped\ndata: {\"count\":" + uintText(got.skipped) + "}\n\n")); err != nil {
					return err
				}
			}
			for _, it := range got.items {
				b := append([]byte("event: record\nid: "), uintText(it.seq)...)
				b = append(append(append(b, "\ndata: "...), it.data...), "\n\n"...)
				if _, err := w.Write(b); err != nil {
					return err
				}
			}
			return nil
		},
	})
}
