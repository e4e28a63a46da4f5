package syslog

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

type gotFrame struct {
	Txnr uint32
	Cmd  string
	Data string
	Full int
}

// relpAll gives a parser the chunks one after the other, as a session would.
func relpAll(tb testing.TB, limit int, chunks ...[]byte) (out []gotFrame, bad bool) {
	tb.Helper()
	p := relpParser{max: limit}
	var held []byte
	for _, c := range chunks {
		held = append(held, c...)
		for {
			f, n, keep, ok, bad := p.next(held)
			if bad {
				return out, true
			}
			if !ok {
				if n+keep > len(held) {
					tb.Fatalf("next(%q) = n %d, keep %d", held, n, keep)
				}
				held = append([]byte(nil), held[n:n+keep]...)
				if len(held) > limit+maxRELPHeader+1 {
					tb.Fatalf("%d bytes held with a limit of %d", len(held), limit)
				}
				break
			}
			if f.end-f.start > limit || f.end > n || f.cmdEnd-f.cmdStart > maxRELPCommand {
				tb.Fatalf("next(%q) = %+v, n %d", held, f, n)
			}
			out = append(out, gotFrame{f.txnr, string(held[f.cmdStart:f.cmdEnd]), string(held[f.start:f.end]), f.full})
			held = append([]byte(nil), held[n:]...)
		}
	}
	return out, false
}

func TestRELPParser(t *testing.T) {
	const limit = 10
	tests := []struct {
		name, in string
		want     []gotFrame
		bad      bool
	}{
		{"open and message", "1 open 9 a=b\ncommx\n2 syslog 5 <1>ab\n", []gotFrame{{1, "open", "a=b\ncommx", 0}, {2, "syslog", "<1>ab", 0}}, false},
		{"no data", "3 close 0\n4 close 0 \n", []gotFrame{{3, "close", "", 0}, {4, "close", "", 0}}, false},
		{"long", "1 syslog 14 abcdefghijklmn\n2 syslog 1 x\n", []gotFrame{{1, "syslog", "abcdefghij", 14}, {2, "syslog", "x", 0}}, false},
		{"the limit", "1 syslog 10 abcdefghij\n", []gotFrame{{1, "syslog", "abcdefghij", 0}}, false},
		{"newline within", "1 syslog 3 a\nb\n", []gotFrame{{1, "syslog", "a\nb", 0}}, false},
		{"unfinished", "1 syslog 3 ab", nil, false},
		{"largest number", "999999999 x 1 y\n", []gotFrame{{999999999, "x", "y", 0}}, false},
		{"number too long", "1000000000 x 1 y\n", nil, true},
		{"no trailer", "1 syslog 1 xy", nil, true},
		{"no trailer, long", "1 syslog 14 abcdefghijklmnX", nil, true},
		{"no number", "<34>hello\n", nil, true},
		{"no command", "1  1 x\n", nil, true},
		{"command too long", "1 " + strings.Repeat("a", 33), nil, true},
		{"command with digit", "1 a1 1 x\n", nil, true},
		{"no length", "1 syslog x\n", nil, true},
		{"length too large", "1 syslog 99999999 x\n", nil, true},
		{"length without space", "1 syslog 1x", nil, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := []byte(tt.in)
			for i := range len(in) + 1 {
				got, bad := relpAll(t, limit, in[:i], in[i:])
				if !reflect.DeepEqual(got, tt.want) || bad != tt.bad {
					t.Fatalf("split at %d: %+v, bad %v; want %+v, %v", i, got, bad, tt.want, tt.bad)
				}
			}
			var single [][]byte
			for i := range in {
				single = append(single, in[i:i+1])
			}
			if got, bad := relpAll(t, limit, single...); !reflect.DeepEqual(got, tt.want) || bad != tt.bad {
				t.Fatalf("byte by byte: %+v, bad %v", got, bad)
			}
		})
	}
}

func FuzzRELP(f *testing.F) {
	for _, s := range []string{
		"1 open 9 a=b\ncommx\n2 syslog 5 <1>ab\n3 close 0\n", "1 syslog 24 abcdefghijklmnopqrstuvwx\n2 syslog 1 x\n",
		"0 serverclose 0\n", "<34>hello\n", "1 syslog 1 xy",
	} {
		f.Add([]byte(s), uint16(3), uint16(9))
	}
	f.Fuzz(func(t *testing.T, in []byte, i, j uint16) {
		const limit = 16
		a := min(int(i), len(in))
		b := min(max(int(j), a), len(in))
		whole, bad := relpAll(t, limit, in)
		split, splitBad := relpAll(t, limit, in[:a], in[a:b], in[b:])
		if !reflect.DeepEqual(whole, split) || bad != splitBad {
			t.Fatalf("%q: whole %+v %v, split at %d, %d %+v %v", in, whole, bad, a, b, split, splitBad)
		}
		// What was accepted, written again, is read as the same.
		var again []byte
		for _, g := range whole {
			if g.Full != 0 {
				continue
			}
			one := fmt.Appendf(nil, "%d %s %d %s\n", g.Txnr, g.Cmd, len(g.Data), g.Data)
			back, bad := relpAll(t, limit, one)
			if bad || len(back) != 1 || back[0] != g {
				t.Fatalf("%+v written as %q is read as %+v", g, one, back)
			}
			again = append(again, one...)
		}
		if len(again) > len(in)+len(whole) { // "0\n" becomes "0 \n"; leading zeros go
			t.Fatalf("%q was read as more than it holds: %q", in, again)
		}
	})
}
