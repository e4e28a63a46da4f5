package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"time"
)

// page is an answer of GET /api/v1/records, as far as it is checked.
type page struct {
	Records []struct {
		Chain struct {
			RequestID string `json:"request_id"`
		} `json:"chain"`
		Raw string `json:"raw"`
	} `json:"records"`
	NextCursor string `json:"next_cursor"`
}

// facets is an answer of GET /api/v1/facets.
type facets struct {
	Facets []struct {
		Values []struct {
			Value string `json:"value"`
			Count uint64 `json:"count"`
		} `json:"values"`
		Other  uint64 `json:"other"`
		Absent uint64 `json:"absent"`
	} `json:"facets"`
}

// question is one request with what the answer must be.
type question struct {
	path  string
	check func(body []byte) error
}

// querySet is the questions of one row of the table. The first warm of them are not timed.
type querySet struct {
	name      string
	questions []question
	warm      int
}

// checked counts what was compared with the generator.
type checked struct{ answers, hits int }

func requestQuery(g *generator, i uint64) string {
	return `chain.request_id:"` + string(g.requestID(nil, i)) + `"`
}

const mostHits = 1000 // of one page

// querySets builds the questions about t. A set has about n questions, that of
// the request ids has requests of them, all distinct.
func querySets(t *truth, n, requests int, c *checked) []querySet {
	exactly := func(want []uint64, more bool) func([]byte) error {
		return func(body []byte) error { return checkHits(t.gen, body, want, more, c) }
	}
	listed := func(query string, limit int, all []uint64) question {
		want := all[:min(limit, len(all))]
		return question{searchPath(query, limit), exactly(want, len(all) > len(want))}
	}
	cycled := func(name string, some []question) querySet {
		q := querySet{name: name}
		if len(some) > 0 {
			q.warm = min(len(some), 20)
			for k := range n + q.warm {
				q.questions = append(q.questions, some[k%len(some)])
			}
		}
		return q
	}

	byID := querySet{name: rowRequest}
	for _, i := range t.requests(requests + 100) {
		byID.questions = append(byID.questions, listed(requestQuery(t.gen, i), 50, []uint64{i}))
	}
	byID.warm = min(100, len(byID.questions)/10)

	var pairs, words, phrases []question
	for _, p := range t.pairs {
		q := `requester.id:"` + requesterName(p.requester) + `" executor.id:"` + agentName(p.agent) + `"`
		// There may be more than the newest: whether a next page is promised is not checked.
		want := t.newest[p]
		pairs = append(pairs, question{searchPath(q, pairDepth), func(body []byte) error { return checkNewest(t.gen, body, want, c) }})
	}
	v := t.gen.vocab
	for k, w := range v.rare {
		words = append(words, listed(w, mostHits, t.plants(k)))
	}
	for k, p := range v.phrases {
		phrases = append(phrases, listed(`"`+v.words[p[0]]+" "+v.words[p[1]]+`"`, mostHits, t.plants(plantedWords+k)))
	}
	byTool := question{"/api/v1/facets?field=action.tool&top=1000", func(body []byte) error { return checkTools(t, body, c) }}
	newest := t.last(lastDepth)
	last := question{"/api/v1/records?limit=" + fmt.Sprint(lastDepth), func(body []byte) error { return checkNewest(t.gen, body, newest, c) }}
	return []querySet{
		byID, cycled(rowPair, pairs), cycled(rowWord, words), cycled(rowPhrase, phrases),
		cycled(rowTool, []question{byTool}), cycled(rowLast, []question{last}),
	}
}

const (
	pairDepth = 50
	lastDepth = 50
)

// ask puts the questions of a set one after the other and returns the times of
// the answers that were timed. An answer that is wrong is told to wrong and does
// not end the set.
func ask(ctx context.Context, s *server, set querySet, wrong func(string)) ([]time.Duration, error) {
	var took []time.Duration
	for k, q := range set.questions {
		body, d, err := s.fetch(ctx, q.path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", set.name, err)
		}
		if k >= set.warm {
			took = append(took, d)
		}
		if err := q.check(body); err != nil {
			wrong(fmt.Sprintf("%s: %s: %v", set.name, q.path, err))
		}
	}
	return took, nil
}

