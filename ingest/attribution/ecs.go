package attribution

import (
	"strings"

	"custody/ingest/record"
)

// genericECS decodes the Elastic Common Schema. Its agent is the log shipper,
// not a principal, and its event.action is the operation.
func genericECS() format {
	table := buildNames(func(name string) bool { return name == "agent" || strings.HasPrefix(name, "agent.") })
	return format{
		name:    "ecs",
		general: true,
		shape:   shapeJSON,
		match:   func(e *event) bool { return e.has("/ecs/version") || e.has("/ecs.version") },
		decode: func(e *event) {
			e.noDecide = true
			e.named(table)
			e.ecs()
		},
		guide: ecsGuide,
	}
}

// ecsAt is both forms of a name: nested objects, and one member with dots.
func (e *event) ecsAt(name string) said {
	return e.says("/"+strings.ReplaceAll(name, ".", "/"), "/"+name)
}

// ecs reads what plain names cannot tell. user is whom the event is about, that
// is who did it; user.effective is whom it was done as, user.target to whom.
func (e *event) ecs() {
	r := e.r
	switch r.Prov(record.RequesterID) {
	case "/user/id", "/user.id": // a number on hosts; the name says who
		e.set(record.RequesterID, "/user/name", "/user.name")
	}
	if domain := e.ecsAt("user.domain"); domain.has() && r.Has(record.RequesterID) && !r.Has(record.RequesterIssuer) {
		e.tell(record.RequesterIssuer, domain)
	}
	if agent := e.ecsAt("gen_ai.agent.id").or(e.ecsAt("gen_ai.agent.name")); agent.has() {
		e.executor(record.Agent, agent.v, agent.prov)
		e.tell(record.ExecutorName, e.ecsAt("gen_ai.agent.name"))
	}
	if as := e.ecsAt("user.effective.name").or(e.ecsAt("user.effective.id")); as.has() {
		e.tell(record.ExecutorLocalAccount, as)
		if !r.Has(record.ExecutorID) {
			e.executor(record.Unknown, as.v, as.prov)
			r.Set(record.ExecutorIDKind, "local_account", "")
		}
		if r.Has(record.RequesterID) {
			e.delegate(record.Delegation{Principal: r.Get(record.RequesterID), Audience: e.text(as.v)}, r.Prov(record.RequesterID))
		} else {
			r.AddFinding(record.ImpersonationNoActor)
		}
	}
	if to := e.ecsAt("user.target.name").or(e.ecsAt("user.target.email")).or(e.ecsAt("user.target.id")); to.has() {
		e.tell(record.TargetID, to)
		r.Set(record.TargetType, "user", "")
	} else if to := e.ecsAt("group.name"); to.has() && !r.Has(record.TargetID) {
		e.tell(record.TargetID, to)
		r.Set(record.TargetType, "group", "")
	}
	for _, list := range [...]string{"/user/roles", "/user.roles"} {
		if len(e.listed(record.AuthorityRoles)) == 0 {
			e.list(record.AuthorityRoles, list)
		}
	}
	if rule := e.ecsAt("rule.id").or(e.ecsAt("rule.name")); rule.has() && !r.Has(record.DecisionPolicyID) {
		e.tell(record.DecisionPolicyID, rule)
		e.tell(record.DecisionPolicyVersion, e.ecsAt("rule.version"))
	}
	e.ecsTypes()
	if why := e.ecsAt("event.reason"); why.has() {
		if r.Get(record.DecisionEffect) != "" {
			e.tell(record.DecisionReason, why)
		} else if !r.Has(record.OutcomeDetail) && r.Get(record.OutcomeStatus) != record.Success {
			e.tell(record.OutcomeDetail, why)
		}
	}
	if !r.Has(record.ActionService) {
		e.tell(record.ActionService, e.ecsAt("event.provider").or(e.ecsAt("event.module")))
	}
	e.attest("event.dataset", e.ecsAt("event.dataset"))
	e.attest("process.name", e.ecsAt("process.name"))
	if ua := e.ecsAt("user_agent.original"); ua.has() {
		e.attest("user_agent", ua)
	}
}

// ecsTypes reads event.type: allowed and denied are decisions, and what was changed is an effect.
func (e *event) ecsTypes() {
	r := e.r
	n := e.find("/event/type")
	prov := "/event/type"
	if n == 0 {
		n, prov = e.find("/event.type"), "/event.type"
	}
	if n == 0 {
		return
	}
	word := func(v []byte) {
		switch string(v) {
		case "allowed":
			r.Set(record.DecisionEffect, record.Allow, prov)
		case "denied":
			r.Set(record.DecisionEffect, record.Deny, prov)
			if s := r.Get(record.OutcomeStatus); s == "" || s == record.Failure || s == record.Unknown {
				r.Set(record.OutcomeStatus, record.Denied, prov)
			}
		case "access", "info":
			if !r.Has(record.EffectChanged) {
				r.Set(record.EffectChanged, record.No, prov)
			}
		case "creation", "change", "deletion":
			if r.Get(record.OutcomeStatus) == record.Success {
				r.Set(record.EffectChanged, record.Yes, prov)
			}
		}
	}
	if e.doc.kindOf(n) != kindArray {
		word(e.value(n))
		return
	}
	for c := e.doc.first(n); c != 0; c = e.doc.next(c) {
		word(e.value(c))
	}
}

var ecsGuide = guide{
	userSet: []string{
		"/user_agent/original: any client",
		"/message: whatever the program was given",
		"all members: the pipeline that made the event; the shipper (agent) proves none of them",
	},
	emit: map[Part]string{
		PartRequester:  "`user.email`, `user.name`, `user.id`: who did it; always asserted, unless the source pins this format and is authoritative",
		PartExecutor:   "`user.effective.*` (whom it was done as), `gen_ai.agent.*`; `agent` is the shipper and no principal",
		PartTool:       "`event.action`; `event.provider`, `service.name`",
		PartPermission: "`user.roles`",
		PartDecision:   "`event.type` `allowed` or `denied`, with `rule.id`, `rule.version`, `event.reason`",
		PartOutcome:    "`event.outcome`, `error.code`, `error.message`, `http.response.status_code`",
		PartChain:      "`trace.id`, `span.id`, `transaction.id`, `http.request.id`, `event.id`",
	},
}
