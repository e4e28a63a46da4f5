package attribution

import (
	"bytes"
	"strconv"
	"time"
)

// envelope is what a syslog header says.
type envelope struct {
	found   bool // there is a header
	pri     int  // -1 when there is none
	host    []byte
	app     []byte
	proc    []byte
	time    int64
	hasTime bool
	sd      []sdParam // reused
	demo    string    // the pointer to what marks demo traffic
	msg     int       // offset of the payload, behind a byte order mark
	problem string
	from    origins
}

// origins are the places of an envelope's values where the event stands inside
// another one; "" is the header of the line.
type origins struct{ head, host, app, proc, time string }

// sdParam is one parameter of structured data.
type sdParam struct {
	id, name, value []byte
	escaped         bool
}

// What marks demo traffic: an element of structured data, or a prefix of the
// program's name where the sender writes RFC 3164.
const (
	demoID  = "custodyDemo@32473"
	demoTag = "custody-demo/"
)

func (v *envelope) reset() { *v = envelope{sd: v.sd[:0], pri: -1} }

// split reads the header of line. strict (lines of files) takes only what can
// hardly be anything else.
func (v *envelope) split(line []byte, received int64, zone *time.Location, strict bool) {
	v.reset()
	i := 0
	if len(line) > 0 && line[0] == '<' {
		j := 1
		for ; j < len(line) && j < 4 && line[j]-'0' < 10; j++ {
		}
		n, _ := digits(line[1:j])
		if j == 1 || j == len(line) || line[j] != '>' || n > 191 {
			if !strict {
				v.problem = "syslog header: bad priority"
			}
			return
		}
		i, v.pri, v.found = j+1, n, true
		if i+1 < len(line) && line[i] == '1' && line[i+1] == ' ' {
			if !v.split5424(line, i+2, zone) {
				pri := v.pri
				v.reset()
				v.slow(line, pri, received, zone)
			}
			v.finish(line)
			return
		}
	}
	if !v.split3164(line, i, received, zone, strict) {
		switch {
		case v.pri >= 0:
			v.slow(line, v.pri, received, zone)
		case !strict:
			v.problem = "syslog header: none"
		}
	}
	v.finish(line)
}

// finish skips a byte order mark and takes the demo mark off the program's name.
func (v *envelope) finish(line []byte) {
	if app, ok := bytes.CutPrefix(v.app, []byte(demoTag)); ok {
		v.app, v.demo = app, "header:APP-NAME"
	}
	if bytes.HasPrefix(line[v.msg:], []byte("\xef\xbb\xbf")) {
		v.msg += 3
	}
}

// word returns the token at i and the offset behind the blank that ends it.
func word(line []byte, i int) (tok []byte, next int, ok bool) {
	if i >= len(line) {
		return nil, i, false
	}
	n := bytes.IndexByte(line[i:], ' ')
	if n <= 0 {
		return nil, i, false
	}
	return line[i : i+n], i + n + 1, true
}

func nilValue(tok []byte) []byte {
	if len(tok) == 1 && tok[0] == '-' {
		return nil
	}
	return tok
}

// split5424 reads the header of RFC 5424 section 6 from the timestamp on.
func (v *envelope) split5424(line []byte, i int, zone *time.Location) bool {
	stamp, i, ok := word(line, i)
	if !ok {
		return false
	}
	if nilValue(stamp) != nil {
		if v.time, v.hasTime = parseRFC3339(stamp, zone); !v.hasTime {
			return false
		}
	}
	for k, to := range [...]*[]byte{&v.host, &v.app, &v.proc, nil} {
		if k == 1 && payloadStarts(line[i:]) {
			v.msg = i // some senders leave out all that stands between host and message
			return true
		}
		var tok []byte
		if tok, i, ok = word(line, i); !ok || len(tok) > 255 {
			return false
		}
		if to != nil {
			*to = nilValue(tok)
		}
	}
	switch {
	case i < len(line) && line[i] == '-':
		i++
	case i < len(line) && line[i] == '[':
		if i = v.structured(line, i); i < 0 {
			return false
		}
	default:
		return false
	}
	if i < len(line) {
		if line[i] != ' ' {
			return false
		}
		i++
	}
	v.msg = i
	return true
}

// structured reads SD elements from the '[' at i and returns the offset behind
// them, -1 when they are broken.
func (v *envelope) structured(line []byte, i int) int {
	for i < len(line) && line[i] == '[' {
		i++
		start := i
		for i < len(line) && line[i] > ' ' && line[i] != ']' && line[i] != '"' && line[i] != '=' {
			i++
		}
		id := line[start:i]
		if len(id) == 0 {
			return -1
		}
		if string(id) == demoID {
			v.demo = "sd:" + demoID
		}
		for i < len(line) && line[i] == ' ' {
			i++
			start = i
			for i < len(line) && line[i] > ' ' && line[i] != ']' && line[i] != '"' && line[i] != '=' {
				i++
			}
			name := line[start:i]
			if len(name) == 0 || i+1 >= len(line) || line[i] != '=' || line[i+1] != '"' {
				return -1
			}
			i += 2
			start = i
			escaped := false
			for i < len(line) && line[i] != '"' {
				if line[i] == '\\' {
					escaped = true
					i++
				}
				i++
			}
			if i >= len(line) {
				return -1
			}
			v.sd = append(v.sd, sdParam{id, name, line[start:i], escaped})
			i++
		}
		if i >= len(line) || line[i] != ']' {
			return -1
		}
		i++
	}
	return i
}

