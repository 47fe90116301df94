package balance

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fiberlb/fiberlb/dataplane/internal/health"
)

// PoolStatus is how a pool stands.
type PoolStatus struct {
	Name     string
	Total    int   // backends configured
	Healthy  int   // of these, healthy and taking new connections
	FailOpen bool  // too few are healthy: all are used as if they were
	Backups  bool  // no other backend is healthy: backups are in use
	Err      error // why new flows have nowhere to go; nil if they have
	Backends []BackendStatus
}

// BackendStatus is how a backend stands.
type BackendStatus struct {
	Name     string // short
	Addr     netip.AddrPort
	State    health.State
	Reason   string    // of the last probe that failed
	Since    time.Time // of the state
	Weight   uint16
	Backup   bool
	Draining bool
	Active   int64 // connections

	connections, failures uint64
}

// Status tells how all pools stand, sorted by name, their backends as configured.
func (r *Registry) Status() []PoolStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]PoolStatus, 0, len(r.pools))
	for _, p := range r.pools {
		s := p.state.Load()
		status := PoolStatus{Name: p.name, Total: s.total, Healthy: s.healthy, FailOpen: s.failOpen, Backups: s.spare, Err: s.err,
			Backends: make([]BackendStatus, len(p.backends))}
		for i, b := range p.backends {
			status.Backends[i] = b.status()
		}
		list = append(list, status)
	}
	slices.SortFunc(list, func(a, b PoolStatus) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// status must be called with Registry.mu held.
func (b *Backend) status() BackendStatus {
	return BackendStatus{
		Name: b.id.name, Addr: b.id.addr, State: b.verdict.State, Reason: b.verdict.Reason, Since: b.since,
		Weight: b.conf.Weight, Backup: b.conf.Backup, Draining: b.conf.Draining, Active: b.active.Load(),
		connections: b.connections.Load(), failures: b.failures.Load(),
	}
}

// Subscribe returns a channel that gets a value after every change of what Status tells, counts aside; changes that come
// before the last one was received make one. Cancel ends that.
func (r *Registry) Subscribe() (changes <-chan struct{}, cancel func()) { return r.changes.subscribe() }

// SubscribeExpiry is Subscribe for the moments when a backend expires; see Backend.Expired.
func (r *Registry) SubscribeExpiry() (expiries <-chan struct{}, cancel func()) {
	return r.expiries.subscribe()
}

// broadcast tells subscribers that something changed. The zero value is ready to use.
type broadcast struct {
	mu   sync.Mutex
	subs []chan struct{}
}

func (b *broadcast) subscribe() (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.subs = append(b.subs, ch)
	return ch, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.subs = slices.DeleteFunc(b.subs, func(c chan struct{}) bool { return c == ch })
	}
}

func (b *broadcast) notify() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, ch := range b.subs {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}
