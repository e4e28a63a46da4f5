// Command skips reads the output of go test -json, prints go test's own lines,
// and fails when a test was skipped that the list does not allow.
//
//	skips LOG LIST
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
)

type event struct {
	Action, Package, Test, Output string
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: skips LOG LIST")
		os.Exit(64)
	}
	list, err := os.ReadFile(os.Args[2])
	if err == nil {
		var log *os.File
		if log, err = os.Open(os.Args[1]); err == nil {
			err = report(log, allowed(string(list)), os.Stdout)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "skips:", err)
		os.Exit(1)
	}
}

func allowed(list string) map[string]bool {
	out := map[string]bool{}
	for line := range strings.Lines(list) {
		line, _, _ = strings.Cut(line, "#")
		if f := strings.Fields(line); len(f) == 2 {
			out[f[0]+" "+f[1]] = true
		}
	}
	return out
}

// report prints what a reader of go test would see: the output of failed tests and
// one line a package. It fails on skips that are not allowed, on failures, and when
// no test ran at all.
func report(log io.Reader, allowed map[string]bool, w io.Writer) error {
	output := map[string][]string{} // of tests that have not passed
	var skipped, failed, packages []string
	passed := 0
	in := bufio.NewScanner(log)
	in.Buffer(nil, 64<<20)
	for in.Scan() {
		var e event
		if err := json.Unmarshal(in.Bytes(), &e); err != nil {
			fmt.Fprintln(w, in.Text()) // a build failure
			continue
		}
		key := e.Package + " " + e.Test
		switch e.Action {
		case "output":
			if e.Test == "" {
				packages = append(packages, e.Output)
			} else {
				output[key] = append(output[key], e.Output)
			}
		case "build-output":
			fmt.Fprint(w, e.Output)
		case "pass":
			if e.Test != "" {
				passed++
			}
			delete(output, key)
		case "skip":
			if e.Test != "" {
				if !allowed[key] {
					skipped = append(skipped, key+"\n"+strings.Join(output[key], ""))
				}
				delete(output, key)
			}
		case "fail":
			if e.Test != "" {
				failed = append(failed, key)
				fmt.Fprint(w, strings.Join(output[key], ""))
			} else {
				failed = append(failed, e.Package)
			}
		}
	}
	if err := in.Err(); err != nil {
		return err
	}
	for _, line := range packages {
		fmt.Fprint(w, line)
	}
	sort.Strings(skipped)
	switch {
	case len(failed) > 0:
		return fmt.Errorf("%d failed: %s", len(failed), strings.Join(failed, ", "))
	case len(skipped) > 0:
		return fmt.Errorf("%d tests were skipped that must run:\n%s", len(skipped), strings.Join(skipped, ""))
	case passed == 0:
		return fmt.Errorf("no test ran")
	}
	return nil
}
