package appliance

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"custody/appliance/admin"
	"custody/index"
	"custody/index/verify"
)

// verifier verifies the folder of the running server, for commands that find it
// in use: nobody else can read what the server writes to.
type verifier struct {
	ledger *index.Ledger
	clock  func() time.Time
	log    *slog.Logger
}

const (
	// maxVerifyRequest bounds a request, checkpoints included, in bytes.
	maxVerifyRequest = 16 << 20
	// verifyWait is how long a command may leave an answer unread: rewrites wait
	// while a verification runs, so one that was suspended must not hold them up.
	verifyWait = time.Minute
	// verifyAlive is the longest silence of an answer.
	verifyAlive = 2 * time.Second
)

// ServeHTTP answers while it verifies: see admin.VerifyPath.
func (v *verifier) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var q admin.VerifyRequest
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxVerifyRequest))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&q); err != nil {
		refuse(w, err)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	out := &verifyAnswer{w: w, rc: http.NewResponseController(w), clock: v.clock, cancel: cancel}
	w.Header().Set("Content-Type", "application/x-ndjson")
	// The first line sends the header, so that the command does not wait for it.
	out.tell(admin.VerifyProgress{})
	stop := out.keepAlive()
	start := v.clock()
	rep, err := v.ledger.Verify(ctx, index.AuditOptions{
		Against: q.Against, VKeys: q.Keys, From: q.From, Search: q.Search,
		Progress: out.progress,
		Found:    func(p verify.Problem) { out.tell(admin.VerifyProgress{Problem: &p}) },
	})
	stop()
	took := v.clock().Sub(start)
	if err != nil {
		if r.Context().Err() != nil && !errors.Is(err, context.Canceled) {
			err = errors.Join(err, r.Context().Err())
		}
		v.log.Warn("verification ended early", "duration", took, "error", err)
		out.tell(admin.VerifyProgress{Error: err.Error()})
		return
	}
	if rep.OK() {
		v.log.Info("verified", "entries", rep.Size, "rows", rep.Rows, "from", q.From, "search", q.Search, "duration", took)
	} else {
		v.log.Error("verification found problems", "problems", len(rep.Problems), "first", rep.Problems[0].String(), "duration", took)
	}
	out.tell(admin.VerifyProgress{Report: rep})
}

// verifyAnswer writes the answer. Safe for concurrent use.
type verifyAnswer struct {
	mu     sync.Mutex
	w      http.ResponseWriter
	rc     *http.ResponseController
	clock  func() time.Time
	cancel func()
	last   admin.VerifyProgress
	told   time.Time
}

// tell writes one line; a command that went away ends the verification.
func (a *verifyAnswer) tell(p admin.VerifyProgress) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.write(p)
}

func (a *verifyAnswer) write(p admin.VerifyProgress) {
	// A connection without deadlines is not that of a socket.
	_ = a.rc.SetWriteDeadline(a.clock().Add(verifyWait))
	if err := errors.Join(json.NewEncoder(a.w).Encode(p), a.rc.Flush()); err != nil {
		a.cancel()
	}
	a.told = a.clock()
}

func (a *verifyAnswer) progress(part string, done, total uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = admin.VerifyProgress{Part: part, Done: done, Total: total}
	if a.clock().Sub(a.told) >= tellEvery {
		a.write(a.last)
	}
}

// keepAlive repeats the progress where a part takes long without any.
func (a *verifyAnswer) keepAlive() (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		t := time.NewTicker(verifyAlive)
		defer t.Stop()
		for {
			select {
			case <-done:
				return
			case <-t.C:
			}
			a.mu.Lock()
			a.write(a.last)
			a.mu.Unlock()
		}
	})
	return func() { close(done); wg.Wait() }
}
