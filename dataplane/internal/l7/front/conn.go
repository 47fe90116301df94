package front

import (
	"net/netip"
	"sync"
	"time"

	"github.com/fiberlb/fiberlb/dataplane/internal/l7/exchange"
	"github.com/fiberlb/fiberlb/dataplane/internal/l7/wire"
)

// conn is one client's connection: all that it needs while it is idle.
type conn struct {
	wire.Conn
	front       *Front
	client, vip netip.AddrPort
	address     []byte // of the client, as text

	mu      sync.Mutex // guards what follows
	current *work      // nil while idle
	waiting bool       // for the first byte of a request
	killed  bool
}

// fate is what becomes of a connection after a request.
type fate uint8

const (
	goesOn fate = iota
	closes
	// lingers: the client may still be sending; closing at once would reset the connection and lose the answer.
	lingers
	breaks // with a reset, so that the client takes nothing for whole
)

// What is taken in from a client that is to be closed.
const (
	lingerTime  = 2 * time.Second
	lingerBytes = 1 << 20
)

func (c *conn) serve() {
	defer c.front.forget(c)
	next := goesOn
	for next == goesOn && c.await() {
		w := works.Get().(*work)
		next = c.one(w)
		works.Put(w)
	}
	switch next {
	case breaks:
		c.Conn.Reset()
	case lingers:
		c.linger()
		fallthrough
	default:
		c.Conn.Close()
	}
}

// await waits for a request, without buffers. False: there will be none.
func (c *conn) await() bool {
	if len(c.Buffered()) > 0 {
		c.ReadBy(c.front.conf.Load().Header)
		return !c.Broken()
	}
	c.Idle()
	c.ReadBy(c.front.conf.Load().Idle)
	if !c.wait(true) {
		return false
	}
	err := c.Fill()
	if !c.wait(false) || err != nil {
		return false
	}
	c.ReadBy(c.front.conf.Load().Header)
	return true
}

// wait says that the connection is idle, or no more so. False: it must end.
func (c *conn) wait(on bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = on
	return !c.killed && (!on || !c.front.draining.Load())
}

// one serves one request.
func (c *conn) one(w *work) fate {
	w.begin(c)
	c.mu.Lock()
	c.current = w
	killed := c.killed
	c.mu.Unlock()
	next := breaks
	if !killed {
		next = w.run()
	}
	c.mu.Lock()
	c.current = nil
	c.mu.Unlock()
	w.end()
	return next
}

// gone is told by the sweeper that the client is not there any more.
func (c *conn) gone() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current != nil {
		c.current.x.Abort(exchange.Fail(exchange.ClientClosed))
	}
}

func (c *conn) endIfIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting {
		c.InterruptRead()
	}
}

func (c *conn) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.killed = true
	if c.current != nil {
		c.current.x.Abort(exchange.Fail(exchange.Shutdown))
	}
	c.Interrupt()
}

// linger lets the client read the answer before the connection goes (RFC 9112 section 9.6).
func (c *conn) linger() {
	if c.CloseWrite() != nil {
		return
	}
	c.Revive(lingerTime)
	if !c.wait(false) {
		return
	}
	for taken := 0; taken < lingerBytes; {
		taken += len(c.Buffered())
		c.Consume(len(c.Buffered()))
		if c.Fill() != nil {
			return
		}
	}
}
