package l4

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fiberlb/fiberlb/dataplane/internal/balance"
	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/maglev"
	"github.com/fiberlb/fiberlb/pkg/snapshot"
)

func TestMain(m *testing.M) {
	if os.Getenv(starvedEnv) != "" {
		os.Exit(starved())
	}
	goleak.VerifyTestMain(m)
}

// patience bounds every wait of a test; none comes near unless something is broken.
const patience = 20 * time.Second

var lastAddr atomic.Uint32

// newAddr returns a loopback address that no other test of this process has, with a port that was free a moment ago.
func newAddr(t testing.TB) netip.AddrPort {
	t.Helper()
	n := lastAddr.Add(1)
	ip := netip.AddrFrom4([4]byte{127, byte(64 + os.Getpid()%128), byte(n / 250), byte(n%250 + 1)})
	l, err := net.Listen("tcp", netip.AddrPortFrom(ip, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// world is a server with its registry.
type world struct {
	*Server
	registry *balance.Registry
}

func newWorld(t testing.TB, shards int) *world {
	t.Helper()
	registry := balance.NewRegistry(balance.Config{})
	w := &world{Server: New(Config{Registry: registry, Shards: shards}), registry: registry}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		w.Close(ctx)
		registry.Close()
	})
	return w
}

// pool sets a pool of backends of weight 1 named by their addresses.
func (w *world) pool(t testing.TB, name string, delay time.Duration, backends ...netip.AddrPort) *balance.Pool {
	t.Helper()
	conf := &snapshot.Pool{Protocol: lb.PoolTCP, Algorithm: lb.RoundRobin, DeregistrationDelay: delay,
		HashVersion: maglev.HashVersion, TableSize: maglev.DefaultSize}
	for _, addr := range backends {
		conf.Backends = append(conf.Backends, snapshot.Backend{Name: addr.String(), Addr: addr, Weight: 1, Monitor: addr})
	}
	if err := w.registry.SetPool(name, conf, nil); err != nil {
		t.Fatal(err)
	}
	return w.registry.Pool(name)
}

// conf returns the configuration of a listener on one address.
func listenerOn(addr netip.AddrPort) *snapshot.Listener {
	return &snapshot.Listener{VIPs: []netip.Addr{addr.Addr()}, Port: addr.Port(), Protocol: lb.ListenerTCP,
		ConnectTimeout: 2 * time.Second, TCPIdleTimeout: time.Minute}
}

func (w *world) listen(t testing.TB, name string, l *snapshot.Listener, pool *balance.Pool) {
	t.Helper()
	if err := w.SetListener(name, l, pool); err != nil {
		t.Fatal(err)
	}
	for _, s := range w.Status() {
		for _, b := range s.Bindings {
			if s.Name == name && b.Err != nil {
				t.Fatal(b.Err)
			}
		}
	}
}

// backend serves every connection with serve until the test ends.
func backend(t testing.TB, serve func(*net.TCPConn)) netip.AddrPort {
	t.Helper()
	addr := newAddr(t)
	l, err := net.Listen("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			wg.Go(func() {
				serve(c.(*net.TCPConn))
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
	return addr
}

// echo sends back what comes, and ends when that ends.
func echo(c *net.TCPConn) {
	io.Copy(c, c)
	c.CloseWrite()
}

// handed returns a serve function that hands its connections to the test, which owns them.
func handed() (func(*net.TCPConn), chan *net.TCPConn) {
	ch := make(chan *net.TCPConn, 16)
	return func(c *net.TCPConn) {
		f, err := c.File() // a duplicate that outlives serve
		if err != nil {
			return
		}
		defer f.Close()
		if dup, err := net.FileConn(f); err == nil {
			ch <- dup.(*net.TCPConn)
		}
	}, ch
}

func connect(t testing.TB, addr netip.AddrPort) *net.TCPConn {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr.String(), patience)
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

func take(t testing.TB, ch chan *net.TCPConn) *net.TCPConn {
	t.Helper()
	select {
	case c := <-ch:
		c.SetDeadline(time.Now().Add(patience))
		t.Cleanup(func() { c.Close() })
		return c
	case <-time.After(patience):
		t.Fatal("no connection came to the backend")
		return nil
	}
}

// ask sends a message through an echo and wants it back.
func ask(t testing.TB, c net.Conn, message string) {
	t.Helper()
	if err := exchange(c, message); err != nil {
		t.Fatal(err)
	}
}

func exchange(c net.Conn, message string) error {
	if _, err := io.WriteString(c, message); err != nil {
		return err
	}
	got := make([]byte, len(message))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != message {
		return fmt.Errorf("echo of %q is %q", message, got)
	}
	return nil
}

// wantReset reads until the connection ends, which it must by a reset.
func wantReset(t testing.TB, c net.Conn) {
	t.Helper()
	if _, err := io.Copy(io.Discard, c); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("connection ended with %v, want a reset", err)
	}
}

// wantRefused dials a listener that resets: the reset may come before the dial has returned.
func wantRefused(t testing.TB, addr netip.AddrPort) {
	t.Helper()
	c, err := net.Dial("tcp", addr.String())
	if err == nil {
		defer c.Close()
		c.SetDeadline(time.Now().Add(patience))
		wantReset(t, c)
	} else if !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("dial: %v, want a reset", err)
	}
}

// wantBroken writes until the connection takes no more: once its end was read, a reset shows only there.
func wantBroken(t testing.TB, c net.Conn) {
	t.Helper()
	eventually(t, "write error", func() bool { _, err := c.Write([]byte("x")); return err != nil })
}

func wantEOF(t testing.TB, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("read %d, %v; want the end", n, err)
	}
}

// eventually waits until a condition holds that no channel tells of.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for deadline := time.After(patience); !holds(); {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// counters returns a listener's metrics.
func (w *world) counters(name string) *metrics {
	w.mu.Lock()
	defer w.mu.Unlock()
	return &w.listeners[name].metrics
}

func (w *world) active(name string) int64 {
	for _, s := range w.Status() {
		if s.Name == name {
			return s.Active
		}
	}
	return -1
}

// idle waits until a listener has no connections, and checks that its pool counts none either.
func (w *world) idle(t testing.TB, listener, pool string) {
	t.Helper()
	eventually(t, "no connection of "+listener, func() bool { return w.active(listener) == 0 })
	for _, p := range w.registry.Status() {
		for _, b := range p.Backends {
			if p.Name == pool && b.Active != 0 {
				t.Errorf("backend %s counts %d connections", b.Name, b.Active)
			}
		}
	}
}
