package upstream

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/fiberlb/fiberlb/dataplane/internal/dial"
	"github.com/fiberlb/fiberlb/dataplane/internal/l7/exchange"
)

// identity is what connections must have in common to stand for one another.
type identity struct {
	addr netip.AddrPort
}

// peekAfter is the idle time after which a connection is looked at before it is used again: within it, the backend can hardly have closed it.
const peekAfter = 10 * time.Millisecond

// Keep-alive of connections: a backend that vanished is noticed after two minutes.
const (
	keepAliveIdle     = 60 * time.Second
	keepAliveInterval = 15 * time.Second
	keepAliveCount    = 4
)

// host is one peer with its connections.
type host struct {
	id identity

	mu    sync.Mutex // guards what follows
	idle  []*conn    // last in, first out
	open  int        // connections, those included that are being made
	queue []*waiter  // first in, first out
}

// waiter is an exchange that waits for a connection. Nil is the permission to make one.
type waiter struct{ ch chan *conn }

// borrow gives a connection to the peer: an idle one, unless it must be fresh, or a new one.
func (p *Pool) borrow(ctx context.Context, x *exchange.Exchange, to *peer, fresh bool) (*conn, *exchange.Failure) {
	h := to.host
	for {
		c, granted := h.take(p.settings.MaxConnections, fresh)
		if c == nil && !granted {
			var f *exchange.Failure
			to.stats.queued.Add(1)
			if c, f = p.wait(ctx, x, h); f != nil {
				return nil, f
			}
		}
		if c == nil {
			return p.dial(ctx, x, to)
		}
		now := time.Now()
		idle := now.Sub(c.idleSince)
		if idle < c.idleFor && (idle < peekAfter || c.Silent()) {
			c.reused = true
			return c, nil
		}
		to.stats.stale.Add(1)
		h.put(c, false)
	}
}

// take takes an idle connection or, granted, the right to make one.
func (h *host) take(limit int, fresh bool) (c *conn, granted bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := len(h.idle)
	if n > 0 && !fresh {
		c = h.idle[n-1]
		h.idle[n-1] = nil
		h.idle = h.idle[:n-1]
		return c, false
	}
	if limit > 0 && h.open >= limit {
		if n == 0 {
			return nil, false
		}
		h.idle[0].Conn.Close() // a fresh one takes its place
		h.idle = slices.Delete(h.idle, 0, 1)
		h.open--
	}
	h.open++
	return nil, true
}

// wait stands in line for a connection, or for the right to make one.
func (p *Pool) wait(ctx context.Context, x *exchange.Exchange, h *host) (*conn, *exchange.Failure) {
	w := &waiter{ch: make(chan *conn, 1)}
	h.mu.Lock()
	switch {
	case h.open < p.settings.MaxConnections: // one was closed meanwhile
		h.open++
		h.mu.Unlock()
		return nil, nil
	case len(h.queue) >= p.settings.MaxQueue:
		h.mu.Unlock()
		return nil, exchange.Fail(exchange.QueueFull)
	}
	h.queue = append(h.queue, w)
	h.mu.Unlock()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if x.Guard(canceller(cancel)) != nil {
		cancel()
	}
	defer x.Guard(nil)
	timer := time.NewTimer(p.settings.Queue)
	defer timer.Stop()
	failure := exchange.Fail(exchange.QueueTimeout)
	select {
	case c := <-w.ch:
		return c, nil
	case <-ctx.Done():
		failure = ended(x)
	case <-timer.C:
	}
	h.mu.Lock()
	i := slices.Index(h.queue, w)
	if i >= 0 {
		h.queue = slices.Delete(h.queue, i, i+1)
	}
	h.mu.Unlock()
	if i < 0 { // served at the last moment: pass it on
		h.put(<-w.ch, true)
	}
	return nil, failure
}

// put gives a connection back, to be used again or closed; nil gives back the right to make one.
func (h *host) put(c *conn, reuse bool) {
	if c != nil && !reuse {
		c.Conn.Close()
		c = nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case len(h.queue) > 0:
		w := h.queue[0]
		h.queue = slices.Delete(h.queue, 0, 1)
		w.ch <- c
	case c != nil:
		h.idle = append(h.idle, c)
	default:
		h.open--
	}
}

// dial makes a connection; the right to do so was granted.
func (p *Pool) dial(ctx context.Context, x *exchange.Exchange, to *peer) (*conn, *exchange.Failure) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if x.Guard(canceller(cancel)) != nil {
		cancel()
	}
	defer x.Guard(nil)
	dialer := net.Dialer{Timeout: p.settings.Connect, KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: keepAliveIdle, Interval: keepAliveInterval, Count: keepAliveCount}}
	dialer.SetMultipathTCP(false)
	tcp, err := dial.TCP(ctx, &dialer, to.host.id.addr)
	if err == nil {
		c := &conn{host: to.host}
		if err = c.Open(tcp, p.transport.sweeper, nil); err == nil {
			to.stats.dials.Add(1)
			return c, nil
		}
		tcp.Close()
	}
	to.host.put(nil, false)
	switch {
	case ctx.Err() != nil:
		return nil, ended(x)
	case isTimeout(err):
		return nil, exchange.Fail(exchange.ConnectTimeout)
	}
	return nil, exchange.Fail(exchange.ConnectFailed)
}

// evict closes what was idle for too long, or all that is idle, and tells whether nothing is left.
func (h *host) evict(now time.Time, all bool) (empty bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	kept := h.idle[:0]
	for _, c := range h.idle {
		if all || now.Sub(c.idleSince) >= c.idleFor {
			c.Conn.Close()
			h.open--
			continue
		}
		kept = append(kept, c)
	}
	clear(h.idle[len(kept):])
	h.idle = kept
	return h.open == 0 && len(h.queue) == 0
}

func (h *host) close() { h.evict(time.Time{}, true) }
