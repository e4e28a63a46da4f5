package main

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	const pass = `{"Action":"pass","Package":"p","Test":"A"}` + "\n"
	const skip = `{"Action":"output","Package":"p","Test":"B","Output":"no tool\n"}` + "\n" + `{"Action":"skip","Package":"p","Test":"B"}` + "\n"
	const fail = `{"Action":"output","Package":"p","Test":"C","Output":"boom\n"}` + "\n" + `{"Action":"fail","Package":"p","Test":"C"}` + "\n"
	const line = `{"Action":"output","Package":"p","Output":"ok  \tp\t1s\n"}` + "\n"
	cases := []struct{ name, log, list, err, out string }{
		{"all pass", pass + line, "", "", "ok  \tp\t1s"},
		{"a skip", pass + skip, "", "p B\nno tool", ""},
		{"an allowed skip", pass + skip, "p B # needs a tool\n", "", ""},
		{"a comment allows nothing", pass + skip, "# p B\n", "1 tests were skipped", ""},
		{"a failure", pass + fail, "", "1 failed: p C", "boom"},
		{"nothing", "", "", "no test ran", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			err := report(strings.NewReader(c.log), allowed(c.list), &out)
			if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
			if !strings.Contains(out.String(), c.out) {
				t.Errorf("printed %q, want %q in it", out.String(), c.out)
			}
		})
	}
}
