package api

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// badCall is a call that has to be refused.
type badCall struct {
	method, request string
	code            codes.Code
	words           string
}

func TestBadInputs(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 1)
	e.must("ConfigService/Apply", base)
	e.must("LoadBalancerService/CreateLoadBalancer", "parent: projects/default\nload_balancer: {name: taken, vips: [203.0.113.11]}")
	before := e.dump()
	calls := append(handmade(), generated(t)...)
	for _, c := range calls {
		_, err := e.try(c.method, c.request)
		if status.Code(err) != c.code || !strings.Contains(status.Convert(err).Message(), c.words) {
			t.Errorf("%s %s:\n%v\nwant %s with %q", c.method, c.request, err, c.code, c.words)
		}
		if c.code == codes.InvalidArgument && len(fields(err)) == 0 {
			t.Errorf("%s %s: %v: no field violations", c.method, c.request, err)
		}
	}
	if after := e.dump(); after != before {
		t.Errorf("something was stored:\n%s\nbefore:\n%s", after, before)
	}
	if len(calls) < 300 {
		t.Errorf("only %d calls", len(calls))
	}
}

// fields are the paths of an error's violations.
func fields(err error) []string {
	var paths []string
	for _, detail := range status.Convert(err).Details() {
		for _, v := range detail.(*errdetails.BadRequest).GetFieldViolations() {
			paths = append(paths, v.GetField())
		}
	}
	return paths
}

