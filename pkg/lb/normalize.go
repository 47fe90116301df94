package lb

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// Limits of one load balancer.
const (
	MaxVIPs         = 120
	MaxListeners    = 1000
	MaxPools        = 1000
	MaxPolicies     = 10_000 // of all listeners together
	MaxCertificates = 1000
	MaxBackends     = 5000 // of one pool
	MaxRules        = 50   // of one policy
	MaxLabels       = 64
	MaxAllowedCIDRs = 1000
	MaxText         = 255 // bytes of descriptions, labels, rule values and keys

	MaxConnectionLimit = 10_000_000
	MaxWeight          = 256
	MaxPosition        = 1<<31 - 1

	// Stored, a pool's backends are one value, and so are a policy's rules, and
	// so is the list of everything in the load balancer; etcd takes 1.5 MiB a
	// request. maxLooseText bounds the descriptions and labels in one of the
	// former, maxNames the names in the latter, each with nameOverhead bytes.
	maxLooseText = 400 << 10
	maxNames     = 1 << 20
	nameOverhead = 32
)

// Normalize gives the normal form of a draft, or everything that is wrong with
// it: exactly one of its results is nil. Defaults are filled in, names and
// positions that were left out are assigned, everything is sorted, masked and
// checked. The draft stays as it is; paths of violations count in its order.
// Normalizing a normal form gives an equal one.
func Normalize(draft *LoadBalancer) (*LoadBalancer, Violations) {
	if draft == nil {
		return nil, Violations{{Problem: "there is no load balancer"}}
	}
	return normalize(draft.Clone())
}

// Renormalize is [Normalize] for an edit of a normal form that costs what is
// edited: objects of the draft that are those of a normal form, not copies of
// them, become part of the result. They are checked as all others are.
func Renormalize(draft *LoadBalancer) (*LoadBalancer, Violations) {
	return normalize(draft.share())
}

// normalize makes l the normal form of itself.
func normalize(l *LoadBalancer) (*LoadBalancer, Violations) {
	fill(l)
	c := newScope(l)
	c.loadBalancer()
	if len(c.found) > 0 {
		return nil, c.found
	}
	arrange(l)
	for _, x := range l.Certificates {
		if !x.frozen(x) {
			x.dropStaleKey()
		}
	}
	l.Freeze()
	return l, nil
}

// Restore makes a draft its own normal form, which was checked when it was
// written: what the store read back. It checks nothing, so that a rule that
// has become stricter since makes nothing unreadable.
func Restore(draft *LoadBalancer) *LoadBalancer {
	fill(draft)
	arrange(draft)
	draft.Freeze()
	return draft
}

// scope checks a filled load balancer; the maps resolve references.
type scope struct {
	checker
	l            *LoadBalancer
	listeners    map[string]*Listener
	pools        map[string]*Pool
	certificates map[string]*Certificate
}

func newScope(l *LoadBalancer) *scope {
	return &scope{l: l, listeners: index(l.Listeners), pools: index(l.Pools), certificates: index(l.Certificates)}
}

func index[T named](list []T) map[string]T {
	m := make(map[string]T, len(list))
	for _, x := range list {
		if _, taken := m[x.info().Name]; !taken {
			m[x.info().Name] = x
		}
	}
	return m
}

func (c *scope) loadBalancer() {
	l := c.l
	c.identity("", &l.Info)
	if ValidName(l.Project) != nil {
		c.report("project", labelRemedy, "%s is not a DNS label", Quote(l.Project))
	}
	c.vips()
	c.labels("node_selector", l.NodeSelector)
	c.count("listeners", len(l.Listeners), MaxListeners)
	names := newNames(c, "listeners")
	ports := make(map[string]string)
	for i, x := range l.Listeners {
		names.add(i, x.Name)
		c.listener(item("listeners", i), x, ports)
	}
	c.count("pools", len(l.Pools), MaxPools)
	names = newNames(c, "pools")
	for i, x := range l.Pools {
		names.add(i, x.Name)
		c.pool(item("pools", i), x)
	}
	c.count("l7_policies", len(l.Policies), MaxPolicies)
	c.policies()
	c.count("certificates", len(l.Certificates), MaxCertificates)
	names = newNames(c, "certificates")
	for i, x := range l.Certificates {
		names.add(i, x.Name)
		c.certificate(item("certificates", i), x)
	}
	c.nameSize()
}

