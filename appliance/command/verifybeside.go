package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"

	"custody/appliance/admin"
	"custody/index"
	"custody/index/store"
	"custody/index/verify"
)

// beside verifies a data folder that a running server uses. The log and the packed
// segments are verified here, from the files; only the rest, which the server
// alone can read, is left to it. inUse says that the folder is.
func (v *verdict) beside(ctx context.Context, dir string, inUse error) error {
	// Read before anything else: it must be a prefix of what the server shows.
	signed, err := os.ReadFile(filepath.Join(dir, "log", "checkpoint"))
	if err != nil {
		return v.cannot(err)
	}
	own, from, err := v.packed(ctx, dir)
	if err != nil {
		return v.cannot(err)
	}
	seen := from
	// What was taken away may be excused by rows that only the server can read.
	if slices.ContainsFunc(own.Problems, func(p verify.Problem) bool { return p.NoExcuse }) || v.search && len(own.Notes) > 0 {
		own.Problems = slices.DeleteFunc(own.Problems, func(p verify.Problem) bool { return p.NoExcuse })
		own.Notes = nil
		from = 0
	}
	rep, err := v.ask(ctx, dir, admin.VerifyRequest{From: from, Search: v.search, Keys: v.keys, Against: append(slices.Clone(v.against), signed)})
	if errors.Is(err, admin.ErrNotRunning) {
		return v.cannot(fmt.Errorf("%w, and no server answers on its %s: end the process that has it open, or verify a copy of the folder", inUse, admin.SocketName))
	}
	if err != nil {
		return v.cannot(err)
	}
	f := finding{Report: *rep, By: by(from, seen, rep)}
	f.Problems, f.Omitted = nil, rep.Omitted+own.Omitted
	for _, p := range append(own.Problems, rep.Problems...) {
		if !slices.ContainsFunc(f.Problems, func(have verify.Problem) bool { return have.String() == p.String() }) {
			f.Problems = append(f.Problems, p)
		}
	}
	f.Tier = own.Tier // what was compared here; the server's has one more
	f.Notes = append(own.Notes, rep.Notes...)
	if from > 0 {
		f.Rows += own.Rows
		f.Expired += own.Expired
		f.Redacted += own.Redacted
		f.Blocks += own.Blocks
		f.IndexTerms += own.IndexTerms
	}
	f.Checked = v.checked(&f.Report)
	return v.say(f)
}

// by says who checked what, and what that is worth.
func by(from, seen uint64, rep *verify.Report) []string {
	here := "this command, from the files: the log"
	if seen > 0 {
		here += fmt.Sprintf(", and rows 0 to %d, which are packed", seen-1)
	}
	if from >= rep.Size {
		return []string{here}
	}
	server := fmt.Sprintf("the running server, which alone can read them: rows %d to %d", from, rep.Size-1)
	if seen > 0 && from == 0 {
		server = "the running server: all rows, since some that are gone may be explained only by rows that it alone can read"
	}
	return []string{
		here, server,
		"for its part the server's word is taken; whoever distrusts it stops it, or verifies a copy of the folder",
	}
}

// packed verifies the log, and the rows of the segments before the first that
// the server writes to. It returns the seq behind them.
func (v *verdict) packed(ctx context.Context, dir string) (*verify.Report, uint64, error) {
	st, _, err := store.OpenPacked(filepath.Join(dir, "segments"))
	if errors.Is(err, fs.ErrNotExist) { // dropped by the server since the folder was listed
		st, _, err = store.OpenPacked(filepath.Join(dir, "segments"))
	}
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = st.Close() }() // was only read
	o := v.options()
	o.To = st.Next()
	if o.To == 0 {
		o.From = ^uint64(0) // no rows, but the log
	}
	rep, err := index.Audit(ctx, dir, st, o)
	return rep, o.To, err
}

// ask lets the server verify and follows its answer.
func (v *verdict) ask(ctx context.Context, dir string, q admin.VerifyRequest) (*verify.Report, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return nil, fmt.Errorf("ask server: %w", err)
	}
	answer, err := admin.NewClient(dir).Stream(ctx, http.MethodPost, admin.VerifyPath, nil, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Close() }()
	dec := json.NewDecoder(answer)
	for {
		var p admin.VerifyProgress
		if err := dec.Decode(&p); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, fmt.Errorf("the server ended before it had a verdict: %w", err)
		}
		switch {
		case p.Error != "":
			return nil, errors.New("the server: " + p.Error)
		case p.Report != nil:
			return p.Report, nil
		case p.Problem != nil:
			v.app.print.progress("")
			v.app.print.warn("found: %s", p.Problem)
		default:
			v.progress("server, "+p.Part, p.Done, p.Total)
		}
	}
}
