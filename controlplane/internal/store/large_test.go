package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	"github.com/fiberlb/fiberlb/controlplane/internal/etcdtest"
	"github.com/fiberlb/fiberlb/pkg/lb"
	storev1 "github.com/fiberlb/fiberlb/proto/fiberlb/store/v1"
)

func TestTenThousandPolicies(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	ctx := t.Context()
	l := normal(t, web(t, "web", "192.0.2.1"), policies(9_999))
	begin := time.Now()
	first := must[*Entry](t)(s.Create(ctx, l, Request{}))
	t.Logf("created in %s", time.Since(begin))
	begin = time.Now()
	got := must[*Entry](t)(s.Get(ctx, "default", "web"))
	t.Logf("read in %s", time.Since(begin))
	sameLB(t, got.LB, first.LB)
	begin = time.Now()
	second := must[*Entry](t)(s.Update(ctx, got, normal(t, got.LB, func(l *lb.LoadBalancer) { l.Policies[77].Description = "x" }), Request{}))
	t.Logf("changed one policy in %s", time.Since(begin))
	sameLB(t, must[*Entry](t)(s.Get(ctx, "default", "web")).LB, second.LB)
	audit(t, s, true)
	// All change at once: the replaced ones are collected after the head.
	third := must[*Entry](t)(s.Update(ctx, second, normal(t, second.LB, func(l *lb.LoadBalancer) {
		for _, p := range l.Policies {
			p.Description = "y"
		}
	}), Request{}))
	sameLB(t, must[*Entry](t)(s.Get(ctx, "default", "web")).LB, third.LB)
	audit(t, s, true)
	if err := s.Delete(ctx, third, Request{}); err != nil {
		t.Fatal(err)
	}
	audit(t, s, true)
}

// crashingKV breaks off at the n-th transaction that is asked for, before or after it is carried out.
type crashingKV struct {
	clientv3.KV
	left  atomic.Int64
	after bool
}

var errCrash = errors.New("crashed")

func (k *crashingKV) Txn(ctx context.Context) clientv3.Txn {
	return &crashingTxn{k.KV.Txn(ctx), k}
}

type crashingTxn struct {
	clientv3.Txn
	kv *crashingKV
}

func (t *crashingTxn) If(cs ...clientv3.Cmp) clientv3.Txn { t.Txn = t.Txn.If(cs...); return t }
func (t *crashingTxn) Then(o ...clientv3.Op) clientv3.Txn { t.Txn = t.Txn.Then(o...); return t }
func (t *crashingTxn) Else(o ...clientv3.Op) clientv3.Txn { t.Txn = t.Txn.Else(o...); return t }
func (t *crashingTxn) Commit() (*clientv3.TxnResponse, error) {
	left := t.kv.left.Add(-1)
	if left < 0 || left == 0 && !t.kv.after {
		return nil, errCrash
	}
	resp, err := t.Txn.Commit()
	if err == nil && left == 0 {
		err = errCrash
	}
	return resp, err
}

// small makes a store that takes the way of large objects with a few children.
func small(s *Store) *Store {
	c := New(s.client, Config{Prefix: s.keys.prefix, Sealer: s.sealer, Logger: s.log, Now: s.now})
	c.limits.txnOps, c.limits.chunkOps = 16, 6
	return c
}

func TestCrashesLeaveNothingVisible(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	ctx := t.Context()
	base := normal(t, web(t, "web", "192.0.2.1"), policies(20))
	first := must[*Entry](t)(small(s).Create(ctx, base, Request{}))
	crashes := 0
	for _, after := range []bool{false, true} {
		for n := int64(1); ; n++ {
			old := must[*Entry](t)(s.Get(ctx, "default", "web"))
			next := normal(t, old.LB, describe(fmt.Sprint(after, n)), func(l *lb.LoadBalancer) {
				l.VIPs = []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(n + 10)})}
				for _, p := range l.Policies {
					p.Description = fmt.Sprint(after, n)
				}
			})
			writer := small(s)
			kv := &crashingKV{KV: writer.kv, after: after}
			kv.left.Store(n)
			writer.kv = kv
			_, err := writer.Update(ctx, old, next, Request{})
			if err != nil {
				wantError(t, err, errCrash)
				crashes++
			}
			audit(t, s, false)
			got := must[*Entry](t)(s.Get(ctx, "default", "web"))
			if etag := got.LB.Etag(); etag != old.LB.Etag() && etag != next.Etag() {
				t.Fatalf("crash %d: a mixture is visible: %s", n, dump(got.LB))
			}
			// A crash before the swap leaves the old version, and the same write succeeds afterwards.
			if err != nil && got.Revision == old.Revision {
				must[*Entry](t)(small(s).Update(ctx, old, next, Request{}))
				audit(t, s, false)
			}
			if kv.left.Load() > 0 {
				break
			}
		}
	}
	if crashes < 10 {
		t.Errorf("only %d crash points were met", crashes)
	}
	// And of a load balancer that never came to be.
	writer := small(s)
	kv := &crashingKV{KV: writer.kv}
	kv.left.Store(4)
	writer.kv = kv
	_, err := writer.Create(ctx, normal(t, web(t, "never", "192.0.2.99"), policies(30)), Request{})
	wantError(t, err, errCrash)
	_, err = s.Get(ctx, "default", "never")
	wantError(t, err, ErrNotFound)

	removed := 0
	for range 2 {
		removed += must[int](t)(s.Sweep(ctx))
	}
	if removed == 0 {
		t.Error("nothing was swept")
	}
	audit(t, s, true)
	if got := must[*Entry](t)(s.Get(ctx, "default", "web")); got.LB.UID != first.LB.UID {
		t.Error("the uid changed")
	}
	if n := must[int](t)(s.Sweep(ctx)); n != 0 {
		t.Errorf("a third sweep removed %d", n)
	}
}

