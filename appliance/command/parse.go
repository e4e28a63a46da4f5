package command

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"custody/appliance"
	"custody/ingest"
	"custody/ingest/attribution"
	"custody/ingest/record"
)

func (a *app) parse() *cobra.Command {
	var format, source, mapping, zone string
	var syslog bool
	cmd := &cobra.Command{
		Use:   "parse",
		Short: "Show what would be recorded of the lines on standard input",
		Long: `Show what would be recorded of the lines on standard input: one JSON record a line,
with the provenance of every field. Nothing is stored and no server is needed.`,
		Example: `  tail -1 /var/log/auth.log | custody parse --syslog
  custody parse --config custody.toml --source agents-tls < sample.log`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.loadConfig(appliance.Overrides{})
			if err != nil {
				return err
			}
			registry, err := cfg.Registry(a.env.Clock)
			if err != nil {
				return err
			}
			src := &ingest.Source{Name: "parse", Transport: ingest.Import, Syslog: syslog}
			if source != "" {
				if src, err = cfg.Source(source); err != nil {
					return usagef("--source: %w", err)
				}
			}
			if err := cfg.Pin(src, appliance.Pins{Format: format, Mapping: mapping, Zone: zone}); err != nil {
				return usagef("%w", err)
			}
			return a.parseLines(registry.Worker(), src)
		},
	}
	cmd.Flags().StringVar(&format, "format", "", "pins the format: "+formatNames())
	cmd.Flags().StringVar(&source, "source", "", "take the lines as those of this source of the configuration")
	cmd.Flags().StringVar(&mapping, "mapping", "", "pins a [[mapping]] of the configuration")
	cmd.Flags().StringVar(&zone, "zone", "", "zone of times that state none, such as Europe/Berlin (default UTC)")
	cmd.Flags().BoolVar(&syslog, "syslog", false, "lines carry a syslog header")
	return cmd
}

// parseLines decodes standard input line by line.
func (a *app) parseLines(w *attribution.Worker, src *ingest.Source) error {
	const maxLine = 16 << 20
	in := bufio.NewReaderSize(a.env.Stdin, 64<<10)
	var line, out []byte
	for {
		var whole int
		var err error
		line, whole, err = readLine(in, line[:0], maxLine)
		if err != nil && !errors.Is(err, io.EOF) {
			return coded{fmt.Errorf("read standard input: %w", err), exitIO}
		}
		if whole == 0 && err != nil {
			return a.print.failed
		}
		l := ingest.Line{Raw: line, Received: a.env.Clock().UnixNano(), Offset: -1}
		if whole > len(line) {
			l.FullLength = whole
		}
		var records []*record.Record
		w.Decode(attribution.Input{Source: src, Line: &l}, func() *record.Record {
			records = append(records, &record.Record{Kind: record.KindRecord, Received: l.Received})
			return records[len(records)-1]
		})
		for _, r := range records {
			out = r.AppendJSON(out[:0])
			a.print.json(out)
		}
		if err != nil || a.print.failed != nil {
			return a.print.failed
		}
	}
}

// readLine reads a line without its end into dst, at most most bytes of it. It
// returns the length of the whole; io.EOF comes with the last line.
func readLine(in *bufio.Reader, dst []byte, most int) (line []byte, whole int, err error) {
	ended := false
	for !ended {
		part, err := in.ReadSlice('\n')
		ended = err == nil
		if ended {
			part = part[:len(part)-1]
			if n := len(part); n > 0 && part[n-1] == '\r' {
				part = part[:n-1]
			}
		}
		whole += len(part)
		dst = append(dst, part[:min(len(part), most-len(dst))]...)
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return dst, whole, err
		}
	}
	return dst, whole, nil
}

// formatNames lists the formats for help texts.
func formatNames() string {
	registry, err := attribution.New(attribution.Options{})
	if err != nil {
		return ""
	}
	return strings.Join(registry.Formats(), ", ")
}
