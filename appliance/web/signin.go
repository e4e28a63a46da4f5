package web

import (
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"custody/appliance/auth"
)

type signinPage struct {
	Token string // of the link; used up by the button, not by looking at the page
	Error string
	Next  string // where a browser that is signed in already goes on
}

func (signinPage) title() string { return "Sign in" }

type helpPage struct{}

func (helpPage) title() string { return "Help" }

func (s *Server) pageHelp(w http.ResponseWriter, r *http.Request) {
	s.page(w, r, http.StatusOK, "help", helpPage{})
}

// tokenForm is what the secret of a link looks like.
var tokenForm = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)

// localPath says whether p is a path of this host, and nothing a browser could
// take for another.
func localPath(p string) bool {
	return len(p) < 4096 && strings.HasPrefix(p, "/") && !strings.HasPrefix(p, "//") && !strings.ContainsFunc(p, func(r rune) bool { return r == '\\' || hidden(r) })
}

func (s *Server) pageSignin(w http.ResponseWriter, r *http.Request) {
	var p signinPage
	if tok := r.URL.Query().Get("token"); tokenForm.MatchString(tok) {
		p.Token = tok
	} else if tok != "" {
		p.Error = "This link is not whole: copy all of it."
	}
	if n := r.URL.Query().Get("next"); localPath(n) {
		p.Next = n
	}
	s.page(w, r, http.StatusOK, "signin", p)
}

func (s *Server) signin(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		s.fail(w, r, http.StatusBadRequest, "bad_form", "The form cannot be read.")
		return
	}
	session, expires, err := s.auth.Redeem(r.PostForm.Get("token"))
	if errors.Is(err, auth.ErrDenied) {
		s.page(w, r, http.StatusForbidden, "signin", signinPage{Error: "This link is unknown, was used already, or is older than 15 minutes."})
		return
	}
	if err != nil {
		s.log.Error("sign-in failed", "error", err)
		s.fail(w, r, http.StatusServiceUnavailable, "unavailable", "Signing in is not possible now; the log of the appliance has the reason.")
		return
	}
	s.setCookie(w, r, session, expires)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (s *Server) setCookie(w http.ResponseWriter, r *http.Request, value string, expires time.Time) {
	c := &http.Cookie{
		Name: s.cookieName(r), Value: value, Path: "/",
		// By its age, not by a date: the browser's clock may be another.
		MaxAge:   max(int(expires.Sub(s.now()).Seconds()), 1),
		HttpOnly: true, Secure: s.secure(r), SameSite: http.SameSiteStrictMode,
	}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

func (s *Server) signout(w http.ResponseWriter, r *http.Request) {
	if c, err := r.Cookie(s.cookieName(r)); err == nil {
		if err := s.auth.SignOut(c.Value); err != nil {
			s.log.Error("sign-out failed", "error", err)
			s.fail(w, r, http.StatusServiceUnavailable, "unavailable", "Signing out is not possible now.")
			return
		}
	}
	s.setCookie(w, r, "", time.Unix(1, 0))
	http.Redirect(w, r, "/signin", http.StatusSeeOther)
}

// signinURL sends a page's visitor to sign in, and back to the page after.
func signinURL(r *http.Request) string {
	if target := r.URL.RequestURI(); r.Method == http.MethodGet && target != "/" && localPath(target) {
		return "/signin?next=" + url.QueryEscape(target)
	}
	return "/signin"
}
