package status

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/fiberlb/fiberlb/controlplane/internal/store"
	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/lbpb"
	"github.com/fiberlb/fiberlb/pkg/textform"
	storev1 "github.com/fiberlb/fiberlb/proto/fiberlb/store/v1"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const web = "projects/default/loadBalancers/web"

// parse reads a load balancer in the file format.
func parse(t *testing.T, text string) *lb.LoadBalancer {
	t.Helper()
	config := &fiberlbv1.LoadBalancerConfig{}
	if err := textform.UnmarshalYAML([]byte(text), config); err != nil {
		t.Fatal(err)
	}
	l, violations := lbpb.FromConfig(config)
	if len(violations) > 0 {
		t.Fatal(violations)
	}
	return l
}

const usual = `
name: web
vips: [203.0.113.10]
listeners:
- {name: front, port: 80, protocol: http, default_pool_id: main}
- {name: raw, port: 81, protocol: tcp, default_pool_id: plain}
pools:
- {name: main, protocol: http, health_check: {type: http}, backends: [{name: b1, address: 10.0.0.1, port: 1}, {name: b2, address: 10.0.0.2, port: 1}, {name: b3, address: 10.0.0.3, port: 1, weight: 0}, {name: b4, address: 10.0.0.4, port: 1, enabled: false}]}
- {name: plain, protocol: tcp, backends: [{name: x, address: 10.0.0.9, port: 1}]}
- {name: idle, protocol: http, backends: [{name: z, address: 10.0.0.8, port: 1}]}
l7_policies:
- {name: api, listener_id: front, action: redirect_to_pool, redirect_pool_id: main, rules: [{name: r, rule_type: path, compare_type: equal_to, value: /a}]}
`

// fault is a line of a report: "refused RESOURCE: words", "down …", "listener …", under the load balancer's name.
func node(name string, revision int64, lines ...string) *Node {
	r := &storev1.NodeReport{Node: name, AckedRevision: revision, Labels: map[string]string{"name": name}}
	drain := false
	for _, line := range lines {
		kind, rest, _ := strings.Cut(line, " ")
		resource, words, _ := strings.Cut(rest, ": ")
		e := &fiberlbv1.ResourceError{Resource: web + "/" + resource, Message: words}
		switch kind {
		case "refused":
			r.Errors = append(r.Errors, e)
		case "down":
			r.Down = append(r.Down, e)
			r.DownCount++
		case "listener":
			r.Listeners = append(r.Listeners, e)
		case "draining":
			drain = true
		case "truncated":
			r.DownCount = 1000
		}
	}
	return NewNode(r, nil, drain)
}

