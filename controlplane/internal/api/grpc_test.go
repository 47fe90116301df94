package api

import (
	"context"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

func TestPanicsAreAnswered(t *testing.T) {
	t.Parallel()
	log := &lockedBuffer{}
	metrics := NewMetrics(prometheus.NewRegistry())
	s := New(Config{Logger: hclog.New(&hclog.LoggerOptions{Output: log}), Metrics: metrics})
	_, err := s.unary(t.Context(), nil, &grpc.UnaryServerInfo{FullMethod: "/x/Y"}, func(context.Context, any) (any, error) { panic("boom") })
	if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "boom") {
		t.Errorf("error %v", err)
	}
	if text := log.String(); !strings.Contains(text, "boom") || !strings.Contains(text, "grpc_test.go") {
		t.Errorf("log %s", text)
	}
	if got := counted(t, metrics.panics); got != 1 {
		t.Errorf("%v panics counted", got)
	}
	if got := counted(t, metrics.requests.WithLabelValues("/x/Y", "Internal")); got != 1 {
		t.Errorf("%v calls counted", got)
	}
}

func counted(t *testing.T, counter prometheus.Counter) float64 {
	t.Helper()
	m := &dto.Metric{}
	if err := counter.Write(m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

func TestCallersWithoutIdentity(t *testing.T) {
	t.Parallel()
	s := New(Config{})
	never := func(context.Context, any) (any, error) { t.Error("handled"); return nil, nil }
	_, err := s.unary(t.Context(), nil, &grpc.UnaryServerInfo{FullMethod: "/fiberlb.v1.PoolService/GetPool"}, never)
	if status.Code(err) != codes.Unauthenticated {
		t.Errorf("error %v", err)
	}
}

// A field that a newer client writes must not get lost without a word.
func TestUnknownFields(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 1)
	x := &fiberlbv1.LoadBalancer{Name: "web", Vips: []string{"203.0.113.1"}}
	x.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 999, protowire.VarintType), 1))
	err := e.conn.Invoke(e.ctx, "/fiberlb.v1.LoadBalancerService/CreateLoadBalancer",
		&fiberlbv1.CreateLoadBalancerRequest{Parent: "projects/default", LoadBalancer: x}, &fiberlbv1.LoadBalancer{})
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "older than the client") || e.dump() != "" {
		t.Errorf("error %v", err)
	}
}

func TestUpdatesSettle(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 1)
	e.must("ConfigService/Apply", base)
	policy := "name: " + web + "/listeners/front/l7Policies/api\nl7_policy: "
	for _, test := range []struct {
		method, request string
		want            proto.Message // fields that must be so
	}{
		{"L7PolicyService/UpdateL7Policy", policy + "{redirect_pools: [{pool_id: main, weight: 3}, {pool_id: spare}]}",
			&fiberlbv1.L7Policy{RedirectPools: []*fiberlbv1.WeightedPool{{PoolId: "main", Weight: proto.Uint32(3)}, {PoolId: "spare", Weight: proto.Uint32(1)}}}},
		{"L7PolicyService/UpdateL7Policy", policy + "{redirect_pool_id: main}", &fiberlbv1.L7Policy{RedirectPoolId: "main"}},
		{"L7PolicyService/UpdateL7Policy", "mask: action,redirect_pool_id,redirect_url\n" + policy + "{action: redirect_to_url, redirect_url: /x}",
			&fiberlbv1.L7Policy{RedirectHttpStatusCode: 302}},
		{"L7PolicyService/UpdateL7Policy", "mask: action,redirect_url\n" + policy + "{action: reject}", &fiberlbv1.L7Policy{RedirectHttpStatusCode: 403}},
		{"HealthCheckService/UpdateHealthCheck", "name: " + web + "/pools/main/healthChecks/default\nhealth_check: {type: tcp}",
			&fiberlbv1.HealthCheck{Type: fiberlbv1.HealthCheckType_HEALTH_CHECK_TYPE_TCP}},
		{"PoolService/CreatePool", "parent: " + web + "\npool: {name: plain, protocol: tcp}", &fiberlbv1.Pool{Name: "plain"}},
		{"ListenerService/CreateListener", "parent: " + web + "\nlistener: {name: raw, port: 81, protocol: http}", &fiberlbv1.Listener{Port: 81}},
		{"ListenerService/UpdateListener", "name: " + web + "/listeners/raw\nlistener: {protocol: tcp, default_pool_id: plain}", &fiberlbv1.Listener{DefaultPoolId: "plain"}},
	} {
		if got := e.must(test.method, test.request); !holds(got.ProtoReflect(), test.want.ProtoReflect()) {
			t.Errorf("%s %s: %v", test.method, test.request, got)
		}
	}
}

// A nameless rule gets its name from its content; the answer, and that of a repetition, is that rule.
func TestNamelessRule(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 1)
	e.must("ConfigService/Apply", base)
	parent := "parent: " + web + "/listeners/front/l7Policies/api\n"
	create := func(value string) string {
		return parent + "request_id: r-" + value + "\nl7_rule: {rule_type: header, key: X-A, compare_type: equal_to, value: " + value + "}"
	}
	one := e.must("L7RuleService/CreateL7Rule", create("one"))
	two := e.must("L7RuleService/CreateL7Rule", create("two"))
	if get(one, "value") != "one" || get(two, "value") != "two" || get(one, "name") == "" || get(one, "name") == get(two, "name") {
		t.Errorf("made %v and %v", one, two)
	}
	if again := e.must("L7RuleService/CreateL7Rule", create("one")); get(again, "uid") != get(one, "uid") {
		t.Errorf("again %v", again)
	}
}
