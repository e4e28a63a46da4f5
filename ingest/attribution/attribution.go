package attribution

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"slices"
	"time"
	"unicode/utf8"

	"custody/ingest"
	"custody/ingest/record"
)

// Input is one line and where it came from.
type Input struct {
	Source *ingest.Source
	Peer   string // address of the sender, "" for files
	File   string // path, for files and imports
	Line   *ingest.Line
}

// Options are the choices of a Registry. The zero value has the built-in formats only.
type Options struct {
	// Mappings are the [[mapping]] tables, tried in order before the built-in formats.
	Mappings []Mapping
	// Clock gives the arrival of lines that have none; default time.Now.
	Clock func() time.Time
}

// Registry knows all formats and mappings. It is immutable and safe for concurrent use.
type Registry struct {
	formats  []format
	mappings []*mapping
	clock    func() time.Time
}

// New checks the mappings. An error names the mapping and the field.
func New(opts Options) (*Registry, error) { return newRegistry(opts, builtin()) }

func newRegistry(opts Options, formats []format) (*Registry, error) {
	g := &Registry{formats: formats, clock: opts.Clock}
	if g.clock == nil {
		g.clock = time.Now
	}
	names := make(map[string]bool)
	for i := range opts.Mappings {
		m, err := compileMapping(&opts.Mappings[i])
		if err != nil {
			return nil, err
		}
		if names[m.name] {
			return nil, fmt.Errorf("mapping %q: the name is used twice", m.name)
		}
		names[m.name] = true
		g.mappings = append(g.mappings, m)
	}
	return g, nil
}

