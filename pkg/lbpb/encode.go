package lbpb

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/fiberlb/fiberlb/pkg/lb"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

// ToConfig gives a load balancer as one document, complete with defaults and
// output-only fields, except private keys and status. l is a normal form, as
// everywhere below. The message shares nothing with l and may be edited.
func ToConfig(l *lb.LoadBalancer) *fiberlbv1.LoadBalancerConfig {
	own := ToLoadBalancer(l)
	m := &fiberlbv1.LoadBalancerConfig{
		Name: own.Name, Uid: own.Uid, Etag: own.Etag, CreatedAt: own.CreatedAt, UpdatedAt: own.UpdatedAt,
		Description: own.Description, Labels: own.Labels, FullName: own.FullName,
		Project: own.Project, Vips: own.Vips, NodeSelector: own.NodeSelector, Enabled: own.Enabled,
	}
	for _, x := range l.Listeners {
		m.Listeners = append(m.Listeners, ToListener(l, x))
	}
	for _, x := range l.Pools {
		m.Pools = append(m.Pools, ToPool(l, x))
	}
	for _, x := range l.Policies {
		m.L7Policies = append(m.L7Policies, ToPolicy(l, x))
	}
	for _, x := range l.Certificates {
		m.Certificates = append(m.Certificates, ToCertificate(l, x))
	}
	return m
}

// ToLoadBalancer gives the load balancer without what is in it. Its etag is
// over everything in it all the same: any change shows.
func ToLoadBalancer(l *lb.LoadBalancer) *fiberlbv1.LoadBalancer {
	m := loadBalancer(l)
	m.Uid, m.CreatedAt, m.UpdatedAt = output(&l.Meta)
	m.Etag, m.FullName = l.Etag(), lb.LoadBalancerName(l.Project, l.Name)
	return m
}

// ToListener gives a listener of l.
func ToListener(l *lb.LoadBalancer, x *lb.Listener) *fiberlbv1.Listener {
	m := listener(x)
	m.Uid, m.CreatedAt, m.UpdatedAt = output(&x.Meta)
	m.Etag, m.FullName = x.Etag(), lb.ListenerName(l.Project, l.Name, x.Name)
	return m
}

// ToPool gives a pool of l with its health check and backends.
func ToPool(l *lb.LoadBalancer, x *lb.Pool) *fiberlbv1.Pool {
	m := pool(x)
	m.Uid, m.CreatedAt, m.UpdatedAt = output(&x.Meta)
	m.Etag, m.FullName = x.Etag(), lb.PoolName(l.Project, l.Name, x.Name)
	if x.HealthCheck != nil {
		m.HealthCheck = ToHealthCheck(l, x, x.HealthCheck)
	}
	for _, b := range x.Backends {
		m.Backends = append(m.Backends, ToBackend(l, x, b))
	}
	return m
}

// ToBackend gives a backend of pool p.
func ToBackend(l *lb.LoadBalancer, p *lb.Pool, x *lb.Backend) *fiberlbv1.Backend {
	m := backend(x)
	m.Uid, m.CreatedAt, m.UpdatedAt = output(&x.Meta)
	m.Etag, m.FullName = x.Etag(), lb.BackendName(l.Project, l.Name, p.Name, x.Name)
	return m
}

// ToHealthCheck gives the health check of pool p.
func ToHealthCheck(l *lb.LoadBalancer, p *lb.Pool, x *lb.HealthCheck) *fiberlbv1.HealthCheck {
	m := healthCheck(x)
	m.Uid, m.CreatedAt, m.UpdatedAt = output(&x.Meta)
	m.Etag, m.FullName = x.Etag(), lb.HealthCheckName(l.Project, l.Name, p.Name, x.Name)
	return m
}

// ToPolicy gives a policy of l with its rules.
func ToPolicy(l *lb.LoadBalancer, x *lb.Policy) *fiberlbv1.L7Policy {
	m := policy(x)
	m.Uid, m.CreatedAt, m.UpdatedAt = output(&x.Meta)
	m.Etag, m.FullName = x.Etag(), lb.PolicyName(l.Project, l.Name, x.Listener, x.Name)
	for _, r := range x.Rules {
		m.Rules = append(m.Rules, ToRule(l, x, r))
	}
	return m
}

