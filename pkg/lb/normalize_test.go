package lb

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestNormalizeLeavesTheDraft(t *testing.T) {
	t.Parallel()
	draft, same := full(), full()
	slices.Reverse(draft.Pools)
	slices.Reverse(same.Pools)
	draft.Listeners[0].AllowedCIDRs = []netip.Prefix{netip.MustParsePrefix("10.9.9.9/8"), netip.MustParsePrefix("10.0.0.0/8")}
	same.Listeners[0].AllowedCIDRs = slices.Clone(draft.Listeners[0].AllowedCIDRs)
	l := mustNormalize(t, draft)
	if !reflect.DeepEqual(draft, same) {
		t.Error("the draft was changed")
	}
	if !reflect.DeepEqual(l.Listeners[0].AllowedCIDRs, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}) {
		t.Errorf("CIDRs: %v", l.Listeners[0].AllowedCIDRs)
	}
	if again := mustNormalize(t, l); !reflect.DeepEqual(again, l) || again == l {
		t.Error("a normal form is not its own normal form")
	}
	if restored := Restore(draft); !reflect.DeepEqual(restored, l) {
		t.Error("Restore gives another form than Normalize")
	}
}

func TestEmptyDrafts(t *testing.T) {
	t.Parallel()
	if l, violations := Normalize(nil); l != nil || violations.Error() != "there is no load balancer" {
		t.Errorf("nil: %v", violations)
	}
	draft := &LoadBalancer{
		Listeners: []*Listener{nil, {AllowedCIDRs: []netip.Prefix{{}}, TLS: &TLSConfig{}, Headers: &HeaderInsertion{ForwardedFor: 9}}},
		Pools:     []*Pool{nil, {Algorithm: 99, SlowStart: 1, Backends: []*Backend{nil}, HealthCheck: &HealthCheck{Type: 99, Interval: -1, HTTP: &HTTPCheck{Codes: []CodeRange{{9, 1}}}}}},
		Policies:  []*Policy{nil, {Rules: []*Rule{nil}, Position: 1, Action: 77}}, Certificates: []*Certificate{nil},
	}
	l, violations := Normalize(draft)
	if l != nil {
		t.Fatal("an empty draft is accepted")
	}
	text := violations.Error()
	for _, want := range []string{
		"name: is required", "vips: there is none", "listeners[0].port: 0 is not in 1-65535", "listeners[1].allowed_cidrs[0]: invalid Prefix is not a prefix",
		"listeners[1].insert_headers.x_forwarded_for: 9 is not a known X-Forwarded-For mode", "pools[1].algorithm: 99 is not a known pool algorithm",
		"pools[1].health_check.interval: -1ns is not in 100ms-1h", "pools[1].backends[0].address: is required", "l7_policies[1].action: 77 is not a known policy action",
		"pools[1].health_check.http.expected_codes: 9-1 is not a range of status codes", "certificates[0].certificate: is required",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if violations.Err() == nil || Violations(nil).Err() != nil {
		t.Error("Err: want nil exactly where there are none")
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	named := func(i int) Info { return Info{Name: fmt.Sprintf("n%d", i)} }
	long := func(i int) Info { return Info{Name: fmt.Sprintf("%059d-%d", 0, i)} }
	labels := map[string]string{"a": strings.Repeat("x", 255), "b": strings.Repeat("x", 255)}
	tests := []struct {
		name   string
		change func(l *LoadBalancer)
		want   string
	}{
		{"vips", func(l *LoadBalancer) {
			for a := netip.MustParseAddr("2001:db8::"); len(l.VIPs) < MaxVIPs+1; a = a.Next() {
				l.VIPs = append(l.VIPs, a)
			}
		}, "vips: there are 121, more than 120"},
		{"listeners", func(l *LoadBalancer) {
			for i := range MaxListeners {
				l.Listeners = append(l.Listeners, &Listener{Info: named(i), Port: uint16(i + 1000), Protocol: ListenerTCP})
			}
		}, "listeners: there are 1001, more than 1000"},
		{"pools", func(l *LoadBalancer) {
			for i := range MaxPools {
				l.Pools = append(l.Pools, &Pool{Info: named(i), Protocol: PoolTCP})
			}
		}, "pools: there are 1001, more than 1000"},
		{"backends", func(l *LoadBalancer) { l.Pools[0].Backends = many(MaxBackends+1, nil) }, "pools[0].backends: there are 5001, more than 5000"},
		{"as many backends as there may be", func(l *LoadBalancer) { l.Pools[0].Backends = many(MaxBackends, nil) }, ""},
		{"text of backends", func(l *LoadBalancer) { l.Pools[0].Backends = many(1000, labels) },
			"pools[0].backends: descriptions and labels have 512000 bytes together, more than 409600; shorten descriptions and labels"},
		{"policies", func(l *LoadBalancer) {
			for i := range MaxPolicies + 1 {
				l.Policies = append(l.Policies, &Policy{Info: named(i), Listener: "front", Action: Reject})
			}
		}, "l7_policies: there are 10001, more than 10000"},
		{"names", func(l *LoadBalancer) {
			l.Listeners[0].Name = strings.Repeat("f", 63)
			for i := range MaxPolicies {
				l.Policies = append(l.Policies, &Policy{Info: Info{Name: long(i % 1000).Name[:59] + fmt.Sprintf("%04d", i)}, Listener: l.Listeners[0].Name, Action: Reject})
			}
		}, "the names of all objects have 1580167 bytes together, more than 1048576; use shorter names, or several load balancers"},
		{"CIDRs", func(l *LoadBalancer) {
			for a := netip.MustParseAddr("10.0.0.0"); len(l.Listeners[0].AllowedCIDRs) < MaxAllowedCIDRs+1; a = a.Next() {
				l.Listeners[0].AllowedCIDRs = append(l.Listeners[0].AllowedCIDRs, netip.PrefixFrom(a, 32))
			}
		}, "listeners[0].allowed_cidrs: there are 1001, more than 1000"},
		{"codes", func(l *LoadBalancer) {
			h := &HTTPCheck{}
			for code := uint16(100); len(h.Codes) < 65; code += 2 {
				h.Codes = append(h.Codes, CodeRange{code, code})
			}
			l.Pools[0].HealthCheck = &HealthCheck{Type: CheckHTTP, HTTP: h}
		}, "pools[0].health_check.http.expected_codes: there are 65 ranges, more than 64; use ranges, such as 200-299"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			draft := small(ListenerHTTP, PoolHTTP)
			tt.change(draft)
			if _, violations := Normalize(draft); violations.Error() != tt.want {
				t.Errorf("got  %.300s\nwant %s", violations.Error(), tt.want)
			}
		})
	}
}

func many(n int, labels map[string]string) []*Backend {
	var out []*Backend
	for a := netip.MustParseAddr("10.0.0.1"); len(out) < n; a = a.Next() {
		out = append(out, &Backend{Info: Info{Name: fmt.Sprintf("b%d", len(out)), Labels: labels}, Address: a, Port: 80})
	}
	return out
}

// TestManyBadReferences keeps the cost of suggestions bounded: without the
// bound it is the square of what a message can hold.
func TestManyBadReferences(t *testing.T) {
	t.Parallel()
	draft := small(ListenerHTTP, PoolHTTP)
	for i := range 3000 {
		draft.Policies = append(draft.Policies, &Policy{Info: Info{Name: fmt.Sprintf("p%d", i)}, Listener: "front", Action: RedirectToPool, Pools: []WeightedPool{{"pooll", 1}}})
	}
	_, violations := Normalize(draft)
	suggested := 0
	for _, v := range violations {
		if v.Remedy == `did you mean "pool"?` {
			suggested++
		}
	}
	if len(violations) != 3000 || suggested != suggestionLimit {
		t.Errorf("%d violations, %d with a suggestion, want 3000 and %d", len(violations), suggested, suggestionLimit)
	}
}

func TestPositions(t *testing.T) {
	t.Parallel()
	draft := small(ListenerHTTP, PoolHTTP)
	draft.Listeners = append(draft.Listeners, &Listener{Info: Info{Name: "other"}, Port: 2, Protocol: ListenerHTTP})
	for i, position := range []uint32{0, 30, 0, 10, 0} {
		draft.Policies = append(draft.Policies, &Policy{Info: Info{Name: fmt.Sprintf("p%d", i)}, Listener: "front", Position: position, Action: Reject})
	}
	draft.Policies = append(draft.Policies, &Policy{Info: Info{Name: "p0"}, Listener: "other", Action: Reject})
	l := mustNormalize(t, draft)
	var got []string
	for _, p := range l.Policies {
		got = append(got, fmt.Sprintf("%s/%s %d", p.Listener, p.Name, p.Position))
	}
	if want := []string{"front/p3 10", "front/p1 30", "front/p0 31", "front/p2 32", "front/p4 33", "other/p0 1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRuleNames(t *testing.T) {
	t.Parallel()
	names := func(rules ...*Rule) []string {
		draft := small(ListenerHTTPS, PoolHTTP)
		draft.Policies = []*Policy{{Info: Info{Name: "x"}, Listener: "front", Action: Reject, Rules: rules}}
		var out []string
		for _, r := range mustNormalize(t, draft).Policies[0].Rules {
			if ValidName(r.Name) != nil {
				t.Errorf("%q is no name", r.Name)
			}
			out = append(out, r.Name)
		}
		return out
	}
	a := func() *Rule { return &Rule{Type: RulePath, Compare: StartsWith, Value: "/a"} }
	b := func() *Rule { return &Rule{Type: RuleSSLConnHasCert, Compare: EqualTo, Value: "True"} }
	first := names(a())[0]
	if !strings.HasPrefix(first, "path-starts-with-") {
		t.Errorf("name %q", first)
	}
	taken := a()
	taken.Name = first
	inverted := a()
	inverted.Invert = true
	got := names(b(), a(), taken, a(), inverted)
	if !strings.HasPrefix(got[0], "ssl-conn-has-cert-") || got[1] != first+"-2" || got[2] != first || got[3] != first+"-3" || strings.HasPrefix(got[4], first) {
		t.Errorf("names %q", got)
	}
	canonical := b()
	canonical.Value = "true"
	if other := names(canonical); other[0] != got[0] {
		t.Errorf("the same rule is called %q and %q", other[0], got[0])
	}
}

// TestStoredKeys: what becomes of a sealed key is decided by whose it is.
func TestStoredKeys(t *testing.T) {
	t.Parallel()
	l := full()
	c := l.Certificates[1]
	c.Key = PrivateKey{}
	if got := mustNormalize(t, l).Certificate("main"); got.Sealed == nil {
		t.Error("the stored key is gone")
	}
	c.Sealed.SPKI = []byte("another")
	if _, violations := Normalize(l); len(violations) != 1 || violations[0].Path != "certificates[1].private_key" {
		t.Errorf("a stored key of another certificate: %v", violations)
	}
	_, key := serverPair()
	c.Key = NewPrivateKey(key)
	if got := mustNormalize(t, l).Certificate("main"); got.Sealed != nil || got.Key.IsZero() {
		t.Error("a new key does not replace the stored one")
	}
}
