package lb

import (
	"maps"
	"slices"
)

// Clone makes a deep copy: nothing that can change is shared. Nil gives nil.
func (l *LoadBalancer) Clone() *LoadBalancer {
	if l == nil {
		return nil
	}
	c := *l
	c.Info = l.Info.clone()
	c.VIPs = slices.Clone(l.VIPs)
	c.NodeSelector = maps.Clone(l.NodeSelector)
	c.Listeners = each(l.Listeners, (*Listener).Clone)
	c.Pools = each(l.Pools, (*Pool).Clone)
	c.Policies = each(l.Policies, (*Policy).Clone)
	c.Certificates = each(l.Certificates, (*Certificate).Clone)
	return &c
}

// share is Clone but for the objects of normal forms, which are shared with l.
func (l *LoadBalancer) share() *LoadBalancer {
	c := *l
	c.Info = l.Info.clone()
	c.VIPs = slices.Clone(l.VIPs)
	c.NodeSelector = maps.Clone(l.NodeSelector)
	c.Listeners = each(l.Listeners, func(x *Listener) *Listener { return unless(x.frozen(x), x, (*Listener).Clone) })
	c.Pools = each(l.Pools, (*Pool).share)
	c.Policies = each(l.Policies, func(x *Policy) *Policy { return unless(x.frozen(x), x, (*Policy).Clone) })
	c.Certificates = each(l.Certificates, func(x *Certificate) *Certificate { return unless(x.frozen(x), x, (*Certificate).Clone) })
	return &c
}

func (x *Pool) share() *Pool {
	if x.frozen(x) {
		return x
	}
	own := *x
	own.HealthCheck, own.Backends = nil, nil
	c := own.Clone()
	if h := x.HealthCheck; h != nil {
		c.HealthCheck = unless(h.frozen(h), h, (*HealthCheck).Clone)
	}
	c.Backends = each(x.Backends, func(b *Backend) *Backend { return unless(b.frozen(b), b, (*Backend).Clone) })
	return c
}

func unless[T any](kept bool, x *T, clone func(*T) *T) *T {
	if kept {
		return x
	}
	return clone(x)
}

func (i Info) clone() Info {
	i.Labels = maps.Clone(i.Labels)
	return i
}

func each[T any](in []*T, clone func(*T) *T) []*T {
	if in == nil {
		return nil
	}
	out := make([]*T, len(in))
	for i, x := range in {
		if x != nil {
			out[i] = clone(x)
		}
	}
	return out
}

func shallow[T any](x *T) *T {
	if x == nil {
		return nil
	}
	c := *x
	return &c
}

// Clone makes a deep copy.
func (x *Listener) Clone() *Listener {
	c := *x
	c.Info = x.Info.clone()
	c.AllowedCIDRs = slices.Clone(x.AllowedCIDRs)
	c.Headers = shallow(x.Headers)
	if x.TLS != nil {
		t := *x.TLS
		t.SNICertificates = slices.Clone(t.SNICertificates)
		t.CipherSuites = slices.Clone(t.CipherSuites)
		t.ALPN = slices.Clone(t.ALPN)
		t.HSTS = shallow(t.HSTS)
		c.TLS = &t
	}
	return &c
}

// Clone makes a deep copy.
func (x *Pool) Clone() *Pool {
	c := *x
	c.Info = x.Info.clone()
	c.Persistence = shallow(x.Persistence)
	if x.HealthCheck != nil {
		c.HealthCheck = x.HealthCheck.Clone()
	}
	c.Backends = each(x.Backends, (*Backend).Clone)
	return &c
}

// Clone makes a deep copy.
func (x *Backend) Clone() *Backend {
	c := *x
	c.Info = x.Info.clone()
	return &c
}

// Clone makes a deep copy.
func (x *HealthCheck) Clone() *HealthCheck {
	c := *x
	c.Info = x.Info.clone()
	if x.HTTP != nil {
		h := *x.HTTP
		h.Codes = slices.Clone(h.Codes)
		c.HTTP = &h
	}
	return &c
}

// Clone makes a deep copy.
func (x *Policy) Clone() *Policy {
	c := *x
	c.Info = x.Info.clone()
	c.Pools = slices.Clone(x.Pools)
	c.FixedResponse = shallow(x.FixedResponse)
	c.Rules = each(x.Rules, (*Rule).Clone)
	return &c
}

// Clone makes a deep copy.
func (x *Rule) Clone() *Rule {
	c := *x
	c.Info = x.Info.clone()
	return &c
}

// Clone makes a deep copy.
func (x *Certificate) Clone() *Certificate {
	c := *x
	c.Info = x.Info.clone()
	if x.Sealed != nil {
		s := *x.Sealed
		for _, b := range []*[]byte{&s.KEKID, &s.Wrapped, &s.WrapNonce, &s.Ciphertext, &s.Nonce, &s.SPKI} {
			*b = slices.Clone(*b)
		}
		c.Sealed = &s
	}
	return &c
}

// Listener gives the listener of that name, nil where there is none.
func (l *LoadBalancer) Listener(name string) *Listener { return find(l.Listeners, name) }

// Pool gives the pool of that name, nil where there is none.
func (l *LoadBalancer) Pool(name string) *Pool { return find(l.Pools, name) }

// Certificate gives the certificate of that name, nil where there is none.
func (l *LoadBalancer) Certificate(name string) *Certificate { return find(l.Certificates, name) }

// Policy gives the policy of that name on the listener, nil where there is none.
func (l *LoadBalancer) Policy(listener, name string) *Policy {
	for _, p := range l.Policies {
		if p.Listener == listener && p.Name == name {
			return p
		}
	}
	return nil
}

// ListenerPolicies gives the policies of a listener, by position.
func (l *LoadBalancer) ListenerPolicies(listener string) []*Policy {
	var out []*Policy
	for _, p := range l.Policies {
		if p.Listener == listener {
			out = append(out, p)
		}
	}
	return out
}

// Backend gives the backend of that name, nil where there is none.
func (x *Pool) Backend(name string) *Backend { return find(x.Backends, name) }

// Rule gives the rule of that name, nil where there is none.
func (x *Policy) Rule(name string) *Rule { return find(x.Rules, name) }

func find[T named](list []T, name string) T {
	for _, x := range list {
		if x.info().Name == name {
			return x
		}
	}
	var none T
	return none
}

// named is what all objects have in common.
type named interface{ info() *Info }

func (i *Info) info() *Info { return i }
