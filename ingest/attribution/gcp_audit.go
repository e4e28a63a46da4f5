package attribution

import (
	"bytes"
	"strings"

	"custody/ingest/record"
)

// gcpAudit decodes Google Cloud audit logs: a LogEntry whose protoPayload is an
// AuditLog ("AuditLog" and "AuthenticationInfo" of google.cloud.audit), one to a
// line, in an array or in {"entries":[…]}; the same with jsonPayload or as
// BigQuery exports it; a bare AuditLog; and Access Transparency entries.
func gcpAudit() format {
	return format{
		name: "gcp_audit", product: "Google Cloud", issuer: "google",
		shape:  shapeJSON,
		keys:   []string{"protoPayload", "jsonPayload", "protopayload_auditlog", "@type", "entries"},
		match:  func(e *event) bool { return e.gcpPayload() != gcpNone },
		decode: decodeGCP,
		list: func(e *event) int32 {
			t := &e.doc
			n := root
			if t.kindOf(root) == kindObject {
				if n = t.get(root, "entries"); n == 0 || t.get(root, "protoPayload") != 0 {
					return 0
				}
				for c := t.first(root); c != 0; c = t.next(c) {
					if k := string(t.keyOf(c)); k != "entries" && k != "nextPageToken" {
						return 0 // more than entries: keep the line whole
					}
				}
			}
			if t.kindOf(n) != kindArray {
				return 0
			}
			c := t.first(n)
			if c == 0 || t.kindOf(c) != kindObject {
				return 0
			}
			e.root = c
			is := e.gcpPayload() != gcpNone
			e.root = root
			if !is {
				return 0
			}
			return n
		},
		guide: gcpGuide,
	}
}

// gcpNone is no pointer: the line holds no audit payload.
const gcpNone = "none"

// gcpPayload is where the AuditLog stands in the event.
func (e *event) gcpPayload() string {
	t := &e.doc
	if t.kindOf(e.root) != kindObject {
		return gcpNone
	}
	for _, p := range [...]struct{ key, base string }{
		{"protoPayload", "/protoPayload"}, {"jsonPayload", "/jsonPayload"}, {"protopayload_auditlog", "/protopayload_auditlog"},
	} {
		n := t.get(e.root, p.key)
		if n == 0 || t.kindOf(n) != kindObject {
			continue
		}
		typ := e.value(t.get(n, "@type"))
		if len(typ) > 0 && bytes.Contains(typ, []byte("google.cloud.audit.")) || e.src.Format == "gcp_audit" && t.get(n, "methodName") != 0 ||
			len(typ) == 0 && t.get(n, "methodName") != 0 && (t.get(n, "serviceName") != 0 || t.get(n, "authenticationInfo") != 0) {
			return p.base
		}
	}
	if typ := e.value(t.get(e.root, "@type")); bytes.HasSuffix(typ, []byte("google.cloud.audit.AuditLog")) {
		return ""
	}
	return gcpNone
}

// gcp is one AuditLog that is being decoded.
type gcp struct {
	*event
	base    string // where the AuditLog stands
	service string
	method  string
	short   string // the method without package and class
}

func (g *gcp) at(pointer string) string { return g.base + pointer }

// member is the text at a pointer below the AuditLog.
func (g *gcp) member(pointer string) []byte { return g.str(g.base + pointer) }

// fill sets f from the first pointer below the AuditLog that has a value.
func (g *gcp) fill(f record.Field, pointers ...string) []byte {
	for _, p := range pointers {
		if v := g.set(f, g.base+p); len(v) > 0 {
			return v
		}
	}
	return nil
}

func decodeGCP(e *event) {
	e.noPolVer = true
	base := e.gcpPayload()
	if base == gcpNone {
		return
	}
	g := &gcp{event: e, base: base}
	for _, p := range [...]string{"/timestamp", g.at("/timestamp"), "/receiveTimestamp"} {
		// BigQuery writes "2026-11-23 14:02:06.417831 UTC".
		if v := bytes.TrimSuffix(e.str(p), []byte(" UTC")); len(v) > 0 {
			ns, ok := parseTime(v, nil)
			e.timeIs(ns, ok, p)
			break
		}
	}
	e.set(record.SourceOriginalID, "/insertId", "/insert_id")
	if sev := e.str("/severity"); len(sev) > 0 && e.env.pri < 0 {
		e.put(record.SourceSeverity, lower(sev), "/severity")
	}
	g.trace()
	if bytes.HasSuffix(g.member("/@type"), []byte("TransparencyLog")) {
		g.transparency()
		return
	}
	g.service = string(g.fill(record.ActionService, "/serviceName"))
	g.method = string(g.fill(record.ActionOperation, "/methodName"))
	g.short = g.method[strings.LastIndexByte(g.method, '.')+1:]
	e.put(record.EffectSystem, []byte(g.service), g.at("/serviceName"))
	g.caller()
	g.target()
	g.authorization()
	g.outcome()
	g.principals()
	g.changed()
	g.credential()
	g.services()
	e.userAgent(g.at("/requestMetadata/callerSuppliedUserAgent"))
}

