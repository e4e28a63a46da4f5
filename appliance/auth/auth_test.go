package auth

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
)

type memKV struct {
	mu sync.Mutex
	m  map[string][]byte
	w  int // writes
}

func newMem() *memKV { return &memKV{m: map[string][]byte{}} }

func (k *memKV) Get(b, key string) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return bytes.Clone(k.m[b+"\x00"+key]), nil
}

func (k *memKV) Put(b, key string, v []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.w++
	k.m[b+"\x00"+key] = bytes.Clone(v)
	return nil
}

func (k *memKV) Delete(b, key string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.m, b+"\x00"+key)
	return nil
}

func (k *memKV) Each(b string, fn func(string, []byte) error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for key, v := range k.m {
		if rest, ok := strings.CutPrefix(key, b+"\x00"); ok {
			if err := fn(rest, v); err != nil {
				return err
			}
		}
	}
	return nil
}

type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func fixture(t *testing.T) (*Service, *memKV, *clock) {
	t.Helper()
	kv, c := newMem(), &clock{time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	s, err := New(kv, Options{Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	return s, kv, c
}

func TestLinkWorksOnceAndExpires(t *testing.T) {
	s, kv, c := fixture(t)
	link, exp, err := s.NewLink(Admin, "first run")
	if err != nil || !exp.Equal(c.t.Add(15*time.Minute)) {
		t.Fatal(link, exp, err)
	}
	for k, v := range kv.m {
		if strings.Contains(k, link) || bytes.Contains(v, []byte(link)) {
			t.Fatal("the catalogue holds the secret itself")
		}
	}
	ses, _, err := s.Redeem(link)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := s.Session(ses); err != nil || p != (Principal{"first run", Admin, "session"}) {
		t.Fatal(p, err)
	}
	if _, _, err := s.Redeem(link); !errors.Is(err, ErrDenied) {
		t.Fatalf("second use: %v", err)
	}
	late, _, _ := s.NewLink(Viewer, "late")
	c.t = c.t.Add(15 * time.Minute)
	if _, _, err := s.Redeem(late); !errors.Is(err, ErrDenied) {
		t.Fatalf("expired link: %v", err)
	}
	// A secret of one kind opens nothing of another.
	if _, err := s.Session(late); !errors.Is(err, ErrDenied) {
		t.Fatal("a link passed as a session")
	}
	if _, err := s.Bearer(tokenMark + ses); !errors.Is(err, ErrDenied) {
		t.Fatal("a session passed as a token")
	}
}

func TestLinkRedeemedByManyAtOnce(t *testing.T) {
	s, _, _ := fixture(t)
	link, _, _ := s.NewLink(Viewer, "race")
	var wg sync.WaitGroup
	won := make(chan string, 16)
	for range 16 {
		wg.Go(func() {
			if ses, _, err := s.Redeem(link); err == nil {
				won <- ses
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Fatalf("%d redeemed one link", len(won))
	}
}

func TestSessionTimeouts(t *testing.T) {
	s, kv, c := fixture(t)
	begin := func() string {
		link, _, err := s.NewLink(Viewer, "x")
		if err != nil {
			t.Fatal(err)
		}
		ses, _, err := s.Redeem(link)
		if err != nil {
			t.Fatal(err)
		}
		return ses
	}
	ses := begin()
	c.t = c.t.Add(2 * time.Hour)
	if _, err := s.Session(ses); !errors.Is(err, ErrDenied) {
		t.Fatal("idle session lives")
	}
	ses = begin()
	for range 11 {
		c.t = c.t.Add(time.Hour)
		if _, err := s.Session(ses); err != nil {
			t.Fatal("used session ended early", err)
		}
	}
	writes := kv.w
	for range 50 {
		if _, err := s.Session(ses); err != nil {
			t.Fatal(err)
		}
	}
	if kv.w != writes {
		t.Fatal("each request writes to the catalogue")
	}
	c.t = c.t.Add(time.Hour)
	if _, err := s.Session(ses); !errors.Is(err, ErrDenied) {
		t.Fatal("session outlived its absolute life")
	}
	ses = begin()
	if err := s.SignOut(ses); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Session(ses); !errors.Is(err, ErrDenied) {
		t.Fatal("signed out session lives")
	}
	if n := len(kv.m); n != 0 {
		t.Fatalf("%d dead entries stayed", n)
	}
}

func TestTokens(t *testing.T) {
	s, _, c := fixture(t)
	sec, tok, err := s.NewToken(Auditor, "siem", time.Hour)
	if err != nil || !strings.HasPrefix(sec, "custody_") {
		t.Fatal(sec, err)
	}
	if p, err := s.Bearer(sec); err != nil || p != (Principal{"siem", Auditor, "token"}) {
		t.Fatal(p, err)
	}
	list, err := s.Tokens()
	if err != nil || len(list) != 1 || list[0].ID != tok.ID || !list[0].LastUse.Equal(c.t) {
		t.Fatal(list, err)
	}
	if err := s.Revoke(tok.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Bearer(sec); !errors.Is(err, ErrDenied) {
		t.Fatal("revoked token works")
	}
	sec, _, _ = s.NewToken(Viewer, "short", time.Hour)
	c.t = c.t.Add(time.Hour)
	if _, err := s.Bearer(sec); !errors.Is(err, ErrDenied) {
		t.Fatal("expired token works")
	}
	for _, bad := range []string{"", "custody_", "custody_" + strings.Repeat("a", 43), strings.Repeat("x", 10000)} {
		if _, err := s.Bearer(bad); !errors.Is(err, ErrDenied) {
			t.Fatalf("%.20q: %v", bad, err)
		}
	}
	for _, name := range []string{"", strings.Repeat("n", 129), "a\nb"} {
		if _, _, err := s.NewToken(Viewer, name, 0); err == nil {
			t.Fatalf("name %.10q taken", name)
		}
	}
	if _, _, err := s.NewToken("root", "x", 0); err == nil {
		t.Fatal("unknown role taken")
	}
}

// readOnlyKV refuses to write once it is full.
type readOnlyKV struct {
	KV
	full bool
}

func (k *readOnlyKV) Put(bucket, key string, value []byte) error {
	if k.full {
		return errors.New("no space")
	}
	return k.KV.Put(bucket, key, value)
}

// TestTokenOnAFullDisk: who could look before can look while the disk fails.
func TestTokenOnAFullDisk(t *testing.T) {
	kv := &readOnlyKV{KV: newMem()}
	c := &clock{time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	s, err := New(kv, Options{Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	secret, _, err := s.NewToken(Viewer, "dashboard", 0)
	if err != nil {
		t.Fatal(err)
	}
	kv.full = true
	c.t = c.t.Add(time.Hour)
	if p, err := s.Bearer(secret); err != nil || p.Name != "dashboard" {
		t.Errorf("%+v, %v", p, err)
	}
}
