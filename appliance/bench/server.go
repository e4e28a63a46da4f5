package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// server is a running custody process and the way to ask it. Not safe for
// concurrent use, except that page may run beside.
type server struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when the process has ended
	err    error         // why it ended, once exited
	log    bytes.Buffer  // its standard error, once exited

	data         string
	syslog, http string
	token        string
	client       *http.Client
	body         bytes.Buffer
}

// startServer runs "custody serve" on a fresh data folder under dir, with its
// defaults but for the addresses; a segment closes after segmentRows rows where
// that is not 0.
func startServer(ctx context.Context, binary, dir string, segmentRows uint64) (*server, error) {
	s := &server{
		data: filepath.Join(dir, "data"), exited: make(chan struct{}),
		client: &http.Client{Transport: &http.Transport{
			MaxIdleConnsPerHost: 4, DisableCompression: true, ReadBufferSize: 64 << 10,
		}},
	}
	var err error
	if s.http, err = freeAddress(ctx); err != nil {
		return nil, err
	}
	if s.syslog, err = freeAddress(ctx); err != nil {
		return nil, err
	}
	args := []string{"serve", "--data", s.data, "--http", s.http, "--syslog", s.syslog}
	if segmentRows != 0 {
		config := filepath.Join(dir, "config.toml")
		if err := os.WriteFile(config, fmt.Appendf(nil, "[storage]\nsegment_rows = %d\n", segmentRows), 0o600); err != nil {
			return nil, err
		}
		args = append(args, "--config", config)
	}
	s.cmd = exec.CommandContext(ctx, binary, args...)
	s.cmd.Dir = dir
	s.cmd.Stderr = &s.log
	s.cmd.Cancel = func() error { return s.cmd.Process.Signal(syscall.SIGTERM) }
	s.cmd.WaitDelay = 30 * time.Second
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start custody: %w", err)
	}
	go func() {
		s.err = s.cmd.Wait()
		close(s.exited)
	}()
	if err := s.ready(ctx, binary); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// ready waits until the server answers and gets a token.
func (s *server) ready(ctx context.Context, binary string) error {
	for began := time.Now(); ; {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.http+"/healthz", nil)
		if err != nil {
			return err
		}
		if resp, err := s.client.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				break
			}
		}
		if time.Since(began) > 30*time.Second {
			return errors.New("start custody: no answer within 30 seconds")
		}
		if err := s.pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	out, err := exec.CommandContext(ctx, binary, "token", "create", "--data", s.data, "--role", "viewer", "--name", "benchmark").Output()
	if err != nil {
		return fmt.Errorf("create token: %w%s", err, standardError(err))
	}
	s.token = strings.TrimSpace(string(out))
	return nil
}

func standardError(err error) string {
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		return ": " + strings.TrimSpace(string(exit.Stderr))
	}
	return ""
}

// pause waits for d; it fails when the server or ctx ends meanwhile.
func (s *server) pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-s.exited:
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("custody ended by itself: %w; its log: %s", errors.Join(s.err, errEnded), tail(s.log.String(), 2000))
	case <-ctx.Done():
		return ctx.Err()
	}
}

var errEnded = errors.New("unexpected end")

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// stop ends the server. It fails when that takes more than 30 seconds or the exit code is not 0.
func (s *server) stop() error {
	s.client.CloseIdleConnections()
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case <-s.exited:
	case <-time.After(30 * time.Second):
		_ = s.cmd.Process.Kill()
		<-s.exited
		return errors.New("stop custody: it did not end within 30 seconds")
	}
	if s.err != nil {
		return fmt.Errorf("stop custody: %w; its log: %s", s.err, tail(s.log.String(), 2000))
	}
	return nil
}

func (s *server) pid() int { return s.cmd.Process.Pid }

// fetch asks for a path of the API and returns the whole answer, which is valid
// until the next fetch, and how long it took to the last byte.
func (s *server) fetch(ctx context.Context, path string) ([]byte, time.Duration, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.http+path, nil)
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	s.body.Reset()
	start := time.Now()
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, 0, fmt.Errorf("ask custody: %w", err)
	}
	_, err = io.Copy(&s.body, resp.Body)
	took := time.Since(start)
	resp.Body.Close()
	if err != nil {
		return nil, 0, fmt.Errorf("ask custody: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, 0, fmt.Errorf("ask custody for %s: %s: %s", path, resp.Status, tail(s.body.String(), 500))
	}
	return s.body.Bytes(), took, nil
}

