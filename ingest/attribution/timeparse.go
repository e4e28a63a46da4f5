package attribution

import (
	"time"

	"custody/ingest/record"
)

const (
	second = int64(time.Second)
	day    = 86400 * second

	earliest  = 631152000 * second // 1990-01-01
	farAhead  = 2 * day            // behind received
	halfAYear = 183 * day
)

// parseTime reads an instant: RFC 3339 (also with a space, without a zone, or
// with an offset without colon), or Unix seconds, milliseconds, microseconds or
// nanoseconds, told apart by size. A time without a zone is in zone.
func parseTime(b []byte, zone *time.Location) (ns int64, ok bool) {
	if len(b) == 0 || len(b) > 64 {
		return 0, false
	}
	if len(b) >= 19 && b[4] == '-' && b[7] == '-' {
		return parseRFC3339(b, zone)
	}
	return parseUnix(b)
}

// parseUnix reads a decimal Unix time, with a fraction if it counts seconds.
func parseUnix(b []byte) (int64, bool) {
	var n int64
	i := 0
	for ; i < len(b) && b[i]-'0' < 10; i++ {
		if i == 19 {
			return 0, false
		}
		n = n*10 + int64(b[i]-'0')
	}
	if i < 9 || n < 0 {
		return 0, false
	}
	unit := int64(1)
	switch {
	case n < 1e11:
		unit = second
	case n < 1e14:
		unit = 1e6
	case n < 1e17:
		unit = 1e3
	}
	if n > (1<<63-1)/unit-1 {
		return 0, false
	}
	n *= unit
	if i == len(b) {
		return n, true
	}
	if b[i] != '.' || i+1 == len(b) {
		return 0, false
	}
	for i++; i < len(b); i++ {
		if b[i]-'0' > 9 {
			return 0, false
		}
		unit /= 10
		n += unit * int64(b[i]-'0')
	}
	return n, true
}

// parseRFC3339 reads YYYY-MM-DDThh:mm:ss[.fraction][zone] by hand, several
// times faster than time.Parse.
func parseRFC3339(b []byte, zone *time.Location) (int64, bool) {
	if len(b) < 19 || b[4] != '-' || b[7] != '-' || b[13] != ':' || b[16] != ':' ||
		(b[10] != 'T' && b[10] != 't' && b[10] != ' ') {
		return 0, false
	}
	y, ok1 := digits(b[0:4])
	mo, ok2 := digits(b[5:7])
	d, ok3 := digits(b[8:10])
	h, ok4 := digits(b[11:13])
	mi, ok5 := digits(b[14:16])
	s, ok6 := digits(b[17:19])
	if !(ok1 && ok2 && ok3 && ok4 && ok5 && ok6) || y < 1678 || y > 2261 || mo < 1 || mo > 12 || d < 1 ||
		d > daysIn(mo, y) || h > 23 || mi > 59 || s > 60 {
		return 0, false
	}
	frac, unit := int64(0), second
	i := 19
	if i < len(b) && (b[i] == '.' || b[i] == ',') {
		start := i + 1
		for i = start; i < len(b) && b[i]-'0' < 10; i++ {
			unit /= 10
			frac += unit * int64(b[i]-'0')
		}
		if i == start {
			return 0, false
		}
	}
	ns := civil(y, mo, d)*day + int64(h*3600+mi*60+s)*second + frac
	z := b[i:]
	switch {
	case len(z) == 0:
		if zone != nil && zone != time.UTC {
			ns = time.Date(y, time.Month(mo), d, h, mi, s, int(frac), zone).UnixNano()
		}
	case len(z) == 1 && (z[0] == 'Z' || z[0] == 'z'):
	case z[0] == '+' || z[0] == '-':
		if len(z) == 6 && z[3] == ':' {
			z = append(append(make([]byte, 0, 5), z[:3]...), z[4:]...)
		}
		if len(z) != 5 {
			return 0, false
		}
		hh, ok1 := digits(z[1:3])
		mm, ok2 := digits(z[3:5])
		if !ok1 || !ok2 || hh > 23 || mm > 59 {
			return 0, false
		}
		off := int64(hh*3600+mm*60) * second
		if z[0] == '-' {
			off = -off
		}
		ns -= off
	default:
		return 0, false
	}
	return ns, true
}

