package appliance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"custody/index"
	"custody/ingest/record"
)

// fakeLedger notes what it is asked to change; the first expiry fails.
type fakeLedger struct{ calls []string }

func (f *fakeLedger) Expire(_ context.Context, x index.Expiry) (index.Certificate, error) {
	f.calls = append(f.calls, fmt.Sprintf("expire %s before %s", x.Class, time.Unix(0, x.Before).UTC().Format(time.DateTime)))
	if len(f.calls) < 3 {
		return index.Certificate{}, errors.New("disk on fire")
	}
	return index.Certificate{Records: 1}, nil
}

func (f *fakeLedger) Redact(_ context.Context, r index.Redaction) (int, error) {
	f.calls = append(f.calls, fmt.Sprintf("redact %s %v before %s", r.Policy, r.Fields, time.Unix(0, r.Before).UTC().Format(time.DateTime)))
	return 1, nil
}

func TestPoliciesRunAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := DefaultConfig()
		cfg.Retention = []Retention{{Name: "year", Match: "context.tenant:acme", Keep: 365 * day}}
		cfg.Redaction = []Redaction{{Name: "addresses", Match: "_exists_:source.address", Fields: []string{"source.address"}, Mode: "shred", After: 30 * day, Basis: "law"}}
		ledger := &fakeLedger{}
		p, err := newPolicies(cfg, ledger, time.Now, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.run(ctx) }()
		time.Sleep(policyInterval + time.Second)
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		// The clock of the bubble begins at 2000-01-01.
		want := []string{
			fmt.Sprintf("redact addresses %v before 1999-12-02 00:00:00", []record.Field{record.SourceAddress}), "expire year before 1999-01-01 00:00:00",
			fmt.Sprintf("redact addresses %v before 1999-12-02 00:01:00", []record.Field{record.SourceAddress}), "expire year before 1999-01-01 00:01:00",
		}
		if !slices.Equal(ledger.calls, want) {
			t.Errorf("got %q\nwant %q", ledger.calls, want)
		}
	})
}
