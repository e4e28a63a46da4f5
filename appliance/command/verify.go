package command

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"custody/index"
	"custody/index/seal"
	"custody/index/store"
)

// The exit codes of verify.
const (
	exitTampered = 1
	exitUnknown  = 2
)

func (a *app) verify() *cobra.Command {
	var against, keys []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify PATH",
		Short: "Verify a data folder or an exported log: 0 intact, 1 tampered, 2 cannot verify",
		Long: `Verify a data folder: every stored row is computed anew and held against the sealed
log, the log against its signed checkpoint, and that against checkpoints that left
the host before (--against). Or verify a folder that "custody log export" wrote.

One host alone cannot show that its log was never rolled back or signed anew: keep
checkpoints elsewhere and name them here. Exit codes: 0 intact, 1 tampered, 2 cannot
verify.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			v := verdict{app: a, asJSON: asJSON}
			for _, file := range against {
				b, err := os.ReadFile(file)
				if err != nil {
					return v.cannot(err)
				}
				v.against = append(v.against, b)
			}
			for _, k := range keys {
				// A key may be given as itself or as a file that holds it.
				if b, err := os.ReadFile(k); err == nil {
					k = strings.TrimSpace(string(b))
				}
				v.keys = append(v.keys, k)
			}
			if _, err := os.Stat(filepath.Join(args[0], "segments")); err == nil {
				return v.folder(cmd, args[0])
			}
			if _, err := os.Stat(filepath.Join(args[0], "checkpoint")); err != nil {
				return v.cannot(fmt.Errorf("%s is neither a data folder nor an exported log", args[0]))
			}
			return v.export(cmd, args[0])
		},
	}
	cmd.Flags().StringArrayVar(&against, "against", nil, "file with a checkpoint that left the host before; may be repeated")
	cmd.Flags().StringArrayVar(&keys, "key", nil, "public key that must have signed, or a file with it (default for a data folder: its own)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// verdict is one verification.
type verdict struct {
	app     *app
	against [][]byte
	keys    []string
	asJSON  bool
}

// finding is the verdict as JSON.
type finding struct {
	Verdict  string   `json:"verdict"` // intact, tampered or unknown
	Tier     string   `json:"tier,omitempty"`
	Origin   string   `json:"origin,omitempty"`
	Size     uint64   `json:"size,omitempty"`
	Rows     uint64   `json:"rows,omitempty"`
	Expired  uint64   `json:"expired,omitempty"`
	Redacted uint64   `json:"redacted,omitempty"`
	Unsealed uint64   `json:"unsealed,omitempty"`
	Problems []string `json:"problems,omitempty"`
}

// cannot is the verdict that there is none.
func (v *verdict) cannot(err error) error {
	if errors.Is(err, store.ErrLocked) {
		err = fmt.Errorf("%w: stop the server, or verify what \"custody log export\" writes beside it", err)
	}
	if v.asJSON {
		v.app.print.value(finding{Verdict: "unknown", Problems: []string{err.Error()}})
	}
	return coded{fmt.Errorf("cannot verify: %w", err), exitUnknown}
}

func (v *verdict) say(f finding) error {
	p := v.app.print
	f.Verdict = "intact"
	if len(f.Problems) > 0 {
		f.Verdict = "tampered"
	}
	if v.asJSON {
		p.value(f)
	} else {
		for _, problem := range f.Problems {
			p.line("problem: %s", problem)
		}
		p.table([][]string{
			{"log", fmt.Sprintf("%s, %d entries", f.Origin, f.Size)},
			{"rows", fmt.Sprintf("%d computed anew, %d expired, %d redacted, %d not yet sealed", f.Rows, f.Expired, f.Redacted, f.Unsealed)},
			{"trust", f.Tier},
			{"verdict", strings.ToUpper(f.Verdict)},
		})
	}
	if len(f.Problems) > 0 {
		return coded{errSaid, exitTampered}
	}
	return p.failed
}

// folder verifies a data folder.
func (v *verdict) folder(cmd *cobra.Command, dir string) error {
	st, err := store.Open(filepath.Join(dir, "segments"), store.Options{ReadOnly: true})
	if err != nil {
		return v.cannot(err)
	}
	defer func() { _ = st.Close() }() // was only read
	rep, err := index.VerifyStore(cmd.Context(), dir, st, v.against, v.keys...)
	if err != nil {
		return v.cannot(err)
	}
	f := finding{Tier: rep.Tier, Origin: rep.Origin, Size: rep.Size, Rows: rep.Rows, Expired: rep.Expired, Redacted: rep.Redacted, Unsealed: rep.Unsealed}
	for _, p := range rep.Problems {
		f.Problems = append(f.Problems, p.String())
	}
	return v.say(f)
}

// export verifies a folder of tiles.
func (v *verdict) export(cmd *cobra.Command, dir string) error {
	if len(v.keys) == 0 {
		return v.cannot(errors.New("an exported log is verified with the public key of its appliance: name it with --key"))
	}
	fsys := os.DirFS(dir)
	cp, err := seal.VerifyLog(cmd.Context(), fsys, v.keys[0], seal.VerifyOptions{})
	f := finding{Tier: "log only; the rows were not there to be computed anew", Origin: cp.Origin, Size: cp.Size}
	if err != nil {
		if cmd.Context().Err() != nil {
			return v.cannot(err)
		}
		f.Problems = append(f.Problems, err.Error())
		return v.say(f)
	}
	reader := seal.NewReader(fsys, func() seal.Checkpoint { return cp })
	for i, signed := range v.against {
		older, err := seal.VerifyCheckpoint(signed, v.keys[:1]...)
		if err != nil {
			f.Problems = append(f.Problems, fmt.Sprintf("checkpoint %d of --against: %v", i+1, err))
			continue
		}
		proof, err := reader.Consistency(older.Size, cp)
		if err == nil {
			err = seal.CheckConsistency(older, cp, proof)
		}
		if err != nil {
			f.Problems = append(f.Problems, fmt.Sprintf("checkpoint of size %d is not a part of this log: %v", older.Size, err))
		}
	}
	if n := len(v.against); n > 0 && len(f.Problems) == 0 {
		f.Tier += fmt.Sprintf("; consistent with %d earlier checkpoints", n)
	}
	return v.say(f)
}
