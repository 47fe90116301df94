package publish

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/fiberlb/fiberlb/controlplane/internal/store"
	"github.com/fiberlb/fiberlb/pkg/compile"
	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/snapshot"
)

// step changes the world at random and gives the batch for it.
func (w *world) step(t *testing.T) store.Batch {
	b := store.Batch{LBs: map[store.Key]*store.Entry{}, Nodes: map[string]*store.NodeConfig{}}
	for range 1 + w.random.IntN(3) {
		var one store.Batch
		name := fmt.Sprintf("lb-%d", w.random.IntN(8))
		switch key := (store.Key{Project: "p", LB: name}); {
		case w.random.IntN(6) == 0:
			var c *store.NodeConfig
			if w.random.IntN(3) > 0 {
				c = &store.NodeConfig{Labels: map[string]string{"rack": fmt.Sprint(w.random.IntN(3))}, Drain: w.random.IntN(2) == 0}
			}
			one = w.configure(fmt.Sprintf("node-%d", w.random.IntN(3)), c)
		case w.random.IntN(4) == 0 && w.lbs[key] != nil:
			one = w.remove(key)
		default:
			one = w.put(w.anyBalancer(t, name))
		}
		for key, e := range one.LBs {
			b.LBs[key] = e
		}
		for node, c := range one.Nodes {
			b.Nodes[node] = c
		}
	}
	b.Cluster, b.Revision = cluster, w.revision
	return b
}

// Whatever happens, in whatever order, a node that answered has just what compiling everything for it gives; and one that
// connects again gets only what differs.
func TestNodesFollowAnyHistory(t *testing.T) {
	t.Parallel()
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { followHistory(t, newWorld(seed)) })
		})
	}
}

func followHistory(t *testing.T, w *world) {
	p := start(t, Config{})
	poor := slices.DeleteFunc(compile.DataPlane(), func(word string) bool {
		return word == compile.Word(lb.Maglev) || word == compile.Word(lb.CheckHTTP)
	})
	agents := []*agent{
		newAgent(t, "node-0", nil, compile.DataPlane()),
		newAgent(t, "node-1", map[string]string{"rack": "1"}, compile.DataPlane()),
		newAgent(t, "node-2", map[string]string{"rack": "2"}, poor),
	}
	connected := make([]bool, len(agents))
	settled := func() {
		synctest.Wait()
		for i, a := range agents {
			if connected[i] {
				w.check(t, a)
			}
		}
	}
	p.batches <- w.everything()
	for range 150 {
		i := w.random.IntN(len(agents))
		a := agents[i]
		switch n := w.random.IntN(10); {
		case n == 0 && connected[i]:
			_ = a.end()
			connected[i] = false
		case n < 4 && !connected[i]:
			before, _, _ := a.state()
			a.connect(p.Publisher)
			connected[i] = true
			settled()
			upserts, removals := snapshot.Diff(before, w.want(a))
			if before.Len() == 0 {
				removals = nil
			}
			_, _, deltas := a.state()
			if len(deltas) != 1 || len(deltas[0].Upserts) != len(upserts) || !slices.Equal(deltas[0].Removals, removals) || deltas[0].Full != (before.Len() == 0) {
				t.Fatalf("node %s got %d deltas on connecting again, or more than differs", a.node, len(deltas))
			}
		case n == 5:
			// As after a compaction in the store's own cluster: everything again.
			p.batches <- w.everything()
			settled()
		case n < 8:
			p.batches <- w.step(t)
			settled()
		default:
			// Several at once, without waiting for anybody.
			for range w.random.IntN(5) {
				p.batches <- w.step(t)
			}
			settled()
		}
	}
	for i, a := range agents {
		if connected[i] {
			_ = a.end()
		}
	}
	synctest.Wait()
	if width := p.slots.width; width > 16 {
		t.Errorf("%d slots were given out for 8 load balancers", width)
	}
	twins(t, w, p)
}

// twins compares a publisher with a long history to one that just read everything.
func twins(t *testing.T, w *world, old *running) {
	fresh := start(t, Config{})
	fresh.batches <- w.everything()
	x, y := newAgent(t, "node-1", map[string]string{"rack": "1"}, compile.DataPlane()), newAgent(t, "node-1", map[string]string{"rack": "1"}, compile.DataPlane())
	x.connect(old.Publisher)
	y.connect(fresh.Publisher)
	synctest.Wait()
	w.check(t, x)
	_, vx, _ := x.state()
	_, vy, _ := y.state()
	if vx != vy || vx.Revision != w.revision {
		t.Fatalf("two replicas say %v and %v of one configuration", vx, vy)
	}
	_, _ = x.end(), y.end()
}

// Slots are given back and taken again; what was sent under one must not be mixed up.
func TestDeletedAndMadeAgainWhileAgentIsBusy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		p := start(t, Config{})
		w.put(balancer(t, "a", 1))
		w.put(balancer(t, "b", 1))
		p.batches <- w.everything()
		a := newAgent(t, "node", nil, compile.DataPlane())
		a.dial(p.Publisher, a.hello())
		a.take(<-a.pipe.out) // the state
		first := <-a.pipe.out

		// All this joins while the first delta is not answered.
		p.batches <- w.remove(store.Key{Project: "p", LB: "a"})
		p.batches <- w.remove(store.Key{Project: "p", LB: "b"})
		p.batches <- w.put(balancer(t, "a", 1)) // in b's slot, as it was
		p.batches <- w.put(balancer(t, "c", 1)) // in a's slot
		p.batches <- w.put(balancer(t, "b", 2)) // in a new one
		synctest.Wait()
		a.send(a.take(first))
		go a.serve()
		synctest.Wait()
		w.check(t, a)
		if _, version, deltas := a.state(); len(deltas) != 2 || version.Revision != w.revision {
			t.Errorf("%d deltas up to revision %d, want one for all that joined", len(deltas), version.Revision)
		}
		_ = a.end()
	})
}
