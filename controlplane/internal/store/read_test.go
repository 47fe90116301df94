package store

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fiberlb/fiberlb/pkg/canon"
	"github.com/fiberlb/fiberlb/pkg/lb"
	storev1 "github.com/fiberlb/fiberlb/proto/fiberlb/store/v1"
)

// TestPagesAreOfOneRevision reads a thousand load balancers page by page while others are written.
func TestPagesAreOfOneRevision(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	ctx := t.Context()
	const count = 1000
	var group sync.WaitGroup
	for worker := range 10 {
		group.Go(func() {
			for i := worker; i < count; i += 10 {
				l := web(t, fmt.Sprintf("lb%04d", i), fmt.Sprintf("10.9.%d.%d", i/250, i%250))
				l.Project = fmt.Sprint("p", i%3)
				must[*Entry](t)(s.Create(ctx, l, Request{}))
			}
		})
	}
	group.Wait()

	var stop atomic.Bool
	group.Go(func() {
		for i := 0; !stop.Load(); i++ {
			page := must[*Page](t)(s.List(ctx, ListOptions{Limit: 3}))
			if err := s.Delete(ctx, page.Entries[i%3], Request{}); err != nil {
				t.Error(err)
			}
			must[*Entry](t)(s.Create(ctx, web(t, fmt.Sprintf("aaa%04d", i)), Request{}))
		}
	})
	for _, project := range []string{"", "p1"} {
		for _, limit := range []int{0, 1, 7, 333, 5000} {
			if limit == 1 && project == "" {
				continue
			}
			seen := make(map[Key]bool)
			o := ListOptions{Project: project, Limit: limit}
			whole := -1
			for {
				page := must[*Page](t)(s.List(ctx, o))
				if o.Revision == 0 {
					whole = len(must[*Page](t)(s.List(ctx, ListOptions{Project: project, Revision: page.Revision})).Entries)
				} else if page.Revision != o.Revision {
					t.Fatalf("page of revision %d, want %d", page.Revision, o.Revision)
				}
				if limit > 0 && len(page.Entries) > limit {
					t.Fatalf("%d entries in a page of %d", len(page.Entries), limit)
				}
				for _, e := range page.Entries {
					if key := KeyOf(e.LB); seen[key] || project != "" && key.Project != project {
						t.Errorf("%s comes twice or unasked", key)
					} else {
						seen[key] = true
					}
					if e.Revision > page.Revision || len(e.LB.Pools) != 2 {
						t.Errorf("entry of revision %d in a page of %d", e.Revision, page.Revision)
					}
				}
				if page.Next == "" {
					break
				}
				o.After, o.Revision = page.Next, page.Revision
			}
			if len(seen) != whole || project == "p1" && whole < 300 {
				t.Errorf("project %q, pages of %d: %d load balancers, at once %d", project, limit, len(seen), whole)
			}
		}
	}
	stop.Store(true)
	group.Wait()
}

