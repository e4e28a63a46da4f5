package web

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"custody/index"
	"custody/ingest/record"
)

const (
	maxRawShown   = 64 << 10
	maxValueShown = 4 << 10
)

type recordPage struct {
	Row      rowView
	ID       string
	Seq      uint64
	Time     string
	Received string
	Groups   []fieldGroup
	Findings []finding
	Seal     index.SealState
	Entry    string
	Tree     *treeNode
	TreeCut  bool
	Raw      string
	RawSize  int
	RawCut   bool
	RawGone  string // why there is no raw line
	Hash     string
	Amended  bool
	Around   string // address of what happened around it
	Related  []related
	Chain    string // address of the chain that it is in
}

func (p recordPage) title() string { return "Record " + uintText(p.Seq) }

// related is a search for what shares an identifier with the record.
type related struct{ Text, Value, Href string }

type fieldGroup struct {
	Title  string
	Fields []fieldView
}

type fieldView struct {
	Name       string
	Values     []valueView
	Absent     string // why there is none
	Provenance string
	AmendedBy  string // seq, decimal
	Was        []string
}

type valueView struct {
	Text             string
	Cut              int // bytes not shown
	Mono             bool
	Include, Exclude string
	About            string // address of the page about the principal or the credential
	Provenance       string
	AmendedBy        string
}

// The groups of the record page, by the first part of a field's name, and the
// fields whose absence is worth a line.
var recordGroups = []struct {
	title    string
	prefixes []string
	must     []record.Field
}{
	{"Requester", []string{"requester"}, []record.Field{record.RequesterID}},
	{"Executor", []string{"executor"}, []record.Field{record.ExecutorID}},
	{"Delegation", []string{"delegation"}, nil},
	{"Action", []string{"action", "target"}, []record.Field{record.ActionOperation, record.ActionTool, record.TargetID}},
	{"Authority", []string{"authority", "credential_event"}, []record.Field{record.AuthorityPermission, record.CredentialID}},
	{"Decision", []string{"decision"}, []record.Field{record.DecisionEffect, record.DecisionPolicyID}},
	{"Outcome", []string{"outcome", "effect"}, []record.Field{record.OutcomeStatus}},
	{"Chain", []string{"chain", "links"}, nil},
	{"Context", []string{"context", "risk", "risk_policy", "capture", "capture_policy", "retention_class"}, nil},
	{"Source", []string{"source"}, nil},
	{"More", []string{"findings", "about", "attributes", "message"}, nil},
}

func (s *Server) pageRecord(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if !validID(id) {
		s.fail(w, r, http.StatusNotFound, "not_found", "There is no such record.")
		return
	}
	eff, sealed, st, err := s.ledger.Get(r.Context(), id)
	if err != nil {
		status, e := s.classify(r, err)
		s.page(w, r, status, "message", pageMessage{http.StatusText(status), e.Message})
		return
	}
	p := newRecordPage(eff, sealed, st)
	p.Chain = s.chainOf(r.Context(), &p.Row)
	s.page(w, r, http.StatusOK, "record", p)
}

func newRecordPage(eff, sealed *record.Record, st index.SealState) recordPage {
	p := recordPage{
		Row: newRow(eff, nil), ID: eff.Get(record.ID), Seq: eff.Seq, Seal: st,
		Time: eff.Get(record.Time), Received: eff.Get(record.Received),
	}
	if st.EntryHash != ([32]byte{}) {
		p.Entry = hex.EncodeToString(st.EntryHash[:])
	}
	if sealed == eff || withheld(eff) {
		sealed = nil // what was redacted is not shown as "sealed as" either
	}
	for _, g := range recordGroups {
		v := fieldGroup{Title: g.title}
		for i, name := range record.Names() {
			f := record.Field(i)
			head, _, _ := strings.Cut(name, ".")
			if !slices.Contains(g.prefixes, head) {
				continue
			}
			// The message is the raw line without its header unless a mapping set it.
			if f == record.Message && (eff.Prov(f) == "" || eff.Get(f) == "") {
				continue
			}
			fv := newField(eff, sealed, f)
			stated := eff.Absent(f.String())
			if len(fv.Values) == 0 {
				if stated == "" && !slices.Contains(g.must, f) {
					continue
				}
				fv.Absent = reasonText(first(stated, absent(eff, f)))
			}
			p.Amended = p.Amended || fv.AmendedBy != "" || len(fv.Was) > 0
			v.Fields = append(v.Fields, fv)
		}
		if len(v.Fields) > 0 {
			p.Groups = append(p.Groups, v)
		}
	}
	for _, f := range eff.List(record.Findings) {
		p.Findings = append(p.Findings, finding{f, findingText(f)})
	}
	p.rawParts(eff)
	for _, f := range []record.Field{
		record.ChainRequestID, record.ChainTraceID, record.ChainSessionID, record.ChainTaskID, record.ChainToolCallID, record.CredentialID,
	} {
		if v := eff.Get(f); v != "" && len(v) <= maxPart && utf8.ValidString(v) {
			p.Related = append(p.Related, related{"same " + f.String(), v, searchURL(quoteTerm(f.String(), v), "", "", index.NewestFirst)})
		}
	}
	p.Related = append(p.Related, delegates(eff)...)
	if eff.Time != 0 {
		const minute = 60e9
		p.Around = searchURL("", stamp(eff.Time-minute), stamp(eff.Time+minute), index.NewestFirst)
	}
	return p
}

