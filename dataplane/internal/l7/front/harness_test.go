package front

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fiberlb/fiberlb/dataplane/internal/balance"
	"github.com/fiberlb/fiberlb/dataplane/internal/l7/exchange"
	"github.com/fiberlb/fiberlb/dataplane/internal/l7/upstream"
	"github.com/fiberlb/fiberlb/dataplane/internal/l7/wire"
	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/maglev"
	"github.com/fiberlb/fiberlb/pkg/snapshot"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of a test; none comes near unless something is broken.
const patience = 20 * time.Second

// world is a listener with all that is behind it.
type world struct {
	*Front
	registry  *balance.Registry
	transport *upstream.Transport
	sweeper   *wire.Sweeper
	addr      string
}

// newWorld serves a listener whose default pool is that of backends.
func newWorld(t testing.TB, conf Conf, settings upstream.Settings, backends ...netip.AddrPort) *world {
	t.Helper()
	w := &world{registry: balance.NewRegistry(balance.Config{}), sweeper: wire.NewSweeper(10 * time.Millisecond)}
	w.transport = upstream.NewTransport(w.sweeper)
	if len(backends) > 0 {
		conf.Default = w.transport.Pool(w.pool(t, "default", backends...), settings)
	}
	f, err := New("web", &conf, w.sweeper)
	if err != nil {
		t.Fatal(err)
	}
	w.Front = f
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	w.addr = l.Addr().String()
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := f.Serve(l); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		l.Close()
		serving.Wait()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		f.Close(ctx)
		w.transport.Close()
		w.sweeper.Close()
		w.registry.Close()
	})
	return w
}

func (w *world) pool(t testing.TB, name string, backends ...netip.AddrPort) *balance.Pool {
	t.Helper()
	conf := &snapshot.Pool{Protocol: lb.PoolHTTP, Algorithm: lb.RoundRobin, HashVersion: maglev.HashVersion, TableSize: maglev.DefaultSize}
	for _, addr := range backends {
		conf.Backends = append(conf.Backends, snapshot.Backend{Name: addr.String(), Addr: addr, Weight: 1, Monitor: addr})
	}
	if err := w.registry.SetPool(name, conf, nil); err != nil {
		t.Fatal(err)
	}
	return w.registry.Pool(name)
}

// ends waits until so many requests have ended for a reason.
func (w *world) ends(t testing.TB, why exchange.Reason, want uint64) {
	t.Helper()
	for end := time.Now().Add(patience); w.stats.requests[why].Load() < want; {
		if time.Now().After(end) {
			var all []string
			for r := range w.stats.requests {
				if n := w.stats.requests[r].Load(); n > 0 {
					all = append(all, fmt.Sprintf("%s %d", exchange.Reason(r), n))
				}
			}
			t.Fatalf("%d requests have ended by %s, not %d; all: %s", w.stats.requests[why].Load(), why, want, strings.Join(all, ", "))
		}
		<-time.After(time.Millisecond)
	}
}

// serve runs a server of raw connections, each served by do with its number from 0 on.
func serve(t testing.TB, do func(n int, c *net.TCPConn)) netip.AddrPort {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	wg.Go(func() {
		for n := 0; ; n++ {
			c, err := l.AcceptTCP()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			wg.Go(func() {
				do(n, c)
				c.Close()
				mu.Lock()
				delete(open, c)
				mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for c := range open {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// httpBackend runs net/http's server.
func httpBackend(t testing.TB, h http.HandlerFunc) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h}
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		s.Close()
		serving.Wait()
	})
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// answering reads requests, which end with an empty line and have no body, and answers each with response.
func answering(response string) func(int, *net.TCPConn) {
	return func(_ int, c *net.TCPConn) {
		for r := bufio.NewReader(c); ; {
			if readHead(r) == "" {
				return
			}
			if _, err := io.WriteString(c, response); err != nil {
				return
			}
		}
	}
}

// readHead reads up to and including an empty line; "" at the end.
func readHead(r *bufio.Reader) string {
	var head strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return ""
		}
		head.WriteString(line)
		if line == "\r\n" {
			return head.String()
		}
	}
}

// peer is a client's raw connection.
type peer struct {
	*net.TCPConn
	r *bufio.Reader
}

func (w *world) dial(t testing.TB) *peer {
	t.Helper()
	c, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { c.Close() })
	return &peer{TCPConn: c.(*net.TCPConn), r: bufio.NewReader(c)}
}

func (p *peer) send(t testing.TB, text string) {
	t.Helper()
	if _, err := io.WriteString(p, text); err != nil {
		t.Fatal(err)
	}
}

// expect reads text and nothing else.
func (p *peer) expect(t testing.TB, text string) {
	t.Helper()
	got := make([]byte, len(text))
	if n, err := io.ReadFull(p.r, got); err != nil || string(got) != text {
		t.Fatalf("got %q (%v), want %q", got[:n], err, text)
	}
}

// rest reads to the end.
func (p *peer) rest(t testing.TB) string {
	t.Helper()
	got, err := io.ReadAll(p.r)
	if err != nil {
		t.Fatalf("got %q, then %v", got, err)
	}
	return string(got)
}

// head is that of a response, as net/http reads it.
type head struct {
	Status     string
	StatusCode int
	Close      bool
	Header     http.Header
}

// response reads one response.
func (p *peer) response(t testing.TB, method string) (h head, content string) {
	t.Helper()
	r, err := http.ReadResponse(p.r, &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatalf("body %q, then %v", body, err)
	}
	return head{r.Status, r.StatusCode, r.Close, r.Header}, string(body)
}

const (
	get = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
	ok2 = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
)
