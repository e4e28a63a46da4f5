package appliance

import (
	"time"

	"custody/index/chain"
)

// linkOptions are the linker's options, nil when linking is off.
func (c *Config) linkOptions() *chain.Options {
	k := &c.Link
	if !*k.Enabled {
		return nil
	}
	trusted := make(map[string]bool)
	for i := range c.Syslog {
		trusted[c.Syslog[i].Name] = c.Syslog[i].Trusted
	}
	for i := range c.RELP {
		trusted[c.RELP[i].Name] = c.RELP[i].Trusted
	}
	for i := range c.Tail {
		trusted[c.Tail[i].Name] = *c.Tail[i].Trusted
	}
	return &chain.Options{
		Window: time.Duration(k.Window), Memory: int64(k.Memory), CredentialMemory: int64(k.CredentialMemory),
		Skew: time.Duration(k.Skew), MaxTTL: time.Duration(k.MaxCredentialTTL), SharedAccounts: k.SharedAccounts,
		HandoffsNeedApproval: k.HandoffsNeedApproval, ApprovalSteps: k.ApprovalSteps,
		Trusted: func(source string) bool { return trusted[source] },
	}
}
