package web

import (
	"encoding/json"
	"time"

	"custody/ingest/record"
)

// The OCSF 1.6 API Activity class (category Application Activity), which fits
// what agents do; the whole record travels under unmapped.custody, so nothing
// is lost by the projection. Source: schema.ocsf.io, class 6003.
const (
	ocsfVersion  = "1.6.0"
	ocsfCategory = 6
	ocsfClass    = 6003
)

type ocsfObj = map[string]any

// ocsfEvent renders one record as an OCSF event on one line.
func ocsfEvent(r *record.Record) ([]byte, error) {
	activity, activityName := ocsfActivity(r.Get(record.ActionOperation))
	status, statusName := ocsfStatus(r.Get(record.OutcomeStatus))
	severity, severityName := ocsfSeverity(r.Get(record.Risk))
	when := r.Time
	if when == 0 {
		when = r.Received
	}
	meta := ocsfObj{
		"version":     ocsfVersion,
		"product":     ocsfObj{"name": "custody", "vendor_name": "custody"},
		"uid":         record.FormatID(r.ID),
		"logged_time": r.Received / int64(time.Millisecond),
		"sequence":    r.Seq,
	}
	set(meta, "log_name", r.Get(record.SourceName))
	set(meta, "log_format", r.Get(record.SourceFormat))
	set(meta, "tenant_uid", r.Get(record.ContextTenant))
	set(meta, "correlation_uid", first(r.Get(record.ChainRequestID), r.Get(record.ChainTraceID)))

	actor := ocsfObj{}
	if id := r.Get(record.RequesterID); id != "" {
		typeID, typeName := ocsfUser(r.Get(record.RequesterType))
		user := ocsfObj{"uid": id, "type_id": typeID, "type": typeName}
		set(user, "name", r.Get(record.RequesterName))
		actor["user"] = user
	}
	set(actor, "app_uid", r.Get(record.ExecutorID))
	set(actor, "app_name", first(r.Get(record.ExecutorName), r.Get(record.ExecutorID)))
	if len(actor) == 0 {
		actor["app_name"] = "unknown" // the class requires one of its members
	}

	api := ocsfObj{"operation": first(r.Get(record.ActionOperation), "unknown")}
	if svc := first(r.Get(record.ActionService), r.Get(record.ActionTool)); svc != "" {
		api["service"] = ocsfObj{"name": svc}
	}
	if id := r.Get(record.ChainRequestID); id != "" {
		api["request"] = ocsfObj{"uid": id}
	}
	if code := r.Get(record.OutcomeCode); code != "" {
		api["response"] = ocsfObj{"error": code}
	}
	src := ocsfObj{}
	set(src, "ip", r.Get(record.SourcePeer))
	if len(src) == 0 {
		src["name"] = first(r.Get(record.SourceHost), "unknown")
	}

	ev := ocsfObj{
		"activity_id": activity, "activity_name": activityName,
		"category_uid": ocsfCategory, "category_name": "Application Activity",
		"class_uid": ocsfClass, "class_name": "API Activity",
		"type_uid": ocsfClass*100 + activity, "type_name": "API Activity: " + activityName,
		"severity_id": severity, "severity": severityName,
		"status_id": status, "status": statusName,
		"time": when / int64(time.Millisecond), "timezone_offset": 0,
		"metadata": meta, "actor": actor, "api": api, "src_endpoint": src,
		"unmapped": ocsfObj{"custody": json.RawMessage(r.AppendJSON(nil))},
	}
	set(ev, "status_code", r.Get(record.OutcomeCode))
	set(ev, "status_detail", first(r.Get(record.OutcomeDetail), r.Get(record.OutcomeStatus)))
	if id := r.Get(record.TargetID); id != "" {
		res := ocsfObj{"uid": id}
		set(res, "type", r.Get(record.TargetType))
		set(res, "name", r.Get(record.TargetName))
		ev["resources"] = []ocsfObj{res}
	}
	return json.Marshal(ev)
}

func set(o ocsfObj, k, v string) {
	if v != "" {
		o[k] = v
	}
}

func first(vs ...string) string {
	for _, v := range vs {
		if v != "" {
			return v
		}
	}
	return ""
}

func ocsfActivity(op string) (int, string) {
	switch op {
	case "":
		return 0, "Unknown"
	case "create", "add", "put", "issue", "insert":
		return 1, "Create"
	case "read", "get", "list", "watch", "describe", "head":
		return 2, "Read"
	case "update", "patch", "write", "modify", "renew":
		return 3, "Update"
	case "delete", "remove", "revoke", "deletecollection":
		return 4, "Delete"
	}
	return 99, "Other"
}

func ocsfStatus(s string) (int, string) {
	switch s {
	case record.Success:
		return 1, "Success"
	case record.Failure, record.Denied:
		return 2, "Failure"
	}
	return 0, "Unknown"
}

func ocsfSeverity(risk string) (int, string) {
	switch risk {
	case "low":
		return 2, "Low"
	case "medium":
		return 3, "Medium"
	case "high":
		return 4, "High"
	case "critical":
		return 5, "Critical"
	}
	return 1, "Informational"
}

func ocsfUser(t string) (int, string) {
	switch t {
	case record.Person:
		return 1, "User"
	case record.ServiceAccount, record.Workload:
		return 4, "Service"
	case record.Agent:
		return 99, "Agent"
	}
	return 0, "Unknown"
}
