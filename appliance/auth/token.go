package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"
)

// tokenMark leads every API token, so that scanners for leaked secrets can find them.
const tokenMark = "custody_"

// Token describes an API token; its secret is shown once, when it is made.
type Token struct {
	ID      string    `json:"id"` // start of the secret's digest
	Name    string    `json:"name"`
	Role    Role      `json:"role"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	LastUse time.Time `json:"last_use,omitzero"` // exact to a minute
}

// NewToken makes a bearer token. A ttl of 0 is Options.TokenTTL.
func (s *Service) NewToken(role Role, name string, ttl time.Duration) (secret string, t Token, err error) {
	if _, err = ParseRole(string(role)); err != nil {
		return "", t, err
	}
	if name, err = cleanName(name); err != nil {
		return "", t, err
	}
	if ttl < 0 {
		return "", t, errors.New("read token life: negative")
	}
	if ttl == 0 {
		ttl = s.opt.TokenTTL
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err = s.sweep(); err != nil {
		return "", t, err
	}
	raw, expires, err := s.add(tokenPrefix, role, name, ttl)
	if err != nil {
		return "", t, err
	}
	t = Token{ID: tokenID(key(tokenPrefix, raw)), Name: name, Role: role, Created: s.opt.Now(), Expires: expires}
	return tokenMark + raw, t, nil
}

// Bearer returns who the token belongs to. It fails with [ErrDenied], or with
// the catalogue's error.
func (s *Service) Bearer(secret string) (Principal, error) {
	raw, ok := strings.CutPrefix(secret, tokenMark)
	if !ok {
		return Principal{}, ErrDenied
	}
	k := key(tokenPrefix, raw)
	e, err := s.load(k)
	if err != nil {
		return Principal{}, err
	}
	if err := s.touch(k, e); err != nil {
		return Principal{}, err
	}
	return Principal{Name: e.Name, Role: e.Role, Via: "token"}, nil
}

// Tokens lists the tokens, oldest first.
func (s *Service) Tokens() ([]Token, error) {
	out := []Token{}
	err := s.kv.Each(bucket, func(k string, v []byte) error {
		if !strings.HasPrefix(k, tokenPrefix) {
			return nil
		}
		var e entry
		if err := json.Unmarshal(v, &e); err != nil {
			return fmt.Errorf("read token entry: %w", err)
		}
		out = append(out, Token{tokenID(k), e.Name, e.Role, e.Created, e.Expires, e.Last})
		return nil
	})
	sort.Slice(out, func(i, j int) bool { return out[i].Created.Before(out[j].Created) })
	return out, err
}

// Revoke ends the token with the id at once. It fails with [ErrDenied] when
// there is none.
func (s *Service) Revoke(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found string
	err := s.kv.Each(bucket, func(k string, _ []byte) error {
		if strings.HasPrefix(k, tokenPrefix) && tokenID(k) == id {
			found = k
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list tokens: %w", err)
	}
	if found == "" {
		return ErrDenied
	}
	if err := s.kv.Delete(bucket, found); err != nil {
		return fmt.Errorf("delete token: %w", err)
	}
	return nil
}

func tokenID(k string) string { return strings.TrimPrefix(k, tokenPrefix)[:16] }
