package snapshot

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
)

// numbered makes a resource with content of no meaning.
func numbered(i, version int) *Resource {
	content := fmt.Appendf(nil, "%d", version)
	return &Resource{
		Ref:     Ref{Kind(1 + i%3), fmt.Sprintf("projects/p/loadBalancers/l%05d/x", i)},
		Hash:    sha256.Sum256(content),
		Content: content,
	}
}

// digestOf is the definition of the digest, in one go.
func digestOf(resources map[Ref]*Resource) Hash {
	sum := new(big.Int)
	for _, r := range resources {
		e := sha256.Sum256(slices.Concat([]byte{byte(r.Kind)}, []byte(r.Name), r.Hash[:]))
		sum.Add(sum, new(big.Int).SetBytes(e[:]))
	}
	sum.Mod(sum, new(big.Int).Lsh(big.NewInt(1), 256))
	var h Hash
	sum.FillBytes(h[:])
	return h
}

func checkSet(t *testing.T, set *Set, want map[Ref]*Resource) {
	t.Helper()
	sorted := slices.SortedFunc(maps.Values(want), func(x, y *Resource) int { return x.Ref.Compare(y.Ref) })
	if got := slices.Collect(set.All()); !slices.Equal(got, sorted) {
		t.Fatalf("set has %d resources, want %d, or others, or another order", len(got), len(sorted))
	}
	if set.Len() != len(want) {
		t.Fatalf("Len is %d, want %d", set.Len(), len(want))
	}
	if set.Digest() != digestOf(want) {
		t.Fatal("digest is not the sum over the resources")
	}
	for ref, r := range want {
		if set.Get(ref) != r {
			t.Fatalf("Get(%v) is another", ref)
		}
	}
	for i, block := range set.blocks {
		if len(block) == 0 || len(block) > 2*blockSize {
			t.Fatalf("block %d has %d resources", i, len(block))
		}
	}
}

func TestSetAgainstMap(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		span := 1 + random.IntN(2000)
		set, naive := NewSet(nil), map[Ref]*Resource{}
		for step := range 40 {
			before, beforeNaive := set, maps.Clone(naive)
			var upserts []*Resource
			var removals []Ref
			for range random.IntN(1 + random.IntN(span)) {
				r := numbered(random.IntN(span), random.IntN(3))
				if random.IntN(step+2) > 10 {
					removals = append(removals, r.Ref)
				} else {
					upserts = append(upserts, r)
				}
			}
			for _, ref := range removals {
				delete(naive, ref)
			}
			for _, r := range upserts {
				naive[r.Ref] = r
			}
			set = set.With(upserts, removals)
			checkSet(t, set, naive)
			checkSet(t, before, beforeNaive)

			put, gone := Diff(before, set)
			if got := before.With(put, gone); got.Digest() != set.Digest() || got.Len() != set.Len() {
				t.Fatal("a set with its difference to another one is not that other one")
			}
			if len(put)+len(gone) > len(upserts)+len(removals) {
				t.Fatalf("difference has %d parts after %d edits", len(put)+len(gone), len(upserts)+len(removals))
			}
		}
	}
}

func TestEmptySet(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]*Set{"nil": nil, "zero": {}, "new": NewSet(nil), "emptied": NewSet([]*Resource{numbered(1, 1)}).With(nil, []Ref{numbered(1, 1).Ref})} {
		if set.Len() != 0 || set.Digest() != (Hash{}) || set.Get(numbered(1, 1).Ref) != nil || len(slices.Collect(set.All())) != 0 {
			t.Errorf("%s set is not empty", name)
		}
		if got := set.With([]*Resource{numbered(2, 1)}, nil); got.Len() != 1 || got.Get(numbered(2, 1).Ref) == nil {
			t.Errorf("%s set with a resource does not have it", name)
		}
	}
}

func TestDiffSeesHashesOnly(t *testing.T) {
	t.Parallel()
	from := NewSet([]*Resource{numbered(1, 1), numbered(2, 1), numbered(3, 1)})
	to := NewSet([]*Resource{numbered(1, 1), numbered(2, 2), numbered(4, 1)})
	upserts, removals := Diff(from, to)
	if len(upserts) != 2 || upserts[0].Ref != numbered(4, 1).Ref && upserts[1].Ref != numbered(4, 1).Ref {
		t.Errorf("upserts are %v", upserts)
	}
	if !slices.Equal(removals, []Ref{numbered(3, 1).Ref}) {
		t.Errorf("removals are %v", removals)
	}
}

// One change among many must not cost the many.
func BenchmarkSetWith(b *testing.B) {
	for _, size := range []int{100, 10_000, 100_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			var all []*Resource
			for i := range size {
				all = append(all, numbered(i, 0))
			}
			set := NewSet(all)
			change := []*Resource{numbered(size/2, 1)}
			b.ReportAllocs()
			for b.Loop() {
				set = set.With(change, nil)
			}
		})
	}
}