// trace reads the identifiers of a LogEntry that correlate.
func (g *gcp) trace() {
	// projects/PROJECT/traces/TRACE
	if v := g.str("/trace"); len(v) > 0 {
		g.put(record.ChainTraceID, v[bytes.LastIndexByte(v, '/')+1:], "/trace")
	}
	g.set(record.ChainSpanID, "/spanId", "/span_id")
	if id := g.set(record.ChainRequestID, "/operation/id", g.at("/requestMetadata/requestAttributes/id")); id == nil {
		return
	}
	// A long-running operation writes two entries: its start and its end.
	switch first, last := g.isTrue("/operation/first"), g.isTrue("/operation/last"); {
	case first && !last:
		g.add(record.Attributes, []byte("half=request"), "/operation/first")
	case last && !first:
		g.add(record.Attributes, []byte("half=response"), "/operation/last")
	}
}

// caller is where the call came from.
func (g *gcp) caller() {
	p := g.at("/requestMetadata/callerIp")
	if !g.has(p) {
		p = g.at("/requestMetadata/callerIP") // as some forwarders write it
	}
	switch ip := g.str(p); {
	case len(ip) == 0:
	case bytes.IndexByte(ip, ':') >= 0 || bytes.IndexByte(ip, '.') > 0 && ip[0]-'0' < 10:
		g.put(record.SourceAddress, ip, p)
	default: // "private", "gce-internal-ip": Google keeps it to itself
		g.r.SetAbsent("source.address", record.Redacted)
		g.attribute("caller_ip", p)
	}
	g.fill(record.ContextPurpose, "/requestMetadata/requestAttributes/reason")
	g.fill(record.DecisionPosture, "/requestMetadata/requestAttributes/auth/accessLevels/0")
	g.attribute("oauth_client_id", g.at("/authenticationInfo/oauthInfo/oauthClientId"))
	g.attribute("caller_network", g.at("/requestMetadata/callerNetwork"))
}

func (g *gcp) target() {
	r := g.r
	if g.fill(record.TargetID, "/resourceName", "/authorizationInfo/0/resource") == nil {
		for _, l := range [...]string{"/resource/labels/email_id", "/resource/labels/instance_id", "/resource/labels/bucket_name", "/resource/labels/project_id"} {
			if g.set(record.TargetID, l) != nil {
				break
			}
		}
	}
	switch typ := string(g.str("/resource/type")); {
	case g.service == "k8s.io":
		g.put(record.TargetType, k8sKind(g.member("/resourceName")), g.at("/resourceName"))
	case g.service == "secretmanager.googleapis.com" && strings.Contains(r.Get(record.TargetID), "/secrets/"):
		r.Set(record.TargetType, "secret", r.Prov(record.TargetID))
	case typ != "" && typ != "audited_resource":
		g.set(record.TargetType, "/resource/type")
	default:
		if g.fill(record.TargetType, "/authorizationInfo/0/resourceAttributes/type") == nil {
			// …/COLLECTION/ID
			parts := strings.Split(r.Get(record.TargetID), "/")
			if n := len(parts); n > 1 && n < 64 {
				r.Set(record.TargetType, parts[n-2], r.Prov(record.TargetID))
			}
		}
	}
	g.set(record.TargetName, "/resource/labels/email_id", "/resource/labels/cluster_name", "/resource/labels/bucket_name")
	g.attribute("project", "/resource/labels/project_id")
}

// k8sKind is the kind of resource in GROUP/VERSION[/namespaces/NAMESPACE]/RESOURCE[/NAME[/SUBRESOURCE]].
func k8sKind(name []byte) []byte {
	if len(name) > 1024 {
		return nil
	}
	parts := bytes.Split(name, []byte("/"))
	if len(parts) < 3 {
		return nil
	}
	rest := parts[2:]
	if len(rest) > 2 && string(rest[0]) == "namespaces" {
		rest = rest[2:]
	}
	kind := rest[0]
	if group := parts[0]; string(group) != "core" {
		kind = bytes.Join([][]byte{kind, group}, []byte("."))
	}
	if len(rest) > 2 {
		kind = bytes.Join([][]byte{kind, rest[2]}, []byte("/"))
	}
	return kind
}

