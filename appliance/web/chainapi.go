package web

import (
	"encoding/json"
	"net/http"

	"custody/index"
	"custody/index/chain"
	"custody/ingest/record"
)

// chainJSON is a chain without its records.
type chainJSON struct {
	ID          *string             `json:"id"` // null when the first record is not held any more
	Seq         uint64              `json:"seq"`
	Asked       uint64              `json:"asked"`
	Merged      []string            `json:"merged"`
	From        string              `json:"from,omitempty"`
	To          string              `json:"to,omitempty"`
	Requester   *askerJSON          `json:"requester"`
	Candidates  []askerJSON         `json:"candidates,omitempty"`
	Principals  []partyJSON         `json:"principals"`
	Tree        []nodeJSON          `json:"tree"`
	Findings    map[string][]uint64 `json:"findings"`
	Gaps        []gapJSON           `json:"gaps"`
	Credentials []credentialJSON    `json:"credentials"`
	Truncated   bool                `json:"truncated"`
}

type askerJSON struct {
	Type      string `json:"type,omitempty"`
	ID        string `json:"id,omitempty"`
	Name      string `json:"name,omitempty"`
	Issuer    string `json:"issuer,omitempty"`
	Assurance string `json:"assurance,omitempty"`
	Record    uint64 `json:"record"` // seq of the record that says so
}

type partyJSON struct {
	Type    string `json:"type,omitempty"`
	ID      string `json:"id,omitempty"`
	Name    string `json:"name,omitempty"`
	Issuer  string `json:"issuer,omitempty"`
	Records int    `json:"records"`
}

type nodeJSON struct {
	Seq      uint64  `json:"seq"`
	Parent   *uint64 `json:"parent"`
	Depth    int     `json:"depth"`
	Relation string  `json:"relation,omitempty"`
	Method   string  `json:"method,omitempty"`
}

type gapJSON struct {
	After   *uint64 `json:"after"`  // null: before anything that is known
	Record  uint64  `json:"record"` // the record that shows it
	Reason  string  `json:"reason"`
	Missing string  `json:"missing"`
	Why     string  `json:"why,omitempty"`
}

type credentialJSON struct {
	ID      string   `json:"id"`
	Kind    string   `json:"kind,omitempty"`
	Issuer  string   `json:"issuer,omitempty"`
	Expires string   `json:"expires,omitempty"`
	Issued  *uint64  `json:"issued"` // seq
	Renewed []uint64 `json:"renewed,omitempty"`
	Ended   *uint64  `json:"ended"`
	Uses    int      `json:"uses"`
}

// findChain reads the chain that the request names. It answers itself, and returns
// nil, where there is none, and where the chain was joined to an older one: under
// prefix is then where to look.
func (s *Server) findChain(w http.ResponseWriter, r *http.Request, prefix string) *index.Chain {
	id := r.PathValue("id")
	if !validID(id) {
		s.failErr(w, r, index.ErrNotFound)
		return nil
	}
	c, err := s.ledger.Chain(r.Context(), id)
	if err != nil {
		s.failErr(w, r, err)
		return nil
	}
	if first := c.Records[0]; c.Moved && first.Seq == c.Root {
		to := prefix + idOf(first)
		if r.URL.RawQuery != "" {
			to += "?" + r.URL.RawQuery
		}
		http.Redirect(w, r, to, http.StatusTemporaryRedirect)
		return nil
	}
	return c
}

func (s *Server) apiChain(w http.ResponseWriter, r *http.Request) {
	c := s.findChain(w, r, "/api/v1/chains/")
	if c == nil {
		return
	}
	b, err := json.Marshal(newChainJSON(c))
	if err != nil {
		s.failErr(w, r, err)
		return
	}
	b = append(b[:len(b)-1], `,"records":[`...)
	for i, rec := range c.Records {
		if i > 0 {
			b = append(b, ',')
		}
		b = rec.AppendJSON(b)
	}
	s.rawJSON(w, http.StatusOK, append(b, "]}"...))
}

func newChainJSON(c *index.Chain) chainJSON {
	out := chainJSON{
		Seq: c.Root, Asked: c.Asked, Merged: []string{}, Principals: []partyJSON{}, Tree: []nodeJSON{},
		Findings: c.Findings(), Gaps: []gapJSON{}, Credentials: []credentialJSON{}, Truncated: c.Truncated,
	}
	ids := make(map[uint64]string, len(c.Records))
	for _, r := range c.Records {
		ids[r.Seq] = idOf(r)
	}
	if id, ok := ids[c.Root]; ok {
		out.ID = &id
	}
	for _, seq := range c.Merged {
		id := ids[seq]
		if id == "" {
			id = uintText(seq)
		}
		out.Merged = append(out.Merged, id)
	}
	if from, to := c.Span(); from != 0 {
		out.From, out.To = stamp(from), stamp(to)
	}
	switch askers := c.Askers(); len(askers) {
	case 0:
	case 1:
		a := newAsker(askers[0])
		out.Requester = &a
	default:
		for _, a := range askers {
			out.Candidates = append(out.Candidates, newAsker(a))
		}
	}
	for _, p := range c.Parties() {
		out.Principals = append(out.Principals, partyJSON(p))
	}
	tree := c.Tree()
	for _, n := range tree {
		v := nodeJSON{Seq: n.Record.Seq, Depth: n.Depth, Relation: n.Relation, Method: n.Method}
		if n.Parent >= 0 {
			v.Parent = &tree[n.Parent].Record.Seq
		}
		out.Tree = append(out.Tree, v)
	}
	for _, g := range c.Gaps(tree) {
		v := gapJSON{Record: g.Record, Reason: g.Reason, Missing: g.Missing, Why: g.Why}
		if g.Known {
			v.After = &g.After
		}
		out.Gaps = append(out.Gaps, v)
	}
	for _, k := range c.Credentials() {
		v := credentialJSON{ID: k.ID, Kind: k.Kind, Issuer: k.Issuer, Expires: k.Expires, Renewed: k.Renewed, Uses: k.Uses}
		if len(k.Issued) > 0 {
			v.Issued = &k.Issued[0]
		}
		if len(k.Ended) > 0 {
			v.Ended = &k.Ended[0]
		}
		out.Credentials = append(out.Credentials, v)
	}
	return out
}

func newAsker(a chain.Asker) askerJSON {
	return askerJSON{Type: a.Type, ID: a.ID, Name: a.Name, Issuer: a.Issuer, Assurance: a.Assurance, Record: a.Seq}
}

// idOf is what an address names r by.
func idOf(r *record.Record) string {
	if r.ID == ([16]byte{}) {
		return uintText(r.Seq)
	}
	return record.FormatID(r.ID)
}
