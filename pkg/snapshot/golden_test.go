package snapshot

import (
	"encoding/hex"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/fiberlb/fiberlb/pkg/lb"
)

func testHealthCheck() *HealthCheck {
	return &HealthCheck{
		Type: lb.CheckHTTP, Interval: 5 * time.Second, Timeout: 1500 * time.Millisecond,
		HealthyThreshold: 2, UnhealthyThreshold: 3,
		HTTP: &lb.HTTPCheck{Method: "GET", Path: "/healthz", Host: "app.example", Codes: []lb.CodeRange{{First: 200, Last: 200}, {First: 204, Last: 206}}},
	}
}

func testPool() *Pool {
	return &Pool{
		Protocol: lb.PoolTCP, Algorithm: lb.Maglev, Persistence: lb.PersistSourceIP,
		HealthCheck: "projects/p/loadBalancers/l/pools/x/healthChecks/default",
		Backends: []Backend{
			{Name: "b1", Addr: netip.MustParseAddrPort("10.0.0.1:80"), Weight: 1, Monitor: netip.MustParseAddrPort("10.0.0.1:80")},
			{Name: "b2", Addr: netip.MustParseAddrPort("[2001:db8::2]:65535"), Weight: 256, Backup: true, Monitor: netip.MustParseAddrPort("10.9.9.9:8080")},
			{Name: "b3", Addr: netip.MustParseAddrPort("10.0.0.3:80"), Draining: true, Monitor: netip.MustParseAddrPort("10.0.0.3:81")},
		},
		SlowStart: 30 * time.Second, DeregistrationDelay: 5 * time.Minute, FailOpenBelow: 2,
		HashVersion: 1, TableSize: 65521,
	}
}

func testListener() *Listener {
	return &Listener{
		VIPs: []netip.Addr{netip.MustParseAddr("203.0.113.10"), netip.MustParseAddr("2001:db8::10")},
		Port: 443, Protocol: lb.ListenerTCP, DefaultPool: "projects/p/loadBalancers/l/pools/x", ConnectionLimit: 10_000,
		AllowedCIDRs:   []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")},
		ConnectTimeout: 5 * time.Second, TCPIdleTimeout: 350 * time.Second,
	}
}

// The bytes are what nodes have on disk and what replicas of other builds hash: a change of them is a change of the
// schema, not of this test.
func TestGoldenBytes(t *testing.T) {
	t.Parallel()
	const parent = "projects/p/loadBalancers/l/"
	tests := map[string]struct {
		resource *Resource
		value    any
		content  string
	}{
		"health check": {
			EncodeHealthCheck(parent+"pools/x/healthChecks/default", testHealthCheck()), testHealthCheck(),
			"080110882718dc0b2002280332034745543a082f6865616c74687a420608c80110c801420608cc0110ce014a0b6170702e6578616d706c65",
		},
		"pool": {
			EncodePool(parent+"pools/x", testPool()), testPool(),
			"080110061801323770726f6a656374732f702f6c6f616442616c616e636572732f6c2f706f6f6c732f782f6865616c7468436865636b732f64656661756c74" +
				"3a120a026231120831302e302e302e31185020013a270a026232120b323030313a6462383a3a3218ffff0320800228013a0831302e392e392e3940903f" +
				"3a140a026233120831302e302e302e3318503001405140b0ea0148e0a7125002580160f1ff03",
		},
		"listener": {
			EncodeListener(parent+"listeners/x", testListener()), testListener(),
			"0a0c3230332e302e3131332e31300a0c323030313a6462383a3a313010bb031801222270726f6a656374732f702f6c6f616442616c616e636572732f6c2f70" +
				"6f6f6c732f7828904e320a31302e302e302e302f38320d323030313a6462383a3a2f333238882740b0ae15",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := hex.EncodeToString(test.resource.Content); got != test.content {
				t.Errorf("content is\n%s, want\n%s", got, test.content)
			}
			value, err := test.resource.Decode()
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(value, test.value) {
				t.Errorf("decoded to\n%+v, want\n%+v", value, test.value)
			}
		})
	}
}

func TestGoldenDigest(t *testing.T) {
	t.Parallel()
	set := NewSet([]*Resource{
		EncodePool("projects/p/loadBalancers/l/pools/x", testPool()),
		EncodeListener("projects/p/loadBalancers/l/listeners/x", testListener()),
	})
	const want = "878b362637c87f98542d5f51e8b10aeffab324568f72536f1c16a689a2aae953"
	if got := set.Digest().String(); got != want {
		t.Errorf("digest is %s, want %s", got, want)
	}
}
