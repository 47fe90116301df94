package publish

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/fiberlb/fiberlb/controlplane/internal/store"
	"github.com/fiberlb/fiberlb/pkg/compile"
	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/snapshot"
	agentv1 "github.com/fiberlb/fiberlb/proto/fiberlb/agent/v1"
	storev1 "github.com/fiberlb/fiberlb/proto/fiberlb/store/v1"
)

const cluster = "00000000c0ffee00"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memorySink keeps reports as the store would.
type memorySink struct {
	mu      sync.Mutex
	reports map[string]*storev1.NodeReport
	puts    int
	fail    error
}

func (s *memorySink) Put(_ context.Context, r *storev1.NodeReport) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	s.puts++
	s.reports[r.Node] = r
	return nil
}

func (s *memorySink) Remove(_ context.Context, node string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.reports, node)
	return s.fail
}

func (s *memorySink) get(node string) *storev1.NodeReport {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reports[node]
}

func (s *memorySink) setFail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

// running is a publisher with Run going.
type running struct {
	*Publisher
	sink    *memorySink
	batches chan store.Batch
	stop    func() error
}

func start(t testing.TB, cfg Config) *running {
	t.Helper()
	sink := &memorySink{reports: make(map[string]*storev1.NodeReport)}
	cfg.Sink, cfg.Controller = sink, "controller-1"
	if cfg.Authorize == nil {
		cfg.Authorize = func(context.Context, string) error { return nil }
	}
	r := &running{Publisher: New(cfg), sink: sink, batches: make(chan store.Batch)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx, r.batches) }()
	r.stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// pipe is a stream without a network. A send waits until the agent takes it, as with a full window.
type pipe struct {
	grpc.ServerStream
	ctx context.Context
	in  chan *agentv1.AgentMessage
	out chan *agentv1.ControllerMessage
}

func (p *pipe) Context() context.Context { return p.ctx }

func (p *pipe) Send(m *agentv1.ControllerMessage) error {
	select {
	case p.out <- m:
		return nil
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
}

func (p *pipe) Recv() (*agentv1.AgentMessage, error) {
	select {
	case m := <-p.in:
		return m, nil
	case <-p.ctx.Done():
		return nil, p.ctx.Err()
	}
}

// agent is what a data plane does with its stream, faithfully.
type agent struct {
	t      testing.TB
	node   string
	labels map[string]string
	caps   compile.Capabilities
	pipe   *pipe
	end    func() error // ends the stream and gives the handler's error
	ended  <-chan struct{}

	mu      sync.Mutex
	set     *snapshot.Set
	version snapshot.Version
	drain   *bool
	deltas  []*snapshot.Delta
	states  int
	refuse  func(r *snapshot.Resource) string
	acks    chan snapshot.Version // gets each version once acked, where set
	errors  []*agentv1.ResourceFault
}

func newAgent(t testing.TB, node string, labels map[string]string, words []string) *agent {
	return &agent{t: t, node: node, labels: labels, caps: compile.NewCapabilities("v1", words), set: snapshot.NewSet(nil)}
}

func (a *agent) hello() *agentv1.Hello {
	h := &agentv1.Hello{
		Node: a.node, Labels: a.labels, SoftwareVersion: a.caps.Version(), SchemaVersion: snapshot.SchemaVersion,
		Capabilities: a.caps.Words(), Held: a.set.Held(),
	}
	if a.version != (snapshot.Version{}) {
		h.Version = a.version.Proto()
	}
	return h
}

// dial opens a stream and says the hello; nobody reads it yet.
func (a *agent) dial(p *Publisher, h *agentv1.Hello) {
	ctx, cancel := context.WithCancel(context.Background())
	a.pipe = &pipe{ctx: ctx, in: make(chan *agentv1.AgentMessage, 1), out: make(chan *agentv1.ControllerMessage)}
	ended := make(chan struct{})
	var result error
	go func() {
		defer close(ended)
		result = p.Stream(a.pipe)
		cancel() // as gRPC does
	}()
	a.ended = ended
	a.end = func() error {
		cancel()
		<-ended
		return result
	}
	if h != nil {
		a.pipe.in <- &agentv1.AgentMessage{Message: &agentv1.AgentMessage_Hello{Hello: h}}
	}
}

// connect opens a stream and serves it until it ends.
func (a *agent) connect(p *Publisher) {
	a.mu.Lock()
	a.deltas = nil
	a.mu.Unlock()
	a.dial(p, a.hello())
	go a.serve()
}

func (a *agent) serve() {
	for {
		select {
		case m := <-a.pipe.out:
			if answer := a.take(m); answer != nil {
				a.send(answer)
				if a.acks != nil {
					a.acks <- a.version
				}
			}
		case <-a.ended:
			return
		}
	}
}

func (a *agent) send(m *agentv1.AgentMessage) {
	select {
	case a.pipe.in <- m:
	case <-a.ended:
	}
}

func (a *agent) take(m *agentv1.ControllerMessage) *agentv1.AgentMessage {
	a.mu.Lock()
	defer a.mu.Unlock()
	if state := m.GetNodeState(); state != nil {
		a.states++
		drain := state.Drain
		a.drain = &drain
		return nil
	}
	d, err := snapshot.DeltaFromProto(m.GetDelta())
	if err != nil {
		a.t.Errorf("node %s: %v", a.node, err)
		return nil
	}
	if d.Version.Cluster == a.version.Cluster && d.Version.Revision < a.version.Revision {
		a.t.Errorf("node %s was taken back from %v to %v", a.node, a.version, d.Version)
	}
	if a.drain == nil {
		a.t.Errorf("node %s got configuration before its state", a.node)
	}
	next, err := d.Apply(a.set)
	if err != nil {
		a.t.Errorf("node %s: %v", a.node, err)
		return nil
	}
	a.set, a.version = next, d.Version
	if a.acks == nil {
		a.deltas = append(a.deltas, d)
	}
	a.errors = nil
	for r := range next.All() {
		if a.refuse == nil {
			break
		}
		if a.refuse(r) != "" {
			a.errors = append(a.errors, &agentv1.ResourceFault{Kind: agentv1.Kind(r.Kind), Name: r.Name, Message: a.refuse(r)})
		}
	}
	return ack(a.version, a.errors...)
}

func ack(v snapshot.Version, faults ...*agentv1.ResourceFault) *agentv1.AgentMessage {
	return &agentv1.AgentMessage{Message: &agentv1.AgentMessage_Ack{Ack: &agentv1.Ack{Version: v.Proto(), Errors: faults}}}
}

// state is the agent's at a moment when nothing is under way.
func (a *agent) state() (*snapshot.Set, snapshot.Version, []*snapshot.Delta) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.set, a.version, slices.Clone(a.deltas)
}

