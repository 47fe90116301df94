package lb

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"
)

// etags lists the etag of everything in l, in a fixed order.
func etags(l *LoadBalancer) []string {
	out := []string{l.Etag()}
	for _, x := range l.Listeners {
		out = append(out, x.Etag())
	}
	for _, x := range l.Pools {
		out = append(out, x.Etag())
		if x.HealthCheck != nil {
			out = append(out, x.HealthCheck.Etag())
		}
		for _, b := range x.Backends {
			out = append(out, b.Etag())
		}
	}
	for _, x := range l.Policies {
		out = append(out, x.Etag())
		for _, r := range x.Rules {
			out = append(out, r.Etag())
		}
	}
	for _, x := range l.Certificates {
		out = append(out, x.Etag())
	}
	return out
}

// wantTrueEtags fails where a remembered etag is not that of the content. A
// clone remembers nothing, so that it works out its own.
func wantTrueEtags(t *testing.T, l *LoadBalancer) {
	t.Helper()
	if got, want := etags(l), etags(l.Clone()); !slices.Equal(got, want) {
		t.Fatalf("etags %v are remembered, %v are right", got, want)
	}
}

// TestCopiesRememberNoEtags: whatever way a normal form is copied, an edit of
// the copy shows in its etag, and the normal form keeps its own.
func TestCopiesRememberNoEtags(t *testing.T) {
	t.Parallel()
	l := mustNormalize(t, full())
	before := etags(l)
	pool, backend, policy, rule := *l.Pools[0], *l.Pools[0].Backends[0], *l.Policies[0], *l.Policies[0].Rules[0]
	pool.FailOpenBelow++
	backend.Weight++
	policy.Position++
	rule.Invert = !rule.Invert
	for what, changed := range map[string]bool{
		"pool":    pool.Etag() != l.Pools[0].Etag(),
		"backend": backend.Etag() != l.Pools[0].Backends[0].Etag(),
		"policy":  policy.Etag() != l.Policies[0].Etag(),
		"rule":    rule.Etag() != l.Policies[0].Rules[0].Etag(),
	} {
		if !changed {
			t.Errorf("%s: a copy has the etag of before its edit", what)
		}
	}
	// A part that was replaced shows in the whole, which was copied for it.
	pool.Backends = slices.Clone(pool.Backends)
	own := pool.Etag()
	pool.Backends[0] = &backend
	if pool.Etag() == own {
		t.Error("the pool's etag does not show another backend")
	}
	// Meta is no content.
	l.Pools[0].Backends[0].UpdatedAt = time.Unix(99, 0)
	if !slices.Equal(etags(l), before) {
		t.Error("etags changed")
	}
	wantTrueEtags(t, l)
	wantTrueEtags(t, Restore(full()))
}

// draftOf gives a draft over l that shares its objects, but for some at random,
// which are copies with one field changed.
func draftOf(l *LoadBalancer, random *rand.Rand) *LoadBalancer {
	draft := *l
	some := func() bool { return random.IntN(3) == 0 }
	draft.Listeners = slices.Clone(l.Listeners)
	for i, x := range draft.Listeners {
		if some() {
			draft.Listeners[i] = x.Clone()
		}
	}
	draft.Pools = slices.Clone(l.Pools)
	for i, x := range draft.Pools {
		if some() {
			c := *x
			c.Backends = slices.Clone(x.Backends)
			for j, b := range c.Backends {
				if some() {
					c.Backends[j] = b.Clone()
				}
			}
			draft.Pools[i] = &c
		}
	}
	draft.Policies = slices.Clone(l.Policies)
	for i, x := range draft.Policies {
		if some() {
			draft.Policies[i] = x.Clone()
		}
	}
	draft.Certificates = slices.Clone(l.Certificates)
	// Only what is a copy is changed.
	var mine []leaf
	collect := func(path string, x, of any) {
		if x != of {
			mine = append(mine, leaves(path, reflect.ValueOf(x).Elem())...)
		}
	}
	for i, x := range draft.Listeners {
		collect("listener", x, l.Listeners[i])
	}
	for i, x := range draft.Pools {
		for j, b := range x.Backends {
			collect("backend", b, l.Pools[i].Backends[j])
		}
	}
	for i, x := range draft.Policies {
		collect("policy", x, l.Policies[i])
	}
	for range random.IntN(3) {
		if len(mine) > 0 {
			mine[random.IntN(len(mine))].change()
		}
	}
	if some() {
		slices.Reverse(draft.Policies)
	}
	return &draft
}

// TestRenormalize: sharing changes nothing but what is shared.
func TestRenormalize(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	l, pristine := mustNormalize(t, full()), mustNormalize(t, full())
	good, bad := 0, 0
	for range 2000 {
		draft := draftOf(l, random)
		asWritten := draft.Clone()
		got, found := Renormalize(draft)
		if !reflect.DeepEqual(draft, asWritten) {
			t.Fatal("the draft changed")
		}
		want, violations := Normalize(draft)
		if !slices.Equal(found, violations) {
			t.Fatalf("violations %v, want %v", found, violations)
		}
		if !reflect.DeepEqual(l, pristine) {
			t.Fatal("the normal form changed")
		}
		if found != nil {
			bad++
			continue
		}
		good++
		if !reflect.DeepEqual(got, want) || got.Etag() != want.Etag() {
			t.Fatalf("another normal form: %v", Diff(want, got))
		}
		wantTrueEtags(t, got)
		for _, x := range draft.Policies {
			if x == l.Policy(x.Listener, x.Name) && got.Policy(x.Listener, x.Name) != x {
				t.Fatalf("policy %s is not shared", x.Name)
			}
		}
	}
	if good < 100 || bad < 100 {
		t.Errorf("%d good and %d bad drafts", good, bad)
	}
}
