package apply

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/maglev"
	"github.com/fiberlb/fiberlb/pkg/snapshot"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What the engine below refuses, as a data plane refuses what it cannot do.
const (
	refusedSlowStart = 13 * time.Second
	refusedInterval  = 13 * time.Second
	refusedIdle      = 13 * time.Second
)

func refusesPool(p *snapshot.Pool, hc *snapshot.HealthCheck) bool {
	return p.SlowStart == refusedSlowStart || hc != nil && hc.Interval == refusedInterval
}

func refusesListener(l *snapshot.Listener) bool { return l.TCPIdleTimeout == refusedIdle }

// runningPool is a pool as the engine runs it.
type runningPool struct {
	Pool  *snapshot.Pool
	Check *snapshot.HealthCheck
}

// recorder is an engine that keeps what it was told, and insists on the order
// of things and on being told of changes only.
type recorder struct {
	t testing.TB

	mu        sync.Mutex // guards all below
	calls     []string
	pools     map[string]runningPool
	listeners map[string]*snapshot.Listener
}

func newRecorder(t testing.TB) *recorder {
	return &recorder{t: t, pools: map[string]runningPool{}, listeners: map[string]*snapshot.Listener{}}
}

var errRefused = errors.New("not with this engine")

func (e *recorder) SetPool(name string, p *snapshot.Pool, hc *snapshot.HealthCheck) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls = append(e.calls, "set "+name)
	if refusesPool(p, hc) {
		return errRefused
	}
	if (p.HealthCheck == "") != (hc == nil) {
		e.t.Errorf("pool %s with health check %q is set with %v", name, p.HealthCheck, hc)
	}
	next := runningPool{p, hc}
	if reflect.DeepEqual(e.pools[name], next) {
		e.t.Errorf("pool %s is set again without a change", name)
	}
	e.pools[name] = next
	return nil
}

func (e *recorder) RemovePool(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls = append(e.calls, "remove "+name)
	if _, ok := e.pools[name]; !ok {
		e.t.Errorf("pool %s is removed, but not there", name)
	}
	for listener, l := range e.listeners {
		if l.DefaultPool == name {
			e.t.Errorf("pool %s is removed, but listener %s uses it", name, listener)
		}
	}
	delete(e.pools, name)
}

func (e *recorder) SetListener(name string, l *snapshot.Listener) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls = append(e.calls, "set "+name)
	if refusesListener(l) {
		return errRefused
	}
	if len(l.VIPs) == 0 {
		e.t.Errorf("listener %s is set without an address", name)
	}
	if _, ok := e.pools[l.DefaultPool]; l.DefaultPool != "" && !ok {
		e.t.Errorf("listener %s is set before its pool %s", name, l.DefaultPool)
	}
	if reflect.DeepEqual(e.listeners[name], l) {
		e.t.Errorf("listener %s is set again without a change", name)
	}
	e.listeners[name] = l
	return nil
}

func (e *recorder) RemoveListener(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls = append(e.calls, "remove "+name)
	if e.listeners[name] == nil {
		e.t.Errorf("listener %s is removed, but not there", name)
	}
	delete(e.listeners, name)
}

// told gives the calls since the last time.
func (e *recorder) told() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	calls := e.calls
	e.calls = nil
	return calls
}

// open gives the addresses on which a listener is open.
func (e *recorder) open(name string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.listeners[name] == nil {
		return "none"
	}
	return fmt.Sprint(e.listeners[name].VIPs)
}

func (e *recorder) running() (map[string]runningPool, map[string]*snapshot.Listener) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return maps.Clone(e.pools), maps.Clone(e.listeners)
}

// announcements is what a BGP agent announces.
type announcements struct {
	mu   sync.Mutex // guards vips
	vips map[string]bool
}

func announcing(vips ...string) *announcements {
	a := &announcements{vips: map[string]bool{}}
	for _, v := range vips {
		a.vips[v] = true
	}
	return a
}

func (a *announcements) Withdrawn(vip string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.vips[vip]
}

func (a *announcements) withdraw(vip string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.vips, vip)
}

// node is an applier at work.
type node struct {
	*Applier
	t      testing.TB
	engine *recorder
	wished *snapshot.Set
	rev    int64
}