// authorization reads what was checked. protojson leaves false out, so an
// element without granted was refused when the call was.
func (g *gcp) authorization() {
	r := g.r
	p := g.at("/authorizationInfo")
	n := g.find(p)
	var granted, refused, unsaid []byte
	grantedAt, refusedAt, unsaidAt := "", "", ""
	code := string(g.member("/status/code"))
	denied := code == "7" || code == "403"
	if n != 0 {
		t := &g.doc
		c, list := n, t.kindOf(n) == kindArray
		if list {
			c = t.first(n)
		}
		seen := 0
		for i := 0; c != 0; i++ {
			at := p
			if list {
				at = p + "/" + decimal(i)
			}
			perm := g.value(t.get(c, "permission"))
			if len(perm) == 0 {
				perm = g.value(t.get(c, "permissionType"))
			}
			said := "granted"
			switch v := string(g.value(t.get(c, "granted"))); {
			case v == "true":
				if grantedAt == "" {
					granted, grantedAt = perm, at
				}
			case v == "false", denied:
				said = "refused"
				if refusedAt == "" {
					refused, refusedAt = perm, at
				}
			default:
				said = "unsaid"
				if unsaidAt == "" {
					unsaid, unsaidAt = perm, at
				}
			}
			if list && t.nodes[n].count > 1 && len(perm) > 0 && seen < 32 {
				seen++
				g.add(record.Attributes, g.cat([]byte("permission="), perm, []byte(" "), []byte(said)), at)
			}
			if !list {
				break
			}
			c = t.next(c)
		}
	}
	switch {
	case denied && refusedAt != "":
		g.put(record.AuthorityPermission, refused, refusedAt+"/permission")
		r.Set(record.DecisionEffect, record.Deny, refusedAt+"/granted")
	case denied:
		g.put(record.AuthorityPermission, granted, grantedAt+"/permission")
		r.Set(record.DecisionEffect, record.Deny, g.at("/status/code"))
	case grantedAt != "":
		g.put(record.AuthorityPermission, granted, grantedAt+"/permission")
		r.Set(record.DecisionEffect, record.Allow, grantedAt+"/granted")
	case refusedAt != "":
		g.put(record.AuthorityPermission, refused, refusedAt+"/permission")
		r.Set(record.DecisionEffect, record.Deny, refusedAt+"/granted")
	default:
		g.put(record.AuthorityPermission, unsaid, unsaidAt+"/permission")
	}
	g.kubernetes()
	g.violation()
	if !r.Has(record.DecisionEffect) {
		g.noDecide = true
	}
}

// kubernetes reads what GKE adds as labels to the audit events of a cluster.
func (g *gcp) kubernetes() {
	const effect, reason = "/labels/authorization.k8s.io~1decision", "/labels/authorization.k8s.io~1reason"
	if d := g.str(effect); len(d) > 0 {
		// GKE writes "forbid" where Kubernetes does.
		g.put(record.DecisionEffect, []byte(decision(d)), effect)
	}
	why := g.set(record.DecisionReason, reason)
	_, rest, ok := bytes.Cut(why, []byte("allowed by "))
	if !ok {
		return
	}
	kind, rest, _ := bytes.Cut(rest, []byte(` "`))
	if name, rest, ok := bytes.Cut(rest, []byte(`"`)); ok && len(kind) < 32 {
		g.put(record.DecisionPolicyID, g.cat(kind, []byte("/"), name), reason)
		if role, ok := bytes.CutPrefix(rest, []byte(" of ")); ok {
			kind, role, _ := bytes.Cut(role, []byte(` "`))
			if name, _, ok := bytes.Cut(role, []byte(`"`)); ok {
				g.add(record.AuthorityRoles, g.cat(kind, []byte("/"), name), reason)
			}
		}
	}
}

// violation reads which policy refused: of the organisation, or a perimeter of
// VPC Service Controls.
func (g *gcp) violation() {
	r := g.r
	const org = "/policyViolationInfo/orgPolicyViolationInfo/violationInfo/0"
	if g.fill(record.DecisionPolicyID, org+"/constraint") != nil {
		g.fill(record.DecisionReason, org+"/errorMessage")
		r.Set(record.DecisionEffect, record.Deny, g.at(org+"/constraint"))
	}
	if !bytes.Contains(g.member("/metadata/@type"), []byte("VpcServiceControlAuditMetadata")) {
		return
	}
	g.fill(record.DecisionPolicyID, "/metadata/securityPolicyInfo/servicePerimeterName",
		"/metadata/ingressViolations/0/servicePerimeter", "/metadata/egressViolations/0/servicePerimeter")
	g.fill(record.DecisionReason, "/metadata/violationReason")
	g.attribute("vpc_sc_id", g.at("/metadata/vpcServiceControlsUniqueId"))
	effect := record.Deny
	if string(g.member("/metadata/dryRun")) == "true" {
		effect = record.Allow // only what an enforced perimeter would have done
		r.Set(record.DecisionPosture, "dry_run", g.at("/metadata/dryRun"))
	}
	r.Set(record.DecisionEffect, effect, g.at("/metadata/@type"))
}

