package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/fiberlb/fiberlb/controlplane/internal/api"
	"github.com/fiberlb/fiberlb/controlplane/internal/publish"
	"github.com/fiberlb/fiberlb/controlplane/internal/status"
	"github.com/fiberlb/fiberlb/controlplane/internal/store"
	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/tlsid"
	agentv1 "github.com/fiberlb/fiberlb/proto/fiberlb/agent/v1"
	storev1 "github.com/fiberlb/fiberlb/proto/fiberlb/store/v1"
)

// Times of gRPC and of stopping.
const (
	keepaliveTime    = 10 * time.Second // silence after which a client is asked whether it lives
	keepaliveTimeout = 5 * time.Second
	keepaliveMin     = 2 * time.Second // clients may ask this often
	callGrace        = 2 * time.Second // for calls under way when the controller stops
	leaseGrace       = time.Second
	sweepInterval    = 10 * time.Minute
)

// serve builds everything over the store, starts it in the group, and waits until it is ready. The function it gives stops what
// clients hold open, when the group's context has ended.
func (c *Controller) serve(g *group, etcd *etcd, grpcListener, httpsListener net.Listener) (stopped func(), err error) {
	st := store.New(etcd.client, store.Config{Sealer: c.sealer, Logger: c.log.Named("store"), Metrics: store.NewMetrics(c.registry)})
	cluster, err := st.ClusterID(g.ctx)
	if err != nil {
		return nil, err
	}
	c.etcdIs(nil)
	name := c.cfg.Name
	if name == "" {
		name = c.GRPCAddr()
	}
	lease := st.HoldReports()
	publisher := publish.New(publish.Config{
		Controller: name, Authorize: tlsid.RequireNode, Sink: lease,
		Logger: c.log.Named("publish"), Metrics: publish.NewMetrics(c.registry),
	})
	hub := api.NewHub()
	statuses := status.New(localReports(publisher), hub.Status)
	server := api.New(api.Config{
		Store: st, Status: statuses, Hub: hub, Sealing: c.sealer != nil,
		Addresses: lb.AddressPolicy{VIPCIDRs: c.cfg.VIPCIDRs, BackendDenyCIDRs: c.cfg.BackendDenyCIDRs},
		Logger:    c.log.Named("api"), Metrics: api.NewMetrics(c.registry),
	})
	closeLease := func() {
		ctx, cancel := context.WithTimeout(context.Background(), leaseGrace)
		defer cancel()
		if err := lease.Close(ctx); err != nil {
			c.log.Warn("reports of nodes stay until their lease expires", "error", err)
		}
	}
	rest, err := api.NewREST(server)
	if err != nil {
		closeLease()
		return nil, err
	}
	calls, healthy := c.newGRPC(server, publisher)
	stopped = func() {
		healthy.Shutdown()
		server.Stop()
		stopGRPC(calls)
		rest.Close()
		closeLease()
	}

	g.run(etcd.watch)
	c.feed(g, st, publisher, statuses, hub)
	g.run(func(ctx context.Context) error { return c.probe(ctx, st) })
	g.run(func(ctx context.Context) error { st.RunSweeper(ctx, sweepInterval); return nil })
	g.run(func(context.Context) error {
		if err := calls.Serve(grpcListener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			return fmt.Errorf("serve gRPC on %s: %w", grpcListener.Addr(), err)
		}
		return nil
	})
	mux := http.NewServeMux()
	rest.Mount(mux.Handle)
	c.rest.Store(mux)
	if httpsListener != nil {
		g.run(func(ctx context.Context) error {
			return serveHTTPS(ctx, httpsListener, mux, c.files, c.log.Named("https"))
		})
	}
	g.run(func(ctx context.Context) error {
		c.cfg.Notifier.Watchdog(ctx, func() error { hub.Revision(); return nil })
		return nil
	})

	if err := hub.Wait(g.ctx); err != nil {
		stopped()
		return nil, err
	}
	c.loaded.Store(true)
	close(c.ready)
	c.cfg.Notifier.Ready("serving")
	c.log.Info("serving", "name", name, "cluster", cluster, "revision", hub.Revision())
	return stopped, nil
}

// newGRPC makes the server that clients and agents connect to.
func (c *Controller) newGRPC(server *api.Server, publisher *publish.Publisher) (*grpc.Server, *health.Server) {
	calls := grpc.NewServer(append(server.ServerOptions(),
		grpc.Creds(c.creds),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveMin, PermitWithoutStream: true}),
	)...)
	server.Register(calls)
	agentv1.RegisterSnapshotServiceServer(calls, publisher)
	healthy := health.NewServer()
	grpc_health_v1.RegisterHealthServer(calls, healthy)
	reflection.Register(calls)
	return calls, healthy
}

// stopGRPC lets calls under way finish for a while and then cuts them off.
func stopGRPC(calls *grpc.Server) {
	cut := time.AfterFunc(callGrace, calls.Stop)
	defer cut.Stop()
	calls.GracefulStop()
}

// feed has the store's changes reach everybody who lives off them: statuses and watchers by calls that do not wait, the
// publisher, which runs in a goroutine of its own, by a channel.
func (c *Controller) feed(g *group, st *store.Store, publisher *publish.Publisher, statuses *status.Aggregator, hub *api.Hub) {
	batches := make(chan store.Batch)
	configs := st.WatchConfig(g.ctx)
	g.run(func(ctx context.Context) error {
		for batch := range configs {
			statuses.Config(batch)
			hub.Config(batch)
			select {
			case batches <- batch:
			case <-ctx.Done():
				return nil
			}
		}
		if ctx.Err() == nil {
			return errors.New("the watch of the configuration ended")
		}
		return nil
	})
	g.run(func(ctx context.Context) error { return publisher.Run(ctx, batches) })
	reports := st.WatchReports(g.ctx)
	g.run(func(context.Context) error {
		for batch := range reports {
			statuses.Reports(batch)
		}
		return nil
	})
	changes, cancel := publisher.Subscribe()
	g.run(func(ctx context.Context) error {
		defer cancel()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-changes:
				statuses.Kick()
			}
		}
	})
	g.run(func(ctx context.Context) error { statuses.Run(ctx); return nil })
}

func localReports(publisher *publish.Publisher) func() []*storev1.NodeReport {
	return func() []*storev1.NodeReport {
		views := publisher.Nodes()
		reports := make([]*storev1.NodeReport, len(views))
		for i, view := range views {
			reports[i] = view.Report
		}
		return reports
	}
}

// probe keeps asking etcd whether it is there, for /readyz.
func (c *Controller) probe(ctx context.Context, st *store.Store) error {
	ticker := time.NewTicker(probeInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		asked, cancel := context.WithTimeout(ctx, probeInterval)
		_, err := st.ClusterID(asked)
		cancel()
		if ctx.Err() == nil {
			c.etcdIs(err)
		}
	}
}
