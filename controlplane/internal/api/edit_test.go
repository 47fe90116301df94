package api

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/fiberlb/fiberlb/controlplane/internal/store"
	"github.com/fiberlb/fiberlb/pkg/lbpb"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

// TestEditsShow makes every kind of change inside of a load balancer, one after the other: each changes what is stored, and what
// is answered, etags among it, is what somebody reads who has never seen the load balancer before.
func TestEditsShow(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 1)
	e.must("ConfigService/Apply", base)
	const root = "projects/default/loadBalancers/web"
	changes := []struct{ method, text string }{
		{"ListenerService/UpdateListener", "name: " + root + "/listeners/front\nlistener: {description: x}"},
		{"ListenerService/CreateListener", "parent: " + root + "\nlistener: {name: other, port: 81, protocol: http}"},
		{"PoolService/UpdatePool", "name: " + root + "/pools/main\npool: {description: x}"},
		{"PoolService/UpdatePool", "name: " + root + "/pools/main\npool: {health_check: {interval: 9s}}"},
		{"PoolService/UpdatePool", "mask: health_check.healthy_threshold\nname: " + root + "/pools/main\npool: {health_check: {healthy_threshold: 7}}"},
		{"PoolService/UpdatePool", "name: " + root + "/pools/main\npool: {backends: [{name: b1, address: 10.0.0.1, port: 8081}, {name: b2, address: 10.0.0.2, port: 8080}]}"},
		{"BackendService/UpdateBackend", "name: " + root + "/pools/main/backends/b2\nbackend: {weight: 9}"},
		{"BackendService/UpdateBackend", "name: " + root + "/pools/main/backends/b2\nbackend: {labels: {a: b}}"},
		{"BackendService/UpdateBackend", "mask: labels.c\nname: " + root + "/pools/main/backends/b2\nbackend: {labels: {c: d}}"},
		{"BackendService/CreateBackend", "parent: " + root + "/pools/main\nbackend: {name: b3, address: 10.0.0.3, port: 8080}"},
		{"BackendService/DeleteBackend", "name: " + root + "/pools/main/backends/b1"},
		{"BackendService/ReplaceBackends", "parent: " + root + "/pools/main\nbackends: [{address: 10.0.0.2, port: 8080, weight: 3}, {address: 10.0.0.9, port: 1}]"},
		{"HealthCheckService/UpdateHealthCheck", "name: " + root + "/pools/main/healthChecks/default\nhealth_check: {http: {url_path: /up}}"},
		{"HealthCheckService/CreateHealthCheck", "parent: " + root + "/pools/spare\nhealth_check: {type: tcp}"},
		{"HealthCheckService/DeleteHealthCheck", "name: " + root + "/pools/main/healthChecks/default"},
		{"L7PolicyService/UpdateL7Policy", "name: " + root + "/listeners/front/l7Policies/api\nl7_policy: {position: 77}"},
		{"L7PolicyService/CreateL7Policy", "parent: " + root + "/listeners/front\nl7_policy: {name: no, action: reject}"},
		{"L7RuleService/UpdateL7Rule", "name: " + root + "/listeners/front/l7Policies/api/rules/r1\nl7_rule: {value: /v2}"},
		{"L7RuleService/CreateL7Rule", "parent: " + root + "/listeners/front/l7Policies/api\nl7_rule: {rule_type: method, compare_type: equal_to, value: GET}"},
		{"L7RuleService/DeleteL7Rule", "name: " + root + "/listeners/front/l7Policies/api/rules/r1"},
		{"L7PolicyService/DeleteL7Policy", "name: " + root + "/listeners/front/l7Policies/no"},
		{"LoadBalancerService/UpdateLoadBalancer", "name: " + root + "\nload_balancer: {labels: {a: b}, vips: [203.0.113.11]}"},
		{"ListenerService/DeleteListener", "name: " + root + "/listeners/front\ncascade: true"},
	}
	before := ""
	for _, change := range changes {
		e.must(change.method, change.text)
		got := e.must("ConfigService/Export", "name: "+root).(*fiberlbv1.ExportResponse).GetConfigs()[0]
		entry, err := store.New(etcd.Client(), store.Config{Prefix: e.prefix}).Get(e.ctx, "default", "web")
		if err != nil {
			t.Fatal(err)
		}
		// A clone works its etags out by itself.
		want := lbpb.ToConfig(entry.LB.Clone())
		if got.GetEtag() == before {
			t.Errorf("%s %s: nothing changed", change.method, change.text)
		}
		before = got.GetEtag()
		withoutStatus(got)
		if !proto.Equal(got, want) {
			t.Errorf("%s %s:\ngot  %v\nwant %v", change.method, change.text, got, want)
		}
	}
}

func withoutStatus(m *fiberlbv1.LoadBalancerConfig) {
	m.Status = nil
	for _, x := range m.GetListeners() {
		x.Status = nil
	}
	for _, x := range m.GetPools() {
		x.Status = nil
		if x.HealthCheck != nil {
			x.HealthCheck.Status = nil
		}
		for _, b := range x.GetBackends() {
			b.Status = nil
		}
	}
	for _, x := range m.GetL7Policies() {
		x.Status = nil
		for _, r := range x.GetRules() {
			r.Status = nil
		}
	}
	for _, x := range m.GetCertificates() {
		x.Status = nil
	}
}
