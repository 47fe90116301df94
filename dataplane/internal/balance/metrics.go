package balance

import (
	"github.com/prometheus/client_golang/prometheus"
)

var (
	poolLabels    = []string{"pool"}
	backendLabels = []string{"pool", "backend", "address"}

	descPoolBackends = prometheus.NewDesc("fiberlb_dataplane_pool_backends", "Backends configured.", poolLabels, nil)
	descPoolHealthy  = prometheus.NewDesc("fiberlb_dataplane_pool_healthy_backends",
		"Backends that are healthy and take new connections.", poolLabels, nil)
	descPoolFailOpen = prometheus.NewDesc("fiberlb_dataplane_pool_fail_open",
		"1 while too few backends are healthy and all are used as if they were.", poolLabels, nil)
	descPoolBackups = prometheus.NewDesc("fiberlb_dataplane_pool_backups_in_use",
		"1 while no backend but backups is healthy.", poolLabels, nil)
	descUp = prometheus.NewDesc("fiberlb_dataplane_backend_up",
		"1 if the backend is up or not monitored, 0 if it is down or has no verdict yet.", backendLabels, nil)
	descDraining = prometheus.NewDesc("fiberlb_dataplane_backend_draining",
		"1 if the backend is disabled and takes no new connections.", backendLabels, nil)
	descActive = prometheus.NewDesc("fiberlb_dataplane_backend_active_connections",
		"Connections open or being established.", backendLabels, nil)
	descConnections = prometheus.NewDesc("fiberlb_dataplane_backend_connections_total",
		"Connections begun.", backendLabels, nil)
	descFailures = prometheus.NewDesc("fiberlb_dataplane_backend_dial_failures_total",
		"Connections that could not be established.", backendLabels, nil)
	descStateSince = prometheus.NewDesc("fiberlb_dataplane_backend_state_since_timestamp_seconds",
		"When the health state last changed, in seconds since 1970.", backendLabels, nil)
)

// Describe implements prometheus.Collector.
func (r *Registry) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descPoolBackends, descPoolHealthy, descPoolFailOpen, descPoolBackups, descUp,
		descDraining, descActive, descConnections, descFailures, descStateSince} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. Labels are bounded by what is configured.
func (r *Registry) Collect(ch chan<- prometheus.Metric) {
	flag := func(on bool) float64 {
		if on {
			return 1
		}
		return 0
	}
	for _, p := range r.Status() {
		gauge := func(d *prometheus.Desc, v float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
		}
		gauge(descPoolBackends, float64(p.Total), p.Name)
		gauge(descPoolHealthy, float64(p.Healthy), p.Name)
		gauge(descPoolFailOpen, flag(p.FailOpen), p.Name)
		gauge(descPoolBackups, flag(p.Backups), p.Name)
		for _, b := range p.Backends {
			labels := []string{p.Name, b.Name, b.Addr.String()}
			gauge(descUp, flag(b.State.Serving()), labels...)
			gauge(descDraining, flag(b.Draining), labels...)
			gauge(descActive, float64(b.Active), labels...)
			gauge(descStateSince, float64(b.Since.UnixMilli())/1000, labels...)
			ch <- prometheus.MustNewConstMetric(descConnections, prometheus.CounterValue, float64(b.connections), labels...)
			ch <- prometheus.MustNewConstMetric(descFailures, prometheus.CounterValue, float64(b.failures), labels...)
		}
	}
}
