package web

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"custody/index"
	"custody/ingest/record"
)

func decode(t testing.TB, w *httptest.ResponseRecorder, v any) {
	t.Helper()
	if err := json.Unmarshal(w.Body.Bytes(), v); err != nil {
		t.Fatalf("%v in %.300s", err, w.Body)
	}
}

func manyRecords(n int) []*record.Record {
	out := make([]*record.Record, n)
	for i := range out {
		out[i] = agentRecord(n - i)
	}
	return out
}

type listing struct {
	Records []json.RawMessage
	Next    string `json:"next_cursor"`
}

func TestRecordsPageThroughEverything(t *testing.T) {
	s := newSite(t, newFake(manyRecords(123)...))
	for _, order := range []string{"newest", "oldest"} {
		var seqs []uint64
		cursor := ""
		for {
			w := s.get("/api/v1/records?limit=25&order=" + order + "&cursor=" + url.QueryEscape(cursor))
			var l listing
			decode(t, w, &l)
			for _, raw := range l.Records {
				r, err := record.Parse(raw)
				if err != nil {
					t.Fatal(err)
				}
				seqs = append(seqs, r.Seq)
			}
			if cursor = l.Next; cursor == "" {
				break
			}
			if order == "newest" {
				s.ledger.add(agentRecord(1)) // what arrives meanwhile disturbs nothing
			}
		}
		if order == "newest" && len(seqs) != 123 {
			t.Fatalf("%d records", len(seqs))
		}
		for i := 1; i < len(seqs); i++ {
			if (order == "newest") != (seqs[i] < seqs[i-1]) {
				t.Fatalf("%s: %d after %d", order, seqs[i], seqs[i-1])
			}
		}
	}
}

func TestAPIParameters(t *testing.T) {
	s := newSite(t, newFake(manyRecords(60)...))
	type answer struct {
		Count uint64
		Error errorBody
	}
	for _, c := range []struct {
		query string
		code  int
		want  string // of error.code, or "" and count
		count uint64
	}{
		{"", 200, "", 60},
		{"q=outcome.status:denied", 200, "", 6},
		{"q=action.tool:(kv+OR+kubectl)+-outcome.status:denied", 200, "", 21},
		{"from=now-15m", 200, "", 49},
		{"from=2026-11-23T13:58:00Z&to=2026-11-23T13:59:00Z", 200, "", 4},
		{"from=2026-11-23&to=2026-11-24", 200, "", 60},
		{fmt.Sprintf("from=%d", day.Add(-time.Minute).Unix()), 200, "", 3},
		{fmt.Sprintf("from=%d", day.Add(-time.Minute).UnixMilli()), 200, "", 3},
		{fmt.Sprintf("from=%d", day.Add(-time.Minute).UnixNano()), 200, "", 3},
		{"to=1970-01-01", 200, "", 0},
		{"from=tomorrow", 400, "bad_parameter", 0},
		{"from=now-", 400, "bad_parameter", 0},
		{"from=now-5", 400, "bad_parameter", 0},
		{"from=now--5m", 400, "bad_parameter", 0},
		{"from=now-99999999999999h", 400, "bad_parameter", 0},
		{"to=99999999999999999999999", 400, "bad_parameter", 0},
		{"to=9999-01-01", 400, "bad_parameter", 0},
		{"from=now&to=now-1h", 400, "bad_parameter", 0},
		{"query=outcome.status:denied", 400, "bad_parameter", 0},
		{"q%3doutcome.status:denied", 400, "bad_parameter", 0},
		{"order=sideways", 400, "bad_parameter", 0},
		{"limit=0", 400, "bad_parameter", 0},
		{"limit=1001", 400, "bad_parameter", 0},
		{"q=%zz", 400, "bad_parameter", 0},
		{"q=" + strings.Repeat("a", 9000), 400, "bad_query", 0},
		{"q=requester.id:%22open", 400, "bad_query", 0},
	} {
		w := s.get("/api/v1/count?" + c.query)
		var a answer
		decode(t, w, &a)
		if w.Code != c.code || a.Error.Code != c.want || a.Count != c.count {
			t.Errorf("%.60s: %d %.200s", c.query, w.Code, w.Body)
		}
	}
	var a answer
	decode(t, s.get("/api/v1/records?q=alice+requestr.id:bob"), &a)
	if e := a.Error; e.Position == nil || *e.Position != 6 || e.Length == nil || !strings.HasPrefix(e.Suggestion, "requester.id") {
		t.Fatalf("%+v", a.Error)
	}
	if w := s.get("/api/v1/records?cursor=forged"); w.Code != 400 || !strings.Contains(w.Body.String(), "bad_cursor") {
		t.Fatal(w.Code, w.Body)
	}
}

