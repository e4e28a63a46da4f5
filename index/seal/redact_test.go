package seal

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"custody/ingest/record"

	"pgregory.net/rapid"
)

// without is what the store keeps of r when the units are gone.
func without(r *record.Record, gone map[Unit]bool, mask string) *record.Record {
	out := &record.Record{Kind: r.Kind, Received: r.Received, ID: r.ID}
	if gone[Unit{record.ID, WholeSlot}] {
		out.ID = [16]byte{}
	}
	if !gone[Unit{record.Time, WholeSlot}] {
		out.SetTime(r.Time, r.Prov(record.Time))
	}
	r.Scalars(func(f record.Field, v, p string) bool {
		if gone[Unit{f, WholeSlot}] {
			v = mask
		}
		out.Set(f, v, p)
		return true
	})
	next := map[record.Field]int{}
	r.Lists(func(f record.Field, v, p string) bool {
		if i := next[f]; gone[Unit{f, i}] || gone[Unit{f, WholeSlot}] {
			v = mask
		}
		next[f]++
		out.Add(f, v, p)
		return true
	})
	if a := r.Absent("requester"); a != "" && !gone[Unit{record.Absence, WholeSlot}] {
		out.SetAbsent("requester", a)
	}
	out.Raw = bytes.Clone(r.Raw)
	left := 0
	for i := range pieces(len(r.Raw)) {
		if gone[Unit{record.Raw, i}] || gone[Unit{record.Raw, WholeSlot}] {
			clear(piece(out.Raw, i))
		} else {
			left++
		}
	}
	if left == 0 {
		out.Raw = nil
	}
	return out
}

// Whatever is withheld, in one go or two, the entry stays, and nothing of the
// withheld salts is left.
func TestRedactAnySubset(t *testing.T) {
	var c Committer
	rapid.Check(t, func(t *rapid.T) {
		r, seed := anyRecord(t), testSeed(rapid.Int().Draw(t, "row"))
		var want Entry
		if err := c.Commit(r, &seed, &want); err != nil {
			t.Fatal(err)
		}
		all, err := c.Digests(r, &seed)
		if err != nil {
			t.Fatal(err)
		}
		var units []Unit
		for _, o := range all {
			if o.Present && o.Slot != record.Received && rapid.Bool().Draw(t, "withhold") {
				units = append(units, o.Unit)
				if o.Element >= 0 && rapid.IntRange(0, 3).Draw(t, "whole") == 0 {
					units = append(units, Unit{o.Slot, WholeSlot})
				}
			}
		}
		d, err := c.NewResidue(r, &seed)
		if err != nil {
			t.Fatal(err)
		}
		mask := rapid.SampledFrom([]string{"", "***"}).Draw(t, "mask")
		gone := map[Unit]bool{}
		half := rapid.IntRange(0, len(units)).Draw(t, "half")
		row := r
		for _, part := range [][]Unit{units[:half], units[half:]} {
			if err := d.Withhold(&c, row, part...); err != nil {
				t.Fatal(err)
			}
			for _, u := range part {
				gone[u] = true
			}
			row = without(r, gone, mask)
			b, _ := d.AppendBinary(nil)
			if bytes.Contains(b, seed[:16]) || bytes.Contains(b, seed[16:]) {
				t.Fatal("the residue holds the seed")
			}
			for _, o := range all {
				whole := gone[Unit{o.Slot, WholeSlot}]
				if (gone[o.Unit] || whole) && o.Element != AbsentGroup && bytes.Contains(b, o.Salt[:]) {
					t.Fatalf("the residue holds the salt of %v[%d]", o.Slot, o.Element)
				}
				if !gone[o.Unit] && !whole && !bytes.Contains(b, o.Salt[:]) {
					t.Fatalf("the residue lost the salt of %v[%d]", o.Slot, o.Element)
				}
			}
			if d, err = ParseResidue(b); err != nil {
				t.Fatal(err)
			}
			var got Entry
			if err := c.CommitPartial(row, d, &got); err != nil {
				t.Fatal(err)
			}
			if got != want {
				t.Fatalf("entry %+v after redaction of %v, want %+v", got, gone, want)
			}
		}
	})
}

