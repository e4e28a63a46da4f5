package web

import (
	"context"
	"errors"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"custody/appliance/auth"
)

// The policy of every answer. Trusted Types: only htmx's own policy may touch
// HTML sinks, and it acts only on elements with the page's nonce.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types htmx"

const (
	maxBody     = 64 << 10 // of any request on the network
	maxURI      = 16 << 10
	cookiePlain = "custody_session"
	cookieTLS   = "__Host-custody_session"
)

type principalKey struct{}

func withPrincipal(ctx context.Context, p auth.Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

func principal(r *http.Request) auth.Principal {
	p, _ := r.Context().Value(principalKey{}).(auth.Principal)
	return p
}

// outermost sets the headers and limits that hold for everything.
func (s *Server) outermost(next http.Handler) http.Handler {
	return s.recovered(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		h.Set("Cache-Control", "no-store")
		if s.secure(r) {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		if len(r.RequestURI) > maxURI {
			s.fail(w, r, http.StatusRequestURITooLong, "uri_too_long", "the address is longer than 16 KiB")
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, r)
	}))
}

// recovered turns a panic into a 500 and a line in the log. ErrAbortHandler
// passes: it is how a broken stream is cut off.
func (s *Server) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch v := recover(); v {
			case nil:
			case http.ErrAbortHandler:
				panic(v)
			default:
				s.log.Error("request panicked", "path", r.URL.Path, "panic", v, "stack", string(debug.Stack()))
				s.fail(w, r, http.StatusInternalServerError, "internal", "internal error")
			}
		}()
		next.ServeHTTP(w, r)
	})
}

func (s *Server) secure(r *http.Request) bool { return s.opt.TLS || r.TLS != nil }

// open says which paths need no signing in.
func (s *Server) open(path string) bool {
	switch {
	case path == "/healthz", path == "/readyz", path == "/signin", strings.HasPrefix(path, "/assets/"):
		return true
	case path == "/metrics":
		return s.opt.OpenMetrics
	case strings.HasPrefix(path, "/log/"):
		return s.opt.OpenLog
	}
	return false
}

// machine says whether the caller of a path is a program, which is told in JSON.
func machine(path string) bool {
	return strings.HasPrefix(path, "/api/") || strings.HasPrefix(path, "/log/") || strings.HasPrefix(path, "/admin/") ||
		path == "/metrics" || path == "/readyz" || path == "/healthz"
}

func (s *Server) authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, err := s.identify(r)
		switch {
		case err == nil:
			r = r.WithContext(withPrincipal(r.Context(), p))
		case s.open(r.URL.Path):
		case !errors.Is(err, auth.ErrDenied):
			s.log.Error("sign-in check failed", "error", err)
			s.fail(w, r, http.StatusServiceUnavailable, "unavailable", "cannot check who is asking")
			return
		case machine(r.URL.Path):
			w.Header().Set("WWW-Authenticate", `Bearer realm="custody"`)
			s.fail(w, r, http.StatusUnauthorized, "unauthenticated", "sign in, or send a bearer token")
			return
		case strings.HasPrefix(r.URL.Path, "/ui/"):
			s.fail(w, r, http.StatusUnauthorized, "unauthenticated", "the session has ended: sign in again")
			return
		default:
			http.Redirect(w, r, signinURL(r), http.StatusSeeOther)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// identify prefers the token: a program that sends one means it.
func (s *Server) identify(r *http.Request) (auth.Principal, error) {
	if h := r.Header.Get("Authorization"); h != "" {
		scheme, tok, _ := strings.Cut(h, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return auth.Principal{}, auth.ErrDenied
		}
		return s.auth.Bearer(strings.TrimSpace(tok))
	}
	c, err := r.Cookie(s.cookieName(r))
	if err != nil {
		return auth.Principal{}, auth.ErrDenied
	}
	return s.auth.Session(c.Value)
}

func (s *Server) cookieName(r *http.Request) string {
	if s.secure(r) {
		return cookieTLS
	}
	return cookiePlain
}

// limited bounds how long a query may take.
func (s *Server) limited(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), s.opt.Timeout)
		defer cancel()
		next(w, r.WithContext(ctx))
	}
}

// streamed bounds how many answers without an end there are at once.
func (s *Server) streamed(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case s.streams <- struct{}{}:
			defer func() { <-s.streams }()
			next(w, r)
		default:
			w.Header().Set("Retry-After", "10")
			s.fail(w, r, http.StatusServiceUnavailable, "busy", "too many live tails and exports at once")
		}
	}
}

// route is mux with its 404 and 405 in our own form.
func (s *Server) route(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		probe := &statusProbe{header: http.Header{}}
		mux.ServeHTTP(probe, r)
		if probe.code == http.StatusMethodNotAllowed {
			w.Header().Set("Allow", probe.header.Get("Allow"))
			s.fail(w, r, probe.code, "method_not_allowed", r.Method+" is not possible here")
			return
		}
		s.fail(w, r, http.StatusNotFound, "not_found", "there is nothing at this address")
	})
}

// statusProbe takes an answer's status and drops the rest.
type statusProbe struct {
	header http.Header
	code   int
}

func (p *statusProbe) Header() http.Header { return p.header }
func (p *statusProbe) WriteHeader(code int) {
	if p.code == 0 {
		p.code = code
	}
}

func (p *statusProbe) Write(b []byte) (int, error) {
	p.WriteHeader(http.StatusOK)
	return len(b), nil
}

// extend moves the deadline of a long answer, which the server's own would cut:
// a reader that takes nothing for this long is given up. The deadline is of the
// machine's clock, whatever clock the server tells times by: set by one that is
// behind, it would have passed before the first byte.
func extend(w http.ResponseWriter) {
	// An in-memory writer has no deadline to set, and that is fine.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(30 * time.Second))
}
