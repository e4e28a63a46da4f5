package attribution

import (
	"testing"

	"custody/ingest"
	"custody/ingest/record"
)

func TestGCPKind(t *testing.T) {
	for _, c := range []struct{ id, typ, kind string }{
		{"alice@example.com", record.Person, "email"},
		{"user:alice@example.com", record.Person, "email"},
		{"deleted:user:alice@example.com?uid=123", record.Person, "email"},
		{"ci@acme-prod.iam.gserviceaccount.com", record.ServiceAccount, "gcp_service_account"},
		{"deleted:serviceAccount:ci@acme-prod.iam.gserviceaccount.com?uid=123", record.ServiceAccount, "gcp_service_account"},
		{"481516234200-compute@developer.gserviceaccount.com", record.ServiceAccount, "gcp_service_account"},
		{"acme-prod@appspot.gserviceaccount.com", record.ServiceAccount, "gcp_service_account"},
		{"service-desk@acme-prod.iam.gserviceaccount.com", record.ServiceAccount, "gcp_service_account"},
		{"service-481516234200@gcp-sa-aiplatform-re.iam.gserviceaccount.com", record.ServiceAccount, "gcp_service_agent"},
		{"service-org-123456789012@gcp-sa-logging.iam.gserviceaccount.com", record.ServiceAccount, "gcp_service_agent"},
		{"service-481516234200@container-engine-robot.iam.gserviceaccount.com", record.ServiceAccount, "gcp_service_agent"},
		{"481516234200@cloudservices.gserviceaccount.com", record.ServiceAccount, "gcp_service_agent"},
		{"system@google.com", record.Workload, "gcp_system"},
		{"cloud-cluster-manager@prod.google.com", record.Workload, "gcp_system"},
		{"service-agent-manager@system.gserviceaccount.com", record.Workload, "gcp_system"},
		{"system:serviceaccount:prod:web", record.ServiceAccount, "k8s_username"},
		{"system:node:gke-prod-1", record.Workload, "k8s_username"},
		{"serviceAccount:acme-prod.svc.id.goog[prod/web]", record.Workload, "gcp_workload_identity"},
		{"principal://iam.googleapis.com/locations/global/workforcePools/corp/subject/carol@example.com", record.Person, "gcp_workforce_identity"},
		{"principal://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/ci/subject/repo:x", record.Workload, "gcp_workload_identity"},
		{"principal://agents.global.org-1.system.id.goog/resources/aiplatform/projects/1/locations/x/reasoningEngines/7", record.Agent, "gcp_agent_identity"},
		{"principal://agents.global.org-1.example.com/resources/x", record.Unknown, "gcp_principal"},
		{"b6112abb-5791-4507-adb5-7e8cc306eb2e", record.Unknown, "gcp_subject"},
		{"arn:aws:sts::111122223333:assumed-role/ci/run", record.Unknown, "gcp_subject"},
	} {
		if typ, kind := gcpKind(c.id); typ != c.typ || kind != c.kind {
			t.Errorf("%s is %s by %s, want %s by %s", c.id, typ, kind, c.typ, c.kind)
		}
	}
}

// What looks alike must not be taken.
func TestGoogleFamilyTakesOnlyItsOwn(t *testing.T) {
	for _, line := range []string{
		`{"protoPayload":{"@type":"type.googleapis.com/google.appengine.logging.v1.RequestLog","method":"GET"},"insertId":"x"}`,
		`{"jsonPayload":{"message":"hello","methodName":"x"},"insertId":"x"}`,
		`{"action":"order.created","actor":"alice","created_at":"2026-11-23T14:02:06Z"}`,
		`{"id":{"applicationName":"shop"},"kind":"order"}`,
		`{"date_create":1795442526,"action":"x","actor":"alice"}`,
		`{"entries":[{"a":1}]}`,
	} {
		r := one(t, worker(t), &ingest.Source{Name: "s", Transport: ingest.TCP}, line)
		if f := r.Get(record.SourceFormat); f != "json" {
			t.Errorf("%s: %s", line, f)
		}
	}
}

func TestDigestID(t *testing.T) {
	const hexed = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
	for in, want := range map[string]string{
		"LCa0a2j/xo/5m0U8HTBBNBNCLXBkg7+g+YpeiGJm564=":                     hexed,
		"LCa0a2j_xo_5m0U8HTBBNBNCLXBkg7-g-YpeiGJm564":                      hexed,
		"2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae": hexed,
		"LCa0a2j": "", "": "", "LCa0a2j/xo/5m0U8HTBBNBNCLXBkg7+g+YpeiGJm5!!=": "",
	} {
		if got := string(digestID([]byte(in))); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
	if got := string(fingerprint([]byte("foo"))); got != hexed {
		t.Error(got)
	}
}

// A pinned source takes events of kinds that no documentation names.
func TestPinnedUnknownKinds(t *testing.T) {
	for format, line := range map[string]string{
		"gcp_audit":        `{"protoPayload":{"@type":"type.googleapis.com/new.Log","methodName":"frob","authenticationInfo":{"principalEmail":"alice@example.com"}},"timestamp":"2026-11-23T14:02:06Z"}`,
		"github":           `{"action":"frob","actor":"alice@example.com","created_at":1795442526417}`,
		"slack":            `{"action":"frob","date_create":1795442526,"actor":{"type":"user","user":{"id":"W1","email":"alice@example.com"}}}`,
		"google_workspace": `{"kind":"admin#reports#activity","id":{"time":"2026-11-23T14:02:06Z","applicationName":"frobber"},"actor":{"email":"alice@example.com"},"events":[{"name":"frob"}]}`,
	} {
		r := one(t, worker(t), &ingest.Source{Name: "s", Transport: ingest.TLS, Format: format}, line)
		if r.Get(record.SourceFormat) != format || r.Get(record.ActionOperation) != "frob" || r.Get(record.ExecutorID) != "alice@example.com" ||
			r.Get(record.RequesterID) != "alice@example.com" || r.Prov(record.Time) == "" {
			t.Errorf("%s: %s", format, r.AppendJSON(nil))
		}
	}
}
