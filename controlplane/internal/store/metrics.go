package store

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics of a store.
type Metrics struct {
	duration  *prometheus.HistogramVec
	conflicts *prometheus.CounterVec
	restarts  *prometheus.CounterVec
	relists   *prometheus.CounterVec
	revision  prometheus.Gauge
	objects   *prometheus.GaugeVec
	faults    prometheus.Gauge
	swept     prometheus.Counter
}

// NewMetrics makes metrics and registers them.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := newMetrics()
	registry.MustRegister(m.duration, m.conflicts, m.restarts, m.relists, m.revision, m.objects, m.faults, m.swept)
	return m
}

func newMetrics() *Metrics {
	return &Metrics{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "fiberlb_store_request_duration_seconds", Help: "Time of one operation of the store, over all its requests to etcd.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"operation"}),
		conflicts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fiberlb_store_conflicts_total", Help: "Writes refused because of another one, by cause: head, vip, exists, guard (retried).",
		}, []string{"cause"}),
		restarts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fiberlb_store_watch_restarts_total", Help: "Watches that ended and were opened again.",
		}, []string{"watch"}),
		relists: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fiberlb_store_relists_total", Help: "Complete readings after the first, because what the watch needed was compacted or etcd went back.",
		}, []string{"watch"}),
		revision: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fiberlb_store_revision", Help: "Highest revision of the configuration seen by the watch.",
		}),
		objects: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "fiberlb_store_objects", Help: "Objects that the watch holds, by kind.",
		}, []string{"kind"}),
		faults: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fiberlb_store_unreadable_objects", Help: "Stored objects that this build cannot read; their last readable version is in force.",
		}),
		swept: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fiberlb_store_swept_children_total", Help: "Children of interrupted writes that were removed.",
		}),
	}
}

// observe starts the clock of an operation; the returned function stops it.
func (s *Store) observe(operation string) func() {
	start := time.Now()
	return func() { s.metrics.duration.WithLabelValues(operation).Observe(time.Since(start).Seconds()) }
}
