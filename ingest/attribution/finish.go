package attribution

import (
	"bytes"
	"slices"
	"strings"

	"custody/ingest/record"
)

// finish adds what follows from the fields of the one record: its time,
// assurance, absences and findings.
func (e *event) finish() {
	r := e.r
	e.flush()
	e.finishTime()
	if e.below != "" {
		r.Below(e.below)
	}
	known := !e.bad && (e.format != nil && e.format.shape != shapeText || e.mapping != nil || r.Has(record.OutcomeStatus))

	if r.Has(record.RequesterID) {
		if !r.Has(record.RequesterType) {
			r.Set(record.RequesterType, record.Unknown, "")
		}
		level := record.Asserted
		if e.reqProof != fromParam && e.authoritative(record.RequesterIssuer) {
			level = record.Authenticated
		}
		r.Set(record.RequesterAssurance, level, "")
		if e.reqProof != fromLogin && level == record.Asserted {
			r.AddFinding(record.RequesterAsserted)
		}
	} else {
		r.Unset(record.RequesterIssuer)
		r.Unset(record.RequesterIDKind)
		if r.Absent("requester") == "" {
			r.SetAbsent("requester", absence(known))
		}
	}

	if r.Has(record.ExecutorID) {
		if !r.Has(record.ExecutorType) {
			r.Set(record.ExecutorType, record.Unknown, "")
		}
		level := record.Asserted
		if !e.claimed && e.authoritative(record.ExecutorIssuer) {
			level = record.Authenticated
		}
		r.Set(record.ExecutorAssurance, level, "")
	} else {
		r.Unset(record.ExecutorIssuer)
		r.Unset(record.ExecutorIDKind)
		if r.Absent("executor") == "" {
			r.SetAbsent("executor", absence(known))
		}
		if (known || e.format != nil) && acts(r) && r.Absent("executor") != record.NotApplicable && !slices.Contains(r.List(record.Findings), record.ExecutorByCredentialOnly) {
			if r.Has(record.CredentialID) && !r.Has(record.CredentialEventOp) {
				r.AddFinding(record.ExecutorByCredentialOnly)
			} else {
				r.AddFinding(record.ExecutorMissing)
			}
		}
	}
	e.finishDecision()
	// In an event about an approval the approver is who acts.
	if approver := r.Get(record.ApprovalApprover); approver != "" &&
		(approver == r.Get(record.RequesterID) || approver == r.Get(record.ExecutorID) && !r.Has(record.ApprovalStatus)) {
		r.AddFinding(record.SelfApproval)
	}
	if len(e.path) > 0 || e.depth > 0 {
		r.MapProv(e.place)
	}
}

func absence(known bool) string {
	if known {
		return record.NotRecorded
	}
	return record.NotEstablished
}

// acts reports whether the record tells of an action, so that somebody must have acted.
func acts(r *record.Record) bool {
	return r.Has(record.ActionOperation) || r.Has(record.ActionTool)
}

func (e *event) finishTime() {
	r, prov := e.r, e.whenProv
	switch {
	case prov == "!": // refused, and said
		r.SetTime(e.received, "")
	case prov != "":
		r.SetTime(e.when, prov)
	case e.env.hasTime:
		if why := absurd(e.env.time, e.received); why != "" {
			e.fail("header " + why)
			r.SetTime(e.received, "")
			return
		}
		r.SetTime(e.env.time, "header:TIMESTAMP")
	default:
		r.SetTime(e.received, "")
		r.SetAbsent("time", record.NotRecorded)
	}
}

// authoritative reports whether the source proves principals of the issuer that f names.
func (e *event) authoritative(f record.Field) bool {
	if !e.src.Trusted || !e.pinned() || len(e.src.AuthoritativeFor) == 0 || e.bad {
		return false
	}
	issuer := e.r.Get(f)
	for _, a := range e.src.AuthoritativeFor {
		if a == "" {
			continue
		}
		if a == issuer || e.format != nil && (a == e.format.name || a == e.format.issuer) || e.mapping != nil && a == e.mapping.name {
			return true
		}
	}
	return false
}

