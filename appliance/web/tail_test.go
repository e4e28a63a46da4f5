package web

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"custody/ingest/record"
)

func TestTail(t *testing.T) {
	f := newFake(manyRecords(3)...)
	s := newSite(t, f)
	srv := httptest.NewServer(s.Handler())
	defer srv.Close()
	ctx, cancel := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, "GET", srv.URL+"/api/v1/tail?q=action.tool:kv", nil)
	req.Header.Set("Authorization", "Bearer "+s.token)
	res, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if ct := res.Header.Get("Content-Type"); !strings.HasPrefix(ct, "text/event-stream") {
		t.Fatal(ct)
	}
	select {
	case from := <-f.tailed:
		if from != 3 {
			t.Fatal("begins at", from)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the tail has not begun")
	}
	go f.add(agentRecord(1), agentRecord(5), agentRecord(10))
	var got []string
	sc := bufio.NewScanner(res.Body)
	for len(got) < 2 && sc.Scan() {
		if d, ok := strings.CutPrefix(sc.Text(), "data: "); ok {
			r, err := record.Parse([]byte(d))
			if err != nil || r.Get(record.ActionTool) != "kv" {
				t.Fatal(err, d)
			}
			got = append(got, d)
		}
	}
	if len(got) != 2 {
		t.Fatal(len(got), sc.Err())
	}
	// The stream's slot is free again when the reader goes.
	cancel()
	for i := 0; i < cap(s.streams); i++ {
		s.streams <- struct{}{}
	}
	if w := s.get("/api/v1/tail"); w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Fatal("no bound on streams:", w.Code)
	}
}

// tailReader is a client of the tail as an EventSource is one: it keeps the id.
type tailReader struct {
	t    *testing.T
	s    *site
	srv  *httptest.Server
	last string   // id
	seqs []uint64 // of the records, as they came
}

// read connects and reads until stop says so, then cuts the connection.
func (c *tailReader) read(query string, stop func() bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 30*time.Second)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, "GET", c.srv.URL+"/api/v1/tail?"+query, nil)
	req.Header.Set("Authorization", "Bearer "+c.s.token)
	if c.last != "" {
		req.Header.Set("Last-Event-ID", c.last)
	}
	res, err := c.srv.Client().Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	sc := bufio.NewScanner(res.Body)
	sc.Buffer(nil, 1<<20)
	var id, name string
	for sc.Scan() {
		field, v, _ := strings.Cut(sc.Text(), ": ")
		switch field {
		case "event":
			name = v
		case "id":
			id = v
		case "data":
			if name != "record" {
				c.t.Fatalf("%s: %s", name, v)
			}
			n, err := strconv.ParseUint(id, 10, 64)
			if err != nil {
				c.t.Fatal(err)
			}
			c.seqs = append(c.seqs, n)
		case "": // the event is whole, or a comment
			if v != "" {
				continue
			}
			c.last = id
			if stop() {
				return
			}
		}
	}
	c.t.Fatal(sc.Err(), "after", len(c.seqs), "records, id", c.last)
}

// A reader whose connection breaks again and again sees each row once, in order:
// those it missed, more than a queue holds, and those to come.
func TestTailResumes(t *testing.T) {
	f := newFake(manyRecords(10)...)
	s := newSite(t, f)
	srv := httptest.NewServer(s.Handler())
	defer srv.Close()
	c := &tailReader{t: t, s: s, srv: srv}
	c.read("", func() bool { return true }) // broken before any row
	if c.last != "9" {
		t.Fatalf("first id %q", c.last)
	}
	f.add(manyRecords(4 * tailItems)...)
	cut := 0
	c.read("", func() bool { cut++; return cut == 3 })
	c.read("", func() bool { cut++; return cut == tailItems+100 })
	c.read("", func() bool { return len(c.seqs) == 4*tailItems-1 })
	f.add(manyRecords(3)...)
	c.read("", func() bool { return len(c.seqs) == 4*tailItems+3 })
	for i, n := range c.seqs {
		if n != uint64(10+i) {
			t.Fatalf("row %d has seq %d", i, n)
		}
	}
}

