package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fiberlb/fiberlb/controlplane/internal/etcdserver"
	"github.com/fiberlb/fiberlb/controlplane/internal/etcdtest"
	"github.com/fiberlb/fiberlb/pkg/lb"
)

// link is a connection to an etcd that can be cut.
type link struct {
	listener net.Listener
	group    sync.WaitGroup

	mu     sync.Mutex
	target string                // path of a socket; guarded by mu
	cut    bool                  // guarded by mu
	conns  map[net.Conn]struct{} // guarded by mu
}

// newLink makes a link to the server, and a store that speaks over it.
func newLink(t *testing.T, server *etcdserver.Server) (*link, *Store) {
	t.Helper()
	listener := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	l := &link{listener: listener, target: strings.TrimPrefix(server.Endpoint(), "unix://"), conns: make(map[net.Conn]struct{})}
	l.group.Go(l.accept)
	client := must[*clientv3.Client](t)(Dial(t.Context(), DialConfig{Endpoints: []string{listener.Addr().String()}}))
	t.Cleanup(func() {
		_ = client.Close()
		_ = listener.Close()
		l.set(true)
		l.group.Wait()
	})
	return l, storeOver(t, client)
}

func (l *link) accept() {
	for {
		near, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.mu.Lock()
		far, err := net.Dial("unix", l.target)
		if err != nil || l.cut {
			l.mu.Unlock()
			_ = near.Close()
			if err == nil {
				_ = far.Close()
			}
			continue
		}
		l.conns[near], l.conns[far] = struct{}{}, struct{}{}
		l.mu.Unlock()
		for _, pair := range [][2]net.Conn{{near, far}, {far, near}} {
			l.group.Go(func() {
				_, _ = io.Copy(pair[0], pair[1])
				_, _ = pair[0].Close(), pair[1].Close()
			})
		}
	}
}

// set cuts the link, or mends it.
func (l *link) set(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
	if cut {
		for c := range l.conns {
			_ = c.Close()
		}
		clear(l.conns)
	}
}

// picture is what a receiver of batches knows.
type picture struct {
	t        *testing.T
	batches  <-chan Batch
	revision int64
	lbs      map[Key]*Entry
	nodes    map[string]*NodeConfig
	faults   []Fault
	last     Batch
}

// watchConfig begins to watch and takes the first batch.
func watchConfig(t *testing.T, s *Store) *picture {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := &picture{t: t, batches: s.WatchConfig(ctx), lbs: make(map[Key]*Entry), nodes: make(map[string]*NodeConfig)}
	t.Cleanup(func() {
		cancel()
		for range p.batches { // until it is closed
		}
	})
	p.take()
	if !p.last.Reset {
		t.Error("the first batch is no reset")
	}
	return p
}

func (p *picture) take() {
	p.t.Helper()
	b, ok := <-p.batches
	if !ok {
		p.t.Fatal("the channel is closed")
	}
	p.last = b
	if b.Revision < p.revision {
		p.t.Errorf("revision %d after %d", b.Revision, p.revision)
	}
	p.revision = b.Revision
	if b.Reset {
		clear(p.lbs)
		clear(p.nodes)
	}
	for key, e := range b.LBs {
		switch {
		case e == nil && (p.lbs[key] == nil || b.Reset):
			p.t.Errorf("%s is told as deleted, but was not there", key)
		case e == nil:
			delete(p.lbs, key)
		default:
			if old := p.lbs[key]; old != nil && e.Revision <= old.Revision {
				p.t.Errorf("%s of revision %d is told after %d", key, e.Revision, old.Revision)
			}
			p.lbs[key] = e
		}
	}
	for node, c := range b.Nodes {
		if c == nil {
			delete(p.nodes, node)
		} else {
			p.nodes[node] = c
		}
	}
	p.faults = append(p.faults, b.Faults...)
}

// until takes batches up to a revision.
func (p *picture) until(revision int64) {
	p.t.Helper()
	for p.revision < revision {
		p.take()
	}
}

