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
	b := in.b
	for i := 1; i < n; i++ {
		u, w := uint64(0), 0
		switch {
		case len(b) > 0 && b[0] < 0x80:
			u, w = uint64(b[0]), 1
		case len(b) > 1 && b[1] < 0x80:
			u, w = uint64(b[0]&0x7f)|uint64(b[1])<<7, 2
		default:
			if u, w = binary.Uvarint(b); w <= 0 {
				in.bad = true
				return nil
			}
		}
		b = b[w:]
		v[i] = v[i-1] + (int64(u>>1)^-int64(u&1))*unit
	}
	in.b = b
	return v
}

// loadTimes decodes seqs, kinds and times of all rows.
func (b *Block) loadTimes() error {
	if b.recv != nil {
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
	var seqs []uint64 // nil: consecutive
	if flags[0] == 0 {
		seqs = make([]uint64, n)
		seqs[0] = b.first
		for i := 1; i < n; i++ {
			seqs[i] = seqs[i-1] + in.uint()
		}
	}
	var kinds []record.Kind // nil: all the same
	if flags[1] == 0 {
		kinds = make([]record.Kind, n)
		for i, k := range in.take(n) {
			kinds[i] = record.Kind(k)
		}
	}
	recv := steps(&in, n, b.recvMin)
	times := steps(&in, n, b.timeMin)
	last := b.first + uint64(n) - 1
	if seqs != nil {
		last = seqs[n-1]
	}
	if in.bad || len(in.b) != 0 || last != b.last || kinds == nil && !b.OnlyKind(record.Kind(flags[1])) {
		return damaged("times")
	}
	b.seqs, b.kinds, b.recv, b.times = seqs, kinds, recv, times
	return nil
}

// seq is the seq of row i; the times are loaded.
func (b *Block) seq(i int) uint64 {
	if b.seqs == nil {
		return b.first + uint64(i)
	}
	return b.seqs[i]
}

// kind is the kind of row i; the times are loaded.
func (b *Block) kind(i int) record.Kind {
	if b.kinds == nil {
		return b.Kind()
	}
	return b.kinds[i]
}

// unfold makes the arrays that Times hands out.
func (b *Block) unfold() {
	if b.seqs == nil {
		b.seqs = make([]uint64, b.rows)
		for i := range b.seqs {
			b.seqs[i] = b.first + uint64(i)
		}
	}
	if b.kinds == nil {
		b.kinds = make([]record.Kind, b.rows)
		for i := range b.kinds {
			b.kinds[i] = b.Kind()
		}
	}
}
