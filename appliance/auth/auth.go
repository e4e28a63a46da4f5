// Package auth says who may talk to the appliance: one-time sign-in links,
// browser sessions and API tokens.
//
// There is no default password and no password at all. A secret is 256 random
// bits, shown once; the catalogue holds only its SHA-256, so reading the
// catalogue gives nobody access. (A plain digest is enough: the secrets are
// random, not chosen, so there is nothing to guess.) A sign-in link works once
// and for fifteen minutes, a session ends when idle and in any case after its
// absolute life, a token when its expiry comes or when it is revoked.
package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// ErrDenied: the secret is unknown, used, expired or revoked. Callers do not
// learn which, so that nobody can probe.
var ErrDenied = errors.New("not signed in")

// KV is the durable catalogue. Safe for concurrent use.
type KV interface {
	// Get returns a copy of the value, nil when there is none.
	Get(bucket, key string) ([]byte, error)
	// Put is durable when it returns nil.
	Put(bucket, key string, value []byte) error
	// Delete is durable when it returns nil; a missing key is no error.
	Delete(bucket, key string) error
	// Each calls fn for every pair until it returns an error. The slices are
	// valid during the call only, and fn calls no other method.
	Each(bucket string, fn func(key string, value []byte) error) error
}

// Role is what a principal may do.
type Role string

// The roles. Every role may read; what else it may do is the endpoint's to say.
const (
	Viewer   Role = "viewer"   // searches and reads
	Auditor  Role = "auditor"  // reviews: evidence, holds, approvals
	Operator Role = "operator" // runs the appliance: sources, health
	Admin    Role = "admin"    // users, tokens, sign-in links
)

// Roles lists all roles.
func Roles() []Role { return []Role{Viewer, Auditor, Operator, Admin} }

// ParseRole finds a role by name.
func ParseRole(s string) (Role, error) {
	for _, r := range Roles() {
		if string(r) == s {
			return r, nil
		}
	}
	return "", fmt.Errorf("read role %q: use viewer, auditor, operator or admin", s)
}

// Principal is who makes a request.
type Principal struct {
	Name string
	Role Role
	// Via is "session", "token" or "socket".
	Via string
}

// Options of [New]; the zero value is useful.
type Options struct {
	Now      func() time.Time // default time.Now
	Rand     io.Reader        // default crypto/rand.Reader
	LinkTTL  time.Duration    // life of a sign-in link; default 15 minutes
	Idle     time.Duration    // a session unused for this long ends; default 2 hours
	Absolute time.Duration    // a session ends after this long in any case; default 12 hours
	TokenTTL time.Duration    // life of a token created without one; default 90 days
}

// Service keeps links, sessions and tokens. Safe for concurrent use.
type Service struct {
	kv  KV
	opt Options

	mu sync.Mutex // held over read-then-write, so that a link is redeemed once
}

// New returns a service over kv. It starts nothing.
func New(kv KV, opt Options) (*Service, error) {
	if kv == nil {
		return nil, errors.New("create auth: no catalogue")
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Rand == nil {
		opt.Rand = rand.Reader
	}
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&opt.LinkTTL, 15*time.Minute)
	def(&opt.Idle, 2*time.Hour)
	def(&opt.Absolute, 12*time.Hour)
	def(&opt.TokenTTL, 90*24*time.Hour)
	return &Service{kv: kv, opt: opt}, nil
}

const (
	bucket        = "auth"
	linkPrefix    = "link/"
	sessionPrefix = "session/"
	tokenPrefix   = "token/"
	// lastGrain bounds how often a use is written down: a durable write costs a
	// sync of the disk, and a minute is exact enough.
	lastGrain  = time.Minute
	maxNameLen = 128
)

// entry is what the catalogue holds of a secret.
type entry struct {
	Name    string    `json:"name"`
	Role    Role      `json:"role"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	Last    time.Time `json:"last,omitzero"`
}

func (s *Service) newSecret() (string, error) {
	var b [32]byte
	if _, err := io.ReadFull(s.opt.Rand, b[:]); err != nil {
		return "", fmt.Errorf("draw secret: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(b[:]), nil
}

// key is where a secret's entry is kept, "" when it cannot be a secret.
func key(prefix, secret string) string {
	if len(secret) < 40 || len(secret) > 64 {
		return ""
	}
	sum := sha256.Sum256([]byte(secret))
	return prefix + hex.EncodeToString(sum[:])
}

func (s *Service) load(k string) (entry, error) {
	var e entry
	if k == "" {
		return e, ErrDenied
	}
	b, err := s.kv.Get(bucket, k)
	if err != nil {
		return e, fmt.Errorf("read catalogue: %w", err)
	}
	if b == nil {
		return e, ErrDenied
	}
	if err := json.Unmarshal(b, &e); err != nil {
		return e, fmt.Errorf("read catalogue entry: %w", err)
	}
	if !s.opt.Now().Before(e.Expires) {
		return e, ErrDenied
	}
	return e, nil
}

func (s *Service) save(k string, e entry) error {
	b, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("write catalogue entry: %w", err)
	}
	if err := s.kv.Put(bucket, k, b); err != nil {
		return fmt.Errorf("write catalogue: %w", err)
	}
	return nil
}

// touch notes a use, at most once per lastGrain. It fails when the entry has gone;
// a use that can't be written down is no reason to refuse, or nobody could look
// while the disk fails. A session then ends early at the worst.
func (s *Service) touch(k string, e entry) error {
	now := s.opt.Now()
	if now.Sub(e.Last) < lastGrain {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// Read again under the lock: it may have been revoked meanwhile, and writing
	// the old entry would bring it back.
	e, err := s.load(k)
	if err != nil {
		return err
	}
	e.Last = now
	_ = s.save(k, e)
	return nil
}

// sweep deletes what has expired. Called with mu held, on the rare events that
// add entries, so that the catalogue stays small without a goroutine.
func (s *Service) sweep() error {
	now := s.opt.Now()
	var dead []string
	err := s.kv.Each(bucket, func(k string, v []byte) error {
		var e entry
		if json.Unmarshal(v, &e) != nil || !now.Before(e.Expires) ||
			(strings.HasPrefix(k, sessionPrefix) && now.Sub(e.Last) >= s.opt.Idle) {
			dead = append(dead, k)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list catalogue: %w", err)
	}
	for _, k := range dead {
		if err := s.kv.Delete(bucket, k); err != nil {
			return fmt.Errorf("delete expired entry: %w", err)
		}
	}
	return nil
}

func cleanName(name string) (string, error) {
	if name == "" || len(name) > maxNameLen {
		return "", fmt.Errorf("read name: 1 to %d bytes", maxNameLen)
	}
	for _, r := range name {
		if r < ' ' || r == 0x7f || r == 0xfffd {
			return "", errors.New("read name: control characters are not allowed")
		}
	}
	return name, nil
}
