package apply

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fiberlb/fiberlb/pkg/snapshot"
)

func sizeName(n int) string { return strconv.Itoa(n) }

// model is the oracle: after every delta it tries all that is wished over again.
type model struct {
	wish      map[snapshot.Ref]*snapshot.Resource
	checks    map[string]*snapshot.HealthCheck
	pools     map[string]runningPool
	listeners map[string]*snapshot.Listener
}

func newModel() *model {
	return &model{
		wish: map[snapshot.Ref]*snapshot.Resource{}, checks: map[string]*snapshot.HealthCheck{},
		pools: map[string]runningPool{}, listeners: map[string]*snapshot.Listener{},
	}
}

func (m *model) apply(d *snapshot.Delta) {
	if d.Full {
		clear(m.wish)
	}
	for _, ref := range d.Removals {
		delete(m.wish, ref)
	}
	for _, r := range d.Upserts {
		m.wish[r.Ref] = r
	}
	m.tryAll()
	maps.DeleteFunc(m.listeners, func(name string, _ *snapshot.Listener) bool { return m.wish[listenerRef(name)] == nil })
	maps.DeleteFunc(m.pools, func(name string, _ runningPool) bool {
		for _, l := range m.listeners {
			if l.DefaultPool == name {
				return false
			}
		}
		return m.wish[poolRef(name)] == nil
	})
	maps.DeleteFunc(m.checks, func(name string, _ *snapshot.HealthCheck) bool {
		for _, p := range m.pools {
			if p.Pool.HealthCheck == name {
				return false
			}
		}
		return m.wish[checkRef(name)] == nil
	})
}

func (m *model) tryAll() {
	for ref, r := range m.wish {
		if v, err := r.Decode(); err == nil && ref.Kind == snapshot.KindHealthCheck {
			m.checks[ref.Name] = v.(*snapshot.HealthCheck)
		}
	}
	try := func(name string, p *snapshot.Pool) bool {
		check := m.checks[p.HealthCheck]
		ok := (p.HealthCheck == "" || check != nil) && !refusesPool(p, check)
		if ok {
			m.pools[name] = runningPool{p, check}
		}
		return ok
	}
	// Wished forms first, then last good forms with the health check as it is now.
	for _, name := range poolNames {
		done := false
		if r := m.wish[poolRef(name)]; r != nil {
			if v, err := r.Decode(); err == nil {
				done = try(name, v.(*snapshot.Pool))
			}
		}
		if old, ok := m.pools[name]; ok && !done {
			try(name, old.Pool)
		}
	}
	for ref, r := range m.wish {
		v, err := r.Decode()
		if l, ok := v.(*snapshot.Listener); err == nil && ok && ref.Kind == snapshot.KindListener && !refusesListener(l) {
			if _, there := m.pools[l.DefaultPool]; there || l.DefaultPool == "" {
				m.listeners[ref.Name] = l
			}
		}
	}
}

// faulty tells which wished resources are not in force as wished.
func (m *model) faulty(ref snapshot.Ref) bool {
	v, err := m.wish[ref].Decode()
	if err != nil {
		return true
	}
	switch v := v.(type) {
	case *snapshot.Pool:
		return !reflect.DeepEqual(m.pools[ref.Name], runningPool{v, m.checks[v.HealthCheck]})
	case *snapshot.Listener:
		return !reflect.DeepEqual(m.listeners[ref.Name], v)
	}
	return false
}

var (
	poolNames     = []string{"p0", "p1", "p2", "p3"}
	checkNames    = []string{"p0/a", "p0/b", "p1/a", "p1/b", "p2/a", "p2/b", "p3/a", "p3/b"} // each belongs to a pool
	listenerNames = []string{"l0", "l1", "l2", "l3"}
	vipNames      = []string{"192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"}
)

// changes makes random deltas.
type changes struct {
	*rand.Rand
	// sound makes only what the compiler could and the engine takes: no
	// refusals, and no references to what is not wished.
	sound bool
}

