package command

import (
	"log/slog"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"custody/appliance"
)

func (a *app) serve() *cobra.Command {
	var over appliance.Overrides
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the appliance",
		Long: `Run the appliance until it is asked to stop (SIGINT, SIGTERM). Without any
configuration it keeps its data in ./custody-data, takes syslog on 127.0.0.1:5514
(UDP and TCP) and serves pages on http://127.0.0.1:8484.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.loadConfig(over)
			if err != nil {
				return err
			}
			tuneMemory()
			app, err := appliance.New(cfg, appliance.Options{
				Version: a.env.Version,
				Logger:  slog.New(slog.NewTextHandler(a.env.Stderr, nil)),
				Clock:   a.env.Clock,
				Ready:   a.ready,
			})
			if err != nil {
				return err
			}
			return app.Run(cmd.Context())
		},
	}
	cmd.Flags().StringVar(&over.HTTP, "http", "", "address of pages and API (default 127.0.0.1:8484)")
	cmd.Flags().StringVar(&over.Syslog, "syslog", "", "address of syslog, UDP and TCP, in place of all [[syslog]] (default 127.0.0.1:5514)")
	return cmd
}

// What the server lives on is small, but it allocates fast: fewer collections
// cost memory up to a bound and save a fifth of the CPU.
const (
	gcPercent   = 250
	memoryLimit = 512 << 20 // from here it collects more often
)

// tuneMemory sets the collector, unless the environment does (GOGC, GOMEMLIMIT).
func tuneMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
}

// ready says where to look.
func (a *app) ready(r appliance.Ready) {
	p := a.print
	p.line("custody %s is running", a.env.Version)
	rows := [][]string{{"  pages", r.URL}, {"  data", r.Data}}
	for _, l := range r.Listeners {
		rows = append(rows, []string{"  " + l.Name, l.Transport + " on " + l.Address})
	}
	for _, t := range r.Tails {
		rows = append(rows, []string{"  file", t})
	}
	p.table(rows)
	for _, w := range r.Warnings {
		p.warn("warning: %s", w)
	}
	p.line("Sign in once, before %s:", r.LinkExpires.UTC().Format(time.RFC3339))
	p.line("  %s", r.Link)
}
