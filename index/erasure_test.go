package index

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"custody/index/search"
	"custody/index/store"
	"custody/ingest/record"
)

// erasedRows are the seqs that rows which state an erasure are about.
func (f *fixture) erasedRows() (about []string) {
	f.t.Helper()
	if err := f.l.Scan(f.t.Context(), Request{Query: mustQuery(f.t, "kind:lifecycle"), Order: OldestFirst}, func(r *record.Record) error {
		if slices.Contains(r.List(record.Attributes), "event=erased") {
			about = append(about, r.List(record.About)...)
		}
		return nil
	}); err != nil {
		f.t.Fatal(err)
	}
	return about
}

func (f *fixture) seqOf(q string) uint64 {
	f.t.Helper()
	p, err := f.l.Search(f.t.Context(), Request{Query: mustQuery(f.t, q)})
	if err != nil || len(p.Records) != 1 {
		f.t.Fatalf("%s: %d records, %v", q, len(p.Records), err)
	}
	return p.Records[0].Seq
}

func (f *fixture) allSealed() {
	f.t.Helper()
	eventually(f.t, "sealed", func() bool { return f.l.sealedSize() == f.l.store.Next() })
}

// roll closes the active segment.
func (f *fixture) roll() {
	f.t.Helper()
	if err := f.l.closeActive(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
}

// holdReader opens a snapshot of the segment and keeps it until let go of.
func holdReader(t *testing.T, seg *store.Segment) (letGo func()) {
	t.Helper()
	held, release, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- seg.View(func(*store.Tx) error {
			close(held)
			<-release
			return nil
		})
	}()
	<-held
	return func() {
		close(release)
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestErasedWhenReadersLetGo: as long as somebody reads the old generation its
// bytes are there, and nothing states that they are erased.
func TestErasedWhenReadersLetGo(t *testing.T) {
	for what, order := range map[string]func(*fixture, context.Context) error{
		"redaction": func(f *fixture, ctx context.Context) error {
			_, err := f.l.Redact(ctx, Redaction{Policy: "p", Fields: []record.Field{record.RequesterID}, Query: mustQuery(f.t, "requester.id:user1@example.com")})
			return err
		},
		"expiry": func(f *fixture, ctx context.Context) error {
			_, err := f.l.Expire(ctx, Expiry{Class: "c", Query: mustQuery(f.t, "requester.id:user1@example.com"), Before: time.Now().Add(time.Hour).UnixNano()})
			return err
		},
		"expiry of all": func(f *fixture, ctx context.Context) error {
			_, err := f.l.Expire(ctx, Expiry{Class: "c", Query: mustQuery(f.t, "*"), Before: time.Now().Add(time.Hour).UnixNano()})
			return err
		},
	} {
		t.Run(what, func(t *testing.T) {
			f := newFixture(t, Options{})
			f.roll()
			f.send(event(1), event(2))
			f.allSealed()
			seg := f.l.store.Active()
			generation := seg.Generation
			letGo := holdReader(t, seg)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- order(f, ctx) }()
			eventually(t, "swapped", func() bool {
				now := f.l.segment(seg.ID)
				return now == nil || now.Generation > generation
			})
			if got := f.count("user1"); got != 0 {
				t.Errorf("still found %d times", got)
			}
			if !slices.ContainsFunc(deletedFiles(t, f.dir), func(s string) bool { return strings.HasPrefix(s, "mapped") }) {
				t.Error("the reader holds no erased file: the probe is blind")
			}
			if got := f.erasedRows(); len(got) > 0 {
				t.Errorf("stated as erased while it is read: %v", got)
			}
			select {
			case err := <-done:
				t.Fatalf("did not wait for the reader: %v", err)
			default:
			}
			// Who waited gives up; the erasure goes on.
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled: %v", err)
			}
			letGo()
			eventually(t, "stated as erased", func() bool { return len(f.erasedRows()) == 1 })
			if left := deletedFiles(t, f.dir); len(left) > 0 {
				t.Errorf("stated as erased, but open still: %q", left)
			}
			f.close()
			f.open()
			if got := f.erasedRows(); len(got) != 1 {
				t.Errorf("stated again after a restart: %v", got)
			}
		})
	}
}