func newNode(t testing.TB, w Withdrawals) *node {
	t.Helper()
	engine := newRecorder(t)
	a := New(Config{
		Engine: engine, Withdrawals: w, Logger: hclog.NewNullLogger(),
		Metrics: NewMetrics(prometheus.NewRegistry()), LingerTimeout: 2 * time.Second,
	})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := a.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return &node{Applier: a, t: t, engine: engine}
}

// delta leads to the next revision.
func (n *node) delta(upserts []*snapshot.Resource, removals ...snapshot.Ref) *snapshot.Delta {
	n.rev++
	return &snapshot.Delta{
		Version: snapshot.Version{Cluster: "c", Revision: n.rev, Digest: n.wished.With(upserts, removals).Digest()},
		Upserts: upserts, Removals: removals,
	}
}

// full is the same result as one full delta.
func (n *node) full(d *snapshot.Delta) *snapshot.Delta {
	return full(d.Version, n.wished.With(d.Upserts, d.Removals))
}

func (n *node) apply(d *snapshot.Delta) []Fault {
	n.t.Helper()
	res, err := n.Apply(n.t.Context(), d)
	if err != nil {
		n.t.Fatalf("apply revision %d: %v", d.Version.Revision, err)
	}
	if d.Full {
		n.wished = snapshot.NewSet(d.Upserts)
	} else {
		n.wished = n.wished.With(d.Upserts, d.Removals)
	}
	return res.Faults
}

func (n *node) put(resources ...*snapshot.Resource) []Fault {
	n.t.Helper()
	return n.apply(n.delta(resources))
}

func (n *node) remove(refs ...snapshot.Ref) []Fault {
	n.t.Helper()
	return n.apply(n.delta(nil, refs...))
}

func (n *node) file() *snapshot.File {
	n.t.Helper()
	var f *snapshot.File
	if err := n.View(n.t.Context(), func(v View) { f = v.File() }); err != nil {
		n.t.Fatal(err)
	}
	return f
}

func (n *node) expect(calls ...string) {
	n.t.Helper()
	if got := n.engine.told(); !slices.Equal(got, calls) {
		n.t.Errorf("the engine was told %q, want %q", got, calls)
	}
}

// Resources.

func check(name string, interval time.Duration) *snapshot.Resource {
	return snapshot.EncodeHealthCheck(name, &snapshot.HealthCheck{
		Type: lb.CheckTCP, Interval: interval, Timeout: 50 * time.Millisecond, HealthyThreshold: 2, UnhealthyThreshold: 3})
}

func pool(name, healthCheck string, change func(*snapshot.Pool)) *snapshot.Resource {
	addr := netip.MustParseAddrPort("10.0.0.1:80")
	p := &snapshot.Pool{
		Protocol: lb.PoolTCP, Algorithm: lb.RoundRobin, HealthCheck: healthCheck, HashVersion: maglev.HashVersion,
		TableSize: maglev.DefaultSize, Backends: []snapshot.Backend{{Name: "b1", Addr: addr, Weight: 1, Monitor: addr}},
	}
	if change != nil {
		change(p)
	}
	return snapshot.EncodePool(name, p)
}

func slowStart(d time.Duration) func(*snapshot.Pool) {
	return func(p *snapshot.Pool) { p.SlowStart = d }
}

func listener(name, pool string, port uint16, vips ...string) *snapshot.Resource {
	return listenerWith(name, pool, port, time.Minute, vips...)
}

func listenerWith(name, pool string, port uint16, idle time.Duration, vips ...string) *snapshot.Resource {
	l := &snapshot.Listener{
		Port: port, Protocol: lb.ListenerTCP, DefaultPool: pool, ConnectTimeout: time.Second, TCPIdleTimeout: idle}
	for _, v := range vips {
		l.VIPs = append(l.VIPs, netip.MustParseAddr(v))
	}
	return snapshot.EncodeListener(name, l)
}

// garbage has a hash that fits and a content that does not.
func garbage(kind snapshot.Kind, name, content string) *snapshot.Resource {
	return &snapshot.Resource{
		Ref: snapshot.Ref{Kind: kind, Name: name}, Hash: sha256.Sum256([]byte(content)), Content: []byte(content)}
}

func checkRef(name string) snapshot.Ref {
	return snapshot.Ref{Kind: snapshot.KindHealthCheck, Name: name}
}
func poolRef(name string) snapshot.Ref { return snapshot.Ref{Kind: snapshot.KindPool, Name: name} }
func listenerRef(name string) snapshot.Ref {
	return snapshot.Ref{Kind: snapshot.KindListener, Name: name}
}
