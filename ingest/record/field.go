package record

import (
	"slices"
	"strings"
)

// Field numbers one field of the record. The number is also the number of the
// field's slot in the sealed leaf (docs/leaf.md), so it never changes and is
// never reused; new fields are appended.
type Field uint16

// Kind of value a field holds.
type ValueKind uint8

const (
	// Text is a UTF-8 string.
	Text ValueKind = iota
	// Instant is a time: RFC 3339 UTC with nanoseconds, trailing zeros dropped,
	// except for time and received, which always show nine digits.
	Instant
	// Number is a decimal integer.
	Number
	// List is a list of strings.
	List
	// Objects is a list of objects, each element in canonical JSON.
	Objects
	// Map is one object of strings in canonical JSON, sealed as one value.
	Map
	// Bytes is the raw line.
	Bytes
)

// Cardinality says how a field's values repeat, and so how they are stored and indexed.
type Cardinality uint8

const (
	// Keyword values repeat: they are kept as a dictionary per block, counted, and indexed as terms.
	Keyword Cardinality = iota
	// Identifier values are mostly unique: they go to a block's filter.
	Identifier
	// Prose values are free text, indexed by their words only.
	Prose
	// Unindexed values are found by scanning only.
	Unindexed
)

// The fields, in slot order. Fields that most records carry stand together, so
// that a group of eight absent slots costs one digest.
const (
	ID Field = iota
	Time
	Received
	SourceName
	SourceFormat
	SourceTransport
	SourcePeer
	SourceDecoder

	SourceProduct
	SourceOriginalID
	SourceHost
	SourceApp
	SourceSeverity
	MessageOffset
	Raw
	Provenance

	RequesterType
	RequesterID
	RequesterAssurance
	ExecutorType
	ExecutorID
	ExecutorAssurance
	Absence
	Findings

	ActionOperation
	ActionTool
	ActionService
	TargetType
	TargetID
	OutcomeStatus
	EffectChanged
	ContextTenant

	ChainRequestID
	ChainTraceID
	ChainSpanID
	ChainParentID
	ChainSessionID
	ChainTaskID
	ChainToolCallID
	ChainConversationID

	DecisionEffect
	DecisionPolicyID
	AuthorityPermission
	CredentialID
	CredentialKind
	Risk
	Capture
	CapturePolicy

	RequesterIDKind
	RequesterName
	RequesterIssuer
	RequesterTenant
	OutcomeCode
	OutcomeDetail
	ActionServer
	ActionArgumentsDigest

	ExecutorName
	ExecutorSPIFFEID
	ExecutorInstance
	ExecutorVersion
	ExecutorModel
	ExecutorLocalAccount
	ExecutorIDKind
	ExecutorIssuer

	Delegations
	Links
	AuthorityScopes
	AuthorityRoles
	ChainID
	ContextTask
	ContextPurpose
	ContextMode

	CredentialIssuer
	CredentialAudience
	CredentialIssued
	CredentialExpires
	CredentialTTL
	CredentialEventOp
	CredentialEventCause
	ChainTxn

	DecisionPolicyVersion
	DecisionReason
	DecisionPosture
	ApprovalSource
	ApprovalApprover
	ApprovalRequestID
	TargetName
	TargetSensitivity

	EffectSystem
	EffectBefore
	EffectAfter
	Message
	SourceFacility
	SourceProcess
	SourceFile
	SourceOffset

	SourceTruncated
	SourceError
	SourceDemo
	SourceAddress
	RiskPolicy
	About
	Attributes
	RetentionClass

	ContextRegimes
	ChainHandoff
	ApprovalStatus
	Evidence
	Reviewed
	ReviewReviewer
	ReviewVerdict
	ReviewNote

	// NumFields is the number of fields, a multiple of eight (SlotGroup).
	NumFields
)

// SlotGroup is the number of slots that share one digest when all are absent.
const SlotGroup = 8

// Schema is the version of the field table, sealed in every leaf.
const Schema = 2

// Info describes a field.
type Info struct {
	Name        string // dotted
	Kind        ValueKind
	Cardinality Cardinality
}

