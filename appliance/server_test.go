package appliance

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"
)

// A request under way when the server stops is answered; a connection without one
// is closed meanwhile, and so is one that comes late.
func TestShutdownAnswers(t *testing.T) {
	begun, answer := make(chan struct{}), make(chan struct{})
	a := &Appliance{log: slog.New(slog.DiscardHandler), clock: time.Now}
	s := a.server(t.Context(), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-answer
		_, _ = io.WriteString(w, "whole") // the client checks
	}), true)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.serve(l, HTTP{}) }()
	silent, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	got := make(chan string, 1)
	go func() {
		res, err := http.Get("http://" + l.Addr().String())
		if err != nil {
			got <- err.Error()
			return
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		got <- string(b)
	}()
	<-begun

	stopped := make(chan struct{})
	go func() { shutdown(context.WithoutCancel(t.Context()), s); close(stopped) }()
	// This returns when the server hangs up, while the request is still under way.
	if _, err := silent.Read(make([]byte, 1)); err == nil {
		t.Error("the silent connection was answered")
	}
	late, other := net.Pipe()
	defer other.Close()
	s.note(late, http.StateNew)
	if _, err := other.Read(make([]byte, 1)); err == nil {
		t.Error("the late connection was answered")
	}
	select {
	case text := <-got:
		t.Errorf("the request ended before its answer: %s", text)
	default:
	}
	close(answer)
	if text := <-got; text != "whole" {
		t.Errorf("the request under way: %q", text)
	}
	<-stopped
	if err := <-served; err != nil {
		t.Error(err)
	}
}
