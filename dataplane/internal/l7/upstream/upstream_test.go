package upstream

import (
	"bufio"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fiberlb/fiberlb/dataplane/internal/balance"
	"github.com/fiberlb/fiberlb/dataplane/internal/l7/exchange"
	"github.com/fiberlb/fiberlb/dataplane/internal/l7/h1"
	"github.com/fiberlb/fiberlb/dataplane/internal/l7/wire"
	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/maglev"
	"github.com/fiberlb/fiberlb/pkg/snapshot"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server answers every request of every connection with say, which gets the numbers of both, and counts.
type server struct {
	addr                  netip.AddrPort
	connections, requests atomic.Int32
}

func newServer(t *testing.T, say func(c *net.TCPConn, connection, request int)) *server {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	s := &server{addr: l.Addr().(*net.TCPAddr).AddrPort()}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	wg.Go(func() {
		for {
			c, err := l.AcceptTCP()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			n := int(s.connections.Add(1)) - 1
			wg.Go(func() {
				defer c.Close()
				for r, turn := bufio.NewReader(c), 0; ; turn++ {
					for line := ""; line != "\r\n"; {
						if line, err = r.ReadString('\n'); err != nil {
							return
						}
					}
					s.requests.Add(1)
					say(c, n, turn)
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return s
}

func newPool(t *testing.T, s Settings, servers ...*server) *Pool {
	t.Helper()
	registry, sweeper := balance.NewRegistry(balance.Config{}), wire.NewSweeper(5*time.Millisecond)
	transport := NewTransport(sweeper)
	t.Cleanup(func() {
		transport.Close()
		sweeper.Close()
		registry.Close()
	})
	conf := &snapshot.Pool{Protocol: lb.PoolHTTP, Algorithm: lb.RoundRobin, HashVersion: maglev.HashVersion, TableSize: maglev.DefaultSize}
	for _, s := range servers {
		conf.Backends = append(conf.Backends, snapshot.Backend{Name: s.addr.String(), Addr: s.addr, Weight: 1, Monitor: s.addr})
	}
	if err := registry.SetPool("p", conf, nil); err != nil {
		t.Fatal(err)
	}
	return transport.Pool(registry.Pool("p"), s)
}

type client struct{ interim int }

func (c *client) Interim(*exchange.Exchange) *exchange.Failure {
	c.interim++
	return nil
}

// ask makes one request and returns status and body.
func ask(t *testing.T, p *Pool) (status int, body string, why *exchange.Failure) {
	t.Helper()
	var x exchange.Exchange
	var r h1.Request
	r.Reset(nil)
	if n, fault := r.Parse([]byte("GET / HTTP/1.1\r\nHost: h\r\n\r\n")); n == 0 {
		t.Fatal(fault)
	}
	x.Client = &client{}
	x.Request = exchange.Request{Method: r.Method, MethodName: r.MethodName(), Target: r.Target(), Fields: &r.Fields}
	if f := p.Exchange(t.Context(), &x); f != nil {
		return 0, "", f
	}
	defer x.Response.Stream.Close()
	for b := x.Response.Body; b != nil && !b.Done(); b.Release() {
		data, f := b.Next()
		if f != nil {
			return x.Response.Status, body, f
		}
		body += string(data)
	}
	return x.Response.Status, body, nil
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// TestReuse counts the connections that a few requests in turn need.
func TestReuse(t *testing.T) {
	t.Parallel()
	says := func(text string) func(*net.TCPConn, int, int) {
		return func(c *net.TCPConn, _, _ int) { io.WriteString(c, text) }
	}
	for name, c := range map[string]struct {
		say      func(*net.TCPConn, int, int)
		settings Settings
		want     int32
	}{
		"kept alive":             {says(ok), Settings{}, 1},
		"backend closes":         {says("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"), Settings{}, 3},
		"HTTP/1.0":               {says("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"), Settings{}, 3},
		"bytes behind response":  {says(ok + "HTTP/1.1 200 OK\r\n"), Settings{}, 3},
		"body behind 204's like": {says("HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok"), Settings{}, 3},
		"idle for too long":      {says(ok), Settings{Idle: time.Nanosecond}, 3},
		"closed without a word": {func(c *net.TCPConn, _, _ int) {
			io.WriteString(c, ok)
			c.CloseWrite()
		}, Settings{}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, c.say)
			p := newPool(t, c.settings, s)
			for range 3 {
				if status, body, why := ask(t, p); why != nil || status == 200 && body != "ok" {
					t.Fatalf("%d %q %v", status, body, why)
				}
			}
			if n := s.connections.Load(); n != c.want {
				t.Errorf("%d connections, want %d", n, c.want)
			}
			if b := (*p.transport.peers.Load()); len(b) != 1 {
				t.Errorf("%d backends are known", len(b))
			} else {
				for b := range b {
					if b.Active() != 0 {
						t.Errorf("%d requests are still counted", b.Active())
					}
				}
			}
		})
	}
}

// TestUnsolicited: what a backend says on an idle connection answers no request.
func TestUnsolicited(t *testing.T) {
	t.Parallel()
	said := make(chan struct{})
	s := newServer(t, func(c *net.TCPConn, n, _ int) {
		io.WriteString(c, ok)
		if n == 0 {
			<-time.After(2 * peekAfter)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
			close(said)
		}
	})
	p := newPool(t, Settings{}, s)
	ask(t, p)
	<-said
	if _, body, why := ask(t, p); why != nil || body != "ok" {
		t.Errorf("%q %v", body, why)
	}
	if n := s.connections.Load(); n != 2 {
		t.Errorf("%d connections", n)
	}
}

// TestSweep: unused connections are closed when their time is over.
func TestSweep(t *testing.T) {
	t.Parallel()
	s := newServer(t, func(c *net.TCPConn, _, _ int) {
		io.WriteString(c, "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=2\r\nContent-Length: 2\r\n\r\nok")
	})
	p := newPool(t, Settings{}, s)
	ask(t, p)
	h := p.transport.hosts[identity{s.addr}]
	p.transport.sweep(time.Now().Add(900 * time.Millisecond))
	if len(h.idle) != 1 {
		t.Error("closed too soon")
	}
	p.transport.sweep(time.Now().Add(1100 * time.Millisecond))
	if len(h.idle) != 0 || h.open != 0 {
		t.Errorf("%d idle and %d open connections are left", len(h.idle), h.open)
	}
}

// TestAbort ends an exchange that waits for its response.
func TestAbort(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{})
	s := newServer(t, func(*net.TCPConn, int, int) { close(asked) })
	p := newPool(t, Settings{}, s)
	var x exchange.Exchange
	var r h1.Request
	r.Reset(nil)
	r.Parse([]byte("GET / HTTP/1.1\r\nHost: h\r\n\r\n"))
	x.Client = &client{}
	x.Request = exchange.Request{Method: r.Method, MethodName: r.MethodName(), Target: r.Target(), Fields: &r.Fields}
	go func() {
		<-asked
		x.Abort(exchange.Fail(exchange.ClientClosed))
	}()
	if f := p.Exchange(t.Context(), &x); f == nil || f.Reason != exchange.ClientClosed {
		t.Errorf("ended by %v", f)
	}
	if f := p.Exchange(t.Context(), &x); f == nil || f.Reason != exchange.ClientClosed {
		t.Errorf("an aborted exchange ended by %v", f)
	}
}
