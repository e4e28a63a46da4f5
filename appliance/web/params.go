package web

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"custody/index"
	"custody/index/query"
)

// requestError is a fault of the caller, shown to them.
type requestError struct {
	code, msg string
	query     *query.Error // when the query is at fault
}

func (e *requestError) Error() string { return e.msg }

func badf(code, format string, args ...any) error {
	return &requestError{code: code, msg: fmt.Sprintf(format, args...)}
}

const maxQuery = 8 << 10

// asked is a request of the search, as given and as understood.
type asked struct {
	Q, From, To string // as typed
	index.Request
}

// searchParams are the parameters of everything that searches. Any other is an
// error: a misspelt q would ask for everything.
var searchParams = []string{
	"after", "buckets", "column", "cursor", "field", "from", "full", "limit", "live", "order", "q", "tenant", "to", "top", "trail",
}

// readAsked reads q, from, to, limit, cursor, order and tenant.
func (s *Server) readAsked(r *http.Request) (asked, error) {
	v, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return asked{}, badf("bad_parameter", "the address is not properly encoded")
	}
	for name := range v {
		if !slices.Contains(searchParams, name) {
			return asked{}, badf("bad_parameter", "unknown parameter %q; the parameters here are %s", clipRunes(40, name), strings.Join(searchParams, ", "))
		}
	}
	now := s.now()
	text := func(name string) string { return strings.ToValidUTF8(v.Get(name), "\ufffd") }
	a := asked{Q: text("q"), From: strings.TrimSpace(text("from")), To: strings.TrimSpace(text("to"))}
	if len(a.Q) > maxQuery {
		return a, badf("bad_query", "the query is longer than 8 KiB")
	}
	if a.Q != v.Get("q") {
		return a, badf("bad_query", "the query is not valid UTF-8")
	}
	if a.Request.From, err = parseWhen(a.From, now); err != nil {
		return a, badf("bad_parameter", "from: %v", err)
	}
	if a.Request.To, err = parseWhen(a.To, now); err != nil {
		return a, badf("bad_parameter", "to: %v", err)
	}
	if a.Request.To != 0 && a.Request.From > a.Request.To {
		return a, badf("bad_parameter", "from is after to")
	}
	if l := v.Get("limit"); l != "" {
		n, err := strconv.Atoi(l)
		if err != nil || n < 1 || n > 1000 {
			return a, badf("bad_parameter", "limit: a number from 1 to 1000")
		}
		a.Limit = n
	}
	a.Cursor = v.Get("cursor")
	a.Tenant = v.Get("tenant")
	switch v.Get("order") {
	case "", "desc", "newest":
		a.Order = index.NewestFirst
	case "asc", "oldest":
		a.Order = index.OldestFirst
	default:
		return a, badf("bad_parameter", "order: newest or oldest")
	}
	if strings.TrimSpace(a.Q) != "" {
		a.Query, err = query.ParseAt(a.Q, now)
		if err != nil {
			if qe, ok := errors.AsType[*query.Error](err); ok {
				return a, &requestError{code: "bad_query", msg: qe.Msg, query: qe}
			}
			return a, badf("bad_query", "%v", err)
		}
	}
	return a, nil
}

// The forms of a typed time, all UTC unless they carry a zone.
var layouts = []string{
	time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04", "2006-01-02 15:04:05.999999999", "2006-01-02 15:04", "2006-01-02",
}

var errWhen = errors.New("use 2026-11-23T14:02:07Z, 2026-11-23, Unix seconds, or now-15m")

// The times that a record can hold: the years 1678 to 2261.
var (
	earliest = time.Date(1678, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()
	latest   = time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano() - 1
)

// parseWhen reads a time into Unix nanoseconds, 0 when s is empty. Digits alone
// are Unix seconds, milliseconds, microseconds or nanoseconds by their size.
func parseWhen(s string, now time.Time) (int64, error) {
	if s == "" {
		return 0, nil
	}
	ns, err := readWhen(s, now)
	switch {
	case err != nil:
		return 0, err
	case ns < earliest || ns > latest:
		return 0, errors.New("the year is out of range (1678 to 2261)")
	case ns == 0:
		return 1, nil // 0 would mean open
	}
	return ns, nil
}

func readWhen(s string, now time.Time) (int64, error) {
	if len(s) > 64 {
		return 0, errWhen
	}
	if rest, ok := strings.CutPrefix(s, "now"); ok {
		return parseRelative(rest, now)
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && s[0] != '+' {
		for _, unit := range []int64{1e9, 1e6, 1e3, 1} {
			// 1e11 seconds are past the year 5000, as are 1e14 ms and 1e17 µs.
			if limit := 100_000_000_000 * (1_000_000_000 / unit); unit == 1 || (n < limit && n > -limit) {
				if unit == 1e9 && (n > 9_223_372_036 || n < -9_223_372_036) {
					return 0, errors.New("the time is out of range")
				}
				return n * unit, nil
			}
		}
	}
	for _, l := range layouts {
		t, err := time.Parse(l, s)
		if err != nil {
			continue
		}
		if y := t.Year(); y < 1678 || y > 2261 {
			return 0, errors.New("the year is out of range (1678 to 2261)")
		}
		return t.UnixNano(), nil
	}
	return 0, errWhen
}

func parseRelative(rest string, now time.Time) (int64, error) {
	if rest == "" {
		return now.UnixNano(), nil
	}
	if len(rest) < 3 || (rest[0] != '-' && rest[0] != '+') {
		return 0, errWhen
	}
	n, err := strconv.ParseInt(rest[1:len(rest)-1], 10, 32)
	if err != nil || n < 0 || rest[1] == '+' || rest[1] == '-' {
		return 0, errWhen
	}
	units := map[byte]time.Duration{
		's': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour,
	}
	u, ok := units[rest[len(rest)-1]]
	if !ok || n > int64(200*365*24*time.Hour/u) {
		return 0, errWhen
	}
	d := time.Duration(n) * u
	if rest[0] == '-' {
		d = -d
	}
	return now.Add(d).UnixNano(), nil
}
