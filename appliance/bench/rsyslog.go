package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// yardstick is rsyslogd writing the same stream to a file.
type yardstick struct {
	Took time.Duration // from the first byte until the last line is in the file
	CPU  time.Duration
	Peak int64
	Disk int64
}

// findRsyslog returns the path of rsyslogd and its version; missing says why there is none.
func findRsyslog(ctx context.Context) (path, version, missing string) {
	path, err := exec.LookPath("rsyslogd")
	if err != nil {
		// Daemons are not on every user's path.
		if path, err = exec.LookPath("/usr/sbin/rsyslogd"); err != nil {
			return "", "", "rsyslogd is not installed"
		}
	}
	out, err := exec.CommandContext(ctx, path, "-v").Output()
	if err != nil {
		return "", "", "rsyslogd does not run: " + err.Error()
	}
	version, _, _ = strings.Cut(string(out), "\n")
	version, _, _ = strings.Cut(version, " (")
	return path, strings.Join(strings.Fields(version), " "), ""
}

const rsyslogConfig = `global(workDirectory="%[1]s" maxMessageSize="64k")
module(load="imtcp")
template(name="raw" type="string" string="%%rawmsg%%\n")
ruleset(name="all") { action(type="omfile" file="%[1]s/lines" template="raw") }
input(type="imtcp" address="127.0.0.1" port="%[2]s" ruleset="all")
`

// runRsyslog sends file to a fresh rsyslogd that writes into dir. It fails when
// the lines written have not the size of those sent.
func runRsyslog(ctx context.Context, binary, dir string, file *streamFile) (y *yardstick, err error) {
	addr, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	config, out := filepath.Join(dir, "rsyslog.conf"), filepath.Join(dir, "lines")
	if err := os.WriteFile(config, fmt.Appendf(nil, rsyslogConfig, dir, port), 0o600); err != nil {
		return nil, err
	}
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, binary, "-n", "-f", config, "-i", filepath.Join(dir, "pid"))
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start rsyslogd: %w", err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // it is ended by a signal
		close(exited)
	}()
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-exited
	}()
	pause := func(d time.Duration) error {
		select {
		case <-time.After(d):
			return nil
		case <-exited:
			return fmt.Errorf("rsyslogd ended by itself: %s", tail(said.String(), 500))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	var conn net.Conn
	var dialer net.Dialer
	for since := time.Now(); ; {
		if conn, err = dialer.DialContext(ctx, "tcp", addr); err == nil {
			break
		}
		if time.Since(since) > 10*time.Second {
			return nil, fmt.Errorf("connect to rsyslogd: %w", err)
		}
		if err := pause(50 * time.Millisecond); err != nil {
			return nil, err
		}
	}
	defer conn.Close()
	f, err := os.Open(file.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	before, err := processTime(cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	sent := make(chan error, 1)
	start := time.Now()
	go func() {
		// The file alone has no end that rsyslog could see: closing makes it write what it holds.
		_, err := io.Copy(conn, f)
		sent <- errors.Join(err, conn.Close())
	}()
	y = new(yardstick)
	want := file.Lines + int64(file.Events) // a newline each
	size, moved := int64(0), start
	for size != want {
		if err := pause(pollPace); err != nil {
			return nil, err
		}
		fi, err := os.Stat(out)
		if err == nil && fi.Size() != size {
			size, moved = fi.Size(), time.Now()
		}
		if size > want || time.Since(moved) > 15*time.Second {
			return nil, fmt.Errorf("rsyslogd wrote %d bytes, not %d: %s", size, want, tail(said.String(), 500))
		}
	}
	y.Took = time.Since(start)
	if err := <-sent; err != nil {
		return nil, fmt.Errorf("send to rsyslogd: %w", err)
	}
	after, err := processTime(cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	mem, err := processMemory(cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	fi, err := os.Stat(out)
	if err != nil {
		return nil, err
	}
	y.CPU, y.Peak, y.Disk = after-before, mem.Peak, fi.Size()
	return y, nil
}
