package store

import (
	"encoding/binary"

	"custody/ingest/record"
)

// The times section holds, for every row, seq, kind, received and time:
//
//	step (0: seqs are listed), kind (0: kinds are listed)
//	seq steps, if listed; kinds, if listed
//	received, then time: unit, the first row's above the header's least, steps
//
// The unit is 0 to 3 for nanoseconds, microseconds, milliseconds and seconds, the
// largest that divides all steps; a step counts units from the row before
// (zigzag). Differences wrap around, and so do the sums: any time comes back.

var units = [...]int64{1, 1e3, 1e6, 1e9}

func appendTimes(b []byte, rows []*record.Record, h *header) []byte {
	step := uint64(1)
	kind := rows[0].Kind
	for i, r := range rows {
		if i > 0 && r.Seq != rows[i-1].Seq+1 {
			step = 0
		}
		if r.Kind != kind {
			kind = 0
		}
	}
	b = append(b, byte(step), byte(kind))
	if step == 0 {
		for i := 1; i < len(rows); i++ {
			b = binary.AppendUvarint(b, rows[i].Seq-rows[i-1].Seq)
		}
	}
	if kind == 0 {
		for _, r := range rows {
			b = append(b, byte(r.Kind))
		}
	}
	b = appendSteps(b, rows, h.recvMin, func(r *record.Record) int64 { return r.Received })
	return appendSteps(b, rows, h.timeMin, func(r *record.Record) int64 { return r.Time })
}

// appendSteps writes one series, of which lo is the least.
func appendSteps(b []byte, rows []*record.Record, lo int64, of func(*record.Record) int64) []byte {
	unit := len(units) - 1
	for i := 1; i < len(rows) && unit > 0; i++ {
		d := of(rows[i]) - of(rows[i-1])
		for d%units[unit] != 0 {
			unit--
		}
	}
	b = append(b, byte(unit))
	b = binary.AppendUvarint(b, uint64(of(rows[0])-lo))
	for i := 1; i < len(rows); i++ {
		b = binary.AppendVarint(b, (of(rows[i])-of(rows[i-1]))/units[unit])
	}
	return b
}

// steps reads one series of n whose least value is lo.
func steps(in *cursor, n int, lo int64) []int64 {
	u := in.take(1)
	if in.bad || int(u[0]) >= len(units) {
		in.bad = true
		return nil
	}
	unit := units[u[0]]
	v := make([]int64, n)
	v[0] = lo + int64(in.uint())
	for i := 1; i < n; i++ {
		v[i] = v[i-1] + in.int()*unit
	}
	return v
}

// loadTimes decodes seqs, kinds and times of all rows.
func (b *Block) loadTimes() error {
	if b.seqs != nil {
		return nil
	}
	raw, err := b.load(b.fixed[secTimes])
	if err != nil {
		return err
	}
	in := cursor{b: raw}
	flags := in.take(2)
	if in.bad {
		return damaged("times")
	}
	n := b.rows
	seqs, kinds := make([]uint64, n), make([]record.Kind, n)
	seqs[0] = b.first
	for i := 1; i < n; i++ {
		step := uint64(1)
		if flags[0] == 0 {
			step = in.uint()
		}
		seqs[i] = seqs[i-1] + step
	}
	for i := range kinds {
		kinds[i] = record.Kind(flags[1])
		if flags[1] == 0 {
			if k := in.take(1); !in.bad {
				kinds[i] = record.Kind(k[0])
			}
		}
	}
	recv := steps(&in, n, b.recvMin)
	times := steps(&in, n, b.timeMin)
	if in.bad || len(in.b) != 0 || seqs[n-1] != b.last {
		return damaged("times")
	}
	b.seqs, b.kinds, b.recv, b.times = seqs, kinds, recv, times
	return nil
}