// Formats lists the names that a source can pin, sorted.
func (g *Registry) Formats() []string {
	var out []string
	for i := range g.formats {
		out = append(out, g.formats[i].name)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Worker decodes lines. It holds the parsers' memory: one for each goroutine.
type Worker struct {
	ev event
}

// Worker returns a new worker.
func (g *Registry) Worker() *Worker {
	return &Worker{ev: event{g: g, doc: tree{seed: maphash.MakeSeed()}}}
}

// Decode turns one line into one or more records. It calls next for each, which
// hands out an empty record; the record is complete when next is called again
// or Decode returns. ID and Seq are left to the caller. Raw shares memory with
// the line; a line that holds several events (an array of CloudTrail records)
// gives each its own bytes.
func (w *Worker) Decode(in Input, next func() *record.Record) {
	e := &w.ev
	e.open(in)
	f, m := e.choose()
	if f != nil && f.list != nil {
		if list := f.list(e); list != 0 && e.doc.first(list) != 0 {
			e.each(f, list, next)
			return
		}
	}
	e.begin(next(), in.Line.Raw)
	e.lineFaults()
	e.run(f, m)
}

// open reads the envelope and resets what belongs to one line.
func (e *event) open(in Input) {
	line := in.Line.Raw
	e.in, e.src = in, in.Source
	e.received = in.Line.Received
	if e.received == 0 {
		e.received = e.g.clock().UnixNano()
	}
	flags := scanLine(line)
	e.nul, e.ctl, e.valid = flags&lineNUL != 0, flags&lineControl != 0, flags&lineHigh == 0 || utf8.Valid(line)
	e.isJSON, e.paired, e.isPair, e.misfit = false, false, false, ""
	e.env.reset()
	if e.src.Syslog {
		e.env.split(line, e.received, e.src.Zone, false)
	} else if len(line) > 16 && (line[0] == '<' || line[0]-'0' < 10 || line[0] >= 'A' && line[0] <= 'S') {
		e.env.split(line, e.received, e.src.Zone, true)
	}
	e.payload = line[e.env.msg:]
}

// each decodes the elements of a list as records of their own. What was cut off
// behind the last whole element becomes a malformed record.
func (e *event) each(f *format, list int32, next func() *record.Record) {
	t := &e.doc
	valid, nul := e.valid, e.nul
	for n := t.first(list); n != 0; n = t.next(n) {
		if t.kindOf(n) == kindNone || t.nodes[n].flags&isOpen != 0 {
			break
		}
		raw := t.source(n)
		e.valid = valid || utf8.Valid(raw)
		e.nul = nul && bytes.IndexByte(raw, 0) >= 0
		e.begin(next(), raw)
		e.inList, e.root = true, n
		e.lineFaults()
		if t.kindOf(n) != kindObject || !f.match(e) {
			if other := e.otherFormat(n); other != nil {
				e.run(other, nil)
				continue
			}
			e.misfit = "element is not a " + f.name + " event"
			e.run(nil, nil)
			e.misfit = ""
			continue
		}
		e.run(f, nil)
	}
	if t.err == "" {
		return
	}
	end := t.nodes[list].val + 1
	for n := t.first(list); n != 0 && t.kindOf(n) != kindNone && t.nodes[n].flags&isOpen == 0; n = t.next(n) {
		end = t.nodes[n].end
	}
	for int(end) < len(t.src) && (t.src[end] == ',' || t.src[end] <= ' ') {
		end++
	}
	if int(end) < len(t.src) {
		e.valid, e.nul = valid, nul
		e.begin(next(), t.src[end:])
		e.lineFaults()
		e.misfit = "rest of a broken list"
		e.run(nil, nil)
		e.misfit = ""
	}
}

// otherFormat finds what takes an element of a list that its format does not: some
// senders batch the events of several products. A pinned format has no other, and
// general formats, which take anything, are none.
func (e *event) otherFormat(n int32) *format {
	if e.pinned() || e.doc.kindOf(n) != kindObject {
		return nil
	}
	for i := range e.g.formats {
		f := &e.g.formats[i]
		if f.name == "ecs" || f.name == "json" {
			break
		}
		if f.shape == shapeJSON && f.match(e) {
			return f
		}
	}
	return nil
}

// run decodes one record with the chosen format or mapping and completes it.
func (e *event) run(f *format, m *mapping) {
	e.format, e.mapping = f, m
	if f != nil && f.shape == shapePairs || m != nil && m.kind == "kv" {
		e.pairFaults()
	}
	switch {
	case m != nil:
		e.product(m.spec.Product, "")
		kind := m.kind
		if m.re != nil && (e.env.found || e.src.Syslog) {
			kind = "syslog"
		}
		e.r.Set(record.SourceFormat, kind, "")
		e.r.Set(record.SourceDecoder, m.decoder, "")
		m.apply(e)
	case f != nil:
		e.product("", f.product)
		e.r.Set(record.SourceFormat, f.name, "")
		e.r.Set(record.SourceDecoder, f.name, "")
		f.decode(e)
	default:
		e.product("", "")
		name := "text"
		switch {
		case e.isJSON:
			name = "json"
		case e.env.found || e.src.Syslog:
			name = "syslog"
		}
		e.r.Set(record.SourceFormat, name, "")
		if e.misfit != "" {
			e.fail(e.misfit)
		}
	}
	e.finish()
}

// lineFaults states what is wrong with the line as a whole, before any format.
func (e *event) lineFaults() {
	l := e.in.Line
	if l.Defect != "" {
		e.fail(l.Defect)
	}
	if l.FullLength > 0 {
		e.r.Set(record.SourceTruncated, decimal(l.FullLength), "")
		e.fail("truncated by the receiver")
	}
	if !e.valid {
		e.fail("invalid UTF-8")
	}
	if e.nul {
		e.fail("NUL byte")
	}
	if e.env.problem != "" {
		if len(bytes.TrimSpace(e.payload)) == 0 {
			e.fail(e.env.problem)
		} else {
			e.note(e.env.problem)
		}
	}
	if e.isJSON {
		e.jsonFaults(len(l.Raw) - len(e.doc.src))
	}
}

// jsonFaults states what is wrong with the event's JSON, which begins at byte
// base of the line. Faults elsewhere in a list are not the event's.
func (e *event) jsonFaults(base int) {
	t := &e.doc
	if t.err != "" && !e.inList {
		e.fail(fmt.Sprintf("broken JSON: %s at byte %d", t.err, base+t.at))
	}
	if v := &t.nodes[e.root]; t.flaw != "" && (!e.inList || t.flawAt >= int(v.val) && t.flawAt < int(v.end)) {
		e.fail(fmt.Sprintf("broken JSON: %s at byte %d", t.flaw, base+t.flawAt))
	}
	if t.dup == 0 {
		return
	}
	end := int32(len(t.nodes))
	if next := t.nodes[e.root].next; next != 0 {
		end = next
	}
	for n := e.root; n < end; n++ {
		if t.nodes[n].flags&isDuplicate != 0 && (!e.inList || t.nodes[n].val < t.nodes[e.root].end) {
			key := t.keyOf(n)
			e.fail("duplicate key " + string(bytes.ToValidUTF8(key[:min(len(key), 64)], []byte("\ufffd"))))
			return
		}
	}
}

const (
	lineHigh    = 1 << iota // bytes above 0x7f
	lineControl             // bytes below 0x20
	lineNUL
)

// scanLine looks at all bytes once, eight at a time.
func scanLine(b []byte) (flags int) {
	var high, low uint64
	i := 0
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		high |= x & highs
		low |= (x - ones*0x20) & ^x & highs
	}
	for ; i < len(b); i++ {
		if b[i] >= 0x80 {
			high = 1
		}
		if b[i] < 0x20 {
			low = 1
		}
	}
	if high != 0 {
		flags |= lineHigh
	}
	if low != 0 {
		flags |= lineControl
		if bytes.IndexByte(b, 0) >= 0 {
			flags |= lineNUL
		}
	}
	return flags
}
