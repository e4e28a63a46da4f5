// Package ingest is the way from a receiver to the ledger: sources, lines,
// batches, back-pressure and cursors.
//
// A receiver (a syslog listener, a tailed file, an import) reads lines into a
// [Batch] and hands it to a [Sink]. The sink blocks while the ledger is behind,
// so a receiver that can stop reading does, and one that cannot (UDP) counts
// what it had to drop and states it as a [Gap]. Between the two stands a [Gate],
// so that a sender that floods waits for itself and not the others for it. A
// batch's cursors are committed in the same transaction as its lines: after a
// crash either both are there or neither.
package ingest

import (
	"context"
	"net/netip"
	"time"
)

// Transports, as records show them.
const (
	UDP        = "syslog/udp"
	TCP        = "syslog/tcp"
	TLS        = "syslog/tls"
	UnixDgram  = "syslog/unixgram"
	UnixStream = "syslog/unix"
	RELP       = "relp"
	File       = "file"
	Import     = "import"
)

// Source is one configured origin of lines. It does not change after start.
type Source struct {
	Name      string
	Tenant    string // "" is the default tenant
	Transport string // one of the constants above
	Format    string // pinned format name, "" to detect
	Mapping   string // name of the [[mapping]] to use, "" to try those that match
	Product   string // shown in source.product, "" for the decoder's own

	// Syslog says that lines carry an RFC 3164 or 5424 header.
	Syslog bool
	// Zone is used for times without a zone; nil is UTC.
	Zone *time.Location
	// Trusted says that the transport authenticates its sender (mutual TLS, unix
	// peer credentials, a file readable only here). Without it, or without a
	// pinned format, assurance is at most "asserted".
	Trusted bool
	// AuthoritativeFor lists the issuers whose principals this source proves.
	AuthoritativeFor []string
}

// Line is one event as it arrived, without its framing.
type Line struct {
	Raw      []byte // the exact bytes; part of Batch.Buf
	Received int64  // Unix nanoseconds
	// FullLength is the length in bytes before truncation, 0 when whole.
	FullLength int
	// Offset is the line's position in its (uncompressed) file; -1 elsewhere.
	Offset int64
	// Defect is why the receiver could not take the line as it is (a broken
	// frame, say), "" when it is sound. The record becomes malformed.
	Defect string
}

// Cursor is one key of a receiver's durable progress. A nil Value deletes it.
type Cursor struct {
	Key   string // "tail/…", "conn/…", "relp/…"
	Value []byte
}

// Gap states that events are known to be missing.
type Gap struct {
	Source *Source
	Peer   string
	Reason string // a static phrase: "udp receive buffer overflow", "connection open at crash"
	Count  int64  // -1 when unknown
	From   int64  // Unix nanoseconds: last time known to be whole, 0 unknown
	To     int64  // Unix nanoseconds
}

// Batch is what a receiver hands over: lines of one source and peer, in order.
type Batch struct {
	Source  *Source
	Peer    netip.Addr // invalid for files and unix sockets
	File    string     // path, for files and imports
	Lines   []Line
	Buf     []byte // backs the lines; the ledger owns it from Submit until Done
	Cursors []Cursor
	Gaps    []Gap

	// Done is called once: with nil when lines, gaps and cursors are durable, or
	// with the reason why they never will be. It must not block. May be nil.
	Done func(error)
}

// Size is the number of bytes that count towards back-pressure.
func (b *Batch) Size() int { return len(b.Buf) + 64*len(b.Lines) + 64 }

// Sink takes batches. Safe for concurrent use; batches of one caller keep their order.
type Sink interface {
	// Submit hands b over. It blocks while too many bytes wait, until ctx ends.
	// After an error Done is not called and b stays the caller's.
	Submit(ctx context.Context, b *Batch) error
}

// Cursors reads durable progress. Safe for concurrent use.
type Cursors interface {
	// Cursor returns a copy of the committed value, nil when there is none.
	Cursor(key string) []byte
	// EachCursor calls fn for every committed cursor whose key has the prefix, in key order.
	EachCursor(prefix string, fn func(key string, value []byte) error) error
}