func residueOf(t *testing.T, c *Committer, r *record.Record) *Residue {
	t.Helper()
	seed := testSeed(1)
	d, err := c.NewResidue(r, &seed)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// What was not withheld can't be changed, dropped or added.
func TestCommitPartialBinds(t *testing.T) {
	var c Committer
	base := typical()
	base.Add(record.Findings, "a", "")
	base.Add(record.Findings, "b", "")
	base.Add(record.Findings, "c", "")
	d := residueOf(t, &c, base)
	if err := d.Withhold(&c, base, Unit{record.RequesterID, WholeSlot}, Unit{record.Findings, 1}, Unit{record.Raw, 2}); err != nil {
		t.Fatal(err)
	}
	var want Entry
	if err := c.CommitPartial(base, d, &want); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(r *record.Record){
		"value":         func(r *record.Record) { r.Set(record.ActionTool, "other", "") },
		"value dropped": func(r *record.Record) { r.Unset(record.ActionTool) },
		"value added":   func(r *record.Record) { r.Set(record.ContextTenant, "x", "") },
		"rare group":    func(r *record.Record) { r.Set(record.RetentionClass, "x", "") },
		"list added":    func(r *record.Record) { r.Add(record.About, "1", "") },
		"element added": func(r *record.Record) { r.Add(record.Findings, "d", "") },
		"raw":           func(r *record.Record) { r.Raw[10] ^= 1 },
		"raw cut":       func(r *record.Record) { r.Raw = r.Raw[:100] },
		"raw dropped":   func(r *record.Record) { r.Raw = nil },
		"received":      func(r *record.Record) { r.Received++ },
		"kind":          func(r *record.Record) { r.Kind = record.KindGap },
		"absence":       func(r *record.Record) { r.SetAbsent("requester.id", record.Redacted) },
	} {
		r := without(base, nil, "")
		change(r)
		var got Entry
		if err := c.CommitPartial(r, d, &got); err == nil && got == want {
			t.Errorf("%s: unnoticed", name)
		} else if err != nil && !errors.Is(err, ErrResidue) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A redacted record may state more absence than was sealed, or some where none was.
func TestKeepAbsence(t *testing.T) {
	var c Committer
	stated := typical()
	stated.SetAbsent("executor", record.NotRecorded)
	bare := &record.Record{Kind: record.KindRecord, Received: 1, Raw: []byte("x")}
	for name, r := range map[string]*record.Record{"stated": stated, "none": typical(), "group absent": bare} {
		d := residueOf(t, &c, r)
		d.KeepAbsence(r)
		var want, got Entry
		if err := c.CommitPartial(r, d, &want); err != nil {
			t.Fatal(err)
		}
		b, _ := d.AppendBinary(nil)
		d, err := ParseResidue(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		r.SetAbsent("requester.id", record.Redacted)
		if err := c.CommitPartial(r, d, &got); err != nil || got != want {
			t.Errorf("%s: entry %+v (%v), want %+v", name, got, err, want)
		}
	}
}

func TestWithholdRefuses(t *testing.T) {
	var c Committer
	r := typical()
	for _, u := range []Unit{
		{record.Received, WholeSlot}, {record.NumFields, WholeSlot}, {record.ActionTool, 0}, {record.Raw, AbsentGroup},
	} {
		d := residueOf(t, &c, r)
		before, _ := d.AppendBinary(nil)
		if err := d.Withhold(&c, r, Unit{record.ActionTool, WholeSlot}, u); !errors.Is(err, ErrNotRedactable) {
			t.Errorf("%v: %v", u, err)
		}
		if after, _ := d.AppendBinary(nil); !bytes.Equal(before, after) {
			t.Errorf("%v: the residue changed", u)
		}
	}
}

func TestDisclose(t *testing.T) {
	var c Committer
	r := typical()
	r.Add(record.Findings, "a <b>", "")
	r.Add(record.Findings, "b", "")
	r.Add(record.Findings, "c", "")
	d := residueOf(t, &c, r)
	if err := d.Withhold(&c, r, Unit{record.RequesterID, WholeSlot}, Unit{record.Raw, 3}); err != nil {
		t.Fatal(err)
	}
	var want Entry
	if err := c.CommitPartial(r, d, &want); err != nil {
		t.Fatal(err)
	}
	p, err := c.Disclose(r, d, Unit{record.ActionTool, WholeSlot}, Unit{record.Raw, 1}, Unit{record.Findings, WholeSlot},
		Unit{record.ContextTenant, WholeSlot}, Unit{record.RetentionClass, WholeSlot}, Unit{record.ID, WholeSlot})
	if err != nil {
		t.Fatal(err)
	}
	b, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	q, e, err := ParseDisclosure(b)
	if err != nil || e != want {
		t.Fatalf("entry %+v (%v), want %+v", e, err, want)
	}
	if len(q.Values) != 8 || len(q.Absent) != 1 || q.Absent[0].Group != int(record.RetentionClass)/8 {
		t.Errorf("%d values, absent %v", len(q.Values), q.Absent)
	}
	var texts []string
	for i := range q.Values {
		texts = append(texts, q.Values[i].Name+"="+q.Values[i].Text())
	}
	got := strings.Join(texts, "|")
	for _, w := range []string{"action.tool=kv", "raw=" + string(r.Raw[64:128]), "findings=a <b>", "findings=c|findings=|", "context.tenant="} {
		if !strings.Contains(got+"|", w) {
			t.Errorf("%q is not in %q", w, got)
		}
	}
	if strings.Contains(string(b), "alice") {
		t.Error("a value that was not asked for is shown")
	}
	// No byte can change: the JSON is canonical and everything in it is bound,
	// but for the case where the change is not JSON or not base64 any more.
	for i := range b {
		mut := bytes.Clone(b)
		mut[i] ^= 1
		if _, e, err := ParseDisclosure(mut); err == nil && e == want {
			t.Fatalf("changed byte %d (%q) is not noticed", i, b[max(0, i-20):min(len(b), i+20)])
		}
	}
	for _, u := range []Unit{{record.RequesterID, WholeSlot}, {record.Raw, 3}, {record.Raw, 99}, {record.Raw, WholeSlot}, {record.NumFields, WholeSlot}} {
		if _, err := c.Disclose(r, d, u); !errors.Is(err, ErrDisclosure) {
			t.Errorf("disclosing %v: %v", u, err)
		}
	}
}
