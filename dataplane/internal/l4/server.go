// Package l4 owns the TCP listeners of a node: it binds their VIPs, admits clients, connects each to a backend of the
// listener's pool and moves bytes both ways until both sides are done.
//
// A connection that has to end before its peers ended it (idle for too long, the deregistration delay is over, shutdown, a
// peer's reset) is reset towards both, never closed in order: a peer must be able to tell a stream that was cut from one that is whole.
package l4

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/fiberlb/fiberlb/dataplane/internal/balance"
	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/snapshot"
)

// Config of a Server.
type Config struct {
	Logger hclog.Logger // nil: none
	// Registry is where the pools of the listeners live; the server asks it when backends expire.
	Registry *balance.Registry
	// Shards is the number of sockets that accept on each address. With more than one the kernel spreads clients over them
	// (SO_REUSEPORT), and each has a goroutine. 0 means 1.
	Shards int
}

// Server runs TCP listeners.
type Server struct {
	log    hclog.Logger
	shards int

	changes chan struct{} // of Status; see Changes

	// ctx ends when connections are no longer waited for; it cuts dials short.
	ctx     context.Context
	cancel  context.CancelFunc
	accepts sync.WaitGroup // goroutines of bindings
	conns   sync.WaitGroup // connections
	sweeper sweeper

	mu        sync.Mutex // guards what follows
	closed    bool
	listeners map[string]*listener
	freed     chan struct{} // closed and replaced when an address is given up, so that others may try to bind it
}

// New returns a server without listeners. Close it when done.
func New(cfg Config) *Server {
	s := &Server{log: cfg.Logger, shards: max(cfg.Shards, 1), changes: make(chan struct{}, 1),
		listeners: make(map[string]*listener), freed: make(chan struct{})}
	if s.log == nil {
		s.log = hclog.NewNullLogger()
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.sweeper.start(cfg.Registry)
	return s
}

// Validate tells why this build cannot run a listener.
func Validate(l *snapshot.Listener) error {
	switch {
	case l.Protocol != lb.ListenerTCP:
		return fmt.Errorf("protocol %d is not supported: use tcp", l.Protocol)
	case l.Port == 0:
		return errors.New("port is 0")
	case len(l.VIPs) == 0:
		return errors.New("there is no address to listen on")
	case l.ConnectTimeout <= 0:
		return errors.New("connect timeout is not positive")
	case l.TCPIdleTimeout <= 0:
		return errors.New("idle timeout is not positive")
	}
	return nil
}

// SetListener puts a listener in force, new or changed. Pool may be nil: then connections are reset. An error means that
// the configuration is not one that can run, and that nothing changed; an address that cannot be bound is no error here
// but a matter of Status, while the listener serves on its others and goes on trying.
//
// Addresses that stay keep their sockets. Pool, limits and connect timeout are those of the moment a client comes; the
// idle timeout holds for open connections too. Addresses that are gone stop accepting at once; connections that came
// over them may go on for the pool's deregistration delay.
func (s *Server) SetListener(name string, l *snapshot.Listener, pool *balance.Pool) error {
	if err := Validate(l); err != nil {
		return fmt.Errorf("l4: listener %q: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("l4: listener %q: closed", name)
	}
	ln, known := s.listeners[name]
	if !known {
		ln = &listener{server: s, name: name, bindings: make(map[netip.AddrPort]*binding)}
		s.listeners[name] = ln
	}
	delay := ln.delay()
	ln.conf.Store(&conf{
		pool: pool, allow: newPrefixes(l.AllowedCIDRs), limit: int64(l.ConnectionLimit),
		connectTimeout: l.ConnectTimeout, idle: l.TCPIdleTimeout,
	})
	wanted := make(map[netip.AddrPort]bool, len(l.VIPs))
	for _, vip := range l.VIPs {
		wanted[netip.AddrPortFrom(vip, l.Port)] = true
	}
	for addr, b := range ln.bindings {
		if !wanted[addr] {
			s.drop(b, delay)
		}
	}
	for addr := range wanted {
		if ln.bindings[addr] == nil {
			b := &binding{listener: ln, addr: addr, done: make(chan struct{})}
			ln.bindings[addr] = b
			b.open()
			s.accepts.Go(b.run)
		}
	}
	s.setTick()
	s.changed()
	return nil
}

// RemoveListener takes a listener out of force. Its sockets are closed when it returns; its connections go on until they
// end or the pool's deregistration delay has passed.
func (s *Server) RemoveListener(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ln := s.listeners[name]
	if ln == nil {
		return
	}
	for _, b := range ln.bindings {
		s.drop(b, ln.delay())
	}
	delete(s.listeners, name)
	s.changed()
}

// drop closes a binding's sockets and bounds the life of its connections. It must be called with mu held.
func (s *Server) drop(b *binding, delay time.Duration) {
	delete(b.listener.bindings, b.addr)
	b.stop()
	b.deadline.Store(time.Now().Add(delay).UnixNano())
	s.sweeper.at(delay)
	close(s.freed)
	s.freed = make(chan struct{})
}

// setTick makes the sweeper as fine as the shortest idle timeout asks. It must be called with mu held.
func (s *Server) setTick() {
	shortest := maxTick * ticksPerIdle
	for _, ln := range s.listeners {
		shortest = min(shortest, ln.conf.Load().idle)
	}
	s.sweeper.tick.Store(int64(max(shortest/ticksPerIdle, minTick)))
	s.sweeper.kick()
}

// Close stops accepting at once, waits until all connections have ended or ctx has, and resets what is left. It returns
// ctx's error if there was any left. Only the first call does anything.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	for _, ln := range s.listeners {
		for _, b := range ln.bindings {
			b.stop()
		}
	}
	s.mu.Unlock()
	s.accepts.Wait()

	drained := make(chan struct{})
	go func() {
		s.conns.Wait()
		close(drained)
	}()
	var err error
	select {
	case <-drained:
	case <-ctx.Done():
		if s.sweeper.open.Load() > 0 {
			err = fmt.Errorf("l4: close: %d connections reset: %w", s.sweeper.open.Load(), ctx.Err())
		}
		s.cancel()
		s.sweeper.abortAll()
		<-drained
	}
	s.cancel()
	s.sweeper.stop()
	return err
}

