package status

import (
	"fmt"
	"time"

	"github.com/fiberlb/fiberlb/pkg/lb"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

// Short names for the words of the API.
const (
	active  = fiberlbv1.ProvisioningStatus_PROVISIONING_STATUS_ACTIVE
	pending = fiberlbv1.ProvisioningStatus_PROVISIONING_STATUS_PENDING
	refused = fiberlbv1.ProvisioningStatus_PROVISIONING_STATUS_ERROR

	online    = fiberlbv1.OperatingStatus_OPERATING_STATUS_ONLINE
	degraded  = fiberlbv1.OperatingStatus_OPERATING_STATUS_DEGRADED
	failing   = fiberlbv1.OperatingStatus_OPERATING_STATUS_ERROR
	draining  = fiberlbv1.OperatingStatus_OPERATING_STATUS_DRAINING
	offline   = fiberlbv1.OperatingStatus_OPERATING_STATUS_OFFLINE
	noMonitor = fiberlbv1.OperatingStatus_OPERATING_STATUS_NO_MONITOR
)

// state is an operating status and its reason in words; online needs none.
type state struct {
	status fiberlbv1.OperatingStatus
	reason string
}

const noNode = "no node serves it yet"

// Attach writes the status of every object into a configuration of the view's load balancer. Now decides which certificates
// have expired.
func (v *View) Attach(config *fiberlbv1.LoadBalancerConfig, now time.Time) {
	config.Status = v.LoadBalancer()
	pools := map[string]state{}
	for _, pool := range config.GetPools() {
		at := v.pool(pool.GetName())
		pools[pool.GetName()] = at
		pool.Status = v.message(pool.GetFullName(), at)
		if hc := pool.GetHealthCheck(); hc != nil {
			hc.Status = v.message(hc.GetFullName(), v.healthCheck(pool.GetName(), at))
		}
		for _, backend := range pool.GetBackends() {
			backend.Status = v.message(backend.GetFullName(), v.backend(pool.GetName(), backend, at))
		}
	}
	listeners := map[string]state{}
	for _, listener := range config.GetListeners() {
		at := v.listener(listener.GetName())
		listeners[listener.GetName()] = at
		listener.Status = v.message(listener.GetFullName(), at)
	}
	for _, policy := range config.GetL7Policies() {
		at := v.policy(policy, listeners[policy.GetListenerId()], pools)
		policy.Status = v.message(policy.GetFullName(), at)
		for _, rule := range policy.GetRules() {
			of := at
			if !rule.GetEnabled() && at.status != offline {
				of = state{offline, "it is disabled"}
			} else if at.status != offline {
				of = state{status: online}
			}
			rule.Status = v.message(rule.GetFullName(), of)
		}
	}
	for _, certificate := range config.GetCertificates() {
		certificate.Status = v.message(certificate.GetFullName(), v.certificate(certificate, now))
	}
}

// LoadBalancer is the status of the load balancer itself, with its rollout.
func (v *View) LoadBalancer() *fiberlbv1.Status {
	s := v.message(lb.LoadBalancerName(v.lb.Project, v.lb.Name), v.whole())
	s.Rollout = &fiberlbv1.Rollout{
		Revision: v.revision, Nodes: uint32(v.nodes), Acked: uint32(v.acked), Nacked: uint32(v.nacked), LastError: v.lastError,
	}
	return s
}

// message joins provisioning and operation of one object.
func (v *View) message(full string, at state) *fiberlbv1.Status {
	s := &fiberlbv1.Status{ProvisioningStatus: active, OperatingStatus: at.status, Reason: at.reason}
	why := ""
	waiting := v.nodes - v.acked - v.nacked
	if text, ok := v.refusal(full); ok {
		s.ProvisioningStatus, why = refused, text
	} else if v.nodes == 0 {
		s.ProvisioningStatus, why = pending, noNode
	} else if waiting > 0 {
		s.ProvisioningStatus, why = pending, fmt.Sprintf("%d of %d nodes have not answered yet", waiting, v.nodes)
	}
	s.Reconciling = v.nodes == 0 || waiting > 0
	switch {
	case why == "" || why == at.reason:
	case at.reason == "":
		s.Reason = why
	default:
		s.Reason = why + "; " + at.reason
	}
	return s
}

// nowhere is the state of everything in a load balancer that no node serves.
func (v *View) nowhere() (state, bool) {
	switch {
	case !v.lb.Enabled:
		return state{offline, "the load balancer is disabled"}, true
	case v.nodes == 0:
		return state{offline, noNode}, true
	}
	return state{}, false
}

func (v *View) whole() state {
	if at, ok := v.nowhere(); ok {
		return at
	}
	if v.draining == v.nodes {
		return state{draining, "all its nodes are draining"}
	}
	enabled, bad, broken, first := 0, 0, 0, ""
	for _, x := range v.lb.Listeners {
		if !x.Enabled {
			continue
		}
		enabled++
		at := v.listener(x.Name)
		if at.status == online {
			continue
		}
		bad++
		if at.status == failing || at.status == offline {
			broken++
		}
		if first == "" {
			first = fmt.Sprintf("listener %q: %s", x.Name, at.reason)
		}
	}
	switch {
	case enabled == 0:
		return state{offline, "it has no enabled listener"}
	case broken == enabled:
		return state{failing, first}
	case bad > 0:
		return state{degraded, first}
	}
	return state{status: online}
}

func (v *View) listener(name string) state {
	x := v.lb.Listener(name)
	if at, ok := v.nowhere(); ok {
		return at
	}
	switch {
	case x == nil || !x.Enabled:
		return state{offline, "it is disabled"}
	case v.draining == v.nodes:
		return state{draining, "all its nodes are draining"}
	}
	fault, faulty := v.listeners[lb.ListenerName(v.lb.Project, v.lb.Name, name)]
	if faulty && fault.nodes >= v.nodes {
		return state{failing, "it serves on no node: " + fault.String()}
	}
	names := poolsOf(v.lb, x)
	broken, first := 0, ""
	for _, pool := range names {
		at := v.pool(pool)
		if at.status == failing || at.status == offline {
			broken++
		}
		if first == "" && at.status != online && at.status != noMonitor {
			first = fmt.Sprintf("pool %q: %s", pool, at.reason)
		}
	}
	switch {
	case len(names) == 0 && !v.answersItself(x):
		return state{offline, "it has no pool to send traffic to"}
	case len(names) > 0 && broken == len(names) && !v.answersItself(x):
		return state{failing, first}
	case faulty:
		return state{degraded, fmt.Sprintf("it does not serve on %d of %d nodes: %s", fault.nodes, v.nodes, fault)}
	case first != "":
		return state{degraded, first}
	}
	return state{status: online}
}

// answersItself tells whether some enabled policy of the listener needs no pool.
func (v *View) answersItself(x *lb.Listener) bool {
	for _, policy := range v.lb.Policies {
		if policy.Listener == x.Name && policy.Enabled && len(policy.Pools) == 0 {
			return true
		}
	}
	return false
}

func (v *View) pool(name string) state {
	pool := v.lb.Pool(name)
	if at, ok := v.nowhere(); ok {
		return at
	}
	switch {
	case pool == nil || !pool.Enabled:
		return state{offline, "it is disabled"}
	case !v.used[name]:
		return state{offline, "no enabled listener uses it"}
	case len(pool.Backends) == 0:
		return state{failing, "it has no backend"}
	case countUsable(pool) == 0:
		return state{failing, "all its backends are disabled or have weight 0"}
	case pool.HealthCheck == nil || !pool.HealthCheck.Enabled:
		return state{noMonitor, "it has no health check"}
	}
	down, first := 0, ""
	for _, backend := range pool.Backends {
		if len(v.down) == 0 {
			break
		}
		if r, ok := v.down[lb.BackendName(v.lb.Project, v.lb.Name, name, backend.Name)]; ok && usable(backend) {
			down++
			if first == "" {
				first = fmt.Sprintf("backend %q: %s", backend.Name, r)
			}
		}
	}
	switch dead := v.dead[name]; {
	case dead >= v.nodes:
		return state{failing, "no backend is up: " + first}
	case dead > 0:
		return state{degraded, fmt.Sprintf("no backend is up on %d of %d nodes: %s", dead, v.nodes, first)}
	case down > 0:
		return state{degraded, fmt.Sprintf("%d of %d backends are down: %s", down, countUsable(pool), first)}
	}
	return state{status: online, reason: v.uncertain()}
}

// uncertain says why a backend that nobody reports down might be down all the same.
func (v *View) uncertain() string {
	if v.truncated == "" {
		return ""
	}
	return fmt.Sprintf("node %s does not list all backends that it sees down", v.truncated)
}

// backend takes the message for what may be cheaply known from it.
func (v *View) backend(pool string, backend *fiberlbv1.Backend, of state) state {
	if at, ok := v.nowhere(); ok {
		return at
	}
	switch {
	case !backend.GetEnabled():
		return state{offline, "it is disabled"}
	case of.status == offline:
		return state{offline, "its pool: " + of.reason}
	case backend.Weight != nil && backend.GetWeight() == 0:
		return state{draining, "its weight is 0"}
	}
	if p := v.lb.Pool(pool); p == nil || p.HealthCheck == nil || !p.HealthCheck.Enabled {
		return state{noMonitor, "its pool has no health check"}
	}
	r, ok := v.down[backend.GetFullName()]
	switch {
	case ok && r.nodes >= v.nodes:
		return state{failing, "it is down: " + r.String()}
	case ok:
		return state{degraded, fmt.Sprintf("it is down on %d of %d nodes: %s", r.nodes, v.nodes, r)}
	}
	return state{status: online, reason: v.uncertain()}
}

func (v *View) healthCheck(pool string, of state) state {
	if at, ok := v.nowhere(); ok {
		return at
	}
	p := v.lb.Pool(pool)
	switch {
	case p == nil || p.HealthCheck == nil || !p.HealthCheck.Enabled:
		return state{offline, "it is disabled"}
	case of.status == offline:
		return state{offline, "its pool: " + of.reason}
	}
	return state{status: online}
}

func (v *View) policy(policy *fiberlbv1.L7Policy, listener state, pools map[string]state) state {
	if at, ok := v.nowhere(); ok {
		return at
	}
	switch {
	case !policy.GetEnabled():
		return state{offline, "it is disabled"}
	case listener.status == offline:
		return state{offline, "its listener: " + listener.reason}
	}
	names := []string{policy.GetRedirectPoolId()}
	for _, weighted := range policy.GetRedirectPools() {
		names = append(names, weighted.GetPoolId())
	}
	total, broken, first := 0, 0, ""
	for _, name := range names {
		at, ok := pools[name]
		if !ok {
			continue
		}
		total++
		if at.status == failing || at.status == offline {
			broken++
		}
		if first == "" && at.status != online && at.status != noMonitor {
			first = fmt.Sprintf("pool %q: %s", name, at.reason)
		}
	}
	switch {
	case total > 0 && broken == total:
		return state{failing, first}
	case first != "":
		return state{degraded, first}
	}
	return state{status: online}
}

func (v *View) certificate(certificate *fiberlbv1.Certificate, now time.Time) state {
	if end := certificate.GetExpiresAt(); end != nil && end.AsTime().Before(now) {
		return state{failing, "it expired on " + end.AsTime().Format(time.DateOnly)}
	}
	if at, ok := v.nowhere(); ok {
		return at
	}
	return state{status: online}
}
