package scenario

import (
	"encoding/json"
	"strconv"
	"time"
)

// object is a JSON object whose members keep their order: key, value, key, value.
type object []any

// array is a JSON array.
type array []any

// text is the JSON of v: nil, string, bool, int, int64, []string, object or array.
func text(v any) []byte { return appendJSON(nil, v) }

func appendJSON(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...)
	case string:
		if plain(v) {
			b = append(b, '"')
			b = append(b, v...)
			return append(b, '"')
		}
		q, _ := json.Marshal(v)
		return append(b, q...)
	case bool:
		return strconv.AppendBool(b, v)
	case int:
		return strconv.AppendInt(b, int64(v), 10)
	case int64:
		return strconv.AppendInt(b, v, 10)
	case []string:
		b = append(b, '[')
		for i, s := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendJSON(b, s)
		}
		return append(b, ']')
	case array:
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendJSON(b, e)
		}
		return append(b, ']')
	case object:
		b = append(b, '{')
		for i := 0; i+1 < len(v); i += 2 {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendJSON(b, v[i])
			b = append(b, ':')
			b = appendJSON(b, v[i+1])
		}
		return append(b, '}')
	}
	panic("scenario: a value that JSON has no form for")
}

func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return false
		}
	}
	return true
}

// with appends members whose value is not empty.
func (o object) with(members ...any) object {
	for i := 0; i+1 < len(members); i += 2 {
		switch v := members[i+1].(type) {
		case nil:
			continue
		case string:
			if v == "" {
				continue
			}
		case object:
			if len(v) == 0 {
				continue
			}
		case array:
			if len(v) == 0 {
				continue
			}
		case []string:
			if len(v) == 0 {
				continue
			}
		}
		o = append(o, members[i], members[i+1])
	}
	return o
}

// Layouts of times in the products' logs.
const (
	millis  = "2006-01-02T15:04:05.000Z"
	micros  = "2006-01-02T15:04:05.000000Z"
	nanos   = "2006-01-02T15:04:05.000000000Z"
	seconds = "2006-01-02T15:04:05Z"
)

// header is the RFC 5424 header that a syslog daemon puts before a message.
func header(at time.Time, pri int, host, app, proc string) []byte {
	b := append([]byte{'<'}, strconv.Itoa(pri)...)
	b = append(b, ">1 "...)
	b = at.AppendFormat(b, micros)
	return append(b, (" " + host + " " + app + " " + proc + " - - ")...)
}