// checkHits compares an answer with the events it must list, in their order, by
// their original lines.
func checkHits(g *generator, body []byte, want []uint64, more bool, c *checked) error {
	var p page
	if err := json.Unmarshal(body, &p); err != nil {
		return err
	}
	if (p.NextCursor != "") != more {
		return fmt.Errorf("a next page is promised: %v, there is one: %v", p.NextCursor != "", more)
	}
	return compare(g, &p, want, c)
}

func checkNewest(g *generator, body []byte, want []uint64, c *checked) error {
	var p page
	if err := json.Unmarshal(body, &p); err != nil {
		return err
	}
	return compare(g, &p, want, c)
}

func compare(g *generator, p *page, want []uint64, c *checked) error {
	c.answers++
	if len(p.Records) != len(want) {
		return fmt.Errorf("%d hits, not %d", len(p.Records), len(want))
	}
	var line []byte
	for k, r := range p.Records {
		i, ok := g.eventOf(r.Chain.RequestID)
		if !ok {
			return fmt.Errorf("hit %d: request id %q was never sent", k, r.Chain.RequestID)
		}
		if i != want[k] {
			return fmt.Errorf("hit %d is event %d, not %d", k, i, want[k])
		}
		if line = g.render(line[:0], i); string(line) != r.Raw {
			return fmt.Errorf("hit %d: the line of event %d was changed to %q", k, i, r.Raw)
		}
		c.hits++
	}
	return nil
}

func checkTools(t *truth, body []byte, c *checked) error {
	var f facets
	if err := json.Unmarshal(body, &f); err != nil {
		return err
	}
	c.answers++
	if len(f.Facets) != 1 || f.Facets[0].Other != 0 || f.Facets[0].Absent != 0 {
		return fmt.Errorf("not one whole facet: %s", tail(string(body), 300))
	}
	got := make(map[string]uint64)
	for _, v := range f.Facets[0].Values {
		got[v.Value] = v.Count
		c.hits++
	}
	if !maps.Equal(got, t.byTool) {
		return fmt.Errorf("counted %v, sent %v", got, t.byTool)
	}
	return nil
}

// checkCounts compares what the server counts as a whole, and what it says of
// its sources, with the events that were sent.
func checkCounts(ctx context.Context, s *server, t *truth, c *checked) error {
	var all struct {
		Count uint64 `json:"count"`
	}
	if err := s.get(ctx, "/api/v1/count", &all); err != nil {
		return err
	}
	if all.Count != t.events {
		return fmt.Errorf("count: %d records, %d events were sent", all.Count, t.events)
	}
	for k, w := range t.gen.vocab.rare[:3] {
		if err := s.get(ctx, "/api/v1/count?q="+url.QueryEscape(w), &all); err != nil {
			return err
		}
		if want := uint64(len(t.plants(k))); all.Count != want {
			return fmt.Errorf("count of %q: %d, planted %d times", w, all.Count, want)
		}
	}
	var src struct {
		Sources []struct {
			Name                            string
			Lines, Malformed, Gaps, Dropped uint64
		} `json:"sources"`
	}
	if err := s.get(ctx, "/api/v1/sources", &src); err != nil {
		return err
	}
	var lines uint64
	for _, x := range src.Sources {
		lines += x.Lines
		if x.Malformed+x.Gaps+x.Dropped != 0 {
			return fmt.Errorf("source %s: %d malformed, %d gaps, %d dropped", x.Name, x.Malformed, x.Gaps, x.Dropped)
		}
	}
	if lines != t.events {
		return fmt.Errorf("sources: %d lines received, %d were sent", lines, t.events)
	}
	c.answers += 5
	return nil
}

// percentile of sorted or unsorted values, by the nearest rank; 0 without any.
func percentile(values []time.Duration, p float64) time.Duration {
	if len(values) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(values))
	k := int(p*float64(len(s))+0.5) - 1
	return s[max(0, min(k, len(s)-1))]
}
