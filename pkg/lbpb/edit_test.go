package lbpb

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/fiberlb/fiberlb/pkg/canon"
	"github.com/fiberlb/fiberlb/pkg/lb"
	storev1 "github.com/fiberlb/fiberlb/proto/fiberlb/store/v1"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

// TestEditsDecodeWhatWasTouched edits one object of each kind.
func TestEditsDecodeWhatWasTouched(t *testing.T) {
	t.Parallel()
	l := stamped(t, base)
	tests := map[string]func(*fiberlbv1.LoadBalancerConfig, Origins){
		"nothing":       func(*fiberlbv1.LoadBalancerConfig, Origins) {},
		"load balancer": func(m *fiberlbv1.LoadBalancerConfig, _ Origins) { m.Description = "x" },
		"listener": func(m *fiberlbv1.LoadBalancerConfig, o Origins) {
			o.Touch(m.Listeners[0])
			m.Listeners[0].Description = "x"
		},
		"pool": func(m *fiberlbv1.LoadBalancerConfig, o Origins) {
			o.Touch(m.Pools[0])
			m.Pools[0].Description, m.Pools[0].HealthCheck.Description, m.Pools[0].Backends[0].Description = "x", "y", "z"
		},
		"health check": func(m *fiberlbv1.LoadBalancerConfig, o Origins) {
			o.Touch(m.Pools[0].HealthCheck)
			m.Pools[0].HealthCheck.Description = "x"
		},
		"no health check": func(m *fiberlbv1.LoadBalancerConfig, _ Origins) { m.Pools[0].HealthCheck = nil },
		"backend": func(m *fiberlbv1.LoadBalancerConfig, o Origins) {
			o.Touch(m.Pools[0].Backends[0])
			m.Pools[0].Backends[0].Weight = proto.Uint32(77)
		},
		"fewer backends": func(m *fiberlbv1.LoadBalancerConfig, _ Origins) { m.Pools[0].Backends = m.Pools[0].Backends[1:] },
		"policy": func(m *fiberlbv1.LoadBalancerConfig, o Origins) {
			o.Touch(m.L7Policies[0])
			m.L7Policies[0].Rules[0].Description = "x"
		},
		"certificate": func(m *fiberlbv1.LoadBalancerConfig, o Origins) {
			o.Touch(m.Certificates[0])
			m.Certificates[0].Description = "x"
		},
		"a fault": func(m *fiberlbv1.LoadBalancerConfig, o Origins) {
			o.Touch(m.Pools[0].Backends[1])
			m.Pools[0].Backends[1].Port = 99999
		},
		"a new backend's fault": func(m *fiberlbv1.LoadBalancerConfig, o Origins) {
			m.Pools[0].Backends = append(m.Pools[0].Backends, &fiberlbv1.Backend{Name: "new", Address: "nowhere"})
		},
	}
	for name, edit := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, origins := ToDraft(l)
			edit(m, origins)
			got, found := FromConfig(m, Unedited(origins), Over(l))
			want, violations := FromConfig(m, Over(l))
			if !reflect.DeepEqual(found, violations) {
				t.Fatalf("violations %v, want %v", found, violations)
			}
			if strings.Contains(name, "fault") != (found != nil) {
				t.Fatalf("violations %v", found)
			}
			if found != nil {
				return
			}
			same(t, got, want)
			if got.Etag() != got.Clone().Etag() {
				t.Error("a stale etag is remembered")
			}
			if changed := name != "nothing"; changed != (got.Etag() != l.Etag()) {
				t.Errorf("changed: %v, want %v", !changed, changed)
			}
			if last := len(l.Policies) - 1; last > 0 && got.Policies[last] != l.Policies[last] {
				t.Error("a policy that stayed the same is not shared")
			}
		})
	}
}

// TestAppendBackends holds the fast encoder against the general one.
func TestAppendBackends(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(5, 6))
	text := func() string { return strings.Repeat("é", random.IntN(3)*random.IntN(60)) }
	addr := func() netip.Addr {
		return [...]netip.Addr{{}, netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::1")}[random.IntN(3)]
	}
	for range 500 {
		pool := &lb.Pool{}
		for range random.IntN(5) {
			b := &lb.Backend{
				Info: lb.Info{Name: text(), Description: text()}, Address: addr(), MonitorAddress: addr(),
				Port: uint16(random.IntN(2) * random.IntN(65536)), MonitorPort: uint16(random.IntN(2) * random.IntN(65536)),
				Weight: uint16(random.IntN(257)), Backup: random.IntN(2) == 0, Enabled: random.IntN(2) == 0,
			}
			for i := range random.IntN(4) {
				if b.Labels == nil {
					b.Labels = map[string]string{}
				}
				b.Labels[fmt.Sprint(text(), i)] = text()
			}
			if random.IntN(3) > 0 {
				b.Meta = lb.Meta{UID: text(), CreatedAt: time.UnixMicro(random.Int64N(1 << 50)), UpdatedAt: time.UnixMicro(-random.Int64N(1 << 50))}
			}
			pool.Backends = append(pool.Backends, b)
		}
		if got, want := appendBackends(nil, pool), canon.Marshal(StoredBackends(pool)); !bytes.Equal(got, want) {
			t.Fatalf("got  %x\nwant %x", got, want)
		}
	}
	// What the encoder was written for; a new field has to be added there too.
	for m, fields := range map[proto.Message]int{
		&storev1.Child{}: 6, &storev1.BackendsChild{}: 1, &storev1.BackendEntry{}: 2, &storev1.Meta{}: 3, &fiberlbv1.Backend{}: 16,
	} {
		if n := m.ProtoReflect().Descriptor().Fields().Len(); n != fields {
			t.Errorf("%T has %d fields, the encoder knows %d", m, n, fields)
		}
	}
}