// check compares the picture with what was there at its revision; ok is false where that is compacted.
func (p *picture) check(s *Store) (ok bool) {
	p.t.Helper()
	page, err := s.List(p.t.Context(), ListOptions{Revision: p.revision})
	if errors.Is(err, ErrCompacted) {
		return false
	}
	if err != nil {
		p.t.Fatal(err)
	}
	if len(page.Entries) != len(p.lbs) {
		p.t.Errorf("revision %d: %d load balancers are known, %d are there", p.revision, len(p.lbs), len(page.Entries))
	}
	for _, e := range page.Entries {
		known := p.lbs[KeyOf(e.LB)]
		if known == nil || known.Revision != e.Revision {
			p.t.Errorf("revision %d: %s is known as %v, is of revision %d", p.revision, KeyOf(e.LB), known, e.Revision)
			continue
		}
		sameLB(p.t, known.LB, e.LB)
	}
	from := s.keys.nodeConfigs()
	resp := must[*clientv3.GetResponse](p.t)(s.client.Get(p.t.Context(), from, clientv3.WithPrefix(), clientv3.WithRev(p.revision)))
	nodes := make(map[string]*NodeConfig)
	for _, kv := range resp.Kvs {
		node := strings.TrimPrefix(string(kv.Key), from)
		nodes[node] = must[*NodeConfig](p.t)(decodeNodeConfig(node, kv))
	}
	if !reflect.DeepEqual(nodes, p.nodes) {
		p.t.Errorf("revision %d: nodes %v are known, %v are there", p.revision, p.nodes, nodes)
	}
	return true
}

// TestWatchIsConsistent writes at random, in small and large steps, and compares every batch with what lay there at its revision.
func TestWatchIsConsistent(t *testing.T) {
	t.Parallel()
	server := etcdtest.StartServer(t, t.TempDir())
	s := storeOver(t, server.Client())
	must[*Entry](t)(s.Create(t.Context(), web(t, "first"), Request{}))
	p := watchConfig(t, s)
	if len(p.lbs) != 1 {
		t.Errorf("%d load balancers in the first batch", len(p.lbs))
	}
	p.check(s)
	var group sync.WaitGroup
	for worker := range 4 {
		group.Go(func() {
			r := rand.New(rand.NewPCG(uint64(worker), 7))
			writer := s
			if worker%2 == 0 {
				writer = small(s)
			}
			for range 60 {
				if r.IntN(5) > 0 {
					_ = randomWrite(t, writer, r) // refusals are a part of it
					continue
				}
				node := fmt.Sprint("node", r.IntN(3))
				if c, err := s.GetNodeConfig(t.Context(), node); err == nil && r.IntN(2) == 0 {
					_ = s.DeleteNodeConfig(t.Context(), node, c.Revision)
				} else if err == nil {
					_, _ = s.PutNodeConfig(t.Context(), node, &NodeConfig{Drain: !c.Drain, Revision: c.Revision})
				} else {
					_, _ = s.PutNodeConfig(t.Context(), node, &NodeConfig{Labels: map[string]string{"a": fmt.Sprint(r.IntN(9))}})
				}
			}
		})
	}
	var last sync.WaitGroup
	defer last.Wait() // the watch may hear of it before its writer does
	last.Go(func() {
		group.Wait()
		if _, err := s.PutNodeConfig(t.Context(), "last", &NodeConfig{}); err != nil {
			t.Error(err)
		}
	})
	checked := 0
	for ; p.nodes["last"] == nil; checked++ {
		p.take()
		p.check(s)
	}
	if checked < 20 {
		t.Errorf("only %d batches", checked)
	}
}

