package attribution

import (
	"bytes"
	"encoding/base64"
	"strings"
	"unicode/utf8"

	"custody/ingest/record"
)

// maxLevels is how many wrappings are taken off around an event.
const maxLevels = 4

// unwrapped is what an event keeps about the wrappings that were taken off, and
// about the part of the line that each record has.
//
// A wrapping is a JSON object that carries the event in one of its members (as an
// object, as text, as base64), a list of such, or a prefix in front of JSON. The
// provenance of a field leads through it: "/detail/userIdentity/arn" where the
// event is an object, "/log#/userIdentity/arn" where it is a text that was itself
// read: what stands before the "#" names the text in the line, what stands
// behind it the value in the text.
type unwrapped struct {
	depth  int // wrappings taken off
	levels [maxLevels]level
	path   []byte // provenance in front of that of the event's own values
	base   int    // how much of path names the document
	head   int    // offset of the outermost payload in the line

	partEnd int // where the record's part of the line ends; -1: it has the whole line
	cut     int // how much of the line the records have
	lastAt  int // where the last part begins
	parts   int
	several bool // a list holds more than one event
	last    *record.Record
}

func (u *unwrapped) reset(head int) {
	u.depth, u.path, u.base, u.head = 0, u.path[:0], 0, head
	u.partEnd, u.cut, u.lastAt, u.parts, u.several, u.last = -1, 0, 0, 0, false, nil
}

// level is what stands outside of a wrapping that was taken off.
type level struct {
	doc        tree
	payload    []byte
	env        envelope
	around     []int32
	valid, ctl bool
	isJSON     bool
	top        int32
	path, base int
	text       bool // the inside was text of its own
	buf        []byte
	start, end int  // the inside, in payload
	coding     byte // 0 as it is, '\\' with escapes, '6' base64
	in, out    int  // an offset of the inside and the offset of its decoded form, for outer
	skip       int  // bytes of the inside's header
	mark       bool // the inside has a syslog header
}

// outer is where the byte at of the decoded inside stands in the payload around
// it. It is asked for ever greater offsets.
func (l *level) outer(at int) int {
	at += l.skip
	switch l.coding {
	case '6':
		return min(l.start+at*4/3, l.end)
	case '\\':
		src := l.payload[l.start:l.end]
		if at < l.out {
			l.in, l.out = 0, 0
		}
		var tmp [8]byte
		for l.out < at && l.in < len(src) {
			size := 1
			if src[l.in] == '\\' {
				size = 2
				if l.in+1 < len(src) && src[l.in+1] == 'u' {
					size = 6
					if l.in+7 < len(src) && src[l.in+6] == '\\' && src[l.in+7] == 'u' && src[l.in+2]|0x20 == 'd' {
						size = 12
					}
				}
				size = min(size, len(src)-l.in)
				l.out += len(unescape(tmp[:0], src[l.in:l.in+size])) - 1
			}
			l.in += size
			l.out++
		}
		return l.start + l.in
	}
	return min(l.start+at, l.end)
}

// inLine is where the byte at of the payload stands in the line.
func (e *event) inLine(at int) int {
	for d := e.depth - 1; d >= 0; d-- {
		at = e.levels[d].outer(at)
	}
	return e.head + at
}

// docAt is where the document begins in the payload.
func (e *event) docAt() int { return len(e.payload) - len(e.doc.src) }

// hand takes a new record from the caller.
func (e *event) hand(next func() *record.Record) *record.Record {
	e.last = next()
	return e.last
}

// part is the record's part of the line: all that no record before it has, to its own end.
func (e *event) part() []byte {
	line := e.in.Line.Raw
	if e.partEnd < 0 {
		return line
	}
	end := min(max(e.partEnd, e.cut), len(line))
	e.lastAt = e.cut
	e.cut = end
	return line[e.lastAt:end]
}

// close gives what is behind the last event to its record.
func (e *event) close() {
	if e.partEnd >= 0 && e.last != nil && e.cut < len(e.in.Line.Raw) {
		e.last.Raw = e.in.Line.Raw[e.lastAt:]
	}
	e.last = nil
}

// each decodes the elements of a list as records of their own. What was cut off
// behind the last whole element becomes a malformed record.
func (e *event) each(f *format, list int32, next func() *record.Record) {
	t := &e.doc
	e.several = e.several || t.nodes[list].count > 1
	valid, nul, top, path, end := e.valid, e.nul, e.top, len(e.path), t.nodes[list].val+1
	e.path = t.pointer(e.path, e.top, list)
	at := len(e.path)
	i := 0
	for n := t.first(list); n != 0; n = t.next(n) {
		if t.kindOf(n) == kindNone || t.nodes[n].flags&isOpen != 0 {
			break
		}
		e.path = append(append(e.path[:at], '/'), decimal(i)...)
		i++
		end = t.nodes[n].end
		e.element(f, n, next, valid, nul)
	}
	e.path = e.path[:path]
	e.top, e.valid, e.nul = top, valid, nul
	e.restOf(int(end), next)
}

