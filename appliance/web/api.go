package web

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"custody/index"
	"custody/ingest/record"
)

func (s *Server) apiRecords(w http.ResponseWriter, r *http.Request) {
	a, err := s.readAsked(r)
	if err != nil {
		s.failErr(w, r, err)
		return
	}
	page, err := s.ledger.Search(r.Context(), a.Request)
	if err != nil {
		s.failErr(w, r, err)
		return
	}
	b := append(make([]byte, 0, 2048*len(page.Records)+128), `{"records":[`...)
	for i, rec := range page.Records {
		if i > 0 {
			b = append(b, ',')
		}
		b = rec.AppendJSON(b)
	}
	b = append(b, `],"next_cursor":`...)
	b = record.AppendQuoted(b, page.Next)
	s.rawJSON(w, http.StatusOK, append(b, '}'))
}

// sealJSON is where a record stands.
type sealJSON struct {
	Durable    bool   `json:"durable"`
	Sealed     bool   `json:"sealed"`
	Searchable bool   `json:"searchable"`
	TreeSize   uint64 `json:"tree_size,omitempty"`
	EntryHash  string `json:"entry_hash,omitempty"` // hexadecimal
}

// apiRecord answers with the effective record and, as further members, the
// digest of its raw line, where it stands, and the sealed original where
// that differs (unless something was redacted).
func (s *Server) apiRecord(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if !validID(id) {
		s.failErr(w, r, index.ErrNotFound)
		return
	}
	eff, sealed, st, err := s.ledger.Get(r.Context(), id)
	if err != nil {
		s.failErr(w, r, err)
		return
	}
	b := eff.AppendJSON(nil)
	b = b[:len(b)-1]
	if len(eff.Raw) > 0 {
		sum := sha256.Sum256(eff.Raw)
		b = append(b, `,"raw_hash":"`...)
		b = hex.AppendEncode(b, sum[:])
		b = append(b, '"')
	}
	seal := sealJSON{Durable: st.Durable, Sealed: st.Sealed, Searchable: st.Searchable, TreeSize: st.TreeSize}
	if st.EntryHash != ([32]byte{}) {
		seal.EntryHash = hex.EncodeToString(st.EntryHash[:])
	}
	sj, err := json.Marshal(seal)
	if err != nil {
		s.failErr(w, r, err)
		return
	}
	b = append(append(b, `,"seal":`...), sj...)
	if sealed != nil && sealed != eff && !withheld(eff) {
		if orig := sealed.AppendJSON(nil); string(orig) != string(eff.AppendJSON(nil)) {
			b = append(append(b, `,"sealed":`...), orig...)
		}
	}
	s.rawJSON(w, http.StatusOK, append(b, '}'))
}

// validID says whether id can name a record: a UUID or a decimal seq.
func validID(id string) bool {
	if _, ok := record.ParseID(id); ok {
		return true
	}
	_, err := strconv.ParseUint(id, 10, 64)
	return err == nil && len(id) <= 20
}

func (s *Server) apiCount(w http.ResponseWriter, r *http.Request) {
	a, err := s.readAsked(r)
	if err != nil {
		s.failErr(w, r, err)
		return
	}
	n, err := s.ledger.Count(r.Context(), a.Request)
	if err != nil {
		s.failErr(w, r, err)
		return
	}
	s.json(w, http.StatusOK, map[string]uint64{"count": n})
}

type facetJSON struct {
	Field  string       `json:"field"`
	Values []facetValue `json:"values"`
	Other  uint64       `json:"other"`
	Absent uint64       `json:"absent"`
}

type facetValue struct {
	Value string `json:"value"`
	Count uint64 `json:"count"`
}

func (s *Server) apiFacets(w http.ResponseWriter, r *http.Request) {
	a, err := s.readAsked(r)
	if err != nil {
		s.failErr(w, r, err)
		return
	}
	names := r.URL.Query()["field"]
	if len(names) == 0 || len(names) > 16 {
		s.failErr(w, r, badf("bad_parameter", "field: name 1 to 16 fields"))
		return
	}
	paths := make([]record.Path, len(names))
	for i, n := range names {
		p, ok := record.Lookup(n)
		if !ok {
			s.failBody(w, r, http.StatusBadRequest, errorBody{
				Code: "bad_parameter", Message: "field: unknown name " + strconv.Quote(clip(n, 64)), Suggestion: record.Suggest(clip(n, 64)),
			})
			return
		}
		paths[i] = p
	}
	top, err := number(r, "top", 10, 1000)
	if err != nil {
		s.failErr(w, r, err)
		return
	}
	fs, err := s.ledger.Facets(r.Context(), a.Request, paths, top)
	if err != nil {
		s.failErr(w, r, err)
		return
	}
	out := make([]facetJSON, len(fs))
	for i, f := range fs {
		out[i] = facetJSON{Field: f.Field.String(), Values: []facetValue{}, Other: f.Other, Absent: f.Absent}
		for _, v := range f.Values {
			out[i].Values = append(out[i].Values, facetValue(v))
		}
	}
	s.json(w, http.StatusOK, map[string]any{"facets": out})
}

type bucketJSON struct {
	From  string `json:"from"`
	To    string `json:"to"`
	Count uint64 `json:"count"`
}

func (s *Server) apiHistogram(w http.ResponseWriter, r *http.Request) {
	a, err := s.readAsked(r)
	if err != nil {
		s.failErr(w, r, err)
		return
	}
	n, err := number(r, "buckets", 60, 1000)
	if err != nil {
		s.failErr(w, r, err)
		return
	}
	bs, err := s.ledger.Histogram(r.Context(), a.Request, n)
	if err != nil {
		s.failErr(w, r, err)
		return
	}
	out := make([]bucketJSON, len(bs))
	var total uint64
	for i, b := range bs {
		out[i] = bucketJSON{stamp(b.From), stamp(b.To), b.Count}
		total += b.Count
	}
	s.json(w, http.StatusOK, map[string]any{"buckets": out, "total": total})
}

// number reads a bounded whole number.
func number(r *http.Request, name string, def, most int) (int, error) {
	v := r.URL.Query().Get(name)
	if v == "" {
		return def, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > most {
		return 0, badf("bad_parameter", "%s: a number from 1 to %d", name, most)
	}
	return n, nil
}

// stamp renders Unix nanoseconds in UTC, trailing zeros dropped.
func stamp(ns int64) string { return record.FormatTime(time.Unix(0, ns)) }

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n]
}
