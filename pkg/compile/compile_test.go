package compile

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/maglev"
	"github.com/fiberlb/fiberlb/pkg/snapshot"
)

const parent = "projects/p/loadBalancers/web/"

func normal(t *testing.T, draft *lb.LoadBalancer) *lb.LoadBalancer {
	t.Helper()
	l, violations := lb.Normalize(draft)
	if violations != nil {
		t.Fatal(violations)
	}
	return l
}

// draft is a load balancer with one TCP listener, its pool and a health check.
func draft() *lb.LoadBalancer {
	return &lb.LoadBalancer{
		Info: lb.Info{Name: "web"}, Project: "p", Enabled: true,
		VIPs: []netip.Addr{netip.MustParseAddr("203.0.113.10")},
		Listeners: []*lb.Listener{{
			Info: lb.Info{Name: "front"}, Port: 80, Protocol: lb.ListenerTCP, DefaultPool: "main", Enabled: true,
			ConnectionLimit: 100, AllowedCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
			Timeouts: lb.Timeouts{Connect: time.Second, TCPIdle: time.Minute},
		}},
		Pools: []*lb.Pool{{
			Info: lb.Info{Name: "main"}, Protocol: lb.PoolTCP, Algorithm: lb.LeastConnections, Enabled: true,
			Persistence: &lb.Persistence{Type: lb.PersistSourceIP},
			HealthCheck: &lb.HealthCheck{Info: lb.Info{Name: "hc"}, Type: lb.CheckTCP, Enabled: true},
			Backends: []*lb.Backend{
				{Info: lb.Info{Name: "b2"}, Address: netip.MustParseAddr("10.0.0.2"), Port: 8080, Weight: 0, Enabled: true, MonitorPort: 9},
				{Info: lb.Info{Name: "b1"}, Address: netip.MustParseAddr("10.0.0.1"), Port: 8080, Weight: 5, Enabled: false, Backup: true},
			},
			SlowStart: time.Second, DeregistrationDelay: time.Minute, FailOpenBelow: 1,
		}},
	}
}

func all() Capabilities { return NewCapabilities("v1.2.3", DataPlane()) }

// decoded gives what the result holds by the last part of its names.
func decoded(t *testing.T, r *Result) map[string]any {
	t.Helper()
	values := make(map[string]any)
	for _, resource := range r.Resources {
		v, err := resource.Decode()
		if err != nil {
			t.Fatalf("%v: %v", resource.Ref, err)
		}
		values[strings.TrimPrefix(resource.Name, parent)] = v
	}
	return values
}

func TestCompile(t *testing.T) {
	t.Parallel()
	got := Compile(normal(t, draft()), all())
	if len(got.Diagnostics) > 0 {
		t.Errorf("diagnostics: %v", got.Diagnostics)
	}
	want := map[string]any{
		"listeners/front": &snapshot.Listener{
			VIPs: []netip.Addr{netip.MustParseAddr("203.0.113.10")}, Port: 80, Protocol: lb.ListenerTCP,
			DefaultPool: parent + "pools/main", ConnectionLimit: 100, AllowedCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
			ConnectTimeout: time.Second, TCPIdleTimeout: time.Minute,
		},
		"pools/main": &snapshot.Pool{
			Protocol: lb.PoolTCP, Algorithm: lb.LeastConnections, Persistence: lb.PersistSourceIP, HealthCheck: parent + "pools/main/healthChecks/hc",
			Backends: []snapshot.Backend{
				{Name: "b1", Addr: netip.MustParseAddrPort("10.0.0.1:8080"), Weight: 5, Backup: true, Draining: true, Monitor: netip.MustParseAddrPort("10.0.0.1:8080")},
				{Name: "b2", Addr: netip.MustParseAddrPort("10.0.0.2:8080"), Monitor: netip.MustParseAddrPort("10.0.0.2:9")},
			},
			SlowStart: time.Second, DeregistrationDelay: time.Minute, FailOpenBelow: 1,
			HashVersion: maglev.HashVersion, TableSize: maglev.DefaultSize,
		},
		"pools/main/healthChecks/hc": &snapshot.HealthCheck{
			Type: lb.CheckTCP, Interval: 5 * time.Second, Timeout: 2 * time.Second, HealthyThreshold: 2, UnhealthyThreshold: 3,
		},
	}
	if values := decoded(t, got); !reflect.DeepEqual(values, want) {
		t.Errorf("compiled to %+v, want %+v", values, want)
	}
	if !slices.IsSortedFunc(got.Resources, func(x, y *snapshot.Resource) int { return x.Ref.Compare(y.Ref) }) {
		t.Error("resources are not sorted")
	}
	if again := Compile(normal(t, draft()), all()); !reflect.DeepEqual(again, got) {
		t.Error("the same load balancer compiles to something else")
	}
}

