package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// setting is where and with what the benchmark ran.
type setting struct {
	when      time.Time
	machine   []string
	custody   string
	rsyslog   string
	noRsyslog string // why there is no yardstick
}

// report is everything that was measured.
type report struct {
	setting
	opt     options
	file    streamFile
	results []*result
	big     *result
	checked checked
	wrong   []string
}

// The rows of queries.
const (
	rowRequest = "request id"
	rowPair    = "requester+agent newest 50"
	rowWord    = "rare word, all hits"
	rowPhrase  = "two-word phrase, all hits"
	rowTool    = "count by tool"
	rowLast    = "last 50"
)

// gate is one row of the table: the value is compared with floor and aim.
type gate struct {
	name       string
	floor, aim float64
	atLeast    bool // more is better
	value      float64
	spread     string // of the single runs
	show       func(float64) string
	note       string
}

func (g gate) verdict() string {
	meets := func(limit float64) bool {
		if g.atLeast {
			return g.value >= limit
		}
		return g.value <= limit
	}
	switch {
	case g.aim != 0 && meets(g.aim):
		return "aim met"
	case meets(g.floor):
		return "floor met"
	}
	return "**missed**"
}

func (g gate) met() bool { return g.verdict() != "**missed**" }

// median of the runs, and the range they span.
func (r *report) median(of func(*result) float64, show func(float64) string) (float64, string) {
	var v []float64
	for _, x := range r.results {
		v = append(v, of(x))
	}
	slices.Sort(v)
	m := v[len(v)/2]
	if len(v)%2 == 0 {
		m = (v[len(v)/2-1] + m) / 2
	}
	if len(v) == 1 {
		return m, ""
	}
	return m, show(v[0]) + " – " + show(v[len(v)-1])
}

func (r *report) gates() []gate {
	events := float64(r.file.Events)
	millions := events / 1e6
	var out []gate
	add := func(name string, floor, aim float64, atLeast bool, show func(float64) string, note string, of func(*result) float64) {
		g := gate{name: name, floor: floor, aim: aim, atLeast: atLeast, show: show, note: note}
		g.value, g.spread = r.median(of, show)
		out = append(out, g)
	}
	add("durable events/s", 60_000, 80_000, true, grouped, "first byte sent to last event counted", func(x *result) float64 { return events / x.Durable.Seconds() })
	add("searchable events/s", 50_000, 70_000, true, grouped, "the same", func(x *result) float64 { return events / x.Searchable.Seconds() })
	add("CPU seconds per million", 30, 22, false, oneDigit, "custody process, until searchable", func(x *result) float64 { return x.CPU.Seconds() / millions })
	add("peak memory", 1<<30, 1<<29, false, mebibytes, "peak RSS of the whole run", func(x *result) float64 { return float64(x.PeakWhole) })
	add("bytes per event", 240, 200, false, oneDigit, "du of the whole data folder, after packing", func(x *result) float64 { return float64(x.Disk) / events })
	query := func(row string, floor, aim float64) {
		p95, _ := r.median(func(x *result) float64 { return float64(percentile(x.Queries[row], 0.95)) }, number)
		n := 0
		if len(r.results) > 0 {
			n = len(r.results[0].Queries[row])
		}
		if n == 0 {
			return // too few events to ask
		}
		add(row+", p50", floor*1e6, aim*1e6, false, millisOf, fmt.Sprintf("p95 %s; %d answers a run", millisOf(p95), n),
			func(x *result) float64 { return float64(percentile(x.Queries[row], 0.5)) })
	}
	query(rowRequest, 3, 1)
	query(rowPair, 5, 3)
	query(rowWord, 40, 20)
	query(rowPhrase, 100, 40)
	query(rowTool, 30, 5)
	query(rowLast, 5, 1)
	single := func(name string, floor, aim float64, of func(alone) time.Duration) {
		at := func(p float64) func(*result) float64 {
			return func(x *result) float64 {
				var v []time.Duration
				for _, a := range x.Alone {
					v = append(v, of(a))
				}
				return float64(percentile(v, p))
			}
		}
		p95, _ := r.median(at(0.95), number)
		add("one event alone, "+name, floor*1e6, aim*1e6, false, millisOf, fmt.Sprintf("p95 %s; idle server, %d tries a run", millisOf(p95), r.opt.tries), at(0.5))
	}
	single("durable", 50, 10, func(a alone) time.Duration { return a.Durable })
	single("searchable", 1000, 100, func(a alone) time.Duration { return a.Searchable })
	return append(out, r.bigGates(out[0].value, out[1].value)...)
}

