package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// genericJSON decodes a JSON object by the obvious names of its members.
func genericJSON() format {
	table := buildNames(nil)
	return format{
		name:    "json",
		general: true,
		shape:   shapeJSON,
		match:   func(*event) bool { return true },
		decode: func(e *event) {
			e.named(table)
		},
	}
}

// genericPairs decodes key=value lines (logfmt) by the same names.
func genericPairs() format {
	table := buildNames(nil)
	return format{
		name:    "kv",
		general: true,
		shape:   shapePairs,
		match:   func(e *event) bool { return e.src.Format == "kv" || e.mostlyPairs() },
		decode: func(e *event) {
			e.named(table)
			if e.whenProv == "" && e.leadTime != nil {
				e.timeFrom(e.leadTime, "/0")
			}
		},
	}
}

// named fills the record from the members whose names the table knows.
func (e *event) named(table *names) {
	clear(e.rank[:])
	e.timeRank = 0
	if e.isPair {
		for i := range e.pairs {
			p := &e.pairs[i]
			if r := table.rules[string(p.key)]; r != nil && !p.twice {
				e.apply(r, p.val, 0)
			}
		}
	} else {
		e.members(table, e.root, 0)
	}
	e.settle()
}

func (e *event) members(table *names, obj int32, depth int) {
	t := &e.doc
	for c := t.first(obj); c != 0; c = t.next(c) {
		n := &t.nodes[c]
		if n.flags&isDuplicate != 0 || n.kind <= kindNull {
			continue
		}
		key := t.keyOf(c)
		if r := table.rules[string(key)]; r != nil {
			if n.kind < kindArray {
				e.apply(r, e.value(c), c)
			} else if r.how == asList || r.how == asDelegation {
				e.apply(r, nil, c)
			}
		}
		if n.kind == kindObject && depth < 4 {
			if kid := table.kids[string(key)]; kid != nil {
				e.members(kid, c, depth+1)
			}
		}
	}
}

// apply brings one value into the record unless a better name has been seen.
func (e *event) apply(r *rule, v []byte, n int32) {
	if r.how == asTime {
		if len(v) > 0 && (e.timeRank == 0 || r.rank < e.timeRank) {
			e.timeRank, e.timeVal, e.whenProv = r.rank, v, r.prov
		}
		return
	}
	if was := e.rank[r.field]; was != 0 && was <= r.rank || len(v) == 0 && n == 0 {
		return
	}
	if r.how == asHost && e.env.host != nil || r.how == asSeverity && e.env.pri >= 0 {
		return
	}
	if e.convert(r.field, r.how, v, n, r.prov) {
		e.rank[r.field] = r.rank
	}
}

// convert sets f from the value v (of node n, 0 outside JSON) and reports whether it did.
func (e *event) convert(f record.Field, h how, v []byte, n int32, prov string) bool {
	switch h {
	case asList:
		if len(e.listed(f)) > 0 {
			return false // a name with a better rank need not come first; lists take the first
		}
		if n != 0 && e.doc.kindOf(n) == kindArray {
			for c := e.doc.first(n); c != 0; c = e.doc.next(c) {
				e.add(f, e.value(c), prov)
			}
			return true
		}
		for _, w := range bytes.FieldsFunc(v, func(c rune) bool { return c == ' ' || c == ',' }) {
			e.add(f, w, prov)
		}
		return true
	case asDelegation:
		return n != 0 && e.delegation(n, prov)
	}
	if len(v) == 0 {
		return false
	}
	switch h {
	case asOutcome:
		e.r.Set(f, outcome(v), prov)
	case asDecision:
		e.put(f, []byte(decision(v)), prov)
	case asError:
		if s := string(v); s == "false" || s == "null" || s == "-" {
			return false
		}
		e.put(f, v, prov)
	case asType:
		return e.typed(f, v, prov)
	case asYesNo:
		switch string(lower(v)) {
		case "true", "yes", "1":
			e.r.Set(f, record.Yes, prov)
		case "false", "no", "0":
			e.r.Set(f, record.No, prov)
		default:
			e.r.Set(f, record.Unknown, prov)
		}
	case asInstant:
		ns, ok := parseTime(v, e.src.Zone)
		if !ok {
			return false
		}
		e.r.Set(f, instant(ns), prov)
	case asNumber:
		_, ok := e.number(f, v, prov)
		return ok
	case asMode:
		switch s := string(lower(v)); s {
		case "interactive", "autonomous":
			e.put(f, []byte(s), prov)
		default:
			return false
		}
	case asCredentialOp:
		switch s := string(lower(v)); s {
		case "issue", "use", "renew", "exchange", "revoke", "expire":
			e.put(f, []byte(s), prov)
		default:
			return false
		}
	case asSeverity:
		e.put(f, lower(v), prov)
	default:
		e.put(f, v, prov)
	}
	return true
}

