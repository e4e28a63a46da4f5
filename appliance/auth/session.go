package auth

import (
	"fmt"
	"time"
)

// NewLink makes the secret of a sign-in link. Whoever redeems it first, before
// it expires, is signed in under name with role.
func (s *Service) NewLink(role Role, name string) (secret string, expires time.Time, err error) {
	if _, err = ParseRole(string(role)); err != nil {
		return "", time.Time{}, err
	}
	if name, err = cleanName(name); err != nil {
		return "", time.Time{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err = s.sweep(); err != nil {
		return "", time.Time{}, err
	}
	return s.add(linkPrefix, role, name, s.opt.LinkTTL)
}

// add stores a new entry and returns its secret. Called with mu held.
func (s *Service) add(prefix string, role Role, name string, ttl time.Duration) (string, time.Time, error) {
	secret, err := s.newSecret()
	if err != nil {
		return "", time.Time{}, err
	}
	now := s.opt.Now()
	e := entry{Name: name, Role: role, Created: now, Expires: now.Add(ttl)}
	if prefix == sessionPrefix {
		e.Last = now
	}
	return secret, e.Expires, s.save(key(prefix, secret), e)
}

// Redeem uses a sign-in link up and starts a session. The link is gone durably
// before the session exists: of two who redeem at once, one is denied.
func (s *Service) Redeem(link string) (session string, expires time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := key(linkPrefix, link)
	e, err := s.load(k)
	if err != nil {
		return "", time.Time{}, err
	}
	if err := s.kv.Delete(bucket, k); err != nil {
		return "", time.Time{}, fmt.Errorf("use link: %w", err)
	}
	if err := s.sweep(); err != nil {
		return "", time.Time{}, err
	}
	return s.add(sessionPrefix, e.Role, e.Name, s.opt.Absolute)
}

// Session returns who the session belongs to and keeps it from going idle.
// It fails with [ErrDenied], or with the catalogue's error.
func (s *Service) Session(secret string) (Principal, error) {
	k := key(sessionPrefix, secret)
	e, err := s.load(k)
	if err != nil {
		return Principal{}, err
	}
	if s.opt.Now().Sub(e.Last) >= s.opt.Idle {
		return Principal{}, ErrDenied
	}
	if err := s.touch(k, e); err != nil {
		return Principal{}, err
	}
	return Principal{Name: e.Name, Role: e.Role, Via: "session"}, nil
}

// SignOut ends the session. An unknown one is no error.
func (s *Service) SignOut(secret string) error {
	k := key(sessionPrefix, secret)
	if k == "" {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.kv.Delete(bucket, k); err != nil {
		return fmt.Errorf("end session: %w", err)
	}
	return nil
}
