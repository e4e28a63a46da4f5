package main

import (
	"strconv"
	"time"
)

// generator renders the stream of agent events. Event i depends on the seed and
// i alone, so that any part of the stream can be made, and asked about, without
// the rest. Safe for concurrent use but for render's buffer.
//
// An event is one RFC 5424 line, whose message is a JSON object of 600 to 900
// bytes. Sessions, of which 4,096 are under way at a time, fix requester and
// agent; some three events share a trace; a request id belongs to one event.
type generator struct {
	seed  uint64
	vocab *vocabulary

	requesters, agents, toolRank, items zipf
	keys                                [6]uint64
}

const (
	windowEvents   = 1 << 16 // events in which one set of sessions is under way
	windowSessions = 4096
	traceWindow    = 1 << 12
	traces         = 1365 // in a trace window
	numRequesters  = 1200
	numAgents      = 140
	numItems       = 4000
	eventGap       = 60 * time.Millisecond // mean time between events

	minMessage, maxMessage = 600, 900 // bytes of the JSON object
)

// began is the time of event 0.
var began = time.Date(2026, 3, 2, 6, 0, 0, 0, time.UTC)

func newGenerator(seed uint64) *generator {
	g := &generator{
		seed: seed, vocab: newVocabulary(seed),
		requesters: newZipf(numRequesters, 0.9, 3), agents: newZipf(numAgents, 0.8, 3),
		toolRank: newZipf(len(tools), 0.9, 1.5), items: newZipf(numItems, 0.8, 10),
	}
	for i := range g.keys {
		g.keys[i] = mix(seed + uint64(i+1)*golden)
	}
	return g
}

// facts are what the generator knows of an event without rendering it.
type facts struct {
	session          uint64
	requester, agent int
	tool             int
	rest             stream // goes on with what is not a fact
}

func (g *generator) facts(i uint64) facts {
	f := facts{rest: stream(mix(i ^ g.keys[0]))}
	f.session = i/windowEvents*windowSessions + uint64(f.rest.below(windowSessions))
	s := stream(mix(f.session ^ g.keys[1]))
	f.requester = g.requesters.draw(&s)
	f.agent = g.agents.draw(&s)
	if sub := g.agents.draw(&s); f.rest.oneIn(5) {
		f.agent = sub // the session's sub-agent at work
	}
	f.tool = g.toolRank.draw(&f.rest)
	return f
}

func requesterName(k int) string {
	// 1,200 of the 1,600 combinations; 7 and 1,600 have no common divisor.
	k = k * 7 % (len(firstNames) * len(lastNames))
	return firstNames[k%len(firstNames)] + "." + lastNames[k/len(firstNames)] + "@example.com"
}

func agentName(k int) string {
	return agentKinds[k%len(agentKinds)] + "-" + strconv.Itoa(1+k/len(agentKinds))
}

// requestID is unlike that of any other event, and eventOf finds the way back.
func (g *generator) requestID(dst []byte, i uint64) []byte {
	hi := mix(i ^ g.keys[2])
	return appendHex(appendHex(append(dst, "req-"...), hi, 16), mix(hi+g.keys[3]), 16)
}

// eventOf returns the event that a request id belongs to; ok is false for an id
// that the generator never gave out.
func (g *generator) eventOf(id string) (i uint64, ok bool) {
	if len(id) != 36 {
		return 0, false
	}
	hi, err := strconv.ParseUint(id[4:20], 16, 64)
	if err != nil {
		return 0, false
	}
	i = unmix(hi) ^ g.keys[2]
	return i, string(g.requestID(nil, i)) == id
}

// planted returns at which event of its stratum number n the thing k stands; words come first, then phrases.
func (g *generator) planted(k int, n uint64) uint64 {
	s := stream(mix(n*64 + uint64(k) ^ g.keys[4]))
	return n*plantEvery + uint64(s.below(plantEvery))
}

// eventTime rises strictly with i.
func eventTime(i uint64) time.Time {
	gap := uint64(eventGap)
	jitter := mix(i) % (gap / uint64(time.Microsecond)) * uint64(time.Microsecond)
	return began.Add(time.Duration(i*gap + jitter))
}

