package balance

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/snapshot"
)

// nginx is smooth weighted round robin the way nginx does it, turn by turn.
func nginx(list []snapshot.Backend, turns int) []string {
	current, order := make([]int, len(list)), []string(nil)
	for range turns {
		best, total := -1, 0
		for i, b := range list {
			current[i] += int(b.Weight)
			total += int(b.Weight)
			if b.Weight > 0 && (best < 0 || current[i] > current[best]) {
				best = i
			}
		}
		current[best] -= total
		order = append(order, list[best].Name)
	}
	return order
}

func TestWeightedRoundRobinMatchesNginx(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t)
	for i, weights := range [][]uint16{{5, 1, 1}, {1, 2, 3}, {1}, {4, 0, 6}, {256, 255, 1}, {7, 7, 7}, {10, 20, 30, 40}, {3, 3, 1, 0, 9, 2}} {
		list := backends(weights...)
		p := r.mustSet(t, fmt.Sprint(i), poolOf(lb.WeightedRoundRobin, list), nil)
		var got []string
		for range 600 {
			b, err := p.Pick(client, vip, nil)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, b.Name())
		}
		if want := nginx(list, 600); !slices.Equal(got, want) {
			t.Errorf("weights %v: order is %v…, want %v…", weights, got[:12], want[:12])
		}
	}
}

// TestManyWeights has too many backends for a precomputed order: shares must still be exact to a turn or so.
func TestManyWeights(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t)
	weights, total := make([]uint16, 2000), 0
	for i := range weights {
		weights[i] = uint16(1 + i%256)
		total += int(weights[i])
	}
	list := backends(weights...)
	p := r.mustSet(t, "p", poolOf(lb.WeightedRoundRobin, list), nil)
	if p.state.Load().method != bySequence {
		t.Fatal("the order is precomputed after all")
	}
	count := draw(t, p, total)
	for _, b := range list {
		if d := count[b.Name] - int(b.Weight); d < -3 || d > 3 {
			t.Errorf("%s with weight %d came %d times", b.Name, b.Weight, count[b.Name])
		}
	}
}

func TestRoundRobinIgnoresWeights(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t)
	p := r.mustSet(t, "p", poolOf(lb.RoundRobin, backends(1, 256, 0, 7)), nil)
	if got, want := draw(t, p, 300), (map[string]int{"a": 100, "b": 100, "d": 100}); !maps.Equal(got, want) {
		t.Errorf("shares are %v, want %v", got, want)
	}
}

func TestRandom(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t)
	p := r.mustSet(t, "p", poolOf(lb.Random, backends(1, 2, 3, 0, 4)), nil)
	const n = 100_000
	count := draw(t, p, n)
	for name, weight := range map[string]float64{"a": 1, "b": 2, "c": 3, "e": 4} {
		mean := n * weight / 10
		if d := math.Abs(float64(count[name]) - mean); d > 5*math.Sqrt(mean) {
			t.Errorf("%s came %d times of %d, want about %.0f", name, count[name], n, mean)
		}
	}
	if count["d"] > 0 {
		t.Errorf("a backend of weight 0 came %d times", count["d"])
	}
}

// TestLeastConnections compares every choice with a scan over the counts.
func TestLeastConnections(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t)
	list := backends(1, 2, 4, 0, 1)
	p := r.mustSet(t, "p", poolOf(lb.LeastConnections, list), nil)
	rnd := rand.New(rand.NewPCG(1, 2))
	var open []*Backend
	for range 5000 {
		if len(open) > 0 && rnd.IntN(3) == 0 {
			i := rnd.IntN(len(open))
			open[i].Release()
			open = slices.Delete(open, i, i+1)
			continue
		}
		lowest := math.Inf(1)
		for _, b := range p.backends {
			if b.conf.Weight > 0 {
				lowest = min(lowest, float64(b.Active()+1)/float64(b.conf.Weight))
			}
		}
		b, err := p.Pick(client, vip, nil)
		if err != nil {
			t.Fatal(err)
		}
		if load := float64(b.Active()+1) / float64(b.conf.Weight); load != lowest {
			t.Fatalf("%s with load %f was picked; the lowest is %f", b.Name(), load, lowest)
		}
		b.Acquire()
		open = append(open, b)
	}
	for _, b := range open {
		b.Release()
	}
	p = r.mustSet(t, "q", poolOf(lb.LeastConnections, backends(1, 1, 1)), nil)
	if got := draw(t, p, 300); got["a"] != 100 || got["b"] != 100 {
		t.Errorf("ties go to %v", got)
	}
}

