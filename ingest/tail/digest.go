package tail

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding"
	"fmt"
	"hash"
	"io"
)

const (
	startLen  = 1024 // bytes of a file's start that its fingerprint covers
	tailLen   = 64   // bytes before the offset that prove it is still the same file
	familyLen = 256  // bytes of the first line that name a family
	stateLen  = 108  // a marshalled SHA-256 state
	printLen  = 16   // bytes kept of an HMAC
)

// fingerprint is a truncated HMAC-SHA256 under a key of the appliance.
type fingerprint [printLen]byte

// state is the marshalled rolling digest of some content's first bytes. Two
// equal states mean equal content, so states are compared and never finalised.
// A state holds up to 63 bytes of content as they are, and two states of one
// file are an unkeyed digest of what lies between them: they are stored sealed.
type state [stateLen]byte

// keys are what is derived from the appliance's fingerprint key.
type keys struct {
	family, start, tail []byte
	prefix              []byte // one SHA-256 block, before all content
	aead                cipher.AEAD
}

func newKeys(key [32]byte) (*keys, error) {
	if key == ([32]byte{}) {
		return nil, fmt.Errorf("derive cursor keys: the fingerprint key is all zero")
	}
	derive := func(label string) []byte {
		m := hmac.New(sha256.New, key[:])
		_, _ = io.WriteString(m, "custody/tail/v1 "+label)
		return m.Sum(nil)
	}
	block, err := aes.NewCipher(derive("seal"))
	if err != nil {
		return nil, fmt.Errorf("derive cursor keys: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("derive cursor keys: %w", err)
	}
	return &keys{
		family: derive("family"), start: derive("start"), tail: derive("tail"),
		prefix: append(derive("content 1"), derive("content 2")...), aead: aead,
	}, nil
}

// span is how many bytes of a content's start name its family: the first line,
// of at most familyLen bytes. 0 means that more is needed to know.
func span(b []byte, final bool) int {
	b = b[:min(len(b), familyLen)]
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		return i + 1
	}
	if len(b) == familyLen || final {
		return len(b)
	}
	return 0
}

func mac(key, b []byte) (p fingerprint) {
	m := hmac.New(sha256.New, key)
	m.Write(b)
	var sum [sha256.Size]byte
	copy(p[:], m.Sum(sum[:0]))
	return p
}

// rolling is the keyed digest of a content from its first byte.
type rolling struct{ h hash.Hash }

func (k *keys) rolling() rolling {
	h := sha256.New()
	h.Write(k.prefix)
	return rolling{h}
}

func (r rolling) write(b []byte) { r.h.Write(b) }

func (r rolling) state() (s state) {
	b, err := r.h.(encoding.BinaryAppender).AppendBinary(s[:0])
	if err != nil || len(b) != stateLen {
		panic("tail: SHA-256 state of unexpected form") // the standard library promises both
	}
	return s
}

func resumeRolling(s *state) (rolling, error) {
	h := sha256.New()
	if err := h.(encoding.BinaryUnmarshaler).UnmarshalBinary(s[:]); err != nil {
		return rolling{}, fmt.Errorf("resume content digest: %w", err)
	}
	return rolling{h}, nil
}

// newID is the random half of a cursor's key.
func newID() (id [8]byte) {
	_, _ = rand.Read(id[:]) // never fails
	return id
}
