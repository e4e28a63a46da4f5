package syslog

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

type got struct {
	Raw    string
	Full   int
	Defect string
}

// frameAll gives a framer the chunks one after the other, as a connection would.
func frameAll(tb testing.TB, limit int, end ending, chunks ...[]byte) []got {
	tb.Helper()
	fr := framer{max: limit}
	var held []byte
	var out []got
	step := func(end ending) {
		for {
			f, n, keep, ok := fr.next(held, end)
			if !ok {
				if n < 0 || n+keep > len(held) {
					tb.Fatalf("next(%q) = n %d, keep %d", held, n, keep)
				}
				held = append([]byte(nil), held[n:n+keep]...)
				if len(held) > limit+maxOctetHeader {
					tb.Fatalf("%d bytes held with a limit of %d", len(held), limit)
				}
				return
			}
			if f.start < 0 || f.start > f.end || f.end > n || n > len(held) {
				tb.Fatalf("next(%q) = %+v, n %d", held, f, n)
			}
			if f.end-f.start > limit {
				tb.Fatalf("message of %d bytes with a limit of %d", f.end-f.start, limit)
			}
			out = append(out, got{string(held[f.start:f.end]), f.full, f.defect})
			held = append([]byte(nil), held[n:]...)
		}
	}
	for _, c := range chunks {
		held = append(held, c...)
		step(endNot)
	}
	step(end)
	if len(held) != 0 {
		tb.Fatalf("%q left at the end", held)
	}
	return out
}

