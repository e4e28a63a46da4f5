package query

import (
	"math"
	"strconv"
	"strings"
	"time"

	"custody/ingest/record"
)

// instant reads a time as the span [from, to) that it names, in Unix
// nanoseconds: a year, month, day, minute, second or fraction of one is as long
// as its last unit; now is one nanosecond. Without a zone it is UTC. What 64
// bits can't hold is open: the extremes of int64.
func (p *parser) instant(s string) (from, to int64, ok bool) {
	if strings.HasPrefix(s, "now") {
		return p.relative(s[len("now"):])
	}
	if s == "" || !allDigits(s[:min(4, len(s))]) {
		return 0, 0, false // a sign or a space would pass time.Parse in places
	}
	for _, l := range [...]struct {
		layout string
		end    func(t time.Time) time.Time
	}{
		{"2006", func(t time.Time) time.Time { return t.AddDate(1, 0, 0) }},
		{"2006-01", func(t time.Time) time.Time { return t.AddDate(0, 1, 0) }},
		{"2006-01-02", func(t time.Time) time.Time { return t.AddDate(0, 0, 1) }},
	} {
		if len(s) != len(l.layout) {
			continue
		}
		t, err := time.Parse(l.layout, s)
		if err != nil {
			return 0, 0, false
		}
		return nanos(t), nanos(l.end(t)), true
	}
	return clock(s)
}

// clock reads a date with a time of day.
func clock(s string) (from, to int64, ok bool) {
	const day, minute, second = len("2006-01-02"), len("2006-01-02T15:04"), len("2006-01-02T15:04:05")
	if len(s) < minute || s[day] != 'T' && s[day] != 't' && s[day] != ' ' {
		return 0, 0, false
	}
	body, zone := s, "Z"
	if i := strings.IndexAny(s[minute:], "Zz+-"); i >= 0 {
		body, zone = s[:minute+i], strings.ToUpper(s[minute+i:])
	}
	var unit time.Duration
	switch n := len(body); {
	case n == minute:
		unit, body = time.Minute, body+":00"
	case n == second:
		unit = time.Second
	case n > second+1 && n <= second+10 && body[second] == '.':
		unit = time.Second
		for range n - second - 1 {
			unit /= 10
		}
	default:
		return 0, 0, false
	}
	t, err := time.Parse(time.RFC3339Nano, body[:day]+"T"+body[day+1:]+zone)
	if err != nil {
		return 0, 0, false
	}
	return nanos(t), nanos(t.Add(unit)), true
}

// relative reads what follows now: +5m or -15m (units s, m, h, d, w), then /d to
// take the whole unit (UTC) that the time falls in.
func (p *parser) relative(s string) (from, to int64, ok bool) {
	t := p.now.UTC()
	if s != "" && (s[0] == '-' || s[0] == '+') {
		i := 1
		for i < len(s) && s[i]-'0' <= 9 {
			i++
		}
		n, err := strconv.Atoi(s[1:i])
		if err != nil || n > 1_000_000 || i == len(s) {
			return 0, 0, false
		}
		u, ok := unit(s[i])
		if !ok {
			return 0, 0, false
		}
		if s[0] == '-' {
			n = -n
		}
		// In steps, since a duration holds 292 years only.
		t = t.Add(time.Duration(n%1000) * u)
		for step := n / 1000; step != 0; {
			k := max(-10, min(10, step))
			t = t.Add(time.Duration(k) * 1000 * u)
			step -= k
		}
		s = s[i+1:]
	}
	if s == "" {
		return nanos(t), nanos(t.Add(1)), true
	}
	if len(s) != 2 || s[0] != '/' {
		return 0, 0, false
	}
	u, ok := unit(s[1])
	if !ok {
		return 0, 0, false
	}
	t = t.Truncate(u) // weeks begin on a Monday, as the zero time does
	return nanos(t), nanos(t.Add(u)), true
}

func unit(c byte) (time.Duration, bool) {
	switch c {
	case 's':
		return time.Second, true
	case 'm':
		return time.Minute, true
	case 'h':
		return time.Hour, true
	case 'd':
		return 24 * time.Hour, true
	case 'w':
		return 7 * 24 * time.Hour, true
	}
	return 0, false
}

func nanos(t time.Time) int64 {
	if ns, ok := record.Nanos(t.UTC()); ok {
		return ns
	}
	if t.Year() < 2000 {
		return math.MinInt64
	}
	return math.MaxInt64
}

// formatInstant renders a bound so that instant reads it back.
func formatInstant(ns int64) string {
	switch ns {
	case math.MinInt64:
		return "0001-01-01T00:00:00Z"
	case math.MaxInt64:
		return "9999-12-31T23:59:59Z"
	}
	return time.Unix(0, ns).UTC().Format("2006-01-02T15:04:05.000000000Z")
}
