package lb

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// The tables below say in words what goes together; the tests hold Normalize
// against them for every combination there is.

var pairsOfListenersAndPools = map[string]string{
	"tcp": "tcp", "udp": "udp", "tls": "tcp", "tls_passthrough": "tcp",
	"http": "http https h2c h2", "https": "http https h2c h2",
}

var checksOfPools = map[string]string{
	"udp": "udp_connect tcp http", "tcp": "tcp http https tls_hello grpc",
	"http": "tcp http https tls_hello grpc", "https": "tcp http https tls_hello grpc",
	"h2c": "tcp http https tls_hello grpc", "h2": "tcp http https tls_hello grpc",
}

var persistencesOfPools = map[string]string{
	"tcp": "source_ip", "udp": "source_ip",
	"http": "source_ip cookie app_cookie", "https": "source_ip cookie app_cookie",
	"h2c": "source_ip cookie app_cookie", "h2": "source_ip cookie app_cookie",
}

const everyCompare = "equal_to regex starts_with ends_with contains"

var comparesOfRules = map[string]string{
	"host_name": everyCompare, "path": everyCompare, "header": everyCompare, "cookie": everyCompare, "query": everyCompare,
	"ssl_conn_sni": everyCompare, "ssl_dn_field": everyCompare,
	"file_type": "equal_to regex", "method": "equal_to regex",
	"source_ip": "equal_to", "ssl_conn_has_cert": "equal_to", "ssl_verify_result": "equal_to",
}

func goes(table map[string]string, a, b fmt.Stringer) bool {
	return slices.Contains(strings.Fields(table[a.String()]), b.String())
}

func all[T Enum]() []T {
	var out []T
	for i := range Words[T]() {
		out = append(out, T(i+1))
	}
	return out
}

// small is a draft of one listener and one pool.
func small(p ListenerProtocol, q PoolProtocol) *LoadBalancer {
	l := &LoadBalancer{
		Info: Info{Name: "web"}, VIPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")},
		Listeners: []*Listener{{Info: Info{Name: "front"}, Port: 1, Protocol: p, DefaultPool: "pool"}},
		Pools:     []*Pool{{Info: Info{Name: "pool"}, Protocol: q}},
	}
	if p.TerminatesTLS() {
		chain, key := serverPair()
		l.Certificates = []*Certificate{{Info: Info{Name: "main"}, Type: CertServer, Chain: chain, Key: NewPrivateKey(key)}}
		l.Listeners[0].TLS = &TLSConfig{Certificate: "main"}
	}
	return l
}

// verdict wants the draft accepted or, if not, refused for one reason at path.
func verdict(t *testing.T, what string, draft *LoadBalancer, accept bool, path string) {
	t.Helper()
	_, violations := Normalize(draft)
	if accept && len(violations) > 0 || !accept && (len(violations) != 1 || violations[0].Path != path) {
		t.Errorf("%s: want accepted: %v; got %v", what, accept, violations.Error())
	}
}

func TestListenersAndPools(t *testing.T) {
	t.Parallel()
	for _, p := range all[ListenerProtocol]() {
		for _, q := range all[PoolProtocol]() {
			accept := goes(pairsOfListenersAndPools, p, q)
			if slices.Contains(p.Pools(), q) != accept {
				t.Errorf("%s.Pools() = %v", p, p.Pools())
			}
			what := fmt.Sprintf("listener %s, pool %s", p, q)
			verdict(t, what, small(p, q), accept, "listeners[0].default_pool_id")
			if p.IsHTTP() {
				l := small(p, q)
				l.Listeners[0].DefaultPool = ""
				l.Policies = []*Policy{{Info: Info{Name: "x"}, Listener: "front", Action: RedirectToPool, Pools: []WeightedPool{{"pool", 1}}}}
				verdict(t, what+" by policy", l, accept, "l7_policies[0].redirect_pool_id")
			}
		}
	}
}