func TestWatchSurvivesCompaction(t *testing.T) {
	t.Parallel()
	server := etcdtest.StartServer(t, t.TempDir())
	direct := storeOver(t, server.Client())
	link, s := newLink(t, server)
	ctx := t.Context()
	entries := make(map[string]*Entry)
	for _, name := range []string{"same", "changed", "gone"} {
		entries[name] = must[*Entry](t)(direct.Create(ctx, web(t, name), Request{}))
	}
	keep := must[*NodeConfig](t)(direct.PutNodeConfig(ctx, "keep", &NodeConfig{Drain: true}))
	drop := must[*NodeConfig](t)(direct.PutNodeConfig(ctx, "drop", &NodeConfig{}))
	p := watchConfig(t, s)
	link.set(true)

	must[*Entry](t)(direct.Update(ctx, entries["changed"], normal(t, entries["changed"].LB, describe("x")), Request{}))
	must[*Entry](t)(direct.Create(ctx, web(t, "new"), Request{}))
	if err := direct.DeleteNodeConfig(ctx, "drop", drop.Revision); err != nil {
		t.Fatal(err)
	}
	if err := direct.Delete(ctx, entries["gone"], Request{}); err != nil {
		t.Fatal(err)
	}
	resp := must[*clientv3.GetResponse](t)(server.Client().Get(ctx, "x"))
	must[*clientv3.CompactResponse](t)(server.Client().Compact(ctx, resp.Header.Revision, clientv3.WithCompactPhysical()))
	link.set(false)

	p.take()
	if p.last.Reset || p.revision != resp.Header.Revision {
		t.Errorf("reset %t, revision %d, want %d", p.last.Reset, p.revision, resp.Header.Revision)
	}
	told := make(map[string]bool)
	for key, e := range p.last.LBs {
		told[key.LB] = e != nil
	}
	if want := map[string]bool{"changed": true, "new": true, "gone": false}; !reflect.DeepEqual(told, want) {
		t.Errorf("told %v, want %v", told, want)
	}
	if c, ok := p.last.Nodes["drop"]; c != nil || !ok || len(p.last.Nodes) != 1 || p.nodes["keep"].Revision != keep.Revision {
		t.Errorf("told nodes %v", p.last.Nodes)
	}
	p.check(direct)
	if n := valueOf(t, s.metrics.relists.WithLabelValues("config")); n != 1 {
		t.Errorf("%v relists are counted", n)
	}
	// And it goes on from there.
	e := must[*Entry](t)(direct.Update(ctx, entries["same"], normal(t, entries["same"].LB, describe("y")), Request{}))
	p.until(e.Revision)
	p.check(direct)
}

func TestWatchSurvivesRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server := etcdtest.StartServer(t, dir)
	link, s := newLink(t, server)
	e := must[*Entry](t)(s.Create(t.Context(), web(t, "web"), Request{}))
	p := watchConfig(t, s)
	server.Close()
	server = etcdtest.StartServer(t, dir)
	link.mu.Lock()
	link.target = strings.TrimPrefix(server.Endpoint(), "unix://")
	link.mu.Unlock()
	direct := storeOver(t, server.Client())
	e = must[*Entry](t)(direct.Update(t.Context(), e, normal(t, e.LB, describe("after")), Request{}))
	p.take() // the first thing told is the change, nothing before it
	if len(p.last.LBs) != 1 || p.last.Reset || p.revision != e.Revision {
		t.Errorf("told %+v", p.last)
	}
	p.check(direct)
}

// TestWatchNoticesAnotherCluster replaces the etcd behind the link by a new one, whose revisions begin from the start.
func TestWatchNoticesAnotherCluster(t *testing.T) {
	t.Parallel()
	old := etcdtest.StartServer(t, t.TempDir())
	link, s := newLink(t, old)
	for i := range 5 {
		must[*Entry](t)(s.Create(t.Context(), web(t, fmt.Sprint("old", i)), Request{}))
	}
	p := watchConfig(t, s)
	if want := must[string](t)(s.ClusterID(t.Context())); p.last.Cluster != want || len(want) != 16 {
		t.Errorf("cluster %q, want %q", p.last.Cluster, want)
	}
	server := etcdtest.StartServer(t, filepath.Join(t.TempDir(), "other"))
	direct := storeOver(t, server.Client())
	e := must[*Entry](t)(direct.Create(t.Context(), web(t, "new"), Request{}))
	// Enough for the watch, which goes on from its revision, to hear something.
	for i := range 50 {
		e = must[*Entry](t)(direct.Update(t.Context(), e, normal(t, e.LB, describe(fmt.Sprint(i))), Request{}))
	}
	link.mu.Lock()
	link.target = strings.TrimPrefix(server.Endpoint(), "unix://")
	link.mu.Unlock()
	link.set(true)
	link.set(false)
	p.revision = 0
	p.take()
	if !p.last.Reset || len(p.lbs) != 1 || p.last.Cluster != must[string](t)(direct.ClusterID(t.Context())) {
		t.Errorf("told %+v", p.last)
	}
	p.check(direct)
}

