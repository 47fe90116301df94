// Package apply owns what a node runs: it takes deltas, from a controller, the
// state file or a static file alike, and puts them in force resource by
// resource. A resource that cannot be put in force is refused alone and its
// last good version stays, with all that this version refers to. What is in
// force never refers to something that is not: a resource whose reference is
// missing is refused until the reference comes.
//
// One goroutine, [Applier.Run], owns all of the state; everybody else asks it.
package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/fiberlb/fiberlb/pkg/snapshot"
)

// Engine carries the traffic. Calls come from one goroutine.
type Engine interface {
	// SetPool creates or changes a pool; hc is nil where there is none.
	SetPool(name string, p *snapshot.Pool, hc *snapshot.HealthCheck) error
	RemovePool(name string)
	// SetListener creates or changes a listener. Addresses that cannot be
	// bound yet are not an error here: the engine keeps trying and says so in
	// its status.
	SetListener(name string, l *snapshot.Listener) error
	RemoveListener(name string)
}

// Withdrawals tells whether a VIP that leaves the configuration may be closed.
type Withdrawals interface {
	// Withdrawn is true when no BGP agent is connected, or the connected one
	// reported that it does not announce the VIP.
	Withdrawn(vip string) bool
}

// Config of an Applier. All fields are required.
type Config struct {
	Engine      Engine
	Withdrawals Withdrawals
	Logger      hclog.Logger
	Metrics     *Metrics
	// LingerTimeout bounds how long the listeners of a removed VIP wait for
	// its withdrawal; 2 s in production.
	LingerTimeout time.Duration
}

// Applier is the one apply loop of a node.
type Applier struct {
	cfg     Config
	calls   chan func()
	changed chan struct{}
	wake    chan struct{}
	stopped chan struct{}

	st state // owned by Run
}

// ErrOlder tells that a delta would lead to an older state of the same cluster.
var ErrOlder = errors.New("the offered configuration is older than the one in force")

// ErrStopped tells that the loop has ended.
var ErrStopped = errors.New("apply: stopped")

// New makes an Applier that holds nothing. It does nothing until Run.
func New(cfg Config) *Applier {
	return &Applier{
		cfg:     cfg,
		calls:   make(chan func()),
		changed: make(chan struct{}, 1),
		wake:    make(chan struct{}, 1),
		stopped: make(chan struct{}),
		st:      newState(),
	}
}

// Run owns the state until ctx ends. It leaves the engine as it is.
func (a *Applier) Run(ctx context.Context) error {
	defer close(a.stopped)
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case call := <-a.calls:
			call()
		case <-a.wake:
			a.endLingering(time.Now())
		case now := <-timer.C:
			a.endLingering(now)
		}
		if at, ok := a.nextLinger(); ok {
			timer.Reset(time.Until(at))
		}
	}
}

// Wake makes the loop look again whether lingering listeners may close.
func (a *Applier) Wake() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Changed receives, coalesced, after every change of what is in force.
func (a *Applier) Changed() <-chan struct{} { return a.changed }

// do runs f in the loop.
func (a *Applier) do(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case a.calls <- func() { f(); close(done) }:
	case <-ctx.Done():
		return ctx.Err()
	case <-a.stopped:
		return ErrStopped
	}
	<-done // the loop finishes what it has taken
	return nil
}

// Result of a delta.
type Result struct {
	Version snapshot.Version
	// Faults of all resources refused at present, whether by this delta or an earlier one.
	Faults []Fault
}

// Fault tells why a resource is not in force as wished.
type Fault struct {
	snapshot.Ref
	Message string
}

// Apply puts a delta in force. It returns ErrOlder or
// snapshot.ErrDigest where the delta as a whole is refused, in which case nothing has changed.
func (a *Applier) Apply(ctx context.Context, d *snapshot.Delta) (Result, error) {
	var (
		res Result
		err error
	)
	if e := a.do(ctx, func() { res, err = a.apply(d) }); e != nil {
		return Result{}, e
	}
	return res, err
}

// Restore puts a state file's content in force: first with the last good forms
// in place of the refused ones, so that they stay where the wished ones are
// refused again. Nobody sees the state between the two.
func (a *Applier) Restore(ctx context.Context, f *snapshot.File) (Result, error) {
	var (
		res Result
		err error
	)
	if e := a.do(ctx, func() { res, err = a.restore(f) }); e != nil {
		return Result{}, e
	}
	return res, err
}

func (a *Applier) restore(f *snapshot.File) (Result, error) {
	if f.LastGood.Len() > 0 {
		good := f.Set.With(slices.Collect(f.LastGood.All()), nil)
		version := snapshot.Version{Cluster: f.Version.Cluster, Digest: good.Digest()}
		if _, err := a.apply(full(version, good)); err != nil {
			return Result{}, err
		}
	}
	return a.apply(full(f.Version, f.Set))
}

func full(v snapshot.Version, set *snapshot.Set) *snapshot.Delta {
	return &snapshot.Delta{Full: true, Version: v, Upserts: slices.Collect(set.All())}
}

func (a *Applier) apply(d *snapshot.Delta) (Result, error) {
	started := time.Now()
	if err := a.st.admit(d); err != nil {
		return Result{}, fmt.Errorf("apply: version %v of cluster %q: %w", d.Version, d.Version.Cluster, err)
	}
	plan := a.st.plan(d)
	changed, removed := len(plan.unsettled), len(plan.removals)
	a.put(plan)
	a.st.enter(d.Version, started)

	a.cfg.Metrics.applied(&a.st, time.Since(started))
	if changed+removed > 0 {
		a.cfg.Logger.Info("configuration in force", "revision", d.Version.Revision, "changed", changed,
			"removed", removed, "refused", len(a.st.faults), "took", time.Since(started).Round(time.Microsecond).String())
	}
	a.notify()
	return Result{Version: a.st.version, Faults: a.st.sortedFaults()}, nil
}

func (a *Applier) notify() {
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// refuse records why ref is not as wished; its last good version stays. It is
// tried again when waitsFor, where there is one, is put in force.
func (a *Applier) refuse(ref, waitsFor snapshot.Ref, err error) {
	a.st.refuse(ref, fault{message: err.Error(), waitsFor: waitsFor})
	a.cfg.Logger.Warn("resource refused, its last good version stays", "resource", ref, "error", err)
}
