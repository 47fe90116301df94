package apply

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fiberlb/fiberlb/pkg/snapshot"
)

// Metrics of the configuration in force. The age is computed when it is read,
// so that a configuration that has gone stale is seen to grow old.
type Metrics struct {
	revision, refused prometheus.Gauge
	resources         *prometheus.GaugeVec
	applies           prometheus.Counter
	duration          prometheus.Histogram
	since             atomic.Int64 // Unix nanoseconds; 0: none in force
}

// NewMetrics registers the metrics of the apply loop.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		revision: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fiberlb_dataplane_config_revision", Help: "Store revision of the configuration in force."}),
		refused: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fiberlb_dataplane_config_refused_resources", Help: "Resources that are not in force as wished."}),
		resources: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "fiberlb_dataplane_config_resources", Help: "Resources in force by kind."}, []string{"kind"}),
		applies: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fiberlb_dataplane_config_applied_total", Help: "Versions put in force."}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "fiberlb_dataplane_config_apply_seconds", Help: "Time to put a version in force.",
			Buckets: prometheus.ExponentialBuckets(0.00005, 2, 16)}),
	}
	age := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "fiberlb_dataplane_config_age_seconds", Help: "Time since the configuration in force was last changed or confirmed; -1 while there is none."},
		func() float64 {
			since := m.since.Load()
			if since == 0 {
				return -1
			}
			return time.Since(time.Unix(0, since)).Seconds()
		})
	reg.MustRegister(m.revision, m.refused, m.resources, m.applies, m.duration, age)
	return m
}

func (m *Metrics) applied(st *state, took time.Duration) {
	m.revision.Set(float64(st.version.Revision))
	m.since.Store(st.since.UnixNano())
	m.applies.Inc()
	m.duration.Observe(took.Seconds())
	m.count(st)
}

// count tells how many resources are in force and how many are refused.
func (m *Metrics) count(st *state) {
	m.refused.Set(float64(len(st.faults)))
	for kind := snapshot.KindHealthCheck; kind <= snapshot.KindListener; kind++ {
		m.resources.WithLabelValues(kindName(kind)).Set(float64(st.counts[kind]))
	}
}

func kindName(k snapshot.Kind) string {
	switch k {
	case snapshot.KindHealthCheck:
		return "health_check"
	case snapshot.KindPool:
		return "pool"
	case snapshot.KindListener:
		return "listener"
	}
	return strconv.Itoa(int(k))
}
