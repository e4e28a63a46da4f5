package appliance

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"custody/index"
)

// metrics is the handler of /metrics, over a registry of this appliance's own.
func (a *Appliance) metrics() http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(
		newLedgerCollector(a.ledger),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "custody_build_info", Help: "Always 1; the version is a label.", ConstLabels: prometheus.Labels{"version": a.opt.Version},
		}, func() float64 { return 1 }),
	)
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 4})
}

// watched is what metrics read of the ledger.
type watched interface {
	Status() index.Status
	Sources() []index.SourceStatus
}

// ledgerCollector reads the ledger when somebody scrapes; nothing is counted twice.
type ledgerCollector struct {
	ledger  watched
	state   []stateMetric
	sources []sourceMetric
}

type stateMetric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(index.Status) float64
}

type sourceMetric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(index.SourceStatus) float64
}

func newLedgerCollector(l watched) *ledgerCollector {
	state := func(name, help string, kind prometheus.ValueType, read func(index.Status) float64) stateMetric {
		return stateMetric{prometheus.NewDesc("custody_"+name, help, nil, nil), kind, read}
	}
	source := func(name, help string, kind prometheus.ValueType, read func(index.SourceStatus) float64) sourceMetric {
		return sourceMetric{prometheus.NewDesc("custody_source_"+name, help, []string{"source", "transport", "tenant"}, nil), kind, read}
	}
	const counter, gauge = prometheus.CounterValue, prometheus.GaugeValue
	return &ledgerCollector{
		ledger: l,
		state: []stateMetric{
			state("durable_events_total", "Events ever made durable: what is counted here survives a crash.", counter,
				func(s index.Status) float64 { return float64(s.Durable) }),
			state("sealed_events_total", "Events under the newest checkpoint.", counter,
				func(s index.Status) float64 { return float64(s.Sealed) }),
			state("searchable_events_total", "Events in the search index; the rest is scanned.", counter,
				func(s index.Status) float64 { return float64(s.Searchable) }),
			state("rows_total", "Rows of the store, custody's own included.", counter,
				func(s index.Status) float64 { return float64(s.Rows) }),
			state("log_entries", "Entries under the newest checkpoint.", gauge,
				func(s index.Status) float64 { return float64(s.TreeSize) }),
			state("last_checkpoint_timestamp_seconds", "When the newest checkpoint was made.", gauge,
				func(s index.Status) float64 {
					if s.LastSealed.IsZero() {
						return 0
					}
					return float64(s.LastSealed.UnixMilli()) / 1e3
				}),
			state("segments", "Storage segments.", gauge, func(s index.Status) float64 { return float64(s.Segments) }),
			state("data_bytes", "Size of the data folder.", gauge, func(s index.Status) float64 { return float64(s.Bytes) }),
			state("disk_free_bytes", "Free space on the data disk.", gauge, func(s index.Status) float64 { return float64(s.Free) }),
			state("queue_bytes", "Received and not yet durable.", gauge, func(s index.Status) float64 { return float64(s.QueueBytes) }),
			state("fault", "1 while nothing is taken in.", gauge, func(s index.Status) float64 {
				if s.Fault != "" {
					return 1
				}
				return 0
			}),
		},
		sources: []sourceMetric{
			source("lines_total", "Lines taken in since the start.", counter, func(s index.SourceStatus) float64 { return float64(s.Lines) }),
			source("malformed_total", "Lines that could not be decoded.", counter, func(s index.SourceStatus) float64 { return float64(s.Malformed) }),
			source("gaps_total", "Gaps stated.", counter, func(s index.SourceStatus) float64 { return float64(s.Gaps) }),
			source("dropped_total", "Events known to be missing.", counter, func(s index.SourceStatus) float64 { return float64(s.Dropped) }),
			source("last_timestamp_seconds", "When the newest line arrived.", gauge, func(s index.SourceStatus) float64 { return float64(s.Last) / 1e9 }),
		},
	}
}

// Describe implements prometheus.Collector.
func (c *ledgerCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range c.state {
		ch <- m.desc
	}
	for _, m := range c.sources {
		ch <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c *ledgerCollector) Collect(ch chan<- prometheus.Metric) {
	st := c.ledger.Status()
	for _, m := range c.state {
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, m.read(st))
	}
	for _, s := range c.ledger.Sources() {
		for _, m := range c.sources {
			ch <- prometheus.MustNewConstMetric(m.desc, m.kind, m.read(s), s.Name, s.Transport, s.Tenant)
		}
	}
}
