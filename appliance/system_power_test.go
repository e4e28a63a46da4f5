//go:build linux

package appliance_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// testPower cuts the power: it records what the server does to its data folder
// while it is loaded, killed and started again, and lets servers run on what a
// disk may hold of that after a power cut at many moments, above all right after
// something was promised. CUSTODY_POWER_CUTS is how many (40), CUSTODY_POWER_SEED
// what is random.
func testPower(t *testing.T, bin string) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed")
	}
	if out, err := exec.Command(strace, "-o", os.DevNull, bin, "version").CombinedOutput(); err != nil {
		if strings.Contains(string(out), "not permitted") {
			t.Skipf("strace may not trace here: %s", out)
		}
		t.Fatalf("strace: %v\n%s", err, out)
	}
	cuts := envInt(t, "CUSTODY_POWER_CUTS", 40)
	seed := envInt(t, "CUSTODY_POWER_SEED", int(time.Now().UnixNano()&0xffffff)+1)
	t.Logf("CUSTODY_POWER_SEED=%d CUSTODY_POWER_CUTS=%d", seed, cuts)
	rng := rand.New(rand.NewPCG(uint64(seed), 3))

	rec := record(t, bin, strace)
	rec.read(t, nil)
	all := rec.promises
	t.Logf("trace of %d lines: %d RELP answers, %d checkpoints, %d tailed events", rec.lines, rec.count(isRELP), rec.count(isCheckpoint), rec.tailed)
	if rec.count(isRELP) < 2000 || rec.count(isCheckpoint) < 10 || rec.count(isDurable) < 10 || rec.count(isToken) != 1 {
		t.Fatalf("of %d promises too few are of every kind", len(all))
	}

	// Half of the cuts hit right behind a promise, a quarter the making of the folder.
	lines := make([]int, cuts)
	for i := range lines {
		switch i % 4 {
		case 0:
			lines[i] = rng.IntN(all[0].line)
		case 1:
			lines[i] = rng.IntN(rec.lines)
		default:
			lines[i] = all[rng.IntN(len(all))].line
		}
	}
	slices.Sort(lines)
	var wg sync.WaitGroup
	room := make(chan struct{}, 2)
	rec.read(t, func(line int) {
		for ; len(lines) > 0 && lines[0] < line; lines = lines[1:] {
			d, model := rec.disks[0], "strict"
			if rng.IntN(3) == 0 {
				d, model = rec.disks[1], "journal"
			}
			l := [...]losses{{}, {1, 0}, {0, 1}, {.5, .5}, {rng.Float64(), rng.Float64()}}[rng.IntN(5)]
			name := fmt.Sprintf("%d %s line %d names %.2f data %.2f", cuts-len(lines)+1, model, lines[0]+1, l.names, l.data)
			want := rec.promised(lines[0])
			room <- struct{}{}
			folder := filepath.Join(t.TempDir(), "cut")
			if err := d.cut(folder, rng, l); err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				defer func() { <-room }()
				t.Run(name, func(t *testing.T) { rec.revive(t, folder, want) })
			})
		}
	})
	wg.Wait()
}

// powerStorage makes segments short, so that their closing, packing and swapping
// is hit, and what came over TCP is redacted when a server starts.
const powerStorage = `segment_rows = 1000
[[redaction]]
name = "tcp"
match = "source.name:tcp"
fields = ["message"]
mode = "shred"
after = "1s"
basis = "test"
`

// recording is what a server did and what it promised meanwhile.
type recording struct {
	s       *instance
	base    string   // folder that the data folder is in
	traces  []string // of its lives
	folders []string // copies of base at their ends
	tailed  int
	sender  *relpSender

	// As of what was read:
	disks    [2]*disk // strict and with a journal
	promises []promise
	lines    int
}

// promise is something that the server said at a line of the trace.
type promise struct {
	line       int
	event      int    // of RELP, acknowledged; -1 if it is none
	durable    uint64 // by the status
	token      bool   // that it exists
	checkpoint []byte // that was published
}

func isRELP(p *promise) bool       { return p.event >= 0 }
func isDurable(p *promise) bool    { return p.durable > 0 }
func isToken(p *promise) bool      { return p.token }
func isCheckpoint(p *promise) bool { return p.checkpoint != nil }

func (r *recording) count(is func(*promise) bool) (n int) {
	for i := range r.promises {
		if is(&r.promises[i]) {
			n++
		}
	}
	return n
}

