package seal

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"custody/ingest/record"
)

// DisclosureVersion names the format.
const DisclosureVersion = "custody/disclosure/v1"

const (
	// maxDisclosure bounds what ParseDisclosure reads, in bytes.
	maxDisclosure = 16 << 20
	// maxDisclosedElements bounds a list in a disclosure.
	maxDisclosedElements = 1 << 18
)

// ErrDisclosure: a disclosure that does not parse or does not prove what it shows.
var ErrDisclosure = errors.New("bad disclosure")

// Disclosure shows single values of a row and proves that they stand in its
// entry, and nothing about the others. Tie the entry to the log with an
// inclusion [Proof]. All binary members are standard base64 in JSON.
type Disclosure struct {
	Version string            `json:"version"`
	Entry   []byte            `json:"entry"`            // as in the log
	Groups  [][]byte          `json:"groups"`           // digests of all groups
	Slots   []DisclosedGroup  `json:"slots,omitempty"`  // digests of the slots of the groups that values stand in
	Lists   []DisclosedList   `json:"lists,omitempty"`  // digests of the elements of the lists that values stand in
	Absent  []DisclosedAbsent `json:"absent,omitempty"` // groups without any value
	Values  []DisclosedValue  `json:"values,omitempty"`
}

// DisclosedGroup is the digests of the eight slots of a group.
type DisclosedGroup struct {
	Group   int      `json:"group"`
	Digests [][]byte `json:"digests"`
}

// DisclosedList is the digests of a list's elements, padding included.
type DisclosedList struct {
	Slot    int      `json:"slot"`
	Digests [][]byte `json:"digests"`
}

// DisclosedAbsent opens a group as having no value at all.
type DisclosedAbsent struct {
	Group int    `json:"group"`
	Salt  []byte `json:"salt"`
}

// DisclosedValue opens one slot or one element. Exactly one of Value, Bytes
// (what is not UTF-8 text) and Absent is given.
type DisclosedValue struct {
	Slot    int     `json:"slot"`
	Name    string  `json:"name"`
	Element *int    `json:"element,omitempty"`
	Value   *string `json:"value,omitempty"`
	Bytes   []byte  `json:"bytes,omitempty"`
	Absent  bool    `json:"absent,omitempty"`
	Salt    []byte  `json:"salt"`
}

// Unit names what v opens.
func (v *DisclosedValue) Unit() Unit {
	u := Unit{record.Field(v.Slot), WholeSlot}
	if v.Element != nil {
		u.Element = *v.Element
	}
	return u
}

// Disclose proves the units. A whole list stands for its open elements and its
// padding, so that it is seen to be complete. Withheld units are an error: there
// is nothing left to show.
func (c *Committer) Disclose(r *record.Record, d *Residue, units ...Unit) (*Disclosure, error) {
	t, err := c.trace(r, d)
	if err != nil {
		return nil, fmt.Errorf("disclose: %w", err)
	}
	var e Entry
	header(r, &e)
	e.Root = rootDigest(&t.groups)
	out := &Disclosure{Version: DisclosureVersion, Entry: e.append(nil), Groups: encode(t.groups[:])}

	want := make(map[Unit]bool, len(units))
	for _, u := range units {
		if u.Slot >= record.NumFields {
			return nil, fmt.Errorf("disclose: slot %d: %w", u.Slot, ErrDisclosure)
		}
		if d.groups[u.Slot/groupSize].absent {
			u = Unit{u.Slot / groupSize * groupSize, AbsentGroup}
		}
		want[u] = true
	}
	groups, lists := make(map[int]bool), make(map[record.Field]bool)
	found := make(map[Unit]bool, len(want))
	for i := range t.openings {
		o := &t.openings[i]
		whole := Unit{o.Slot, WholeSlot}
		if !want[o.Unit] && !(o.Element >= 0 && want[whole]) {
			continue
		}
		if o.Withheld {
			return nil, fmt.Errorf("disclose: %v is redacted: %w", o.Slot, ErrDisclosure)
		}
		found[o.Unit] = true
		if o.Element == AbsentGroup {
			out.Absent = append(out.Absent, DisclosedAbsent{int(o.Slot) / groupSize, bytes.Clone(o.Salt[:])})
			continue
		}
		found[whole] = true
		if g := int(o.Slot) / groupSize; !groups[g] {
			groups[g] = true
			out.Slots = append(out.Slots, DisclosedGroup{g, encode(t.slots[g*groupSize : (g+1)*groupSize])})
		}
		if o.Element >= 0 && !lists[o.Slot] {
			lists[o.Slot] = true
			out.Lists = append(out.Lists, DisclosedList{int(o.Slot), encode(t.lists[o.Slot])})
		}
		out.Values = append(out.Values, disclosed(o))
	}
	for u := range want {
		if !found[u] {
			return nil, fmt.Errorf("disclose: no %v[%d]: %w", u.Slot, u.Element, ErrDisclosure)
		}
	}
	return out, nil
}

