package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"custody/ingest/record"

	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the test vectors anew")

// reference computes an entry straight from docs/leaf.md, sharing no code with
// the package.
func reference(r *record.Record, seed Seed) []byte {
	block, err := aes.NewCipher(seed[:16])
	if err != nil {
		panic(err)
	}
	ctr := cipher.NewCTR(block, seed[16:])
	salt := func() string {
		var s [16]byte
		ctr.XORKeyStream(s[:], s[:])
		return string(s[:])
	}
	be := func(n int, v uint64) string {
		var b [8]byte
		binary.BigEndian.PutUint64(b[:], v)
		return string(b[8-n:])
	}
	h := func(parts ...string) string {
		s := sha256.Sum256([]byte(strings.Join(parts, "")))
		return string(s[:])
	}
	scalars := map[record.Field]string{}
	r.Scalars(func(f record.Field, v, _ string) bool { scalars[f] = v; return true })
	if r.ID != [16]byte{} {
		scalars[record.ID] = string(r.ID[:])
	}
	if r.Time != 0 {
		scalars[record.Time] = be(8, uint64(r.Time))
	}
	if r.Received != 0 {
		scalars[record.Received] = be(8, uint64(r.Received))
	}
	scalars[record.Absence] = r.AbsenceJSON()
	scalars[record.Provenance] = r.ProvenanceJSON()
	elements := func(f record.Field) []string {
		if f == record.Raw {
			var out []string
			for raw := string(r.Raw); raw != ""; {
				n := min(64, len(raw))
				out, raw = append(out, raw[:n]), raw[n:]
			}
			return out
		}
		return r.List(f)
	}
	root := "custody/record/v1"
	for g := range int(record.NumFields) / 8 {
		any := false
		for f := record.Field(g * 8); f < record.Field(g*8+8); f++ {
			any = any || scalars[f] != "" || len(elements(f)) > 0
		}
		if !any {
			root += h("custody/group/v1", be(2, uint64(g)), "\x00", salt())
			continue
		}
		group := "custody/group/v1" + be(2, uint64(g)) + "\x01"
		for f := record.Field(g * 8); f < record.Field(g*8+8); f++ {
			if list := elements(f); len(list) > 0 {
				log := 0
				for 1<<log < len(list) {
					log++
				}
				pre := "custody/list/v1" + be(2, uint64(f)) + be(1, uint64(log))
				for i := range 1 << log {
					p, v := "\x00", ""
					if i < len(list) {
						p, v = "\x01", list[i]
					}
					pre += h("custody/element/v1", salt(), be(2, uint64(f)), be(4, uint64(i)), p, be(4, uint64(len(v))), v)
				}
				group += h(pre)
				continue
			}
			p := "\x00"
			if scalars[f] != "" {
				p = "\x01"
			}
			group += h("custody/slot/v1", salt(), be(2, uint64(f)), p, be(4, uint64(len(scalars[f]))), scalars[f])
		}
		root += h(group)
	}
	return []byte("ct" + be(1, uint64(r.Kind)) + be(2, 2) + be(1, uint64(record.NumFields)/8) +
		be(8, uint64(r.Received)) + h(root))
}

func testSeed(n int) Seed {
	key := FrameKey(sha256.Sum256([]byte("test")))
	return RowSeed(&key, n)
}

// typical is a record as a decoder leaves it: 28 fields and a line of 860 bytes.
func typical() *record.Record {
	r := &record.Record{Kind: record.KindRecord, Time: 1764856927114512000, Received: 1764856927131044180}
	copy(r.ID[:], "0123456789abcdef")
	for f, v := range map[record.Field]string{
		record.SourceName: "vault-prod", record.SourceFormat: "vault", record.SourceTransport: "syslog/tls",
		record.SourcePeer: "10.0.0.3", record.SourceDecoder: "vault/1", record.SourceHost: "vault-1",
		record.SourceApp: "vault", record.SourceSeverity: "info", record.MessageOffset: "61",
		record.RequesterType: "person", record.RequesterAssurance: "asserted",
		record.ExecutorType: "agent", record.ExecutorAssurance: "asserted",
	} {
		r.Set(f, v, "")
	}
	for f, v := range map[record.Field]string{
		record.RequesterID: "alice@example.com", record.ExecutorID: "spiffe://example.com/agent/deploy",
		record.ActionOperation: "read", record.ActionTool: "kv", record.ActionService: "vault",
		record.TargetType: "secret", record.TargetID: "secret/data/prod/db", record.OutcomeStatus: "success",
		record.ChainRequestID: "req-5512", record.ChainTraceID: "4bf92f3577b34da6a3ce929d0e0e4736",
		record.ChainSessionID: "s-88",
	} {
		r.Set(f, v, "/request/"+f.String())
	}
	r.Raw = bytes.Repeat([]byte("0123456789 agent line "), 40)[:860]
	return r
}

func entryOf(tb testing.TB, r *record.Record, seed Seed) []byte {
	tb.Helper()
	var c Committer
	var e Entry
	if err := c.Commit(r, &seed, &e); err != nil {
		tb.Fatal(err)
	}
	return e.append(nil)
}

