package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// openFGA decodes the JSON log of an OpenFGA server: one line for each
// completed request (grpc_req_complete, http_req_complete), with the request and
// its answer.
func openFGA() format {
	return format{
		name: "openfga", product: "OpenFGA", issuer: "openfga",
		shape: shapeJSON,
		keys:  []string{"grpc_service", "msg"},
		match: func(e *event) bool {
			t, o := &e.doc, e.root
			if bytes.HasPrefix(e.value(t.get(o, "grpc_service")), []byte("openfga.v1.")) {
				return true
			}
			if e.src.Format == "openfga" {
				return t.kindOf(o) == kindObject
			}
			switch string(e.value(t.get(o, "msg"))) {
			case "grpc_req_complete", "http_req_complete":
				return t.get(o, "store_id") != 0 || t.get(t.get(o, "raw_request"), "store_id") != 0
			}
			return false
		},
		decode: decodeOpenFGA,
		guide: guide{
			userSet: []string{
				"/raw_request/tuple_key/user: the application that asks names the user; OpenFGA checks nothing of it",
				"/raw_request/contextual_tuples: relations that hold for this question only, because the application says so",
				"/user_agent: any client",
			},
			emit: map[Part]string{
				PartRequester:  "`raw_request.tuple_key.user` where its type says user, as the asking application's word",
				PartExecutor:   "`raw_request.tuple_key.user` where its type says agent, service or application; else `client_id` of the asking application, where the server authenticates with OIDC",
				PartTool:       "`grpc_method`, always there",
				PartPermission: "`raw_request.tuple_key.relation`",
				PartDecision:   "`raw_response.allowed`, `store_id` and `authorization_model_id`: run with `OPENFGA_LOG_FORMAT=json` and log level info",
				PartOutcome:    "`grpc_code`, `error`, `internal_error`",
				PartChain:      "`request_id`, and `trace_id` with tracing on",
			},
		},
	}
}

func decodeOpenFGA(e *event) {
	r := e.r
	const asked = "/raw_request"
	e.time("/ts", "/timestamp", "/time")
	e.set(record.ChainRequestID, "/request_id")
	e.set(record.SourceOriginalID, "/request_id")
	e.traceIDs("/trace_id", "/span_id")
	if v := e.str("/peer.address"); len(v) > 0 {
		e.put(record.SourceAddress, hostOf(v), "/peer.address")
	}
	e.put(record.SourceSeverity, lower(e.str("/level")), "/level")
	r.Set(record.ActionService, "openfga", "")
	method := e.str("/grpc_method")
	if i := bytes.LastIndexByte(method, '/'); i >= 0 {
		method = method[i+1:] // old servers write the full method
	}
	e.put(record.ActionOperation, method, "/grpc_method")
	if len(method) == 0 {
		e.noDecide = true
		e.set(record.ActionOperation, "/method", "/http_method")
		if !r.Has(record.ActionOperation) {
			e.set(record.Message, "/msg")
		}
	}
	for _, a := range [...]string{"user_agent", "query_duration_ms", "datastore_query_count"} {
		if v := e.str("/" + a); len(v) > 0 {
			e.add(record.Attributes, e.cat([]byte(a+"="), v), "/"+a)
		}
	}
	store, model := e.str("/store_id"), e.str("/authorization_model_id")
	if len(store) == 0 {
		store = e.str(asked + "/store_id")
	}
	if len(store) > 0 {
		e.add(record.Attributes, e.cat([]byte("store="), store), "/store_id")
	}
	op := string(method)
	switch op {
	case "Check", "ListObjects", "StreamedListObjects", "ListUsers", "BatchCheck", "Expand":
		if e.set(record.DecisionPolicyID, "/store_id", asked+"/store_id") != nil {
			e.set(record.DecisionPolicyVersion, "/authorization_model_id", asked+"/authorization_model_id")
		}
	default:
		e.noDecide = true
		if len(model) > 0 {
			e.add(record.Attributes, e.cat([]byte("model="), model), "/authorization_model_id")
		}
	}
	e.openFGARequest(op, asked)
	e.openFGAOutcome(op)
	if v := e.str("/client_id"); len(v) > 0 && !r.Has(record.ExecutorID) {
		e.executor(record.Workload, v, "/client_id")
		r.Set(record.ExecutorIDKind, "client_id", "")
	}
	e.actorElsewhere()
}

// openFGARequest: whom the question is about, and which relation to what. The
// users in tuples that are written get or lose a relation, they do not ask.
func (e *event) openFGARequest(op, asked string) {
	r := e.r
	tuple := asked + "/tuple_key"
	switch op {
	case "Check":
		e.openFGAUser(tuple + "/user")
		e.set(record.AuthorityPermission, tuple+"/relation")
		if obj := e.set(record.TargetID, tuple+"/object"); obj != nil {
			typ, _, _ := bytes.Cut(obj, []byte(":"))
			e.put(record.TargetType, typ, tuple+"/object")
		}
	case "ListObjects", "StreamedListObjects":
		e.openFGAUser(asked + "/user")
		e.set(record.AuthorityPermission, asked+"/relation")
		e.set(record.TargetType, asked+"/type")
		e.noDecide = true
	case "ListUsers":
		e.set(record.AuthorityPermission, asked+"/relation")
		if typ, id := e.set(record.TargetType, asked+"/object/type"), e.str(asked+"/object/id"); len(id) > 0 {
			e.put(record.TargetID, e.cat(typ, []byte(":"), id), asked+"/object")
		}
		e.noDecide = true
	case "Expand", "Read":
		e.set(record.AuthorityPermission, tuple+"/relation")
		e.set(record.TargetID, tuple+"/object")
		e.noDecide = true
	case "BatchCheck":
		e.openFGABatch(asked + "/checks")
	case "Write":
		e.openFGATuples(asked+"/writes/tuple_keys", "write=")
		e.openFGATuples(asked+"/deletes/tuple_keys", "delete=")
		e.set(record.TargetID, asked+"/writes/tuple_keys/0/object", asked+"/deletes/tuple_keys/0/object")
	case "CreateStore", "UpdateStore", "DeleteStore", "GetStore", "WriteAuthorizationModel", "ReadAuthorizationModel", "WriteAssertions":
		if e.set(record.TargetID, "/store_id", asked+"/store_id", "/raw_response/id", asked+"/name") != nil {
			r.Set(record.TargetType, "store", "")
		}
	}
}

