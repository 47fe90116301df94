// Package dataplane runs the data plane of one node: it takes configuration
// from a controller or a file, serves the listeners it describes, and tells
// the BGP agent of the node which VIPs are ready.
package dataplane

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/fiberlb/fiberlb/dataplane/internal/agentstream"
	"github.com/fiberlb/fiberlb/dataplane/internal/apply"
	"github.com/fiberlb/fiberlb/dataplane/internal/balance"
	"github.com/fiberlb/fiberlb/dataplane/internal/l4"
	"github.com/fiberlb/fiberlb/dataplane/internal/ready"
	"github.com/fiberlb/fiberlb/dataplane/internal/state"
	"github.com/fiberlb/fiberlb/dataplane/internal/static"
	"github.com/fiberlb/fiberlb/dataplane/internal/vip"
	"github.com/fiberlb/fiberlb/pkg/adminhttp"
	"github.com/fiberlb/fiberlb/pkg/compile"
	"github.com/fiberlb/fiberlb/pkg/snapshot"
)

const (
	// lingerTimeout bounds how long a removed VIP's listeners wait for its withdrawal.
	lingerTimeout = 2 * time.Second
	// saveInterval is the least time between two writes of the state file.
	saveInterval = 100 * time.Millisecond
	// observeInterval is the least time between two looks at the node's state,
	// so that a storm of health changes costs little.
	observeInterval = 10 * time.Millisecond
	// observeShare bounds the time spent looking: a look is followed by so many
	// times its length of pause. It grows with what the node has, a change does not.
	observeShare = 20
)

// Dataplane is the data plane of one node.
type Dataplane struct {
	cfg      Config
	logger   hclog.Logger
	registry *balance.Registry
	server   *l4.Server
	vips     *vip.Keeper
	applier  *apply.Applier
	ready    *ready.Server
	admin    *adminhttp.Server
	stream   *agentstream.Client // nil in static mode
	metrics  *agentstream.Metrics
	file     *state.File // nil where nothing is to be kept
	observer *observer
	// inForce is closed when the first configuration is in force.
	inForce chan struct{}
}

// New checks the configuration and prepares everything; nothing is bound or
// dialled before Run, but for the admin address.
func New(cfg Config) (*Dataplane, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	d := &Dataplane{cfg: cfg, logger: cfg.Logger, inForce: make(chan struct{})}
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if err := d.open(); err != nil {
		return nil, err
	}
	d.registry = balance.NewRegistry(balance.Config{Logger: d.logger.Named("balance")})
	d.server = l4.New(l4.Config{Logger: d.logger.Named("l4"), Registry: d.registry})
	d.ready = ready.NewServer(cfg.ReadinessSocket, d.logger.Named("ready"))
	d.applier = apply.New(apply.Config{
		Engine:        &engine{d.registry, d.server},
		Withdrawals:   d.ready,
		Logger:        d.logger.Named("apply"),
		Metrics:       apply.NewMetrics(reg),
		LingerTimeout: lingerTimeout,
	})
	d.observer = newObserver(d)
	reg.MustRegister(d.registry, d.server)
	if err := d.source(reg); err != nil {
		return nil, err
	}
	d.admin = adminhttp.New(adminhttp.Config{
		Address: cfg.Admin, Gatherer: reg, PProf: cfg.PProf, Log: d.logger.Named("admin"),
		Ready: d.conditions,
	})
	d.admin.Handle("GET /state", http.HandlerFunc(d.observer.serveState))
	if err := d.admin.Listen(); err != nil {
		return nil, fmt.Errorf("%w: --admin: %w", ErrConfig, err)
	}
	return d, nil
}

// open prepares the state directory, which a node without controllers and
// interface does not need, and the VIPs' interface.
func (d *Dataplane) open() error {
	var owned []netip.Addr
	if d.cfg.ConfigFile == "" || d.cfg.VIPInterface != "" {
		var err error
		if d.file, err = state.Open(d.cfg.StateDir); err != nil {
			return fmt.Errorf("%w: --state-dir: %w", ErrConfig, err)
		}
		if owned, err = d.file.Addresses(); err != nil {
			d.logger.Error("VIPs that an earlier process put on the interface are not known", "error", err)
		}
	}
	var err error
	if d.vips, err = vip.New(vip.Config{Interface: d.cfg.VIPInterface, Owned: owned, Logger: d.logger.Named("vip")}); err != nil {
		return fmt.Errorf("%w: --vip-interface: %w", ErrConfig, err)
	}
	return nil
}

// source prepares what configuration comes from.
func (d *Dataplane) source(reg prometheus.Registerer) error {
	if d.cfg.ConfigFile != "" {
		registerReload(reg, d.observer)
		return nil
	}
	creds, err := d.cfg.TLS.ClientCredentials(d.cfg.Controllers)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	d.metrics = agentstream.NewMetrics(reg)
	d.stream, err = agentstream.New(agentstream.Config{
		Node:            d.cfg.Node,
		Labels:          d.cfg.Labels,
		SoftwareVersion: adminhttp.Version(),
		Capabilities:    compile.DataPlane(),
		Controllers:     d.cfg.Controllers,
		Credentials:     creds,
		Applier:         d.applier,
		Report:          d.observer.report,
		Reports:         d.observer.reports,
		NodeState:       d.observer.setDrain,
		Logger:          d.logger.Named("stream"),
		Metrics:         d.metrics,
	})
	return err
}