// ToRule gives a rule of policy p.
func ToRule(l *lb.LoadBalancer, p *lb.Policy, x *lb.Rule) *fiberlbv1.L7Rule {
	m := rule(x)
	m.Uid, m.CreatedAt, m.UpdatedAt = output(&x.Meta)
	m.Etag, m.FullName = x.Etag(), lb.RuleName(l.Project, l.Name, p.Listener, p.Name, x.Name)
	return m
}

// ToCertificate gives a certificate of l with what its leaf says, never with
// the private key.
func ToCertificate(l *lb.LoadBalancer, x *lb.Certificate) *fiberlbv1.Certificate {
	m := certificate(x)
	m.Uid, m.CreatedAt, m.UpdatedAt = output(&x.Meta)
	m.Etag, m.FullName = x.Etag(), lb.CertificateName(l.Project, l.Name, x.Name)
	m.FingerprintSha256 = x.Fingerprint()
	if chain, err := x.X509(); err == nil {
		leaf := chain[0]
		m.NotBefore, m.ExpiresAt = timestamppb.New(leaf.NotBefore), timestamppb.New(leaf.NotAfter)
		m.Subject, m.DnsNames = leaf.Subject.String(), leaf.DNSNames
	}
	return m
}

func output(m *lb.Meta) (uid string, created, updated *timestamppb.Timestamp) {
	return m.UID, timestamp(m.CreatedAt), timestamp(m.UpdatedAt)
}

func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// The functions below give what people wrote, without output-only fields and
// without objects that are stored apart.

func loadBalancer(l *lb.LoadBalancer) *fiberlbv1.LoadBalancer {
	m := &fiberlbv1.LoadBalancer{
		Name: l.Name, Description: l.Description, Labels: maps.Clone(l.Labels),
		Project: l.Project, NodeSelector: maps.Clone(l.NodeSelector), Enabled: proto.Bool(l.Enabled),
	}
	for _, a := range l.VIPs {
		m.Vips = append(m.Vips, a.String())
	}
	return m
}

func listener(x *lb.Listener) *fiberlbv1.Listener {
	m := &fiberlbv1.Listener{
		Name: x.Name, Description: x.Description, Labels: maps.Clone(x.Labels),
		Port:            uint32(x.Port),
		Protocol:        fiberlbv1.ListenerProtocol(x.Protocol),
		DefaultPoolId:   x.DefaultPool,
		Enabled:         proto.Bool(x.Enabled),
		ConnectionLimit: x.ConnectionLimit,
		Timeouts: &fiberlbv1.ListenerTimeouts{
			Client:  durationpb.New(x.Timeouts.Client),
			Connect: durationpb.New(x.Timeouts.Connect),
			Backend: durationpb.New(x.Timeouts.Backend),
			Idle:    durationpb.New(x.Timeouts.Idle),
			TcpIdle: durationpb.New(x.Timeouts.TCPIdle),
		},
	}
	for _, p := range x.AllowedCIDRs {
		m.AllowedCidrs = append(m.AllowedCidrs, p.String())
	}
	if h := x.Headers; h != nil {
		m.InsertHeaders = &fiberlbv1.HeaderInsertion{
			XForwardedFor:   fiberlbv1.ForwardedForMode(h.ForwardedFor),
			XForwardedPort:  proto.Bool(h.ForwardedPort),
			XForwardedProto: proto.Bool(h.ForwardedProto),
		}
	}
	if t := x.TLS; t != nil {
		m.TlsConfig = &fiberlbv1.TlsConfig{
			CertificateId:         t.Certificate,
			SniCertificateIds:     slices.Clone(t.SNICertificates),
			MinVersion:            fiberlbv1.TlsVersion(t.MinVersion),
			CipherSuites:          slices.Clone(t.CipherSuites),
			AlpnProtocols:         slices.Clone(t.ALPN),
			ClientAuthentication:  fiberlbv1.ClientAuthentication(t.ClientAuth),
			ClientCaCertificateId: t.ClientCA,
		}
		if h := t.HSTS; h != nil {
			m.TlsConfig.Hsts = &fiberlbv1.HstsConfig{
				MaxAge: durationpb.New(h.MaxAge), IncludeSubdomains: h.IncludeSubdomains, Preload: h.Preload,
			}
		}
	}
	return m
}

