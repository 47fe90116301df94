package maglev

import (
	"math"
	"testing"
)

func always(int) bool { return true }
func never(int) bool  { return false }

func TestLookup(t *testing.T) {
	t.Parallel()
	empty := mustBuild(t, DefaultSize, []Backend{{"a", 0}})
	if got := empty.Lookup(1); got != -1 || len(empty.Backends()) != 0 {
		t.Errorf("an empty table gives %d of %v", got, empty.Backends())
	}
	if got := empty.LookupAlive(1, always); got != -1 {
		t.Errorf("an empty table gives %d as alive", got)
	}
	const keys = 1_000_000
	r, table := newRand(), mustBuild(t, DefaultSize, fleet(10, 1))
	count := make([]int, 10)
	for range keys {
		key := r.Uint64()
		i := table.Lookup(key)
		if j := table.LookupAlive(key, always); i != j {
			t.Fatalf("key %#x: Lookup gives %d, LookupAlive %d while all live", key, i, j)
		}
		count[i]++
	}
	for i, n := range count {
		if n < keys/10*98/100 || n > keys/10*102/100 {
			t.Errorf("backend %d of 10 gets %d of %d keys", i, n, keys)
		}
	}
}

// TestLookupAliveMatchesOracle compares with floating point and no early end.
func TestLookupAliveMatchesOracle(t *testing.T) {
	t.Parallel()
	r, table := newRand(), mustBuild(t, 4099, fleet(60, 1, 2, 9, 256))
	fallbacks := 0
	for _, living := range []int{0, 1, 2, 5, 30, 60} {
		up := map[int]bool{}
		for _, i := range r.Perm(60)[:living] {
			up[i] = true
		}
		for range 2000 {
			key := r.Uint64()
			want, lowest := -1, math.Inf(1)
			for i, b := range table.Backends() {
				u := float64(avalanche(key^xxh64([]byte(b.Name), seedOffset))) / (1 << 64)
				if cost := -math.Log2(u) / float64(b.Weight); up[i] && cost < lowest {
					want, lowest = i, cost
				}
			}
			fallback := true
			for probe := uint64(maxProbes - 1); probe > 0; probe-- {
				if i := table.Lookup(avalanche(key + probe*prime1)); up[i] {
					want, fallback = i, false
				}
			}
			if i := table.Lookup(key); up[i] {
				want, fallback = i, false
			}
			if got := table.LookupAlive(key, func(i int) bool { return up[i] }); got != want {
				t.Fatalf("%d of 60 alive: key %#x goes to %d, not to %d", living, key, got, want)
			}
			if fallback {
				fallbacks++
			}
		}
	}
	if fallbacks < 4000 {
		t.Errorf("only %d keys went past the probes", fallbacks)
	}
}

// TestLookupAliveSpread has so many backends down that keys find their place by probing, by rendezvous, or by either.
func TestLookupAliveSpread(t *testing.T) {
	t.Parallel()
	const backends, keys = 200, 100_000
	for _, weights := range [][]uint32{{1}, {1, 2, 3, 4}, {256, 1}} {
		table := mustBuild(t, DefaultSize, fleet(backends, weights...))
		for _, living := range []int{2, 4, 20, 100} {
			up := func(i int) bool { return i < living }
			sum, count, r := 0.0, make([]float64, living), newRand()
			for i := range living {
				sum += float64(table.backends[i].Weight)
			}
			for range keys {
				key := r.Uint64()
				for up(table.Lookup(key)) { // only keys that lost their backend
					key = r.Uint64()
				}
				count[table.LookupAlive(key, up)]++
			}
			for i, got := range count {
				// Table shares are whole slots, so allow two percent beside five standard deviations.
				want := keys * float64(table.backends[i].Weight) / sum
				if limit := 0.02*want + 5*math.Sqrt(want) + keys*0.0003; math.Abs(got-want) > limit {
					t.Errorf("weights %v, %d of %d alive: backend %d takes %.0f of %d orphaned keys, not %.0f±%.0f",
						weights, living, backends, i, got, keys, want, limit)
				}
			}
		}
	}
}

