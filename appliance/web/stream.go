package web

import (
	"bufio"
	"context"
	"encoding/csv"
	"net/http"
	"strconv"
	"strings"

	"custody/index"
	"custody/ingest/record"
)

const exportPage = 1000

// export walks the whole result page by page. Rows that arrive while it runs
// are left out, so that it ends. A failure after the first byte aborts the
// connection: the reader sees a broken transfer, never a result that looks whole.
func (s *Server) export(w http.ResponseWriter, r *http.Request, mime, name string, begin func(*bufio.Writer) error, row func(*bufio.Writer, *record.Record) error) {
	a, err := s.readAsked(r)
	if err != nil {
		s.failErr(w, r, err)
		return
	}
	limit := a.Limit // of all rows; 0 is none
	a.Limit = exportPage
	end := s.ledger.Status().Rows
	search := func() (index.Page, error) {
		ctx, cancel := context.WithTimeout(r.Context(), s.opt.Timeout)
		defer cancel()
		return s.ledger.Search(ctx, a.Request)
	}
	page, err := search()
	if err != nil {
		s.failErr(w, r, err)
		return
	}
	w.Header().Set("Content-Type", mime)
	w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
	bw := bufio.NewWriterSize(w, 64<<10)
	abort := func(err error) {
		if r.Context().Err() == nil {
			s.log.Error("export cut off", "path", r.URL.Path, "error", err)
		}
		panic(http.ErrAbortHandler)
	}
	if begin != nil {
		if err := begin(bw); err != nil {
			abort(err)
		}
	}
	for n := 0; ; {
		extend(w)
		for _, rec := range page.Records {
			if rec.Seq >= end {
				continue
			}
			if err := row(bw, rec); err != nil {
				abort(err)
			}
			if n++; limit > 0 && n == limit {
				page.Next = ""
				break
			}
		}
		// In rising order everything after the end is new.
		if l := len(page.Records); a.Order == index.OldestFirst && l > 0 && page.Records[l-1].Seq >= end {
			page.Next = ""
		}
		if err := bw.Flush(); err != nil {
			abort(err)
		}
		if page.Next == "" {
			return
		}
		a.Cursor = page.Next
		if page, err = search(); err != nil {
			abort(err)
		}
	}
}

func (s *Server) apiNDJSON(w http.ResponseWriter, r *http.Request) {
	var buf []byte
	s.export(w, r, "application/x-ndjson; charset=utf-8", "records.ndjson", nil, func(bw *bufio.Writer, rec *record.Record) error {
		buf = append(rec.AppendJSON(buf[:0]), '\n')
		_, err := bw.Write(buf)
		return err
	})
}

func (s *Server) apiOCSF(w http.ResponseWriter, r *http.Request) {
	s.export(w, r, "application/x-ndjson; charset=utf-8", "records.ocsf.ndjson", nil, func(bw *bufio.Writer, rec *record.Record) error {
		b, err := ocsfEvent(rec)
		if err != nil {
			return err
		}
		_, err = bw.Write(append(b, '\n'))
		return err
	})
}

// The columns of a CSV export unless "column" names others.
var csvColumns = []string{
	"id", "seq", "kind", "time", "received", "source.name", "source.format", "source.peer",
	"requester.type", "requester.id", "requester.assurance", "executor.type", "executor.id", "executor.assurance",
	"action.service", "action.tool", "action.operation", "target.type", "target.id",
	"authority.permission", "authority.credential.id", "decision.effect", "decision.policy_id", "decision.approval.approver",
	"outcome.status", "outcome.code", "risk", "findings",
	"chain.request_id", "chain.trace_id", "chain.session_id", "message",
}

func (s *Server) apiCSV(w http.ResponseWriter, r *http.Request) {
	cols := r.URL.Query()["column"]
	if len(cols) == 0 {
		cols = csvColumns
	}
	if len(cols) > int(record.NumFields) {
		s.failErr(w, r, badf("bad_parameter", "column: too many"))
		return
	}
	paths := make([]record.Path, len(cols))
	for i, c := range cols {
		p, ok := record.Lookup(c)
		if !ok && c != "seq" && c != "kind" {
			s.failBody(w, r, http.StatusBadRequest, errorBody{
				Code: "bad_parameter", Message: "column: unknown name " + strconv.Quote(clip(c, 64)), Suggestion: record.Suggest(clip(c, 64)),
			})
			return
		}
		paths[i] = p
	}
	var cw *csv.Writer
	cells := make([]string, len(cols))
	var vals []string
	s.export(w, r, "text/csv; charset=utf-8; header=present", "records.csv", func(bw *bufio.Writer) error {
		cw = csv.NewWriter(bw)
		cw.UseCRLF = true // RFC 4180
		return cw.Write(cols)
	}, func(_ *bufio.Writer, rec *record.Record) error {
		for i, c := range cols {
			switch c {
			case "seq":
				cells[i] = strconv.FormatUint(rec.Seq, 10)
			case "kind":
				cells[i] = rec.Kind.String()
			default:
				vals = rec.Values(paths[i], vals[:0])
				cells[i] = csvSafe(strings.Join(vals, " | "))
			}
		}
		if err := cw.Write(cells); err != nil {
			return err
		}
		cw.Flush()
		return cw.Error()
	})
}

// csvSafe keeps a spreadsheet from taking a logged value for a formula.
func csvSafe(v string) string {
	if v != "" && strings.IndexByte("=+-@\t\r", v[0]) >= 0 {
		return "'" + v
	}
	return v
}
