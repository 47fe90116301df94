package e2e

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
	"github.com/fiberlb/fiberlb/test/harness"
)

const (
	churnChanges = 1000
	churnSeed    = 20
	// held is how many connections stay open meanwhile.
	held = 12
	// Names of what no change removes.
	steadyName, steadyListener, steadyPool = "steady", "front", "servers"
)

// churn changes the configuration of a fleet at random, but for what must not notice: the steady load balancer's listener and
// its first backends.
type churn struct {
	t      *testing.T
	random *rand.Rand
	api    fiberlbv1.ConfigServiceClient
	lbs    fiberlbv1.LoadBalancerServiceClient

	wished  map[string]*fiberlbv1.LoadBalancerConfig
	pool    []*harness.Backend // of which pools are made
	count   int                // of names given
	port    uint32             // of the last listener made; VIPs are private to the test, so all are free
	removed []netip.AddrPort   // listeners that must be closed in the end
	kinds   map[string]int     // changes made, by kind
	latest  int64              // revision of the last write
}

func (c *churn) name(prefix string) string {
	c.count++
	return fmt.Sprint(prefix, c.count)
}

// entries are some of the backends as members of a pool, with random weights of which the first is never 0.
func (c *churn) entries(from []*harness.Backend) []*fiberlbv1.Backend {
	var list []*fiberlbv1.Backend
	for i, b := range from {
		weight := uint32(c.random.IntN(10))
		if i == 0 {
			weight++
		}
		list = append(list, &fiberlbv1.Backend{
			Name: b.Name, Address: b.Addr.Addr().String(), Port: uint32(b.Addr.Port()), Weight: proto.Uint32(weight),
		})
	}
	return list
}

// even gives all backends the same weight.
func even(list []*fiberlbv1.Backend) []*fiberlbv1.Backend {
	for _, b := range list {
		b.Weight = nil
	}
	return list
}

func (c *churn) some() []*harness.Backend {
	some := slices.Clone(c.pool)
	c.random.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
	return some[:1+c.random.IntN(len(some)-1)]
}

func (c *churn) algorithm() fiberlbv1.PoolAlgorithm {
	return fiberlbv1.PoolAlgorithm(1 + c.random.IntN(6))
}

func (c *churn) newPool() *fiberlbv1.Pool {
	p := &fiberlbv1.Pool{
		Name: c.name("pool"), Protocol: fiberlbv1.PoolProtocol_POOL_PROTOCOL_TCP, Algorithm: c.algorithm(), Backends: c.entries(c.some()),
	}
	if c.random.IntN(2) == 0 {
		p.HealthCheck = &fiberlbv1.HealthCheck{
			Type: fiberlbv1.HealthCheckType_HEALTH_CHECK_TYPE_TCP, Interval: durationpb.New(200 * time.Millisecond),
			Timeout: durationpb.New(time.Duration(50+c.random.IntN(100)) * time.Millisecond), HealthyThreshold: 1,
		}
	}
	return p
}

// newListener takes a port that no other listener has, not even a disabled one, whose port the kernel would call free.
func (c *churn) newListener(pool string) *fiberlbv1.Listener {
	c.port++
	return &fiberlbv1.Listener{
		Name: c.name("listener"), Port: c.port, DefaultPoolId: pool,
		Protocol: fiberlbv1.ListenerProtocol_LISTENER_PROTOCOL_TCP,
	}
}

func vipOf(lb *fiberlbv1.LoadBalancerConfig) netip.Addr { return netip.MustParseAddr(lb.GetVips()[0]) }

// change makes one change to what is wished, and returns the name of the load balancer that it is about.
func (c *churn) change() string {
	names := slices.Sorted(maps.Keys(c.wished))
	lb := c.wished[names[c.random.IntN(len(names))]]
	for {
		kinds := []struct {
			name string
			make func(*fiberlbv1.LoadBalancerConfig) bool
		}{
			{"load balancer added", c.addLB}, {"load balancer removed", c.removeLB},
			{"listener added", c.addListener}, {"listener removed", c.removeListener}, {"listener disabled or enabled", c.toggleListener},
			{"pool added", c.addPool}, {"pool removed", c.removePool}, {"algorithm changed", c.changeAlgorithm},
			{"backends replaced", c.replaceBackends}, {"the steady pool's weights and other backends changed", c.churnSteady}, {"the steady listener's limit changed", c.limitSteady},
		}
		kind := kinds[c.random.IntN(len(kinds))]
		if kind.make(lb) {
			c.kinds[kind.name]++
			return lb.GetName()
		}
	}
}

func (c *churn) addLB(lb *fiberlbv1.LoadBalancerConfig) bool {
	if len(c.wished) > 6 {
		return false
	}
	vip, pool := harness.Loopback(), c.newPool()
	added := &fiberlbv1.LoadBalancerConfig{
		Name: c.name("lb"), Vips: []string{vip.String()}, Pools: []*fiberlbv1.Pool{pool},
		Listeners: []*fiberlbv1.Listener{c.newListener(pool.GetName())},
	}
	c.wished[added.GetName()] = added
	c.apply(added)
	return true
}