func handmade() []badCall {
	const (
		web    = "projects/default/loadBalancers/web"
		bad    = codes.InvalidArgument
		create = "parent: " + web + "\n"
	)
	return []badCall{
		{"LoadBalancerService/CreateLoadBalancer", "parent: projects/default\nload_balancer: {name: x, vips: [203.0.113.10]}", codes.FailedPrecondition, "203.0.113.10 is taken: it belongs to projects/default/loadBalancers/web"},
		{"LoadBalancerService/CreateLoadBalancer", "parent: projects/default\nvalidate_only: true\nload_balancer: {name: x, vips: [203.0.113.10]}", codes.FailedPrecondition, "is taken"},
		{"LoadBalancerService/CreateLoadBalancer", "parent: projects/default\nload_balancer: {name: x, vips: [198.51.100.1]}", bad, "load_balancer.vips[0]"},
		{"LoadBalancerService/CreateLoadBalancer", "parent: projects/default\nload_balancer: {name: x, project: other}", bad, "load_balancer.project"},
		{"LoadBalancerService/CreateLoadBalancer", "parent: projects/default\nload_balancer: {name: X}", bad, "load_balancer.name"},
		{"LoadBalancerService/CreateLoadBalancer", "parent: projects/-\nload_balancer: {name: x}", bad, "parent"},
		{"LoadBalancerService/CreateLoadBalancer", "parent: projects/default", bad, "load_balancer: required"},
		{"LoadBalancerService/UpdateLoadBalancer", "mask: project\nname: " + web + "\nload_balancer: {project: other}", bad, "project is immutable"},
		{"LoadBalancerService/UpdateLoadBalancer", "name: " + web + "\nload_balancer: {project: other}", bad, "load_balancer.project"},
		{"LoadBalancerService/UpdateLoadBalancer", "name: " + web + "\nload_balancer: {vips: [203.0.113.11]}", codes.FailedPrecondition, "belongs to projects/default/loadBalancers/taken"},
		{"LoadBalancerService/DeleteLoadBalancer", "name: " + web, codes.FailedPrecondition, "1 listener(s), 1 policy(s), 2 pool(s)"},
		{"LoadBalancerService/DeleteLoadBalancer", "name: " + web + "\ncascade: true\netag: x", codes.Aborted, "read it again"},

		{"ListenerService/CreateListener", create + "listener: {name: x, port: 99999, protocol: http}", bad, "listener.port: 99999"},
		{"ListenerService/CreateListener", create + "listener: {name: x, port: 90, protocol: http, default_pool_id: mian}", bad, "listener.default_pool_id"},
		{"ListenerService/CreateListener", create + "listener: {name: x, port: 80, protocol: http}", bad, "listener.port"},
		{"ListenerService/CreateListener", "parent: projects/default/loadBalancers/wbe\nlistener: {name: x, port: 90, protocol: tcp}", codes.NotFound, "projects/default/loadBalancers/wbe"},
		{"ListenerService/CreateListener", create + "listener: {port: 90, protocol: tcp}", bad, "listener.name: required"},
		{"ListenerService/UpdateListener", "mask: protocol\nname: " + web + "/listeners/front\nlistener: {protocol: tcp}", bad, "l7_policies[api]"},
		{"ListenerService/UpdateListener", "name: " + web + "/listeners/front\netag: a\nlistener: {etag: b}", bad, "etag"},
		{"ListenerService/UpdateListener", "mask: *,port\nname: " + web + "/listeners/front\nlistener: {port: 1}", bad, "stands alone"},
		{"ListenerService/UpdateListener", "mask: allowed_cidrs.0\nname: " + web + "/listeners/front\nlistener: {port: 1}", bad, "is a list"},
		{"ListenerService/UpdateListener", "mask: port.x\nname: " + web + "/listeners/front\nlistener: {port: 1}", bad, "no fields of its own"},
		{"ListenerService/UpdateListener", "mask: timeouts.tcp_idle.seconds\nname: " + web + "/listeners/front\nlistener: {port: 1}", bad, "no fields of its own"},
		{"ListenerService/UpdateListener", "mask: timeouts.tcp_idl\nname: " + web + "/listeners/front\nlistener: {port: 1}", bad, `did you mean "tcp_idle"`},
		{"ListenerService/UpdateListener", "mask: labels.\nname: " + web + "/listeners/front\nlistener: {port: 1}", bad, "key of labels is missing"},
		{"ListenerService/DeleteListener", "name: " + web + "/listeners/front", codes.FailedPrecondition, `policy "api"`},

		{"PoolService/DeletePool", "name: " + web + "/pools/main", codes.FailedPrecondition, `in use by listener "front"`},
		{"PoolService/DeletePool", "name: " + web + "/pools/spare\ncascade: true", codes.FailedPrecondition, `in use by policy "api" of listener "front"`},
		{"PoolService/CreatePool", create + "pool: {name: x, protocol: http, backends: [{name: a, address: 10.0.0.1, port: 1}, {name: b, address: 10.0.0.1, port: 1}]}", bad, "pool.backends[1]"},
		{"PoolService/UpdatePool", "mask: protocol\nname: " + web + "/pools/main\npool: {protocol: udp}", bad, "front"},

		{"BackendService/CreateBackend", "parent: " + web + "/pools/main\nbackend: {name: x, address: 127.0.0.1, port: 50051}", bad, "backend.address"},
		{"BackendService/CreateBackend", "parent: " + web + "/pools/main\nbackend: {name: x, address: 169.254.169.254, port: 80}", bad, "backend.address"},
		{"BackendService/CreateBackend", "parent: " + web + "/pools/main\nbackend: {name: x, address: 10.0.0.9, port: 80, monitor_address: 127.0.0.1}", bad, "backend.monitor_address"},
		{"BackendService/CreateBackend", "parent: " + web + "/pools/main\nbackend: {name: x, address: ten, port: 0, weight: 300}", bad, "backend.weight"},
		{"BackendService/CreateBackend", "parent: " + web + "/pools/nope\nbackend: {name: x, address: 10.0.0.9, port: 80}", codes.NotFound, "/pools/nope"},
		{"BackendService/ReplaceBackends", "parent: " + web + "/pools/main\nbackends: [{address: 10.0.0.9, port: 80}, {address: 10.0.0.9, port: 80}]", bad, "backends[1]"},
		{"BackendService/ReplaceBackends", "parent: " + web + "/pools/main\nbackends: [{name: zz, address: 10.0.0.1, port: 8080}]", bad, `is named "b1"`},
		{"BackendService/ReplaceBackends", "parent: " + web + "/pools/main\netag: x\nbackends: []", codes.Aborted, "read it again"},
		{"BackendService/ReplaceBackends", "parent: " + web + "/pools/nope\nbackends: []", codes.NotFound, "nope"},

		{"HealthCheckService/CreateHealthCheck", "parent: " + web + "/pools/main\nhealth_check: {name: two, type: tcp}", codes.AlreadyExists, "there can be no other"},
		{"HealthCheckService/CreateHealthCheck", "parent: " + web + "/pools/spare\nhealth_check: {type: http, interval: 1s, timeout: 2s}", bad, "health_check.timeout"},
		{"L7PolicyService/CreateL7Policy", "parent: " + web + "/listeners/front\nl7_policy: {name: x, listener_id: other, action: reject}", bad, "l7_policy.listener_id"},
		{"L7PolicyService/UpdateL7Policy", "mask: listener_id\nname: " + web + "/listeners/front/l7Policies/api\nl7_policy: {listener_id: other}", bad, "immutable"},
		{"L7RuleService/CreateL7Rule", "parent: " + web + "/listeners/front/l7Policies/api\nl7_rule: {rule_type: path, compare_type: regex, value: \"(\"}", bad, "l7_rule.value"},
		{"L7RuleService/CreateL7Rule", "parent: " + web + "/listeners/front/l7Policies/nope\nl7_rule: {rule_type: path, compare_type: regex, value: x}", codes.NotFound, "nope"},
		{"CertificateService/CreateCertificate", create + "certificate: {name: x, type: server, certificate: junk}", bad, "certificate.certificate"},

		{"ConfigService/Apply", "{}", bad, "config: required"},
		{"ConfigService/Apply", "config: {name: x, listeners: [{name: a, port: 99999, protocol: tcp}, {name: B, port: 1, protocol: tcp}]}", bad, "listeners[1].name"},
		{"ConfigService/Apply", "config: {name: x, listeners: [{name: a, port: 99999, protocol: tcp}, {name: B, port: 1, protocol: tcp}]}", bad, "listeners[0].port: 99999"},
		{"ConfigService/Apply", "config: {name: x, vips: [203.0.113.10]}", codes.FailedPrecondition, "is taken"},
		{"ConfigService/Apply", "config: {name: x, vips: [203.0.113.30]}\netag: abc", codes.Aborted, "does not exist"},
		{"ConfigService/Apply", "config: {name: web, vips: [203.0.113.10]}\netag: abc", codes.Aborted, "read it again"},
		{"ConfigService/Apply", "config: {name: web, project: No!}", bad, "project"},
		{"ConfigService/Plan", "config: {name: x, vips: [203.0.113.10]}", codes.FailedPrecondition, "is taken"},
		{"ConfigService/Plan", "config: {name: x, vips: [198.51.100.1]}", bad, "vips[0]"},
		{"ConfigService/Export", "name: projects/-/loadBalancers/web", bad, "name"},
		{"ConfigService/Export", "name: projects/default/loadBalancers/nope", codes.NotFound, "nope"},

		{"NodeService/GetNode", "name: nodes/n1", codes.NotFound, "not connected"},
		{"NodeService/UpdateNode", "name: nodes/n1\nnode: {drain: true}", codes.NotFound, "not connected"},
		{"NodeService/DeleteNode", "name: nodes/n1", codes.NotFound, "not connected"},
		{"NodeService/ListNodes", "parent: projects/default", bad, "parent"},
		{"NodeService/UpdateNode", "name: nodes/n1", bad, "node: required"},
	}
}

