// Package balance owns the pools of a node and the runtime state of their backends: health, connection counts, draining and
// slow start. It chooses the backend of each flow.
//
// A backend's state belongs to its pool's name, its own name and its address, and outlives every change of configuration
// that keeps those three. Readers of a pool see one immutable state through one atomic pointer; the Registry, under its
// lock, builds the next state aside whenever configuration or health change.
package balance

import (
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/fiberlb/fiberlb/dataplane/internal/health"
	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/maglev"
	"github.com/fiberlb/fiberlb/pkg/snapshot"
)

// Config of a Registry.
type Config struct {
	Logger hclog.Logger   // nil: none
	Prober *health.Prober // nil: one of the registry's own; else the caller closes it, after the registry
}

// Registry holds all pools of a node.
type Registry struct {
	log       hclog.Logger
	prober    *health.Prober
	ownProber bool
	tables    tables
	changes   broadcast
	expiries  broadcast

	mu       sync.Mutex // guards all that follows, and what Pool and Backend say it guards
	closed   bool
	pools    map[string]*Pool
	backends map[id]*Backend // configured ones, and removed ones until their delay has passed
}

// NewRegistry returns an empty registry. Close it when done.
func NewRegistry(cfg Config) *Registry {
	r := &Registry{log: cfg.Logger, prober: cfg.Prober, pools: make(map[string]*Pool), backends: make(map[id]*Backend)}
	if r.log == nil {
		r.log = hclog.NewNullLogger()
	}
	if r.prober == nil {
		r.prober, r.ownProber = health.New(health.Config{}), true
	}
	return r
}

// Close stops probes and timers. Pools keep the state they have; SetPool is refused from now on.
func (r *Registry) Close() {
	r.mu.Lock()
	r.closed = true
	for _, b := range r.backends {
		r.unwatch(b)
		r.stopDrainTimer(b)
	}
	for _, p := range r.pools {
		if p.warm != nil {
			p.warm.Stop()
		}
	}
	r.mu.Unlock()
	if r.ownProber {
		r.prober.Close()
	}
}

// Pool returns the handle of a pool, nil if there is no such pool.
func (r *Registry) Pool(name string) *Pool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pools[name]
}

// SetPool puts a pool in force, new or changed, with its health check, nil for none. An error means that nothing changed.
//
// Backends that stay keep their state. New ones are probed at once and take traffic after the first success, or at once if
// there is no check. Those that are gone take no new connections and expire after the deregistration delay.
func (r *Registry) SetPool(name string, conf *snapshot.Pool, check *snapshot.HealthCheck) error {
	if err := Validate(conf, check); err != nil {
		return fmt.Errorf("balance: pool %q: %w", name, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return fmt.Errorf("balance: pool %q: closed", name)
	}
	p, known := r.pools[name]
	if !known {
		p = &Pool{name: name, registry: r}
		r.pools[name] = p
	}
	gone := make(map[*Backend]bool, len(p.backends))
	for _, b := range p.backends {
		gone[b] = true
	}
	p.conf, p.check = conf, check
	p.backends = make([]*Backend, len(conf.Backends))
	for i := range conf.Backends {
		p.backends[i] = r.setBackend(p, &conf.Backends[i], !known)
		delete(gone, p.backends[i])
	}
	for b := range gone {
		r.removeBackend(b, conf.DeregistrationDelay)
	}
	r.rebuild(p)
	r.changes.notify()
	return nil
}

// RemovePool takes a pool out of force; its backends drain. The handle picks nobody any more, even if a pool of that name
// is set again.
func (r *Registry) RemovePool(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.pools[name]
	if p == nil {
		return
	}
	delete(r.pools, name)
	for _, b := range p.backends {
		r.removeBackend(b, p.conf.DeregistrationDelay)
	}
	p.backends = nil
	if p.warm != nil {
		p.warm.Stop()
	}
	p.state.Store(&picker{err: errRemoved, delay: p.conf.DeregistrationDelay})
	r.changes.notify()
}

// setBackend brings one backend up to its configuration, creating it where there is none.
func (r *Registry) setBackend(p *Pool, conf *snapshot.Backend, founding bool) *Backend {
	now := time.Now()
	key := id{pool: p.name, name: conf.Name, addr: conf.Addr}
	b := r.backends[key]
	fresh := b == nil || b.pool == nil
	if b == nil {
		b = &Backend{id: key, founding: founding}
		r.backends[key] = b
	}
	starts := fresh || b.conf.Draining // where it is not Draining any more
	b.pool, b.conf = p, *conf
	if fresh {
		// What was known of one that comes back is as old as its removal.
		b.verdict, b.since = health.Verdict{State: health.Checking}, now
	}
	r.setWatch(b, p.check, now)
	if conf.Draining {
		r.drain(b, p.conf.DeregistrationDelay)
		return b
	}
	r.undrain(b)
	if starts && b.verdict.State.Serving() {
		r.startServing(b, now)
	}
	return b
}

// setWatch makes the probes of a backend what the pool's check says. A change of the check keeps the last state.
func (r *Registry) setWatch(b *Backend, check *snapshot.HealthCheck, now time.Time) {
	if check == nil {
		r.unwatch(b)
		if b.verdict.State != health.Unmonitored {
			b.verdict, b.since = health.Verdict{State: health.Unmonitored}, now
		}
		return
	}
	target := health.Target{Backend: b.id.addr, Monitor: b.conf.Monitor, Check: check}
	if b.watch != nil && b.watch.Target().Monitor == target.Monitor && reflect.DeepEqual(b.check, check) {
		return
	}
	r.unwatch(b)
	if b.verdict.State == health.Unmonitored {
		b.verdict, b.since = health.Verdict{State: health.Up}, now
	}
	b.check = check
	b.watch = r.prober.Watch(target, b.verdict.State, func(w *health.Watch, v health.Verdict) { r.report(b, w, v) })
}

func (r *Registry) unwatch(b *Backend) {
	if b.watch != nil {
		b.watch.Stop()
		b.watch, b.check = nil, nil
	}
}

// report takes in what the probes of a backend found.
func (r *Registry) report(b *Backend, w *health.Watch, v health.Verdict) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if b.watch != w || r.closed {
		return
	}
	was := b.verdict.State
	b.verdict = v
	if was != v.State {
		now := time.Now()
		r.logState(b, was, now)
		b.since = now
		if v.State == health.Up {
			r.startServing(b, now)
		} else {
			b.founding = false
		}
		r.rebuild(b.pool)
	}
	r.changes.notify()
}

