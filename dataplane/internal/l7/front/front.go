// Package front serves HTTP/1.1 clients: it is the front end of package exchange for connections that speak it, and owns what is a
// listener's own: the policies, the fields that proxies add, the answers to errors, keep-alive, draining.
//
// One goroutine serves a connection, inline: parse, route, exchange, write. What a request needs is borrowed while there is a request; a connection that
// waits for one keeps a stack and its socket. The configuration is one immutable Conf behind an atomic pointer. A request keeps the one that it began
// with; connections and tunnels outlive any number of them.
package front

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fiberlb/fiberlb/dataplane/internal/l7/exchange"
	"github.com/fiberlb/fiberlb/dataplane/internal/l7/h1"
	"github.com/fiberlb/fiberlb/dataplane/internal/l7/wire"
	"github.com/fiberlb/fiberlb/pkg/route"
)

// ForwardedFor says what becomes of X-Forwarded-For.
type ForwardedFor uint8

const (
	// AppendFor adds the client's address to what the client sent.
	AppendFor ForwardedFor = iota
	// PreserveFor passes on what the client sent, if anything.
	PreserveFor
	// RemoveFor passes nothing on.
	RemoveFor
)

// Conf is the configuration of a listener. It must not change once it is in force. What is 0 or nil takes its default.
type Conf struct {
	Rules   *h1.Rules    // for requests; default h1.DefaultRules
	Answers *h1.Answers  // to errors; default plain text
	Table   *route.Table // nil: no policies
	// Pools are those of Table.Pools, in that order.
	Pools []exchange.Upstream
	// Default serves what no policy decides; nil: 503.
	Default exchange.Upstream

	ForwardedFor     ForwardedFor
	NoForwardedProto bool // leaves X-Forwarded-Proto out
	NoForwardedPort  bool // leaves X-Forwarded-Port out
	RequestID        bool // adds X-Request-ID where the client sent none
	RawPath          bool // matches and forwards the path as sent, rather than in normal form

	Header time.Duration // from the first byte of a request to the end of its head; default 30 s
	Body   time.Duration // wait for any piece of a request's body; default 60 s
	Write  time.Duration // wait for the client to take any piece of a response; default 60 s
	Idle   time.Duration // wait for the next request; default 75 s
	Tunnel time.Duration // wait for any byte in either direction of a tunnel; default 1 h
}

// state is a Conf in force.
type state struct {
	Conf
	policies []*policyStats // as Table.Policies
}

// Front serves the clients of one listener.
type Front struct {
	name    string
	sweeper *wire.Sweeper
	conf    atomic.Pointer[state]
	stats   stats

	ctx      context.Context // ends when exchanges are no longer waited for
	cancel   context.CancelFunc
	draining atomic.Bool
	serving  sync.WaitGroup

	mu       sync.Mutex // guards what follows
	closed   bool
	conns    map[*conn]struct{}
	policies map[string]*policyStats // by name; counters never fall
}

// New returns a front for the listener of that name. Close it when done, and the sweeper after it.
func New(name string, conf *Conf, sweeper *wire.Sweeper) (*Front, error) {
	f := &Front{name: name, sweeper: sweeper, conns: make(map[*conn]struct{}), policies: make(map[string]*policyStats)}
	if err := f.Set(conf); err != nil {
		return nil, err
	}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	return f, nil
}

// Set puts conf in force, for requests that begin from now on. An error means that nothing changed.
func (f *Front) Set(conf *Conf) error {
	s := &state{Conf: *conf}
	if s.Rules == nil {
		s.Rules = h1.DefaultRules()
	}
	if s.Answers == nil {
		answers, err := h1.NewAnswers("", "")
		if err != nil {
			return fmt.Errorf("front: listener %q: %w", f.name, err)
		}
		s.Answers = answers
	}
	for _, d := range []struct {
		value  *time.Duration
		preset time.Duration
	}{{&s.Header, 30 * time.Second}, {&s.Body, time.Minute}, {&s.Write, time.Minute}, {&s.Idle, 75 * time.Second},
		{&s.Tunnel, time.Hour}} {
		if *d.value <= 0 {
			*d.value = d.preset
		}
	}
	if s.Table != nil {
		if len(s.Pools) != len(s.Table.Pools()) {
			return fmt.Errorf("front: listener %q: %d pools for the %d of the table", f.name, len(s.Pools), len(s.Table.Pools()))
		}
		f.mu.Lock()
		for _, p := range s.Table.Policies() {
			if f.policies[p.Name] == nil {
				f.policies[p.Name] = new(policyStats)
			}
			s.policies = append(s.policies, f.policies[p.Name])
		}
		f.mu.Unlock()
	}
	f.conf.Store(s)
	return nil
}

// Serve accepts clients until l is closed, and returns nil then; otherwise why it cannot go on.
func (f *Front) Serve(l *net.TCPListener) error {
	for {
		tcp, err := l.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("front: listener %q: %w", f.name, err)
		}
		f.Handle(tcp)
	}
}

// Handle serves a client on a goroutine of its own.
func (f *Front) Handle(tcp *net.TCPConn) {
	f.stats.accepted.Add(1)
	c := &conn{front: f, client: endpoint(tcp.RemoteAddr()), vip: endpoint(tcp.LocalAddr())}
	c.address = c.client.Addr().AppendTo(nil)
	if c.Open(tcp, f.sweeper, c.gone) != nil {
		tcp.Close()
		return
	}
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		c.Conn.Reset()
		return
	}
	f.conns[c] = struct{}{}
	f.serving.Add(1)
	f.mu.Unlock()
	go c.serve()
}

// endpoint is an end of a TCP connection; of IPv4 in that form.
func endpoint(a net.Addr) netip.AddrPort {
	e := a.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(e.Addr().Unmap(), e.Port())
}

func (f *Front) forget(c *conn) {
	f.mu.Lock()
	delete(f.conns, c)
	f.mu.Unlock()
	f.serving.Done()
}

// Active is the number of open connections.
func (f *Front) Active() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.conns)
}

// Drain lets every connection end with the request that it serves, at once where it serves none. Tunnels go on. Connections that come later
// are served one request each.
func (f *Front) Drain() {
	f.draining.Store(true)
	f.each((*conn).endIfIdle)
}

func (f *Front) each(do func(*conn)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.conns {
		do(c)
	}
}

// Close drains, waits until all connections have ended or ctx has, and resets what is left; then it returns ctx's error. Connections
// that come later are reset.
func (f *Front) Close(ctx context.Context) error {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.Drain()
	drained := make(chan struct{})
	go func() {
		f.serving.Wait()
		close(drained)
	}()
	var err error
	select {
	case <-drained:
	case <-ctx.Done():
		err = fmt.Errorf("front: listener %q: close: %d connections reset: %w", f.name, f.Active(), ctx.Err())
		f.cancel()
		f.each((*conn).kill)
		<-drained
	}
	f.cancel()
	return err
}