// bigGates compares the big run with the rates of the others.
func (r *report) bigGates(durable, searchable float64) []gate {
	if r.big == nil {
		return nil
	}
	events, b := float64(r.opt.bigEvents), r.big
	name := short(r.opt.bigEvents) + " events: "
	percent := func(v float64) string { return fmt.Sprintf("%.0f %%", v) }
	d, s := events/b.Durable.Seconds(), events/b.Searchable.Seconds()
	return []gate{
		{name + "durable rate", 90, 0, true, 100 * d / durable, "", percent, grouped(d) + "/s"},
		{name + "searchable rate", 90, 0, true, 100 * s / searchable, "", percent, grouped(s) + "/s"},
		{name + "index lag", 5, 0, false, b.Lag.Seconds(), "", seconds, "longest from durable to searchable"},
		{name + "peak memory", 1 << 30, 1 << 29, false, float64(b.PeakWhole), "", mebibytes, "peak RSS of the whole run"},
		{name + "memory growth", 110, 0, false, 100 * b.growth(), "", percent, "highest of the later half to that of the earlier half, what files back left out"},
	}
}

func (r *report) markdown() string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("# Benchmark")
	p("")
	p("What `make bench` measured. It runs the whole product with decoding, sealing and indexing on and a search page with its live tail open, " +
		"and compares every answer with what was sent.")
	p("")
	p("- Date: %s", r.when.Format("2 January 2006, 15:04 MST"))
	for _, m := range r.machine {
		p("- Machine: %s", m)
	}
	p("- Versions: %s; yardstick: %s", r.custody, first(r.rsyslog, r.noRsyslog))
	p("- Stream: %s seeded agent events (seed %d), RFC 5424, octet-counted, %.0f bytes a line, over one TCP connection", grouped(float64(r.file.Events)), r.file.Seed,
		float64(r.file.Lines)/float64(r.file.Events))
	p("- Runs: %d, each on a fresh data folder; the table has their medians", len(r.results))
	p("")
	p("| gate | floor | aim | measured | runs | | measured as |")
	p("|---|---|---|---|---|---|---|")
	for _, g := range r.gates() {
		aim := "–"
		if g.aim != 0 {
			aim = g.show(g.aim)
		}
		p("| %s | %s | %s | **%s** | %s | %s | %s |", g.name, g.show(g.floor), aim, g.show(g.value), first(g.spread, "–"), g.verdict(), g.note)
	}
	p("")
	r.yardstick(p)
	r.beside(p)
	p("## Checks")
	p("")
	if len(r.wrong) == 0 {
		p("%s answers with %s hits and counts were compared with the generator, lines byte by byte: all are right.",
			grouped(float64(r.checked.answers)), grouped(float64(r.checked.hits)))
	} else {
		p("**%d answers were wrong.** The first:", len(r.wrong))
		p("")
		for _, w := range r.wrong[:min(len(r.wrong), 10)] {
			p("    %s", strings.ReplaceAll(tail(w, 400), "\n", " "))
		}
	}
	p("")
	p("## How it is measured")
	p("")
	p("- Rates: from the first byte sent to the moment `GET /api/v1/status`, asked every %d ms, counts the last event.", pollPace.Milliseconds())
	p("- Searchable is what a search finds: what is indexed, and the newest events behind it while they are few enough to be scanned.")
	p("- CPU: user and system time of the custody process (`/proc`). The generator sends a rendered file and its time is counted apart.")
	p("- Queries: over HTTP with keep-alive, one after the other, from the request to the last byte, at rest after packing, warmed by other values where there are any; " +
		"custody has no cache of results. Request ids are distinct and seeded; pairs are drawn as often as they occur, among those with 50 events or more.")
	p("- Words: each rare word and each phrase stands once in %s events; each word of a phrase stands in two to four of a thousand events by itself.", grouped(plantEvery))
	p("- One event alone: until `status` counts it, and until a search finds it.")
	p("- Stream: 4,096 sessions are under way at a time and fix requester and agent; three events share a trace, each has a request id of its own; "+
		"the text is of a Zipf vocabulary of %s words, free and in clauses that come again.", grouped(vocabularySize))
	return b.String()
}

// yardstick is the table of rsyslogd beside custody.
func (r *report) yardstick(p func(string, ...any)) {
	p("## Beside rsyslog")
	p("")
	if r.opt.rsyslog == "" {
		p("Left out: %s.", r.noRsyslog)
		p("")
		return
	}
	events := float64(r.file.Events)
	of := func(f func(*result) float64) float64 { v, _ := r.median(f, number); return v }
	p("rsyslogd takes the same stream in the same run and writes it to a file: no fsync, no seals, no index.")
	p("")
	p("| | events/s | CPU s per million | peak RSS | bytes per event |")
	p("|---|---|---|---|---|")
	p("| %s | %s | %.1f | %s | %.0f |", r.rsyslog,
		grouped(of(func(x *result) float64 { return events / x.Rsyslog.Took.Seconds() })),
		of(func(x *result) float64 { return x.Rsyslog.CPU.Seconds() / events * 1e6 }),
		mebibytes(of(func(x *result) float64 { return float64(x.Rsyslog.Peak) })),
		of(func(x *result) float64 { return float64(x.Rsyslog.Disk) / events }))
	p("| custody, searchable | %s | %.1f | %s | %.0f |",
		grouped(of(func(x *result) float64 { return events / x.Searchable.Seconds() })),
		of(func(x *result) float64 { return x.CPU.Seconds() / events * 1e6 }),
		mebibytes(of(func(x *result) float64 { return float64(x.PeakWhole) })),
		of(func(x *result) float64 { return float64(x.Disk) / events }))
	p("")
}

