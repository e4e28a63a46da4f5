package command

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"custody/ingest/record"
)

// pageSize is how many records are asked for at a time.
const pageSize = 500

func (a *app) search() *cobra.Command {
	var when timeRange
	var asJSON bool
	limit := 50
	cmd := &cobra.Command{
		Use:   "search [QUERY]",
		Short: "Search the records, newest first",
		Long:  "Search the records, newest first. The query language is that of the search page.",
		Example: `  custody search requester.id:alice@example.com outcome.status:denied
  custody search --from now-1h --limit 1000 --json 'action.tool:shell AND NOT risk:low'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 1 {
				return usagef("--limit: a number from 1")
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			params := when.params(words(args))
			for left := limit; left > 0 && a.print.failed == nil; {
				params.Set("limit", strconv.Itoa(min(left, pageSize)))
				var page struct {
					Records []json.RawMessage `json:"records"`
					Next    string            `json:"next_cursor"`
				}
				if err := c.Get(cmd.Context(), "/api/v1/records", params, &page); err != nil {
					return explain(err)
				}
				for _, raw := range page.Records {
					if asJSON {
						a.print.json(raw)
						continue
					}
					r, err := record.Parse(raw)
					if err != nil {
						return err
					}
					a.print.line("%s", sentence(r))
				}
				left -= len(page.Records)
				if page.Next == "" || len(page.Records) == 0 {
					break
				}
				params.Set("cursor", page.Next)
			}
			return a.print.failed
		},
	}
	when.flags(cmd)
	cmd.Flags().IntVar(&limit, "limit", limit, "how many records at most")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one record a line as JSON")
	return cmd
}

// sentence is a record in one line: who, through whom, did what to what, and how it ended.
func sentence(r *record.Record) string { return describe(r, r.Get(record.OutcomeStatus)) }

// describe is sentence with an end of the caller's.
func describe(r *record.Record, end string) string {
	var b strings.Builder
	at := r.Get(record.Time)
	if at == "" {
		at = r.Get(record.Received)
	}
	b.WriteString(strings.Replace(strings.TrimSuffix(at, "Z"), "T", " ", 1)[:min(len(at), 23)])
	b.WriteString("  #")
	b.WriteString(strconv.FormatUint(r.Seq, 10))
	b.WriteString("  ")
	if r.Kind != record.KindRecord && r.Kind != 0 {
		b.WriteString("[" + r.Kind.String() + "] ")
	}
	who := first(r, record.RequesterID, record.RequesterName)
	actor := first(r, record.ExecutorName, record.ExecutorID, record.ExecutorLocalAccount)
	what := joined(r, record.ActionService, record.ActionTool, record.ActionOperation, record.TargetID)
	if who == "" && actor == "" && what == "" {
		b.WriteString(short(strings.TrimSpace(r.MessageText())))
		return b.String()
	}
	if who == "" {
		who = "(nobody named)"
	}
	b.WriteString(who)
	if actor != "" {
		b.WriteString(" via " + actor)
	}
	if what != "" {
		b.WriteString(" → " + what)
	}
	if end != "" {
		b.WriteString(" — " + end)
	}
	if f := r.List(record.Findings); len(f) > 0 {
		b.WriteString("  (" + strings.Join(f, ", ") + ")")
	}
	return b.String()
}

func first(r *record.Record, fields ...record.Field) string {
	for _, f := range fields {
		if v := r.Get(f); v != "" {
			return short(v)
		}
	}
	return ""
}

func joined(r *record.Record, fields ...record.Field) string {
	var parts []string
	for _, f := range fields {
		if v := r.Get(f); v != "" {
			parts = append(parts, short(v))
		}
	}
	return strings.Join(parts, " ")
}

// short cuts what would fill the screen.
func short(s string) string {
	const most = 160
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
