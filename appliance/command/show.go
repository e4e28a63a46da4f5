package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

func (a *app) show() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show one record with the provenance of every field and its seal",
		Long:  "Show one record, named by its id or its sequence number: every field, where in the raw line it came from, and the seal.",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			var raw json.RawMessage
			if err := c.Get(cmd.Context(), "/api/v1/records/"+url.PathEscape(strings.TrimPrefix(args[0], "#")), nil, &raw); err != nil {
				return explain(err)
			}
			if asJSON {
				a.print.json(raw)
				return a.print.failed
			}
			rows, err := fieldTable(raw)
			if err != nil {
				return fmt.Errorf("read record: %w", err)
			}
			a.print.table(rows)
			return a.print.failed
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// fieldTable lists the members of a record in their order: dotted name, value, provenance.
func fieldTable(raw []byte) ([][]string, error) {
	var origin struct {
		Provenance map[string]string `json:"provenance"`
	}
	if err := json.Unmarshal(raw, &origin); err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var rows [][]string
	if err := walk(dec, "", func(name, value string) {
		if strings.HasPrefix(name, "provenance.") {
			return
		}
		row := []string{name, value}
		if p := origin.Provenance[name]; p != "" {
			row = append(row, "← "+p)
		}
		rows = append(rows, row)
	}); err != nil {
		return nil, err
	}
	return rows, nil
}

// walk reads one JSON value and calls leaf for each scalar and each array in it.
func walk(dec *json.Decoder, name string, leaf func(name, value string)) error {
	tok, err := dec.Token()
	if err != nil {
		return err
	}
	switch tok {
	case json.Delim('{'):
		for dec.More() {
			key, err := dec.Token()
			if err != nil {
				return err
			}
			inner := fmt.Sprint(key)
			if name != "" {
				inner = name + "." + inner
			}
			if err := walk(dec, inner, leaf); err != nil {
				return err
			}
		}
		_, err = dec.Token()
		return err
	case json.Delim('['):
		for i := 0; dec.More(); i++ {
			var element json.RawMessage
			if err := dec.Decode(&element); err != nil {
				return err
			}
			var text string
			if json.Unmarshal(element, &text) != nil {
				text = string(element)
			}
			leaf(fmt.Sprintf("%s[%d]", name, i), text)
		}
		_, err = dec.Token()
		return err
	}
	leaf(name, fmt.Sprint(tok))
	return nil
}
