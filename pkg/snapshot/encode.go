package snapshot

import (
	"crypto/sha256"
	"net/netip"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/fiberlb/fiberlb/pkg/canon"
	agentv1 "github.com/fiberlb/fiberlb/proto/fiberlb/agent/v1"
)

// EncodeHealthCheck makes the resource of a health check with the full name given.
func EncodeHealthCheck(name string, h *HealthCheck) *Resource {
	m := &agentv1.HealthCheckResource{
		Type:               int32(h.Type),
		IntervalMs:         millis(h.Interval),
		TimeoutMs:          h.Timeout.Milliseconds(), // rounded down, to stay below the interval
		HealthyThreshold:   uint32(h.HealthyThreshold),
		UnhealthyThreshold: uint32(h.UnhealthyThreshold),
	}
	if h.HTTP != nil {
		m.HttpMethod, m.HttpPath, m.HttpHost = h.HTTP.Method, h.HTTP.Path, h.HTTP.Host
		for _, c := range h.HTTP.Codes {
			m.HttpCodes = append(m.HttpCodes, &agentv1.CodeRange{First: uint32(c.First), Last: uint32(c.Last)})
		}
	}
	return encode(KindHealthCheck, name, m)
}

// EncodePool makes the resource of a pool with the full name given. Backends must be sorted by name.
func EncodePool(name string, p *Pool) *Resource {
	m := &agentv1.PoolResource{
		Protocol:              int32(p.Protocol),
		Algorithm:             int32(p.Algorithm),
		Persistence:           int32(p.Persistence),
		HealthCheck:           p.HealthCheck,
		Backends:              make([]*agentv1.BackendResource, 0, len(p.Backends)),
		SlowStartMs:           millis(p.SlowStart),
		DeregistrationDelayMs: millis(p.DeregistrationDelay),
		FailOpenBelow:         p.FailOpenBelow,
		HashVersion:           p.HashVersion,
		TableSize:             p.TableSize,
	}
	for i := range p.Backends {
		m.Backends = append(m.Backends, encodeBackend(&p.Backends[i]))
	}
	return encode(KindPool, name, m)
}

// encodeBackend leaves out a monitor that is the backend itself, which is nearly every one.
func encodeBackend(b *Backend) *agentv1.BackendResource {
	m := &agentv1.BackendResource{
		Name:     b.Name,
		Address:  b.Addr.Addr().String(),
		Port:     uint32(b.Addr.Port()),
		Weight:   uint32(b.Weight),
		Backup:   b.Backup,
		Draining: b.Draining,
	}
	if b.Monitor.IsValid() && b.Monitor.Addr() != b.Addr.Addr() {
		m.MonitorAddress = b.Monitor.Addr().String()
	}
	if b.Monitor.IsValid() && b.Monitor.Port() != b.Addr.Port() {
		m.MonitorPort = uint32(b.Monitor.Port())
	}
	return m
}

// EncodeListener makes the resource of a listener with the full name given.
func EncodeListener(name string, l *Listener) *Resource {
	return encode(KindListener, name, &agentv1.ListenerResource{
		Vips:             texts(l.VIPs, netip.Addr.String),
		Port:             uint32(l.Port),
		Protocol:         int32(l.Protocol),
		DefaultPool:      l.DefaultPool,
		ConnectionLimit:  l.ConnectionLimit,
		AllowedCidrs:     texts(l.AllowedCIDRs, netip.Prefix.String),
		ConnectTimeoutMs: millis(l.ConnectTimeout),
		TcpIdleTimeoutMs: millis(l.TCPIdleTimeout),
	})
}

func encode(kind Kind, name string, m proto.Message) *Resource {
	content := canon.Marshal(m)
	return &Resource{Ref: Ref{kind, name}, Hash: sha256.Sum256(content), Content: content}
}

// millis rounds up, so that a positive time never becomes none.
func millis(d time.Duration) int64 { return int64((d + time.Millisecond - 1) / time.Millisecond) }

func texts[T any](list []T, text func(T) string) []string {
	out := make([]string, len(list))
	for i, x := range list {
		out[i] = text(x)
	}
	return out
}
