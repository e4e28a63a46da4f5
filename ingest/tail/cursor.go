package tail

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// ErrCursor is returned when a stored cursor does not open: it was damaged, or
// the fingerprint key is not the one it was written with. Reading on would take
// everything a second time, so nothing is read.
var ErrCursor = errors.New("file cursor does not open")

const (
	keyPrefix = "file/"
	version   = 1
	maxPath   = 4096
)

// kinds of content a cursor was made from.
const (
	kindPlain = iota
	kindGzip
	kindImport
	kinds
)

// cursor is how much of one content is durable. It proves that by content: the
// state is the rolling digest of the first offset bytes.
type cursor struct {
	kind     byte
	done     bool   // gzip, import: its end was reached
	dev, ino uint64 // 0 for imports
	offset   uint64 // bytes of content that were taken
	// [holeFrom, holeTo) was passed over, because reading began at the end.
	holeFrom, holeTo uint64
	size             uint64 // gzip: size of the compressed file
	mtime            int64  // gzip: its modification time, Unix nanoseconds
	updated          int64  // Unix seconds
	startN           uint64 // bytes that start covers
	start            fingerprint
	tailN            uint64 // bytes before offset that tail covers
	tail             fingerprint
	state            state
	path             string
}

// appendTo appends the plain form: version, kind, done, then each field in the
// order of the struct, integers as (zig-zag) varints.
func (c *cursor) appendTo(b []byte) []byte {
	done := byte(0)
	if c.done {
		done = 1
	}
	b = append(b, version, c.kind, done)
	for _, v := range [...]uint64{c.dev, c.ino, c.offset, c.holeFrom, c.holeTo, c.size} {
		b = binary.AppendUvarint(b, v)
	}
	b = binary.AppendVarint(b, c.mtime)
	b = binary.AppendVarint(b, c.updated)
	b = append(binary.AppendUvarint(b, c.startN), c.start[:]...)
	b = append(binary.AppendUvarint(b, c.tailN), c.tail[:]...)
	b = append(b, c.state[:]...)
	b = binary.AppendUvarint(b, uint64(len(c.path)))
	return append(b, c.path...)
}

// decodeCursor reads what appendTo wrote and nothing else: what it accepts
// encodes to the same bytes.
func decodeCursor(b []byte) (*cursor, error) {
	bad := func(what string) (*cursor, error) { return nil, fmt.Errorf("decode cursor: bad %s", what) }
	if len(b) < 3 || b[0] != version {
		return bad("version")
	}
	if b[1] >= kinds || b[2] > 1 {
		return bad("kind")
	}
	c := &cursor{kind: b[1], done: b[2] == 1}
	whole := b
	b = b[3:]
	ok := true
	u := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			ok, b = false, nil
			return 0
		}
		b = b[n:]
		return v
	}
	i := func() int64 {
		v, n := binary.Varint(b)
		if n <= 0 {
			ok, b = false, nil
			return 0
		}
		b = b[n:]
		return v
	}
	fixed := func(dst []byte) {
		if len(b) < len(dst) {
			ok, b = false, nil
			return
		}
		b = b[copy(dst, b):]
	}
	c.dev, c.ino, c.offset, c.holeFrom, c.holeTo, c.size = u(), u(), u(), u(), u(), u()
	c.mtime, c.updated = i(), i()
	c.startN = u()
	fixed(c.start[:])
	c.tailN = u()
	fixed(c.tail[:])
	fixed(c.state[:])
	n := u()
	switch {
	case !ok:
		return bad("length")
	case n > maxPath || n != uint64(len(b)):
		return bad("path")
	case c.offset > 1<<62 || c.startN > startLen || c.startN > c.offset || c.tailN > tailLen || c.tailN > c.offset:
		return bad("offset")
	case c.holeFrom > c.holeTo || c.holeTo > c.offset:
		return bad("hole")
	}
	c.path = string(b)
	if string(c.appendTo(make([]byte, 0, len(whole)))) != string(whole) {
		return bad("integer") // not the shortest form
	}
	if _, err := resumeRolling(&c.state); err != nil {
		return bad("state")
	}
	return c, nil
}

// seal encrypts c under its key, so that neither content nor an unkeyed digest
// of content is at rest.
func (k *keys) seal(key string, c *cursor) []byte {
	var plain [512]byte
	return k.aead.Seal(nil, nil, c.appendTo(plain[:0]), []byte(key))
}

func (k *keys) open(key string, value []byte) (*cursor, error) {
	plain, err := k.aead.Open(nil, nil, value, []byte(key))
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrCursor, key)
	}
	c, err := decodeCursor(plain)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrCursor, key, err)
	}
	return c, nil
}

func familyKey(f fingerprint) string { return keyPrefix + hex.EncodeToString(f[:]) + "/" }

func headKey(f fingerprint, id [8]byte) string { return familyKey(f) + hex.EncodeToString(id[:]) }

// parseFamily is the family in a cursor's key.
func parseFamily(key string) (f fingerprint, ok bool) {
	s, found := strings.CutPrefix(key, keyPrefix)
	if !found || len(s) != 2*printLen+1+16 || s[2*printLen] != '/' {
		return f, false
	}
	_, err := hex.Decode(f[:], []byte(s[:2*printLen]))
	return f, err == nil
}