func TestTailBegins(t *testing.T) {
	f := newFake(manyRecords(6)...)
	s := newSite(t, f)
	srv := httptest.NewServer(s.Handler())
	defer srv.Close()
	for _, c := range []struct {
		query, last string
		want        []uint64
	}{
		{"after=start", "", []uint64{0, 1, 2, 3, 4, 5}},
		{"after=3", "", []uint64{4, 5}},
		{"after=" + record.FormatID(f.recs[2].ID), "", []uint64{3, 4, 5}},
		{"", record.FormatID(f.recs[4].ID), []uint64{5}},
		{"after=0", "4", []uint64{5}}, // the header is the newer
		{"after=18446744073709551615", "", nil},
		{"after=70", "", nil}, // of another ledger: the end
	} {
		r := &tailReader{t: t, s: s, srv: srv, last: c.last}
		if c.want != nil {
			r.read(c.query, func() bool { return len(r.seqs) == len(c.want) })
		} else {
			// A row that is new comes, and no other.
			seq := uint64(len(f.recs))
			for len(f.tailed) > 0 {
				<-f.tailed // of the cases before
			}
			go func() {
				<-f.tailed // what is there when the tail begins is not new
				f.add(agentRecord(40))
			}()
			r.read(c.query, func() bool { return len(r.seqs) == 1 })
			c.want = []uint64{seq}
		}
		if !slices.Equal(r.seqs, c.want) {
			t.Errorf("%q %q: %d", c.query, c.last, r.seqs)
		}
	}
	for bad, code := range map[string]int{"-1": 400, "x": 400, "99999999999999999999": 400, record.FormatID([16]byte{9}): 404} {
		for _, w := range []*httptest.ResponseRecorder{s.get("/api/v1/tail?after=" + bad), s.do("GET", "/api/v1/tail", nil, "Authorization", "Bearer "+s.token, "Last-Event-ID", bad)} {
			if w.Code != code {
				t.Errorf("%s: %d %s", bad, w.Code, w.Body)
			}
		}
	}
	// An empty ledger: what comes after nothing is everything.
	f = newFake()
	s = newSite(t, f)
	srv2 := httptest.NewServer(s.Handler())
	defer srv2.Close()
	r := &tailReader{t: t, s: s, srv: srv2}
	r.read("", func() bool { return true })
	f.add(agentRecord(1))
	r.read("", func() bool { return len(r.seqs) == 1 })
	if r.last != "0" {
		t.Error(r.last)
	}
}

// What ends late ends by the machine's clock, also where the records' clock is
// long behind.
func TestStreamsOutliveTheClock(t *testing.T) {
	f := newFake(manyRecords(5)...)
	s := newSite(t, f)
	s.now = time.Unix(1e9, 0)
	srv := httptest.NewServer(s.AdminHandler())
	defer srv.Close()
	for _, path := range []string{"/api/v1/records.ndjson", "/api/v1/tail"} {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		req, _ := http.NewRequestWithContext(ctx, "GET", srv.URL+path, nil)
		res, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(res.Body).ReadString('\n'); err != nil {
			t.Errorf("%s: %q, %v", path, line, err)
		}
		res.Body.Close()
		cancel()
	}
}

func TestTailQueueIsBounded(t *testing.T) {
	q := newTailQueue(0, 0, 0)
	q.reach(0)
	for i := range uint64(3 * tailItems) {
		q.put(tailItem{seq: i, data: make([]byte, 100)})
	}
	got := q.take()
	if len(got.items) != tailItems || got.skipped != 2*tailItems || got.items[0].seq != 2*tailItems || got.next != 3*tailItems {
		t.Fatal(len(got.items), got.skipped, got.next)
	}
	for i := range uint64(100) {
		q.put(tailItem{seq: i, data: make([]byte, 1<<20)})
	}
	if items := q.take().items; len(items) > 4 || items[len(items)-1].seq != 99 {
		t.Fatal(len(items))
	}
	// What the reader missed is never pushed out: it has to wait.
	q = newTailQueue(0, 0, 0)
	n := uint64(0)
	for ; !q.full(); n++ {
		q.put(tailItem{seq: n, data: make([]byte, 100)})
	}
	if got := q.take(); uint64(len(got.items)) != n || got.skipped != 0 || q.full() {
		t.Fatal(len(got.items), got.skipped)
	}
	// Of what it missed 25 are admitted, and of what is new 10 in each pace.
	q = newTailQueue(0, 10, 25)
	admitted := 0
	for i := range uint64(40) {
		if q.admit(i) {
			admitted++
			q.put(tailItem{seq: i})
		}
	}
	select {
	case <-q.ready:
		t.Fatal("what was missed is not taken in one piece")
	default:
	}
	q.reach(40)
	<-q.ready
	if got := q.take(); admitted != 25 || got.skipped != 15 || got.next != 40 {
		t.Fatal(admitted, got.skipped, got.next)
	}
	admitted = 0
	for i := range uint64(25) {
		if q.admit(40 + i) {
			admitted++
		}
	}
	if got := q.take(); admitted != 10 || got.skipped != 15 || got.next != 65 || !q.admit(65) {
		t.Fatal(admitted, got.skipped, got.next)
	}
}