// TestErasedWhenOthersLetGo: the same for a process that verifies the packed
// segments beside the server.
func TestErasedWhenOthersLetGo(t *testing.T) {
	f := newFixture(t, Options{})
	f.send(event(1), event(2))
	f.roll()
	eventually(t, "packed", func() bool { return f.l.store.Segments()[0].Generation == 1 })
	for _, hold := range []func() func() error{
		func() func() error {
			other, err := bolt.Open(filepath.Join(f.dir, "segments", "1", "records.db"), 0o600, &bolt.Options{ReadOnly: true})
			if err != nil {
				t.Fatal(err)
			}
			return other.Close
		},
		func() func() error {
			idx, err := search.OpenReadOnly(f.l.store.Segments()[0].SearchDir())
			if err != nil {
				t.Fatal(err)
			}
			return idx.Close
		},
	} {
		generation, stated := f.l.store.Segments()[0].Generation, len(f.erasedRows())
		letGo := hold()
		done := make(chan error, 1)
		field := []record.Field{record.RequesterID, record.ExecutorID}[stated]
		go func() {
			_, err := f.l.Redact(t.Context(), Redaction{Policy: "p", Fields: []record.Field{field}, Query: mustQuery(t, "*")})
			done <- err
		}()
		eventually(t, "swapped", func() bool { return f.l.store.Segments()[0].Generation > generation })
		select {
		case err := <-done:
			t.Fatalf("did not wait: %v", err)
		case <-time.After(200 * time.Millisecond): // nothing tells that it waits; several times as long as it takes when nobody reads
		}
		if got := f.erasedRows(); len(got) != stated {
			t.Errorf("stated as erased while it is read: %v", got)
		}
		if err := errors.Join(letGo(), <-done); err != nil {
			t.Error(err)
		}
		if left := deletedFiles(t, f.dir); len(left) > 0 || len(f.erasedRows()) != stated+1 {
			t.Errorf("stated %v, open still: %q", f.erasedRows(), left)
		}
	}
}

// TestErasureIsResumed: what was ordered and not stated as erased is carried out
// at the next start, whatever of it was done.
func TestErasureIsResumed(t *testing.T) {
	f := newFixture(t, Options{})
	f.send(event(1), event(2), event(3))
	f.roll()
	shell, kv := f.seqOf("action.tool:shell"), f.seqOf("action.tool:kv")
	expiry, err := f.l.State(t.Context(), record.KindExpiry, func(r *record.Record) { r.Add(record.About, fmt.Sprint(shell), "") })
	if err != nil {
		t.Fatal(err)
	}
	redaction, err := f.l.State(t.Context(), record.KindRedaction, func(r *record.Record) {
		r.Add(record.About, fmt.Sprint(kv), "")
		r.Add(record.Attributes, "fields=requester.id", "")
		r.Add(record.Attributes, "slots=requester.id,raw", "")
	})
	if err != nil {
		t.Fatal(err)
	}
	if expiry+1 != redaction {
		t.Fatalf("rows %d and %d", expiry, redaction)
	}
	f.close()
	f.open()
	eventually(t, "stated as erased", func() bool { return len(f.erasedRows()) > 0 })
	if got := f.erasedRows(); len(got) != 1 || got[0] != fmt.Sprintf("%d-%d", expiry, redaction) {
		t.Errorf("stated about %v", got)
	}
	f.close()
	for needle, places := range probe(t, f.dir, "user3@example.com", "req-"+fmt.Sprintf("%08x", 7919)) {
		t.Errorf("%s: %q", needle, places)
	}
	f.open()
	if got := f.count("*"); got != 2 {
		t.Errorf("%d records", got)
	}
}

