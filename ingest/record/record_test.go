package record

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// full is a record with a value in every field.
func full() *Record {
	r := &Record{Seq: 48211, Kind: KindGap, Received: 1_795_442_527_131_044_180, Raw: []byte(`{"a":"b"}`)}
	r.ID, _ = ParseID("01934c1e-7b2a-7cc3-9a55-0d5e5f1a2b3c")
	r.SetTime(1_795_442_527_114_512_000, "/time")
	for f := range NumFields {
		switch info := f.Info(); {
		case f <= Received || f == Raw || f == Absence || f == Provenance:
		case f == Delegations:
			r.AddDelegation(Delegation{Principal: "alice@example.com", Scopes: []string{"a", "b"}, Expires: "2026-11-23T14:30:00Z"}, "/act")
		case f == Links:
			r.AddLink(Link{To: 7, Relation: "uses_credential", Method: "credential", Candidates: []uint64{1, 2}})
		case info.Kind == List:
			r.Add(f, "one "+info.Name, "/"+info.Name)
			r.Add(f, "two \"<>&\u2028é\n", "/"+info.Name)
		case info.Kind == Number:
			r.Set(f, "42", "/n")
		case info.Kind == Instant:
			r.Set(f, "2026-11-23T14:30:00.5Z", "/t")
		default:
			r.Set(f, "value of "+info.Name, "/"+info.Name)
		}
	}
	r.SetAbsent("requester", NotRecorded)
	return r
}

func TestEveryFieldRoundTrips(t *testing.T) {
	r := full()
	text := string(r.AppendJSON(nil))
	p, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(p.AppendJSON(nil)); got != text {
		t.Errorf("got  %s\nwant %s", got, text)
	}
	for f := range NumFields {
		if f == Absence {
			continue
		}
		if !strings.Contains(text, `"`+f.String()[strings.LastIndexByte(f.String(), '.')+1:]+`":`) {
			t.Errorf("%s is not in the JSON", f)
		}
		path, ok := Lookup(f.String())
		if !ok || path.Field != f {
			t.Errorf("Lookup(%s) = %v", f, path)
		}
		if a, b := r.Values(path, nil), p.Values(path, nil); len(a) == 0 || strings.Join(a, "|") != strings.Join(b, "|") {
			t.Errorf("%s: %q and %q", f, a, b)
		}
		if a, b := r.Prov(f), p.Prov(f); a != b {
			t.Errorf("%s: provenance %q and %q", f, a, b)
		}
	}
	if NumFields%SlotGroup != 0 {
		t.Errorf("%d fields do not fill their groups", NumFields)
	}
}

func TestRawThatIsNoText(t *testing.T) {
	r := &Record{Kind: KindRecord, Raw: []byte("a\xff\x00b")}
	p, err := Parse(r.AppendJSON(nil))
	if err != nil || string(p.Raw) != string(r.Raw) {
		t.Fatalf("%q, %v", p.Raw, err)
	}
}

func TestReset(t *testing.T) {
	r := full()
	r.Reset()
	if got := string(r.AppendJSON(nil)); got != `{"seq":0}` {
		t.Errorf("after Reset: %s", got)
	}
}

// TestStoredProvenance: a record from a store answers like the one that was stored.
func TestStoredProvenance(t *testing.T) {
	r := full()
	want := r.ProvenanceJSON()
	s := full()
	new(Provenances).Freeze(s)
	if s.Prov(RequesterID) != "/requester.id" || s.Prov(Time) != "/time" || s.ProvenanceJSON() != want {
		t.Errorf("frozen: %q", s.Prov(RequesterID))
	}
	s.OpenProvenance()
	s.Set(RequesterID, "bob", "seq:9")
	if got := s.ProvenanceJSON(); got != strings.Replace(want, `"/requester.id"`, `"seq:9"`, 1) {
		t.Errorf("changed: %s", got)
	}
}

func TestMessageIsAView(t *testing.T) {
	r := &Record{Kind: KindRecord, Raw: []byte("<13>host app: the message")}
	r.Set(MessageOffset, "14", "")
	if got := r.Get(Message); got != "the message" {
		t.Errorf("message %q", got)
	}
	r.Set(Message, "other", "/msg")
	if got := r.MessageText(); got != "other" {
		t.Errorf("message %q", got)
	}
}

func TestSuggest(t *testing.T) {
	for slip, want := range map[string]string{"requster.id": "requester.id", "tool": "action.tool", "outcome.statsu": "outcome.status", "zzzzzz": ""} {
		if got := Suggest(slip); got != want {
			t.Errorf("Suggest(%s) = %q, want %q", slip, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(string(full().AppendJSON(nil)))
	f.Add(`{"seq":1,"raw_base64":"/w=="}`)
	f.Add(`{"links":[{"to":1}],"absence":{"a":"b"}}`)
	f.Fuzz(func(t *testing.T, s string) {
		r, err := Parse([]byte(s))
		if err != nil {
			return
		}
		once := string(r.AppendJSON(nil))
		again, err := Parse([]byte(once))
		if err != nil {
			t.Fatalf("%s: %v", once, err)
		}
		if got := string(again.AppendJSON(nil)); got != once {
			t.Errorf("%s\nbecomes %s", once, got)
		}
	})
}

// What one record leaves in the memory never shows in another.
func TestProvenancesRemember(t *testing.T) {
	var c Provenances
	rng := rand.New(rand.NewPCG(5, 6))
	fields := []Field{RequesterID, ExecutorID, ActionTool, TargetID}
	for i := range 500 {
		var r, want Record
		for _, x := range []*Record{&r, &want} {
			rng := rand.New(rand.NewPCG(uint64(i/3), 1)) // three in a row are alike
			for _, f := range fields {
				if rng.IntN(2) == 0 {
					x.Set(f, "v", []string{"", "/a", "/b"}[rng.IntN(3)])
				}
			}
			for range rng.IntN(3) {
				x.Add(AuthorityScopes, "s", []string{"", "/s", "/t"}[rng.IntN(3)])
			}
			x.SetTime(1, []string{"", "/ts"}[rng.IntN(2)])
		}
		if rng.IntN(4) == 0 {
			r.Set(SourceHost, "h", "header:HOSTNAME")
			want.Set(SourceHost, "h", "header:HOSTNAME")
		}
		c.Freeze(&r)
		if got, w := r.ProvenanceJSON(), want.ProvenanceJSON(); got != w {
			t.Fatalf("record %d: %s, want %s", i, got, w)
		}
	}
}