func pool(x *lb.Pool) *fiberlbv1.Pool {
	m := &fiberlbv1.Pool{
		Name: x.Name, Description: x.Description, Labels: maps.Clone(x.Labels),
		Protocol:            fiberlbv1.PoolProtocol(x.Protocol),
		Algorithm:           fiberlbv1.PoolAlgorithm(x.Algorithm),
		Enabled:             proto.Bool(x.Enabled),
		DeregistrationDelay: durationpb.New(x.DeregistrationDelay),
		FailOpenBelow:       x.FailOpenBelow,
	}
	if x.SlowStart != 0 {
		m.SlowStart = durationpb.New(x.SlowStart)
	}
	if p := x.Persistence; p != nil {
		m.Persistence = &fiberlbv1.Persistence{
			Type: fiberlbv1.PersistenceType(p.Type), CookieName: p.CookieName, TimeoutSeconds: p.TimeoutSeconds,
		}
	}
	return m
}

func backend(x *lb.Backend) *fiberlbv1.Backend {
	return &fiberlbv1.Backend{
		Name: x.Name, Description: x.Description, Labels: maps.Clone(x.Labels),
		Address:        address(x.Address),
		Port:           uint32(x.Port),
		Weight:         proto.Uint32(uint32(x.Weight)),
		Backup:         x.Backup,
		Enabled:        proto.Bool(x.Enabled),
		MonitorAddress: address(x.MonitorAddress),
		MonitorPort:    uint32(x.MonitorPort),
	}
}

func address(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func healthCheck(x *lb.HealthCheck) *fiberlbv1.HealthCheck {
	m := &fiberlbv1.HealthCheck{
		Name: x.Name, Description: x.Description, Labels: maps.Clone(x.Labels),
		Type:               fiberlbv1.HealthCheckType(x.Type),
		Interval:           durationpb.New(x.Interval),
		Timeout:            durationpb.New(x.Timeout),
		HealthyThreshold:   uint32(x.HealthyThreshold),
		UnhealthyThreshold: uint32(x.UnhealthyThreshold),
		Enabled:            proto.Bool(x.Enabled),
	}
	if h := x.HTTP; h != nil {
		m.Http = &fiberlbv1.HttpCheck{
			Method: h.Method, UrlPath: h.Path, ExpectedCodes: lb.FormatCodes(h.Codes), HostHeader: h.Host,
		}
	}
	return m
}

func policy(x *lb.Policy) *fiberlbv1.L7Policy {
	m := &fiberlbv1.L7Policy{
		Name: x.Name, Description: x.Description, Labels: maps.Clone(x.Labels),
		ListenerId:             x.Listener,
		Position:               x.Position,
		Action:                 fiberlbv1.L7PolicyAction(x.Action),
		RedirectUrl:            x.URL,
		RedirectPrefix:         x.Prefix,
		RedirectHttpStatusCode: uint32(x.StatusCode),
		Enabled:                proto.Bool(x.Enabled),
	}
	if name, single := x.SinglePool(); single {
		m.RedirectPoolId = name
	} else {
		for _, p := range x.Pools {
			m.RedirectPools = append(m.RedirectPools, &fiberlbv1.WeightedPool{PoolId: p.Pool, Weight: proto.Uint32(uint32(p.Weight))})
		}
	}
	if r := x.FixedResponse; r != nil {
		m.FixedResponse = &fiberlbv1.FixedResponse{
			StatusCode: uint32(r.StatusCode), ContentType: r.ContentType, Body: r.Body,
		}
	}
	return m
}

func rule(x *lb.Rule) *fiberlbv1.L7Rule {
	return &fiberlbv1.L7Rule{
		Name: x.Name, Description: x.Description, Labels: maps.Clone(x.Labels),
		RuleType:    fiberlbv1.L7RuleType(x.Type),
		CompareType: fiberlbv1.L7CompareType(x.Compare),
		Value:       x.Value,
		Key:         x.Key,
		Invert:      x.Invert,
		Enabled:     proto.Bool(x.Enabled),
	}
}

func certificate(x *lb.Certificate) *fiberlbv1.Certificate {
	return &fiberlbv1.Certificate{
		Name: x.Name, Description: x.Description, Labels: maps.Clone(x.Labels),
		Type:        fiberlbv1.CertificateType(x.Type),
		Certificate: x.Chain,
	}
}