// TestLeastConnectionsSampled has more backends than are compared.
func TestLeastConnectionsSampled(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t)
	weights := slices.Repeat([]uint16{1}, 500)
	p := r.mustSet(t, "p", poolOf(lb.LeastConnections, backends(weights...)), nil)
	for range 500 * 20 {
		b, err := p.Pick(client, vip, nil)
		if err != nil {
			t.Fatal(err)
		}
		b.Acquire()
	}
	for _, b := range p.backends {
		if n := b.Active(); n < 17 || n > 23 {
			t.Errorf("%s has %d connections, want about 20", b.Name(), n)
		}
	}
}

// TestHashing has two registries, one given its backends in another order and with other health, agree about every flow.
func TestHashing(t *testing.T) {
	t.Parallel()
	for name, conf := range map[string]*snapshot.Pool{
		"maglev":      poolOf(lb.Maglev, backends(1, 2, 3, 4, 0)),
		"source_ip":   poolOf(lb.SourceIP, backends(1, 2, 3, 4, 0)),
		"persistence": {Protocol: lb.PoolTCP, Algorithm: lb.Random, Persistence: lb.PersistSourceIP, Backends: backends(1, 2, 3, 4, 0), HashVersion: 1, TableSize: 65521},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r1, _ := newRegistry(t)
			r2, _ := newRegistry(t)
			p1 := r1.mustSet(t, "p", conf, nil)
			other := *conf
			other.Backends = slices.Clone(conf.Backends)
			slices.Reverse(other.Backends)
			p2 := r2.mustSet(t, "another name", &other, nil)
			count := map[string]int{}
			before := map[netip.AddrPort]string{}
			for i := range 20_000 {
				c := clientAt(i)
				b1, err1 := p1.Pick(c, vip, nil)
				b2, err2 := p2.Pick(c, vip, nil)
				if err1 != nil || err2 != nil || b1.Name() != b2.Name() {
					t.Fatalf("%s: %v, %v and %v, %v", c, b1, err1, b2, err2)
				}
				count[b1.Name()]++
				before[c] = b1.Name()
				moved, err := p1.Pick(netip.AddrPortFrom(c.Addr(), c.Port()^1), vip, nil)
				if err != nil || name != "maglev" && moved != b1 {
					t.Fatalf("another port of %s goes to %v, %v", c, moved, err)
				}
			}
			for i, b := range "abcd" {
				if n := float64(count[string(b)]); math.Abs(n/20_000-float64(i+1)/10) > 0.02 {
					t.Errorf("%c has %f of the flows", b, n/20_000)
				}
			}
			// A backend that was tried is passed over the same way everywhere, and nobody else's flows move.
			for c, name := range before {
				var tried Tried
				for _, b := range p1.backends {
					if b.Name() == "b" {
						tried.Add(b)
					}
				}
				b, err := p1.Pick(c, vip, &tried)
				if err != nil || b.Name() == "b" || name != "b" && b.Name() != name {
					t.Fatalf("%s went to %s, now to %v, %v", c, name, b, err)
				}
			}
		})
	}
}

func TestTried(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t)
	for a := lb.RoundRobin; a <= lb.Maglev; a++ {
		for _, weights := range [][]uint16{{1, 1, 1}, {1, 2, 3}} {
			p := r.mustSet(t, "p", poolOf(a, backends(weights...)), nil)
			for i := range 200 {
				var tried Tried
				seen := map[*Backend]bool{}
				for range 3 {
					b, err := p.Pick(clientAt(i), vip, &tried)
					if err != nil || seen[b] {
						t.Fatalf("algorithm %d: %v, %v after %v", a, b, err, seen)
					}
					seen[b] = true
					tried.Add(b)
				}
				if b, err := p.Pick(clientAt(i), vip, &tried); !errors.Is(err, ErrNoBackend) {
					t.Fatalf("algorithm %d: all are tried, but there is %v, %v", a, b, err)
				}
			}
		}
	}
}