// pausingKV calls back before each transaction.
type pausingKV struct {
	clientv3.KV
	before func(n int)
	n      int
}

func (k *pausingKV) Txn(ctx context.Context) clientv3.Txn {
	k.n++
	k.before(k.n)
	return k.KV.Txn(ctx)
}

// TestSlowWriterSurvivesSweeps sweeps twice, and deletes a namesake, at every point of a large write: what it wrote is gone then,
// and it has to notice.
func TestSlowWriterSurvivesSweeps(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	ctx := t.Context()
	disturbances := map[string]func(t *testing.T){
		"sweeps": func(t *testing.T) {
			for range 2 {
				must[int](t)(s.Sweep(ctx))
			}
		},
		"a namesake that came and went": func(t *testing.T) {
			e := must[*Entry](t)(small(s).Create(ctx, normal(t, web(t, "web", "192.0.2.2"), policies(20)), Request{}))
			if err := s.Delete(ctx, e, Request{}); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, disturb := range disturbances {
		for n := 1; ; n++ {
			writer := small(s)
			kv := &pausingKV{KV: writer.kv}
			kv.before = func(i int) {
				if i == n {
					disturb(t)
				}
			}
			writer.kv = kv
			e := must[*Entry](t)(writer.Create(ctx, normal(t, web(t, "web", "192.0.2.1"), policies(20)), Request{}))
			audit(t, s, true)
			sameLB(t, must[*Entry](t)(s.Get(ctx, "default", "web")).LB, e.LB)
			if err := s.Delete(ctx, e, Request{}); err != nil {
				t.Fatal(err)
			}
			if kv.n < n {
				if n < 5 {
					t.Errorf("%s: only %d points", name, n)
				}
				break
			}
		}
	}
}

// TestConcurrentWriters lets many goroutines create, change and delete a few load balancers which fight for a few addresses, with
// sweeps in between, and checks the invariants all the while.
func TestConcurrentWriters(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	deadline := time.Now().Add(4 * time.Second)
	var group sync.WaitGroup
	var done, refused atomic.Int64
	for worker := range 12 {
		group.Go(func() {
			r := rand.New(rand.NewPCG(uint64(worker), 42))
			writer := s
			if worker%2 == 0 {
				writer = small(s)
			}
			for time.Now().Before(deadline) {
				if err := randomWrite(t, writer, r); err == nil {
					done.Add(1)
				} else if taken := (*VIPTakenError)(nil); errors.As(err, &taken) || errors.Is(err, ErrConflict) || errors.Is(err, ErrExists) || errors.Is(err, ErrNotFound) {
					refused.Add(1)
				} else {
					t.Error(err)
				}
			}
		})
	}
	group.Go(func() {
		sweeper := storeOver(t, s.client)
		for time.Now().Before(deadline) {
			must[int](t)(sweeper.Sweep(t.Context()))
			audit(t, s, false)
		}
	})
	group.Wait()
	audit(t, s, false)
	for range 2 {
		must[int](t)(s.Sweep(t.Context()))
	}
	audit(t, s, true)
	t.Logf("%d writes were carried out, %d refused", done.Load(), refused.Load())
	if done.Load() < 20 || refused.Load() < 20 {
		t.Error("there was no fight")
	}
}

func randomWrite(t *testing.T, s *Store, r *rand.Rand) error {
	ctx := t.Context()
	name := fmt.Sprint("lb", r.IntN(4))
	address := func() netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(r.IntN(8))}) }
	e, err := s.Get(ctx, "default", name)
	if errors.Is(err, ErrNotFound) {
		_, err = s.Create(ctx, normal(t, web(t, name, address().String()), policies(r.IntN(30))), Request{})
		return err
	} else if err != nil {
		return err
	}
	if r.IntN(4) == 0 {
		return s.Delete(ctx, e, Request{})
	}
	_, err = s.Update(ctx, e, normal(t, e.LB, describe(fmt.Sprint(r.Uint64())), func(l *lb.LoadBalancer) {
		l.VIPs = []netip.Addr{address(), address()}
		if l.VIPs[0] == l.VIPs[1] {
			l.VIPs = l.VIPs[:1]
		}
		l.Policies = slices.DeleteFunc(l.Policies, func(*lb.Policy) bool { return r.IntN(3) == 0 })
		for _, p := range l.Policies {
			p.Description = fmt.Sprint(r.IntN(2))
		}
	}), Request{})
	return err
}