// nameSize keeps the list of everything in the load balancer storable.
func (c *scope) nameSize() {
	l, n := c.l, 0
	for _, x := range l.Listeners {
		n += len(x.Name) + nameOverhead
	}
	for _, x := range l.Pools {
		n += 2 * (len(x.Name) + nameOverhead) // backends are listed under the name too
	}
	for _, x := range l.Policies {
		n += len(x.Listener) + len(x.Name) + nameOverhead
	}
	for _, x := range l.Certificates {
		n += len(x.Name) + nameOverhead
	}
	if n > maxNames {
		c.report("", "use shorter names, or several load balancers", "the names of all objects have %d bytes together, more than %d", n, maxNames)
	}
}

func (c *scope) vips() {
	if len(c.l.VIPs) == 0 {
		c.report("vips", "give at least one address", "there is none")
	}
	c.count("vips", len(c.l.VIPs), MaxVIPs)
	seen := make(map[netip.Addr]int)
	for i, a := range c.l.VIPs {
		path := item("vips", i)
		if !c.unicast(path, a) {
			continue
		}
		if first, again := seen[a]; again {
			c.report(path, "remove one of them", "%s is also vips[%d]", a, first)
		} else {
			seen[a] = i
		}
	}
}

// unicast reports an address that no single host can have, or that is good
// only together with an interface.
func (c *checker) unicast(path string, a netip.Addr) bool {
	problem := ""
	switch {
	case !a.IsValid():
		c.report(path, `give an IPv4 or IPv6 address, such as "203.0.113.10"`, "is required")
		return false
	case a.Zone() != "":
		problem = "has a zone"
	case a.IsUnspecified():
		problem = "is the unspecified address"
	case a.IsMulticast():
		problem = "is a multicast address"
	case a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		problem = "is the broadcast address"
	case a.Is6() && a.IsLinkLocalUnicast():
		problem = "is a link-local address, which means nothing without an interface"
	default:
		return true
	}
	c.report(path, "give the unicast address of a host", "%s %s", a, problem)
	return false
}

// identity checks what all objects have in common; prefix is the object's path.
func (c *checker) identity(prefix string, x *Info) {
	switch path := at(prefix, "name"); {
	case x.Name == "":
		c.report(path, labelRemedy, "is required")
	case !isLabel(x.Name):
		c.report(path, labelRemedy, "%s is not a DNS label", Quote(x.Name))
	}
	c.loose(prefix, x)
}

// loose checks description and labels.
func (c *checker) loose(prefix string, x *Info) {
	if len(x.Description) > MaxText {
		c.report(at(prefix, "description"), "", "has %d bytes, more than %d", len(x.Description), MaxText)
	} else if !printable(x.Description) {
		c.report(at(prefix, "description"), "", "%s is not plain UTF-8 text", Quote(x.Description))
	}
	c.labels(at(prefix, "labels"), x.Labels)
}

func (c *checker) labels(path string, labels map[string]string) {
	c.count(path, len(labels), MaxLabels)
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		path := path + "[" + Quote(key) + "]"
		if key == "" {
			c.report(path, "", "the key is empty")
		}
		c.text(path, key, MaxText)
		c.text(path, labels[key], MaxText)
	}
}

func (c *checker) count(path string, n, limit int) {
	if n > limit {
		c.report(path, "", "there are %d, more than %d", n, limit)
	}
}

// between reports a duration outside its bounds, and tells whether it is within.
func (c *checker) between(path string, d, low, high time.Duration) bool {
	if d < low || d > high {
		c.report(path, "", "%s is not in %s-%s", d, FormatDuration(low), FormatDuration(high))
		return false
	}
	return true
}

// names finds what has a name that is taken.
type names struct {
	c     *checker
	list  string
	first map[string]int
}

func newNames(c *scope, list string) *names {
	return &names{c: &c.checker, list: list, first: make(map[string]int)}
}

func (n *names) add(i int, name string) {
	if name == "" {
		return
	}
	if first, taken := n.first[name]; taken {
		n.c.report(item(n.list, i)+".name", "give it a name of its own", "%s is also the name of %s", Quote(name), item(n.list, first))
		return
	}
	n.first[name] = i
}

// looseSize is how many bytes of free text objects carry.
func looseSize[T named](list []T) int {
	n := 0
	for _, x := range list {
		n += len(x.info().Description)
		for k, v := range x.info().Labels {
			n += len(k) + len(v)
		}
	}
	return n
}

func (c *checker) looseText(path string, n int) {
	if n > maxLooseText {
		c.report(path, "shorten descriptions and labels", "descriptions and labels have %d bytes together, more than %d", n, maxLooseText)
	}
}

func item(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }

func at(prefix, field string) string {
	if prefix == "" {
		return field
	}
	return prefix + "." + field
}

func errNotPrefix(s string) error {
	return fmt.Errorf("%s is not a CIDR such as \"192.0.2.0/24\" or \"2001:db8::/32\"", Quote(s))
}