func TestWatchKeepsTheLastGoodVersion(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	ctx := t.Context()
	e := must[*Entry](t)(s.Create(ctx, web(t, "web"), Request{}))
	p := watchConfig(t, s)
	key := KeyOf(e.LB)
	spoil(t, s, key)
	p.take()
	if len(p.last.LBs) != 0 || len(p.faults) != 1 || p.faults[0].Name != key.String() || p.lbs[key].Revision != e.Revision {
		t.Errorf("told %+v", p.last)
	}
	var bad *DecodeError
	if !errors.As(p.faults[0].Err, &bad) {
		t.Errorf("fault %v", p.faults[0].Err)
	}
	if n := valueOf(t, s.metrics.faults); n != 1 {
		t.Errorf("%v faults are counted", n)
	}
	must[*clientv3.PutResponse](t)(s.client.Put(ctx, s.keys.nodeConfig("n"), "\xff"))
	p.take()
	if len(p.last.Faults) != 1 || p.last.Faults[0].Name != "nodes/n" {
		t.Errorf("told %+v", p.last)
	}
	// A watch that begins now has no good version to keep.
	if other := watchConfig(t, s); len(other.lbs) != 0 || len(other.faults) != 2 {
		t.Errorf("a new watch was told %+v", other.last)
	}
	must[*clientv3.DeleteResponse](t)(s.client.Delete(ctx, s.keys.lb(key), clientv3.WithPrefix()))
	p.take()
	if told, ok := p.last.LBs[key]; told != nil || !ok {
		t.Errorf("told %+v", p.last)
	}
	must[*clientv3.DeleteResponse](t)(s.client.Delete(ctx, s.keys.vip(e.LB.VIPs[0])))
	e = must[*Entry](t)(s.Create(ctx, web(t, "web"), Request{}))
	p.until(e.Revision)
	sameLB(t, p.lbs[key].LB, e.LB)
	if n := valueOf(t, s.metrics.objects.WithLabelValues("backend")); n != 2 {
		t.Errorf("%v backends are counted", n)
	}
}

func TestSlowReceiversGetJoinedSteps(t *testing.T) {
	t.Parallel()
	one, two, three := &Entry{Revision: 1}, &Entry{Revision: 2}, &Entry{Revision: 3}
	k := func(name string) Key { return Key{"p", name} }
	tests := []struct {
		name               string
		older, newer, want Batch
	}{
		{"newest wins, a deletion stays", Batch{Revision: 2, LBs: map[Key]*Entry{k("a"): one, k("b"): two}},
			Batch{Revision: 3, LBs: map[Key]*Entry{k("a"): three, k("b"): nil}},
			Batch{Revision: 3, LBs: map[Key]*Entry{k("a"): three, k("b"): nil}}},
		{"what came and went unseen is not told", Batch{Revision: 2, LBs: map[Key]*Entry{k("a"): one, k("x"): two}},
			Batch{Revision: 3, LBs: map[Key]*Entry{k("x"): nil}},
			Batch{Revision: 3, LBs: map[Key]*Entry{k("a"): one}}},
		{"what was unreadable and went is told", Batch{Revision: 2, Faults: []Fault{{Name: k("x").String()}}},
			Batch{Revision: 3, LBs: map[Key]*Entry{k("x"): nil}},
			Batch{Revision: 3, LBs: map[Key]*Entry{k("x"): nil}, Faults: []Fault{{Name: k("x").String()}}}},
		{"deleted since a reset is not there", Batch{Revision: 2, Reset: true, LBs: map[Key]*Entry{k("a"): one, k("b"): two}},
			Batch{Revision: 3, LBs: map[Key]*Entry{k("b"): nil, k("c"): three}},
			Batch{Revision: 3, Reset: true, LBs: map[Key]*Entry{k("a"): one, k("c"): three}}},
		{"a reset replaces all", Batch{Revision: 9, LBs: map[Key]*Entry{k("a"): one}},
			Batch{Revision: 3, Reset: true, LBs: map[Key]*Entry{k("b"): three}},
			Batch{Revision: 3, Reset: true, LBs: map[Key]*Entry{k("b"): three}}},
		{"faults add up", Batch{Faults: []Fault{{Name: "a"}}}, Batch{Faults: []Fault{{Name: "b"}}}, Batch{Faults: []Fault{{Name: "a"}, {Name: "b"}}}},
	}
	for _, test := range tests {
		ledger := &batchLedger{}
		ledger.told(Batch{Reset: true, LBs: map[Key]*Entry{k("b"): one}})
		got := ledger.join(test.older, test.newer)
		if got.Revision != test.want.Revision || got.Reset != test.want.Reset || len(got.Faults) != len(test.want.Faults) ||
			len(got.LBs) != len(test.want.LBs) || len(got.LBs) > 0 && !reflect.DeepEqual(got.LBs, test.want.LBs) {
			t.Errorf("%s: got %+v, want %+v", test.name, got, test.want)
		}
	}

	in, out := make(chan int), make(chan int)
	told := 0
	go relay(t.Context(), in, out, func(a, b int) int { return a + b }, func(n int) { told += n })
	for i := range 10 {
		in <- i
	}
	if got := <-out; got != 45 {
		t.Errorf("got %d", got)
	}
	in <- 7
	if got := <-out; got != 7 {
		t.Errorf("got %d", got)
	}
	close(in)
	if _, ok := <-out; ok {
		t.Error("the channel is still open")
	}
	if told != 52 {
		t.Errorf("%d were told", told)
	}
}

