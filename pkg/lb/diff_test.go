package lb

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func show(changes []Change) string {
	var out strings.Builder
	for _, c := range changes {
		fmt.Fprintf(&out, "%s %s\n", c.Action, strings.TrimPrefix(c.Resource, "projects/shop/"))
		for _, f := range c.Fields {
			fmt.Fprintf(&out, "  %s: %q -> %q\n", f.Path, f.Before, f.After)
		}
	}
	return out.String()
}

func TestDiff(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(l *LoadBalancer)
		want   string
	}{
		{"nothing", func(*LoadBalancer) {}, ""},
		{"own fields", func(l *LoadBalancer) {
			l.VIPs = l.VIPs[:1]
			l.Labels["team"], l.Labels["a.b"], l.Description, l.Enabled = "b", "1", "", false
		}, `update loadBalancers/web
  labels["a.b"]: "" -> "1"
  labels["team"]: "a" -> "b"
  vips: "192.0.2.1, 2001:db8::1" -> "192.0.2.1"
  enabled: "true" -> "false"
  description: "about web" -> ""
`},
		{"everywhere", func(l *LoadBalancer) {
			l.Listeners[0].TLS.MinVersion, l.Listeners[0].Timeouts.TCPIdle = TLS12, 3600e9
			l.Pools[0].HealthCheck.Name = "other"
			l.Pools[0].Backends = append(l.Pools[0].Backends[1:], &Backend{Info: Info{Name: "b3"}, Address: netip.MustParseAddr("10.0.0.3"), Port: 80})
			l.Policies[0].Pools = []WeightedPool{{"app", 1}}
			l.Policies[0].Rules[0].Value = "y"
			l.Policies[1].Position = 40
			l.Certificates = l.Certificates[:1]
		}, `update loadBalancers/web/listeners/front
  tls_config.min_version: "tls13" -> "tls12"
  timeouts.tcp_idle: "5s" -> "1h"
delete loadBalancers/web/pools/app/healthChecks/check
create loadBalancers/web/pools/app/healthChecks/other
  name: "" -> "other"
  description: "" -> "about check"
  labels["team"]: "" -> "a"
  type: "" -> "http"
  interval: "" -> "10s"
  timeout: "" -> "1s"
  healthy_threshold: "" -> "3"
  unhealthy_threshold: "" -> "4"
  http.method: "" -> "HEAD"
  http.url_path: "" -> "/up"
  http.expected_codes: "" -> "200-204"
  http.host_header: "" -> "app.example"
  enabled: "" -> "true"
delete loadBalancers/web/pools/app/backends/b1
create loadBalancers/web/pools/app/backends/b3
  name: "" -> "b3"
  address: "" -> "10.0.0.3"
  port: "" -> "80"
  weight: "" -> "0"
  backup: "" -> "false"
  enabled: "" -> "false"
update loadBalancers/web/listeners/front/l7Policies/split
  redirect_pool_id: "" -> "app"
  redirect_pools: "app=9, spare=1" -> ""
update loadBalancers/web/listeners/front/l7Policies/split/rules/r1
  value: "x" -> "y"
update loadBalancers/web/listeners/front/l7Policies/to
  position: "4" -> "40"
delete loadBalancers/web/certificates/main
`},
		{"order of rules", func(l *LoadBalancer) {
			rules := l.Policies[0].Rules
			rules[0], rules[1] = rules[1], rules[0]
		}, `update loadBalancers/web/listeners/front/l7Policies/split
  rules: "r1, r2" -> "r2, r1"
`},
		{"order of rules and more", func(l *LoadBalancer) {
			rules := l.Policies[0].Rules
			rules[0], rules[1] = rules[1], rules[0]
			l.Policies[0].Enabled = false
		}, `update loadBalancers/web/listeners/front/l7Policies/split
  enabled: "true" -> "false"
  rules: "r1, r2" -> "r2, r1"
`},
		{"another listener", func(l *LoadBalancer) { l.Policies = l.Policies[1:2]; l.Policies[0].Listener = "zz" },
			`delete loadBalancers/web/listeners/front/l7Policies/split
delete loadBalancers/web/listeners/front/l7Policies/split/rules/r1
delete loadBalancers/web/listeners/front/l7Policies/split/rules/r2
delete loadBalancers/web/listeners/front/l7Policies/to
delete loadBalancers/web/listeners/front/l7Policies/under
delete loadBalancers/web/listeners/front/l7Policies/word
create loadBalancers/web/listeners/zz/l7Policies/to
  name: "" -> "to"
  description: "" -> "about to"
  labels["team"]: "" -> "a"
  listener_id: "" -> "zz"
  position: "" -> "4"
  action: "" -> "redirect_to_url"
  redirect_url: "" -> "/x"
  redirect_http_status_code: "" -> "307"
  enabled: "" -> "true"
`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			old := mustNormalize(t, full())
			changed := old.Clone()
			tt.change(changed)
			if got := show(Diff(old, changed)); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestDiffOfWholeLoadBalancers(t *testing.T) {
	t.Parallel()
	l := mustNormalize(t, full())
	created, deleted := Diff(nil, l), Diff(l, nil)
	const objects = 1 + 1 + 2 + 1 + 2 + 4 + 2 + 2 // load balancer, listener, pools, check, backends, policies, rules, certificates
	if len(created) != objects || len(deleted) != objects {
		t.Fatalf("%d created, %d deleted, want %d", len(created), len(deleted), objects)
	}
	for i := range created {
		if created[i].Resource != deleted[i].Resource || created[i].Action != Create || deleted[i].Action != Delete || len(created[i].Fields) == 0 || deleted[i].Fields != nil {
			t.Errorf("%v against %v", created[i], deleted[i])
		}
	}
	if text := show(created); strings.Contains(text, "PRIVATE KEY") || strings.Contains(text, "BEGIN") || !strings.Contains(text, "certificate: \"\" -> \"sha256:") {
		t.Error("certificates: want fingerprints, no PEM and no keys")
	}
	other := l.Clone()
	other.Name = "shop"
	if changes := Diff(l, other); len(changes) != 2*objects || changes[0].Action != Delete {
		t.Errorf("another name: %d changes, first %v", len(changes), changes[0].Action)
	}
	if changes := Diff(nil, nil); changes != nil {
		t.Errorf("nothing to nothing: %v", changes)
	}
}