func TestFramer(t *testing.T) {
	const limit = 20
	long := strings.Repeat("x", 30)
	tests := []struct {
		name string
		in   string
		end  ending
		want []got
	}{
		{"nothing", "", endClosed, nil},
		{"newline", "<34>a\n<34>b\n", endClosed, []got{{Raw: "<34>a"}, {Raw: "<34>b"}}},
		{"crlf", "<34>a\r\n<34>b\r\n", endClosed, []got{{Raw: "<34>a"}, {Raw: "<34>b"}}},
		{"nul and newline end", "<34>a\n<34>b\x00\n", endClosed, []got{{Raw: "<34>a"}, {Raw: "<34>b"}}},
		{"empty lines", "\n\r\n\n<34>a\n\n\n", endClosed, []got{{Raw: "<34>a"}}},
		{"no final newline", "<34>a\n<34>b", endClosed, []got{{Raw: "<34>a"}, {Raw: "<34>b"}}},
		{"broken off", "<34>a\n<34>b", endBroken, []got{{Raw: "<34>a"}, {Raw: "<34>b", Defect: defectCut}}},
		{"broken between", "<34>a\n", endBroken, []got{{Raw: "<34>a"}}},
		{"nul", "<34>a\x00<34>b\nc\x00<34>d\n\x00", endClosed, []got{{Raw: "<34>a"}, {Raw: "<34>b\nc"}, {Raw: "<34>d"}}},
		{"nul inside newline", "<34>a\n<34>b\x00<34>c\n", endClosed, []got{{Raw: "<34>a"}, {Raw: "<34>b\x00<34>c"}}},
		{"nul in the first line only", "a\x00b\n<34>c\n<34>d\n<34>efghijklm\n", endClosed, []got{{Raw: "a"}, {Raw: "b"}, {Raw: "<34>c"}, {Raw: "<34>d"}, {Raw: "<34>efghijklm"}}},
		{"nul in the first line, short", "a\x00b\n<34>c\n", endClosed, []got{{Raw: "a"}, {Raw: "b"}, {Raw: "<34>c"}}},
		{"nul proven", "a\x00b\x00" + "c\n" + long + "\x00d\x00", endClosed, []got{{Raw: "a"}, {Raw: "b"}, {Raw: "c\n" + long[:18], Full: 32}, {Raw: "d"}}},
		{"long line", "<34>" + long + "\n<34>b\n", endClosed, []got{{Raw: "<34>" + long[:16], Full: 34}, {Raw: "<34>b"}}},
		{"long line with crlf", "<34>" + long + "\r\n<34>b\n", endClosed, []got{{Raw: "<34>" + long[:16], Full: 34}, {Raw: "<34>b"}}},
		{"exactly the limit", long[:limit] + "\n", endClosed, []got{{Raw: long[:limit]}}},
		{"the limit and crlf", long[:limit] + "\r\n", endClosed, []got{{Raw: long[:limit]}}},
		{"mostly terminators", "ab" + strings.Repeat("\r", 40) + "\n", endClosed, []got{{Raw: "ab"}}},
		{"long line unfinished", "<34>" + long, endClosed, []got{{Raw: "<34>" + long[:16], Full: 34}}},
		{"long line broken off", "<34>" + long, endBroken, []got{{Raw: "<34>" + long[:16], Full: 34, Defect: defectCut}}},
		{"octet", "5 <34>a6 <34>bc", endClosed, []got{{Raw: "<34>a"}, {Raw: "<34>bc"}}},
		{"octet with newlines within", "7 <34>a\nb5 <34>c", endClosed, []got{{Raw: "<34>a\nb"}, {Raw: "<34>c"}}},
		{"octet with newlines between", "5 <34>a\n5 <34>b\n", endClosed, []got{{Raw: "<34>a"}, {Raw: "<34>b"}}},
		{"octet without priority later", "5 <34>a2 ab", endClosed, []got{{Raw: "<34>a"}, {Raw: "ab"}}},
		{"octet long", "34 <34>" + long + "5 <34>b", endClosed, []got{{Raw: "<34>" + long[:16], Full: 34}, {Raw: "<34>b"}}},
		{"octet long unfinished", "99 <34>" + long, endClosed, []got{{Raw: "<34>" + long[:16], Full: 99}}},
		{"octet short", "5 <34>a9 <34>b", endClosed, []got{{Raw: "<34>a"}, {Raw: "<34>b", Full: 9, Defect: defectShort}}},
		{"octet cut in its count", "5 <34>a12", endClosed, []got{{Raw: "<34>a"}, {Raw: "12", Defect: defectShort}}},
		{"octet cut after its count", "5 <34>a12 ", endClosed, []got{{Raw: "<34>a"}, {Raw: "12 ", Defect: defectShort}}},
		{"octet broken", "5 <34>abad", endClosed, []got{{Raw: "<34>a"}, {Raw: "bad", Defect: defectFrame}}},
		{"octet zero", "5 <34>a0 ", endClosed, []got{{Raw: "<34>a"}, {Raw: "0 ", Defect: defectFrame}}},
		{"octet absurd", "5 <34>a99999999 x", endClosed, []got{{Raw: "<34>a"}, {Raw: "99999999 x", Defect: defectFrame}}},
		{"digit but newline", "12 apples\n13 pears\n", endClosed, []got{{Raw: "12 apples"}, {Raw: "13 pears"}}},
		{"digits alone", "123", endClosed, []got{{Raw: "123"}}},
		{"digits and space", "123 ", endClosed, []got{{Raw: "123 "}}},
		{"many digits", "12345678901 <\n", endClosed, []got{{Raw: "12345678901 <"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			same := func(how string, out []got) {
				t.Helper()
				if len(out) != len(tt.want) {
					t.Fatalf("%s: got %+v, want %+v", how, out, tt.want)
				}
				for i, w := range tt.want {
					g := out[i]
					if w.Defect == defectFrame { // how much of it is seen depends on the reads
						if g.Defect != w.Defect || !strings.HasPrefix(w.Raw, g.Raw) || g.Raw == "" {
							t.Fatalf("%s: line %d is %+v, want %+v", how, i, g, w)
						}
						continue
					}
					if g != w {
						t.Fatalf("%s: line %d is %+v, want %+v", how, i, g, w)
					}
				}
			}
			in := []byte(tt.in)
			whole := frameAll(t, limit, tt.end, in)
			same("whole", whole)
			if fmt.Sprint(whole) != fmt.Sprint(tt.want) {
				t.Fatalf("whole: got %+v, want %+v", whole, tt.want)
			}
			for i := range len(in) + 1 {
				same(fmt.Sprintf("split at %d", i), frameAll(t, limit, tt.end, in[:i], in[i:]))
			}
			var single [][]byte
			for i := range in {
				single = append(single, in[i:i+1])
			}
			same("byte by byte", frameAll(t, limit, tt.end, single...))
		})
	}
}

func TestFramerClip(t *testing.T) {
	fr := framer{max: 1000}
	in := []byte("<34>" + strings.Repeat("x", 96))
	if _, n, keep, ok := fr.next(in, endNot); n != 0 || keep != 100 || ok {
		t.Fatalf("n %d, keep %d, ok %v", n, keep, ok)
	}
	fr.clip(len(in))
	_, _, keep, ok := fr.next(in, endNot)
	if keep != 40 || ok {
		t.Fatalf("keep %d, ok %v after clip, want 40", keep, ok)
	}
	f, _, _, ok := fr.next(append(in[:keep:keep], "yy\n<34>next\n"...), endNot)
	if !ok || f != (frame{start: 0, end: 40, full: 102}) {
		t.Fatalf("clipped message is %+v", f)
	}
	if fr.keepMax() != 1000 {
		t.Fatal("the clip outlives its message")
	}
}

func FuzzFramer(f *testing.F) {
	for _, s := range []string{"<34>a\n<34>b\n", "5 <34>a6 <34>bc", "a\x00b\nc\n", "40 <34>x\n", "ab\r\r\r\r\r\r\r\r\r\r\n", "5 <34>abad", "a\x00bbbbbbbbbbbbbbbbbbbbbb\n\x00"} {
		for i := range 3 {
			f.Add([]byte(s), uint16(i), uint16(3+i), i == 2)
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, i, j uint16, broken bool) {
		const limit = 16
		end := endClosed
		if broken {
			end = endBroken
		}
		a := min(int(i), len(in))
		b := min(max(int(j), a), len(in))
		whole := frameAll(t, limit, end, in)
		split := frameAll(t, limit, end, in[:a], in[a:b], in[b:])
		if len(whole) != len(split) {
			t.Fatalf("%q: whole %+v, split at %d, %d %+v", in, whole, a, b, split)
		}
		rest := in
		for k, w := range whole {
			s := split[k]
			if w.Defect == defectFrame && s.Defect == defectFrame {
				continue
			}
			if w != s {
				t.Fatalf("%q: line %d whole %+v, split at %d, %d %+v", in, k, w, a, b, s)
			}
			// Every line is there in the input, in order.
			at := bytes.Index(rest, []byte(w.Raw))
			if at < 0 {
				t.Fatalf("%q: line %q is not in the input", in, w.Raw)
			}
			rest = rest[at+len(w.Raw):]
			if w.Full != 0 && w.Full <= len(w.Raw) {
				t.Fatalf("%q: full length %d of %q", in, w.Full, w.Raw)
			}
		}
	})
}
