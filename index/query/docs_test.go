package query

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"custody/ingest/record"
)

// vectors reads the tables of docs/query-language.md by their headings, and its records.
func vectors(t *testing.T) (tables map[string][][]string, records []*record.Record) {
	t.Helper()
	text, err := os.ReadFile("../../docs/query-language.md")
	if err != nil {
		t.Fatal(err)
	}
	tables = map[string][][]string{}
	heading, inRecords := "", false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case line == "```ndjson":
			inRecords = true
		case line == "```":
			inRecords = false
		case inRecords:
			r, err := record.Parse([]byte(line))
			if err != nil {
				t.Fatal(err)
			}
			if got := string(r.AppendJSON(nil)); got != line {
				t.Errorf("a record is not canonical:\n%s\n%s", line, got)
			}
			records = append(records, r)
		case strings.HasPrefix(line, "### "):
			heading = line[4:]
		case strings.HasPrefix(line, "| `"):
			var cells []string
			for cell := range strings.SplitSeq(strings.Trim(line, "|"), " | ") {
				cells = append(cells, strings.Trim(strings.TrimSpace(cell), "`"))
			}
			tables[heading] = append(tables[heading], cells)
		}
	}
	return tables, records
}

func TestVectorsOfTheDocumentation(t *testing.T) {
	tables, records := vectors(t)
	for heading, least := range map[string]int{"Matches": 70, "Canonical forms": 10, "Errors": 10, "Keys": 10} {
		if len(tables[heading]) < least {
			t.Fatalf("only %d rows under %q", len(tables[heading]), heading)
		}
	}
	for _, row := range tables["Matches"] {
		q, err := ParseAt(row[0], now)
		got := ""
		if err != nil {
			got = "error"
		} else {
			for _, r := range records {
				if q.Match(r, nil) {
					got += fmt.Sprintf(" %d", r.Seq)
				}
			}
		}
		if got = strings.TrimSpace(got); got != row[1] {
			t.Errorf("%s: %q, want %q (%v)", row[0], got, row[1], err)
		}
	}
	for _, row := range tables["Canonical forms"] {
		if got := mustParse(t, row[0]).String(); got != row[1] {
			t.Errorf("%s: canonical form %s, want %s", row[0], got, row[1])
		}
	}
	for _, row := range tables["Errors"] {
		_, err := ParseAt(row[0], now)
		e, ok := errors.AsType[*Error](err)
		if !ok {
			t.Errorf("%s: no error", row[0])
			continue
		}
		if got := []string{row[0], fmt.Sprint(e.Pos), fmt.Sprint(e.Len), e.Suggestion}; fmt.Sprint(got) != fmt.Sprint(row) {
			t.Errorf("error %q, want %q", got, row)
		}
	}
	names := map[Op]string{All: "All", None: "None", Term: "Term", Ident: "Ident", TermRange: "TermRange", And: "And", Or: "Or", Time: "Time"}
	for _, row := range tables["Keys"] {
		p := mustParse(t, row[0]).Lower()
		op, key := names[p.Op], string(p.Key)
		if p.Op == Or { // of terms, in this table
			op, key = "Or of Terms", ""
			for i, k := range p.Kids {
				if k.Op != Term {
					t.Errorf("%s: %s in the Or", row[0], names[k.Op])
				}
				if key += string(k.Key); i+1 < len(p.Kids) {
					key += "`, `"
				}
			}
		}
		if op != row[1] || key != row[2] {
			t.Errorf("%s: plan %s %q, want %s %q", row[0], op, key, row[1], row[2])
		}
	}
}