// beside is what is worth knowing and no gate.
func (r *report) beside(p func(string, ...any)) {
	events := float64(r.file.Events)
	of := func(f func(*result) float64) float64 { v, _ := r.median(f, number); return v }
	p("## Beside the gates")
	p("")
	p("| | median |")
	p("|---|---|")
	p("| CPU seconds per million, packing included | %.1f |", of(func(x *result) float64 { return (x.CPU + x.Packing).Seconds() / events * 1e6 }))
	p("| CPU seconds per million of the generator, its polling and its open page | %.1f |", of(func(x *result) float64 { return x.Sender.Seconds() / events * 1e6 }))
	p("| peak RSS until all was searchable | %s |", mebibytes(of(func(x *result) float64 { return float64(x.Peak) })))
	p("| longest time from durable to searchable | %s |", seconds(of(func(x *result) float64 { return x.Lag.Seconds() })))
	p("| bytes per event before packing | %.1f |", of(func(x *result) float64 { return float64(x.DiskOpen) / events }))
	part := func(name string) float64 {
		return of(func(x *result) float64 { return float64(x.Parts[name]) / events })
	}
	p("| bytes per event after packing: records, search index, sealed log, rest | %.1f, %.1f, %.1f, %.1f |", part("records"), part("search"), part("log"), part("rest"))
	if r.big != nil {
		n := float64(r.opt.bigEvents)
		p("| %s events: CPU seconds per million, packing as it goes | %.1f |", short(r.opt.bigEvents), r.big.CPU.Seconds()/n*1e6)
		p("| %s events: bytes per event, the last segment not packed | %.1f |", short(r.opt.bigEvents), float64(r.big.Disk)/n)
		for _, row := range []string{rowRequest, rowPair, rowWord, rowPhrase, rowTool, rowLast} {
			if q := r.big.Queries[row]; len(q) > 0 {
				p("| %s events: %s, p50 / p95 | %s / %s |", short(r.opt.bigEvents), row, millis(percentile(q, 0.5)), millis(percentile(q, 0.95)))
			}
		}
	}
	p("")
	if r.big != nil {
		p("Memory of the big run, the most while each tenth of the events became searchable, resident (of it not backed by files):")
		p("")
		var all []string
		for _, m := range r.big.Memory {
			all = append(all, fmt.Sprintf("%s (%s)", mebibytes(float64(m.Present)), mebibytes(float64(m.Own))))
		}
		p("%s", strings.Join(all, ", "))
		p("")
	}
}

// summary is the report in one line.
func (r *report) summary() string {
	gates := r.gates()
	met := 0
	var missed []string
	for _, g := range gates {
		if g.met() {
			met++
		} else {
			missed = append(missed, g.name+" "+g.show(g.value))
		}
	}
	s := fmt.Sprintf("%d of %d gates met; durable %s/s, searchable %s/s, %s CPU s per million, %s, %s bytes an event; %d wrong answers",
		met, len(gates), gates[0].show(gates[0].value), gates[1].show(gates[1].value), gates[2].show(gates[2].value), gates[3].show(gates[3].value),
		gates[4].show(gates[4].value), len(r.wrong))
	if len(missed) > 0 {
		s += "; missed: " + strings.Join(missed, ", ")
	}
	return s
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func number(v float64) string    { return fmt.Sprint(v) }
func oneDigit(v float64) string  { return fmt.Sprintf("%.1f", v) }
func seconds(v float64) string   { return fmt.Sprintf("%.1f s", v) }
func mebibytes(v float64) string { return fmt.Sprintf("%.0f MiB", v/(1<<20)) }

// millisOf shows nanoseconds as milliseconds.
func millisOf(ns float64) string { return millis(time.Duration(ns)) }

func millis(d time.Duration) string {
	ms := d.Seconds() * 1e3
	switch {
	case ms >= 100:
		return fmt.Sprintf("%.0f ms", ms)
	case ms >= 10:
		return fmt.Sprintf("%.1f ms", ms)
	}
	return fmt.Sprintf("%.2f ms", ms)
}

func perSecond(events uint64, d time.Duration) string {
	return grouped(float64(events)/d.Seconds()) + "/s"
}

// grouped shows a whole number with its thousands apart.
func grouped(v float64) string {
	s := fmt.Sprintf("%.0f", v)
	for k := len(s) - 3; k > 0; k -= 3 {
		s = s[:k] + "," + s[k:]
	}
	return s
}

// short shows whole millions and thousands as such.
func short(n uint64) string {
	switch {
	case n%1_000_000 == 0:
		return fmt.Sprintf("%d M", n/1_000_000)
	case n%1000 == 0:
		return fmt.Sprintf("%d k", n/1000)
	}
	return fmt.Sprint(n)
}