// record runs a server in two lives with a kill between them.
func record(t *testing.T, bin, strace string) *recording {
	t.Helper()
	base := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(base, 0o700); err != nil {
		t.Fatal(err)
	}
	s := newInstance(t, bin, filepath.Join(base, "data"), powerStorage)
	r := &recording{s: s, base: base}
	l := newLoad(t)
	var tailed *int
	for life := range 2 {
		trace := filepath.Join(s.dir, fmt.Sprintf("trace%d", life))
		r.traces = append(r.traces, trace)
		logs, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		// With -D the tracer stands aside: signals go to the server.
		cmd := exec.Command(strace, "-D", "-f", "--seccomp-bpf", "-xx", "-s", "8388608", "-e", "trace="+traced, "-e", "signal=SIGKILL",
			"-o", trace, s.bin, "serve", "--config", s.config())
		cmd.Dir, cmd.Stderr = s.dir, logs
		s.proc = start(t, cmd)
		logs.Close()
		s.await()
		if life == 0 {
			tailed = l.appendFile(s.tail, "tail", 700, rand.New(rand.NewPCG(1, 2)))
			r.sender = l.sendRELP(s.relp, "relp", 700)
			l.sendTCP(s.syslog, "tcp", 700)
		}
		var seen watched
		watch := seen.start(s)
		acked := r.sender.ackedNow()
		eventually(t, 30*time.Second, "events are acknowledged", func() error {
			if n := r.sender.ackedNow() - acked; n < 1100 {
				return fmt.Errorf("%d are", n)
			}
			return nil
		})
		if life == 0 {
			s.kill()
			watch()
			// A copy of a socket is none; the next server makes its own.
			if err := os.Remove(filepath.Join(s.data, "admin.sock")); err != nil {
				t.Fatal(err)
			}
		} else {
			l.end()
			s.counted(30*time.Second, "source.name:app", uint64(*tailed))
			watch()
			s.settled()
			s.stop()
		}
		pid := s.proc.cmd.Process.Pid
		eventually(t, 20*time.Second, "the trace is complete", func() error { return traceEnded(trace, pid) })
		folder := filepath.Join(s.dir, fmt.Sprintf("folder%d", life))
		if err := os.CopyFS(folder, os.DirFS(base)); err != nil {
			t.Fatal(err)
		}
		r.folders = append(r.folders, folder)
	}
	r.tailed = *tailed
	return r
}

