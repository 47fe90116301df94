package balance

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fiberlb/fiberlb/dataplane/internal/health"
	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/maglev"
	"github.com/fiberlb/fiberlb/pkg/snapshot"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	vip    = netip.MustParseAddrPort("203.0.113.10:443")
	client = netip.MustParseAddrPort("192.0.2.1:40000")
)

// clientAt is one of many clients.
func clientAt(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, byte(i >> 16), byte(i >> 8), byte(i)}), uint16(1024+i%60000))
}

// backends makes one backend for each weight, named a, b, c, …
func backends(weights ...uint16) []snapshot.Backend {
	list := make([]snapshot.Backend, len(weights))
	for i, w := range weights {
		name := string(rune('a' + i%26))
		if len(weights) > 26 {
			name = fmt.Sprintf("b%05d", i)
		}
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 8080)
		list[i] = snapshot.Backend{Name: name, Addr: addr, Weight: w, Monitor: addr}
	}
	return list
}

func poolOf(a lb.Algorithm, list []snapshot.Backend) *snapshot.Pool {
	return &snapshot.Pool{Protocol: lb.PoolTCP, Algorithm: a, Backends: list, DeregistrationDelay: time.Minute,
		HashVersion: maglev.HashVersion, TableSize: maglev.DefaultSize}
}

var check = &snapshot.HealthCheck{Type: lb.CheckTCP, Interval: 5 * time.Second, Timeout: time.Second,
	HealthyThreshold: 2, UnhealthyThreshold: 3}

// fleet answers probes.
type fleet struct {
	mu     sync.Mutex
	down   map[netip.AddrPort]bool
	probes int
}

var errDown = errors.New("connect: connection refused")

func (f *fleet) probe(_ context.Context, t *health.Target) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.probes++
	if f.down[t.Monitor] {
		return errDown
	}
	return nil
}

func (f *fleet) set(addr netip.AddrPort, down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down[addr] = down
}

// newRegistry returns a registry whose probes a fleet answers. Close it before a bubble ends.
func newRegistry(t testing.TB) (*Registry, *fleet) {
	t.Helper()
	f := &fleet{down: map[netip.AddrPort]bool{}}
	r := NewRegistry(Config{Prober: health.New(health.Config{Probe: f.probe})})
	r.ownProber = true
	t.Cleanup(r.Close)
	return r, f
}

func (r *Registry) mustSet(t testing.TB, name string, conf *snapshot.Pool, check *snapshot.HealthCheck) *Pool {
	t.Helper()
	if err := r.SetPool(name, conf, check); err != nil {
		t.Fatal(err)
	}
	return r.Pool(name)
}

// draw picks n times for different clients and counts.
func draw(t testing.TB, p *Pool, n int) map[string]int {
	t.Helper()
	count := map[string]int{}
	for i := range n {
		b, err := p.Pick(clientAt(i), vip, nil)
		if err != nil {
			t.Fatal(err)
		}
		count[b.Name()]++
	}
	return count
}

func status(t testing.TB, r *Registry, pool, backend string) BackendStatus {
	t.Helper()
	for _, p := range r.Status() {
		for _, b := range p.Backends {
			if p.Name == pool && b.Name == backend {
				return b
			}
		}
	}
	t.Fatalf("no status of %s/%s", pool, backend)
	return BackendStatus{}
}
