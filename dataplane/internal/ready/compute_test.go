package ready

import (
	"errors"
	"net/netip"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/fiberlb/fiberlb/pkg/snapshot"
	agentv1 "github.com/fiberlb/fiberlb/proto/fiberlb/agent/v1"
)

var (
	vip1 = netip.MustParseAddr("192.0.2.1")
	vip2 = netip.MustParseAddr("2001:db8::1")
)

func bound(vips ...netip.Addr) map[netip.Addr]error {
	m := map[netip.Addr]error{}
	for _, v := range vips {
		m[v] = nil
	}
	return m
}

// input is a node on which vip1 is ready.
func input(change func(*Input)) Input {
	in := Input{
		Node: "n", Loaded: true, Version: snapshot.Version{Cluster: "c", Revision: 7},
		Listeners: []Listener{{Name: "l", Pool: "p", Bound: bound(vip1)}},
		Pools:     map[string]Pool{"p": {Backends: 2, Healthy: 1, Serves: true}, "down": {Backends: 2}},
		Present:   func(netip.Addr) (bool, string) { return true, "" },
	}
	if change != nil {
		change(&in)
	}
	return in
}

func TestCompute(t *testing.T) {
	t.Parallel()
	busy := errors.New("address already in use")
	pool := []*agentv1.PoolReadiness{{Pool: "p", Backends: 2, Healthy: 1}}
	tests := []struct {
		name   string
		change func(*Input)
		want   *agentv1.VipReadiness
	}{
		{"ready", nil, &agentv1.VipReadiness{Ready: true, AddressPresent: true, Listeners: 1, ListenersBound: 1, Pools: pool}},
		{"nothing in force", func(in *Input) { in.Loaded = false },
			&agentv1.VipReadiness{Reason: "no configuration is in force yet", AddressPresent: true, Listeners: 1, ListenersBound: 1, Pools: pool}},
		{"address absent", func(in *Input) { in.Present = func(netip.Addr) (bool, string) { return false, "it is not on eth0" } },
			&agentv1.VipReadiness{Reason: "it is not on eth0", Listeners: 1, ListenersBound: 1, Pools: pool}},
		{"one of two listeners not bound", func(in *Input) {
			in.Listeners = append(in.Listeners, Listener{Name: "m", Pool: "p", Bound: map[netip.Addr]error{vip1: busy}})
		}, &agentv1.VipReadiness{Reason: "m is not bound: address already in use", AddressPresent: true, Listeners: 2, ListenersBound: 1, Pools: pool}},
		{"two listeners not bound", func(in *Input) {
			in.Listeners = []Listener{
				{Name: "m", Bound: map[netip.Addr]error{vip1: busy}}, {Name: "k", Bound: map[netip.Addr]error{vip1: busy}}}
		}, &agentv1.VipReadiness{Reason: "k is not bound: address already in use", AddressPresent: true, Listeners: 2}},
		{"no healthy backend", func(in *Input) { in.Listeners[0].Pool = "down" },
			&agentv1.VipReadiness{Reason: "no listener has a healthy backend", AddressPresent: true, Listeners: 1, ListenersBound: 1,
				Pools: []*agentv1.PoolReadiness{{Pool: "down", Backends: 2}}}},
		{"no pool", func(in *Input) { in.Listeners[0].Pool = "" },
			&agentv1.VipReadiness{Reason: "no listener has a healthy backend", AddressPresent: true, Listeners: 1, ListenersBound: 1}},
		{"one of two pools serves", func(in *Input) {
			in.Listeners = append(in.Listeners, Listener{Name: "a", Pool: "down", Bound: bound(vip1)})
		}, &agentv1.VipReadiness{Ready: true, AddressPresent: true, Listeners: 2, ListenersBound: 2,
			Pools: []*agentv1.PoolReadiness{{Pool: "down", Backends: 2}, pool[0]}}},
		{"leaves", func(in *Input) { in.Listeners[0].Leaving = []netip.Addr{vip1} },
			&agentv1.VipReadiness{Reason: "the VIP has left the configuration", AddressPresent: true, Removing: true}},
		{"leaves one listener of two", func(in *Input) {
			in.Listeners = append(in.Listeners, Listener{Name: "m", Pool: "p", Bound: bound(vip1), Leaving: []netip.Addr{vip1}})
		}, &agentv1.VipReadiness{Ready: true, AddressPresent: true, Listeners: 1, ListenersBound: 1, Pools: pool}},
		{"draining is the agent's business", func(in *Input) { in.Draining = true },
			&agentv1.VipReadiness{Ready: true, AddressPresent: true, Listeners: 1, ListenersBound: 1, Pools: pool}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			in := input(tc.change)
			tc.want.Vip, tc.want.Revision = vip1.String(), 7
			want := &agentv1.Readiness{
				Node: "n", Version: in.Version.Proto(), Draining: in.Draining, Vips: []*agentv1.VipReadiness{tc.want}}
			if got := Compute(in); !proto.Equal(got, want) {
				t.Errorf("got  %v\nwant %v", got, want)
			}
		})
	}
}

func TestComputeEveryVIPByItself(t *testing.T) {
	t.Parallel()
	r := Compute(input(func(in *Input) {
		in.Listeners[0].Bound[vip2] = errors.New("cannot assign requested address")
	}))
	if len(r.Vips) != 2 || r.Vips[0].Vip != vip1.String() || r.Vips[1].Vip != vip2.String() {
		t.Fatalf("VIPs %v, want both in order", r.Vips)
	}
	if !r.Vips[0].Ready || r.Vips[1].Ready {
		t.Errorf("got %v, want the first ready and the second not", r.Vips)
	}
	if empty := Compute(Input{Node: "n"}); len(empty.Vips) != 0 {
		t.Errorf("an empty node has VIPs %v", empty.Vips)
	}
}