// world is the configuration as the store has it.
type world struct {
	random   *rand.Rand
	revision int64
	lbs      map[store.Key]*store.Entry
	nodes    map[string]*store.NodeConfig
}

func newWorld(seed uint64) *world {
	return &world{
		random: rand.New(rand.NewPCG(seed, 7)), revision: 100,
		lbs: make(map[store.Key]*store.Entry), nodes: make(map[string]*store.NodeConfig),
	}
}

func (w *world) everything() store.Batch {
	return store.Batch{Cluster: cluster, Revision: w.revision, Reset: true, LBs: maps.Clone(w.lbs), Nodes: maps.Clone(w.nodes)}
}

// put writes a load balancer and gives the batch that tells so.
func (w *world) put(l *lb.LoadBalancer) store.Batch {
	w.revision++
	e := &store.Entry{LB: l, Revision: w.revision}
	w.lbs[store.KeyOf(l)] = e
	return store.Batch{Cluster: cluster, Revision: w.revision, LBs: map[store.Key]*store.Entry{store.KeyOf(l): e}}
}

func (w *world) remove(key store.Key) store.Batch {
	w.revision++
	delete(w.lbs, key)
	return store.Batch{Cluster: cluster, Revision: w.revision, LBs: map[store.Key]*store.Entry{key: nil}}
}

func (w *world) configure(node string, c *store.NodeConfig) store.Batch {
	w.revision++
	if c == nil {
		delete(w.nodes, node)
	} else {
		c.Revision = w.revision
		w.nodes[node] = c
	}
	return store.Batch{Cluster: cluster, Revision: w.revision, Nodes: map[string]*store.NodeConfig{node: c}}
}

// want is what a node has to run, worked out from nothing.
func (w *world) want(a *agent) *snapshot.Set {
	labels := maps.Clone(a.labels)
	if labels == nil {
		labels = make(map[string]string)
	}
	if c := w.nodes[a.node]; c != nil {
		maps.Copy(labels, c.Labels)
	}
	var all []*snapshot.Resource
	for _, e := range w.lbs {
		if compile.Selects(e.LB, labels) {
			all = append(all, compile.Compile(e.LB, a.caps).Resources...)
		}
	}
	return snapshot.NewSet(all)
}