func disclosed(o *Opening) DisclosedValue {
	v := DisclosedValue{Slot: int(o.Slot), Name: o.Slot.String(), Absent: !o.Present, Salt: bytes.Clone(o.Salt[:])}
	if o.Element >= 0 {
		e := o.Element
		v.Element = &e
	}
	if o.Present {
		if fixedBytes(o.Slot) || !utf8.Valid(o.Value) {
			v.Bytes = o.Value
		} else {
			s := string(o.Value)
			v.Value = &s
		}
	}
	return v
}

// fixedBytes reports whether the sealed value of f is binary.
func fixedBytes(f record.Field) bool { return f <= record.Received }

func encode(ds []Digest) [][]byte {
	out := make([][]byte, len(ds))
	for i := range ds {
		out[i] = bytes.Clone(ds[i][:])
	}
	return out
}

// sealed returns the bytes that v shows.
func (v *DisclosedValue) sealed() []byte {
	if v.Value != nil {
		return []byte(*v.Value)
	}
	return v.Bytes
}

// Verify checks that every value shown stands in the entry, and returns it. The
// caller must still find the entry in the log.
func (d *Disclosure) Verify() (Entry, error) {
	e, err := d.verify()
	if err != nil {
		return Entry{}, fmt.Errorf("verify disclosure: %w: %w", ErrDisclosure, err)
	}
	return e, nil
}

func (d *Disclosure) verify() (Entry, error) {
	e, err := ParseEntry(d.Entry)
	if err != nil {
		return Entry{}, err
	}
	if d.Version != DisclosureVersion || e.Schema != record.Schema || int(e.Groups) != numGroups {
		return Entry{}, errors.New("version or schema")
	}
	var groups [numGroups]Digest
	if err := decode(groups[:], d.Groups); err != nil {
		return Entry{}, fmt.Errorf("groups: %w", err)
	}
	if rootDigest(&groups) != e.Root {
		return Entry{}, errors.New("the groups are not those of the entry")
	}
	absentSeen := make(map[int]bool)
	for _, a := range d.Absent {
		if a.Group < 0 || a.Group >= numGroups || absentSeen[a.Group] || len(a.Salt) != len(Salt{}) {
			return Entry{}, errors.New("absent group: bad number or salt")
		}
		absentSeen[a.Group] = true
		if absentGroupDigest((*Salt)(a.Salt), a.Group) != groups[a.Group] {
			return Entry{}, fmt.Errorf("group %d is not absent", a.Group)
		}
	}
	slots := make(map[int]Digest)
	for _, g := range d.Slots {
		var ds [groupSize]Digest
		if _, dup := slots[g.Group*groupSize]; dup || g.Group < 0 || g.Group >= numGroups {
			return Entry{}, errors.New("slots: bad group number")
		}
		if err := decode(ds[:], g.Digests); err != nil {
			return Entry{}, fmt.Errorf("slots of group %d: %w", g.Group, err)
		}
		if groupDigest(g.Group, &ds) != groups[g.Group] {
			return Entry{}, fmt.Errorf("slots of group %d are not those of the entry", g.Group)
		}
		for i := range ds {
			slots[g.Group*groupSize+i] = ds[i]
		}
	}
	lists := make(map[int][]Digest)
	for _, l := range d.Lists {
		want, ok := slots[l.Slot]
		n := len(l.Digests)
		if _, dup := lists[l.Slot]; dup || !ok || !isList(record.Field(l.Slot)) ||
			n == 0 || n&(n-1) != 0 || n > maxDisclosedElements {
			return Entry{}, fmt.Errorf("list %d: bad slot or number of elements", l.Slot)
		}
		ds := make([]Digest, n)
		if err := decode(ds, l.Digests); err != nil {
			return Entry{}, fmt.Errorf("list %d: %w", l.Slot, err)
		}
		if got, _ := listDigest(nil, l.Slot, ds); got != want {
			return Entry{}, fmt.Errorf("elements of list %d are not those of the entry", l.Slot)
		}
		lists[l.Slot] = ds
	}
	seen := make(map[Unit]bool)
	for i := range d.Values {
		v := &d.Values[i]
		if err := v.verify(slots, lists); err != nil {
			return Entry{}, fmt.Errorf("value %d: %w", i, err)
		}
		if seen[v.Unit()] {
			return Entry{}, fmt.Errorf("value %d: given twice", i)
		}
		seen[v.Unit()] = true
	}
	return e, nil
}

