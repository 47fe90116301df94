package lb

import (
	"net/netip"
	"slices"
	"strings"
)

// AddressPolicy is which addresses the operator lets tenants use. A backend's
// address is a way into the operator's network, and a VIP could be somebody
// else's address.
type AddressPolicy struct {
	// VIPCIDRs are where VIPs may come from. Loopback addresses always may be
	// VIPs; with no CIDRs, nothing else may.
	VIPCIDRs []netip.Prefix
	// BackendDenyCIDRs are where backends, and their monitor addresses, may not
	// be. A load balancer all of whose VIPs are loopback addresses is exempt:
	// only processes of the node itself can reach it.
	BackendDenyCIDRs []netip.Prefix
}

// DefaultBackendDenyCIDRs are loopback, link-local and multicast (RFC 6890).
func DefaultBackendDenyCIDRs() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("127.0.0.0/8"),
		netip.MustParsePrefix("169.254.0.0/16"),
		netip.MustParsePrefix("224.0.0.0/4"),
		netip.MustParsePrefix("::1/128"),
		netip.MustParsePrefix("fe80::/10"),
		netip.MustParsePrefix("ff00::/8"),
	}
}

// Check gives a violation for each address the operator does not allow. It
// reads drafts as well as normal forms; paths count in the order of l. What is
// no address at all is left to [Normalize].
func (p AddressPolicy) Check(l *LoadBalancer) Violations {
	var c checker
	allLoopback := len(l.VIPs) > 0
	for i, a := range l.VIPs {
		if a = a.Unmap(); !a.IsValid() || a.IsLoopback() {
			continue
		}
		allLoopback = false
		if _, ok := containing(p.VIPCIDRs, a); !ok {
			remedy := "ask the operator for addresses: VIPs may only be loopback addresses here"
			if len(p.VIPCIDRs) > 0 {
				remedy = "choose one in " + list(p.VIPCIDRs)
			}
			c.report(item("vips", i), remedy, "%s is not in the operator's ranges for VIPs", a)
		}
	}
	if allLoopback {
		return c.found
	}
	for i, pool := range l.Pools {
		if pool == nil {
			continue
		}
		for j, b := range pool.Backends {
			if b == nil {
				continue
			}
			c.lazily(func() string { return item(item("pools", i)+".backends", j) }, func(path string) {
				p.backend(&c, path+".address", b.Address)
				p.backend(&c, path+".monitor_address", b.MonitorAddress)
			})
		}
	}
	return c.found
}

func (p AddressPolicy) backend(c *checker, path string, a netip.Addr) {
	if denied, found := containing(p.BackendDenyCIDRs, a.Unmap()); found {
		c.report(path, "choose an address outside the controller's --backend-deny-cidrs",
			"%s is in %s, where the operator allows no backends", a.Unmap(), denied)
	}
}

func containing(prefixes []netip.Prefix, a netip.Addr) (netip.Prefix, bool) {
	i := slices.IndexFunc(prefixes, func(p netip.Prefix) bool { return maskPrefix(p).Contains(a.WithZone("")) })
	if i < 0 {
		return netip.Prefix{}, false
	}
	return prefixes[i], true
}

func list(prefixes []netip.Prefix) string { return strings.Join(texts(prefixes), ", ") }
