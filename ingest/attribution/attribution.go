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
	tells    *names
}

// New checks the mappings. An error names the mapping and the field.
func New(opts Options) (*Registry, error) { return newRegistry(opts, builtin()) }

func newRegistry(opts Options, formats []format) (*Registry, error) {
	g := &Registry{formats: formats, clock: opts.Clock, tells: tellingNames()}
	if g.clock == nil {
		g.clock = time.Now
	}
	for i := range g.formats {
		g.formats[i].has = keysOf(g.formats[i].keys)
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
// the line. Of a line that holds several events each record has a part: in
// their order all parts together are the line, byte for byte.
func (w *Worker) Decode(in Input, next func() *record.Record) {
	e := &w.ev
	e.open(in)
	e.decode(next)
	e.close()
}

// DecodeRun decodes the event that the lines begin with and returns how many of them
// it took: one, or all lines in a row that a format knows to be parts of one event.
// Those become one record whose raw is the lines, joined by newlines, and whose place
// and arrival are those of the first. in.Line is not read. The lines of a batch are
// committed together with its cursors, so joining them changes nothing in what is
// taken once and what is not.
func (w *Worker) DecodeRun(in Input, lines []ingest.Line, next func() *record.Record) int {
	in.Line = &lines[0]
	w.ev.lines = lines
	w.Decode(in, next)
	n := len(lines) - len(w.ev.lines)
	w.ev.lines = nil
	return max(n, 1)
}

// join puts the lines that belong to one event in place of its first.
func (e *event) join(f *format) (joined bool) {
	lines := e.lines
	if f == nil || f.join == nil || len(lines) < 2 || lines[0].FullLength > 0 || lines[0].Defect != "" {
		return false
	}
	n := f.join(e, lines)
	if n < 2 {
		return false
	}
	whole := lines[0]
	whole.Raw = nil
	for i := range lines[:n] {
		if i > 0 {
			whole.Raw = append(whole.Raw, '\n')
		}
		whole.Raw = append(whole.Raw, lines[i].Raw...)
	}
	e.lines = lines[n:]
	in := e.in
	in.Line = &whole
	e.open(in)
	return true
}

// decode decodes the payload, whatever it is or holds.
func (e *event) decode(next func() *record.Record) {
	f, m := e.choose()
	if e.join(f) {
		f, m = e.choose()
	}
	if m == nil && (f == nil || f.general && f.unwraps()) && e.unwrap(next) {
		return
	}
	if f == nil && m == nil && !e.pinned() {
		f = e.fallback()
	}
	e.emit(f, m, next)
}

// emit decodes the payload as one record, or as several if the format finds a list in it.
func (e *event) emit(f *format, m *mapping, next func() *record.Record) {
	if f != nil && e.top == root {
		if f.nested != nil && e.eachNested(f, next) {
			return
		}
		if f.list != nil {
			if list := f.list(e); list != 0 && e.doc.first(list) != 0 {
				e.each(f, list, next)
				return
			}
		}
	}
	e.begin(e.hand(next), e.part())
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
	e.dirty = !e.valid
	e.isJSON, e.paired, e.isPair, e.misfit = false, false, false, ""
	e.payload = e.header(&e.env, line)
	e.top, e.around, e.tagsOf = root, e.around[:0], 0
	e.unwrapped.reset(e.env.msg)
}

// header reads the envelope of line into v and returns what stands behind it.
func (e *event) header(v *envelope, line []byte) []byte {
	v.reset()
	if e.src.Syslog {
		v.split(line, e.received, e.src.Zone, false)
	} else if len(line) > 16 && (line[0] == '<' || line[0]-'0' < 10 || line[0] >= 'A' && line[0] <= 'S') {
		v.split(line, e.received, e.src.Zone, true)
	}
	return line[v.msg:]
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
		if m.res != nil && (e.env.found || e.src.Syslog) {
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
	for i := range e.levels[:e.depth] {
		if v := &e.levels[i]; v.isJSON {
			e.jsonFaults(&v.doc, v.top, "")
		}
	}
	if e.isJSON {
		at := ""
		if e.depth == 0 {
			at = decimal(len(l.Raw) - len(e.doc.src))
		}
		e.jsonFaults(&e.doc, e.root, at)
	}
}

// jsonFaults states what is wrong with the event n of the document t, which
// begins at the byte base of the line ("" inside another event). Faults
// elsewhere in a list are not the event's.
func (e *event) jsonFaults(t *tree, n int32, base string) {
	where := func(at int) string {
		if base == "" {
			return fmt.Sprintf("byte %d of what is inside", at)
		}
		from, _ := digits([]byte(base))
		return fmt.Sprintf("byte %d", from+at)
	}
	inList := n != root
	if t.err != "" && !inList {
		e.fail("broken JSON: " + t.err + " at " + where(t.at))
	}
	if v := &t.nodes[n]; t.flaw != "" && (!inList || t.flawAt >= int(v.val) && t.flawAt < int(v.end)) {
		e.fail("broken JSON: " + t.flaw + " at " + where(t.flawAt))
	}
	if t.dup == 0 {
		return
	}
	end := int32(len(t.nodes))
	if next := t.nodes[n].next; next != 0 {
		end = next
	}
	for i := n; i < end; i++ {
		if t.nodes[i].flags&isDuplicate != 0 && (!inList || t.nodes[i].val < t.nodes[n].end) {
			key := t.keyOf(i)
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