func (c changes) pick(names []string) string { return names[c.IntN(len(names))] }

func (c changes) resource() *snapshot.Resource {
	seconds := func() time.Duration {
		if c.sound {
			return time.Duration(1+c.IntN(3)) * second
		}
		return []time.Duration{second, 2 * second, 13 * second}[c.IntN(3)]
	}
	orNone := func(names []string) string {
		if c.IntN(4) == 0 {
			return ""
		}
		return c.pick(names)
	}
	switch n := c.IntN(12); {
	case n < 3:
		return check(c.pick(checkNames), seconds())
	case n < 6:
		i := c.IntN(len(poolNames))
		return pool(poolNames[i], orNone(checkNames[2*i:2*i+2]), slowStart(seconds()))
	case n < 10:
		var vips []string
		for len(vips) == 0 {
			for _, v := range vipNames {
				if c.IntN(2) == 0 {
					vips = append(vips, v)
				}
			}
		}
		return listenerWith(c.pick(listenerNames), orNone(poolNames), uint16(80+c.IntN(2)), seconds(), vips...)
	case c.sound:
		return pool(c.pick(poolNames), "", nil)
	case n < 11:
		kind := snapshot.Kind(1 + c.IntN(3))
		return garbage(kind, c.pick([][]string{1: checkNames, 2: poolNames, 3: listenerNames}[kind]), "\xff")
	}
	return garbage(snapshot.KindCertificate, "c", "")
}

// next is a random delta of the node, at times a full one.
func (c changes) next(n *node) *snapshot.Delta {
	touched := map[snapshot.Ref]bool{}
	var upserts []*snapshot.Resource
	for range c.IntN(4) {
		if r := c.resource(); !touched[r.Ref] {
			touched[r.Ref] = true
			upserts = append(upserts, r)
		}
	}
	var removals []snapshot.Ref
	for r := range n.wished.All() {
		if c.IntN(8) == 0 && !touched[r.Ref] {
			removals = append(removals, r.Ref)
		}
	}
	if c.sound {
		upserts, removals = makeSound(n.wished, upserts, removals)
	}
	d := n.delta(upserts, removals...)
	if c.IntN(6) == 0 {
		d = n.full(d)
	}
	return d
}

// makeSound leaves out upserts whose reference is missing, and adds removals
// of what has lost its reference.
func makeSound(wished *snapshot.Set, upserts []*snapshot.Resource, removals []snapshot.Ref) ([]*snapshot.Resource, []snapshot.Ref) {
	for range 2 { // listeners follow pools that follow health checks
		next := wished.With(upserts, removals)
		for r := range next.All() {
			v, _ := r.Decode()
			f := &inForce{}
			f.pool, _ = v.(*snapshot.Pool)
			f.listener, _ = v.(*snapshot.Listener)
			if used, ok := f.uses(); ok && next.Get(used) == nil {
				upserts = slices.DeleteFunc(upserts, func(u *snapshot.Resource) bool { return u.Ref == r.Ref })
				removals = append(removals, r.Ref)
			}
		}
	}
	return upserts, removals
}

// TestAgainstModel holds the engine to what the naive model says, after every
// delta, with nothing lingering; then the node that is restored from the file.
func TestAgainstModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(120) {
		c := changes{Rand: rand.New(rand.NewPCG(seed, 1))}
		n, m := newNode(t, announcing()), newModel()
		for step := range 40 {
			d := c.next(n)
			faults := n.apply(d)
			m.apply(d)
			pools, listeners := n.engine.running()
			equalRunning(t, pools, m.pools, listeners, m.listeners)
			equalFaults(t, faults, m)
			if t.Failed() {
				t.Fatalf("seed %d, step %d: %s", seed, step, describe(d))
			}
		}
		checkBooks(t, n)
		again := newNode(t, announcing())
		if _, err := again.Restore(t.Context(), n.file()); err != nil {
			t.Fatalf("seed %d: restore: %v", seed, err)
		}
		equalNodes(t, again, n)
		if t.Failed() {
			t.Fatalf("seed %d: the restored node differs", seed)
		}
	}
}

