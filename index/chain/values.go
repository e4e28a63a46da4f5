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

// marksOf reads what decoders mark as attributes: which half of a pair the record
// is, and whether a privileged session begins or ends with it.
func marksOf(r *record.Record) (h half, session string) {
	r.Elements(record.Attributes, func(v, _ string) bool {
		switch v {
		case "half=request":
			h = halfRequest
		case "half=response":
			h = halfResponse
		case "half=call":
			h = halfCall
		case "half=result":
			h = halfResult
		case "session=start":
			session = "start"
		case "session=end":
			session = "end"
		}
		return true
	})
	return h, session
}
