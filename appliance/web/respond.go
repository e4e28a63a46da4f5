package web

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"strings"

	"custody/index"
)

// errorBody is the form of every error of the API.
type errorBody struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	// Position, Length (bytes of q) and Suggestion come with bad queries.
	Position   *int   `json:"position,omitempty"`
	Length     *int   `json:"length,omitempty"`
	Suggestion string `json:"suggestion,omitempty"`
}

// fail answers with an error: JSON to programs, a page to people.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, status int, code, msg string) {
	s.failBody(w, r, status, errorBody{Code: code, Message: msg})
}

func (s *Server) failBody(w http.ResponseWriter, r *http.Request, status int, e errorBody) {
	if machine(r.URL.Path) || s.pages == nil {
		s.json(w, status, map[string]errorBody{"error": e})
		return
	}
	if strings.HasPrefix(r.URL.Path, "/ui/") {
		s.fragment(w, status, "error", e)
		return
	}
	s.page(w, r, status, "message", pageMessage{Title: http.StatusText(status), Text: e.Message})
}

// failErr answers with err in the status that fits it.
func (s *Server) failErr(w http.ResponseWriter, r *http.Request, err error) {
	status, e := s.classify(r, err)
	s.failBody(w, r, status, e)
}

func (s *Server) classify(r *http.Request, err error) (int, errorBody) {
	var bad *requestError
	switch {
	case errors.As(err, &bad):
		e := errorBody{Code: bad.code, Message: bad.msg}
		if q := bad.query; q != nil {
			e.Position, e.Length, e.Suggestion = &q.Pos, &q.Len, q.Suggestion
		}
		return http.StatusBadRequest, e
	case errors.Is(err, index.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return http.StatusNotFound, errorBody{Code: "not_found", Message: "there is no such record"}
	case errors.Is(err, index.ErrCursor):
		return http.StatusBadRequest, errorBody{Code: "bad_cursor", Message: "this cursor is not one of ours: start again without it"}
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout, errorBody{Code: "timeout", Message: "the query took too long: narrow the time range"}
	case r.Context().Err() != nil:
		return 499, errorBody{Code: "canceled", Message: "the caller went away"}
	}
	s.log.Error("request failed", "path", r.URL.Path, "error", err)
	return http.StatusInternalServerError, errorBody{Code: "internal", Message: "internal error; the log of the appliance has the reason"}
}

func (s *Server) json(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		s.log.Error("answer cannot be encoded", "error", err)
		status, b = http.StatusInternalServerError, []byte(`{"error":{"code":"internal","message":"internal error"}}`)
	}
	s.rawJSON(w, status, b)
}

func (s *Server) rawJSON(w http.ResponseWriter, status int, b []byte) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	// An error here means that the reader is gone: there is nobody to tell.
	_, _ = w.Write(append(b, '\n'))
}