// traceEnded tells whether strace has written the end of a process.
func traceEnded(trace string, pid int) error {
	f, err := os.Open(trace)
	if err != nil {
		return err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	b := make([]byte, min(fi.Size(), 4000))
	if _, err := f.ReadAt(b, fi.Size()-int64(len(b))); err != nil {
		return err
	}
	if !regexp.MustCompile(`(?m)^` + strconv.Itoa(pid) + ` +\+\+\+ .* \+\+\+\n\z`).Match(b) {
		return fmt.Errorf("it ends with %q", b[max(0, len(b)-200):])
	}
	return nil
}

// read goes through the traces. It calls at with every line at which a call ended,
// and one behind the last, before that call counts.
func (r *recording) read(t *testing.T, at func(line int)) {
	t.Helper()
	r.disks = [2]*disk{newDisk(r.base, false), newDisk(r.base, true)}
	r.promises, r.lines = nil, 0
	for life, trace := range r.traces {
		connections := map[int64]string{} // descriptor → the other side
		began := func(c *sysCall) error {
			for _, d := range r.disks {
				d.began(c)
			}
			switch n, _ := c.number(0); c.name {
			case "close":
				delete(connections, n)
			case "write":
				if r.disks[0].fds[n] == nil {
					return r.said(c, connections[n])
				}
			}
			return nil
		}
		ended := func(c *sysCall) error {
			if at != nil {
				at(c.end)
			}
			if m := peerPort.FindStringSubmatch(strings.Join(c.args, ",")); c.name == "accept4" && c.ret >= 0 && m != nil {
				connections[c.ret] = "127.0.0.1:" + m[1]
			}
			for _, d := range r.disks {
				if err := d.ended(c); err != nil {
					return err
				}
			}
			return r.published(c)
		}
		f, err := os.Open(trace)
		if err != nil {
			t.Fatal(err)
		}
		open, next, err := readTrace(f, r.lines, began, ended)
		f.Close()
		for _, d := range r.disks {
			if err == nil && life == 0 { // the other one was not killed
				err = d.interrupted(open, next, r.folders[life])
			}
			if err == nil {
				err = d.compare(r.folders[life])
			}
			d.restart()
		}
		if err != nil {
			t.Fatalf("trace of life %d: %v", life, err)
		}
		r.lines = next + 1
	}
	if at != nil {
		at(r.lines)
	}
}

var (
	peerPort   = regexp.MustCompile(`sin_port=htons\((\d+)\)`)
	relpAnswer = regexp.MustCompile(`(?m)^(\d+) rsp \d+ 200 `)
	durableNow = regexp.MustCompile(`"durable":(\d+)`)
)

// said finds the promises in what the server begins to tell somebody.
func (r *recording) said(c *sysCall, peer string) error {
	s, err := c.text(1)
	if err != nil {
		return err
	}
	p := promise{line: c.start, event: -1}
	if events := r.sender.sessions[peer]; events != nil {
		for _, m := range relpAnswer.FindAllStringSubmatch(s, -1) {
			if txnr, _ := strconv.Atoi(m[1]); txnr >= 2 {
				if txnr-2 >= len(events) {
					return fmt.Errorf("line %d: RELP answer %d, and %d events were sent", c.start+1, txnr, len(events))
				}
				p.event = events[txnr-2]
				r.promises = append(r.promises, p)
			}
		}
		return nil
	}
	if m := durableNow.FindStringSubmatch(s); m != nil {
		p.durable, err = strconv.ParseUint(m[1], 10, 64)
		r.promises = append(r.promises, p)
	} else if strings.Contains(s, r.s.token) && r.count(isToken) == 0 {
		p.token = true
		r.promises = append(r.promises, p)
	}
	return err
}

// published finds checkpoints: they count from the moment that readers of the
// folder see them.
func (r *recording) published(c *sysCall) error {
	if c.name != "renameat" || c.ret < 0 {
		return nil
	}
	to, err := c.text(3)
	if err != nil || to != filepath.Join(r.s.data, "log", "checkpoint") {
		return err
	}
	note := r.disks[0].lookup("data/log/checkpoint").now
	// One of the empty log promises nothing: a folder that was not made completely is made anew.
	if lines := bytes.SplitN(note, []byte("\n"), 3); len(lines) == 3 && string(lines[1]) != "0" {
		r.promises = append(r.promises, promise{line: c.end, event: -1, checkpoint: bytes.Clone(note)})
	}
	return nil
}

// promised is what counts after a power cut behind a line.
type promised struct {
	relp       map[int]bool
	durable    uint64
	token      bool
	checkpoint []byte // the newest
}

func (r *recording) promised(line int) promised {
	sum := promised{relp: map[int]bool{}}
	for _, p := range r.promises {
		if p.line > line {
			continue
		}
		if isRELP(&p) {
			sum.relp[p.event] = true
		}
		sum.durable = max(sum.durable, p.durable)
		sum.token = sum.token || p.token
		if isCheckpoint(&p) {
			sum.checkpoint = p.checkpoint
		}
	}
	return sum
}

// revive starts a server on a folder after a power cut, and holds it to what was promised.
func (r *recording) revive(t *testing.T, folder string, want promised) {
	s := newInstance(t, r.s.bin, filepath.Join(folder, "data"), powerStorage)
	config, err := os.ReadFile(s.config())
	if err == nil {
		config = bytes.ReplaceAll(config, []byte(s.tail), []byte(r.s.tail))
		err = os.WriteFile(s.config(), config, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if want.token {
		s.token = r.s.token
	}
	s.serve()
	if _, err := s.status(); err != nil {
		t.Fatal(err) // the token is not known any more
	}
	s.counted(30*time.Second, "source.name:app", uint64(r.tailed))
	if now := s.settled(); now.Durable < want.durable {
		t.Errorf("%d events are durable, %d were before the power cut", now.Durable, want.durable)
	}
	got := map[string]map[int]int{"tail": {}, "relp": {}, "tcp": {}}
	for _, v := range s.export("*") {
		kind, line := v.Source.Name, syslogEvent
		if kind == "app" {
			kind, line = "tail", event
		}
		if kind == "tcp" {
			continue // redacted
		}
		n, ok := number(kind, v.raw())
		if !ok || v.raw() != line(kind, n) {
			t.Fatalf("seq %d of %s is no line that was sent: %q", v.Seq, kind, v.raw())
		}
		got[kind][n]++
	}
	once(t, "tail", got["tail"], r.tailed, true)
	missing := 0
	for n := range want.relp {
		if got["relp"][n] == 0 {
			missing++
		}
	}
	if missing > 0 {
		t.Errorf("%d of %d acknowledged RELP events are missing", missing, len(want.relp))
	}
	s.stop()
	if want.checkpoint == nil {
		s.verify()
	} else {
		file := filepath.Join(s.dir, "checkpoint")
		if err := os.WriteFile(file, want.checkpoint, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, errs, code := s.run("verify", s.data, "--against", file); code != 0 || !strings.Contains(out, "INTACT") {
			t.Errorf("verify against the published checkpoint: exit code %d\n%s%s", code, out[:min(len(out), 3000)], errs)
		}
	}
	if !t.Failed() {
		if err := os.RemoveAll(folder); err != nil {
			t.Error(err)
		}
	}
}