func (e *event) openFGAUser(p string) {
	user := e.str(p)
	typ, id, ok := strings.Cut(string(user), ":")
	if !ok || id == "*" || strings.Contains(id, "#") {
		if len(user) > 0 { // everybody, or the members of a group: nobody in particular
			e.add(record.Attributes, e.cat([]byte("authz.user="), user), p)
		}
		return
	}
	e.subject(subjectClass(typ), []byte(id), p, "openfga_user")
	e.add(record.Attributes, e.cat([]byte("authz.user="), user), p)
}

// openFGATuples keeps the tuples that are written or deleted.
func (e *event) openFGATuples(list, mark string) {
	n := e.find(list)
	if n == 0 || e.doc.kindOf(n) != kindArray {
		return
	}
	t := &e.doc
	for c := t.first(n); c != 0; c = t.next(c) {
		e.add(record.Attributes, e.cat([]byte(mark), e.value(t.get(c, "object")), []byte("#"), e.value(t.get(c, "relation")), []byte("@"), e.value(t.get(c, "user"))), list)
	}
}

// openFGABatch keeps the questions of a batch. A principal, a relation or an
// object becomes the record's only if all questions share it.
func (e *event) openFGABatch(list string) {
	n := e.find(list)
	if n == 0 || e.doc.kindOf(n) != kindArray {
		return
	}
	t := &e.doc
	same := true
	var user []byte
	for c := t.first(n); c != 0; c = t.next(c) {
		k := t.get(c, "tuple_key")
		u := e.value(t.get(k, "user"))
		same = same && (user == nil || bytes.Equal(u, user))
		user = u
		e.add(record.Attributes, e.cat([]byte("check="), e.value(t.get(k, "object")), []byte("#"), e.value(t.get(k, "relation")), []byte("@"), u), list)
	}
	if same && user != nil {
		e.openFGAUser(list + "/0/tuple_key/user")
	}
}

func (e *event) openFGAOutcome(op string) {
	r := e.r
	const allowed = "/raw_response/allowed"
	code := e.set(record.OutcomeCode, "/grpc_code", "/raw_response/code")
	detail := e.set(record.OutcomeDetail, "/internal_error", "/error", "/raw_response/message")
	status, prov := record.Unknown, ""
	switch {
	case string(code) == "0" || len(code) == 0 && len(detail) == 0 && e.has("/raw_response"):
		status, prov = record.Success, "/grpc_code"
		if len(code) == 0 {
			prov = "/raw_response"
		}
	case openFGARefused(string(code)):
		status, prov = record.Denied, r.Prov(record.OutcomeCode)
	case len(code) > 0 || len(detail) > 0:
		status, prov = record.Failure, "/error"
		if len(code) > 0 {
			prov = r.Prov(record.OutcomeCode)
		}
	}
	if status == record.Success && (op == "Check" || op == "BatchCheck") {
		effect, from := "", allowed
		if op == "Check" {
			effect = decision(e.str(allowed))
		} else {
			effect, from = e.openFGAResults("/raw_response/result")
		}
		if effect == record.Allow || effect == record.Deny {
			r.Set(record.DecisionEffect, effect, from)
			if effect == record.Deny {
				status, prov = record.Denied, from
			}
		} else {
			e.noDecide = true
		}
	}
	r.Set(record.OutcomeStatus, status, prov)
	changed := record.No
	switch op {
	case "Write", "WriteAuthorizationModel", "CreateStore", "UpdateStore", "DeleteStore", "WriteAssertions":
		if status == record.Success {
			changed = record.Yes
		}
	case "":
		changed = record.Unknown
	}
	r.Set(record.EffectChanged, changed, "")
}

// openFGARefused: the codes of the server's authentication (1001 to 1600), and
// of gRPC itself: permission denied and unauthenticated.
func openFGARefused(code string) bool {
	return code == "7" || code == "16" || len(code) == 4 && code[0] == '1'
}

// openFGAResults is what all answers of a batch agree on.
func (e *event) openFGAResults(p string) (effect, prov string) {
	n := e.find(p)
	if n == 0 || e.doc.kindOf(n) != kindObject {
		return "", p
	}
	for c := e.doc.first(n); c != 0; c = e.doc.next(c) {
		d := decision(e.value(e.doc.get(c, "allowed")))
		if d == "" {
			d = record.Deny // an answer of false is not written in the proto's JSON
		}
		if e.doc.get(c, "error") != 0 || effect != "" && d != effect {
			return "", p
		}
		effect = d
	}
	return effect, p
}
