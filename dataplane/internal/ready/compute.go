// Package ready tells the BGP agent of the node, over a unix socket, which
// VIPs the node can serve, and learns from it which are announced.
package ready

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/fiberlb/fiberlb/pkg/snapshot"
	agentv1 "github.com/fiberlb/fiberlb/proto/fiberlb/agent/v1"
)

// Input is the state of a node from which readiness follows.
type Input struct {
	Node      string
	Loaded    bool // a configuration is in force
	Version   snapshot.Version
	Draining  bool
	Listeners []Listener
	Pools     map[string]Pool
	// Present tells whether a VIP is on its interface and, if not, why.
	Present func(netip.Addr) (bool, string)
}

// Listener as it stands.
type Listener struct {
	Name string
	Pool string // full name; empty: none
	// Bound tells per address whether its socket is open; if not, why.
	Bound map[netip.Addr]error
	// Leaving addresses are no longer in the configuration.
	Leaving []netip.Addr
}

// Pool as it stands.
type Pool struct {
	Backends, Healthy int
	// Serves is true when the pool would give a connection to some backend.
	Serves bool
}

// Compute derives readiness: a VIP is ready when a configuration is in force,
// its address is present, all its listeners are bound, and at least one of
// them has somewhere to send traffic.
func Compute(in Input) *agentv1.Readiness {
	vips := map[netip.Addr]*collector{}
	at := func(vip netip.Addr) *collector {
		if vips[vip] == nil {
			vips[vip] = &collector{pools: map[string]Pool{}}
		}
		return vips[vip]
	}
	for _, l := range in.Listeners {
		for vip, fault := range l.Bound {
			if slices.Contains(l.Leaving, vip) {
				at(vip)
				continue
			}
			at(vip).add(l, fault, in.Pools)
		}
	}
	out := &agentv1.Readiness{Node: in.Node, Version: in.Version.Proto(), Draining: in.Draining}
	for _, vip := range slices.SortedFunc(maps.Keys(vips), netip.Addr.Compare) {
		out.Vips = append(out.Vips, vips[vip].readiness(vip, in))
	}
	return out
}

// collector gathers what the listeners of one VIP say.
type collector struct {
	listeners, bound int
	fault            string
	serves           bool
	pools            map[string]Pool
}

func (c *collector) add(l Listener, fault error, pools map[string]Pool) {
	c.listeners++
	if fault == nil {
		c.bound++
	} else if msg := fmt.Sprintf("%s is not bound: %v", l.Name, fault); c.fault == "" || msg < c.fault {
		c.fault = msg
	}
	if p, ok := pools[l.Pool]; ok {
		c.pools[l.Pool] = p
		c.serves = c.serves || p.Serves
	}
}

func (c *collector) readiness(vip netip.Addr, in Input) *agentv1.VipReadiness {
	present, absence := in.Present(vip)
	r := &agentv1.VipReadiness{
		Vip: vip.String(), Revision: in.Version.Revision, AddressPresent: present,
		Listeners: uint32(c.listeners), ListenersBound: uint32(c.bound), Removing: c.listeners == 0,
	}
	for _, name := range slices.SortedFunc(maps.Keys(c.pools), cmp.Compare) {
		p := c.pools[name]
		r.Pools = append(r.Pools, &agentv1.PoolReadiness{Pool: name, Backends: uint32(p.Backends), Healthy: uint32(p.Healthy)})
	}
	switch {
	case !in.Loaded:
		r.Reason = "no configuration is in force yet"
	case r.Removing:
		r.Reason = "the VIP has left the configuration"
	case !present:
		r.Reason = absence
	case c.bound < c.listeners:
		r.Reason = c.fault
	case !c.serves:
		r.Reason = "no listener has a healthy backend"
	default:
		r.Ready = true
	}
	return r
}