func TestCompileLeavesOutWhatIsDisabled(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		edit func(l *lb.LoadBalancer)
		want []string
		pool string // that the listener names
	}{
		"load balancer": {func(l *lb.LoadBalancer) { l.Enabled = false }, nil, ""},
		"listener":      {func(l *lb.LoadBalancer) { l.Listeners[0].Enabled = false }, nil, ""},
		"pool":          {func(l *lb.LoadBalancer) { l.Pools[0].Enabled = false }, []string{"listeners/front"}, ""},
		"no pool":       {func(l *lb.LoadBalancer) { l.Listeners[0].DefaultPool = "" }, []string{"listeners/front"}, ""},
		"health check": {
			func(l *lb.LoadBalancer) { l.Pools[0].HealthCheck.Enabled = false },
			[]string{"listeners/front", "pools/main"}, parent + "pools/main",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := draft()
			test.edit(d)
			got := Compile(normal(t, d), all())
			values := decoded(t, got)
			for _, name := range test.want {
				if values[name] == nil {
					t.Errorf("%s is missing", name)
				}
			}
			if len(values) != len(test.want) || len(got.Diagnostics) > 0 {
				t.Errorf("compiled to %v with diagnostics %v, want %v", values, got.Diagnostics, test.want)
			}
			if l, ok := values["listeners/front"].(*snapshot.Listener); ok && l.DefaultPool != test.pool {
				t.Errorf("listener's pool is %q, want %q", l.DefaultPool, test.pool)
			}
			if p, ok := values["pools/main"].(*snapshot.Pool); ok && p.HealthCheck != "" {
				t.Errorf("pool's health check is %q, want none", p.HealthCheck)
			}
		})
	}
}

func TestSharedPoolIsThereOnce(t *testing.T) {
	t.Parallel()
	d := draft()
	second := *d.Listeners[0]
	second.Name, second.Port = "other", 81
	d.Listeners = append(d.Listeners, &second)
	if got := Compile(normal(t, d), all()); len(got.Resources) != 4 {
		t.Errorf("%d resources, want two listeners, a pool and a health check", len(got.Resources))
	}
}

// Without one capability, what needs it is left out with one diagnostic that names it, and all else is there.
func TestCompileWithoutCapability(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		resource, property string
		gone               []string
	}{
		Word(lb.ListenerTCP):      {"listeners/front", "protocol tcp", []string{"listeners/front", "pools/main", "pools/main/healthChecks/hc"}},
		ListenerAllowedCIDRs:      {"listeners/front", "allowed_cidrs", []string{"listeners/front", "pools/main", "pools/main/healthChecks/hc"}},
		ListenerConnectionLimit:   {"listeners/front", "connection_limit", []string{"listeners/front", "pools/main", "pools/main/healthChecks/hc"}},
		Word(lb.PoolTCP):          {"pools/main", "protocol tcp", []string{"pools/main", "pools/main/healthChecks/hc"}},
		PoolBackup:                {"pools/main", "a backup backend", []string{"pools/main", "pools/main/healthChecks/hc"}},
		PoolFailOpen:              {"pools/main", "fail_open_below", []string{"pools/main", "pools/main/healthChecks/hc"}},
		PoolSlowStart:             {"pools/main", "slow_start", []string{"pools/main", "pools/main/healthChecks/hc"}},
		Word(lb.LeastConnections): {"pools/main", "algorithm least_connections", []string{"pools/main", "pools/main/healthChecks/hc"}},
		Word(lb.PersistSourceIP):  {"pools/main", "persistence source_ip", []string{"pools/main", "pools/main/healthChecks/hc"}},
		Word(lb.CheckTCP):         {"pools/main/healthChecks/hc", "type tcp", []string{"pools/main/healthChecks/hc"}},
	}
	l := normal(t, draft())
	whole := decoded(t, Compile(l, all()))
	for word, test := range tests {
		t.Run(word, func(t *testing.T) {
			t.Parallel()
			caps := NewCapabilities("v1.2.3", slices.DeleteFunc(DataPlane(), func(w string) bool { return w == word }))
			got := Compile(l, caps)
			want := []Diagnostic{{parent + test.resource, fmt.Sprintf("%s needs %q, which the node's data plane (version v1.2.3) does not have: "+
				"upgrade it, or keep the load balancer off the node by its node_selector", test.property, word)}}
			if !reflect.DeepEqual(got.Diagnostics, want) {
				t.Errorf("diagnostics are %v, want %v", got.Diagnostics, want)
			}
			values := decoded(t, got)
			if len(values) != len(whole)-len(test.gone) {
				t.Errorf("compiled to %v, want all but %v", values, test.gone)
			}
			for _, gone := range test.gone {
				if values[gone] != nil {
					t.Errorf("%s is still there", gone)
				}
			}
		})
	}
}

