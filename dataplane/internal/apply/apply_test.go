package apply

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fiberlb/fiberlb/pkg/snapshot"
)

const second = time.Second

func TestOrderOfKinds(t *testing.T) {
	t.Parallel()
	n := newNode(t, announcing())
	n.put(listener("l2", "p", 81, "192.0.2.1"), pool("p", "h", nil), check("h", second), listener("l1", "p", 80, "192.0.2.1"))
	n.expect("set p", "set l1", "set l2")
	n.remove(checkRef("h"), poolRef("p"), listenerRef("l1"), listenerRef("l2"))
	n.expect("remove l1", "remove l2", "remove p")
	if f := n.file(); f.Set.Len() != 0 || f.LastGood.Len() != 0 {
		t.Errorf("%d resources and %d last good forms are left", f.Set.Len(), f.LastGood.Len())
	}
}

func TestOnlyChangesReachTheEngine(t *testing.T) {
	t.Parallel()
	n := newNode(t, announcing())
	first := []*snapshot.Resource{
		check("h", second), pool("p", "h", nil), pool("q", "", nil),
		listener("l", "p", 80, "192.0.2.1"), listener("m", "q", 81, "192.0.2.1"),
	}
	n.put(first...)
	n.engine.told()
	n.put(check("h", 2*second))
	n.expect("set p")
	n.put(listener("m", "q", 82, "192.0.2.1"))
	n.expect("set m")
	n.put(listener("m", "q", 82, "192.0.2.1"), pool("q", "", slowStart(second)))
	n.expect("set q")
	n.apply(n.full(n.delta(nil)))
	n.expect()
	n.apply(n.full(n.delta([]*snapshot.Resource{pool("q", "", nil)}, listenerRef("l"), poolRef("p"), checkRef("h"))))
	n.expect("set q", "remove l", "remove p")
}

// refusals are changes that a node must refuse alone.
var refusals = []struct {
	name    string
	bad     *snapshot.Resource
	message string
}{
	{"undecodable health check", garbage(snapshot.KindHealthCheck, "h", "\xff"), "content is not a resource"},
	{"undecodable pool", garbage(snapshot.KindPool, "p", "\xff"), "content is not a resource"},
	{"undecodable listener", garbage(snapshot.KindListener, "l", "\xff"), "content is not a resource"},
	{"unknown field", garbage(snapshot.KindListener, "l", "\xf8\x07\x01"), "unknown to this data plane"},
	{"unknown kind", garbage(snapshot.KindCertificate, "c", ""), "resources of certificate are unknown to this data plane"},
	{"later kind", garbage(77, "x", ""), "resources of kind 77 are unknown to this data plane"},
	{"unknown algorithm", pool("p", "h", func(p *snapshot.Pool) { p.Algorithm = 99 }), "algorithm 99 is unknown"},
	{"missing health check", pool("p", "other", nil), "its health check other is not in force"},
	{"missing pool", listener("l", "other", 80, "192.0.2.1"), "its pool other is not in force"},
	{"pool that the engine refuses", pool("p", "h", slowStart(refusedSlowStart)), "not with this engine"},
	{"listener that the engine refuses", listenerWith("l", "p", 80, refusedIdle, "192.0.2.2"), "not with this engine"},
}

func TestRefusedAloneLastGoodStays(t *testing.T) {
	t.Parallel()
	for _, tc := range refusals {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, announcing())
			n.put(check("h", second), pool("p", "h", nil), listener("l", "p", 80, "192.0.2.1"))
			pools, listeners := n.engine.running()
			other := listener("m", "p", 90, "192.0.2.9")
			for _, d := range []*snapshot.Delta{n.delta([]*snapshot.Resource{tc.bad, other}), n.full(n.delta(nil))} {
				if d.Full {
					d = n.full(n.delta(nil)) // over again, now that the first one counts
				}
				faults := n.apply(d)
				if len(faults) != 1 || faults[0].Ref != tc.bad.Ref || !strings.Contains(faults[0].Message, tc.message) {
					t.Fatalf("full %v: faults %v, want one of %v that says %q", d.Full, faults, tc.bad.Ref, tc.message)
				}
				gotPools, gotListeners := n.engine.running()
				if gotListeners["m"] == nil {
					t.Error("the other resource of the delta is not in force")
				}
				delete(gotListeners, "m")
				equalRunning(t, gotPools, pools, gotListeners, listeners)
			}
			if faults := n.remove(tc.bad.Ref); len(faults) > 0 && tc.bad.Kind > snapshot.KindListener {
				t.Errorf("faults %v after the removal of what was refused", faults)
			}
		})
	}
}