// TestWatchOfALargeWrite: children that come long before their head show nothing, and the head shows all.
func TestWatchOfALargeWrite(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	p := watchConfig(t, s)
	e := must[*Entry](t)(s.Create(t.Context(), normal(t, web(t, "web"), policies(2000)), Request{}))
	p.take()
	if p.revision != e.Revision || len(p.last.LBs) != 1 {
		t.Errorf("told revision %d, want %d", p.revision, e.Revision)
	}
	p.check(s)
	before := p.lbs[KeyOf(e.LB)].LB
	e = must[*Entry](t)(s.Update(t.Context(), e, normal(t, e.LB, func(l *lb.LoadBalancer) { l.Policies[5].Description = "x" }), Request{}))
	p.until(e.Revision)
	p.check(s)
	shared := 0
	for i, x := range p.lbs[KeyOf(e.LB)].LB.Policies {
		if x == before.Policies[i] {
			shared++
		}
	}
	if shared != 2000 {
		t.Errorf("%d policies of 2001 are shared", shared)
	}
}

// valueOf reads a counter or gauge.
func valueOf(t *testing.T, m prometheus.Metric) float64 {
	t.Helper()
	var out dto.Metric
	if err := m.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.GetCounter().GetValue() + out.GetGauge().GetValue()
}

// TestRevisionAloneIsTold: a load balancer that came and went between two steps changes nothing, but the revision.
func TestRevisionAloneIsTold(t *testing.T) {
	t.Parallel()
	s := New(&clientv3.Client{}, Config{})
	var told []Batch
	m := &mirror{store: s, lbs: make(map[Key]*mirrored), nodes: make(map[string]*mirroredNode), emit: func(b Batch) { told = append(told, b) }}
	m.replace(nil, "c")
	head, child := s.keys.head(Key{"p", "l"}), s.keys.child(Key{"p", "l"}, childID{kind: 1, name: "x"})
	event := func(key string, revision int64, kind mvccpb.Event_EventType) *clientv3.Event {
		return &clientv3.Event{Type: kind, Kv: &mvccpb.KeyValue{Key: []byte(key), Value: []byte("v"), ModRevision: revision}}
	}
	m.apply([]*clientv3.Event{
		event(child, 5, clientv3.EventTypePut), event(head, 5, clientv3.EventTypePut),
		event(child, 6, clientv3.EventTypeDelete), event(head, 6, clientv3.EventTypeDelete), event(s.keys.deleted(), 6, clientv3.EventTypePut),
	})
	m.apply([]*clientv3.Event{event(child, 7, clientv3.EventTypePut)})
	m.apply([]*clientv3.Event{event(child, 8, clientv3.EventTypeDelete)})
	if len(told) != 2 || !told[0].Reset || told[1].Reset || told[1].Revision != 6 || len(told[1].LBs)+len(told[1].Faults) != 0 {
		t.Errorf("told %+v", told)
	}
	if len(m.lbs) != 0 {
		t.Errorf("%d load balancers are remembered", len(m.lbs))
	}
}