func (v *DisclosedValue) verify(slots map[int]Digest, lists map[int][]Digest) error {
	want, ok := slots[v.Slot]
	if !ok || v.Name != record.Field(v.Slot).String() || len(v.Salt) != len(Salt{}) {
		return errors.New("bad slot, name or salt")
	}
	given := 0
	for _, b := range []bool{v.Value != nil, v.Bytes != nil, v.Absent} {
		if b {
			given++
		}
	}
	if given != 1 {
		return errors.New("one of value, bytes and absent must be given")
	}
	presence := byte(present)
	if v.Absent {
		presence = absent
	}
	salt := (*Salt)(v.Salt)
	var got Digest
	if v.Element == nil {
		if isList(record.Field(v.Slot)) && !v.Absent {
			return errors.New("a list is shown by its elements")
		}
		got = slotDigest(salt, v.Slot, presence, view(v.sealed()))
	} else {
		ds := lists[v.Slot]
		if *v.Element < 0 || *v.Element >= len(ds) {
			return errors.New("no such element")
		}
		want = ds[*v.Element]
		got = elementDigest(salt, v.Slot, *v.Element, presence, view(v.sealed()))
	}
	if got != want {
		return fmt.Errorf("%s does not match its digest", v.Name)
	}
	return nil
}

func decode(dst []Digest, src [][]byte) error {
	if len(src) != len(dst) {
		return fmt.Errorf("%d digests, not %d", len(src), len(dst))
	}
	for i, b := range src {
		if len(b) != len(Digest{}) {
			return fmt.Errorf("digest %d has %d bytes", i, len(b))
		}
		copy(dst[i][:], b)
	}
	return nil
}

// ParseDisclosure reads the JSON of a disclosure and verifies it. Unknown
// members, members given twice and other deviations from json.Marshal's output
// are errors, white space aside.
func ParseDisclosure(b []byte) (*Disclosure, Entry, error) {
	if len(b) > maxDisclosure {
		return nil, Entry{}, fmt.Errorf("parse disclosure: longer than %d bytes: %w", maxDisclosure, ErrDisclosure)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	d := &Disclosure{}
	if err := dec.Decode(d); err != nil {
		return nil, Entry{}, fmt.Errorf("parse disclosure: %w: %w", ErrDisclosure, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, Entry{}, fmt.Errorf("parse disclosure: text behind it: %w", ErrDisclosure)
	}
	var given, canonical bytes.Buffer
	again, err := json.Marshal(d)
	if err == nil {
		err = errors.Join(json.Compact(&given, b), json.Compact(&canonical, again))
	}
	if err != nil || !bytes.Equal(given.Bytes(), canonical.Bytes()) {
		return nil, Entry{}, fmt.Errorf("parse disclosure: not in canonical form: %w", ErrDisclosure)
	}
	e, err := d.Verify()
	if err != nil {
		return nil, Entry{}, err
	}
	return d, e, nil
}

// Encode is the JSON that ParseDisclosure reads.
func (d *Disclosure) Encode() ([]byte, error) {
	b, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("encode disclosure: %w", err)
	}
	return b, nil
}

// Text renders a value for people: binary values in base64.
func (v *DisclosedValue) Text() string {
	switch {
	case v.Absent:
		return ""
	case v.Value != nil:
		return *v.Value
	}
	return base64.StdEncoding.EncodeToString(v.Bytes)
}
