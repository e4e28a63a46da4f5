package chain

import (
	"hash/maphash"
	"strings"

	"custody/ingest/record"
)

// approval is what is known of one approval.
type approval struct {
	seq      uint64 // of the record that approved, or else asked for it
	approver string
	asker    string
	target   string
	approved bool
	steps    int
	at       int64
}

// maxApprovals bounds the approvals in memory; the oldest half goes.
const maxApprovals = 1 << 15

func (l *Linker) approvalKey(m *member, id string) uint64 {
	d := m.weak
	if unique(id) {
		d = m.all
	}
	return l.key(spaceApproval, d, id)
}

// meetApproval takes note of a record about an approval.
func (l *Linker) meetApproval(m *member) {
	r := m.r
	state, id := r.Get(record.ApprovalStatus), r.Get(record.ApprovalRequestID)
	if empty(id) {
		return
	}
	// What was asked for, the answer, and what was done with it are one chain,
	// unless what was done says by itself to which request it belongs.
	if state != "" || !m.scoped {
		l.place(m, l.approvalKey(m, id)+1, ApprovedBy, Identifier)
	}
	if state == "" {
		return
	}
	if len(l.approvals) >= maxApprovals {
		for k, a := range l.approvals {
			if a.at < l.now-int64(l.opts.Window) || len(l.approvals) > maxApprovals*3/4 {
				delete(l.approvals, k)
			}
		}
	}
	k := l.approvalKey(m, id)
	a := l.approvals[k]
	if a == nil {
		a = &approval{seq: r.Seq}
		l.approvals[k] = a
	}
	a.at = r.Received
	switch state {
	case "requested":
		a.asker = strings.Clone(first(r.Get(record.RequesterID), r.Get(record.ExecutorID)))
		a.target = strings.Clone(r.Get(record.TargetID))
	case "approved":
		a.seq, a.approved = r.Seq, true
		a.approver = strings.Clone(first(r.Get(record.ApprovalApprover), r.Get(record.ExecutorID)))
		if a.asker == "" && r.Get(record.RequesterID) != a.approver {
			a.asker = strings.Clone(r.Get(record.RequesterID))
		}
		if t := r.Get(record.TargetID); a.target == "" && t != id {
			a.target = strings.Clone(t)
		}
	}
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// tieApproval holds what was done against what was approved.
func (l *Linker) tieApproval(m *member, e *evidence) {
	r := m.r
	state, id := r.Get(record.ApprovalStatus), r.Get(record.ApprovalRequestID)
	if to := r.Get(record.ChainHandoff); to != "" && l.opts.HandoffsNeedApproval && id == "" && !r.Has(record.ApprovalApprover) {
		r.AddFinding(record.HandoffUnapproved)
		explain(r, record.HandoffUnapproved, "no approval is named, and policy wants one")
	}
	var a *approval
	if !empty(id) {
		a = l.approvals[l.approvalKey(m, id)]
	}
	if state != "" {
		if a != nil && state == "approved" && a.asker != "" && sameName(a.asker, a.approver) {
			r.AddFinding(record.SelfApproval)
			explain(r, record.SelfApproval, "the approver asked for it")
		}
		return
	}
	if a != nil && a.approved && a.seq != r.Seq {
		e.link(r, record.Link{To: a.seq, Relation: ApprovedBy, Method: Identifier})
		if !r.Has(record.ApprovalApprover) {
			r.Set(record.ApprovalApprover, a.approver, "")
		}
		l.holdAgainst(m, a)
	}
	approver := r.Get(record.ApprovalApprover)
	if approver == "" {
		return
	}
	self := sameName(approver, r.Get(record.RequesterID))
	if m.c != nil && !self {
		h := maphash.String(l.seed, approver)
		for _, x := range m.c.agents {
			// A person who approves also acts in the chain: the approving itself. An
			// agent has no business there.
			self = self || x == h && h == m.exec
		}
	}
	if self {
		r.AddFinding(record.SelfApproval)
		explain(r, record.SelfApproval, "the approver is the requester, or an agent of this chain")
	}
}

func sameName(a, b string) bool { return a != "" && strings.EqualFold(a, b) }

func (l *Linker) holdAgainst(m *member, a *approval) {
	r := m.r
	if t := r.Get(record.TargetID); a.target != "" && t != "" && !strings.EqualFold(t, a.target) &&
		!strings.HasPrefix(t, a.target+"/") && r.Get(record.TargetName) != a.target {
		r.AddFinding(record.OutsideRequest)
		explain(r, record.OutsideRequest, "the target is not the one that was approved in", a.seq)
	}
	if r.Get(record.EffectChanged) == record.Yes {
		if a.steps++; a.steps > l.opts.ApprovalSteps {
			r.AddFinding(record.ApprovalOverreach)
			explain(r, record.ApprovalOverreach, "more changes than one approval may cover, approved in", a.seq)
		}
	}
}