func TestRefusedAtFirstIsTriedAgain(t *testing.T) {
	t.Parallel()
	n := newNode(t, announcing())
	faults := n.put(garbage(snapshot.KindHealthCheck, "h", "\xff"), pool("p", "h", nil), listener("l", "p", 80, "192.0.2.1"))
	if len(faults) != 3 {
		t.Fatalf("faults %v, want three", faults)
	}
	n.expect()
	if faults := n.put(check("h", second)); len(faults) != 0 {
		t.Errorf("faults %v", faults)
	}
	n.expect("set p", "set l")
}

func TestHealthCheckThatTheEngineRefuses(t *testing.T) {
	t.Parallel()
	n := newNode(t, announcing())
	n.put(check("h", second), pool("p", "h", nil))
	if faults := n.put(check("h", refusedInterval)); len(faults) != 1 || faults[0].Ref != poolRef("p") {
		t.Fatalf("faults %v, want the pool's", faults)
	}
	pools, _ := n.engine.running()
	if got := pools["p"].Check.Interval; got != second {
		t.Errorf("the pool runs with an interval of %v, want the last good one", got)
	}
	if f := n.file(); f.LastGood.Get(checkRef("h")) == nil {
		t.Error("the last good health check is not saved")
	}
	n.engine.told()
	if faults := n.put(check("h", second)); len(faults) != 0 {
		t.Errorf("faults %v after the last good form is wished again", faults)
	}
	if faults := n.put(check("h", 2*second), pool("p", "h", slowStart(refusedSlowStart))); len(faults) != 1 {
		t.Errorf("faults %v, want one", faults)
	}
	pools, _ = n.engine.running()
	if got := pools["p"]; got.Check.Interval != 2*second || got.Pool.SlowStart != 0 {
		t.Errorf("the pool runs as %+v, want its last good form with the new health check", got)
	}
}

func TestOrphanStaysWhileUsed(t *testing.T) {
	t.Parallel()
	n := newNode(t, announcing())
	n.put(check("h", second), pool("p", "h", nil), pool("q", "", nil), listener("l", "p", 80, "192.0.2.1"))
	n.engine.told()
	n.apply(n.delta([]*snapshot.Resource{listenerWith("l", "q", 80, refusedIdle, "192.0.2.1")}, poolRef("p"), checkRef("h")))
	n.expect("set l")
	f := n.file()
	for _, ref := range []snapshot.Ref{checkRef("h"), poolRef("p"), listenerRef("l")} {
		if f.LastGood.Get(ref) == nil {
			t.Errorf("%v is in force, but not saved", ref)
		}
	}
	n.put(listener("l", "q", 80, "192.0.2.1"))
	n.expect("set l", "remove p")
	if f := n.file(); f.LastGood.Len() != 0 {
		t.Errorf("%d last good forms are left", f.LastGood.Len())
	}
}

func TestWholeDeltaRefused(t *testing.T) {
	t.Parallel()
	n := newNode(t, announcing())
	n.put(pool("p", "", nil))
	n.put(listener("l", "p", 80, "192.0.2.1"))
	n.engine.told()
	held := n.file()
	wrong := n.delta([]*snapshot.Resource{listener("l", "p", 81, "192.0.2.1")})
	wrong.Version.Digest[0]++
	older := n.delta([]*snapshot.Resource{listener("l", "p", 81, "192.0.2.1")})
	older.Version.Revision = 1
	for want, d := range map[error]*snapshot.Delta{snapshot.ErrDigest: wrong, ErrOlder: older} {
		if _, err := n.Apply(t.Context(), d); !errors.Is(err, want) {
			t.Errorf("error %v, want %v", err, want)
		}
	}
	n.expect()
	if f := n.file(); f.Version != held.Version || f.Set != held.Set {
		t.Error("a refused delta has changed what is held")
	}

	same := &snapshot.Delta{Version: held.Version}
	same.Version.Revision = 1
	if res, err := n.Apply(t.Context(), same); err != nil || res.Version != held.Version {
		t.Errorf("the same state under a lower revision: %v, %v, want the revision to stay", res.Version, err)
	}
	other := n.delta([]*snapshot.Resource{listener("l", "p", 81, "192.0.2.1")})
	other.Version.Cluster, other.Version.Revision = "another", 1
	if _, err := n.Apply(t.Context(), other); err != nil {
		t.Errorf("another cluster's low revision: %v", err)
	}
}