// finishDecision looks for the evidence that something was permitted.
func (e *event) finishDecision() {
	r := e.r
	effect := r.Get(record.DecisionEffect)
	switch {
	case effect == "" && r.Absent("decision") != "": // the format knows better
	case effect == "" && e.noDecide:
		r.SetAbsent("decision", record.NotRecorded)
	case effect == "":
		if r.Get(record.OutcomeStatus) == record.Success && acts(r) && !r.Has(record.DecisionPolicyID) {
			r.AddFinding(record.DecisionMissing)
		}
	case effect == record.Allow && r.Has(record.DecisionPolicyID) && !r.Has(record.DecisionPolicyVersion):
		if e.noPolVer {
			r.SetAbsent("decision.policy_version", record.NotRecorded)
		} else {
			r.AddFinding(record.PolicyVersionMissing)
		}
	}
}

// principalType tells what kind of principal an identifier names where its form
// alone proves it.
func principalType(id string) string {
	switch {
	case strings.HasPrefix(id, "spiffe://"):
		if strings.Contains(id, "/agent/") || strings.Contains(id, "/agents/") {
			return record.Agent
		}
		return record.Workload
	case strings.HasPrefix(id, "system:serviceaccount:"), strings.HasSuffix(id, ".gserviceaccount.com"):
		return record.ServiceAccount
	case strings.HasPrefix(id, "system:"):
		return record.Workload
	case strings.HasPrefix(id, "agent:"), strings.HasPrefix(id, "agent/"):
		return record.Agent
	}
	if at := strings.IndexByte(id, '@'); at > 0 && strings.IndexByte(id[at:], '.') > 1 && strings.IndexByte(id, '/') < 0 {
		return record.Person
	}
	return record.Unknown
}

// outcomes normalise what sources call success, failure and denial.
var outcomes = map[string]string{
	"success": record.Success, "succeeded": record.Success, "successful": record.Success, "ok": record.Success,
	"okay": record.Success, "true": record.Success, "passed": record.Success, "pass": record.Success,
	"completed": record.Success, "complete": record.Success, "done": record.Success, "accepted": record.Success, "granted": record.Success,
	"failure": record.Failure, "failed": record.Failure, "fail": record.Failure, "error": record.Failure,
	"errored": record.Failure, "false": record.Failure, "timeout": record.Failure, "timed_out": record.Failure,
	"cancelled": record.Failure, "canceled": record.Failure, "aborted": record.Failure, "unsuccessful": record.Failure,
	"denied": record.Denied, "deny": record.Denied, "forbidden": record.Denied, "unauthorized": record.Denied,
	"blocked": record.Denied, "rejected": record.Denied, "refused": record.Denied, "access_denied": record.Denied,
	"accessdenied": record.Denied, "permission_denied": record.Denied, "not_allowed": record.Denied,
}

// outcome normalises a status, "unknown" when it says nothing known. Three
// digits are an HTTP status.
func outcome(v []byte) string {
	if len(v) == 3 {
		if n, ok := digits(v); ok {
			return httpOutcome(n)
		}
	}
	if o, ok := outcomes[string(lower(v))]; ok {
		return o
	}
	return record.Unknown
}

func httpOutcome(code int) string {
	switch {
	case code == 401 || code == 403 || code == 407:
		return record.Denied
	case code >= 400:
		return record.Failure
	case code >= 100:
		return record.Success
	}
	return record.Unknown
}

// decision normalises what policies say; a word it does not know stays as it is.
func decision(v []byte) string {
	switch string(lower(v)) {
	case "allow", "allowed", "permit", "permitted", "grant", "granted", "accept", "accepted", "approve", "approved", "true", "pass":
		return record.Allow
	case "deny", "denied", "forbid", "forbidden", "block", "blocked", "reject", "rejected", "refuse", "refused", "false":
		return record.Deny
	default:
		return string(lower(v))
	}
}

// lower is v in lower case, v itself when it has no capital letters.
func lower(v []byte) []byte {
	if slices.ContainsFunc(v, func(c byte) bool { return c >= 'A' && c <= 'Z' || c == ' ' || c == '-' }) {
		v = bytes.ToLower(v)
		for i, c := range v {
			if c == ' ' || c == '-' {
				v[i] = '_'
			}
		}
	}
	return v
}
