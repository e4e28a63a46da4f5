package chain

import (
	"strconv"
	"time"

	"custody/ingest/record"
)

// instantOf is a field of kind Instant in Unix nanoseconds, 0 when there is none.
func instantOf(r *record.Record, f record.Field) int64 {
	v := r.Get(f)
	if v == "" {
		return 0
	}
	t, err := time.Parse(time.RFC3339Nano, v)
	if err != nil {
		return 0
	}
	return t.UnixNano()
}

func numberOf(r *record.Record, f record.Field) int64 {
	n, err := strconv.ParseInt(r.Get(f), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// half is which half of a pair of lines a record is.
type half uint8

const (
	halfNone half = iota
	halfRequest
	halfResponse
	halfCall
	halfResult
)

// mark is the value of the attribute "name=value", "" when there is none.
func mark(r *record.Record, name string) (value string) {
	r.Elements(record.Attributes, func(v, _ string) bool {
		if len(v) > len(name) && v[:len(name)] == name && v[len(name)] == '=' {
			value = v[len(name)+1:]
			return false
		}
		return true
	})
	return value
}

func halfOf(r *record.Record) half {
	switch mark(r, "half") {
	case "request":
		return halfRequest
	case "response":
		return halfResponse
	case "call":
		return halfCall
	case "result":
		return halfResult
	}
	return halfNone
}
