package command

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// serverStatus is what /api/v1/status answers, as far as it is shown.
type serverStatus struct {
	Events struct {
		Durable    uint64 `json:"durable"`
		Sealed     uint64 `json:"sealed"`
		Searchable uint64 `json:"searchable"`
	} `json:"events"`
	Checkpoint struct {
		Origin string `json:"origin"`
		Size   uint64 `json:"size"`
		Root   string `json:"root"`
	} `json:"checkpoint"`
	LastSealed string `json:"last_sealed"`
	Segments   int    `json:"segments"`
	QueueBytes int64  `json:"queue_bytes"`
	Disk       struct {
		Used int64  `json:"used_bytes"`
		Free uint64 `json:"free_bytes"`
	} `json:"disk"`
	Ready   bool `json:"ready"`
	Reasons []struct {
		Code   string `json:"code"`
		Detail string `json:"detail"`
	} `json:"reasons"`
	Listeners []struct {
		Name      string `json:"name"`
		Transport string `json:"transport"`
		Address   string `json:"address"`
	} `json:"listeners"`
	Version string `json:"version"`
}

func (a *app) status() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the state of the running server",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			var raw json.RawMessage
			if err := c.Get(cmd.Context(), "/api/v1/status", nil, &raw); err != nil {
				return explain(err)
			}
			if asJSON {
				a.print.json(raw)
				return a.print.failed
			}
			var st serverStatus
			if err := json.Unmarshal(raw, &st); err != nil {
				return err
			}
			state := "ready"
			if !st.Ready {
				state = "NOT READY"
			}
			rows := [][]string{{"state", state}}
			for _, r := range st.Reasons {
				rows = append(rows, []string{"", r.Code + ": " + r.Detail})
			}
			rows = append(rows, [][]string{
				{"events durable", strconv.FormatUint(st.Events.Durable, 10)},
				{"events sealed", strconv.FormatUint(st.Events.Sealed, 10)},
				{"events searchable", strconv.FormatUint(st.Events.Searchable, 10)},
				{"waiting", size(st.QueueBytes)},
				{"log", st.Checkpoint.Origin + ", " + strconv.FormatUint(st.Checkpoint.Size, 10) + " entries"},
				{"root", st.Checkpoint.Root},
				{"last sealed", st.LastSealed},
				{"segments", strconv.Itoa(st.Segments)},
				{"data", size(st.Disk.Used) + " used, " + size(int64(min(st.Disk.Free, 1<<62))) + " free"},
				{"version", st.Version},
			}...)
			for _, l := range st.Listeners {
				rows = append(rows, []string{"listener " + l.Name, l.Transport + " " + l.Address})
			}
			a.print.table(rows)
			return a.print.failed
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// size is a number of bytes for people, to a tenth.
func size(n int64) string {
	for _, u := range []struct {
		name   string
		factor int64
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.factor {
			return strconv.FormatFloat(float64(n)/float64(u.factor), 'f', 1, 64) + " " + u.name
		}
	}
	return strconv.FormatInt(n, 10) + " B"
}

// rate is a speed for people.
func rate(n int64, took time.Duration, unit string) string {
	if took <= 0 {
		return ""
	}
	return strconv.FormatInt(int64(float64(n)/took.Seconds()), 10) + " " + unit + "/s"
}