func TestTablesAreShared(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t)
	p := r.mustSet(t, "p", poolOf(lb.Maglev, backends(1, 2, 3)), nil)
	q := r.mustSet(t, "q", poolOf(lb.SourceIP, backends(1, 2, 3)), nil)
	before := p.state.Load().table
	if before != q.state.Load().table {
		t.Error("two pools with the same backends have two tables")
	}
	if before.built.Load() != nil {
		t.Error("a table was built that nobody asked for")
	}
	draw(t, p, 1)
	draining := poolOf(lb.Maglev, backends(1, 2, 3))
	draining.DeregistrationDelay++
	r.mustSet(t, "p", draining, nil)
	if p.state.Load().table != before || before.built.Load() == nil {
		t.Error("a change that does not concern membership made another table")
	}
	r.mustSet(t, "p", poolOf(lb.Maglev, backends(1, 2, 4)), nil)
	if p.state.Load().table == before {
		t.Error("other weights share a table")
	}
}

func TestPickDoesNotAllocate(t *testing.T) {
	r, _ := newRegistry(t)
	for a := lb.RoundRobin; a <= lb.Maglev; a++ {
		p := r.mustSet(t, "p", poolOf(a, backends(1, 2, 3)), nil)
		draw(t, p, 10)
		if n := testing.AllocsPerRun(1000, func() {
			var tried Tried
			b, _ := p.Pick(client, vip, &tried)
			tried.Add(b)
			p.Pick(client, vip, &tried)
		}); n != 0 {
			t.Errorf("algorithm %d: %f allocations", a, n)
		}
	}
	p := r.mustSet(t, "p", poolOf(lb.RoundRobin, nil), nil)
	if n := testing.AllocsPerRun(1000, func() { p.Pick(client, vip, nil) }); n != 0 {
		t.Errorf("no backend: %f allocations", n)
	}
}

// TestPickWhileChanging has many pickers meet many changes; the race detector looks on.
func TestPickWhileChanging(t *testing.T) {
	t.Parallel()
	r, _ := newRegistry(t)
	p := r.mustSet(t, "p", poolOf(lb.RoundRobin, backends(1, 1, 1)), nil)
	stop := make(chan struct{})
	var pickers sync.WaitGroup
	for g := range 4 {
		pickers.Go(func() {
			for i := g; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				b, err := p.Pick(clientAt(i), vip, nil)
				if err != nil {
					t.Error(err)
					return
				}
				b.Acquire()
				b.Release()
			}
		})
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		weights := make([]uint16, 1+rnd.IntN(6))
		for i := range weights {
			weights[i] = uint16(1 + rnd.IntN(4))
		}
		conf := poolOf(lb.Algorithm(1+rnd.IntN(6)), backends(weights...))
		conf.TableSize = 251
		r.mustSet(t, "p", conf, nil)
	}
	close(stop)
	pickers.Wait()
}

func BenchmarkPick(b *testing.B) {
	for name, a := range map[string]lb.Algorithm{"round_robin": lb.RoundRobin, "weighted_round_robin": lb.WeightedRoundRobin,
		"least_connections": lb.LeastConnections, "source_ip": lb.SourceIP, "random": lb.Random, "maglev": lb.Maglev} {
		for _, n := range []int{3, 100, 1000} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				r, _ := newRegistry(b)
				weights := make([]uint16, n)
				for i := range weights {
					weights[i] = uint16(1 + i%5)
				}
				p := r.mustSet(b, "p", poolOf(a, backends(weights...)), nil)
				draw(b, p, 1)
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if _, err := p.Pick(client, vip, nil); err != nil {
							b.Fatal(err)
						}
					}
				})
			})
		}
	}
}

func BenchmarkRebuild(b *testing.B) {
	r, _ := newRegistry(b)
	weights := slices.Repeat([]uint16{1, 2, 3, 4, 5}, 200)
	p := r.mustSet(b, "p", poolOf(lb.WeightedRoundRobin, backends(weights...)), nil)
	for b.Loop() {
		r.mu.Lock()
		r.rebuild(p)
		r.mu.Unlock()
	}
}