var fields = [NumFields]Info{
	ID:              {"id", Text, Identifier},
	Time:            {"time", Instant, Unindexed},
	Received:        {"received", Instant, Unindexed},
	SourceName:      {"source.name", Text, Keyword},
	SourceFormat:    {"source.format", Text, Keyword},
	SourceTransport: {"source.transport", Text, Keyword},
	SourcePeer:      {"source.peer", Text, Keyword},
	SourceDecoder:   {"source.decoder", Text, Keyword},

	SourceProduct:    {"source.product", Text, Keyword},
	SourceOriginalID: {"source.original_id", Text, Identifier},
	SourceHost:       {"source.host", Text, Keyword},
	SourceApp:        {"source.app", Text, Keyword},
	SourceSeverity:   {"source.severity", Text, Keyword},
	MessageOffset:    {"message_offset", Number, Unindexed},
	Raw:              {"raw", Bytes, Unindexed},
	Provenance:       {"provenance", Map, Unindexed},

	RequesterType:      {"requester.type", Text, Keyword},
	RequesterID:        {"requester.id", Text, Keyword},
	RequesterAssurance: {"requester.assurance", Text, Keyword},
	ExecutorType:       {"executor.type", Text, Keyword},
	ExecutorID:         {"executor.id", Text, Keyword},
	ExecutorAssurance:  {"executor.assurance", Text, Keyword},
	Absence:            {"absence", Map, Unindexed},
	Findings:           {"findings", List, Keyword},

	ActionOperation: {"action.operation", Text, Keyword},
	ActionTool:      {"action.tool", Text, Keyword},
	ActionService:   {"action.service", Text, Keyword},
	TargetType:      {"target.type", Text, Keyword},
	TargetID:        {"target.id", Text, Identifier},
	OutcomeStatus:   {"outcome.status", Text, Keyword},
	EffectChanged:   {"effect.changed", Text, Keyword},
	ContextTenant:   {"context.tenant", Text, Keyword},

	ChainRequestID:      {"chain.request_id", Text, Identifier},
	ChainTraceID:        {"chain.trace_id", Text, Identifier},
	ChainSpanID:         {"chain.span_id", Text, Identifier},
	ChainParentID:       {"chain.parent_id", Text, Identifier},
	ChainSessionID:      {"chain.session_id", Text, Identifier},
	ChainTaskID:         {"chain.task_id", Text, Identifier},
	ChainToolCallID:     {"chain.tool_call_id", Text, Identifier},
	ChainConversationID: {"chain.conversation_id", Text, Identifier},

	DecisionEffect:      {"decision.effect", Text, Keyword},
	DecisionPolicyID:    {"decision.policy_id", Text, Keyword},
	AuthorityPermission: {"authority.permission", Text, Keyword},
	CredentialID:        {"authority.credential.id", Text, Identifier},
	CredentialKind:      {"authority.credential.kind", Text, Keyword},
	Risk:                {"risk", Text, Keyword},
	Capture:             {"capture", Text, Keyword},
	CapturePolicy:       {"capture_policy", Text, Keyword},

	RequesterIDKind:       {"requester.id_kind", Text, Keyword},
	RequesterName:         {"requester.name", Text, Keyword},
	RequesterIssuer:       {"requester.issuer", Text, Keyword},
	RequesterTenant:       {"requester.tenant", Text, Keyword},
	OutcomeCode:           {"outcome.code", Text, Keyword},
	OutcomeDetail:         {"outcome.detail", Text, Prose},
	ActionServer:          {"action.server", Text, Keyword},
	ActionArgumentsDigest: {"action.arguments_digest", Text, Identifier},

	ExecutorName:         {"executor.name", Text, Keyword},
	ExecutorSPIFFEID:     {"executor.spiffe_id", Text, Keyword},
	ExecutorInstance:     {"executor.instance", Text, Identifier},
	ExecutorVersion:      {"executor.version", Text, Keyword},
	ExecutorModel:        {"executor.model", Text, Keyword},
	ExecutorLocalAccount: {"executor.local_account", Text, Keyword},
	ExecutorIDKind:       {"executor.id_kind", Text, Keyword},
	ExecutorIssuer:       {"executor.issuer", Text, Keyword},

	Delegations:     {"delegation", Objects, Unindexed},
	Links:           {"links", Objects, Unindexed},
	AuthorityScopes: {"authority.scopes", List, Keyword},
	AuthorityRoles:  {"authority.roles", List, Keyword},
	ChainID:         {"chain.id", Number, Identifier},
	ContextTask:     {"context.task", Text, Identifier},
	ContextPurpose:  {"context.purpose", Text, Prose},
	ContextMode:     {"context.mode", Text, Keyword},

	CredentialIssuer:     {"authority.credential.issuer", Text, Keyword},
	CredentialAudience:   {"authority.credential.audience", Text, Keyword},
	CredentialIssued:     {"authority.credential.issued", Instant, Unindexed},
	CredentialExpires:    {"authority.credential.expires", Instant, Unindexed},
	CredentialTTL:        {"authority.credential.ttl", Number, Unindexed},
	CredentialEventOp:    {"credential_event.op", Text, Keyword},
	CredentialEventCause: {"credential_event.cause", Text, Prose},
	ChainTxn:             {"chain.txn", Text, Identifier},

	DecisionPolicyVersion: {"decision.policy_version", Text, Keyword},
	DecisionReason:        {"decision.reason", Text, Prose},
	DecisionPosture:       {"decision.posture", Text, Keyword},
	ApprovalSource:        {"decision.approval.source", Text, Identifier},
	ApprovalApprover:      {"decision.approval.approver", Text, Keyword},
	ApprovalRequestID:     {"decision.approval.request_id", Text, Identifier},
	TargetName:            {"target.name", Text, Prose},
	TargetSensitivity:     {"target.sensitivity", Text, Keyword},

	EffectSystem:   {"effect.system", Text, Keyword},
	EffectBefore:   {"effect.before", Text, Prose},
	EffectAfter:    {"effect.after", Text, Prose},
	Message:        {"message", Text, Prose},
	SourceFacility: {"source.facility", Text, Keyword},
	SourceProcess:  {"source.process", Text, Identifier},
	SourceFile:     {"source.file", Text, Keyword},
	SourceOffset:   {"source.offset", Number, Unindexed},

	SourceTruncated: {"source.truncated", Number, Unindexed},
	SourceError:     {"source.error", Text, Prose},
	SourceDemo:      {"source.demo", Text, Keyword},
	SourceAddress:   {"source.address", Text, Identifier},
	RiskPolicy:      {"risk_policy", Text, Keyword},
	About:           {"about", List, Unindexed},
	Attributes:      {"attributes", List, Prose},
	RetentionClass:  {"retention_class", Text, Keyword},

	ContextRegimes: {"context.regimes", List, Keyword},
	ChainHandoff:   {"chain.handoff", Text, Keyword},
	ApprovalStatus: {"decision.approval.status", Text, Keyword},
	Evidence:       {"evidence", List, Prose},
	Reviewed:       {"reviewed", Text, Keyword},
	ReviewReviewer: {"review.reviewer", Text, Keyword},
	ReviewVerdict:  {"review.verdict", Text, Keyword},
	ReviewNote:     {"review.note", Text, Prose},
}

