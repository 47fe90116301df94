package snapshot

import (
	"fmt"
	"math/big"
	"net/netip"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/fiberlb/fiberlb/pkg/canon"
	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/maglev"
	agentv1 "github.com/fiberlb/fiberlb/proto/fiberlb/agent/v1"
)

// maxContentBytes bounds one resource's content.
const maxContentBytes = 16 << 20

// Decode reads the resource: a *[HealthCheck], *[Pool] or *[Listener], of which every field lies in its range.
//
// It trusts nothing, whoever sent the bytes, and is an error rather than a guess where there is anything that this build
// does not know: a kind, a field or a number of an enumeration. The error names it, for people to read it as the reason
// why a node refuses the resource. Whether the data plane can do what the resource asks for is not decided here.
func (r *Resource) Decode() (any, error) {
	if len(r.Content) > maxContentBytes {
		return nil, fmt.Errorf("content of %d bytes is longer than %d", len(r.Content), maxContentBytes)
	}
	switch r.Kind {
	case KindHealthCheck:
		m := new(agentv1.HealthCheckResource)
		if err := unmarshal(r.Content, m); err != nil {
			return nil, err
		}
		return decodeHealthCheck(m)
	case KindPool:
		m := new(agentv1.PoolResource)
		if err := unmarshal(r.Content, m); err != nil {
			return nil, err
		}
		return decodePool(m)
	case KindListener:
		m := new(agentv1.ListenerResource)
		if err := unmarshal(r.Content, m); err != nil {
			return nil, err
		}
		return decodeListener(m)
	}
	return nil, unknown("resource kind", uint8(r.Kind))
}

func unmarshal(content []byte, m proto.Message) error {
	if err := checkFieldCount(content); err != nil {
		return err
	}
	if err := proto.Unmarshal(content, m); err != nil {
		return fmt.Errorf("content is not a resource: %v", err)
	}
	if path, ok := canon.HasUnknown(m); ok {
		return fmt.Errorf("field %s is unknown to this data plane (resource schema %d)", path, SchemaVersion)
	}
	return nil
}

// checkFieldCount bounds what decoding allocates: a list's element can be as short as two bytes, but is a struct in memory.
func checkFieldCount(content []byte) error {
	const most = 2 * maglev.MaxBackends
	for n := 0; len(content) > 0; n++ {
		if n == most {
			return fmt.Errorf("content has more than %d fields", most)
		}
		_, _, size := protowire.ConsumeField(content)
		if size < 0 {
			return fmt.Errorf("content is not a resource: %v", protowire.ParseError(size))
		}
		content = content[size:]
	}
	return nil
}

func unknown[N uint8 | int32 | uint32](field string, n N) error {
	return fmt.Errorf("%s %d is unknown to this data plane (resource schema %d)", field, n, SchemaVersion)
}

func decodeHealthCheck(m *agentv1.HealthCheckResource) (*HealthCheck, error) {
	d := decoder{}
	h := &HealthCheck{
		Type:               lb.HealthCheckType(d.enum("health check type", m.Type, 1, int32(lb.CheckGRPC))),
		Interval:           d.duration("interval", m.IntervalMs, 100*time.Millisecond, time.Hour),
		Timeout:            d.duration("timeout", m.TimeoutMs, time.Millisecond, time.Hour),
		HealthyThreshold:   uint8(d.number("healthy_threshold", m.HealthyThreshold, 1, 10)),
		UnhealthyThreshold: uint8(d.number("unhealthy_threshold", m.UnhealthyThreshold, 1, 10)),
	}
	d.check(h.Timeout < h.Interval, "timeout %v is not below the interval of %v", h.Timeout, h.Interval)
	if h.Type == lb.CheckHTTP || h.Type == lb.CheckHTTPS {
		h.HTTP = d.httpCheck(m)
	} else {
		d.check(m.HttpMethod == "" && m.HttpPath == "" && m.HttpHost == "" && len(m.HttpCodes) == 0,
			"health check type %d sends no request, but has one", m.Type)
	}
	if d.err != nil {
		return nil, d.err
	}
	return h, nil
}

func (d *decoder) httpCheck(m *agentv1.HealthCheckResource) *lb.HTTPCheck {
	d.check(isToken(m.HttpMethod) && m.HttpMethod != "CONNECT", "http_method %q is no method of a health check", m.HttpMethod)
	d.check(strings.HasPrefix(m.HttpPath, "/") && isVisible(m.HttpPath), "http_path %q is no path of a request", m.HttpPath)
	d.check(isVisible(m.HttpHost), "http_host %q is no host", m.HttpHost)
	d.check(len(m.HttpCodes) > 0, "http_codes is empty")
	h := &lb.HTTPCheck{Method: m.HttpMethod, Path: m.HttpPath, Host: m.HttpHost}
	below := uint32(0)
	for i, c := range m.HttpCodes {
		d.enter("http_codes", i)
		first := d.number("first", c.First, 100, 599)
		last := d.number("last", c.Last, 100, 599)
		d.check(below < first && first <= last, "range %d-%d is not in order", first, last)
		h.Codes = append(h.Codes, lb.CodeRange{First: uint16(first), Last: uint16(last)})
		below = last
	}
	d.leave()
	return h
}

