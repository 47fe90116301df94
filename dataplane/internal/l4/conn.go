package l4

import (
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/fiberlb/fiberlb/dataplane/internal/balance"
	"github.com/fiberlb/fiberlb/dataplane/internal/dial"
)

// conn is one client's connection with the one to a backend that serves it.
type conn struct {
	listener *listener
	binding  *binding
	backend  *balance.Backend
	client   *net.TCPConn
	server   *net.TCPConn
	began    time.Time
	up, down half // client to server, server to client
	running  atomic.Int32
	ended    atomic.Int32 // halves that move nothing any more
	cause    atomic.Uint32

	// Guarded by the shard of the sweeper that holds the connection.
	prev, next *conn
	shard      *shard
	seen       [2]uint64 // bytes moved when last looked at
	seenAt     time.Time // when these last changed
}

// admit decides on a client and starts its connection. Those who may not come are reset at once.
func (l *listener) admit(b *binding, client *net.TCPConn) {
	l.metrics.accepted.Add(1)
	now := time.Now()
	peer := client.RemoteAddr().(*net.TCPAddr).AddrPort()
	peer = netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port())
	conf := l.conf.Load()
	active := l.active.Add(1)
	switch {
	case !conf.allow.contain(peer.Addr()):
		l.refuse(client, notAllowed)
	case conf.limit > 0 && active > conf.limit:
		l.refuse(client, overLimit)
	case conf.pool == nil:
		l.refuse(client, noPool)
	default:
		c := &conn{listener: l, binding: b, client: client, began: now}
		l.server.conns.Add(1)
		go c.serve(conf, peer)
	}
}

// refuse resets a client that was counted as active.
func (l *listener) refuse(client *net.TCPConn, why refusal) {
	l.metrics.refused[why].Add(1)
	l.active.Add(-1)
	reset(client)
}

// serve connects to a backend and moves bytes until both sides are done.
func (c *conn) serve(conf *conf, peer netip.AddrPort) {
	defer c.listener.server.conns.Done()
	why, ok := c.connect(conf, peer)
	if !ok {
		c.listener.refuse(c.client, why)
		return
	}
	c.up.init(c, c.client, c.server)
	c.down.init(c, c.server, c.client)
	c.running.Store(2)
	c.listener.server.conns.Add(1)
	c.listener.server.sweeper.add(c)
	go func() {
		defer c.listener.server.conns.Done()
		c.pump(&c.down)
	}()
	c.pump(&c.up)
}

// connect dials backends until one answers, the client's bytes waiting in the kernel meanwhile, so that none is lost. It
// tries at most balance.MaxTries different ones, each for the connect timeout.
func (c *conn) connect(conf *conf, peer netip.AddrPort) (why refusal, ok bool) {
	ln := c.listener
	dialer := net.Dialer{Timeout: conf.connectTimeout, KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: keepAliveIdle, Interval: keepAliveInterval, Count: keepAliveCount}}
	dialer.SetMultipathTCP(false)
	var tried balance.Tried
	for tried.Len() < balance.MaxTries {
		backend, err := conf.pool.Pick(peer, c.binding.addr, &tried)
		if err != nil {
			if tried.Len() > 0 {
				return unreachable, false
			}
			return noBackend, false
		}
		backend.Acquire()
		began := time.Now()
		server, err := dial.TCP(ln.server.ctx, &dialer, backend.Addr())
		if err == nil {
			ln.metrics.dial.observe(time.Since(began))
			c.backend, c.server = backend, server
			return 0, true
		}
		backend.Release()
		if ln.server.ctx.Err() != nil {
			return closing, false
		}
		backend.DialFailed()
		ln.metrics.dialFailures.Add(1)
		if ln.server.log.IsDebug() {
			ln.server.log.Debug("cannot connect", "listener", ln.name, "backend", backend.Name(), "address", backend.Addr(),
				"error", innermost(err))
		}
		tried.Add(backend)
	}
	return unreachable, false
}

// pump runs one half. The one that ends last cleans up.
func (c *conn) pump(h *half) {
	h.run()
	if h.err != nil {
		c.abort(byReset)
	}
	if c.running.Add(-1) > 0 {
		return
	}
	ln, why := c.listener, cause(c.cause.Load())
	ln.server.sweeper.remove(c)
	if c.ended.Load() == 2 { // both streams are whole, or broken in a way that the kernel has told both peers of
		c.client.Close()
		c.server.Close()
	} else {
		reset(c.client)
		reset(c.server)
	}
	c.backend.Release()
	ln.metrics.ended[why].Add(1)
	ln.metrics.duration.observe(time.Since(c.began))
	ln.active.Add(-1)
}

// longAgo as a deadline wakes whoever waits for a socket, and lets nobody wait again.
var longAgo = time.Unix(1, 0)

// abort makes both halves end, whereupon both sides are reset. The first cause counts. It does not wait, which closing a
// socket would: for whoever reads it, and who may just be waiting to write to the other one.
func (c *conn) abort(why cause) {
	c.cause.CompareAndSwap(uint32(byPeers), uint32(why))
	c.client.SetDeadline(longAgo)
	c.server.SetDeadline(longAgo)
}

// halfEnded counts a half that moves nothing any more, and tells whether the other one was that far too, which it then wakes.
func (c *conn) halfEnded() (both bool) {
	if c.ended.Add(1) < 2 {
		return false
	}
	c.client.SetReadDeadline(longAgo)
	c.server.SetReadDeadline(longAgo)
	return true
}

// reset closes a connection with a TCP RST, dropping what is not sent yet.
func reset(c *net.TCPConn) {
	c.SetLinger(0)
	c.Close()
}
