package store

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"custody/ingest/record"
)

// event makes a realistic row; about one in ten lacks most fields, one in
// seventeen is not UTF-8.
func event(rng *rand.Rand, seq uint64, nonce uint64, counter uint16, received int64) *record.Record {
	r := &record.Record{Kind: record.KindRecord, Seq: seq, Received: received}
	r.ID = MakeID(received, counter, nonce)
	r.SetTime(received-int64(rng.IntN(1e9)), "/ts")
	hex := func(n int) string {
		s := ""
		for len(s) < n {
			s += fmt.Sprintf("%016x", rng.Uint64())
		}
		return s[:n]
	}
	r.Set(record.SourceName, "gateway", "")
	if rng.IntN(10) > 0 {
		r.Set(record.RequesterID, fmt.Sprintf("user%d@example.com", rng.IntN(50)), "/requester")
		r.Set(record.ExecutorID, fmt.Sprintf("agent-%d", rng.IntN(20)), "/agent")
		r.Set(record.ActionTool, []string{"kv", "shell", "deploy"}[rng.IntN(3)], "/tool")
		r.Set(record.ChainTraceID, hex(32), "/trace_id")
		r.Set(record.ChainRequestID, "req-"+hex(16), "/request_id")
		r.Set(record.TargetID, fmt.Sprintf("secret/data/%d/%s", rng.IntN(9), hex(3)), "/target")
		for i := range rng.IntN(3) {
			r.Add(record.AuthorityScopes, fmt.Sprintf("scope:%d", i), "/scopes")
			r.AddDelegation(record.Delegation{Principal: fmt.Sprint("p", i), Scopes: []string{"a", "b"}}, "/act")
		}
	}
	r.SetAbsent("decision", record.NotRecorded)
	raw := fmt.Sprintf(`<14>1 - host app - - - {"requester":%q,"trace_id":%q,"request_id":%q,"n":%d,"tool":%q,"x":"caf\u00e9 é"}`,
		r.Get(record.RequesterID), r.Get(record.ChainTraceID), r.Get(record.ChainRequestID), rng.IntN(1000), r.Get(record.ActionTool))
	if rng.IntN(17) == 0 {
		raw += "\xff\xfe\xff\x00"
	}
	r.Raw = []byte(raw)
	return r
}

func TestBlockRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var key [16]byte
	for _, n := range []int{1, 2, 63, 64, 65, 300, 1024} {
		for _, gaps := range []bool{false, true} {
			enc, err := NewEncoder(key, n%2 == 0)
			if err != nil {
				t.Fatal(err)
			}
			var rows []*record.Record
			seq, recv := uint64(rng.IntN(1e6)), int64(1_760_000_000_000_000_000)
			for i := range n {
				r := event(rng, seq, 12345, uint16(i), recv)
				if gaps && rng.IntN(5) == 0 {
					r.Kind = record.KindGap
					r.ID[15] ^= 1
				}
				rows = append(rows, r)
				seq++
				recv += int64(rng.IntN(1e7)) - 1e6
				if gaps {
					seq += uint64(rng.IntN(3))
				}
				enc.AddIdent([]byte(r.Get(record.ChainTraceID)), i)
			}
			salts := []SaltRun{{Kind: SaltKey, First: 3, Rows: uint32(n), Bytes: make([]byte, 32)}}
			data, err := enc.Encode(nil, "acme", rows, salts)
			if err != nil {
				t.Fatal(err)
			}
			b, err := OpenBlock(data)
			if err != nil {
				t.Fatal(err)
			}
			if err := b.Verify(); err != nil {
				t.Fatal(err)
			}
			if got, err := b.Salts(); err != nil || len(got) != 1 || got[0].First != 3 {
				t.Fatalf("salts %v, %v", got, err)
			}
			var got record.Record
			for i, want := range rows {
				if err := b.Row(i, &got); err != nil {
					t.Fatalf("row %d of %d: %v", i, n, err)
				}
				if g, w := string(got.AppendJSON(nil)), string(want.AppendJSON(nil)); g != w {
					t.Fatalf("row %d of %d:\n got %s\nwant %s", i, n, g, w)
				}
				if k, err := b.FindID(want.ID); err != nil || k != i {
					t.Fatalf("FindID(%d) = %d, %v", i, k, err)
				}
				if b.Candidates(key, []byte(want.Get(record.ChainTraceID)))&(1<<(i/FrameRows)) == 0 {
					t.Fatalf("row %d not in its filter", i)
				}
			}
			if n == 1024 {
				t.Logf("%d bytes a row", len(data)/n)
			}
		}
	}
}

// TestBlockDamage flips every bit position of some bytes: a reader may fail, but
// never crash, and the checksum always notices.
func TestBlockDamage(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	enc, err := NewEncoder([16]byte{}, true)
	if err != nil {
		t.Fatal(err)
	}
	var rows []*record.Record
	for i := range 100 {
		rows = append(rows, event(rng, uint64(i), 1, uint16(i), 1_760_000_000_000_000_000))
	}
	data, err := enc.Encode(nil, "", rows, []SaltRun{{Rows: 100, Bytes: make([]byte, 32)}})
	if err != nil {
		t.Fatal(err)
	}
	read := func(data []byte) {
		b, err := OpenBlock(data)
		if err != nil {
			return
		}
		if b.Verify() == nil {
			t.Fatal("a flipped bit went unnoticed")
		}
		var r record.Record
		for i := range b.Rows() {
			if b.Row(i, &r) != nil {
				return
			}
		}
		_, _ = b.Salts()
	}
	for range 5000 {
		i := rng.IntN(len(data))
		bad := append([]byte(nil), data...)
		bad[i] ^= 1 << rng.IntN(8)
		read(bad)
	}
	for range 300 {
		read(data[:rng.IntN(len(data))])
	}
}
