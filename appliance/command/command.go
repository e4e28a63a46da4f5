// Package command is custody's command line, one file a command.
//
// It guarantees the exit codes: 0 done, 64 usage, 78 configuration, 74 input and
// output (files, sockets, no running server), 1 any other failure; for verify 0
// intact, 1 tampered, 2 cannot verify. Results go to standard output, all else to
// standard error. Everything printed passes the printer, which makes control
// characters visible: no log line can reach the terminal as a command to it.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"custody/appliance"
	"custody/appliance/admin"
	"custody/index/store"
)

// The exit codes (sysexits.h).
const (
	exitFailure = 1
	exitUsage   = 64
	exitIO      = 74
	exitConfig  = 78
)

// Env is what a command runs in.
type Env struct {
	Args    []string // without the program's name
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Clock   func() time.Time // default time.Now
	Version string           // default "dev"
}

// Main runs the command that the arguments name, until it is done or ctx ends.
// It returns the exit code.
func Main(ctx context.Context, env Env) int {
	if env.Clock == nil {
		env.Clock = time.Now
	}
	if env.Version == "" {
		env.Version = "dev"
	}
	p := &printer{out: env.Stdout, err: env.Stderr}
	a := &app{env: env, print: p}
	root := a.root()
	root.SetArgs(env.Args)
	if len(env.Args) == 0 {
		root.SetArgs([]string{}) // nil would mean the process's own
	}
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	code := a.exitCode(err)
	var refused *appliance.ConfigError
	switch {
	case errors.As(err, &refused):
		for _, problem := range refused.Problems {
			p.warn("%s", problem)
		}
	case errors.Is(err, errSaid):
	default:
		p.warn("custody: %s", err)
	}
	if code == exitUsage && !a.started {
		p.warn("Run \"custody --help\" for the commands and their flags.")
	}
	return code
}

// app is what the commands of one invocation share.
type app struct {
	env     Env
	print   *printer
	started bool // the arguments were understood
	config  string
	data    string
}

// errSaid is an error whose message was printed already.
var errSaid = errors.New("")

// coded is an error with its own exit code.
type coded struct {
	error
	code int
}

func (c coded) Unwrap() error { return c.error }

func usagef(format string, args ...any) error { return coded{fmt.Errorf(format, args...), exitUsage} }

func (a *app) exitCode(err error) int {
	var own coded
	var refused *appliance.ConfigError
	var answer *admin.Error
	var path *fs.PathError
	var network *net.OpError
	switch {
	case errors.As(err, &own):
		return own.code
	case !a.started:
		return exitUsage
	case errors.As(err, &refused):
		return exitConfig
	case errors.As(err, &answer):
		if answer.Status == http.StatusBadRequest {
			return exitUsage
		}
		return exitFailure
	case errors.Is(err, admin.ErrNotRunning), errors.Is(err, admin.ErrRunning), errors.Is(err, store.ErrLocked), errors.As(err, &path), errors.As(err, &network),
		errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, fs.ErrPermission):
		return exitIO
	}
	return exitFailure
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "custody",
		Short: "An audit appliance for agentic AI: who asked, which agent acted, with what permission, and what came of it",
		Long: `custody takes in syslog and files, turns every line into an attribution record,
keeps it, seals it in a verifiable log, and lets people search it in a browser.

  custody serve      starts the appliance; it works without any configuration
  custody demo       sends it believable traffic to look at`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		PersistentPreRun: func(*cobra.Command, []string) {
			a.started = true
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(a.env.Stdin)
	root.SetOut(a.env.Stdout)
	root.SetErr(a.env.Stderr)
	root.CompletionOptions.HiddenDefaultCmd = false
	root.PersistentFlags().StringVar(&a.config, "config", "", "configuration file (TOML); without it custody runs on its defaults")
	root.PersistentFlags().StringVar(&a.data, "data", "", "data folder (default ./custody-data, or as configured)")
	for _, add := range []func() *cobra.Command{
		a.serve, a.checkConfig, a.parse, a.importFiles, a.search, a.count, a.show, a.chain, a.verify, a.log, a.token, a.user, a.demo, a.status, a.version,
	} {
		root.AddCommand(add())
	}
	return root
}

// loadConfig reads the configuration and puts the flags in.
func (a *app) loadConfig(o appliance.Overrides) (*appliance.Config, error) {
	cfg, err := appliance.LoadConfig(a.config)
	if err != nil {
		return nil, err
	}
	o.Data = a.data
	return cfg, cfg.Apply(o)
}

// client reaches the running server of the data folder.
func (a *app) client() (*admin.Client, error) {
	data := a.data
	if data == "" {
		cfg, err := a.loadConfig(appliance.Overrides{})
		if err != nil {
			return nil, err
		}
		data = cfg.Storage.Data
	}
	return admin.NewClient(data), nil
}

// explain adds what to do about an error of the client.
func explain(err error) error {
	if errors.Is(err, admin.ErrNotRunning) {
		return fmt.Errorf("%w; start it with \"custody serve\", or name its folder with --data", err)
	}
	return err
}

// words joins the arguments of a query, so that it can be written without quotes.
func words(args []string) string { return strings.Join(args, " ") }