// amendedSecret is a record whose requester an amendment in another segment
// corrects: each holds the other's value where only a search finds it.
func amendedSecret(f *fixture) (target, amendment uint64) {
	f.t.Helper()
	f.send(event(1), `{"requester":"alice.original@corp.example","tool":"probe","note":"for Mallory Ünü \"M\" and M\u00c1LLORY, Mallory \u00dcn\u00fc \"M\"","who":"TWFsbG9yeSDDnG7DvCAiTSI=","x":"{\"u\":\"Mallory Ünü \\\"M\\\"\"}","id":"zq"}`)
	f.allSealed()
	target = f.seqOf("action.tool:probe")
	f.roll()
	amendment, err := f.l.Amend(f.t.Context(), target, func(r *record.Record) {
		r.Set(record.RequesterID, `Mallory Ünü "M"`, "")
		r.Set(record.RequesterName, "zq", "")
		r.Set(record.ContextPurpose, "was alice.original@corp.example", "")
		r.Set(record.ContextTask, "unrelated", "")
	})
	if err != nil {
		f.t.Fatal(err)
	}
	f.roll()
	return target, amendment
}

// secretForms are all the ways in which the secrets of amendedSecret stand in it.
var secretForms = []string{"alice.original", "Mallory Ünü", `Mallory \u00dcn\u00fc`, "TWFsbG9yeSDDnG7DvCAiTSI", "Mallory", `"zq"`}

var amendedFields = []record.Field{record.RequesterID, record.RequesterName}

func checkAmendedGone(f *fixture, target, amendment uint64) {
	f.t.Helper()
	eff, _, _, err := f.l.Get(f.t.Context(), fmt.Sprint(target))
	if err != nil || eff.Absent("requester.id") != record.Redacted || eff.Absent("requester.name") != record.Redacted {
		f.t.Errorf("the record does not say what was redacted: %s, %v", eff.AppendJSON(nil), err)
	}
	if eff.Get(record.ContextTask) != "unrelated" {
		f.t.Errorf("more than the secret is gone: %s", eff.AppendJSON(nil))
	}
	if a, err := f.l.row(amendment); err != nil || a.Has(record.RequesterID) || a.Has(record.ContextPurpose) || !a.Has(record.ContextTask) {
		f.t.Errorf("amendment %v, %v", a, err)
	}
	f.close()
	for needle, places := range probe(f.t, f.dir, secretForms...) {
		f.t.Errorf("%q: %q", needle, places)
	}
}

// TestRedactAcrossAmendments: a record and its amendments lose a value together.
func TestRedactAcrossAmendments(t *testing.T) {
	f := newFixture(t, Options{})
	target, amendment := amendedSecret(f)
	f.close()
	before := probe(t, f.dir, secretForms...)
	for _, s := range secretForms {
		if len(before[s]) == 0 {
			t.Errorf("the probe does not find %q before it is erased", s)
		}
	}
	f.open()
	n, err := f.l.Redact(t.Context(), Redaction{Policy: "p", Fields: amendedFields, Query: mustQuery(t, "action.tool:probe")})
	if err != nil || n != 1 {
		t.Fatalf("redacted %d, %v", n, err)
	}
	checkAmendedGone(f, target, amendment)
}

// TestRedactAcrossAmendmentsInterrupted: the same, with a crash when only one of
// the two segments was rewritten: nothing shows any more what to look for.
func TestRedactAcrossAmendmentsInterrupted(t *testing.T) {
	for _, first := range []string{"target", "amendment"} {
		t.Run(first, func(t *testing.T) {
			f := newFixture(t, Options{})
			target, amendment := amendedSecret(f)
			cuts, err := f.l.planCuts([]uint64{target}, amendedFields)
			if err != nil || len(cuts) != 2 {
				t.Fatalf("%d cuts, %v", len(cuts), err)
			}
			plan, err := f.l.savePlan(cuts)
			if err != nil {
				t.Fatal(err)
			}
			by, err := f.l.State(t.Context(), record.KindRedaction, func(r *record.Record) {
				r.Add(record.About, fmt.Sprint(target), "")
				r.Add(record.About, fmt.Sprint(amendment), "")
				r.Add(record.Attributes, "fields="+fieldNames(amendedFields), "")
				r.Add(record.Attributes, "slots=requester.id,requester.name,context.purpose,raw,source.original_id,provenance", "")
				r.Add(record.Attributes, "plan="+plan, "")
			})
			if err != nil {
				t.Fatal(err)
			}
			f.l.overlay.addMasks([]uint64{target, amendment}, mask{by: by, fields: amendedFields}, cuts)
			one := target
			if first == "amendment" {
				one = amendment
			}
			f.l.maintenance.Lock()
			_, err = f.l.rewrite(t.Context(), f.l.store.Find(one), nil)
			f.l.maintenance.Unlock()
			if err != nil {
				t.Fatal(err)
			}
			f.close()
			f.open()
			eventually(t, "stated as erased", func() bool { return len(f.erasedRows()) == 1 })
			checkAmendedGone(f, target, amendment)
		})
	}
}

