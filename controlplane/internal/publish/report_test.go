package publish

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"

	"github.com/fiberlb/fiberlb/controlplane/internal/store"
	"github.com/fiberlb/fiberlb/pkg/compile"
	"github.com/fiberlb/fiberlb/pkg/snapshot"
	agentv1 "github.com/fiberlb/fiberlb/proto/fiberlb/agent/v1"
)

func reportMessage(m *agentv1.Report) *agentv1.AgentMessage {
	return &agentv1.AgentMessage{Message: &agentv1.AgentMessage_Report{Report: m}}
}

func TestReportsReachTheSink(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		p := start(t, Config{})
		changes, cancel := p.Subscribe()
		defer cancel()
		w.put(balancer(t, "a", 1))
		p.batches <- w.everything()
		a := newAgent(t, "node", map[string]string{"rack": "1"}, compile.DataPlane())
		const pool = "projects/p/loadBalancers/a/pools/main"
		a.refuse = func(r *snapshot.Resource) string {
			if r.Name == pool {
				return "algorithm 9 is unknown"
			}
			return ""
		}
		a.connect(p.Publisher)
		synctest.Wait()
		select {
		case <-changes:
		default:
			t.Error("nobody was told that a node came")
		}
		if p.sink.get("node") != nil {
			t.Error("a report was stored without gathering")
		}
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		r := p.sink.get("node")
		if r == nil || r.AckedRevision != w.revision || r.Cluster != cluster || snapshot.Hash(r.AckedDigest) != a.set.Digest() ||
			r.Labels["rack"] != "1" || r.SoftwareVersion != "v1" || r.Controller != "controller-1" || len(r.Capabilities) != len(compile.DataPlane()) {
			t.Fatalf("report is %v", r)
		}
		if len(r.Errors) != 1 || r.Errors[0].Resource != pool || r.Errors[0].Message != "algorithm 9 is unknown" || r.ErrorCount != 1 {
			t.Errorf("errors are %v", r.Errors)
		}

		// A hundred reports in a moment are one for the store.
		puts := p.sink.puts
		for i := range 100 {
			a.send(reportMessage(&agentv1.Report{
				Down: []*agentv1.BackendFault{{Name: "b", Message: "refused"}}, DownCount: uint32(i + 1),
				Listeners: []*agentv1.ResourceFault{{Name: "l", Message: "in use"}}, ReadyVips: []string{"203.0.113.10"}, Draining: true,
			}))
		}
		time.Sleep(time.Second)
		synctest.Wait()
		r = p.sink.get("node")
		if p.sink.puts != puts+1 || r.DownCount != 100 || len(r.Down) != 1 || r.Listeners[0].Message != "in use" || r.ReadyVips[0] != "203.0.113.10" || !r.Draining || r.ReportedUs == 0 {
			t.Errorf("%d reports were stored, the last is %v", p.sink.puts-puts, r)
		}

		// A node may come to terms with what it refused, without a new version.
		a.send(ack(a.version))
		time.Sleep(time.Second)
		synctest.Wait()
		if r = p.sink.get("node"); len(r.Errors) != 0 {
			t.Errorf("errors are still %v", r.Errors)
		}
		_ = a.end()
		time.Sleep(time.Second)
		synctest.Wait()
		if p.sink.get("node") != nil || len(p.Nodes()) != 0 {
			t.Error("a node that left is still reported")
		}
	})
}

func TestReportsSurviveAFailingSink(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := start(t, Config{})
		p.sink.setFail(errSink)
		p.batches <- newWorld(1).everything()
		a := newAgent(t, "node", nil, nil)
		a.connect(p.Publisher)
		time.Sleep(10 * time.Second)
		if p.sink.get("node") != nil {
			t.Error("a failing sink has a report")
		}
		p.sink.setFail(nil)
		time.Sleep(2 * time.Second)
		if p.sink.get("node") == nil {
			t.Error("the report did not come after the sink recovered")
		}
		p.sink.setFail(store.ErrSuperseded)
		a.send(reportMessage(&agentv1.Report{DownCount: 7}))
		<-a.ended
		wantStatus(t, a.end(), codes.Aborted, "to another controller replaces this one")
	})
}

func TestReportsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := start(t, Config{})
		p.batches <- newWorld(1).everything()
		a := newAgent(t, "node", nil, nil)
		a.connect(p.Publisher)
		synctest.Wait()
		long := strings.Repeat("€", 1000)
		var faults []*agentv1.ResourceFault
		m := &agentv1.Report{}
		for i := range 5000 {
			faults = append(faults, &agentv1.ResourceFault{Name: fmt.Sprint(i), Message: long})
			m.Down = append(m.Down, &agentv1.BackendFault{Name: long, Message: long})
			m.ReadyVips = append(m.ReadyVips, long)
		}
		m.Listeners = faults
		a.send(reportMessage(m))
		a.send(ack(a.version, faults...))
		synctest.Wait()
		r := p.Nodes()[0].Report
		if len(r.Errors) != maxFaults || r.ErrorCount != 5000 || len(r.Down) != maxFaults || len(r.Listeners) != maxFaults || len(r.ReadyVips) != maxReadyVIPs {
			t.Errorf("lists have %d, %d, %d and %d items", len(r.Errors), len(r.Down), len(r.Listeners), len(r.ReadyVips))
		}
		if text := r.Errors[0].Message; len(text) > maxMessageBytes || !strings.HasPrefix(long, text) || len(text)%3 != 0 {
			t.Errorf("message of %d bytes", len(text))
		}
		_ = a.end()
	})
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		w := newWorld(1)
		p := start(t, Config{Metrics: NewMetrics(registry)})
		w.put(balancer(t, "a", 1))
		p.batches <- w.everything()
		a := newAgent(t, "node", nil, compile.DataPlane())
		a.refuse = func(*snapshot.Resource) string { return "no" }
		a.connect(p.Publisher)
		synctest.Wait()
		p.batches <- w.put(balancer(t, "a", 2))
		synctest.Wait()
		want := map[string]float64{"config_revision": 102, "deltas_total": 2, "nacks_total": 2, "node_acked_revision": 102, "streams": 1, "coalesced_total": 0}
		for name, value := range want {
			if got := gathered(t, registry)[name]; got != value {
				t.Errorf("%s is %v, want %v", name, got, value)
			}
		}
		if g := gathered(t, registry); g["delta_bytes_total"] < 100 || g["compile_seconds"] != 2 || g["ack_seconds"] != 2 {
			t.Errorf("metrics are %v", g)
		}
		_ = a.end()
		synctest.Wait()
		for _, name := range []string{"node_acked_revision", "nacks_total"} {
			if got, ok := gathered(t, registry)[name]; ok {
				t.Errorf("%s is still %v for a node that left", name, got)
			}
		}
	})
}

// gathered are the metrics' values without their common prefix; of a histogram the count.
func gathered(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := strings.TrimPrefix(f.GetName(), "fiberlb_controlplane_")
			values[name] += m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return values
}