func (e *event) typed(f record.Field, v []byte, prov string) bool {
	var t string
	switch string(lower(v)) {
	case "person", "human", "user":
		t = record.Person
	case "agent", "ai_agent", "bot":
		t = record.Agent
	case "workload", "service", "machine", "host":
		t = record.Workload
	case "service_account", "serviceaccount":
		t = record.ServiceAccount
	case "unknown":
		t = record.Unknown
	default:
		return false
	}
	e.r.Set(f, t, prov)
	return true
}

// delegation reads an array of who handed what to the next; an element that
// holds nothing was withheld by the source.
func (e *event) delegation(n int32, prov string) bool {
	t := &e.doc
	if t.kindOf(n) != kindArray {
		return false
	}
	for c := t.first(n); c != 0; c = t.next(c) {
		var d record.Delegation
		switch t.kindOf(c) {
		case kindString:
			d.Principal = e.text(e.value(c))
		case kindObject:
			first := func(keys ...string) string {
				for _, k := range keys {
					if v := e.value(t.find(c, k)); len(v) > 0 {
						return e.text(v)
					}
				}
				return ""
			}
			d.Principal = first("/principal", "/sub", "/principalSubject", "/firstPartyPrincipal/principalEmail", "/id")
			d.Credential = first("/credential", "/token_id", "/jti")
			d.Audience = first("/audience", "/aud")
			if ns, ok := parseTime([]byte(first("/expires", "/exp")), e.src.Zone); ok {
				d.Expires = instant(ns)
			}
			if s := t.find(c, "/scopes"); s != 0 && t.kindOf(s) == kindArray {
				for x := t.first(s); x != 0; x = t.next(x) {
					if v := e.value(x); len(v) > 0 {
						d.Scopes = append(d.Scopes, e.text(v))
					}
				}
			}
		default:
			continue
		}
		if d.Principal == "" && d.Credential == "" && d.Audience == "" && d.Expires == "" && d.Scopes == nil {
			e.r.AddFinding(record.DelegationRedacted)
			e.r.SetAbsent("delegation", record.Redacted)
			continue
		}
		e.delegate(d, prov)
	}
	return true
}

// settle completes what names alone cannot tell: the time, types of principals,
// and an outcome that only shows in a code, an error or a decision.
func (e *event) settle() {
	r := e.r
	if e.timeRank != 0 {
		e.timeFrom(e.timeVal, e.whenProv)
	}
	if id := r.Get(record.RequesterID); id != "" && !r.Has(record.RequesterType) {
		r.Set(record.RequesterType, principalType(id), "")
	}
	if id := r.Get(record.ExecutorID); id != "" && !r.Has(record.ExecutorType) {
		typ := principalType(id)
		if strings.HasPrefix(r.Prov(record.ExecutorID), "/agent") {
			typ = record.Agent
		}
		r.Set(record.ExecutorType, typ, "")
		if strings.HasPrefix(id, "spiffe://") && !r.Has(record.ExecutorSPIFFEID) {
			r.Set(record.ExecutorSPIFFEID, id, r.Prov(record.ExecutorID))
		}
	}
	if r.Has(record.OutcomeStatus) {
		return
	}
	if code := r.Get(record.OutcomeCode); code != "" {
		if o := outcome([]byte(code)); o != record.Unknown {
			r.Set(record.OutcomeStatus, o, r.Prov(record.OutcomeCode))
			return
		}
	}
	switch {
	case r.Get(record.DecisionEffect) == record.Deny:
		r.Set(record.OutcomeStatus, record.Denied, r.Prov(record.DecisionEffect))
	case r.Has(record.OutcomeDetail):
		r.Set(record.OutcomeStatus, record.Failure, r.Prov(record.OutcomeDetail))
	}
}

// plainSyslog keeps messages that no format claims: the header's facts and the text.
func plainSyslog() format {
	return format{
		name: "syslog", shape: shapeText, general: true,
		match:  func(e *event) bool { return e.env.found || e.src.Syslog },
		decode: func(e *event) { e.noDecide = true },
	}
}

// plainText keeps lines without a header.
func plainText() format {
	return format{
		name: "text", shape: shapeText, general: true,
		match:  func(*event) bool { return true },
		decode: func(e *event) { e.noDecide = true },
	}
}
