package appliance

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"custody/index"
	"custody/redact"
	"custody/retention"
)

// policyInterval is how often retention and redaction look for what is due.
const policyInterval = time.Minute

// changer is the ledger as policies see it.
type changer interface {
	// Expire erases what has outlived its class and seals a certificate.
	Expire(ctx context.Context, x index.Expiry) (index.Certificate, error)
	// Redact erases fields and seals that it did; it returns the number of records.
	Redact(ctx context.Context, r index.Redaction) (int, error)
}

// policies applies retention classes and redaction rules.
type policies struct {
	ledger    changer
	retention *retention.Planner
	redaction *redact.Planner
	clock     func() time.Time
	log       *slog.Logger
}

func newPolicies(cfg *Config, ledger changer, clock func() time.Time, log *slog.Logger) (*policies, error) {
	p := &policies{ledger: ledger, clock: clock, log: log}
	var classes []retention.Class
	for _, r := range cfg.Retention {
		classes = append(classes, retention.Class{Name: r.Name, Match: r.Match, Keep: time.Duration(r.Keep)})
	}
	var rules []redact.Rule
	for _, r := range cfg.Redaction {
		rules = append(rules, redact.Rule{Name: r.Name, Match: r.Match, Fields: r.Fields, After: time.Duration(r.After), Basis: r.Basis})
	}
	var errs [2]error
	p.retention, errs[0] = retention.New(classes)
	p.redaction, errs[1] = redact.New(rules)
	return p, errors.Join(errs[:]...)
}

// run applies the policies at once and then every interval, until ctx ends. What
// fails is logged and tried again: the records are still there, and are due still.
func (p *policies) run(ctx context.Context) error {
	tick := time.NewTicker(policyInterval)
	defer tick.Stop()
	for {
		p.apply(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// apply redacts first: what expires in the same round is erased either way.
func (p *policies) apply(ctx context.Context) {
	now := p.clock()
	for _, r := range p.redaction.Plan(now) {
		switch n, err := p.ledger.Redact(ctx, r); {
		case ctx.Err() != nil:
			return
		case err != nil:
			p.log.Error("redaction failed", "rule", r.Policy, "error", err)
		case n > 0:
			p.log.Info("redacted", "rule", r.Policy, "records", n)
		}
	}
	for _, x := range p.retention.Plan(now) {
		switch c, err := p.ledger.Expire(ctx, x); {
		case ctx.Err() != nil:
			return
		case err != nil:
			p.log.Error("expiry failed", "class", x.Class, "error", err)
		case c.Records+c.Amendments > 0:
			p.log.Info("expired", "class", x.Class, "records", c.Records, "amendments", c.Amendments, "bytes", c.Bytes, "certificate", c.Seq, "erased", c.Erased)
		}
	}
}
