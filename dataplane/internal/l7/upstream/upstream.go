// Package upstream sends requests to backends over HTTP/1.1: it is exchange.Upstream over a balance.Pool.
//
// Connections are kept and used again, last in first out, per identity of the peer: its address. They are shared by all pools of a Transport. A
// backend may close one just when a request is sent on it, so a connection that was idle is looked at before use, is given up
// well before backends do, and a request that fails on it is sent again where package exchange allows that.
//
// An exchange runs on the goroutine that asked for it: choose a backend, borrow a connection, write, read. Only a request body that
// is not all there yet is sent by a goroutine of its own.
package upstream

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fiberlb/fiberlb/dataplane/internal/balance"
	"github.com/fiberlb/fiberlb/dataplane/internal/l7/exchange"
	"github.com/fiberlb/fiberlb/dataplane/internal/l7/h1"
	"github.com/fiberlb/fiberlb/dataplane/internal/l7/wire"
)

// Settings of a pool. What is 0 takes its default.
type Settings struct {
	Connect  time.Duration // default 5 s
	Response time.Duration // from the last byte of the request to the end of the response's head; default 60 s
	Body     time.Duration // wait for any piece of a body, in either direction; default 60 s
	Idle     time.Duration // life of an unused connection; default 4 s, since many servers close after 5 s
	Tunnel   time.Duration // wait for any byte in either direction of a tunnel; default 1 h
	// MaxConnections to one backend; 0 is no limit. Requests beyond it wait in line.
	MaxConnections int
	MaxQueue       int           // requests that wait for one backend; default 128
	Queue          time.Duration // how long they wait; default 5 s
	Rules          *h1.Rules     // for responses; default h1.DefaultRules
}

func (s Settings) filled() Settings {
	for _, d := range []struct {
		value  *time.Duration
		preset time.Duration
	}{{&s.Connect, 5 * time.Second}, {&s.Response, time.Minute}, {&s.Body, time.Minute}, {&s.Idle, 4 * time.Second},
		{&s.Tunnel, time.Hour}, {&s.Queue, 5 * time.Second}} {
		if *d.value <= 0 {
			*d.value = d.preset
		}
	}
	if s.MaxQueue == 0 {
		s.MaxQueue = 128
	}
	if s.Rules == nil {
		s.Rules = h1.DefaultRules()
	}
	return s
}

// sweepEvery is how often idle connections are looked at.
const sweepEvery = 500 * time.Millisecond

// Transport holds the connections of a node to its backends.
type Transport struct {
	sweeper *wire.Sweeper
	peers   atomic.Pointer[map[*balance.Backend]*peer] // copied on write
	quit    chan struct{}
	done    chan struct{}

	mu      sync.Mutex // guards what follows, and changes of peers
	hosts   map[identity]*host
	past    map[backendName]*stats // of peers that are gone, since counters never fall
	tunnels map[*conn]struct{}     // open ones
}

// NewTransport returns a transport without connections, the waits of which the sweeper ends. Close it when no exchange runs.
func NewTransport(sweeper *wire.Sweeper) *Transport {
	t := &Transport{sweeper: sweeper, quit: make(chan struct{}), done: make(chan struct{}),
		hosts: make(map[identity]*host), past: make(map[backendName]*stats), tunnels: make(map[*conn]struct{})}
	t.peers.Store(&map[*balance.Backend]*peer{})
	go t.run()
	return t
}

// Close closes all idle connections.
func (t *Transport) Close() {
	close(t.quit)
	<-t.done
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, h := range t.hosts {
		h.close()
	}
}

func (t *Transport) run() {
	defer close(t.done)
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			t.sweep(time.Now())
		case <-t.quit:
			return
		}
	}
}

// sweep closes connections that were idle for too long, ends the tunnels of backends whose time is over, and forgets backends that are
// no more.
func (t *Transport) sweep(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.tunnels {
		if c.peer.backend.Expired() {
			c.x.Abort(exchange.Fail(exchange.Drained))
		}
	}
	kept := make(map[*balance.Backend]*peer)
	wanted := make(map[*host]bool)
	before := *t.peers.Load()
	for b, p := range before {
		if b.Draining() && b.Active() == 0 {
			t.pastOf(p).add(&p.stats)
			continue
		}
		kept[b] = p
		wanted[p.host] = true
	}
	if len(kept) < len(before) {
		t.peers.Store(&kept)
	}
	for id, h := range t.hosts {
		if h.evict(now, !wanted[h]) && !wanted[h] {
			delete(t.hosts, id)
		}
	}
}

// peer is a backend with its connections and counters.
type peer struct {
	backend *balance.Backend
	host    *host
	stats   stats
}

func (t *Transport) peer(b *balance.Backend) *peer {
	if p := (*t.peers.Load())[b]; p != nil {
		return p
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	before := *t.peers.Load()
	if p := before[b]; p != nil {
		return p
	}
	id := identity{addr: b.Addr()}
	h := t.hosts[id]
	if h == nil {
		h = &host{id: id}
		t.hosts[id] = h
	}
	p := &peer{backend: b, host: h}
	after := make(map[*balance.Backend]*peer, len(before)+1)
	for k, v := range before {
		after[k] = v
	}
	after[b] = p
	t.peers.Store(&after)
	return p
}

// Pool is exchange.Upstream over one pool.
type Pool struct {
	transport *Transport
	pool      *balance.Pool
	settings  Settings
}

var _ exchange.Upstream = (*Pool)(nil)

// Pool returns an upstream that sends requests to the backends of p.
func (t *Transport) Pool(p *balance.Pool, s Settings) *Pool {
	return &Pool{transport: t, pool: p, settings: s.filled()}
}

// Exchange implements exchange.Upstream. It tries at most balance.MaxTries backends, and one of them twice where the connection had been used
// before.
func (p *Pool) Exchange(ctx context.Context, x *exchange.Exchange) *exchange.Failure {
	var tried balance.Tried
	fresh := false
	failure := exchange.Fail(exchange.NoBackend)
	for tried.Len() < balance.MaxTries {
		backend, err := p.pool.Pick(x.Request.Client, x.Request.VIP, &tried)
		if err != nil {
			return failure
		}
		peer := p.transport.peer(backend)
		backend.Acquire()
		peer.stats.requests.Add(1)
		c, f := p.borrow(ctx, x, peer, fresh)
		if f == nil {
			var again verdict
			if f, again = c.begin(x, p, peer); f == nil {
				return nil
			}
			c.abandon()
			backend.Release()
			peer.stats.failures[f.Reason].Add(1)
			if again == never {
				return f
			}
			if body := x.Request.Body; body != nil && !body.Rewind() {
				return f
			}
			peer.stats.retries.Add(1)
			failure = f
			if again == elsewhere {
				tried.Add(backend)
			}
			fresh = true
			continue
		}
		backend.Release()
		peer.stats.failures[f.Reason].Add(1)
		if f.Reason != exchange.ConnectFailed && f.Reason != exchange.ConnectTimeout {
			return f
		}
		backend.DialFailed()
		failure = f
		tried.Add(backend)
	}
	return failure
}

// canceller makes the end of a context what Abort brings about.
type canceller context.CancelFunc

// Interrupt implements exchange.Interrupter.
func (c canceller) Interrupt() { c() }

// ended tells why an exchange whose context is over, or that was aborted, ends.
func ended(x *exchange.Exchange) *exchange.Failure {
	if f := x.Aborted(); f != nil {
		return f
	}
	return exchange.Fail(exchange.Shutdown)
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}
