package api

import "github.com/prometheus/client_golang/prometheus"

// Metrics of the API.
type Metrics struct {
	requests  *prometheus.CounterVec
	duration  *prometheus.HistogramVec
	panics    prometheus.Counter
	conflicts prometheus.Counter
	watchers  prometheus.Gauge
}

// NewMetrics makes metrics and registers them.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := newMetrics()
	registry.MustRegister(m.requests, m.duration, m.panics, m.conflicts, m.watchers)
	return m
}

func newMetrics() *Metrics {
	return &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fiberlb_api_requests_total", Help: "Calls that were answered, by method and gRPC code; streams count when they end.",
		}, []string{"method", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "fiberlb_api_request_duration_seconds", Help: "Time to the answer of calls that are not streams, by method.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"method"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fiberlb_api_panics_total", Help: "Calls that ended in a panic, which the log tells more about.",
		}),
		conflicts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fiberlb_api_conflicts_total", Help: "Attempts at a write that were repeated because another replica wrote the same load balancer.",
		}),
		watchers: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fiberlb_api_watchers", Help: "Open watches.",
		}),
	}
}
