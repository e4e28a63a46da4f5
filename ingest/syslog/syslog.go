// Package syslog turns network syslog into batches of lines. It frames and nothing
// more: what a line says is for others to read.
//
// A [Listener] takes messages on one socket: UDP, TCP, TLS (RFC 5425), unix
// datagram and stream sockets, and RELP. It guarantees:
//
//   - Every message that a stream brought is submitted, in order, as a line whose
//     bytes are the message without its framing. Streams are octet-counted or
//     terminated by newline or NUL (RFC 6587), found out for each connection. Longer
//     messages than MaxMessage are kept truncated, with their full length.
//   - A stream whose structure is broken gives what is left of it as a line with a
//     Defect; a message that the end of a stream cuts off is submitted too.
//   - While the sink blocks, streams are not read, so that senders feel it. UDP is
//     read on into a bounded queue; what does not fit there, or was dropped by the
//     kernel before, is counted and submitted as a gap.
//   - Every stream connection has a share of the sink to itself when the sink has
//     shares (see [ingest.Gate]); the datagrams of a listener have one together.
//   - A stream connection that has sent something leaves a cursor until it is closed
//     in order. After a crash, the cursors left over become gaps of unknown count.
//   - A RELP message is acknowledged when it is durable, and not before. What fails
//     is not answered, so that the sender keeps it and sends it again.
//   - What a sender can make the listener hold is bounded: connections, bytes of all
//     unfinished messages, bytes queued, RELP messages under way.
//
// Cursor format: the key is "conn/" source "/" peer "/" unique, source being
// path-escaped; the value is the opening time in decimal Unix nanoseconds.
package syslog

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"custody/ingest"
)

// Config says what a Listener listens on. The zero value of each optional field is
// its default.
type Config struct {
	// Network is "udp", "tcp", "tls", "unixgram", "unix" or "relp". Required, and
	// Source.Transport must be the transport of the same kind.
	Network string
	// Address is host:port, or the path of a unix socket. Port 0 takes a free one.
	Address string
	// Source is where the lines come from. Required; no two stream listeners may
	// share one, because its name finds the connections that a crash cut off.
	Source *ingest.Source

	// MaxMessage is the longest message kept whole, in bytes. Default 64 KiB, at
	// most 16 MiB.
	MaxMessage int
	// MaxConnections bounds open stream connections; further ones are closed at
	// once. Default 1024.
	MaxConnections int
	// MaxBuffered bounds the bytes that all connections hold of messages not yet
	// whole. When it is used up, long messages are truncated (RELP: the session is
	// closed). Default: enough for MaxConnections messages, at least 128 MiB and at
	// most 1 GiB.
	MaxBuffered int64
	// IdleTimeout closes connections that send nothing for so long. Default: never.
	IdleTimeout time.Duration
	// HandshakeTimeout bounds the TLS handshake. Default 10 s.
	HandshakeTimeout time.Duration
	// DrainTimeout bounds how long Run goes on to submit what was read after its
	// context ended. Default 10 s.
	DrainTimeout time.Duration

	// TLS is required for "tls", allowed for "relp". See ServerTLS.
	TLS *tls.Config
	// SocketMode is the permission of a unix socket. Default 0660.
	SocketMode fs.FileMode
	// ReceiveBuffer is the kernel's receive buffer for datagrams, in bytes, as far
	// as the kernel allows. Default 8 MiB.
	ReceiveBuffer int
	// Queue bounds the datagrams read but not yet taken by the sink, in bytes.
	// Default 16 MiB.
	Queue int64
	// Window bounds the RELP messages of one session that are not yet durable.
	// Default 1024.
	Window int
}

const maxMaxMessage = 16 << 20