func TestDerive(t *testing.T) {
	t.Parallel()
	const healthy = `
web: active online
listeners/front: active online
listeners/raw: active online
pools/main: active online
pools/main/healthChecks/default: active online
pools/main/backends/b1: active online
pools/main/backends/b2: active online
pools/main/backends/b3: active draining (its weight is 0)
pools/main/backends/b4: active offline (it is disabled)
pools/plain: active no_monitor (it has no health check)
pools/plain/backends/x: active no_monitor (its pool has no health check)
pools/idle: active offline (no enabled listener uses it)
pools/idle/backends/z: active offline (its pool: no enabled listener uses it)
listeners/front/l7Policies/api: active online
listeners/front/l7Policies/api/rules/r: active online`
	for _, test := range []struct {
		name    string
		config  string
		nodes   []*Node
		rollout string
		want    string // lines that must be among those told
	}{
		{"no node", usual, nil, "nodes 0 acked 0 nacked 0", `
web: pending offline (no node serves it yet)
listeners/front: pending offline (no node serves it yet)
pools/main/backends/b1: pending offline (no node serves it yet)
listeners/front/l7Policies/api/rules/r: pending offline (no node serves it yet)`},
		{"all well", usual, []*Node{node("n1", 10), node("n2", 11)}, "nodes 2 acked 2 nacked 0", healthy},
		{"one behind", usual, []*Node{node("n1", 10), node("n2", 9)}, "nodes 2 acked 1 nacked 0", `
web: pending online (1 of 2 nodes have not answered yet)
pools/main: pending online (1 of 2 nodes have not answered yet)`},
		{"refused", usual, []*Node{node("n1", 10, "refused pools/main: no such thing"), node("n2", 10), node("n3", 10, "refused pools/main: same")},
			"nodes 3 acked 1 nacked 2 " + web + "/pools/main: n1: no such thing (and 1 more)", `
web: error online (pools/main: n1: no such thing (and 1 more))
pools/main: error online (n1: no such thing (and 1 more))
pools/plain: active no_monitor (it has no health check)
listeners/front: active online`},
		{"refused before", usual, []*Node{node("n1", 9, "refused pools/main: old words")}, "nodes 1 acked 0 nacked 0", `
web: pending online (1 of 1 nodes have not answered yet)
pools/main: pending online (1 of 1 nodes have not answered yet)`},
		{"a name that only begins alike", usual, []*Node{node("n1", 10, "refused pools/mainland: x")}, "nodes 1 acked 0 nacked 1 " + web + "/pools/mainland: n1: x", `
web: error online (pools/mainland: n1: x)
pools/main: active online`},
		{"backend down on one", usual, []*Node{node("n1", 10, "down pools/main/backends/b1: refused"), node("n2", 10)}, "nodes 2 acked 2 nacked 0", `
web: active degraded (listener "front": pool "main": 1 of 2 backends are down: backend "b1": n1: refused)
pools/main: active degraded (1 of 2 backends are down: backend "b1": n1: refused)
pools/main/backends/b1: active degraded (it is down on 1 of 2 nodes: n1: refused)
pools/main/backends/b2: active online
listeners/raw: active online
listeners/front/l7Policies/api: active degraded (pool "main": 1 of 2 backends are down: backend "b1": n1: refused)`},
		{"pool dead on one", usual, []*Node{node("n1", 10, "down pools/main/backends/b1: refused", "down pools/main/backends/b2: timeout"), node("n2", 10)}, "nodes 2 acked 2 nacked 0", `
pools/main: active degraded (no backend is up on 1 of 2 nodes: backend "b1": n1: refused)`},
		{"pool dead everywhere", usual, []*Node{node("n1", 10, "down pools/main/backends/b1: refused", "down pools/main/backends/b2: timeout")}, "nodes 1 acked 1 nacked 0", `
web: active degraded (listener "front": pool "main": no backend is up: backend "b1": n1: refused)
listeners/front: active error (pool "main": no backend is up: backend "b1": n1: refused)
pools/main: active error (no backend is up: backend "b1": n1: refused)
pools/main/backends/b1: active error (it is down: n1: refused)`},
		{"listener unbound on one", usual, []*Node{node("n1", 10, "listener listeners/raw: address in use"), node("n2", 10)}, "nodes 2 acked 2 nacked 0", `
web: active degraded (listener "raw": it does not serve on 1 of 2 nodes: n1: address in use)
listeners/raw: active degraded (it does not serve on 1 of 2 nodes: n1: address in use)`},
		{"all listeners unbound", usual, []*Node{node("n1", 10, "listener listeners/raw: in use", "listener listeners/front: in use")}, "nodes 1 acked 1 nacked 0", `
web: active error (listener "front": it serves on no node: n1: in use)`},
		{"draining", usual, []*Node{node("n1", 10, "draining"), node("n2", 10, "draining")}, "nodes 2 acked 2 nacked 0", `
web: active draining (all its nodes are draining)
listeners/front: active draining (all its nodes are draining)`},
		{"half draining", usual, []*Node{node("n1", 10, "draining"), node("n2", 10)}, "nodes 2 acked 2 nacked 0", `web: active online`},
		{"list cut short", usual, []*Node{node("n1", 10, "truncated")}, "nodes 1 acked 1 nacked 0", `
pools/main/backends/b1: active online (node n1 does not list all backends that it sees down)`},
		{"selector", strings.Replace(usual, "vips:", "node_selector: {name: n2}\nvips:", 1),
			[]*Node{node("n1", 3, "refused pools/main: x", "down pools/main/backends/b1: x"), node("n2", 10)}, "nodes 1 acked 1 nacked 0", healthy},
		{"disabled", strings.Replace(usual, "vips:", "enabled: false\nvips:", 1), []*Node{node("n1", 10)}, "nodes 1 acked 1 nacked 0", `
web: active offline (the load balancer is disabled)
pools/main: active offline (the load balancer is disabled)`},
		{"no listener", "name: web\nvips: [203.0.113.10]", []*Node{node("n1", 10)}, "nodes 1 acked 1 nacked 0", `web: active offline (it has no enabled listener)`},
		{"nothing behind", `{name: web, vips: [203.0.113.10], listeners: [{name: a, port: 1, protocol: tcp}, {name: b, port: 2, protocol: tcp, default_pool_id: p}, {name: c, port: 3, protocol: tcp, default_pool_id: q}], pools: [{name: p, protocol: tcp}, {name: q, protocol: tcp, backends: [{name: x, address: 10.0.0.1, port: 1, enabled: false}]}]}`,
			[]*Node{node("n1", 10)}, "nodes 1 acked 1 nacked 0", `
web: active error (listener "a": it has no pool to send traffic to)
listeners/a: active offline (it has no pool to send traffic to)
pools/p: active error (it has no backend)
pools/q: active error (all its backends are disabled or have weight 0)`},
		{"answers by itself", `{name: web, vips: [203.0.113.10], listeners: [{name: a, port: 1, protocol: http}], l7_policies: [{name: p, listener_id: a, action: reject}]}`,
			[]*Node{node("n1", 10)}, "nodes 1 acked 1 nacked 0", `
web: active online
listeners/a: active online
listeners/a/l7Policies/p: active online`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l := parse(t, test.config)
			view := Derive(l, 10, NewFleet(test.nodes))
			config := lbpb.ToConfig(l)
			view.Attach(config, time.Now())
			told := tell(config)
			for line := range strings.SplitSeq(strings.TrimSpace(test.want), "\n") {
				if !slices.Contains(told, line) {
					t.Errorf("not told: %s\ntold:\n%s", line, strings.Join(told, "\n"))
				}
			}
			r := config.GetStatus().GetRollout()
			rollout := strings.TrimSpace(fmt.Sprintf("nodes %d acked %d nacked %d %s", r.GetNodes(), r.GetAcked(), r.GetNacked(), r.GetLastError()))
			if rollout != test.rollout || r.GetRevision() != 10 {
				t.Errorf("rollout %q, want %q", rollout, test.rollout)
			}
			if reconciling := config.GetStatus().GetReconciling(); reconciling != (r.GetNodes() == 0 || r.GetAcked()+r.GetNacked() < r.GetNodes()) {
				t.Errorf("reconciling %t", reconciling)
			}
			if !view.Equal(Derive(l, 10, NewFleet(test.nodes))) {
				t.Error("the same gives another view")
			}
		})
	}
}