// generated are the faults that every kind must refuse alike.
func generated(t *testing.T) []badCall {
	var calls []badCall
	add := func(method, request string, code codes.Code, words string) {
		calls = append(calls, badCall{method, request, code, words})
	}
	for _, k := range kinds(t) {
		last := strings.LastIndexByte(k.name, '/')
		for _, name := range []string{
			"", "x", "projects", k.name + "/", "/" + k.name, k.name + "/more/x", strings.ToUpper(k.name), k.name[:last+1] + "-",
			k.name[:last+1] + "UPPER", k.name[:last+1] + strings.Repeat("a", 64), k.name[:last+1] + "a_b", strings.Replace(k.name, "default", "", 1),
			strings.Replace(k.name, "loadBalancers", "loadbalancers", 1),
		} {
			quoted := fmt.Sprintf("%q", name)
			add(k.method("Get"), "name: "+quoted, codes.InvalidArgument, "name: ")
			add(k.method("Delete"), "name: "+quoted+"\nallow_missing: true", codes.InvalidArgument, "name: ")
			add(k.method("Update"), "name: "+quoted+"\n"+k.field+": "+k.whole, codes.InvalidArgument, "name: ")
		}
		for _, parent := range []string{"", "projects", k.parent + "/", k.parent + "/more/x", "nodes/n1"} {
			quoted := fmt.Sprintf("%q", parent)
			add(k.method("List"), "parent: "+quoted, codes.InvalidArgument, "parent: ")
			add(k.method("Create"), "parent: "+quoted+"\n"+k.field+": "+k.object, codes.InvalidArgument, "parent: ")
		}
		add(k.method("Create"), "parent: "+k.parent, codes.InvalidArgument, k.field+": required")
		add(k.method("Create"), "parent: "+k.parent+"\nrequest_id: "+strings.Repeat("x", 65)+"\n"+k.field+": "+k.object, codes.InvalidArgument, "request_id")
		add(k.method("Update"), "name: "+k.name, codes.InvalidArgument, k.field+": required")
		for _, token := range []string{"x", "AAAA", strings.Repeat("A", 5000), "!!", pageToken{revision: 1, key: ids{"other", "x"}}.encode("other scope")} {
			add(k.method("List"), "parent: "+k.parent+"\npage_token: "+fmt.Sprintf("%q", token), codes.InvalidArgument, "page_token")
		}
		add(k.method("List"), "parent: "+k.parent+"\npage_size: 1001", codes.InvalidArgument, "page_size")
	}
	// Masks need an object that is there.
	const web = "projects/default/loadBalancers/web"
	there := map[string]string{
		"LoadBalancer": web, "Listener": web + "/listeners/front", "Pool": web + "/pools/main", "Backend": web + "/pools/main/backends/b1",
		"HealthCheck": web + "/pools/main/healthChecks/default", "L7Policy": web + "/listeners/front/l7Policies/api",
		"L7Rule": web + "/listeners/front/l7Policies/api/rules/r1",
	}
	for _, k := range kinds(t) {
		name, ok := there[k.kind]
		if !ok {
			continue
		}
		for mask, words := range map[string]string{
			"uid": "output only", "etag": "output only", "created_at": "output only", "updatedAt": "output only", "full_name": "output only",
			"status": "output only", "status.reason": "output only", "name": "immutable", "nope": "no field", "": "", "description.x": "no fields",
			"descripton": `did you mean "description"`, ".": "no field", "labels.`": "", "name.x": "immutable", "uid,name,nope": "nope",
			strings.Repeat("description,", 512) + "description": "more than 512",
		} {
			if words == "" {
				continue
			}
			add(k.method("Update"), fmt.Sprintf("mask: %s\nname: %s\n%s: {description: x}", mask, name, k.field), codes.InvalidArgument, words)
		}
		add(k.method("Update"), fmt.Sprintf("name: %s\n%s: {name: other}", name, k.field), codes.InvalidArgument, "immutable")
		add(k.method("Update"), fmt.Sprintf("mask: *\nname: %s\n%s: {name: other}", name, k.field), codes.InvalidArgument, "immutable")
		add(k.method("Update"), fmt.Sprintf("name: %s\netag: wrong\n%s: {description: x}", name, k.field), codes.Aborted, "read it again")
		add(k.method("Update"), fmt.Sprintf("name: %s\n%s: {etag: wrong, description: x}", name, k.field), codes.Aborted, "read it again")
		add(k.method("Update"), fmt.Sprintf("name: %s\n%s: {description: %q}", name, k.field, strings.Repeat("x", 256)), codes.InvalidArgument, k.field+".description")
		add(k.method("Delete"), fmt.Sprintf("name: %s\ncascade: true\netag: wrong", name), codes.Aborted, "read it again")
	}
	return calls
}
