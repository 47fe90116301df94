package lb

import (
	"net/netip"
	"strings"
	"testing"
)

func TestAddressPolicy(t *testing.T) {
	t.Parallel()
	policy := AddressPolicy{
		VIPCIDRs:         []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::/32")},
		BackendDenyCIDRs: append(DefaultBackendDenyCIDRs(), netip.MustParsePrefix("10.9.0.0/16")),
	}
	tests := []struct {
		name, vips, backend, monitor string
		want                         string
	}{
		{"allowed", "203.0.113.1", "10.0.0.1", "10.0.0.2", ""},
		{"allowed IPv6", "2001:db8::1", "fd00::1", "", ""},
		{"loopback always", "127.9.9.9", "10.0.0.1", "", ""},
		{"loopback IPv6 always", "::1", "10.0.0.1", "", ""},
		{"VIP outside", "192.0.2.1", "10.0.0.1", "", "vips[0]: 192.0.2.1 is not in the operator's ranges for VIPs; choose one in 203.0.113.0/24, 2001:db8::/32"},
		{"VIP outside in disguise", "::ffff:192.0.2.1", "10.0.0.1", "", "vips[0]: 192.0.2.1 is not in the operator's ranges for VIPs; choose one in 203.0.113.0/24, 2001:db8::/32"},
		{"loopback backend", "203.0.113.1", "127.0.0.1", "", "pools[0].backends[0].address: 127.0.0.1 is in 127.0.0.0/8, where the operator allows no backends; choose an address outside the controller's --backend-deny-cidrs"},
		{"loopback backend in disguise", "203.0.113.1", "::ffff:127.0.0.1", "", "pools[0].backends[0].address: 127.0.0.1 is in 127.0.0.0/8, where the operator allows no backends; choose an address outside the controller's --backend-deny-cidrs"},
		{"loopback backend IPv6", "203.0.113.1", "::1", "", "pools[0].backends[0].address: ::1 is in ::1/128, where the operator allows no backends; choose an address outside the controller's --backend-deny-cidrs"},
		{"metadata service", "203.0.113.1", "169.254.169.254", "", "pools[0].backends[0].address: 169.254.169.254 is in 169.254.0.0/16, where the operator allows no backends; choose an address outside the controller's --backend-deny-cidrs"},
		{"link-local with zone", "203.0.113.1", "fe80::1%eth0", "", "pools[0].backends[0].address: fe80::1%eth0 is in fe80::/10, where the operator allows no backends; choose an address outside the controller's --backend-deny-cidrs"},
		{"operator's own", "203.0.113.1", "10.9.1.1", "", "pools[0].backends[0].address: 10.9.1.1 is in 10.9.0.0/16, where the operator allows no backends; choose an address outside the controller's --backend-deny-cidrs"},
		{"monitor", "203.0.113.1", "10.0.0.1", "127.0.0.1", "pools[0].backends[0].monitor_address: 127.0.0.1 is in 127.0.0.0/8, where the operator allows no backends; choose an address outside the controller's --backend-deny-cidrs"},
		{"all loopback", "127.0.0.1", "127.0.0.1", "169.254.169.254", ""},
		{"not all loopback", "127.0.0.1 203.0.113.1", "127.0.0.1", "", "pools[0].backends[0].address: 127.0.0.1 is in 127.0.0.0/8, where the operator allows no backends; choose an address outside the controller's --backend-deny-cidrs"},
		{"no VIPs", "", "127.0.0.1", "", "pools[0].backends[0].address: 127.0.0.1 is in 127.0.0.0/8, where the operator allows no backends; choose an address outside the controller's --backend-deny-cidrs"},
		{"no address", "203.0.113.1", "", "", ""},
	}
	for _, tt := range tests {
		l := &LoadBalancer{Pools: []*Pool{{Backends: []*Backend{{}, nil}}, nil}}
		for _, text := range strings.Fields(tt.vips) {
			l.VIPs = append(l.VIPs, netip.MustParseAddr(text))
		}
		if tt.backend != "" {
			l.Pools[0].Backends[0].Address = netip.MustParseAddr(tt.backend)
		}
		if tt.monitor != "" {
			l.Pools[0].Backends[0].MonitorAddress = netip.MustParseAddr(tt.monitor)
		}
		if got := policy.Check(l).Error(); got != tt.want {
			t.Errorf("%s: got  %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

func TestParsePrefix(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"10.1.2.3/8": "10.0.0.0/8", "10.1.2.3": "10.1.2.3/32", "2001:db8::1/32": "2001:db8::/32", "::1": "::1/128",
		"::ffff:10.1.2.3/104": "10.0.0.0/8", "::ffff:10.1.2.3": "10.1.2.3/32", "0.0.0.0/0": "0.0.0.0/0",
	} {
		if p, err := ParsePrefix(text); err != nil || p.String() != want {
			t.Errorf("%s is %v, %v, want %s", text, p, err, want)
		}
	}
	for _, text := range []string{"", "10.0.0.0/33", "10.0.0/8", "fe80::1%eth0", "fe80::%eth0/64", "10.0.0.0/08", "x"} {
		if p, err := ParsePrefix(text); err == nil {
			t.Errorf("%q is %v", text, p)
		}
	}
}
