package maglev

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func newRand() *rand.Rand { return rand.New(rand.NewPCG(2016, 65537)) }

// fleet returns n backends of the given weights in turn.
func fleet(n int, weights ...uint32) []Backend {
	backends := make([]Backend, n)
	for i := range backends {
		backends[i] = Backend{Name: fmt.Sprintf("backend-%04d", i), Weight: weights[i%len(weights)]}
	}
	return backends
}

func mustBuild(t testing.TB, size uint32, backends []Backend) *Table {
	t.Helper()
	table, err := Build(size, backends)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// slotsOf counts the slots of each backend.
func slotsOf(table *Table) []int {
	count := make([]int, len(table.backends))
	for _, entry := range table.slots {
		count[entry-1]++
	}
	return count
}

// oracle is pseudocode 1 of the paper with modulo arithmetic. A backend has its turn whenever its share of the turns so
// far, rounded up, grows; the heavier go first.
func oracle(size uint64, backends []Backend) []string {
	members := slices.DeleteFunc(slices.Clone(backends), func(b Backend) bool { return b.Weight == 0 })
	slices.SortFunc(members, func(a, b Backend) int {
		return cmp.Or(cmp.Compare(b.Weight, a.Weight), cmp.Compare(a.Name, b.Name))
	})
	entry := make([]string, size)
	next := make([]uint64, len(members))
	for turn, n := uint64(1), uint64(0); ; turn++ {
		for i, b := range members {
			w, heaviest := uint64(b.Weight), uint64(members[0].Weight)
			if (turn*w+heaviest-1)/heaviest == ((turn-1)*w+heaviest-1)/heaviest {
				continue
			}
			offset := xxh64([]byte(b.Name), seedOffset) % size
			skip := xxh64([]byte(b.Name), seedSkip)%(size-1) + 1
			c := (offset + next[i]*skip) % size
			for entry[c] != "" {
				next[i]++
				c = (offset + next[i]*skip) % size
			}
			entry[c] = b.Name
			next[i]++
			if n++; n == size {
				return entry
			}
		}
	}
}

func TestBuildMatchesOracle(t *testing.T) {
	t.Parallel()
	r := newRand()
	check := func(size uint32, backends []Backend) {
		t.Helper()
		table, want := mustBuild(t, size, backends), oracle(uint64(size), backends)
		for slot, entry := range table.slots {
			if got := table.backends[entry-1].Name; got != want[slot] {
				t.Fatalf("size %d, %d backends: slot %d holds %s, the oracle's %s", size, len(backends), slot, got, want[slot])
			}
		}
	}
	primes := []uint32{2, 3, 5, 7, 13, 101, 251, 1009, 4099}
	for range 100 {
		size := primes[r.IntN(len(primes))]
		backends := fleet(1+r.IntN(min(int(size), 200)), 1)
		top := []uint32{1, 3, 10, MaxWeight}[r.IntN(4)]
		for i := range backends {
			backends[i].Weight = r.Uint32N(top + 1)
		}
		backends[0].Weight = top
		r.Shuffle(len(backends), func(i, j int) { backends[i], backends[j] = backends[j], backends[i] })
		check(size, backends)
	}
	check(DefaultSize, fleet(1000, 1))
	check(DefaultSize, fleet(1000, 1, 2, 3, 100))
	check(65537, fleet(1000, 1))
	// The longest walks in binary fractions: one backend visits every slot of the largest table.
	check(MaxSize, fleet(1, 1))
	check(655373, fleet(3, 1, 5))
}

func TestBuildIgnoresOrder(t *testing.T) {
	t.Parallel()
	r := newRand()
	backends := fleet(100, 1, 7, 0, MaxWeight)
	want := mustBuild(t, 1009, backends)
	for range 50 {
		r.Shuffle(len(backends), func(i, j int) { backends[i], backends[j] = backends[j], backends[i] })
		given := slices.Clone(backends)
		if got := mustBuild(t, 1009, backends); !bytes.Equal(got.Bytes(), want.Bytes()) || got.Digest() != want.Digest() {
			t.Fatal("another order of the same backends made another table")
		}
		if !slices.Equal(backends, given) {
			t.Fatal("Build changed its argument")
		}
	}
	without := slices.DeleteFunc(slices.Clone(backends), func(b Backend) bool { return b.Weight == 0 })
	if got := mustBuild(t, 1009, without); !bytes.Equal(got.Bytes(), want.Bytes()) {
		t.Fatal("a backend of weight 0 changed the table")
	}
}

// TestGolden fails when anything that decides where a key goes has changed. Nodes of two builds would then disagree: such
// a change needs a new HashVersion, and only then new figures here.
func TestGolden(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		size     uint32
		backends []Backend
		digest   uint64
	}{
		{7, nil, 0x5c5a146fdb2e7e06},
		{7, []Backend{{"a", 1}, {"b", 1}, {"c", 1}}, 0xe22c025e99512ee9},
		{65521, fleet(10, 1), 0x109fc361e830fb47},
		{65521, fleet(1000, 1), 0x7071c2f5cfec1d23},
		{65537, fleet(1000, 1, 2, 3, 100, 0, 256), 0x1125590a8cbd04bc},
	} {
		if got := mustBuild(t, c.size, c.backends).Digest(); HashVersion != 1 || got != c.digest {
			t.Errorf("size %d, %d backends: digest %#016x, version %d; want %#016x, version 1",
				c.size, len(c.backends), got, HashVersion, c.digest)
		}
	}
	want := "\x01\x00\x00\x00" + "\x02\x00\x00\x00" + "\x01\x00\x00\x00" + "a" + "\x01\x00\x00\x00" +
		"\x01\x00\x00\x00" + "b" + "\x02\x00\x00\x00" + "\x05\x00\x00\x00" + "\x01\x00\x02\x00\x02\x00\x01\x00\x02\x00"
	if got := mustBuild(t, 5, []Backend{{"b", 2}, {"a", 1}}).Bytes(); string(got) != want {
		t.Errorf("Bytes() = %q, want %q", got, want)
	}
}