func (c *Config) setDefaults() {
	def(&c.MaxMessage, 64<<10)
	def(&c.MaxConnections, 1024)
	def(&c.MaxBuffered, min(max(2*int64(c.MaxConnections)*int64(c.MaxMessage+minBuffer), 128<<20), 1<<30))
	def(&c.HandshakeTimeout, 10*time.Second)
	def(&c.DrainTimeout, 10*time.Second)
	def(&c.SocketMode, 0o660)
	def(&c.ReceiveBuffer, 8<<20)
	def(&c.Queue, 16<<20)
	def(&c.Window, 1024)
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func (c *Config) validate() error {
	if c.Source == nil || c.Source.Name == "" {
		return errors.New("source without a name")
	}
	transport, ok := transports[c.Network]
	if !ok {
		return fmt.Errorf("network %q is none of udp, tcp, tls, unixgram, unix, relp", c.Network)
	}
	if c.Source.Transport != transport {
		return fmt.Errorf("source %s has transport %q, network %s needs %q", c.Source.Name, c.Source.Transport, c.Network, transport)
	}
	if c.Address == "" {
		return errors.New("no address")
	}
	if c.isUnix() {
		if c.SocketMode&^fs.ModePerm != 0 {
			return fmt.Errorf("socket mode %v is more than permissions", c.SocketMode)
		}
	} else if _, _, err := net.SplitHostPort(c.Address); err != nil {
		return fmt.Errorf("address %q: %w", c.Address, err)
	}
	switch {
	case c.TLS == nil && c.Network == "tls":
		return errors.New("tls without a certificate")
	case c.TLS != nil && c.Network != "tls" && c.Network != "relp":
		return fmt.Errorf("network %s cannot use TLS", c.Network)
	case c.MaxMessage < 1 || c.MaxMessage > maxMaxMessage:
		return fmt.Errorf("max message %d is not within 1 and %d bytes", c.MaxMessage, maxMaxMessage)
	case c.MaxConnections < 1, c.Window < 1, c.ReceiveBuffer < 1:
		return errors.New("max connections, window and receive buffer must be at least 1")
	case c.MaxBuffered < int64(c.MaxConnections)*minBuffer:
		return fmt.Errorf("max buffered must be at least %d bytes for each of %d connections", minBuffer, c.MaxConnections)
	case c.Queue < int64(c.MaxMessage):
		return errors.New("queue is smaller than one message")
	case c.IdleTimeout < 0, c.HandshakeTimeout < 0, c.DrainTimeout < 0:
		return errors.New("negative time-out")
	}
	return nil
}

var transports = map[string]string{
	"udp":      ingest.UDP,
	"tcp":      ingest.TCP,
	"tls":      ingest.TLS,
	"unixgram": ingest.UnixDgram,
	"unix":     ingest.UnixStream,
	"relp":     ingest.RELP,
}

func (c *Config) isUnix() bool   { return c.Network == "unix" || c.Network == "unixgram" }
func (c *Config) isPacket() bool { return c.Network == "udp" || c.Network == "unixgram" }

// Listener takes the messages of one socket. Its methods are safe for concurrent use.
type Listener struct {
	cfg     Config
	sink    ingest.Sink
	cursors ingest.Cursors
	log     *slog.Logger
	clock   func() time.Time

	mem      budget
	counters counters
	serial   atomic.Uint64 // makes cursor keys unique
	tick     atomic.Int64  // quarters of the idle time-out since Run began

	mu      sync.Mutex
	streams net.Listener   // bound stream socket
	packets net.PacketConn // bound datagram socket
	running bool
	closed  bool
	conns   map[*conn]struct{}
}

// New returns a listener for cfg, which hands its batches to sink. cursors is where
// cut-off connections are found; it may be nil for datagrams and RELP. A nil logger
// discards, a nil clock is time.Now. Nothing is opened yet.
func New(cfg Config, sink ingest.Sink, cursors ingest.Cursors, logger *slog.Logger, clock func() time.Time) (*Listener, error) {
	cfg.setDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("configure syslog listener: %w", err)
	}
	if sink == nil {
		return nil, errors.New("configure syslog listener: no sink")
	}
	if cursors == nil && !cfg.isPacket() && cfg.Network != "relp" {
		return nil, errors.New("configure syslog listener: streams need cursors")
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	if clock == nil {
		clock = time.Now
	}
	l := &Listener{
		cfg:     cfg,
		sink:    sink,
		cursors: cursors,
		log:     logger.With("source", cfg.Source.Name, "network", cfg.Network, "address", cfg.Address),
		clock:   clock,
		conns:   map[*conn]struct{}{},
	}
	l.mem.limit = cfg.MaxBuffered
	return l, nil
}

// Stats is what a listener has done since it was made. Lines and Bytes count what
// the sink accepted.
type Stats struct {
	Lines       int64 // lines submitted
	Bytes       int64 // their bytes, without framing
	Defects     int64 // lines with a defect
	Truncated   int64 // lines longer than MaxMessage
	Connections int64 // connections open now
	Accepted    int64 // connections ever, without the refused
	Refused     int64 // connections over MaxConnections
	Idle        int64 // connections closed by IdleTimeout
	Failed      int64 // connections that failed: TLS handshake, time-out, broken RELP
	KernelDrops int64 // datagrams dropped by the kernel
	QueueDrops  int64 // datagrams dropped because the queue was full
	Repeated    int64 // RELP messages sent twice in one session, and dropped
	Lost        int64 // lines that were read but that the sink refused or gave up; RELP senders keep theirs
}

type counters struct {
	lines, bytes, defects, truncated, connections, accepted, refused, idle,
	failed, kernelDrops, queueDrops, repeated, lost atomic.Int64
}

// Stats returns the present counts.
func (l *Listener) Stats() Stats {
	c := &l.counters
	return Stats{
		Lines: c.lines.Load(), Bytes: c.bytes.Load(), Defects: c.defects.Load(), Truncated: c.truncated.Load(),
		Connections: c.connections.Load(), Accepted: c.accepted.Load(), Refused: c.refused.Load(),
		Idle: c.idle.Load(), Failed: c.failed.Load(), KernelDrops: c.kernelDrops.Load(),
		QueueDrops: c.queueDrops.Load(), Repeated: c.repeated.Load(), Lost: c.lost.Load(),
	}
}
