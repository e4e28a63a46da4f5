package command

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"custody/appliance/admin"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"custody": func() {
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			os.Exit(Main(ctx, Env{Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Version: "test"}))
		},
	})
}

// Each script is one behaviour; the test binary serves as the command.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"code":    exitsWith,
			"ready":   ready,
			"durable": durable,
			"send":    send,
			"flip":    flip,
		},
	})
}

// exitsWith: code N COMMAND ARGS… runs custody and checks its exit code.
func exitsWith(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N custody ARGS...")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

// ready: ready DATA waits for the server of the folder and sets $SYSLOG, its TCP listener.
func ready(ts *testscript.TestScript, _ bool, args []string) {
	c := admin.NewClient(ts.MkAbs(args[0]))
	waitFor(ts, "the server", func() bool {
		var st serverStatus
		if c.Get(context.Background(), "/api/v1/status", nil, &st) != nil {
			return false
		}
		for _, l := range st.Listeners {
			if l.Transport == "syslog/tcp" {
				ts.Setenv("SYSLOG", l.Address)
			}
		}
		return true
	})
}

// durable: durable DATA N waits until so many events are durable and sealed, no more.
func durable(ts *testscript.TestScript, _ bool, args []string) {
	c := admin.NewClient(ts.MkAbs(args[0]))
	want, err := strconv.ParseUint(args[1], 10, 64)
	ts.Check(err)
	var st serverStatus
	waitFor(ts, args[1]+" events", func() bool {
		ts.Check(c.Get(context.Background(), "/api/v1/status", nil, &st))
		return st.Events.Durable >= want && st.Events.Sealed == st.Events.Durable
	})
	if st.Events.Durable != want {
		ts.Fatalf("%d events are durable, want %d", st.Events.Durable, want)
	}
}

func waitFor(ts *testscript.TestScript, what string, done func() bool) {
	for end := time.Now().Add(30 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			ts.Fatalf("waited in vain for %s", what)
		}
	}
}

// send: send ADDRESS FILE sends the file over TCP and closes the connection.
func send(ts *testscript.TestScript, _ bool, args []string) {
	conn, err := net.Dial("tcp", args[0])
	ts.Check(err)
	_, err = conn.Write([]byte(ts.ReadFile(args[1])))
	ts.Check(err)
	ts.Check(conn.Close())
}

// flip: flip GLOB changes a byte in the middle of the last file that matches.
func flip(ts *testscript.TestScript, _ bool, args []string) {
	files, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(files) == 0 {
		ts.Fatalf("nothing matches %s", args[0])
	}
	file := files[len(files)-1]
	b, err := os.ReadFile(file)
	ts.Check(err)
	b[len(b)/2] ^= 1
	ts.Check(os.Chmod(file, 0o600))
	ts.Check(os.WriteFile(file, b, 0o600))
}

// The answer of status is what this package's commands read of it.
func TestStatusDecodes(t *testing.T) {
	const answer = `{"events":{"durable":3,"sealed":2,"searchable":1},"checkpoint":{"origin":"o","size":4,"root":"r"},"ready":true,"disk":{"used_bytes":5,"free_bytes":18446744073709551615}}`
	var st serverStatus
	if err := json.Unmarshal([]byte(answer), &st); err != nil {
		t.Fatal(err)
	}
	if st.Events.Durable != 3 || st.Events.Sealed != 2 || st.Events.Searchable != 1 || st.Checkpoint.Size != 4 || !st.Ready || st.Disk.Used != 5 {
		t.Errorf("got %+v", st)
	}
}
