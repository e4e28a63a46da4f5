package appliance

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// server is an HTTP server with every limit set, that stops without waiting for
// those who never asked for anything.
type server struct {
	http http.Server

	mu       sync.Mutex
	unasked  map[net.Conn]struct{} // connections without a whole request so far
	stopping bool
}

// server makes one. The administration socket has no limit on a request's time: an
// import takes as long as it takes. Answers that stream set their own deadline.
func (a *Appliance) server(ctx context.Context, h http.Handler, network bool) *server {
	s := &server{unasked: map[net.Conn]struct{}{}}
	s.http = http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
		ConnState:         s.note,
		// Live tails and imports end with the receivers.
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	if network {
		s.http.WriteTimeout = 2 * time.Minute
		s.http.Handler = a.bodyDeadline(h)
	}
	return s
}

// bodyDeadline bounds how long a request's body may take. Server.ReadTimeout would
// also cut off answers that stream for longer, since it fails the read that waits
// for the caller to go away.
func (a *Appliance) bodyDeadline(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			// Connections that cannot do it are not those of a network.
			_ = http.NewResponseController(w).SetReadDeadline(a.clock().Add(time.Minute))
		}
		h.ServeHTTP(w, r)
	})
}

// note keeps the connections that have sent less than a request: http.Server calls
// those new, and its Shutdown gives each five seconds to go on.
func (s *server) note(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case state != http.StateNew:
		delete(s.unasked, c)
	case s.stopping:
		_ = c.Close() // nothing was asked, so nobody misses the answer
	default:
		s.unasked[c] = struct{}{}
	}
}

// hangUp closes the connections on which nothing was asked, now and later.
func (s *server) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping = true
	for c := range s.unasked {
		_ = c.Close() // as above
	}
}

// serve answers on l until it is shut down.
func (s *server) serve(l net.Listener, h HTTP) error {
	var err error
	if h.TLSCert != "" {
		s.http.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		err = s.http.ServeTLS(l, h.TLSCert, h.TLSKey)
	} else {
		err = s.http.Serve(l)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve http: %w", err)
}

// shutdown lets requests end for a few seconds, then cuts them off.
func shutdown(ctx context.Context, servers ...*server) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for _, s := range servers {
		wg.Go(func() {
			s.hangUp()
			if s.http.Shutdown(ctx) != nil {
				_ = s.http.Close() // the listener is closed already; there is nothing to do about a connection
			}
		})
	}
	wg.Wait()
}
