package appliance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"custody/appliance/admin"
	"custody/appliance/auth"
	"custody/appliance/web"
	"custody/index"
	"custody/ingest"
	"custody/ingest/syslog"
	"custody/ingest/tail"
)

// Options of New. The zero value is useful.
type Options struct {
	Version string           // default "dev"
	Logger  *slog.Logger     // default discards
	Clock   func() time.Time // default time.Now
	// Ready is called once, when everything listens. It must not block for long.
	Ready func(Ready)
}

// Ready says where to look.
type Ready struct {
	URL         string // of the pages
	Link        string // one-time sign-in link of the administrator
	LinkExpires time.Time
	Data        string // folder
	Listeners   []web.Listener
	Tails       []string // patterns of followed files
	Warnings    []string
}

// Appliance is a configured custody. Make one with New, run it once.
type Appliance struct {
	cfg   *Config
	opt   Options
	log   *slog.Logger
	clock func() time.Time

	// Made by open, in this order; nil until then.
	ledger    *index.Ledger
	policies  *policies
	gate      *ingest.Gate // before the ledger, for all receivers
	listeners []*syslog.Listener
	addresses []web.Listener
	registry  *tail.Registry
	tailers   []*tail.Tailer
	pages     net.Listener
	socket    net.Listener
	web       *web.Server
}

// New checks what can be checked without touching anything. The configuration must
// come from LoadConfig, ParseConfig or DefaultConfig.
func New(cfg *Config, opt Options) (*Appliance, error) {
	if opt.Version == "" {
		opt.Version = "dev"
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.Clock == nil {
		opt.Clock = time.Now
	}
	if _, err := cfg.Registry(opt.Clock); err != nil {
		return nil, fmt.Errorf("configure mappings: %w", err)
	}
	return &Appliance{cfg: cfg, opt: opt, log: opt.Logger, clock: opt.Clock}, nil
}

// Run opens the ledger, starts everything around it and blocks until ctx ends or a
// part fails. What was received by then is durable and sealed when it returns.
//
// The order on the way down is the order of the data: receivers end first and hand
// over what they have read; then the ledger makes that durable and seals it; then
// the files close. Pages end with the receivers, since a search on a stopping
// ledger helps nobody.
func (a *Appliance) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, a.close()) }()
	if err := a.open(ctx); err != nil {
		return err
	}
	// Parts below outlive ctx on purpose: each floor is stopped by itself.
	base := context.WithoutCancel(ctx)
	ledgerCtx, stopLedger := context.WithCancel(base)
	defer stopLedger()
	receiverCtx, stopReceivers := context.WithCancel(base)
	defer stopReceivers()

	ledger := newGroup()
	ledger.start(func() error { return a.ledger.Run(ledgerCtx) })
	receivers := newGroup()
	receivers.start(func() error { return a.policies.run(receiverCtx) })
	for _, l := range a.listeners {
		receivers.start(func() error { return l.Run(receiverCtx) })
	}
	for _, t := range a.tailers {
		receivers.start(func() error { return t.Run(receiverCtx) })
	}
	servers := newGroup()
	pages := a.server(receiverCtx, a.web.Handler(), true)
	socket := a.server(receiverCtx, a.web.AdminHandler(), false)
	servers.start(func() error { return pages.serve(a.pages, a.cfg.HTTP) })
	servers.start(func() error { return socket.serve(a.socket, HTTP{}) })

	var failure error
	if err := a.announce(); err != nil {
		failure = err
	} else {
		a.log.Info("custody is running", "version", a.opt.Version, "data", a.cfg.Storage.Data, "http", a.pages.Addr().String())
		select {
		case <-ctx.Done():
			a.log.Info("stopping")
		case <-ledger.ended:
			failure = errors.New("the ledger ended")
		case <-receivers.ended:
			failure = errors.New("a receiver ended")
		case <-servers.ended:
			failure = errors.New("a server ended")
		}
	}

	stopReceivers()
	shutdown(base, pages, socket)
	failure = errors.Join(failure, servers.wait(), receivers.wait())
	stopLedger()
	failure = errors.Join(failure, ledger.wait())
	a.log.Info("stopped")
	return failure
}