// param finds the parameter "ID/NAME" of structured data.
func (v *envelope) param(path string) []byte {
	for i := range v.sd {
		p := &v.sd[i]
		if len(path) == len(p.id)+1+len(p.name) && path[:len(p.id)] == string(p.id) &&
			path[len(p.id)] == '/' && path[len(p.id)+1:] == string(p.name) {
			if !p.escaped {
				return p.value
			}
			out := make([]byte, 0, len(p.value))
			for j := 0; j < len(p.value); j++ {
				if p.value[j] == '\\' && j+1 < len(p.value) && bytes.IndexByte([]byte(`"\]`), p.value[j+1]) >= 0 {
					j++
				}
				out = append(out, p.value[j])
			}
			return out
		}
	}
	return nil
}

// split3164 reads "Oct 11 22:14:15 host tag[pid]: message" from i on, with an
// RFC 3339 timestamp too (rsyslog's forward and file formats), and without a
// host as programs write it to /dev/log.
func (v *envelope) split3164(line []byte, i int, received int64, zone *time.Location, strict bool) bool {
	b := line[i:]
	var ns int64
	var size int
	ok, long := false, false
	if len(b) > 19 && b[4] == '-' && b[7] == '-' {
		if tok, _, is := word(b, 0); is && len(tok) > 19 {
			ns, ok = parseRFC3339(tok, zone)
			size, long = len(tok), true
		}
	} else {
		ns, size, ok = parseStamp(b, received, zone, strict)
	}
	if !ok || size >= len(b) || b[size] != ' ' {
		return false
	}
	at := i + size + 1
	host, rest, ok := word(line, at)
	if !ok {
		if strict {
			return false
		}
		v.time, v.hasTime, v.found, v.msg = ns, true, true, at
		return true
	}
	var app, proc []byte
	var msg int
	tagged := false
	if c := host[len(host)-1]; c == ':' {
		app, proc, msg, tagged = tag(line, at) // no host
		host = nil
	} else {
		app, proc, msg, tagged = tag(line, rest)
		if !tagged {
			msg = rest
		}
	}
	if strict && v.pri < 0 && !payloadStarts(line[msg:]) && (!tagged || long && proc == nil && string(app) != "sudo") {
		return false
	}
	v.time, v.hasTime, v.found = ns, true, true
	v.host, v.app, v.proc, v.msg = host, app, proc, msg
	return true
}

// payloadStarts reports whether b begins what some senders put right behind the
// host, where RFC 5424 has an APP-NAME and RFC 3164 a tag.
func payloadStarts(b []byte) bool {
	if len(b) == 0 || bytes.IndexByte([]byte("{CL<%["), b[0]) < 0 {
		return false
	}
	for _, p := range [...]string{
		`{"`, "CEF:", "LEEF:", "<syslog>", "%CYBERARK:", "[wabaudit]", "[wabauth]", "[SSH Session]", "[RDP Session]", "[VNC Session]", "[Web Session]",
		"[Vault Activity]", "[sshproxy]", "[rdpproxy]", "[[SecretServer]]",
	} {
		if len(b) > len(p) && string(b[:len(p)]) == p {
			return true
		}
	}
	return false
}

// tag reads "tag[pid]: " or "tag: " at i.
func tag(line []byte, i int) (app, proc []byte, msg int, ok bool) {
	start := i
	if payloadStarts(line[start:]) && line[start] == '{' {
		return nil, nil, start, false
	}
	for i < len(line) && i-start <= 64 && line[i] > ' ' && line[i] != ':' && line[i] != '[' {
		i++
	}
	app = line[start:i]
	if s := string(app); s == "" || i >= len(line) || s == "CEF" || s == "LEEF" { // formats, not programs
		return nil, nil, start, false
	}
	if line[i] == '[' {
		n := bytes.IndexByte(line[i:], ']')
		if n < 0 || n > 32 {
			return nil, nil, start, false
		}
		proc = line[i+1 : i+n]
		i += n + 1
	}
	if i >= len(line) || line[i] != ':' {
		return nil, nil, start, false
	}
	i++
	for i < len(line) && line[i] == ' ' {
		i++
	}
	return app, proc, i, true
}

var facilities = [...]string{
	"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
	"ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
}

var severities = [...]string{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}

var offsets = func() (s [512]string) {
	for i := range s {
		s[i] = strconv.Itoa(i)
	}
	return s
}()

// decimal is strconv.Itoa without an allocation for the usual offsets.
func decimal(n int) string {
	if n >= 0 && n < len(offsets) {
		return offsets[n]
	}
	return strconv.Itoa(n)
}
