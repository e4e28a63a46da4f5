package tail

import (
	"fmt"
	"regexp"
	"time"

	"custody/ingest"
)

// Config says what a [Tailer] follows.
type Config struct {
	// Globs are path patterns: filepath.Match in each element, "**" for any
	// number of directories. Relative ones are taken from the working directory.
	Globs []string
	// Exclude are patterns of the same form for paths to leave out.
	Exclude []string
	// Source is the origin of the lines. Required.
	Source *ingest.Source
	// FingerprintKey is the appliance's secret key for cursors. Required.
	FingerprintKey [32]byte
	// Registry is shared with the imports of the same process; nil makes one.
	Registry *Registry

	// MaxLine is how many bytes of a line are kept; default 64 KiB, at most 16 MiB.
	MaxLine int
	// Start matches the first line of a multi-line event; nil: every line is one.
	Start *regexp.Regexp
	// MaxEventLines ends a multi-line event; default 1000.
	MaxEventLines int
	// MaxEventBytes ends a multi-line event; default and at most MaxLine.
	MaxEventBytes int
	// FlushAfter is how long a multi-line event waits for more; default 1 s.
	FlushAfter time.Duration

	// Poll is how often files are looked for and at; default 1 s. Where the
	// kernel tells of changes, reading does not wait for it.
	Poll time.Duration
	// NoNotify leaves out the kernel's notifications and only polls.
	NoNotify bool
	// Grace is how long a file that was rotated away or removed is read on; default 5 s.
	Grace time.Duration
	// FromStart nil or true reads files found at the first look from their
	// start, false from their end. Files that appear later are always read
	// whole; after a restart that means all, once a cursor was kept.
	FromStart *bool
	// ReadGzip reads files ending in ".gz", once; without it they are left out.
	ReadGzip bool
	// MaxOpen bounds open files; default 256.
	MaxOpen int
	// MaxFiles bounds followed files; default 16384. More are left out and logged.
	MaxFiles int
	// Workers is how many files are read at a time; default 4.
	Workers int
}

// withDefaults checks c and fills in what was left out.
func (c Config) withDefaults() (Config, error) {
	if c.Source == nil {
		return c, fmt.Errorf("check tail configuration: no source")
	}
	if len(c.Globs) == 0 {
		return c, fmt.Errorf("check tail configuration: no globs")
	}
	var err error
	if c.MaxLine, err = maxLine(c.MaxLine); err != nil {
		return c, err
	}
	def(&c.MaxEventLines, 1000)
	def(&c.MaxEventBytes, c.MaxLine)
	def(&c.FlushAfter, time.Second)
	def(&c.Poll, time.Second)
	def(&c.Grace, 5*time.Second)
	def(&c.MaxOpen, 256)
	def(&c.MaxFiles, 16384)
	def(&c.Workers, 4)
	c.MaxEventBytes = min(c.MaxEventBytes, c.MaxLine)
	for name, v := range map[string]int64{
		"max event lines": int64(c.MaxEventLines), "max event bytes": int64(c.MaxEventBytes),
		"flush time": int64(c.FlushAfter), "poll interval": int64(c.Poll), "grace time": int64(c.Grace),
		"open files": int64(c.MaxOpen), "files": int64(c.MaxFiles), "workers": int64(c.Workers),
	} {
		if v < 0 {
			return c, fmt.Errorf("check tail configuration: negative %s", name)
		}
	}
	return c, nil
}

func maxLine(n int) (int, error) {
	def(&n, 64<<10)
	if n < 16 || n > 16<<20 {
		return 0, fmt.Errorf("check maximum line length: %d is not within 16 bytes and 16 MiB", n)
	}
	return n, nil
}

func def[T int | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}
