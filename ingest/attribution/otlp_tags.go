package attribution

import (
	"bytes"

	"custody/ingest/record"
)

// otelTag is one attribute of a span, a log record, their scope or their resource.
type otelTag struct {
	key   []byte
	val   int32 // a scalar or an array, 0 for none
	level tagLevel
	index int32 // in the list of attributes; -1 in an object
	where uint8 // in tagPlaces
	typed uint8 // in tagTypes, 0 for none
}

type tagLevel uint8

const (
	ownTag tagLevel = iota
	scopeTag
	resourceTag
)

// maxTags bounds the attributes that are read of one event, and maxAround those
// of what it stands in, which are read anew for each of its events.
const (
	maxTags   = 512
	maxAround = 64
)

// tagPlaces are where attributes stand, by writer.
var tagPlaces = [...]struct {
	level   tagLevel
	pointer string
}{
	{ownTag, ""}, // as members of the event itself
	{ownTag, "/attributes"},
	{ownTag, "/Attributes"},
	{ownTag, "/SpanAttributes"},
	{ownTag, "/LogAttributes"},
	{ownTag, "/span_attributes"},
	{ownTag, "/log_attributes"},
	{ownTag, "/tags"},
	{scopeTag, "/scope/attributes"},
	{resourceTag, "/resource/attributes"},
	{resourceTag, "/resource/_rawAttributes"},
	{resourceTag, "/ResourceAttributes"},
	{resourceTag, "/resource_attributes"},
	{resourceTag, "/resources"},
	{resourceTag, "/process/tags"},
}

// tagTypes are the members that hold a value by its type.
var tagTypes = [...]string{"", "stringValue", "intValue", "boolValue", "doubleValue", "bytesValue", "arrayValue", "string_value", "int_value", "bool_value"}

// loadTags reads the attributes of the event and reports whether it is a span or
// a log record of OpenTelemetry.
func (e *event) loadTags() bool {
	if e.tagsOf == e.root && e.tagsDepth == e.depth {
		return e.isOTel
	}
	e.tagsOf, e.tagsDepth, e.isOTel, e.tags, e.tagText = e.root, e.depth, false, e.tags[:0], e.tagText[:0]
	t, o := &e.doc, e.root
	if t.kindOf(o) != kindObject {
		return false
	}
	if !e.mayBeOTel() {
		return false
	}
	ids := 0
	for _, k := range [...]string{"traceId", "trace_id", "TraceId", "traceID", "spanId", "span_id", "SpanId", "startTimeUnixNano", "timeUnixNano", "observedTimeUnixNano", "hrTime", "severityNumber", "severity_number", "SeverityNumber", "context", "spanContext", "eventName", "trace.id"} {
		if t.get(o, k) != 0 {
			ids++
		}
	}
	found := false
	if ids > 0 || len(e.around) > 0 {
		for i := 1; i < len(tagPlaces); i++ {
			p := &tagPlaces[i]
			n := int32(0)
			switch {
			case p.level == ownTag || len(e.around) == 0:
				n = t.find(o, p.pointer)
			case p.level == scopeTag:
				n = t.find(e.around[1], p.pointer)
			default:
				n = t.find(e.around[0], p.pointer)
			}
			if n != 0 {
				found = found || p.level == ownTag
				most := maxTags
				if p.level != ownTag {
					most = min(maxTags, len(e.tags)+maxAround)
				}
				e.tagsIn(n, uint8(i), most)
			}
		}
	}
	// Flattened: names with dots among the members.
	if ids > 0 || !found {
		for c := t.first(o); c != 0 && len(e.tags) < maxTags; c = t.next(c) {
			key := t.keyOf(c)
			if bytes.IndexByte(key, '.') > 0 && t.kindOf(c) > kindNull && t.nodes[c].flags&isDuplicate == 0 {
				found = true
				key = bytes.TrimPrefix(bytes.TrimPrefix(key, []byte("attributes.")), []byte("span.attributes."))
				e.tags = append(e.tags, otelTag{key: key, val: c, index: -1})
			}
		}
	}
	e.isOTel = len(e.around) > 0 || found
	return e.isOTel
}

// tagsIn reads the attributes of one place: OTLP's list of key and value, a list
// of pairs, or an object, flat or nested, until there are most.
func (e *event) tagsIn(n int32, where uint8, most int) {
	t := &e.doc
	level := tagPlaces[where].level
	if t.kindOf(n) == kindArray {
		i := int32(0)
		for c := t.first(n); c != 0 && len(e.tags) < most; c, i = t.next(c), i+1 {
			key, val := t.get(c, "key"), t.get(c, "value")
			if t.kindOf(c) == kindArray && t.nodes[c].count == 2 {
				key = t.first(c)
				val = t.next(key)
			}
			if key == 0 || val == 0 || t.kindOf(key) != kindString {
				continue
			}
			k := e.value(key)
			if t.nodes[key].flags&valEscaped != 0 {
				k = e.ownText(k)
			}
			val, typed := e.typedValue(val)
			e.tags = append(e.tags, otelTag{k, val, level, i, where, typed})
		}
		return
	}
	if t.kindOf(n) != kindObject {
		return
	}
	// Nested objects are joined with dots; four levels are enough for all names.
	type frame struct {
		node   int32
		prefix []byte
	}
	stack := [5]frame{{t.first(n), nil}}
	for d := 0; d >= 0 && len(e.tags) < most; {
		c := stack[d].node
		if c == 0 {
			d--
			continue
		}
		stack[d].node = t.next(c)
		if t.nodes[c].flags&isDuplicate != 0 {
			continue
		}
		key := t.keyOf(c)
		if stack[d].prefix != nil {
			at := len(e.tagText)
			e.tagText = append(append(append(e.tagText, stack[d].prefix...), '.'), key...)
			key = e.tagText[at:len(e.tagText):len(e.tagText)]
		}
		val, typed := e.typedValue(c)
		if typed == 0 && t.kindOf(val) == kindObject && d+1 < len(stack) {
			d++
			stack[d] = frame{t.first(val), key}
			continue
		}
		e.tags = append(e.tags, otelTag{key, val, level, -1, where, typed})
	}
}

