// Package lbpb owns the way between the public API's messages and the
// vocabulary of package lb, in both directions, and the forms in which load
// balancers are stored.
//
// Decoding checks everything at once: what a message can say and a type of lb
// cannot (port 99999, an unknown enumeration number, text that is no address)
// and all that [lb.Normalize] checks, in one list in the order of the message.
package lbpb

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/fiberlb/fiberlb/pkg/lb"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

// decoder turns messages into drafts and collects what cannot be said in one.
type decoder struct {
	found lb.Violations
	// stored: the message was checked when it was written, so that only what a
	// draft cannot hold is refused, not what is out of today's bounds.
	stored bool
	// kept are messages that stand for objects of a normal form as these are.
	kept Origins
	// renamed is where the message says what Normalize finds under another path.
	renamed map[string]string
}

func (d *decoder) report(path, remedy, format string, args ...any) {
	d.found = append(d.found, lb.Violation{Path: path, Problem: fmt.Sprintf(format, args...), Remedy: remedy})
}

// within gives n, or 0 and a violation where it is outside its bounds.
func within[T ~uint8 | ~uint16 | ~uint32](d *decoder, path string, n, low, high uint32) T {
	if d.stored && uint32(T(n)) == n {
		return T(n)
	}
	if n < low || n > high {
		d.report(path, "", "%d is not in %d-%d", n, low, high)
		return 0
	}
	return T(n)
}

func enum[T lb.Enum](d *decoder, path string, n int32) T {
	v, ok := lb.FromNumber[T](n)
	if !ok {
		d.report(path, "choose one of "+strings.Join(lb.Words[T](), ", "), "%d is not a known %s", n, lb.KindOf[T]())
	}
	return v
}

// weight gives the default for what is not set, and for what is no weight.
func (d *decoder) weight(path string, n *uint32) uint16 {
	if n == nil {
		return lb.DefaultWeight
	}
	before := len(d.found)
	if w := within[uint16](d, path, *n, 0, lb.MaxWeight); len(d.found) == before {
		return w
	}
	return lb.DefaultWeight
}

// duration gives 0 for what is not set. Zero where low is above it is refused
// here, since a draft takes it for "not set".
func (d *decoder) duration(path string, m *durationpb.Duration, low, high time.Duration) time.Duration {
	if m == nil {
		return 0
	}
	v := m.AsDuration()
	switch {
	case m.CheckValid() != nil || v == math.MaxInt64 || v == math.MinInt64:
		d.report(path, "", "%ds and %dns is not a duration in %s-%s", m.GetSeconds(), m.GetNanos(), lb.FormatDuration(low), lb.FormatDuration(high))
		return 0
	case !d.stored && (v < low || v > high):
		d.report(path, "", "%s is not in %s-%s", v, lb.FormatDuration(low), lb.FormatDuration(high))
	}
	return v
}