func digits(b []byte) (int, bool) {
	n := 0
	for _, c := range b {
		if c-'0' > 9 {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}

func daysIn(month, year int) int {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// civil is the number of days from 1970-01-01 to the date, after 1600.
func civil(y, m, d int) int64 {
	if m <= 2 {
		y--
		m += 12
	}
	// Days of March-based years; the divisions count leap days.
	return int64(365*y+y/4-y/100+y/400+(153*(m-3)+2)/5+d-1) - 719468
}

const months = "JanFebMarAprMayJunJulAugSepOctNovDec"

// parseStamp reads the timestamp of RFC 3164, "Oct  7 22:14:15" or "Oct 7
// 22:14:15". It has no year: the one that brings it nearest to received is
// taken, so that it is right across New Year and on 29 February. Lines of files
// can be older than half a year: with past, years that lead ahead of received
// are not taken if another one leads back.
func parseStamp(b []byte, received int64, zone *time.Location, past bool) (ns int64, size int, ok bool) {
	if len(b) < 14 || b[3] != ' ' {
		return 0, 0, false
	}
	mo := 0
	for m := range 12 {
		if string(b[:3]) == months[3*m:3*m+3] {
			mo = m + 1
			break
		}
	}
	if mo == 0 {
		return 0, 0, false
	}
	i := 4
	if b[i] == ' ' {
		i++
	}
	d, n := 0, 0
	for ; i < len(b) && n < 2 && b[i]-'0' < 10; i, n = i+1, n+1 {
		d = d*10 + int(b[i]-'0')
	}
	if n == 0 || d < 1 || d > 31 || len(b) < i+9 || b[i] != ' ' || b[i+3] != ':' || b[i+6] != ':' {
		return 0, 0, false
	}
	h, ok1 := digits(b[i+1 : i+3])
	mi, ok2 := digits(b[i+4 : i+6])
	s, ok3 := digits(b[i+7 : i+9])
	if !ok1 || !ok2 || !ok3 || h > 23 || mi > 59 || s > 60 {
		return 0, 0, false
	}
	size = i + 9
	var frac int64
	if size+1 < len(b) && b[size] == '.' && b[size+1]-'0' < 10 {
		unit := second
		for size++; size < len(b) && b[size]-'0' < 10; size++ {
			unit /= 10
			frac += unit * int64(b[size]-'0')
		}
	}
	if zone == nil {
		zone = time.UTC
	}
	year := time.Unix(0, received).UTC().Year()
	best, found := int64(0), false
	// Nearly always the first is within half a year and the others are not tried;
	// those further away are for 29 February.
	for _, y := range [...]int{year, year - 1, year + 1, year - 2, year + 2, year - 3, year - 4} {
		if y < 1678 || y > 2261 || d > daysIn(mo, y) {
			continue
		}
		var t int64
		if zone == time.UTC {
			t = civil(y, mo, d)*day + int64(h*3600+mi*60+s)*second
		} else {
			t = time.Date(y, time.Month(mo), d, h, mi, s, 0, zone).UnixNano()
		}
		t += frac
		ahead, was := past && t-received > farAhead, past && best-received > farAhead
		if !found || was && !ahead || was == ahead && abs(t-received) < abs(best-received) {
			best, found = t, true
		}
		if abs(best-received) < halfAYear && !(past && best-received > farAhead) {
			break
		}
	}
	return best, size, found
}

func abs(n int64) int64 {
	if n < 0 {
		return -n
	}
	return n
}

// absurd says why a source's time cannot be believed, "" when it can.
func absurd(ns, received int64) string {
	switch {
	case ns < earliest:
		return "time lies before 1990"
	case received != 0 && ns > received && ns-received > farAhead:
		return "time lies more than two days after arrival"
	}
	return ""
}

// instant renders ns for a field of kind Instant.
func instant(ns int64) string { return record.FormatTime(time.Unix(0, ns)) }

// parseLayout reads v by a layout of package time; nil zone is UTC.
func parseLayout(v []byte, layout string, zone *time.Location) (int64, bool) {
	if len(v) > 128 {
		return 0, false
	}
	if zone == nil {
		zone = time.UTC
	}
	t, err := time.ParseInLocation(layout, string(v), zone)
	if err != nil {
		return 0, false
	}
	return record.Nanos(t)
}
