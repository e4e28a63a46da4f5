package seal

import (
	"encoding/binary"
	"errors"
	"fmt"

	"custody/ingest/record"

	"golang.org/x/mod/sumdb/tlog"
)

// EntrySize is the length of an encoded entry in bytes.
const EntrySize = 51

const entryMagic = "cst1"

// ErrEntry: the bytes are not an entry.
var ErrEntry = errors.New("not a log entry")

// Entry is what the log holds of a row.
type Entry struct {
	Kind     record.Kind
	Received int64  // Unix nanoseconds
	Schema   uint32 // version of the field table
	Slots    uint16 // number of slots of that version
	Root     Digest // over all slots
}

// AppendBinary appends the encoded entry; the error is always nil.
func (e *Entry) AppendBinary(dst []byte) ([]byte, error) { return e.append(dst), nil }

func (e *Entry) append(dst []byte) []byte {
	dst = append(dst, entryMagic...)
	dst = append(dst, byte(e.Kind))
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.Received))
	dst = binary.BigEndian.AppendUint32(dst, e.Schema)
	dst = binary.BigEndian.AppendUint16(dst, e.Slots)
	return append(dst, e.Root[:]...)
}

// ParseEntry reads an encoded entry. Kinds and schemas that are not known yet are accepted.
func ParseEntry(b []byte) (Entry, error) {
	if len(b) != EntrySize || string(b[:4]) != entryMagic || b[4] == 0 {
		return Entry{}, fmt.Errorf("parse entry of %d bytes: %w", len(b), ErrEntry)
	}
	e := Entry{
		Kind:     record.Kind(b[4]),
		Received: int64(binary.BigEndian.Uint64(b[5:])),
		Schema:   binary.BigEndian.Uint32(b[13:]),
		Slots:    binary.BigEndian.Uint16(b[17:]),
	}
	copy(e.Root[:], b[19:])
	return e, nil
}

// LeafHash is the hash of the entry in the tree (RFC 6962, section 2.1).
func (e *Entry) LeafHash() tlog.Hash {
	var b [EntrySize]byte
	return leafHash(e.append(b[:0]))
}
