package appliance

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes. In TOML it is an integer, or a string with one of
// the units B, KiB, MiB, GiB, TiB (binary) or kB, MB, GB, TB (decimal).
type Size int64

var sizeUnits = []struct {
	suffix string
	factor int64
}{
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
	{"TiB", 1 << 40},
	{"kB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
	{"TB", 1e12},
	{"B", 1},
}

// UnmarshalText reads "64KiB".
func (s *Size) UnmarshalText(b []byte) error {
	text := strings.TrimSpace(string(b))
	for _, u := range sizeUnits {
		digits, ok := strings.CutSuffix(text, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || n < 0 || n > math.MaxInt64/u.factor {
			break
		}
		*s = Size(n * u.factor)
		return nil
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && n >= 0 {
		*s = Size(n)
		return nil
	}
	return errors.New(`want bytes or a size such as "64KiB" or "2GB"`)
}

// String is the shortest exact form.
func (s Size) String() string {
	for _, u := range []struct {
		suffix string
		factor Size
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if s != 0 && s%u.factor == 0 {
			return strconv.FormatInt(int64(s/u.factor), 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// Duration is a span of time. In TOML it is a string of numbers with the units
// y (365 d), w, d, h, m, s, ms: "400d", "1h30m".
type Duration time.Duration

const (
	second = Duration(time.Second)
	day    = 24 * Duration(time.Hour)
)

// UnmarshalText reads "400d" or "1h30m".
func (d *Duration) UnmarshalText(b []byte) error {
	text := strings.TrimSpace(string(b))
	if text == "0" {
		*d = 0
		return nil
	}
	var total Duration
	rest := text
	for rest != "" {
		n := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
		if n <= 0 {
			return errDuration
		}
		count, err := strconv.ParseInt(rest[:n], 10, 64)
		if err != nil {
			return errDuration
		}
		rest = rest[n:]
		unit := rest
		if k := strings.IndexFunc(rest, func(r rune) bool { return r >= '0' && r <= '9' }); k >= 0 {
			unit = rest[:k]
		}
		factor, ok := durationUnit(unit)
		if !ok {
			return errDuration
		}
		if count > int64((math.MaxInt64-total)/factor) {
			return fmt.Errorf("%q is longer than 292 years", text)
		}
		total += Duration(count) * factor
		rest = rest[len(unit):]
	}
	if text == "" {
		return errDuration
	}
	*d = total
	return nil
}

var errDuration = errors.New(`want a duration such as "90s", "12h" or "400d"`)

func durationUnit(u string) (Duration, bool) {
	switch u {
	case "ms":
		return Duration(time.Millisecond), true
	case "s":
		return second, true
	case "m":
		return Duration(time.Minute), true
	case "h":
		return Duration(time.Hour), true
	case "d":
		return day, true
	case "w":
		return 7 * day, true
	case "y":
		return 365 * day, true
	}
	return 0, false
}

// String is the form that UnmarshalText reads, with days where they are whole.
func (d Duration) String() string {
	if d != 0 && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	return time.Duration(d).String()
}

// Mode is the permission of a socket: a string of octal digits in TOML.
type Mode fs.FileMode

// UnmarshalText reads "0660".
func (m *Mode) UnmarshalText(b []byte) error {
	n, err := strconv.ParseUint(string(b), 8, 32)
	if err != nil || n == 0 || n > 0o777 {
		return errors.New(`want octal permissions such as "0660"`)
	}
	*m = Mode(n)
	return nil
}