func decodePool(m *agentv1.PoolResource) (*Pool, error) {
	d := decoder{}
	p := &Pool{
		Protocol:            lb.PoolProtocol(d.enum("pool protocol", m.Protocol, 1, int32(lb.PoolH2))),
		Algorithm:           lb.Algorithm(d.enum("algorithm", m.Algorithm, 1, int32(lb.Maglev))),
		Persistence:         lb.PersistenceType(d.enum("persistence", m.Persistence, 0, int32(lb.PersistAppCookie))),
		HealthCheck:         d.optionalName("health_check", m.HealthCheck),
		SlowStart:           d.duration("slow_start", m.SlowStartMs, 0, 15*time.Minute),
		DeregistrationDelay: d.duration("deregistration_delay", m.DeregistrationDelayMs, 0, time.Hour),
		FailOpenBelow:       d.number("fail_open_below", m.FailOpenBelow, 0, 65535),
		HashVersion:         m.HashVersion,
		TableSize:           d.number("table_size", m.TableSize, 2, maglev.MaxSize),
	}
	if m.HashVersion != maglev.HashVersion {
		d.fail(unknown("hash_version", m.HashVersion))
	}
	d.check(big.NewInt(int64(p.TableSize)).ProbablyPrime(0), "table_size %d is not a prime", p.TableSize)
	d.check(len(m.Backends) <= maglev.MaxBackends, "%d backends are more than %d", len(m.Backends), maglev.MaxBackends)
	if d.err != nil {
		return nil, d.err
	}
	p.Backends = make([]Backend, len(m.Backends))
	last := ""
	for i, b := range m.Backends {
		d.enter("backends", i)
		p.Backends[i] = d.backend(b)
		d.check(last < b.Name, "name %q is not in order after %q", b.Name, last)
		if d.err != nil {
			return nil, d.err
		}
		last = b.Name
	}
	return p, nil
}

func (d *decoder) backend(m *agentv1.BackendResource) Backend {
	if err := checkName(m.Name); err != nil {
		d.check(false, "%v", err)
	}
	b := Backend{Name: m.Name, Backup: m.Backup, Draining: m.Draining}
	addr := d.address("address", m.Address)
	port := d.number("port", m.Port, 1, 65535)
	b.Addr = netip.AddrPortFrom(addr, uint16(port))
	b.Weight = uint16(d.number("weight", m.Weight, 0, maglev.MaxWeight))
	if m.MonitorAddress != "" {
		addr = d.address("monitor_address", m.MonitorAddress)
	}
	if m.MonitorPort != 0 {
		port = d.number("monitor_port", m.MonitorPort, 1, 65535)
	}
	b.Monitor = netip.AddrPortFrom(addr, uint16(port))
	return b
}

func decodeListener(m *agentv1.ListenerResource) (*Listener, error) {
	d := decoder{}
	l := &Listener{
		Port:            uint16(d.number("port", m.Port, 1, 65535)),
		Protocol:        lb.ListenerProtocol(d.enum("listener protocol", m.Protocol, 1, int32(lb.ListenerTLSPassthrough))),
		DefaultPool:     d.optionalName("default_pool", m.DefaultPool),
		ConnectionLimit: d.number("connection_limit", m.ConnectionLimit, 0, 10_000_000),
		ConnectTimeout:  d.duration("connect_timeout", m.ConnectTimeoutMs, time.Millisecond, 24*time.Hour),
		TCPIdleTimeout:  d.duration("tcp_idle_timeout", m.TcpIdleTimeoutMs, time.Millisecond, 24*time.Hour),
	}
	d.check(len(m.Vips) > 0, "vips is empty")
	seen := make(map[netip.Addr]bool, len(m.Vips))
	for i, text := range m.Vips {
		d.enter("vips", i)
		vip := d.address("address", text)
		d.check(!seen[vip], "address %s is there twice", text)
		seen[vip] = true
		l.VIPs = append(l.VIPs, vip)
	}
	for i, text := range m.AllowedCidrs {
		d.enter("allowed_cidrs", i)
		prefix, err := netip.ParsePrefix(text)
		d.check(err == nil && prefix == prefix.Masked() && !prefix.Addr().Is4In6(), "%q is no network's address with its length", text)
		l.AllowedCIDRs = append(l.AllowedCIDRs, prefix)
	}
	if d.err != nil {
		return nil, d.err
	}
	return l, nil
}