func (c *churn) removeLB(lb *fiberlbv1.LoadBalancerConfig) bool {
	if lb.GetName() == steadyName {
		return false
	}
	for _, l := range lb.GetListeners() {
		c.closes(lb, l)
	}
	delete(c.wished, lb.GetName())
	if _, err := c.lbs.DeleteLoadBalancer(c.t.Context(), &fiberlbv1.DeleteRequest{
		Name: "projects/default/loadBalancers/" + lb.GetName(), Cascade: true,
	}); err != nil {
		c.t.Fatal(err)
	}
	return true
}

func (c *churn) closes(lb *fiberlbv1.LoadBalancerConfig, l *fiberlbv1.Listener) {
	c.removed = append(c.removed, netip.AddrPortFrom(vipOf(lb), uint16(l.GetPort())))
}

func (c *churn) addListener(lb *fiberlbv1.LoadBalancerConfig) bool {
	pools := lb.GetPools()
	lb.Listeners = append(lb.Listeners, c.newListener(pools[c.random.IntN(len(pools))].GetName()))
	c.apply(lb)
	return true
}

// other picks one of a load balancer's listeners that is not the steady one.
func (c *churn) other(lb *fiberlbv1.LoadBalancerConfig) (int, bool) {
	i := c.random.IntN(len(lb.GetListeners()))
	return i, lb.GetListeners()[i].GetName() != steadyListener && len(lb.GetListeners()) > 1
}

func (c *churn) removeListener(lb *fiberlbv1.LoadBalancerConfig) bool {
	i, ok := c.other(lb)
	if !ok {
		return false
	}
	c.closes(lb, lb.GetListeners()[i])
	lb.Listeners = slices.Delete(lb.Listeners, i, i+1)
	c.apply(lb)
	return true
}

func (c *churn) toggleListener(lb *fiberlbv1.LoadBalancerConfig) bool {
	i, ok := c.other(lb)
	if !ok {
		return false
	}
	l := lb.GetListeners()[i]
	l.Enabled = proto.Bool(l.Enabled != nil && !l.GetEnabled())
	c.apply(lb)
	return true
}

func (c *churn) addPool(lb *fiberlbv1.LoadBalancerConfig) bool {
	lb.Pools = append(lb.Pools, c.newPool())
	c.apply(lb)
	return true
}

func (c *churn) removePool(lb *fiberlbv1.LoadBalancerConfig) bool {
	for i, p := range lb.GetPools() {
		used := slices.ContainsFunc(lb.GetListeners(), func(l *fiberlbv1.Listener) bool { return l.GetDefaultPoolId() == p.GetName() })
		if !used {
			lb.Pools = slices.Delete(lb.Pools, i, i+1)
			c.apply(lb)
			return true
		}
	}
	return false
}

func (c *churn) changeAlgorithm(lb *fiberlbv1.LoadBalancerConfig) bool {
	pools := lb.GetPools()
	pools[c.random.IntN(len(pools))].Algorithm = c.algorithm()
	c.apply(lb)
	return true
}

func (c *churn) replaceBackends(lb *fiberlbv1.LoadBalancerConfig) bool {
	pools := lb.GetPools()
	p := pools[c.random.IntN(len(pools))]
	if p.GetName() == steadyPool {
		return false
	}
	p.Backends = c.entries(c.some())
	c.apply(lb)
	return true
}

// churnSteady keeps the first two backends of the steady pool, with other weights, and replaces all others.
func (c *churn) churnSteady(lb *fiberlbv1.LoadBalancerConfig) bool {
	if lb.GetName() != steadyName {
		return false
	}
	kept := slices.Clone(c.pool[:2])
	for _, b := range c.some() {
		if !slices.Contains(kept, b) {
			kept = append(kept, b)
		}
	}
	lb.Pools[0].Backends = c.entries(kept)
	c.apply(lb)
	return true
}

// limitSteady changes what the steady listener's connections are not concerned by: a limit far away.
func (c *churn) limitSteady(lb *fiberlbv1.LoadBalancerConfig) bool {
	if lb.GetName() != steadyName {
		return false
	}
	lb.Listeners[0].ConnectionLimit = uint32(10_000 + c.random.IntN(10_000))
	c.apply(lb)
	return true
}

func (c *churn) apply(lb *fiberlbv1.LoadBalancerConfig) {
	c.t.Helper()
	res, err := c.api.Apply(c.t.Context(), &fiberlbv1.ApplyRequest{Config: lb})
	if err != nil {
		c.t.Fatalf("apply %v: %v", lb, err)
	}
	c.latest = max(c.latest, res.GetRevision())
}