func (r *Registry) logState(b *Backend, was health.State, now time.Time) {
	level := hclog.Info
	if b.verdict.State == health.Down {
		level = hclog.Warn
	}
	r.log.Log(level, "backend is "+b.verdict.State.String(), "pool", b.id.pool, "backend", b.id.name, "address", b.id.addr,
		"was", was.String(), "for", now.Sub(b.since).Round(time.Millisecond).String(), "reason", b.verdict.Reason)
}

// startServing begins a backend's slow start, unless its pool has none. A backend that came with its pool and is found up
// at the first verdict has no slow start: it is the data plane that is new there, not the backend.
func (r *Registry) startServing(b *Backend, now time.Time) {
	b.warmFrom = time.Time{}
	if !b.founding && b.pool.conf.SlowStart > 0 {
		b.warmFrom = now
	}
	b.founding = false
}

// removeBackend makes a backend one of the past. It stays known until its delay has passed, in case it comes back.
func (r *Registry) removeBackend(b *Backend, delay time.Duration) {
	b.pool, b.founding, b.warmFrom = nil, false, time.Time{}
	r.unwatch(b)
	r.drain(b, delay)
}

// drain lets a backend expire once delay has passed since it began to drain.
func (r *Registry) drain(b *Backend, delay time.Duration) {
	now := time.Now()
	if !b.draining.Load() {
		b.draining.Store(true)
		b.drainSince = now
	}
	r.stopDrainTimer(b)
	round := b.drainRound
	b.drainTimer = time.AfterFunc(b.drainSince.Add(delay).Sub(now), func() { r.expire(b, round) })
}

func (r *Registry) undrain(b *Backend) {
	r.stopDrainTimer(b)
	b.draining.Store(false)
	b.expired.Store(false)
}

func (r *Registry) stopDrainTimer(b *Backend) {
	b.drainRound++
	if b.drainTimer != nil {
		b.drainTimer.Stop()
		b.drainTimer = nil
	}
}

// expire ends the time of a backend that drains.
func (r *Registry) expire(b *Backend, round int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if b.drainRound != round {
		return
	}
	b.expired.Store(true)
	if b.pool == nil {
		delete(r.backends, b.id)
	}
	r.expiries.notify()
	r.changes.notify()
}

// Validate tells why this build cannot run a pool with a check, which may be nil.
func Validate(p *snapshot.Pool, check *snapshot.HealthCheck) error {
	if p.Algorithm < lb.RoundRobin || p.Algorithm > lb.Maglev {
		return fmt.Errorf("algorithm %d is unknown", p.Algorithm)
	}
	if p.Persistence != 0 && p.Persistence != lb.PersistSourceIP {
		return fmt.Errorf("persistence %d is not supported: use source_ip or none", p.Persistence)
	}
	names := make(map[string]bool, len(p.Backends))
	for _, b := range p.Backends {
		switch {
		case b.Name == "" || names[b.Name]:
			return fmt.Errorf("backend %q: names must be unique and not empty", b.Name)
		case !b.Addr.IsValid() || b.Addr.Port() == 0:
			return fmt.Errorf("backend %q: address %s is not one to connect to", b.Name, b.Addr)
		case check != nil && (!b.Monitor.IsValid() || b.Monitor.Port() == 0):
			return fmt.Errorf("backend %q: monitor address %s is not one to connect to", b.Name, b.Monitor)
		case b.Weight > maglev.MaxWeight:
			return fmt.Errorf("backend %q: weight %d is above %d", b.Name, b.Weight, maglev.MaxWeight)
		}
		names[b.Name] = true
	}
	if len(p.Backends) > maglev.MaxBackends {
		return fmt.Errorf("%d backends are more than %d", len(p.Backends), maglev.MaxBackends)
	}
	if hashes(p) {
		if p.HashVersion != maglev.HashVersion {
			return fmt.Errorf("hash version %d is not %d, which this build has", p.HashVersion, maglev.HashVersion)
		}
		if _, err := maglev.Build(p.TableSize, nil); err != nil {
			return err
		}
		if len(p.Backends) > int(p.TableSize) {
			return fmt.Errorf("%d backends do not fit a table of %d", len(p.Backends), p.TableSize)
		}
	}
	if check != nil {
		return health.Validate(check)
	}
	return nil
}

// hashes tells whether a pool picks by a Maglev table.
func hashes(p *snapshot.Pool) bool {
	return p.Algorithm == lb.Maglev || p.Algorithm == lb.SourceIP || p.Persistence == lb.PersistSourceIP
}