func TestOneRecord(t *testing.T) {
	f := newFake(manyRecords(3)...)
	s := newSite(t, f)
	type one struct {
		ID, Raw string
		Seq     uint64
		RawHash string `json:"raw_hash"`
		Seal    sealJSON
		Sealed  *struct {
			Requester struct{ ID string }
		}
	}
	var a one
	decode(t, s.get("/api/v1/records/1"), &a)
	if a.Seq != 1 || !a.Seal.Sealed || a.Seal.TreeSize != 3 || len(a.RawHash) != 64 || a.Sealed != nil {
		t.Fatalf("%+v", a)
	}
	var b one
	decode(t, s.get("/api/v1/records/"+a.ID), &b)
	if b.Seq != 1 {
		t.Fatalf("%+v", b)
	}
	// An amended record shows what was sealed, unless something was redacted since.
	orig := agentRecord(2)
	orig.Set(record.RequesterID, "mallory@example.com", "/user")
	orig.Seq = 1
	f.sealed[1] = orig
	a = one{}
	decode(t, s.get("/api/v1/records/1"), &a)
	if a.Sealed == nil || a.Sealed.Requester.ID != "mallory@example.com" {
		t.Fatalf("%+v", a)
	}
	f.recs[1].Unset(record.RequesterID)
	f.recs[1].SetAbsent("requester.id", record.Redacted)
	for _, path := range []string{"/api/v1/records/1", "/records/1"} {
		if w := s.get(path); w.Code != 200 || strings.Contains(w.Body.String(), "mallory") {
			t.Fatalf("%s shows what was redacted", path)
		}
	}
}

func TestFacetsAndHistogram(t *testing.T) {
	s := newSite(t, newFake(manyRecords(60)...))
	var fs struct{ Facets []facetJSON }
	decode(t, s.get("/api/v1/facets?field=outcome.status&field=requester.id&top=2"), &fs)
	if len(fs.Facets) != 2 || fs.Facets[0].Field != "outcome.status" || fs.Facets[1].Absent == 0 || len(fs.Facets[1].Values) != 2 || fs.Facets[1].Other == 0 {
		t.Fatalf("%+v", fs)
	}
	var total uint64
	for _, v := range fs.Facets[0].Values {
		total += v.Count
	}
	if total+fs.Facets[0].Other != 60 {
		t.Fatal(total)
	}
	for _, bad := range []string{"", "field=requestor.id", "field=kind", "field=action.tool&top=0", strings.Repeat("field=id&", 17)} {
		if w := s.get("/api/v1/facets?" + bad); w.Code != 400 {
			t.Errorf("%q: %d", bad, w.Code)
		}
	}
	var h struct {
		Buckets []bucketJSON
		Total   uint64
	}
	decode(t, s.get("/api/v1/histogram?buckets=12"), &h)
	if len(h.Buckets) != 12 || h.Total != 60 || h.Buckets[0].To != h.Buckets[1].From {
		t.Fatalf("%+v", h)
	}
	for _, bad := range []string{"buckets=0", "buckets=1001", "buckets=x"} {
		if w := s.get("/api/v1/histogram?" + bad); w.Code != 400 {
			t.Errorf("%q: %d", bad, w.Code)
		}
	}
}

