package front

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fiberlb/fiberlb/dataplane/internal/l7/exchange"
)

// stats of one listener. The hot path adds to atomics; labels are put on when somebody asks.
type stats struct {
	accepted atomic.Uint64
	requests [exchange.ReasonCount]atomic.Uint64 // by why they ended
	statuses [10]atomic.Uint64                   // by class of the status that the client was sent; 0: none
	duration histogram
}

// policyStats are those of one policy.
type policyStats struct{ requests atomic.Uint64 }

// bounds of histograms, in seconds.
var bounds = [...]float64{.0002, .0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 60, 600}

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
	return prometheus.NewDesc("fiberlb_dataplane_http_"+name, help, append([]string{"listener"}, labels...), nil)
}

var (
	descAccepted = desc("accepted_connections_total", "Connections accepted.")
	descActive   = desc("active_connections", "Connections open.")
	descRequests = desc("requests_total", "Requests, by why they ended.", "reason")
	descStatuses = desc("responses_total", "Responses sent, by class of their status.", "class")
	descPolicies = desc("policy_requests_total", "Requests that a policy decided.", "policy")
	descDuration = desc("request_duration_seconds", "Time from the first byte of a request to the last byte of its response.")
)

var classes = [10]string{"none", "1xx", "2xx", "3xx", "4xx", "5xx", "6xx", "7xx", "8xx", "9xx"}

// Describe implements prometheus.Collector.
func (f *Front) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descAccepted, descActive, descRequests, descStatuses, descPolicies, descDuration} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. Labels are bounded by what is, or was, configured.
func (f *Front) Collect(ch chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, v *atomic.Uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v.Load()), append([]string{f.name}, labels...)...)
	}
	counter(descAccepted, &f.stats.accepted)
	ch <- prometheus.MustNewConstMetric(descActive, prometheus.GaugeValue, float64(f.Active()), f.name)
	for r := range f.stats.requests {
		counter(descRequests, &f.stats.requests[r], exchange.Reason(r).String())
	}
	for i := range f.stats.statuses {
		if f.stats.statuses[i].Load() > 0 {
			counter(descStatuses, &f.stats.statuses[i], classes[i])
		}
	}
	f.mu.Lock()
	policies := make(map[string]*policyStats, len(f.policies))
	for name, p := range f.policies {
		policies[name] = p
	}
	f.mu.Unlock()
	for name, p := range policies {
		counter(descPolicies, &p.requests, name)
	}
	ch <- f.stats.duration.metric(descDuration, f.name)
}