func (d *decoder) address(path, text string) netip.Addr {
	if text == "" {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(text)
	if err == nil {
		return a
	}
	remedy := `write an IPv4 or IPv6 address, such as "203.0.113.10" or "2001:db8::10"`
	if ap, err := netip.ParseAddrPort(text); err == nil {
		remedy = "leave the port away: " + strconv.Quote(ap.Addr().String())
	} else if p, err := netip.ParsePrefix(text); err == nil {
		remedy = "leave the prefix length away: " + strconv.Quote(p.Addr().String())
	}
	d.report(path, remedy, "%s is not an IP address", lb.Quote(text))
	return netip.Addr{}
}

// orTrue is what an optional flag that is true by default says.
func orTrue(set *bool) bool { return set == nil || *set }

// orEmpty stands in for an element that is nil, which Go can put into a list
// and the wire cannot.
func orEmpty[T any](m *T) *T {
	if m == nil {
		return new(T)
	}
	return m
}

func item(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }

// orKept gives the object that a message stands for unedited, or decodes it.
func orKept[M comparable, T any](d *decoder, m M, decode func() *T) *T {
	if x, ok := d.kept[m].(*T); ok {
		return x
	}
	return decode()
}

// described is the part that all messages have in common.
type described interface {
	GetName() string
	GetDescription() string
	GetLabels() map[string]string
}

func info(m described) lb.Info {
	return lb.Info{Name: m.GetName(), Description: m.GetDescription(), Labels: m.GetLabels()}
}

func (d *decoder) config(m *fiberlbv1.LoadBalancerConfig) *lb.LoadBalancer {
	l := &lb.LoadBalancer{
		Info:         info(m),
		Project:      m.GetProject(),
		NodeSelector: m.GetNodeSelector(),
		Enabled:      orTrue(m.Enabled),
	}
	for i, text := range m.GetVips() {
		l.VIPs = append(l.VIPs, d.address(item("vips", i), text))
	}
	for i, x := range m.GetListeners() {
		l.Listeners = append(l.Listeners, orKept(d, x, func() *lb.Listener { return d.listener(item("listeners", i), orEmpty(x)) }))
	}
	for i, x := range m.GetPools() {
		l.Pools = append(l.Pools, d.pool(item("pools", i), orEmpty(x)))
	}
	for i, x := range m.GetL7Policies() {
		l.Policies = append(l.Policies, orKept(d, x, func() *lb.Policy { return d.policy(item("l7_policies", i), orEmpty(x)) }))
	}
	for i, x := range m.GetCertificates() {
		l.Certificates = append(l.Certificates, orKept(d, x, func() *lb.Certificate { return d.certificate(item("certificates", i), orEmpty(x)) }))
	}
	return l
}

func (d *decoder) listener(path string, m *fiberlbv1.Listener) *lb.Listener {
	x := &lb.Listener{
		Info:            info(m),
		Port:            within[uint16](d, path+".port", m.GetPort(), 1, 65535),
		Protocol:        enum[lb.ListenerProtocol](d, path+".protocol", int32(m.GetProtocol())),
		TLS:             d.tls(path+".tls_config", m.GetTlsConfig()),
		DefaultPool:     m.GetDefaultPoolId(),
		Enabled:         orTrue(m.Enabled),
		ConnectionLimit: within[uint32](d, path+".connection_limit", m.GetConnectionLimit(), 0, lb.MaxConnectionLimit),
	}
	for i, text := range m.GetAllowedCidrs() {
		p, err := lb.ParsePrefix(text)
		if err != nil {
			d.report(item(path+".allowed_cidrs", i), "", "%v", err)
			continue
		}
		x.AllowedCIDRs = append(x.AllowedCIDRs, p)
	}
	const low, high = time.Millisecond, 24 * time.Hour
	t := m.GetTimeouts()
	x.Timeouts = lb.Timeouts{
		Client:  d.duration(path+".timeouts.client", t.GetClient(), low, high),
		Connect: d.duration(path+".timeouts.connect", t.GetConnect(), low, high),
		Backend: d.duration(path+".timeouts.backend", t.GetBackend(), low, high),
		Idle:    d.duration(path+".timeouts.idle", t.GetIdle(), low, high),
		TCPIdle: d.duration(path+".timeouts.tcp_idle", t.GetTcpIdle(), low, high),
	}
	if h := m.GetInsertHeaders(); h != nil {
		x.Headers = &lb.HeaderInsertion{
			ForwardedFor:   enum[lb.ForwardedFor](d, path+".insert_headers.x_forwarded_for", int32(h.GetXForwardedFor())),
			ForwardedPort:  orTrue(h.XForwardedPort),
			ForwardedProto: orTrue(h.XForwardedProto),
		}
	}
	return x
}

func (d *decoder) tls(path string, m *fiberlbv1.TlsConfig) *lb.TLSConfig {
	if m == nil {
		return nil
	}
	t := &lb.TLSConfig{
		Certificate:     m.GetCertificateId(),
		SNICertificates: m.GetSniCertificateIds(),
		MinVersion:      enum[lb.TLSVersion](d, path+".min_version", int32(m.GetMinVersion())),
		CipherSuites:    m.GetCipherSuites(),
		ALPN:            m.GetAlpnProtocols(),
		ClientAuth:      enum[lb.ClientAuth](d, path+".client_authentication", int32(m.GetClientAuthentication())),
		ClientCA:        m.GetClientCaCertificateId(),
	}
	if h := m.GetHsts(); h != nil {
		const years = 10 * 365 * 24 * time.Hour
		if h.GetMaxAge() == nil {
			d.report(path+".hsts.max_age", `give a duration, such as "31536000s"`, "is required")
		}
		t.HSTS = &lb.HSTS{
			MaxAge:            d.duration(path+".hsts.max_age", h.GetMaxAge(), 0, years),
			IncludeSubdomains: h.GetIncludeSubdomains(),
			Preload:           h.GetPreload(),
		}
	}
	return t
}

func (d *decoder) pool(path string, m *fiberlbv1.Pool) *lb.Pool {
	x := &lb.Pool{
		Info:                info(m),
		Protocol:            enum[lb.PoolProtocol](d, path+".protocol", int32(m.GetProtocol())),
		Algorithm:           enum[lb.Algorithm](d, path+".algorithm", int32(m.GetAlgorithm())),
		Enabled:             orTrue(m.Enabled),
		SlowStart:           d.duration(path+".slow_start", m.GetSlowStart(), 0, 15*time.Minute),
		DeregistrationDelay: lb.DefaultDeregistrationDelay,
		FailOpenBelow:       within[uint32](d, path+".fail_open_below", m.GetFailOpenBelow(), 0, 65535),
	}
	if m.GetDeregistrationDelay() != nil {
		x.DeregistrationDelay = d.duration(path+".deregistration_delay", m.GetDeregistrationDelay(), 0, time.Hour)
	}
	if p := m.GetPersistence(); p != nil {
		x.Persistence = &lb.Persistence{
			Type:           enum[lb.PersistenceType](d, path+".persistence.type", int32(p.GetType())),
			CookieName:     p.GetCookieName(),
			TimeoutSeconds: p.GetTimeoutSeconds(),
		}
	}
	if h := m.GetHealthCheck(); h != nil {
		x.HealthCheck = orKept(d, h, func() *lb.HealthCheck { return d.healthCheck(path+".health_check", h) })
	}
	for i, b := range m.GetBackends() {
		x.Backends = append(x.Backends, orKept(d, b, func() *lb.Backend { return d.backend(item(path+".backends", i), orEmpty(b)) }))
	}
	return x
}

func (d *decoder) backend(path string, m *fiberlbv1.Backend) *lb.Backend {
	return &lb.Backend{
		Info:           info(m),
		Address:        d.address(path+".address", m.GetAddress()),
		Port:           within[uint16](d, path+".port", m.GetPort(), 1, 65535),
		Weight:         d.weight(path+".weight", m.Weight),
		Backup:         m.GetBackup(),
		Enabled:        orTrue(m.Enabled),
		MonitorAddress: d.address(path+".monitor_address", m.GetMonitorAddress()),
		MonitorPort:    within[uint16](d, path+".monitor_port", m.GetMonitorPort(), 0, 65535),
	}
}

func (d *decoder) healthCheck(path string, m *fiberlbv1.HealthCheck) *lb.HealthCheck {
	x := &lb.HealthCheck{
		Info:     info(m),
		Type:     enum[lb.HealthCheckType](d, path+".type", int32(m.GetType())),
		Interval: d.duration(path+".interval", m.GetInterval(), 100*time.Millisecond, time.Hour),
		Timeout:  d.duration(path+".timeout", m.GetTimeout(), time.Millisecond, time.Hour),
		Enabled:  orTrue(m.Enabled),
	}
	if n := m.GetHealthyThreshold(); n != 0 {
		x.HealthyThreshold = within[uint8](d, path+".healthy_threshold", n, 1, 10)
	}
	if n := m.GetUnhealthyThreshold(); n != 0 {
		x.UnhealthyThreshold = within[uint8](d, path+".unhealthy_threshold", n, 1, 10)
	}
	if h := m.GetHttp(); h != nil {
		x.HTTP = &lb.HTTPCheck{Method: h.GetMethod(), Path: h.GetUrlPath(), Host: h.GetHostHeader()}
		if text := h.GetExpectedCodes(); text != "" {
			codes, err := lb.ParseCodes(text)
			if err != nil {
				d.report(path+".http.expected_codes", `write a list with ranges, such as "200,202,204-206"`, "%v", err)
			}
			x.HTTP.Codes = codes
		}
	}
	return x
}

func (d *decoder) policy(path string, m *fiberlbv1.L7Policy) *lb.Policy {
	x := &lb.Policy{
		Info:       info(m),
		Listener:   m.GetListenerId(),
		Position:   m.GetPosition(),
		Action:     enum[lb.PolicyAction](d, path+".action", int32(m.GetAction())),
		URL:        m.GetRedirectUrl(),
		Prefix:     m.GetRedirectPrefix(),
		StatusCode: within[uint16](d, path+".redirect_http_status_code", m.GetRedirectHttpStatusCode(), 0, 599),
		Enabled:    orTrue(m.Enabled),
	}
	if name := m.GetRedirectPoolId(); name != "" {
		x.Pools = append(x.Pools, lb.WeightedPool{Pool: name, Weight: lb.DefaultWeight})
		if len(m.GetRedirectPools()) > 0 {
			d.report(path+".redirect_pools", "give redirect_pool_id or redirect_pools, not both", "there is also redirect_pool_id %s", lb.Quote(name))
		}
	} else {
		d.rename(path+".redirect_pool_id", path+".redirect_pools[0].pool_id", len(m.GetRedirectPools()) > 0)
		for i, p := range m.GetRedirectPools() {
			path := item(path+".redirect_pools", i)
			if p.GetPoolId() == "" {
				d.report(path+".pool_id", "name a pool", "is required")
			}
			x.Pools = append(x.Pools, lb.WeightedPool{Pool: p.GetPoolId(), Weight: d.weight(path+".weight", orEmpty(p).Weight)})
		}
	}
	if r := m.GetFixedResponse(); r != nil {
		x.FixedResponse = &lb.Response{
			StatusCode:  within[uint16](d, path+".fixed_response.status_code", r.GetStatusCode(), 200, 599),
			ContentType: r.GetContentType(),
			Body:        r.GetBody(),
		}
	}
	for i, r := range m.GetRules() {
		x.Rules = append(x.Rules, d.rule(item(path+".rules", i), orEmpty(r)))
	}
	return x
}

// rename tells that violations of path from are to be reported at path to.
func (d *decoder) rename(from, to string, when bool) {
	if !when {
		return
	}
	if d.renamed == nil {
		d.renamed = make(map[string]string)
	}
	d.renamed[from] = to
}

func (d *decoder) rule(path string, m *fiberlbv1.L7Rule) *lb.Rule {
	return &lb.Rule{
		Info:    info(m),
		Type:    enum[lb.RuleType](d, path+".rule_type", int32(m.GetRuleType())),
		Compare: enum[lb.CompareType](d, path+".compare_type", int32(m.GetCompareType())),
		Value:   m.GetValue(),
		Key:     m.GetKey(),
		Invert:  m.GetInvert(),
		Enabled: orTrue(m.Enabled),
	}
}

func (d *decoder) certificate(path string, m *fiberlbv1.Certificate) *lb.Certificate {
	return &lb.Certificate{
		Info:  info(m),
		Type:  enum[lb.CertificateType](d, path+".type", int32(m.GetType())),
		Chain: m.GetCertificate(),
		Key:   lb.NewPrivateKey(m.GetPrivateKey()),
	}
}
