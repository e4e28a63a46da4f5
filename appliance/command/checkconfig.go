package command

import (
	"os"

	"github.com/spf13/cobra"

	"custody/appliance"
)

func (a *app) checkConfig() *cobra.Command {
	return &cobra.Command{
		Use:   "check-config [FILE]",
		Short: "Check a configuration and show every problem with its line and column",
		Example: `  custody check-config custody.toml
  custody check-config --config custody.toml`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				if a.config != "" {
					return usagef("name the file once: as an argument or with --config")
				}
				a.config = args[0]
			}
			if a.config == "" {
				return usagef("name the file to check")
			}
			cfg, err := a.loadConfig(appliance.Overrides{})
			if err != nil {
				return err
			}
			// What the file names and serve would open is checked here too, but only
			// warned about: the file may be checked on another machine.
			for _, f := range cfg.Files() {
				if file, err := os.Open(f); err != nil {
					a.print.warn("warning: %s", err)
				} else {
					_ = file.Close() // was only read
				}
			}
			a.print.line("%s is sound", a.config)
			return nil
		},
	}
}
