// Package scenario writes the raw log lines of many products, as they would
// reach custody from a company's systems, together with the truth about each:
// who really asked, what acted, what follows from what, and how much of that
// the bytes allow to be known. It scores what a system makes of the lines.
//
// It knows the products' public formats and nothing of custody: what the
// decoders and the linker take for granted is not taken over here, so that a
// mistake of theirs shows as one. The same seed gives the same lines.
//
// # What counts as knowable
//
// A requester is [Truth.Linkable] when the line itself shows it, or when a line
// of a trusted source with a pinned format shows it and shares with this one an
// identifier that those sources wrote themselves (a trace, session, request or
// task id, a credential's id or hash, a delegation), over any number of such
// steps. What only a time, a host and an account tell is [Truth.Window]: a
// system may use it, and must then be right, but need not. Two people who fit
// equally make a line [Truth.Ambiguous]: no single name is right for it.
package scenario

import "time"

// Source is one origin of lines, as a configuration would state it.
type Source struct {
	Name   string
	Tenant string
	// Format is the pinned format, "" when it is detected from the line.
	Format string
	// Trusted says that the transport authenticates its sender.
	Trusted bool
	// AuthoritativeFor lists the issuers whose principals the source proves.
	AuthoritativeFor []string
	// Syslog says that the lines carry a syslog header.
	Syslog bool
}

// Relations of a line to the one it follows from.
const (
	CalledBy       = "called_by"
	RetryOf        = "retry_of"
	HandsOff       = "hands_off"
	RespondsTo     = "responds_to"
	UsesCredential = "uses_credential"
	ApprovedBy     = "approved_by"
)

// Parent is a line that another can be linked to.
type Parent struct {
	Line     int // index into Stream.Lines
	Relation string
}

// Truth is what is so, whether or not the line shows it.
type Truth struct {
	// Scenario names what happens, Tenant whose system it is.
	Scenario, Tenant string
	// Chain numbers everything that follows from one request; 0 is none. Group
	// numbers, inside it, the lines that shared identifiers tie together.
	Chain, Group int
	// Loose lines may stand in the chain or beside it: an agent's own login with
	// the credential that it later uses for somebody.
	Loose bool
	// Format is the name of the line's format.
	Format string

	// Requester is who really asked, "" when nobody did or nobody can say.
	// RequesterAliases are all identifiers of that person, Requester among them.
	Requester        string
	RequesterAliases []string
	// Shown says that the line itself names the requester, Linkable that it can
	// be known for sure, Window that time, host and account point to it.
	Shown, Linkable, Window bool

	// Executor is what acted, as the line itself shows it when ExecutorShown.
	Executor        string
	ExecutorAliases []string
	ExecutorShown   bool
	// AnyExecutor: which name stands for what acted is a matter of taste, or a stranger's.
	AnyExecutor bool

	// Stated are names that the line gives for its caller and that a system may
	// repeat on this very record, though it is not who asked: a shared account
	// that called sudo, or whatever a stranger's line says.
	Stated []string
	// Forged are names that somebody put into the line to be taken for another.
	// They may stand only where the record is also marked as ambiguous.
	Forged []string
	// Ambiguous: more than one person fits, and none may be named as found.
	// MayBeAmbiguous: saying so is as good as naming Requester.
	Ambiguous, MayBeAmbiguous bool

	Parents []Parent

	// Must are findings that this record has to carry, MustAny such that one of
	// the chain's records with the same entry has to; May are arguable, MustNot
	// are false.
	Must, MustAny, May, MustNot []string
}

// Line is one line and when it arrives.
type Line struct {
	Source  int    // index into Stream.Sources
	Peer    string // address of the sender, "" for a file
	Arrival time.Time
	Raw     []byte
	Truth   Truth
}

// Stream is what arrives, in the order of arrival.
type Stream struct {
	Seed    uint64
	Sources []Source
	Lines   []Line
}

// judged are the findings that this package has an opinion about on every line.
var judged = []string{
	"requester_missing", "agent_as_human", "shared_account", "session_wrapper_only", "chain_broken", "link_ambiguous",
	"delegation_redacted", "impersonation_no_actor", "credential_expired", "credential_used_after_revoke",
	"credential_issuance_unseen", "self_approval", "scope_escalation", "half_pair",
}
