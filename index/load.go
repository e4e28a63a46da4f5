package index

import (
	"sync"

	"custody/ingest/record"
)

// loader decodes the rows of a page while the walk goes on to the next block: to
// find a row is about as dear as to decode it.
type loader struct {
	l     *Ledger
	order Order
	rows  []*record.Record // in order; those of open jobs are nil
	jobs  chan loadJob     // nil between two snapshots
	wg    sync.WaitGroup
	mu    sync.Mutex
	err   error
}

// loadJob is what of a block belongs to the page.
type loadJob struct {
	h    *hit
	rows []*record.Record
}

func newLoader(l *Ledger, order Order, most int) *loader {
	return &loader{l: l, order: order, rows: make([]*record.Record, 0, most)}
}

// add takes a block with matching rows; errStop: the page is full.
func (p *loader) add(h *hit) error {
	if p.jobs == nil {
		p.jobs = make(chan loadJob, blocksPerView)
		for range min(p.l.opts.Workers, 4) - 1 {
			jobs := p.jobs
			p.wg.Go(func() { p.work(jobs) })
		}
	}
	from := len(p.rows)
	n := min(h.count, cap(p.rows)-from)
	p.rows = p.rows[:from+n]
	p.jobs <- loadJob{h, p.rows[from : from+n]}
	if len(p.rows) == cap(p.rows) {
		return errStop
	}
	return nil
}

// settle waits until all that was added is decoded: before the snapshot ends.
func (p *loader) settle() error {
	if p.jobs == nil {
		return nil
	}
	close(p.jobs)
	p.work(p.jobs)
	p.wg.Wait()
	p.jobs = nil
	return p.err
}

func (p *loader) work(jobs <-chan loadJob) {
	for j := range jobs {
		if err := j.decode(p.l, p.order); err != nil {
			p.mu.Lock()
			if p.err == nil {
				p.err = err
			}
			p.mu.Unlock()
		}
	}
}

func (j *loadJob) decode(l *Ledger, order Order) error {
	n := j.h.blk.Rows()
	at := 0
	for k := 0; k < n && at < len(j.rows); k++ {
		i := k
		if order == NewestFirst {
			i = n - 1 - k
		}
		if !j.h.rows.has(i) {
			continue
		}
		r := new(record.Record)
		if err := j.h.blk.Row(i, r); err != nil {
			return err
		}
		l.overlay.apply(r)
		j.rows[at] = r
		at++
	}
	return nil
}
