package chain

import (
	"slices"
	"time"

	"custody/ingest/record"
)

// Amendment is something to be stated of sealed records.
type Amendment struct {
	About  []uint64 // ascending
	Tenant string

	chain     uint64 // the chain that they belong to
	moved     bool   // chain is set
	requester *who
	unnamed   bool // no requester can be named any more
	links     []record.Link
	findings  []string
	evidence  []string
	executor  *who
	approver  string
}

// Fill writes the amendment into an empty row.
func (a *Amendment) Fill(r *record.Record) {
	for _, seq := range a.About {
		r.Add(record.About, decimal(seq), "")
	}
	r.Set(record.ContextTenant, a.Tenant, "")
	if a.moved {
		r.Set(record.ChainID, decimal(a.chain), "")
	}
	if a.requester != nil {
		a.requester.write(r)
	}
	if a.unnamed {
		r.SetAbsent("requester", record.NotEstablished)
	}
	if x := a.executor; x != nil {
		r.Set(record.ExecutorID, x.id, "")
		r.Set(record.ExecutorType, x.typ, "")
		r.Set(record.ExecutorIssuer, x.issuer, "")
		r.Set(record.ExecutorAssurance, record.Correlated, "")
	}
	r.Set(record.ApprovalApprover, a.approver, "")
	for _, k := range a.links {
		r.AddLink(k)
	}
	for _, f := range a.findings {
		r.AddFinding(f)
	}
	for _, x := range a.evidence {
		r.Add(record.Evidence, x, "")
	}
}

// aboutMost bounds the records that one amendment speaks of.
const aboutMost = 256

func (l *Linker) amend(a Amendment, about []uint64) {
	slices.Sort(about)
	about = slices.Compact(about)
	for part := range slices.Chunk(about, aboutMost) {
		a.About = slices.Clone(part)
		l.out = append(l.out, a)
	}
}

func (l *Linker) amendRequester(about []uint64, w *who, k record.Link, c *chain) {
	a := Amendment{Tenant: c.tenant, requester: w, links: []record.Link{k}}
	if w.asserted {
		a.findings = []string{record.RequesterAsserted}
	}
	about = slices.DeleteFunc(slices.Clone(about), func(seq uint64) bool { return seq == k.To })
	if len(about) > 0 {
		l.amend(a, about)
	}
}

// amendAmbiguous takes the name back from rows that were given it only because
// of their chain, now that the chain names two people.
func (l *Linker) amendAmbiguous(c *chain) {
	about := slices.Clone(c.guided)
	c.guided, c.waiting = nil, bounded(c.waiting, about, maxWaiting)
	if len(about) == 0 {
		return
	}
	seqs := []uint64{c.whoSeq}
	for _, o := range c.others {
		seqs = append(seqs, o.seq)
	}
	slices.Sort(seqs)
	l.amend(Amendment{
		Tenant: c.tenant, unnamed: true,
		links:    []record.Link{{To: seqs[0], Relation: CalledBy, Method: Propagated, Candidates: seqs}},
		findings: []string{record.LinkAmbiguous},
		evidence: []string{sentence(record.LinkAmbiguous, "these records name different requesters", seqs)},
	}, about)
}

// amendMerged states that sealed chains belong to an older one.
func (l *Linker) amendMerged(c *chain) {
	about := make([]uint64, 0, len(c.merged))
	for _, b := range c.merged {
		about = append(about, b.root)
	}
	c.merged = nil
	l.amend(Amendment{Tenant: c.tenant, chain: c.root, moved: true}, about)
}

// finding states a finding of one sealed record.
func (l *Linker) finding(tenant string, seq uint64, finding, why string, others ...uint64) {
	l.out = append(l.out, Amendment{
		About: []uint64{seq}, Tenant: tenant,
		findings: []string{finding}, evidence: []string{sentence(finding, why, others)},
	})
}

func duration(ns int64) time.Duration { return time.Duration(ns) }
