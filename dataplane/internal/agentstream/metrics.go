package agentstream

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics of the stream to the controllers.
type Metrics struct {
	up       prometheus.Gauge
	connects prometheus.Counter
	lost     atomic.Int64 // Unix nanoseconds since when there is no stream; 0: there is one
}

// NewMetrics registers the metrics of the stream.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		up: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fiberlb_dataplane_stream_connected", Help: "1 while a controller streams configuration to this node."}),
		connects: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fiberlb_dataplane_stream_connects_total", Help: "Streams that a controller answered."}),
	}
	m.lost.Store(time.Now().UnixNano())
	reg.MustRegister(m.up, m.connects, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "fiberlb_dataplane_config_unconfirmed_seconds",
		Help: "How long no controller has confirmed the configuration in force; 0 while one streams."}, func() float64 {
		return m.Unconfirmed().Seconds()
	}))
	return m
}

// Unconfirmed is how long there has been no stream; 0 while there is one.
func (m *Metrics) Unconfirmed() time.Duration {
	lost := m.lost.Load()
	if lost == 0 {
		return 0
	}
	return time.Since(time.Unix(0, lost))
}

func (m *Metrics) connected() {
	m.lost.Store(0)
	m.up.Set(1)
	m.connects.Inc()
}

func (m *Metrics) disconnected() {
	if m.lost.CompareAndSwap(0, time.Now().UnixNano()) {
		m.up.Set(0)
	}
}