// render appends the line of event i, without a newline.
func (g *generator) render(dst []byte, i uint64) []byte {
	f := g.facts(i)
	rng := &f.rest
	tl := &tools[f.tool]
	op := tl.operations[rng.below(len(tl.operations))]
	env := environments[rng.below(len(environments))]
	service := services[g.items.draw(rng)%len(services)]
	item := g.items.draw(rng)
	result := 0
	switch r := rng.below(100); {
	case r < 3:
		result = 1 // denied
	case r < 8:
		result = 2 // failed
	}
	event, decision := "tool_call", "allow"
	switch {
	case result == 1:
		event, decision = "policy_denied", "deny"
	case rng.oneIn(4):
		event = "tool_result"
	}
	var stamp [32]byte
	ts := eventTime(i).AppendFormat(stamp[:0], "2006-01-02T15:04:05.000000Z")

	dst = append(dst, "<134>1 "...)
	dst = append(dst, ts...)
	dst = append(dst, " gw-"...)
	dst = strconv.AppendInt(dst, 1+int64(f.session%24), 10)
	dst = append(dst, ".example.com "...)
	dst = append(dst, runtimes[f.session%uint64(len(runtimes))]...)
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, 1000+int64(f.session%90), 10)
	dst = append(append(dst, ' '), event...)
	dst = append(dst, " - "...)

	start := len(dst)
	field := func(key, value string) {
		dst = append(append(append(dst, `","`...), key...), `":"`...)
		dst = append(dst, value...)
	}
	dst = append(append(dst, `{"ts":"`...), ts...)
	field("level", levels[result])
	field("event", event)
	field("request_id", "")
	dst = g.requestID(dst, i)
	t := i/traceWindow*traces + uint64(rng.below(traces))
	field("trace_id", "")
	trace := mix(t ^ g.keys[5])
	dst = appendHex(appendHex(dst, trace, 16), mix(trace+g.keys[4]), 16)
	field("span_id", "")
	dst = appendHex(dst, mix(i+g.keys[5]), 16)
	field("session_id", "sess-")
	dst = appendHex(dst, mix(f.session^g.keys[3]), 12)
	field("requester", requesterName(f.requester))
	field("agent", agentName(f.agent))
	field("tool", tl.name)
	field("operation", op)
	field("target", tl.target)
	dst = append(append(dst, '/'), env...)
	dst = append(append(dst, '/'), service...)
	dst = append(dst, "/item-"...)
	dst = strconv.AppendInt(dst, int64(item), 10)
	field("permission", tl.name)
	dst = append(append(dst, ':'), op...)
	dst = append(append(dst, ':'), env...)
	field("policy", agentKinds[f.agent%len(agentKinds)])
	dst = append(append(dst, '-'), env...)
	field("decision", decision)
	field("status", statuses[result])
	dst = append(dst, `","duration_ms":`...)
	dst = strconv.AppendInt(dst, int64(1+rng.below(40)*rng.below(60)), 10)
	dst = append(dst, `,"message":"`...)
	room := minMessage + 100 + rng.below(maxMessage-minMessage-130) - (len(dst) - start) - len(`"}`) // 30 to spare for what is planted
	dst = g.text(dst, i, rng, room)
	return append(dst, `"}`...)
}

// text appends words of at most room bytes in all, with what is planted in event i.
func (g *generator) text(dst []byte, i uint64, rng *stream, room int) []byte {
	v := g.vocab
	var plants [4]string
	planted := plants[:0]
	n := i / plantEvery
	for k := range v.rare {
		if g.planted(k, n) == i {
			planted = append(planted, v.rare[k])
		}
	}
	for k, p := range v.phrases {
		if g.planted(plantedWords+k, n) == i {
			planted = append(planted, v.words[p[0]]+" "+v.words[p[1]])
		}
	}
	end, keep, last := len(dst)+room, 0, -1
	word := func(w int) {
		dst = append(append(dst, v.words[w]...), ' ')
		last = w
	}
	for k := 0; len(dst) <= end || len(planted) > 0; k++ {
		switch {
		case len(planted) > 0 && (k%3 == 1 || len(dst) > end):
			// The neighbours need no care: no first word of a phrase is the second of another.
			dst = append(append(dst, planted[0]...), ' ')
			planted, keep, last = planted[1:], len(dst), -1
		case rng.below(10) < 3:
			for range 2 + rng.below(3) {
				w := v.rank.draw(rng)
				if last >= 0 && int(v.follower[last]) == w+1 {
					w = (w + 7) % vocabularySize
				}
				word(w)
			}
		default:
			for _, w := range v.clauses[v.clauseRank.draw(rng)] {
				word(int(w)) // in no phrase
			}
		}
	}
	// Cut behind the last word that there is room for, and never what was planted.
	for at := len(dst); at >= keep; at-- {
		if dst[at-1] == ' ' && (at <= end+1 || at == keep) {
			return dst[:at-1]
		}
	}
	return dst[:len(dst)-1]
}

const hexDigits = "0123456789abcdef"

// appendHex appends the n low hexadecimal digits of x.
func appendHex(dst []byte, x uint64, n int) []byte {
	for k := n - 1; k >= 0; k-- {
		dst = append(dst, hexDigits[x>>(4*k)&15])
	}
	return dst
}