// Info describes f.
func (f Field) Info() Info { return fields[f] }

// String is the field's dotted name.
func (f Field) String() string {
	if f >= NumFields {
		return "invalid"
	}
	return fields[f].Name
}

// IsList reports whether f holds a list, one slot per element.
func (f Field) IsList() bool {
	k := fields[f].Kind
	return k == List || k == Objects
}

// Settable reports whether f is a field that Set or Add takes: one that Record
// does not hold in a way of its own.
func (f Field) Settable() bool {
	return f > Received && f < NumFields && f != Raw && f != Provenance && f != Absence
}

// Path names what a query or a mapping can name: a field, and inside an
// Objects or Map field the member Sub ("delegation.principal",
// "absence.requester.id").
type Path struct {
	Field Field
	Sub   string
}

// String is the dotted name.
func (p Path) String() string {
	if p.Sub == "" {
		return p.Field.String()
	}
	return p.Field.String() + "." + p.Sub
}

// Names lists all dotted field names in slot order.
func Names() []string {
	out := make([]string, NumFields)
	for i := range fields {
		out[i] = fields[i].Name
	}
	return out
}

// Members lists the members of the elements of an Objects field, nil for others.
func (f Field) Members() []string {
	switch f {
	case Delegations:
		return []string{"principal", "credential", "scopes", "audience", "expires"}
	case Links:
		return []string{"to", "relation", "method", "candidates"}
	}
	return nil
}

var byName = func() map[string]Field {
	m := make(map[string]Field, NumFields)
	for i := range fields {
		m[fields[i].Name] = Field(i)
	}
	return m
}()

// Lookup finds a dotted name. Members of Objects fields and any member of the
// Map fields absence and provenance are found too.
func Lookup(name string) (Path, bool) {
	if f, ok := byName[name]; ok {
		return Path{Field: f}, true
	}
	for i := 0; i < len(name); i++ {
		if name[i] != '.' {
			continue
		}
		f, ok := byName[name[:i]]
		if !ok {
			continue
		}
		sub := name[i+1:]
		if f == Absence || f == Provenance {
			return Path{f, sub}, sub != ""
		}
		if slices.Contains(f.Members(), sub) {
			return Path{f, sub}, true
		}
	}
	return Path{}, false
}

// Suggest returns the known name nearest to name, or "" when none is near.
func Suggest(name string) string {
	best, bestDist := "", 1+len(name)/3
	for _, n := range Names() {
		if d := distance(strings.ToLower(name), n); d < bestDist {
			best, bestDist = n, d
		}
		// A bare last component is a common slip: "tool" for "action.tool".
		if i := strings.LastIndexByte(n, '.'); i >= 0 && n[i+1:] == strings.ToLower(name) && bestDist > 0 {
			return n
		}
	}
	return best
}

// distance is the Levenshtein distance of two short strings.
func distance(a, b string) int {
	prev := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diag := prev[0]
		prev[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			diag, prev[j] = prev[j], min(prev[j]+1, prev[j-1]+1, diag+cost)
		}
	}
	return prev[len(b)]
}
