package verify

import "fmt"

// Problem is one fault, over a range of seqs.
type Problem struct {
	From   uint64 `json:"from"`
	To     uint64 `json:"to"`               // inclusive
	Where  string `json:"where,omitempty"`  // the structure at fault, where it is not the log or a row
	What   string `json:"what"`             // what is wrong
	Advice string `json:"advice,omitempty"` // what to do about it
	// NoExcuse says that something is gone for which no authority was among the
	// rows that were read; one that could not be read may name it.
	NoExcuse bool `json:"-"`
}

// String is the problem in one line, without the advice.
func (p Problem) String() string {
	at := fmt.Sprintf("seq %d", p.From)
	if p.From != p.To {
		at = fmt.Sprintf("seq %d to %d", p.From, p.To)
	}
	if p.Where != "" {
		at = p.Where + ", " + at
	}
	return at + ": " + p.What
}

// What to do about a fault.
const (
	adviceKey = "verify with the public key that was pinned when the log began and with checkpoints of this log; " +
		"if both are right, the log was replaced: keep this folder as it is and compare it with a copy that left the host"
	adviceLog  = "keep this folder as it is, restore log/ from a copy that left the host, and verify that against the newest checkpoint you hold"
	adviceTile = "unless the root is wrong too, the entries are right and rows are proven by them; \"custody log export\" computes all " +
		"tiles anew. Find out who could write to log/"
	adviceHistory = "keep this folder as it is: its history is not the one that was published. Use the copy that the earlier checkpoint belongs to"
	adviceRows    = "do not rely on these rows: keep the folder as it is, find out who could write to segments/, and take the rows from a copy that verifies"
	// AdviceIndex is for faults of what only the search relies on.
	AdviceIndex = "the rows are proven and searches may have missed some of them: find out who could write to segments/, " +
		"and restore the segment from a copy that verifies"
)

// Report is the outcome.
type Report struct {
	Origin     string    `json:"origin,omitempty"`
	Size       uint64    `json:"size"`        // entries in the log
	Tiles      uint64    `json:"tiles"`       // stored tiles that were compared
	Rows       uint64    `json:"rows"`        // rows present and re-computed
	Expired    uint64    `json:"expired"`     // rows gone, with a certificate
	Redacted   uint64    `json:"redacted"`    // rows with values gone, with a redaction
	Unsealed   uint64    `json:"unsealed"`    // rows behind the checkpoint, not yet sealed
	Blocks     uint64    `json:"blocks"`      // blocks whose search structures were derived anew
	IndexTerms uint64    `json:"index_terms"` // (term, block) pairs that the search index was asked for
	Tier       string    `json:"tier"`        // "self-checked only", or "compared with N earlier checkpoint(s) …"
	Problems   []Problem `json:"problems,omitempty"`
	Omitted    uint64    `json:"omitted,omitempty"` // problems beyond MaxProblems
	Notes      []Problem `json:"notes,omitempty"`   // what costs time and hides nothing
	found      func(Problem)
	told       int // problems that found was told
}

// OK reports whether nothing was found.
func (r *Report) OK() bool { return len(r.Problems) == 0 }

// MaxProblems bounds a report; more of the same adds nothing.
const MaxProblems = 1000

// Add adds a problem; faults of one kind side by side are one range.
func (r *Report) Add(p Problem) { r.add(p.From, p.To, p) }

func (r *Report) add(from, to uint64, p Problem) {
	p.From, p.To = from, to
	if n := len(r.Problems); n > 0 && r.told < n {
		last := &r.Problems[n-1]
		if last.What == p.What && last.Where == p.Where && last.To+1 == from {
			last.To = to
			return
		}
	}
	r.Flush()
	if len(r.Problems) >= MaxProblems {
		r.Omitted++
		return
	}
	r.Problems = append(r.Problems, p)
}

// Flush tells Input.Found the problems that it was not told yet: they will not grow any more.
func (r *Report) Flush() {
	for r.told < len(r.Problems) {
		if r.found != nil {
			r.found(r.Problems[r.told])
		}
		r.told++
	}
}

// maxNotes bounds the notes.
const maxNotes = 100

// Note adds something that is not as it should be and hides nothing.
func (r *Report) Note(p Problem) {
	if len(r.Notes) < maxNotes {
		r.Notes = append(r.Notes, p)
	}
}