// element decodes the element n of a list, with the format f or the one that takes it.
func (e *event) element(f *format, n int32, next func() *record.Record, valid, nul bool) {
	t := &e.doc
	e.partEnd = e.inLine(e.docAt() + int(t.nodes[n].end))
	raw := t.source(n)
	e.valid = valid || utf8.Valid(raw)
	e.nul = nul && bytes.IndexByte(raw, 0) >= 0
	e.top = n
	e.root = n
	object := t.kindOf(n) == kindObject
	took := f != nil && object && f.match(e)
	if f == nil || !took && object && !e.pinned() {
		e.decode(next) // a list can hold events of several formats
		return
	}
	e.begin(e.hand(next), e.part())
	e.lineFaults()
	if !took {
		e.misfit = "element is not a " + f.name + " event"
		f = nil
	}
	e.run(f, nil)
	e.misfit = ""
}

// eachNested decodes the events that the format finds in lists inside lists:
// OTLP's resourceSpans, scopeSpans, spans.
func (e *event) eachNested(f *format, next func() *record.Record) bool {
	t := &e.doc
	valid, nul, path := e.valid, e.nul, len(e.path)
	count, end := int32(0), int32(0)
	for _, names := range f.nested {
		e.nest(names, func(n int32) { count += t.nodes[n].count })
	}
	if count == 0 {
		return false
	}
	e.several = e.several || count > 1
	for _, names := range f.nested {
		e.nest(names, func(list int32) {
			at, i := len(e.path), 0
			for n := t.first(list); n != 0; n = t.next(n) {
				if t.kindOf(n) == kindNone || t.nodes[n].flags&isOpen != 0 {
					break
				}
				e.path = append(append(e.path[:at], '/'), decimal(i)...)
				i++
				end = t.nodes[n].end
				e.element(nil, n, next, valid, nul)
			}
		})
	}
	e.path, e.around = e.path[:path], e.around[:0]
	e.top, e.valid, e.nul = root, valid, nul
	e.restOf(int(end), next)
	return true
}

// nest calls yield for every list of the last of the names, in lists of the names
// before it, with the objects that the list stands in as e.around and its
// provenance as e.path.
func (e *event) nest(names [3]string, yield func(list int32)) {
	t := &e.doc
	outer := t.get(root, names[0])
	if outer == 0 || t.kindOf(outer) != kindArray {
		return
	}
	path := len(e.path)
	i := 0
	for a := t.first(outer); a != 0; a = t.next(a) {
		e.path = append(append(append(append(e.path[:path], '/'), names[0]...), '/'), decimal(i)...)
		i++
		middle := t.get(a, names[1])
		if middle == 0 || t.kindOf(middle) != kindArray {
			continue
		}
		under := len(e.path)
		j := 0
		for b := t.first(middle); b != 0; b = t.next(b) {
			e.path = append(append(append(append(e.path[:under], '/'), names[1]...), '/'), decimal(j)...)
			j++
			if list := t.get(b, names[2]); list != 0 && t.kindOf(list) == kindArray {
				e.around = append(e.around[:0], a, b)
				e.aroundAt = [2]int{under, len(e.path)}
				e.path = append(append(e.path, '/'), names[2]...)
				yield(list)
			}
		}
	}
	e.path, e.around = e.path[:path], e.around[:0]
}

// restOf makes a record of what stands behind the last whole event of a broken document.
func (e *event) restOf(end int, next func() *record.Record) {
	t := &e.doc
	if t.err == "" {
		return
	}
	for end < len(t.src) && (t.src[end] == ',' || t.src[end] <= ' ') {
		end++
	}
	if end >= len(t.src) {
		return
	}
	e.partEnd, e.several = e.inLine(len(e.payload)), true
	e.begin(e.hand(next), e.part())
	e.lineFaults()
	e.misfit = "rest of a broken list"
	e.run(nil, nil)
	e.misfit = ""
}

// pointer appends the JSON Pointer from at to n, which stands in it, to dst.
func (t *tree) pointer(dst []byte, at, n int32) []byte {
	for at != n {
		i := 0
		c := t.first(at)
		for c != 0 && t.next(c) != 0 && t.next(c) <= n {
			c = t.next(c)
			i++
		}
		if c == 0 || c > n {
			return dst
		}
		dst = append(dst, '/')
		if t.kindOf(at) == kindArray {
			dst = append(dst, decimal(i)...)
		} else {
			dst = appendSegment(dst, t.keyOf(c))
		}
		at = c
	}
	return dst
}

