package chain

import (
	"hash/maphash"

	"custody/ingest/record"
)

// UnansweredHandoff is the evidence of a chain_broken that lies behind the record
// which states it, not in front of it.
const UnansweredHandoff = "nothing arrived from the agent that it was handed to"

// Asker is a principal whom records of a chain name as the one who asked.
type Asker struct {
	Seq                               uint64 // of the record that says so best
	Type, ID, Name, Issuer, Assurance string
}

// maxAskers bounds the principals that are told apart in one chain.
const maxAskers = 64

// Askers lists who asked for what the records of one chain show, by the rules of
// the [Linker]: what records state of a requester counts before who acted by
// themselves, and those who approved or revoked did not ask. One is the requester
// of all; of several nobody can be said to be the one. A directory's number and a
// name are two, unless a record shows that they are one.
func Askers(rows []*record.Record) []Asker {
	p := people{seed: maphash.MakeSeed(), now: make(map[uint64]*who)}
	type named struct {
		Asker
		who    *who
		linked bool // found through another record, which says it better
	}
	var stated, acted []named
	put := func(list []named, r *record.Record, w *who, assurance string) []named {
		n := named{Asker{r.Seq, w.typ, w.id, w.name, w.issuer, assurance}, w, assurance == record.Correlated}
		for i, have := range list {
			if !surely(have.who, w) {
				continue
			}
			if have.linked && !n.linked || have.linked == n.linked && w.rank > have.who.rank {
				list[i] = n
			}
			return list
		}
		if len(list) < maxAskers {
			list = append(list, n)
		}
		return list
	}
	person := false
	for _, r := range rows {
		if bystander(r) || onHost(r) && r.Get(record.RequesterIDKind) == "local_account" {
			continue
		}
		if w := p.requesterOf(r); w != nil {
			if besideCredential(r, w) {
				continue
			}
			stated = put(stated, r, w, r.Get(record.RequesterAssurance))
			person = person || w.typ == record.Person
		} else if w := p.actorOf(r); w != nil && w.id != "" {
			acted = put(acted, r, w, r.Get(record.ExecutorAssurance))
		}
	}
	if len(stated) == 0 {
		stated = acted
	}
	var out []Asker
	for _, n := range stated {
		switch n.Type {
		case record.Agent, record.Workload, record.ServiceAccount:
			if person {
				continue // it acted in between: a person stands at the beginning
			}
		}
		out = append(out, n.Asker)
	}
	return out
}

// besideCredential reports whether the requester is only claimed, by whoever used a
// credential and without a trace to stand on: that is said of the record alone.
func besideCredential(r *record.Record, w *who) bool {
	if w.rank >= rankProven || !w.asserted {
		return false
	}
	for _, f := range [...]record.Field{record.ChainTraceID, record.ChainTaskID, record.ChainConversationID} {
		if !empty(r.Get(f)) {
			return false
		}
	}
	if !empty(r.Get(record.CredentialID)) && r.Get(record.CredentialEventOp) == "" {
		return true
	}
	for _, d := range r.DelegationList() {
		if !empty(d.Credential) {
			return true
		}
	}
	return false
}
