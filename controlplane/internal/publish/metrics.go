package publish

import "github.com/prometheus/client_golang/prometheus"

// Metrics of a publisher.
type Metrics struct {
	compile   prometheus.Histogram
	ack       prometheus.Histogram
	streams   prometheus.Gauge
	revision  prometheus.Gauge
	deltas    prometheus.Counter
	bytes     prometheus.Counter
	coalesced prometheus.Counter
	nacks     *prometheus.CounterVec
	ackedAt   *prometheus.GaugeVec
	reports   *prometheus.CounterVec
}

// NewMetrics makes metrics and registers them.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := newMetrics()
	registry.MustRegister(m.compile, m.ack, m.streams, m.revision, m.deltas, m.bytes, m.coalesced, m.nacks, m.ackedAt, m.reports)
	return m
}

func newMetrics() *Metrics {
	return &Metrics{
		compile: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "fiberlb_controlplane_compile_seconds", Help: "Time to compile one load balancer for one kind of node.",
			Buckets: prometheus.ExponentialBuckets(10e-6, 4, 10),
		}),
		ack: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "fiberlb_controlplane_ack_seconds", Help: "Time from sending a delta to the node's answer.",
			Buckets: prometheus.ExponentialBuckets(.0005, 2.5, 13),
		}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fiberlb_controlplane_streams", Help: "Connected agents.",
		}),
		revision: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fiberlb_controlplane_config_revision", Help: "Revision of the configuration that is published.",
		}),
		deltas: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fiberlb_controlplane_deltas_total", Help: "Deltas sent to agents.",
		}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fiberlb_controlplane_delta_bytes_total", Help: "Size of the deltas sent to agents.",
		}),
		coalesced: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fiberlb_controlplane_coalesced_total", Help: "Changes that joined one that an agent had not been sent yet.",
		}),
		nacks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fiberlb_controlplane_nacks_total", Help: "Answers of a node that refuse some resource.",
		}, []string{"node"}),
		ackedAt: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "fiberlb_controlplane_node_acked_revision", Help: "Revision that a connected node answered last.",
		}, []string{"node"}),
		reports: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fiberlb_controlplane_reports_total", Help: "Reports of nodes handed to the store, by result: ok, error.",
		}, []string{"result"}),
	}
}

func (m *Metrics) sent(bytes int) {
	m.deltas.Inc()
	m.bytes.Add(float64(bytes))
}

func (m *Metrics) acked(node string, revision int64, refused bool) {
	m.ackedAt.WithLabelValues(node).Set(float64(revision))
	if refused {
		m.nacks.WithLabelValues(node).Inc()
	}
}

// forgetNode keeps the labels to connected nodes.
func (m *Metrics) forgetNode(node string) {
	m.ackedAt.DeleteLabelValues(node)
	m.nacks.DeleteLabelValues(node)
}
