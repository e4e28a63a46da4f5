package attribution

import (
	"bytes"
	"time"

	"github.com/leodido/go-syslog/v4"
	"github.com/leodido/go-syslog/v4/rfc3164"
	"github.com/leodido/go-syslog/v4/rfc5424"
)

// slow reads the header of a line whose priority is sound but whose rest the
// fast split did not understand, with the full grammars. It takes what they
// could make out before they gave up; the payload is then what stands behind it.
func (v *envelope) slow(line []byte, pri int, received int64, zone *time.Location) {
	v.pri, v.found = pri, true
	v.msg = bytes.IndexByte(line, '>') + 1
	v.problem = "syslog header: neither RFC 5424 nor RFC 3164"
	if v.msg == 0 {
		return
	}
	if v.msg+1 < len(line) && line[v.msg] == '1' && line[v.msg+1] == ' ' {
		m, _ := rfc5424.NewMachine(rfc5424.WithBestEffort()).Parse(line)
		got, ok := m.(*rfc5424.SyslogMessage)
		if !ok || got == nil {
			return
		}
		v.take(line, &got.Base, true)
		if got.Message == nil {
			v.restOf5424(line)
		}
		return
	}
	if zone == nil {
		zone = time.UTC
	}
	at := time.Unix(0, received).In(zone)
	m, err := rfc3164.NewMachine(rfc3164.WithBestEffort(), rfc3164.WithRFC3339(), rfc3164.WithSecondFractions(),
		rfc3164.WithYear(rfc3164.Year{YYYY: at.Year()}), rfc3164.WithLocaleTimezone(zone)).Parse(line)
	got, ok := m.(*rfc3164.SyslogMessage)
	if !ok || got == nil {
		return
	}
	// Without a year in the line the library's guess is only the year of arrival.
	v.take(line, &got.Base, false)
	if err == nil && got.Message != nil {
		v.problem = ""
	}
}

// restOf5424 puts the payload behind the header tokens that are there, so that
// a line with one bad field still shows its message.
func (v *envelope) restOf5424(line []byte) {
	i := v.msg + 2
	for _, to := range [...]*[]byte{nil, &v.host, &v.app, &v.proc, nil} {
		tok, next, ok := word(line, i)
		if !ok {
			return
		}
		if to != nil && len(tok) <= 255 {
			*to = nilValue(tok)
		}
		i = next
	}
	if i < len(line) && line[i] == '-' {
		v.msg = skipSpace(line, i+1)
	} else if i < len(line) && line[i] == '[' {
		v.sd = v.sd[:0]
		if end := v.structured(line, i); end > 0 {
			v.msg = skipSpace(line, end)
		} else {
			v.sd = v.sd[:0]
			v.msg = i
		}
	}
}

func (v *envelope) take(line []byte, m *syslog.Base, stamp bool) {
	text := func(s *string) []byte {
		if s == nil || *s == "" || *s == "-" {
			return nil
		}
		return []byte(*s)
	}
	v.host, v.app, v.proc = text(m.Hostname), text(m.Appname), text(m.ProcID)
	if m.Timestamp != nil && stamp && m.Timestamp.Year() > 1678 && m.Timestamp.Year() < 2261 {
		v.time, v.hasTime = m.Timestamp.UnixNano(), true
	}
	if m.Message != nil && bytes.HasSuffix(line, []byte(*m.Message)) {
		v.msg = len(line) - len(*m.Message)
	}
}
