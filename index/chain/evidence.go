package chain

import (
	"slices"
	"strconv"

	"custody/ingest/record"
)

// evidence gathers what speaks for a requester of one record.
type evidence struct {
	open    bool // the record itself names no requester
	parent  bool // its own parent is known
	byChain bool // nothing but the chain speaks
	claims  [6]claim
	n       int
	whole   *chain // the chain, as a claim
	links   int
	tos     [6]uint64
}

type claim struct {
	supply
	near bool // said of this record, not of its chain as a whole
}

func (e *evidence) init(m *member) {
	*e = evidence{open: !m.stated}
	if m.own != nil && !m.stated {
		e.open = false // a person acted by themselves
	}
}

func (e *evidence) add(w *who, seq uint64, near bool) {
	if e.n < len(e.claims) {
		e.claims[e.n] = claim{supply{w, seq}, near}
		e.n++
	}
}

// chain lets the chain as a whole speak.
func (e *evidence) chain(c *chain) { e.whole = c }

// link adds a link to the record, one for each record it leads to.
func (e *evidence) link(r *record.Record, k record.Link) {
	if e.links == len(e.tos) || slices.Contains(e.tos[:e.links], k.To) {
		return
	}
	e.tos[e.links] = k.To
	e.links++
	r.AddLink(k)
}

// verdict is the requester on whom all agree, or those who do not.
func (e *evidence) verdict() (*who, []supply) {
	var rivals []supply
	put := func(s supply) {
		for _, have := range rivals {
			if surely(have.who, s.who) {
				return
			}
		}
		rivals = append(rivals, s)
	}
	near := false
	for _, c := range e.claims[:e.n] {
		near = near || c.near
		put(c.supply)
	}
	if c := e.whole; c != nil && c.who != nil {
		// The chain as a whole speaks for those of whom nothing nearer is known,
		// and against a nearer claim that it contradicts.
		switch {
		case !e.parent && len(c.others) > 0 && !near:
			put(supply{c.who, c.whoSeq})
			for _, o := range c.others {
				put(o)
			}
		case e.parent && near && len(c.others) > 0:
			// The own parent tells which of the chain's people it was.
		case len(c.others) == 0:
			e.byChain = len(rivals) == 0
			put(supply{c.who, c.whoSeq})
		default:
			put(supply{c.who, c.whoSeq})
			for _, o := range c.others {
				put(o)
			}
		}
	}
	if len(rivals) == 1 {
		return rivals[0].who, nil
	}
	return nil, rivals
}

// because explains a finding.
func (e *evidence) because(r *record.Record, finding, why string, seqs ...uint64) {
	explain(r, finding, why, seqs...)
}

// explain adds a sentence to the record's evidence. It names records, never
// people, so that redacting a name leaves nothing behind here.
func explain(r *record.Record, finding, why string, seqs ...uint64) {
	r.Add(record.Evidence, sentence(finding, why, seqs), "")
}

func sentence(finding, why string, seqs []uint64) string {
	b := make([]byte, 0, 96)
	b = append(append(append(b, finding...), ": "...), why...)
	for i, s := range seqs {
		b = append(b, " #"...)
		if i > 0 {
			b = append(b[:len(b)-2], ", #"...)
		}
		b = strconv.AppendUint(b, s, 10)
	}
	return string(b)
}

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }
