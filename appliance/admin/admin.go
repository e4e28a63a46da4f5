// Package admin is the administration socket of the data folder: where the
// running server listens for commands, and how commands reach it.
//
// Whoever may open the socket is the local administrator: there is no other
// check. It guarantees that the socket has mode 0600 inside the data folder, that
// a socket which nobody serves any more is replaced and one that is served never
// is, and that what a server answers is bounded in memory.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// SocketName is the socket's name in the data folder.
const SocketName = "admin.sock"

// maxSocketPath is the longest path that the kernel takes for a socket.
const maxSocketPath = 107

// maxAnswer bounds an answer that is read as a whole, in bytes.
const maxAnswer = 256 << 20

// ErrNotRunning: no server serves the data folder.
var ErrNotRunning = errors.New("no custody server is running")

// ErrRunning: a server already serves the data folder.
var ErrRunning = errors.New("a custody server is already running")

// Error is what the server answered.
type Error struct {
	Status     int    `json:"-"` // of HTTP
	Code       string `json:"code"`
	Message    string `json:"message"`
	Position   *int   `json:"position"` // bytes into the query, when that is at fault
	Suggestion string `json:"suggestion"`
}

// Error is the message, with the suggestion if there is one.
func (e *Error) Error() string {
	s := e.Message
	if e.Position != nil {
		s = fmt.Sprintf("query, at character %d: %s", *e.Position+1, s)
	}
	if e.Suggestion != "" {
		s += fmt.Sprintf("; did you mean %q?", e.Suggestion)
	}
	return s
}

// Listen binds the socket of the data folder, which must exist. Closing the
// listener removes the socket.
func Listen(ctx context.Context, data string) (net.Listener, error) {
	path, release, err := socketPath(data)
	if err != nil {
		return nil, fmt.Errorf("listen on admin socket: %w", err)
	}
	defer release()
	if _, err := os.Lstat(path); err == nil {
		conn, err := dial(ctx, path)
		if err == nil {
			_ = conn.Close()
			return nil, fmt.Errorf("listen on admin socket: %w on %s", ErrRunning, data)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("listen on admin socket: %w", err)
		}
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on admin socket: %w", err)
	}
	unixListener, ok := l.(*net.UnixListener)
	if ok {
		// The short path may lead through a descriptor that is gone by then.
		unixListener.SetUnlinkOnClose(false)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("listen on admin socket: %w", err), l.Close())
	}
	return &listener{l, filepath.Join(data, SocketName)}, nil
}

type listener struct {
	net.Listener
	path string
}

// Close closes the listener and removes the socket.
func (l *listener) Close() error {
	err := l.Listener.Close()
	if rmErr := os.Remove(l.path); rmErr != nil && !errors.Is(rmErr, os.ErrNotExist) {
		err = errors.Join(err, rmErr)
	}
	return err
}

// socketPath is a path for the socket that is short enough. A long one goes
// through a descriptor of the folder, which release closes.
func socketPath(data string) (path string, release func(), err error) {
	path = filepath.Join(data, SocketName)
	if len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	dir, err := os.Open(data)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), SocketName), func() { _ = dir.Close() }, nil
}

func dial(ctx context.Context, path string) (net.Conn, error) {
	d := net.Dialer{Timeout: 5 * time.Second}
	return d.DialContext(ctx, "unix", path)
}

// Client sends commands to the server of a data folder. Safe for concurrent use.
type Client struct {
	data string
	http *http.Client
}

// NewClient returns a client for the data folder. It connects with each request.
func NewClient(data string) *Client {
	c := &Client{data: data}
	c.http = &http.Client{Transport: &http.Transport{
		DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			path, release, err := socketPath(data)
			if err != nil {
				return nil, err
			}
			defer release()
			return dial(ctx, path)
		},
	}}
	return c
}

// Stream sends a request and returns the body of its answer, for the caller to
// close. What the server refuses is an [*Error]; without a server the error is
// [ErrNotRunning].
func (c *Client) Stream(ctx context.Context, method, path string, params url.Values, body io.Reader) (io.ReadCloser, error) {
	u := url.URL{Scheme: "http", Host: "custody", Path: path, RawQuery: params.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, fmt.Errorf("send request: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	res, err := c.http.Do(req)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "dial" || errors.Is(err, os.ErrNotExist) {
			if errors.Is(err, os.ErrPermission) {
				return nil, fmt.Errorf("open %s: %w", filepath.Join(c.data, SocketName), os.ErrPermission)
			}
			return nil, fmt.Errorf("%w on %s", ErrNotRunning, c.data)
		}
		return nil, fmt.Errorf("ask server: %w", err)
	}
	if res.StatusCode < 300 {
		return res.Body, nil
	}
	defer func() { _ = res.Body.Close() }()
	var answer struct {
		Error *Error `json:"error"`
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil || json.Unmarshal(b, &answer) != nil || answer.Error == nil {
		return nil, &Error{Status: res.StatusCode, Code: "unknown", Message: "the server answered " + res.Status}
	}
	answer.Error.Status = res.StatusCode
	return nil, answer.Error
}

// Get reads the answer to a GET as JSON into out; a *json.RawMessage takes it as it is.
func (c *Client) Get(ctx context.Context, path string, params url.Values, out any) error {
	return c.exchange(ctx, http.MethodGet, path, params, nil, out)
}

// Post sends body as JSON and reads the answer as JSON into out.
func (c *Client) Post(ctx context.Context, path string, body, out any) error {
	r, w := io.Pipe()
	go func() { _ = w.CloseWithError(json.NewEncoder(w).Encode(body)) }()
	defer func() { _ = r.Close() }()
	return c.exchange(ctx, http.MethodPost, path, nil, r, out)
}

func (c *Client) exchange(ctx context.Context, method, path string, params url.Values, body io.Reader, out any) error {
	res, err := c.Stream(ctx, method, path, params, body)
	if err != nil {
		return err
	}
	defer func() { _ = res.Close() }()
	return Decode(res, out)
}

// Decode reads a JSON answer of bounded size into out.
func Decode(r io.Reader, out any) error {
	if err := json.NewDecoder(io.LimitReader(r, maxAnswer)).Decode(out); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	return nil
}
