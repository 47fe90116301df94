package balance

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/fiberlb/fiberlb/dataplane/internal/health"
	"github.com/fiberlb/fiberlb/pkg/snapshot"
)

// id is what makes a backend the same one across reconfigurations. A backend that moves to another address is another one;
// one that changes its weight is not.
type id struct {
	pool, name string
	addr       netip.AddrPort
}

// Backend is one destination of a pool with its runtime state, which outlives changes of configuration.
type Backend struct {
	id id

	active      atomic.Int64
	connections atomic.Uint64
	failures    atomic.Uint64
	draining    atomic.Bool
	expired     atomic.Bool

	// All below is guarded by Registry.mu.
	pool     *Pool // nil: removed, or of a removed pool
	conf     snapshot.Backend
	verdict  health.Verdict
	since    time.Time // of the state, not of the reason
	watch    *health.Watch
	check    *snapshot.HealthCheck // what watch runs
	founding bool                  // came with its pool and has no verdict yet
	warmFrom time.Time             // slow start runs from here; zero: it does not

	drainSince time.Time
	drainTimer *time.Timer
	drainRound int // tells timers that were stopped too late from the current one
}

// Name is the backend's short name.
func (b *Backend) Name() string { return b.id.name }

// Pool is the full name of the backend's pool.
func (b *Backend) Pool() string { return b.id.pool }

// Addr is where to connect to.
func (b *Backend) Addr() netip.AddrPort { return b.id.addr }

// Acquire counts a connection, from before it is dialled, so that least connections sees it. Release takes it back.
func (b *Backend) Acquire() {
	b.active.Add(1)
	b.connections.Add(1)
}

// Release ends what Acquire began.
func (b *Backend) Release() { b.active.Add(-1) }

// Active is the number of connections acquired and not yet released.
func (b *Backend) Active() int64 { return b.active.Load() }

// DialFailed counts a connection that could not be established.
func (b *Backend) DialFailed() { b.failures.Add(1) }

// Draining tells whether the backend was removed or disabled: open connections go on, idle ones are best closed.
func (b *Backend) Draining() bool { return b.draining.Load() }

// Expired tells whether the backend drains for longer than its pool's deregistration delay: what is still open has to be
// closed now. Registry.SubscribeExpiry tells when to ask again. A backend that is configured anew is no longer expired.
func (b *Backend) Expired() bool { return b.expired.Load() }

// takesNew tells whether the configuration lets new connections come. Guarded by Registry.mu.
func (b *Backend) takesNew() bool { return b.conf.Weight > 0 && !b.conf.Draining }

// MaxTries is the number of different backends that one connection may be tried on.
const MaxTries = 4

// Tried holds the backends that a connection was tried on in vain. The zero value is ready to use.
type Tried struct {
	count int
	list  [MaxTries]*Backend
}

// Add puts a backend on the list, which holds MaxTries at most; further ones are not kept.
func (t *Tried) Add(b *Backend) {
	if t.count < MaxTries {
		t.list[t.count] = b
		t.count++
	}
}

// Len is the number of backends on the list.
func (t *Tried) Len() int { return t.count }

// has tells whether b is on the list; nil is an empty one.
func (t *Tried) has(b *Backend) bool {
	if t == nil {
		return false
	}
	for _, tried := range t.list[:t.count] {
		if tried == b {
			return true
		}
	}
	return false
}
