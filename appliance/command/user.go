package command

import (
	"time"

	"github.com/spf13/cobra"

	"custody/appliance/auth"
)

func (a *app) user() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "user",
		Short: "Let people sign in",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usagef("say what to do: user link [--role ROLE] [--name NAME]")
		},
	}
	cmd.AddCommand(a.userLink())
	return cmd
}

func (a *app) userLink() *cobra.Command {
	role, name := string(auth.Admin), "administrator"
	cmd := &cobra.Command{
		Use:   "link",
		Short: "Print a new one-time sign-in link for the browser",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := auth.ParseRole(role); err != nil {
				return usagef("--role: %w", err)
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			var answer struct {
				URL     string    `json:"url"`
				Expires time.Time `json:"expires"`
			}
			if err := c.Post(cmd.Context(), "/admin/v1/signin-link", map[string]string{"role": role, "name": name}, &answer); err != nil {
				return explain(err)
			}
			a.print.line("%s", answer.URL)
			a.print.warn("works once, until %s", answer.Expires.UTC().Format(time.RFC3339))
			return a.print.failed
		},
	}
	cmd.Flags().StringVar(&role, "role", role, "what they may do: "+roleNames())
	cmd.Flags().StringVar(&name, "name", name, "who they are; the access log names them so")
	return cmd
}