func TestPoolsAndTheirParts(t *testing.T) {
	t.Parallel()
	for _, q := range all[PoolProtocol]() {
		for _, h := range all[HealthCheckType]() {
			l := small(ListenerTCP, q)
			l.Listeners = nil
			l.Pools[0].HealthCheck = &HealthCheck{Type: h}
			accept := goes(checksOfPools, q, h)
			if slices.Contains(q.HealthChecks(), h) != accept {
				t.Errorf("%s.HealthChecks() = %v", q, q.HealthChecks())
			}
			verdict(t, fmt.Sprintf("pool %s, check %s", q, h), l, accept, "pools[0].health_check.type")
		}
		for _, p := range all[PersistenceType]() {
			l := small(ListenerTCP, q)
			l.Listeners = nil
			l.Pools[0].Persistence = &Persistence{Type: p}
			if p == PersistAppCookie {
				l.Pools[0].Persistence.CookieName = "JSESSIONID"
			}
			accept := goes(persistencesOfPools, q, p)
			if slices.Contains(q.Persistences(), p) != accept {
				t.Errorf("%s.Persistences() = %v", q, q.Persistences())
			}
			verdict(t, fmt.Sprintf("pool %s, persistence %s", q, p), l, accept, "pools[0].persistence.type")
		}
		for _, a := range all[Algorithm]() {
			l := small(ListenerTCP, q)
			l.Listeners = nil
			l.Pools[0].Algorithm, l.Pools[0].SlowStart = a, 1e9
			verdict(t, fmt.Sprintf("algorithm %s with slow start", a), l, a != Maglev && a != SourceIP, "pools[0].slow_start")
		}
	}
}

func TestRulesAndComparisons(t *testing.T) {
	t.Parallel()
	values := map[RuleType]string{
		RulePath: "/x", RuleSourceIP: "10.0.0.0/8", RuleSSLConnHasCert: "true", RuleSSLVerifyResult: "10", RuleMethod: "GET",
	}
	for _, p := range []ListenerProtocol{ListenerHTTP, ListenerHTTPS} {
		for _, kind := range all[RuleType]() {
			for _, compare := range all[CompareType]() {
				l := small(p, PoolHTTP)
				r := &Rule{Type: kind, Compare: compare, Value: values[kind]}
				if r.Value == "" {
					r.Value = "x"
				}
				if kind.NeedsKey() {
					r.Key = "CN"
				}
				l.Policies = []*Policy{{Info: Info{Name: "x"}, Listener: "front", Action: Reject, Rules: []*Rule{r}}}
				accept := goes(comparesOfRules, kind, compare)
				if slices.Contains(kind.Compares(), compare) != accept {
					t.Errorf("%s.Compares() = %v", kind, kind.Compares())
				}
				tls := strings.HasPrefix(kind.String(), "ssl_")
				if kind.NeedsTLS() != tls {
					t.Errorf("%s.NeedsTLS() = %v", kind, kind.NeedsTLS())
				}
				what := fmt.Sprintf("listener %s, rule %s %s", p, kind, compare)
				switch {
				case tls && p == ListenerHTTP && accept:
					verdict(t, what, l, false, "l7_policies[0].rules[0].rule_type")
				case tls && p == ListenerHTTP: // two faults
				default:
					verdict(t, what, l, accept, "l7_policies[0].rules[0].compare_type")
				}
			}
		}
	}
}

// TestPoliciesNeedRequests: only listeners that read requests have policies.
func TestPoliciesNeedRequests(t *testing.T) {
	t.Parallel()
	for _, p := range all[ListenerProtocol]() {
		l := small(p, p.Pools()[0])
		l.Policies = []*Policy{{Info: Info{Name: "x"}, Listener: "front", Action: Reject}}
		verdict(t, p.String(), l, p == ListenerHTTP || p == ListenerHTTPS, "l7_policies[0].listener_id")
	}
}
