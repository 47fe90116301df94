// Package compile turns a load balancer into what a node of certain capabilities runs for it.
//
// It is a pure function: no clock, no I/O, no order of maps. Every load balancer is compiled by itself, so that the
// configuration of a node is the union of its load balancers' results, and a change costs what the load balancer holds, not
// what there is besides.
package compile

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/maglev"
	"github.com/fiberlb/fiberlb/pkg/snapshot"
)

// Result is what a load balancer compiles to. It is immutable.
type Result struct {
	Resources   []*snapshot.Resource // sorted by kind and name
	Diagnostics []Diagnostic         // sorted by resource
}

// Diagnostic tells why something of a load balancer does not take effect on a node.
type Diagnostic struct {
	Resource string // full name of the object
	Message  string // why, and what to do
}

// Compile gives what a node with these capabilities runs for the load balancer.
//
// What is disabled is left out: of a load balancer everything, of a pool the pool, so that its listeners close their
// connections. A pool is there only for a listener that is. What the node cannot do is left out with a diagnostic, and what
// uses it goes on without it: a listener closes its connections, a pool counts its backends as up.
func Compile(l *lb.LoadBalancer, caps Capabilities) *Result {
	c := compiler{lb: l, caps: caps, result: &Result{}, pools: make(map[string]string)}
	if l.Enabled {
		for _, x := range l.Listeners {
			c.listener(x)
		}
		for _, x := range l.Policies {
			c.policy(x)
		}
	}
	slices.SortFunc(c.result.Resources, func(x, y *snapshot.Resource) int { return x.Ref.Compare(y.Ref) })
	slices.SortStableFunc(c.result.Diagnostics, func(x, y Diagnostic) int { return strings.Compare(x.Resource, y.Resource) })
	return c.result
}

// Selects tells whether a node with these labels serves the load balancer: all the selector's labels are among them.
func Selects(l *lb.LoadBalancer, labels map[string]string) bool {
	for key, value := range l.NodeSelector {
		if have, ok := labels[key]; !ok || have != value {
			return false
		}
	}
	return true
}

type compiler struct {
	lb     *lb.LoadBalancer
	caps   Capabilities
	result *Result

	// pools that listeners asked for, by short name: their full names, empty for those left out.
	pools map[string]string
}

func (c *compiler) listener(x *lb.Listener) {
	if !x.Enabled {
		return
	}
	name := lb.ListenerName(c.lb.Project, c.lb.Name, x.Name)
	needs := []need{{"protocol " + x.Protocol.String() + " needs", Word(x.Protocol)}}
	if len(x.AllowedCIDRs) > 0 {
		needs = append(needs, need{"allowed_cidrs needs", ListenerAllowedCIDRs})
	}
	if x.ConnectionLimit > 0 {
		needs = append(needs, need{"connection_limit needs", ListenerConnectionLimit})
	}
	if !c.can(name, needs) {
		return
	}
	c.emit(snapshot.EncodeListener(name, &snapshot.Listener{
		VIPs:            c.lb.VIPs,
		Port:            x.Port,
		Protocol:        x.Protocol,
		DefaultPool:     c.poolNamed(x.DefaultPool),
		ConnectionLimit: x.ConnectionLimit,
		AllowedCIDRs:    x.AllowedCIDRs,
		ConnectTimeout:  x.Timeouts.Connect,
		TCPIdleTimeout:  x.Timeouts.TCPIdle,
	}))
}

// policy has no form of its own: policies are part of their listener's resource, which has room for none yet.
func (c *compiler) policy(x *lb.Policy) {
	if listener := c.lb.Listener(x.Listener); x.Enabled && listener != nil && listener.Enabled {
		c.can(lb.PolicyName(c.lb.Project, c.lb.Name, x.Listener, x.Name), []need{{"l7 policies need", Policy}})
	}
}

// poolNamed emits the pool unless that is done, and gives its full name; empty where it is left out.
func (c *compiler) poolNamed(short string) string {
	if short == "" {
		return ""
	}
	full, done := c.pools[short]
	if !done {
		if p := c.lb.Pool(short); p != nil && p.Enabled {
			full = c.pool(p)
		}
		c.pools[short] = full
	}
	return full
}

