package seal

import (
	"encoding/binary"
	"errors"
	"fmt"

	"custody/ingest/record"

	"golang.org/x/mod/sumdb/tlog"
)

// EntrySize is the length of an encoded entry in bytes. With its length before it
// an entry takes 48 bytes of a bundle, so that a full bundle is 12 KiB: three
// pages of a file system, none of them half empty.
const EntrySize = 46

const entryMagic = "ct"

// ErrEntry: the bytes are not an entry.
var ErrEntry = errors.New("not a log entry")

// Entry is what the log holds of a row.
type Entry struct {
	Kind     record.Kind
	Received int64  // Unix nanoseconds
	Schema   uint16 // version of the field table
	Groups   uint8  // groups of eight slots of that version
	Root     Digest // over all slots
}

// AppendBinary appends the encoded entry; the error is always nil.
func (e *Entry) AppendBinary(dst []byte) ([]byte, error) { return e.append(dst), nil }

func (e *Entry) append(dst []byte) []byte {
	dst = append(dst, entryMagic...)
	dst = append(dst, byte(e.Kind))
	dst = binary.BigEndian.AppendUint16(dst, e.Schema)
	dst = append(dst, e.Groups)
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.Received))
	return append(dst, e.Root[:]...)
}

// ParseEntry reads an encoded entry. Kinds and schemas that are not known yet are accepted.
func ParseEntry(b []byte) (Entry, error) {
	if len(b) != EntrySize || string(b[:2]) != entryMagic || b[2] == 0 {
		return Entry{}, fmt.Errorf("parse entry of %d bytes: %w", len(b), ErrEntry)
	}
	e := Entry{
		Kind:     record.Kind(b[2]),
		Schema:   binary.BigEndian.Uint16(b[3:]),
		Groups:   b[5],
		Received: int64(binary.BigEndian.Uint64(b[6:])),
	}
	copy(e.Root[:], b[14:])
	return e, nil
}

// LeafHash is the hash of the entry in the tree (RFC 6962, section 2.1).
func (e *Entry) LeafHash() tlog.Hash {
	var b [EntrySize]byte
	return leafHash(e.append(b[:0]))
}