// appendSegment appends a member's name as a segment of a JSON Pointer.
func appendSegment(dst, key []byte) []byte {
	for _, c := range bytes.ToValidUTF8(key, []byte("\ufffd")) {
		switch c {
		case '~':
			dst = append(dst, "~0"...)
		case '/':
			dst = append(dst, "~1"...)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// place is the provenance as seen from the line. One that begins with "^" names a
// value of the document around the event.
func (e *event) place(prov string) string {
	from := &e.env.from
	own := ""
	switch prov {
	case "header:HOSTNAME":
		own = from.host
	case "header:APP-NAME":
		own = from.app
	case "header:PROCID":
		own = from.proc
	case "header:TIMESTAMP":
		own = from.time
	case "header:PRI":
		own = from.head
	default:
		switch {
		case strings.HasPrefix(prov, "sd:"):
			if from.head != "" {
				own = strings.TrimSuffix(from.head, "header:PRI")
				return own + prov
			}
			return prov
		case prov[0] == '^':
			return string(e.path[:e.base]) + prov[1:]
		default:
			return string(e.path) + prov
		}
	}
	if own != "" {
		return own
	}
	return prov
}

// enter makes the inside of the node n the payload. w is what the wrapping says about it.
// It returns false when there is nothing to read in it.
func (e *event) enter(n int32, w *wrapping) bool {
	if e.depth == maxLevels {
		return false
	}
	t := &e.doc
	v := t.nodes[n]
	from := e.docAt()
	l := &e.levels[e.depth]
	l.start, l.end, l.coding, l.text, l.mark = from+int(v.val), from+int(v.end), 0, false, false
	inner := t.src[v.val:v.end]
	path := len(e.path)
	below := n != e.top
	switch v.kind {
	case kindObject:
	case kindString:
		l.text = true
		if w.coded && n == w.data {
			size := base64.StdEncoding.DecodedLen(len(inner))
			if cap(l.buf) < size {
				l.buf = make([]byte, size)
			}
			k, err := base64.StdEncoding.Decode(l.buf[:size], inner)
			if err != nil {
				return false
			}
			inner, l.coding = l.buf[:k], '6'
		} else if v.flags&valEscaped != 0 {
			l.buf = unescape(l.buf[:0], inner)
			inner, l.coding = l.buf, '\\'
		}
	default:
		return false
	}
	inner = bytes.TrimRight(inner, " \t\r\n\x00")
	env := e.env
	env.sd = nil
	prefix := string(e.path)
	w.fill(e, &env, prefix)
	if below {
		e.path = t.pointer(e.path, e.top, n)
	}
	if l.text {
		e.path = append(e.path, '#')
	}
	e.push(l, inner, path)
	e.env = env
	if l.text {
		e.innerHeader(l)
	}
	return true
}

// push makes inner the payload and keeps what stands around it.
func (e *event) push(l *level, inner []byte, path int) {
	l.payload, l.env, l.valid, l.ctl, l.isJSON, l.top = e.payload, e.env, e.valid, e.ctl, e.isJSON, e.top
	l.path, l.base, l.in, l.out, l.skip = path, e.base, 0, 0, 0
	l.around = append(l.around[:0], e.around...)
	l.doc.seed = e.doc.seed
	e.doc, l.doc = l.doc, e.doc
	e.depth++
	e.payload, e.top, e.base, e.around = inner, root, len(e.path), e.around[:0]
	e.isJSON, e.paired, e.isPair, e.ctl, e.tagsOf = false, false, false, true, 0
	e.valid = utf8.Valid(inner)
}

// leave undoes the last enter.
func (e *event) leave() {
	e.depth--
	l := &e.levels[e.depth]
	e.doc, l.doc = l.doc, e.doc
	e.payload, e.env, e.valid, e.ctl, e.isJSON, e.top = l.payload, l.env, l.valid, l.ctl, l.isJSON, l.top
	e.path, e.base = e.path[:l.path], l.base
	e.around = append(e.around[:0], l.around...)
	e.paired, e.isPair, e.tagsOf = false, false, 0
}

// innerHeader reads a syslog header that the text has of its own.
func (e *event) innerHeader(l *level) {
	b := e.payload
	if len(b) < 16 || b[0] != '<' && b[0]-'0' >= 10 && (b[0] < 'A' || b[0] > 'S') {
		return
	}
	out := e.env
	var v envelope
	v.split(b, e.received, e.src.Zone, true)
	if !v.found {
		return
	}
	at := string(e.path)
	v.from = origins{at + "header:PRI", at + "header:HOSTNAME", at + "header:APP-NAME", at + "header:PROCID", at + "header:TIMESTAMP"}
	if v.host == nil {
		v.host, v.from.host = out.host, out.from.host
	}
	if v.app == nil {
		v.app, v.from.app = out.app, out.from.app
	}
	if v.proc == nil {
		v.proc, v.from.proc = out.proc, out.from.proc
	}
	if !v.hasTime {
		v.time, v.hasTime, v.from.time = out.time, out.hasTime, out.from.time
	}
	if v.demo == "" {
		v.demo = out.demo
	}
	l.skip, l.mark = v.msg, true
	e.payload = b[v.msg:]
	e.env = v
}
