package lb

import (
	"fmt"
	"slices"
	"strings"
)

// Kind of an object that has a full name.
type Kind uint8

// Kinds.
const (
	KindProject Kind = iota + 1
	KindLoadBalancer
	KindListener
	KindPool
	KindBackend
	KindHealthCheck
	KindPolicy
	KindRule
	KindCertificate
	KindNode
)

var kinds = [...]struct {
	words      string
	parent     Kind
	collection string
}{
	KindProject:      {"project", 0, "projects"},
	KindLoadBalancer: {"load balancer", KindProject, "loadBalancers"},
	KindListener:     {"listener", KindLoadBalancer, "listeners"},
	KindPool:         {"pool", KindLoadBalancer, "pools"},
	KindBackend:      {"backend", KindPool, "backends"},
	KindHealthCheck:  {"health check", KindPool, "healthChecks"},
	KindPolicy:       {"policy", KindListener, "l7Policies"},
	KindRule:         {"rule", KindPolicy, "rules"},
	KindCertificate:  {"certificate", KindLoadBalancer, "certificates"},
	KindNode:         {"node", 0, "nodes"},
}

// String names the kind in messages: "load balancer".
func (k Kind) String() string {
	if k == 0 || int(k) >= len(kinds) {
		return "object"
	}
	return kinds[k].words
}

// Path is a full name in its parts. Name is the last part, whatever the kind;
// the other fields are set for the object itself and for those around it, so
// that a rule's path has Project, LB, Listener and Policy.
type Path struct {
	Kind                                Kind
	Project, LB, Listener, Pool, Policy string
	Name                                string
}

// String gives the full name back.
func (p Path) String() string {
	switch p.Kind {
	case KindProject:
		return "projects/" + p.Name
	case KindLoadBalancer:
		return LoadBalancerName(p.Project, p.Name)
	case KindListener:
		return ListenerName(p.Project, p.LB, p.Name)
	case KindPool:
		return PoolName(p.Project, p.LB, p.Name)
	case KindBackend:
		return BackendName(p.Project, p.LB, p.Pool, p.Name)
	case KindHealthCheck:
		return HealthCheckName(p.Project, p.LB, p.Pool, p.Name)
	case KindPolicy:
		return PolicyName(p.Project, p.LB, p.Listener, p.Name)
	case KindRule:
		return RuleName(p.Project, p.LB, p.Listener, p.Policy, p.Name)
	case KindCertificate:
		return CertificateName(p.Project, p.LB, p.Name)
	case KindNode:
		return NodeName(p.Name)
	default:
		return ""
	}
}

// LoadBalancerName is the full name of a load balancer.
func LoadBalancerName(project, lb string) string {
	return "projects/" + project + "/loadBalancers/" + lb
}

// ListenerName is the full name of a listener.
func ListenerName(project, lb, listener string) string {
	return LoadBalancerName(project, lb) + "/listeners/" + listener
}

// PoolName is the full name of a pool.
func PoolName(project, lb, pool string) string {
	return LoadBalancerName(project, lb) + "/pools/" + pool
}

// BackendName is the full name of a backend.
func BackendName(project, lb, pool, backend string) string {
	return PoolName(project, lb, pool) + "/backends/" + backend
}

// HealthCheckName is the full name of a health check.
func HealthCheckName(project, lb, pool, healthCheck string) string {
	return PoolName(project, lb, pool) + "/healthChecks/" + healthCheck
}

// PolicyName is the full name of a policy.
func PolicyName(project, lb, listener, policy string) string {
	return ListenerName(project, lb, listener) + "/l7Policies/" + policy
}

// RuleName is the full name of a rule.
func RuleName(project, lb, listener, policy, rule string) string {
	return PolicyName(project, lb, listener, policy) + "/rules/" + rule
}

// CertificateName is the full name of a certificate.
func CertificateName(project, lb, certificate string) string {
	return LoadBalancerName(project, lb) + "/certificates/" + certificate
}

// NodeName is the full name of a node.
func NodeName(node string) string { return "nodes/" + node }

// ParseName reads a full name of any kind, projects and nodes among them. The
// error says what is expected at the place where the name goes astray.
func ParseName(full string) (Path, error) {
	var p Path
	parts := strings.Split(full, "/")
	for i := 0; i < len(parts); i += 2 {
		var expected []string
		next := Kind(0)
		for k := KindProject; k <= KindNode; k++ {
			if kinds[k].parent == p.Kind {
				expected = append(expected, kinds[k].collection)
				if kinds[k].collection == parts[i] {
					next = k
				}
			}
		}
		switch {
		case next == 0 && len(expected) == 0:
			return Path{}, fmt.Errorf("%s is not a full name: nothing follows a %s", Quote(full), p.Kind)
		case next == 0 || i+1 == len(parts):
			return Path{}, fmt.Errorf("%s is not a full name: expected %s%s", Quote(full), expectation(expected, parts[i]), after(parts[:i]))
		}
		name := parts[i+1]
		check := ValidName
		if next == KindNode {
			check = ValidNodeName
		}
		if err := check(name); err != nil {
			return Path{}, fmt.Errorf("%s is not a full name: %s name %w", Quote(full), next, err)
		}
		p.Kind, p.Name = next, name
		p.set(name)
	}
	return p, nil
}

func (p *Path) set(name string) {
	switch p.Kind {
	case KindProject:
		p.Project = name
	case KindLoadBalancer:
		p.LB = name
	case KindListener:
		p.Listener = name
	case KindPool:
		p.Pool = name
	case KindPolicy:
		p.Policy = name
	}
}

func after(parts []string) string {
	if len(parts) == 0 {
		return ""
	}
	return " after " + Quote(strings.Join(parts, "/"))
}

func expectation(collections []string, got string) string {
	if i := slices.Index(collections, got); i >= 0 {
		return "a name after " + got + "/"
	}
	return strings.Join(collections, "/NAME, or ") + "/NAME"
}

const (
	labelRemedy = `use a DNS label such as "web-1": up to 63 of a-z, 0-9 and "-", with a letter or digit at both ends`
	nodeRemedy  = `use a host name such as "rack7.node-1": DNS labels joined by ".", 253 bytes at most`
)

// ValidName tells whether s is a DNS label of RFC 1123 section 2.1 in lower
// case, at most 63 bytes. The error quotes s and says what is expected.
func ValidName(s string) error {
	if !isLabel(s) {
		return fmt.Errorf("%s is not a DNS label; %s", Quote(s), labelRemedy)
	}
	return nil
}

// ValidNodeName tells whether s is a host name in lower case: DNS labels
// joined by dots, at most 253 bytes (RFC 1123 section 2.1). Nodes are named
// after their machines, so that they may have dots where objects have none.
func ValidNodeName(s string) error {
	for label := range strings.SplitSeq(s, ".") {
		if !isLabel(label) || len(s) > 253 {
			return fmt.Errorf("%s is not a host name; %s", Quote(s), nodeRemedy)
		}
	}
	return nil
}

func isLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for _, b := range []byte(s) {
		if (b < 'a' || b > 'z') && (b < '0' || b > '9') && b != '-' {
			return false
		}
	}
	return true
}
