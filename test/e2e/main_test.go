// Package e2e holds FiberLB's real binaries, as processes, to what their users were promised: an operator at fiberctl and curl,
// a client behind a VIP, a BGP agent at the readiness socket, a supervisor that stops and restarts things.
package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/fiberlb/fiberlb/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// service is one listener on one VIP, and the pool it leads to.
type service struct {
	name     string
	listener netip.AddrPort
	pool     []*harness.Backend
	// check is the pool's health check; empty: none.
	check string
}

// quickCheck notices within moments.
const quickCheck = "{type: tcp, interval: 100ms, timeout: 90ms, healthy_threshold: 1, unhealthy_threshold: 1}"

// yaml is the service as one load balancer with one listener "front" and one pool "servers".
func (s service) yaml() string {
	var b strings.Builder
	fmt.Fprintf(&b, `name: %s
vips: ["%s"]
listeners:
- {name: front, port: %d, protocol: tcp, default_pool_id: servers}
pools:
- name: servers
  protocol: tcp
  algorithm: maglev
`, s.name, s.listener.Addr(), s.listener.Port())
	if s.check != "" {
		fmt.Fprintf(&b, "  health_check: %s\n", s.check)
	}
	b.WriteString("  backends:\n")
	for _, backend := range s.pool {
		fmt.Fprintf(&b, "  - %s\n", backend.YAML(""))
	}
	return b.String()
}

// backends starts so many with names that begin alike.
func backends(t *testing.T, prefix string, n int) []*harness.Backend {
	t.Helper()
	all := make([]*harness.Backend, 0, n)
	for i := range n {
		all = append(all, harness.NewBackend(t, fmt.Sprint(prefix, i+1)))
	}
	return all
}

func containsAll(text string, words ...string) bool {
	for _, word := range words {
		if !strings.Contains(text, word) {
			return false
		}
	}
	return true
}
