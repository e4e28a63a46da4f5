package web

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"custody/appliance/auth"
	"custody/ingest"
)

type memKV struct {
	mu sync.Mutex
	m  map[string][]byte
}

func (k *memKV) Get(b, key string) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return bytes.Clone(k.m[b+"\x00"+key]), nil
}

func (k *memKV) Put(b, key string, v []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
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

// site is a server over a fake ledger, with a token and a session.
type site struct {
	*Server
	t       testing.TB
	ledger  *fakeLedger
	token   string
	session string
	now     time.Time
}

func newSite(t testing.TB, f *fakeLedger, change ...func(*Options)) *site {
	t.Helper()
	s := &site{t: t, ledger: f, now: day.Add(time.Minute)}
	clock := func() time.Time { return s.now }
	a, err := auth.New(&memKV{m: map[string][]byte{}}, auth.Options{Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	opt := Options{
		Ledger: f, Auth: a, Now: clock, Version: "test", BaseURL: "http://127.0.0.1:8484",
		Listeners: []Listener{{"syslog-tcp", ingest.TCP, "127.0.0.1:5514"}, {"syslog-udp", ingest.UDP, "127.0.0.1:5514"}, {"relp", ingest.RELP, "0.0.0.0:2514"}},
		Tails:     []string{"/var/log/agents/*.log"},
	}
	for _, c := range change {
		c(&opt)
	}
	if s.Server, err = New(opt); err != nil {
		t.Fatal(err)
	}
	if s.token, _, err = a.NewToken(auth.Viewer, "test", 0); err != nil {
		t.Fatal(err)
	}
	link, _, err := a.NewLink(auth.Admin, "tester")
	if err != nil {
		t.Fatal(err)
	}
	if s.session, _, err = a.Redeem(link); err != nil {
		t.Fatal(err)
	}
	return s
}

// do sends a request; a nil token is the site's own.
func (s *site) do(method, target string, body io.Reader, head ...string) *httptest.ResponseRecorder {
	s.t.Helper()
	r := httptest.NewRequest(method, target, body)
	for i := 0; i+1 < len(head); i += 2 {
		r.Header.Set(head[i], head[i+1])
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w
}

func (s *site) get(target string) *httptest.ResponseRecorder {
	s.t.Helper()
	return s.do("GET", target, nil, "Authorization", "Bearer "+s.token)
}

func TestSigningIn(t *testing.T) {
	s := newSite(t, newFake())
	for _, path := range []string{"/api/v1/records", "/api/v1/status", "/api/v1/tail", "/log/checkpoint", "/api/v1/nothing"} {
		w := s.do("GET", path, nil)
		if w.Code != 401 || !strings.Contains(w.Body.String(), `"unauthenticated"`) || w.Header().Get("WWW-Authenticate") == "" {
			t.Errorf("%s without a token: %d %s", path, w.Code, w.Body)
		}
	}
	for _, head := range []string{"Bearer wrong", "Bearer custody_" + strings.Repeat("A", 43), "Basic " + s.token, ""} {
		if w := s.do("GET", "/api/v1/status", nil, "Authorization", head, "Cookie", ""); w.Code != 401 {
			t.Errorf("%q: %d", head, w.Code)
		}
	}
	if w := s.do("GET", "/?q=a", nil); w.Code != 303 || w.Header().Get("Location") != "/signin?next=%2F%3Fq%3Da" {
		t.Errorf("page: %d %s", w.Code, w.Header().Get("Location"))
	}
	link, _, err := s.SigninLink(auth.Operator, "olga")
	if err != nil {
		t.Fatal(err)
	}
	u, _ := url.Parse(link)
	// Looking at the link, as mail programs do, does not use it up.
	for range 3 {
		w := s.do("GET", u.RequestURI(), nil)
		if w.Code != 200 || len(w.Result().Cookies()) != 0 || !strings.Contains(w.Body.String(), `method="post"`) {
			t.Fatal(w.Code, w.Body)
		}
	}
	form := "token=" + url.QueryEscape(u.Query().Get("token"))
	typ := "application/x-www-form-urlencoded"
	if w := s.do("POST", "/signin", strings.NewReader(form), "Content-Type", typ, "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"); w.Code != 403 {
		t.Fatalf("cross-site sign-in: %d", w.Code)
	}
	w := s.do("POST", "/signin", strings.NewReader(form), "Content-Type", typ, "Sec-Fetch-Site", "same-origin")
	if w.Code != 303 || len(w.Result().Cookies()) != 1 {
		t.Fatal(w.Code, w.Body)
	}
	c := w.Result().Cookies()[0]
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Secure || c.Path != "/" {
		t.Fatalf("cookie %+v", c)
	}
	cookie := c.Name + "=" + c.Value
	if w := s.do("GET", "/", nil, "Cookie", cookie); w.Code != 200 || !strings.Contains(w.Body.String(), "olga") {
		t.Fatal(w.Code)
	}
	if w := s.do("POST", "/signin", strings.NewReader(form), "Content-Type", typ); w.Code != 403 {
		t.Fatalf("second use: %d", w.Code)
	}
	if w := s.do("POST", "/signout", nil, "Cookie", cookie, "Sec-Fetch-Site", "cross-site"); w.Code != 403 {
		t.Fatalf("cross-site sign-out: %d", w.Code)
	}
	if w := s.do("POST", "/signout", nil, "Cookie", cookie, "Sec-Fetch-Site", "same-origin"); w.Code != 303 {
		t.Fatal(w.Code)
	}
	if w := s.do("GET", "/", nil, "Cookie", cookie); w.Code != 303 {
		t.Fatal("signed out, and still in")
	}
}

func TestSecureCookieOverTLS(t *testing.T) {
	s := newSite(t, newFake(), func(o *Options) { o.TLS = true })
	link, _, _ := s.SigninLink(auth.Viewer, "v")
	u, _ := url.Parse(link)
	w := s.do("POST", "/signin", strings.NewReader("token="+u.Query().Get("token")), "Content-Type", "application/x-www-form-urlencoded")
	c := w.Result().Cookies()
	if len(c) != 1 || !c[0].Secure || !strings.HasPrefix(c[0].Name, "__Host-") {
		t.Fatalf("%+v", c)
	}
	if w.Header().Get("Strict-Transport-Security") == "" {
		t.Fatal("no HSTS")
	}
}

func TestNextIsLocal(t *testing.T) {
	s := newSite(t, newFake())
	for next, want := range map[string]bool{
		"/records/1": true, "//evil.example/": false, "https://evil.example": false, `/\evil.example`: false, "javascript:alert(1)": false, "/a\tb": false,
	} {
		w := s.do("GET", "/signin?next="+url.QueryEscape(next), nil)
		if got := strings.Contains(w.Body.String(), "Go on"); got != want {
			t.Errorf("%q: %v", next, got)
		}
	}
}

func TestHeadersOnEverything(t *testing.T) {
	f := newFake(agentRecord(1))
	s := newSite(t, f)
	asset, err := s.assets.url("custody.js")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		"/", "/setup", "/sources", "/help", "/records/0", "/records/0/raw", "/nothing", "/signin", "/ui/overview", "/ui/status", asset,
		"/api/v1/records", "/api/v1/records.csv", "/api/v1/nothing", "/healthz", "/readyz", "/log/tile/0/000", "/?" + strings.Repeat("q", 20000),
	} {
		w := s.get(path)
		h := w.Header()
		csp := h.Get("Content-Security-Policy")
		for _, want := range []string{
			"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "img-src 'self'", "form-action 'self'",
			"base-uri 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'",
		} {
			if !slices.ContainsFunc(strings.Split(csp, ";"), func(d string) bool { return strings.TrimSpace(d) == want }) {
				t.Errorf("%.40s: policy lacks %s", path, want)
			}
		}
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" || h.Get("Content-Type") == "" {
			t.Errorf("%.40s: headers %v", path, h)
		}
		if h.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%.40s allows other origins", path)
		}
	}
}

func TestWrongAddressesAndMethods(t *testing.T) {
	s := newSite(t, newFake(agentRecord(1)))
	for _, c := range []struct {
		method, path string
		code         int
		allow        string
	}{
		{"POST", "/api/v1/records", 405, "GET, HEAD"},
		{"DELETE", "/api/v1/status", 405, "GET, HEAD"},
		{"PUT", "/", 405, "GET, HEAD"},
		{"GET", "/signout", 405, "POST"},
		{"GET", "/api/v1/nothing", 404, ""},
		{"GET", "/api/v1/records/99", 404, ""},
		{"GET", "/api/v1/records/not-an-id", 404, ""},
		{"GET", "/api/v1/records/..%2f..%2fetc", 404, ""},
		{"GET", "/nothing", 404, ""},
		{"GET", "/metrics", 404, ""},
		{"GET", "/admin/v1/tokens", 404, ""},
		{"POST", "/admin/v1/signin-link", 404, ""},
		{"GET", "/assets/0000/custody.js", 404, ""},
		{"HEAD", "/api/v1/status", 200, ""},
	} {
		w := s.do(c.method, c.path, nil, "Authorization", "Bearer "+s.token)
		if w.Code != c.code || w.Header().Get("Allow") != c.allow {
			t.Errorf("%s %s: %d, allow %q", c.method, c.path, w.Code, w.Header().Get("Allow"))
		}
		if c.code != 200 && machine(c.path) && !strings.HasPrefix(w.Body.String(), `{"error":{"code":"`) {
			t.Errorf("%s %s: %s", c.method, c.path, w.Body)
		}
	}
}

func TestBodiesAreBounded(t *testing.T) {
	s := newSite(t, newFake())
	w := s.do("POST", "/signin", strings.NewReader("token="+strings.Repeat("a", maxBody+1)), "Content-Type", "application/x-www-form-urlencoded")
	if w.Code != 400 {
		t.Fatal(w.Code)
	}
}

func TestPanicIsAnAnswer(t *testing.T) {
	s := newSite(t, newFake(), func(o *Options) {
		o.OpenMetrics = true
		o.Metrics = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("boom") })
	})
	if w := s.do("GET", "/metrics", nil); w.Code != 500 || strings.Contains(w.Body.String(), "boom") {
		t.Fatal(w.Code, w.Body)
	}
}

