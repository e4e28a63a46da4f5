package query

import "testing"

// FuzzParse: no input panics; an error points inside the input; what is accepted
// has a canonical form that parses to itself, and evaluates without harm.
func FuzzParse(f *testing.F) {
	for _, g := range table {
		for _, line := range g.rows {
			f.Add(line[0])
		}
	}
	for _, w := range wrong {
		if len(w.query) < 200 {
			f.Add(w.query)
		}
	}
	rows := corpus(f)
	f.Fuzz(func(t *testing.T, s string) {
		q, err := ParseAt(s, now)
		if err != nil {
			checkError(t, s, err)
			return
		}
		for _, name := range []string{"vault", "mcp", "bad"} {
			checkConsistent(t, q, rows[name])
		}
		q.Fields()
		q.HighlightWords()
	})
}
