package upstream

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fiberlb/fiberlb/dataplane/internal/l7/exchange"
	"github.com/fiberlb/fiberlb/dataplane/internal/l7/h1"
	"github.com/fiberlb/fiberlb/dataplane/internal/l7/wire"
)

// conn is a connection to a backend, and the exchange.Stream of the exchange that it serves.
type conn struct {
	wire.Conn
	host      *host
	reused    bool // has served an exchange before
	idleSince time.Time
	idleFor   time.Duration

	// Of the current exchange.
	x      *exchange.Exchange
	pool   *Pool
	peer   *peer
	head   h1.RequestHead
	res    h1.Response
	body   wire.Body
	sender wire.Sender
	up     exchange.Body // what is pumped
	tunnel bool
	pumped bool // a goroutine was started
	pumps  sync.WaitGroup
	taken  atomic.Bool // all of the request, from the client
	sent   atomic.Bool // all of the request, to the backend
}

var _ exchange.Stream = (*conn)(nil)

// verdict says whether a request that failed may be sent again.
type verdict uint8

const (
	never     verdict = iota
	onFresh           // over a fresh connection: this one was used before
	elsewhere         // to another backend
)

// begin sends the request and reads the head of the response.
func (c *conn) begin(x *exchange.Exchange, p *Pool, to *peer) (*exchange.Failure, verdict) {
	c.x, c.pool, c.peer, c.tunnel, c.pumped = x, p, to, false, false
	c.taken.Store(false)
	c.sent.Store(false)
	c.WriteLimit = p.settings.Body
	if f := x.Guard(&c.Conn); f != nil {
		return f, never
	}
	before := c.Written()
	failure, err := c.send()
	if failure != nil {
		return failure, never
	}
	written := c.Written() > before
	if err != nil && !written {
		return c.unwritten(err)
	}
	// A backend that closes while it is sent a request may have answered before, so that a failed write is no verdict.
	switch {
	case err != nil:
		c.sent.Store(false) // what of it arrived is not known
	case !c.sent.Load():
		c.launch(x.Request.Body, p.settings.Response)
	}
	failure, began := c.await()
	if failure == nil {
		return nil, never
	}
	idempotent := x.Request.Method.Idempotent()
	if failure.Reason == exchange.BackendClosed && c.reused && !began && !c.pumped && idempotent && x.Aborted() == nil {
		return failure, onFresh
	}
	return failure, never
}

// unwritten is the verdict on a request of which the kernel took no byte.
func (c *conn) unwritten(err error) (*exchange.Failure, verdict) {
	switch {
	case c.x.Aborted() != nil:
		return c.x.Aborted(), never
	case errors.Is(err, wire.ErrTimeout):
		return exchange.Fail(exchange.BackendWriteTimeout), never
	case c.reused:
		return exchange.Fail(exchange.BackendClosed), onFresh
	}
	return exchange.Fail(exchange.BackendClosed), elsewhere
}

// send writes the head, and of the body what is there, in one write if it can. Nothing of the body is released.
func (c *conn) send() (failure *exchange.Failure, err error) {
	r := &c.x.Request
	c.head = h1.RequestHead{Method: r.MethodName, Target: r.Target, Fields: r.Fields, Framing: r.Framing, Upgrade: r.Upgrade,
		AcceptTrailers: r.AcceptTrailers}
	c.SetOut(h1.AppendRequest(c.Out(), &c.head))
	if r.Body == nil {
		c.taken.Store(true)
		c.sent.Store(true)
		return nil, c.Flush()
	}
	c.sender.Start(&c.Conn, r.Body, r.Framing.Kind == h1.Chunked)
	c.sender.Last = &c.taken
	for r.Body.Ready() && !r.Body.Done() {
		data, f := r.Body.Next()
		if f != nil {
			return f, nil
		}
		if err := c.sender.Put(data); err != nil {
			return nil, err
		}
	}
	if r.Body.Done() {
		c.sender.End()
		c.taken.Store(true)
		c.sent.Store(true)
	}
	return nil, c.Flush()
}

