package admin

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func serve(t *testing.T, data string, h http.Handler) {
	t.Helper()
	l, err := Listen(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(h)
	_ = srv.Listener.Close()
	srv.Listener = l
	srv.Start()
	t.Cleanup(srv.Close)
}

func TestExchange(t *testing.T) {
	// The second folder's socket path is longer than a socket address holds.
	for name, data := range map[string]string{"short": t.TempDir(), "long": filepath.Join(t.TempDir(), strings.Repeat("d", 120))} {
		t.Run(name, func(t *testing.T) {
			if err := os.MkdirAll(data, 0o700); err != nil {
				t.Fatal(err)
			}
			serve(t, data, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost {
					_, _ = io.Copy(w, r.Body)
					return
				}
				if r.URL.Query().Get("q") == "bad" {
					w.WriteHeader(http.StatusBadRequest)
					_, _ = io.WriteString(w, `{"error":{"code":"bad_query","message":"no such field","position":4,"suggestion":"risk"}}`)
					return
				}
				_, _ = io.WriteString(w, `{"count":7}`)
			}))
			info, err := os.Stat(filepath.Join(data, SocketName))
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Fatalf("socket has mode %v, %v", info.Mode(), err)
			}
			c := NewClient(data)
			var got struct{ Count int }
			if err := c.Get(t.Context(), "/api/v1/count", nil, &got); err != nil || got.Count != 7 {
				t.Errorf("got %+v, %v", got, err)
			}
			var echo map[string]string
			if err := c.Post(t.Context(), "/x", map[string]string{"a": "b"}, &echo); err != nil || echo["a"] != "b" {
				t.Errorf("got %v, %v", echo, err)
			}
			err = c.Get(t.Context(), "/api/v1/count", map[string][]string{"q": {"bad"}}, &got)
			var refused *Error
			if !errors.As(err, &refused) || refused.Status != 400 || refused.Code != "bad_query" {
				t.Fatalf("got %v", err)
			}
			if want := `query, at character 5: no such field; did you mean "risk"?`; err.Error() != want {
				t.Errorf("got %q, want %q", err.Error(), want)
			}
		})
	}
}

func TestOneServer(t *testing.T) {
	data := t.TempDir()
	if err := NewClient(data).Get(t.Context(), "/x", nil, nil); !errors.Is(err, ErrNotRunning) {
		t.Errorf("without a server: %v", err)
	}
	serve(t, data, http.NotFoundHandler())
	if _, err := Listen(t.Context(), data); !errors.Is(err, ErrRunning) {
		t.Errorf("a second server: %v", err)
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	data := t.TempDir()
	l, err := Listen(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	// As a killed server leaves it: closed, but not removed.
	if err := l.(*listener).Listener.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(data, SocketName)); err != nil {
		t.Fatalf("the socket is gone: %v", err)
	}
	if err := NewClient(data).Get(t.Context(), "/x", nil, nil); !errors.Is(err, ErrNotRunning) {
		t.Errorf("with a stale socket: %v", err)
	}
	l, err = Listen(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(data, SocketName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}
