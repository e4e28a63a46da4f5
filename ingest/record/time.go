package record

import "time"

// Bounds of the times that a record can hold, Unix nanoseconds.
const (
	fixedLayout = "2006-01-02T15:04:05.000000000Z"
	shortLayout = "2006-01-02T15:04:05.999999999Z"
)

// formatFixed renders Unix nanoseconds with nine digits, "" for zero.
func formatFixed(ns int64) string {
	if ns == 0 {
		return ""
	}
	return time.Unix(0, ns).UTC().Format(fixedLayout)
}

// FormatTime renders an instant for a field of kind Instant other than time and received.
func FormatTime(t time.Time) string { return t.UTC().Format(shortLayout) }

// ParseTime reads an RFC 3339 time into Unix nanoseconds. It refuses times that
// nanoseconds since 1970 in 64 bits cannot hold (before 1678 or after 2261).
func ParseTime(s string) (int64, bool) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return 0, false
	}
	return Nanos(t)
}

// Nanos is t in Unix nanoseconds, if it can be held in 64 bits.
func Nanos(t time.Time) (int64, bool) {
	if y := t.Year(); y < 1678 || y > 2261 {
		return 0, false
	}
	return t.UnixNano(), true
}
