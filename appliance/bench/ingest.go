package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// sample is the state at one moment of an ingest.
type sample struct {
	at                  time.Duration // since the first byte
	durable, searchable uint64
}

// ingested is what sending a whole stream measured. Times count from the first byte.
type ingested struct {
	Durable    time.Duration // to the last event counted as durable
	Searchable time.Duration // to the last event counted as searchable
	CPU        time.Duration // of custody, up to then
	Sender     time.Duration // CPU of the generator with its polling and its open page, up to then
	Lag        time.Duration // longest time an event was durable and not yet searchable
	Memory     [10]memory    // the most while each tenth of the events became searchable
	Peak       int64         // resident bytes, up to then
}

const (
	pollPace = 20 * time.Millisecond
	// stall is how long nothing may move before an ingest is given up.
	stall = 60 * time.Second
)

// ingest sends the file over one TCP connection and follows it until the server
// counts the last event as durable and as searchable. Before it, the server must
// have counted none.
func ingest(ctx context.Context, s *server, file *streamFile) (*ingested, error) {
	f, err := os.Open(file.Path)
	if err != nil {
		return nil, fmt.Errorf("open stream: %w", err)
	}
	defer f.Close()
	if st, err := s.status(ctx); err != nil || st.Events.Durable != 0 {
		return nil, fmt.Errorf("begin ingest: %d events are there already (%w)", st.Events.Durable, err)
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", s.syslog)
	if err != nil {
		return nil, fmt.Errorf("connect to the syslog listener: %w", err)
	}
	defer conn.Close()
	before, err := processTime(s.pid())
	if err != nil {
		return nil, err
	}
	own := ownTime()
	sent := make(chan error, 1)
	start := time.Now()
	go func() {
		_, err := io.Copy(conn, f) // the kernel copies from file to socket
		sent <- err
	}()
	m := new(ingested)
	err = m.follow(ctx, s, file.Events, start, sent)
	if err != nil {
		conn.Close()
		return nil, err
	}
	after, err := processTime(s.pid())
	if err != nil {
		return nil, err
	}
	m.CPU, m.Sender = after-before, ownTime()-own
	mem, err := processMemory(s.pid())
	m.Peak = mem.Peak
	return m, err
}

func (m *ingested) follow(ctx context.Context, s *server, events uint64, start time.Time, sent <-chan error) error {
	var samples []sample
	moved := start
	for {
		st, err := s.status(ctx)
		if err != nil {
			return err
		}
		now := sample{time.Since(start), st.Events.Durable, st.Events.Searchable}
		if n := len(samples); n > 0 && (now.durable > samples[n-1].durable || now.searchable > samples[n-1].searchable) {
			moved = time.Now()
		}
		samples = append(samples, now)
		if now.durable > events {
			return fmt.Errorf("follow ingest: %d events counted, %d sent", now.durable, events)
		}
		if m.Durable == 0 && now.durable == events {
			m.Durable = now.at
		}
		mem, err := processMemory(s.pid())
		if err != nil {
			return err
		}
		most := &m.Memory[min(9, now.searchable*10/events)]
		most.Present, most.Own = max(most.Present, mem.Present), max(most.Own, mem.Own)
		if now.durable == events && now.searchable == events {
			m.Searchable = now.at
			m.Lag = longestLag(samples)
			return nil
		}
		if time.Since(moved) > stall {
			return fmt.Errorf("follow ingest: nothing moved for %s: of %d events %d are durable and %d searchable", stall, events, now.durable, now.searchable)
		}
		select {
		case err := <-sent:
			if err != nil {
				return fmt.Errorf("send stream: %w", err)
			}
			sent = nil
		default:
		}
		if err := s.pause(ctx, pollPace); err != nil {
			return err
		}
	}
}

// growth compares the memory of the later tenths, not backed by files, with that
// of the earlier ones without the first, in which the process warms up: 1 is flat.
func (m *ingested) growth() float64 {
	most := func(of []memory) (v int64) {
		for _, x := range of {
			v = max(v, x.Own)
		}
		return v
	}
	early := most(m.Memory[1:5])
	if early == 0 {
		return 1 // over before it was looked at
	}
	return float64(most(m.Memory[5:])) / float64(early)
}

// longestLag is the longest time from the sample in which an event is first
// counted as durable to the one in which it is first counted as searchable.
func longestLag(samples []sample) time.Duration {
	var most time.Duration
	d := 0 // the first sample that counts the event in question as durable
	for k, s := range samples {
		// The next event to become searchable was durable at the first sample past it.
		from := uint64(0)
		if k > 0 {
			from = samples[k-1].searchable
		}
		if s.searchable == from {
			continue
		}
		for d < k && samples[d].durable <= from {
			d++
		}
		most = max(most, s.at-samples[d].at)
	}
	return most
}

// alone is how long one event took on an idle server.
type alone struct{ Durable, Searchable time.Duration }

// sendAlone sends event i by itself and waits until status counts it and a search finds it.
func sendAlone(ctx context.Context, s *server, conn net.Conn, g *generator, i uint64) (alone, error) {
	frame, _ := appendFrame(nil, nil, g, i)
	find := searchPath(requestQuery(g, i), 10)
	const limit = 20 * time.Second
	start := time.Now()
	if _, err := conn.Write(frame); err != nil {
		return alone{}, fmt.Errorf("send one event: %w", err)
	}
	var a alone
	for a.Durable == 0 {
		st, err := s.status(ctx)
		if err != nil {
			return a, err
		}
		if st.Events.Durable > i {
			a.Durable = time.Since(start)
		} else if time.Since(start) > limit {
			return a, fmt.Errorf("send one event: not durable after %s", limit)
		}
	}
	for a.Searchable == 0 {
		var p page
		if err := s.get(ctx, find, &p); err != nil {
			return a, err
		}
		if len(p.Records) > 0 {
			a.Searchable = time.Since(start)
		} else if time.Since(start) > limit {
			return a, fmt.Errorf("send one event: not found after %s", limit)
		}
	}
	return a, nil
}
