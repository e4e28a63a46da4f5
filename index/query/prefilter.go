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

// Prefilter evaluates the query when only some fields of the effective record
// are known, for example those kept as columns. get returns all values of a
// path, none when it is absent, in the form of [record.Record.Values] (the name
// of the kind for [KindField], decimal digits for [SeqField]), and whether they
// are known at all. False and True are what Match would say; word searches and
// sealed.* are never known. A result that depends on the kind is Unknown as long
// as the kind is.
func (q *Query) Prefilter(get func(p record.Path) (values []string, known bool)) Tri {
	scope := True
	if q.kinds != allKinds {
		scope = Unknown
		if vals, known := get(record.Path{Field: KindField}); known {
			scope = False
			for _, v := range vals {
				if k, ok := record.ParseKind(v); !ok {
					scope = Unknown
				} else if q.kinds.Has(k) {
					scope = True
				}
			}
		}
	}
	if scope == False {
		return False
	}
	t := q.root.prefilter(get)
	if t == True {
		return scope
	}
	return t
}

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
