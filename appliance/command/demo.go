package command

import (
	"time"

	"github.com/spf13/cobra"

	"custody/appliance/demo"
)

func (a *app) demo() *cobra.Command {
	opt := demo.Options{Rate: 20, Count: 0, Seed: 0}
	network, addr := "tcp", "127.0.0.1:5514"
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Send believable agent traffic to a syslog listener",
		Long: `Send believable traffic of people, agents and tools to a syslog listener: deployments,
investigations, support cases, with approvals, denials and credentials, as Vault,
Kubernetes, CloudTrail, an MCP gateway, sudo and sshd would log them. Its records
carry source.demo and are found with source.demo:true.`,
		Example: "  custody demo --rate 200 --count 10000",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if opt.Rate < 1 || opt.Rate > 100_000 {
				return usagef("--rate: a number from 1 to 100000")
			}
			if opt.Count < 0 {
				return usagef("--count: a number from 0, for without end")
			}
			if network != "tcp" && network != "udp" {
				return usagef("--network: tcp or udp")
			}
			opt.Clock = a.env.Clock
			start := a.env.Clock()
			opt.Progress = func(sent int) {
				a.print.progress(rate(int64(sent), a.env.Clock().Sub(start), "events"))
			}
			sent, err := demo.Run(cmd.Context(), network, addr, opt)
			a.print.progress("")
			if err != nil {
				return coded{err, exitIO}
			}
			took := a.env.Clock().Sub(start)
			a.print.line("sent %d events in %s (%s)", sent, took.Round(time.Millisecond), rate(int64(sent), took, "events"))
			return a.print.failed
		},
	}
	cmd.Flags().IntVar(&opt.Rate, "rate", opt.Rate, "events a second")
	cmd.Flags().IntVar(&opt.Count, "count", opt.Count, "stop after so many events; 0 goes on until stopped")
	cmd.Flags().StringVar(&addr, "syslog", addr, "the listener's host:port")
	cmd.Flags().StringVar(&network, "network", network, "tcp or udp")
	cmd.Flags().Uint64Var(&opt.Seed, "seed", opt.Seed, "same seed, same stories; 0 takes one by the clock")
	return cmd
}
