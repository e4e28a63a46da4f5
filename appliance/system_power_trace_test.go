//go:build linux

package appliance_test

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// traced are the calls that a trace has to show: everything that changes files or
// makes them durable, also what the program is not known to use, so that it is
// noticed when it begins to; and where connections come from and what they are told.
const traced = "openat,creat,write,writev,pwrite64,pwritev,pwritev2,ftruncate,truncate,fallocate," +
	"fsync,fdatasync,sync_file_range,rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat," +
	"link,linkat,symlink,symlinkat,mknod,mknodat,close,dup,dup2,dup3,fcntl,lseek," +
	"copy_file_range,sendfile,splice,mmap,msync,io_uring_setup,accept4"

// sysCall is a system call that strace -f -xx wrote down. start and end are the
// lines of the trace where it began and ended: what it did, it did between them.
type sysCall struct {
	name       string
	args       []string
	ret        int64 // -1 when it failed
	unseen     bool  // it was not seen to return, since the process was killed
	start, end int
}

func (c *sysCall) arg(i int) string {
	if i >= len(c.args) {
		return ""
	}
	return c.args[i]
}

// number is an argument in any base, false when it is not one.
func (c *sysCall) number(i int) (int64, bool) {
	n, err := strconv.ParseInt(c.arg(i), 0, 64)
	return n, err == nil
}

// text is an argument that is a string.
func (c *sysCall) text(i int) (string, error) {
	s := c.arg(i)
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' { // "…"... is one that was cut
		return "", fmt.Errorf("line %d: %s: argument %d is no whole string", c.start+1, c.name, i)
	}
	s = s[1 : len(s)-1]
	if !strings.HasPrefix(s, `\x`) {
		return s, nil // of a trace written by hand
	}
	b, err := hex.DecodeString(strings.ReplaceAll(s, `\x`, ""))
	if err != nil {
		return "", fmt.Errorf("line %d: %s: argument %d: %w", c.start+1, c.name, i, err)
	}
	return string(b), nil
}

// readTrace calls began for every call in the order of their beginnings and ended
// in that of their ends; a call that never ended is only begun, and is returned.
// Lines are numbered from line on; next is the number behind the last one.
func readTrace(r io.Reader, line int, began, ended func(*sysCall) error) (open []*sysCall, next int, err error) {
	type half struct {
		call *sysCall
		text string
	}
	halves := map[string]half{} // thread → the call that it is in
	in := bufio.NewReaderSize(r, 1<<20)
	finish := func(c *sysCall) error {
		if c.unseen {
			open = append(open, c)
			return nil
		}
		return ended(c)
	}
	for ; ; line++ {
		s, err := in.ReadString('\n')
		if errors.Is(err, io.EOF) && s == "" {
			break
		} else if err != nil {
			return nil, line, fmt.Errorf("line %d: %w", line+1, err) // also one without its end
		}
		thread, s, _ := strings.Cut(strings.TrimSuffix(s, "\n"), " ")
		s = strings.TrimLeft(s, " ")
		if s == "" || s[0] == '+' || s[0] == '-' {
			continue // the end of a thread, or a signal
		}
		if rest, ok := strings.CutPrefix(s, "<... "); ok {
			h, ok := halves[thread]
			_, rest, ok2 := strings.Cut(rest, " resumed>")
			if !ok || !ok2 {
				return nil, line, fmt.Errorf("line %d resumes nothing", line+1)
			}
			delete(halves, thread)
			h.call.end = line
			if err := h.call.parse(h.text + rest); err != nil {
				return nil, line, err
			}
			if err := finish(h.call); err != nil {
				return nil, line, err
			}
			continue
		}
		c := &sysCall{start: line, end: line}
		text, unfinished := strings.CutSuffix(s, "<unfinished ...>")
		if unfinished {
			halves[thread] = half{c, text}
			// What it was given stands there already.
			err = c.parse(strings.TrimRight(text, " ,") + ") = ?")
		} else {
			err = c.parse(s)
		}
		if err == nil {
			err = began(c)
		}
		if err == nil && !unfinished {
			err = finish(c)
		}
		if err != nil {
			return nil, line, err
		}
	}
	for _, h := range halves {
		open = append(open, h.call)
	}
	return open, line, nil
}

// parse reads name(arguments) = result. Strings are in hexadecimal, so that no
// bracket and no comma stands in them.
func (c *sysCall) parse(s string) error {
	at := strings.LastIndex(s, " = ")
	name, _, ok := strings.Cut(s[:max(at, 0)], "(")
	end := strings.LastIndexByte(s[:max(at, 0)], ')')
	if !ok || end < 0 {
		return fmt.Errorf("line %d is no system call: %.200q", c.start+1, s)
	}
	c.name, c.ret = name, -1
	c.args = nil
	if args := strings.TrimRight(s[len(name)+1:end], " "); args != "" {
		c.args = strings.Split(args, ", ")
	}
	result, restart, _ := strings.Cut(s[at+3:], " ")
	if c.unseen = result == "?" && restart == ""; result == "?" {
		return nil
	}
	n, err := strconv.ParseInt(result, 0, 64)
	if err != nil {
		return fmt.Errorf("line %d: %s: result %q", c.start+1, name, result)
	}
	c.ret = n
	return nil
}
