package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/fiberlb/fiberlb/cmd/fiberctl/internal/table"
	"github.com/fiberlb/fiberlb/pkg/lb"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

// kind is one kind of object: how it is called, reached and shown.
type kind struct {
	names   []string // the first is the kind's own, others are accepted too
	of      lb.Kind
	field   string // of a list in JSON and YAML
	parents []lb.Kind
	columns []column

	get    func(ctx context.Context, c *client, name string) (proto.Message, error)
	list   func(ctx context.Context, c *client, parent string) ([]proto.Message, error)
	remove func(ctx context.Context, c *client, req *fiberlbv1.DeleteRequest) error
	row    func(a *app, m proto.Message) []table.Cell
}

// column is a column of a kind's table.
type column struct {
	table.Column
	wide bool // only with -o wide
}

// calls binds a kind to the methods of its service.
func calls[S any, M proto.Message, R interface{ GetNextPageToken() string }](
	k kind,
	service func(*client) S,
	get func(S, context.Context, *fiberlbv1.GetRequest, ...grpc.CallOption) (M, error),
	list func(S, context.Context, *fiberlbv1.ListRequest, ...grpc.CallOption) (R, error),
	items func(R) []M,
	remove func(S, context.Context, *fiberlbv1.DeleteRequest, ...grpc.CallOption) (*emptypb.Empty, error),
	row func(*app, M) []table.Cell,
) *kind {
	k.get = func(ctx context.Context, c *client, name string) (proto.Message, error) {
		return get(service(c), ctx, &fiberlbv1.GetRequest{Name: name})
	}
	k.list = func(ctx context.Context, c *client, parent string) ([]proto.Message, error) {
		return pages(ctx, func(ctx context.Context, token string) ([]proto.Message, string, error) {
			answer, err := list(service(c), ctx, &fiberlbv1.ListRequest{Parent: parent, PageSize: pageSize, PageToken: token})
			if err != nil {
				return nil, "", err
			}
			var messages []proto.Message
			for _, item := range items(answer) {
				messages = append(messages, item)
			}
			return messages, answer.GetNextPageToken(), nil
		})
	}
	k.remove = func(ctx context.Context, c *client, req *fiberlbv1.DeleteRequest) error {
		_, err := remove(service(c), ctx, req)
		return err
	}
	k.row = func(a *app, m proto.Message) []table.Cell { return row(a, m.(M)) }
	return &k
}