// TestLingeringEndsAsModel lets addresses linger, with agents that withdraw
// some and not others: whatever happened, in the end it is as the model says.
func TestLingeringEndsAsModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			c := changes{Rand: rand.New(rand.NewPCG(seed, 2)), sound: true}
			agent := announcing()
			n, m := newNode(t, agent), newModel()
			for range 30 {
				agent.mu.Lock()
				for _, v := range vipNames {
					agent.vips[v] = c.IntN(2) == 0
				}
				agent.mu.Unlock()
				n.Wake()
				time.Sleep(time.Duration(c.IntN(800)) * time.Millisecond)
				d := c.next(n)
				n.apply(d)
				m.apply(d)
				_, listeners := n.engine.running()
				for name, l := range m.listeners {
					if got := listeners[name]; got == nil || !slices.Equal(got.VIPs[:len(l.VIPs)], l.VIPs) || got.Port != l.Port {
						t.Fatalf("seed %d: listener %s runs as %+v, want at least %+v", seed, name, got, l)
					}
				}
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
			pools, listeners := n.engine.running()
			equalRunning(t, pools, m.pools, listeners, m.listeners)
			checkBooks(t, n)
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		})
	}
}

func equalRunning(t *testing.T, pools, wantPools map[string]runningPool, listeners, wantListeners map[string]*snapshot.Listener) {
	t.Helper()
	if !reflect.DeepEqual(pools, wantPools) {
		t.Errorf("pools run as %+v, want %+v", pools, wantPools)
	}
	if !reflect.DeepEqual(listeners, wantListeners) {
		t.Errorf("listeners run as %+v, want %+v", listeners, wantListeners)
	}
}

func equalNodes(t *testing.T, a, b *node) {
	t.Helper()
	pools, listeners := a.engine.running()
	wantPools, wantListeners := b.engine.running()
	equalRunning(t, pools, wantPools, listeners, wantListeners)
}

func equalFaults(t *testing.T, faults []Fault, m *model) {
	t.Helper()
	var got, want []snapshot.Ref
	for _, f := range faults {
		got = append(got, f.Ref)
	}
	for ref := range m.wish {
		if m.faulty(ref) {
			want = append(want, ref)
		}
	}
	slices.SortFunc(want, snapshot.Ref.Compare)
	if !slices.Equal(got, want) {
		t.Errorf("faults of %v, want %v", got, want)
	}
}

// checkBooks counts over again what the state keeps counts of.
func checkBooks(t *testing.T, n *node) {
	t.Helper()
	err := n.View(t.Context(), func(v View) {
		s := newState()
		s.wished = v.st.wished
		for ref, f := range v.st.force {
			s.put(f)
			if s.wished.Get(ref) == nil {
				s.loose[ref] = struct{}{}
			}
		}
		for ref, f := range v.st.faults {
			s.refuse(ref, f)
		}
		s.unused(snapshot.KindPool)
		s.unused(snapshot.KindHealthCheck)
		for what, pair := range map[string][2]any{
			"users": {v.st.users, s.users}, "waiting": {v.st.waiting, s.waiting}, "vips": {v.st.vips, s.vips},
			"counts": {v.st.counts, s.counts}, "lingering": {v.st.lingering, s.lingering}, "loose": {v.st.loose, s.loose},
		} {
			if !reflect.DeepEqual(pair[0], pair[1]) {
				t.Errorf("%s are %v, want %v", what, pair[0], pair[1])
			}
		}
	})
	if err != nil {
		t.Error(err)
	}
}

func describe(d *snapshot.Delta) string {
	text := fmt.Sprintf("full %v, removals %v, upserts", d.Full, d.Removals)
	for _, r := range d.Upserts {
		v, err := r.Decode()
		text += fmt.Sprintf("\n  %v: %+v %v", r.Ref, v, err)
	}
	return text
}