// anyRecord draws a record of any shape.
func anyRecord(t *rapid.T) *record.Record {
	r := &record.Record{Kind: record.Kind(rapid.IntRange(1, 15).Draw(t, "kind"))}
	text := rapid.StringN(1, 40, 200)
	r.Received = rapid.Int64Range(1, 1<<62).Draw(t, "received")
	if rapid.Bool().Draw(t, "times") {
		r.SetTime(rapid.Int64().Draw(t, "time"), "/time")
		copy(r.ID[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
	}
	for range rapid.IntRange(0, 30).Draw(t, "fields") {
		f := record.Field(rapid.IntRange(int(record.Received)+1, int(record.NumFields)-1).Draw(t, "field"))
		v, p := text.Draw(t, "value"), rapid.SampledFrom([]string{"", "/a/b", "sd:x/y"}).Draw(t, "prov")
		switch {
		case f == record.Raw || f == record.Provenance || f == record.Absence:
		case f.IsList():
			r.Add(f, v, p)
		default:
			r.Set(f, v, p)
		}
	}
	if rapid.Bool().Draw(t, "absent") {
		r.SetAbsent("requester", record.NotRecorded)
	}
	r.Raw = rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "raw")
	return r
}

func TestCommitMatchesReference(t *testing.T) {
	var c Committer // one for all, so that reuse is tested
	rapid.Check(t, func(t *rapid.T) {
		r, seed := anyRecord(t), testSeed(rapid.Int().Draw(t, "row"))
		var e Entry
		if err := c.Commit(r, &seed, &e); err != nil {
			t.Fatal(err)
		}
		if got, want := e.append(nil), reference(r, seed); !bytes.Equal(got, want) {
			t.Fatalf("entry %x, by the document %x", got, want)
		}
		if p, err := ParseEntry(e.append(nil)); err != nil || p != e {
			t.Fatalf("parsed %+v (%v), want %+v", p, err, e)
		}
	})
}

// A commitment depends on every value, on the seed, and not on Seq.
func TestCommitBinds(t *testing.T) {
	base := entryOf(t, typical(), testSeed(1))
	if len(base) != EntrySize {
		t.Fatalf("entry has %d bytes", len(base))
	}
	r := typical()
	r.Seq = 99
	if !bytes.Equal(base, entryOf(t, r, testSeed(1))) {
		t.Error("Seq changes the entry")
	}
	if bytes.Equal(base, entryOf(t, typical(), testSeed(2))) {
		t.Error("the seed does not change the entry")
	}
	for f := record.Received + 1; f < record.NumFields; f++ {
		r := typical()
		switch {
		case f == record.Provenance:
			r.SetTime(r.Time, "/t")
		case f == record.Absence:
			r.SetAbsent("x", record.NotRecorded)
		case f == record.Raw:
			r.Raw[859] ^= 1
		case f.IsList():
			r.Add(f, "x", "")
		default:
			r.Set(f, r.Get(f)+"x", r.Prov(f))
			if f == record.Message {
				r.Set(f, "x", "")
			}
		}
		if bytes.Equal(base, entryOf(t, r, testSeed(1))) {
			t.Errorf("%v does not change the entry", f)
		}
	}
	if r := typical(); true {
		r.Kind = record.KindAmendment
		if bytes.Equal(base, entryOf(t, r, testSeed(1))) {
			t.Error("kind does not change the entry")
		}
	}
}

type vector struct {
	Name    string `json:"name"`
	Seed    string `json:"seed"`
	Record  string `json:"record"` // canonical JSON
	Entry   string `json:"entry"`
	Leaf    string `json:"leaf_hash"`
	Residue string `json:"residue"` // requester.id, raw piece 0 and about[1] withheld, where present
}

func vectorRecords() map[string]string {
	long := strings.Repeat("the quick brown fox ", 20)
	return map[string]string{
		"minimal":   `{"seq":0,"kind":"heartbeat","received":"2026-11-23T14:02:07.131044180Z"}`,
		"typical":   string(typical().AppendJSON(nil)),
		"lists":     `{"id":"01934c1e-7b2a-7cc3-9a55-0d5e5f1a2b3c","seq":7,"kind":"redaction","received":"2026-11-23T14:02:07.131044180Z","findings":["malformed"],"about":["1","2","3"],"attributes":["a","b","c","d","e"],"raw":"x"}`,
		"piece":     fmt.Sprintf(`{"seq":1,"received":"2026-11-23T14:02:07.000000001Z","raw":%q}`, long[:64]),
		"two":       fmt.Sprintf(`{"seq":1,"received":"2026-11-23T14:02:07.000000001Z","raw":%q}`, long[:65]),
		"long":      fmt.Sprintf(`{"seq":1,"received":"2026-11-23T14:02:07.000000001Z","action":{"operation":"read"},"message":%q,"raw":%q}`, long, long),
		"binary":    `{"seq":1,"received":"2026-11-23T14:02:07.000000001Z","raw_base64":"/wD+AA=="}`,
		"unicode":   `{"seq":1,"received":"2026-11-23T14:02:07.000000001Z","requester":{"id":"zoë \"q\" <x>"},"absence":{"executor":"not_recorded"},"provenance":{"requester.id":"/a"},"raw":"ë"}`,
		"delegated": `{"seq":1,"received":"2026-11-23T14:02:07.000000001Z","delegation":[{"principal":"alice"},{"principal":"bob","scopes":["a","b"]}],"links":[{"to":3,"relation":"retry_of","method":"credential"}]}`,
	}
}

func TestVectors(t *testing.T) {
	const path = "testdata/leaf.json"
	if *update {
		var out []vector
		for i, name := range []string{"minimal", "typical", "lists", "piece", "two", "long", "binary", "unicode", "delegated"} {
			seed := testSeed(i)
			r, err := record.Parse([]byte(vectorRecords()[name]))
			if err != nil {
				t.Fatal(err)
			}
			e := entryOf(t, r, seed)
			out = append(out, vector{
				name, hex.EncodeToString(seed[:]), vectorRecords()[name], hex.EncodeToString(e),
				fmt.Sprintf("%x", sha256.Sum256(append([]byte{0}, e...))), hex.EncodeToString(vectorResidue(t, r, seed)),
			})
		}
		b, err := json.MarshalIndent(out, "", "  ")
		if err == nil {
			err = os.WriteFile(path, append(b, '\n'), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(b, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) < 9 {
		t.Fatalf("only %d vectors", len(vectors))
	}
	for _, v := range vectors {
		t.Run(v.Name, func(t *testing.T) {
			r, err := record.Parse([]byte(v.Record))
			if err != nil {
				t.Fatal(err)
			}
			raw, err := hex.DecodeString(v.Seed)
			if err != nil {
				t.Fatal(err)
			}
			seed := Seed(raw)
			e := entryOf(t, r, seed)
			if got := hex.EncodeToString(e); got != v.Entry {
				t.Errorf("entry %s, want %s", got, v.Entry)
			}
			if got := hex.EncodeToString(reference(r, seed)); got != v.Entry {
				t.Errorf("by the document %s, want %s", got, v.Entry)
			}
			if got := fmt.Sprintf("%x", sha256.Sum256(append([]byte{0}, e...))); got != v.Leaf {
				t.Errorf("leaf hash %s, want %s", got, v.Leaf)
			}
			if got := hex.EncodeToString(vectorResidue(t, r, seed)); got != v.Residue {
				t.Errorf("residue %s, want %s", got, v.Residue)
			}
		})
	}
}

func vectorResidue(t *testing.T, r *record.Record, seed Seed) []byte {
	t.Helper()
	var c Committer
	d, err := c.NewResidue(r, &seed)
	if err == nil {
		err = d.Withhold(&c, r, Unit{record.RequesterID, WholeSlot}, Unit{record.Raw, 0}, Unit{record.About, 1})
	}
	if err != nil {
		t.Fatal(err)
	}
	b, _ := d.AppendBinary(nil)
	return b
}

// The slot table of the document is the record's.
func TestDocumentedSlots(t *testing.T) {
	b, err := os.ReadFile("../../docs/leaf.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	_, table, _ := strings.Cut(string(b), "\n## Slots\n")
	for line := range strings.SplitSeq(table, "\n") {
		var n int
		if _, err := fmt.Sscanf(line, "| %d |", &n); err == nil {
			rows = append(rows, line)
		}
	}
	if len(rows) != numSlots {
		t.Fatalf("the document has %d slots, the record %d", len(rows), numSlots)
	}
	for f := range record.NumFields {
		if want := slotRow(f); rows[f] != want {
			t.Errorf("slot %d: the document has %q, want %q", f, rows[f], want)
		}
	}
}

// slotRow is the line of the document's table for a slot.
func slotRow(f record.Field) string {
	form := "UTF-8 text"
	switch f.Info().Kind {
	case record.List:
		form = "list of UTF-8 text"
	case record.Objects:
		form = "list of canonical JSON objects"
	case record.Map:
		form = "canonical JSON object"
	case record.Bytes:
		form = "list of 64-byte pieces"
	case record.Number:
		form = "decimal digits"
	case record.Instant:
		form = "RFC 3339 text"
	}
	switch f {
	case record.ID:
		form = "16 bytes"
	case record.Time, record.Received:
		form = "int64, nanoseconds"
	}
	return fmt.Sprintf("| %d | `%s` | %s |", f, f, form)
}

func TestCommitAllocations(t *testing.T) {
	var c Committer
	var e Entry
	r, seed := typical(), testSeed(1)
	n := testing.AllocsPerRun(100, func() {
		if err := c.Commit(r, &seed, &e); err != nil {
			t.Fatal(err)
		}
	})
	if n > 2 { // the two objects of crypto/aes and crypto/cipher
		t.Errorf("%v allocations a record", n)
	}
}

func BenchmarkCommit(b *testing.B) {
	var c Committer
	var e Entry
	r, seed := typical(), testSeed(1)
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Commit(r, &seed, &e); err != nil {
			b.Fatal(err)
		}
	}
}