// AdminAddr is where metrics, health and state are served.
func (d *Dataplane) AdminAddr() string { return d.admin.Addr() }

// Ready is closed once a configuration is in force.
func (d *Dataplane) Ready() <-chan struct{} { return d.inForce }

// Run serves until ctx ends; then it takes no new connections and gives open
// ones up to DrainTimeout.
func (d *Dataplane) Run(ctx context.Context) error {
	d.logger.Info("data plane starts", "node", d.cfg.Node, "version", adminhttp.Version(), "admin", d.AdminAddr())
	// Parts run in a context of their own, so that they stop in order.
	parts, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	part := func(ctx context.Context, name string, run func(context.Context) error) {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				stop(fmt.Errorf("dataplane: %s: %w", name, err))
			}
		})
	}
	// The apply loop ends last: the others ask it until they end.
	loop, stopLoop := context.WithCancel(context.WithoutCancel(ctx))
	var applying sync.WaitGroup
	applying.Go(func() { _ = d.applier.Run(loop) })
	err := d.boot(parts)
	if err == nil {
		err = d.observer.observe(parts) // so that nobody is told an empty state
	}
	if err == nil {
		part(parts, "admin", d.admin.Run)
		part(parts, "readiness", d.ready.Run)
		part(parts, "observe", d.observer.run)
		part(parts, "vip", d.vips.Run)
		part(parts, "configuration", d.follow)
		part(parts, "state", d.save)
		part(parts, "watchdog", d.watchdog)
		select {
		case <-ctx.Done():
		case <-parts.Done():
			err = context.Cause(parts)
		}
	}
	d.cfg.Notifier.Stopping()
	d.logger.Info("data plane stops")
	d.observer.setStopping()
	d.drain(ctx)
	stop(nil)
	wg.Wait()
	stopLoop()
	applying.Wait()
	d.registry.Close()
	d.logger.Info("data plane stopped")
	return err
}

// drain tells the BGP agent, then closes listeners and waits for connections.
func (d *Dataplane) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.cfg.DrainTimeout)
	defer cancel()
	if err := d.server.Close(ctx); err != nil {
		d.logger.Warn("connections cut at the end of the drain", "timeout", d.cfg.DrainTimeout.String(), "error", err)
	}
}

// boot puts the first configuration in force: the file in static mode, else
// the last good snapshot, if there is one.
func (d *Dataplane) boot(ctx context.Context) error {
	if d.cfg.ConfigFile != "" {
		return d.loadFile(ctx, 1)
	}
	content, err := d.file.Load()
	if err != nil {
		d.logger.Error("last good snapshot is of no use; waiting for a controller", "error", err)
		return nil
	}
	if content == nil {
		return nil
	}
	res, err := d.applier.Restore(ctx, content)
	if err != nil {
		d.logger.Error("last good snapshot is not in force; waiting for a controller", "error", err)
		return nil
	}
	d.logger.Info("last good snapshot in force", "revision", res.Version.Revision, "refused", len(res.Faults))
	return nil
}

func (d *Dataplane) loadFile(ctx context.Context, revision int64) error {
	delta, err := static.Load(d.cfg.ConfigFile, d.cfg.Labels, revision)
	if err != nil {
		return err
	}
	res, err := d.applier.Apply(ctx, delta)
	if err != nil {
		return err
	}
	var faults []error
	for _, f := range res.Faults {
		faults = append(faults, fmt.Errorf("%s: %s", f.Ref, f.Message))
	}
	return errors.Join(faults...)
}

// follow takes configuration as it changes.
func (d *Dataplane) follow(ctx context.Context) error {
	if d.stream != nil {
		return d.stream.Run(ctx)
	}
	for revision := int64(2); ; revision++ {
		select {
		case <-ctx.Done():
			return nil
		case <-d.cfg.Reload:
		}
		d.cfg.Notifier.Reloading()
		err := d.loadFile(ctx, revision)
		d.observer.reloaded(err)
		if err != nil {
			d.logger.Error("file refused, the configuration in force stays", "file", d.cfg.ConfigFile, "error", err)
		} else {
			d.logger.Info("file reloaded", "file", d.cfg.ConfigFile)
		}
		d.cfg.Notifier.Ready(d.observer.summary())
	}
}

// save keeps the last good snapshot on disk.
func (d *Dataplane) save(ctx context.Context) error {
	if d.stream == nil {
		return nil
	}
	saver := state.Saver{
		File: d.file, Interval: saveInterval, Logger: d.logger.Named("state"), Changed: d.observer.saves,
		Source: func(ctx context.Context) (f *snapshot.File, err error) {
			err = d.applier.View(ctx, func(v apply.View) { f = v.File() })
			return f, err
		},
	}
	return saver.Run(ctx)
}

func (d *Dataplane) watchdog(ctx context.Context) error {
	// An apply loop that does not answer is a data plane that no longer follows.
	d.cfg.Notifier.Watchdog(ctx, func() error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		return d.applier.View(ctx, func(apply.View) {})
	})
	return nil
}

// conditions of readiness.
func (d *Dataplane) conditions() []adminhttp.Condition {
	c := adminhttp.Condition{Name: "configuration", OK: true}
	select {
	case <-d.inForce:
	default:
		c.OK, c.Reason = false, "no configuration is in force yet"
	}
	return []adminhttp.Condition{c, d.observer.condition()}
}