func TestRunSweeper(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	orphan := s.keys.child(Key{"p", "l"}, childID{kind: 1, name: "x"})
	resp := must[*clientv3.PutResponse](t)(s.client.Put(t.Context(), orphan, "x"))
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { s.RunSweeper(ctx, time.Millisecond) })
	for w := range s.client.Watch(ctx, orphan, clientv3.WithRev(resp.Header.Revision+1)) {
		if len(w.Events) > 0 && w.Events[0].Type == clientv3.EventTypeDelete {
			break
		}
	}
	// The sweeper counts once etcd has answered, which is after the watch was told.
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); valueOf(t, s.metrics.swept) == 0 && time.Now().Before(deadline); {
		<-tick.C
	}
	cancel()
	group.Wait()
	audit(t, s, true)
	if n := valueOf(t, s.metrics.swept); n != 1 {
		t.Errorf("%v children are counted", n)
	}
}

func TestMetricsRegister(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	s := New(etcdtest.Start(t), Config{Metrics: NewMetrics(registry)})
	must[*Page](t)(s.List(t.Context(), ListOptions{}))
	families := must[[]*dto.MetricFamily](t)(registry.Gather())
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "fiberlb_store_") {
			t.Errorf("metric %s", f.GetName())
		}
	}
	if len(families) < 3 {
		t.Errorf("%d families", len(families))
	}
}

// TestCollectionTellsWritersUnderWay: one write drops children and is about to collect them, when another one puts the very same
// again for its own head. It has to notice that they are collected.
func TestCollectionTellsWritersUnderWay(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	ctx := t.Context()
	old := must[*Entry](t)(small(s).Create(ctx, normal(t, web(t, "web", "192.0.2.1"), policies(20)), Request{}))
	next := normal(t, old.LB, func(l *lb.LoadBalancer) {
		for _, p := range l.Policies {
			p.Description = "x"
		}
	})
	first, second := small(s), small(s)
	written, collected := make(chan struct{}), make(chan struct{})
	var group sync.WaitGroup
	begin := sync.OnceFunc(func() {
		group.Go(func() {
			// The same content with the same times as before gives the same children; a head that seems to list no policies has
			// them put.
			e := must[*Entry](t)(s.Get(ctx, "default", "web"))
			e.LB, e.head = old.LB, proto.CloneOf(e.head)
			e.head.Children = slices.DeleteFunc(e.head.Children, func(ref *storev1.ChildRef) bool {
				return ref.Kind == storev1.ChildKind_CHILD_KIND_POLICY
			})
			kv := &pausingKV{KV: second.kv, before: func(i int) {
				if i == 6 { // after the guards and four chunks: the swap
					close(written)
					<-collected
				}
			}}
			second.kv = kv
			must[*Entry](t)(second.Update(ctx, e, normal(t, old.LB, describe("back")), Request{}))
		})
		<-written
	})
	first.kv = &pausingKV{KV: first.kv, before: func(int) {
		if must[*Entry](t)(s.Get(ctx, "default", "web")).Revision != old.Revision {
			begin() // the swap is done, what comes is the collection
		}
	}}
	must[*Entry](t)(first.Update(ctx, old, next, Request{}))
	close(collected)
	group.Wait()
	audit(t, s, false)
	if n := valueOf(t, second.metrics.conflicts.WithLabelValues("guard")); n != 1 {
		t.Errorf("the second writer noticed %v times", n)
	}
	if got := must[*Entry](t)(s.Get(ctx, "default", "web")).LB; got.Description != "back" {
		t.Errorf("description %q", got.Description)
	}
}

func TestSweepSparesWhatIsWrittenAgain(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	orphan := s.keys.child(Key{"p", "l"}, childID{kind: 1, name: "x"})
	for i, want := range []int{0, 0, 1, 0} {
		if i < 2 {
			must[*clientv3.PutResponse](t)(s.client.Put(t.Context(), orphan, "x"))
		}
		if n := must[int](t)(s.Sweep(t.Context())); n != want {
			t.Errorf("sweep %d removed %d, want %d", i+1, n, want)
		}
	}
}