// TestExpiryTakesAmendments: what amends an expired record goes with it, from
// whatever segment; what amends one that stays, stays.
func TestExpiryTakesAmendments(t *testing.T) {
	f := newFixture(t, Options{})
	f.send(event(1), event(2))
	f.allSealed()
	shell, deploy := f.seqOf("action.tool:shell"), f.seqOf("action.tool:deploy")
	f.roll()
	amend := func(name string, targets ...uint64) uint64 {
		t.Helper()
		seq, err := f.l.State(t.Context(), record.KindAmendment, func(r *record.Record) {
			for _, target := range targets {
				r.Add(record.About, fmt.Sprint(target), "")
			}
			r.Set(record.RequesterName, name, "")
		})
		if err != nil {
			t.Fatal(err)
		}
		return seq
	}
	gone := amend("gone-name", shell)
	stays := amend("stays-name", deploy)
	both := amend("both-name", shell, deploy)
	expire := func(q string, records, amendments int) {
		t.Helper()
		cert, err := f.l.Expire(t.Context(), Expiry{Class: "c", Query: mustQuery(t, q), Before: time.Now().Add(time.Hour).UnixNano()})
		if err != nil || cert.Amendments != amendments || cert.Records != records || cert.Erased <= cert.Seq {
			t.Fatalf("%s: %+v, %v", q, cert, err)
		}
	}
	expire("action.tool:shell", 1, 1)
	for seq, want := range map[uint64]bool{shell: false, gone: false, deploy: true, stays: true, both: true} {
		if got := f.l.stored(seq); got != want {
			t.Errorf("row %d stored: %v", seq, got)
		}
	}
	f.close()
	for needle, places := range probe(t, f.dir, "gone-name", "user1@example.com") {
		t.Errorf("%s: %q", needle, places)
	}
	f.open()
	// One that came while its target was on its way out goes at the next chance.
	late, err := f.l.Amend(t.Context(), shell, func(r *record.Record) { r.Set(record.RequesterName, "late-name", "") })
	if err != nil {
		t.Fatal(err)
	}
	expire("action.tool:none", 0, 1)
	if f.l.stored(late) || !f.l.stored(both) {
		t.Error("the late amendment is there, or one of a living record is gone")
	}
	expire("*", 1, 2)
	f.close()
	for needle, places := range probe(t, f.dir, "late-name", "stays-name", "both-name", "user2@example.com") {
		t.Errorf("%s: %q", needle, places)
	}
}

