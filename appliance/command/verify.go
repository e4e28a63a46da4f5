package command

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"custody/index"
	"custody/index/seal"
	"custody/index/store"
	"custody/index/verify"
)

// The exit codes of verify.
const (
	exitTampered = 1
	exitUnknown  = 2
)

func (a *app) verify() *cobra.Command {
	v := verdict{app: a}
	var against, keys []string
	cmd := &cobra.Command{
		Use:   "verify PATH",
		Short: "Verify a data folder or an exported log: 0 intact, 1 tampered, 2 cannot verify",
		Long: `Verify a data folder: every stored row is computed anew and held against the sealed
log, the log against its signed checkpoint, and that against checkpoints that left
the host before (--against). Or verify a folder that "custody log export" wrote.

With --search, what searches rely on is derived anew from the rows as well: block
headers, dictionaries, identifier filters and the search index. Whoever alters those
can hide records from searches without touching a record.

It also works beside the running server. Then the server verifies what only it can
read, the rows that it has not packed yet, and the verdict says which those are.
Whoever distrusts the server stops it first, or verifies a copy of the folder.

One host alone cannot show that its log was never rolled back or signed anew: keep
checkpoints elsewhere and name them here. Exit codes: 0 intact, 1 tampered, 2 cannot
verify.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, file := range against {
				b, err := os.ReadFile(file)
				if err != nil {
					return v.cannot(err)
				}
				if _, err := seal.ParseCheckpoint(b); err != nil {
					return v.cannot(fmt.Errorf("%s: %w", file, err))
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
	cmd.Flags().BoolVar(&v.search, "search", false, "also derive anew what searches rely on")
	cmd.Flags().BoolVar(&v.asJSON, "json", false, "print JSON")
	return cmd
}

// verdict is one verification.
type verdict struct {
	app     *app
	against [][]byte
	keys    []string
	search  bool
	asJSON  bool
}

// finding is the verdict as JSON.
type finding struct {
	Verdict string   `json:"verdict"` // intact, tampered or unknown
	Checked []string `json:"checked,omitempty"`
	By      []string `json:"by,omitempty"` // who checked what
	verify.Report
	Error string `json:"error,omitempty"` // why the verdict is unknown
}

// cannot is the verdict that there is none.
func (v *verdict) cannot(err error) error {
	v.app.print.progress("")
	if v.asJSON {
		v.app.print.value(struct {
			Verdict string `json:"verdict"`
			Error   string `json:"error"`
		}{"unknown", err.Error()})
	}
	return coded{fmt.Errorf("cannot verify: %w", err), exitUnknown}
}

func (v *verdict) say(f finding) error {
	p := v.app.print
	p.progress("")
	f.Verdict = "intact"
	if !f.OK() {
		f.Verdict = "tampered"
	}
	if v.asJSON {
		p.value(f)
	} else {
		v.print(f)
	}
	if !f.OK() {
		return coded{errSaid, exitTampered}
	}
	return p.failed
}

// print is the verdict for people.
func (v *verdict) print(f finding) {
	p := v.app.print
	for _, n := range f.Notes {
		p.line("note: %s", n)
	}
	told := ""
	for _, problem := range f.Problems {
		p.line("problem: %s", problem)
		if problem.Advice != "" && problem.Advice != told {
			told = problem.Advice
			p.line("    what to do: %s", told)
		}
	}
	if f.Omitted > 0 {
		p.line("problem: %d more are not listed", f.Omitted)
	}
	var table [][]string
	add := func(name string, lines ...string) {
		for _, line := range lines {
			table = append(table, []string{name, line})
			name = ""
		}
	}
	add("log", fmt.Sprintf("%s, %d entries", f.Origin, f.Size))
	add("checked", f.Checked...)
	if f.Rows+f.Expired+f.Unsealed > 0 {
		add("rows", fmt.Sprintf("%d computed anew, %d expired, %d redacted, %d not yet sealed", f.Rows, f.Expired, f.Redacted, f.Unsealed))
	}
	add("by", f.By...)
	add("trust", f.Tier)
	add("verdict", strings.ToUpper(f.Verdict))
	p.table(table)
}

// checked says what was compared with what.
func (v *verdict) checked(r *verify.Report) []string {
	out := []string{
		fmt.Sprintf("the checkpoint's signature; the root over all %d entries; %d tiles", r.Size, r.Tiles),
		fmt.Sprintf("%d rows against their entries; %d expired and %d redacted ones against the sealed rows that name them", r.Rows, r.Expired, r.Redacted),
	}
	if v.search {
		return append(out, fmt.Sprintf("the search: headers, dictionaries and filters of %d blocks; %d terms of the search index", r.Blocks, r.IndexTerms))
	}
	return append(out, "the search was not checked (--search)")
}

// folder verifies a data folder.
func (v *verdict) folder(cmd *cobra.Command, dir string) error {
	st, err := store.Open(filepath.Join(dir, "segments"), store.Options{ReadOnly: true})
	if errors.Is(err, store.ErrLocked) {
		return v.beside(cmd.Context(), dir, err)
	}
	if err != nil {
		return v.cannot(err)
	}
	defer func() { _ = st.Close() }() // was only read
	rep, err := index.Audit(cmd.Context(), dir, st, v.options())
	if err != nil {
		return v.cannot(err)
	}
	return v.say(finding{Report: *rep, Checked: v.checked(rep), By: []string{"this command, on a folder that no server uses"}})
}

func (v *verdict) options() index.AuditOptions {
	return index.AuditOptions{Against: v.against, VKeys: v.keys, Search: v.search, Progress: v.progress}
}

func (v *verdict) progress(part string, done, total uint64) {
	if total > 0 {
		v.app.print.progress(fmt.Sprintf("%s: %s%% of %d", part, strconv.FormatUint(min(done, total)*100/total, 10), total))
	}
}

// export verifies a folder of tiles.
func (v *verdict) export(cmd *cobra.Command, dir string) error {
	if len(v.keys) == 0 {
		return v.cannot(errors.New("an exported log is verified with the public key of its appliance: name it with --key"))
	}
	if v.search {
		return v.cannot(errors.New("an exported log has no rows to search: --search is for data folders"))
	}
	fsys := os.DirFS(dir)
	cp, err := seal.VerifyLog(cmd.Context(), fsys, v.keys[0], seal.VerifyOptions{VKeys: v.keys[1:]})
	f := finding{By: []string{"this command"}, Report: verify.Report{Tier: "log only; the rows were not there to be computed anew", Origin: cp.Origin, Size: cp.Size}}
	if err != nil {
		if cmd.Context().Err() != nil {
			return v.cannot(err)
		}
		f.Add(verify.Problem{What: err.Error(), Advice: "export the log again, and use a copy of the export that verifies meanwhile"})
		return v.say(f)
	}
	f.Checked = []string{fmt.Sprintf("the checkpoint's signature; the root over all %d entries; every tile", cp.Size)}
	reader := seal.NewReader(fsys, func() seal.Checkpoint { return cp })
	for i, signed := range v.against {
		older, err := seal.VerifyCheckpoint(signed, v.keys[:1]...)
		if err != nil {
			f.Add(verify.Problem{What: fmt.Sprintf("checkpoint %d of --against: %v", i+1, err)})
			continue
		}
		proof, err := reader.Consistency(older.Size, cp)
		if err == nil {
			err = seal.CheckConsistency(older, cp, proof)
		}
		if err != nil {
			f.Add(verify.Problem{To: older.Size, What: fmt.Sprintf("the checkpoint of size %d is not a part of this log: %v", older.Size, err)})
		}
	}
	if n := len(v.against); n > 0 && f.OK() {
		f.Tier += fmt.Sprintf("; consistent with %d earlier checkpoints", n)
	}
	return v.say(f)
}
