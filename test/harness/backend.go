package harness

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Backend is a TCP server that says its name to whoever connects, and then echoes until the client is done.
type Backend struct {
	Name string
	Addr netip.AddrPort

	mu       sync.Mutex // guards all below
	listener net.Listener
	conns    map[net.Conn]struct{}
}

// NewBackend starts a backend on an address of its own.
func NewBackend(t testing.TB, name string) *Backend {
	t.Helper()
	b := &Backend{Name: name, Addr: netip.AddrPortFrom(Loopback(), 0), conns: map[net.Conn]struct{}{}}
	b.Start(t)
	t.Cleanup(b.Stop)
	return b
}

// Start serves again, on the port of before, after a Stop.
func (b *Backend) Start(t testing.TB) {
	t.Helper()
	listener, err := net.Listen("tcp", b.Addr.String())
	if err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.listener, b.Addr = listener, listener.Addr().(*net.TCPAddr).AddrPort()
	go b.accept(listener)
}

// Stop dies as a process does: the port refuses and open connections break.
func (b *Backend) Stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.listener != nil {
		_ = b.listener.Close()
		b.listener = nil
	}
	for conn := range b.conns {
		_ = conn.Close()
	}
}

// YAML is the backend as an entry of a pool; more fields may follow, as ", weight: 2".
func (b *Backend) YAML(more string) string {
	return fmt.Sprintf("{name: %s, address: %s, port: %d%s}", b.Name, b.Addr.Addr(), b.Addr.Port(), more)
}

func (b *Backend) accept(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		b.mu.Lock()
		if b.listener != listener {
			_ = conn.Close()
		} else {
			b.conns[conn] = struct{}{}
			go b.serve(conn)
		}
		b.mu.Unlock()
	}
}

func (b *Backend) serve(conn net.Conn) {
	if _, err := fmt.Fprintln(conn, b.Name); err == nil {
		_, _ = io.Copy(conn, conn)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.conns, conn)
	_ = conn.Close()
}

// WebBackend is an HTTP server that says its name at every path.
type WebBackend struct {
	Name string
	Addr netip.AddrPort
	// Sick makes it answer 503.
	Sick atomic.Bool
}

// NewWebBackend starts an HTTP backend on an address of its own.
func NewWebBackend(t testing.TB, name string) *WebBackend {
	t.Helper()
	listener, err := net.Listen("tcp", netip.AddrPortFrom(Loopback(), 0).String())
	if err != nil {
		t.Fatal(err)
	}
	b := &WebBackend{Name: name, Addr: listener.Addr().(*net.TCPAddr).AddrPort()}
	answer := func(w http.ResponseWriter, _ *http.Request) {
		if b.Sick.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = io.WriteString(w, name)
	}
	server := &http.Server{Handler: http.HandlerFunc(answer), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return b
}