func TestHTTPListenerAndItsPoliciesAreRefusedAlone(t *testing.T) {
	t.Parallel()
	d := draft()
	d.Listeners = append(d.Listeners, &lb.Listener{Info: lb.Info{Name: "site"}, Port: 8080, Protocol: lb.ListenerHTTP, Enabled: true})
	d.Policies = []*lb.Policy{
		{Info: lb.Info{Name: "off"}, Listener: "site", Position: 1, Action: lb.Reject},
		{Info: lb.Info{Name: "on"}, Listener: "site", Position: 2, Action: lb.Reject, Enabled: true},
	}
	got := Compile(normal(t, d), all())
	if len(got.Resources) != 3 {
		t.Errorf("%d resources, want the TCP listener, its pool and the health check", len(got.Resources))
	}
	if len(got.Diagnostics) != 2 || got.Diagnostics[0].Resource != parent+"listeners/site" || got.Diagnostics[1].Resource != parent+"listeners/site/l7Policies/on" ||
		!strings.Contains(got.Diagnostics[0].Message, `protocol http needs "listener.http"`) || !strings.Contains(got.Diagnostics[1].Message, `l7 policies need "policy"`) {
		t.Errorf("diagnostics are %v", got.Diagnostics)
	}

	// A data plane of a later version does not help a controller that has no form for what it can do.
	later := NewCapabilities("v9", append(DataPlane(), "listener.http", "policy"))
	for _, d := range Compile(normal(t, d), later).Diagnostics {
		if !strings.Contains(d.Message, "upgrade the controller") {
			t.Errorf("diagnostic is %v", d)
		}
	}
}

// Whatever can be written for a TCP load balancer, down to fractions of milliseconds, is something that nodes accept.
func TestEdgesDecode(t *testing.T) {
	t.Parallel()
	d := draft()
	d.Listeners[0].Timeouts = lb.Timeouts{Connect: 24 * time.Hour, TCPIdle: time.Millisecond + 1}
	d.Listeners[0].ConnectionLimit = lb.MaxConnectionLimit
	p := d.Pools[0]
	p.SlowStart, p.DeregistrationDelay, p.FailOpenBelow = 15*time.Minute, time.Hour, 65535
	p.HealthCheck = &lb.HealthCheck{
		Type: lb.CheckHTTP, Enabled: true, Interval: 100*time.Millisecond + 2, Timeout: 100*time.Millisecond + 1, HealthyThreshold: 10, UnhealthyThreshold: 10,
		HTTP: &lb.HTTPCheck{Method: "HEAD", Path: "/" + strings.Repeat("a", 200), Host: "app.example:8080", Codes: []lb.CodeRange{{First: 100, Last: 599}}},
	}
	p.Backends = nil
	for i := range lb.MaxBackends {
		p.Backends = append(p.Backends, &lb.Backend{
			Info: lb.Info{Name: fmt.Sprintf("b-%d", i)}, Address: netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), Port: 65535, Weight: lb.MaxWeight, Enabled: true,
			MonitorAddress: netip.MustParseAddr("2001:db8::1"), MonitorPort: 1,
		})
	}
	got := Compile(normal(t, d), all())
	if len(decoded(t, got)) != 3 || len(got.Diagnostics) > 0 {
		t.Errorf("compiled to %d resources with diagnostics %v", len(got.Resources), got.Diagnostics)
	}
}

func TestSelects(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		selector, labels map[string]string
		want             bool
	}{
		{nil, nil, true},
		{nil, map[string]string{"a": "1"}, true},
		{map[string]string{"a": "1"}, nil, false},
		{map[string]string{"a": "1"}, map[string]string{"a": "1", "b": "2"}, true},
		{map[string]string{"a": "1", "b": "2"}, map[string]string{"a": "1"}, false},
		{map[string]string{"a": "1"}, map[string]string{"a": "2"}, false},
		{map[string]string{"a": ""}, map[string]string{"b": ""}, false},
		{map[string]string{"a": ""}, map[string]string{"a": ""}, true},
	} {
		if got := Selects(&lb.LoadBalancer{NodeSelector: test.selector}, test.labels); got != test.want {
			t.Errorf("selector %v on labels %v: %v", test.selector, test.labels, got)
		}
	}
}

func TestCapabilities(t *testing.T) {
	t.Parallel()
	words := DataPlane()
	shuffled := slices.Concat(words[5:], words, words[:2])
	if got := NewCapabilities("v1", shuffled); got.Key() != NewCapabilities("v1", words).Key() || !slices.Equal(got.Words(), words) {
		t.Error("order and repetition of words make a difference")
	}
	if NewCapabilities("v1", words).Key() == NewCapabilities("v2", words).Key() {
		t.Error("the version makes no difference")
	}
	if (Capabilities{}).Has(Word(lb.ListenerTCP)) {
		t.Error("no capabilities have one")
	}
	if !slices.Contains(words, "health_check.http") || slices.Contains(words, "listener.http") {
		t.Errorf("words are %v", words)
	}
}
