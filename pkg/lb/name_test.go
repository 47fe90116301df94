package lb

import (
	"strings"
	"testing"
)

func TestParseName(t *testing.T) {
	t.Parallel()
	for full, want := range map[string]Path{
		"projects/p":                        {Kind: KindProject, Project: "p", Name: "p"},
		"nodes/n":                           {Kind: KindNode, Name: "n"},
		"nodes/n.rack7.example":             {Kind: KindNode, Name: "n.rack7.example"},
		"projects/p/loadBalancers/l":        {Kind: KindLoadBalancer, Project: "p", LB: "l", Name: "l"},
		ListenerName("p", "l", "x"):         {Kind: KindListener, Project: "p", LB: "l", Listener: "x", Name: "x"},
		PoolName("p", "l", "x"):             {Kind: KindPool, Project: "p", LB: "l", Pool: "x", Name: "x"},
		BackendName("p", "l", "x", "b"):     {Kind: KindBackend, Project: "p", LB: "l", Pool: "x", Name: "b"},
		HealthCheckName("p", "l", "x", "h"): {Kind: KindHealthCheck, Project: "p", LB: "l", Pool: "x", Name: "h"},
		PolicyName("p", "l", "x", "y"):      {Kind: KindPolicy, Project: "p", LB: "l", Listener: "x", Policy: "y", Name: "y"},
		RuleName("p", "l", "x", "y", "z"):   {Kind: KindRule, Project: "p", LB: "l", Listener: "x", Policy: "y", Name: "z"},
		CertificateName("p", "l", "c"):      {Kind: KindCertificate, Project: "p", LB: "l", Name: "c"},
		"projects/p/loadBalancers/l/listeners/x/l7Policies/y/rules/z": {Kind: KindRule, Project: "p", LB: "l", Listener: "x", Policy: "y", Name: "z"},
	} {
		got, err := ParseName(full)
		if got != want || err != nil {
			t.Errorf("%s: %+v, %v", full, got, err)
		}
		if got.String() != full {
			t.Errorf("%s comes back as %s", full, got)
		}
	}
	for full, want := range map[string]string{
		"":                            `"" is not a full name: expected projects/NAME, or nodes/NAME`,
		"web":                         `"web" is not a full name: expected projects/NAME, or nodes/NAME`,
		"projects":                    `"projects" is not a full name: expected a name after projects/`,
		"projects/":                   `"projects/" is not a full name: project name "" is not a DNS label`,
		"/projects/p":                 `"/projects/p" is not a full name: expected projects/NAME, or nodes/NAME`,
		"projects/p/":                 `"projects/p/" is not a full name: expected loadBalancers/NAME after "projects/p"`,
		"projects/p/loadBalancer/l":   `"projects/p/loadBalancer/l" is not a full name: expected loadBalancers/NAME after "projects/p"`,
		"projects/-/loadBalancers/l":  `"projects/-/loadBalancers/l" is not a full name: project name "-" is not a DNS label`,
		"projects/p/loadBalancers/L":  `"projects/p/loadBalancers/L" is not a full name: load balancer name "L" is not a DNS label`,
		"projects/p/loadBalancers/l/": `"projects/p/loadBalancers/l/" is not a full name: expected listeners/NAME, or pools/NAME, or certificates/NAME after "projects/p/loadBalancers/l"`,
		"projects/p/loadBalancers/l/pools/x/rules/r": `"projects/p/loadBalancers/l/pools/x/rules/r" is not a full name: expected backends/NAME, or healthChecks/NAME after "projects/p/loadBalancers/l/pools/x"`,
		"projects/p/nodes/n":                         `"projects/p/nodes/n" is not a full name: expected loadBalancers/NAME after "projects/p"`,
		"nodes/n/x/y":                                `"nodes/n/x/y" is not a full name: nothing follows a node`,
		"nodes/n..m":                                 `"nodes/n..m" is not a full name: node name "n..m" is not a host name`,
		"nodes/" + strings.Repeat("a.", 130) + "a":   `"nodes/` + strings.Repeat("a.", 37) + `"... is not a full name: node name`,
	} {
		if _, err := ParseName(full); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	if Kind(0).String() != "object" || KindHealthCheck.String() != "health check" || (Path{}).String() != "" {
		t.Error("kinds have other names")
	}
}

func FuzzParseName(f *testing.F) {
	f.Add("projects/p/loadBalancers/l/listeners/x/l7Policies/y/rules/z")
	f.Add("nodes/n.example")
	f.Fuzz(func(t *testing.T, full string) {
		if p, err := ParseName(full); err == nil && p.String() != full {
			t.Errorf("%q comes back as %q", full, p)
		}
	})
}

func TestLookups(t *testing.T) {
	t.Parallel()
	l := mustNormalize(t, full())
	if l.Listener("front") != l.Listeners[0] || l.Pool("spare") != l.Pools[1] || l.Certificate("main") != l.Certificates[1] ||
		l.Policy("front", "to") != l.Policies[1] || len(l.ListenerPolicies("front")) != 4 ||
		l.Pools[0].Backend("b2") != l.Pools[0].Backends[1] || l.Policies[0].Rule("r2") != l.Policies[0].Rules[1] {
		t.Error("something is not found")
	}
	if l.Listener("x") != nil || l.Pool("x") != nil || l.Certificate("x") != nil || l.Policy("front", "x") != nil || l.Policy("x", "to") != nil || l.ListenerPolicies("x") != nil {
		t.Error("something is found that is not there")
	}
	if (*LoadBalancer)(nil).Clone() != nil {
		t.Error("nil has a clone")
	}
}
