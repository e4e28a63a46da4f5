package index

import (
	"custody/index/query"
	"custody/index/store"
	"custody/ingest/record"
)

// columns is a block as a query.BlockMatcher sees it.
type columns struct {
	s     *scanner
	blk   *store.Block
	kinds []record.Kind // nil: all rows are of one kind
	cols  [record.NumFields]*store.Column
	vals  []string
	texts []textFrames
	err   error
}

// textFrames are the frames in which a word search may match.
type textFrames struct{ message, other uint16 }

// Values implements query.Columns.
func (c *columns) Values(f record.Field, yield func(code int, values []string)) (bool, error) {
	if f.Info().Cardinality != record.Keyword {
		return false, nil
	}
	col, err := c.blk.Peek(f)
	if err != nil {
		return false, err
	}
	c.cols[f] = col
	if col == nil {
		return true, nil
	}
	list := f.IsList()
	col.Each(func(code int, v string) {
		if list {
			c.vals = store.ListValues(v, c.vals[:0])
		} else {
			c.vals = append(c.vals[:0], v)
		}
		yield(code, c.vals)
	})
	return true, nil
}

// Scalar implements query.Columns.
func (c *columns) Scalar(f record.Field, row int) (string, bool) {
	if !f.Settable() || f.IsList() || f.Info().Cardinality == record.Keyword {
		return "", false
	}
	v, err := c.blk.Text(row, f)
	if err != nil {
		if c.err == nil {
			c.err = err
		}
		return "", false
	}
	// Without a message of its own a row shows its raw line.
	return v, v != "" || f != record.Message
}

// Code implements query.Columns.
func (c *columns) Code(f record.Field, row int) int { return c.cols[f].Code(row) }

// Kind implements query.Columns.
func (c *columns) Kind(row int) record.Kind {
	if c.kinds == nil {
		return c.blk.Kind()
	}
	return c.kinds[row]
}

// Text implements query.Columns: where the index has the words in messages only,
// the message alone decides.
func (c *columns) Text(i, row int) query.Tri {
	if c.texts == nil {
		first := c.blk.First()
		for k := range c.s.texts {
			t := &c.s.texts[k]
			c.texts = append(c.texts, textFrames{c.s.frames(&t.Message, c.blk, first), c.s.frames(&t.Other, c.blk, first)})
		}
	}
	bit := uint16(1) << (row / store.FrameRows)
	switch t := c.texts[i]; {
	case t.other&bit != 0:
		return query.Unknown
	case t.message&bit == 0:
		return query.False
	}
	msg, err := c.blk.Text(row, record.Message)
	if err != nil && c.err == nil {
		c.err = err
	}
	switch {
	case msg == "": // none, or it is the raw line
		return query.Unknown
	case c.s.texts[i].Match(msg):
		return query.True
	}
	return query.False
}
