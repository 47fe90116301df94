package upstream

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fiberlb/fiberlb/dataplane/internal/l7/exchange"
)

// stats of one backend. The hot path adds to atomics; labels are put on when somebody asks.
type stats struct {
	requests, retries, dials, stale, queued atomic.Uint64
	failures                                [exchange.ReasonCount]atomic.Uint64
}

func (s *stats) add(other *stats) {
	s.requests.Add(other.requests.Load())
	s.retries.Add(other.retries.Load())
	s.dials.Add(other.dials.Load())
	s.stale.Add(other.stale.Load())
	s.queued.Add(other.queued.Load())
	for i := range s.failures {
		s.failures[i].Add(other.failures[i].Load())
	}
}

// backendName is what metrics know a backend by, whatever its address.
type backendName struct{ pool, name string }

// pastOf returns the counters of a name's former backends. It must be called with mu held.
func (t *Transport) pastOf(p *peer) *stats {
	name := backendName{p.backend.Pool(), p.backend.Name()}
	if t.past[name] == nil {
		t.past[name] = new(stats)
	}
	return t.past[name]
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("fiberlb_dataplane_http_backend_"+name, help, append([]string{"pool", "backend"}, labels...), nil)
}

var (
	descRequests = desc("requests_total", "Requests that a backend was chosen for, repeated ones included.")
	descRetries  = desc("retries_total", "Requests sent again after they failed at the backend.")
	descDials    = desc("connections_total", "Connections made.")
	descStale    = desc("stale_connections_total", "Idle connections found closed, or too old, when they were to be used again.")
	descQueued   = desc("queued_requests_total", "Requests that waited in line for a connection.")
	descFailures = desc("failures_total", "Requests that failed before a response came, by why.", "reason")
)

// Describe implements prometheus.Collector.
func (t *Transport) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descRequests, descRetries, descDials, descStale, descQueued, descFailures} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. Labels are bounded by what is, or was, configured.
func (t *Transport) Collect(ch chan<- prometheus.Metric) {
	all := make(map[backendName]*stats)
	total := func(name backendName) *stats {
		if all[name] == nil {
			all[name] = new(stats)
		}
		return all[name]
	}
	t.mu.Lock()
	for name, s := range t.past {
		total(name).add(s)
	}
	for b, p := range *t.peers.Load() {
		total(backendName{b.Pool(), b.Name()}).add(&p.stats)
	}
	t.mu.Unlock()
	for name, s := range all {
		counter := func(d *prometheus.Desc, v *atomic.Uint64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v.Load()), append([]string{name.pool, name.name}, labels...)...)
		}
		counter(descRequests, &s.requests)
		counter(descRetries, &s.retries)
		counter(descDials, &s.dials)
		counter(descStale, &s.stale)
		counter(descQueued, &s.queued)
		for r := range s.failures {
			if s.failures[r].Load() > 0 {
				counter(descFailures, &s.failures[r], exchange.Reason(r).String())
			}
		}
	}
}
