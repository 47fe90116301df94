// Package controlplane is the controller: the public API over etcd, and the streams of snapshots to the nodes' agents. It is
// stateless but for an etcd of its own, if told to embed one, so that any number of replicas serve the same cluster.
package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"google.golang.org/grpc/credentials"

	"github.com/fiberlb/fiberlb/controlplane/internal/secrets"
	"github.com/fiberlb/fiberlb/pkg/adminhttp"
)

// Controller is one replica. Make it with New and Run it once.
type Controller struct {
	cfg      Config
	log      hclog.Logger
	creds    credentials.TransportCredentials
	files    *tlsFiles // nil without TLS files
	sealer   *secrets.Sealer
	registry *prometheus.Registry
	admin    *adminhttp.Server

	grpcAddr  atomic.Pointer[string]
	httpsAddr atomic.Pointer[string]
	rest      atomic.Pointer[http.ServeMux] // nil until the API is there
	ready     chan struct{}                 // closed when the API serves
	conditions
}

// New checks the configuration and reads the files that it names; nothing is bound or contacted yet.
func New(cfg Config, logger hclog.Logger) (*Controller, error) {
	if logger == nil {
		logger = hclog.NewNullLogger()
	}
	if err := cfg.complete(); err != nil {
		return nil, usageError{fmt.Errorf("controlplane: %w", err)}
	}
	c := &Controller{cfg: cfg, log: logger, registry: cfg.Registry, ready: make(chan struct{})}
	cfg.TLS.Log = logger.Named("tls")
	var err error
	if c.creds, err = cfg.TLS.ServerCredentials(cfg.Listen); err != nil {
		err = fmt.Errorf("controlplane: %w", err)
		if !cfg.secure() || cfg.TLS.InsecureLoopback {
			return nil, usageError{err} // the flags do not go together; otherwise it is the files
		}
		return nil, err
	}
	if cfg.secure() {
		if c.files, err = newTLSFiles(cfg.TLS, cfg.TLS.Log); err != nil {
			return nil, fmt.Errorf("controlplane: %w", err)
		}
	}
	if cfg.KeyFile != "" {
		if c.sealer, err = secrets.ReadKeyFile(cfg.KeyFile); err != nil {
			return nil, fmt.Errorf("controlplane: %w", err)
		}
	}
	if c.registry == nil {
		c.registry = prometheus.NewRegistry()
		c.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	}
	c.admin = adminhttp.New(adminhttp.Config{
		Address: cfg.HTTP, Gatherer: c.registry, Ready: c.conditions.list, Log: logger.Named("http"),
	})
	if c.files == nil {
		c.admin.Handle("/v1/", http.HandlerFunc(c.serveREST))
		c.admin.Handle("/openapi.json", http.HandlerFunc(c.serveREST))
	}
	return c, nil
}

// serveREST answers by the API once that is there.
func (c *Controller) serveREST(w http.ResponseWriter, r *http.Request) {
	if mux := c.rest.Load(); mux != nil {
		mux.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write([]byte(`{"code":14,"status":"UNAVAILABLE","message":"the controller is starting: it has no connection to etcd yet"}` + "\n"))
}

// Ready is closed when the controller serves: etcd answers, and the configuration is loaded.
func (c *Controller) Ready() <-chan struct{} { return c.ready }

// GRPCAddr is the address that gRPC is bound to, or empty before it is.
func (c *Controller) GRPCAddr() string { return text(c.grpcAddr.Load()) }

// HTTPAddr is the address that HTTP is bound to, or empty before it is.
func (c *Controller) HTTPAddr() string { return c.admin.Addr() }

// HTTPSAddr is the address that HTTPS is bound to, or empty before it is, and where there is none.
func (c *Controller) HTTPSAddr() string { return text(c.httpsAddr.Load()) }

func text(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}

// Run serves until ctx ends, and returns nil then, within five seconds whatever streams are open; or until something fails that
// it cannot go on without. While etcd does not answer at the start, it waits.
func (c *Controller) Run(ctx context.Context) error {
	if err := c.run(ctx); err != nil {
		return fmt.Errorf("controlplane: %w", err)
	}
	return nil
}

func (c *Controller) run(ctx context.Context) error {
	g := newGroup(ctx)
	defer func() { _ = g.stop() }()

	grpcListener, err := net.Listen("tcp", c.cfg.Listen)
	if err != nil {
		return err
	}
	defer grpcListener.Close()
	address := grpcListener.Addr().String()
	c.grpcAddr.Store(&address)
	var httpsListener net.Listener
	if c.cfg.HTTPS != "" {
		if httpsListener, err = net.Listen("tcp", c.cfg.HTTPS); err != nil {
			return err
		}
		defer httpsListener.Close()
		address := httpsListener.Addr().String()
		c.httpsAddr.Store(&address)
	}
	if err := c.admin.Listen(); err != nil {
		return err
	}
	g.run(c.admin.Run)
	c.log.Info("starting", "version", adminhttp.Version(), "grpc", c.GRPCAddr(), "http", c.HTTPAddr(), "https", c.HTTPSAddr())
	if c.files != nil && httpsListener == nil {
		c.log.Info("the REST API is off: with TLS files it is served on --https")
	}

	etcd, err := c.openEtcd(g.ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return errors.Join(err, g.stop())
	}
	defer etcd.close()
	stopped, err := c.serve(g, etcd, grpcListener, httpsListener)
	if err != nil {
		if ctx.Err() != nil {
			err = nil
		}
		return errors.Join(err, g.stop())
	}
	<-g.ctx.Done()
	c.cfg.Notifier.Stopping()
	c.log.Info("stopping")
	stopped()
	err = g.stop()
	c.log.Info("stopped")
	return err
}

// group runs what makes up the controller. The first failure ends all.
type group struct {
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu  sync.Mutex
	err error // guarded by mu: the first failure
}

func newGroup(ctx context.Context) *group {
	g := &group{}
	g.ctx, g.cancel = context.WithCancel(ctx)
	return g
}

// run starts f, which ends when the group's context does.
func (g *group) run(f func(context.Context) error) {
	g.wg.Go(func() {
		if err := f(g.ctx); err != nil {
			g.mu.Lock()
			if g.err == nil {
				g.err = err
			}
			g.mu.Unlock()
			g.cancel()
		}
	})
}

// stop ends all, waits for it, and gives the first failure.
func (g *group) stop() error {
	g.cancel()
	g.wg.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// conditions are what must hold for the controller to be ready.
type conditions struct {
	etcd   atomic.Pointer[string] // why etcd cannot be used; nil: it can; unset before the first contact
	loaded atomic.Bool            // the configuration is there
	seen   atomic.Bool            // etcd was contacted
}

// etcdIs notes how the last contact with etcd went.
func (c *conditions) etcdIs(err error) {
	c.seen.Store(true)
	if err == nil {
		c.etcd.Store(nil)
		return
	}
	reason := err.Error()
	c.etcd.Store(&reason)
}

func (c *conditions) list() []adminhttp.Condition {
	etcd := adminhttp.Condition{Name: "etcd", OK: c.seen.Load()}
	if reason := c.etcd.Load(); reason != nil {
		etcd.OK, etcd.Reason = false, *reason
	} else if !etcd.OK {
		etcd.Reason = "it was not contacted yet"
	}
	config := adminhttp.Condition{Name: "configuration", OK: c.loaded.Load()}
	if !config.OK {
		config.Reason = "it is not loaded yet"
	}
	return []adminhttp.Condition{etcd, config}
}

// probeInterval is how often etcd is asked whether it is there.
const probeInterval = 2 * time.Second
