package appliance

import (
	"errors"
	"sync"
)

// group runs functions until they end.
type group struct {
	ended chan struct{} // closed when the first has ended
	once  sync.Once
	wg    sync.WaitGroup
	mu    sync.Mutex
	errs  []error
}

func newGroup() *group { return &group{ended: make(chan struct{})} }

func (g *group) start(fn func() error) {
	g.wg.Go(func() {
		if err := fn(); err != nil {
			g.mu.Lock()
			g.errs = append(g.errs, err)
			g.mu.Unlock()
		}
		g.once.Do(func() { close(g.ended) })
	})
}

// wait blocks until all have ended and returns their errors.
func (g *group) wait() error {
	g.wg.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	return errors.Join(g.errs...)
}