// TestLookupAliveStability kills backends one by one, to the last: only the keys of the dead move.
func TestLookupAliveStability(t *testing.T) {
	t.Parallel()
	const backends = 40
	r, table := newRand(), mustBuild(t, DefaultSize, fleet(backends, 1, 5))
	down := map[int]bool{}
	alive := func(i int) bool { return !down[i] }
	keys, home := make([]uint64, 5000), make([]int, 5000)
	for k := range keys {
		keys[k] = r.Uint64()
		home[k] = table.LookupAlive(keys[k], alive)
	}
	for n, victim := range r.Perm(backends) {
		down[victim] = true
		for k, key := range keys {
			got := table.LookupAlive(key, alive)
			switch {
			case n == backends-1 && got != -1:
				t.Fatalf("all are down, but key %#x goes to %d", key, got)
			case n < backends-1 && down[got]:
				t.Fatalf("key %#x goes to %d, which is down", key, got)
			case home[k] != victim && got != home[k]:
				t.Fatalf("%d went down, and key %#x moved from %d to %d", victim, key, home[k], got)
			case alive(table.Lookup(key)) && got != table.Lookup(key):
				t.Fatalf("key %#x left %d, which is alive", key, table.Lookup(key))
			}
			home[k] = got
		}
	}
}

// TestRendezvousOutlivesIndices: past the probes a key goes by names, so that backends coming and going elsewhere in the
// order leave it alone.
func TestRendezvousOutlivesIndices(t *testing.T) {
	t.Parallel()
	pair := []Backend{{"m", 1}, {"z", 3}}
	small, large := mustBuild(t, 101, pair), mustBuild(t, 1009, append(fleet(50, 1), pair...))
	r := newRand()
	for range 1000 {
		key := r.Uint64()
		i, j := small.rendezvous(key, always), large.rendezvous(key, func(i int) bool { return i >= 50 })
		if small.backends[i] != large.backends[j] {
			t.Fatalf("key %#x goes to %v and to %v", key, small.backends[i], large.backends[j])
		}
	}
}

func TestNegLog2(t *testing.T) {
	t.Parallel()
	for u, want := range map[uint64]uint64{
		0: 64 << logBits, 1: 64 << logBits, 1 << 32: 32 << logBits, 1 << 63: 1 << logBits, 1<<64 - 1: 1,
	} {
		if got := negLog2(u); got != want {
			t.Errorf("negLog2(%#x) = %d, want %d", u, got, want)
		}
	}
	r := newRand()
	for range 10_000 {
		u := r.Uint64() >> r.IntN(64)
		want := 64 - math.Log2(float64(max(u, 1)|1))
		if got := float64(negLog2(u)) / (1 << logBits); math.Abs(got-want) > 1.0/(1<<(logBits-1)) {
			t.Fatalf("negLog2(%#x) = %v, want %v", u, got, want)
		}
	}
}

func TestLookupDoesNotAllocate(t *testing.T) {
	table := mustBuild(t, DefaultSize, fleet(100, 1))
	key, found, limit := uint64(1), 0, 1
	allocs := testing.AllocsPerRun(1000, func() {
		key += prime1
		found += table.Lookup(key)
		found += table.LookupAlive(key, func(i int) bool { return i < limit })
	})
	if allocs != 0 || found < 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func BenchmarkLookup(b *testing.B) {
	table := mustBuild(b, DefaultSize, fleet(1000, 1))
	b.ReportAllocs()
	key := uint64(1)
	for b.Loop() {
		key = key*prime1 + uint64(table.Lookup(key))
	}
}

func BenchmarkLookupAlive(b *testing.B) {
	table := mustBuild(b, DefaultSize, fleet(1000, 1))
	for _, c := range []struct {
		name  string
		alive func(int) bool
	}{
		{"all", always},
		{"half", func(i int) bool { return i&1 == 0 }},
		{"1%", func(i int) bool { return i%100 == 0 }},
		{"none", never},
	} {
		b.Run("alive="+c.name, func(b *testing.B) {
			b.ReportAllocs()
			key := uint64(1)
			for b.Loop() {
				key = key*prime1 + uint64(table.LookupAlive(key, c.alive))
			}
		})
	}
}
