package syslog

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"time"
)

// Listen binds the socket. Nothing is accepted or read before Run, but the kernel
// already queues what arrives. A unix socket that nobody serves any more is replaced.
func (l *Listener) Listen(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return fmt.Errorf("listen on %s: %w", l.cfg.Address, net.ErrClosed)
	}
	if l.streams != nil || l.packets != nil {
		return nil
	}
	if err := l.bind(ctx); err != nil {
		return fmt.Errorf("listen on %s %s: %w", l.cfg.Network, l.cfg.Address, err)
	}
	return nil
}

func (l *Listener) bind(ctx context.Context) (err error) {
	var lc net.ListenConfig
	if l.cfg.isUnix() {
		if err := removeStale(ctx, l.cfg.Network, l.cfg.Address); err != nil {
			return err
		}
	}
	switch l.cfg.Network {
	case "udp", "unixgram":
		if l.packets, err = lc.ListenPacket(ctx, l.cfg.Network, l.cfg.Address); err != nil {
			return err
		}
		if got := setReceiveBuffer(l.packets, l.cfg.ReceiveBuffer); got < l.cfg.ReceiveBuffer {
			l.log.Warn("kernel limits the receive buffer", "bytes", got, "wanted", l.cfg.ReceiveBuffer)
		}
	case "unix":
		l.streams, err = lc.Listen(ctx, "unix", l.cfg.Address)
	default:
		lc.Control = limitSegments
		l.streams, err = lc.Listen(ctx, "tcp", l.cfg.Address)
	}
	if err == nil && l.cfg.isUnix() {
		if err = os.Chmod(l.cfg.Address, l.cfg.SocketMode); err != nil {
			err = errors.Join(err, l.closeSocket())
			l.streams, l.packets = nil, nil
		}
	}
	return err
}

// removeStale removes the socket of a process that is gone. A file that is not a
// socket, or a socket that is served, is left alone for bind to fail on.
func removeStale(ctx context.Context, network, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("file exists and is not a socket")
	}
	d := net.Dialer{Timeout: time.Second}
	if c, err := d.DialContext(ctx, network, path); err == nil {
		c.Close()
		return errors.New("socket is in use")
	}
	return os.Remove(path)
}

// Addr returns the bound address, nil before Listen.
func (l *Listener) Addr() net.Addr {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.streams != nil:
		return l.streams.Addr()
	case l.packets != nil:
		return l.packets.LocalAddr()
	}
	return nil
}

// Close releases the socket of a listener that is not run, and makes Run return.
// It is safe to call twice.
func (l *Listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	return l.closeSocket()
}

// shut is Close where only the log is left to hear of an error.
func (l *Listener) shut() {
	if err := l.Close(); err != nil {
		l.log.Warn("close syslog socket", "error", err)
	}
}

func (l *Listener) closeSocket() error {
	switch {
	case l.streams != nil:
		return l.streams.Close()
	case l.packets != nil:
		err := l.packets.Close()
		if l.cfg.Network == "unixgram" {
			err = errors.Join(err, os.Remove(l.cfg.Address))
		}
		return err
	}
	return nil
}

// ServerTLS reads a certificate and key in PEM and returns a configuration for
// Config.TLS, with TLS 1.2 or newer. With clientCAFile, which may be "", senders
// must show a certificate that one of its authorities signed.
func ServerTLS(certFile, keyFile, clientCAFile string) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("load certificate: %w", err)
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	if clientCAFile == "" {
		return cfg, nil
	}
	pem, err := os.ReadFile(clientCAFile)
	if err != nil {
		return nil, fmt.Errorf("read client authorities: %w", err)
	}
	cfg.ClientCAs = x509.NewCertPool()
	if !cfg.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read client authorities: no certificate in %s", clientCAFile)
	}
	cfg.ClientAuth = tls.RequireAndVerifyClientCert
	return cfg, nil
}