func TestExports(t *testing.T) {
	f := newFake(manyRecords(2345)...)
	evil := newRecord(0)
	evil.Set(record.RequesterID, "=cmd|'/c calc'!A1", "")
	evil.Set(record.ActionTool, "a\"b\r\nc", "")
	evil.Raw = []byte("\x00\xff\xfe not text")
	f.add(evil)
	s := newSite(t, f)

	w := s.get("/api/v1/records.ndjson?order=oldest")
	sc := bufio.NewScanner(w.Body)
	sc.Buffer(nil, 1<<20)
	n := 0
	for ; sc.Scan(); n++ {
		r, err := record.Parse(sc.Bytes())
		if err != nil || r.Seq != uint64(n) {
			t.Fatal(n, err)
		}
	}
	if n != 2346 {
		t.Fatalf("%d rows", n)
	}
	rows, err := csv.NewReader(s.get("/api/v1/records.csv?column=seq&column=requester.id&column=action.tool").Body).ReadAll()
	if err != nil || len(rows) != 2347 {
		t.Fatal(len(rows), err)
	}
	if got := rows[1]; got[0] != "2345" || got[1] != "'=cmd|'/c calc'!A1" || got[2] != "a\"b\nc" {
		t.Fatalf("%q", got)
	}
	if w := s.get("/api/v1/records.csv?column=nonsense"); w.Code != 400 {
		t.Fatal(w.Code)
	}
	if rows, err = csv.NewReader(s.get("/api/v1/records.csv?limit=7").Body).ReadAll(); err != nil || len(rows) != 8 || len(rows[0]) != len(csvColumns) {
		t.Fatal(len(rows), err)
	}

	w = s.get("/api/v1/records.ocsf?limit=50")
	sc = bufio.NewScanner(w.Body)
	for n = 0; sc.Scan(); n++ {
		var e struct {
			Class    int   `json:"class_uid"`
			Category int   `json:"category_uid"`
			Type     int   `json:"type_uid"`
			Activity int   `json:"activity_id"`
			Time     int64 `json:"time"`
			Metadata struct{ Version, UID string }
			Unmapped struct{ Custody json.RawMessage }
		}
		if err := json.Unmarshal(sc.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		r, err := record.Parse(e.Unmapped.Custody)
		if err != nil {
			t.Fatal(err)
		}
		if e.Class != 6003 || e.Category != 6 || e.Type != 600300+e.Activity || e.Time != r.Time/1e6 || e.Metadata.UID != record.FormatID(r.ID) {
			t.Fatalf("%+v", e)
		}
		if got := f.recs[r.Seq].AppendJSON(nil); string(got) != string(e.Unmapped.Custody) {
			t.Fatalf("custody record changed:\n%s\n%s", got, e.Unmapped.Custody)
		}
	}
	if n != 50 {
		t.Fatal(n)
	}
}

// A failure in the middle must not look like a whole result.
func TestExportBreaksOff(t *testing.T) {
	f := newFake(manyRecords(1500)...)
	s := newSite(t, f)
	srv := httptest.NewServer(s.Handler())
	defer srv.Close()
	// The second page never comes: the first is done, then the ledger fails.
	s.Server.ledger = &failAfter{fakeLedger: f, n: 1}
	req, _ := http.NewRequestWithContext(t.Context(), "GET", srv.URL+"/api/v1/records.ndjson", nil)
	req.Header.Set("Authorization", "Bearer "+s.token)
	res, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	sc := bufio.NewScanner(res.Body)
	n := 0
	for sc.Scan() {
		n++
	}
	if n != 1000 || sc.Err() == nil {
		t.Fatalf("%d rows, error %v", n, sc.Err())
	}
}

type failAfter struct {
	*fakeLedger
	n int
}

func (f *failAfter) Search(ctx context.Context, q index.Request) (index.Page, error) {
	if f.n--; f.n < 0 {
		return index.Page{}, errBroken
	}
	return f.fakeLedger.Search(ctx, q)
}

func TestStatusHealthReadiness(t *testing.T) {
	f := newFake(manyRecords(5)...)
	f.setStatus(func(st *index.Status) { st.LastSealed, st.Root = day, [32]byte{0xff} })
	checkFails := ""
	s := newSite(t, f, func(o *Options) {
		o.Checks = []Check{{Code: "extra", Fail: func() string { return checkFails }}}
	})
	var st struct {
		Events     map[string]uint64
		Checkpoint struct {
			Origin string
			Size   uint64
			Root   string
		}
		Listeners []Listener
		Fault     string
		Disk      map[string]uint64
	}
	decode(t, s.get("/api/v1/status"), &st)
	if st.Events["durable"] != 5 || st.Events["sealed"] != 5 || st.Events["searchable"] != 5 || st.Checkpoint.Size != 5 ||
		st.Checkpoint.Root != "/wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" || len(st.Listeners) != 3 || st.Disk["free_bytes"] != 90<<30 {
		t.Fatalf("%+v", st)
	}
	ready := func() (int, string) {
		w := s.do("GET", "/readyz", nil)
		return w.Code, strings.TrimSpace(w.Body.String())
	}
	if code, body := ready(); code != 200 || body != `{"ready":true,"reasons":[]}` {
		t.Fatal(code, body)
	}
	for _, c := range []struct {
		reason string
		change func(*index.Status)
	}{
		{"store", func(st *index.Status) { st.Fault = "no space left in /srv/secret-path" }},
		{"disk", func(st *index.Status) { st.Free = 1 << 20 }},
		{"seal_lag", func(st *index.Status) { st.Sealed = 4 }}, // last sealed a minute ago
		{"index_lag", func(st *index.Status) { st.Durable, st.Sealed = 2_000_000, 2_000_000 }},
	} {
		was := f.Status()
		f.setStatus(c.change)
		if code, body := ready(); code != 503 || body != `{"ready":false,"reasons":["`+c.reason+`"]}` {
			t.Errorf("%s: %d %s", c.reason, code, body)
		}
		f.setStatus(func(st *index.Status) { *st = was })
	}
	checkFails = "very secret"
	if code, body := ready(); code != 503 || body != `{"ready":false,"reasons":["extra"]}` {
		t.Fatal(code, body)
	}
	if w := s.do("GET", "/healthz", nil); w.Code != 200 {
		t.Fatal(w.Code)
	}
}

func TestLogFiles(t *testing.T) {
	s := newSite(t, newFake())
	for path, code := range map[string]int{
		"checkpoint": 200, "tile/0/000": 200, "tile/entries/x001/234.p/17": 200, "tile/0/001": 404,
		"tile/0/../../keys": 404, "..%2f..%2fkeys%2fsigning": 404, "tile/0/000/": 404, "tile/0/0000": 404, "tile/999/000": 404,
		"tile/0/x00/000": 404, "keys/signing": 404, "tile/0/000.p/9999": 404, "tile//000": 404,
	} {
		w := s.get("/log/" + path)
		// The router cleans ".." away by a redirect that leads out of /log.
		if w.Code == http.StatusMovedPermanently || w.Code == http.StatusTemporaryRedirect {
			if code != 404 {
				t.Errorf("%s: redirected", path)
			}
			continue
		}
		if w.Code != code {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	open := newSite(t, newFake(), func(o *Options) {
		o.OpenLog, o.OpenMetrics = true, true
		o.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "custody_up 1") })
	})
	for _, path := range []string{"/log/checkpoint", "/metrics"} {
		if w := open.do("GET", path, nil); w.Code != 200 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	if w := open.do("GET", "/api/v1/status", nil); w.Code != 401 {
		t.Error(w.Code)
	}
}

func TestFailuresSayNothing(t *testing.T) {
	f := newFake(manyRecords(2)...)
	f.err = errBroken
	s := newSite(t, f)
	for _, path := range []string{"/api/v1/records", "/api/v1/count", "/api/v1/facets?field=risk", "/api/v1/histogram", "/api/v1/records.csv", "/?q=a", "/ui/overview"} {
		w := s.get(path)
		if w.Code != 500 || strings.Contains(w.Body.String(), "fire") {
			t.Errorf("%s: %d %.200s", path, w.Code, w.Body)
		}
	}
	slow := newFake(manyRecords(2)...)
	slow.slow = true
	s = newSite(t, slow, func(o *Options) { o.Timeout = time.Millisecond })
	if w := s.get("/api/v1/count"); w.Code != 504 {
		t.Error(w.Code)
	}
}

func TestRates(t *testing.T) {
	var m rateMeter
	at := day
	src := []index.SourceStatus{{Name: "a", Lines: 100}}
	if r := m.sample(at, src); r[0] != -1 {
		t.Fatal(r)
	}
	at, src[0].Lines = at.Add(2*time.Second), 300
	if r := m.sample(at, src); r[0] != 100 {
		t.Fatal(r)
	}
	for range 60 {
		at = at.Add(time.Second)
		m.sample(at, src)
	}
	if r := m.sample(at, src); r[0] != 0 {
		t.Fatalf("still %v a minute after the last line", r)
	}
	src[0].Lines = 5 // a restart counts anew
	if r := m.sample(at.Add(time.Second), src); r[0] != -1 {
		t.Fatal(r)
	}
}
