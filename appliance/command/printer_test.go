package command

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestHostileTextStaysText(t *testing.T) {
	hostile := "a\x1b[2J\x1b]0;owned\x07\r\nb\tc\x7f\u009b31m\u202egnp.exe\u200b\xff\U000e0041é"
	var out, errOut strings.Builder
	p := &printer{out: &out, err: &errOut}
	p.line("%s", hostile)
	p.table([][]string{{hostile, "x"}})
	p.warn("%s", hostile)
	p.value(map[string]string{hostile: hostile})
	p.json([]byte("not json " + hostile))
	for _, text := range []string{out.String(), errOut.String()} {
		for _, r := range text {
			if r != '\n' && harmful(r) {
				t.Fatalf("%U reached the terminal in %q", r, text)
			}
		}
	}
	if got := strings.Count(out.String(), "\n"); got != 4 {
		t.Errorf("four results became %d lines: %q", got, out.String())
	}
	want := `a\x1b[2J\x1b]0;owned\x07\r\nb\tc\x7f\x9b31m\u202egnp.exe\u200b\xff\U000e0041é`
	if got, _, _ := strings.Cut(out.String(), "\n"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestJSONKeepsItsValue(t *testing.T) {
	in := map[string]string{"k\u009b": "v\u202e\x7f\u2028\U000e0041 \\u0041 é"}
	var out strings.Builder
	p := &printer{out: &out}
	p.value(in)
	var back map[string]string
	if err := json.Unmarshal([]byte(out.String()), &back); err != nil {
		t.Fatal(err)
	}
	if back["k\u009b"] != in["k\u009b"] || len(back) != 1 {
		t.Errorf("%q became %q", in, back)
	}
}
