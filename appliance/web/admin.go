package web

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"custody/appliance/auth"
)

// adminRequest is the body of the endpoints that make secrets; an empty body
// is an empty object.
type adminRequest struct {
	Role string `json:"role"`
	Name string `json:"name"`
	Days int    `json:"days"` // life of a token; 0 is the default
}

func readAdmin(w http.ResponseWriter, r *http.Request) (adminRequest, auth.Role, error) {
	var q adminRequest
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&q); err != nil && !errors.Is(err, io.EOF) {
		return q, "", badf("bad_body", "read body: %v", err)
	}
	if q.Role == "" {
		q.Role = string(auth.Admin)
	}
	if q.Name == "" {
		q.Name = "administrator"
	}
	role, err := auth.ParseRole(q.Role)
	if err != nil {
		return q, "", badf("bad_role", "%v", err)
	}
	if q.Days < 0 || q.Days > 3650 {
		return q, "", badf("bad_parameter", "days: a number from 0 to 3650")
	}
	return q, role, nil
}

// SigninLink makes a one-time sign-in link: the address to open, and until when it works.
func (s *Server) SigninLink(role auth.Role, name string) (link string, expires time.Time, err error) {
	secret, expires, err := s.auth.NewLink(role, name)
	if err != nil {
		return "", time.Time{}, err
	}
	return strings.TrimSuffix(s.opt.BaseURL, "/") + "/signin?token=" + url.QueryEscape(secret), expires, nil
}

func (s *Server) adminLink(w http.ResponseWriter, r *http.Request) {
	q, role, err := readAdmin(w, r)
	if err != nil {
		s.failErr(w, r, err)
		return
	}
	link, expires, err := s.SigninLink(role, q.Name)
	if err != nil {
		s.failErr(w, r, badf("bad_parameter", "%v", err))
		return
	}
	s.json(w, http.StatusCreated, map[string]any{"url": link, "expires": expires.UTC()})
}

func (s *Server) adminNewToken(w http.ResponseWriter, r *http.Request) {
	q, role, err := readAdmin(w, r)
	if err != nil {
		s.failErr(w, r, err)
		return
	}
	secret, tok, err := s.auth.NewToken(role, q.Name, time.Duration(q.Days)*24*time.Hour)
	if err != nil {
		s.failErr(w, r, badf("bad_parameter", "%v", err))
		return
	}
	s.json(w, http.StatusCreated, map[string]any{"token": secret, "id": tok.ID, "role": tok.Role, "name": tok.Name, "expires": tok.Expires.UTC()})
}

func (s *Server) adminTokens(w http.ResponseWriter, r *http.Request) {
	list, err := s.auth.Tokens()
	if err != nil {
		s.failErr(w, r, err)
		return
	}
	s.json(w, http.StatusOK, map[string]any{"tokens": list})
}

func (s *Server) adminRevoke(w http.ResponseWriter, r *http.Request) {
	err := s.auth.Revoke(r.PathValue("id"))
	if errors.Is(err, auth.ErrDenied) {
		s.fail(w, r, http.StatusNotFound, "not_found", "there is no such token")
		return
	}
	if err != nil {
		s.failErr(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