// ownText keeps a text until the next event.
func (e *event) ownText(b []byte) []byte {
	at := len(e.tagText)
	e.tagText = append(e.tagText, b...)
	return e.tagText[at:len(e.tagText):len(e.tagText)]
}

// typedValue looks through {"stringValue":"x"}.
func (e *event) typedValue(n int32) (val int32, typed uint8) {
	t := &e.doc
	if t.kindOf(n) != kindObject || t.nodes[n].count != 1 {
		return n, 0
	}
	c := t.first(n)
	for i, k := range tagTypes {
		if k != "" && string(t.keyOf(c)) == k {
			if i == 6 {
				if v := t.get(c, "values"); v != 0 {
					return v, uint8(i)
				}
			}
			return c, uint8(i)
		}
	}
	return n, 0
}

// tagged is the attribute with the first of the names that has a value, the
// event's own before its scope's and its resource's. An attribute that stands
// twice with two values says nothing.
func (e *event) tagged(names ...string) said {
	for _, name := range names {
		if i := e.tagAt(name); i >= 0 {
			if v := e.value(e.tags[i].val); len(v) > 0 {
				return said{v, e.tagProv(&e.tags[i])}
			}
		}
	}
	return said{}
}

func (e *event) tagAt(name string) int {
	for i := range e.tags {
		g := &e.tags[i]
		if len(g.key) != len(name) || string(g.key) != name || g.val == 0 {
			continue
		}
		for j := i + 1; j < len(e.tags); j++ {
			if o := &e.tags[j]; o.level == g.level && len(o.key) == len(name) && string(o.key) == name && !bytes.Equal(e.value(o.val), e.value(g.val)) {
				e.fail("attribute " + name + " stands twice")
				return -1
			}
		}
		return i
	}
	return -1
}

func (e *event) hasTag(names ...string) bool {
	for _, n := range names {
		for i := range e.tags {
			if string(e.tags[i].key) == n {
				return true
			}
		}
	}
	return false
}

// tagPrefix reports whether an attribute of the event itself begins with one of the prefixes.
func (e *event) tagPrefix(prefixes ...string) bool {
	for i := range e.tags {
		if e.tags[i].level != ownTag {
			continue
		}
		for _, p := range prefixes {
			if len(e.tags[i].key) > len(p) && string(e.tags[i].key[:len(p)]) == p {
				return true
			}
		}
	}
	return false
}

// tagProv is where an attribute's value stands.
func (e *event) tagProv(g *otelTag) string {
	p := tagPlaces[g.where].pointer
	if g.where == 0 { // the name as it stands, which may have a prefix that key has not
		return string(appendSegment([]byte("/"), e.doc.keyOf(g.val)))
	}
	if g.level != ownTag && len(e.around) > 0 {
		p = "^" + string(e.path[e.base:e.aroundAt[2-int(g.level)]]) + p
	}
	switch {
	case g.index < 0 && g.typed == 0:
		return string(e.doc.pointer([]byte(p), e.tagHome(g), g.val))
	case g.index < 0:
		return string(appendSegment([]byte(p+"/"), g.key)) + "/" + tagTypes[g.typed]
	case g.typed == 0:
		return p + "/" + decimal(int(g.index)) + "/1"
	}
	p += "/" + decimal(int(g.index)) + "/value/" + tagTypes[g.typed]
	if g.typed == 6 {
		p += "/values"
	}
	return p
}

// tagHome is the object that holds the attributes of g's place.
func (e *event) tagHome(g *otelTag) int32 {
	from := e.root
	if g.level != ownTag && len(e.around) > 0 {
		from = e.around[2-int(g.level)]
	}
	return e.doc.find(from, tagPlaces[g.where].pointer)
}

// setTag fills f from the first attribute that has a value.
func (e *event) setTag(f record.Field, names ...string) []byte {
	s := e.tagged(names...)
	e.tell(f, s)
	return s.v
}

// listTag appends the elements of an attribute that is a list, or the words of one that is a text.
func (e *event) listTag(f record.Field, name string) {
	i := e.tagAt(name)
	if i < 0 {
		return
	}
	g := &e.tags[i]
	prov := e.tagProv(g)
	t := &e.doc
	if t.kindOf(g.val) != kindArray {
		for _, w := range bytes.FieldsFunc(e.value(g.val), func(c rune) bool { return c == ' ' || c == ',' }) {
			e.add(f, w, prov)
		}
		return
	}
	for c := t.first(g.val); c != 0; c = t.next(c) {
		v, _ := e.typedValue(c)
		e.add(f, e.value(v), prov)
	}
}
