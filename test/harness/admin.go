package harness

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Get asks an admin or REST address and returns status and body.
func Get(ctx context.Context, address, path string) (status int, body string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return 0, "", err
	}
	// A connection that is kept would survive the process it leads to.
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, string(text), err
}

// AwaitReady waits until /readyz of a process says so.
func AwaitReady(t testing.TB, p *Process, address string) time.Duration {
	t.Helper()
	return Until(t, p.Name+" is ready", func() error {
		if err := p.running(); err != nil {
			t.Fatal(err)
		}
		status, body, err := Get(t.Context(), address, "/readyz")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("/readyz: %d: %s", status, body)
		}
		return err
	})
}

// Metrics are the samples of one look at /metrics.
type Metrics struct {
	samples []sample
}

type sample struct {
	name   string
	labels map[string]string
	value  float64
}

// Scrape reads /metrics. Histograms count as their _count and _sum.
func Scrape(t testing.TB, address string) Metrics {
	t.Helper()
	status, body, err := Get(t.Context(), address, "/metrics")
	if err != nil || status != http.StatusOK {
		t.Fatalf("metrics of %s: status %d: %v", address, status, err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		t.Fatalf("metrics of %s: %v", address, err)
	}
	var m Metrics
	for name, family := range families {
		for _, metric := range family.GetMetric() {
			labels := map[string]string{}
			for _, pair := range metric.GetLabel() {
				labels[pair.GetName()] = pair.GetValue()
			}
			add := func(suffix string, v float64) { m.samples = append(m.samples, sample{name + suffix, labels, v}) }
			switch {
			case metric.GetCounter() != nil:
				add("", metric.GetCounter().GetValue())
			case metric.GetGauge() != nil:
				add("", metric.GetGauge().GetValue())
			case metric.GetUntyped() != nil:
				add("", metric.GetUntyped().GetValue())
			case metric.GetHistogram() != nil:
				add("_count", float64(metric.GetHistogram().GetSampleCount()))
				add("_sum", metric.GetHistogram().GetSampleSum())
			}
		}
	}
	return m
}

// Sum adds up the samples of a metric whose labels contain those given as key, value, key, value. It is false where there is none.
func (m Metrics) Sum(name string, labels ...string) (sum float64, ok bool) {
	for _, s := range m.samples {
		if s.name != name {
			continue
		}
		matches := true
		for i := 0; i+1 < len(labels); i += 2 {
			matches = matches && s.labels[labels[i]] == labels[i+1]
		}
		if matches {
			sum, ok = sum+s.value, true
		}
	}
	return sum, ok
}

// Must is Sum where the metric must be there.
func (m Metrics) Must(t testing.TB, name string, labels ...string) float64 {
	t.Helper()
	sum, ok := m.Sum(name, labels...)
	if !ok {
		t.Fatalf("no metric %s %v", name, labels)
	}
	return sum
}