// launch begins to send the rest of a body beside the response.
func (c *conn) launch(body exchange.Body, extend time.Duration) {
	c.up, c.pumped = body, true
	c.pumps.Add(1)
	go c.pump(body, extend)
}

// pump sends what is left of a body.
func (c *conn) pump(body exchange.Body, extend time.Duration) {
	defer c.pumps.Done()
	body.Release()
	for !body.Done() {
		if !body.Ready() {
			if c.failed(c.Flush()) {
				return
			}
			moved, f, err := c.sender.Bulk()
			if c.failed(err) || c.broken(f) {
				return
			}
			if moved {
				c.Extend(extend)
				continue
			}
		}
		data, f := body.Next()
		if c.broken(f) {
			return
		}
		if data == nil {
			break
		}
		if body.Done() {
			c.taken.Store(true) // before the backend can answer
		}
		if c.failed(c.sender.Put(data)) {
			return
		}
		body.Release()
		c.Extend(extend)
	}
	body.Release()
	c.taken.Store(true)
	c.sender.End()
	if c.failed(c.Flush()) {
		return
	}
	if c.tunnel {
		c.failed(c.CloseWrite())
	}
	c.Extend(extend)
	c.sent.Store(true)
}

// failed judges a write. Where the backend takes no more, it may have answered: reading finds out.
func (c *conn) failed(err error) bool {
	switch {
	case err == nil:
		return false
	case c.tunnel:
		c.x.Abort(exchange.Fail(exchange.TunnelBroken))
	case errors.Is(err, wire.ErrTimeout):
		c.x.Abort(exchange.Fail(exchange.BackendWriteTimeout))
	}
	return true
}

// broken ends the exchange where the body that is sent failed.
func (c *conn) broken(f *exchange.Failure) bool {
	if f != nil {
		c.x.Abort(f)
	}
	return f != nil
}

// await reads heads up to that of the final response. Began tells whether a byte came.
func (c *conn) await() (failure *exchange.Failure, began bool) {
	x := c.x
	c.res.Reset(c.pool.settings.Rules, x.Request.Method)
	c.ReadBy(c.pool.settings.Response)
	for need := true; ; {
		if need {
			if err := c.Fill(); err != nil {
				return c.silence(err), began
			}
			if !began && !c.pumped && x.Request.Body != nil && c.sent.Load() {
				x.Request.Body.Release()
			}
			began = true
		}
		n, fault := c.res.Parse(c.Buffered())
		switch {
		case fault != nil:
			return exchange.FromFault(exchange.BadResponse, fault), began
		case n == 0:
			need = true
		case c.res.Interim():
			if failure = c.interim(n); failure != nil {
				return failure, began
			}
			need = len(c.Buffered()) == 0
		default:
			c.ReadBy(0)
			c.Consume(n)
			return c.final(), began
		}
	}
}

// interim passes an interim response of n bytes on.
func (c *conn) interim(n int) *exchange.Failure {
	h1.ForwardResponse(&c.res)
	c.x.Response = exchange.Response{Status: c.res.Status, Phrase: c.res.Phrase(), Fields: &c.res.Fields}
	f := c.x.Client.Interim(c.x)
	c.Consume(n)
	c.res.Reset(c.pool.settings.Rules, c.x.Request.Method)
	c.ReadBy(c.pool.settings.Response)
	return f
}

// silence says why no response came.
func (c *conn) silence(err error) *exchange.Failure {
	switch f := c.x.Aborted(); {
	case f != nil:
		return f
	case errors.Is(err, wire.ErrTimeout):
		return exchange.Fail(exchange.BackendTimeout)
	}
	return exchange.Fail(exchange.BackendClosed)
}

