package attribution

import (
	"bytes"
	"slices"

	"custody/ingest"
)

// format is one source format. A line is decoded by the first format in the
// table that takes it, or by the one that the source pins.
type format struct {
	name    string // as source.format shows it and a source pins it
	product string // source.product, unless the source has its own; may be ""
	issuer  string // who proves its principals, for AuthoritativeFor beside name; may be ""
	shape   shape  // what the payload must be before match is asked

	// keys are members of which an event, or the object that a list of events stands
	// in, has at least one at its top. A format that has keys is only asked for
	// objects with one of them, unless it is pinned. May be nil: asked always.
	keys []string
	has  keySet // keys
	// match looks at the payload, quickly: it is asked for most lines.
	match func(e *event) bool
	// decode fills the record. It cannot fail: what it does not understand it leaves out.
	decode func(e *event)
	// list returns the array that holds the events when one line holds several,
	// else 0. May be nil.
	list func(e *event) int32
	// nested are the names of lists inside lists that hold the events of one line,
	// outermost first. The objects that an event stands in are in e.around; each
	// event is decoded by the format that takes it. May be nil.
	nested [][3]string
	// general marks the forms that take almost anything: they are asked only when
	// no particular format takes what the line holds inside.
	general bool
	// join returns how many of the lines are one event with the first, which is the
	// event's line; at least 1. May be nil.
	join func(e *event, lines []ingest.Line) int
	// guide tells people what the format says and what it leaves out.
	guide guide
}

// shape is the form of a payload.
type shape uint8

const (
	shapeJSON  shape = iota // a JSON object, in e.doc
	shapePairs              // key=value pairs, in e.pairs
	shapeText               // anything else
)

// builtin is the table of formats, the particular before the general. Each
// family has its own file, families are in the order in which they are asked.
func builtin() []format {
	return slices.Concat(
		amazon(),
		microsoft(),
		google(),
		identity(),
		privileged(),
		hosts(),
		telemetry(),
		generic(),
	)
}

// choose finds what decodes the payload: a mapping, or a format, or neither.
func (e *event) choose() (*format, *mapping) {
	e.misfit = ""
	json := e.isJSON || e.parseJSON()
	switch {
	case e.src.Mapping != "":
		for _, m := range e.g.mappings {
			if m.name == e.src.Mapping {
				if !m.fits(e) {
					e.misfit = "mapping " + m.name + ": the line is not " + m.kind
					return nil, nil
				}
				return nil, m
			}
		}
		e.misfit = "mapping " + e.src.Mapping + ": not known"
		return nil, nil
	case e.src.Format != "":
		known := false
		for i := range e.g.formats {
			f := &e.g.formats[i]
			if f.name == e.src.Format {
				known = true
				if e.takes(f, json) {
					return f, nil
				}
			}
		}
		e.misfit = "pinned format " + e.src.Format + ": the line is not of it"
		if !known {
			e.misfit = "pinned format " + e.src.Format + ": not known"
		}
		return nil, nil
	}
	for _, m := range e.g.mappings {
		if m.fits(e) && m.matches(e) {
			return nil, m
		}
	}
	object := json && e.top == root && e.doc.kindOf(root) == kindObject
	for i := range e.g.formats {
		f := &e.g.formats[i]
		if f.general || json != (f.shape == shapeJSON) || object && f.keys != nil && !f.has.any(&e.doc.top) {
			continue
		}
		if e.takes(f, json) {
			return f, nil
		}
	}
	return nil, nil
}

// fallback is the general format that takes the payload.
func (e *event) fallback() *format {
	for i := range e.g.formats {
		if f := &e.g.formats[i]; f.general && e.takes(f, e.isJSON) {
			return f
		}
	}
	return nil
}

// unwraps reports whether lines of a general format may hold an event of
// another: not those that are kept as the text they are.
func (f *format) unwraps() bool { return f.shape != shapeText }

func (e *event) takes(f *format, json bool) bool {
	e.root = e.top
	switch f.shape {
	case shapeJSON:
		return json && (f.match(e) || e.top == root && f.list != nil && f.list(e) != 0)
	case shapePairs:
		return !json && e.parsePairs() && f.match(e)
	default:
		return !json && f.match(e)
	}
}

// parseJSON parses the payload if it looks like a JSON document. A line of text
// may begin with a bracket too, so what cannot be one from its second token on
// stays text.
func (e *event) parseJSON() bool {
	if e.readJSON() {
		return true
	}
	// The document of the line before must not answer for this one.
	e.doc.empty()
	return false
}

func (e *event) readJSON() bool {
	b := e.payload
	i := skipSpace(b, 0)
	if bytes.HasPrefix(b[i:], []byte("@cee:")) {
		i = skipSpace(b, i+5)
	}
	if i >= len(b) || b[i] != '{' && b[i] != '[' {
		return false
	}
	second := byte(0)
	if j := skipSpace(b, i+1); j < len(b) {
		second = b[j]
	}
	pinned := e.pinned()
	if pinned && b[i] == '[' { // a tag in brackets is no array, however broken
		j := i
		for j < len(b) && (b[j] == '[' || b[j] <= ' ') {
			j++
		}
		if j < len(b) && bytes.IndexByte([]byte(`{]"-0123456789tfn`), b[j]) < 0 {
			return false
		}
	}
	if !pinned {
		if b[i] == '{' && second != '"' && second != '}' && second != 0 {
			return false
		}
		if b[i] == '[' && second != '[' && second != '{' {
			return false
		}
	}
	e.doc.parse(b[i:], e.ctl)
	if b[i] == '[' && (!pinned || second-'0' < 10) && e.doc.err != "" && e.doc.err != "cut off" && e.doc.at < maxDepth {
		return false
	}
	e.isJSON = true
	return true
}
