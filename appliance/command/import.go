package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"custody/appliance/admin"
)

func (a *app) importFiles() *cobra.Command {
	flags := map[string]*string{}
	var syslog bool
	cmd := &cobra.Command{
		Use:   "import FILE...",
		Short: "Take in files, or standard input (-), through the running server",
		Long: `Take in the lines of files, or of standard input (-), through the running server.
Files may be compressed with gzip or zstd. It is safe to repeat: content that was
taken before, by an import or from a followed file, adds nothing.`,
		Example: `  custody import /var/log/vault/audit.log*
  zcat old.log.gz | custody import --format k8s_audit -`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			params := url.Values{}
			for name, v := range flags {
				if *v != "" {
					params.Set(name, *v)
				}
			}
			if syslog {
				params.Set(admin.ParamSyslog, "true")
			}
			for _, file := range args {
				if err := a.importFile(cmd.Context(), c, file, params); err != nil {
					return explain(err)
				}
			}
			return a.print.failed
		},
	}
	for name, help := range map[string]string{
		admin.ParamSource:  "take the lines as those of this configured source",
		admin.ParamFormat:  "pins the format: " + formatNames(),
		admin.ParamMapping: "pins a [[mapping]] of the configuration",
		admin.ParamTenant:  "tenant of the records",
		admin.ParamProduct: "source.product of the records",
		admin.ParamZone:    "zone of times that state none, such as Europe/Berlin (default UTC)",
	} {
		flags[name] = cmd.Flags().String(name, "", help)
	}
	cmd.Flags().BoolVar(&syslog, admin.ParamSyslog, false, "lines carry a syslog header")
	return cmd
}

// importFile streams one file and shows how far the server is.
func (a *app) importFile(ctx context.Context, c *admin.Client, file string, params url.Values) error {
	in := a.env.Stdin
	total := int64(-1)
	name := file
	if file == "-" {
		name = ""
	} else {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }() // was only read
		info, err := f.Stat()
		if err != nil {
			return err
		}
		if info.IsDir() {
			return coded{fmt.Errorf("%s is a folder; name its files", file), exitIO}
		}
		if info.Mode().IsRegular() {
			total = info.Size()
		}
		in = f
		if abs, err := filepath.Abs(file); err == nil {
			name = abs
		}
	}
	params.Set(admin.ParamName, name)
	start := a.env.Clock()
	answer, err := c.Stream(ctx, http.MethodPost, admin.ImportPath, params, in)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Close() }()
	dec := json.NewDecoder(answer)
	for {
		var p admin.ImportProgress
		if err := dec.Decode(&p); err != nil {
			a.print.progress("")
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return coded{fmt.Errorf("import %s: the server ended: %w; repeat the command, what was taken is not taken again", file, err), exitIO}
		}
		took := a.env.Clock().Sub(start)
		switch {
		case p.Error != "":
			a.print.progress("")
			return errors.New("import " + file + ": " + p.Error)
		case p.Done:
			a.print.progress("")
			a.print.line("%s: %d lines taken, %d known before, %s in %s (%s)",
				file, p.Lines, p.Skipped, size(p.Bytes), took.Round(time.Millisecond), rate(p.Lines, took, "lines"))
			return nil
		}
		a.print.progress(bar(p, total, took))
	}
}

// bar draws progress: a bar where the size is known, then lines and speed.
func bar(p admin.ImportProgress, total int64, took time.Duration) string {
	const width = 30
	text := strconv.FormatInt(p.Lines, 10) + " lines  " + rate(p.Lines, took, "lines") + "  " + size(p.Read)
	if total <= 0 {
		return text
	}
	done := min(p.Read, total)
	filled := int(done * width / total)
	return fmt.Sprintf("[%s%s] %3d%%  %s of %s", strings.Repeat("#", filled), strings.Repeat(".", width-filled), done*100/total, text, size(total))
}