// TestDisruption measures how many of the slots of the others move when one of n backends goes (paper, section 5.3), and
// holds it near what the paper's algorithm gives where offset and skip come from a random generator instead of a hash:
// 0.26, 0.57 and 0.92 % in a simulation. The targets of 0.23, 0.50 and 0.88 % lie below that and are NOT met on average.
// With few backends the figure varies from one set of names to the next, as two of them may walk in related steps.
func TestDisruption(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		backends, sets, removals int
		percent                  float64
	}{{10, 10, 10, 0.40}, {100, 3, 10, 0.60}, {500, 3, 10, 0.95}} {
		moved, others := 0, 0
		for set := range c.sets {
			all := fleet(c.backends, 1)
			for i := range all {
				all[i].Name = fmt.Sprintf("set-%d-%s", set, all[i].Name)
			}
			before := mustBuild(t, 65537, all)
			for i := range c.removals {
				removed := i * c.backends / c.removals
				after := mustBuild(t, 65537, slices.Delete(slices.Clone(all), removed, removed+1))
				for slot, entry := range before.slots {
					if int(entry-1) == removed {
						continue
					}
					others++
					if before.backends[entry-1] != after.backends[after.slots[slot]-1] {
						moved++
					}
				}
			}
		}
		percent := 100 * float64(moved) / float64(others)
		t.Logf("%d backends: removing one moves %.3f %% of the others' slots", c.backends, percent)
		if percent > c.percent {
			t.Errorf("%d backends: removing one moves %.3f %% of the others' slots, more than %.2f %%", c.backends, percent, c.percent)
		}
	}
}

func TestShares(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 2, 10, 100, 1000} {
		count := slotsOf(mustBuild(t, DefaultSize, fleet(n, 7)))
		if least, most := slices.Min(count), slices.Max(count); most-least > 1 {
			t.Errorf("%d backends of one weight hold %d to %d slots", n, least, most)
		}
	}
	count := slotsOf(mustBuild(t, DefaultSize, fleet(3, 1, 2, 3)))
	t.Logf("weights 1:2:3 hold %v of %d slots", count, DefaultSize)
	for i, slots := range count {
		if want := float64(DefaultSize) * float64(i+1) / 6; float64(slots) < want*0.999 || float64(slots) > want*1.001 {
			t.Errorf("weights 1:2:3: backend %d holds %d slots, not %.0f", i, slots, want)
		}
	}
	r := newRand()
	for range 20 {
		backends := fleet(1+r.IntN(400), 1)
		sum := 0.0
		for i := range backends {
			backends[i].Weight = 1 + r.Uint32N(MaxWeight)
			sum += float64(backends[i].Weight)
		}
		for i, slots := range slotsOf(mustBuild(t, DefaultSize, backends)) {
			// Rounding every backend up costs each at most its share of one slot a backend.
			share := float64(backends[i].Weight) / sum
			if off := float64(slots) - share*DefaultSize; off > 1 || off < -1-share*float64(len(backends)) {
				t.Fatalf("%d backends: weight share %f holds %d slots, %f too many", len(backends), share, slots, off)
			}
		}
	}
	// Even the lightest backend has a slot, however many heavy ones there are.
	if slots := slices.Min(slotsOf(mustBuild(t, 1009, append(fleet(1000, MaxWeight), Backend{"light", 1})))); slots != 1 {
		t.Errorf("the least slots of one backend are %d, not 1", slots)
	}
}

func TestBuildRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		size     uint32
		backends []Backend
		want     string
	}{
		{0, nil, "maglev: size 0 is not a prime"},
		{1, nil, "maglev: size 1 is not a prime"},
		{65536, nil, "maglev: size 65536 is not a prime"},
		{251 * 251, nil, "maglev: size 63001 is not a prime"},
		{5_000_077, nil, "maglev: size 5000077 is above 5000011"},
		{1<<32 - 5, nil, "maglev: size 4294967291 is above 5000011"},
		{7, []Backend{{"a", 1}, {"", 1}}, "maglev: a backend has no name"},
		{7, []Backend{{"a", 1}, {"b", 1}, {"a", 2}}, `maglev: backend "a" is given twice`},
		{7, []Backend{{"a", 0}, {"a", 1}}, `maglev: backend "a" is given twice`},
		{7, []Backend{{"a", 257}}, `maglev: backend "a": weight 257 is above 256`},
		{7, fleet(8, 1), "maglev: 8 backends do not fit a table of 7 slots, which holds at most 7"},
		{131071, fleet(65536, 1), "maglev: 65536 backends do not fit a table of 131071 slots, which holds at most 65535"},
	} {
		table, err := Build(c.size, c.backends)
		if table != nil || err == nil || err.Error() != c.want {
			t.Errorf("Build(%d, %d backends) = %v, %v; want the error %s", c.size, len(c.backends), table != nil, err, c.want)
		}
	}
	if count := slotsOf(mustBuild(t, 65537, fleet(MaxBackends, 1))); len(count) != MaxBackends || slices.Min(count) != 1 {
		t.Errorf("%d backends, the least slots of one are %d", len(count), slices.Min(count))
	}
}

func FuzzBuild(f *testing.F) {
	f.Add(uint32(7), "a,b,c", []byte{1, 2, 3})
	f.Add(uint32(2), "a,b", []byte{0})
	f.Add(uint32(65521), "a,,\xff,a\x00", []byte{255, 0, 1})
	f.Fuzz(func(t *testing.T, size uint32, names string, weights []byte) {
		if size <= MaxSize {
			size %= 70_000 // for speed
		}
		var backends []Backend
		for i, name := range strings.Split(names, ",") {
			b := Backend{Name: name, Weight: 1}
			if len(weights) > 0 {
				b.Weight = uint32(weights[i%len(weights)]) + uint32(i%3)
			}
			backends = append(backends, b)
		}
		table, err := Build(size, backends)
		if err != nil {
			return
		}
		for key := range uint64(100) {
			switch i := table.Lookup(key * prime2); {
			case len(table.Backends()) == 0 && i != -1, i >= len(table.Backends()):
				t.Fatalf("Lookup = %d of %d backends", i, len(table.Backends()))
			case i >= 0 && table.LookupAlive(key*prime2, func(j int) bool { return j == i }) != i:
				t.Fatalf("LookupAlive misses backend %d", i)
			}
		}
		if count := slotsOf(table); len(count) > 0 && slices.Min(count) == 0 {
			t.Fatal("a backend has no slot")
		}
		slices.Reverse(backends)
		if again := mustBuild(t, size, backends); !bytes.Equal(again.Bytes(), table.Bytes()) {
			t.Fatal("another order made another table")
		}
	})
}

func BenchmarkBuild(b *testing.B) {
	for _, c := range []struct {
		name     string
		backends []Backend
	}{
		{"backends=10", fleet(10, 1)},
		{"backends=1000", fleet(1000, 1)},
		{"backends=1000/shuffled", func() []Backend {
			backends := fleet(1000, 1)
			newRand().Shuffle(len(backends), func(i, j int) { backends[i], backends[j] = backends[j], backends[i] })
			return backends
		}()},
		{"backends=1000/weights=1,2,3", fleet(1000, 1, 2, 3)},
		{"backends=1000/weights=256,1", append(fleet(999, 1), Backend{"heavy", 256})},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				mustBuild(b, DefaultSize, c.backends)
			}
		})
	}
}