// TestTrafficDuringChanges holds connections against a storm of changes, all of which concern others.
func TestTrafficDuringChanges(t *testing.T) {
	t.Parallel()
	controller := harness.StartController(t, harness.ControllerConfig{})
	node := harness.StartNode(t, harness.NodeConfig{Controllers: []*harness.Controller{controller}})
	conn := controller.Dial(t, nil)
	c := &churn{
		t: t, random: rand.New(rand.NewPCG(churnSeed, churnSeed)), pool: backends(t, "c", 6), kinds: map[string]int{},
		api: fiberlbv1.NewConfigServiceClient(conn), lbs: fiberlbv1.NewLoadBalancerServiceClient(conn),
		wished: map[string]*fiberlbv1.LoadBalancerConfig{}, port: 1024,
	}
	front := harness.Endpoint(t)
	steady := &fiberlbv1.LoadBalancerConfig{
		Name: steadyName, Vips: []string{front.Addr().String()},
		Listeners: []*fiberlbv1.Listener{{
			Name: steadyListener, Port: uint32(front.Port()), DefaultPoolId: steadyPool,
			Protocol: fiberlbv1.ListenerProtocol_LISTENER_PROTOCOL_TCP,
		}},
		Pools: []*fiberlbv1.Pool{{
			Name: steadyPool, Protocol: fiberlbv1.PoolProtocol_POOL_PROTOCOL_TCP,
			Algorithm: fiberlbv1.PoolAlgorithm_POOL_ALGORITHM_MAGLEV, Backends: even(c.entries(c.pool[:4])),
		}},
	}
	c.wished[steadyName] = steady
	c.apply(steady)
	harness.Serves(t, front)

	// Some of those that stay open are on backends that are going to leave the pool: these drain.
	load := harness.StartLoad(t, front, 2, held)
	began := time.Now()
	for range churnChanges {
		c.change()
	}
	took := time.Since(began)
	settled := harness.Until(t, "the node runs the last change", func() error { return acked(t.Context(), c.lbs, c.wished) })
	result := load.MustStop(t)
	t.Logf("seed %d: %d changes in %s, the last in force %s later; %d connections made and %d held meanwhile, longest gap %s",
		churnSeed, churnChanges, took.Round(time.Millisecond), settled.Round(time.Millisecond), result.Made, held, result.Gap.Round(time.Millisecond))
	t.Logf("changes: %v", c.kinds)
	c.check(node)
}

// acked is nil when every live node runs the latest write of every load balancer, and refuses nothing.
func acked(ctx context.Context, api fiberlbv1.LoadBalancerServiceClient, want map[string]*fiberlbv1.LoadBalancerConfig) error {
	list, err := api.ListLoadBalancers(ctx, &fiberlbv1.ListRequest{Parent: "projects/-"})
	if err != nil {
		return err
	}
	if got := len(list.GetLoadBalancers()); got != len(want) {
		return fmt.Errorf("there are %d load balancers, want %d", got, len(want))
	}
	for _, lb := range list.GetLoadBalancers() {
		s := lb.GetStatus()
		if s.GetProvisioningStatus() != fiberlbv1.ProvisioningStatus_PROVISIONING_STATUS_ACTIVE || s.GetRollout().GetAcked() == 0 {
			return fmt.Errorf("%s: %v", lb.GetName(), s)
		}
	}
	return nil
}

// check compares what the controller has and the node serves with what was wished.
func (c *churn) check(node *harness.Node) {
	c.t.Helper()
	export, err := c.api.Export(c.t.Context(), &fiberlbv1.ExportRequest{Name: "projects/-"})
	if err != nil {
		c.t.Fatal(err)
	}
	for _, lb := range export.GetConfigs() {
		wished := c.wished[lb.GetName()]
		if len(lb.GetListeners()) != len(wished.GetListeners()) || len(lb.GetPools()) != len(wished.GetPools()) {
			c.t.Errorf("%s has %d listeners and %d pools, want %d and %d", lb.GetName(),
				len(lb.GetListeners()), len(lb.GetPools()), len(wished.GetListeners()), len(wished.GetPools()))
		}
	}
	harness.Until(c.t, "no connection is left over", func() error {
		return expectMetric(node.Metrics(c.t), 0, "fiberlb_dataplane_backend_active_connections")
	})
	listeners := 0
	for _, lb := range c.wished {
		for _, l := range lb.GetListeners() {
			at := netip.AddrPortFrom(vipOf(lb), uint16(l.GetPort()))
			if l.Enabled == nil || l.GetEnabled() {
				listeners++
				harness.Serves(c.t, at)
			} else if err := harness.Refused(c.t.Context(), at); err != nil {
				c.t.Errorf("%s is disabled: %v", l.GetName(), err)
			}
		}
	}
	for _, at := range c.removed {
		harness.Until(c.t, "a removed listener is closed", func() error { return harness.Refused(c.t.Context(), at) })
	}
	if err := expectMetric(node.Metrics(c.t), float64(listeners), "fiberlb_dataplane_config_resources", "kind", "listener"); err != nil {
		c.t.Error(err)
	}
}
