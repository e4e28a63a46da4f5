package command

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"custody/appliance/auth"
)

func (a *app) token() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make tokens for the HTTP interface",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return usagef("say what to do: token create --role ROLE") },
	}
	cmd.AddCommand(a.tokenCreate())
	return cmd
}

// roleNames lists the roles for help texts.
func roleNames() string {
	var names []string
	for _, r := range auth.Roles() {
		names = append(names, string(r))
	}
	return strings.Join(names, ", ")
}

func (a *app) tokenCreate() *cobra.Command {
	var role, name string
	var days int
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "create --role ROLE",
		Short:   "Print a new bearer token; it is shown this once",
		Example: `  curl -H "Authorization: Bearer $(custody token create --role viewer)" http://127.0.0.1:8484/api/v1/status`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if role == "" {
				return usagef("--role is missing: one of %s", roleNames())
			}
			if _, err := auth.ParseRole(role); err != nil {
				return usagef("--role: %w", err)
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			var t struct {
				Token   string    `json:"token"`
				ID      string    `json:"id"`
				Role    string    `json:"role"`
				Name    string    `json:"name"`
				Expires time.Time `json:"expires"`
			}
			body := map[string]any{"role": role, "name": name, "days": days}
			if err := c.Post(cmd.Context(), "/admin/v1/tokens", body, &t); err != nil {
				return explain(err)
			}
			if asJSON {
				a.print.value(t)
				return a.print.failed
			}
			a.print.line("%s", t.Token)
			a.print.warn("role %s, valid until %s, revoked by its id %s", t.Role, t.Expires.UTC().Format(time.RFC3339), t.ID)
			return a.print.failed
		},
	}
	cmd.Flags().StringVar(&role, "role", "", "what it may do: "+roleNames())
	cmd.Flags().StringVar(&name, "name", "command line", "whom the access log names")
	cmd.Flags().IntVar(&days, "days", 90, "days until it expires")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
