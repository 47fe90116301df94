package dataplane

import "github.com/prometheus/client_golang/prometheus"

// registerReload registers the metric of static mode.
func registerReload(reg prometheus.Registerer, o *observer) {
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "fiberlb_dataplane_file_reload_success",
		Help: "1 if the file was accepted when it was last read; 0 while it is refused and the configuration before it stays."},
		func() float64 {
			o.mu.Lock()
			defer o.mu.Unlock()
			if o.reloadErr != nil {
				return 0
			}
			return 1
		}))
}
