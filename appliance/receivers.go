package appliance

import (
	"context"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"time"

	"custody/appliance/web"
	"custody/ingest"
	"custody/ingest/syslog"
	"custody/ingest/tail"
)

// openReceivers makes and binds the listeners and makes the tailers.
func (a *Appliance) openReceivers(ctx context.Context) error {
	// A quarter of the queue is left to the appliance's own rows.
	a.gate = ingest.NewGate(a.ledger, int64(a.cfg.Storage.QueueBytes)/4*3, a.clock)
	for i := range a.cfg.Syslog {
		s := &a.cfg.Syslog[i]
		if err := a.listen(ctx, s, s.Network, syslogTransports[s.Network]); err != nil {
			return err
		}
	}
	for i := range a.cfg.RELP {
		if err := a.listen(ctx, &a.cfg.RELP[i], "relp", ingest.RELP); err != nil {
			return err
		}
	}
	var err error
	if a.registry, err = tail.NewRegistry(a.ledger.FingerprintKey(), a.ledger); err != nil {
		return err
	}
	for i := range a.cfg.Tail {
		if err := a.follow(&a.cfg.Tail[i]); err != nil {
			return err
		}
	}
	return nil
}

func (a *Appliance) listen(ctx context.Context, s *Syslog, network, transport string) error {
	src, err := s.source(transport)
	if err != nil {
		return fmt.Errorf("configure %s: %w", s.Name, err)
	}
	cfg := syslog.Config{
		Network: network, Address: s.Listen, Source: src, MaxMessage: int(s.MaxMessage), MaxConnections: s.MaxConnections,
		IdleTimeout: time.Duration(s.IdleTimeout), SocketMode: fs.FileMode(s.SocketMode),
	}
	if s.Network == "tls" {
		if cfg.TLS, err = syslog.ServerTLS(s.TLSCert, s.TLSKey, s.ClientCA); err != nil {
			return fmt.Errorf("configure %s: %w", s.Name, err)
		}
	}
	l, err := syslog.New(cfg, a.gate.Share(), a.ledger, a.log.With("part", "syslog", "listener", s.Name), a.clock)
	if err != nil {
		return fmt.Errorf("configure %s: %w", s.Name, err)
	}
	if err := l.Listen(ctx); err != nil {
		return fmt.Errorf("listen for %s: %w", s.Name, err)
	}
	a.listeners = append(a.listeners, l)
	a.addresses = append(a.addresses, web.Listener{Name: s.Name, Transport: transport, Address: l.Addr().String()})
	return nil
}

func (a *Appliance) follow(t *Tail) error {
	src, err := t.source()
	if err != nil {
		return fmt.Errorf("configure %s: %w", t.Name, err)
	}
	cfg := tail.Config{
		Globs: t.Paths, Exclude: t.Exclude, Source: src, FingerprintKey: a.ledger.FingerprintKey(), Registry: a.registry,
		MaxLine: int(t.MaxLine), MaxEventLines: t.MultilineMax, FlushAfter: time.Duration(t.MultilineTimeout),
		Poll: time.Duration(t.Poll), Grace: time.Duration(t.Grace), FromStart: t.FromStart, ReadGzip: *t.Gzip,
	}
	if t.MultilineStart != "" {
		if cfg.Start, err = regexp.Compile(t.MultilineStart); err != nil {
			return fmt.Errorf("configure %s: %w", t.Name, err)
		}
	}
	tailer, err := tail.New(cfg, a.gate.Share(), a.ledger, a.log.With("part", "tail", "tail", t.Name), a.clock)
	if err != nil {
		return fmt.Errorf("configure %s: %w", t.Name, err)
	}
	a.tailers = append(a.tailers, tailer)
	return nil
}

func (a *Appliance) tailPatterns() []string {
	var out []string
	for i := range a.cfg.Tail {
		out = append(out, a.cfg.Tail[i].Paths...)
	}
	return slices.Clip(out)
}
