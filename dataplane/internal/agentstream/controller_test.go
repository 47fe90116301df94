package agentstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/fiberlb/fiberlb/dataplane/internal/apply"
	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/maglev"
	"github.com/fiberlb/fiberlb/pkg/snapshot"
	agentv1 "github.com/fiberlb/fiberlb/proto/fiberlb/agent/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds waits for what should come at once.
const patience = 20 * time.Second

// controller is one that does what the test says: every stream comes to it.
type controller struct {
	agentv1.UnimplementedSnapshotServiceServer
	t       *testing.T
	addr    string
	streams chan *peer
}

// peer is the controller's end of one stream.
type peer struct {
	t       *testing.T
	hello   *agentv1.Hello
	acks    chan *agentv1.Ack
	reports chan *agentv1.Report
	stream  agentv1.SnapshotService_StreamServer
	end     chan error
	gone    chan struct{} // closed when the agent's end is closed
}

func newController(t *testing.T) *controller {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &controller{t: t, addr: l.Addr().String(), streams: make(chan *peer)}
	srv := grpc.NewServer(grpc.WaitForHandlers(true))
	agentv1.RegisterSnapshotServiceServer(srv, c)
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(l) })
	t.Cleanup(func() { srv.Stop(); wg.Wait() })
	return c
}

func (c *controller) Stream(st agentv1.SnapshotService_StreamServer) error {
	first, err := st.Recv()
	if err != nil {
		return err
	}
	p := &peer{t: c.t, hello: first.GetHello(), stream: st, end: make(chan error, 1), gone: make(chan struct{}),
		acks: make(chan *agentv1.Ack, 100), reports: make(chan *agentv1.Report, 100)}
	select {
	case c.streams <- p:
	case <-st.Context().Done():
		return st.Context().Err()
	}
	go func() {
		defer close(p.gone)
		for {
			m, err := st.Recv()
			if err != nil {
				return
			}
			if a := m.GetAck(); a != nil {
				p.acks <- a
			}
			if r := m.GetReport(); r != nil {
				p.reports <- r
			}
		}
	}()
	select {
	case err := <-p.end:
		return err
	case <-st.Context().Done():
		return st.Context().Err()
	}
}

func within[T any](t *testing.T, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatalf("%s does not come", what)
		panic("unreachable")
	}
}

func (c *controller) accept() *peer {
	c.t.Helper()
	return within(c.t, "a stream", c.streams)
}

func (p *peer) send(d *snapshot.Delta) {
	p.t.Helper()
	p.sendProto(d.Proto())
}

func (p *peer) sendProto(d *agentv1.Delta) {
	p.t.Helper()
	if err := p.stream.Send(&agentv1.ControllerMessage{Message: &agentv1.ControllerMessage_Delta{Delta: d}}); err != nil {
		p.t.Fatal(err)
	}
}

// recorder is an engine that refuses pools with slow start.
type recorder struct{}

func (recorder) SetPool(_ string, p *snapshot.Pool, _ *snapshot.HealthCheck) error {
	if p.SlowStart > 0 {
		return errors.New("not with this engine")
	}
	return nil
}
func (recorder) RemovePool(string)                            {}
func (recorder) SetListener(string, *snapshot.Listener) error { return nil }
func (recorder) RemoveListener(string)                        {}
func (recorder) Withdrawn(string) bool                        { return true }

// agent is a node with a client.
type agent struct {
	*apply.Applier
	client  *Client
	metrics *Metrics
	reports chan struct{}
	drains  chan bool
	stop    func()

	mu     sync.Mutex // guards all below
	report func(context.Context) (*agentv1.Report, error)
}

func (a *agent) setReport(f func(context.Context) (*agentv1.Report, error)) {
	a.mu.Lock()
	a.report = f
	a.mu.Unlock()
	select {
	case a.reports <- struct{}{}:
	default:
	}
}

func (a *agent) down(n uint32) {
	a.setReport(func(context.Context) (*agentv1.Report, error) { return &agentv1.Report{DownCount: n}, nil })
}

// startAgent runs a client of the controllers, which are tried from the first on.
func startAgent(t *testing.T, controllers ...*controller) *agent {
	t.Helper()
	a := &agent{reports: make(chan struct{}, 1), drains: make(chan bool, 10), metrics: NewMetrics(prometheus.NewRegistry())}
	a.Applier = apply.New(apply.Config{
		Engine: recorder{}, Withdrawals: recorder{}, Logger: hclog.NewNullLogger(),
		Metrics: apply.NewMetrics(prometheus.NewRegistry()), LingerTimeout: time.Second,
	})
	a.down(0)
	cfg := Config{
		Node: "n1", Labels: map[string]string{"rack": "7"}, SoftwareVersion: "v1", Capabilities: []string{"listener.tcp"},
		Credentials: insecure.NewCredentials(), Applier: a.Applier, Reports: a.reports,
		Report: func(ctx context.Context) (*agentv1.Report, error) {
			a.mu.Lock()
			f := a.report
			a.mu.Unlock()
			return f(ctx)
		},
		NodeState: func(drain bool) { a.drains <- drain },
		Logger:    hclog.NewNullLogger(), Metrics: a.metrics,
	}
	for _, c := range controllers {
		cfg.Controllers = append(cfg.Controllers, c.addr)
	}
	var err error
	if a.client, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{a.Applier.Run, a.client.Run} {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				t.Errorf("run: %v", err)
			}
		})
	}
	a.stop = func() { cancel(); wg.Wait() }
	t.Cleanup(a.stop)
	return a
}

func (a *agent) version(t *testing.T) (v snapshot.Version) {
	t.Helper()
	if err := a.View(t.Context(), func(view apply.View) { v, _ = view.Version() }); err != nil {
		t.Fatal(err)
	}
	return v
}

func pool(name string, slowStart time.Duration) *snapshot.Resource {
	return snapshot.EncodePool(name, &snapshot.Pool{
		Protocol: lb.PoolTCP, Algorithm: lb.RoundRobin, HashVersion: maglev.HashVersion,
		TableSize: maglev.DefaultSize, SlowStart: slowStart})
}

func full(revision int64, resources ...*snapshot.Resource) *snapshot.Delta {
	return &snapshot.Delta{Full: true, Upserts: resources, Version: snapshot.Version{
		Cluster: "c", Revision: revision, Digest: snapshot.NewSet(resources).Digest()}}
}

// pools are so many, none of which is refused.
func pools(n int) []*snapshot.Resource {
	var all []*snapshot.Resource
	for i := range n {
		all = append(all, pool(fmt.Sprint("p", i), 0))
	}
	return all
}
