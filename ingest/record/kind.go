package record

// Kind is the type of a sealed row. Every kind shares the same commitment; the
// number stands in the leaf (docs/leaf.md).
type Kind uint8

// The kinds of rows.
const (
	KindRecord     Kind = 1  // an event of a source
	KindAmendment  Kind = 2  // adds to the record named in about
	KindSummary    Kind = 3  // stands for many low-risk records
	KindRedaction  Kind = 4  // removed slots of the records named in about
	KindExpiry     Kind = 5  // removed whole records by retention
	KindHold       Kind = 6  // a legal hold placed, released or blocking
	KindPolicy     Kind = 7  // a changed configuration
	KindKey        Kind = 8  // a signing key begins or ends
	KindGap        Kind = 9  // events known to be missing
	KindHeartbeat  Kind = 10 // the log was alive and idle
	KindAccess     Kind = 11 // somebody read the log
	KindAnchor     Kind = 12 // a checkpoint left the host
	KindAlert      Kind = 13
	KindReview     Kind = 14
	KindLifecycle  Kind = 15 // start, stop, restore, erasure completed
	numKinds            = 16
	firstKind           = KindRecord
	unknownKindTxt      = "unknown"
)

var kindNames = [numKinds]string{
	unknownKindTxt, "record", "amendment", "summary", "redaction", "expiry", "hold", "policy", "key",
	"gap", "heartbeat", "access", "anchor", "alert", "review", "lifecycle",
}

// String is the kind's name as queries and exports show it.
func (k Kind) String() string {
	if k >= numKinds {
		return unknownKindTxt
	}
	return kindNames[k]
}

// ParseKind finds a kind by name.
func ParseKind(name string) (Kind, bool) {
	for k := firstKind; k < numKinds; k++ {
		if kindNames[k] == name {
			return k, true
		}
	}
	return 0, false
}

// KindNames lists the names of all kinds.
func KindNames() []string { return kindNames[firstKind:] }

// Valid reports whether k is a known kind.
func (k Kind) Valid() bool { return k >= firstKind && k < numKinds }

// Values that fields with a fixed vocabulary take.
const (
	Person         = "person"
	Agent          = "agent"
	Workload       = "workload"
	ServiceAccount = "service_account"
	Unknown        = "unknown"

	Authenticated = "authenticated"
	Asserted      = "asserted"
	Correlated    = "correlated"
	Inferred      = "inferred"

	Success = "success"
	Failure = "failure"
	Denied  = "denied"

	Allow = "allow"
	Deny  = "deny"

	Yes = "yes"
	No  = "no"

	NotRecorded    = "not_recorded"
	NotApplicable  = "not_applicable"
	Redacted       = "redacted"
	NotEstablished = "not_established"
)

// Findings about the quality of an attribution (what is doubtful and why).
const (
	RequesterMissing          = "requester_missing"
	RequesterAsserted         = "requester_asserted"
	AgentAsHuman              = "agent_as_human"
	SharedAccount             = "shared_account"
	SessionWrapperOnly        = "session_wrapper_only"
	ChainBroken               = "chain_broken"
	LinkAmbiguous             = "link_ambiguous"
	DelegationRedacted        = "delegation_redacted"
	ImpersonationNoActor      = "impersonation_no_actor"
	CredentialExpired         = "credential_expired"
	CredentialUsedAfterRevoke = "credential_used_after_revoke"
	CredentialIssuanceUnseen  = "credential_issuance_unseen"
	SelfApproval              = "self_approval"
	ScopeEscalation           = "scope_escalation"
	DecisionMissing           = "decision_missing"
	PolicyVersionMissing      = "policy_version_missing"
	HalfPair                  = "half_pair"
	Malformed                 = "malformed"
	ExecutorMissing           = "executor_missing"
	ExecutorByCredentialOnly  = "executor_by_credential_only"
	OutsideRequest            = "outside_request"
	ApprovalOverreach         = "approval_overreach"
	HandoffUnapproved         = "handoff_unapproved"
	CredentialShared          = "credential_shared"
	CredentialTTLExceeded     = "credential_ttl_exceeded"
)