func TestRestore(t *testing.T) {
	t.Parallel()
	n := newNode(t, announcing())
	n.put(check("h", second), pool("p", "h", nil), check("i", second), pool("q", "i", nil), pool("r", "", nil),
		listener("l", "p", 80, "192.0.2.1"), listener("m", "q", 80, "192.0.2.2"))
	n.apply(n.delta([]*snapshot.Resource{
		pool("p", "h", slowStart(refusedSlowStart)), check("i", refusedInterval),
		listenerWith("m", "r", 80, refusedIdle, "192.0.2.2"), garbage(77, "x", ""),
	}, poolRef("q")))
	b, err := snapshot.MarshalFile(n.file())
	if err != nil {
		t.Fatal(err)
	}
	f, err := snapshot.UnmarshalFile(b)
	if err != nil {
		t.Fatal(err)
	}
	again := newNode(t, announcing())
	res, err := again.Restore(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	if res.Version != n.file().Version || len(res.Faults) != 3 {
		t.Errorf("restored %v with faults %v", res.Version, res.Faults)
	}
	equalNodes(t, again, n)
	if g := again.file(); g.LastGood.Digest() != f.LastGood.Digest() || g.Set.Digest() != f.Set.Digest() {
		t.Error("what the restored node saves is not what it was restored from")
	}
}

func TestView(t *testing.T) {
	t.Parallel()
	n := newNode(t, announcing())
	err := n.View(t.Context(), func(v View) {
		if v.Loaded() || len(v.Addresses()) > 0 {
			t.Error("a new node has something")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	<-n.changedAfter(func() { n.put(listener("l", "", 80, "192.0.2.1", "2001:db8::1")) })
	err = n.View(t.Context(), func(v View) {
		version, since := v.Version()
		held, set := v.Held()
		if !v.Loaded() || version.Revision != 1 || held != version || set.Len() != 1 || time.Since(since) > time.Minute {
			t.Errorf("version %v since %v", version, since)
		}
		if len(v.Addresses()) != 2 || len(v.Faults()) != 0 {
			t.Errorf("addresses %v, faults %v", v.Addresses(), v.Faults())
		}
		for name, l := range v.Listeners() {
			if name != "l" || !l.InForce || l.Port != 80 || len(l.Leaving) > 0 {
				t.Errorf("listener %s: %+v", name, l)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (n *node) changedAfter(f func()) <-chan struct{} {
	f()
	return n.Changed()
}

func TestStopped(t *testing.T) {
	t.Parallel()
	a := New(Config{Engine: newRecorder(t), Withdrawals: announcing()})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.View(ctx, func(View) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("before Run: %v", err)
	}
	if err := a.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Apply(t.Context(), &snapshot.Delta{}); !errors.Is(err, ErrStopped) {
		t.Errorf("after Run: %v", err)
	}
	if _, err := a.Restore(t.Context(), &snapshot.File{}); !errors.Is(err, ErrStopped) {
		t.Errorf("after Run: %v", err)
	}
}

// BenchmarkOneChange shows that a change costs what it changes, not what there is besides.
func BenchmarkOneChange(b *testing.B) {
	for _, size := range []int{10, 10_000} {
		b.Run(sizeName(size), func(b *testing.B) {
			n := newNode(b, announcing())
			var all []*snapshot.Resource
			for i := range size / 2 {
				name := sizeName(i)
				all = append(all, pool("p"+name, "", nil), listener("l"+name, "p"+name, 80, "192.0.2.1"))
			}
			n.put(all...)
			forms := []*snapshot.Resource{pool("p"+sizeName(1), "", slowStart(second)), pool("p"+sizeName(1), "", nil)}
			for i := 0; b.Loop(); i++ {
				n.put(forms[i%2])
			}
			if calls := n.engine.told(); !slices.Contains(calls, "set p"+sizeName(1)) {
				b.Error("nothing changed")
			}
		})
	}
}