// tell gives the status of every object as a line.
func tell(config *fiberlbv1.LoadBalancerConfig) []string {
	var lines []string
	line := func(full string, s *fiberlbv1.Status) {
		text := fmt.Sprintf("%s: %s %s", strings.TrimPrefix(strings.TrimPrefix(full, web+"/"), "projects/default/loadBalancers/"),
			textform.EnumWord(s.GetProvisioningStatus()), textform.EnumWord(s.GetOperatingStatus()))
		if s.GetReason() != "" {
			text += " (" + s.GetReason() + ")"
		}
		lines = append(lines, text)
	}
	line(config.GetFullName(), config.GetStatus())
	for _, x := range config.GetListeners() {
		line(x.GetFullName(), x.GetStatus())
	}
	for _, x := range config.GetPools() {
		line(x.GetFullName(), x.GetStatus())
		if hc := x.GetHealthCheck(); hc != nil {
			line(hc.GetFullName(), hc.GetStatus())
		}
		for _, b := range x.GetBackends() {
			line(b.GetFullName(), b.GetStatus())
		}
	}
	for _, x := range config.GetL7Policies() {
		line(x.GetFullName(), x.GetStatus())
		for _, r := range x.GetRules() {
			line(r.GetFullName(), r.GetStatus())
		}
	}
	return lines
}

func TestFleet(t *testing.T) {
	t.Parallel()
	set := NewNode(&storev1.NodeReport{Node: "b", Labels: map[string]string{"rack": "1", "zone": "x"}}, map[string]string{"rack": "2"}, true)
	fleet := NewFleet([]*Node{node("c", 5), set, node("a", 3)})
	var names []string
	for _, n := range fleet.Nodes() {
		names = append(names, n.Name)
	}
	if strings.Join(names, "") != "abc" || fleet.Node("b") != set || fleet.Node("nope") != nil {
		t.Errorf("nodes %q", names)
	}
	if g := fleet.selected(map[string]string{"rack": "2", "zone": "x"}); len(g.nodes) != 1 || g.draining != 1 {
		t.Errorf("selected %v", g)
	}
	if g := fleet.selected(nil); len(g.nodes) != 3 || g.answered(4) != 1 || g.answered(6) != 0 || g.answered(0) != 3 {
		t.Errorf("selected %v", g)
	}
	if got := loadBalancerOf(web + "/pools/a/backends/b"); got != web {
		t.Errorf("load balancer %q", got)
	}
	if got := loadBalancerOf("junk"); got != "junk" {
		t.Errorf("load balancer %q", got)
	}
}