// TestNothingKeepsErasedContent writes a marker of its own into every field of a
// record and of its amendment, has it indexed, packed and searched, erases it, and
// looks for the markers in everything under the data folder.
func TestNothingKeepsErasedContent(t *testing.T) {
	fill := func(who string, r *record.Record) (markers []string) {
		for f := range record.NumFields {
			marker := fmt.Sprintf("qx%s%dxq", who, f)
			switch f.Info().Kind {
			case record.Number:
				marker = fmt.Sprintf("97177%d%03d", len(who), f)
			case record.Instant:
				marker = fmt.Sprintf("2031-01-02T03:04:05.97177%d%03dZ", len(who), f)
			}
			switch {
			case f == record.Raw:
				r.Raw = []byte(`{"line":"` + strings.Repeat("-", 100) + marker + `"}`)
			case !Redactable(f):
				continue
			case f == record.Delegations:
				r.AddDelegation(record.Delegation{Principal: marker, Scopes: []string{marker}}, "/p/"+marker)
			case f == record.Links:
				r.AddLink(record.Link{To: 1, Relation: marker, Method: marker})
			case f.IsList():
				r.Add(f, marker, "/p/"+marker)
			default:
				r.Set(f, marker, "/p/"+marker)
			}
			markers = append(markers, marker)
		}
		return markers
	}
	var all []record.Field
	for f := range record.NumFields {
		if Redactable(f) {
			all = append(all, f)
		}
	}
	for what, erase := range map[string]func(f *fixture) error{
		"redaction": func(f *fixture) error {
			_, err := f.l.Redact(t.Context(), Redaction{Policy: "p", Fields: all, Query: mustQuery(t, "_exists_:action.tool")})
			return err
		},
		"expiry": func(f *fixture) error {
			_, err := f.l.Expire(t.Context(), Expiry{Class: "c", Query: mustQuery(t, "_exists_:action.tool"), Before: time.Now().Add(time.Hour).UnixNano()})
			return err
		},
	} {
		t.Run(what, func(t *testing.T) {
			f := newFixture(t, Options{})
			var markers []string
			seq, err := f.l.State(t.Context(), record.KindRecord, func(r *record.Record) { markers = fill("rr", r) })
			if err != nil {
				t.Fatal(err)
			}
			f.roll()
			if _, err := f.l.Amend(t.Context(), seq, func(r *record.Record) { markers = append(markers, fill("a", r)...) }); err != nil {
				t.Fatal(err)
			}
			f.roll()
			eventually(t, "packed", func() bool {
				return !slices.ContainsFunc(f.l.store.Segments(), func(s *store.Segment) bool {
					return s != f.l.store.Active() && s.Generation == 0
				})
			})
			if got := f.count(markers[0]) + f.count("qxrr14xq"); got == 0 {
				t.Error("not found before it is erased")
			}
			f.close()
			before := probe(t, f.dir, markers...)
			terms := false
			for _, m := range markers {
				if len(before[m]) == 0 {
					t.Errorf("the probe does not find %s before it is erased", m)
				}
				terms = terms || slices.ContainsFunc(before[m], func(p string) bool { return strings.HasPrefix(p, "a term") })
			}
			if !terms {
				t.Error("the probe finds no marker among the terms")
			}
			f.open()
			if err := erase(f); err != nil {
				t.Fatal(err)
			}
			f.close()
			for needle, places := range probe(t, f.dir, markers...) {
				t.Errorf("%s: %q", needle, places)
			}
		})
	}
}

// TestCatalogueErasure: every bucket of a live catalogue says what erasure means
// for it, and what is deleted of a person is soon gone from the file.
func TestCatalogueErasure(t *testing.T) {
	f := newFixture(t, Options{})
	f.send(event(1))
	if err := f.l.KV().Buckets(func(name string, _ store.Erasure, declared bool) {
		if !declared {
			t.Errorf("bucket %s has no erasure rule", name)
		}
	}); err != nil {
		t.Fatal(err)
	}
	kv := f.l.KV()
	if err := errors.Join(kv.Put("auth", "token/1", []byte("Mallory Example")), kv.Delete("auth", "token/1")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "compacted", func() bool {
		due, err := kv.CompactionDue()
		return err == nil && !due
	})
	f.allSealed() // the sealer writes to the new file
	f.close()
	for needle, places := range probe(t, f.dir, "Mallory") {
		t.Errorf("%s: %q", needle, places)
	}
}

// TestNoDictionaryKeepsErasedContent: in a segment large enough to have a
// compression dictionary of its own, nothing of it holds what was erased.
func TestNoDictionaryKeepsErasedContent(t *testing.T) {
	f := newFixture(t, Options{})
	const rows = 4000
	for i := 0; i < rows; i += 1000 {
		var lines []string
		for k := range 1000 {
			lines = append(lines, event(i+k))
		}
		f.send(lines...)
	}
	f.allSealed()
	f.roll()
	eventually(t, "packed", func() bool { return f.l.store.Segments()[0].Generation > 0 })
	f.close()
	if len(probe(t, f.dir, "user3@example.com")) == 0 {
		t.Error("the probe does not find it before it is erased")
	}
	f.open()
	if _, err := f.l.Redact(t.Context(), Redaction{
		Policy: "p", Fields: []record.Field{record.RequesterID}, Query: mustQuery(t, "requester.id:user3@example.com"),
	}); err != nil {
		t.Fatal(err)
	}
	f.close()
	for needle, places := range probe(t, f.dir, "user3@example.com") {
		t.Errorf("%s: %q", needle, places)
	}
}
