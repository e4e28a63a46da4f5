package web

import (
	"fmt"
	"net/http"
	"time"

	"custody/index"
)

type sourcesPage struct{ Sources []sourceRow }

func (sourcesPage) title() string { return "Sources" }

type sourceRow struct {
	index.SourceStatus
	Rate    string
	Ago     string
	LastUTC string
	Href    string
	BadHref string
	GapHref string
	Well    string // "flowing", "quiet", "nothing yet"
	Class   string
}

// quietAfter is when a source that has sent before counts as quiet.
const quietAfter = 10 * time.Minute

func (s *Server) sourceRows() []sourceRow {
	src := s.ledger.Sources()
	now := s.now()
	rates := s.rates.sample(now, src)
	out := make([]sourceRow, len(src))
	for i, x := range src {
		r := sourceRow{SourceStatus: x, Rate: "…", Ago: "—", Well: "nothing yet", Class: "none"}
		if rates[i] >= 0 {
			r.Rate = rateText(rates[i])
		}
		if x.Last != 0 {
			ago := now.Sub(time.Unix(0, x.Last))
			r.Ago, r.LastUTC = agoText(ago), clockText(x.Last)
			r.Well, r.Class = "flowing", "ok"
			if ago > quietAfter {
				r.Well, r.Class = "quiet", "deny"
			}
		}
		name := quoteTerm("source.name", x.Name)
		r.Href = searchURL(name, "", "", index.NewestFirst)
		r.BadHref = searchURL(name+" findings:malformed", "", "", index.NewestFirst)
		r.GapHref = searchURL("kind:gap "+name, "", "", index.NewestFirst)
		out[i] = r
	}
	return out
}

func rateText(v float64) string {
	switch {
	case v >= 100:
		return groupDigits(uint64(v+0.5)) + "/s"
	case v == 0:
		return "0/s"
	}
	return fmt.Sprintf("%.1f/s", v)
}

func agoText(d time.Duration) string {
	switch {
	case d < 2*time.Second:
		return "now"
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s ago", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	}
	return fmt.Sprintf("%d days ago", int(d.Hours()/24))
}

func (s *Server) pageSources(w http.ResponseWriter, r *http.Request) {
	s.page(w, r, http.StatusOK, "sources", sourcesPage{s.sourceRows()})
}

func (s *Server) fragSources(w http.ResponseWriter, _ *http.Request) {
	s.fragment(w, http.StatusOK, "sourcetable", s.sourceRows())
}

// strip is the line of state on every page.
type strip struct {
	index.Status
	Reasons   []reasonJSON
	Lag       uint64 // durable but not sealed yet
	IndexLag  uint64
	FreeText  string
	UsedText  string
	SealedAgo string
}

func (s *Server) fragStatus(w http.ResponseWriter, _ *http.Request) {
	st := s.ledger.Status()
	v := strip{Status: st, Reasons: s.reasons(st), FreeText: bytesText(st.Free), UsedText: bytesText(uint64(max(0, st.Bytes)))}
	if st.Sealed < st.Durable {
		v.Lag = st.Durable - st.Sealed
	}
	if st.Searchable < st.Durable {
		v.IndexLag = st.Durable - st.Searchable
	}
	if !st.LastSealed.IsZero() {
		v.SealedAgo = agoText(s.now().Sub(st.LastSealed))
	}
	s.fragment(w, http.StatusOK, "strip", v)
}