// ListenerStatus is how a listener stands.
type ListenerStatus struct {
	Name     string
	Active   int64 // connections
	Bindings []BindingStatus
}

// Bound is the number of bound addresses.
func (l *ListenerStatus) Bound() int {
	n := 0
	for _, b := range l.Bindings {
		if b.Err == nil {
			n++
		}
	}
	return n
}

// BindingStatus is how a listener stands on one address.
type BindingStatus struct {
	Addr netip.AddrPort
	Err  error // why it is not bound; nil if it is
}

// Status tells how all listeners stand, sorted by name, their addresses sorted.
func (s *Server) Status() []ListenerStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]ListenerStatus, 0, len(s.listeners))
	for _, ln := range s.listeners {
		status := ListenerStatus{Name: ln.name, Active: ln.active.Load()}
		for _, b := range ln.bindings {
			status.Bindings = append(status.Bindings, BindingStatus{Addr: b.addr, Err: b.status()})
		}
		slices.SortFunc(status.Bindings, func(a, b BindingStatus) int { return a.Addr.Compare(b.Addr) })
		list = append(list, status)
	}
	slices.SortFunc(list, func(a, b ListenerStatus) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Changes gets a value after every change of what Status tells, counts aside; changes that come before the last one was
// received make one. There is one such channel, for one receiver.
func (s *Server) Changes() <-chan struct{} { return s.changes }

func (s *Server) changed() {
	select {
	case s.changes <- struct{}{}:
	default:
	}
}

// freedSignal is closed when some address is given up after the call.
func (s *Server) freedSignal() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.freed
}

// listener is one listener with what outlives its configurations.
type listener struct {
	server  *Server
	name    string
	conf    atomic.Pointer[conf]
	active  atomic.Int64
	metrics metrics

	bindings map[netip.AddrPort]*binding // guarded by Server.mu
}

// conf is one immutable state of a listener's configuration.
type conf struct {
	pool                 *balance.Pool
	allow                prefixes
	limit                int64 // 0: none
	connectTimeout, idle time.Duration
}

// delay bounds how long connections may outlive the listener.
func (l *listener) delay() time.Duration {
	if c := l.conf.Load(); c != nil && c.pool != nil {
		return c.pool.DeregistrationDelay()
	}
	return 0
}

// prefixes are sorted and do not overlap.
type prefixes []netip.Prefix

// newPrefixes drops what a wider prefix holds already: prefixes lie either apart or inside one another.
func newPrefixes(list []netip.Prefix) prefixes {
	sorted := slices.Clone(list)
	for i := range sorted {
		sorted[i] = sorted[i].Masked()
	}
	slices.SortFunc(sorted, netip.Prefix.Compare)
	var kept prefixes
	for _, p := range sorted {
		if n := len(kept); n == 0 || !kept[n-1].Contains(p.Addr()) {
			kept = append(kept, p)
		}
	}
	return kept
}

// contain tells whether a client may come; without prefixes all may.
func (p prefixes) contain(addr netip.Addr) bool {
	if len(p) == 0 {
		return true
	}
	i, exact := slices.BinarySearchFunc(p, addr, func(p netip.Prefix, a netip.Addr) int { return p.Addr().Compare(a) })
	return exact || i > 0 && p[i-1].Contains(addr)
}