func TestListErrors(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	ctx := t.Context()
	e := must[*Entry](t)(s.Create(ctx, web(t, "a"), Request{}))
	must[*Entry](t)(s.Create(ctx, web(t, "a-b"), Request{})) // "-" sorts before "/"
	page := must[*Page](t)(s.List(ctx, ListOptions{Limit: 1}))
	must[*Entry](t)(s.Update(ctx, e, normal(t, e.LB, describe("x")), Request{}))
	must[*clientv3.CompactResponse](t)(s.client.Compact(ctx, page.Revision+1))
	_, err := s.List(ctx, ListOptions{Limit: 1, After: page.Next, Revision: page.Revision})
	wantError(t, err, ErrCompacted)
	for _, o := range []ListOptions{{After: "x"}, {After: "a/b/c"}, {After: "/b"}, {Project: "p", After: "q/x"}, {Project: "a/b"}} {
		if _, err := s.List(ctx, o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
	if page := must[*Page](t)(s.List(ctx, ListOptions{Limit: 1, After: page.Next})); len(page.Entries) != 1 || page.Entries[0].LB.Name != "a" || page.Next != "" {
		t.Errorf("second page: %+v", page)
	}
}

// spoil overwrites a head by what a newer build might write.
func spoil(t testing.TB, s *Store, key Key) {
	t.Helper()
	resp := must[*clientv3.GetResponse](t)(s.client.Get(t.Context(), s.keys.head(key)))
	head := must[*storev1.Head](t)(decodeHead(resp.Kvs[0].Value))
	head.SchemaVersion = 99
	must[*clientv3.PutResponse](t)(s.client.Put(t.Context(), s.keys.head(key), string(canon.Marshal(head))))
}

func TestUnreadableObjects(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	ctx := t.Context()
	for _, name := range []string{"a", "b", "c"} {
		must[*Entry](t)(s.Create(ctx, web(t, name), Request{}))
	}
	spoil(t, s, Key{"default", "b"})
	_, err := s.Get(ctx, "default", "b")
	const want = `store: get load balancer "default/b": stored projects/default/loadBalancers/b is unreadable: head: is of schema version 99, this build reads 1 to 1; upgrade it`
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
	page := must[*Page](t)(s.List(ctx, ListOptions{}))
	if len(page.Entries) != 2 || len(page.Faults) != 1 || page.Faults[0].Name != "projects/default/loadBalancers/b" {
		t.Errorf("%d entries, faults %v", len(page.Entries), page.Faults)
	}
	// The sweep leaves alone what it cannot read.
	for range 3 {
		if n := must[int](t)(s.Sweep(ctx)); n != 0 {
			t.Errorf("%d children were swept", n)
		}
	}

	unknown := append(canon.Marshal(&storev1.Child{SchemaVersion: 1}), 0xa0, 0x06, 1)
	if _, err := decodeChild(childID{}, unknown); err == nil || !strings.Contains(err.Error(), "holds the field 100, which this build does not know") {
		t.Errorf("got %v", err)
	}
	for name, head := range map[string]*storev1.Head{
		"unknown kind": {SchemaVersion: 1, Children: []*storev1.ChildRef{{Kind: 77, Hash: make([]byte, 16)}}},
		"1 bytes":      {SchemaVersion: 1, Children: []*storev1.ChildRef{{Kind: 1, Hash: make([]byte, 1)}}},
		"version 0":    {},
	} {
		if _, err := decodeHead(canon.Marshal(head)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestAssembleReusesWhatStayed compares building upon an older version with building from nothing.
func TestAssembleReusesWhatStayed(t *testing.T) {
	t.Parallel()
	first := normal(t, web(t, "web", "192.0.2.1"), policies(5))
	tests := map[string]func(*lb.LoadBalancer){
		"nothing":          func(*lb.LoadBalancer) {},
		"backend":          func(l *lb.LoadBalancer) { l.Pools[0].Backends[0].Weight = 9 },
		"pool":             func(l *lb.LoadBalancer) { l.Pools[0].FailOpenBelow = 1 },
		"backends go":      func(l *lb.LoadBalancer) { l.Pools[0].Backends = nil },
		"backends come":    func(l *lb.LoadBalancer) { l.Pools[1].Backends = l.Pools[0].Clone().Backends },
		"policies reorder": func(l *lb.LoadBalancer) { l.Policies[0].Position, l.Policies[1].Position = 100, 10 },
		"policy goes":      func(l *lb.LoadBalancer) { l.Policies = l.Policies[1:] },
		"pool comes": func(l *lb.LoadBalancer) {
			l.Pools = append(l.Pools, &lb.Pool{Info: lb.Info{Name: "aaa"}, Protocol: lb.PoolHTTP, Enabled: true})
		},
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := assembled(t, first, nil)
			next := normal(t, first, change)
			got, want := assembled(t, next, before), assembled(t, next, nil)
			sameLB(t, got.LB, want.LB)
			if got.LB.Listeners[0] != before.LB.Listeners[0] {
				t.Error("the listener was built anew")
			}
		})
	}
}

func assembled(t *testing.T, l *lb.LoadBalancer, before *Entry) *Entry {
	t.Helper()
	e := must[*encoding](t)(encode(l, nil, nil))
	values := make(map[string][]byte)
	for _, c := range e.puts {
		values[c.suffix()] = c.value
	}
	return &Entry{LB: must[*lb.LoadBalancer](t)(assemble(KeyOf(l), e.head, before, childIn(values))), head: e.head}
}
