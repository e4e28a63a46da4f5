package command

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"custody/appliance"
	"custody/index/seal"
)

func (a *app) log() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "log",
		Short: "The sealed log",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return usagef("say what to do: log export DIR") },
	}
	cmd.AddCommand(a.logExport())
	return cmd
}

func (a *app) logExport() *cobra.Command {
	return &cobra.Command{
		Use:   "export DIR",
		Short: "Write the sealed log to a new folder, complete with all tiles, for stock tools to verify",
		Long: `Write the sealed log of the data folder to a new folder, as a C2SP tlog-tiles log
with every tile, so that tools which custody did not write verify it. It works beside
the running server and without one. The public key is printed; pin it where this host
cannot change it.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := a.loadConfig(appliance.Overrides{})
			if err != nil {
				return err
			}
			// Published files never change and the checkpoint is replaced by rename, so
			// the folder can be read while the server writes on.
			logDir := filepath.Join(cfg.Storage.Data, "log")
			signed, err := os.ReadFile(filepath.Join(logDir, "checkpoint"))
			if err != nil {
				return fmt.Errorf("read checkpoint: %w", err)
			}
			key, err := seal.LoadKey(filepath.Join(cfg.Storage.Data, "keys", "signing"))
			if err != nil {
				return err
			}
			cp, err := seal.VerifyCheckpoint(signed, key.VKey())
			if err != nil {
				return err
			}
			reader := seal.NewReader(os.DirFS(logDir), func() seal.Checkpoint { return cp })
			if err := seal.Export(cmd.Context(), reader, signed, args[0]); err != nil {
				return err
			}
			a.print.line("%s", key.VKey())
			a.print.warn("wrote the log of %s, %d entries, to %s; above is its public key", cp.Origin, cp.Size, args[0])
			return a.print.failed
		},
	}
}
