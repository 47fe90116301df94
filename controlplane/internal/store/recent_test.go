package store

import (
	"fmt"
	"math/rand/v2"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fiberlb/fiberlb/pkg/lb"
)

// forgetful makes a store over the same etcd that remembers nothing.
func forgetful(t testing.TB, s *Store) *Store {
	c := storeOver(t, s.client)
	c.recent.limit = 0
	return c
}

// TestRememberedIsNeverStale has two stores write in turns, with a third looking on that remembers nothing: all read the same.
func TestRememberedIsNeverStale(t *testing.T) {
	t.Parallel()
	a := newStore(t)
	ctx := t.Context()
	stores := []*Store{a, storeOver(t, a.client)}
	plain := forgetful(t, a)
	random := rand.New(rand.NewPCG(7, 8))
	created := must[*Entry](t)(a.Create(ctx, normal(t, web(t, "web", "192.0.2.1"), policies(10)), Request{}))
	edits := []func(*lb.LoadBalancer){
		func(l *lb.LoadBalancer) { l.Description = fmt.Sprint(random.Uint64()) },
		func(l *lb.LoadBalancer) { l.Pools[0].Backends[0].Weight = uint16(random.IntN(100)) },
		func(l *lb.LoadBalancer) { l.Policies[random.IntN(5)].Description = fmt.Sprint(random.Uint64()) },
		func(l *lb.LoadBalancer) { l.Pools[0].HealthCheck.HealthyThreshold = uint8(1 + random.IntN(9)) },
		func(l *lb.LoadBalancer) { l.Policies[0].Rules[0].Invert = !l.Policies[0].Rules[0].Invert },
	}
	for i := range 200 {
		writer := stores[random.IntN(2)]
		old := must[*Entry](t)(writer.Get(ctx, "default", "web"))
		if random.IntN(40) == 0 {
			if err := writer.Delete(ctx, old, Request{}); err != nil {
				t.Fatal(err)
			}
			for _, s := range stores {
				_, err := s.Get(ctx, "default", "web")
				wantError(t, err, ErrNotFound)
			}
			must[*Entry](t)(stores[random.IntN(2)].Create(ctx, created.LB, Request{}))
		} else {
			next := must[*Entry](t)(writer.Update(ctx, old, normal(t, old.LB, edits[random.IntN(len(edits))]), Request{}))
			// Who writes what somebody has overtaken meets a conflict, and remembers nothing wrong.
			if next.Revision != old.Revision && random.IntN(3) == 0 {
				_, err := writer.Update(ctx, old, normal(t, old.LB, describe("late")), Request{})
				wantError(t, err, ErrConflict)
			}
		}
		want := must[*Entry](t)(plain.Get(ctx, "default", "web"))
		for _, s := range stores {
			got := must[*Entry](t)(s.Get(ctx, "default", "web"))
			sameLB(t, got.LB, want.LB)
			if got.Revision != want.Revision || got.Repeated {
				t.Fatalf("step %d: revision %d, repeated %v, want revision %d", i, got.Revision, got.Repeated, want.Revision)
			}
			if got.LB.Etag() != got.LB.Clone().Etag() {
				t.Fatalf("step %d: a stale etag", i)
			}
		}
	}
	for range 2 {
		must[int](t)(a.Sweep(ctx))
	}
	audit(t, a, true)
}

// TestUnchangedObjectsAreShared follows one small change through reading, writing and the watch.
func TestUnchangedObjectsAreShared(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	ctx := t.Context()
	watch := s.WatchConfig(ctx)
	for b := range watch {
		if b.Reset {
			break
		}
	}
	first := must[*Entry](t)(s.Create(ctx, normal(t, web(t, "web", "192.0.2.1"), policies(5)), Request{}))
	draft := *first.LB
	pool := *draft.Pools[0]
	changed := pool.Backends[0].Clone()
	changed.Weight = 9
	pool.Backends = []*lb.Backend{changed, pool.Backends[1]}
	draft.Pools = []*lb.Pool{&pool, draft.Pools[1]}
	next, violations := lb.Renormalize(&draft)
	if violations != nil {
		t.Fatal(violations)
	}
	second := must[*Entry](t)(s.Update(ctx, first, next, Request{}))
	read := must[*Entry](t)(s.Get(ctx, "default", "web"))
	var seen *Entry
	for b := range watch {
		if e := b.LBs[Key{"default", "web"}]; e != nil && e.Revision == second.Revision {
			seen = e
			break
		}
	}
	for what, l := range map[string]*lb.LoadBalancer{"written": second.LB, "read": read.LB, "watched": seen.LB} {
		if l.Listeners[0] != first.LB.Listeners[0] || l.Policies[3] != first.LB.Policies[3] || l.Pools[1] != first.LB.Pools[1] ||
			l.Pools[0].Backends[1] != first.LB.Pools[0].Backends[1] {
			t.Errorf("%s: what stayed the same is not shared", what)
		}
		if l.Pools[0].Backends[0].Weight != 9 || l.Pools[0].Etag() == first.LB.Pools[0].Etag() || l.Pools[0].UpdatedAt.Equal(first.LB.Pools[0].UpdatedAt) {
			t.Errorf("%s: the change is lost", what)
		}
	}
	sameLB(t, must[*Entry](t)(forgetful(t, s).Get(ctx, "default", "web")).LB, second.LB)
}

// TestMemoryIsBounded reads more load balancers than there is room for.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	ctx := t.Context()
	one := weigh(must[*Entry](t)(s.Create(ctx, web(t, "first"), Request{})))
	s.recent.limit = 5 * one
	for i := range 20 {
		must[*Entry](t)(s.Create(ctx, web(t, fmt.Sprintf("lb-%02d", i)), Request{}))
		must[*Entry](t)(s.Get(ctx, "default", "first")) // what is used stays
	}
	sum := 0
	for at := s.recent.order.Front(); at != nil; at = at.Next() {
		sum += at.Value.(remembered).bytes
	}
	if n := len(s.recent.entries); n < 3 || n > 6 || n != s.recent.order.Len() || sum != s.recent.bytes || sum > s.recent.limit || len(s.recent.coming) != 0 {
		t.Errorf("%d remembered in a list of %d, %d bytes by the list, %d by the count, %d on their way", n, s.recent.order.Len(), sum, s.recent.bytes, len(s.recent.coming))
	}
	if !s.recent.knows(Key{"default", "first"}) || !s.recent.knows(Key{"default", "lb-19"}) || s.recent.knows(Key{"default", "lb-00"}) {
		t.Error("others are remembered than those used last")
	}
	// One that is larger than all the room is not remembered, and reads all the same.
	must[*Entry](t)(s.Create(ctx, normal(t, web(t, "large"), policies(200)), Request{}))
	if s.recent.knows(Key{"default", "large"}) {
		t.Error("it is larger than the limit")
	}
	must[*Entry](t)(s.Get(ctx, "default", "large"))
	// What went away under the store is not there.
	must[*clientv3.DeleteResponse](t)(s.client.Delete(ctx, s.keys.lb(Key{"default", "first"}), clientv3.WithPrefix()))
	_, err := s.Get(ctx, "default", "first")
	wantError(t, err, ErrNotFound)
	if s.recent.knows(Key{"default", "first"}) {
		t.Error("it is gone")
	}
}