// kinds are all kinds, outermost first.
var kinds = []*kind{
	calls(kind{names: []string{"loadbalancers", "loadbalancer", "lbs", "lb"}, of: lb.KindLoadBalancer, field: "load_balancers", columns: loadBalancerColumns},
		func(c *client) fiberlbv1.LoadBalancerServiceClient { return c.loadBalancers },
		fiberlbv1.LoadBalancerServiceClient.GetLoadBalancer, fiberlbv1.LoadBalancerServiceClient.ListLoadBalancers,
		(*fiberlbv1.ListLoadBalancersResponse).GetLoadBalancers, fiberlbv1.LoadBalancerServiceClient.DeleteLoadBalancer,
		func(a *app, m *fiberlbv1.LoadBalancer) []table.Cell { return a.loadBalancerRow(m) }),
	calls(kind{names: []string{"listeners", "listener"}, of: lb.KindListener, field: "listeners", parents: []lb.Kind{lb.KindLoadBalancer}, columns: listenerColumns},
		func(c *client) fiberlbv1.ListenerServiceClient { return c.listeners },
		fiberlbv1.ListenerServiceClient.GetListener, fiberlbv1.ListenerServiceClient.ListListeners,
		(*fiberlbv1.ListListenersResponse).GetListeners, fiberlbv1.ListenerServiceClient.DeleteListener, (*app).listenerRow),
	calls(kind{names: []string{"pools", "pool"}, of: lb.KindPool, field: "pools", parents: []lb.Kind{lb.KindLoadBalancer}, columns: poolColumns},
		func(c *client) fiberlbv1.PoolServiceClient { return c.pools },
		fiberlbv1.PoolServiceClient.GetPool, fiberlbv1.PoolServiceClient.ListPools,
		(*fiberlbv1.ListPoolsResponse).GetPools, fiberlbv1.PoolServiceClient.DeletePool, (*app).poolRow),
	calls(kind{names: []string{"backends", "backend"}, of: lb.KindBackend, field: "backends", parents: []lb.Kind{lb.KindLoadBalancer, lb.KindPool}, columns: backendColumns},
		func(c *client) fiberlbv1.BackendServiceClient { return c.backends },
		fiberlbv1.BackendServiceClient.GetBackend, fiberlbv1.BackendServiceClient.ListBackends,
		(*fiberlbv1.ListBackendsResponse).GetBackends, fiberlbv1.BackendServiceClient.DeleteBackend, (*app).backendRow),
	calls(kind{names: []string{"healthchecks", "healthcheck", "health_checks", "hc"}, of: lb.KindHealthCheck, field: "health_checks", parents: []lb.Kind{lb.KindLoadBalancer, lb.KindPool}, columns: healthCheckColumns},
		func(c *client) fiberlbv1.HealthCheckServiceClient { return c.healthChecks },
		fiberlbv1.HealthCheckServiceClient.GetHealthCheck, fiberlbv1.HealthCheckServiceClient.ListHealthChecks,
		(*fiberlbv1.ListHealthChecksResponse).GetHealthChecks, fiberlbv1.HealthCheckServiceClient.DeleteHealthCheck, (*app).healthCheckRow),
	calls(kind{names: []string{"policies", "policy", "l7policies", "l7policy", "l7_policies"}, of: lb.KindPolicy, field: "l7_policies", parents: []lb.Kind{lb.KindLoadBalancer, lb.KindListener}, columns: policyColumns},
		func(c *client) fiberlbv1.L7PolicyServiceClient { return c.policies },
		fiberlbv1.L7PolicyServiceClient.GetL7Policy, fiberlbv1.L7PolicyServiceClient.ListL7Policies,
		(*fiberlbv1.ListL7PoliciesResponse).GetL7Policies, fiberlbv1.L7PolicyServiceClient.DeleteL7Policy, (*app).policyRow),
	calls(kind{names: []string{"rules", "rule", "l7rules", "l7rule"}, of: lb.KindRule, field: "l7_rules", parents: []lb.Kind{lb.KindLoadBalancer, lb.KindListener, lb.KindPolicy}, columns: ruleColumns},
		func(c *client) fiberlbv1.L7RuleServiceClient { return c.rules },
		fiberlbv1.L7RuleServiceClient.GetL7Rule, fiberlbv1.L7RuleServiceClient.ListL7Rules,
		(*fiberlbv1.ListL7RulesResponse).GetL7Rules, fiberlbv1.L7RuleServiceClient.DeleteL7Rule, (*app).ruleRow),
	calls(kind{names: []string{"certificates", "certificate", "certs", "cert"}, of: lb.KindCertificate, field: "certificates", parents: []lb.Kind{lb.KindLoadBalancer}, columns: certificateColumns},
		func(c *client) fiberlbv1.CertificateServiceClient { return c.certificates },
		fiberlbv1.CertificateServiceClient.GetCertificate, fiberlbv1.CertificateServiceClient.ListCertificates,
		(*fiberlbv1.ListCertificatesResponse).GetCertificates, fiberlbv1.CertificateServiceClient.DeleteCertificate, (*app).certificateRow),
	calls(kind{names: []string{"nodes", "node"}, of: lb.KindNode, field: "nodes", columns: nodeColumns},
		func(c *client) fiberlbv1.NodeServiceClient { return c.nodes },
		fiberlbv1.NodeServiceClient.GetNode, fiberlbv1.NodeServiceClient.ListNodes,
		(*fiberlbv1.ListNodesResponse).GetNodes, fiberlbv1.NodeServiceClient.DeleteNode, (*app).nodeRow),
}

// kindNames are the kinds' own names.
func kindNames() []string {
	var names []string
	for _, k := range kinds {
		names = append(names, k.names[0])
	}
	return names
}

// findKind finds a kind by any of its names.
func findKind(word string) (*kind, error) {
	var all []string
	for _, k := range kinds {
		if slices.Contains(k.names, strings.ToLower(word)) {
			return k, nil
		}
		all = append(all, k.names...)
	}
	text := fmt.Sprintf("%q is not a kind: use one of %s", word, strings.Join(kindNames(), ", "))
	if near := lb.Nearest(word, all); near != "" {
		text += fmt.Sprintf("; did you mean %q?", near)
	}
	return nil, &usageError{text}
}

func kindFor(of lb.Kind) *kind {
	for _, k := range kinds {
		if k.of == of {
			return k
		}
	}
	return nil
}

// scope are the flags that say where an object lies.
type scope struct{ project, lb, listener, pool, policy string }

