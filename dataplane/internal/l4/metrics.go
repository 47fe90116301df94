package l4

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// refusal is why a client was not served.
type refusal uint8

const (
	notAllowed refusal = iota
	overLimit
	noPool
	noBackend
	unreachable
	closing
	refusals
)

var refusalWords = [refusals]string{"not_allowed", "connection_limit", "no_pool", "no_backend", "backend_unreachable", "closing"}

// cause is why a connection ended.
type cause uint8

const (
	byPeers cause = iota // both sides were done, or went away one after the other
	byReset
	byIdle
	byDrain
	byShutdown
	causes
)

var causeWords = [causes]string{"done", "reset", "idle", "drained", "shutdown"}

// metrics of one listener. The hot path adds to atomics; labels are put on when somebody asks.
type metrics struct {
	accepted, acceptErrors, dialFailures atomic.Uint64
	bytesIn, bytesOut                    atomic.Uint64
	refused                              [refusals]atomic.Uint64
	ended                                [causes]atomic.Uint64
	dial                                 histogram
	duration                             histogram
}

// bounds of histograms, in seconds.
var bounds = [...]float64{.0002, .0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 60, 600, 3600}

// histogram counts durations.
type histogram struct {
	counts [len(bounds) + 1]atomic.Uint64
	sum    atomic.Int64 // nanoseconds
}

func (h *histogram) observe(d time.Duration) {
	seconds, i := d.Seconds(), 0
	for i < len(bounds) && seconds > bounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(int64(d))
}

func (h *histogram) metric(d *prometheus.Desc, labels ...string) prometheus.Metric {
	buckets, count := make(map[float64]uint64, len(bounds)), uint64(0)
	for i, bound := range bounds {
		count += h.counts[i].Load()
		buckets[bound] = count
	}
	count += h.counts[len(bounds)].Load()
	return prometheus.MustNewConstHistogram(d, count, time.Duration(h.sum.Load()).Seconds(), buckets, labels...)
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("fiberlb_dataplane_listener_"+name, help, append([]string{"listener"}, labels...), nil)
}

var (
	descAccepted     = desc("accepted_connections_total", "Connections accepted, refused ones included.")
	descActive       = desc("active_connections", "Connections open, those included that wait for a backend.")
	descRefused      = desc("refused_connections_total", "Connections reset before any backend served them.", "reason")
	descEnded        = desc("ended_connections_total", "Connections that a backend served, by why they ended.", "cause")
	descBytesIn      = desc("received_bytes_total", "Bytes from clients to backends.")
	descBytesOut     = desc("sent_bytes_total", "Bytes from backends to clients.")
	descDialFailures = desc("dial_failures_total", "Attempts to connect to a backend that failed.")
	descDial         = desc("dial_duration_seconds", "Time that connecting to a backend took.")
	descDuration     = desc("connection_duration_seconds", "Life of served connections.")
	descAcceptErrors = desc("accept_errors_total", "Attempts to accept a connection that failed.")
	descAddresses    = desc("addresses", "Addresses configured.")
	descBound        = desc("bound_addresses", "Addresses that accept connections.")
)

// Describe implements prometheus.Collector.
func (s *Server) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descAccepted, descActive, descRefused, descEnded, descBytesIn, descBytesOut,
		descDialFailures, descDial, descDuration, descAcceptErrors, descAddresses, descBound} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. Labels are bounded by what is configured.
func (s *Server) Collect(ch chan<- prometheus.Metric) {
	s.mu.Lock()
	listeners := make([]*listener, 0, len(s.listeners))
	for _, ln := range s.listeners {
		listeners = append(listeners, ln)
	}
	s.mu.Unlock()
	for _, status := range s.Status() {
		ch <- prometheus.MustNewConstMetric(descAddresses, prometheus.GaugeValue, float64(len(status.Bindings)), status.Name)
		ch <- prometheus.MustNewConstMetric(descBound, prometheus.GaugeValue, float64(status.Bound()), status.Name)
	}
	for _, ln := range listeners {
		m := &ln.metrics
		counter := func(d *prometheus.Desc, v *atomic.Uint64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v.Load()), append([]string{ln.name}, labels...)...)
		}
		ch <- prometheus.MustNewConstMetric(descActive, prometheus.GaugeValue, float64(ln.active.Load()), ln.name)
		counter(descAccepted, &m.accepted)
		counter(descBytesIn, &m.bytesIn)
		counter(descBytesOut, &m.bytesOut)
		counter(descDialFailures, &m.dialFailures)
		counter(descAcceptErrors, &m.acceptErrors)
		for why := range m.refused {
			counter(descRefused, &m.refused[why], refusalWords[why])
		}
		for why := range m.ended {
			counter(descEnded, &m.ended[why], causeWords[why])
		}
		ch <- m.dial.metric(descDial, ln.name)
		ch <- m.duration.metric(descDuration, ln.name)
	}
}