// check compares the node with what it has to run.
func (w *world) check(t *testing.T, a *agent) {
	t.Helper()
	set, version, _ := a.state()
	want := w.want(a)
	if upserts, removals := snapshot.Diff(set, want); len(upserts)+len(removals) > 0 {
		t.Fatalf("node %s lacks %v and has %v too much", a.node, upserts, removals)
	}
	if version.Digest != want.Digest() || version.Cluster != cluster || version.Revision > w.revision {
		t.Fatalf("node %s runs version %v, at revision %d", a.node, version, w.revision)
	}
}

// balancer gives a small valid load balancer; variant changes one backend's weight and nothing else.
func balancer(t testing.TB, name string, variant int) *lb.LoadBalancer {
	t.Helper()
	return normalize(t, &lb.LoadBalancer{
		Info: lb.Info{Name: name}, Project: "p", Enabled: true, VIPs: []netip.Addr{netip.MustParseAddr("203.0.113.10")},
		Listeners: []*lb.Listener{{Info: lb.Info{Name: "front"}, Port: 80, Protocol: lb.ListenerTCP, DefaultPool: "main", Enabled: true}},
		Pools: []*lb.Pool{{
			Info: lb.Info{Name: "main"}, Protocol: lb.PoolTCP, Enabled: true, HealthCheck: &lb.HealthCheck{Type: lb.CheckTCP, Enabled: true},
			Backends: []*lb.Backend{
				{Info: lb.Info{Name: "b1"}, Address: netip.MustParseAddr("10.0.0.1"), Port: 80, Weight: uint16(1 + variant%200), Enabled: true},
				{Info: lb.Info{Name: "b2"}, Address: netip.MustParseAddr("10.0.0.2"), Port: 80, Weight: 1, Enabled: true},
			},
		}},
	})
}

func normalize(t testing.TB, draft *lb.LoadBalancer) *lb.LoadBalancer {
	t.Helper()
	l, violations := lb.Normalize(draft)
	if violations != nil {
		t.Fatal(violations)
	}
	return l
}

// anyBalancer makes one up.
func (w *world) anyBalancer(t *testing.T, name string) *lb.LoadBalancer {
	r := w.random
	l := &lb.LoadBalancer{Info: lb.Info{Name: name}, Project: "p", Enabled: r.IntN(8) > 0, VIPs: []netip.Addr{netip.AddrFrom4([4]byte{203, 0, 113, byte(r.IntN(200) + 1)})}}
	if r.IntN(2) == 0 {
		l.NodeSelector = map[string]string{"rack": fmt.Sprint(r.IntN(3))}
	}
	pools := r.IntN(4)
	for i := range pools {
		p := &lb.Pool{Info: lb.Info{Name: fmt.Sprintf("pool-%d", i)}, Protocol: lb.PoolTCP, Algorithm: lb.Algorithm(1 + r.IntN(6)), Enabled: r.IntN(6) > 0}
		if r.IntN(2) == 0 {
			p.HealthCheck = &lb.HealthCheck{Type: []lb.HealthCheckType{lb.CheckTCP, lb.CheckHTTP}[r.IntN(2)], Enabled: r.IntN(4) > 0}
		}
		for j := range r.IntN(5) {
			p.Backends = append(p.Backends, &lb.Backend{
				Info: lb.Info{Name: fmt.Sprintf("b-%d", j)}, Address: netip.AddrFrom4([4]byte{10, 0, 0, byte(j + 1)}), Port: 80,
				Weight: uint16(r.IntN(4)), Enabled: r.IntN(4) > 0,
			})
		}
		l.Pools = append(l.Pools, p)
	}
	for i := range r.IntN(4) {
		x := &lb.Listener{Info: lb.Info{Name: fmt.Sprintf("l-%d", i)}, Port: uint16(80 + i), Protocol: lb.ListenerTCP, Enabled: r.IntN(6) > 0}
		if pools > 0 {
			x.DefaultPool = fmt.Sprintf("pool-%d", r.IntN(pools))
		}
		if r.IntN(5) == 0 {
			x.Protocol, x.DefaultPool = lb.ListenerHTTP, ""
		}
		l.Listeners = append(l.Listeners, x)
	}
	return normalize(t, l)
}

var errSink = errors.New("etcd is away")

// within bounds waits of tests over real connections.
const within = 20 * time.Second
