package api

import (
	"cmp"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/fiberlb/fiberlb/pkg/lb"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

// object is what the messages of all kinds have in common.
type object interface {
	proto.Message
	GetName() string
	GetEtag() string
	GetFullName() string
	GetStatus() *fiberlbv1.Status
}

// kind describes one kind of object inside a load balancer; all that the API does with it follows from that.
type kind[M object] struct {
	noun      string // "policy", in messages
	field     string // "l7_policy", of requests
	form      pattern
	immutable []protoreflect.Name
	// nameless tells that an object may be created without a name, which normalization then finds.
	nameless bool
	// locate finds where the children of a parent lie in the configuration; false where the parent does not exist.
	locate func(config *fiberlbv1.LoadBalancerConfig, parent ids) (site[M], bool)
	// fill puts one object of a load balancer into a frame; see show.
	fill func(frame *fiberlbv1.LoadBalancerConfig, l *lb.LoadBalancer, names ids) bool
	// adopt checks and fills in what a new object says about its parent; nil: nothing.
	adopt func(child M, parent ids) error
	// settle takes back what an update has overruled without saying so: defaults of before that mean nothing any more, and what
	// stands in the place of something else. Nil: nothing.
	settle func(target, source M)
	// users names what refers to the object by its short name, and so keeps it from being deleted; nil: nothing does.
	users func(config *fiberlbv1.LoadBalancerConfig, name string) []string
	// dependents deletes what cannot be without the object if cascade is set, and names it otherwise; nil: nothing.
	dependents func(config *fiberlbv1.LoadBalancerConfig, name string, cascade bool) []string
}

// site is the list in a configuration that holds the children of one parent, perhaps among others.
type site[M object] struct {
	items []M
	mine  func(M) bool // nil: all are
	put   func([]M)
	path  func(i int) string // in the configuration
	limit int                // 0: none
	// holder is the message that the children are a part of, where they do not stand for themselves; nil: they do.
	holder proto.Message
}

// find gives the index of the child of that name, or -1.
func (s site[M]) find(name string) int {
	return slices.IndexFunc(s.items, func(m M) bool { return m.GetName() == name && (s.mine == nil || s.mine(m)) })
}

// children are those of the parent, sorted by name.
func (s site[M]) children() []M {
	var out []M
	for _, m := range s.items {
		if s.mine == nil || s.mine(m) {
			out = append(out, m)
		}
	}
	slices.SortStableFunc(out, func(a, b M) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return out
}

// indexPath gives paths like "listeners[3]".
func indexPath(list string) func(int) string {
	return func(i int) string { return fmt.Sprintf("%s[%d]", list, i) }
}

func findPool(config *fiberlbv1.LoadBalancerConfig, name string) int {
	return slices.IndexFunc(config.GetPools(), func(p *fiberlbv1.Pool) bool { return p.GetName() == name })
}

func findListener(config *fiberlbv1.LoadBalancerConfig, name string) int {
	return slices.IndexFunc(config.GetListeners(), func(l *fiberlbv1.Listener) bool { return l.GetName() == name })
}

func findPolicy(config *fiberlbv1.LoadBalancerConfig, listener, name string) int {
	return slices.IndexFunc(config.GetL7Policies(), func(p *fiberlbv1.L7Policy) bool {
		return p.GetListenerId() == listener && p.GetName() == name
	})
}

var listenerKind = &kind[*fiberlbv1.Listener]{
	noun: "listener", field: "listener", form: listenerPattern, fill: fillListener, immutable: []protoreflect.Name{"name"},
	locate: func(config *fiberlbv1.LoadBalancerConfig, _ ids) (site[*fiberlbv1.Listener], bool) {
		return site[*fiberlbv1.Listener]{
			items: config.GetListeners(),
			put:   func(items []*fiberlbv1.Listener) { config.Listeners = items },
			path:  indexPath("listeners"),
		}, true
	},
	settle: func(target, source *fiberlbv1.Listener) {
		if http := lb.ListenerProtocol(target.GetProtocol()).IsHTTP(); !http && source.GetInsertHeaders() == nil {
			target.InsertHeaders = nil
		}
	},
	dependents: func(config *fiberlbv1.LoadBalancerConfig, name string, cascade bool) []string {
		ofListener := func(p *fiberlbv1.L7Policy) bool { return p.GetListenerId() == name }
		var names []string
		for _, policy := range config.GetL7Policies() {
			if ofListener(policy) {
				names = append(names, fmt.Sprintf("policy %q", policy.GetName()))
			}
		}
		if !cascade {
			return names
		}
		config.L7Policies = slices.DeleteFunc(config.L7Policies, ofListener)
		return nil
	},
}

var poolKind = &kind[*fiberlbv1.Pool]{
	noun: "pool", field: "pool", form: poolPattern, fill: fillPool, immutable: []protoreflect.Name{"name"},
	locate: func(config *fiberlbv1.LoadBalancerConfig, _ ids) (site[*fiberlbv1.Pool], bool) {
		return site[*fiberlbv1.Pool]{
			items: config.GetPools(),
			put:   func(items []*fiberlbv1.Pool) { config.Pools = items },
			path:  indexPath("pools"),
		}, true
	},
	users: func(config *fiberlbv1.LoadBalancerConfig, name string) []string {
		var users []string
		for _, listener := range config.GetListeners() {
			if listener.GetDefaultPoolId() == name {
				users = append(users, fmt.Sprintf("listener %q", listener.GetName()))
			}
		}
		for _, policy := range config.GetL7Policies() {
			if policy.GetRedirectPoolId() == name || slices.ContainsFunc(policy.GetRedirectPools(), func(w *fiberlbv1.WeightedPool) bool {
				return w.GetPoolId() == name
			}) {
				users = append(users, fmt.Sprintf("policy %q of listener %q", policy.GetName(), policy.GetListenerId()))
			}
		}
		return users
	},
}

var backendKind = &kind[*fiberlbv1.Backend]{
	noun: "backend", field: "backend", form: backendPattern, fill: fillBackend, immutable: []protoreflect.Name{"name"},
	locate: func(config *fiberlbv1.LoadBalancerConfig, parent ids) (site[*fiberlbv1.Backend], bool) {
		i := findPool(config, parent[2])
		if i < 0 {
			return site[*fiberlbv1.Backend]{}, false
		}
		return site[*fiberlbv1.Backend]{
			items: config.Pools[i].GetBackends(),
			put:   func(items []*fiberlbv1.Backend) { config.Pools[i].Backends = items },
			path:  indexPath(fmt.Sprintf("pools[%d].backends", i)),
		}, true
	},
}

var healthCheckKind = &kind[*fiberlbv1.HealthCheck]{
	noun: "health check", field: "health_check", form: healthCheckPattern, fill: fillHealthCheck, immutable: []protoreflect.Name{"name"},
	nameless: true,
	locate: func(config *fiberlbv1.LoadBalancerConfig, parent ids) (site[*fiberlbv1.HealthCheck], bool) {
		i := findPool(config, parent[2])
		if i < 0 {
			return site[*fiberlbv1.HealthCheck]{}, false
		}
		pool := config.Pools[i]
		s := site[*fiberlbv1.HealthCheck]{
			put: func(items []*fiberlbv1.HealthCheck) {
				pool.HealthCheck = nil
				if len(items) > 0 {
					pool.HealthCheck = items[0]
				}
			},
			path:  func(int) string { return fmt.Sprintf("pools[%d].health_check", i) },
			limit: 1,
		}
		if pool.GetHealthCheck() != nil {
			s.items = []*fiberlbv1.HealthCheck{pool.GetHealthCheck()}
		}
		return s, true
	},
	settle: func(target, source *fiberlbv1.HealthCheck) {
		switch target.GetType() {
		case fiberlbv1.HealthCheckType_HEALTH_CHECK_TYPE_HTTP, fiberlbv1.HealthCheckType_HEALTH_CHECK_TYPE_HTTPS:
		default:
			if source.GetHttp() == nil {
				target.Http = nil
			}
		}
	},
}

var policyKind = &kind[*fiberlbv1.L7Policy]{
	noun: "policy", field: "l7_policy", form: policyPattern, fill: fillPolicy, immutable: []protoreflect.Name{"name", "listener_id"},
	locate: func(config *fiberlbv1.LoadBalancerConfig, parent ids) (site[*fiberlbv1.L7Policy], bool) {
		if findListener(config, parent[2]) < 0 {
			return site[*fiberlbv1.L7Policy]{}, false
		}
		return site[*fiberlbv1.L7Policy]{
			items: config.GetL7Policies(),
			mine:  func(p *fiberlbv1.L7Policy) bool { return p.GetListenerId() == parent[2] },
			put:   func(items []*fiberlbv1.L7Policy) { config.L7Policies = items },
			path:  indexPath("l7_policies"),
		}, true
	},
	adopt: func(policy *fiberlbv1.L7Policy, parent ids) error {
		if id := policy.GetListenerId(); id != "" && id != parent[2] {
			return fieldError("l7_policy.listener_id", "%q is not %q, the listener that parent names", id, parent[2])
		}
		policy.ListenerId = parent[2]
		return nil
	},
	settle: settlePolicy,
}

// settlePolicy keeps a policy to one form of naming pools, the one that the update writes, and takes back a status code that was
// the default of another action.
func settlePolicy(target, source *fiberlbv1.L7Policy) {
	switch one, many := source.GetRedirectPoolId() != "", len(source.GetRedirectPools()) > 0; {
	case one && !many && target.GetRedirectPoolId() == source.GetRedirectPoolId():
		target.RedirectPools = nil
	case many && !one && len(target.GetRedirectPools()) > 0:
		target.RedirectPoolId = ""
	}
	if source.GetRedirectHttpStatusCode() != 0 {
		return
	}
	code := target.GetRedirectHttpStatusCode()
	switch target.GetAction() {
	case fiberlbv1.L7PolicyAction_L7_POLICY_ACTION_REJECT:
		if code < 400 {
			target.RedirectHttpStatusCode = 0
		}
	case fiberlbv1.L7PolicyAction_L7_POLICY_ACTION_REDIRECT_TO_URL, fiberlbv1.L7PolicyAction_L7_POLICY_ACTION_REDIRECT_PREFIX:
		if code >= 400 {
			target.RedirectHttpStatusCode = 0
		}
	default:
		target.RedirectHttpStatusCode = 0
	}
}

var ruleKind = &kind[*fiberlbv1.L7Rule]{
	noun: "rule", field: "l7_rule", form: rulePattern, fill: fillPolicy, immutable: []protoreflect.Name{"name"},
	nameless: true,
	locate: func(config *fiberlbv1.LoadBalancerConfig, parent ids) (site[*fiberlbv1.L7Rule], bool) {
		i := findPolicy(config, parent[2], parent[3])
		if i < 0 {
			return site[*fiberlbv1.L7Rule]{}, false
		}
		return site[*fiberlbv1.L7Rule]{
			items: config.L7Policies[i].GetRules(),
			put:   func(items []*fiberlbv1.L7Rule) { config.L7Policies[i].Rules = items },
			path:  indexPath(fmt.Sprintf("l7_policies[%d].rules", i)),

			holder: config.L7Policies[i],
		}, true
	},
}

var certificateKind = &kind[*fiberlbv1.Certificate]{
	noun: "certificate", field: "certificate", form: certificatePattern, fill: fillCertificate, immutable: []protoreflect.Name{"name"},
	locate: func(config *fiberlbv1.LoadBalancerConfig, _ ids) (site[*fiberlbv1.Certificate], bool) {
		return site[*fiberlbv1.Certificate]{
			items: config.GetCertificates(),
			put:   func(items []*fiberlbv1.Certificate) { config.Certificates = items },
			path:  indexPath("certificates"),
		}, true
	},
	users: func(config *fiberlbv1.LoadBalancerConfig, name string) []string {
		var users []string
		for _, listener := range config.GetListeners() {
			tls := listener.GetTlsConfig()
			if tls.GetCertificateId() == name || tls.GetClientCaCertificateId() == name || slices.Contains(tls.GetSniCertificateIds(), name) {
				users = append(users, fmt.Sprintf("listener %q", listener.GetName()))
			}
		}
		return users
	},
}