// get is fetch with the answer read into v.
func (s *server) get(ctx context.Context, path string, v any) error {
	b, _, err := s.fetch(ctx, path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("read answer to %s: %w", path, err)
	}
	return nil
}

// status is what GET /api/v1/status says, as far as it matters here.
type status struct {
	Events struct {
		Durable    uint64 `json:"durable"`
		Sealed     uint64 `json:"sealed"`
		Searchable uint64 `json:"searchable"`
	} `json:"events"`
	Segments int    `json:"segments"`
	Fault    string `json:"fault"`
}

func (s *server) status(ctx context.Context) (status, error) {
	var st status
	err := s.get(ctx, "/api/v1/status", &st)
	if err == nil && st.Fault != "" {
		err = fmt.Errorf("custody reports a fault: %s", st.Fault)
	}
	return st, err
}

// await asks for the status every pace until done is true.
func (s *server) await(ctx context.Context, pace, limit time.Duration, done func(status) bool) (status, error) {
	for start := time.Now(); ; {
		st, err := s.status(ctx)
		if err != nil || done(st) {
			return st, err
		}
		if time.Since(start) > limit {
			return st, fmt.Errorf("after %s: %d durable, %d sealed, %d searchable", limit, st.Events.Durable, st.Events.Sealed, st.Events.Searchable)
		}
		if err := s.pause(ctx, pace); err != nil {
			return st, err
		}
	}
}

// settle waits until background work is over: the process hardly computes and
// its folder keeps its size, for several seconds.
func (s *server) settle(ctx context.Context, limit time.Duration) error {
	const look, quiet = 500 * time.Millisecond, 8
	var cpu time.Duration
	var disk int64
	calm := 0
	for start := time.Now(); calm < quiet; {
		if err := s.pause(ctx, look); err != nil {
			return err
		}
		now, err := processTime(s.pid())
		if err != nil {
			return err
		}
		size, err := diskUsage(s.data)
		if err != nil {
			return err
		}
		grown := max(size-disk, disk-size)
		if now-cpu <= 20*time.Millisecond && grown < 256<<10 {
			calm++
		} else {
			calm = 0
		}
		cpu, disk = now, size
		if time.Since(start) > limit {
			return fmt.Errorf("custody is still busy after %s", limit)
		}
	}
	return nil
}

// page keeps a search page with its live tail open until ctx ends, as a browser
// would: the page, its overview, the stream, and the state strip every three seconds.
func (s *server) page(ctx context.Context) error {
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	defer client.CloseIdleConnections()
	open := func(ctx context.Context, path string) (*http.Response, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.http+path, nil)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+s.token)
		resp, err := client.Do(req)
		if err == nil && resp.StatusCode != http.StatusOK {
			resp.Body.Close()
			err = fmt.Errorf("open page: %s answers %s", path, resp.Status)
		}
		return resp, err
	}
	for _, path := range []string{"/?live=1", "/ui/overview?live=1"} {
		resp, err := open(ctx, path)
		if err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	resp, err := open(ctx, "/ui/tail") //nolint:bodyclose // closed by its reader, below
	if err != nil {
		return err
	}
	var read error // once ended
	ended := make(chan struct{})
	go func() {
		_, read = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		close(ended)
	}()
	defer func() {
		cancel()
		<-ended
	}()
	every := time.NewTicker(3 * time.Second)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ended:
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("read live tail: %w", errors.Join(read, errEnded))
		case <-every.C:
			strip, err := open(ctx, "/ui/status")
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return fmt.Errorf("read state strip: %w", err)
			}
			_, _ = io.Copy(io.Discard, strip.Body)
			strip.Body.Close()
		}
	}
}

// freeAddress finds a loopback address that is free for TCP and UDP.
func freeAddress(ctx context.Context) (string, error) {
	var lc net.ListenConfig
	for range 20 {
		l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return "", fmt.Errorf("find free port: %w", err)
		}
		addr := l.Addr().String()
		u, err := lc.ListenPacket(ctx, "udp", addr)
		l.Close()
		if err == nil {
			u.Close()
			return addr, nil
		}
	}
	return "", errors.New("find free port: none is free for TCP and UDP")
}

// searchPath is the address of a search.
func searchPath(query string, limit int) string {
	return "/api/v1/records?limit=" + strconv.Itoa(limit) + "&q=" + url.QueryEscape(query)
}
