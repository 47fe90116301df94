package lb

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Defaults of what is left out. Where zero is a value of its own (weight,
// deregistration delay, everything that is true by default) the decoder fills
// in the default, since a draft cannot tell zero from "left out".
const (
	DefaultProject             = "default"
	DefaultEnabled             = true
	DefaultWeight              = 1
	DefaultAlgorithm           = RoundRobin
	DefaultDeregistrationDelay = 300 * time.Second

	DefaultClientTimeout  = 50 * time.Second
	DefaultConnectTimeout = 5 * time.Second
	DefaultBackendTimeout = 50 * time.Second
	DefaultIdleTimeout    = 60 * time.Second
	DefaultTCPIdleTimeout = 350 * time.Second

	DefaultMinVersion   = TLS12
	DefaultClientAuth   = ClientAuthNone
	DefaultForwardedFor = ForwardedForAppend
	DefaultCookieName   = "SERVERID"

	DefaultHealthCheckName    = "default"
	DefaultInterval           = 5 * time.Second
	DefaultTimeout            = 2 * time.Second // or half the interval where that is less
	DefaultHealthyThreshold   = 2
	DefaultUnhealthyThreshold = 3
	DefaultCheckMethod        = "GET"
	DefaultCheckPath          = "/"
	DefaultCheckCode          = 200

	DefaultRedirectCode = 302
	DefaultRejectCode   = 403
	DefaultContentType  = "text/plain"
)

// DefaultALPN is what an https listener offers, in order of preference.
func DefaultALPN() []string { return []string{"h2", "http/1.1"} }

// fill brings a draft into normal form as far as each object alone allows:
// defaults, empty collections as nil, sets sorted and unique, addresses
// unmapped, prefixes masked, PEM without comments. The order of objects stays
// that of the draft, so that paths can tell where a fault stands. What is part
// of a normal form already is shared with it, and stays as it is.
func fill(l *LoadBalancer) {
	l.Project = cmp.Or(l.Project, DefaultProject)
	l.Labels = filled(l.Labels)
	l.NodeSelector = filled(l.NodeSelector)
	for i, a := range l.VIPs {
		l.VIPs[i] = a.Unmap()
	}
	l.VIPs = orNil(l.VIPs)
	l.Listeners = present(l.Listeners)
	l.Pools = present(l.Pools)
	l.Policies = present(l.Policies)
	l.Certificates = present(l.Certificates)
	for _, x := range l.Listeners {
		if !x.frozen(x) {
			x.fill()
		}
	}
	for _, x := range l.Pools {
		if !x.frozen(x) {
			x.fill()
		}
	}
	for _, x := range l.Policies {
		if !x.frozen(x) {
			x.fill()
		}
	}
	fillPositions(l.Policies)
	for _, x := range l.Certificates {
		if !x.frozen(x) {
			x.fill()
		}
	}
}

// present replaces missing elements by empty ones, which the checks then
// complain about, and an empty list by nil.
func present[T any](list []*T) []*T {
	for i, x := range list {
		if x == nil {
			list[i] = new(T)
		}
	}
	return orNil(list)
}

func orNil[T any](list []T) []T {
	if len(list) == 0 {
		return nil
	}
	return list
}

func filled(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	return m
}

func (x *Listener) fill() {
	x.Labels = filled(x.Labels)
	t := &x.Timeouts
	t.Client = cmp.Or(t.Client, DefaultClientTimeout)
	t.Connect = cmp.Or(t.Connect, DefaultConnectTimeout)
	t.Backend = cmp.Or(t.Backend, DefaultBackendTimeout)
	t.Idle = cmp.Or(t.Idle, DefaultIdleTimeout)
	t.TCPIdle = cmp.Or(t.TCPIdle, DefaultTCPIdleTimeout)
	for i, p := range x.AllowedCIDRs {
		x.AllowedCIDRs[i] = maskPrefix(p)
	}
	x.AllowedCIDRs = orNil(x.AllowedCIDRs)
	if x.Headers == nil && x.Protocol.IsHTTP() {
		x.Headers = &HeaderInsertion{ForwardedPort: true, ForwardedProto: true}
	}
	if x.Headers != nil {
		x.Headers.ForwardedFor = cmp.Or(x.Headers.ForwardedFor, DefaultForwardedFor)
	}
	if x.TLS == nil {
		return
	}
	x.TLS.MinVersion = cmp.Or(x.TLS.MinVersion, DefaultMinVersion)
	x.TLS.ClientAuth = cmp.Or(x.TLS.ClientAuth, DefaultClientAuth)
	x.TLS.SNICertificates = orNil(x.TLS.SNICertificates)
	x.TLS.CipherSuites = orNil(x.TLS.CipherSuites)
	x.TLS.ALPN = orNil(x.TLS.ALPN)
	if x.TLS.ALPN == nil && x.Protocol == ListenerHTTPS {
		x.TLS.ALPN = DefaultALPN()
	}
}

// maskPrefix clears the host bits and takes an IPv4 prefix out of its
// IPv4-mapped IPv6 form (RFC 4291 section 2.5.5.2). What is not valid stays.
func maskPrefix(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	if m := p.Masked(); m.IsValid() {
		return m
	}
	return p
}

func (x *Pool) fill() {
	x.Labels = filled(x.Labels)
	x.Algorithm = cmp.Or(x.Algorithm, DefaultAlgorithm)
	if p := x.Persistence; p != nil && p.Type == PersistCookie {
		p.CookieName = cmp.Or(p.CookieName, DefaultCookieName)
	}
	x.Backends = present(x.Backends)
	for _, b := range x.Backends {
		if !b.frozen(b) {
			b.fill()
		}
	}
	if h := x.HealthCheck; h != nil && !h.frozen(h) {
		h.fill()
	}
}

func (x *Backend) fill() {
	x.Labels = filled(x.Labels)
	x.Address = x.Address.Unmap()
	x.MonitorAddress = x.MonitorAddress.Unmap()
	if x.MonitorAddress == x.Address {
		x.MonitorAddress = netip.Addr{}
	}
	if x.MonitorPort == x.Port {
		x.MonitorPort = 0
	}
}

func (x *HealthCheck) fill() {
	x.Name = cmp.Or(x.Name, DefaultHealthCheckName)
	x.Labels = filled(x.Labels)
	x.Interval = cmp.Or(x.Interval, DefaultInterval)
	x.Timeout = cmp.Or(x.Timeout, min(DefaultTimeout, x.Interval/2))
	x.HealthyThreshold = cmp.Or(x.HealthyThreshold, DefaultHealthyThreshold)
	x.UnhealthyThreshold = cmp.Or(x.UnhealthyThreshold, DefaultUnhealthyThreshold)
	if x.HTTP == nil && x.Type.IsHTTP() {
		x.HTTP = &HTTPCheck{}
	}
	if h := x.HTTP; h != nil {
		h.Method = cmp.Or(h.Method, DefaultCheckMethod)
		h.Path = cmp.Or(h.Path, DefaultCheckPath)
		h.Codes = mergeCodes(h.Codes)
		if len(h.Codes) == 0 {
			h.Codes = []CodeRange{{DefaultCheckCode, DefaultCheckCode}}
		}
	}
}

func (x *Policy) fill() {
	x.Labels = filled(x.Labels)
	x.Pools = orNil(x.Pools)
	switch x.Action {
	case RedirectToURL, RedirectPrefix:
		x.StatusCode = cmp.Or(x.StatusCode, DefaultRedirectCode)
	case Reject:
		x.StatusCode = cmp.Or(x.StatusCode, DefaultRejectCode)
	}
	if r := x.FixedResponse; r != nil {
		r.ContentType = cmp.Or(r.ContentType, DefaultContentType)
	}
	x.Rules = present(x.Rules)
	taken := make(map[string]bool, len(x.Rules))
	for _, r := range x.Rules {
		r.fill()
		taken[r.Name] = true
	}
	for _, r := range x.Rules {
		if r.Name == "" {
			r.Name = r.deriveName(taken)
			taken[r.Name] = true
		}
	}
}

// fillPositions puts policies without a position after the last of their
// listener, in the order written.
func fillPositions(policies []*Policy) {
	last := make(map[string]uint32)
	for _, p := range policies {
		last[p.Listener] = max(last[p.Listener], p.Position)
	}
	for _, p := range policies {
		if p.Position == 0 {
			p.Position = last[p.Listener] + 1
			last[p.Listener] = p.Position
		}
	}
}

func (x *Rule) fill() {
	x.Labels = filled(x.Labels)
	switch x.Type {
	case RuleSourceIP:
		if p, err := ParsePrefix(x.Value); err == nil {
			x.Value = p.String()
		}
	case RuleSSLConnHasCert:
		if strings.EqualFold(x.Value, "true") {
			x.Value = "true" // Octavia writes "True"
		}
	}
}

// deriveName makes a name from the rule's content, such as
// "path-starts-with-5d41402a", so that the same rule has the same name
// wherever and whenever it is written. A number tells equal rules apart.
func (x *Rule) deriveName(taken map[string]bool) string {
	var content digest
	for _, s := range []string{x.Type.String(), x.Compare.String(), x.Value, x.Key, strconv.FormatBool(x.Invert)} {
		content = appendString(content, s)
	}
	hash := sha256.Sum256(content)
	words := x.Type.String()
	switch {
	case len(ruleTraits[x.Type].compares) == 0 || x.Compare == 0 || x.Compare > Contains:
		words = "rule" // to be refused, but not for its name
	case x.Type != RuleSSLConnHasCert:
		words += "-" + x.Compare.String()
	}
	base := strings.ReplaceAll(words, "_", "-") + "-" + hex.EncodeToString(hash[:4])
	name := base
	for n := 2; taken[name]; n++ {
		name = base + "-" + strconv.Itoa(n)
	}
	return name
}

// ParsePrefix reads a CIDR, or a single address as the prefix that holds just
// that. Host bits are cleared, IPv4-mapped prefixes are unmapped.
func ParsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, errNotPrefix(s)
	}
	return maskPrefix(p), nil
}

// arrange sorts what a filled load balancer holds.
func arrange(l *LoadBalancer) {
	slices.SortFunc(l.VIPs, netip.Addr.Compare)
	byName(l.Listeners)
	for _, x := range l.Listeners {
		if x.frozen(x) {
			continue
		}
		slices.SortFunc(x.AllowedCIDRs, netip.Prefix.Compare)
		x.AllowedCIDRs = slices.Compact(x.AllowedCIDRs)
	}
	byName(l.Pools)
	byName(l.Certificates)
	for _, p := range l.Pools {
		if !p.frozen(p) {
			byName(p.Backends)
		}
	}
	for _, p := range l.Policies {
		if p.frozen(p) {
			continue
		}
		slices.SortStableFunc(p.Pools, func(a, b WeightedPool) int { return strings.Compare(a.Pool, b.Pool) })
	}
	slices.SortStableFunc(l.Policies, func(a, b *Policy) int {
		return cmp.Or(strings.Compare(a.Listener, b.Listener), cmp.Compare(a.Position, b.Position))
	})
}

func byName[T named](list []T) {
	slices.SortStableFunc(list, func(a, b T) int { return strings.Compare(a.info().Name, b.info().Name) })
}
