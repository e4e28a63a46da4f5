package web

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"strings"

	"custody/appliance/auth"
)

// Pages share the layout and the partials; fragments are the partials alone.
var pageNames = []string{"search", "record", "chain", "principal", "credential", "sources", "setup", "signin", "message", "help"}

const partials = "partials"

func loadPages(a *assetSet) (map[string]*template.Template, error) {
	funcs := template.FuncMap{
		"asset": a.url,
		"vis":   visible,
		"lines": visibleLines,
		"num":   groupDigits,
		"bytes": bytesText,
		"clip":  clipRunes,
		"stamp": stamp,
		"clock": clockText,
		"add":   func(a, b int) int { return a + b },
	}
	base, err := template.New("base").Funcs(funcs).ParseFS(files, "templates/layout.html", "templates/partials.html")
	if err != nil {
		return nil, fmt.Errorf("load pages: %w", err)
	}
	out := map[string]*template.Template{partials: base}
	for _, n := range pageNames {
		t, err := base.Clone()
		if err == nil {
			t, err = t.ParseFS(files, "templates/"+n+".html")
		}
		if err != nil {
			return nil, fmt.Errorf("load page %s: %w", n, err)
		}
		out[n] = t
	}
	return out, nil
}

// layout is what every page needs.
type layout struct {
	Title     string
	Active    string // of the navigation
	Nonce     string // what htmx acts on; new for each page
	Principal auth.Principal
	Version   string
	Data      any
}

type titled interface{ title() string }

type pageMessage struct{ Title, Text string }

func (p pageMessage) title() string { return p.Title }

func (s *Server) page(w http.ResponseWriter, r *http.Request, status int, name string, data titled) {
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // documented never to fail
	l := layout{
		Title: data.title(), Active: name, Nonce: base64.RawURLEncoding.EncodeToString(nonce[:]),
		Principal: principal(r), Version: s.opt.Version, Data: data,
	}
	var b bytes.Buffer
	if err := s.pages[name].ExecuteTemplate(&b, "layout", l); err != nil {
		s.log.Error("page failed", "page", name, "error", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	writeHTML(w, status, b.Bytes())
}

// fragment renders a partial: no layout, no behaviour.
func (s *Server) fragment(w http.ResponseWriter, status int, name string, data any) {
	var b bytes.Buffer
	if err := s.pages[partials].ExecuteTemplate(&b, name, data); err != nil {
		s.log.Error("fragment failed", "fragment", name, "error", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	writeHTML(w, status, b.Bytes())
}

func writeHTML(w http.ResponseWriter, status int, b []byte) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b) // an error means that the reader is gone
}

// sseHTML frames an HTML fragment as one server-sent event. A line break of any
// kind would end the event's line, so each line gets its own data field.
func sseHTML(id string, b []byte) []byte {
	out := append(make([]byte, 0, len(b)+64), "id: "...)
	out = append(append(out, id...), '\n')
	text := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(b))
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		out = append(append(append(out, "data: "...), line...), '\n')
	}
	return append(out, '\n')
}
