package lb

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

// leaf is one place in a value, and how to change it to something else.
type leaf struct {
	path   string
	change func()
}

// leaves finds every place below v, by reflection, so that no field that is
// added to the types can be forgotten here.
func leaves(path string, v reflect.Value) []leaf {
	switch x := v.Addr().Interface().(type) {
	case *netip.Addr:
		return []leaf{{path, func() { *x = netip.MustParseAddr("198.51.100.77") }}}
	case *netip.Prefix:
		return []leaf{{path, func() { *x = netip.MustParsePrefix("198.51.100.0/24") }}}
	case *time.Time:
		return []leaf{{path, func() { *x = x.Add(time.Hour) }}}
	case *PrivateKey:
		return []leaf{{path, func() { *x = NewPrivateKey(x.Reveal() + "x") }}}
	}
	var out []leaf
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if !v.Type().Field(i).IsExported() {
				continue // what an object remembers: see TestCopiesRememberNoEtags
			}
			out = append(out, leaves(path+"."+v.Type().Field(i).Name, v.Field(i))...)
		}
	case reflect.Pointer:
		if !v.IsNil() {
			out = append(out, leaf{path, func() { v.SetZero() }})
			out = append(out, leaves(path, v.Elem())...)
		}
	case reflect.Slice:
		if v.Len() > 0 {
			out = append(out, leaf{path + "[-]", func() { v.SetLen(v.Len() - 1) }})
		}
		for i := range v.Len() {
			x := v.Index(i)
			if x.Kind() == reflect.Pointer {
				x = x.Elem() // lists have no nil elements
			}
			out = append(out, leaves(fmt.Sprintf("%s[%d]", path, i), x)...)
		}
	case reflect.Map:
		out = append(out, leaf{path, func() { v.SetMapIndex(reflect.ValueOf("new"), reflect.ValueOf("x")) }})
	case reflect.String:
		out = append(out, leaf{path, func() { v.SetString(v.String() + "x") }})
	case reflect.Bool:
		out = append(out, leaf{path, func() { v.SetBool(!v.Bool()) }})
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		out = append(out, leaf{path, func() { v.SetUint(v.Uint() + 1) }})
	case reflect.Int64:
		out = append(out, leaf{path, func() { v.SetInt(v.Int() + 1) }})
	default:
		panic(path + " is of a kind that this test does not know: " + v.Type().String())
	}
	return out
}

// isContent tells whether what lies at path is part of an object's content.
func isContent(path string) bool {
	for _, part := range []string{".Meta.", ".Key", ".Sealed"} {
		if strings.Contains(path, part) && !strings.HasSuffix(path, "Rules[0].Key") && !strings.HasSuffix(path, "Rules[1].Key") {
			return false
		}
	}
	return true
}

// TestEveryFieldCounts changes one field after the other: the etag and Diff
// see all that is content, and nothing else; a clone shares none of it.
func TestEveryFieldCounts(t *testing.T) {
	t.Parallel()
	original, pristine := mustNormalize(t, full()), mustNormalize(t, full())
	count := 0
	for i := 0; ; i++ {
		changed := original.Clone()
		all := leaves("", reflect.ValueOf(changed).Elem())
		if i == len(all) {
			break
		}
		if strings.HasSuffix(all[i].path, ".Chain") {
			continue // shown by what PEM holds, which a byte more does not change
		}
		all[i].change()
		count++
		if !reflect.DeepEqual(original, pristine) {
			t.Fatalf("%s: the clone shares it", all[i].path)
		}
		content := isContent(all[i].path)
		if (original.Etag() != changed.Etag()) != content {
			t.Errorf("%s: etag changes: %v, want %v", all[i].path, !content, content)
		}
		if changes := Diff(original, changed); (len(changes) > 0) != content {
			t.Errorf("%s: changes %v, want some: %v", all[i].path, changes, content)
		}
		if changes := Diff(changed, original); (len(changes) > 0) != content {
			t.Errorf("%s: changes backwards %v, want some: %v", all[i].path, changes, content)
		}
	}
	if count < 200 {
		t.Errorf("only %d fields were looked at", count)
	}
}

// TestDiffAgreesWithEtag makes random pairs of relatives.
func TestDiffAgreesWithEtag(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	base := mustNormalize(t, full())
	for range 300 {
		a, b := base.Clone(), base.Clone()
		for _, l := range []*LoadBalancer{a, b} {
			for range random.IntN(3) {
				all := leaves("", reflect.ValueOf(l).Elem())
				all[random.IntN(len(all))].change()
			}
		}
		if same := a.Etag() == b.Etag(); same != (len(Diff(a, b)) == 0) || same != (len(Diff(b, a)) == 0) {
			t.Fatalf("same etag: %v, changes: %v", same, Diff(a, b))
		}
	}
}

func TestEtags(t *testing.T) {
	t.Parallel()
	l := mustNormalize(t, full())
	seen := map[string]string{}
	for what, etag := range map[string]string{
		"load balancer": l.Etag(), "own": l.OwnEtag(), "listener": l.Listeners[0].Etag(), "pool": l.Pools[0].Etag(),
		"backend": l.Pools[0].Backends[0].Etag(), "health check": l.Pools[0].HealthCheck.Etag(),
		"policy": l.Policies[0].Etag(), "rule": l.Policies[0].Rules[0].Etag(), "certificate": l.Certificates[0].Etag(),
	} {
		if len(etag) != 32 || strings.Trim(etag, "0123456789abcdef") != "" {
			t.Errorf("%s: %q is not 32 hexadecimal digits", what, etag)
		}
		if other, taken := seen[etag]; taken {
			t.Errorf("%s and %s have the same etag", what, other)
		}
		seen[etag] = what
	}
	other := l.Clone()
	other.Pools[0].Backends[0].Weight++
	if other.OwnEtag() != l.OwnEtag() || other.Pools[0].Etag() == l.Pools[0].Etag() || other.Etag() == l.Etag() {
		t.Error("a backend's change: want the pool's and the whole etag changed, the own one kept")
	}
	// What is written down must stay: stored nowhere, but held by clients across upgrades.
	rule := &Rule{Info: Info{Name: "r"}, Type: RulePath, Compare: EqualTo, Value: "/", Enabled: true}
	if got, want := rule.Etag(), "f1780d782cfb6772032677d189b7a7f8"; got != want {
		t.Errorf("etag %s, want %s: etags must not change between builds", got, want)
	}
	sealed := l.Clone()
	sealed.Certificates[1].Key = PrivateKey{}
	if sealed.Etag() != l.Etag() {
		t.Error("a sealed key gives another etag than the plain one")
	}
}

func TestPrivateKeyHides(t *testing.T) {
	t.Parallel()
	type holder struct {
		Key PrivateKey
		key PrivateKey
	}
	k := NewPrivateKey("hunter2")
	c := &Certificate{Key: k}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%t"} {
		for _, v := range []any{k, &k, holder{k, k}, &holder{k, k}, []PrivateKey{k}, c, *c} {
			if s := fmt.Sprintf(verb, v); strings.Contains(s, "hunter2") || strings.Contains(s, "68756e74657232") {
				t.Errorf("%s of %T shows %s", verb, v, s)
			}
		}
	}
	if k.Reveal() != "hunter2" || k.String() != "[private key]" || k.IsZero() || !NewPrivateKey("").IsZero() || NewPrivateKey("") != (PrivateKey{}) {
		t.Error("a key does not hold what it was given")
	}
}
