package main

import (
	"sort"
)

// pair is a requester and an agent.
type pair struct{ requester, agent int }

// truth is what the first events of a stream hold, computed without reading
// what any server made of them.
type truth struct {
	gen    *generator
	events uint64
	byTool map[string]uint64
	// newest are the newest events of each chosen pair, newest first.
	newest map[pair][]uint64
	pairs  []pair // the chosen ones, in the order of choice
}

// newTruth passes over the first events of g's stream and picks up to wanted
// pairs that have at least depth events, as often as they occur; depth is how many
// of the newest it remembers of each.
func newTruth(g *generator, events uint64, wanted, depth int) *truth {
	t := &truth{gen: g, events: events, byTool: make(map[string]uint64), newest: make(map[pair][]uint64)}
	total := make(map[pair]int)
	count := make([]uint64, len(tools))
	for i := range events {
		f := g.facts(i)
		count[f.tool]++
		total[pair{f.requester, f.agent}]++
	}
	for k, n := range count {
		if n > 0 {
			t.byTool[tools[k].name] = n
		}
	}
	rng := stream(mix(g.seed ^ 0x7061697273))
	for tries := 0; len(t.pairs) < wanted && tries < 200*wanted && events > 0; tries++ {
		f := g.facts(uint64(rng.below(int(events))))
		p := pair{f.requester, f.agent}
		if _, chosen := t.newest[p]; chosen || total[p] < depth {
			continue
		}
		t.newest[p] = make([]uint64, 0, depth)
		t.pairs = append(t.pairs, p)
	}
	for i, open := events, len(t.pairs); i > 0 && open > 0; i-- {
		f := g.facts(i - 1)
		p := pair{f.requester, f.agent}
		if l, chosen := t.newest[p]; chosen && len(l) < depth {
			t.newest[p] = append(l, i-1)
			if len(l)+1 == depth {
				open--
			}
		}
	}
	return t
}

// requests are n seeded, distinct events, to be asked for by their request id.
func (t *truth) requests(n int) []uint64 {
	rng := stream(mix(t.gen.seed ^ 0x72657175))
	seen := make(map[uint64]bool)
	var out []uint64
	for uint64(len(out)) < min(uint64(n), t.events) {
		i := uint64(rng.below(int(t.events)))
		if !seen[i] {
			seen[i] = true
			out = append(out, i)
		}
	}
	return out
}

// plants are the events in which thing k (words first, then phrases) stands, newest first.
func (t *truth) plants(k int) []uint64 {
	var out []uint64
	for n := uint64(0); n*plantEvery < t.events; n++ {
		if i := t.gen.planted(k, n); i < t.events {
			out = append(out, i)
		}
	}
	sort.Slice(out, func(a, b int) bool { return out[a] > out[b] })
	return out
}

// last are the newest n events.
func (t *truth) last(n int) []uint64 {
	var out []uint64
	for i := t.events; i > 0 && len(out) < n; i-- {
		out = append(out, i-1)
	}
	return out
}