// open makes every part, the ledger first; nothing runs yet.
func (a *Appliance) open(ctx context.Context) error {
	cfg := a.cfg
	data, err := filepath.Abs(cfg.Storage.Data)
	if err != nil {
		return fmt.Errorf("find data folder: %w", err)
	}
	if err := makeFolder(data); err != nil {
		return fmt.Errorf("make data folder: %w", err)
	}
	registry, err := cfg.Registry(a.clock)
	if err != nil {
		return err
	}
	a.ledger, err = index.Open(index.Options{
		Dir: data, Registry: registry, Logger: a.log.With("part", "ledger"), Clock: a.clock,
		Origin: cfg.Log.Origin, QueueBytes: int64(cfg.Storage.QueueBytes), SegmentRows: cfg.Storage.SegmentRows,
		Reserve: max(1, int64(cfg.Storage.Reserve)), CheckpointInterval: time.Duration(cfg.Log.CheckpointInterval),
		HeartbeatInterval: time.Duration(cfg.Log.Heartbeat), Link: cfg.linkOptions(),
	})
	if err != nil {
		return err
	}
	if a.policies, err = newPolicies(cfg, a.ledger, a.clock, a.log.With("part", "policies")); err != nil {
		return err
	}
	if a.socket, err = admin.Listen(ctx, data); err != nil {
		return err
	}
	if err := a.openReceivers(ctx); err != nil {
		return err
	}
	var lc net.ListenConfig
	if a.pages, err = lc.Listen(ctx, "tcp", cfg.HTTP.Addr); err != nil {
		return fmt.Errorf("listen for pages: %w", err)
	}
	users, err := auth.New(a.ledger.KV(), auth.Options{Now: a.clock})
	if err != nil {
		return err
	}
	imports := &importer{cfg: cfg, ledger: a.ledger, gate: a.gate, registry: a.registry, spool: data, clock: a.clock, log: a.log.With("part", "import")}
	a.web, err = web.New(web.Options{
		Ledger: a.ledger, Auth: users, Now: a.clock, Log: a.log.With("part", "web"), Version: a.opt.Version,
		Listeners: a.addresses, Tails: a.tailPatterns(), Metrics: a.metrics(),
		TLS: !cfg.HTTP.Plain(), BaseURL: a.baseURL(), MinFree: max(1, uint64(cfg.Storage.Reserve)),
		Admin: map[string]http.Handler{
			"POST " + admin.ImportPath: imports,
			"POST " + admin.VerifyPath: &verifier{ledger: a.ledger, clock: a.clock, log: a.log.With("part", "verify")},
		},
	})
	return err
}

// close releases what open made. Parts that have run are closed already; closing
// twice is safe.
func (a *Appliance) close() error {
	var errs []error
	for _, l := range a.listeners {
		errs = append(errs, l.Close())
	}
	for _, l := range []net.Listener{a.pages, a.socket} {
		if l == nil {
			continue
		}
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if a.ledger != nil {
		errs = append(errs, a.ledger.Close())
	}
	return errors.Join(errs...)
}

// announce tells where to look and how to sign in.
func (a *Appliance) announce() error {
	if a.opt.Ready == nil {
		return nil
	}
	link, expires, err := a.web.SigninLink(auth.Admin, "administrator")
	if err != nil {
		return fmt.Errorf("make sign-in link: %w", err)
	}
	r := Ready{
		URL: a.baseURL(), Link: link, LinkExpires: expires, Data: a.cfg.Storage.Data,
		Listeners: a.addresses, Tails: a.tailPatterns(),
	}
	if a.cfg.HTTP.Plain() && !loopback(a.cfg.HTTP.Addr) {
		r.Warnings = append(r.Warnings, "pages are served without TLS on "+a.cfg.HTTP.Addr+": only behind a proxy that ends TLS")
	}
	for _, list := range [][]Syslog{a.cfg.Syslog, a.cfg.RELP} {
		for i := range list {
			s := &list[i]
			if (s.Network == "udp" || s.Network == "tcp") && !loopback(s.Listen) {
				r.Warnings = append(r.Warnings, fmt.Sprintf("%s on %s takes lines from anybody who reaches it, unencrypted", s.Name, s.Listen))
			}
		}
	}
	if n := len(a.cfg.Risk); n > 0 {
		r.Warnings = append(r.Warnings, fmt.Sprintf("%d [[risk]] rules are checked, but no record gets a risk from them in this version", n))
	}
	for _, c := range a.cfg.Capture {
		if c.Mode != "full" {
			r.Warnings = append(r.Warnings, fmt.Sprintf("[[capture]] %s: records are kept in full in this version", c.Name))
		}
	}
	a.opt.Ready(r)
	return nil
}

// baseURL is where a browser on this host finds the pages.
func (a *Appliance) baseURL() string {
	scheme := "https"
	if a.cfg.HTTP.Plain() {
		scheme = "http"
	}
	host, port, err := net.SplitHostPort(a.pages.Addr().String())
	if err != nil {
		return scheme + "://" + a.cfg.HTTP.Addr
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if name, err := os.Hostname(); err == nil && !a.cfg.HTTP.Plain() {
			host = name
		}
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}
