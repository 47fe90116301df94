package balance

import (
	"errors"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/fiberlb/fiberlb/pkg/snapshot"
)

// ErrNoBackend is what every error of Pick wraps.
var ErrNoBackend = errors.New("no backend")

// The reasons for which Pick finds nobody. They are values, so that finding nobody allocates nothing either.
var (
	errRemoved   = reason("the pool is not configured")
	errEmpty     = reason("the pool has no backend that takes new connections")
	errUnhealthy = reason("no backend of the pool is healthy")
	errTried     = reason("every backend of the pool in use was tried")
)

type noBackend struct{ text string }

func reason(text string) error         { return &noBackend{text} }
func (e *noBackend) Error() string     { return "balance: no backend: " + e.text }
func (e *noBackend) Is(err error) bool { return err == ErrNoBackend }

// ticket counts turns. It has a cache line of its own, since all cores write it.
type ticket struct {
	_ [64]byte
	n atomic.Uint64
	_ [56]byte
}

// take returns the number of turns before this one.
func (t *ticket) take() uint64 { return t.n.Add(1) - 1 }

// Pool is a stable handle of a pool, valid from Registry.SetPool until Registry.RemovePool. Its methods are safe for concurrent use.
type Pool struct {
	name     string
	registry *Registry
	state    atomic.Pointer[picker]
	next     ticket

	// Guarded by Registry.mu.
	conf     *snapshot.Pool
	check    *snapshot.HealthCheck
	backends []*Backend // as conf.Backends
	warm     *time.Timer
}

// Name is the pool's full name.
func (p *Pool) Name() string { return p.name }

// Pick chooses a backend for a flow from client to vip, other than those in tried, which may be nil. The caller says Acquire
// to the one it gets. It allocates nothing and waits for nobody, save for the first flow after a change of membership of a
// pool that hashes, which builds the table (some milliseconds). Errors wrap ErrNoBackend.
func (p *Pool) Pick(client, vip netip.AddrPort, tried *Tried) (*Backend, error) {
	s := p.state.Load()
	if s.err != nil {
		return nil, s.err
	}
	if b := s.pick(&p.next, client, vip, tried); b != nil {
		return b, nil
	}
	return nil, errTried
}

// Counts returns how many backends the pool has and how many of them are healthy and take new connections.
func (p *Pool) Counts() (total, healthy int) {
	s := p.state.Load()
	return s.total, s.healthy
}

// Usable tells whether new flows have somewhere to go, and why not.
func (p *Pool) Usable() error { return p.state.Load().err }

// DeregistrationDelay bounds how long connections go on whose backend or listener was removed.
func (p *Pool) DeregistrationDelay() time.Duration { return p.state.Load().delay }
