package query

import "custody/ingest/record"

// Tri is a truth value of three.
type Tri uint8

// The truth values.
const (
	Unknown Tri = iota
	False
	True
)

// prefilter evaluates the condition when only some paths are known: get returns
// their values, and whether they are.
func (n *node) prefilter(get func(p record.Path) ([]string, bool)) Tri {
	switch n.op {
	case opAll:
		return True
	case opAnd:
		t := True
		for _, k := range n.byCost {
			switch k.prefilter(get) {
			case False:
				return False
			case Unknown:
				t = Unknown
			}
		}
		return t
	case opOr:
		t := False
		for _, k := range n.byCost {
			switch k.prefilter(get) {
			case True:
				return True
			case Unknown:
				t = Unknown
			}
		}
		return t
	case opNot:
		switch n.kids[0].prefilter(get) {
		case True:
			return False
		case False:
			return True
		}
		return Unknown
	case opText:
		return Unknown
	}
	if n.sealed {
		return Unknown
	}
	vals, known := get(n.path)
	switch {
	case !known:
		return Unknown
	case n.matchAny(vals):
		return True
	}
	return False
}
