package command

import (
	"net/url"

	"github.com/spf13/cobra"
)

// timeRange holds the flags --from and --to.
type timeRange struct{ from, to string }

func (r *timeRange) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&r.from, "from", "", "earliest time, inclusive: 2026-11-23T14:02:07Z, 2026-11-23, now-15m")
	cmd.Flags().StringVar(&r.to, "to", "", "latest time, exclusive")
}

func (r *timeRange) params(query string) url.Values {
	v := url.Values{}
	for name, value := range map[string]string{"q": query, "from": r.from, "to": r.to} {
		if value != "" {
			v.Set(name, value)
		}
	}
	return v
}

func (a *app) count() *cobra.Command {
	var when timeRange
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "count [QUERY]",
		Short:   "Count the records that match a query",
		Example: `  custody count 'outcome.status:denied AND time:>now-1d'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			var answer struct {
				Count uint64 `json:"count"`
			}
			if err := c.Get(cmd.Context(), "/api/v1/count", when.params(words(args)), &answer); err != nil {
				return explain(err)
			}
			if asJSON {
				a.print.value(answer)
			} else {
				a.print.line("%d", answer.Count)
			}
			return a.print.failed
		},
	}
	when.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