// withheld says whether anything of r was redacted.
func withheld(r *record.Record) bool {
	return strings.Contains(r.AbsenceJSON(), `:"`+record.Redacted+`"`)
}

func newField(eff, sealed *record.Record, f record.Field) fieldView {
	v := fieldView{Name: f.String()}
	kind := f.Info().Kind
	card := f.Info().Cardinality
	add := func(text, prov string) {
		x := valueView{
			Text: clipRunes(maxValueShown, text), Cut: max(0, len(text)-maxValueShown),
			Mono:       card == record.Identifier || kind == record.Objects || kind == record.Map || kind == record.Instant || kind == record.Number,
			Provenance: clipRunes(maxPart, prov),
		}
		if seq, ok := strings.CutPrefix(prov, "seq:"); ok && validID(seq) {
			x.AmendedBy, x.Provenance = seq, ""
		}
		if kind == record.Text || kind == record.List {
			if card != record.Prose && len(text) <= maxPart && utf8.ValidString(text) {
				c := quoteTerm(v.Name, text)
				x.Include = searchURL(c, "", "", index.NewestFirst)
				x.Exclude = searchURL("-"+c, "", "", index.NewestFirst)
			}
		}
		x.About = aboutValue(f, text, eff.Get(record.ContextTenant))
		v.Values = append(v.Values, x)
	}
	if f.IsList() {
		eff.Elements(f, func(text, prov string) bool {
			add(text, prov)
			return len(v.Values) < 200
		})
	} else if text := eff.Get(f); text != "" {
		add(text, eff.Prov(f))
	}
	if sealed != nil {
		path := record.Path{Field: f}
		was, is := sealed.Values(path, nil), eff.Values(path, nil)
		if !slices.Equal(was, is) {
			for _, x := range was {
				if !slices.Contains(is, x) {
					v.Was = append(v.Was, clipRunes(maxPart, x))
				}
			}
		}
	}
	for _, x := range v.Values {
		if x.AmendedBy != "" {
			v.AmendedBy = x.AmendedBy
		}
	}
	return v
}

func (p *recordPage) rawParts(eff *record.Record) {
	p.RawSize = len(eff.Raw)
	if p.RawSize == 0 {
		p.RawGone = reasonText(eff.Absent("raw"))
		return
	}
	sum := sha256.Sum256(eff.Raw)
	p.Hash = hex.EncodeToString(sum[:])
	p.Raw = string(eff.Raw)
	if p.RawCut = p.RawSize > maxRawShown; p.RawCut {
		p.Raw = clipRunes(maxRawShown, p.Raw)
	}
	p.Tree, p.TreeCut = parseTree(eff.MessageText())
}

// rawDownload sends the exact bytes, as a file and never as anything a browser
// would show.
func (s *Server) rawDownload(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if !validID(id) {
		s.fail(w, r, http.StatusNotFound, "not_found", "There is no such record.")
		return
	}
	eff, _, _, err := s.ledger.Get(r.Context(), id)
	if err != nil {
		s.failErr(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", `attachment; filename="record-`+uintText(eff.Seq)+`.raw"`)
	_, _ = w.Write(eff.Raw) // an error means that the reader is gone
}
