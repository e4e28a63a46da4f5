package scenario

// pairs counts pairs of lines in one chain by the sizes of the sets they are
// in, so that nothing is quadratic.
type pairs struct {
	got    map[string]int // lines of a chain as the system sees it
	same   map[gotTrue]int
	group  map[int]int // lines that can be known to belong together
	joined map[gotTrue]int
	name   map[int]string // scenario of a group
}

type gotTrue struct {
	got  string
	true int
}

func newPairs() *pairs {
	return &pairs{map[string]int{}, map[gotTrue]int{}, map[int]int{}, map[gotTrue]int{}, map[int]string{}}
}

func (p *pairs) add(i int, t *Truth, got string) {
	if t.Loose {
		return
	}
	chain := t.Chain
	if chain == 0 {
		chain = -1 - i // of no chain: alone
	}
	if t.Chain != 0 {
		p.group[t.Group]++
		p.name[t.Group] = t.Scenario
	}
	if got == "" {
		return
	}
	p.got[got]++
	p.same[gotTrue{got, chain}]++
	if t.Chain != 0 {
		p.joined[gotTrue{got, t.Group}]++
	}
}

func two(n int) int { return n * (n - 1) / 2 }

func (p *pairs) score(r *Report) {
	for _, n := range p.got {
		r.PairPrecision.Of += two(n)
	}
	for _, n := range p.same {
		r.PairPrecision.N += two(n)
	}
	for g, n := range p.group {
		r.PairRecall.Of += two(n)
		r.scenario(p.name[g]).Pairs.Of += two(n)
	}
	for k, n := range p.joined {
		r.PairRecall.N += two(n)
		r.scenario(p.name[k.true]).Pairs.N += two(n)
	}
}