func (c *compiler) pool(x *lb.Pool) string {
	name := lb.PoolName(c.lb.Project, c.lb.Name, x.Name)
	out := &snapshot.Pool{
		Protocol:            x.Protocol,
		Algorithm:           x.Algorithm,
		SlowStart:           x.SlowStart,
		DeregistrationDelay: x.DeregistrationDelay,
		FailOpenBelow:       x.FailOpenBelow,
		HashVersion:         maglev.HashVersion,
		TableSize:           maglev.DefaultSize,
	}
	needs := []need{
		{"protocol " + x.Protocol.String() + " needs", Word(x.Protocol)},
		{"algorithm " + x.Algorithm.String() + " needs", Word(x.Algorithm)},
	}
	if x.Persistence != nil {
		out.Persistence = x.Persistence.Type
		needs = append(needs, need{"persistence " + out.Persistence.String() + " needs", Word(out.Persistence)})
	}
	if x.SlowStart > 0 {
		needs = append(needs, need{"slow_start needs", PoolSlowStart})
	}
	if x.FailOpenBelow > 0 {
		needs = append(needs, need{"fail_open_below needs", PoolFailOpen})
	}
	if slices.ContainsFunc(x.Backends, func(b *lb.Backend) bool { return b.Backup }) {
		needs = append(needs, need{"a backup backend needs", PoolBackup})
	}
	if !c.can(name, needs) {
		return ""
	}
	out.Backends = backends(x.Backends)
	out.HealthCheck = c.healthCheck(x)
	c.emit(snapshot.EncodePool(name, out))
	return name
}

func backends(list []*lb.Backend) []snapshot.Backend {
	out := make([]snapshot.Backend, len(list))
	for i, b := range list {
		monitor := netip.AddrPortFrom(b.Address, b.Port)
		if b.MonitorAddress.IsValid() {
			monitor = netip.AddrPortFrom(b.MonitorAddress, monitor.Port())
		}
		if b.MonitorPort != 0 {
			monitor = netip.AddrPortFrom(monitor.Addr(), b.MonitorPort)
		}
		out[i] = snapshot.Backend{
			Name:     b.Name,
			Addr:     netip.AddrPortFrom(b.Address, b.Port),
			Weight:   b.Weight,
			Backup:   b.Backup,
			Draining: !b.Enabled,
			Monitor:  monitor,
		}
	}
	return out
}

func (c *compiler) healthCheck(p *lb.Pool) string {
	x := p.HealthCheck
	if x == nil || !x.Enabled {
		return ""
	}
	name := lb.HealthCheckName(c.lb.Project, c.lb.Name, p.Name, x.Name)
	if !c.can(name, []need{{"type " + x.Type.String() + " needs", Word(x.Type)}}) {
		return ""
	}
	c.emit(snapshot.EncodeHealthCheck(name, &snapshot.HealthCheck{
		Type:               x.Type,
		Interval:           x.Interval,
		Timeout:            x.Timeout,
		HealthyThreshold:   x.HealthyThreshold,
		UnhealthyThreshold: x.UnhealthyThreshold,
		HTTP:               x.HTTP,
	}))
	return name
}

// need is a capability that an object takes, and the words for why: "protocol tcp needs".
type need struct{ reason, word string }

// can tells whether all needs are met, and notes those that are not.
func (c *compiler) can(resource string, needs []need) bool {
	met := true
	for _, n := range needs {
		var message string
		switch {
		case !c.caps.Has(n.word):
			message = fmt.Sprintf("%s %q, which the node's data plane (version %s) does not have: "+
				"upgrade it, or keep the load balancer off the node by its node_selector", n.reason, n.word, c.caps.version)
		case !forms.Has(n.word):
			message = fmt.Sprintf("%s %q, which this controller has no form for: upgrade the controller", n.reason, n.word)
		default:
			continue
		}
		met = false
		c.result.Diagnostics = append(c.result.Diagnostics, Diagnostic{Resource: resource, Message: message})
	}
	return met
}

func (c *compiler) emit(r *snapshot.Resource) { c.result.Resources = append(c.result.Resources, r) }
