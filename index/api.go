// Package index is the ledger: the sole writer of the store, and the readers over it.
package index

import (
	"errors"
	"time"

	"custody/index/query"
	"custody/ingest/record"
)

// Errors that callers tell apart.
var (
	// ErrNotFound: there is no such record.
	ErrNotFound = errors.New("no such record")
	// ErrCursor: a paging cursor that this ledger did not give out.
	ErrCursor = errors.New("bad cursor")
	// ErrNoSpace: the disk is full; nothing is taken until there is room.
	ErrNoSpace = errors.New("no space on the data disk")
)

// Order of a listing, by (received, seq).
type Order uint8

// The orders.
const (
	NewestFirst Order = iota
	OldestFirst
)

// Request asks for records.
type Request struct {
	Query  *query.Query // nil matches everything in scope
	From   int64        // inclusive, over time, Unix nanoseconds; 0 is open
	To     int64        // exclusive; 0 is open
	Limit  int          // 0 is 50; at most 1000
	Cursor string       // of the page before
	Order  Order
	Tenant string // "" is every tenant
}

// Page is a part of a listing.
type Page struct {
	Records []*record.Record // effective: sealed original, amendments, masks
	Next    string           // "" at the end
	Scanned int              // rows that were looked at
}

// Bucket is one bar of a histogram.
type Bucket struct {
	From  int64 // inclusive, Unix nanoseconds
	To    int64 // exclusive
	Count uint64
}

// FacetValue is one value of a field and how many records have it.
type FacetValue struct {
	Value string
	Count uint64
}

// Facet counts the values of one field.
type Facet struct {
	Field  record.Path
	Values []FacetValue // most frequent first
	Other  uint64       // records with a value that is not listed
	Absent uint64       // records without a value
}

// SealState is where a record stands.
type SealState struct {
	Durable    bool
	Sealed     bool // under a published checkpoint
	Searchable bool // in the search index (the tail is scanned, so it is found before)
	TreeSize   uint64
	EntryHash  [32]byte
}

// Status is the ledger's state.
type Status struct {
	Durable    uint64 // event records (kind record) ever made durable
	Sealed     uint64 // of them, under the newest checkpoint
	Searchable uint64 // of them, in the search index
	Rows       uint64 // all rows, custody's own included
	Origin     string
	TreeSize   uint64
	Root       [32]byte
	LastSealed time.Time
	Segments   int
	Bytes      int64  // all of the data folder
	Free       uint64 // bytes free on its disk
	QueueBytes int64  // waiting to be made durable
	Fault      string // why nothing is being taken now, "" when all is well
}

// SourceStatus is one source's traffic since the start of the process.
type SourceStatus struct {
	Name, Tenant, Transport, Format string
	Lines, Malformed, Gaps          uint64
	Dropped                         uint64
	Last                            int64 // received of the newest, Unix nanoseconds
}
