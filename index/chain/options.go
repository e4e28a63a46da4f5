package chain

import "time"

// Options of a Linker. The zero value links with the defaults and trusts no source.
type Options struct {
	// Window is how long a record waits for what it belongs to. Default 15 minutes.
	Window time.Duration
	// Memory bounds what is kept of the window, in bytes. Default 64 MiB. When
	// more arrives within the window, the window gets shorter, and Stats says so.
	Memory int64
	// CredentialMemory bounds the credentials that are kept in memory, in bytes.
	// Default 64 MiB. Those that do not fit are looked up in the records.
	CredentialMemory int64
	// Skew is how far the clocks of two sources may be apart. Default 2 minutes.
	Skew time.Duration
	// MaxTTL is the longest life of a credential that policy allows; 0 is any.
	MaxTTL time.Duration
	// SharedAccounts are local accounts that several people use.
	SharedAccounts []string
	// HandoffsNeedApproval makes a hand-off between agents without an approval a finding.
	HandoffsNeedApproval bool
	// ApprovalSteps is how many changes one approval may cover. Default 20.
	ApprovalSteps int
	// Trusted reports whether the configuration trusts the network of a source. Default: no source.
	Trusted func(source string) bool
	// Key keys the hashes of credential ids, so that nobody outside can make two meet.
	Key [32]byte
}

func (o *Options) fill() {
	if o.Window <= 0 {
		o.Window = 15 * time.Minute
	}
	if o.Memory <= 0 {
		o.Memory = 64 << 20
	}
	if o.CredentialMemory <= 0 {
		o.CredentialMemory = 64 << 20
	}
	if o.Skew <= 0 {
		o.Skew = 2 * time.Minute
	}
	if o.ApprovalSteps <= 0 {
		o.ApprovalSteps = 20
	}
	if o.Trusted == nil {
		o.Trusted = func(string) bool { return false }
	}
}

// Stats is what a Linker did since it was made.
type Stats struct {
	Linked      uint64        // records that hang on another
	Amendments  uint64        // stated later
	Ambiguous   uint64        // records with two or more candidates
	Keys        int           // identifiers in memory
	Credentials int           // credentials in memory
	Window      time.Duration // how far back identifiers are known now; shorter than configured when memory is short
	Dropped     uint64        // checks given up because memory was short
	Lookups     uint64        // credentials looked up in the records
}