// outcome: codes are those of google.rpc.Code; a missing one is OK.
func (g *gcp) outcome() {
	r := g.r
	p := g.at("/status/code")
	code := string(g.fill(record.OutcomeCode, "/status/code"))
	g.fill(record.OutcomeDetail, "/status/message")
	switch {
	case r.Get(record.DecisionPosture) == "dry_run":
		r.Set(record.OutcomeStatus, record.Unknown, g.at("/metadata/dryRun"))
	case code == "7", code == "16", code == "401", code == "403":
		r.Set(record.OutcomeStatus, record.Denied, p)
		if !r.Has(record.DecisionEffect) {
			r.Set(record.DecisionEffect, record.Deny, p)
		}
	case code != "" && code != "0":
		r.Set(record.OutcomeStatus, record.Failure, p)
		if r.Get(record.DecisionEffect) == record.Deny {
			r.Set(record.OutcomeStatus, record.Denied, r.Prov(record.DecisionEffect))
		} else if strings.Contains(g.method, "SecurityTokenService") && strings.Contains(r.Get(record.OutcomeDetail), "rejected") {
			// A provider's condition said no: that is INVALID_ARGUMENT there.
			r.Set(record.OutcomeStatus, record.Denied, g.at("/status/message"))
			r.Set(record.DecisionEffect, record.Deny, g.at("/status/message"))
		}
	case r.Get(record.DecisionEffect) == record.Deny:
		r.Set(record.OutcomeStatus, record.Denied, r.Prov(record.DecisionEffect))
	case g.isTrue("/operation/first") && !g.isTrue("/operation/last"):
		r.Set(record.OutcomeStatus, record.Unknown, "/operation/first") // the last entry tells
	default:
		prov := ""
		if g.has(g.at("/status")) {
			prov = g.at("/status")
		}
		r.Set(record.OutcomeStatus, record.Success, prov)
	}
}

// reads are the verbs by which methods that change nothing begin.
var reads = [...]string{"get", "list", "search", "aggregated", "query", "describe", "batchget", "test", "access", "read", "watch", "check", "export", "lookup", "fetch"}

// writes are the verbs of methods that change something.
var writes = [...]string{"create", "insert", "update", "delete", "patch", "set", "write", "publish", "upload", "undelete", "destroy", "append", "import", "copy", "compose", "rewrite"}

func begins(method string, verbs []string) bool {
	for _, v := range verbs {
		if len(method) >= len(v) && strings.EqualFold(method[:len(v)], v) {
			return true
		}
	}
	return false
}

// changed: the kind of permission or of log tells reads from writes.
func (g *gcp) changed() {
	r := g.r
	changed, prov := record.Unknown, ""
	kind := g.at("/authorizationInfo/0/permissionType")
	log := string(g.str("/logName"))
	log = log[strings.LastIndexByte(log, '/')+1:]
	switch v := string(g.str(kind)); {
	case r.Get(record.OutcomeStatus) == record.Denied, r.Get(record.OutcomeStatus) == record.Failure:
		changed, prov = record.No, r.Prov(record.OutcomeStatus)
	case v == "ADMIN_READ", v == "DATA_READ":
		changed, prov = record.No, kind
	case r.Get(record.OutcomeStatus) == record.Unknown:
		prov = r.Prov(record.OutcomeStatus)
	case string(g.member("/request/validateOnly")) == "true", string(g.member("/request/dryRun")) == "true":
		changed, prov = record.No, g.at("/request/validateOnly")
	case v == "ADMIN_WRITE", v == "DATA_WRITE":
		changed, prov = record.Yes, kind
	case begins(g.short, reads[:]):
		changed, prov = record.No, g.at("/methodName")
	case strings.HasSuffix(log, "activity"), strings.HasSuffix(log, "system_event"):
		changed, prov = record.Yes, "/logName" // these logs hold writes only
	case begins(g.short, writes[:]):
		changed, prov = record.Yes, g.at("/methodName")
	}
	r.Set(record.EffectChanged, changed, prov)
}