func TestAdminSocket(t *testing.T) {
	f := newFake(agentRecord(1))
	s := newSite(t, f, func(o *Options) {
		o.Admin = map[string]http.Handler{"POST /admin/v1/hook": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if principal(r).Role != auth.Admin {
				t.Error("hook without a principal")
			}
			n, _ := io.Copy(io.Discard, r.Body)
			if n != 1<<20 {
				t.Errorf("hook saw %d bytes", n)
			}
		})}
	})
	call := func(method, path, body string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		s.AdminHandler().ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
		return w
	}
	if w := call("GET", "/api/v1/records", ""); w.Code != 200 {
		t.Fatal("API over the socket:", w.Code)
	}
	if w := call("POST", "/admin/v1/hook", strings.Repeat("x", 1<<20)); w.Code != 200 {
		t.Fatal("hook:", w.Code)
	}
	w := call("POST", "/admin/v1/signin-link", "")
	var link struct{ URL string }
	decode(t, w, &link)
	if w.Code != 201 || !strings.HasPrefix(link.URL, "http://127.0.0.1:8484/signin?token=") {
		t.Fatal(w.Code, w.Body)
	}
	w = call("POST", "/admin/v1/tokens", `{"role":"viewer","name":"siem","days":7}`)
	var tok struct{ Token, ID, Role string }
	decode(t, w, &tok)
	if w.Code != 201 || tok.Role != "viewer" {
		t.Fatal(w.Code, w.Body)
	}
	if w := s.do("GET", "/api/v1/status", nil, "Authorization", "Bearer "+tok.Token); w.Code != 200 {
		t.Fatal("the new token is refused:", w.Code)
	}
	if w := call("DELETE", "/admin/v1/tokens/"+tok.ID, ""); w.Code != 204 {
		t.Fatal(w.Code)
	}
	if w := s.do("GET", "/api/v1/status", nil, "Authorization", "Bearer "+tok.Token); w.Code != 401 {
		t.Fatal("the revoked token works:", w.Code)
	}
	for _, bad := range []string{`{"role":"root"}`, `{"rolle":"viewer"}`, `{`, `{"days":-1}`, `{"name":"a\nb"}`} {
		if w := call("POST", "/admin/v1/tokens", bad); w.Code != 400 {
			t.Errorf("%s: %d", bad, w.Code)
		}
	}
}