// final readies the response whose head was read.
func (c *conn) final() *exchange.Failure {
	x, s := c.x, &c.pool.settings
	h1.ForwardResponse(&c.res)
	sides := wire.Sides{Timeout: s.Body, TimedOut: exchange.BackendBodyTimeout, Truncated: exchange.BackendTruncated,
		Faulty: exchange.BadResponseBody, Exchange: x}
	if c.res.Status == 101 {
		if x.Request.Upgrade == nil || !h1.MatchUpgrade(x.Request.Upgrade, c.res.Upgrade()) {
			return exchange.Fail(exchange.BadUpgrade)
		}
		c.tunnel = true
		c.res.Framing = h1.Framing{Kind: h1.UntilClose}
		c.WriteLimit = s.Tunnel
		sides.Timeout, sides.TimedOut, sides.Truncated = s.Tunnel, exchange.TunnelIdle, exchange.TunnelBroken
	}
	x.Response = exchange.Response{Status: c.res.Status, Phrase: c.res.Phrase(), Fields: &c.res.Fields, Framing: c.res.Declared,
		Upgrade: c.res.Upgrade(), Stream: c}
	if !c.res.Framing.Empty() {
		c.res.StartBody(&c.body.H1, &c.body.Fields)
		c.body.Start(&c.Conn, c.res.Framing, sides)
		x.Response.Body = &c.body
	}
	return nil
}

// Taken implements exchange.Stream.
func (c *conn) Taken() bool { return c.taken.Load() }

// Tunnel implements exchange.Stream.
func (c *conn) Tunnel(up exchange.Body) {
	c.taken.Store(false)
	c.sent.Store(false)
	c.sender.Start(&c.Conn, up, false)
	t := c.pool.transport
	t.mu.Lock()
	t.tunnels[c] = struct{}{}
	t.mu.Unlock()
	c.launch(up, c.pool.settings.Tunnel)
}

// Wait implements exchange.Stream.
func (c *conn) Wait() { c.pumps.Wait() }

// Close implements exchange.Stream.
func (c *conn) Close() {
	c.stop()
	x := c.x
	whole := x.Response.Body == nil || x.Response.Body.Done()
	if x.Response.Body != nil {
		x.Response.Body.Release()
	}
	backend := c.peer.backend
	reuse := whole && x.Guard(nil) == nil && c.sent.Load() && c.res.KeepAlive && !c.tunnel && !c.Broken() &&
		len(c.Buffered()) == 0 && !backend.Draining()
	idle := c.pool.settings.Idle
	if seconds := c.res.KeepAliveTimeout(); reuse && seconds > 0 {
		// The backend counts from when it sent the response, and closes when we may just be sending: leave it a second.
		idle = min(idle, max(time.Duration(seconds)*time.Second-time.Second, time.Second/2))
	}
	c.finish(reuse, idle)
	backend.Release()
}

// stop ends the pump, if there is one that still has something to do.
func (c *conn) stop() {
	if c.pumped && !c.sent.Load() {
		c.Interrupt()
		if !c.taken.Load() {
			c.up.Interrupt()
		}
	}
	c.pumps.Wait()
	if t := c.pool.transport; c.tunnel {
		t.mu.Lock()
		delete(t.tunnels, c)
		t.mu.Unlock()
	}
}

// abandon ends an exchange that failed.
func (c *conn) abandon() {
	c.stop()
	c.x.Guard(nil)
	c.finish(false, 0)
}

// finish lets go of the exchange, and gives the connection back.
func (c *conn) finish(reuse bool, idle time.Duration) {
	c.x, c.pool, c.peer, c.up, c.head = nil, nil, nil, nil, h1.RequestHead{}
	c.sender = wire.Sender{}
	c.body.Forget()
	c.res.Fields.Reset()
	if reuse {
		c.Idle()
		c.idleSince, c.idleFor = time.Now(), idle
	}
	c.host.put(c, reuse)
}
