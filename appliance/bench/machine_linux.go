package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clockTick is what /proc counts CPU time in: USER_HZ, 100 on every architecture Go runs on.
const clockTick = 10 * time.Millisecond

// processTime is the user and system time a process and its threads have
// taken, to 10 ms (proc_pid_stat(5), fields 14 and 15).
func processTime(pid int) (time.Duration, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	// The name in field 2 may hold anything, also parentheses and spaces.
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(f) < 13 {
		return 0, errors.New("read process time: too few fields")
	}
	var ticks int64
	for _, v := range f[11:13] {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read process time: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}

// memory is what a process holds, in bytes (proc_pid_status(5)).
type memory struct {
	Peak    int64 // VmHWM, the highest resident size ever
	Present int64 // VmRSS
	Own     int64 // RssAnon: not backed by files, which the kernel can drop
}

func processMemory(pid int) (memory, error) {
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return memory{}, err
	}
	defer f.Close()
	var m memory
	fields := map[string]*int64{"VmHWM:": &m.Peak, "VmRSS:": &m.Present, "RssAnon:": &m.Own}
	for s := bufio.NewScanner(f); s.Scan(); {
		w := strings.Fields(s.Text())
		if len(w) < 2 || fields[w[0]] == nil {
			continue
		}
		n, err := strconv.ParseInt(w[1], 10, 64)
		if err != nil {
			return memory{}, fmt.Errorf("read process memory: %w", err)
		}
		*fields[w[0]] = n << 10
	}
	if m.Peak == 0 {
		return memory{}, errors.New("read process memory: no VmHWM")
	}
	return m, nil
}

// ownTime is the user and system time of this process.
func ownTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// diskUsage is what du says of a folder: the allocated bytes of every file and
// folder in it, those with several names once.
func diskUsage(dir string) (int64, error) {
	var total int64
	seen := make(map[uint64]bool)
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return skipGone(err)
		}
		fi, err := e.Info()
		if err != nil {
			return skipGone(err)
		}
		st, ok := fi.Sys().(*syscall.Stat_t)
		if !ok || seen[st.Ino] {
			return nil
		}
		seen[st.Ino] = true
		total += st.Blocks * 512
		return nil
	})
	return total, err
}

// diskParts divides diskUsage by what is kept: "log", "records", "search", and the rest.
func diskParts(data string) (map[string]int64, error) {
	parts := make(map[string]int64)
	all, err := diskUsage(data)
	if err != nil {
		return nil, err
	}
	for part, pattern := range map[string]string{"log": "log", "records": "segments/*/records.db", "search": "segments/*/search*"} {
		found, err := filepath.Glob(filepath.Join(data, filepath.FromSlash(pattern)))
		if err != nil {
			return nil, err
		}
		for _, path := range found {
			n, err := diskUsage(path)
			if err != nil {
				return nil, err
			}
			parts[part] += n
			all -= n
		}
	}
	parts["rest"] = all
	return parts, nil
}

// skipGone passes over files that were removed while the walk went on.
func skipGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// flushDisks writes out what earlier work left to be written, so that it does
// not fall into the next measurement.
func flushDisks() { syscall.Sync() }

// machine describes where the benchmark ran.
func machine(dir string) []string {
	model, memory := "unknown processor", ""
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
				model = strings.TrimSpace(v)
				break
			}
		}
	}
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		if f := strings.Fields(string(b)); len(f) > 1 {
			if n, err := strconv.ParseInt(f[1], 10, 64); err == nil {
				memory = fmt.Sprintf("%.0f GiB memory", float64(n)/(1<<20))
			}
		}
	}
	kernel := "Linux"
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		kernel += " " + strings.TrimSpace(string(b))
	}
	out := []string{fmt.Sprintf("%d × %s, %s", runtime.NumCPU(), model, memory), kernel + ", data on " + fileSystem(dir)}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		if f := strings.Fields(string(b)); len(f) > 0 {
			out = append(out, "load average at the start "+f[0])
		}
	}
	return out
}

func fileSystem(dir string) string {
	var st syscall.Statfs_t
	if syscall.Statfs(dir, &st) != nil {
		return "an unknown file system"
	}
	switch uint32(st.Type) { // statfs(2)
	case 0xef53:
		return "ext4"
	case 0x58465342:
		return "xfs"
	case 0x9123683e:
		return "btrfs"
	case 0x01021994:
		return "tmpfs (where an fsync costs nothing: not comparable)"
	case 0x794c7630:
		return "overlayfs"
	}
	return fmt.Sprintf("file system type %#x", uint32(st.Type))
}