// parentFlags are the flags that complete short names, outermost first.
var parentFlags = []struct {
	of   lb.Kind
	flag string
	from func(*scope) string
}{
	{lb.KindLoadBalancer, "lb", func(s *scope) string { return s.lb }},
	{lb.KindListener, "listener", func(s *scope) string { return s.listener }},
	{lb.KindPool, "pool", func(s *scope) string { return s.pool }},
	{lb.KindPolicy, "policy", func(s *scope) string { return s.policy }},
}

// check refuses flags that the kind has no use for.
func (s *scope) check(k *kind) error {
	for _, f := range parentFlags {
		if f.from(s) != "" && !slices.Contains(k.parents, f.of) {
			return usagef("--%s does not go with %s", f.flag, k.names[0])
		}
	}
	if s.project != "" && k.of == lb.KindNode {
		return usagef("--project does not go with nodes")
	}
	return nil
}

// loadBalancer gives the project and short name that --lb says, short or full.
func (s *scope) loadBalancer() (project, name string, err error) {
	full, err := s.name(kindFor(lb.KindLoadBalancer), s.lb)
	if err != nil {
		return "", "", err
	}
	p, err := lb.ParseName(full)
	return p.Project, p.Name, err
}

// parent is the full name of what holds a kind's objects; where a flag is not given, "-" stands for all.
func (s *scope) parent(k *kind) (string, error) {
	if k.of == lb.KindNode {
		return "", nil
	}
	parent := "projects/" + or(s.project, "-")
	for i, of := range k.parents {
		collection := collections[of]
		switch name := parentName(s, of); {
		case of == lb.KindLoadBalancer && name != "":
			project, short, err := s.loadBalancer()
			if err != nil {
				return "", err
			}
			parent = "projects/" + project + "/" + collection + "/" + short
		case name == "":
			parent += "/" + collection + "/-"
		case strings.Contains(parent, "/-"):
			return "", usagef("--%s needs --%s too", flagOf(of), flagOf(k.parents[i-1]))
		default:
			parent += "/" + collection + "/" + name
		}
	}
	return parent, nil
}

// name is the full name of an object that is named short, with the flags, or in full.
func (s *scope) name(k *kind, name string) (string, error) {
	if strings.Contains(name, "/") {
		p, err := lb.ParseName(name)
		switch {
		case err != nil:
			return "", usagef("%v", err)
		case p.Kind != k.of:
			return "", usagef("%q is the name of a %s, not of a %s", name, p.Kind, k.of)
		}
		return name, nil
	}
	valid := lb.ValidName
	if k.of == lb.KindNode {
		valid = lb.ValidNodeName
	}
	if err := valid(name); err != nil {
		return "", usagef("%v", err)
	}
	if k.of == lb.KindNode {
		return lb.NodeName(name), nil
	}
	full := "projects/" + or(s.project, lb.DefaultProject)
	for _, of := range k.parents {
		parent := parentName(s, of)
		if parent == "" {
			return "", usagef("which %s %q? Give --%s, or the full name, %s", k.of, name, flagOf(of), example(k))
		}
		if of == lb.KindLoadBalancer {
			project, short, err := s.loadBalancer()
			if err != nil {
				return "", err
			}
			full, parent = "projects/"+project, short
		}
		full += "/" + collections[of] + "/" + parent
	}
	return full + "/" + collections[k.of] + "/" + name, nil
}

// collections are the words in full names.
var collections = map[lb.Kind]string{
	lb.KindLoadBalancer: "loadBalancers", lb.KindListener: "listeners", lb.KindPool: "pools", lb.KindBackend: "backends",
	lb.KindHealthCheck: "healthChecks", lb.KindPolicy: "l7Policies", lb.KindRule: "rules", lb.KindCertificate: "certificates",
}

func parentName(s *scope, of lb.Kind) string {
	for _, f := range parentFlags {
		if f.of == of {
			return f.from(s)
		}
	}
	return ""
}

func flagOf(of lb.Kind) string {
	for _, f := range parentFlags {
		if f.of == of {
			return f.flag
		}
	}
	return ""
}

// example shows the form of a kind's full names: "projects/PROJECT/loadBalancers/LB/listeners/LISTENER".
func example(k *kind) string {
	text := "projects/PROJECT"
	for _, of := range append(slices.Clone(k.parents), k.of) {
		word := strings.ReplaceAll(of.String(), " ", "_")
		if of == lb.KindLoadBalancer {
			word = "lb"
		}
		text += "/" + collections[of] + "/" + strings.ToUpper(word)
	}
	return text
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
