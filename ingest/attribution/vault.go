package attribution

import (
	"bytes"

	"custody/ingest/record"
)

// vaultAudit decodes the audit devices of HashiCorp Vault and OpenBao: request
// and response entries, by Vault's "Audit log entry schema". Accessors stay the
// HMACs that the log holds.
func vaultAudit() format {
	return format{
		name: "vault", product: "Vault", issuer: "vault",
		shape: shapeJSON,
		keys:  []string{"request"},
		match: func(e *event) bool {
			t, o := &e.doc, e.root
			req := t.get(o, "request")
			if req == 0 || t.kindOf(req) != kindObject || t.get(req, "path") == 0 && t.get(req, "operation") == 0 {
				return false
			}
			switch string(e.value(t.get(o, "type"))) {
			case "request", "response":
				return true
			}
			return false
		},
		decode: decodeVault,
		guide:  vaultGuide,
	}
}

func decodeVault(e *event) {
	r := e.r
	e.noPolVer = true
	if a := e.env.app; e.src.Product == "" && (bytes.Equal(a, []byte("openbao")) || bytes.Equal(a, []byte("bao"))) {
		r.Set(record.SourceProduct, "OpenBao", "header:APP-NAME")
	} else if v := "/request/mount_running_version"; e.src.Product == "" && bytes.HasSuffix(e.str(v), []byte(".bao")) {
		r.Set(record.SourceProduct, "OpenBao", v)
	}
	e.time("/time")
	kind := e.str("/type")
	if id := e.set(record.ChainRequestID, "/request/id"); id != nil {
		e.put(record.SourceOriginalID, e.cat(id, []byte("-"), kind), "/request/id")
	}
	if string(kind) == "request" {
		e.mark("half=request", "/type")
	} else {
		e.mark("half=response", "/type")
	}
	e.set(record.ChainTraceID, "/request/headers/x-trace-id/0")
	if tp := bytes.Split(e.str("/request/headers/traceparent/0"), []byte("-")); len(tp) == 4 {
		e.put(record.ChainTraceID, tp[1], "/request/headers/traceparent/0")
		e.put(record.ChainParentID, tp[2], "/request/headers/traceparent/0")
	}
	e.set(record.SourceAddress, "/request/remote_address")
	r.Set(record.ActionService, "vault", "")
	r.Set(record.EffectSystem, "vault", "")
	mount := e.set(record.ActionTool, "/request/mount_type")
	op := string(e.set(record.ActionOperation, "/request/operation"))
	e.set(record.AuthorityPermission, "/request/operation")
	path := string(e.set(record.TargetID, "/request/path"))
	switch string(mount) {
	case "kv", "generic", "cubbyhole":
		r.Set(record.TargetType, "secret", "/request/mount_type")
	default:
		r.Set(record.TargetType, "vault_path", "")
	}
	e.attribute("namespace", "/request/namespace/path")
	auth := "/auth"
	if !e.has("/auth/display_name") && !e.has("/auth/accessor") && !e.has("/auth/metadata") && e.has("/response/auth") {
		auth = "/response/auth" // a login: who it was stands in the answer only
		e.noDecide = true
	}
	e.vaultPrincipals(auth)
	e.vaultDecision()
	e.vaultOutcome(op, string(kind))
	e.vaultCredential(path, string(kind))
	e.vaultApproval(path)
	e.vaultAttributes(auth)
}

func (e *event) vaultDecision() {
	r := e.r
	const results = "/auth/policy_results"
	if v := e.str(results + "/allowed"); len(v) > 0 {
		r.Set(record.DecisionEffect, decision(v), results+"/allowed")
	}
	n := e.find(results + "/granting_policies")
	if n == 0 {
		return
	}
	var ids []byte
	for c := e.doc.first(n); c != 0; c = e.doc.next(c) {
		if v := e.value(e.doc.get(c, "name")); len(v) > 0 {
			if ns := e.value(e.doc.get(c, "namespace_path")); len(ns) > 0 {
				v = e.cat(ns, v)
			} else if ns := e.value(e.doc.get(c, "namespace_name")); len(ns) > 0 && string(ns) != "root" {
				v = e.cat(ns, []byte("/"), v)
			}
			if len(ids) > 0 {
				ids = append(ids, ',')
			}
			ids = append(ids, v...)
		}
	}
	e.put(record.DecisionPolicyID, ids, results+"/granting_policies")
}

func (e *event) vaultOutcome(op, kind string) {
	r := e.r
	detail := e.set(record.OutcomeDetail, "/error")
	status, prov := record.Success, "/type"
	switch {
	case vaultRefused(detail):
		status, prov = record.Denied, "/error"
		if !r.Has(record.DecisionEffect) {
			r.Set(record.DecisionEffect, record.Deny, "/error")
		}
	case len(detail) > 0:
		status, prov = record.Failure, "/error"
	case kind == "request":
		status = record.Unknown // its response tells
	}
	r.Set(record.OutcomeStatus, status, prov)
	changed := record.Unknown
	switch op {
	case "read", "list", "help", "alias-lookahead", "resolve-role":
		changed, prov = record.No, "/request/operation"
	case "create", "update", "delete", "patch", "renew", "revoke", "rollback":
		switch status {
		case record.Success:
			changed = record.Yes
		case record.Failure, record.Denied:
			changed = record.No
		}
	}
	r.Set(record.EffectChanged, changed, prov)
}
