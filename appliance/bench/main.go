// Package main is custody's benchmark: the whole product, from a syslog
// connection to answers over HTTP, measured from outside and checked.
//
// It renders a deterministic stream of agent events (see generator), sends it
// over one TCP connection to a custody process that runs on its defaults with a
// search page open, and measures throughput, CPU, memory, disk and the time of
// queries. The generator knows what the stream holds: every answer is compared
// with it, and the program fails when one is wrong. A gate that is missed is
// shown in the report and is no failure. Debian's rsyslogd, where installed,
// writes the same stream to a file in the same run, as the yardstick of the machine.
//
//	go run ./appliance/bench                     one million events, five runs, docs/benchmark.md
//	go run ./appliance/bench -events 100000 -runs 1 -out ""
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	//nolint:forbidigo // this is a main
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:forbidigo // this is a main
	}
}

func run(ctx context.Context, args []string) error {
	o := options{requests: 1000, questions: 200, tries: 20}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.Uint64Var(&o.events, "events", 1_000_000, "`events` of a run")
	flags.IntVar(&o.runs, "runs", 5, "`runs`, of which the medians are reported")
	flags.BoolVar(&o.big, "big", false, "one more run, with ten times the events")
	flags.Uint64Var(&o.seed, "seed", 1, "`seed` of the stream")
	flags.StringVar(&o.dir, "dir", filepath.Join(os.TempDir(), "custody-bench"), "`folder` of the rendered streams, which stay, and of data, which goes")
	flags.StringVar(&o.binary, "binary", "", "custody `program` to measure; default: built from the source in this folder")
	out := flags.String("out", filepath.Join("docs", "benchmark.md"), "`file` of the report; empty: none")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 || o.events < 1000 || o.runs < 1 {
		return errors.New("no arguments, at least 1000 events and one run, please")
	}
	o.bigEvents = 10 * o.events
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	work, err := os.MkdirTemp(o.dir, "build-")
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	defer os.RemoveAll(work) //nolint:errcheck // a left-over does no harm
	if o.binary == "" {
		if o.binary, err = build(ctx, work); err != nil {
			return err
		}
	} else if o.binary, err = filepath.Abs(o.binary); err != nil {
		return fmt.Errorf("find custody: %w", err)
	}
	about := setting{when: time.Now().UTC(), machine: machine(o.dir)}
	version, err := exec.CommandContext(ctx, o.binary, "version").Output()
	if err != nil {
		return fmt.Errorf("run custody version: %w%s", err, standardError(err))
	}
	about.custody = strings.Join(strings.Fields(string(version)), " ")
	o.rsyslog, about.rsyslog, about.noRsyslog = findRsyslog(ctx)

	b := &bench{opt: o, gen: newGenerator(o.seed), say: func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, format+"\n", args...)
	}}
	rep, err := b.all(ctx, about)
	if err != nil {
		return err
	}
	text := rep.markdown()
	fmt.Fprint(os.Stdout, text, "\n")
	if *out != "" {
		if err := os.WriteFile(*out, []byte(text), 0o644); err != nil { //nolint:gosec // a document for everybody
			return fmt.Errorf("write report: %w", err)
		}
	}
	fmt.Fprintln(os.Stdout, rep.summary())
	if n := len(b.wrong); n > 0 {
		return fmt.Errorf("%d answers were wrong, the first: %s", n, b.wrong[0])
	}
	return nil
}

// all prepares the streams and does every run.
func (b *bench) all(ctx context.Context, about setting) (*report, error) {
	rep := &report{setting: about, opt: b.opt}
	b.say("rendering %d events", b.opt.events)
	file, err := prepareStream(ctx, b.gen, b.opt.dir, b.opt.events)
	if err != nil {
		return nil, err
	}
	rep.file = *file
	for k := range b.opt.runs {
		b.say("run %d of %d", k+1, b.opt.runs)
		r, err := b.once(ctx, file, false)
		if err != nil {
			return nil, fmt.Errorf("run %d: %w", k+1, err)
		}
		rep.results = append(rep.results, r)
	}
	if b.opt.big {
		b.say("rendering %d events", b.opt.bigEvents)
		if file, err = prepareStream(ctx, b.gen, b.opt.dir, b.opt.bigEvents); err != nil {
			return nil, err
		}
		b.say("the big run")
		if rep.big, err = b.once(ctx, file, true); err != nil {
			return nil, fmt.Errorf("big run: %w", err)
		}
	}
	rep.checked, rep.wrong = b.checked, b.wrong
	return rep, nil
}

// build makes the program that is measured, as "make build" does.
func build(ctx context.Context, dir string) (string, error) {
	binary := filepath.Join(dir, "custody")
	version := "dev"
	if out, err := exec.CommandContext(ctx, "git", "describe", "--tags", "--always", "--dirty").Output(); err == nil {
		version = strings.TrimSpace(string(out))
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w -X main.version="+version, "-o", binary, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build custody: %w: %s", err, tail(string(out), 2000))
	}
	return binary, nil
}