func TestCertificateExpiry(t *testing.T) {
	t.Parallel()
	v := Derive(parse(t, usual), 10, NewFleet([]*Node{node("n1", 10)}))
	config := &fiberlbv1.Certificate{}
	if at := v.certificate(config, time.Unix(100, 0)); at.status != online {
		t.Errorf("without an end: %v", at)
	}
	config.ExpiresAt = timestamppb.New(time.Unix(99, 0))
	if at := v.certificate(config, time.Unix(100, 0)); at.status != failing || !strings.Contains(at.reason, "expired on 1970-01-01") {
		t.Errorf("expired: %v", at)
	}
}

func TestAggregator(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := parse(t, usual)
		l.UID = "1"
		key := store.KeyOf(l)
		entry := &store.Entry{LB: l, Revision: 10}
		var changed [][]store.Key
		var local []*storev1.NodeReport
		a := New(func() []*storev1.NodeReport { return local }, func(keys []store.Key) { changed = append(changed, keys) })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); a.Run(ctx) }()
		settled := func() { <-time.After(time.Second); synctest.Wait() }
		status := func() *fiberlbv1.Status { return a.View(l, 10).LoadBalancer() }
		expect := func(what string, news int, nodes, acked uint32) {
			t.Helper()
			settled()
			if s := status(); s.GetRollout().GetNodes() != nodes || s.GetRollout().GetAcked() != acked || len(changed) != news {
				t.Errorf("%s: %v, told %d times, want %d", what, s, len(changed), news)
			}
		}
		a.Config(store.Batch{Reset: true, LBs: map[store.Key]*store.Entry{key: entry}})
		expect("first", 0, 0, 0)
		a.Reports(store.ReportBatch{Reset: true, Reports: map[string]*storev1.NodeReport{"n1": {Node: "n1", AckedRevision: 9}}})
		expect("a node", 1, 1, 0)
		local = []*storev1.NodeReport{{Node: "n1", AckedRevision: 10}}
		a.Kick()
		expect("the publisher is fresher", 2, 1, 1)
		local = []*storev1.NodeReport{{Node: "n1", AckedRevision: 10}}
		a.Kick()
		expect("nothing new", 2, 1, 1)
		a.Config(store.Batch{Nodes: map[string]*store.NodeConfig{"n1": {Drain: true}}})
		expect("draining", 3, 1, 1)
		if s := status(); s.GetOperatingStatus() != draining {
			t.Errorf("status %v", s)
		}
		a.Config(store.Batch{Nodes: map[string]*store.NodeConfig{"n1": nil}})
		expect("drained no more", 4, 1, 1)
		// What is written anew is told with its status, so that there is nothing to add.
		a.Config(store.Batch{LBs: map[store.Key]*store.Entry{key: {LB: l, Revision: 12}}})
		settled()
		if s := a.View(l, 12).LoadBalancer(); s.GetProvisioningStatus() != pending || len(changed) != 4 {
			t.Errorf("written: %v, told %d times", s, len(changed))
		}
		a.Config(store.Batch{LBs: map[store.Key]*store.Entry{key: entry}})
		settled()
		// A revision that is not known yet is pending at once.
		if s := a.View(l, 11).LoadBalancer(); s.GetProvisioningStatus() != pending || s.GetRollout().GetRevision() != 11 {
			t.Errorf("next revision: %v", s)
		}
		local = nil
		a.Reports(store.ReportBatch{Reports: map[string]*storev1.NodeReport{"n1": nil}})
		expect("gone", 5, 0, 0)
		a.Config(store.Batch{LBs: map[store.Key]*store.Entry{key: nil}})
		settled()
		if len(a.current.Load().views) != 0 || len(changed) != 5 {
			t.Errorf("deleted: %v, told %d times", a.current.Load().views, len(changed))
		}
		cancel()
		<-done
	})
}

func BenchmarkDerive(b *testing.B) {
	l := &lb.LoadBalancer{Project: "default", Enabled: true}
	l.Name = "web"
	var nodes []*Node
	for i := range 1000 {
		nodes = append(nodes, node(fmt.Sprintf("n%04d", i), int64(i)))
	}
	fleet := NewFleet(nodes)
	for b.Loop() {
		Derive(l, 500, fleet)
	}
}
