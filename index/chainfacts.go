package index

import (
	"slices"

	"custody/index/chain"
	"custody/ingest/record"
)

// Askers lists who asked for the chain: one, or nobody, or several of whom it
// cannot be said. A record that is ambiguous between records of this chain leaves
// it open for the whole chain; candidates that nobody is read of have a seq only.
func (c *Chain) Askers() []chain.Asker {
	out := chain.Askers(c.Records)
	if len(out) > 1 {
		return out
	}
	in := make(map[uint64]bool, len(c.Records))
	for _, r := range c.Records {
		in[r.Seq] = true
	}
	var doubt []uint64
	for _, r := range c.Records {
		for _, k := range r.LinkList() {
			here := slices.DeleteFunc(slices.Clone(k.Candidates), func(seq uint64) bool { return !in[seq] })
			if len(here) > 1 && slices.Contains(r.List(record.Findings), record.LinkAmbiguous) {
				doubt = append(doubt, here...)
			}
		}
	}
	slices.Sort(doubt)
	for _, seq := range slices.Compact(doubt) {
		if len(out) < maxCandidates && !slices.ContainsFunc(out, func(a chain.Asker) bool { return a.Seq == seq }) {
			out = append(out, chain.Asker{Seq: seq})
		}
	}
	return out
}

const maxCandidates = 64

// Party is an executor of a chain.
type Party struct {
	Type, ID, Name, Issuer string
	Records                int
}

// Parties lists who acted in the chain, in the order of their first record.
func (c *Chain) Parties() []Party {
	var out []Party
	at := make(map[[3]string]int)
	for _, r := range c.Records {
		p := Party{r.Get(record.ExecutorType), r.Get(record.ExecutorID), r.Get(record.ExecutorName), r.Get(record.ExecutorIssuer), 1}
		if p.ID == "" && p.Name == "" {
			continue
		}
		k := [3]string{p.ID, p.Issuer, ""}
		if p.ID == "" {
			k[2] = p.Name
		}
		if i, ok := at[k]; ok {
			out[i].Records++
			continue
		}
		at[k] = len(out)
		out = append(out, p)
	}
	return out
}

// ChainCredential is a credential that records of a chain show.
type ChainCredential struct {
	ID, Kind, Issuer string
	Expires          string
	Issued           []uint64 // seqs; issued, exchanged
	Renewed          []uint64
	Ended            []uint64 // revoked, expired
	Uses             int      // records that used it, or stand behind it in a delegation
}

// Credentials lists the credentials of the chain, in the order of their first record.
func (c *Chain) Credentials() []ChainCredential {
	var out []ChainCredential
	at := make(map[string]int)
	get := func(id string) *ChainCredential {
		i, ok := at[id]
		if !ok {
			i = len(out)
			at[id] = i
			out = append(out, ChainCredential{ID: id})
		}
		return &out[i]
	}
	for _, r := range c.Records {
		own := r.Get(record.CredentialID)
		if own != "" {
			get(own).learn(r)
		}
		var told []string
		for _, d := range r.DelegationList() {
			if d.Credential != "" && d.Credential != own && !slices.Contains(told, d.Credential) && len(told) < maxCandidates {
				told = append(told, d.Credential)
				get(d.Credential).Uses++
			}
		}
	}
	return out
}

// learn takes up what the record says of the credential that it shows.
func (k *ChainCredential) learn(r *record.Record) {
	k.Kind, k.Issuer = either(k.Kind, r.Get(record.CredentialKind)), either(k.Issuer, r.Get(record.CredentialIssuer))
	op := r.Get(record.CredentialEventOp)
	if op != "" && op != "use" && broken(r) {
		return // tried, and nothing came of it
	}
	if e := r.Get(record.CredentialExpires); e != "" {
		k.Expires = e // the last word: renewals move it
	}
	switch op {
	case "issue", "exchange":
		k.Issued = append(k.Issued, r.Seq)
	case "renew":
		k.Renewed = append(k.Renewed, r.Seq)
	case "revoke", "expire":
		k.Ended = append(k.Ended, r.Seq)
	default:
		k.Uses++
	}
}

func broken(r *record.Record) bool {
	s := r.Get(record.OutcomeStatus)
	return s == record.Failure || s == record.Denied
}

func either(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// Findings lists the seqs of the records that carry each finding.
func (c *Chain) Findings() map[string][]uint64 {
	out := make(map[string][]uint64)
	for _, r := range c.Records {
		r.Elements(record.Findings, func(v, _ string) bool {
			if list := out[v]; len(list) == 0 || list[len(list)-1] != r.Seq {
				out[v] = append(list, r.Seq)
			}
			return true
		})
	}
	return out
}

// Span is the time from the first to the last record, Unix nanoseconds.
func (c *Chain) Span() (from, to int64) {
	for _, r := range c.Records {
		t := When(r)
		if t == 0 {
			continue
		}
		if from == 0 || t < from {
			from = t
		}
		if to == 0 || t > to {
			to = t
		}
	}
	return from, to
}
